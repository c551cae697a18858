"""For how long the event loop is held, in CPU time of its thread."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ALARM_SECONDS = 0.05
LOOK_EVERY_SECONDS = 0.005
FRAMES = 20


class LoopWatch:
    """The longest callback of this thread's event loop, which most often is a step of a task.

    CPU time counts and not what passes meanwhile: a busy machine makes no callback longer.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._thread)
        self._run = asyncio.Handle._run  # asyncio's own door to every callback
        self._started: float | None = None
        self._found = ""
        self._is_over = threading.Event()
        self.longest_seconds = 0.0
        self.longest = ""
        """What it was, and where it was found when it had taken too long: at its end, if it kept the interpreter."""
        self.callbacks = 0

    def __str__(self) -> str:
        return (
            f"{self.longest_seconds * 1000:.1f} ms of CPU time at once, in {self.callbacks} callbacks: {self.longest}"
        )

    def begin(self) -> None:
        self._started, self._found = time.thread_time(), ""

    def end(self, callback: object) -> None:
        """Of a callback, or of as much of it as was watched."""
        assert self._started is not None
        seconds, self._started = time.thread_time() - self._started, None
        self.callbacks += 1
        if seconds > self.longest_seconds:
            owner = getattr(callback, "__self__", callback)
            self.longest_seconds, self.longest = seconds, f"{owner!r:.300}\n{self._found}"

    def run(self, handle: asyncio.Handle) -> None:
        if threading.get_ident() != self._thread or self._is_over.is_set():
            self._run(handle)
            return
        callback = getattr(handle, "_callback", None)
        self.begin()
        try:
            self._run(handle)
        finally:
            if self._started is not None:
                self.end(callback)

    def look(self) -> None:
        """In a thread: where is it, if it takes long?"""
        while not self._is_over.wait(LOOK_EVERY_SECONDS):
            started = self._started
            if started is not None and not self._found and time.clock_gettime(self._clock) - started > ALARM_SECONDS:
                self._found = "".join(traceback.format_stack(sys._current_frames()[self._thread], limit=FRAMES))

    def stop(self) -> None:
        self._is_over.set()


@contextmanager
def watched_loop() -> Iterator[LoopWatch]:
    """What runs on this thread's loop until this is left. Garbage that is there already is left alone."""
    watch = LoopWatch()
    looking = threading.Thread(target=watch.look, name="watched_loop")

    def run(handle: asyncio.Handle) -> None:
        watch.run(handle)

    gc.freeze()
    looking.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", run)
            watch.begin()
            yield watch
            watch.end(asyncio.current_task())
    finally:
        watch.stop()
        looking.join()
        gc.unfreeze()
