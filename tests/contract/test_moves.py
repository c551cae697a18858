"""``move_tree``: objects of a prefix go to another one, on every server. Each is somewhere at every moment."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ON = ("memory", "rgw", "b2")

PART = 5 << 20
CONTENTS = {"a": b"aaa", "d/e/empty": b"", "d/f": b"fff", "ü/é+%20&=#?": b"odd"}
SIZE = sum(map(len, CONTENTS.values()))


@pytest_asyncio.fixture
async def other(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    await made.delete(force=True)


async def fill(bucket: dream.Bucket, prefix: str) -> None:
    for name, content in CONTENTS.items():
        await bucket.object(prefix + name).put(content, cache_control="no-cache", metadata={"name": "kept"})


def seen(boto: Any, bucket: dream.Bucket, prefix: str = "") -> dict[str, bytes]:
    """What is there, as somebody else sees it."""
    listed = boto.list_objects_v2(Bucket=bucket.name, Prefix=prefix).get("Contents", [])
    keys = [item["Key"] for item in listed]
    return {key.removeprefix(prefix): boto.get_object(Bucket=bucket.name, Key=key)["Body"].read() for key in keys}


async def test_a_prefix_is_moved(bucket: dream.Bucket, other: dream.Bucket, boto: Any) -> None:
    await fill(bucket, "from/")
    await bucket.object("from-other").put("beside")
    moves = ((bucket, bucket, "from", "to"), (bucket, other, "to/", "x/y"), (other, bucket, "x/y", ""))
    for one, to, prefix, to_prefix in moves:
        report = await one.move_tree(to, prefix, to_prefix)
        assert report == dream.TreeReport(len(CONTENTS), 0, copied=len(CONTENTS), copied_bytes=SIZE)
        assert seen(boto, one, prefix) == ({"-other": b"beside"} if prefix == "from" else {})
        expected = CONTENTS if to_prefix else CONTENTS | {"from-other": b"beside"}
        assert seen(boto, to, f"{to_prefix}/" if to_prefix else "") == expected
    reply = boto.head_object(Bucket=bucket.name, Key="d/f")
    assert (reply["CacheControl"], reply["Metadata"]) == ("no-cache", {"name": "kept"})


async def test_the_prefix_stays_where_none_is_named(bucket: dream.Bucket, other: dream.Bucket, boto: Any) -> None:
    await fill(bucket, "p/")
    await bucket.move_tree(other, "p")
    assert (seen(boto, bucket), seen(boto, other, "p/")) == ({}, CONTENTS)


async def test_a_prefix_is_moved_to_another_service_and_back(bucket: dream.Bucket, boto: Any) -> None:
    await fill(bucket, "from/")
    async with MemoryService().session() as elsewhere:
        there = await elsewhere.create_bucket("there")
        assert (await bucket.move_tree(there, "from", "")).copied == len(CONTENTS)
        assert seen(boto, bucket) == {}
        assert (await there.move_tree(bucket, "", "back")).copied == len(CONTENTS)
        assert await there.list().collect() == []
    assert seen(boto, bucket, "back/") == CONTENTS


async def test_large_objects_are_moved(server: Server, boto: Any) -> None:
    if server.name not in ("memory", "rgw"):
        pytest.skip("in memory, and on Ceph RGW")
    content = random.Random(1).randbytes(2 * PART + 1000)
    async with server.session(limits=dream.Limits(part_size=PART)) as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("from/large").put(content)
        assert (await bucket.move_tree(bucket, "from", "to")).copied_bytes == len(content)
        assert seen(boto, bucket) == {"to/large": content}
        await bucket.delete(force=True)


async def test_only_what_the_patterns_take_is_moved(bucket: dream.Bucket, boto: Any) -> None:
    await fill(bucket, "from/")
    report = await bucket.move_tree(bucket, "from", "to", include=["d/"], exclude=["empty", "*.css"])
    assert (report.copied, report.excluded, report.unmatched) == (1, 3, ("*.css",))
    assert seen(boto, bucket, "to/") == {"d/f": b"fff"}
    assert seen(boto, bucket, "from/") == {name: data for name, data in CONTENTS.items() if name != "d/f"}


async def test_a_dry_run_moves_nothing(bucket: dream.Bucket, boto: Any) -> None:
    await fill(bucket, "from/")
    report = await bucket.move_tree(bucket, "from", "to", dry_run=True)
    assert report.plan == tuple(
        dream.TreeAction("move", name, len(data), "asked") for name, data in sorted(CONTENTS.items())
    )
    assert (report.copied, report.copied_bytes) == (len(CONTENTS), SIZE)
    assert seen(boto, bucket, "from/") == CONTENTS
    assert seen(boto, bucket, "to/") == {}


async def test_a_prefix_is_not_moved_into_itself(session: dream.Session, bucket: dream.Bucket, boto: Any) -> None:
    """Objects would be moved again and again, or over each other."""
    await fill(bucket, "a/b/")
    for prefix, to_prefix in (("a", "a"), ("a", "a/b"), ("a/b", "a"), ("", "a"), ("a/b", "")):
        for to in (bucket, session.bucket(bucket.name)):
            with pytest.raises(ValueError, match="choose prefixes that do not overlap"):
                await bucket.move_tree(to, prefix, to_prefix)
    assert seen(boto, bucket, "a/b/") == CONTENTS


async def test_versions_stay_behind_a_delete_marker(bucket: dream.Bucket, boto: Any) -> None:
    """An old version that came up would be moved over the new one by the next call."""
    await bucket.set_versioning("Enabled")
    for content in ("old", "new"):
        await bucket.object("from/a").put(content)
    assert (await bucket.move_tree(bucket, "from", "to")).copied == 1
    assert (await bucket.move_tree(bucket, "from", "to")).copied == 0
    assert seen(boto, bucket) == {"to/a": b"new"}
    listed = boto.list_object_versions(Bucket=bucket.name, Prefix="from/")
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (2, 1)


async def test_moved_objects_may_get_an_acl(server: Server, bucket: dream.Bucket) -> None:
    if server.is_b2:
        pytest.skip("its objects have no ACL")
    await fill(bucket, "from/")
    await bucket.move_tree(bucket, "from", "to", acl="public-read")
    assert (await bucket.object("to/a").acl()).canned == "public-read"


async def test_nothing_is_moved_from_an_empty_prefix_or_a_missing_bucket(
    session: dream.Session, bucket: dream.Bucket
) -> None:
    assert await bucket.move_tree(bucket, "from", "to") == dream.TreeReport(0, 0)
    for one, other in ((bucket, session.bucket(new_name())), (session.bucket(new_name()), bucket)):
        await bucket.object("from/a").put("a")
        with pytest.raises(dream.NotFoundError) as caught:
            await one.move_tree(other, "from", "to")
        assert caught.value.code == "NoSuchBucket"
        assert caught.value.__notes__[-1] == "before this error: 0 moved, 0 deleted"
    assert await bucket.object("from/a").exists()


# What fails


async def test_a_name_that_fails_stays_where_it_is() -> None:
    service = MemoryService()
    async with service.session() as session:
        bucket = await session.create_bucket("moves")
        await fill(bucket, "from/")
        service.fail("copy_object", "AccessDenied", key="to/a", times=None)
        service.fail("delete_object", "AccessDenied", key="from/d/f", times=None)
        with pytest.raises(dream.BulkError, match="2 names failed, 2 were moved") as caught:
            await bucket.move_tree(bucket, "from", "to")
        assert {failure.key for failure in caught.value.report.failures} == {"a", "d/f"}
        keys = [info.key async for info in bucket.list()]
        assert keys == ["from/a", "from/d/f", "to/d/e/empty", "to/d/f", "to/ü/é+%20&=#?"]
        service.stop_faults()
        assert (await bucket.move_tree(bucket, "from", "to")).copied == 2
        assert [info.key async for info in bucket.list()] == sorted(f"to/{name}" for name in CONTENTS)
