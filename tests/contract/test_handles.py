"""Multipart uploads whose parts come from anywhere, on every server. boto3 begins some of them, and looks at others."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiofiles
import pytest
from conftest import Server
from etags import etag_of
from yarl import URL

import aiodreamobjects as dream

PART = 5 << 20  # the least that S3 takes for a part with others behind it
CONTENT = os.urandom(2 * PART + 1)
FIRST, SECOND, LAST = CONTENT[:PART], CONTENT[PART : 2 * PART], CONTENT[2 * PART :]


@pytest.fixture
def obj(bucket: dream.Bucket) -> dream.Object:
    return bucket.object("a dir/ü+~%20&x")


async def in_chunks(content: bytes, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def nothing_is_left(bucket: dream.Bucket) -> bool:
    return await bucket.uploads().collect() == []


async def test_parts_of_every_kind_make_an_object(bucket: dream.Bucket, obj: dream.Object, tmp_path: Path) -> None:
    path = tmp_path / "second"
    path.write_bytes(SECOND)
    upload = await obj.start_upload(content_type="text/csv", metadata={"source": "scale 7"}, cache_control="no-cache")
    assert (upload.bucket, upload.key) == (obj.bucket, obj.key)
    assert [info.upload_id async for info in bucket.uploads()] == [upload.upload_id]
    assert await upload.parts() == ()

    assert (await upload.put_part(1, bytearray(b"to be replaced"))).size == 14
    last, second, first = await asyncio.gather(
        upload.put_part(4, in_chunks(LAST)), upload.put_part(2, path), upload.put_part(1, memoryview(FIRST))
    )
    listed = await upload.parts()
    assert listed == (first, second, last)
    assert [(part.number, part.size) for part in listed] == [(1, PART), (2, PART), (4, 1)]

    info = await upload.complete([last, (1, f'"{first.etag}"'), second])
    etag = etag_of(CONTENT, PART)
    assert (info.size, info.etag, info.verified, info.content_type) == (len(CONTENT), etag, "parts", "text/csv")
    head = await obj.head()
    assert (head.size, head.etag, head.content_type, head.cache_control) == (len(CONTENT), etag, "text/csv", "no-cache")
    assert (head.metadata or {})["source"] == "scale 7"
    assert await obj.read() == CONTENT
    assert await nothing_is_left(bucket)


async def test_an_open_file_is_read_from_where_it_stands(obj: dream.Object, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"head" + FIRST)
    upload = await obj.start_upload()
    async with aiofiles.open(path, "rb") as file:
        await file.seek(4)
        await upload.put_part(1, file)
    with path.open("rb") as file:
        file.seek(4 + PART - 2)
        await upload.put_part(2, file)
    await upload.complete()
    assert await obj.read() == FIRST + FIRST[-2:]


async def test_numbers_may_have_gaps(bucket: dream.Bucket, obj: dream.Object) -> None:
    upload = await obj.start_upload()
    for number, content in ((7, FIRST), (10_000, b"end")):
        await upload.put_part(number, content)
    whole = await upload.complete()
    assert (whole.size, await obj.read()) == (PART + 3, FIRST + b"end")
    assert await nothing_is_left(bucket)

    upload = await obj.start_upload()
    await upload.put_part(5, "")
    assert (await upload.complete()).size == 0
    assert await obj.read() == b""


async def test_a_part_that_is_not_named_is_dropped(server: Server, bucket: dream.Bucket, obj: dream.Object) -> None:
    upload = await obj.start_upload()
    first, second = await upload.put_part(1, FIRST), await upload.put_part(2, b"dropped")
    if server.is_rgw:  # it wants all of them
        with pytest.raises(dream.InvalidRequestError):
            await upload.complete([first])
        await upload.complete([first, second])
    else:
        await upload.complete(part for part in await upload.parts() if part.number == 1)
        assert await obj.read() == FIRST
    assert await nothing_is_left(bucket)


async def test_an_upload_goes_on_in_another_session(server: Server, bucket: dream.Bucket, obj: dream.Object) -> None:
    if server.is_memory:
        pytest.skip("its service is inside the session's process")
    async with server.session() as first:
        upload = await first.bucket(bucket.name).object(obj.key).start_upload(content_type="text/x-mine")
        sent = await upload.put_part(1, FIRST)
    assert [info.upload_id async for info in bucket.uploads()] == [upload.upload_id]  # closing left it open

    taken_up = obj.multipart(upload.upload_id)
    await taken_up.put_part(2, b"end")
    assert (await taken_up.parts())[0] == sent
    info = await taken_up.complete()
    assert (info.size, info.etag) == (PART + 3, etag_of(FIRST + b"end", PART))
    assert (await obj.head()).content_type == "text/x-mine"
    with pytest.raises(dream.SessionClosedError):
        await upload.put_part(3, b"x")


async def test_boto3_begins_and_the_library_ends_and_the_reverse(session: dream.Session, obj: dream.Object) -> None:
    client, where = await session.boto_client(), {"Bucket": obj.bucket, "Key": obj.key}
    begun = await client.create_multipart_upload(**where)  # type: ignore[arg-type]  # two arguments by their names
    part = await client.upload_part(**where, UploadId=begun["UploadId"], PartNumber=1, Body=b"by boto3")  # type: ignore[arg-type]  # the same
    info = await obj.multipart(begun["UploadId"]).complete([(1, part["ETag"])])
    assert (await obj.read(), info.size) == (b"by boto3", None)

    upload = await obj.start_upload()
    await upload.put_part(3, b"by the library")
    listed = await client.list_parts(**where, UploadId=upload.upload_id)  # type: ignore[arg-type]  # the same
    parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in listed["Parts"]]
    assert [part["PartNumber"] for part in parts] == [3]
    await client.complete_multipart_upload(**where, UploadId=upload.upload_id, MultipartUpload={"Parts": parts})  # type: ignore[arg-type, typeddict-item]  # the same
    assert await obj.read() == b"by the library"
    with pytest.raises(dream.NotFoundError):
        await upload.parts()


async def test_anyone_sends_parts_by_presigned_urls(server: Server, bucket: dream.Bucket, obj: dream.Object) -> None:
    if server.is_memory:
        pytest.skip("nothing answers the URLs of a service in memory")
    async with server.anyone() as anyone:
        signatures: tuple[dream.Signature, ...] = ("v4",) if server.is_b2 else ("v4", "v2")
        for signature in signatures:
            upload = await obj.start_upload()
            etags = []
            for number, content in enumerate((FIRST, SECOND, LAST), start=1):
                length = len(content) if signature == "v4" else None
                url = upload.presign_part(number, timedelta(hours=1), content_length=length, signature=signature)
                assert "Signature=…" in repr(url)
                if number == 3 and signature == "v4" and not server.is_moto:  # which checks no signature
                    async with anyone.put(URL(url, encoded=True), data=b"xx") as reply:
                        assert reply.status == 403
                async with anyone.put(
                    URL(url, encoded=True), data=io.BytesIO(content), skip_auto_headers=["Content-Type"]
                ) as reply:
                    assert reply.status == 200, await reply.text()
                    etags.append((number, reply.headers["ETag"]))
            info = await obj.multipart(upload.upload_id).complete(reversed(etags))
            assert info.etag == etag_of(CONTENT, PART)
            assert await obj.read() == CONTENT
    assert await nothing_is_left(bucket)


async def test_aborting_ends_an_upload_and_may_be_repeated(bucket: dream.Bucket, obj: dream.Object) -> None:
    upload = await obj.start_upload()
    await upload.put_part(1, b"x")
    elsewhere = obj.multipart(upload.upload_id)
    await upload.abort()
    await upload.abort()
    await elsewhere.abort()
    assert await nothing_is_left(bucket)
    assert not await obj.exists()
    for ended in (upload.put_part(1, b"x"), upload.parts(), upload.complete(), upload.complete([(1, "x")])):
        with pytest.raises(dream.NotFoundError, match="was aborted") as caught:
            await ended
        assert caught.value.code == "NoSuchUpload"
    with pytest.raises(dream.NotFoundError, match="was aborted"):
        upload.presign_part(1)


async def test_an_upload_that_was_completed_is_over(obj: dream.Object) -> None:
    upload = await obj.start_upload()
    await upload.put_part(1, b"x")
    await upload.complete()
    await upload.abort()  # as in a finally
    assert await obj.read() == b"x"
    with pytest.raises(dream.NotFoundError, match="was completed: start another one"):
        await upload.put_part(2, b"y")


async def test_completing_again_elsewhere_is_no_error_if_the_object_is_there(server: Server, obj: dream.Object) -> None:
    upload = await obj.start_upload()
    parts = [await upload.put_part(1, FIRST), await upload.put_part(2, b"end")]
    await upload.complete(parts)
    again = await obj.multipart(upload.upload_id).complete(parts)
    assert (again.size, again.etag) == (PART + 3, etag_of(FIRST + b"end", PART))

    if server.is_rgw or server.is_moto:
        return  # they answer a 500 instead of NoSuchUpload
    await obj.put("of somebody else")
    with pytest.raises(dream.NotFoundError) as caught:
        await obj.multipart(upload.upload_id).complete(parts)
    assert not caught.value.in_doubt
    assert await obj.read() == b"of somebody else"


async def test_a_completion_keeps_its_conditions(server: Server, bucket: dream.Bucket, obj: dream.Object) -> None:
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await obj.start_upload(if_absent=True)
        with pytest.raises(dream.UnsupportedByServiceError):
            await obj.multipart("any", if_absent=True).complete([(1, "x")])
        return
    upload = await obj.start_upload(if_absent=True)
    part = await upload.put_part(1, b"mine")
    old = await obj.put("theirs")
    with pytest.raises(dream.AlreadyExistsError):
        await upload.complete()
    with pytest.raises(dream.AlreadyExistsError):
        await obj.multipart(upload.upload_id, if_absent=True).complete([part])
    with pytest.raises(dream.PreconditionFailedError):
        await obj.multipart(upload.upload_id, if_match="0" * 32).complete([part])
    with pytest.raises(dream.AlreadyExistsError):
        await obj.start_upload(if_absent=True)
    assert await obj.read() == b"theirs"
    await obj.multipart(upload.upload_id, if_match=old.etag).complete([part])
    assert await obj.read() == b"mine"
    assert await nothing_is_left(bucket)


async def test_wrong_parts_are_refused_and_the_upload_stays(server: Server, obj: dream.Object) -> None:
    upload = await obj.start_upload()
    with pytest.raises(ValueError, match="the upload has no parts"):
        await upload.complete()
    small, large = await upload.put_part(1, b"small"), await upload.put_part(2, FIRST)
    with pytest.raises(ValueError, match="the upload has no parts"):
        await upload.complete([])
    with pytest.raises(dream.InvalidRequestError):
        await upload.complete([(1, "0" * 32)])
    with pytest.raises(dream.InvalidRequestError):
        await upload.complete([small, large])  # too small, with another behind it
    assert [part.number for part in await upload.parts()] == [1, 2]
    assert not await obj.exists()
    if not server.is_rgw:  # it wants all of them
        assert (await upload.complete([large])).size == PART


async def test_abandoned_uploads_are_found(bucket: dream.Bucket, obj: dream.Object) -> None:
    await (await obj.start_upload()).put_part(1, b"x")
    report = await bucket.abort_uploads(older_than=timedelta(0))
    assert report.done == 1
    assert await nothing_is_left(bucket)


async def test_an_upload_to_a_missing_bucket_is_not_found(session: dream.Session) -> None:
    with pytest.raises(dream.NotFoundError):
        await session.object("s3://no-such-bucket-is-here/a").start_upload()


async def test_a_page_of_another_site_may_send_a_part_and_read_its_etag(
    server: Server, bucket: dream.Bucket, obj: dream.Object
) -> None:
    """The rule of docs/presigning.md, asked as a browser asks."""
    if not server.is_rgw:
        pytest.skip("the others do not apply CORS to what a browser asks, or not as S3 does")
    site = {"Origin": "https://www.example.com"}
    asked = site | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    upload = await obj.start_upload()
    url = URL(upload.presign_part(1, content_length=1), encoded=True)
    async with server.anyone() as browser:
        async with browser.options(url, headers=asked) as reply:
            assert reply.status == 403
        await bucket.set_cors(
            [
                {
                    "AllowedOrigins": ["https://www.example.com"],
                    "AllowedMethods": ["PUT"],
                    "AllowedHeaders": ["*"],
                    "ExposeHeaders": ["ETag"],
                    "MaxAgeSeconds": 3600,
                }
            ]
        )
        async with browser.options(url, headers=asked) as reply:
            assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, site["Origin"])
            assert "content-type" in reply.headers["Access-Control-Allow-Headers"]
        async with browser.put(url, data=b"x", headers=site | {"Content-Type": "any/thing"}) as reply:
            assert reply.status == 200
            assert reply.headers["Access-Control-Expose-Headers"] == "ETag"
    await upload.complete()
