"""A verb over many keys that is interrupted at any await: what is done is done, and nothing else is touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from interruptions import (
    PART,
    PATIENCE_SECONDS,
    WIDE,
    How,
    at_each_moment,
    in_every_way,
    memory_service,
    nothing_is_told,
    serves,
)

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

Verb = Callable[[dream.Bucket], Coroutine[Any, Any, object]]

DOOMED = [f"doomed/{number:04}" for number in range(2_100)]
THERE = DOOMED[::150]
KEPT = [f"kept/{number}" for number in range(5)]


async def endless(keys: list[str]) -> AsyncIterator[str]:
    for number, key in enumerate(keys):
        if not number % 400:
            await asyncio.sleep(0)
        yield key


BULK: dict[str, Verb] = {
    "delete_many": lambda bucket: bucket.delete_many(DOOMED),
    "delete_many of an iterator": lambda bucket: bucket.delete_many(endless(DOOMED)),
    "delete_many of a listing": lambda bucket: bucket.delete_many(bucket.list("doomed/", parallel=4)),
    "set_acl_many": lambda bucket: bucket.set_acl_many(THERE, "public-read"),
    "set_acl_many of an iterator": lambda bucket: bucket.set_acl_many(endless(THERE), "public-read"),
    "set_headers_many": lambda bucket: bucket.set_headers_many(THERE, cache_control="no-cache"),
    "copy_many": lambda bucket: bucket.copy_many([(key, f"copies/{key}") for key in THERE]),
}


@in_every_way
@pytest.mark.parametrize("verb", BULK)
async def test_a_verb_over_many_keys_can_be_cancelled_at_every_await(verb: str, how: How, limits: dream.Limits) -> None:
    memory, deletes = memory_service(), verb.startswith("delete")
    acl: dream.CannedAcl = "public-read" if verb == "set_headers_many" else "private"
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
            bucket = await session.create_bucket("interrupted")
            seen = other.bucket("interrupted")
            for key in KEPT:
                await seen.object(key).put(key)

            async def set_up() -> None:
                there = {info.key for info in await seen.list("doomed/").collect()} if deletes else set[str]()
                for key in THERE:
                    if key not in there:
                        await seen.object(key).put(key, metadata={"kept": "yes"}, acl=acl)
                await seen.delete_many(seen.list("copies/"))

            async def check(was_cut: bool) -> None:
                keys = [info.key for info in await seen.list().collect()]
                copies = [key for key in keys if key.startswith("copies/")]
                assert was_cut or len(copies) == (len(THERE) if verb == "copy_many" else 0)
                assert [await seen.object(key).read_text() for key in copies] == [key[7:] for key in copies]
                keys = keys[len(copies) :]
                assert [key for key in keys if key in KEPT] == KEPT
                assert set(keys) <= {*KEPT, *THERE}
                if deletes and not was_cut:
                    assert keys == KEPT
                if not deletes:
                    assert set(keys) == {*KEPT, *THERE}
                if verb == "set_headers_many":
                    for info in [await seen.object(key).head() for key in THERE]:
                        assert info.metadata == {"kept": "yes"}
                        assert info.cache_control == "no-cache" or (was_cut and info.cache_control is None)
                        assert (await seen.object(info.key).acl()).canned == acl
                if verb.startswith("set_acl"):
                    acls = [(await seen.object(key).acl()).canned for key in THERE]
                    assert set(acls) <= {"private", "public-read"}
                    assert was_cut or set(acls) == {"public-read"}
                    assert (await seen.object(KEPT[0]).acl()).canned == "private"

            await at_each_moment(lambda: BULK[verb](bucket), how, set_up, check)
            await serves(bucket)


ALL_OF_IT: dict[str, Verb] = {
    "abort_uploads": lambda bucket: bucket.abort_uploads(timedelta(0), prefix="open/"),
    "empty": lambda bucket: bucket.empty(),
    "delete(force)": lambda bucket: bucket.delete(force=True),
}


@in_every_way
@pytest.mark.parametrize("verb", ALL_OF_IT)
async def test_emptying_can_be_cancelled_at_every_await(verb: str, how: How, limits: dream.Limits) -> None:
    """The other bucket is as it was, and a second try does the rest."""
    memory = memory_service()
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
            beside = await other.create_bucket("beside")
            await beside.object("a").put(b"a")
            await begin_upload(memory, beside, "open/beside")
            seen, uploads = other.bucket("interrupted"), [f"open/{number}" for number in range(4)]

            async def set_up() -> None:
                await seen.create(exist_ok=True)
                await seen.set_versioning("Enabled")
                for number in range(6):
                    await seen.object(f"many/{number % 3}").put(b"")
                await seen.object("many/0").delete()
                await seen.object("kept").put(b"kept")
                for key in uploads:
                    await begin_upload(memory, seen, key)

            async def check(was_cut: bool) -> None:
                assert await beside.object("a").read() == b"a"
                assert [upload.key async for upload in beside.uploads()] == ["open/beside"]
                if verb == "abort_uploads":
                    assert await seen.object("kept").read() == b"kept"
                    assert was_cut or await seen.uploads().collect() == []
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if await seen.exists():
                        assert was_cut or verb != "delete(force)"
                        await ALL_OF_IT[verb](session.bucket("interrupted"))
                if await seen.exists():
                    assert verb == "abort_uploads" or await seen.list_versions().collect() == []
                    await seen.delete(force=True)

            await at_each_moment(lambda: ALL_OF_IT[verb](session.bucket("interrupted")), how, set_up, check)
            await serves(session.bucket("beside"))


async def begin_upload(memory: MemoryService, bucket: dream.Bucket, key: str) -> None:
    """An upload that its owner could not abort."""
    faults = [
        memory.fail("put_part", "AccessDenied", key=key, times=None),
        memory.fail("abort_upload", "AccessDenied", key=key, times=None),
    ]
    with pytest.raises(dream.AccessDeniedError):
        await bucket.object(key).put(bytes(2 * PART))
    memory.stop_faults()
    assert all(fault.fired for fault in faults)
