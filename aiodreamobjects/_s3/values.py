"""What requests are given, and what answers are made into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    pass

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Buffer = bytes | bytearray | memoryview

Cursor = tuple[str, ...]
"""Where a listing goes on, opaque to callers."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    items: Sequence[T_co]
    next: Cursor | None


class VersionedKey(NamedTuple):
    """Not checked when made: there may be millions."""

    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that the service holds. ``size`` is known from a listing, or because it was put."""

    number: int
    etag: str
    size: int | None = None
    md5: str | None = field(default=None, compare=False)
    """Of its content, where that was sent from here and the service did not contradict it."""


class CreatedUpload(NamedTuple):
    """A multipart upload that was begun."""

    upload_id: str
    at: datetime | None = None
    """When, by the service's clock and in whole seconds; None where the reply does not tell."""
