"""What an S3 service in memory remembers: buckets, versions, uploads. Nothing here knows HTTP.

Where versions are kept, as Backblaze B2 always does ("File Versions"), a put adds one, a delete without a version id
adds a delete marker, and a bucket is empty only when every version and every marker is gone.

The lists are one pure function, `cut_page`, over whatever has a key and a position. Positions order by key, then
within a key by a rank: newest first for versions, oldest first for uploads. Python compares strings by code point,
which is the UTF-8 byte order that S3 lists in.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, unique
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TAKEN_BY_ANOTHER = "taken-by-another"
LARGEST_KEY_BYTES = 1024
CANNED_ACLS = ("private", "public-read")

Position: TypeAlias = tuple[str, float]


@dataclass(slots=True)
class Dialect:
    """What kind of service it is, and whom it serves. May be changed while it runs."""

    access_key: str
    secret_key: str
    region: str
    is_b2: bool = False
    """Refuses what Backblaze B2 refuses: checksum headers, object ACLs, conditional writes, other bucket names."""
    keeps_versions: bool = False
    smallest_part: int = 5 << 20
    session_token: str | None = None
    """The one that is good; any other is ExpiredToken."""
    clock_offset: timedelta = timedelta(0)
    """By how much its clock is ahead."""

    def now(self) -> datetime:
        return now() + self.clock_offset


@unique
class Code(Enum):
    """Each S3 error code with its HTTP status and its usual message."""

    AccessDenied = 403, "Access Denied."
    AuthorizationQueryParametersError = 400, "The query parameters of the signature are malformed."
    BadDigest = 400, "The Content-MD5 you specified did not match what we received."
    BucketAlreadyExists = 409, "The requested bucket name is not available."
    BucketAlreadyOwnedByYou = 409, "Your previous request to create the named bucket succeeded and you already own it."
    BucketNotEmpty = 409, "The bucket you tried to delete is not empty."
    ExpiredToken = 400, "The provided token has expired."
    EntityTooSmall = 400, "Your proposed upload is smaller than the minimum allowed size."
    InvalidAccessKeyId = 403, "The key is not valid."
    InvalidArgument = 400, "Invalid argument."
    InvalidBucketName = 400, "The specified bucket is not valid."
    InvalidDigest = 400, "The Content-MD5 you specified is not valid."
    InvalidLocationConstraint = 400, "The specified location constraint is not valid."
    InvalidPart = 400, "One or more of the specified parts could not be found."
    InvalidPartOrder = 400, "The list of parts was not in ascending order."
    InvalidRange = 416, "The requested range is not satisfiable."
    InvalidRequest = 400, "The request is not valid."
    InvalidURI = 400, "The URI could not be parsed."
    KeyTooLongError = 400, "Your key is too long."
    MalformedXML = 400, "The XML you provided was not well-formed or did not validate."
    MethodNotAllowed = 405, "The specified method is not allowed against this resource."
    MissingContentLength = 411, "You must provide the Content-Length HTTP header."
    NoSuchBucket = 404, "The specified bucket does not exist."
    NoSuchCORSConfiguration = 404, "The CORS configuration does not exist."
    NoSuchKey = 404, "The specified key does not exist."
    NoSuchLifecycleConfiguration = 404, "The lifecycle configuration does not exist."
    NoSuchUpload = 404, "The specified multipart upload does not exist."
    NoSuchVersion = 404, "The specified version does not exist."
    NotImplemented = 501, "This API call is not implemented."
    PreconditionFailed = 412, "At least one of the preconditions you specified did not hold."
    RequestTimeTooSkewed = 403, "The difference between the request time and the server's time is too large."
    SignatureDoesNotMatch = 403, "Signature validation failed."
    XAmzContentSHA256Mismatch = 400, "The provided 'x-amz-content-sha256' header does not match what was computed."


class S3Error(Exception):
    """A refusal: `code` names it, `headers` go out with it."""

    def __init__(self, code: Code, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.code = code
        self.status, usual_message = code.value
        self.message = message or usual_message
        self.headers = dict(headers or {})
        super().__init__(f"{self.status} {code.name}: {self.message}")


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def now() -> datetime:
    return datetime.now(UTC)


# Objects and their versions


@dataclass(frozen=True, slots=True)
class Content:
    """An object's bytes, its ETag without quotes, and the headers a GET gives back."""

    body: bytes = field(repr=False)
    etag: str
    headers: Mapping[str, str]


NOTHING = Content(b"", "", {})


@dataclass(frozen=True, slots=True)
class Version:
    key: str
    number: int
    content: Content
    is_marker: bool = False
    modified: datetime = field(default_factory=now)

    @property
    def version_id(self) -> str:
        return f"4_zb2stub_f{self.number:016x}"

    @property
    def position(self) -> Position:
        return self.key, -self.number


def number_in(identifier: str) -> int:
    """The number inside a version or upload id, whether or not it still exists: a list can go on from there."""
    match = re.fullmatch(r"4_zb2stub_[fu]([0-9a-f]{16})", identifier)
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


@dataclass(frozen=True, slots=True)
class Upload:
    key: str
    number: int
    headers: Mapping[str, str]
    parts: dict[int, Part] = field(default_factory=dict)
    started: datetime = field(default_factory=now)

    @property
    def upload_id(self) -> str:
        return f"4_zb2stub_u{self.number:016x}"

    @property
    def position(self) -> Position:
        return self.key, self.number

    def assembled(self, named: Sequence[tuple[int, str]], smallest_part: int) -> Content:
        """The object that these parts, by number and ETag, make; `-N` ends the ETag of one made of N parts."""
        numbers = [number for number, _ in named]
        if numbers != sorted(set(numbers)):
            raise S3Error(Code.InvalidPartOrder)
        parts = [self._named_part(number, etag) for number, etag in named]
        if any(len(part.body) < smallest_part for part in parts[:-1]):
            raise S3Error(Code.EntityTooSmall)
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
        return Content(b"".join(part.body for part in parts), f"{md5_hex(digests)}-{len(parts)}", self.headers)

    def _named_part(self, number: int, etag: str) -> Part:
        part = self.parts.get(number)
        if part is None or part.etag != etag:
            raise S3Error(Code.InvalidPart)
        return part


# Buckets


@dataclass(slots=True)
class Bucket:
    """One bucket; `documents` keeps the XML of its CORS and lifecycle rules as it came."""

    name: str
    acl: str
    numbers: Iterator[int]
    keeps_versions: bool
    created: datetime = field(default_factory=now)
    documents: dict[str, bytes] = field(default_factory=dict)
    histories: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def add(self, key: str, content: Content) -> Version:
        return self._append(Version(key, next(self.numbers), content))

    def hide(self, key: str) -> Version:
        """Put a delete marker on top, whether there is anything under it or not."""
        return self._append(Version(key, next(self.numbers), NOTHING, is_marker=True))

    def drop(self, key: str) -> None:
        """Where no versions are kept."""
        self.histories.pop(key, None)

    def remove(self, key: str, version_id: str) -> Version | None:
        """Take out exactly this version; None when there was none."""
        version = self._find(key, version_id)
        if version is not None:
            self.histories[key].remove(version)
            if not self.histories[key]:
                del self.histories[key]
        return version

    def readable(self, key: str, version_id: str | None) -> Version:
        """The version a GET answers with: the one named, or the newest unless that is a delete marker."""
        version = self._find(key, version_id) if version_id is not None else self.newest(key)
        if version is None:
            raise S3Error(Code.NoSuchKey if version_id is None else Code.NoSuchVersion)
        if version.is_marker:
            headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version.version_id}
            raise S3Error(Code.NoSuchKey if version_id is None else Code.MethodNotAllowed, headers=headers)
        return version

    def newest(self, key: str) -> Version | None:
        return self.histories[key][-1] if key in self.histories else None

    def versions(self) -> Iterable[Version]:
        return itertools.chain.from_iterable(self.histories.values())

    def objects(self) -> Iterable[Version]:
        return (history[-1] for history in self.histories.values() if not history[-1].is_marker)

    def begin_upload(self, key: str, headers: Mapping[str, str]) -> Upload:
        upload = Upload(key, next(self.numbers), headers)
        self.uploads[upload.upload_id] = upload
        return upload

    def upload(self, key: str, upload_id: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise S3Error(Code.NoSuchUpload)
        return upload

    def _append(self, version: Version) -> Version:
        if not self.keeps_versions:
            self.drop(version.key)
        self.histories.setdefault(version.key, []).append(version)
        return version

    def _find(self, key: str, version_id: str) -> Version | None:
        return next((one for one in self.histories.get(key, ()) if one.version_id == version_id), None)


class Store:
    """All buckets of the one account there is."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.buckets: dict[str, Bucket] = {}
        self._numbers = itertools.count(1)

    def create(self, name: str, acl: str) -> Bucket:
        is_b2s = re.fullmatch(r"[a-z0-9-]{6,63}", name) and not name.startswith("b2-")
        if not (is_b2s if self.dialect.is_b2 else re.fullmatch(r"[a-z0-9.-]{3,63}", name)):
            raise S3Error(Code.InvalidBucketName)
        if name == TAKEN_BY_ANOTHER:
            raise S3Error(Code.BucketAlreadyExists)
        if name in self.buckets:
            raise S3Error(Code.BucketAlreadyOwnedByYou)
        self.buckets[name] = Bucket(name, acl, self._numbers, self.dialect.keeps_versions)
        return self.buckets[name]

    def bucket(self, name: str) -> Bucket:
        if name == TAKEN_BY_ANOTHER:
            raise S3Error(Code.AccessDenied)
        if name not in self.buckets:
            raise S3Error(Code.NoSuchBucket)
        return self.buckets[name]

    def delete(self, name: str) -> None:
        bucket = self.bucket(name)
        if bucket.histories or bucket.uploads:
            raise S3Error(Code.BucketNotEmpty)
        del self.buckets[name]


# List pages


class Listed(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def position(self) -> Position: ...


T = TypeVar("T", bound=Listed)


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """All keys that agree up to the delimiter, as one entry."""

    key: str

    @property
    def position(self) -> Position:
        return end_of(self.key)


def end_of(key: str) -> Position:
    """The position behind everything that has this key."""
    return key, math.inf


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted: at most `limit` entries behind the position `after`."""

    prefix: str
    delimiter: str
    limit: int
    after: Position | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    entries: tuple[T | CommonPrefix, ...]
    is_truncated: bool

    @property
    def items(self) -> list[T]:
        return [entry for entry in self.entries if not isinstance(entry, CommonPrefix)]

    @property
    def prefixes(self) -> list[CommonPrefix]:
        return [entry for entry in self.entries if isinstance(entry, CommonPrefix)]

    @property
    def last(self) -> T | CommonPrefix | None:
        """The entry the next page starts behind; None when there is no next page."""
        return self.entries[-1] if self.is_truncated else None


def cut_page(listed: Iterable[T], window: Window) -> Page[T]:
    """One page of a list; a common prefix counts as one entry of the limit."""
    found: dict[Position, T | CommonPrefix] = {}
    for item in sorted(listed, key=lambda item: item.position):
        if item.key.startswith(window.prefix):
            entry = _rolled_up(item, window)
            if window.after is None or entry.position > window.after:
                found.setdefault(entry.position, entry)
    entries = tuple(found.values())
    return Page(entries[: window.limit], is_truncated=0 < window.limit < len(entries))


def _rolled_up(item: T, window: Window) -> T | CommonPrefix:
    if window.delimiter:
        head, delimiter, _ = item.key[len(window.prefix) :].partition(window.delimiter)
        if delimiter:
            return CommonPrefix(window.prefix + head + delimiter)
    return item
