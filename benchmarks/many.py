"""``python -m benchmarks.many``: listings, deletions and trees of files, this library beside others, sides taking turns.

Every turn is a new process, and the server is one of its own. Objects and files stay in memory: in /dev/shm, unless
``--dir`` names another place for the files.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import http.client
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import many_report, nginx_s3, processes, report
from benchmarks.__main__ import command
from benchmarks.access import PART_BYTES, boto_arguments
from benchmarks.ceph_rgw import ceph_rgw
from benchmarks.large import COLLECT_AT_ONCE, tell
from benchmarks.machine import describe_machine
from benchmarks.many_clients import BATCH_KEYS, DELETE, DOWN, LIST, PLAN_DOWN, PLAN_UP, UP, Done, Task
from benchmarks.many_report import MEMORY, WHOLE, WORKS, Place, Turn
from benchmarks.many_sides import SIDES, TOOLS, USUAL
from benchmarks.memory import MEMORY as IN_MEMORY
from benchmarks.memory import free_bytes, touch_memory
from benchmarks.options import known, numbers
from benchmarks.processes import NotInstalledError
from benchmarks.programs import starts_in_words
from benchmarks.rounds import clean_environment, in_turn
from benchmarks.servers import fill, put_all
from benchmarks.store import BUCKET, Server, ServerUnavailableError
from benchmarks.trees import KIB, Tree, trees

KEYS = {"nginx": (100_000,), "rgw": (10_000,)}
MEMORY_KEYS = {"nginx": (1_000, 100_000, 1_000_000), "rgw": (1_000, 10_000)}
LATENCIES = (0, 30)
LISTINGS = {"list": "keys that count", "uuid": "keys like UUIDs"}
KEY_FORMAT = "logs/2026/11/22/part-%09d.json.gz"
FEWER = 10
"""So many times fewer files, on the gateway and of a quick run."""
RESERVE_BYTES = 1 << 30
LONGEST_SECONDS = 180
"""A turn that takes longer is given up."""
SAMPLE = 97
"""The content of every so many-th file is compared."""
SPLITTING = "dream-parallel"
WARM_UP = Tree("warm-up", "a few", (KIB,) * 100)
WARM_UP_KEYS = 1000
ROUND_TRIPS = 20


@dataclass(frozen=True, slots=True)
class Options:
    server: str
    sides: tuple[str, ...]
    works: tuple[str, ...]
    trees: Mapping[str, Tree]
    listings: tuple[str, ...]
    keys: tuple[int, ...]
    memory_keys: tuple[int, ...]
    latencies: tuple[int, ...]
    rounds: int
    directory: Path
    json: Path | None
    doc: Path | None

    def places(self) -> list[Place]:
        """What is to be measured, in this order."""
        return [place for work in self.works for place in self._places_of(work)]

    def _places_of(self, work: str) -> Iterator[Place]:
        if work == LIST:
            for kind, keys, latency in itertools.product(self.listings, self.keys, self.latencies):
                yield listing(LIST, kind, keys, latency)
        elif work == DELETE:
            yield from (listing(DELETE, "list", keys) for keys in self.keys)
        elif work == MEMORY:
            yield from (listing(MEMORY, "list", keys) for keys in self.memory_keys)
            most = max(self.memory_keys)
            for plan, words in ((PLAN_DOWN, "down"), (PLAN_UP, "up")):
                yield Place(MEMORY, plan, most, f"the plan of a tree {words}, {most:,} keys beside an empty directory")
        else:
            for tree, latency in itertools.product(self.trees.values(), self.latencies):
                yield Place(work, tree.name, len(tree.sizes), tree.words, latency)


def listing(work: str, kind: str, keys: int, latency: int = 0) -> Place:
    return Place(work, f"{kind}-{keys}", keys, f"{keys:,} {LISTINGS[kind]}", latency)


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__.partition(": ")[2])
    parser.add_argument("--quick", action="store_true", help="a tenth of the keys and files, one round")
    parser.add_argument("--only", metavar="SIDES", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--work", help=",".join(WORKS))
    parser.add_argument("--trees", help=",".join(trees()))
    parser.add_argument("--listings", help=",".join(LISTINGS))
    parser.add_argument("--keys", metavar="NUMBERS", help="of listings and deletions: 100000; 10000 on rgw")
    parser.add_argument("--memory-keys", metavar="NUMBERS", help="1000,100000,1000000; 1000,10000 on rgw")
    parser.add_argument("--latency", metavar="MS", help="0 and one more: 0,30; only 0 on rgw")
    parser.add_argument("--server", choices=["nginx", "rgw"], default="nginx")
    parser.add_argument("--rounds", type=int, help="3")
    parser.add_argument("--dir", type=Path, default=IN_MEMORY, help="where the files are: /dev/shm")
    parser.add_argument("--json", type=Path, help="write every turn there")
    parser.add_argument("--doc", type=Path, help="put the result between the markers of this page")
    told = parser.parse_args(arguments)
    is_few, is_rgw = told.quick or told.server == "rgw", told.server == "rgw"
    known_trees = trees(FEWER if is_few else 1)
    keys = tuple(count // FEWER for count in KEYS[told.server]) if told.quick else KEYS[told.server]
    try:
        latencies = numbers(told.latency, LATENCIES[:1] if is_rgw else LATENCIES)
        if len({*latencies} - {0}) > 1 or (is_rgw and any(latencies)):
            msg = "--latency: 0 and one more, and only 0 on rgw"
            raise ValueError(msg)  # noqa: TRY301 - as that of what is unknown
        return Options(
            server=told.server,
            sides=known(told.only, SIDES, USUAL),
            works=known(told.work, WORKS, tuple(WORKS)),
            trees={name: known_trees[name] for name in known(told.trees, known_trees, tuple(known_trees))},
            listings=known(told.listings, LISTINGS, tuple(LISTINGS)[: 1 if is_rgw else None]),
            keys=numbers(told.keys, keys),
            memory_keys=numbers(told.memory_keys, MEMORY_KEYS[told.server][: 2 if told.quick else None]),
            latencies=latencies,
            rounds=told.rounds or (1 if told.quick else 3),
            directory=told.dir,
            json=told.json,
            doc=told.doc,
        )
    except ValueError as error:
        parser.error(str(error))


@dataclass(frozen=True, slots=True)
class Files:
    """The directories of a run."""

    home: Path

    @property
    def targets(self) -> Path:
        """Empty before every turn."""
        return self.home / "targets"

    def source(self, tree: Tree) -> Path:
        return self.home / "sources" / tree.name

    def clear(self) -> None:
        shutil.rmtree(self.targets, ignore_errors=True)
        self.targets.mkdir()

    def found(self, directory: Path) -> dict[str, int]:
        """Sizes by path below the directory."""
        paths = (Path(parent, name) for parent, _, names in os.walk(directory) for name in names)
        return {str(path.relative_to(directory)): path.stat().st_size for path in paths}


class Store:
    """The stand-in, whose objects are files."""

    def __init__(self, server: Server, files: Files) -> None:
        self.server, self.files, self.objects = server, files, Path(server.objects)

    def fill(self, tree: Tree) -> None:
        """Make it the content of a bucket of its own."""
        directory, source = self.objects / bucket_of(tree) / "tree", self.files.source(tree)
        for name in tree.files():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                (directory / name).hardlink_to(source / name)
            except OSError:  # another file system
                shutil.copyfile(source / name, directory / name)
        entries = [(f"tree/{name}", size, _etag(source / name, size)) for name, size in tree.files().items()]
        nginx_s3.write_manifest(self.objects, bucket_of(tree), entries)

    def make_listing(self, bucket: str, keys: int) -> None:
        """Let it be ready to be listed."""
        for token in range(0, keys, BATCH_KEYS):
            with urllib.request.urlopen(
                f"{self.server.endpoint}/{bucket}?list-type=2&continuation-token={token}"
            ) as page:
                page.read()

    def make_doomed(self, bucket: str, keys: int) -> None:
        """The stand-in deletes what is not there as well as what is."""

    def listed_bytes(self, keys: int) -> int:
        """The sum of sizes that a listing of so many tells."""
        return keys * (keys + 1) // 2

    def remaining(self, bucket: str) -> int:  # noqa: ARG002 - another store's
        """How many of the keys to be deleted are left."""
        return 0

    def uploaded(self, tree: Tree) -> dict[str, int]:
        """Sizes of what was uploaded."""
        found = self.files.found(self.objects / BUCKET / "up")
        for name in tree.files().keys() - found.keys():
            if pieces := nginx_s3.received(self.objects, BUCKET, f"up/{name}"):
                found[name] = sum(piece.stat().st_size for piece in pieces)
        return found

    def is_same(self, name: str, source: Path) -> bool:
        """Whether what was uploaded is the source."""
        pieces = nginx_s3.received(self.objects, BUCKET, f"up/{name}")
        return b"".join(piece.read_bytes() for piece in pieces) == source.read_bytes()

    def forget(self) -> None:
        """Delete what was uploaded."""
        for directory in (self.objects / BUCKET / "up", self.objects / nginx_s3.PARTS / BUCKET / "up"):
            shutil.rmtree(directory, ignore_errors=True)


class RemoteStore(Store):
    """A gateway, whose objects are looked at with boto3."""

    def __init__(self, server: Server, files: Files) -> None:
        import boto3

        super().__init__(server, files)
        self._s3: Any = boto3.session.Session().resource("s3", **boto_arguments(server))
        put_all(server, [BUCKET], [])

    def fill(self, tree: Tree) -> None:
        put_all(self.server, [bucket_of(tree)], [])
        bucket, source = self._s3.Bucket(bucket_of(tree)), self.files.source(tree)
        for name in tree.files():
            bucket.upload_file(str(source / name), f"tree/{name}")

    def make_listing(self, bucket: str, keys: int) -> None:
        assert bucket == f"list-{keys}"
        fill(self.server, [keys])

    def make_doomed(self, bucket: str, keys: int) -> None:
        put_all(self.server, [bucket], [(f"/{bucket}/{KEY_FORMAT % number}", b"") for number in range(1, keys + 1)])

    def listed_bytes(self, keys: int) -> int:  # noqa: ARG002 - they are empty
        return 0

    def remaining(self, bucket: str) -> int:
        return sum(1 for _ in self._s3.Bucket(bucket).objects.all())

    def uploaded(self, tree: Tree) -> dict[str, int]:  # noqa: ARG002 - all are listed
        found = self._s3.Bucket(BUCKET).objects.filter(Prefix="up/")
        return {item.key.removeprefix("up/"): item.size for item in found}

    def is_same(self, name: str, source: Path) -> bool:
        content: bytes = self._s3.Object(BUCKET, f"up/{name}").get()["Body"].read()
        return content == source.read_bytes()

    def forget(self) -> None:
        self._s3.Bucket(BUCKET).objects.filter(Prefix="up/").delete()


def bucket_of(tree: Tree) -> str:
    return f"tree-{tree.name}"


def _etag(path: Path, size: int) -> str:
    """The MD5, as S3 gives it to what came in one piece."""
    if size > PART_BYTES:
        return "large"
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


class Bench:
    """One server, the files, and the turns between them."""

    def __init__(self, server: Server, home: Path, options: Options) -> None:
        self.server, self.files, self.options = server, Files(home), options
        self.environment = clean_environment(home / "bytecode")
        self.store: Store = (Store if server.objects else RemoteStore)(server, self.files)
        self.trees = {**options.trees, WARM_UP.name: WARM_UP}

    def prepare(self, places: Sequence[Place]) -> None:
        """Make the sources, put them on the server, and let each side do a little, unmeasured."""
        self.files.clear()
        works = {place.work for place in places}
        for tree in self.trees.values() if works & {*WHOLE} else ():
            self.files.source(tree).mkdir(parents=True)
            tree.make(self.files.source(tree))
            self.store.fill(tree)
        listings = [
            place for place in places if place.work in (LIST, MEMORY) and place.what.startswith(tuple(LISTINGS))
        ]
        warm_up = [listing(LIST, "list", WARM_UP_KEYS)] if works - {*WHOLE} else []
        for what, count in dict.fromkeys((place.what, place.count) for place in (*listings, *warm_up)):
            self.store.make_listing(what, count)
        if works & {*WHOLE}:
            touch_memory(self.files.targets, 2 * max(tree.total_bytes for tree in self.trees.values()) >> 20)
        for side, place in itertools.product(self.options.sides, self._warm_up_of(places)):
            if self._does(side, place):
                self.turn(side, place, 0)
        for side, place in itertools.product(self.options.sides, places):
            if SIDES[side].client == SPLITTING and place.work == LIST and not place.latency_ms:
                self.turn(side, place, 0)  # the stand-in has to make the pages of a split listing first

    def _warm_up_of(self, places: Sequence[Place]) -> list[Place]:
        """A little of every work."""
        few = {
            LIST: listing(LIST, "list", WARM_UP_KEYS),
            DELETE: listing(DELETE, "list", WARM_UP_KEYS),
            **{work: Place(work, WARM_UP.name, len(WARM_UP.sizes), WARM_UP.words) for work in WHOLE},
        }
        return [few[work] for work in dict.fromkeys(place.work for place in places) if work in few]

    def turns(self, places: Sequence[Place]) -> Iterator[Turn]:
        """Every turn. A side that fails at some place is not asked there again."""
        given_up: set[tuple[str, Place]] = set()
        for number, place in itertools.product(range(self.options.rounds), places):
            started = time.monotonic()
            for side in in_turn(self.options.sides, number):
                if self._does(side, place) and (side, place) not in given_up:
                    turn = self.turn(side, place, number)
                    if turn.failure:
                        given_up.add((side, place))
                    yield turn
            tell(f"round {number + 1} of {self.options.rounds}: {place.title()}, {time.monotonic() - started:.0f} s")

    def turn(self, side: str, place: Place, number: int) -> Turn:
        self.files.clear()
        self.store.forget()
        if place.work == DELETE:
            self.store.make_doomed(self.task(place).bucket, place.count)
        try:
            launch = SIDES[side].launch(self.task(place))
        except NotInstalledError as error:
            return Turn(place, side, number, failure=str(error))
        before = processes.cpu_seconds_of(self.server.process)
        told = processes.run(launch, self.files.home, self.environment, LONGEST_SECONDS)
        after = processes.cpu_seconds_of(self.server.process)
        if told.failure:
            return Turn(place, side, number, failure=told.failure)
        done = None
        if not SIDES[side].is_tool:
            done = Done(**json.loads(processes.last_lines(self.files.home / "out", 2)[0]))
        failure = self._wrong(place, done, is_first=number == 0)
        if failure:
            return Turn(place, side, number, failure=failure)
        compared = told if done is None or place.work in WHOLE else done
        return Turn(
            place,
            side,
            number,
            compared.wall_seconds,
            compared.cpu_seconds,
            told.wall_seconds,
            told.peak_bytes if done is None else done.peak_bytes,
            done.idle_bytes if done else None,
            None if before is None or after is None else after - before,
        )

    def task(self, place: Place) -> Task:
        server = self.server
        is_tree, is_plan = place.work in WHOLE, place.what in (PLAN_DOWN, PLAN_UP)
        bucket, prefix, directory = place.what, "", self.files.targets
        if is_tree:
            tree = self.trees[place.what]
            bucket, prefix = (BUCKET, "up/") if place.work == UP else (bucket_of(tree), "tree/")
            directory = self.files.source(tree) if place.work == UP else directory
        elif is_plan:
            bucket = f"list-{place.count}"
        elif place.work == DELETE and not server.makes_up_listings:
            bucket = f"delete-{place.count}"
        return Task(
            work=place.what if is_plan else LIST if place.work == MEMORY else place.work,
            bucket=bucket,
            prefix=prefix,
            directory=str(directory),
            key_format=KEY_FORMAT,
            key_count=place.count if place.work == DELETE else 0,
            endpoint=server.delayed_endpoint if place.latency_ms else server.endpoint,
            access_key=server.access_key,
            secret_key=server.secret_key,
            region=server.region,
        )

    def _does(self, side: str, place: Place) -> bool:
        """Of what takes little memory, only this library is asked."""
        kind = SIDES[side].kind
        if place.work == MEMORY:
            return SIDES[side].client.startswith("dream") and self.task(place).work in kind.works
        return place.work in kind.works

    def _wrong(self, place: Place, done: Done | None, *, is_first: bool) -> str | None:
        """What is not as it should be afterwards; content is looked at in the first round."""
        if place.work in WHOLE:
            return self._wrong_in_tree(place, is_first=is_first)
        if place.work == DELETE:
            left = self.store.remaining(self.task(place).bucket)
            return f"it ended well, and {left:,} keys are left" if left else None
        count = 0 if place.what == PLAN_UP else place.count
        found = done.count if done else self._lines()
        if found != count:
            return f"it ended well, and tells {found:,} keys of {count:,}"
        size = self.store.listed_bytes(place.count)
        if done and done.size is not None and done.size != size:
            return f"it ended well, and tells {done.size:,} bytes of {size:,}"
        return None

    def _lines(self) -> int:
        """What a program printed, without the measure of it."""
        with (self.files.home / "out").open("rb") as out:
            return sum(1 for _ in out) - 1

    def _wrong_in_tree(self, place: Place, *, is_first: bool) -> str | None:
        tree = self.trees[place.what]
        source, wanted = self.files.source(tree), tree.files()
        try:
            found = self.files.found(self.files.targets) if place.work == DOWN else self.store.uploaded(tree)
        except FileNotFoundError:
            return "completed an upload with a part that it did not send"
        if found != wanted:
            differ = sum(found.get(name) != size for name, size in wanted.items())
            return (
                f"it ended well, and {differ:,} files of {len(wanted):,} are not as they should be, in {len(found):,}"
            )
        for name in itertools.islice(wanted, 0, None, SAMPLE if is_first else len(wanted)):
            if not self._is_same(place.work, name, source / name):
                return "it ended well, and the content is another"
        return None

    def _is_same(self, work: str, name: str, source: Path) -> bool:
        if work == UP:
            return self.store.is_same(name, source)
        return filecmp.cmp(source, self.files.targets / name, shallow=False)


def _server(options: Options) -> AbstractContextManager[Server]:
    if options.server == "rgw":
        return ceph_rgw(COLLECT_AT_ONCE)
    return nginx_s3.nginx_s3(round_trip_ms=max(options.latencies))


def measure(options: Options) -> tuple[list[Turn], dict[str, str]]:
    """Every turn, and what is to be known of the server."""
    turns: list[Turn] = []
    places = options.places()
    check_memory(options)
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="many-", dir=options.directory))
        server = stack.enter_context(_server(options))
        facts = {"server": server.version}
        if server.delayed_endpoint:
            told = [f"{round_trip_ms(end):.1f}" for end in (server.endpoint, server.delayed_endpoint)]
            facts["a HEAD takes"] = f"{told[0]} ms, and {told[1]} ms with latency"
        bench = Bench(server, Path(home), options)
        try:
            bench.prepare(places)
            for turn in bench.turns(places):
                turns.append(turn)  # noqa: PERF402 - what there is stays when it is interrupted
        except KeyboardInterrupt:
            tell("interrupted: what follows is of the turns until then")
        return turns, facts


def check_memory(options: Options) -> None:
    """ServerUnavailableError if sources, what is on the server, and results do not fit."""
    sizes = [tree.total_bytes for tree in options.trees.values()] if {*options.works} & {*WHOLE} else [0]
    needed, free = 2 * sum(sizes) + 2 * max(sizes) + RESERVE_BYTES, free_bytes(options.directory)
    if needed > free:
        msg = f"{needed >> 20:,} MiB of memory are needed, and {free >> 20:,} free; there is --trees"
        raise ServerUnavailableError(msg)


def round_trip_ms(endpoint: str) -> float:
    """What the smallest request takes, on a connection that is open: the shortest of some."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    took = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        connection.request("HEAD", f"/{BUCKET}/read/0")
        connection.getresponse().read()
        took.append(1e3 * (time.perf_counter() - started))
    connection.close()
    return min(took)


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = sys.argv[1:]
    options, started = parse(arguments), time.monotonic()
    machine = describe_machine()
    try:
        turns, server = measure(options)
    except ServerUnavailableError as error:
        sys.exit(f"{options.server}: {error}")
    versions = {name: version for side in options.sides for name, version in SIDES[side].versions().items()}
    facts = {
        "command": command(arguments, "benchmarks.many"),
        **machine,
        "took": f"{(time.monotonic() - started) / 60:.1f} minutes",
        **server,
        "files": str(options.directory),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        **starts_in_words({name: TOOLS[name].program for name in options.sides if name in TOOLS}),
    }
    if options.json:
        options.json.write_text(
            json.dumps({"facts": facts, "turns": [asdict(turn) for turn in turns]}, indent=1) + "\n"
        )
    text = many_report.section(turns, options.sides, facts)
    if options.doc:
        report.put_into(options.doc, text, many_report.BEGIN, many_report.END)
    print(text)


if __name__ == "__main__":
    main()
