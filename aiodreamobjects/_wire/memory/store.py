"""What a service in memory remembers, and S3's rules for it. Plain state: no request, no event loop, no lane.

Every method does its work at once or raises Refused and changes nothing. Keys compare by code point, which for text
that UTF-8 can carry is the byte order that S3 lists in.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from aiodreamobjects._models import (
    ALL_USERS,
    AUTHENTICATED_USERS,
    Acl,
    ByteRange,
    CannedAcl,
    Grant,
    ObjectAttributes,
)
from aiodreamobjects._wire.contract import Conditions, Part, WriteConditions

OWNER = "memory-owner"
NULL_VERSION = "null"
"""The id of a version that was put without versioning."""
MOST_PARTS = 10_000
MOST_OBJECT_TAGS = 10
LARGEST_METADATA_BYTES = 2048

STATUS_OF_CODE = {
    "AccessDenied": 403,
    "AccountProblem": 403,
    "BadDigest": 400,
    "BadRequest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "ExpiredToken": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidObjectState": 403,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidStorageClass": 400,
    "InvalidTag": 400,
    "InvalidToken": 400,
    "KeyTooLongError": 400,
    "MalformedACLError": 400,
    "MalformedPolicy": 400,
    "MalformedXML": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "NotModified": 304,
    "OperationAborted": 409,
    "PreconditionFailed": 412,
    "QuotaExceeded": 403,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyBuckets": 400,
    "TooManyRequests": 429,
    "UnresolvableGrantByEmailAddress": 400,
}
"""S3 API reference, "Error responses", and what Ceph RGW adds."""

_CANNED_GRANTS: dict[CannedAcl, tuple[Grant, ...]] = {
    "private": (),
    "public-read": (Grant("READ", uri=ALL_USERS),),
    "public-read-write": (Grant("READ", uri=ALL_USERS), Grant("WRITE", uri=ALL_USERS)),
    "authenticated-read": (Grant("READ", uri=AUTHENTICATED_USERS),),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
}


class Refused(Exception):  # noqa: N818 - a reply, which the lane turns into the error that is raised
    """An error reply: S3's code, its status, and a text where the code does not say it all."""

    def __init__(self, code: str, text: str = "", status: int | None = None) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text
        self.status = status or STATUS_OF_CODE[code]


def refuse(code: str, text: str = "") -> NoReturn:
    raise Refused(code, text)


def now() -> datetime:
    """Whole seconds, as Last-Modified has them."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(slots=True)
class Version:
    """One state of an object, or a delete marker."""

    key: str
    version_id: str
    number: int
    """The later, the greater: what versions of a key are ordered by."""
    body: bytes = field(repr=False)
    etag: str
    attributes: ObjectAttributes
    acl: Acl
    tags: dict[str, str]
    is_marker: bool = False
    part_sizes: tuple[int, ...] = ()
    """Of an object that was completed from parts."""
    modified: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True)
class StoredPart:
    number: int
    body: bytes = field(repr=False)
    etag: str


@dataclass(slots=True)
class Upload:
    key: str
    upload_id: str
    number: int
    attributes: ObjectAttributes
    acl: Acl
    parts: dict[int, StoredPart] = field(default_factory=dict)
    initiated: datetime = field(default_factory=now)

    def put_part(self, number: int, body: bytes) -> StoredPart:
        if not 1 <= number <= MOST_PARTS:
            refuse("InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}")
        self.parts[number] = part = StoredPart(number, body, md5_hex(body))
        return part

    def chosen(self, named: Sequence[Part], smallest: int) -> list[StoredPart]:
        """The parts that a completion names, if an object can be made of them."""
        numbers = [part.number for part in named]
        if numbers != sorted(set(numbers)):
            refuse("InvalidPartOrder")
        parts = []
        for wanted in named:
            part = self.parts.get(wanted.number)
            if part is None or part.etag != unquoted(wanted.etag):
                refuse("InvalidPart", f"part {wanted.number} was not uploaded, or with another ETag")
            parts.append(part)
        for part in parts[:-1]:
            if len(part.body) < smallest:
                refuse("EntityTooSmall", f"part {part.number} has {len(part.body):,} bytes")
        return parts


class Store:
    """The buckets of the one account there is."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._numbers = itertools.count(1)

    def create(self, name: str, acl: CannedAcl | None) -> None:
        if name in self.buckets:
            refuse("BucketAlreadyOwnedByYou")
        self.buckets[name] = Bucket(name, acl_of(acl or "private"), self._numbers)

    def bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            refuse("NoSuchBucket")
        return self.buckets[name]

    def delete(self, name: str) -> None:
        """Open uploads go with their bucket, as on Ceph RGW."""
        if self.bucket(name).histories:
            refuse("BucketNotEmpty")
        del self.buckets[name]


class Bucket:
    """One bucket. Its versioning is one of its settings."""

    def __init__(self, name: str, acl: Acl, numbers: Iterator[int]) -> None:
        self.name, self.acl = name, acl
        self.created = now()
        self.settings: dict[str, object] = {}
        self.histories: dict[str, list[Version]] = {}
        """Of each key that has any, its versions and delete markers, the oldest first."""
        self.uploads: dict[str, Upload] = {}
        self._keys: list[str] = []
        self._numbers = numbers

    # Objects

    def put(
        self,
        key: str,
        body: bytes,
        attributes: ObjectAttributes,
        acl: Acl,
        *,
        etag: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Version:
        version_id, number = self._new_version(key)
        version = Version(key, version_id, number, body, etag or md5_hex(body), attributes, acl, dict(tags or {}))
        return self._append(version)

    def readable(self, key: str, version_id: str | None = None) -> Version:
        """The version named, or the newest. Refused where that is a delete marker."""
        history = self.histories.get(key, [])
        if version_id is None:
            if not history or history[-1].is_marker:
                refuse("NoSuchKey")
            return history[-1]
        for version in history:
            if version.version_id == version_id:
                if version.is_marker:
                    refuse("MethodNotAllowed", "this version is a delete marker")
                return version
        refuse("NoSuchVersion")

    def matching(self, key: str, conditions: Conditions) -> Version:
        """As ``readable``, where the conditions hold."""
        version = self.readable(key, conditions.version_id)
        if conditions.if_match is not None and not _is_etag(conditions.if_match, version):
            refuse("PreconditionFailed")
        if conditions.if_none_match is not None and _is_etag(conditions.if_none_match, version):
            refuse("NotModified")
        return version

    def check_write(self, key: str, conditions: WriteConditions) -> None:
        """S3 user guide, "How to prevent object overwrites with conditional writes"."""
        history = self.histories.get(key, [])
        newest = history[-1] if history and not history[-1].is_marker else None
        if conditions.if_absent and newest is not None:
            refuse("PreconditionFailed")
        if conditions.if_match is not None:
            if newest is None:
                refuse("NoSuchKey")
            if not _is_etag(conditions.if_match, newest):
                refuse("PreconditionFailed")

    def delete(self, key: str, version_id: str | None) -> None:
        """Take out one version, or the object: where there is versioning, by a delete marker on top."""
        if version_id is not None:
            self._remove(key, version_id)
        elif self.settings.get("versioning") is None:
            self._remove(key, NULL_VERSION)
        else:
            new_id, number = self._new_version(key)
            nothing = ObjectAttributes()
            self._append(Version(key, new_id, number, b"", "", nothing, self.acl, {}, is_marker=True))

    def _new_version(self, key: str) -> tuple[str, int]:
        number = next(self._numbers)
        if self.settings.get("versioning") == "Enabled":
            return f"version-{number:08}", number
        self._remove(key, NULL_VERSION)
        return NULL_VERSION, number

    def _append(self, version: Version) -> Version:
        if version.key not in self.histories:
            self.histories[version.key] = []
            insort(self._keys, version.key)
        self.histories[version.key].append(version)
        return version

    def _remove(self, key: str, version_id: str) -> None:
        history = self.histories.get(key, [])
        left = [version for version in history if version.version_id != version_id]
        if left:
            self.histories[key] = left
        elif history:
            del self.histories[key]
            del self._keys[bisect_left(self._keys, key)]

    # Listings, in order, each found when it is asked for

    def objects(self, prefix: str, delimiter: str, after: str | None) -> Iterator[Version | str]:
        """The newest versions, and of those that share a key up to the delimiter this common prefix."""
        position = bisect_left(self._keys, prefix)
        if after is not None:
            position = max(position, self._behind(after, _rolled_up(after, prefix, delimiter)))
        while position < len(self._keys) and (key := self._keys[position]).startswith(prefix):
            newest = self.histories[key][-1]
            common = _rolled_up(key, prefix, delimiter)
            if newest.is_marker:
                position += 1
            elif common is None:
                yield newest
                position += 1
            else:
                yield common
                position = self._behind(key, common)

    def _behind(self, key: str, common: str | None) -> int:
        """Where the keys begin that come after this one, or after all that share the common prefix."""
        if common is None:
            return bisect_right(self._keys, key)
        return bisect_right(self._keys, common, key=lambda other: other[: len(common)])

    def versions(self, prefix: str, after: tuple[str, int] | None) -> Iterator[Version]:
        """Every version and delete marker, the newest of a key first."""
        start = prefix if after is None else max(prefix, after[0])
        for position in range(bisect_left(self._keys, start), len(self._keys)):
            key = self._keys[position]
            if not key.startswith(prefix):
                return
            for version in reversed(self.histories[key]):
                if after is None or (key, -version.number) > (after[0], -after[1]):
                    yield version

    def is_newest(self, version: Version) -> bool:
        return self.histories[version.key][-1] is version

    def open_uploads(self, prefix: str, after: tuple[str, int] | None) -> Iterator[Upload]:
        uploads = sorted(self.uploads.values(), key=lambda upload: (upload.key, upload.number))
        return (
            upload
            for upload in uploads
            if upload.key.startswith(prefix) and (after is None or (upload.key, upload.number) > after)
        )

    # Multipart uploads

    def create_upload(self, key: str, attributes: ObjectAttributes, acl: Acl) -> Upload:
        number = next(self._numbers)
        upload = Upload(key, f"upload-{number:08}", number, attributes, acl)
        self.uploads[upload.upload_id] = upload
        return upload

    def upload(self, key: str, upload_id: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            refuse("NoSuchUpload")
        return upload

    def complete(self, upload: Upload, named: Sequence[Part], conditions: WriteConditions, smallest: int) -> Version:
        """The ETag of an object in N parts is the MD5 of their MD5s, and ``-N``. ``smallest``: of all parts but one."""
        parts = upload.chosen(named, smallest)
        self.check_write(upload.key, conditions)
        etag = f"{md5_hex(b''.join(bytes.fromhex(part.etag) for part in parts))}-{len(parts)}"
        del self.uploads[upload.upload_id]
        body = b"".join(part.body for part in parts)
        version = self.put(upload.key, body, upload.attributes, upload.acl, etag=etag)
        version.part_sizes = tuple(len(part.body) for part in parts)
        return version


def acl_of(acl: CannedAcl | Acl) -> Acl:
    """The grants that a canned name stands for; grants as they are, where the owner gives them to whom is known."""
    if isinstance(acl, Acl):
        if acl.owner != OWNER:
            refuse("AccessDenied", "an ACL cannot change the owner")
        if any(grant.email is not None for grant in acl.grants):
            refuse("UnresolvableGrantByEmailAddress")
        return acl
    if acl not in _CANNED_GRANTS:
        refuse("InvalidArgument", f"canned ACL {acl}")
    return Acl(OWNER, (Grant("FULL_CONTROL", id=OWNER), *_CANNED_GRANTS[acl]))


def check_metadata(attributes: ObjectAttributes) -> None:
    size = sum(len(name) + len(value) for name, value in (attributes.metadata or {}).items())
    if size > LARGEST_METADATA_BYTES:
        refuse("MetadataTooLarge", f"{size:,} bytes, at most {LARGEST_METADATA_BYTES:,} are allowed")


def check_object_tags(tags: Mapping[str, str]) -> None:
    """S3 user guide, "Categorizing your objects using tags"."""
    if len(tags) > MOST_OBJECT_TAGS:
        refuse("BadRequest", f"Object tags cannot be greater than {MOST_OBJECT_TAGS}")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or len(value) > 256:  # noqa: PLR2004 - the rule itself
            refuse("InvalidTag", "a tag has a name of 1 to 128 characters and a value of at most 256")


def slice_of(byte_range: ByteRange | None, size: int) -> slice:
    """The bytes that a range asks for, of an object of this size."""
    if byte_range is None:
        return slice(0, size)
    start = byte_range.start if byte_range.start >= 0 else max(0, size + byte_range.start)
    if start >= size:
        refuse("InvalidRange")
    return slice(start, size if byte_range.stop is None else min(byte_range.stop, size))


def slice_to_copy(byte_range: ByteRange | None, size: int) -> slice:
    """A copied part's range names both ends, within the object (S3 API reference, "UploadPartCopy")."""
    if byte_range is None:
        return slice(0, size)
    if byte_range.stop is None:
        refuse("InvalidArgument", "a range to copy has a first and a last position")
    if byte_range.stop > size:
        refuse("InvalidRange", f"the source has {size:,} bytes")
    return slice(byte_range.start, byte_range.stop)


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def unquoted(etag: str) -> str:
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def _is_etag(etag: str, version: Version) -> bool:
    return etag == "*" or unquoted(etag) == version.etag


def _rolled_up(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that stands for this key, if one does."""
    if not delimiter or not key.startswith(prefix):
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]
