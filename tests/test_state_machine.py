"""A bucket is a dict of bytes: whatever is done to both, in whatever order, and whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import pytest
from conftest import Server, new_name
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from servers.breaking_proxy import Break, BreakingProxy
from servers.faulty import FaultyServer, check_uploads
from servers.rules import Close, Cut, Late, Refuse, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

T = TypeVar("T")

SCALE = int(os.environ.get("STATE_MACHINE_SCALE", "1"))
"""So many times as many examples, at night."""
PART_SIZE = 64
TINY_PARTS = replace(MemoryService().service, multipart=dream.MultipartRules(smallest_part=1))

# Their order is neither that of a directory walk nor of UTF-16. What is in the trees are possible files.
NAMES = ["b", "a/b", "a-b", "a/b2/c", "é ü", "漢", "🎉"]
TREES = ["t/", "t2/"]
KEYS = ["a", "a+b", "a/b", "t", "t1", "%20", "\U0010ffff", *(tree + name for tree in TREES for name in NAMES)]
PREFIXES = ["", "a", "a/", "t", "t/", "t2/a", "nothing"]

keys = st.sampled_from(KEYS)
few_keys = st.sampled_from(["a", "a/b", "ü"])
some_keys = st.lists(keys, max_size=8)
contents = st.builds(lambda one, times: one * times, st.binary(min_size=1, max_size=5), st.integers(0, 60))
compares = st.sampled_from([None, "size", "etag"])
trees = st.permutations(TREES)

Fault = tuple[int, int]
"""Which one, of those that a place has, and how many times; 0 for none."""
NO_FAULT = 0
MOST_FAULTS = 12
faults = st.tuples(st.integers(NO_FAULT, MOST_FAULTS), st.integers(1, 3))


Faults = Sequence[Callable[[int], object]]


class Place(Protocol):
    """Where a machine runs, and what can go wrong there."""

    @property
    def part_size(self) -> int: ...
    @property
    def faults(self) -> Faults: ...
    def session(self, *, limits: dream.Limits) -> dream.Session: ...
    def stop_faults(self) -> None: ...


class InMemory:
    part_size = PART_SIZE

    def __init__(self) -> None:
        self.memory = memory = MemoryService(service=TINY_PARTS)
        self.stop_faults = memory.stop_faults
        self.faults: Faults = [
            lambda times: memory.fail("*", "SlowDown", times=times),
            lambda times: memory.fail("*", "InternalError", times=times),
            lambda times: memory.fail("delete_objects", "InternalError", key="*", times=times),
            lambda times: memory.break_connection("*", times=times),
            lambda times: memory.lose_reply("*", times=times),
            lambda times: memory.lose_reply("create_upload", times=times),
            lambda times: memory.lose_reply("complete_upload", times=times),
            lambda times: memory.cut_body(10 * times, times=times),
        ]

    def session(self, *, limits: dream.Limits) -> dream.Session:
        return self.memory.session(limits=limits)


class OnFaultyServer:
    part_size = PART_SIZE

    def __init__(self, server: FaultyServer) -> None:
        self.server = server
        server.reset()
        self.faults: Faults = [
            lambda times: self.break_by(Rule("*", Refuse(503, "SlowDown"), times=times)),
            lambda times: self.break_by(Rule("*", Refuse(500, "InternalError"), times=times)),
            lambda times: self.break_by(Rule("*", Refuse(500, "InternalError", is_done=True), times=times)),
            lambda times: self.break_by(Rule("*", Cut(None, is_done=False), times=times)),
            lambda times: self.break_by(Rule("*", Cut(None), times=times)),
            lambda times: self.break_by(Rule("*", Cut(-10, "close"), times=times)),
            lambda times: self.break_by(Rule("GetObject", Cut(7), times=times)),
            lambda times: self.break_by(Rule("*", Close(), times=times)),
            lambda times: self.break_by(Rule("CreateMultipartUpload", Cut(None), times=times)),
            lambda times: self.break_by(Rule("CompleteMultipartUpload", Say(body=b""), times=times)),
            lambda times: self.break_by(
                Rule("CompleteMultipartUpload", Say(body=b"", is_done=False), times=min(times, 2))
            ),
            lambda times: self.break_by(Rule("UploadPart", Late(), times=times)),
        ]

    def session(self, *, limits: dream.Limits) -> dream.Session:
        return self.server.session(timeouts=dream.Timeouts(), limits=limits)

    def break_by(self, rule: Rule) -> None:
        self.server.will(rule)

    def stop_faults(self) -> None:
        self.server.will()
        check_uploads(self.server.log)
        self.server.log.clear()
        assert [key for bucket in self.server.buckets() for key in self.server.uploads(bucket)] == []


class OnGateway:
    """Behind a proxy, which lives in a thread: a machine's own loop only runs while it takes a step."""

    part_size = 8 << 20

    def __init__(self, server: Server, proxy: BreakingProxy) -> None:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        self.server = replace(server, service=replace(server.service, endpoint=endpoint))
        self.proxy = proxy
        self.faults: Faults = [
            lambda times: self.break_by(Break("reset", 0, times=times)),
            lambda times: self.break_by(Break("reset", 1, times=times)),
            lambda times: self.break_by(Break("close", 30, times=times)),
            lambda times: self.break_by(Break("reset", 200, "up", times=times)),
            lambda times: self.break_by(Break("close", 0, "up", times=times)),
            lambda times: self.break_by(Break("reset", 310, times=times)),
        ]

    def session(self, *, limits: dream.Limits) -> dream.Session:
        return self.server.session(limits=limits)

    def break_by(self, fault: Break) -> None:
        self.proxy.will(fault)
        self.proxy.drop_all()

    def stop_faults(self) -> None:
        self.proxy.will()


@contextmanager
def proxy_in_a_thread(port: int) -> Iterator[BreakingProxy]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()
    proxy = BreakingProxy(port)

    def run(work: Coroutine[object, object, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result()

    run(proxy.__aenter__())
    try:
        yield proxy
    finally:
        run(proxy.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Machine(RuleBasedStateMachine):
    """A bucket of its own in a place, and an event loop that runs while a step is taken."""

    most_faults: int | None = None

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.session = place.session(limits=dream.Limits(requests=4, part_size=place.part_size))
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
    def going_wrong(self, fault: Fault) -> Iterator[None]:
        """What passes when it is tried again may happen to any request."""
        number, times = fault
        possible = self.place.faults[: self.most_faults]
        if number != NO_FAULT:
            possible[(number - 1) % len(possible)](times)
        yield
        self.place.stop_faults()

    @invariant()
    def no_task_is_left(self) -> None:
        assert not asyncio.all_tasks(self.runner.get_loop())


class BucketMachine(Machine):
    """``self.model`` is what must be in the bucket after every step."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.model: dict[str, bytes] = {}

    def below(self, prefix: str) -> dict[str, bytes]:
        return {key: self.model[key] for key in sorted(self.model, key=str.encode) if key.startswith(prefix)}

    # Objects

    @rule(key=keys, content=contents, fault=faults)
    def put(self, key: str, content: bytes, fault: Fault) -> None:
        with self.going_wrong(fault):
            info = self.run(self.bucket.object(key).put(content))
        assert (info.key, info.size) == (key, len(content))
        self.model[key] = content

    @rule(key=keys, pieces=st.lists(contents, max_size=4), fault=faults)
    def put_what_comes(self, key: str, pieces: list[bytes], fault: Fault) -> None:
        async def coming() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        with self.going_wrong(fault):
            self.run(self.bucket.object(key).put(coming()))
        self.model[key] = b"".join(pieces)

    @rule(key=keys, content=contents, turns=st.integers(0, 120))
    @precondition(lambda self: isinstance(self.place, InMemory))  # elsewhere the service may be at it yet
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
    def read(self, key: str, fault: Fault) -> None:
        with self.going_wrong(fault):
            if key in self.model:
                assert self.run(self.bucket.object(key).read()) == self.model[key]
            else:
                with pytest.raises(dream.NotFoundError):
                    self.run(self.bucket.object(key).read())

    @rule(key=keys, start=st.integers(0, 200), length=st.integers(1, 200), fault=faults)
    def read_range(self, key: str, start: int, length: int, fault: Fault) -> None:
        expected = self.model.get(key, b"")[start : start + length]
        if expected:
            with self.going_wrong(fault):
                assert self.run(self.bucket.object(key).read((start, start + length))) == expected

    @rule(key=keys, fault=faults)
    def look(self, key: str, fault: Fault) -> None:
        with self.going_wrong(fault):
            assert self.run(self.bucket.object(key).exists()) == (key in self.model)
            if key in self.model:
                assert self.run(self.bucket.object(key).head()).size == len(self.model[key])

    @rule(key=keys, fault=faults)
    def delete(self, key: str, fault: Fault) -> None:
        with self.going_wrong(fault):
            self.run(self.bucket.object(key).delete())
        self.model.pop(key, None)

    @rule(gone=some_keys, fault=faults)
    def delete_many(self, gone: list[str], fault: Fault) -> None:
        with self.going_wrong(fault):
            assert self.run(self.bucket.delete_many(gone)) == dream.BulkReport(done=len(gone), failed=0)
        for key in gone:
            self.model.pop(key, None)

    @rule(prefix=st.sampled_from(["a/", "t2/a"]), fault=faults)
    def delete_what_is_listed(self, prefix: str, fault: Fault) -> None:
        gone = self.below(prefix)
        with self.going_wrong(fault):
            assert self.run(self.bucket.delete_many(self.bucket.list(prefix))).done == len(gone)
        for key in gone:
            del self.model[key]

    @rule(data=st.data(), to=keys, fault=faults, moves=st.booleans())
    def copy_or_move(self, data: st.DataObject, to: str, fault: Fault, moves: bool) -> None:
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
    def empty(self, fault: Fault) -> None:
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
    def list_some(self, prefix: str, start_after: str | None, limit: int | None, parallel: int, fault: Fault) -> None:
        expected = [
            (key, len(content))
            for key, content in self.below(prefix).items()
            if start_after is None or key.encode() > start_after.encode()
        ][:limit]
        listing = self.bucket.list(prefix, start_after=start_after, limit=limit, parallel=parallel)
        with self.going_wrong(fault):
            assert [(info.key, info.size) for info in self.run(listing.collect())] == expected

    @rule(prefix=st.sampled_from(["", "a/", "t/"]), fault=faults)
    def list_dir(self, prefix: str, fault: Fault) -> None:
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
        deletes: bool,
        fault: Fault,
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
        deletes: bool,
        fault: Fault,
    ) -> None:
        source, target = pair
        copied = {target + key[len(source) :]: content for key, content in self.below(source).items()}
        with self.going_wrong(fault):
            report = self.run(
                self.bucket.copy_tree(self.bucket, source, target, compare=compare, delete=deletes, allow_empty=True)
            )
        self.tree_became(copied, target, compare, report, deletes)

    @rule(tree=st.sampled_from(TREES), twice=st.booleans(), fault=faults)
    def download_tree(self, tree: str, twice: bool, fault: Fault) -> None:
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
        deletes: bool,
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


class VersionsMachine(Machine):
    """``self.model`` has the versions of each key, oldest first: what they hold, None for a delete marker."""

    most_faults = 1  # SlowDown, which was not done: of what may have been, a second attempt makes a second version

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.run(self.bucket.set_versioning("Enabled"))
        self.model: dict[str, list[tuple[str, bytes | None]]] = {}

    def note(self, key: str, content: bytes | None) -> None:
        latest = next(version for version in self.run(self.bucket.list_versions(key).collect()) if version.key == key)
        assert latest.version_id
        versions = self.model.setdefault(key, [])
        if latest.version_id not in (version_id for version_id, _ in versions):
            versions.append((latest.version_id, content))

    @rule(key=few_keys, content=contents, fault=faults)
    def put(self, key: str, content: bytes, fault: Fault) -> None:
        with self.going_wrong(fault):
            self.run(self.bucket.object(key).put(content))
        self.note(key, content)

    @rule(key=few_keys, fault=faults)
    def delete(self, key: str, fault: Fault) -> None:
        with self.going_wrong(fault):
            self.run(self.bucket.object(key).delete())
        if key in self.model:  # services differ in whether there is a marker of nothing, and one more of what is gone
            self.note(key, None)
        else:
            with self.going_wrong((NO_FAULT, 1)):
                self.run(self.bucket.delete_many([(v.key, v.version_id) for v in self.versions_of(key)]))

    @rule(data=st.data(), fault=faults)
    @precondition(lambda self: bool(self.model))
    def delete_a_version(self, data: st.DataObject, fault: Fault) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        version = data.draw(st.sampled_from(self.model[key]))
        with self.going_wrong(fault):
            self.run(self.bucket.object(key).delete(version_id=version[0]))
        self.forget(key, [version])

    @rule(data=st.data(), fault=faults)
    @precondition(lambda self: bool(self.model))
    def delete_many_versions(self, data: st.DataObject, fault: Fault) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        versions = data.draw(st.lists(st.sampled_from(self.model[key]), unique=True))
        with self.going_wrong(fault):
            self.run(self.bucket.delete_many([(key, version_id) for version_id, _ in versions]))
        self.forget(key, versions)

    @rule(data=st.data(), fault=faults)
    @precondition(lambda self: bool(self.model))
    def read_a_version(self, data: st.DataObject, fault: Fault) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        version_id, content = data.draw(st.sampled_from(self.model[key]))

        async def read() -> bytes:
            async with self.bucket.object(key).get(version_id=version_id) as body:
                return await body.read()

        with self.going_wrong(fault):
            if content is None:
                with pytest.raises((dream.NotFoundError, dream.UnsupportedByServiceError)):
                    self.run(read())
            else:
                assert self.run(read()) == content

    @rule(fault=faults)
    @precondition(lambda self: sum(map(len, self.model.values())) > 6)
    def empty(self, fault: Fault) -> None:
        with self.going_wrong(fault):
            self.run(self.bucket.empty())
        self.model.clear()

    def forget(self, key: str, gone: Sequence[tuple[str, bytes | None]]) -> None:
        self.model[key] = [version for version in self.model[key] if version not in gone]
        if not self.model[key]:
            del self.model[key]

    def versions_of(self, key: str) -> list[dream.ObjectInfo]:
        return [version for version in self.run(self.bucket.list_versions(key).collect()) if version.key == key]

    @invariant()
    def they_hold_the_same(self) -> None:
        told: dict[str, list[tuple[str | None, bool]]] = {}
        for version in self.run(self.bucket.list_versions().collect()):
            told.setdefault(version.key, []).insert(0, (version.version_id, bool(version.is_delete_marker)))
        assert told == {key: [(one, content is None) for one, content in self.model[key]] for key in self.model}
        live = {key: versions[-1][1] for key, versions in self.model.items() if versions[-1][1] is not None}
        assert {info.key for info in self.run(self.bucket.list().collect())} == live.keys()


def run_machine(machine: type[Machine], place: Callable[[], Place], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: machine(place()),  # type: ignore[arg-type]  # anything that makes one
        settings=settings(
            max_examples=examples * SCALE,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )


def test_a_bucket_in_memory_is_a_dict_whatever_goes_wrong() -> None:
    run_machine(BucketMachine, InMemory, examples=30, steps=30)


def test_a_bucket_of_a_faulty_server_is_a_dict(faulty_server: FaultyServer) -> None:
    run_machine(BucketMachine, partial(OnFaultyServer, faulty_server), examples=8, steps=25)


def test_a_bucket_of_ceph_is_a_dict_behind_a_proxy_that_breaks(rgw: Server) -> None:
    port = urlsplit(rgw.service.endpoint).port
    assert port
    with proxy_in_a_thread(port) as proxy:
        run_machine(BucketMachine, lambda: OnGateway(rgw, proxy), examples=2, steps=20)


def test_versions_in_memory_are_lists_whatever_goes_wrong() -> None:
    run_machine(VersionsMachine, InMemory, examples=15, steps=25)


def test_versions_of_a_faulty_server_are_lists(faulty_server: FaultyServer) -> None:
    run_machine(VersionsMachine, partial(OnFaultyServer, faulty_server), examples=4, steps=25)


def test_versions_of_ceph_are_lists(rgw: Server) -> None:
    port = urlsplit(rgw.service.endpoint).port
    assert port
    with proxy_in_a_thread(port) as proxy:
        proxy_place = OnGateway(rgw, proxy)
        proxy_place.faults = [lambda _: None]  # a broken connection does not tell what was done
        run_machine(VersionsMachine, lambda: proxy_place, examples=2, steps=20)
