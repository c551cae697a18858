"""``python -m benchmarks``: small objects, this library beside others."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import results, run
from benchmarks.ceph_rgw import ceph_rgw
from benchmarks.clients import SMALL, Adapter, Job, Settings, sides_of
from benchmarks.machine import versions
from benchmarks.nginx_s3 import nginx_s3
from benchmarks.results import COLD, OURS, Column, Figure, Figures, Goal, Holds, Place, Results, Turn
from benchmarks.store import Server, ServerUnavailableError, fill
from benchmarks.turn import Done

SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {"nginx": nginx_s3, "rgw": ceph_rgw}
LIST_KEYS = {"nginx": (100_000, 10_000, 1_000), "rgw": (10_000, 1_000)}
QUICK_LIST_KEYS = {"nginx": (100_000, 10_000, 1_000), "rgw": (2_000, 1_000)}
VERBS = {
    "get": ("GET of 1 KiB", results.REQUESTS),
    "head": ("HEAD", results.REQUESTS),
    "put": ("PUT of 1 KiB", results.REQUESTS),
    "delete": ("DELETE", results.REQUESTS),
    "list": ("Listing", results.KEYS),
    "presign": ("Presigned GET URLs", results.URLS),
    COLD: ("A fresh process: import, open, one GET", results.STARTS),
}
ONE_AT_A_TIME = ("list", "presign", COLD)
WRITE = "write"
"""Put objects, and then delete them: ``put`` and ``delete`` in one turn."""
COLD_STARTS = 3
ON_UVLOOP_TOO = ("dream", "obstore", "bare", "bare-buffered")
SIDES = sides_of(SMALL)
USUAL = tuple(name for name, side in SIDES.items() if not side.uses_uvloop or side.client in ON_UVLOOP_TOO)
"""The sides of a run, unless others are asked for."""

AIOBOTO3, OBSTORE, BARE = "aioboto3", "obstore", "bare"
GOAL_IN_FLIGHT = 32
PUT_TO_GET = 1.4


@dataclass(frozen=True, slots=True)
class Plan:
    sides: tuple[str, ...]
    verbs: tuple[str, ...]
    in_flight: tuple[int, ...]
    rounds: int
    seconds: float
    servers: tuple[str, ...]
    is_quick: bool
    json: Path | None
    doc: Path | None

    def rounds_on(self, server: str) -> int:
        """The gateway gets half of the rounds: it is the limit itself."""
        return self.rounds if server == "nginx" else (self.rounds + 1) // 2

    def list_keys(self, server: str) -> tuple[int, ...]:
        return (QUICK_LIST_KEYS if self.is_quick else LIST_KEYS)[server]

    def places(self) -> list[Place]:
        """Return what is measured, in reading order."""
        return [
            place_of(server, verb, 0 if verb in ONE_AT_A_TIME else width)
            for server in self.servers
            for verb in VERBS
            if verb in self.verbs
            for width in (self.in_flight[:1] if verb in ONE_AT_A_TIME else self.in_flight)
        ]

    def cells(self, server: str) -> list[Place]:
        """Return what one turn does, in the order of turns: ``put`` and ``delete`` are one cell."""
        cells = []
        for place in self.places():
            is_written = place.verb in ("put", "delete")
            cells.append(replace(place, verb=WRITE, title=f"PUT and DELETE, on {server}") if is_written else place)
        return list(dict.fromkeys(cell for cell in cells if cell.server == server))


def place_of(server: str, verb: str, in_flight: int) -> Place:
    words, unit = VERBS[verb]
    return Place(f"{words}, on {server}", verb, unit, server, in_flight)


def parse(arguments: list[str]) -> Plan:
    parser = run.parser_of("benchmarks", __doc__, SIDES, "a few minutes: 1 round, 32 in flight")
    parser.add_argument("--verbs", help=f"of {', '.join(VERBS)}")
    parser.add_argument("--server", choices=[*SERVERS, "both"], default="both")
    parser.add_argument("--in-flight", metavar="NUMBERS", help="1,32,256")
    parser.add_argument("--seconds", type=float, help="for each turn: 0.4")
    told = parser.parse_args(arguments)
    try:
        words = run.chosen(told.only, SIDES, USUAL)
        return Plan(
            sides=words if told.only is None else tuple(dict.fromkeys(name for word in words for name in _loops(word))),
            verbs=run.chosen(told.verbs, VERBS, VERBS),
            in_flight=run.numbers(told.in_flight, (GOAL_IN_FLIGHT,) if told.quick else (1, GOAL_IN_FLIGHT, 256)),
            rounds=told.rounds or (1 if told.quick else 3),
            seconds=told.seconds or (0.25 if told.quick else 0.4),
            servers=tuple(SERVERS) if told.server == "both" else (told.server,),
            is_quick=told.quick,
            json=told.json,
            doc=told.doc,
        )
    except ValueError as error:
        parser.error(str(error))


def _loops(word: str) -> list[str]:
    return [name for name in USUAL if SIDES[name].client == word] or [word]


# Turns


class Bench:
    """The turns on one server."""

    def __init__(self, server: Server, plan: Plan, home: Path) -> None:
        self.server, self.plan, self.home, self.environment = server, plan, home, run.clean_environment(home)

    def turn(self, name: str, cell: Place, number: int) -> Iterator[Turn]:
        if cell.verb == COLD:
            yield from self._starts(name, cell, number)
            return
        if name == results.BARE_PYTHON:
            return
        verbs = ("put", "delete") if cell.verb == WRITE else (cell.verb,)
        done, failure = dict[str, Done](), self._why_not(SIDES[name].kind, cell, verbs[0])
        if not failure:
            done, _, failure = run.turn_of(
                SIDES[name], self._job(cell.verb, cell.in_flight or 1), self.home, self.environment
            )
        for verb in verbs:
            if verb in self.plan.verbs:
                found = done[verb].measured if verb in done else None
                place = place_of(self.server.name, verb, cell.in_flight)
                yield Turn(place, name, number, found, None if found else failure)

    def _why_not(self, kind: type[Adapter], cell: Place, verb: str) -> str | None:
        if kind.widest is not None and cell.in_flight > kind.widest:
            return f"{kind.widest} in flight at most"
        return kind.lacks.get(verb) or kind.lacks.get(self.server.name)

    def _job(self, verb: str, in_flight: int) -> Job:
        server = self.server
        keys, has_sizes = self.plan.list_keys(server.name), server.makes_up_listings
        return Job(
            verb, server.service, Settings(in_flight), seconds=self.plan.seconds, list_keys=keys, has_sizes=has_sizes
        )

    def _starts(self, name: str, cell: Place, number: int) -> Iterator[Turn]:
        """Measure whole processes that start, do one GET and end; of bare Python, processes that do nothing."""
        job = Job("start", self.server.service, Settings(1))
        words = (
            ["-c", "pass"] if name == results.BARE_PYTHON else ["-m", "benchmarks.turn", name, json.dumps(asdict(job))]
        )
        failure = None if name == results.BARE_PYTHON else self._why_not(SIDES[name].kind, cell, COLD)
        if failure:
            yield Turn(cell, name, number, failure=failure)
            return
        for start in range(COLD_STARTS + (number == 0)):
            found = run.measured([sys.executable, *words], self.home, self.environment)
            if start or number:  # the very first start compiles bytecode
                yield Turn(cell, name, number, *found)


def measure(plan: Plan) -> tuple[list[Turn], dict[str, str]]:
    """Return every turn, and each server's version, or why it was left out."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as home:
        turns = run.until_interrupted(
            turn for name in plan.servers for turn in _turns_on(name, plan, Path(home), found)
        )
    return turns, found


def _turns_on(name: str, plan: Plan, home: Path, found: dict[str, str]) -> Iterator[Turn]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(SERVERS[name]())
        except ServerUnavailableError as error:
            found[name] = f"left out: {error}"
            run.tell(f"{name} is left out: {error}")
            return
        found[name] = server.version
        run.tell(f"{name}: {server.version}, filling")
        fill(server, plan.list_keys(name))
        bench = Bench(server, plan, home)
        yield from run.take_turns(
            [*plan.sides, results.BARE_PYTHON], plan.cells(name), plan.rounds_on(name), bench.turn
        )


# Output


def goals(found: Results) -> str:
    """Make the table of goals, which are for the stand-in with 32 requests in flight."""
    wanted = [
        *(
            Goal("requests/s to aioboto3", side, "rate", AIOBOTO3, 25, _at(verb))
            for verb in ("get", "put", "head", "delete")
            for side in OURS
        ),
        *(
            Goal("requests/s to obstore", side, "rate", other, bound, _at(verb))
            for verb, bound in (("get", 2), ("put", 2.5))
            for side, other in zip(OURS, (OBSTORE, f"{OBSTORE}+uvloop"), strict=True)
        ),
        Goal(
            "CPU to the bare protocol's, with memory of its own", OURS[0], "cpu", f"{BARE}-buffered", 1.25, _at("get")
        ),
        Goal("keys/s to aioboto3", OURS[0], "rate", AIOBOTO3, 25, _at("list")),
        Goal("keys/s to obstore", OURS[0], "rate", OBSTORE, 1.5, _at("list")),
        Goal("URLs/s on one core", OURS[0], "rate", None, 100_000, _at("presign")),
        Goal("starts/s to aioboto3", OURS[0], "rate", AIOBOTO3, 2, _at(COLD)),
    ]
    return results.goals(found, wanted, _put_beside_get(found))


def _put_beside_get(found: Results) -> Iterator[list[str]]:
    """Compare two tables: a put costs no more than 1.4 of our own reads."""
    at = {verb: place for verb in ("get", "put") for place in found.places if _at(verb)(place)}
    for side in OURS if len(at) == 2 else ():
        get, put = (found.figures.get(place, {}).get(side) for place in at.values())
        if get and put:
            ratio = put.cpu / get.cpu
            words = [at["put"].heading(), side, "CPU to our own GET's", f"≤ {PUT_TO_GET:.2f} ×", f"{ratio:.2f} ×"]
            yield [*words, "yes" if ratio <= PUT_TO_GET else "no"]


def _at(verb: str) -> Holds:
    width = 0 if verb in ONE_AT_A_TIME else GOAL_IN_FLIGHT
    return lambda place: (place.server, place.verb, place.in_flight) == ("nginx", verb, width)


def columns(place: Place, figures: Figures) -> dict[str, Column]:
    is_signed_by_bare = place.verb not in ONE_AT_A_TIME
    told = results.columns(
        place, figures, (AIOBOTO3,) if place.verb == COLD else (AIOBOTO3, OBSTORE), (BARE,) * is_signed_by_bare
    )
    if place.verb != COLD:
        return told
    python = figures.get(results.BARE_PYTHON)
    del told[results.STARTS.rate]
    return {
        "ms": lambda _, figure: f"{_milliseconds(figure):.0f}",
        "ms over bare python": lambda _, figure: (
            f"{_milliseconds(figure) - _milliseconds(python):.0f}" if python else results.NONE
        ),
        **told,
    }


def _milliseconds(figure: Figure) -> float:
    return 1e3 / figure.rate


PAGE = run.Page(
    "benchmarks",
    SMALL,
    f"{results.LEGEND}† marks a page fault or more an operation: memory allocation is then a part of the CPU time. With a "
    "plain protocol on asyncio's own loop it is the read buffer. "
    f"‡ marks a side that used less than {results.WAITING:.0%} of one processor: it waited, and its rate is also the server's.",
    goals,
    columns,
)


def main() -> None:
    plan, facts = parse(sys.argv[1:]), run.Facts("benchmarks", sys.argv[1:])
    turns, servers = measure(plan)
    told = facts.told(**servers, versions=versions(plan.sides))
    run.write_json(plan.json, told, turns=turns)
    run.publish(PAGE, Results.of(turns, plan.places()), told, plan.sides, plan.doc)
