"""Call a function for many objects, here or in the workers of an executor."""

from __future__ import annotations

import asyncio
import functools
import pickle
import traceback
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

from aiodreamobjects._bulk import KeySource, Source, refuse_one_str, versioned_keys
from aiodreamobjects._concurrency import Background, Change, is_foreign, pull
from aiodreamobjects._errors import DreamObjectsError, OfOpenSession
from aiodreamobjects._models import Address
from aiodreamobjects._remote.engine import Engine, PoolBrokenError
from aiodreamobjects._remote.host import portable
from aiodreamobjects._remote.spread import Spread
from aiodreamobjects._reports import BulkError, BulkReport
from aiodreamobjects._runtime import HOSTED, Runtime
from aiodreamobjects._s3.values import VersionedKey

T = TypeVar("T")

_IN_A_WORKER = "in a worker: "


class _Outcome(NamedTuple):
    key: str
    value: Any = None
    """What the function returned; pickled, if a worker called it."""
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Applying:
    """What to call, and with what: ``function(make(runtime, address), *args)``."""

    runtime: Runtime
    bucket: str
    make: Callable[[Runtime, Address], Any]
    function: Callable[..., Awaitable[Any]]
    args: tuple[object, ...]

    async def __call__(self, given: tuple[list[str], None]) -> tuple[list[_Outcome], Exception | None]:
        """Call it for a batch of keys."""
        keys, outcomes = iter(given[0]), list[_Outcome]()

        async def take() -> str | None:
            return next(keys, None)

        async def call(key: str) -> None:
            outcomes.append(await self._call(key))

        await pull(self.runtime.limits.requests, take, call)
        return outcomes, None

    async def _call(self, key: str) -> _Outcome:
        is_worker = HOSTED.get() is not None
        try:
            value = await self.function(self.make(self.runtime, Address(self.bucket, key)), *self.args)
            return _Outcome(key, pickle.dumps(value) if is_worker else value)
        except Exception as error:  # noqa: BLE001 - it is the result
            found = error
        except BaseException as error:
            if is_foreign(error):
                found = DreamObjectsError("the function's own task was cancelled")
            elif is_worker and not isinstance(error, asyncio.CancelledError | GeneratorExit):
                found = DreamObjectsError(f"{type(error).__qualname__}: {error}")  # itself, it would end the worker
            else:
                raise
            found.__cause__ = error
        if is_worker:
            # One error may come from many calls, such as that of a future which all of them await.
            if not any(note.startswith(_IN_A_WORKER) for note in getattr(found, "__notes__", ())):
                found.add_note(_IN_A_WORKER + "".join(traceback.format_exception(found)))
            found = portable(found)
        return _Outcome(key, error=found)


class Applied(OfOpenSession, Generic[T]):
    """What ``apply`` yields: an iterable of ``(key, result or exception)`` for ``async for``. Each loop calls again."""

    def __init__(
        self, keys: Iterable[KeySource] | AsyncIterable[KeySource], applying: Applying, spread: Spread
    ) -> None:
        refuse_one_str(keys)
        _check_function(applying.function, spread.executor)
        self._keys, self._applying, self._spread = keys, applying, spread

    def __repr__(self) -> str:
        return f"<Applied to objects in s3://{self._applying.bucket}>"

    async def __aiter__(self) -> AsyncGenerator[tuple[str, T | Exception], None]:
        self._applying.runtime.require_open()
        work = _Work(self._keys, self._applying, self._spread)
        owner = Background(work.run())
        owner.task.add_done_callback(lambda _: work.changed.tell())
        try:
            while True:
                if work.outcomes:
                    yield work.take()
                elif owner.task.done():
                    owner.outcome()
                    return
                else:
                    await work.changed.wait()
        finally:
            await owner.stop()


class _Work:
    """The batches that are under way, and the outcomes that the loop has not taken."""

    def __init__(
        self, keys: Iterable[KeySource] | AsyncIterable[KeySource], applying: Applying, spread: Spread
    ) -> None:
        self._source, self._applying, self._spread = Source(keys), applying, spread
        self._called = self._read = self._taken = 0
        self.outcomes: deque[_Outcome] = deque()
        self.changed = Change()

    def take(self) -> tuple[str, Any]:
        key, value, error = self.outcomes.popleft()
        self._taken += 1
        if not (self.outcomes and self._taken % self._spread.batch):
            self.changed.tell()
        if error is not None:
            return key, error
        if self._spread.executor is None:
            return key, value
        try:
            return key, pickle.loads(value)  # noqa: S301 - our own worker made it
        except Exception as failure:  # noqa: BLE001 - as what the function raises
            return key, failure

    async def run(self) -> None:
        what = f"{self._applying.function!r} for objects in s3://{self._applying.bucket}"
        engine = Engine[VersionedKey, list[_Outcome]](
            self._spread, self._applying, what, lambda key: key.key, self._merge, _texts
        )
        job = self._applying.runtime.job("apply", self._applying.bucket, is_of_many=True)
        async with aclosing(self._source), engine, job:
            try:
                await pull(engine.width, functools.partial(self._next, engine.width), engine.do)
            except PoolBrokenError as broken:
                figures = engine.figures
                report = BulkReport(self._called, 0, **figures)
                msg = f"the workers are gone: {broken}. {self._called:,} calls have ended, and of {report.unfinished:,} it is not known"
                raise BulkError(msg, [broken.error], report) from None

    async def _next(self, width: int) -> list[VersionedKey] | None:
        while self._read - self._taken >= width * self._spread.batch:
            await self.changed.wait()
        keys = versioned_keys(self._applying.bucket, await self._source.take(self._spread.batch))
        self._read += len(keys)
        return keys or None

    def _merge(self, outcomes: list[_Outcome]) -> bool:
        self._called += len(outcomes)
        self.outcomes += outcomes
        self.changed.tell()
        return True


def _texts(keys: Sequence[VersionedKey]) -> list[str]:
    return [key.key for key in keys]


def _check_function(function: object, executor: Executor | None) -> None:
    if not callable(function):
        msg = f"{function!r} is no function: apply() needs an async function that takes an Object"
        raise TypeError(msg)
    while isinstance(function, functools.partial):
        function = cast("object", function.func)
    imports_main = executor is None or isinstance(executor, ProcessPoolExecutor | ThreadPoolExecutor)
    if getattr(function, "__module__", "") == "__main__" and not imports_main:
        msg = f"{function!r} is of the script itself, which the workers of {executor!r} do not import: put it into a module of its own"
        raise TypeError(msg)
