"""What an observer of a session is told, what the log says, and what the statistics count."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from conftest import Server, new_name
from servers.scripted import IMPATIENT, Content, Raw, Reply, ScriptedServer, Silence, error

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

T = TypeVar("T")
Seen = list[dream.Event]
PART = 5 << 20


def all_of(seen: Seen, kind: type[T]) -> list[T]:
    return [event for event in seen if isinstance(event, kind)]


def the(seen: Seen, kind: type[T]) -> T:
    (found,) = all_of(seen, kind)
    return found


def require_whole(seen: Seen) -> None:
    """Each call and transfer starts once and ends once, inside its parent."""
    under_way: dict[int, int | None] = {}
    for event in seen:
        if isinstance(event, dream.CallStarted | dream.TransferStarted):
            assert event.id not in under_way
            assert event.parent is None or event.parent in under_way
            under_way[event.id] = event.parent
        elif isinstance(event, dream.CallEnded | dream.TransferEnded):
            del under_way[event.id]
            assert event.id not in under_way.values()
        elif isinstance(event, dream.AttemptFailed):
            assert event.id in under_way
    assert not under_way


async def test_each_failed_attempt_and_the_end_are_told(scripted: ScriptedServer) -> None:
    seen: Seen = []
    scripted.will(
        error(503, "SlowDown"),
        error(500, "InternalError"),
        Raw(),
        Reply(200, b"xyz", {"x-amz-request-id": "tx2", "x-amz-id-2": "host", "etag": '"e"'}),
    )
    async with scripted.session(observe=seen.append) as session:
        await session.object("s3://bucket/key").read()
    require_whole(seen)
    started, ended = the(seen, dream.CallStarted), the(seen, dream.CallEnded)
    assert started == dream.CallStarted(
        started.id, None, "get_object", "GET", "127.0.0.1", scripted.port, "bucket", "key", None, None
    )
    failures = all_of(seen, dream.AttemptFailed)
    assert [(failed.id, failed.number, failed.status, failed.code) for failed in failures] == [
        (started.id, 1, 503, "SlowDown"),
        (started.id, 2, 500, "InternalError"),
        (started.id, 3, None, ""),
    ]
    assert [failed.error_type for failed in failures] == [
        "ServiceBusyError",
        "ServiceBusyError",
        "ConnectionFailedError",
    ]
    assert [failed.request_id for failed in failures] == ["tx1", "tx1", None]
    assert all(failed.wait is not None for failed in failures)
    assert (ended.id, ended.operation, ended.bucket, ended.key) == (started.id, "get_object", "bucket", "key")
    assert (ended.status, ended.attempts, ended.error) == (200, 4, None)
    assert (ended.request_id, ended.extended_request_id) == ("tx2", "host")
    assert (ended.sent, ended.received) == (0, 3)
    assert ended.seconds > ended.waited_connection > 0


@pytest.mark.parametrize(
    ("answer", "status", "code", "kind"),
    [
        (error(404, "NoSuchKey"), 404, "NoSuchKey", dream.NotFoundError),
        (error(403, "AccessDenied"), 403, "AccessDenied", dream.AccessDeniedError),
        (Silence(), None, "", dream.ConnectionFailedError),
    ],
)
async def test_the_error_that_is_raised_is_told(
    scripted: ScriptedServer, answer: Reply | Silence, status: int | None, code: str, kind: type[Exception]
) -> None:
    seen: Seen = []
    scripted.will(answer)
    async with scripted.session(observe=seen.append, timeouts=IMPATIENT, retry=dream.Retry(attempts=1)) as session:
        with pytest.raises(kind) as caught:
            await session.object("s3://bucket/key").read()
    require_whole(seen)
    failed, ended = the(seen, dream.AttemptFailed), the(seen, dream.CallEnded)
    assert (failed.status, failed.code, failed.wait) == (status, code, None)
    assert ended.error is caught.value
    assert (ended.status, ended.attempts) == (status, 1)


async def test_an_upload_that_is_gone_after_its_abort_is_no_error() -> None:
    """An abort looks whether parts came late: then the service says that there is no such upload."""
    seen: Seen = []
    async with MemoryService().session(observe=seen.append) as session:
        bucket = await session.create_bucket("bucket-1")
        upload = await bucket.object("a").start_upload()
        await upload.put_part(1, b"x")
        await upload.abort()
        await bucket.object("a").multipart(upload.upload_id).abort()
    require_whole(seen)
    assert not all_of(seen, dream.AttemptFailed)
    ended = [end for end in all_of(seen, dream.CallEnded) if end.operation in ("abort_multipart_upload", "list_parts")]
    assert [(end.status, end.error) for end in ended] == [(204, None), (404, None), (404, None)]


async def test_what_exists_does_not_find_is_no_error() -> None:
    seen: Seen = []
    async with MemoryService().session(observe=seen.append) as session:
        bucket = await session.create_bucket("bucket-1")
        seen.clear()
        assert not await bucket.object("none").exists()
        assert not await session.bucket("no-bucket").exists()
        await bucket.object("none").delete()
        assert await bucket.head_many(["none"]).collect() == {"none": None}
    require_whole(seen)
    assert not all_of(seen, dream.AttemptFailed)
    ended = all_of(seen, dream.CallEnded)
    assert [end.error for end in ended] == [None] * len(ended)
    assert [end.status for end in ended if end.operation == "head_object"] == [404, 404]
    with pytest.raises(dream.NotFoundError):
        async with MemoryService().session(observe=seen.append) as session:
            await session.bucket("no-bucket").object("none").head()
    assert isinstance(all_of(seen, dream.CallEnded)[-1].error, dream.NotFoundError)


@pytest.mark.parametrize("reads", ["whole", "a part", "nothing"])
async def test_a_streamed_body_ends_its_call(memory_served: Server, reads: str) -> None:
    seen: Seen = []
    async with memory_served.session(observe=seen.append) as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("k").put(b"x" * 1_000_000)
        seen.clear()
        async with bucket.object("k").get() as body:
            assert len(all_of(seen, dream.CallStarted)) == 1
            assert not all_of(seen, dream.CallEnded)
            if reads == "a part":
                await body.read(10)
            elif reads == "whole":
                await body.read()
        ended = the(seen, dream.CallEnded)
        require_whole(seen)
        assert (ended.status, ended.error) == (200, None)
        if reads == "whole":
            assert ended.received == 1_000_000
        else:
            assert (ended.received > 0) == (reads == "a part")
            assert ended.received < 1_000_000
        await bucket.delete(force=True)


async def test_a_body_that_breaks_is_two_calls(scripted: ScriptedServer) -> None:
    seen: Seen = []
    content = Content(b"x" * 300_000, "opaque-1")
    scripted.will(Content(content.data, content.etag, cut=200_000), content)
    async with scripted.session(observe=seen.append) as session, session.object("s3://bucket/key").get() as body:
        assert len(await body.read()) == 300_000
    require_whole(seen)
    first, second = all_of(seen, dream.CallEnded)
    assert isinstance(first.error, dream.IncompleteBodyError)
    assert (first.received, second.received, second.error) == (200_000, 100_000, None)
    assert (first.status, second.status) == (200, 206)


async def test_transfers_are_the_parents_of_their_calls(server: Server, bucket: dream.Bucket, tmp_path: Path) -> None:
    seen: Seen = []
    site = tmp_path / "site"
    site.mkdir()
    for name in ("a", "b", "c"):
        (site / name).write_bytes(name.encode() * 300_000)
    (site / "large").write_bytes(b"x" * (PART + 1))
    limits = dream.Limits(part_size=PART)
    async with server.session(limits=limits, observe=seen.append) as session:
        same = session.bucket(bucket.name)
        await same.upload_tree(site, "www")
        await same.object("www/large").download(tmp_path / "large")
        await same.object("www/large").copy_to(same.object("copy"))
        await same.delete_many(["www/a", "copy"])
    require_whole(seen)
    transfers = {started.id: started for started in all_of(seen, dream.TransferStarted)}
    tree, download, copy, bulk = [started for started in transfers.values() if started.parent is None]
    assert [(one.verb, one.bucket, one.key) for one in (tree, download, copy, bulk)] == [
        ("upload_tree", bucket.name, "www/"),
        ("download", bucket.name, "www/large"),
        ("copy", bucket.name, "copy"),
        ("delete_many", bucket.name, ""),
    ]
    uploads = {one.key: one.id for one in transfers.values() if one.parent == tree.id}
    assert set(uploads) == {"www/a", "www/b", "www/c", "www/large"}
    calls = all_of(seen, dream.CallStarted)
    parts = [call for call in calls if call.operation == "upload_part"]
    assert {(call.parent, call.key, call.part_number) for call in parts} == {
        (uploads["www/large"], "www/large", 1),
        (uploads["www/large"], "www/large", 2),
    }
    assert len({call.upload_id for call in parts}) == 1
    assert parts[0].upload_id
    assert [call.parent for call in calls if call.operation == "delete_objects"] == [bulk.id]
    assert {call.parent for call in calls if call.operation == "get_object"} == {download.id}
    ends = {end.id: end for end in all_of(seen, dream.TransferEnded)}
    assert [ends[one.id].size for one in (tree, download, copy)] == [900_000 + PART + 1, PART + 1, PART + 1]
    large, fetched = ends[uploads["www/large"]], ends[download.id]
    assert (large.parts, large.resumed, large.verified) == (2, False, "parts")
    assert (fetched.parts, fetched.resumed, fetched.verified) == (2, False, "parts")
    assert all(end.error is None for end in ends.values())


async def test_apply_and_head_many_are_the_parents_of_their_calls() -> None:
    async def size_of(obj: dream.Object) -> int:
        return len(await obj.read())

    seen: Seen = []
    async with MemoryService().session(observe=seen.append) as session:
        bucket = await session.create_bucket("bucket-1")
        for key in "ab":
            await bucket.object(key).put(key)
        seen.clear()
        assert [found async for found in bucket.apply(["a", "b"], size_of)] == [("a", 1), ("b", 1)]
        await bucket.head_many(["a", "b"]).collect()
    require_whole(seen)
    applied, headed = all_of(seen, dream.TransferStarted)
    assert (applied.verb, applied.bucket, applied.key) == ("apply", "bucket-1", "")
    assert (headed.verb, headed.bucket, headed.key) == ("head_many", "bucket-1", "")
    calls = [(call.operation, call.parent) for call in all_of(seen, dream.CallStarted)]
    assert calls == [("get_object", applied.id)] * 2 + [("head_object", headed.id)] * 2


async def test_a_call_leaves_nothing_for_the_garbage_collector() -> None:
    async with MemoryService().session(observe=id) as session:
        bucket = await session.create_bucket("bucket-1")
        obj = bucket.object("k")
        await obj.put(b"x")
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                await obj.read()
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_a_resumed_upload_says_so(tmp_path: Path) -> None:
    seen: Seen = []
    path = tmp_path / "f"
    path.write_bytes(b"x" * (3 * PART))
    service = MemoryService()
    async with service.session(limits=dream.Limits(part_size=PART, parts_per_object=1), observe=seen.append) as session:
        bucket = await session.create_bucket("bucket-1")
        service.fail("complete_upload", "AccessDenied")
        with pytest.raises(dream.AccessDeniedError):
            await bucket.object("k").upload(path, resume=True)
        await bucket.object("k").upload(path, resume=True)
    require_whole(seen)
    failed, done = all_of(seen, dream.TransferEnded)
    assert isinstance(failed.error, dream.AccessDeniedError)
    assert (done.parts, done.resumed, done.error) == (3, True, None)


async def test_connections_are_told(memory_served: Server) -> None:
    seen: Seen = []
    async with memory_served.session(observe=seen.append) as session:
        for _ in range(3):
            await session.bucket("no-bucket").exists()
        assert session.statistics().waited_connection > 0
    opened, closed = the(seen, dream.ConnectionOpened), the(seen, dream.ConnectionClosed)
    assert opened.host == closed.host == memory_served.service.host
    assert (opened.reused, opened.reason) == (0, "no connection was idle")
    assert opened.seconds > 0
    assert (closed.reused, closed.seconds > 0) == (2, True)
    assert "the session was closed" in closed.reason


async def test_the_number_of_requests_that_may_be_under_way_is_told() -> None:
    service = MemoryService()
    seen: Seen = []
    async with service.session(limits=dream.Limits(requests=4), observe=seen.append) as session:
        bucket = await session.create_bucket("bucket-1")
        service.fail("head_bucket", "SlowDown", times=2)
        for _ in range(30):
            await bucket.exists()
    changes = [(change.before, change.after) for change in all_of(seen, dream.Throttled)]
    assert changes == [(4, 2), (2, 1), (1, 2), (2, 3), (3, 4)]


async def test_waits_for_a_place_are_told() -> None:
    service = MemoryService()
    seen: Seen = []
    async with service.session(limits=dream.Limits(requests=1), observe=seen.append) as session:
        bucket = await session.create_bucket("bucket-1")
        await bucket.object("k").put("x")
        seen.clear()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(bucket.object("k").read)
        statistics = session.statistics()
    waits = sorted(end.waited_place for end in all_of(seen, dream.CallEnded))
    assert waits[0] == 0 < waits[1] < waits[2]
    assert statistics.waited_place == pytest.approx(sum(waits))


async def test_the_caller_of_the_observer_is_the_callers_context() -> None:
    """Also in the tasks that a verb starts: a tracer's current span is then the parent."""
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: set[str] = set()
    service = MemoryService()
    async with service.session(observe=lambda event: seen.add(who.get())) as session:
        bucket = await session.create_bucket("bucket-1")
        seen.clear()
        who.set("me")
        for number in range(20):
            await bucket.object(f"a/{number}").put("x")
        await bucket.copy_tree(bucket, "a", "b")
        assert len(await bucket.list(parallel=4).collect()) == 40
        who.set("nobody")
    assert seen == {"me"}


class Unusual(BaseException):
    pass


@pytest.mark.parametrize("raised", [ValueError("no"), asyncio.CancelledError()])
async def test_an_observer_that_raises_is_logged_once_and_changes_nothing(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def observe(_: dream.Event) -> None:
        raise raised

    async with MemoryService().session(observe=observe) as session:
        bucket = await session.create_bucket("bucket-1")
        await bucket.object("k").put(b"x" * 300_000)
        async with bucket.object("k").get() as body:
            assert len(await body.read()) == 300_000
        assert (await bucket.delete_many(["k"])).done == 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "the observer of a session raised an error" in record.getMessage()


@pytest.mark.parametrize("kind", [dream.CallStarted, dream.CallEnded, dream.TransferStarted, dream.TransferEnded])
async def test_an_interrupt_in_the_observer_is_raised_and_leaves_nothing(kind: type[dream.Event]) -> None:
    """KeyboardInterrupt and its like may be Ctrl-C, which came while the observer ran."""
    is_armed = False

    def observe(event: dream.Event) -> None:
        nonlocal is_armed
        if is_armed and isinstance(event, kind):
            is_armed = False
            raise Unusual

    async with MemoryService().session(limits=dream.Limits(requests=1), observe=observe) as session:
        bucket = await session.create_bucket("bucket-1")
        await bucket.object("k").put(b"x")
        is_armed = True
        with pytest.raises((Unusual, BaseExceptionGroup)):
            await bucket.object("k").copy_to(bucket.object("l"))
        assert await bucket.object("k").read() == b"x"
        await bucket.delete_many(["k", "l"])


def test_an_observer_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="observe must be a function that takes an event, not list"):
        dream.Session(observe=[])  # type: ignore[arg-type]  # what is tried

    async def later(event: dream.Event) -> None: ...

    class Later:
        async def __call__(self, event: dream.Event) -> None: ...

    for observe in (later, Later(), functools.partial(later)):
        with pytest.raises(TypeError, match="observe must be a plain function, not async"):
            dream.Session(observe=observe)


async def test_a_call_that_is_cancelled_or_closed_ends(scripted: ScriptedServer) -> None:
    seen: Seen = []
    scripted.will(Silence())
    async with scripted.session(observe=seen.append) as session:
        async with anyio.create_task_group() as group:
            group.start_soon(session.object("s3://bucket/key").read)
            await scripted.arrived.wait()
            group.cancel_scope.cancel()
        assert isinstance(the(seen, dream.CallEnded).error, asyncio.CancelledError)
        seen.clear()
        scripted.arrived.clear()
        copy = asyncio.ensure_future(session.object("s3://bucket/key").copy_to(session.object("s3://bucket/l")))
        await scripted.arrived.wait()
    with pytest.raises(dream.SessionClosedError) as caught:
        await copy
    require_whole(seen)
    assert the(seen, dream.TransferEnded).error is caught.value


# Logs and statistics


async def test_a_retry_is_logged_with_its_fields(scripted: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiodreamobjects.retry")
    scripted.will(error(503, "SlowDown"), Content(b"x", "opaque-1"))
    async with scripted.session() as session:
        await session.object("s3://bucket/key").read()
        statistics = session.statistics()
    (record,) = [record for record in caplog.records if record.name == "aiodreamobjects.retry"]
    assert record.levelno == logging.INFO
    fields = {
        name: getattr(record, name)
        for name in ("operation", "bucket", "key", "attempt", "status", "code", "request_id")
    }
    assert fields == {
        "operation": "get_object",
        "bucket": "bucket",
        "key": "key",
        "attempt": 1,
        "status": 503,
        "code": "SlowDown",
        "request_id": "tx1",
    }
    assert statistics.calls == {"get_object": 1}
    assert statistics.retries_by_cause == {"SlowDown": 1}


async def test_connections_and_transfers_are_logged(
    memory_served: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aiodreamobjects")
    (tmp_path / "f").write_bytes(b"x")
    async with memory_served.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("k").upload(tmp_path / "f")
        await bucket.delete(force=True)
    told = [record for record in caplog.records if record.name == "aiodreamobjects.transfer"]
    first = told[0]
    assert (first.verb, first.bucket, first.key, first.size) == ("upload", bucket.name, "k", 1)  # type: ignore[attr-defined]  # extra=
    assert f"upload s3://{bucket.name}/k: done" in first.getMessage()
    pool = [record.getMessage() for record in caplog.records if record.name == "aiodreamobjects.pool"]
    assert "connected in" in pool[0]
    assert "connection closed after" in pool[-1]


async def test_calls_are_counted_without_an_observer() -> None:
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("bucket-1", exist_ok=True)
        await bucket.object("k").put("x")
        await bucket.object("k").read()
        await bucket.object("k").read()
        statistics = session.statistics()
    counted = {name: statistics.calls[name] for name in ("create_bucket", "put_object", "get_object")}
    assert counted == {"create_bucket": 1, "put_object": 1, "get_object": 2}
    assert statistics.retries_by_cause == {}


def test_the_library_logs_nothing_on_its_own() -> None:
    """Without a handler, Python would print warnings to stderr."""
    handlers = logging.getLogger("aiodreamobjects").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
