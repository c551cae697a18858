"""Replies that are no answer: an error of ours, and never a success that is none."""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest
from conftest import Server, new_name
from servers.scripted import Raw, Reply, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import ReadOptions, WriteOptions
from aiodreamobjects._s3.values import Part

Verb = Callable[[dream.Session], Coroutine[object, object, object]]

QUIET_VERBS: dict[str, Verb] = {
    "put": lambda session: session.object("s3://bucket/a").put(b"a"),
    "delete": lambda session: session.object("s3://bucket/a").delete(),
    "set_acl": lambda session: session.object("s3://bucket/a").set_acl("private"),
    "bucket.set_acl": lambda session: session.bucket("bucket").set_acl("private"),
    "abort": lambda session: session._runtime.s3.abort_upload(Address("bucket", "a"), "u"),
}


@pytest.mark.parametrize("verb", QUIET_VERBS.values(), ids=QUIET_VERBS)
@pytest.mark.parametrize(
    ("code", "kind", "requests"),
    [("AccessDenied", dream.AccessDeniedError, 1), ("InternalError", dream.ServiceBusyError, 4)],
)
async def test_an_error_in_a_200_that_should_say_nothing_is_that_error(
    scripted: ScriptedServer, verb: Verb, code: str, kind: type[dream.ServiceError], requests: int
) -> None:
    document = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>scripted</Message></Error>'
    scripted.will(Reply(200, document.encode()))
    async with scripted.session() as session:
        with pytest.raises(kind):
            await verb(session)
    assert len(scripted.received) == requests


@pytest.mark.parametrize("verb", QUIET_VERBS.values(), ids=QUIET_VERBS)
async def test_a_login_page_is_no_success(scripted: ScriptedServer, verb: Verb) -> None:
    scripted.will(Reply(200, b"\n<html><body>Welcome</body></html>", {"ETag": '"opaque-1"'}))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError):
            await verb(session)


ETAG = {"ETag": '"opaque-1"'}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>Welcome</html>", {"Content-Type": "text/html"}),
        Reply(206, b"abcd", ETAG),
        Reply(200, b"abcd", {**ETAG, "Content-Range": "bytes 0-3"}),
        Reply(203, b"abcd", ETAG),
        Reply(204, b"", ETAG),
        Raw(b'HTTP/1.1 200 OK\r\nETag: "opaque-1"\r\n\r\nabcd'),
        Reply(206, b"abcd", {**ETAG, "Content-Range": "bytes 0-3/²"}),
        Reply(206, b"abcd", {**ETAG, "Content-Range": f"bytes 0-3/{'9' * 5000}"}),
        Reply(206, b"abcd", {**ETAG, "Content-Range": "items 0-3/4"}),
        Reply(200, b"abcd", {**ETAG, "Last-Modified": "Sun, 99 Nov 1994 08:49:37"}),
    ],
)
async def test_a_reply_that_is_no_object_is_none(scripted: ScriptedServer, reply: Reply | Raw) -> None:
    scripted.will(reply)
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.object("s3://bucket/a").read()
        assert caught.value.code == "UnreadableReply"
        assert session.statistics().open_connections <= 1
        scripted.will(Reply(200, b"fine", ETAG))
        assert await session.object("s3://bucket/a").read() == b"fine"


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 09:49:37 +0100",
    ],
)
async def test_a_date_is_read_in_each_form_that_http_has(scripted: ScriptedServer, date: str) -> None:
    scripted.will(Reply(200, headers={**ETAG, "Last-Modified": date}))
    async with scripted.session() as session:
        info = await session.object("s3://bucket/a").head()
    assert info.last_modified is not None
    assert info.last_modified.isoformat() == "1994-11-06T08:49:37+00:00"


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "²"}, {"Location": "http://[bad"}, {"Date": "never"}, {"Retry-After": "9" * 400}],
    ids=lambda headers: next(iter(headers)),
)
async def test_odd_headers_of_a_refusal_do_not_hide_it(scripted: ScriptedServer, headers: dict[str, str]) -> None:
    scripted.will(Reply(301, b"<Error><Code>PermanentRedirect</Code></Error>", headers))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.object("s3://bucket/a").delete()
    assert caught.value.code == "PermanentRedirect"


@pytest.mark.parametrize(
    "entry",
    [
        "<Key>a</Key><LastModified>0001-01-01T00:00:00+23:00</LastModified>",
        f"<Key>a</Key><Size>{'9' * 5000}</Size>",
        "<Key>a</Key><Size>-1</Size>",
    ],
)
async def test_an_impossible_entry_makes_a_page_unreadable(scripted: ScriptedServer, entry: str) -> None:
    scripted.will(
        Reply(200, f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents>{entry}</Contents></ListBucketResult>".encode())
    )  # fmt: skip
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.bucket("bucket").list().collect()
    assert caught.value.code == "UnreadableReply"


async def test_keys_that_were_not_asked_for_are_not_listed(scripted: ScriptedServer) -> None:
    scripted.will(
        Reply(200, b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>b/1</Key></Contents></ListBucketResult>")
    )  # fmt: skip
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="which does not start with 'a/'"):
            await session.bucket("bucket").list("a/").collect()


async def test_a_body_whose_etag_cannot_be_pinned_is_not_taken_up(scripted: ScriptedServer) -> None:
    odd = {"ETag": '"\t odd"'}
    scripted.will(Reply(200, b"half", odd, length=200_000))
    async with scripted.session() as session:
        with pytest.raises(dream.IncompleteBodyError):
            await session.object("s3://bucket/a").read()


async def test_trouble_is_tried_again_on_another_connection() -> None:
    async with ScriptedServer() as service:
        service.will(error(503, "ServiceUnavailable"), error(500, "InternalError"), Reply(200))
        async with service.session() as session:
            await session.object("s3://bucket/a").delete()
    assert service.connections == 3


COMPLETED = b"<CompleteMultipartUploadResult><ETag>&quot;opaque-2&quot;</ETag></CompleteMultipartUploadResult>"


async def test_blanks_keep_a_slow_completion_alive(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b" " * 30 + b'<?xml version="1.0"?>' + COMPLETED))
    scripted.drip(bytes_per_step=1, seconds_between=0.02)
    timeouts = dream.Timeouts(connect=10, read=1, low_speed=10_000)
    async with scripted.session(timeouts=timeouts, retry=dream.Retry(attempts=1)) as session:
        s3 = session._runtime.s3
        info = await s3.complete_upload(Address("bucket", "a"), "u", [Part(1, "e")], WriteOptions())
    assert info.etag == "opaque-2"


@pytest.mark.parametrize(
    "document", [b"", b"   ", b"<html/>", COMPLETED[:40], b"<Other/>", COMPLETED.replace(b"ETag", b"Tag")]
)
async def test_a_completion_is_one_only_with_an_etag(scripted: ScriptedServer, document: bytes) -> None:
    scripted.will(Reply(200, document))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError):
            await session._runtime.s3.complete_upload(Address("bucket", "a"), "u", [Part(1, "e")], WriteOptions())


async def test_an_upload_without_an_id_was_not_begun(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"<InitiateMultipartUploadResult><UploadId></UploadId></InitiateMultipartUploadResult>"))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="without UploadId"):
            await session._runtime.s3.create_upload(Address("bucket", "a"), WriteOptions())


async def test_a_pinned_source_that_changed_is_no_object_that_exists(scripted: ScriptedServer) -> None:
    scripted.will(error(412, "PreconditionFailed"))
    async with scripted.session() as session:
        with pytest.raises(dream.PreconditionFailedError):
            await session._runtime.s3.copy_object(
                *(Address("bucket", "a"), Address("bucket", "b"), WriteOptions(if_absent=True)),
                reads=ReadOptions(if_match="e"),
            )


async def test_a_conflict_is_looked_into_once_more(scripted: ScriptedServer) -> None:
    etag = hashlib.md5(b"a").hexdigest()
    scripted.will(error(409, "ConditionalRequestConflict"), Reply(200, headers={"ETag": f'"{etag}"'}))
    async with scripted.session() as session:
        assert (await session.object("s3://bucket/a").put(b"a", if_absent=True)).etag == etag


async def test_nothing_a_server_says_becomes_a_header(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"))
    source = Address("bucket", "a")
    async with scripted.session() as session:
        s3 = session._runtime.s3
        await s3.copy_object(source, source, WriteOptions(), reads=ReadOptions(version_id="v&x=1#"))
        with pytest.raises(ValueError, match="printable US-ASCII"):
            ReadOptions(version_id="v1\r\nx-evil: 1")
        for request in scripted.received:
            assert "x-evil" not in request.headers
            assert "\r" not in request.headers["x-amz-copy-source"]
        with pytest.raises(ValueError, match="header"):
            await s3.copy_object(source, source, WriteOptions(), reads=ReadOptions(if_match="e\r\nx-evil: 1"))


async def test_no_secret_is_in_the_locals_of_a_traceback() -> None:
    async with ScriptedServer() as service:
        service.will(Raw())
        async with service.session(secret_key="CANARY-secret", session_token="CANARY-token") as session:
            with pytest.raises(dream.ConnectionFailedError) as caught:
                await session.object("s3://bucket/a").put(b"x")
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "_attempt" in text
    assert service.received[0].headers["authorization"].rpartition("=")[2] not in text
    assert "CANARY" not in text


async def test_buckets_are_addressed_by_host_with_the_old_signature_too(
    gateway_virtual: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No resolver knows the gateway's domain: the loop's is told of it."""
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def to_loopback(host: str, port: int, **options: object) -> object:
        return await resolve("127.0.0.1" if host.endswith("s3.localhost") else host, port, **options)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(loop, "getaddrinfo", to_loopback)
    for signature in ("v4", "v2"):
        service = replace(gateway_virtual.service, signature=signature)
        async with replace(gateway_virtual, service=service).session() as session:
            bucket = await session.create_bucket(new_name())
            await bucket.object("a b/ü+").put("x")
            assert await bucket.object("a b/ü+").read() == b"x"
            assert [info.key async for info in bucket.list()] == ["a b/ü+"]
            assert len(await bucket.list_versions().collect()) == 1
            assert await bucket.uploads().collect() == []
            assert await bucket.delete_many(["a b/ü+"]) == dream.BulkReport(1, 0)
            await bucket.delete()
