"""An object to a file: ranges in parallel, all of one state of the object, each written where it belongs."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

from aiodreamobjects._concurrency import pull
from aiodreamobjects._errors import (
    ChecksumMismatchError,
    IncompleteBodyError,
    InvalidRequestError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    TransferError,
)
from aiodreamobjects._models import Address, ByteRange, ObjectInfo, Verify
from aiodreamobjects._progress import Gauge, Meter, ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import ReadOptions
from aiodreamobjects._s3.replies import is_same
from aiodreamobjects._transfer import mtime
from aiodreamobjects._transfer.body import Body, RangeIgnoredError, Told, may_be_empty, open_body, pin_of
from aiodreamobjects._transfer.journal import DownloadJournal, DownloadRecord
from aiodreamobjects._transfer.sinks import PathSink, beside
from aiodreamobjects._transfer.verify import ContentCheck, verified_by_size

IfChanged = Literal["raise", "restart"]

MOST_RESTARTS = 1

_log = logging.getLogger("aiodreamobjects")

_UNCHECKED = ReadOptions(verify="off")
"""Each body is a piece: the whole is compared here."""


async def download(
    runtime: Runtime,
    address: Address,
    path: str | os.PathLike[str],
    *,
    resume: bool,
    overwrite: bool,
    progress: ProgressCallback | None,
    fsync: bool,
    verify: Verify,
    if_changed: IfChanged,
) -> ObjectInfo:
    runtime.require_open()
    names = f"{runtime.service.endpoint} {address} {Path(path).name}"
    word = hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    partial = beside(Path(path), word, "part") if resume else None
    async with (
        runtime.file(),
        _journal(beside(Path(path), word, "journal")) if resume else nullcontext() as journal,
        PathSink(
            path,
            overwrite=overwrite,
            fsync=fsync,
            partial=partial,
            is_kept=journal is not None and journal.record is not None,
        ) as sink,
    ):
        return await download_into(sink, runtime, address, progress, verify, if_changed, journal)


async def download_into(
    sink: PathSink,
    runtime: Runtime,
    address: Address,
    progress: ProgressCallback | None,
    verify: Verify,
    if_changed: IfChanged,
    journal: DownloadJournal | None = None,
    time_of: Callable[[ObjectInfo], int | None] = mtime.nanoseconds_of,
    listed: Told | None = None,
) -> ObjectInfo:
    """``listed``: as a listing tells of it, which has its size where the answer has none."""
    meter = Meter(progress, total_bytes=None, key=address.key)
    async with runtime.job(), meter:
        transfer = _Download(runtime, address, sink, journal, meter, verify, listed)
        info = await _with_second_chances(transfer, if_changed)
        await meter.complete()
    assert info.size is not None
    try:
        await sink.commit(time_of(info), info.size)
    finally:
        if journal is not None and sink.is_published:
            journal.record = None
    return info


@asynccontextmanager
async def _journal(path: Path) -> AsyncIterator[DownloadJournal]:
    journal = await DownloadJournal.open(path)
    try:
        yield journal
    finally:
        await journal.close(remove=journal.record is None)


async def _with_second_chances(transfer: _Download, if_changed: IfChanged) -> ObjectInfo:
    """Once more as one stream, where the service does not keep to ranges; and where the bytes were other ones."""
    in_ranges, may_mismatch, restarts = True, True, 0
    while True:
        try:
            return await transfer.run(in_ranges=in_ranges)
        except RangeIgnoredError as error:
            if not in_ranges:
                raise
            in_ranges = False
            transfer.told = error.told or transfer.told
            _log.info("%s; asking for all of it instead", error)
        except ChecksumMismatchError as error:
            if not may_mismatch:
                raise
            may_mismatch, transfer.doubts = False, True
            _log.warning("%s; asking again", error)
        except ObjectChangedError as error:
            restarts += 1
            if if_changed == "raise" or restarts > MOST_RESTARTS:
                raise
            _log.info("%s; starting over", error)
        await transfer.start_again()


class _Download:
    """One object on its way to one file."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        sink: PathSink,
        journal: DownloadJournal | None,
        meter: Meter,
        verify: Verify,
        listed: Told | None,
    ) -> None:
        self._runtime, self._address = runtime, address
        self._sink, self._journal, self._meter, self._verify = sink, journal, meter, verify
        self._memory = runtime.memory.share()
        self._part_size = runtime.limits.part_size
        self.doubts = False
        """Whether the bytes did not have the digest that they should."""
        self.told: Told | None = None
        """As an earlier answer had it: all of it can have no other size."""
        self._listed = listed
        self._check: ContentCheck | None = None
        self._turns: dict[int, asyncio.Event] = {}

    async def start_again(self) -> None:
        self._meter.start_again()
        self._turns.clear()
        if self._journal is not None:
            self._journal.record, self._journal.held = None, {}
            self._sink.is_kept = False

    async def run(self, *, in_ranges: bool) -> ObjectInfo:
        """The first answer tells all there is to know; a small object is in it."""
        number, options = (self._resumed() if in_ranges else None) or (1, _UNCHECKED)
        start = (number - 1) * self._part_size
        asked = ByteRange(start, start + self._part_size) if in_ranges else None
        try:
            async with open_body(
                self._runtime,
                self._address,
                asked,
                options,
                or_whole=start == 0,
                known=self.told or self._listed,
            ) as body:
                return await self._receive(body, number)
        except (PreconditionFailedError, NotFoundError) as error:
            if options.if_match is None:
                raise
            _log.info("%s is not what was being downloaded, it starts afresh: %s", self._address, error)
            await self.start_again()
        except InvalidRequestError as error:
            if asked is None or not may_be_empty(error):
                raise
            in_ranges = False
        return await self.run(in_ranges=in_ranges)

    def _resumed(self) -> tuple[int, ReadOptions] | None:
        """The first range that is missing, if an earlier process has left something of this object."""
        journal = self._journal
        if journal is None or journal.record is None:
            return None
        found = journal.record
        expected = replace(
            found,
            endpoint=self._runtime.service.endpoint,
            bucket=self._address.bucket,
            key=self._address.key,
        )
        limits = self._runtime.limits
        if found != expected or not found.fits(limits.part_size, limits.memory) or pin_of(found.etag) is None:
            _log.info("%s: the journal is of another download, or of other limits: it starts afresh", self._address)
            journal.record, journal.held, self._sink.is_kept = None, {}, False
            return None
        self._part_size = found.part_size
        missing = next((number for number in range(1, found.count + 1) if number not in journal.held), 1)
        return missing, replace(_UNCHECKED, if_match=found.etag)

    async def _receive(self, body: Body, number: int) -> ObjectInfo:
        info = body.info
        if self.told and self.told[0] == info.etag and self.told[1] != info.size:
            msg = f"{self._address}: the service says that there are {self.told[1]} bytes in all, and {info.size}"
            raise TransferError(msg)
        if info.size is None and not body.is_whole:
            msg = f"{self._address}: the service does not say how many bytes there are in all"
            raise RangeIgnoredError(msg)
        if info.etag is None and not body.is_whole:
            msg = f"{self._address} has no ETag, so that its ranges could be those of different objects"
            raise RangeIgnoredError(msg)
        if info.size is not None:
            self.told = info.etag, info.size
        self._meter.total_bytes = info.size
        if self._verify == "auto":
            self._check = await ContentCheck.asking(
                self._runtime.s3, self._address, info, body.obstacle, doubts=self.doubts
            )
        if info.size is None or body.remaining == info.size:
            size = await self._receive_stream(body)
        else:
            size = info.size
            await self._receive_ranges(body, number, size)
        told = body.info.size if info.size is None else info.size  # the body may have asked for it
        verified = verified_by_size(told)
        if self._check is not None:
            verified = self._check.verdict(self._address, told)
        return replace(info, size=size, verified=verified)

    async def _receive_stream(self, body: Body) -> int:
        """All that there is comes in this body."""
        size = body.remaining
        piece = self._part_size if size is None else min(size, self._part_size)
        position = 0
        async with self._memory.lend(max(1, piece)) as buffer:
            with self._meter.piece(0) as gauge:
                gauge.count = lambda: body.position
                while count := await body.readinto(buffer):
                    data = buffer[:count]
                    if self._check is not None:
                        await self._check.update(data)
                    await self._sink.write_at(position, data)
                    position += count
            with self._meter.piece(position):
                return position

    async def _receive_ranges(self, body: Body, first: int, size: int) -> None:
        """``body`` is that of the range with the number ``first``. Workers pull the ranges in their order."""
        count = -(-size // self._part_size)
        numbers = iter(range(1, count + 1))
        if self._journal is not None:
            await self._begin_journal(self._journal, size, body.info.etag)
        held = self._journal.held if self._journal else {}

        async def take() -> int | None:
            return next(numbers, None)

        async def receive(number: int) -> None:
            start = (number - 1) * self._part_size
            async with self._memory.lend(self._part_size) as buffer:
                data = buffer[: min(self._part_size, size - start)]
                with self._meter.piece(len(data)) as gauge:
                    if number not in held or not await self._read_back(number, start, data):
                        if number == first:
                            await self._fill(body, data, gauge)
                        else:
                            await self._fetch(body.info, start, data, gauge)
                        await self._keep(number, start, data)
                    await self._digest(number, start, data)

        await pull(min(self._runtime.limits.parts_per_object, count), take, receive)

    async def _begin_journal(self, journal: DownloadJournal, size: int, etag: str | None) -> None:
        record = DownloadRecord(
            self._runtime.service.endpoint, self._address.bucket, self._address.key, etag or "", size, self._part_size
        )
        if pin_of(etag) is None:
            return
        if journal.record != record or not journal.held:
            await journal.start(record)
        self._sink.is_kept = True

    async def _fetch(self, info: ObjectInfo, start: int, data: memoryview, gauge: Gauge) -> None:
        """A range by a request of its own, of the very state of the object that the first answer told of."""
        asked, pinned = ByteRange(start, start + len(data)), replace(_UNCHECKED, if_match=pin_of(info.etag))
        try:
            async with open_body(self._runtime, self._address, asked, pinned, streamed=False) as body:
                if not is_same(body.info, replace(info, size=None)):
                    raise ObjectChangedError(_changed(self._address, start))
                if body.info.size != info.size:
                    msg = f"{self._address}: the service says that there are {info.size} bytes in all, and {body.info.size}"
                    raise RangeIgnoredError(msg)
                await self._fill(body, data, gauge)
        except (PreconditionFailedError, NotFoundError) as error:
            raise ObjectChangedError(_changed(self._address, start)) from error

    async def _fill(self, body: Body, data: memoryview, gauge: Gauge) -> None:
        start = body.position
        gauge.count = lambda: body.position - start
        count = await body.readinto(data)
        if count != len(data):
            msg = f"{self._address}: {count:,} bytes arrived of a range of {len(data):,}"
            raise IncompleteBodyError(msg)

    async def _keep(self, number: int, start: int, data: memoryview) -> None:
        await self._sink.write_at(start, data)
        if self._journal is not None:
            await self._journal.add(number, data)

    async def _read_back(self, number: int, start: int, data: memoryview) -> bool:
        """What an earlier process has written, if it is still that."""
        assert self._journal is not None
        count = await self._sink.read_at(start, data)
        return count == len(data) and await self._journal.matches(number, data)

    async def _digest(self, number: int, start: int, data: memoryview) -> None:
        """Each range by itself where the object's parts are cut like the ranges; else one after the other."""
        check = self._check
        if check is None:
            return
        if check.is_cut_by(self._part_size):
            await check.digest.add_part(number, data)
            return
        if check.digest.position != start:
            await self._turns.setdefault(start, asyncio.Event()).wait()
        await check.update(data)
        if turn := self._turns.pop(check.digest.position, None):
            turn.set()


def _changed(address: Address, position: int) -> str:
    return f"{address} changed while it was downloaded: at byte {position:,} it is another object"
