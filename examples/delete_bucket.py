"""Delete a bucket and everything in it: versions, delete markers, open uploads.

    python examples/delete_bucket.py BUCKET --yes

This cannot be undone, so it needs --yes. Without --yes it only counts what it would delete.
"""

from __future__ import annotations

import sys

from event_loop import run

import aiodreamobjects as dream


async def main(name: str, *, is_sure: bool) -> None:
    async with dream.Session() as session:
        bucket = session.bucket(name)
        if is_sure:
            await bucket.delete(force=True)
            print(f"Deleted {name}, after {session.statistics().requests} requests")
            return
        versions = markers = size = 0
        async for info in bucket.list_versions():
            markers += bool(info.is_delete_marker)
            versions += not info.is_delete_marker
            size += info.size or 0
        uploads = len(await bucket.uploads().collect())
        print(f"{name}: {versions:,} versions, {size:,} bytes, {markers:,} delete markers, {uploads:,} open uploads")
        print("Nothing was deleted: add --yes")


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--yes"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    try:
        run(main(arguments[0], is_sure="--yes" in sys.argv))
    except dream.DreamObjectsError as error:
        sys.exit(f"{arguments[0]}: {error}")
