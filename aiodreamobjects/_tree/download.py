"""The objects below a prefix to a local directory: nothing is ever written outside of it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from anyio import to_thread

from aiodreamobjects._concurrency import finish
from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._models import Progress, TreeReason
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._transfer import mtime
from aiodreamobjects._transfer.body import read_with_info
from aiodreamobjects._transfer.download import download_into
from aiodreamobjects._transfer.sinks import PathSink
from aiodreamobjects._tree.disk import Disk, NewFile, is_directory
from aiodreamobjects._tree.names import Clashes, is_safe
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import TreeOptions, Verdict
from aiodreamobjects._tree.run import SMALL_BYTES, Direction, Run
from aiodreamobjects._tree.walk import Entry, Step, Walk


class DownloadTree(Direction):
    def __init__(self, runtime: Runtime, bucket: str, prefix: str, root: str, options: TreeOptions) -> None:
        super().__init__(runtime, options)
        self._root, self._objects = root, Objects(runtime, bucket, prefix)
        self._disk = Disk(root)
        self._is_there = True
        self._clashes = Clashes(folds_case=False)
        self.what = f"{self._objects} to {root}"

    async def open(self) -> None:
        if self.options.dry_run:
            self._is_there = await to_thread.run_sync(is_directory, self._root)
        else:
            self._clashes = Clashes(folds_case=await self._disk.open())

    async def aclose(self) -> None:
        await self._disk.aclose()

    def sources(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._objects.pages(self.patterns, self._why_not)

    async def targets(self) -> AsyncGenerator[Sequence[Step], None]:
        if self._is_there:
            async with aclosing(Walk(self._root, self.patterns, "skip", only_files=True).pages()) as pages:
                async for page in pages:
                    yield page

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:
        """A file that has the time at which its object was stored came from one that keeps no other.

        A listing tells it in milliseconds, what came with the content in seconds (RFC 9110 section 5.6.7).
        """
        assert source.info is not None
        stored = mtime.stored(source.info)
        is_same = stored is not None and target.mtime_ns in (stored, stored - stored % 1_000_000_000)
        return "same" if is_same and self.options.compare == "mtime" else "unknown"

    async def look(self, source: Entry, target: Entry) -> TreeReason | None:
        assert source.info is not None
        if self.options.compare == "etag":
            is_same = await self._objects.has_content_of(source.info, f"{self._root}/{target.name}")
            return None if is_same else "etag"
        found = await self.runtime.wire.head_object(self._objects.address(source.name))
        return None if mtime.of(found) == target.mtime_ns and found.size == target.size else "mtime"

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        if batch[0].size > SMALL_BYTES:
            await self._download(run, batch[0])
            return
        files: list[NewFile] = []
        for entry in batch:
            try:
                info, data = await read_with_info(self.runtime, self._objects.address(entry.name), SMALL_BYTES)
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(entry.name, error)
            else:
                files.append(NewFile(entry.name, data, mtime.of(info)))
        failures = await self._disk.write(files)
        for file, failure in zip(files, failures, strict=True):
            if failure is None:
                run.copied(file.name, len(file.data))
            else:
                run.failed(file.name, failure)

    async def delete(self, run: Run, names: Sequence[str]) -> None:
        failures = await self._disk.remove(names)
        for name, failure in zip(names, failures, strict=True):
            if failure is None:
                run.deleted(1)
            else:
                run.failed(name, failure)

    async def _download(self, run: Run, entry: Entry) -> None:
        try:
            directory = await self._disk.open_directory_of(entry.name)
            try:
                with run.meter.piece(entry.size) as gauge:

                    def note(progress: Progress) -> None:
                        gauge.bytes = progress.done_bytes

                    told = note if self.options.progress else None
                    last = entry.name.rpartition("/")[2]
                    async with PathSink(last, overwrite=True, fsync=False, directory=directory) as sink:
                        address = self._objects.address(entry.name)
                        await download_into(sink, self.runtime, address, told, "auto", "restart")
            finally:
                await finish(to_thread.run_sync(os.close, directory))
        except (DreamObjectsError, OSError, ValueError) as error:
            run.failed(entry.name, error)
        else:
            run.copied(entry.name, entry.size, counted=True)

    def _why_not(self, name: str) -> str | None:
        if not is_safe(name):
            return "it leads out of the directory, or to no name in it"
        other = self._clashes.with_what(name)
        return None if other is None else f"{other!r} is a file beside it, with which it cannot be"
