"""The clock of a service, which a test can put forward."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a service takes its time from."""

    def now(self) -> datetime:
        """Return the time, aware."""
        ...

    def advance(self, by: timedelta) -> None:
        """Put the clock forward."""
        ...


class RealClock:
    """The machine's clock, put forward as far as it was told."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __repr__(self) -> str:
        return f"<RealClock, {self._ahead} ahead>"

    def now(self) -> datetime:
        return now() + self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by


def now() -> datetime:
    return datetime.now(UTC)
