"""The values that verbs take and return: frozen, slotted, checked when made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

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
Permission = Literal["FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"]
VersioningStatus = Literal["Enabled", "Suspended"]
ObjectOwnership = Literal["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]
RetentionMode = Literal["GOVERNANCE", "COMPLIANCE"]
Verify = Literal["auto", "off"]
Checksum = Literal["crc32c", "crc64nvme", "sha256"]
Verified = Literal["md5", "parts", "size", "checksum"]
"""``md5``: the content's MD5 is the ETag. ``parts``: the parts' MD5s make up the ETag. ``size``: only lengths were compared.
``checksum``: the service's checksum is that of the content."""

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


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
    return cast(ObjectInfo, made)


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
class Grant:
    """One permission for one grantee. Give exactly one of ``id``, ``uri`` (a group) and ``email``."""

    permission: Permission
    id: str | None = None
    uri: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        check_one_of("permission", self.permission, get_args(Permission))
        if sum(name is not None for name in (self.id, self.uri, self.email)) != 1:
            msg = f"a grant must name its grantee by one of id, uri and email, and only one: {self!r}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Acl:
    """An access control list: the owner and the grants. ``canned`` names the canned ACL that they equal."""

    owner: str
    grants: tuple[Grant, ...]

    @property
    def canned(self) -> CannedAcl | None:
        """Return the name of the canned ACL with these grants; None if there is none."""
        owners = Grant("FULL_CONTROL", id=self.owner)
        if owners not in self.grants:
            return None
        return _CANNED.get(frozenset(self.grants) - {owners})


_CANNED: dict[frozenset[Grant], CannedAcl] = {
    frozenset(): "private",
    frozenset({Grant("READ", uri=ALL_USERS)}): "public-read",
    frozenset({Grant("READ", uri=ALL_USERS), Grant("WRITE", uri=ALL_USERS)}): "public-read-write",
    frozenset({Grant("READ", uri=AUTHENTICATED_USERS)}): "authenticated-read",
}


@dataclass(frozen=True, slots=True, init=False)
class Retention:
    """How long Object Lock protects: an object ``until`` a time, or each new object of a bucket for some ``days`` or ``years``.

    Give exactly one of the three. A whole number as the second argument means days: ``Retention("GOVERNANCE", 30)``.
    """

    mode: RetentionMode
    until: datetime | None
    days: int | None
    years: int | None

    def __init__(
        self,
        mode: RetentionMode,
        until: datetime | int | None = None,
        days: int | None = None,
        years: int | None = None,
    ) -> None:
        check_one_of("retention mode", mode, get_args(RetentionMode))
        if isinstance(until, int) and days is None:
            until, days = None, until
        given = {
            name: value for name, value in (("until", until), ("days", days), ("years", years)) if value is not None
        }
        if len(given) != 1:
            msg = f"a retention must have exactly one of until, days and years, not {given or 'none'}: write Retention({mode!r}, days=30)"
            raise ValueError(msg)
        [(name, value)] = given.items()
        if name == "until":
            if not isinstance(value, datetime) or value.tzinfo is None:
                msg = f"until {value!r} must be a datetime with a time zone, such as datetime.now(UTC) + timedelta(days=30)"
                raise ValueError(msg)
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"{name} {value!r} must be a whole number of at least 1"
            raise ValueError(msg)
        for field_name, checked in (("mode", mode), ("until", until), ("days", days), ("years", years)):
            object.__setattr__(self, field_name, checked)


class PresignedUrl(str):
    """A URL with a signature. Use it as any ``str``; only its ``repr`` hides the signature, and a session token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<PresignedUrl {_SECRET_OF_URL.sub('…', self)}>"


_SECRET_OF_URL = re.compile("(?<=Signature=)[^&]+|(?<=-[Tt]oken=)[^&]+")


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A browser form. POST ``fields`` to ``url``, and the file as the last field, named ``file``."""

    url: str
    fields: Mapping[str, str] = field(repr=False)


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


# Bucket settings, in the names of the S3 API reference, so that its examples can be pasted.


PolicyDocument = dict[str, object]
"""A bucket policy as parsed JSON."""


class CorsRule(TypedDict):
    AllowedMethods: list[str]
    AllowedOrigins: list[str]
    AllowedHeaders: NotRequired[list[str]]
    ExposeHeaders: NotRequired[list[str]]
    MaxAgeSeconds: NotRequired[int]
    ID: NotRequired[str]


class Tag(TypedDict):
    Key: str
    Value: str


class LifecycleAnd(TypedDict, total=False):
    Prefix: str
    Tags: list[Tag]
    ObjectSizeGreaterThan: int
    ObjectSizeLessThan: int


class LifecycleFilter(TypedDict, total=False):
    Prefix: str
    Tag: Tag
    ObjectSizeGreaterThan: int
    ObjectSizeLessThan: int
    And: LifecycleAnd


class LifecycleExpiration(TypedDict, total=False):
    Date: datetime
    Days: int
    ExpiredObjectDeleteMarker: bool


class LifecycleTransition(TypedDict, total=False):
    Date: datetime
    Days: int
    StorageClass: str


class NoncurrentVersionExpiration(TypedDict, total=False):
    NoncurrentDays: int
    NewerNoncurrentVersions: int


class NoncurrentVersionTransition(TypedDict, total=False):
    NoncurrentDays: int
    StorageClass: str
    NewerNoncurrentVersions: int


class AbortIncompleteMultipartUpload(TypedDict):
    DaysAfterInitiation: int


class LifecycleRule(TypedDict):
    Status: Literal["Enabled", "Disabled"]
    ID: NotRequired[str]
    Filter: NotRequired[LifecycleFilter]
    Prefix: NotRequired[str]
    Expiration: NotRequired[LifecycleExpiration]
    Transitions: NotRequired[list[LifecycleTransition]]
    NoncurrentVersionExpiration: NotRequired[NoncurrentVersionExpiration]
    NoncurrentVersionTransitions: NotRequired[list[NoncurrentVersionTransition]]
    AbortIncompleteMultipartUpload: NotRequired[AbortIncompleteMultipartUpload]


class IndexDocument(TypedDict):
    Suffix: str


class ErrorDocument(TypedDict):
    Key: str


class Redirect(TypedDict, total=False):
    HostName: str
    HttpRedirectCode: str
    Protocol: Literal["http", "https"]
    ReplaceKeyPrefixWith: str
    ReplaceKeyWith: str


class RoutingCondition(TypedDict, total=False):
    HttpErrorCodeReturnedEquals: str
    KeyPrefixEquals: str


class RoutingRule(TypedDict):
    Redirect: Redirect
    Condition: NotRequired[RoutingCondition]


class RedirectAll(TypedDict):
    HostName: str
    Protocol: NotRequired[Literal["http", "https"]]


class Website(TypedDict, total=False):
    IndexDocument: IndexDocument
    ErrorDocument: ErrorDocument
    RedirectAllRequestsTo: RedirectAll
    RoutingRules: list[RoutingRule]


class DefaultEncryption(TypedDict):
    SSEAlgorithm: str
    KMSMasterKeyID: NotRequired[str]


class EncryptionRule(TypedDict):
    ApplyServerSideEncryptionByDefault: DefaultEncryption
    BucketKeyEnabled: NotRequired[bool]


class PublicAccessBlock(TypedDict, total=False):
    BlockPublicAcls: bool
    IgnorePublicAcls: bool
    BlockPublicPolicy: bool
    RestrictPublicBuckets: bool


class FilterRule(TypedDict):
    Name: str
    Value: str


class KeyFilter(TypedDict):
    FilterRules: list[FilterRule]


class NotificationFilter(TypedDict):
    Key: KeyFilter


class TopicConfiguration(TypedDict):
    TopicArn: str
    Events: list[str]
    Id: NotRequired[str]
    Filter: NotRequired[NotificationFilter]


class QueueConfiguration(TypedDict):
    QueueArn: str
    Events: list[str]
    Id: NotRequired[str]
    Filter: NotRequired[NotificationFilter]


class LambdaFunctionConfiguration(TypedDict):
    LambdaFunctionArn: str
    Events: list[str]
    Id: NotRequired[str]
    Filter: NotRequired[NotificationFilter]


class Notification(TypedDict, total=False):
    TopicConfigurations: list[TopicConfiguration]
    QueueConfigurations: list[QueueConfiguration]
    LambdaFunctionConfigurations: list[LambdaFunctionConfiguration]
    EventBridgeConfiguration: dict[str, object]


class Logging(TypedDict):
    TargetBucket: str
    TargetPrefix: str
    TargetGrants: NotRequired[list[dict[str, object]]]
    TargetObjectKeyFormat: NotRequired[dict[str, object]]


def check_default_retention(retention: Retention) -> None:
    """Raise ValueError for a retention that a bucket cannot have for its new objects."""
    if not isinstance(retention, Retention) or retention.until is not None:
        msg = (
            f"a bucket's retention must be for days or years, not {retention!r}: write Retention('GOVERNANCE', days=30)"
        )
        raise ValueError(msg)


def check_canned_acl(acl: str) -> None:
    check_one_of("canned ACL", acl, get_args(CannedAcl))
