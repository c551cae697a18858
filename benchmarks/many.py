"""``python -m benchmarks.many``: listings, deletions and trees of files, this library beside others."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

from benchmarks import moves, results
from benchmarks.clients import MANY, sides_of
from benchmarks.moves import Plan
from benchmarks.results import FILES, KEYS, LEGEND, SERVER_LEGEND, Column, Figures, Goal, Place, Results
from benchmarks.run import Facts, Page, chosen, numbers, parser_of
from benchmarks.trees import KIB, Tree, trees

WORKS = ("list", "delete", "down", "up", "memory")
KEYS_ON = {"nginx": 100_000, "rgw": 10_000}
MEMORY_KEYS = {"nginx": (1_000, 100_000, 1_000_000), "rgw": (1_000, 10_000)}
LATENCIES = (0, 30)
COUNTED = "keys that count"
LISTINGS = {"nginx": {"list": COUNTED, "uuid": "keys like UUIDs"}, "rgw": {"list": COUNTED}}
TREE_VERBS = {"down": ("download_tree", "A tree to files"), "up": ("upload_tree", "A tree from files")}
FEWER = 10
"""How many times fewer files there are on the gateway and in a quick run."""
USUAL = (
    *("dream", "dream+uvloop", "dream-parallel", "dream-parallel+uvloop", "dream-256", "dream-256+uvloop"),
    *("aioboto3", "boto3", "obstore", "s3fs", "s5cmd", "rclone"),
)
"""The sides of a run, unless others are asked for."""
WARM_UP = Tree("warm-up", "a few", (KIB,) * 100)
WARM_UP_KEYS = 1000
TREE_GOALS = (
    ("download_tree", "small", "s5cmd", 2.0, 1 / 2.8),
    ("upload_tree", "small", "s5cmd", 2.0, 1 / 2.8),
    ("download_tree", "plain", "s5cmd", 1 / 1.1, 1.0),
    ("download_tree", "medium", "rclone", 1 / 1.1, 1.15),
    ("upload_tree", "medium", "s5cmd", 1.0, 1.0),
)
"""The rate and the CPU time beside another client's."""
FLAT_MIB = 8


def listing(verb: str, title: str, kind: str, count: int, *, is_ours: bool = False, link: str = "") -> Place:
    bucket = f"{kind}-{count}"
    return Place(title, verb, KEYS, operations=count, tree=bucket, count=count, is_ours=is_ours, link=link)


def tree_place(work: str, tree: Tree, latency_ms: int = 0) -> Place:
    (verb, words), count = TREE_VERBS[work], len(tree.sizes)
    title, link = f"{words}: {tree.words}{_late(latency_ms)}", "delayed" if latency_ms else ""
    return Place(title, verb, FILES, operations=count, tree=tree.name, count=count, link=link)


def _late(latency_ms: int) -> str:
    return f", {latency_ms} ms of latency" if latency_ms else ""


def parse(arguments: list[str]) -> Plan:
    known_trees, sides = trees(), sides_of(MANY)
    parser = parser_of("benchmarks.many", __doc__, sides, "a tenth of the keys and files, one round")
    parser.add_argument("--work", help=",".join(WORKS))
    parser.add_argument("--trees", help=",".join(known_trees))
    parser.add_argument("--keys", metavar="NUMBERS", help="of listings and deletions: 100000; 10000 on rgw")
    parser.add_argument("--latency", metavar="MS", help="0 and one more: 0,30; only 0 on rgw")
    parser.add_argument("--server", choices=["nginx", "rgw"], default="nginx")
    told = parser.parse_args(arguments)
    is_rgw = told.server == "rgw"
    if told.quick or is_rgw:
        known_trees = trees(FEWER)
    try:
        latencies = numbers(told.latency, LATENCIES[:1] if is_rgw else LATENCIES)
        if len({*latencies} - {0}) > 1 or (is_rgw and any(latencies)):
            parser.error("--latency: 0 and one more, and only 0 on rgw")
        works, only = chosen(told.work, WORKS, WORKS), chosen(told.only, sides, USUAL)
        asked = [known_trees[name] for name in chosen(told.trees, known_trees, known_trees)]
        keys = numbers(told.keys, (KEYS_ON[told.server] // (FEWER if told.quick else 1),))
    except ValueError as error:
        parser.error(str(error))
    memory_keys = MEMORY_KEYS[told.server][: 2 if told.quick else None]
    places: list[Place] = []
    for work in works:
        if work == "list":
            places += listings(told.server, keys, latencies)
        elif work == "delete":
            places += [listing("delete_many", f"Deleting: {count:,} {COUNTED}", "list", count) for count in keys]
        elif work == "memory":
            places += memory_places(memory_keys)
        else:
            places += [tree_place(work, tree, late) for tree, late in product(asked, latencies)]
    return Plan(
        server=told.server,
        sides=only,
        places=tuple(places),
        warm_up=(*warm_up(works), *(one for one in places if _lists("", one))),
        trees={tree.name: tree for tree in (*asked, WARM_UP)},
        rounds=told.rounds or (1 if told.quick else 3),
        json=told.json,
        doc=told.doc,
        round_trip_ms=max(latencies),
    )


def listings(server: str, keys: Sequence[int], latencies: Sequence[int]) -> Iterator[Place]:
    for (kind, words), count, late in product(LISTINGS[server].items(), keys, latencies):
        yield listing("list", f"Listing: {count:,} {words}{_late(late)}", kind, count, link="delayed" if late else "")


def memory_places(keys: Sequence[int]) -> Iterator[Place]:
    """What should take little memory. Only this library is measured."""
    for count in keys:
        yield listing("list", f"Memory: {count:,} {COUNTED}", "list", count, is_ours=True)
    for verb, words in (("plan_download", "down"), ("plan_upload", "up")):
        title = f"Memory: the plan of a tree {words}, {max(keys):,} keys beside an empty directory"
        yield listing(verb, title, "list", max(keys), is_ours=True)


def warm_up(works: Sequence[str]) -> Iterator[Place]:
    verbs = {"list": "list", "delete": "delete_many"}
    yield from (listing(verbs[work], "a few keys", "list", WARM_UP_KEYS) for work in works if work in verbs)
    yield from (tree_place(work, WARM_UP) for work in works if work in TREE_VERBS)


def goals(found: Results) -> str:
    wanted = [
        Goal("keys/s to aioboto3's", "dream", "rate", "aioboto3", 25, partial(_lists, "")),
        Goal("keys/s to obstore's", "dream", "rate", "obstore", 1.5, partial(_lists, "")),
        Goal("keys/s to dream's", "dream-parallel", "rate", "dream", 8, partial(_lists, "delayed")),
        Goal("CPU to aioboto3's", "dream", "cpu", "aioboto3", 0.1, lambda one: one.verb == "delete_many"),
        *(
            goal
            for verb, tree, other, rate, cpu in TREE_GOALS
            for holds in [partial(_moves, verb, tree)]
            for goal in (
                Goal(f"files/s to {other}'s", "dream", "rate", other, rate, holds),
                Goal(f"CPU to {other}'s", "dream", "cpu", other, cpu, holds),
            )
        ),
    ]
    flat = [row for side in ("dream", "dream-parallel") for row in _flatness(side, found)]
    return results.goals(found, wanted, flat)


def _lists(link: str, place: Place) -> bool:
    return (place.verb, place.link, place.is_ours) == ("list", link, False)


def _moves(verb: str, tree: str, place: Place) -> bool:
    return (place.verb, place.tree, place.link) == (verb, tree, "")


def _flatness(side: str, found: Results) -> Iterator[list[str]]:
    """Say how much more memory the longest listing takes than the shortest, if there are two."""
    places = [
        place
        for place in found.places
        if place.is_ours and place.verb == "list" and side in found.figures.get(place, {})
    ]
    if len(places) > 1:
        fewest, most = (choose(places, key=lambda place: place.count) for choose in (min, max))
        words = f"Memory: from {fewest.count:,} to {most.count:,} keys"
        more = (found.figures[most][side].over_idle or 0) - (found.figures[fewest][side].over_idle or 0)
        met = "yes" if more <= FLAT_MIB else "no"
        yield [words, side, "more of it over idle", f"≤ {FLAT_MIB} MiB", f"{more:.1f} MiB", met]


def columns(place: Place, figures: Figures) -> dict[str, Column]:
    others = () if place.is_ours else ("s5cmd",) if place.unit is FILES else ("aioboto3", "obstore")
    return results.columns(place, figures, rates_to=others, cpu_to=others)


PAGE = Page(
    "many",
    MANY,
    f"{LEGEND}Trees are measured as whole processes, from their start to their end; listing and deleting from the open "
    "client, but programs whole. The peak is that of the whole process from the open client on. With latency each answer "
    f"comes after a round trip of so many milliseconds, and what opens a connection after two. {SERVER_LEGEND}",
    goals,
    columns,
)


def main() -> None:
    plan = parse(sys.argv[1:])
    moves.run(plan, Facts("benchmarks.many", sys.argv[1:]), PAGE)


if __name__ == "__main__":
    main()
