"""The objects below one prefix to another, of the same bucket or any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from aiodreamobjects._bulk import Tally
from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._models import ObjectAttributes, ObjectInfo, TreeReason, printable
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
        self.what = printable(f"{source} to {target}")

    async def open(self) -> None:
        source, target = self._source, self._target
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
        """A copy is younger than what it is of. That decides also where the ETags cannot: of other parts, the same
        content has another one.
        """
        assert source.info is not None
        assert target.info is not None
        etags = source.info.etag or "", target.info.etag or ""
        if self.options.compare == "etag" and (etags[0] == etags[1] or not any("-" in etag for etag in etags)):
            return "same" if etags[0] == etags[1] else "etag"
        stored, copied = source.info.last_modified, target.info.last_modified
        is_younger = stored is not None and copied is not None and copied > stored
        is_same = is_younger or (stored == copied and etags[0] == etags[1])
        return "same" if is_same else self.options.compare or "mtime"

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        for entry in batch:
            try:
                found = await self._copy(run, entry)
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(entry.name, error)
            else:
                run.copied(entry.name, found.size or 0, counted=True)

    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        await self._target.delete(extra, tally)

    async def _copy(self, run: Run, entry: Entry) -> ObjectInfo:
        with run.meter.piece(entry.size) as gauge:
            found, _ = await copy(
                (self._source.runtime, self._source.address(entry.name)),
                (self._target.runtime, self._target.address(entry.name)),
                self._changes,
                WriteConditions(),
                gauge.follow if self.options.progress else None,
            )
        return found
