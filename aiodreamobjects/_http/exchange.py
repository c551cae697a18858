"""One request on a connection, and the response to it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, Self

from httptools import HttpResponseParser

from aiodreamobjects._errors import ConnectionFailedError
from aiodreamobjects._http.transport import Buffer, Pieces, Request
from aiodreamobjects._progress import Gauge
from aiodreamobjects._system import unsent_bytes

if TYPE_CHECKING:
    from aiodreamobjects._http.connection import Connection

ONE_WRITE_BYTES = 64 << 10
"""A body up to this length leaves in one write with its head."""
QUEUE_BYTES = 192 << 10
"""The connection stops reading while this many bytes of a streamed body wait for their reader."""
LONGEST_DOCUMENT_BYTES = 8 << 20
"""The longest response that is received whole. A page of a listing has a few MiB if every key is as long as possible."""
MOST_FRAMING_BYTES = 128 << 10
"""The most bytes of chunk extensions and trailers in a row, without a byte of the body itself."""


class Exchange:
    """One request and its response. The caller gets it as a ``transport.Response``.

    ``phase`` says how much of the response has arrived. Any doubt about it closes the connection.
    """

    __slots__ = (
        *(
            "content",
            "filled",
            "filling",
            "headers",
            "is_until_eof",
            "keeps_alive",
            "phase",
            "request",
            "status",
            "taken",
        ),
        *("_connection", "_counted", "_drained", "_end", "_framing", "_is_streamed"),
        *("_received", "_sending", "_unwritten", "_waiter"),
        *("_judged", "_position", "_silent_seconds", "_window_seconds", "_window_start"),
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection: Connection | None = connection
        self.request = request
        self.phase: Literal["waiting", "answering", "receiving", "complete"] = "waiting"
        """No byte has arrived; some of the head; the head; all of the response."""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.content: bytes | None = None
        self.taken = 0
        self.keeps_alive = self.is_until_eof = False
        self._sending: Literal["sending", "sent", "stopped"] = "sending"
        """The request is being written, is written, or was cut short because a response came first."""
        self._unwritten: int | None = None
        """The bytes of the body that are not yet handed to the transport. None if the request leaves in one write."""
        self._is_streamed = False
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.filling: memoryview | None = None
        """The reader's memory while the socket is read straight into it: the rest of the body must fit."""
        self.filled = 0
        self._received = self._framing = 0
        self._counted = self._end = 0
        """Indexes into the connection's chunks: how many are counted, and where the body ends."""
        self._judged: Literal["", "send", "answer", "receive"] = ""
        self._silent_seconds = self._window_seconds = 0.0
        self._position = self._window_start = 0

    # The request

    async def run(self) -> Self:
        """Send the request. Receive the head of the response, and the body unless it is streamed.

        Raises ConnectionFailedError, IncompleteBodyError, and what a body in pieces raises. An error or a cancellation
        closes the connection. A refusal may arrive before all of the body was sent. A success may not, and raises
        ConnectionFailedError: the peer cannot have stored bytes that it has not received.
        """
        connection, request = self._connection, self.request
        assert connection is not None
        body, sent = request.body, request.sent
        self._waiter = waiter = connection.loop.create_future()
        try:
            if sent is not None and len(body) <= connection.piece_bytes:  # the first write is also the last
                await sent.end()
            connection.raise_if_lost()
            if not isinstance(body, Pieces) and len(body) <= ONE_WRITE_BYTES and connection.paces.sending is None:
                connection.transport.write(_head(request) + body if body else _head(request))
                self._sending = "sent"
            else:
                self._unwritten = len(body)
                connection.transport.write(_head(request))
                is_sent = await self._send(connection, body, sent)
                self._sending = "sent" if is_sent else "stopped"
            await waiter
            if self.content is None and not self._is_streamed:
                connection.raise_if_lost()
        except BaseException:
            connection.abort(ConnectionFailedError(f"{connection.origin}: the request was abandoned"))
            raise
        finally:
            self._waiter = None
        if not self._is_streamed:
            if self._unwritten is None:
                connection.turns.are_taken = True
            self.close()
        return self

    async def _send(self, connection: Connection, body: Buffer | Pieces, sent: Gauge | None) -> bool:
        """Send the body. Return whether all of it was sent."""
        if not isinstance(body, Pieces):
            return await self._send_buffer(connection, memoryview(body), sent)
        assert self._unwritten is not None
        async with aclosing(body.open()) as chunks:
            async for chunk in chunks:
                if len(chunk) > self._unwritten:
                    break
                if not await self._send_buffer(connection, memoryview(chunk), None):
                    return False
            else:
                if not self._unwritten:
                    return True
        msg = f"the body does not have the {len(body):,} bytes that were announced: did its file change?"
        raise ValueError(msg)

    async def _send_buffer(self, connection: Connection, body: memoryview, sent: Gauge | None) -> bool:
        """Send bytes piece by piece, as the peer takes them. Return False if a response arrives or the connection fails."""
        pace, size = connection.paces.sending, connection.piece_bytes
        assert self._unwritten is not None
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            if sent is not None and len(body) - size <= start > 0:
                await sent.end()
            if pace is not None and (seconds := pace.spend(len(piece))) > 0:
                assert self._waiter is not None
                await asyncio.wait({self._waiter}, timeout=seconds)  # a response ends this wait early
            elif start:
                await connection.turns.come()  # let the loop read a response that came before the end of the body
            if self.status or connection.error is not None:
                return False
            connection.write_body(piece)
            self._unwritten -= len(piece)
            if connection.is_write_paused:
                self._drained = connection.loop.create_future()
                try:
                    await self._drained
                finally:
                    self._drained = None
            if sent is not None:
                sent.bytes = start + len(piece)
        return True

    def end_drain(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._drained is not None:
            self.end_drain()

    # The response, for its reader

    async def read_chunk(self) -> bytes:
        """Return the bytes that have arrived since the last call, at least one; empty at the end. Safe to cancel."""
        connection = self._connection
        if connection is None:
            return b""
        if not await self._wait_for_body(connection):
            self.close()
            return b""
        chunks = connection.chunks
        chunk = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._counted = 0
        self.taken += len(chunk)
        chunks.clear()
        self._read_on(connection)
        return chunk

    async def read_into(self, memory: memoryview) -> int:
        """Receive straight into memory until it is full or the body ends. A cancellation closes the connection."""
        connection = self._connection
        if connection is None:
            return 0
        count = await self._fill(connection, memory)
        if count < len(memory) or self._has_no_more(connection):
            self.close()
        return count

    async def _fill(self, connection: Connection, memory: memoryview) -> int:
        position = 0
        try:
            while position < len(memory):
                if connection.chunks:
                    position += self._copy_into(connection, memory[position:])
                    continue
                # Only a rest of known length may bypass the parser: the bytes after it need the parser again.
                left = self.length - self._received
                if self._connection is not None and 0 < left <= len(memory) - position:
                    self.filling = memory[position : position + left]
                    connection.drop_parser()
                self.filled = 0
                self._read_on(connection)
                has_more = await self._wait_for_body(connection)
                self.filling = None
                position += self.filled
                if not has_more:
                    break
        except BaseException:
            if self.filling is not None:  # the socket must not be read into memory that its owner uses again
                connection.abort(ConnectionFailedError(f"{connection.origin}: the response was not read to its end"))
                self.filling = None
            raise
        return position

    async def _wait_for_body(self, connection: Connection) -> bool:
        """Wait for bytes, or for the end of the body. Return whether there are bytes."""
        while not connection.chunks or self._connection is None:
            if self._connection is None or self.phase == "complete":
                return False
            connection.raise_if_lost()
            self._waiter = connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def _has_no_more(self, connection: Connection) -> bool:
        return self._connection is None or (self.phase == "complete" and not connection.chunks)

    def _copy_into(self, connection: Connection, memory: memoryview) -> int:
        """Copy as many of the arrived bytes as fit. Return their number."""
        chunks, position = connection.chunks, 0
        while chunks and position < len(memory):
            chunk = chunks.pop(0)
            room = len(memory) - position
            if len(chunk) > room:
                chunks.insert(0, chunk[room:])
                chunk = chunk[:room]
            memory[position : position + len(chunk)] = chunk
            position += len(chunk)
        self.taken += position
        self._counted = len(chunks)
        return position

    def _read_on(self, connection: Connection) -> None:
        if self._received - self.taken < QUEUE_BYTES:
            connection.resume_reading()

    def close(self) -> None:
        """Release the connection. It is used again if there is no doubt about it, else closed. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave(self.phase == "complete" and self._sending == "sent" and self.keeps_alive)
            if self._waiter is not None:
                self.wake()

    # The response, for the connection

    @property
    def length(self) -> int:
        """The Content-Length, which the parser has checked; -1 without one."""
        return int(self.headers.get(b"content-length", -1))

    def begin(self, connection: Connection, parser: HttpResponseParser, headers: dict[bytes, bytes]) -> None:
        """Take the head of the response. Close the connection if it is wrong."""
        status, keeps_alive = parser.get_status_code(), parser.should_keep_alive()
        self.status, self.headers, self.phase = status, headers, "receiving"
        is_chunked = b"transfer-encoding" in headers
        self.is_until_eof = not is_chunked and b"content-length" not in headers
        if self.request.expect.is_head:
            # The parser does not know that a reply to a HEAD has no body, so do not ask it. A peer that announces chunks
            # may send them, against the rule: do not use that connection again.
            is_persistent = parser.get_http_version() == "1.1" and not is_chunked
            keeps_alive = is_persistent and b"close" not in headers.get(b"connection", b"").lower()
            self.phase, self._end = "complete", 0
        # A server in trouble (RFC 9110 section 15.6): a new connection may reach another one.
        self.keeps_alive = keeps_alive and status < 500  # noqa: PLR2004
        if 200 <= status < 300 and self._is_early(connection):  # noqa: PLR2004 - RFC 9110 section 15.3
            connection.give_up("answered with a success before it had all of the request", retryable=True)
        if self._drained is not None:  # the response stops the sending of the body
            self.end_drain()

    def _is_early(self, connection: Connection) -> bool:
        """Return whether the peer cannot have received the whole request yet.

        An answer arrives in a TCP segment that acknowledges what the peer read before. So the socket's queue holds nothing
        of the request when an honest answer arrives. A request that left in one write is not worth a system call: only
        ask whether the transport still holds some of it.
        """
        if self._unwritten is None:
            return connection.transport.get_write_buffer_size() > 0
        return self._unwritten > 0 or unsent(connection.transport) > 0

    def end(self, chunks: int) -> None:
        """Note that the response is complete. The first ``chunks`` of the connection's chunks are its body."""
        if self.phase == "receiving":
            self.phase, self._end = "complete", chunks

    def go_on(self, connection: Connection, nbytes: int) -> None:
        """Take the next bytes of an incomplete body."""
        arrived = self._count_chunks(connection.chunks)
        self._framing = 0 if arrived else self._framing + nbytes
        length = self.length
        if self._framing > MOST_FRAMING_BYTES:
            connection.give_up(f"sent over {MOST_FRAMING_BYTES:,} bytes of chunk framing without a byte of the body")
        elif self._is_to_be_streamed(length):
            if not self._is_streamed:
                self._is_streamed = True
                self.wake()
            elif arrived:
                self.wake()
            if self._received - self.taken >= QUEUE_BYTES:
                connection.pause_reading()
        elif max(self._received, length) > LONGEST_DOCUMENT_BYTES:
            connection.give_up(f"sent a document of over {LONGEST_DOCUMENT_BYTES:,} bytes")

    def _is_to_be_streamed(self, length: int) -> bool:
        start = self.request.expect.stream_from
        is_success = 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3
        return start is not None and is_success and (length < 0 or length > start)

    def _count_chunks(self, chunks: list[bytes]) -> int:
        """Join the bytes of the last read to one chunk: a peer may send chunks of one byte. Return their number."""
        new = chunks[self._counted :]
        if len(new) > 1:
            new = [b"".join(new)]
            chunks[self._counted :] = new
        self._counted = len(chunks)
        arrived = len(new[0]) if new else 0
        self._received += arrived
        return arrived

    def finish(self, connection: Connection) -> None:
        """Hand out a complete response."""
        chunks = connection.chunks
        if len(chunks) > self._end:  # the peer sent more than the response
            self.keeps_alive = False
            del chunks[self._end :]
        if self.request.expect.is_head:
            connection.drop_parser()
        if not self._is_streamed:
            self.content = chunks.pop() if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
        self.wake()

    # Straight into the reader's memory

    def fill(self, nbytes: int) -> None:
        """Note that this many bytes were read into the reader's memory."""
        assert self.filling is not None
        self.filled += nbytes
        self._received += nbytes
        self.taken += nbytes
        self._counted = 0
        if self.filled == len(self.filling):
            self.filling = None  # uvloop asks for the next buffer before the reader wakes, and refuses an empty one
            self.phase, self._end = "complete", 0
            self.wake()

    # Silence

    @property
    def bytes_received(self) -> int:
        return self._received

    def sweep(self, connection: Connection, seconds: float) -> None:
        """Give up a peer that is silent or too slow. Count only the time in which the exchange waits for the peer."""
        is_full = self._drained is not None
        is_sending = is_full or (not self.status and unsent(connection.transport) > 0)
        if self._waiter is None or not (is_full or self._sending != "sending"):
            return  # the owner is busy: it reads the body slowly, or makes the next piece
        judged: Literal["send", "receive", "answer"] = "send" if is_sending else "receive" if self.status else "answer"
        if judged != self._judged:
            self._judged, self._silent_seconds, self._window_seconds = judged, 0.0, 0.0
            self._window_start = self._position = self._position_of(connection, judged)
            return
        self._silent_seconds += seconds
        self._window_seconds += seconds
        position = self._position_of(connection, judged)
        if position != self._position:
            self._position, self._silent_seconds = position, 0.0
        self._judge(connection, judged, position)

    def _judge(self, connection: Connection, judged: str, position: int) -> None:
        timeouts = connection.timeouts
        window = timeouts.write if judged == "send" else timeouts.read
        if self._silent_seconds >= window:
            reason = f"took no byte of a body for {window:g} s" if judged == "send" else f"was silent for {window:g} s"
            connection.give_up(reason, retryable=True)
        elif judged != "answer" and self._window_seconds >= window:
            moved = position - self._window_start
            if moved < self.request.expect.low_speed * self._window_seconds:
                connection.give_up(
                    f"crawls: {moved:,} bytes of a body in {self._window_seconds:.1f} s, less than Timeouts.low_speed",
                    retryable=True,
                )
            self._window_start, self._window_seconds = position, 0.0

    def _position_of(self, connection: Connection, judged: str) -> int:
        """Return a figure that grows as the peer takes or sends bytes."""
        if judged == "send":
            return connection.written - unsent(connection.transport)
        return self._received if judged == "receive" else 0


def _head(request: Request) -> bytes:
    return f"{request.method} {request.target} HTTP/1.1\r\n{request.headers}\r\n".encode("latin-1")


def unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer has not acknowledged. The kernel may hold megabytes, minutes of work for a slow link."""
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return waiting
    return waiting + unsent_bytes(sock.fileno())
