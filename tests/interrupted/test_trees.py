"""A tree that is interrupted at any await: each name is the old one or the new one."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from interruptions import (
    PART,
    WIDE,
    How,
    at_each_moment,
    in_every_way,
    memory_service,
    nothing_is_told,
    serves,
)

import aiodreamobjects as dream

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


MOVES: dict[str, Callable[[Grove], Coroutine[Any, Any, object]]] = {
    "within a session": lambda at: at.bucket.move_tree(at.bucket, "from", "to"),
    "to another session": lambda at: at.bucket.move_tree(at.other, "from", "to", progress=lambda _: None),
}


@in_every_way
@pytest.mark.parametrize("verb", MOVES)
async def test_a_move_that_is_cancelled_leaves_each_object_somewhere(
    tmp_path: Path, verb: str, how: How, limits: dream.Limits
) -> None:
    memory, tree = memory_service(), dict(list(SMALL.items())[:2]) | LARGE
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
            bucket = await session.create_bucket("interrupted")
            at = Grove(bucket, other.bucket(bucket.name), tmp_path)

            async def set_up() -> None:
                there = await at.objects("from/")
                await at.put("from/", {name: content for name, content in tree.items() if name not in there})
                await at.other.delete_many(at.other.list("to/"))

            async def check(was_cut: bool) -> None:
                assert await at.other.uploads().collect() == []
                source, target = await at.objects("from/"), await at.objects("to/")
                assert source | target == target | source == tree
                assert was_cut or (source, target) == ({}, tree)

            await at_each_moment(lambda: MOVES[verb](at), how, set_up, check)
            await serves(bucket)


CHECKS: dict[str, Callable[[Grove], Coroutine[Any, Any, dream.CheckReport]]] = {
    "a directory": lambda at: at.bucket.check_tree(at.home / "from", "from"),
    "another prefix": lambda at: at.bucket.check_tree(at.bucket, "from", to_prefix="to", by="content"),
    "another session": lambda at: at.bucket.check_tree(
        at.other, "to", to_prefix="from", by="content", progress=lambda _: None
    ),
}


@in_every_way
@pytest.mark.parametrize("other", CHECKS)
async def test_a_check_can_be_cancelled_at_every_await(
    tmp_path: Path, other: str, how: How, limits: dream.Limits
) -> None:
    memory = memory_service()
    write(tmp_path / "from", TREE)
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as elsewhere:
            bucket = await session.create_bucket("interrupted")
            at = Grove(bucket, elsewhere.bucket(bucket.name), tmp_path)
            await at.put("from/", TREE)
            async with memory.session(limits=dream.Limits(part_size=3 * PART)) as whole:  # its objects have one part
                for name, content in TREE.items():
                    await whole.bucket(bucket.name).object(f"to/{name}").put(content)
            reports: list[dream.CheckReport] = []

            async def work() -> None:
                reports.append(await CHECKS[other](at))

            async def nothing() -> None:
                reports.clear()

            async def check(was_cut: bool) -> None:
                assert reports == ([] if was_cut else [dream.CheckReport(len(TREE), done=len(TREE))])

            await at_each_moment(work, how, nothing, check)
            assert await at.objects("from/") == await at.objects("to/") == files(tmp_path / "from") == TREE
            await serves(bucket)


@in_every_way
async def test_a_restore_can_be_cancelled_at_every_await(how: How, limits: dream.Limits) -> None:
    """No version is lost, each key is as it was or as it is now, and another call does the rest."""
    memory = memory_service()
    was, now = {"a": b"1", "b": b"1", "large": LARGE["b/large"]}, {"a": b"2", "large": b"2", "new": b"2"}
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
            bucket, seen = await session.create_bucket("interrupted"), other.bucket("interrupted")
            await bucket.set_versioning("Enabled")
            for name, content in was.items():
                await seen.object(f"p/{name}").put(content)
            as_of = datetime.fromtimestamp(session._runtime.s3.now(), UTC)
            memory.clock.advance(timedelta(hours=1))
            first = {info.version_id async for info in seen.list_versions("p/")}
            kept: set[str | None] = set()

            async def there() -> dict[str, bytes]:
                return {info.key[2:]: await seen.object(info.key).read() async for info in seen.list("p/")}

            async def versions() -> set[str | None]:
                return {info.version_id async for info in seen.list_versions("p/")}

            async def set_up() -> None:
                later = [info async for info in seen.list_versions("p/") if info.version_id not in first]
                await seen.delete_many(later)
                for name in (*was, *now):
                    await (seen.object(f"p/{name}").put(now[name]) if name in now else seen.object("p/b").delete())
                kept.clear()
                kept.update(await versions())

            async def check(was_cut: bool) -> None:
                found = await there()
                assert all(content in (was.get(name), now.get(name)) for name, content in found.items())
                assert set(found) >= {"a", "large"}
                assert was_cut or found == was
                assert "new" in found or found == was
                assert await versions() >= kept
                assert await seen.uploads().collect() == []

            await at_each_moment(lambda: bucket.restore_tree("p", as_of), how, set_up, check)
            await bucket.restore_tree("p", as_of)
            assert await there() == was
            await serves(bucket)
