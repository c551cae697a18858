"""HTTP to one service, on aiohttp. Knows nothing of S3.

No redirect is followed, so no header ever reaches another host. Silence and crawling bodies, both ways, end in
ConnectionFailedError; so does everything else that goes wrong below HTTP.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp import http_exceptions
from aiohttp.connector import Connection
from yarl import URL

from aiodreamobjects._concurrency import BytePace
from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, IncompleteBodyError
from aiodreamobjects._http.connection import unsent
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._progress import Gauge

CHUNK_BYTES = 256 << 10
PACED_BYTES = 16 << 10
"""Sent or received at once where bandwidth is limited."""
KEEPALIVE_SECONDS = 12.0
LONGEST_DOCUMENT_BYTES = 8 << 20
"""A page of a listing has a few MiB where every key is as long as can be."""

Buffer = bytes | bytearray | memoryview
Response = aiohttp.ClientResponse
Proxy = URL


class HttpClient:
    """A pool of ``width`` connections. Make it on the event loop that uses it, and close it there."""

    def __init__(self, *, width: int, timeouts: Timeouts, ssl_context: ssl.SSLContext, paces: Paces) -> None:
        self._timeouts, self._paces = timeouts, paces
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._bytes_sent = 0
        connector = _Connector(
            limit=width,
            ssl=ssl_context,
            keepalive_timeout=KEEPALIVE_SECONDS,
            socket_factory=self._make_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(connect=timeouts.connect, sock_read=timeouts.read),
            auto_decompress=False,
            skip_auto_headers=("Content-Type", "User-Agent", "Accept"),
            read_bufsize=CHUNK_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
        )
        # aiohttp would send an idempotent request again by itself when its connection breaks. Whoever counts attempts
        # must know: a second "create only if absent" is refused because the first one succeeded.
        self._session._retry_connection = False  # noqa: SLF001 - there is no public way; tests/test_retry.py pins it

    def bytes_moved(self) -> int:
        """Return a figure that grows as long as any body is sent."""
        return self._bytes_sent

    def abandon(self) -> None:
        """Close every connection as far as that can be done without waiting, also when the event loop is gone."""
        connector = self._session.connector
        self._session.detach()  # or it would warn in its own name
        if isinstance(connector, _Connector):
            connector.abandon()

    @property
    def open_connections(self) -> int:
        return sum(sock.fileno() != -1 for sock in self._sockets)

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | bytearray | AsyncIterable[bytes],
        *,
        proxy: Proxy | None = None,
        sent: Gauge | None = None,
    ) -> Response:
        """The response, its head received. The caller reads the body to its end, or closes the response.

        ``headers`` name the body's Content-Length: aiohttp would send it in chunks, which S3 refuses. ``sent`` tells
        how much of the body is on its way. A success that comes before the end of the body is ConnectionFailedError.
        """
        writing = asyncio.timeout(None)
        cut_bytes = CHUNK_BYTES if self._paces.sending is None else PACED_BYTES
        chunks: AsyncIterable[Buffer] = _cut(body, cut_bytes) if isinstance(body, bytes | bytearray) else body
        size = len(body) if isinstance(body, bytes | bytearray) else int(headers.get("content-length", 0))
        asked = Gauge()
        with connection_errors(url, self._timeouts):
            async with writing:
                response = await self._session.request(
                    method,
                    URL(url, encoded=True),
                    headers={**headers, "Accept-Encoding": "identity"},
                    data=self._paced(chunks, writing, sent or Gauge(), asked) if body else None,
                    proxy=proxy,
                    allow_redirects=False,
                )
        if body and HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            assert isinstance(response, _Response)
            if response.was_early or asked.bytes < size:
                response.abort()
                msg = f"{response.url.origin()} answered with a success before it had all of the request"
                raise ConnectionFailedError(msg)
        return response

    async def aclose(self) -> None:
        await self._session.close()

    async def _paced(
        self, chunks: AsyncIterable[Buffer], writing: asyncio.Timeout, sent: Gauge, asked: Gauge
    ) -> AsyncIterator[Buffer]:
        """The body, cut off when the peer takes nothing for ``write`` seconds, or only crawls.

        ``asked`` tells how much of it aiohttp has asked for.
        """
        loop = asyncio.get_running_loop()
        guard = LowSpeedGuard(self._timeouts.write, self._timeouts.low_speed)
        sent.bytes = 0
        async for chunk in chunks:
            if self._paces.sending is not None:
                writing.reschedule(None)
                await asyncio.sleep(self._paces.sending.spend(len(chunk)))
            writing.reschedule(loop.time() + self._timeouts.write)
            waited_from = loop.time()
            asked.bytes += len(chunk)
            yield chunk
            guard.add(len(chunk), loop.time() - waited_from)
            sent.bytes += len(chunk)
            self._bytes_sent += len(chunk)
        writing.reschedule(None)

    def _make_socket(self, address: tuple[object, ...]) -> socket.socket:
        family, kind, protocol = address[:3]
        sock = socket.socket(family, kind, protocol)  # type: ignore[arg-type]  # aiohttp hands out getaddrinfo's tuple
        sock.setblocking(False)
        self._sockets.add(sock)
        return sock


GOODBYE_BYTES = 64
"""An alert of TLS is no longer: where the server closes behind its answer, ours has left when a response is looked at."""


class _Response(aiohttp.ClientResponse):
    """A response that knows whether the peer can have had the whole request when it answered."""

    was_early = False
    _transport: asyncio.Transport | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        self._transport = connection.transport  # which is given back at the end of a body, be the request sent or not
        response = await super().start(connection)
        self.was_early = self._transport is not None and unsent(self._transport) > GOODBYE_BYTES
        return response

    def abort(self) -> None:
        """Close the connection, also where it was given back already."""
        if self._transport is not None:
            self._transport.abort()
        self.close()


class _Connector(aiohttp.TCPConnector):
    """Without connections on which something came that nobody asked for: it would pass for the next answer."""

    def abandon(self) -> None:
        # There is no public way without waiting; tests/test_wrong_loop.py pins it.
        self._close()

    async def _get(self, key: Any, traces: Any) -> Any:
        # There is no public way; tests/faults/test_connections.py pins it.
        idle = self._conns.get(key)
        for entry in tuple(idle or ()):
            protocol = entry[0]
            if idle is not None and (protocol.should_close or not _is_quiet(protocol.transport)):
                idle.remove(entry)
                protocol.close()
        if idle is not None and not idle:
            del self._conns[key]
        return await super()._get(key, traces)


def _is_quiet(transport: asyncio.Transport | None) -> bool:
    """Neither closed by the peer nor with anything to say."""
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None or sock.fileno() == -1:
        return False
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


async def _cut(body: bytes | bytearray, cut_bytes: int) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), cut_bytes):
        yield view[start : start + cut_bytes]


class LowSpeedGuard:
    """Notices a body that crawls: fewer than ``low_speed`` bytes a second over ``window`` seconds of waiting."""

    def __init__(self, window: float, low_speed: float) -> None:
        self._window, self._low_speed = window, low_speed
        self._waited, self._moved = 0.0, 0

    def add(self, moved: int, waited: float) -> None:
        self._moved += moved
        self._waited += waited
        if self._waited < self._window:
            return
        if self._moved < self._low_speed * self._waited:
            msg = f"the body crawls: {self._moved:,} bytes in {self._waited:.1f} s, less than Timeouts.low_speed"
            raise ConnectionFailedError(msg)
        self._waited, self._moved = 0.0, 0


class BodyReader:
    """A response's body as it arrives."""

    def __init__(
        self,
        response: Response,
        timeouts: Timeouts,
        *,
        low_speed: float | None = None,
        pace: BytePace | None = None,
    ) -> None:
        self._response, self._timeouts, self._pace = response, timeouts, pace
        self._guard = LowSpeedGuard(timeouts.read, timeouts.low_speed if low_speed is None else low_speed)
        self._turn = 0.0

    async def read_chunk(self) -> bytes:
        """Up to ``CHUNK_BYTES``, as many as are there; empty at the end. IncompleteBodyError if it ends early."""
        if self._pace is not None:  # before the read: a cancelled one loses nothing
            await asyncio.sleep(self._turn - time.monotonic())
        waited_from = time.monotonic()
        with connection_errors(str(self._response.url), self._timeouts):
            chunk = await self._response.content.read(CHUNK_BYTES if self._pace is None else PACED_BYTES)
        if chunk:
            self._guard.add(len(chunk), time.monotonic() - waited_from)
            if self._pace is not None:
                self._turn = time.monotonic() + self._pace.spend(len(chunk))
        return chunk


async def read_document(response: Response, timeouts: Timeouts, *, low_speed: float) -> bytes:
    """A reply that is no object: whole, and no longer than ``LONGEST_DOCUMENT_BYTES``. The response is then closed."""
    reader, size = BodyReader(response, timeouts, low_speed=low_speed), 0
    pieces: list[bytes] = []
    async with response:
        while size <= LONGEST_DOCUMENT_BYTES:
            chunk = await reader.read_chunk()
            if not chunk:
                return b"".join(pieces)
            pieces.append(chunk)
            size += len(chunk)
    msg = f"{response.url.origin()} sends a document of over {LONGEST_DOCUMENT_BYTES:,} bytes"
    raise ConnectionFailedError(msg, retryable=False)


def parse_proxy(value: str | None) -> Proxy | None:
    """A proxy as ``http_proxy`` names it. It may hold a password, so that it is not shown when it is refused."""
    if value is None:
        return None
    try:
        url = URL(value if "://" in value else f"http://{value}")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        msg = "the proxy in http_proxy or https_proxy is no http:// or https:// URL"
        raise ValueError(msg)
    return url


@contextmanager
def connection_errors(url: str, timeouts: Timeouts) -> Iterator[None]:  # noqa: PLR0912 - a table, in the shape that Python has for it
    """What can go wrong below HTTP, in our words; names the endpoint and never the query, which may hold a signature."""
    parts = URL(url, encoded=True)
    endpoint = f"{parts.scheme}://{parts.raw_authority}"
    try:
        yield
    except aiohttp.InvalidURL:
        msg = f"{endpoint}: an address in its way (http_proxy, https_proxy) is no URL"
        raise ConnectionFailedError(msg, retryable=False) from None
    except aiohttp.ClientHttpProxyError as error:
        msg = f"{endpoint}: the proxy answered {error.status}"
        raise ConnectionFailedError(msg, retryable=error.status >= HTTPStatus.INTERNAL_SERVER_ERROR) from None
    except aiohttp.ClientProxyConnectionError as error:
        msg = f"{endpoint}: the proxy {error.host}:{error.port} cannot be reached: {error.strerror}"
        raise ConnectionFailedError(msg, request_sent=False) from error
    except aiohttp.ClientPayloadError as error:
        msg = f"{endpoint} ended a body early"
        raise IncompleteBodyError(msg) from error
    except aiohttp.ClientConnectorCertificateError as error:
        msg = f"{endpoint}: its certificate cannot be trusted: {error.certificate_error}"
        raise ConnectionFailedError(msg, retryable=False, request_sent=False) from error
    except aiohttp.ClientConnectorSSLError as error:
        msg = f"{endpoint}: TLS failed, is this a plain http port? {error.os_error}"
        raise ConnectionFailedError(
            msg, retryable=isinstance(error.os_error, ConnectionError), request_sent=False
        ) from error
    except aiohttp.ClientConnectorDNSError as error:
        msg = f"{endpoint}: the host name is unknown: {error.os_error}"
        raise ConnectionFailedError(msg, retryable=_dns_may_recover(error.os_error), request_sent=False) from error
    except aiohttp.ClientConnectorError as error:
        msg = f"{endpoint}: connection failed: {os.strerror(error.errno) if error.errno else error.strerror}"
        raise ConnectionFailedError(msg, request_sent=False) from error
    except aiohttp.ConnectionTimeoutError as error:
        msg = f"{endpoint} did not connect within {timeouts.connect:g} s"
        raise ConnectionFailedError(msg, request_sent=False) from error
    except aiohttp.ServerTimeoutError as error:
        msg = f"{endpoint} was silent for {timeouts.read:g} s"
        raise ConnectionFailedError(msg) from error
    except TimeoutError as error:
        msg = f"{endpoint} took no byte of a body for {timeouts.write:g} s"
        raise ConnectionFailedError(msg) from error
    except http_exceptions.HttpProcessingError as error:
        msg = f"{endpoint} does not answer in HTTP: {' '.join(error.message.split())}"
        raise ConnectionFailedError(msg, retryable=False) from error
    except aiohttp.ClientResponseError as error:
        # aiohttp's answer to a malformed head: status is its own, not the peer's.
        msg = f"{endpoint} does not answer in HTTP: {' '.join(error.message.split())}"
        raise ConnectionFailedError(msg, retryable=False) from None  # its repr shows the request's headers
    except (aiohttp.ClientError, OSError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error) or repr(error)
        msg = f"{endpoint}: connection failed: {reason}"
        raise ConnectionFailedError(msg) from error


def _dns_may_recover(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
