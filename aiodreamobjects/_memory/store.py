"""The state of a service: buckets, versions, uploads, and S3's rules for them. Nothing here knows HTTP.

A version never changes: a new value replaces it. So a copy of the lists and dictionaries is a snapshot of the
whole state. Keys compare by code point, which is the UTF-8 byte order that S3 lists in.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiodreamobjects._acls import Acl, Grant
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._models import VersioningStatus

OWNER = "owner-of-all"
LOCK_ROOT = "ObjectLockConfiguration"
NULL_VERSION = "null"
"""The id of a version that was put without versioning."""
LARGEST_KEY_BYTES = 1024

PRIVATE = Acl(OWNER, (Grant("FULL_CONTROL", id=OWNER),))

Position = tuple[str, float]
"""The order of lists: by key; within a key the newest version first, or the oldest upload first."""


# Time


class Clock(Protocol):
    """Where a service gets the time from."""

    def now(self) -> datetime:
        """Return the current time, with a time zone."""
        ...

    def advance(self, by: timedelta) -> None:
        """Move the clock forward."""
        ...


class RealClock:
    """The machine's clock, plus what ``advance`` added."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __repr__(self) -> str:
        return f"<RealClock, {self._ahead} ahead>"

    def now(self) -> datetime:
        return now() + self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by


def now() -> datetime:
    return datetime.now(UTC)


# Objects and their versions


@dataclass(frozen=True, slots=True)
class Content:
    """An object's bytes, its ETag without quotes, and the headers a GET gives back."""

    body: bytes = field(repr=False)
    etag: str
    headers: Mapping[str, str]
    part_sizes: tuple[int, ...] = ()
    """The sizes of the parts, if the object was completed from parts."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Headers that a GET gives back if it asks for checksums."""
    customer_key: str = ""
    """The MD5 of the customer's key that it is encrypted with, as requests give it."""

    @property
    def storage_class(self) -> str:
        return self.headers.get("x-amz-storage-class", "STANDARD")


NOTHING = Content(b"", "", {})


@dataclass(frozen=True, slots=True)
class Retention:
    """Until when a version must not be removed, and whether that may be bypassed: GOVERNANCE or COMPLIANCE."""

    mode: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Attached:
    """What belongs to an object beside its content, and can be changed."""

    acl: Acl = PRIVATE
    tags: Mapping[str, str] = field(default_factory=dict)
    retention: Retention | None = None
    hold: str = ""
    """ON if a legal hold forbids to remove it, OFF if it was lifted."""


NO_MORE = Attached()


@dataclass(frozen=True, slots=True)
class Version:
    """One state of an object, or a delete marker."""

    key: str
    number: int
    content: Content
    is_marker: bool = False
    modified: datetime = field(default_factory=now)
    is_null: bool = False
    """Whether it was put without versioning. A key has one such version at most."""
    attached: Attached = NO_MORE

    @property
    def version_id(self) -> str:
        return NULL_VERSION if self.is_null else f"v{self.number:016x}"

    @property
    def position(self) -> Position:
        return self.key, -self.number


def number_in(identifier: str) -> int:
    """Return the number in a version or upload id. A list can go on from there even if the version is gone."""
    match = re.fullmatch(r"[uv]([0-9a-f]{16})", identifier)
    if match is None:
        raise S3Error(Code.InvalidArgument, "Invalid id specified.")
    return int(match[1], 16)


# Multipart uploads


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    body: bytes = field(repr=False)
    etag: str
    modified: datetime = field(default_factory=now)
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    key: str
    number: int
    headers: Mapping[str, str]
    parts: dict[int, Part] = field(default_factory=dict)
    started: datetime = field(default_factory=now)
    attached: Attached = NO_MORE
    customer_key: str = ""
    checksum: tuple[str, ...] = ()
    """The algorithm and the type of the object's checksum, if the request to begin named them."""

    @property
    def upload_id(self) -> str:
        return f"u{self.number:016x}"

    @property
    def position(self) -> Position:
        return self.key, self.number

    def chosen(self, named: Sequence[tuple[int, str]], smallest_part: int) -> list[Part]:
        """Return the parts of these numbers and ETags. Raises S3Error if they make no object."""
        numbers = [number for number, _ in named]
        if numbers != sorted(set(numbers)):
            raise S3Error(Code.InvalidPartOrder)
        parts = [part for number, etag in named if (part := self.parts.get(number)) and part.etag == etag]
        if len(parts) != len(named):
            raise S3Error(Code.InvalidPart)
        if any(len(part.body) < smallest_part for part in parts[:-1]):
            raise S3Error(Code.EntityTooSmall)
        return parts


# Buckets


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did: the version removed, or the delete marker added. Empty if no versions are kept."""

    version_id: str = ""
    is_marker: bool = False


@dataclass(slots=True, eq=False)
class Bucket:
    """One bucket. ``documents`` has its settings as they came, by the names of their root elements."""

    name: str
    numbers: Iterator[int]
    time: Callable[[], datetime]
    acl: Acl = PRIVATE
    versioning: VersioningStatus | None = None
    created: datetime = field(default_factory=now)
    documents: dict[str, bytes] = field(default_factory=dict)
    histories: dict[str, list[Version]] = field(default_factory=dict)
    """The versions and delete markers of each key, the oldest first."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """The keys of ``histories``, in order."""

    @property
    def is_locked(self) -> bool:
        """Whether its objects can have a retention or a legal hold."""
        return LOCK_ROOT in self.documents

    # Objects

    def add(self, key: str, content: Content, attached: Attached = NO_MORE) -> Version:
        return self._append(self._new_version(key, content, attached=attached))

    def delete(self, key: str, version_id: str | None = None) -> Deleted:
        """Remove one version, or the object. With versioning, a delete marker hides the object."""
        if version_id is not None:
            found = self.remove(key, version_id)
            return Deleted(version_id, is_marker=found is not None and found.is_marker)
        if self.versioning is None:
            self.drop(key)
            return Deleted()
        marker = self._append(self._new_version(key, NOTHING, is_marker=True))
        return Deleted(marker.version_id, is_marker=True)

    def remove(self, key: str, version_id: str) -> Version | None:
        """Remove exactly this version. Return it, or None if there was none."""
        found = self.find(key, version_id)
        if found is not None:
            self._set_history(key, [one for one in self.histories[key] if one is not found])
        return found

    def drop(self, key: str) -> None:
        """Remove a key with all its versions."""
        self._set_history(key, [])

    def readable(self, key: str, version_id: str | None = None) -> Version:
        """Return the version that a GET answers with: the one named, or the newest. A delete marker raises S3Error."""
        version = self.find(key, version_id) if version_id is not None else self.newest(key)
        if version is None:
            raise S3Error(Code.NoSuchKey if version_id is None else Code.NoSuchVersion)
        if version.is_marker:
            headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version.version_id}
            if version_id is not None:
                headers["Allow"] = "DELETE"
            raise S3Error(Code.NoSuchKey if version_id is None else Code.MethodNotAllowed, headers=headers)
        return version

    def newest(self, key: str) -> Version | None:
        return self.histories[key][-1] if key in self.histories else None

    def change(self, version: Version, attached: Attached) -> None:
        """Attach something else to a version."""
        changed = replace(version, attached=attached)
        self._set_history(version.key, [changed if one is version else one for one in self.histories[version.key]])

    def restore(self, version: Version) -> None:
        """Add a version that was saved before."""
        self._set_history(version.key, [*self.histories.get(version.key, ()), version])

    def versions(self) -> Iterable[Version]:
        return itertools.chain.from_iterable(self.histories.values())

    def objects(self) -> Iterable[Version]:
        return (history[-1] for history in self.histories.values() if not history[-1].is_marker)

    def _new_version(
        self, key: str, content: Content, *, is_marker: bool = False, attached: Attached = NO_MORE
    ) -> Version:
        number, is_null = next(self.numbers), self.versioning != "Enabled"
        return Version(key, number, content, is_marker, self.time(), is_null, attached)

    def _append(self, version: Version) -> Version:
        """Add a version. A null version replaces the null version before it."""
        kept = [one for one in self.histories.get(version.key, ()) if not (version.is_null and one.is_null)]
        self._set_history(version.key, [*kept, version])
        return version

    def _set_history(self, key: str, history: list[Version]) -> None:
        if history and key not in self.histories:
            insort(self.keys, key)
        elif not history and key in self.histories:
            del self.keys[bisect_left(self.keys, key)]
        if history:
            self.histories[key] = history
        else:
            self.histories.pop(key, None)

    def find(self, key: str, version_id: str) -> Version | None:
        if not version_id:
            raise S3Error(Code.InvalidArgument, "Version id cannot be the empty string.")
        return next((one for one in self.histories.get(key, ()) if one.version_id == version_id), None)

    # Uploads

    def begin_upload(
        self,
        key: str,
        headers: Mapping[str, str],
        attached: Attached = NO_MORE,
        customer_key: str = "",
        checksum: tuple[str, ...] = (),
    ) -> Upload:
        upload = Upload(key, next(self.numbers), headers, {}, self.time(), attached, customer_key, checksum)
        self.uploads[upload.upload_id] = upload
        return upload

    def upload(self, key: str, upload_id: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise S3Error(Code.NoSuchUpload)
        return upload

    def put_part(self, upload: Upload, number: int, body: bytes, etag: str, checksums: Mapping[str, str]) -> Part:
        part = upload.parts[number] = Part(number, body, etag, self.time(), checksums)
        return part

    def end_upload(self, upload: Upload) -> None:
        del self.uploads[upload.upload_id]


class Store:
    """All buckets of the only account."""

    def __init__(self, dialect: Dialect, clock: Clock | None = None) -> None:
        self.dialect = dialect
        self.clock: Clock = clock or RealClock()
        self.buckets: dict[str, Bucket] = {}
        self.refusal_of_key: Callable[[str, str], S3Error | None] = lambda _bucket, _key: None
        """Asked for each key of a DeleteObjects, with the bucket's name and the key. Returns a refusal, or None."""
        self.changes = 0
        """Counts the requests that may have changed something."""
        self.numbers: Iterator[int] = itertools.count(1)
        """For versions and uploads, in increasing order."""

    def now(self) -> datetime:
        return self.clock.now().astimezone(UTC) + self.dialect.clock_offset

    def time(self) -> datetime:
        """Return the time in whole seconds, as Last-Modified has it."""
        return self.now().replace(microsecond=0)

    def create(self, name: str, acl: Acl = PRIVATE) -> Bucket:
        self.dialect.check_bucket_name(name)
        if name in self.dialect.taken_names:
            raise S3Error(Code.BucketAlreadyExists)
        if name in self.buckets:
            raise S3Error(Code.BucketAlreadyOwnedByYou)
        self.buckets[name] = Bucket(name, self.numbers, self.time, acl, self.dialect.versioning, self.time())
        return self.buckets[name]

    def bucket(self, name: str) -> Bucket:
        if name in self.dialect.taken_names:
            raise S3Error(Code.AccessDenied)
        if name not in self.buckets:
            raise S3Error(Code.NoSuchBucket)
        return self.buckets[name]

    def delete(self, name: str) -> None:
        bucket = self.bucket(name)
        if bucket.histories:
            raise S3Error(Code.BucketNotEmpty)
        del self.buckets[name]
