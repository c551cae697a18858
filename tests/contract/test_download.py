"""A file that appears when it is complete, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_asyncio

import aiodreamobjects as dream

CONTENT = bytes(range(256)) * 5000


@pytest_asyncio.fixture
async def obj(bucket: dream.Bucket) -> dream.Object:
    made = bucket.object("perl_poetry.pdf")
    await made.put(CONTENT)
    return made


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


async def test_bad_targets_are_the_disks_own_errors(obj: dream.Object, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        await obj.download(tmp_path / "missing" / "f")
    with pytest.raises(IsADirectoryError):
        await obj.download(tmp_path / "directory")
    with pytest.raises(NotADirectoryError):
        await obj.download(tmp_path / "file" / "f")
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


async def test_a_callback_that_raises_ends_the_download(obj: dream.Object, tmp_path: Path) -> None:
    def stop(_: dream.Progress) -> None:
        raise KeyError("stop")  # noqa: EM101 - as users raise

    with pytest.raises(KeyError):
        await obj.download(tmp_path / "f", progress=stop)
    assert list(tmp_path.iterdir()) == []
