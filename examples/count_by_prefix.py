"""Count the objects under each prefix of the first level, and add up their sizes.

    python examples/count_by_prefix.py BUCKET [PREFIX] [--parallel 16]

The listing sends several requests at once.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import aclosing

from command import count_bar, exit_with, say

import aiodreamobjects as dream


async def main(bucket_name: str, prefix: str, parallel: int) -> int:
    counts, sizes = Counter[str](), Counter[str]()
    async with dream.Session() as session:
        listing = session.bucket(bucket_name).list(prefix, parallel=parallel)
        try:
            with count_bar("Listing") as advance:
                async with aclosing(listing.pages()) as pages:
                    async for page in pages:
                        for info in page:
                            name, slash, _ = info.key[len(prefix) :].partition("/")
                            group = prefix + name + slash if slash else prefix
                            counts[group] += 1
                            sizes[group] += info.size or 0
                        advance(len(page))
        except BaseException:
            say("Incomplete, because of an error:")
            raise
        finally:
            for group, count in sorted(counts.items()):
                print(f"{count:>12,} objects {sizes[group]:>20,} bytes  {group!r}")
            print(f"{counts.total():>12,} objects {sizes.total():>20,} bytes  in all")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("prefix", nargs="?", default="", help="such as photos/")
    parser.add_argument("--parallel", type=int, default=16, help="how many requests at once")
    given = parser.parse_args()
    exit_with(main(given.bucket, given.prefix, given.parallel))
