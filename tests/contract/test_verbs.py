"""Each verb once, on services that share no code: it works, or ``servers/known.py`` says in a row why it does not.

The other files of the contract look closer, on servers that have nearly all that S3 has.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
import pytest_asyncio
from _pytest.mark.structures import ParameterSet
from conftest import INDEPENDENT, Server, keys_of, new_name
from yarl import URL

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.values import Cursor
from aiodreamobjects.testing import MemoryService

PART = 5 << 20  # the least that S3 takes for a part with others behind it
LARGE = os.urandom(PART) + b"end"
LIMITS = dream.Limits(part_size=PART)
RETRY = dream.Retry(attempts=2)
SESSION = {"limits": LIMITS, "retry": RETRY}

# In the order of their UTF-8 bytes. No key is the directory of another: services on a file system cannot store both.
KEYS = ["a b", "a+b", "a-b/c", "a.b", "b%20", "dir/a", "dir/b/c", "dir/d", "dir0", "é", "漢", "ﬀ", "🎉"]
ODD_KEYS = {
    "a space and more": "a dir/ü+~x.txt",
    "signs of a URL": "weird&?#=%.txt",
    "what is encoded": "100%25 a+b c%20d",
    "signs of XML": "<tag>&amp;\"quotes'",
    "other signs": "*'()!$,;:@[]{}|\\^`",
    "beyond Unicode's first plane": "emoji 🎉 and 漢字",
    "a long name": "x" * 255,
    "a slash first": "/leading",
    "a slash last": "trailing/",
    "two slashes": "double//slash",
    "dots": "./dot/../segments",
    "1024 bytes": "é" * 512,
    "a key below a key": "key/below",
    "a tab": "tab\there",
    "a bell": "bell\x07",
}


@pytest.fixture(scope="module", params=["rgw", "b2", *INDEPENDENT])
def server(request: pytest.FixtureRequest) -> Server:
    """Beside the independent ones, the one that has nearly all, and the one that refuses much by design."""
    found: Server = request.getfixturevalue(request.param.replace("-", "_"))
    return found


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> dream.Bucket:
    """It stays: the server is thrown away, and deletion has tests of its own."""
    return await session.create_bucket(new_name())


@pytest_asyncio.fixture
async def obj(bucket: dream.Bucket) -> dream.Object:
    made = bucket.object("dir/digits")
    await made.put(b"0123456789")
    return made


# Buckets


async def test_a_bucket_is_made_listed_and_deleted(session: dream.Session) -> None:
    bucket = await session.create_bucket(new_name())
    assert bucket.name in [info.name async for info in session.buckets()]
    assert (await bucket.info()).name == bucket.name
    await bucket.delete()
    assert not await bucket.exists()


async def test_a_bucket_that_exists_is_not_made_again(bucket: dream.Bucket) -> None:
    with pytest.raises(dream.AlreadyExistsError, match=bucket.name):
        await bucket.create()


async def test_a_bucket_may_exist_already(bucket: dream.Bucket) -> None:
    assert (await bucket.create(exist_ok=True)).name == bucket.name


async def test_a_missing_bucket_is_not_found(session: dream.Session) -> None:
    missing = session.bucket(new_name())
    assert not await missing.exists()
    for verb in (
        missing.info(),
        missing.delete(),
        missing.delete(force=True),
        missing.empty(),
        missing.list().collect(),
        missing.object("a").put("x"),
        missing.object("a").read(),
        missing.delete_many(["a"]),
    ):
        with pytest.raises(dream.NotFoundError):
            await verb


async def test_a_bucket_with_an_object_is_not_deleted(bucket: dream.Bucket, obj: dream.Object) -> None:
    with pytest.raises(dream.BucketNotEmptyError):
        await bucket.delete()
    assert await obj.read() == b"0123456789"


async def test_a_bucket_is_emptied(bucket: dream.Bucket) -> None:
    for key in ("a", "dir/b", "dir/c/d"):
        await bucket.object(key).put("x")
    assert await bucket.empty() == dream.BulkReport(done=3, failed=0)
    assert await bucket.list().collect() == []
    assert await bucket.empty() == dream.BulkReport(done=0, failed=0)
    await bucket.delete()


async def test_a_bucket_is_deleted_with_its_content(bucket: dream.Bucket) -> None:
    for key in ("a", "dir/b", "dir/c/d"):
        await bucket.object(key).put("x")
    await bucket.delete(force=True)
    assert not await bucket.exists()


async def test_a_bucket_is_deleted_with_an_open_upload(session: dream.Session, bucket: dream.Bucket) -> None:
    address = Address(bucket.name, "dir/open")
    begun = await session._runtime.s3.create_upload(address, WriteOptions())
    await session._runtime.s3.put_part(address, begun.upload_id, 1, b"x")
    await bucket.delete(force=True)
    assert not await bucket.exists()


@pytest.mark.needs("versions")
async def test_a_bucket_is_deleted_with_its_versions(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    await bucket.object("a").put("1")
    await bucket.object("a").put("2")
    await bucket.object("a").delete()
    await bucket.delete(force=True)
    assert not await bucket.exists()


# Objects


async def test_an_object_is_stored_read_and_deleted(bucket: dream.Bucket) -> None:
    obj = bucket.object("dir/hello.txt")
    info = await obj.put("Hällo Wörld!")
    assert (info.size, info.verified) == (14, "md5")
    assert await obj.read_text() == "Hällo Wörld!"
    assert await obj.exists()
    await obj.put("again")
    assert await obj.read() == b"again"
    head = await obj.head()
    assert head.size == 5
    assert head.last_modified is not None
    assert abs(head.last_modified - datetime.now(UTC)) < timedelta(seconds=60)
    await obj.delete()
    assert not await obj.exists()


async def test_an_object_has_the_same_etag_wherever_it_is_told(bucket: dream.Bucket) -> None:
    stored = await bucket.object("a").put("x")
    (listed,) = await bucket.list().collect()
    async with bucket.object("a").get() as body:
        assert stored.etag == listed.etag == body.info.etag == (await bucket.object("a").head()).etag


async def test_an_empty_object_is_an_object(bucket: dream.Bucket, tmp_path: Path) -> None:
    obj = bucket.object("empty")
    await obj.put(b"")
    assert await obj.read() == b""
    assert (await obj.head()).size == 0
    assert (await obj.download(tmp_path / "empty")).size == 0
    assert (tmp_path / "empty").read_bytes() == b""


async def test_a_missing_object_is_not_found(bucket: dream.Bucket, tmp_path: Path) -> None:
    missing = bucket.object("dir/missing")
    assert not await missing.exists()
    for verb in (missing.head(), missing.read(), missing.download(tmp_path / "f"), missing.copy_to(bucket.object("b"))):
        with pytest.raises(dream.NotFoundError):
            await verb


async def test_a_missing_object_is_deleted(bucket: dream.Bucket) -> None:
    await bucket.object("dir/missing").delete()


@pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
async def test_an_odd_key_goes_round(bucket: dream.Bucket, key: str) -> None:
    if key == "key/below":
        await bucket.object("key").put("x")
    obj = bucket.object(key)
    await obj.put(key)
    assert await obj.read_text() == key
    assert (await obj.head()).size == len(key.encode())
    assert await keys_of(bucket.list(key)) == [key]
    await obj.copy_to(bucket.object("copy"))
    assert await bucket.object("copy").read_text() == key
    assert await bucket.delete_many([key]) == dream.BulkReport(done=1, failed=0)
    assert not await obj.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("content_type", "text/csv"),
        ("metadata", {"source": "scale 7", "kind": "first"}),
        ("cache_control", "max-age=60"),
        ("content_disposition", 'attachment; filename="a.csv"'),
        ("content_encoding", "identity"),
    ],
    ids=["type", "metadata", "caching", "disposition", "encoding"],
)
@pytest.mark.needs("headers")
async def test_an_object_keeps(bucket: dream.Bucket, option: str, value: object) -> None:
    await bucket.object("a").put("x", **{option: value})  # type: ignore[arg-type]  # each by its name
    assert getattr(await bucket.object("a").head(), option) == value


@pytest.mark.parametrize(
    ("asked", "expected"),
    [((0, 1), b"0"), ((2, 5), b"234"), ((8, 100), b"89"), ((3, None), b"3456789"), ((-3, None), b"789")],
    ids=["the first", "the middle", "beyond the end", "the rest", "the last"],
)
async def test_a_range_is_read(obj: dream.Object, asked: tuple[int, int | None], expected: bytes) -> None:
    assert await obj.read(asked) == expected
    async with obj.get(range=asked) as body:
        assert (body.info.size, await body.read()) == (10, expected)


async def test_a_range_beyond_the_end_is_refused(obj: dream.Object) -> None:
    with pytest.raises(dream.InvalidRequestError):
        await obj.read((10, 20))


async def test_a_reader_is_sought_in(bucket: dream.Bucket) -> None:
    obj = bucket.object("file")
    await obj.put(LARGE[-100_000:])
    async with obj.reader() as file:
        assert await file.read(10) == LARGE[-100_000:][:10]
        await file.seek(-3, os.SEEK_END)
        assert await file.read() == b"end"


async def test_an_object_is_read_if_it_is_the_one_that_is_meant(obj: dream.Object) -> None:
    etag = (await obj.head()).etag
    async with obj.get(if_match=etag) as body:
        assert await body.read() == b"0123456789"
    with pytest.raises(dream.PreconditionFailedError):
        async with obj.get(if_match="0" * 32):
            pass
    with pytest.raises(dream.PreconditionFailedError):
        async with obj.get(if_none_match=etag):
            pass


@pytest.mark.needs("conditional writes")
async def test_an_object_is_stored_if_it_is_absent(bucket: dream.Bucket) -> None:
    obj = bucket.object("once")
    await obj.put("1", if_absent=True)
    with pytest.raises(dream.AlreadyExistsError):
        await obj.put("2", if_absent=True)
    assert await obj.read() == b"1"


@pytest.mark.needs("conditional writes")
async def test_an_object_is_replaced_if_it_is_the_one_that_is_meant(bucket: dream.Bucket) -> None:
    obj = bucket.object("pinned")
    etag = (await obj.put("1")).etag
    await obj.put("2", if_match=etag)
    with pytest.raises(dream.PreconditionFailedError):
        await obj.put("3", if_match=etag)
    assert await obj.read() == b"2"


# Parts


async def test_a_large_object_is_stored_in_parts(bucket: dream.Bucket, tmp_path: Path) -> None:
    obj = bucket.object("dir/large")
    assert (await obj.put(LARGE)).size == len(LARGE)
    assert (await obj.head()).size == len(LARGE)
    assert await obj.read() == LARGE
    await obj.download(tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == LARGE


@pytest.mark.needs("headers")
async def test_a_large_object_has_its_headers(bucket: dream.Bucket) -> None:
    await bucket.object("large").put(LARGE, content_type="text/csv", metadata={"kind": "first"})
    assert await headers_of(bucket.object("large")) == ("text/csv", {"kind": "first", "part-size": str(PART)})


@pytest.mark.needs("headers")
async def test_a_large_file_is_stored_with_its_time(bucket: dream.Bucket, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(LARGE)
    os.utime(tmp_path / "up", ns=(0, 1_600_000_000_123_456_789))
    await bucket.object("large").upload(tmp_path / "up")
    await bucket.object("large").download(tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == LARGE
    assert (tmp_path / "down").stat().st_mtime == pytest.approx(1_600_000_000.123456789, abs=1e-5)


async def test_a_writer_stores_what_is_written(bucket: dream.Bucket) -> None:
    async with bucket.object("written").writer() as file:
        for start in range(0, len(LARGE), 1 << 20):
            await file.write(LARGE[start : start + (1 << 20)])
    assert await bucket.object("written").read() == LARGE


async def test_what_fails_in_a_later_part_leaves_the_old_object(bucket: dream.Bucket) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield LARGE
        raise KeyError

    obj = bucket.object("kept")
    await obj.put("old")
    with pytest.raises(KeyError):
        await obj.put(failing())
    assert await obj.read() == b"old"


async def test_an_upload_that_broke_is_resumed(
    session: dream.Session, bucket: dream.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "file").write_bytes(LARGE * 2)

    def stop(_: dream.Progress) -> None:
        raise KeyError

    obj = bucket.object("resumed")
    with pytest.raises(KeyError):
        await obj.upload(tmp_path / "file", resume=True, progress=stop)
    await obj.upload(tmp_path / "file", resume=True)
    assert await obj.read() == LARGE * 2


async def test_a_large_object_is_stored_if_it_is_absent(bucket: dream.Bucket) -> None:
    obj = bucket.object("once")
    await obj.put("old")
    with pytest.raises(dream.AlreadyExistsError):
        await obj.put(LARGE, if_absent=True)
    assert await obj.read() == b"old"


@pytest.mark.needs("listing of uploads")
async def test_no_upload_is_left(bucket: dream.Bucket) -> None:
    await bucket.object("large").put(LARGE)
    assert await bucket.uploads().collect() == []


@pytest.mark.needs("listing of uploads")
async def test_open_uploads_are_listed_and_aborted(session: dream.Session, bucket: dream.Bucket) -> None:
    for key in ("dir/a ü+%20", "other"):
        await session._runtime.s3.create_upload(Address(bucket.name, key), WriteOptions())
    assert [upload.key async for upload in bucket.uploads()] == ["dir/a ü+%20", "other"]
    assert await bucket.abort_uploads(timedelta(0), prefix="dir/") == dream.BulkReport(done=1, failed=0)
    assert [upload.key async for upload in bucket.uploads()] == ["other"]
    assert await bucket.abort_uploads(timedelta(0)) == dream.BulkReport(done=1, failed=0)
    assert await bucket.uploads().collect() == []


# Listings


@pytest_asyncio.fixture(scope="module")
async def filled(session: dream.Session) -> dream.Bucket:
    made = await session.create_bucket(new_name())
    for key in reversed(KEYS):
        await made.object(key).put(key)
    return made


def name_of(item: dream.ObjectInfo | dream.CommonPrefix) -> str:
    return item.prefix if isinstance(item, dream.CommonPrefix) else item.key


async def test_keys_are_listed_in_the_order_of_their_bytes(filled: dream.Bucket) -> None:
    assert await keys_of(filled.list()) == KEYS


@pytest.mark.parametrize("prefix", ["a", "a+", "a-b", "dir", "dir/", "dir/b/", "dir/b/c", "b%20", "é", "nothing"])
async def test_a_prefix_selects(filled: dream.Bucket, prefix: str) -> None:
    assert await keys_of(filled.list(prefix)) == [key for key in KEYS if key.startswith(prefix)]


async def test_a_listing_begins_behind_a_key(filled: dream.Bucket) -> None:
    for start_after in ("a", "a+b", "dir/b/c", "dir/zzz", "é", "🎉"):
        expected = [key for key in KEYS if key.encode() > start_after.encode()]
        assert await keys_of(filled.list(start_after=start_after)) == expected


async def test_one_level_is_listed(filled: dream.Bucket) -> None:
    top = ["a b", "a+b", "a-b/", "a.b", "b%20", "dir/", "dir0", "é", "漢", "ﬀ", "🎉"]
    assert [name_of(item) for item in await filled.list_dir().collect()] == top
    assert [name_of(item) for item in await filled.list_dir("dir/").collect()] == ["dir/a", "dir/b/", "dir/d"]


async def test_one_level_begins_behind_a_name(filled: dream.Bucket) -> None:
    top = [name_of(item) for item in await filled.list_dir().collect()]
    for start_after in ("a+b", "a-b/", "a-b/c", "dir/zzz", "é", "🎉"):
        expected = [name for name in top if name.encode() > start_after.encode()]
        assert [name_of(item) for item in await filled.list_dir(start_after=start_after).collect()] == expected
    assert [name_of(item) for item in await filled.list_dir(start_after="a+b", limit=3).collect()] == top[2:5]


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("list_type", [2, 1])
async def test_pages_are_listed_for_clients(
    server: Server, filled: dream.Bucket, list_type: Literal[1, 2], limit: int
) -> None:
    async with replace(server, service=replace(server.service, list_type=list_type)).session() as session:
        bucket = session.bucket(filled.name)
        for listing in (bucket.list(), bucket.list_dir(), bucket.list_dir("dir/")):
            found: list[dream.ObjectInfo | dream.CommonPrefix] = []
            token = None
            while True:
                page = await listing.page(limit, token)
                found += page.items
                if (token := page.token) is None:
                    break
            assert found == await listing.collect()


async def test_many_objects_are_looked_at(filled: dream.Bucket) -> None:
    found = await filled.head_many([*KEYS, "no such key"]).collect()
    assert [info and info.size for info in found.values()] == [*(len(key.encode()) for key in KEYS), None]


async def test_what_is_below_each_directory_is_counted(filled: dream.Bucket) -> None:
    report = await filled.usage(depth=1)
    assert (report.objects, report.bytes) == (len(KEYS), sum(len(key.encode()) for key in KEYS))
    below = [key for key in KEYS if key.startswith("dir/")]
    assert report.by_prefix["dir/"] == dream.Usage(len(below), sum(map(len, below)))


@pytest.mark.parametrize("list_type", [2, 1])
async def test_a_listing_goes_on_behind_a_page(server: Server, filled: dream.Bucket, list_type: Literal[1, 2]) -> None:
    async with replace(server, service=replace(server.service, list_type=list_type)).session() as session:
        found: list[str] = []
        cursor: Cursor | None = None
        while True:
            page = await session._runtime.s3.list_objects(filled.name, prefix="", cursor=cursor, max_keys=2)
            found += [item.key for item in page.items if isinstance(item, dream.ObjectInfo)]
            cursor = page.next
            if cursor is None:
                break
    assert found == KEYS


async def test_many_objects_are_copied(session: dream.Session, bucket: dream.Bucket) -> None:
    other = await session.create_bucket(new_name())
    for key in ("a", "b"):
        await other.object(key).put(key)
    pairs = [(info, f"to/{info.key}") async for info in other.list()]
    assert await bucket.copy_many(pairs) == dream.BulkReport(done=2, failed=0)
    assert [await bucket.object(f"to/{key}").read() for key in ("a", "b")] == [b"a", b"b"]


async def test_many_objects_are_listed_and_deleted(bucket: dream.Bucket) -> None:
    keys = [f"dir %2B+/ü {number:02}" for number in range(30)]
    for key in keys:
        await bucket.object(key).put(b"")
    assert await keys_of(bucket.list()) == keys
    assert await bucket.delete_many(bucket.list("dir %2B+/ü 1")) == dream.BulkReport(done=10, failed=0)
    assert await bucket.delete_many([*keys, "missing", keys[0]]) == dream.BulkReport(done=32, failed=0)
    assert await bucket.list().collect() == []


# Copies


@pytest_asyncio.fixture
async def source(bucket: dream.Bucket) -> dream.Object:
    made = bucket.object("dir/source")
    await made.put("1;2", content_type="text/csv", metadata={"kind": "first"})
    return made


async def headers_of(obj: dream.Object) -> tuple[str | None, Mapping[str, str] | None]:
    info = await obj.head()
    return info.content_type, info.metadata


async def test_a_copy_has_the_content(bucket: dream.Bucket, source: dream.Object) -> None:
    copy = bucket.object("copy")
    assert (await source.copy_to(copy)).size == 3
    assert await copy.read() == b"1;2"


@pytest.mark.needs("headers")
async def test_a_copy_has_the_headers(bucket: dream.Bucket, source: dream.Object) -> None:
    await source.copy_to(bucket.object("copy"))
    assert await headers_of(bucket.object("copy")) == ("text/csv", {"kind": "first"})


async def test_a_copy_with_other_metadata_has_the_content(bucket: dream.Bucket, source: dream.Object) -> None:
    copy = bucket.object("copy")
    await source.copy_to(copy, metadata={"kind": "second"}, content_type="text/plain")
    assert await copy.read() == b"1;2"


@pytest.mark.needs("headers")
async def test_a_copy_has_other_metadata(bucket: dream.Bucket, source: dream.Object) -> None:
    copy = bucket.object("copy")
    await source.copy_to(copy, metadata={"kind": "second"}, content_type="text/plain")
    assert await headers_of(copy) == ("text/plain", {"kind": "second"})
    assert await headers_of(source) == ("text/csv", {"kind": "first"})


@pytest.mark.needs("headers")
async def test_metadata_is_changed_by_a_copy_onto_itself(source: dream.Object) -> None:
    await source.copy_to(source, metadata={"kind": "second"})
    assert await source.read() == b"1;2"
    assert await headers_of(source) == ("text/csv", {"kind": "second"})


@pytest.mark.needs("headers")
async def test_headers_are_changed_in_place(source: dream.Object) -> None:
    await source.set_headers(cache_control="max-age=60", content_language="en")
    head = await source.head()
    assert (head.content_type, head.metadata, head.cache_control) == ("text/csv", {"kind": "first"}, "max-age=60")
    assert await source.read() == b"1;2"


async def test_an_object_moves_to_another_bucket(session: dream.Session, source: dream.Object) -> None:
    moved = (await session.create_bucket(new_name())).object("moved")
    await source.move_to(moved)
    assert not await source.exists()
    assert await moved.read() == b"1;2"


async def test_an_object_in_parts_is_copied(bucket: dream.Bucket) -> None:
    await bucket.object("source").put(LARGE)
    assert (await bucket.object("source").copy_to(bucket.object("copy"))).size == len(LARGE)
    assert await bucket.object("copy").read() == LARGE


async def test_a_large_object_is_copied_in_parts(server: Server, bucket: dream.Bucket) -> None:
    await bucket.object("dir/source").put(LARGE)
    rules = replace(server.service.multipart, largest_copy=PART)
    async with replace(server, service=replace(server.service, multipart=rules)).session(limits=LIMITS) as session:
        copy = session.bucket(bucket.name).object("copy")
        assert (await session.bucket(bucket.name).object("dir/source").copy_to(copy)).size == len(LARGE)
        assert await copy.read() == LARGE


@pytest.mark.needs("conditional writes")
async def test_a_copy_is_made_if_nothing_is_there(bucket: dream.Bucket, source: dream.Object) -> None:
    copy = bucket.object("copy")
    await source.copy_to(copy, if_absent=True)
    await copy.put("old")
    with pytest.raises(dream.AlreadyExistsError):
        await source.copy_to(copy, if_absent=True)
    assert await copy.read() == b"old"


@pytest.mark.parametrize("size", [3, len(LARGE)], ids=["small", "large"])
async def test_an_object_goes_to_another_service_and_comes_back(bucket: dream.Bucket, size: int) -> None:
    source, back = bucket.object("dir/source"), bucket.object("dir/back")
    await source.put(LARGE[-size:])
    async with MemoryService().session(limits=LIMITS) as elsewhere:
        there = (await elsewhere.create_bucket("there")).object("a")
        await source.copy_to(there)
        assert await there.read() == LARGE[-size:]
        await there.move_to(back)
        assert not await there.exists()
    assert await back.read() == LARGE[-size:]


@pytest.mark.needs("headers")
async def test_headers_go_to_another_service_and_come_back(bucket: dream.Bucket, source: dream.Object) -> None:
    async with MemoryService().session() as elsewhere:
        there = (await elsewhere.create_bucket("there")).object("a")
        await source.copy_to(there)
        await there.copy_to(bucket.object("back"))
    assert await headers_of(bucket.object("back")) == ("text/csv", {"kind": "first"})


# Tags, ACLs, versions, settings


@pytest.mark.needs("tags")
async def test_an_object_has_tags(obj: dream.Object) -> None:
    assert await obj.tags() == {}
    await obj.set_tags({"kind": "a + b", "owner": "x@y"})
    assert await obj.tags() == {"kind": "a + b", "owner": "x@y"}
    await obj.set_tags({})
    assert await obj.tags() == {}
    assert await obj.read() == b"0123456789"


@pytest.mark.needs("tags")
async def test_a_copy_has_the_tags_or_others(bucket: dream.Bucket, obj: dream.Object) -> None:
    copy = bucket.object("copy")
    await obj.set_tags({"kind": "a"})
    await obj.copy_to(copy)
    assert await copy.tags() == {"kind": "a"}
    await obj.copy_to(copy, tags={"other": "b"})
    assert await copy.tags() == {"other": "b"}
    assert await copy.read() == b"0123456789"


async def test_tags_that_are_refused_leave_the_content(obj: dream.Object) -> None:
    with suppress(dream.UnsupportedByServiceError):
        await obj.set_tags({"kind": "a"})
    assert await obj.read() == b"0123456789"


@pytest.mark.needs("bucket tags")
async def test_a_bucket_has_tags(bucket: dream.Bucket) -> None:
    assert await bucket.tags() == {}
    await bucket.set_tags({"team": "photos"})
    assert await bucket.tags() == {"team": "photos"}
    await bucket.delete_tags()
    assert await bucket.tags() == {}


@pytest.mark.needs("object ACLs")
async def test_an_object_has_an_acl(obj: dream.Object) -> None:
    assert (await obj.acl()).canned == "private"
    await obj.set_acl("public-read")
    assert (await obj.acl()).canned == "public-read"
    await obj.put("x", acl="private")
    assert (await obj.acl()).canned == "private"


async def test_an_acl_that_is_refused_leaves_the_content(obj: dream.Object) -> None:
    with suppress(dream.UnsupportedByServiceError):
        await obj.set_acl("public-read")
    assert await obj.read() == b"0123456789"


@pytest.mark.needs("bucket ACLs")
async def test_a_bucket_has_an_acl(bucket: dream.Bucket) -> None:
    assert (await bucket.acl()).canned == "private"
    await bucket.set_acl("public-read")
    assert (await bucket.acl()).canned == "public-read"


@pytest.mark.needs("versions")
async def test_versions_are_read_and_deleted(bucket: dream.Bucket) -> None:
    obj = bucket.object("dir/a")
    assert await bucket.versioning() in (None, "Enabled")
    await bucket.set_versioning("Enabled")
    assert await bucket.versioning() == "Enabled"
    first, second = await obj.put("1"), await obj.put("2")
    assert first.version_id != second.version_id
    async with obj.get(version_id=first.version_id) as body:
        assert await body.read() == b"1"
    await obj.delete()
    assert not await obj.exists()
    marker, *versions = await bucket.list_versions().collect()
    assert (marker.is_delete_marker, marker.is_latest) == (True, True)
    assert [info.version_id for info in versions] == [second.version_id, first.version_id]
    await obj.delete(version_id=second.version_id)
    assert [info.version_id async for info in bucket.list_versions()] == [marker.version_id, first.version_id]


@pytest.mark.needs("versions")
async def test_an_object_comes_back_when_its_marker_is_deleted(bucket: dream.Bucket) -> None:
    obj = bucket.object("dir/a")
    await bucket.set_versioning("Enabled")
    await obj.put("1")
    await obj.delete()
    marker, _ = await bucket.list_versions().collect()
    await obj.delete(version_id=marker.version_id)
    assert await obj.read() == b"1"


@pytest.mark.needs("versions")
async def test_versions_are_deleted_at_once(bucket: dream.Bucket) -> None:
    obj = bucket.object("dir/a")
    await bucket.set_versioning("Enabled")
    first, second, third = await obj.put("1"), await obj.put("2"), await obj.put("3")
    versions = [("dir/a", second.version_id), ("dir/a", third.version_id)]
    assert await bucket.delete_many(versions) == dream.BulkReport(done=2, failed=0)
    assert [info.version_id async for info in bucket.list_versions()] == [first.version_id]


@pytest.mark.needs("versions")
async def test_an_older_version_comes_back_when_the_newest_is_deleted(bucket: dream.Bucket) -> None:
    obj = bucket.object("dir/a")
    await bucket.set_versioning("Enabled")
    await obj.put("1")
    newest = await obj.put("2")
    await obj.delete(version_id=newest.version_id)
    assert await obj.read() == b"1"


@pytest.mark.needs("listing of versions")
async def test_what_is_not_versioned_is_listed_as_versions(bucket: dream.Bucket, obj: dream.Object) -> None:
    assert [info.key async for info in bucket.list_versions()] == [obj.key]


@pytest.mark.needs("CORS rules")
async def test_a_bucket_has_cors_rules(bucket: dream.Bucket) -> None:
    assert await bucket.cors() == []
    await bucket.set_cors([{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.com"]}])
    (rule,) = await bucket.cors()
    assert list(rule["AllowedMethods"]) == ["GET"]
    await bucket.delete_cors()
    assert await bucket.cors() == []


@pytest.mark.needs("lifecycle rules")
async def test_a_bucket_has_lifecycle_rules(bucket: dream.Bucket) -> None:
    assert await bucket.lifecycle() == []
    await bucket.set_lifecycle(
        [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}]
    )
    (rule,) = await bucket.lifecycle()
    assert rule["ID"] == "old"
    await bucket.delete_lifecycle()
    assert await bucket.lifecycle() == []


@pytest.mark.needs("policy")
async def test_a_bucket_has_a_policy(bucket: dream.Bucket) -> None:
    assert await bucket.policy() is None
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket.name}/public/*"],
    }
    await bucket.set_policy({"Version": "2012-10-17", "Statement": [statement]})
    assert await bucket.policy() is not None
    await bucket.delete_policy()
    assert await bucket.policy() is None


def needs(feature: str, setting: str, value: object) -> ParameterSet:
    return pytest.param(setting, value, marks=pytest.mark.needs(feature), id=setting)


SETTINGS = [
    needs("bucket encryption", "encryption", [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]),
    needs("public access block", "public_access_block", {"BlockPublicAcls": True, "RestrictPublicBuckets": True}),
    needs(
        "notifications",
        "notification",
        {"QueueConfigurations": [{"QueueArn": "arn:aws:sqs:us-east-1:1:q", "Events": ["s3:ObjectCreated:*"]}]},
    ),
    needs("access logs", "logging", {"TargetBucket": "not-there", "TargetPrefix": "logs/"}),
    needs("ownership", "ownership", "BucketOwnerPreferred"),
]


@pytest.mark.parametrize(("setting", "value"), SETTINGS)
async def test_a_bucket_has_a_setting(bucket: dream.Bucket, setting: str, value: object) -> None:
    read, write, delete = (getattr(bucket, name) for name in (setting, f"set_{setting}", f"delete_{setting}"))
    empty = await read()
    assert not empty
    await write(value)
    assert await read()
    await delete()
    assert await read() == empty


@pytest.mark.needs("bucket lock")
async def test_a_bucket_locks_its_objects(session: dream.Session) -> None:
    bucket = session.bucket(new_name())
    try:
        await bucket.create(object_lock=True)
        assert await bucket.object_lock() is None
        await bucket.set_object_lock(dream.Retention("GOVERNANCE", days=2))
        assert await bucket.object_lock() == dream.Retention("GOVERNANCE", days=2)
        await bucket.set_object_lock(None)
        assert await bucket.object_lock() is None
        await bucket.create(object_lock=True, exist_ok=True)
    finally:
        if await bucket.exists():
            await bucket.delete()


async def test_no_setting_that_a_service_ignores_costs_the_bucket(bucket: dream.Bucket) -> None:
    """Some take the removal of a setting for that of the bucket, which is empty here."""
    names = ["cors", "lifecycle", "tags", "policy", "website", "object_lock", *(row.values[0] for row in SETTINGS)]
    for name in names:
        with suppress(dream.UnsupportedByServiceError, dream.InvalidRequestError):
            await getattr(bucket, f"delete_{name}")()
        assert await bucket.exists(), name


@pytest.mark.needs("website")
async def test_a_bucket_is_a_website(bucket: dream.Bucket) -> None:
    assert await bucket.website() is None
    await bucket.set_website({"IndexDocument": {"Suffix": "index.html"}})
    assert await bucket.website() == {"IndexDocument": {"Suffix": "index.html"}}
    await bucket.delete_website()
    assert await bucket.website() is None


# Trees

NAMES = ["a b", "a-b/c", "dir/b/c", "é", "🎉"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for number, key in enumerate(NAMES):
        path = tmp_path / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key * 3)
        os.utime(path, ns=(0, 1_600_000_000_123_456_000 + number * 1000))
    return tmp_path / "files"


def all_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def times_in(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


COMPARISONS: tuple[Literal["size", "mtime", "etag"], ...] = ("size", "mtime", "etag")


async def test_a_tree_goes_up_and_comes_down(bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    assert (await bucket.upload_tree(files, "photos")).copied == len(NAMES)
    assert (await bucket.download_tree(tmp_path / "down", "photos")).copied == len(NAMES)
    assert all_in(tmp_path / "down") == all_in(files)


@pytest.mark.needs("headers")
async def test_a_tree_has_the_times_of_its_files(bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    await bucket.upload_tree(files, "a")
    await bucket.copy_tree(bucket, "a", "b")
    for prefix in ("a", "b"):
        await bucket.download_tree(tmp_path / prefix, prefix)
        assert times_in(tmp_path / prefix) == times_in(files)


@pytest.mark.parametrize("compare", COMPARISONS)
async def test_a_tree_is_not_sent_again(
    bucket: dream.Bucket, files: Path, tmp_path: Path, compare: Literal["size", "mtime", "etag"]
) -> None:
    await bucket.upload_tree(files, "photos")
    await bucket.download_tree(tmp_path / "down", "photos")
    same = dream.TreeReport(0, 0, skipped=len(NAMES))
    assert await bucket.upload_tree(files, "photos", compare=compare) == same
    assert await bucket.download_tree(tmp_path / "down", "photos", compare=compare) == same


async def test_a_tree_loses_what_its_source_lacks(bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    for key in ("photos/extra", "photos/dir/b/extra", "photos-old/x"):
        await bucket.object(key).put("x")
    assert (await bucket.upload_tree(files, "photos", compare="size", delete=True)).deleted == 2
    assert await bucket.object("photos-old/x").exists()
    (tmp_path / "down" / "more").mkdir(parents=True)
    (tmp_path / "down" / "more" / "extra").write_bytes(b"x")
    assert (await bucket.download_tree(tmp_path / "down", "photos", delete=True)).deleted == 1
    assert all_in(tmp_path / "down") == all_in(files)


async def test_a_tree_is_copied(session: dream.Session, bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    other = await session.create_bucket(new_name())
    await bucket.upload_tree(files, "a")
    for to in (bucket, other):
        assert (await bucket.copy_tree(to, "a", "b")).copied == len(NAMES)
        assert (await bucket.copy_tree(to, "a", "b", compare="size")).skipped == len(NAMES)
    await other.download_tree(tmp_path / "down", "b")
    assert all_in(tmp_path / "down") == all_in(files)


@pytest.mark.parametrize("compare", ["mtime", "etag"])
async def test_a_tree_is_not_copied_again(bucket: dream.Bucket, files: Path, compare: Literal["mtime", "etag"]) -> None:
    await bucket.upload_tree(files, "a")
    await bucket.copy_tree(bucket, "a", "b")
    assert (await bucket.copy_tree(bucket, "a", "b", compare=compare)).skipped == len(NAMES)


async def test_a_tree_goes_to_another_service_and_comes_back(bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    await bucket.upload_tree(files, "a")
    async with MemoryService().session() as elsewhere:
        there = await elsewhere.create_bucket("there")
        assert (await bucket.copy_tree(there, "a", "a")).copied == len(NAMES)
        assert (await there.copy_tree(bucket, "a", "b")).copied == len(NAMES)
        assert (await there.copy_tree(bucket, "a", "b", compare="size")).skipped == len(NAMES)
    await bucket.download_tree(tmp_path / "down", "b")
    assert all_in(tmp_path / "down") == all_in(files)


async def test_trees_are_compared(bucket: dream.Bucket, files: Path) -> None:
    await bucket.upload_tree(files, "a")
    await bucket.copy_tree(bucket, "a", "b")
    same = dream.CheckReport(len(NAMES), done=len(NAMES))
    for by in ("size", "content"):
        assert await bucket.check_tree(files, "a", by=by) == same
        assert await bucket.check_tree(bucket, "a", to_prefix="b", by=by) == same
    await bucket.object(f"a/{NAMES[0]}").put(b"other")
    await bucket.object("a/extra").put(b"x")
    report = await bucket.check_tree(files, "a", by="content")
    assert (report.differ, report.extra, report.missing) == ((NAMES[0],), ("extra",), ())


async def test_a_tree_is_moved(session: dream.Session, bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    other = await session.create_bucket(new_name())
    await bucket.upload_tree(files, "a")
    assert (await bucket.move_tree(bucket, "a", "b")).copied == len(NAMES)
    assert (await bucket.move_tree(other, "b")).copied == len(NAMES)
    assert [info.key async for info in bucket.list() if info.size] == []
    await other.download_tree(tmp_path / "down", "b")
    assert all_in(tmp_path / "down") == all_in(files)


@pytest.mark.needs("versions")
async def test_a_tree_is_brought_back_to_a_time(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    for key in ("p/a", "p/b"):
        await bucket.object(key).put("1")
    as_of = max([info.last_modified async for info in bucket.list_versions() if info.last_modified])
    while True:  # until the service's clock shows another second
        await bucket.object("clock").put("")
        clock = (await bucket.list_versions("clock").collect())[0].last_modified
        if clock is not None and clock > as_of:
            break
    await bucket.object("p/a").put("2")
    await bucket.object("p/b").delete()
    await bucket.object("p/c").put("3")
    report = await bucket.restore_tree("p", as_of)
    assert (report.copied, report.deleted) == (2, 1)
    assert await keys_of(bucket.list("p/")) == ["p/a", "p/b"]
    assert await bucket.object("p/a").read() == b"1"


# URLs


@pytest_asyncio.fixture
async def anyone(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with server.anyone() as client:
        yield client


def url_of(text: str) -> URL:
    return URL(text, encoded=True)


@pytest.mark.parametrize("key", ["dir/hello.txt", "a dir/ü+~x.txt", "weird&?#=%.txt"], ids=["plain", "space", "signs"])
async def test_anyone_reads_by_a_presigned_url(bucket: dream.Bucket, anyone: aiohttp.ClientSession, key: str) -> None:
    await bucket.object(key).put("Hello World!")
    async with anyone.get(url_of(bucket.object(key).presign_get())) as reply:
        assert (reply.status, await reply.text()) == (200, "Hello World!")


async def test_a_presigned_url_is_good_for_what_it_is_for(obj: dream.Object, anyone: aiohttp.ClientSession) -> None:
    url = obj.presign_get()
    for wrong in (url.replace("Signature=", "Signature=0"), url.partition("?")[0]):
        async with anyone.get(url_of(wrong)) as reply:
            assert reply.status == 403
    async with anyone.delete(url_of(url)) as reply:
        assert reply.status == 403


async def test_a_presigned_url_overrides_headers(obj: dream.Object, anyone: aiohttp.ClientSession) -> None:
    headers = {"Content-Disposition": 'attachment; filename="x y.txt"', "Content-Type": "text/x-special"}
    async with anyone.get(url_of(obj.presign_get(response_headers=headers))) as reply:
        assert reply.status == 200
        assert {name: reply.headers[name] for name in headers} == headers


async def test_anyone_writes_by_a_presigned_url(bucket: dream.Bucket, anyone: aiohttp.ClientSession) -> None:
    obj = bucket.object("dir/put")
    url = obj.presign_put(content_type="text/css")
    async with anyone.put(url_of(url), data=b"x", headers={"Content-Type": "text/css"}) as reply:
        assert reply.status == 200, await reply.text()
    assert await obj.read() == b"x"


@pytest.mark.needs("headers")
async def test_anyone_writes_metadata_by_a_presigned_url(bucket: dream.Bucket, anyone: aiohttp.ClientSession) -> None:
    obj = bucket.object("dir/put")
    url = obj.presign_put(content_type="text/css", metadata={"By": "anyone"})
    headers = {"Content-Type": "text/css", "x-amz-meta-by": "anyone"}
    async with anyone.put(url_of(url), data=b"x", headers=headers) as reply:
        assert reply.status == 200, await reply.text()
    assert await headers_of(obj) == ("text/css", {"by": "anyone"})


@pytest.mark.needs("version 2 signatures")
async def test_the_old_signature_is_accepted(obj: dream.Object, anyone: aiohttp.ClientSession) -> None:
    async with anyone.get(url_of(obj.presign_get(signature="v2"))) as reply:
        assert (reply.status, await reply.text()) == (200, "0123456789")


@pytest.mark.needs("browser forms")
async def test_a_browser_form_stores_its_key(bucket: dream.Bucket, anyone: aiohttp.ClientSession) -> None:
    post = bucket.object("form.txt").presign_post(max_bytes=10)
    with aiohttp.MultipartWriter("form-data") as form:
        for name, value in post.fields.items():
            form.append(value).set_content_disposition("form-data", name=name)
        form.append(b"0123456789").set_content_disposition("form-data", name="file", filename="x")
    async with anyone.post(url_of(post.url), data=form) as reply:
        assert reply.status in (200, 204), await reply.text()
    assert await bucket.object("form.txt").read() == b"0123456789"
