"""The process of a client that meets a fault. The client is used as its users would use it.

    python -m benchmarks.faults_jobs CLIENT JOB     # JOB is JSON; prints a Told as JSON

All clients have parts of the same size, four attempts and the same short timeouts, if they have them. The rest is
default.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gzip
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.clients import Client, Job, Side, run_without_a_loop
from benchmarks.meter import describe, how_it_ended

CANCELLED = 10
SLOW, QUICK = "slow", "quick"
PREFIX = "tmp/"
UNDER_WAY = signal.SIGUSR1
"""Tells this process that its upload is under way."""
TORN_AFTER_BYTES = 17 << 20
BUFFER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Told:
    """What the client says of its job."""

    error: str | None = None
    is_in_doubt: bool = False
    """Whether the error says that the job may have been done."""
    keys: tuple[str, ...] | None = None
    tasks: int = 0
    """Tasks that it left behind on the event loop."""


class Actor:
    """One client with one job."""

    def __init__(self, client: Client, job: Job) -> None:
        self.client, self.job, self.tasks = client, job, 0

    def run(self) -> Told:
        if self.job.verb not in ("second_loop", "forked"):
            return self._told(self._do)
        self._call(self._begin())
        return (
            self._told(self._upload) if self.job.verb == "second_loop" else in_a_child(lambda: self._told(self._upload))
        )

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return run_without_a_loop(coroutine) if self.client.is_blocking else asyncio.run(coroutine)

    def _told(self, do: Callable[[], Coroutine[Any, Any, Any]]) -> Told:
        try:
            done = self._call(do())
        except BaseException as error:  # noqa: BLE001 - also when interrupted, which cancels the task
            return Told(describe(error), getattr(error, "in_doubt", False), None, self.tasks)
        return Told(keys=tuple(done) if self.job.verb == "keys" else None, tasks=self.tasks)

    async def _begin(self) -> None:
        """Open the client, and leave a connection in its pool."""
        await self.client.open()
        await self.client.read(self.job.key, lambda: None)

    async def _upload(self) -> None:
        await self.client.upload(self.job.file, self.job.key)

    async def _do(self) -> Any:
        await self.client.open()
        try:
            return await ACTS[self.job.verb](self.client, self.job)
        finally:
            self.tasks = 0 if self.client.is_blocking else len(asyncio.all_tasks()) - 1
            await self.client.close()


async def download(client: Client, job: Job) -> None:
    await (client.download if client.has_downloads else client.fetch)(job.key, job.file)


async def upload_open(client: Client, job: Job) -> None:
    with open(job.file, "rb") as file:  # noqa: ASYNC230, PTH123 - as a user would
        await client.put_from(job.key, file)


async def put_torn(client: Client, job: Job) -> None:
    kind = torn if client.takes_iterators else TornFile if client.is_blocking else AsyncTornFile
    await client.put_from(job.key, kind(job.file))


async def put_gzip(client: Client, job: Job) -> None:
    with gzip.open(job.file) as file:
        await client.put_from(job.key, file)


async def copy_and_sync(client: Client, job: Job) -> None:
    assert job.other
    await client.copy_and_sync(job.key, job.other)


async def after_cancel(client: Client, job: Job) -> None:  # noqa: ARG001 - as the others
    """Begin ten reads and cancel them; then read something else."""
    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(client.read(SLOW, begun.release)) for _ in range(CANCELLED)]
    for _ in tasks:
        await begun.acquire()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await client.read(QUICK, lambda: None) == QUICK.encode()


async def close_under_way(client: Client, job: Job) -> None:
    """Close the client while an upload is under way, and then wait for the upload."""
    if client.is_blocking:
        signal.pthread_sigmask(signal.SIG_BLOCK, {UNDER_WAY})
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            future = threads.submit(run_without_a_loop, client.upload(job.file, job.key))
            signal.sigwait({UNDER_WAY})
            await client.close()
            future.result()
        return
    is_under_way = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(UNDER_WAY, is_under_way.set)
    upload = asyncio.create_task(client.upload(job.file, job.key))
    await is_under_way.wait()
    await client.close()
    await upload


ACTS: Mapping[str, Callable[[Client, Job], Awaitable[Any]]] = {
    "download": download,
    "fetch": lambda client, job: client.fetch(job.key, job.file),
    "download_all": lambda client, job: client.download_all(job.keys, job.files),
    "upload": lambda client, job: client.upload(job.file, job.key),
    "upload_open": upload_open,
    "put_torn": put_torn,
    "put_refilled": lambda client, job: client.put_from(job.key, refilled(job.file)),
    "put_gzip": put_gzip,
    "delete_many": lambda client, job: client.delete_many(job.keys),
    "delete_prefix": lambda client, _: client.delete_prefix(PREFIX),
    "keys": lambda client, _: client.keys(),
    "sync": lambda client, job: client.sync(job.directory),
    "download_tree": lambda client, job: client.download_tree(job.directory, ""),
    "copy_and_sync": copy_and_sync,
    "after_cancel": after_cancel,
    "close_under_way": close_under_way,
}


# Sources that break


async def torn(path: str) -> AsyncIterator[bytes]:
    """Yield the beginning of a file. The producer of the rest is cancelled."""
    file = AsyncTornFile(path)
    while True:
        yield await file.read(1 << 20)


class Beginning:
    """The first bytes of a file; after them, None."""

    def __init__(self, path: str) -> None:
        self._content = memoryview(Path(path).read_bytes())[:TORN_AFTER_BYTES]

    def take(self, count: int) -> bytes | None:
        taken, self._content = self._content[:count], self._content[count:]
        return bytes(taken) or None


class AsyncTornFile:
    def __init__(self, path: str) -> None:
        loop, self._beginning = asyncio.get_running_loop(), Beginning(path)
        self._rest: asyncio.Future[bytes] = loop.create_future()
        loop.add_signal_handler(UNDER_WAY, self._rest.cancel)

    async def read(self, count: int) -> bytes:
        return self._beginning.take(count) or await self._rest


class TornFile:
    """The same as AsyncTornFile, for threads."""

    def __init__(self, path: str) -> None:
        self._beginning, self._rest = Beginning(path), concurrent.futures.Future[bytes]()
        signal.signal(UNDER_WAY, lambda *_: self._rest.cancel())

    def read(self, count: int) -> bytes:
        return self._beginning.take(count) or self._rest.result()


def refilled(path: str) -> Iterator[memoryview]:
    """Yield a file through one buffer, which the next piece overwrites."""
    buffer = bytearray(BUFFER_BYTES)
    with Path(path).open("rb") as file:
        while count := file.readinto(buffer):
            yield memoryview(buffer)[:count]


def in_a_child(run: Callable[[], Told]) -> Told:
    """Run it in a forked child, and return its answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(asdict(run())).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Told(**json.loads(told)) if told else Told(how_it_ended(code))


def become(command: list[str], environment: dict[str, str], source: str | None) -> None:
    """Replace this process by a program: it gets the signals that a library would get."""
    if source:
        os.dup2(os.open(source, os.O_RDONLY), 0)
    os.execve(command[0], command, {**os.environ, **environment})


def main() -> None:
    side, job = Side(sys.argv[1]), Job.of(sys.argv[2])
    if job.descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (job.descriptors, job.descriptors))
    if side.is_program:
        program = side.program()
        become(
            program.command(job, Path()),
            program.environment(job.service),
            job.file if job.verb == "upload_open" else None,
        )
    client = side.library()(job.service, job.settings, job.bucket)
    print(json.dumps(asdict(Actor(client, job).run())), flush=True)
    if client.ends_badly:
        os._exit(0)


if __name__ == "__main__":
    main()
