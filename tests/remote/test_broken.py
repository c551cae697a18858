"""Workers that die, calls that are cancelled, and what cannot go to workers."""

from __future__ import annotations

import asyncio
import functools
import logging
import multiprocessing
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, new_name, put_all
from remote_engines import WORKERS, cluster_of_commands, pool_of_loky, pool_of_processes

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

IS_SOAK = bool(os.environ.get("SOAK"))
ROUNDS = 20 if IS_SOAK else 2
FILES = 2000 if IS_SOAK else 200
BATCH = 100 if IS_SOAK else 10

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of engines; and from Python 3.12, of fork beside threads
    pytest.mark.timeout(120 * ROUNDS),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    for number in range(FILES):
        (root / f"{number:05}").write_bytes(b"%05d" % number * 20)
    (root / "large").write_bytes(os.urandom(6 << 20))
    return root


def killing(workers: ProcessPoolExecutor | list[int], after: int) -> Callable[[dream.Progress], None]:
    """Kill a worker once, when so many names are done."""
    is_over = False

    def look(progress: dream.Progress) -> None:
        nonlocal is_over
        if not is_over and progress.done_objects >= after:
            is_over = True
            pids = workers if isinstance(workers, list) else list(workers._processes)
            pid = random.choice(pids)
            pids.remove(pid)
            os.kill(pid, signal.SIGKILL)

    return look


async def test_a_pool_that_breaks_ends_the_call_which_says_what_is_known(source: Path, rgw: Server) -> None:
    limits = dream.Limits(
        part_size=5 << 20, requests_per_second=400
    )  # so that the pool breaks while there is much to do
    for round_number in range(ROUNDS):
        with pool_of_processes("spawn") as pool:
            async with rgw.session(limits=limits) as session:
                bucket = await session.create_bucket(new_name())
                kill = killing(pool, random.randrange(1, FILES // 2))
                with pytest.raises(dream.BulkError, match="the workers are gone") as broken:
                    await bucket.upload_tree(source, executor=pool, batch=BATCH, progress=kill)
                assert isinstance(broken.value.exceptions[0], BrokenExecutor), round_number
                report = broken.value.report
                stored = len(await bucket.list().collect())
                assert report.done <= stored <= report.done + report.unfinished
                assert report.unfinished <= 2 * WORKERS * BATCH + 1
        with pool_of_processes("fork") as pool:
            async with rgw.session() as session:
                bucket = session.bucket(bucket.name)
                stored = len(await bucket.list().collect())  # again: the service has ended what the killed worker sent
                again = await bucket.upload_tree(source, executor=pool, batch=BATCH, compare="size")
                assert again.copied + again.skipped == FILES + 1
                assert again.copied == FILES + 1 - stored
                await bucket.abort_uploads(timedelta(0))
                checked = await bucket.check_tree(source, by="content")
                assert (checked.same, checked.differ) == (FILES + 1, ())
                await bucket.delete(force=True)


async def test_dask_sends_what_a_dead_worker_had_to_another(source: Path, rgw: Server, tmp_path: Path) -> None:
    limits = dream.Limits(part_size=5 << 20, requests_per_second=400)
    rounds = min(ROUNDS, WORKERS)  # one worker is left at the end
    async with cluster_of_commands(tmp_path) as (executor, pids), rgw.session(limits=limits) as session:
        for round_number in range(rounds):
            bucket, target = await session.create_bucket(new_name()), await session.create_bucket(new_name())
            kill = killing(pids, random.randrange(1, FILES // 2))
            kills = [kill, None] if round_number % 2 else [None, kill]
            report = await bucket.upload_tree(source, executor=executor, batch=BATCH, progress=kills[0])
            assert (report.copied, report.failed, report.unfinished) == (FILES + 1, 0, 0)
            checked = await bucket.check_tree(source, by="content")
            assert (checked.same, checked.differ, checked.extra) == (FILES + 1, (), ())
            moved = await bucket.move_tree(target, executor=executor, batch=BATCH, progress=kills[1])
            assert (moved.copied, moved.failed) == (FILES + 1, 0)
            await bucket.abort_uploads(timedelta(0))
            assert await bucket.uploads().collect() == []
            await bucket.delete()
            await target.delete(force=True)


async def test_loky_breaks_as_a_whole_too(here: dream.Bucket) -> None:
    keys = [f"{number:05}" for number in range(FILES)]
    with pool_of_loky() as pool:
        await here.set_acl_many(["a"], "private", executor=pool, on_error="collect")  # starts the workers

        async def broken() -> AsyncIterator[str]:
            for key in keys:
                if key == "00100":
                    os.kill(min(pool._processes), signal.SIGKILL)  # type: ignore[attr-defined]  # loky's
                    await asyncio.to_thread(pool._executor_manager_thread.join)  # type: ignore[attr-defined]  # it ends when it has seen this
                yield key

        with pytest.raises(dream.BulkError, match="the workers are gone") as caught:
            await here.delete_many(broken(), executor=pool, batch=BATCH)
    assert isinstance(caught.value.exceptions[0], BrokenExecutor)
    assert caught.value.report.done + caught.value.report.unfinished <= FILES


async def test_a_cancelled_call_says_how_far_it_came_and_leaves_the_pool_usable(here: dream.Bucket) -> None:
    keys = [f"{number:05}" for number in range(FILES)]
    reached = asyncio.Event()

    async def slowly() -> AsyncIterator[str]:
        for number, key in enumerate(keys):
            if number == FILES // 2:
                reached.set()
                await asyncio.Event().wait()
            yield key

    with pool_of_processes("fork") as pool:
        call = asyncio.create_task(here.delete_many(slowly(), executor=pool, batch=BATCH))
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await call
        assert "were deleted, 0 failed" in cancelled.value.__notes__[-1]
        assert (await here.delete_many(keys, executor=pool, batch=BATCH)).done == FILES


async def test_keys_are_read_as_they_are_needed(here: dream.Bucket) -> None:
    read = done = most = 0

    def keys() -> Iterator[str]:
        nonlocal read, most
        for number in range(FILES):
            read += 1
            most = max(most, read - done)
            yield f"{number:05}"

    with ThreadPoolExecutor(WORKERS) as pool:
        async for _key, _ in here.apply(keys(), key_itself, executor=pool, batch=BATCH, in_flight=3):
            done += 1
    assert done == FILES
    assert most <= (3 + 1) * BATCH


async def key_itself(cat: dream.Object) -> str:
    return cat.key


class _Elsewhere(Executor):
    """Workers that see another directory: here, the token is gone before they look."""

    def __init__(self, root: Path) -> None:
        self._root, self._pool = root, ThreadPoolExecutor(1)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        for token in self._root.glob(".aiodreamobjects-token-*"):
            token.unlink()
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT002 - as it is
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


async def test_a_tree_is_refused_by_workers_that_see_another_directory(here: dream.Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    await here.object("x/a").put(b"other")
    with _Elsewhere(tmp_path) as pool:
        for verb in (here.upload_tree, here.download_tree):
            with pytest.raises(dream.DreamObjectsError, match="file system that all workers share"):
                await verb(tmp_path, "x", executor=pool)
        with pytest.raises(dream.DreamObjectsError, match="file system that all workers share"):
            await here.check_tree(tmp_path, "x", executor=pool)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert await here.object("x/a").read() == b"other"


async def test_what_cannot_go_to_workers_is_refused_before_anything_is_sent(here: dream.Bucket, tmp_path: Path) -> None:
    with pool_of_processes("fork") as pool:
        with pytest.raises(TypeError, match="SseCustomer cannot be pickled"):
            await here.upload_tree(tmp_path, executor=pool, encryption=dream.SseCustomer(bytes(32)))
        with pytest.raises(TypeError, match="cannot go to an executor"):
            async for _ in here.apply(["a"], lambda _: asyncio.sleep(0), executor=pool):
                pass
        with pytest.raises(TypeError, match="MemoryService"):
            async with MemoryService().session() as inside:
                await inside.bucket("photos").delete_many(["a"], executor=pool)
        assert not pool._processes
    script = functools.partial(key_itself)
    script.func.__module__ = "__main__"
    try:
        with pool_of_loky() as pool_, pytest.raises(TypeError, match="a module of its own"):
            here.apply(["a"], script, executor=pool_)
    finally:
        script.func.__module__ = __name__
    with pytest.raises(TypeError, match=r"client\.get_executor\(\)"):
        await here.delete_many([], executor="a pool")  # type: ignore[arg-type]  # what the type checker refuses too
    with pytest.raises(ValueError, match="batch must be a whole number"):
        await here.delete_many([], batch=0)
    with pytest.raises(ValueError, match=r"slice .* must be a pair"):
        await here.delete_many([], slice=(3, 3))
    with pytest.raises(TypeError, match="unexpected keyword argument 'jurnal'"):
        await here.delete_many([], jurnal="a")  # type: ignore[call-arg]  # what the type checker refuses too


async def test_an_executor_of_threads_works_and_says_that_it_gains_nothing(
    here: dream.Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    await put_all(here, ["a", "b"])
    with ThreadPoolExecutor(3) as pool, caplog.at_level(logging.INFO, "aiodreamobjects"):
        assert (await here.delete_many(["a", "b"], executor=pool)).done == 2
    assert caplog.text.count("gain nothing") == 1
    assert await here.list().collect() == []


async def test_no_process_is_left_behind(here: dream.Bucket) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    with pool_of_processes("spawn") as pool:
        await here.delete_many(["a"], executor=pool)
        workers = list(pool._processes)
    for pid in workers:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail(f"worker {pid} is still there")
    assert {process.pid for process in multiprocessing.active_children()} <= before


@pytest.mark.skipif(not IS_SOAK, reason="takes two minutes")
async def test_workers_without_work_close_their_sessions_and_open_them_again(here: dream.Bucket) -> None:
    with pool_of_processes("spawn") as pool:
        for _ in range(2):
            assert (await here.delete_many(["a"], executor=pool)).done == 1
            assert any(map(sockets_of, pool._processes))
            while any(map(sockets_of, pool._processes)):
                await asyncio.sleep(1)


def sockets_of(pid: int) -> int:
    files = Path("/proc", str(pid), "fd")
    return sum(str(file.readlink()).startswith("socket:") for file in files.iterdir())
