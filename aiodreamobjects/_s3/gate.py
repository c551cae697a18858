"""What all requests of a session share: places, pace, retries, the clock, the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from aiodreamobjects._concurrency import finish
from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._errors import (
    ConnectionFailedError,
    CredentialsError,
    SessionClosedError,
)
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Waits
from aiodreamobjects._limits import BytePace, Crowd, Places, RateLimiter, Stalled
from aiodreamobjects._s3.credentials import CredentialSource
from aiodreamobjects._s3.retry import Retrier
from aiodreamobjects._s3.signing import Signer
from aiodreamobjects._service import Digests, Feature, Service

if TYPE_CHECKING:
    from aiodreamobjects._s3.record import CallWatch

REFRESH_SECONDS = 60.0
"""How often expiring credentials are checked. botocore renews them 15 minutes before they expire."""

DOCUMENT_SLOWNESS = 20
"""How much slower than a body a document may arrive. A service writes some of them as it works, a line for each key."""


@dataclass(slots=True)
class Departure:
    """The state of a clean-up, whose requests are sent even while the session closes: they end or complete an upload."""

    has_left: bool = False
    """Whether any of its requests was sent."""
    is_tried_again: bool = True
    """Whether to retry a failed request although the caller was cancelled."""
    is_cut: bool = False
    """Whether the caller was cancelled."""

    def cut(self) -> bool:
        """Note that the caller was cancelled. Return whether the clean-up can be dropped, since it has sent nothing yet."""
        self.is_cut = True
        return not self.has_left


DEPARTURE: ContextVar[Departure | None] = ContextVar("aiodreamobjects_departure", default=None)
"""The clean-up that this task works for, if any."""

_log = logging.getLogger("aiodreamobjects")


class Gate:
    """A session's limits and what it has learnt. Made on the loop that uses it."""

    def __init__(
        self,
        service: Service,
        credentials: CredentialSource | None,
        limits: Limits,
        timeouts: Timeouts,
        retry: Retry,
        *,
        clock: Callable[[], float] = time.time,
        watch: CallWatch | None = None,
    ) -> None:
        """Make the gate. Without ``credentials`` the session is anonymous: it signs nothing."""
        self.service = service
        """The service, with the features that it turned out to lack."""
        self.limits, self.timeouts, self.clock = limits, timeouts, clock
        # Streamed bodies have places of their own. With one kind of place, a pipe from one object to another could wait
        # for itself.
        self.requests = Places(limits.requests, timeouts.pool)
        self.streams = Places(limits.requests, timeouts.pool)
        self.requests.queue.moved = self.moved
        self.streams.queue.moved = lambda: self.bytes_streamed
        self.clock_offset = 0.0
        self.has_seen_md5 = False
        """Whether the ETag of any stored object was its MD5."""
        self.is_closing = self.closed = False
        self.sent = self.bytes_sent = self.bytes_received = self.bytes_streamed = 0
        self.movements: list[Callable[[], int]] = []
        """Figures that change while bytes move on a connection."""
        self.calls: defaultdict[str, int] = defaultdict(int)
        """How many calls there were, by operation."""
        self.retries: defaultdict[str, int] = defaultdict(int)
        """How many attempts were repeated, by the error code, or else the class of the error."""
        self.waited = 0.0
        """The seconds that all requests and streams waited for a place or for their pace."""
        self.watch = watch
        self.retrier = Retrier(retry, Crowd(self.requests, limits.requests), self)
        if watch is not None:
            self.retrier.crowd.on_change = watch.throttled
        self.paces = Paces(_pace(limits.upload_bytes_per_second), _pace(limits.download_bytes_per_second))
        self.has_pace = limits.requests_per_second is not None
        self.is_anonymous = credentials is None
        self.has_expiring_credentials = credentials is not None and credentials.expires
        self._pace = RateLimiter(limits.requests_per_second) if limits.requests_per_second else None
        self._waits: dict[anyio.CancelScope, bool] = {}
        """The waits under way, and whether each belongs to a clean-up."""
        self._credentials = credentials
        self._signer: Signer | None = None
        self._refresher: asyncio.Task[None] | None = None
        if credentials is not None and credentials.expires:
            self._refresher = asyncio.create_task(_keep_fresh(credentials))

    def note_lack(self, feature: Feature, advice: str) -> None:
        """Remember for the rest of the session that the service turned out to lack a feature."""
        if feature not in self.service.unsupported:
            self.service = replace(self.service, unsupported={**self.service.unsupported, feature: advice})

    def note_digests(self, digests: Digests) -> None:
        """Remember for the rest of the session which ETags turned out to be digests."""
        self.service = replace(self.service, digests=digests)

    def stop(self) -> None:
        """Make every wait and every later request raise SessionClosedError, except those of clean-ups."""
        self.is_closing = True
        self.requests.close(closed_meanwhile)
        self.streams.close(closed_meanwhile)
        for scope, is_cleanup in self._waits.items():
            if not is_cleanup:
                scope.cancel()

    async def aclose(self) -> None:
        """Make every wait and every later request raise SessionClosedError, also those of clean-ups."""
        self.stop()
        self.closed = True
        for scope in self._waits:
            scope.cancel()
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            refresher.cancel()
            await finish(_ended(refresher))

    def abandon(self) -> None:
        """Stop the refresher of a session that nobody closed."""
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
        """Take a place among the requests or the streams. The caller must give it back."""
        if places.take():
            return
        try:
            await places.wait()
        except Stalled as error:
            raise self._stalled(places) from error
        except SessionClosedError:
            if self.closed or DEPARTURE.get() is None:
                raise
            places.take_beyond()  # a clean-up does not wait: those who hold the places may wait for a silent service

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

    async def timed(self, wait: Awaitable[None], waits: Waits | None = None) -> None:
        """Await a place or a turn. Count the time."""
        began = time.monotonic()
        try:
            await wait
        finally:
            waited = time.monotonic() - began
            self.waited += waited
            if waits is not None:
                waits.waited_place += waited

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[None]:
        if not self.streams.take():
            await self.timed(self.enter(self.streams))
        try:
            yield
        finally:
            self.streams.give_back()

    async def keep_pace(self) -> None:
        """Wait for this request's turn under ``Limits.requests_per_second``."""
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
        """Run a wait. It ends with SessionClosedError if the session closes meanwhile."""
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
    def credentials(self) -> Credentials | None:
        return self._credentials.current if self._credentials is not None else None

    async def renew(self, refused: Credentials | None) -> bool:
        """Replace credentials that the service refused. Return whether there are new ones."""
        if self._credentials is None or refused is None:
            return False
        with self.waiting():
            return await self._credentials.renew(refused)

    def correct_clock(self, offset: float) -> None:
        self.clock_offset = offset

    def now(self) -> float:
        """Return the service's time in seconds since the epoch: our clock, corrected by the known difference."""
        return self.clock() + self.clock_offset

    async def fresh_signer(self) -> Signer:
        """Return the signer for a request that is about to leave. Renew credentials that are about to expire."""
        if self._credentials is not None and self._credentials.expires:
            with self.waiting():
                await self._credentials.refresh()
        return self.signer()

    def signer(self) -> Signer:
        """Return a signer with the current credentials. Raise ValueError if the session is anonymous."""
        if self._credentials is None:
            msg = "this session is anonymous, so it has no keys to sign with: use url() for public objects, or a Session with keys"
            raise ValueError(msg)
        if self._signer is None or self._signer.credentials is not self._credentials.current:
            self._signer = Signer(self._credentials.current, self.service.region)
        return self._signer


async def _keep_fresh(credentials: CredentialSource) -> None:
    """Renew credentials in time. Presigning cannot wait, and needs live ones."""
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        try:
            await credentials.refresh()
        except CredentialsError as error:  # the next request that needs them raises it again
            _log.warning("%s", error)


def _pace(bytes_per_second: float | None) -> BytePace | None:
    return None if bytes_per_second is None else BytePace(bytes_per_second)


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


def closed_meanwhile() -> SessionClosedError:
    return SessionClosedError("the session was closed while this request was under way")
