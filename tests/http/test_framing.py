"""A response is the same wherever it is split, and whatever marks the end of its body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from http_client import KINDS, STREAMED, Kind, Receiver, content_of, echo, filled, ok, on_every_way, served
from loops import on_every_loop
from servers.raw import Peer, Script, answers

import aiodreamobjects as dream
from aiodreamobjects._http.transport import Expect


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


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"], ids=["silent", "keep-alive"])
@on_every_loop
async def test_an_old_peer_is_understood(keep_alive: bytes) -> None:
    old = b"HTTP/1.0 200 OK\r\n%sContent-Length: 3\r\n\r\nold" % keep_alive
    async with served(answers(old), echo) as (_, client):
        assert (await client.get()).content == b"old"
        assert client.pool.idle_connections == bool(keep_alive)
