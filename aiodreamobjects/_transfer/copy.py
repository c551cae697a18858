"""Copy one object. The service copies it itself, in parts if it is large. Between services it is streamed through here."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from urllib.parse import unquote

from aiodreamobjects._acls import Acl
from aiodreamobjects._concurrency import pull
from aiodreamobjects._encryption import SseCustomer
from aiodreamobjects._errors import (
    ChecksumMismatchError,
    DreamObjectsError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    TransferError,
    UnsupportedByServiceError,
)
from aiodreamobjects._integrity import md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ByteRange, ObjectInfo, Verified
from aiodreamobjects._progress import Growing, Meter, ProgressCallback
from aiodreamobjects._runtime import Job, Runtime, clean_up
from aiodreamobjects._s3.options import ANY, LEGAL_HOLD, META, HeaderArguments, ReadOptions, WriteOptions
from aiodreamobjects._s3.replies import Headers, headers_to_carry, is_same, object_info
from aiodreamobjects._s3.values import Part
from aiodreamobjects._transfer import locks
from aiodreamobjects._transfer.body import open_body, pin_of
from aiodreamobjects._transfer.multipart import Multipart, check_conditions
from aiodreamobjects._transfer.parts import PART_SIZE_NAME
from aiodreamobjects._transfer.upload import put

COPY_PART_BYTES = 256 << 20
"""The size of a part that the service copies. It needs no memory here, so it may be larger than an uploaded part."""
FINISH_SECONDS = 10.0
"""After a cancellation, restoring the tags and ACL of an object that was copied onto itself may take this long."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences between the copy and its source."""

    options: WriteOptions
    replaced: frozenset[str] = frozenset()
    """The names of the given header options, including ``metadata``. An option given as ``None`` removes the header."""
    tags: Mapping[str, str] | None = None
    """``None`` keeps the source's tags."""
    copies_acl: bool | None = None
    """``None``: only a copy onto itself keeps the ACL, if the service lets us read it."""

    @classmethod
    def of(
        cls,
        given: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        copies_acl: bool | None = None,  # noqa: FBT001 - as copy_to has it
    ) -> Changes:
        """Return the changes that a verb's arguments describe. Raise ValueError if they contradict each other."""
        if copies_acl and given.get("acl") is not None:
            msg = f"copy_acl=True and acl={given['acl']!r} exclude each other: choose one"
            raise ValueError(msg)
        replaced = frozenset(HeaderArguments.__annotations__.keys() & given.keys())
        return cls(WriteOptions.of(given), replaced, tags, copies_acl)

    @property
    def details(self) -> str:
        """Return them in words that are the same in every process."""
        return f"{self.options} replacing {sorted(self.replaced)}, tags {self.tags}, ACL {self.copies_acl}"

    @property
    def has_effect(self) -> bool:
        """Return whether a copy onto itself would change anything."""
        options = self.options
        given = options.acl or options.headers or options.encryption or options.has_lock or options.checksum
        return bool(self.replaced or given)


@dataclass(frozen=True, slots=True)
class Source:
    """The object to copy, in the state that a HEAD found before the copy."""

    runtime: Runtime
    address: Address
    reads: ReadOptions
    """The version to copy, and the key that it was stored with."""
    headers: Headers
    """The headers exactly as the service sent them."""
    found: ObjectInfo

    @classmethod
    async def look(cls, runtime: Runtime, address: Address, reads: ReadOptions) -> Source:
        headers = await runtime.s3.headers_of(address, reads)
        return cls(runtime, address, reads, headers, object_info(address, headers))

    @property
    def has_redirect(self) -> bool:
        """Return whether it has a website redirect, which S3 drops in a plain copy (S3 API reference, "CopyObject")."""
        return self.found.website_redirect is not None

    async def check(self) -> None:
        """Raise ObjectChangedError if the object was changed or deleted since the first HEAD."""
        try:
            now = await self.runtime.s3.head_object(self.address, self.reads)
        except NotFoundError as error:
            msg = f"{self.address} was deleted while it was copied"
            raise ObjectChangedError(msg) from error
        if replace(now, storage_class=self.found.storage_class) != self.found:
            msg = f"{self.address} changed while it was copied"
            raise ObjectChangedError(msg)


@dataclass(frozen=True, slots=True)
class Copied:
    source: Source
    info: ObjectInfo
    is_confirmed: bool
    """Whether a digest or a length proves that the whole source was copied."""


async def copy(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    progress: ProgressCallback | None,
    reads: ReadOptions = ANY,
) -> Copied:
    """Copy, then check the source again. If it changed during a streamed copy, copy it once more.

    A copy of the old state would have a newer time than the source. A comparison by time would never correct it.
    """
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    growing = Growing(progress) if progress is not None else None
    transfer_to = Job(from_runtime, to_runtime, verb="copy", bucket=target.bucket, key=target.key)
    async with transfer_to as job, job.telling_doubt():
        # A conditional copy is not repeated: the first copy changed the target, so the condition would fail.
        for is_last in (changes.options.is_conditional, True):
            found = await Source.look(from_runtime, address, reads)
            transfer = _Copy(found, to_runtime, target, changes, growing, job)
            info = await transfer.run()
            try:
                if transfer.took_time:
                    await found.check()
            except ObjectChangedError as error:
                is_gone = isinstance(error.__cause__, NotFoundError)
                if is_last or is_gone or not transfer.was_streamed:
                    msg = f"{error}: {target} is a copy of its old state; copy it again if you need the new one"
                    raise ObjectChangedError(msg) from error
                _log.info("%s; copying it again", error)
            else:
                job.note(info)
                return Copied(found, info, transfer.is_confirmed)
    raise AssertionError


async def move(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    progress: ProgressCallback | None,
    reads: ReadOptions = ANY,
    *,
    keeps_versions: bool = False,
) -> ObjectInfo:
    """Copy, check both objects, and only then delete the source. With versioning, delete exactly the copied version.

    ``keeps_versions``: put a delete marker instead, so that no older version comes up.

    Delete the source only if a digest or a length confirmed both the bytes that were read and the stored copy.
    """
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    if (from_runtime.service.endpoint, address) == (to_runtime.service.endpoint, target):
        msg = f"{address} cannot be moved onto itself"
        raise ValueError(msg)
    copied = await copy(source, to, changes, progress, reads)
    found, info = copied.source.found, copied.info
    stored = await to_runtime.s3.head_object(target, changes.options.reads)
    if _differ(stored.size, found.size) or _differ(stored.etag, info.etag):
        msg = f"{target} is not the copy that was made of {address}: the source was not deleted"
        raise ObjectChangedError(msg)
    is_compared = info.verified in ("md5", "parts", "checksum") or (info.size is not None and stored.size == info.size)
    if not (copied.is_confirmed and is_compared):
        msg = (
            f"{target} was stored, but no digest and no length shows whether it is complete. "
            f"{address} was not deleted: compare the two, then delete it"
        )
        error = TransferError(msg)
        error.in_doubt = True  # the copy exists
        raise error
    await copied.source.check()
    await from_runtime.s3.delete_object(address, None if keeps_versions else found.version_id)
    return replace(info, last_modified=info.last_modified or stored.last_modified)


def _differ(one: int | str | None, other: int | str | None) -> bool:
    """Return whether two sizes or ETags are both known and differ."""
    return None not in (one, other) and one != other


def _verified_by_etag(etag: str | None) -> Verified | None:
    """Return what the ETag of a copy proves if it equals the source's. An ETag that is no digest proves nothing."""
    if md5_of_etag(etag, None):
        return "md5"
    return "parts" if parts_of_etag(etag, None) else None


class _Copy:
    """The copy of one object to one target."""

    def __init__(
        self,
        source: Source,
        to_runtime: Runtime,
        target: Address,
        changes: Changes,
        progress: ProgressCallback | None,
        job: Job,
    ) -> None:
        self._source, self._from, self._address = source, source.runtime, source.address
        self._reads = source.reads
        self._to, self._target = to_runtime, target
        self._found, self._changes, self._progress = source.found, changes, progress
        self._job = job
        self._meter = Meter(progress, total_bytes=self._found.size, key=target.key)
        self._pin = pin_of(self._found.etag)
        self._is_within = self._from is self._to
        self._is_itself = (self._from.service.endpoint, self._address) == (self._to.service.endpoint, target)
        if self._is_itself and changes.options.encryption is None and source.reads.encryption is not None:
            self._changes = replace(changes, options=replace(changes.options, encryption=source.reads.encryption))
        given = self._changes.options.encryption
        self._lock = self._lock_headers()
        """The headers of the lock that the copy gets."""
        self._has_customers_key = isinstance(given, SseCustomer) or source.reads.encryption is not None
        self._tags: Mapping[str, str] | None = None
        """The source's tags, once they were read."""
        self._acl: Acl | None = None
        """The source's ACL, if the copy gets it."""
        self.is_confirmed = True
        """Whether a digest or a length proves that the whole source was copied."""
        self.was_streamed = False
        self.took_time = False
        """Whether the copy took several requests or a long one, so that the source may have changed meanwhile."""

    async def run(self) -> ObjectInfo:
        await self._check_request()
        await self._read_acl()
        if not self._is_itself:
            info, finish = await self._copy_content()
            await finish
            return info
        await self._source_tags()  # read them first: the copy overwrites the object that has them
        try:
            info, finish = await self._copy_content()
        except BaseException as error:
            # The copy may have happened, and then the object has lost its tags and ACL.
            if not isinstance(error, Exception) or getattr(error, "in_doubt", False):
                with suppress(DreamObjectsError):
                    await clean_up(self._finish(None, is_new=False, keeps_tags=False), grace=FINISH_SECONDS)
            raise
        await clean_up(finish, grace=FINISH_SECONDS)  # a cancellation here would leave it without tags and ACL
        return info

    async def _copy_content(self) -> tuple[ObjectInfo, Coroutine[None, None, None]]:
        """Copy the content and the headers. Return the copy's info, and a coroutine that sets its tags and ACL."""
        copied = await self._copy_within_or_nothing() if self._is_within else None
        info = copied or await self._stream()
        is_plain = copied is not None and not (self._replaces_headers or self._is_large())
        is_at_once = is_plain and (self._found.size or 0) <= self._from.limits.part_size
        is_at_once = is_at_once and self._is_pinned and self._acl is None and self._changes.tags is None
        self.took_time = not (is_at_once or self._is_itself)
        is_new = copied is None or self._is_large()
        return info, self._finish(info.version_id, is_new=is_new, keeps_tags=is_plain)

    async def _check_request(self) -> None:
        """Raise an error for an impossible copy before anything is stored."""
        is_restored = self._reads.version_id is not None
        if self._is_within and self._is_itself and not (self._changes.has_effect or is_restored):
            msg = f"a copy of {self._address} onto itself must change something, such as its metadata"
            raise ValueError(msg)
        if self._changes.tags and (advice := self._to.service.unsupported.get("tagging")):
            msg = f"{self._to.service.name} keeps no tags, so {self._target} cannot get any; {advice}"
            raise UnsupportedByServiceError(msg, code="NotImplemented")
        await self._to.s3.require(self._target, self._changes.options)

    @property
    def _replaces_headers(self) -> bool:
        """Return whether the copy must send all headers. S3 refuses a copy onto itself that does not replace them."""
        given = self._changes.replaced - {"storage_class"}
        return bool(given) or self._is_itself or self._source.has_redirect

    @property
    def _is_pinned(self) -> bool:
        return self._pin is not None or self._found.etag is None

    async def _copy_within_or_nothing(self) -> ObjectInfo | None:
        """Let the service copy. Return None if it cannot and the object must be streamed through here."""
        key = self._address.key
        if self._has_customers_key and not self._to.service.encrypts:
            return None  # Ceph RGW 16.2 refuses to copy such an object, and ignores the key that the copy should get
        if self._is_large() and "copy_in_parts" in self._to.service.unsupported:
            return None
        if self._is_large() and (unquote(key) != key or "?versionId=" in key):
            return None  # Ceph RGW 16.2 decodes the source key of a part twice, and may copy another object
        try:
            async with self._meter:
                return await self._copy_within()
        except UnsupportedByServiceError as error:
            # Ceph RGW 16.2 copies nothing that a KMS is to encrypt.
            has_encryption = self._found.encryption is not None or self._changes.options.encryption is not None
            if error.in_doubt or (self._is_itself and not has_encryption):  # in doubt: it was copied without encryption
                raise
            return None

    def _is_large(self) -> bool:
        return (self._found.size or 0) > self._to.service.multipart.largest_copy

    async def _copy_within(self) -> ObjectInfo:
        found = self._found
        try:
            info = await (self._copy_in_parts if self._is_large() else self._copy_at_once)(found.size or 0)
        except NotFoundError:
            await self._source.check()
            raise
        has_its_etag = info.etag is not None and info.etag == found.etag and not self._has_customers_key
        if has_its_etag and (verified := _verified_by_etag(info.etag)):
            return replace(info, size=found.size, verified=verified)
        # A copy in parts has another ETag, so it cannot show whether the source changed. Check the source instead.
        if not has_its_etag and not self._is_itself:
            await self._source.check()
        stored = await self._to.s3.head_object(self._target, self._changes.options.reads)
        if _differ(stored.size, found.size):
            msg = (
                f"{self._target} has {stored.size} bytes after the copy, but {self._address} has {found.size}; "
                "copy it again"
            )
            raise ChecksumMismatchError(msg)
        self.is_confirmed = None not in (stored.size, found.size)
        return replace(
            info,
            etag=stored.etag,
            last_modified=stored.last_modified,
            encryption=stored.encryption,
            size=stored.size if found.size is None else found.size,
            verified="size" if self.is_confirmed else None,
        )

    async def _copy_at_once(self, size: int) -> ObjectInfo:
        s3, options = self._to.s3, self._options() if self._replaces_headers else self._with_acl(self._changes.options)
        await check_conditions(s3, self._target, options)

        async def copy_object() -> ObjectInfo:
            return await s3.copy_object(self._address, self._target, options, self._reads.pinned(self._pin))

        with self._meter.piece(size), self._job.writing():
            await self._meter.complete()
            try:
                return await copy_object()
            except PreconditionFailedError:
                if not await self._may_unpin(self._pin):
                    raise
                await check_conditions(s3, self._target, options)  # the 412 may mean these, and not the pin
                return await copy_object()

    async def _may_unpin(self, pin: str | None) -> bool:
        """Return whether to repeat the copy without this pin, an If-Match that failed although the source is unchanged.

        Raise ObjectChangedError if the source did change.

        OpenStack Swift compares the pin of an object in parts with an internal ETag, so it always fails. Without a pin,
        the source is checked again after the copy.
        """
        await self._source.check()
        self._pin = None
        return pin is not None

    async def _copy_in_parts(self, size: int) -> ObjectInfo:
        rules = self._to.service.multipart
        part_size = min(max(COPY_PART_BYTES, ceil(size / rules.most_parts)), rules.largest_copy)
        options = self._options()
        options = replace(options, metadata={**(options.metadata or {}), PART_SIZE_NAME: str(part_size)})
        upload = Multipart(self._to, self._target, options, self._job)
        return await upload.run(lambda: self._copy_parts(upload, size, part_size))

    async def _copy_parts(self, upload: Multipart, size: int, part_size: int) -> list[Part]:
        numbers = itertools.count(1)
        parts: dict[int, Part] = {}

        async def take() -> int | None:
            number = next(numbers)
            return number if (number - 1) * part_size < size else None

        async def copy_part(number: int) -> None:
            start = (number - 1) * part_size
            copied = ByteRange(start, min(start + part_size, size))
            with self._meter.piece(min(part_size, size - start)):
                pin = self._pin
                try:
                    part = await self._copy_part(upload, number, copied)
                except PreconditionFailedError:
                    if not await self._may_unpin(pin):
                        raise
                    part = await self._copy_part(upload, number, copied)
                parts[number] = replace(part, size=min(part_size, size - start))

        await pull(self._to.limits.parts_per_object, take, copy_part)
        await self._source.check()  # Ceph RGW ignores the If-Match of a copied part
        await self._meter.complete()
        return [part for _, part in sorted(parts.items())]

    async def _copy_part(self, upload: Multipart, number: int, copied: ByteRange) -> Part:
        reads, options = self._reads.pinned(self._pin), self._changes.options
        return await self._to.s3.copy_part(
            self._address, self._target, upload.upload_id, number, copied, options, reads
        )

    async def _stream(self) -> ObjectInfo:
        """Download and upload at the same time, within the session's memory."""
        self.was_streamed = True
        pinned, found = self._reads.pinned(self._pin), self._found
        known = found.etag, found.size
        try:
            async with open_body(self._from, self._address, None, pinned, known=known) as body:
                if not is_same(body.info, found):
                    msg = f"{self._address} changed while it was copied"
                    raise ObjectChangedError(msg)
                options = await self._options_of_stream()
                info = await put(self._to, self._target, body, options, self._progress, self._job)
                self.is_confirmed = body.info.verified is not None
                # The upload's digest only proves that the bytes arrived as they were read, not that all were read.
                return info if self.is_confirmed else replace(info, verified=None)
        except PreconditionFailedError as error:
            if not error.in_doubt:
                await self._source.check()
            raise

    async def _options_of_stream(self) -> WriteOptions:
        """Return the options of the copy. A copy onto itself replaces only the state that it reads, where the service can.

        Otherwise it would undo what somebody else writes meanwhile.
        """
        options = self._options()
        is_pinnable = self._is_itself and self._pin is not None and self._reads.version_id is None
        # The condition is checked by a HEAD with the new key. That HEAD fails if the present object has another key.
        is_visible = self._reads.encryption in (None, options.encryption)
        if not (is_pinnable and is_visible) or options.is_conditional:
            return options
        pinned = replace(options, if_match=self._pin)
        try:
            await self._to.s3.require(self._target, pinned)
        except UnsupportedByServiceError:
            return options
        return pinned

    # Headers

    def _lock_headers(self) -> dict[str, str]:
        """Return the given lock. A copy onto itself also keeps the lock that it has. An old version's lock stays with it."""
        options = self._changes.options
        kept = {}
        if self._is_itself and self._reads.version_id is None:
            kept = locks.of_headers(self._source.headers, self._to.s3.now())
            if options.legal_hold is False:
                kept.pop(LEGAL_HOLD, None)
        return kept | options.lock_headers()

    def _options(self) -> WriteOptions:
        """Return the given options, and the source's headers for all others."""
        given, headers = self._changes.options, self._source.headers
        replaced = self._changes.replaced | ({"encryption"} if given.encryption is not None else set())
        carried = headers_to_carry(headers, replaced=replaced, is_itself=self._is_itself) | self._lock
        # Keep the part size even if the metadata is replaced: a download needs it to compute the ETag.
        if (part_size := headers.get(_PART_SIZE_HEADER)) is not None:
            carried[_PART_SIZE_HEADER.decode()] = part_size.decode("latin-1")
        metadata = given.metadata
        if metadata is not None:
            metadata = {name: value for name, value in metadata.items() if name.lower() != PART_SIZE_NAME}
        return self._with_acl(replace(given, metadata=metadata, carried=carried))

    def _with_acl(self, options: WriteOptions) -> WriteOptions:
        """Add the source's ACL if it is a canned one. The copy then has it from the start."""
        name = self._acl.canned if self._acl is not None else None
        return options if name in (None, "private") else replace(options, acl=name)

    # Tags, ACL and lock, which S3 does not copy

    async def _read_acl(self) -> None:
        """Read the source's ACL if the copy gets it. A refusal is an error only if the caller requested the ACL."""
        wanted, s3 = self._changes.copies_acl, self._from.s3
        if wanted:
            self._acl = await s3.get_object_acl(self._address, self._reads.version_id)
        elif wanted is None and self._is_itself and self._changes.options.acl is None:
            read = partial(s3.get_object_acl, self._address, self._reads.version_id)
            self._acl = await s3.unasked("object_acl", read)

    async def _finish(self, version_id: str | None, *, is_new: bool, keeps_tags: bool) -> None:
        """Set the tags, an ACL that is not canned, and the lock of a copy onto itself. The copy request did not set them.

        ``is_new``: the copy was uploaded as a new object, and has no tags yet.
        """
        given, acl = self._changes.tags, self._acl
        if self._lock:
            await locks.ensure(
                self._to.s3, self._target, self._lock, replace(self._changes.options.reads, version_id=version_id)
            )
        if given or (given is not None and not is_new and await self._source_tags()):
            await self._to.s3.put_object_tags(self._target, given)
        elif given is None and not keeps_tags and (tags := await self._source_tags()):
            s3 = self._to.s3
            await s3.unasked("tagging", lambda: s3.put_object_tags(self._target, tags), is_write=True)
        if acl is not None and acl.canned is None:
            await self._put_acl(acl)

    async def _put_acl(self, acl: Acl) -> None:
        s3 = self._to.s3
        if self._changes.copies_acl:
            await s3.put_object_acl(self._target, acl)
        else:
            await s3.unasked("object_acl", lambda: s3.put_object_acl(self._target, acl), is_write=True)

    async def _source_tags(self) -> Mapping[str, str]:
        """Return the source's tags. Return none if the service has no tags or does not let us read them."""
        if self._tags is None:
            s3, can_have_some = self._from.s3, "tagging" not in self._to.service.unsupported
            read = partial(s3.get_object_tags, self._address, self._reads.version_id)
            found = await s3.unasked("tagging", read) if can_have_some else None
            self._tags = found or {}
        return self._tags


_PART_SIZE_HEADER = f"{META}{PART_SIZE_NAME}".encode()
