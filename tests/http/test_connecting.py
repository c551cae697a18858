"""Connections that cannot be had, or only by another address of the host."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import nullcontext

import pytest
from http_client import assert_serves, client_of, connect, echo, failing
from loops import on_every_loop
from servers.ports import free_port, full_port
from servers.raw import RawServer

import aiodreamobjects as dream


@on_every_loop
async def test_a_refused_connection_may_be_tried_again() -> None:
    for host in (f"127.0.0.1:{free_port()}", f"[::1]:{free_port()}", f"localhost:{free_port()}"):
        with failing("connection failed") as caught:
            await connect(host)
        assert str(caught.value).startswith(f"http://{host}: ")
        assert (caught.value.retryable, caught.value.request_sent) == (True, False)


@on_every_loop
async def test_a_connection_must_come_in_time() -> None:
    started = time.monotonic()
    with full_port() as port, failing(r"did not connect within 0.2 s") as caught:
        await connect(f"127.0.0.1:{port}", dream.Timeouts(connect=0.2))
    assert time.monotonic() - started > 0.19  # a timer of uvloop counts in milliseconds
    assert (caught.value.retryable, caught.value.request_sent) == (True, False)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (UnicodeError("label too long"), False),
    ],
    ids=["unknown", "try again", "no name"],
)
@on_every_loop
async def test_an_unknown_host_is_named(error: Exception, *, retryable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    with failing("http://service.example:80: the host name is unknown") as caught:
        await connect("service.example:80")
    assert (caught.value.retryable, caught.value.request_sent) == (retryable, False)


@on_every_loop
async def test_a_resolver_must_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    with failing("did not connect within 0.2 s"):
        await connect("service.example", dream.Timeouts(connect=0.2))


@pytest.mark.parametrize("dead", ["refuses", "is silent"])
@on_every_loop
async def test_a_host_of_which_an_address_is_dead_is_reached_by_another(
    dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async with RawServer(echo) as server, client_of(server) as client:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def resolve(name: str, port: int, **options: object) -> object:
            if name != "service.example":  # uvloop resolves addresses as well
                return await real(name, port, **options)  # type: ignore[arg-type]  # handed on
            asked.append((name, port))
            addresses = (
                ("127.0.0.2", "127.0.0.1") if name == "service.example" else (name,)
            )  # uvloop resolves those, too
            kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
            return [(*kind, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
        server.host = f"service.example:{server.port}"
        with full_port("127.0.0.2", server.port) if dead == "is silent" else nullcontext():
            await assert_serves(client)
            await assert_serves(client)
    assert asked.count(("service.example", server.port)) == 1
