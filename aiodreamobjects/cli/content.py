"""``cat`` and ``put``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote, one_object, remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import NothingFoundError, RefusedError
from aiodreamobjects.cli.finding import NO_FILTERS, objects
from aiodreamobjects.cli.options import (
    SYMLINKS,
    command,
    headers_of,
    key_of,
    pass_app,
    raw,
    version_id,
    writes,
)
from aiodreamobjects.cli.values import RANGE


@command(
    "cat",
    examples="""
dreamobjects cat s3://logs/today.txt
dreamobjects cat 's3://logs/2026-11-*' | sort
dreamobjects cat --range 0-99 s3://logs/today.txt     # the first 100 bytes
dreamobjects cat --range -100 s3://logs/today.txt     # the last 100
""",
)
@click.argument("addresses", metavar="URI...", nargs=-1, required=True)
@click.option(
    "--range", "byte_range", type=RANGE, metavar="A-B", help="Only these bytes, both ends inclusive; A- and -N too."
)
@version_id
@click.option("--sse-c", metavar="FILE", help="A file with the 32 bytes of the object's encryption key.")
@raw
@pass_app
async def cat_command(app: App, addresses: tuple[str, ...], **options: Any) -> None:
    """Print the content of objects, one after the other."""
    found = [remote(address, is_raw=options["raw"]) for address in addresses]
    for where in found:
        if options["version_id"] is not None and (where.is_directory or where.wildcard is not None):
            msg = f"{where}: --version-id takes one object: leave out wildcards, or add --raw"
            raise RefusedError(msg)

    async def act(where: Remote) -> None:
        async for one in _meant(app, where):
            await print_object(app, one, options)

    await app.one_by_one(found, act)


async def _meant(app: App, where: Remote) -> AsyncIterator[Remote]:
    """Yield the objects to print: one, the matches of wildcards, or those of a directory, without what is below its own."""
    if where.wildcard is None and not where.is_directory:
        yield where
        return
    is_none, bucket = True, (await app.session()).bucket(where.bucket)
    found = objects(app, where, NO_FILTERS) if where.wildcard is not None else bucket.list_dir(where.key)
    async for info in found:
        if isinstance(info, dream.ObjectInfo):
            is_none = False
            yield Remote(info.bucket, info.key, is_raw=True)
    if is_none and where.key:
        msg = f"{where}: no objects there"
        raise NothingFoundError(msg)


async def print_object(app: App, where: Remote, options: dict[str, Any]) -> None:
    """Write an object to standard output."""
    from aiodreamobjects.cli.work import in_thread  # noqa: PLC0415 - it imports asyncio

    app.out.flush()
    obj = (await app.session()).bucket(where.bucket).object(where.key)
    asked = {
        "range": options.get("byte_range"),
        "version_id": options.get("version_id"),
        "encryption": key_of(options.get("sse_c")),
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    async with obj.get(**given) as body:
        async for chunk in body:
            await in_thread(app.out.write, chunk)
    app.done += 1


@command(
    "put",
    examples="""
pg_dump shop | dreamobjects put s3://backups/shop.sql --content-type application/sql
echo hello | dreamobjects put - s3://photos/hello.txt
tar cz site | dreamobjects pipe s3://backups/site.tar.gz
""",
)
@click.argument("words", metavar="[-] URI", nargs=-1, required=True)
@raw
@writes
@click.option("--symlinks", type=click.Choice(SYMLINKS), help="For scripts that give it to cp: a pipe has no links.")
@pass_app
async def put_command(app: App, words: tuple[str, ...], **options: Any) -> None:
    """Store standard input, of any length, as an object. 'pipe' is another name for this."""
    if len(words) > 1 + (words[0] == "-"):
        msg = f"{words[0]}: put stores standard input: use cp for files"
        raise RefusedError(msg)
    await store_input(app, one_object(words[-1], is_raw=options["raw"]), options)


async def store_input(app: App, where: Remote, options: dict[str, Any]) -> None:
    """Store standard input."""
    from aiodreamobjects.cli.work import standard_input  # noqa: PLC0415 - it imports asyncio

    if where.is_directory:
        msg = f"{where}: must be an object: standard input has no name"
        raise RefusedError(msg)
    obj = (await app.session()).bucket(where.bucket).object(where.key)
    given = {name: options[name] for name in ("acl", "checksum") if options.get(name) is not None}
    given |= headers_of(options)
    if options.get("resume"):
        msg = "--resume: standard input cannot be read again: leave it out"
        raise RefusedError(msg)
    if (key := key_of(options.get("sse_c"))) is not None:
        given["encryption"] = key
    if options.get("if_absent"):
        given["if_absent"] = True
    size = None
    try:
        if not app.is_dry:
            with app.bar(where.key) as bar:
                size = (await obj.put(standard_input(), progress=bar.callback, **given)).size
    except dream.AlreadyExistsError:
        if "if_absent" not in given:
            raise
        app.count("kept", 1)
        app.out.say(f"dreamobjects: {where}: exists already, so it is kept")
    else:
        app.acted("put", "-", where, size=size)
