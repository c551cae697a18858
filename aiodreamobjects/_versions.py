"""Look at the versions of one object, and bring a deleted one back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiodreamobjects._errors import NotFoundError, UnsupportedByServiceError
from aiodreamobjects._listing.pages import list_versions
from aiodreamobjects._models import Address, ObjectInfo
from aiodreamobjects._runtime import Runtime


async def versions(runtime: Runtime, address: Address) -> list[ObjectInfo]:
    """Return the versions and delete markers of exactly this key, the newest first."""
    async with aclosing(_pages(runtime, address)) as pages:
        return [version async for page in pages for version in page]


async def _pages(runtime: Runtime, address: Address) -> AsyncGenerator[list[ObjectInfo], None]:
    async with aclosing(list_versions(runtime, address.bucket, address.key).pages()) as pages:
        async for page in pages:  # of all keys with this prefix, this one comes first
            yield [version for version in page if version.key == address.key]
            if page and page[-1].key != address.key:
                return


async def _newest(runtime: Runtime, address: Address) -> tuple[ObjectInfo | None, bool]:
    """Return the newest version or marker, and whether any version is left. Read no further than that needs."""
    newest: ObjectInfo | None = None
    async with aclosing(_pages(runtime, address)) as pages:
        async for page in pages:
            newest = newest or next(iter(page), None)
            if not all(version.is_delete_marker for version in page):
                return newest, True
    return newest, False


async def undelete(runtime: Runtime, address: Address) -> ObjectInfo:
    """Delete the newest version as long as it is a delete marker. Return the version that then is the newest.

    Look again after each deletion: a listing does not tell which of two versions of the same second is newer.
    """
    deleted: set[str | None] = set()
    while True:
        newest, has_version = await _newest(runtime, address)
        if newest is None or not has_version:
            left = " but delete markers" if newest else ""
            msg = f"{address} cannot be undeleted: no version of it is left{left}"
            raise NotFoundError(msg, code="NoSuchVersion")
        if not newest.is_delete_marker:
            return newest
        if newest.version_id in deleted:
            msg = f"{address} cannot be undeleted: the service answers a deletion of its delete marker, but keeps the marker"
            raise UnsupportedByServiceError(msg, code="NotImplemented")
        await runtime.s3.delete_object(address, newest.version_id)
        deleted.add(newest.version_id)
