"""Requests that a verb makes without having been asked for what they do: their refusal fails nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Verb

LACKING = [("NotImplemented", 501), ("MethodNotAllowed", 405), ("NotFound", 404), ("InvalidRequest", 400)]
REFUSALS = [*LACKING, ("AccessDenied", 403), ("InvalidTag", 400)]
PART = 5 << 20
LARGE = os.urandom(PART + 1)


@pytest.fixture
def memory() -> MemoryService:
    """It copies no more than 5 MiB at once."""
    rules = dream.MultipartRules(largest_copy=PART)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest_asyncio.fixture
async def bucket(memory: MemoryService) -> AsyncIterator[dream.Bucket]:
    async with memory.session(
        retry=dream.Retry(attempts=2, base=0.001), limits=dream.Limits(part_size=PART)
    ) as session:
        yield await session.create_bucket("here")


@pytest_asyncio.fixture
async def other(memory: MemoryService) -> AsyncIterator[dream.Bucket]:
    """A bucket of the same service, by another session."""
    async with memory.session(
        retry=dream.Retry(attempts=2, base=0.001), limits=dream.Limits(part_size=PART)
    ) as session:
        yield await session.create_bucket("there")


def count(memory: MemoryService, verb: Verb) -> int:
    return [request.verb for request in memory.requests].count(verb)


async def with_a_change(bucket: dream.Bucket, _: dream.Bucket, key: str) -> dream.Object:
    await bucket.object("in/a").copy_to(bucket.object(key), cache_control="no-cache")
    return bucket.object(key)


async def onto_itself(bucket: dream.Bucket, _: dream.Bucket, key: str) -> dream.Object:
    await bucket.object("in/a").copy_to(bucket.object(key))
    await bucket.object(key).set_headers(cache_control="no-cache")
    return bucket.object(key)


async def to_another_session(bucket: dream.Bucket, other: dream.Bucket, key: str) -> dream.Object:
    await bucket.object("in/a").copy_to(other.object(key), cache_control="no-cache")
    return other.object(key)


async def in_parts(bucket: dream.Bucket, _: dream.Bucket, key: str) -> dream.Object:
    await bucket.object("in/large").copy_to(bucket.object(key), cache_control="no-cache")
    return bucket.object(key)


async def moved(bucket: dream.Bucket, other: dream.Bucket, key: str) -> dream.Object:
    await bucket.object("in/a").copy_to(bucket.object("moving"), cache_control="no-cache")
    await bucket.object("moving").move_to(other.object(key))
    return other.object(key)


async def by_a_tree(bucket: dream.Bucket, other: dream.Bucket, key: str) -> dream.Object:
    await bucket.object("in/a").copy_to(bucket.object(f"tree-{key}/a"), cache_control="no-cache")
    report = await bucket.copy_tree(other, f"tree-{key}/")
    assert (report.copied, report.failed) == (1, 0)
    return other.object(f"tree-{key}/a")


Way = Callable[[dream.Bucket, dream.Bucket, str], Awaitable[dream.Object]]
WAYS: list[Way] = [with_a_change, onto_itself, to_another_session, in_parts, moved, by_a_tree]


@pytest_asyncio.fixture
async def filled(bucket: dream.Bucket) -> dream.Bucket:
    for key, content in (("in/a", b"x"), ("in/large", LARGE)):
        await bucket.object(key).put(content)
        await bucket.object(key).set_tags({"kind": "a"})
    return bucket


@pytest.mark.parametrize(("code", "status"), REFUSALS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_copy_needs_no_tags(
    memory: MemoryService, filled: dream.Bucket, other: dream.Bucket, way: Way, code: str, status: int
) -> None:
    memory.fail("get_object_tags", code, status=status, times=None)
    memory.forget_requests()
    for key in ("1", "2"):
        copied = await way(filled, other, key)
        assert (await copied.head()).cache_control == "no-cache"
    assert count(memory, "put_object_tags") == 0
    if (code, status) in LACKING:
        assert count(memory, "get_object_tags") == 1


@pytest.mark.parametrize(("code", "status"), REFUSALS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_copy_is_made_where_its_tags_cannot_be_kept(
    memory: MemoryService, filled: dream.Bucket, other: dream.Bucket, way: Way, code: str, status: int
) -> None:
    memory.fail("put_object_tags", code, status=status, times=None)
    copied = await way(filled, other, "1")
    assert (await copied.head()).cache_control == "no-cache"


async def test_what_a_service_turns_out_to_lack_is_known_of_the_session(memory: MemoryService) -> None:
    memory.fail("get_object_tags", "NotImplemented", times=None)
    async with memory.session() as session:
        bucket = await session.create_bucket("here")
        source, to = bucket.object("a"), bucket.object("b")
        await source.put(b"x")
        await source.copy_to(source, cache_control="no-cache")
        assert "tagging" in session.service.unsupported
        with pytest.raises(dream.UnsupportedByServiceError, match=r"keeps no tags.*refused it earlier in this session"):
            await source.copy_to(to, tags={"a": "b"})
        assert not await to.exists()
    assert "tagging" not in memory.session().service.unsupported


@pytest.mark.parametrize("way", WAYS)
async def test_trouble_that_may_pass_is_told_of(
    memory: MemoryService, filled: dream.Bucket, other: dream.Bucket, way: Way
) -> None:
    memory.fail("get_object_tags", "InternalError", times=None)
    with pytest.raises((dream.ServiceBusyError, dream.BulkError)):
        await way(filled, other, "1")


# Tags that were asked for


@pytest.mark.parametrize(("code", "status"), REFUSALS)
async def test_tags_that_were_asked_for_are_set_or_the_call_fails(
    memory: MemoryService, filled: dream.Bucket, code: str, status: int
) -> None:
    memory.fail("put_object_tags", code, status=status, times=None)
    with pytest.raises(dream.ServiceError) as caught:
        await filled.object("in/a").copy_to(filled.object("1"), tags={"a": "b"})
    assert caught.value.in_doubt
    assert await filled.object("1").exists()


@pytest.mark.parametrize(("code", "status"), REFUSALS)
async def test_to_have_no_tags_needs_none(memory: MemoryService, filled: dream.Bucket, code: str, status: int) -> None:
    memory.fail("get_object_tags", code, status=status, times=None)
    memory.fail("put_object_tags", code, status=status, times=None)
    await filled.object("in/a").copy_to(filled.object("1"), tags={}, cache_control="no-cache")


async def test_tags_are_deleted_only_where_there_are_some(
    memory: MemoryService, filled: dream.Bucket, other: dream.Bucket
) -> None:
    await filled.object("bare").put(b"x")
    memory.forget_requests()
    await filled.object("bare").copy_to(filled.object("1"), tags={})
    await filled.object("in/a").copy_to(other.object("1"), tags={})
    await filled.object("in/large").copy_to(filled.object("large"), tags={})
    assert count(memory, "put_object_tags") == 0
    await filled.object("in/a").copy_to(filled.object("1"), tags={})
    assert count(memory, "put_object_tags") == 1
    for obj in (filled.object("1"), other.object("1"), filled.object("large")):
        assert await obj.tags() == {}


async def test_a_plain_copy_asks_for_nothing_more(memory: MemoryService, filled: dream.Bucket) -> None:
    memory.forget_requests()
    await filled.object("in/a").copy_to(filled.object("1"))
    assert [request.verb for request in memory.requests] == ["head_object", "copy_object"]
    memory.forget_requests()
    await filled.object("in/a").copy_to(filled.object("1"), acl="public-read")
    assert [request.verb for request in memory.requests] == ["head_object", "copy_object"]


# ACLs


@pytest.mark.parametrize(("code", "status"), [*LACKING, ("AccessDenied", 403)])
async def test_an_acl_that_nobody_asked_for_is_left_out(
    memory: MemoryService, filled: dream.Bucket, code: str, status: int
) -> None:
    memory.fail("get_object_acl", code, status=status, times=None)
    memory.forget_requests()
    for value in ("1", "2"):
        await filled.object("in/a").set_headers(cache_control=value)
        assert (await filled.object("in/a").head()).cache_control == value
    assert count(memory, "get_object_acl") == (2 if status == 403 else 1)


async def test_an_acl_that_was_asked_for_is_there_or_there_is_no_copy(
    memory: MemoryService, filled: dream.Bucket
) -> None:
    memory.fail("get_object_acl", "AccessDenied")
    with pytest.raises(dream.AccessDeniedError):
        await filled.object("in/a").copy_to(filled.object("1"), copy_acl=True)
    assert not await filled.object("1").exists()


async def test_a_public_object_is_public_at_every_moment(memory: MemoryService, filled: dream.Bucket) -> None:
    obj = filled.object("in/a")
    await obj.set_acl("public-read")
    memory.forget_requests()
    await obj.set_headers(cache_control="no-cache")
    assert count(memory, "put_object_acl") == 0
    assert (await obj.acl()).canned == "public-read"


@pytest.mark.parametrize("trouble", ["cancelled", "reply lost"])
async def test_grants_stay_whatever_happens_after_the_copy(
    memory: MemoryService, filled: dream.Bucket, trouble: str
) -> None:
    obj = filled.object("in/a")
    owner = (await obj.acl()).owner
    grants = (dream.Grant("FULL_CONTROL", id=owner), dream.Grant("READ_ACP", uri=dream.AUTHENTICATED_USERS))
    await obj.set_acl(dream.Acl(owner, grants))
    memory.forget_requests()
    if trouble == "cancelled":
        held = asyncio.Event()
        memory.delay("put_object_acl", held)
        task = asyncio.create_task(obj.set_headers(cache_control="no-cache"))
        while not count(memory, "put_object_acl"):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        memory.lose_reply("copy_object", times=None)
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await obj.set_headers(cache_control="no-cache")
        assert caught.value.in_doubt
    assert (await obj.head()).cache_control == "no-cache"
    assert set((await obj.acl()).grants) == set(grants)


# A pin that a service takes for another


@pytest.mark.parametrize(("verb", "key"), [("copy_object", "in/a"), ("copy_part", "in/large")])
async def test_a_pin_that_is_refused_although_nothing_changed_is_left_out(
    memory: MemoryService, filled: dream.Bucket, verb: Verb, key: str
) -> None:
    """OpenStack Swift refuses the ETag of an object in parts."""
    source, content = filled.object(key), await filled.object(key).read()
    fault = memory.fail(verb, "PreconditionFailed")
    await source.copy_to(filled.object("1"))
    assert fault.fired == 1
    assert await filled.object("1").read() == content
    memory.fail(verb, "PreconditionFailed")
    await source.set_headers(cache_control="no-cache")
    assert await source.read() == content
    memory.fail(verb, "PreconditionFailed")
    await source.move_to(filled.object("2"))
    assert await filled.object("2").read() == content


async def test_conditions_of_a_copy_are_no_pins(memory: MemoryService, filled: dream.Bucket) -> None:
    memory.fail("copy_object", "PreconditionFailed")
    await filled.object("in/a").copy_to(filled.object("1"), if_absent=True)
    memory.fail("copy_object", "PreconditionFailed", times=None)
    with pytest.raises(dream.AlreadyExistsError):
        await filled.object("in/a").copy_to(filled.object("2"), if_absent=True)
    with pytest.raises(dream.PreconditionFailedError):
        await filled.object("in/a").copy_to(filled.object("2"))
