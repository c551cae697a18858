"""Requests that are cancelled, and pools that are closed, at every turn of the event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest
from http_client import PATIENT, STREAMED, Client, Serve, assert_serves, closed, content_of, filled, ok
from loops import on_every_loop
from servers.raw import Peer, turns

import aiodreamobjects as dream
from aiodreamobjects._http.pool import Pool


class Deed:
    """Something done with a client that takes many turns of the event loop."""

    @staticmethod
    async def get(client: Client) -> None:
        await client.get("/small")

    @staticmethod
    async def fill(client: Client) -> None:
        response = await client.get("/large", STREAMED)
        memory = bytearray(300_000)
        try:
            assert await response.read_into(memoryview(memory)) == response.taken == 300_000
        finally:
            response.close()
            assert memory == b"1" * response.taken + bytes(300_000 - response.taken)

    @staticmethod
    async def fill_in_turns(client: Client) -> None:
        response = await client.get("/large", STREAMED)
        try:
            assert await filled(response, 70_000) == b"1" * 300_000
        finally:
            response.close()

    @staticmethod
    async def stream(client: Client) -> None:
        response = await client.get("/large", STREAMED)
        try:
            await content_of(response)
        finally:
            response.close()

    @staticmethod
    async def put(client: Client) -> None:
        await client.put(bytes(600_000))


async def sized(peer: Peer) -> None:
    while True:
        request = await peer.request()
        if request.path == "/large":
            await peer.pour(ok(b"1" * 300_000))
        else:
            await peer.send(ok(b"answer to " + request.path.encode()))


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "new"])
@pytest.mark.parametrize("deed", [Deed.get, Deed.fill, Deed.fill_in_turns, Deed.stream, Deed.put])
@on_every_loop
async def test_a_request_can_be_cancelled_at_every_turn(
    deed: Callable[[Client], Coroutine[object, object, None]], is_kept: bool, serve: Serve
) -> None:
    async with serve(sized) as (server, client):
        for count in itertools.count():
            if is_kept:
                await client.get("/before")
            task = asyncio.create_task(deed(client))
            await turns(count)
            is_done = not task.cancel()
            if is_done:
                await task
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
            await assert_serves(client)
            assert client.pool.open_connections <= 2
            if is_done:
                break
            if not is_kept:
                await client.pool.aclose(closed)
                await server.until(lambda: server.open_connections == 0)
                client.pool = Pool(timeouts=PATIENT, ssl_context=client.pool._ssl_context)


@pytest.mark.parametrize("deed", [Deed.get, Deed.fill, Deed.fill_in_turns, Deed.stream, Deed.put])
@on_every_loop
async def test_a_pool_can_be_closed_at_every_turn(
    deed: Callable[[Client], Coroutine[object, object, None]], serve: Serve
) -> None:
    async with serve(sized) as (server, client):
        for count in itertools.count():
            task = asyncio.create_task(deed(client))
            await turns(count)
            is_done = task.done()
            await client.pool.aclose(closed)
            with suppress(dream.SessionClosedError):  # or all had arrived
                await task
            assert client.pool.open_connections == 0
            await server.until(lambda: server.open_connections == 0)
            if is_done:
                break
            client.pool = Pool(timeouts=PATIENT, ssl_context=client.pool._ssl_context)
