"""``python -m benchmarks.tails``: how long small reads wait while the same client moves large objects.

Each turn is a process of its own: a load, which is done some times, and small reads from its beginning to its end. The reads are always
in flight, or paced, or none; and they are also measured without a load. Objects and files are in memory.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

from benchmarks.clients import BUCKET, LARGE, Client, Job, Settings, Side, sides_of
from benchmarks.machine import versions
from benchmarks.moves import MEMORY, Store, bucket_of
from benchmarks.nginx_s3 import nginx_s3
from benchmarks.results import MIB, NONE, format_number, markdown
from benchmarks.run import (
    Facts,
    chosen,
    clean_environment,
    measured,
    parser_of,
    put_into,
    tell,
    until_interrupted,
    write_json,
)
from benchmarks.store import READ_KEYS, Server, ServerUnavailableError, fill, list_bucket
from benchmarks.trees import KIB, Tree

READS_AT_ONCE, LARGE_AT_ONCE, REQUESTS = 8, 2, 64
ALONE_SECONDS = 2.0
PACES = {"none": None, "paced": 0.02, "always": 0.0}
"""Seconds that each reader waits after a read. Paced, all eight make 400 a second at most."""
LISTED = 20_000
TREES = {
    "large": Tree("large", "objects of 256 MiB", (256 * MIB,) * LARGE_AT_ONCE, is_flat=True),
    "files": Tree("files", "a tree of 1,000 files of 64 KiB", (64 * KIB,) * 1000),
}


@dataclass(frozen=True, slots=True)
class Load:
    """Work beside the reads. ``times`` is how often it is done: 0 waits instead."""

    words: str
    times: int = 0
    tree: str = ""


LOADS = {
    "alone": Load("nothing"),
    "download": Load("two downloads of 256 MiB", 4, "large"),
    "upload": Load("two uploads of 256 MiB", 2, "large"),
    "download_tree": Load("a tree of 1,000 files of 64 KiB, downloaded", 2, "files"),
    "upload_tree": Load("a tree of 1,000 files of 64 KiB, uploaded", 2, "files"),
    "list": Load(f"a listing of {LISTED:,} keys", 5),
}
"""By the client's verb."""
USUAL = ("dream", "dream+uvloop", "aioboto3", "obstore")


@dataclass(frozen=True, slots=True)
class Tail:
    """What a turn found."""

    load: str
    pace: str
    reads: int
    median: float
    tail: float
    """Milliseconds that 99 of 100 reads took at most."""
    seconds: float
    cpu: float
    side: str = ""


# The process of one turn


async def beside(client: Client, job: Job, *, pace: str) -> Tail:
    """Do the load and the reads beside it."""
    await client.open()
    if pace != "none":
        await asyncio.gather(*(client.get(key) for key in READ_KEYS[: 4 * READS_AT_ONCE]))
    times: list[float] = []
    is_over = False

    async def reads(number: int) -> None:
        while not is_over:
            started = time.perf_counter()
            await client.get(READ_KEYS[number % len(READ_KEYS)])
            times.append(time.perf_counter() - started)
            number += READS_AT_ONCE
            if pause := PACES[pace]:
                await asyncio.sleep(pause)

    readers = [asyncio.create_task(reads(number)) for number in range(READS_AT_ONCE if pace != "none" else 0)]
    started, used = time.perf_counter(), time.process_time()
    for _ in range(LOADS[job.verb].times):
        await load(client, job)
    if job.seconds:
        await asyncio.sleep(job.seconds)
    seconds, cpu, is_over = time.perf_counter() - started, time.process_time() - used, True
    await asyncio.gather(*readers)
    found = sorted(1e3 * took for took in times) or [0.0]
    return Tail(job.verb, pace, len(times), statistics.median(found), found[len(found) * 99 // 100], seconds, cpu)


async def load(client: Client, job: Job) -> None:
    match job.verb:
        case "download":
            await asyncio.gather(*map(client.download, job.keys, job.files))
        case "upload":
            await asyncio.gather(*map(client.upload, job.files, job.keys))
        case "list":
            await client.list(list_bucket(LISTED))
        case "download_tree" | "upload_tree":
            await getattr(client, job.verb)(job.directory, job.prefix)


def turn(side: Side, job: Job, *, pace: str) -> None:
    client = side.library()(job.service, job.settings, job.bucket)
    with asyncio.Runner(loop_factory=side.loop_factory()) as runner:
        print(json.dumps(asdict(runner.run(beside(client, job, pace=pace)))), flush=True)
        os._exit(0)  # some clients end badly, and nothing of the end is measured


# The turns


class Bench:
    """The server, the files, and the turns between them."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server, self.home = server, home
        self.environment, self.store = clean_environment(home), Store(server, home)
        self.targets = home / "targets"
        self.targets.mkdir()

    def prepare(self, loads: Sequence[str]) -> None:
        fill(self.server, [])
        for name in {LOADS[verb].tree for verb in loads} - {""}:
            TREES[name].make(self.store.source(name))
            self.store.fill(TREES[name])
            objects = self.store.objects
            shutil.copytree(objects / BUCKET / "read", objects / bucket_of(name) / "read")

    def turn(self, side: str, verb: str, *, pace: str) -> Tail | str:
        self.store.forget()
        words = [sys.executable, "-m", "benchmarks.tails", side, json.dumps(asdict(self.job(verb))), pace]
        _, failure = measured(words, self.home, self.environment)
        if failure:
            return failure
        return Tail(**{**json.loads((self.home / "out").read_text().splitlines()[0]), "side": side})

    def job(self, verb: str) -> Job:
        tree, is_up = LOADS[verb].tree, verb.startswith("upload")
        bucket, prefix = (bucket_of(tree), "tree/") if tree and not is_up else (BUCKET, "up/")
        path = self.store.source(tree) if is_up else self.targets
        names = list(TREES[tree].files()) if tree == "large" else []
        keys, files = tuple(prefix + name for name in names), tuple(str(path / name) for name in names)
        seconds = 0 if LOADS[verb].times else ALONE_SECONDS
        return Job(
            verb, self.server.service, Settings(REQUESTS), bucket, prefix, str(path), keys, files, seconds=seconds
        )


# The run


def main() -> None:
    sides = sides_of(LARGE)
    if sys.argv[1:2] and sys.argv[1] in sides:
        turn(sides[sys.argv[1]], Job.of(sys.argv[2]), pace=sys.argv[3])
        return
    parser = parser_of("benchmarks.tails", __doc__, sides)
    parser.add_argument("--loads", help=",".join(LOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--doc", type=Path, help="put the result between the markers of this page")
    told, facts = parser.parse_args(), Facts("benchmarks.tails", sys.argv[1:])
    try:
        only, verbs = chosen(told.only, sides, USUAL), chosen(told.loads, LOADS, LOADS)
        with nginx_s3() as server, tempfile.TemporaryDirectory(prefix="benchmarks-", dir=MEMORY) as home:
            bench = Bench(server, Path(home))
            bench.prepare(verbs)
            found = until_interrupted(turns(bench, only, verbs, told.rounds))
    except (ServerUnavailableError, ValueError) as error:
        sys.exit(str(error))
    facts_told = facts.told(server=server.version, versions=versions(only))
    write_json(told.json, facts_told, turns=[one for one in found if isinstance(one, Tail)])
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts_told.items() if name != "command")
    text = f"```sh\n{facts_told['command']}\n```\n\n{lines}\n\n{tables(found)}"
    put_into(told.doc, "tails", text)
    print(text)


def turns(bench: Bench, sides: Sequence[str], verbs: Sequence[str], rounds: int) -> Iterator[Tail | str]:
    given_up = set[tuple[str, str]]()
    for number, verb, side in itertools.product(range(rounds), verbs, sides):
        for pace in PACES if LOADS[verb].times else ("paced", "always"):
            if (side, verb) in given_up:
                continue
            one = bench.turn(side, verb, pace=pace)
            tell(f"round {number + 1}: {one}")
            if isinstance(one, str):
                given_up.add((side, verb))
                one = f"{side}, {LOADS[verb].words}: {one}"
            yield one


def tables(found: Sequence[Tail | str]) -> str:
    """Make a table for each load: medians of the rounds. Say what failed."""
    by_turn = defaultdict[tuple[str, str, str], list[Tail]](list)
    for one in found:
        if isinstance(one, Tail):
            by_turn[one.load, one.side, one.pace].append(one)
    parts = []
    for verb in dict.fromkeys(load for load, _, _ in by_turn):
        sides = dict.fromkeys(side for load, side, pace in by_turn if (load, pace) == (verb, "always"))
        rows = [_row(side, {pace: by_turn[verb, side, pace] for pace in PACES}) for side in sides]
        parts += [f"## Beside {LOADS[verb].words}", markdown([HEADS, *rows])]
    failures = dict.fromkeys(f"- {one}" for one in found if isinstance(one, str))
    return "\n\n".join([*parts, *failures])


HEADS = [
    "side",
    *(f"paced: {head}" for head in ("median ms", "99 % ms", "load ×")),
    *("reads/s", "median ms", "99 % ms", "load ×", "load alone s", "its CPU s"),
]


def _row(side: str, turns: Mapping[str, Sequence[Tail]]) -> list[str]:
    def median(pace: str, of: Callable[[Tail], float]) -> float | None:
        return statistics.median(map(of, turns[pace])) if turns[pace] else None

    def times_as_long(pace: str) -> float | None:
        with_reads, alone = median(pace, attrgetter("seconds")), median("none", attrgetter("seconds"))
        return with_reads / alone if with_reads and alone else None

    tail, middle = attrgetter("tail"), attrgetter("median")
    numbers = [
        *(median("paced", middle), median("paced", tail), times_as_long("paced")),
        median("always", lambda one: one.reads / one.seconds),
        *(median("always", middle), median("always", tail), times_as_long("always")),
        *(median("none", attrgetter("seconds")), median("none", attrgetter("cpu"))),
    ]
    return [side, *(NONE if number is None else format_number(number) for number in numbers)]


if __name__ == "__main__":
    main()
