"""Delete the objects under a prefix that are older than a number of days.

    python examples/delete_by_age.py BUCKET PREFIX DAYS [--dry-run]

If versioning is on, as on DreamObjects US-East 5, each object gets a delete marker and stays stored.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from command import count_bar, exit_with, status_of

import aiodreamobjects as dream


async def main(bucket_name: str, prefix: str, days: float, *, dry_run: bool) -> int:
    latest, found, size = datetime.now(UTC) - timedelta(days=days), 0, 0

    async def old_ones(bucket: dream.Bucket) -> AsyncGenerator[dream.ObjectInfo]:
        nonlocal found, size
        with count_bar("Looking at objects") as advance:
            async for info in bucket.list(prefix):
                advance(1)
                if info.last_modified is not None and info.last_modified <= latest:
                    found, size = found + 1, size + (info.size or 0)
                    yield info

    async with dream.Session() as session:
        bucket = session.bucket(bucket_name)
        async with aclosing(old_ones(bucket)) as objects:
            if dry_run:
                async for info in objects:
                    print(info.last_modified, info.size, repr(info.key), sep="\t")
                print(f"{found:,} objects, {size:,} bytes, would be deleted")
                return 0
            report = await bucket.delete_many(objects, on_error="collect")
    print(f"{report.done:,} of {found:,} objects deleted, {size:,} bytes; {report.failed:,} failed")
    return status_of(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("prefix", help='such as logs/2025-; "" is all of the bucket')
    parser.add_argument("days", type=float)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    given = parser.parse_args()
    exit_with(main(given.bucket, given.prefix, given.days, dry_run=given.dry_run))
