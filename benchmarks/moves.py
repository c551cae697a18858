"""The bench of large objects, of listings, deletions and trees of files. Each turn is a process of its own.

Objects and files are in memory, in /dev/shm. Each turn's result is checked, its content in the first round.
"""

from __future__ import annotations

import filecmp
import hashlib
import http.client
import itertools
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.ceph_rgw import ceph_rgw
from benchmarks.clients import BATCH_KEYS, BUCKET, PART_BYTES, PARTS, Job, Settings, Side
from benchmarks.machine import versions
from benchmarks.nginx_s3 import PARTS as PART_FILES
from benchmarks.nginx_s3 import nginx_s3, received, write_manifest
from benchmarks.results import FILES, KEYS, MEBIBYTES, Place, Results, Turn
from benchmarks.run import (
    Facts,
    Page,
    clean_environment,
    cpu_seconds_of,
    publish,
    take_turns,
    turn_of,
    until_interrupted,
    write_json,
)
from benchmarks.store import Server, ServerUnavailableError, fill_bucket, put_all
from benchmarks.trees import Tree
from benchmarks.turn import Done

MEMORY = Path("/dev/shm")
RESERVE_BYTES = 1 << 30
BLOCK = 1 << 20
AT_ONCE = 64
"""Objects of a tree at once, or requests if a client counts those."""
SAMPLE, FEW = 97, 8
"""The content of one file in SAMPLE is compared, or of all if there are few."""
ROUND_TRIPS = 20
COLLECT_AT_ONCE = "rgw_gc_obj_min_wait = 1\nrgw_gc_processor_period = 1\nrgw_gc_processor_max_time = 1\n"
"""Otherwise the gateway keeps deleted objects for two hours, in memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how."""

    server: str
    sides: tuple[str, ...]
    places: tuple[Place, ...]
    warm_up: tuple[Place, ...]
    """A little of everything. Each side does it first, unmeasured."""
    trees: Mapping[str, Tree]
    rounds: int
    json: Path | None
    doc: Path | None
    round_trip_ms: int = 0


def sizes_below(directory: Path) -> dict[str, int]:
    """Return the sizes of files by their paths."""
    paths = (Path(parent, name) for parent, _, names in os.walk(directory) for name in names)
    return {str(path.relative_to(directory)): path.stat().st_size for path in paths}


class Store:
    """The objects of the stand-in, which are files."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server, self.home, self.objects = server, home, Path(server.objects)

    def source(self, tree: str) -> Path:
        """Return the directory of a tree's files."""
        return self.home / "sources" / tree

    def fill(self, tree: Tree) -> None:
        """Put a tree into a bucket of its own."""
        directory, source = self.objects / bucket_of(tree.name) / "tree", self.source(tree.name)
        for name in tree.files():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                (directory / name).hardlink_to(source / name)
            except OSError:  # another file system
                shutil.copyfile(source / name, directory / name)
        entries = [
            (f"tree/{name}", size, _etag(source / name, size) if tree.has_digests else "no-digest")
            for name, size in tree.files().items()
        ]
        write_manifest(self.objects, bucket_of(tree.name), entries)

    def make_listing(self, bucket: str, keys: int) -> None:
        """Make a bucket ready to be listed."""
        for token in range(0, keys, BATCH_KEYS):
            url = f"{self.server.service.endpoint}/{bucket}?list-type=2&continuation-token={token}"
            with urllib.request.urlopen(url) as page:
                page.read()

    def uploaded(self, names: Iterable[str]) -> dict[str, int]:
        """Return the sizes of what was uploaded. Objects of these names may be in parts."""
        found = sizes_below(self.objects / BUCKET / "up")
        for name in names:
            if name not in found and (pieces := self._received(name)):
                found[name] = sum(piece.stat().st_size for piece in pieces)
        return found

    def is_same(self, name: str, source: Path) -> bool:
        """Compare what was uploaded with its source."""
        with source.open("rb") as file:
            return all(_goes_on_with(file.read, piece) for piece in self._received(name)) and not file.read(1)

    def _received(self, name: str) -> list[Path]:
        return received(self.objects, BUCKET, f"up/{name}")

    def forget(self) -> None:
        """Delete what was uploaded."""
        for directory in (self.objects / BUCKET / "up", self.objects / PART_FILES / BUCKET / "up"):
            shutil.rmtree(directory, ignore_errors=True)


class RemoteStore(Store):
    """The objects of a gateway, through boto3."""

    def __init__(self, server: Server, home: Path) -> None:
        from boto3.session import Session

        from benchmarks.clients.boto import arguments

        super().__init__(server, home)
        self._s3: Any = Session().resource("s3", **arguments(server.service))
        put_all(server.service, [BUCKET], {})

    def fill(self, tree: Tree) -> None:
        put_all(self.server.service, [bucket_of(tree.name)], {})
        bucket, source = self._s3.Bucket(bucket_of(tree.name)), self.source(tree.name)
        for name in tree.files():
            bucket.upload_file(str(source / name), f"tree/{name}")

    def make_listing(self, bucket: str, keys: int) -> None:
        fill_bucket(self.server.service, bucket, keys)

    def remaining(self, bucket: str) -> int:
        """Count the keys that are left."""
        return sum(1 for _ in self._s3.Bucket(bucket).objects.all())

    def uploaded(self, names: Iterable[str]) -> dict[str, int]:  # noqa: ARG002 - all are listed
        found = self._s3.Bucket(BUCKET).objects.filter(Prefix="up/")
        return {item.key.removeprefix("up/"): item.size for item in found}

    def is_same(self, name: str, source: Path) -> bool:
        arrived = self.home / "arrived"
        self._s3.Object(BUCKET, f"up/{name}").download_file(str(arrived))
        return filecmp.cmp(source, arrived, shallow=False)

    def forget(self) -> None:
        self._s3.Bucket(BUCKET).objects.filter(Prefix="up/").delete()


def bucket_of(tree: str) -> str:
    return f"tree-{tree}"


def _etag(path: Path, size: int) -> str:
    """Return the MD5, as S3 does for an object that was put in one piece."""
    return "large" if size > PART_BYTES else hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _goes_on_with(read: Callable[[int], bytes], piece: Path) -> bool:
    with piece.open("rb") as file:
        return all(read(len(block)) == block for block in iter(lambda: file.read(BLOCK), b""))


class Bench:
    """One server, the files, and the turns between them."""

    def __init__(self, server: Server, home: Path, plan: Plan) -> None:
        self.server, self.home, self.plan = server, home, plan
        self.environment, self.targets = clean_environment(home), home / "targets"
        self.store: Store = (Store if server.objects else RemoteStore)(server, home)

    def prepare(self, places: Sequence[Place]) -> None:
        """Make the sources, put them on the server, and let each side warm up."""
        trees = trees_of([*places, *self.plan.warm_up], self.plan.trees)
        for tree in trees:
            tree.make(self.store.source(tree.name))
            self.store.fill(tree)
        listed = [
            place for place in (*places, *self.plan.warm_up) if place.unit is KEYS and place.verb != "delete_many"
        ]
        for bucket, count in dict.fromkeys((place.tree, place.count) for place in listed):
            self.store.make_listing(bucket, count)
        touch_memory(self.home, 2 * max((sum(tree.sizes) for tree in trees), default=0))
        for side, place in itertools.product(self.plan.sides, self.plan.warm_up):
            list(self.turn(side, place, 0))

    def turn(self, side: str, place: Place, number: int) -> Iterator[Turn]:
        if not _does(Side(side), place):
            return
        shutil.rmtree(self.targets, ignore_errors=True)
        self.targets.mkdir()
        self.store.forget()
        job = self.job(place)
        if place.verb == "delete_many" and isinstance(self.store, RemoteStore):
            self.store.make_listing(job.bucket, place.count)  # the stand-in needs no keys to delete
        before = cpu_seconds_of(self.server.process)
        told, whole, failure = turn_of(Side(side), job, self.home, self.environment)
        after = cpu_seconds_of(self.server.process)
        done = told.get(job.verb)
        if failure := failure or self._wrong(place, job, done, is_first=number == 0):
            yield Turn(place, side, number, failure=failure)
            return
        assert whole
        own = done.measured if done else whole
        compared = whole if place.unit is FILES and not place.is_ours else own
        yield Turn(
            place,
            side,
            number,
            replace(
                compared,
                operations=place.operations,
                peak_bytes=own.peak_bytes,
                process_seconds=whole.wall_seconds if place.unit is KEYS else None,
                idle_bytes=own.idle_bytes,
                server_cpu_seconds=None if before is None or after is None else after - before,
            ),
        )

    def job(self, place: Place) -> Job:
        server = self.server
        service = {"https": server.tls, "delayed": server.delayed}.get(place.link, server.service)
        assert service
        if place.unit is KEYS:
            is_deleting = place.verb == "delete_many"
            bucket = f"delete-{place.count}" if is_deleting and not server.makes_up_listings else place.tree
            directory, count = str(self.targets), place.count if is_deleting else 0
            return Job(place.verb, service, Settings(AT_ONCE), bucket, directory=directory, count=count)
        is_up = place.verb.startswith("upload")
        bucket, prefix = (BUCKET, "up/") if is_up else (bucket_of(place.tree), "tree/")
        path = self.store.source(place.tree) if is_up else self.targets
        if place.unit is FILES:
            return Job(place.verb, service, Settings(place.in_flight or AT_ONCE), bucket, prefix, str(path))
        names = self._names(place)
        keys, files = tuple(f"{prefix}{name}" for name in names), tuple(str(path / name) for name in names)
        return Job(place.verb, service, Settings(PARTS * len(names)), bucket, prefix, str(path), keys, files)

    def _names(self, place: Place) -> dict[str, int]:
        return self.plan.trees[place.tree].first(place.count).files()

    def _wrong(self, place: Place, job: Job, done: Done | None, *, is_first: bool) -> str | None:
        """Say what is wrong with the result, if anything."""
        if place.unit is not KEYS:
            return self._wrong_in_tree(place, is_first=is_first)
        if place.verb == "delete_many":
            left = self.store.remaining(job.bucket) if isinstance(self.store, RemoteStore) else 0
            return f"it ended well, and {left:,} keys are left" if left else None
        count = 0 if place.verb == "plan_upload" else place.count
        found = done.count if done else self._lines()
        if found != count:
            return f"it ended well, and counted {found:,} keys instead of {count:,}"
        size = place.count * (place.count + 1) // 2 if self.server.makes_up_listings else 0
        if done and done.size is not None and done.size != size:
            return f"it ended well, and counted {done.size:,} bytes instead of {size:,}"
        return None

    def _lines(self) -> int:
        """Count the lines that a program printed, without the last one, which is ours."""
        with (self.home / "out").open("rb") as out:
            return sum(1 for _ in out) - 1

    def _wrong_in_tree(self, place: Place, *, is_first: bool) -> str | None:
        is_up, wanted, source = place.verb.startswith("upload"), self._names(place), self.store.source(place.tree)
        try:
            found = self.store.uploaded(wanted) if is_up else sizes_below(self.targets)
        except FileNotFoundError:
            return "completed an upload with a part that it did not send"
        if found != wanted:
            differ = sum(found.get(name) != size for name, size in wanted.items())
            return f"it ended well, and {differ:,} of {len(wanted):,} files are wrong, of {len(found):,} found"
        for name in itertools.islice(wanted, 0, None, SAMPLE if len(wanted) > FEW else 1) if is_first else ():
            is_same = self.store.is_same(name, source / name) if is_up else self._is_downloaded(name, source / name)
            if not is_same:
                return "it ended well, with wrong content"
        return None

    def _is_downloaded(self, name: str, source: Path) -> bool:
        return filecmp.cmp(source, self.targets / name, shallow=False)


def _does(side: Side, place: Place) -> bool:
    if (place.is_ours and not side.client.startswith("dream")) or (place.only and side.name not in place.only):
        return False
    return place.unit is MEBIBYTES or place.verb in side.kind.many


# Memory


def trees_of(places: Iterable[Place], trees: Mapping[str, Tree]) -> list[Tree]:
    """Return the trees that these places move, as large as these places need them."""
    counts: dict[str, int] = {}
    for place in places:
        if place.tree in trees:
            counts[place.tree] = max(place.count, counts.get(place.tree, 0))
    return [trees[name].first(count) for name, count in counts.items()]


def check_memory(places: Sequence[Place], trees: Mapping[str, Tree]) -> None:
    """Raise ServerUnavailableError unless memory is enough for all sources, here and on the server, and for the largest
    turn.
    """
    sizes = [sum(tree.sizes) for tree in trees_of(places, trees)] or [0]
    needed, free = 2 * sum(sizes) + 2 * max(sizes) + RESERVE_BYTES, free_bytes()
    if needed > free:
        msg = f"{needed >> 20:,} MiB of memory are needed, and {free >> 20:,} are free; choose fewer or smaller objects"
        raise ServerUnavailableError(msg)


def free_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return min(available, shutil.disk_usage(MEMORY).free)


def touch_memory(directory: Path, count: int) -> None:
    """Use so many bytes once. A virtual machine may get them from its host only then, at the cost of the first side."""
    target, block = directory / "memory", bytes(BLOCK)
    with target.open("wb") as file:
        for _ in range(0, count, BLOCK):
            file.write(block)
    target.unlink()


# A run


def measure(plan: Plan) -> tuple[list[Turn], dict[str, str]]:
    """Return every turn, and facts about the server."""
    places = plan.places
    check_memory(places, plan.trees)
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-", dir=MEMORY))
        needs_tls = any(place.link == "https" for place in places)
        is_rgw = plan.server == "rgw"
        server = stack.enter_context(
            ceph_rgw(COLLECT_AT_ONCE) if is_rgw else nginx_s3(plan.round_trip_ms, has_tls=needs_tls)
        )
        facts = {"server": server.version, "files": str(MEMORY)}
        if server.delayed:
            told = [f"{round_trip_ms(one.endpoint):.1f}" for one in (server.service, server.delayed)]
            facts["a HEAD takes"] = f"{told[0]} ms, and {told[1]} ms with latency"
        if needs_tls and not server.tls:
            facts["left out"] = f"https: {server.name} has no TLS here"
            places = tuple(place for place in places if place.link != "https")
        bench = Bench(server, Path(home), plan)

        def turns() -> Iterator[Turn]:
            bench.prepare(places)
            yield from take_turns(plan.sides, places, plan.rounds, bench.turn)

        return until_interrupted(turns()), facts


def round_trip_ms(endpoint: str) -> float:
    """Return the shortest time of a few HEAD requests on an open connection."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    took = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        connection.request("HEAD", f"/{BUCKET}/read/0")
        connection.getresponse().read()
        took.append(1e3 * (time.perf_counter() - started))
    connection.close()
    return min(took)


def starts(sides: Iterable[str]) -> dict[str, str]:
    """Say how long each program takes to start. That is a part of its wall time."""
    took = {}
    for name in sides:
        if Side(name).is_program and Side(name).kind.is_installed():
            started = time.perf_counter()
            Side(name).kind.versions()
            took[name] = 1e3 * (time.perf_counter() - started)
    told = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in took.items())
    return {"to start and tell its version": told} if told else {}


def run(plan: Plan, facts: Facts, page: Page) -> None:
    """Measure, and publish the result."""
    try:
        turns, server = measure(plan)
    except ServerUnavailableError as error:
        sys.exit(f"{plan.server}: {error}")
    told = facts.told(**server, versions=versions(plan.sides), **starts(plan.sides))
    write_json(plan.json, told, turns=turns)
    publish(page, Results.of(turns, plan.places), told, plan.sides, plan.doc)
