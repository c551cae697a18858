"""How far a transfer is, told to whoever asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from aiodreamobjects._models import Progress

ProgressCallback = Callable[[Progress], Awaitable[None] | None]

INTERVAL_SECONDS = 0.1


class Meter:
    """Calls back at most ten times a second, and once at the end. What the callback raises ends the transfer."""

    def __init__(self, callback: ProgressCallback | None, *, total_bytes: int | None, key: str) -> None:
        self._callback = callback
        self._total_bytes = total_bytes
        self._key = key
        self._done_bytes = 0
        self._next_call = 0.0

    async def add(self, count: int) -> None:
        self._done_bytes += count
        if self._callback and time.monotonic() >= self._next_call:
            await self._call(done_objects=0)

    async def finish(self, count: int = 0) -> None:
        self._done_bytes += count
        if self._callback:
            await self._call(done_objects=1)

    async def _call(self, *, done_objects: int) -> None:
        assert self._callback is not None
        answer = self._callback(Progress(self._done_bytes, self._total_bytes, done_objects, 1, self._key))
        if isawaitable(answer):
            await answer
        self._next_call = time.monotonic() + INTERVAL_SECONDS
