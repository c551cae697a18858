"""Interrupted at any await of any verb, nothing is left behind but what was to be kept."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import Server, new_name
from interruptions import (
    PART,
    PATIENCE_SECONDS,
    RULES,
    TIGHT,
    WIDE,
    How,
    Interruption,
    at_each_moment,
    ended_with_its_loop,
    ever_fewer,
    memory_service,
    nothing_is_told,
    nothing_stays_open,
    serves,
)
from servers.scripted import Received, Reply, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects.testing import Fault, MemoryService, Verb

DATA = random.Random(1).randbytes(2 * PART + 1000)


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
    [("the task", TIGHT), ("a scope", WIDE), ("as it arrives", WIDE), ("twice", TIGHT)],
    ids=["the task", "a scope", "as it arrives", "twice"],
)
@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_can_be_cancelled_at_every_await(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, how: How, limits: dream.Limits
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    memory = memory_service()
    with nothing_is_told():
        async with memory.session(limits=limits) as session, memory.session(limits=WIDE) as other:
            bucket = await session.create_bucket("interrupted")
            place = Place(bucket, other.bucket(bucket.name), tmp_path)
            place.source.write_bytes(DATA)
            await place.other.object("small").put(b"small")
            await at_each_moment(
                lambda: VERBS[verb](place),
                how,
                lambda: set_up(place, DATA),
                lambda was_cut: check(place, verb, DATA, was_cut=was_cut),
            )
            await serves(bucket)


Act = Callable[[dream.Session], Coroutine[Any, Any, object]]


@dataclass(frozen=True)
class Change:
    """A verb of a request or two: what it may change, and how that is undone."""

    do: Act
    look: Act
    undo: Act


def one(session: dream.Session) -> dream.Bucket:
    return session.bucket("interrupted")


def another(session: dream.Session) -> dream.Bucket:
    return session.bucket("another")


def a(session: dream.Session) -> dream.Object:
    return one(session).object("a")


async def without_another(session: dream.Session) -> None:
    with suppress(dream.NotFoundError):
        await another(session).delete()


def setting(name: str, value: object) -> dict[str, Change]:
    def look(session: dream.Session) -> Coroutine[Any, Any, object]:
        return getattr(one(session), name)()  # type: ignore[no-any-return]  # named in the table below

    def put(session: dream.Session) -> Coroutine[Any, Any, object]:
        return getattr(one(session), f"set_{name}")(value)  # type: ignore[no-any-return]  # the same

    def delete(session: dream.Session) -> Coroutine[Any, Any, object]:
        return getattr(one(session), f"delete_{name}")()  # type: ignore[no-any-return]  # the same

    return {f"set_{name}": Change(put, look, delete), f"delete_{name}": Change(delete, look, put)}


SETTINGS: dict[str, object] = {
    "cors": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}],
    "lifecycle": [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 3}}],
    "policy": {"Version": "2012-10-17", "Statement": []},
    "tags": {"a": "b"},
    "versioning": "Enabled",
    "website": {"IndexDocument": {"Suffix": "index.html"}},
}

CHANGES = {
    "delete": Change(lambda by: a(by).delete(), lambda by: a(by).exists(), lambda by: a(by).put(b"x")),
    "set_acl": Change(
        lambda by: a(by).set_acl("public-read"), lambda by: a(by).acl(), lambda by: a(by).set_acl("private")
    ),
    "set_tags": Change(lambda by: a(by).set_tags({"a": "b"}), lambda by: a(by).tags(), lambda by: a(by).set_tags({})),
    "bucket.set_acl": Change(
        lambda by: one(by).set_acl("public-read"), lambda by: one(by).acl(), lambda by: one(by).set_acl("private")
    ),
    "create_bucket": Change(lambda by: by.create_bucket("another"), lambda by: another(by).exists(), without_another),
    "bucket.create": Change(
        lambda by: another(by).create(exist_ok=True), lambda by: another(by).exists(), without_another
    ),
    "bucket.delete": Change(
        lambda by: another(by).delete(), lambda by: another(by).exists(), lambda by: another(by).create(exist_ok=True)
    ),
    **{f"bucket.{verb}": change for name, value in SETTINGS.items() for verb, change in setting(name, value).items()},
}

QUESTIONS: dict[str, Act] = {
    "head": lambda by: a(by).head(),
    "exists": lambda by: a(by).exists(),
    "exists, of what does not": lambda by: one(by).object("nothing").exists(),
    "read_text": lambda by: a(by).read_text(),
    "acl": lambda by: a(by).acl(),
    "tags": lambda by: a(by).tags(),
    "buckets": lambda by: by.buckets().collect(),
    "bucket.info": lambda by: one(by).info(),
    "bucket.exists": lambda by: one(by).exists(),
    "bucket.acl": lambda by: one(by).acl(),
    **{
        f"bucket.{name}": (lambda by, name=name: getattr(one(by), name)())  # type: ignore[misc]  # by its name
        for name in SETTINGS
    },
}

HOWS: tuple[How, ...] = ("the task", "a scope", "as it arrives", "twice")
MOST_WAITS = 10
"""More than any of these verbs has."""


@pytest.mark.parametrize("verb", CHANGES)
async def test_a_request_that_is_cancelled_was_carried_out_or_was_not(verb: str) -> None:
    change, memory, tasks = CHANGES[verb], MemoryService(), asyncio.all_tasks()
    with nothing_is_told():
        async with memory.session(limits=TIGHT) as session, memory.session() as other:
            await session.create_bucket("interrupted")
            await a(other).put(b"x")
            await change.undo(other)
            await change.do(other)
            done = await change.look(other)
            await change.undo(other)
            before = await change.look(other)
            assert done != before
            was_cut = True
            for how, at in itertools.product(HOWS, range(1, MOST_WAITS)):
                await change.undo(other)
                was_cut = await Interruption(at, how).run(change.do(session))
                assert was_cut or at > 1
                assert asyncio.all_tasks() == tasks
                assert await change.look(other) in ((before, done) if was_cut else (done,))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await one(session).info()
            assert not was_cut


@pytest.mark.parametrize("verb", QUESTIONS)
async def test_a_question_can_be_cancelled_at_every_await(verb: str) -> None:
    ask, memory, tasks = QUESTIONS[verb], MemoryService(), asyncio.all_tasks()
    with nothing_is_told():
        async with memory.session(limits=TIGHT) as session:
            await session.create_bucket("interrupted")
            await a(session).put(b"x")
            was_cut = True
            for how, at in itertools.product(HOWS, range(1, MOST_WAITS)):
                was_cut = await Interruption(at, how).run(ask(session))
                assert was_cut or at > 1
                assert asyncio.all_tasks() == tasks
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await ask(session)
            assert not was_cut


@pytest.mark.parametrize("how", HOWS)
async def test_a_session_opens_and_closes_whenever_that_is_cancelled(scripted: ScriptedServer, how: How) -> None:
    """It is open or it is not; and once it is closed, whichever call did it, nothing of it is left."""
    scripted.will(Reply(200, b"x", {"ETag": '"opaque-1"'}))
    async with scripted.session() as warm:  # what is imported, and which threads there are, is not the session's
        await warm.object("s3://bucket/a").head()
    with nothing_is_told(), nothing_stays_open() as settled:
        for verb in ("open", "aclose"):
            for at in itertools.count(1):
                session = scripted.session()
                was_cut = await Interruption(at if verb == "open" else 0, how).run(session.open())
                if not was_cut:
                    await session.object("s3://bucket/a").head()
                was_cut |= await Interruption(at if verb == "aclose" else 0, how).run(session.aclose())
                await session.aclose()
                with pytest.raises(dream.SessionClosedError):
                    await session.object("s3://bucket/a").head()
                await settled()
                if not was_cut:
                    break
            assert at > 1 or (verb, how) == ("aclose", "a scope")  # which does not cut a closing short


async def by_fail_after(work: Coroutine[Any, Any, object], fault: Fault) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0.02):
        await work


async def by_timeout(work: Coroutine[Any, Any, object], fault: Fault) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await work


async def fail_when_it_is_held(fault: Fault) -> None:
    while not fault.fired:
        await asyncio.sleep(0)
    msg = "a sibling"
    raise LookupError(msg)


async def by_a_sibling(work: Coroutine[Any, Any, object], fault: Fault) -> None:
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises
        async with asyncio.TaskGroup() as group:
            group.create_task(work)
            group.create_task(fail_when_it_is_held(fault))
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


async def by_a_sibling_of_anyio(work: Coroutine[Any, Any, object], fault: Fault) -> None:
    async def run() -> None:
        await work

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            group.start_soon(fail_when_it_is_held, fault)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


HELD: dict[str, Verb] = {
    "put of a file": "put_part",
    "upload": "put_part",
    "writer": "put_part",
    "download": "get_object",
    "download of a stream": "get_object",
    "reader": "get_object",
    "copy_to": "copy_part",
    "copy_to another session": "put_part",
    "move_to": "copy_part",
}


@pytest.mark.parametrize("cut", [by_fail_after, by_timeout, by_a_sibling, by_a_sibling_of_anyio])
@pytest.mark.parametrize("verb", HELD)
async def test_a_deadline_and_a_sibling_that_fails_cancel_as_well(
    tmp_path: Path, verb: str, cut: Callable[[Coroutine[Any, Any, object], Fault], Coroutine[Any, Any, None]]
) -> None:
    memory, tasks = memory_service(), asyncio.all_tasks()
    with nothing_is_told():
        async with memory.session(limits=WIDE) as session, memory.session(limits=WIDE) as other:
            bucket = await session.create_bucket("interrupted")
            place = Place(bucket, other.bucket(bucket.name), tmp_path)
            place.source.write_bytes(DATA)
            await place.other.object("small").put(b"small")
            await set_up(place, DATA)
            fault = memory.delay(HELD[verb], asyncio.Event(), times=None)
            await cut(VERBS[verb](place), fault)
            assert asyncio.all_tasks() == tasks
            memory.stop_faults()
            await check(place, verb, DATA, was_cut=True)
            await serves(bucket)


@pytest.mark.parametrize(
    "verb",
    [
        *("put of a file", "put of a body", "upload", "upload to go on with", "writer", "reader"),
        *("download", "download of a stream", "download to go on with", "copy_to another session"),
    ],
)
async def test_the_end_of_the_loop_finds_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    """``asyncio.run`` cancels what is in the background when its main task has ended: every task at once.

    Only an upload whose completion is under way then stays open, and the log says so.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    memory = memory_service()

    async def in_the_background() -> None:
        async with memory.session(limits=WIDE) as session, memory.session(limits=WIDE) as other:
            await VERBS[verb](Place(session.bucket("interrupted"), other.bucket("interrupted"), tmp_path))

    with nothing_is_told():
        async with memory.session(limits=WIDE) as other:
            bucket = await other.create_bucket("interrupted")
            place = Place(bucket, bucket, tmp_path)
            place.source.write_bytes(DATA)
            await bucket.object("small").put(b"small")
            for at in ever_fewer():
                await set_up(place, DATA)
                error = await asyncio.to_thread(ended_with_its_loop, at, in_the_background)
                assert error is None or isinstance(error, asyncio.CancelledError)
                if "may still be completed" in caplog.text:
                    report = await bucket.abort_uploads(timedelta(0))
                    assert report.done == 1
                    caplog.clear()
                await check(place, verb, DATA, was_cut=error is not None)
                if error is None:
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
        while memory.requests[-1].key != "first" and not first.done():
            await asyncio.sleep(0)
        obj, interruption = bucket.object("second"), Interruption(1, "as it arrives")
        work = obj.read() if waits_for == "a place" else obj.put(chunks_at_once())
        second = asyncio.create_task(interruption.run(work))
        while not interruption.count and not second.done():
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
