"""``versions``, ``restore`` and ``uploads``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote, one_object, remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import NothingFoundError, RefusedError
from aiodreamobjects.cli.listing import version_words
from aiodreamobjects.cli.options import command, key_of, pass_app, raw, recursive, version_id
from aiodreamobjects.cli.output import clock
from aiodreamobjects.cli.values import DURATION, MOMENT


@command(
    "versions",
    examples="""
dreamobjects versions s3://docs/plan.txt         # of one object
dreamobjects versions s3://docs/2026/            # of all objects below a prefix
""",
)
@click.argument("address", metavar="URI")
@recursive
@pass_app
async def versions_command(app: App, address: str, **options: Any) -> None:
    """List versions and delete markers, the newest of each object first."""
    where = remote(address, is_raw=True)
    where = where.below() if options["recursive"] else where
    bucket = (await app.session()).bucket(where.bucket)
    if where.is_directory:
        async for item in bucket.list_versions(where.key):
            _show(app, item)
    else:
        for item in await bucket.object(where.key).versions():
            _show(app, item)
    if not app.done and where.key:
        msg = f"{where}: nothing there"
        raise NothingFoundError(msg)
    if app.out.is_json:
        app.summarize("versions")


def _show(app: App, item: dream.ObjectInfo) -> None:
    app.done += 1
    app.bytes += item.size or 0
    app.out.value("version", item, f"{clock(item.last_modified)} {item.size or 0:>10} {item.key} {version_words(item)}")


@command(
    "restore",
    examples="""
dreamobjects restore s3://docs/plan.txt                          # undo the deletion
dreamobjects restore s3://docs/plan.txt --version-id ID          # see: dreamobjects versions
dreamobjects restore s3://docs/plan.txt --as-of 2026-11-28T12:00
dreamobjects restore -r s3://docs/2026/ --as-of 1d --dry-run     # everything as it was a day ago
""",
)
@click.argument("address", metavar="URI")
@version_id
@click.option("--as-of", type=MOMENT, metavar="TIME", help="As it was then: a date, a time, or 7d for 7 days ago.")
@recursive
@raw
@click.option("--sse-c", metavar="FILE", help="A file with the 32 bytes of the objects' encryption key.")
@pass_app
async def restore_command(app: App, address: str, **options: Any) -> None:
    """Bring objects back. Without options, undo the deletion. Works where versions are kept."""
    key = key_of(options["sse_c"])
    if key is not None and options["version_id"] is None and options["as_of"] is None:
        msg = "--sse-c goes with --version-id and --as-of: to undo a deletion takes no key"
        raise RefusedError(msg)
    session = await app.session()
    if options["recursive"]:
        where = remote(address, is_raw=True)
        where = where.below()
        if options["version_id"] is not None:
            msg = f"{where}: --version-id is a version of one object: leave out -r"
            raise RefusedError(msg)
        if options["as_of"] is not None:
            await _restore_tree(app, session.bucket(where.bucket), where, options["as_of"], key)
        else:
            await _undelete_all(app, session.bucket(where.bucket), where)
        app.summarize("restore")
        return
    where = one_object(address, is_raw=options["raw"])
    obj = session.bucket(where.bucket).object(where.key)
    if options["version_id"] is not None:
        await _restore(app, obj, where, options["version_id"], key)
    elif options["as_of"] is not None:
        old = [
            item
            for item in await obj.versions()
            if item.last_modified is not None and item.last_modified <= options["as_of"]
        ]
        if not old or old[0].version_id is None:
            msg = f"{where}: did not exist then: see dreamobjects versions {where}"
            raise NothingFoundError(msg)
        if old[0].is_delete_marker:
            msg = f"{where}: was deleted then: see dreamobjects versions {where}"
            raise NothingFoundError(msg)
        await _restore(app, obj, where, old[0].version_id, key)
    else:
        await _undelete(app, obj, where)


async def _restore(app: App, obj: dream.Object, where: Remote, version: str, key: dream.SseCustomer | None) -> None:
    if not app.is_dry:
        await obj.restore(version, encryption=key)
    app.acted("restore", where, version_id=version)


async def _undelete(app: App, obj: dream.Object, where: Remote) -> None:
    if not app.is_dry:
        await obj.undelete()
    app.acted("restore", where)


async def _undelete_all(app: App, bucket: dream.Bucket, where: Remote) -> None:
    deleted = [item.key async for item in bucket.list_versions(where.key) if item.is_delete_marker and item.is_latest]

    async def act(key: str) -> None:
        await _undelete(app, bucket.object(key), Remote(where.bucket, key))

    await app.each(deleted, act, lambda key: Remote(where.bucket, key))


async def _restore_tree(
    app: App, bucket: dream.Bucket, where: Remote, then: datetime, key: dream.SseCustomer | None
) -> None:
    plan = report = await bucket.restore_tree(where.key, as_of=then, dry_run=True, on_error="collect", encryption=key)
    await app.confirm_deletions(plan, where)
    if not app.is_dry:
        with app.bar("restore") as bar:
            report = await bucket.restore_tree(
                where.key, as_of=then, on_error="collect", progress=bar.callback, encryption=key
            )
    app.failures(report, where.join)
    failed = {failure.key for failure in report.failures}
    for one in plan.plan or ():
        if one.name not in failed:
            app.acted("rm" if one.action == "delete" else "restore", where.join(one.name), size=one.size)
    app.count("same", report.skipped)


@command(
    "uploads",
    examples="""
dreamobjects uploads ls s3://photos
dreamobjects uploads abort s3://photos --older-than 7d
""",
)
@click.argument("action", type=click.Choice(("ls", "abort")))
@click.argument("address", metavar="URI")
@click.option(
    "--older-than", type=DURATION, metavar="TIME", help="Only uploads that began longer ago than this, such as 7d."
)
@pass_app
async def uploads_command(app: App, action: str, address: str, **options: Any) -> None:
    """List or abort multipart uploads that were begun and never ended. Services keep their parts, and bill them."""
    where = remote(address, is_raw=True)
    bucket = (await app.session()).bucket(where.bucket)
    age = options["older_than"] or timedelta(0)
    if action == "abort":
        if options["older_than"] is None:
            await app.confirm(f"this aborts all uploads in {where}, also those in use; --older-than 1d spares these")
        found = [item async for item in bucket.uploads(where.key) if _is_older(item, age)]
        if not app.is_dry and found:
            report = await bucket.abort_uploads(age, prefix=where.key, on_error="collect")
            app.failures(report, lambda key: Remote(where.bucket, key))
            failed = {failure.key for failure in report.failures}
            found = [item for item in found if item.key not in failed]
        for item in found:
            app.acted("abort", Remote(where.bucket, item.key), upload_id=item.upload_id)
        app.summarize("uploads")
        return
    async for item in bucket.uploads(where.key):
        if _is_older(item, age):
            app.done += 1
            app.out.value("upload", item, f"{clock(item.initiated)} {Remote(where.bucket, item.key)} {item.upload_id}")
    if app.out.is_json:
        app.summarize("uploads")


def _is_older(item: dream.UploadInfo, age: timedelta) -> bool:
    return not age or (item.initiated is not None and datetime.now(item.initiated.tzinfo) - item.initiated >= age)
