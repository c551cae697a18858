"""A body that is received into memory of the caller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from http_client import STREAMED, Serve, assert_serves, content_of, echo, failing, filled, ok, served
from loops import on_every_loop
from servers.raw import Peer, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http.transport import Response


@on_every_loop
async def test_a_large_body_goes_into_memory_of_any_size(serve: Serve) -> None:
    body = random.Random(1).randbytes(3_000_001)

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.pour(ok(body[: int(request.path[1:])]))

    async with serve(script) as (server, client):
        for size in (len(body), 1, 65_536, 65_537, 0, 300_000):
            for room in (size, size + 1, size + 1_000_000, size // 2, size // 3, size - 1, 65_536):
                if room > 0:
                    assert await filled(await client.get(f"/{size}", STREAMED), room) == body[:size], (size, room)
    assert server.connections == 1


@on_every_loop
async def test_a_connection_is_free_as_soon_as_the_last_byte_is_in_memory(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.pour(ok(bytes(int(request.path[1:]))))

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


@pytest.mark.parametrize("framing", ["length", "chunked", "end"])
@on_every_loop
async def test_chunks_and_memory_can_take_turns(framing: str, serve: Serve) -> None:
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
    may_fail = framing == "end" and serve.over_tls
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


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 1000, 400_000, 499_999])
@on_every_loop
async def test_what_is_in_memory_when_a_body_breaks_off_is_counted(
    sent: int, end: Callable[[Peer], None], serve: Serve
) -> None:
    body = random.Random(7).randbytes(500_000)
    has_all = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body[:sent])
        await has_all.wait()
        end(peer)

    async with serve(script, script, script, echo) as (server, client):
        for room in (500_000, 600_000, 150_000):
            has_all.clear()
            response = await client.get("/", STREAMED)
            received = asyncio.create_task(_receive_until_it_breaks(response, room))
            while response.taken < sent:
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


@on_every_loop
async def test_memory_is_left_alone_once_its_reader_has_given_up(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", b"1" * 1000)
        await go_on.wait()
        with suppress(OSError):
            await peer.pour(b"2" * 199_000)

    async with serve(script, echo) as (_, client):
        memory = bytearray(200_000)
        response = await client.get("/", STREAMED)
        receiving = asyncio.create_task(response.read_into(memoryview(memory)))
        while response.taken < 1000:
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
        with failing("the response was not read to its end"):
            await response.read_into(memoryview(bytearray(10)))
        response.close()
        await assert_serves(client)
