"""Transfers that were cut off, the journals that they have left, and journals that are damaged or forged."""

from __future__ import annotations

import asyncio
import json
import os
import random
import zlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Verb

PART = 64
COUNT = 5
DATA = random.Random(1).randbytes(COUNT * PART - 7)
OTHER = random.Random(2).randbytes(COUNT * PART - 7)
HELD = 2
"""So many parts a transfer has done, one after the other, when it is cut off."""
HANG_SECONDS = 20


@dataclass(frozen=True)
class Download:
    """A download that was cut off: what it has left beside its target."""

    memory: MemoryService
    obj: dream.Object
    target: Path
    part: Path
    journal: Path

    @property
    def has_gone(self) -> bool:
        return not (os.path.lexists(self.part) or os.path.lexists(self.journal))

    @property
    def asked(self) -> int:
        """Ranges that were asked for since."""
        return count(self.memory, "get_object")

    async def resume(self, verify: dream.Verify = "auto") -> dream.ObjectInfo:
        """Download the rest. The file is right then, and nothing is left beside it."""
        self.memory.forget_requests()
        info = await self.obj.download(self.target, resume=True, verify=verify)
        assert self.target.read_bytes() == DATA
        assert verify == "off" or info.verified == "parts"
        assert self.has_gone
        return info

    async def cut_off_again(self) -> None:
        await cut_off(self.memory, "get_object", self.obj.key, lambda obj: obj.download(self.target, resume=True))


@dataclass(frozen=True)
class Upload:
    """An upload that was cut off, of a file: its journal."""

    memory: MemoryService
    bucket: dream.Bucket
    path: Path
    journal: Path

    @property
    def sent(self) -> int:
        """Parts that were sent since."""
        return count(self.memory, "put_part")

    async def resume(self, **options: Any) -> dream.ObjectInfo:
        """Upload the rest. The object is right then, and the journal is gone."""
        self.memory.forget_requests()
        info = await self.bucket.object("a").upload(self.path, resume=True, **options)
        assert await self.bucket.object("a").read() == self.path.read_bytes()
        assert not os.path.lexists(self.journal)
        return info

    async def open_ones(self) -> list[str]:
        """The ids of the uploads that are open."""
        return [upload.upload_id async for upload in self.bucket.uploads()]


async def cut_off_download(memory: MemoryService, bucket: dream.Bucket, target: Path, key: str = "a") -> Download:
    await cut_off(memory, "get_object", key, lambda obj: obj.download(target, resume=True))
    (part,) = target.parent.glob(f".{target.name}.*.part")
    (journal,) = target.parent.glob(f".{target.name}.*.journal")
    return Download(memory, bucket.object(key), target, part, journal)


async def cut_off_upload(memory: MemoryService, path: Path, uploads: Path, key: str = "a") -> Path:
    """The journal."""
    before = set(uploads.glob("*.json"))
    await cut_off(memory, "put_part", key, lambda obj: obj.upload(path, resume=True))
    (journal,) = set(uploads.glob("*.json")) - before
    return journal


async def cut_off(memory: MemoryService, verb: Verb, key: str, work: Callable[[dream.Object], Any]) -> None:
    memory.forget_requests()
    async with memory.session(limits=dream.Limits(part_size=PART, parts_per_object=1)) as session:
        task = asyncio.create_task(work(session.bucket("resumed").object(key)))
        while count(memory, verb) <= HELD and not task.done():
            await asyncio.sleep(0)
        memory.fail(verb, "AccessDenied", times=None)
        with pytest.raises(dream.AccessDeniedError):
            await task
    memory.stop_faults()
    memory.forget_requests()


def count(memory: MemoryService, verb: Verb) -> int:
    return [request.verb for request in memory.requests].count(verb)


def told(log: pytest.LogCaptureFixture) -> list[str]:
    """Once each time that something is begun anew, or replaced."""
    words = ("starts again", "a new journal replaces it")
    return [record.getMessage() for record in log.records if any(word in record.getMessage() for word in words)]


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


# Damaged and forged journals


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
    return checked(json.dumps(document).encode())


def checked(document: bytes) -> bytes:
    """Any text that ends with a brace, as a record with a good check."""
    return document[:-1] + b', "check": "%08x"}' % zlib.crc32(document)


def range_line(number: int, data: bytes) -> bytes:
    return of_words(b"%d" % number, b"%08x" % zlib.crc32(data))


def of_words(*words: bytes) -> bytes:
    """Any words, as a line with a good check."""
    line = b" ".join(words)
    return b"%s %08x\n" % (line, zlib.crc32(line))


def make_huge(journal: Path, lines: int) -> None:
    """So many lines are added; none make it a tebibyte, all of it a hole."""
    with journal.open("ab") as file:
        file.write(range_line(1, DATA[:PART]) * lines)
    if not lines:
        os.truncate(journal, 1 << 40)


def lines_of(journal: bytes) -> list[bytes]:
    return journal.splitlines(keepends=True)


DAMAGED: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "cut at every byte": lambda journal: (journal[:size] for size in range(len(journal))),
    "a bit flipped in every byte": with_a_bit_flipped,
    "doubled": lambda journal: [journal * 2, journal + b"\n" + journal, journal[:-1] + journal],
    "of other versions": lambda journal: [
        forged(lines_of(journal)[0], format=version) + journal[journal.find(b"}") + 1 :]
        for version in (0, 2, "1", None)
    ],
    "of another form": lambda journal: [b"{}\n" + journal, b"\n" + journal, b"[]\n", b"[]", b"{}"],
    "binary rubbish": lambda _: [bytes(1000), b"\xff" * 1000, *(random.Random(n).randbytes(500) for n in range(20))],
    "ten mebibytes of rubbish": lambda _: [random.Random(4).randbytes(10 << 20), b"[" * (10 << 20), bytes(10 << 20)],
}
NESTED = checked(b'{"format":' * 5000 + b"1" + b"}" * 5000)
BRACKETS = checked(b"[" * 50_000 + b"}")
WORDS: list[object] = [
    *("", "x" * 5000, "x" * 100_000, "a\nb", "a\r\nevil: 1", "caf\u00e9", "\ud800", "a\0", "\u2028"),
    *(1, None, True, [], {}),
]


# What is found where a file should be


def owned_by_another(path: Path, precious: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make another user's file")
    path.write_bytes(precious.read_bytes())
    os.chown(path, 1, 1)
    path.chmod(0o666)


STRANGE: dict[str, Callable[[Path, Path], object]] = {
    "a directory": lambda path, _: (path / "inside").mkdir(parents=True),
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a link to somebody's file": lambda path, precious: path.symlink_to(precious),
    "a link to a directory": lambda path, precious: path.symlink_to(precious.parent),
    "a link to nothing": lambda path, precious: path.symlink_to(precious.with_name("nothing")),
}
FOREIGN: dict[str, Callable[[Path, Path], object]] = {
    "a hard link": lambda path, precious: path.hardlink_to(precious),
    "another user's": owned_by_another,
}
