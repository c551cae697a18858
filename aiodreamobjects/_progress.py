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

    def follow(self, progress: Progress) -> None:
        """As the callback of a transfer that is a piece of a larger one."""
        self.bytes = progress.done_bytes


class Meter:
    """Calls back ten times a second while there is something new, and once at the end. Of one object, or of several.

    What the callback raises ends the transfer. Figures only grow: a part that is sent again counts once.
    """

    def __init__(
        self,
        callback: ProgressCallback | None,
        *,
        total_bytes: int | None,
        key: str = "",
        total_objects: int | None = 1,
    ) -> None:
        self._callback, self._key = callback, key
        self.total_bytes, self.total_objects = total_bytes, total_objects
        self._is_of_one = total_objects == 1
        self._done = self._done_objects = 0
        self._told = (0, 0)
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

    def finish_object(self, key: str, size: int = 0) -> None:
        """One of several is done, and so many bytes with it that were no piece."""
        self._key = key
        self._done += size
        self._done_objects += 1

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
                    if (count, self._done_objects) > self._told:
                        await self._call(count)
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
        if self._is_of_one:
            self._done_objects = 1
        await self._call(self._done)

    async def _call(self, count: int) -> None:
        assert self._callback is not None
        self._told = count, objects = max(self._told[0], count), self._done_objects
        answer = self._callback(Progress(count, self.total_bytes, objects, self.total_objects, self._key))
        if isawaitable(answer):
            await answer
