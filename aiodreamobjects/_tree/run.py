"""Carry a plan out. Workers pull what is to be copied, and deletions come last. One failure does not stop the others."""

from __future__ import annotations

import errno
import json
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, TypeVar

from aiodreamobjects._bulk import Tally, fails_all
from aiodreamobjects._concurrency import ahead, close_in_thread, finish, in_thread, pull
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError, ServiceBusyError
from aiodreamobjects._models import ObjectInfo
from aiodreamobjects._progress import Meter
from aiodreamobjects._remote.engine import Engine, PoolBrokenError
from aiodreamobjects._remote.spread import BATCH_BYTES
from aiodreamobjects._reports import BulkError, TreeAction, TreeReason, TreeReport
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._tree.names import InTheWay, in_the_way
from aiodreamobjects._tree.plan import Pair, Same, Todo, TreeOptions, Verdict, decide, merge
from aiodreamobjects._tree.tokens import require_token, token_in
from aiodreamobjects._tree.walk import Entry, Step, Unusable

if TYPE_CHECKING:
    from tempfile import SpooledTemporaryFile

    from aiodreamobjects._tree.objects import Objects

T = TypeVar("T")

SMALL_BYTES = 256 << 10
"""Files up to this size go in batches, whole in memory, many in one call to a thread. A batch is no larger either."""
BATCH_FILES = 16
ROWS_AT_ONCE = 1000
ROWS_IN_MEMORY = 1 << 20
MOST_LOST_IN_A_ROW = 100
"""Give up after this many connection failures in a row."""

_FAIL_ALL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


Note = Callable[[Sequence[Step]], None]
"""Sees each page of a tree, with what cannot be used."""

_Row = list[Any]
"""A name and what belongs to it, as JSON can hold it."""


class Blocked(NamedTuple):
    """A name of the source whose place is taken in the target."""

    entry: Entry
    blocking: str
    """The name that is in the way. It ends with a slash if it is a directory."""


class Direction(ABC):
    """What differs between the three tree verbs: where they read, where they write, how they compare."""

    what: str
    """For the words of an error."""
    verb: str
    place: Objects
    """The objects that are written; those that are read, if files are written."""
    action: Literal["copy", "move"] = "copy"
    done: str = "copied"

    details: str = ""
    """What else tells one call from another, for a journal."""

    def __init__(self, runtime: Runtime, options: TreeOptions) -> None:
        self.runtime, self.options = runtime, options
        self.patterns = options.patterns()

    @abstractmethod
    def parts(self) -> tuple[object, ...]:
        """Return the arguments that make another one like this, for a worker."""

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), self.parts()

    def again(self) -> Self:
        """Return another one like this, as a worker has it."""
        return type(self)(*self.parts())  # type: ignore[arg-type]  # its own

    def load_for(self, entries: Sequence[Entry]) -> object:  # noqa: ARG002 - for uploads
        """Return what a worker needs to know of these, beside the entries."""
        return None

    def take_load(self, load: object) -> None:  # noqa: B027 - as above
        """Take what ``load_for`` returned."""

    def written_elsewhere(self, names: Sequence[str]) -> None:  # noqa: B027 - for downloads
        """Note that a worker has copied names."""

    @property
    def shared_directory(self) -> str | None:
        """The local directory that the workers must see, too."""
        return None

    @abstractmethod
    async def open(self) -> None:
        """Raise what would make everything fail, before anything is sent."""

    @abstractmethod
    async def aclose(self) -> None: ...

    @abstractmethod
    def sources(self) -> AsyncGenerator[Sequence[Step], None]: ...

    @abstractmethod
    def targets(self) -> AsyncGenerator[Sequence[Step], None]: ...

    async def pairs(self, note_source: Note, note_target: Note) -> AsyncGenerator[list[Pair], None]:
        """Yield each name with what both trees have of it, after the functions have seen all that was read."""
        async with AsyncExitStack() as stack:
            sources = await stack.enter_async_context(aclosing(entries_of(self.sources(), note_source)))
            targets = None
            if self.options.needs_target:
                targets = await stack.enter_async_context(aclosing(entries_of(self.targets(), note_target)))
            async for pairs in await stack.enter_async_context(aclosing(merge(sources, targets))):
                yield pairs

    @abstractmethod
    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:
        """Compare two entries of the same size by what the listings say."""

    async def look(self, source: Entry, target: Entry) -> TreeReason | Same:
        """Compare more closely, if ``tell`` did not know."""
        compare = self.options.compare
        if compare in ("etag", "etag-or-time"):
            is_same = await self.has_same_content(source, target)
            if is_same is not None or compare == "etag":
                return "same" if is_same else "etag"
        if not await self.has_same_time(source, target):
            return "mtime"
        return "same" if compare == "mtime" else "unverified"

    async def has_same_content(self, source: Entry, target: Entry) -> bool | None:
        """Return whether the ETag is that of the other side's content; None where it does not tell."""
        raise NotImplementedError

    async def has_same_time(self, source: Entry, target: Entry) -> bool:
        """Return whether both have the same time, and the object still has the size that was listed."""
        raise NotImplementedError

    @abstractmethod
    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        """Copy several small ones, or one large one. Report each to ``run.copied``, or its error to ``run.failed``."""

    @abstractmethod
    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        """Delete names from the target. The tally counts the outcomes."""

    async def require_source(self) -> None:  # noqa: B027 - a prefix cannot vanish
        """Raise an error if the source as a whole has vanished, for ``missing_ok``."""

    async def try_places(self, entries: Sequence[Entry]) -> list[Exception | None]:
        """Return what would keep each from being written, for a dry run; ``InTheWay`` for what ``delete`` may remove."""
        return [None] * len(entries)

    async def stay_blocked(self, blocked: Sequence[Blocked]) -> list[bool]:
        """Return whether each will have no place even when all has been deleted that is to be."""
        raise NotImplementedError

    async def make_room(self, blocked: Sequence[Blocked]) -> None:
        """Remove the empty directories that are left in the place of a file."""
        raise NotImplementedError


class Failures:
    """The failures of single names. What would fail every name is raised instead."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._lost_in_a_row = 0

    def add(self, name: str, error: Exception) -> None:
        is_down = isinstance(error, ConnectionFailedError | ServiceBusyError)
        self._lost_in_a_row = self._lost_in_a_row + 1 if is_down else 0
        is_alone = isinstance(error, DreamObjectsError | OSError | ValueError) and not fails_all(error)
        is_alone = is_alone and not (isinstance(error, OSError) and error.errno in _FAIL_ALL)
        if not is_alone or self._lost_in_a_row == MOST_LOST_IN_A_ROW:
            raise error
        self.tally.fail(name, None, error)

    def end_row(self) -> None:
        """Note that a name succeeded: the service can be reached."""
        self._lost_in_a_row = 0

    def merge(self, tally: Tally, *, is_reached: bool) -> None:
        """Count the failures of a worker. ``is_reached``: some of its names succeeded."""
        for failure in tally.failures:
            self.add(failure.key, failure.error)
        self.tally.failed += tally.failed - len(tally.failures)
        if is_reached:
            self.end_row()


async def entries_of(pages: AsyncGenerator[Sequence[Step], None], note: Note) -> AsyncGenerator[list[Entry], None]:
    """Yield what can be used of each page, after ``note`` has seen all of it."""
    async with aclosing(pages):
        async for page in pages:
            note(page)
            yield [step for step in page if isinstance(step, Entry)]


class Run:
    """One tree verb, from its options to its report."""

    def __init__(self, direction: Direction) -> None:
        self._direction, self._options = direction, direction.options
        self._failures, self._deletions = Failures(), Tally()
        self._copied = self._copied_bytes = self._skipped = self._unverified = self._excluded = self._seen = 0
        self._kept = 0
        self._plan: list[TreeAction] = []
        self._reasons: dict[str, TreeReason] = {}
        """Why the names under way are copied, for ``on_done``."""
        self._newly_blocked: list[Blocked] = []
        self._blocked = _Spool()
        self._waits_for_places = self._options.delete
        """Whether a name whose place is taken may get it by a deletion."""
        self._ready: deque[Todo] = deque()
        self._share = 1
        self._width = direction.runtime.limits.requests
        self._engine: Engine[Todo, _Part] | None = None
        self._is_first_pass = True
        self.meter = Meter(self._options.progress, total_bytes=None, total_objects=None)

    async def run(self) -> TreeReport:
        direction, place = self._direction, self._direction.place
        direction.runtime.require_open()
        async with aclosing(direction), _Spool() as extra, self._blocked:
            await direction.open()
            try:
                async with AsyncExitStack() as stack:
                    await self._open_engine(stack)
                    job = direction.runtime.job(direction.verb, place.bucket, place.prefix, is_of_many=True)
                    await stack.enter_async_context(job)
                    await stack.enter_async_context(self.meter)
                    await self._copy_all(self._todo(extra))
                    if self._options.missing_ok:
                        await self._direction.require_source()
                    await self._fail_what_stays_blocked()
                    if self._options.delete:
                        await self._delete_all(extra)
                    if not self._failures.tally.failed:
                        self._waits_for_places = self._is_first_pass = False
                        await self._copy_all(self._unblocked())
                    job.note(size=self._copied_bytes)
            except PoolBrokenError as broken:
                report = self._make_report()
                msg = f"{self._direction.what}: the workers are gone: {broken}. {report.copied:,} names were {self._direction.done}, and of "
                msg += f"{report.unfinished:,} it is not known: call again for these"
                raise BulkError(msg, [broken.error], report) from None
            except BaseException as error:
                if not self._options.dry_run:
                    note = (
                        f"before this error: {self._copied:,} {self._direction.done}, {self._deletions.done:,} deleted"
                    )
                    if self._engine is not None and self._engine.unfinished:
                        note += f"; of {self._engine.unfinished:,} more it is not known"
                    error.add_note(note)
                raise
        return self._report()

    # Batches for workers

    async def _open_engine(self, stack: AsyncExitStack) -> None:
        spread, direction = self._options.spread, self._direction
        if self._options.dry_run or not spread.is_in_batches:
            return
        token = None
        if spread.executor is not None and direction.shared_directory is not None:
            token = await stack.enter_async_context(token_in(direction.shared_directory))
        options = direction.options
        call = f"{direction.what} {direction.done}, compare={options.compare}, {spread.slice or 'all'}, {direction.patterns}"
        call += f", symlinks={options.symlinks}, acl={options.acl}, encryption={options.encryption}{direction.details}"
        engine = Engine[Todo, _Part](spread, _Portion(direction, token), call, _name_of, self._merge, _packed)
        self._engine = await stack.enter_async_context(engine)

    async def portion(self, todo: list[Todo]) -> tuple[_Part, Exception | None]:
        """Do a worker's part: these names alone. Return what was done, and the error that ended it early."""

        async def pages() -> AsyncGenerator[list[Todo], None]:
            yield todo

        async with self._blocked:
            failure = await failure_of(self._direction, lambda: self._copy_all(pages()))
            async with aclosing(self._blocked.pages()) as found:
                blocked = [one async for rows in found for one in _blocked_of(rows)]
        counts = self._copied, self._copied_bytes, self._skipped, self._unverified, self._excluded
        return _Part(*counts, self.meter.counted, self._failures.tally, blocked), failure

    def _merge(self, part: _Part) -> bool:
        """Count what a worker has done."""
        self._copied += part.copied
        self._copied_bytes += part.copied_bytes
        self._skipped += part.skipped
        self._unverified += part.unverified
        self._excluded += part.excluded
        self._newly_blocked += part.blocked
        objects, size, key = part.counted
        self.meter.finish_object(key, size, objects=objects)
        self._failures.merge(part.tally, is_reached=part.copied > 0)
        return not (part.tally.failed or part.blocked)

    async def _send(self, engine: Engine[Todo, _Part], batch: list[Todo]) -> None:
        entries = [todo.source for todo in batch]
        await engine.do(batch, self._direction.load_for(entries))
        self._direction.written_elsewhere([entry.name for entry in entries])
        await self._set_blocked_aside()

    # What the directions tell

    def copied(self, name: str, size: int, *, counted: bool = False) -> None:
        """Count a name, and its bytes. ``counted``: the progress has them already."""
        self._failures.end_row()
        self._copied += 1
        self._copied_bytes += size
        self.meter.finish_object(name, 0 if counted else size)
        if self._options.on_done is not None:
            self._options.on_done(TreeAction(self._direction.action, name, size, self._reasons.pop(name)))

    def failed(self, name: str, error: Exception) -> None:
        """Count a failure. Raises the error if it would happen to every name."""
        self._reasons.pop(name, None)
        if (
            self._options.missing_ok
            and isinstance(error, FileNotFoundError)
            and not isinstance(error, DreamObjectsError)
        ):
            self._excluded += 1  # a file that has vanished since it was listed
        else:
            self._failures.add(name, error)

    def blocked(self, entry: Entry, blocking: str) -> None:
        """Note a name whose place ``blocking`` has in the target. It ends in a slash if it is a directory."""
        if self._waits_for_places:
            self._newly_blocked.append(Blocked(entry, blocking))
        else:
            self.failed(
                entry.name, in_the_way(entry.name, blocking, "" if self._options.delete else "; delete=True deletes it")
            )

    # Copies

    async def _copy_all(self, todo: AsyncGenerator[list[Todo], None]) -> None:
        async with aclosing(ahead(todo)) as pages:
            if (engine := self._engine) is not None and self._is_first_pass:
                most = self._options.spread.batch
                take = partial(next_portion, self._ready, pages, most, lambda todo: todo.source.size)
                await pull(engine.width, take, partial(self._send, engine))
            else:
                await pull(self._width, partial(self._next_batch, pages), self._work)

    async def _fail_what_stays_blocked(self) -> None:
        """Fail all blocked names, unless deletions will free the places of all of them."""
        if not self._blocked.count:
            return
        if not self._failures.tally.failed:
            async with aclosing(self._blocked.pages()) as pages:
                stay = [any(await self._direction.stay_blocked(_blocked_of(rows))) async for rows in pages]
            if not any(stay):
                return
        async with aclosing(self._blocked.pages()) as pages:
            async for rows in pages:
                page = _blocked_of(rows)
                for (entry, blocking), stays in zip(page, await self._direction.stay_blocked(page), strict=True):
                    why = " that is not to be deleted" if stays else "; it is kept, since other names failed"
                    self.failed(entry.name, in_the_way(entry.name, blocking, why))

    async def _unblocked(self) -> AsyncGenerator[list[Todo], None]:
        reason: TreeReason = "asked" if self._options.compare is None else "missing"
        async with aclosing(self._blocked.pages()) as pages:
            async for rows in pages:
                page = _blocked_of(rows)
                if not self._options.dry_run:
                    await self._direction.make_room(page)
                yield [Todo(entry, None, reason) for entry, _ in page]

    async def _todo(self, extra: _Spool) -> AsyncGenerator[list[Todo], None]:
        """Yield pages of names to copy or to look at first. Names to delete are set aside."""
        direction, options = self._direction, self._options
        planned = planned_bytes = 0
        async with aclosing(direction.pairs(self._note_source, self._note_target)) as pages:
            async for pairs in pages:
                if options.spread.slice is not None:
                    pairs = [pair for pair in pairs if options.spread.takes(name_of(pair))]  # noqa: PLW2901 - fewer of them
                plan = decide(pairs, options.compare, direction.tell)
                todo = plan.todo if self._engine is None else self._engine.left(plan.todo)
                self._skipped += plan.same + len(plan.todo) - len(todo)
                self._unverified += plan.unverified
                planned += len(todo)
                planned_bytes += sum(one.source.size for one in todo)
                if options.delete:
                    await extra.add([[entry.name, entry.size, entry.identity] for entry in plan.extra])
                yield todo
        self.meter.total_objects, self.meter.total_bytes = planned, planned_bytes

    def _note_source(self, page: Sequence[Step]) -> None:
        self._note_target(page)
        self._seen += sum(isinstance(step, Entry) for step in page)
        self._excluded += page.count(None)

    def _note_target(self, page: Sequence[Step]) -> None:
        for step in page:
            if isinstance(step, Unusable):
                self._failures.add(step.name, step.error)

    async def _next_batch(self, pages: AsyncGenerator[list[Todo], None]) -> list[Todo] | None:
        """Take small files together, as long as there is enough for every worker."""
        ready = self._ready
        while not ready:
            page = await anext(pages, None)
            if page is None:
                return None
            ready.extend(page)
            self._share = min(ceil(len(ready) / self._width), BATCH_FILES)
        batch = [ready.popleft()]
        size = batch[0].source.size
        while ready and len(batch) < self._share and (size := size + ready[0].source.size) <= SMALL_BYTES:
            batch.append(ready.popleft())
        return batch

    async def _work(self, batch: list[Todo]) -> None:
        chosen = [(todo.source, reason) for todo in batch if (reason := todo.reason or await self._look(todo))]
        if self._options.dry_run:
            await self._put_into_plan(chosen)
        elif chosen:
            if self._options.on_done is not None:
                self._reasons |= {source.name: reason for source, reason in chosen}
            await self._direction.copy(self, [source for source, _ in chosen])
        await self._set_blocked_aside()

    async def _set_blocked_aside(self) -> None:
        newly_blocked, self._newly_blocked = self._newly_blocked, []
        await self._blocked.add([_row_of_blocked(one) for one in newly_blocked])

    async def _put_into_plan(self, chosen: Sequence[tuple[Entry, TreeReason]]) -> None:
        errors: list[Exception | None] = [None] * len(chosen)
        if self._waits_for_places or not self._options.delete:  # else all of these were looked at already
            errors = await self._direction.try_places([source for source, _ in chosen])
        for (source, reason), error in zip(chosen, errors, strict=True):
            if isinstance(error, InTheWay):
                self.blocked(source, error.blocking)
            elif error is not None:
                self.failed(source.name, error)
            else:
                self._plan.append(TreeAction(self._direction.action, source.name, source.size, reason))
                self.meter.finish_object(source.name, source.size)

    async def _look(self, todo: Todo) -> TreeReason | None:
        assert todo.target is not None
        try:
            found = await self._direction.look(todo.source, todo.target)
        except (DreamObjectsError, OSError, ValueError) as error:
            self.failed(todo.source.name, error)
            return None
        if found == "unverified":
            self._unverified += 1
        elif found != "same":
            return found
        self._skipped += 1
        self.meter.finish_object(todo.source.name, todo.source.size)
        return None

    # Deletions

    async def _delete_all(self, extra: _Spool) -> None:
        """Delete what the source lacks, if nothing has failed."""
        if self._failures.tally.failed:
            self._kept = extra.count
        elif not self._seen and not self._options.allow_empty:
            msg = f"{self._direction.what}: the source is empty, and delete=True would delete all of the target: allow_empty=True if that is meant"
            raise ValueError(msg)
        elif self._options.dry_run:
            async with aclosing(extra.pages()) as pages:
                async for rows in pages:
                    self._plan += [
                        TreeAction("delete", entry.name, entry.size, "extra") for entry in map(_entry_of, rows)
                    ]
        else:
            async with aclosing(_entries(extra)) as pages:
                await self._direction.delete(pages, self._deletions)
            self._kept = extra.count - self._deletions.done - self._deletions.failed

    def _report(self) -> TreeReport:
        options, report = self._options, self._make_report()
        if report.failed and options.on_error == "raise":
            kept = f"; {self._kept:,} were to be deleted and are kept" if self._kept else ""
            msg = f"{self._direction.what}: {report.failed:,} names failed, {report.copied:,} were {self._direction.done}{kept}"
            raise BulkError(msg, [failure.error for failure in report.failures], report)
        return report

    def _make_report(self) -> TreeReport:
        tally, options, deleted = self._failures.tally, self._options, self._deletions.done
        tally.add(self._deletions)
        plan = None
        if options.dry_run:
            plan = tuple(sorted(self._plan, key=lambda action: (action.action == "delete", action.name)))
            self._copied = sum(action.action != "delete" for action in plan)
            self._copied_bytes = sum(action.size for action in plan if action.action != "delete")
            deleted = len(plan) - self._copied
        report = TreeReport(
            self._copied + deleted,
            tally.failed,
            tuple(tally.failures),
            copied=self._copied,
            copied_bytes=self._copied_bytes,
            skipped=self._skipped,
            unverified=self._unverified,
            deleted=deleted,
            kept=self._kept,
            excluded=self._excluded,
            unmatched=self._direction.patterns.unmatched,
            plan=plan,
        )
        return report if self._engine is None else replace(report, **self._engine.figures)


class _Opened(Protocol):
    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


async def failure_of(side: _Opened, work: Callable[[], Awaitable[None]]) -> Exception | None:
    """Do a worker's part with one side open. Return the error that ended it early: the coordinator raises it."""
    async with aclosing(side):
        try:
            await side.open()
            await work()
        except Exception as error:  # noqa: BLE001 - returned
            return error
    return None


async def next_portion(
    ready: deque[T], pages: AsyncGenerator[list[T], None], most: int, size_of: Callable[[T], int]
) -> list[T] | None:
    """Take a batch for a worker: at most so many names, with BATCH_BYTES together, or one. Pages are read as needed."""
    batch: list[T] = []
    size = 0
    while len(batch) < most:
        if not ready:
            page = await anext(pages, None)
            if page is None:
                break
            ready.extend(page)
            continue
        size += size_of(ready[0])
        if batch and size > BATCH_BYTES:
            break
        batch.append(ready.popleft())
    return batch or None


class _Part(NamedTuple):
    """What a worker did with a batch of names."""

    copied: int
    copied_bytes: int
    skipped: int
    unverified: int
    excluded: int
    counted: tuple[int, int, str]
    """What the progress counted: objects, bytes, and the last name."""
    tally: Tally
    blocked: list[Blocked]


@dataclass(frozen=True, slots=True)
class _Portion:
    """What a worker does with a batch of names: its part of the same verb."""

    direction: Direction
    token: str | None

    async def __call__(self, given: tuple[list[_Row], object]) -> tuple[_Part | None, Exception | None]:
        if self.token is not None:
            await require_token(self.token)
        rows, load = given
        todo = [Todo(unpacked(source), target and unpacked(target), reason) for source, target, reason in rows]
        direction = self.direction.again()
        direction.take_load(load)
        return await Run(direction).portion(todo)


def _packed(todo: Sequence[Todo]) -> list[tuple[object, ...]]:
    return [(packed(source), target and packed(target), reason) for source, target, reason in todo]


def packed(entry: Entry) -> tuple[object, ...]:
    """Return the entry as plain values, without what a listing says of an object beyond its content and time."""
    info = entry.info
    if info is None:
        return entry[:4]
    return (*entry[:4], info.bucket, info.key, info.etag, info.last_modified)


def unpacked(row: Sequence[Any]) -> Entry:
    """Return the entry again."""
    name, size, mtime_ns, identity, *of_object = row
    if not of_object:
        return Entry(name, size, mtime_ns, identity)
    bucket, key, etag, modified = of_object
    return Entry(name, size, mtime_ns, identity, ObjectInfo(bucket, key, size=size, etag=etag, last_modified=modified))


def _name_of(todo: Todo) -> str:
    return todo.source.name


def name_of(pair: Pair) -> str:
    entry = pair[0] or pair[1]
    assert entry is not None
    return entry.name


class _Spool:
    """Rows that wait until all else is done: in memory while they are few, then on the disk."""

    _file: SpooledTemporaryFile[bytes]

    def __init__(self) -> None:
        self.count = 0

    async def __aenter__(self) -> Self:
        self._file = tempfile.SpooledTemporaryFile(ROWS_IN_MEMORY)  # noqa: SIM115 - closed by __aexit__
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_in_thread(self._file.close)

    async def add(self, rows: Sequence[_Row]) -> None:
        if rows:
            self.count += len(rows)
            lines = [f"{json.dumps(row)}\n".encode() for row in rows]
            await finish(in_thread(self._file.writelines, lines))

    async def pages(self) -> AsyncGenerator[list[_Row], None]:
        if not self.count:
            return
        await finish(in_thread(self._file.seek, 0))
        while page := await finish(in_thread(self._read)):
            yield page

    def _read(self) -> list[_Row]:
        return [*map(json.loads, islice(self._file, ROWS_AT_ONCE))]


async def _entries(spool: _Spool) -> AsyncGenerator[list[Entry], None]:
    async with aclosing(spool.pages()) as pages:
        async for rows in pages:
            yield [*map(_entry_of, rows)]


def _entry_of(row: _Row) -> Entry:
    name, size, identity = row
    return Entry(name, size, identity=identity and tuple(identity))


def _row_of_blocked(blocked: Blocked) -> _Row:
    (name, size, *_, info), blocking = blocked
    assert info is not None
    modified = info.last_modified and info.last_modified.isoformat()
    return [name, size, blocking, info.bucket, info.key, info.etag, modified]


def _blocked_of(rows: Sequence[_Row]) -> list[Blocked]:
    found: list[Blocked] = []
    for name, size, blocking, bucket, key, etag, modified in rows:
        stored = modified and datetime.fromisoformat(modified)
        info = ObjectInfo(bucket, key, size=size, etag=etag, last_modified=stored)
        found.append(Blocked(Entry(name, size, info=info), blocking))
    return found
