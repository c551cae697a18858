"""Batches that run a second time, since the answer of the first time was lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import aiodreamobjects as dream


class _Twice(Executor):
    """Runs each batch and loses the answer, as a worker does that dies then. Another worker does the batch again."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._pool.submit(fn, *args, **kwargs)
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT002 - as it is
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


async def test_a_conditional_copy_that_was_made_already_is_done(here: dream.Bucket) -> None:
    await here.object("a").put(b"a")
    await here.object("others").put(b"b")
    pairs = [("a", "copy"), ("a", "others")]
    with _Twice() as pool:
        report = await here.copy_many(pairs, if_absent=True, executor=pool, on_error="collect")
    assert (report.done, [failure.key for failure in report.failures]) == (1, ["others"])
    assert isinstance(report.failures[0].error, dream.AlreadyExistsError)
    assert await here.object("copy").read() == b"a"
    assert await here.object("others").read() == b"b"


async def test_a_move_that_was_made_already_is_done(here: dream.Bucket) -> None:
    await here.object("from/a").put(b"a")
    with _Twice() as pool:
        report = await here.move_tree(here, "from", "to", executor=pool)
    assert (report.copied, report.failed) == (1, 0)
    assert [info.key async for info in here.list()] == ["to/a"]
