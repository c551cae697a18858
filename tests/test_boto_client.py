"""``session.boto_client()``: botocore's requests, sent as all others are."""

from __future__ import annotations

import asyncio
import gc
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from conftest import Server, new_name
from servers.scripted import Content, Raw, Reply, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

AT = {"Bucket": "bucket", "Key": "key"}


async def test_its_requests_are_tried_again_and_counted(scripted: ScriptedServer) -> None:
    scripted.will(error(503, "SlowDown"), Raw(), Content(b"content", "opaque-1"))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        reply = await client.get_object(**AT)
        assert await reply["Body"].read() == b"content"
        assert (session.statistics().requests, session.statistics().retries) == (3, 2)


async def test_a_refusal_is_our_error_and_botocores(scripted: ScriptedServer) -> None:
    scripted.will(error(404, "NoSuchKey"))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        with pytest.raises(dream.NotFoundError, match="get_object s3://bucket/key: NoSuchKey") as caught:
            await client.get_object(**AT)
        assert isinstance(caught.value, client.exceptions.NoSuchKey)
        assert isinstance(caught.value, ClientError)
        assert caught.value.response["Error"]["Code"] == "NoSuchKey"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert (caught.value.code, caught.value.request_id) == ("NoSuchKey", "tx1")
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again), again.code) == (dream.NotFoundError, str(caught.value), "NoSuchKey")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", dream.AccessDeniedError),
        (409, "BucketNotEmpty", dream.BucketNotEmptyError),
        (412, "PreconditionFailed", dream.PreconditionFailedError),
        (400, "InvalidArgument", dream.InvalidRequestError),
        (501, "NotImplemented", dream.UnsupportedByServiceError),
        (200, "InternalError", dream.ServiceBusyError),
        (418, "Odd", dream.ServiceError),
    ],
)
async def test_each_of_our_classes_is_a_client_error_too(
    scripted: ScriptedServer, status: int, code: str, kind: type[dream.ServiceError]
) -> None:
    scripted.will(error(status, code))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        with pytest.raises(kind, match=code) as caught:
            await client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        assert isinstance(caught.value, ClientError)


async def test_a_waiter_waits(scripted: ScriptedServer) -> None:
    scripted.will(error(404, "NotFound"), error(404, "NotFound"), Reply(200, b"x", {"ETag": '"e"'}))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        await client.get_waiter("object_exists").wait(**AT, WaiterConfig={"Delay": 0, "MaxAttempts": 5})
    assert scripted.requests == ["HEAD /bucket/key"] * 3


async def test_a_body_keeps_its_place_until_it_is_read_or_closed_or_forgotten(scripted: ScriptedServer) -> None:
    large = bytes(300_000)
    scripted.will(Content(large, "opaque-1"))
    async with scripted.session(limits=dream.Limits(requests=2)) as session:
        client: Any = await session.boto_client()
        bodies = [(await client.get_object(**AT))["Body"] for _ in range(2)]
        third = asyncio.create_task(client.get_object(**AT))
        await asyncio.wait({third}, timeout=0.1)
        assert not third.done()
        assert await bodies[0].read() == large
        bodies.append((await third)["Body"])
        bodies[1].close()
        bodies.append((await client.get_object(**AT))["Body"])
        bodies.clear()
        gc.collect()
        for _ in range(2):
            async with (await client.get_object(**AT))["Body"] as body:
                assert len(await body.read(7)) == 7
                assert len(await body.read(100_000)) > 0
        assert await session.object("s3://bucket/key").read() == large


async def test_a_file_is_read_while_it_is_sent_and_again_for_another_attempt(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    content = bytes(range(256)) * 4096
    path.write_bytes(content)
    scripted.will(error(503, "SlowDown"), Reply(200, headers={"ETag": '"e"'}))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        with path.open("rb") as file:
            file.seek(256)
            await client.put_object(**AT, Body=file)
    assert [request.body == content[256:] for request in scripted.received] == [True, True]


class Pipe:
    """A body that can only be read once."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)


async def test_a_body_that_cannot_seek_is_sent_once(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, headers={"ETag": '"e"'}))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        await client.put_object(**AT, Body=Pipe(b"content"), ContentLength=7)
        assert scripted.received[0].body == b"content"
        scripted.will(error(503, "SlowDown"), Reply(200, headers={"ETag": '"e"'}))
        with pytest.raises(ValueError, match="cannot be read again"):
            await client.put_object(**AT, Body=Pipe(b"content"), ContentLength=7)


async def test_a_body_that_breaks_gives_its_place_back(scripted: ScriptedServer) -> None:
    scripted.will(Content(bytes(300_000), "opaque-1", cut=200_000), Content(b"x", "opaque-1"))
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        client: Any = await session.boto_client()
        body = (await client.get_object(**AT))["Body"]
        with pytest.raises(dream.IncompleteBodyError):
            await body.read()
        async with asyncio.timeout(10):
            assert await session.object("s3://bucket/key").read() == b"x"


async def test_keys_that_are_given_need_no_profile(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "config"
    broken.write_text("[profile x\n=")
    async with scripted.session() as session, MemoryService().session() as memory:
        monkeypatch.setenv("AWS_PROFILE", "missing")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(broken))
        scripted.will(error(404, "NoSuchCORSConfiguration"))
        assert await session.bucket("bucket").cors() == []
        assert await (await memory.create_bucket("photos")).cors() == []


async def test_a_file_that_is_shorter_than_it_said_is_an_error(scripted: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "shrinks"
    path.write_bytes(bytes(1 << 20))
    scripted.will(Reply(200, headers={"ETag": '"e"'}))
    async with scripted.session() as session:
        client: Any = await session.boto_client()
        with path.open("rb") as file, pytest.raises(ValueError, match="does not have the 2,097,152 bytes"):
            await client.put_object(**AT, Body=file, ContentLength=2 << 20)
        assert session.statistics().idle_connections == 0


async def test_a_closed_session_ends_its_requests(scripted: ScriptedServer) -> None:
    async with scripted.session() as session:
        client: Any = await session.boto_client()
    with pytest.raises(dream.SessionClosedError):
        await client.list_buckets()


async def test_what_has_no_verb_works_on_a_real_service(server: Server) -> None:
    if server.is_b2:
        pytest.skip("B2 knows less")
    async with server.session() as session:
        bucket = await session.create_bucket(new_name())
        client: Any = await session.boto_client()
        await client.get_bucket_location(Bucket=bucket.name)
        await client.put_object(Bucket=bucket.name, Key="a/ü +%", Body=b"content", Metadata={"n": "1"})
        assert (await bucket.object("a/ü +%").head()).metadata == {"n": "1"}
        listed = await client.list_objects_v2(Bucket=bucket.name, Prefix="a/")
        assert [item["Key"] for item in listed["Contents"]] == ["a/ü +%"]
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
        assert [item["Size"] async for page in pages for item in page["Contents"]] == [7]
        await client.delete_objects(Bucket=bucket.name, Delete={"Objects": [{"Key": "a/ü +%"}]})
        assert not await bucket.object("a/ü +%").exists()
        await bucket.delete()
