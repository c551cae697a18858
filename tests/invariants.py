"""What must hold after every test in which something went wrong: nothing is left behind, and nothing is told."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from servers.faulty import SECRET_KEY, FaultyServer

POOLED_THREADS = re.compile(r"AnyIO worker thread|asyncio_\d+")
"""They belong to the event loop, which has a bounded number of them."""
CANARIES = re.compile(rf"{re.escape(SECRET_KEY)}|Signature=[0-9a-f]{{64}}|canary", re.IGNORECASE)
"""What may stand in no log record: the secret key, a signature, and every word that a test made for this."""
TURNS_TO_CLOSE = 10
"""Of the event loop, in which closed transports let go of their descriptors."""


@asynccontextmanager
async def nothing_is_left(server: FaultyServer, home: Path) -> AsyncIterator[None]:
    """Of tasks, descriptors, connections, threads, open uploads and temporary files; and no secret in a log."""
    tasks, threads, files = asyncio.all_tasks(), threads_now(), descriptors()
    with complaints_of_the_loop() as complaints, leaks_in_logs() as leaks:
        yield
        left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        server.check()
        await asyncio.to_thread(server.wait_until_left)
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)
        gc.collect()
    assert complaints == []
    assert leaks == []
    assert threads_now() - threads == set()
    opened = {name for number, name in descriptors().items() if files.get(number) != name}
    assert opened == set(), f"descriptors left open: {opened}"
    uploads = [key for bucket in server.buckets() for key in server.uploads(bucket)]
    assert sorted(uploads) == sorted(server.expected_uploads), "uploads left open"
    strangers = [path.name for path in home.rglob("*") if path.suffix in (".part", ".journal")]
    assert sorted(strangers) == sorted(server.expected_files), "temporary files left behind"


def descriptors() -> dict[int, str]:
    """What this process has open, by number; what it opens to look is gone by then."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def threads_now() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not POOLED_THREADS.match(thread.name)}


@contextmanager
def complaints_of_the_loop() -> Iterator[list[str]]:
    """Exceptions that nobody took, in callbacks and in forgotten tasks."""
    loop, complaints = asyncio.get_running_loop(), list[str]()
    before = loop.get_exception_handler()

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    loop.set_exception_handler(note)
    try:
        yield complaints
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
