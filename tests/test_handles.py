"""Multipart uploads whose parts come from anywhere: what is checked, what is lost, and what a session's end leaves."""

from __future__ import annotations

import asyncio
import gc
import io
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from etags import etag_of
from servers.faulty import FaultyServer, until
from servers.rules import Cut, Pause, Refuse, Rule, Say

import aiodreamobjects as dream

PART = 1000
DATA = random.Random(1).randbytes(2 * PART + 1)
LIMITS = dream.Limits(part_size=PART, memory=5 * PART)
FOR_EVER = None


async def put_all(upload: dream.MultipartUpload) -> list[dream.UploadedPart]:
    return [
        await upload.put_part(number, DATA[start : start + PART])
        for number, start in enumerate(range(0, len(DATA), PART), start=1)
    ]


# What is checked before anything is sent


async def test_impossible_parts_are_refused_before_anything_is_sent(faulty: FaultyServer, tmp_path: Path) -> None:
    async with faulty.session() as session:
        upload = session.object("s3://bucket/a").multipart("an-id")
        for number in (0, -1, 10_001, True, "1", 1.0):
            with pytest.raises(ValueError, match=r"part number .* must be from 1 to 10,000"):
                await upload.put_part(number, b"x")  # type: ignore[arg-type]  # that is the test
            with pytest.raises(ValueError, match=r"part number .* must be from 1 to 10,000"):
                upload.presign_part(number)  # type: ignore[arg-type]  # that is the test
        wrong: list[tuple[Any, str]] = [
            ([(1, "a"), (2, "b"), (1, "c")], "part 1 is given twice: a and c; choose one"),
            ([(0, "a")], "part number 0 must be from 1"),
            ([(1, "")], "the ETag of part 1 is empty"),
            ([(1, None)], "the ETag of part 1 is empty"),
            ([(1, "a\nb")], "printable US-ASCII"),
            ([1], "part 1 must be an UploadedPart, or a pair of number and ETag"),
            ([(1, "a", 3)], "must be an UploadedPart, or a pair"),
            ([], "the upload has no parts"),
        ]
        for parts, message in wrong:
            with pytest.raises(ValueError, match=message):
                await upload.complete(parts)
        for upload_id in ("", '""', "a\nb"):
            with pytest.raises(ValueError, match="upload_id"):
                session.object("s3://bucket/a").multipart(upload_id)
        with pytest.raises(ValueError, match="exclude each other"):
            await session.object("s3://bucket/a").start_upload(if_absent=True, if_match="x")
        with pytest.raises(TypeError, match="unknown option"):
            session.object("s3://bucket/a").multipart("id", resume=True)  # type: ignore[call-arg]  # that is the test
        with pytest.raises(IsADirectoryError):
            await upload.put_part(1, tmp_path)
        with pytest.raises(TypeError, match="put takes str, bytes"):
            await upload.put_part(1, 5)  # type: ignore[arg-type]  # that is the test
    assert faulty.ops == []


async def test_a_part_must_fit_into_the_service_and_into_the_memory(faulty: FaultyServer, tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(300)

    path = tmp_path / "large"
    path.write_bytes(bytes(6 * PART))
    rules = dream.MultipartRules(smallest_part=1, largest_part=7 * PART)
    service = replace(faulty.service, multipart=rules)
    async with faulty.session(service=service, limits=LIMITS) as session:
        upload = session.object("s3://bucket/a").multipart("an-id")
        for source in (path, io.BytesIO(bytes(6 * PART))):
            with pytest.raises(ValueError, match=r"has 6,000 bytes, more than Limits.memory=5,000: send smaller parts"):
                await upload.put_part(1, source)
        with pytest.raises(ValueError, match="the bytes has 7,001 bytes; this service allows at most 7,000 in a part"):
            await upload.put_part(1, bytes(7 * PART + 1))
        with pytest.raises(ValueError, match="an unknown length, and more than the 1,000 bytes of one part"):
            await upload.put_part(1, endless())
        assert faulty.ops == []
        upload = await session.object("s3://bucket/a").start_upload()
        assert (await upload.put_part(1, bytes(7 * PART))).size == 7 * PART  # from the caller's memory
        assert (await upload.put_part(2, [bytes(PART - 1), b"x"])).size == PART
        assert (await upload.put_part(3, io.BytesIO(bytes(5 * PART)))).size == 5 * PART
        assert (await upload.complete()).size == 13 * PART


async def test_a_file_that_changes_while_it_is_read_is_no_part(faulty: FaultyServer) -> None:
    class Growing(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer)
            end = self.seek(0, io.SEEK_END)
            self.write(b"more")
            self.seek(end)
            return count

    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload()
        with pytest.raises(dream.SourceChangedError, match="longer than"):
            await upload.put_part(1, Growing(b"x" * 300))
        assert await upload.parts() == ()
        await upload.abort()


# What is lost


async def test_a_lost_part_is_sent_again_and_a_wrong_one_is_an_error(faulty: FaultyServer) -> None:
    faulty.will(
        Rule("UploadPart", Cut(None), part=1),
        Rule("UploadPart", Say(headers={"ETag": f'"{"0" * 32}"'}), part=2),
        Rule("UploadPart", Refuse(403, "AccessDenied"), part=3),
    )
    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload()
        assert (await upload.put_part(1, b"x")).size == 1
        with pytest.raises(dream.ChecksumMismatchError):
            await upload.put_part(2, b"x")
        with pytest.raises(dream.AccessDeniedError) as caught:
            await upload.put_part(3, b"x")
        assert not caught.value.in_doubt
        await upload.abort()


@pytest.mark.parametrize("is_done", [True, False])
async def test_a_lost_reply_to_the_completion_is_looked_into(faulty: FaultyServer, is_done: bool) -> None:
    faulty.will(Rule("CompleteMultipartUpload", Cut(None, is_done=is_done)))
    async with faulty.session() as session:
        obj = session.object("s3://bucket/a")
        upload = await obj.start_upload()
        parts = await put_all(upload)
        info = await obj.multipart(upload.upload_id).complete([(part.number, part.etag) for part in parts])
    assert info.etag == etag_of(DATA, PART)
    assert faulty.content("bucket", "a") == DATA


async def test_a_completion_in_doubt_is_not_aborted_and_may_be_repeated(faulty: FaultyServer) -> None:
    faulty.will(
        Rule("CompleteMultipartUpload", Cut(None, is_done=False), times=4),
        Rule("HeadObject", Refuse(403, "AccessDenied"), times=5),
    )
    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload()
        parts = await put_all(upload)
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await upload.complete(parts)
        assert caught.value.in_doubt
        assert "was not aborted, because it may still be completed" in caught.value.__notes__[-1]
        with pytest.raises(dream.TransferError, match=r"an earlier complete\(\) may still be under way") as refused:
            await upload.abort()
        assert refused.value.in_doubt
        assert faulty.uploads("bucket") == ["a"]
        info = await upload.complete(parts)
        assert (info.etag, info.verified) == (etag_of(DATA, PART), "parts")
    assert "AbortMultipartUpload" not in faulty.ops


async def test_a_completion_that_was_done_before_is_found_although_a_condition_fails_now(faulty: FaultyServer) -> None:
    faulty.will(
        Rule("CompleteMultipartUpload", Cut(None), times=4),
        Rule("HeadObject", Refuse(403, "AccessDenied"), nth=3, times=5),
    )
    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload(if_absent=True)
        parts = await put_all(upload)
        with pytest.raises(dream.DreamObjectsError) as caught:
            await upload.complete(parts)
        assert caught.value.in_doubt
        assert (await upload.complete(parts)).etag == etag_of(DATA, PART)


async def test_a_refused_completion_leaves_the_upload_as_it_was(faulty: FaultyServer) -> None:
    faulty.will(Rule("CompleteMultipartUpload", Refuse(403, "AccessDenied")))
    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload()
        await put_all(upload)
        with pytest.raises(dream.AccessDeniedError) as caught:
            await upload.complete()
        assert not caught.value.in_doubt
        assert faulty.uploads("bucket") == ["a"]
        await upload.complete()
    assert faulty.content("bucket", "a") == DATA


async def test_a_refused_abort_is_an_error(faulty: FaultyServer) -> None:
    faulty.will(Rule("AbortMultipartUpload", Refuse(403, "AccessDenied")))
    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload()
        with pytest.raises(dream.AccessDeniedError):
            await upload.abort()
        await upload.abort()


# Beginnings and ends


async def test_a_lost_reply_to_the_beginning_leaves_no_upload(faulty: FaultyServer) -> None:
    faulty.will(Rule("CreateMultipartUpload", Cut(None)))
    async with faulty.session() as session:
        upload = await session.object("s3://bucket/a").start_upload()
        assert faulty.upload_ids("bucket") == {upload.upload_id}
        await upload.abort()


async def test_an_upload_of_this_session_is_no_orphan_of_a_put(faulty: FaultyServer) -> None:
    """It has no part, and was begun while the reply to the beginning of another one was lost."""
    faulty.will(Rule("CreateMultipartUpload", Cut(None), Pause(0.05), nth=2))
    async with faulty.session(limits=LIMITS) as session:
        obj = session.object("s3://bucket/a")
        upload = await obj.start_upload()
        await obj.put(DATA)
        assert faulty.upload_ids("bucket") == {upload.upload_id}
        await upload.abort()


async def test_a_cancelled_beginning_leaves_no_upload(faulty: FaultyServer) -> None:
    faulty.will(Rule("CreateMultipartUpload", Pause(0.1)))
    async with faulty.session() as session:
        task = asyncio.ensure_future(session.object("s3://bucket/a").start_upload())
        await until(lambda: faulty.ops)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert faulty.uploads("bucket") == []


async def test_closing_the_session_interrupts_a_part_and_keeps_the_upload(faulty: FaultyServer) -> None:
    faulty.will(Rule("UploadPart", Pause(0.5), may_be_idle=True))
    async with faulty.session(timeouts=dream.Timeouts(read=30)) as session:
        upload = await session.object("s3://bucket/a").start_upload()
        task = asyncio.ensure_future(upload.put_part(1, b"x"))
        await until(lambda: "UploadPart" in faulty.ops)
    with pytest.raises(dream.SessionClosedError) as caught:
        await task
    assert not caught.value.in_doubt
    assert faulty.uploads("bucket") == ["a"]
    faulty.expected_uploads = ["a"]


async def test_a_cancelled_part_gives_its_memory_back(faulty: FaultyServer) -> None:
    faulty.will(Rule("UploadPart", Pause(0.2), times=FOR_EVER, may_be_idle=True))
    size = 300_000
    async with faulty.session(limits=dream.Limits(part_size=size, memory=size)) as session:
        upload = await session.object("s3://bucket/a").start_upload()
        for _ in range(3):
            task = asyncio.ensure_future(upload.put_part(1, io.BytesIO(bytes(size))))
            await until(lambda: "UploadPart" in faulty.ops)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        faulty.will()
        await upload.put_part(1, io.BytesIO(bytes(size)))
        await upload.abort()


VERBS: dict[str, Callable[[dream.MultipartUpload], Any]] = {
    "put_part": lambda upload: upload.put_part(1, b"x"),
    "parts": lambda upload: upload.parts(),
    "complete": lambda upload: upload.complete(),
    "complete these": lambda upload: upload.complete([(1, "x")]),
    "abort": lambda upload: upload.abort(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_verbs_need_an_open_session_and_its_loop(faulty: FaultyServer, verb: str) -> None:
    async with faulty.session() as session:
        upload = session.object("s3://bucket/a").multipart("an-id")
        with pytest.raises(dream.WrongLoopError):
            await asyncio.to_thread(lambda: asyncio.run(VERBS[verb](upload)))
        assert await asyncio.to_thread(upload.presign_part, 1)
    with pytest.raises(dream.SessionClosedError):
        await VERBS[verb](upload)
    with pytest.raises(dream.SessionClosedError):
        upload.presign_part(1)
    assert faulty.ops == []


async def test_a_handle_tells_what_it_is_and_is_forgotten(faulty: FaultyServer) -> None:
    async with faulty.session() as session:
        obj = session.object("s3://bucket/a")
        upload = obj.multipart("an-id")
        assert repr(upload) == "<MultipartUpload of s3://bucket/a, open>"
        assert session._runtime.uploads == {"an-id"}
        del upload
        gc.collect()
        assert session._runtime.uploads == set()
        begun = await obj.start_upload()
        await begun.abort()
        assert repr(begun) == "<MultipartUpload of s3://bucket/a, aborted>"
        assert session._runtime.uploads == set()
