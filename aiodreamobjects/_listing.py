"""Listings: pages as they come, one at a time, and what is on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from aiodreamobjects._checks import encode_utf8
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._models import CommonPrefix, ObjectInfo, UploadInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._wire.contract import Cursor, Page

T = TypeVar("T")

PAGE_KEYS = 1000
"""What S3 gives at most in one page."""


class Listing(Generic[T]):
    """What ``async for`` goes through. Each iteration starts from the beginning; one page is held at a time.

    Errors of the service are raised where the page is asked for. Leaving the loop early costs nothing.
    """

    def __init__(self, fetch: Callable[[Cursor | None, int], Awaitable[Page[T]]], limit: int | None = None) -> None:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            msg = f"limit {limit!r} must be a number of items, or None for all"
            raise ValueError(msg)
        self._fetch = fetch
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[list[T]]:
        """Lists of up to 1,000 items, one per request."""
        left, cursor = self._limit, None
        # A service that leads in a circle is noticed by looking back to a page ever farther away (Brent).
        milestone, pages, next_milestone = None, 0, 1
        while left is None or left > 0:
            page = await self._fetch(cursor, PAGE_KEYS if left is None else min(PAGE_KEYS, left))
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

    async def collect(self) -> list[T]:
        """Everything, in one list: as large as the listing."""
        return [item async for item in self]


def list_objects(
    runtime: Runtime, bucket: str, prefix: str, start_after: str | None, limit: int | None
) -> Listing[ObjectInfo]:
    _check_prefix(prefix)
    if start_after is not None:
        encode_utf8("start_after", start_after)

    async def fetch(cursor: Cursor | None, count: int) -> Page[ObjectInfo]:
        page = await runtime.wire.list_objects(
            bucket, prefix=prefix, start_after=start_after, cursor=cursor, max_keys=count
        )
        items = [item for item in page.items if isinstance(item, ObjectInfo)]
        for info in (*items[:1], *items[-1:]):  # what is listed may be deleted next
            if not info.key.startswith(prefix):
                msg = f"asked for keys that start with {prefix!r}, the service lists {info.key!r} in s3://{bucket}"
                raise ServiceError(msg, code="UnreadableReply", status=200)
        return Page(items, page.next)

    return Listing(fetch, limit)


def list_dir(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo | CommonPrefix]:
    _check_prefix(prefix)

    async def fetch(cursor: Cursor | None, count: int) -> Page[ObjectInfo | CommonPrefix]:
        return await runtime.wire.list_objects(bucket, prefix=prefix, delimiter="/", cursor=cursor, max_keys=count)

    return Listing(fetch)


def list_versions(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo]:
    _check_prefix(prefix)

    async def fetch(cursor: Cursor | None, _: int) -> Page[ObjectInfo]:
        return await runtime.wire.list_versions(bucket, prefix=prefix, cursor=cursor)

    return Listing(fetch)


def list_uploads(runtime: Runtime, bucket: str, prefix: str) -> Listing[UploadInfo]:
    _check_prefix(prefix)

    async def fetch(cursor: Cursor | None, _: int) -> Page[UploadInfo]:
        return await runtime.wire.list_uploads(bucket, prefix=prefix, cursor=cursor)

    return Listing(fetch)


def _check_prefix(prefix: str) -> None:
    encode_utf8("prefix", prefix)
