"""A bucket is a dict of bytes: whatever is done to both, in whatever order, and whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import LANES, Server, new_name
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import aiodreamobjects as dream
from aiodreamobjects import Lane
from aiodreamobjects.testing import MemoryService

T = TypeVar("T")

PART_SIZE = 64
TINY_PARTS = replace(MemoryService().service, multipart=dream.MultipartRules(smallest_part=1))

# Their order is neither that of a directory walk nor of UTF-16. What is in the trees are possible files.
NAMES = ["b", "a/b", "a-b", "a/b2/c", "é ü", "漢", "🎉"]
TREES = ["t/", "t2/"]
KEYS = ["a", "a+b", "a/b", "t", "t1", "%20", "\U0010ffff", *(tree + name for tree in TREES for name in NAMES)]
PREFIXES = ["", "a", "a/", "t", "t/", "t2/a", "nothing"]

keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, max_size=8)
contents = st.builds(lambda one, times: one * times, st.binary(min_size=1, max_size=5), st.integers(0, 60))
compares = st.sampled_from([None, "size", "etag"])
trees = st.permutations(TREES)

FAULTS: list[Callable[[MemoryService, int], object]] = [
    lambda memory, times: memory.fail("*", "SlowDown", times=times),
    lambda memory, times: memory.fail("*", "InternalError", times=times),
    lambda memory, times: memory.fail("delete_objects", "InternalError", key="*", times=times),
    lambda memory, times: memory.break_connection("*", times=times),
    lambda memory, times: memory.lose_reply("*", times=times),
    lambda memory, times: memory.cut_body(10 * times, times=times),
]
NO_FAULT = 0
faults = st.tuples(st.integers(NO_FAULT, len(FAULTS)), st.integers(1, 3))


class BucketMachine(RuleBasedStateMachine):
    """``self.model`` is what must be in the bucket after every step."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.model: dict[str, bytes] = {}
        self.memory = server.memory
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.session = server.session(limits=dream.Limits(requests=4, part_size=PART_SIZE if self.memory else 8 << 20))
        self.run(self.session.open())
        self.bucket = self.run(self.session.create_bucket(new_name()))

    def teardown(self) -> None:
        try:
            self.run(self.bucket.delete(force=True))
            self.run(self.session.aclose())
            assert not asyncio.all_tasks(self.runner.get_loop())
        finally:
            self.runner.close()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.runner.run(work)

    @contextmanager
    def going_wrong(self, fault: tuple[int, int]) -> Iterator[None]:
        """What passes when it is tried again may happen to any request."""
        number, times = fault
        if self.memory is not None and number != NO_FAULT:
            FAULTS[number - 1](self.memory, times)
        yield
        if self.memory is not None:
            self.memory.stop_faults()

    def below(self, prefix: str) -> dict[str, bytes]:
        return {key: self.model[key] for key in sorted(self.model, key=str.encode) if key.startswith(prefix)}

    # Objects

    @rule(key=keys, content=contents, fault=faults)
    def put(self, key: str, content: bytes, fault: tuple[int, int]) -> None:
        with self.going_wrong(fault):
            info = self.run(self.bucket.object(key).put(content))
        assert (info.key, info.size) == (key, len(content))
        self.model[key] = content

    @rule(key=keys, pieces=st.lists(contents, max_size=4), fault=faults)
    def put_what_comes(self, key: str, pieces: list[bytes], fault: tuple[int, int]) -> None:
        async def coming() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        with self.going_wrong(fault):
            self.run(self.bucket.object(key).put(coming()))
        self.model[key] = b"".join(pieces)

    @rule(key=keys, content=contents, turns=st.integers(0, 120))
    @precondition(lambda self: self.memory is not None)  # elsewhere the service may be at it yet
    def put_or_not(self, key: str, content: bytes, turns: int) -> None:
        async def put_and_change_ones_mind() -> bytes | None:
            task = asyncio.create_task(self.bucket.object(key).put(content))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            return await self.bucket.object(key).read() if await self.bucket.object(key).exists() else None

        now = self.run(put_and_change_ones_mind())
        assert now in (self.model.get(key), content)
        if now is not None:
            self.model[key] = now

    @rule(key=keys, fault=faults)
    def read(self, key: str, fault: tuple[int, int]) -> None:
        with self.going_wrong(fault):
            if key in self.model:
                assert self.run(self.bucket.object(key).read()) == self.model[key]
            else:
                with pytest.raises(dream.NotFoundError):
                    self.run(self.bucket.object(key).read())

    @rule(key=keys, start=st.integers(0, 200), length=st.integers(1, 200), fault=faults)
    def read_range(self, key: str, start: int, length: int, fault: tuple[int, int]) -> None:
        expected = self.model.get(key, b"")[start : start + length]
        if expected:
            with self.going_wrong(fault):
                assert self.run(self.bucket.object(key).read((start, start + length))) == expected

    @rule(key=keys, fault=faults)
    def look(self, key: str, fault: tuple[int, int]) -> None:
        with self.going_wrong(fault):
            assert self.run(self.bucket.object(key).exists()) == (key in self.model)
            if key in self.model:
                assert self.run(self.bucket.object(key).head()).size == len(self.model[key])

    @rule(key=keys, fault=faults)
    def delete(self, key: str, fault: tuple[int, int]) -> None:
        with self.going_wrong(fault):
            self.run(self.bucket.object(key).delete())
        self.model.pop(key, None)

    @rule(gone=some_keys, fault=faults)
    def delete_many(self, gone: list[str], fault: tuple[int, int]) -> None:
        with self.going_wrong(fault):
            assert self.run(self.bucket.delete_many(gone)) == dream.BulkReport(done=len(gone), failed=0)
        for key in gone:
            self.model.pop(key, None)

    @rule(prefix=st.sampled_from(["a/", "t2/a"]), fault=faults)
    def delete_what_is_listed(self, prefix: str, fault: tuple[int, int]) -> None:
        gone = self.below(prefix)
        with self.going_wrong(fault):
            assert self.run(self.bucket.delete_many(self.bucket.list(prefix))).done == len(gone)
        for key in gone:
            del self.model[key]

    @rule(data=st.data(), to=keys, fault=faults, moves=st.booleans())
    def copy_or_move(self, data: st.DataObject, to: str, fault: tuple[int, int], moves: bool) -> None:  # noqa: FBT001 - drawn
        there = [key for key in self.model if key != to]  # mostly something that is there
        source = data.draw(st.sampled_from(there or [key for key in KEYS if key != to]))
        obj = self.bucket.object(source)
        act = obj.move_to if moves else obj.copy_to
        with self.going_wrong(fault):
            if source in self.model:
                self.run(act(self.bucket.object(to)))
                self.model[to] = self.model.pop(source) if moves else self.model[source]
            else:
                with pytest.raises(dream.NotFoundError):
                    self.run(act(self.bucket.object(to)))

    @rule(fault=faults)
    @precondition(lambda self: len(self.model) > 4)
    def empty(self, fault: tuple[int, int]) -> None:
        with self.going_wrong(fault):
            assert self.run(self.bucket.empty()).done == len(self.model)
        self.model.clear()

    # Listings

    @rule(
        prefix=st.sampled_from(PREFIXES),
        start_after=st.none() | keys | st.sampled_from(["a/", "t/~", "\0"]),
        limit=st.none() | st.integers(0, 6),
        parallel=st.sampled_from([1, 1, 2, 8]),
        fault=faults,
    )
    def list_some(
        self, prefix: str, start_after: str | None, limit: int | None, parallel: int, fault: tuple[int, int]
    ) -> None:
        expected = [
            (key, len(content))
            for key, content in self.below(prefix).items()
            if start_after is None or key.encode() > start_after.encode()
        ][:limit]
        listing = self.bucket.list(prefix, start_after=start_after, limit=limit, parallel=parallel)
        with self.going_wrong(fault):
            assert [(info.key, info.size) for info in self.run(listing.collect())] == expected

    @rule(prefix=st.sampled_from(["", "a/", "t/"]), fault=faults)
    def list_dir(self, prefix: str, fault: tuple[int, int]) -> None:
        expected = {
            key if not slash else prefix + name + slash
            for key in self.below(prefix)
            for name, slash, _ in [key.removeprefix(prefix).partition("/")]
        }
        with self.going_wrong(fault):
            items = self.run(self.bucket.list_dir(prefix).collect())
        told = [item.prefix if isinstance(item, dream.CommonPrefix) else item.key for item in items]
        assert told == sorted(expected, key=str.encode)

    # Trees

    @rule(
        tree=st.sampled_from(TREES),
        files=st.dictionaries(st.sampled_from(NAMES), contents),
        compare=compares,
        deletes=st.booleans(),
        fault=faults,
    )
    def upload_tree(
        self,
        tree: str,
        files: dict[str, bytes],
        compare: dream.Compare | None,
        deletes: bool,  # noqa: FBT001 - drawn
        fault: tuple[int, int],
    ) -> None:
        with tempfile.TemporaryDirectory() as directory:
            for name, content in files.items():
                path = Path(directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            with self.going_wrong(fault):
                report = self.run(
                    self.bucket.upload_tree(directory, tree, compare=compare, delete=deletes, allow_empty=True)
                )
        self.tree_became({tree + name: content for name, content in files.items()}, tree, compare, report, deletes)

    @rule(pair=trees, compare=compares, deletes=st.booleans(), fault=faults)
    def copy_tree(
        self,
        pair: list[str],
        compare: dream.Compare | None,
        deletes: bool,  # noqa: FBT001 - drawn
        fault: tuple[int, int],
    ) -> None:
        source, target = pair
        copied = {target + key[len(source) :]: content for key, content in self.below(source).items()}
        with self.going_wrong(fault):
            report = self.run(
                self.bucket.copy_tree(self.bucket, source, target, compare=compare, delete=deletes, allow_empty=True)
            )
        self.tree_became(copied, target, compare, report, deletes)

    @rule(tree=st.sampled_from(TREES), twice=st.booleans(), fault=faults)
    def download_tree(self, tree: str, twice: bool, fault: tuple[int, int]) -> None:  # noqa: FBT001 - drawn
        expected = {key.removeprefix(tree): content for key, content in self.below(tree).items()}
        with tempfile.TemporaryDirectory() as directory:
            with self.going_wrong(fault):
                report = self.run(self.bucket.download_tree(directory, tree))
            assert (report.copied, report.copied_bytes) == (len(expected), sum(map(len, expected.values())))
            if twice:
                Path(directory, "stray").touch()
                again = self.run(
                    self.bucket.download_tree(directory, tree, compare="etag", delete=True, allow_empty=True)
                )
                assert again.deleted == 1
                assert again.copied + again.skipped == len(expected)
            root = Path(directory)
            found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
            found.pop("stray", None)
        assert found == expected

    def tree_became(
        self,
        files: dict[str, bytes],
        tree: str,
        compare: dream.Compare | None,
        report: dream.TreeReport,
        deletes: bool,  # noqa: FBT001 - drawn
    ) -> None:
        before = self.below(tree)
        extra = before.keys() - files.keys() if deletes else set()
        same = {key for key in files if compare == "size" and len(before.get(key, b"-" * 1000)) == len(files[key])}
        assert (report.deleted, report.copied + report.skipped) == (len(extra), len(files))
        assert report.skipped >= len(same)
        assert compare is not None or report.skipped == 0
        self.model.update({key: content for key, content in files.items() if key not in same})
        for key in extra:
            del self.model[key]

    # After every step

    @invariant()
    def they_hold_the_same(self) -> None:
        listed = self.run(self.bucket.list().collect())
        assert {info.key: info.size for info in listed} == {key: len(value) for key, value in self.model.items()}

    @invariant()
    def no_task_is_left(self) -> None:
        assert not asyncio.all_tasks(self.runner.get_loop())


def run_machine(server: Server, *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: BucketMachine(server),  # type: ignore[arg-type]  # anything that makes one
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )


def test_a_bucket_in_memory_is_a_dict_whatever_goes_wrong() -> None:
    service = MemoryService(service=TINY_PARTS)
    run_machine(Server("memory", service.service, "unused", "unused", memory=service), examples=30, steps=30)


@pytest.mark.parametrize("lane", LANES)
def test_a_bucket_of_ceph_is_a_dict(rgw: Server, lane: Lane) -> None:
    run_machine(replace(rgw, lane=lane), examples=3, steps=20)
