"""However an object was stored and fetched, and whatever its disk keeps of times: the second run sends nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name
from servers.faulty import FaultyServer
from servers.rules import Meanwhile

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Bucket
from aiodreamobjects.testing import MemoryService

SECOND = 1_000_000_000
TIME = 1_700_000_001_987_654_321
"""Of the files: an odd second, and a fraction of which coarse disks drop something."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGE = bytes(300 << 10)


@pytest.fixture(params=["memory", "rgw"])
def service(request: pytest.FixtureRequest) -> Server | MemoryService:
    """Both list milliseconds, and answer a HEAD with seconds."""
    return request.getfixturevalue("rgw") if request.param == "rgw" else MemoryService()


@pytest_asyncio.fixture
async def bucket(service: Server | MemoryService) -> AsyncIterator[dream.Bucket]:
    async with service.session() as session:
        made = await session.create_bucket(new_name())
        yield made
        await made.delete(force=True)


def whole_and_even_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT: what a file is given as its time is cut down. The time of a write, which nothing gave, is not."""
    utime = os.utime

    def coarse(path: Any, times: Any = None, *, ns: tuple[int, int], **how: Any) -> None:
        utime(path, times, ns=(ns[0], ns[1] // (2 * SECOND) * (2 * SECOND)), **how)

    monkeypatch.setattr(os, "utime", coarse)


@contextmanager
def disk_of_whole_seconds(home: Path) -> Iterator[Path]:
    """A real one: ext2 with inodes of 128 bytes keeps no fractions."""
    image, place = home / "image", home / "ext2"
    place.mkdir()
    make = ["mke2fs", "-q", "-I", "128", str(image), "8M"]
    mount = ["mount", "-o", "loop", str(image), str(place)]
    if os.geteuid() or any(
        subprocess.run(one, stderr=subprocess.DEVNULL, check=False).returncode for one in (make, mount)
    ):
        pytest.skip("a disk can be mounted by root alone, and not in every container")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(params=["nanoseconds", "seconds", "even seconds"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "disk"
    if request.param == "seconds":
        with disk_of_whole_seconds(tmp_path) as place:
            yield place
        return
    place.mkdir()
    if request.param == "even seconds":
        whole_and_even_seconds(monkeypatch)
    yield place


def write(path: Path, content: bytes, time: int = TIME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(time, time))
    return path


# Nine ways of storing


async def store(bucket: dream.Bucket, home: Path) -> dict[str, int | None]:
    """Return the time that each object keeps of its original."""
    file = write(home / "file", b"content")
    await bucket.object("t/put").put(b"content")
    async with bucket.object("t/writer").writer() as writer:
        await writer.write(b"content")
    await bucket.object("t/upload").upload(file)
    write(home / "tree" / "tree-small", b"content")
    write(home / "tree" / "tree-large", LARGE)
    await bucket.upload_tree(home / "tree", "t")
    await bucket.object("t/put").copy_to(bucket.object("t/copy"))
    await bucket.object("t/rclone").put(b"content", metadata={"mtime": "1700000001.98765"})
    await bucket.object("t/s3fs").put(b"content", metadata={"mtime": "1700000001"})
    attributes = "atime:1700000009/ctime:1700000008/gid:0/gname:root/mode:33188/mtime:1700000001/uid:0/uname:root"
    await bucket.object("t/s3cmd").put(b"content", metadata={"s3cmd-attrs": attributes})
    kept = dict.fromkeys(("upload", "tree-small", "tree-large"), TIME)
    rough = {"rclone": 1_700_000_001_987_650_000, "s3fs": 1_700_000_001 * SECOND, "s3cmd": 1_700_000_001 * SECOND}
    return kept | rough | dict.fromkeys(("put", "writer", "copy"))


# Five ways of fetching


async def by_tree(bucket: dream.Bucket, to: Path, _: dict[str, int | None]) -> None:
    await bucket.download_tree(to, "t")


async def by_tree_over_other_files(bucket: dream.Bucket, to: Path, kept: dict[str, int | None]) -> None:
    for name in kept:
        write(to / name, LARGE if name == "tree-large" else b"another", TIME - 9 * SECOND)
    assert (await bucket.download_tree(to, "t", compare="mtime")).copied == len(kept)


async def by_name(bucket: dream.Bucket, to: Path, kept: dict[str, int | None]) -> None:
    to.mkdir()
    for name in kept:
        await bucket.object(f"t/{name}").download(to / name)


async def as_tools_that_ask_each_object(bucket: dream.Bucket, to: Path, kept: dict[str, int | None]) -> None:
    """With the time in the metadata, as rclone and s3cmd do, or that of the HEAD."""
    for name, time in kept.items():
        obj = bucket.object(f"t/{name}")
        write(to / name, await obj.read(), time or nanoseconds_of(await obj.head()))


async def as_tools_that_list(bucket: dream.Bucket, to: Path, kept: dict[str, int | None]) -> None:
    """With the time in the metadata, or the listing's, as ``aws s3 sync`` has it."""
    async for info in bucket.list("t/"):
        name = info.key.removeprefix("t/")
        write(to / name, await bucket.object(info.key).read(), kept[name] or nanoseconds_of(info))


def nanoseconds_of(info: dream.ObjectInfo) -> int:
    assert info.last_modified is not None
    since = info.last_modified - EPOCH
    return (since.days * 86400 + since.seconds) * SECOND + since.microseconds * 1000


Fetch = Callable[[dream.Bucket, Path, dict[str, int | None]], Awaitable[None]]
FETCHES: list[Fetch] = [by_tree, by_tree_over_other_files, by_name, as_tools_that_ask_each_object, as_tools_that_list]


async def test_the_second_run_sends_nothing(bucket: dream.Bucket, tmp_path: Path, disk: Path) -> None:
    kept = await store(bucket, tmp_path)
    assert len(kept) == 9
    for fetch in FETCHES:
        to = disk / fetch.__name__
        await fetch(bucket, to, kept)
        for verb in (bucket.download_tree, bucket.upload_tree):
            dry = await verb(to, "t", compare="mtime", dry_run=True)
            assert [action.name for action in dry.plan or ()] == [], (fetch.__name__, verb.__name__)
            assert (await verb(to, "t", compare="mtime")).skipped == 9
    assert {path.name for path in disk.iterdir()} - {"lost+found"} == {fetch.__name__ for fetch in FETCHES}


async def test_a_change_is_sent_from_every_disk(bucket: dream.Bucket, tmp_path: Path, disk: Path) -> None:
    """The same size, and a time that differs by as much as the disk can tell."""
    del tmp_path
    write(disk / "to" / "a", b"old")
    await bucket.upload_tree(disk / "to", "t")
    for content, later in ((b"new", 2), (b"odd", 4), (b"old", -2)):
        write(disk / "to" / "a", content, TIME + later * SECOND)
        assert (await bucket.upload_tree(disk / "to", "t", compare="mtime")).copied == 1
        assert (await bucket.upload_tree(disk / "to", "t", compare="mtime")).copied == 0
        assert await bucket.object("t/a").read() == content
    await bucket.object("t/a").put(b"new", metadata={"mtime": "1700000090.5"})
    assert (await bucket.download_tree(disk / "to", "t", compare="mtime")).copied == 1
    assert (disk / "to" / "a").read_bytes() == b"new"


async def test_a_disk_of_nanoseconds_tells_all_of_them(bucket: dream.Bucket, tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"old")
    await bucket.upload_tree(tmp_path, "t")
    for time in (TIME + 1, TIME, TIME - 1000):
        write(path, b"new", time)
        assert (await bucket.upload_tree(tmp_path, "t", compare="mtime")).copied == 1


async def test_times_that_came_through_something_coarser_are_the_same(bucket: dream.Bucket, tmp_path: Path) -> None:
    """A tar keeps seconds, and a zip even ones."""
    path = write(tmp_path / "a", b"content")
    await bucket.upload_tree(tmp_path, "t")
    for time, copied in ((TIME // SECOND, 0), (TIME // SECOND - 1, 0), (TIME // SECOND - 2, 1)):
        write(path, b"content", time * SECOND)
        for verb in (bucket.upload_tree, bucket.download_tree):
            assert (await verb(tmp_path, "t", compare="mtime", dry_run=True)).copied == copied


async def test_a_copy_is_as_new_as_its_source_at_the_coarser_of_two_precisions(faulty: FaultyServer) -> None:
    """A service that lists seconds seems to have stored the copy before its source. Only the content tells then."""
    second = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    async with faulty.session() as session:
        bucket = session.bucket("bucket")
        for content, copied_at, expected in (
            (b"1", 0.0, 0),
            (b"2", 0.0, 1),
            (b"1", -0.25, 1),
            (b"2", 1.0, 0),
            (b"2", 0.75, 0),
        ):
            faulty.put("bucket", "from/a", b"1")
            faulty.put("bucket", "to/a", content)
            set_time(faulty, "from/a", second + timedelta(seconds=0.5))
            set_time(faulty, "to/a", second + timedelta(seconds=copied_at))
            report = await bucket.copy_tree(bucket, "from", "to", compare="mtime", dry_run=True)
            assert report.copied == expected, (content, copied_at)


def set_time(faulty: FaultyServer, key: str, modified: datetime) -> None:
    def change(bucket: Bucket) -> None:
        bucket.histories[key][-1] = replace(bucket.histories[key][-1], modified=modified)

    faulty.change("bucket", Meanwhile(change))


async def test_what_is_newer_on_the_target_is_overwritten(bucket: dream.Bucket, tmp_path: Path) -> None:
    """Only an object that keeps no time stays. That a later copy stays is seen above."""
    write(tmp_path / "from" / "kept", b"old")
    write(tmp_path / "from" / "none", b"old")
    await bucket.object("t/kept").put(b"new", metadata={"mtime": "1700000090.5"})
    await bucket.object("t/none").put(b"new")
    report = await bucket.upload_tree(tmp_path / "from", "t", compare="mtime")
    assert (report.copied, report.skipped) == (1, 1)
    assert (await bucket.object("t/kept").read(), await bucket.object("t/none").read()) == (b"old", b"new")
    write(tmp_path / "to" / "kept", b"new", TIME + 90 * SECOND)
    write(tmp_path / "to" / "none", b"new", TIME + 10**9 * SECOND)
    assert (await bucket.download_tree(tmp_path / "to", "t", compare="mtime")).copied == 2
