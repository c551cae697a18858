"""What turns found: medians, ratios, tables, and how the goals stand."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.clients import CLIENTS, UVLOOP, Side
from benchmarks.meter import Measured

ALLOCATOR_FAULTS = 1.0
"""Page faults an operation, from which on the allocator is a part of what is measured."""
WAITING = 0.85
"""With less than this part of a processor used, the client waited: its rate is not all that it can."""
BUSY_PREEMPTIONS = 500
"""Preemptions a second, from which on others had the processor for a part of the time."""
NONE = "-"
OURS = ("dream", "dream+uvloop")
MIB = 1 << 20
COLD, BARE_PYTHON = "cold", "python -c pass"

LEGEND = (
    "Medians of the rounds; ± is half of their range, and nothing of a single round. CPU is user and system time of the "
    "process with all its threads. "
)
SERVER_LEGEND = (
    "The server has one thread: where it used nearly 100 % of a processor, it was the limit, and the client may be faster "
    "than that."
)


@dataclass(frozen=True, slots=True)
class Unit:
    """How a rate and the CPU time of it are told."""

    rate: str
    cpu: str
    cpu_factor: float
    """From seconds an operation."""


REQUESTS = Unit("requests/s", "CPU µs each", 1e6)
URLS = Unit("URLs/s", "CPU µs each", 1e6)
KEYS = Unit("keys/s", "CPU ms per 1,000 keys", 1e6)
STARTS = Unit("starts/s", "CPU ms", 1e3)
FILES = Unit("files/s", "CPU ms a file", 1e3)
MEBIBYTES = Unit("MiB/s", "CPU s a GiB", 1024)


@dataclass(frozen=True, slots=True)
class Place:
    """What all sides are asked for, and how."""

    title: str
    verb: str
    unit: Unit
    server: str = ""
    """Where a work has more than one."""
    in_flight: int = 0
    """Requests, where that is not the client's choice."""
    operations: int = 0
    """What a turn does, in the unit, where it is always as much."""
    tree: str = ""
    """The name of a tree of files, or of a bucket that is listed."""
    count: int = 0
    """Files, objects or keys."""
    link: str = ""
    """``https``, ``delayed``, or as usual."""
    is_ours: bool = False
    """Whether only this library is asked."""

    def heading(self) -> str:
        return f"{self.title}, {self.in_flight} in flight" if self.in_flight else self.title


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's turn at one place, and what it took, or why there is nothing."""

    place: Place
    side: str
    round: int
    measured: Measured | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of a side's turns at one place."""

    wall: float
    rate: float
    spread: float | None
    """Half of the range, to the rate; None of a single turn."""
    cpu: float
    """An operation, in the unit of the place."""
    used: float
    """The part of a processor."""
    peak: float
    """MiB."""
    process: float | None
    over_idle: float | None
    """MiB."""
    server: float | None
    """The part of a processor that the server used meanwhile."""
    faults: float
    preemptions: float
    listed: int
    """Keys in the smallest bucket that was listed."""

    @classmethod
    def of(cls, unit: Unit, turns: Sequence[Measured]) -> Figure:
        rates = [one.operations / one.wall_seconds for one in turns]
        rate = statistics.median(rates)
        idle = _median(None if one.idle_bytes is None else (one.peak_bytes - one.idle_bytes) / MIB for one in turns)
        busy = [(one.server_cpu_seconds, one.process_seconds or one.wall_seconds) for one in turns]
        return cls(
            wall=statistics.median(one.wall_seconds for one in turns),
            rate=rate,
            spread=(max(rates) - min(rates)) / 2 / rate if len(rates) > 1 else None,
            cpu=unit.cpu_factor * statistics.median(one.cpu_seconds / one.operations for one in turns),
            used=statistics.median(one.cpu_seconds / one.wall_seconds for one in turns),
            peak=statistics.median(one.peak_bytes for one in turns) / MIB,
            process=_median(one.process_seconds for one in turns),
            over_idle=None if idle is None else max(idle, 0),
            server=_median(None if used is None else used / seconds for used, seconds in busy),
            faults=statistics.median(one.page_faults / one.operations for one in turns),
            preemptions=statistics.median(one.preemptions / one.wall_seconds for one in turns),
            listed=min(one.largest_listing for one in turns),
        )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


Figures = dict[str, Figure]
"""Of each side that has one."""
Column = Callable[[str, Figure], str]
"""What a column says of a side."""


@dataclass
class Results:
    figures: dict[Place, Figures] = field(default_factory=dict)
    failures: dict[Place, dict[str, list[str]]] = field(default_factory=dict)
    """A reason for each turn that failed."""
    places: list[Place] = field(default_factory=list)
    """Everywhere that anything was asked for, in reading order."""

    @classmethod
    def of(cls, turns: Iterable[Turn], places: Sequence[Place]) -> Results:
        """A side that failed once at a place has no figure there; of its starts, those that failed are left out."""
        results, grouped = cls(), defaultdict(list)
        for turn in turns:
            if turn.measured:
                grouped[turn.place, turn.side].append(turn.measured)
            else:
                reasons = results.failures.setdefault(turn.place, {}).setdefault(turn.side, [])
                reasons.append(turn.failure or "nothing measured")
        for (place, side), measured in grouped.items():
            if place.verb == COLD or side not in results.failures.get(place, {}):
                results.figures.setdefault(place, {})[side] = Figure.of(place.unit, measured)
        results.places = [place for place in places if place in results.figures or place in results.failures]
        return results

    def sides(self, place: Place) -> list[str]:
        """Those that were asked at a place, in the order of the clients."""
        order = [*CLIENTS, BARE_PYTHON]
        asked = {*self.figures.get(place, {}), *self.failures.get(place, {})}
        return sorted(asked, key=lambda name: (order.index(Side(name).client), name))

    def is_busy(self, place: Place) -> bool:
        """Whether others took the processor from half of the sides here. The stand-in leaves each of them a core; a
        gateway of many processes does not, and is not judged.
        """
        figures = self.figures.get(place, {}).values()
        if place.server != "nginx" or place.verb == COLD or not figures:
            return False
        return statistics.median(figure.preemptions for figure in figures) > BUSY_PREEMPTIONS


Holds = Callable[[Place], bool]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a side's rate, which is to be at least that, or on its CPU or memory, at most.

    It is on the number itself, or on its ratio to another side's.
    """

    text: str
    side: str
    quantity: str
    against: str | None
    bound: float
    holds: Holds
    """Where it is a goal."""

    def measured(self, figures: Figures) -> float | None:
        ours, theirs = figures.get(self.side), figures.get(self.against or self.side)
        if not ours or not theirs:
            return None
        number: float | None = getattr(ours, self.quantity)
        return number / getattr(theirs, self.quantity) if number is not None and self.against else number

    def row(self, place: Place, figures: Figures, *, is_busy: bool) -> list[str]:
        number, is_least = self.measured(figures), self.quantity == "rate"
        unit = " ×" if self.against else " MiB" if self.quantity == "over_idle" else ""
        wanted = f"{'≥' if is_least else '≤'} {format_number(self.bound)}{unit}"
        if number is None:
            return [place.heading(), self.side, self.text, wanted, NONE, NONE]
        is_met = number >= self.bound if is_least else number <= self.bound
        met = ("yes" if is_met else "no") + (", on a busy machine" if is_busy else "")
        return [place.heading(), self.side, self.text, wanted, f"{format_number(number)}{unit}", met]


def goals(results: Results, all_goals: Iterable[Goal], more: Iterable[Sequence[str]] = ()) -> str:
    """A table of the goals at every place where they hold, and of further rows."""
    wanted = list(all_goals)
    held = [(goal, place) for place in results.places for goal in wanted if goal.holds(place)]
    rows = [goal.row(place, results.figures.get(place, {}), is_busy=results.is_busy(place)) for goal, place in held]
    return markdown([["where", "side", "goal", "wanted", "measured", "met"], *rows, *more])


def notes(sides: Iterable[str], work: str) -> str:
    """What each client is made to do, and leaves out."""
    kinds = {Side(name).client: Side(name).kind for name in sides}
    rows = [["client", "how it is used, and what it leaves out"]]
    return markdown([*rows, *([client, kind.notes[work]] for client, kind in kinds.items())])


def tables(results: Results, columns: Callable[[Place, Figures], Mapping[str, Column]]) -> Iterator[str]:
    """A heading for each title, a table for each place, and why what is missing is."""
    title = ""
    for place in results.places:
        if place.title != title:
            title = place.title
            yield f"### {title[0].upper()}{title[1:]}"
        if place.in_flight:
            yield f"{place.in_flight} in flight:"
        if results.is_busy(place):
            yield "**Others had the processor for a part of these turns: the rates say little.**"
        figures = results.figures.get(place, {})
        found = columns(place, figures)
        rows = [["side", *found]]
        for name in results.sides(place):
            figure = figures.get(name)
            rows.append([name, *(column(name, figure) if figure else NONE for column in found.values())])
        yield markdown(rows)
    yield from _missing(results)


def columns(place: Place, figures: Figures, rates_to: Iterable[str], cpu_to: Iterable[str]) -> dict[str, Column]:
    """What is told of each side; ratios are to sides of ``rates_to`` and ``cpu_to``."""
    unit, found = place.unit, list(figures.values())

    def to(other: str, quantity: str) -> Column:
        return lambda name, figure: _ratio(figure, figures.get(_on_the_same_loop(other, name, figures)), quantity)

    def optional(name: str, quantity: str, tell: Callable[[float], str]) -> dict[str, Column]:
        """A column, if it has anything."""
        if all(getattr(figure, quantity) in (None, 0) for figure in found):
            return {}
        return {name: lambda _, figure: NONE if (told := getattr(figure, quantity)) is None else tell(told)}

    return {
        **(optional("wall s", "wall", format_number) if place.operations else {}),
        unit.rate: lambda _, figure: format_number(figure.rate) + ("‡" if _waited(place, figure) else ""),
        "± %": lambda _, figure: NONE if figure.spread is None else _percent(figure.spread),
        **{f"× {other}": to(other, "rate") for other in rates_to},
        unit.cpu: lambda _, figure: format_number(figure.cpu) + ("†" if _allocates(place, figure) else ""),
        **{f"CPU × {other}": to(other, "cpu") for other in cpu_to},
        **optional("keys listed", "listed", lambda keys: f"{keys:,}"),
        **optional("process s", "process", format_number),
        "peak MiB": lambda _, figure: f"{figure.peak:.0f}",
        **optional("over idle MiB", "over_idle", lambda mebibytes: f"{mebibytes:.1f}"),
        **optional("server %", "server", _percent),
    }


def _allocates(place: Place, figure: Figure) -> bool:
    return not place.operations and figure.faults >= ALLOCATOR_FAULTS


def _waited(place: Place, figure: Figure) -> bool:
    """With one request in flight everybody waits, and a process that starts; of fixed work the server's share is told."""
    return place.in_flight != 1 and not place.operations and place.verb != COLD and figure.used < WAITING


def _on_the_same_loop(other: str, name: str, figures: Figures) -> str:
    """A side is compared with another client on its own loop, if that was measured; this library is named with its loop."""
    same = other + UVLOOP
    return same if name.endswith(UVLOOP) and same in figures and other not in OURS else other


def _ratio(figure: Figure, other: Figure | None, quantity: str) -> str:
    if other is None:
        return NONE
    ratio = getattr(figure, quantity) / getattr(other, quantity)
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f}"


def _missing(results: Results) -> Iterator[str]:
    """Each reason once, with where it holds."""
    missing: dict[str, list[Place]] = defaultdict(list)
    for place in results.places:
        for side, reasons in results.failures.get(place, {}).items():
            others = f"; {len(reasons)} of its processes left out" if side in results.figures.get(place, {}) else ""
            missing[f"{side}: {reasons[0]}{others}"].append(place)
    if missing:
        yield "Why there is a dash, and what else went wrong:"
        yield "\n".join(f"- {reason} ({_where(places)})" for reason, places in missing.items())


def _where(places: Sequence[Place]) -> str:
    titles = list(dict.fromkeys(place.title for place in places))
    return titles[0] if len(titles) == 1 else f"{titles[0]}, and {len(titles) - 1} more"


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
