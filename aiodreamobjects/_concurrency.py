"""Tasks that have an owner and an end."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Generic, TypeVar, TypeVarTuple, Unpack, cast
from weakref import WeakKeyDictionary

import anyio
from anyio import to_thread

from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._system import processors

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

QUICK_SECONDS = 0.03
"""Reading or writing that takes longer waits for a disk, and needs no processor meanwhile."""
_log = logging.getLogger("aiodreamobjects")


class Background(Generic[T]):
    """Work in a task of its own. The owner must wait for its result, or stop it.

    ``result`` raises the work's exception, of any class. A bare task would hand a KeyboardInterrupt to the event loop,
    past all code that has to clean up.
    """

    def __init__(self, work: Awaitable[T]) -> None:
        self._value: T
        self._error: BaseException | None = None
        self.task = asyncio.ensure_future(self._run(work))
        if isinstance(work, Coroutine):
            # A coroutine that is cancelled before it starts would warn that nobody awaited it.
            self.task.add_done_callback(lambda task: work.close() if task.cancelled() else None)

    async def _run(self, work: Awaitable[T]) -> None:
        try:
            self._value = await work
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self._error = error

    @property
    def error(self) -> BaseException | None:
        """The work's exception, until the outcome is taken."""
        return self._error

    async def result(self) -> T:
        """Wait for the end, and take the outcome."""
        if not self.task.done():
            await asyncio.wait({self.task})
        return self.outcome()

    def outcome(self) -> T:
        """Return the work's result, or raise its exception. Call it once, after the work has ended."""
        if self.task.cancelled():  # before it started
            raise asyncio.CancelledError
        error, self._error = self._error, None  # breaks a cycle: a frame in its traceback holds this object
        if error is not None:
            raise error
        return self._value

    async def stop(self) -> None:
        """Cancel the work and wait for its end. Drop its exception."""
        if not self.task.done():
            self.task.cancel()
            await finish(asyncio.wait({self.task}))


async def finish(work: Awaitable[T], *, grace: float | None = None, may_drop: Callable[[], bool] = lambda: False) -> T:
    """Run ``work`` to its end, even if the caller is cancelled meanwhile. Raise the cancellation afterwards.

    For opening and cleaning up: anyio's shields keep out anyio's cancellations, but not a bare ``task.cancel()``. Work
    with a ``grace`` is cancelled that many seconds after its caller. It is also cancelled when ``asyncio.run`` cancels all
    tasks: a second Ctrl-C must not wait for the network. Work that ``may_drop`` is cancelled together with its caller.
    """
    background = Background(work)
    task = background.task
    if grace is None and isinstance(task, asyncio.Task):
        asyncio._unregister_task(task)  # noqa: SLF001 - documented ("Extending asyncio"): hides it from asyncio.run's end
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            if cancelled is None:
                await asyncio.wait({task})
                break
            with anyio.CancelScope(shield=True):
                _, pending = await asyncio.wait({task}, timeout=grace)
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


async def wait_past_scopes(task: asyncio.Task[object]) -> None:
    """Wait for the end of a task, even in a cancelled scope. Only ``task.cancel()`` of the caller cuts the wait."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        if not _is_scope_cancelled():
            raise
        with anyio.CancelScope(shield=True):  # not before: the first scope of a program imports half of anyio
            await asyncio.wait({task})


async def in_thread(
    work: Callable[[Unpack[Ts]], T],
    *arguments: *Ts,
    abandon_on_cancel: bool = False,
    limiter: anyio.CapacityLimiter | None = None,
) -> T:
    """Run ``work`` in a thread and return its result. Raises DreamObjectsError if the process cannot start more threads.

    A cancelled caller waits for the end of the work, unless ``abandon_on_cancel``.
    """
    with naming_lack_of_threads():
        return await to_thread.run_sync(work, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=limiter)


async def compute_in_thread(work: Callable[[Unpack[Ts]], T], *arguments: *Ts) -> T:
    """Run work that keeps a processor busy, such as a digest, in a thread. A cancelled caller waits for its end."""
    async with a_processor():
        return await finish(in_thread(work, *arguments))


@asynccontextmanager
async def a_processor(longest: float | None = None) -> AsyncIterator[None]:
    """Wait for a processor that no other thread of ours is busy with. Give it back after ``longest`` seconds.

    There are as many as the process may use, less one for the event loop if there are more than two. More threads would not
    be faster, and the loop would wait for a processor as each of them does: small reads took five times as long. Work that also
    waits for a disk has a ``longest``, such as ``QUICK_SECONDS``: others may begin then.
    """
    loop, holder = asyncio.get_running_loop(), object()
    limiter = _processors.get(loop)
    if limiter is None:
        count = processors()
        limiter = _processors[loop] = anyio.CapacityLimiter(min(count, max(2, count - 1)))
    held = ExitStack()
    await limiter.acquire_on_behalf_of(holder)
    held.callback(limiter.release_on_behalf_of, holder)
    timer = None if longest is None else loop.call_later(longest, held.close)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        held.close()


_processors: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = WeakKeyDictionary()


async def close_in_thread(close: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> None:
    """Close something that may wait for a disk. If no thread can be started, close it on the event loop."""
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
        msg = "this process cannot start more threads: raise 'ulimit -u', or the container's limit of pids"
        raise DreamObjectsError(msg) from error


class Change:
    """Wakes all tasks that wait for a change. They look again at what they share."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self) -> None:
        await self._next.wait()


async def in_parallel(width: int, worker: Callable[[], Awaitable[None]]) -> None:
    """Run ``width`` copies of a worker that pulls its work. The first error stops them all, and is raised as it is.

    Any exception of a worker is an error: users' code runs in workers. That includes a CancelledError that this group did
    not cause. A task group would take it for the end of the worker, and the work would seem done.
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
    """Run ``width`` workers until ``take`` returns None. One worker at a time takes an item; all work on theirs in parallel.

    The first error stops them all, and is raised as it is: see ``in_parallel``.
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
    """Return whether this is a CancelledError from users' code: nobody cancelled this task.

    It comes from a future or task of theirs that was cancelled, and is an error like any other. Call this in a task of our
    own: a user's task that was once cancelled, but went on, still counts as cancelled.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or not task.cancelling())


async def close_generator(generator: AsyncGenerator[object, None]) -> None:
    """Close a user's generator after the work. Log its exception: the outcome of the work is already settled."""
    try:
        await generator.aclose()
    except BaseException as error:
        if not (isinstance(error, Exception) or is_foreign(error)):
            raise
        _log.warning("an async generator could not be closed: %r", error)


def _is_scope_cancelled() -> bool:
    """Return whether a cancel scope around this code is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


async def ahead(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the same items, but make each while the one before it is in use. Closing this cancels the one being made."""
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
