"""Copy or move the objects below a prefix to another prefix, of the same bucket or any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from aiodreamobjects._bulk import Tally, fails_all
from aiodreamobjects._errors import DreamObjectsError, NotFoundError
from aiodreamobjects._models import Address, ObjectInfo, printable
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._reports import TreeReason
from aiodreamobjects._runtime import HOSTED, Runtime
from aiodreamobjects._transfer import mtime
from aiodreamobjects._transfer.copy import Changes, copy, move
from aiodreamobjects._tree.objects import Objects, have_same_content
from aiodreamobjects._tree.plan import TreeOptions, Verdict
from aiodreamobjects._tree.run import Direction, Run
from aiodreamobjects._tree.walk import Entry, Step


class CopyTree(Direction):
    verb = "copy_tree"

    def __init__(self, source: Objects, target: Objects, options: TreeOptions) -> None:
        super().__init__(source.runtime, options)
        self._source, self._target = source, target
        self.place = target
        self._changes = Changes.of({"acl": options.acl, "encryption": options.encryption})
        self.what = printable(f"{source} to {target}")

    def parts(self) -> tuple[object, ...]:
        return self._source, self._target, self.options.of_worker()

    async def open(self) -> None:
        source, target = self._source, self._target
        target.runtime.require_open()
        is_one = (source.runtime.service.endpoint, source.bucket) == (target.runtime.service.endpoint, target.bucket)
        if is_one and (source.prefix.startswith(target.prefix) or target.prefix.startswith(source.prefix)):
            msg = f"{self.what}: one of them is in the other; choose prefixes that do not overlap"
            raise ValueError(msg)
        if not self.options.dry_run:
            await target.require(self._changes.options)

    async def aclose(self) -> None:
        pass

    def sources(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._source.pages(self.patterns)

    def targets(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._target.pages(self.patterns)

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:
        assert source.info is not None
        assert target.info is not None
        compare = self.options.compare
        if compare in ("etag", "etag-or-time"):
            is_same = have_same_content(self._source, source.info, self._target, target.info)
            if is_same is not None or compare == "etag":
                return "same" if is_same else "etag"
        if not _is_copied(source.info, target.info):
            return "mtime"
        return "same" if compare == "mtime" else "unverified"

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        for entry in batch:
            try:
                with run.meter.piece(entry.size, entry.name) as gauge:
                    size = await self._transfer(entry, gauge.follow if self.options.progress else None)
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(entry.name, error)
            else:
                run.copied(entry.name, size, counted=True)

    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        await self._target.delete(extra, tally)

    async def _transfer(self, entry: Entry, progress: ProgressCallback | None) -> int:
        """Copy one object, and return its size."""
        return (
            await copy(*self._places(entry.name), self._changes, progress, self._source.reads)
        ).source.found.size or 0

    def _places(self, name: str) -> tuple[tuple[Runtime, Address], tuple[Runtime, Address]]:
        source, target = self._source, self._target
        return (source.runtime, source.address(name)), (target.runtime, target.address(name))


class MoveTree(CopyTree):
    verb, action, done = "move_tree", "move", "moved"

    async def _transfer(self, entry: Entry, progress: ProgressCallback | None) -> int:
        places = self._places(entry.name)
        try:
            # An older version that came up would be moved over the newer one by the next call.
            info = await move(*places, self._changes, progress, self._source.reads, keeps_versions=True)
        except NotFoundError as error:
            if fails_all(error) or HOSTED.get() is None:
                raise
            # A worker that died may have moved it before the batch was sent again. The ETag tells.
            info = await self._target.head(entry.name)
            if entry.info is None or info.etag is None or info.etag != entry.info.etag:
                raise
        return info.size or 0


def _is_copied(source: ObjectInfo, target: ObjectInfo) -> bool:
    """Return whether it was stored later than its source, or at the same time with the same ETag."""
    stored, copied = mtime.stored(source), mtime.stored(target)
    if stored is None or copied is None:
        return False
    is_later = stored.is_before(copied)
    return (source.etag is not None and source.etag == target.etag) if is_later is None else is_later
