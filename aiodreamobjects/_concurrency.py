"""Small pieces of structured concurrency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
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


class RateLimiter:
    """Spreads starts evenly. Callers wait in a queue; one that gives up leaves no gap."""

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._turn = anyio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        if not self._interval:
            return
        async with self._turn:
            start = max(self._next, time.monotonic())
            await anyio.sleep(max(0.0, start - time.monotonic()))
            self._next = start + self._interval
