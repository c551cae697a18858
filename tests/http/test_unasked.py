"""What a peer says that nobody asked for is no answer, and its connection is not used again."""

from __future__ import annotations

import asyncio
import functools

import pytest
from http_client import (
    HEAD,
    KINDS,
    STREAMED,
    WAYS,
    WHOLE,
    WRONG,
    Kind,
    Receiver,
    Serve,
    assert_serves,
    content_of,
    echo,
    filled,
    ok,
    served,
)
from loops import on_every_loop
from servers.raw import Peer, answers, turns

from aiodreamobjects._http.transport import Expect


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
async def test_tls_hides_nothing_that_follows_a_response(extra: bytes, size: int, over_tls: Serve) -> None:
    body = bytes(size)
    ways: list[tuple[Expect, Receiver]] = [(WHOLE, content_of), (STREAMED, content_of)]
    ways += [(STREAMED, functools.partial(filled, room=room)) for room in (size, size + 1, size - 1)]
    for expect, receive in ways:
        async with over_tls(answers(ok(body) + extra), echo) as (server, client):
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


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "just before the next request"])
@pytest.mark.parametrize("said", [WRONG, b"x", "fin", "reset"], ids=str)
@on_every_loop
async def test_what_an_idle_connection_says_is_no_answer(said: bytes | str, noticed: bool, serve: Serve) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        await peer.send(ok())
        await asyncio.Event().wait()

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
            while client.pool.open_connections:
                await asyncio.sleep(0)
            assert client.pool.idle_connections == 0
        # Even of one that must not be sent twice nothing is lost: it was not sent at all.
        response = await client.get("/next", method="POST", is_idempotent=False)
        assert response.content == b"answer to /next"
    assert server.paths == ["/", "/next"]
