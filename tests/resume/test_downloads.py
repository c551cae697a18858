"""A download resumes where it was cut off. Its journal is believed as far as it is right, and the file is exact."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from journals import (
    BRACKETS,
    COUNT,
    DAMAGED,
    DATA,
    FOREIGN,
    HELD,
    NESTED,
    OTHER,
    PART,
    STRANGE,
    WORDS,
    Download,
    count,
    cut_off_download,
    forged,
    in_time,
    lines_of,
    make_huge,
    of_words,
    range_line,
    told,
    with_a_bit_flipped,
)

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService


async def test_a_download_goes_on_where_it_was_cut_off(download: Download) -> None:
    assert not download.target.exists()
    assert download.part.stat().st_size >= HELD * PART
    await download.resume()
    assert download.asked <= COUNT - HELD


async def test_a_download_keeps_its_ranges_though_the_limits_are_others(
    memory: MemoryService, download: Download
) -> None:
    for part_size in (PART // 2, PART * 3, len(DATA), len(DATA) * 2):
        async with memory.session(limits=dream.Limits(part_size=part_size)) as session:
            info = await session.object("s3://resumed/a").download(download.target, resume=True)
        assert (download.target.read_bytes(), info.verified) == (DATA, "parts")
        assert download.asked <= COUNT - HELD
        assert download.has_gone
        download.target.unlink()
        await download.cut_off_again()


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
        await (await session.create_bucket("resumed")).object("a").put(content)
    for number, (earlier, now, is_used) in enumerate(cases):
        target = place / f"{number}"
        async with memory.session(limits=dream.Limits(part_size=earlier, parts_per_object=1)) as session:
            task = asyncio.create_task(session.object("s3://resumed/a").download(target, resume=True))
            memory.forget_requests()
            while count(memory, "get_object") < 6:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        memory.forget_requests()
        async with memory.session(limits=dream.Limits(part_size=now)) as session:
            await session.object("s3://resumed/a").download(target, resume=True)
        assert target.read_bytes() == content
        ranges = [earlier, now][not is_used]
        assert count(memory, "get_object") == -(-len(content) // ranges) - 5 * is_used


# Damaged


def shuffled(journal: bytes) -> bytes:
    head, *lines = lines_of(journal)
    random.Random(3).shuffle(lines)
    return head + b"".join(lines)


LINES: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "lines in another order": lambda journal: [shuffled(journal), b"".join(reversed(lines_of(journal)))],
    "lines many times": lambda journal: [lines_of(journal)[0] + b"".join(lines_of(journal)[1:] * 1000)],
    "lines of ranges that there are not": lambda journal: [
        journal + b"".join(range_line(number, b"") for number in (0, COUNT + 1, 10**30)),
        journal + b"-1 00000000 00000000\n1\n\n1 2\n1 2 3 4\nx y z\n -1\n" + b"9" * 100_000 + b" 0 0\n",
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
    download: Download, damage: str, log: pytest.LogCaptureFixture
) -> None:
    part, journal = download.part.read_bytes(), download.journal.read_bytes()
    head = lines_of(journal)[0]
    for damaged in (DAMAGED | LINES)[damage](journal):
        log.clear()
        download.target.write_bytes(b"old")
        download.part.write_bytes(part)
        download.journal.write_bytes(damaged)
        await download.resume()
        if damage == "a bit flipped in every byte" and damaged.startswith(head):
            assert download.asked <= COUNT - HELD + 2  # a line's end that is damaged costs two ranges
        if damaged and damaged.split(b"\n")[0] != head.rstrip():
            assert told(log)


async def test_no_byte_of_a_partial_file_is_believed_that_is_another_one(download: Download) -> None:
    part, journal = download.part.read_bytes(), download.journal.read_bytes()
    assert len(part) >= HELD * PART
    flips = list(with_a_bit_flipped(part))
    for damaged in [
        *flips,
        *(part[:size] for size in range(0, len(part), 13)),
        part + bytes(10_000),
        bytes(len(part)),
        None,
    ]:
        download.part.unlink(missing_ok=True)
        if damaged is not None:
            download.part.write_bytes(damaged)
        download.journal.write_bytes(journal)
        await download.resume(verify="off")  # the journal alone must notice it
        assert damaged not in flips or download.asked <= COUNT - HELD + 1


async def test_a_journal_that_vouches_for_wrong_bytes_is_found_out_by_the_etag(download: Download) -> None:
    head = lines_of(download.journal.read_bytes())[0]
    download.part.write_bytes(OTHER)
    ranges = [range_line(at // PART + 1, OTHER[at : at + PART]) for at in range(0, len(OTHER), PART)]
    download.journal.write_bytes(head + b"".join(ranges))
    await download.resume()


# Of something else


@pytest.mark.parametrize("new", [OTHER, OTHER[:100], b"", OTHER * 3], ids=["as long", "shorter", "empty", "longer"])
async def test_an_object_that_was_replaced_between_two_tries_is_fetched_anew(
    download: Download, log: pytest.LogCaptureFixture, new: bytes
) -> None:
    await download.obj.put(new)
    info = await download.obj.download(download.target, resume=True)
    assert (download.target.read_bytes(), info.size) == (new, len(new))
    assert told(log)
    assert download.has_gone


async def test_an_object_that_was_deleted_between_two_tries_is_not_found(download: Download, place: Path) -> None:
    await download.obj.delete()
    with pytest.raises(dream.NotFoundError):
        await download.obj.download(download.target, resume=True)
    assert list(place.iterdir()) == []


async def test_what_is_left_of_another_object_is_not_believed(
    memory: MemoryService, bucket: dream.Bucket, place: Path, download: Download
) -> None:
    await bucket.object("b").put(OTHER)
    (place / "b").mkdir()
    strange = await cut_off_download(memory, bucket, place / "b" / "file", "b")
    strange.part.replace(download.part)
    strange.journal.replace(download.journal)
    await download.resume(verify="off")


# Where there is no regular file, or not one's own


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("suffix", ["journal", "part"])
async def test_a_download_goes_through_no_link_and_deletes_nothing_that_is_not_its_own(
    download: Download, precious: Path, suffix: str, strange: str
) -> None:
    path = download.journal if suffix == "journal" else download.part
    path.unlink()
    STRANGE[strange](path, precious)
    mode = path.lstat().st_mode
    download.target.write_bytes(b"old")
    failure = await in_time(download.obj.download(download.target, resume=True), path)
    assert isinstance(failure, OSError), failure
    assert download.target.read_bytes() == b"old"
    assert path.lstat().st_mode == mode
    assert [found.name for found in precious.parent.iterdir()] == ["precious"]
    assert precious.read_bytes() == b"precious"
    if path.is_dir() and not path.is_symlink():
        (path / "inside").rmdir()
        path.rmdir()
    else:
        path.unlink()
    await download.resume()


async def test_a_file_that_was_published_and_is_still_the_partial_one_too_is_not_written_to(
    download: Download,
) -> None:
    """``overwrite=False`` gives the file its name by a hard link: killed just then, it has both names."""
    download.part.write_bytes(DATA)
    download.target.hardlink_to(download.part)
    await download.obj.put(OTHER)
    await download.cut_off_again()
    assert download.target.read_bytes() == DATA
    await download.obj.download(download.target, resume=True)
    assert download.target.read_bytes() == OTHER
    assert download.has_gone


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_a_journal_that_may_not_be_read_is_an_error(download: Download) -> None:
    download.journal.chmod(0)
    with pytest.raises(PermissionError):
        await download.obj.download(download.target, resume=True)
    assert not download.target.exists()


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("what", ["a journal", "text", "nothing"])
@pytest.mark.parametrize("suffix", ["journal", "part"])
async def test_a_file_that_is_not_a_downloads_own_is_replaced_and_not_written_to(
    download: Download, precious: Path, suffix: str, what: str, foreign: str
) -> None:
    path = download.journal if suffix == "journal" else download.part
    content = {"a journal": path.read_bytes(), "text": b"precious", "nothing": b""}[what]
    precious.write_bytes(content)
    path.unlink()
    FOREIGN[foreign](path, precious)
    theirs = path.stat()
    with path.open("rb") as their_file:  # so that its number is not given to another one
        await download.cut_off_again()
        assert (path.stat().st_ino, path.stat().st_uid, path.stat().st_nlink) != (theirs.st_ino, theirs.st_uid, 2)
        assert their_file.read() == content
    assert precious.read_bytes() == content
    await download.resume()
    assert precious.read_bytes() == content


# Held by somebody else

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "rb+")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_journal_that_another_process_holds_is_left_to_it_until_that_dies(download: Download) -> None:
    part, journal = download.part.read_bytes(), download.journal.read_bytes()
    arguments = (sys.executable, "-c", HOLDER, str(download.journal))
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"locked\n"
    with pytest.raises(BlockingIOError, match="another process is downloading the same object"):
        await download.obj.download(download.target, resume=True)
    assert (download.part.read_bytes(), download.journal.read_bytes()) == (part, journal)
    assert download.asked == 0
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await download.resume()
    assert download.asked <= COUNT - HELD


async def test_two_cannot_download_the_same_to_the_same_place_at_once(
    memory: MemoryService, bucket: dream.Bucket, place: Path
) -> None:
    obj = bucket.object("a")
    await obj.put(DATA)
    memory.forget_requests()
    may_go_on = asyncio.Event()
    memory.delay("get_object", may_go_on, times=None)
    first = asyncio.create_task(obj.download(place / "file", resume=True))
    while not count(memory, "get_object") and not first.done():
        await asyncio.sleep(0)
    with pytest.raises(BlockingIOError, match="another process is downloading the same"):
        await obj.download(place / "file", resume=True)
    elsewhere = asyncio.create_task(obj.download(place / "elsewhere", resume=True))
    may_go_on.set()
    await first
    await elsewhere
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"file": DATA, "elsewhere": DATA}


# What somebody else has put there


def with_changes(**changes: object) -> Callable[[bytes], bytes]:
    return lambda line: forged(line, **changes)


VALUES: dict[str, list[object]] = {
    "part_size": [
        *(0, 1, -1, -PART, True, False, 10**9, 10**15, 1 << 50, 1 << 63, 1 << 64, 10**400, 10**4000),
        *(64.0, "64", None),
    ],
    "size": [0, -1, -(10**15), True, 10**400, 10**4000, float("inf"), float("nan"), "64", None],
    "etag": WORDS,
    "key": [*WORDS, "b"],
    "bucket": ["another"],
    "endpoint": ["https://elsewhere.invalid"],
    "more": [1],
}
PLANTED: dict[str, Callable[[bytes], bytes]] = {
    **{f"{name} {value!r:.30}": with_changes(**{name: value}) for name, values in VALUES.items() for value in values},
    "a small part of all there is": with_changes(part_size=1, size=10**15),
    "ranges without an end": with_changes(size=10**18),
    "as large as can be": with_changes(part_size=10**4000, size=10**4000),
    "nested": lambda _: NESTED,
    "brackets": lambda _: BRACKETS,
    "long": lambda line: line + b" " * 100_000,
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_a_planted_journal_costs_no_more_than_none(
    download: Download, planted: str, log: pytest.LogCaptureFixture
) -> None:
    first, *others = lines_of(download.journal.read_bytes())
    assert forged(first) == first.rstrip()
    download.journal.write_bytes(PLANTED[planted](first.rstrip()) + b"\n" + b"".join(others))
    await download.resume()
    assert download.asked == COUNT
    assert len(told(log)) == 1


@pytest.mark.parametrize("changes", [{"size": len(DATA) - 1}, {"size": len(DATA) * 100}, {"etag": "0" * 32}], ids=str)
async def test_a_journal_that_is_wrong_about_its_object_costs_a_request_at_most(
    download: Download, changes: dict[str, object], log: pytest.LogCaptureFixture
) -> None:
    first, *others = lines_of(download.journal.read_bytes())
    download.journal.write_bytes(forged(first.rstrip(), **changes) + b"\n" + b"".join(others))
    await download.resume()
    assert download.asked <= COUNT + 1
    assert len(told(log)) == ("etag" in changes)


@pytest.mark.parametrize(
    "line",
    [
        of_words(b"9" * 5000, b"00000000"),
        of_words(b"9999999", b"00000000"),
        of_words(b"1", b"zzzzzzzz"),
        of_words(b"1", b"9" * 5000),
        of_words(b"1", b"-0000001"),
        of_words("\u0663".encode(), b"00000000"),
        of_words(b"1_0", b"0000_000"),
    ],
    ids=[
        "a number of 5,000 digits",
        "a number of 7 digits",
        "a CRC that is no number",
        "a CRC of 5,000 digits",
        "a CRC below 0",
        "a digit of another script",
        "underscores",
    ],
)
async def test_a_planted_line_is_passed_over(download: Download, line: bytes) -> None:
    first, *others = lines_of(download.journal.read_bytes())
    is_short = len(line) < 50
    download.journal.write_bytes(b"".join([first, line, *others, line]))
    await download.resume(verify="off")
    assert download.asked <= (COUNT - HELD if is_short else COUNT)


@pytest.mark.parametrize("lines", [0, 1_000_000], ids=["a tebibyte, all of it a hole", "a million lines"])
async def test_a_journal_that_is_larger_than_one_can_be_is_none(
    download: Download, lines: int, log: pytest.LogCaptureFixture
) -> None:
    make_huge(download.journal, lines)
    await download.resume()
    assert len(told(log)) == 1
