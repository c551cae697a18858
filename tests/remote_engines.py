"""The engines, each started once a run."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import loky
from distributed import Client, LocalCluster

WORKERS = 2
HERE = Path(__file__).parent


@contextmanager
def pool_of_processes(method: str) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context(method)) as pool:
        yield pool


@contextmanager
def pool_of_loky() -> Iterator[Executor]:
    pool = loky.ProcessPoolExecutor(WORKERS)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@asynccontextmanager
async def cluster_here() -> AsyncIterator[Executor]:
    async with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=":0", asynchronous=True
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        yield client.get_executor()


@asynccontextmanager
async def cluster_of_commands(tmp_path: Path) -> AsyncIterator[tuple[Executor, list[int]]]:
    """A scheduler and workers of the ``dask`` command, each a process of its own without a nanny: nobody starts them again."""
    dask = [sys.executable, "-m", "dask"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    file = tmp_path / "scheduler.json"
    start = partial(subprocess.Popen, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    command = [
        *dask,
        "scheduler",
        "--port",
        "0",
        "--no-dashboard",
        "--dashboard-address",
        ":0",
        "--scheduler-file",
        str(file),
        "--host",
        "127.0.0.1",
    ]
    processes = [start(command)]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "1", "--no-dashboard"]
    worker += ["--local-directory", str(tmp_path), "--host", "127.0.0.1"]
    processes += [start(worker) for _ in range(WORKERS + 1)]
    try:
        async with asyncio.timeout(60):
            while not (file.exists() and file.read_bytes().endswith(b"}")):
                await asyncio.sleep(0.05)
        async with Client(scheduler_file=str(file), asynchronous=True) as client:
            await client.wait_for_workers(WORKERS + 1, timeout=60)
            yield client.get_executor(), [process.pid for process in processes[1:]]
    finally:
        for process in reversed(processes):  # the scheduler last: a worker that has lost it takes its time
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
