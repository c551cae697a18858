"""Kill an upload and a download midway, and resume them.

    python examples/resume_after_crash.py

starts a process that uploads 40 MiB, and kills itself when half is sent. A second process sends the rest. Then the same
with a download. All it takes is ``resume=True``. One part goes at a time: of several, each may be half sent by then.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from embedded_server import embedded_server_unless_configured

import aiodreamobjects as dream

SIZE = 40 << 20
SLOW = dream.Limits(part_size=5 << 20, parts_per_object=1, upload_bytes_per_second=SIZE, download_bytes_per_second=SIZE)


def die_midway(progress: dream.Progress) -> None:
    if progress.total_bytes and progress.done_bytes >= progress.total_bytes / 2:
        os.kill(os.getpid(), signal.SIGKILL)


async def move(verb: str, file: str, uri: str, *, dies: bool) -> None:
    async with dream.Session(limits=SLOW) as session:
        obj = session.object(uri)
        await session.create_bucket(obj.bucket, exist_ok=True)
        call = obj.upload if verb == "upload" else obj.download
        info = await call(file, resume=True, progress=die_midway if dies else None)
        did = session.statistics()
        print(f"{verb}: {did.bytes_sent:,} bytes sent, {did.bytes_received:,} received, of {info.size:,}")
        if verb == "download":
            await session.bucket(obj.bucket).delete(force=True)


def demonstrate(directory: str) -> None:
    original, copy = Path(directory, "original.bin"), Path(directory, "copy.bin")
    original.write_bytes(os.urandom(SIZE))
    uri = f"s3://my-new-bucket-{secrets.token_hex(6)}/{original.name}"
    for verb, file in (("upload", original), ("download", copy)):
        command = [sys.executable, __file__, verb, str(file), uri]
        print(f"{verb}: died by signal {-subprocess.call([*command, '--die'])}", flush=True)
        subprocess.check_call(command)
    print(f"The same bytes came back: {copy.read_bytes() == original.read_bytes()}")


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(move(*sys.argv[1:4], dies="--die" in sys.argv))
    else:
        with embedded_server_unless_configured(), tempfile.TemporaryDirectory() as place:
            demonstrate(place)
