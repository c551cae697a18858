"""Many keys at once, on every server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from conftest import new_name, put_all

import aiodreamobjects as dream


async def fill(bucket: dream.Bucket, count: int) -> list[str]:
    keys = [f"key-{number:04}" for number in range(count)]
    await put_all(bucket, keys)
    return keys


async def test_more_keys_than_a_request_takes_are_deleted(bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 1005)
    assert await bucket.delete_many(keys) == dream.BulkReport(done=1005, failed=0)
    assert await bucket.list().collect() == []


async def test_keys_may_come_from_a_listing(bucket: dream.Bucket) -> None:
    await fill(bucket, 12)
    assert (await bucket.delete_many(bucket.list("key-000"))).done == 10
    assert [info.key async for info in bucket.list()] == ["key-0010", "key-0011"]


async def test_keys_may_be_versions(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    obj = bucket.object("a")
    first, second = await obj.put("1"), await obj.put("2")
    assert await bucket.delete_many([("a", second.version_id)]) == dream.BulkReport(done=1, failed=0)
    assert await obj.read() == b"1"
    assert (await bucket.delete_many([first])).done == 1
    assert await bucket.list_versions().collect() == []


async def test_infos_of_another_bucket_are_refused(session: dream.Session, bucket: dream.Bucket) -> None:
    other = await session.create_bucket(new_name())
    for each in (bucket, other):
        await each.object("precious").put("x")
    with pytest.raises(ValueError, match=f"is of bucket '{other.name}'"):
        await bucket.delete_many(other.list())
    assert await bucket.object("precious").exists()
    await other.delete(force=True)


async def test_missing_and_repeated_keys_count_as_done(bucket: dream.Bucket) -> None:
    await bucket.object("here").put("x")
    assert (await bucket.delete_many(["here", "missing", "here"])).done == 3
    assert (await bucket.delete_many([])) == dream.BulkReport(done=0, failed=0)


async def test_keys_may_come_from_iterators(bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 4)

    def some() -> Iterator[str]:
        yield from keys[:2]

    async def others() -> AsyncIterator[str]:
        for key in keys[2:]:
            yield key

    assert (await bucket.delete_many(some())).done == 2
    assert (await bucket.delete_many(others())).done == 2
    assert await bucket.list().collect() == []


async def test_a_source_that_fails_is_raised_as_it_is(bucket: dream.Bucket) -> None:
    await bucket.object("kept").put("x")

    def broken() -> Iterator[str]:
        yield "a"
        raise LookupError("no more keys")  # noqa: TRY003, EM101 - as users raise

    with pytest.raises(LookupError, match="no more keys"):
        await bucket.delete_many(broken())
    assert await bucket.object("kept").exists()


async def test_a_key_that_is_none_is_refused(bucket: dream.Bucket) -> None:
    with pytest.raises(ValueError, match="empty"):
        await bucket.delete_many(["a", ""])
    with pytest.raises(TypeError, match="iterable of keys"):
        await bucket.delete_many("key")
    with pytest.raises(ValueError, match="on_error 'ignore' is none of 'raise', 'collect'"):
        await bucket.delete_many(["a"], on_error="ignore")  # type: ignore[arg-type]  # that is the point
