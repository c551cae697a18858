"""``python -m benchmarks.large``: large objects to files and back, this library beside others."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

from benchmarks import moves, results
from benchmarks.clients import LARGE, sides_of
from benchmarks.moves import Plan
from benchmarks.results import LEGEND, MEBIBYTES, MIB, OURS, SERVER_LEGEND, Figures, Goal, Place, Results
from benchmarks.run import Facts, Page, chosen, numbers, parser_of
from benchmarks.trees import Tree

SIZES = (64, 256, 1024)
AT_ONCE = (1, 8)
LARGEST = {"nginx": 1024, "rgw": 256}
LARGEST_OF_MANY = {"nginx": 256, "rgw": 64}
"""The most MiB of each of several objects at once: all must fit in memory, on both ends."""
WORKS = {"down": ("download", "to a file"), "up": ("upload", "from a file")}
USUAL = ("dream", "dream+uvloop", "dream-unverified", "aioboto3", "boto3", "crt", "obstore", "s5cmd", "rclone")
"""The sides of a run, unless others are asked for."""
WARM_UP = Tree("warm-up", "a small one", (16 * MIB,), is_flat=True)
BESIDE_S5CMD = (
    ("download", "", 1.15, 1.6),
    ("upload", "", 1.1, 1.1),
    ("download", "https", 1.0, 1.1),
    ("upload", "https", 1.1, 1.2),
)
"""How many times its rate, and by how much less CPU time, is the goal."""
MOST_MIB = 74


def place(scheme: str, work: str, mebibytes: int, at_once: int, tree: str = "") -> Place:
    verb, words = WORKS[work]
    size = f"{mebibytes >> 10} GiB" if mebibytes % 1024 == 0 else f"{mebibytes} MiB"
    objects = "one object" if at_once == 1 else f"{at_once} objects at once, each"
    return Place(
        f"{objects} of {size} {words}, over {scheme}",
        verb,
        MEBIBYTES,
        operations=mebibytes * at_once,
        tree=tree or str(mebibytes),
        count=at_once,
        link="https" if scheme == "https" else "",
    )


def parse(arguments: list[str]) -> Plan:
    sides = sides_of(LARGE)
    parser = parser_of("benchmarks.large", __doc__, sides, "64 MiB only, one round")
    parser.add_argument("--work", help="down,up")
    parser.add_argument("--sizes", help="in MiB: 64,256,1024")
    parser.add_argument("--at-once", metavar="NUMBERS", help="1,8")
    parser.add_argument("--scheme", choices=["http", "https", "both"], default="both")
    parser.add_argument("--server", choices=["nginx", "rgw"], default="nginx")
    told = parser.parse_args(arguments)
    try:
        works, at_once = chosen(told.work, WORKS, WORKS), numbers(told.at_once, AT_ONCE)
        sizes = numbers(told.sizes, SIZES[:1] if told.quick else SIZES)
        only = chosen(told.only, sides, USUAL)
    except ValueError as error:
        parser.error(str(error))
    schemes = ("http", "https") if told.scheme == "both" else (told.scheme,)
    places = [
        place(*asked)
        for asked in itertools.product(schemes, works, sizes, at_once)
        if asked[2] <= (LARGEST if asked[3] == 1 else LARGEST_OF_MANY)[told.server]
    ]
    trees = [Tree(str(size), f"of {size} MiB", (size * MIB,) * max(at_once), is_flat=True) for size in sizes]
    return Plan(
        server=told.server,
        sides=only,
        places=tuple(places),
        warm_up=tuple(place(schemes[0], work, WARM_UP.sizes[0] // MIB, 1, WARM_UP.name) for work in works),
        trees={tree.name: tree for tree in (*trees, WARM_UP)},
        rounds=told.rounds or (1 if told.quick else 3),
        json=told.json,
        doc=told.doc,
    )


def goals(found: Results) -> str:
    """Make the table of goals, for one object of the largest size in the run. The goals are for 1 GiB."""
    largest = max((one.operations for one in found.places if one.count == 1), default=0)

    def holds(one: Place) -> bool:
        return one.count == 1 and one.operations == largest

    return results.goals(found, itertools.chain.from_iterable(_goals_of(side, holds) for side in OURS))


def _goals_of(side: str, holds: results.Holds) -> Iterator[Goal]:
    for verb, link, rate, cpu in BESIDE_S5CMD:

        def holds_here(one: Place, verb: str = verb, link: str = link) -> bool:
            return holds(one) and (one.verb, one.link) == (verb, link)

        yield Goal("MiB/s, to s5cmd's", side, "rate", "s5cmd", rate, holds_here)
        yield Goal("CPU, to s5cmd's", side, "cpu", "s5cmd", 1 / cpu, holds_here)
    yield Goal("memory over idle, 8 parts of 8 MiB among it", side, "over_idle", None, MOST_MIB, holds)


def columns(one: Place, figures: Figures) -> dict[str, results.Column]:
    return results.columns(one, figures, rates_to=OURS, cpu_to=OURS)


PAGE = Page(
    "large",
    LARGE,
    f"{LEGEND}The clock of a library starts when its client is open, after the imports; that of a program starts with the "
    "process. The peak is the most memory of the whole process after that. Where the memory of the idle client is known, the "
    f"page says how much more the peak is. {SERVER_LEGEND}",
    goals,
    columns,
)


def main() -> None:
    plan = parse(sys.argv[1:])
    moves.run(plan, Facts("benchmarks.large", sys.argv[1:]), PAGE)


if __name__ == "__main__":
    main()
