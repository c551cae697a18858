"""Copy a prefix to another bucket with all machines of a Dask cluster.

    dask scheduler                                  # on one machine: prints its address
    dask worker tcp://10.0.0.1:8786                 # on each machine
    python examples/on_a_cluster.py tcp://10.0.0.1:8786 FROM_BUCKET TO_BUCKET [PREFIX]

Every worker needs this library, and finds credentials of its own, as a session does: in its environment or in `~/.aws`. Call it again
after a failure: what was copied is skipped.
"""

import argparse
import asyncio
import sys

from distributed import Client

import aiodreamobjects as dream


async def main(scheduler: str, source: str, target: str, prefix: str) -> int:
    async with Client(scheduler, asynchronous=True) as client, dream.Session() as session:
        report = await session.bucket(source).copy_tree(
            session.bucket(target), prefix, compare="etag", executor=client.get_executor(), on_error="collect"
        )
    for failure in report.failures:
        print(f"{failure.key!r}: {failure.error}", file=sys.stderr)
    print(f"{report.copied:,} copied, {report.skipped:,} the same, by {report.workers} workers")
    return 1 if report.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scheduler")
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("prefix", nargs="?", default="")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.scheduler, given.source, given.target, given.prefix)))
