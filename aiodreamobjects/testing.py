"""For your own tests: an S3 service inside the process, which can be told what is to go wrong.

In a ``conftest.py``: ``from aiodreamobjects.testing import dreamobjects``. The fixture is a ``MemoryService`` of each
test's own. Other test runners make one by ``MemoryService()``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal

from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._service import Service
from aiodreamobjects._session import Session
from aiodreamobjects._wire.contract import Wire
from aiodreamobjects._wire.credentials import StaticCredentials
from aiodreamobjects._wire.gate import Gate
from aiodreamobjects._wire.memory.faults import (
    BreakConnection,
    CutBody,
    Delay,
    Effect,
    Fault,
    Faults,
    LoseReply,
    Refuse,
    Request,
    Verb,
)
from aiodreamobjects._wire.memory.store import STATUS_OF_CODE, Store
from aiodreamobjects._wire.memory.wire import MemoryWire

__all__ = ["Fault", "MemoryService", "Request", "Verb"]

REQUESTS_KEPT = 10_000

_ENDPOINT = "https://memory.invalid"  # no resolver knows a name in .invalid (RFC 2606)
_CREDENTIALS = Credentials("memory", "not-a-secret")
_QUICK_RETRY = Retry(base=0.001, cap=0.01)


class MemoryService:
    """An S3 service that lives in memory. It knows buckets, objects and versions as Amazon S3 and Ceph RGW know them.

    Its state is shared by all sessions it makes, also on different event loops one after another, and is gone with it.
    It opens no socket and no file. ``service`` tells what it is to be taken for, such as ``dream.US_EAST_5``: its URLs
    are then made so, the bucket names are checked so, and what that service refuses by design is refused.

    Faults strike a request in this order: delays, which add up; broken connections; refusals; lost replies; cut
    bodies. Of several of a kind, the one that was told first strikes, until it is over. Each is told by the request's
    name, or ``"*"`` for any; by ``bucket`` and ``key``, exact or with the wildcards of ``fnmatch`` (of a listing the
    key is its prefix, of a setting its name); and by how many ``times`` it strikes, None for ever.
    """

    def __init__(self, name: str = "memory", region: str = "us-east-1", *, service: Service | None = None) -> None:
        self.service = service or Service(name, _ENDPOINT, region)
        """What its sessions take it for."""
        self._store, self._faults = Store(), Faults()
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)

    def __repr__(self) -> str:
        return f"<MemoryService {self.service.name!r}, {len(self._store.buckets)} buckets>"

    def session(
        self, *, limits: Limits | None = None, timeouts: Timeouts | None = None, retry: Retry | None = None
    ) -> Session:
        """A session with this service, to be opened as any other. It reads neither the environment nor ``~/.aws``.

        ``retry`` makes eight attempts, as always, but waits for milliseconds only, unless you give another.
        """
        return _MemorySession(self, limits or Limits(), timeouts or Timeouts(), retry or _QUICK_RETRY)

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
        if status is None and code not in STATUS_OF_CODE:
            msg = f"the status of {code!r} is not known here: give status="
            raise ValueError(msg)
        return self._tell(Refuse(code, status or STATUS_OF_CODE[code]), verb, bucket, key, times)

    def break_connection(
        self,
        verb: Verb | Literal["*"],
        *,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Break the connection before the request is carried out: ConnectionFailedError after the last attempt."""
        return self._tell(BreakConnection(), verb, bucket, key, times)

    def lose_reply(
        self,
        verb: Verb | Literal["*"],
        *,
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Break the connection when the request is carried out: the session cannot know that it was."""
        return self._tell(LoseReply(), verb, bucket, key, times)

    def cut_body(
        self, after_bytes: int, *, bucket: str | None = None, key: str | None = None, times: int | None = 1
    ) -> Fault:
        """Break the connection after so many bytes of a body that is longer: IncompleteBodyError if no more arrive."""
        if not isinstance(after_bytes, int) or isinstance(after_bytes, bool) or after_bytes < 0:
            msg = f"after_bytes {after_bytes!r} must be a number of bytes"
            raise ValueError(msg)
        return self._tell(CutBody(after_bytes), "get_object", bucket, key, times)

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
        return self._tell(Delay(by), verb, bucket, key, times)

    def stop_faults(self) -> None:
        """Let everything go well from here on."""
        self._faults.stop()

    def _tell(
        self, effect: Effect, verb: Verb | Literal["*"], bucket: str | None, key: str | None, times: int | None
    ) -> Fault:
        return self._faults.tell(Fault(effect, verb, bucket, key, times))

    # What was asked

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last 10,000 attempts that arrived, by whichever session, the oldest first."""
        return tuple(self._requests)

    def forget_requests(self) -> None:
        self._requests.clear()

    def _open_wire(self, limits: Limits, timeouts: Timeouts, retry: Retry) -> Wire:
        gate = Gate(self.service, StaticCredentials(_CREDENTIALS), limits, timeouts, retry)
        return MemoryWire(self._store, self._faults, self._requests, gate)


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

    async def _connect(self) -> tuple[Service, Wire]:
        return self._memory.service, self._memory._open_wire(*self._settings)  # noqa: SLF001 - its own service


try:
    import pytest
except ModuleNotFoundError:  # for other test runners, MemoryService is all there is
    pass
else:
    __all__ += ["dreamobjects"]

    @pytest.fixture
    def dreamobjects() -> MemoryService:
        """A service of this test's own."""
        return MemoryService()
