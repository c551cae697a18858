"""``head_many``: the order, how far it reads ahead, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from urllib.parse import urlsplit

import pytest
from invariants import tasks_of_the_client
from servers.scripted import Received, Reply, ScriptedServer, Silence, error

import aiodreamobjects as dream

WIDTH = 3
LIMITS = dream.Limits(requests=WIDTH)
KEYS = [f"k{number:02}" for number in range(20)]


class Source:
    """Keys that count how many of them were taken, and whether somebody closed them."""

    def __init__(self) -> None:
        self.taken = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[str]:
        for key in KEYS:
            self.taken += 1
            yield key

    async def later(self, ending: BaseException | None = None, count: int = len(KEYS)) -> AsyncIterator[str]:
        try:
            for key in KEYS[:count]:
                self.taken += 1
                yield key
            if ending is not None:
                raise ending
        finally:
            self.is_closed = True


async def read(heads: dream.Heads, found: list[str]) -> None:
    async for key, _ in heads:
        found.append(key)


def key_in(request: Received) -> str:
    return urlsplit(request.target).path.removeprefix("/bucket/")


def later_the_earlier_it_was_asked(request: Received) -> Reply:
    return Reply(200, delay=0.02 if int(key_in(request)[1:]) % WIDTH == 0 else 0)


async def test_outcomes_come_in_the_order_of_keys_whatever_comes_first(scripted: ScriptedServer) -> None:
    scripted.will(later_the_earlier_it_was_asked)
    async with scripted.session(limits=LIMITS) as session:
        assert [key async for key, _ in session.bucket("bucket").head_many(KEYS)] == KEYS


async def test_as_many_as_the_limit_allows_are_asked_at_once(scripted: ScriptedServer) -> None:
    all_have_arrived = asyncio.Event()

    def answer(_: Received) -> Reply:
        if len(scripted.received) == WIDTH:
            all_have_arrived.set()
        return Reply(200, hold=all_have_arrived)

    scripted.will(answer)
    async with scripted.session(limits=LIMITS) as session:
        assert len(await session.bucket("bucket").head_many(KEYS[:WIDTH]).collect()) == WIDTH
    assert scripted.connections == WIDTH


async def test_keys_are_read_twice_as_far_ahead_as_requests_are_sent(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200))
    source, read = Source(), 0
    async with scripted.session(limits=LIMITS) as session:
        async for _ in session.bucket("bucket").head_many(source):
            read += 1
            assert source.taken - read <= 2 * WIDTH
            while read == 1 and source.taken < 1 + 2 * WIDTH:
                await asyncio.sleep(0)
    assert (read, source.taken) == (len(KEYS), len(KEYS))


@pytest.mark.parametrize("answers", [True, False])
async def test_leaving_the_loop_ends_everything(scripted: ScriptedServer, answers: bool) -> None:
    scripted.will(Reply(200), *[] if answers else [Silence()])
    source = Source()
    before = tasks_of_the_client()
    async with scripted.session(limits=LIMITS) as session:
        async with aclosing(aiter(session.bucket("bucket").head_many(source.later()))) as heads:
            async for key, _ in heads:
                assert key == KEYS[0]
                break
        assert source.is_closed
        assert tasks_of_the_client() == before
        assert session.statistics().open_connections <= WIDTH


async def test_an_error_comes_when_its_key_comes(scripted: ScriptedServer) -> None:
    scripted.will(lambda request: error(403, "AccessDenied") if key_in(request) == "k04" else Reply(200))
    found: list[str] = []
    async with scripted.session(limits=LIMITS) as session:
        with pytest.raises(dream.AccessDeniedError, match="k04"):
            await read(session.bucket("bucket").head_many(KEYS), found)
    assert found == KEYS[:4]
    assert len(scripted.received) <= 5 + 2 * WIDTH


@pytest.mark.parametrize(
    "ending", [ZeroDivisionError("mine"), asyncio.CancelledError("somebody's"), KeyboardInterrupt("^C")]
)
async def test_an_error_of_the_keys_is_raised_as_it_is(scripted: ScriptedServer, ending: BaseException) -> None:
    scripted.will(Reply(200))
    source, found = Source(), list[str]()
    async with scripted.session(limits=LIMITS) as session:
        with pytest.raises(type(ending)) as caught:
            await read(session.bucket("bucket").head_many(source.later(ending, count=5)), found)
    assert caught.value is ending
    assert source.is_closed
    if isinstance(ending, KeyboardInterrupt):  # is raised at once
        assert found == KEYS[: len(found)]
    else:
        assert found == KEYS[:5]


async def test_an_outcome_does_not_wait_for_the_next_key(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200))
    is_told = asyncio.Event()

    async def one_by_one() -> AsyncIterator[str]:
        for key in KEYS[:3]:
            is_told.clear()
            yield key
            await is_told.wait()

    async with scripted.session(limits=LIMITS) as session:
        async for _ in session.bucket("bucket").head_many(one_by_one()):
            is_told.set()


async def test_closing_the_session_ends_a_loop_that_waits_for_a_key(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200))
    is_waiting = asyncio.Event()

    async def silent() -> AsyncIterator[str]:
        yield "a"
        is_waiting.set()
        await asyncio.Event().wait()

    session = scripted.session(limits=LIMITS)
    await session.open()
    reading = asyncio.ensure_future(session.bucket("bucket").head_many(silent()).collect())
    await is_waiting.wait()
    await session.aclose()
    with pytest.raises(dream.SessionClosedError):
        await reading
    with pytest.raises(dream.SessionClosedError):
        await session.bucket("bucket").head_many(["a"]).collect()


async def test_a_cancelled_loop_leaves_nothing(scripted: ScriptedServer) -> None:
    scripted.will(Silence())
    before = tasks_of_the_client()
    async with scripted.session(limits=LIMITS) as session:
        reading = asyncio.ensure_future(session.bucket("bucket").head_many(KEYS).collect())
        await scripted.arrived.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert tasks_of_the_client() == before
