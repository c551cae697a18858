"""What a session tells its observer: ``Session(observe=...)``. Imported only where there is one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count

Outcome = tuple[int | None, int | None, bool | None, str | None]
"""Of a transfer: bytes, parts, whether it was resumed, what was verified. None for what is not known."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A request to the service begins. Its attempts, and the waits before them, belong to it."""

    id: int
    """Unique in this process, also among transfers."""
    parent: int | None
    """The id of the transfer that sends this request. None for a request of its own."""
    operation: str
    """S3's name for the request, in lower case: ``get_object``, ``list_objects_v2``."""
    method: str
    host: str
    port: int
    bucket: str
    """Empty for a request about no bucket."""
    key: str
    """Empty for a request about a bucket."""
    upload_id: str | None
    part_number: int | None


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """One attempt of a call failed, perhaps the last one."""

    id: int
    """The id of the call."""
    number: int
    """From 1."""
    status: int | None
    """The HTTP status. None if there was no answer."""
    code: str
    """S3's error code, such as ``SlowDown``. Empty if there was no answer."""
    error_type: str
    """The name of the error's class."""
    request_id: str | None
    wait: float | None
    """Seconds until the next attempt. None after the last one."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over. For a streamed body that is when the body was read to its end, or closed."""

    id: int
    operation: str
    bucket: str
    key: str
    status: int | None
    """The HTTP status of the last answer. None if there was none."""
    attempts: int
    """How many were made; 0 if the call ended while it waited for its place."""
    request_id: str | None
    extended_request_id: str | None
    sent: int
    """The bytes of the request's body, without repetitions."""
    received: int
    """The bytes of the answer's body that were read."""
    seconds: float
    """From the call to its end, with all waits."""
    waited_place: float
    """Seconds that it waited for a place among ``Limits.requests``, and for ``Limits.requests_per_second``."""
    waited_connection: float
    """Seconds that it waited for a new connection."""
    error: BaseException | None
    """What the call raised. None if it succeeded, if ``exists`` found nothing, and if the body was closed before its end."""


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """An upload, download, copy, tree verb or bulk verb begins. Its calls and smaller transfers have its id as ``parent``."""

    id: int
    parent: int | None
    verb: str
    """``put``, ``upload``, ``download``, ``copy``, ``upload_tree``, ``delete_many`` …"""
    bucket: str
    """Of a copy or a move: the bucket that gets the objects."""
    key: str
    """The key, or the prefix of a tree. Empty for a bulk verb. Of a copy or a move: the target's."""


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """A transfer is over. What is not known, or means nothing for the verb, is None."""

    id: int
    verb: str
    bucket: str
    key: str
    size: int | None
    """Bytes of content."""
    parts: int | None
    """In how many parts, or ranges, the content went; 1 if it went by one request."""
    resumed: bool | None
    """Whether an earlier transfer was continued."""
    verified: str | None
    """What was compared, as in ``ObjectInfo.verified``."""
    seconds: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    host: str
    """With a port that is not the scheme's default."""
    reused: int
    """0: it is new."""
    reason: str
    """Why a new one was needed: no other was idle, or the server had closed it."""
    seconds: float
    """How long it took to connect, TLS included."""


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    host: str
    reused: int
    """How many requests it carried after the first one."""
    reason: str
    seconds: float
    """How long it was open."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The number of requests that may be under way changed: it halves if the service is busy, and grows back later."""

    before: int
    after: int


Event = (
    CallStarted
    | AttemptFailed
    | CallEnded
    | TransferStarted
    | TransferEnded
    | ConnectionOpened
    | ConnectionClosed
    | Throttled
)
Observer = Callable[[Event], object]


# A frozen dataclass sets each field by a slow call: 20,000 instructions for a CallEnded. A tenth of that is enough to fill
# an object of a class below, and to give it the class of the event when it is complete.


class Started(CallStarted):
    """A CallStarted while it is made."""

    __slots__ = ()
    __init__ = object.__init__
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__  # both, or setting stays slow


class Record(CallEnded):
    """A CallEnded while its call is under way. ``seconds`` is when it began. Without a status, the answer's fields are not set."""

    __slots__ = ()
    __init__ = object.__init__
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__  # both, or setting stays slow

    # Once more, since type checkers let nobody set the fields of a frozen dataclass.
    id: int
    operation: str
    bucket: str
    key: str
    status: int | None
    attempts: int
    request_id: str | None
    extended_request_id: str | None
    sent: int
    received: int
    seconds: float
    waited_place: float
    waited_connection: float
    error: BaseException | None


IDS = count(1)
TRANSFER: ContextVar[int | None] = ContextVar("aiodreamobjects_transfer", default=None)
"""The id of the transfer that this task works for."""


class Watch:
    """Tells one observer. What the observer raises is logged once, and dropped."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._has_failed = False

    def tell(self, event: Event) -> None:
        try:
            self._observe(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is called, not awaited: no cancellation comes this way
            if not self._has_failed:
                self._has_failed = True
                _log.error("the observer of a session raised an error; its later ones are not logged", exc_info=error)

    def opened(self, host: str, reason: str, seconds: float) -> None:
        self.tell(ConnectionOpened(host, 0, reason, seconds))

    def closed(self, host: str, reused: int, reason: str, seconds: float) -> None:
        self.tell(ConnectionClosed(host, reused, reason, seconds))

    def throttled(self, before: int, after: int) -> None:
        self.tell(Throttled(before, after))

    def transfer(self, others: Sequence[Watch], verb: str, bucket: str, key: str) -> Transfer:
        """Begin a transfer. ``others``: the watches of the other sessions that take part."""
        return Transfer((self, *others), verb, bucket, key)


class Transfer:
    """A transfer under way, for the observers of its sessions."""

    def __init__(self, watches: Sequence[Watch], verb: str, bucket: str, key: str) -> None:
        self._watches, self._verb, self._bucket, self._key = watches, verb, bucket, key
        self._id, self._started = next(IDS), time.monotonic()
        started = TransferStarted(self._id, TRANSFER.get(), verb, bucket, key)
        for watch in watches:
            watch.tell(started)
        self._token = TRANSFER.set(self._id)

    def end(self, outcome: Outcome, error: BaseException | None) -> None:
        TRANSFER.reset(self._token)
        seconds = time.monotonic() - self._started
        size, parts, resumed, verified = outcome
        ended = TransferEnded(
            self._id, self._verb, self._bucket, self._key, size, parts, resumed, verified, seconds, error
        )
        for watch in self._watches:
            watch.tell(ended)
