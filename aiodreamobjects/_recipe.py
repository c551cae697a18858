"""What another process needs to open a session like this one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts, check_whole
from aiodreamobjects._service import Service


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a session, as a value that can be sent to another process or machine.

    It holds keys only if they were arguments of the session; no repr shows them. Otherwise the other process finds its own, by
    the same rules as a session does: in ``profile``, in its environment, or from a role.
    """

    service: Service
    limits: Limits
    timeouts: Timeouts
    retry: Retry
    ca: str | None = None
    credentials: Credentials | None = None
    profile: str | None = None
    anonymous: bool = False
    close_grace: float = 20.0

    def divided(self, n: int) -> Recipe:
        """Return a recipe with an ``n``-th of what all sessions share: requests per second, bandwidth and memory."""
        check_whole("n", n, least=1)
        limits = replace(
            self.limits,
            memory=max(1, self.limits.memory // n),
            upload_bytes_per_second=_share(self.limits.upload_bytes_per_second, n),
            download_bytes_per_second=_share(self.limits.download_bytes_per_second, n),
            requests_per_second=_share(self.limits.requests_per_second, n),
        )
        return replace(self, limits=limits)


@dataclass(frozen=True, slots=True)
class Seed:
    """All of a recipe but the service, which may be known only when the session is open."""

    ca: str | os.PathLike[str] | None = None
    credentials: Credentials | None = None
    profile: str | None = None
    anonymous: bool = False
    close_grace: float = 20.0
    obstacle: str = ""
    """Why no other process can open such a session."""


def _share(value: float | None, n: int) -> float | None:
    return None if value is None else value / n
