"""Download an object as one stream. The stream stays on one state of the object and resumes where it stopped."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol, overload

from aiodreamobjects._checks import check_token
from aiodreamobjects._checksums import Told
from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    IncompleteBodyError,
    NotFoundError,
    ObjectChangedError,
    OfOpenSession,
    PreconditionFailedError,
    ServiceError,
    TransferError,
)
from aiodreamobjects._integrity import IF_NO_DIGEST, md5, md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ByteRange, ObjectInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.errors import is_unreadable
from aiodreamobjects._s3.objects import ObjectBody
from aiodreamobjects._s3.options import ANY, ReadOptions
from aiodreamobjects._s3.replies import is_same
from aiodreamobjects._s3.retry import backoff
from aiodreamobjects._transfer.lines import check_lines, decoded_lines_of, lines_of
from aiodreamobjects._transfer.response_headers import response_headers
from aiodreamobjects._transfer.verify import ContentCheck, size_by_head, verified_by_size

JOINED_INLINE_BYTES = 8 << 20
"""Join up to this many bytes on the event loop, which takes a few milliseconds. Join more in a thread."""
ENOUGH_BYTES = 64 << 10
"""A response that delivered this many bytes before it failed made progress, so the count of attempts starts again."""

_log = logging.getLogger("aiodreamobjects")


EtagAndSize = tuple[str | None, int | None]
"""The ETag and size of a whole object, from a listing, a HEAD or an earlier reply."""


class AsyncWriter(Protocol):
    """An aiofiles file, or any object with the same ``write``."""

    def write(self, data: bytes, /) -> Awaitable[object]: ...


class RangeIgnoredError(TransferError):
    """The service sent other bytes than the range that was requested."""

    reported: EtagAndSize | None = None
    """The ETag and size from this reply, if its length does not fit its range."""


async def read(runtime: Runtime, address: Address, byte_range: ByteRange | None, options: ReadOptions = ANY) -> bytes:
    return (await _read_and_repeat(runtime, address, byte_range, options))[1]


async def read_with_info(
    runtime: Runtime, address: Address, most: int, known: EtagAndSize | None = None, options: ReadOptions = ANY
) -> tuple[ObjectInfo, bytes]:
    """Read a whole small object. Raise ObjectChangedError if it has more than ``most`` bytes: it was smaller when listed.

    ``known`` comes from the listing. Its size is used if the reply has no length.
    """
    response, content = await _read_and_repeat(runtime, address, None, options, most, known)
    return response.info, content


async def _read_and_repeat(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    most: int | None = None,
    known: EtagAndSize | None = None,
) -> tuple[ObjectBody | Body, bytes]:
    """Read, and read once more if the bytes were damaged or the object changed meanwhile."""
    try:
        return await _read_once(runtime, address, byte_range, options, most, known)
    except (ChecksumMismatchError, ObjectChangedError) as error:
        _log.warning("%s; reading it again", error)
        return await _read_once(runtime, address, byte_range, options, most, known)


async def _read_once(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    most: int | None,
    known: EtagAndSize | None,
) -> tuple[ObjectBody | Body, bytes]:
    """Read with one request. A small object arrives with the reply and needs no Body, which would cost more time."""
    response = await _request(runtime, address, byte_range, options, streamed=False)
    content = response.content
    if content is None or len(content) != response.length:
        async with _opened(runtime, address, byte_range, options, response, streamed=False, known=known) as body:
            content = b"" if most is not None and (body.info.size or 0) > most else await body.read(_one_more(most))
            if most is not None and (len(content) > most or len(content) < (body.info.size or 0)):
                msg = f"{address} changed: it now has more than the {most:,} bytes that the listing allowed for"
                raise ObjectChangedError(msg)
            return body, content
    if not _is_whole(response) or options.verify == "off":
        return response, content
    if response.told is not None:
        check = ContentCheck.of(response.info, response.obstacle, response.told)
        if check is not None:
            await check.update(content)
            check.verdict(address, response.size)
    elif expected_md5 := md5_of_etag(response.etag, response.obstacle):
        if (found := (await md5(content)).hexdigest()) != expected_md5:
            msg = f"{address}: the bytes that arrived have the MD5 {found}, but the ETag is {expected_md5}; {IF_NO_DIGEST}"
            raise ChecksumMismatchError(msg)
    elif parts_of_etag(response.etag, response.obstacle):
        check = ContentCheck.of(response.info, response.obstacle)
        if check is not None:
            await check.update(content)
            check.verdict(address, response.size)
    return response, content


def _one_more(most: int | None) -> int:
    return -1 if most is None else most + 1


async def _request(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    *,
    streamed: bool,
    accepts_whole: bool = False,
) -> ObjectBody:
    """Request the range, and request it once more if the reply is unreadable or has other bytes.

    Raise RangeIgnoredError if the second reply also has other bytes. ``accepts_whole``: the whole object will do too.
    """
    try:
        return await _request_once(
            runtime, address, byte_range, options, streamed=streamed, accepts_whole=accepts_whole
        )
    except (RangeIgnoredError, ServiceError) as error:
        if not isinstance(error, RangeIgnoredError) and not is_unreadable(error):
            raise
        _log.warning("%s; sending the request again", error)
    return await _request_once(runtime, address, byte_range, options, streamed=streamed, accepts_whole=accepts_whole)


async def _request_once(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    *,
    streamed: bool,
    accepts_whole: bool,
) -> ObjectBody:
    response = await runtime.s3.get_object(address, byte_range, options, streamed=streamed)
    try:
        _check_reply(address, None if accepts_whole and _is_whole(response) else byte_range, response)
    except BaseException:
        await response.aclose()
        raise
    return response


def _is_whole(response: ObjectBody) -> bool:
    """Return whether the body is the whole object, even if a range was requested. A length or size of None is unknown."""
    return response.start == 0 and response.length == response.size


@asynccontextmanager
async def open_body(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    *,
    streamed: bool = True,
    accepts_whole: bool = False,
    known: EtagAndSize | None = None,
) -> AsyncIterator[Body]:
    """Open a body for reading, and close it at the end of the ``async with``.

    ``streamed``: hold one of the session's places for streams while the body is open, also across reconnects.

    ``accepts_whole``: accept a reply with the whole object, although its beginning was requested.

    ``known`` comes from a HEAD or a listing. Its size is used if the reply has no length.
    """
    s3 = runtime.s3
    async with AsyncExitStack() as stack:
        if streamed:
            await stack.enter_async_context(s3.stream())
        response = await _request(runtime, address, byte_range, options, streamed=streamed, accepts_whole=accepts_whole)
        sent = None if accepts_whole and _is_whole(response) else byte_range
        if response.content is not None:  # the whole body arrived with the reply, so it needs no connection
            await stack.aclose()
        async with _opened(runtime, address, sent, options, response, streamed=streamed, known=known) as body:
            yield body


@asynccontextmanager
async def _opened(
    runtime: Runtime,
    address: Address,
    byte_range: ByteRange | None,
    options: ReadOptions,
    response: ObjectBody,
    *,
    streamed: bool,
    known: EtagAndSize | None,
) -> AsyncIterator[Body]:
    reply = _Reply(response)
    try:
        yield Body(runtime, address, byte_range, options, reply, streamed=streamed, known=known)
    finally:
        await reply.end()


class _Reply:
    """The response that a Body reads from now. The opener of the Body ends it."""

    def __init__(self, response: ObjectBody) -> None:
        self.response: ObjectBody | None = response
        self.has_ended = False

    async def close(self) -> None:
        """Close the response. The Body may open another one for the rest."""
        response, self.response = self.response, None
        if response is not None:
            await response.aclose()

    async def end(self) -> None:
        """Close the response, and let no other one follow."""
        self.has_ended = True
        await self.close()


class Body(OfOpenSession):
    """Give an object's bytes as they arrive: by ``async for chunk in body``, ``read``, ``readinto``, ``lines`` or ``write_to``.

    A body holds one chunk in memory, at most 256 KiB. If the connection fails, the body requests the rest. It gives up
    after ``Retry.attempts`` failures without progress. Raises ObjectChangedError if the object was replaced,
    IncompleteBodyError if too few bytes arrive, and ChecksumMismatchError if a whole object does not match its ETag.
    These errors may come only at the end: do not trust the bytes before. At the end, ``info.verified`` says what was
    compared. ``None`` means that there was neither a digest nor a length to compare.
    """

    info: ObjectInfo
    encryption: str | None
    """How the service encrypted the object. None if it does not say."""
    obstacle: str | None
    """Why the ETag is not a digest. None if it may be one."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        byte_range: ByteRange | None,
        options: ReadOptions,
        reply: _Reply,
        *,
        streamed: bool,
        known: EtagAndSize | None = None,
    ) -> None:
        self._runtime, self._address = runtime, address
        self._range, self._options, self._streamed = byte_range, options, streamed
        self._known, self._reply = known, reply
        self._position = 0
        self._stop: int | None = None
        self._check: ContentCheck | None = None
        self.told: Told | None = None  # the checksum that the service tells of the whole object
        self.is_whole = byte_range is None
        """Whether this is the whole object, even if a range was requested."""
        self._rest: deque[bytes] = deque()
        self._breaks = self._taken = 0
        self._is_complete = self._is_taken = False
        assert reply.response is not None
        self._check_and_start(reply.response)

    def __repr__(self) -> str:
        return f"<Body of {self._address}, at byte {self._position}>"

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._next():
            return chunk
        raise StopAsyncIteration

    async def read(self, n: int = -1) -> bytes:
        """Return exactly ``n`` bytes, or fewer at the end. Return the whole rest if ``n`` is negative. Raises as ``Body``."""
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
        except BaseException:  # put the bytes back, so that the next read starts where this one did
            self._rest.extendleft(reversed(pieces))
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer, or less of it at the end. Return how many bytes were written into it.

        The socket is read straight into the buffer. An error or a cancellation closes the body, and the bytes are lost.
        """
        self._runtime.require_loop()
        try:
            return await self._read_fully(memoryview(buffer).cast("B"))
        except BaseException:
            await self._reply.end()
            raise

    async def _read_fully(self, memory: memoryview) -> int:
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
        """Verify a whole object that was just read to its end. Without a length, only one more read can find the end."""
        if self._stop is None and self.is_whole and not self._rest and not self._is_complete and self._check:
            chunk = await self._next()
            if chunk:
                self._rest.appendleft(chunk)

    @property
    def position(self) -> int:
        """Return how far in the object bytes have arrived. It also advances during a ``readinto``."""
        response = self._reply.response
        under_way = response.taken - self._taken if response is not None else 0
        return self._position + max(0, under_way)

    @property
    def remaining(self) -> int | None:
        """Return how many bytes are still to be read. None if the service sent no length."""
        if self._stop is None:
            return None
        return self._stop - self._position + sum(map(len, self._rest))

    @overload
    def lines(self, encoding: None = None, *, limit: int | None = None) -> AsyncGenerator[bytes, None]: ...
    @overload
    def lines(self, encoding: str, *, limit: int | None = None) -> AsyncGenerator[str, None]: ...
    def lines(
        self, encoding: str | None = None, *, limit: int | None = None
    ) -> AsyncGenerator[bytes, None] | AsyncGenerator[str, None]:
        r"""Give the lines without their ends: ``async for line in body.lines("utf-8")``. Only ``\n`` and ``\r\n`` end a line.

        Lines are ``bytes``, or ``str`` with an ``encoding``: then bytes that are not in it raise UnicodeDecodeError. Holds one chunk
        and one line in memory, so a line without an end takes as much as the object. With ``limit``, a line with more bytes, or
        characters, raises ValueError. Reads ahead of the lines: do not read the body by other means afterwards.
        """
        check_lines(encoding, limit)
        return lines_of(self, limit) if encoding is None else decoded_lines_of(self, encoding, limit)

    def http_headers(self) -> dict[str, str]:
        """Return the HTTP headers for sending these bytes on, as a web service does.

        They are Content-Type, Content-Length, Content-Range if this is a part of the object (the status is then 206), ETag,
        Last-Modified, Accept-Ranges, Cache-Control, Content-Disposition, Content-Encoding, Content-Language and Expires. Headers that
        the object does not have are left out. Each character of a value stands for one byte, as in latin-1.
        """
        return response_headers(self.info, self._headers, self._start, self._stop, is_whole=self.is_whole)

    async def write_to(self, file: AsyncWriter) -> int:
        """Write the rest to an aiofiles file or a similar object. Return how many bytes were written. Raises as ``Body``."""
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
                self._rest.append(chunk)  # so that a cancellation during the digest does not lose it
                await self._check.update(chunk)
                self._rest.pop()
            if not chunk or self._position == self._stop:
                await self._verify()
            return chunk

    async def _next_into(self, memory: memoryview) -> int:
        """Read at least one byte, and as many as fit until the connection fails. Return 0 at the end."""
        while True:
            await self._ensure_open()
            response = self._reply.response
            if response is None or self._is_complete or response.content is not None:
                chunk = await self._next()
                if not chunk:
                    return 0
                self._rest.appendleft(chunk)
                return await self._read_fully(memory)
            # Bytes that arrived before a failure are already in the memory. Count them before asking for the rest.
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
        if self._reply.response is None and not (self._is_complete or self._reply.has_ended):
            await self._open_rest()  # a failure here is final: the request has its own attempts

    async def _receive(self) -> bytes:
        if self._is_complete:
            return b""
        response = self._reply.response
        if response is None:
            msg = (
                f"the body of {self._address} is closed: its 'async with' ended, or a readinto was interrupted; "
                "open the object again"
            )
            raise ValueError(msg)
        if response.content is None:
            chunk = await response.read_chunk()
        else:
            chunk = b"" if self._is_taken else response.content
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
        """Prepare the request for the rest. Raise the error if the rest is unknown or another attempt cannot help."""
        etag, retry = self.info.etag, self._runtime.retry
        self._breaks = 1 if self._taken >= ENOUGH_BYTES else self._breaks + 1
        # Without an ETag, the rest could come from another object, stored in the same second. A weak ETag cannot go
        # into If-Match, but it can be compared when the reply is there.
        is_pinned = pin_of(etag) is not None or (etag or "").startswith("W/")
        is_resumable = is_pinned and self._stop is not None and self._position <= self._stop
        if not error.retryable or not is_resumable or self._breaks >= retry.attempts:
            raise error
        if self._position == self._stop:  # all bytes arrived, and only the end of the response was lost
            self._is_complete = True
            return
        self._range = ByteRange(self._position, self._stop)
        self._options = self._options.pinned(pin_of(etag))
        await self._reply.close()
        await self._runtime.s3.sleep(backoff(retry, self._breaks))

    async def _open_rest(self) -> None:
        try:
            await self._open()
        except (PreconditionFailedError, NotFoundError) as changed:
            msg = f"{self._address} changed while it was read, after byte {self._position:,}"
            raise ObjectChangedError(msg) from changed

    async def _open(self) -> None:
        response = await _request(self._runtime, self._address, self._range, self._options, streamed=self._streamed)
        self._reply.response, self._is_taken, self._taken = response, False, 0
        try:
            self._check_and_start(response)
        except BaseException:
            await self._reply.close()
            raise

    def _check_and_start(self, response: ObjectBody) -> None:
        """Check that the reply has this range of this object in full, and take over what it says of the object."""
        start, stop = _check_reply(self._address, self._range, response)
        if self._stop is not None:
            if not is_same(response.info, self.info):
                msg = f"{self._address} changed while it was read, after byte {self._position:,}"
                raise ObjectChangedError(msg)
            return
        self.info, self.encryption, self.obstacle = response.info, response.encryption, response.obstacle
        self._headers, self.told = response.headers, response.told
        self._position = self._start = start
        self.is_whole = start == 0 and stop == response.size
        # Without any length, take the size from the listing, if its ETag shows that it is the same object.
        if stop is None and response.length is None and self._known is not None and self._known[0] == response.etag:
            stop = self._known[1]
            self.info = replace(self.info, size=stop)
        self._stop = stop if stop is not None or response.length is None else start + response.length
        if self.is_whole and self._options.verify == "auto":
            self._check = ContentCheck.of(self.info, response.obstacle, response.told)

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
        """Get the missing size by a HEAD. Without it, an ETag of parts may not be comparable."""
        self._is_complete = True
        await self._reply.close()  # the HEAD may need its connection
        self._stop = await size_by_head(self._runtime.s3, self._address, self.info.etag, self._options)
        self.info = replace(self.info, size=self._stop)
        self._advance(0, is_end=True)


async def _write_all(file: AsyncWriter, chunk: bytes) -> None:
    """Write a whole chunk. An unbuffered file may write only a part of it, for example on a nearly full disk."""
    rest = chunk
    while rest:
        count = await file.write(rest)
        if not isinstance(count, int) or isinstance(count, bool) or count >= len(rest):
            return  # a file that returns no count has written everything
        if count <= 0:
            msg = f"write() returned {count} for {len(rest)} bytes: it must write at least one"
            raise OSError(errno.EIO, msg)
        rest = rest[count:]


def _check_reply(address: Address, byte_range: ByteRange | None, response: ObjectBody) -> tuple[int, int | None]:
    """Return where the requested bytes start and stop. Raise RangeIgnoredError if the reply has other bytes.

    A reply to a range must have a length: without one, a longer or shorter reply would look the same.
    """
    start, stop = _expected(byte_range, response.size)
    if stop is None and response.is_part:
        msg = f"{address}: the whole rest was requested, but the service sends a part and no total size"
        raise RangeIgnoredError(msg)
    if response.length is None and byte_range is not None and (byte_range.start, byte_range.stop) != (0, None):
        msg = f"{address}: a range was requested, but the service does not say how many bytes it sends"
        raise RangeIgnoredError(msg)
    if response.start != start:
        msg = f"{address}: bytes from {start:,} were requested, but the service sends from {response.start:,}"
        raise RangeIgnoredError(msg)
    if stop is not None and response.length is not None and response.length != stop - start:
        msg = f"{address}: {stop - start:,} bytes were requested, but the service sends {response.length:,}"
        error = RangeIgnoredError(msg)
        error.reported = None if response.size is None else (response.etag, response.size)
        raise error
    return start, stop


def pin_of(etag: str | None) -> str | None:
    """Return this ETag if it can go into If-Match. Some services send ETags with characters that no header can carry.

    Return None for a weak ETag: If-Match never holds for it (RFC 9110 section 13.1.1).
    """
    try:
        check_token("etag", etag)
    except ValueError:
        return None
    return None if etag and etag.startswith("W/") else etag


def may_be_empty(error: ServiceError) -> bool:
    """Return whether the service may have refused a range from byte 0 because the object is empty.

    Services answer with 416. nanio answers with 400 and the code InvalidRange.
    """
    return error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or error.code == "InvalidRange"


def _expected(byte_range: ByteRange | None, size: int | None) -> tuple[int, int | None]:
    """Return where the requested bytes start and stop in an object of this size. An unknown stop is None."""
    if byte_range is None:
        return 0, size
    start = byte_range.start if byte_range.start >= 0 else max(0, (size or 0) + byte_range.start)
    if size is None:
        return start, byte_range.stop
    return start, size if byte_range.stop is None else min(byte_range.stop, size)
