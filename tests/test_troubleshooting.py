"""The likely mistakes, made for real: each has a section in docs/troubleshooting.md that its message leads to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from servers.scripted import Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

HEADINGS = re.findall(
    r"^### `(.*)`$", (Path(__file__).parents[1] / "docs/troubleshooting.md").read_text(), re.MULTILINE
)
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
        untrusted = "its certificate cannot be trusted: unable to get local issuer certificate"
        assert "ca= trusts" in await made(untrusted, reading(endpoint=secure.endpoint))
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        await made("cannot be reached", reading())
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
        await made("is a SOCKS proxy", reading())
        monkeypatch.delenv("http_proxy")
    await made("connection failed: Connection refused", reading())


async def _for(bucket: dream.Bucket) -> None:
    for _ in bucket.list():  # type: ignore[attr-defined]  # the mistake
        pass


async def test_what_a_service_says_leads_to_its_section(scripted: ScriptedServer) -> None:
    async with scripted.session(retry=ONCE) as session:
        for reply, heading in (
            (Reply(403, b"<Error><Code>AccessDenied</Code></Error>"), "AccessDenied"),
            (Reply(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"), "RequestTimeTooSkewed"),
            (Reply(503, b"<Error><Code>SlowDown</Code></Error>"), "SlowDown"),
        ):
            scripted.will(reply, reply)
            await made(heading, session.object("s3://photos/a").read)
