"""Where --processes and --dask do the work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.work import in_thread

END_SECONDS = 5.0
"""How long a worker has to end by itself."""


class Executors:
    """The executors of one run, one of each kind."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._made: dict[tuple[object, object], Executor] = {}

    async def get(self, processes: object, dask: object) -> Executor:
        """Return the executor. Raises RefusedError for both kinds at once, and for Dask without its package."""
        if processes is not None and dask is not None:
            msg = "--processes and --dask exclude each other: choose one"
            raise RefusedError(msg)
        kind = processes, dask
        if kind not in self._made:
            self._made[kind] = self._pool(processes) if isinstance(processes, int) else await self._cluster(str(dask))
        return self._made[kind]

    async def close(self) -> None:
        """End the workers of this machine, and leave the cluster."""
        await self._stack.aclose()

    def _pool(self, count: int) -> Executor:
        context = multiprocessing.get_context("forkserver")  # no thread of this process can hold a lock there
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_follow_parent)

        self._stack.push_async_callback(in_thread, _end, pool)
        return pool

    async def _cluster(self, address: str) -> Executor:
        try:
            from distributed import Client  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            msg = '--dask needs Dask: python -m pip install "aiodreamobjects[dask]"'
            raise RefusedError(msg) from error
        client: Any = Client(address, asynchronous=True)  # type: ignore[no-untyped-call, unused-ignore]  # has no types
        await self._stack.enter_async_context(client)
        executor: Executor = client.get_executor()
        return executor


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers. One that still has a batch, of a command that was interrupted, gives it up and cleans up."""
    workers = list((pool._processes or {}).values())  # noqa: SLF001 - until Python 3.14 there is no public way
    pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + END_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.terminate()
    pool.shutdown()


def _follow_parent() -> None:
    """Ctrl-C goes to all processes of a terminal. The parent decides what ends: ``terminate`` raises SystemExit in a worker.

    So does the death of the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
