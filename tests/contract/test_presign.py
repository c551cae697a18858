"""URLs and forms for people without credentials, used by a client that knows nothing of S3."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from conftest import Server
from yarl import URL

import aiodreamobjects as dream
from aiodreamobjects import Object

ON = ("memory", "rgw", "b2")


@pytest_asyncio.fixture
async def anyone(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    if server.is_memory:
        pytest.skip("nothing answers the URLs of a service in memory")
    async with server.anyone() as client:
        yield client


@pytest_asyncio.fixture(params=["hello.txt", "a dir/ü+~x.txt", "weird&?#=%.txt", "//double"])
async def obj(request: pytest.FixtureRequest, bucket: dream.Bucket) -> Object:
    made = bucket.object(request.param)
    await made.put("Hello World!")
    return made


def signatures(server: Server) -> list[Literal["v4", "v2"]]:
    return ["v4"] if server.is_b2 else ["v4", "v2"]


def url_of(text: str) -> URL:
    return URL(text, encoded=True)


async def test_anyone_reads_by_a_presigned_url(obj: Object, anyone: aiohttp.ClientSession) -> None:
    for expires_in in (60, timedelta(hours=1), datetime.now(UTC) + timedelta(days=6)):
        async with anyone.get(url_of(obj.presign_get(expires_in))) as reply:
            assert (reply.status, await reply.text()) == (200, "Hello World!")


async def test_the_old_signature_is_made_on_request(server: Server, obj: Object, anyone: aiohttp.ClientSession) -> None:
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="only SigV4"):
            obj.presign_get(signature="v2")
        return
    url = obj.presign_get(timedelta(days=30), signature="v2")
    assert "AWSAccessKeyId" in url
    async with anyone.get(url_of(url)) as reply:
        assert (reply.status, await reply.text()) == (200, "Hello World!")


async def test_a_presigned_url_is_good_for_one_object(obj: Object, anyone: aiohttp.ClientSession) -> None:
    url = obj.presign_get()
    async with anyone.get(url_of(url.replace("Signature=", "Signature=0"))) as reply:
        assert reply.status == 403
    async with anyone.delete(url_of(url)) as reply:
        assert reply.status == 403
    async with anyone.get(url_of(url.partition("?")[0])) as reply:
        assert reply.status == 403


async def test_response_headers_are_overridden(obj: Object, anyone: aiohttp.ClientSession, server: Server) -> None:
    headers = {"Content-Disposition": 'attachment; filename="x y.txt"', "content-type": "text/x-special"}
    for signature in signatures(server):
        url = obj.presign_get(response_headers=headers, signature=signature)
        async with anyone.get(url_of(url)) as reply:
            assert reply.status == 200
            assert reply.headers["Content-Disposition"] == 'attachment; filename="x y.txt"'
            assert reply.headers["Content-Type"].startswith("text/x-special")


async def test_a_version_is_read_by_a_presigned_url(
    bucket: dream.Bucket, anyone: aiohttp.ClientSession, server: Server
) -> None:
    await bucket.set_versioning("Enabled")
    obj = bucket.object("a")
    first, _ = await obj.put("1"), await obj.put("2")
    for signature in signatures(server):
        url = obj.presign_get(version_id=first.version_id, signature=signature)
        async with anyone.get(url_of(url)) as reply:
            assert await reply.text() == "1"


async def test_anyone_writes_by_a_presigned_url(obj: Object, anyone: aiohttp.ClientSession, server: Server) -> None:
    for signature in signatures(server):
        url = obj.presign_put(content_type="text/css", metadata={"By": "anyone"}, signature=signature)
        headers = {"Content-Type": "text/css", "x-amz-meta-by": "anyone"}
        async with anyone.put(url_of(url), data=signature.encode(), headers=headers) as reply:
            assert reply.status == 200, await reply.text()
        info = await obj.head()
        assert (info.content_type, info.metadata) == ("text/css", {"by": "anyone"})
        assert await obj.read_text() == signature


async def test_a_version_is_looked_at_and_deleted_by_a_presigned_url(
    bucket: dream.Bucket, anyone: aiohttp.ClientSession, server: Server
) -> None:
    await bucket.set_versioning("Enabled")
    for signature in signatures(server):
        obj = bucket.object(f"a {signature}")
        first, second = await obj.put("1"), await obj.put("22")
        url = obj.presign("HEAD", 60, version_id=first.version_id, signature=signature)
        async with anyone.head(url_of(url)) as reply:
            assert (reply.status, reply.headers["Content-Length"]) == (200, "1")
        url = obj.presign("DELETE", 60, version_id=first.version_id, signature=signature)
        async with anyone.delete(url_of(url)) as reply:
            assert reply.status == 204
        left = [info.version_id async for info in bucket.list_versions(obj.key)]
        assert left == [second.version_id]


async def test_a_url_without_a_version_is_for_the_object(
    bucket: dream.Bucket, anyone: aiohttp.ClientSession, server: Server
) -> None:
    obj = bucket.object("a")
    for signature in signatures(server):
        assert await sent(server, obj.presign("PUT", signature=signature), b"x", {}) == 200
        async with anyone.head(url_of(obj.presign("HEAD", signature=signature))) as reply:
            assert (reply.status, reply.headers["Content-Length"]) == (200, "1")
        async with anyone.delete(url_of(obj.presign("DELETE", signature=signature))) as reply:
            assert reply.status == 204
        assert not await obj.exists()


async def sent(server: Server, url: str, content: bytes, headers: Mapping[str, str]) -> int:
    """PUT by a client of the standard library, which sends these headers, Content-Length, and no others. Return the status."""
    where = urlsplit(url)
    assert where.hostname

    def send() -> int:
        connection: http.client.HTTPConnection
        if where.scheme == "https":
            context = ssl.create_default_context(cafile=server.ca)
            connection = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=30, context=context)
        else:
            connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            connection.request("PUT", f"{where.path}?{where.query}", content, dict(headers))
            reply = connection.getresponse()
            reply.read()
            return reply.status
        finally:
            connection.close()

    return await asyncio.to_thread(send)


async def test_a_presigned_put_takes_only_the_length_that_was_signed(server: Server, bucket: dream.Bucket) -> None:
    if server.is_memory:
        pytest.skip("nothing answers the URLs of a service in memory")
    obj = bucket.object("exactly 10")
    url = obj.presign_put(content_length=10)
    for content in (b"0123456789A", b"012345678", b""):
        assert await sent(server, url, content, {}) == 403
    assert not await obj.exists()
    assert await sent(server, url, b"0123456789", {}) == 200
    assert await obj.read() == b"0123456789"


async def test_a_presigned_put_takes_only_the_content_whose_md5_was_signed(
    server: Server, bucket: dream.Bucket
) -> None:
    if server.is_memory:
        pytest.skip("nothing answers the URLs of a service in memory")
    obj = bucket.object("exactly this")
    digest = base64.b64encode(hashlib.md5(b"this").digest()).decode()
    other = base64.b64encode(hashlib.md5(b"that").digest()).decode()
    for signature in signatures(server):
        url = obj.presign_put(content_md5=digest, signature=signature)
        assert await sent(server, url, b"that", {"Content-MD5": digest}) == 400
        assert await sent(server, url, b"that", {"Content-MD5": other}) == 403
        assert await sent(server, url, b"this", {}) == 403
        assert not await obj.exists()
        assert await sent(server, url, b"this", {"Content-MD5": digest}) == 200
        await obj.delete()


async def test_headers_of_a_presigned_put_are_demanded_and_stored(server: Server, bucket: dream.Bucket) -> None:
    if server.is_memory:
        pytest.skip("nothing answers the URLs of a service in memory")
    obj = bucket.object("a")
    url = obj.presign_put(
        content_length=1, content_type="text/css", cache_control="max-age=60", content_disposition="inline"
    )
    headers = {"Content-Type": "text/css", "Cache-Control": "max-age=60", "Content-Disposition": "inline"}
    for name in headers:
        assert await sent(server, url, b"x", headers | {name: "other"}) == 403
    assert await sent(server, url, b"x", headers) == 200
    info = await obj.head()
    assert (info.content_type, info.cache_control, info.content_disposition) == ("text/css", "max-age=60", "inline")


async def test_a_presigned_put_can_keep_what_is_there(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="conditions"):
            obj.presign_put(if_absent=True)
        return
    if server.is_memory:
        pytest.skip("nothing answers the URLs of a service in memory")
    url = obj.presign_put(if_absent=True)
    assert await sent(server, url, b"first", {"If-None-Match": "*"}) == 200
    assert await sent(server, url, b"second", {"If-None-Match": "*"}) == 412
    assert await sent(server, url, b"second", {}) == 403
    assert await obj.read() == b"first"


async def test_a_presigned_put_with_an_acl_sets_it(
    bucket: dream.Bucket, anyone: aiohttp.ClientSession, server: Server
) -> None:
    obj = bucket.object("public.txt")
    acl: dream.CannedAcl = "private" if server.is_b2 else "public-read"
    async with anyone.put(url_of(obj.presign_put(acl=acl)), data=b"x", headers={"x-amz-acl": acl}) as reply:
        assert reply.status == 200, await reply.text()
    assert (await obj.acl()).canned == acl


async def test_a_public_object_is_read_by_its_plain_url(
    server: Server, bucket: dream.Bucket, anyone: aiohttp.ClientSession
) -> None:
    obj = bucket.object("a dir/ü+~x.txt")
    await obj.put("Hello World!")
    if server.is_b2:
        await bucket.set_acl("public-read")
    else:
        await obj.set_acl("public-read")
    url = obj.url(scheme=server.service.scheme)
    assert "?" not in url
    async with anyone.get(url_of(url)) as reply:
        assert (reply.status, await reply.text()) == (200, "Hello World!")


async def test_a_browser_form_stores_its_key(
    server: Server, bucket: dream.Bucket, anyone: aiohttp.ClientSession
) -> None:
    obj = bucket.object("form upload.txt")
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="presign_put"):
            obj.presign_post()
        return
    for signature in signatures(server):
        post = obj.presign_post(
            max_bytes=10,
            conditions=[{"acl": "private"}, ["starts-with", "$Content-Type", "text/"]],
            signature=signature,
        )
        assert await _submit(anyone, post, b"0123456789") in (200, 204)
        assert await obj.read() == b"0123456789"
        if server.is_rgw:
            assert await _submit(anyone, post, b"0123456789A") >= 400
        await obj.delete()


async def _submit(anyone: aiohttp.ClientSession, post: dream.PresignedPost, content: bytes) -> int:
    with aiohttp.MultipartWriter("form-data") as form:
        for name, value in {**post.fields, "Content-Type": "text/plain"}.items():
            form.append(value).set_content_disposition("form-data", name=name)
        form.append(content).set_content_disposition("form-data", name="file", filename="x")
    async with anyone.post(url_of(post.url), data=form) as reply:
        return reply.status


async def test_the_clients_own_presigned_urls_work_too(
    session: dream.Session, obj: Object, anyone: aiohttp.ClientSession
) -> None:
    client = await session.boto_client()
    url = await client.generate_presigned_url("get_object", Params={"Bucket": obj.bucket, "Key": obj.key})
    async with anyone.get(url_of(url)) as reply:
        assert await reply.text() == "Hello World!"
