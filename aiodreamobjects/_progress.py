"""How far a transfer is, told to whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable

import anyio

from aiodreamobjects._models import Progress

ProgressCallback = Callable[[Progress], Awaitable[None] | None]

INTERVAL_SECONDS = 0.1


class Gauge:
    """How many bytes of one request are under way: written by whoever sends them, or asked of whoever receives them."""

    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        self.bytes = 0
        self.count: Callable[[], int] = lambda: self.bytes


class Meter:
    """Calls back ten times a second while there is something new, and once at the end.

    What the callback raises ends the transfer. Figures only grow: a part that is sent again counts once.
    """

    def __init__(self, callback: ProgressCallback | None, *, total_bytes: int | None, key: str) -> None:
        self._callback, self._key = callback, key
        self.total_bytes = total_bytes
        self._done = self._told = 0
        self._under_way: set[Gauge] = set()

    @contextmanager
    def piece(self, size: int) -> Iterator[Gauge]:
        """A piece of the transfer, which counts for its size once it is left without an error."""
        gauge = Gauge()
        self._under_way.add(gauge)
        try:
            yield gauge
            self._done += size
        finally:
            self._under_way.discard(gauge)

    def start_again(self) -> None:
        self._done = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the transfer runs. Left without an error, the transfer is done, and the last call is made."""
        if self._callback is None:
            yield
            return
        error: BaseException | None = None

        async def watch(scope: anyio.CancelScope) -> None:
            nonlocal error
            try:
                while True:
                    await anyio.sleep(INTERVAL_SECONDS)
                    count = self._done + sum(gauge.count() for gauge in self._under_way)
                    if count > self._told:
                        await self._call(count, done_objects=0)
            except Exception as raised:  # noqa: BLE001 - raised below, when all have ended
                error = raised
                scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch, group.cancel_scope)
            try:
                yield
            except asyncio.CancelledError:
                raise
            except BaseException as raised:  # noqa: BLE001 - raised below, as itself and not in a group
                error = error or raised
            finally:
                group.cancel_scope.cancel()
        if error is not None:
            raise error
        await self._call(self._done, done_objects=1)

    async def _call(self, count: int, *, done_objects: int) -> None:
        assert self._callback is not None
        self._told = max(self._told, count)
        answer = self._callback(Progress(self._told, self.total_bytes, done_objects, 1, self._key))
        if isawaitable(answer):
            await answer
