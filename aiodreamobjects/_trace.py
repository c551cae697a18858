"""What happens to each call, as values for whoever observes a session.

Nothing in the library observes yet: ``_s3.call.Caller.observe`` is ``None``, and costs one test a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallStarted:
    id: int
    """Counts the calls of a session."""
    operation: str
    method: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class CallFailed:
    """One attempt failed; also the last one, after which nothing is waited for."""

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
    """What the caller gets; None for a success."""


Observer = Callable[[CallStarted | CallFailed | CallEnded], None]
