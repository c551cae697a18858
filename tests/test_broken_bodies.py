"""Replies that break off or are nonsense. ``faults/test_reading.py`` has the table of what happens to bodies."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest
from servers.scripted import Content, Raw, Reply, ScriptedServer, error

import aiodreamobjects as dream

CONTENT = bytes(range(256)) * 2000
ETAG = hashlib.md5(CONTENT).hexdigest()


async def test_a_broken_body_is_taken_up_where_it_broke(scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.will(Content(CONTENT, ETAG, cut=300_000), Content(CONTENT, ETAG, cut=100_000), Content(CONTENT, ETAG))
    async with scripted.session() as session:
        await session.object("s3://bucket/a").download(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(scripted.received) == 3
    first, *others = scripted.received
    assert first.headers["range"] == f"bytes=0-{dream.Limits().part_size - 1}"
    assert "if-match" not in first.headers
    assert all(re.fullmatch(rf"bytes=\d+-{len(CONTENT) - 1}", request.headers["range"]) for request in others)
    assert all(request.headers["if-match"] == f'"{ETAG}"' for request in others)


async def test_a_service_that_dies_midway_is_asked_as_often_as_any_other(scripted: ScriptedServer) -> None:
    scripted.will(Content(CONTENT, ETAG, cut=5), Raw())
    async with scripted.session() as session:
        with pytest.raises(dream.ConnectionFailedError):
            await session.object("s3://bucket/a").read()
    assert len(scripted.received) == 1 + 4


async def test_a_body_that_breaks_for_ever_is_an_error(scripted: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    scripted.will(Content(CONTENT, ETAG, cut=0))
    async with scripted.session() as session:
        with pytest.raises(dream.IncompleteBodyError):
            await session.object("s3://bucket/a").download(tmp_path / "a")
    assert len(scripted.received) == 4
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


async def test_an_object_that_vanishes_meanwhile_is_noticed(scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.will(Content(CONTENT, ETAG, cut=5), error(404, "NoSuchKey"))
    async with scripted.session() as session:
        with pytest.raises(dream.ObjectChangedError, match="changed while it was read"):
            await session.object("s3://bucket/a").download(tmp_path / "a", if_changed="raise")
    assert list(tmp_path.iterdir()) == []


async def test_an_etag_that_is_no_md5_is_no_reason_to_fail(scripted: ScriptedServer) -> None:
    async with scripted.session() as session:
        for told in ({"ETag": '"opaque-2"'}, {"ETag": f'"{ETAG}"', "x-amz-server-side-encryption": "aws:kms"}):
            scripted.will(Reply(200, b"anything", told))
            assert await session.object("s3://bucket/a").read() == b"anything"


async def test_a_put_whose_answer_has_another_md5_is_noticed(scripted: ScriptedServer) -> None:
    async with scripted.session() as session:
        scripted.will(Reply(200, headers={"ETag": f'"{ETAG}"'}))
        with pytest.raises(dream.ChecksumMismatchError, match="stored other bytes"):
            await session.object("s3://bucket/a").put(b"a")
        scripted.will(Reply(200))
        with pytest.raises(dream.ServiceError, match="without ETag"):
            await session.object("s3://bucket/a").put(b"a")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>Welcome to the hotel's network</html>", {"Content-Type": "text/html"}),
        Reply(200, b"<ListBucketResult><Contents><Key>a</K"),
        Reply(200, b"\xff\xfe\x00"),
    ],
    ids=["html", "truncated", "bytes"],
)
async def test_a_listing_that_is_no_listing_is_an_error(scripted: ScriptedServer, reply: Reply) -> None:
    scripted.will(reply)
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.bucket("bucket").list().collect()
    assert (caught.value.code, caught.value.status) == ("UnreadableReply", 200)
    assert len(scripted.received) == 1


@pytest.mark.parametrize(
    ("code", "kind", "requests"),
    [
        ("InternalError", dream.ServiceBusyError, 4),
        ("SlowDown", dream.ServiceBusyError, 4),
        ("AccessDenied", dream.AccessDeniedError, 1),
        ("InvalidArgument", dream.InvalidRequestError, 1),
        ("Novelty", dream.ServiceError, 1),
    ],
)
async def test_an_error_inside_a_200_is_that_error(
    scripted: ScriptedServer, code: str, kind: type[dream.ServiceError], requests: int
) -> None:
    scripted.will(Reply(200, f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode()))
    async with scripted.session() as session:
        with pytest.raises(kind) as caught:
            await session.bucket("bucket").list().collect()
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status) == (code, 200)
    assert len(scripted.received) == requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_and_nothing_follows_it(scripted: ScriptedServer, status: int) -> None:
    async with ScriptedServer() as elsewhere:
        elsewhere.will(Reply(200))
        headers = {"Location": f"{elsewhere.endpoint}/bucket/a?X-Amz-Signature=abc"}
        body = b"<Error><Code>TemporaryRedirect</Code><Message>go</Message></Error>"
        scripted.will(Reply(status, body, headers))
        async with scripted.session(session_token="canary") as session:
            for verb in (session.object("s3://bucket/a").read, session.bucket("bucket").list().collect):
                with pytest.raises(dream.ServiceError, match=f"127.0.0.1:{elsewhere.port}") as caught:
                    await verb()
                assert "abc" not in str(caught.value)
        assert elsewhere.connections == 0


async def test_a_listing_that_does_not_get_on_is_an_error(scripted: ScriptedServer) -> None:
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"<Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>"
    )
    scripted.will(Reply(200, page))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="does not advance"):
            await session.bucket("bucket").list().collect()
        scripted.will(Reply(200, page.replace(b"<NextContinuationToken>t</NextContinuationToken>", b"")))
        with pytest.raises(dream.ServiceError, match="without the marker of the next one"):
            await session.bucket("bucket").list().collect()


@pytest.mark.parametrize(
    "body",
    [
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>many</Size></Contents></ListBucketResult>",
        b"",
    ],
    ids=["no key", "no end", "no number", "nothing"],
)
async def test_a_listing_that_lacks_what_it_must_have_is_an_error(scripted: ScriptedServer, body: bytes) -> None:
    scripted.will(Reply(200, body))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.bucket("bucket").list().collect()
    assert caught.value.code == "UnreadableReply"


async def test_a_reply_with_impossible_headers_is_an_error(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"x", {"ETag": '"a"', "Last-Modified": "yesterday"}))
    async with scripted.session() as session:
        for verb in (session.object("s3://bucket/a").head(), session.object("s3://bucket/a").read()):
            with pytest.raises(dream.ServiceError) as caught:
                await verb
            assert caught.value.code == "UnreadableReply"


async def test_a_cancelled_read_loses_no_bytes(scripted: ScriptedServer) -> None:
    hold = asyncio.Event()
    told = {"ETag": '"opaque-1"'}
    scripted.will(Reply(200, CONTENT[:700_00], told, length=len(CONTENT), hold=hold), Content(CONTENT, "opaque-1"))
    async with (
        scripted.session(timeouts=dream.Timeouts(read=30)) as session,
        session.object("s3://b-1/a").get() as body,
    ):
        assert await body.read(10) == CONTENT[:10]
        for n in (100_000, -1, 200_000):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(body.read(n), 0.05)
        hold.set()
        assert await body.read() == CONTENT[10:]


async def test_a_listing_that_leads_in_a_circle_is_an_error(scripted: ScriptedServer) -> None:
    pages = [
        Reply(
            200,
            f"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
            f"<Contents><Key>a</Key></Contents></ListBucketResult>".encode(),
        )
        for token in "ABC"
    ]
    scripted.will(*pages * 20)
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="does not advance"):
            await session.bucket("bucket").list().collect()
    assert len(scripted.received) < 20


async def test_a_listing_without_an_end_is_cut(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"<ListBucketResult>" + b"<Contents></Contents>" * (2 << 20)))
    async with scripted.session() as session:
        with pytest.raises(dream.ConnectionFailedError, match="document of over"):
            await session.bucket("bucket").list().collect()


async def test_a_listing_that_crawls_is_cut(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"<ListBucketResult>" + b"<Contents></Contents>" * 1000))
    scripted.drip(bytes_per_step=10, seconds_between=0.05)
    timeouts = dream.Timeouts(connect=10, read=1, low_speed=10_000)
    async with scripted.session(timeouts=timeouts, retry=dream.Retry(attempts=1)) as session:
        with pytest.raises(dream.ConnectionFailedError, match="crawls"):
            await session.bucket("bucket").list().collect()


@pytest.mark.parametrize("document", [b"no json", b"[1]"])
async def test_a_policy_that_is_none_is_an_error(scripted: ScriptedServer, document: bytes) -> None:
    scripted.will(Reply(200, document))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.bucket("bucket").policy()
    assert caught.value.code == "UnreadableReply"


async def test_an_acl_without_an_owner_is_an_error(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"<AccessControlPolicy></AccessControlPolicy>"))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="without Owner/ID"):
            await session.bucket("bucket").acl()
