"""``cp``, ``mv`` and ``sync``: what the addresses mean. ``transfers`` carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from aiodreamobjects.cli.addresses import Local, Remote, Standard, first_wildcard, parse
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.options import (
    HEADER_NAMES,
    SYMLINKS,
    command,
    filters,
    pass_app,
    raw,
    recursive,
    version_id,
    workers,
    writes,
)

_symlinks = click.option(
    "--symlinks",
    type=click.Choice(SYMLINKS),
    default="follow",
    show_default=True,
    help="What to do with symbolic links.",
)
_UP, _DOWN, _BETWEEN = "an upload", "a download", "a copy between buckets"
_IN, _OUT = "standard input", "standard output"
_MEANT_FOR: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*HEADER_NAMES, "metadata", "acl", "checksum"), (_UP, _BETWEEN, _IN)),
    **dict.fromkeys(("include", "include_from", "exclude", "exclude_from"), (_UP, _DOWN, _BETWEEN)),
    **dict.fromkeys(("symlinks", "missing_ok"), (_UP,)),
    "if_absent": (_UP, _DOWN, _BETWEEN, _IN),
    "resume": (_UP, _DOWN),
    "version_id": (_DOWN, _BETWEEN, _OUT),
}
"""The directions for which an option means something. Those that are not here are for all."""
_missing_ok = click.option("--missing-ok", is_flag=True, help="Leave out files that vanish meanwhile.")


@command(
    "cp",
    examples="""
dreamobjects cp report.pdf s3://docs/2026/             # keeps the name
dreamobjects cp -r site s3://www --cache-control max-age=3600
dreamobjects cp 's3://docs/2026/*.pdf' .               # quoted: * matches / too
dreamobjects cp -r s3://docs/2026 backup/              # everything below 2026/
dreamobjects cp s3://docs/a.pdf s3://archive/a.pdf     # the service copies
dreamobjects cp s3://docs/a.txt - | less
""",
)
@click.argument("addresses", metavar="SRC... DST", nargs=-1, required=True)
@recursive
@version_id
@raw
@filters
@writes
@workers
@_symlinks
@_missing_ok
@pass_app
async def cp_command(app: App, addresses: tuple[str, ...], **options: Any) -> None:
    """Copy files and objects: up, down, or between buckets.

    A directory needs -r, or a slash at its end: both mean its contents. A target that ends in / keeps the source's name.
    A file appears when every byte of it is there.
    """
    await _transfer(app, "cp", addresses, options)


@command(
    "mv",
    examples="""
dreamobjects mv report.pdf s3://docs/2026/
dreamobjects mv s3://docs/a.pdf s3://docs/b.pdf        # rename
dreamobjects mv -r s3://docs/2025 s3://archive/2025
""",
)
@click.argument("addresses", metavar="SRC... DST", nargs=-1, required=True)
@recursive
@raw
@filters
@writes
@workers
@_symlinks
@_missing_ok
@pass_app
async def mv_command(app: App, addresses: tuple[str, ...], **options: Any) -> None:
    """Move files and objects. Each source is deleted when its copy is complete."""
    await _transfer(app, "mv", addresses, {**options, "version_id": None})


@command(
    "sync",
    examples="""
dreamobjects sync site s3://www --delete
dreamobjects sync s3://www backup --compare etag
dreamobjects sync s3://www s3://mirror/www --dry-run
dreamobjects sync site s3://www --exclude '*.tmp' --exclude-from .gitignore
""",
)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--delete", is_flag=True, help="Delete what only the target has, at the end, if nothing failed.")
@click.option(
    "--compare",
    type=click.Choice(("size", "mtime", "etag", "etag-or-time")),
    default="mtime",
    show_default=True,
    help="What tells a changed file.",
)
@click.option("--max-delete", type=click.IntRange(min=0), metavar="N", help="Refuse to delete more than N.")
@raw
@filters
@writes
@workers
@_symlinks
@_missing_ok
@pass_app
async def sync_command(app: App, source: str, target: str, **options: Any) -> None:
    """Copy what is new or changed, so that DST becomes like SRC. Both stand for their contents."""
    await _transfer(app, "sync", (source, target), {**options, "recursive": True, "version_id": None})


async def _transfer(app: App, verb: str, addresses: tuple[str, ...], options: dict[str, Any]) -> None:
    from aiodreamobjects.cli.transfers import Transfer  # noqa: PLC0415 - --help needs none

    if len(addresses) < 2:  # noqa: PLR2004 - a source and a target
        msg = f"{verb} {' '.join(addresses)}: needs a source and a target"
        raise RefusedError(msg)
    sources = [parse(address, is_raw=options["raw"]) for address in addresses[:-1]]
    target = parse(addresses[-1], is_raw=True)
    for address in addresses[:-1]:
        if address.startswith("s3://") and address.count("/") == 2 and not options["recursive"]:  # noqa: PLR2004 - s3://bucket
            msg = f"{address}: is a bucket: add -r, or a slash at its end, to take all its objects"
            raise RefusedError(msg)
    _check_directions(verb, sources, target)
    _check_options(verb, sources, target, options)
    if not options["raw"] and isinstance(target, Local | Remote) and "*" in str(target):
        msg = f"{target}: a target has no wildcards: quote them in the source, or add --raw"
        raise RefusedError(msg)
    transfer = Transfer(app, verb, options)
    are_trees = any(_is_many(source, options) for source in sources)
    if are_trees and options["version_id"]:
        msg = f"{verb} {' '.join(addresses)}: --version-id is for one object: see restore --as-of for a whole prefix"
        raise RefusedError(msg)
    is_of_many = len(sources) > 1 or are_trees
    if is_of_many and not isinstance(target, Standard):
        target = _directory(target, options, verb)
    into = is_of_many or (not isinstance(target, Standard) and target.is_directory)

    async def act(source: Local | Remote | Standard) -> None:
        await transfer.run(source, target, into=into)

    await app.one_by_one(sources, act)
    app.summarize(verb)


def _check_directions(verb: str, sources: list[Local | Remote | Standard], target: Local | Remote | Standard) -> None:
    for source in sources:
        if isinstance(source, Local) and isinstance(target, Local):
            msg = f"{verb} {source} {target}: both are local: one must be remote, as s3://bucket/key"
        elif isinstance(source, Standard | Local) and isinstance(target, Standard | Local):
            msg = f"{verb} {source} {target}: nothing here is remote, as s3://bucket/key"
        elif verb != "cp" and (isinstance(source, Standard) or isinstance(target, Standard)):
            msg = f"{verb} {source} {target}: - works with cp, cat and put only"
        else:
            continue
        raise RefusedError(msg)


def _check_options(
    verb: str, sources: list[Local | Remote | Standard], target: Local | Remote | Standard, options: dict[str, Any]
) -> None:
    """Refuse options that would be ignored, before anything is sent."""
    given = [name for name, value in options.items() if value not in (None, False, (), "follow")]
    for source in sources:
        direction = _direction(source, target)
        for name in given:
            meant = _MEANT_FOR.get(name, (direction,))
            if direction not in meant:
                msg = f"{verb} {source} {target}: {_flag(name)} is for {', '.join(meant)}; this is {direction}: leave it out"
                raise RefusedError(msg)
    alone = [name for name in ("if_absent", "resume", "checksum") if name in given]
    if alone and options.get("delete"):
        other = _flag(alone[0])
        msg = f"{verb} {sources[0]} {target}: --delete does not go with {other}: run sync {other} first, then sync --delete"
        raise RefusedError(msg)


def _direction(source: Local | Remote | Standard, target: Local | Remote | Standard) -> str:
    if isinstance(source, Remote):
        return _BETWEEN if isinstance(target, Remote) else _DOWN if isinstance(target, Local) else _OUT
    return _UP if isinstance(source, Local) else _IN


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def is_local_pattern(source: Local, options: dict[str, Any]) -> bool:
    """Return whether a local path has wildcards that no shell has replaced. A file of exactly this name is that file."""
    import os  # noqa: PLC0415 - beside its only use

    if options["raw"] or first_wildcard(source.path) is None:
        return False
    is_refused = os.path.isdir(source.path) and not options["recursive"]  # noqa: PTH112 - the path as it was written
    return is_refused or not os.path.lexists(source.path)


def _is_many(source: Local | Remote | Standard, options: dict[str, Any]) -> bool:
    """Return whether a source stands for any number of objects."""
    if isinstance(source, Standard):
        return False
    if isinstance(source, Remote):
        return source.wildcard is not None or source.is_directory or options["recursive"]
    if is_local_pattern(source, options):
        return True
    if source.is_directory and not (options["recursive"] or source.path.endswith("/") or source.path in (".", "..")):
        msg = f"{source}: is a directory: add -r, or a slash at its end, to take its contents"
        raise RefusedError(msg)
    return source.is_directory


def _directory(target: Local | Remote, options: dict[str, Any], verb: str) -> Local | Remote:
    """Return the target as a directory. Raises RefusedError if it can only be one object or file."""
    import os  # noqa: PLC0415 - beside its only use

    if isinstance(target, Remote):
        if not target.is_directory and not options["recursive"]:
            msg = f"{verb}: {target}: several sources need a directory: write {target}/"
            raise RefusedError(msg)
        return target.below()
    if os.path.lexists(target.path) and not os.path.isdir(target.path):  # noqa: PTH112 - the path as it was written
        msg = f"{target}: is a file, and several sources need a directory"
        raise RefusedError(msg)
    return target
