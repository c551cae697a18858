"""Small pieces of structured concurrency."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import anyio

T = TypeVar("T")


async def finish(work: Coroutine[object, object, T]) -> T:
    """Run ``work`` to its end, whatever cancels the caller meanwhile; a cancellation is raised after it.

    For opening and cleaning up: anyio's shields keep out anyio's cancellations, not a bare ``task.cancel()``.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled() and (failure := task.exception()):
            cancelled.__context__ = failure
        raise cancelled
    return task.result()


async def in_parallel(width: int, worker: Callable[[], Awaitable[None]]) -> None:
    """Run ``width`` copies of a worker that pulls its work. The first error stops them all and is raised as itself."""
    errors: list[Exception] = []

    async def run(scope: anyio.CancelScope) -> None:
        try:
            await worker()
        except Exception as error:  # noqa: BLE001 - raised below, when all have ended
            errors.append(error)
            scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(width):
            group.start_soon(run, group.cancel_scope)
    if errors:
        raise errors[0]


class Places:
    """A number of places, and a queue for them: first come, first served.

    Taking one that is free does not suspend: anyio's semaphore would, which costs a turn of the event loop.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._closed_by: Callable[[], Exception] | None = None

    def take(self) -> bool:
        """Whether there was a free place; it is then the caller's, to ``give_back``."""
        if self._free and self._closed_by is None:
            self._free -= 1
            return True
        return False

    async def wait(self) -> None:
        """Queue for a place."""
        if self._closed_by is not None:
            raise self._closed_by()
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            has_place = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give_back()  # it was this one's turn already
            with suppress(ValueError):
                self._queue.remove(turn)
            raise
        if not has_place:
            assert self._closed_by is not None
            raise self._closed_by()

    def give_back(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1

    def close(self, error: Callable[[], Exception]) -> None:
        """Whoever waits, or comes later, gets such an error."""
        self._closed_by = error
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(False)


class RateLimiter:
    """Spreads starts evenly. Callers wait in a queue; one that gives up leaves no gap."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._turn = anyio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        async with self._turn:
            start = max(self._next, time.monotonic())
            await anyio.sleep(max(0.0, start - time.monotonic()))
            self._next = start + self._interval
