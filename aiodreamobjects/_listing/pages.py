"""Listings that users iterate over. They fetch the next page while the caller uses the current one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Generic, TypeVar

from aiodreamobjects._checks import LONGEST_SHOWN, encode_utf8
from aiodreamobjects._concurrency import ahead
from aiodreamobjects._errors import OfOpenSession
from aiodreamobjects._later import Later
from aiodreamobjects._listing import tokens
from aiodreamobjects._listing.tokens import Position, Scope
from aiodreamobjects._models import BucketInfo, CommonPrefix, ObjectInfo, UploadInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3 import paging
from aiodreamobjects._s3.listings import PAGE_KEYS
from aiodreamobjects._s3.paging import VersionMark
from aiodreamobjects._s3.replies import name_of
from aiodreamobjects._s3.values import Page

if TYPE_CHECKING:
    from aiodreamobjects._listing import parallel as parallel_listing
else:
    parallel_listing = Later("aiodreamobjects._listing.parallel")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class ListPage(Generic[T]):
    """A page of a listing: its ``items``, and the ``token`` of the next page. Without a token there is no next page."""

    items: tuple[T, ...]
    token: str | None = None

    def __repr__(self) -> str:
        shown = self.token
        if shown is not None and len(shown) > LONGEST_SHOWN:
            shown = f"{shown[:LONGEST_SHOWN]}..."
        return f"<ListPage of {len(self.items):,} items, token={shown!r}>"


@dataclass(frozen=True, slots=True)
class _Pager(Generic[T]):
    """What a listing needs to begin after any of its items."""

    runtime: Runtime
    scope: Scope
    open_after: Callable[[Position | None, int | None], AsyncGenerator[Page[T], None]]
    position_of: Callable[[Sequence[T], Position | None], Position]
    """Returns the position of the last of these items, which came after another position."""

    async def page(self, limit: int, token: str | None, secret: str | bytes | None) -> ListPage[T]:
        keys = self._keys() if secret is None else (tokens.token_key(secret),)
        after = None if token is None else tokens.read(keys, self.scope, token)
        items: list[T] = []
        goes_on = False
        async with aclosing(self.open_after(after, limit)) as pages:
            async for page in pages:
                items += page.items
                goes_on = page.next is not None
        if not goes_on or len(items) < limit:
            return ListPage(tuple(items))
        return ListPage(tuple(items), tokens.write(keys[0], self.scope, self.position_of(items, after)))

    def _keys(self) -> Sequence[bytes]:
        """Return the keys of the session's credentials: those of now, and then those that they replaced."""
        known, credentials = self.runtime.token_keys, self.runtime.s3.credentials
        current = tokens.token_key(tokens.OF_ANYONE if credentials is None else credentials.secret_key)
        if not known or known[0] != current:
            known.appendleft(current)
        return known


class Listing(OfOpenSession, Generic[T]):
    """An iterable for ``async for``. Each loop starts from the beginning, and fetches the next page ahead.

    The loop raises the service's errors when it needs the page. Leaving the loop early cancels the request in progress;
    ``contextlib.aclosing(listing.pages())`` also waits for its end.
    """

    def __init__(
        self,
        what: str,
        open_pages: Callable[[], AsyncGenerator[list[T], None]],
        pager: _Pager[T] | None = None,
        no_pager: str = "",
    ) -> None:
        self._what, self._open_pages = what, open_pages
        self._pager, self._no_pager = pager, no_pager

    def __repr__(self) -> str:
        return f"<Listing of {self._what}>"

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page:
                    yield item

    def pages(self) -> AsyncGenerator[list[T], None]:
        """Return the listing in lists of up to 1,000 items, one request for each."""
        return self._open_pages()

    async def collect(self) -> list[T]:
        """Return everything in one list. It is as large as the listing."""
        return [item async for page in self.pages() for item in page]

    async def page(
        self, limit: int = PAGE_KEYS, token: str | None = None, *, secret: str | bytes | None = None
    ) -> ListPage[T]:
        """Return one page, for an API whose clients ask for the next one. Pass its ``token`` to get that page.

        A page has ``limit`` items, and fewer only at the end. It takes one request per 1,000 items. The last page has no token; it
        may be empty if objects were deleted meanwhile, or if the service could not say that nothing follows. Objects that were
        deleted or added between two calls change no other item.

        A token is text that any part of a URL can hold. It begins after the last item of its page, and contains the name of that
        item, readable for anyone. It is signed: raises ValueError, before anything is sent, for a token of another listing (another
        bucket, prefix or method) and for one that was changed or cut short. ``secret`` signs it. By default, the session's secret
        key does, so every process with this key takes the token. Temporary credentials change: a session knows the last 8 secret
        keys that it used here, but no other process's. Give a ``secret`` of your own if tokens must outlive credentials. An anonymous
        session has no secret key: anyone can make a token that begins elsewhere in the same listing.
        """
        secret = (
            None if secret is None else tokens.check_secret(secret)
        )  # first: tracebacks with local variables show no other
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            msg = f"limit {limit!r} must be a number of items, at least 1"
            raise ValueError(msg)
        if self._pager is None:
            raise ValueError(self._no_pager)
        return await self._pager.page(limit, token, secret)


def list_buckets(runtime: Runtime) -> Listing[BucketInfo]:
    async def fetch() -> AsyncGenerator[list[BucketInfo], None]:
        yield await runtime.s3.list_buckets()

    return Listing("buckets", fetch, no_pager="the service lists all buckets in one reply: use collect()")


def list_objects(
    runtime: Runtime, bucket: str, prefix: str, start_after: str | None, limit: int | None, parallel: int = 1
) -> Listing[ObjectInfo]:
    _check_prefix(prefix)
    _check_begin_and_limit(start_after, limit)
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        msg = f"parallel {parallel!r} must be a number of requests at once, at least 1"
        raise ValueError(msg)

    def open_after(position: Position | None, count: int | None) -> AsyncGenerator[Page[ObjectInfo], None]:
        return paging.objects(runtime.s3, bucket, prefix, _later(start_after, position), count)

    pager = _Pager(runtime, Scope("objects", bucket, prefix), open_after, lambda items, _: Position(items[-1].key))
    width = min(parallel, runtime.limits.requests)
    if limit is not None:
        width = min(width, ceil(limit / PAGE_KEYS))
    if width <= 1:
        return _listing(pager, limit)

    async def fetch(after: str | None, count: int) -> Page[ObjectInfo]:
        return await paging.objects_behind(runtime.s3, bucket, prefix, after, count)

    def open_pages() -> AsyncGenerator[list[ObjectInfo], None]:
        runtime.require_open()
        return parallel_listing.list_in_parallel(fetch, width, prefix, start_after, limit)

    return _listing(pager, limit, open_pages)


def list_dir(
    runtime: Runtime, bucket: str, prefix: str, start_after: str | None, limit: int | None
) -> Listing[ObjectInfo | CommonPrefix]:
    _check_prefix(prefix)
    _check_begin_and_limit(start_after, limit)

    def open_after(
        position: Position | None, count: int | None
    ) -> AsyncGenerator[Page[ObjectInfo | CommonPrefix], None]:
        return paging.directory(runtime.s3, bucket, prefix, _later(start_after, position), count)

    return _listing(
        _Pager(
            runtime,
            Scope("one level of objects", bucket, prefix),
            open_after,
            lambda items, _: Position(name_of(items[-1])),
        ),
        limit,
    )


def list_versions(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo]:
    _check_prefix(prefix)

    def open_after(position: Position | None, count: int | None) -> AsyncGenerator[Page[ObjectInfo], None]:
        after = None if position is None else _mark_of(position)
        return paging.versions(runtime.s3, bucket, prefix, after, count)

    return _listing(_Pager(runtime, Scope("versions", bucket, prefix), open_after, _position_of_version))


def _position_of_version(items: Sequence[ObjectInfo], before: Position | None) -> Position:
    last = items[-1]
    seen = next((n for n, info in enumerate(reversed(items)) if info.key != last.key), len(items))
    if seen == len(items) and before is not None and before.name == last.key:
        seen += _mark_of(before).seen
    modified = "" if last.last_modified is None else last.last_modified.isoformat()
    return Position(last.key, last.version_id or "", f"{seen} {modified}")


def _mark_of(position: Position) -> VersionMark:
    seen, _, modified = position.about.partition(" ")
    when = datetime.fromisoformat(modified) if modified else None
    return VersionMark(position.name, position.id or None, when, int(seen))


def list_uploads(runtime: Runtime, bucket: str, prefix: str) -> Listing[UploadInfo]:
    _check_prefix(prefix)

    def open_after(position: Position | None, count: int | None) -> AsyncGenerator[Page[UploadInfo], None]:
        after = None if position is None else (position.name, position.id)
        return paging.uploads(runtime.s3, bucket, prefix, after, count)

    return _listing(
        _Pager(
            runtime,
            Scope("uploads", bucket, prefix),
            open_after,
            lambda items, _: Position(items[-1].key, items[-1].upload_id),
        )
    )


def _listing(
    pager: _Pager[T], limit: int | None = None, open_pages: Callable[[], AsyncGenerator[list[T], None]] | None = None
) -> Listing[T]:
    if limit is None:
        return Listing(str(pager.scope), open_pages or (lambda: _lists(pager.open_after(None, None))), pager)
    no_pager = f"page() has a limit of its own: leave limit={limit} out where the listing is made"
    return Listing(str(pager.scope), open_pages or (lambda: _lists(pager.open_after(None, limit))), no_pager=no_pager)


async def _lists(pages: AsyncGenerator[Page[T], None]) -> AsyncGenerator[list[T], None]:
    """Yield the items of each page. Fetch the next page meanwhile."""
    async with aclosing(ahead(pages)) as fetched:
        async for page in fetched:
            yield list(page.items)


def _later(start_after: str | None, position: Position | None) -> str | None:
    """Return where to begin: after both, if both are given."""
    return start_after if position is None else max(position.name, start_after or "")


def _check_prefix(prefix: str) -> None:
    encode_utf8("prefix", prefix)


def _check_begin_and_limit(start_after: str | None, limit: int | None) -> None:
    if start_after is not None:
        encode_utf8("start_after", start_after)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        msg = f"limit {limit!r} must be a number of items, 0 or more, or None for all"
        raise ValueError(msg)
