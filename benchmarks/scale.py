"""``python -m benchmarks.scale``: several processes beside one, and what the coordinator of them takes."""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks import moves, results
from benchmarks.clients import SCALE, sides_of
from benchmarks.moves import Plan
from benchmarks.results import FILES, KEYS, SERVER_LEGEND, Column, Figure, Figures, Goal, Place, Results, format_number
from benchmarks.run import Facts, Page, chosen, parser_of
from benchmarks.trees import KIB, Tree, trees

ONE, CORES, MANY = "dream-1p", ("dream", "dream-1p", "dream-2p"), ("dream-1p", "dream-2p", "dream-4p", "dream-8p")
COST, PROGRAMS = ("dream-2p",), ("dream", "dream-2p", "s5cmd")
ROUND_TRIP_MS = 30
LATE_AT_ONCE = 8
"""Requests of each worker. With more, one core is the limit, and not the latency."""
LATE = Tree("late", "16,000 files of 1 KiB", (KIB,) * 16_000)
WARM_UP = Tree("warm-up", "a few", (KIB,) * 100)
NAMES = (10_000, 100_000, 1_000_000)
KEY_VERBS = {
    "list": "listing {:,} keys, and nothing else",
    "delete_many": "deleting {:,} keys of a list",
    "delete_listed": "listing and deleting {:,} keys",
    "check": "comparing {:,} names of two listings",
}
TREE_VERBS = {"download_tree": "to files", "upload_tree": "from files"}
WORKS = ("cores", "latency", "programs", "names")
FLAT_MIB = 8
START_SECONDS, COUNT_SECONDS = 0.2, 2.0


def parse(arguments: list[str]) -> Plan:
    sides = sides_of(SCALE)
    parser = parser_of("benchmarks.scale", __doc__, sides, "fewer names, one round")
    parser.add_argument("--work", help=",".join(WORKS))
    told = parser.parse_args(arguments)
    try:
        works, only = chosen(told.work, WORKS, WORKS), chosen(told.only, sides, ("dream", *MANY, "s5cmd"))
    except ValueError as error:
        parser.error(str(error))
    known = {tree.name: tree for tree in (*trees(10 if told.quick else 1).values(), LATE, WARM_UP)}
    places = [place for work in works for place in places_of(work, known, NAMES[: 1 if told.quick else None])]
    return Plan(
        server="nginx",
        sides=only,
        places=tuple(places),
        warm_up=tuple(tree_place(verb, WARM_UP, (ONE,)) for verb in TREE_VERBS),
        trees=known,
        rounds=told.rounds or (1 if told.quick else 3),
        json=told.json,
        doc=told.doc,
        round_trip_ms=ROUND_TRIP_MS if "latency" in works else 0,
    )


def places_of(work: str, known: dict[str, Tree], names: tuple[int, ...]) -> list[Place]:
    small, medium = known["small"], known["medium"]
    if work == "programs":
        return [tree_place(verb, tree, PROGRAMS) for tree in (small, medium) for verb in TREE_VERBS]
    if work == "cores":
        return [
            *(tree_place(verb, small, CORES) for verb in TREE_VERBS),
            *(tree_place(verb, medium, CORES, "https") for verb in TREE_VERBS),
        ]
    if work == "latency":
        return [tree_place("download_tree", LATE, MANY, "delayed")]
    return [
        names_place("list", names[:2][-1], ("dream",)),
        *(names_place("delete_many", count) for count in names[:2]),
        *(names_place(verb, count) for verb in ("delete_listed", "check") for count in names),
    ]


def tree_place(verb: str, tree: Tree, only: tuple[str, ...], link: str = "") -> Place:
    more = {
        "https": ", over https",
        "delayed": f", {ROUND_TRIP_MS} ms of latency, {LATE_AT_ONCE} requests at once in each process",
    }.get(link, ", whole processes" if only == PROGRAMS else "")
    return Place(
        f"{tree.words} {TREE_VERBS[verb]}{more}",
        verb,
        FILES,
        operations=len(tree.sizes),
        tree=tree.name,
        count=len(tree.sizes),
        link=link,
        in_flight=LATE_AT_ONCE if link == "delayed" else 0,
        is_ours=only != PROGRAMS,
        only=only,
    )


def names_place(verb: str, count: int, only: tuple[str, ...] = COST) -> Place:
    title = f"The coordinator: {KEY_VERBS[verb].format(count)}"
    return Place(title, verb, KEYS, operations=count, tree=f"list-{count}", count=count, is_ours=True, only=only)


def goals(found: Results) -> str:
    wanted = [
        Goal("files/s to those of one process", "dream-2p", "rate", ONE, 1.6, lambda one: one.only == CORES),
        Goal("files/s to those of one process", "dream-8p", "rate", ONE, 7, lambda one: one.only == MANY),
    ]
    costs = [
        [
            place.title,
            "dream-2p",
            "coordinator's CPU a name, without a listing",
            "≤ 5 µs",
            f"{micros:.1f} µs",
            "yes" if micros <= 5 else "no",
        ]
        for place in found.places
        if place.verb == "delete_many" and (figure := found.figures.get(place, {}).get("dream-2p"))
        for micros in [coordinators_micros(place, figure)]
    ]
    return results.goals(found, wanted, [*costs, *(row for verb in KEY_VERBS for row in flatness(verb, found))])


def flatness(verb: str, found: Results) -> list[list[str]]:
    """Say how much more memory the most names take than the fewest."""
    places = [one for one in found.places if one.only == COST and one.verb == verb and one in found.figures]
    if verb == "delete_many" or len(places) < 2:
        return []
    first, last = places[0], places[-1]
    more = (found.figures[last]["dream-2p"].over_idle or 0) - (found.figures[first]["dream-2p"].over_idle or 0)
    met = "yes" if more <= FLAT_MIB else "no"
    goal = f"memory of {last.count:,} names, more than of {first.count:,}"
    return [[KEY_VERBS[verb].format(last.count), "dream-2p", goal, f"≤ {FLAT_MIB} MiB", f"{more:.1f} MiB", met]]


def coordinators_micros(place: Place, figure: Figure) -> float:
    return 1e6 * figure.cpu / place.unit.cpu_factor


def columns(place: Place, figures: Figures) -> dict[str, Column]:
    if place.only == PROGRAMS:
        return results.columns(place, figures, rates_to=("s5cmd",), cpu_to=("s5cmd",))
    given = results.columns(place, figures, rates_to=() if place.unit is KEYS else (ONE,), cpu_to=())
    kept = {name: column for name, column in given.items() if name not in (place.unit.cpu, "process s")}
    return {**kept, "µs of CPU a name": lambda _, one: format_number(coordinators_micros(place, one))}


PAGE = Page(
    "scale",
    SCALE,
    "Medians of the rounds; ± is half of their range, or a dash after one round. The processes are started, and their "
    "sessions open, before the time that counts. CPU and memory are those of the process that calls: with an executor, the "
    "coordinator's. Whole processes are measured from their start to their end, with those that they start. "
    f"{SERVER_LEGEND}",
    goals,
    columns,
)


def worth_of_two() -> str:
    """Say what two processes that only count are worth beside one: the most that a second process can give here and now."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(count_for, (START_SECONDS,) * 2))
        alone = pool.submit(count_for, COUNT_SECONDS).result()
        return f"{sum(pool.map(count_for, (COUNT_SECONDS,) * 2)) / alone:.2f} times one"


def count_for(seconds: float) -> int:
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        count += 1
    return count


def main() -> None:
    plan = parse(sys.argv[1:])
    facts = Facts("benchmarks.scale", sys.argv[1:], **{"two processes that only count": worth_of_two()})
    moves.run(plan, facts, PAGE)


if __name__ == "__main__":
    main()
