"""An object's bytes on their way down as one stream, pinned to one state of the object, taken up where it broke."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from aiodreamobjects._checks import check_token
from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    IncompleteBodyError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    ServiceError,
    TransferError,
)
from aiodreamobjects._integrity import IF_NO_DIGEST, md5, md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ByteRange, ObjectInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.errors import is_unreadable
from aiodreamobjects._s3.objects import ObjectBody
from aiodreamobjects._s3.options import ReadOptions
from aiodreamobjects._s3.replies import is_same
from aiodreamobjects._s3.retry import backoff
from aiodreamobjects._transfer.verify import ContentCheck, size_by_head, verified_by_size

NO_OPTIONS = ReadOptions()
JOINED_INLINE_BYTES = 8 << 20
"""Up to here, chunks are joined on the event loop, for some milliseconds; more of them in a thread."""
ENOUGH_BYTES = 64 << 10
"""A response that brought so much before it broke was worth its request: the attempts are counted anew."""

_log = logging.getLogger("aiodreamobjects")


Told = tuple[str | None, int | None]
"""ETag and size of a whole object, as another answer had them."""


class AsyncWriter(Protocol):
    """What bytes can be written to: an aiofiles file, or whatever has its ``write``."""

    def write(self, data: bytes, /) -> Awaitable[object]: ...


class RangeIgnoredError(TransferError):
    """A range was asked for, and another one came, or all of it."""

    told: Told | None = None
    """As this answer has it, where it is of another length than it says."""


async def read(runtime: Runtime, address: Address, byte_range: ByteRange | None) -> bytes:
    return (await _read_surely(runtime, address, byte_range))[1]


async def read_with_info(
    runtime: Runtime, address: Address, most: int, known: Told | None = None
) -> tuple[ObjectInfo, bytes]:
    """Read a small object whole. ObjectChangedError if it has more than ``most`` bytes: it was said to be smaller.

    ``known``: as a listing tells of it. Its size counts where the answer announces none.
    """
    response, content = await _read_surely(runtime, address, None, most, known)
    return response.info, content


async def _read_surely(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    most: int | None = None,
    known: Told | None = None,
) -> tuple[ObjectBody | Body, bytes]:
    """What is damaged, or changes on its way, is asked for once more."""
    try:
        return await _read(runtime, address, byte_range, most, known)
    except (ChecksumMismatchError, ObjectChangedError) as error:
        _log.warning("%s; asking again", error)
        return await _read(runtime, address, byte_range, most, known)


async def _read(
    runtime: Runtime, address: Address, byte_range: ByteRange | None, most: int | None, known: Told | None
) -> tuple[ObjectBody | Body, bytes]:
    """A small object takes one request, and nothing of a Body's apparatus."""
    response = await _ask(runtime, address, byte_range, NO_OPTIONS, streamed=False)
    content = response.content
    if content is None or len(content) != response.length:
        body = Body(runtime, address, byte_range, NO_OPTIONS, streamed=False, known=known)
        async with _opened(body, response):
            content = b"" if most is not None and (body.info.size or 0) > most else await body.read(_one_more(most))
            if most is not None and (len(content) > most or len(content) < (body.info.size or 0)):
                msg = f"{address} has more than the {most:,} bytes now that it had at most when it was listed"
                raise ObjectChangedError(msg)
            return body, content
    if not _is_whole(response):
        return response, content
    if expected_md5 := md5_of_etag(response.etag, response.obstacle):
        if (found := (await md5(content)).hexdigest()) != expected_md5:
            msg = f"{address}: the bytes have MD5 {found}, the ETag says {expected_md5}; {IF_NO_DIGEST}"
            raise ChecksumMismatchError(msg)
    elif parts_of_etag(response.etag, response.obstacle):
        check = ContentCheck.of(response.info, response.obstacle)
        if check is not None:
            await check.update(content)
            check.verdict(address, response.size)
    return response, content


def _one_more(most: int | None) -> int:
    return -1 if most is None else most + 1


async def _ask(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    *,
    streamed: bool,
    or_whole: bool = False,
) -> ObjectBody:
    """A reply to this question; once more where it is one to another. Then it is RangeIgnoredError.

    ``or_whole``: all of the object is as good as its beginning.
    """
    try:
        return await _ask_once(runtime, address, byte_range, options, streamed=streamed, or_whole=or_whole)
    except (RangeIgnoredError, ServiceError) as error:
        if not isinstance(error, RangeIgnoredError) and not is_unreadable(error):
            raise
        _log.warning("%s; asking again", error)
    return await _ask_once(runtime, address, byte_range, options, streamed=streamed, or_whole=or_whole)


async def _ask_once(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    *,
    streamed: bool,
    or_whole: bool,
) -> ObjectBody:
    response = await runtime.s3.get_object(address, byte_range, options, streamed=streamed)
    try:
        _check_answer(address, None if or_whole and _is_whole(response) else byte_range, response)
    except BaseException:
        await response.aclose()
        raise
    return response


def _is_whole(response: ObjectBody) -> bool:
    """Whether the body is the whole object, however it was asked for. A None says that the service did not tell."""
    return response.start == 0 and response.length == response.size


@asynccontextmanager
async def open_body(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    *,
    streamed: bool = True,
    or_whole: bool = False,
    known: Told | None = None,
) -> AsyncIterator[Body]:
    """``streamed``: it takes a place among the streams, for as long as it is open and however often it breaks.

    ``or_whole``: an answer with all of the object to a question for its beginning is as good.

    ``known``: as a HEAD or a listing tells of it. Its size is the body's where the answer announces none.
    """
    s3 = runtime.s3
    async with AsyncExitStack() as stack:
        if streamed:
            await stack.enter_async_context(s3.stream())
        response = await _ask(runtime, address, byte_range, options, streamed=streamed, or_whole=or_whole)
        asked = None if or_whole and _is_whole(response) else byte_range
        body = Body(runtime, address, asked, options, streamed=streamed, known=known)
        if response.content is not None:  # all is here: it needs no place
            await stack.aclose()
        async with _opened(body, response):
            yield body


@asynccontextmanager
async def _opened(body: Body, response: ObjectBody) -> AsyncIterator[Body]:
    await body._begin(response)  # noqa: SLF001 - Body is public, its opening is not
    try:
        yield body
    finally:
        body._is_closed = True  # noqa: SLF001
        await body._close()  # noqa: SLF001


class Body:
    """An object's bytes as they arrive: ``async for chunk in body``, or ``read``, or ``write_to``.

    Holds one chunk in memory, 256 KiB at most. A connection that breaks is replaced by a request for the rest, as often as
    the session's ``Retry`` allows without a byte of progress. Raises ObjectChangedError if the object is replaced,
    IncompleteBodyError if fewer bytes arrive than were announced, and ChecksumMismatchError if a whole object does not have
    the digest that its ETag is. These come at the end at the latest: until then, do not trust what was read. At the end,
    ``info.verified`` says what was compared; ``None`` means that there was neither a digest nor a length.
    """

    info: ObjectInfo
    encryption: str | None
    """How the service encrypted it, as far as it says."""
    obstacle: str | None
    """What keeps the ETag from being a digest."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        byte_range: ByteRange | None,
        options: ReadOptions,
        *,
        streamed: bool,
        known: Told | None = None,
    ) -> None:
        self._runtime, self._address = runtime, address
        self._range, self._options, self._streamed = byte_range, options, streamed
        self._known = known
        self._response: ObjectBody | None = None
        self._position = 0
        self._stop: int | None = None
        self._check: ContentCheck | None = None
        self.is_whole = byte_range is None
        """Whether it is all of the object, however it was asked for."""
        self._rest: deque[bytes] = deque()
        self._breaks = self._taken = 0
        self._is_complete = self._is_closed = self._is_taken = False

    def __repr__(self) -> str:
        return f"<Body of {self._address}, at byte {self._position}>"

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._next():
            return chunk
        raise StopAsyncIteration

    async def read(self, n: int = -1) -> bytes:
        """Return exactly ``n`` bytes, fewer only at the end; all that is left if ``n`` is negative. Raises as ``Body``."""
        pieces: list[bytes] = []
        missing = n
        try:
            while n < 0 or missing > 0:
                chunk = await self._next()
                if not chunk:
                    break
                if n >= 0 and missing < len(chunk):
                    self._rest.appendleft(chunk[missing:])
                    chunk = chunk[:missing]
                pieces.append(chunk)
                missing -= len(chunk)
            await self._look_for_end()
            if sum(map(len, pieces)) > JOINED_INLINE_BYTES:
                return await finish(in_thread(b"".join, pieces))
        except BaseException:  # a later read goes on where this one began
            self._rest.extendleft(reversed(pieces))
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer, and less of it only at the end. Return how many bytes that was. Nothing is copied on the way.

        An error or a cancellation closes the body; what the buffer got is lost.
        """
        self._runtime.require_loop()
        try:
            return await self._fill(memoryview(buffer).cast("B"))
        except BaseException:
            self._is_closed = True
            await self._close()
            raise

    async def _fill(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory):
            if self._rest:
                chunk = self._rest.popleft()
                count = min(len(chunk), len(memory) - position)
                memory[position : position + count] = chunk[:count]
                if count < len(chunk):
                    self._rest.appendleft(chunk[count:])
            else:
                count = await self._next_into(memory[position:])
                if not count:
                    break
            position += count
        await self._look_for_end()
        return position

    async def _look_for_end(self) -> None:
        """Have a whole object verified that was just read to its end, although no length tells that it is the end."""
        if self._stop is None and self.is_whole and not self._rest and not self._is_complete and self._check:
            chunk = await self._next()
            if chunk:
                self._rest.appendleft(chunk)

    @property
    def position(self) -> int:
        """Return the position in the object up to which bytes have arrived, also in the middle of a ``readinto``."""
        under_way = self._response.taken - self._taken if self._response is not None else 0
        return self._position + max(0, under_way)

    @property
    def remaining(self) -> int | None:
        """Return how many bytes are still to be read; None if the service did not tell the length."""
        if self._stop is None:
            return None
        return self._stop - self._position + sum(map(len, self._rest))

    async def write_to(self, file: AsyncWriter) -> int:
        """Write all that is left to an aiofiles file or its like. Return how many bytes that was. Raises as ``Body``."""
        written = 0
        async for chunk in self:
            await _write_all(file, chunk)
            written += len(chunk)
        return written

    async def _next(self) -> bytes:
        self._runtime.require_loop()
        if self._rest:
            return self._rest.popleft()
        while True:
            await self._ensure_open()
            try:
                chunk = await self._receive()
            except (IncompleteBodyError, ConnectionFailedError) as error:
                await self._resume(error)
                continue
            if chunk and self._check:
                self._rest.append(chunk)
                await self._check.update(chunk)
                self._rest.pop()
            if not chunk or self._position == self._stop:
                await self._verify()
            return chunk

    async def _next_into(self, memory: memoryview) -> int:
        """At least a byte, and as many as fit while nothing breaks; 0 at the end."""
        while True:
            await self._ensure_open()
            response = self._response
            if response is None or self._is_complete or response.content is not None:
                chunk = await self._next()
                if not chunk:
                    return 0
                self._rest.appendleft(chunk)
                return await self._fill(memory)
            error: IncompleteBodyError | ConnectionFailedError | None = None
            try:
                await response.read_into(memory)
            except (IncompleteBodyError, ConnectionFailedError) as raised:
                error = raised
            count = response.taken - self._taken
            try:
                self._advance(count, is_end=error is None and count < len(memory))
            except IncompleteBodyError as raised:
                error = raised
            if count and self._check:
                await self._check.update(memory[:count])
            if error is not None:
                await self._resume(error)
            if self._position == self._stop or (error is None and not count):
                await self._verify()
            if count or error is None:
                return count

    async def _ensure_open(self) -> None:
        if self._response is None and not (self._is_complete or self._is_closed):
            await self._open_rest()  # its attempts are spent when it fails

    async def _receive(self) -> bytes:
        if self._is_complete:
            return b""
        if self._response is None:
            msg = f"the body of {self._address} is closed: its 'async with' was left, or a readinto was cut short"
            raise ValueError(msg)
        if self._response.content is None:
            chunk = await self._response.read_chunk()
        else:
            chunk = b"" if self._is_taken else self._response.content
            self._is_taken = True
        self._advance(len(chunk), is_end=not chunk)
        return chunk

    def _advance(self, count: int, *, is_end: bool) -> None:
        if count:
            self._position += count
            self._taken += count
        if self._stop is not None and (self._position > self._stop or (is_end and self._position < self._stop)):
            msg = f"{self._address}: the body ended at byte {self._position:,} of {self._stop:,}"
            raise IncompleteBodyError(msg)

    async def _resume(self, error: IncompleteBodyError | ConnectionFailedError) -> None:
        """Make ready to ask for the rest. Raises the error where the rest cannot be told, or trying is of no use."""
        etag, retry = self.info.etag, self._runtime.retry
        self._breaks = 1 if self._taken >= ENOUGH_BYTES else self._breaks + 1
        # Without an ETag, the rest could be another object's of the same second. A weak one can be compared afterwards.
        is_pinned = pin_of(etag) is not None or (etag or "").startswith("W/")
        is_resumable = is_pinned and self._stop is not None and self._position <= self._stop
        if not error.retryable or not is_resumable or self._breaks >= retry.attempts:
            raise error
        if self._position == self._stop:
            self._is_complete = True
            return
        self._range = ByteRange(self._position, self._stop)
        self._options = replace(self._options, if_match=pin_of(etag), if_none_match=None)
        await self._close()
        await self._runtime.s3.sleep(backoff(retry, self._breaks))

    async def _open_rest(self) -> None:
        try:
            await self._open()
        except (PreconditionFailedError, NotFoundError) as changed:
            msg = f"{self._address} changed while it was read, after byte {self._position:,}"
            raise ObjectChangedError(msg) from changed

    async def _open(self) -> None:
        response = await _ask(self._runtime, self._address, self._range, self._options, streamed=self._streamed)
        await self._begin(response)

    async def _begin(self, response: ObjectBody) -> None:
        self._response, self._is_taken, self._taken = response, False, 0
        try:
            self._check_and_start(response)
        except BaseException:
            await self._close()
            raise

    def _check_and_start(self, response: ObjectBody) -> None:
        """The reply must be to the question: this range, of this object, in its full length."""
        start, stop = _check_answer(self._address, self._range, response)
        if self._stop is not None:
            if not is_same(response.info, self.info):
                msg = f"{self._address} changed while it was read, after byte {self._position:,}"
                raise ObjectChangedError(msg)
            return
        self.info, self.encryption, self.obstacle = response.info, response.encryption, response.obstacle
        self._position = start
        self.is_whole = start == 0 and stop == response.size
        if stop is None and response.length is None and self._known is not None and self._known[0] == response.etag:
            stop = self._known[1]
            self.info = replace(self.info, size=stop)
        self._stop = stop if stop is not None or response.length is None else start + response.length
        if self.is_whole and self._options.verify == "auto":
            self._check = ContentCheck.of(self.info, response.obstacle)

    async def _close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()

    async def _verify(self) -> None:
        if self.info.verified is not None or not self.is_whole:
            return
        if self._stop is None and parts_of_etag(self.info.etag, self.obstacle):
            await self._compare_with_head()
        verified = verified_by_size(self._stop)
        if self._check is not None:
            verified = self._check.verdict(self._address, self._stop)
        self.info = replace(self.info, verified=verified)

    async def _compare_with_head(self) -> None:
        """Ask for the size that the answer did not tell, since an ETag of parts may tell nothing without it."""
        self._is_complete = True
        await self._close()  # its place may be the only one
        self._stop = await size_by_head(self._runtime.s3, self._address, self.info.etag)
        self.info = replace(self.info, size=self._stop)
        self._advance(0, is_end=True)


async def _write_all(file: AsyncWriter, chunk: bytes) -> None:
    """Write all of a chunk: an unbuffered file may take a part of it, where the disk is nearly full."""
    rest = chunk
    while rest:
        count = await file.write(rest)
        if not isinstance(count, int) or isinstance(count, bool) or count >= len(rest):
            return  # a sink that returns no count has taken all
        if count <= 0:
            msg = f"write() took {count} of {len(rest)} bytes"
            raise OSError(errno.EIO, msg)
        rest = rest[count:]


def _check_answer(address: Address, byte_range: ByteRange | None, response: ObjectBody) -> tuple[int, int | None]:
    """Where the bytes asked for begin and end; TransferError unless these are the ones that are sent.

    An answer without a length cannot be told from a longer or shorter one: only all of the object may come so.
    """
    start, stop = _expected(byte_range, response.size)
    if stop is None and response.is_part:
        msg = f"{address}: asked for all that there is, the service sends a part and does not say of how much"
        raise RangeIgnoredError(msg)
    if response.length is None and byte_range is not None and (byte_range.start, byte_range.stop) != (0, None):
        msg = f"{address}: asked for a range, the service does not say how many bytes it sends"
        raise RangeIgnoredError(msg)
    if response.start != start:
        msg = f"{address}: asked for bytes from {start:,}, the service sends from {response.start:,}"
        raise RangeIgnoredError(msg)
    if stop is not None and response.length is not None and response.length != stop - start:
        msg = f"{address}: asked for {stop - start:,} bytes, the service announces {response.length:,}"
        error = RangeIgnoredError(msg)
        error.told = None if response.size is None else (response.etag, response.size)
        raise error
    return start, stop


def pin_of(etag: str | None) -> str | None:
    """Return this ETag if it can go into a condition: a service may have made it of anything.

    A weak one cannot: no If-Match holds for it (RFC 9110 section 13.1.1).
    """
    try:
        check_token("etag", etag)
    except ValueError:
        return None
    return None if etag and etag.startswith("W/") else etag


def may_be_empty(error: ServiceError) -> bool:
    """Return whether a range from byte 0 was refused because there is no byte: with 416, or as nanio does, with 400."""
    return error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or error.code == "InvalidRange"


def _expected(byte_range: ByteRange | None, size: int | None) -> tuple[int, int | None]:
    """Where the bytes asked for begin and end, in an object of this size."""
    if byte_range is None:
        return 0, size
    start = byte_range.start if byte_range.start >= 0 else max(0, (size or 0) + byte_range.start)
    if size is None:
        return start, byte_range.stop
    return start, size if byte_range.stop is None else min(byte_range.stop, size)
