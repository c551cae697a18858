"""Make the objects under a prefix the same as the files in a directory.

    python examples/mirror_directory.py DIRECTORY BUCKET [PREFIX] [--delete] [--dry-run]
           [--compare size|mtime|etag|etag-or-time] [--include PATTERN] [--exclude PATTERN]

It sends only what differs. With --delete it deletes objects that the directory lacks, if everything else succeeded.
--dry-run shows what it would do. Patterns are those of .gitignore; give --include and --exclude as often as you like.
"""

from __future__ import annotations

import argparse

from command import exit_with, status_of, tree_bar

import aiodreamobjects as dream


async def main(given: argparse.Namespace) -> int:
    async with dream.Session() as session:
        with tree_bar("Mirroring") as show:
            report = await session.bucket(given.bucket).upload_tree(
                given.directory,
                given.prefix,
                compare=given.compare,
                delete=given.delete,
                include=given.include,
                exclude=given.exclude,
                dry_run=given.dry_run,
                progress=show,
                on_error="collect",
            )
    for action in report.plan or ():
        print(action.action, action.reason, f"{action.size:,}", repr(action.name), sep="\t")
    verb = "would be " if given.dry_run else ""
    print(f"{report.copied:,} files, {report.copied_bytes:,} bytes, {verb}sent; {report.deleted:,} {verb}deleted")
    print(f"{report.skipped:,} were the same, {report.excluded:,} left out, {report.failed:,} failed")
    if report.kept:
        print(f"Nothing was deleted, because something failed: {report.kept:,} would have been")
    if report.unmatched:
        print("Patterns that matched nothing:", *report.unmatched)
    return status_of(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("bucket")
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument("--compare", choices=["size", "mtime", "etag", "etag-or-time"], default="mtime")
    parser.add_argument("--delete", action="store_true", help="delete what the directory does not have")
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    exit_with(main(parser.parse_args()))
