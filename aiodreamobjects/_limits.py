"""The limits that all work of a session shares: places, memory, bandwidth, starts per second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio

from aiodreamobjects._errors import ConnectionFailedError
from aiodreamobjects._system import pages

UNCOUNTED_BYTES = 256 << 10
"""The largest buffer that does not count against the session's memory: small objects must not wait for large ones."""


class Stalled(Exception):  # noqa: N818 - caught inside: the error that users see names the resource
    """Nothing came free, and nothing moved, for a queue's ``patience``."""


class _Queue:
    """Tasks that wait for their turn: first come, first served.

    They fail with ``Stalled`` if for ``patience`` seconds none of them got its turn, and ``moved`` did not change. A long
    queue that moves is not a stall: ten thousand calls may wait for each other.
    """

    def __init__(self, patience: float | None) -> None:
        self._patience = patience
        self.turns: deque[tuple[int, asyncio.Future[bool]]] = deque()
        """For each task, the size that it asks for, and the future that its turn resolves."""
        self._patient: set[asyncio.Future[bool]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_turn = 0.0
        self._moved_before = 0
        self.moved: Callable[[], int] = lambda: 0
        """A figure that changes while the tasks that had their turn make progress."""
        self.closed_by: Callable[[], Exception] | None = None

    @property
    def first(self) -> int | None:
        """The size that the first task in the queue asks for. None if nobody waits."""
        while self.turns and self.turns[0][1].done():
            self.turns.popleft()
        return self.turns[0][0] if self.turns else None

    async def wait(self, size: int, give_back: Callable[[int], None], *, is_patient: bool = False) -> None:
        """Wait for a turn. ``give_back`` returns one that came to a cancelled task. A patient wait does not end by a stall.

        Raises Stalled, or an error from the function that ``close`` was given.
        """
        if self.closed_by is not None:
            raise self.closed_by()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        if not self.turns:
            self._last_turn = loop.time()
            if self._timer is None and self._patience is not None:
                self._moved_before = self.moved()
                self._timer = loop.call_later(self._patience, self._look)
        self.turns.append((size, turn))
        if is_patient:
            self._patient.add(turn)
        try:
            has_turn = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None and turn.result():
                give_back(size)
            with suppress(ValueError):
                self.turns.remove((size, turn))
            raise
        finally:
            self._patient.discard(turn)
        if not has_turn:
            assert self.closed_by is not None
            raise self.closed_by()

    def hand_on(self) -> bool:
        """Give the first in the queue its turn. Return whether there was one."""
        if self.first is None:
            return False
        _, turn = self.turns.popleft()
        self._last_turn = turn.get_loop().time()
        turn.set_result(True)
        return True

    def close(self, error: Callable[[], Exception]) -> None:
        """Make all waiting and later tasks raise an error from this function."""
        self.closed_by = error
        while self.first is not None:
            self.turns.popleft()[1].set_result(False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Check for a stall. If there is none yet, look again when the patience of the queue would end."""
        self._timer = None
        if self.first is None or self._patience is None:
            return
        loop, moved = self.turns[0][1].get_loop(), self.moved()
        if moved != self._moved_before:
            self._moved_before, self._last_turn = moved, loop.time()
        left = self._last_turn + self._patience - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
            return
        waiting = [turn for turn in self.turns if turn[1] in self._patient]
        for _, turn in self.turns:
            if turn not in self._patient and not turn.done():
                turn.set_exception(Stalled())
        self.turns.clear()
        self.turns.extend(waiting)
        if waiting:
            self._timer = loop.call_later(self._patience, self._look)


class Places:
    """A number of places, and a queue for them.

    Taking a free place does not suspend. anyio's semaphore does, which costs a turn of the event loop.
    """

    def __init__(self, count: int, patience: float | None = None) -> None:
        self._count = count
        self._free = count
        self.queue = _Queue(patience)
        self._turns = self.queue.turns

    def resize(self, count: int) -> None:
        """Change the number of places. Taken places stay taken: a smaller number takes effect as they come free."""
        self._free += count - self._count
        self._count = count
        while self._free > 0 and self.queue.hand_on():
            self._free -= 1

    def take(self) -> bool:
        """Take a free place. Return whether there was one. The caller must give it back."""
        if self._free > 0 and self.queue.closed_by is None:
            self._free -= 1
            return True
        return False

    def take_beyond(self) -> None:
        """Take a place even if none is free. Then one place less comes free later."""
        self._free -= 1

    async def wait(self) -> None:
        """Queue for a place. Raises Stalled, or an error from the function that ``close`` was given."""
        await self.queue.wait(1, self.give_back)

    def give_back(self, _: int = 1) -> None:
        """Give a place back, or hand it to the first in the queue."""
        if not (self._turns and self._free >= 0 and self.queue.hand_on()):
            self._free += 1

    def close(self, error: Callable[[], Exception]) -> None:
        """Make all waiting and later tasks raise an error from this function."""
        self.queue.close(error)


class Crowd:
    """The number of requests that may be under way. It halves if the service is busy, and grows by one a round if not.

    This is additive increase and multiplicative decrease, as in TCP (RFC 5681 section 3.1). A decrease counts once: the
    requests that were under way then cause no other one.
    """

    def __init__(self, places: Places, most: int) -> None:
        self._places, self._most = places, most
        self._width = float(most)
        self.is_reduced = False
        self.decreases = 0
        self.on_change: Callable[[int, int], None] | None = None
        """Called with the number of requests that may be under way, before and after a change."""

    def overrun(self, decreases: int) -> None:
        """Note that the service refused a request as one too many. ``decreases`` is their number when it got its place."""
        if decreases == self.decreases:
            self.decreases += 1
            self._set(max(1.0, self._width / 2))

    def served(self) -> None:
        """Note that a request succeeded."""
        self._set(min(self._most, self._width + 1 / self._width))

    def _set(self, width: float) -> None:
        before, after = int(self._width), int(width)
        self._width, self.is_reduced = width, width < self._most
        self._places.resize(after)
        if self.on_change is not None and before != after:
            self.on_change(before, after)


class Memory:
    """A budget of bytes for parts under way: first come, first served.

    A request larger than the whole budget is granted when nothing else is held. A task that holds memory must not wait for
    more, unless it does so through its ``Share``.
    """

    def __init__(self, size: int, patience: float | None) -> None:
        self._size, self._patience = size, patience
        self._used = 0
        self._spare: list[memoryview] = []
        self.queue = _Queue(patience)

    def share(self) -> Share:
        """Return the account of one transfer."""
        return Share(self)

    async def take(self, size: int, *, is_patient: bool = False) -> memoryview:
        """Take a buffer of this size. The caller must give it back.

        Raises ConnectionFailedError if nothing moved for ``patience`` seconds, unless ``is_patient``. Raises MemoryError
        if the machine has no memory left.
        """
        if self.queue.closed_by is not None or self.queue.first is not None or not self._fits(size):
            try:
                await self.queue.wait(size, self._let_go, is_patient=is_patient)
            except Stalled as error:
                self._grant()  # the next in the queue may ask for less
                msg = (
                    f"no memory for a part became free within Timeouts.pool={self._patience:g} s: other transfers hold "
                    f"{self._used:,} bytes, and none of them moves; raise Limits.memory={self._size:,}, or look for "
                    "sources that yield nothing"
                )
                raise ConnectionFailedError(msg, request_sent=False) from error
            except BaseException:
                self._grant()  # the next in the queue may ask for less
                raise
        else:
            self._used += size
        if self._spare and len(self._spare[-1]) == size:
            return self._spare.pop()
        self._spare.clear()
        # A bytearray would fill all pages with zeros now, which holds up the event loop. mmap gives pages as they are used.
        try:
            return memoryview(pages(size))
        except OSError as error:
            self._let_go(size)
            msg = f"the machine has no {size:,} bytes of memory for a part: lower Limits.memory or Limits.part_size"
            raise MemoryError(msg) from error

    def give_back(self, buffer: memoryview) -> None:
        """Give a buffer back. The next request for the same size gets it."""
        self._spare.append(buffer)
        self._let_go(len(buffer))
        if not self._used:
            self._spare.clear()

    def close(self, error: Callable[[], Exception]) -> None:
        """Make all waiting and later tasks raise an error from this function."""
        self.queue.close(error)

    def _let_go(self, size: int) -> None:
        self._used -= size
        self._grant()

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._size

    def _grant(self) -> None:
        while (size := self.queue.first) is not None and self._fits(size):
            self._used += size
            self.queue.hand_on()


class Share:
    """The memory that one transfer holds. While it holds some, it can make progress, so no stall of others ends its waits."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._count = 0

    @asynccontextmanager
    async def lend(self, size: int) -> AsyncIterator[memoryview]:
        """Lend a buffer for the time of an ``async with``. Raises as ``Memory.take``."""
        buffer = await self.take(size)
        try:
            yield buffer
        finally:
            self.give_back(buffer)

    async def take(self, size: int) -> memoryview:
        """Take a buffer, as ``Memory.take``. One of up to ``UNCOUNTED_BYTES`` needs no wait."""
        if size <= UNCOUNTED_BYTES:
            return memoryview(bytearray(size))
        buffer = await self._memory.take(size, is_patient=self._count > 0)
        self._count += 1
        return buffer

    def give_back(self, buffer: memoryview) -> None:
        """Give a buffer back. The next request for the same size gets it."""
        if len(buffer) > UNCOUNTED_BYTES:
            self._count -= 1
            self._memory.give_back(buffer)


class BytePace:
    """Spreads bytes evenly over time, for all callers together."""

    CATCH_UP_SECONDS = 0.1
    """The longest delay that later bytes make up for. Timers are often late."""

    def __init__(self, per_second: float) -> None:
        self._seconds_per_byte = 1 / per_second
        self._next = 0.0

    def spend(self, count: int) -> float:
        """Count these bytes. Return how many seconds to wait before or after them; negative if they are late."""
        now = time.monotonic()
        self._next = max(self._next, now - self.CATCH_UP_SECONDS) + count * self._seconds_per_byte
        return self._next - now


class RateLimiter:
    """Spreads starts evenly. Callers wait in a queue. One that gives up leaves no gap."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._turn = anyio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        async with self._turn:
            start = max(self._next, time.monotonic())
            await anyio.sleep(max(0.0, start - time.monotonic()))
            self._next = start + self._interval
