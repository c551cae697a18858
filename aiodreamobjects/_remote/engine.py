"""The coordinator's side: hand batches to an executor, and wait for their answers, never without a deadline.

The interface is that of ``concurrent.futures``. What an engine has beyond it is used where it is there: the number of workers,
and, of Dask, the state of a batch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, NamedTuple, Self, TypedDict, TypeVar

import anyio

from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._remote.host import Chore, Sealed, run_batch
from aiodreamobjects._remote.journal import Journal
from aiodreamobjects._remote.spread import Spread

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

ASK_SECONDS = 10.0
"""How long to wait for an answer before asking whether one can still come."""
ASKED_IN_VAIN = 3
"""How often in a row an engine may say that a batch has ended, without giving the answer."""
CANCEL_SECONDS = 20.0
"""How long to wait for batches that are under way when the call is cancelled or fails."""
RESENDINGS = 3
BATCHES_HERE = 2
"""Batches in flight without an executor, when there is only a journal."""

_log = logging.getLogger("aiodreamobjects")


class PoolBrokenError(Exception):
    """The workers are gone, with batches whose fate is not known. ``error`` is the engine's own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error).rstrip("."))  # a part of a longer sentence
        self.error = error


class Workers(NamedTuple):
    total: int
    share: int
    """How many share bandwidth and memory: those in one process have the same session."""
    slots: int
    """How many batches they can do at once."""


class Figures(TypedDict):
    workers: int
    resent_batches: int
    unfinished: int


class Engine(Generic[I, R]):
    """The executor of one call. Each batch goes to ``chore``, in a worker or here, and what it returns to ``merge``."""

    def __init__(
        self,
        spread: Spread,
        chore: Chore,
        call: str,
        key_of: Callable[[I], str],
        merge: Callable[[R], bool],
        pack: Callable[[Sequence[I]], object],
    ) -> None:
        """``call`` names the call, for its journal. ``merge`` counts what was done, and returns whether all of it was.

        ``pack`` makes plain tuples and text of the items: these are pickled several times as fast. ``chore`` undoes it.
        """
        self._spread, self._chore, self._name, self._key_of, self._merge = spread, chore, call, key_of, merge
        self._pack = pack
        self._call = b""
        self._in_flight: dict[str, int] = {}
        self._stack = AsyncExitStack()
        self._journal: Journal | None = None
        self._last = ""
        self._id = uuid.uuid4().hex
        self._sent = 0
        self.workers = Workers(0, 1, 1)
        self.resent = 0

    async def __aenter__(self) -> Self:
        executor, spread = self._spread.executor, self._spread
        if executor is not None:
            self._call = _pickled(self._chore, self._name)
            self.workers = await _workers_of(executor)
            if isinstance(executor, ThreadPoolExecutor):
                _log.info("%r has threads of this process: they share its interpreter, and gain nothing", executor)
        if spread.journal is not None:
            self._journal = await self._stack.enter_async_context(Journal(spread.journal, self._name))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def width(self) -> int:
        """How many batches may be in flight."""
        here = BATCHES_HERE if self._spread.executor is None else 2 * self.workers.slots
        return self._spread.in_flight or here

    @property
    def unfinished(self) -> int:
        """The number of names in batches that were sent and never answered."""
        return sum(self._in_flight.values())

    @property
    def figures(self) -> Figures:
        """What a report says of the workers."""
        return {"workers": self.workers.total, "resent_batches": self.resent, "unfinished": self.unfinished}

    def left(self, items: list[I]) -> list[I]:
        """Return those that the journal does not have."""
        journal = self._journal
        return items if journal is None else [item for item in items if not journal.has(self._key_of(item))]

    async def do(self, items: Sequence[I], load: object = None) -> None:
        """Do a batch, and count what was done. Raise the error that ended it early.

        If the caller is cancelled, a batch that waits is taken back. One that runs is waited for, for a bounded time, and counted.
        """
        after = self._last  # before anything is awaited: batches begin in the order of their keys
        if self._journal is not None:
            self._check_order(items)
        executor = self._spread.executor
        self._sent += 1
        if executor is None:
            name = f"{self._sent}"
            self._in_flight[name] = len(items)
            answer = await self._chore((self._pack(items), load))
            del self._in_flight[name]
            await self._count(items, after, answer)
            return
        sending = _Sending(executor, f"aiodreamobjects-{self._id}-{self._sent}")
        batch = _pickled((self._pack(items), load), self._name)
        work = self._send(sending, batch, items, after)
        await finish(work, grace=CANCEL_SECONDS, may_drop=sending.take_back)

    async def _send(self, sending: _Sending, batch: bytes, items: Sequence[I], after: str) -> None:
        self._in_flight[sending.name] = len(items)
        try:
            answer = await self._answer(sending, batch)
        except BaseException:
            if sending.is_back:
                del self._in_flight[sending.name]
            raise
        del self._in_flight[sending.name]
        await self._count(items, after, pickle.loads(answer))  # noqa: S301 - our own worker made it

    async def _answer(self, sending: _Sending, batch: bytes) -> bytes:
        """Send a batch until there is an answer. An exception here is one of the engine: those of a batch are in its answer."""
        for attempt in range(RESENDINGS + 1):
            try:
                return await sending.answer(attempt, self._call, batch, self.workers.share)
            except Exception as error:
                if isinstance(error, BrokenExecutor) or not sending.is_dask or attempt == RESENDINGS:
                    raise PoolBrokenError(error) from error
                _log.info("a batch of %s is sent again: %r", self._name, error)
                self.resent += 1
        raise AssertionError

    async def _count(self, items: Sequence[I], after: str, answer: tuple[R | None, Exception | None]) -> None:
        value, error = answer
        is_complete = value is not None and self._merge(value) and error is None
        if is_complete and self._journal is not None:
            await self._journal.add(after, self._key_of(items[-1]))
        if error is not None:
            raise error

    def _check_order(self, items: Sequence[I]) -> None:
        for item in items:
            key = self._key_of(item)
            if key <= self._last:
                msg = f"journal= needs the keys in order, each once, as list() gives them: {key!r} came behind {self._last!r}"
                raise ValueError(msg)
            self._last = key


class _Sending:
    """One batch on its way through an executor."""

    def __init__(self, executor: Executor, name: str) -> None:
        self._executor, self.name = executor, name
        self.is_dask = _is_dask(executor)
        self._future: Future[bytes] | None = None
        self._is_unwanted = False
        self.is_back = False
        """Whether no worker has begun with it, and none will."""

    async def answer(self, attempt: int, call: bytes, batch: bytes, share: int) -> bytes:
        name = f"{self.name}-{attempt}"
        submit = partial(self._executor.submit, run_batch, call, batch, share, name)
        if self.is_dask:
            submit = partial(submit, key=name)
        self._future = None
        try:
            future = await finish(self._submit(submit))
        except Exception:  # such as that of a pool that was shut down
            self.is_back = not attempt
            raise
        if self._is_unwanted and self.take_back():
            raise asyncio.CancelledError
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: Future[bytes]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

        future.add_done_callback(tell)
        in_vain = 0
        try:
            while not future.done():
                with anyio.move_on_after(ASK_SECONDS):
                    await ended.wait()
                in_vain = in_vain + 1 if not future.done() and self._has_ended(name) else 0
                if in_vain == ASKED_IN_VAIN:
                    msg = f"{self._executor!r} lost the answer of a batch"
                    raise DreamObjectsError(msg)
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()

    async def _submit(self, submit: Callable[[], Future[bytes]]) -> Future[bytes]:
        self._future = await in_thread(submit)  # it may start processes
        return self._future

    def take_back(self) -> bool:
        """Return whether the batch could be kept from running. Dask cancels also what runs, without telling.

        While it is being submitted, nobody knows yet. ``answer`` tries again when that has ended.
        """
        self._is_unwanted = True
        if self._future is not None and not self.is_dask and self._future.cancel():
            self.is_back = True
        return self.is_back

    def _has_ended(self, name: str) -> bool:
        """Ask the engine whether no answer can come any more (dask/distributed#3196)."""
        if not self.is_dask:
            return bool(getattr(self._executor, "_broken", False))
        dask: Any = self._executor
        client = dask._client  # noqa: SLF001 - there is no public way
        state = client.futures.get(name)
        return client.status != "running" or state is None or state.status != "pending"


def _is_dask(executor: Executor) -> bool:
    return type(executor).__module__.startswith("distributed")


async def _workers_of(executor: Executor) -> Workers:
    if _is_dask(executor):
        client: Any = executor._client  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
        if client.status != "running":
            msg = (
                f"the Dask client of {executor!r} is {client.status}: use it inside 'async with Client(...) as client'"
            )
            raise ValueError(msg)
        found = client.nthreads() if client.asynchronous else await in_thread(client.nthreads)
        threads: dict[str, int] = await found if isawaitable(found) else found
        count = max(1, len(threads))
        return Workers(count, count, max(1, sum(threads.values())))
    names = ("_max_workers", "num_workers")  # of the standard library and loky; of mpi4py
    counts = [found for name in names if isinstance(found := getattr(executor, name, None), int)]
    count = counts[0] if counts else os.cpu_count() or 1
    return Workers(count, 1 if isinstance(executor, ThreadPoolExecutor) else count, count)


def _pickled(value: object, name: str) -> Sealed:
    try:
        return Sealed(pickle.dumps(value))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = f"{name} cannot go to an executor: {error}"
        raise TypeError(msg) from error
