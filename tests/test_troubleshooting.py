"""The likely mistakes, made for real: each has a section in docs/troubleshooting.md that its message leads to."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from conftest import Server, new_name
from servers.scripted import Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PAGE = (Path(__file__).parents[1] / "docs/troubleshooting.md").read_text()
HEADINGS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
ONCE = dream.Retry(attempts=1)


async def made(heading: str, mistake: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(Exception, match=re.escape(heading)) as caught:
        await mistake()
    assert heading in HEADINGS
    return str(caught.value)


async def test_likely_mistakes_lead_to_their_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = MemoryService()
    async with service.serve() as served, service.serve(tls=True) as secure:
        right = {"endpoint": served.endpoint, "access_key": served.access_key, "secret_key": served.secret_key}

        def reading(key: str = "a", bucket: str = "photos", **settings: object) -> Callable[[], Awaitable[object]]:
            async def read() -> bytes:
                session = dream.Session(**{**right, **settings}, retry=ONCE)  # type: ignore[arg-type]  # each by its name
                async with session:
                    return await session.bucket(bucket).object(key).read()

            return read

        async with dream.Session(**right) as session:  # type: ignore[arg-type]  # the same
            bucket = await session.create_bucket("photos")
            photo = bucket.object("a")
            await photo.put("x")
            await made("object is not iterable", lambda: _for(bucket))
            for awaited in (bucket.list, photo.get, photo.presign_get, lambda: session.bucket("photos")):
                await made("can't be used in 'await' expression", awaited)  # type: ignore[arg-type]  # the mistake
            await made("NotFound (404)", bucket.object("b").head)
            await made("asyncio.run() cannot be called from a running event loop", _run_again)
            key = dream.SseCustomer(bytes(32))
            await bucket.object("locked").put("x", encryption=key)
            await made("give the object's key", bucket.object("locked").read)
            await made("belongs to another event loop", lambda: asyncio.to_thread(asyncio.run, photo.read()))
            await made("no such directory for the file", lambda: photo.download(tmp_path / "no" / "a"))
            await made("bucket name", lambda: session.bucket("My Photos").info())
        await made("was closed and is not open any more", photo.read)
        await made("the session is not open", dream.Session(**right).bucket("photos").info)  # type: ignore[arg-type]

        assert "the secret key is wrong" in await made("SignatureDoesNotMatch", reading(secret_key="wrong"))
        assert "keys and endpoint must be of one" in await made("InvalidAccessKeyId", reading(access_key="wrong"))
        await made("no credentials found", reading(access_key=None, secret_key=None))
        await made("half of the credentials is missing", reading(secret_key=None))
        await made("this session is anonymous", reading(anonymous=True, access_key=None, secret_key=None))
        await made("NoSuchBucket", reading(bucket="films"))
        await made("NoSuchKey", reading(key="b"))
        assert "region= sets the region" in await made("AuthorizationHeaderMalformed", reading(region="moon-1"))
        await made("the host name is unknown", reading(endpoint="http://host.invalid"))
        await made("must be http:// or https://, a host", reading(endpoint="s3.us-east-005.dream.io"))
        await made("begins with a bucket", reading(endpoint="https://photos.s3.us-east-005.dream.io"))
        untrusted = await made("its certificate cannot be trusted", reading(endpoint=secure.endpoint))
        assert "ca= trusts" in untrusted
        assert "unable to get local issuer certificate" in untrusted
        assert "unable to get local issuer certificate" in PAGE
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        await made("cannot be reached", reading())
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
        await made("is a SOCKS proxy", reading())
        monkeypatch.delenv("http_proxy")
    await made("connection failed: Connection refused", reading())


async def _run_again() -> None:
    nothing = asyncio.sleep(0)
    try:
        asyncio.run(nothing)
    finally:
        nothing.close()


async def _for(bucket: dream.Bucket) -> None:
    for _ in bucket.list():  # type: ignore[attr-defined]  # the mistake
        pass


async def test_what_a_service_says_leads_to_its_section(scripted: ScriptedServer) -> None:
    async with scripted.session(retry=ONCE) as session:
        for reply, heading in (
            (Reply(403, b"<Error><Code>AccessDenied</Code></Error>"), "AccessDenied"),
            (Reply(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"), "RequestTimeTooSkewed"),
            (Reply(503, b"<Error><Code>SlowDown</Code></Error>"), "SlowDown"),
            (Reply(409, b"<Error><Code>BucketAlreadyExists</Code></Error>"), "BucketAlreadyExists"),
            (Reply(404, b"<!DOCTYPE html><html>Not Found</html>"), "is a web page and not S3's"),
        ):
            scripted.will(reply, reply)
            await made(heading, session.object("s3://photos/a").read)


async def test_a_port_for_tls_leads_to_its_section(rgw_tls: Server) -> None:
    """Ceph RGW closes a connection that begins without TLS."""
    plain = rgw_tls.service.endpoint.replace("https://", "http://")
    async with dream.Session(endpoint=plain, access_key="a", secret_key="b", retry=ONCE) as session:
        await made("the peer closed it", session.object("s3://photos/a").read)


async def test_a_key_over_plain_http_leads_to_its_section(rgw: Server) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        key = dream.SseCustomer(bytes(32))
        await made("some services encrypt only over https", lambda: bucket.object("a").put("x", encryption=key))
        await bucket.delete(force=True)


async def test_a_forgotten_await_leads_to_its_section() -> None:
    heading = "coroutine 'Object.read' was never awaited"
    assert heading in HEADINGS
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("photos")).object("a")
        told = "'coroutine' object has no attribute 'decode'"
        with pytest.warns(RuntimeWarning, match=heading), pytest.raises(AttributeError, match=told):
            obj.read().decode()  # type: ignore[attr-defined]  # the mistake
        assert told in PAGE


async def test_no_permission_leads_to_its_section(rgw: Server) -> None:
    assert rgw.other_account is not None
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("a").put("x")
        others = dream.Session(
            endpoint=rgw.service.endpoint, access_key=rgw.other_account[0], secret_key=rgw.other_account[1]
        )
        async with others as other:
            theirs = other.bucket(bucket.name)
            for mistake in (
                theirs.object("a").read,
                theirs.object("b").head,
                lambda: theirs.object("a").put("y"),
                theirs.delete,
            ):
                assert bucket.name in await made("AccessDenied", mistake)
        await bucket.delete(force=True)


async def test_files_that_may_not_be_used_lead_to_their_section(tmp_path: Path) -> None:
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("photos")).object("a")
        await obj.put("x")
        (tmp_path / "file").touch(mode=0o600)
        tmp_path.chmod(0o555)
        everything = os.geteuid() == 0
        if everything:
            os.seteuid(65534)
        try:
            assert str(tmp_path) in await made("Permission denied", lambda: obj.download(tmp_path / "new"))
            if everything:  # otherwise the file is ours
                assert str(tmp_path / "file") in await made("Permission denied", lambda: obj.upload(tmp_path / "file"))
        finally:
            if everything:
                os.seteuid(0)


async def test_a_full_disk_leads_to_its_section(rgw: Server, small_disk: Path) -> None:
    """It has 1 MiB. What the section says is tried, too."""
    content = os.urandom(2 << 20)
    async with rgw.session(limits=dream.Limits(part_size=256 << 10)) as session:
        bucket = await session.create_bucket(new_name())
        obj, target = bucket.object("a"), small_disk / "file"
        await obj.put(content)
        target.write_bytes(b"old")
        assert str(target) in await made("No space left on device", lambda: obj.download(target))
        assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == {"file": b"old"}
        await made("No space left on device", lambda: obj.download(target, resume=True))
        assert target.read_bytes() == b"old"
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=6m", str(small_disk)], check=True)
        before = session.statistics().bytes_received
        await obj.download(target, resume=True)
        assert target.read_bytes() == content
        assert session.statistics().bytes_received - before < len(content)
        await bucket.delete(force=True)


WRONG_CLOCK = """
import asyncio, sys, time

right = time.time
time.time = lambda: right() - 7200
import aiodreamobjects as dream

async def main(uri):
    async with dream.Session() as session:
        obj = session.object(uri)
        early = obj.presign_get(60)
        await obj.put("x")
        content = await obj.read_text()
        print(session.statistics().requests, content, early, obj.presign_get(60))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_wrong_clock_is_corrected_and_spoils_links_made_before(
    rgw: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service refuses the first request, and takes the second. It also refuses a link made before."""
    monkeypatch.setenv("DREAMOBJECTS_ENDPOINT_URL", rgw.service.endpoint)
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", rgw.access_key)
    monkeypatch.setenv("DREAMOBJECTS_SECRET_ACCESS_KEY", rgw.secret_key)
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        command = [sys.executable, "-c", WRONG_CLOCK, f"s3://{bucket.name}/a"]
        told = await asyncio.to_thread(subprocess.run, command, stdout=subprocess.PIPE, text=True, check=True)
        requests, content, early, late = told.stdout.split()
        assert (requests, content) == ("3", "x")  # the put twice
        async with aiohttp.ClientSession() as client:
            async with client.get(late) as reply:
                assert await reply.text() == "x"
            async with client.get(early) as reply:
                assert reply.status == 403
                assert "AccessDenied" in await reply.text()
        await bucket.delete(force=True)
