"""Waiting for a place or for memory: a queue that moves is waited in, one that is stalled is an error that says why."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from servers.faulty import FaultyServer, until
from servers.rules import Cut, Pause, Rule, SlowRead

import aiodreamobjects as dream

HANG_SECONDS = 20.0
"""Less than a request may be silent: only the wait for a place can end what waits for one."""
POOL_SECONDS = 0.3
PATIENT = dream.Timeouts(connect=60, read=60, write=60, low_speed=0, pool=POOL_SECONDS)
SILENCE = Cut(None, "silence", is_done=False)
PART = 300_000
"""Of this size on, parts take memory of the session."""
DATA = random.Random(1).randbytes(2 * PART)


@asynccontextmanager
async def open_session(
    faulty: FaultyServer, timeouts: dream.Timeouts = PATIENT, **limits: int
) -> AsyncIterator[dream.Session]:
    async with (
        asyncio.timeout(HANG_SECONDS),
        faulty.session(timeouts=timeouts, limits=dream.Limits(**limits), retry=ONCE) as session,
    ):
        yield session


ONCE = dream.Retry(attempts=1)


def test_a_wait_for_a_place_has_an_end() -> None:
    assert dream.Timeouts().pool == 30.0
    assert dream.Timeouts(pool=None).pool is None


def check_words(error: dream.ConnectionFailedError, limit: str, reason: str) -> None:
    """It names the two settings, how long it waited, and what holds the places."""
    words = str(error)
    rest = re.sub(r"(Limits|Timeouts)\.\w+", "", words)
    assert "Timeouts.pool" in words
    assert f"{POOL_SECONDS:g} s" in words
    assert f"Limits.{limit}" in words
    assert re.search(reason, rest), words
    assert not error.request_sent
    assert not error.in_doubt


@pytest.mark.parametrize("requests", [1, 3])
async def test_readers_that_read_nothing_make_the_next_get_an_error(faulty: FaultyServer, requests: int) -> None:
    faulty.put("bucket", "a", bytes(2_000_000))
    async with open_session(faulty, requests=requests) as session, AsyncExitStack() as stack:
        obj = session.object("s3://bucket/a")
        bodies = [await stack.enter_async_context(obj.get()) for _ in range(requests)]
        before = len(faulty.log)
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await stack.enter_async_context(obj.get())
        check_words(caught.value, "requests", "bod")
        assert len(faulty.log) == before
        await session.object("s3://bucket/b").put(b"x")  # what needs no such place goes on
        assert len(await bodies[0].read()) == 2_000_000
        await stack.aclose()
        async with obj.get() as body:
            assert len(await body.read()) == 2_000_000


VERBS: dict[str, Callable[[dream.Session], Awaitable[object]]] = {
    "put": lambda session: session.object("s3://bucket/b").put(b"x"),
    "read": lambda session: session.object("s3://bucket/a").read(),
    "head": lambda session: session.object("s3://bucket/a").head(),
    "list": lambda session: session.bucket("bucket").list().collect(),
    "delete": lambda session: session.object("s3://bucket/a").delete(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_requests_that_are_never_answered_make_the_next_one_an_error(faulty: FaultyServer, verb: str) -> None:
    faulty.put("bucket", "a", b"x")
    held = Rule("HeadObject", SILENCE, key="held*", times=None)
    faulty.will(held)
    async with open_session(faulty, requests=2) as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(session.object(f"s3://bucket/held{number}").head()) for number in range(2)]
        await until(lambda: held.fired >= 2)
        before = len(faulty.log)
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await VERBS[verb](session)
        check_words(caught.value, "requests", "answer|repl|under way")
        assert len(faulty.log) == before
        for task in tasks:
            task.cancel()


async def test_a_queue_of_many_that_moves_is_no_stall(faulty: FaultyServer) -> None:
    """The last one waits for several times as long as ``Timeouts.pool``."""
    count = 200
    faulty.will(Rule("PutObject", Pause(0.005), times=None))
    async with open_session(faulty, requests=1) as session:
        await asyncio.gather(*(session.object(f"s3://bucket/{number:03}").put(b"x") for number in range(count)))
    assert len(faulty.keys("bucket")) == count


async def test_a_queue_for_bodies_that_moves_is_no_stall(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", bytes(500_000))
    faulty.will(Rule("GetObject", Pause(0.01), times=None))
    async with open_session(faulty, requests=1) as session:

        async def read() -> int:
            async with session.object("s3://bucket/a").get() as body:
                return sum([len(chunk) async for chunk in body])

        assert await asyncio.gather(*(read() for _ in range(60))) == [500_000] * 60


SLOW_SECONDS = 2.0
"""In all; a step is a twentieth of ``MOVING_POOL_SECONDS``."""
MOVING_POOL_SECONDS = 1.0
MOVING = dream.Timeouts(connect=60, read=60, write=60, low_speed=0, pool=MOVING_POOL_SECONDS)


async def test_a_body_that_is_read_slowly_is_no_stall(faulty: FaultyServer) -> None:
    content = bytes(4_000_000)
    faulty.put("bucket", "a", content)
    async with open_session(faulty, timeouts=MOVING, requests=1) as session:
        obj, count = session.object("s3://bucket/a"), 0
        async with asyncio.TaskGroup() as group, obj.get() as body:
            waiting = group.create_task(size_of(obj))
            while chunk := await body.read(len(content) // 40):
                count += len(chunk)
                await asyncio.sleep(SLOW_SECONDS / 40)
                assert count == len(content) or not waiting.done()
    assert (count, waiting.result()) == (len(content), len(content))


async def size_of(obj: dream.Object) -> int:
    async with obj.get() as body:
        return sum([len(chunk) async for chunk in body])


async def test_an_upload_that_is_sent_slowly_is_no_stall(faulty: FaultyServer) -> None:
    """What the kernel holds back counts as moving while the service takes it.

    Nobody sees it move once it is in the service's own buffer, of up to 6 MB: that must be a small share of the body.
    """
    size = 32_000_000
    slow = Rule("PutObject", SlowRead(size // 40, SLOW_SECONDS / 40), key="slow")
    faulty.will(slow)
    async with (
        open_session(faulty, timeouts=MOVING, requests=1, part_size=size) as session,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(session.object("s3://bucket/slow").put(bytes(size)))
        await until(lambda: slow.fired)
        assert not await session.object("s3://bucket/other").exists()
    assert faulty.content("bucket", "slow") == bytes(size)


# Memory


async def test_memory_that_never_comes_free_is_an_error(faulty: FaultyServer) -> None:
    held = Rule("UploadPart", SILENCE, key="held", times=None)
    faulty.will(held)
    async with open_session(faulty, part_size=PART, memory=PART, requests=8) as session, asyncio.TaskGroup() as group:
        task = group.create_task(session.object("s3://bucket/held").put(iter([DATA])))
        await until(lambda: held.fired)
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await session.object("s3://bucket/b").put(iter([DATA]))
        check_words(caught.value, "memory", "hold|held|answer|under way")
        await session.object("s3://bucket/small").put(iter([b"x"]))
        task.cancel()
    assert faulty.keys("bucket") == ["small"]


async def test_a_source_that_gives_nothing_holds_memory_and_is_named(faulty: FaultyServer) -> None:
    is_asked = asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        yield DATA[: PART - 1]
        is_asked.set()
        await asyncio.Event().wait()

    async with open_session(faulty, part_size=PART, memory=PART, requests=8) as session, asyncio.TaskGroup() as group:
        task = group.create_task(session.object("s3://bucket/held").put(silent()))
        await is_asked.wait()
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await session.object("s3://bucket/b").put(iter([DATA]))
        check_words(caught.value, "memory", "hold|held|answer|under way|source")
        task.cancel()
    assert faulty.keys("bucket") == []


async def test_a_queue_for_memory_that_moves_is_no_stall(faulty: FaultyServer) -> None:
    faulty.will(Rule("UploadPart", Pause(0.02), times=None))
    async with open_session(faulty, part_size=PART, memory=PART, requests=8) as session:
        work = (session.object(f"s3://bucket/{number:02}").put(iter([DATA])) for number in range(20))
        await asyncio.gather(*work)
    assert len(faulty.keys("bucket")) == 20


async def test_without_a_pool_timeout_the_wait_has_no_end_of_its_own(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", bytes(2_000_000))
    async with open_session(faulty, timeouts=dream.Timeouts(pool=None), requests=1) as session:
        obj = session.object("s3://bucket/a")
        async with asyncio.TaskGroup() as group, obj.get():
            waiting = group.create_task(size_of(obj))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(waiting), 2 * POOL_SECONDS)
        assert waiting.result() == 2_000_000
