"""Listings that users iterate over. They fetch the next page while the caller uses the current one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from math import ceil
from typing import Generic, TypeVar

from aiodreamobjects._checks import encode_utf8
from aiodreamobjects._concurrency import ahead
from aiodreamobjects._listing.parallel import list_in_parallel
from aiodreamobjects._models import BucketInfo, CommonPrefix, ObjectInfo, UploadInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3 import paging
from aiodreamobjects._s3.paging import PAGE_KEYS
from aiodreamobjects._s3.values import Page

T = TypeVar("T")


class Listing(Generic[T]):
    """An iterable for ``async for``. Each loop starts from the beginning, and fetches the next page ahead.

    The loop raises the service's errors when it needs the page. Leaving the loop early cancels the request in progress;
    ``contextlib.aclosing(listing.pages())`` also waits for its end.
    """

    def __init__(self, open_pages: Callable[[], AsyncGenerator[list[T], None]]) -> None:
        self._open_pages = open_pages

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


def list_buckets(runtime: Runtime) -> Listing[BucketInfo]:
    async def fetch() -> AsyncGenerator[list[BucketInfo], None]:
        yield await runtime.s3.list_buckets()

    return Listing(fetch)


def list_objects(
    runtime: Runtime, bucket: str, prefix: str, start_after: str | None, limit: int | None, parallel: int = 1
) -> Listing[ObjectInfo]:
    _check_prefix(prefix)
    if start_after is not None:
        encode_utf8("start_after", start_after)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        msg = f"limit {limit!r} must be a number of items, 0 or more, or None for all"
        raise ValueError(msg)
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        msg = f"parallel {parallel!r} must be a number of requests at once, at least 1"
        raise ValueError(msg)

    width = min(parallel, runtime.limits.requests)
    if limit is not None:
        width = min(width, ceil(limit / PAGE_KEYS))
    if width <= 1:
        return _ahead(lambda: paging.objects(runtime.s3, bucket, prefix, start_after, limit))

    async def fetch(after: str | None, count: int) -> Page[ObjectInfo]:
        return await paging.objects_behind(runtime.s3, bucket, prefix, after, count)

    def open_pages() -> AsyncGenerator[list[ObjectInfo], None]:
        runtime.require_open()
        return list_in_parallel(fetch, width, prefix, start_after, limit)

    return Listing(open_pages)


def list_dir(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo | CommonPrefix]:
    _check_prefix(prefix)
    return _ahead(lambda: paging.directory(runtime.s3, bucket, prefix))


def list_versions(runtime: Runtime, bucket: str, prefix: str) -> Listing[ObjectInfo]:
    _check_prefix(prefix)
    return _ahead(lambda: paging.versions(runtime.s3, bucket, prefix))


def list_uploads(runtime: Runtime, bucket: str, prefix: str) -> Listing[UploadInfo]:
    _check_prefix(prefix)
    return _ahead(lambda: paging.uploads(runtime.s3, bucket, prefix))


def _ahead(open_pages: Callable[[], AsyncGenerator[list[T], None]]) -> Listing[T]:
    return Listing(lambda: ahead(open_pages()))


def _check_prefix(prefix: str) -> None:
    encode_utf8("prefix", prefix)
