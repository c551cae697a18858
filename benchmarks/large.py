"""``python -m benchmarks.large``: large objects to files and back, this library beside others, sides taking turns.

Every turn is a new process, and the server is one of its own. What is put on a server, what arrives there and the files
all stay in memory: in /dev/shm, unless ``--dir`` names another place for the files.
"""

from __future__ import annotations

import argparse
import asyncio
import filecmp
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import large_report, nginx_s3, processes, report
from benchmarks.__main__ import command
from benchmarks.ceph_rgw import ceph_rgw
from benchmarks.floor import Floor, Signer
from benchmarks.large_clients import SIDES, TOOLS, USUAL, Task
from benchmarks.large_report import MIB, WORKS, Place, Turn
from benchmarks.machine import describe_machine
from benchmarks.memory import MEMORY, free_bytes, touch_memory
from benchmarks.options import known, numbers
from benchmarks.processes import Launch, NotInstalledError, Report
from benchmarks.programs import starts_in_words
from benchmarks.rounds import clean_environment, in_turn
from benchmarks.store import BUCKET, Server, ServerUnavailableError

SIZES = (64, 256, 1024)
AT_ONCE = (1, 8)
LARGEST_OF_MANY = {"nginx": 256, "rgw": 64}
"""MiB of each of several objects at once, at most: they all have to fit in memory, on both ends."""
LARGEST = {"nginx": 1024, "rgw": 256}
RESERVE_BYTES = 1 << 30
LONGEST_SECONDS = 120
"""A turn that takes longer is given up."""
WARM_UP_MIB = 16
BLOCK = 1 << 20
COLLECT_AT_ONCE = "rgw_gc_obj_min_wait = 1\nrgw_gc_processor_period = 1\nrgw_gc_processor_max_time = 1\n"
"""The gateway keeps what was overwritten or deleted for two hours otherwise, and all of it in memory."""


@dataclass(frozen=True, slots=True)
class Options:
    server: str
    sides: tuple[str, ...]
    works: tuple[str, ...]
    sizes: tuple[int, ...]
    """MiB."""
    at_once: tuple[int, ...]
    schemes: tuple[str, ...]
    rounds: int
    directory: Path
    json: Path | None
    doc: Path | None

    def places(self) -> tuple[list[Place], list[str]]:
        """What is to be measured, and in words what is not, for there is no room."""
        asked = [Place(*place) for place in itertools.product(self.schemes, self.works, self.sizes, self.at_once)]
        too_large = [place for place in asked if place.mebibytes > self._largest(place.at_once)]
        kept: list[Place] = []
        too_much: list[Place] = []
        free = free_bytes(self.directory)
        for place in sorted(set(asked) - set(too_large), key=lambda place: place.mebibytes * place.at_once):
            fits = _needed_bytes([*kept, place]) <= free
            (kept if fits else too_much).append(place)
        words = [f"{place.what()}: more than is asked of {self.server}" for place in too_large]
        words += [f"{place.what()}: {free >> 30} GiB of memory are free, which is not enough" for place in too_much]
        return [place for place in asked if place in kept], list(dict.fromkeys(words))

    def _largest(self, at_once: int) -> int:
        return (LARGEST if at_once == 1 else LARGEST_OF_MANY)[self.server]


def _needed_bytes(places: Sequence[Place]) -> int:
    """Every source twice, here and on the server, and the largest turn's result and buffers."""
    sources = {place.mebibytes: 0 for place in places}
    for place in places:
        sources[place.mebibytes] = max(sources[place.mebibytes], place.at_once)
    largest = max(place.mebibytes * place.at_once for place in places)
    return (2 * sum(size * count for size, count in sources.items()) + 2 * largest) * MIB + RESERVE_BYTES


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__.partition(": ")[2])
    parser.add_argument("--quick", action="store_true", help="64 MiB only, one round")
    parser.add_argument("--only", metavar="SIDES", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--work", help="down,up")
    parser.add_argument("--sizes", help="in MiB: 64,256,1024")
    parser.add_argument("--at-once", metavar="NUMBERS", help="1,8")
    parser.add_argument("--scheme", choices=["http", "https", "both"], default="both")
    parser.add_argument("--server", choices=["nginx", "rgw"], default="nginx")
    parser.add_argument("--rounds", type=int, help="3")
    parser.add_argument("--dir", type=Path, default=MEMORY, help="where the files are: /dev/shm")
    parser.add_argument("--json", type=Path, help="write every turn there")
    parser.add_argument("--doc", type=Path, help="put the result between the markers of this page")
    told = parser.parse_args(arguments)
    try:
        return Options(
            server=told.server,
            sides=known(told.only, SIDES, USUAL),
            works=known(told.work, WORKS, tuple(WORKS)),
            sizes=numbers(told.sizes, SIZES[:1] if told.quick else SIZES),
            at_once=numbers(told.at_once, AT_ONCE),
            schemes=("http", "https") if told.scheme == "both" else (told.scheme,),
            rounds=told.rounds or (1 if told.quick else 3),
            directory=told.dir,
            json=told.json,
            doc=told.doc,
        )
    except ValueError as error:
        parser.error(str(error))


@dataclass(frozen=True, slots=True)
class Files:
    """The directories of a run, and what an object of each name holds."""

    home: Path

    @property
    def sources(self) -> Path:
        return self.home / "sources"

    @property
    def targets(self) -> Path:
        return self.home / "targets"

    def make(self, names: Sequence[str]) -> None:
        """Content that is another in every file and at every place of it."""
        for directory in (self.sources, self.targets):
            directory.mkdir(exist_ok=True)
        block = os.urandom(BLOCK)
        for name in names:
            with (self.sources / name).open("wb") as file:
                for number in range(int(name.partition("-")[0])):
                    head = f"{name} {number} ".encode()
                    file.write(head)
                    file.write(memoryview(block)[len(head) :])


def names_of(mebibytes: int, at_once: int) -> list[str]:
    return [f"{mebibytes}-{number}" for number in range(at_once)]


class Store:
    """The objects of the stand-in, which are files."""

    def __init__(self, server: Server, bench: Bench) -> None:
        self.server, self.bench, self.objects = server, bench, Path(server.objects)

    def fill(self, names: Sequence[str]) -> None:
        """Put the sources under ``large/``."""
        directory = self.objects / BUCKET / "large"
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            source = self.bench.files.sources / name
            try:
                (directory / name).hardlink_to(source)
            except OSError:  # another file system
                shutil.copyfile(source, directory / name)

    def size(self, name: str) -> int:
        """Of what was uploaded."""
        return sum(piece.stat().st_size for piece in nginx_s3.received(self.objects, BUCKET, f"up/{name}"))

    def is_same(self, name: str) -> bool:
        """Whether what was uploaded is the source."""
        pieces = nginx_s3.received(self.objects, BUCKET, f"up/{name}")
        with (self.bench.files.sources / name).open("rb") as source:
            return all(_goes_on_with(source.read, piece) for piece in pieces) and not source.read(1)

    def forget(self, name: str) -> None:
        nginx_s3.forget(self.objects, BUCKET, f"up/{name}")


class RemoteStore(Store):
    """The objects of a gateway, moved with boto3."""

    def fill(self, names: Sequence[str]) -> None:
        self._request("PUT", f"/{BUCKET}")
        for name in names:
            self._move("up", "large", name, self.bench.files.sources)

    def size(self, name: str) -> int:
        reply = self._request("HEAD", f"/{BUCKET}/up/{name}")
        return reply if reply is not None else 0

    def is_same(self, name: str) -> bool:
        self._move("down", "up", name, self.bench.files.targets)
        return self.bench.is_downloaded(name)

    def forget(self, name: str) -> None:
        self._request("DELETE", f"/{BUCKET}/up/{name}")

    def _move(self, work: str, prefix: str, name: str, directory: Path) -> None:
        task = self.bench.task("http", work, [name], prefix, directory)
        failure = self.bench.run(SIDES["boto3"].launch(task, self.bench.files.home)).failure
        if failure:
            raise ServerUnavailableError(failure)

    def _request(self, method: str, path: str) -> int | None:
        """The size that the reply tells, if it is a success."""

        async def request() -> int | None:
            server = self.server
            floor = Floor(server.endpoint, Signer(server.access_key, server.secret_key, server.region))
            reply = await floor.request(method, path, b"" if method == "PUT" else None, check=False)
            floor.close()
            return reply.size() if method == "HEAD" and reply.status < 300 else None

        return asyncio.run(request())


def _goes_on_with(read: Callable[[int], bytes], piece: Path) -> bool:
    with piece.open("rb") as file:
        return all(read(len(block)) == block for block in iter(lambda: file.read(BLOCK), b""))


class Bench:
    """One server, the files, and the turns between them."""

    def __init__(self, server: Server, home: Path, options: Options) -> None:
        self.server, self.files, self.options = server, Files(home), options
        self.environment = clean_environment(home / "bytecode")
        self.store: Store = Store(server, self) if server.objects else RemoteStore(server, self)

    def prepare(self, places: Sequence[Place]) -> None:
        """Make the sources, put them on the server, and let each side move something, unmeasured."""
        names = {name for place in places for name in names_of(place.mebibytes, place.at_once)}
        warm_up = names_of(WARM_UP_MIB, 1)
        every = sorted(names.union(warm_up))
        self.files.make(every)
        self.store.fill(every)
        touch_memory(self.files.targets, 2 * max(place.mebibytes * place.at_once for place in places))
        for side, work in itertools.product(self.options.sides, self.options.works):
            self.turn(side, Place(self.options.schemes[0], work, WARM_UP_MIB, 1), 0)

    def turns(self, places: Sequence[Place]) -> Iterator[Turn]:
        """Every turn. A side that fails at some place is not asked there again."""
        given_up: set[tuple[str, Place]] = set()
        for number, place in itertools.product(range(self.options.rounds), places):
            started = time.monotonic()
            for side in in_turn(self.options.sides, number):
                if (side, place) not in given_up:
                    turn = self.turn(side, place, number)
                    if turn.failure:
                        given_up.add((side, place))
                    yield turn
            tell(f"round {number + 1} of {self.options.rounds}: {place.what()}, {time.monotonic() - started:.0f} s")

    def turn(self, side: str, place: Place, number: int) -> Turn:
        names = names_of(place.mebibytes, place.at_once)
        self._clear(names)
        prefix, directory = ("large", self.files.targets) if place.work == "down" else ("up", self.files.sources)
        try:
            launch = SIDES[side].launch(self.task(place.scheme, place.work, names, prefix, directory), self.files.home)
        except NotInstalledError as error:
            return Turn(place, side, number, failure=str(error))
        before = processes.cpu_seconds_of(self.server.process)
        told = self.run(launch)
        after = processes.cpu_seconds_of(self.server.process)
        failure = told.failure or self._wrong(place, names, is_first=number == 0)
        self._clear(names)
        if failure:
            return Turn(place, side, number, failure=failure)
        used = None if before is None or after is None else after - before
        return Turn(place, side, number, told.wall_seconds, told.cpu_seconds, told.peak_bytes, told.idle_bytes, used)

    def task(self, scheme: str, work: str, names: Sequence[str], prefix: str, directory: Path) -> Task:
        server, is_tls = self.server, scheme == "https"
        return Task(
            work,
            tuple(names),
            prefix,
            str(directory),
            server.tls_endpoint if is_tls else server.endpoint,
            server.certificate if is_tls else "",
            server.access_key,
            server.secret_key,
            server.region,
        )

    def run(self, launch: Launch) -> Report:
        """What the process reports, or how it ended."""
        return processes.run(launch, self.files.home, self.environment, LONGEST_SECONDS)

    def is_downloaded(self, name: str) -> bool:
        return filecmp.cmp(self.files.sources / name, self.files.targets / name, shallow=False)

    def _wrong(self, place: Place, names: Sequence[str], *, is_first: bool) -> str | None:
        """What is not as it should be afterwards; content is looked at in the first round."""
        for name in names:
            target = self.files.targets / name
            if place.work == "down":
                size = target.stat().st_size if target.exists() else 0
            else:
                try:
                    size = self.store.size(name)
                except FileNotFoundError:
                    return "completed an upload with a part that it did not send"
            if size != place.mebibytes * MIB:
                return f"it ended well, and there are {size:,} bytes of {place.mebibytes * MIB:,}"
            if is_first and not (self.is_downloaded if place.work == "down" else self.store.is_same)(name):
                return "it ended well, and the content is another"
        return None

    def _clear(self, names: Sequence[str]) -> None:
        for left in self.files.targets.iterdir():
            left.unlink()
        for name in names:
            self.store.forget(name)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _server(name: str) -> AbstractContextManager[Server]:
    return nginx_s3.nginx_s3() if name == "nginx" else ceph_rgw(COLLECT_AT_ONCE)


def measure(options: Options) -> tuple[list[Turn], list[str], str]:
    """Every turn, in words what was left out, and the server's version."""
    turns: list[Turn] = []
    places, left_out = options.places()
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="large-", dir=options.directory))
        server = stack.enter_context(_server(options.server))
        if not server.tls_endpoint and "https" in options.schemes:
            left_out.append(f"https: {server.name} has no TLS here")
            places = [place for place in places if place.scheme == "http"]
        if not places:
            return [], left_out, server.version
        bench = Bench(server, Path(home), options)
        try:
            bench.prepare(places)
            for turn in bench.turns(places):
                turns.append(turn)  # noqa: PERF402 - what there is stays when it is interrupted
        except KeyboardInterrupt:
            tell("interrupted: what follows is of the turns until then")
        return turns, left_out, server.version


def main() -> None:
    arguments = sys.argv[1:]
    options, started = parse(arguments), time.monotonic()
    machine = describe_machine()
    try:
        turns, left_out, server = measure(options)
    except ServerUnavailableError as error:
        sys.exit(f"{options.server}: {error}")
    versions = {name: version for side in options.sides for name, version in SIDES[side].versions().items()}
    facts = {
        "command": command(arguments, "benchmarks.large"),
        **machine,
        "took": f"{(time.monotonic() - started) / 60:.1f} minutes",
        "server": server,
        "files": str(options.directory),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        **starts_in_words({name: TOOLS[name].program for name in options.sides if name in TOOLS}),
        **({"left out": "; ".join(left_out)} if left_out else {}),
    }
    if options.json:
        options.json.write_text(
            json.dumps({"facts": facts, "turns": [asdict(turn) for turn in turns]}, indent=1) + "\n"
        )
    text = large_report.section(turns, options.sides, facts)
    if options.doc:
        report.put_into(options.doc, text, large_report.BEGIN, large_report.END)
    print(text)


if __name__ == "__main__":
    main()
