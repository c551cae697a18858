"""One object to another place: by the service itself, in parts when it is large; streamed through to another service."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from urllib.parse import unquote

from aiodreamobjects._concurrency import in_parallel
from aiodreamobjects._errors import (
    ChecksumMismatchError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    UnsupportedByServiceError,
)
from aiodreamobjects._models import Acl, Address, ByteRange, ObjectAttributes, ObjectInfo, Verified
from aiodreamobjects._progress import Meter, ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._transfer.body import open_body, pin_of
from aiodreamobjects._transfer.multipart import Multipart, check_conditions, refuse_conditions
from aiodreamobjects._transfer.parts import PART_SIZE_NAME
from aiodreamobjects._transfer.upload import put
from aiodreamobjects._wire.contract import Conditions, Part, WriteConditions
from aiodreamobjects._wire.errors import as_existing

COPY_PART_BYTES = 256 << 20
"""Copied by one request, where an object takes several: nothing of it passes through here."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the copy has that the source has not. ``None`` carries the source's over."""

    attributes: ObjectAttributes
    tags: Mapping[str, str] | None
    copies_acl: bool


async def copy(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    conditions: WriteConditions,
    progress: ProgressCallback | None,
) -> tuple[ObjectInfo, ObjectInfo]:
    """What the source was, and what the copy is."""
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    async with from_runtime.job(), to_runtime.job() as job:
        found = await from_runtime.wire.head_object(address)
        transfer = _Copy(from_runtime, address, to_runtime, target, found, changes, conditions, progress)
        return found, await transfer.run()


async def move(
    source: tuple[Runtime, Address],
    to: tuple[Runtime, Address],
    changes: Changes,
    conditions: WriteConditions,
    progress: ProgressCallback | None,
) -> ObjectInfo:
    """Copy, look at both, and only then delete the source: the very version that was copied, where there are versions."""
    (from_runtime, address), (to_runtime, target) = source, to
    from_runtime.require_open()
    to_runtime.require_open()
    if (from_runtime.service.endpoint, address) == (to_runtime.service.endpoint, target):
        msg = f"{address} cannot be moved onto itself"
        raise ValueError(msg)
    found, info = await copy(source, to, changes, conditions, progress)
    stored = await to_runtime.wire.head_object(target)
    if stored.size != found.size or (info.etag is not None and stored.etag != info.etag):
        msg = f"{target} is not what was copied from {address}, which was left where it is"
        raise ObjectChangedError(msg)
    await _check_source(from_runtime, address, found)
    await from_runtime.wire.delete_object(address, found.version_id)
    return replace(info, last_modified=info.last_modified or stored.last_modified)


async def _check_source(runtime: Runtime, address: Address, found: ObjectInfo) -> None:
    """ObjectChangedError unless the source is still what it was at first."""
    try:
        now = await runtime.wire.head_object(address)
    except NotFoundError as error:
        msg = f"{address} was deleted while it was copied"
        raise ObjectChangedError(msg) from error
    if replace(now, storage_class=found.storage_class) != found:
        msg = f"{address} changed while it was copied"
        raise ObjectChangedError(msg)


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
        conditions: WriteConditions,
        progress: ProgressCallback | None,
    ) -> None:
        self._from, self._address, self._to, self._target = from_runtime, address, to_runtime, target
        self._found, self._changes, self._conditions, self._progress = found, changes, conditions, progress
        self._meter = Meter(progress, total_bytes=found.size, key=target.key)
        self._pin = pin_of(found.etag)
        self._replaces = changes.attributes != ObjectAttributes()
        self._looked: tuple[Mapping[str, str] | None, Acl | None] | None = None

    async def run(self) -> ObjectInfo:
        refuse_conditions(self._to.service, self._conditions)
        if self._from is not self._to:
            if (self._from.service.endpoint, self._address) == (self._to.service.endpoint, self._target):
                await self._look(carries_tags=True)  # the copy replaces what these are read from
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
        size = self._found.size or 0
        try:
            info = await (self._copy_in_parts(size) if self._is_large() else self._copy_at_once(size))
        except NotFoundError:
            await _check_source(self._from, self._address, self._found)
            raise
        verified: Verified = "size"
        if info.etag is not None and info.etag == self._found.etag:
            verified = "md5" if "-" not in info.etag else "parts"
        else:  # a copy of many parts has another ETag: what it is of must be looked at
            if self._address != self._target:
                await _check_source(self._from, self._address, self._found)
            stored = await self._to.wire.head_object(self._target)
            if stored.size != size:
                msg = f"{self._target} has {stored.size} bytes after the copy, {self._address} has {size}"
                raise ChecksumMismatchError(msg)
            info = replace(info, etag=stored.etag, last_modified=stored.last_modified)
        return replace(info, size=size, verified=verified)

    async def _copy_at_once(self, size: int) -> ObjectInfo:
        wire, attributes = self._to.wire, self._attributes() if self._replaces else None
        await check_conditions(wire, self._target, self._conditions)
        try:
            with self._meter.piece(size):
                await self._meter.complete()
                return await wire.copy_object(
                    self._address, self._target, attributes, self._conditions, source_if_match=self._pin
                )
        except PreconditionFailedError as error:
            await _check_source(self._from, self._address, self._found)
            if self._conditions.if_absent:
                raise as_existing(error) from error
            raise

    async def _copy_in_parts(self, size: int) -> ObjectInfo:
        rules = self._to.service.multipart
        part_size = min(max(COPY_PART_BYTES, ceil(size / rules.most_parts)), rules.largest_copy)
        attributes = self._attributes()
        attributes = replace(attributes, metadata={**(attributes.metadata or {}), PART_SIZE_NAME: str(part_size)})
        upload = Multipart(self._to, self._target, attributes, self._conditions)
        return await upload.run(lambda: self._copy_parts(upload, size, part_size))

    async def _copy_parts(self, upload: Multipart, size: int, part_size: int) -> list[Part]:
        numbers = itertools.count(1)
        parts: dict[int, Part] = {}

        async def work() -> None:
            while (start := ((number := next(numbers)) - 1) * part_size) < size:
                copied = ByteRange(start, min(start + part_size, size))
                with self._meter.piece(min(part_size, size - start)):
                    try:
                        part = await self._to.wire.copy_part(
                            self._address, self._target, upload.upload_id, number, copied, source_if_match=self._pin
                        )
                    except PreconditionFailedError as error:
                        msg = f"{self._address} changed while it was copied"
                        raise ObjectChangedError(msg) from error
                    parts[number] = replace(part, size=min(part_size, size - start))

        await in_parallel(self._to.limits.parts_per_object, work)
        await _check_source(self._from, self._address, self._found)  # Ceph RGW ignores what pins a part to its source
        await self._meter.complete()
        return [part for _, part in sorted(parts.items())]

    async def _stream(self) -> ObjectInfo:
        """Through here, in parts within the session's memory."""
        pinned = Conditions(if_match=self._pin)
        try:
            async with open_body(self._from, self._address, None, pinned) as body:
                if body.info.etag != self._found.etag:
                    msg = f"{self._address} changed while it was copied"
                    raise ObjectChangedError(msg)
                return await put(
                    self._to, self._target, body, self._attributes(), self._conditions, self._progress, "auto"
                )
        except PreconditionFailedError:
            await _check_source(self._from, self._address, self._found)
            raise

    def _attributes(self) -> ObjectAttributes:
        """The source's, but for what was asked for."""
        found, asked = self._found, self._changes.attributes
        metadata = found.metadata if asked.metadata is None else asked.metadata
        cut = {name: value for name, value in (found.metadata or {}).items() if name == PART_SIZE_NAME}
        return ObjectAttributes(
            content_type=asked.content_type or found.content_type,
            metadata={name: value for name, value in (metadata or {}).items() if name.lower() != PART_SIZE_NAME} | cut,
            cache_control=asked.cache_control or found.cache_control,
            content_disposition=asked.content_disposition or found.content_disposition,
            content_encoding=asked.content_encoding or found.content_encoding,
            storage_class=asked.storage_class,
            acl=asked.acl,
        )

    async def _finish(self, *, carries_tags: bool) -> None:
        """What a copy does not take with it: its tags, where it was not a plain one, and its ACL."""
        tags, acl = self._looked or await self._look(carries_tags=carries_tags)
        if tags or self._changes.tags is not None:
            await self._to.wire.put_object_tags(self._target, tags or {})
        if acl is not None:
            await self._to.wire.put_object_acl(self._target, acl.canned or acl)

    async def _look(self, *, carries_tags: bool) -> tuple[Mapping[str, str] | None, Acl | None]:
        source, tags, acl = self._from.wire, self._changes.tags, None
        if tags is None and carries_tags and self._has_tags():
            tags = await source.get_object_tags(self._address)
        if self._changes.copies_acl:
            acl = await source.get_object_acl(self._address)
        self._looked = tags, acl
        return self._looked

    def _has_tags(self) -> bool:
        return "tagging" not in self._from.service.unsupported and "tagging" not in self._to.service.unsupported
