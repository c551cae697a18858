"""The verbs that bring bytes down, each on an object of its own: right bytes, an error of ours, or what was wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from servers.faulty import FaultyServer
from servers.rules import Action, Asked, Rule

import aiodreamobjects as dream

PART = 256 << 10
DATA = Random(1).randbytes(2 * PART + 100_000)
"""In three ranges."""
SMALL = Random(2).randbytes(20_000)
"""In one answer."""
RANGE = (PART, 2 * PART)
"""The second of the three."""
LIMITS = dream.Limits(part_size=PART)
OLD = b"what was there before"
PATIENCE_SECONDS = 60.0
RIGHT = "right bytes"
WRONG = "WRONG BYTES"


@dataclass(frozen=True, slots=True)
class Verb:
    name: str
    content: bytes = field(repr=False)
    expected: bytes = field(repr=False)
    run: Callable[[dream.Object, Path], Awaitable[bytes]] = field(repr=False)
    op: str = "GetObject"
    covers: int | None = None
    """A byte of the range that is meant, where there are several: the last one of it to arrive."""


async def _read(obj: dream.Object, _: Path) -> bytes:
    return await obj.read()


async def _read_range(obj: dream.Object, _: Path) -> bytes:
    return await obj.read(RANGE)


async def _get(obj: dream.Object, _: Path) -> bytes:
    async with obj.get() as body:
        return b"".join([chunk async for chunk in body])


async def _get_range(obj: dream.Object, _: Path) -> bytes:
    async with obj.get(range=RANGE) as body:
        return b"".join([chunk async for chunk in body])


async def _download(obj: dream.Object, path: Path) -> bytes:
    info = await obj.download(path)
    content = path.read_bytes()
    assert info.size == len(content)
    return content


async def _reader(obj: dream.Object, _: Path) -> bytes:
    async with obj.reader() as file:
        await file.seek(PART)
        return await file.read(PART)


async def _head(obj: dream.Object, _: Path) -> bytes:
    return b"%d" % ((await obj.head()).size or 0)


_LAST = 2 * PART - 1
_MIDDLE = DATA[PART : 2 * PART]
READ = Verb("read", DATA, DATA, _read, covers=_LAST)
READ_SMALL = Verb("read-small", SMALL, SMALL, _read)
READ_RANGE = Verb("read-range", DATA, _MIDDLE, _read_range, covers=_LAST)
GET = Verb("get", DATA, DATA, _get, covers=_LAST)
GET_RANGE = Verb("get-range", DATA, _MIDDLE, _get_range, covers=_LAST)
DOWNLOAD = Verb("download", DATA, DATA, _download, covers=_LAST)
DOWNLOAD_FIRST = Verb("download-first", DATA, DATA, _download, covers=PART - 1)
DOWNLOAD_LAST = Verb("download-last", DATA, DATA, _download, covers=len(DATA) - 1)
DOWNLOAD_SMALL = Verb("download-small", SMALL, SMALL, _download)
READER = Verb("reader", DATA, _MIDDLE, _reader, covers=_LAST)
HEAD = Verb("head", DATA, b"%d" % len(DATA), _head, "HeadObject")
VERBS = (READ, READ_SMALL, READ_RANGE, GET, GET_RANGE, DOWNLOAD, DOWNLOAD_SMALL, READER)
RANGED = (READ_RANGE, GET_RANGE, READER)
"""Each asks for that range, and for no more of it."""
DOWNLOADS = (DOWNLOAD, DOWNLOAD_FIRST, DOWNLOAD_LAST, DOWNLOAD_SMALL)

Expected = str | type[dream.DreamObjectsError]


@dataclass(slots=True)
class Case:
    """What goes wrong with one verb, and what is to come of it."""

    name: str
    verb: Verb
    actions: Sequence[Action]
    expected: Expected
    times: int | None = 1
    nth: int = 1
    when: Callable[[Asked], bool] | None = None
    etag: str | None = None
    rules: Sequence[Rule] = ()
    """Others, which come first."""
    requests: int | None = None
    """How many they are, where that is certain."""

    @property
    def key(self) -> str:
        return f"{self.name}-{self.verb.name}"

    def all_rules(self) -> list[Rule]:
        found = Rule(
            self.verb.op,
            *self.actions,
            key=self.key,
            covers=self.verb.covers,
            times=self.times,
            nth=self.nth,
            when=self.when,
        )
        return [*self.rules, found] if self.actions else [*self.rules]


async def run(faulty: FaultyServer, session: dream.Session, home: Path, cases: Iterable[Case]) -> None:
    """All of them side by side; AssertionError names those of which something else came than was to come."""
    cases = list(cases)
    for case in cases:
        if faulty.content("bucket", case.key) is None:
            faulty.put("bucket", case.key, case.verb.content, etag=case.etag)
    faulty.will(*(rule for case in cases for rule in case.all_rules()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        failures = await asyncio.gather(*(_failure(faulty, session, home, case) for case in cases))
    if told := [failure for failure in failures if failure]:
        raise AssertionError("\n".join(told))
    faulty.check()
    names = {path.name for path in home.iterdir()}
    assert names == {case.key for case in cases}, names


async def _failure(faulty: FaultyServer, session: dream.Session, home: Path, case: Case) -> str:
    path = home / case.key
    path.write_bytes(OLD)
    obj = session.object(f"s3://bucket/{case.key}")
    found: str | dream.DreamObjectsError
    try:
        found = RIGHT if await case.verb.run(obj, path) == case.verb.expected else WRONG
    except dream.DreamObjectsError as error:
        found = error
    if isinstance(found, dream.DreamObjectsError) and path.read_bytes() != OLD:
        return f"{case.key}: {found!r}, and the old file is gone"
    is_expected = found == case.expected if isinstance(case.expected, str) else isinstance(found, case.expected)
    if not is_expected:
        return f"{case.key}: {found!r}, not {case.expected}"
    count = sum(asked.key == case.key for asked in faulty.log)
    if case.requests not in (None, count):
        return f"{case.key}: {count} requests, not {case.requests}"
    return ""
