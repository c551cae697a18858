"""What a session hands down to its buckets and objects."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet

import anyio

from aiodreamobjects._concurrency import Background, finish, naming_lack_of_threads, wait_past_scopes
from aiodreamobjects._config import Limits, Retry, Timeouts
from aiodreamobjects._errors import DreamObjectsError, SessionClosedError, WrongLoopError
from aiodreamobjects._limits import Memory, Places
from aiodreamobjects._models import ObjectInfo, Verified, printable
from aiodreamobjects._recipe import Recipe, Seed
from aiodreamobjects._s3.gate import DEPARTURE, Departure
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._service import BucketNames, Service
from aiodreamobjects._system import in_forked_child, most_descriptors

if TYPE_CHECKING:
    from aiodreamobjects._trace import Outcome, Transfer

T = TypeVar("T")

_log = logging.getLogger("aiodreamobjects.transfer")

TOKEN_KEYS = 8
OTHER_DESCRIPTORS = 32
"""File descriptors that the process needs besides connections and the files of transfers."""


def _most_files(limits: Limits) -> int:
    """Return how many files may be open at once: one per request, fewer if the descriptors do not suffice.

    Each file needs a connection too.
    """
    most = most_descriptors()
    return (
        limits.requests
        if most is None
        else max(1, min(limits.requests, (most - limits.requests - OTHER_DESCRIPTORS) // 2))
    )


class Runtime:
    """The limits, the service, and the connection to it while the session is open.

    It belongs to the event loop on which the session was opened. On another loop, or in a forked process, two loops would
    use the same connections at once.
    """

    __slots__ = (
        *(
            "__weakref__",
            "_closing",
            "_files",
            "_job_ended",
            "_jobs",
            "_loop",
            "_opened_at",
            "_service",
            "_state",
            "_s3",
            "_seed",
            "_timeouts",
        ),
        *("limits", "memory", "retry", "token_keys", "uploads"),
    )

    def __init__(
        self, limits: Limits, timeouts: Timeouts, retry: Retry, service: Service | None, seed: Seed | None = None
    ) -> None:
        self._seed, self._timeouts = seed or Seed(), timeouts
        self._s3: S3 | None = None
        self._service = service
        self._state = "not open"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened_at = ""
        self._jobs: set[Job] = set()
        self._job_ended: asyncio.Event | None = None
        self._closing: Background[None] | None = None
        self.limits = limits
        self.retry = retry
        self.memory = Memory(limits.memory, timeouts.pool)
        self.uploads: set[str | None] = set()
        """The IDs of the multipart uploads in progress."""
        self.token_keys: deque[bytes] = deque(maxlen=TOKEN_KEYS)
        """The keys that signed tokens of listings, the newest first. Temporary credentials bring new ones."""
        self._files = Places(_most_files(limits))

    @classmethod
    def of(cls, recipe: Recipe, state: str = "not open") -> Self:
        """Return the runtime of a session that is not open yet."""
        seed = Seed(recipe.ca, recipe.credentials, recipe.profile, recipe.anonymous, recipe.close_grace)
        runtime = cls(recipe.limits, recipe.timeouts, recipe.retry, recipe.service, seed)
        runtime._state = state
        return runtime

    @classmethod
    def unpickled(cls, recipe: Recipe) -> Runtime:
        """Return the runtime of the worker's own session. Outside a worker: one that no session has."""
        if (hosted := HOSTED.get()) is not None:
            return hosted(recipe)
        return cls.of(recipe, state=_UNBOUND)

    def __reduce__(self) -> tuple[Callable[[Recipe], Runtime], tuple[Recipe]]:
        return Runtime.unpickled, (self.recipe(),)

    def stay_here(self, obstacle: str) -> None:
        """Have no recipe, for this reason."""
        self._seed = replace(self._seed, obstacle=obstacle)

    @property
    def is_unbound(self) -> bool:
        return self._state == _UNBOUND

    def recipe(self) -> Recipe:
        """Return what another process needs for a session like this. Raise TypeError if it cannot have one."""
        seed = self._seed
        if seed.obstacle:
            raise TypeError(seed.obstacle)
        ca = None if seed.ca is None else os.fsdecode(seed.ca)
        return Recipe(
            self.service,
            self.limits,
            self._timeouts,
            self.retry,
            ca=ca,
            credentials=seed.credentials,
            profile=seed.profile,
            anonymous=seed.anonymous,
            close_grace=seed.close_grace,
        )

    def __str__(self) -> str:
        """Return the session in words."""
        where = "a service not settled yet"
        if self._service is not None:
            name, endpoint = self._service.name, self._service.endpoint
            where = endpoint if name.startswith("S3 at ") else f"{name} at {endpoint}"
        return f"<Session to {where}, {self._state}>"

    def __del__(self) -> None:
        if self._s3 is not None and self._loop is not None:
            warnings.warn(f"unclosed {self}, opened at {self._opened_at}", ResourceWarning, source=self, stacklevel=2)
            _abandon(self._loop, self._s3)

    def connect(self, service: Service, s3: S3, opened_at: str) -> None:
        """Set the service and its requests. Call this on the event loop that will use them."""
        self._service, self._s3, self._state, self._opened_at = service, s3, "open", opened_at
        self._loop = asyncio.get_running_loop()
        self.memory.queue.moved = s3.moved
        _OPEN.add(self)

    def disconnect(self, grace: float) -> None:
        """Refuse all further verbs and start to close. ``closed`` waits for the end. A second call does nothing."""
        s3, self._s3 = self._s3, None
        if s3 is not None:
            self._service = s3.service
            self._state = "closed"
            self._closing = Background(self._close(s3, grace))

    async def closed(self) -> None:
        """Wait until the session is closed, if it was opened. If this task is cancelled, close without waiting.

        A cancelled scope around the session does not cut the wait: that cancellation is why clean-ups are running.
        """
        closing = self._closing
        if closing is None or closing.task.done():
            return
        is_inside = self._is_inside_job()  # then closing waits for the caller, which must leave its job first
        try:
            await (asyncio.wait({closing.task}) if is_inside else wait_past_scopes(closing.task))
        except asyncio.CancelledError:
            if not is_inside:
                await closing.stop()
            raise
        closing.outcome()

    async def _close(self, s3: S3, grace: float) -> None:
        """Interrupt all jobs, wait up to ``grace`` seconds for their clean-ups, and close the connections."""
        try:
            self.memory.close(
                lambda: SessionClosedError("the session was closed while this transfer waited for memory")
            )
            self._files.close(
                lambda: SessionClosedError("the session was closed while this transfer waited for its turn")
            )
            self._interrupt()  # first: closing the queue must not let a waiting request in
            s3.stop()
            if self._jobs:
                with anyio.move_on_after(grace):
                    await self._jobs_end()
        finally:
            await s3.aclose()

    async def _jobs_end(self) -> None:
        while self._jobs:
            self._job_ended = asyncio.Event()
            await self._job_ended.wait()
            self._interrupt()

    def _interrupt(self) -> None:
        """Interrupt the outermost jobs. Jobs inside them end with them."""
        for job in list(self._jobs):
            if job.outer not in self._jobs:
                job.interrupt()

    def _is_inside_job(self) -> bool:
        job = _JOB.get()
        while job is not None and job not in self._jobs:
            job = job.outer
        return job is not None

    def job(self, verb: str = "", bucket: str = "", key: str = "", *, is_of_many: bool = False) -> Job:
        """Return a context for a verb of several steps. Closing the session interrupts it and waits for its clean-up."""
        return Job(self, verb=verb, bucket=bucket, key=key, is_of_many=is_of_many)

    def begin(self, job: Job) -> None:
        self._jobs.add(job)

    def end(self, job: Job) -> None:
        self._jobs.discard(job)
        if self._job_ended is not None:
            self._job_ended.set()

    @asynccontextmanager
    async def file(self) -> AsyncIterator[None]:
        """Wait for a turn to open a file. So thousands of transfers do not run out of descriptors."""
        if not self._files.take():
            await self._files.wait()
        try:
            yield
        finally:
            self._files.give_back()

    @property
    def is_open(self) -> bool:
        return self._s3 is not None

    @property
    def s3(self) -> S3:
        """Return the requests. Raise SessionClosedError, or WrongLoopError on another event loop."""
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here and self._s3 is not None:
            return self._s3
        self.require_open()
        raise AssertionError

    @property
    def s3_anywhere(self) -> S3:
        """Return the requests, for callers that send and await nothing, in any thread. Raise SessionClosedError."""
        if self._s3 is None:
            what = (
                "was closed and is not open any more: make a new one, and"
                if self._state == "closed"
                else "is not open:"
            )
            msg = f"the session {what} use it inside 'async with Session() as session', or between open() and aclose()"
            if self.is_unbound:
                msg = "this bucket or object was unpickled, and belongs to no session yet: session.bind(it) makes it one of that session"
            raise SessionClosedError(msg)
        return self._s3

    def require_open(self) -> None:
        """Raise what ``s3`` raises, for a verb that does something before its first request."""
        _ = self.s3_anywhere
        self.require_loop()

    def require_loop(self) -> None:
        """Raise WrongLoopError on any event loop but the session's."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if self._loop is None:
            msg = f"{self} was opened before this process was forked; nothing was sent. Open a new session in each process"
            raise WrongLoopError(msg)
        if loop is not self._loop:
            msg = (
                f"{self} belongs to another event loop, on which it was opened at {self._opened_at}; nothing was sent. "
                "Open a session on this loop too, or send the call there: asyncio.run_coroutine_threadsafe(call, that_loop)"
            )
            raise WrongLoopError(msg)

    @property
    def service(self) -> Service:
        """Return the service, with what it was found to lack. Before opening it is known only if a setting names it."""
        if self._s3 is not None:
            return self._s3.service
        if self._service is None:
            msg = "the session is not open: its service is settled when it opens, unless you give endpoint= or service="
            raise SessionClosedError(msg)
        return self._service

    @property
    def bucket_names(self) -> BucketNames:
        return self._service.bucket_names if self._service else BucketNames()

    def forget_loop(self) -> None:
        """Belong to no loop: this process is a fork of the one that opened the session."""
        self._loop = None


class Job:
    """A verb of several steps in progress. Closing one of its sessions interrupts it with SessionClosedError.

    With a ``verb``, it is a transfer: the observers of its sessions get TransferStarted and TransferEnded.
    """

    def __init__(
        self, *runtimes: Runtime, verb: str = "", bucket: str = "", key: str = "", is_of_many: bool = False
    ) -> None:
        """With ``is_of_many``, an interruption always leaves doubt: some request may be in flight at any time."""
        self._runtimes, self._what = runtimes, (verb, bucket, key)
        self._began = time.monotonic()
        self._transfer: Transfer | None = None
        self._outcome: Outcome = (None, None, None, None)
        self._scope = anyio.CancelScope()
        self._is_completing = False
        self._may_be_done = is_of_many
        """Whether the object that the verb makes may exist by now."""
        self.outer = _JOB.get()
        """The job around this one."""

    async def __aenter__(self) -> Self:
        for runtime in self._runtimes:
            runtime.require_open()
        watches = dict.fromkeys(watch for runtime in self._runtimes if (watch := runtime.s3.watch) is not None)
        if watches and self._what[0]:
            first, *others = watches
            self._transfer = first.transfer(others, *self._what)
        for runtime in self._runtimes:
            runtime.begin(self)
        self._scope.__enter__()
        self._token = _JOB.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _JOB.reset(self._token)
        is_interrupted = self._scope.__exit__(kind, error, trace)
        for runtime in self._runtimes:
            runtime.end(self)
        closed = None
        if is_interrupted:
            msg = "the session was closed while this call was under way"
            closed = SessionClosedError(msg)
            closed.in_doubt = self._may_be_done
        if self._what[0] and _log.isEnabledFor(logging.DEBUG):
            self._log_end(closed or error)
        if self._transfer is not None:
            self._transfer.end(self._outcome, closed or error)
        if closed is not None:
            raise closed from None
        if isinstance(error, RuntimeError):
            with naming_lack_of_threads():  # aiofiles' threads are the event loop's
                raise error

    def _log_end(self, error: BaseException | None) -> None:
        verb, bucket, key = self._what
        size, parts, resumed, verified = self._outcome
        seconds = time.monotonic() - self._began
        fields = {
            "verb": verb,
            "bucket": bucket,
            "key": key,
            "size": size,
            "parts": parts,
            "resumed": resumed,
            "verified": verified,
            "seconds": seconds,
        }
        outcome = "done" if error is None else f"failed: {type(error).__name__}"
        where = printable(f"{verb} s3://{bucket}/{key}")
        _log.debug("%s: %s after %.3f s", where, outcome, seconds, extra=fields)

    def note(
        self,
        info: ObjectInfo | None = None,
        *,
        size: int | None = None,
        parts: int | None = None,
        resumed: bool | None = None,
        verified: Verified | None = None,
    ) -> None:
        """Note how the transfer went, for the observers. ``info`` tells the size, and how the content was verified."""
        if info is not None:
            size, verified = info.size, info.verified
        self._outcome = size, parts, resumed, verified

    def interrupt(self) -> None:
        """Interrupt the job, unless it is completing an object."""
        if not self._is_completing:
            self._scope.cancel()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Surround the request that makes an object. An interruption during or after it leaves the call in doubt."""
        self._may_be_done = True
        try:
            yield
        except Exception:
            self._may_be_done = False
            raise

    @asynccontextmanager
    async def telling_doubt(self) -> AsyncIterator[None]:
        """Set ``in_doubt`` on errors raised after the object was made: the call failed, but its object exists."""
        try:
            yield
        except DreamObjectsError as error:
            error.in_doubt |= self._may_be_done
            raise

    async def complete(self, work: Awaitable[T], departure: Departure, *, grace: float) -> T:
        """Run ``clean_up`` for a request that makes an object. After it has left, closing the session waits for it."""
        self._is_completing = True
        try:
            with self.writing():
                return await clean_up(work, departure, grace=grace)
        finally:
            self._is_completing = False


_JOB: ContextVar[Job | None] = ContextVar("aiodreamobjects_job", default=None)

HOSTED: ContextVar[Callable[[Recipe], Runtime] | None] = ContextVar("aiodreamobjects_hosted", default=None)
"""In a worker of an executor: returns the runtime of the worker's session for a recipe."""

_UNBOUND = "unpickled"


async def clean_up(work: Awaitable[T], departure: Departure | None = None, *, grace: float) -> T:
    """Run ``finish`` for requests that must be sent even while the session closes. See there for ``grace``.

    With a ``departure``, the request is not sent if the caller is cancelled before it has left.
    """
    departure = departure or Departure(has_left=True)
    token = DEPARTURE.set(departure)  # finish() starts a task, which copies the context
    try:
        return await finish(work, grace=grace, may_drop=departure.cut)
    finally:
        DEPARTURE.reset(token)


def _abandon(loop: asyncio.AbstractEventLoop, s3: S3) -> None:
    """Close what is open without waiting. Do it on its own loop if that runs: the collector may run in any thread."""
    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    if is_here or not loop.is_running():
        s3.abandon()
    else:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(s3.abandon)


_OPEN: WeakSet[Runtime] = WeakSet()


def _leave_to_parent() -> None:
    for runtime in _OPEN:
        runtime.forget_loop()


in_forked_child(_leave_to_parent)
