"""An S3 service inside the process, for your own tests. It can inject faults.

Put ``pytest_plugins = ["aiodreamobjects.testing"]`` into a ``conftest.py``. Each test then has the fixtures
``dream_service``, a new ``MemoryService``; ``dream_session``, a session with it; and ``dream_bucket``, a bucket that
exists. With other test runners, create a ``MemoryService()`` yourself.

``python -m aiodreamobjects.testing`` serves one to other processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal

from aiodreamobjects._bucket import Bucket
from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._memory.codes import Code
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.engine import Engine
from aiodreamobjects._memory.faults import Cut, Fault, FaultAction, Pause, Refuse
from aiodreamobjects._memory.s3 import Request, Verb
from aiodreamobjects._memory.server import Served, serve
from aiodreamobjects._memory.store import Clock, Store
from aiodreamobjects._memory.transport import MemoryTransport
from aiodreamobjects._s3.credentials import StaticCredentials
from aiodreamobjects._s3.gate import Gate
from aiodreamobjects._s3.opening import cold_opener, watch_of
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._service import Service
from aiodreamobjects._session import Session

if TYPE_CHECKING:
    from aiodreamobjects._trace import Observer

__all__ = ["Clock", "Fault", "MemoryService", "Request", "Served", "Verb"]

REQUESTS_KEPT = 10_000

_ENDPOINT = "https://memory.invalid"  # no resolver knows a name in .invalid (RFC 2606)
_CREDENTIALS = Credentials("memory", "not-a-secret")
_QUICK_RETRY = Retry(base=0.001, cap=0.01)


class MemoryService:
    """Keep buckets, objects and versions in memory, by the rules of Amazon S3 and Ceph RGW.

    All its sessions share one state, also on different event loops one after another. Unless you serve it, it opens no
    socket and no file. ``service`` is the kind of service it stands for, such as ``dream.US_EAST_5``: it then has that
    service's URLs and bucket names, and refuses what that service refuses. ``clock`` gives the time, also to its
    sessions. The default is the real time, until you call ``service.clock.advance(timedelta)``.

    A fault applies to requests that match: ``verb`` is the request's name, or ``"*"`` for all; ``bucket`` and ``key``
    are exact, or use the wildcards of ``fnmatch``. The key of a listing is its prefix, that of a setting its name.
    ``times`` is how often it applies; None means always. Faults apply in this order: delays, which add up; broken
    connections; refusals; lost replies; cut bodies. Of several faults of one kind, the oldest applies until it is used up.
    """

    def __init__(
        self,
        name: str = "memory",
        region: str = "us-east-1",
        *,
        service: Service | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.service = service or Service(name, _ENDPOINT, region, is_known=True)
        """The description of the service that its sessions have."""
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)
        dialect = Dialect.of(self.service, _CREDENTIALS.access_key, _CREDENTIALS.secret_key)
        self._engine = Engine(Store(dialect, clock), self._requests.append)

    def __repr__(self) -> str:
        return f"<MemoryService {self.service.name!r}, {len(self._engine.store.buckets)} buckets>"

    @property
    def clock(self) -> Clock:
        """Return the clock. It dates what is stored and decides what has expired."""
        return self._engine.store.clock

    def session(
        self,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        observe: Observer | None = None,
    ) -> Session:
        """Return a session with this service. Open it like any other. It does not read the environment.

        The default ``retry`` makes eight attempts, as always, but waits only milliseconds between them.
        """
        return _MemorySession(self, limits or Limits(), timeouts or Timeouts(), retry or _QUICK_RETRY, observe)

    def serve(self, port: int = 0, *, tls: bool = False) -> AbstractAsyncContextManager[Served]:
        """Serve the same state on 127.0.0.1 to any S3 client: ``async with service.serve() as served``.

        It runs on this event loop until you leave the block. ``Served`` has the endpoint, the keys, and with ``tls`` the
        certificate to trust. Port 0 picks a free port. Faults apply here too, but no ``Timeouts`` ends a delay.

        Raises OSError for a port that is taken, and ModuleNotFoundError for ``tls`` without the package ``trustme``.
        """
        return serve(self._engine, port, tls=tls)

    # Faults

    def fail(
        self,
        verb: Verb | Literal["*"],
        code: str,
        *,
        status: int | None = None,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Refuse requests with an S3 error code. A code that is not S3's needs a ``status``.

        A fault for ``delete_objects`` refuses the whole request. With ``key``, it refuses only these keys.
        """
        if status is None and code not in Code.__members__:
            msg = f"the status of {code!r} is not known: it is not an S3 error code; give status="
            raise ValueError(msg)
        return self._tell(Refuse(status or Code[code].value[0], code), verb, bucket, key, times)

    def break_connection(
        self,
        verb: Verb | Literal["*"],
        *,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Break the connection before the request is handled. The last attempt raises ConnectionFailedError."""
        return self._tell(Cut(None, is_done=False), verb, bucket, key, times)

    def lose_reply(
        self,
        verb: Verb | Literal["*"],
        *,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Handle the request, then break the connection. The session cannot know that it was handled."""
        return self._tell(Cut(None), verb, bucket, key, times)

    def cut_body(
        self, after_bytes: int, *, bucket: str | None = None, key: str | None = None, times: int | None = 1
    ) -> Fault:
        """Break the connection after this many bytes of a longer body. The session asks for the rest.

        It raises IncompleteBodyError if no more arrives.
        """
        if not isinstance(after_bytes, int) or isinstance(after_bytes, bool) or after_bytes < 0:
            msg = f"after_bytes {after_bytes!r} must be a number of bytes, 0 or more"
            raise ValueError(msg)
        return self._tell(Cut(after_bytes), "get_object", bucket, key, times)

    def delay(
        self,
        verb: Verb | Literal["*"],
        by: float | asyncio.Event,
        *,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Hold requests for this many seconds, or until the event is set, before they are handled.

        A wait longer than ``Timeouts.read`` raises ConnectionFailedError. The request is then not handled.
        """
        if not isinstance(by, asyncio.Event) and not (isinstance(by, int | float) and by >= 0):
            msg = f"by {by!r} must be a number of seconds, 0 or more, or an asyncio.Event"
            raise ValueError(msg)
        return self._tell(Pause(by), verb, bucket, key, times)

    def stop_faults(self) -> None:
        """Stop all faults."""
        self._engine.faults.stop()

    def _tell(
        self, action: FaultAction, verb: Verb | Literal["*"], bucket: str | None, key: str | None, times: int | None
    ) -> Fault:
        return self._engine.faults.tell(Fault(action, verb, bucket, key, times))

    # Requests

    @property
    def requests(self) -> tuple[Request, ...]:
        """Return the last 10,000 attempts that arrived from any session or client, the oldest first."""
        return tuple(self._requests)

    def forget_requests(self) -> None:
        """Empty ``requests``."""
        self._requests.clear()

    # Sessions

    def _open_s3(self, limits: Limits, timeouts: Timeouts, retry: Retry, observe: Observer | None) -> S3:
        clock = self.clock
        gate = Gate(
            self.service,
            StaticCredentials(_CREDENTIALS),
            limits,
            timeouts,
            retry,
            clock=lambda: clock.now().timestamp(),
            watch=watch_of(observe, self.service),
        )
        transport = MemoryTransport(self._engine, self.service.name, timeouts=timeouts, paces=gate.paces)
        return S3(gate, transport, cold_opener(None, _CREDENTIALS))


class _MemorySession(Session):
    def __init__(
        self, memory: MemoryService, limits: Limits, timeouts: Timeouts, retry: Retry, observe: Observer | None
    ) -> None:
        super().__init__(
            access_key=_CREDENTIALS.access_key,
            secret_key=_CREDENTIALS.secret_key,
            service=memory.service,
            limits=limits,
            timeouts=timeouts,
            retry=retry,
            observe=observe,
        )
        self._memory, self._settings = memory, (limits, timeouts, retry)
        self._runtime.stay_here(
            "a session of a MemoryService has no recipe: its service is in this process. Use a Session with service.serve()"
        )

    async def _connect(self) -> tuple[Service, S3]:
        return self._memory.service, self._memory._open_s3(*self._settings, self._observe)  # noqa: SLF001 - its own service


try:
    import pytest
except ModuleNotFoundError:  # for other test runners, MemoryService is all there is
    pass
else:
    __all__ += ["dream_bucket", "dream_service", "dream_session", "dreamobjects"]

    _BUCKET = "dream-bucket"

    @pytest.fixture
    def dream_service() -> MemoryService:
        """Return a new service."""
        return MemoryService()

    @pytest.fixture
    def dream_session(dream_service: MemoryService) -> Session:
        """Return a session with it. The test opens it: ``async with dream_session``."""
        return dream_service.session()

    @pytest.fixture
    def dream_bucket(dream_service: MemoryService, dream_session: Session) -> Bucket:
        """Return a bucket that exists. Use it while ``dream_session`` is open. No request created it."""
        dream_service._engine.store.create(_BUCKET)  # noqa: SLF001 - its own service
        return dream_session.bucket(_BUCKET)

    @pytest.fixture
    def dreamobjects() -> MemoryService:
        """Return a new service: the older name of ``dream_service``."""
        return MemoryService()


if __name__ == "__main__":
    from aiodreamobjects._memory.command import main

    raise SystemExit(main(MemoryService()._engine))  # noqa: SLF001 - its own service
