"""What an object is, on every server."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiofiles
import pytest
from conftest import Server

import aiodreamobjects as dream

ODD_KEYS = [
    "plain.txt",
    "a dir/ü+~x.txt",
    "weird&?#=%.txt",
    "100%25",
    "a+b c%20d",
    "/leading",
    "trailing/",
    "double//slash",
    "./dot/../segments",
    "<tag>&amp;\"quotes'",
    "emoji 🎉 and 漢字",
    "*'()!$,;:@[]{}|\\^`",
    "x" * 1024,
    "é" * 512,
]


async def test_text_is_stored_as_utf_8(bucket: dream.Bucket) -> None:
    obj = bucket.object("hello.txt")
    info = await obj.put("Hällo Wörld!")
    assert info.etag == hashlib.md5("Hällo Wörld!".encode()).hexdigest()
    assert (info.bucket, info.key, info.size) == (bucket.name, "hello.txt", 14)
    assert await obj.read_text() == "Hällo Wörld!"
    assert (await obj.head()).content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
async def test_bytes_come_back(bucket: dream.Bucket, make: type[bytes]) -> None:
    content = bytes(range(256)) * 1000
    await bucket.object("b").put(make(content))
    assert await bucket.object("b").read() == content


async def test_an_empty_object_is_an_object(bucket: dream.Bucket, tmp_path: Path) -> None:
    await bucket.object("empty").put(b"")
    assert await bucket.object("empty").read() == b""
    assert (await bucket.object("empty").head()).size == 0
    assert (await bucket.object("empty").download(tmp_path / "empty")).size == 0
    assert (tmp_path / "empty").read_bytes() == b""


async def test_megabytes_come_back(bucket: dream.Bucket) -> None:
    content = bytes(3 << 20)
    info = await bucket.object("big").put(content)
    assert info.size == 3 << 20
    assert await bucket.object("big").read() == content


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_every_key_goes_round(bucket: dream.Bucket, key: str, tmp_path: Path) -> None:
    obj = bucket.object(key)
    await obj.put(key)
    assert await obj.read_text() == key
    assert (await obj.head()).key == key
    assert [info.key async for info in bucket.list()] == [key]
    assert [info.key async for info in bucket.list_versions()] == [key]
    await obj.download(tmp_path / "file")
    assert (tmp_path / "file").read_text() == key
    assert await bucket.delete_many([key]) == dream.BulkReport(done=1, failed=0)
    assert not await obj.exists()


async def test_a_key_that_xml_cannot_carry_is_listed_and_deleted(server: Server, bucket: dream.Bucket) -> None:
    if server.is_moto:
        pytest.skip("moto answers 404 to a key with a line feed, and 500 to the listing of one with a bell")
    keys = ["bell\x07", "carriage\rreturn", "line\nfeed", "tab\there"]
    for key in keys:
        await bucket.object(key).put("x")
    assert sorted([info.key async for info in bucket.list()]) == sorted(keys)
    assert await bucket.delete_many(keys) == dream.BulkReport(done=4, failed=0)
    assert await bucket.list().collect() == []


async def test_what_an_object_is_stored_with_comes_back(bucket: dream.Bucket) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    await bucket.object("a.csv").put(
        b"1;2",
        content_type="text/csv",
        metadata={"Source": "scale 7"},
        cache_control="max-age=60",
        content_disposition='attachment; filename="a.csv"',
        content_encoding="identity",
        storage_class="STANDARD",
    )
    for info in (await bucket.object("a.csv").head(), await _info_of_get(bucket.object("a.csv"))):
        assert info.content_type == "text/csv"
        assert info.metadata is not None
        assert info.metadata["source"] == "scale 7"
        assert info.cache_control == "max-age=60"
        assert info.content_disposition == 'attachment; filename="a.csv"'
        assert info.content_encoding == "identity"
        assert info.size == 3
        assert info.last_modified is not None
        assert before < info.last_modified < datetime.now(UTC) + timedelta(seconds=5)


async def _info_of_get(obj: dream.Object) -> dream.ObjectInfo:
    async with obj.get() as body:
        return body.info


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((0, 1), b"0"),
        ((2, 5), b"234"),
        ((8, 100), b"89"),
        ((3, None), b"3456789"),
        ((-3, None), b"789"),
        ((-100, None), b"0123456789"),
    ],
)
async def test_a_range_is_read_as_a_slice(bucket: dream.Bucket, asked: tuple[int, int | None], expected: bytes) -> None:
    obj = bucket.object("digits")
    await obj.put(b"0123456789")
    assert await obj.read(asked) == expected
    async with obj.get(range=asked) as body:
        assert body.info.size == 10
        assert await body.read() == expected


async def test_a_range_beyond_the_end_is_refused(bucket: dream.Bucket) -> None:
    await bucket.object("digits").put(b"0123456789")
    with pytest.raises(dream.InvalidRequestError) as caught:
        await bucket.object("digits").read((10, 20))
    assert caught.value.status == 416


async def test_a_body_is_read_in_pieces(bucket: dream.Bucket, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    obj = bucket.object("stream")
    await obj.put(content)
    async with obj.get() as body:
        assert await body.read(0) == b""
        assert await body.read(3) == content[:3]
        assert await body.read(300_000) == content[3:300_003]
        chunk = await anext(body)
        assert chunk == content[300_003 : 300_003 + len(chunk)]
    async with obj.get() as body:
        assert b"".join([chunk async for chunk in body]) == content
        assert await body.read() == b""
    async with obj.get() as body, aiofiles.open(tmp_path / "copy", "wb") as file:
        assert await body.write_to(file) == len(content)
    assert (tmp_path / "copy").read_bytes() == content


async def test_a_body_can_be_left_early(session: dream.Session, bucket: dream.Bucket) -> None:
    await bucket.object("long").put(bytes(4 << 20))
    for _ in range(5):
        async with bucket.object("long").get() as body:
            assert await body.read(1) == b"\0"
    assert await bucket.object("long").exists()


async def test_reading_is_conditional_on_the_etag(bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    etag = (await obj.put("1")).etag
    async with obj.get(if_match=etag) as body:
        assert await body.read() == b"1"
    async with obj.get(if_none_match="0" * 32) as body:
        assert await body.read() == b"1"
    with pytest.raises(dream.PreconditionFailedError) as caught:
        async with obj.get(if_match="0" * 32):
            pass
    assert caught.value.status == 412
    with pytest.raises(dream.PreconditionFailedError) as caught:
        async with obj.get(if_none_match=etag):
            pass
    assert caught.value.status == 304


async def test_an_empty_condition_is_refused_here(bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    for bad in ("", " ", "a\r\nx-amz-acl: public-read", "é"):
        with pytest.raises(ValueError, match="if_match"):
            await obj.put("1", if_match=bad)
        with pytest.raises(ValueError, match="if_none_match"):
            obj.get(if_none_match=bad)
        with pytest.raises(ValueError, match="version_id"):
            await obj.delete(version_id=bad)
        with pytest.raises(ValueError, match="version_id"):
            await bucket.delete_many([("a", bad)])
    with pytest.raises(ValueError, match="choose one"):
        await obj.put("1", if_absent=True, if_match="b")
    assert not await obj.exists()


async def test_a_put_can_be_refused_where_an_object_is(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("once")
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await obj.put("1", if_absent=True)
        return
    await obj.put("1", if_absent=True)
    with pytest.raises(dream.AlreadyExistsError) as caught:
        await obj.put("2", if_absent=True)
    assert caught.value.status == 412
    assert await obj.read() == b"1"


async def test_a_put_can_be_pinned_to_an_etag(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("pinned")
    etag = (await obj.put("1")).etag
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await obj.put("2", if_match=etag)
        return
    await obj.put("2", if_match=etag)
    with pytest.raises(dream.PreconditionFailedError):
        await obj.put("3", if_match=etag)
    assert await obj.read() == b"2"


async def test_a_missing_key_is_the_same_error_however_it_is_found(bucket: dream.Bucket, tmp_path: Path) -> None:
    obj = bucket.object("missing")
    for verb in (obj.head(), obj.read(), obj.read_text(), obj.download(tmp_path / "f"), obj.acl()):
        with pytest.raises(dream.NotFoundError, match=f"s3://{bucket.name}/missing") as caught:
            await verb
        assert caught.value.status == 404
        assert isinstance(caught.value, FileNotFoundError)
    assert not await obj.exists()
    assert list(tmp_path.iterdir()) == []


async def test_deleting_is_idempotent(bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    await obj.put("x")
    await obj.delete()
    assert not await obj.exists()
    await obj.delete()


async def test_versions_are_read_and_deleted_one_by_one(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    obj = bucket.object("a")
    first, second = await obj.put("1"), await obj.put("2")
    assert first.version_id
    assert first.version_id != second.version_id
    async with obj.get(version_id=first.version_id) as body:
        assert await body.read() == b"1"
        assert body.info.version_id == first.version_id
    await obj.delete()
    assert not await obj.exists()
    marker, *versions = await bucket.list_versions().collect()
    assert (marker.is_delete_marker, marker.is_latest) == (True, True)
    assert [(info.version_id, info.is_delete_marker, info.is_latest) for info in versions] == [
        (second.version_id, False, False),
        (first.version_id, False, False),
    ]
    await obj.delete(version_id=marker.version_id)
    assert await obj.read() == b"2"
    await obj.delete(version_id=second.version_id)
    assert await obj.read() == b"1"


async def test_an_object_has_an_acl(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("hello.txt")
    await obj.put("Hello World!")
    assert (await obj.acl()).canned == "private"
    await obj.set_acl("private")
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match=r"bucket\.set_acl"):
            await obj.set_acl("public-read")
        with pytest.raises(dream.UnsupportedByServiceError, match=r"bucket\.set_acl"):
            await obj.put("Hello World!", acl="public-read")
        return
    await obj.set_acl("public-read")
    assert (await obj.acl()).canned == "public-read"
    await obj.put("secret", acl="private")
    assert (await obj.acl()).canned == "private"


async def test_an_object_has_tags(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    await obj.put("x")
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="metadata"):
            await obj.tags()
        return
    assert await obj.tags() == {}
    await obj.set_tags({"kind": "a + b", "owner": "x@y"})
    assert await obj.tags() == {"kind": "a + b", "owner": "x@y"}
    await obj.set_tags({})
    assert await obj.tags() == {}


async def test_the_client_sends_a_file_from_where_it_stands(
    server: Server, session: dream.Session, bucket: dream.Bucket
) -> None:
    if server.is_memory:
        pytest.skip("there is no client to a service in memory")
    client = await session.boto_client()
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    await client.put_object(Bucket=bucket.name, Key="rest", Body=file)
    assert await bucket.object("rest").read() == b"456789"


async def test_progress_ends_with_everything(bucket: dream.Bucket, tmp_path: Path) -> None:
    seen: list[dream.Progress] = []

    async def note(progress: dream.Progress) -> None:
        seen.append(progress)

    await bucket.object("a").put(bytes(100_000), progress=seen.append)
    assert seen[-1] == dream.Progress(100_000, 100_000, 1, 1, "a")
    seen.clear()
    await bucket.object("a").download(tmp_path / "a", progress=note)
    assert seen[-1] == dream.Progress(100_000, 100_000, 1, 1, "a")
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)
