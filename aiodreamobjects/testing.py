"""For your own tests: an S3 service inside the process, which can be told what is to go wrong.

In a ``conftest.py``: ``pytest_plugins = ["aiodreamobjects.testing"]``. The fixture ``dream_service`` is then a
``MemoryService`` of each test's own, ``dream_session`` a session with it, and ``dream_bucket`` a bucket of that session.
Other test runners make a service by ``MemoryService()``.

``python -m aiodreamobjects.testing`` serves one to other processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import Literal

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
from aiodreamobjects._s3.opening import cold_opener
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._service import Service
from aiodreamobjects._session import Session

__all__ = ["Clock", "Fault", "MemoryService", "Request", "Served", "Verb"]

REQUESTS_KEPT = 10_000

_ENDPOINT = "https://memory.invalid"  # no resolver knows a name in .invalid (RFC 2606)
_CREDENTIALS = Credentials("memory", "not-a-secret")
_QUICK_RETRY = Retry(base=0.001, cap=0.01)


class MemoryService:
    """An S3 service that lives in memory. It knows buckets, objects and versions as Amazon S3 and Ceph RGW know them.

    Its state is shared by all sessions it makes, also on different event loops one after another, and is gone with it.
    Unless it is served, it opens no socket and no file. ``service`` says what it is to be taken for, such as
    ``dream.US_EAST_5``: its URLs are then made so, the bucket names are checked so, and what that service refuses by
    design is refused. ``clock`` gives the time, also to its sessions. By default that is the real time, until
    ``service.clock.advance(timedelta)`` puts it forward.

    Faults strike a request in this order: delays, which add up; broken connections; refusals; lost replies; cut
    bodies. If there are several of a kind, the one that was told first strikes, until it is over. Each is told by the
    request's name, or ``"*"`` for any; by ``bucket`` and ``key``, exact or with the wildcards of ``fnmatch`` (of a
    listing the key is its prefix, of a setting its name); and by how many ``times`` it strikes, None for ever.
    """

    def __init__(
        self,
        name: str = "memory",
        region: str = "us-east-1",
        *,
        service: Service | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.service = service or Service(name, _ENDPOINT, region)
        """What its sessions take it for."""
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)
        dialect = Dialect.of(self.service, _CREDENTIALS.access_key, _CREDENTIALS.secret_key)
        self._engine = Engine(Store(dialect, clock), self._requests.append)

    def __repr__(self) -> str:
        return f"<MemoryService {self.service.name!r}, {len(self._engine.store.buckets)} buckets>"

    @property
    def clock(self) -> Clock:
        """Return the clock, which dates what is stored and decides what has expired."""
        return self._engine.store.clock

    def session(
        self, *, limits: Limits | None = None, timeouts: Timeouts | None = None, retry: Retry | None = None
    ) -> Session:
        """Return a session with this service, to be opened like any other. It does not read the environment.

        ``retry`` makes eight attempts, as always, but waits for milliseconds only, unless you give another.
        """
        return _MemorySession(self, limits or Limits(), timeouts or Timeouts(), retry or _QUICK_RETRY)

    def serve(self, port: int = 0, *, tls: bool = False) -> AbstractAsyncContextManager[Served]:
        """Serve the same service on 127.0.0.1, to any S3 client: ``async with service.serve() as served``.

        It runs on this event loop until the block is left. ``Served`` has its endpoint, the keys, and with ``tls`` the
        authority to trust. Port 0 is a free one. Faults strike here too, but a delay has no ``Timeouts`` to end it.

        Raises OSError for a port that is taken, and ModuleNotFoundError for ``tls`` without the package ``trustme``.
        """
        return serve(self._engine, port, tls=tls)

    # What goes wrong

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
        """Refuse requests with an S3 error code. ``status`` is needed for a code that is not S3's.

        ``delete_objects`` is refused as a whole, or with ``key`` only these keys of it.
        """
        if status is None and code not in Code.__members__:
            msg = f"the status of {code!r} is not known here: give status="
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
        """Break the connection before the request is carried out: ConnectionFailedError after the last attempt."""
        return self._tell(Cut(None, is_done=False), verb, bucket, key, times)

    def lose_reply(
        self,
        verb: Verb | Literal["*"],
        *,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Break the connection when the request is carried out: the session cannot know that it was."""
        return self._tell(Cut(None), verb, bucket, key, times)

    def cut_body(
        self, after_bytes: int, *, bucket: str | None = None, key: str | None = None, times: int | None = 1
    ) -> Fault:
        """Break the connection after so many bytes of a body that is longer: IncompleteBodyError if no more arrive."""
        if not isinstance(after_bytes, int) or isinstance(after_bytes, bool) or after_bytes < 0:
            msg = f"after_bytes {after_bytes!r} must be a number of bytes"
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
        """Hold requests for so many seconds, or until an event is set, before they are carried out.

        A wait longer than ``Timeouts.read`` is ConnectionFailedError, and then nothing is carried out.
        """
        if not isinstance(by, asyncio.Event) and not (isinstance(by, int | float) and by >= 0):
            msg = f"by {by!r} must be a number of seconds or an asyncio.Event"
            raise ValueError(msg)
        return self._tell(Pause(by), verb, bucket, key, times)

    def stop_faults(self) -> None:
        """Let everything go well from here on."""
        self._engine.faults.stop()

    def _tell(
        self, action: FaultAction, verb: Verb | Literal["*"], bucket: str | None, key: str | None, times: int | None
    ) -> Fault:
        return self._engine.faults.tell(Fault(action, verb, bucket, key, times))

    # What was asked

    @property
    def requests(self) -> tuple[Request, ...]:
        """Return the last 10,000 attempts that arrived, by whichever session or client, the oldest first."""
        return tuple(self._requests)

    def forget_requests(self) -> None:
        """Empty ``requests``."""
        self._requests.clear()

    # Sessions

    def _open_s3(self, limits: Limits, timeouts: Timeouts, retry: Retry) -> S3:
        clock = self.clock
        gate = Gate(
            self.service,
            StaticCredentials(_CREDENTIALS),
            limits,
            timeouts,
            retry,
            clock=lambda: clock.now().timestamp(),
        )
        transport = MemoryTransport(self._engine, self.service.name, timeouts=timeouts, paces=gate.paces)
        return S3(gate, transport, cold_opener(None, _CREDENTIALS))


class _MemorySession(Session):
    def __init__(self, memory: MemoryService, limits: Limits, timeouts: Timeouts, retry: Retry) -> None:
        super().__init__(
            access_key=_CREDENTIALS.access_key,
            secret_key=_CREDENTIALS.secret_key,
            service=memory.service,
            limits=limits,
            timeouts=timeouts,
            retry=retry,
        )
        self._memory, self._settings = memory, (limits, timeouts, retry)

    async def _connect(self) -> tuple[Service, S3]:
        return self._memory.service, self._memory._open_s3(*self._settings)  # noqa: SLF001 - its own service


try:
    import pytest
except ModuleNotFoundError:  # for other test runners, MemoryService is all there is
    pass
else:
    __all__ += ["dream_bucket", "dream_service", "dream_session", "dreamobjects"]

    _BUCKET = "dream-bucket"

    @pytest.fixture
    def dream_service() -> MemoryService:
        """A service of this test's own."""
        return MemoryService()

    @pytest.fixture
    def dream_session(dream_service: MemoryService) -> Session:
        """A session with it, which the test opens: ``async with dream_session``."""
        return dream_service.session()

    @pytest.fixture
    def dream_bucket(dream_service: MemoryService, dream_session: Session) -> Bucket:
        """A bucket that exists, for use while ``dream_session`` is open. No request has made it."""
        dream_service._engine.store.create(_BUCKET)  # noqa: SLF001 - its own service
        return dream_session.bucket(_BUCKET)

    @pytest.fixture
    def dreamobjects() -> MemoryService:
        """A service of this test's own, by the name that this fixture had first."""
        return MemoryService()


if __name__ == "__main__":
    from aiodreamobjects._memory.command import main

    raise SystemExit(main(MemoryService()._engine))  # noqa: SLF001 - its own service
