"""One HTTP/1.1 connection: an asyncio protocol over httptools' parser. It knows nothing of S3.

A connection carries one request at a time. Any doubt about a response, or about the bytes after it, closes the
connection. So no byte of one response can pass for the answer to another request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError, IncompleteBodyError
from aiodreamobjects._http.exchange import Exchange, unsent
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Request
from aiodreamobjects._http.turns import TURN_BYTES, Turns
from aiodreamobjects._system import poll_of

RECEIVE_BYTES = 64 << 10
"""The most bytes to read from the socket at once."""
TLS_RECEIVE_BYTES = 256 << 10
"""The most bytes that asyncio decrypts at once. It reads the rest in a later turn, and loses it if the peer has closed."""
PIECE_BYTES = 256 << 10
"""The most bytes to write to the transport at once."""
PACED_BYTES = 16 << 10
"""The most bytes to read or write at once under a limit of bandwidth."""
LONGEST_HEAD_BYTES = 64 << 10
MOST_INTERIM_RESPONSES = 16


class Owner(Protocol):
    """Made the connection. Takes it back when it can be used again, and forgets it when it is closed."""

    turns: Turns
    memory: memoryview
    """What is received goes here, unless a body has memory of its own. It is parsed before any connection receives more."""

    def give_back(self, connection: Connection) -> None: ...
    def forget(self, connection: Connection) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """One connection to a host. ``error`` says why it can no longer be used, and is ``None`` while it can."""

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
        self.timeouts, self.paces, self.turns, self.loop = timeouts, paces, owner.turns, loop
        self.error: DreamObjectsError | None = None
        self.idle_seconds = self.age_seconds = 0.0
        self.went_stale = False
        """Whether the peer closed the connection before the first byte of a response."""
        self.transport: asyncio.Transport
        self.piece_bytes = PIECE_BYTES if paces.sending is None else PACED_BYTES
        self.opened = loop.time()
        self.requests = 0
        """How many requests it has carried."""
        self.written = 0
        """The bytes of bodies that were written to the transport."""
        self.is_write_paused = False
        self.chunks: list[bytes] = []
        """The bytes of the body that have arrived but were not read yet."""
        self._owner = owner
        self._poll: Callable[[int], object] | None = None
        self._memory = owner.memory
        self._is_tls = False
        # The parser's callbacks. Two of them are methods of containers: that saves a Python call for each header and chunk.
        self._raw_headers: dict[bytes, bytes] = {}
        self.on_header: Callable[[bytes, bytes], None] = self._raw_headers.__setitem__
        self.on_body: Callable[[bytes], None] = self.chunks.append
        self._parser: HttpResponseParser | None = None
        self._exchange: Exchange | None = None
        self._head_bytes = self._interim = 0
        self._hold: asyncio.TimerHandle | None = None
        """Resumes reading after the session's bandwidth was used up."""
        self._is_read_paused = False

    # For the pool

    def request(self, request: Request) -> Awaitable[Exchange]:
        """Send a request and receive the response. See ``Exchange.run``."""
        self._exchange = exchange = Exchange(self, request)
        self.requests += 1
        self._head_bytes = self._interim = 0
        self._raw_headers.clear()
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        return exchange.run()

    def abort(self, error: DreamObjectsError) -> None:
        """Close at once. A task that waits for the response gets the error."""
        if self.error is None:
            self.error = error
            exchange = self._exchange
            if exchange is not None:
                exchange.filling = None  # the reader may use its memory for something else from now on
            self.transport.abort()
            if exchange is not None:
                exchange.wake()

    @property
    def bytes_moved(self) -> int:
        """A figure that changes while the connection sends or receives."""
        received = self._exchange.bytes_received if self._exchange is not None else 0
        return self.written + received - (unsent(self.transport) if self.error is None else 0)

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is still good: the peer has neither closed it nor sent anything."""
        if self.error is not None or self.transport.is_closing():
            return False
        return self._poll is None or not self._poll(0)

    def sweep(self, seconds: float) -> None:
        """Count the time that has passed. Give up a peer that is silent or too slow while the exchange waits for it."""
        self.age_seconds += seconds
        if self._exchange is None:
            self.idle_seconds += seconds
        elif self._hold is None:
            self._exchange.sweep(self, seconds)

    # For the exchange

    def raise_if_lost(self) -> None:
        if self.error is not None:
            raise self.error

    def write_body(self, piece: memoryview) -> None:
        self.transport.write(piece)
        self.written += len(piece)

    def pause_reading(self) -> None:
        """Stop reading the socket: the reader of the body is slower than the peer."""
        if not self._is_read_paused:
            self._is_read_paused = True
            if self._hold is None:
                self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_read_paused and self.error is None:
            self._is_read_paused = False
            if self._hold is None:
                self.transport.resume_reading()

    def drop_parser(self) -> None:
        """Keep the rest of this response from the parser. The next request gets a new one."""
        self._parser = None

    def leave(self, is_clean: bool) -> None:  # noqa: FBT001 - called for each request
        """End the exchange. Give the connection back if there is no doubt about it, else close it."""
        self._exchange = None
        self.chunks.clear()
        if is_clean and self.error is None and not self.transport.get_write_buffer_size():
            if self._is_read_paused:
                self.resume_reading()
            self.idle_seconds = 0.0
            self._owner.give_back(self)
        else:
            self.abort(ConnectionFailedError(f"{self.origin}: the response was not read to its end"))

    def give_up(self, reason: str, *, retryable: bool = False) -> None:
        self.abort(ConnectionFailedError(f"{self.origin} {reason}", retryable=retryable))

    # For the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            self._poll = poll_of(sock.fileno())

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
        # The end of the connection may end a body without a length. Not under TLS, where anybody could cut it off.
        is_ended_by_peer = self.error is None and exc is None and not self._is_tls
        if exchange is not None and exchange.is_until_eof and is_ended_by_peer and exchange.phase == "receiving":
            exchange.keeps_alive = False
            exchange.end(len(self.chunks))
            exchange.finish(self)
        if self.error is None:
            self.error = self._lost(exc)
            self.went_stale = exchange is None or exchange.phase == "waiting"
        self._parser = None
        if self._hold is not None:
            self._hold.cancel()
        if exchange is not None:
            exchange.wake()
        self._owner.forget(self)

    def _lost(self, exc: Exception | None) -> DreamObjectsError:
        if self._exchange is not None and self._exchange.status:
            error: DreamObjectsError = IncompleteBodyError(f"{self.origin} ended a body early")
        else:
            number = exc.errno if isinstance(exc, OSError) else None
            reason = os.strerror(number) if number else str(exc) if exc else "the peer closed it"
            error = ConnectionFailedError(f"{self.origin}: connection failed: {reason}")
        error.__cause__ = exc
        return error

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        memory, exchange = self._memory, self._exchange
        if exchange is not None and exchange.filling is not None:
            memory = exchange.filling[exchange.filled :]
            if self.turns.are_taken:
                memory = memory[:TURN_BYTES]
        # Under TLS, take all decrypted bytes at once: asyncio drops the rest if the peer has closed by then.
        return memory if self.paces.receiving is None or self._is_tls else memory[:PACED_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        if self.paces.receiving is not None:
            self._hold_back(self.paces.receiving.spend(nbytes))
        exchange, parser = self._exchange, self._parser
        if exchange is not None and exchange.filling is not None:
            exchange.fill(nbytes)
            if (
                self.turns.are_taken
                and exchange.filling is not None
                and self._hold is None
                and not self._is_read_paused
            ):
                self._is_read_paused = True
                self.transport.pause_reading()
                self.turns.wait(self.resume_reading)
            return
        if exchange is None or parser is None or exchange.phase == "complete":
            self.abort(ConnectionFailedError(f"{self.origin} sent bytes that answer no request"))
            return
        if exchange.phase == "waiting":
            exchange.phase = "answering"
        try:
            parser.feed_data(self._memory[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            self._refuse(exchange, error)
            return
        if self.error is not None:
            return
        if exchange.phase == "complete":  # type: ignore[comparison-overlap]  # the parser has changed it
            exchange.finish(self)
        elif exchange.phase == "receiving":
            exchange.go_on(self, nbytes)
        else:
            self._head_bytes += nbytes
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self.give_up(f"sent a head of over {LONGEST_HEAD_BYTES:,} bytes")
            elif self._interim > MOST_INTERIM_RESPONSES:
                self.give_up(f"sent over {MOST_INTERIM_RESPONSES} interim responses")

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """Give up after bytes that are not HTTP. A response that was complete before them is still good."""
        self._parser = None
        if exchange.phase == "complete":
            exchange.keeps_alive = False
            exchange.finish(self)
        elif exchange.phase == "receiving":
            self.abort(IncompleteBodyError(f"{self.origin} sent a body that is not valid HTTP: {error}"))
        else:
            self.give_up(f"does not answer in HTTP: {error}")

    def _hold_back(self, seconds: float) -> None:
        """Stop reading for these seconds, since the session's bandwidth is used up."""
        if seconds > 0 and self._hold is None and self.error is None:
            self._hold = self.loop.call_later(seconds, self._end_hold)
            if not self._is_read_paused:
                self.transport.pause_reading()

    def _end_hold(self) -> None:
        self._hold = None
        if not self._is_read_paused and self.error is None:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self._exchange is not None:
            self._exchange.end_drain()

    # For the parser

    def on_message_begin(self) -> None:
        self._raw_headers.clear()  # trailers of an interim response are not headers of this one
        if self._exchange is not None and self._exchange.phase == "complete":  # a second response to one request
            self._exchange.keeps_alive = False

    def on_headers_complete(self) -> None:
        exchange, parser = self._exchange, self._parser
        assert exchange is not None
        assert parser is not None
        # The parser keeps blanks after a value, but they do not belong to it (RFC 9110 section 5.5).
        headers = {name.lower(): value.strip() for name, value in self._raw_headers.items()}
        self._raw_headers.clear()
        if parser.get_status_code() < 200:  # noqa: PLR2004 - interim responses (RFC 9110 section 15.2)
            self._interim += 1
        elif not exchange.status:
            self.chunks.clear()  # an interim response has no body: drop what came as one
            exchange.begin(self, parser, headers)

    def on_message_complete(self) -> None:
        if self._exchange is not None:
            self._exchange.end(len(self.chunks))
