"""A backup of a directory: sends what changed, compares everything, and says how to come back to an earlier day.

    python examples/backup.py ~/Pictures my-backup
    python examples/backup.py ~/Pictures my-backup --check      # compares the content of every file, and sends nothing

Old versions are kept: what was deleted or overwritten by mistake comes back with ``bucket.restore_tree``, or with
``dreamobjects restore -r --as-of 2d``. Run it from cron: it prints one line, and exits with 1 if something failed.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import aiodreamobjects as dream


async def back_up(directory: Path, bucket: dream.Bucket) -> bool:
    """Make the prefix like the directory. Return whether everything was sent."""
    if await bucket.versioning() != "Enabled":
        await bucket.set_versioning("Enabled")
    report = await bucket.upload_tree(directory, directory.name, compare="mtime", delete=True, on_error="collect")
    for failure in report.failures:
        print(f"{failure.key}: {failure.error}", file=sys.stderr)
    print(f"{report.copied} sent, {report.skipped} unchanged, {report.deleted} deleted, {report.failed} failed")
    return not report.failed


async def is_complete(directory: Path, bucket: dream.Bucket) -> bool:
    """Compare the content of every file with its object."""
    report = await bucket.check_tree(directory, directory.name)
    for name in (*report.differ, *report.missing):
        print(f"{name}: not as in the directory", file=sys.stderr)
    print(f"{report.same} are the same, {len(report.unverified)} could not be verified")
    return not (report.differ or report.missing or report.failed)


async def main() -> bool:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("bucket")
    parser.add_argument("--check", action="store_true", help="compare, and send nothing")
    told = parser.parse_args()
    directory: Path = told.directory.resolve()
    async with dream.Session() as session:
        bucket = await session.create_bucket(told.bucket, exist_ok=True)
        return await (is_complete if told.check else back_up)(directory, bucket)


if __name__ == "__main__":
    try:
        sys.exit(not asyncio.run(main()))
    except (dream.DreamObjectsError, OSError, ValueError) as error:  # no credentials, no such directory, an empty one
        sys.exit(str(error))
