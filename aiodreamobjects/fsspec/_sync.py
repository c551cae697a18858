"""Synchronous calls: they run on the event loop of another thread, and an interruption ends them there too."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from aiodreamobjects.fsspec._border import FSTimeoutError

CLEAN_UP_SECONDS = 20.0
"""How long an interrupted call may take to clean up: to abort an upload, to remove a temporary file."""

SIGNAL_SECONDS = 0.2
"""How often a thread that waits looks for signals. One that comes just before the thread sleeps does not wake it; on Windows none does."""

P = ParamSpec("P")
T = TypeVar("T")


def sync(loop: asyncio.AbstractEventLoop | None, call: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a call on the loop, and wait for it. Ctrl-C cancels it; fsspec's own ``sync`` would leave it running."""
    if loop is None or loop.is_closed() or is_running(loop):
        call.close()
        if is_running(loop):
            msg = "Calling sync() from within a running loop"
            raise NotImplementedError(msg)  # as fsspec does
        msg = "Loop is not running"
        raise RuntimeError(msg)
    tasks: list[asyncio.Task[T]] = []
    turn = threading.Lock()  # not an Event: a signal that interrupts its methods would leave it locked
    turn.acquire()

    def begin() -> None:
        tasks.append(loop.create_task(call))
        tasks[0].add_done_callback(lambda _: turn.release())

    def cancel() -> None:
        if not tasks:  # the interruption came first
            begin()
        tasks[0].cancel()

    def ends_within(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (tasks and tasks[0].done()):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            turn.acquire(timeout=min(left, SIGNAL_SECONDS))
        return True

    is_in_time = False
    try:
        loop.call_soon_threadsafe(begin)
        is_in_time = ends_within(timeout or math.inf)
    finally:
        if not is_in_time:
            loop.call_soon_threadsafe(cancel)
            ends_within(CLEAN_UP_SECONDS)
    if not is_in_time:
        raise FSTimeoutError
    return tasks[0].result()


def sync_wrapper(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return the synchronous form of a method of the filesystem."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        fs: Any = args[0]
        timeout: Any = kwargs.pop("timeout", None)
        return sync(fs.loop, method(*args, **kwargs), timeout)

    return call


def is_running(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Return whether this is called on the loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
