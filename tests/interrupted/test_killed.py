"""Killed at any moment, by a signal that no process can catch: nothing torn is to be seen, and the next try completes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import sys
import zlib
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, new_name, put_all
from etags import etag_of

import aiodreamobjects as dream

IS_SOAK = bool(os.environ.get("SOAK"))
ROUNDS = 100 if IS_SOAK else 6  # of which a tree compares in three ways, with and without deleting
MIB = 1 << 20
PART = 5 * MIB
WORKERS = 2
"""Parts of one object at once."""
REQUESTS = 8
"""Names of a tree at once."""
LIMITS = {"part_size": PART, "parts_per_object": WORKERS, "requests": REQUESTS}

pytestmark = pytest.mark.timeout(20 * ROUNDS)

HELPER = """
import asyncio, json, logging, os, sys, time
import aiodreamobjects as dream

class Told(logging.Handler):
    def emit(self, record):
        tell(log=record.getMessage())

def tell(**facts):
    os.write(1, json.dumps(facts).encode() + b"\\n")

async def work(job):
    service = dream.Service.ceph_rgw(job["endpoint"])
    access_key, secret_key = job["keys"]
    limits = dream.Limits(**job["limits"])
    async with dream.Session(service=service, access_key=access_key, secret_key=secret_key, limits=limits) as session:
        begun = time.perf_counter()
        bucket = session.bucket(job["bucket"])
        place = bucket.object(job["key"]) if "key" in job else bucket
        given = dict(job["named"])
        if job["verb"] != "delete":
            given["progress"] = lambda now: tell(bytes=now.done_bytes)
        result = await getattr(place, job["verb"])(*job["given"], **given)
        found = session.statistics()
        facts = {name: getattr(result, name, None) for name in ("verified", "copied", "skipped", "deleted", "failed")}
        tell(seconds=time.perf_counter() - begun, sent=found.bytes_sent, received=found.bytes_received, **facts)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        tell(pid=os.getpid())
        logging.getLogger("aiodreamobjects").addHandler(Told())
        try:
            asyncio.run(work(json.loads(line)))
        except Exception as error:
            tell(error=type(error).__name__, why=str(error))
        os._exit(0)
    tell(status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

Told = dict[str, Any]
"""What a process told last of each fact; all that it logged under ``log``."""


@dataclass(frozen=True)
class Helper:
    """Does each job in a fork of its own, which has imported everything already."""

    process: Process
    common: Mapping[str, object]

    async def do(self, job: Mapping[str, object], *, kill_after: float | None = None) -> Told:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**self.common, **job}).encode() + b"\n")
        child = os.pidfd_open((await self._next())["pid"])
        kill = None
        if kill_after is not None:
            kill = asyncio.get_running_loop().call_later(kill_after, _kill, child)
        told: Told = {"log": ""}
        while "status" not in told:
            facts = await self._next()
            told |= facts | {"log": f"{told['log']}{facts.get('log', '')}\n"}
        if kill is not None:
            kill.cancel()
        os.close(child)
        assert told["status"] in (0, -signal.SIGKILL)
        assert "is not a usable journal" not in told["log"]
        return told

    async def _next(self) -> Told:
        assert self.process.stdout is not None
        facts: Told = json.loads(await self.process.stdout.readline())
        return facts


def _kill(child: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(child, signal.SIGKILL)


@asynccontextmanager
async def helper(rgw: Server) -> AsyncIterator[Helper]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HELPER, stdin=PIPE, stdout=PIPE)
    common = {"endpoint": rgw.service.endpoint, "keys": [rgw.access_key, rgw.secret_key], "limits": LIMITS}
    try:
        yield Helper(process, common)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


class Case(ABC):
    """One verb, and what it works on."""

    verb: str

    def __init__(self, session: dream.Session, bucket: dream.Bucket, home: Path, chosen: random.Random) -> None:
        self.session, self.bucket, self.home, self.chosen = session, bucket, home, chosen
        self.kills = 0

    @abstractmethod
    async def set_up(self) -> None:
        """Once."""

    @abstractmethod
    async def begin(self, number: int) -> Mapping[str, object]:
        """Everything as it was before the verb; the job."""

    @abstractmethod
    async def look(self, told: Told) -> None:
        """What must hold when it was killed."""

    @abstractmethod
    async def look_again(self, told: Told) -> None:
        """What must hold when the next one has come to its end."""


OLD = b"old" * 1000
LARGE = random.Random(1).randbytes(24 * MIB)
LARGE_ETAG = etag_of(LARGE, PART)
PACE = 80 * MIB


class Upload(Case):
    verb = "upload"

    async def set_up(self) -> None:
        self.path = self.home / "file"
        self.path.write_bytes(LARGE)
        self.journals = Path(os.environ["XDG_STATE_HOME"], "aiodreamobjects", "uploads")
        self.most_to_send = len(LARGE)

    async def begin(self, number: int) -> Mapping[str, object]:
        self.obj = self.bucket.object(f"{number}")
        self.was_there = number % 2 == 1
        if self.was_there:
            await self.obj.put(OLD)
        limits = {**LIMITS, "upload_bytes_per_second": PACE}
        return {"key": self.obj.key, "given": [str(self.path)], "named": {"resume": True}, "limits": limits}

    async def look(self, told: Told) -> None:
        found = await self.obj.head() if await self.obj.exists() else None
        etag = found.etag if found else None
        assert etag in (etag_of(OLD, PART) if self.was_there else None, LARGE_ETAG)
        noted = [json.loads(path.read_bytes()) for path in self.journals.glob("*.json")]
        assert len(noted) <= 1
        sizes = {upload.upload_id: await self._parts(upload.upload_id) async for upload in self.bucket.uploads()}
        known = {note["upload_id"] for note in noted}
        assert not any(sizes[upload_id] for upload_id in sizes.keys() - known)
        held = sum(sizes[upload_id] for upload_id in sizes.keys() & known)
        is_completing = etag == LARGE_ETAG or any(note["is_completing"] for note in noted)
        if not is_completing:
            assert told.get("bytes", 0) - held <= WORKERS * PART
        self.most_to_send = len(LARGE) - (0 if is_completing else held)

    async def look_again(self, told: Told) -> None:
        assert told["verified"] == "parts"
        assert told["sent"] <= self.most_to_send
        assert (await self.obj.head()).etag == LARGE_ETAG
        assert await self.obj.read() == LARGE
        left = [await self._parts(upload.upload_id) async for upload in self.bucket.uploads()]
        assert len(left) <= self.kills  # killed between the service's answer and the note: nobody knows its id
        assert not any(left)
        assert list(self.journals.glob("*.json")) == []
        await self.bucket.abort_uploads(timedelta(0))

    async def _parts(self, upload_id: str) -> int:
        """How many bytes of it the service has."""
        client = await self.session.boto_client()
        with suppress(client.exceptions.NoSuchUpload):
            reply = await client.list_parts(Bucket=self.bucket.name, Key=self.obj.key, UploadId=upload_id)
            return sum(part["Size"] for part in reply.get("Parts", ()))
        return 0


class Download(Case):
    verb = "download"

    async def set_up(self) -> None:
        await self.bucket.object("a").put(LARGE)
        self.most_to_receive = len(LARGE)

    async def begin(self, number: int) -> Mapping[str, object]:
        self.target = self.home / f"{number}" / "file"
        self.target.parent.mkdir()
        self.was_there = number % 2 == 1
        if self.was_there:
            self.target.write_bytes(OLD)
        limits = {**LIMITS, "download_bytes_per_second": PACE}
        return {"key": "a", "given": [str(self.target)], "named": {"resume": True}, "limits": limits}

    async def look(self, told: Told) -> None:
        content = self.target.read_bytes() if self.target.exists() else None
        assert content in (OLD if self.was_there else None, LARGE)
        beside = [path.suffix for path in self.target.parent.iterdir() if path != self.target]
        assert sorted(beside) in ([], [".journal"], [".journal", ".part"])
        if content == LARGE:  # it was killed between the file's name and the journal's end
            self.most_to_receive = len(LARGE)
            return
        held = self._held()
        assert told.get("bytes", 0) - held <= WORKERS * PART
        self.most_to_receive = len(LARGE) - held or PART  # the first answer tells whether it is still the object

    def _held(self) -> int:
        """How many bytes the journal says are there; they must be."""
        (*journals,) = self.target.parent.glob(".*.journal")
        (*parts,) = self.target.parent.glob(".*.part")
        if not journals or not (lines := journals[0].read_bytes().splitlines()):
            return 0
        assert json.loads(lines[0])["size"] == len(LARGE)
        partial = parts[0].read_bytes()
        ranges = set()
        for line in lines[1:]:
            number, crc, _ = line.split()
            start = (int(number) - 1) * PART
            assert zlib.crc32(partial[start : start + PART]) == int(crc, 16)
            assert partial[start : start + PART] == LARGE[start : start + PART]
            ranges.add(start)
        return sum(len(LARGE[start : start + PART]) for start in ranges)

    async def look_again(self, told: Told) -> None:
        assert told["verified"] == "parts"
        assert told["received"] <= self.most_to_receive
        assert await asyncio.to_thread(self.target.read_bytes) == LARGE
        assert [path.name for path in self.target.parent.iterdir()] == ["file"]
        shutil.rmtree(self.target.parent)


COMPARE = ("size", "etag", "mtime")
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part")


def new_tree(chosen: random.Random) -> dict[str, bytes]:
    sizes = [chosen.randrange(1 << 10, 64 << 10) for _ in range(48)]
    sizes += [chosen.randrange(256 << 10, MIB) for _ in range(8)] + [chosen.randrange(PART, 6 * MIB) for _ in range(3)]
    chosen.shuffle(sizes)
    return {f"{number % 4}/{number:02}.bin": chosen.randbytes(size) for number, size in enumerate(sizes)}


class Tree(Case):
    """The source is always the same. The target has some old files, and some that are to be deleted."""

    async def set_up(self) -> None:
        self.new = new_tree(random.Random(2))
        self.etags = {name: etag_of(data, PART) for name, data in self.new.items()}
        self.missing = 0
        self.source = self.home / "source"
        write_tree(self.source, self.new)

    def set_out(self, number: int) -> Mapping[str, object]:
        self.deletes, self.compare = number % 2 == 0, COMPARE[number % 3]
        replaced = list(self.new)[number % 3 :: 3]
        self.old = {name: self._other(self.new[name]) for name in replaced} | {"1/extra": OLD, "9/extra": OLD}
        self.extra = self.old.keys() - self.new.keys()
        return {"compare": self.compare, "delete": self.deletes}

    def _other(self, data: bytes) -> bytes:
        """An old content; mere sizes tell it where nothing else is looked at."""
        size = min(len(data), 2000) - (self.compare == "size")
        return data[::-1] if self.compare != "size" and len(data) < 64 << 10 else data[:size][::-1]

    def check(self, found: Mapping[str, str]) -> None:
        """``found``: what each name in the target has for an ETag."""
        old, new = {name: etag_of(data, PART) for name, data in self.old.items()}, self.etags
        for name, etag in found.items():
            assert etag in (old.get(name), new.get(name)), name
        assert found.keys() >= (self.old.keys() & self.new.keys())
        missing = {name for name in new if found.get(name) != new[name]}
        self.missing = len(missing)
        if self.extra - found.keys():
            assert self.deletes
            assert not missing

    def check_again(self, told: Told, found: Mapping[str, str]) -> None:
        assert told["failed"] == 0
        assert told["copied"] <= self.missing
        assert told["copied"] + told["skipped"] == len(self.new)
        kept = {} if self.deletes else {name: etag_of(self.old[name], PART) for name in self.extra}
        assert found == self.etags | kept


def write_tree(root: Path, tree: Mapping[str, bytes]) -> None:
    for name, data in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1, 1))


class UploadTree(Tree):
    verb = "upload_tree"

    async def begin(self, number: int) -> Mapping[str, object]:
        self.prefix = f"{number}"
        named = self.set_out(number)
        async with asyncio.TaskGroup() as group:
            for name, data in self.old.items():
                work = self.bucket.object(f"{self.prefix}/{name}").put(data, metadata={"mtime": "0"})
                group.create_task(work)
        limits = {**LIMITS, "upload_bytes_per_second": PACE}
        return {"given": [str(self.source), self.prefix], "named": named, "limits": limits}

    async def look(self, told: Told) -> None:
        self.check(await self._found())
        uploads = [upload.key async for upload in self.bucket.uploads()]
        assert {key.removeprefix(f"{self.prefix}/") for key in uploads} <= self.new.keys()
        assert len(uploads) <= self.kills * REQUESTS

    async def look_again(self, told: Told) -> None:
        self.check_again(told, await self._found())
        await self.bucket.abort_uploads(timedelta(0))  # of processes that were killed

    async def _found(self) -> dict[str, str]:
        listing = self.bucket.list(f"{self.prefix}/")
        return {info.key.removeprefix(f"{self.prefix}/"): info.etag or "" async for info in listing}


class DownloadTree(Tree):
    verb = "download_tree"

    async def set_up(self) -> None:
        await super().set_up()
        await self.bucket.upload_tree(self.source, "tree")

    async def begin(self, number: int) -> Mapping[str, object]:
        self.root = self.home / f"{number}"
        named = self.set_out(number)
        write_tree(self.root, self.old)
        for name in self.old:
            os.utime(self.root / name, (2, 2))
        self.left: set[str] = set()
        limits = {**LIMITS, "download_bytes_per_second": PACE}
        return {"given": [str(self.root), "tree"], "named": named, "limits": limits}

    async def look(self, told: Told) -> None:
        found = await asyncio.to_thread(self._found)
        self.left = {name for name in found if TEMPORARY.fullmatch(name.rpartition("/")[2])}
        assert len(self.left) <= self.kills * REQUESTS
        self.check({name: etag for name, etag in found.items() if name not in self.left})

    async def look_again(self, told: Told) -> None:
        """Temporary files of the killed stay where nothing is deleted; and no new ones come."""
        found = await asyncio.to_thread(self._found)
        left = {name for name in found if TEMPORARY.fullmatch(name.rpartition("/")[2])}
        assert left == (set() if self.deletes else self.left)
        self.check_again(told, {name: etag for name, etag in found.items() if name not in left})
        shutil.rmtree(self.root)

    def _found(self) -> dict[str, str]:
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): etag_of(path.read_bytes(), PART) for path in paths}


KEYS = [f"{number:03}" for number in range(60 if IS_SOAK else 20)]
VERSIONS_OF_EACH = 5
QUIET_LISTINGS = 10


class Delete(Case):
    verb = "delete"

    async def set_up(self) -> None:
        self.beside = self.bucket
        await self.beside.object("stays").put(b"stays")

    async def begin(self, number: int) -> Mapping[str, object]:
        self.bucket = await self.session.create_bucket(new_name())
        await self.bucket.set_versioning("Enabled")
        for _ in range(VERSIONS_OF_EACH - 1):
            await put_all(self.bucket, KEYS)
        await self.bucket.delete_many(KEYS)
        client = await self.session.boto_client()
        for key in (KEYS[0], "open"):
            begun = await client.create_multipart_upload(Bucket=self.bucket.name, Key=key)
            upload_id = begun["UploadId"]
            await client.upload_part(Bucket=self.bucket.name, Key=key, UploadId=upload_id, PartNumber=1, Body=b"part")
        self.versions = await self._versions()
        assert len(self.versions) == len(KEYS) * VERSIONS_OF_EACH
        return {"bucket": self.bucket.name, "given": [], "named": {"force": True}}

    async def look(self, told: Told) -> None:
        """Ceph RGW 16.2.15 does a request to its end though nobody waits for it. It crashes where two delete the same
        versions at once, so the next one begins when it is done.
        """
        seen = self.versions
        unchanged = 0
        while seen and unchanged < QUIET_LISTINGS:
            found = await self._versions()
            assert found <= seen
            unchanged = unchanged + 1 if found == seen else 0
            seen = found

    async def look_again(self, told: Told) -> None:
        assert not await self.bucket.exists()
        assert await self.beside.object("stays").read() == b"stays"

    async def _versions(self) -> set[tuple[str, str | None]]:
        try:
            return {(info.key, info.version_id) async for info in self.bucket.list_versions()}
        except dream.NotFoundError:  # the service was still at it
            return set()


CASES: Mapping[str, type[Case]] = {case.verb: case for case in (Upload, Download, UploadTree, DownloadTree, Delete)}


@pytest.mark.parametrize("verb", CASES)
async def test_a_verb_that_was_killed_is_completed_by_the_next_try(
    rgw: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    chosen, kills = random.Random(verb), 0
    async with rgw.session(limits=dream.Limits(part_size=PART)) as session, helper(rgw) as process:
        bucket = await session.create_bucket(new_name())
        case = CASES[verb](session, bucket, tmp_path, chosen)
        await case.set_up()
        job = {"verb": verb, "bucket": bucket.name, **await case.begin(0)}
        told = await process.do(job)
        seconds = told["seconds"]
        for number in range(1, ROUNDS + 1):
            case.kills = 0
            job = {"verb": verb, "bucket": bucket.name, **await case.begin(number)}
            for _ in range(chosen.choice((1, 1, 2))):
                told = await process.do(job, kill_after=chosen.uniform(0, seconds))
                case.kills += told["status"] != 0
                await case.look(told)
            kills += case.kills
            told = await process.do(job)
            is_gone = verb == "delete" and told.get("error") == "NotFoundError"
            assert told["status"] == 0
            assert "error" not in told or is_gone, told
            await case.look_again(told)
        await bucket.delete(force=True)
    assert kills
