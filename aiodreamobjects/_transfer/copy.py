"""One object to another place: by the service itself, in parts when it is large; streamed through to another service."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from urllib.parse import unquote

from aiodreamobjects._concurrency import pull
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
from aiodreamobjects._models import Acl, Address, ByteRange, ObjectInfo, Verified
from aiodreamobjects._progress import Growing, Meter, ProgressCallback
from aiodreamobjects._runtime import Job, Runtime, clean_up
from aiodreamobjects._s3.options import META, HeaderArguments, ReadOptions, WriteOptions
from aiodreamobjects._s3.replies import (
    LEGAL_HOLD,
    LOCK_MODE,
    LOCK_UNTIL,
    Headers,
    headers_to_carry,
    is_same,
    object_info,
)
from aiodreamobjects._s3.values import Part
from aiodreamobjects._transfer.body import open_body, pin_of
from aiodreamobjects._transfer.multipart import Multipart, check_conditions
from aiodreamobjects._transfer.parts import PART_SIZE_NAME
from aiodreamobjects._transfer.upload import put

COPY_PART_BYTES = 256 << 20
"""Copied by one request, where an object takes several: nothing of it passes through here."""
FINISH_SECONDS = 10.0
"""How long the tags and grants of an object that was copied onto itself may take when the caller is cancelled."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different at the copy."""

    options: WriteOptions
    replaced: frozenset[str] = frozenset()
    """The names of the headers that are given, ``metadata`` among them. What was given as ``None`` is left out of the copy."""
    tags: Mapping[str, str] | None = None
    """``None`` keeps the source's."""
    copies_acl: bool | None = None
    """``None``: only a copy onto itself keeps the ACL, as far as the service lets us read it."""

    @classmethod
    def of(
        cls,
        given: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        copies_acl: bool | None = None,  # noqa: FBT001 - as copy_to has it
    ) -> Changes:
        """Make the value of what a verb was given. Raises ValueError for what cannot be."""
        if copies_acl and given.get("acl") is not None:
            msg = f"copy_acl=True and acl={given['acl']!r} exclude each other: choose one"
            raise ValueError(msg)
        replaced = frozenset(HeaderArguments.__annotations__.keys() & given.keys())
        return cls(WriteOptions.of(given), replaced, tags, copies_acl)

    @property
    def has_any(self) -> bool:
        """Whether a copy onto itself has a purpose."""
        return bool(self.replaced or self.options.acl or self.options.headers)


@dataclass(frozen=True, slots=True)
class Source:
    """The object that is copied, as it was looked at."""

    runtime: Runtime
    address: Address
    headers: Headers
    """As the service sent them, byte for byte."""
    found: ObjectInfo

    @classmethod
    async def look(cls, runtime: Runtime, address: Address) -> Source:
        headers = await runtime.s3.headers_of(address)
        return cls(runtime, address, headers, object_info(address, headers))

    @property
    def has_redirect(self) -> bool:
        """Whether it has a header that S3 itself leaves behind in a plain copy (S3 API reference, "CopyObject")."""
        return self.found.website_redirect is not None

    async def check(self) -> None:
        """Raise ObjectChangedError unless the object is still what it was at first."""
        try:
            now = await self.runtime.s3.head_object(self.address)
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
    is_sure: bool
    """Whether a digest or a length tells that all of the source was copied."""


async def copy(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    progress: ProgressCallback | None,
) -> Copied:
    """Copy, and look at the source again. If a copy was streamed and the source changed meanwhile, copy once more.

    A copy of the older state is younger than the source. Whoever compares times would take it for the newer state.
    """
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    told = Growing(progress) if progress is not None else None
    async with Job(from_runtime, to_runtime) as job, job.telling_doubt():
        # A second copy could not meet the conditions: the first one has broken them.
        for is_last in (changes.options.is_conditional, True):
            found = await Source.look(from_runtime, address)
            transfer = _Copy(found, to_runtime, target, changes, told, job)
            info = await transfer.run()
            try:
                if transfer.took_time:
                    await found.check()
            except ObjectChangedError as error:
                is_gone = isinstance(error.__cause__, NotFoundError)
                if is_last or is_gone or not transfer.was_streamed:
                    msg = f"{error}: {target} is a copy of the older state"
                    raise ObjectChangedError(msg) from error
                _log.info("%s; copying it again", error)
            else:
                return Copied(found, info, transfer.is_sure)
    raise AssertionError


async def move(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    progress: ProgressCallback | None,
) -> ObjectInfo:
    """Copy, look at both, and only then delete the source: the very version that was copied, where there are versions.

    The source is deleted only if the copy was compared with what was read, and what was read with its digest or length.
    """
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    if (from_runtime.service.endpoint, address) == (to_runtime.service.endpoint, target):
        msg = f"{address} cannot be moved onto itself"
        raise ValueError(msg)
    copied = await copy(source, to, changes, progress)
    found, info = copied.source.found, copied.info
    stored = await to_runtime.s3.head_object(target)
    if _differ(stored.size, found.size) or _differ(stored.etag, info.etag):
        msg = f"{target} is not what was copied from {address}, which was left where it is"
        raise ObjectChangedError(msg)
    is_compared = info.verified in ("md5", "parts") or (info.size is not None and stored.size == info.size)
    if not (copied.is_sure and is_compared):
        msg = (
            f"{target} was stored, but no digest and no length tells whether it is all of {address}, "
            "which was left where it is. Compare the two, then delete it"
        )
        error = TransferError(msg)
        error.in_doubt = True  # the copy is there
        raise error
    await copied.source.check()
    await from_runtime.s3.delete_object(address, found.version_id)
    return replace(info, last_modified=info.last_modified or stored.last_modified)


def _differ(one: int | str | None, other: int | str | None) -> bool:
    """Return whether two sizes or ETags are known, and not the same."""
    return None not in (one, other) and one != other


def _verified_by_etag(etag: str | None) -> Verified | None:
    """How a copy was verified that has the ETag of its source. One that tells nothing may be the same for all."""
    if md5_of_etag(etag, None):
        return "md5"
    return "parts" if parts_of_etag(etag, None) else None


class _Copy:
    """One object on its way to another place."""

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
        self._to, self._target = to_runtime, target
        self._found, self._changes, self._progress = source.found, changes, progress
        self._job = job
        self._meter = Meter(progress, total_bytes=self._found.size, key=target.key)
        self._pin = pin_of(self._found.etag)
        self._is_within = self._from is self._to
        self._is_itself = (self._from.service.endpoint, self._address) == (self._to.service.endpoint, target)
        self._tags: Mapping[str, str] | None = None
        """The source's, once they were looked at."""
        self._acl: Acl | None = None
        """The source's, if the copy is to have it."""
        self.is_sure = True
        """Whether a digest or a length tells that all of the source was copied."""
        self.was_streamed = False
        self.took_time = False
        """Whether the source may have changed while it was copied: it was read in several requests, or in a long one."""

    async def run(self) -> ObjectInfo:
        await self._refuse()
        await self._read_acl()
        if not self._is_itself:
            info, finish = await self._make()
            await finish
            return info
        await self._source_tags()  # now: the copy replaces what they are read from
        try:
            info, finish = await self._make()
        except BaseException as error:
            if not isinstance(error, Exception) or getattr(error, "in_doubt", False):  # the copy may be there
                with suppress(DreamObjectsError):
                    await clean_up(self._finish(is_new=False, keeps_tags=False), grace=FINISH_SECONDS)
            raise
        await clean_up(finish, grace=FINISH_SECONDS)  # cancelled now, the object would have lost its tags and grants
        return info

    async def _make(self) -> tuple[ObjectInfo, Coroutine[None, None, None]]:
        """Make the copy. Return what is known of it, and what is left to do for its tags and ACL."""
        copied = await self._copy_within_or_nothing() if self._is_within else None
        info = copied or await self._stream()
        is_plain = copied is not None and not (self._replaces_headers or self._is_large())
        is_at_once = is_plain and (self._found.size or 0) <= self._from.limits.part_size
        is_at_once = is_at_once and self._is_pinned and self._acl is None and self._changes.tags is None
        self.took_time = not (is_at_once or self._is_itself)
        return info, self._finish(is_new=copied is None or self._is_large(), keeps_tags=is_plain)

    async def _refuse(self) -> None:
        """Refuse, before anything is stored, what cannot be done."""
        if self._is_within and self._is_itself and not self._changes.has_any:
            msg = f"a copy of {self._address} onto itself must change something, such as its metadata"
            raise ValueError(msg)
        if self._changes.tags and (advice := self._to.service.unsupported.get("tagging")):
            msg = f"{self._to.service.name} keeps no tags, and {self._target} was to have some; {advice}"
            raise UnsupportedByServiceError(msg, code="NotImplemented")
        await self._to.s3.require_conditions(self._target, self._changes.options)

    @property
    def _replaces_headers(self) -> bool:
        """Whether all headers must be sent with the copy. A copy onto itself must replace them, or S3 refuses it."""
        asked = self._changes.replaced - {"storage_class"}
        return bool(asked) or self._is_itself or self._source.has_redirect

    @property
    def _is_pinned(self) -> bool:
        return self._pin is not None or self._found.etag is None

    async def _copy_within_or_nothing(self) -> ObjectInfo | None:
        """Return None where the service cannot do it, and it can be streamed through here."""
        key = self._address.key
        if self._is_large() and "copy_in_parts" in self._to.service.unsupported:
            return None
        if self._is_large() and (unquote(key) != key or "?versionId=" in key):
            return None  # Ceph RGW 16.2 decodes the key of a part's source twice, and may find another object
        try:
            async with self._meter:
                return await self._copy_within()
        except UnsupportedByServiceError:
            if self._is_itself:
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
        has_its_etag = info.etag is not None and info.etag == found.etag
        if has_its_etag and (verified := _verified_by_etag(info.etag)):
            return replace(info, size=found.size, verified=verified)
        # A copy of many parts has another ETag: so look at what it is a copy of.
        if not has_its_etag and not self._is_itself:
            await self._source.check()
        stored = await self._to.s3.head_object(self._target)
        if _differ(stored.size, found.size):
            msg = f"{self._target} has {stored.size} bytes after the copy, {self._address} has {found.size}"
            raise ChecksumMismatchError(msg)
        self.is_sure = None not in (stored.size, found.size)
        return replace(
            info,
            etag=stored.etag,
            last_modified=stored.last_modified,
            size=stored.size if found.size is None else found.size,
            verified="size" if self.is_sure else None,
        )

    async def _copy_at_once(self, size: int) -> ObjectInfo:
        s3, options = self._to.s3, self._options() if self._replaces_headers else self._with_acl(self._changes.options)
        await check_conditions(s3, self._target, options)

        async def copy_object() -> ObjectInfo:
            return await s3.copy_object(self._address, self._target, options, source_if_match=self._pin)

        with self._meter.piece(size), self._job.writing():
            await self._meter.complete()
            try:
                return await copy_object()
            except PreconditionFailedError:
                if not await self._may_unpin(self._pin):
                    raise
                await check_conditions(s3, self._target, options)  # it may have been these that failed
                return await copy_object()

    async def _may_unpin(self, pin: str | None) -> bool:
        """Return whether to copy once more without this pin: it was refused, and the source has not changed.

        Raise ObjectChangedError if it has. OpenStack Swift compares the pin of an object in parts with an ETag that it tells
        nobody. The source is looked at again after such a copy.
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
        await self._source.check()  # Ceph RGW ignores what pins a part to its source
        await self._meter.complete()
        return [part for _, part in sorted(parts.items())]

    async def _copy_part(self, upload: Multipart, number: int, copied: ByteRange) -> Part:
        source, target, pin = self._address, self._target, self._pin
        return await self._to.s3.copy_part(source, target, upload.upload_id, number, copied, source_if_match=pin)

    async def _stream(self) -> ObjectInfo:
        """Copy through here, in parts within the session's memory."""
        self.was_streamed = True
        pinned, found = ReadOptions(if_match=self._pin), self._found
        known = found.etag, found.size
        try:
            async with open_body(self._from, self._address, None, pinned, known=known) as body:
                if not is_same(body.info, found):
                    msg = f"{self._address} changed while it was copied"
                    raise ObjectChangedError(msg)
                info = await put(self._to, self._target, body, self._options(), self._progress, self._job)
                self.is_sure = body.info.verified is not None
                return info if self.is_sure else replace(info, verified=None)
        except PreconditionFailedError:
            await self._source.check()
            raise

    # Headers

    def _options(self) -> WriteOptions:
        """Return what was given, and the source's headers for the rest."""
        asked, headers = self._changes.options, self._source.headers
        carried = headers_to_carry(headers, replaced=self._changes.replaced, is_itself=self._is_itself)
        if (part_size := headers.get(_PART_SIZE_HEADER)) is not None:  # it says how the content is cut, not what it is
            carried[_PART_SIZE_HEADER.decode()] = part_size.decode("latin-1")
        metadata = asked.metadata
        if metadata is not None:
            metadata = {name: value for name, value in metadata.items() if name.lower() != PART_SIZE_NAME}
        return self._with_acl(replace(asked, metadata=metadata, carried=carried))

    def _with_acl(self, options: WriteOptions) -> WriteOptions:
        """Add the source's ACL if it has a name. So there is no moment at which the copy has another one."""
        name = self._acl.canned if self._acl is not None else None
        return options if name in (None, "private") else replace(options, acl=name)

    # What a copy does not take with it

    async def _read_acl(self) -> None:
        """Read the source's ACL if the copy is to have it. Its refusal is an error only if somebody asked for it."""
        wanted, s3 = self._changes.copies_acl, self._from.s3
        if wanted:
            self._acl = await s3.get_object_acl(self._address)
        elif wanted is None and self._is_itself and self._changes.options.acl is None:
            self._acl = await s3.unasked("object_acl", lambda: s3.get_object_acl(self._address))

    async def _finish(self, *, is_new: bool, keeps_tags: bool) -> None:
        """Set what the copy did not take with it: tags, an ACL that has no name, and the lock of one onto itself.

        ``is_new``: the copy was stored as any new object, and has no tags.
        """
        asked, acl = self._changes.tags, self._acl
        if self._is_itself:
            await self._keep_lock()
        if asked or (asked is not None and not is_new and await self._source_tags()):
            await self._to.s3.put_object_tags(self._target, asked)
        elif asked is None and not keeps_tags and (tags := await self._source_tags()):
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

    async def _keep_lock(self) -> None:
        """Lock the object again if the copy has lost its lock, as on Ceph RGW 16.2, which answers 200 to the headers."""
        was, s3 = self._source.headers, self._to.s3
        mode, until, hold = was.get(LOCK_MODE), was.get(LOCK_UNTIL), was.get(LEGAL_HOLD)
        if mode is None and hold is None:
            return
        now = await s3.headers_of(self._target)
        if mode is not None and until is not None and LOCK_MODE not in now:
            await s3.put_object_retention(self._target, mode.decode(), until.decode())
        if hold is not None and now.get(LEGAL_HOLD) != hold:
            await s3.put_object_legal_hold(self._target, hold.decode())

    async def _source_tags(self) -> Mapping[str, str]:
        """Return the source's tags; none if the service has none, or does not show them to us."""
        if self._tags is None:
            s3, can_have_some = self._from.s3, "tagging" not in self._to.service.unsupported
            found = await s3.unasked("tagging", lambda: s3.get_object_tags(self._address)) if can_have_some else None
            self._tags = found or {}
        return self._tags


_PART_SIZE_HEADER = f"{META}{PART_SIZE_NAME}".encode()
