"""Code of the caller that runs inside our verbs: what it raises, at which step, and what must come of it."""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiofiles.threadpool
from servers.faulty import FaultyServer
from servers.rules import Cut, Rule

import aiodreamobjects as dream

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
OLD = b"what was there before"
WORDS = "the caller raised this"

MISTAKES: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError(WORDS),
    "OSError": lambda: OSError(errno.EIO, WORDS),
    "ConnectionFailedError": lambda: dream.ConnectionFailedError(WORDS),
    "CancelledError": lambda: asyncio.CancelledError(WORDS),
    "KeyboardInterrupt": lambda: KeyboardInterrupt(WORDS),
    "SystemExit": lambda: SystemExit(WORDS),
    "GeneratorExit": lambda: GeneratorExit(WORDS),
    "StopIteration": lambda: StopIteration(WORDS),
    "StopAsyncIteration": lambda: StopAsyncIteration(WORDS),
    "ExceptionGroup": lambda: ExceptionGroup(WORDS, [ValueError(WORDS)]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup(WORDS, [KeyboardInterrupt(WORDS)]),
}
"""What any code may raise."""


async def wait_for_a_future_of_others() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.cancel)
    await future


async def wait_for_a_task_of_others() -> None:
    task = asyncio.create_task(asyncio.sleep(PATIENCE_SECONDS))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


WAITS: dict[str, Callable[[], Awaitable[None]]] = {
    "a cancelled future": wait_for_a_future_of_others,
    "a cancelled task": wait_for_a_task_of_others,
}
"""What raises CancelledError because somebody else cancelled what is waited for."""

SOME_MISTAKES = ("ValueError", "KeyboardInterrupt", "BaseExceptionGroup", "CancelledError", *WAITS)
"""One of each kind, for cases that are many or slow."""


def mistakes_of(*, is_async: bool, some: bool = False) -> list[str]:
    """The names of what such code may raise: only async code can wait."""
    names = SOME_MISTAKES if some else (*MISTAKES, *WAITS)
    return [name for name in names if is_async or name not in WAITS]


class Steps:
    """Count the steps of the caller's code, and raise at one of them; at none if ``at`` is 0."""

    def __init__(self, at: int = 0, mistake: str = "ValueError") -> None:
        self.at, self.mistake = at, mistake
        self.count = 0
        self.raised: BaseException | None = None

    def take(self, end: type[BaseException] | None = None) -> None:
        """``end``: what an iterator raises again and again, once it has."""
        if end is not None and isinstance(self.raised, end):
            raise self.raised
        self.count += 1
        if self.count == self.at:
            self.raised = MISTAKES.get(self.mistake, MISTAKES["CancelledError"])()  # this step cannot wait
            raise self.raised

    async def take_async(self) -> None:
        """Every second step waits for a turn of the loop first."""
        if self.count % 2:
            await asyncio.sleep(0)
        if self.mistake not in WAITS or self.count + 1 != self.at:
            self.take()
            return
        self.count += 1
        try:
            await WAITS[self.mistake]()
        except asyncio.CancelledError as error:
            self.raised = error
            raise

    def is_outcome(self, found: BaseException | None) -> bool:
        """Whether ``found`` is what the caller's code raised, or what Python itself makes of it."""
        if found is self.raised:
            return True
        if isinstance(self.raised, asyncio.CancelledError):  # asyncio makes a new one where a task is awaited
            return type(found) is asyncio.CancelledError
        is_end = isinstance(self.raised, StopIteration | StopAsyncIteration)
        return is_end and type(found) is RuntimeError and self.raised in causes(found)  # PEP 479


def causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while (one := one and (one.__cause__ or one.__context__)) is not None and one not in found:
        found.append(one)
    return found


def steps_to_try(count: int, *, some: bool = False) -> list[int]:
    """Each of so many, or the first, one in the middle, and the last two."""
    return sorted({1, count // 2 + 1, max(1, count - 1), count}) if some else list(range(1, count + 1))


async def outcome(work: Awaitable[object]) -> BaseException | None:
    """What it raises; a cancellation of the caller's own task goes on its way."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await work
    except BaseException as error:
        if task.cancelling():
            raise
        return error
    return None


# Sources, of the same bytes each


def pieces_of(content: bytes, count: int = 4) -> list[bytes]:
    step = -(-len(content) // count) or 1
    return [content[start : start + step] for start in range(0, len(content), step)] or [b""]


class OwnIterator:
    """No generator: StopIteration raised in it is the end of the source."""

    def __init__(self, steps: Steps, content: bytes) -> None:
        self._steps, self._pieces = steps, iter(pieces_of(content))

    def __iter__(self) -> Iterator[bytes]:
        self._steps.take()
        return self

    def __next__(self) -> bytes:
        self._steps.take(StopIteration)
        return next(self._pieces)


class OwnAsyncIterator:
    def __init__(self, steps: Steps, content: bytes) -> None:
        self._steps, self._pieces = steps, iter(pieces_of(content))

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._steps.take()
        return self

    async def __anext__(self) -> bytes:
        if isinstance(self._steps.raised, StopAsyncIteration):
            raise self._steps.raised
        await self._steps.take_async()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def generator(steps: Steps, content: bytes) -> Iterator[bytes]:
    for piece in pieces_of(content):
        steps.take()
        yield piece
    steps.take()


async def async_generator(steps: Steps, content: bytes) -> AsyncIterator[bytes]:
    for piece in pieces_of(content):
        await steps.take_async()
        yield piece
    await steps.take_async()


class OwnFile:
    """Nothing but ``read``, which gives a quarter at once."""

    def __init__(self, steps: Steps, content: bytes) -> None:
        self._steps, self._file = steps, io.BytesIO(content)
        self._most = -(-len(content) // 4) or 1

    def read(self, size: int = -1, /) -> bytes:
        self._steps.take()
        return self._file.read(min(size, self._most) if size >= 0 else size)


class SeekableFile(OwnFile):
    def readinto(self, memory: Any, /) -> int:
        self._steps.take()
        return self._file.readinto(memory[: self._most])

    def seekable(self) -> bool:
        self._steps.take()
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._steps.take()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        self._steps.take()
        return self._file.tell()


class AsyncFile:
    def __init__(self, steps: Steps, content: bytes) -> None:
        self._steps, self._file = steps, io.BytesIO(content)
        self._most = -(-len(content) // 4) or 1

    async def read(self, size: int = -1, /) -> bytes:
        await self._steps.take_async()
        return self._file.read(min(size, self._most) if size >= 0 else size)


class FileThatReturnsAnAwaitable:
    def __init__(self, steps: Steps, content: bytes) -> None:
        self._file = AsyncFile(steps, content)

    def read(self, size: int = -1, /) -> Awaitable[bytes]:
        return self._file.read(size)


class NamedBytes(io.BytesIO):
    name = "own"


class BufferedFile(io.BufferedReader):
    """For aiofiles, which wraps such a file."""

    def __init__(self, steps: Steps, content: bytes) -> None:
        super().__init__(NamedBytes(content))
        self._steps = steps

    def read(self, size: int | None = -1, /) -> bytes:
        self._steps.take()
        return super().read(size)

    def readinto(self, memory: Any, /) -> int:
        self._steps.take()
        return super().readinto(memory)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._steps.take()
        return super().seek(offset, whence)

    def tell(self) -> int:
        self._steps.take()
        return super().tell()


@dataclass(frozen=True, slots=True)
class SourceKind:
    make: Callable[[Steps, bytes], Any]
    is_async: bool
    ends_by: type[BaseException] | None = None
    """What is no error when it is raised there, but the end of the source."""
    left_out: frozenset[str] = frozenset()


SOURCES: dict[str, SourceKind] = {
    "iterator": SourceKind(OwnIterator, is_async=False, ends_by=StopIteration),
    "generator": SourceKind(generator, is_async=False),
    "async iterator": SourceKind(OwnAsyncIterator, is_async=True, ends_by=StopAsyncIteration),
    "async generator": SourceKind(async_generator, is_async=True),
    "file": SourceKind(OwnFile, is_async=False),
    "seekable file": SourceKind(SeekableFile, is_async=False),
    "async file": SourceKind(AsyncFile, is_async=True),
    "file that returns an awaitable": SourceKind(FileThatReturnsAnAwaitable, is_async=True),
    "aiofiles": SourceKind(
        lambda steps, content: aiofiles.threadpool.wrap(BufferedFile(steps, content), loop=None, executor=None),
        is_async=False,
        left_out=frozenset({"StopIteration"}),  # run_in_executor never ends then, before Python 3.12.2 and 3.11.8
    ),
}


# Progress callbacks


class Callback:
    """Take a step at each call that is due. What it is told is kept, and its figures only grow."""

    def __init__(
        self, steps: Steps, is_due: Callable[[dream.Progress], bool], look: Callable[[], object] = lambda: None
    ) -> None:
        self._steps, self._is_due, self._look = steps, is_due, look
        self.told: list[dream.Progress] = []
        self.seen: list[object] = []
        """What ``look`` saw at each call that was due."""

    def sync(self, progress: dream.Progress) -> None:
        if self._note(progress):
            self._steps.take()

    async def later(self, progress: dream.Progress) -> None:
        if self._note(progress):
            await self._steps.take_async()

    def of(self, *, is_async: bool) -> dream.ProgressCallback:
        return self.later if is_async else self.sync

    def _note(self, progress: dream.Progress) -> bool:
        self.told.append(progress)
        if not self._is_due(progress):
            return False
        self.seen.append(self._look())
        return True


# Verbs, each on keys and files of its own


@dataclass(frozen=True, slots=True)
class Place:
    """What one trial works on. ``name`` is the key, and the prefix of a tree."""

    session: dream.Session
    other: dream.Session
    faulty: FaultyServer
    home: Path
    name: str
    content: bytes

    @property
    def bucket(self) -> dream.Bucket:
        return self.session.bucket("bucket")

    @property
    def obj(self) -> dream.Object:
        return self.bucket.object(self.name)

    @property
    def origin(self) -> dream.Object:
        """What is read, copied, moved."""
        return self.bucket.object(f"{self.name}.origin")

    @property
    def source(self) -> Path:
        return self.home / f"{self.name}.source"

    @property
    def target(self) -> Path:
        return self.home / f"{self.name}.target"

    @property
    def tree(self) -> dict[str, bytes]:
        """The content of a tree: two files that go in a batch, and one that goes alone if it has more than 256 KiB."""
        return {"a": b"a" * 1000, "b": b"b" * 1000, "large": 2 * self.content}

    def stored(self) -> bytes | None:
        return self.faulty.content("bucket", self.name)


class VerbWithProgress(Protocol):
    def __call__(self, place: Place, progress: dream.ProgressCallback | None, /) -> Awaitable[object]: ...


async def _write(place: Place, progress: dream.ProgressCallback | None) -> None:
    async with place.obj.writer(progress=progress) as file:
        for piece in pieces_of(place.content, 8):
            await file.write(piece)


def _copy_away(place: Place, progress: dream.ProgressCallback | None) -> Awaitable[object]:
    return place.origin.copy_to(place.other.bucket("bucket").object(place.name), progress=progress)


def _copy_tree(place: Place, progress: dream.ProgressCallback | None) -> Awaitable[object]:
    return place.bucket.copy_tree(place.bucket, f"{place.name}.from", place.name, progress=progress)


@dataclass(frozen=True, slots=True)
class WithProgress:
    run: VerbWithProgress
    operation: str
    """The requests that move the bytes of a transfer in parts."""
    writes: str
    """"object", "file", "tree" or "directory"."""

    @property
    def is_of_one(self) -> bool:
        return self.writes in ("object", "file")


WITH_PROGRESS: dict[str, WithProgress] = {
    "put": WithProgress(
        lambda place, progress: place.obj.put(place.content, progress=progress), "UploadPart", "object"
    ),
    "put of chunks": WithProgress(
        lambda place, progress: place.obj.put(iter(pieces_of(place.content)), progress=progress),
        "UploadPart",
        "object",
    ),
    "put of an open file": WithProgress(
        lambda place, progress: place.obj.put(io.BytesIO(place.content), progress=progress),
        "UploadPart",
        "object",
    ),
    "upload": WithProgress(
        lambda place, progress: place.obj.upload(place.source, progress=progress), "UploadPart", "object"
    ),
    "writer": WithProgress(_write, "UploadPart", "object"),
    "download": WithProgress(
        lambda place, progress: place.origin.download(place.target, progress=progress), "GetObject", "file"
    ),
    "copy_to": WithProgress(
        lambda place, progress: place.origin.copy_to(place.obj, progress=progress),
        "UploadPartCopy",
        "object",
    ),
    "copy_to another session": WithProgress(_copy_away, "UploadPart", "object"),
    "move_to": WithProgress(
        lambda place, progress: place.origin.move_to(place.obj, progress=progress),
        "UploadPartCopy",
        "object",
    ),
    "upload_tree": WithProgress(
        lambda place, progress: place.bucket.upload_tree(place.source, place.name, progress=progress),
        "UploadPart",
        "tree",
    ),
    "download_tree": WithProgress(
        lambda place, progress: place.bucket.download_tree(place.target, f"{place.name}.from", progress=progress),
        "GetObject",
        "directory",
    ),
    "copy_tree": WithProgress(_copy_tree, "UploadPartCopy", "tree"),
    "move_tree": WithProgress(
        lambda place, progress: place.bucket.move_tree(
            place.bucket, f"{place.name}.from", place.name, progress=progress
        ),
        "UploadPartCopy",
        "tree",
    ),
}


SILENCE = Cut(None, "silence", is_done=False)


def held_rule(verb: str, place_name: str, content: bytes, *, may_be_idle: bool = False) -> Rule:
    """Never answer one of the last requests of a transfer in parts: by then there is progress to tell."""
    one = WITH_PROGRESS[verb]
    size = len(content) if one.is_of_one else 2 * len(content)
    is_upload = one.operation != "GetObject"
    return Rule(
        one.operation,
        SILENCE,
        key=f"{place_name}*",
        part=3 if is_upload else None,
        covers=None if is_upload else size - 1,
        times=None,
        may_be_idle=may_be_idle,
        when=lambda asked: not asked.key.endswith(("/a", "/b")),  # read by one request, which covers every byte
    )


def set_up(place: Place, verb: str) -> None:
    """What the verb reads, and old content wherever it writes."""
    faulty, name, kind = place.faulty, place.name, WITH_PROGRESS[verb].writes
    if kind in ("object", "file"):
        faulty.put("bucket", place.origin.key, place.content)
        faulty.put("bucket", name, OLD)
        place.source.write_bytes(place.content)
        place.target.write_bytes(OLD)
        return
    for directory in (place.source, place.target):
        directory.mkdir()
    for one, content in place.tree.items():
        faulty.put("bucket", f"{name}.from/{one}", content)
        faulty.put("bucket", f"{name}/{one}", OLD)
        (place.source / one).write_bytes(content)
        (place.target / one).write_bytes(OLD)


def wrong_state(place: Place, verb: str, found: BaseException | None, *, may_be_done: bool = False) -> str:
    """What is neither old nor new, or not what the outcome says; empty where all is well.

    ``may_be_done``: what ended the verb may have come when the last request was under way.
    """
    faulty, one = place.faulty, WITH_PROGRESS[verb]
    if one.writes == "file":
        pairs = [(place.target.read_bytes(), place.content)]
    elif one.writes == "object":
        pairs = [(place.stored() or b"", place.content)]
    elif one.writes == "tree":
        places = (place.name, f"{place.name}.from")
        for key, new in place.tree.items():
            if new not in (faulty.content("bucket", f"{prefix}/{key}") for prefix in places):
                return f"the source of {key} is gone"
        pairs = [(faulty.content("bucket", f"{place.name}/{key}") or b"", new) for key, new in place.tree.items()]
    else:
        pairs = [((place.target / key).read_bytes(), new) for key, new in place.tree.items()]
    if any(stored not in (OLD, new) for stored, new in pairs):
        return "something is neither old nor new"
    if found is None and any(stored != new for stored, new in pairs):
        return "a success, and something is old"
    if found is not None and one.is_of_one and pairs[0][0] != OLD and not may_be_done:
        return "an error, and the old content is gone"
    origin = faulty.content("bucket", place.origin.key)
    if one.is_of_one and origin != place.content and not (verb == "move_to" and (found is None or may_be_done)):
        return "the source is gone"
    return what_is_left(place)


def what_is_left(place: Place) -> str:
    """Open uploads and temporary files of this trial."""
    uploads = [key for key in place.faulty.uploads("bucket") if key.startswith(place.name)]
    files = [path.name for path in place.home.rglob(f"*{place.name}*") if path.suffix in (".part", ".journal")]
    if place.target.is_dir():
        files += [path.name for path in place.target.rglob("*") if path.suffix in (".part", ".journal")]
    return f"left behind: {uploads} {files}" if uploads or files else ""


# Loops of their own


@dataclass(frozen=True, slots=True)
class Trial:
    name: str
    run: Callable[[Any], Awaitable[str]]
    """What was wrong; empty where nothing was."""


def run_trials(open_setting: Callable[[], AbstractAsyncContextManager[object]], trials: Iterable[Trial]) -> list[str]:
    """What was wrong with each. They run one after the other in a loop of their own.

    A KeyboardInterrupt or SystemExit that leaves a task of ours ends the loop; the trials that follow get another.
    """
    waiting, wrong = deque(trials), list[str]()
    current = ""

    async def main() -> None:
        nonlocal current
        complaints = list[str]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(f"{context.get('message')}: {context.get('exception')!r}")
        )
        async with open_setting() as setting:
            while waiting:
                trial = waiting.popleft()
                current = trial.name
                tasks = asyncio.all_tasks()
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        found = await trial.run(setting)
                except TimeoutError as error:
                    found = f"it did not end: {error!r}"
                left = asyncio.all_tasks() - tasks
                found = found or (f"tasks left behind: {left}" if left else "")
                await asyncio.sleep(0)  # a cancellation that came too late strikes here
                found = found or "; ".join(complaints)
                complaints.clear()
                wrong.extend([f"{trial.name}: {found}"] if found else [])
        current = "the end of the session"

    while waiting:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - whatever the caller's code raised
            wrong.append(f"{current}: the event loop ended with {error!r}")
    return wrong


async def check_all(
    open_setting: Callable[[], AbstractAsyncContextManager[object]], trials: Sequence[Trial], *, most_told: int = 40
) -> None:
    """Run them in a thread; AssertionError tells what was wrong, with the first of them."""
    assert trials
    wrong = await asyncio.to_thread(run_trials, open_setting, trials)
    assert not wrong, f"{len(wrong)} of {len(trials)}:\n" + "\n".join(wrong[:most_told])


def numbered(prefix: str = "t") -> Iterator[str]:
    """Names for trials."""
    return (f"{prefix}{number:04}" for number in itertools.count())
