"""An object as a file: one to write, whose parts go up as they fill; one to read, that can be sought in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from aiodreamobjects._concurrency import Background
from aiodreamobjects._errors import (
    InvalidRequestError,
    NotFoundError,
    ObjectChangedError,
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
from aiodreamobjects._transfer.body import NO_OPTIONS, Body, may_be_empty, open_body, pin_of
from aiodreamobjects._transfer.sources import as_bytes

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

PIECE_BYTES = 64 << 10
"""Small writes are gathered to so much before they are handed on."""
HEAD_BYTES = 64 << 10
"""Read with the first request: small objects are then there."""
LEAST_WINDOW_BYTES = 256 << 10
"""Asked for at first after a seek; twice as much with each request that goes on where the last one ended."""


class ObjectWriter:
    """A file to write to: ``async with obj.writer() as file: await file.write(b"...")``."""

    info: ObjectInfo
    """Of the object, once the ``async with`` has been left without an error."""

    def __init__(self, runtime: Runtime, sending: MemoryObjectSendStream[bytes]) -> None:
        self._runtime, self._sending = runtime, sending
        self._gathered = bytearray()
        self._position = 0
        self._failure: BaseException | None = None

    async def write(self, data: Buffer) -> int:
        """Hand on bytes; return their number.

        Waits while as many parts are under way as may be. Raises what ended the upload, and ValueError once the file is closed.
        """
        self._runtime.require_loop()
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"write takes bytes, not {type(data).__name__}"
            raise TypeError(msg)
        view = as_bytes(data)
        for start in range(0, len(view), PIECE_BYTES):
            self._gathered += view[start : start + PIECE_BYTES]
            if len(self._gathered) >= PIECE_BYTES:
                await self._hand_on()
        self._position += len(view)
        return len(view)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    async def _hand_on(self) -> None:
        if self._failure is not None:
            raise self._failure
        piece, self._gathered = bytes(self._gathered), bytearray()
        try:
            await self._sending.send(piece)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            if self._failure is None:
                msg = "the writer is closed: write inside its 'async with'"
                raise ValueError(msg) from error
            raise self._failure from None
        except BaseException:
            if self._failure is None:
                self._failure = ValueError("a write was cut short: what it held is lost, and the object is not stored")
            raise


@asynccontextmanager
async def open_writer(
    runtime: Runtime,
    address: Address,
    options: WriteOptions,
    progress: ProgressCallback | None,
) -> AsyncIterator[ObjectWriter]:
    runtime.require_open()
    sending, receiving = anyio.create_memory_object_stream[bytes](0)
    writer = ObjectWriter(runtime, sending)

    async def store() -> None:
        with receiving:
            try:
                writer.info = await upload.put(runtime, address, receiving, options, progress)
            except BaseException as error:  # noqa: BLE001 - raised where the writer is used or left
                writer._failure = writer._failure or error  # noqa: SLF001 - one thing in two places

    storing = Background(store())

    def end(task: asyncio.Future[None]) -> None:
        if task.cancelled():  # by somebody else, before it began
            writer._failure = writer._failure or asyncio.CancelledError()  # noqa: SLF001 - the same
        receiving.close()

    storing.task.add_done_callback(end)
    try:
        yield writer
        runtime.require_loop()
        if writer._gathered or writer._failure:  # noqa: SLF001 - the same
            await writer._hand_on()  # noqa: SLF001 - the same
        sending.close()
        await storing.result()
    except WrongLoopError:
        loop = storing.task.get_loop()
        loop.call_soon_threadsafe(storing.task.cancel)
        loop.call_soon_threadsafe(sending.close)
        raise
    except BaseException:
        try:
            await storing.stop()  # before the stream closes: its end would be that of the content
        finally:
            sending.close()
        raise
    sending.close()
    if writer._failure is not None:  # noqa: SLF001 - the same
        raise writer._failure  # noqa: SLF001 - the same


class ObjectReader:
    """A file to read and to seek in, pinned to one state of the object: ObjectChangedError if it is another by then.

    It asks for a little after each seek, and for more and more while it is read on: up to ``Limits.part_size`` at once.
    Ranges cannot be compared with a digest: their lengths are.
    """

    def __init__(self, runtime: Runtime, address: Address, info: ObjectInfo, size: int, head: bytes) -> None:
        self._runtime, self._address, self._head, self._size = runtime, address, head, size
        self._position = 0
        self._window = LEAST_WINDOW_BYTES
        self._body: Body | None = None
        self._body_position = 0
        self._stack = AsyncExitStack()
        self._is_closed = False
        self.info = info

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte to be read."""
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another position, and return it. It may lie beyond the end. Sends nothing."""
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
        """Return exactly ``n`` bytes, fewer only at the end; all that is left if ``n`` is negative."""
        left = max(0, self._size - self._position)
        buffer = bytearray(left if n < 0 else min(n, left))
        return bytes(memoryview(buffer)[: await self.readinto(buffer)])

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer, and less of it only at the end. Return how many bytes that was."""
        if self._is_closed:
            msg = f"the reader of {self._address} is closed: read inside its 'async with'"
            raise ValueError(msg)
        self._runtime.require_loop()
        memory, count, start = memoryview(buffer).cast("B"), 0, self._position
        try:
            while count < len(memory) and self._position < self._size:
                if self._position < len(self._head):
                    data = self._head[self._position : self._position + len(memory) - count]
                    memory[count : count + len(data)] = data
                    taken = len(data)
                else:
                    taken = await self._read_on(memory[count:])
                count += taken
                self._position += taken
        except BaseException:  # a later read goes on where this one began
            self._position = start
            raise
        return count

    async def _read_on(self, memory: memoryview) -> int:
        if self._body is None or self._body_position != self._position:
            self._window = min(
                self._window * 2 if self._body_position == self._position else LEAST_WINDOW_BYTES,
                max(self._runtime.limits.part_size, LEAST_WINDOW_BYTES),
            )
            stop = min(self._size, self._position + max(self._window, min(len(memory), self._runtime.limits.part_size)))
            await self._open(ByteRange(self._position, stop))
        assert self._body is not None
        try:
            taken = await self._body.readinto(memory)
        except BaseException:
            await self._close_body()
            raise
        self._body_position += taken
        if self._body.remaining == 0:
            await self._close_body()
        return taken

    async def _open(self, byte_range: ByteRange) -> None:
        await self._close_body()
        pinned = ReadOptions(if_match=pin_of(self.info.etag))
        for may_ask_again in (True, False):
            try:
                body = await self._stack.enter_async_context(
                    open_body(self._runtime, self._address, byte_range, pinned)
                )
            except (PreconditionFailedError, NotFoundError) as error:
                raise self._changed() from error
            is_same_object = is_same(body.info, replace(self.info, size=None))
            if is_same_object and body.info.size in (None, self._size):
                self._body, self._body_position = body, byte_range.start
                return
            await self._close_body()
            if not (is_same_object and may_ask_again):  # this object cannot have another size
                break
        raise self._changed()

    def _changed(self) -> ObjectChangedError:
        return ObjectChangedError(f"{self._address} changed while it was read, after byte {self._position:,}")

    async def _close_body(self) -> None:
        self._body = None
        await self._stack.aclose()

    async def _close(self) -> None:
        self._is_closed = True
        await self._close_body()


@asynccontextmanager
async def open_reader(runtime: Runtime, address: Address) -> AsyncIterator[ObjectReader]:
    info, head = await _read_head(runtime, address)
    if info.size is None:
        msg = f"{address}: the service does not say how many bytes there are, as seeking needs"
        raise TransferError(msg)
    reader = ObjectReader(runtime, address, info, info.size, head)
    try:
        yield reader
    finally:
        await reader._close()  # noqa: SLF001 - its maker


async def _read_head(runtime: Runtime, address: Address) -> tuple[ObjectInfo, bytes]:
    try:
        async with open_body(runtime, address, ByteRange(0, HEAD_BYTES), NO_OPTIONS, or_whole=True) as body:
            return body.info, await body.read(HEAD_BYTES)
    except InvalidRequestError as error:
        if not may_be_empty(error):
            raise
    async with open_body(runtime, address, None, NO_OPTIONS) as body:
        return body.info, await body.read(HEAD_BYTES)
