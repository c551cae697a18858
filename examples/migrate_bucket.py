"""Copy a bucket of one service to a bucket of another service.

    python examples/migrate_bucket.py BUCKET OTHER-BUCKET --from PROFILE URL --to PROFILE URL
           [--prefix PREFIX] [--delete] [--dry-run]

PROFILE is a profile in ~/.aws/credentials, URL the endpoint of its service. The bytes are streamed through this program.
If you run it again, it copies only objects that are missing, have another size, or were stored later.
"""

from __future__ import annotations

import argparse

from command import exit_with, status_of, tree_bar

import aiodreamobjects as dream


async def main(given: argparse.Namespace) -> int:
    (old_profile, old_url), (new_profile, new_url) = given.old, given.new
    async with (
        dream.Session(old_profile, endpoint=old_url) as old,
        dream.Session(new_profile, endpoint=new_url) as new,
    ):
        with tree_bar(f"From {old.service.name} to {new.service.name}") as show:
            report = await old.bucket(given.bucket).copy_tree(
                new.bucket(given.other),
                given.prefix,
                compare="mtime",
                delete=given.delete,
                dry_run=given.dry_run,
                progress=show,
                on_error="collect",
            )
    verb = "would be " if given.dry_run else ""
    print(f"{report.copied:,} objects, {report.copied_bytes:,} bytes, {verb}copied; {report.deleted:,} {verb}deleted")
    print(f"{report.skipped:,} were there already, {report.failed:,} failed")
    if report.kept:
        print(f"Nothing was deleted, because something failed: {report.kept:,} would have been")
    return status_of(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("other", metavar="other-bucket")
    parser.add_argument("--from", dest="old", nargs=2, required=True, metavar=("PROFILE", "URL"))
    parser.add_argument("--to", dest="new", nargs=2, required=True, metavar=("PROFILE", "URL"))
    parser.add_argument("--prefix", default="")
    parser.add_argument("--delete", action="store_true", help="delete what the first bucket does not have")
    parser.add_argument("--dry-run", action="store_true", help="only count what would be done")
    exit_with(main(parser.parse_args()))
