"""What the verbs of many give back, and the error that carries it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from aiodreamobjects._errors import DreamObjectsError


@dataclass(frozen=True, slots=True)
class BulkFailure:
    key: str
    version_id: str | None
    error: Exception
    """A ServiceError; of a tree also what reading, writing or moving a file's bytes raised."""


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What a bulk verb did: ``done + failed`` is the number of keys it was given. The first 1,000 failures are kept."""

    done: int
    failed: int
    failures: tuple[BulkFailure, ...] = ()


TreeReason = Literal["asked", "missing", "size", "mtime", "etag", "extra"]
"""Why a name is to be copied or deleted: all are copied; it is missing, or differs; only the target has it."""


@dataclass(frozen=True, slots=True)
class TreeAction:
    """One line of the plan of a tree verb. ``name`` is what both trees call it: relative, with ``/``."""

    action: Literal["copy", "delete"]
    name: str
    size: int
    reason: TreeReason


@dataclass(frozen=True, slots=True)
class TreeReport(BulkReport):
    """What a tree verb did, or with ``dry_run`` would do. ``done`` is ``copied + deleted``; failures are by relative name."""

    copied: int = 0
    copied_bytes: int = 0
    skipped: int = 0
    """Names that were the same in both trees already."""
    unverified: int = 0
    """How many of these are the same by their times only, since their ETags cannot be compared: with ``"etag-or-time"``."""
    deleted: int = 0
    kept: int = 0
    """What ``delete`` would have deleted, had nothing failed, and files that had changed by then."""
    excluded: int = 0
    """Names of the source that patterns left out, and links that were skipped. A directory left out whole counts once."""
    unmatched: tuple[str, ...] = ()
    """Patterns that matched no name of either tree."""
    plan: tuple[TreeAction, ...] | None = None
    """With ``dry_run``: all of it, in the order of the names, what is deleted last."""


class BulkError(ExceptionGroup[Exception], DreamObjectsError):
    """Some keys of a bulk verb, or names of a tree, failed. The rest was done; ``report`` tells which and how many."""

    report: BulkReport

    def __new__(cls, message: str, exceptions: Sequence[Exception], report: BulkReport) -> BulkError:  # noqa: PYI034 - ExceptionGroup's own signature
        self = super().__new__(cls, message, exceptions)
        self.report = report
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], report: BulkReport) -> None:  # noqa: ARG002 - __new__ takes it
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception]) -> BulkError:  # type: ignore[override]  # typeshed types it for any member, ours are ServiceErrors
        return BulkError(self.message, excs, self.report)

    def __reduce__(self) -> tuple[type[BulkError], tuple[str, tuple[Exception, ...], BulkReport]]:
        members = cast("tuple[Exception, ...]", tuple(self.exceptions))
        return type(self), (self.message, members, self.report)
