"""Idle and old connections are closed; closing the pool ends everything."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest
from http_client import (
    BIG,
    IMPATIENT,
    LONG_BODY,
    PATIENT,
    STREAMED,
    Serve,
    asked,
    assert_serves,
    closed,
    echo,
    failing,
    served,
)
from loops import on_every_loop
from servers.ports import full_port
from servers.raw import Peer, RawServer, answers, turns

import aiodreamobjects as dream
from aiodreamobjects._http import pool as pool_module
from aiodreamobjects._http.pool import Pool


@on_every_loop
async def test_an_idle_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.2)
    async with served(echo, timeouts=IMPATIENT) as (server, client):
        for number in range(10):  # while it is used it is not idle
            await assert_serves(client)
            await asyncio.sleep(0.05)
            assert server.connections == 1, number
        await server.until(lambda: server.open_connections == 0)
        assert client.pool.open_connections == 0
        await assert_serves(client)
    assert server.connections == 2


@on_every_loop
async def test_an_old_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "AGE_SECONDS", 0.2)
    async with served(echo, timeouts=IMPATIENT) as (server, client):
        while server.connections < 3:
            await assert_serves(client)
            await asyncio.sleep(0.01)
        await server.until(lambda: server.open_connections <= 1)


@on_every_loop
async def test_closing_ends_what_is_under_way(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        if request.method == "GET":
            await peer.send(LONG_BODY if request.path == "/stream" else b"", b"hello" * (request.path != "/silent"))
        elif request.path == "/silent":
            await peer.take(len(BIG))
        await asyncio.Event().wait()

    async with serve(script) as (server, client):
        memories = [bytearray(length) for length in (1_000_000, 2_000_000, 10)]
        streams = [await client.get("/stream", STREAMED) for _ in range(4)]
        assert [await stream.read_chunk() for stream in streams] == [b"hello"] * 4
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(streams[0].read_chunk()),
            *(asyncio.create_task(streams[1 + n].read_into(memoryview(memories[n]))) for n in range(3)),
            asyncio.create_task(client.get("/silent")),
            asyncio.create_task(client.put(BIG)),
            asyncio.create_task(client.put(BIG, "/silent")),
        ]
        await server.until(lambda: server.connections == len(tasks))
        await turns(20)
        await client.pool.aclose(closed)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * len(tasks)
        for stream in streams:
            assert stream.taken == 5
            with failing("closed meanwhile", dream.SessionClosedError):
                await stream.read_chunk()
            with failing("closed meanwhile", dream.SessionClosedError):
                await stream.read_into(memoryview(bytearray(10)))
            stream.close()
        assert not any(map(any, memories))


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@on_every_loop
async def test_closing_ends_what_is_still_connecting(over_tls: bool) -> None:
    async with RawServer(answers()) as server:
        with full_port() as port:
            pool = Pool(timeouts=PATIENT, ssl_context=ssl.create_default_context() if over_tls else None)
            host = server.host if over_tls else f"127.0.0.1:{port}"  # in the handshake, or before it
            requests = [asyncio.create_task(pool.send(asked(host))) for _ in range(3)]
            await turns(20)
            await pool.aclose(closed)
            outcomes = await asyncio.gather(*requests, return_exceptions=True)
        await server.until(lambda: server.open_connections == 0)
    assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * 3


@on_every_loop
async def test_a_closed_pool_opens_no_connection() -> None:
    async with served(echo) as (server, client):
        await client.get()
        await client.pool.aclose(closed)
        with failing("closed meanwhile", dream.SessionClosedError):
            await client.get()
        await turns(20)
        assert server.connections == 1


@on_every_loop
async def test_closing_twice_at_once_waits_once() -> None:
    async with served(echo) as (_, client):
        await client.get()
        started = time.monotonic()
        await asyncio.gather(client.pool.aclose(closed), client.pool.aclose(closed))
        assert time.monotonic() - started < pool_module.CLOSING_SECONDS


@on_every_loop
async def test_closing_twice_ends_a_connection_attempt_once() -> None:
    with full_port() as port:
        for count in range(8):
            pool = Pool(timeouts=PATIENT, ssl_context=None)
            asking = asyncio.create_task(pool.send(asked(f"127.0.0.1:{port}")))
            await turns(5)
            await pool.aclose(closed)
            await turns(count)
            await pool.aclose(closed)
            with pytest.raises(dream.SessionClosedError):
                await asyncio.wait_for(asking, 10)
