"""One object to another place: by the service itself, in parts when it is large; streamed through to another service."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from urllib.parse import unquote

from aiodreamobjects._concurrency import pull
from aiodreamobjects._errors import (
    ChecksumMismatchError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    TransferError,
    UnsupportedByServiceError,
)
from aiodreamobjects._integrity import md5_of_etag, parts_of_etag
from aiodreamobjects._models import Acl, Address, ByteRange, ObjectInfo, Verified
from aiodreamobjects._progress import Growing, Meter, ProgressCallback
from aiodreamobjects._runtime import Job, Runtime
from aiodreamobjects._s3.errors import as_existing
from aiodreamobjects._s3.options import ReadOptions, WriteOptions
from aiodreamobjects._s3.values import Part
from aiodreamobjects._transfer.body import open_body, pin_of
from aiodreamobjects._transfer.multipart import Multipart, check_conditions, refuse_conditions
from aiodreamobjects._transfer.parts import PART_SIZE_NAME
from aiodreamobjects._transfer.upload import put

COPY_PART_BYTES = 256 << 20
"""Copied by one request, where an object takes several: nothing of it passes through here."""


_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class Changes:
    """What the copy has that the source has not. ``None`` carries the source's over."""

    options: WriteOptions
    tags: Mapping[str, str] | None
    copies_acl: bool


@dataclass(frozen=True, slots=True)
class Copied:
    found: ObjectInfo
    """The source, as it was copied."""
    info: ObjectInfo
    is_sure: bool
    """Whether a digest or a length tells that all of the source was copied."""


async def copy(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    progress: ProgressCallback | None,
) -> Copied:
    """Copy, and look at the source again. A copy that was streamed is made once more where the source changed meanwhile.

    A copy of the older state is younger than the source. Whoever compares times would take it for the newer state.
    """
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    told = Growing(progress) if progress is not None else None
    async with Job(from_runtime, to_runtime) as job, job.telling_doubt():
        for is_last in (
            changes.options.is_conditional,
            True,
        ):  # the first copy would break the conditions of a second one
            found = await from_runtime.s3.head_object(address)
            transfer = _Copy(from_runtime, address, to_runtime, target, found, changes, told, job)
            info = await transfer.run()
            try:
                if transfer.took_time:
                    await _check_source(from_runtime, address, found)
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
    found, info = copied.found, copied.info
    stored = await to_runtime.s3.head_object(target)
    if _differ(stored.size, found.size) or (info.etag is not None and stored.etag != info.etag):
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
    await _check_source(from_runtime, address, found)
    await from_runtime.s3.delete_object(address, found.version_id)
    return replace(info, last_modified=info.last_modified or stored.last_modified)


def _differ(one: int | None, other: int | None) -> bool:
    """Whether two sizes are known, and not the same."""
    return None not in (one, other) and one != other


async def _check_source(runtime: Runtime, address: Address, found: ObjectInfo) -> None:
    """ObjectChangedError unless the source is still what it was at first."""
    try:
        now = await runtime.s3.head_object(address)
    except NotFoundError as error:
        msg = f"{address} was deleted while it was copied"
        raise ObjectChangedError(msg) from error
    if replace(now, storage_class=found.storage_class) != found:
        msg = f"{address} changed while it was copied"
        raise ObjectChangedError(msg)


def _verified_by_etag(etag: str | None) -> Verified | None:
    """How a copy was verified that has the ETag of its source. One that tells nothing may be the same for all."""
    if md5_of_etag(etag, None):
        return "md5"
    return "parts" if parts_of_etag(etag, None) else None


class _Copy:
    """One object on its way to another place."""

    def __init__(
        self,
        from_runtime: Runtime,
        address: Address,
        to_runtime: Runtime,
        target: Address,
        found: ObjectInfo,
        changes: Changes,
        progress: ProgressCallback | None,
        job: Job,
    ) -> None:
        self._from, self._address, self._to, self._target = from_runtime, address, to_runtime, target
        self._found, self._changes, self._progress = found, changes, progress
        self._job = job
        self._meter = Meter(progress, total_bytes=found.size, key=target.key)
        self._pin = pin_of(found.etag)
        self._replaces = changes.options.changes_content
        self._looked: tuple[Mapping[str, str] | None, Acl | None] | None = None
        self.is_sure = True
        """Whether a digest or a length tells that all of the source was copied."""
        self.was_streamed = False
        self.took_time = False
        """Whether the source may have changed while it was copied: it was read in several requests, or in a long one."""

    async def run(self) -> ObjectInfo:
        refuse_conditions(self._to.service, self._changes.options)
        if self._from is not self._to:
            if (self._from.service.endpoint, self._address) == (self._to.service.endpoint, self._target):
                await self._look(carries_tags=True)  # the copy replaces what these are read from
            else:
                self.took_time = True
            info = await self._stream()
            await self._finish(carries_tags=True)
            return info
        if self._address == self._target and not self._replaces:
            msg = f"a copy of {self._address} onto itself must change something, such as its metadata"
            raise ValueError(msg)
        carries_tags = self._replaces or self._is_large()
        if self._address == self._target:  # the copy replaces what these are read from
            await self._look(carries_tags=carries_tags)
        copied = await self._copy_within_or_nothing()
        info = copied or await self._stream()
        await self._finish(carries_tags=carries_tags or copied is None)
        is_at_once = copied is not None and (self._found.size or 0) <= self._from.limits.part_size
        is_at_once = is_at_once and not self._replaces and self._looked == (None, None)
        self.took_time = self._address != self._target and not is_at_once
        return info

    async def _copy_within_or_nothing(self) -> ObjectInfo | None:
        """None where the service cannot do it, and it can be streamed through here."""
        is_itself, key = self._address == self._target, self._address.key
        if self._is_large() and (unquote(key) != key or "?versionId=" in key):
            return None  # Ceph RGW 16.2 decodes the key of a part's source twice, and may find another object
        try:
            async with self._meter:
                return await self._copy_within()
        except UnsupportedByServiceError:
            if is_itself:
                raise
            return None

    def _is_large(self) -> bool:
        return (self._found.size or 0) > self._to.service.multipart.largest_copy

    async def _copy_within(self) -> ObjectInfo:
        found = self._found
        try:
            info = await (self._copy_in_parts if self._is_large() else self._copy_at_once)(found.size or 0)
        except NotFoundError:
            await _check_source(self._from, self._address, found)
            raise
        has_its_etag = info.etag is not None and info.etag == found.etag
        if has_its_etag and (verified := _verified_by_etag(info.etag)):
            return replace(info, size=found.size, verified=verified)
        # A copy of many parts has another ETag: what it is of must be looked at.
        if not has_its_etag and self._address != self._target:
            await _check_source(self._from, self._address, found)
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
        s3, options = self._to.s3, self._options() if self._replaces else self._changes.options
        await check_conditions(s3, self._target, options)
        try:
            with self._meter.piece(size), self._job.writing():
                await self._meter.complete()
                return await s3.copy_object(
                    self._address,
                    self._target,
                    options,
                    source_if_match=self._pin,
                )
        except PreconditionFailedError as error:
            await _check_source(self._from, self._address, self._found)
            if options.if_absent:
                raise as_existing(error) from error
            raise

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
                try:
                    part = await self._to.s3.copy_part(
                        self._address, self._target, upload.upload_id, number, copied, source_if_match=self._pin
                    )
                except PreconditionFailedError as error:
                    msg = f"{self._address} changed while it was copied"
                    raise ObjectChangedError(msg) from error
                parts[number] = replace(part, size=min(part_size, size - start))

        await pull(self._to.limits.parts_per_object, take, copy_part)
        await _check_source(self._from, self._address, self._found)  # Ceph RGW ignores what pins a part to its source
        await self._meter.complete()
        return [part for _, part in sorted(parts.items())]

    async def _stream(self) -> ObjectInfo:
        """Through here, in parts within the session's memory."""
        self.was_streamed = True
        pinned, found = ReadOptions(if_match=self._pin), self._found
        known = found.etag, found.size
        try:
            async with open_body(self._from, self._address, None, pinned, known=known) as body:
                if body.info.etag != found.etag or _differ(body.info.size, found.size):
                    msg = f"{self._address} changed while it was copied"
                    raise ObjectChangedError(msg)
                info = await put(
                    self._to,
                    self._target,
                    body,
                    self._options(),
                    self._progress,
                    self._job,
                )
                self.is_sure = body.info.verified is not None
                return info if self.is_sure else replace(info, verified=None)
        except PreconditionFailedError:
            await _check_source(self._from, self._address, self._found)
            raise

    def _options(self) -> WriteOptions:
        """The source's, except for what was asked for."""
        found, asked = self._found, self._changes.options
        metadata = found.metadata if asked.metadata is None else asked.metadata
        cut = {name: value for name, value in (found.metadata or {}).items() if name == PART_SIZE_NAME}
        return replace(
            asked,
            content_type=asked.content_type or found.content_type,
            metadata={name: value for name, value in (metadata or {}).items() if name.lower() != PART_SIZE_NAME} | cut,
            cache_control=asked.cache_control or found.cache_control,
            content_disposition=asked.content_disposition or found.content_disposition,
            content_encoding=asked.content_encoding or found.content_encoding,
        )

    async def _finish(self, *, carries_tags: bool) -> None:
        """What a copy does not take with it: its tags, where it was not a plain one, and its ACL."""
        tags, acl = self._looked or await self._look(carries_tags=carries_tags)
        if tags or self._changes.tags is not None:
            await self._to.s3.put_object_tags(self._target, tags or {})
        if acl is not None:
            await self._to.s3.put_object_acl(self._target, acl.canned or acl)

    async def _look(self, *, carries_tags: bool) -> tuple[Mapping[str, str] | None, Acl | None]:
        tags, acl = self._changes.tags, None
        if tags is None and carries_tags and self._has_tags():
            tags = await self._from.s3.get_object_tags(self._address)
        if self._changes.copies_acl:
            acl = await self._from.s3.get_object_acl(self._address)
        self._looked = tags, acl
        return self._looked

    def _has_tags(self) -> bool:
        return "tagging" not in self._from.service.unsupported and "tagging" not in self._to.service.unsupported
