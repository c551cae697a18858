"""The sessions of the filesystems: one for each process, event loop and set of options."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from weakref import WeakValueDictionary

import aiodreamobjects as dream
from aiodreamobjects.fsspec._border import reset_lock
from aiodreamobjects.fsspec._options import Options

EXIT_SECONDS = 5.0
"""How long the end of the interpreter waits for the sessions to close."""


class _State:
    """Whether a session is open. Its keeper knows, which must not refer to the connection: it would keep it alive."""

    __slots__ = ("is_ended", "is_open")

    def __init__(self) -> None:
        self.is_open = self.is_ended = False


class Connection:
    """A session on one event loop. Filesystems with the same options share it. It closes with the last of them, or with the loop."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self.session = options.session()
        self.loop = loop
        self.users = 0
        self._pid = os.getpid()
        self.state = _State()
        self._options = options
        self._lenient: dream.Session | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._keeper = _keep(self._stack, self.state)

    async def open(self) -> None:
        async with self._opening:
            if not self.state.is_open:
                await self._stack.enter_async_context(self.session)
                await anext(self._keeper)
                atexit.unregister(
                    _close_all
                )  # register it again as the last one: others stop their event loops at the end
                atexit.register(_close_all)

    async def bucket(self, name: str) -> dream.Bucket:
        """Return a handle on a bucket, also on one with a name that no new bucket can have.

        Raise ValueError for a name that no bucket has had.
        """
        try:
            return self.session.bucket(name)
        except ValueError:
            _old_names().check(name)
        return await self.lenient_bucket(name)

    async def lenient_bucket(self, name: str) -> dream.Bucket:
        """Return a handle of a session that knows no rules for names, and says in which region to create a bucket."""
        async with self._opening:
            if self._lenient is None:
                service = replace(self.session.service, bucket_names=_old_names(), location_constraint=True)
                self._lenient = await self._stack.enter_async_context(self._options.session(service))
        return self._lenient.bucket(name)

    async def aclose(self) -> None:
        self.state.is_open, self.state.is_ended = False, True
        await self._keeper.aclose()

    def release(self) -> None:
        """Have one user less. Any thread may call this, also while it collects garbage."""
        if self.state.is_open and self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop is closed, and ended the keeper before
                self.loop.call_soon_threadsafe(self._release_here)

    def _release_here(self) -> None:
        self.users -= 1
        if self.users == 0 and self.state.is_open:
            self.state.is_open, self.state.is_ended = False, True
            closing = self.loop.create_task(self.aclose())
            _CLOSING.add(closing)
            closing.add_done_callback(_CLOSING.discard)

    def leave_to_parent(self) -> None:
        """Forget the session: this process is a fork of the one that opened it."""
        self.state.is_open, self.state.is_ended = False, True
        with suppress(StopIteration, RuntimeError):
            self._keeper.aclose().__await__().send(None)  # it awaits nothing in a child


async def _keep(sessions: AsyncExitStack, state: _State) -> AsyncGenerator[None, None]:
    """Close the sessions when this generator ends.

    An event loop ends its async generators before it closes, as asyncio.run does.
    """
    pid = os.getpid()
    state.is_open = True
    try:
        yield
    finally:
        state.is_open, state.is_ended = False, True
        if os.getpid() == pid:
            await sessions.aclose()


def _old_names() -> dream.BucketNames:
    """Return the rules of buckets that are older than S3's rules. The service knows whether there is such a bucket."""
    return dream.BucketNames(longest=255, characters="A-Za-z0-9._-")


class Sessions:
    """The sessions of one filesystem, by event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pid = os.getpid()
        self._begin()

    def _begin(self) -> None:
        self._connections: dict[asyncio.AbstractEventLoop, Connection] = {}
        # The finalizer holds the connections. Otherwise they would be collected together with the filesystem, which is part of
        # a cycle, and a session that is collected open warns.
        weakref.finalize(self, _release, self._connections).atexit = False

    async def here(self) -> Connection:
        """Return the session of the running event loop. Open it at first use."""
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._begin()
        connection = self._connections.get(loop)
        if connection is None or not connection.state.is_open:
            connection = await self._connect(loop)
        return connection

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        for other in [each for each in list(self._connections) if each.is_closed()]:
            self._connections.pop(other, None)
        key = (id(loop), self._options.token)
        connection = _ALL.get(key)
        if connection is None or connection.loop is not loop or connection.state.is_ended:
            connection = _ALL[key] = Connection(self._options, loop)
        if self._connections.get(loop) is not connection:
            connection.users += 1
            self._connections[loop] = connection
        await connection.open()
        return connection

    async def aclose(self) -> None:
        """Close the session of the running event loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.aclose()


def _release(connections: dict[asyncio.AbstractEventLoop, Connection]) -> None:
    for connection in list(connections.values()):
        connection.release()


_ALL: WeakValueDictionary[tuple[int, str], Connection] = WeakValueDictionary()
_CLOSING: set[asyncio.Task[None]] = set()
"""The tasks that close sessions. The event loop itself would let them be collected."""
_HELD: list[Connection] = []
"""The connections during a fork."""
_LEFT: list[Connection] = []
"""The connections of this process's parents. They are never collected: that would touch the parent's sockets."""


def _hold() -> None:
    _HELD.extend(_ALL.values())


def _let_go() -> None:
    _HELD.clear()


def _leave_to_parent() -> None:
    reset_lock()  # another thread of the parent may have held it
    _ALL.clear()
    for connection in _HELD:
        connection.leave_to_parent()
    _LEFT.extend(_HELD)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_leave_to_parent)


def _close_all() -> None:
    for connection in list(_ALL.values()):
        if connection.state.is_open and not connection.loop.is_running():
            with suppress(Exception):
                connection.loop.run_until_complete(connection.aclose())
    closing = [
        asyncio.run_coroutine_threadsafe(connection.aclose(), connection.loop)
        for connection in list(_ALL.values())
        if connection.state.is_open and connection.loop.is_running()
    ]
    for future in closing:
        with suppress(Exception):
            future.result(EXIT_SECONDS)
