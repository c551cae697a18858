"""Bulk deletion where some keys fail, some requests fail, and replies lie. The books balance."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import pytest
from servers.scripted import Raw, Reply, ScriptedServer, Silence, error

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
async def test_a_key_that_the_reply_does_not_name_is_not_done(scripted: ScriptedServer, reply: Reply) -> None:
    scripted.will(reply)
    async with scripted.session() as session:
        report = await session.bucket("bucket").delete_many(["a"], on_error="collect")
    assert (report.done, report.failed) == (0, 1)
    assert "does not say what became of it" in str(report.failures[0].error)


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
    )
    async with scripted.session() as session:
        with pytest.raises(dream.BulkError) as caught:
            await session.bucket("bucket").delete(force=True)
    assert caught.value.report.failures[0].version_id == "v"
    assert len(scripted.received) == 3
