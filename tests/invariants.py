"""What this process holds, and what must hold after a test: nothing is left behind, nothing is told, no secret is logged."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.faulty import PATIENCE_SECONDS, SECRET_KEY, FaultyServer

POOLED_THREADS = re.compile(r"AnyIO worker thread|asyncio_\d+|(?:asyncio-)?waitpid-\d+")
"""They belong to the event loop, which has a bounded number of them, and one for each process that it has started."""
CANARIES = re.compile(rf"{re.escape(SECRET_KEY)}|Signature=[0-9a-f]{{64}}|canary", re.IGNORECASE)
"""What may stand in no log record: the secret key, a signature, and every word that a test made for this."""
TURNS_TO_CLOSE = 10
"""Of the event loop, in which closed transports let go of their descriptors."""
HANG_SECONDS = 60.0
KNOWN_COMPLAINT = "SSLProtocol._abort() takes 1 positional argument"
"""What asyncio says before 3.11.8 and 3.12.2 where a handshake inside TLS fails (cpython#113214)."""


@asynccontextmanager
async def nothing_is_left(server: FaultyServer, home: Path) -> AsyncIterator[None]:
    """Of tasks, descriptors, connections, threads, open uploads and temporary files; and no secret in a log."""
    threads, files = threads_now(), descriptors()
    with complaints_of_the_loop() as complaints, leaks_in_logs() as leaks:
        with no_task_is_left():
            yield
        server.check()
        await asyncio.to_thread(server.wait_until_left)
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)
        gc.collect()
    assert complaints == []
    assert leaks == []
    assert threads_now() - threads == set()
    opened = await asyncio.to_thread(opened_since, files)
    assert opened == set(), f"descriptors left open: {opened}"
    uploads = [key for bucket in server.buckets() for key in server.uploads(bucket)]
    assert sorted(uploads) == sorted(server.expected_uploads), "uploads left open"
    strangers = [path.name for path in home.rglob("*") if path.suffix in (".part", ".journal")]
    assert sorted(strangers) == sorted(server.expected_files), "temporary files left behind"


def opened_since(files: dict[int, str], seconds: float = PATIENCE_SECONDS) -> set[str]:
    """Return what stays open. The server, in a thread of its own, may take a connection that has left, and close it, late."""
    ends = time.monotonic() + seconds
    while opened := {name for number, name in descriptors().items() if files.get(number) != name}:
        if time.monotonic() > ends:
            break
        time.sleep(0.001)
    return opened


async def leaves_nothing(work: Coroutine[object, object, None]) -> None:
    """Run it alone on its loop. It ends in time, and leaves no task and no socket."""
    before = open_sockets()
    with no_task_is_left():
        async with asyncio.timeout(HANG_SECONDS):
            await work
            while open_sockets() > before:
                await asyncio.sleep(0)


@contextmanager
def no_task_is_left() -> Iterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


def tasks_of_the_client() -> set[asyncio.Task[Any]]:
    """All but those of a scripted server's connections, which end when they notice that theirs did."""
    return {task for task in asyncio.all_tasks() if "ScriptedServer" not in repr(task.get_coro())}


def descriptors() -> dict[int, str]:
    """What this process has open, by number; what it opens to look is gone by then."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def open_sockets() -> int:
    return sum(name.startswith("socket:") for name in descriptors().values())


def threads_now() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not POOLED_THREADS.match(thread.name)}


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process holds."""

    resident: int
    """Bytes of memory."""
    descriptors: int

    @classmethod
    def now(cls) -> Usage:
        told = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        assert told
        return cls(int(told[1]) << 10, len(descriptors()))


@dataclass(slots=True)
class TracedMemory:
    """Bytes that Python has taken."""

    peak: int = 0
    """The most that were taken at once. Known at the end."""

    @property
    def taken(self) -> int:
        return tracemalloc.get_traced_memory()[0]


@contextmanager
def traced_memory() -> Iterator[TracedMemory]:
    memory = TracedMemory()
    tracemalloc.start()
    try:
        yield memory
        memory.peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def note_complaints(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Exceptions that nobody took, in callbacks and in forgotten tasks, from now on."""
    complaints: list[str] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaint = f"{context.get('message')}: {context.get('exception')!r}"
        if KNOWN_COMPLAINT not in complaint:
            complaints.append(complaint)

    loop.set_exception_handler(note)
    return complaints


@contextmanager
def complaints_of_the_loop() -> Iterator[list[str]]:
    """What this loop complains of meanwhile."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    try:
        yield note_complaints(loop)
    finally:
        loop.set_exception_handler(before)


@contextmanager
def leaks_in_logs() -> Iterator[list[str]]:
    """Records of any logger, at any level, that tell a secret."""
    found: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = self.format(record)  # with its traceback
            if CANARIES.search(text):
                found.append(f"{record.name}: {CANARIES.sub('<secret>', text)}")

    watch, root = Watch(), logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        root.removeHandler(watch)
        root.setLevel(level)
