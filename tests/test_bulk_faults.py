"""Bulk verbs where some keys fail, some requests fail, and replies lie. The books balance."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from invariants import tasks_of_the_client
from servers.scripted import Raw, Received, Reply, ScriptedServer, Silence, Step, error

import aiodreamobjects as dream


def result(*lines: str) -> Reply:
    return Reply(200, f"<DeleteResult>{''.join(lines)}</DeleteResult>".encode())


def deleted(key: str) -> str:
    return f"<Deleted><Key>{key}</Key></Deleted>"


def failed(key: str, code: str) -> str:
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>scripted</Message></Error>"


def keys_sent(scripted: ScriptedServer) -> list[list[str]]:
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    return [
        [element.text or "" for element in ET.fromstring(request.body).iter(f"{space}Key")]
        for request in scripted.received
    ]


def uploads(*keys: str, initiated: str = "2026-01-01T00:00:00.000Z") -> Reply:
    listed = "".join(
        f"<Upload><Key>{key}</Key><UploadId>u</UploadId><Initiated>{initiated}</Initiated></Upload>" for key in keys
    )
    page = f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{listed}</ListMultipartUploadsResult>"
    return Reply(200, page.encode())


def is_bulk_deletion(request: Received) -> bool:
    return request.method == "POST" and request.target.partition("?")[2].startswith("delete")


async def arrivals(scripted: ScriptedServer, count: int) -> None:
    """Wait until so many requests have arrived."""
    while len(scripted.received) < count:
        scripted.arrived.clear()
        await scripted.arrived.wait()


async def test_a_failing_key_fails_alone(scripted: ScriptedServer) -> None:
    scripted.will(result(deleted("a"), failed("b", "AccessDenied"), deleted("c")))
    async with scripted.session() as session:
        with pytest.raises(dream.BulkError, match="1 of 3 keys of s3://bucket could not be deleted") as caught:
            await session.bucket("bucket").delete_many(["a", "b", "c"])
    report = caught.value.report
    assert (report.done, report.failed) == (2, 1)
    (failure,) = report.failures
    assert (failure.key, failure.version_id) == ("b", None)
    assert isinstance(failure.error, dream.AccessDeniedError)
    assert caught.value.exceptions == (failure.error,)
    assert len(scripted.received) == 1


async def test_failures_can_be_collected(scripted: ScriptedServer) -> None:
    scripted.will(result(deleted("a"), failed("b", "AccessDenied")))
    async with scripted.session() as session:
        report = await session.bucket("bucket").delete_many(["a", "b"], on_error="collect")
    assert (report.done, report.failed) == (1, 1)


async def test_a_key_that_fails_for_a_passing_reason_is_tried_again(scripted: ScriptedServer) -> None:
    scripted.will(
        result(deleted("a"), failed("b", "InternalError"), failed("c", "SlowDown")),
        result(deleted("b"), failed("c", "InternalError")),
        result(deleted("c")),
    )
    async with scripted.session() as session:
        assert await session.bucket("bucket").delete_many(["a", "b", "c"]) == dream.BulkReport(3, 0)
    assert keys_sent(scripted) == [["a", "b", "c"], ["b", "c"], ["c"]]


async def test_a_key_that_fails_for_ever_is_reported_at_last(scripted: ScriptedServer) -> None:
    scripted.will(result(failed("a", "InternalError")))
    async with scripted.session() as session:
        report = await session.bucket("bucket").delete_many(["a"], on_error="collect")
    assert (report.done, report.failed) == (0, 1)
    assert isinstance(report.failures[0].error, dream.ServiceBusyError)
    assert len(scripted.received) == 4


@pytest.mark.parametrize("reply", [result(), result(deleted("other")), Reply(200)], ids=["none", "another", "empty"])
async def test_a_key_that_the_reply_does_not_name_is_deleted_by_itself(scripted: ScriptedServer, reply: Reply) -> None:
    scripted.will(reply, error(403, "AccessDenied"), reply, Reply(204))
    async with scripted.session() as session:
        report = await session.bucket("bucket").delete_many(["a"], on_error="collect")
        assert (report.done, report.failed) == (0, 1)
        assert isinstance(report.failures[0].error, dream.AccessDeniedError)
        assert (await session.bucket("bucket").delete_many(["a"])).done == 1
    assert scripted.requests == ["POST /bucket?delete=", "DELETE /bucket/a"] * 2


async def test_a_reply_that_names_a_key_twice_counts_it_once(scripted: ScriptedServer) -> None:
    scripted.will(result(deleted("a"), deleted("a")))
    async with scripted.session() as session:
        assert await session.bucket("bucket").delete_many(["a"]) == dream.BulkReport(1, 0)


async def test_a_lost_reply_is_asked_for_again(scripted: ScriptedServer) -> None:
    scripted.will(Raw(), result(deleted("a")))
    async with scripted.session() as session:
        assert await session.bucket("bucket").delete_many(["a"]) == dream.BulkReport(1, 0)


async def test_what_fails_a_whole_request_is_raised_and_says_how_far_it_got(scripted: ScriptedServer) -> None:
    batch = [f"{n:04}" for n in range(1000)]
    scripted.will(result(*map(deleted, batch)), error(404, "NoSuchBucket"))
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        with pytest.raises(dream.NotFoundError) as caught:
            await session.bucket("bucket").delete_many([*batch, "last"])
    assert caught.value.__notes__ == ["1,000 keys of s3://bucket were deleted, 0 failed"]
    assert len(scripted.received) == 2


async def test_the_source_is_read_no_faster_than_requests_end(scripted: ScriptedServer) -> None:
    scripted.will(Silence())
    read = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"key-{read}"

    async with scripted.session(
        limits=dream.Limits(requests=3), timeouts=dream.Timeouts(read=30), retry=dream.Retry(attempts=1)
    ) as session:
        deleting = asyncio.create_task(session.bucket("bucket").delete_many(endless()))
        while len(scripted.received) < 3:
            scripted.arrived.clear()
            await scripted.arrived.wait()
        assert read == 3000
        deleting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deleting
    assert read == 3000


async def test_a_bucket_that_is_filled_meanwhile_is_emptied_again(scripted: ScriptedServer) -> None:
    no_uploads = Reply(
        200, b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
    )
    no_versions = Reply(200, b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
    round_of_three = [no_uploads, no_versions, error(409, "BucketNotEmpty")]
    scripted.will(*round_of_three, no_uploads, no_versions, Reply(204))
    async with scripted.session() as session:
        await session.bucket("bucket").delete(force=True)
        assert len(scripted.received) == 6
        scripted.will(*round_of_three * 3)
        with pytest.raises(dream.BucketNotEmptyError):
            await session.bucket("bucket").delete(force=True)
        assert len(scripted.received) == 9


async def test_an_upload_that_ends_meanwhile_is_no_obstacle(scripted: ScriptedServer) -> None:
    scripted.will(
        Reply(
            200,
            b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>a</Key><UploadId>u</UploadId>"
            b"</Upload></ListMultipartUploadsResult>",
        ),
        error(404, "NoSuchUpload"),
        Reply(200, b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>"),
        Reply(204),
    )
    async with scripted.session() as session:
        await session.bucket("bucket").delete(force=True)
    assert scripted.requests[1] == "DELETE /bucket/a?uploadId=u"


async def test_an_upload_that_will_not_go_is_one_error_and_no_group(scripted: ScriptedServer) -> None:
    uploads = "".join(f"<Upload><Key>{n}</Key><UploadId>u</UploadId></Upload>" for n in range(20))
    page = f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"
    scripted.will(Reply(200, page.encode()), error(403, "AccessDenied"))
    async with scripted.session() as session:
        with pytest.raises(dream.AccessDeniedError):
            await session.bucket("bucket").delete(force=True)


async def test_versions_that_will_not_go_stop_the_deletion_of_the_bucket(scripted: ScriptedServer) -> None:
    scripted.will(
        Reply(200, b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"),
        Reply(
            200,
            b"<ListVersionsResult><IsTruncated>false</IsTruncated><Version><Key>a</Key><VersionId>v</VersionId>"
            b"</Version></ListVersionsResult>",
        ),
        result("<Error><Key>a</Key><VersionId>v</VersionId><Code>AccessDenied</Code><Message>locked</Message></Error>"),
        error(403, "AccessDenied"),  # alone, to find out whether a lock is why: the HEAD after it is refused as well
    )
    async with scripted.session() as session:
        with pytest.raises(dream.BulkError) as caught:
            await session.bucket("bucket").delete(force=True)
    assert caught.value.report.failures[0].version_id == "v"
    assert [request.method for request in scripted.received] == ["GET", "GET", "POST", "DELETE", "HEAD"]


# A service without DeleteObjects


def without_delete_objects(refusal: Reply) -> Step:
    return lambda request: refusal if is_bulk_deletion(request) else Reply(204)


REFUSALS = [
    pytest.param(error(501, "NotImplemented"), id="501"),
    pytest.param(error(405, "MethodNotAllowed"), id="405"),
    pytest.param(Reply(501), id="501 without a word"),
    pytest.param(Reply(405), id="405 without a word"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_where_keys_cannot_go_together_they_go_one_by_one(scripted: ScriptedServer, refusal: Reply) -> None:
    scripted.will(without_delete_objects(refusal))
    keys: list[dream.KeySource] = ["a", "b", ("c", "v1"), "d e", "a"]
    async with scripted.session() as session:
        assert await session.bucket("bucket").delete_many(keys) == dream.BulkReport(done=5, failed=0)
    assert scripted.requests[0].startswith("POST /bucket?delete")
    assert sorted(scripted.requests[1:]) == [
        "DELETE /bucket/a",
        "DELETE /bucket/a",
        "DELETE /bucket/b",
        "DELETE /bucket/c?versionId=v1",
        "DELETE /bucket/d%20e",
    ]


@pytest.mark.parametrize("requests", [1, 2])
async def test_a_call_asks_but_once_for_each_batch_at_once_whether_keys_can_go_together(requests: int) -> None:
    keys = [f"{number:04}" for number in range(2010)]
    async with ScriptedServer() as scripted, scripted.session(limits=dream.Limits(requests=requests)) as session:
        scripted.will(without_delete_objects(error(501, "NotImplemented")))
        assert (await session.bucket("bucket").delete_many(keys)).done == 2010
        assert 1 <= sum(map(is_bulk_deletion, scripted.received)) <= requests
        alone = [request.target for request in scripted.received if not is_bulk_deletion(request)]
        assert sorted(alone) == [f"/bucket/{key}" for key in keys]


async def test_a_service_that_is_known_not_to_take_keys_together_is_not_asked(scripted: ScriptedServer) -> None:
    scripted.will(Reply(204))
    service = dream.Service("S3", scripted.endpoint, unsupported={"delete_objects": "there is none"})
    async with scripted.session(endpoint=None, service=service) as session:
        assert await session.bucket("bucket").delete_many(["a", "b"]) == dream.BulkReport(done=2, failed=0)
    assert sorted(scripted.requests) == ["DELETE /bucket/a", "DELETE /bucket/b"]


async def test_keys_that_go_one_by_one_fail_one_by_one(scripted: ScriptedServer) -> None:
    answers = {"b": error(403, "AccessDenied"), "c": error(500, "InternalError"), "d": error(404, "NoSuchKey")}

    def answer(request: Received) -> Reply:
        if is_bulk_deletion(request):
            return error(501, "NotImplemented")
        return answers.get(request.target.removeprefix("/bucket/"), Reply(204))

    scripted.will(answer)
    async with scripted.session() as session:
        report = await session.bucket("bucket").delete_many(["a", "b", "c", "d", "e"], on_error="collect")
    assert (report.done, report.failed) == (3, 2)
    assert {failure.key: type(failure.error) for failure in report.failures} == {
        "b": dream.AccessDeniedError,
        "c": dream.ServiceBusyError,
    }


async def test_keys_that_go_one_by_one_stop_at_what_fails_them_all(scripted: ScriptedServer) -> None:
    scripted.will(error(501, "NotImplemented"), Reply(204), error(404, "NoSuchBucket"))
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        with pytest.raises(dream.NotFoundError) as caught:
            await session.bucket("bucket").delete_many([f"{number:04}" for number in range(1500)])
    assert caught.value.code == "NoSuchBucket"
    assert caught.value.__notes__ == ["1 keys of s3://bucket were deleted, 0 failed"]
    assert len(scripted.received) < 20


async def test_a_service_that_stops_taking_keys_together_midway_counts_no_key_twice(scripted: ScriptedServer) -> None:
    scripted.will(result(deleted("a"), failed("b", "InternalError")), error(501, "NotImplemented"), Reply(204))
    async with scripted.session() as session:
        assert await session.bucket("bucket").delete_many(["a", "b"]) == dream.BulkReport(done=2, failed=0)


# Keys that XML cannot carry

UNFIT = ["a\x07b", "\x01", "c\rd", "\ufffe", "e\x0b"]


async def test_keys_that_xml_cannot_carry_go_by_themselves(scripted: ScriptedServer) -> None:
    fit = ["plain", "tab\tand\nline", "<&>", "🎉"]

    def answer(request: Received) -> Reply:
        if not is_bulk_deletion(request):
            return Reply(204)
        (sent,) = keys_of(request)
        return result(*(f"<Deleted><Key>{key}</Key></Deleted>" for key in map(escaped, sent)))

    scripted.will(answer)
    async with scripted.session() as session:
        assert await session.bucket("bucket").delete_many([*UNFIT, *fit]) == dream.BulkReport(done=9, failed=0)
    together = [request for request in scripted.received if is_bulk_deletion(request)]
    assert [keys_of(request) for request in together] == [[fit]]
    alone = [unquote(request.target.removeprefix("/bucket/")) for request in scripted.received[1:]]
    assert sorted(alone) == sorted(UNFIT)


async def test_of_keys_that_xml_cannot_carry_alone_no_document_is_made(scripted: ScriptedServer) -> None:
    scripted.will(Reply(204))
    versions: list[dream.KeySource] = [(key, "v/1") for key in UNFIT]
    async with scripted.session() as session:
        assert (await session.bucket("bucket").delete_many(versions)).done == len(UNFIT)
    assert {request.method for request in scripted.received} == {"DELETE"}
    assert all(request.target.endswith("?versionId=v%2F1") for request in scripted.received)


def keys_of(request: Received) -> list[list[str]]:
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    return [[element.text or "" for element in ET.fromstring(request.body).iter(f"{space}Key")]]


def escaped(key: str) -> str:
    return key.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "&#xA;").replace("\t", "&#x9;")


# Sources that raise, and sources without an end


Verb = Callable[[dream.Bucket, Any], Coroutine[object, object, dream.BulkReport]]


async def deleting(bucket: dream.Bucket, keys: Any) -> dream.BulkReport:
    return await bucket.delete_many(keys)


async def setting_acls(bucket: dream.Bucket, keys: Any) -> dream.BulkReport:
    return await bucket.set_acl_many(keys, "private")


def sync_source(keys: list[str], error: BaseException) -> Iterator[str]:
    yield from keys
    raise error


async def async_source(keys: list[str], error: BaseException) -> AsyncIterator[str]:
    for key in keys:
        yield key
    raise error


def every_key_is_done(request: Received) -> Reply:
    return result(*map(deleted, keys_of(request)[0])) if is_bulk_deletion(request) else Reply(200)


@pytest.mark.parametrize("verb", [deleting, setting_acls])
@pytest.mark.parametrize("source", [sync_source, async_source])
async def test_a_source_that_raises_midway_is_raised_when_what_was_begun_has_ended(
    scripted: ScriptedServer, verb: Verb, source: Any
) -> None:
    scripted.will(every_key_is_done)
    keys = [f"{number:04}" for number in range(1010 if verb is deleting else 40)]
    problem = LookupError("no more keys")
    async with scripted.session(limits=dream.Limits(requests=4)) as session:
        before = tasks_of_the_client()
        with pytest.raises(LookupError) as caught:
            await verb(session.bucket("bucket"), source(keys, problem))
        assert tasks_of_the_client() == before
    assert caught.value is problem
    done = "1,000 keys of s3://bucket were deleted" if verb is deleting else "40 keys of s3://bucket were given the ACL"
    assert problem.__notes__ == [f"{done}, 0 failed"]


async def test_an_endless_source_is_read_as_far_as_requests_have_ended(scripted: ScriptedServer) -> None:
    """Of ACLs each request takes one key."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"key-{read}"

    hold = asyncio.Event()
    scripted.will(*[Reply(200)] * 10, Reply(200, b" ", length=2, hold=hold))
    async with scripted.session(limits=dream.Limits(requests=3), retry=dream.Retry(attempts=1)) as session:
        task = asyncio.create_task(session.bucket("bucket").set_acl_many(endless(), "private"))
        await arrivals(scripted, 13)
        assert read == 13
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert read == 13
    hold.set()


# Failures without number


async def test_failures_are_counted_beyond_the_first_thousand_that_are_kept(scripted: ScriptedServer) -> None:
    scripted.will(lambda request: result(*(failed(key, "AccessDenied") for key in keys_of(request)[0])))
    keys = [f"{number:04}" for number in range(2500)]
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        with pytest.raises(dream.BulkError, match="2,500 of 2,500 keys") as caught:
            await session.bucket("bucket").delete_many(keys)
    report = caught.value.report
    assert (report.done, report.failed, len(report.failures)) == (0, 2500, 1000)
    assert [failure.key for failure in report.failures] == keys[:1000]
    assert caught.value.exceptions == tuple(failure.error for failure in report.failures)


async def test_acls_that_fail_are_counted_as_well() -> None:
    async with ScriptedServer() as scripted, scripted.session() as session:
        scripted.will(error(403, "AccessDenied"))
        report = await session.bucket("bucket").set_acl_many(map(str, range(1100)), "private", on_error="collect")
        assert (report.done, report.failed, len(report.failures)) == (0, 1100, 1000)
        assert len(scripted.received) == 1100


# What fails one request and would fail every other


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(404, "NoSuchBucket"), dream.NotFoundError),
        (error(403, "InvalidAccessKeyId"), dream.AccessDeniedError),
        (error(403, "SignatureDoesNotMatch"), dream.AccessDeniedError),
        (error(400, "ExpiredToken"), dream.AccessDeniedError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_what_would_fail_every_key_stops_the_acls_as_itself(
    scripted: ScriptedServer, reply: Reply, kind: type[dream.ServiceError]
) -> None:
    scripted.will(*[Reply(200)] * 5, error(403, "AccessDenied"), reply, Reply(200))
    async with scripted.session(limits=dream.Limits(requests=4)) as session:
        with pytest.raises(kind) as caught:
            await session.bucket("bucket").set_acl_many(map(str, itertools.count()), "private", on_error="collect")
    assert type(caught.value) is kind
    told = caught.value.__notes__
    assert len(told) == 1
    assert told[0].endswith("keys of s3://bucket were given the ACL, 1 failed")
    done = int(told[0].split()[0])
    assert len(scripted.received) == done + 2
    assert 5 <= done <= 8  # what was under way was let end


async def test_no_connection_stops_the_acls_as_itself(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200), Raw())
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await session.bucket("bucket").set_acl_many(["a", "b", "c"], "private", on_error="collect")
    assert "1 keys of s3://bucket were given the ACL, 0 failed" in caught.value.__notes__
    assert not any("/bucket/c" in request for request in scripted.requests)


# Uploads


async def test_the_age_of_uploads_is_told_by_the_services_clock(scripted: ScriptedServer) -> None:
    now = datetime.now(UTC)
    old, young = ((now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.000Z") for hours in (25, 23))
    page = "".join(
        f"<Upload><Key>{key}</Key><UploadId>u</UploadId>{initiated}</Upload>"
        for key, initiated in (
            ("old", f"<Initiated>{old}</Initiated>"),
            ("young", f"<Initiated>{young}</Initiated>"),
            ("untold", ""),
        )
    )
    listing = Reply(
        200, f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{page}</ListMultipartUploadsResult>".encode()
    )
    async with scripted.session() as session:
        bucket = session.bucket("bucket")
        scripted.will(listing, Reply(204))
        assert await bucket.abort_uploads(timedelta(days=1)) == dream.BulkReport(done=1, failed=0)
        assert scripted.requests[1:] == ["DELETE /bucket/old?uploadId=u"]
        scripted.will(listing, Reply(204))
        assert await bucket.abort_uploads(timedelta(0)) == dream.BulkReport(done=3, failed=0)


async def test_uploads_that_will_not_go_fail_alone(scripted: ScriptedServer) -> None:
    answers = {"b": error(403, "AccessDenied"), "c": error(404, "NoSuchUpload")}

    def answer(request: Received) -> Reply:
        if request.method == "GET":
            return uploads("a", "b", "c")
        return answers.get(request.target[len("/bucket/") :].partition("?")[0], Reply(204))

    scripted.will(answer)
    async with scripted.session() as session:
        with pytest.raises(dream.BulkError, match="1 of 3 uploads of s3://bucket could not be aborted") as caught:
            await session.bucket("bucket").abort_uploads(timedelta(0))
        report = await session.bucket("bucket").abort_uploads(timedelta(0), on_error="collect")
    assert caught.value.report.done == report.done == 2
    (failure,) = report.failures
    assert (failure.key, failure.version_id) == ("b", None)


async def test_a_listing_of_uploads_that_fails_is_raised_as_itself(scripted: ScriptedServer) -> None:
    scripted.will(error(403, "AccessDenied"))
    async with scripted.session() as session:
        with pytest.raises(dream.AccessDeniedError):
            await session.bucket("bucket").abort_uploads(timedelta(0), on_error="collect")


# Cancelled midway


def first_page_then_silence(request: Received) -> Reply | Silence:
    """One page of whatever is listed, with another to come."""
    if request.method != "GET" or "marker" in request.target or "continuation" in request.target:
        return Silence()
    if "uploads" in request.target:
        items = "".join(f"<Upload><Key>{n}</Key><UploadId>u</UploadId></Upload>" for n in range(100))
        more = "<NextKeyMarker>99</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
        return page_of("ListMultipartUploadsResult", items, more)
    if "versions" in request.target:
        items = "".join(f"<Version><Key>{n:04}</Key><VersionId>v</VersionId></Version>" for n in range(1000))
        more = "<NextKeyMarker>0999</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>"
        return page_of("ListVersionsResult", items, more)
    items = "".join(f"<Contents><Key>{n:04}</Key></Contents>" for n in range(1000))
    more = "<NextContinuationToken>t</NextContinuationToken>"
    return page_of("ListBucketResult", items, more)


def page_of(kind: str, items: str, more: str) -> Reply:
    return Reply(200, f"<{kind}><IsTruncated>true</IsTruncated>{more}{items}</{kind}>".encode())


@pytest.mark.parametrize(
    ("verb", "arrived"),
    [
        pytest.param(lambda bucket: bucket.delete_many(map(str, itertools.count())), 4, id="delete_many"),
        pytest.param(lambda bucket: bucket.delete_many(bucket.list()), 3, id="delete_many of a listing"),
        pytest.param(lambda bucket: bucket.set_acl_many(map(str, itertools.count()), "private"), 4, id="set_acl_many"),
        pytest.param(lambda bucket: bucket.set_acl_many(bucket.list(), "private"), 4, id="set_acl_many of a listing"),
        pytest.param(lambda bucket: bucket.abort_uploads(timedelta(0)), 4, id="abort_uploads"),
        pytest.param(lambda bucket: bucket.empty(), 3, id="empty"),
        pytest.param(lambda bucket: bucket.delete(force=True), 4, id="delete"),
    ],
)
async def test_cancelled_midway_a_verb_has_ended_all_that_it_began(
    scripted: ScriptedServer, verb: Callable[[dream.Bucket], Coroutine[object, object, object]], arrived: int
) -> None:
    scripted.will(first_page_then_silence)
    async with scripted.session(
        limits=dream.Limits(requests=4), timeouts=dream.Timeouts(read=60), retry=dream.Retry(attempts=1)
    ) as session:
        before = tasks_of_the_client()
        task = asyncio.create_task(verb(session.bucket("bucket")))
        await arrivals(scripted, arrived)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tasks_of_the_client() == before
        scripted.will(Reply(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"))
        await asyncio.gather(*(session.bucket("bucket").list().collect() for _ in range(4)))
    assert len(scripted.received) == 4  # every place was free


@pytest.mark.parametrize("verb", [deleting, setting_acls])
async def test_stopped_by_an_error_a_verb_has_ended_the_listing_that_it_read(
    scripted: ScriptedServer, verb: Verb
) -> None:
    def answer(request: Received) -> Reply | Silence:
        return first_page_then_silence(request) if request.method == "GET" else error(404, "NoSuchBucket")

    scripted.will(answer)
    async with (
        scripted.session(limits=dream.Limits(requests=4), timeouts=dream.Timeouts(read=60)) as session,
        asyncio.timeout(5),
    ):
        before = tasks_of_the_client()
        with pytest.raises(dream.NotFoundError):
            await verb(session.bucket("bucket"), session.bucket("bucket").list())
        assert tasks_of_the_client() == before


@pytest.mark.parametrize("verb", [deleting, setting_acls])
async def test_a_source_that_is_not_read_to_its_end_is_closed_before_the_verb_ends(
    scripted: ScriptedServer, verb: Verb
) -> None:
    is_closed = False

    async def endless() -> AsyncIterator[str]:
        nonlocal is_closed
        try:
            for number in itertools.count():
                yield f"{number}"
        finally:
            await asyncio.sleep(0)
            is_closed = True

    scripted.will(error(404, "NoSuchBucket"))
    async with scripted.session() as session:
        with pytest.raises(dream.NotFoundError):
            await verb(session.bucket("bucket"), endless())
        assert is_closed


@pytest.mark.parametrize("verb", [deleting, setting_acls])
async def test_a_source_that_waits_for_ever_does_not_keep_an_error_back(scripted: ScriptedServer, verb: Verb) -> None:
    """As one that hands on what comes in by a queue."""
    is_told = asyncio.Event()

    async def patient() -> AsyncIterator[str]:
        for number in range(1000 if verb is deleting else 1):
            yield f"{number}"
        await is_told.wait()

    scripted.will(error(404, "NoSuchBucket"))
    async with scripted.session() as session, asyncio.timeout(10):
        with pytest.raises(dream.NotFoundError):
            await verb(session.bucket("bucket"), patient())
