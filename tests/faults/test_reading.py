"""Bytes on their way down through the faults of the table: they arrive as they left, or an error says so."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from faulty_verbs import (
    DATA,
    DOWNLOAD,
    DOWNLOAD_FIRST,
    DOWNLOAD_SMALL,
    DOWNLOADS,
    GET,
    GET_RANGE,
    LIMITS,
    PART,
    RANGED,
    READ,
    READ_RANGE,
    READ_SMALL,
    READER,
    RIGHT,
    SMALL,
    VERBS,
    Case,
    Expected,
    Verb,
    run,
)
from servers.faulty import FaultyServer
from servers.rules import (
    Action,
    Asked,
    Cut,
    Extra,
    Flip,
    Lengthen,
    Meanwhile,
    Mishear,
    Raw,
    Rule,
    Say,
    Shorten,
    Then,
)

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Bucket, Content

ONCE, FOR_EVER = 1, None
COUNTS = {"once": 1, "twice": 2, "for-ever": None}


# F01, F02: what breaks off

POSITIONS: dict[str, int | None] = {"0": None, "1": 1, "hdr-1": -1, "hdr": 0, "1KiB": 1024, "part-1": PART - 1}
GETS_ON = 64 << 10
"""What brings so much before it breaks off is asked again, however often."""


def cut(position: str, then: Then, size: int) -> Action:
    if position == "1":
        return Raw(b"H", then)
    at = POSITIONS[position]
    return Cut(at if at is None else min(at, size - 1), then)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("fault", ["F01-reset", "F02-close"])
async def test_what_breaks_off_is_taken_up(faulty: FaultyServer, tmp_path: Path, fault: str, position: str) -> None:
    then: Then = "reset" if fault == "F01-reset" else "close"

    def cases(verb: Verb) -> list[Case]:
        gets_on = position == "part-1" and len(verb.content) > GETS_ON  # a small body comes whole, or not at all
        return [
            Case(
                f"{fault}-at-{position}-{count}",
                verb,
                [cut(position, then, len(verb.content))],
                RIGHT if times or gets_on else dream.DreamObjectsError,
                times,
            )
            for count, times in COUNTS.items()
        ]

    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, [case for verb in VERBS for case in cases(verb)])


# F03, F04: what is shorter or longer than it should be


def once_or_for_ever(
    name: str, verbs: Sequence[Verb], actions: Sequence[Action], then: Expected = dream.TransferError, **more: object
) -> list[Case]:
    """Right when it happens once; ``then`` is what comes of it when it goes on."""
    return [
        Case(f"{name}-{count}", verb, actions, RIGHT if times else then, times, **more)  # type: ignore[arg-type]  # each by its name
        for verb in verbs
        for count, times in (("once", ONCE), ("for-ever", FOR_EVER))
    ]


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("F03-short-by-1", Shorten(1)),
        ("F03-short-by-1000", Shorten(1000)),
        ("F04-long-by-1", Lengthen(b"x")),
        ("F04-long-by-1000", Lengthen(bytes(1000))),
    ],
    ids=["F03-short-by-1", "F03-short-by-1000", "F04-long-by-1", "F04-long-by-1000"],
)
async def test_a_body_of_another_length_is_never_taken_for_the_object(
    faulty: FaultyServer, tmp_path: Path, name: str, action: Action
) -> None:
    """Its own Content-Length agrees; its Content-Range, where there is one, tells how many bytes there should be.

    An opaque ETag is no help where all is asked for; where it is asked for in ranges, the total is known.
    """
    cases = [
        *once_or_for_ever(name, [READ, READ_SMALL, *RANGED, *DOWNLOADS], [action]),
        *once_or_for_ever(f"{name}-opaque", [*RANGED, *DOWNLOADS], [action], etag="opaque-1"),
        Case(f"{name}-handed-out", GET, [action], dream.TransferError),
    ]
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)


async def test_an_object_of_parts_is_never_shorter(faulty: FaultyServer, tmp_path: Path) -> None:
    cases = once_or_for_ever("F03-short-of-parts", [READ, READ_SMALL, *DOWNLOADS], [Shorten(1)])
    await put_in_parts(faulty, cases)
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)


async def put_in_parts(faulty: FaultyServer, cases: Sequence[Case]) -> None:
    """As this library does it: the ETag is that of the parts, and the metadata tells where they were cut."""
    for limits, content in ((LIMITS, DATA), (dream.Limits(part_size=8 << 10), SMALL)):
        async with faulty.session(limits=limits) as session:
            for case in cases:
                if case.verb.content is content:
                    info = await session.object(f"s3://bucket/{case.key}").put(content)
                    assert info.etag
                    assert info.etag.endswith("-3")
    faulty.log.clear()


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["F04-1-byte-behind", "F04-1-MiB-behind"])
async def test_what_is_behind_a_response_is_thrown_away_with_its_connection(
    faulty: FaultyServer, tmp_path: Path, size: int
) -> None:
    cases = [
        Case(f"F04-{count}", verb, [Extra(b"x" * size)], RIGHT, times)
        for verb in VERBS
        for count, times in (("once", ONCE), ("for-ever", FOR_EVER))
    ]
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)
    spoilt: set[int] = set()
    for asked in faulty.log:
        assert asked.connection not in spoilt
        if asked.actions:
            spoilt.add(asked.connection)


# F05, F06: another range than was asked for


def is_ranged(asked: Asked) -> bool:
    return asked.byte_range is not None


def is_resumed(asked: Asked) -> bool:
    return asked.byte_range is not None and asked.byte_range[0] % PART != 0


IGNORES_RANGES = Mishear({"range": None})


async def test_f05_a_range_that_is_ignored(faulty: FaultyServer, tmp_path: Path) -> None:
    downloads = (DOWNLOAD, DOWNLOAD_FIRST, replace(DOWNLOAD, name="download-any", covers=None), DOWNLOAD_SMALL)
    cases = [
        *once_or_for_ever("F05", RANGED, [IGNORES_RANGES]),
        *once_or_for_ever("F05", downloads, [IGNORES_RANGES], RIGHT),
        *once_or_for_ever("F05-resumed", [READ, GET, GET_RANGE], [IGNORES_RANGES], when=is_resumed),
        *once_or_for_ever("F05-resumed", [DOWNLOAD, DOWNLOAD_FIRST], [IGNORES_RANGES], RIGHT, when=is_resumed),
    ]
    for case in cases:
        if case.when is is_resumed:
            case.rules = [Rule("GetObject", Cut(GETS_ON, "close"), key=case.key, covers=case.verb.covers)]
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)


ANSWERS: dict[str, Action] = {
    "another": Mishear({"range": f"bytes={PART + 1}-{2 * PART}"}),
    "an-earlier": Mishear({"range": f"bytes=0-{PART - 1}"}),
    "a-shorter": Mishear({"range": f"bytes={PART}-{2 * PART - 2}"}),
    "said-to-be-another": Say(headers={"Content-Range": f"bytes 0-{PART - 1}/{len(DATA)}"}),
    "not-said": Say(headers={"Content-Range": None}),
}
TOTALS: dict[str, Action] = {
    total: Say(headers={"Content-Range": f"bytes {PART}-{2 * PART - 1}/{number}"})
    for total, number in {"more": len(DATA) + 1, "less": len(DATA) - 1, "unknown": "*"}.items()
}


async def test_f06_a_range_that_is_another(faulty: FaultyServer, tmp_path: Path) -> None:
    cases = []
    for name, action in ANSWERS.items():
        if name == "not-said":  # that is no answer at all
            verbs = [*RANGED, DOWNLOAD]
            cases += once_or_for_ever(f"F06-{name}", verbs, [action], dream.ServiceError, when=is_ranged)
            continue
        cases += once_or_for_ever(f"F06-{name}", RANGED, [action], when=is_ranged)
        cases += once_or_for_ever(f"F06-{name}", [DOWNLOAD], [action], RIGHT, when=is_ranged)  # in one stream
    for name, action in TOTALS.items():
        # Of one range alone, nobody else has told the total; and it may be unknown (RFC 9110 section 14.4).
        contradicts = dream.TransferError if name != "unknown" else RIGHT
        cases += once_or_for_ever(
            f"F06-total-{name}", [READ_RANGE, GET_RANGE, DOWNLOAD], [action], RIGHT, when=is_ranged
        )
        cases += once_or_for_ever(f"F06-total-{name}", [READER], [action], contradicts, when=is_ranged)
    first = Say(headers={"Content-Range": f"bytes 0-{PART - 1}/*"})
    cases += once_or_for_ever("F06-total-unknown", [DOWNLOAD_FIRST], [first], RIGHT, when=is_ranged)
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)


# F07: a flipped bit

FLIPS = {"first": 0, "middle": 10_000, "last": -1}
CHECKED = (READ, READ_SMALL, DOWNLOAD, DOWNLOAD_FIRST, DOWNLOAD_SMALL)


@pytest.mark.parametrize("at", FLIPS)
@pytest.mark.parametrize("kind", ["md5", "parts"])
async def test_f07_a_flipped_bit_is_noticed(faulty: FaultyServer, tmp_path: Path, kind: str, at: str) -> None:
    flip, wrong = [Flip(FLIPS[at])], dream.ChecksumMismatchError
    cases = [*once_or_for_ever("F07", CHECKED, flip, wrong), Case("F07-handed-out", GET, flip, wrong, requests=1)]
    if kind == "parts":
        await put_in_parts(faulty, cases)
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)


async def test_f07_what_nothing_tells_of_is_said_to_be_of_the_right_size(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.put("bucket", "a", DATA, etag="opaque-1")
    flipped = bytearray(DATA)
    flipped[2 * PART - 1] ^= 1
    async with faulty.session(limits=LIMITS) as session:
        obj = session.object("s3://bucket/a")
        faulty.will(Rule("GetObject", Flip(-1), covers=2 * PART - 1, when=is_ranged))
        assert (await obj.download(tmp_path / "a")).verified == "size"
        assert (tmp_path / "a").read_bytes() == flipped
        faulty.will(Rule("GetObject", Flip(2 * PART - 1)))
        async with obj.get() as body:
            assert await body.read() == flipped
        assert body.info.verified == "size"


# F09: another object meanwhile

NEW = {"same-size": Random(3).randbytes(len(DATA)), "longer": Random(4).randbytes(len(DATA) + PART)}
IGNORES_CONDITIONS = Mishear({"if-match": None})


def md5_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def replacing(key: str, content: bytes) -> Meanwhile:
    """Each time by another state of it."""
    numbers = itertools.count()

    def change(bucket: Bucket) -> None:
        number = next(numbers)
        changed = content[number:] + content[:number]
        bucket.add(key, Content(changed, md5_of(changed), {}))

    return Meanwhile(change)


def replaced(name: str, verb: Verb, new: str, nth: int, expected: Expected, times: int | None, pins: str) -> Case:
    case = Case(name, replace(verb, expected=NEW[new], covers=None), [], expected)
    case.rules = [Rule("GetObject", replacing(case.key, NEW[new]), key=case.key, nth=nth, times=times)]
    if pins == "ignored":
        case.rules = [*case.rules, Rule("GetObject", IGNORES_CONDITIONS, key=case.key, times=FOR_EVER)]
    return case


async def _download_or_raise(obj: dream.Object, path: Path) -> bytes:
    await obj.download(path, if_changed="raise")
    return path.read_bytes()


async def _download_or_restart(obj: dream.Object, path: Path) -> bytes:
    await obj.download(path, if_changed="restart")
    return path.read_bytes()


@pytest.mark.parametrize("pins", ["honoured", "ignored"], ids=lambda pins: f"F09-if-match-{pins}")
async def test_an_object_that_is_replaced_is_begun_again_or_given_up(
    faulty: FaultyServer, tmp_path: Path, pins: str
) -> None:
    changed = dream.ObjectChangedError
    or_raise = replace(DOWNLOAD, name="download-or-raise", run=_download_or_raise)
    or_restart = replace(DOWNLOAD, name="download-or-restart", run=_download_or_restart)
    cases = []
    for new, (after, nth) in itertools.product(NEW, {"first": 2, "last": 3}.items()):
        name = f"F09-{new}-after-{after}"
        cases += [
            replaced(name, DOWNLOAD, new, nth, RIGHT, ONCE, pins),
            replaced(name, or_restart, new, nth, RIGHT, ONCE, pins),
            replaced(name, or_raise, new, nth, changed, ONCE, pins),
            replaced(f"{name}-again-and-again", DOWNLOAD, new, nth, changed, FOR_EVER, pins),
            replaced(f"{name}-again-and-again", or_restart, new, nth, changed, FOR_EVER, pins),
        ]
    for new in NEW:
        broken = [
            replaced(
                f"F09-{new}-resumed", READ, new, 2, RIGHT, ONCE, pins
            ),  # from the beginning: nothing was handed out
            replaced(f"F09-{new}-resumed", GET, new, 2, changed, ONCE, pins),
        ]
        for case in broken:
            case.rules = [Rule("GetObject", Cut(GETS_ON, "close"), key=case.key), *case.rules]
        cases += [*broken, replaced(f"F09-{new}", READER, new, 2, changed, ONCE, pins)]
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)
