"""Our own HTTP/1.1, against a peer that splits, lies, breaks off, crawls and talks out of turn. On every event loop."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import itertools
import random
import re
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from servers.ports import free_port
from servers.raw import Peer, RawServer, Script, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http import pool as pool_module
from aiodreamobjects._http.connection import Connection
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.pool import Pool
from aiodreamobjects._http.transport import Body, Expect, HeaderLines, Request, Response
from aiodreamobjects._limits import BytePace
from aiodreamobjects._progress import Gauge

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if importlib.util.find_spec("uvloop"):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

PATIENT = dream.Timeouts(connect=10, read=10, write=10)
IMPATIENT = dream.Timeouts(connect=10, read=0.3, write=0.3)
HANG_SECONDS = 60.0

WHOLE = Expect(low_speed=0)
STREAMED = Expect(low_speed=0, stream_from=0)
HEAD = Expect(low_speed=0, is_head=True)

BIG = bytes(range(256)) * (1 << 18)

# What a test runs on, and what must hold after it


def on_every_loop(test: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """The test, on each event loop that is installed."""

    @functools.wraps(test)
    def run_test(loop: str, **fixtures: object) -> None:
        run(loop, test(**fixtures))

    parameters = inspect.signature(test).parameters.values()
    named = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run_test.__signature__ = inspect.Signature([named, *parameters])  # type: ignore[attr-defined]  # pytest reads it
    marked: Callable[..., None] = pytest.mark.parametrize("loop", LOOPS)(run_test)
    return marked


def run(loop: str, work: Coroutine[object, object, None]) -> None:
    """To its end, after which nothing is left: no task, no socket, no error that nobody saw."""
    unseen: list[Mapping[str, object]] = []
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: unseen.append(context))
        runner.run(_alone(work))
    assert not unseen


async def _alone(work: Coroutine[object, object, None]) -> None:
    before = open_sockets()
    async with asyncio.timeout(HANG_SECONDS):
        await work
        while open_sockets() > before:  # noqa: ASYNC110 - a closed socket has no event
            await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


def open_sockets() -> int:
    found = 0
    for path in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            found += path.readlink().name.startswith("socket:")
    return found


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


@asynccontextmanager
async def served(
    *scripts: Script,
    timeouts: dream.Timeouts = PATIENT,
    receive_buffer: int | None = None,
    paces: Paces | None = None,
) -> AsyncIterator[tuple[RawServer, Client]]:
    async with (
        RawServer(*scripts, receive_buffer=receive_buffer) as server,
        client_of(server, timeouts, paces=paces) as client,
    ):
        yield server, client


@asynccontextmanager
async def served_over_tls(
    certificate: tuple[Path, Path],
    ca: Path,
    *scripts: Script,
    timeouts: dream.Timeouts = PATIENT,
    receive_buffer: int | None = None,
    paces: Paces | None = None,
) -> AsyncIterator[tuple[RawServer, Client]]:
    context = ssl.create_default_context(cafile=ca)
    async with (
        RawServer(*scripts, certificate=certificate, receive_buffer=receive_buffer) as server,
        client_of(server, timeouts, context, paces) as client,
    ):
        yield server, client


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


# A response, wherever it is split


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


def piecemeal(kind: Kind, splits: Iterator[Sequence[bytes]]) -> Script:
    """The response to each request, split in the next way."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*next(splits))
            if kind.ends:
                return

    return script


@on_every_way
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@on_every_loop
async def test_a_response_is_the_same_wherever_it_is_split(kind: Kind, expect: Expect, receive: Receiver) -> None:
    data = kind.data
    splits = [[data[:cut], data[cut:]] for cut in range(1, len(data))]
    splits += [[data], [data[place : place + 1] for place in range(len(data))]]
    expect = kind.expect if kind.expect.is_head else expect
    async with served(piecemeal(kind, iter(splits))) as (server, client):
        for _ in splits:
            response = await client.get("/", expect)
            assert (response.status, response.headers) == (kind.status, kind.headers)
            assert await receive(response) == kind.body
        assert kind.is_kept in (None, client.pool.idle_connections)
    assert len(server.requests) == len(splits)
    assert kind.is_kept is None or server.connections == (1 if kind.is_kept else len(splits))


@on_every_loop
async def test_what_trails_one_response_is_no_header_of_the_next() -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nETag: "old"\r\n\r\n'
    async with served(answers(chunked, ok())) as (server, client):
        await client.get()
        assert (await client.get()).headers == {b"content-length": b"4"}
    assert server.connections == 1
    interim = b'HTTP/1.1 110 Interim\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nETag: "old"\r\n\r\n'
    async with served(answers(interim + ok())) as (_, client):
        with suppress(dream.ConnectionFailedError):
            assert (await client.get()).headers == {b"content-length": b"4"}


@pytest.mark.parametrize("status", [100, 102, 103, 110, 199])
@on_every_loop
async def test_an_interim_response_has_no_body_that_could_be_taken_for_the_final_one(status: int) -> None:
    for framed in (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
        interim = b"HTTP/1.1 %d Interim\r\n%s" % (status, framed)
        async with served(answers(interim + ok(b"final"), ok(b"final"))) as (_, client):
            with suppress(dream.ConnectionFailedError):
                assert (await client.get()).content == b"final"


@on_every_loop
async def test_a_body_in_chunks_of_a_byte_is_received() -> None:
    body = bytes(range(256)) * 800
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.pour(data)

    async with served(script) as (server, client):
        assert (await client.get()).content == body
        assert await content_of(await client.get("/", STREAMED)) == body
        for room in (10_007, len(body), len(body) + 1):
            assert await filled(await client.get("/", STREAMED), room) == body
    assert server.connections == 1


# Into memory


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_large_body_goes_into_memory_of_any_size(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = random.Random(1).randbytes(3_000_001)

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.pour(ok(body[: int(request.path[1:])]))

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (server, client):
        for size in (len(body), 1, 65_536, 65_537, 0, 300_000):
            for room in (size, size + 1, size + 1_000_000, size // 2, size // 3, size - 1, 65_536):
                if room > 0:
                    assert await filled(await client.get(f"/{size}", STREAMED), room) == body[:size], (size, room)
    assert server.connections == 1


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_connection_is_free_as_soon_as_the_last_byte_is_in_memory(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.pour(ok(bytes(int(request.path[1:]))))

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (server, client):
        for size in (500_001, 1 << 20, 5_000_000):  # more than is read at once
            response = await client.get(f"/{size}", STREAMED)
            assert client.pool.idle_connections == 0
            assert await response.read_into(memoryview(bytearray(size))) == size
            assert client.pool.idle_connections == 1
            response.close()
            await turns(20)
            assert client.pool.idle_connections == 1
    assert server.connections == 1


@on_every_loop
async def test_only_a_success_is_left_to_be_read() -> None:
    responses = [ok(b"no", 404), ok(b"no", 403), ok(b"no", 304, b"X: y\r\n")[:-2], ok(b"")]
    split = [[data[:-1], data[-1:]] for data in responses]
    async with served(answers(*responses, *split)) as (server, client):
        for body in [b"no", b"no", b"", b""] * 2:
            memory = bytearray(b"12345")
            response = await client.get("/", STREAMED)
            assert (response.content, response.taken) == (body, 0)
            assert await response.read_into(memoryview(memory)) == 0
            assert memory == b"12345"
    assert server.connections == 1


@on_every_loop
async def test_memory_without_a_byte_takes_none() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", b"again")
        await echo(peer)

    async with served(script) as (server, client):
        response = await client.get("/", STREAMED)
        for _ in range(3):
            assert await response.read_into(memoryview(b"")) == 0
        assert await filled(response, 10) == b"helloagain"
        await assert_serves(client)
    assert server.connections == 1


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("framing", ["length", "chunked", "end"])
@on_every_loop
async def test_chunks_and_memory_can_take_turns(
    framing: str,
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    chance = random.Random(6)
    body = chance.randbytes(1_500_000)
    pieces = [body[start : start + 9973] for start in range(0, len(body), 9973)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    data = {
        "length": ok(body),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        "end": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[framing]

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.pour(data)
            if framing == "end":
                peer.fin()
                await peer.until_gone()

    # TLS does not tell us whether the end of a body that nothing else marks was the peer's word.
    may_fail = framing == "end" and over_tls
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (server, client):
        for _ in range(10):
            received = bytearray()
            response = await client.get("/", STREAMED)
            with suppress(*[dream.IncompleteBodyError] * may_fail):
                while True:
                    if chance.random() < 0.5:
                        taken: bytes | bytearray = await response.read_chunk()
                    else:
                        memory = bytearray(chance.choice([1, 100, 9973, 100_000, 500_000]))
                        count = await response.read_into(memoryview(memory))
                        assert count == len(memory) or len(received) + count == len(body)
                        taken = memory[:count]
                    received += taken
                    assert response.taken == len(received)
                    if not taken:
                        break
                    await turns(chance.choice([0, 0, 1, 10]))
            assert received == body if not may_fail else body.startswith(received)
    assert server.connections == (10 if framing == "end" else 1)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 1000, 400_000, 499_999])
@on_every_loop
async def test_what_is_in_memory_when_a_body_breaks_off_is_counted(
    sent: int,
    end: Callable[[Peer], None],
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = random.Random(7).randbytes(500_000)
    has_all = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body[:sent])
        await has_all.wait()
        end(peer)

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, script, script, echo) as (server, client):
        for room in (500_000, 600_000, 150_000):
            has_all.clear()
            response = await client.get("/", STREAMED)
            received = asyncio.create_task(_receive_until_it_breaks(response, room))
            while response.taken < sent:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0)
            has_all.set()
            assert await received == body[:sent]
            assert response.taken == sent
            assert server.connections - client.pool.open_connections > 0
            for _ in range(2):
                with failing("ended a body early", dream.IncompleteBodyError):
                    await response.read_into(memoryview(bytearray(10)))
            response.close()
        await assert_serves(client)


async def _receive_until_it_breaks(response: Response, room: int) -> bytes:
    """What is in the memory by then, as ``taken`` tells."""
    body = bytearray()
    with failing("ended a body early", dream.IncompleteBodyError):
        while True:
            memory = bytearray(room)
            try:
                assert await response.read_into(memoryview(memory)) == room
            finally:
                body += memory[: response.taken - len(body)]
    return bytes(body)


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("pieces", [[b"", b"he"], [b"h", b"e"], [b""]], ids=["later", "in pieces", "nothing"])
@on_every_loop
async def test_a_body_that_ends_early_is_incomplete(pieces: Sequence[bytes], end: Callable[[Peer], None]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head + pieces[0], *pieces[1:])
        end(peer)

    async with served(script, script, script, echo) as (_, client):
        with failing("ended a body early", dream.IncompleteBodyError):
            await client.get()
        with failing("ended a body early", dream.IncompleteBodyError):
            await filled(await client.get("/", STREAMED), 5)
        response = await client.get("/", STREAMED)
        with failing("ended a body early", dream.IncompleteBodyError):
            await content_of(response)
        await assert_serves(client)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_memory_is_left_alone_once_its_reader_has_given_up(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", b"1" * 1000)
        await go_on.wait()
        with suppress(OSError):
            await peer.pour(b"2" * 199_000)

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, echo) as (_, client):
        memory = bytearray(200_000)
        response = await client.get("/", STREAMED)
        receiving = asyncio.create_task(response.read_into(memoryview(memory)))
        while response.taken < 1000:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0)
        receiving.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        await turns(20)
        assert memory == b"1" * 1000 + bytes(199_000)
        assert response.taken == 1000
        assert client.pool.open_connections == 0
        del receiving  # and its traceback
        memory.clear()  # nobody holds on to it
        with failing("the response was left"):
            await response.read_into(memoryview(bytearray(10)))
        response.close()
        await assert_serves(client)


# Streamed


@on_every_loop
async def test_a_streamed_body_comes_as_it_arrives() -> None:
    may_send = asyncio.Semaphore(0)
    pieces = [b"first", b"second", b"third"]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n")
        for piece in pieces:
            await may_send.acquire()
            await peer.send(piece)
        await echo(peer)

    async with served(script) as (server, client):
        response = await client.get("/", STREAMED)
        for piece in pieces:
            may_send.release()
            assert await response.read_chunk() == piece
        assert await response.read_chunk() == b""
        assert await response.read_chunk() == b""
        await assert_serves(client)
    assert server.connections == 1


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("room", [0, len(BIG), len(BIG) // 5], ids=["in chunks", "into memory", "into less memory"])
@on_every_loop
async def test_a_body_that_nobody_reads_stays_with_its_sender(
    room: int,
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await peer.pour(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        for start in range(0, len(BIG), 1 << 16):
            await peer.pour(BIG[start : start + (1 << 16)])
        await echo(peer)

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (server, client):
        response = await client.get("/", STREAMED)
        with traced_memory() as used:
            await _until_quiet(lambda: peers[0].sent)
            assert used() < 2 << 20
        assert peers[0].sent < len(BIG) // 2  # the kernel's buffers
        received = 0
        while chunk := await _take(response, room):
            assert len(chunk) <= max(room, 1 << 20)
            assert chunk == BIG[received : received + len(chunk)]
            received += len(chunk)
        assert received == response.taken == len(BIG)
        await assert_serves(client)
    assert server.connections == 1


async def _take(response: Response, room: int) -> bytes | memoryview:
    """Some of the body: a chunk, or memory full."""
    if not room:
        return await response.read_chunk()
    memory = memoryview(bytearray(room))
    return memory[: await response.read_into(memory)]


async def _until_quiet(figure: Callable[[], int]) -> None:
    """Nothing tells when a peer is stuck but that it no longer moves."""
    seen = -1
    while seen != (seen := figure()):  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.1)


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """How many bytes Python has taken since."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@on_every_loop
async def test_a_stream_that_is_left_early_closes_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await peer.until_gone()

    async with served(script, echo) as (server, client):
        response = await client.get("/", STREAMED)
        assert await response.read_chunk() == b"hello"
        response.close()
        response.close()
        await assert_serves(client)
        await server.until(lambda: server.open_connections == 1)
    assert server.connections == 2


@on_every_loop
async def test_a_stream_that_is_left_when_all_has_arrived_keeps_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", b"again")
        await echo(peer)

    async with served(script) as (server, client):
        response = await client.get("/", STREAMED)
        await turns(20)
        response.close()
        await assert_serves(client)
    assert server.connections == 1


@on_every_loop
async def test_a_cancelled_read_loses_nothing() -> None:
    body = random.Random(2).randbytes(100_000)
    pieces = [body[start : start + 997] for start in range(0, len(body), 997)]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), *pieces)
        await echo(peer)

    async with served(script) as (server, client):
        response = await client.get("/", STREAMED)
        received, patience = bytearray(), itertools.cycle(range(7))
        while True:
            reading = asyncio.create_task(response.read_chunk())
            await turns(next(patience))
            reading.cancel()
            try:
                chunk = await reading
            except asyncio.CancelledError:
                continue
            if not chunk:
                break
            received += chunk
        assert received == body
        await assert_serves(client)
    assert server.connections == 1


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@on_every_loop
async def test_a_body_that_has_arrived_outlives_its_connection(end: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", b"again")
        end(peer)

    async with served(script) as (_, client):
        response = await client.get("/", STREAMED)
        while client.pool.open_connections:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0)
        assert await content_of(response) == b"helloagain"
        assert await response.read_chunk() == b""


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@on_every_loop
async def test_what_came_before_an_error_is_delivered_before_it(end: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhel", b"lo")
        end(peer)

    async with served(script) as (_, client):
        response = await client.get("/", STREAMED)
        while client.pool.open_connections:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0)
        assert await response.read_chunk() == b"hello"
        for _ in range(2):
            with failing("ended a body early", dream.IncompleteBodyError):
                await response.read_chunk()


@on_every_loop
async def test_a_broken_chunk_ends_a_stream_after_what_came_before_it() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"
    async with served(answers(data), answers([data[:-10], data[-10:]])) as (_, client):
        for _ in range(2):
            try:
                response = await client.get("/", STREAMED)
            except dream.IncompleteBodyError:  # it came with the head
                continue
            assert await response.read_chunk() == b"hello"
            with failing("broke a body off", dream.IncompleteBodyError):
                await response.read_chunk()


# A body that ends with its connection


@on_every_loop
async def test_a_body_that_ends_with_its_connection_is_complete_only_if_the_peer_closed_it() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"

    async def breaks(peer: Peer) -> None:
        await peer.request()
        await peer.send(head, b"hello")
        peer.reset()

    async with served(breaks, breaks, echo) as (_, client):
        with failing("ended a body early", dream.IncompleteBodyError):
            await client.get()
        response = await client.get("/", STREAMED)
        with failing("ended a body early", dream.IncompleteBodyError):
            await content_of(response)


@pytest.mark.parametrize("expect", [WHOLE, STREAMED], ids=["whole", "streamed"])
@on_every_loop
async def test_a_body_that_ends_with_its_connection_and_stalls_is_not_complete(expect: Expect) -> None:
    async with served(answers([b"HTTP/1.1 200 OK\r\n\r\n", b"hello"]), timeouts=IMPATIENT) as (_, client):
        with failing("was silent for 0.3 s"):
            await content_of(await client.get("/", expect))


@on_every_loop
async def test_a_body_that_ends_with_its_connection_is_not_complete_when_the_pool_closes() -> None:
    async with served(answers([b"HTTP/1.1 200 OK\r\n\r\n", b"hello"])) as (_, client):
        response = await client.get("/", STREAMED)
        assert await response.read_chunk() == b"hello"
        reading = asyncio.create_task(response.read_chunk())
        await turns()
        await client.pool.aclose(closed)
        with failing("closed meanwhile", dream.SessionClosedError):
            await reading
        with failing("closed meanwhile", dream.SessionClosedError):
            await response.read_chunk()


LENGTHS = [1, 65_537, 262_145, 500_001, 600_000, 825_533]


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_the_last_response_of_a_connection_arrives_whole(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = random.Random(3).randbytes(LENGTHS[-1])

    async def script(peer: Peer) -> None:
        request = await peer.request()
        length = int(request.path[1:])
        await peer.pour(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length + body[:length])

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (_, client):
        for length in LENGTHS:
            assert (await client.get(f"/{length}")).content == body[:length]


@pytest.mark.parametrize("is_framed", [True, False], ids=["framed", "unframed"])
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_reader_of_the_last_response_gets_all_of_it_or_an_error(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    is_framed: bool,  # noqa: FBT001 - the same
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = random.Random(3).randbytes(LENGTHS[-1])

    async def script(peer: Peer) -> None:
        request = await peer.request()
        length = int(request.path[1:])
        framing = b"Content-Length: %d\r\nConnection: close\r\n" % length if is_framed else b""
        await peer.pour(b"HTTP/1.1 200 OK\r\n%s\r\n" % framing + body[:length])

    # uvloop throws away what TLS has received when the peer closes while nobody reads: MagicStack/uvloop#661. And TLS
    # does not tell us whether the end of a body that nothing else marks was the peer's word.
    is_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    may_fail = over_tls and (is_uvloop or not is_framed)
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (_, client):
        for length, pause, room in itertools.product(LENGTHS, (0, 20), (0, 100_000, LENGTHS[-1])):
            response = await client.get(f"/{length}", STREAMED)
            received = bytearray(response.content or b"")
            try:
                while chunk := await _take(response, room):
                    received += chunk
                    await turns(pause)
            except dream.IncompleteBodyError:
                assert may_fail
            else:
                assert received == body[:length]


@on_every_loop
async def test_a_body_whose_end_tls_does_not_confirm_is_incomplete(certificate: tuple[Path, Path], ca: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", b"hello")
        peer.break_off()  # as anyone on the way can

    async with served_over_tls(certificate, ca, script) as (_, client):
        for expect in (WHOLE, STREAMED):
            with failing("ended a body early", dream.IncompleteBodyError):
                await content_of(await client.get("/", expect))


# Uploads


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_body_of_any_kind_arrives_as_it_is(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    data = random.Random(4).randbytes(1_000_000)
    bodies: list[Body] = [b"", b"a", data[: 1 << 16], data[: (1 << 16) + 1], data, bytearray(data), memoryview(data)]
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(echo) as (server, client):
        for number, body in enumerate(bodies):
            assert (await client.put(body, f"/{number}")).content == b"answer to /%d" % number
            assert server.requests[-1].body == body
    assert server.connections == 1


@on_every_loop
async def test_a_body_may_be_changed_once_its_request_has_ended() -> None:
    go_on = asyncio.Event()
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(b"early", 413))
        await go_on.wait()
        with suppress(ConnectionError):
            while True:
                received.append(await peer.read())

    async with served(script, echo, receive_buffer=1 << 16) as (server, client):
        body = bytearray(b"1" * len(BIG))
        assert (await client.put(body)).status == 413
        body[:] = b"2" * len(body)
        go_on.set()
        await server.until(lambda: server.open_connections == 0)
        assert b"2" not in b"".join(received)
        body.clear()  # nobody holds on to it


@on_every_loop
async def test_a_body_waits_for_a_peer_that_does_not_read() -> None:
    may_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await may_read.wait()
        await peer.take(len(BIG))
        await peer.send(ok())

    async with served(script, receive_buffer=1 << 16) as (_, client):
        sent = Gauge()
        with traced_memory() as used:
            sending = asyncio.create_task(client.put(BIG, sent=sent))
            await _until_quiet(lambda: sent.bytes)
            assert used() < 2 << 20
            assert 0 < sent.count() < len(BIG) // 2
            may_read.set()
            assert (await sending).status == 200
            assert sent.bytes == sent.count() == len(BIG)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("is_paced", [False, True], ids=["as fast as it goes", "paced"])
@on_every_loop
async def test_a_gauge_tells_how_much_of_a_body_is_on_its_way(
    is_paced: bool,  # noqa: FBT001 - a parameter of the test
    over_tls: bool,  # noqa: FBT001 - the same
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = bytes(50_000_000)
    paces = Paces(sending=BytePace(1e9)) if is_paced else None
    figures = [0]
    sent = Gauge()

    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(100):
            await peer.take(len(body) // 100)
            figures.append(sent.bytes)
        await peer.take(len(body) % 100)
        await peer.send(ok())
        await echo(peer)

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, paces=paces) as (_, client):
        assert (await client.put(body, sent=sent)).status == 200
        assert sent.bytes == len(body)
        assert figures == sorted(figures)
        assert any(0 < figure < len(body) for figure in figures)
        assert (await client.put(body[:500_000], sent=sent)).status == 200
        assert sent.bytes == 500_000  # of the last request alone


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@on_every_loop
async def test_a_gauge_tells_of_the_request_that_was_sent_once_more(end: Callable[[Peer], None]) -> None:
    body, sent = bytes(300_000), Gauge()
    async with served(dies(end, 20), echo) as (server, client):
        await client.get("/first")
        assert (await client.put(body, "/second", sent=sent)).content == b"answer to /second"
        assert (server.connections, sent.bytes) == (2, len(body))


@pytest.mark.parametrize("status", [302, 413, 503])
@on_every_loop
async def test_an_early_refusal_is_returned_and_its_connection_not_used_again(status: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(b"early", status))
        await peer.until_gone()

    async with served(script, echo, receive_buffer=1 << 16) as (server, client):
        sent = Gauge()
        response = await client.put(BIG, sent=sent)
        assert (response.status, response.content) == (status, b"early")
        assert sent.bytes < len(BIG)
        await assert_serves(client)
    assert server.connections == 2


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("size", [100_000, 300_000, len(BIG)])
@on_every_loop
async def test_an_early_success_is_an_error_and_its_connection_not_used_again(size: int, status: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(b"" if status == 204 else b"early", status))
        await peer.until_gone()

    async with served(script, echo, receive_buffer=1 << 14) as (server, client):
        with failing("before it had all of the request"):
            await client.put(BIG[:size])
        await assert_serves(client)
    assert server.connections == 2


class Alone:
    """The owner of one connection."""

    def __init__(self) -> None:
        self.returned: list[Connection] = []

    def give_back(self, connection: Connection) -> None:
        self.returned.append(connection)

    def forget(self, connection: Connection) -> None: ...


@pytest.mark.parametrize("status", [200, 413])
@on_every_loop
async def test_a_connection_with_unsent_bytes_is_not_used_again(status: int) -> None:
    loop, owner = asyncio.get_running_loop(), Alone()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        theirs.setblocking(False)
        _, connection = await loop.create_connection(
            lambda: Connection("host", "http://host", owner, PATIENT, Paces(), loop), sock=ours
        )
        length = 60_000  # sent in one go with the head, as far as the transport is concerned
        answering = asyncio.ensure_future(connection.request(asked("host", "PUT", body=bytes(length))))
        await turns()
        assert len(await loop.sock_recv(theirs, 1000)) == 1000
        await loop.sock_sendall(theirs, ok(b"early", status))
        if status == 200:
            with failing("before it had all of the request"):
                await answering
        else:
            assert (await answering).status == status
        assert owner.returned == []
        assert connection.error is not None


@on_every_loop
async def test_an_interim_response_does_not_stop_an_upload() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.take(len(BIG) // 8)
        await peer.send(ok())

    async with served(script) as (_, client):
        assert (await client.put(BIG[: len(BIG) // 8])).status == 200


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@on_every_loop
async def test_a_peer_that_leaves_in_the_middle_of_an_upload_is_an_error(end: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        end(peer)

    async with served(script, echo, receive_buffer=1 << 16) as (_, client):
        sent = Gauge()
        with failing("connection failed") as caught:
            await client.put(BIG, sent=sent)
        assert (caught.value.retryable, caught.value.request_sent) == (True, True)
        assert sent.bytes < len(BIG)
        await assert_serves(client)


# What nobody asked for


WRONG = ok(b"the answer to another request")


@pytest.mark.parametrize(
    "extra", [WRONG, WRONG[:20], b"H", b"garbage", b"\0", b"0\r\n\r\n", WRONG * 3], ids=lambda extra: repr(extra[:20])
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.is_kept], ids=lambda kind: kind.head[:20])
@on_every_loop
async def test_a_connection_that_says_more_than_its_response_is_not_used_again(kind: Kind, extra: bytes) -> None:
    ways = [(HEAD, content_of)] if kind.expect.is_head else WAYS.values()
    for expect, receive in ways:
        for pieces in ([kind.data + extra], [kind.data[:-1], kind.data[-1:] + extra]):
            async with served(answers(pieces), echo) as (server, client):
                response = await client.get("/", expect)
                assert response.status == kind.status
                assert await receive(response) == kind.body
                await assert_serves(client)
            assert server.connections == 2


@pytest.mark.parametrize("extra", [WRONG, b"HTTP", b"x"], ids=repr)
@pytest.mark.parametrize("size", [5, 16_384, 65_536, 300_000])
@on_every_loop
async def test_tls_hides_nothing_that_follows_a_response(
    extra: bytes, size: int, certificate: tuple[Path, Path], ca: Path
) -> None:
    body = bytes(size)
    ways: list[tuple[Expect, Receiver]] = [(WHOLE, content_of), (STREAMED, content_of)]
    ways += [(STREAMED, functools.partial(filled, room=room)) for room in (size, size + 1, size - 1)]
    for expect, receive in ways:
        async with served_over_tls(certificate, ca, answers(ok(body) + extra), echo) as (server, client):
            assert await receive(await client.get("/", expect)) == body
            await assert_serves(client)
        assert server.connections == 2


@pytest.mark.parametrize("said", [b"1f\r\n", b"5", b"0\r\n", b"0\r\n\r\n"], ids=repr)
@on_every_loop
async def test_part_of_a_body_after_the_head_of_a_head_request_ends_the_connection(said: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with served(answers(head + said), echo) as (_, client):
        assert (await client.get("/", HEAD)).status == 200
        assert client.pool.idle_connections == 0


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "just before the next request"])
@pytest.mark.parametrize("said", [WRONG, b"x", "fin", "reset"], ids=str)
@on_every_loop
async def test_what_an_idle_connection_says_is_no_answer(
    said: bytes | str,
    noticed: bool,  # noqa: FBT001 - a parameter of the test
    over_tls: bool,  # noqa: FBT001 - the same
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await peer.send(ok())
        await asyncio.Event().wait()

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, echo) as (server, client):
        await client.get()
        await turns(20)
        assert client.pool.idle_connections == 1
        if isinstance(said, bytes):
            peers[0].blurt(said)
        elif said == "fin":
            peers[0].fin()
        else:
            peers[0].reset()
        if noticed:
            while client.pool.open_connections:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0)
            assert client.pool.idle_connections == 0
        # Even of one that must not be sent twice nothing is lost: it was not sent at all.
        response = await client.get("/next", method="POST", is_idempotent=False)
        assert response.content == b"answer to /next"
    assert server.paths == ["/", "/next"]


# What is no HTTP


HEADER_FLOOD = b"".join(b"x-%d: y\r\n" % number for number in range(100_000))

MALFORMED = {
    "garbage": b"\x00\x01\x02 garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "tls": b"\x15\x03\x01\x00\x02\x02\x46",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "another version": b"HTTP/3.7 200 OK\r\n\r\n",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
    "two framings, the other way": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "a length in hex": b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
    "a length past 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    "a header without a name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "a bare line feed": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "another protocol, agreed": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\x00\x01",
    "a header of a mebibyte": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
    "a name of a mebibyte": b"HTTP/1.1 200 OK\r\n" + b"x" * (1 << 20) + b": x\r\n\r\n",
    "a reason of a mebibyte": b"HTTP/1.1 200 " + b"x" * (1 << 20) + b"\r\n\r\n",
    "100,000 headers": b"HTTP/1.1 200 OK\r\n" + HEADER_FLOOD + b"\r\n",
    "interim responses without an end": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "interim responses with headers": (b"HTTP/1.1 103 Hints\r\n" + HEADER_FLOOD[:5000] + b"\r\n") * 100,
    "blank lines": b"\r\n" * (1 << 20),
}

BROKEN_BODIES = {
    "no chunk size": b"\r\nhello\r\n0\r\n\r\n",
    "a bad chunk size": b"5x\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size past 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk that is too short": b"6\r\nhello\r\n0\r\n\r\n",
    "a chunk that is too long": b"4\r\nhello\r\n0\r\n\r\n",
    "a bare line feed": b"5\nhello\n0\n\n",
    "trailers without an end": b"5\r\nhello\r\n0\r\n" + HEADER_FLOOD,
    "a trailer without an end": b"5\r\nhello\r\n0\r\nX: " + b"x" * (1 << 20),
    "a chunk extension without an end": b"5;" + b"x" * (1 << 20),
}


def floods(data: bytes) -> Script:
    """The answer to a request, and then nothing until the client leaves."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pour(data)
        await peer.until_gone()

    return script


@pytest.mark.parametrize("is_one_piece", [True, False], ids=["at once", "in pieces"])
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
@on_every_loop
async def test_what_is_not_http_is_an_error(
    data: bytes,
    is_one_piece: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    script = floods(data) if is_one_piece else answers([data[:7], data[7:20], data[20:30], data[30:]])
    async with served(script, echo) as (_, client):
        with failing("does not answer in HTTP|a head of over|interim responses") as caught:
            await client.get()
        assert (caught.value.retryable, caught.value.request_sent) == (False, True)
        await assert_serves(client)


@on_every_way
@pytest.mark.parametrize("is_one_piece", [True, False], ids=["at once", "in pieces"])
@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
@on_every_loop
async def test_a_body_in_broken_chunks_is_an_error(
    body: bytes,
    is_one_piece: bool,  # noqa: FBT001 - a parameter of the test
    expect: Expect,
    receive: Receiver,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = floods(head + body) if is_one_piece else answers([head, body[:1], body[1:4], body[4:9], body[9:]])
    async with served(script, echo) as (_, client):
        with pytest.raises((dream.ConnectionFailedError, dream.IncompleteBodyError)):
            await receive(await client.get("/", expect))
        await assert_serves(client)


async def _pour_away(response: Response) -> None:
    while await response.read_chunk():
        pass


@on_every_loop
async def test_trailers_after_a_large_body_do_not_fill_the_memory() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pour(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800000\r\n" + bytes(8 << 20) + b"\r\n0\r\n"
        )
        for number in itertools.count():
            await peer.pour(b"x-%d: %s\r\n" % (number, b"y" * 60_000))

    async with served(script) as (_, client):
        response = await client.get("/", STREAMED)
        with traced_memory():
            with pytest.raises((dream.ConnectionFailedError, dream.IncompleteBodyError)):
                await _pour_away(response)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20


@on_every_loop
async def test_a_document_that_announces_too_much_is_refused_at_once() -> None:
    for status in (200, 500):
        head = b"HTTP/1.1 %d Scripted\r\nContent-Length: 99999999999\r\n\r\n<Error>" % status
        async with served(floods(head), echo) as (_, client):
            with failing("a document of over 8,388,608 bytes") as caught:
                await client.get()
            assert not caught.value.retryable
            await assert_serves(client)


@on_every_loop
async def test_a_document_without_an_end_is_refused() -> None:
    for head, piece in [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", bytes(1 << 16)),
    ]:

        async def script(peer: Peer, head: bytes = head, piece: bytes = piece) -> None:
            await peer.request()
            await peer.pour(head)
            while True:
                await peer.pour(piece)

        async with served(script, echo) as (_, client):
            with failing("a document of over 8,388,608 bytes"):
                await client.get()
            await assert_serves(client)


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"], ids=["silent", "keep-alive"])
@on_every_loop
async def test_an_old_peer_is_understood(keep_alive: bytes) -> None:
    old = b"HTTP/1.0 200 OK\r\n%sContent-Length: 3\r\n\r\nold" % keep_alive
    async with served(answers(old), echo) as (_, client):
        assert (await client.get()).content == b"old"
        assert client.pool.idle_connections == bool(keep_alive)


@on_every_loop
async def test_a_peer_that_speaks_first_is_not_believed() -> None:
    async def script(peer: Peer) -> None:
        peer.blurt(b"220 ready\r\n")
        await peer.until_gone()

    async with served(script, echo) as (_, client):
        with failing("that nobody asked for|does not answer in HTTP|spoke before it was asked"):
            await client.get()
        await assert_serves(client)


# Silence and crawling


def dripping(head: bytes, *, piece: bytes, seconds: float) -> Script:
    """A head, and then a piece at a time for as long as the client listens."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        while True:
            await asyncio.sleep(seconds)
            await peer.pour(piece)

    return script


LONG_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    "script",
    [
        answers(b""),
        answers(b"HTTP/1.1 200 OK\r\nContent-Le"),
        dripping(b"HTTP/1.1 200 OK\r\nX: ", piece=b"x", seconds=0.01),
        dripping(b"HTTP/1.1 100 Continue\r\n\r\n", piece=b"HTTP/1.1 1", seconds=0.05),
        dripping(b"HTTP/1.1 200 OK\r\n", piece=b"X-A: b\r\n", seconds=0.01),
    ],
    ids=["silence", "part of a head", "a header that drips", "an interim response that drips", "headers that drip"],
)
@on_every_loop
async def test_a_head_must_come_in_time(script: Script) -> None:
    async with served(script, echo, timeouts=IMPATIENT) as (server, client):
        started = time.monotonic()
        with failing("was silent for 0.3 s|does not answer in HTTP") as caught:
            await client.get()
        assert not caught.value.retryable or time.monotonic() - started > 0.25
        await server.until(lambda: server.open_connections == 0)
        await assert_serves(client)


@on_every_way
@on_every_loop
async def test_a_body_that_stalls_is_cut(expect: Expect, receive: Receiver) -> None:
    async with served(answers([LONG_BODY, b"hello"]), echo, timeouts=IMPATIENT) as (server, client):
        started = time.monotonic()
        with failing("was silent for 0.3 s") as caught:
            await receive(await client.get("/", expect))
        assert caught.value.retryable
        assert time.monotonic() - started > 0.25
        await server.until(lambda: server.open_connections == 0)
        await assert_serves(client)


@on_every_way
@on_every_loop
async def test_a_body_that_crawls_is_cut(expect: Expect, receive: Receiver) -> None:
    crawling = dripping(LONG_BODY, piece=b"12345", seconds=0.01)
    async with served(crawling, echo, timeouts=IMPATIENT) as (server, client):
        with failing("crawls: .* bytes of a body") as caught:
            await receive(await client.get("/", Expect(low_speed=1e6, stream_from=expect.stream_from)))
        assert caught.value.retryable
        await server.until(lambda: server.open_connections == 0)
        await assert_serves(client)


@on_every_way
@on_every_loop
async def test_a_body_that_is_slow_but_moves_is_not_cut(expect: Expect, receive: Receiver) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.07)
            await peer.pour(bytes(100))

    async with served(script, timeouts=IMPATIENT) as (_, client):
        response = await client.get("/", Expect(low_speed=50, stream_from=expect.stream_from))
        assert await receive(response) == bytes(1000)


@on_every_loop
async def test_time_that_a_reader_takes_is_not_held_against_the_peer() -> None:
    may_send = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(LONG_BODY, b"hello")
        await may_send.wait()
        await peer.pour(bytes(999_995))

    async with served(script, timeouts=IMPATIENT) as (_, client):
        response = await client.get("/", Expect(low_speed=1e6, stream_from=0))
        assert await response.read_chunk() == b"hello"
        await asyncio.sleep(0.5)
        may_send.set()
        received = 5
        while chunk := await response.read_chunk():
            received += len(chunk)
            await asyncio.sleep(0.02)
        assert received == 1_000_000


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_peer_that_takes_no_byte_is_given_up(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, echo, timeouts=IMPATIENT) as (_, client):
        with failing("took no byte of a body for 0.3 s") as caught:
            await client.put(BIG)
        assert caught.value.retryable
        await assert_serves(client)


@on_every_loop
async def test_a_peer_that_takes_a_body_slowly_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        while True:
            await asyncio.sleep(0.02)
            await peer.take(1 << 16)

    async with served(script, echo, receive_buffer=1 << 16, timeouts=IMPATIENT) as (server, client):
        # The kernel takes bodies in strides, between which there may be nothing.
        with failing("crawls|took no byte"):
            await client.pool.send(asked(server.host, "PUT", body=BIG, expect=Expect(low_speed=1e9)))
        await assert_serves(client)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_slow_link_takes_what_the_kernel_holds_for_it(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    """The last write is long past when the last byte leaves: no silence, as long as the peer takes something."""
    body = bytes(1 << 20)

    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(len(body) >> 16):
            await asyncio.sleep(0.06)
            await peer.take(1 << 16)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    timeouts = dream.Timeouts(connect=10, read=0.4, write=0.4)
    async with serve(script, receive_buffer=1 << 14, timeouts=timeouts) as (server, client):
        assert (await client.put(body)).status == 200
        assert server.connections == 1


@on_every_loop
async def test_an_event_loop_that_was_blocked_is_not_held_against_the_peer() -> None:
    may_send = asyncio.Event()
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await may_send.wait()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await may_send.wait()
        await peer.send(b"again")
        await echo(peer)

    async with served(script, timeouts=IMPATIENT) as (server, client):
        response = asyncio.create_task(client.get("/", STREAMED))
        await server.until(lambda: server.requests)
        time.sleep(0.45)  # noqa: ASYNC251 - what is tested
        await turns()
        may_send.set()
        may_send.clear()
        reading = await response
        assert await reading.read_chunk() == b"hello"
        waiting = asyncio.create_task(reading.read_chunk())
        await turns()
        time.sleep(0.45)  # noqa: ASYNC251 - what is tested
        may_send.set()
        assert await waiting == b"again"
        reading.close()
        time.sleep(0.45)  # noqa: ASYNC251 - what is tested
        assert (await client.get("/after")).status == 200
    assert server.connections == 1


# Limited bandwidth


AT_ONCE, TLS_AT_ONCE = 16 << 10, 512 << 10
"""Read at once where bandwidth is limited, at most: what has just been read is paid for after it."""
TIMER_SECONDS = 0.01
"""A timer of uvloop counts in milliseconds."""


@contextmanager
def taking_at_least(seconds: float) -> Iterator[None]:
    """No less, but for the lateness that is made good."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started > seconds - BytePace.CATCH_UP_SECONDS - TIMER_SECONDS


async def sink(peer: Peer) -> None:
    while True:
        request = await peer.request()
        await peer.send(ok(b"%d" % len(request.body)))


def pours(body: bytes, headers: bytes = b"") -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.pour(ok(body, headers=headers))

    return script


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_all_that_is_sent_together_keeps_to_the_bandwidth(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    paces, sizes = Paces(sending=BytePace(1e6)), (1, 1000, 65_536, 133_463, 200_000)
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(sink, paces=paces) as (server, client):
        with taking_at_least(0.4):
            responses = await asyncio.gather(*(client.put(BIG[:size]) for size in sizes))
        assert [response.content for response in responses] == [b"%d" % size for size in sizes]
        assert {request.body for request in server.requests} == {BIG[:size] for size in sizes}
        assert server.connections == client.pool.idle_connections == len(sizes)
        with taking_at_least(0.2):
            for _ in range(2):
                await client.put(BIG[:100_000])
    assert server.connections == len(sizes)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("room", [0, 70_000, 1_000_000], ids=["in chunks", "into less memory", "into memory"])
@on_every_loop
async def test_all_that_is_received_together_keeps_to_the_bandwidth(
    room: int,
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    size, per_second = (1_000_000, 4e6) if over_tls else (100_000, 1e6)
    at_once = TLS_AT_ONCE if over_tls else AT_ONCE
    body = random.Random(8).randbytes(size)
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(pours(body), paces=Paces(receiving=BytePace(per_second))) as (server, client):

        async def fetch() -> bytes:
            response = await client.get("/", STREAMED)
            return await (filled(response, room) if room else content_of(response))

        with taking_at_least(4 * (size - at_once) / per_second):
            assert await asyncio.gather(*(fetch() for _ in range(4))) == [body] * 4
        with taking_at_least((2 * size - at_once) / per_second):
            assert [await fetch(), await fetch()] == [body] * 2
        assert server.connections == client.pool.idle_connections == 4


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_one_direction_does_not_wait_for_the_other(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = random.Random(8).randbytes(1_000_000)
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    # At this pace, a kilobyte that takes the wrong way would not be there before the test is given up.
    async with serve(pours(body), paces=Paces(sending=BytePace(1e-3))) as (_, client):
        assert await content_of(await client.get("/", STREAMED)) == body
    async with serve(sink, paces=Paces(receiving=BytePace(1e5))) as (_, client):
        assert (await client.put(BIG)).content == b"%d" % len(BIG)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_limit_is_not_held_against_the_peer(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = bytes(150_000)
    paces = Paces(BytePace(150_000), BytePace(150_000))
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(pours(body), paces=paces, timeouts=IMPATIENT) as (_, client):
        for receive in (content_of, functools.partial(filled, room=len(body))):
            assert await receive(await client.get("/", Expect(low_speed=300_000, stream_from=0))) == body
    async with serve(sink, paces=paces, timeouts=IMPATIENT) as (server, client):
        with taking_at_least(1.0):
            response = await client.pool.send(asked(server.host, "PUT", body=body, expect=Expect(low_speed=300_000)))
        assert response.content == b"%d" % len(body)


@on_every_way
@on_every_loop
async def test_a_peer_that_is_silent_is_given_up_whatever_the_limit(expect: Expect, receive: Receiver) -> None:
    paces = Paces(BytePace(1e5), BytePace(1e5))
    async with served(answers([LONG_BODY, b"hello"]), echo, timeouts=IMPATIENT, paces=paces) as (_, client):
        with failing("was silent for 0.3 s"):
            await receive(await client.get("/", expect))
        await assert_serves(client)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_a_body_that_nobody_reads_stays_with_its_sender_whatever_the_limit(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await peer.pour(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        for start in range(0, len(BIG), 1 << 16):
            await peer.pour(BIG[start : start + (1 << 16)])

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, paces=Paces(receiving=BytePace(1e9))) as (_, client):
        response = await client.get("/", STREAMED)
        with traced_memory() as used:
            await _until_quiet(lambda: peers[0].sent)
            assert used() < 2 << 20
        assert peers[0].sent < len(BIG) // 2  # the kernel's buffers
        memory = memoryview(bytearray(1_000_000))
        for start in range(0, 3_000_000, len(memory)):
            assert await response.read_into(memory) == len(memory)
            assert memory == BIG[start : start + len(memory)]
        response.close()


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("room", [0, 100_000, 500_001])
@on_every_loop
async def test_the_last_response_of_a_connection_arrives_whatever_the_limit(
    room: int,
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    body = random.Random(9).randbytes(500_001)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pour(ok(body, headers=b"Connection: close\r\n"))

    # uvloop throws away what TLS has received when the peer closes while nobody reads: MagicStack/uvloop#661.
    may_fail = over_tls and type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script, paces=Paces(receiving=BytePace(1e6))) as (_, client):
        received = bytearray()
        with suppress(*[dream.IncompleteBodyError] * may_fail):
            response = await client.get("/", STREAMED)
            while chunk := await _take(response, room):
                received += chunk
        assert received == body or may_fail


@pytest.mark.parametrize("end", ["close", "answer", "hang up"])
@on_every_loop
async def test_an_upload_that_waits_for_its_turn_hears_what_happens_meanwhile(end: str) -> None:
    hears = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        hears.set()
        if end == "answer":
            await peer.send(ok(b"early", 503))
        elif end == "hang up":
            peer.reset()
        await asyncio.Event().wait()

    # At this pace, the first piece's turn comes long after the test is given up.
    async with served(script, paces=Paces(sending=BytePace(1))) as (_, client):
        sent = Gauge()
        sending = asyncio.create_task(client.put(BIG, sent=sent))
        await hears.wait()
        await turns(20)
        if end == "answer":
            assert (await sending).content == b"early"
        elif end == "hang up":
            with failing("connection failed"):
                await sending
        else:
            await client.pool.aclose(closed)
            with failing("closed meanwhile", dream.SessionClosedError):
                await sending
        assert sent.bytes == 0


@on_every_loop
async def test_a_reader_that_waits_for_its_turn_hears_that_the_pool_is_closed() -> None:
    body = bytes(1_000_000)
    # At this pace, the second piece's turn comes long after the test is given up.
    async with served(pours(body), paces=Paces(receiving=BytePace(1))) as (server, client):
        responses = [await client.get("/", STREAMED) for _ in range(2)]
        memory = memoryview(bytearray(len(body)))
        reading = [asyncio.create_task(content_of(responses[0])), asyncio.create_task(responses[1].read_into(memory))]
        await turns(20)
        await client.pool.aclose(closed)
        outcomes = await asyncio.gather(*reading, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * 2
        for response in responses:
            response.close()
        await server.until(lambda: server.open_connections == 0)


# Connections that were kept, and are dead


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


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("body", [b"", bytes(10), bytes(300_000)], ids=len)
@on_every_loop
async def test_a_request_on_a_dead_connection_is_sent_once_more(end: Callable[[Peer], None], body: bytes) -> None:
    async with served(dies(end, 20), dies(end, 20), echo) as (server, client):
        await client.get("/first")
        assert (await client.put(body, "/second")).content == b"fine"  # by the second connection
        assert (server.connections, server.paths) == (2, ["/first", "/second"])
        assert (await client.put(body, "/third")).content == b"answer to /third"
    assert (server.connections, server.paths) == (3, ["/first", "/second", "/third"])


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("kind", ["post", "answered"])
@on_every_loop
async def test_no_other_request_is_sent_once_more(end: Callable[[Peer], None], kind: str) -> None:
    script = dies(end, 20, b"HTTP" if kind == "answered" else b"")
    async with served(script, echo) as (server, client):
        await client.get("/first")
        with failing("connection failed|does not answer") as caught:
            if kind == "post":
                await client.get("/second", method="POST", is_idempotent=False)
            else:
                await client.get("/second")
        assert caught.value.request_sent
        assert server.connections == 1
        await assert_serves(client)


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@on_every_loop
async def test_a_request_whose_new_connection_dies_is_not_sent_once_more(end: Callable[[Peer], None]) -> None:
    async def leaves(peer: Peer) -> None:
        await peer.take(20)
        end(peer)

    async with served(leaves, echo) as (server, client):
        with failing("connection failed") as caught:
            await client.get()
        assert (caught.value.retryable, caught.value.request_sent) == (True, True)
        assert server.connections == 1
        await assert_serves(client)


# Connections that cannot be had


@contextmanager
def full_port(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose queue is full: whoever knocks hears nothing."""
    with socket.socket() as listener:
        listener.bind((address, port))
        listener.listen(0)
        place = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(place)
        try:
            yield place[1]
        finally:
            for sock in waiting:
                sock.close()


async def connect(host: str, timeouts: dream.Timeouts = IMPATIENT, context: ssl.SSLContext | None = None) -> None:
    """A request that needs a connection, which is not to be had."""
    pool = Pool(timeouts=timeouts, ssl_context=context)
    try:
        await pool.send(asked(host))
    finally:
        await pool.aclose(closed)
        assert (pool.open_connections, pool.idle_connections) == (0, 0)


@on_every_loop
async def test_a_refused_connection_may_be_tried_again() -> None:
    for host in (f"127.0.0.1:{free_port()}", f"[::1]:{free_port()}", f"localhost:{free_port()}"):
        with failing("connection failed") as caught:
            await connect(host)
        assert str(caught.value).startswith(f"http://{host}: ")
        assert (caught.value.retryable, caught.value.request_sent) == (True, False)


@on_every_loop
async def test_a_connection_must_come_in_time() -> None:
    started = time.monotonic()
    with full_port() as port, failing(r"did not connect within 0.2 s") as caught:
        await connect(f"127.0.0.1:{port}", dream.Timeouts(connect=0.2))
    assert time.monotonic() - started > 0.19  # a timer of uvloop counts in milliseconds
    assert (caught.value.retryable, caught.value.request_sent) == (True, False)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (UnicodeError("label too long"), False),
    ],
    ids=["unknown", "try again", "no name"],
)
@on_every_loop
async def test_an_unknown_host_is_named(error: Exception, *, retryable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    with failing("http://service.example:80: the host name is unknown") as caught:
        await connect("service.example:80")
    assert (caught.value.retryable, caught.value.request_sent) == (retryable, False)


@on_every_loop
async def test_a_resolver_must_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    with failing("did not connect within 0.2 s"):
        await connect("service.example", dream.Timeouts(connect=0.2))


@pytest.mark.parametrize("dead", ["refuses", "is silent"])
@on_every_loop
async def test_a_host_of_which_an_address_is_dead_is_reached_by_another(
    dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async with RawServer(echo) as server, client_of(server) as client:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def resolve(name: str, port: int, **options: object) -> object:
            if name != "service.example":  # uvloop resolves addresses as well
                return await real(name, port, **options)  # type: ignore[arg-type]  # handed on
            asked.append((name, port))
            addresses = (
                ("127.0.0.2", "127.0.0.1") if name == "service.example" else (name,)
            )  # uvloop resolves those, too
            kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
            return [(*kind, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
        server.host = f"service.example:{server.port}"
        with full_port("127.0.0.2", server.port) if dead == "is silent" else nullcontext():
            await assert_serves(client)
            await assert_serves(client)
    assert asked.count(("service.example", server.port)) == 1


def issued(authority: trustme.CA, folder: Path, name: str, begin: datetime | None = None) -> tuple[Path, Path]:
    """A certificate and its key; with ``begin``, for a day."""
    certificate = authority.issue_cert(name, not_before=begin, not_after=begin and begin + timedelta(days=1))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    return folder / "chain.pem", folder / "key.pem"


@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired"])
@on_every_loop
async def test_a_certificate_that_cannot_be_trusted_is_final(
    fault: str, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    signer = trustme.CA() if fault == "unknown authority" else authority
    name = "example.org" if fault == "wrong name" else "127.0.0.1"
    certificate = issued(signer, tmp_path, name, datetime(2020, 1, 1, tzinfo=UTC) if fault == "expired" else None)
    async with RawServer(echo, certificate=certificate) as server:
        with failing(f"https://{server.host}: its certificate cannot be trusted") as caught:
            await connect(server.host, context=ssl.create_default_context(cafile=ca))
        assert (caught.value.retryable, caught.value.request_sent) == (False, False)
    assert (server.connections, server.requests) == (1, [])


@pytest.mark.parametrize("speaks_first", [False, True], ids=["when asked", "at once"])
@on_every_loop
async def test_tls_to_a_plain_port_is_final(speaks_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def script(peer: Peer) -> None:
        if not speaks_first:
            await peer.read()
        peer.blurt(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await peer.until_gone()

    async with RawServer(script) as server:
        with failing("TLS failed, is this a plain http port") as caught:
            await connect(server.host, context=ssl.create_default_context())
    assert str(caught.value).count(server.host) == 1
    assert (caught.value.retryable, caught.value.request_sent) == (False, False)


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("greets", [True, False], ids=["after a greeting", "at once"])
@on_every_loop
async def test_a_handshake_that_breaks_off_may_be_tried_again(
    end: Callable[[Peer], None],
    greets: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async def script(peer: Peer) -> None:
        if greets:
            await peer.read()
        end(peer)

    async with RawServer(script) as server:
        with failing("connection failed") as caught:
            await connect(server.host, context=ssl.create_default_context())
    assert str(caught.value).count(server.host) == 1
    assert (caught.value.retryable, caught.value.request_sent) == (True, False)


@on_every_loop
async def test_a_handshake_must_come_in_time() -> None:
    async with RawServer(answers()) as server:
        with failing("did not connect within 0.2 s") as caught:
            await connect(server.host, dream.Timeouts(connect=0.2), ssl.create_default_context())
        assert (caught.value.retryable, caught.value.request_sent) == (True, False)
        await server.until(lambda: server.open_connections == 0)


# Connections that have had their time


@on_every_loop
async def test_an_idle_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.2)
    async with served(echo, timeouts=IMPATIENT) as (server, client):
        for number in range(10):  # while it is used it is not idle
            await assert_serves(client)
            await asyncio.sleep(0.05)
            assert server.connections == 1, number
        await server.until(lambda: server.open_connections == 0)
        assert client.pool.open_connections == 0
        await assert_serves(client)
    assert server.connections == 2


@on_every_loop
async def test_an_old_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "AGE_SECONDS", 0.2)
    async with served(echo, timeouts=IMPATIENT) as (server, client):
        while server.connections < 3:
            await assert_serves(client)
            await asyncio.sleep(0.01)
        await server.until(lambda: server.open_connections <= 1)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_closing_ends_what_is_under_way(
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        if request.method == "GET":
            await peer.send(LONG_BODY if request.path == "/stream" else b"", b"hello" * (request.path != "/silent"))
        elif request.path == "/silent":
            await peer.take(len(BIG))
        await asyncio.Event().wait()

    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(script) as (server, client):
        memories = [bytearray(length) for length in (1_000_000, 2_000_000, 10)]
        streams = [await client.get("/stream", STREAMED) for _ in range(4)]
        assert [await stream.read_chunk() for stream in streams] == [b"hello"] * 4
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(streams[0].read_chunk()),
            *(asyncio.create_task(streams[1 + n].read_into(memoryview(memories[n]))) for n in range(3)),
            asyncio.create_task(client.get("/silent")),
            asyncio.create_task(client.put(BIG)),
            asyncio.create_task(client.put(BIG, "/silent")),
        ]
        await server.until(lambda: server.connections == len(tasks))
        await turns(20)
        await client.pool.aclose(closed)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * len(tasks)
        for stream in streams:
            assert stream.taken == 5
            with failing("closed meanwhile", dream.SessionClosedError):
                await stream.read_chunk()
            with failing("closed meanwhile", dream.SessionClosedError):
                await stream.read_into(memoryview(bytearray(10)))
            stream.close()
        assert not any(map(any, memories))


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_closing_ends_what_is_still_connecting(over_tls: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async with RawServer(answers()) as server:
        with full_port() as port:
            pool = Pool(timeouts=PATIENT, ssl_context=ssl.create_default_context() if over_tls else None)
            host = server.host if over_tls else f"127.0.0.1:{port}"  # in the handshake, or before it
            requests = [asyncio.create_task(pool.send(asked(host))) for _ in range(3)]
            await turns(20)
            await pool.aclose(closed)
            outcomes = await asyncio.gather(*requests, return_exceptions=True)
        await server.until(lambda: server.open_connections == 0)
    assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * 3


@on_every_loop
async def test_a_closed_pool_opens_no_connection() -> None:
    async with served(echo) as (server, client):
        await client.get()
        await client.pool.aclose(closed)
        with failing("closed meanwhile", dream.SessionClosedError):
            await client.get()
        await turns(20)
        assert server.connections == 1


@on_every_loop
async def test_closing_twice_at_once_waits_once() -> None:
    async with served(echo) as (_, client):
        await client.get()
        started = time.monotonic()
        await asyncio.gather(client.pool.aclose(closed), client.pool.aclose(closed))
        assert time.monotonic() - started < pool_module.CLOSING_SECONDS


@on_every_loop
async def test_closing_twice_ends_a_connection_attempt_once() -> None:
    with full_port() as port:
        for count in range(8):
            pool = Pool(timeouts=PATIENT, ssl_context=None)
            asking = asyncio.create_task(pool.send(asked(f"127.0.0.1:{port}")))
            await turns(5)
            await pool.aclose(closed)
            await turns(count)
            await pool.aclose(closed)
            with pytest.raises(dream.SessionClosedError):
                await asyncio.wait_for(asking, 10)


# Cancelled at any moment


class Deed:
    """Something done with a client that takes many turns of the event loop."""

    @staticmethod
    async def get(client: Client) -> None:
        await client.get("/small")

    @staticmethod
    async def fill(client: Client) -> None:
        response = await client.get("/large", STREAMED)
        memory = bytearray(300_000)
        try:
            assert await response.read_into(memoryview(memory)) == response.taken == 300_000
        finally:
            response.close()
            assert memory == b"1" * response.taken + bytes(300_000 - response.taken)

    @staticmethod
    async def fill_in_turns(client: Client) -> None:
        response = await client.get("/large", STREAMED)
        try:
            assert await filled(response, 70_000) == b"1" * 300_000
        finally:
            response.close()

    @staticmethod
    async def stream(client: Client) -> None:
        response = await client.get("/large", STREAMED)
        try:
            await content_of(response)
        finally:
            response.close()

    @staticmethod
    async def put(client: Client) -> None:
        await client.put(bytes(600_000))


async def sized(peer: Peer) -> None:
    while True:
        request = await peer.request()
        if request.path == "/large":
            await peer.pour(ok(b"1" * 300_000))
        else:
            await peer.send(ok(b"answer to " + request.path.encode()))


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "new"])
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("deed", [Deed.get, Deed.fill, Deed.fill_in_turns, Deed.stream, Deed.put])
@on_every_loop
async def test_a_request_can_be_cancelled_at_every_turn(
    deed: Callable[[Client], Coroutine[object, object, None]],
    is_kept: bool,  # noqa: FBT001 - a parameter of the test
    over_tls: bool,  # noqa: FBT001 - the same
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(sized) as (server, client):
        for count in itertools.count():
            if is_kept:
                await client.get("/before")
            task = asyncio.create_task(deed(client))
            await turns(count)
            is_done = not task.cancel()
            if is_done:
                await task
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
            await assert_serves(client)
            assert client.pool.open_connections <= 2
            if is_done:
                break
            if not is_kept:
                await client.pool.aclose(closed)
                await server.until(lambda: server.open_connections == 0)
                client.pool = Pool(timeouts=PATIENT, ssl_context=client.pool._ssl_context)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("deed", [Deed.get, Deed.fill, Deed.fill_in_turns, Deed.stream, Deed.put])
@on_every_loop
async def test_a_pool_can_be_closed_at_every_turn(
    deed: Callable[[Client], Coroutine[object, object, None]],
    over_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificate: tuple[Path, Path],
    ca: Path,
) -> None:
    serve = functools.partial(served_over_tls, certificate, ca) if over_tls else served
    async with serve(sized) as (server, client):
        for count in itertools.count():
            task = asyncio.create_task(deed(client))
            await turns(count)
            is_done = task.done()
            await client.pool.aclose(closed)
            with suppress(dream.SessionClosedError):  # or all had arrived
                await task
            assert client.pool.open_connections == 0
            await server.until(lambda: server.open_connections == 0)
            if is_done:
                break
            client.pool = Pool(timeouts=PATIENT, ssl_context=client.pool._ssl_context)


@on_every_loop
async def test_a_connection_serves_its_host_alone() -> None:
    async with RawServer(echo) as server, client_of(server) as client:
        for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}") * 3:
            server.host = host
            await assert_serves(client)
        assert (server.connections, client.pool.idle_connections) == (2, 2)


@on_every_loop
async def test_nobody_gets_the_answer_of_another() -> None:
    chance = random.Random(5)

    async def careless(peer: Peer) -> None:
        # An answer that comes twice comes in one piece: a second one that arrives when the next request is already on
        # its way is the answer to that, as far as anyone can tell.
        while True:
            request = await peer.request()
            answer = ok(b"answer to " + request.path.encode())
            match chance.randrange(8):
                case 0:
                    await peer.send(answer + answer)
                case 1:
                    return
                case 2:
                    peer.reset()
                    return
                case 3:
                    await peer.send(answer[:30], answer[30:])
                case _:
                    await peer.send(answer)

    async def ask(client: Client, name: str) -> None:
        for number in range(100):
            asking = asyncio.create_task(client.get(f"/{name}/{number}", chance.choice([WHOLE, STREAMED])))
            if chance.random() < 0.2:
                await turns(chance.randrange(6))
                asking.cancel()
            try:
                content = await content_of(await asking)
            except (dream.ConnectionFailedError, dream.IncompleteBodyError, asyncio.CancelledError):
                continue
            answered.append(content == f"answer to /{name}/{number}".encode())

    answered: list[bool] = []
    async with served(careless) as (_, client):
        async with asyncio.TaskGroup() as group:
            for name in "abcdefgh":
                group.create_task(ask(client, name))
        assert len(answered) > 100
        assert all(answered)


# Whatever a peer makes of it


WORDS = [
    b"",
    b"\r\n",
    b"\n",
    b"\0",
    b":",
    b"0\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"content-length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 ",
    WRONG,
]


@dataclass(frozen=True)
class Said:
    """What a peer says to a request, in which pieces, and how it goes on."""

    pieces: Sequence[bytes]
    then: str
    way: str

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@st.composite
def answers_of_sorts(draw: st.DrawFn) -> Said:
    """Often a response, often nearly one, in pieces of any size."""
    kind = draw(st.sampled_from(list(KINDS.values())))
    data = draw(st.sampled_from([kind.data, kind.data + kind.data, kind.data + WRONG])) if draw(st.booleans()) else b""
    data = data or kind.data
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 12)))
        new = draw(st.sampled_from([*WORDS, data[start:stop] * 2]) | st.binary(max_size=4))
        data = data[:start] + new + data[stop:]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    pieces = [data[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(data)])]
    way = "head" if kind.expect.is_head else draw(st.sampled_from(list(WAYS)))
    return Said(pieces, draw(st.sampled_from(["fin", "fin", "fin", "reset", "listen"])), way)


def bodies(data: bytes, *, is_head: bool) -> Iterator[bytes]:
    """What a lenient reader may find in it: one reading, or none, but for interim responses that have a body."""
    data = data.lstrip(b"\r\n")
    head, end, rest = data.partition(b"\r\n\r\n")
    line = re.match(rb"HTTP/[0-9.]+ ([0-9]{3})", head)
    if not line or not end:
        return
    status, fields = int(line[1]), dict(re.findall(rb"\r\n([^:\r]+):[ \t]*([^\r]*?)[ \t]*(?=\r|$)", head.lower()))
    if status < 200:
        yield from bodies(rest, is_head=is_head)
    if is_head or status in (204, 304):
        found: bytes | None = b""
        after = rest
    elif b"transfer-encoding" in fields and fields[b"transfer-encoding"].endswith(b"chunked"):
        found, after = read_chunks(rest)
    elif b"content-length" in fields:
        length = int(fields[b"content-length"] or b"0")
        found, after = rest[:length] if len(rest) >= length else None, rest[length:]
    else:
        found, after = rest, b""
    if found is not None:
        yield from [found] if status >= 200 else bodies(after, is_head=is_head)


def read_chunks(data: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while line := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", data):
        size, data = int(line[1], 16), data[line.end() :]
        if size == 0:
            trailers = re.match(rb"(?:[^\r\n]+\r\n)*\r\n", data)
            return (body, data[trailers.end() :]) if trailers else (None, b"")
        if len(data) < size + 2 or data[size : size + 2] != b"\r\n":
            return None, b""
        body, data = body + data[:size], data[size + 2 :]
    return None, b""


@pytest.mark.parametrize("loop", LOOPS)
def test_no_peer_makes_it_hang_or_lie(loop: str) -> None:
    timeouts = dream.Timeouts(connect=10, read=0.1, write=0.1)
    ways = WAYS | {"head": (HEAD, content_of)}

    async def converse(said: Said) -> None:
        has_said = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            try:
                await peer.send(*said.pieces)
                if said.then == "reset":
                    peer.reset()
                elif said.then == "fin":
                    peer.fin()
            finally:
                has_said.set()
            if said.then == "listen":
                await echo(peer)
            await peer.until_gone()

        async with served(script, echo, timeouts=timeouts) as (_, client):
            expect, receive = ways[said.way]
            try:
                body = await receive(await client.get("/1", expect))
            except (dream.ConnectionFailedError, dream.IncompleteBodyError):
                pass
            else:
                assert body in list(bodies(said.data, is_head=said.way == "head"))
            await has_said.wait()
            await turns(20)
            await assert_serves(client)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:

        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @example(Said([KINDS["interim"].data], "fin", "whole"))
        @given(answers_of_sorts())
        def hold_conversations(said: Said) -> None:
            runner.run(_alone(converse(said)))

        hold_conversations()
