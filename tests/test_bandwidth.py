"""Bandwidth that is limited, and memory that is: both are shared by all that a session does."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from conftest import Server, new_name
from invariants import traced_memory
from loops import TIMER_SECONDS, taking_at_least
from servers.scripted import Content, Reply, ScriptedServer, Silence

import aiodreamobjects as dream
from aiodreamobjects._limits import BytePace, Memory

CONTENT = random.Random(1).randbytes(200_000)
ETAG = hashlib.md5(CONTENT).hexdigest()
STORED = Reply(200, headers={"ETag": f'"{ETAG}"'})
OBJECT = Content(CONTENT, ETAG)
MIB = 1 << 20

AT_ONCE = 16 << 10
"""Read at once where bandwidth is limited, by each connection: what has just been read is paid for after it."""
HANG_SECONDS = 30.0


# Bandwidth


async def test_uploads_share_the_bandwidth(scripted: ScriptedServer) -> None:
    scripted.will(STORED)
    async with scripted.session(limits=dream.Limits(upload_bytes_per_second=1e6)) as session:
        with taking_at_least(3 * len(CONTENT) / 1e6):
            async with asyncio.TaskGroup() as group:
                for key in "abc":
                    group.create_task(session.object(f"s3://bucket/{key}").put(CONTENT))
        assert [request.body == CONTENT for request in scripted.received] == [True] * 3
        with taking_at_least(len(CONTENT) / 1e6):
            await session.object("s3://bucket/d").put(CONTENT)
        assert session.statistics().retries == 0


async def test_downloads_share_the_bandwidth(scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.will(OBJECT)
    async with scripted.session(limits=dream.Limits(download_bytes_per_second=1e6)) as session:
        with taking_at_least(3 * (len(CONTENT) - AT_ONCE) / 1e6):
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(session.object("s3://bucket/a").read())
                streaming = group.create_task(_streamed(session.object("s3://bucket/b")))
                group.create_task(session.object("s3://bucket/c").download(tmp_path / "c"))
        assert reading.result() == streaming.result() == (tmp_path / "c").read_bytes() == CONTENT
        with taking_at_least((len(CONTENT) - AT_ONCE) / 1e6):
            assert await session.object("s3://bucket/d").read() == CONTENT
        assert session.statistics().retries == 0
    assert len(scripted.received) == 4


async def _streamed(item: dream.Object) -> bytes:
    async with item.get() as body:
        return b"".join([chunk async for chunk in body])


async def test_the_parts_of_one_object_share_the_bandwidth(moto: Server, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(12 * MIB)
    (tmp_path / "a").write_bytes(content)
    limits = dream.Limits(part_size=5 * MIB, upload_bytes_per_second=20e6, download_bytes_per_second=20e6)
    async with moto.session(limits=limits) as session:
        bucket = await session.create_bucket(new_name())
        with taking_at_least(len(content) / 20e6):
            await bucket.object("a").upload(tmp_path / "a")
        with taking_at_least((len(content) - 3 * AT_ONCE) / 20e6):
            await bucket.object("a").download(tmp_path / "b")
        assert session.statistics().retries == 0
        await bucket.delete(force=True)
    assert (tmp_path / "b").read_bytes() == content


async def test_the_bandwidth_is_shared_over_tls_too(moto_tls: Server) -> None:
    content = random.Random(3).randbytes(4 * MIB)
    limits = dream.Limits(upload_bytes_per_second=8e6, download_bytes_per_second=8e6)
    async with moto_tls.session(limits=limits) as session:
        bucket = await session.create_bucket(new_name())
        with taking_at_least(len(content) / 8e6):
            await bucket.object("a").put(content)
        with taking_at_least((len(content) - MIB) / 8e6):  # TLS decrypts more at once
            assert await bucket.object("a").read() == content
        await bucket.delete(force=True)


async def test_one_direction_does_not_wait_for_the_other(scripted: ScriptedServer) -> None:
    # At a byte a second, what takes the wrong way would not be there before the test is given up.
    async with asyncio.timeout(HANG_SECONDS):
        scripted.will(OBJECT)
        async with scripted.session(limits=dream.Limits(upload_bytes_per_second=1)) as session:
            assert await session.object("s3://bucket/a").read() == CONTENT
        scripted.will(STORED)
        async with scripted.session(limits=dream.Limits(download_bytes_per_second=1e4)) as session:
            await session.object("s3://bucket/a").put(CONTENT)


async def test_what_the_limit_slows_down_is_not_cut_for_being_slow(scripted: ScriptedServer) -> None:
    timeouts = dream.Timeouts(connect=10, read=0.5, write=0.5, low_speed=400_000)
    limits = dream.Limits(upload_bytes_per_second=100_000, download_bytes_per_second=100_000)
    async with scripted.session(timeouts=timeouts, limits=limits) as session:
        item = session.object("s3://bucket/a")
        scripted.will(STORED)
        with taking_at_least(2.0):
            await item.put(CONTENT)
        scripted.will(OBJECT)
        with taking_at_least(2.0 - AT_ONCE / 100_000):
            assert await item.read() == CONTENT
        assert len(scripted.received) == 1
        assert session.statistics().retries == 0


async def test_a_silent_service_is_given_up_whatever_the_limit(scripted: ScriptedServer) -> None:
    timeouts = dream.Timeouts(connect=10, read=0.3, write=0.3)
    limits = dream.Limits(upload_bytes_per_second=1e6, download_bytes_per_second=1e6)
    scripted.will(Silence())
    async with scripted.session(timeouts=timeouts, limits=limits, retry=dream.Retry(attempts=1)) as session:
        for verb in (session.object("s3://bucket/a").read(), session.object("s3://bucket/a").put(CONTENT)):
            with pytest.raises(dream.ConnectionFailedError):
                await verb


async def test_a_cancelled_read_loses_nothing_whatever_the_limit(scripted: ScriptedServer) -> None:
    scripted.will(OBJECT)
    async with (
        scripted.session(limits=dream.Limits(download_bytes_per_second=400_000)) as session,
        session.object("s3://bucket/a").get() as body,
    ):
        received = bytearray()
        while len(received) < len(CONTENT):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    received += await anext(body)
        assert received == CONTENT
        assert await body.read() == b""
        assert session.statistics().retries == 0
    assert len(scripted.received) == 1


@pytest.mark.parametrize("verb", ["put", "read"])
async def test_closing_ends_what_waits_for_bandwidth(scripted: ScriptedServer, verb: str) -> None:
    # At a byte a second, the next turn comes long after the test is given up.
    scripted.will(OBJECT)
    limits = dream.Limits(upload_bytes_per_second=1, download_bytes_per_second=1)
    session = scripted.session(limits=limits)
    async with asyncio.timeout(HANG_SECONDS):
        await session.open()
        item = session.object("s3://bucket/a")
        waiting = asyncio.create_task(item.put(CONTENT) if verb == "put" else item.read())
        while not (session.statistics().open_connections and (scripted.received or verb == "put")):
            await asyncio.sleep(0)  # figures have no event
        await _turns()
        await session.aclose()
        with pytest.raises(dream.SessionClosedError):
            await waiting


def test_bytes_are_spread_over_time() -> None:
    pace, started = BytePace(1000), time.monotonic()
    for number in range(1, 11):
        wait = pace.spend(100)
        assert time.monotonic() + wait > started + 0.1 * number - BytePace.CATCH_UP_SECONDS - TIMER_SECONDS
        assert wait < 0.1 * number + TIMER_SECONDS


def test_time_before_the_first_byte_is_not_saved_up() -> None:
    assert BytePace(1000).spend(1000) > 1.0 - BytePace.CATCH_UP_SECONDS - TIMER_SECONDS


# Memory


@asynccontextmanager
async def memory_of(size: int, patience: float | None = None) -> AsyncIterator[Memory]:
    """So much, all of which can be had again at the end."""
    memory = Memory(size, patience)
    async with asyncio.timeout(HANG_SECONDS):
        yield memory
        memory.give_back(await memory.take(size))
        half, other = await memory.take(size // 2), await memory.take(size - size // 2)
        memory.give_back(half)
        memory.give_back(other)


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_memory_is_out_than_there_is() -> None:
    chance = random.Random(4)
    held: list[memoryview] = []

    async def use() -> None:
        for _ in range(50):
            size = chance.randint(1, 40)
            buffer = await memory.take(size)
            assert len(buffer) == size
            assert not any(buffer is other for other in held)
            held.append(buffer)
            assert sum(map(len, held)) <= 100
            await _turns(chance.randrange(4))
            held[:] = [other for other in held if other is not buffer]
            memory.give_back(buffer)

    async with memory_of(100) as memory, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(use())


async def test_first_come_is_first_served() -> None:
    order: list[int] = []

    async def use(number: int, size: int) -> None:
        buffer = await memory.take(size)
        order.append(number)
        await _turns(3)
        memory.give_back(buffer)

    async with memory_of(10) as memory:
        held = await memory.take(9)
        async with asyncio.TaskGroup() as group:
            for number, size in enumerate([8, 1, 10, 2, 1]):  # small ones would fit: they wait all the same
                group.create_task(use(number, size))
            await _turns()
            assert order == []
            memory.give_back(held)
        assert order == [0, 1, 2, 3, 4]


async def test_who_comes_later_does_not_overtake_one_whose_turn_it_is() -> None:
    async with memory_of(10) as memory:
        held = await memory.take(10)
        first = asyncio.create_task(memory.take(6))
        await _turns()
        memory.give_back(held)
        second = asyncio.create_task(memory.take(6))
        await _turns()
        assert (first.done(), second.done()) == (True, False)
        memory.give_back(first.result())
        memory.give_back(await second)


async def test_more_than_there_is_goes_alone() -> None:
    async with memory_of(10) as memory:
        large = await memory.take(25)
        assert len(large) == 25
        small = asyncio.create_task(memory.take(1))
        await _turns()
        assert not small.done()
        memory.give_back(large)
        held = await small
        again, after = asyncio.create_task(memory.take(25)), asyncio.create_task(memory.take(1))
        await _turns()
        assert (again.done(), after.done()) == (False, False)
        memory.give_back(held)
        await _turns()
        assert (again.done(), after.done()) == (True, False)
        memory.give_back(again.result())
        memory.give_back(await after)


async def test_who_gives_up_waiting_makes_room_for_the_next() -> None:
    async with memory_of(10) as memory:
        held = await memory.take(5)
        large, small = asyncio.create_task(memory.take(6)), asyncio.create_task(memory.take(5))
        await _turns()
        assert (large.done(), small.done()) == (False, False)
        large.cancel()
        await _turns()
        assert (large.cancelled(), small.done()) == (True, True)
        memory.give_back(held)
        memory.give_back(small.result())


async def test_who_is_cancelled_just_when_its_turn_comes_gives_it_to_the_next() -> None:
    async with memory_of(10) as memory:
        held = await memory.take(10)
        first, second = asyncio.create_task(memory.take(10)), asyncio.create_task(memory.take(10))
        await _turns()
        memory.give_back(held)
        first.cancel()
        await _turns()
        assert (first.cancelled(), second.done()) == (True, True)
        memory.give_back(second.result())


async def test_no_memory_is_lost_however_waiting_ends() -> None:
    chance = random.Random(5)

    async def use() -> None:
        for _ in range(30):
            taking = asyncio.create_task(memory.take(chance.randint(1, 15)))
            await _turns(chance.randrange(6))
            if chance.random() < 0.4:
                taking.cancel()
            with suppress(asyncio.CancelledError):
                buffer = await taking
                await _turns(chance.randrange(3))
                memory.give_back(buffer)

    async with memory_of(10) as memory, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(use())


async def test_patience_ends() -> None:
    async with memory_of(10, patience=0.05) as memory:
        held = await memory.take(10)
        with pytest.raises(dream.ConnectionFailedError, match="no memory") as caught:
            await memory.take(1)
        assert not caught.value.request_sent
        waiting = [asyncio.create_task(memory.take(size)) for size in (10, 1)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dream.ConnectionFailedError] * 2
        memory.give_back(held)


async def test_closing_ends_all_waiting_for_memory() -> None:
    memory = Memory(10, None)
    held = await memory.take(10)
    waiting = [asyncio.create_task(memory.take(size)) for size in (1, 10, 100)]
    await _turns()
    memory.close(lambda: dream.SessionClosedError("closed meanwhile"))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * 3
    memory.give_back(held)
    with pytest.raises(dream.SessionClosedError, match="closed meanwhile"):
        await memory.take(1)


async def test_memory_that_nobody_needs_is_not_kept() -> None:
    memory = Memory(64 * MIB, None)
    with traced_memory() as traced:
        buffers = [await memory.take(8 * MIB) for _ in range(8)]
        while buffers:
            memory.give_back(buffers.pop())
            assert traced.taken < 65 * MIB
        assert traced.taken < MIB
        # Nor is what was used before beside what is used now.
        buffers = [await memory.take(8 * MIB) for _ in range(8)]
        for _ in range(7):
            memory.give_back(buffers.pop())
        buffers += [await memory.take(7 * MIB) for _ in range(8)]
        assert traced.taken < 65 * MIB
        for buffer in buffers:
            memory.give_back(buffer)
