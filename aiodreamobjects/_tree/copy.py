"""The objects below one prefix to another, of the same bucket or any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._models import ObjectAttributes, Progress, TreeReason
from aiodreamobjects._transfer.copy import Changes, copy
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import TreeOptions, Verdict
from aiodreamobjects._tree.run import Direction, Run
from aiodreamobjects._tree.walk import Entry, Step
from aiodreamobjects._wire.contract import WriteConditions


class CopyTree(Direction):
    def __init__(self, source: Objects, target: Objects, options: TreeOptions) -> None:
        super().__init__(source.runtime, options)
        self._source, self._target = source, target
        self._changes = Changes(ObjectAttributes(acl=options.acl), None, copies_acl=False)
        self.what = f"{source} to {target}"

    async def open(self) -> None:
        source, target = self._source, self._target
        self.runtime.require_open()
        target.runtime.require_open()
        is_one = (source.runtime.service.endpoint, source.bucket) == (target.runtime.service.endpoint, target.bucket)
        if is_one and (source.prefix.startswith(target.prefix) or target.prefix.startswith(source.prefix)):
            msg = f"{self.what}: one of them is in the other; choose prefixes that do not overlap"
            raise ValueError(msg)

    async def aclose(self) -> None:
        pass

    def sources(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._source.pages(self.patterns)

    def targets(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._target.pages(self.patterns)

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:
        """A copy is never older than what it is of."""
        assert source.info is not None
        assert target.info is not None
        if self.options.compare == "etag":
            return "same" if source.info.etag == target.info.etag else "etag"
        stored, copied = source.info.last_modified, target.info.last_modified
        return "same" if stored is not None and copied is not None and copied >= stored else "mtime"

    async def look(self, source: Entry, target: Entry) -> TreeReason | None:
        raise NotImplementedError  # the listings tell all

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        for entry in batch:
            try:
                await self._copy(run, entry)
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(entry.name, error)
            else:
                run.copied(entry.name, entry.size, counted=True)

    async def delete(self, run: Run, names: Sequence[str]) -> None:
        await self._target.delete(run, names)

    async def _copy(self, run: Run, entry: Entry) -> None:
        with run.meter.piece(entry.size) as gauge:

            def note(progress: Progress) -> None:
                gauge.bytes = progress.done_bytes

            await copy(
                (self._source.runtime, self._source.address(entry.name)),
                (self._target.runtime, self._target.address(entry.name)),
                self._changes,
                WriteConditions(),
                note if self.options.progress else None,
            )
