"""Whatever code of the caller raises inside our verbs arrives as itself; nothing is left, and no success is untrue."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from interruptions import watched_tasks
from servers.faulty import FaultyServer, until
from servers.rules import Refuse, Rule
from user_code import (
    OLD,
    PATIENCE_SECONDS,
    SILENCE,
    SOURCES,
    WITH_PROGRESS,
    Callback,
    Place,
    Steps,
    Trial,
    check_all,
    held_rule,
    mistakes_of,
    numbered,
    outcome,
    pieces_of,
    set_up,
    steps_to_try,
    what_is_left,
    wrong_state,
)

import aiodreamobjects as dream

PART = 100_000
DATA = random.Random(1).randbytes(2 * PART + 20_000)
"""In three parts."""
KIB = 1 << 10
EDGES = (64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1)
LIMITS = dream.Limits(part_size=PART, parts_per_object=2)
LARGE_PARTS = dream.Limits(part_size=300_000, parts_per_object=2)
"""Parts of this size are read in two steps, and take memory of the session."""
PATIENT = dream.Timeouts(connect=10, read=60, write=60)
"""A request that is held stays under way."""

T = TypeVar("T")
Setting = tuple[dream.Session, dream.Session]


def sessions(faulty: FaultyServer, limits: dream.Limits = LIMITS) -> Callable[[], AbstractAsyncContextManager[Setting]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Setting]:
        rules = dream.MultipartRules(smallest_part=1, largest_copy=PART)
        no_tags: dict[dream.Feature, str] = {"tagging": "this server has no tags"}
        given = {
            "service": replace(faulty.service, multipart=rules, unsupported=no_tags),
            "limits": limits,
            "timeouts": PATIENT,
        }
        async with faulty.session(**given) as session, faulty.session(**given) as other:
            yield session, other

    return opened


# Sources


def put_trial(faulty: FaultyServer, key: str, kind: str, content: bytes, at: int, mistake: str) -> Trial:
    source = SOURCES[kind]

    async def run(setting: Setting) -> str:
        steps = Steps(at, mistake)
        faulty.put("bucket", key, OLD)
        given = source.make(steps, content)
        found = await outcome(setting[0].object(f"s3://bucket/{key}").put(given))
        stored = faulty.content("bucket", key) or b""
        if key in faulty.uploads("bucket"):
            return "an upload is left open"
        if steps.raised is None:
            return "" if found is None and stored == content else f"{found!r} although nothing was raised"
        if found is None:
            is_end = source.ends_by is not None and isinstance(steps.raised, source.ends_by)
            is_true = content.startswith(stored) if is_end else stored == content
            return "" if is_true else f"success with {len(stored)} bytes of {len(content)}"
        if stored != OLD:
            return f"{found!r}, and the old object is gone"
        return "" if steps.is_outcome(found) else f"{found!r} is not what was raised"

    return Trial(f"{kind}, {len(content)} bytes, {mistake} at step {at}", run)


def count_of_steps(kind: str, content: bytes) -> int:
    """How often our code may call: about once for a piece, and a few times more."""
    return len(pieces_of(content)) + 4


def put_trials(faulty: FaultyServer, kind: str, sizes: Sequence[int], *, some_steps: bool, some: bool) -> list[Trial]:
    names, source = numbered(f"{kind[:1]}{len(kind)}"), SOURCES[kind]
    return [
        put_trial(faulty, next(names), kind, DATA[:1] * size if size < 2 else (DATA * 2)[:size], at, mistake)
        for size in sizes
        for at in (0, *steps_to_try(count_of_steps(kind, b"x" * size), some=some_steps))
        for mistake in (mistakes_of(is_async=source.is_async, some=some) if at else ["ValueError"])
        if mistake not in source.left_out
    ]


@pytest.mark.parametrize("kind", SOURCES)
async def test_a_source_of_a_small_object_may_raise_anything_at_every_step(faulty: FaultyServer, kind: str) -> None:
    await check_all(sessions(faulty), put_trials(faulty, kind, (0, 1024), some_steps=False, some=False))


@pytest.mark.parametrize("kind", SOURCES)
async def test_a_source_may_raise_on_both_sides_of_each_size_that_matters(faulty: FaultyServer, kind: str) -> None:
    trials = put_trials(faulty, kind, EDGES, some_steps=True, some=True)
    await check_all(sessions(faulty, limits=LARGE_PARTS), trials[:: 1 if kind == "async generator" else 3])


@pytest.mark.parametrize("kind", SOURCES)
async def test_a_source_of_several_parts_may_raise_anything(faulty: FaultyServer, kind: str) -> None:
    trials = put_trials(faulty, kind, (len(DATA),), some_steps=True, some=False)
    await check_all(sessions(faulty), trials)


@pytest.mark.parametrize("kind", SOURCES)
async def test_a_source_may_raise_where_the_last_part_is_full(faulty: FaultyServer, kind: str) -> None:
    trials = put_trials(faulty, kind, (2 * PART,), some_steps=True, some=True)
    await check_all(sessions(faulty), trials)


# Bodies of "async with", and sinks


async def in_writer(obj: dream.Object, steps: Steps, content: bytes) -> None:
    async with obj.writer() as file:
        await steps.take_async()
        for piece in pieces_of(content):
            await file.write(piece)
            await steps.take_async()


async def in_get(obj: dream.Object, steps: Steps, _: bytes) -> None:
    async with obj.get() as body:
        await steps.take_async()
        async for _chunk in body:
            await steps.take_async()
        await steps.take_async()


async def in_reader(obj: dream.Object, steps: Steps, content: bytes) -> None:
    async with obj.reader() as file:
        for start in range(0, len(content) + 1, len(content) // 4 or 1):
            await steps.take_async()
            await file.seek(start)
            await file.read(1000)


class Sink:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    async def write(self, data: bytes) -> int:
        await self._steps.take_async()
        return len(data)


async def in_write_to(obj: dream.Object, steps: Steps, _: bytes) -> None:
    async with obj.get() as body:
        await body.write_to(Sink(steps))


async def in_a_put_of_a_body(obj: dream.Object, steps: Steps, content: bytes) -> None:
    """A source and a sink at once: what is read of one object is written to another."""
    async with obj.get() as body, obj.writer() as file:
        async for chunk in body:
            await steps.take_async()
            await file.write(chunk)


Body = Callable[[dream.Object, Steps, bytes], Awaitable[None]]
BODIES: dict[str, Body] = {
    "writer": in_writer,
    "get": in_get,
    "reader": in_reader,
    "write_to": in_write_to,
    "get and writer": in_a_put_of_a_body,
}


def body_trial(faulty: FaultyServer, key: str, verb: str, content: bytes, at: int, mistake: str) -> Trial:
    before = OLD if verb == "writer" else content

    async def run(setting: Setting) -> str:
        steps = Steps(at, mistake)
        faulty.put("bucket", key, before)
        found = await outcome(BODIES[verb](setting[0].object(f"s3://bucket/{key}"), steps, content))
        stored = faulty.content("bucket", key)
        if key in faulty.uploads("bucket"):
            return "an upload is left open"
        if steps.raised is None:
            return "" if found is None and stored == content else f"{found!r} although nothing was raised"
        if stored != before:
            return f"{found!r}, and the old object is gone"
        return "" if steps.is_outcome(found) else f"{found!r} is not what was raised"

    return Trial(f"{verb}, {len(content)} bytes, {mistake} at step {at}", run)


@pytest.mark.parametrize("verb", BODIES)
async def test_the_body_of_an_async_with_may_raise_anything_at_every_step(faulty: FaultyServer, verb: str) -> None:
    names = numbered()
    trials = [
        body_trial(faulty, next(names), verb, DATA[:size], at, mistake)
        for size in (0, 1024, len(DATA))
        for at in (range(6) if size < len(DATA) else (0, 1, 3, 5))
        for mistake in (mistakes_of(is_async=True) if at else ["ValueError"])
    ]
    await check_all(sessions(faulty), trials)


@pytest.mark.parametrize("parallel", [1, 4])
async def test_the_body_of_a_loop_over_a_listing_may_raise_anything(faulty: FaultyServer, parallel: int) -> None:
    for number in range(1100):
        faulty.put("bucket", f"{number:04}", b"")

    def trial(at: int, mistake: str) -> Trial:
        async def go_through(bucket: dream.Bucket, steps: Steps) -> None:
            async for info in bucket.list(parallel=parallel):
                if info.key in ("0000", "0500", "1050"):
                    await steps.take_async()

        async def run(setting: Setting) -> str:
            steps = Steps(at, mistake)
            tasks = asyncio.all_tasks()
            found = await outcome(go_through(setting[0].bucket("bucket"), steps))
            is_right = steps.is_outcome(found)
            steps.raised = found = None  # its traceback holds the generator, which the loop closes when it is dropped
            async with asyncio.timeout(PATIENCE_SECONDS):
                while asyncio.all_tasks() - tasks:
                    gc.collect(1)
                    await asyncio.sleep(0.001)
            return "" if is_right else "another error than was raised"

        return Trial(f"{mistake} at step {at}", run)

    await check_all(
        sessions(faulty), [trial(at, one) for at in (1, 3) for one in mistakes_of(is_async=True, some=True)]
    )


# Sources of keys


class OwnKeys:
    """No generator: StopIteration is the end of the keys."""

    def __init__(self, steps: Steps, keys: Sequence[str]) -> None:
        self._steps, self._keys = steps, iter(keys)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._steps.take(StopIteration)
        return next(self._keys)


def generated_keys(steps: Steps, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        steps.take()
        yield key
    steps.take()


async def async_generated_keys(steps: Steps, keys: Sequence[str]) -> AsyncIterator[str]:
    for key in keys:
        await steps.take_async()
        yield key
    await steps.take_async()


KEY_SOURCES: dict[str, tuple[Callable[[Steps, Sequence[str]], Any], bool]] = {
    "iterator": (OwnKeys, False),
    "generator": (generated_keys, False),
    "async generator": (async_generated_keys, True),
}


def many_trial(
    faulty: FaultyServer, prefix: str, verb: str, source: str, *, count: int, at: int, mistake: str
) -> Trial:
    keys = [f"{prefix}/{number:04}" for number in range(count)]

    async def run(setting: Setting) -> str:
        bucket, steps = setting[0].bucket("bucket"), Steps(at, mistake)
        for key in keys:
            faulty.put("bucket", key, OLD)
        items: Sequence[Any] = [(key, f"to/{key}") for key in keys] if verb == "copy_many" else keys
        given = KEY_SOURCES[source][0](steps, items)
        report: dream.BulkReport | None = None

        async def work() -> None:
            nonlocal report
            match verb:
                case "delete_many":
                    report = await bucket.delete_many(given)
                case "copy_many":
                    report = await bucket.copy_many(given)
                case "set_headers_many":
                    report = await bucket.set_headers_many(given, expires="0")
                case _:
                    report = await bucket.set_acl_many(given, "public-read")

        found = await outcome(work())
        is_end = isinstance(steps.raised, StopIteration) and source == "iterator"
        if steps.raised is not None and not is_end:
            return "" if steps.is_outcome(found) else f"{found!r}, {report!r}, not what was raised"
        handed_out = at - 1 if is_end else count
        left = sum(key.startswith(f"{prefix}/") for key in faulty.keys("bucket"))
        is_done = verb != "delete_many" or left == count - handed_out
        is_right = found is None and report is not None and (report.done, report.failed) == (handed_out, 0) and is_done
        return "" if is_right else f"{found!r}, {report!r}, {left} of {count} keys left"

    return Trial(f"{verb}, {source} of {count} keys, {mistake} at step {at}", run)


@pytest.mark.parametrize("source", KEY_SOURCES)
@pytest.mark.parametrize("verb", ["delete_many", "set_acl_many", "copy_many", "set_headers_many"])
async def test_a_source_of_keys_may_raise_anything_at_every_step(faulty: FaultyServer, verb: str, source: str) -> None:
    names, is_async = numbered(), KEY_SOURCES[source][1]
    trials = [
        many_trial(faulty, next(names), verb, source, count=4, at=at, mistake=mistake)
        for at in range(6)
        for mistake in (mistakes_of(is_async=is_async) if at else ["ValueError"])
    ]
    if verb == "delete_many":  # the first request is under way then
        trials += [
            many_trial(faulty, next(names), verb, source, count=1100, at=1050, mistake=mistake)
            for mistake in mistakes_of(is_async=is_async, some=True)
        ]
    await check_all(sessions(faulty), trials)


class FilterError(Exception):
    """What an iterable of patterns raises."""


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize("verb", ["upload_tree", "download_tree", "copy_tree"])
async def test_patterns_that_raise_change_nothing(
    faulty: FaultyServer, tmp_path: Path, verb: str, argument: str
) -> None:
    def patterns() -> Iterator[str]:
        yield "*.py"
        raise FilterError

    async with sessions(faulty)() as (session, other):
        place = Place(session, other, faulty, tmp_path, "t", DATA)
        set_up(place, verb)
        before = len(faulty.log)
        bucket, given = place.bucket, {argument: patterns()}
        trees: dict[str, Callable[..., Awaitable[object]]] = {
            "upload_tree": partial(bucket.upload_tree, place.source, "t"),
            "download_tree": partial(bucket.download_tree, place.target, "t.from"),
            "copy_tree": partial(bucket.copy_tree, bucket, "t.from", "t"),
        }
        with pytest.raises(FilterError):
            await trees[verb](**given)
        assert wrong_state(place, verb, FilterError()) == ""
        assert not {asked.op for asked in faulty.log[before:]} - {"ListObjectsV2"}


def headers_trial(faulty: FaultyServer, home: Path, name: str, at: int, mistake: str) -> Trial:
    async def run(setting: Setting) -> str:
        place, steps = Place(*setting, faulty, home, name, DATA), Steps(at, mistake)
        set_up(place, "upload_tree")

        def headers_for(_: str) -> Mapping[str, object]:
            steps.take()
            return {"cache_control": "no-cache"}

        found = await outcome(place.bucket.upload_tree(place.source, name, headers_for=headers_for))
        wrong = wrong_state(place, "upload_tree", found)
        return wrong or ("" if steps.is_outcome(found) else f"{found!r} is not what was raised")

    return Trial(f"{mistake} at step {at}", run)


async def test_headers_for_may_raise_anything_at_every_step(faulty: FaultyServer, tmp_path: Path) -> None:
    names = numbered()
    trials = [
        headers_trial(faulty, tmp_path, next(names), at, mistake)
        for at in range(4)
        for mistake in (mistakes_of(is_async=False) if at else ["ValueError"])
    ]
    await check_all(sessions(faulty), trials)


async def check(place: Place, progress: dream.ProgressCallback) -> None:
    await place.bucket.check_tree(place.source, f"{place.name}.from", progress=progress)


async def restore(place: Place, progress: dream.ProgressCallback) -> None:
    await place.bucket.set_versioning("Enabled")
    await place.bucket.restore_tree(f"{place.name}.from", datetime(2000, 1, 1, tzinfo=UTC), progress=progress)


@pytest.mark.parametrize("verb", [check, restore])
async def test_the_progress_of_a_check_or_a_restore_may_raise_anything(
    faulty: FaultyServer, tmp_path: Path, verb: Callable[[Place, dream.ProgressCallback], Awaitable[None]]
) -> None:
    names = numbered()

    def trial(name: str, mistake: str, *, is_async: bool) -> Trial:
        async def run(setting: Setting) -> str:
            place, steps = Place(*setting, faulty, tmp_path, name, DATA), Steps(1, mistake)
            set_up(place, "upload_tree")
            found = await outcome(verb(place, Callback(steps, lambda _: True).of(is_async=is_async)))
            return "" if steps.is_outcome(found) else f"{found!r} is not what was raised"

        return Trial(f"{mistake}, {is_async=}", run)

    trials = [
        trial(next(names), mistake, is_async=is_async)
        for is_async in (False, True)
        for mistake in mistakes_of(is_async=is_async)
    ]
    await check_all(sessions(faulty), trials)


# Progress callbacks


def is_last(verb: str) -> Callable[[dream.Progress], bool]:
    return lambda progress: progress.done_objects == (1 if WITH_PROGRESS[verb].is_of_one else 3)


def place_for(faulty: FaultyServer, home: Path, name: str, content: bytes, setting: Setting) -> Place:
    session, other = setting
    return Place(session, other, faulty, home, name, content)


def progress_trial(
    faulty: FaultyServer,
    place_of: Callable[[Setting], Place],
    verb: str,
    *,
    at_the_end: bool,
    is_async: bool,
    mistake: str | None,
) -> Trial:
    async def run(setting: Setting) -> str:
        place, steps = place_of(setting), Steps(1 if mistake else 0, mistake or "ValueError")
        set_up(place, verb)
        callback = Callback(steps, is_last(verb) if at_the_end else lambda _: True)
        found = await outcome(WITH_PROGRESS[verb].run(place, callback.of(is_async=is_async)))
        if wrong := wrong_state(place, verb, found):
            return f"{found!r}: {wrong}"
        if steps.raised is None and mistake:
            return f"{found!r}: no call was due; it was told {callback.told}"
        return "" if steps.is_outcome(found) else f"{found!r} is not what was raised"

    when = "at the end" if at_the_end else "under way"
    return Trial(f"{verb}, {'async' if is_async else 'sync'}, {mistake} {when}", run)


def together(name: str, trials: Sequence[Trial]) -> Trial:
    """All at once."""

    async def run(setting: Setting) -> str:
        found = await asyncio.gather(*(trial.run(setting) for trial in trials))
        return "; ".join(
            f"{trial.name.partition(',')[0]}: {one}" for trial, one in zip(trials, found, strict=True) if one
        )

    return Trial(name, run)


Kind = tuple[bool, str]
KINDS: list[Kind] = [(is_async, one) for is_async in (False, True) for one in mistakes_of(is_async=is_async)]


@pytest.mark.parametrize("size", [0, 1024, len(DATA)], ids=["empty", "small", "in-parts"])
@pytest.mark.parametrize("verb", WITH_PROGRESS)
async def test_the_last_call_may_raise_anything(faulty: FaultyServer, tmp_path: Path, verb: str, size: int) -> None:
    names, content = numbered(), DATA[:size]

    def trial(*, is_async: bool, mistake: str | None) -> Trial:
        name = next(names)
        return progress_trial(
            faulty,
            partial(place_for, faulty, tmp_path, name, content),
            verb,
            at_the_end=True,
            is_async=is_async,
            mistake=mistake,
        )

    kinds = KINDS if size == len(DATA) else [kind for kind in KINDS if kind[1] in mistakes_of(is_async=True, some=True)]
    trials = [trial(is_async=is_async, mistake=None) for is_async in (False, True)]
    await check_all(sessions(faulty), trials + [trial(is_async=is_async, mistake=one) for is_async, one in kinds])


@pytest.mark.parametrize("mistake", mistakes_of(is_async=True))
async def test_a_callback_that_raises_ends_a_transfer_that_is_under_way(
    faulty: FaultyServer, tmp_path: Path, mistake: str
) -> None:
    """Of each verb a request is never answered: nothing but the callback can end it."""
    names, held = numbered(), []
    groups = []
    for is_async in (False, True):
        if mistake not in mistakes_of(is_async=is_async):
            continue
        trials = []
        for verb in WITH_PROGRESS:
            name = next(names)
            held.append(held_rule(verb, name, DATA, may_be_idle=True))
            trials.append(
                progress_trial(
                    faulty,
                    partial(place_for, faulty, tmp_path, name, DATA),
                    verb,
                    at_the_end=False,
                    is_async=is_async,
                    mistake=mistake,
                )
            )
        groups.append(together(f"{mistake}, {'async' if is_async else 'sync'}", trials))
    faulty.will(*held)
    await check_all(sessions(faulty), groups)


@pytest.mark.parametrize("size", [0, 1024, 64 * KIB + 1, len(DATA), 2 * PART], ids=lambda size: f"{size}-bytes")
@pytest.mark.parametrize("verb", [name for name, one in WITH_PROGRESS.items() if one.is_of_one])
async def test_the_last_call_comes_before_the_new_content_appears_and_tells_all_of_it(
    faulty: FaultyServer, tmp_path: Path, verb: str, size: int
) -> None:
    async with sessions(faulty)() as (session, other):
        place = Place(session, other, faulty, tmp_path, "t", DATA[:size])
        set_up(place, verb)
        is_file = WITH_PROGRESS[verb].writes == "file"
        callback = Callback(Steps(), is_last(verb), lambda: place.target.read_bytes() if is_file else place.stored())
        await WITH_PROGRESS[verb].run(place, callback.sync)
        assert wrong_state(place, verb, None) == ""
    told = callback.told[-1]
    total = None if verb in ("put of chunks", "writer") else size  # their lengths are not known
    assert (told.done_bytes, told.total_bytes, told.done_objects, told.total_objects) == (size, total, 1, 1)
    assert [progress.done_objects for progress in callback.told].count(1) == 1
    grows = [progress.done_bytes for progress in callback.told]
    assert grows == sorted(grows)
    if verb != "move_to":
        assert callback.seen == [OLD]


@asynccontextmanager
async def running(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """A task that has ended when this is left, whatever goes wrong meanwhile."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@dataclass(slots=True)
class SlowCallback:
    """Its first call takes until it is let go. Calls never overlap."""

    entered: asyncio.Event
    may_go: asyncio.Event
    calls: int = 0
    ended: int = 0
    is_cancelled: bool = False
    overlap: bool = False

    async def __call__(self, _: dream.Progress) -> None:
        self.overlap |= self.calls != self.ended
        self.calls += 1
        self.entered.set()
        try:
            await self.may_go.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        finally:
            self.ended += 1


@pytest.mark.parametrize("end", ["success", "failure", "cancelled"])
@pytest.mark.parametrize("verb", WITH_PROGRESS)
async def test_a_callback_that_is_under_way_is_waited_for(
    faulty: FaultyServer, tmp_path: Path, verb: str, end: str
) -> None:
    """Whether the transfer succeeds or fails. It is cancelled only where the caller is."""
    operation, hold = WITH_PROGRESS[verb].operation, held_rule(verb, "t", DATA)
    faulty.will(hold)
    callback = SlowCallback(asyncio.Event(), asyncio.Event())
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        sessions(faulty)() as (session, other),
        AsyncExitStack() as tasks,
    ):
        place = Place(session, other, faulty, tmp_path, "t", DATA)
        set_up(place, verb)
        task = await tasks.enter_async_context(running(outcome(WITH_PROGRESS[verb].run(place, callback))))
        await callback.entered.wait()
        await until(lambda: hold.fired)
        if end == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert callback.is_cancelled
            assert what_is_left(place) == ""
            return
        refusal = Rule(operation, Refuse(403, "AccessDenied"), key="t*", times=None, may_be_idle=True)
        faulty.will(*([refusal] if end == "failure" else []))
        before = len(faulty.log)
        faulty.end_connections()  # the request that was held is sent again
        await until(lambda: len(faulty.log) > before)
        for _ in range(100):
            await asyncio.sleep(0.001)
            assert not task.done()
        assert (callback.calls, callback.ended, callback.is_cancelled) == (1, 0, False)
        callback.may_go.set()
        found = await task
        assert wrong_state(place, verb, found) == ""
        assert (found is None) == (end == "success")
        assert not callback.is_cancelled
        assert not callback.overlap
        assert callback.ended == callback.calls


# Strangers who cancel tasks of ours

may_drop_coroutines = pytest.mark.filterwarnings(
    # anyio's task groups forget the coroutine of a task that is cancelled before it begins
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning",
)

LISTED = 1100


async def many(bucket: dream.Bucket, verb: str) -> object:
    keys = [f"{number:04}" for number in range(LISTED)]
    expected = LISTED if verb == "delete_many" else 20
    match verb:
        case "list":
            return len(await bucket.list().collect()) == LISTED
        case "list in parallel":
            return len(await bucket.list(parallel=4).collect()) == LISTED
        case "delete_many":
            report = await bucket.delete_many(keys)
        case "set_acl_many":
            report = await bucket.set_acl_many(keys[:20], "public-read")
        case "copy_many":
            report = await bucket.copy_many([(key, f"to/{key}") for key in keys[:20]])
        case "set_headers_many":
            report = await bucket.set_headers_many(keys[:20], expires="0")
        case _:
            report = await bucket.empty()
            return report.failed == 0
    return (report.done, report.failed) == (expected, 0)


MANY = ("delete_many", "set_acl_many", "copy_many", "set_headers_many", "empty", "list", "list in parallel")


def make_many(faulty: FaultyServer) -> None:
    for number in range(LISTED):
        faulty.put("bucket", f"{number:04}", b"")


class Stranger:
    """Cancel all tasks of the loop but the verb's own and the test's, when the n-th wait of the verb begins."""

    def __init__(self, at: int) -> None:
        self._at, self.count, self.cancelled = at, 0, 0
        self._keeps = asyncio.all_tasks()
        self._task: asyncio.Task[BaseException | None] | None = None

    async def run(self, work: Awaitable[object]) -> BaseException | None:
        with watched_tasks(self._on_wait):
            self._task = asyncio.create_task(outcome(work))
            return await self._task

    def keep(self, task: asyncio.Task[Any]) -> None:
        self._keeps.add(task)

    def _on_wait(self, _: object) -> None:
        self.count += 1
        if self.count == self._at:
            self.strike()

    def strike(self) -> None:
        for task in asyncio.all_tasks() - self._keeps:
            if task is not self._task:
                self.cancelled += task.cancel()


def moments_of(count: int, some: int = 12) -> list[int]:
    """Of so many: each of the first, then as many again over the rest."""
    return sorted({*range(1, min(some, count) + 1), *range(1, count + 1, max(1, count // some))})


@may_drop_coroutines
@pytest.mark.parametrize("verb", WITH_PROGRESS)
async def test_no_success_is_untrue_where_a_stranger_cancels_tasks_of_ours(
    faulty: FaultyServer, tmp_path: Path, verb: str
) -> None:
    async with asyncio.timeout(2 * PATIENCE_SECONDS), sessions(faulty)() as (session, other):
        names, cancelled = numbered(), 0
        whole = Stranger(0)
        place = Place(session, other, faulty, tmp_path, next(names), DATA)
        set_up(place, verb)
        assert await whole.run(WITH_PROGRESS[verb].run(place, lambda _: None)) is None
        for at in moments_of(whole.count):
            place = Place(session, other, faulty, tmp_path, next(names), DATA)
            set_up(place, verb)
            stranger, tasks = Stranger(at), asyncio.all_tasks()
            found = await stranger.run(WITH_PROGRESS[verb].run(place, lambda _: None))
            cancelled += stranger.cancelled
            assert found is None or type(found) is asyncio.CancelledError, at
            # The abort of an upload is a task too: the stranger may have cancelled just that.
            await session.bucket("bucket").abort_uploads(older_than=timedelta(0))
            assert wrong_state(place, verb, found, may_be_done=True) == "", at
            assert asyncio.all_tasks() == tasks
        assert cancelled, "no task of ours was ever there to be cancelled"


@may_drop_coroutines
@pytest.mark.parametrize("verb", MANY)
async def test_no_report_is_short_where_a_stranger_cancels_tasks_of_ours(faulty: FaultyServer, verb: str) -> None:
    async with asyncio.timeout(2 * PATIENCE_SECONDS), sessions(faulty)() as (session, _):
        make_many(faulty)
        bucket, whole = session.bucket("bucket"), Stranger(0)
        assert await whole.run(is_whole(bucket, verb)) is None
        for at in moments_of(whole.count, 5):
            make_many(faulty)
            tasks = asyncio.all_tasks()
            found = await Stranger(at).run(is_whole(bucket, verb))
            assert found is None or type(found) is asyncio.CancelledError, (at, found)
            assert asyncio.all_tasks() == tasks


async def is_whole(bucket: dream.Bucket, verb: str) -> None:
    assert await many(bucket, verb), "a success that tells of less than all"


HELD_MANY = {
    "delete_many": "DeleteObjects",
    "set_acl_many": "PutObjectAcl",
    "copy_many": "CopyObject",
    "set_headers_many": "CopyObject",
    "empty": "DeleteObjects",
    "list": "ListObjectsV2",
    "list in parallel": "ListObjectsV2",
}


@may_drop_coroutines
@pytest.mark.parametrize("verb", [*WITH_PROGRESS, *MANY])
async def test_the_cancellation_by_a_stranger_is_raised_where_a_request_is_never_answered(
    faulty: FaultyServer, tmp_path: Path, verb: str
) -> None:
    if verb in WITH_PROGRESS:
        hold = held_rule(verb, "t", DATA)
    else:
        hold = Rule(HELD_MANY[verb], SILENCE, times=None)
        make_many(faulty)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        sessions(faulty)() as (session, other),
        AsyncExitStack() as tasks,
    ):
        place = Place(session, other, faulty, tmp_path, "t", DATA)
        stranger = Stranger(0)
        if verb in WITH_PROGRESS:
            set_up(place, verb)
            work = WITH_PROGRESS[verb].run(place, lambda _: None)
        else:
            work = is_whole(place.bucket, verb)
        faulty.will(hold)
        task = await tasks.enter_async_context(running(stranger.run(work)))
        await until(lambda: hold.fired)
        faulty.will()
        stranger.keep(task)
        stranger.strike()
        if not stranger.cancelled:
            pytest.skip("this verb has no task of its own then")
        found = await task
        assert type(found) is asyncio.CancelledError
        if verb in WITH_PROGRESS:
            assert wrong_state(place, verb, found) == ""


# A sink that takes a part of what it is given


class ShortSink:
    """As an unbuffered file on a disk that is nearly full."""

    def __init__(self, *, takes_any: bool) -> None:
        self._takes_any = takes_any
        self.content = b""

    async def write(self, data: bytes) -> int:
        count = max(1, len(data) * 2 // 3) if self._takes_any else 0
        self.content += bytes(data[:count])
        return count


async def test_a_sink_that_takes_a_part_is_given_the_rest(faulty: FaultyServer) -> None:
    content = bytes(range(256)) * 1000
    faulty.put("bucket", "a", content)
    async with faulty.session() as session, session.object("s3://bucket/a").get() as body:
        sink = ShortSink(takes_any=True)
        assert await body.write_to(sink) == len(content)
    assert sink.content == content


async def test_a_sink_that_takes_nothing_is_an_error(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"content")
    async with faulty.session() as session, session.object("s3://bucket/a").get() as body:
        with pytest.raises(OSError, match="returned 0 for 7 bytes"):
            await body.write_to(ShortSink(takes_any=False))
