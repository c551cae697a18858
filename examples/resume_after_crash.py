"""Kill an upload and a download midway, then resume them.

    python examples/resume_after_crash.py

makes a file of 40 MiB and a bucket, and starts a process that uploads the file. The process kills itself when half is
sent; a second process sends the rest. Then it does the same with a download. The server is embedded, unless
DREAMOBJECTS_ENDPOINT_URL names another. The processes are

    python examples/resume_after_crash.py upload|download FILE s3://BUCKET/KEY [--die]
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from embedded_server import embedded_server_unless_configured
from event_loop import run

import aiodreamobjects as dream

SIZE = 40 << 20
SLOWLY = dream.Limits(  # slow, so that the process can die midway
    part_size=5 << 20, parts_per_object=2, upload_bytes_per_second=SIZE, download_bytes_per_second=SIZE
)


def die_midway(progress: dream.Progress) -> None:
    if progress.total_bytes and progress.done_bytes >= progress.total_bytes / 2:
        os.kill(os.getpid(), signal.SIGKILL)


async def move(verb: str, file: str, uri: str, *, dies: bool) -> None:
    """Upload or download. ``resume=True`` is all that resuming needs: every call is the same."""
    async with dream.Session(limits=SLOWLY) as session:
        obj = session.object(uri)
        progress = die_midway if dies else None
        if verb == "upload":
            info = await obj.upload(file, resume=True, progress=progress)
        else:
            info = await obj.download(file, resume=True, progress=progress)
        counters = session.statistics()
        print(f"{verb}: {counters.bytes_sent:,} bytes sent, {counters.bytes_received:,} received, of {info.size:,}")


def demonstrate() -> None:
    with tempfile.TemporaryDirectory() as directory:
        original, copy = Path(directory, "original.bin"), Path(directory, "copy.bin")
        original.write_bytes(os.urandom(SIZE))
        uri = f"s3://my-new-bucket-{secrets.token_hex(6)}/original.bin"
        run(make_bucket(uri))
        try:
            for verb, file in (("upload", original), ("download", copy)):
                command = [sys.executable, __file__, verb, str(file), uri]
                died = subprocess.run([*command, "--die"], check=False)  # noqa: S603 - this very script
                print(f"{verb}: died by signal {-died.returncode}", flush=True)
                subprocess.run(command, check=True)  # noqa: S603 - the same
            print(f"The same bytes came back: {copy.read_bytes() == original.read_bytes()}")
            print(f"Left beside them: {sorted(path.name for path in Path(directory).glob('.*'))}")
        finally:
            run(delete_bucket(uri))


async def make_bucket(uri: str) -> None:
    async with dream.Session() as session:
        await session.create_bucket(session.object(uri).bucket)


async def delete_bucket(uri: str) -> None:
    async with dream.Session() as session:
        await session.bucket(session.object(uri).bucket).delete(force=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            with embedded_server_unless_configured():
                demonstrate()
        case ["upload" | "download" as verb, file, uri, *rest] if rest in ([], ["--die"]):
            run(move(verb, file, uri, dies=bool(rest)))
        case _:
            sys.exit(__doc__)
