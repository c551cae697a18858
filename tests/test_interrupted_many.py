"""Interrupted at any await of a verb over many objects: what is done is done, and of the rest nothing is touched."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, new_name
from interruptions import PATIENCE_SECONDS, How, Interruption, moments, nothing_is_told, nothing_stays_open
from invariants import threads_now

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = 300_000
TURNS_TO_CLOSE = 20

RULES = dream.MultipartRules(smallest_part=1, largest_copy=PART)
TIGHT = dream.Limits(requests=1, parts_per_object=3, part_size=PART, memory=PART)
WIDE = dream.Limits(requests=8, parts_per_object=3, part_size=PART, memory=3 * PART)

HOWS: list[tuple[How, dream.Limits]] = [
    ("the task", TIGHT),
    ("as it arrives", WIDE),
    ("twice", WIDE),
]
in_every_way = pytest.mark.parametrize(("how", "limits"), HOWS, ids=[how for how, _ in HOWS])

Verb = Callable[[dream.Bucket], Coroutine[Any, Any, object]]


def memory_service() -> MemoryService:
    return MemoryService(service=replace(MemoryService().service, multipart=RULES))


async def serves(bucket: dream.Bucket) -> None:
    """A put takes all places and all of the memory; a stream one of those for streams. One that is lost stays lost."""
    data = bytes(2 * PART)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bucket.object("follows").put(iter([data]))
        async with bucket.object("follows").get() as body:
            assert await body.read(1) == data[:1]
        await bucket.object("follows").delete()


async def at_each_moment(
    make: Callable[[], Coroutine[Any, Any, object]],
    how: How,
    set_up: Callable[[], Awaitable[None]],
    check: Callable[[bool], Awaitable[None]],
    *,
    is_left_to_the_loop: bool = False,
) -> None:
    """Whole first, then cut short at one moment after the other.

    ``is_left_to_the_loop``: a generator that nobody closes, which the loop does in a task, when it has been dropped.
    """
    tasks = asyncio.all_tasks()
    await set_up()
    whole = Interruption(0, how)
    assert not await whole.run(make())
    await check(False)
    cut = 0
    for at in moments(whole.count):
        await set_up()
        was_cut = await Interruption(at, how, again=1 + at % 5).run(make())
        cut += was_cut
        if is_left_to_the_loop:
            gc.collect(0)
            for _ in range(TURNS_TO_CLOSE):
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks
        await check(was_cut)
    assert cut


# Listings

LISTED = [f"{number:05}" for number in range(2_100)]


@pytest.fixture(scope="module")
def listed() -> MemoryService:
    """Keys to list, on two levels and by the thousand, which no test changes."""
    return memory_service()


async def fill(memory: MemoryService) -> None:
    async with memory.session() as session:
        if not await session.bucket("listed").exists():
            bucket = await session.create_bucket("listed")
            for key in LISTED:
                await bucket.object(f"all/{key[:3]}/{key}").put(b"")


async def left_in_the_middle(bucket: dream.Bucket, parallel: int) -> None:
    async with aclosing(bucket.list(parallel=parallel).pages()) as pages:
        async for page in pages:
            await asyncio.sleep(0)
            if page[0].key > "all/010":
                break


async def broken_off(bucket: dream.Bucket, parallel: int) -> None:
    async for info in bucket.list(parallel=parallel):
        if info.key.endswith("01500"):
            await asyncio.sleep(0)
            break


async def counted(bucket: dream.Bucket, parallel: int) -> None:
    count = 0
    async for _ in bucket.list(parallel=parallel):
        count += 1
        if not count % 500:
            await asyncio.sleep(0)
    assert count == len(LISTED)


async def all_pages(bucket: dream.Bucket, parallel: int) -> None:
    pages = [page async for page in bucket.list(parallel=parallel).pages()]
    assert sum(map(len, pages)) == len(LISTED)


LISTINGS: dict[str, Verb] = {
    **{
        f"{name}, {parallel} at once": (lambda bucket, verb=verb, parallel=parallel: verb(bucket, parallel))  # type: ignore[misc]  # by keyword
        for parallel in (1, 4)
        for name, verb in {
            "list": counted,
            "pages": all_pages,
            "collect": lambda bucket, parallel: bucket.list(parallel=parallel).collect(),
            "left in the middle": left_in_the_middle,
            "broken off": broken_off,
        }.items()
    },
    "list_dir": lambda bucket: bucket.list_dir("all/").collect(),
    "list_versions": lambda bucket: bucket.list_versions().collect(),
    "uploads": lambda bucket: bucket.uploads().collect(),
}


@in_every_way
@pytest.mark.parametrize("verb", LISTINGS)
async def test_a_listing_can_be_cancelled_at_every_await(
    listed: MemoryService, verb: str, how: How, limits: dream.Limits
) -> None:
    await fill(listed)
    with nothing_is_told():
        async with listed.session(limits=limits) as session:
            bucket = session.bucket("listed")

            async def set_up() -> None:
                pass

            async def check(was_cut: bool) -> None:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert len(await bucket.list(limit=1).collect()) == 1

            is_left = verb.startswith(("list,", "broken off"))
            await at_each_moment(lambda: LISTINGS[verb](bucket), how, set_up, check, is_left_to_the_loop=is_left)


# Verbs over many keys

DOOMED = [f"doomed/{number:04}" for number in range(2_100)]
THERE = DOOMED[::70]
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
}


@in_every_way
@pytest.mark.parametrize("verb", BULK)
async def test_a_verb_over_many_keys_can_be_cancelled_at_every_await(verb: str, how: How, limits: dream.Limits) -> None:
    memory, deletes = memory_service(), verb.startswith("delete")
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
                        await seen.object(key).put(key)

            async def check(was_cut: bool) -> None:
                keys = [info.key for info in await seen.list().collect()]
                assert [key for key in keys if key in KEPT] == KEPT
                assert set(keys) <= {*KEPT, *THERE}
                if deletes and not was_cut:
                    assert keys == KEPT
                if not deletes:
                    assert set(keys) == {*KEPT, *THERE}
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


# Trees

SMALL = {f"{name}": name.encode() for name in ("a", "b/c", "b/d", "e/f/g", "h")}
LARGE = {"b/large": random.Random(3).randbytes(2 * PART + 1000)}
TREE = SMALL | LARGE
OLD = {"a": b"old", "b/large": b"old", "h": b"old"}
EXTRA = {"b/extra": b"extra", "extra": b"extra"}
OUTSIDE = {"outside": b"outside"}


@dataclass(frozen=True)
class Grove:
    """Trees on both sides: ``from`` is read, ``to`` is written over what is old, and has what the source lacks."""

    bucket: dream.Bucket
    other: dream.Bucket
    home: Path
    known: dict[str, bytes] = field(default_factory=dict)
    """Contents by their ETags, which spare reading them."""

    @property
    def local(self) -> Path:
        return self.home / "to"

    async def write_old_ones(self) -> None:
        old = OLD | EXTRA
        if files(self.local) != old:
            for path in sorted(self.local.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            write(self.local, old)
        there = await self.objects("to/")
        await self.other.delete_many([f"to/{name}" for name in there if name not in old])
        await self.put("to/", {name: content for name, content in old.items() if there.get(name) != content})

    async def put(self, prefix: str, tree: dict[str, bytes]) -> None:
        for name, content in tree.items():
            stored = await self.other.object(f"{prefix}{name}").put(content)
            assert stored.etag
            self.known[stored.etag] = content

    async def objects(self, prefix: str) -> dict[str, bytes]:
        return {info.key.removeprefix(prefix): await self._content_of(info) async for info in self.other.list(prefix)}

    async def _content_of(self, info: dream.ObjectInfo) -> bytes:
        known = self.known.get(info.etag or "")
        return await self.other.object(info.key).read() if known is None else known


def write(root: Path, tree: dict[str, bytes]) -> None:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def copied_elsewhere(at: Grove) -> None:
    await at.bucket.copy_tree(at.other, "from", "to", delete=True, progress=lambda _: None)


TREES: dict[str, Callable[[Grove], Coroutine[Any, Any, object]]] = {
    "upload_tree": lambda at: at.bucket.upload_tree(at.home / "from", "to", delete=True, progress=lambda _: None),
    "upload_tree, compared": lambda at: at.bucket.upload_tree(at.home / "from", "to", delete=True, compare="etag"),
    "download_tree": lambda at: at.bucket.download_tree(at.local, "from", delete=True, progress=lambda _: None),
    "download_tree, compared": lambda at: at.bucket.download_tree(at.local, "from", delete=True, compare="mtime"),
    "copy_tree": lambda at: at.bucket.copy_tree(at.bucket, "from", "to", delete=True, compare="etag"),
    "copy_tree to another session": copied_elsewhere,
}


def check_tree(tree: dict[str, bytes], *, was_cut: bool) -> None:
    """Each name is the old one or the new one; what is extra is gone only when every other name is there."""
    if not was_cut:
        assert tree == TREE
    assert set(tree) <= {*TREE, *EXTRA}
    for name, content in tree.items():
        assert content in (OLD.get(name), TREE.get(name), EXTRA.get(name)), name
    assert set(OLD) <= set(tree)
    if not set(EXTRA) <= set(tree):
        assert {name: tree.get(name) for name in TREE} == TREE


@in_every_way
@pytest.mark.parametrize("verb", TREES)
async def test_a_tree_can_be_cancelled_at_every_await(
    tmp_path: Path, verb: str, how: How, limits: dream.Limits
) -> None:
    memory = memory_service()
    write(tmp_path / "from", TREE)
    write(tmp_path, OUTSIDE)
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
            bucket = await session.create_bucket("interrupted")
            at = Grove(bucket, other.bucket(bucket.name), tmp_path)
            await at.put("from/", TREE)

            async def check(was_cut: bool) -> None:
                assert await at.other.uploads().collect() == []
                is_download = verb.startswith("download")
                stored, local = await at.objects("to/"), files(at.local)
                check_tree(local if is_download else stored, was_cut=was_cut)
                assert (stored if is_download else local) == OLD | EXTRA
                assert await at.objects("from/") == TREE
                assert files(tmp_path / "from") == TREE
                assert (tmp_path / "outside").read_bytes() == b"outside"

            await at_each_moment(lambda: TREES[verb](at), how, at.write_old_ones, check)
            await serves(bucket)


# At random, over real connections

CANCELLATIONS = 500
AT_ONCE = 6
RGW_PART = 5 << 20
BLOBS = {"old": random.Random(5).randbytes(70_000), "new": random.Random(6).randbytes(RGW_PART + 100_000)}


@dataclass(frozen=True)
class Corner:
    """One task's own objects and files, so that what they are afterwards is its own doing."""

    bucket: dream.Bucket
    other: dream.Bucket
    home: Path

    @property
    def name(self) -> str:
        return self.home.name

    async def set_up(self) -> None:
        (self.home / "target").write_bytes(BLOBS["old"])
        await self.other.object(f"{self.name}/b").put(BLOBS["old"])
        for number in range(3):
            await self.other.object(f"{self.name}/doomed/{number}").put(b"")

    async def check(self) -> None:
        assert {path.name for path in self.home.iterdir()} == {"source", "target"}
        assert (self.home / "target").read_bytes() in BLOBS.values()
        assert await self.other.object(f"{self.name}/b").read() in BLOBS.values()
        assert await self.other.object(f"{self.name}/a").read() == BLOBS["new"]


async def stream(at: Corner) -> None:
    async with at.bucket.object(f"{at.name}/a").get() as body:
        async for _ in body:
            pass


MIXED: dict[str, Callable[[Corner], Coroutine[Any, Any, object]]] = {
    "put": lambda at: at.bucket.object(f"{at.name}/b").put(BLOBS["new"]),
    "upload": lambda at: at.bucket.object(f"{at.name}/b").upload(at.home / "source"),
    "get": stream,
    "read": lambda at: at.bucket.object(f"{at.name}/b").read(),
    "download": lambda at: at.bucket.object(f"{at.name}/a").download(at.home / "target"),
    "list": lambda at: at.bucket.list(f"{at.name}/", parallel=4).collect(),
    "delete_many": lambda at: at.bucket.delete_many(at.bucket.list(f"{at.name}/doomed/")),
    "head": lambda at: at.bucket.object(f"{at.name}/a").head(),
}


async def test_five_hundred_cancellations_at_random_leave_nothing_behind(rgw: Server, tmp_path: Path) -> None:
    threads = threads_now()
    with nothing_is_told(), nothing_stays_open() as settled:
        limits = dream.Limits(requests=4, part_size=RGW_PART, parts_per_object=2, memory=2 * RGW_PART)
        async with rgw.session(limits=limits) as session, rgw.session() as other:
            bucket = await session.create_bucket(new_name())
            tasks = asyncio.all_tasks()
            async with asyncio.TaskGroup() as group:
                for number in range(AT_ONCE):
                    home = tmp_path / str(number)
                    home.mkdir()
                    corner = Corner(bucket, other.bucket(bucket.name), home)
                    group.create_task(cancel_at_random(corner, random.Random(number), CANCELLATIONS // AT_ONCE + 1))
            assert asyncio.all_tasks() == tasks
            assert await other.bucket(bucket.name).uploads().collect() == []
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(bucket.object("0/a").read((-10, None)) for _ in range(20)))
                await bucket.object("0/b").upload(tmp_path / "0" / "source")
            await bucket.delete(force=True)
        await settled()
    assert threads_now() == threads


async def cancel_at_random(at: Corner, chance: random.Random, count: int) -> None:
    """Some by the loop's turns, which find the beginning, and some by the clock."""
    (at.home / "source").write_bytes(BLOBS["new"])
    await at.other.object(f"{at.name}/a").put(BLOBS["new"])
    await at.set_up()
    cancelled = 0
    while cancelled < count:
        task = asyncio.ensure_future(MIXED[chance.choice(list(MIXED))](at))
        if chance.random() < 0.5:
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(chance.expovariate(1 / 0.02))
        cancelled += task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or task.exception() is None
        if cancelled % 10 == 0:
            await at.check()
            await at.set_up()
    await at.check()
