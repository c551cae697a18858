"""The transport to a service in memory: what ``Transport`` promises, without a connection."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from servers.faulty import until

import aiodreamobjects as dream
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Body, Expect, HeaderLines, Pieces, Request, Transport
from aiodreamobjects._memory.transport import MemoryTransport
from aiodreamobjects._progress import Gauge
from aiodreamobjects.testing import MemoryService

LARGE = bytes(range(256)) * 4096
WHOLE = 64 << 10


@pytest.fixture
def memory() -> MemoryService:
    service = MemoryService()
    service._engine.store.create("photos")
    return service


@pytest.fixture
def transport(memory: MemoryService) -> MemoryTransport:
    return MemoryTransport(memory._engine, "memory", timeouts=dream.Timeouts(read=0.2))


@pytest.fixture(scope="module")
def signer() -> Iterator[Any]:
    """It presigns: an independent client, which sends nothing."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url="https://memory.invalid",
        aws_access_key_id="memory",
        aws_secret_access_key="not-a-secret",
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    yield client
    client.close()


class Asker:
    def __init__(self, signer: Any) -> None:
        self._signer = signer

    def __call__(
        self,
        operation: str,
        key: str = "a",
        body: Body = b"",
        *,
        sent: Gauge | None = None,
        stream_from: int | None = WHOLE,
        expires_in: int = 3600,
        **parameters: object,
    ) -> Request:
        method = {"get": "GET", "put": "PUT", "head": "HEAD", "delete": "DELETE"}[operation]
        url = urlsplit(
            self._signer.generate_presigned_url(
                f"{operation}_object", {"Bucket": "photos", "Key": key, **parameters}, ExpiresIn=expires_in
            )
        )
        lines = HeaderLines(f"host: memory.invalid\r\ncontent-length: {len(body)}\r\n")
        expect = Expect(0, is_head=method == "HEAD", stream_from=stream_from)
        target = f"{url.path}?{url.query}"
        return Request(method, "memory.invalid", target, lines, body, expect, is_idempotent=True, sent=sent)


@pytest.fixture
def ask(signer: Any) -> Asker:
    return Asker(signer)


def closed() -> dream.SessionClosedError:
    return dream.SessionClosedError("closed")


def test_it_is_a_transport(transport: MemoryTransport) -> None:
    assert_is: Transport = transport
    assert (assert_is.open_connections, assert_is.idle_connections, assert_is.bytes_moved()) == (0, 0, 0)


async def test_a_small_body_comes_with_its_head(transport: MemoryTransport, ask: Asker) -> None:
    gauge = Gauge()
    put = await transport.send(ask("put", body=memoryview(b"Hello"), sent=gauge, stream_from=None))
    assert (put.status, put.content, gauge.bytes) == (200, b"", 5)
    found = await transport.send(ask("get"))
    assert (found.status, found.content, found.headers[b"content-length"]) == (200, b"Hello", b"5")
    assert await found.read_chunk() == b""
    head = await transport.send(ask("head"))
    assert (head.status, head.content, head.headers[b"etag"]) == (200, b"", found.headers[b"etag"])
    missing = await transport.send(ask("get", "missing"))
    assert missing.status == 404
    assert b"<Code>NoSuchKey</Code>" in (missing.content or b"")
    deleted = await transport.send(ask("delete"))
    assert (deleted.status, b"content-length" in deleted.headers) == (204, False)
    assert transport.bytes_moved() == 5


async def test_a_large_body_is_streamed(transport: MemoryTransport, ask: Asker) -> None:
    await transport.send(ask("put", body=LARGE))
    found = await transport.send(ask("get"))
    assert found.content is None
    chunk = await found.read_chunk()
    assert 0 < len(chunk) < len(LARGE)
    memory = bytearray(300_000)
    assert await found.read_into(memoryview(memory)) == len(memory)
    assert found.taken == len(chunk) + len(memory)
    rest = bytearray(len(LARGE))
    count = await found.read_into(memoryview(rest))
    assert chunk + memory + rest[:count] == LARGE
    assert (await found.read_chunk(), await found.read_into(memoryview(rest))) == (b"", 0)
    assert (await transport.send(ask("get", stream_from=None))).content == LARGE
    left = await transport.send(ask("get"))
    left.close()
    left.close()
    assert await left.read_chunk() == b""


async def test_a_body_may_be_made_while_it_is_sent(transport: MemoryTransport, ask: Asker) -> None:
    async def made() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield b"abc"

    await transport.send(ask("put", body=Pieces(9, made)))
    assert (await transport.send(ask("get"))).content == b"abcabcabc"
    with pytest.raises(ValueError, match="does not have the 10 bytes"):
        await transport.send(ask("put", body=Pieces(10, made)))


async def test_a_gauge_is_asked_before_anything_is_done(
    transport: MemoryTransport, ask: Asker, memory: MemoryService
) -> None:
    gauge = Gauge()

    async def give_up() -> None:
        raise KeyError

    gauge.before_end = give_up
    with pytest.raises(KeyError):
        await transport.send(ask("put", body=b"x", sent=gauge))
    assert memory.requests == ()


async def test_others_run_while_a_request_is_sent(transport: MemoryTransport, ask: Asker) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    for _ in range(10):
        await transport.send(ask("get", "missing"))
    counter.cancel()
    assert turns >= 10


async def test_connections_break_before_or_after_the_work(
    transport: MemoryTransport, ask: Asker, memory: MemoryService
) -> None:
    memory.break_connection("put_object")
    with pytest.raises(
        dream.ConnectionFailedError, match="put_object s3://photos/a: the connection broke, as the test"
    ):
        await transport.send(ask("put", body=b"x"))
    assert (await transport.send(ask("get"))).status == 404
    memory.lose_reply("put_object")
    with pytest.raises(dream.ConnectionFailedError, match="the connection broke before the reply, as the test"):
        await transport.send(ask("put", body=b"x"))
    assert (await transport.send(ask("get"))).content == b"x"


async def test_a_body_that_is_cut_is_incomplete(transport: MemoryTransport, ask: Asker, memory: MemoryService) -> None:
    await transport.send(ask("put", body=LARGE))
    await transport.send(ask("put", "small", b"0123456789"))
    memory.cut_body(400_000, key="a", times=2)
    streamed = await transport.send(ask("get"))
    found = bytearray(len(LARGE))
    with pytest.raises(dream.IncompleteBodyError, match="after 400,000 of 1,048,576 bytes"):
        await streamed.read_into(memoryview(found))
    assert streamed.taken == 400_000
    assert found[:400_000] == LARGE[:400_000]
    streamed = await transport.send(ask("get"))
    arrived = await streamed.read_chunk() + await streamed.read_chunk()
    with pytest.raises(dream.IncompleteBodyError):
        await streamed.read_chunk()
    assert arrived == LARGE[:400_000]
    fault = memory.cut_body(3, key="small")
    with pytest.raises(dream.IncompleteBodyError, match="after 3 of 10 bytes"):
        await transport.send(ask("get", "small"))
    assert (await transport.send(ask("head", "small"))).status == 200
    assert fault.fired == 1


async def test_a_wait_ends_at_the_timeout_and_nothing_is_done(
    transport: MemoryTransport, ask: Asker, memory: MemoryService
) -> None:
    memory.delay("put_object", 5)
    with pytest.raises(dream.ConnectionFailedError, match=r"memory was silent for 0\.2 s"):
        await transport.send(ask("put", body=b"x"))
    may_go_on = asyncio.Event()
    memory.delay("put_object", may_go_on)
    waiting = asyncio.create_task(transport.send(ask("put", body=b"x")))
    await until(lambda: len(memory.requests) == 2)
    assert (await transport.send(ask("get"))).status == 404
    may_go_on.set()
    assert (await waiting).status == 200


async def test_closing_ends_what_is_under_way(transport: MemoryTransport, ask: Asker, memory: MemoryService) -> None:
    await transport.send(ask("put", body=LARGE))
    streamed = await transport.send(ask("get"))
    await streamed.read_chunk()
    memory.delay("get_object", asyncio.Event())
    waiting = asyncio.create_task(transport.send(ask("get")))
    await until(lambda: len(memory.requests) == 3)
    await transport.aclose(closed)
    with pytest.raises(dream.SessionClosedError):
        await waiting
    with pytest.raises(dream.SessionClosedError):
        await streamed.read_chunk()
    for _ in range(2):
        with pytest.raises(dream.SessionClosedError):
            await transport.send(ask("get"))
    assert len(memory.requests) == 3


async def test_a_request_that_is_cancelled_is_none_of_the_others(
    transport: MemoryTransport, ask: Asker, memory: MemoryService
) -> None:
    memory.delay("put_object", asyncio.Event())
    waiting = asyncio.create_task(transport.send(ask("put", body=b"x")))
    await until(lambda: len(memory.requests) == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await transport.send(ask("get"))).status == 404


async def test_bodies_move_at_the_pace_of_the_session(memory: MemoryService, ask: Asker) -> None:
    class Counting:
        bytes = 0

        def spend(self, count: int) -> float:
            self.bytes += count
            return 0.1

    sending, receiving = Counting(), Counting()
    paces = Paces(sending, receiving)  # type: ignore[arg-type]  # as far as it is used
    slow = MemoryTransport(memory._engine, "memory", timeouts=dream.Timeouts(), paces=paces)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await slow.send(ask("put", body=LARGE))
    assert (sending.bytes, loop.time() - started >= 0.1) == (len(LARGE), True)
    started, found = loop.time(), await slow.send(ask("get"))
    await found.read_into(memoryview(bytearray(len(LARGE))))
    assert (receiving.bytes, loop.time() - started >= 0.4) == (len(LARGE), True)
    assert slow.bytes_moved() == 2 * len(LARGE)


async def test_a_signature_expires_by_the_clock(transport: MemoryTransport, ask: Asker, memory: MemoryService) -> None:
    request = ask("put", body=b"x", expires_in=60)
    first = await transport.send(request)
    memory.clock.advance(timedelta(seconds=61))
    second = await transport.send(request)
    assert (first.status, second.status) == (200, 403)
    assert b"has expired" in (second.content or b"")
    modified = (await transport.send(ask("head"))).headers[b"last-modified"]
    memory.clock.advance(timedelta(minutes=10))
    await transport.send(ask("put", body=b"y"))
    assert (await transport.send(ask("head"))).headers[b"last-modified"] != modified


async def test_a_body_is_not_copied_while_it_is_streamed(transport: MemoryTransport, ask: Asker) -> None:
    content = bytes(16 << 20)
    await transport.send(ask("put", body=content))
    tracemalloc.start()
    try:
        streamed = await transport.send(ask("get"))
        while await streamed.read_chunk():
            pass
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
