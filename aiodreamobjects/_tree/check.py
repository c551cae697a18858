"""Compare the objects below a prefix with a directory, or with the objects below another prefix. Nothing is changed."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from aiodreamobjects._bulk import OnError, Tally
from aiodreamobjects._checks import check_one_of
from aiodreamobjects._concurrency import ahead, pull
from aiodreamobjects._errors import DreamObjectsError, ObjectChangedError, PreconditionFailedError
from aiodreamobjects._integrity import parts_of_etag
from aiodreamobjects._limits import Share
from aiodreamobjects._models import Address, ByteRange, printable
from aiodreamobjects._progress import Meter, ProgressCallback
from aiodreamobjects._remote.engine import Engine, PoolBrokenError
from aiodreamobjects._remote.spread import ALL_HERE, Spread
from aiodreamobjects._reports import BulkError, CheckReport
from aiodreamobjects._runtime import Job
from aiodreamobjects._s3.replies import is_same
from aiodreamobjects._transfer.body import Body, open_body, pin_of
from aiodreamobjects._tree.disk import Disk
from aiodreamobjects._tree.names import Clashes, Patterns, why_no_file
from aiodreamobjects._tree.objects import Objects, have_same_content
from aiodreamobjects._tree.plan import merge
from aiodreamobjects._tree.run import Failures, entries_of, failure_of, name_of, next_portion, packed, unpacked
from aiodreamobjects._tree.tokens import require_token, token_in
from aiodreamobjects._tree.walk import Entry, Step, Unusable, Walk

CheckBy = Literal["etag", "size", "content"]

Both = tuple[Entry, Entry]
"""The two entries of one name: here, and on the other side."""


class CheckTree:
    """One comparison, from its arguments to its report."""

    def __init__(
        self,
        here: Objects,
        other: Objects | str,
        patterns: Patterns,
        *,
        by: CheckBy,
        progress: ProgressCallback | None,
        on_error: OnError,
        spread: Spread = ALL_HERE,
    ) -> None:
        """``other``: the path of a directory, or objects."""
        self._other, self._spread = other, spread
        self._engine: Engine[Both, _Compared] | None = None
        check_one_of("by", by, get_args(CheckBy))
        check_one_of("on_error", on_error, get_args(OnError))
        self._here, self._by, self._patterns, self._on_error = here, by, patterns, on_error
        self._there: _Files | _Others = _Files(here, other) if isinstance(other, str) else _Others(here, other)
        self._failures = Failures()
        self._unusable, self._unread = set[str](), set[str]()
        """Names that failed, and directories that could not be read, with a slash behind their names."""
        self._same = self._seen = self._seen_bytes = 0
        self._differ, self._missing, self._extra, self._unverified = (list[str]() for _ in range(4))
        self._ready: deque[Both] = deque()
        self._meter = Meter(progress, total_bytes=None, total_objects=None)

    async def run(self) -> CheckReport:
        runtimes = dict.fromkeys((self._here.runtime, self._there.runtime))
        for runtime in runtimes:
            runtime.require_open()
        async with aclosing(self._there):
            await self._there.open()
            here = self._here
            job = Job(*runtimes, verb="check_tree", bucket=here.bucket, key=here.prefix)
            async with job, self._meter, aclosing(ahead(self._both())) as pages:
                if self._spread.executor is None:
                    await self._compare_all(partial(self._next, pages))
                else:
                    await self._compare_elsewhere(pages)
        return self._report()

    async def _compare_all(self, take: Callable[[], Awaitable[Both | None]]) -> None:
        await pull(self._here.runtime.limits.requests, take, self._compare)

    # Batches for workers

    async def portion(self, ready: list[Both]) -> tuple[_Compared, Exception | None]:
        """Do a worker's part: compare these names alone. Return what was found, and the error that ended it early."""
        names = iter(ready)

        async def take() -> Both | None:
            return next(names, None)

        failure = await failure_of(self._there, lambda: self._compare_all(take))
        found = _Compared(self._same, self._differ, self._unverified, self._meter.counted, self._failures.tally)
        return found, failure

    async def _compare_elsewhere(self, pages: AsyncGenerator[list[Both], None]) -> None:
        async with AsyncExitStack() as stack:
            token = None
            if isinstance(self._other, str):
                token = await stack.enter_async_context(token_in(self._other))
            what = f"{self._here} compared with {self._there}"
            chore = _Comparison(self._here, self._other, self._by, token)
            engine = Engine[Both, _Compared](self._spread, chore, what, lambda both: both[0].name, self._merge, _packed)
            self._engine = await stack.enter_async_context(engine)
            try:
                take = partial(next_portion, self._ready, pages, self._spread.batch, self._bytes_of)
                await pull(engine.width, take, engine.do)
            except PoolBrokenError as broken:
                report = self._make_report()
                msg = (
                    f"{printable(what)}: the workers are gone: {broken}. {report.unfinished:,} names were not compared"
                )
                raise BulkError(msg, [broken.error], report) from None

    def _bytes_of(self, both: Both) -> int:
        return 0 if self._by == "size" else both[0].size

    def _merge(self, found: _Compared) -> bool:
        """Count what a worker has found."""
        self._same += found.same
        self._differ += found.differ
        self._unverified += found.unverified
        objects, size, key = found.counted
        self._meter.finish_object(key, size, objects=objects)
        self._failures.merge(found.tally, is_reached=objects > 0)
        return True

    async def _both(self) -> AsyncGenerator[list[Both], None]:
        """Yield pages of names to look at more closely."""
        here = entries_of(self._here.pages(self._patterns, self._there.refusal), self._note)
        there = entries_of(self._there.pages(self._patterns), self._note)
        async with aclosing(here), aclosing(there), aclosing(merge(here, there)) as pages:
            async for page in pages:
                if self._spread.slice is not None:
                    page = [pair for pair in page if self._spread.takes(name_of(pair))]  # noqa: PLW2901 - fewer of them
                self._missing += [other.name for one, other in page if one is None and other is not None]
                self._extra += [one.name for one, other in page if one is not None and other is None]
                both = [(one, other) for one, other in page if one is not None and other is not None]
                self._seen += len(both)
                self._seen_bytes += sum(one.size for one, _ in both)
                yield both
        self._meter.total_objects, self._meter.total_bytes = self._seen, self._seen_bytes

    def _note(self, page: Sequence[Step]) -> None:
        for step in page:
            if isinstance(step, Unusable):
                self._failures.add(step.name, step.error)
                self._unusable.add(step.name)
                if isinstance(step.error, OSError) and (not step.name or step.name.endswith("/")):
                    self._unread.add(step.name)

    async def _next(self, pages: AsyncGenerator[list[Both], None]) -> Both | None:
        while not self._ready:
            page = await anext(pages, None)
            if page is None:
                return None
            self._ready.extend(page)
        return self._ready.popleft()

    async def _compare(self, both: Both) -> None:
        one, other = both
        try:
            is_same, read = await self._are_same(one, other)
        except (DreamObjectsError, OSError, ValueError) as error:
            self._failures.add(one.name, error)
            return
        self._failures.end_row()
        if is_same is None:
            self._unverified.append(one.name)
        elif is_same:
            self._same += 1
        else:
            self._differ.append(one.name)
        self._meter.finish_object(one.name, one.size - read)

    async def _are_same(self, one: Entry, other: Entry) -> tuple[bool | None, int]:
        """Return whether both are the same, None if that is unknown; and how many bytes the progress has counted."""
        if one.size != other.size:
            return False, 0
        if not one.size or self._by == "size":
            return True, 0
        told = await self._there.etags_tell(one, other, by_content=self._by == "content")
        if told is not None or self._by != "content":
            return told, 0
        return await self._have_same_bytes(one, other)

    async def _have_same_bytes(self, one: Entry, other: Entry) -> tuple[bool, int]:
        """Read both in ranges, several at once, until one differs. For the result see ``_are_same``.

        A range is read into memory from here, and then compared with the other side piece by piece. So no task holds a place
        for a request, or memory, while it waits for another.
        """
        runtime, size = self._here.runtime, one.size
        piece = min(size, runtime.limits.part_size)
        starts = iter(range(0, size, piece))
        memory, read = runtime.memory.share(), 0

        async def take() -> int | None:
            return next(starts, None)

        async def compare(start: int) -> None:
            nonlocal read
            count = min(piece, size - start)
            with self._meter.piece(count):
                await self._compare_range(one, other, start, count, memory)
            read += count

        try:
            await pull(min(runtime.limits.parts_per_object, -(-size // piece)), take, compare)
        except _DifferentError:
            return False, read
        return True, read

    async def _compare_range(self, one: Entry, other: Entry, start: int, count: int, memory: Share) -> None:
        async with memory.lend(count) as buffer:
            data = buffer[:count]
            async with _open_range(self._here, one, start, count) as body:
                read = await body.readinto(data)
            if read != count:
                raise ObjectChangedError(_changed(self._here.address(one.name)))
            if not await self._there.has_bytes(other, start, data):
                raise _DifferentError

    def _report(self) -> CheckReport:
        report = self._make_report()
        if report.failed and self._on_error == "raise":
            what = printable(f"{self._here} and {self._there}")
            msg = f"{what}: {report.failed:,} names could not be compared, {report.done:,} were"
            raise BulkError(msg, [failure.error for failure in report.failures], report)
        return report

    def _make_report(self) -> CheckReport:
        tally = self._failures.tally
        missing, extra = ([*filter(self._is_known, names)] for names in (self._missing, self._extra))
        report = CheckReport(
            same=self._same,
            differ=tuple(sorted(self._differ)),
            missing=tuple(missing),
            extra=tuple(extra),
            unverified=tuple(sorted(self._unverified)),
            done=self._same + len(self._differ) + len(missing) + len(extra) + len(self._unverified),
            failed=tally.failed,
            failures=tuple(tally.failures),
            unmatched=self._patterns.unmatched,
        )
        return report if self._engine is None else replace(report, **self._engine.figures)

    def _is_known(self, name: str) -> bool:
        """Return whether both sides could be read where this name would be."""
        above = ("", *(name[: at + 1] for at, letter in enumerate(name) if letter == "/"))
        return name not in self._unusable and self._unread.isdisjoint(above)


class _Compared(NamedTuple):
    """What a worker found in a batch of names."""

    same: int
    differ: list[str]
    unverified: list[str]
    counted: tuple[int, int, str]
    tally: Tally


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What a worker does with a batch of names."""

    here: Objects
    other: Objects | str
    by: CheckBy
    token: str | None

    async def __call__(
        self, given: tuple[list[tuple[Sequence[Any], Sequence[Any]]], None]
    ) -> tuple[_Compared | None, Exception | None]:
        if self.token is not None:
            await require_token(self.token)
        tree = CheckTree(self.here, self.other, Patterns((), ()), by=self.by, progress=None, on_error="collect")
        return await tree.portion([(unpacked(one), unpacked(other)) for one, other in given[0]])


def _packed(both: Sequence[Both]) -> list[tuple[object, object]]:
    return [(packed(one), packed(other)) for one, other in both]


class _DifferentError(Exception):
    """A range differs: the others need not be read."""


class _Files:
    """The files of a directory, as the other side."""

    def __init__(self, here: Objects, root: str) -> None:
        self._here, self.runtime = here, here.runtime
        self._disk = Disk(root, follow=True)
        self._clashes = Clashes(folds_case=False)

    def __str__(self) -> str:
        return self._disk.root

    async def open(self) -> None:
        if not await self._disk.open(make=False):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._disk.root)

    async def aclose(self) -> None:
        await self._disk.aclose()

    def refusal(self, name: str) -> str | None:
        return why_no_file(name, self._clashes)

    def pages(self, patterns: Patterns) -> AsyncGenerator[Sequence[Step], None]:
        return Walk(self._disk.root, patterns, "follow").pages()

    async def etags_tell(self, one: Entry, other: Entry, *, by_content: bool) -> bool | None:  # noqa: ARG002 - as _Others has it
        assert one.info is not None
        return await self._here.has_content_of(one.info, self._disk, other.name, is_sure=True)

    async def has_bytes(self, other: Entry, start: int, data: memoryview) -> bool:
        return await self._disk.has_bytes(other, start, data)


class _Others:
    """The objects below a prefix, as the other side."""

    def __init__(self, here: Objects, there: Objects) -> None:
        self._here, self._there, self.runtime = here, there, there.runtime
        self.refusal: Callable[[str], str | None] | None = None

    def __str__(self) -> str:
        return str(self._there)

    async def open(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def pages(self, patterns: Patterns) -> AsyncGenerator[Sequence[Step], None]:
        return self._there.pages(patterns)

    async def etags_tell(self, one: Entry, other: Entry, *, by_content: bool) -> bool | None:
        assert one.info is not None
        assert other.info is not None
        is_same = have_same_content(self._here, one.info, self._there, other.info)
        if is_same is not False:
            return is_same
        if by_content and parts_of_etag(one.info.etag, None):  # the same content may have been cut elsewhere
            return None
        if await self._here.hides_digest(one.info) or await self._there.hides_digest(other.info):
            return None
        return False

    async def has_bytes(self, other: Entry, start: int, data: memoryview) -> bool:
        position = 0
        async with _open_range(self._there, other, start, len(data)) as body:
            async for chunk in body:
                if bytes(data[position : position + len(chunk)]) != chunk:
                    return False
                position += len(chunk)
        return position == len(data)


@asynccontextmanager
async def _open_range(objects: Objects, entry: Entry, start: int, count: int) -> AsyncIterator[Body]:
    """Open a range of the object in the state that was listed."""
    address, info = objects.address(entry.name), entry.info
    assert info is not None
    is_whole = count == entry.size
    byte_range = None if is_whole else ByteRange(start, start + count)
    options = replace(objects.reads.pinned(pin_of(info.etag)), verify="auto" if is_whole else "off")
    known = info.etag, info.size
    try:
        async with open_body(objects.runtime, address, byte_range, options, streamed=False, known=known) as body:
            if info.etag is not None and not is_same(body.info, info):  # some services ignore If-Match
                raise ObjectChangedError(_changed(address))
            yield body
    except PreconditionFailedError as error:
        raise ObjectChangedError(_changed(address)) from error


def _changed(address: Address) -> str:
    return f"{address} changed while it was compared"
