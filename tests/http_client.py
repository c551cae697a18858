"""A client of our own HTTP/1.1 without S3 above it, the raw server that it talks to, and how a response can be received."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers.raw import Peer, RawServer, Script

import aiodreamobjects as dream
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.pool import Pool
from aiodreamobjects._http.transport import Body, Expect, HeaderLines, Request, Response
from aiodreamobjects._progress import Gauge

PATIENT = dream.Timeouts(connect=10, read=10, write=10)
IMPATIENT = dream.Timeouts(connect=10, read=0.3, write=0.3)

WHOLE = Expect(low_speed=0)
STREAMED = Expect(low_speed=0, stream_from=0)
HEAD = Expect(low_speed=0, is_head=True)

BIG = bytes(range(256)) * (1 << 18)
LONG_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


class Client:
    """A pool, and requests to one server."""

    def __init__(self, server: RawServer, pool: Pool) -> None:
        self.pool = pool
        self._server = server

    async def get(
        self, path: str = "/", expect: Expect = WHOLE, *, method: str = "GET", is_idempotent: bool = True
    ) -> Response:
        if expect.is_head:
            method = "HEAD"
        return await self.pool.send(asked(self._server.host, method, path, expect=expect, is_idempotent=is_idempotent))

    async def put(
        self, body: Body, path: str = "/", *, is_idempotent: bool = True, sent: Gauge | None = None
    ) -> Response:
        request = asked(self._server.host, "PUT", path, body, is_idempotent=is_idempotent)
        request.sent = sent
        return await self.pool.send(request)


def asked(
    host: str,
    method: str = "GET",
    path: str = "/",
    body: Body = b"",
    expect: Expect = WHOLE,
    *,
    is_idempotent: bool = True,
) -> Request:
    length = f"content-length: {len(body)}\r\n" if method == "PUT" else ""
    lines = HeaderLines(f"host: {host}\r\n{length}")
    return Request(method, host, path, lines, body, expect, is_idempotent=is_idempotent)


@asynccontextmanager
async def client_of(
    server: RawServer,
    timeouts: dream.Timeouts = PATIENT,
    ssl_context: ssl.SSLContext | None = None,
    paces: Paces | None = None,
) -> AsyncIterator[Client]:
    pool = Pool(timeouts=timeouts, ssl_context=ssl_context, paces=paces)
    try:
        yield Client(server, pool)
    finally:
        await pool.aclose(closed)
    assert (pool.open_connections, pool.idle_connections) == (0, 0)


async def connect(host: str, timeouts: dream.Timeouts = IMPATIENT, context: ssl.SSLContext | None = None) -> None:
    """Send a request to a host that cannot be connected to."""
    pool = Pool(timeouts=timeouts, ssl_context=context)
    try:
        await pool.send(asked(host))
    finally:
        await pool.aclose(closed)
        assert (pool.open_connections, pool.idle_connections) == (0, 0)


@functools.cache
def trust_in(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


@dataclass(frozen=True, slots=True)
class Serve:
    """Make a server that follows scripts, and a client of it."""

    certificate: tuple[Path, Path] | None = None
    ca: Path | None = None

    @property
    def over_tls(self) -> bool:
        return self.ca is not None

    @asynccontextmanager
    async def __call__(
        self,
        *scripts: Script,
        timeouts: dream.Timeouts = PATIENT,
        receive_buffer: int | None = None,
        paces: Paces | None = None,
    ) -> AsyncIterator[tuple[RawServer, Client]]:
        context = trust_in(self.ca) if self.ca else None
        async with (
            RawServer(*scripts, certificate=self.certificate, receive_buffer=receive_buffer) as server,
            client_of(server, timeouts, context, paces) as client,
        ):
            yield server, client


served = Serve()
"""Without TLS."""


def closed() -> dream.SessionClosedError:
    return dream.SessionClosedError("closed meanwhile")


def ok(body: bytes = b"fine", status: int = 200, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Scripted\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


async def content_of(response: Response) -> bytes:
    """The body, to its end, however it came."""
    if response.content is not None:
        return response.content
    chunks = []
    while chunk := await response.read_chunk():
        chunks.append(chunk)
    body = b"".join(chunks)
    assert response.taken == len(body)
    return body


async def filled(response: Response, room: int) -> bytes:
    """The body, to its end, by way of memory of this size, which is filled again and again."""
    if response.content is not None:
        assert await response.read_into(memoryview(bytearray(room))) == 0
        return response.content
    body, memory, untouched = bytearray(), bytearray(room), b"." * room
    while True:
        memory[:] = untouched
        count = await response.read_into(memoryview(memory))
        body += memory[:count]
        assert memory[count:] == untouched[count:]
        assert response.taken == len(body)
        if count < room:
            assert await response.read_into(memoryview(memory)) == 0
            return bytes(body)


Receiver = Callable[[Response], Awaitable[bytes]]


WAYS: dict[str, tuple[Expect, Receiver]] = {
    "whole": (WHOLE, content_of),
    "streamed": (STREAMED, content_of),
    "into 2 bytes": (STREAMED, functools.partial(filled, room=2)),
    "into 5 bytes": (STREAMED, functools.partial(filled, room=5)),
    "into 1,000,000 bytes": (STREAMED, functools.partial(filled, room=1_000_000)),
}
"""How a response can be received. Most bodies here have 5 bytes."""


on_every_way = pytest.mark.parametrize(("expect", "receive"), WAYS.values(), ids=WAYS)


async def echo(peer: Peer) -> None:
    """Answers that name the request, for as long as there are any."""
    while True:
        request = await peer.request()
        await peer.send(ok(b"answer to " + request.path.encode()))


async def assert_serves(client: Client, path: str = "/after") -> None:
    response = await client.get(path)
    assert (response.status, response.content) == (200, b"answer to " + path.encode())


@contextmanager
def failing(
    match: str, kind: type[dream.DreamObjectsError] = dream.ConnectionFailedError
) -> Iterator[pytest.ExceptionInfo[Any]]:
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert type(caught.value) is kind


async def take(response: Response, room: int) -> bytes | memoryview:
    """Some of the body: a chunk, or memory full."""
    if not room:
        return await response.read_chunk()
    memory = memoryview(bytearray(room))
    return memory[: await response.read_into(memory)]


async def until_quiet(figure: Callable[[], int]) -> None:
    """Nothing tells when a peer is stuck but that it no longer moves."""
    seen = -1
    while seen != (seen := figure()):
        await asyncio.sleep(0.1)


def dies(end: Callable[[Peer], None], after: int, said: bytes = b"") -> Script:
    """Answers one request, and ends at the next one, of which it takes so much."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.take(after)
        await peer.send(said)
        end(peer)
        await peer.until_gone()

    return script


@dataclass(frozen=True, slots=True)
class Kind:
    """A response, and whether its connection may be used again."""

    head: bytes
    sent: bytes = b""
    """What follows the head."""
    body: bytes = b""
    interim: bytes = b""
    expect: Expect = WHOLE
    is_kept: bool | None = True
    """None where a careful client may do as it likes."""
    ends: bool = False
    """Whether the peer must close for the body to be complete."""

    @property
    def data(self) -> bytes:
        return self.interim + self.head + self.sent

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    @property
    def headers(self) -> dict[bytes, bytes]:
        lines = self.head.strip().split(b"\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


KINDS = {
    "length": Kind(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n', b"hello", b"hello"),
    "nothing": Kind(b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n"),
    "chunked": Kind(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n",
        b"3\r\nhel\r\n02;name=value\r\nlo\r\n0\r\nX-T: 1\r\nConnection: y\r\n\r\n",
        b"hello",
    ),
    "chunked and empty": Kind(b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    "no content": Kind(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
    "not modified": Kind(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    "not found": Kind(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\n", b"hello", b"hello"),
    "head": Kind(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", expect=HEAD),
    "head, chunked": Kind(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", expect=HEAD, is_kept=None),
    "head, unframed": Kind(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\n", expect=HEAD),
    "interim": Kind(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"hello",
        b"hello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ),
    "until the end": Kind(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n", b"hello", b"hello", is_kept=False, ends=True),
    "closing": Kind(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", b"hello", b"hello", is_kept=False
    ),
    "closing head": Kind(
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 5\r\n\r\n", expect=HEAD, is_kept=False
    ),
    "old": Kind(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello", b"hello", is_kept=False),
    "old head": Kind(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", expect=HEAD, is_kept=False),
}


WRONG = ok(b"the answer to another request")
