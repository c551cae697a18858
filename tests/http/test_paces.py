"""Limited bandwidth."""

from __future__ import annotations

import asyncio
import functools
import random
from contextlib import suppress

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
    closed,
    content_of,
    echo,
    failing,
    filled,
    ok,
    on_every_way,
    served,
    take,
    until_quiet,
)
from invariants import traced_memory
from loops import on_every_loop, taking_at_least
from servers.raw import Peer, Script, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Expect
from aiodreamobjects._limits import BytePace
from aiodreamobjects._progress import Gauge

AT_ONCE, TLS_AT_ONCE = 16 << 10, 512 << 10
"""Read at once where bandwidth is limited, at most: what has just been read is paid for after it."""


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


@on_every_loop
async def test_all_that_is_sent_together_keeps_to_the_bandwidth(serve: Serve) -> None:
    paces, sizes = Paces(sending=BytePace(1e6)), (1, 1000, 65_536, 133_463, 200_000)
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


@pytest.mark.parametrize("room", [0, 70_000, 1_000_000], ids=["in chunks", "into less memory", "into memory"])
@on_every_loop
async def test_all_that_is_received_together_keeps_to_the_bandwidth(room: int, serve: Serve) -> None:
    size, per_second = (1_000_000, 4e6) if serve.over_tls else (100_000, 1e6)
    at_once = TLS_AT_ONCE if serve.over_tls else AT_ONCE
    body = random.Random(8).randbytes(size)
    async with serve(pours(body), paces=Paces(receiving=BytePace(per_second))) as (server, client):

        async def fetch() -> bytes:
            response = await client.get("/", STREAMED)
            return await (filled(response, room) if room else content_of(response))

        with taking_at_least(4 * (size - at_once) / per_second):
            assert await asyncio.gather(*(fetch() for _ in range(4))) == [body] * 4
        with taking_at_least((2 * size - at_once) / per_second):
            assert [await fetch(), await fetch()] == [body] * 2
        assert server.connections == client.pool.idle_connections == 4


@on_every_loop
async def test_one_direction_does_not_wait_for_the_other(serve: Serve) -> None:
    body = random.Random(8).randbytes(1_000_000)
    # At this pace, a kilobyte that takes the wrong way would not be there before the test is given up.
    async with serve(pours(body), paces=Paces(sending=BytePace(1e-3))) as (_, client):
        assert await content_of(await client.get("/", STREAMED)) == body
    async with serve(sink, paces=Paces(receiving=BytePace(1e5))) as (_, client):
        assert (await client.put(BIG)).content == b"%d" % len(BIG)


@on_every_loop
async def test_a_limit_is_not_held_against_the_peer(serve: Serve) -> None:
    body = bytes(100_000)
    paces = Paces(BytePace(150_000), BytePace(150_000))
    async with serve(pours(body), paces=paces, timeouts=IMPATIENT) as (_, client):
        for receive in (content_of, functools.partial(filled, room=len(body))):
            assert await receive(await client.get("/", Expect(low_speed=300_000, stream_from=0))) == body
    async with serve(sink, paces=paces, timeouts=IMPATIENT) as (server, client):
        with taking_at_least(0.66):
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


@on_every_loop
async def test_a_body_that_nobody_reads_stays_with_its_sender_whatever_the_limit(serve: Serve) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await peer.pour(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        for start in range(0, len(BIG), 1 << 16):
            await peer.pour(BIG[start : start + (1 << 16)])

    async with serve(script, paces=Paces(receiving=BytePace(1e9))) as (_, client):
        response = await client.get("/", STREAMED)
        with traced_memory() as traced:
            await until_quiet(lambda: peers[0].sent)
            assert traced.taken < 2 << 20
        assert peers[0].sent < len(BIG) // 2  # the kernel's buffers
        memory = memoryview(bytearray(1_000_000))
        for start in range(0, 3_000_000, len(memory)):
            assert await response.read_into(memory) == len(memory)
            assert memory == BIG[start : start + len(memory)]
        response.close()


@pytest.mark.parametrize("room", [0, 100_000, 500_001])
@on_every_loop
async def test_the_last_response_of_a_connection_arrives_whatever_the_limit(room: int, serve: Serve) -> None:
    body = random.Random(9).randbytes(500_001)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pour(ok(body, headers=b"Connection: close\r\n"))

    # uvloop throws away what TLS has received when the peer closes while nobody reads: MagicStack/uvloop#661.
    may_fail = serve.over_tls and type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    async with serve(script, paces=Paces(receiving=BytePace(1e6))) as (_, client):
        received = bytearray()
        with suppress(*[dream.IncompleteBodyError] * may_fail):
            response = await client.get("/", STREAMED)
            while chunk := await take(response, room):
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
