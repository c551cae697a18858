"""What killed downloads leave is not uploaded with a directory; a file of one's own that is called so is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = 5 << 20
LARGE = bytes(PART + 1000)
OWN = (
    *(".movie.deadbeef.part", ".movie.0123456789ab.part", ".movie.0123456789ab.journal", ".part", "a.part", "..x.deadbeef.part"),
    *(".movie.00000000.deadbeef.part", "d/.movie.deadbeef.0123456789ab.journal"),
)  # fmt: skip


async def download(name: str, target: Path, bucket: dream.Bucket, *, resume: bool) -> None:
    await bucket.object(f"tree/{name}").download(target, resume=resume)


async def left_by(home: Path, work: Callable[[dream.Bucket], Awaitable[object]], memory: MemoryService) -> set[str]:
    """Return the names of what is there while the work waits for its second range."""
    held, before = asyncio.Event(), {*home.iterdir()}  # a resumed download may keep what it has
    async with memory.session(limits=dream.Limits(part_size=PART, parts_per_object=1)) as session:
        memory.delay("get_object", held, times=None)
        task = asyncio.ensure_future(work(session.bucket("bucket")))
        while not (
            found := {path for path in home.iterdir() if path.suffix == ".part" and not is_probe(path)} - before
        ):
            assert not task.done()
            await asyncio.sleep(0)
        found |= {path for path in home.iterdir() if not is_probe(path)} - before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    memory.stop_faults()
    held.set()
    return {path.name for path in found}


def is_probe(path: Path) -> bool:
    """Return whether a tree asks the disk with this file whether it ignores case."""
    return path.name.startswith(".aA.")


async def test_what_the_killed_leave_is_known(tmp_path: Path) -> None:
    """A cancelled one leaves nothing: the names are seen while it is under way."""
    memory = MemoryService()
    async with memory.session() as session:
        bucket = await session.create_bucket("bucket")
        for name in ("large", "n" * 200, "\U0001f600" * 60):
            await bucket.object(f"tree/{name}").put(LARGE)
            target = tmp_path / "work" / name
            target.parent.mkdir(exist_ok=True)
            works: list[Callable[[dream.Bucket], Awaitable[object]]] = [
                partial(download, name, target, resume=False),
                partial(download, name, target, resume=True),
                lambda bucket: bucket.download_tree(tmp_path / "work", "tree"),
            ]
            left = set[str]().union(*[await left_by(target.parent, work, memory) for work in works])
            assert len(left) == 4, left
            for one in left:
                (tmp_path / "work" / one).write_bytes(b"torn")
            report = await bucket.upload_tree(tmp_path / "work", "up", dry_run=True)
            assert (report.copied, report.excluded) == (0, len(left))
            report = await bucket.download_tree(tmp_path / "work", "empty", delete=True, allow_empty=True)
            assert report.deleted == len(left)
            await bucket.object(f"tree/{name}").delete()


async def test_a_file_of_ones_own_that_is_called_so_is_uploaded(tmp_path: Path) -> None:
    for name in OWN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"own")
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("bucket")
        for _ in range(2):
            report = await bucket.upload_tree(tmp_path, "tree", compare="size", delete=True)
            assert (report.copied + report.skipped, report.deleted) == (len(OWN), 0)
        assert {info.key.removeprefix("tree/") async for info in bucket.list()} == {*OWN}
        report = await bucket.download_tree(tmp_path, "tree", delete=True, compare="size")
        assert (report.skipped, report.deleted) == (len(OWN), 0)
