"""Turns of the event loop, shared by the connections of one session. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TURN_BYTES = 1 << 20
"""The most bytes that one large body receives in its turn. With half as many, downloads were slower, small reads hardly faster."""


class Turns:
    """Lets large bodies take turns, so that a short request waits for a part of one of them, and not for parts of all.

    Several large bodies have bytes to receive in nearly every turn of the loop, up to some megabytes each. Without short requests
    nobody waits for them, and turns would only cost time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: deque[Callable[[], None]] = deque()
        self.are_taken = False
        """Whether to take turns: a short request has ended since the last sweep."""

    def wait(self, go: Callable[[], None]) -> None:
        """Call ``go`` in a later turn of the loop, after those that wait already. Each turn calls one."""
        if not self._line:
            self._loop.call_soon(self._call_next)
        self._line.append(go)

    async def come(self) -> None:
        """Wait for a turn of the loop."""
        if not self.are_taken:
            await asyncio.sleep(0)
            return
        turn = self._loop.create_future()
        self.wait(lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _call_next(self) -> None:
        go = self._line.popleft()
        if self._line:
            self._loop.call_soon(self._call_next)
        go()
