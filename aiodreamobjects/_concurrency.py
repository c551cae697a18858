"""Tasks that have an owner and an end."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar, TypeVarTuple, Unpack, cast

import anyio
from anyio import to_thread

from aiodreamobjects._errors import DreamObjectsError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_log = logging.getLogger("aiodreamobjects")


class Background(Generic[T]):
    """Work in a task of its own. The owner must wait for its result, or stop it.

    What the work raises, of whatever class, is kept for ``result``. A bare task would hand a KeyboardInterrupt to the
    event loop, past everybody who has something to clean up.
    """

    def __init__(self, work: Awaitable[T]) -> None:
        self._value: T
        self._error: BaseException | None = None
        self.task = asyncio.ensure_future(self._run(work))
        if isinstance(work, Coroutine):
            # Cancelled before it began, it would complain that nobody awaited it.
            self.task.add_done_callback(lambda task: work.close() if task.cancelled() else None)

    async def _run(self, work: Awaitable[T]) -> None:
        try:
            self._value = await work
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self._error = error

    @property
    def error(self) -> BaseException | None:
        """What the work raised, until the outcome is taken."""
        return self._error

    async def result(self) -> T:
        """Wait for the end, and take the outcome."""
        if not self.task.done():
            await asyncio.wait({self.task})
        return self.outcome()

    def outcome(self) -> T:
        """Return what the work returned, or raise the very exception that it raised. Once, after its end."""
        if self.task.cancelled():  # before it began
            raise asyncio.CancelledError
        error, self._error = self._error, None  # a frame in its traceback holds this
        if error is not None:
            raise error
        return self._value

    async def stop(self) -> None:
        """Cancel the work and wait for its end. What it raises is nobody's any more."""
        if not self.task.done():
            self.task.cancel()
            await finish(asyncio.wait({self.task}))


async def finish(work: Awaitable[T], *, grace: float | None = None, may_drop: Callable[[], bool] = lambda: False) -> T:
    """Run ``work`` to its end, even if the caller is cancelled meanwhile; the cancellation is raised afterwards.

    For opening and cleaning up: anyio's shields keep out anyio's cancellations, not a bare ``task.cancel()``. Once
    the caller is cancelled, work that takes longer than ``grace`` seconds from then on is cancelled as well, and work
    with a ``grace`` also where all tasks of the loop are: a second Ctrl-C does not wait for the network. What
    ``may_drop`` is cancelled at once.
    """
    background = Background(work)
    task = background.task
    if grace is None and isinstance(task, asyncio.Task):
        asyncio._unregister_task(task)  # noqa: SLF001 - documented ("Extending asyncio"): asyncio.run cancels all it finds
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with anyio.CancelScope(shield=cancelled is not None):
                _, pending = await asyncio.wait({task}, timeout=None if cancelled is None else grace)
            if pending:
                task.cancel()
        except asyncio.CancelledError as error:
            cancelled = error
            if may_drop():
                task.cancel()
    if cancelled is not None:
        if failure := background.error:
            cancelled.__context__ = failure
        raise cancelled
    return background.outcome()


async def in_thread(
    work: Callable[[Unpack[Ts]], T],
    *arguments: *Ts,
    abandon_on_cancel: bool = False,
    limiter: anyio.CapacityLimiter | None = None,
) -> T:
    """Run ``work`` in a thread, and return its result. Raises DreamObjectsError if the process may start no more threads.

    A cancelled caller waits for the end, unless ``abandon_on_cancel``.
    """
    with naming_lack_of_threads():
        return await to_thread.run_sync(work, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=limiter)


async def close_in_thread(close: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> None:
    """Close something whose closing may wait for a disk. Without a thread it is closed here rather than never."""
    try:
        await finish(in_thread(close, *arguments))
    except DreamObjectsError:
        close(*arguments)


@contextmanager
def naming_lack_of_threads() -> Iterator[None]:
    """Raise DreamObjectsError in place of the interpreter's bare RuntimeError if no thread can be started."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        msg = "this process may start no more threads: see 'ulimit -u', and the container's limit of pids"
        raise DreamObjectsError(msg) from error


async def in_parallel(width: int, worker: Callable[[], Awaitable[None]]) -> None:
    """Run ``width`` copies of a worker that pulls its work. The first error stops them all and is raised as itself.

    Whatever a worker raises is an error, of whatever class: users' code runs in workers. That goes for a
    CancelledError that this group did not cause too; a task group would take it for the end of the worker, and the
    work would seem done.
    """
    errors: list[BaseException] = []
    ended = 0

    async def run(scope: anyio.CancelScope) -> None:
        nonlocal ended
        try:
            await worker()
            ended += 1
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_scope_cancelled():
                raise
            errors.append(error)
            scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(width):
            group.start_soon(run, group.cancel_scope)
    if errors:
        raise errors[0]
    if ended < width:  # somebody cancelled a worker before it began
        raise asyncio.CancelledError


async def pull(width: int, take: Callable[[], Awaitable[T | None]], work: Callable[[T], Awaitable[None]]) -> None:
    """Have ``width`` workers take items, one worker after the other, and work on them beside each other, until None.

    The first error stops them all and is raised as itself: see ``in_parallel``.
    """
    turn = asyncio.Lock()

    async def worker() -> None:
        while True:
            async with turn:
                item = await take()
            if item is None:
                return
            await work(item)

    await in_parallel(width, worker)


def is_foreign(error: BaseException) -> bool:
    """Whether this is a CancelledError although nobody cancelled this task: users' code raised it.

    It comes from a future or a task of theirs that somebody cancelled. It is an error like any other. Ask in a task
    of our own: who was cancelled before, and went on, is still counted as cancelled.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or not task.cancelling())


async def close_generator(generator: AsyncGenerator[object, None]) -> None:
    """Close a user's generator after the work. What it raises is logged: the outcome of the work is settled by then."""
    try:
        await generator.aclose()
    except BaseException as error:
        if not (isinstance(error, Exception) or is_foreign(error)):
            raise
        _log.warning("an async generator could not be closed: %r", error)


def _is_scope_cancelled() -> bool:
    """Whether a scope around this code is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


async def ahead(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the same items, each made while the one before it is in use. Closing this cancels what is under way."""
    following = Background(anext(items, _END))
    try:
        while (item := await following.result()) is not _END:
            following = Background(anext(items, _END))
            yield cast("T", item)
    finally:
        try:
            await following.stop()
        finally:
            await items.aclose()


_END = object()
