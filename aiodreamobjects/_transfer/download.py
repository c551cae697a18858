"""Download an object to a file. Parallel requests fetch ranges of one state of the object, each written at its offset."""

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
from aiodreamobjects._models import Address, ByteRange, ObjectInfo
from aiodreamobjects._progress import Gauge, Meter, ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import ReadOptions
from aiodreamobjects._s3.replies import is_same
from aiodreamobjects._transfer import mtime
from aiodreamobjects._transfer.body import Body, EtagAndSize, RangeIgnoredError, may_be_empty, open_body, pin_of
from aiodreamobjects._transfer.journal import DownloadJournal, DownloadRecord
from aiodreamobjects._transfer.sinks import PathSink, beside
from aiodreamobjects._transfer.verify import ContentCheck, verified_by_size

IfChanged = Literal["raise", "restart"]

MOST_RESTARTS = 1

_log = logging.getLogger("aiodreamobjects")


async def download(
    runtime: Runtime,
    address: Address,
    path: str | os.PathLike[str],
    *,
    resume: bool,
    overwrite: bool,
    progress: ProgressCallback | None,
    fsync: bool,
    if_changed: IfChanged,
    options: ReadOptions,
) -> ObjectInfo:
    runtime.require_open()
    names = f"{runtime.service.endpoint} {address} {Path(path).name}"
    if options.version_id is not None:
        names += f" {options.version_id}"
    identity = hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    partial = beside(Path(path), identity, "part") if resume else None
    async with (
        runtime.file(),
        _journal(beside(Path(path), identity, "journal")) if resume else nullcontext() as journal,
        PathSink(
            path,
            overwrite=overwrite,
            fsync=fsync,
            partial=partial,
            is_kept=journal is not None and journal.record is not None,
        ) as sink,
    ):
        return await download_into(sink, runtime, address, progress, if_changed, options, journal)


async def download_into(
    sink: PathSink,
    runtime: Runtime,
    address: Address,
    progress: ProgressCallback | None,
    if_changed: IfChanged,
    options: ReadOptions,
    journal: DownloadJournal | None = None,
    time_of: Callable[[ObjectInfo], int | None] = mtime.nanoseconds_of,
    listed: EtagAndSize | None = None,
) -> ObjectInfo:
    """Download into an open sink, and publish the file. ``listed``: from a listing, in case the reply has no length."""
    meter = Meter(progress, total_bytes=None, key=address.key)
    async with runtime.job("download", address.bucket, address.key) as job, meter:
        transfer = _Download(runtime, address, sink, journal, meter, options, listed)
        info = await _with_second_chances(transfer, if_changed)
        job.note(info, parts=transfer.ranges, resumed=transfer.was_resumed)
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
    """Run the download, and repeat it: as one stream if ranges are ignored, once after a mismatch, once after a change."""
    in_ranges, may_mismatch, restarts = True, True, 0
    while True:
        try:
            return await transfer.run(in_ranges=in_ranges)
        except RangeIgnoredError as error:
            if not in_ranges:
                raise
            in_ranges = False
            transfer.reported = error.reported or transfer.reported
            _log.info("%s; downloading the whole object as one stream", error)
        except ChecksumMismatchError as error:
            if not may_mismatch:
                raise
            may_mismatch, transfer.had_mismatch = False, True
            _log.warning("%s; downloading it again", error)
        except ObjectChangedError as error:
            restarts += 1
            if if_changed == "raise" or restarts > MOST_RESTARTS:
                raise
            _log.info("%s; downloading the new state", error)
        await transfer.start_again()


class _Download:
    """The download of one object to one file."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        sink: PathSink,
        journal: DownloadJournal | None,
        meter: Meter,
        options: ReadOptions,
        listed: EtagAndSize | None,
    ) -> None:
        self._runtime, self._address = runtime, address
        self._sink, self._journal, self._meter = sink, journal, meter
        self._verify = options.verify
        self._options = replace(options, verify="off")
        """The options of each body. None checks a digest: the whole object is checked here."""
        self._memory = runtime.memory.share()
        self._part_size = runtime.limits.part_size
        self.ranges = 1
        """In how many ranges the object comes."""
        self.was_resumed = False
        self.had_mismatch = False
        """Whether an earlier run found a wrong digest."""
        self.reported: EtagAndSize | None = None
        """The ETag and size from an earlier reply. A later reply must not contradict them."""
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
        """Download once. The first range needs no HEAD before it: its reply has the ETag and the size."""
        number, options = (self._resumed() if in_ranges else None) or (1, self._options)
        start = (number - 1) * self._part_size
        requested = ByteRange(start, start + self._part_size) if in_ranges else None
        try:
            async with open_body(
                self._runtime,
                self._address,
                requested,
                options,
                accepts_whole=start == 0,
                known=self.reported or self._listed,
            ) as body:
                return await self._receive(body, number)
        except (PreconditionFailedError, NotFoundError) as error:
            if options.if_match is None:
                raise
            _log.info("%s changed since the interrupted download, which starts again: %s", self._address, error)
            await self.start_again()
        except InvalidRequestError as error:
            if requested is None or not may_be_empty(error):
                raise
            in_ranges = False  # an empty object has no range
        return await self.run(in_ranges=in_ranges)

    def _resumed(self) -> tuple[int, ReadOptions] | None:
        """Return the first missing range, pinned to the journal's ETag. Return None if there is nothing to resume."""
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
            _log.info(
                "%s: the journal belongs to another download or to other limits; the download starts again",
                self._address,
            )
            journal.record, journal.held, self._sink.is_kept = None, {}, False
            return None
        self._part_size = found.part_size
        missing = next((number for number in range(1, found.count + 1) if number not in journal.held), 1)
        return missing, self._options.pinned(found.etag)

    async def _receive(self, body: Body, number: int) -> ObjectInfo:
        info = body.info
        if self.reported and self.reported[0] == info.etag and self.reported[1] != info.size:
            msg = f"{self._address}: the service reports two sizes, {self.reported[1]} and {info.size} bytes"
            raise TransferError(msg)
        if info.size is None and not body.is_whole:
            msg = f"{self._address}: the service sends a range, but not the size of the whole object"
            raise RangeIgnoredError(msg)
        if info.etag is None and not body.is_whole:
            msg = f"{self._address} has no ETag, so its ranges could come from different objects"
            raise RangeIgnoredError(msg)
        if info.size is not None:
            self.reported = info.etag, info.size
        self._meter.total_bytes = info.size
        if self._verify == "auto":
            self._check = await ContentCheck.asking(
                self._runtime.s3,
                self._address,
                info,
                body.obstacle,
                self._options,
                body.told,
                had_mismatch=self.had_mismatch,
            )
        if info.size is None or body.remaining == info.size:
            size = await self._receive_stream(body)
        else:
            size = info.size
            await self._receive_ranges(body, number, size)
        announced = body.info.size if info.size is None else info.size  # the body may have sent a HEAD for it
        verified = verified_by_size(announced)
        if self._check is not None:
            verified = self._check.verdict(self._address, announced)
        return replace(info, size=size, verified=verified)

    async def _receive_stream(self, body: Body) -> int:
        """Write the whole object from this body. Return its size."""
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
        """Let workers pull the ranges in order. ``body`` is open at the range ``first``; other ranges get own requests."""
        self.ranges = count = -(-size // self._part_size)
        numbers = iter(range(1, count + 1))
        if self._journal is not None:
            await self._begin_journal(self._journal, size, body.info.etag)
        held = self._journal.held if self._journal else {}
        self.was_resumed = bool(held)

        async def take() -> int | None:
            return next(numbers, None)

        async def receive(number: int) -> None:
            start = (number - 1) * self._part_size
            async with self._memory.lend(self._part_size) as buffer:
                data = buffer[: min(self._part_size, size - start)]
                with self._meter.piece(len(data)) as gauge:
                    if number not in held or not await self._read_back(number, start, data):
                        if number == first:
                            await self._read_range(body, data, gauge)
                        else:
                            await self._request_range(body.info, start, data, gauge)
                        await self._write_range(number, start, data)
                    await self._digest(number, start, data)

        await pull(min(self._runtime.limits.parts_per_object, count), take, receive)

    async def _begin_journal(self, journal: DownloadJournal, size: int, etag: str | None) -> None:
        record = DownloadRecord(
            self._runtime.service.endpoint, self._address.bucket, self._address.key, etag or "", size, self._part_size
        )
        if pin_of(etag) is None:  # without a strong ETag, a later process could mix two states of the object
            return
        if journal.record != record or not journal.held:
            await journal.start(record)
        self._sink.is_kept = True

    async def _request_range(self, info: ObjectInfo, start: int, data: memoryview, gauge: Gauge) -> None:
        """Fill ``data`` with a range of exactly the state of the object that ``info`` describes."""
        requested, pinned = ByteRange(start, start + len(data)), self._options.pinned(pin_of(info.etag))
        try:
            async with open_body(self._runtime, self._address, requested, pinned, streamed=False) as body:
                # Some services ignore If-Match, so compare the reply as well.
                if not is_same(body.info, replace(info, size=None)):
                    raise ObjectChangedError(_changed(self._address, start))
                if body.info.size != info.size:
                    msg = f"{self._address}: the service reports two sizes, {info.size} and {body.info.size} bytes"
                    raise RangeIgnoredError(msg)
                await self._read_range(body, data, gauge)
        except (PreconditionFailedError, NotFoundError) as error:
            raise ObjectChangedError(_changed(self._address, start)) from error

    async def _read_range(self, body: Body, data: memoryview, gauge: Gauge) -> None:
        start = body.position
        gauge.count = lambda: body.position - start
        count = await body.readinto(data)
        if count != len(data):
            msg = f"{self._address}: only {count:,} bytes of a range of {len(data):,} arrived"
            raise IncompleteBodyError(msg)

    async def _write_range(self, number: int, start: int, data: memoryview) -> None:
        await self._sink.write_at(start, data)
        if self._journal is not None:  # a cancellation before this line only costs this range again
            await self._journal.add(number, data)

    async def _read_back(self, number: int, start: int, data: memoryview) -> bool:
        """Read a range that an earlier process wrote. Return whether it still has the CRC from the journal."""
        assert self._journal is not None
        count = await self._sink.read_at(start, data)
        return count == len(data) and await self._journal.matches(number, data)

    async def _digest(self, number: int, start: int, data: memoryview) -> None:
        """Add a range to the digest. If ranges and parts have the same size, any order works. Otherwise wait for the turn."""
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
    return f"{address} changed while it was downloaded: the range from byte {position:,} belongs to another state"
