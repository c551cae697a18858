"""Every request under every fault: how often it is sent, what the verb raises, and what is then on the server."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from conformance import (
    ATTEMPTS,
    CONTENT,
    INSTRUCTIONS,
    OPERATIONS,
    PART,
    Instruction,
    Operation,
    Outcome,
    Place,
    outcome_of,
)
from servers.faulty import FaultyServer, check_uploads
from servers.rules import Refuse, Rule

import aiodreamobjects as dream

CASES = {
    operation: [instruction for instruction in INSTRUCTIONS if operation.reply in instruction.replies]
    for operation in OPERATIONS
}
NUMBERS = itertools.count(1)
QUICK = dream.Retry(attempts=ATTEMPTS, base=0.0005, cap=0.001)
LIMITS = dream.Limits(part_size=PART, parts_per_object=1)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


PATIENT, IMPATIENT = dream.Timeouts(), dream.Timeouts(read=0.4, write=0.4)


def open_session(
    server: FaultyServer, *, retry: dream.Retry = QUICK, timeouts: dream.Timeouts = PATIENT
) -> dream.Session:
    return server.session(limits=LIMITS, retry=retry, timeouts=timeouts)


@pytest_asyncio.fixture(scope="module")
async def session(server: FaultyServer) -> AsyncIterator[dream.Session]:
    async with open_session(server) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def impatient(server: FaultyServer) -> AsyncIterator[dream.Session]:
    async with open_session(server, timeouts=IMPATIENT) as opened:
        yield opened


async def make_place(session: dream.Session, server: FaultyServer, operation: Operation) -> Place:
    server.reset()
    place = Place(session, server, f"bucket-{next(NUMBERS)}")
    server.make_bucket("warm" + place.name)
    await session.bucket("warm" + place.name).object("a").exists()  # there is an idle connection
    if operation.needs != "nothing":
        server.make_bucket(place.name)
    if operation.needs in ("bucket", "upload"):
        server.put(place.name, "a", CONTENT)
    if operation.needs == "upload":
        server.begin_upload(place.name, "b")
    server.log.clear()
    return place


async def outcome(operation: Operation, instruction: Instruction, place: Place) -> Outcome:
    rule = Rule(operation.op, instruction.action, part=operation.part, times=instruction.times)
    place.server.will(rule)
    try:
        await operation.verb(place)
    except dream.BulkError as group:
        (error,) = group.exceptions
        assert isinstance(error, dream.ServiceError)
        return Outcome(rule.met, type(error), error.in_doubt)
    except dream.DreamObjectsError as error:
        return Outcome(rule.met, type(error), error.in_doubt)
    finally:
        place.server.will()
    assert operation.has_done(place)
    check_uploads(place.server.log)
    if operation.needs not in {"upload", "nothing"} and place.name in place.server.buckets():
        assert place.server.uploads(place.name) == []
    return Outcome(rule.met)


def test_there_are_more_than_400_cases() -> None:
    assert sum(map(len, CASES.values())) > 400


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
async def test_conformance(
    session: dream.Session, impatient: dream.Session, server: FaultyServer, operation: Operation
) -> None:
    found: dict[str, Outcome] = {}
    for instruction in CASES[operation]:
        place = await make_place(impatient if instruction.is_silence else session, server, operation)
        try:
            found[instruction.name] = await outcome(operation, instruction, place)
        except BaseException as error:
            error.add_note(f"under {instruction.name}")
            raise
    assert found == {instruction.name: outcome_of(operation, instruction) for instruction in CASES[operation]}


DELAYS = dream.Retry(attempts=ATTEMPTS, base=0.02, cap=0.05)


@pytest.mark.parametrize("seed", range(3))
async def test_the_delays_are_full_jitter_up_to_the_cap(server: FaultyServer, seed: int) -> None:
    async with open_session(server, retry=DELAYS) as session:
        place = await make_place(session, server, OPERATIONS[0])
        server.will(Rule("GetObject", Refuse(500, "InternalError"), times=None))
        random.seed(seed)
        with pytest.raises(dream.ServiceBusyError):
            await place.a.read()
    random.seed(seed)
    delays = [random.uniform(0, ceiling) for ceiling in (0.02, 0.04, 0.05)]
    times = [asked.at for asked in server.asked("GetObject")]
    assert all(later - earlier >= delay for earlier, later, delay in zip(times, times[1:], delays, strict=False))
    assert len(times) == ATTEMPTS


@pytest.mark.parametrize(("told", "least"), [("1", 0.05), ("3600", 0.05), ("0", 0.0), ("soon", 0.0)])
async def test_retry_after_is_the_least_delay_up_to_the_cap(server: FaultyServer, told: str, least: float) -> None:
    async with open_session(server, retry=DELAYS) as session:
        place = await make_place(session, server, OPERATIONS[0])
        server.will(Rule("GetObject", Refuse(503, "SlowDown", {"Retry-After": told}), times=2))
        assert await place.a.read() == CONTENT
    times = [asked.at for asked in server.asked("GetObject")]
    assert all(later - earlier >= least for earlier, later in itertools.pairwise(times))
    assert len(times) == 3
