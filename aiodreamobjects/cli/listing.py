"""``ls``."""

from __future__ import annotations

from typing import Any

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote, remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import NothingFoundError
from aiodreamobjects.cli.finding import objects, selection
from aiodreamobjects.cli.options import command, filters, pass_app, raw, recursive
from aiodreamobjects.cli.output import clock, human


@command(
    "ls",
    examples="""
dreamobjects ls                               # your buckets
dreamobjects ls s3://photos                   # one level, like a directory
dreamobjects ls -r -h s3://photos/2026/       # everything below, sizes as 1.2M
dreamobjects ls 's3://photos/*.jpg'           # a wildcard, quoted: * matches / too
dreamobjects ls --versions s3://photos/a.jpg  # every version
""",
)
@click.argument("address", metavar="[URI]", required=False)
@click.option("-l", "--long", "is_long", is_flag=True, help="Also print the ETag and the storage class.")
@recursive
@click.option("-h", "--human", "is_human", is_flag=True, help="Print sizes as 1.2M.")
@click.option("--versions", is_flag=True, help="List old versions and delete markers too.")
@raw
@filters
@pass_app
async def ls_command(app: App, address: str | None, **options: Any) -> None:
    """List buckets, or objects and directories of a bucket. Times are in UTC."""
    if address is None or address == "s3://":
        async for bucket in (await app.session()).buckets():
            app.out.value("bucket", bucket, f"{clock(bucket.created)} {bucket.name}")
            app.done += 1
    else:
        where = remote(address, is_raw=options["raw"])
        await (_versions if options["versions"] else _objects)(app, where, options)
    if app.out.is_json:
        app.summarize("ls")


async def _objects(app: App, where: Remote, options: dict[str, Any]) -> None:
    found: Any
    if options["recursive"] or where.wildcard is not None:
        found = objects(app, where, options)
        base = 0 if options["recursive"] else len(where.base)
    else:
        found, base = (await app.session()).bucket(where.bucket).list_dir(where.key), len(where.base)
    takes = selection(where, options)
    async for item in found:
        app.done += 1
        if isinstance(item, dream.CommonPrefix):
            if takes(item.prefix):
                app.out.value("prefix", item, f"{'PRE':>30} {item.prefix[base:]}")
        elif takes(item.key):
            app.bytes += item.size or 0
            app.out.value("object", item, _line(item, item.key[base:], options))
    if not app.done and where.key:
        msg = f"{where}: nothing there"
        raise NothingFoundError(msg)


async def _versions(app: App, where: Remote, options: dict[str, Any]) -> None:
    takes, base = selection(where, options), 0 if options["recursive"] else len(where.base)
    prefix = where.key if where.wildcard is None else where.key[: where.wildcard]
    async for item in (await app.session()).bucket(where.bucket).list_versions(prefix):
        if takes(item.key):
            app.done += 1
            app.bytes += item.size or 0
            app.out.value("version", item, f"{_line(item, item.key[base:], options)} {version_words(item)}")
    if not app.done and where.key:
        msg = f"{where}: nothing there"
        raise NothingFoundError(msg)


def version_words(item: dream.ObjectInfo) -> str:
    """Return the version, and what it is."""
    kind = " deleted" if item.is_delete_marker else ""
    return f"{item.version_id}{' latest' if item.is_latest else ''}{kind}"


def _line(item: dream.ObjectInfo, name: str, options: dict[str, Any]) -> str:
    size = human(item.size or 0) if options["is_human"] else str(item.size or 0)
    more = f" {item.etag or '-':<34} {item.storage_class or 'STANDARD'}" if options["is_long"] else ""
    return f"{clock(item.last_modified)} {size:>10}{more} {name}"
