"""Merge two sorted trees, and decide what would make the second like the first. Nothing is done here."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from aiodreamobjects._bulk import OnError
from aiodreamobjects._checks import check_one_of
from aiodreamobjects._encryption import Encryption
from aiodreamobjects._errors import TransferError
from aiodreamobjects._models import CannedAcl, check_canned_acl
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._remote.spread import ALL_HERE, Spread
from aiodreamobjects._reports import OnDone, TreeReason
from aiodreamobjects._tree.names import Patterns
from aiodreamobjects._tree.walk import Entry, Symlinks

Compare = Literal["size", "mtime", "etag", "etag-or-time"]

Same = Literal["same", "unverified"]
"""``unverified``: their ETags cannot be compared, and their times say that they are the same."""
Verdict = Same | Literal["unknown"]
"""``unknown``: a closer look is needed."""


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """The options of all tree verbs, checked when made."""

    compare: Compare | None
    delete: bool
    include: Iterable[str]
    exclude: Iterable[str]
    dry_run: bool
    acl: CannedAcl | None
    progress: ProgressCallback | None
    on_error: OnError
    allow_empty: bool
    symlinks: Symlinks = "follow"
    missing_ok: bool = False
    encryption: Encryption | None = None
    """How the objects are encrypted: those that are written, or read by a download."""
    spread: Spread = ALL_HERE
    on_done: OnDone | None = None
    """Called with each name that was copied or moved here."""

    def __post_init__(self) -> None:
        check_one_of("compare", self.compare, (None, *get_args(Compare)))
        check_one_of("on_error", self.on_error, get_args(OnError))
        check_one_of("symlinks", self.symlinks, get_args(Symlinks))
        if self.acl is not None:
            check_canned_acl(self.acl)
        if self.on_done is not None and self.spread.executor is not None:
            msg = "on_done does not go with executor: workers tell how many names were done, not which"
            raise ValueError(msg)

    def of_worker(self) -> TreeOptions:
        """Return the options with which a worker does its part: nobody else lists, tells progress or raises for failures."""
        return replace(self, include=(), exclude=(), progress=None, on_error="collect", spread=ALL_HERE, on_done=None)

    def patterns(self) -> Patterns:
        return Patterns(self.include, self.exclude)

    @property
    def needs_target(self) -> bool:
        """Whether the target must be listed."""
        return self.delete or self.compare is not None

    @property
    def compares_times(self) -> bool:
        return self.compare in ("mtime", "etag-or-time")


Pair = tuple[Entry | None, Entry | None]
"""One name, in the source, the target or both."""


class Todo(NamedTuple):
    """A name to copy, or to look at first if there is no reason yet."""

    source: Entry
    target: Entry | None
    reason: TreeReason | None


class Plan(NamedTuple):
    todo: list[Todo]
    extra: list[Entry]
    """Names that only the target has."""
    same: int
    unverified: int
    """How many of these the times decided."""


def decide(
    pairs: Iterable[Pair], compare: Compare | None, tell: Callable[[Entry, Entry], TreeReason | Verdict]
) -> Plan:
    """Decide what to do with each pair. ``tell`` compares two entries of the same size by what the listings say."""
    todo: list[Todo] = []
    extra: list[Entry] = []
    same = unverified = 0
    for source, target in pairs:
        if source is None:
            assert target is not None
            extra.append(target)
        elif compare is None:
            todo.append(Todo(source, target, "asked"))
        elif target is None:
            todo.append(Todo(source, target, "missing"))
        elif source.size != target.size:
            todo.append(Todo(source, target, "size"))
        elif compare == "size" or (verdict := tell(source, target)) == "same":
            same += 1
        elif verdict == "unverified":
            same += 1
            unverified += 1
        else:
            todo.append(Todo(source, target, None if verdict == "unknown" else verdict))
    return Plan(todo, extra, same, unverified)


async def merge(
    sources: AsyncGenerator[list[Entry], None], targets: AsyncGenerator[list[Entry], None] | None
) -> AsyncGenerator[list[Pair], None]:
    """Merge both trees in order, holding a page of each."""
    left, right = _Side(sources), _Side(targets)
    while True:
        await left.fill()
        await right.fill()
        if not left.entries and not right.entries:
            return
        yield list(_pairs(left, right))


class _Side:
    def __init__(self, pages: AsyncGenerator[list[Entry], None] | None) -> None:
        self._pages = pages
        self.entries: deque[Entry] = deque()
        self._last: str | None = None

    @property
    def has_ended(self) -> bool:
        return self._pages is None

    async def fill(self) -> None:
        while not self.entries and self._pages is not None:
            page = await anext(self._pages, None)
            if page is None:
                self._pages = None
            else:
                self._check_order(page)
                self.entries.extend(page)

    def _check_order(self, page: Sequence[Entry]) -> None:
        """Raise if a tree is out of order: its names would seem to be missing, and be copied or deleted."""
        for entry in page:
            if self._last is not None and entry.name <= self._last:
                msg = f"a tree is not in order: {entry.name!r} comes behind {self._last!r}"
                raise TransferError(msg)
            self._last = entry.name


def _pairs(left: _Side, right: _Side) -> Iterator[Pair]:
    """Yield pairs until one side has to be filled again."""
    sources, targets = left.entries, right.entries
    while (sources or left.has_ended) and (targets or right.has_ended) and (sources or targets):
        if not targets or (sources and sources[0].name < targets[0].name):
            yield sources.popleft(), None
        elif not sources or targets[0].name < sources[0].name:
            yield None, targets.popleft()
        else:
            yield sources.popleft(), targets.popleft()
