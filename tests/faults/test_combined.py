"""Two faults at once, and answers that are right in form and wrong in what they lead to."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from servers.faulty import FaultyServer
from servers.rules import Cut, Meanwhile, Replace, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Content

PART = 256 << 10
DATA = random.Random(9).randbytes(4 * PART)
LIMITS = dream.Limits(part_size=PART, parts_per_object=2)
HANG_SECONDS = 30
A_PART_OF_UNKNOWN = Say(206, {"Content-Range": "bytes 0-65535/*"}, DATA[:65536])


@pytest.mark.parametrize("times", [2, None], ids=["twice", "for ever"])
async def test_a_part_of_nobody_says_how_much_is_not_all(
    faulty: FaultyServer, tmp_path: Path, times: int | None
) -> None:
    faulty.put("bucket", "a", DATA, etag="opaque-1")
    (tmp_path / "file").write_bytes(b"old")
    async with faulty.session(limits=LIMITS) as session:
        obj = session.object("s3://bucket/a")
        faulty.will(Rule("GetObject", A_PART_OF_UNKNOWN, times=None))
        with pytest.raises(dream.TransferError):
            await obj.read()
        faulty.will(Rule("GetObject", A_PART_OF_UNKNOWN, times=times))
        if times is None:
            with pytest.raises(dream.TransferError):
                await obj.download(tmp_path / "file")
        else:
            await obj.download(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == (b"old" if times is None else DATA)


async def test_a_list_of_parts_that_does_not_get_on_ends(faulty: FaultyServer) -> None:
    faulty.will(
        Rule("CompleteMultipartUpload", Cut(None, is_done=False), times=None),
        Rule("ListParts", Replace(b"<IsTruncated>false", b"<IsTruncated>true"), times=None),
    )
    faulty.expected_uploads = ["a"]
    async with asyncio.timeout(HANG_SECONDS), faulty.session(limits=LIMITS) as session:
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await session.object("s3://bucket/a").put(DATA)
    assert caught.value.in_doubt
    assert faulty.asked("AbortMultipartUpload") == []


async def test_a_completion_that_was_lost_and_overwritten_stays_in_doubt(faulty: FaultyServer) -> None:
    faulty.will(
        Rule("CompleteMultipartUpload", Cut(None)),
        Rule("ListParts", Meanwhile(lambda bucket: bucket.add("a", Content(b"another's", "e", {})))),
    )
    async with faulty.session(limits=LIMITS) as session:
        with pytest.raises(dream.NotFoundError) as caught:
            await session.object("s3://bucket/a").put(DATA)
    assert caught.value.in_doubt
    assert faulty.content("bucket", "a") == b"another's"


@pytest.mark.parametrize("size", [100, len(DATA)], ids=["at once", "in parts"])
async def test_what_a_closed_session_was_at_is_in_doubt(faulty: FaultyServer, size: int) -> None:
    op = "PutObject" if size == 100 else "CompleteMultipartUpload"
    faulty.will(Rule(op, Cut(None, "silence")))
    session = await faulty.session(limits=LIMITS, timeouts=dream.Timeouts(), close_grace=0.1).open()
    task = asyncio.create_task(session.object("s3://bucket/a").put(DATA[:size]))
    async with asyncio.timeout(HANG_SECONDS):
        while not faulty.asked(op) or faulty.content("bucket", "a") is None:
            await asyncio.sleep(0.01)
        await session.aclose()
        with pytest.raises(dream.SessionClosedError) as caught:
            await task
    assert caught.value.in_doubt
