"""What leaves the machine, and what does not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from dataclasses import replace

import aiohttp
import pytest
from conftest import Server, new_name
from servers.b2 import B2Server
from servers.proxy import ForwardProxy
from servers.scripted import Reply, ScriptedServer, error
from yarl import URL

import aiodreamobjects as dream

CANARY = "canary-0123456789-secret"
TOKEN = "canary-token-0123456789"


async def test_nothing_is_sent_that_was_not_asked_for(b2: Server, b2_server: B2Server) -> None:
    b2_server.requests.clear()
    async with b2.session() as session:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("a")
        await obj.put(b"x" * 100_000)
        await obj.read()
        await obj.head()
        await bucket.set_acl("public-read")
        await bucket.set_cors([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}])
        await bucket.delete_many(["a"])
        await bucket.delete(force=True)
    assert len(b2_server.requests) > 10
    for request in b2_server.requests:
        names = set(request.headers)
        assert not {name for name in names if name.startswith(("x-amz-checksum", "x-amz-sdk", "x-amz-trailer"))}
        assert not names & {"expect", "transfer-encoding", "trailer", "content-encoding", "cookie"}
        assert "x-amz-acl" not in names or request.query.keys() == {"acl"}
        assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


async def test_what_needs_a_digest_has_content_md5(scripted: ScriptedServer) -> None:
    """It leans on what botocore calls ``params["context"]["checksum"]``."""
    scripted.will(Reply(200, b"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>"))
    async with scripted.session() as session:
        bucket = session.bucket("bucket")
        await bucket.delete_many(["a"])
        await bucket.set_cors([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}])
        await bucket.set_lifecycle([{"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}])
        await bucket.set_tags({"a": "b"})
        await bucket.set_policy({})
        await bucket.set_versioning("Enabled")
        await bucket.set_website({"IndexDocument": {"Suffix": "i"}})
        await bucket.object("a").set_tags({"a": "b"})
    assert len(scripted.received) == 8
    for request in scripted.received:
        digest = base64.b64encode(hashlib.md5(request.body).digest()).decode()
        assert request.headers["content-md5"] == digest


async def test_in_the_clear_the_body_is_signed(scripted: ScriptedServer) -> None:
    scripted.will(error(400, "InvalidArgument"))
    async with scripted.session() as session:
        for body in (b"", b"small", bytes(300_000)):
            with pytest.raises(dream.InvalidRequestError):
                await session.object("s3://bucket/a").put(body)
            assert scripted.received[-1].headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
            assert scripted.received[-1].headers["content-length"] == str(len(body))


async def test_in_the_clear_the_body_is_not_hashed_for_the_signature_of_a_service_that_says_so(
    scripted: ScriptedServer,
) -> None:
    scripted.will(error(400, "InvalidArgument"))
    body = bytes(300_000)
    async with scripted.session(service=replace(scripted.service, signs_payload=False)) as session:
        with pytest.raises(dream.InvalidRequestError):
            await session.object("s3://bucket/a").put(body)
    headers = scripted.received[-1].headers
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert headers["content-md5"] == base64.b64encode(hashlib.md5(body).digest()).decode()
    assert "content-md5" in headers["authorization"]


async def test_the_old_signature_is_sent_to_an_old_cluster(gateway_v2: Server) -> None:
    async with gateway_v2.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("a b/ü").put("x", metadata={"A": "b  c"})
        assert await bucket.object("a b/ü").read() == b"x"
        assert [info.key async for info in bucket.list("a b")] == ["a b/ü"]
        url = bucket.object("a b/ü").presign_get()
        assert "AWSAccessKeyId=" in url
        async with aiohttp.ClientSession() as anyone, anyone.get(URL(url, encoded=True)) as reply:
            assert await reply.read() == b"x"
        await bucket.delete(force=True)


async def test_virtual_hosts_are_addressed_where_the_service_wants_it(
    gateway_virtual: Server, proxy: ForwardProxy
) -> None:
    async with gateway_virtual.session() as session:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("a b/ü+")
        await obj.put("x")
        assert await obj.read() == b"x"
        assert [info.key async for info in bucket.list()] == ["a b/ü+"]
        assert obj.url(scheme="http").startswith(f"http://{bucket.name}.s3.localhost:")
        url = URL(obj.presign_get(), encoded=True)
        async with aiohttp.ClientSession() as anyone, anyone.get(url, proxy=proxy.url) as reply:
            assert await reply.read() == b"x"
        await bucket.delete(force=True)
    assert f"{bucket.name}.s3.localhost" in {target.partition(":")[0] for target in proxy.targets}


async def test_a_proxy_of_the_environment_is_used(scripted: ScriptedServer, proxy: ForwardProxy) -> None:
    scripted.will(Reply(200))
    async with scripted.session() as session:
        await session.object("s3://bucket/a b").head()
    assert proxy.targets == [f"127.0.0.1:{scripted.port}"]
    assert scripted.requests == ["HEAD /bucket/a%20b"]


async def test_no_secret_is_logged_or_shown(scripted: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripted.will(error(403, "SignatureDoesNotMatch"))
    shown = []
    async with scripted.session(access_key="AKCANARY", secret_key=CANARY, session_token=TOKEN) as session:
        obj = session.object("s3://bucket/a")
        for verb in (obj.put(b"x"), obj.read(), session.bucket("bucket").cors()):
            with pytest.raises(dream.AccessDeniedError) as caught:
                await verb
            problem: BaseException | None = caught.value
            while problem:
                shown.append(f"{problem!r} {problem}")
                problem = problem.__cause__ or problem.__context__
        shown += [repr(session), repr(obj), repr(session.bucket("bucket")), repr(session.service), obj.url()]
        shown.append(repr(obj.presign_post()))
        url = obj.presign_get()
    sent = scripted.received[0].headers
    assert sent["x-amz-security-token"] == TOKEN
    signature = sent["authorization"].rpartition("=")[2]
    text = "\n".join([*shown, *caplog.messages, caplog.text])
    assert len(caplog.messages) > 10
    for secret in (CANARY, TOKEN, signature, url.rpartition("=")[2]):
        assert secret not in text


async def test_a_thousand_tasks_share_a_session(rgw: Server) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await asyncio.gather(*(bucket.object(f"{n:04}").put(str(n)) for n in range(1000)))
        assert await asyncio.gather(*(bucket.object(f"{n:04}").read_text() for n in range(1000))) == [
            str(n) for n in range(1000)
        ]
        assert session.statistics().open_connections <= 128
        await bucket.delete(force=True)
