"""The connections to one service: kept while they are good, closed on any doubt. Knows nothing of S3."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from aiohappyeyeballs import AddrInfoType, addr_to_addr_infos, start_connection

from aiodreamobjects._concurrency import finish, naming_lack_of_threads
from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError
from aiodreamobjects._http.connection import RECEIVE_BYTES, TLS_RECEIVE_BYTES, Connection
from aiodreamobjects._http.exchange import Exchange
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.proxy import PORTS, ForwardingConnection, Proxy, Tunnel, join_host, split_host
from aiodreamobjects._http.transport import Request
from aiodreamobjects._http.turns import Turns

if TYPE_CHECKING:
    from aiodreamobjects._trace import Watch

IDLE_SECONDS = 12.0
"""Close an idle connection before the server does (some do after 15 seconds): a request would race against that."""
AGE_SECONDS = 600.0
"""Close an old connection, so that new ones reach hosts that were added to the service's name."""
HAPPY_EYEBALLS_SECONDS = 0.25
"""RFC 8305 section 8, "Connection Attempt Delay"."""
CLOSING_SECONDS = 2.0


_log = logging.getLogger("aiodreamobjects.pool")


class Pool:
    """The ``Transport`` over TCP. It uses the newest idle connection to a host, or opens another one.

    Each connection carries one request at a time, so the callers decide how many connections there are. Make the pool on
    the event loop that uses it. ``ssl_context`` is for an https service, ``proxy_ssl_context`` for an https proxy.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts,
        ssl_context: ssl.SSLContext | None,
        paces: Paces | None = None,
        proxy: Proxy | None = None,
        proxy_ssl_context: ssl.SSLContext | None = None,
        watch: Watch | None = None,
    ) -> None:
        if proxy is not None and proxy.is_tls and proxy_ssl_context is None:
            msg = "an https:// proxy needs proxy_ssl_context"
            raise ValueError(msg)
        self._timeouts, self._ssl_context, self._paces = timeouts, ssl_context, paces or Paces()
        self._proxy = proxy
        self._proxy_ssl_context = proxy_ssl_context if proxy is not None and proxy.is_tls else None
        self._scheme = "http" if ssl_context is None else "https"
        self._is_tls = ssl_context is not None or self._proxy_ssl_context is not None
        self._loop = asyncio.get_running_loop()
        self.turns = Turns(self._loop)
        self.memory = memoryview(bytearray(TLS_RECEIVE_BYTES if self._is_tls else RECEIVE_BYTES))
        self._idle: dict[str, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Timeout] = set()
        self._closed_by: Callable[[], DreamObjectsError] | None = None
        self._all_closed: asyncio.Future[None] | None = None
        self._sweep_seconds = min(1.0, max(0.05, min(timeouts.read, timeouts.write) / 8))
        self._sweeping: asyncio.TimerHandle | None = None
        self._watch = watch
        self.waited = 0.0
        """The seconds that all requests waited for a new connection."""

    @property
    def open_connections(self) -> int:
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        return sum(map(len, self._idle.values()))

    def bytes_moved(self) -> int:
        """Return a figure that changes while any connection sends or receives."""
        return sum(connection.bytes_moved for connection in self._open)

    async def send(self, request: Request) -> Exchange:
        if self._closed_by is not None:
            raise self._closed_by()
        connection = self._take(request.host)
        if connection is not None:
            try:
                return await connection.request(request)
            except ConnectionFailedError:
                # The server may have closed the idle connection just now: then a new one is worth a try.
                if not (connection.went_stale and request.is_idempotent):
                    raise
        reason = "no connection was idle" if connection is None else "the idle connection was closed"
        connection = await self._connect_for(request, reason)
        if not self._is_tls and not connection.is_quiet:  # under TLS, a server sends session tickets first
            msg = f"{connection.origin} sent bytes before the first request"
            connection.abort(ConnectionFailedError(msg, request_sent=False))
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

    # For the connections

    def give_back(self, connection: Connection) -> None:
        if connection.age_seconds > AGE_SECONDS:
            connection.abort(ConnectionFailedError(f"{connection.origin}: the connection is too old"))
        else:
            self._idle[connection.host].append(connection)

    def forget(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            seconds = self._loop.time() - connection.opened
            _log.debug("%s: connection closed after %.3f s: %s", connection.origin, seconds, connection.error)
            if self._watch is not None:
                self._watch.closed(connection.host, max(0, connection.requests - 1), str(connection.error), seconds)
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

    async def _connect_for(self, request: Request, reason: str) -> Connection:
        """Open a connection. Count and tell how long that takes."""
        began = self._loop.time()
        try:
            connection = await self._connect(request.host)
        finally:
            seconds = self._loop.time() - began
            self.waited += seconds
            if request.waits is not None:
                request.waits.waited_connection += seconds
        _log.debug("%s: connected in %.3f s", connection.origin, seconds)
        if self._watch is not None:
            self._watch.opened(request.host, reason, seconds)
        return connection

    async def _connect(self, host: str) -> Connection:
        origin = f"{self._scheme}://{host}"
        try:
            async with asyncio.timeout(self._timeouts.connect) as connecting:
                self._connecting.add(connecting)
                try:
                    with _connection_errors(origin):
                        connection = await self._open_connection(host, origin)
                finally:
                    self._connecting.discard(connecting)
        except TimeoutError as error:
            if self._closed_by is not None:
                raise self._closed_by() from error
            way = "" if self._proxy is None else f" through the proxy {self._proxy.address}"
            msg = f"{origin} did not connect within {self._timeouts.connect:g} s{way}"
            raise ConnectionFailedError(msg, request_sent=False) from error
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
        name, port = split_host(host, PORTS[self._scheme])
        if self._proxy is None:
            connection = Connection(host, origin, self, self._timeouts, self._paces, self._loop)
            await self._join(connection, name, port, self._ssl_context, origin)
            return connection
        peer = f"{origin}: the proxy {self._proxy.address}"
        with _connection_errors(peer, failure=" cannot be reached"):
            if self._ssl_context is None:
                return await self._open_forwarding(self._proxy, host, origin, peer)
            transport = await self._open_tunnel(self._proxy, join_host(name, port), peer)
        connection = Connection(host, origin, self, self._timeouts, self._paces, self._loop)
        connection.connection_made(transport)
        secured = await self._start_tls(transport, connection, self._ssl_context, name, origin)
        connection.connection_made(secured)
        return connection

    async def _open_forwarding(self, proxy: Proxy, host: str, origin: str, peer: str) -> Connection:
        """Connect to a proxy that forwards requests."""
        connection = ForwardingConnection(proxy, host, origin, self, self._timeouts, self._paces, self._loop)
        await self._join(connection, proxy.host, proxy.port, self._proxy_ssl_context, peer)
        return connection

    async def _open_tunnel(self, proxy: Proxy, authority: str, peer: str) -> asyncio.Transport:
        """Connect to a proxy, and have it connect to a host. Return the transport, on which TLS with the host can begin."""
        tunnel = Tunnel(peer, self._loop)
        transport = await self._dial(tunnel, proxy.host, proxy.port)
        try:
            if self._proxy_ssl_context is not None:
                transport = await self._start_tls(transport, tunnel, self._proxy_ssl_context, proxy.host, peer)
            await tunnel.open(transport, authority, proxy)
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _join(
        self, connection: Connection, name: str, port: int, context: ssl.SSLContext | None, peer: str
    ) -> None:
        """Connect to a host or a proxy, over TLS if there is a context."""
        transport = await self._dial(connection, name, port)
        if context is not None:
            connection.connection_made(await self._start_tls(transport, connection, context, name, peer))

    async def _dial(self, protocol: Connection | Tunnel, name: str, port: int) -> asyncio.Transport:
        """Connect to the address that answers first."""
        sock = await start_connection(await self._resolve(name, port), happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS)
        transport, _ = await self._loop.create_connection(lambda: protocol, sock=sock)
        return transport

    async def _start_tls(
        self,
        transport: asyncio.Transport,
        protocol: Connection | Tunnel,
        context: ssl.SSLContext,
        name: str,
        peer: str,
    ) -> asyncio.Transport:
        if _has_spoken(protocol):
            msg = f"{peer}: TLS failed, is this a plain http port? It sent bytes before the handshake"
            raise ConnectionFailedError(msg, retryable=False, request_sent=False)
        if transport.is_closing():
            msg = f"{peer}: connection failed: the peer closed it before the TLS handshake"
            raise ConnectionFailedError(msg, request_sent=False)
        try:
            secured = await self._loop.start_tls(transport, protocol, context, server_hostname=name)
        except BaseException as error:
            transport.abort()  # close() would wait for TLS to shut down
            if isinstance(error, TypeError | AttributeError) and isinstance(error.__context__, ssl.SSLError):
                # Before 3.11.8 and 3.12.2, asyncio hides a failed handshake inside TLS by an error of its own (cpython#113214).
                raise error.__context__ from None
            raise
        return cast(asyncio.Transport, secured)

    async def _resolve(self, name: str, port: int) -> Sequence[AddrInfoType]:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            with naming_lack_of_threads():
                return await self._loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        return addr_to_addr_infos((name, port)) or ()

    def _sweep(self) -> None:
        """Count the time for every connection. One timer serves them all."""
        self._sweeping = None
        self.turns.are_taken = False
        for connection in list(self._open):
            connection.sweep(self._sweep_seconds)
            if connection.idle_seconds > IDLE_SECONDS:
                connection.abort(ConnectionFailedError(f"{connection.origin}: the connection was idle"))
        if self._open:
            self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep)


_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
"""OpenSSL's codes for a self-signed certificate, for one in the chain, and for an issuer that is not known."""


@contextmanager
def _connection_errors(peer: str, failure: str = ": connection failed") -> Iterator[None]:
    """Turn the errors of connecting into ConnectionFailedError. All of them say that no request was sent."""
    try:
        yield
    except (ConnectionFailedError, TimeoutError):
        raise
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        msg = f"{peer}: connection failed: the peer closed it during the TLS handshake"
        raise ConnectionFailedError(msg, request_sent=False) from error
    except ssl.SSLCertVerificationError as error:
        msg = f"{peer}: its certificate cannot be trusted: {error.verify_message}"
        if error.verify_code in _UNKNOWN_AUTHORITY:
            msg += "; ca= trusts a private authority"
        raise ConnectionFailedError(msg, retryable=False, request_sent=False) from error
    except ssl.SSLError as error:
        msg = f"{peer}: TLS failed, is this a plain http port? {error.reason or error}"
        raise ConnectionFailedError(msg, retryable=False, request_sent=False) from error
    except (socket.gaierror, UnicodeError) as error:
        may_recover = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        msg = f"{peer}: the host name is unknown: {error}"
        raise ConnectionFailedError(msg, retryable=may_recover, request_sent=False) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        msg = f"{peer}{failure}: {reason}"
        raise ConnectionFailedError(msg, request_sent=False) from error


def _has_spoken(protocol: Connection | Tunnel) -> bool:
    """Return whether the peer sent bytes before anything was sent to it."""
    if isinstance(protocol, Tunnel):
        return protocol.has_received
    return protocol.error is not None and not protocol.went_stale


async def _within(seconds: float, future: asyncio.Future[None]) -> None:
    await asyncio.wait({future}, timeout=seconds)
