"""What a run of :mod:`benchmarks.large` found: medians, tables, and how they stand to the goals."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.large_clients import SIDES
from benchmarks.report import NONE, format_number, markdown

BEGIN, END = "<!-- large:begin -->", "<!-- large:end -->"
MIB = 1 << 20
WORKS = {"down": "to a file", "up": "from a file"}
OURS = ("dream", "dream+uvloop")
GOAL_MIB = 1024
LEVEL = 0.95
"""Level with another, from this ratio on: less is told apart by no three rounds."""

LEGEND = (
    "Medians of the rounds; ± is half of their range, and nothing of a single round. A Python side is measured from its open "
    "client, which it has been given time to import and make; a tool from its start. CPU is user and system time of "
    "the process with all its threads. The peak is that of the whole process from there on, and what it is over the "
    "memory of the idle client is told where that can be known. The server has one thread: where it used nearly 100 % of a "
    "processor, it was the limit, and the client may be faster than that."
)


@dataclass(frozen=True, slots=True)
class Place:
    """What is moved, and how."""

    scheme: str
    work: str
    mebibytes: int
    at_once: int

    def what(self) -> str:
        objects = "one object" if self.at_once == 1 else f"{self.at_once} objects at once, each"
        return f"{objects} of {size_in_words(self.mebibytes)} {WORKS[self.work]}, over {self.scheme}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's turn, and what it took, or why there is nothing."""

    place: Place
    side: str
    round: int
    wall_seconds: float = 0
    cpu_seconds: float = 0
    peak_bytes: int = 0
    idle_bytes: int | None = None
    server_cpu_seconds: float | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of a side's turns at one place."""

    wall: float
    spread: float | None
    """Half of the range, to the median; None of a single turn."""
    rate: float
    """MiB a second."""
    cpu: float
    """Seconds a GiB."""
    peak: float
    """MiB."""
    over_idle: float | None
    server: float | None
    """The part of a processor that the server used meanwhile."""


Figures = dict[Place, dict[str, Figure]]
Column = Callable[[Figure], str]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a quantity of ours, or on its ratio to another side's."""

    text: str
    quantity: str
    against: str | None
    bound: float
    is_least: bool

    def measured(self, side: str, figures: Mapping[str, Figure]) -> float | None:
        ours, theirs = figures.get(side), figures.get(self.against or side)
        if not ours or not theirs:
            return None
        value: float | None = getattr(ours, self.quantity)
        return value / getattr(theirs, self.quantity) if value is not None and self.against else value

    def told(self, side: str, figures: Mapping[str, Figure]) -> str:
        value = self.measured(side, figures)
        if value is None:
            return NONE
        is_met = value >= self.bound if self.is_least else value <= self.bound
        return f"{format_number(value)}{self.unit}, {'met' if is_met else 'not met'}"

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {format_number(self.bound)}{self.unit}"

    @property
    def unit(self) -> str:
        return " ×" if self.against else " MiB"


GOALS = (
    Goal("MiB/s, to aioboto3's", "rate", "aioboto3", 2, is_least=True),
    Goal("MiB/s, to s5cmd's", "rate", "s5cmd", 2, is_least=True),
    Goal("MiB/s, level with the AWS CRT", "rate", "crt", LEVEL, is_least=True),
    Goal("CPU, to s5cmd's", "cpu", "s5cmd", 0.5, is_least=False),
    Goal("memory over idle, 8 parts of 8 MiB among it", "over_idle", None, 64 + 64, is_least=False),
)


def section(turns: Sequence[Turn], sides: Sequence[str], facts: Mapping[str, str]) -> str:
    """The part of the page that a run writes."""
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if name != "command")
    figures = figures_of(turns)
    return "\n\n".join(
        [
            "### The newest run of them",
            f"```sh\n{facts['command']}\n```",
            lines,
            "### How the goals for large objects stand",
            _goals(figures),
            "### The sides of large objects",
            _notes(sides),
            LEGEND,
            *_tables(figures, turns),
            *_failures(turns),
        ]
    )


def figures_of(turns: Iterable[Turn]) -> Figures:
    """A side that failed once at a place has no figure there."""
    grouped: dict[tuple[Place, str], list[Turn]] = defaultdict(list)
    for turn in turns:
        grouped[turn.place, turn.side].append(turn)
    figures: Figures = {}
    for (place, side), those in grouped.items():
        if not any(turn.failure for turn in those):
            figures.setdefault(place, {})[side] = _figure(place, those)
    return figures


def _figure(place: Place, turns: Sequence[Turn]) -> Figure:
    walls = [turn.wall_seconds for turn in turns]
    wall, mebibytes = statistics.median(walls), place.mebibytes * place.at_once
    busy = [turn.server_cpu_seconds / turn.wall_seconds for turn in turns if turn.server_cpu_seconds is not None]
    over_idle = [turn.peak_bytes - turn.idle_bytes for turn in turns if turn.idle_bytes is not None]
    return Figure(
        wall=wall,
        spread=(max(walls) - min(walls)) / 2 / wall if len(walls) > 1 else None,
        rate=mebibytes / wall,
        cpu=statistics.median(turn.cpu_seconds for turn in turns) / mebibytes * 1024,
        peak=statistics.median(turn.peak_bytes for turn in turns) / MIB,
        over_idle=max(statistics.median(over_idle), 0) / MIB if over_idle else None,
        server=statistics.median(busy) if busy else None,
    )


def _goals(figures: Figures) -> str:
    """On one object of the goals' size or, said in a line above, of the largest that was measured."""
    single = [place for place in figures if place.at_once == 1]
    if not single:
        return "Nothing of one object was measured."
    largest = max(place.mebibytes for place in single)
    rows = [["one object", "goal", "wanted", *OURS]]
    for place in (place for place in single if place.mebibytes == largest):
        where = f"{WORKS[place.work]}, {place.scheme}"
        for goal in GOALS:
            told = [goal.told(side, figures[place]) for side in OURS]
            rows.append([where, goal.text, goal.wanted, *told])
    size = f"Of {size_in_words(largest)}"
    remark = "." if largest == GOAL_MIB else f": the goals are for {size_in_words(GOAL_MIB)}, which this run left out."
    return f"{size}{remark}\n\n{markdown(rows)}"


def _notes(sides: Sequence[str]) -> str:
    kinds = {SIDES[name].client: SIDES[name].kind for name in sides}
    return markdown([["side", "how it is used"], *([client, kind.note] for client, kind in kinds.items())])


def _tables(figures: Figures, turns: Sequence[Turn]) -> list[str]:
    parts: list[str] = []
    for place in dict.fromkeys(turn.place for turn in turns):
        here = figures.get(place, {})
        columns = _columns(here)
        rows = [["side", *columns]]
        for side in dict.fromkeys(turn.side for turn in turns if turn.place == place):
            figure = here.get(side)
            rows.append([side, *(column(figure) if figure else NONE for column in columns.values())])
        what = place.what()
        parts += [f"### {what[0].upper()}{what[1:]}", markdown([rows[0], *sorted(rows[1:], key=_in_order)])]
    return parts


def _in_order(row: Sequence[str]) -> int:
    return list(SIDES).index(row[0])


def _columns(here: Mapping[str, Figure]) -> dict[str, Column]:
    def to(side: str, quantity: str) -> Column:
        other = here.get(side)
        return lambda figure: format_number(getattr(figure, quantity) / getattr(other, quantity)) if other else NONE

    return {
        "wall s": lambda figure: format_number(figure.wall),
        "± %": lambda figure: NONE if figure.spread is None else f"{100 * figure.spread:.0f}",
        "MiB/s": lambda figure: format_number(figure.rate),
        **{f"× {side}": to(side, "rate") for side in OURS},
        "CPU s a GiB": lambda figure: format_number(figure.cpu),
        **{f"CPU × {side}": to(side, "cpu") for side in OURS},
        "peak MiB": lambda figure: f"{figure.peak:.0f}",
        "over idle MiB": lambda figure: NONE if figure.over_idle is None else f"{figure.over_idle:.0f}",
        "server %": lambda figure: NONE if figure.server is None else f"{100 * figure.server:.0f}",
    }


def _failures(turns: Sequence[Turn]) -> list[str]:
    """Each reason once, with where it holds."""
    failed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for turn in turns:
        if turn.failure:
            failed[turn.side, turn.failure].append(turn.place.what())
    if not failed:
        return []
    lines = [f"- {side}: {reason} ({_where(places)})" for (side, reason), places in failed.items()]
    return ["Why there is a dash:", "\n".join(lines)]


def _where(places: Sequence[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]}, and {len(places) - 1} more"


def size_in_words(mebibytes: int) -> str:
    return f"{mebibytes >> 10} GiB" if mebibytes % 1024 == 0 else f"{mebibytes} MiB"
