"""Bodies that are sent, and peers that answer or leave before they have all of one."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest
from http_client import BIG, PATIENT, Serve, asked, assert_serves, dies, echo, failing, ok, served, until_quiet
from invariants import traced_memory
from loops import on_every_loop
from servers.raw import Peer, turns

from aiodreamobjects._http.connection import Connection
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Body
from aiodreamobjects._http.turns import Turns
from aiodreamobjects._limits import BytePace
from aiodreamobjects._progress import Gauge


@on_every_loop
async def test_a_body_of_any_kind_arrives_as_it_is(serve: Serve) -> None:
    data = random.Random(4).randbytes(1_000_000)
    bodies: list[Body] = [b"", b"a", data[: 1 << 16], data[: (1 << 16) + 1], data, bytearray(data), memoryview(data)]
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
        with traced_memory() as memory:
            sending = asyncio.create_task(client.put(BIG, sent=sent))
            await until_quiet(lambda: sent.bytes)
            assert memory.taken < 2 << 20
            assert 0 < sent.count() < len(BIG) // 2
            may_read.set()
            assert (await sending).status == 200
            assert sent.bytes == sent.count() == len(BIG)


@pytest.mark.parametrize("is_paced", [False, True], ids=["as fast as it goes", "paced"])
@on_every_loop
async def test_a_gauge_tells_how_much_of_a_body_is_on_its_way(is_paced: bool, serve: Serve) -> None:
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
        self.turns = Turns(asyncio.get_running_loop())
        self.memory = memoryview(bytearray(1 << 16))

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
