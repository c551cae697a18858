"""Look at the versions of one object, and bring a deleted one back."""

from __future__ import annotations

from contextlib import aclosing

from aiodreamobjects._errors import NotFoundError, UnsupportedByServiceError
from aiodreamobjects._listing.pages import list_versions
from aiodreamobjects._models import Address, ObjectInfo
from aiodreamobjects._runtime import Runtime


async def versions(runtime: Runtime, address: Address) -> list[ObjectInfo]:
    """Return the versions and delete markers of exactly this key, the newest first."""
    found: list[ObjectInfo] = []
    async with aclosing(list_versions(runtime, address.bucket, address.key).pages()) as pages:
        async for page in pages:  # of all keys with this prefix, this one comes first
            found += [version for version in page if version.key == address.key]
            if page and page[-1].key != address.key:
                break
    return found


async def undelete(runtime: Runtime, address: Address) -> ObjectInfo:
    """Delete the newest version as long as it is a delete marker. Return the version that then is the newest.

    Look again after each deletion: a listing does not tell which of two versions of the same second is newer.
    """
    deleted: set[str | None] = set()
    while True:
        found = await versions(runtime, address)
        if all(version.is_delete_marker for version in found):
            left = " but delete markers" if found else ""
            msg = f"{address} cannot be undeleted: no version of it is left{left}"
            raise NotFoundError(msg, code="NoSuchVersion")
        newest = found[0]
        if not newest.is_delete_marker:
            return newest
        if newest.version_id in deleted:
            msg = f"{address} cannot be undeleted: the service answers a deletion of its delete marker, but keeps the marker"
            raise UnsupportedByServiceError(msg, code="NotImplemented")
        await runtime.s3.delete_object(address, newest.version_id)
        deleted.add(newest.version_id)
