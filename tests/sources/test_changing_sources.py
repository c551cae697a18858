"""A source that changes while it is copied: a copy of its older state never passes for one of the newer state."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from servers.faulty import FaultyServer
from servers.rules import Meanwhile, Refuse, Rule

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import md5_hex
from aiodreamobjects._memory.store import Bucket, Content

PART = 1000
LIMITS = dream.Limits(part_size=PART)
SIZES = {"at once": ("PutObject", PART // 2), "in parts": ("CompleteMultipartUpload", 3 * PART)}
FOR_EVER = None


def sessions(faulty: FaultyServer) -> tuple[dream.Session, dream.Session]:
    service = replace(faulty.service, unsupported={"tagging": "it has no tags"})
    here, there = (faulty.session(limits=LIMITS, service=service) for _ in range(2))
    return here, there


def changing(size: int) -> Callable[[Bucket], object]:
    """Each time to another content of the same size."""
    numbers = random.Random(size)

    def change(bucket: Bucket) -> None:
        content = numbers.randbytes(size)
        bucket.add("a", Content(content, md5_hex(content), {}))

    return change


@pytest.mark.parametrize("how", SIZES)
@pytest.mark.parametrize("verb", ["copy_to", "move_to"])
async def test_a_source_that_changes_once_is_copied_once_more(faulty: FaultyServer, verb: str, how: str) -> None:
    op, size = SIZES[how]
    faulty.put("bucket", "a", bytes(size))
    told: list[dream.Progress] = []
    faulty.will(Rule(op, Meanwhile(changing(size)), key="b"))
    here, there = sessions(faulty)
    async with here, there:
        await getattr(here.object("s3://bucket/a"), verb)(there.object("s3://bucket/b"), progress=told.append)
    expected = random.Random(size).randbytes(size)
    assert faulty.content("bucket", "b") == expected
    assert faulty.content("bucket", "a") == (expected if verb == "copy_to" else None)
    done = [progress.done_bytes for progress in told]
    assert done == sorted(done)
    assert done[-1] == size


@pytest.mark.parametrize("how", SIZES)
@pytest.mark.parametrize("verb", ["copy_to", "move_to"])
async def test_a_source_that_never_rests_is_an_error_and_stays(faulty: FaultyServer, verb: str, how: str) -> None:
    op, size = SIZES[how]
    faulty.put("bucket", "a", bytes(size))
    faulty.will(Rule(op, Meanwhile(changing(size)), key="b", times=FOR_EVER))
    here, there = sessions(faulty)
    async with here, there:
        with pytest.raises(dream.ObjectChangedError, match="is a copy of its old state") as caught:
            await getattr(here.object("s3://bucket/a"), verb)(there.object("s3://bucket/b"))
    assert caught.value.in_doubt
    assert faulty.ops.count(op) == 2
    assert faulty.content("bucket", "a") is not None


async def test_a_copy_with_a_condition_is_made_once(faulty: FaultyServer) -> None:
    old = faulty.put("bucket", "c", b"old")
    faulty.put("bucket", "a", bytes(PART // 2))
    here, there = sessions(faulty)
    change = changing(PART // 2)
    async with here, there:
        for key in ("b", "c"):
            faulty.log.clear()
            faulty.will(Rule("PutObject", Meanwhile(change), key=key))
            source, to = here.object("s3://bucket/a"), there.object(f"s3://bucket/{key}")
            with pytest.raises(dream.ObjectChangedError, match="is a copy of its old state"):
                await (source.copy_to(to, if_absent=True) if key == "b" else source.copy_to(to, if_match=old))
            assert faulty.ops.count("PutObject") == 1


async def test_a_source_that_was_deleted_meanwhile_is_told_of(faulty: FaultyServer) -> None:
    def delete(bucket: Bucket) -> None:
        version = bucket.newest("a")
        assert version is not None
        bucket.remove("a", version.version_id)

    faulty.put("bucket", "a", bytes(PART // 2))
    faulty.will(Rule("PutObject", Meanwhile(delete), key="b"))
    here, there = sessions(faulty)
    async with here, there:
        with pytest.raises(dream.ObjectChangedError, match="was deleted while it was copied"):
            await here.object("s3://bucket/a").copy_to(there.object("s3://bucket/b"))


@pytest.mark.parametrize("compare", ["mtime", "etag"])
@pytest.mark.parametrize("times", [1, FOR_EVER], ids=["once", "for ever"])
async def test_a_tree_never_keeps_a_stale_copy(faulty: FaultyServer, times: int | None, compare: dream.Compare) -> None:
    """The stale copy is younger than the source: by its time, no later run would see that it is stale."""
    faulty.make_bucket("target")
    faulty.put("bucket", "a", bytes(PART // 2))

    def change(_: Bucket) -> None:
        changing_it(faulty._store.bucket("bucket"))

    changing_it = changing(PART // 2)
    faulty.will(Rule("PutObject", Meanwhile(change), key="a", times=times))
    here, there = sessions(faulty)
    async with here, there:
        bucket, target = here.bucket("bucket"), there.bucket("target")
        report = await bucket.copy_tree(target, compare=compare, on_error="collect")
        assert (report.copied, report.failed) == ((1, 0) if times else (0, 1))
    if times:
        assert faulty.content("target", "a") == faulty.content("bucket", "a")


async def test_headers_that_a_copy_by_the_service_carries_over_are_not_of_an_older_state(faulty: FaultyServer) -> None:
    """The same bytes have the same ETag, so that this pins nothing else."""
    content = bytes(PART // 2)

    def change(bucket: Bucket) -> None:
        bucket.add("a", Content(content, md5_hex(content), {"content-type": "text/new"}))

    faulty.put("bucket", "a", content)
    faulty.will(Rule("CopyObject", Meanwhile(change)))
    here, there = sessions(faulty)
    async with here, there:
        source, to = here.object("s3://bucket/a"), here.object("s3://bucket/b")
        with pytest.raises(dream.ObjectChangedError, match="is a copy of its old state"):
            await source.copy_to(to, cache_control="no-cache")
        await source.copy_to(to, cache_control="no-cache")
        assert (await to.head()).content_type == "text/new"


@pytest.mark.parametrize("is_within", [True, False], ids=["within", "across"])
async def test_a_copy_that_fails_after_it_was_made_is_in_doubt(faulty: FaultyServer, *, is_within: bool) -> None:
    """The second look at the source is refused: the call fails, and its object is there."""
    content = bytes(PART // 2)
    faulty.put("bucket", "a", content)
    faulty.will(Rule("HeadObject", Refuse(403, "AccessDenied"), key="a", nth=2, times=FOR_EVER))
    here, there = sessions(faulty)
    async with here, there:
        to = (here if is_within else there).object("s3://bucket/b")
        with pytest.raises(dream.AccessDeniedError) as caught:
            await here.object("s3://bucket/a").copy_to(to, cache_control="no-cache")
    assert caught.value.in_doubt
    assert faulty.content("bucket", "b") == content
