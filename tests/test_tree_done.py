"""``on_done`` of the tree verbs: each name, as it is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

SIZES = {"a": 1, "d/b": 2, "large": 300_000}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return tmp_path / "site"


def told(seen: list[dream.TreeAction]) -> dict[str, tuple[str, int, str]]:
    assert len({one.name for one in seen}) == len(seen)
    return {one.name: (one.action, one.size, one.reason) for one in seen}


async def test_each_name_is_told_once(site: Path, tmp_path: Path) -> None:
    seen: list[dream.TreeAction] = []
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("bucket-1")
        await bucket.upload_tree(site, "www", on_done=seen.append)
        assert told(seen) == {name: ("copy", size, "asked") for name, size in SIZES.items()}
        seen.clear()
        (site / "a").write_bytes(b"other")
        await bucket.upload_tree(site, "www", compare="size", on_done=seen.append)
        assert told(seen) == {"a": ("copy", 5, "size")}
        seen.clear()
        await bucket.download_tree(tmp_path / "copy", "www", on_done=seen.append)
        assert set(told(seen)) == set(SIZES)
        seen.clear()
        await bucket.copy_tree(bucket, "www", "copied", on_done=seen.append)
        assert set(told(seen)) == set(SIZES)
        seen.clear()
        await bucket.move_tree(bucket, "www", "moved", on_done=seen.append)
        assert {action for action, _, _ in told(seen).values()} == {"move"}
        assert set(told(seen)) == set(SIZES)


async def test_what_fails_is_not_told(site: Path) -> None:
    seen: list[dream.TreeAction] = []
    service = MemoryService()
    async with service.session() as session:
        bucket = await session.create_bucket("bucket-1")
        service.fail("put_object", "AccessDenied", key="www/d/b", times=None)
        report = await bucket.upload_tree(site, "www", on_error="collect", on_done=seen.append)
    assert (report.failed, set(told(seen))) == (1, {"a", "large"})


async def test_what_it_raises_ends_the_tree(site: Path) -> None:
    def refuse(_: dream.TreeAction) -> None:
        raise LookupError

    async with MemoryService().session() as session:
        bucket = await session.create_bucket("bucket-1")
        with pytest.raises(LookupError):
            await bucket.upload_tree(site, "www", on_done=refuse)
        assert await bucket.uploads().collect() == []


async def test_it_does_not_go_with_workers(site: Path) -> None:
    async with MemoryService().session() as session:
        with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match="on_done does not go with executor"):
            await session.bucket("bucket-1").upload_tree(site, on_done=print, executor=pool)
