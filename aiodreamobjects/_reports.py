"""The reports of verbs on many keys, and the error that carries one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Literal, cast

from aiodreamobjects._errors import DreamObjectsError


class Brief:
    """The repr of a report: its figures, and how long its lists are. A report may list thousands of names."""

    __slots__ = ()

    def __repr__(self) -> str:
        told = []
        for one in fields(self):  # type: ignore[arg-type]  # only dataclasses derive from this
            value = getattr(self, one.name)
            if not isinstance(value, int):
                told += [f"{one.name}: {len(value):,}"] if value else []
            elif value or one.default is MISSING:
                told.append(f"{one.name}={value:,}")
        return f"<{type(self).__name__} {', '.join(told)}>"


@dataclass(frozen=True, slots=True)
class BulkFailure:
    key: str
    version_id: str | None
    error: Exception
    """A ServiceError; in a tree also an error of reading, writing or moving a file."""


@dataclass(frozen=True, slots=True, repr=False)
class BulkReport(Brief):
    """What a bulk verb did. ``done + failed`` is the number of keys. ``failures`` has the first 1,000 failures."""

    done: int
    failed: int
    failures: tuple[BulkFailure, ...] = ()
    workers: int = field(default=0, kw_only=True)
    """How many workers the ``executor`` had."""
    resent_batches: int = field(default=0, kw_only=True)
    """How many batches were sent again, because their worker had died."""
    unfinished: int = field(default=0, kw_only=True)
    """How many names were with workers that never answered. Nobody knows whether they were done."""


TreeReason = Literal["asked", "missing", "size", "mtime", "etag", "version", "extra"]
"""Why a name is copied or deleted. ``asked``: all are copied. ``extra``: only the target has it. Otherwise: what differs."""


@dataclass(frozen=True, slots=True)
class TreeAction:
    """One step in the plan of a tree verb. ``name`` is the relative name in both trees, with ``/``."""

    action: Literal["copy", "move", "delete"]
    name: str
    size: int
    reason: TreeReason


OnDone = Callable[[TreeAction], object]
"""Called with each name that a tree verb has copied or moved."""


@dataclass(frozen=True, slots=True, repr=False)
class TreeReport(BulkReport):
    """What a tree verb did, or would do with ``dry_run``. ``done`` is ``copied + deleted``. Failures have relative names."""

    copied: int = 0
    """How many names were copied, or moved by ``move_tree``."""
    copied_bytes: int = 0
    skipped: int = 0
    """Names that were already the same in both trees."""
    unverified: int = 0
    """How many of the skipped names only have the same time, because ``"etag-or-time"`` could not compare their ETags."""
    deleted: int = 0
    """How many names were deleted, or hidden by ``restore_tree``."""
    kept: int = 0
    """Names that ``delete`` did not delete because something failed, and files that had changed meanwhile."""
    excluded: int = 0
    """Names of the source that patterns left out, skipped links, and, with ``missing_ok``, files that vanished. A directory
    counts once."""
    unmatched: tuple[str, ...] = ()
    """Patterns that matched no name in either tree."""
    plan: tuple[TreeAction, ...] | None = None
    """All steps, with ``dry_run``: copies in the order of names, then deletions."""


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport(BulkReport):
    """What ``check_tree`` found. Names are relative, and sorted. ``done`` counts the names that were compared."""

    done: int = field(default=0, kw_only=True)
    failed: int = field(default=0, kw_only=True)
    """Names that could not be read on one side. They are in none of the other fields, and nor is what is below them."""
    failures: tuple[BulkFailure, ...] = field(default=(), kw_only=True)
    same: int = 0
    differ: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Names that the other side has, and this prefix has not."""
    extra: tuple[str, ...] = ()
    """Names that this prefix has, and the other side has not."""
    unverified: tuple[str, ...] = ()
    """Names with the same size on both sides whose digests cannot be compared. They count as neither the same nor different."""
    unmatched: tuple[str, ...] = ()
    """Patterns that matched no name on either side."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How many ``objects`` there are, and how many ``bytes`` they have."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class UsageReport(Brief):
    """How many ``objects`` are below a prefix, how many ``bytes`` they have, and the same for each of its directories."""

    objects: int
    bytes: int
    by_prefix: Mapping[str, Usage] = field(default_factory=dict, hash=False)
    """Keys are directories with their full names, such as ``photos/2026/``, in order. Each counts all that lies below it."""


class BulkError(ExceptionGroup[Exception], DreamObjectsError):
    """Some keys of a bulk verb, or names of a tree, failed. The rest was done. ``report`` says which failed and how many."""

    report: BulkReport

    def __new__(cls, message: str, exceptions: Sequence[Exception], report: BulkReport) -> BulkError:  # noqa: PYI034 - ExceptionGroup's own signature
        self = super().__new__(cls, message, exceptions)
        self.report = report
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], report: BulkReport) -> None:  # noqa: ARG002 - __new__ takes it
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception]) -> BulkError:  # type: ignore[override]  # typeshed allows any exception, we allow Exceptions only
        derived = BulkError(self.message, excs, self.report)
        derived.in_doubt = self.in_doubt
        return derived

    def __reduce__(self) -> tuple[type[BulkError], tuple[str, tuple[Exception, ...], BulkReport], dict[str, object]]:
        members = cast("tuple[Exception, ...]", tuple(self.exceptions))
        return type(self), (self.message, members, self.report), self.__dict__  # with its notes, and in_doubt
