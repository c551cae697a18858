"""``check``."""

from __future__ import annotations

import os
from typing import Any

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Local, Remote, parse
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import NothingFoundError, RefusedError
from aiodreamobjects.cli.options import command, filters, key_of, pass_app, patterns_of, workers


@command(
    "check",
    examples="""
dreamobjects check site s3://www
dreamobjects check s3://photos s3://backup/photos --by content
dreamobjects check site s3://www && echo the same
""",
)
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option(
    "--by", type=click.Choice(("etag", "size", "content")), default="etag", show_default=True, help="What to compare."
)
@click.option("--sse-c", metavar="FILE", help="A file with the 32 bytes of the objects' encryption key.")
@filters
@workers
@pass_app
async def check_command(app: App, one: str, other: str, **options: Any) -> None:
    """Compare a directory or prefix with another one, and change nothing. The exit status is 1 if they differ.

    'diff' is another name for this. 'unverified' names have the same size, and no digests that can be compared: --by
    content reads them.
    """
    left, right = parse(one, is_raw=True), parse(other, is_raw=True)
    here, there = (right, left) if isinstance(right, Remote) else (left, right)
    if not isinstance(here, Remote) or not isinstance(there, Remote | Local):
        msg = f"check {one} {other}: at least one side must be remote, as s3://bucket/prefix"
        raise RefusedError(msg)
    here = here.below()
    session, (include, exclude) = await app.session(), patterns_of(options)
    given: dict[str, Any] = {"by": options["by"], "include": include, "exclude": exclude, "on_error": "collect"}
    if isinstance(there, Local) and not os.path.isdir(there.path):  # noqa: PTH112 - the path as it was written
        msg = f"{there}: no such directory"
        raise NothingFoundError(msg)
    with app.bar("check") as bar:
        given |= {"progress": bar.callback, "encryption": key_of(options["sse_c"]), **await app.spread()}
        bucket = session.bucket(here.bucket)
        if isinstance(there, Remote):
            target: dream.Bucket | str = session.bucket(there.bucket)
            report = await bucket.check_tree(target, here.key, to_prefix=there.below().key, **given)
        else:
            report = await bucket.check_tree(str(there), here.key, **given)
    for kind, names, text in (
        ("differ", report.differ, "differ"),
        ("missing", report.missing, f"only in {there}"),
        ("extra", report.extra, f"only in {here}"),
        ("unverified", report.unverified, "unverified"),
    ):
        for name in names:
            if app.out.is_json:
                app.out.record("action", {"action": kind, "source": name, "text": text})
            else:
                app.out.line(f"{text}: {name}")
    app.failures(report, here.join)
    app.done = report.same
    counts = {
        "differ": len(report.differ),
        "missing": len(report.missing),
        "extra": len(report.extra),
        "unverified": len(report.unverified),
    }
    for name, count in counts.items():
        app.count(name, count)
    app.is_different = bool(report.differ or report.missing or report.extra)
    app.summarize("check", same=report.same)
