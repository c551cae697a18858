"""``head``, ``du``, ``tree`` and ``find``."""

from __future__ import annotations

import fnmatch
import json
from datetime import UTC, datetime
from typing import Any

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote, one_object, remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.finding import NO_FILTERS, objects
from aiodreamobjects.cli.options import (
    command,
    filters,
    key_of,
    pass_app,
    raw,
    version_id,
)
from aiodreamobjects.cli.output import fields_of, human, rfc3339
from aiodreamobjects.cli.values import DURATION, MOMENT, SIZE


@command(
    "head",
    examples="""
dreamobjects head s3://photos/a.jpg
dreamobjects head s3://photos
dreamobjects head --json s3://photos/a.jpg | jq .content_type
""",
)
@click.argument("address", metavar="URI")
@version_id
@click.option("--sse-c", metavar="FILE", help="A file with the 32 bytes of the object's encryption key.")
@raw
@pass_app
async def head_command(app: App, address: str, **options: Any) -> None:
    """Show size, time, content type, metadata and more of an object; or what a bucket says about itself."""
    where, session = remote(address, is_raw=options["raw"]), await app.session()
    found: dream.BucketInfo | dream.ObjectInfo
    if not where.key:
        found = await session.bucket(where.bucket).info()
    else:
        where = one_object(address, is_raw=options["raw"])
        obj = session.bucket(where.bucket).object(where.key)
        found = await obj.head(version_id=options["version_id"], encryption=key_of(options["sse_c"]))
    app.done += 1
    if app.out.is_json:
        app.out.record("object" if where.key else "bucket", fields_of(found))
        return
    for name, value in fields_of(found).items():
        text = rfc3339(value) if isinstance(value, datetime) else value
        if name == "metadata" and isinstance(value, dict):
            for key, content in value.items():
                app.out.line(f"{f'metadata {key}':<20} {content}")
        else:
            app.out.line(f"{name.replace('_', ' '):<20} {text}")


@command(
    "du",
    examples="""
dreamobjects du s3://photos
dreamobjects du -h --depth 1 s3://photos       # each directory too
dreamobjects du 's3://photos/*.jpg'
""",
)
@click.argument("address", metavar="URI")
@click.option(
    "--depth", type=click.IntRange(min=0), default=0, metavar="N", help="Also count each directory, N levels deep."
)
@click.option("-h", "--human", "is_human", is_flag=True, help="Print sizes as 1.2M.")
@raw
@filters
@pass_app
async def du_command(app: App, address: str, **options: Any) -> None:
    """Count the objects below a prefix and their bytes. Old versions do not count."""
    where = remote(address, is_raw=options["raw"])

    def show(name: object, count: int, size: int) -> None:
        if app.out.is_json:
            app.out.record("prefix", {"bucket": where.bucket, "prefix": str(name), "objects": count, "bytes": size})
        else:
            text = human(size) if options["is_human"] else str(size)
            app.out.line(f"{text:>12} {count:>9} {Remote(where.bucket, str(name))}")

    filtered = any(options[name] for name in NO_FILTERS)
    if where.wildcard is None and not filtered:
        report = await (await app.session()).bucket(where.bucket).usage(where.key, options["depth"])
        for prefix, usage in report.by_prefix.items():
            show(prefix, usage.objects, usage.bytes)
        app.done, app.bytes = report.objects, report.bytes
    else:
        async for info in objects(app, where, options):
            app.done += 1
            app.bytes += info.size or 0
    show(where.key, app.done, app.bytes)
    if app.out.is_json:
        app.summarize("du")


@command(
    "tree",
    examples="""
dreamobjects tree s3://photos
dreamobjects tree --depth 2 s3://photos/2026/
""",
)
@click.argument("address", metavar="URI")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Go down N levels only.")
@pass_app
async def tree_command(app: App, address: str, **options: Any) -> None:
    """Draw the directories and objects below a prefix."""
    where = remote(address, is_raw=True).below()
    bucket = (await app.session()).bucket(where.bucket)
    if not app.out.is_json:
        app.out.line(str(where))
    await _draw(app, bucket, where.key, "", options["depth"])
    if app.out.is_json:
        app.summarize("tree")


async def _draw(app: App, bucket: dream.Bucket, prefix: str, indent: str, depth: int | None) -> None:
    """Draw one level. Each item is held until it is known whether it is the last."""
    held: dream.ObjectInfo | dream.CommonPrefix | None = None
    async for item in bucket.list_dir(prefix):
        if held is not None:
            await _draw_item(app, bucket, prefix, held, indent, depth, is_last=False)
        held = item
    if held is not None:
        await _draw_item(app, bucket, prefix, held, indent, depth, is_last=True)


async def _draw_item(
    app: App,
    bucket: dream.Bucket,
    prefix: str,
    item: dream.ObjectInfo | dream.CommonPrefix,
    indent: str,
    depth: int | None,
    *,
    is_last: bool,
) -> None:
    branch = "└── " if is_last else "├── "
    if isinstance(item, dream.ObjectInfo):
        app.done += 1
        app.bytes += item.size or 0
        app.out.value("object", item, f"{indent}{branch}{item.key[len(prefix) :] or './'}")
        return
    app.out.value("prefix", item, f"{indent}{branch}{item.prefix[len(prefix) :]}")
    if depth is None or depth > 1:
        below = f"{indent}{'    ' if is_last else '│   '}"
        await _draw(app, bucket, item.prefix, below, None if depth is None else depth - 1)


@command(
    "find",
    examples="""
dreamobjects find s3://photos --name '*.jpg' --larger 10M
dreamobjects find s3://logs/ --older-than 30d
dreamobjects find s3://logs --newer-than 2026-11-01 --json
""",
)
@click.argument("address", metavar="URI")
@click.option("--name", metavar="PATTERN", help="The last part of the key matches this: * ? [...].")
@click.option("--larger", type=SIZE, metavar="SIZE", help="More bytes than this, such as 10M.")
@click.option("--smaller", type=SIZE, metavar="SIZE", help="Fewer bytes than this.")
@click.option("--older-than", type=DURATION, metavar="TIME", help="Stored longer ago than this, such as 30d.")
@click.option(
    "--newer-than", type=MOMENT, metavar="TIME", help="Stored after this: a date, a time, or 7d for 7 days ago."
)
@raw
@filters
@pass_app
async def find_command(app: App, address: str, **options: Any) -> None:
    """Find objects below a prefix. All conditions must hold. Prints one address a line."""
    where, now = remote(address, is_raw=options["raw"]), datetime.now(UTC)
    where = where if where.wildcard is not None else where.below()
    name, larger, smaller = options["name"], options["larger"], options["smaller"]
    async for info in objects(app, where, options):
        size, time = info.size or 0, info.last_modified or now
        if (
            (name is None or fnmatch.fnmatchcase(info.key.rpartition("/")[2], name))
            and (larger is None or size > larger)
            and (smaller is None or size < smaller)
            and (options["older_than"] is None or now - time >= options["older_than"])
            and (options["newer_than"] is None or time > options["newer_than"])
        ):
            app.done += 1
            app.bytes += size
            app.out.value("object", info, str(Remote(info.bucket, info.key)))
    if app.out.is_json:
        app.summarize("find")


def as_json(value: object) -> str:
    """Return a value of the library as indented JSON, for people and for ``set``."""
    return json.dumps(
        value,
        indent=2,
        ensure_ascii=False,
        default=lambda one: rfc3339(one) if isinstance(one, datetime) else fields_of(one),
    )
