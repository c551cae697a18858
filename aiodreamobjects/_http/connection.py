"""One HTTP/1.1 connection: an asyncio protocol over httptools' parser. Knows nothing of S3.

A connection carries one request at a time. Whatever is doubtful about a response, or about what comes after it, closes
the connection: no byte of it can then be taken for the answer to another request.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import struct
import termios
from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError, IncompleteBodyError
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Buffer, Expect, Pieces, Request
from aiodreamobjects._progress import Gauge

RECEIVE_BYTES = 64 << 10
"""Read from the socket at once."""
TLS_RECEIVE_BYTES = 256 << 10
"""What asyncio decrypts at once: what does not fit is read in a later turn, and lost if the peer has closed by then."""
PIECE_BYTES = 256 << 10
"""Written to the transport at once."""
PACED_BYTES = 16 << 10
"""Read or written at once where bandwidth is limited."""
QUEUE_BYTES = 192 << 10
"""A streamed body that nobody takes: with this much of it waiting, no more is read."""
LONGEST_HEAD_BYTES = 64 << 10
LONGEST_DOCUMENT_BYTES = 8 << 20
"""A response that is kept whole. A page of a listing has a few MiB where every key is as long as can be."""
MOST_INTERIM_RESPONSES = 16
MOST_FRAMING_BYTES = 128 << 10
"""Of a body in chunks, without a byte of the body itself: extensions and trailers, which nobody needs."""


class Owner(Protocol):
    """Who made the connection, and hears when it can be used again and when it is gone."""

    def give_back(self, connection: Connection) -> None: ...
    def forget(self, connection: Connection) -> None: ...


class PooledResponse:
    """A ``transport.Response`` whose body, where it is streamed, is read from the connection."""

    __slots__ = ("_connection", "content", "headers", "status", "taken")

    def __init__(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status, self.headers = status, headers
        self.content: bytes | None = None
        """The body, where it was kept whole. ``None`` for one that is streamed."""
        self.taken = 0
        """How many bytes of a streamed body its reader has got so far."""
        self._connection: Connection | None = None

    async def read_chunk(self) -> bytes:
        """What has arrived since, at least a byte; empty at the end. Raises IncompleteBodyError if it comes early."""
        connection = self._connection
        if connection is None:
            return b""
        chunk = await connection.read_chunk(self)
        if not chunk:
            self.close()
        return chunk

    async def read_into(self, memory: memoryview) -> int:
        """Receive straight into memory until that is full or the body ends; how many bytes it was.

        Raises as ``read_chunk``; ``taken`` then tells how many bytes are there. Cancelled, the connection is closed.
        """
        connection = self._connection
        if connection is None:
            return 0
        count = await connection.read_into(self, memory)
        if count < len(memory) or connection.has_no_more(self):
            self.close()
        return count

    def close(self) -> None:
        """The connection is used again if all of the body has arrived, else closed. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()


class Connection(asyncio.BufferedProtocol):
    """Made by ``loop.create_connection``. ``error`` says why it is of no more use; ``None`` while it is."""

    def __init__(
        self,
        host: str,
        origin: str,
        owner: Owner,
        timeouts: Timeouts,
        paces: Paces,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.host, self.origin = host, origin
        self.error: DreamObjectsError | None = None
        self.idle_seconds = self.age_seconds = 0.0
        self.went_stale = False
        """Whether the peer closed it before the first byte of a response."""
        self._owner, self._timeouts, self._paces, self._loop = owner, timeouts, paces, loop
        self._transport: asyncio.Transport
        self._poll: select.poll | None = None
        self._view = memoryview(b"")
        self._is_tls = False
        self._piece_bytes = PIECE_BYTES if paces.sending is None else PACED_BYTES
        # The parser's callbacks: two of them are methods of containers, which spares a Python call each.
        self._raw_headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self.on_header: Callable[[bytes, bytes], None] = self._raw_headers.__setitem__
        self.on_body: Callable[[bytes], None] = self._chunks.append
        self._parser: HttpResponseParser | None = None
        # The exchange under way.
        self._expect: Expect | None = None
        self._response: PooledResponse | None = None
        self._waiter: asyncio.Future[PooledResponse | None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._filling: memoryview | None = None
        self._hold: asyncio.TimerHandle | None = None
        self._is_complete = self._has_answered = self._is_sent = self._is_awaited = False
        self._is_write_paused = self._is_read_paused = self._keeps_alive = self._is_until_eof = False
        self._head_bytes = self._received = self._taken = self._framing = self._written = self._interim = 0
        self._unwritten = 0
        """Bytes of the request's body that the transport has not got yet."""
        self._is_in_pieces = False
        self._counted = self._end = self._filled = 0
        # What the sweep has seen of it.
        self._silent_seconds = self._window_seconds = 0.0
        self._progress = self._window_start = 0
        self._phase = ""

    # Requests

    async def request(self, request: Request) -> PooledResponse:
        """Send a request and receive the response's head, and its body unless that is streamed.

        Raises ConnectionFailedError or IncompleteBodyError, and what a body in pieces raises; the connection is then
        closed, as it is when cancelled. A refusal may come before all of the body was sent. A success may not: the peer
        cannot have stored what it has not got, so this is a ConnectionFailedError.
        """
        self._expect = request.expect
        self._response = None
        self._is_complete = self._has_answered = self._is_sent = self._is_awaited = False
        self._head_bytes = self._received = self._taken = self._framing = self._interim = self._counted = 0
        self._raw_headers.clear()
        self._phase = ""
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        self._waiter = waiter = self._loop.create_future()
        body, sent = request.body, request.sent
        try:
            if sent is not None and len(body) <= self._piece_bytes:
                await sent.end()
            self._raise_if_lost()
            if not isinstance(body, Pieces) and len(body) <= RECEIVE_BYTES and self._paces.sending is None:
                self._is_in_pieces = False
                self._transport.write(_head(request) + body if body else _head(request))
                self._is_sent = True
            else:
                self._is_in_pieces, self._unwritten = True, len(body)
                self._transport.write(_head(request))
                await self._send(body, sent)
            self._is_awaited = True
            response: PooledResponse | None = await waiter
            if response is None:
                self._raise_if_lost()
        except BaseException:
            self.abort(ConnectionFailedError(f"{self.origin}: the request was given up"))
            raise
        finally:
            self._waiter = None
        assert response is not None
        if response._connection is None:  # noqa: SLF001 - one thing in two classes
            self.leave()
        return response

    def _raise_if_lost(self) -> None:
        if self.error is not None:
            raise self.error

    async def _send(self, body: Buffer | Pieces, sent: Gauge | None) -> None:
        if isinstance(body, Pieces):
            self._is_sent = await self._send_chunks(body)
        else:
            self._is_sent = await self._send_buffer(memoryview(body), sent)

    async def _send_chunks(self, body: Pieces) -> bool:
        async with aclosing(body.open()) as chunks:
            async for chunk in chunks:
                if len(chunk) > self._unwritten:
                    break
                if not await self._send_buffer(memoryview(chunk), None):
                    return False
            else:
                if not self._unwritten:
                    return True
        msg = f"the body does not have the {len(body):,} bytes that were announced: did its file change?"
        raise ValueError(msg)

    async def _send_buffer(self, body: memoryview, sent: Gauge | None) -> bool:
        """Send as the peer takes it, a piece at a time. Return False once there is a response, or no connection."""
        pace, size = self._paces.sending, self._piece_bytes
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            if sent is not None and len(body) - size <= start > 0:
                await sent.end()
            if pace is not None and (seconds := pace.spend(len(piece))) > 0:
                assert self._waiter is not None
                await asyncio.wait({self._waiter}, timeout=seconds)  # or until nothing more is to be sent
            elif start:
                await asyncio.sleep(0)  # an answer that is there by now came too early
            if self._response is not None or self.error is not None:
                return False
            self._transport.write(piece)
            self._written += len(piece)
            self._unwritten -= len(piece)
            if self._is_write_paused:
                self._drained = self._loop.create_future()
                try:
                    await self._drained
                finally:
                    self._drained = None
            if sent is not None:
                sent.bytes = start + len(piece)
        return True

    async def read_chunk(self, response: PooledResponse) -> bytes:
        """For the response that is being streamed. Cancelled, it loses nothing."""
        if not await self._wait_for_body(response):
            return b""
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._take(response, len(chunk))
        self._chunks.clear()
        self._read_on()
        return chunk

    async def read_into(self, response: PooledResponse, memory: memoryview) -> int:
        """For the response that is being streamed: the socket is read into the memory once the rest of it fits in."""
        position = 0
        try:
            while position < len(memory):
                if self._chunks:
                    position += self._copy_into(response, memory[position:])
                    continue
                left = _length_of(response.headers) - self._received
                if self._response is response and 0 < left <= len(memory) - position:
                    self._filling, self._parser = memory[position : position + left], None
                self._filled = 0
                self._read_on()
                has_more = await self._wait_for_body(response)
                self._filling = None
                position += self._filled
                if not has_more:
                    break
        except BaseException:
            if self._filling is not None:  # the memory is its owner's again
                self.abort(ConnectionFailedError(f"{self.origin}: the response was left"))
                self._filling = None
            raise
        return position

    async def _wait_for_body(self, response: PooledResponse) -> bool:
        """Until there is something to take, or the end: whether there is."""
        while not self._chunks:
            if self._response is not response or self._is_complete:
                return False
            self._raise_if_lost()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def has_no_more(self, response: PooledResponse) -> bool:
        return self._response is not response or (self._is_complete and not self._chunks)

    def _copy_into(self, response: PooledResponse, memory: memoryview) -> int:
        """What has arrived, as far as there is room."""
        position = 0
        while self._chunks and position < len(memory):
            chunk = self._chunks.pop(0)
            room = len(memory) - position
            if len(chunk) > room:
                self._chunks.insert(0, chunk[room:])
                chunk = chunk[:room]
            memory[position : position + len(chunk)] = chunk
            position += len(chunk)
        self._take(response, position)
        self._counted = len(self._chunks)
        return position

    def _take(self, response: PooledResponse, count: int) -> None:
        self._counted = 0
        self._taken += count
        response.taken += count

    def _read_on(self) -> None:
        if self._is_read_paused and self.error is None and self._received - self._taken < QUEUE_BYTES:
            self._is_read_paused = False
            if self._hold is None:
                self._transport.resume_reading()

    def leave(self) -> None:
        """The exchange is over: used again if nothing is doubtful."""
        is_clean = self._is_complete and self._is_sent and self._keeps_alive and self.error is None
        is_clean = is_clean and not self._transport.get_write_buffer_size()
        self._response = self._expect = None
        self._chunks.clear()
        if is_clean:
            self._taken = self._received
            self._read_on()
            self.idle_seconds = 0.0
            self._owner.give_back(self)
        else:
            self.abort(ConnectionFailedError(f"{self.origin}: the response was left"))

    def abort(self, error: DreamObjectsError) -> None:
        """Close at once; who waits gets the error."""
        if self.error is None:
            self.error = error
            self._filling = None
            self._transport.abort()
            self._wake()

    @property
    def bytes_moved(self) -> int:
        """A figure that changes as long as it sends or receives."""
        return self._written + self._received - (unsent(self._transport) if self.error is None else 0)

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is still good: neither closed by the peer nor with anything to say."""
        if self.error is not None or self._transport.is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._view = memoryview(bytearray(TLS_RECEIVE_BYTES if self._is_tls else RECEIVE_BYTES))
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0 and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        response = self._response
        is_ended_by_peer = self.error is None and exc is None and not self._is_tls
        if response is not None and self._is_until_eof and is_ended_by_peer and not self._is_complete:
            self._is_complete, self._keeps_alive, self._end = True, False, len(self._chunks)
            self._finish(response)
        if self.error is None:
            self.error = self._lost(exc)
            self.went_stale = not self._has_answered
        self._parser = None
        if self._hold is not None:
            self._hold.cancel()
        self._wake()
        self._owner.forget(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        memory = self._view if self._filling is None else self._filling[self._filled :]
        # Of TLS, all that is decrypted is taken at once: asyncio throws away the rest if the peer has closed by then.
        return memory if self._paces.receiving is None or self._is_tls else memory[:PACED_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        if self._paces.receiving is not None:
            self._hold_back(self._paces.receiving.spend(nbytes))
        if self._filling is not None:
            self._fill(nbytes)
            return
        if self._expect is None or self._parser is None or self._is_complete:
            self.abort(ConnectionFailedError(f"{self.origin} sent bytes that nobody asked for"))
            return
        self._has_answered = True
        try:
            self._parser.feed_data(self._view[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            self._refuse(error)
            return
        if self.error is not None:
            return
        response = self._response
        if response is None:
            self._head_bytes += nbytes
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self._give_up(f"sends a head of over {LONGEST_HEAD_BYTES:,} bytes")
            elif self._interim > MOST_INTERIM_RESPONSES:
                self._give_up(f"sends over {MOST_INTERIM_RESPONSES} interim responses")
        elif self._is_complete:
            self._finish(response)
        else:
            self._go_on(response, nbytes)

    def _hold_back(self, seconds: float) -> None:
        """Read no more for so long: the session's bandwidth is used up."""
        if seconds > 0 and self._hold is None and self.error is None:
            self._hold = self._loop.call_later(seconds, self._end_hold)
            if not self._is_read_paused:
                self._transport.pause_reading()

    def _end_hold(self) -> None:
        self._hold = None
        if not self._is_read_paused and self.error is None:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._end_drain()

    def _end_drain(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # The parser's side

    def on_message_begin(self) -> None:
        self._raw_headers.clear()  # what trailed an interim response is no header of this one
        if self._is_complete:  # what follows was not asked for
            self._keeps_alive = False

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        headers = {name.lower(): value for name, value in self._raw_headers.items()}
        self._raw_headers.clear()
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - interim responses (RFC 9110 section 15.2)
            self._interim += 1
            return
        if self._response is None:
            self._chunks.clear()  # an interim response has no body; what came as one is none of ours
            self._response = PooledResponse(status, headers)
            self._judge(status, headers)

    def on_message_complete(self) -> None:
        if self._response is not None and not self._is_complete:
            self._is_complete = True
            self._end = len(self._chunks)

    def _judge(self, status: int, headers: dict[bytes, bytes]) -> None:
        """How the body comes, from the head."""
        assert self._parser is not None
        assert self._expect is not None
        is_framed = b"content-length" in headers or b"transfer-encoding" in headers
        self._is_until_eof = not is_framed
        if self._expect.is_head:
            # The parser does not know that no body follows: it has served its turn.
            # Of a body that came all the same, the parser would not tell the beginning of a chunk.
            is_persistent = self._parser.get_http_version() == "1.1" and b"transfer-encoding" not in headers
            self._keeps_alive = is_persistent and b"close" not in headers.get(b"connection", b"").lower()
            self._is_complete = True
            self._end = 0
        else:
            self._keeps_alive = self._parser.should_keep_alive()
        if status >= 500:  # noqa: PLR2004 - a server in trouble (RFC 9110 section 15.6): ask another one next time
            self._keeps_alive = False
        if _is_success(status) and self._is_early():
            self._give_up("answered with a success before it had all of the request", retryable=True)
        self._end_drain()  # no more of the request's body is sent

    def _is_early(self) -> bool:
        """Whether the peer cannot have the whole request yet.

        The segment that brings an answer acknowledges all that was read before it was made. So nothing of the request
        is in the socket's queue any more when an honest answer arrives. A small request is not worth a system call: it
        left in one write, unless the transport still holds some of it.
        """
        if not self._is_in_pieces:
            return self._transport.get_write_buffer_size() > 0
        return self._unwritten > 0 or unsent(self._transport) > 0

    # The body

    def _go_on(self, response: PooledResponse, nbytes: int) -> None:
        """More of a body has arrived, and there is more to come."""
        arrived = self._count_chunks()
        self._framing = 0 if arrived else self._framing + nbytes
        if self._framing > MOST_FRAMING_BYTES:
            self._give_up("sends a body that is all framing")
            return
        length = _length_of(response.headers)
        if self._is_streamed(response, length):
            if response._connection is None:  # noqa: SLF001 - one thing in two classes
                response._connection = self  # noqa: SLF001
                self._wake(response)
            elif arrived:
                self._wake()
            if self._received - self._taken >= QUEUE_BYTES and not self._is_read_paused:
                self._is_read_paused = True
                if self._hold is None:
                    self._transport.pause_reading()
        elif max(self._received, length) > LONGEST_DOCUMENT_BYTES:
            self._give_up(f"sends a document of over {LONGEST_DOCUMENT_BYTES:,} bytes")

    def _is_streamed(self, response: PooledResponse, length: int) -> bool:
        assert self._expect is not None
        start = self._expect.stream_from
        return start is not None and _is_success(response.status) and (length < 0 or length > start)

    def _count_chunks(self) -> int:
        """Bytes of the body that came with the last read, which become one chunk: the peer may send a byte a chunk."""
        new = self._chunks[self._counted :]
        if len(new) > 1:
            new = [b"".join(new)]
            self._chunks[self._counted :] = new
        self._counted = len(self._chunks)
        arrived = len(new[0]) if new else 0
        self._received += arrived
        return arrived

    def _finish(self, response: PooledResponse) -> None:
        """The whole of a response is there."""
        if len(self._chunks) > self._end:  # and more than that
            self._keeps_alive = False
            del self._chunks[self._end :]
        if self._parser is not None and self._expect is not None and self._expect.is_head:
            self._parser = None
        if response._connection is not None:  # noqa: SLF001 - one thing in two classes
            self._wake()
            return
        if len(self._chunks) == 1:
            response.content = self._chunks.pop()
        else:
            response.content = b"".join(self._chunks)
            self._chunks.clear()
        self._wake(response)

    def _fill(self, nbytes: int) -> None:
        response, filling = self._response, self._filling
        assert response is not None
        assert filling is not None
        self._filled += nbytes
        self._received += nbytes
        self._take(response, nbytes)
        if self._filled == len(filling):
            self._filling = None  # uvloop asks for the next buffer before anybody is woken, and refuses an empty one
            self._is_complete = True
            self._end = 0
            self._wake()

    # What goes wrong

    def sweep(self, seconds: float) -> None:
        """So much time has passed: give up a peer that is silent or crawls. Only waiting for it counts."""
        self.age_seconds += seconds
        if self._expect is None:
            self.idle_seconds += seconds
            return
        is_full = self._drained is not None
        is_sending = is_full or (self._response is None and unsent(self._transport) > 0)
        if self._hold is not None or self._waiter is None or not (is_full or self._is_awaited):
            return  # its owner does something else: takes its time over the body, or makes the next piece
        phase = "send" if is_sending else "receive" if self._response is not None else "answer"
        if phase != self._phase:
            self._phase, self._silent_seconds, self._window_seconds = phase, 0.0, 0.0
            self._window_start = self._progress = self._position(phase)
            return
        self._silent_seconds += seconds
        self._window_seconds += seconds
        position = self._position(phase)
        if position != self._progress:
            self._progress, self._silent_seconds = position, 0.0
        self._judge_pace(phase, position)

    def _judge_pace(self, phase: str, position: int) -> None:
        assert self._expect is not None
        window = self._timeouts.write if phase == "send" else self._timeouts.read
        if self._silent_seconds >= window:
            reason = f"took no byte of a body for {window:g} s" if phase == "send" else f"was silent for {window:g} s"
            self._give_up(reason, retryable=True)
        elif phase != "answer" and self._window_seconds >= window:
            moved = position - self._window_start
            if moved < self._expect.low_speed * self._window_seconds:
                self._give_up(
                    f"crawls: {moved:,} bytes of a body in {self._window_seconds:.1f} s, less than Timeouts.low_speed",
                    retryable=True,
                )
            self._window_start, self._window_seconds = position, 0.0

    def _position(self, phase: str) -> int:
        """A figure that grows as the peer does its part."""
        if phase == "send":
            return self._written - unsent(self._transport)
        return self._received if phase == "receive" else 0

    def _refuse(self, error: Exception) -> None:
        """What arrived is not HTTP. A response that was complete before it is none the worse."""
        self._parser = None
        response = self._response
        if response is not None and self._is_complete:
            self._keeps_alive = False
            self._finish(response)
        elif response is not None:
            self.abort(IncompleteBodyError(f"{self.origin} broke a body off: {error}"))
        else:
            self._give_up(f"does not answer in HTTP: {error}")

    def _give_up(self, reason: str, *, retryable: bool = False) -> None:
        self.abort(ConnectionFailedError(f"{self.origin} {reason}", retryable=retryable))

    def _lost(self, exc: Exception | None) -> DreamObjectsError:
        if self._response is not None:
            error: DreamObjectsError = IncompleteBodyError(f"{self.origin} ended a body early")
        else:
            number = exc.errno if isinstance(exc, OSError) else None
            reason = os.strerror(number) if number else str(exc) if exc else "the peer closed it"
            error = ConnectionFailedError(f"{self.origin}: connection failed: {reason}")
        error.__cause__ = exc
        return error

    def _wake(self, response: PooledResponse | None = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(response)
        self._end_drain()


def unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer has not acknowledged. The kernel holds megabytes, which a slow link needs minutes for."""
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return waiting
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return waiting
    return waiting + int(queued)


def _head(request: Request) -> bytes:
    return f"{request.method} {request.target} HTTP/1.1\r\n{request.headers}\r\n".encode("ascii")


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def _length_of(headers: dict[bytes, bytes]) -> int:
    """Content-Length, which the parser has checked; -1 where it does not say."""
    return int(headers.get(b"content-length", -1))
