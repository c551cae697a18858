"""The values that requests take and return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

T_co = TypeVar("T_co", covariant=True)

Buffer = bytes | bytearray | memoryview

Cursor = tuple[str, ...]
"""Where a listing continues. Opaque to callers."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    items: Sequence[T_co]
    next: Cursor | None


class VersionedKey(NamedTuple):
    """A key, and its version if one is named. Not checked when made: there may be millions."""

    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that the service holds. A copied part has no known ``size``."""

    number: int
    etag: str
    size: int | None = None
    md5: str | None = field(default=None, compare=False)
    """The MD5 of its content, if this process sent it and the service's ETag agrees."""
    checksum: str | None = field(default=None, compare=False)
    """The checksum in base64, if the service keeps it."""
    is_checked: bool = field(default=False, compare=False)
    """Whether this process computed the same checksum."""


class CreatedUpload(NamedTuple):
    """A multipart upload that was begun."""

    upload_id: str
    at: datetime | None = None
    """When the upload began, by the service's clock, in whole seconds. None if the reply does not say."""
    is_encrypted: bool = True
    """False if the object should be encrypted, but the reply does not say that it will be."""
