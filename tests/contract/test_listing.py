"""Listings: complete, in order, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from conftest import Server, keys_of, new_name, put_all

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions

ON = ("memory", "rgw")

# In UTF-8 byte order: neither that of a directory walk ("a-b" < "a/b") nor of UTF-16 ("ﬀ" < "🎉").
KEYS = ["a", "a b", "a+b", "a-b", "a.b", "a/b", "a/b/c", "a/d", "a0", "b%20", "é", "漢", "ﬀ", "🎉"]


@pytest_asyncio.fixture
async def filled(bucket: dream.Bucket) -> dream.Bucket:
    async with asyncio.TaskGroup() as group:
        for key in reversed(KEYS):
            group.create_task(bucket.object(key).put(key))
    return bucket


@pytest_asyncio.fixture(scope="module")
async def large(server: Server, session: dream.Session) -> AsyncIterator[dream.Bucket]:
    """1,050 keys, all of them awkward to continue behind."""
    bucket = await session.create_bucket(new_name())
    await put_all(bucket, [f"dir %2B+/ü {number:04}" for number in range(1050)])
    yield bucket
    await bucket.delete(force=True)


async def test_keys_come_in_the_order_of_their_utf_8_bytes(filled: dream.Bucket) -> None:
    assert await keys_of(filled.list()) == KEYS


async def test_a_listed_object_tells_what_a_listing_tells(filled: dream.Bucket) -> None:
    info = (await filled.list("a/b/").collect())[0]
    assert (info.bucket, info.key, info.size) == (filled.name, "a/b/c", 5)
    assert info.etag == (await filled.object("a/b/c").head()).etag
    assert info.last_modified is not None
    assert info.last_modified.tzinfo is not None
    assert info.content_type is None
    assert info.metadata is None


async def test_a_prefix_selects(filled: dream.Bucket) -> None:
    for prefix in ("a", "a ", "a+", "a/", "b%20", "é", "nothing"):
        assert await keys_of(filled.list(prefix)) == [key for key in KEYS if key.startswith(prefix)]


async def test_start_after_begins_behind_a_key(filled: dream.Bucket) -> None:
    for start_after in ("a", "a+b", "a/b", "a/c", "é", "🎉"):
        expected = [key for key in KEYS if key.encode() > start_after.encode()]
        assert await keys_of(filled.list(start_after=start_after)) == expected


async def test_limit_ends_a_listing(filled: dream.Bucket) -> None:
    for limit in (0, 1, 13, 14, 15):
        assert await keys_of(filled.list(limit=limit)) == KEYS[:limit]


async def test_one_level_is_listed_as_a_directory(filled: dream.Bucket) -> None:
    names = [item.key if isinstance(item, dream.ObjectInfo) else item.prefix async for item in filled.list_dir()]
    assert names == ["a", "a b", "a+b", "a-b", "a.b", "a/", "a0", "b%20", "é", "漢", "ﬀ", "🎉"]
    assert await filled.list_dir("a/").collect() == [
        *await filled.list("a/b", limit=1).collect(),
        dream.CommonPrefix(filled.name, "a/b/"),
        *await filled.list("a/d").collect(),
    ]


async def test_an_empty_bucket_lists_nothing(bucket: dream.Bucket) -> None:
    assert await bucket.list().collect() == []
    assert [page async for page in bucket.list().pages()] == []
    assert await bucket.list_dir().collect() == []
    assert await bucket.list_versions().collect() == []
    assert await bucket.uploads().collect() == []


async def test_pages_hold_a_thousand(large: dream.Bucket) -> None:
    pages = [page async for page in large.list().pages()]
    assert [len(page) for page in pages] == [1000, 50]
    assert [info.key for page in pages for info in page] == [f"dir %2B+/ü {number:04}" for number in range(1050)]


async def test_a_limit_beyond_a_page_is_kept(large: dream.Bucket) -> None:
    assert len(await large.list(limit=1001).collect()) == 1001


async def test_a_page_may_end_at_a_key_that_xml_cannot_carry(server: Server, bucket: dream.Bucket) -> None:
    keys = [f"{n:04}\x07" for n in range(1002)]
    await put_all(bucket, keys)
    assert await keys_of(bucket.list()) == keys
    assert await keys_of(bucket.list("0000\x07")) == keys[:1]
    assert await keys_of(bucket.list(start_after="1000\x07")) == keys[1001:]
    assert [info.key for info in await bucket.list_versions().collect()] == keys
    await bucket.delete(force=True)
    assert not await bucket.exists()


async def test_versions_go_on_behind_a_page(large: dream.Bucket) -> None:
    versions = await large.list_versions().collect()
    assert [info.key for info in versions] == [f"dir %2B+/ü {number:04}" for number in range(1050)]


async def test_a_listing_can_be_left_and_begun_again(large: dream.Bucket) -> None:
    listing = large.list()
    async for info in listing:
        assert info.key.endswith("0000")
        break
    assert len(await listing.collect()) == 1050


async def test_open_uploads_go_on_behind_a_page(server: Server, bucket: dream.Bucket) -> None:
    numbers = iter(range(1002))

    async def begin_some() -> None:
        for number in numbers:
            await bucket._runtime.s3.create_upload(Address(bucket.name, f"a %20+{number:04}"), WriteOptions())

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(begin_some())
    uploads = await bucket.uploads().collect()
    assert [upload.key for upload in uploads] == [f"a %20+{number:04}" for number in range(1002)]
    assert len({upload.upload_id for upload in uploads}) == 1002
    assert await bucket.uploads("a %20+100").collect() == uploads[1000:]
