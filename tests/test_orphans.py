"""An upload that was created by a request whose reply was lost is found and ended; another writer's is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from servers.faulty import FaultyServer
from servers.rules import Action, Cut, Meanwhile, Mishear, Refuse, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Bucket, Part, Upload, now

PART = 64 << 10
DATA = random.Random(1).randbytes(3 * PART)
LIMITS = dream.Limits(part_size=PART)
LOST: dict[str, Action] = {
    "reset": Cut(None),
    "cut": Cut(20),
    "500": Refuse(500, "InternalError", is_done=True),
    "504": Refuse(504, "GatewayTimeout", is_done=True),
    "silence": Cut(None, "silence"),
}


def rival(bucket: Bucket, *, age: timedelta = timedelta(0), has_part: bool = False) -> Upload:
    upload = bucket.begin_upload("a", {})
    if has_part:
        upload.parts[1] = Part(1, b"x", "e")
    aged = Upload(upload.key, upload.number, upload.headers, upload.parts, now() - age)
    bucket.uploads[upload.upload_id] = aged
    return aged


@pytest.mark.parametrize("how", LOST)
async def test_the_orphan_of_a_lost_reply_is_ended(faulty: FaultyServer, how: str) -> None:
    faulty.will(Rule("CreateMultipartUpload", LOST[how], times=2))
    async with faulty.session(limits=LIMITS) as session:
        await session.object("s3://bucket/a").put(DATA)
    assert faulty.content("bucket", "a") == DATA
    assert faulty.uploads("bucket") == []
    assert len(faulty.asked("AbortMultipartUpload")) == 2


@pytest.mark.parametrize("reply", [b"", b"<html/>", b"<InitiateMultipartUploadResult/>"])
async def test_of_a_reply_without_an_id_nothing_is_left(faulty: FaultyServer, reply: bytes) -> None:
    faulty.will(Rule("CreateMultipartUpload", Say(body=reply), times=None))
    async with faulty.session(limits=LIMITS) as session:
        with pytest.raises(dream.ServiceError):
            await session.object("s3://bucket/a").put(DATA)
    assert faulty.content("bucket", "a") is None


async def test_nothing_is_looked_for_where_no_reply_was_lost(faulty: FaultyServer) -> None:
    faulty.will(Rule("CreateMultipartUpload", Refuse(503, "SlowDown"), times=2))
    async with faulty.session(limits=LIMITS) as session:
        await session.object("s3://bucket/a").put(DATA)
    assert faulty.asked("ListMultipartUploads", "AbortMultipartUpload") == []


async def test_an_orphan_is_found_behind_the_uploads_of_longer_keys(faulty: FaultyServer) -> None:
    """Ceph RGW sorts uploads by the key, a dot and the id: ``a-b`` comes before ``a``, and here fills a page."""
    longer = b"<Upload><Key>a-b</Key><UploadId>1</UploadId><Initiated>2026-11-10T20:48:33.000Z</Initiated></Upload>"
    told = (
        b"<IsTruncated>true</IsTruncated><NextKeyMarker>a-b</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
    )
    page = b"<ListMultipartUploadsResult>%b%b</ListMultipartUploadsResult>" % (told, longer)
    faulty.will(
        Rule("CreateMultipartUpload", LOST["reset"]),
        Rule("ListMultipartUploads", Say(body=page)),
        Rule("ListMultipartUploads", Mishear(query={"key-marker": None, "upload-id-marker": None}), nth=2),
    )
    async with faulty.session(limits=LIMITS) as session:
        await session.object("s3://bucket/a").put(DATA)
    assert faulty.uploads("bucket") == []
    assert len(faulty.asked("AbortMultipartUpload")) == 1


RIVALS: dict[str, Callable[[Bucket], object]] = {
    "an older one": lambda bucket: rival(bucket, age=timedelta(minutes=1)),
    "one with a part": lambda bucket: rival(bucket, has_part=True),
    "more than were lost": rival,
}


@pytest.mark.parametrize("which", RIVALS)
async def test_another_writers_upload_is_left_alone(faulty: FaultyServer, which: str) -> None:
    faulty.will(Rule("CreateMultipartUpload", Meanwhile(RIVALS[which]), LOST["reset"]))
    async with faulty.session(limits=LIMITS) as session:
        await session.object("s3://bucket/a").put(DATA)
    assert faulty.content("bucket", "a") == DATA
    aborted = {asked.upload_id for asked in faulty.asked("AbortMultipartUpload")}
    left = faulty.upload_ids("bucket")
    assert len(left) == (2 if which == "more than were lost" else 1)
    assert not aborted & left
    faulty.expected_uploads = ["a"] * len(left)
