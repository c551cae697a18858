"""``python -m benchmarks.filesystems``: the filesystem for fsspec, this library's beside others.

Each turn is a process of its own. What is measured begins when the filesystem has read one object.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.ceph_rgw import ceph_rgw
from benchmarks.clients import BUCKET, Job, Service, Settings, version_of
from benchmarks.clients.boto import config
from benchmarks.meter import Measured, Meter
from benchmarks.moves import COLLECT_AT_ONCE, MEMORY, RemoteStore, Store, bucket_of, sizes_below
from benchmarks.nginx_s3 import free_port, nginx_s3
from benchmarks.results import FILES, KEYS, MEBIBYTES, MIB, REQUESTS, Place, Results, Turn, markdown
from benchmarks.run import (
    Facts,
    chosen,
    clean_environment,
    measured,
    parser_of,
    take_turns,
    until_interrupted,
    write_json,
)
from benchmarks.store import PAYLOAD, READ_KEYS, Server, ServerUnavailableError, fill, list_bucket
from benchmarks.trees import KIB, Tree
from benchmarks.turn import Done

AT_ONCE = 64
"""Requests at once: this library's default. obstore's filesystem has no such setting."""
LIBRARY = "library"
"""This library's own verbs, which its filesystem is to keep up with."""
SIDES = {"dream": "aiodreamobjects", "s3fs": "s3fs", "obstore": "obstore", LIBRARY: "aiodreamobjects"}
COUNT, LARGE_MIB = 1000, 256
COLUMNS, READ, ROWS, GROUP_ROWS = 20, ["c3", "c7", "c11", "c15"], 500_000, 50_000
KEYS_ON = {"nginx": 100_000, "rgw": 100_000, "moto": 1_000}
"""moto takes seconds for each page of a large bucket."""
TREES = {
    "files": Tree("files", "", (64 * KIB,) * COUNT),
    "large": Tree("large", "", (LARGE_MIB * MIB,), is_flat=True),
}
PLACES = [
    Place(f"`cat` of {COUNT:,} objects of 1 KiB", "cat", REQUESTS, operations=COUNT),
    Place("`find`", "find", KEYS),
    Place(f"`get` of {COUNT:,} objects of 64 KiB", "get", FILES, operations=COUNT, tree="files"),
    Place(f"`put` of {COUNT:,} files of 64 KiB", "put", FILES, operations=COUNT, tree="files"),
    Place(f"`get_file` of {LARGE_MIB} MiB", "get_file", MEBIBYTES, operations=LARGE_MIB, tree="large"),
    Place(f"`put_file` of {LARGE_MIB} MiB", "put_file", MEBIBYTES, operations=LARGE_MIB, tree="large"),
    Place(
        f"{len(READ)} of {COLUMNS} columns of a parquet file",
        "columns",
        MEBIBYTES,
        operations=len(READ) * ROWS * 8 // MIB,
        tree="table",
    ),
    Place(f"{COUNT:,} times `open`, read 64 KiB, close", "open", REQUESTS, operations=COUNT, tree="files"),
]


# The process of one turn


def filesystem(side: str, service: Service) -> Any:
    if side == "s3fs":
        from s3fs import S3FileSystem

        return S3FileSystem(
            endpoint_url=service.endpoint,
            key=service.access_key,
            secret=service.secret_key,
            client_kwargs={"region_name": service.region},
            config_kwargs=config(Settings(AT_ONCE)),
        )
    if side == "obstore":
        from obstore.fsspec import FsspecStore

        return FsspecStore(
            "s3",
            endpoint=service.endpoint,
            access_key_id=service.access_key,
            secret_access_key=service.secret_key,
            region=service.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
    from aiodreamobjects.fsspec import DreamObjectsFileSystem

    return DreamObjectsFileSystem(
        endpoint=service.endpoint, key=service.access_key, secret=service.secret_key, region=service.region
    )


def work(fs: Any, job: Job) -> Any:
    """Do what is measured. Return a number that says whether all of it was done."""
    match job.verb:
        case "cat":
            return sum(map(len, fs.cat([f"{BUCKET}/{key}" for key in READ_KEYS]).values()))
        case "find":
            return len(fs.find(job.bucket))
        case "get":
            fs.get(f"{job.bucket}/{job.prefix}", job.directory + "/", recursive=True)
        case "put":
            fs.put(job.directory + "/", f"{job.bucket}/{job.prefix}", recursive=True)
        case "get_file":
            fs.get_file(f"{job.bucket}/{job.key}", job.file)
        case "put_file":
            fs.put_file(job.file, f"{job.bucket}/{job.key}")
        case "columns":
            from fsspec.parquet import open_parquet_file
            from pyarrow import parquet

            with open_parquet_file(f"{job.bucket}/{job.key}", fs=fs, columns=READ, engine="pyarrow") as file:
                table = parquet.read_table(file, columns=READ)
                return len(table.column_names) * len(table)
        case "open":
            return sum(_read(fs, f"{job.bucket}/{key}") for key in job.keys)
    return 0


def _read(fs: Any, path: str) -> int:
    with fs.open(path) as file:
        return len(file.read())


async def work_of_library(job: Job) -> Measured:
    import aiodreamobjects as dream

    async with dream.Session(
        endpoint=job.service.endpoint,
        access_key=job.service.access_key,
        secret_key=job.service.secret_key,
        region=job.service.region,
    ) as session:
        await session.bucket(BUCKET).object(READ_KEYS[0]).read()
        meter, obj = Meter(from_now=True), session.bucket(job.bucket).object(job.key)
        await (obj.download(job.file) if job.verb == "get_file" else obj.upload(job.file))
        return meter.read(1)


def turn(side: str, job: Job) -> None:
    """Print what a turn took, and what it did."""
    if side == LIBRARY:
        print(json.dumps(asdict(Done(job.verb, asyncio.run(work_of_library(job))))))
        return
    fs = filesystem(side, job.service)
    fs.cat_file(f"{BUCKET}/{READ_KEYS[0]}")
    if job.verb == "columns":
        work(fs, job)  # imports much
    meter = Meter(from_now=True)
    count = work(fs, job)
    print(json.dumps(asdict(Done(job.verb, meter.read(1), count))), flush=True)
    os._exit(0)  # threads of Rust and of pyarrow may abort the process at its end


# The turns


@dataclass(frozen=True, slots=True)
class Table(Tree):
    """A parquet file of random numbers."""

    content: bytes = b""

    def make(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        (directory / next(iter(self.files()))).write_bytes(self.content)


def table() -> Table:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    random, target = np.random.default_rng(1), io.BytesIO()
    columns = {f"c{number}": random.random(ROWS) for number in range(COLUMNS)}
    parquet.write_table(pa.table(columns), target, row_group_size=GROUP_ROWS, compression="none")
    return Table("table", "", (target.tell(),), is_flat=True, content=target.getvalue())


@contextmanager
def moto() -> Iterator[Server]:
    """Run moto for the `with` block, in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    service = Service(f"http://127.0.0.1:{port}", "AKIDEXAMPLE", "secret", "us-east-1")
    try:
        while not _answers(service.endpoint) and process.poll() is None:
            time.sleep(0.1)
        yield Server("moto", service, f"moto {version_of('moto')}", makes_up_listings=False)
    finally:
        process.terminate()
        process.wait()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/moto-api/data.json").close()
    except OSError:
        return False
    return True


SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "nginx": nginx_s3,
    "rgw": lambda: ceph_rgw(COLLECT_AT_ONCE),
    "moto": moto,
}


class Bench:
    """One server, the files, and the turns between them."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server, self.home = server, home
        self.environment, self.targets = clean_environment(home), home / "targets"
        self.store: Store = (Store if server.objects else RemoteStore)(server, home)

    def prepare(self, places: list[Place]) -> None:
        fill(self.server, [])
        for name in dict.fromkeys(place.tree for place in places):
            if name in TREES:
                TREES[name].make(self.store.source(name))
                self.store.fill(TREES[name])
        for place in places:
            if place.verb == "find":
                self.store.make_listing(place.tree, place.count)

    def turn(self, side: str, place: Place, number: int) -> Iterator[Turn]:
        if side == LIBRARY and place.tree != "large":
            return
        shutil.rmtree(self.targets, ignore_errors=True)
        self.targets.mkdir()
        self.store.forget()
        words = [sys.executable, "-m", "benchmarks.filesystems", side, json.dumps(asdict(self.job(place)))]
        _, failure = measured(words, self.home, self.environment)
        found = None
        if failure is None:
            done = Done.of((self.home / "out").read_text().splitlines()[0])
            failure, found = self._wrong(place, done), replace(done.measured, operations=place.operations)
        yield Turn(place, side, number, None if failure else found, failure)

    def job(self, place: Place) -> Job:
        is_up = place.verb.startswith("put")
        path = self.store.source(place.tree) if is_up else self.targets
        bucket, prefix = (BUCKET, "up/") if is_up else (bucket_of(place.tree), "tree/")
        if place.verb == "find":
            bucket = place.tree
        names = list(TREES[place.tree].files()) if place.tree in TREES else []
        if place.verb != "open":
            names = names[:1]
        keys, files = tuple(prefix + name for name in names), tuple(str(path / name) for name in names)
        return Job(place.verb, self.server.service, Settings(), bucket, prefix, str(path), keys, files)

    def _wrong(self, place: Place, done: Done) -> str | None:
        match place.verb:
            case "cat" | "open":
                wanted = {"": COUNT * (len(PAYLOAD) if place.verb == "cat" else 64 * KIB)}
            case "find":
                wanted = {"": place.count}
            case "columns":
                wanted = {"": len(READ) * ROWS}
            case _:
                wanted = TREES[place.tree].files()
        if "" in wanted:
            found = {"": done.count}
        elif place.verb.startswith("put"):
            found = self.store.uploaded(wanted)
        else:
            found = sizes_below(self.targets)
        return None if found == wanted else f"it ended well, with {len(found)} results, and not what was asked for"


# The run


def main() -> None:
    if sys.argv[1] in SIDES:
        turn(sys.argv[1], Job.of(sys.argv[2]))
        return
    works = {place.verb: place for place in PLACES}
    parser = parser_of("benchmarks.filesystems", __doc__, SIDES)
    parser.add_argument("--server", choices=SERVERS, default="nginx")
    parser.add_argument("--work", help=",".join(works))
    parser.add_argument("--keys", type=int, help="of find: 100000; 1000 on moto")
    parser.add_argument("--rounds", type=int, default=3)
    told, facts = parser.parse_args(), Facts("benchmarks.filesystems", sys.argv[1:])
    places = [works[name] for name in chosen(told.work, works, works)]
    keys = told.keys or KEYS_ON[told.server]
    places = [
        replace(place, title=f"`find` of {keys:,} keys", operations=keys, count=keys, tree=list_bucket(keys))
        if place.verb == "find"
        else place
        for place in places
    ]
    if any(place.verb == "columns" for place in places):
        TREES["table"] = table()
    try:
        with SERVERS[told.server]() as server, tempfile.TemporaryDirectory(prefix="benchmarks-", dir=MEMORY) as home:
            bench = Bench(server, Path(home))
            bench.prepare(places)
            sides = chosen(told.only, SIDES, SIDES)
            turns = until_interrupted(take_turns(sides, places, told.rounds, bench.turn))
    except ServerUnavailableError as error:
        sys.exit(f"{told.server}: {error}")
    names = sorted({*SIDES.values(), "fsspec", "aiobotocore", "pyarrow"})
    facts_told = facts.told(server=server.version, versions=", ".join(f"{name} {version_of(name)}" for name in names))
    write_json(told.json, facts_told, turns=turns)
    print("\n".join(f"- {name}: {fact}" for name, fact in facts_told.items()), end="\n\n")
    print(tables(Results.of(turns, places)))


def tables(found: Results) -> str:
    """Make one table of seconds, with the ratios to the other sides, and say what failed."""
    rows = [["work", *(f"{side} s" for side in SIDES), *(f"× {side}" for side in SIDES if side != "dream"), "CPU s"]]
    for place in found.places:
        figures = found.figures.get(place, {})
        ours = figures.get("dream")
        walls = [f"{figures[side].wall:.3f}" if side in figures else "-" for side in SIDES]
        ratios = [
            f"{figures[side].wall / ours.wall:.1f}" if ours and side in figures else "-"
            for side in SIDES
            if side != "dream"
        ]
        cpu = " ".join(f"{figures[side].used * figures[side].wall:.2f}" for side in SIDES if side in figures)
        rows.append([place.title, *walls, *ratios, cpu])
    failed = [
        f"- {place.title}: {side}: {why[0]}"
        for place in found.places
        for side, why in found.failures.get(place, {}).items()
    ]
    return "\n".join([markdown(rows), "", *failed])


if __name__ == "__main__":
    main()
