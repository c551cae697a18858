"""Make the objects under a prefix public, or private again.

    python examples/make_public.py BUCKET PREFIX [--private]

S3 has no request for many ACLs, so each object takes one request. Limits.requests of them run at once.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import aclosing

from command import count_bar, exit_with, say, status_of

import aiodreamobjects as dream


async def main(bucket_name: str, prefix: str, acl: dream.CannedAcl) -> int:
    found = 0

    async def counted(bucket: dream.Bucket) -> AsyncGenerator[dream.ObjectInfo]:
        nonlocal found
        with count_bar("Setting ACLs") as advance:
            async for info in bucket.list(prefix):
                advance(1)
                found += 1
                yield info

    async with dream.Session() as session:
        bucket = session.bucket(bucket_name)
        if "object_acl" in session.service.unsupported:  # the service would refuse each object, one request each
            say(f"{session.service.name}: {session.service.unsupported['object_acl']}")
            return 1
        async with aclosing(counted(bucket)) as objects:
            report = await bucket.set_acl_many(objects, acl, on_error="collect")
        print(f"{report.done:,} of {found:,} objects are {acl}; {report.failed:,} failed")
        if acl == "public-read" and report.done:
            print(f"They are at {bucket.object('KEY').url(scheme=session.service.scheme)}")
        return status_of(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("prefix", help='such as photos/; "" is all of the bucket')
    parser.add_argument("--private", action="store_const", const="private", default="public-read", dest="acl")
    given = parser.parse_args()
    exit_with(main(given.bucket, given.prefix, given.acl))
