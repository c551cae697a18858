"""Interrupted at any await of any verb, nothing is left behind but what was to be kept."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from conftest import Server, new_name
from servers.scripted import Received, Reply, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = 300_000  # of this size on, parts are taken from the session's memory
DATA = random.Random(1).randbytes(2 * PART + 1000)
RULES = dream.MultipartRules(smallest_part=1, largest_copy=PART)
TIGHT = dream.Limits(requests=1, parts_per_object=3, part_size=PART, memory=PART)
WIDE = dream.Limits(requests=8, parts_per_object=3, part_size=PART, memory=3 * PART)
PATIENCE_SECONDS = 20
"""So long a request that follows may take on a busy machine. One that waits for a place that is lost takes for ever."""

How = Literal["the task", "a scope", "as it arrives"]


class Interruption:
    """Cancels what it runs at the n-th time that one of its tasks waits for something.

    The task itself, or an anyio scope around it; or the task, in the very moment in which what was waited for has come.
    """

    def __init__(self, at: int, how: How) -> None:
        self.at, self.how, self.count = at, how, 0
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether the work was cut short."""
        with self._watched_tasks():
            self._task = asyncio.create_task(self._in_scope(work))
            try:
                await self._task
            except asyncio.CancelledError:
                return True
        return self._scope.cancelled_caught

    async def _in_scope(self, work: Coroutine[Any, Any, object]) -> None:
        with self._scope:
            await work

    @contextmanager
    def _watched_tasks(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def make(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> asyncio.Task[Any]:
            return asyncio.Task(self._watched(work), loop=loop, **settings)

        loop.set_task_factory(make)
        try:
            yield
        finally:
            loop.set_task_factory(None)

    async def _watched(self, work: Coroutine[Any, Any, Any]) -> object:
        return await _Steps(work, self._on_wait)

    def _on_wait(self, waited_for: object) -> None:
        self.count += 1
        if self.count != self.at:
            return
        if self.how == "as it arrives" and isinstance(waited_for, asyncio.Future):
            waited_for.add_done_callback(lambda _: self._cancel())
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self.how == "a scope":
            self._scope.cancel()
        elif self._task is not None:
            self._task.cancel()


@dataclass
class _Steps(Awaitable[object]):
    """A coroutine that tells of everything it waits for."""

    work: Coroutine[Any, Any, object]
    on_wait: Callable[[object], None]

    def __await__(self) -> Generator[Any, Any, object]:
        thrown: BaseException | None = None
        while True:
            try:
                waited_for = self.work.send(None) if thrown is None else self.work.throw(thrown)
            except StopIteration as end:
                return end.value
            self.on_wait(waited_for)
            try:
                yield waited_for
                thrown = None
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                thrown = error


@dataclass(frozen=True)
class Place:
    """Where a verb works, and what it works on: ``a`` is to be read, ``b`` is to be written, over an old one."""

    bucket: dream.Bucket
    """By the session under test."""
    other: dream.Bucket
    """By another session."""
    home: Path

    @property
    def a(self) -> dream.Object:
        return self.bucket.object("a")

    @property
    def b(self) -> dream.Object:
        return self.bucket.object("b")

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def target(self) -> Path:
        return self.home / "files" / "target"


async def chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(DATA), 100_000):
        await asyncio.sleep(0)
        yield DATA[start : start + 100_000]


async def write(place: Place) -> None:
    async with place.b.writer() as file:
        async for chunk in chunks():
            await file.write(chunk)


async def get(place: Place) -> None:
    async with place.a.get() as body:
        assert await body.read() == DATA


async def read(place: Place) -> None:
    async with place.a.reader() as file:
        await file.seek(-400_000, os.SEEK_END)
        assert await file.read() == DATA[-400_000:]
        await file.seek(10)
        assert await file.read(100_000) == DATA[10:100_010]


async def put_a_body(place: Place) -> None:
    async with place.a.get() as body:
        await place.b.put(body)


VERBS: dict[str, Callable[[Place], Coroutine[Any, Any, object]]] = {
    "put of bytes": lambda place: place.b.put(DATA),
    "put of a file": lambda place: place.b.put(place.source, progress=lambda _: None),
    "put of chunks": lambda place: place.b.put(chunks()),
    "put of a body": put_a_body,
    "put under a condition": lambda place: place.bucket.object("c").put(DATA, if_absent=True),
    "upload": lambda place: place.b.upload(place.source),
    "upload to go on with": lambda place: place.b.upload(place.source, resume=True),
    "writer": write,
    "get": get,
    "read": lambda place: place.a.read(),
    "reader": read,
    "download": lambda place: place.a.download(place.target, progress=lambda _: None),
    "download of a stream": lambda place: place.bucket.object("small").download(place.target),
    "download to go on with": lambda place: place.a.download(place.target, resume=True),
    "copy_to": lambda place: place.a.copy_to(place.b),
    "copy_to another session": lambda place: place.a.copy_to(place.other.object("b")),
    "move_to": lambda place: place.a.move_to(place.b),
}


def memory_service() -> MemoryService:
    return MemoryService(service=replace(MemoryService().service, multipart=RULES))


async def set_up(place: Place, content: bytes) -> None:
    place.target.parent.mkdir(exist_ok=True)
    place.target.write_bytes(b"old")
    await place.other.object("b").put(b"old")
    await place.other.object("c").delete()
    if not await place.other.object("a").exists():
        await place.other.object("a").put(content)


async def check(place: Place, verb: str, content: bytes, *, was_cut: bool) -> None:
    """What must hold after the verb, whether it was cut short or not."""
    keeps, other = verb.endswith("to go on with") and was_cut, place.other
    if not (keeps and verb.startswith("upload")):
        assert [upload async for upload in other.uploads()] == []
    beside = {path.suffix for path in place.target.parent.iterdir() if path != place.target}
    assert beside <= ({".part", ".journal"} if keeps else set())
    assert place.target.read_bytes() in (b"old", b"small", content)
    stored = await other.object("b").read()
    assert stored in (b"old", content)
    if await other.object("c").exists():
        assert await other.object("c").read() == content
    if await other.object("a").exists():
        assert await other.object("a").read() == content
    else:
        assert (verb, stored) == ("move_to", content)
    if not was_cut and verb.startswith(("put of", "upload", "writer", "copy", "move")):
        assert stored == content
    if not was_cut and verb.startswith("download"):
        assert place.target.read_bytes() != b"old"


@pytest.mark.parametrize(
    ("how", "limits"),
    [("the task", TIGHT), ("a scope", WIDE), ("as it arrives", TIGHT), ("as it arrives", WIDE)],
    ids=["the task", "a scope", "as it arrives", "as it arrives, side by side"],
)
@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_can_be_cancelled_at_every_await(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, how: How, limits: dream.Limits
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    memory = memory_service()
    tasks = asyncio.all_tasks()
    async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
        bucket = await session.create_bucket("interrupted")
        place = Place(bucket, other.bucket(bucket.name), tmp_path)
        place.source.write_bytes(DATA)
        await place.other.object("small").put(b"small")
        for at in itertools.count(1):
            await set_up(place, DATA)
            was_cut = await Interruption(at, how).run(VERBS[verb](place))
            assert asyncio.all_tasks() == tasks
            await check(place, verb, DATA, was_cut=was_cut)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await place.bucket.object("follows").put(place.source)  # takes all places and all of the memory
                async with place.bucket.object("follows").get() as body:
                    assert await body.read(1) == DATA[:1]
            if not was_cut:
                break
        assert at > 1


async def chunks_at_once() -> AsyncIterator[bytes]:
    yield DATA


@pytest.mark.parametrize("waits_for", ["a place", "memory"])
async def test_what_comes_in_the_moment_of_the_cancellation_is_given_on(tmp_path: Path, waits_for: str) -> None:
    memory, may_go_on = memory_service(), asyncio.Event()
    (tmp_path / "source").write_bytes(DATA)
    async with memory.session(limits=TIGHT) as session:
        bucket = await session.create_bucket("interrupted")
        memory.delay("create_upload", may_go_on, key="first")
        first = asyncio.create_task(bucket.object("first").put(tmp_path / "source"))  # has the place and the memory
        while memory.requests[-1].key != "first" and not first.done():  # noqa: ASYNC110 - a record has no event
            await asyncio.sleep(0)
        obj, interruption = bucket.object("second"), Interruption(1, "as it arrives")
        work = obj.read() if waits_for == "a place" else obj.put(chunks_at_once())
        second = asyncio.create_task(interruption.run(work))
        while not interruption.count and not second.done():  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        may_go_on.set()
        assert await second
        async with asyncio.timeout(PATIENCE_SECONDS):
            await first
            await obj.put(tmp_path / "source")
            assert await obj.read() == DATA


async def test_an_upload_whose_id_is_still_under_way_is_aborted(scripted: ScriptedServer) -> None:
    """The service has begun it, and nobody else knows its id."""
    created = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"

    def answer(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(200, created, delay=0.2)
        return Reply(204) if request.method == "DELETE" else error(404, "NoSuchUpload")

    scripted.will(answer)
    service = replace(dream.Service.for_endpoint(scripted.endpoint), multipart=RULES)
    async with scripted.session(service=service, endpoint=None, limits=TIGHT) as session:
        task = asyncio.create_task(session.object("s3://bucket/a").put(DATA))
        await scripted.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [request.method for request in scripted.received] == ["POST", "DELETE", "GET"]


RGW_PART = 5 << 20
RGW_DATA = random.Random(2).randbytes(11 << 20)


@pytest.mark.parametrize("verb", ["put of a file", "writer", "download", "copy_to another session"])
async def test_a_verb_is_cancelled_on_a_real_gateway(rgw: Server, tmp_path: Path, verb: str) -> None:
    async def write_all(place: Place) -> None:
        async with place.b.writer() as file:
            for start in range(0, len(RGW_DATA), 1 << 20):
                await file.write(RGW_DATA[start : start + (1 << 20)])

    work = write_all if verb == "writer" else VERBS[verb]
    limits = dream.Limits(requests=4, parts_per_object=2, part_size=RGW_PART, memory=2 * RGW_PART)
    async with rgw.session(limits=limits) as session, rgw.session() as other:
        bucket = await session.create_bucket(new_name())
        place = Place(bucket, other.bucket(bucket.name), tmp_path)
        place.source.write_bytes(RGW_DATA)
        await set_up(place, RGW_DATA)
        whole = Interruption(0, "the task")
        assert not await whole.run(work(place))
        chosen = random.Random(verb)
        for how in ("the task", "a scope", "as it arrives"):
            for part in range(3):
                await set_up(place, RGW_DATA)
                at = chosen.randrange(1 + whole.count * part // 3, 2 + whole.count * (part + 1) // 3)
                was_cut = await Interruption(at, how).run(work(place))
                await check(place, verb, RGW_DATA, was_cut=was_cut)
        async with asyncio.timeout(60):
            await place.b.put(place.source)
        assert await place.b.read() == RGW_DATA
        await bucket.delete(force=True)


SCRIPT = """
import asyncio, sys
import aiodreamobjects as dream

async def main(endpoint, access_key, secret_key, uri, path):
    limits = dream.Limits(part_size=5 << 20, parts_per_object=2, upload_bytes_per_second=8 << 20)
    service = dream.Service.ceph_rgw(endpoint)
    async with dream.Session(service=service, access_key=access_key, secret_key=secret_key, limits=limits) as session:
        await session.object(uri).put(open(path, "rb"), progress=lambda _: print("under way", flush=True))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_control_c_aborts_the_upload(rgw: Server, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(RGW_DATA)
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SCRIPT,
            rgw.service.endpoint,
            rgw.access_key,
            rgw.secret_key,
            f"s3://{bucket.name}/a",
            str(tmp_path / "source"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"under way\n"
        assert [upload.key async for upload in bucket.uploads()] == ["a"]
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
        assert errors.decode().splitlines()[-1] == "KeyboardInterrupt"
        assert process.returncode != 0
        assert [upload async for upload in bucket.uploads()] == []
        assert not await bucket.object("a").exists()
        await bucket.delete(force=True)
