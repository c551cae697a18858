"""Connections that are kept: which requests use them, and what happens if one is dead."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from http_client import STREAMED, WHOLE, Client, assert_serves, client_of, content_of, dies, echo, failing, ok, served
from loops import on_every_loop
from servers.raw import Peer, RawServer, turns

import aiodreamobjects as dream


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
