"""A forward proxy for plain http, which sends every request to loopback whatever host it names."""

from __future__ import annotations

import asyncio
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
        """One request a connection: the origin is told to close, and what it says is handed on until it does."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            method, target, rest = (await reader.readuntil(b"\r\n")).split(b" ", 2)
            parts = urlsplit(target.decode())
            self.targets.append(parts.netloc)
            path = target.decode().partition(parts.netloc)[2]
            head = (await reader.readuntil(b"\r\n\r\n")).replace(b"keep-alive", b"close")
            from_origin, to_origin = await asyncio.open_connection("127.0.0.1", parts.port or 80)
            to_origin.write(b" ".join([method, path.encode(), rest]) + b"Connection: close\r\n" + head)
            sending = asyncio.create_task(_pour(reader, to_origin))
            try:
                await _pour(from_origin, writer)
            finally:
                sending.cancel()
                to_origin.close()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
