"""The figures of a run: medians, ratios, tables and goals."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.clients import CLIENTS, UVLOOP, Side
from benchmarks.meter import Measured

ALLOCATOR_FAULTS = 1.0
"""From so many page faults an operation, memory allocation is a part of what is measured."""
WAITING = 0.85
"""A client that used less than this part of a processor waited: it could be faster."""
BUSY_PREEMPTIONS = 500
"""From so many preemptions a second, other processes used the processor."""
NONE = "-"
OURS = ("dream", "dream+uvloop")
MIB = 1 << 20
COLD, BARE_PYTHON = "cold", "python -c pass"

LEGEND = (
    "Medians of the rounds; ± is half of their range, or a dash after one round. CPU is user and system time of the "
    "process with all its threads. "
)
SERVER_LEGEND = (
    "The server has one thread: where it used nearly 100 % of a processor, it was the limit, and the client may be faster "
    "than that."
)


@dataclass(frozen=True, slots=True)
class Unit:
    """How a rate and its CPU time are written."""

    rate: str
    cpu: str
    cpu_factor: float
    """Times seconds of CPU for each operation."""


REQUESTS = Unit("requests/s", "CPU µs each", 1e6)
URLS = Unit("URLs/s", "CPU µs each", 1e6)
KEYS = Unit("keys/s", "CPU ms per 1,000 keys", 1e6)
STARTS = Unit("starts/s", "CPU ms", 1e3)
FILES = Unit("files/s", "CPU ms a file", 1e3)
MEBIBYTES = Unit("MiB/s", "CPU s a GiB", 1024)


@dataclass(frozen=True, slots=True)
class Place:
    """What all sides do in one table."""

    title: str
    verb: str
    unit: Unit
    server: str = ""
    """Empty for works with one server."""
    in_flight: int = 0
    """Requests at once; 0 if the client decides."""
    operations: int = 0
    """What one turn does, in the unit; 0 if a turn does as much as it can."""
    tree: str = ""
    """The name of a tree of files, or of a bucket that is listed."""
    count: int = 0
    """Files, objects or keys."""
    link: str = ""
    """``https``, ``delayed``, or empty."""
    is_ours: bool = False
    """Whether only this library takes part. Then trees are measured from the open client on."""
    only: tuple[str, ...] = ()
    """The sides that take part; empty for all."""

    def heading(self) -> str:
        return f"{self.title}, {self.in_flight} in flight" if self.in_flight else self.title


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's turn at one place: what it took, or why it failed."""

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
    """Half of the range, divided by the rate; None for a single turn."""
    cpu: float
    """For each operation, in the unit of the place."""
    used: float
    """The part of a processor that the client used."""
    peak: float
    """MiB."""
    process: float | None
    over_idle: float | None
    """MiB."""
    server: float | None
    """The part of a processor that the server used."""
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
"""By side."""
Column = Callable[[str, Figure], str]
"""Writes a side's cell."""


@dataclass
class Results:
    figures: dict[Place, Figures] = field(default_factory=dict)
    failures: dict[Place, dict[str, list[str]]] = field(default_factory=dict)
    """A reason for each turn that failed."""
    places: list[Place] = field(default_factory=list)
    """Every place with a turn, in reading order."""

    @classmethod
    def of(cls, turns: Iterable[Turn], places: Sequence[Place]) -> Results:
        """Group the turns. A side that failed at a place has no figure there; of starts, only the failed ones are left out."""
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
        """Return the sides with a turn at a place, in the order of the clients."""
        order = [*CLIENTS, BARE_PYTHON]
        asked = {*self.figures.get(place, {}), *self.failures.get(place, {})}
        return sorted(asked, key=lambda name: (order.index(Side(name).client), name))

    def is_busy(self, place: Place) -> bool:
        """Return whether other processes took the processor from half of the sides here. On the gateway, its own
        processes do, so it is not asked.
        """
        figures = self.figures.get(place, {}).values()
        if place.server != "nginx" or place.verb == COLD or not figures:
            return False
        return statistics.median(figure.preemptions for figure in figures) > BUSY_PREEMPTIONS


Holds = Callable[[Place], bool]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound: the least rate of a side, or the most CPU time or memory.

    It holds for the number itself, or for its ratio to another side's.
    """

    text: str
    side: str
    quantity: str
    against: str | None
    bound: float
    holds: Holds
    """At which places it is a goal."""

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
    """Make a table of the goals at every place where they hold, with ``more`` rows."""
    wanted = list(all_goals)
    held = [(goal, place) for place in results.places for goal in wanted if goal.holds(place)]
    rows = [goal.row(place, results.figures.get(place, {}), is_busy=results.is_busy(place)) for goal, place in held]
    return markdown([["where", "side", "goal", "wanted", "measured", "met"], *rows, *more])


def notes(sides: Iterable[str], work: str) -> str:
    """Make a table of how each client is used."""
    kinds = {Side(name).client: Side(name).kind for name in sides}
    rows = [["client", "how it is used, and what it leaves out"]]
    return markdown([*rows, *([client, kind.notes[work]] for client, kind in kinds.items())])


def tables(results: Results, columns: Callable[[Place, Figures], Mapping[str, Column]]) -> Iterator[str]:
    """Yield a heading for each title, a table for each place, and the reasons for what is missing."""
    title = ""
    for place in results.places:
        if place.title != title:
            title = place.title
            yield f"## {title[0].upper()}{title[1:]}"
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
    """Return the columns of a table, with ratios to the sides of ``rates_to`` and ``cpu_to``."""
    unit, found = place.unit, list(figures.values())

    def to(other: str, quantity: str) -> Column:
        return lambda name, figure: _ratio(figure, figures.get(_on_the_same_loop(other, name, figures)), quantity)

    def optional(name: str, quantity: str, tell: Callable[[float], str]) -> dict[str, Column]:
        """Return a column, unless it is empty."""
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
    """Starts, and sides with one request in flight, always wait. For fixed work, a column says what the server used."""
    return place.in_flight != 1 and not place.operations and place.verb != COLD and figure.used < WAITING


def _on_the_same_loop(other: str, name: str, figures: Figures) -> str:
    """Compare with the other client on the same loop, if that was measured. This library is named with its loop."""
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
    """Write each reason once, with its places."""
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
    """Write at least three significant digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(rows[0]), rule, *(line(row) for row in rows[1:])])
