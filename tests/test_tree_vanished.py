"""Files that vanish while a tree is uploaded: failures, or left out with ``missing_ok``."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

LARGE = bytes(300 << 10)
"""More than what is read together with others."""
PAGE = 1000
MANY = 2 * PAGE + 500
"""With so many files in the first directory, those of the last one are looked at after the first were stored."""


@pytest_asyncio.fixture
async def bucket() -> AsyncIterator[dream.Bucket]:
    async with MemoryService().session(limits=dream.Limits(requests=1)) as session:
        yield await session.create_bucket("vanished")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    for name in ("a", "b", "c"):
        write(place / name, LARGE)
    return place


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def when(name: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Do something when it is this file's turn."""

    def headers_for(turn: str) -> None:
        if turn == name:
            act()

    return headers_for


async def names(bucket: dream.Bucket) -> list[str]:
    return [info.key async for info in bucket.list()]


async def test_a_file_that_vanishes_is_a_failure_or_left_out(bucket: dream.Bucket, root: Path) -> None:
    report = await bucket.upload_tree(root, headers_for=when("a", (root / "b").unlink), on_error="collect")
    assert (report.copied, report.failed, report.excluded) == (2, 1, 0)
    assert isinstance(report.failures[0].error, FileNotFoundError)
    write(root / "b", LARGE)
    report = await bucket.upload_tree(root, "p", headers_for=when("a", (root / "b").unlink), missing_ok=True)
    assert (report.copied, report.failed, report.excluded) == (2, 0, 1)
    assert await names(bucket) == ["a", "c", "p/a", "p/c"]


@pytest.mark.parametrize("missing_ok", [False, True])
async def test_small_files_that_vanish_before_they_are_read(
    bucket: dream.Bucket, root: Path, *, missing_ok: bool
) -> None:
    (root / "b").unlink()
    for name in ("b/1", "b/2"):
        write(root / name, b"small")
    vanish = when("a", lambda: shutil.rmtree(root / "b"))
    report = await bucket.upload_tree(root, headers_for=vanish, missing_ok=missing_ok, on_error="collect")
    assert (report.copied, report.failed, report.excluded) == ((2, 0, 2) if missing_ok else (2, 2, 0))


async def test_a_file_that_vanishes_before_it_is_compared(bucket: dream.Bucket, root: Path) -> None:
    await bucket.upload_tree(root)
    (root / "a").write_bytes(LARGE[1:])
    vanish = when("a", (root / "b").unlink)
    report = await bucket.upload_tree(root, headers_for=vanish, compare="etag", missing_ok=True, delete=True)
    assert (report.copied, report.skipped, report.failed, report.excluded, report.deleted) == (1, 1, 0, 1, 0)


@pytest.mark.parametrize("missing_ok", [False, True])
async def test_what_vanishes_during_the_walk(bucket: dream.Bucket, tmp_path: Path, *, missing_ok: bool) -> None:
    root = tmp_path / "root"
    for number in range(MANY):
        write(root / "a" / f"{number:04}", b"")
    for name in ("directory/file", "file", "stays"):
        write(root / name, b"")

    def vanish() -> None:
        shutil.rmtree(root / "directory")
        (root / "file").unlink()

    report = await bucket.upload_tree(
        root, headers_for=when("a/0000", vanish), missing_ok=missing_ok, on_error="collect"
    )
    assert (report.copied, report.excluded) == (MANY + 1, 2 if missing_ok else 0)
    assert [failure.key for failure in report.failures] == ([] if missing_ok else ["directory/", "file"])


async def test_a_link_that_leads_nowhere_has_not_vanished(bucket: dream.Bucket, root: Path) -> None:
    (root / "link").symlink_to("nowhere")
    report = await bucket.upload_tree(root, missing_ok=True, on_error="collect")
    assert [failure.key for failure in report.failures] == ["link"]


@contextmanager
def moved(root: Path) -> Iterator[Callable[[], None]]:
    """What moves the directory away, and puts an empty one in its place, as an unmounted disk leaves it."""

    def move() -> None:
        root.rename(root.with_name("away"))
        root.mkdir()

    yield move
    assert not list(root.iterdir())


async def test_a_disk_that_is_unmounted_is_no_success(bucket: dream.Bucket, root: Path) -> None:
    await bucket.object("p/old").put("old")
    with moved(root) as move, pytest.raises(FileNotFoundError, match="another directory has its place now") as caught:
        await bucket.upload_tree(root, "p", headers_for=when("a", move), missing_ok=True, delete=True)
    assert caught.value.__notes__ == ["before this error: 0 copied, 0 deleted"]
    assert await names(bucket) == ["p/old"]


async def test_a_directory_that_is_removed_is_no_success(bucket: dream.Bucket, root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await bucket.upload_tree(root, headers_for=when("a", lambda: shutil.rmtree(root)), missing_ok=True)


async def test_a_missing_bucket_is_an_error_also_with_missing_ok(bucket: dream.Bucket, root: Path) -> None:
    await bucket.delete()
    with pytest.raises(dream.NotFoundError):
        await bucket.upload_tree(root, missing_ok=True)
