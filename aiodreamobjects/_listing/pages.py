"""Listings: pages as they come, one ahead, and what is on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from math import ceil
from typing import Generic, TypeVar

from aiodreamobjects._checks import encode_utf8
from aiodreamobjects._concurrency import ahead
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._listing.parallel import PAGE_KEYS, list_in_parallel
from aiodreamobjects._models import BucketInfo, CommonPrefix, ObjectInfo, UploadInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._wire.contract import Cursor, Page

T = TypeVar("T")

Fetch = Callable[[Cursor | None, int], Awaitable[Page[T]]]
"""A page, from a cursor on and with so many items at most."""


class Listing(Generic[T]):
    """What ``async for`` goes through. Each iteration starts from the beginning; a page is used while the next one comes.

    Errors of the service are raised where the page is asked for. Leaving the loop early cancels the request that is
    under way; ``contextlib.aclosing(listing.pages())`` waits for its end as well.
    """

    def __init__(self, open_pages: Callable[[], AsyncGenerator[list[T], None]]) -> None:
        self._open_pages = open_pages

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page:
                    yield item

    def pages(self) -> AsyncGenerator[list[T], None]:
        """Lists of up to 1,000 items, one per request."""
        return self._open_pages()

    async def collect(self) -> list[T]:
        """Everything, in one list: as large as the listing."""
        return [item async for page in self.pages() for item in page]


async def _one_after_the_other(fetch: Fetch[T], limit: int | None) -> AsyncGenerator[list[T], None]:
    left, cursor = limit, None
    # A service that leads in a circle is noticed by looking back to a page ever farther away (Brent).
    milestone, pages, next_milestone = None, 0, 1
    while left is None or left > 0:
        page = await fetch(cursor, PAGE_KEYS if left is None else min(PAGE_KEYS, left))
        items = list(page.items if left is None else page.items[:left])
        if items:
            yield items
        if page.next is None:
            return
        if page.next in (cursor, milestone):
            msg = f"the listing does not get on: the service says again to continue at {page.next!r}"
            raise ServiceError(msg, status=200)
        cursor = page.next
        pages += 1
        if pages == next_milestone:
            milestone, next_milestone = cursor, 2 * next_milestone
        left = None if left is None else left - len(items)


def list_buckets(runtime: Runtime) -> Listing[BucketInfo]:
    async def fetch() -> AsyncGenerator[list[BucketInfo], None]:
        yield await runtime.wire.list_buckets()

    return Listing(fetch)


def list_objects(
    runtime: Runtime, bucket: str, prefix: str, start_after: str | None, limit: int | None, parallel: int = 1
) -> Listing[ObjectInfo]:
    _check_prefix(prefix)
    if start_after is not None:
        encode_utf8("start_after", start_after)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        msg = f"limit {limit!r} must be a number of items, or None for all"
        raise ValueError(msg)
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        msg = f"parallel {parallel!r} must be a number of requests at once, at least 1"
        raise ValueError(msg)

    async def fetch(after: str | None, count: int, cursor: Cursor | None = None) -> Page[ObjectInfo]:
        page = await runtime.wire.list_objects(bucket, prefix=prefix, start_after=after, cursor=cursor, max_keys=count)
        items = [item for item in page.items if isinstance(item, ObjectInfo)]
        for info in (*items[:1], *items[-1:]):  # what is listed may be deleted next
            if not info.key.startswith(prefix):
                msg = f"asked for keys that start with {prefix!r}, the service lists {info.key!r} in s3://{bucket}"
                raise ServiceError(msg, code="UnreadableReply", status=200)
        return Page(items, page.next)

    async def fetch_next(cursor: Cursor | None, count: int) -> Page[ObjectInfo]:
        return await fetch(start_after, count, cursor)

    width = min(parallel, runtime.limits.requests)
    if limit is not None:
        width = min(width, ceil(limit / PAGE_KEYS))
    if width <= 1:
        return Listing(lambda: ahead(_one_after_the_other(fetch_next, limit)))
    return Listing(lambda: list_in_parallel(fetch, width, prefix, start_after, limit))


def list_dir(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo | CommonPrefix]:
    _check_prefix(prefix)

    async def fetch(cursor: Cursor | None, count: int) -> Page[ObjectInfo | CommonPrefix]:
        return await runtime.wire.list_objects(bucket, prefix=prefix, delimiter="/", cursor=cursor, max_keys=count)

    return Listing(lambda: ahead(_one_after_the_other(fetch, None)))


def list_versions(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo]:
    _check_prefix(prefix)

    async def fetch(cursor: Cursor | None, _: int) -> Page[ObjectInfo]:
        return await runtime.wire.list_versions(bucket, prefix=prefix, cursor=cursor)

    return Listing(lambda: ahead(_one_after_the_other(fetch, None)))


def list_uploads(runtime: Runtime, bucket: str, prefix: str) -> Listing[UploadInfo]:
    _check_prefix(prefix)

    async def fetch(cursor: Cursor | None, _: int) -> Page[UploadInfo]:
        return await runtime.wire.list_uploads(bucket, prefix=prefix, cursor=cursor)

    return Listing(lambda: ahead(_one_after_the_other(fetch, None)))


def _check_prefix(prefix: str) -> None:
    encode_utf8("prefix", prefix)
