"""What became of a completion: by the facts that can be looked at, never by what is likely."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from etags import etag_of
from servers.faulty import FaultyServer
from servers.rules import Action, Cut, Make, Meanwhile, Refuse, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import Reply, md5_hex
from aiodreamobjects._memory.store import Bucket, Content

PART = 1000
DATA, OLD = random.Random(1).randbytes(3 * PART), random.Random(2).randbytes(3 * PART)
LIMITS = dream.Limits(part_size=PART)
ANOTHER_ETAG = "0" * 32 + "-3"
ANOTHER = f"<CompleteMultipartUploadResult><ETag>{ANOTHER_ETAG}</ETag></CompleteMultipartUploadResult>".encode()
LOST = Cut(None, is_done=False)
FOR_EVER = None


def abort_all(bucket: Bucket) -> None:
    bucket.uploads.clear()


def replace_it(bucket: Bucket) -> None:
    abort_all(bucket)
    bucket.add("a", Content(b"of somebody else", "some-etag", {}))


def with_another_etag(reply: Reply) -> Reply:
    return Reply(reply.status, reply.headers, re.sub(rb"[0-9a-f]{32}-3", ANOTHER_ETAG.encode(), reply.body))


def completed(*actions: Action, times: int | None = 1) -> Rule:
    return Rule("CompleteMultipartUpload", *actions, times=times)


async def put(faulty: FaultyServer) -> dream.ObjectInfo:
    async with faulty.session(limits=LIMITS) as session:
        return await session.object("s3://bucket/a").put(DATA)


# The reply has another ETag


async def test_an_object_with_the_right_etag_is_a_success_whatever_the_reply_said(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", OLD)
    faulty.will(completed(Make(with_another_etag)))
    info = await put(faulty)
    assert (info.verified, faulty.content("bucket", "a")) == ("parts", DATA)


async def test_an_upload_that_is_still_open_was_not_completed_and_is_aborted(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", OLD)
    faulty.will(completed(Say(200, body=ANOTHER, is_done=False)))
    with pytest.raises(dream.ChecksumMismatchError, match="nothing was stored") as caught:
        await put(faulty)
    assert not caught.value.in_doubt
    assert (faulty.content("bucket", "a"), faulty.uploads("bucket")) == (OLD, [])


@pytest.mark.parametrize(
    ("change", "told"),
    [(replace_it, "an object of 16 bytes with the ETag some-etag"), (abort_all, "there is no object now")],
    ids=["another object", "no object"],
)
async def test_an_upload_that_is_gone_leaves_a_doubt_and_the_error_says_what_is_there(
    faulty: FaultyServer, change: Callable[[Bucket], object], told: str
) -> None:
    faulty.will(completed(Meanwhile(change), Say(200, body=ANOTHER, is_done=False)))
    with pytest.raises(dream.ChecksumMismatchError, match=told) as caught:
        await put(faulty)
    assert caught.value.in_doubt
    assert "AbortMultipartUpload" not in faulty.ops


@pytest.mark.parametrize("op", ["ListParts", "HeadObject"])
async def test_what_cannot_be_looked_at_stays_in_doubt_and_open(faulty: FaultyServer, op: str) -> None:
    faulty.will(completed(Say(200, body=ANOTHER, is_done=False)), Rule(op, Refuse(403, "AccessDenied"), times=FOR_EVER))
    with pytest.raises(dream.ChecksumMismatchError, match="could not find out what is stored now") as caught:
        await put(faulty)
    assert caught.value.in_doubt
    assert faulty.uploads("bucket") == ["a"]
    faulty.expected_uploads = ["a"]


# The reply is lost, and the ETag tells nothing


BEGAN = "Sun, 29 Nov 2026 10:00:00 GMT"
BEFORE, AFTER = "Sun, 29 Nov 2026 09:59:59 GMT", "Sun, 29 Nov 2026 10:00:01 GMT"


def store_it(bucket: Bucket) -> None:
    """What a service does whose ETags of parts tell nothing, either."""
    abort_all(bucket)
    bucket.add("a", Content(DATA, "tells-nothing", {}))


def opaque(modified: str, began: str) -> list[Rule]:
    """What the service tells of the parts, of the object, and of the time when the upload began."""
    told = {"ETag": '"tells-nothing"', "Last-Modified": modified}
    return [
        Rule("UploadPart", Say(headers={"ETag": '"tells-nothing"'}), times=FOR_EVER),
        Rule("CreateMultipartUpload", Say(headers={"Date": began})),
        Rule("HeadObject", Say(headers=told), times=FOR_EVER),
    ]


@pytest.mark.parametrize("modified", [BEFORE, BEGAN])
async def test_an_older_object_of_the_same_size_never_passes_for_ours(faulty: FaultyServer, modified: str) -> None:
    faulty.put("bucket", "a", OLD)
    faulty.will(completed(Meanwhile(abort_all), LOST, times=FOR_EVER), *opaque(modified, BEGAN))
    with pytest.raises(dream.DreamObjectsError) as caught:
        await put(faulty)
    assert caught.value.in_doubt
    assert faulty.content("bucket", "a") == OLD


@pytest.mark.parametrize(
    ("modified", "began", "is_ours"),
    [(AFTER, BEGAN, True), (BEGAN, BEGAN, False), (BEGAN, AFTER, False), (AFTER, "some day", False)],
    ids=["newer", "in the same second", "older", "nobody knows"],
)
async def test_an_object_is_ours_only_if_it_is_newer_than_the_upload(
    faulty: FaultyServer, modified: str, began: str, *, is_ours: bool
) -> None:
    """By the service's own clock, which is hours from this machine's."""
    faulty.will(completed(Meanwhile(store_it), LOST, times=FOR_EVER), *opaque(modified, began))
    if is_ours:
        info = await put(faulty)
        assert (info.size, info.verified) == (len(DATA), None)
    else:
        with pytest.raises(dream.DreamObjectsError) as caught:
            await put(faulty)
        assert caught.value.in_doubt
    assert faulty.content("bucket", "a") == DATA


# Another writer's object is there


OTHER = random.Random(3).randbytes(3 * PART)


def another_with(etag: str) -> Meanwhile:
    def change(bucket: Bucket) -> None:
        abort_all(bucket)
        bucket.add("a", Content(OTHER, etag, {"x-amz-meta-part-size": "777"}))

    return Meanwhile(change)


ANOTHERS: dict[str, tuple[dream.Verify, str]] = {
    "parts, not verified": ("off", etag_of(OTHER, PART)),
    "MD5, not verified": ("off", md5_hex(OTHER)),
    "parts": ("auto", etag_of(OTHER, PART)),
    "opaque, with other metadata": ("auto", "tells-nothing"),
}


@pytest.mark.parametrize("kind", ANOTHERS)
async def test_a_newer_object_of_another_writer_never_passes_for_ours(faulty: FaultyServer, kind: str) -> None:
    """Of the same size."""
    verify, etag = ANOTHERS[kind]
    faulty.will(
        completed(another_with(etag), LOST, times=FOR_EVER),
        Rule("CreateMultipartUpload", Say(headers={"Date": BEGAN})),
        Rule("HeadObject", Say(headers={"Last-Modified": AFTER}), times=FOR_EVER),
    )
    async with faulty.session(limits=LIMITS) as session:
        with pytest.raises(dream.DreamObjectsError) as caught:
            await session.object("s3://bucket/a").put(DATA, verify=verify)
    assert caught.value.in_doubt
    assert faulty.content("bucket", "a") == OTHER


async def test_a_source_is_not_deleted_for_an_object_of_another_writer(faulty: FaultyServer) -> None:
    """Moved in parts by the service: of a part that was copied nobody knows a digest."""
    faulty.put("bucket", "source", DATA)
    rules = dream.MultipartRules(smallest_part=1, largest_copy=PART)
    service = replace(faulty.service, multipart=rules, unsupported={"tagging": "it has no tags"})
    faulty.will(
        completed(another_with(etag_of(OTHER, PART)), LOST, times=FOR_EVER),
        Rule("CreateMultipartUpload", Say(headers={"Date": BEGAN})),
        Rule("HeadObject", Say(headers={"Last-Modified": AFTER}), key="a", times=FOR_EVER),
    )
    async with faulty.session(service=service) as session:
        with pytest.raises(dream.DreamObjectsError) as caught:
            await session.object("s3://bucket/source").move_to(session.object("s3://bucket/a"))
    assert caught.value.in_doubt
    assert faulty.content("bucket", "source") == DATA


# A success that tells no ETag


EMPTY = b"<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"


def without_etag(reply: Reply) -> Reply:
    return Reply(reply.status, reply.headers, re.sub(rb"<ETag>[^<]*</ETag>", b"<ETag></ETag>", reply.body))


@pytest.mark.parametrize("old", [OLD, None], ids=["an older object", "no object"])
async def test_a_completion_without_an_etag_that_did_nothing_is_an_error(
    faulty: FaultyServer, old: bytes | None
) -> None:
    if old is not None:
        faulty.put("bucket", "a", old)
    faulty.will(completed(Say(200, body=EMPTY, is_done=False), times=FOR_EVER))
    with pytest.raises(dream.DreamObjectsError):
        await put(faulty)
    assert (faulty.content("bucket", "a"), faulty.uploads("bucket")) == (old, [])


async def test_a_completion_without_an_etag_whose_object_is_gone_is_in_doubt(faulty: FaultyServer) -> None:
    faulty.will(completed(Meanwhile(abort_all), Say(200, body=EMPTY, is_done=False), times=FOR_EVER))
    with pytest.raises(dream.DreamObjectsError) as caught:
        await put(faulty)
    assert caught.value.in_doubt


async def test_a_completion_without_an_etag_is_a_success_although_another_object_is_there_since(
    faulty: FaultyServer,
) -> None:
    """It tells of no ETag then: that of the other one is not ours."""

    def others(bucket: Bucket) -> None:
        bucket.add("a", Content(OTHER, etag_of(OTHER, PART), {}))

    faulty.will(completed(Make(without_etag)), Rule("HeadObject", Meanwhile(others)))
    info = await put(faulty)
    assert (info.etag, info.verified) == (None, None)


async def test_a_completion_without_an_etag_is_verified_by_the_object(faulty: FaultyServer) -> None:
    faulty.will(completed(Make(without_etag)))
    info = await put(faulty)
    assert (info.etag, info.verified) == (etag_of(DATA, PART), "parts")
