"""Upload and download a large file, each with a progress bar.

    python examples/upload_with_progress.py [FILE s3://BUCKET/KEY]

Without arguments, it sends 64 MiB to a new bucket, and deletes the bucket at the end. The server is embedded, unless
DREAMOBJECTS_ENDPOINT_URL names another. The bars are those of rich: pip install rich.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from pathlib import Path

from embedded_server import embedded_server_unless_configured
from event_loop import run
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

import aiodreamobjects as dream

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TimeRemainingColumn(),
)


def bar_on(bars: Progress, title: str) -> dream.ProgressCallback:
    """Return a function for ``progress=`` that moves a bar. It is called ten times a second, and once at the end."""
    bar = bars.add_task(title, total=None)

    def show(progress: dream.Progress) -> None:
        bars.update(bar, completed=progress.done_bytes, total=progress.total_bytes)

    return show


async def upload(file: Path, obj: dream.Object) -> None:
    with Progress(*COLUMNS) as bars:
        info = await obj.upload(file, progress=bar_on(bars, f"Uploading {file.name}"))
    print(f"{obj.key}\t{info.size}\t{info.etag}\tverified: {info.verified}")


async def demonstrate(session: dream.Session, directory: Path) -> None:
    original, copy = directory / "video.mkv", directory / "copy.mkv"
    original.write_bytes(os.urandom(1 << 20) * 64)
    bucket = await session.create_bucket(f"my-videos-{secrets.token_hex(6)}")
    try:
        video = bucket.object(original.name)
        await upload(original, video)
        with Progress(*COLUMNS) as bars:
            info = await video.download(copy, progress=bar_on(bars, f"Downloading {copy.name}"))
        print(f"{copy.name}\t{copy.stat().st_size}\t{info.etag}\tverified: {info.verified}")
    finally:
        await bucket.delete(force=True)


async def main(file: str = "", uri: str = "") -> None:
    async with dream.Session() as session:
        if file:
            await upload(Path(file), session.object(uri))
            return
        with tempfile.TemporaryDirectory() as directory:
            await demonstrate(session, Path(directory))


if __name__ == "__main__":
    if len(sys.argv) not in (1, 3):
        sys.exit(__doc__)
    with embedded_server_unless_configured():
        run(main(*sys.argv[1:]))
