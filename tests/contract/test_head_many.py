"""``head_many`` and ``usage``, on every server; boto3 is the observer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name, put_all

import aiodreamobjects as dream

ON = ("memory", "rgw")

KEYS = [
    "a",
    "a b",
    "a+/%2B",
    "photos/",
    "photos/2025/1/a.jpg",
    "photos/2025/b.jpg",
    "photos/2026/ü/c.jpg",
    "photos/d.jpg",
    "漢/é",
]


@pytest_asyncio.fixture(scope="module")
async def filled(server: Server, session: dream.Session) -> AsyncIterator[dream.Bucket]:
    bucket = await session.create_bucket(new_name())
    for key in KEYS:
        await bucket.object(key).put(key, content_type="text/x-test")
    yield bucket
    await bucket.delete(force=True)


async def test_each_key_is_told_in_order_with_what_a_head_says(filled: dream.Bucket) -> None:
    asked = ["漢/é", "missing", "a", "a", "photos/", "a+/%2B", "photos/2025/"]
    found = [(key, info) async for key, info in filled.head_many(asked)]
    assert [key for key, _ in found] == asked
    assert [info is None for _, info in found] == [False, True, False, False, False, False, True]
    for key, info in found:
        if info is not None:
            assert info == await filled.object(key).head()
            assert info.content_type == "text/x-test"


async def test_keys_may_be_any_source(filled: dream.Bucket) -> None:
    async def later() -> AsyncIterator[str]:
        for key in KEYS:
            await asyncio.sleep(0)
            yield key

    expected = {key: await filled.object(key).head() for key in KEYS}
    assert await filled.head_many(later()).collect() == expected
    assert await filled.head_many(iter(KEYS)).collect() == expected
    assert await filled.head_many(filled.list()).collect() == expected
    assert await filled.head_many((key, None) for key in KEYS).collect() == expected
    assert {key: info async for key, info in await filled.head_many(KEYS)} == expected
    assert await filled.head_many([]).collect() == {}


async def test_versions_are_looked_at_and_a_delete_marker_is_no_object(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    first = await bucket.object("a").put("one")
    await bucket.object("a").put("three")
    await bucket.object("a").delete()
    versions = await bucket.list_versions().collect()
    assert [version.is_delete_marker for version in versions] == [True, False, False]
    found = [info async for _, info in bucket.head_many(versions)]
    assert [info and (info.size, info.version_id) for info in found] == [
        None,
        (5, versions[1].version_id),
        (3, first.version_id),
    ]
    assert await bucket.head_many(["a"]).collect() == {"a": None}


async def test_a_missing_bucket_is_an_error_and_no_missing_key(session: dream.Session, filled: dream.Bucket) -> None:
    with pytest.raises(dream.NotFoundError):
        await session.bucket(new_name()).head_many(["a", "b"]).collect()
    before = session.statistics().requests
    assert await filled.head_many(["missing 1", "missing 2"]).collect() == {"missing 1": None, "missing 2": None}
    assert session.statistics().requests - before == 3
    assert len(await filled.head_many(KEYS).collect()) == len(KEYS)
    assert session.statistics().requests - before == 3 + len(KEYS)


async def test_what_is_no_key_is_refused(session: dream.Session, filled: dream.Bucket) -> None:
    before = session.statistics().requests
    with pytest.raises(TypeError, match="keys is one str"):
        _ = filled.head_many("abc")
    with pytest.raises(ValueError, match="is of bucket 'other'"):
        await filled.head_many([dream.ObjectInfo("other", "a")]).collect()
    with pytest.raises(TypeError, match="is not a key"):
        await filled.head_many([7]).collect()  # type: ignore[list-item]  # a wrong argument
    with pytest.raises(ValueError, match="the key is empty"):
        await filled.head_many([""]).collect()
    assert session.statistics().requests == before


# usage


def summed_by_boto(boto: Any, bucket: str, prefix: str, depth: int) -> tuple[int, int, dict[str, tuple[int, int]]]:
    objects, sizes = Counter[str](), Counter[str]()
    for page in boto.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            *directories, _ = entry["Key"].removeprefix(prefix).split("/")
            for level in range(min(depth, len(directories)) + 1):
                name = prefix + "".join(f"{part}/" for part in directories[:level])
                objects[name] += 1
                sizes[name] += entry["Size"]
    total = objects.pop(prefix, 0), sizes.pop(prefix, 0)
    return *total, {name: (objects[name], sizes[name]) for name in sorted(objects)}


@pytest.mark.parametrize("prefix", ["", "photos/", "photos", "a", "photos/2025/", "nothing/"])
async def test_usage_counts_what_is_there(filled: dream.Bucket, boto: Any, prefix: str) -> None:
    keys = [key for key in KEYS if key.startswith(prefix)]
    level = [item.prefix async for item in filled.list_dir(prefix) if isinstance(item, dream.CommonPrefix)]
    for depth in (0, 1, 2, 9):
        report = await filled.usage(prefix, depth)
        assert (report.objects, report.bytes) == (len(keys), sum(len(key.encode()) for key in keys))
        assert depth != 1 or list(report.by_prefix) == level
        seen = await asyncio.to_thread(summed_by_boto, boto, filled.name, prefix, depth)
        told = {name: (usage.objects, usage.bytes) for name, usage in report.by_prefix.items()}
        assert (report.objects, report.bytes, told) == seen
        assert list(report.by_prefix) == sorted(report.by_prefix)


async def test_usage_of_many_pages_is_the_same_however_many_requests_list_them(
    bucket: dream.Bucket, server: Server
) -> None:
    if not server.is_memory:
        pytest.skip("other services list the same: tests/test_parallel_listing.py")
    await put_all(bucket, [f"{n % 7}/{n % 11}/{n}" for n in range(2500)])
    one = await bucket.usage(depth=2, parallel=1)
    assert one == await bucket.usage(depth=2, parallel=8)
    assert (one.objects, len(one.by_prefix)) == (2500, 7 + 77)
    assert one.by_prefix["3/"].objects == sum(one.by_prefix[f"3/{n}/"].objects for n in range(11))
    assert repr(one) == "<UsageReport objects=2,500, bytes=0, by_prefix: 84>"


async def test_a_depth_that_is_none_is_refused(filled: dream.Bucket) -> None:
    wrong: list[Any] = [-1, True, 1.5, "1", None]
    for depth in wrong:
        with pytest.raises(ValueError, match="depth"):
            await filled.usage(depth=depth)
    with pytest.raises(ValueError, match="parallel"):
        await filled.usage(parallel=0)
