"""How often a tree wakes its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import TypeVarTuple, Unpack

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

Ts = TypeVarTuple("Ts")
FILES = 1500


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the steps of all tasks."""

    steps = 0

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.steps += 1
        return super().call_soon(callback, *args, context=context)


def steps_of_a_download(requests: int, directory: Path) -> int:
    async def download() -> int:
        async with MemoryService().session(limits=dream.Limits(requests=requests)) as session:
            bucket = await session.create_bucket("bucket")
            await asyncio.gather(*(bucket.object(f"{number}").put(b"x") for number in range(FILES)))
            loop = asyncio.get_running_loop()
            assert isinstance(loop, CountingLoop)
            before = loop.steps
            assert (await bucket.download_tree(directory)).copied == FILES
            return loop.steps - before

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(download())


def test_a_batch_does_not_wake_every_task_that_waits_for_it(tmp_path: Path) -> None:
    few, many = (steps_of_a_download(requests, tmp_path / f"{requests}") for requests in (16, 256))
    assert many < 5 * few
