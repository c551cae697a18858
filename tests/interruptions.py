"""Work that is cancelled at one of the moments at which it waits; and what must hold when it has ended."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import anyio
import pytest
from invariants import complaints_of_the_loop, descriptors

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = 300_000
"""Of this size on, parts are taken from the session's memory."""
RULES = dream.MultipartRules(smallest_part=1, largest_copy=PART)
TIGHT = dream.Limits(requests=1, parts_per_object=3, part_size=PART, memory=PART)
WIDE = dream.Limits(requests=8, parts_per_object=3, part_size=PART, memory=3 * PART)
PATIENCE_SECONDS = 20
"""So long a request that follows may take on a busy machine. One that waits for a place that is lost takes for ever."""

TURNS_TO_CLOSE = 20

How = Literal["the task", "a scope", "as it arrives", "twice"]

IS_SOAK = bool(os.environ.get("SOAK"))
ALL_OF_THE_FIRST = 12
"""So many of the first moments are each tried; with SOAK all are."""


class Interruption:
    """Cancels what it runs at the n-th time that one of its tasks waits for something; never where n is 0.

    The task itself, or an anyio scope around it; or the task, in the very moment in which what was waited for has come;
    or the task, and ``again`` waits later once more.
    """

    def __init__(self, at: int, how: How, *, again: int = 1) -> None:
        self.at, self.how, self.count = at, how, 0
        self._again = at + again if at and how == "twice" else None
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether the work was cut short."""
        with watched_tasks(self._on_wait):
            self._task = asyncio.create_task(self._in_scope(work))
            try:
                await self._task
            except asyncio.CancelledError:
                return True
        return self._scope.cancelled_caught

    async def _in_scope(self, work: Coroutine[Any, Any, object]) -> None:
        with self._scope:
            await work

    def _on_wait(self, waited_for: object) -> None:
        self.count += 1
        if self.count not in (self.at, self._again):
            return
        if self.how == "as it arrives" and isinstance(waited_for, asyncio.Future):
            waited_for.add_done_callback(lambda _: self._cancel())
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self.how == "a scope":
            self._scope.cancel()
        elif self._task is not None:
            self._task.cancel()


@contextmanager
def watched_tasks(on_wait: Callable[[object], None]) -> Iterator[None]:
    """The tasks that are made meanwhile tell of everything that they wait for."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Watched(work, on_wait), loop=loop, **settings)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(None)


class _Watched(Coroutine[Any, Any, Any]):
    def __init__(self, work: Coroutine[Any, Any, Any], on_wait: Callable[[object], None]) -> None:
        self._work, self._on_wait = work, on_wait
        self.__name__ = getattr(work, "__name__", type(work).__name__)

    def send(self, value: object) -> object:
        return self._told(self._work.send(value))

    def throw(self, *error: Any) -> object:
        return self._told(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def __getattr__(self, name: str) -> object:
        """What is asked of a coroutine, such as whether it has started."""
        return getattr(self._work, name)

    def _told(self, waited_for: object) -> object:
        self._on_wait(waited_for)
        return waited_for


def ended_with_its_loop(at: int, work: Callable[[], Coroutine[Any, Any, object]]) -> BaseException | None:
    """Run it in the background of a loop of its own, which ends when it waits for the n-th time: the error it ended with."""
    errors: list[BaseException] = []
    count = 0

    async def in_the_background() -> None:
        try:
            await work()
        except BaseException as error:
            errors.append(error)
            raise

    async def main() -> None:
        is_time = asyncio.Event()

        def on_wait(_: object) -> None:
            nonlocal count
            count += 1
            if count == at:
                is_time.set()

        with watched_tasks(on_wait):
            task = asyncio.create_task(in_the_background())
            task.add_done_callback(lambda _: is_time.set())
            await is_time.wait()

    asyncio.run(main())
    return errors[0] if errors else None


def ever_fewer() -> Iterator[int]:
    """Moments without an end: each of the first, then ever fewer."""
    yield from range(1, ALL_OF_THE_FIRST + 1)
    if IS_SOAK:
        yield from itertools.count(ALL_OF_THE_FIRST + 1)
    yield from (int(ALL_OF_THE_FIRST * 1.2**n) for n in itertools.count(1))


def moments(count: int) -> list[int]:
    """Moments up to this one, and the last ones."""
    return sorted({*itertools.takewhile(lambda at: at <= count, ever_fewer()), *range(max(1, count - 4), count + 1)})


@contextmanager
def nothing_is_told() -> Iterator[None]:
    """Nothing is left for the event loop to tell of: no error that nobody asked for, no task that was dropped."""
    with complaints_of_the_loop() as complaints:
        yield
        gc.collect()
    assert complaints == []


@contextmanager
def nothing_stays_open() -> Iterator[Callable[[], Awaitable[None]]]:
    """No descriptor and no task is left when what it gives is awaited: sockets take a turn of the loop to close."""
    tasks, opened = asyncio.all_tasks(), len(descriptors())

    async def settled() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while asyncio.all_tasks() != tasks or len(descriptors()) != opened:
                await asyncio.sleep(0.001)

    yield settled


_WAYS: list[tuple[How, dream.Limits]] = [
    ("the task", TIGHT),
    ("as it arrives", WIDE),
    ("twice", WIDE),
]
in_every_way = pytest.mark.parametrize(("how", "limits"), _WAYS, ids=[how for how, _ in _WAYS])


def memory_service() -> MemoryService:
    return MemoryService(service=replace(MemoryService().service, multipart=RULES))


async def serves(bucket: dream.Bucket) -> None:
    """A put takes all places and all of the memory; a stream one of those for streams. One that is lost stays lost."""
    data = bytes(2 * PART)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bucket.object("follows").put(iter([data]))
        async with bucket.object("follows").get() as body:
            assert await body.read(1) == data[:1]
        await bucket.object("follows").delete()


async def at_each_moment(
    make: Callable[[], Coroutine[Any, Any, object]],
    how: How,
    set_up: Callable[[], Awaitable[None]],
    check: Callable[[bool], Awaitable[None]],
    *,
    is_left_to_the_loop: bool = False,
) -> None:
    """Whole first, then cut short at one moment after the other.

    ``is_left_to_the_loop``: a generator that nobody closes, which the loop does in a task, when it has been dropped.
    """
    tasks = asyncio.all_tasks()
    await set_up()
    whole = Interruption(0, how)
    assert not await whole.run(make())
    await check(False)
    cut = 0
    for at in moments(whole.count):
        await set_up()
        was_cut = await Interruption(at, how, again=1 + at % 5).run(make())
        cut += was_cut
        if is_left_to_the_loop:
            gc.collect(0)
            for _ in range(TURNS_TO_CLOSE):
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks
        await check(was_cut)
    assert cut
