"""What users' functions raise in workers, workers that lack something, and what a call leaves behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from remote_engines import WORKERS, cluster_here, pool_of_processes
from remote_functions import (
    end_at_sigterm,
    key_of_other,
    leave,
    leave_no_descriptors,
    raise_the_same,
    send_sigterm_to_this_thread,
    unreadable,
)

import aiodreamobjects as dream

KEYS = [f"{number:02}" for number in range(12)]

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]  # of fork beside threads


async def test_a_function_that_exits_ends_neither_the_caller_nor_the_worker(here: dream.Bucket) -> None:
    with pool_of_processes("fork") as pool:
        results = {key: result async for key, result in here.apply(KEYS, leave, executor=pool, batch=4)}
        assert list(map(str, results.values())) == ["SystemExit: 3"] * len(KEYS)
        assert (await here.delete_many(KEYS, executor=pool, batch=2)).done == len(KEYS)


async def test_one_error_for_many_keys_has_one_traceback(here: dream.Bucket) -> None:
    with ThreadPoolExecutor(1) as pool:
        found = [result async for _, result in here.apply(KEYS, raise_the_same, executor=pool)]
    assert [str(error) for error in found] == ["the same"] * len(KEYS)
    assert all(isinstance(error, ValueError) and len(error.__notes__) == 1 for error in found)


async def test_a_result_that_cannot_be_read_here_is_that_key_s_error(here: dream.Bucket) -> None:
    with ThreadPoolExecutor(1) as pool:
        results = [result async for _, result in here.apply(KEYS, unreadable, executor=pool)]
    assert [type(result) for result in results] == [ValueError] * len(KEYS)


async def test_a_worker_that_cannot_start_ends_the_call(here: dream.Bucket) -> None:
    with ProcessPoolExecutor(1, get_context("fork"), leave_no_descriptors) as pool:
        try:
            async with asyncio.timeout(60):
                with pytest.raises(OSError, match="Too many open files"):
                    await here.delete_many(KEYS, executor=pool)
        except TimeoutError:
            for process in pool._processes.values():
                process.kill()
            raise


async def test_a_worker_sees_a_signal_that_another_of_its_threads_got(here: dream.Bucket) -> None:
    with ProcessPoolExecutor(1, get_context("fork"), end_at_sigterm) as pool:
        try:
            async with asyncio.timeout(60):
                with pytest.raises(SystemExit):
                    _ = [each async for each in here.apply(["a"], send_sigterm_to_this_thread, executor=pool)]
        except TimeoutError:
            for process in pool._processes.values():
                process.kill()
            raise


async def test_a_session_that_does_not_open_leaves_others_their_workers(
    here: dream.Bucket, memory_served: Server
) -> None:
    other = dream.Session("no-such-profile", endpoint=memory_served.service.endpoint).bucket("photos")
    with pool_of_processes("fork") as pool:
        with pytest.raises(dream.CredentialsError):
            _ = [result async for _, result in here.apply(["a"], key_of_other, other, executor=pool)]
        for _ in range(4):  # whichever worker takes it
            assert (await here.delete_many(["a"], executor=pool)).done == 1


CALLER = """
import asyncio, sys
import aiodreamobjects as dream
from remote_engines import pool_of_loky, pool_of_processes
from remote_functions import begin_and_wait

async def main(method, endpoint, *keys):
    with pool_of_loky() if method == "loky" else pool_of_processes(method) as pool:
        async with dream.Session(endpoint=endpoint, access_key=keys[0], secret_key=keys[1]) as session:
            async for _ in session.bucket("photos").apply(["a", "b"], begin_and_wait, executor=pool, batch=1):
                pass

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver", "loky"])
def test_workers_end_with_a_caller_that_is_killed(memory_served: Server, tmp_path: Path, method: str) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    words = [sys.executable, "caller.py", method, memory_served.service.endpoint or ""]
    words += [memory_served.access_key, memory_served.secret_key]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert [caller.stdout.readline() for _ in range(WORKERS)] == [b"begun\n"] * WORKERS
        caller.kill()
        assert caller.stdout.read() == b""  # the end comes when no process has it open any more


async def test_an_executor_that_takes_no_batches_is_refused(here: dream.Bucket) -> None:
    pool = ProcessPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(dream.BulkError, match="after shutdown") as caught:
        await here.delete_many(["a"], executor=pool)
    assert caught.value.report.unfinished == 0
    async with cluster_here() as executor:
        client = executor._client  # type: ignore[attr-defined]  # Dask's
        with pytest.raises(TypeError, match=r"client\.get_executor\(\)"):
            await here.delete_many(["a"], executor=client)
    with pytest.raises(ValueError, match=r"the Dask client of .* is closed"):
        await here.delete_many(["a"], executor=executor)


class _Shown(Executor):
    """Keeps what an engine would print of its calls, in logs and on dashboards."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.shown.append(f"{fn} {args} {kwargs}")
        done = Future[Any]()
        done.set_result(fn(*args, **kwargs))
        return done


async def test_no_engine_can_show_the_keys(here: dream.Bucket, memory_served: Server) -> None:
    engine = _Shown()
    assert (await here.delete_many(["a"], executor=engine)).done == 1
    assert memory_served.secret_key not in "".join(engine.shown)


class _Slow(Executor):
    """Its ``submit`` takes until ``may_go``, as when processes must be started."""

    def __init__(self) -> None:
        self.pool, self.is_called, self.may_go = ThreadPoolExecutor(1), asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.submitted: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._loop.call_soon_threadsafe(self.is_called.set)
        asyncio.run_coroutine_threadsafe(self.may_go.wait(), self._loop).result()
        self.submitted.append(self.pool.submit(fn, *args, **kwargs))
        return self.submitted[-1]


async def test_a_batch_that_was_taken_back_while_it_was_sent_does_not_run(here: dream.Bucket) -> None:
    await here.object("a").put(b"a")
    engine, blocks = _Slow(), asyncio.Event()
    loop = asyncio.get_running_loop()
    first = engine.pool.submit(asyncio.run_coroutine_threadsafe(blocks.wait(), loop).result)  # the only worker is busy
    call = asyncio.create_task(here.delete_many(["a"], executor=engine))
    await engine.is_called.wait()
    call.cancel()
    for _ in range(20):  # turns, in which the cancellation reaches the batch
        await asyncio.sleep(0)
    engine.may_go.set()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await call
    blocks.set()
    await asyncio.wrap_future(first)
    await asyncio.to_thread(engine.pool.shutdown)
    assert "more it is not known" not in cancelled.value.__notes__[-1]
    assert [future.cancelled() for future in engine.submitted] == [True]
    assert await here.object("a").exists()


async def test_a_call_that_is_cancelled_at_any_await_leaves_no_file(here: dream.Bucket, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"a")
    await here.list().collect()

    def open_files() -> set[str]:
        return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()}

    turns = 0
    with ThreadPoolExecutor(1) as pool:
        while True:
            call = asyncio.create_task(here.upload_tree(root, "x", executor=pool, journal=tmp_path / "journal"))
            for _ in range(turns):
                await asyncio.sleep(0)
            if not call.cancel():
                break
            with pytest.raises(asyncio.CancelledError):
                await call
            assert [path.name for path in root.iterdir()] == ["a"], turns
            assert str(tmp_path / "journal") not in open_files(), turns
            turns += 1
    report = await call
    assert report.copied + report.skipped == 1
