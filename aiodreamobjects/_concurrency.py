"""Small pieces of structured concurrency."""

from __future__ import annotations

import asyncio
import mmap
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar, cast

import anyio

from aiodreamobjects._errors import ConnectionFailedError

T = TypeVar("T")


async def finish(work: Awaitable[T], *, grace: float | None = None) -> T:
    """Run ``work`` to its end, whatever cancels the caller meanwhile; a cancellation is raised after it.

    For opening and cleaning up: anyio's shields keep out anyio's cancellations, not a bare ``task.cancel()``. Once
    the caller is cancelled, work that takes longer than ``grace`` seconds from then on is cancelled as well, and work
    with a ``grace`` also where all tasks of the loop are: a second Ctrl-C does not wait for the network.
    """
    task = asyncio.ensure_future(work)
    if grace is None and isinstance(task, asyncio.Task):
        asyncio._unregister_task(task)  # noqa: SLF001 - documented ("Extending asyncio"): asyncio.run cancels all it finds
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with anyio.CancelScope(shield=cancelled is not None):
                _, pending = await asyncio.wait({task}, timeout=None if cancelled is None else grace)
            if pending:
                task.cancel()
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


async def ahead(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same items, each made while the one before it is in use. What is under way is cancelled when this is closed."""
    task = asyncio.ensure_future(anext(items, _END))
    try:
        while (item := await task) is not _END:
            task = asyncio.ensure_future(anext(items, _END))
            yield cast("T", item)
    finally:
        if not task.done():
            task.cancel()
            await finish(asyncio.wait({task}))
        if not task.cancelled():
            task.exception()  # nobody else will ask for it
        await items.aclose()


_END = object()


class Places:
    """A number of places, and a queue for them: first come, first served.

    Taking one that is free does not suspend: anyio's semaphore would, which costs a turn of the event loop.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = count
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._closed_by: Callable[[], Exception] | None = None

    def resize(self, count: int) -> None:
        """So many places from now on. Whoever has one keeps it: fewer come free."""
        self._free += count - self._count
        self._count = count
        while self._free > 0 and self._hand_on():
            self._free -= 1

    def take(self) -> bool:
        """Whether there was a free place; it is then the caller's, to ``give_back``."""
        if self._free > 0 and self._closed_by is None:
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
        if self._free < 0 or not self._hand_on():
            self._free += 1

    def _hand_on(self) -> bool:
        """Whether somebody waited, and has the place now."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(True)
                return True
        return False

    def close(self, error: Callable[[], Exception]) -> None:
        """Whoever waits, or comes later, gets such an error."""
        self._closed_by = error
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(False)


class Crowd:
    """How many requests may be under way: half as many when the service is overrun, and one more a round when it is not.

    Additive increase, multiplicative decrease, as TCP does (RFC 5681 section 3.1). What was under way at a decrease
    causes no other.
    """

    def __init__(self, places: Places, most: int) -> None:
        self._places, self._most = places, most
        self._width = float(most)
        self.is_reduced = False
        self.decreases = 0

    def overrun(self, decreases: int) -> None:
        """The service refused a request because there are too many. It had its place after so many ``decreases``."""
        if decreases == self.decreases:
            self.decreases += 1
            self._set(max(1.0, self._width / 2))

    def served(self) -> None:
        """A request succeeded."""
        self._set(min(self._most, self._width + 1 / self._width))

    def _set(self, width: float) -> None:
        self._width, self.is_reduced = width, width < self._most
        self._places.resize(int(width))


class Memory:
    """So many bytes for what is under way, shared by all who ask: first come, first served.

    Who asks for more than there is at all gets it when nobody else has any. Whoever holds memory never waits for more.
    """

    def __init__(self, size: int, patience: float | None) -> None:
        self._size, self._patience = size, patience
        self._used = 0
        self._spare: list[memoryview] = []
        self._queue: deque[tuple[int, asyncio.Future[bool]]] = deque()
        self._closed_by: Callable[[], Exception] | None = None

    async def take(self, size: int) -> memoryview:
        """A buffer of this size, to ``give_back``. ConnectionFailedError after ``patience`` seconds without one."""
        if self._closed_by is not None:
            raise self._closed_by()
        if self._queue or not self._fits(size):
            try:
                async with asyncio.timeout(self._patience):
                    await self._wait(size)
            except TimeoutError as error:
                msg = f"no memory for a part became free within Timeouts.pool={self._patience:g} s: raise Limits.memory"
                raise ConnectionFailedError(msg, request_sent=False) from error
        else:
            self._used += size
        if self._spare and len(self._spare[-1]) == size:
            return self._spare.pop()
        self._spare.clear()
        # A bytearray would be filled with zeros at once, and hold the event loop: these pages come as they are used.
        try:
            return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        except OSError as error:
            self._used -= size
            self._grant()
            msg = f"there are no {size:,} bytes of memory for a part"
            raise MemoryError(msg) from error

    def give_back(self, buffer: memoryview) -> None:
        self._used -= len(buffer)
        self._spare.append(buffer)
        self._grant()
        if not self._used:
            self._spare.clear()

    def close(self, error: Callable[[], Exception]) -> None:
        """Whoever waits, or comes later, gets such an error."""
        self._closed_by = error
        while self._queue:
            _, turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(False)

    async def _wait(self, size: int) -> None:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            has_memory = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self._used -= size
            with suppress(ValueError):
                self._queue.remove((size, turn))
            self._grant()
            raise
        if not has_memory:
            assert self._closed_by is not None
            raise self._closed_by()

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._size

    def _grant(self) -> None:
        while self._queue and self._fits(self._queue[0][0]):
            size, turn = self._queue.popleft()
            if not turn.done():
                self._used += size
                turn.set_result(True)


class BytePace:
    """Spreads bytes evenly over time, for all who spend them."""

    CATCH_UP_SECONDS = 0.1
    """So much lateness of timers is made good."""

    def __init__(self, per_second: float) -> None:
        self._seconds_per_byte = 1 / per_second
        self._next = 0.0

    def spend(self, count: int) -> float:
        """For how many seconds to do nothing before (or after) these bytes; less than nothing, where it is late."""
        now = time.monotonic()
        self._next = max(self._next, now - self.CATCH_UP_SECONDS) + count * self._seconds_per_byte
        return self._next - now


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
