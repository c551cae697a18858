"""A server on an event loop and in a thread of its own, so that tests of any kind, and other processes, can talk to it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self


class ThreadedServer:
    """Serves on ``port`` for as long as the ``with`` block lasts."""

    port: int

    def __init__(self, name: str) -> None:
        self._listening: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._listening.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._begin())
        except BaseException as error:
            if self._listening.done():
                raise
            self._listening.set_exception(error)

    async def _begin(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await self._serve()

    async def _serve(self) -> None:
        """Tell the port by ``_listening``, and serve until ``_stopping`` is set."""
        raise NotImplementedError
