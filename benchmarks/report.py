"""What a run found: medians, ratios, tables, and how they stand to the goals."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.clients import SIDES
from benchmarks.rounds import ALL_VERBS, BARE_PYTHON, COLD, ONE_AT_A_TIME, Turn

AIOBOTO3, OBSTORE, BARE = "aioboto3", "obstore", "bare"
ALLOCATOR_FAULTS = 1.0
"""Page faults an operation, from which on the allocator is a part of what is measured."""
WAITING = 0.85
"""With less than this part of a processor used, the client waited: its rate is not all that it can."""
BUSY_PREEMPTIONS = 500
"""Preemptions a second, from which on others had the processor for a part of the time."""
NONE = "-"

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

TITLES = {
    "get": "GET of 1 KiB",
    "head": "HEAD",
    "put": "PUT of 1 KiB",
    "delete": "DELETE",
    "list": "Listing",
    "presign": "Presigned GET URLs",
    COLD: "A fresh process: import, open, one GET",
}
UNITS = {"list": "keys/s", "presign": "URLs/s"}


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of a side's turns in one cell; CPU in microseconds an operation."""

    rate: float
    spread: float | None
    """Half of the range, to the rate; None of a single turn."""
    cpu: float
    mebibytes: float
    faults: float
    preemptions: float
    listed: int
    """Keys in the smallest bucket that was listed."""


Place = tuple[str, str, int]
"""Server, verb, in flight."""
Column = Callable[[str, Figure], str]
"""What a column says of a side."""


@dataclass
class Results:
    figures: dict[Place, dict[str, Figure]] = field(default_factory=dict)
    failures: dict[Place, dict[str, list[str]]] = field(default_factory=dict)
    """A reason for each turn that failed."""

    @classmethod
    def of(cls, turns: Iterable[Turn]) -> Results:
        """A side that failed once in a cell has no figure there; of its starts, those that failed are left out."""
        results, grouped = cls(), defaultdict(list)
        for turn in turns:
            place = turn.server, turn.verb, turn.in_flight
            if turn.measured:
                grouped[place, turn.side].append(turn.measured)
            else:
                results.failures.setdefault(place, {}).setdefault(turn.side, []).append(
                    turn.failure or "nothing measured"
                )
        for (place, side), measured in grouped.items():
            if place[1] != COLD and side in results.failures.get(place, {}):
                continue
            rates = [one.operations / one.wall_seconds for one in measured]
            rate = statistics.median(rates)
            results.figures.setdefault(place, {})[side] = Figure(
                rate=rate,
                spread=(max(rates) - min(rates)) / 2 / rate if len(rates) > 1 else None,
                cpu=statistics.median(one.cpu_seconds / one.operations * 1e6 for one in measured),
                mebibytes=statistics.median(one.peak_bytes for one in measured) / (1 << 20),
                faults=statistics.median(one.page_faults / one.operations for one in measured),
                preemptions=statistics.median(one.preemptions / one.wall_seconds for one in measured),
                listed=min(one.largest_listing for one in measured),
            )
        return results

    def places(self) -> list[Place]:
        """Everywhere that anything was asked for, in reading order."""
        known = {*self.figures, *self.failures}
        servers = list(dict.fromkeys(place[0] for place in (*self.figures, *self.failures)))
        return sorted(known, key=lambda place: (servers.index(place[0]), ALL_VERBS.index(place[1]), place[2]))

    def is_busy(self, place: Place) -> bool:
        """Whether others took the processor from half of the sides here. The stand-in leaves each of them a core; a
        gateway of many processes does not, and is not judged.
        """
        server, verb, _ = place
        figures = self.figures.get(place, {}).values()
        if server != "nginx" or verb == COLD or not figures:
            return False
        return statistics.median(figure.preemptions for figure in figures) > BUSY_PREEMPTIONS

    def busy_places(self) -> list[Place]:
        return [place for place in self.places() if self.is_busy(place)]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a side's rate or CPU: on the number itself, or on its ratio to another side's."""

    text: str
    verb: str
    side: str
    against: str | None
    quantity: str
    bound: float

    def place(self) -> Place:
        return "nginx", self.verb, 1 if self.verb in ONE_AT_A_TIME else GOAL_IN_FLIGHT

    def measured(self, results: Results) -> float | None:
        figures = results.figures.get(self.place(), {})
        ours, theirs = figures.get(self.side), figures.get(self.against or self.side)
        if not ours or not theirs:
            return None
        number: float = getattr(ours, self.quantity)
        return number / getattr(theirs, self.quantity) if self.against else number

    def is_met(self, number: float) -> bool:
        return number >= self.bound if self.quantity == "rate" else number <= self.bound


DREAM, DREAM_UVLOOP = "dream", "dream+uvloop"
GOAL_IN_FLIGHT = 32
GOALS = [
    Goal("GET, requests/s to aioboto3", "get", DREAM, AIOBOTO3, "rate", 12),
    Goal("GET, requests/s to obstore", "get", DREAM, OBSTORE, "rate", 2),
    Goal("GET, CPU to the bare protocol", "get", DREAM, BARE, "cpu", 1.6),
    Goal("GET with uvloop, requests/s to aioboto3", "get", DREAM_UVLOOP, AIOBOTO3, "rate", 25),
    Goal("GET with uvloop, requests/s to obstore", "get", DREAM_UVLOOP, f"{OBSTORE}+uvloop", "rate", 2),
    *(
        goal
        for verb in ("put", "head", "delete")
        for goal in (
            Goal(f"{verb.upper()}, requests/s to aioboto3", verb, DREAM, AIOBOTO3, "rate", 12),
            Goal(f"{verb.upper()} with uvloop, requests/s to aioboto3", verb, DREAM_UVLOOP, AIOBOTO3, "rate", 25),
        )
    ),
    Goal("Listing, keys/s to aioboto3", "list", DREAM, AIOBOTO3, "rate", 20),
    Goal("Listing, keys/s to obstore", "list", DREAM, OBSTORE, "rate", 1),
    Goal("Presigned URLs/s on one core", "presign", DREAM, None, "rate", 100_000),
    Goal("A fresh process, starts/s to aioboto3", COLD, DREAM, AIOBOTO3, "rate", 2),
]


def tables(results: Results, level: int = 3) -> str:
    """Markdown: a heading for each server and verb, a table for each number in flight, and why what is missing is."""
    parts: list[str] = []
    server = verb = ""
    for place in results.places():
        if place[0] != server:
            server, verb = place[0], ""
            parts.append(f"{'#' * level} On {server}")
        if place[1] != verb:
            verb = place[1]
            parts.append(f"{'#' * (level + 1)} {TITLES[verb]}, on {server}")
        if verb not in ONE_AT_A_TIME:
            parts.append(f"{place[2]} in flight:")
        if results.is_busy(place):
            parts.append("**Others had the processor for a part of these turns: the rates say little.**")
        parts.append(_table(results, place))
    return "\n\n".join([*parts, *_missing(results)])


def goals(results: Results) -> str:
    """Markdown: each goal, and what was measured on the stand-in with 32 in flight."""
    rows = [["goal", "wanted", "measured", "met"]]
    for goal in GOALS:
        sign = "≥" if goal.quantity == "rate" else "≤"
        unit = " ×" if goal.against else ""
        number = goal.measured(results)
        told = NONE if number is None else f"{format_number(number)}{unit}"
        met = NONE if number is None else "yes" if goal.is_met(number) else "no"
        if number is not None and results.is_busy(goal.place()):
            met += ", on a busy machine"
        rows.append([goal.text, f"{sign} {format_number(goal.bound)}{unit}", told, met])
    return markdown(rows)


def sides(names: Sequence[str]) -> str:
    """Markdown: what each client is made to do, and leaves out."""
    clients = dict.fromkeys(SIDES[name].client for name in names)
    rows = [["client", "how it is used, and what it leaves out"]]
    rows += [[client, SIDES[client].kind.note] for client in clients]
    return markdown(rows)


def put_into(document: Path, section: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the document's two markers. ValueError if they are not there."""
    text = document.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        msg = f"{document} has no lines {begin} and {end}"
        raise ValueError(msg)
    document.write_text(pattern.sub(lambda _: f"{begin}\n\n{section}\n\n{end}", text))


def _table(results: Results, place: Place) -> str:
    figures, failures = results.figures.get(place, {}), results.failures.get(place, {})
    columns = _columns(place, figures)
    rows = [["client", *columns]]
    for name in _in_order({*figures, *failures}):
        figure = figures.get(name)
        rows.append([name, *(column(name, figure) if figure else NONE for column in columns.values())])
    return markdown(rows)


def _columns(place: Place, figures: dict[str, Figure]) -> dict[str, Column]:
    _, verb, in_flight = place
    may_wait = in_flight > 1 or verb in ONE_AT_A_TIME  # with one request in flight, everybody does

    def to(other: str, quantity: str) -> Column:
        """The ratio to another client on the same loop."""
        return lambda name, figure: _ratio(figure, figures.get(other + _loop(name)), quantity)

    spread: dict[str, Column] = {"± %": lambda _, figure: _percent(figure.spread)}
    to_aioboto3: dict[str, Column] = {"× aioboto3": lambda _, figure: _ratio(figure, figures.get(AIOBOTO3), "rate")}
    memory: dict[str, Column] = {"MiB": lambda _, figure: f"{figure.mebibytes:.0f}" if figure.mebibytes else NONE}
    if verb == COLD:
        python = figures.get(BARE_PYTHON)
        return {
            "ms": lambda _, figure: f"{_milliseconds(figure):.0f}",
            "ms over bare python": lambda _, figure: (
                f"{_milliseconds(figure) - _milliseconds(python):.0f}" if python else NONE
            ),
            **spread,
            **to_aioboto3,
            "CPU ms": lambda _, figure: f"{figure.cpu / 1e3:.0f}",
            **memory,
        }
    special: dict[str, Column] = {}
    if verb == "list":
        special = {"keys listed": lambda _, figure: f"{figure.listed:,}"}
    elif verb != "presign":
        special = {"CPU × bare": to(BARE, "cpu")}
    return {
        UNITS.get(verb, "requests/s"): lambda _, figure: (
            format_number(figure.rate) + ("‡" if may_wait and figure.rate * figure.cpu / 1e6 < WAITING else "")
        ),
        **spread,
        **to_aioboto3,
        "× obstore": to(OBSTORE, "rate"),
        "CPU ms per 1,000 keys" if verb == "list" else "CPU µs each": lambda _, figure: (
            format_number(figure.cpu) + ("†" if figure.faults >= ALLOCATOR_FAULTS else "")
        ),
        **special,
        **memory,
    }


def _loop(name: str) -> str:
    return "+uvloop" if name.endswith("+uvloop") else ""


def _milliseconds(figure: Figure) -> float:
    return 1e3 / figure.rate


def _percent(part: float | None) -> str:
    return NONE if part is None else f"{100 * part:.0f}"


def _ratio(figure: Figure, other: Figure | None, quantity: str) -> str:
    if other is None:
        return NONE
    ratio = getattr(figure, quantity) / getattr(other, quantity)
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _missing(results: Results) -> Iterator[str]:
    """Each reason once, with where it holds."""
    missing: dict[tuple[str, str], list[Place]] = defaultdict(list)
    lines: list[str] = []
    for place in results.places():
        for side, reasons in results.failures.get(place, {}).items():
            if side in results.figures.get(place, {}):
                times = f"{len(reasons)} of its processes left out"
                lines.append(f"- {side}: {reasons[0]} ({_where([place])}; {times}, the figure is that of the others)")
            else:
                missing[side, reasons[0]].append(place)
    if missing or lines:
        yield "Why there is a dash, and what else went wrong:"
        yield "\n".join(
            [*(f"- {side}: {reason} ({_where(places)})" for (side, reason), places in missing.items()), *lines]
        )


def _where(places: Sequence[Place]) -> str:
    verbs = ", ".join(dict.fromkeys(place[1] for place in places))
    return f"{verbs} on {' and '.join(dict.fromkeys(place[0] for place in places))}"


def _in_order(names: Iterable[str]) -> list[str]:
    order = [*SIDES, BARE_PYTHON]
    return sorted(names, key=order.index)


def format_number(number: float) -> str:
    """Three figures that count, at least."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(rows[0]), rule, *(line(row) for row in rows[1:])])
