"""A service that says SlowDown gets fewer requests at once, and more again as it bears them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest
import pytest_asyncio
from servers.raw import turns
from servers.scripted import Reply, ScriptedServer, error

import aiodreamobjects as dream

MOST = 8
SLOW_DOWN = error(503, "SlowDown")
FINE = Reply(200, b"x", {"ETag": '"opaque-1"'})

PATIENT = dream.Retry(attempts=1000, base=0.001, cap=0.001)


class BusyServer(ScriptedServer):
    """Holds every request until the test says how to answer it."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[asyncio.Future[Reply], None] = {}
        self._changed = asyncio.Event()

    @property
    def held(self) -> int:
        return len(self._held)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readuntil(b"\r\n\r\n")
        turn: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._held[turn] = None
        self._changed.set()
        end = asyncio.create_task(reader.read(1))  # nothing more is sent before the answer
        end.add_done_callback(lambda _: turn.cancel())
        try:
            await asyncio.wait({turn})
        finally:
            self._held.pop(turn, None)
            self._changed.set()
            end.cancel()
            await asyncio.wait({end})
        if turn.cancelled():
            return False
        reply = turn.result()
        lines = [f"HTTP/1.1 {reply.status} Scripted", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
        await writer.drain()
        return True

    def answer(self, reply: Reply, count: int = 1) -> None:
        """The requests that came first."""
        for turn in list(self._held)[:count]:
            del self._held[turn]
            turn.set_result(reply)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()
        await turns(60)

    async def holds(self, count: int) -> None:
        """Wait until it holds so many, and see that no more come."""
        await self.until(lambda: self.held >= count)
        assert self.held == count

    async def burst(self, reply: Reply, leaves: int) -> None:
        """Answer all that are held so; so many come then."""
        self.answer(reply, self.held)
        await self.holds(leaves)


@pytest_asyncio.fixture
async def busy() -> AsyncIterator[BusyServer]:
    async with BusyServer() as running:
        yield running


@pytest_asyncio.fixture
async def session(busy: BusyServer) -> AsyncIterator[dream.Session]:
    settings = {"limits": dream.Limits(requests=MOST), "retry": PATIENT, "timeouts": dream.Timeouts(read=60, write=60)}
    async with busy.session(**settings) as opened:
        yield opened


@contextmanager
def asking(
    session: dream.Session, count: int, *ignored: type[dream.DreamObjectsError]
) -> Iterator[list[asyncio.Task[None]]]:
    """So many tasks that read objects without end."""

    async def read_on() -> None:
        while True:
            with suppress(*ignored):
                await session.object("s3://bucket/a").read()

    tasks = [asyncio.create_task(read_on()) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def ended(tasks: list[asyncio.Task[None]]) -> list[BaseException | None]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def climb(busy: BusyServer, width: int) -> list[int]:
    """Let one round after the other succeed until there are ``MOST`` at once: how many each round had."""
    widths = [width]
    while widths[-1] < MOST:
        assert len(widths) < 4 * MOST, widths
        busy.answer(FINE, widths[-1])
        await busy.until(lambda: busy.held >= widths[-1])
        widths.append(busy.held)
    return widths


@pytest.mark.parametrize("reply", [SLOW_DOWN, error(429, "TooManyRequests"), Reply(429)], ids=["503", "429", "silent"])
async def test_slow_down_halves_the_requests_under_way(busy: BusyServer, session: dream.Session, reply: Reply) -> None:
    with asking(session, MOST) as tasks:
        await busy.holds(8)
        await busy.burst(reply, leaves=4)  # eight refusals are one burst
        await busy.burst(reply, leaves=2)
        await busy.burst(reply, leaves=1)
        await busy.burst(reply, leaves=1)  # one may always go
    await ended(tasks)


async def test_one_refusal_of_a_round_is_enough_and_the_others_count_no_more(
    busy: BusyServer, session: dream.Session
) -> None:
    with asking(session, MOST) as tasks:
        await busy.holds(8)
        busy.answer(SLOW_DOWN)
        await turns(60)
        await busy.holds(7)  # seven that were sent before, and no other
        for left in (6, 5, 4):
            busy.answer(SLOW_DOWN)
            await turns(60)
            await busy.holds(left)
        await busy.burst(SLOW_DOWN, leaves=4)  # which were all sent before, too
        await busy.burst(SLOW_DOWN, leaves=2)
    await ended(tasks)


async def test_what_waited_for_its_place_during_a_burst_was_not_sent_before_it(
    busy: BusyServer, session: dream.Session
) -> None:
    with asking(session, 6 * MOST) as tasks:
        await busy.holds(8)
        await busy.burst(SLOW_DOWN, leaves=4)
        await busy.burst(SLOW_DOWN, leaves=2)
        await busy.burst(SLOW_DOWN, leaves=1)
    await ended(tasks)


async def test_what_was_under_way_at_a_burst_and_ended_otherwise_hides_no_later_one(
    busy: BusyServer, session: dream.Session
) -> None:
    with asking(session, 3 * MOST, dream.NotFoundError) as tasks:
        await busy.holds(8)
        busy.answer(SLOW_DOWN)
        await turns(60)
        busy.answer(error(404, "NoSuchKey"), 7)
        await busy.holds(4)
        await busy.burst(SLOW_DOWN, leaves=2)
        await busy.burst(SLOW_DOWN, leaves=1)
    await ended(tasks)


async def test_what_was_under_way_at_a_burst_and_is_cancelled_hides_no_later_one(
    busy: BusyServer, session: dream.Session
) -> None:
    with asking(session, MOST) as tasks:
        await busy.holds(8)
        busy.answer(SLOW_DOWN)
        await busy.until(lambda: busy.held == 7)
    await ended(tasks)
    await busy.until(lambda: not busy.held)
    with asking(session, MOST) as tasks:
        await busy.holds(4)
        await busy.burst(SLOW_DOWN, leaves=2)
    await ended(tasks)


@pytest.mark.parametrize("tasks_at_once", [MOST, 3 * MOST])
async def test_successes_bring_them_back_one_more_a_round_and_no_more_than_the_limit(
    busy: BusyServer, session: dream.Session, tasks_at_once: int
) -> None:
    with asking(session, tasks_at_once) as tasks:
        await busy.holds(8)
        await busy.burst(SLOW_DOWN, leaves=4)
        widths = await climb(busy, 4)
        assert all(after - before in (0, 1) for before, after in pairwise(widths)), widths
        for _ in range(5):
            await busy.burst(FINE, leaves=MOST)
        await busy.burst(SLOW_DOWN, leaves=4)  # and what was learnt before is no longer known
    await ended(tasks)


@pytest.mark.parametrize(
    "reply",
    [error(500, "InternalError"), error(503, "ServiceUnavailable"), Reply(502, b"<html>"), error(404, "NoSuchKey")],
    ids=["500", "503", "502", "404"],
)
async def test_other_failures_are_no_sign_of_a_crowd(busy: BusyServer, session: dream.Session, reply: Reply) -> None:
    with asking(session, MOST, dream.NotFoundError) as tasks:
        await busy.holds(8)
        await busy.burst(reply, leaves=8)
        await busy.burst(reply, leaves=8)
    await ended(tasks)


async def test_closing_ends_whoever_waits_while_fewer_may_go(busy: BusyServer, session: dream.Session) -> None:
    with asking(session, 3 * MOST) as tasks:
        await busy.holds(8)
        await busy.burst(SLOW_DOWN, leaves=4)
        await session.aclose()
        assert {type(error) for error in await ended(tasks)} == {dream.SessionClosedError}


async def test_whoever_is_cancelled_while_fewer_may_go_takes_no_place_along(
    busy: BusyServer, session: dream.Session
) -> None:
    with asking(session, 5 * MOST) as tasks:
        await busy.holds(8)
        await busy.burst(SLOW_DOWN, leaves=4)
        for moment in range(24):  # also at the moment at which it is one's turn
            busy.answer(SLOW_DOWN if moment % 8 == 7 else FINE)
            await turns(moment)
            tasks[moment].cancel()
        for task in tasks:
            task.cancel()
        assert {type(error) for error in await ended(tasks)} == {asyncio.CancelledError}
    await busy.until(lambda: not busy.held)
    with asking(session, MOST) as tasks:
        await busy.until(lambda: busy.held > 0)
        widths = await climb(busy, busy.held)
        assert widths[-1] == MOST
        await busy.burst(FINE, leaves=MOST)
    await ended(tasks)
