"""Download the objects below a prefix to a local directory. Nothing is ever written outside of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial

from aiodreamobjects._bulk import Tally
from aiodreamobjects._encryption import check_key
from aiodreamobjects._errors import ChecksumMismatchError, DreamObjectsError, ObjectChangedError
from aiodreamobjects._models import ObjectInfo, printable
from aiodreamobjects._progress import Gauge
from aiodreamobjects._reports import TreeReason
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import reads_with
from aiodreamobjects._transfer import mtime
from aiodreamobjects._transfer.body import EtagAndSize, RangeIgnoredError, read_with_info
from aiodreamobjects._transfer.download import download_into
from aiodreamobjects._transfer.mtime import Time
from aiodreamobjects._transfer.sinks import PathSink
from aiodreamobjects._transfer.whole import read_whole
from aiodreamobjects._tree.disk import Disk, NewFile, special_file
from aiodreamobjects._tree.names import Clashes, InTheWay, folded, why_no_file
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import TreeOptions, Verdict
from aiodreamobjects._tree.run import SMALL_BYTES, Blocked, Direction, Run
from aiodreamobjects._tree.walk import Entry, Step, Walk

_log = logging.getLogger("aiodreamobjects")


class DownloadTree(Direction):
    verb = "download_tree"

    def __init__(self, runtime: Runtime, bucket: str, prefix: str, root: str, options: TreeOptions) -> None:
        super().__init__(runtime, options)
        check_key("encryption", options.encryption)
        self._reads = reads_with(options.encryption)
        self._unverified = replace(self._reads, verify="off")
        self._objects, self._disk = Objects(runtime, bucket, prefix, self._reads), Disk(root)
        self.place = self._objects
        self._is_there = False
        self._clashes = Clashes(folds_case=False)
        self._written: set[str] | None = None
        """What was written, folded as a disk folds names that ignores case. A name on it may be one of these, spelled otherwise."""
        self.what = printable(f"{self._objects} to {root}")

    def parts(self) -> tuple[object, ...]:
        objects = self._objects
        return self.runtime, objects.bucket, objects.prefix, self._disk.root, self.options.of_worker()

    @property
    def shared_directory(self) -> str:
        return self._disk.root

    def written_elsewhere(self, names: Sequence[str]) -> None:
        if self._written is not None:
            self._written.update(map(folded, names))

    async def open(self) -> None:
        self._is_there = await self._disk.open(make=not self.options.dry_run)
        if self._is_there and self.options.compares_times:
            await self._disk.measure(may_write=not self.options.dry_run)
        if not self.options.dry_run and await self._disk.folds_case():
            self._clashes, self._written = Clashes(folds_case=True), set()

    async def aclose(self) -> None:
        await self._disk.aclose()

    def sources(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._objects.pages(self.patterns, self._why_not)

    async def targets(self) -> AsyncGenerator[Sequence[Step], None]:
        if self._is_there:
            async with aclosing(Walk(self._disk.root, self.patterns, "skip", only_files=True).pages()) as pages:
                async for page in pages:
                    yield page

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:
        """A file with the time at which its object was stored was made of it: no HEAD is needed."""
        assert source.info is not None
        is_same = self.options.compare == "mtime" and self._is_time_of(mtime.stored(source.info), target)
        return "same" if is_same else "unknown"

    async def has_same_content(self, source: Entry, target: Entry) -> bool | None:
        assert source.info is not None
        is_sure = self.options.compare == "etag-or-time"  # with "etag", a name is copied in both cases
        return await self._objects.has_content_of(source.info, self._disk, target.name, is_sure=is_sure)

    async def has_same_time(self, source: Entry, target: Entry) -> bool:
        found = await self._objects.head(source.name)
        return found.size == target.size and self._is_time_of(mtime.of(found, source.info), target)

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        if batch[0].size > SMALL_BYTES:
            await self._download(run, batch[0])
            return
        files: list[NewFile] = []
        entries = {entry.name: entry for entry in batch}
        for entry in batch:
            await self._disk.rest()
            try:
                info, data = await read_with_info(
                    self.runtime,
                    self._objects.address(entry.name),
                    SMALL_BYTES,
                    _told(entry.info),
                    self._reads,
                )
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(entry.name, error)
            else:
                files.append(NewFile(entry.name, data, mtime.nanoseconds_of(info, entry.info)))
        failures: list[Exception | None] = []
        try:
            await self._disk.write(files, failures)
        finally:
            for file, failure in zip(files, failures, strict=False):
                if failure is None:
                    self._copied(run, file.name, len(file.data))
                elif isinstance(failure, InTheWay):
                    run.blocked(entries[file.name], failure.blocking)
                else:
                    run.failed(file.name, self._with_path(file.name, failure))

    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        async for page in extra:
            files = [entry for entry in page if not (self._written and folded(entry.name) in self._written)]
            outcomes: list[bool | Exception] = []
            try:
                await self._disk.remove(files, outcomes)
            finally:
                for file, outcome in zip(files, outcomes, strict=False):
                    if isinstance(outcome, Exception):
                        tally.fail(file.name, None, outcome)
                    else:
                        tally.done += outcome

    async def try_places(self, entries: Sequence[Entry]) -> list[Exception | None]:
        if not self._is_there:
            return await super().try_places(entries)
        return await self._disk.try_places([entry.name for entry in entries])

    async def stay_blocked(self, blocked: Sequence[Blocked]) -> list[bool]:
        return await self._disk.will_stay([one.blocking for one in blocked], self.patterns)

    async def make_room(self, blocked: Sequence[Blocked]) -> None:
        await self._disk.remove_empty([one.blocking for one in blocked if one.blocking.endswith("/")])

    def _is_time_of(self, time: Time | None, file: Entry) -> bool:
        assert file.mtime_ns is not None
        return time is not None and time.is_that_of(file.mtime_ns, self._disk.precision)

    def _copied(self, run: Run, name: str, size: int, *, counted: bool = False) -> None:
        if self._written is not None:
            self._written.add(folded(name))
        run.copied(name, size, counted=counted)

    async def _download(self, run: Run, entry: Entry) -> None:
        try:
            with run.meter.piece(entry.size, entry.name) as gauge:
                size = await self._write_whole(entry, gauge)
                if size is None:
                    size = await self._write_in_pieces(entry, gauge)
        except InTheWay as error:
            run.blocked(entry, error.blocking)
        except IsADirectoryError:
            run.blocked(entry, f"{entry.name}/")
        except FileExistsError:
            run.failed(entry.name, special_file(entry.name))
        except (DreamObjectsError, OSError, ValueError) as error:
            run.failed(entry.name, self._with_path(entry.name, error))
        else:
            self._copied(run, entry.name, size, counted=True)

    async def _write_whole(self, entry: Entry, gauge: Gauge) -> int | None:
        """Receive an object of up to a part into memory. Check it, write it and publish it in one call to a thread.

        Return its size, or None if it is larger, or if that did not work for a reason that another request may not have.
        """
        if entry.size > self.runtime.limits.part_size:
            return None
        address = self._objects.address(entry.name)
        async with self.runtime.job("download", address.bucket, address.key) as job, AsyncExitStack() as held:
            try:
                whole = await read_whole(
                    self.runtime, address, entry.size, _told(entry.info), self._unverified, held, gauge
                )
                time = mtime.nanoseconds_of(whole.info, entry.info)
                verified = await self._disk.write_one(NewFile(entry.name, whole.data, time), whole.verify)
            except (ObjectChangedError, RangeIgnoredError, ChecksumMismatchError) as error:
                _log.warning("%s; downloading it again", error)
                return None
            job.note(size=entry.size, parts=1, resumed=False, verified=verified)
        return entry.size

    async def _write_in_pieces(self, entry: Entry, gauge: Gauge) -> int:
        last = entry.name.rpartition("/")[2]
        async with (
            self._disk.directory_of(entry.name) as directory,
            PathSink(last, overwrite=True, fsync=False, directory=directory) as sink,
        ):
            info = await download_into(
                sink,
                self.runtime,
                self._objects.address(entry.name),
                gauge.follow if self.options.progress else None,
                "restart",
                self._reads,
                time_of=partial(mtime.nanoseconds_of, listed=entry.info),
                listed=_told(entry.info),
            )
        return info.size or 0

    def _with_path(self, name: str, error: Exception) -> Exception:
        """Let an error of the disk name the path as the caller knows it: files are opened relative to their directory."""
        if isinstance(error, OSError) and not isinstance(error, DreamObjectsError) and error.filename is not None:
            error.filename = f"{self._disk.root}/{name}"
        return error

    def _why_not(self, name: str) -> str | None:
        return why_no_file(name, self._clashes)


def _told(listed: ObjectInfo | None) -> EtagAndSize | None:
    return None if listed is None else (listed.etag, listed.size)
