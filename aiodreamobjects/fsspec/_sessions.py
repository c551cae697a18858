"""The sessions of the filesystems: one for each process, event loop and set of options."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
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
        self.state = _State()
        self._opening = asyncio.Lock()
        self._keeper = _keep(self.session, self.state)

    async def open(self) -> None:
        async with self._opening:
            if not self.state.is_open:
                await self.session.open()
                await anext(self._keeper)

    async def aclose(self) -> None:
        self.state.is_open, self.state.is_ended = False, True
        await self._keeper.aclose()

    def leave_to_parent(self) -> None:
        """Forget the session: this process is a fork of the one that opened it."""
        self.state.is_open, self.state.is_ended = False, True
        with suppress(StopIteration, RuntimeError):
            self._keeper.aclose().__await__().send(None)  # it awaits nothing in a child


async def _keep(session: dream.Session, state: _State) -> AsyncGenerator[None, None]:
    """Close the session when this generator ends.

    An event loop ends its async generators before it closes, as asyncio.run does, and when they are collected.
    """
    pid = os.getpid()
    state.is_open = True
    try:
        yield
    finally:
        state.is_open, state.is_ended = False, True
        if os.getpid() == pid:
            await session.aclose()


class Sessions:
    """The sessions of one filesystem, by event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._connections: dict[asyncio.AbstractEventLoop, Connection] = {}
        self._pid = os.getpid()

    async def here(self) -> dream.Session:
        """Return the session of the running event loop. Open it at first use."""
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._connections, self._pid = {}, os.getpid()
        connection = self._connections.get(loop)
        if connection is None or not connection.state.is_open:
            connection = await self._connect(loop)
        return connection.session

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        for other in [each for each in self._connections if each.is_closed()]:
            self._connections.pop(other, None)
        key = (id(loop), self._options.token)
        connection = _ALL.get(key)
        if connection is None or connection.loop is not loop or connection.state.is_ended:
            connection = _ALL[key] = Connection(self._options, loop)
        self._connections[loop] = connection
        await connection.open()
        return connection

    async def aclose(self) -> None:
        """Close the session of the running event loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.aclose()


_ALL: WeakValueDictionary[tuple[int, str], Connection] = WeakValueDictionary()
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


os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_leave_to_parent)


@atexit.register
def _close_all() -> None:
    closing = [
        asyncio.run_coroutine_threadsafe(connection.aclose(), connection.loop)
        for connection in list(_ALL.values())
        if connection.state.is_open and connection.loop.is_running()
    ]
    for future in closing:
        with suppress(Exception):
            future.result(EXIT_SECONDS)
