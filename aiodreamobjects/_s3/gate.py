"""What every request of a session passes: places, pace, retries, the clock, the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace

import anyio

from aiodreamobjects._concurrency import finish
from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._errors import ConnectionFailedError, CredentialsError, SessionClosedError
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._limits import BytePace, Crowd, Places, RateLimiter, Stalled
from aiodreamobjects._s3.credentials import CredentialSource
from aiodreamobjects._s3.retry import Retrier
from aiodreamobjects._s3.signing import Signer
from aiodreamobjects._service import Digests, Feature, Service

REFRESH_SECONDS = 60.0
"""How often expiring credentials are looked at. botocore renews them 15 minutes before their end."""

DOCUMENT_SLOWNESS = 20
"""A service may write a document as it works, of DeleteObjects a line a key: it may be that much slower than a body."""


@dataclass(slots=True)
class Departure:
    """Of requests that must be made even while the session closes: they end or complete what was begun."""

    has_left: bool = False
    """Whether one of them was sent."""
    is_tried_again: bool = True
    """Whether one that fails is tried again although its caller was cancelled."""
    is_cut: bool = False
    """Whether the caller was cancelled."""

    def cut(self) -> bool:
        """Note that the caller was cancelled; return whether nothing was sent yet, so that nothing need be."""
        self.is_cut = True
        return not self.has_left


DEPARTURE: ContextVar[Departure | None] = ContextVar("aiodreamobjects_departure", default=None)
"""Of the clean-up that this task works for."""

_log = logging.getLogger("aiodreamobjects")


class Gate:
    """A session's limits and what it has learnt. Made on the loop that uses it."""

    def __init__(
        self,
        service: Service,
        credentials: CredentialSource,
        limits: Limits,
        timeouts: Timeouts,
        retry: Retry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        """With what it turned out to lack."""
        self.limits, self.timeouts, self.clock = limits, timeouts, clock
        # A streamed body holds a connection and a place of its own, so that a pipe from one object to another
        # cannot wait for itself.
        self.requests = Places(limits.requests, timeouts.pool)
        self.streams = Places(limits.requests, timeouts.pool)
        self.requests.queue.moved = self.moved
        self.streams.queue.moved = lambda: self.bytes_streamed
        self.retrier = Retrier(retry, Crowd(self.requests, limits.requests), self)
        self.clock_offset = 0.0
        self.has_seen_md5 = False
        """Whether an ETag was the digest of what was stored."""
        self.is_closing = self.closed = False
        self.sent = self.bytes_sent = self.bytes_received = self.bytes_streamed = 0
        self.movements: list[Callable[[], int]] = []
        """What connections know of bytes under way: figures that change as these move."""
        self.paces = Paces(_pace(limits.upload_bytes_per_second), _pace(limits.download_bytes_per_second))
        self.has_pace = limits.requests_per_second is not None
        self.has_expiring_credentials = credentials.expires
        self._pace = RateLimiter(limits.requests_per_second) if limits.requests_per_second else None
        self._waits: dict[anyio.CancelScope, bool] = {}
        """Those under way, and whether each is a clean-up's."""
        self._credentials = credentials
        self._signer = Signer(credentials.current, service.region)
        self._refresher = asyncio.create_task(self._keep_fresh()) if credentials.expires else None

    def note_lack(self, feature: Feature, advice: str) -> None:
        """Remember for the rest of the session that the service turned out to lack a feature."""
        if feature not in self.service.unsupported:
            self.service = replace(self.service, unsupported={**self.service.unsupported, feature: advice})

    def note_digests(self, digests: Digests) -> None:
        """Remember for the rest of the session which ETags turned out to be digests."""
        self.service = replace(self.service, digests=digests)

    def stop(self) -> None:
        """Refuse every request from now on, and end every wait, with SessionClosedError; except those of clean-ups."""
        self.is_closing = True
        self.requests.close(closed_meanwhile)
        self.streams.close(closed_meanwhile)
        for scope, is_cleanup in self._waits.items():
            if not is_cleanup:
                scope.cancel()

    async def aclose(self) -> None:
        """End every wait with SessionClosedError, those of clean-ups too."""
        self.stop()
        self.closed = True
        for scope in self._waits:
            scope.cancel()
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            refresher.cancel()
            await finish(_ended(refresher))

    def abandon(self) -> None:
        """End what works on its own, for a session that nobody closed."""
        if self._refresher is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._refresher.cancel()

    def leave(self) -> None:
        """Note that a request is about to be sent."""
        self.sent += 1
        departure = DEPARTURE.get()
        if departure is not None:
            departure.has_left = True

    def moved(self) -> int:
        """Return a figure that changes as long as bytes of any request or reply move."""
        return self.sent + self.bytes_received + sum(moved() for moved in self.movements)

    async def enter(self, places: Places) -> None:
        """Take a place among the requests or the streams, which is then to be given back."""
        if places.take():
            return
        try:
            await places.wait()
        except Stalled as error:
            raise self._stalled(places) from error
        except SessionClosedError:
            if self.closed or DEPARTURE.get() is None:
                raise
            places.take_beyond()  # who holds the others may be waiting for a silent service

    def _stalled(self, places: Places) -> ConnectionFailedError:
        limits, patience = self.limits, self.timeouts.pool
        why = "by requests that the service does not answer"
        if places is self.streams:
            why = "by open bodies that nobody reads: leave the 'async with' of those that are not read to their end"
        msg = (
            f"no place became free within Timeouts.pool={patience:g} s: "
            f"Limits.requests={limits.requests} are in use, {why}"
        )
        return ConnectionFailedError(msg, request_sent=False)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[None]:
        await self.enter(self.streams)
        try:
            yield
        finally:
            self.streams.give_back()

    async def keep_pace(self) -> None:
        """Wait for this request's turn, where ``requests_per_second`` spreads them."""
        if self._pace is not None:
            with self.waiting():
                await self._pace.wait()

    async def sleep(self, seconds: float) -> None:
        with self.waiting():
            await anyio.sleep(seconds)
        departure = DEPARTURE.get()
        if departure is not None and departure.is_cut and not departure.is_tried_again:
            raise asyncio.CancelledError

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait that the session's closing ends, with SessionClosedError."""
        is_cleanup = DEPARTURE.get() is not None
        self._require_open(is_cleanup=is_cleanup)
        with anyio.CancelScope() as scope:
            self._waits[scope] = is_cleanup
            try:
                yield
            finally:
                del self._waits[scope]
        self._require_open(is_cleanup=is_cleanup)

    def _require_open(self, *, is_cleanup: bool) -> None:
        if self.closed or (self.is_closing and not is_cleanup):
            raise closed_meanwhile()

    @property
    def credentials(self) -> Credentials:
        return self._credentials.current

    async def renew(self, refused: Credentials) -> bool:
        """The service does not take these credentials any more: whether there are others."""
        with self.waiting():
            return await self._credentials.renew(refused)

    def correct_clock(self, offset: float) -> None:
        self.clock_offset = offset

    def now(self) -> float:
        """The service's idea of the time, as far as it is known to differ from ours: seconds since the epoch."""
        return self.clock() + self.clock_offset

    async def fresh_signer(self) -> Signer:
        """For a request about to leave: its credentials are renewed first if they are about to end."""
        if self._credentials.expires:
            with self.waiting():
                await self._credentials.refresh()
        return self.signer()

    def signer(self) -> Signer:
        if self._signer.credentials is not self._credentials.current:
            self._signer = Signer(self._credentials.current, self.service.region)
        return self._signer

    async def _keep_fresh(self) -> None:
        """Renew in time, so that presigning, which cannot wait, has live credentials too."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._credentials.refresh()
            except CredentialsError as error:  # a request that needs them will raise it
                _log.warning("%s", error)


def _pace(bytes_per_second: float | None) -> BytePace | None:
    return None if bytes_per_second is None else BytePace(bytes_per_second)


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


def closed_meanwhile() -> SessionClosedError:
    return SessionClosedError("the session was closed while this request was under way")
