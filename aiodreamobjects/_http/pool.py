"""The connections to one service: kept while they are good, retired on any doubt. Knows nothing of S3."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, addr_to_addr_infos, start_connection

from aiodreamobjects._concurrency import finish
from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError
from aiodreamobjects._http.connection import Connection, PooledResponse
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Request

IDLE_SECONDS = 12.0
"""Servers close idle connections after a while, some after 15 seconds; whoever closes first has no race to lose."""
AGE_SECONDS = 600.0
"""A connection that lives for ever never meets the hosts that were added to a service's name."""
HAPPY_EYEBALLS_SECONDS = 0.25
"""RFC 8305 section 8, "Connection Attempt Delay"."""
CLOSING_SECONDS = 2.0


class Pool:
    """The ``Transport`` over TCP: connections by their host, newest first. Each carries one request at a time, so that who
    sends decides how many there are.

    Made on the event loop that uses it. ``ssl_context`` where the service speaks https.
    """

    def __init__(self, *, timeouts: Timeouts, ssl_context: ssl.SSLContext | None, paces: Paces | None = None) -> None:
        self._timeouts, self._ssl_context, self._paces = timeouts, ssl_context, paces or Paces()
        self._scheme = "http" if ssl_context is None else "https"
        self._loop = asyncio.get_running_loop()
        self._idle: dict[str, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Timeout] = set()
        self._closed_by: Callable[[], DreamObjectsError] | None = None
        self._all_closed: asyncio.Future[None] | None = None
        self._sweep_seconds = min(1.0, max(0.05, min(timeouts.read, timeouts.write) / 8))
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def open_connections(self) -> int:
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        return sum(map(len, self._idle.values()))

    def bytes_moved(self) -> int:
        """Return a figure that changes as long as any connection sends or receives."""
        return sum(connection.bytes_moved for connection in self._open)

    async def send(self, request: Request) -> PooledResponse:
        if self._closed_by is not None:
            raise self._closed_by()
        connection = self._take(request.host)
        if connection is not None:
            try:
                return await connection.request(request)
            except ConnectionFailedError:
                if not (connection.went_stale and request.is_idempotent):
                    raise
        connection = await self._connect(request.host)
        if self._ssl_context is None and not connection.is_quiet:  # TLS has its session tickets to send
            connection.abort(
                ConnectionFailedError(f"{connection.origin} spoke before it was asked", request_sent=False)
            )
        return await connection.request(request)

    async def aclose(self, error: Callable[[], DreamObjectsError]) -> None:
        self._closed_by = error
        for connecting in self._connecting:
            if not connecting.expired():
                connecting.reschedule(self._loop.time())
        for connection in list(self._open):
            connection.abort(error())
        if self._open:
            self._all_closed = self._all_closed or self._loop.create_future()
            await finish(_within(CLOSING_SECONDS, self._all_closed))
        if self._sweeping is not None:
            self._sweeping.cancel()

    def abandon(self, error: Callable[[], DreamObjectsError]) -> None:
        self._closed_by = error
        for connection in list(self._open):
            with suppress(RuntimeError):  # the loop is closed; the transport closes its socket when it is collected
                connection.abort(error())
        if self._sweeping is not None:
            self._sweeping.cancel()

    # The connections' side

    def give_back(self, connection: Connection) -> None:
        if connection.age_seconds > AGE_SECONDS:
            connection.abort(ConnectionFailedError(f"{connection.origin}: the connection is retired"))
        else:
            self._idle[connection.host].append(connection)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.host, [])
        if connection in idle:
            idle.remove(connection)
        if not self._open and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)

    def _take(self, host: str) -> Connection | None:
        idle = self._idle.get(host)
        while idle:
            connection = idle.pop()
            if connection.is_quiet:
                return connection
            connection.abort(ConnectionFailedError(f"{connection.origin}: the connection went stale"))
        return None

    async def _connect(self, host: str) -> Connection:
        origin = f"{self._scheme}://{host}"
        with self._connection_errors(origin):
            async with asyncio.timeout(self._timeouts.connect) as connecting:
                self._connecting.add(connecting)
                try:
                    connection = await self._open_connection(host, origin)
                finally:
                    self._connecting.discard(connecting)
        if self._closed_by is not None:
            connection.abort(self._closed_by())
            raise self._closed_by()
        self._idle.setdefault(host, [])
        if connection.error is None:
            self._open.add(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep)
        return connection

    async def _open_connection(self, host: str, origin: str) -> Connection:
        """By whichever of the host's addresses answers first."""
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", parts.port or (80 if self._ssl_context is None else 443)
        sock = await start_connection(await self._resolve(name, port), happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS)
        transport, connection = await self._loop.create_connection(
            lambda: Connection(host, origin, self, self._timeouts, self._paces, self._loop), sock=sock
        )
        if self._ssl_context is not None:
            if connection.error is not None and not connection.went_stale:
                msg = f"{origin}: TLS failed, is this a plain http port? It speaks first"
                raise ConnectionFailedError(msg, retryable=False, request_sent=False)
            if connection.error is not None or transport.is_closing():
                msg = f"{origin}: connection failed: the peer closed it before the TLS handshake"
                raise ConnectionFailedError(msg, request_sent=False)
            try:
                secured = await self._loop.start_tls(transport, connection, self._ssl_context, server_hostname=name)
            except BaseException:
                transport.abort()  # without a farewell, for which asyncio would wait
                raise
            connection.connection_made(cast(asyncio.Transport, secured))
        return connection

    async def _resolve(self, name: str, port: int) -> Sequence[AddrInfoType]:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return await self._loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        return addr_to_addr_infos((name, port)) or ()

    def _sweep(self) -> None:
        """One timer for all: time passes for every connection."""
        self._sweeping = None
        for connection in list(self._open):
            connection.sweep(self._sweep_seconds)
            if connection.idle_seconds > IDLE_SECONDS:
                connection.abort(ConnectionFailedError(f"{connection.origin}: the connection was idle"))
        if self._open:
            self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep)

    @contextmanager
    def _connection_errors(self, origin: str) -> Iterator[None]:
        """What can go wrong before there is a connection, in our words."""
        try:
            yield
        except ConnectionFailedError:
            raise
        except TimeoutError as error:
            if self._closed_by is not None:
                raise self._closed_by() from error
            msg = f"{origin} did not connect within {self._timeouts.connect:g} s"
            raise ConnectionFailedError(msg, request_sent=False) from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            msg = f"{origin}: connection failed: the peer closed it during the TLS handshake"
            raise ConnectionFailedError(msg, request_sent=False) from error
        except ssl.SSLCertVerificationError as error:
            msg = f"{origin}: its certificate cannot be trusted: {error.verify_message}"
            raise ConnectionFailedError(msg, retryable=False, request_sent=False) from error
        except ssl.SSLError as error:
            msg = f"{origin}: TLS failed, is this a plain http port? {error.reason or error}"
            raise ConnectionFailedError(msg, retryable=False, request_sent=False) from error
        except (socket.gaierror, UnicodeError) as error:
            may_recover = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            msg = f"{origin}: the host name is unknown: {error}"
            raise ConnectionFailedError(msg, retryable=may_recover, request_sent=False) from error
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
            msg = f"{origin}: connection failed: {reason}"
            raise ConnectionFailedError(msg, request_sent=False) from error


async def _within(seconds: float, future: asyncio.Future[None]) -> None:
    await asyncio.wait({future}, timeout=seconds)
