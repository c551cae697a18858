"""``restore_tree``: a prefix as it was at a time, on every server that keeps versions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ON = ("memory", "rgw", "b2")

PART = 5 << 20


@pytest_asyncio.fixture
async def bucket(server: Server, bucket: dream.Bucket) -> AsyncIterator[dream.Bucket]:
    await bucket.set_versioning("Enabled")
    yield bucket
    if server.memory is not None:  # other tests have the same service, and expect the time of this machine
        server.memory.clock.advance(datetime.now(UTC) - server.memory.clock.now())


async def moment(server: Server, bucket: dream.Bucket) -> datetime:
    """A time, by the service's clock, after all that was done and before all that follows.

    ``restore_tree`` takes a time without a fraction for a whole second: one object in a thousand has such a time on
    Ceph, too.
    """
    first: datetime | None = None
    while True:
        await bucket.object("clock").put("")
        now = (await bucket.list_versions("clock").collect())[0].last_modified
        assert now is not None
        if first is not None and now > (first if first.microsecond else first.replace(microsecond=999_999)):
            return first
        first = first or now
        if server.memory is not None:
            server.memory.clock.advance(timedelta(seconds=1))


class StillClock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by


async def put(bucket: dream.Bucket, content: dict[str, str | None]) -> None:
    """None deletes."""
    for name, text in content.items():
        obj = bucket.object(f"p/{name}")
        await (obj.delete() if text is None else obj.put(text))


def seen(boto: Any, bucket: dream.Bucket, prefix: str = "p/") -> dict[str, str]:
    """What is there, as somebody else sees it."""
    listed = boto.list_objects_v2(Bucket=bucket.name, Prefix=prefix).get("Contents", [])
    keys = [item["Key"] for item in listed]
    return {
        key.removeprefix(prefix): boto.get_object(Bucket=bucket.name, Key=key)["Body"].read().decode() for key in keys
    }


def versions(boto: Any, bucket: dream.Bucket) -> set[tuple[str, str]]:
    listed = boto.list_object_versions(Bucket=bucket.name, Prefix="p/")
    return {(item["Key"], item["VersionId"]) for kind in ("Versions", "DeleteMarkers") for item in listed.get(kind, [])}


FIRST: dict[str, str | None] = {"same": "1", "changed": "1", "deleted": "1", "back": "1", "twice": "1", "d/é": "1"}
THEN: dict[str, str | None] = {"gone": None, "twice": "2"}
LATER: dict[str, str | None] = {
    "changed": "other",
    "deleted": None,
    "new": "new",
    "d/new": "new",
    "twice": "3",
    "gone": "back again",
    "back": None,
    "d/é": "longer",
}


async def test_a_prefix_is_as_it_was(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    await bucket.object("p-other").put("beside")
    await bucket.object("p/gone").put("before")
    await put(bucket, FIRST)
    early = await moment(server, bucket)
    await put(bucket, THEN)
    as_of = await moment(server, bucket)
    was = seen(boto, bucket)
    assert was == {"same": "1", "changed": "1", "deleted": "1", "back": "1", "twice": "2", "d/é": "1"}
    await put(bucket, LATER)
    await put(bucket, {"back": "once more"})
    late = await moment(server, bucket)
    now, kept = seen(boto, bucket), versions(boto, bucket)

    planned = await bucket.restore_tree("p", as_of, dry_run=True)
    assert (seen(boto, bucket), versions(boto, bucket)) == (now, kept)
    report = await bucket.restore_tree("p", as_of)
    assert seen(boto, bucket) == was
    assert (report.copied, report.deleted, report.skipped) == (5, 3, 1)
    assert (planned.copied, planned.deleted, planned.skipped) == (5, 3, 1)
    assert planned.plan is not None
    assert {(action.action, action.name, action.reason) for action in planned.plan} == {
        ("copy", "back", "size"),
        ("copy", "changed", "size"),
        ("copy", "d/é", "size"),
        ("copy", "deleted", "missing"),
        ("copy", "twice", "version"),
        ("delete", "d/new", "extra"),
        ("delete", "gone", "extra"),
        ("delete", "new", "extra"),
    }
    assert versions(boto, bucket) > kept
    assert seen(boto, bucket, "p-other") == {"": "beside"}

    await bucket.restore_tree("p/", late)  # and back
    assert seen(boto, bucket) == now
    await bucket.restore_tree("p", early)
    assert seen(boto, bucket) == {"gone": "before", **{name: str(text) for name, text in FIRST.items()}}
    assert versions(boto, bucket) > kept


async def test_what_was_deleted_by_mistake_comes_back(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    await put(bucket, {"a": "a", "b/c": "c"})
    as_of = await moment(server, bucket)
    await bucket.delete_many(bucket.list("p/"))
    assert seen(boto, bucket) == {}
    report = await bucket.restore_tree("p", as_of)
    assert (report.copied, report.copied_bytes, report.deleted) == (2, 2, 0)
    assert seen(boto, bucket) == {"a": "a", "b/c": "c"}


async def test_the_time_that_a_head_tells_is_a_time_to_go_back_to(
    server: Server, bucket: dream.Bucket, boto: Any
) -> None:
    """It has whole seconds, rounded down, also where a listing has more."""
    await put(bucket, {"a": "a"})
    as_of = (await bucket.object("p/a").head()).last_modified
    assert as_of is not None
    while await moment(server, bucket) < as_of + timedelta(seconds=1):
        pass
    await put(bucket, {"a": "b"})
    assert (await bucket.restore_tree("p", as_of)).copied == 1
    assert seen(boto, bucket) == {"a": "a"}


async def test_headers_metadata_tags_and_acl_come_back(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    obj = bucket.object("p/a")
    await obj.put("1", content_type="text/csv", cache_control="no-cache", metadata={"color": "black"})
    if not server.is_b2:
        await obj.set_tags({"kind": "a"})
        await obj.set_acl("public-read")
    as_of = await moment(server, bucket)
    await obj.put("2", content_type="text/plain")
    assert (await bucket.restore_tree("p", as_of)).copied == 1
    reply = boto.get_object(Bucket=bucket.name, Key="p/a")
    assert (reply["Body"].read(), reply["ContentType"], reply["CacheControl"]) == (b"1", "text/csv", "no-cache")
    assert reply["Metadata"] == {"color": "black"}
    if not server.is_b2:
        assert boto.get_object_tagging(Bucket=bucket.name, Key="p/a")["TagSet"] == [{"Key": "kind", "Value": "a"}]
        assert (await obj.acl()).canned == "public-read"


async def test_the_state_of_a_time_is_copied_elsewhere(
    server: Server, bucket: dream.Bucket, session: dream.Session, boto: Any
) -> None:
    await put(bucket, {"a": "1", "b": "1"})
    as_of = await moment(server, bucket)
    await put(bucket, {"a": "2", "b": None, "c": "3"})
    now, other = seen(boto, bucket), await session.create_bucket(new_name())
    async with MemoryService().session() as elsewhere:
        there = await elsewhere.create_bucket("there")
        for to in ("q/x", other, there):
            report = await bucket.restore_tree("p", as_of, to)
            assert (report.copied, report.deleted, report.skipped) == (2, 0, 0)
        assert [await there.object(f"p/{name}").read_text() for name in "ab"] == ["1", "1"]
    assert seen(boto, bucket, "q/x/") == seen(boto, other) == {"a": "1", "b": "1"}
    assert seen(boto, bucket) == now
    report = await bucket.restore_tree("p", as_of, "dry", True)
    assert report.plan is not None
    assert [(action.name, action.reason) for action in report.plan] == [("a", "asked"), ("b", "asked")]
    assert seen(boto, bucket, "dry/") == {}
    await other.delete(force=True)


async def test_only_what_the_patterns_take_is_brought_back(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    await put(bucket, {"a.txt": "1", "b.tmp": "1"})
    as_of = await moment(server, bucket)
    await put(bucket, {"a.txt": "2", "b.tmp": "2", "c.txt": "2", "c.tmp": "2"})
    report = await bucket.restore_tree("p", as_of, include=["*.txt"], exclude=["none"])
    assert (report.copied, report.deleted, report.excluded, report.unmatched) == (1, 1, 2, ("none",))
    assert seen(boto, bucket) == {"a.txt": "1", "b.tmp": "2", "c.tmp": "2"}


async def test_null_versions_where_versioning_is_suspended(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    if server.is_b2:
        pytest.skip("B2 cannot suspend versioning")
    await put(bucket, {"kept": "version"})
    await bucket.set_versioning("Suspended")
    await put(bucket, {"null": "null"})
    as_of = await moment(server, bucket)
    await bucket.set_versioning("Enabled")
    await put(bucket, {"null": "2", "kept": "2", "new": "2"})
    late = await moment(server, bucket)
    await bucket.set_versioning("Suspended")
    report = await bucket.restore_tree("p", as_of)
    assert (report.copied, report.deleted) == (2, 1)
    assert seen(boto, bucket) == {"kept": "version", "null": "null"}
    await bucket.restore_tree("p", late)
    assert seen(boto, bucket) == {"kept": "2", "null": "2", "new": "2"}


async def test_of_several_versions_of_the_same_time_the_newest_counts() -> None:
    clock = StillClock()
    async with MemoryService(clock=clock).session() as session:
        there = await session.create_bucket("there")
        await there.set_versioning("Enabled")
        for text in ("1", "2", "3"):
            await there.object("p/a").put(text)
        await there.object("p/b").put("b")
        await there.object("p/b").delete()
        as_of = clock.now()
        assert await there.restore_tree("p", as_of) == dream.TreeReport(0, 0, skipped=1)
        clock.advance(timedelta(seconds=1))
        await put(there, {"a": "4", "b": "back"})
        report = await there.restore_tree("p", as_of.astimezone(timezone(timedelta(hours=5))))
        assert (report.copied, report.deleted) == (1, 1)
        assert await there.object("p/a").read() == b"3"


async def test_a_time_before_everything_hides_everything(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    await put(bucket, {"a": "a", "b": "b"})
    late = await moment(server, bucket)
    report = await bucket.restore_tree("p", datetime(2000, 1, 1, tzinfo=UTC))
    assert (report.copied, report.deleted) == (0, 2)
    assert seen(boto, bucket) == {}
    await bucket.restore_tree("p", late)
    assert seen(boto, bucket) == {"a": "a", "b": "b"}


async def test_more_versions_than_a_page() -> None:
    clock = StillClock()
    first = clock.now()
    second = first + timedelta(hours=1)
    async with MemoryService(clock=clock).session() as session:
        there = await session.create_bucket("there")
        await there.set_versioning("Enabled")
        for key in ("p/a", "p/b"):
            for number in range(1300):
                await there.object(key).put(f"{number}")
                if number == 100:
                    clock.advance(timedelta(hours=1))
        report = await there.restore_tree("p", second)
        assert (report.copied, report.deleted, report.skipped) == (1, 0, 1)
        assert [await there.object(key).read() for key in ("p/a", "p/b")] == [b"1299", b"100"]
        report = await there.restore_tree("p", first)
        assert (report.copied, report.deleted, report.skipped) == (1, 1, 0)
        assert await there.object("p/a").read() == b"100"
        assert [info.key async for info in there.list()] == ["p/a"]


async def test_a_large_version_comes_back_in_parts(server: Server, boto: Any) -> None:
    if server.is_b2:
        pytest.skip("in memory, and on Ceph RGW")
    content = random.Random(2).randbytes(PART + 1000)
    async with server.session(limits=dream.Limits(part_size=PART)) as session:
        bucket = await session.create_bucket(new_name())
        await bucket.set_versioning("Enabled")
        await bucket.object("p/large").put(content)
        as_of = await moment(server, bucket)
        await bucket.object("p/large").delete()
        told: list[dream.Progress] = []
        report = await bucket.restore_tree("p", as_of, progress=told.append)
        assert report.copied_bytes == told[-1].done_bytes == len(content)
        assert boto.get_object(Bucket=bucket.name, Key="p/large")["Body"].read() == content
        await bucket.delete(force=True)


async def test_versions_under_a_customers_key_come_back_under_it(server: Server) -> None:
    if not server.is_memory:
        pytest.skip("in memory")
    clock, key = StillClock(), dream.SseCustomer(b"k" * 32)
    async with MemoryService(clock=clock).session() as session:
        there = await session.create_bucket("there")
        await there.set_versioning("Enabled")
        obj = there.object("p/a")
        await obj.put("1", encryption=key)
        as_of = clock.now()
        clock.advance(timedelta(hours=1))
        await obj.delete()
        report = await there.restore_tree("p", as_of, on_error="collect")
        assert [type(failure.error) for failure in report.failures] == [dream.EncryptionKeyError]
        for to, prefix in ((None, "p"), ("q", "q")):
            assert (await there.restore_tree("p", as_of, to, encryption=key)).copied == 1
            assert await there.object(f"{prefix}/a").read(encryption=key) == b"1"
            with pytest.raises(dream.EncryptionKeyError):
                await there.object(f"{prefix}/a").read()


# What is refused, and what fails


async def test_what_has_no_time_zone_is_refused(bucket: dream.Bucket) -> None:
    await put(bucket, {"a": "a"})
    with pytest.raises(ValueError, match=r"as_of .* is naive"):
        await bucket.restore_tree("p", datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(TypeError, match="as_of '2026-01-01' must be a datetime"):
        await bucket.restore_tree("p", "2026-01-01")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="choose prefixes that do not overlap"):
        await bucket.restore_tree("p", datetime.now(UTC), "p/q")
    with pytest.raises(ValueError, match="choose prefixes that do not overlap"):
        await bucket.restore_tree("p", datetime.now(UTC), bucket)
    assert len(await bucket.list_versions().collect()) == 1


@pytest.mark.parametrize("to", [None, "q"])
async def test_a_bucket_without_versions_has_no_earlier_state(
    server: Server, session: dream.Session, to: str | None
) -> None:
    if server.is_b2:
        pytest.skip("B2 always keeps versions")
    other = await session.create_bucket(new_name())
    await other.object("p/a").put("a")
    with pytest.raises(ValueError, match="the bucket never kept versions"):
        await other.restore_tree("p", datetime(2000, 1, 1, tzinfo=UTC), to)
    assert await other.object("p/a").exists()
    await other.delete(force=True)


async def test_nothing_is_hidden_if_a_copy_fails() -> None:
    clock = StillClock()
    service, as_of = MemoryService(clock=clock), clock.now()
    async with service.session() as session:
        there = await session.create_bucket("there")
        await there.set_versioning("Enabled")
        await put(there, {"a": "1", "b": "1"})
        clock.advance(timedelta(hours=1))
        await put(there, {"a": "2", "b": "2", "c": "2"})
        service.fail("copy_object", "AccessDenied", key="p/a", times=None)
        with pytest.raises(dream.BulkError, match="1 names failed, 1 were copied; 1 were to be deleted") as caught:
            await there.restore_tree("p", as_of)
        assert [failure.key for failure in caught.value.report.failures] == ["a"]
        assert [await there.object(f"p/{name}").read_text() for name in "abc"] == ["2", "1", "2"]
        service.stop_faults()
        report = await there.restore_tree("p", as_of)
        assert (report.copied, report.deleted) == (2, 1)
