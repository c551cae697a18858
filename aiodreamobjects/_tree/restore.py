"""Bring the objects below a prefix back to a time, from the versions that the bucket keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._errors import TransferError
from aiodreamobjects._listing.pages import list_versions
from aiodreamobjects._models import Address, ObjectInfo, printable
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._reports import TreeReason
from aiodreamobjects._s3.settings import VERSIONING
from aiodreamobjects._transfer.copy import copy
from aiodreamobjects._tree.copy import CopyTree
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import Pair, TreeOptions, Verdict
from aiodreamobjects._tree.run import Note
from aiodreamobjects._tree.walk import Entry


@dataclass(slots=True)
class _History:
    """What matters of one key's versions."""

    latest: ObjectInfo
    then: ObjectInfo | None = None
    """The newest version or delete marker of that time."""

    def add(self, version: ObjectInfo, as_of: datetime) -> None:
        if version.is_latest:
            self.latest = version
        if version.last_modified is None:
            msg = f"the service does not say when {Address(version.bucket, version.key)} was stored: nothing can be brought back to a time"
            raise TransferError(msg)
        if self.then is None and version.last_modified <= as_of:
            self.then = version


class RestoreTree(CopyTree):
    verb = "restore_tree"

    def __init__(self, source: Objects, target: Objects | None, as_of: datetime, options: TreeOptions) -> None:
        """``target``: where to copy the state of that time. None: make the source as it was."""
        super().__init__(source, target or source, options)
        # A time without a fraction is a whole second, as a HEAD tells it. Ceph's listing has the milliseconds, too.
        self._as_of = as_of if as_of.microsecond else as_of.replace(microsecond=999_999)
        self._is_in_place = target is None
        self.what = printable(f"{self.what if target else source} as of {as_of.isoformat()}")

    async def open(self) -> None:
        if not self._is_in_place:
            await super().open()
        if await self.runtime.s3.get_setting(self._source.bucket, VERSIONING) is None:
            msg = f"{self.what}: the bucket never kept versions, so nothing of that time is left; set_versioning('Enabled') keeps them from now on"
            raise ValueError(msg)

    async def pairs(self, note_source: Note, note_target: Note) -> AsyncGenerator[list[Pair], None]:  # noqa: ARG002 - both sides are one listing
        async with aclosing(self._histories()) as pages:
            async for page in pages:
                if self.patterns.are_any:  # matching them would hold the loop too long
                    taken = await finish(in_thread(self._taken, page))
                else:
                    taken = page
                note_source([None] * (len(page) - len(taken)))
                yield [pair for history in taken if (pair := self._pair_of(history)) != (None, None)]

    async def _histories(self) -> AsyncGenerator[list[_History], None]:
        """Yield the histories of keys, a page of versions at a time. One that continues on the next page comes with that."""
        source, current = self._source, None
        listing = list_versions(self.runtime, source.bucket, source.prefix)
        async with aclosing(listing.pages()) as pages:
            async for page in pages:
                done: list[_History] = []
                for version in page:
                    if current is None or current.latest.key != version.key:
                        done += [current] if current else []
                        current = _History(version)
                    current.add(version, self._as_of)
                yield done
        if current is not None:
            yield [current]

    def _taken(self, page: Sequence[_History]) -> list[_History]:
        return [history for history in page if self.patterns.select(self._name_of(history.latest))]

    def _pair_of(self, history: _History) -> Pair:
        """Return the object as it was then, and as it is now. None where there was or is none."""
        return self._entry_of(history.then), self._entry_of(history.latest) if self._is_in_place else None

    def _entry_of(self, version: ObjectInfo | None) -> Entry | None:
        if version is None or version.is_delete_marker:
            return None
        return Entry(self._name_of(version), version.size or 0, info=version)

    def _name_of(self, version: ObjectInfo) -> str:
        return version.key[len(self._source.prefix) :]

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:
        return "same" if source.info is target.info else "version"

    async def _transfer(self, entry: Entry, progress: ProgressCallback | None) -> int:
        assert entry.info is not None
        reads = replace(self._source.reads, version_id=entry.info.version_id)
        return (await copy(*self._places(entry.name), self._changes, progress, reads)).source.found.size or 0
