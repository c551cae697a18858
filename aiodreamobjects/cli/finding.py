"""The objects that an address stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import NothingFoundError
from aiodreamobjects.cli.options import patterns_of

Taken = Callable[[str], bool]
NO_FILTERS: Mapping[str, tuple[str, ...]] = {"include": (), "exclude": (), "include_from": (), "exclude_from": ()}
"""The options of a command without filters."""


def selection(address: Remote, options: Mapping[str, Any]) -> Taken:
    """Return what says whether a key is taken: by the wildcards of the address, and by --include and --exclude."""
    matches = None if address.wildcard is None else address.matcher().match
    include, exclude = patterns_of(options)
    select = dream.Patterns(include, exclude).select if include or exclude else None
    base = len(address.base)

    def takes(key: str) -> bool:
        return (matches is None or matches(key) is not None) and (select is None or select(key[base:]))

    return takes


async def objects(app: App, address: Remote, options: Mapping[str, Any]) -> AsyncIterator[dream.ObjectInfo]:
    """Yield the objects that an address takes: by its wildcards, or everything below it."""
    takes, is_one = selection(address, options), True
    bucket = (await app.session()).bucket(address.bucket)
    prefix = address.key if address.wildcard is None else address.key[: address.wildcard]
    async for info in bucket.list(prefix):
        if takes(info.key):
            is_one = False
            yield info
    if is_one and address.wildcard is not None:
        msg = f"{address}: no object matches"
        raise NothingFoundError(msg)


async def one_or_all(app: App, address: Remote, options: Mapping[str, Any]) -> AsyncIterator[dream.ObjectInfo]:
    """Yield what an address takes: one object, the matches of wildcards, or everything below a prefix with a slash."""
    if address.wildcard is None and not address.is_directory:
        obj = (await app.session()).bucket(address.bucket).object(address.key)
        yield await obj.head()
        return
    async for info in objects(app, address, options):
        yield info
