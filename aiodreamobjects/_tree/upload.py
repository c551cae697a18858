"""Upload a local directory to objects below a prefix."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Sequence

from aiodreamobjects._bulk import Tally, fails_all
from aiodreamobjects._errors import DreamObjectsError, NotFoundError
from aiodreamobjects._models import printable
from aiodreamobjects._reports import TreeReason
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._transfer import mtime, upload
from aiodreamobjects._transfer.content_types import content_type_of
from aiodreamobjects._tree.disk import Content, Disk
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import Same, TreeOptions, Verdict
from aiodreamobjects._tree.run import SMALL_BYTES, Direction, Run
from aiodreamobjects._tree.walk import Entry, Step, Walk


class UploadTree(Direction):
    def __init__(self, runtime: Runtime, root: str, bucket: str, prefix: str, options: TreeOptions) -> None:
        super().__init__(runtime, options)
        self._disk, self._objects = Disk(root, follow=options.symlinks == "follow"), Objects(runtime, bucket, prefix)
        self.what = printable(f"{root} to {self._objects}")

    async def open(self) -> None:
        if not await self._disk.open(make=False):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._disk.root)
        if self.options.compares_times:
            await self._disk.measure(may_write=False)

    async def aclose(self) -> None:
        await self._disk.aclose()

    def sources(self) -> AsyncGenerator[Sequence[Step], None]:
        return Walk(self._disk.root, self.patterns, self.options.symlinks).pages()

    def targets(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._objects.pages(self.patterns)

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:  # noqa: ARG002 - a listing tells neither
        return "unknown"

    async def look(self, source: Entry, target: Entry) -> TreeReason | Same:
        try:
            return await super().look(source, target)
        except NotFoundError as error:  # it was deleted since it was listed
            if fails_all(error):
                raise
            return "missing"

    async def has_same_content(self, source: Entry, target: Entry) -> bool | None:
        assert target.info is not None
        return await self._objects.has_content_of(target.info, self._disk, source.name)

    async def has_same_time(self, source: Entry, target: Entry) -> bool:
        """Without a kept time, an object is current if it was stored when the file was last changed, or later."""
        assert source.mtime_ns is not None
        found = await self.runtime.s3.head_object(self._objects.address(source.name))
        if found.size != source.size:
            return False
        if (kept := mtime.kept_in(found.metadata)) is not None:
            return kept.is_that_of(source.mtime_ns, self._disk.precision)
        stored = mtime.of(found, target.info)
        return stored is not None and stored.nanoseconds >= source.mtime_ns

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        if batch[0].size > SMALL_BYTES:
            await self._upload(run, batch[0])
            return
        names = [entry.name for entry in batch]
        contents = await self._disk.read(names, SMALL_BYTES)
        for name, content in zip(names, contents, strict=True):
            await self._disk.rest()
            try:
                await self._put(run, name, content)
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(name, error)

    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        await self._objects.delete(extra, tally)

    async def _put(self, run: Run, name: str, content: Content | Exception) -> None:
        if isinstance(content, Exception):
            raise content
        options = WriteOptions(
            content_type=content_type_of(name),
            metadata={mtime.NAME: mtime.text_of(content.mtime_ns)},
            acl=self.options.acl,
        )
        await self.runtime.s3.put_object(self._objects.address(name), content.data, options)
        run.copied(name, len(content.data))

    async def _upload(self, run: Run, entry: Entry) -> None:
        try:
            with run.meter.piece(entry.size) as gauge:
                info = await upload.upload(
                    self.runtime,
                    self._objects.address(entry.name),
                    f"{self._disk.root}/{entry.name}",
                    WriteOptions(acl=self.options.acl),
                    gauge.follow if self.options.progress else None,
                    opener=self._disk.opener(entry.name),
                )
        except (DreamObjectsError, OSError, ValueError) as error:
            run.failed(entry.name, error)
        else:
            run.copied(entry.name, info.size or 0, counted=True)
