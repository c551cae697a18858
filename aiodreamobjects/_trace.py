"""Events of a call, for an observer of a session.

The library sets no observer yet: ``_s3.call.Caller.observe`` is ``None``, which costs one comparison per call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallStarted:
    id: int
    """The number of the call in its session."""
    operation: str
    method: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class CallFailed:
    """One attempt failed, perhaps the last one."""

    id: int
    attempt: int
    """From 1."""
    error: Exception
    wait: float | None
    """Seconds until the next attempt; None after the last."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    id: int
    operation: str
    seconds: float
    error: BaseException | None
    """What the call raised; None if it succeeded."""


Observer = Callable[[CallStarted | CallFailed | CallEnded], None]
