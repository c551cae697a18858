"""Look at the versions of one object, and bring a deleted one back."""

from __future__ import annotations

from contextlib import aclosing

from aiodreamobjects._errors import NotFoundError
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
    """Delete the delete markers on top of the newest version. Return that version."""
    markers: list[ObjectInfo] = []
    for version in await versions(runtime, address):
        if not version.is_delete_marker:
            for marker in markers:
                await runtime.s3.delete_object(address, marker.version_id)
            return version
        markers.append(version)
    msg = f"{address} cannot be undeleted: no version of it is left" + (" but delete markers" if markers else "")
    raise NotFoundError(msg, code="NoSuchVersion")
