"""A file that appears when it is complete, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import Server

import aiodreamobjects as dream

ON = ("memory", "rgw", "rgw-tls")

CONTENT = bytes(range(256)) * 5000
RANGES = 5
LIMITS = dream.Limits(part_size=len(CONTENT) // RANGES, parts_per_object=2)


@pytest_asyncio.fixture
async def obj(bucket: dream.Bucket) -> dream.Object:
    made = bucket.object("perl_poetry.pdf")
    await made.put(CONTENT)
    return made


@pytest_asyncio.fixture
async def ranged(server: Server) -> AsyncIterator[dream.Session]:
    """A session that fetches the content in five ranges."""
    async with server.session(limits=LIMITS) as opened:
        yield opened


@pytest.mark.parametrize("fsync", [False, True])
async def test_a_download_has_the_objects_content_and_time(obj: dream.Object, tmp_path: Path, *, fsync: bool) -> None:
    target = tmp_path / "poetry.pdf"
    info = await obj.download(target, fsync=fsync)
    assert target.read_bytes() == CONTENT
    assert info.size == len(CONTENT)
    assert info.last_modified is not None
    assert target.stat().st_mtime == info.last_modified.timestamp()
    assert [path.name for path in tmp_path.iterdir()] == ["poetry.pdf"]


async def test_a_download_has_the_mode_that_the_umask_gives(obj: dream.Object, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        await obj.download(tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


async def test_a_download_replaces_a_file_unless_told_not_to(obj: dream.Object, tmp_path: Path) -> None:
    target = tmp_path / "poetry.pdf"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        await obj.download(target, overwrite=False)
    assert target.read_bytes() == b"old"
    await obj.download(str(target))
    assert target.read_bytes() == CONTENT
    await obj.download(tmp_path / "new.pdf", overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.pdf", "poetry.pdf"]


async def test_a_long_name_is_no_obstacle(obj: dream.Object, tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)
    await obj.download(target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("resume", [False, True])
async def test_bad_targets_are_the_disks_own_errors(obj: dream.Object, tmp_path: Path, *, resume: bool) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        await obj.download(tmp_path / "missing" / "f", resume=resume)
    with pytest.raises(IsADirectoryError):
        await obj.download(tmp_path / "directory", resume=resume)
    with pytest.raises(NotADirectoryError):
        await obj.download(tmp_path / "file" / "f", resume=resume)
    with pytest.raises(FileExistsError):
        await obj.download(tmp_path / "file", resume=resume, overwrite=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


async def test_a_replaced_file_keeps_its_mode(obj: dream.Object, tmp_path: Path) -> None:
    target = tmp_path / "secret"
    target.touch(mode=0o600)
    await obj.download(target)
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode & 0o777 == 0o600


async def test_what_is_no_regular_file_is_not_replaced(obj: dream.Object, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link-to-fifo").symlink_to("fifo")
    for name in ("fifo", "link-to-fifo"):
        with pytest.raises(FileExistsError, match="not a regular file"):
            await obj.download(tmp_path / name)
        assert (tmp_path / name).is_fifo()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    await obj.download(tmp_path / "link")
    assert (tmp_path / "link").read_bytes() == CONTENT
    assert (tmp_path / "file").read_bytes() == b"old"


async def test_a_missing_object_leaves_the_old_file(bucket: dream.Bucket, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.write_bytes(b"old")
    with pytest.raises(dream.NotFoundError):
        await bucket.object("missing").download(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


async def test_a_large_object_arrives_in_ranges(ranged: dream.Session, obj: dream.Object, tmp_path: Path) -> None:
    told: list[dream.Progress] = []
    same = ranged.bucket(obj.bucket).object(obj.key)
    info = await same.download(tmp_path / "file", progress=told.append)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert (info.size, info.verified) == (len(CONTENT), "md5")
    assert (told[-1].done_bytes, told[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    assert ranged.statistics().requests == RANGES
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("resume", [False, True])
async def test_an_empty_object_is_an_empty_file(bucket: dream.Bucket, tmp_path: Path, *, resume: bool) -> None:
    await bucket.object("empty").put(b"")
    (tmp_path / "file").write_bytes(b"old")
    info = await bucket.object("empty").download(tmp_path / "file", resume=resume)
    assert (info.size, info.verified) == (0, "md5")
    assert (tmp_path / "file").read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_download_that_failed_midway_is_taken_up(
    ranged: dream.Session, obj: dream.Object, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    same, target = ranged.bucket(obj.bucket).object(obj.key), tmp_path / "file"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) * 7 // 10, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            await same.download(target, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.errno == errno.EFBIG
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".journal", ".part"]
    before = ranged.statistics().requests
    info = await same.download(target, resume=True)
    assert (target.read_bytes(), info.verified) == (CONTENT, "md5")
    assert ranged.statistics().requests - before < RANGES
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_callback_that_raises_ends_the_download(obj: dream.Object, tmp_path: Path) -> None:
    def stop(_: dream.Progress) -> None:
        raise KeyError("stop")  # noqa: EM101 - as users raise

    with pytest.raises(KeyError):
        await obj.download(tmp_path / "f", progress=stop)
    assert list(tmp_path.iterdir()) == []
