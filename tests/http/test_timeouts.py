"""Peers that are silent or that crawl are given up; peers that are slow but move are not."""

from __future__ import annotations

import asyncio
import time

import pytest
from http_client import (
    BIG,
    IMPATIENT,
    LONG_BODY,
    STREAMED,
    Receiver,
    Serve,
    asked,
    assert_serves,
    echo,
    failing,
    on_every_way,
    served,
)
from loops import on_every_loop
from servers.raw import Peer, Script, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http.transport import Expect


def dripping(head: bytes, *, piece: bytes, seconds: float) -> Script:
    """A head, and then a piece at a time for as long as the client listens."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        while True:
            await asyncio.sleep(seconds)
            await peer.pour(piece)

    return script


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
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n")
        for _ in range(6):  # longer than it may be silent
            await asyncio.sleep(0.07)
            await peer.pour(bytes(100))

    async with served(script, timeouts=IMPATIENT) as (_, client):
        response = await client.get("/", Expect(low_speed=50, stream_from=expect.stream_from))
        assert await receive(response) == bytes(600)


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


@on_every_loop
async def test_a_peer_that_takes_no_byte_is_given_up(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

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


@on_every_loop
async def test_a_slow_link_takes_what_the_kernel_holds_for_it(serve: Serve) -> None:
    """The last write is long past when the last byte leaves: no silence, as long as the peer takes something."""
    body = bytes(1 << 20)

    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(len(body) >> 16):
            await asyncio.sleep(0.06)
            await peer.take(1 << 16)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

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
