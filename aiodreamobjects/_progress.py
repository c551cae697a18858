"""Progress of transfers: count the bytes, and call the user's callback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import isawaitable
from time import monotonic
from types import TracebackType
from typing import Self

import anyio

from aiodreamobjects._concurrency import Background
from aiodreamobjects._models import Moving, Progress

ProgressCallback = Callable[[Progress], Awaitable[None] | None]

INTERVAL_SECONDS = 0.1
_SHOWN_MOVING = 5


class Gauge:
    """The bytes of one request that have moved. The sender sets ``bytes``; for a receiver, ``count`` asks it."""

    __slots__ = ("before_end", "began", "bytes", "count", "key", "size")

    def __init__(self, size: int = 0, key: str = "") -> None:
        self.size, self.key = size, key
        self.began = monotonic() if key else 0.0
        self.bytes = 0
        self.count: Callable[[], int] = lambda: self.bytes
        self.before_end: Callable[[], Awaitable[None]] | None = None
        """Awaited before the last bytes of a request leave: the service cannot have made the object before that."""

    async def end(self) -> None:
        """Note that the last bytes of the request are about to leave."""
        if self.before_end is not None:
            await self.before_end()

    def follow(self, progress: Progress) -> None:
        """Serve as the callback of a transfer that is a piece of a larger one."""
        self.bytes = progress.done_bytes


class Growing:
    """A callback for a transfer that may start again. The figures that it passes on never go down."""

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._done = (0, 0)

    def __call__(self, progress: Progress) -> Awaitable[None] | None:
        self._done = max(self._done[0], progress.done_bytes), max(self._done[1], progress.done_objects)
        return self._callback(replace(progress, done_bytes=self._done[0], done_objects=self._done[1]))


class Meter:
    """Calls the callback ten times a second while there is something new, and once at the end. For one object or several.

    ``async with meter`` surrounds the transfer. Figures only grow: a part that is sent again counts once. Any exception
    of the callback ends the transfer, and is raised as it is. The end of the transfer waits for a call under way, and
    cancels it only if the caller is cancelled.

    The last call for one object comes before the object appears. If it raises, the old object stays in place.
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
        self._scope = anyio.CancelScope()
        self._watcher: Background[None] | None = None
        self._cancelling = 0
        self._is_calling = self._is_over = self._is_stopped = self._was_last = False
        self._error: BaseException | None = None
        """The callback's exception."""

    @contextmanager
    def piece(self, size: int, key: str = "") -> Iterator[Gauge]:
        """Measure a piece of the transfer. It counts with its whole size once it ends without an error.

        ``key``: the piece is a whole object, which ``Progress.moving`` shows.
        """
        gauge = Gauge(size, key)
        self._under_way.add(gauge)
        try:
            yield gauge
            self._done += size
        finally:
            self._under_way.discard(gauge)

    def finish_object(self, key: str, size: int = 0, *, objects: int = 1) -> None:
        """Note that one of several objects is done, or several. ``size`` counts their bytes that no piece has counted."""
        self._key = key
        self._done += size
        self._done_objects += objects

    @property
    def counted(self) -> tuple[int, int, str]:
        """How many objects and bytes are done, and the last key."""
        return self._done_objects, self._done, self._key

    def start_again(self) -> None:
        """Count from zero again: the transfer starts over."""
        self._done = 0

    async def complete(self) -> None:
        """Make the last call: all bytes are there, and the object has not appeared yet. A second time does nothing."""
        if self._callback is None or self._was_last:
            return
        await self._end_watch(is_cancelled=False)
        try:
            if self._error is None:
                await self._call_last()
        except BaseException as raised:  # noqa: BLE001 - raised by __aexit__
            self._fail(raised)
        # A failed callback has cancelled the scope, so this ends by a cancellation: no code in between takes the user's
        # error for its own. A caller that was cancelled meanwhile, perhaps by the callback, also ends here.
        await asyncio.sleep(0)
        if self._error is not None:
            await anyio.sleep_forever()

    async def __aenter__(self) -> Self:
        if self._callback is not None:
            self._scope.__enter__()
            self._cancelling = _cancellations()
            self._watcher = Background(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._callback is None:
            return
        is_callbacks = self._error is not None
        problem = error
        try:
            await self._end_watch(is_cancelled=_cancellations() > self._cancelling)
            if error is None and self._error is None:
                await self._call_last()
        except BaseException as raised:  # noqa: BLE001 - raised below, unless the callback's error comes first
            problem = raised
        is_ours = self._scope.__exit__(type(problem) if problem else None, problem, None)
        failure, self._error = self._error, None
        is_first = is_callbacks or error is None
        if failure is not None and is_first and (is_ours or not isinstance(problem, asyncio.CancelledError)):
            raise failure
        if not is_ours and problem is not None and problem is not error:
            raise problem

    async def _watch(self) -> None:
        try:
            while not self._is_over:
                await anyio.sleep(INTERVAL_SECONDS)
                count = self._done + sum(gauge.count() for gauge in self._under_way)
                if (count, self._done_objects) > self._told:
                    await self._call(count)
        except BaseException as raised:  # noqa: BLE001 - raised by __aexit__
            if not (self._is_stopped and isinstance(raised, asyncio.CancelledError)):
                self._fail(raised)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._scope.cancel()

    async def _end_watch(self, *, is_cancelled: bool) -> None:
        """End the watcher. Wait for a call under way, or cancel it."""
        watcher, self._watcher, self._is_over = self._watcher, None, True
        if watcher is None:
            return
        try:
            if self._is_calling and not is_cancelled:
                await asyncio.wait({watcher.task})
        finally:
            self._is_stopped = True
            await watcher.stop()

    async def _call_last(self) -> None:
        if not self._was_last:
            self._was_last = True
            done = self._done + sum(gauge.size for gauge in self._under_way)
            if self._is_of_one:
                self._done_objects = 1
            await self._call(done)

    async def _call(self, count: int) -> None:
        assert self._callback is not None
        self._told = count, objects = max(self._told[0], count), self._done_objects
        self._is_calling = True
        try:
            figures = count, self.total_bytes, objects, self.total_objects
            answer = self._callback(Progress(*figures, self._key, self._moving()))
            if isawaitable(answer):
                await answer
        finally:
            self._is_calling = False

    def _moving(self) -> tuple[Moving, ...]:
        whole = sorted((gauge for gauge in self._under_way if gauge.key), key=lambda gauge: gauge.began)
        now = monotonic()
        return tuple(Moving(one.key, one.count(), one.size, now - one.began) for one in whole[:_SHOWN_MOVING])


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
