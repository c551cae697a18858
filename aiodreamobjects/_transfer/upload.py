"""Upload one object, by one request or in parallel parts."""

from __future__ import annotations

import itertools
import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from aiodreamobjects._checks import encode_utf8
from aiodreamobjects._checksums import value_of
from aiodreamobjects._concurrency import pull
from aiodreamobjects._errors import TransferError
from aiodreamobjects._integrity import md5
from aiodreamobjects._limits import UNCOUNTED_BYTES
from aiodreamobjects._models import Address, ObjectInfo
from aiodreamobjects._progress import Meter, ProgressCallback
from aiodreamobjects._runtime import Job, Runtime
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.values import Part
from aiodreamobjects._transfer import locks, mtime
from aiodreamobjects._transfer.journal import UploadJournal, UploadRecord, digest_of
from aiodreamobjects._transfer.multipart import Multipart
from aiodreamobjects._transfer.parts import PART_SIZE_NAME, PartSizes, plan
from aiodreamobjects._transfer.sources import HeldSource, Opener, PathSource, Source, Uploadable, open_source


async def put(
    runtime: Runtime,
    address: Address,
    source: Uploadable,
    options: WriteOptions,
    progress: ProgressCallback | None,
    job: Job | None = None,
) -> ObjectInfo:
    """Store bytes from any source. ``job``: the job of the verb that calls this, if there is one."""
    runtime.require_open()
    await runtime.s3.require(address, options)
    if isinstance(source, str):
        source = encode_utf8("text", source)
        options = replace(options, content_type=options.content_type or "text/plain; charset=utf-8")
    if isinstance(source, bytes | bytearray | memoryview):
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        if progress is None and size <= max(runtime.limits.part_size, runtime.service.multipart.smallest_part):
            body = source if isinstance(source, bytes) else HeldSource(source).take(size)
            return await locks.hold(runtime.s3, options, await runtime.s3.put_object(address, body, options))
    async with runtime.file() if isinstance(source, Path) else nullcontext(), open_source(source) as opened:
        transfer = _Upload(runtime, address, opened, options, progress)
        if job is not None:
            return await transfer.run(job)
        async with runtime.job("put", address.bucket, address.key) as own:
            return await transfer.run(own)


async def upload(
    runtime: Runtime,
    address: Address,
    path: str | os.PathLike[str],
    options: WriteOptions,
    progress: ProgressCallback | None,
    *,
    resume: bool = False,
    opener: Opener | None = None,
) -> ObjectInfo:
    runtime.require_open()
    await runtime.s3.require(address, options)
    async with runtime.file(), open_source(Path(path), opener) as source:
        assert isinstance(source, PathSource)
        options = replace(
            options,
            content_type=options.content_type or source.content_type,
            metadata={mtime.NAME: mtime.text_of(source.mtime_ns), **(options.metadata or {})},
        )
        journal = None
        if resume:
            journal = await UploadJournal.of(source.path, runtime.service.endpoint, address.bucket, address.key)
        async with runtime.job("upload", address.bucket, address.key) as job:
            transfer = _Upload(runtime, address, source, options, progress, journal)
            return await transfer.run(job)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of the source."""

    data: memoryview
    buffer: memoryview | None
    """The borrowed memory behind ``data``. None if the caller owns it."""


class _Upload:
    """The upload of one source to one object."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        source: Source,
        options: WriteOptions,
        progress: ProgressCallback | None,
        journal: UploadJournal | None = None,
    ) -> None:
        self._runtime, self._s3, self._address = runtime, runtime.s3, address
        self._source, self._options, self._journal = source, options, journal
        self._meter = Meter(progress, total_bytes=source.size, key=address.key)
        self._memory = runtime.memory.share()
        self._first: _Piece | None = None

    async def run(self, job: Job) -> ObjectInfo:
        async with self._meter:
            sizes = plan(self._source.size, self._runtime.limits.part_size, self._runtime.service.multipart)
            try:
                if await self._is_whole(sizes(1)):
                    info, parts, resumed = await self._put_whole(job), 1, False
                else:
                    info, parts, resumed = await self._put_parts(job, sizes)
            finally:
                self._release(self._first)
        job.note(info, parts=parts, resumed=resumed)
        return info

    async def _is_whole(self, part_size: int) -> bool:
        """Read the first part. Return whether it is the whole content."""
        source = self._source
        if source.size is not None:
            self._first = await self._read(min(part_size, source.size))
            return source.size <= part_size
        # Try a small read first: a small object of unknown size should not wait for the memory of a whole part.
        if part_size > UNCOUNTED_BYTES:
            self._first = await self._read(UNCOUNTED_BYTES)
            if len(self._first.data) < UNCOUNTED_BYTES:
                return True
            source.push_back(self._first.data)
        self._first = await self._read(part_size)
        return len(self._first.data) < part_size or await source.is_at_end()

    async def _put_whole(self, job: Job) -> ObjectInfo:
        await self._source.check_end()  # before the request: it would replace the object
        left = await self._journal.read() if self._journal is not None else None
        assert self._first
        data = self._first.data
        with self._meter.piece(len(data)) as sent, job.writing():
            sent.before_end = self._meter.complete
            info = await self._s3.put_object(self._address, data, self._options, sent=sent)
        if left is not None:
            upload = Multipart(self._runtime, self._address, self._options, job, self._journal)
            await upload.discard(left)
        return await locks.hold(self._s3, self._options, info)

    # In parts

    async def _put_parts(self, job: Job, sizes: PartSizes) -> tuple[ObjectInfo, int, bool]:
        """Upload in parts. Return how many there are, and whether an earlier upload was continued."""
        given = (self._options.metadata or {}).items()
        kept = {name: value for name, value in given if name.lower() != PART_SIZE_NAME}
        kept[PART_SIZE_NAME] = str(sizes)
        options = replace(self._options, metadata=kept)
        record = self._record(options, sizes.first) if self._journal is not None else None
        upload = Multipart(self._runtime, self._address, options, job, self._journal, record)
        sent: list[Part] = []

        async def send() -> list[Part]:
            sent[:] = await self._send_parts(upload, sizes)
            return sent

        info = await upload.run(send)
        return info, len(sent), bool(upload.held)

    def _record(self, options: WriteOptions, part_size: int) -> UploadRecord:
        source, address = self._source, self._address
        assert isinstance(source, PathSource)
        assert source.size is not None
        stored = {**options.content_headers(), **options.checksum_headers()}
        endpoint, attributes = self._runtime.service.endpoint, digest_of(stored)
        return UploadRecord(endpoint, address.bucket, address.key, source.size, source.mtime_ns, attributes, part_size)

    async def _send_parts(self, upload: Multipart, sizes: PartSizes) -> list[Part]:
        """Let workers pull the parts in order. One worker reads from the source while the others send."""
        parts: dict[int, Part] = {}
        numbers = itertools.count(1)
        is_at_end = False

        async def read() -> tuple[int, _Piece] | None:
            nonlocal is_at_end
            if is_at_end:
                return None
            number = next(numbers)
            piece, self._first = self._first or await self._read_part(number, sizes), None
            is_at_end = len(piece.data) < sizes(number) or self._source.position == self._source.size
            if piece.data:
                return number, piece
            self._release(piece)
            return None

        async def send(numbered: tuple[int, _Piece]) -> None:
            number, piece = numbered
            try:
                parts[number] = await self._send_part(upload, number, piece.data)
            finally:
                self._release(piece)

        await pull(self._runtime.limits.parts_per_object, read, send)
        await self._source.check_end()  # before the completion: it would replace the object
        await self._meter.complete()
        return [part for _, part in sorted(parts.items())]

    async def _read_part(self, number: int, sizes: PartSizes) -> _Piece:
        rules, source = self._runtime.service.multipart, self._source
        if number > rules.most_parts:
            if await source.is_at_end():
                return _Piece(memoryview(b""), None)
            msg = (
                f"{source.what} has more than the {source.position:,} bytes that fit into {rules.most_parts:,} parts; "
                "open the session with a larger Limits(part_size=...)"
            )
            raise TransferError(msg)
        left = sizes(number) if source.size is None else source.size - source.position
        return await self._read(min(left, sizes(number)))

    async def _send_part(self, upload: Multipart, number: int, data: memoryview) -> Part:
        held = upload.held.get(number)
        with self._meter.piece(len(data)) as sent:
            # An earlier process has sent this part. Skip it only if the MD5 shows that the bytes are the same.
            if held is not None and held.size == len(data) and held.etag == (await md5(data)).hexdigest():
                algorithm = self._options.checksum
                if algorithm is None or held.checksum is None:
                    return replace(held, md5=held.etag)
                if held.checksum == await value_of(algorithm, data):
                    return replace(held, md5=held.etag, is_checked=True)
            return await self._s3.put_part(self._address, upload.upload_id, number, data, self._options, sent=sent)

    # Memory

    async def _read(self, size: int) -> _Piece:
        source, memory = self._source, self._memory
        if isinstance(source, HeldSource):
            return _Piece(source.take(size), None)
        buffer = await memory.take(size)
        try:
            return _Piece(buffer[: await source.fill(buffer)], buffer)
        except BaseException:
            memory.give_back(buffer)
            raise

    def _release(self, piece: _Piece | None) -> None:
        if piece is not None and piece.buffer is not None:
            self._memory.give_back(piece.buffer)
