"""A body that is read in chunks as it arrives."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from http_client import BIG, STREAMED, Serve, assert_serves, content_of, echo, failing, served, take, until_quiet
from invariants import traced_memory
from loops import on_every_loop
from servers.raw import Peer, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http.transport import Response


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


@pytest.mark.parametrize("room", [0, len(BIG), len(BIG) // 5], ids=["in chunks", "into memory", "into less memory"])
@on_every_loop
async def test_a_body_that_nobody_reads_stays_with_its_sender(room: int, serve: Serve) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await peer.pour(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        for start in range(0, len(BIG), 1 << 16):
            await peer.pour(BIG[start : start + (1 << 16)])
        await echo(peer)

    async with serve(script) as (server, client):
        response = await client.get("/", STREAMED)
        with traced_memory() as memory:
            await until_quiet(lambda: peers[0].sent)
            assert memory.taken < 2 << 20
        assert peers[0].sent < len(BIG) // 2  # the kernel's buffers
        received = 0
        while chunk := await take(response, room):
            assert len(chunk) <= max(room, 1 << 20)
            assert chunk == BIG[received : received + len(chunk)]
            received += len(chunk)
        assert received == response.taken == len(BIG)
        await assert_serves(client)
    assert server.connections == 1


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


ENDS = pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])


@asynccontextmanager
async def arrived(end: Callable[[Peer], None], length: int, *pieces: bytes) -> AsyncIterator[Response]:
    """A response that breaks off: its connection has ended."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + pieces[0], *pieces[1:])
        end(peer)

    async with served(script) as (_, client):
        response = await client.get("/", STREAMED)
        while client.pool.open_connections:
            await asyncio.sleep(0)
        yield response


@ENDS
@on_every_loop
async def test_a_body_that_has_arrived_outlives_its_connection(end: Callable[[Peer], None]) -> None:
    async with arrived(end, 10, b"hello", b"again") as response:
        assert await content_of(response) == b"helloagain"
        assert await response.read_chunk() == b""


@ENDS
@on_every_loop
async def test_what_came_before_an_error_is_delivered_before_it(end: Callable[[Peer], None]) -> None:
    async with arrived(end, 100, b"hel", b"lo") as response:
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
            with failing("a body that is not valid HTTP", dream.IncompleteBodyError):
                await response.read_chunk()
