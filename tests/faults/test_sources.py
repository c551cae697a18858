"""The local disk changes, fills up, refuses and blocks: the object, the old file and the event loop do not suffer."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from servers.faulty import ACCESS_KEY, SECRET_KEY, FaultyServer
from servers.rules import Meanwhile, Pause, Rule

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Bucket

PART_SIZE = 256 << 10
DATA = random.Random(1).randbytes(3 * PART_SIZE + 12_345)
OTHER = random.Random(2).randbytes(len(DATA))
OLD = b"old"
PARTS = (1, 2, 4)
HANG_SECONDS = 60.0
ONE_BY_ONE = dream.Limits(part_size=PART_SIZE, parts_per_object=1)


# F34: the source changes while a part is under way


def shrink(path: Path) -> None:
    os.truncate(path, len(DATA) - PART_SIZE)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(OTHER)


def rename_over(path: Path) -> None:
    other = path.with_name(".other")
    other.write_bytes(OTHER)
    other.replace(path)


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def changed(change: Callable[[Path], object], path: Path, _: Bucket) -> None:
    change(path)


CHANGES_INSIDE = (shrink, empty, grow, rewrite)
CHANGES_OF_THE_NAME: tuple[Callable[[Path], object], ...] = (
    rename_over,
    Path.unlink,
    become_a_directory,
    become_a_fifo,
)
"""What was opened is still there, and still the same."""


async def put_path(obj: dream.Object, path: Path) -> object:
    return await obj.put(path)


async def put_file(obj: dream.Object, path: Path) -> object:
    with path.open("rb") as file:
        return await obj.put(file)


async def upload(obj: dream.Object, path: Path) -> object:
    return await obj.upload(path)


async def upload_resumed(obj: dream.Object, path: Path) -> object:
    return await obj.upload(path, resume=True)


SENDERS: Mapping[str, Callable[[dream.Object, Path], Awaitable[object]]] = {
    "put of a path": put_path,
    "put of a file": put_file,
    "upload": upload,
    "upload, resumed": upload_resumed,
}


@pytest.mark.parametrize("change", CHANGES_INSIDE, ids=lambda change: f"F34-{change.__name__}")
async def test_a_file_that_changes_during_a_part_makes_no_object(
    faulty: FaultyServer, change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    wrong = []
    async with faulty.session(limits=ONE_BY_ONE) as session:
        obj = session.object("s3://bucket/a")
        for name, send in SENDERS.items():
            for part in PARTS:
                path.write_bytes(DATA)
                faulty.put("bucket", "a", OLD)
                faulty.will(Rule("UploadPart", Meanwhile(lambda _: change(path)), part=part))
                with suppress(dream.SourceChangedError):
                    wrong.append(f"{name}, part {part}: {await send(obj, path)!r}")
                faulty.check()
                assert faulty.content("bucket", "a") == OLD
                if send is upload_resumed:
                    faulty.will()
                    await send(obj, path)
                    assert faulty.content("bucket", "a") == path.read_bytes()
                assert faulty.uploads("bucket") == []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("change", CHANGES_OF_THE_NAME, ids=lambda change: f"F34-{change.__name__}")
async def test_a_name_that_changes_during_a_part_does_not_change_what_was_opened(
    faulty: FaultyServer, change: Callable[[Path], None], tmp_path: Path
) -> None:
    async with faulty.session(limits=ONE_BY_ONE) as session:
        for number, send in enumerate(SENDERS.values()):
            path = tmp_path / f"file{number}"
            path.write_bytes(DATA)
            faulty.will(Rule("UploadPart", Meanwhile(partial(changed, change, path)), part=2))
            await send(session.object("s3://bucket/a"), path)
            faulty.check()
            assert faulty.content("bucket", "a") == DATA


@pytest.mark.parametrize("size", [1000, len(DATA)], ids=["small", "in-parts"])
@pytest.mark.parametrize("change", CHANGES_OF_THE_NAME[1:], ids=lambda change: f"F34-{change.__name__}")
async def test_a_file_of_a_tree_that_is_none_any_more_fails_alone(
    faulty: FaultyServer, change: Callable[[Path], None], size: int, tmp_path: Path
) -> None:
    place = tmp_path / "tree"
    place.mkdir()
    for name in ("a", "b", "c"):
        (place / name).write_bytes(DATA[:size])
    faulty.put("bucket", "to/b", OLD)
    limits = dream.Limits(part_size=PART_SIZE, requests=1)
    first = Rule("PutObject" if size < PART_SIZE else "CreateMultipartUpload", Meanwhile(lambda _: change(place / "b")))
    faulty.will(first)
    async with asyncio.timeout(HANG_SECONDS), faulty.session(limits=limits) as session:
        report = await session.bucket("bucket").upload_tree(place, "to", on_error="collect")
    names = [failure.key for failure in report.failures]
    assert names in (["b"], [])  # or it was read before
    assert faulty.content("bucket", "to/b") == (OLD if names else DATA[:size])
    assert report.done + report.failed == 3
    assert faulty.content("bucket", "to/a") == faulty.content("bucket", "to/c") == DATA[:size]


# F38, F39: where a file is to be written


async def test_a_full_disk_is_one_error_and_nothing_is_asked_again(faulty: FaultyServer, small_disk: Path) -> None:
    data = random.Random(3).randbytes(2 << 20)
    faulty.put("bucket", "tree/large", data)
    (small_disk / "file").write_bytes(OLD)
    limits = dream.Limits(part_size=PART_SIZE, parts_per_object=2)
    for is_tree in (False, True):
        before = len(faulty.log)
        async with faulty.session(limits=limits, timeouts=dream.Timeouts()) as session:
            file, bucket = session.object("s3://bucket/tree/large"), session.bucket("bucket")
            download = partial(bucket.download_tree, small_disk / "tree", "tree")
            with pytest.raises(OSError, match="No space left") as caught:
                await (download() if is_tree else file.download(small_disk / "file"))
            assert caught.value.errno == errno.ENOSPC
        await asyncio.to_thread(faulty.wait_until_left)  # a request that was abandoned may be read late
        ranges = [asked.byte_range for asked in faulty.log[before:] if asked.op == "GetObject"]
        assert len(ranges) == len(set(ranges)) <= 8, is_tree
    assert (small_disk / "file").read_bytes() == OLD
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["file"]


async def test_a_disk_that_is_read_only_is_known_before_anything_is_asked(
    faulty: FaultyServer, small_disk: Path
) -> None:
    faulty.put("bucket", "tree/a", DATA)
    (small_disk / "file").write_bytes(OLD)
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(small_disk)], check=True)
    async with faulty.session() as session:
        for resume in (False, True):
            with pytest.raises(OSError, match="Read-only file system"):
                await session.object("s3://bucket/tree/a").download(small_disk / "file", resume=resume)
        assert faulty.ops == []
        with pytest.raises(OSError, match="Read-only file system"):
            await session.bucket("bucket").download_tree(small_disk / "new", "tree")
        assert faulty.ops == []
        with pytest.raises(OSError, match="Read-only file system"):
            await session.bucket("bucket").download_tree(small_disk, "tree")
    assert [path.name for path in small_disk.iterdir()] == ["file"]


@pytest.mark.parametrize("resume", [False, True], ids=["F39", "F39-resumed"])
async def test_a_target_that_cannot_be_is_known_before_anything_is_asked(
    faulty: FaultyServer, tmp_path: Path, *, resume: bool
) -> None:
    faulty.put("bucket", "a", DATA)
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link-to-fifo").symlink_to("fifo")
    (tmp_path / "link-to-directory").symlink_to("directory")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    targets: Mapping[Path, type[OSError]] = {
        tmp_path / "missing" / "file": FileNotFoundError,
        tmp_path / "directory": IsADirectoryError,
        tmp_path / "link-to-directory": IsADirectoryError,
        tmp_path / "file" / "file": NotADirectoryError,
        tmp_path / "fifo": FileExistsError,
        tmp_path / "link-to-fifo": FileExistsError,
        tmp_path / ("x" * 256): OSError,
        tmp_path / "loop" / "file": OSError,
    }
    async with faulty.session() as session:
        for target, kind in targets.items():
            with pytest.raises(kind):
                await session.object("s3://bucket/a").download(target, resume=resume)
    assert faulty.ops == []
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_bytes() == OLD


# F40: few descriptors

FILES = 300
"""More than there are descriptors."""
SCRIPT = """
import asyncio, json, resource, sys
import aiodreamobjects as dream

endpoint, key, secret, source, target, most, requests = sys.argv[1:]

async def main():
    service = dream.Service.for_endpoint(endpoint)
    told = []
    limits = dream.Limits(requests=int(requests))
    async with dream.Session(service=service, access_key=key, secret_key=secret, limits=limits) as session:
        bucket = session.bucket("bucket")
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(most), int(most)))
        for verb in (lambda: bucket.upload_tree(source, "to"), lambda: bucket.download_tree(target, "from")):
            try:
                report = await verb()
                told.append([report.done, report.failed, ""])
            except (OSError, dream.DreamObjectsError) as error:
                report = getattr(error, "report", None)
                told.append([report and report.done, report and report.failed, f"{type(error).__name__}: {error}"])
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("most", "requests", "is_enough"),
    [(128, 64, True), (64, 64, False), (64, 16, True)],
    ids=["F40-128", "F40-64", "F40-64-for-16-requests"],
)
async def test_hundreds_of_files_take_few_descriptors(
    faulty: FaultyServer, tmp_path: Path, most: int, requests: int, *, is_enough: bool
) -> None:
    """A connection for each of ``Limits.requests``, and a few: where these are too many, that is what the error says."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for number in range(FILES):
        (source / f"{number:04}").write_bytes(b"x")
        faulty.put("bucket", f"from/{number:04}", b"y", etag="e")
    if not is_enough:  # a service that answers at once is asked over fewer connections
        faulty.will(Rule("*Object", Pause(1.0), times=None))
    command = [sys.executable, "-c", SCRIPT, faulty.endpoint, ACCESS_KEY, SECRET_KEY]
    run = await asyncio.to_thread(
        subprocess.run,
        [*command, str(source), str(target), str(most), str(requests)],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for done, failed, error in json.loads(run.stdout):
        if is_enough:
            assert (done, failed, error) == (FILES, 0, "")
        else:
            assert "Too many open files" in error
    files = [path for path in target.rglob("*") if path.is_file()]
    assert all(path.read_bytes() == b"y" for path in files)
    assert len(files) == FILES or not is_enough
    assert sum(key.startswith("to/") for key in faulty.keys("bucket")) == FILES or not is_enough


# F42: a disk that blocks


class Blocked:
    """A file of which nothing can be read, or written to it, before it is let go."""

    def __init__(self) -> None:
        self.is_asked, self.may_go = threading.Event(), threading.Event()
        self._left = [DATA]
        self.written = b""

    def read(self, _: int = -1) -> bytes:
        self._wait()
        return self._left.pop() if self._left else b""

    async def write(self, data: bytes) -> int:
        await asyncio.to_thread(self._wait)
        self.written += data
        return len(data)

    def _wait(self) -> None:
        self.is_asked.set()
        assert self.may_go.wait(HANG_SECONDS)


@pytest.mark.parametrize("verb", ["F42-put", "F42-write_to"])
async def test_other_requests_are_served_while_the_disk_blocks(faulty: FaultyServer, verb: str) -> None:
    faulty.put("bucket", "a", DATA)
    file = Blocked()
    async with asyncio.timeout(HANG_SECONDS), faulty.session(limits=ONE_BY_ONE) as session:
        obj = session.object("s3://bucket/a")

        async def take() -> None:
            async with obj.get() as body:
                await body.write_to(file)

        async with asyncio.TaskGroup() as group:
            blocked = group.create_task(take() if verb == "F42-write_to" else put_blocked(session, file))
            assert await asyncio.to_thread(file.is_asked.wait, HANG_SECONDS)
            for number in range(20):
                await session.object(f"s3://bucket/other{number}").put(b"x")
            assert not blocked.done()
            file.may_go.set()
    if verb == "F42-put":
        assert faulty.content("bucket", "b") == DATA
    else:
        assert file.written == DATA


async def put_blocked(session: dream.Session, file: Blocked) -> None:
    await session.object("s3://bucket/b").put(file)


async def test_more_blocked_files_than_there_are_threads_leave_the_loop_free(faulty: FaultyServer) -> None:
    files = [Blocked() for _ in range(60)]
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session, asyncio.TaskGroup() as group:
        for number, file in enumerate(files):
            group.create_task(session.object(f"s3://bucket/{number:04}").put(file))
        assert await asyncio.to_thread(files[0].is_asked.wait, HANG_SECONDS)
        for _ in range(20):
            assert not await session.object("s3://bucket/other").exists()
        for file in files:
            file.may_go.set()
    assert [faulty.content("bucket", f"{number:04}") for number in range(60)] == [DATA] * 60
