"""A proxy that sends every request and tunnel to loopback whatever host it names, and TLS in front of another proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """``targets`` are the hosts that were asked for, with their ports."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: the origin is told to close, and what it says is handed on until it does.

        Or one tunnel.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            method, target, rest = (await reader.readuntil(b"\r\n")).split(b" ", 2)
            parts = urlsplit(target.decode() if method != b"CONNECT" else f"//{target.decode()}")
            self.targets.append(parts.netloc)
            head = (await reader.readuntil(b"\r\n\r\n")).replace(b"keep-alive", b"close")
            from_origin, to_origin = await asyncio.open_connection("127.0.0.1", parts.port or 80)
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = target.decode().partition(parts.netloc)[2]
                to_origin.write(b" ".join([method, path.encode(), rest]) + b"Connection: close\r\n" + head)
            await _pour_both(reader, writer, from_origin, to_origin)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


@asynccontextmanager
async def tls_in_front_of(port: int, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """Another port, which speaks TLS and hands everything on: a proxy of http:// becomes one of https://."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _pour_both(reader, writer, *await asyncio.open_connection("127.0.0.1", port))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pour_both(
    from_client: asyncio.StreamReader,
    to_client: asyncio.StreamWriter,
    from_origin: asyncio.StreamReader,
    to_origin: asyncio.StreamWriter,
) -> None:
    """Hand on what either says, until the origin has said all or the client has left."""
    sending = asyncio.create_task(_pour(from_client, to_origin))
    sending.add_done_callback(lambda _: to_origin.close())
    try:
        await _pour(from_origin, to_client)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
