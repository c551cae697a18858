"""Closing a session ends what is under way, and leaves no upload open on a service that answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from interruptions import watched_tasks
from servers.faulty import FaultyServer, until
from servers.raw import turns
from servers.rules import Blanks, Cut, Pause, Refuse, Rule
from user_code import OLD, outcome, pieces_of

import aiodreamobjects as dream

PART = 100_000
DATA = random.Random(1).randbytes(2 * PART + 20_000)
LARGE = 2 * DATA
"""In a tree: up to 256 KiB would go by one request."""
LIMITS = dream.Limits(part_size=PART, parts_per_object=2, requests=8)
HANG_SECONDS = 15.0
"""Less than the default of ``close_grace``, and than ``PATIENT`` lets a request be silent."""
PATIENT = dream.Timeouts(connect=60, read=60, write=60)
SILENCE = Cut(None, "silence", is_done=False)

Work = Callable[[dream.Session, str, Path], Awaitable[object]]


async def chunks() -> AsyncIterator[bytes]:
    for piece in pieces_of(DATA, 8):
        await asyncio.sleep(0)
        yield piece


async def write(session: dream.Session, key: str, _: Path) -> None:
    async with session.object(f"s3://bucket/{key}").writer() as file:
        async for piece in chunks():
            await file.write(piece)


UPLOADS: dict[str, Work] = {
    "put of bytes": lambda session, key, _: session.object(f"s3://bucket/{key}").put(DATA),
    "put of an async generator": lambda session, key, _: session.object(f"s3://bucket/{key}").put(chunks()),
    "put with progress": lambda session, key, _: session.object(f"s3://bucket/{key}").put(DATA, progress=print_nothing),
    "upload": lambda session, key, home: session.object(f"s3://bucket/{key}").upload(home / "source"),
    "writer": write,
    "copy_to": lambda session, key, _: session.object("s3://bucket/origin").copy_to(
        session.object(f"s3://bucket/{key}")
    ),
    "move_to": lambda session, key, _: session.object("s3://bucket/origin").move_to(
        session.object(f"s3://bucket/{key}")
    ),
    "upload_tree": lambda session, key, home: session.bucket("bucket").upload_tree(home / "tree", key),
    "copy_tree": lambda session, key, _: session.bucket("bucket").copy_tree(session.bucket("bucket"), "from", key),
    "move_tree": lambda session, key, _: session.bucket("bucket").move_tree(session.bucket("bucket"), "from", key),
}


def print_nothing(_: dream.Progress) -> None:
    pass


def session_to(faulty: FaultyServer, **settings: object) -> dream.Session:
    rules = dream.MultipartRules(smallest_part=1, largest_copy=PART)
    no_tags: dict[dream.Feature, str] = {"tagging": "this server has no tags"}
    service = replace(faulty.service, multipart=rules, unsupported=no_tags)
    return faulty.session(**{"service": service, "limits": LIMITS, "timeouts": PATIENT, **settings})


def prepare(faulty: FaultyServer, home: Path) -> None:
    """What the uploads read."""
    faulty.put("bucket", "origin", DATA)
    faulty.put("bucket", "from/large", LARGE)
    (home / "source").write_bytes(DATA)
    (home / "tree").mkdir(exist_ok=True)
    (home / "tree" / "large").write_bytes(LARGE)


def stored(faulty: FaultyServer, verb: str, key: str) -> bytes | None:
    return faulty.content("bucket", f"{key}/large" if verb.endswith("tree") else key)


@asynccontextmanager
async def ended(*tasks: asyncio.Task[Any]) -> AsyncIterator[None]:
    """These have ended when this is left, whatever goes wrong meanwhile."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def closed_at(
    faulty: FaultyServer, verb: str, key: str, home: Path, at: int, *, cancels: bool
) -> tuple[bool, BaseException | None]:
    """Close the session when the verb waits for the n-th time. Whether it was still under way, and how it ended."""
    count, is_time = 0, asyncio.Event()

    def on_wait(_: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            is_time.set()

    session = session_to(faulty)
    await session.open()
    with watched_tasks(on_wait):
        task = asyncio.create_task(outcome(UPLOADS[verb](session, key, home)))
        task.add_done_callback(lambda _: is_time.set())
        async with ended(task):
            await is_time.wait()
            was_under_way = not task.done()
            if cancels:
                task.cancel()
            async with asyncio.timeout(HANG_SECONDS):
                await session.aclose()
                assert faulty.uploads("bucket") == [], f"open after aclose at {at}"
                await asyncio.wait({task})
            found = asyncio.CancelledError() if task.cancelled() else task.result()
    assert faulty.uploads("bucket") == [], f"open after the verb at {at}"
    return was_under_way, found


ALL_OF_THE_FIRST = 12


def next_moment(at: int) -> int:
    """Each of the first, then ever fewer."""
    return at + 1 if at < ALL_OF_THE_FIRST else int(at * 1.15) + 1


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled-and-closed", "closed"])
@pytest.mark.parametrize("verb", UPLOADS)
async def test_no_upload_is_open_after_aclose_at_any_await(
    faulty: FaultyServer, tmp_path: Path, verb: str, *, cancels: bool
) -> None:
    """``task.cancel(); await session.aclose()``, and ``aclose`` alone, which interrupts what is under way."""
    at, outcomes, new = 1, set(), LARGE if verb.endswith("tree") else DATA
    while True:
        prepare(faulty, tmp_path)
        key = f"t{at}"
        faulty.put("bucket", f"{key}/large" if verb.endswith("tree") else key, OLD)
        was_under_way, found = await closed_at(faulty, verb, key, tmp_path, at, cancels=cancels)
        await asyncio.to_thread(faulty.wait_until_left)  # a deletion that was under way is carried out, or not, by now
        content = stored(faulty, verb, key)
        outcomes.add(type(found).__name__)
        assert content in (OLD, new), at
        if found is None:
            assert content == new, at
        else:
            expected = asyncio.CancelledError if cancels else dream.SessionClosedError
            assert isinstance(found, expected), (at, found)
        if isinstance(found, dream.SessionClosedError) and not found.in_doubt and not verb.endswith("tree"):
            assert content == OLD or verb == "move_to", at
        if not was_under_way:
            break
        at = next_moment(at)
    assert len(outcomes) == 2


class BodyError(Exception):
    """What the body of an ``async with`` raises."""


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "UploadPartCopy"])
async def test_an_exception_in_the_body_leaves_no_upload_open(
    faulty: FaultyServer, tmp_path: Path, operation: str
) -> None:
    """While uploads run in other tasks, each of which is told."""
    prepare(faulty, tmp_path)
    held = Rule(operation, Pause(0.2), times=None)
    faulty.will(held)
    tasks: list[asyncio.Task[BaseException | None]] = []
    with pytest.raises(BodyError):  # noqa: PT012 - leaving the session raises it
        async with asyncio.timeout(HANG_SECONDS), session_to(faulty) as session:
            for number, work in enumerate(UPLOADS.values()):
                tasks.append(asyncio.create_task(outcome(work(session, f"t{number}", tmp_path))))
            await fired(held)
            raise BodyError
    assert faulty.uploads("bucket") == []
    async with asyncio.timeout(HANG_SECONDS), ended(*tasks):
        found = await asyncio.gather(*tasks)
    assert {type(one) for one in found} <= {dream.SessionClosedError, type(None)}
    assert any(isinstance(one, dream.SessionClosedError) for one in found)


# What is silent


@pytest.mark.parametrize("is_in_parts", [False, True], ids=["before-anything-is-sent", "in-parts"])
async def test_a_source_that_is_silent_does_not_hold_a_closing_up(faulty: FaultyServer, *, is_in_parts: bool) -> None:
    is_asked = asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        if is_in_parts:
            yield DATA
        is_asked.set()
        await asyncio.Event().wait()

    faulty.put("bucket", "t", OLD)
    session = session_to(faulty)
    await session.open()
    task = asyncio.create_task(outcome(session.object("s3://bucket/t").put(silent())))
    async with ended(task):
        await is_asked.wait()
        async with asyncio.timeout(HANG_SECONDS):
            await session.aclose()
            assert faulty.uploads("bucket") == []
            assert isinstance(await task, dream.SessionClosedError)
    assert faulty.content("bucket", "t") == OLD


async def wait_for_ever(entered: asyncio.Event) -> None:
    entered.set()
    await asyncio.Event().wait()


async def silent_keys(entered: asyncio.Event) -> AsyncIterator[str]:
    yield "a"
    await wait_for_ever(entered)


async def idle_writer(session: dream.Session, entered: asyncio.Event) -> None:
    async with session.object("s3://bucket/t").writer() as file:
        await file.write(DATA)
        entered.set()
        while True:
            await asyncio.sleep(0.001)
            await file.write(b"x" * (64 << 10))


async def idle_body(session: dream.Session, entered: asyncio.Event) -> None:
    async with session.object("s3://bucket/origin").get() as body:
        entered.set()
        while True:
            await asyncio.sleep(0.001)
            await body.read(100_000)


WAITING: dict[str, Callable[[dream.Session, asyncio.Event], Awaitable[object]]] = {
    "a writer that writes now and then": idle_writer,
    "a progress callback": lambda session, entered: session.object("s3://bucket/t").put(
        DATA, progress=lambda _: wait_for_ever(entered)
    ),
    "a source of keys": lambda session, entered: session.bucket("bucket").delete_many(silent_keys(entered)),
    "a body that is read now and then": idle_body,
}


@pytest.mark.parametrize("waits_for", WAITING)
async def test_aclose_interrupts_verbs_that_wait_for_code_of_the_caller(
    faulty: FaultyServer, tmp_path: Path, waits_for: str
) -> None:
    faulty.put("bucket", "origin", DATA * 20)
    entered = asyncio.Event()
    session = session_to(faulty)
    await session.open()
    task = asyncio.create_task(outcome(WAITING[waits_for](session, entered)))
    async with ended(task):
        await entered.wait()
        async with asyncio.timeout(HANG_SECONDS):
            await session.aclose()
            assert isinstance(await task, dream.SessionClosedError)
    assert faulty.uploads("bucket") == []


@pytest.mark.parametrize("grace", [0, 0.3])
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "Abort*"])
async def test_a_service_that_does_not_answer_any_more_does_not_hold_a_closing_up(
    faulty: FaultyServer, operation: str, grace: float
) -> None:
    """Beyond ``close_grace``; 0 means at once. What stays open is then the service's."""
    held = Rule(
        "*", SILENCE, times=None, when=lambda asked: held.fired > 0 or asked.op.startswith(operation.rstrip("*"))
    )
    held.fired = 0
    faulty.will(held)
    session = session_to(faulty, close_grace=grace)
    await session.open()
    task = asyncio.create_task(outcome(session.object("s3://bucket/t").put(DATA)))
    async with ended(task):
        if operation == "Abort*":
            await until(lambda: "UploadPart" in faulty.ops)
            task.cancel()
        await fired(held)
        async with asyncio.timeout(HANG_SECONDS):
            await session.aclose()
            await asyncio.wait({task})
        if not task.cancelled():
            assert isinstance(task.result(), dream.SessionClosedError | None)
    faulty.expected_uploads = faulty.uploads("bucket")


# A completion that is in flight


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled-and-closed", "closed"])
async def test_a_completion_in_flight_is_let_finish(faulty: FaultyServer, *, cancels: bool) -> None:
    slow = Rule("CompleteMultipartUpload", Pause(0.2), Blanks(5, 0.02))
    faulty.will(slow)
    faulty.put("bucket", "t", OLD)
    session = session_to(faulty)
    await session.open()
    task = asyncio.create_task(outcome(session.object("s3://bucket/t").put(DATA)))
    async with ended(task):
        await fired(slow)
        if cancels:
            task.cancel()
        async with asyncio.timeout(HANG_SECONDS):
            await session.aclose()
            assert faulty.uploads("bucket") == []
            assert faulty.content("bucket", "t") == DATA
            await asyncio.wait({task})
    if not cancels:
        found = task.result()
        assert found is None or (isinstance(found, dream.SessionClosedError) and found.in_doubt)


@pytest.mark.parametrize("is_done", [True, False], ids=["it-was-carried-out", "it-was-not"])
async def test_a_completion_that_outlasts_the_grace_is_in_doubt(faulty: FaultyServer, *, is_done: bool) -> None:
    held = Rule("CompleteMultipartUpload", Cut(None, "silence", is_done=is_done), times=None)
    faulty.will(held)
    session = session_to(faulty, close_grace=0.1)
    await session.open()
    task = asyncio.create_task(outcome(session.object("s3://bucket/t").put(DATA)))
    async with ended(task):
        await fired(held)
        async with asyncio.timeout(HANG_SECONDS):
            await session.aclose()
            found = await task
    assert isinstance(found, dream.SessionClosedError)
    assert found.in_doubt
    faulty.expected_uploads = faulty.uploads("bucket")


# The closing itself


VERBS: dict[str, Callable[[dream.Session], Awaitable[object]]] = {
    "put": lambda session: session.object("s3://bucket/a").put(b"x"),
    "put in parts": lambda session: session.object("s3://bucket/a").put(DATA),
    "read": lambda session: session.object("s3://bucket/origin").read(),
    "head": lambda session: session.object("s3://bucket/origin").head(),
    "list": lambda session: session.bucket("bucket").list().collect(),
    "delete_many": lambda session: session.bucket("bucket").delete_many(["b"]),
    "create_bucket": lambda session: session.create_bucket("another"),
    "boto_client": lambda session: session.boto_client(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_session_that_closes_takes_no_new_requests(faulty: FaultyServer, verb: str) -> None:
    """Also while it waits for an abort that is under way."""
    faulty.put("bucket", "origin", DATA)
    slow, part = Rule("AbortMultipartUpload", Pause(0.1)), Rule("UploadPart", SILENCE, times=None)
    faulty.will(slow, part)
    session = session_to(faulty)
    await session.open()
    upload = asyncio.create_task(outcome(session.object("s3://bucket/t").put(DATA)))
    async with asyncio.timeout(HANG_SECONDS), ended(upload):
        await fired(part)
        closing = asyncio.create_task(session.aclose())
        async with ended(closing):
            await until(lambda: slow.fired or closing.done())
            assert slow.fired, "the closing did not wait for an abort"
            before = len(faulty.log)
            with pytest.raises(dream.SessionClosedError):
                await VERBS[verb](session)
            await closing
        assert {asked.op for asked in faulty.log[before:]} <= {"AbortMultipartUpload", "ListParts"}
        assert isinstance(await upload, dream.SessionClosedError)
    assert faulty.uploads("bucket") == []


async def test_two_that_close_at_once_wait_for_the_same_end(faulty: FaultyServer) -> None:
    slow, part = Rule("AbortMultipartUpload", Pause(0.1)), Rule("UploadPart", SILENCE, times=None)
    faulty.will(slow, part)
    session = session_to(faulty)
    await session.open()
    upload = asyncio.create_task(outcome(session.object("s3://bucket/t").put(DATA)))

    async def close() -> list[str]:
        await session.aclose()
        return faulty.uploads("bucket")

    async with asyncio.timeout(HANG_SECONDS), ended(upload):
        await fired(part)
        assert [*await asyncio.gather(close(), close(), close())] == [[], [], []]
        assert isinstance(await upload, dream.SessionClosedError)
        await session.aclose()


async def test_a_closing_that_is_cancelled_waits_no_longer(faulty: FaultyServer) -> None:
    """Cancelled at each of its awaits: the session is closed all the same. What it waited for may be left open."""
    at, was_cut = 0, True
    while was_cut:
        at += 1
        session, key = session_to(faulty), f"t{at}"
        part = Rule("UploadPart", SILENCE, key=key, times=None)
        faulty.will(part)
        await session.open()
        upload = asyncio.create_task(outcome(session.object(f"s3://bucket/{key}").put(DATA)))
        async with asyncio.timeout(HANG_SECONDS), ended(upload):
            await fired(part)
            was_cut = await cut_closing(session, at)
            with pytest.raises(dream.SessionClosedError):
                await session.object("s3://bucket/a").head()
            await session.aclose()
            assert isinstance(await upload, dream.SessionClosedError)
    assert at > 1
    async with session_to(faulty) as another:
        await another.bucket("bucket").abort_uploads(older_than=timedelta(0))


async def cut_closing(session: dream.Session, at: int) -> bool:
    count = 0
    closing: asyncio.Task[None] | None = None

    def on_wait(_: object) -> None:
        nonlocal count
        count += asyncio.current_task() is closing
        if count == at and closing is not None:
            closing.cancel()

    with watched_tasks(on_wait):
        closing = asyncio.create_task(session.aclose())
        await asyncio.wait({closing})
    return closing.cancelled()


async def test_an_upload_to_go_on_with_stays_open(
    faulty: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    prepare(faulty, tmp_path)
    part = Rule("UploadPart", SILENCE, part=3, times=None)
    faulty.will(part)
    session = session_to(faulty)
    await session.open()
    task = asyncio.create_task(outcome(session.object("s3://bucket/t").upload(tmp_path / "source", resume=True)))
    async with asyncio.timeout(HANG_SECONDS), ended(task):
        await fired(part)
        await session.aclose()
        assert isinstance(await task, dream.SessionClosedError)
    assert faulty.uploads("bucket") == ["t"]
    faulty.will()
    async with session_to(faulty) as another:
        await another.object("s3://bucket/t").upload(tmp_path / "source", resume=True)
    assert faulty.content("bucket", "t") == DATA


async def test_a_session_with_nothing_under_way_closes_without_a_request(faulty: FaultyServer) -> None:
    async with session_to(faulty, close_grace=HANG_SECONDS * 4) as session:
        await session.object("s3://bucket/t").put(DATA)
        before = len(faulty.log)
        async with asyncio.timeout(HANG_SECONDS):
            await session.aclose()
    assert len(faulty.log) == before


@pytest.mark.parametrize("grace", [-1, -0.001, float("nan"), True, False, "20", None])
def test_a_grace_that_is_none_is_refused(grace: object) -> None:
    with pytest.raises(ValueError, match="close_grace"):
        dream.Session(close_grace=grace)  # type: ignore[arg-type]  # the fault under test


@pytest.mark.parametrize("grace", [0, 0.5, 20, 3600.0])
def test_a_grace_is_a_number_of_seconds(grace: float) -> None:
    dream.Session(close_grace=grace)


# Closing from where it is awkward


async def fired(*rules: Rule) -> None:
    await until(lambda: all(rule.fired for rule in rules))


@pytest.mark.parametrize("around", ["scope", "group"])
async def test_a_cancelled_scope_around_the_session_leaves_no_upload_open(faulty: FaultyServer, around: str) -> None:
    """As ``move_on_after`` and a task group cancel: again and again, at each await. Their uploads run in other tasks."""
    parts = [Rule("UploadPart", SILENCE, key=key, times=None) for key in ("a", "b")]
    faulty.will(*parts, Rule("AbortMultipartUpload", Pause(0.05), times=None))
    open_on_leaving: list[list[str]] = []
    tasks: list[asyncio.Task[Any]] = []

    async def use(start: Callable[[dream.Session, str], object], scope: anyio.CancelScope) -> None:
        try:
            async with session_to(faulty) as session:
                for key in ("a", "b"):
                    start(session, key)
                await fired(*parts)
                scope.cancel()
                await anyio.sleep_forever()
        finally:
            open_on_leaving.append(faulty.uploads("bucket"))

    async def put(session: dream.Session, key: str) -> None:
        await session.object(f"s3://bucket/{key}").put(DATA)

    async with asyncio.timeout(HANG_SECONDS):
        if around == "scope":
            with anyio.CancelScope() as scope:
                await use(lambda session, key: tasks.append(asyncio.create_task(put(session, key))), scope)
        else:
            async with anyio.create_task_group() as group:
                await use(lambda session, key: group.start_soon(put, session, key), group.cancel_scope)
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert open_on_leaving == [[]]
    assert [type(one) for one in found] == [dream.SessionClosedError] * len(tasks)
    assert faulty.keys("bucket") == []


@pytest.mark.parametrize("where", ["source", "callback"])
async def test_a_call_that_closes_its_own_session_leaves_no_upload_open(faulty: FaultyServer, where: str) -> None:
    """Nor does the closing leave those of others open."""
    part = Rule("UploadPart", SILENCE, key="other", times=None)
    faulty.will(part, Rule("AbortMultipartUpload", Pause(0.05), times=None))
    session = session_to(faulty)
    await session.open()

    async def source() -> AsyncIterator[bytes]:
        async for piece in chunks():
            yield piece
        if where == "source":
            await session.aclose()

    async def callback(progress: dream.Progress) -> None:
        if where == "callback" and progress.done_bytes:
            await session.aclose()

    other = asyncio.create_task(outcome(session.object("s3://bucket/other").put(DATA)))
    async with ended(other), asyncio.timeout(HANG_SECONDS):
        await fired(part)
        own = await outcome(session.object("s3://bucket/own").put(source(), progress=callback))
        assert isinstance(own, dream.SessionClosedError)
        assert isinstance(await other, dream.SessionClosedError)
        await session.aclose()
    assert faulty.uploads("bucket") == []
    assert faulty.keys("bucket") == []


# What has not left yet


ONE_PLACE = dream.Limits(part_size=PART, parts_per_object=2, requests=1)
AT_ONCE_SECONDS = 5.0
"""A clean-up may take twice as long."""


async def test_a_completion_that_waits_for_a_place_is_not_sent_for_one_who_was_cancelled(faulty: FaultyServer) -> None:
    faulty.put("bucket", "t", OLD)
    held = Rule("HeadObject", SILENCE, times=None)
    faulty.will(held)
    heads: list[asyncio.Task[Any]] = []
    session = session_to(faulty, limits=ONE_PLACE)
    await session.open()

    async def take_the_place(progress: dream.Progress) -> None:
        if progress.done_objects and not heads:
            heads.append(asyncio.create_task(session.object("s3://bucket/origin").head()))
            await fired(held)

    task = asyncio.create_task(session.object("s3://bucket/t").put(DATA, progress=take_the_place))
    async with ended(task), asyncio.timeout(HANG_SECONDS):
        await fired(held)
        await turns(200)
        task.cancel()
        await turns(200)
        async with ended(*heads):  # the place is free again
            heads[0].cancel()
            await asyncio.wait({task})
        await session.aclose()
    assert task.cancelled()
    assert "CompleteMultipartUpload" not in faulty.ops
    assert (faulty.content("bucket", "t"), faulty.uploads("bucket")) == (OLD, [])


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled", "closed"])
@pytest.mark.parametrize("content", [DATA, b"x"], ids=["in-parts", "at-once"])
async def test_an_upload_that_waits_for_a_place_ends_at_once_and_sends_nothing(
    faulty: FaultyServer, content: bytes, *, cancels: bool
) -> None:
    held = Rule("HeadObject", SILENCE, times=None)
    faulty.will(held)
    session = session_to(faulty, limits=ONE_PLACE)
    await session.open()
    head = asyncio.create_task(outcome(session.object("s3://bucket/origin").head()))
    async with ended(head):
        await fired(held)
        task = asyncio.create_task(session.object("s3://bucket/t").put(content))
        async with ended(task):
            await turns(200)
            async with asyncio.timeout(AT_ONCE_SECONDS):
                if cancels:
                    task.cancel()
                else:
                    await session.aclose()
                await asyncio.wait({task})
        await session.aclose()
        assert isinstance(await head, dream.SessionClosedError)
    if cancels:
        assert task.cancelled()
    else:
        assert isinstance(task.exception(), dream.SessionClosedError)
    await asyncio.to_thread(faulty.wait_until_left)
    assert faulty.ops == ["HeadObject"]


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled", "closed"])
async def test_a_creation_that_is_refused_is_not_tried_again_after_the_end(
    faulty: FaultyServer, *, cancels: bool
) -> None:
    """One may be on its way in that moment."""
    busy = Rule("CreateMultipartUpload", Refuse(503, "SlowDown"), times=None)
    faulty.will(busy)
    session = session_to(faulty, retry=dream.Retry(attempts=200, base=0.01, cap=0.01))
    await session.open()
    task = asyncio.create_task(session.object("s3://bucket/t").put(DATA))
    async with ended(task), asyncio.timeout(HANG_SECONDS):
        await fired(busy)
        before = len(faulty.log)
        if cancels:
            task.cancel()
        else:
            await session.aclose()
        await asyncio.wait({task})
        await session.aclose()
    await asyncio.to_thread(faulty.wait_until_left)
    assert len(faulty.log) - before <= 1
    assert task.cancelled() == cancels


# Copies, and calls of many requests


@pytest.mark.parametrize("closes", ["the only one", "the source's", "the target's"])
async def test_a_copy_whose_completion_is_in_flight_is_let_finish(faulty: FaultyServer, closes: str) -> None:
    """What comes after it, such as a look at the tags, may find the session closed. The call says then that it is in doubt."""
    faulty.put("bucket", "origin", DATA)
    slow = Rule("CompleteMultipartUpload", Pause(0.2))
    faulty.will(slow)
    source = target = await session_to(faulty).open()
    if closes != "the only one":
        source = await session_to(faulty).open()
    copy = source.object("s3://bucket/origin").copy_to(target.object("s3://bucket/t"))
    task = asyncio.create_task(outcome(copy))
    async with ended(task), asyncio.timeout(HANG_SECONDS):
        await fired(slow)
        await (source if closes == "the source's" else target).aclose()
        assert (faulty.content("bucket", "t"), faulty.uploads("bucket")) == (DATA, [])
        found = await task
        await source.aclose()
        await target.aclose()
    if closes == "the target's":
        assert found is None
    else:
        assert found is None or (isinstance(found, dream.SessionClosedError) and found.in_doubt)


OF_MANY: dict[str, tuple[str, Work]] = {
    "delete_many": ("DeleteObjects", lambda session, key, _: session.bucket("bucket").delete_many([key])),
    "upload_tree": ("PutObject", lambda session, _, home: session.bucket("bucket").upload_tree(home, "tree")),
}


@pytest.mark.parametrize("verb", OF_MANY)
async def test_a_call_of_many_requests_that_is_interrupted_is_in_doubt(
    faulty: FaultyServer, tmp_path: Path, verb: str
) -> None:
    operation, work = OF_MANY[verb]
    faulty.put("bucket", "t", OLD)
    (tmp_path / "small").write_bytes(DATA[:1000])
    held = Rule(operation, Cut(None, "silence"), times=None)
    faulty.will(held)
    session = session_to(faulty)
    await session.open()
    task = asyncio.create_task(outcome(work(session, "t", tmp_path)))
    async with ended(task), asyncio.timeout(HANG_SECONDS):
        await fired(held)
        await session.aclose()
        found = await task
    assert isinstance(found, dream.SessionClosedError)
    assert found.in_doubt
