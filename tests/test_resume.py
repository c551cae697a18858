"""Killed, cut off, tampered with: the next try ends in the right bytes, and takes up what it can trust."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import signal
import sys
import zlib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Verb

PART = 64
COUNT = 9
DATA = random.Random(1).randbytes(COUNT * PART - 7)
OTHER = random.Random(2).randbytes(COUNT * PART - 7)
LIMITS = dream.Limits(part_size=PART)
ONE_BY_ONE = dream.Limits(part_size=PART, parts_per_object=1)
ROUNDS = 8
MIB = 1 << 20


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def memory() -> MemoryService:
    rules = dream.MultipartRules(smallest_part=1)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest_asyncio.fixture
async def session(memory: MemoryService) -> AsyncIterator[dream.Session]:
    async with memory.session(limits=LIMITS) as opened:
        yield opened


@pytest_asyncio.fixture
async def obj(session: dream.Session) -> dream.Object:
    return (await session.create_bucket("resumed")).object("a")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="aiodreamobjects")
    return caplog


def count(memory: MemoryService, verb: Verb) -> int:
    return [request.verb for request in memory.requests].count(verb)


async def cut_off(memory: MemoryService, verb: Verb, work: Callable[[dream.Object], Any]) -> None:
    """Let the work go well for five requests of this kind, and fail then."""
    memory.forget_requests()
    async with memory.session(limits=ONE_BY_ONE) as session:
        task = asyncio.create_task(work(session.object("s3://resumed/a")))
        while count(memory, verb) < 6 and not task.done():
            await asyncio.sleep(0)
        memory.fail(verb, "AccessDenied", times=None)
        with pytest.raises(dream.AccessDeniedError):
            await task
    memory.stop_faults()
    memory.forget_requests()


def forged(line: bytes, **changes: object) -> bytes:
    """A journal's record with other values, and a check that agrees."""
    document = json.loads(line) | changes
    del document["check"]
    text = json.dumps(document).encode()
    return text[:-1] + b', "check": "%08x"}' % zlib.crc32(text)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# Downloads


@dataclass(frozen=True)
class Left:
    """What a download that was cut off has left beside its target."""

    target: Path
    part: Path
    journal: Path

    @classmethod
    def of(cls, target: Path) -> Left:
        (part,) = target.parent.glob(".*.part")
        (journal,) = target.parent.glob(".*.journal")
        return cls(target, part, journal)

    def is_all(self) -> bool:
        """Whether there is the target, and nothing else."""
        return [path.name for path in self.target.parent.iterdir()] == [self.target.name]


async def left_by_download(memory: MemoryService, place: Path) -> Left:
    target = place / "file"
    await cut_off(memory, "get_object", lambda obj: obj.download(target, resume=True))
    assert not target.exists()
    return Left.of(target)


async def test_a_download_goes_on_where_it_was_cut_off(memory: MemoryService, obj: dream.Object, place: Path) -> None:
    await obj.put(DATA)
    left = await left_by_download(memory, place)
    assert left.part.stat().st_size >= 5 * PART
    info = await obj.download(left.target, resume=True)
    assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
    assert count(memory, "get_object") <= COUNT - 5
    assert left.is_all()


async def test_a_download_keeps_its_ranges_though_the_limits_are_others(
    memory: MemoryService, obj: dream.Object, place: Path
) -> None:
    await obj.put(DATA)
    for part_size in (PART // 2, PART * 3, len(DATA), len(DATA) * 2):
        left = await left_by_download(memory, place)
        async with memory.session(limits=dream.Limits(part_size=part_size)) as session:
            info = await session.object("s3://resumed/a").download(left.target, resume=True)
        assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
        assert count(memory, "get_object") <= COUNT - 5
        assert left.is_all()
        left.target.unlink()


async def test_a_damaged_journal_does_no_harm(
    memory: MemoryService, obj: dream.Object, place: Path, log: pytest.LogCaptureFixture
) -> None:
    await obj.put(DATA)
    left = await left_by_download(memory, place)
    part, journal = left.part.read_bytes(), left.journal.read_bytes()
    head, chosen = journal.index(b"\n"), random.Random(3)
    lines = journal.splitlines(keepends=True)
    others = [
        bytes(1000),
        b"\xff" * 1000,
        b"{}\n" + journal,
        b"[]\n",
        b"\n" + journal,
        journal + journal,
        b"".join(reversed(lines)),
        lines[0] + b"".join(lines[1:] * 3) + b"1 2 3\nx y z\n -1\n",
    ]
    flips = [flipped(journal, chosen.randrange(8 * len(journal))) for _ in range(100)]
    for damaged in others + flips:
        log.clear()
        left.part.write_bytes(part)
        left.journal.write_bytes(damaged)
        await obj.download(left.target, resume=True)
        assert left.target.read_bytes() == DATA
        if damaged.split(b"\n")[0] != journal[:head]:
            assert "starts afresh" in log.text
        assert left.is_all()


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "b"},
        {"bucket": "another"},
        {"endpoint": "https://elsewhere.invalid"},
        {"etag": "0" * 32},
        {"etag": ""},
        {"size": len(DATA) - 1},
        {"size": len(DATA) * 100},
        {"size": 0},
        {"size": -1},
        {"part_size": 0},
        {"part_size": -PART},
        {"part_size": 1 << 50},
        {"format": 2},
        {"more": 1},
    ],
    ids=str,
)
async def test_a_journal_of_something_else_is_not_believed(
    memory: MemoryService, obj: dream.Object, place: Path, log: pytest.LogCaptureFixture, changes: dict[str, object]
) -> None:
    await obj.put(DATA)
    left = await left_by_download(memory, place)
    line, *lines = left.journal.read_bytes().splitlines(keepends=True)
    assert forged(line) == line.rstrip()
    left.journal.write_bytes(forged(line, **changes) + b"\n" + b"".join(lines))
    info = await obj.download(left.target, resume=True)
    assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
    assert left.is_all()
    if changes.keys() & {"key", "bucket", "endpoint", "etag", "format", "more"}:
        assert "starts afresh" in log.text


@pytest.mark.parametrize("new", [OTHER, OTHER[:100], b"", OTHER * 3], ids=["as long", "shorter", "empty", "longer"])
async def test_an_object_that_was_replaced_between_two_tries_is_fetched_anew(
    memory: MemoryService, obj: dream.Object, place: Path, log: pytest.LogCaptureFixture, new: bytes
) -> None:
    await obj.put(DATA)
    left = await left_by_download(memory, place)
    await obj.put(new)
    info = await obj.download(left.target, resume=True)
    assert (left.target.read_bytes(), info.size) == (new, len(new))
    assert "it starts afresh" in log.text
    assert left.is_all()


async def test_an_object_that_was_deleted_between_two_tries_is_not_found(
    memory: MemoryService, obj: dream.Object, place: Path
) -> None:
    await obj.put(DATA)
    left = await left_by_download(memory, place)
    await obj.delete()
    with pytest.raises(dream.NotFoundError):
        await obj.download(left.target, resume=True)
    assert list(place.iterdir()) == []


async def test_a_damaged_partial_file_under_a_good_journal_does_no_harm(
    memory: MemoryService, obj: dream.Object, place: Path
) -> None:
    await obj.put(DATA)
    left = await left_by_download(memory, place)
    part, journal = left.part.read_bytes(), left.journal.read_bytes()
    chosen = random.Random(4)
    flips = [flipped(part, chosen.randrange(8 * len(part))) for _ in range(50)]
    sizes = [part[:size] for size in range(0, len(part), 13)]
    for damaged in [*flips, *sizes, part + bytes(10_000), bytes(len(part)), None]:
        left.part.unlink(missing_ok=True)
        if damaged is not None:
            left.part.write_bytes(damaged)
        left.journal.write_bytes(journal)
        memory.forget_requests()
        await obj.download(left.target, resume=True, verify="off")  # the journal alone must notice it
        assert left.target.read_bytes() == DATA
        assert damaged not in flips or count(memory, "get_object") <= COUNT - 5 + 1
        assert left.is_all()


async def test_two_cannot_download_the_same_to_the_same_place_at_once(
    memory: MemoryService, obj: dream.Object, place: Path
) -> None:
    await obj.put(DATA)
    memory.forget_requests()
    may_go_on = asyncio.Event()
    memory.delay("get_object", may_go_on, times=None)
    first = asyncio.create_task(obj.download(place / "file", resume=True))
    while not count(memory, "get_object") and not first.done():
        await asyncio.sleep(0)
    with pytest.raises(BlockingIOError, match="another process downloads the same"):
        await obj.download(place / "file", resume=True)
    elsewhere = asyncio.create_task(obj.download(place / "elsewhere", resume=True))
    may_go_on.set()
    await first
    await elsewhere
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"file": DATA, "elsewhere": DATA}


# Uploads


async def left_by_upload(memory: MemoryService, path: Path, state: Path) -> Path:
    """The journal of an upload that was cut off."""
    await cut_off(memory, "put_part", lambda obj: obj.upload(path, resume=True))
    (journal,) = (state / "aiodreamobjects" / "uploads").iterdir()
    return journal


async def open_uploads(obj: dream.Object, session: dream.Session) -> list[str]:
    return [upload.key async for upload in session.bucket(obj.bucket).uploads()]


async def test_an_upload_goes_on_where_it_was_cut_off(
    memory: MemoryService, session: dream.Session, obj: dream.Object, place: Path, state: Path
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, state)
    assert journal.stat().st_mode & 0o077 == 0
    assert await open_uploads(obj, session) == ["a"]
    (place / "link").symlink_to("file")
    info = await obj.upload(place / "link", resume=True)
    assert (await obj.read(), info.verified) == (DATA, "parts")
    assert count(memory, "create_upload") == 0
    assert count(memory, "put_part") <= COUNT - 5
    assert await open_uploads(obj, session) == []
    assert not journal.exists()


def rewrite(path: Path) -> None:
    path.write_bytes(OTHER)
    os.utime(path, (1, 1))  # the clock of a file system may tick but every few milliseconds


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "longer": lambda path: path.write_bytes(OTHER * 2),
    "shorter": lambda path: path.write_bytes(OTHER[:300]),
    "touched": lambda path: os.utime(path, (1, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changed_between_two_tries_is_sent_anew(
    memory: MemoryService,
    session: dream.Session,
    obj: dream.Object,
    place: Path,
    state: Path,
    log: pytest.LogCaptureFixture,
    change: str,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    await left_by_upload(memory, path, state)
    CHANGES[change](path)
    await obj.upload(path, resume=True)
    assert await obj.read() == path.read_bytes()
    assert "it starts afresh" in log.text
    assert await open_uploads(obj, session) == []


async def test_a_file_that_fits_into_one_request_by_now_leaves_no_old_upload(
    memory: MemoryService, session: dream.Session, obj: dream.Object, place: Path, state: Path
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, state)
    path.write_bytes(b"short")
    await obj.upload(path, resume=True)
    assert await obj.read() == b"short"
    assert await open_uploads(obj, session) == []
    assert not journal.exists()


async def test_bytes_that_changed_behind_the_files_time_are_sent_again(
    memory: MemoryService, obj: dream.Object, place: Path, state: Path
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    found = path.stat()
    await left_by_upload(memory, path, state)
    changed = DATA[:PART] + flipped(DATA[PART:], 0)
    path.write_bytes(changed)
    os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    await obj.upload(path, resume=True)
    assert await obj.read() == changed
    assert count(memory, "put_part") <= COUNT - 5 + 1


async def test_other_headers_or_other_limits_begin_anew(
    memory: MemoryService,
    session: dream.Session,
    obj: dream.Object,
    place: Path,
    state: Path,
    log: pytest.LogCaptureFixture,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    await left_by_upload(memory, path, state)
    await obj.upload(path, resume=True, content_type="text/x-new")
    assert ((await obj.head()).content_type, await obj.read()) == ("text/x-new", DATA)
    assert "it starts afresh" in log.text
    log.clear()
    await left_by_upload(memory, path, state)
    async with memory.session(limits=dream.Limits(part_size=100)) as other:
        assert (await other.object("s3://resumed/a").upload(path, resume=True)).verified == "parts"
    assert await obj.read() == DATA
    assert "it starts afresh" in log.text
    assert await open_uploads(obj, session) == []


async def test_an_upload_that_somebody_aborted_between_two_tries_is_begun_anew(
    memory: MemoryService,
    session: dream.Session,
    obj: dream.Object,
    place: Path,
    state: Path,
    log: pytest.LogCaptureFixture,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    await left_by_upload(memory, path, state)
    await session.bucket(obj.bucket).delete(force=True)
    await session.create_bucket(obj.bucket)
    await obj.upload(path, resume=True)
    assert await obj.read() == DATA
    assert "is gone; it starts afresh" in log.text
    assert await open_uploads(obj, session) == []


async def test_a_damaged_upload_journal_does_no_harm(
    memory: MemoryService, obj: dream.Object, place: Path, state: Path, log: pytest.LogCaptureFixture
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, state)
    good, chosen = journal.read_bytes(), random.Random(5)
    cut = [good[:size] for size in range(len(good))]
    flips = [flipped(good, chosen.randrange(8 * len(good))) for _ in range(50)]
    for damaged in [*cut, *flips, bytes(1000), b"\xff" * 100, b"[]", b"{}", forged(good, format=2)]:
        log.clear()
        journal.write_bytes(damaged)
        await obj.upload(path, resume=True)
        assert await obj.read() == DATA
        assert "starts afresh" in log.text
        assert not journal.exists()
    for changes in ({"key": "b"}, {"bucket": "another"}, {"upload_id": "nobody's"}, {"part_size": 0}, {"size": 1}):
        log.clear()
        journal.write_bytes(forged(good, **changes))
        await obj.upload(path, resume=True)
        assert await obj.read() == DATA
        assert "starts afresh" in log.text
        assert not journal.exists()


# Killed, against a real gateway

LARGE = random.Random(6).randbytes(30 * MIB)
HELPER = """
import asyncio, json, os, sys
import aiodreamobjects as dream

def tell(**facts):
    os.write(1, json.dumps(facts).encode() + b"\\n")

async def work(job):
    limits = dream.Limits(part_size=5 << 20, parts_per_object=2, **job["pace"])
    service = dream.Service.ceph_rgw(job["endpoint"])
    access_key, secret_key = job["keys"]
    async with dream.Session(service=service, access_key=access_key, secret_key=secret_key, limits=limits) as session:
        verb = getattr(session.object(job["uri"]), job["verb"])
        info = await verb(job["path"], resume=True, progress=lambda now: tell(bytes=now.done_bytes))
        found = session.statistics()
        tell(verified=info.verified, sent=found.bytes_sent, received=found.bytes_received)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        tell(pid=os.getpid())
        asyncio.run(work(json.loads(line)))
        os._exit(0)
    tell(status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@asynccontextmanager
async def helper() -> AsyncIterator[Process]:
    """A process that does each job in a fork of its own: it has imported everything already."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HELPER, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


async def do(process: Process, job: Mapping[str, object], *, kill_at: int | None) -> dict[str, Any]:
    """What the job told at its end; nothing if it was killed, as soon as it was so many bytes far."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job).encode() + b"\n")
    told: dict[str, Any] = {}
    while "status" not in told:
        told |= json.loads(await process.stdout.readline())
        if kill_at is not None and told.get("bytes", -1) >= kill_at and "verified" not in told:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(told["pid"], signal.SIGKILL)
            kill_at = None
    assert told["status"] in (0, -signal.SIGKILL)
    return told if told["status"] == 0 else {}


@pytest.mark.parametrize("verb", ["upload", "download"])
async def test_what_was_killed_midway_is_taken_up(rgw: Server, place: Path, verb: str) -> None:
    chosen, path, kills, taken_up = random.Random(verb), place / "file", 0, 0
    digests = b"".join(hashlib.md5(LARGE[start : start + 5 * MIB]).digest() for start in range(0, len(LARGE), 5 * MIB))
    etag = f"{hashlib.md5(digests).hexdigest()}-6"
    async with rgw.session(limits=dream.Limits(part_size=5 * MIB)) as session, helper() as process:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("a")
        if verb == "upload":
            path.write_bytes(LARGE)
        else:
            await obj.put(LARGE)
        job = {
            "verb": verb,
            "path": str(path),
            "uri": f"s3://{obj.bucket}/a",
            "endpoint": rgw.service.endpoint,
            "keys": [rgw.access_key, rgw.secret_key],
            "pace": {f"{verb}_bytes_per_second": 100 * MIB},
        }
        for _ in range(ROUNDS):
            last = furthest = 0
            for _ in range(chosen.choice([1, 1, 2])):
                last = chosen.randrange(28 * MIB)
                furthest = max(furthest, last)
                told = await do(process, job, kill_at=last)
                if told:
                    break
                kills += 1
            else:
                was_over = path.exists() if verb == "download" else not await open_uploads(obj, session)
                told = await do(process, job, kill_at=None)
                moved = told["sent" if verb == "upload" else "received"]
                # Two parts are under way at once: what is further than them was there, unless it was completed.
                assert moved < len(LARGE) or was_over or last <= 10 * MIB or furthest >= 20 * MIB
                taken_up += moved < len(LARGE)
            assert told["verified"] == "parts"
            if verb == "upload":
                assert (await obj.head()).etag == etag
                await obj.delete()
            else:
                assert await asyncio.to_thread(path.read_bytes) == LARGE
                assert [found.name for found in place.iterdir()] == ["file"]
                path.unlink()
        assert [upload async for upload in bucket.uploads()] == []
        await bucket.delete(force=True)
    assert kills
    assert taken_up
