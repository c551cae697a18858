"""Trees made alike: what is planned, what is done, and what is left when it goes wrong, on a service in memory."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import pytest_asyncio
from fuzzing import fuzzed
from hypothesis import example, given
from hypothesis import strategies as st
from invariants import descriptors

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Verb

Direction = Literal["upload", "download", "copy"]
Compare = Literal["size", "mtime", "etag"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
READING = {"list_objects", "head_object", "get_object", "head_bucket"}
LARGE = 300 << 10
PART = 64 << 10
PATIENCE_SECONDS = 20

few = fuzzed(0.2)


@dataclass(frozen=True, slots=True)
class Kept:
    content: bytes
    seconds: int
    """When it was modified."""


Tree = dict[str, Kept]


class Local:
    """A tree on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def fill(self, tree: Tree) -> None:
        self.root.mkdir(exist_ok=True)
        for name, kept in tree.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kept.content)
            os.utime(path, (kept.seconds, kept.seconds))

    async def look(self) -> Tree:
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): Kept(path.read_bytes(), int(path.stat().st_mtime)) for path in paths}

    async def times(self) -> dict[str, object]:
        return {name: kept.seconds for name, kept in (await self.look()).items()}


class Remote:
    """A tree below a prefix."""

    def __init__(self, bucket: dream.Bucket, prefix: str) -> None:
        self.bucket, self.prefix = bucket, prefix

    async def fill(self, tree: Tree) -> None:
        for name, kept in tree.items():
            obj = self.bucket.object(f"{self.prefix}/{name}")
            await obj.put(kept.content, metadata={"mtime": f"{kept.seconds}.000000000"})

    async def look(self) -> Tree:
        found: Tree = {}
        async for info in self.bucket.list(f"{self.prefix}/"):
            obj = self.bucket.object(info.key)
            metadata = (await obj.head()).metadata or {}
            name = info.key.removeprefix(f"{self.prefix}/")
            found[name] = Kept(await obj.read(), int(float(metadata.get("mtime", "-1"))))
        return found

    async def times(self) -> dict[str, object]:
        start = len(self.prefix) + 1
        return {info.key[start:]: info.last_modified async for info in self.bucket.list(f"{self.prefix}/")}


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and a target, and what brings one to the other."""

    direction: Direction
    bucket: dream.Bucket
    home: Path

    @property
    def source(self) -> Local | Remote:
        return Local(self.home / "from") if self.direction == "upload" else Remote(self.bucket, "from")

    @property
    def target(self) -> Local | Remote:
        return Local(self.home / "to") if self.direction == "download" else Remote(self.bucket, "to")

    async def run(self, **options: Any) -> dream.TreeReport:
        if self.direction == "upload":
            return await self.bucket.upload_tree(self.home / "from", "to", **options)
        if self.direction == "download":
            return await self.bucket.download_tree(self.home / "to", "from", **options)
        return await self.bucket.copy_tree(self.bucket, "from", "to", **options)

    @property
    def writes(self) -> Verb:
        """What a name costs that goes alone."""
        verbs: dict[Direction, Verb] = {"upload": "put_object", "download": "get_object", "copy": "copy_object"}
        return verbs[self.direction]

    def key_of(self, name: str) -> str:
        """What that request names."""
        return f"{'from' if self.direction == 'download' else 'to'}/{name}"


@pytest.fixture
def memory() -> MemoryService:
    rules = dream.MultipartRules(smallest_part=1, largest_copy=PART)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest_asyncio.fixture
async def bucket(memory: MemoryService) -> AsyncIterator[dream.Bucket]:
    limits = dream.Limits(requests=8, part_size=PART, memory=8 * PART)
    async with memory.session(limits=limits, retry=dream.Retry(attempts=2, base=0.001, cap=0.001)) as session:
        yield await session.create_bucket("trees")


@pytest.fixture(params=DIRECTIONS)
def pair(request: pytest.FixtureRequest, bucket: dream.Bucket, tmp_path: Path) -> Pair:
    return Pair(request.param, bucket, tmp_path)


def tree_of(*names: str, content: bytes = b"1", seconds: int = 1000) -> Tree:
    return {name: Kept(content, seconds) for name in names}


def verbs(memory: MemoryService) -> list[str]:
    return [request.verb for request in memory.requests]


def leftovers(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.name.endswith(".part")]


# Any two trees


Rule = Callable[[Sequence[str], bool], bool]
"""Whether it is about this path, which may be a directory."""

PATTERNS: dict[str, Rule] = {
    "*.log": lambda path, _: path[-1].endswith(".log"),
    "build/": lambda path, is_directory: is_directory and path[-1] == "build",
    "/top": lambda path, _: list(path) == ["top"],
    "a/**/z": lambda path, _: len(path) > 1 and (path[0], path[-1]) == ("a", "z"),
    "b": lambda path, _: path[-1] == "b",
    "ü*": lambda path, _: path[-1].startswith("ü"),
    "nothing": lambda path, _: path[-1] == "nothing",
}
NAMES = [
    *("a", "a-b", "a/b", "a.b", "a/b-c", "a/b/c", "a/z", "a/q/z", "a b/ c ", "\n", "-", "A", "~"),
    *(
        "ü",
        "ü/é",
        "u\u0308",
        "\uffee",
        "\U0001f600",
        "\U0001f600/x",
        "%2f",
        "..a",
        "n" * 200,
        f"{'d' * 100}/{'n' * 99}",
    ),
    *("x.log", "a/keep.log", "top", "b/top", "top/x", "build", "build/x", "b/build/y.log", "b/x"),
]


@dataclass(frozen=True, slots=True)
class Case:
    source: Tree
    target: Tree
    compare: Compare | None
    delete: bool
    include: list[str]
    exclude: list[str]
    allow_empty: bool
    source_is_older: bool

    @property
    def options(self) -> dict[str, Any]:
        names = ("compare", "delete", "include", "exclude", "allow_empty")
        return {name: getattr(self, name) for name in names}

    def without(self, clashes: bool) -> Case:
        """Names below others cannot be files."""
        if not clashes:
            return self
        kept = [name for name in self.source if not any(other.startswith(f"{name}/") for other in self.source)]
        source = {name: self.source[name] for name in kept}
        fits = [
            name
            for name in self.target
            if not any(
                f"{one}/".startswith(f"{two}/")
                for other in source
                for one, two in ((name, other), (other, name))
                if one != two
            )
        ]
        fits = [name for name in fits if not any(other.startswith(f"{name}/") for other in fits)]
        return replace(self, source=source, target={name: self.target[name] for name in fits})


patterns = st.lists(st.sampled_from(list(PATTERNS)), max_size=2, unique=True)
contents = st.builds(Kept, st.sampled_from([b"", b"1", b"2", b"22"]), st.sampled_from([1000, 2000]))
trees = st.dictionaries(st.sampled_from(NAMES), contents, max_size=8)
cases = st.builds(
    Case,
    trees,
    trees,
    st.sampled_from([None, "size", "mtime", "etag"]),
    st.booleans(),
    patterns,
    patterns,
    st.booleans(),
    st.booleans(),
)


def ways_to(name: str) -> list[tuple[list[str], bool]]:
    path = name.split("/")
    return [(path[:depth], depth < len(path)) for depth in range(1, len(path) + 1)]


def is_matched(name: str, chosen: Sequence[str]) -> bool:
    return any(PATTERNS[pattern](path, is_dir) for pattern in chosen for path, is_dir in ways_to(name))


def is_selected(name: str, case: Case) -> bool:
    return (not case.include or is_matched(name, case.include)) and not is_matched(name, case.exclude)


def left_out(case: Case, *, by_walking: bool) -> int:
    """A directory that need not be read counts once."""
    found = set[str]()
    for name in case.source:
        if not is_selected(name, case):
            above = ["/".join(path) for path, is_dir in ways_to(name) if is_dir and need_not_be_read(path, case)]
            found.add(f"{above[0]}/" if above and by_walking else name)
    return len(found)


def need_not_be_read(path: Sequence[str], case: Case) -> bool:
    if any(PATTERNS[one](path, True) for one in case.exclude):
        return True
    is_taken = is_matched("/".join(path) + "/", case.include)
    return bool(case.include) and not is_taken and not any(may_match_below(one, path) for one in case.include)


def may_match_below(pattern: str, path: Sequence[str]) -> bool:
    """Only patterns that are bound to the top cannot match everywhere."""
    return path[0] == "a" if pattern == "a/**/z" else pattern != "/top"


def why(name: str, case: Case, is_current: Callable[[str], bool]) -> str | None:
    """The reason to copy it."""
    source, target = case.source[name], case.target.get(name)
    if case.compare is None:
        return "asked"
    if target is None:
        return "missing"
    if len(source.content) != len(target.content):
        return "size"
    if case.compare == "etag" and source.content != target.content:
        return "etag"
    if case.compare == "mtime" and not is_current(name):
        return "mtime"
    return None


def planned(case: Case, is_current: Callable[[str], bool]) -> tuple[dream.TreeAction, ...]:
    copies = [
        dream.TreeAction("copy", name, len(case.source[name].content), reason)  # type: ignore[arg-type]  # of these words
        for name in sorted(case.source)
        if is_selected(name, case) and (reason := why(name, case, is_current))
    ]
    deletions = [
        dream.TreeAction("delete", name, len(case.target[name].content), "extra")
        for name in sorted(case.target)
        if case.delete and name not in case.source and is_selected(name, case)
    ]
    return (*copies, *deletions)


def carried_out(case: Case, plan: Sequence[dream.TreeAction]) -> Tree:
    target = dict(case.target)
    for action in plan:
        if action.action == "copy":
            target[action.name] = case.source[action.name]
        else:
            del target[action.name]
    return target


async def fill_both(pair: Pair, case: Case) -> None:
    sides = ((pair.source, case.source), (pair.target, case.target))
    for side, tree in sides if case.source_is_older else reversed(sides):
        await side.fill(tree)


async def currency(pair: Pair) -> Callable[[str], bool]:
    """Whether the target's time tells that it is the source's."""
    source, target = await pair.source.times(), await pair.target.times()
    kept, stored = await pair.source.look(), await pair.target.look()
    if pair.direction == "copy":  # at the same time only the content tells
        is_same = {name: kept[name].content == stored[name].content for name in kept.keys() & stored.keys()}
        return lambda name: target[name] > source[name] or (target[name] == source[name] and is_same[name])  # type: ignore[operator]  # both are times
    return lambda name: kept[name].seconds == stored[name].seconds


async def check_case(pair: Pair, case: Case) -> None:
    neighbours = [pair.bucket.object(key) for key in ("to-old/a", "to.log", "from-old/a", "t")]
    for neighbour in neighbours:
        await neighbour.put(b"precious")
    await fill_both(pair, case)
    plan = planned(case, await currency(pair))
    chosen = [name for name in case.source if is_selected(name, case)]
    if case.delete and not chosen and not case.allow_empty:
        for dry_run in (True, False):
            with pytest.raises(ValueError, match="allow_empty"):
                await pair.run(**case.options, dry_run=dry_run)
        assert await pair.target.look() == case.target
        return
    dry = await pair.run(**case.options, dry_run=True)
    assert dry.plan == plan
    assert await pair.target.look() == case.target
    report = await pair.run(**case.options)
    assert await pair.target.look() == carried_out(case, plan)
    assert await pair.source.look() == case.source
    assert replace(report, plan=plan) == dry
    copied = [action for action in plan if action.action == "copy"]
    assert report == dream.TreeReport(
        len(plan),
        0,
        copied=len(copied),
        copied_bytes=sum(action.size for action in copied),
        skipped=len(chosen) - len(copied),
        deleted=len(plan) - len(copied),
        excluded=left_out(case, by_walking=pair.direction == "upload"),
        unmatched=report.unmatched,
    )
    again = await pair.run(**{**case.options, "compare": case.compare or "size"})
    assert (again.copied, again.deleted, again.skipped) == (0, 0, len(chosen))
    assert [await neighbour.read() for neighbour in neighbours] == [b"precious"] * len(neighbours)


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(case=cases)
@example(case=Case(tree_of("a"), tree_of("a-b", "b"), "size", True, [], ["b"], False, True))
@example(case=Case({}, tree_of("a", "b"), None, True, [], [], True, True))
@few
async def test_what_is_planned_is_done_and_then_there_is_nothing_to_do(direction: Direction, case: Case) -> None:
    memory = MemoryService()
    with tempfile.TemporaryDirectory() as home:
        async with memory.session() as session:
            pair = Pair(direction, await session.create_bucket("trees"), Path(home))
            await Local(Path(home) / "from").fill({})
            await Local(Path(home) / "to").fill({})
            await check_case(pair, case.without(clashes=direction != "copy"))


# What is deleted, and when nothing is


async def page_two(memory: MemoryService, prefix: str, task: asyncio.Task[Any]) -> None:
    while [request.key for request in memory.requests].count(prefix) < 2 and not task.done():
        await asyncio.sleep(0)


async def test_nothing_is_deleted_when_the_listing_of_a_source_fails_midway(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    names = [f"{number:04}" for number in range(1001)]
    await Remote(bucket, "from").fill(tree_of(*names))
    for direction in ("download", "copy"):
        pair = Pair(direction, bucket, tmp_path)
        await pair.target.fill(tree_of("0000x", "extra"))
        memory.forget_requests()
        task = asyncio.create_task(pair.run(delete=True))
        await page_two(memory, "from/", task)
        memory.fail("list_objects", "AccessDenied", key="from/")
        with pytest.raises(dream.AccessDeniedError) as caught:
            await task
        assert re.fullmatch(r"before this error: [\d,]+ copied, 0 deleted", caught.value.__notes__[-1])
        assert {"0000x", "extra"} <= set(await pair.target.look())
        memory.stop_faults()
        assert (await pair.run(delete=True, compare="size")).deleted == 2


async def test_nothing_is_deleted_when_the_listing_of_a_target_fails_midway(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    await Remote(bucket, "to").fill(tree_of(*(f"{number:04}" for number in range(1001))))
    for direction in ("upload", "copy"):
        pair = Pair(direction, bucket, tmp_path)
        await pair.source.fill(tree_of("a"))
        memory.forget_requests()
        task = asyncio.create_task(pair.run(delete=True))
        await page_two(memory, "to/", task)
        memory.fail("list_objects", "AccessDenied", key="to/")
        with pytest.raises(dream.AccessDeniedError):
            await task
        memory.stop_faults()
        assert len(set(await pair.target.times()) - {"a"}) == 1001


async def test_nothing_is_deleted_when_a_name_fails(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of("a", "b", "c"))
    await pair.target.fill(tree_of("x", "y"))
    memory.fail(pair.writes, "AccessDenied", key=pair.key_of("b"))
    with pytest.raises(dream.BulkError, match="1 names failed, 2 were copied; 2 were to be deleted and are kept"):
        await pair.run(delete=True)
    assert set(await pair.target.look()) == {"a", "c", "x", "y"}
    memory.fail(pair.writes, "AccessDenied", key=pair.key_of("b"))
    report = await pair.run(delete=True, on_error="collect")
    assert (report.copied, report.failed, report.deleted, report.kept) == (2, 1, 0, 2)
    report = await pair.run(delete=True)
    assert (report.copied, report.failed, report.deleted, report.kept) == (3, 0, 2, 0)


async def test_a_deletion_that_fails_is_a_failure(memory: MemoryService, pair: Pair) -> None:
    if pair.direction == "download":
        pytest.skip("a file that cannot be deleted takes another user")
    await pair.source.fill(tree_of("a"))
    await pair.target.fill(tree_of("x", "y"))
    memory.fail("delete_objects", "AccessDenied", key="to/x")
    report = await pair.run(delete=True, on_error="collect")
    assert (report.copied, report.failed, report.deleted, report.kept) == (1, 1, 1, 0)
    assert [failure.key for failure in report.failures] == ["x"]
    assert set(await pair.target.look()) == {"a", "x"}


async def test_nothing_is_deleted_when_a_part_of_the_source_cannot_be_read(
    bucket: dream.Bucket, tmp_path: Path
) -> None:
    pair = Pair("upload", bucket, tmp_path)
    await pair.source.fill(tree_of("a", "d/b"))
    await pair.target.fill(tree_of("d/c", "d/extra"))
    (tmp_path / "from" / "d" / "up").symlink_to("..")
    report = await pair.run(delete=True, on_error="collect")
    assert (report.copied, report.failed, report.deleted, report.kept) == (2, 1, 0, 2)
    assert [failure.key for failure in report.failures] == ["d/up/"]
    assert set(await pair.target.look()) == {"a", "d/b", "d/c", "d/extra"}


@pytest.mark.skipif(os.geteuid() == 0, reason="to root no directory is unreadable")
async def test_nothing_is_deleted_when_a_directory_may_not_be_read(bucket: dream.Bucket, tmp_path: Path) -> None:
    pair = Pair("upload", bucket, tmp_path)
    await pair.source.fill(tree_of("a", "d/b"))
    await pair.target.fill(tree_of("d/b", "extra"))
    (tmp_path / "from" / "d").chmod(0)
    report = await pair.run(delete=True, on_error="collect")
    (tmp_path / "from" / "d").chmod(0o700)
    assert (report.copied, report.failed, report.kept) == (1, 1, 2)
    assert isinstance(report.failures[0].error, PermissionError)


async def test_an_empty_source_deletes_only_when_that_is_meant(pair: Pair) -> None:
    await pair.source.fill({})
    await pair.target.fill(tree_of("x", "d/y"))
    for options in ({}, {"dry_run": True}, {"compare": "size"}):
        with pytest.raises(ValueError, match=r"the source is empty.*allow_empty=True"):
            await pair.run(delete=True, **options)
        assert set(await pair.target.look()) == {"x", "d/y"}
    report = await pair.run(delete=True, allow_empty=True)
    assert (report.done, report.deleted) == (2, 2)
    assert await pair.target.look() == {}


async def test_a_source_of_which_all_fails_is_not_called_empty(bucket: dream.Bucket, tmp_path: Path) -> None:
    pair = Pair("upload", bucket, tmp_path)
    await pair.source.fill({})
    await pair.target.fill(tree_of("x"))
    os.mkfifo(tmp_path / "from" / "pipe")
    with pytest.raises(dream.BulkError):
        await pair.run(delete=True)
    assert set(await pair.target.look()) == {"x"}


async def test_directories_that_deletions_leave_empty_go_as_well(bucket: dream.Bucket, tmp_path: Path) -> None:
    pair = Pair("download", bucket, tmp_path)
    await pair.source.fill(tree_of("a"))
    await pair.target.fill(tree_of("d/e/x", "d/f/y", "g/h/kept.log", "g/i/z"))
    assert (await pair.run(delete=True, exclude=["*.log"])).deleted == 3
    assert sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*")) == [
        *("a", "g", "g/h", "g/h/kept.log")
    ]


async def test_more_is_deleted_than_a_request_takes(pair: Pair) -> None:
    names = [f"d{number % 7}/{number:05}" for number in range(2005)]
    await pair.source.fill(tree_of("a"))
    await pair.target.fill(tree_of(*names))
    assert (await pair.run(delete=True)).deleted == 2005
    assert set(await pair.target.times()) == {"a"}


async def test_more_is_deleted_than_is_kept_in_memory(bucket: dream.Bucket, tmp_path: Path) -> None:
    pair = Pair("copy", bucket, tmp_path)
    await pair.source.fill(tree_of("a"))
    await pair.target.fill(tree_of(*(f"{number:04}{'ü' * 400}" for number in range(1001))))
    assert (await pair.run(delete=True)).deleted == 1001
    assert set(await pair.target.times()) == {"a"}


# Patterns


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        (["build/"], ["a/q/z", "a/z", "keep.log", "top", "x.log", "y/build", "y/top"]),
        (["*.log"], ["a/q/z", "a/z", "b/build/x", "build/x", "top", "y/build", "y/top"]),
        (["*.log", "!keep.log"], ["a/q/z", "a/z", "b/build/x", "build/keep.log", "build/x", "keep.log", "top", "y/build", "y/top"]),
        (["build/*", "!build/keep.log"], ["a/q/z", "a/z", "b/build/x", "build/keep.log", "keep.log", "top", "x.log", "y/build", "y/top"]),
        (["/top", "/build"], ["a/q/z", "a/z", "b/build/x", "keep.log", "x.log", "y/build", "y/top"]),
        (["a/**/z", "**/build/**"], ["keep.log", "top", "x.log", "y/build", "y/top"]),
        (["*", "!*/", "!*.log"], ["build/keep.log", "keep.log", "x.log"]),
        (["# a comment", "", "y"], ["a/q/z", "a/z", "b/build/x", "build/keep.log", "build/x", "keep.log", "top", "x.log"]),
    ],
)  # fmt: skip
async def test_a_walk_and_a_listing_agree_about_patterns(pair: Pair, exclude: list[str], kept: list[str]) -> None:
    names = ["a/q/z", "a/z", "b/build/x", "build/keep.log", "build/x", "keep.log", "top", "x.log", "y/build", "y/top"]
    await pair.source.fill(tree_of(*names))
    report = await pair.run(exclude=exclude)
    assert sorted(await pair.target.look()) == sorted(kept)
    assert (report.copied, report.failed) == (len(kept), 0)


async def test_a_target_keeps_what_is_left_out(pair: Pair) -> None:
    await pair.source.fill(tree_of("a"))
    await pair.target.fill(tree_of("build/x", "keep.log", "x"))
    assert (await pair.run(delete=True, exclude=["build/", "*.log"])).deleted == 1
    assert set(await pair.target.look()) == {"a", "build/x", "keep.log"}
    assert (await pair.run(delete=True, include=["*.log", "a"])).deleted == 1
    assert set(await pair.target.look()) == {"a", "build/x"}


async def test_patterns_that_match_nothing_are_told(pair: Pair) -> None:
    await pair.source.fill(tree_of("a", "build/x"))
    await pair.target.fill(tree_of("old.log"))
    chosen = ["build/", "*.log", "# a comment", "*.tmp", "!*.txt"]
    report = await pair.run(include=["a", "b"], exclude=chosen)
    assert report.unmatched == ("b", "*.log", "*.tmp", "!*.txt")
    report = await pair.run(include=["a", "b"], exclude=chosen, compare="size")
    assert report.unmatched == ("b", "*.tmp", "!*.txt")


async def test_a_directory_that_is_left_out_is_not_read(bucket: dream.Bucket, tmp_path: Path) -> None:
    pair = Pair("upload", bucket, tmp_path)
    await pair.source.fill(tree_of("a", "build/x", "build/y"))
    os.mkfifo(tmp_path / "from" / "build" / "pipe")
    report = await pair.run(exclude=["build/"])
    assert (report.copied, report.excluded) == (1, 1)
    with pytest.raises(dream.BulkError, match="1 names failed"):
        await pair.run()


async def test_patterns_are_checked_before_anything_is_asked(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of("a"))
    memory.forget_requests()
    for name in ("include", "exclude"):
        with pytest.raises(TypeError, match=rf"{name} is one str; it must be patterns: \['\*\.log'\]"):
            await pair.run(**{name: "*.log"})
        with pytest.raises(TypeError, match=f"a pattern of {name} is a str, not int"):
            await pair.run(**{name: [1]})
        with pytest.raises(ValueError, match=name):
            await pair.run(**{name: ["!"]})
    assert memory.requests == ()


# Dry runs, progress, reports


async def test_a_dry_run_writes_nothing(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of("a", "d/b"))
    memory.forget_requests()
    for compare in (None, "size", "mtime", "etag"):
        report = await pair.run(dry_run=True, compare=compare, delete=True)
        assert (report.copied, report.copied_bytes, report.deleted) == (2, 2, 0)
    await pair.target.fill(tree_of("a", "x"))
    memory.forget_requests()
    for compare in (None, "size", "mtime", "etag"):
        report = await pair.run(dry_run=True, compare=compare, delete=True)
        assert report.plan is not None
        assert [action.name for action in report.plan if action.action == "delete"] == ["x"]
    assert set(verbs(memory)) <= READING
    assert await pair.target.look() == tree_of("a", "x")


async def test_a_dry_run_makes_no_directory(bucket: dream.Bucket, tmp_path: Path) -> None:
    await Remote(bucket, "from").fill(tree_of("a"))
    report = await bucket.download_tree(tmp_path / "new" / "to", "from", dry_run=True, delete=True, compare="etag")
    assert report.plan == (dream.TreeAction("copy", "a", 1, "missing"),)
    assert list(tmp_path.iterdir()) == []
    await bucket.download_tree(tmp_path / "new" / "to", "from")
    assert (tmp_path / "new" / "to" / "a").read_bytes() == b"1"


async def test_progress_only_grows_and_ends_at_the_totals(memory: MemoryService, pair: Pair) -> None:
    source = tree_of(*(f"{number:03}" for number in range(40))) | tree_of("large", content=bytes(LARGE))
    await pair.source.fill(source)
    await pair.target.fill(tree_of("000", "extra"))
    seen: list[dream.Progress] = []
    for verb in ("get_object", "put_part", "put_object", "copy_object", "copy_part"):
        memory.delay(verb, 0.02, times=None)
    await pair.run(progress=seen.append, compare="etag", delete=True)
    figures = [(one.done_bytes, one.done_objects) for one in seen]
    assert len(figures) > 1
    assert figures == sorted(figures)
    assert [one.done_objects for one in seen] == sorted(one.done_objects for one in seen)
    last = seen[-1]
    assert (last.done_bytes, last.done_objects) == (last.total_bytes, last.total_objects)
    assert last.total_objects in (40, 41)  # whether the one that is the same took a look, or the listings told


async def test_progress_names_the_large_objects_under_way(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of("small") | tree_of("large", content=bytes(LARGE)))
    is_seen, found = asyncio.Event(), list[dream.Moving]()
    memory.delay("*", is_seen, key=pair.key_of("large"), times=None)

    def look(progress: dream.Progress) -> None:
        if progress.moving:
            found.extend(progress.moving)
            is_seen.set()

    await pair.run(progress=look)
    assert {(one.key, one.total_bytes) for one in found} == {("large", LARGE)}
    assert 0 <= found[0].done_bytes <= LARGE
    assert found[0].seconds > 0


async def test_a_callback_that_raises_ends_it(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of(*(f"{number:03}" for number in range(100))))
    memory.delay(pair.writes, 0.05, times=None)

    def refuse(progress: dream.Progress) -> None:
        raise LookupError(progress.key)

    with pytest.raises(LookupError) as caught:
        await pair.run(progress=refuse)
    assert caught.value.__notes__[-1].startswith("before this error: ")
    assert len(await pair.target.look()) < 100


async def test_failures_are_raised_together_or_collected(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of("a", "b", "d/c"))
    memory.fail(pair.writes, "AccessDenied", key=pair.key_of("d/c"), times=None)
    with pytest.raises(dream.BulkError, match="1 names failed, 2 were copied") as caught:
        await pair.run()
    report = caught.value.report
    assert isinstance(report, dream.TreeReport)
    assert (report.done, report.copied, report.failed) == (2, 2, 1)
    assert [failure.key for failure in report.failures] == ["d/c"]
    assert isinstance(report.failures[0].error, dream.AccessDeniedError)
    collected = await pair.run(on_error="collect")
    assert replace(collected, failures=report.failures) == report


async def test_one_of_many_names_fails_alone(memory: MemoryService, pair: Pair) -> None:
    names = [f"d{number % 9}/{number:04}" for number in range(2000)]
    await pair.source.fill(tree_of(*names))
    memory.fail(pair.writes, "AccessDenied", key=pair.key_of(names[700]), times=None)
    report = await pair.run(on_error="collect")
    assert (report.copied, report.failed) == (1999, 1)
    assert set(await pair.target.times()) == {*names} - {names[700]}


async def test_a_service_that_is_gone_stops_it_soon(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of(*(f"{number:04}" for number in range(2000))))
    memory.forget_requests()
    task = asyncio.create_task(pair.run())
    while verbs(memory).count(pair.writes) < 50 and not task.done():
        await asyncio.sleep(0)
    memory.break_connection("*", times=None)
    with pytest.raises(dream.ConnectionFailedError) as caught:
        await task
    memory.stop_faults()
    assert len(memory.requests) < 2000
    told = re.fullmatch(r"before this error: (\d+) copied, 0 deleted", caught.value.__notes__[-1])
    assert told is not None
    assert 0 < int(told[1]) <= len(await pair.target.look()) < 300
    assert not leftovers(pair.home)


async def test_a_missing_bucket_is_raised_itself_also_midway(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of(*(f"{number:03}" for number in range(100))))
    memory.fail(pair.writes, "NoSuchBucket", key=pair.key_of("050"))
    with pytest.raises(dream.NotFoundError) as caught:
        await pair.run()
    assert caught.value.__notes__[-1].startswith("before this error: ")


# The disk


@pytest.mark.parametrize("size", [100_000, 2 << 20])
async def test_a_full_disk_is_its_own_error_and_leaves_whole_files(
    bucket: dream.Bucket, small_disk: Path, size: int
) -> None:
    content = os.urandom(size)
    names = [f"{number:02}" for number in range(30)]
    await Remote(bucket, "from").fill(tree_of(*names, content=content))
    (small_disk / "00").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left") as caught:
        await bucket.download_tree(small_disk, "from", delete=True)
    assert caught.value.errno == errno.ENOSPC
    found = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    assert set(found) <= set(names)
    assert set(found.values()) <= {b"old", content}
    assert " copied, 0 deleted" in caught.value.__notes__[-1]


async def test_a_file_that_changes_while_it_is_sent_is_a_failure(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    pair, held = Pair("upload", bucket, tmp_path), asyncio.Event()
    await pair.source.fill(tree_of("large", content=bytes(LARGE)) | tree_of("a"))
    await pair.target.fill(tree_of("large", content=b"old"))
    memory.delay("create_upload", held)
    memory.forget_requests()
    task = asyncio.create_task(pair.run(on_error="collect"))
    while "create_upload" not in verbs(memory) and not task.done():
        await asyncio.sleep(0)
    with (tmp_path / "from" / "large").open("ab") as file:
        file.write(b"more")
    held.set()
    report = await task
    assert (report.copied, report.failed) == (1, 1)
    assert isinstance(report.failures[0].error, dream.SourceChangedError)
    assert (await pair.target.look())["large"].content == b"old"
    assert await bucket.uploads().collect() == []


# Arguments


async def test_bad_arguments_are_refused_before_anything_is_asked(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(tree_of("a"))
    memory.forget_requests()
    for options, message in (
        ({"compare": "date"}, "compare 'date' is none of"),
        ({"on_error": "ignore"}, "on_error 'ignore' is none of 'raise', 'collect'"),
        ({"acl": "everybody"}, "acl|ACL"),
    ):
        with pytest.raises(ValueError, match=message):
            await pair.run(**options)
    if pair.direction == "upload":
        with pytest.raises(ValueError, match="symlinks 'copy' is none of 'follow', 'skip', 'refuse'"):
            await pair.run(symlinks="copy")
    if pair.direction == "download":
        with pytest.raises(ValueError, match="a download makes files"):
            await pair.run(acl="private")
        assert not (pair.home / "to").exists()
    assert memory.requests == ()


async def test_a_directory_that_is_none_is_its_own_error(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    memory.forget_requests()
    for dry_run in (True, False):
        with pytest.raises(FileNotFoundError, match="missing"):
            await bucket.upload_tree(tmp_path / "missing", dry_run=dry_run)
        with pytest.raises(NotADirectoryError, match="file"):
            await bucket.upload_tree(tmp_path / "file", dry_run=dry_run)
        with pytest.raises(NotADirectoryError, match="file"):
            await bucket.download_tree(tmp_path / "file", dry_run=dry_run)
        with pytest.raises(NotADirectoryError):
            await bucket.download_tree(tmp_path / "file" / "below", dry_run=dry_run)
        for verb in (bucket.upload_tree, bucket.download_tree):  # and not all of this machine
            with pytest.raises(ValueError, match="the local directory has no name"):
                await verb("", dry_run=dry_run, exclude=["*"])
    assert memory.requests == ()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("prefix", "to_prefix"),
    [("", ""), ("a", None), ("a", "a/"), ("a", "a/b"), ("a/b", "a"), ("", "a"), ("a", "")],
)
async def test_trees_that_overlap_are_refused(
    memory: MemoryService, bucket: dream.Bucket, prefix: str, to_prefix: str | None
) -> None:
    async with memory.session() as other:
        memory.forget_requests()
        for to in (bucket, other.bucket(bucket.name)):
            with pytest.raises(ValueError, match="do not overlap"):
                await bucket.copy_tree(to, prefix, to_prefix)
        assert memory.requests == ()


async def test_trees_beside_each_other_do_not_overlap(bucket: dream.Bucket) -> None:
    await Remote(bucket, "a").fill(tree_of("x"))
    assert (await bucket.copy_tree(bucket, "a", "a-b")).copied == 1
    assert (await bucket.copy_tree(bucket, "a-b", "b/a")).copied == 1
    assert set(await Remote(bucket, "b").times()) == {"a/x"}


async def test_a_session_that_is_closed_does_nothing(memory: MemoryService, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(b"1")
    closed = memory.session().bucket("trees")
    for direction in DIRECTIONS:
        with pytest.raises(dream.SessionClosedError):
            await Pair(direction, closed, tmp_path).run()
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


async def test_an_object_whose_name_is_the_prefix_is_one_of_the_tree(bucket: dream.Bucket, tmp_path: Path) -> None:
    for key in ("from/", "to/"):
        await bucket.object(key).put(b"precious")
    await Remote(bucket, "from").fill(tree_of("a"))
    await Local(tmp_path / "up").fill(tree_of("a"))
    assert (await bucket.upload_tree(tmp_path / "up", "to", compare="size")).copied == 1
    assert await bucket.object("to/").read() == b"precious"
    assert (await bucket.copy_tree(bucket, "from", "copy")).copied == 2
    assert await bucket.object("copy/").read() == b"precious"


async def test_objects_that_mark_directories_are_passed_over(pair: Pair) -> None:
    await pair.source.fill(tree_of("d/a"))
    for key in ("from/", "from/d/", "to/", "to/d/", "to/e/"):
        await pair.bucket.object(key).put(b"")
    await pair.run(delete=True, compare="size")
    assert {name for name in await pair.target.look() if not name.endswith("/") and name} == {"d/a"}
    assert await pair.bucket.object("to/e/").exists()


async def test_an_empty_object_with_others_below_it_is_a_directory(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    for key in ("photos", "photos/d", "photos/d/e", "photos/empty", "z"):
        await bucket.object(f"from/{key}").put(b"")
    await Remote(bucket, "from").fill(tree_of("photos-2", "photos/d/e/a.jpg", "photos/d/e/b.jpg", "z/a"))
    expected = {"photos-2", "photos/d/e/a.jpg", "photos/d/e/b.jpg", "photos/empty", "z/a"}
    for options in ({}, {"compare": "mtime", "delete": True}, {"exclude": ["none"]}):
        report = await bucket.download_tree(tmp_path / "to", "from", **options)
        assert report.copied + report.skipped == 5
        assert set(await Local(tmp_path / "to").look()) == expected
    memory.forget_requests()
    await bucket.download_tree(tmp_path / "new", "from")
    assert verbs(memory).count("list_objects") == 1
    assert (await bucket.copy_tree(bucket, "from", "copy")).copied == 9  # objects can be beside each other


async def test_a_directory_is_known_by_names_on_a_later_page(bucket: dream.Bucket, tmp_path: Path) -> None:
    """Before the slash come the blank and all to the full stop."""
    names = [f"photos-{number:04}" for number in range(1200)]
    for key in ("photos", "photos-0000"):
        await bucket.object(f"from/{key}").put(b"")
    await Remote(bucket, "from").fill(tree_of(*names[1:], "photos/a.jpg"))
    report = await bucket.download_tree(tmp_path, "from")
    assert (report.copied, (tmp_path / "photos").is_dir(), (tmp_path / "photos-0000").is_file()) == (1201, True, True)


# Cut short


OLD = tree_of("a", "d/b", "x", "y", content=b"old", seconds=500)
NEW = tree_of("a", "d/b", "c", "e/f") | tree_of("e/large", content=bytes(LARGE))


async def error_of(work: asyncio.Task[Any]) -> BaseException | None:
    try:
        await work
    except asyncio.CancelledError as error:
        return error
    return None


async def check_cut(pair: Pair, error: BaseException | None) -> None:
    found = await pair.target.look()
    assert all(kept in (OLD.get(name), NEW.get(name)) for name, kept in found.items())
    if {"x", "y"} - set(found):
        assert set(NEW) <= set(found)
    assert set(NEW) & set(OLD) <= set(found)
    assert not leftovers(pair.home)
    assert await pair.bucket.uploads().collect() == []
    notes = getattr(error, "__notes__", None)
    if notes is None:  # it had not begun, or it was done
        assert found in (OLD, NEW)
    else:
        told = re.fullmatch(r"before this error: (\d+) copied, (\d+) deleted", notes[-1])
        assert told is not None
        assert int(told[1]) <= sum(kept == NEW.get(name) for name, kept in found.items())
        assert int(told[2]) <= 2 - len({"x", "y"} & set(found))


async def test_it_can_be_cancelled_at_any_request(memory: MemoryService, pair: Pair) -> None:
    await pair.source.fill(NEW)
    tasks = asyncio.all_tasks()
    for at in itertools.count(1):
        await Remote(pair.bucket, "to").fill(OLD)
        await Local(pair.home / "to").fill(OLD)
        for name in ("c", "e/f", "e/large"):
            await pair.bucket.object(f"to/{name}").delete()
            (pair.home / "to" / name).unlink(missing_ok=True)
        memory.forget_requests()
        work = asyncio.create_task(pair.run(delete=True, compare="etag"))
        while len(memory.requests) < at and not work.done():
            await asyncio.sleep(0)
        work.cancel()
        error = await error_of(work)
        assert asyncio.all_tasks() == tasks
        await check_cut(pair, error)
        if error is None:
            break
    assert at > 5
    assert await pair.target.look() == NEW


async def test_a_download_can_be_cancelled_at_any_moment(bucket: dream.Bucket, tmp_path: Path) -> None:
    pair, tasks = Pair("download", bucket, tmp_path), asyncio.all_tasks()
    await pair.source.fill(NEW)
    opened = len(descriptors())
    for number in range(1, 60):
        await pair.target.fill(OLD)
        work = asyncio.create_task(pair.run(delete=True, compare="etag"))
        await asyncio.sleep(number / 3000)
        work.cancel()
        error = await error_of(work)
        assert asyncio.all_tasks() == tasks
        await check_cut(pair, error)
        assert len(descriptors()) == opened
        for name in ("c", "e/f", "e/large"):
            (tmp_path / "to" / name).unlink(missing_ok=True)
