"""Sessions without keys: what they send, what they may do, and what they say when they may not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aioboto3
import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import Server, new_name
from servers.scripted import Reply, ScriptedServer, error
from servers.served import ServedService

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

LARGE = bytes(range(256)) * 1024
OF_SIGNATURES = {"authorization", "date", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
SERVERS = ["rgw", "rgw_tls", "gateway_v2", "served_memory"]


@pytest.fixture(scope="module")
def served_memory() -> Iterator[Server]:
    with ServedService(MemoryService()) as running:
        served = running.served
        yield Server("served", dream.Service.for_endpoint(served.endpoint), served.access_key, served.secret_key)


@pytest.fixture(params=SERVERS)
def public_server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@contextmanager
def boto(server: Server) -> Iterator[Any]:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.service.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        verify=str(server.ca) if server.ca else None,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def public_bucket(public_server: Server) -> Iterator[str]:
    """A bucket that boto3 made: everybody may list it, and read all of it but ``secret.txt``."""
    name = new_name()
    with boto(public_server) as client:
        client.create_bucket(Bucket=name, ACL="public-read")
        client.put_object(
            Bucket=name, Key="dir/ü small.txt", Body=b"small", ACL="public-read", ContentType="text/plain"
        )
        client.put_object(Bucket=name, Key="large.bin", Body=LARGE, ACL="public-read")
        client.put_object(Bucket=name, Key="secret.txt", Body=b"secret")
        yield name
        for key in ("dir/ü small.txt", "large.bin", "secret.txt"):
            client.delete_object(Bucket=name, Key=key)
        client.delete_bucket(Bucket=name)


@pytest_asyncio.fixture
async def anonymous(public_server: Server) -> AsyncIterator[dream.Session]:
    async with dream.Session(
        anonymous=True, service=public_server.service, ca=public_server.ca, limits=dream.Limits(part_size=64 << 10)
    ) as session:
        yield session


async def test_what_is_public_can_be_read(anonymous: dream.Session, public_bucket: str, tmp_path: Path) -> None:
    bucket = anonymous.bucket(public_bucket)
    assert [info.key for info in await bucket.list().collect()] == ["dir/ü small.txt", "large.bin", "secret.txt"]
    assert await bucket.object("dir/ü small.txt").read() == b"small"
    assert (await bucket.object("dir/ü small.txt").head()).content_type == "text/plain"
    assert await bucket.object("large.bin").read(range=(256, 258)) == b"\x00\x01"
    info = await bucket.object("large.bin").download(tmp_path / "large.bin")
    assert (info.verified, (tmp_path / "large.bin").read_bytes()) == ("md5", LARGE)
    await bucket.download_tree(tmp_path / "tree", "dir")
    assert (tmp_path / "tree" / "ü small.txt").read_bytes() == b"small"


async def test_what_is_not_public_is_refused_and_the_reason_named(anonymous: dream.Session, public_bucket: str) -> None:
    bucket = anonymous.bucket(public_bucket)
    for call in (
        bucket.object("secret.txt").read(),
        bucket.object("secret.txt").head(),
        bucket.object("new.txt").put(b"new"),
        bucket.object("large.bin").set_acl("private"),
        bucket.object("large.bin").delete(),
        bucket.set_cors([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]),
        bucket.delete(),
    ):
        with pytest.raises(dream.AccessDeniedError, match="this session is anonymous"):
            await call


async def test_a_bucket_that_everybody_may_write_can_be_written(
    public_server: Server, anonymous: dream.Session
) -> None:
    name = new_name()
    with boto(public_server) as client:
        client.create_bucket(Bucket=name, ACL="public-read-write")
        await anonymous.bucket(name).object("a.txt").put(b"everybody's")
        async with public_server.session() as owner:
            await owner.bucket(name).delete(force=True)
        with pytest.raises(ClientError, match="Not Found"):
            client.head_bucket(Bucket=name)


async def test_the_boto_client_is_anonymous_too(anonymous: dream.Session, public_bucket: str) -> None:
    client = await anonymous.boto_client()
    listed = await client.list_objects_v2(Bucket=public_bucket)
    assert [found["Key"] for found in listed["Contents"]] == ["dir/ü small.txt", "large.bin", "secret.txt"]
    got = await client.get_object(Bucket=public_bucket, Key="large.bin")
    assert await got["Body"].read() == LARGE
    with pytest.raises(dream.AccessDeniedError, match="this session is anonymous"):
        await client.get_object(Bucket=public_bucket, Key="secret.txt")


async def test_nothing_is_signed(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "not-to-be-used")
    for name in ("DREAMOBJECTS_ACCESS_KEY_ID", "DREAMOBJECTS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not-to-be-used")
    stored = Reply(200, headers={"ETag": '"098f6bcd4621d373cade4e832627b4f6"'})  # the MD5 of "test"
    for signature in ("v4", "v2"):
        scripted.will(stored, Reply(200, b"<CORSConfiguration/>"), Reply(200))
        service = replace(scripted.service, signature=signature)
        async with dream.Session(anonymous=True, service=service) as session:
            await session.bucket("bucket").object("a").put(b"test", content_type="text/plain", metadata={"a": "b"})
            await session.bucket("bucket").cors()
            await (await session.boto_client()).delete_object(Bucket="bucket", Key="a")
        assert [request.method for request in scripted.received] == ["PUT", "GET", "DELETE"]
        for request in scripted.received:
            assert not OF_SIGNATURES & request.headers.keys()
            assert "not-to-be-used" not in str(request)
        assert scripted.received[0].headers["x-amz-meta-a"] == "b"
        assert scripted.received[0].headers["host"] == scripted.endpoint.removeprefix("http://")


async def test_an_anonymous_session_presigns_nothing() -> None:
    async with dream.Session(anonymous=True, endpoint="http://127.0.0.1:9") as session:
        item = session.bucket("bucket").object("key")
        assert item.url(scheme="http") == "http://127.0.0.1:9/bucket/key"
        for presign in (
            item.presign_get,
            item.presign_put,
            item.presign_post,
            lambda: item.presign_get(signature="v2"),
            lambda: item.presign_post(signature="v2"),
        ):
            with pytest.raises(ValueError, match=r"this session is anonymous.*use url\(\)"):
                presign()


@pytest.mark.parametrize("key", ["access_key", "secret_key", "session_token"])
def test_keys_do_not_go_with_an_anonymous_session(key: str) -> None:
    given: dict[str, Any] = {key: "hunter2"}
    with pytest.raises(ValueError, match=r"anonymous=True .* access_key, secret_key or session_token") as caught:
        dream.Session(anonymous=True, **given)
    assert "hunter2" not in str(caught.value)


async def test_a_profile_gives_an_anonymous_session_all_but_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = tmp_path / "called"
    config = (
        f"[profile work]\nendpoint_url = https://s3.example\nregion = here-1\ncredential_process = touch {called}\n"
    )
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for settings in ({"profile": "work"}, {"boto_session": aioboto3.Session(profile_name="work")}):
        given: dict[str, Any] = settings
        async with dream.Session(anonymous=True, **given) as session:
            assert (session.service.endpoint, session.service.region) == ("https://s3.example", "here-1")
            await session.boto_client()
            with pytest.raises(ValueError, match="anonymous"):
                session.bucket("bucket").object("key").presign_get()
    assert not called.exists()


async def test_a_wrong_clock_does_not_matter_without_a_signature(scripted: ScriptedServer) -> None:
    old = {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}
    scripted.will(Reply(403, headers=old), error(403, "AccessDenied"))
    async with dream.Session(anonymous=True, endpoint=scripted.endpoint) as session:
        with pytest.raises(dream.AccessDeniedError, match="anonymous") as caught:
            await session.bucket("bucket").object("key").head()
    assert caught.value.code == "AccessDenied"
    assert len(scripted.received) == 1


async def test_each_key_that_is_refused_says_why(scripted: ScriptedServer) -> None:
    document = b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    scripted.will(Reply(200, document))
    async with dream.Session(anonymous=True, endpoint=scripted.endpoint) as session:
        with pytest.raises(dream.BulkError) as caught:
            await session.bucket("bucket").delete_many(["a"])
    assert "this session is anonymous" in str(caught.value.exceptions[0])


async def test_a_session_that_finds_no_keys_names_the_way_without() -> None:
    with pytest.raises(dream.CredentialsError, match=r"Session\(anonymous=True\)"):
        await dream.Session(endpoint="https://s3.example").open()
