"""Make the objects under a prefix public, or private again.

    python examples/make_public.py BUCKET PREFIX [--private]

S3 has no request for many ACLs, so each object takes one request. Limits.requests of them run at once. DreamObjects
US-East 5 and Backblaze B2 have no ACLs of objects: there use ``bucket.set_acl``.
"""

import argparse
import asyncio
import sys

import aiodreamobjects as dream


async def main(bucket_name: str, prefix: str, acl: dream.CannedAcl) -> int:
    async with dream.Session() as session:
        bucket = session.bucket(bucket_name)
        if "object_acl" in session.service.unsupported:  # the service would refuse each object
            sys.exit(f"{session.service.name}: {session.service.unsupported['object_acl']}")
        report = await bucket.set_acl_many(bucket.list(prefix), acl, on_error="collect")
    for failure in report.failures:
        print(f"{failure.key!r}: {failure.error}", file=sys.stderr)  # !r: a key may move the terminal's cursor
    print(f"{report.done:,} objects are {acl}; {report.failed:,} failed")
    if acl == "public-read" and report.done:
        print(f"They are at {bucket.object('KEY').url(scheme=session.service.scheme)}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("prefix", help='such as photos/; "" is all of the bucket')
    parser.add_argument("--private", action="store_const", const="private", default="public-read", dest="acl")
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(main(given.bucket, given.prefix, given.acl)))
    except dream.DreamObjectsError as error:  # no credentials, no such bucket
        sys.exit(str(error))
