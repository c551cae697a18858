"""A proxy of bytes in front of a real server, which breaks connections as its rules say. It knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from aiodreamobjects._memory.server import reset

Direction = Literal["up", "down"]
Effect = Literal["reset", "close", "silence", "drip", "flip"]

DRIP_BYTES, DRIP_SECONDS = 64, 0.1


@dataclass(slots=True)
class Break:
    """What happens to a connection after so many bytes in a direction, ``down`` being to the client.

    To the ``nth`` connection, that gets so far, and further ones, ``times`` in all; None for ever. ``fired`` counts.
    ``behind``: what has been said by the client before; the next byte to it is then the one.
    """

    effect: Effect
    after: int = 0
    direction: Direction = "down"
    nth: int = 1
    times: int | None = 1
    behind: bytes = b""
    fired: int = 0
    met: int = 0

    def strikes(self) -> bool:
        self.met += 1
        if self.met < self.nth or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


class BreakingProxy:
    """On the test's own event loop; ``port`` stands for the target's."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._breaks: tuple[Break, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def will(self, *breaks: Break) -> None:
        self._breaks = breaks

    def drop_all(self) -> None:
        """Reset the connections that there are. From any thread."""
        self._loop.call_soon_threadsafe(self._drop_all)

    def _drop_all(self) -> None:
        for writer in self._clients:
            reset(writer)

    @property
    def idle_breaks(self) -> list[Break]:
        return [one for one in self._breaks if not one.fired]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            self._clients.add(writer)
            from_target, to_target = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                await self._carry(reader, writer, from_target, to_target)
            finally:
                to_target.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_target: asyncio.StreamReader,
        to_target: asyncio.StreamWriter,
    ) -> None:
        ended = asyncio.Event()
        breaks = {
            direction: [one for one in self._breaks if one.direction == direction] for direction in ("up", "down")
        }
        up = _Pipe(reader, to_target, writer, breaks["up"], ended.set)
        down = _Pipe(from_target, writer, writer, breaks["down"], ended.set)
        up.hears = down.hear
        pipes = [asyncio.create_task(pipe.run()) for pipe in (up, down)]
        try:
            await ended.wait()
        finally:
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)


class _Pipe:
    """One direction of a connection."""

    def __init__(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        breaks: list[Break],
        end: Callable[[], object],
    ) -> None:
        self._source, self._sink, self._client, self._end = source, sink, client, end
        self._breaks = sorted((one for one in breaks if not one.behind), key=lambda one: one.after)
        self._waiting = [one for one in breaks if one.behind]
        self._armed: list[Break] = []
        self.hears: Callable[[bytes], object] = lambda _: None
        """Told what passes."""
        self._passed = 0
        self._is_slow = False

    async def run(self) -> None:
        with contextlib.suppress(OSError):
            await self._break_at(0)
            while data := await self._source.read(1 << 16):
                await self._pass(data)
        self._end()

    def hear(self, said: bytes) -> None:
        self._armed += [one for one in self._waiting if one.behind in said]
        self._waiting = [one for one in self._waiting if one not in self._armed]

    async def _pass(self, data: bytes) -> None:
        self.hears(data)
        while self._armed:
            found = self._armed.pop()
            if found.strikes():
                data = await self._strike(found, data)
        while self._breaks and self._breaks[0].after <= self._passed + len(data):
            count = self._breaks[0].after - self._passed
            await self._send(data[:count])
            data = data[count:]
            data = await self._break_at(self._passed, data)
        await self._send(data)

    async def _break_at(self, position: int, data: bytes = b"") -> bytes:
        while self._breaks and self._breaks[0].after <= position:
            found = self._breaks.pop(0)
            if found.effect == "flip" and not data:
                self._breaks.insert(0, found)  # with the byte that comes
                found.after += 1
                return data
            if found.strikes():
                data = await self._strike(found, data)
        return data

    async def _strike(self, found: Break, data: bytes) -> bytes:
        match found.effect:
            case "flip":
                return bytes([data[0] ^ 1]) + data[1:]
            case "drip":
                self._is_slow = True
            case "silence":
                await asyncio.Event().wait()
            case "reset":
                reset(self._client)
                raise ConnectionAbortedError
            case "close":
                raise ConnectionAbortedError
        return data

    async def _send(self, data: bytes) -> None:
        step = DRIP_BYTES if self._is_slow else len(data) or 1
        for start in range(0, len(data), step):
            self._sink.write(data[start : start + step])
            await self._sink.drain()
            self._passed += len(data[start : start + step])
            if self._is_slow:
                await asyncio.sleep(DRIP_SECONDS)
