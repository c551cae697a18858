"""Use an object as a file: a writer, which uploads each part when it is full, and a reader, which can seek."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import anyio

from aiodreamobjects._concurrency import Background
from aiodreamobjects._errors import (
    InvalidRequestError,
    NotFoundError,
    ObjectChangedError,
    OfOpenSession,
    PreconditionFailedError,
    TransferError,
    WrongLoopError,
)
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._models import Address, ByteRange, ObjectInfo
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import ReadOptions, WriteOptions
from aiodreamobjects._s3.replies import is_same
from aiodreamobjects._transfer import upload
from aiodreamobjects._transfer.body import Body, may_be_empty, open_body, pin_of
from aiodreamobjects._transfer.sources import as_bytes

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

PIECE_BYTES = 64 << 10
"""Collect small writes up to this size before they go to the upload."""
HEAD_BYTES = 64 << 10
"""Read this much with the first request. A smaller object then needs no other one."""
LEAST_WINDOW_BYTES = 256 << 10
"""Request this much after a seek, and twice as much with each request that continues where the last one ended."""


class _Feed:
    """The bytes on their way from a writer to its upload, and the error that ended the upload.

    A failed write must fail the upload too: otherwise an object without the lost bytes would be stored.
    """

    def __init__(self, sending: MemoryObjectSendStream[bytes]) -> None:
        self.sending = sending
        self.pending = bytearray()
        self.failure: BaseException | None = None
        self.is_closed = False

    def fail(self, error: BaseException) -> None:
        """Keep the first error. It is raised by the next write, or at the end of the ``async with``."""
        self.failure = self.failure or error

    async def add(self, view: memoryview) -> None:
        if self.is_closed:
            raise self.failure or ValueError(_CLOSED)
        for start in range(0, len(view), PIECE_BYTES):
            self.pending += view[start : start + PIECE_BYTES]
            if len(self.pending) >= PIECE_BYTES:
                await self.flush()

    async def flush(self) -> None:
        if self.failure is not None:
            raise self.failure
        piece, self.pending = bytes(self.pending), bytearray()
        try:
            await self.sending.send(piece)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            if self.failure is None:
                raise ValueError(_CLOSED) from error
            raise self.failure from None
        except BaseException:
            self.fail(ValueError("a write was interrupted and its bytes are lost, so the object is not stored"))
            raise


_CLOSED = "the writer is closed: write inside its 'async with'"


class ObjectWriter(OfOpenSession):
    """Write an object like a file: ``async with obj.writer() as file: await file.write(b"...")``."""

    info: ObjectInfo
    """The stored object. Set when the ``async with`` ends without an error."""

    def __init__(self, runtime: Runtime, address: Address, feed: _Feed) -> None:
        self._runtime, self._address, self._feed = runtime, address, feed
        self._position = 0

    def __repr__(self) -> str:
        return f"<ObjectWriter of {self._address}, {'closed ' if self._feed.is_closed else ''}at byte {self._position}>"

    async def write(self, data: Buffer) -> int:
        """Add bytes to the object and return their number.

        Waits while the upload has as many parts in flight as its limits allow. Raises the error that ended the upload, and
        ValueError if the writer is closed.
        """
        self._runtime.require_loop()
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"write takes bytes, not {type(data).__name__}"
            raise TypeError(msg)
        view = as_bytes(data)
        await self._feed.add(view)
        self._position += len(view)
        return len(view)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position


@asynccontextmanager
async def open_writer(
    runtime: Runtime,
    address: Address,
    options: WriteOptions,
    progress: ProgressCallback | None,
) -> AsyncIterator[ObjectWriter]:
    runtime.require_open()
    sending, receiving = anyio.create_memory_object_stream[bytes](0)
    feed = _Feed(sending)
    writer = ObjectWriter(runtime, address, feed)

    async def store() -> None:
        with receiving:
            try:
                writer.info = await upload.put(runtime, address, receiving, options, progress)
            except BaseException as error:  # noqa: BLE001 - raised by the next write, or at the end of the 'async with'
                feed.fail(error)

    storing = Background(store())

    def end(task: asyncio.Future[None]) -> None:
        if task.cancelled():  # before its first step, so store() could not note it
            feed.fail(asyncio.CancelledError())
        receiving.close()

    storing.task.add_done_callback(end)
    try:
        yield writer
        runtime.require_loop()
        if feed.pending or feed.failure:
            await feed.flush()
        feed.is_closed = True
        sending.close()
        await storing.result()
    except WrongLoopError:
        loop = storing.task.get_loop()
        loop.call_soon_threadsafe(storing.task.cancel)
        loop.call_soon_threadsafe(sending.close)
        raise
    except BaseException:
        feed.is_closed = True
        try:
            await storing.stop()  # stop first: the upload would take the end of the stream for the end of the content
        finally:
            sending.close()
        raise
    sending.close()
    if feed.failure is not None:
        raise feed.failure


class _Ranges:
    """The requests of a reader. Each asks for one range of the same state of the object."""

    def __init__(self, runtime: Runtime, address: Address, info: ObjectInfo, size: int, options: ReadOptions) -> None:
        self._runtime, self._address, self._info, self._size = runtime, address, info, size
        self._options = options.pinned(pin_of(info.etag))
        self._window = LEAST_WINDOW_BYTES
        self._body: Body | None = None
        self._body_position = 0
        self._stack = AsyncExitStack()
        self.is_closed = False

    async def read_into(self, position: int, memory: memoryview) -> int:
        """Read some bytes from this position. Continue the open range if it is there, else request another one."""
        if self._body is None or self._body_position != position:
            self._window = min(
                self._window * 2 if self._body_position == position else LEAST_WINDOW_BYTES,
                max(self._runtime.limits.part_size, LEAST_WINDOW_BYTES),
            )
            stop = min(self._size, position + max(self._window, min(len(memory), self._runtime.limits.part_size)))
            await self._open(ByteRange(position, stop))
        assert self._body is not None
        try:
            count = await self._body.readinto(memory)
        except BaseException:
            await self._close_body()
            raise
        self._body_position += count
        if self._body.remaining == 0:
            await self._close_body()
        return count

    async def _open(self, byte_range: ByteRange) -> None:
        await self._close_body()
        changed = ObjectChangedError(f"{self._address} changed while it was read, after byte {byte_range.start:,}")
        for is_last in (False, True):
            try:
                body = await self._stack.enter_async_context(
                    open_body(self._runtime, self._address, byte_range, self._options)
                )
            except (PreconditionFailedError, NotFoundError) as error:
                raise changed from error
            # Some services ignore If-Match, so compare the reply as well.
            is_same_object = is_same(body.info, replace(self._info, size=None))
            if is_same_object and body.info.size in (None, self._size):
                self._body, self._body_position = body, byte_range.start
                return
            await self._close_body()
            if not is_same_object or is_last:  # the same object with another size is a wrong reply: ask once more
                break
        raise changed

    async def _close_body(self) -> None:
        self._body = None
        await self._stack.aclose()

    async def close(self) -> None:
        self.is_closed = True
        await self._close_body()


class ObjectReader(OfOpenSession):
    """Read an object like a file, with seek. Raises ObjectChangedError if the object changes after it was opened.

    The reader requests a little after each seek, and more with each request that continues, up to ``Limits.part_size``.
    A range has no digest to compare, so only its length is checked.
    """

    def __init__(
        self, runtime: Runtime, address: Address, info: ObjectInfo, size: int, head: bytes, ranges: _Ranges
    ) -> None:
        self._runtime, self._address, self._size = runtime, address, size
        self._ranges = ranges
        self._held = [(0, head)]
        """Pieces of the object in memory, and where they begin: its head, and the one in which ``readline`` looks."""
        self._position = 0
        self.info = info

    def __repr__(self) -> str:
        state = "closed " if self._ranges.is_closed else ""
        return f"<ObjectReader of {self._address}, {state}at byte {self._position} of {self._size}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte to read."""
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another position and return it. It may lie beyond the end. Sends no request."""
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            msg = f"whence {whence!r} must be os.SEEK_SET, SEEK_CUR or SEEK_END"
            raise ValueError(msg)
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            msg = f"cannot seek to {start + offset}, before the beginning"
            raise ValueError(msg)
        self._position = start + offset
        return self._position

    async def read(self, n: int = -1) -> bytes:
        """Return exactly ``n`` bytes, or fewer at the end. Return the whole rest if ``n`` is negative."""
        left = max(0, self._size - self._position)
        buffer = bytearray(left if n < 0 else min(n, left))
        return bytes(memoryview(buffer)[: await self.readinto(buffer)])

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer, or less of it at the end. Return how many bytes were written into it."""
        self._require_open()
        memory, count, start = memoryview(buffer).cast("B"), 0, self._position
        try:
            while count < len(memory) and self._position < self._size:
                if (held := self._held_here()) is not None:
                    offset = self._position - held[0]
                    data = held[1][offset : offset + len(memory) - count]
                    memory[count : count + len(data)] = data
                    taken = len(data)
                else:
                    taken = await self._ranges.read_into(self._position, memory[count:])
                count += taken
                self._position += taken
        except BaseException:  # let the next read start where this one did
            self._position = start
            raise
        return count

    async def readline(self, limit: int = -1) -> bytes:
        r"""Return the next line with its end, ``\n``, as files do. Return at most ``limit`` bytes of it, unless that is negative.

        The last line may have no end. At the end of the object the line is empty. ``async for line in reader`` gives all lines.
        """
        self._require_open()
        start, pieces = self._position, list[bytes]()
        try:
            while limit and self._position < self._size:
                begin, data = self._held_here() or await self._hold()
                offset = self._position - begin
                stop = len(data) if limit < 0 else min(len(data), offset + limit)
                end = data.find(b"\n", offset, stop) + 1 or stop
                pieces.append(data[offset:end])
                self._position += end - offset
                limit -= end - offset if limit > 0 else 0
                if data[end - 1 : end] == b"\n":
                    break
        except BaseException:
            self._position = start
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _held_here(self) -> tuple[int, bytes] | None:
        """Return the piece in memory that has the byte at the position, if there is one."""
        for begin, data in self._held:
            if begin <= self._position < begin + len(data):
                return begin, data
        return None

    async def _hold(self) -> tuple[int, bytes]:
        """Read the piece from the position on into memory, in place of the last one but the head."""
        piece = bytearray(min(HEAD_BYTES, self._size - self._position))
        count = await self._ranges.read_into(self._position, memoryview(piece))
        self._held[1:] = [(self._position, bytes(piece[:count]))]
        return self._held[1]

    def _require_open(self) -> None:
        if self._ranges.is_closed:
            msg = f"the reader of {self._address} is closed: read inside its 'async with'"
            raise ValueError(msg)
        self._runtime.require_loop()


@asynccontextmanager
async def open_reader(runtime: Runtime, address: Address, options: ReadOptions) -> AsyncIterator[ObjectReader]:
    info, head = await _read_head(runtime, address, options)
    if info.size is None:
        msg = f"{address}: the service sends no size, so a reader cannot seek; use get() or download() instead"
        raise TransferError(msg)
    ranges = _Ranges(runtime, address, info, info.size, options)
    try:
        yield ObjectReader(runtime, address, info, info.size, head, ranges)
    finally:
        await ranges.close()


async def _read_head(runtime: Runtime, address: Address, options: ReadOptions) -> tuple[ObjectInfo, bytes]:
    try:
        async with open_body(runtime, address, ByteRange(0, HEAD_BYTES), options, accepts_whole=True) as body:
            return body.info, await body.read(HEAD_BYTES)
    except InvalidRequestError as error:
        if not may_be_empty(error):
            raise
    async with open_body(runtime, address, None, options) as body:
        return body.info, await body.read(HEAD_BYTES)
