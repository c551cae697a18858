"""Objects copied and moved, on every server: within a session, in parts, and from one session to another."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Verb

PART = 5 << 20
CONTENT = os.urandom(2 * PART + 1)
ON = ("memory", "rgw", "b2")
"""What is copied does not pass through here: TLS adds nothing."""
LIMITS = dream.Limits(part_size=PART, parts_per_object=3)
SESSION = {"limits": LIMITS}


async def put_with_everything(obj: dream.Object, content: bytes = b"1;2") -> None:
    await obj.put(
        content,
        content_type="text/csv",
        metadata={"Source": "scale 7"},
        cache_control="max-age=60",
        content_disposition="inline",
        content_encoding="identity",
    )


def has_tags(server: Server) -> bool:
    return "tagging" not in server.service.unsupported


async def headers_of(obj: dream.Object) -> tuple[object, ...]:
    info = await obj.head()
    return (
        info.content_type,
        {name: value for name, value in (info.metadata or {}).items() if name != "part-size"},
        info.cache_control,
        info.content_disposition,
        info.content_encoding,
    )


EVERYTHING = ("text/csv", {"source": "scale 7"}, "max-age=60", "inline", "identity")


async def test_a_copy_is_of_the_key_that_is_named(bucket: dream.Bucket) -> None:
    copy = bucket.object("copy")
    for key in ("a dir/ü+~%20&x?", "/leading", "100%25 🎉", "a+b c%20d"):
        await bucket.object(key).put(key)
        await bucket.object(key).copy_to(copy)
        assert await copy.read_text() == key
        await copy.copy_to(bucket.object(f"{key} again"))
        assert await bucket.object(f"{key} again").read_text() == key


async def test_a_copy_has_all_that_the_object_has(server: Server, bucket: dream.Bucket) -> None:
    key = "copy"
    source, copy = bucket.object(f"{key} of this"), bucket.object(key)
    await put_with_everything(source)
    if has_tags(server):
        await source.set_tags({"kind": "a + b"})
    seen: list[dream.Progress] = []
    info = await source.copy_to(copy, progress=seen.append)
    assert (info.bucket, info.key, info.size, info.verified) == (bucket.name, key, 3, "md5")
    assert info.etag == hashlib.md5(b"1;2").hexdigest()
    assert seen[-1] == dream.Progress(3, 3, 1, 1, key)
    assert await copy.read() == await source.read() == b"1;2"
    assert await headers_of(copy) == EVERYTHING
    if has_tags(server):
        assert await copy.tags() == {"kind": "a + b"}
    assert (await copy.acl()).canned == "private"


async def test_a_copy_has_what_is_asked_for_instead(server: Server, bucket: dream.Bucket) -> None:
    source, copy = bucket.object("source"), bucket.object("copy")
    await put_with_everything(source)
    if has_tags(server):
        await source.set_tags({"kind": "a"})
    await source.copy_to(copy, content_type="text/plain")
    assert await headers_of(copy) == ("text/plain", *EVERYTHING[1:])
    if has_tags(server):
        assert await copy.tags() == {"kind": "a"}
        await source.copy_to(copy, tags={"other": "b"})
        assert await copy.tags() == {"other": "b"}
        assert await headers_of(copy) == EVERYTHING
        await source.copy_to(copy, tags={})
        assert await copy.tags() == {}
    await source.copy_to(copy, metadata={}, cache_control="no-cache", content_disposition="attachment")
    assert await headers_of(copy) == ("text/csv", {}, "no-cache", "attachment", "identity")
    await source.copy_to(copy, metadata={"new": "1"})
    assert await headers_of(copy) == ("text/csv", {"new": "1"}, "max-age=60", "inline", "identity")
    assert await headers_of(source) == EVERYTHING
    assert await copy.read() == b"1;2"


async def test_an_acl_is_copied_when_that_is_asked_for(server: Server, bucket: dream.Bucket) -> None:
    source, copy = bucket.object("source"), bucket.object("copy")
    await source.put("x")
    if server.is_b2:
        await source.copy_to(copy, copy_acl=True)
        with pytest.raises(dream.UnsupportedByServiceError, match=r"bucket\.set_acl"):
            await source.copy_to(copy, acl="public-read")
        return
    await source.set_acl("public-read")
    await source.copy_to(copy)
    assert (await copy.acl()).canned == "private"
    await source.copy_to(copy, copy_acl=True)
    assert (await copy.acl()).canned == "public-read"
    await source.set_acl("private")
    await source.copy_to(copy, acl="public-read")
    assert (await copy.acl()).canned == "public-read"


async def test_a_copy_can_be_refused_where_an_object_is(server: Server, bucket: dream.Bucket) -> None:
    source, copy = bucket.object("source"), bucket.object("copy")
    etag = (await source.put("new")).etag
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await source.copy_to(copy, if_absent=True)
        assert not await copy.exists()
        return
    await source.copy_to(copy, if_absent=True)
    old = (await copy.put("old")).etag
    with pytest.raises(dream.AlreadyExistsError, match="copy"):
        await source.copy_to(copy, if_absent=True)
    with pytest.raises(dream.PreconditionFailedError, match="copy"):
        await source.copy_to(copy, if_match=etag)
    with pytest.raises(dream.NotFoundError):
        await source.copy_to(bucket.object("missing"), if_match=etag)
    assert await copy.read() == b"old"
    await source.copy_to(copy, if_match=old)
    assert await copy.read() == b"new"


async def test_metadata_is_changed_by_a_copy_onto_itself(bucket: dream.Bucket) -> None:
    obj = bucket.object("same")
    await put_with_everything(obj)
    with pytest.raises(ValueError, match="onto itself must change something, such as its metadata"):
        await obj.copy_to(obj)
    with pytest.raises(ValueError, match="cannot be moved onto itself"):
        await obj.move_to(bucket.object("same"))
    info = await obj.copy_to(obj, metadata={"new": "1"})
    assert (info.size, info.verified) == (3, "md5")
    assert await headers_of(obj) == ("text/csv", {"new": "1"}, *EVERYTHING[2:])
    assert await obj.read() == b"1;2"


async def test_a_copy_onto_itself_keeps_what_it_is_told_to_keep(server: Server, bucket: dream.Bucket) -> None:
    if server.is_b2:
        pytest.skip("Backblaze B2 has neither tags nor ACLs of objects")
    obj = bucket.object("same")
    await obj.put("x")
    await obj.set_tags({"kind": "a"})
    await obj.set_acl("public-read")
    await obj.copy_to(obj, metadata={"new": "1"}, copy_acl=True)
    assert (await obj.acl()).canned == "public-read"
    assert await obj.tags() == {"kind": "a"}


async def test_what_is_missing_is_not_copied(bucket: dream.Bucket, session: dream.Session) -> None:
    missing, copy = bucket.object("missing"), bucket.object("copy")
    for verb in (missing.copy_to(copy), missing.move_to(copy), missing.copy_to(missing, metadata={})):
        with pytest.raises(dream.NotFoundError, match=f"s3://{bucket.name}/missing"):
            await verb
    assert not await copy.exists()
    await copy.put("x")
    nowhere = session.bucket(new_name()).object("copy")
    for verb in (copy.copy_to(nowhere), copy.move_to(nowhere)):
        with pytest.raises(dream.NotFoundError):
            await verb
    assert await copy.read() == b"x"


async def test_an_object_moves_to_another_bucket(server: Server, session: dream.Session, bucket: dream.Bucket) -> None:
    other = await session.create_bucket(new_name())
    source, moved = bucket.object("a/source"), other.object("b/moved")
    await put_with_everything(source)
    if has_tags(server):
        await source.set_tags({"kind": "a"})
    seen: list[dream.Progress] = []
    info = await source.move_to(moved, progress=seen.append)
    assert (info.bucket, info.key, info.size, info.verified) == (other.name, "b/moved", 3, "md5")
    assert info.last_modified is not None
    assert seen[-1] == dream.Progress(3, 3, 1, 1, "b/moved")
    assert not await source.exists()
    assert await moved.read() == b"1;2"
    assert await headers_of(moved) == EVERYTHING
    if has_tags(server):
        assert await moved.tags() == {"kind": "a"}
    await other.delete(force=True)


async def test_a_move_takes_the_version_that_was_copied_and_leaves_the_ones_before(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    source, moved = bucket.object("source"), bucket.object("moved")
    first = await source.put("1")
    await source.put("2")
    await source.move_to(moved)
    assert await moved.read() == b"2"
    assert [version.version_id async for version in bucket.list_versions("source")] == [first.version_id]
    assert await source.read() == b"1"
    await source.move_to(moved)
    assert not await source.exists()
    assert await bucket.list_versions("source").collect() == []
    assert len(await bucket.list_versions("moved").collect()) == 2


async def test_an_object_that_was_put_in_parts_is_copied(bucket: dream.Bucket) -> None:
    source, copy = bucket.object("source"), bucket.object("copy")
    await put_with_everything(source, CONTENT)
    info = await source.copy_to(copy)
    assert info.size == len(CONTENT)
    assert info.verified in ("parts", "size")
    assert info.etag == (await copy.head()).etag
    assert await copy.read() == CONTENT
    assert await headers_of(copy) == EVERYTHING
    info = await source.copy_to(source, metadata={"new": "1"})
    assert info.size == len(CONTENT)
    assert info.etag == (await source.head()).etag
    assert await headers_of(source) == ("text/csv", {"new": "1"}, *EVERYTHING[2:])
    assert await source.read() == CONTENT
    await copy.move_to(bucket.object("moved"))
    assert await bucket.object("moved").read() == CONTENT


# In parts


@pytest_asyncio.fixture(scope="module")
async def in_parts(server: Server) -> AsyncIterator[dream.Session]:
    """A session with a service that copies no more than 5 MiB at once."""
    if not (server.is_memory or server.name == "rgw"):
        pytest.skip("in memory, and on Ceph RGW")
    rules = dream.MultipartRules(largest_copy=PART)
    if server.memory is not None:
        memory = MemoryService(service=replace(server.service, multipart=rules))
        server = replace(server, memory=memory)
    async with replace(server, service=replace(server.service, multipart=rules)).session(limits=LIMITS) as opened:
        yield opened


@pytest_asyncio.fixture
async def parted(in_parts: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await in_parts.create_bucket(new_name())
    yield made
    await made.delete(force=True)


async def test_a_large_object_is_copied_in_parts(parted: dream.Bucket) -> None:
    source, copy = parted.object("a dir/ü+~&x?"), parted.object("copy")
    await put_with_everything(source, CONTENT)
    await source.set_tags({"kind": "a"})
    seen: list[dream.Progress] = []
    info = await source.copy_to(copy, progress=seen.append)
    digests = [hashlib.md5(CONTENT[start : start + PART]).digest() for start in range(0, len(CONTENT), PART)]
    etag = f"{hashlib.md5(b''.join(digests)).hexdigest()}-3"
    assert (info.size, info.etag) == (len(CONTENT), etag)
    assert info.verified in ("parts", "size")  # Ceph RGW 16.2 does not say the ETag when it is completed
    assert seen[-1] == dream.Progress(len(CONTENT), len(CONTENT), 1, 1, "copy")
    assert (await copy.head()).etag == etag
    assert await copy.read() == CONTENT
    assert await headers_of(copy) == EVERYTHING
    assert await copy.tags() == {"kind": "a"}
    assert await parted.uploads().collect() == []


async def test_a_large_copy_is_of_the_key_that_is_named(parted: dream.Bucket) -> None:
    named, decoded, copy = (parted.object(key) for key in ("a%20b", "a b", "copy"))
    await named.put(CONTENT)
    await named.copy_to(copy)
    assert await copy.read() == CONTENT
    await decoded.put(bytes(len(CONTENT)))
    await named.copy_to(copy)
    assert await copy.read() == CONTENT


async def test_a_large_copy_has_what_is_asked_for_instead(parted: dream.Bucket) -> None:
    source, copy = parted.object("source"), parted.object("copy")
    await put_with_everything(source, CONTENT)
    await source.copy_to(copy, metadata={"new": "1"}, tags={"b": "c"}, acl="public-read", content_type="text/plain")
    assert await headers_of(copy) == ("text/plain", {"new": "1"}, *EVERYTHING[2:])
    assert await copy.tags() == {"b": "c"}
    assert (await copy.acl()).canned == "public-read"
    with pytest.raises(dream.AlreadyExistsError):
        await source.copy_to(copy, if_absent=True)
    with pytest.raises(dream.PreconditionFailedError):
        await source.copy_to(copy, if_match="0" * 32)
    assert await parted.uploads().collect() == []


async def test_a_large_object_is_copied_onto_itself_and_moved(parted: dream.Bucket) -> None:
    obj, moved = parted.object("source"), parted.object("moved")
    await put_with_everything(obj, CONTENT)
    await obj.copy_to(obj, metadata={"new": "1"})
    assert await headers_of(obj) == ("text/csv", {"new": "1"}, *EVERYTHING[2:])
    assert await obj.read() == CONTENT
    await obj.move_to(moved)
    assert not await obj.exists()
    assert await moved.read() == CONTENT


async def test_one_put_at_once_is_copied_onto_itself_in_parts(in_parts: dream.Session, server: Server) -> None:
    """Its ETag is another then."""
    async with AsyncExitStack() as stack:
        if server.memory is None:
            large = server.session(limits=dream.Limits(part_size=4 * PART))
            obj = (await stack.enter_async_context(large)).bucket(new_name())
        else:
            obj = in_parts.bucket(new_name())
        await obj.create()
        await obj.object("a").put(CONTENT)
        same = in_parts.bucket(obj.name).object("a")
        info = await same.copy_to(same, metadata={"new": "1"})
        assert info.size == len(CONTENT)
        assert ((await same.head()).metadata or {})["new"] == "1"
        assert await same.read() == CONTENT
        await obj.delete(force=True)


# From one session to another


async def test_an_object_is_copied_to_another_service(session: dream.Session, bucket: dream.Bucket) -> None:
    async with MemoryService().session(limits=LIMITS) as elsewhere:
        other = await elsewhere.create_bucket("photos")
        for content, verified in ((b"1;2", "md5"), (b"", "md5"), (CONTENT, "parts")):
            there, back = other.object("there"), bucket.object("back")
            await put_with_everything(there, content)
            await there.set_tags({"kind": "a"})
            seen: list[dream.Progress] = []
            info = await there.copy_to(back, progress=seen.append)
            assert (info.bucket, info.key, info.size, info.verified) == (bucket.name, "back", len(content), verified)
            assert seen[-1] == dream.Progress(len(content), len(content), 1, 1, "back")
            assert await back.read() == content
            assert await headers_of(back) == EVERYTHING
            if "tagging" not in session.service.unsupported:
                assert await back.tags() == {"kind": "a"}
            await back.move_to(other.object("moved"))
            assert not await back.exists()
            assert await other.object("moved").read() == content
            assert await headers_of(other.object("moved")) == EVERYTHING


async def test_an_object_is_copied_to_another_account(server: Server, bucket: dream.Bucket) -> None:
    if server.other_account is None or server.name != "rgw":
        pytest.skip("there is one account, or it was tried already")
    access_key, secret_key = server.other_account
    async with server.session(access_key=access_key, secret_key=secret_key, limits=LIMITS) as theirs:
        other = await theirs.create_bucket(new_name())
        source, copy = bucket.object("source"), other.object("copy")
        await put_with_everything(source, CONTENT)
        with pytest.raises(dream.AccessDeniedError):
            await theirs.object(f"s3://{bucket.name}/source").copy_to(copy)
        assert (await source.copy_to(copy)).verified == "parts"
        assert await headers_of(copy) == EVERYTHING
        assert await copy.read() == CONTENT
        await source.move_to(other.object("moved"), if_absent=True)
        assert not await source.exists()
        await other.delete(force=True)


# What goes wrong, in memory


async def arrival_of(verb: Verb, memory: MemoryService) -> None:
    while verb not in [request.verb for request in memory.requests]:
        await asyncio.sleep(0)


def small_copies() -> MemoryService:
    rules = dream.MultipartRules(smallest_part=1, largest_copy=10)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest.mark.parametrize("verb", ["copy_to", "move_to"])
@pytest.mark.parametrize("change", ["replaced", "deleted"])
@pytest.mark.parametrize(("moment", "size"), [("copy_object", 5), ("create_upload", 25), ("copy_part", 25)])
async def test_a_source_that_changes_while_it_is_copied_is_told_of(
    verb: str, change: str, moment: Verb, size: int
) -> None:
    memory, held = small_copies(), asyncio.Event()
    async with memory.session(limits=dream.Limits(parts_per_object=1)) as session:
        bucket = await session.create_bucket("photos")
        source, to = bucket.object("source"), bucket.object("to")
        await source.put(bytes(size))
        await to.put("old")
        memory.delay(moment, held)
        memory.forget_requests()
        task = asyncio.create_task(getattr(source, verb)(to))
        await arrival_of(moment, memory)
        await (source.put("new") if change == "replaced" else source.delete())
        held.set()
        with pytest.raises(dream.ObjectChangedError, match="while it was copied"):
            await task
        assert await to.read() == b"old"
        assert await source.exists() == (change == "replaced")
        assert await bucket.uploads().collect() == []


@pytest.mark.parametrize("size", [5, 25])
async def test_a_source_that_is_replaced_when_it_was_copied_is_not_deleted(size: int) -> None:
    memory, held = small_copies(), asyncio.Event()
    async with memory.session() as session:
        bucket = await session.create_bucket("photos")
        source, to = bucket.object("source"), bucket.object("to")
        await source.put(bytes(size))
        memory.delay("head_object", held, key="to")
        memory.forget_requests()
        task = asyncio.create_task(source.move_to(to))
        while ("head_object", "to") not in [(request.verb, request.key) for request in memory.requests]:
            await asyncio.sleep(0)
        await source.put("new")
        held.set()
        with pytest.raises(dream.ObjectChangedError):
            await task
        assert await source.read() == b"new"
        assert "delete_object" not in [request.verb for request in memory.requests]


async def test_a_move_deletes_only_when_both_were_looked_at() -> None:
    memory = MemoryService()
    async with memory.session() as session:
        bucket = await session.create_bucket("photos")
        await bucket.object("source").put("x")
        memory.forget_requests()
        await bucket.object("source").move_to(bucket.object("to"))
        asked = [(request.verb, request.key) for request in memory.requests]
        copied = asked.index(("copy_object", "to"))
        assert ("head_object", "to") in asked[copied:]
        assert ("head_object", "source") in asked[copied:]
        assert asked[-1] == ("delete_object", "source")


@pytest.mark.parametrize("size", [5, 25])
async def test_a_deletion_that_fails_leaves_both(size: int) -> None:
    memory = small_copies()
    async with memory.session() as session:
        bucket = await session.create_bucket("photos")
        source, to = bucket.object("source"), bucket.object("to")
        await source.put(bytes(size))
        memory.fail("delete_object", "AccessDenied")
        with pytest.raises(dream.AccessDeniedError):
            await source.move_to(to)
        assert await source.read() == await to.read() == bytes(size)
        await source.move_to(to)
        assert not await source.exists()


@pytest.mark.parametrize(("verb", "size"), [("copy_object", 5), ("copy_part", 25), ("complete_upload", 25)])
async def test_a_copy_that_fails_leaves_the_old_object_and_no_upload(verb: Verb, size: int) -> None:
    memory = small_copies()
    async with memory.session() as session:
        bucket = await session.create_bucket("photos")
        source, to = bucket.object("source"), bucket.object("to")
        await source.put(bytes(size))
        await to.put("old")
        memory.fail(verb, "AccessDenied", times=None)
        for call in (source.copy_to(to), source.move_to(to)):
            with pytest.raises(dream.AccessDeniedError):
                await call
        assert await to.read() == b"old"
        assert await source.exists()
        assert await bucket.uploads().collect() == []


async def test_parts_are_copied_at_once() -> None:
    memory, held = small_copies(), asyncio.Event()
    async with memory.session(limits=dream.Limits(parts_per_object=4)) as session:
        bucket = await session.create_bucket("photos")
        content = bytes(range(95))
        await bucket.object("source").put(content)
        memory.delay("copy_part", held, times=None)
        task = asyncio.create_task(bucket.object("source").copy_to(bucket.object("to")))
        while [request.verb for request in memory.requests].count("copy_part") < 4:
            await asyncio.sleep(0)
        held.set()
        assert (await task).size == 95
        assert await bucket.object("to").read() == content
        assert [request.verb for request in memory.requests].count("copy_part") == 10


@pytest.mark.parametrize("size", [5, 25])
async def test_a_lost_reply_is_no_second_copy(size: int) -> None:
    memory = small_copies()
    async with memory.session() as session:
        bucket = await session.create_bucket("photos")
        await bucket.object("source").put(bytes(size))
        memory.lose_reply("copy_object" if size == 5 else "complete_upload")
        info = await bucket.object("source").copy_to(bucket.object("to"))
        assert info.size == size
        assert await bucket.object("to").read() == bytes(size)
        assert await bucket.uploads().collect() == []


async def test_another_services_object_that_is_replaced_meanwhile_is_told_of() -> None:
    here, there, held = MemoryService(), MemoryService(), asyncio.Event()
    async with here.session() as session, there.session() as other:
        source = (await other.create_bucket("photos")).object("source")
        to = (await session.create_bucket("photos")).object("to")
        await source.put("x")
        there.delay("get_object", held)
        task = asyncio.create_task(source.move_to(to))
        await arrival_of("get_object", there)
        await source.put("new")
        held.set()
        with pytest.raises(dream.ObjectChangedError):
            await task
        assert await source.read() == b"new"
        assert not await to.exists()


async def test_a_move_onto_itself_by_another_session_deletes_nothing() -> None:
    memory = MemoryService()
    async with memory.session() as session, memory.session() as other:
        obj = (await session.create_bucket("photos")).object("same")
        await obj.put("precious")
        with pytest.raises(ValueError, match="cannot be moved onto itself"):
            await obj.move_to(other.object("s3://photos/same"))
        assert await obj.read() == b"precious"
