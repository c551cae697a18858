"""The worker's side: an event loop in a thread of its own, with an open session for each recipe that arrives.

A process has one host. It starts with the first batch, and ends after a while without one, or with the process. A forked
process starts its own: it knows by its pid that the inherited one belongs to its parent.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pickle
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aiodreamobjects._concurrency import is_foreign
from aiodreamobjects._errors import DreamObjectsError, forget_frames
from aiodreamobjects._recipe import Recipe
from aiodreamobjects._runtime import HOSTED, Runtime
from aiodreamobjects._s3.opening import connect, explicit_credentials, variable
from aiodreamobjects._system import in_forked_child, look_for_signals

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

IDLE_SECONDS = 60.0
EXIT_SECONDS = 30.0
"""How long the process waits at its end for connections to close."""
SIGNAL_SECONDS = 0.2
"""How often a worker that waits for a batch looks for signals: the system may give them to another thread, which does not wake it."""
PARENT_SECONDS = 1.0
"""How often a worker of loky looks whether its parent is alive."""

Chore = Callable[[Any], Awaitable[tuple[Any, Exception | None]]]
"""What to do with a batch. Returns what was done, and the error that ended it early."""


class Sealed(bytes):
    """Pickled bytes, perhaps with keys in them: engines that log their calls cannot print these."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self):,} bytes>"

    __str__ = __repr__


def run_batch(call: bytes, batch: bytes, share: int, name: str) -> bytes:  # noqa: ARG001 - the name makes each call another one, for engines that keep results
    """Do a batch in this process. Return the answer, pickled. Errors are in the answer, so no engine repeats the call.

    ``share``: how many workers share the bandwidth and the memory of the recipe.
    """
    try:
        return _enter().run(call, batch, share)
    except Exception as error:  # noqa: BLE001 - the coordinator raises it
        return pickle.dumps((None, portable(error)))


class _Host:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.users = 0
        self.used_at = time.monotonic()
        self._sessions: dict[Recipe, _Session] = {}
        self._has_started = threading.Event()
        self._obstacle: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="aiodreamobjects", daemon=True)
        self._thread.start()
        self._has_started.wait()
        if self._obstacle is not None:
            raise self._obstacle

    def run(self, call: bytes, batch: bytes, share: int) -> bytes:
        work = asyncio.run_coroutine_threadsafe(self._work(call, batch, share), self._loop)
        try:
            while not work.done():
                with suppress(TimeoutError):  # of this wait, or of the work: the result below tells
                    work.result(SIGNAL_SECONDS)
                look_for_signals()
            return work.result()
        except BaseException:  # such as a KeyboardInterrupt of this process
            work.cancel()
            raise
        finally:
            _leave(self)

    def close(self) -> None:
        """End the loop and close its sessions. Wait for that, for a bounded time."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(EXIT_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._main())
        except Exception as error:
            if self._has_started.is_set():
                raise
            self._obstacle = error  # such as a lack of descriptors
            self._has_started.set()
        finally:
            _forget(self)

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._opening = asyncio.Lock()
        self._has_started.set()
        try:
            while not (self._stopping.is_set() or _retire(self)):
                await self._close(session for session in self._sessions.values() if session.is_idle())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), IDLE_SECONDS)
        finally:
            await self._close(self._sessions.values())

    async def _close(self, sessions: Iterable[_Session]) -> None:
        closing = list(sessions)
        for session in closing:
            del self._sessions[session.recipe]
            session.runtime.disconnect(session.recipe.close_grace)
        for session in closing:
            await session.runtime.closed()

    async def _work(self, call: bytes, batch: bytes, share: int) -> bytes:
        needed: dict[Recipe, _Session] = {}
        HOSTED.set(partial(self._runtime_of, needed, share))  # for this task and those that it starts
        answer: tuple[Any, BaseException | None]
        try:
            chore: Chore = pickle.loads(call)  # noqa: S301 - our own coordinator made it
            items = pickle.loads(batch)  # noqa: S301 - as above
            await self._open(needed)
            answer = await chore(items)
        except BaseException as error:  # a SystemExit would end the loop, and the sessions of others
            if isinstance(error, asyncio.CancelledError) and not is_foreign(error):
                raise
            answer = None, error
        finally:
            for session in needed.values():
                session.leave()
        value, failure = answer
        return pickle.dumps((value, None if failure is None else portable(failure)))

    def _runtime_of(self, needed: dict[Recipe, _Session], share: int, recipe: Recipe) -> Runtime:
        recipe = recipe.divided(share)
        if recipe not in needed:
            if recipe not in self._sessions:
                self._sessions[recipe] = _Session(recipe)
            needed[recipe] = self._sessions[recipe]
            needed[recipe].users += 1
        return needed[recipe].runtime

    async def _open(self, needed: dict[Recipe, _Session]) -> None:
        async with self._opening:
            for recipe, session in list(needed.items()):
                if not session.runtime.is_open:
                    service, s3 = await _connect(recipe)
                    session.runtime.connect(service, s3, f"a worker, process {self.pid}")


class _Session:
    """The session of one recipe, and how many batches use it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.runtime = recipe, Runtime.of(recipe)
        self.users = 0
        self._used_at = time.monotonic()

    def leave(self) -> None:
        self.users -= 1
        self._used_at = time.monotonic()

    def is_idle(self) -> bool:
        return not self.users and time.monotonic() - self._used_at >= IDLE_SECONDS


async def _connect(recipe: Recipe) -> tuple[Any, Any]:
    has_own = recipe.profile is not None or recipe.anonymous
    return await connect(
        recipe.profile or variable("DREAMOBJECTS_PROFILE"),
        None,
        recipe.credentials or explicit_credentials((None, None, None), has_own=has_own),
        lambda _: recipe.service,
        needs_endpoint=False,
        anonymous=recipe.anonymous,
        limits=recipe.limits,
        timeouts=recipe.timeouts,
        retry=recipe.retry,
        ca=recipe.ca,
        observe=None,
    )


def portable(error: BaseException) -> Exception:
    """Return the error, or one that says the same if it cannot be pickled, or would end the process that gets it."""
    forget_frames(error)
    if isinstance(error, Exception) and _can_be_pickled(error):
        return error
    found = DreamObjectsError(f"{type(error).__qualname__}: {error}")
    for note in getattr(error, "__notes__", ()):
        found.add_note(note)
    return found


def _can_be_pickled(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - users' exceptions may raise anything there
        return False
    return True


_lock, _closing = threading.Lock(), threading.Lock()
_host: _Host | None = None
_is_prepared = False
_left_to_parent: list[_Host | None] = []
"""Kept, so that nothing of the parent's is closed here."""


def _enter() -> _Host:
    """Return the host of this process, which will not end before ``_leave``."""
    global _host  # noqa: PLW0603 - there is one in a process
    with _lock:
        if _host is None:
            _prepare()
            _host = _Host()
        _host.users += 1
        return _host


def _prepare() -> None:
    """Prepare this process for its end, once."""
    global _is_prepared  # noqa: PLW0603 - as above
    if _is_prepared:
        return
    import multiprocessing  # noqa: PLC0415 - only workers need it
    from multiprocessing.util import Finalize  # noqa: PLC0415 - as above

    _is_prepared = True
    Finalize(None, _close, exitpriority=10)  # processes of multiprocessing run no atexit
    parent = multiprocessing.parent_process()
    if parent is not None and threading.current_thread() is threading.main_thread():  # else it has other work, too
        threading.Thread(target=_end_with, args=(parent,), name="aiodreamobjects parent", daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """End this worker after its parent has died: a pool would wait for work for ever, and nobody would get its answers."""
    try:
        parent.join()
    except ValueError:  # a worker of loky cannot wait for its parent
        while os.getppid() == parent.pid:
            time.sleep(PARENT_SECONDS)
    _close()
    os._exit(1)


def _leave(host: _Host) -> None:
    with _lock:
        host.users -= 1
        host.used_at = time.monotonic()


def _retire(host: _Host) -> bool:
    """Return whether the host has been idle for long. It gets no batch after that."""
    global _host  # noqa: PLW0603 - as above
    with _lock:
        is_idle = not host.users and time.monotonic() - host.used_at >= IDLE_SECONDS
        if is_idle and _host is host:
            _host = None
        return is_idle


def _forget(host: _Host) -> None:
    """Give no batch to a host that has ended."""
    global _host  # noqa: PLW0603 - as above
    with _lock:
        if _host is host:
            _host = None


def _close() -> None:
    global _host
    with _closing:  # who comes second waits for the first
        with _lock:
            host, _host = _host, None
        if host is not None:
            host.close()


def _leave_to_parent() -> None:
    global _host, _lock, _closing, _is_prepared
    _left_to_parent.append(_host)
    _host, _is_prepared = None, False
    _lock, _closing = threading.Lock(), threading.Lock()  # other threads of the parent may have held them


atexit.register(_close)
in_forked_child(_leave_to_parent)
