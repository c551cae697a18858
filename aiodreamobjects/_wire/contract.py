"""The one seam to a service: a method per S3 request, in our values and our errors.

Every lane keeps this contract, and one suite of tests (``tests/contract``) holds each lane to it on every server. A
method sends its request as often as the session's ``Retry`` allows, and raises SessionClosedError once the lane is
closed, ServiceError for what the service answers, ConnectionFailedError where there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from aiodreamobjects._checks import check_token
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._models import (
    Acl,
    Address,
    BucketInfo,
    ByteRange,
    CannedAcl,
    CommonPrefix,
    CorsRule,
    LifecycleRule,
    ObjectAttributes,
    ObjectInfo,
    PolicyDocument,
    Statistics,
    UploadInfo,
    VersioningStatus,
    Website,
)
from aiodreamobjects._progress import Gauge
from aiodreamobjects._wire.signing import Signer

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Buffer = bytes | bytearray | memoryview

Cursor = tuple[str, ...]
"""Where a listing goes on, opaque to callers."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    items: Sequence[T_co]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold of the object for a read to happen."""

    if_match: str | None = None
    if_none_match: str | None = None
    version_id: str | None = None

    def __post_init__(self) -> None:
        check_token("if_match", self.if_match)
        check_token("if_none_match", self.if_none_match)
        check_token("version_id", self.version_id)


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """What must hold for a write to happen: nothing there yet, or exactly this ETag."""

    if_absent: bool = False
    if_match: str | None = None

    def __post_init__(self) -> None:
        check_token("if_match", self.if_match)
        if self.if_absent and self.if_match is not None:
            msg = f"if_absent and if_match={self.if_match!r} cannot both hold: choose one"
            raise ValueError(msg)


class VersionedKey(NamedTuple):
    """Not checked when made: there may be millions."""

    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A document that a bucket carries or not; the constants below are all there are."""

    name: str


CORS: Setting[list[CorsRule]] = Setting("cors")
POLICY: Setting[PolicyDocument | None] = Setting("policy")
LIFECYCLE: Setting[list[LifecycleRule]] = Setting("lifecycle")
TAGS: Setting[dict[str, str]] = Setting("tags")
VERSIONING: Setting[VersioningStatus | None] = Setting("versioning")
WEBSITE: Setting[Website | None] = Setting("website")


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


class ResponseBody(Protocol):
    """An object's bytes on their way: the body of one response. Whoever got it closes it."""

    @property
    def info(self) -> ObjectInfo: ...

    etag: str | None
    size: int | None
    """Of the whole object."""
    start: int
    """The position in the object of the first byte."""
    length: int | None
    """How many bytes were announced."""
    is_part: bool
    """Whether it says of itself that it is a part (206), of whatever size."""
    encryption: str | None
    """How the service encrypted it; decides what the ETag says."""
    content: bytes | None
    """All of it, where it was small enough to come with its head: there is then nothing to read or to close."""

    @property
    def taken(self) -> int:
        """How many bytes have been read so far, also where a read failed midway."""
        ...

    async def read_chunk(self) -> bytes:
        """The next bytes, some KiB at a time; empty at the end. Raises IncompleteBodyError if it comes early."""
        ...

    async def read_into(self, memory: memoryview) -> int:
        """Fill the memory, less of it only at the end; how many bytes that was. Raises as ``read_chunk``."""
        ...

    async def aclose(self) -> None:
        """Give the place back, and the connection where all was read. Idempotent; never waits for the peer."""
        ...


class Wire(Protocol):
    def stop(self) -> None:
        """Refuse every request from now on with SessionClosedError, except those of clean-ups (``gate.DEPARTURE``)."""
        ...

    async def aclose(self) -> None: ...

    def abandon(self) -> None:
        """Let go of what is open, for a session that nobody closed. Its event loop may be gone."""
        ...

    def moved(self) -> int:
        """Return a figure that changes as long as bytes of any request or reply move."""
        ...

    def statistics(self) -> Statistics: ...

    def signer(self) -> Signer:
        """With the credentials of this moment: they may be refreshed while a session lives."""
        ...

    def now(self) -> float:
        """The service's idea of the time, as far as it is known to differ from ours: seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait before trying again; SessionClosedError if the session closes meanwhile."""
        ...

    async def boto_client(self) -> S3Client: ...

    # The service

    async def list_buckets(self) -> list[BucketInfo]: ...

    # Buckets

    async def create_bucket(self, bucket: str, acl: CannedAcl | None) -> None: ...
    async def head_bucket(self, bucket: str) -> BucketInfo: ...
    async def delete_bucket(self, bucket: str) -> None: ...
    async def get_bucket_acl(self, bucket: str) -> Acl: ...
    async def put_bucket_acl(self, bucket: str, acl: CannedAcl | Acl) -> None: ...

    async def get_setting(self, bucket: str, setting: Setting[T]) -> T:
        """The setting's value; its empty value (``[]``, ``{}`` or ``None``) where the bucket carries none."""
        ...

    async def put_setting(self, bucket: str, setting: Setting[T], value: T) -> None: ...
    async def delete_setting(self, bucket: str, setting: Setting[T]) -> None: ...

    async def list_objects(
        self,
        bucket: str,
        *,
        prefix: str,
        delimiter: str = "",
        start_after: str | None = None,
        cursor: Cursor | None = None,
        max_keys: int = 1000,
    ) -> Page[ObjectInfo | CommonPrefix]:
        """A page in the order of the keys' UTF-8 bytes."""
        ...

    async def list_versions(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[ObjectInfo]: ...

    async def list_uploads(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[UploadInfo]: ...

    async def delete_objects(self, bucket: str, keys: Sequence[VersionedKey]) -> Mapping[VersionedKey, ServiceError]:
        """At most 1,000 keys. Those that are not known to be gone, and why."""
        ...

    # Objects

    async def put_object(
        self,
        address: Address,
        body: Buffer,
        attributes: ObjectAttributes,
        conditions: WriteConditions,
        *,
        verify: bool = True,
        sent: Gauge | None = None,
    ) -> ObjectInfo:
        """Raises AlreadyExistsError where ``if_absent`` is refused, ChecksumMismatchError for an ETag of other bytes.

        ``verify=False`` computes no MD5. ``sent`` tells how much of the body is on its way.
        """
        ...

    async def get_object(
        self, address: Address, byte_range: ByteRange | None, conditions: Conditions, *, streamed: bool
    ) -> ResponseBody:
        """``streamed``: other requests may be made while the body is open, which then has its place in ``stream()``.

        Else it keeps the place of its request.
        """
        ...

    def stream(self) -> AbstractAsyncContextManager[None]:
        """A place for a body that is streamed, also while it breaks and is asked for again."""
        ...

    async def head_object(self, address: Address) -> ObjectInfo: ...

    async def size_of_part(self, address: Address, number: int, etag: str) -> int | None:
        """How large this part of the object is that has this ETag; None where the service does not tell.

        Ceph RGW 16.2 ignores that a part was asked for.
        """
        ...

    async def delete_object(self, address: Address, version_id: str | None) -> None: ...
    async def get_object_acl(self, address: Address) -> Acl: ...
    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None: ...
    async def get_object_tags(self, address: Address) -> dict[str, str]: ...
    async def put_object_tags(self, address: Address, tags: Mapping[str, str]) -> None: ...

    async def copy_object(
        self,
        source: Address,
        to: Address,
        attributes: ObjectAttributes | None,
        conditions: WriteConditions,
        *,
        source_version: str | None = None,
        source_if_match: str | None = None,
    ) -> ObjectInfo:
        """Server-side, up to 5 GiB. ``attributes``: in place of the source's; None carries those over.

        Ceph RGW 16.2 ignores ``source_if_match``: whoever pins a copy looks at the result.
        """
        ...

    # Multipart uploads

    async def create_upload(
        self, address: Address, attributes: ObjectAttributes, on_doubt: Callable[[], None] | None = None
    ) -> CreatedUpload:
        """Begin an upload. A lost reply leaves one behind that nobody knows: ``on_doubt`` is called for each."""
        ...

    async def put_part(
        self,
        address: Address,
        upload_id: str,
        number: int,
        body: Buffer,
        *,
        verify: bool = True,
        sent: Gauge | None = None,
    ) -> Part:
        """Part ``number``, from 1 to 10,000. Raises ChecksumMismatchError for an ETag of other bytes."""
        ...

    async def copy_part(
        self,
        source: Address,
        to: Address,
        upload_id: str,
        number: int,
        byte_range: ByteRange | None,
        *,
        source_version: str | None = None,
        source_if_match: str | None = None,
    ) -> Part: ...

    async def complete_upload(
        self, address: Address, upload_id: str, parts: Sequence[Part], conditions: WriteConditions
    ) -> ObjectInfo:
        """Of the object, what the reply tells: its ETag and version. Raises ServiceError for a 200 that tells neither."""
        ...

    async def list_parts(self, address: Address, upload_id: str, cursor: Cursor | None = None) -> Page[Part]: ...
    async def abort_upload(self, address: Address, upload_id: str) -> None: ...
