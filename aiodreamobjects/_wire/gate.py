"""What every request of a session passes, by whichever lane it goes: places, pace, retries, the clock, the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from aiodreamobjects._concurrency import BytePace, Crowd, Places, RateLimiter, finish
from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._errors import ConnectionFailedError, CredentialsError, SessionClosedError
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._service import Service
from aiodreamobjects._wire.credentials import CredentialSource
from aiodreamobjects._wire.retry import Retrier
from aiodreamobjects._wire.signing import Signer

REFRESH_SECONDS = 60.0
"""How often expiring credentials are looked at. botocore renews them 15 minutes before their end."""

DOCUMENT_SLOWNESS = 20
"""A service may write a document as it works, of DeleteObjects a line a key: it may be that much slower than a body."""

_log = logging.getLogger("aiodreamobjects")


class Gate:
    """A session's limits and what it has learnt, shared by its lanes. Made on the loop that uses it."""

    def __init__(
        self, service: Service, credentials: CredentialSource, limits: Limits, timeouts: Timeouts, retry: Retry
    ) -> None:
        self.service, self.limits, self.timeouts = service, limits, timeouts
        # A streamed body holds a connection and a place of its own, so that a pipe from one object to another
        # cannot wait for itself.
        self.requests = Places(limits.requests)
        self.streams = Places(limits.requests)
        self.retrier = Retrier(retry, Crowd(self.requests, limits.requests), self)
        self.clock_offset = 0.0
        self.closed = False
        self.sent = self.bytes_sent = self.bytes_received = 0
        self.paces = Paces(_pace(limits.upload_bytes_per_second), _pace(limits.download_bytes_per_second))
        self.has_pace = limits.requests_per_second is not None
        self.has_expiring_credentials = credentials.expires
        self._pace = RateLimiter(limits.requests_per_second) if limits.requests_per_second else None
        self._waits: set[anyio.CancelScope] = set()
        self._credentials = credentials
        self._signer = Signer(credentials.current, service.region)
        self._refresher = asyncio.create_task(self._keep_fresh()) if credentials.expires else None

    async def aclose(self) -> None:
        """End every wait with SessionClosedError."""
        self.closed = True
        self.requests.close(closed_meanwhile)
        self.streams.close(closed_meanwhile)
        for scope in self._waits:
            scope.cancel()
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            refresher.cancel()
            await finish(_ended(refresher))

    async def enter(self, places: Places) -> None:
        """Take a place among the requests or the streams, which is then to be given back."""
        if not places.take():
            try:
                async with asyncio.timeout(self.timeouts.pool):
                    await places.wait()
            except TimeoutError as error:
                msg = (
                    f"no place became free within Timeouts.pool={self.timeouts.pool:g} s: "
                    f"Limits.requests={self.limits.requests} are in use"
                )
                raise ConnectionFailedError(msg, request_sent=False) from error

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

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait that the session's closing ends, with SessionClosedError."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
        if self.closed:
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
        return time.time() + self.clock_offset

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
