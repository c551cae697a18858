"""A service in memory and its sessions: one state with what is served, and one time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Served

LARGE = bytes(range(256)) * 4096
DAY = timedelta(days=1)


async def test_what_a_session_stores_is_served_and_the_reverse(bucket: dream.Bucket, memory: MemoryService) -> None:
    await bucket.object("a").put(LARGE, metadata={"by": "me"})
    async with memory.serve() as served, session_with(served) as other:
        assert await other.object("s3://photos/a").read() == LARGE
        assert (await other.object("s3://photos/a").head()).metadata == {"by": "me"}
        await other.object("s3://photos/b").put("x")
    assert await bucket.object("b").read() == b"x"
    assert repr(memory) == "<MemoryService 'memory', 1 buckets>"


def session_with(served: Served) -> dream.Session:
    return dream.Session(endpoint=served.endpoint, access_key=served.access_key, secret_key=served.secret_key)


async def test_a_presigned_url_of_a_session_is_good_until_the_clock_says_otherwise(
    bucket: dream.Bucket, memory: MemoryService
) -> None:
    await bucket.object("a").put("x")
    memory.clock.advance(7 * DAY)
    url = urlsplit(bucket.object("a").presign_get(60))
    async with memory.serve() as served, aiohttp.ClientSession(headers={"Host": url.netloc}) as anyone:
        target = URL(f"{served.endpoint}{url.path}?{url.query}", encoded=True)
        async with anyone.get(target) as reply:
            assert (reply.status, await reply.text()) == (200, "x")
        memory.clock.advance(timedelta(seconds=61))
        async with anyone.get(target) as reply:
            assert reply.status == 403


async def test_a_session_lives_in_the_time_of_its_service(
    session: dream.Session, bucket: dream.Bucket, memory: MemoryService
) -> None:
    before = datetime.now(UTC)
    memory.clock.advance(DAY)
    await bucket.object("a").put("x")
    modified = (await bucket.object("a").head()).last_modified
    assert modified is not None
    assert DAY - timedelta(minutes=1) < modified - before < DAY + timedelta(minutes=1)
    assert session.statistics().retries == 0


async def test_uploads_grow_old_with_the_clock(bucket: dream.Bucket, memory: MemoryService) -> None:
    memory.fail("put_part", "AccessDenied")
    memory.fail("abort_upload", "AccessDenied", times=None)
    with pytest.raises(dream.AccessDeniedError):
        await bucket.object("a").put(bytes(9 << 20))
    memory.stop_faults()
    assert (await bucket.abort_uploads(older_than=DAY)).done == 0
    memory.clock.advance(2 * DAY)
    assert (await bucket.abort_uploads(older_than=DAY)).done == 1
