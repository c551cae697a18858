"""The values that most programs meet: frozen, slotted, checked when made. Rarer ones: ``_acls``, ``_bucket_settings``, ``_reports``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_args

from aiodreamobjects._checks import check_key, check_one_of

CannedAcl = Literal[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
]
VersioningStatus = Literal["Enabled", "Suspended"]
ObjectOwnership = Literal["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]
RetentionMode = Literal["GOVERNANCE", "COMPLIANCE"]
Verify = Literal["auto", "off"]
Checksum = Literal["crc32c", "crc64nvme", "sha256"]
Verified = Literal["md5", "parts", "size", "checksum"]
"""``md5``: the content's MD5 is the ETag. ``parts``: the parts' MD5s make up the ETag. ``size``: only lengths were compared.
``checksum``: the service's checksum is that of the content."""


@dataclass(frozen=True, slots=True)
class Address:
    """The bucket and the key of an object. Raises ValueError for a key that S3 does not allow."""

    bucket: str
    key: str

    def __post_init__(self) -> None:
        check_key(self.key)

    def __str__(self) -> str:
        return printable(f"s3://{self.bucket}/{self.key}")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """``(start, stop)`` without ``stop``, as in a slice; ``(start, None)`` to the end; ``(-n, None)`` for the last n bytes."""

    start: int
    stop: int | None

    @classmethod
    def of(cls, value: tuple[int, int | None]) -> ByteRange:
        if not isinstance(value, tuple | list) or len(value) != 2:  # noqa: PLR2004 - a pair
            msg = f"range {value!r} must be a pair of positions: (0, 10) is what HTTP calls bytes=0-9"
            raise ValueError(msg)
        start, stop = value
        if not all(isinstance(end, int) and not isinstance(end, bool) for end in (start, 0 if stop is None else stop)):
            msg = f"range {value!r} must hold whole numbers of bytes"
            raise ValueError(msg)
        if stop is not None and start < 0:
            msg = f"range {value!r}: only (-n, None) counts from the end"
            raise ValueError(msg)
        if stop is not None and stop <= start:
            msg = f"range {value!r} holds no bytes: stop must be greater than start"
            raise ValueError(msg)
        return cls(start, stop)

    def __str__(self) -> str:
        """Return the Range header (RFC 9110 section 14.1.2). Its last position is inclusive."""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known about an object, or about one version of it. A field is ``None`` if the reply did not say."""

    bucket: str
    key: str
    size: int | None = None
    """In bytes; of the whole object, also if only a range was read."""
    etag: str | None = None
    """Without quotes. The MD5 of the content for an object that one request stored, unless KMS encrypted it."""
    last_modified: datetime | None = None
    """An aware datetime in UTC."""
    content_type: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    """The ``x-amz-meta-*`` headers. Names are in lower case, as the service keeps them. Values are read as UTF-8, else latin-1."""
    version_id: str | None = None
    storage_class: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    is_latest: bool | None = None
    is_delete_marker: bool | None = None
    verified: Verified | None = None
    """How the transfer that returned this verified the bytes. ``None``: there was no transfer, or it could not verify them."""
    content_language: str | None = None
    expires: str | None = None
    """The ``Expires`` header as it was stored: an HTTP date, but some tools store ``0``."""
    website_redirect: str | None = None
    """Where a website bucket redirects to instead of serving this object."""
    encryption: str | None = None
    """How it is encrypted: ``AES256`` (the service's key), ``aws:kms``, or ``SSE-C`` (a customer's key)."""


class _Thawed:
    """An ObjectInfo before it is frozen. The ``__init__`` of a frozen dataclass takes four times as long."""

    __slots__ = tuple(field.name for field in fields(ObjectInfo))


def make_object_info(
    bucket: str,
    key: str,
    size: int | None,
    etag: str | None,
    last_modified: datetime | None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    version_id: str | None = None,
    storage_class: str | None = None,
    cache_control: str | None = None,
    content_disposition: str | None = None,
    content_encoding: str | None = None,
    content_language: str | None = None,
    expires: str | None = None,
    website_redirect: str | None = None,
    verified: Verified | None = None,
    encryption: str | None = None,
) -> ObjectInfo:
    """Make an ObjectInfo quickly: a listing may have millions."""
    made: Any = _Thawed()
    made.bucket = bucket
    made.key = key
    made.size = size
    made.etag = etag
    made.last_modified = last_modified
    made.content_type = content_type
    made.metadata = metadata
    made.version_id = version_id
    made.storage_class = storage_class
    made.cache_control = cache_control
    made.content_disposition = content_disposition
    made.content_encoding = content_encoding
    made.content_language = content_language
    made.expires = expires
    made.website_redirect = website_redirect
    made.verified = verified
    made.encryption = encryption
    made.is_latest = made.is_delete_marker = None
    made.__class__ = ObjectInfo
    frozen: ObjectInfo = made
    return frozen


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """A directory in ``list_dir``: the start that keys share, up to and including the next ``/``."""

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """A bucket. ``Session.buckets()`` sets ``created``; ``info()`` on Ceph RGW sets ``object_count`` and ``bytes_used``."""

    name: str
    created: datetime | None = None
    region: str | None = None
    object_count: int | None = None
    bytes_used: int | None = None


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """An open multipart upload: started, but neither completed nor aborted."""

    bucket: str
    key: str
    upload_id: str
    initiated: datetime | None = None
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part of a multipart upload that the service has."""

    number: int
    etag: str
    """Without quotes. Mostly the MD5 of its content."""
    size: int | None = None
    checksum: str | None = None
    """In base64, if the upload was begun with ``checksum`` and the service keeps it."""


@dataclass(frozen=True, slots=True)
class Moving:
    """A large object of a tree that is being transferred."""

    key: str
    done_bytes: int
    total_bytes: int
    seconds: float
    """Since its transfer began."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is. Figures never go down. A total is ``None`` while it is unknown."""

    done_bytes: int
    total_bytes: int | None
    done_objects: int
    total_objects: int | None
    key: str
    moving: tuple[Moving, ...] = field(default=(), compare=False)
    """The large objects of a tree that take longest: up to five that are under way, the first that began first."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A session's counters since it opened. Bytes count only the content of objects."""

    requests: int
    retries: int
    bytes_sent: int
    bytes_received: int
    open_connections: int
    idle_connections: int
    calls: Mapping[str, int] = field(default_factory=dict)
    """How many calls there were of each operation: ``{"get_object": 12}``."""
    retries_by_cause: Mapping[str, int] = field(default_factory=dict)
    """How many attempts were repeated, by S3's error code; by the class of the error where no answer came."""
    waited_place: float = 0.0
    """The seconds that all calls and streams waited for a place or their pace, added up."""
    waited_connection: float = 0.0
    """The seconds that all calls waited for a new connection, added up."""


def printable(text: str) -> str:
    """Escape characters that could forge a line of a log or move a terminal's cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def check_canned_acl(acl: str) -> None:
    check_one_of("canned ACL", acl, get_args(CannedAcl))
