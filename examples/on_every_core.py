"""Upload a directory with every core of this machine.

    python examples/on_every_core.py DIRECTORY BUCKET [PREFIX] [--processes N]

Only files that are missing or changed are sent. It pays for many files: one process sends a few thousand a second.
"""

import argparse
import asyncio
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import aiodreamobjects as dream


async def main(directory: str, bucket: str, prefix: str, processes: int | None) -> int:
    with ProcessPoolExecutor(processes) as pool:
        async with dream.Session() as session:
            report = await session.bucket(bucket).upload_tree(
                directory, prefix, compare="mtime", executor=pool, on_error="collect"
            )
    for failure in report.failures:
        print(f"{failure.key!r}: {failure.error}", file=sys.stderr)
    print(f"{report.copied:,} stored, {report.skipped:,} the same, by {report.workers} processes")
    return 1 if report.failed else 0


if __name__ == "__main__":  # each process imports this file
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("bucket")
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.directory, given.bucket, given.prefix, given.processes)))
