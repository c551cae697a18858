"""``rm``, ``mb`` and ``rb``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote, bucket_of, remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.finding import objects, selection
from aiodreamobjects.cli.options import (
    ACLS,
    command,
    filters,
    pass_app,
    raw,
    recursive,
    version_id,
    workers,
)
from aiodreamobjects.cli.values import DURATION

_BATCH = 8000


@command(
    "rm",
    examples="""
dreamobjects rm s3://photos/a.jpg                       # a missing object is no error
dreamobjects rm 's3://photos/2025/*.tmp'
dreamobjects rm -r s3://photos/2025/ --older-than 30d
dreamobjects rm -r --versions --yes s3://photos/old/    # for good, with all versions
dreamobjects rm -r --dry-run s3://photos/2025/
""",
)
@click.argument("addresses", metavar="URI...", nargs=-1, required=True)
@recursive
@version_id
@click.option("--versions", is_flag=True, help="Delete every version and delete marker, for good.")
@click.option(
    "--older-than", type=DURATION, metavar="TIME", help="Only what was stored longer ago than this, such as 30d."
)
@raw
@filters
@workers
@pass_app
async def rm_command(app: App, addresses: tuple[str, ...], **options: Any) -> None:
    """Delete objects. A directory needs -r. Where versions are kept, a deleted object can come back: see 'restore'."""
    found = [remote(address, is_raw=options["raw"]) for address in addresses]
    for where in found:
        if not options["recursive"] and not where.key:
            msg = f"{where}: is a bucket: add -r to delete all its objects, or use rb"
            raise RefusedError(msg)
        if not options["recursive"] and where.is_directory and not options["raw"]:
            msg = (
                f"{where}: is a directory: add -r to delete what is below it, or --raw to delete an object of this name"
            )
            raise RefusedError(msg)
        if options["version_id"] is not None and (
            options["recursive"] or options["versions"] or where.wildcard is not None or not where.key
        ):
            msg = f"{where}: --version-id deletes a version of one object: leave out -r, --versions and wildcards"
            raise RefusedError(msg)
        if options["recursive"] and not where.key:
            await app.confirm(f"this deletes every object of {where}")
        if options["versions"]:
            await app.confirm(f"this deletes all versions of {where} for good")

    async def act(where: Remote) -> None:
        await _remove(app, where, options)

    await app.one_by_one(found, act)
    app.summarize("rm")


async def _remove(app: App, where: Remote, options: dict[str, Any]) -> None:
    bucket = (await app.session()).bucket(where.bucket)
    if options["versions"]:
        await _delete_all(app, where, _versions(app, where, options), options)
    elif options["recursive"] or where.wildcard is not None:
        below = where.below() if options["recursive"] and where.wildcard is None else where
        await _delete_all(app, where, objects(app, below, options), options)
    else:
        if options["older_than"] is not None and not _is_old(await bucket.object(where.key).head(), options):
            return
        if not app.is_dry:
            await bucket.object(where.key).delete(version_id=options["version_id"])
        app.acted("rm", where, **({"version_id": found} if (found := options["version_id"]) else {}))


async def _versions(app: App, where: Remote, options: dict[str, Any]) -> AsyncIterator[dream.ObjectInfo]:
    takes = selection(where, options)
    is_prefix = options["recursive"] or where.wildcard is not None
    prefix = where.key if where.wildcard is None else where.key[: where.wildcard]
    if options["recursive"] and where.wildcard is None:
        prefix = where.below().key
    async for item in (await app.session()).bucket(where.bucket).list_versions(prefix):
        if (is_prefix or item.key == where.key) and takes(item.key):
            yield item


def _is_old(item: dream.ObjectInfo, options: dict[str, Any]) -> bool:
    age = options["older_than"]
    return age is None or (item.last_modified is not None and datetime.now(UTC) - item.last_modified >= age)


async def _delete_all(app: App, where: Remote, found: AsyncIterator[dream.ObjectInfo], options: dict[str, Any]) -> None:
    batch: list[dream.ObjectInfo] = []
    async for item in found:
        if _is_old(item, options):
            batch.append(item)
        if len(batch) == _BATCH:
            await _delete(app, where, batch)
            batch = []
    await _delete(app, where, batch)


async def _delete(app: App, where: Remote, batch: Iterable[dream.ObjectInfo]) -> None:
    items = list(batch)
    failed: set[tuple[str, str | None]] = set()
    if items and not app.is_dry:
        bucket = (await app.session()).bucket(where.bucket)
        report = await bucket.delete_many(items, on_error="collect", **await app.spread())
        app.failures(report, lambda key: Remote(where.bucket, key))
        failed = {(failure.key, failure.version_id) for failure in report.failures}
        if report.failed > len(failed):
            app.done += report.done
            return
    for item in items:
        if (item.key, item.version_id) not in failed:
            more: dict[str, Any] = {"version_id": item.version_id} if item.version_id else {}
            app.acted("rm", Remote(where.bucket, item.key), **more)


@command(
    "mb",
    examples="""
dreamobjects mb s3://my-new-bucket
dreamobjects mb --lock s3://archive      # with Object Lock, which keeps versions
dreamobjects mb --acl public-read s3://site
""",
)
@click.argument("addresses", metavar="URI...", nargs=-1, required=True)
@click.option("--lock", is_flag=True, help="Make it with Object Lock.")
@click.option("--acl", type=click.Choice(ACLS), help="The canned ACL.")
@click.option("--exist-ok", is_flag=True, help="Do not fail if you have it already.")
@pass_app
async def mb_command(app: App, addresses: tuple[str, ...], **options: Any) -> None:
    """Make buckets."""
    session = await app.session()
    for where in map(bucket_of, addresses):
        bucket = session.bucket(where.bucket)
        try:
            if not app.is_dry:
                lock = {"object_lock": True} if options["lock"] else {}
                await bucket.create(options["acl"], options["exist_ok"], **lock)
        except dream.DreamObjectsError as error:
            app.fail(where, error)
        else:
            app.acted("mb", where)
    app.summarize("mb")


@command(
    "rb",
    examples="""
dreamobjects rb s3://empty-bucket
dreamobjects rb --force --yes s3://old-bucket   # with everything in it, for good
""",
)
@click.argument("addresses", metavar="URI...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="First delete every object, version and open upload in it.")
@pass_app
async def rb_command(app: App, addresses: tuple[str, ...], **options: Any) -> None:
    """Remove buckets. They must be empty, unless --force is given."""
    found = [bucket_of(address) for address in addresses]
    session = await app.session()
    for where in found:
        if options["force"]:
            await app.confirm(f"this deletes {where} with every object and version in it, for good")
    for where in found:
        try:
            if not app.is_dry:
                await session.bucket(where.bucket).delete(options["force"])
        except dream.BulkError as error:
            app.failures(error.report, lambda key, bucket=where.bucket: Remote(bucket, key))  # type: ignore[misc]  # a default in a lambda
        except dream.DreamObjectsError as error:
            app.fail(where, error)
        else:
            app.acted("rb", where)
    app.summarize("rb")
