"""Whatever is found in a journal's place: it is believed as far as it is right, and the result is exact."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import zlib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Verb

PART = 64
COUNT = 5
DATA = random.Random(1).randbytes(COUNT * PART - 7)
OTHER = random.Random(2).randbytes(COUNT * PART - 7)
HELD = 2
"""So many parts a transfer has done, one after the other, when it is cut off."""
HANG_SECONDS = 20


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the journals of uploads are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "aiodreamobjects" / "uploads"


@pytest.fixture
def memory() -> MemoryService:
    rules = dream.MultipartRules(smallest_part=1)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest_asyncio.fixture
async def bucket(memory: MemoryService) -> AsyncIterator[dream.Bucket]:
    async with memory.session(limits=dream.Limits(part_size=PART)) as session:
        yield await session.create_bucket("journals")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


def count(memory: MemoryService, verb: Verb) -> int:
    return [request.verb for request in memory.requests].count(verb)


async def cut_off(memory: MemoryService, verb: Verb, key: str, work: Callable[[dream.Object], Any]) -> None:
    memory.forget_requests()
    async with memory.session(limits=dream.Limits(part_size=PART, parts_per_object=1)) as session:
        task = asyncio.create_task(work(session.bucket("journals").object(key)))
        while count(memory, verb) <= HELD and not task.done():
            await asyncio.sleep(0)
        memory.fail(verb, "AccessDenied", times=None)
        with pytest.raises(dream.AccessDeniedError):
            await task
    memory.stop_faults()
    memory.forget_requests()


@dataclass(frozen=True)
class Left:
    """What a download that was cut off has left beside its target."""

    target: Path
    part: Path
    journal: Path

    @property
    def has_gone(self) -> bool:
        return not (os.path.lexists(self.part) or os.path.lexists(self.journal))


async def left_by_download(memory: MemoryService, target: Path, key: str = "a") -> Left:
    await cut_off(memory, "get_object", key, lambda obj: obj.download(target, resume=True))
    (part,) = target.parent.glob(f".{target.name}.*.part")
    (journal,) = target.parent.glob(f".{target.name}.*.journal")
    return Left(target, part, journal)


async def left_by_upload(memory: MemoryService, path: Path, uploads: Path, key: str = "a") -> Path:
    """The journal."""
    before = set(uploads.glob("*.json"))
    await cut_off(memory, "put_part", key, lambda obj: obj.upload(path, resume=True))
    (journal,) = set(uploads.glob("*.json")) - before
    return journal


def with_a_bit_flipped(data: bytes) -> Iterable[bytes]:
    """At each byte, another bit at each."""
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        yield bytes(changed)


def forged(line: bytes, **changes: object) -> bytes:
    """A journal's record with other values, and a check that agrees."""
    document = json.loads(line) | changes
    del document["check"]
    text = json.dumps(document).encode()
    return text[:-1] + b', "check": "%08x"}' % zlib.crc32(text)


def range_line(number: int, data: bytes) -> bytes:
    words = b"%d %08x" % (number, zlib.crc32(data))
    return b"%s %08x\n" % (words, zlib.crc32(words))


def lines_of(journal: bytes) -> list[bytes]:
    return journal.splitlines(keepends=True)


def shuffled(journal: bytes) -> bytes:
    head, *lines = lines_of(journal)
    random.Random(3).shuffle(lines)
    return head + b"".join(lines)


DAMAGED: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "cut at every byte": lambda journal: (journal[:size] for size in range(len(journal))),
    "a bit flipped in every byte": with_a_bit_flipped,
    "doubled": lambda journal: [journal * 2, journal + b"\n" + journal, journal[:-1] + journal],
    "of other versions": lambda journal: [
        forged(lines_of(journal)[0], format=version) + journal[journal.find(b"}") + 1 :]
        for version in (0, 2, "1", None)
    ],
    "binary rubbish": lambda _: [bytes(1000), b"\xff" * 1000, *(random.Random(n).randbytes(500) for n in range(20))],
    "ten mebibytes of rubbish": lambda _: [random.Random(4).randbytes(10 << 20), b"[" * (10 << 20), bytes(10 << 20)],
}
LINES: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "lines in another order": lambda journal: [shuffled(journal), b"".join(reversed(lines_of(journal)))],
    "lines many times": lambda journal: [lines_of(journal)[0] + b"".join(lines_of(journal)[1:] * 1000)],
    "lines of ranges that there are not": lambda journal: [
        journal + b"".join(range_line(number, b"") for number in (0, COUNT + 1, 10**30)),
        journal + b"-1 00000000 00000000\n1\n\n1 2\n1 2 3 4\n" + b"9" * 100_000 + b" 0 0\n",
    ],
    "a line torn, and others behind it": lambda journal: [
        journal[: -size - 1] + lines_of(journal)[-1] for size in range(len(lines_of(journal)[-1]))
    ],
    "lines that are another range's": lambda journal: [
        lines_of(journal)[0] + b"".join(range_line(number, DATA[:PART]) for number in range(1, COUNT + 1))
    ],
}


@pytest.mark.parametrize("damage", [*DAMAGED, *LINES])
async def test_a_download_is_exact_whatever_its_journal_says(
    memory: MemoryService, bucket: dream.Bucket, place: Path, damage: str
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    part, journal = left.part.read_bytes(), left.journal.read_bytes()
    head = len(lines_of(journal)[0])
    for damaged in (DAMAGED | LINES)[damage](journal):
        left.target.write_bytes(b"old")
        left.part.write_bytes(part)
        left.journal.write_bytes(damaged)
        memory.forget_requests()
        info = await bucket.object("a").download(left.target, resume=True)
        assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
        assert left.has_gone
        if damage == "a bit flipped in every byte" and damaged[:head] == journal[:head]:
            assert count(memory, "get_object") <= COUNT - HELD + 2  # a line's end that is damaged costs two ranges


@pytest.mark.parametrize("damage", DAMAGED)
async def test_an_upload_is_exact_whatever_its_journal_says_and_the_open_one_is_not_touched(
    memory: MemoryService, bucket: dream.Bucket, place: Path, uploads: Path, damage: str
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, uploads)
    good = journal.read_bytes()
    left_open = await bucket.uploads().collect()
    for damaged in DAMAGED[damage](good):
        await bucket.object("a").delete()
        journal.write_bytes(damaged)
        info = await bucket.object("a").upload(path, resume=True)
        assert (await bucket.object("a").read(), info.verified) == (DATA, "parts")
        assert list(uploads.iterdir()) == []
        assert await bucket.uploads().collect() == left_open
    journal.write_bytes(good)
    memory.forget_requests()
    await bucket.object("a").upload(path, resume=True)
    assert await bucket.object("a").read() == DATA
    assert (count(memory, "create_upload"), count(memory, "put_part")) == (0, COUNT - HELD)
    assert await bucket.uploads().collect() == []


async def test_no_byte_of_a_partial_file_is_believed_that_is_another_one(
    memory: MemoryService, bucket: dream.Bucket, place: Path
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    part, journal = left.part.read_bytes(), left.journal.read_bytes()
    assert len(part) >= HELD * PART
    for damaged in with_a_bit_flipped(part):
        left.part.write_bytes(damaged)
        left.journal.write_bytes(journal)
        memory.forget_requests()
        await bucket.object("a").download(left.target, resume=True, verify="off")  # the journal alone must notice it
        assert left.target.read_bytes() == DATA
        assert count(memory, "get_object") <= COUNT - HELD + 1
        assert left.has_gone


async def test_a_journal_that_vouches_for_wrong_bytes_is_found_out_by_the_etag(
    memory: MemoryService, bucket: dream.Bucket, place: Path
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    head = lines_of(left.journal.read_bytes())[0]
    left.part.write_bytes(OTHER)
    ranges = [range_line(at // PART + 1, OTHER[at : at + PART]) for at in range(0, len(OTHER), PART)]
    left.journal.write_bytes(head + b"".join(ranges))
    info = await bucket.object("a").download(left.target, resume=True)
    assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
    assert left.has_gone


async def test_what_is_left_of_another_object_is_not_believed(
    memory: MemoryService, bucket: dream.Bucket, place: Path
) -> None:
    await bucket.object("a").put(DATA)
    await bucket.object("b").put(OTHER)
    (place / "b").mkdir()
    left = await left_by_download(memory, place / "file")
    strange = await left_by_download(memory, place / "b" / "file", "b")
    strange.part.replace(left.part)
    strange.journal.replace(left.journal)
    await bucket.object("a").download(left.target, resume=True, verify="off")
    assert left.target.read_bytes() == DATA
    assert left.has_gone


async def test_an_upload_of_another_object_is_neither_used_nor_aborted(
    memory: MemoryService, bucket: dream.Bucket, place: Path, uploads: Path
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, uploads)
    strange = await left_by_upload(memory, path, uploads, "b")
    good, strange_id = journal.read_bytes(), json.loads(strange.read_bytes())["upload_id"]
    for named in (strange.read_bytes(), forged(good, upload_id=strange_id), forged(good, upload_id=strange_id, size=1)):
        journal.write_bytes(named)
        await bucket.object("a").upload(path, resume=True)
        assert await bucket.object("a").read() == DATA
        assert not journal.exists()
        assert {upload.upload_id async for upload in bucket.uploads("b")} == {strange_id}
    memory.forget_requests()
    await bucket.object("b").upload(path, resume=True)
    assert await bucket.object("b").read() == DATA
    assert count(memory, "put_part") == COUNT - HELD


async def test_parts_of_another_file_are_replaced(
    memory: MemoryService, bucket: dream.Bucket, place: Path, uploads: Path
) -> None:
    """The upload is of this object, and what it holds is not what is to be sent."""
    paths = {name: place / name for name in ("mine", "strange")}
    for path, data in zip(paths.values(), (DATA, OTHER), strict=True):
        path.write_bytes(data)
    journals = {name: await left_by_upload(memory, path, uploads) for name, path in paths.items()}
    strange_id = json.loads(journals["strange"].read_bytes())["upload_id"]
    journals["mine"].write_bytes(forged(journals["mine"].read_bytes(), upload_id=strange_id))
    info = await bucket.object("a").upload(paths["mine"], resume=True)
    assert (await bucket.object("a").read(), info.verified) == (DATA, "parts")
    assert count(memory, "put_part") == COUNT
    await bucket.object("a").upload(paths["strange"], resume=True)  # its upload is complete, and so it is gone
    assert await bucket.object("a").read() == OTHER


# Where there is no regular file


def put_a_link(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


STRANGE: dict[str, Callable[[Path, Path], None]] = {
    "a directory": lambda path, _: (path / "inside").mkdir(parents=True),
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a link to somebody's file": put_a_link,
    "a link to a directory": lambda path, precious: path.symlink_to(precious.parent),
    "a link to nothing": lambda path, precious: path.symlink_to(precious.with_name("nothing")),
}


async def in_time(work: Coroutine[Any, Any, object], fifo: Path) -> BaseException | None:
    """How it ended. A thread that waits for a FIFO's other end is helped out, and that is a failure."""
    task = asyncio.create_task(work)
    await asyncio.wait([task], timeout=HANG_SECONDS)
    is_late = not task.done()
    if is_late:
        os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))
        await asyncio.wait([task], timeout=HANG_SECONDS)
    assert not is_late, "it waited for the other end of a FIFO"
    return task.exception()


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("suffix", ["journal", "part"])
async def test_a_download_goes_through_no_link_and_deletes_nothing_that_is_not_its_own(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path, place: Path, suffix: str, strange: str
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    path = left.journal if suffix == "journal" else left.part
    precious = tmp_path / "home" / "precious"
    precious.parent.mkdir()
    precious.write_bytes(b"precious")
    path.unlink()
    STRANGE[strange](path, precious)
    mode = path.lstat().st_mode
    left.target.write_bytes(b"old")
    failure = await in_time(bucket.object("a").download(left.target, resume=True), path)
    assert isinstance(failure, OSError), failure
    assert left.target.read_bytes() == b"old"
    assert path.lstat().st_mode == mode
    assert [found.name for found in precious.parent.iterdir()] == ["precious"]
    assert precious.read_bytes() == b"precious"
    if path.is_dir() and not path.is_symlink():
        (path / "inside").rmdir()
        path.rmdir()
    else:
        path.unlink()
    await bucket.object("a").download(left.target, resume=True)
    assert left.target.read_bytes() == DATA
    assert left.has_gone


@pytest.mark.parametrize("strange", STRANGE)
async def test_an_upload_writes_through_no_link_and_leaves_nothing_open(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path, place: Path, uploads: Path, strange: str
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, uploads)
    left_open = await bucket.uploads().collect()
    precious = tmp_path / "home" / "precious"
    precious.parent.mkdir()
    precious.write_bytes(journal.read_bytes()[:-1])
    expected = precious.read_bytes()
    journal.unlink()
    STRANGE[strange](journal, precious)
    failure = await in_time(bucket.object("a").upload(path, resume=True), journal)
    assert failure is None or isinstance(failure, OSError), failure
    if failure is None:
        assert await bucket.object("a").read() == DATA
        assert not os.path.lexists(journal)
    assert await bucket.uploads().collect() == left_open
    assert [found.name for found in precious.parent.iterdir()] == ["precious"]
    assert precious.read_bytes() == expected
    assert set(uploads.iterdir()) <= {journal}


async def test_a_file_that_was_published_and_is_still_the_partial_one_too_is_not_written_to(
    memory: MemoryService, bucket: dream.Bucket, place: Path
) -> None:
    """``overwrite=False`` gives the file its name by a hard link: killed just then, it has both names."""
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    left.part.write_bytes(DATA)
    left.target.hardlink_to(left.part)
    await bucket.object("a").put(OTHER)
    await cut_off(memory, "get_object", "a", lambda obj: obj.download(left.target, resume=True))
    assert left.target.read_bytes() == DATA
    await bucket.object("a").download(left.target, resume=True)
    assert left.target.read_bytes() == OTHER
    assert left.has_gone


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_a_journal_that_may_not_be_read_is_an_error(
    memory: MemoryService, bucket: dream.Bucket, place: Path, uploads: Path
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    left.journal.chmod(0)
    with pytest.raises(PermissionError):
        await bucket.object("a").download(left.target, resume=True)
    assert not left.target.exists()
    (place / "source").write_bytes(OTHER)
    journal = await left_by_upload(memory, place / "source", uploads)
    journal.chmod(0)
    with pytest.raises(PermissionError):
        await bucket.object("a").upload(place / "source", resume=True)
    assert await bucket.object("a").read() == DATA


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "rb+")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_journal_that_another_process_holds_is_left_to_it_until_that_dies(
    memory: MemoryService, bucket: dream.Bucket, place: Path
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    part, journal = left.part.read_bytes(), left.journal.read_bytes()
    arguments = (sys.executable, "-c", HOLDER, str(left.journal))
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"locked\n"
    with pytest.raises(BlockingIOError, match="another process downloads the same object"):
        await bucket.object("a").download(left.target, resume=True)
    assert (left.part.read_bytes(), left.journal.read_bytes()) == (part, journal)
    assert count(memory, "get_object") == 0
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await bucket.object("a").download(left.target, resume=True)
    assert left.target.read_bytes() == DATA
    assert count(memory, "get_object") <= COUNT - HELD
    assert left.has_gone


# What somebody else has put there


def link_to(path: Path, precious: Path) -> None:
    path.hardlink_to(precious)


def owned_by_another(path: Path, precious: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make another user's file")
    path.write_bytes(precious.read_bytes())
    os.chown(path, 1, 1)
    path.chmod(0o666)


FOREIGN = {"a hard link": link_to, "another user's": owned_by_another}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="aiodreamobjects")
    return caplog


def told(log: pytest.LogCaptureFixture) -> list[str]:
    """Once each time that something is begun anew, or replaced."""
    words = ("starts afresh", "a new one takes its place")
    return [record.getMessage() for record in log.records if any(word in record.getMessage() for word in words)]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("what", ["a journal", "text", "nothing"])
@pytest.mark.parametrize("suffix", ["journal", "part"])
async def test_a_file_that_is_not_a_downloads_own_is_replaced_and_not_written_to(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path, place: Path, suffix: str, what: str, foreign: str
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    path = left.journal if suffix == "journal" else left.part
    precious = tmp_path / "precious"
    content = {"a journal": path.read_bytes(), "text": b"precious", "nothing": b""}[what]
    precious.write_bytes(content)
    path.unlink()
    FOREIGN[foreign](path, precious)
    theirs = path.stat()
    with path.open("rb") as their_file:  # so that its number is not given to another one
        await cut_off(memory, "get_object", "a", lambda obj: obj.download(left.target, resume=True))
        assert (path.stat().st_ino, path.stat().st_uid, path.stat().st_nlink) != (theirs.st_ino, theirs.st_uid, 2)
        assert their_file.read() == content
    assert precious.read_bytes() == content
    info = await bucket.object("a").download(left.target, resume=True)
    assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
    assert precious.read_bytes() == content
    assert left.has_gone


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("what", ["a journal", "text", "nothing"])
async def test_an_uploads_journal_that_is_not_its_own_is_not_believed_and_not_written_to(
    memory: MemoryService,
    bucket: dream.Bucket,
    tmp_path: Path,
    place: Path,
    uploads: Path,
    what: str,
    foreign: str,
    log: pytest.LogCaptureFixture,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, uploads)
    left_open = await bucket.uploads().collect()
    precious = tmp_path / "precious"
    content = {"a journal": journal.read_bytes(), "text": b"precious", "nothing": b""}[what]
    precious.write_bytes(content)
    journal.unlink()
    FOREIGN[foreign](journal, precious)
    log.clear()
    await bucket.object("a").upload(path, resume=True)
    assert await bucket.object("a").read() == DATA
    assert precious.read_bytes() == content
    assert len(told(log)) == 1
    assert list(uploads.iterdir()) == []
    assert await bucket.uploads().collect() == left_open


def checked(document: bytes) -> bytes:
    """Any text that ends with a brace, as a record with a good check."""
    return document[:-1] + b', "check": "%08x"}' % zlib.crc32(document)


def of_words(*words: bytes) -> bytes:
    """Any words, as a line with a good check."""
    line = b" ".join(words)
    return b"%s %08x\n" % (line, zlib.crc32(line))


def with_value(name: str, value: object) -> Callable[[bytes], bytes]:
    return lambda line: forged(line, **{name: value})


NESTED = checked(b'{"format":' * 5000 + b"1" + b"}" * 5000)
BRACKETS = checked(b"[" * 50_000 + b"}")
WORDS = [
    "",
    "x" * 5000,
    "x" * 100_000,
    "a\nb",
    "a\r\nevil: 1",
    "caf\u00e9",
    "\ud800",
    "a\0",
    "\u2028",
    1,
    None,
    True,
    [],
    {},
]
PLANTED: dict[str, Callable[[bytes], bytes]] = {
    **{
        f"{name} {value!r:.30}": with_value(name, value)
        for name, values in {
            "part_size": [0, 1, -1, True, False, 10**9, 10**15, 1 << 63, 1 << 64, 10**400, 10**4000, 64.0, "64", None],
            "size": [-1, -(10**15), True, 10**400, 10**4000, float("inf"), float("nan"), "64", None],
            "etag": WORDS,
            "key": WORDS,
        }.items()
        for value in values
    },
    "a small part of all there is": lambda line: forged(line, part_size=1, size=10**15),
    "ranges without an end": lambda line: forged(line, size=10**18),
    "as large as can be": lambda line: forged(line, part_size=10**4000, size=10**4000),
    "nested": lambda _: NESTED,
    "brackets": lambda _: BRACKETS,
    "long": lambda line: line + b" " * 100_000,
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_a_planted_journal_costs_no_more_than_none(
    memory: MemoryService, bucket: dream.Bucket, place: Path, planted: str, log: pytest.LogCaptureFixture
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    first, *others = lines_of(left.journal.read_bytes())
    left.journal.write_bytes(PLANTED[planted](first.rstrip()) + b"\n" + b"".join(others))
    log.clear()
    info = await bucket.object("a").download(left.target, resume=True)
    assert (left.target.read_bytes(), info.verified) == (DATA, "parts")
    assert count(memory, "get_object") == COUNT
    assert len(told(log)) == 1
    assert left.has_gone


LINES_PLANTED: dict[str, bytes] = {
    "a number of 5,000 digits": of_words(b"9" * 5000, b"00000000"),
    "a number of 7 digits": of_words(b"9999999", b"00000000"),
    "a CRC that is no number": of_words(b"1", b"zzzzzzzz"),
    "a CRC of 5,000 digits": of_words(b"1", b"9" * 5000),
    "a CRC below 0": of_words(b"1", b"-0000001"),
    "a digit of another script": of_words("\u0663".encode(), b"00000000"),
    "underscores": of_words(b"1_0", b"0000_000"),
}


@pytest.mark.parametrize("planted", LINES_PLANTED)
async def test_a_planted_line_is_passed_over(
    memory: MemoryService, bucket: dream.Bucket, place: Path, planted: str
) -> None:
    await bucket.object("a").put(DATA)
    left = await left_by_download(memory, place / "file")
    first, *others = lines_of(left.journal.read_bytes())
    line = LINES_PLANTED[planted]
    is_short = len(line) < 50
    left.journal.write_bytes(b"".join([first, line, *others, line]))
    await bucket.object("a").download(left.target, resume=True, verify="off")
    assert left.target.read_bytes() == DATA
    assert count(memory, "get_object") <= (COUNT - HELD if is_short else COUNT)
    assert left.has_gone


async def test_a_journal_that_is_larger_than_one_can_be_is_none(
    memory: MemoryService, bucket: dream.Bucket, place: Path, uploads: Path, log: pytest.LogCaptureFixture
) -> None:
    """Files of a tebibyte, all of it a hole; and a million lines."""
    await bucket.object("a").put(DATA)
    path = place / "source"
    path.write_bytes(OTHER)
    for lines in (0, 1_000_000):
        left = await left_by_download(memory, place / "file")
        journal = await left_by_upload(memory, path, uploads, "b")
        for planted in (left.journal, journal):
            with planted.open("ab") as file:
                file.write(range_line(1, DATA[:PART]) * lines)
            if not lines:
                os.truncate(planted, 1 << 40)
        log.clear()
        await bucket.object("a").download(left.target, resume=True)
        await bucket.object("b").upload(path, resume=True)
        assert (left.target.read_bytes(), await bucket.object("b").read()) == (DATA, OTHER)
        assert len(told(log)) == 2
        assert left.has_gone
        assert not journal.exists()
        left.target.unlink()


async def test_ranges_of_other_limits_are_used_as_far_as_they_are_sensible(place: Path) -> None:
    """No smaller than 64 KiB, or a 32nd of this session's part size; no larger than its memory."""
    memory, content = MemoryService(), random.Random(7).randbytes(1 << 20)
    usual, small, tiny = 8 << 20, 64 << 10, (64 << 10) - 1
    cases = [
        (small, usual, True),
        (tiny, usual, False),
        (tiny, tiny, True),
        (tiny, 1 << 20, True),
        (30_000, 1 << 20, False),
    ]
    async with memory.session() as session:
        await (await session.create_bucket("journals")).object("a").put(content)
    for number, (earlier, now, is_used) in enumerate(cases):
        target = place / f"{number}"
        async with memory.session(limits=dream.Limits(part_size=earlier, parts_per_object=1)) as session:
            task = asyncio.create_task(session.object("s3://journals/a").download(target, resume=True))
            memory.forget_requests()
            while count(memory, "get_object") < 6:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        memory.forget_requests()
        async with memory.session(limits=dream.Limits(part_size=now)) as session:
            await session.object("s3://journals/a").download(target, resume=True)
        assert target.read_bytes() == content
        ranges = [earlier, now][not is_used]
        assert count(memory, "get_object") == -(-len(content) // ranges) - 5 * is_used


@pytest.mark.parametrize("upload_id", WORDS, ids=lambda value: f"{value!r:.20}")
async def test_an_upload_id_that_cannot_be_one_is_asked_of_nobody(
    memory: MemoryService,
    bucket: dream.Bucket,
    place: Path,
    uploads: Path,
    upload_id: object,
    log: pytest.LogCaptureFixture,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, uploads)
    left_open = await bucket.uploads().collect()
    journal.write_bytes(forged(journal.read_bytes(), upload_id=upload_id))
    log.clear()
    memory.forget_requests()
    await bucket.object("a").upload(path, resume=True)
    assert {count(memory, verb) for verb in ("list_parts", "abort_upload")} == {0}
    assert await bucket.object("a").read() == DATA
    assert len(told(log)) == 1
    assert await bucket.uploads().collect() == left_open


@pytest.mark.parametrize("planted", [NESTED, BRACKETS], ids=["nested", "brackets"])
async def test_an_uploads_journal_that_is_nested_is_none(
    memory: MemoryService,
    bucket: dream.Bucket,
    place: Path,
    uploads: Path,
    planted: bytes,
    log: pytest.LogCaptureFixture,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    journal = await left_by_upload(memory, path, uploads)
    journal.write_bytes(planted)
    log.clear()
    await bucket.object("a").upload(path, resume=True)
    assert await bucket.object("a").read() == DATA
    assert len(told(log)) == 1


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidArgument", "InvalidRequest"])
async def test_an_upload_that_the_service_does_not_know_is_begun_anew(
    memory: MemoryService,
    bucket: dream.Bucket,
    place: Path,
    uploads: Path,
    code: str,
    log: pytest.LogCaptureFixture,
) -> None:
    path = place / "file"
    path.write_bytes(DATA)
    await left_by_upload(memory, path, uploads)
    log.clear()
    memory.fail("list_parts", code)
    await bucket.object("a").upload(path, resume=True)
    assert await bucket.object("a").read() == DATA
    assert len(told(log)) == 1
    assert list(uploads.iterdir()) == []
