"""Many keys: on Ceph RGW as many as ``SCALE`` says, and in memory that does not grow with them.

``SCALE=100000 pytest tests/test_scale.py -s`` is the large one, with its figures.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

import pytest
from conftest import Server, new_name
from invariants import traced_memory
from servers.scripted import Received, Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions

SCALE = int(os.environ.get("SCALE", "1100"))
WIDTH = 64
UPLOADS = 50


@contextmanager
def measured(what: str, count: int) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.1f} s, {count / seconds:,.0f}/s")  # noqa: T201 - for whoever asks, by -s


async def for_each(items: Iterable[str], act: Callable[[str], Awaitable[object]]) -> None:
    remaining = iter(items)

    async def some() -> None:
        for item in remaining:
            await act(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(WIDTH):
            group.create_task(some())


@pytest.mark.timeout(120 + SCALE // 20)
async def test_many_keys_are_listed_alike_and_deleted_all(rgw: Server) -> None:
    keys = [f"{number % 97:02}/{number:06} ü+%" for number in range(SCALE)]
    async with rgw.session(limits=dream.Limits(requests=WIDTH)) as session:
        bucket = await session.create_bucket(new_name())
        with measured("fill", SCALE):
            await for_each(keys, lambda key: bucket.object(key).put(b""))
        await bucket.set_versioning("Enabled")
        with measured("second versions of half of them", len(keys[::2])):
            await for_each(keys[::2], lambda key: bucket.object(key).put(b"x"))
        await for_each(
            keys[:UPLOADS],
            lambda key: session._runtime.s3.create_upload(Address(bucket.name, key), WriteOptions()),
        )

        with measured("list", SCALE):
            listed = await bucket.list().collect()
        assert [info.key for info in listed] == sorted(keys, key=str.encode)
        assert sum(info.size or 0 for info in listed) == len(keys[::2])
        with measured("list, parallel=8", SCALE):
            assert await bucket.list(parallel=8).collect() == listed
        with measured("list versions", SCALE + len(keys[::2])):
            versions = await bucket.list_versions().collect()
        assert len(versions) == SCALE + len(keys[::2])
        newest = [next(group) for _, group in groupby(versions, lambda info: info.key)]
        assert newest == [info for info in versions if info.is_latest]
        assert [info.key for info in newest] == [info.key for info in listed]
        assert len(await bucket.uploads().collect()) == UPLOADS

        with measured("set_acl_many of a tenth", len(keys[::10])):
            assert (await bucket.set_acl_many(keys[::10], "public-read")).done == len(keys[::10])
        with measured("delete_many of a quarter", len(keys[::4])):
            assert (await bucket.delete_many(keys[::4])).done == len(keys[::4])
        assert len(await bucket.list(parallel=8).collect()) == SCALE - len(keys[::4])
        with measured("delete(force=True) of all versions and markers", len(versions) + len(keys[::4])):
            await bucket.delete(force=True)
        assert not await bucket.exists()


# Memory


def made_up(count: int) -> Callable[[Received], Reply]:
    """A bucket of so many thousands of keys, each on a page that is told by its number."""
    entries = "".join(
        f"<Contents><Key>key-PAGE-{number:03}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{number}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for number in range(1000)
    )

    def answer(request: Received) -> Reply:
        _, _, rest = request.target.partition("continuation-token=")
        page = int(rest.partition("&")[0] or 0)
        more = f"<NextContinuationToken>{page + 1}</NextContinuationToken>" if page + 1 < count else ""
        body = f"<ListBucketResult><IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{entries}"
        return Reply(200, (body + "</ListBucketResult>").replace("PAGE", f"{page:05}").encode())

    return answer


async def peak_of(count: int, use: Callable[[dream.Bucket], Awaitable[int]]) -> int:
    """Bytes that were allocated at most while a bucket of so many thousands of keys was used."""
    async with ScriptedServer() as scripted, scripted.session() as session:
        scripted.will(made_up(count))
        bucket = session.bucket("bucket")
        forget = asyncio.create_task(forget_requests(scripted))
        gc.collect()
        try:
            with traced_memory() as memory:
                assert await use(bucket) == count * 1000
        finally:
            forget.cancel()
            await asyncio.wait({forget})
        return memory.peak


async def forget_requests(scripted: ScriptedServer) -> None:
    while True:
        await scripted.arrived.wait()
        scripted.arrived.clear()
        del scripted.received[:-10]


async def listed(bucket: dream.Bucket) -> int:
    count = 0
    async for _ in bucket.list():
        count += 1
    return count


async def test_a_listing_ten_times_as_long_takes_no_more_memory() -> None:
    short, long = [await peak_of(count, listed) for count in (5, 50)]
    assert long < 2 * short, (short, long)
