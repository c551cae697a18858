"""What a session hands down to its buckets and objects."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiodreamobjects._concurrency import Memory, Places
from aiodreamobjects._config import Limits, Retry, Timeouts
from aiodreamobjects._errors import SessionClosedError
from aiodreamobjects._service import BucketNames, Service
from aiodreamobjects._wire.contract import Wire

OTHER_DESCRIPTORS = 32
"""Of the process, beside connections and the files of transfers."""


def _most_files(limits: Limits) -> int:
    """As many as requests, fewer where the process may not have so many descriptors: each file has a connection too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits.requests
    return max(1, min(limits.requests, (soft - limits.requests - OTHER_DESCRIPTORS) // 2))


class Runtime:
    """The service and the lane to it, once the session is open, and the limits. Nothing works before or after."""

    __slots__ = ("_files", "_service", "_wire", "limits", "memory", "retry", "uploads")

    def __init__(self, limits: Limits, timeouts: Timeouts, retry: Retry, service: Service | None) -> None:
        self.limits = limits
        self.retry = retry
        self.memory = Memory(limits.memory, timeouts.pool)
        self.uploads: set[str | None] = set()
        """Those in parts that are under way, by their ids."""
        self._files = Places(_most_files(limits))
        self._service = service
        self._wire: Wire | None = None

    def connect(self, service: Service, wire: Wire) -> None:
        self._service, self._wire = service, wire

    def disconnect(self) -> Wire | None:
        """Refuse all further verbs; the lane, for its owner to close."""
        self.memory.close(lambda: SessionClosedError("the session was closed while this transfer waited for memory"))
        self._files.close(lambda: SessionClosedError("the session was closed while this transfer waited for its turn"))
        wire, self._wire = self._wire, None
        return wire

    @asynccontextmanager
    async def file(self) -> AsyncIterator[None]:
        """A transfer's turn to have its file open: thousands at once do not need more descriptors than there may be."""
        if not self._files.take():
            await self._files.wait()
        try:
            yield
        finally:
            self._files.give_back()

    @property
    def is_open(self) -> bool:
        return self._wire is not None

    @property
    def wire(self) -> Wire:
        self.require_open()
        assert self._wire is not None
        return self._wire

    def require_open(self) -> None:
        """For verbs that do something before their first request."""
        if self._wire is None:
            msg = "the session is not open: use it inside 'async with Session() as session', or between open() and aclose()"
            raise SessionClosedError(msg)

    @property
    def service(self) -> Service:
        """The service. Known before opening only where an argument or the environment names it."""
        if self._service is None:
            msg = "the session is not open: which service it talks to is settled when it opens"
            raise SessionClosedError(msg)
        return self._service

    @property
    def bucket_names(self) -> BucketNames:
        return self._service.bucket_names if self._service else BucketNames()
