"""Copy a bucket of one service to a bucket of another service.

    python examples/migrate_bucket.py BUCKET OTHER-BUCKET --from PROFILE URL --to PROFILE URL [--delete] [--dry-run]

PROFILE is a profile in ~/.aws/credentials, URL the endpoint of its service. The bytes are streamed through this program.
If you run it again, it copies only objects that are missing, have another size, or were stored later.
"""

import argparse
import asyncio
import sys

import aiodreamobjects as dream


def show(progress: dream.Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress.done_objects:,} objects, {progress.done_bytes:,} bytes", end=" ", file=sys.stderr)


async def main(given: argparse.Namespace) -> int:
    (old_profile, old_url), (new_profile, new_url) = given.old, given.new
    async with (
        dream.Session(old_profile, endpoint=old_url) as old,
        dream.Session(new_profile, endpoint=new_url) as new,
    ):
        report = await old.bucket(given.bucket).copy_tree(
            new.bucket(given.other),
            compare="mtime",
            delete=given.delete,
            dry_run=given.dry_run,
            progress=show,
            on_error="collect",
        )
    for failure in report.failures:
        print(f"{failure.key!r}: {failure.error}", file=sys.stderr)  # !r: a key may move the terminal's cursor
    verb = "would be " if given.dry_run else ""
    print(f"{report.copied:,} objects, {report.copied_bytes:,} bytes, {verb}copied; {report.deleted:,} {verb}deleted")
    print(f"{report.skipped:,} were there already, {report.failed:,} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("other", metavar="other-bucket")
    parser.add_argument("--from", dest="old", nargs=2, required=True, metavar=("PROFILE", "URL"))
    parser.add_argument("--to", dest="new", nargs=2, required=True, metavar=("PROFILE", "URL"))
    parser.add_argument("--delete", action="store_true", help="delete what the first bucket does not have")
    parser.add_argument("--dry-run", action="store_true", help="only count what would be done")
    try:
        sys.exit(asyncio.run(main(parser.parse_args())))
    except (dream.DreamObjectsError, ValueError) as error:  # no such profile, no such bucket
        sys.exit(str(error))
