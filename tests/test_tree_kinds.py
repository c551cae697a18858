"""A file that became a directory, a directory that became a file, and what else changes its kind or is no file at all."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

LARGE = bytes(300 << 10)
"""More than what goes together with others."""

TO_A_FILE = ({"a": b"new", "z": b"z"}, {"a/b": b"old", "a/c/d": b"old", "z": b"z"})
TO_A_DIRECTORY = ({"a/b": b"new", "a/c/d": b"new", "z": b"z"}, {"a": b"old", "z": b"z"})
LARGE_FILE = ({"a": LARGE}, {"a/b": b"old"})
LARGE_BELOW = ({"a/b/c": LARGE}, {"a": b"old"})
BOTH = ({"a": b"1", "b/c": b"2", "d/e": b"3", "d/f/g": b"4"}, {"a/b": b"1", "b": b"2", "d/e/x": b"3", "d/f": b"4"})
MANY = ({f"a/{number:04}": b"1" for number in range(900)}, {"a": b"old"})
CHANGES = {
    "to a file": TO_A_FILE,
    "to a directory": TO_A_DIRECTORY,
    "to a large file": LARGE_FILE,
    "to a directory with a large file": LARGE_BELOW,
    "both": BOTH,
    "many": MANY,
}

Content = dict[str, bytes]


@pytest_asyncio.fixture
async def bucket() -> AsyncIterator[dream.Bucket]:
    async with MemoryService().session(limits=dream.Limits(requests=8)) as session:
        yield await session.create_bucket("kinds")


def fill(root: Path, content: Content) -> None:
    root.mkdir()
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def files_in(root: Path) -> Content:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def put(bucket: dream.Bucket, prefix: str, content: Content) -> None:
    for name, data in content.items():
        await bucket.object(f"{prefix}/{name}").put(data)


async def objects_in(bucket: dream.Bucket, prefix: str) -> Content:
    keys = [info.key async for info in bucket.list(f"{prefix}/")]
    return {key.removeprefix(f"{prefix}/"): await bucket.object(key).read() for key in keys}


def planned(report: dream.TreeReport) -> tuple[set[str], set[str]]:
    plan = report.plan or ()
    return {one.name for one in plan if one.action == "copy"}, {one.name for one in plan if one.action == "delete"}


def outcome(report: dream.TreeReport) -> tuple[int, int, int, int, list[str]]:
    failures = sorted(f"{failure.key}: {failure.error}" for failure in report.failures)
    return report.copied, report.deleted, report.failed, report.kept, failures


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("compare", [None, "size", "mtime"])
async def test_a_download_follows_a_change_of_kind(
    bucket: dream.Bucket, tmp_path: Path, change: str, compare: Any
) -> None:
    source, target = CHANGES[change]
    await put(bucket, "from", source)
    fill(tmp_path / "to", target)
    dry = await bucket.download_tree(tmp_path / "to", "from", compare=compare, delete=True, dry_run=True)
    assert files_in(tmp_path / "to") == target
    same = source.keys() & target.keys() if compare == "size" else set()
    assert planned(dry) == (source.keys() - same, target.keys() - source.keys())
    report = await bucket.download_tree(tmp_path / "to", "from", compare=compare, delete=True)
    assert outcome(report) == outcome(dry)
    assert files_in(tmp_path / "to") == source
    again = await bucket.download_tree(tmp_path / "to", "from", compare=compare or "size", delete=True)
    assert (again.done, again.skipped) == (0, len(source))


@pytest.mark.parametrize("change", CHANGES)
async def test_without_delete_a_name_whose_place_is_taken_fails_and_the_rest_is_done(
    bucket: dream.Bucket, tmp_path: Path, change: str
) -> None:
    source, target = CHANGES[change]
    await put(bucket, "from", source | {"fine": b"1"})
    fill(tmp_path / "to", target)
    dry = await bucket.download_tree(tmp_path / "to", "from", dry_run=True, on_error="collect")
    report = await bucket.download_tree(tmp_path / "to", "from", on_error="collect")
    assert outcome(report) == outcome(dry)
    assert all(isinstance(failure.error, dream.UnsafeKeyError) for failure in report.failures)
    assert {failure.key for failure in report.failures} <= source.keys() - target.keys()
    assert report.failed == len(source.keys() - target.keys())
    assert files_in(tmp_path / "to") == target | {"fine": b"1"}


async def test_the_failure_names_both(bucket: dream.Bucket, tmp_path: Path) -> None:
    await put(bucket, "from", {"d/a": b"1", "d/b/c/x": b"1"})
    fill(tmp_path / "to", {"d/a/x": b"1", "d/b": b"1"})
    report = await bucket.download_tree(tmp_path / "to", "from", on_error="collect")
    assert sorted(str(failure.error) for failure in report.failures) == [
        "'d/a' is not written: 'd/a/' is a directory here; delete=True deletes it",
        "'d/b/c/x' is not written: 'd/b' is a file here; delete=True deletes it",
    ]


async def test_a_file_that_no_pattern_takes_keeps_its_place(bucket: dream.Bucket, tmp_path: Path) -> None:
    await put(bucket, "from", {"a/b": b"1", "c": b"1"})
    fill(tmp_path / "to", {"a": b"kept", "x": b"1"})
    for dry_run in (True, False):
        report = await bucket.download_tree(
            tmp_path / "to", "from", delete=True, include=["/a/b", "c", "x"], dry_run=dry_run, on_error="collect"
        )
        assert (report.copied, report.failed, report.deleted, report.kept) == (1, 1, 0, 1)
        assert str(report.failures[0].error) == "'a/b' is not written: 'a' is a file here that is not to be deleted"
        assert (tmp_path / "to" / "a").read_bytes() == b"kept"


@pytest.mark.parametrize("what", ["excluded", "link", "pipe", "another failure"])
async def test_what_is_not_to_be_deleted_keeps_its_place_and_nothing_is_deleted(
    bucket: dream.Bucket, tmp_path: Path, what: str
) -> None:
    await put(bucket, "from", {"a": b"new"})
    fill(tmp_path / "to", {"a/b": b"old", "z": b"z"})
    (tmp_path / "to" / "a" / "d").mkdir()
    if what == "excluded":
        (tmp_path / "to" / "a" / "d" / "x.log").write_bytes(b"kept")
    elif what == "link":
        (tmp_path / "to" / "a" / "d" / "link").symlink_to("nowhere")
    elif what == "pipe":
        os.mkfifo(tmp_path / "to" / "a" / "d" / "pipe")
    elif what == "another failure":
        await put(bucket, "from", {"c/../x": b"1"})
    before, outcomes = files_in(tmp_path / "to"), list[tuple[int, int, int, int, list[str]]]()
    for dry_run in (True, False):
        report = await bucket.download_tree(
            tmp_path / "to", "from", delete=True, exclude=["x.log"], dry_run=dry_run, on_error="collect"
        )
        outcomes.append(outcome(report))
        assert files_in(tmp_path / "to") == before
    assert outcomes[0] == outcomes[1]
    assert outcomes[1][2] == (2 if what == "another failure" else 1)
    words = "it is kept, since other names failed" if what == "another failure" else "that is not to be deleted"
    assert any("'a' is not written: 'a/' is a directory here" in one and words in one for one in outcomes[1][4])


async def test_empty_directories_make_room_for_a_file(bucket: dream.Bucket, tmp_path: Path) -> None:
    await put(bucket, "from", {"a": b"new", "b/c": LARGE})
    (tmp_path / "to" / "a" / "x" / "y").mkdir(parents=True)
    (tmp_path / "to" / "a" / "z").mkdir()
    (tmp_path / "to" / "b" / "c").mkdir(parents=True)
    report = await bucket.download_tree(tmp_path / "to", "from", delete=True)
    assert (report.copied, report.deleted) == (2, 0)
    assert files_in(tmp_path / "to") == {"a": b"new", "b/c": LARGE}


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "many"])
@pytest.mark.parametrize("direction", ["upload", "copy"])
async def test_objects_have_room_beside_each_other(
    bucket: dream.Bucket, tmp_path: Path, change: str, direction: str
) -> None:
    source, target = CHANGES[change]
    fill(tmp_path / "from", source)
    await put(bucket, "from", source)
    variants: list[dict[str, Any]] = [{}, {"delete": True, "dry_run": True}, {"delete": True}]
    for options in variants:
        await put(bucket, "to", target)
        if direction == "upload":
            report = await bucket.upload_tree(tmp_path / "from", "to", **options)
        else:
            report = await bucket.copy_tree(bucket, "from", "to", **options)
        if "dry_run" in options:
            assert planned(report) == (set(source), target.keys() - source.keys())
        assert (report.copied, report.failed) == (len(source), 0)
        if options == {"delete": True}:
            assert await objects_in(bucket, "to") == source
        else:
            assert await objects_in(bucket, "to") == target | source


@contextmanager
def changing(root: Path) -> Iterator[None]:
    """By turns, ``a`` is a file, a directory, a link in a circle and not there."""
    stop = threading.Event()
    name = root / "a"

    def change() -> None:
        while not stop.is_set():
            with suppress(OSError):
                name.write_bytes(b"file")
            with suppress(OSError):
                name.unlink()
            with suppress(OSError):
                name.mkdir()
                (name / "x").write_bytes(b"below")
            with suppress(OSError):
                (name / "x").unlink()
            with suppress(OSError):
                name.rmdir()
            with suppress(OSError):
                name.symlink_to("a")
            with suppress(OSError):
                name.unlink()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def test_a_name_that_changes_its_kind_meanwhile_fails_alone(bucket: dream.Bucket, tmp_path: Path) -> None:
    fill(tmp_path / "from", {"0": b"1", "z/y": b"1"})
    with changing(tmp_path / "from"):
        for _ in range(60):
            report = await bucket.upload_tree(tmp_path / "from", "to", on_error="collect")
            assert {failure.key for failure in report.failures} <= {"a", "a/", "a/x"}
            assert all(isinstance(one.error, OSError | dream.SourceChangedError) for one in report.failures)
            found = await objects_in(bucket, "to")
            assert (found.pop("0"), found.pop("z/y")) == (b"1", b"1")
            assert found.pop("a", b"file") in (b"file", b"")
            assert found.pop("a/x", b"below") in (b"below", b"")
            assert not found


async def test_names_that_are_not_utf8_are_one_failure_each(bucket: dream.Bucket, tmp_path: Path) -> None:
    fill(tmp_path / "from", {"a": b"1", "z": b"1"})
    bad = os.fsencode(tmp_path / "from") + b"/b\xff"
    Path(os.fsdecode(bad)).write_bytes(b"1")
    report = await bucket.upload_tree(tmp_path / "from", "to", on_error="collect", include=["*"], exclude=["*.x"])
    assert (report.copied, report.failed) == (2, 1)
    assert os.fsencode(report.failures[0].key) == b"b\xff"
    with pytest.raises(dream.BulkError) as caught:
        await bucket.upload_tree(tmp_path / "from", "to")
    str(caught.value).encode()
    left_out = await bucket.upload_tree(tmp_path / "from", "to", exclude=[os.fsdecode(b"b\xff")])
    assert (left_out.copied, left_out.excluded) == (2, 1)
