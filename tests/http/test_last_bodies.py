"""A body that ends with its connection: it is complete only if the peer says so."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from http_client import IMPATIENT, STREAMED, WHOLE, Serve, closed, content_of, echo, failing, served, take
from loops import on_every_loop
from servers.raw import Peer, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http.transport import Expect


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


@on_every_loop
async def test_the_last_response_of_a_connection_arrives_whole(serve: Serve) -> None:
    body = random.Random(3).randbytes(LENGTHS[-1])

    async def script(peer: Peer) -> None:
        request = await peer.request()
        length = int(request.path[1:])
        await peer.pour(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length + body[:length])

    async with serve(script) as (_, client):
        for length in LENGTHS:
            assert (await client.get(f"/{length}")).content == body[:length]


@pytest.mark.parametrize("is_framed", [True, False], ids=["framed", "unframed"])
@on_every_loop
async def test_a_reader_of_the_last_response_gets_all_of_it_or_an_error(is_framed: bool, serve: Serve) -> None:
    body = random.Random(3).randbytes(LENGTHS[-1])

    async def script(peer: Peer) -> None:
        request = await peer.request()
        length = int(request.path[1:])
        framing = b"Content-Length: %d\r\nConnection: close\r\n" % length if is_framed else b""
        await peer.pour(b"HTTP/1.1 200 OK\r\n%s\r\n" % framing + body[:length])

    # uvloop throws away what TLS has received when the peer closes while nobody reads: MagicStack/uvloop#661. And TLS
    # does not tell us whether the end of a body that nothing else marks was the peer's word.
    is_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    may_fail = serve.over_tls and (is_uvloop or not is_framed)
    async with serve(script) as (_, client):
        for length, pause, room in itertools.product(LENGTHS, (0, 20), (0, 100_000, LENGTHS[-1])):
            response = await client.get(f"/{length}", STREAMED)
            received = bytearray(response.content or b"")
            try:
                while chunk := await take(response, room):
                    received += chunk
                    await turns(pause)
            except dream.IncompleteBodyError:
                assert may_fail
            else:
                assert received == body[:length]


@on_every_loop
async def test_a_body_whose_end_tls_does_not_confirm_is_incomplete(over_tls: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", b"hello")
        peer.break_off()  # as anyone on the way can

    async with over_tls(script) as (_, client):
        for expect in (WHOLE, STREAMED):
            with failing("ended a body early", dream.IncompleteBodyError):
                await content_of(await client.get("/", expect))
