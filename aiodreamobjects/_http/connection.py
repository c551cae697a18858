"""One HTTP/1.1 connection: an asyncio protocol over httptools' parser. Knows nothing of S3.

A connection carries one request at a time. Whatever is doubtful about a response, or about what comes after it, closes
the connection: no byte of it can then be taken for the answer to another request.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError, IncompleteBodyError
from aiodreamobjects._http.exchange import Exchange, unsent
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Request

RECEIVE_BYTES = 64 << 10
"""Read from the socket at once."""
TLS_RECEIVE_BYTES = 256 << 10
"""What asyncio decrypts at once: what does not fit is read in a later turn, and lost if the peer has closed by then."""
PIECE_BYTES = 256 << 10
"""Written to the transport at once."""
PACED_BYTES = 16 << 10
"""Read or written at once where bandwidth is limited."""
LONGEST_HEAD_BYTES = 64 << 10
MOST_INTERIM_RESPONSES = 16


class Owner(Protocol):
    """Who made the connection, and hears when it can be used again and when it is gone."""

    def give_back(self, connection: Connection) -> None: ...
    def forget(self, connection: Connection) -> None: ...


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
        self.timeouts, self.paces, self.loop = timeouts, paces, loop
        self.error: DreamObjectsError | None = None
        self.idle_seconds = self.age_seconds = 0.0
        self.went_stale = False
        """Whether the peer closed it before the first byte of a response."""
        self.transport: asyncio.Transport
        self.piece_bytes = PIECE_BYTES if paces.sending is None else PACED_BYTES
        self.written = 0
        """Bytes of bodies."""
        self.is_write_paused = False
        self.chunks: list[bytes] = []
        """The part of the body that has arrived and was not read yet."""
        self._owner = owner
        self._poll: select.poll | None = None
        self._view = memoryview(b"")
        self._is_tls = False
        # The parser's callbacks: two of them are methods of containers, which spares a Python call each.
        self._raw_headers: dict[bytes, bytes] = {}
        self.on_header: Callable[[bytes, bytes], None] = self._raw_headers.__setitem__
        self.on_body: Callable[[bytes], None] = self.chunks.append
        self._parser: HttpResponseParser | None = None
        self._exchange: Exchange | None = None
        self._head_bytes = self._interim = 0
        self._hold: asyncio.TimerHandle | None = None
        """Ends the time for which nothing is read, since the session's bandwidth is used up."""
        self._is_read_paused = False

    # Its user's side

    def request(self, request: Request) -> Awaitable[Exchange]:
        """Send a request, and receive the response. See ``Exchange.run``."""
        self._exchange = exchange = Exchange(self, request)
        self._head_bytes = self._interim = 0
        self._raw_headers.clear()
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        return exchange.run()

    def abort(self, error: DreamObjectsError) -> None:
        """Close at once; who waits gets the error."""
        if self.error is None:
            self.error = error
            exchange = self._exchange
            if exchange is not None:
                exchange.filling = None
            self.transport.abort()
            if exchange is not None:
                exchange.wake()

    @property
    def bytes_moved(self) -> int:
        """A figure that changes as long as it sends or receives."""
        received = self._exchange.bytes_received if self._exchange is not None else 0
        return self.written + received - (unsent(self.transport) if self.error is None else 0)

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is still good: neither closed by the peer nor with anything to say."""
        if self.error is not None or self.transport.is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)

    def sweep(self, seconds: float) -> None:
        """So much time has passed: give up a peer that is silent or crawls. Only waiting for it counts."""
        self.age_seconds += seconds
        if self._exchange is None:
            self.idle_seconds += seconds
        elif self._hold is None:
            self._exchange.sweep(self, seconds)

    # The exchange's side

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
        """What follows of this response is none of the parser's. The next request gets a new one."""
        self._parser = None

    def leave(self, is_clean: bool) -> None:  # noqa: FBT001 - called for each request
        """End the exchange. The connection is used again if nothing is doubtful."""
        self._exchange = None
        self.chunks.clear()
        if is_clean and self.error is None and not self.transport.get_write_buffer_size():
            if self._is_read_paused:
                self.resume_reading()
            self.idle_seconds = 0.0
            self._owner.give_back(self)
        else:
            self.abort(ConnectionFailedError(f"{self.origin}: the response was left"))

    def give_up(self, reason: str, *, retryable: bool = False) -> None:
        self.abort(ConnectionFailedError(f"{self.origin} {reason}", retryable=retryable))

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._view = memoryview(bytearray(TLS_RECEIVE_BYTES if self._is_tls else RECEIVE_BYTES))
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0 and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
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
        memory, exchange = self._view, self._exchange
        if exchange is not None and exchange.filling is not None:
            memory = exchange.filling[exchange.filled :]
        # Of TLS, all that is decrypted is taken at once: asyncio throws away the rest if the peer has closed by then.
        return memory if self.paces.receiving is None or self._is_tls else memory[:PACED_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        if self.paces.receiving is not None:
            self._hold_back(self.paces.receiving.spend(nbytes))
        exchange, parser = self._exchange, self._parser
        if exchange is not None and exchange.filling is not None:
            exchange.fill(nbytes)
            return
        if exchange is None or parser is None or exchange.phase == "complete":
            self.abort(ConnectionFailedError(f"{self.origin} sent bytes that nobody asked for"))
            return
        if exchange.phase == "waiting":
            exchange.phase = "answering"
        try:
            parser.feed_data(self._view[:nbytes])
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
                self.give_up(f"sends a head of over {LONGEST_HEAD_BYTES:,} bytes")
            elif self._interim > MOST_INTERIM_RESPONSES:
                self.give_up(f"sends over {MOST_INTERIM_RESPONSES} interim responses")

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """Give up: what arrived is not HTTP. A response that was complete before that is still good."""
        self._parser = None
        if exchange.phase == "complete":
            exchange.keeps_alive = False
            exchange.finish(self)
        elif exchange.phase == "receiving":
            self.abort(IncompleteBodyError(f"{self.origin} broke a body off: {error}"))
        else:
            self.give_up(f"does not answer in HTTP: {error}")

    def _hold_back(self, seconds: float) -> None:
        """Read no more for so long: the session's bandwidth is used up."""
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

    # The parser's side

    def on_message_begin(self) -> None:
        self._raw_headers.clear()  # what trailed an interim response is no header of this one
        if self._exchange is not None and self._exchange.phase == "complete":  # what follows was not asked for
            self._exchange.keeps_alive = False

    def on_headers_complete(self) -> None:
        exchange, parser = self._exchange, self._parser
        assert exchange is not None
        assert parser is not None
        # The parser keeps blanks behind a value, which are no part of it (RFC 9110 section 5.5).
        headers = {name.lower(): value.strip() for name, value in self._raw_headers.items()}
        self._raw_headers.clear()
        if parser.get_status_code() < 200:  # noqa: PLR2004 - interim responses (RFC 9110 section 15.2)
            self._interim += 1
        elif not exchange.status:
            self.chunks.clear()  # an interim response has no body; what came as one is none of ours
            exchange.begin(self, parser, headers)

    def on_message_complete(self) -> None:
        if self._exchange is not None:
            self._exchange.end(len(self.chunks))
