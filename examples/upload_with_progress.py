"""Upload a large file with a progress bar.

    pip install rich
    python examples/upload_with_progress.py FILE s3://BUCKET/KEY

Ctrl-C leaves neither an object nor an open upload. ``download`` takes the same ``progress``. Without settings it uses an
embedded server, and everything is lost at the end.
"""

import asyncio
import sys
from pathlib import Path

from embedded_server import embedded_server_unless_configured
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

import aiodreamobjects as dream

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TimeRemainingColumn(),
)


async def upload(file: Path, obj: dream.Object) -> dream.ObjectInfo:
    with Progress(*COLUMNS) as bars:
        bar = bars.add_task(f"Uploading {file.name}", total=None)

        def show(progress: dream.Progress) -> None:  # ten times a second, and once at the end
            bars.update(bar, completed=progress.done_bytes, total=progress.total_bytes)

        return await obj.upload(file, progress=show)


async def main(file: str, uri: str) -> None:
    async with dream.Session() as session:
        obj = session.object(uri)
        await session.create_bucket(obj.bucket, exist_ok=True)
        info = await upload(Path(file), obj)
        print(f"{info.key}: {info.size:,} bytes, ETag {info.etag}, verified: {info.verified}")


if __name__ == "__main__":
    if not sys.argv[2:]:
        sys.exit(__doc__)
    with embedded_server_unless_configured():
        asyncio.run(main(*sys.argv[1:3]))
