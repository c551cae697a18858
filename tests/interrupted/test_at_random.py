"""Hundreds of cancellations at random, over real connections, leave nothing behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import Server, new_name
from interruptions import (
    PATIENCE_SECONDS,
    nothing_is_told,
    nothing_stays_open,
)
from invariants import threads_now

import aiodreamobjects as dream

CANCELLATIONS = 200
AT_ONCE = 6
RGW_PART = 5 << 20
BLOBS = {"old": random.Random(5).randbytes(70_000), "new": random.Random(6).randbytes(RGW_PART + 100_000)}


@dataclass(frozen=True)
class Corner:
    """One task's own objects and files, so that what they are afterwards is its own doing."""

    bucket: dream.Bucket
    other: dream.Bucket
    home: Path

    @property
    def name(self) -> str:
        return self.home.name

    async def set_up(self) -> None:
        (self.home / "target").write_bytes(BLOBS["old"])
        await self.other.object(f"{self.name}/b").put(BLOBS["old"])
        for number in range(3):
            await self.other.object(f"{self.name}/doomed/{number}").put(b"")

    async def check(self) -> None:
        assert {path.name for path in self.home.iterdir()} == {"source", "target"}
        assert (self.home / "target").read_bytes() in BLOBS.values()
        assert await self.other.object(f"{self.name}/b").read() in BLOBS.values()
        assert await self.other.object(f"{self.name}/a").read() == BLOBS["new"]


async def stream(at: Corner) -> None:
    async with at.bucket.object(f"{at.name}/a").get() as body:
        async for _ in body:
            pass


MIXED: dict[str, Callable[[Corner], Coroutine[Any, Any, object]]] = {
    "put": lambda at: at.bucket.object(f"{at.name}/b").put(BLOBS["new"]),
    "upload": lambda at: at.bucket.object(f"{at.name}/b").upload(at.home / "source"),
    "get": stream,
    "read": lambda at: at.bucket.object(f"{at.name}/b").read(),
    "download": lambda at: at.bucket.object(f"{at.name}/a").download(at.home / "target"),
    "list": lambda at: at.bucket.list(f"{at.name}/", parallel=4).collect(),
    "delete_many": lambda at: at.bucket.delete_many(at.bucket.list(f"{at.name}/doomed/")),
    "head": lambda at: at.bucket.object(f"{at.name}/a").head(),
}


async def test_hundreds_of_cancellations_at_random_leave_nothing_behind(rgw: Server, tmp_path: Path) -> None:
    threads = threads_now()
    with nothing_is_told(), nothing_stays_open() as settled:
        limits = dream.Limits(requests=4, part_size=RGW_PART, parts_per_object=2, memory=2 * RGW_PART)
        async with rgw.session(limits=limits) as session, rgw.session() as other:
            bucket = await session.create_bucket(new_name())
            tasks = asyncio.all_tasks()
            async with asyncio.TaskGroup() as group:
                for number in range(AT_ONCE):
                    home = tmp_path / str(number)
                    home.mkdir()
                    corner = Corner(bucket, other.bucket(bucket.name), home)
                    group.create_task(cancel_at_random(corner, random.Random(number), CANCELLATIONS // AT_ONCE + 1))
            assert asyncio.all_tasks() == tasks
            assert await other.bucket(bucket.name).uploads().collect() == []
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(bucket.object("0/a").read((-10, None)) for _ in range(20)))
                await bucket.object("0/b").upload(tmp_path / "0" / "source")
            await bucket.delete(force=True)
        await settled()
    assert threads_now() == threads


async def cancel_at_random(at: Corner, chance: random.Random, count: int) -> None:
    """Some by the loop's turns, which find the beginning, and some by the clock."""
    (at.home / "source").write_bytes(BLOBS["new"])
    await at.other.object(f"{at.name}/a").put(BLOBS["new"])
    await at.set_up()
    cancelled = 0
    while cancelled < count:
        task = asyncio.ensure_future(MIXED[chance.choice(list(MIXED))](at))
        if chance.random() < 0.5:
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(chance.expovariate(1 / 0.02))
        cancelled += task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or task.exception() is None
        if cancelled % 10 == 0:
            await at.check()
            await at.set_up()
    await at.check()
