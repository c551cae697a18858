"""Versions of one object: read, restored, undeleted. boto3 is the observer."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name
from servers.scripted import Content, Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ON = ("memory-served", "rgw", "moto")
PART = 5 << 20
SESSION = {"limits": dream.Limits(part_size=PART), "multipart": dream.MultipartRules(largest_copy=PART)}
LARGE = os.urandom(PART + 1)


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    await made.set_versioning("Enabled")
    yield made
    await made.delete(force=True)


def put_versions(boto: Any, bucket: str, *contents: bytes, key: str = "a") -> list[str]:
    return [boto.put_object(Bucket=bucket, Key=key, Body=content)["VersionId"] for content in contents]


async def test_each_verb_reads_an_old_version(bucket: dream.Bucket, boto: Any, tmp_path: Path) -> None:
    old, _ = put_versions(boto, bucket.name, LARGE, b"new")
    obj = bucket.object("a")
    assert await obj.read(version_id=old) == LARGE
    assert await obj.read((1, 5), version_id=old) == LARGE[1:5]
    info = await obj.head(version_id=old)
    assert (info.version_id, info.size) == (old, len(LARGE))
    assert await obj.exists(version_id=old)
    async with obj.get(version_id=old) as body:
        assert await body.read() == LARGE
    async with obj.reader(version_id=old) as file:
        await file.seek(-3, os.SEEK_END)
        assert await file.read() == LARGE[-3:]
    assert (await obj.download(tmp_path / "old", version_id=old)).verified == "md5"
    assert (tmp_path / "old").read_bytes() == LARGE
    copied = await obj.copy_to(bucket.object("copy"), version_id=old)
    assert copied.size == len(LARGE)
    assert boto.get_object(Bucket=bucket.name, Key="copy")["Body"].read() == LARGE
    text = put_versions(boto, bucket.name, "é".encode(), b"x")[0]
    assert await obj.read_text(version_id=text) == "é"


async def test_acl_and_tags_of_an_old_version(bucket: dream.Bucket, boto: Any, server: Server) -> None:
    if server.name == "moto":
        pytest.xfail("moto ignores the version of an ACL")
    old, _ = put_versions(boto, bucket.name, b"old", b"new")
    obj = bucket.object("a")
    await obj.set_tags({"age": "old"}, version_id=old)
    await obj.set_acl("public-read", version_id=old)
    assert (await obj.tags(version_id=old), await obj.tags()) == ({"age": "old"}, {})
    assert ((await obj.acl(version_id=old)).canned, (await obj.acl()).canned) == ("public-read", "private")
    found = boto.get_object_tagging(Bucket=bucket.name, Key="a", VersionId=old)["TagSet"]
    assert found == [{"Key": "age", "Value": "old"}]


async def test_versions_are_those_of_exactly_this_key(bucket: dream.Bucket, boto: Any) -> None:
    ids = put_versions(boto, bucket.name, b"1", b"22")
    put_versions(boto, bucket.name, b"another", key="a/b")
    put_versions(boto, bucket.name, b"another", key="ab")
    await bucket.object("a").delete()
    marker, *found = await bucket.object("a").versions()
    assert (marker.is_delete_marker, marker.is_latest) == (True, True)
    assert [(one.version_id, one.size, one.is_latest) for one in found] == [(ids[1], 2, False), (ids[0], 1, False)]
    assert await bucket.object("none").versions() == []


async def test_more_versions_than_a_page_holds(session: dream.Session) -> None:
    async with MemoryService().session() as own:
        bucket = await own.create_bucket("bucket")
        await bucket.set_versioning("Enabled")
        for _ in range(1005):
            await bucket.object("a").put(b"")
        await bucket.object("aa").put(b"")
        sent = own.statistics().requests
        assert len(await bucket.object("a").versions()) == 1005
        assert own.statistics().requests - sent == 2


async def test_versions_of_a_bucket_that_never_had_any(session: dream.Session) -> None:
    plain = await session.create_bucket(new_name())
    await plain.object("a").put(b"x")
    [only] = await plain.object("a").versions()
    assert (only.version_id, only.is_latest) == ("null", True)
    with pytest.raises(dream.NotFoundError):
        await plain.object("gone").undelete()
    await plain.delete(force=True)


@pytest.mark.parametrize("content", [b"old", LARGE], ids=["small", "in parts"])
async def test_restore_brings_back_all_of_an_old_version(bucket: dream.Bucket, boto: Any, content: bytes) -> None:
    old = boto.put_object(
        Bucket=bucket.name,
        Key="a",
        Body=content,
        ContentType="text/csv",
        CacheControl="max-age=3",
        Metadata={"color": "black"},
    )["VersionId"]
    boto.put_object_tagging(Bucket=bucket.name, Key="a", Tagging={"TagSet": [{"Key": "age", "Value": "old"}]})
    boto.put_object_acl(Bucket=bucket.name, Key="a", ACL="public-read")
    put_versions(boto, bucket.name, b"by mistake")
    obj = bucket.object("a")
    info = await obj.restore(old)
    found = boto.get_object(Bucket=bucket.name, Key="a")
    assert found["Body"].read() == content
    assert found["VersionId"] not in (None, old)
    assert info.version_id in (None, found["VersionId"])
    assert (found["ContentType"], found["CacheControl"]) == ("text/csv", "max-age=3")
    assert found["Metadata"]["color"] == "black"
    assert boto.get_object_tagging(Bucket=bucket.name, Key="a")["TagSet"] == [{"Key": "age", "Value": "old"}]
    assert (await obj.acl()).canned == "public-read"
    assert len(await obj.versions()) == 3


async def test_restore_of_what_was_deleted(bucket: dream.Bucket, boto: Any) -> None:
    [old] = put_versions(boto, bucket.name, b"old")
    boto.delete_object(Bucket=bucket.name, Key="a")
    await bucket.object("a").restore(old)
    assert boto.get_object(Bucket=bucket.name, Key="a")["Body"].read() == b"old"


async def test_restore_of_what_is_no_version_is_refused(bucket: dream.Bucket, boto: Any) -> None:
    put_versions(boto, bucket.name, b"old")
    obj = bucket.object("a")
    await obj.delete()
    marker = (await obj.versions())[0]
    for version in (marker.version_id, "unknown-version"):
        assert version
        with pytest.raises((dream.NotFoundError, dream.InvalidRequestError)):
            await obj.restore(version)
        with pytest.raises((dream.NotFoundError, dream.InvalidRequestError)):
            await obj.read(version_id=version)
    assert len(await obj.versions()) == 2
    for bad in ("", "a\n", 3):
        with pytest.raises(ValueError, match="version_id"):
            await obj.restore(bad)  # type: ignore[arg-type]  # what a caller may try


async def test_undelete(bucket: dream.Bucket, boto: Any) -> None:
    [old] = put_versions(boto, bucket.name, b"old")
    obj = bucket.object("a")
    for deletions in (1, 2, 0):
        for _ in range(deletions):
            boto.delete_object(Bucket=bucket.name, Key="a")
        assert (await obj.undelete()).version_id == old
        assert boto.get_object(Bucket=bucket.name, Key="a")["Body"].read() == b"old"
        assert len(await obj.versions()) == 1
    with pytest.raises(dream.NotFoundError, match="no version of it is left"):
        await bucket.object("never").undelete()
    boto.delete_object(Bucket=bucket.name, Key="only-marked")
    with pytest.raises(dream.NotFoundError, match="no version of it is left"):
        await bucket.object("only-marked").undelete()


async def test_undelete_ends_where_a_marker_cannot_be_deleted() -> None:
    listed = (
        b"<ListVersionsResult><IsTruncated>false</IsTruncated>"
        b"<DeleteMarker><Key>a</Key><VersionId>m</VersionId><IsLatest>true</IsLatest></DeleteMarker>"
        b"<Version><Key>a</Key><VersionId>v</VersionId><IsLatest>false</IsLatest></Version></ListVersionsResult>"
    )
    async with ScriptedServer() as scripted, scripted.session() as session:
        scripted.will(lambda request: Reply(204) if request.method == "DELETE" else Reply(200, listed))
        with pytest.raises(dream.UnsupportedByServiceError, match="keeps the marker"):
            await session.object("s3://bucket/a").undelete()
        assert [request.method for request in scripted.received] == ["GET", "DELETE", "GET"]


async def test_a_version_survives_suspension(bucket: dream.Bucket, boto: Any, server: Server) -> None:
    if server.name == "moto":
        pytest.xfail("moto does not know the version null")
    [old] = put_versions(boto, bucket.name, b"old")
    await bucket.set_versioning("Suspended")
    obj = bucket.object("a")
    await obj.put(b"null version")
    assert await obj.read(version_id=old) == b"old"
    assert await obj.read(version_id="null") == b"null version"
    await obj.restore(old)
    assert await obj.read() == b"old"


@pytest.mark.parametrize("version_id", ["", " ", "a\r\nx-evil: 1", "é", 3, b"v"])
async def test_an_impossible_version_is_refused_before_anything_is_sent(version_id: Any) -> None:
    async with ScriptedServer() as scripted, scripted.session() as session:
        obj = session.object("s3://bucket/a")
        for verb in (obj.read, obj.head, obj.exists, obj.read_text, obj.acl, obj.tags, obj.retention, obj.legal_hold):
            with pytest.raises(ValueError, match="version_id"):
                await verb(version_id=version_id)
        for late in (
            lambda: obj.delete(version_id=version_id),
            lambda: obj.download("/tmp/none", version_id=version_id),
            lambda: obj.copy_to(session.object("s3://bucket/b"), version_id=version_id),
            lambda: obj.set_tags({}, version_id=version_id),
            lambda: obj.set_acl("private", version_id=version_id),
        ):
            with pytest.raises(ValueError, match="version_id"):
                await late()
        assert scripted.received == []


async def test_the_rest_of_a_broken_body_is_of_the_same_version_with_the_same_key() -> None:
    async with ScriptedServer() as scripted:
        scripted.will(Content(LARGE, "e-1", cut=300_000), Content(LARGE, "e-1", cut=100_000), Content(LARGE, "e-1"))
        async with scripted.session() as session:
            obj, key = session.object("s3://bucket/a"), dream.SseCustomer(b"k" * 32)
            found = await obj.read(version_id="v1", encryption=key, headers={"x-amz-request-payer": "requester"})
        assert found == LARGE
        assert len(scripted.received) == 3
        for request in scripted.received:
            assert "versionId=v1" in request.target
            assert "x-amz-server-side-encryption-customer-key" in request.headers
            assert request.headers["x-amz-request-payer"] == "requester"


async def test_each_request_of_a_broken_download_names_the_version(tmp_path: Path) -> None:
    """A part of another version would be other bytes."""
    content = LARGE[:1000]
    async with ScriptedServer() as scripted:
        headers = {"ETag": '"e-1"', "x-amz-version-id": "v1"}
        scripted.will(
            Reply(206, content[:500], headers={**headers, "Content-Range": "bytes 0-499/1000"}),
            Reply(206, content[500:], headers={**headers, "Content-Range": "bytes 500-999/1000"}),
        )
        async with scripted.session(limits=dream.Limits(part_size=500, parts_per_object=1)) as session:
            await session.object("s3://bucket/a").download(tmp_path / "file", version_id="v1", verify="off")
        assert (tmp_path / "file").read_bytes() == content
        assert all("versionId=v1" in request.target for request in scripted.received)
        assert len(scripted.received) == 2
