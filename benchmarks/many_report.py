"""What a run of :mod:`benchmarks.many` found: medians, tables, and how they stand to the goals."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.many_clients import DELETE, DOWN, LIST, UP
from benchmarks.many_sides import SIDES
from benchmarks.report import NONE, format_number, markdown

BEGIN, END = "<!-- many:begin -->", "<!-- many:end -->"
MIB = 1 << 20
MEMORY = "memory"
WORKS = {LIST: "Listing", DELETE: "Deleting", DOWN: "A tree to files", UP: "A tree from files", MEMORY: "Memory"}
WHOLE = (DOWN, UP)
"""Works of which whole processes are compared."""
OURS = ("dream", "dream+uvloop")
GOAL_TREE = "small"
FLAT_MIB = 8

LEGEND = (
    "Medians of the rounds; ± is half of their range, and nothing of a single round. CPU is user and system time of "
    "the process with all its threads. Trees are measured as whole processes, from their start to their end; listing and "
    "deleting from the open client, but programs whole. The peak is that of the whole process from the open client on. "
    "With latency each answer comes after a round trip of so many milliseconds, and what opens a connection after two. "
    "The server has one thread: where it used nearly 100 % of a processor, it was the limit, and the client may be faster "
    "than that."
)


@dataclass(frozen=True, slots=True)
class Place:
    """What is done, and with how much latency."""

    work: str
    what: str
    """The name of a listing, of a plan of one, or of a tree."""
    count: int
    """Keys or files."""
    words: str
    latency_ms: int = 0

    def title(self) -> str:
        latency = f", {self.latency_ms} ms of latency" if self.latency_ms else ""
        return f"{WORKS[self.work]}: {self.words}{latency}"

    @property
    def unit(self) -> str:
        return "file" if self.work in WHOLE else "1,000 keys"

    @property
    def units(self) -> float:
        return self.count if self.work in WHOLE else self.count / 1000


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's turn, and what it took, or why there is nothing."""

    place: Place
    side: str
    round: int
    wall_seconds: float = 0
    cpu_seconds: float = 0
    """Both of what is compared at this place."""
    process_seconds: float = 0
    """From the process's start to its end."""
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
    """Keys or files a second."""
    cpu: float
    """Milliseconds a file, or 1,000 keys."""
    process: float
    """Seconds."""
    peak: float
    """MiB."""
    over_idle: float | None
    server: float | None
    """The part of a processor that the server used meanwhile."""


Figures = dict[Place, dict[str, Figure]]
Column = Callable[[Figure], str]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on the ratio of a side's quantity to another's, at every place of a work."""

    work: str
    text: str
    side: str
    quantity: str
    against: str
    bound: float
    is_least: bool
    what: str = ""
    """The beginning of a place's name."""
    has_latency: bool = False

    def holds_at(self, place: Place) -> bool:
        is_late = place.latency_ms > 0
        return place.work == self.work and place.what.startswith(self.what) and is_late == self.has_latency

    def row(self, place: Place, figures: Mapping[str, Figure]) -> list[str]:
        ours, theirs = figures.get(self.side), figures.get(self.against)
        told = NONE
        if ours and theirs:
            ratio = getattr(ours, self.quantity) / getattr(theirs, self.quantity)
            is_met = ratio >= self.bound if self.is_least else ratio <= self.bound
            told = f"{format_number(ratio)} ×, {'met' if is_met else 'not met'}"
        wanted = f"{'≥' if self.is_least else '≤'} {format_number(self.bound)} ×"
        return [place.title(), f"{self.side}: {self.text}", wanted, told]


GOALS = (
    Goal(LIST, "keys/s to aioboto3's", "dream", "rate", "aioboto3", 20, is_least=True),
    Goal(LIST, "keys/s to obstore's", "dream", "rate", "obstore", 1, is_least=True),
    Goal(LIST, "keys/s to those of one after the other", "dream-parallel", "rate", "dream", 8, True, has_latency=True),
    Goal(DELETE, "CPU to aioboto3's", "dream", "cpu", "aioboto3", 0.1, is_least=False),
    *(
        goal
        for work in WHOLE
        for goal in (
            Goal(work, "files/s to s5cmd's", "dream", "rate", "s5cmd", 1.5, True, GOAL_TREE),
            Goal(work, "files/s to s5cmd's", "dream+uvloop", "rate", "s5cmd", 2.5, True, GOAL_TREE),
            Goal(work, "CPU to s5cmd's", "dream", "cpu", "s5cmd", 0.5, False, GOAL_TREE),
            Goal(work, "CPU to s5cmd's", "dream+uvloop", "cpu", "s5cmd", 0.5, False, GOAL_TREE),
        )
    ),
)


def section(turns: Sequence[Turn], sides: Sequence[str], facts: Mapping[str, str]) -> str:
    """The part of the page that a run writes."""
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if name != "command")
    figures = figures_of(turns)
    return "\n\n".join(
        [
            "### The newest run of listings and trees",
            f"```sh\n{facts['command']}\n```",
            lines,
            "### How the goals for listings and trees stand",
            _goals(figures),
            "### The sides of listings and trees",
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
    wall = statistics.median(walls)
    busy = [turn.server_cpu_seconds / turn.process_seconds for turn in turns if turn.server_cpu_seconds is not None]
    over_idle = [turn.peak_bytes - turn.idle_bytes for turn in turns if turn.idle_bytes is not None]
    return Figure(
        wall=wall,
        spread=(max(walls) - min(walls)) / 2 / wall if len(walls) > 1 else None,
        rate=place.count / wall,
        cpu=1e3 * statistics.median(turn.cpu_seconds for turn in turns) / place.units,
        process=statistics.median(turn.process_seconds for turn in turns),
        peak=statistics.median(turn.peak_bytes for turn in turns) / MIB,
        over_idle=max(statistics.median(over_idle), 0) / MIB if over_idle else None,
        server=statistics.median(busy) if busy else None,
    )


def _goals(figures: Figures) -> str:
    rows = [["what", "goal", "wanted", "measured"]]
    rows += [goal.row(place, here) for goal in GOALS for place, here in figures.items() if goal.holds_at(place)]
    rows += [_flatness(side, figures) for side in ("dream", "dream-parallel")]
    return markdown(rows)


def _flatness(side: str, figures: Figures) -> list[str]:
    """What listing the most keys takes more of memory than listing the fewest."""
    listed = {
        place.count: here[side] for place, here in figures.items() if place.work == MEMORY and _lists(place, side, here)
    }
    told, words = NONE, "no two listings"
    if len(listed) > 1:
        fewest, most = min(listed), max(listed)
        words = f"from {fewest:,} to {most:,} keys"
        more = (listed[most].over_idle or 0) - (listed[fewest].over_idle or 0)
        told = f"{more:.1f} MiB, {'met' if more <= FLAT_MIB else 'not met'}"
    return [f"Memory: {words}", f"{side}: more of it over idle", f"≤ {FLAT_MIB} MiB", told]


def _lists(place: Place, side: str, here: Mapping[str, Figure]) -> bool:
    return place.what.startswith("list-") and side in here


def _notes(sides: Sequence[str]) -> str:
    kinds = {SIDES[name].client: SIDES[name].kind for name in sides}
    return markdown([["side", "how it is used"], *([client, kind.note] for client, kind in kinds.items())])


def _tables(figures: Figures, turns: Sequence[Turn]) -> list[str]:
    parts: list[str] = []
    for place in dict.fromkeys(turn.place for turn in turns):
        here = figures.get(place, {})
        columns = _columns(place, here)
        order = list(SIDES)
        sides = sorted({turn.side for turn in turns if turn.place == place}, key=order.index)
        told = {side: here.get(side) for side in sides}
        rows = [
            [side, *(column(figure) if figure else NONE for column in columns.values())]
            for side, figure in told.items()
        ]
        parts += [f"### {place.title()}", markdown([["side", *columns], *rows])]
    return parts


def _columns(place: Place, here: Mapping[str, Figure]) -> dict[str, Column]:
    def to(side: str, quantity: str) -> Column:
        other = here.get(side)
        return lambda figure: format_number(getattr(figure, quantity) / getattr(other, quantity)) if other else NONE

    is_whole = place.work in WHOLE
    others = () if place.work == MEMORY else ("s5cmd",) if is_whole else ("aioboto3", "obstore")
    process: dict[str, Column] = {} if is_whole else {"process s": lambda figure: format_number(figure.process)}
    return {
        "wall s": lambda figure: format_number(figure.wall),
        "± %": lambda figure: NONE if figure.spread is None else f"{100 * figure.spread:.0f}",
        "files/s" if is_whole else "keys/s": lambda figure: format_number(figure.rate),
        **{f"× {side}": to(side, "rate") for side in others},
        f"CPU ms a {place.unit}" if is_whole else f"CPU ms per {place.unit}": lambda figure: format_number(figure.cpu),
        **{f"CPU × {side}": to(side, "cpu") for side in others},
        **process,
        "peak MiB": lambda figure: f"{figure.peak:.0f}",
        "over idle MiB": lambda figure: NONE if figure.over_idle is None else f"{figure.over_idle:.1f}",
        "server %": lambda figure: NONE if figure.server is None else f"{100 * figure.server:.0f}",
    }


def _failures(turns: Sequence[Turn]) -> list[str]:
    """Each reason once, with where it holds."""
    failed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for turn in turns:
        if turn.failure:
            failed[turn.side, turn.failure].append(turn.place.title())
    if not failed:
        return []
    lines = [f"- {side}: {reason} ({_where(places)})" for (side, reason), places in failed.items()]
    return ["Why there is a dash:", "\n".join(lines)]


def _where(places: Sequence[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]}, and {len(places) - 1} more"
