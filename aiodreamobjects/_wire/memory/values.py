"""What is remembered, as the replies tell it; and pages of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from aiodreamobjects._models import Address, ObjectAttributes, ObjectInfo
from aiodreamobjects._wire.contract import Cursor, Part
from aiodreamobjects._wire.memory.store import NULL_VERSION, StoredPart, Upload, Version, check_metadata

T = TypeVar("T")

PAGE_ITEMS = 1000
DEFAULT_CONTENT_TYPE = "binary/octet-stream"


def object_info(address: Address, version: Version) -> ObjectInfo:
    """As the headers of a GET or HEAD tell it. STANDARD is no storage class worth telling."""
    kept = version.attributes
    return ObjectInfo(
        bucket=address.bucket,
        key=address.key,
        size=len(version.body),
        etag=version.etag,
        last_modified=version.modified,
        content_type=kept.content_type,
        metadata=dict(kept.metadata or {}),
        version_id=_told_version(version),
        storage_class=None if kept.storage_class == "STANDARD" else kept.storage_class,
        cache_control=kept.cache_control,
        content_disposition=kept.content_disposition,
        content_encoding=kept.content_encoding,
    )


def stored_object(address: Address, version: Version, given: ObjectAttributes) -> ObjectInfo:
    """What is known of an object that was put: what was given, and what the reply adds."""
    info = object_info(address, version)
    return replace(info, last_modified=None, content_type=given.content_type, storage_class=given.storage_class)


def copied_object(address: Address, version: Version) -> ObjectInfo:
    return ObjectInfo(
        address.bucket,
        address.key,
        etag=version.etag,
        last_modified=version.modified,
        version_id=_told_version(version),
    )


def listed_object(bucket: str, version: Version) -> ObjectInfo:
    return ObjectInfo(
        bucket,
        version.key,
        size=len(version.body),
        etag=version.etag,
        last_modified=version.modified,
        storage_class=listed_class(version),
    )


def listed_version(bucket: str, version: Version, *, is_latest: bool) -> ObjectInfo:
    listed = listed_object(bucket, version)
    if version.is_marker:
        listed = ObjectInfo(bucket, version.key, last_modified=version.modified)
    return replace(listed, version_id=version.version_id, is_latest=is_latest, is_delete_marker=version.is_marker)


def listed_class(kept: Version | Upload) -> str:
    return kept.attributes.storage_class or "STANDARD"


def _told_version(version: Version) -> str | None:
    return None if version.version_id == NULL_VERSION else version.version_id


def as_stored(attributes: ObjectAttributes) -> ObjectAttributes:
    """As the service keeps them: a content type there always is, metadata names are in lower case."""
    check_metadata(attributes)
    metadata = {name.lower(): value for name, value in (attributes.metadata or {}).items()}
    content_type = attributes.content_type or DEFAULT_CONTENT_TYPE
    return replace(attributes, content_type=content_type, metadata=metadata, acl=None)


def part_of(part: StoredPart) -> Part:
    return Part(part.number, part.etag, len(part.body))


def cut_page(found: Iterator[T], limit: int = PAGE_ITEMS) -> tuple[list[T], bool]:
    """A page, and whether there is more."""
    page = list(islice(found, min(limit, PAGE_ITEMS)))
    return page, bool(page) and next(found, None) is not None


def behind(last: Version | Upload) -> Cursor:
    return last.key, str(last.number)


def position_of(cursor: Cursor | None) -> tuple[str, int] | None:
    return (cursor[0], int(cursor[1])) if cursor else None
