"""A listing that is interrupted at any await leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
from interruptions import (
    PATIENCE_SECONDS,
    How,
    at_each_moment,
    in_every_way,
    memory_service,
    nothing_is_told,
)

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

Verb = Callable[[dream.Bucket], Coroutine[Any, Any, object]]

LISTED = [f"{number:05}" for number in range(2_100)]


@pytest.fixture(scope="module")
def listed() -> MemoryService:
    """Keys to list, on two levels and by the thousand, which no test changes."""
    return memory_service()


async def fill(memory: MemoryService) -> None:
    async with memory.session() as session:
        if not await session.bucket("listed").exists():
            bucket = await session.create_bucket("listed")
            for key in LISTED:
                await bucket.object(f"all/{key[:3]}/{key}").put(b"")


async def left_in_the_middle(bucket: dream.Bucket, parallel: int) -> None:
    async with aclosing(bucket.list(parallel=parallel).pages()) as pages:
        async for page in pages:
            await asyncio.sleep(0)
            if page[0].key > "all/010":
                break


async def broken_off(bucket: dream.Bucket, parallel: int) -> None:
    async for info in bucket.list(parallel=parallel):
        if info.key.endswith("01500"):
            await asyncio.sleep(0)
            break


async def counted(bucket: dream.Bucket, parallel: int) -> None:
    count = 0
    async for _ in bucket.list(parallel=parallel):
        count += 1
        if not count % 500:
            await asyncio.sleep(0)
    assert count == len(LISTED)


async def all_pages(bucket: dream.Bucket, parallel: int) -> None:
    pages = [page async for page in bucket.list(parallel=parallel).pages()]
    assert sum(map(len, pages)) == len(LISTED)


LISTINGS: dict[str, Verb] = {
    **{
        f"{name}, {parallel} at once": (lambda bucket, verb=verb, parallel=parallel: verb(bucket, parallel))  # type: ignore[misc]  # by keyword
        for parallel in (1, 4)
        for name, verb in {
            "list": counted,
            "pages": all_pages,
            "collect": lambda bucket, parallel: bucket.list(parallel=parallel).collect(),
            "left in the middle": left_in_the_middle,
            "broken off": broken_off,
        }.items()
    },
    "list_dir": lambda bucket: bucket.list_dir("all/").collect(),
    "page": lambda bucket: bucket.list().page(1500),
    "usage": lambda bucket: bucket.usage(depth=1),
    "head_many": lambda bucket: bucket.head_many(bucket.list(limit=50)).collect(),
    "list_versions": lambda bucket: bucket.list_versions().collect(),
    "uploads": lambda bucket: bucket.uploads().collect(),
}


@in_every_way
@pytest.mark.parametrize("verb", LISTINGS)
async def test_a_listing_can_be_cancelled_at_every_await(
    listed: MemoryService, verb: str, how: How, limits: dream.Limits
) -> None:
    await fill(listed)
    with nothing_is_told():
        async with listed.session(limits=limits) as session:
            bucket = session.bucket("listed")

            async def set_up() -> None:
                pass

            async def check(was_cut: bool) -> None:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert len(await bucket.list(limit=1).collect()) == 1

            is_left = verb.startswith(("list,", "broken off"))
            await at_each_moment(lambda: LISTINGS[verb](bucket), how, set_up, check, is_left_to_the_loop=is_left)
