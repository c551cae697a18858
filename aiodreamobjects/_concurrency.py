"""Small pieces of structured concurrency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
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


class Pacer:
    """Spreads starts evenly: each caller of ``wait`` gets the next slot."""

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        if not self._interval:
            return
        now = time.monotonic()
        slot = max(now, self._next)
        self._next = slot + self._interval
        if slot > now:
            await anyio.sleep(slot - now)
