"""What goes wrong with a request, as data: a rule says which request it is, and actions say what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from random import Random
from typing import Literal

from servers.s3 import Call, Reply, error_reply
from servers.store import Bucket

NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)

Then = Literal["reset", "close", "silence"]
"""How a connection ends: RST, FIN, or not at all until the client leaves."""


# What is done with the request


@dataclass(frozen=True, slots=True)
class Mishear:
    """The request is worked on as if it had come with these headers and this query; None takes one away."""

    headers: Mapping[str, str | None] = field(default_factory=dict)
    query: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, call: Call) -> Call:
        headers, query = _changed(call.headers, self.headers), _changed(call.query, self.query)
        return replace(call, headers=headers, query=query)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Somebody else does this to the bucket just before."""

    change: Callable[[Bucket], object]


@dataclass(frozen=True, slots=True)
class Pause:
    """Before anything is done with it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unread:
    """The body is not read: what answers does so at once, and the connection ends with bytes on their way."""


@dataclass(frozen=True, slots=True)
class Early:
    """A 200 with these headers is sent before the body is read. Only a body that arrives in full is worked on."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SlowRead:
    """The body is read in such steps."""

    bytes_per_step: int
    seconds_between: float


@dataclass(frozen=True, slots=True)
class Late:
    """Nothing is done and the connection is reset; it is carried out when the next such request has been answered."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """An error document in place of the reply. ``is_done``: although the work was done."""

    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_done: bool = False

    @property
    def is_definite(self) -> bool:
        """Whether a client may be sure that nothing was done."""
        is_busy = self.code == "InternalError" or (
            self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and self.status != HTTPStatus.SERVICE_UNAVAILABLE
        )
        return not self.is_done and not is_busy

    def of(self, reply: Reply) -> Reply:
        return error_reply(self.status, self.code, "A fault that was asked for.", self.headers)


# What is done with the reply


@dataclass(frozen=True, slots=True)
class Say:
    """The reply with another status, other headers (None takes one away) or another body; the length fits the body."""

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    is_done: bool = True

    def of(self, reply: Reply) -> Reply:
        body = reply.body if self.body is None else self.body
        return Reply(self.status or reply.status, _changed(reply.headers, self.headers), body)


@dataclass(frozen=True, slots=True)
class Shorten:
    """The body without its last bytes, and a length that fits."""

    by: int

    def of(self, reply: Reply) -> Reply:
        return replace(reply, body=reply.body[: -self.by])


@dataclass(frozen=True, slots=True)
class Lengthen:
    """The body with more behind it, and a length that fits."""

    by: bytes

    def of(self, reply: Reply) -> Reply:
        return replace(reply, body=reply.body + self.by)


@dataclass(frozen=True, slots=True)
class Flip:
    """One bit of the body is another; counted from the end where it is negative."""

    at: int

    def of(self, reply: Reply) -> Reply:
        body = bytearray(reply.body)
        body[self.at] ^= 1
        return replace(reply, body=bytes(body))


@dataclass(frozen=True, slots=True)
class Replace:
    """Some bytes of the body are others: for documents."""

    old: bytes
    new: bytes

    def of(self, reply: Reply) -> Reply:
        assert self.old in reply.body, (self.old, reply.body)
        return replace(reply, body=reply.body.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Make:
    """Another reply of the true one."""

    make: Callable[[Reply], Reply]

    def of(self, reply: Reply) -> Reply:
        return self.make(reply)


# How the reply is sent


@dataclass(frozen=True, slots=True)
class Cut:
    """The response ends after so many bytes of its body. Negative: before the end of the head. None: nothing is sent."""

    at: int | None
    then: Then = "reset"
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class Drip:
    """The body is sent in such steps."""

    bytes_per_step: int
    seconds_between: float


@dataclass(frozen=True, slots=True)
class Blanks:
    """The head, a few blanks in chunks, and then the body, as S3 does while it completes or copies."""

    count: int
    seconds_between: float


@dataclass(frozen=True, slots=True)
class Raw:
    """These bytes in place of the response."""

    data: bytes
    then: Then = "close"
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class Extra:
    """These bytes behind the response, with it or a while after it; the connection is kept."""

    data: bytes
    seconds_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """The connection ends after the response, which did not say so."""

    then: Then = "close"


Change = Say | Shorten | Lengthen | Flip | Replace | Make | Refuse
Delivery = Cut | Drip | Blanks | Raw | Extra | Close
Action = Mishear | Meanwhile | Pause | Unread | Early | SlowRead | Late | Change | Delivery


class Rule:
    """``actions`` for the requests that are meant: the ``nth`` one and further ones, ``times`` in all, None for ever.

    ``op`` is the name of an S3 operation, with the wildcards of ``fnmatch``; ``key`` the same for keys (of a listing,
    the prefix); ``part`` a part's number; ``covers`` a byte of the object that is asked for. ``chance``: of being
    struck. ``may_be_idle``: it need not have fired at the end. ``when``: what else makes it the request that is meant.
    """

    def __init__(
        self,
        op: str,
        *actions: Action,
        key: str | None = None,
        part: int | None = None,
        covers: int | None = None,
        nth: int = 1,
        times: int | None = 1,
        chance: float = 1.0,
        may_be_idle: bool = False,
        when: Callable[[Asked], bool] | None = None,
    ) -> None:
        self.op, self.actions, self.key, self.part, self.covers, self.when = op, actions, key, part, covers, when
        self.nth, self.times, self.chance, self.may_be_idle = nth, times, chance, may_be_idle
        self.fired = self.met = 0
        """How many times it struck, and how many requests it was meant for."""

    def __repr__(self) -> str:
        return f"<Rule {self.op}: {', '.join(map(repr, self.actions))}, fired {self.fired} of {self.times or 'all'}>"

    def strikes(self, asked: Asked, random: Random) -> bool:
        if not self._is_meant(asked):
            return False
        self.met += 1
        is_over = self.times is not None and self.fired >= self.times
        if self.met < self.nth or is_over or (self.chance < 1 and random.random() >= self.chance):
            return False
        self.fired += 1
        return True

    def _is_meant(self, asked: Asked) -> bool:
        return (
            fnmatchcase(asked.op, self.op)
            and (self.key is None or self.key == asked.key or fnmatchcase(asked.key, self.key))
            and (self.part is None or self.part == asked.part)
            and (self.covers is None or asked.covers(self.covers))
            and (self.when is None or self.when(asked))
        )


@dataclass(slots=True)
class Asked:
    """A request as it arrived, and what became of it."""

    op: str
    bucket: str
    key: str
    upload_id: str | None
    part: int | None
    byte_range: tuple[int, int | None] | None
    """First and last."""
    headers: Mapping[str, str]
    connection: int
    at: float
    """Seconds, of a clock of its own."""
    actions: tuple[Action, ...] = ()
    status: int | None = None
    """What a healthy answer would have been; None where nothing was done."""
    is_plain: bool = False
    """Whether it was answered so, and in full."""
    is_refused: bool = False
    """Whether the client was told that nothing was done, so that it may be sure."""

    def covers(self, position: int) -> bool:
        if self.byte_range is None:
            return True
        first, last = self.byte_range
        return first <= position and (last is None or position <= last)


def _changed(headers: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    lowered = {name.lower() for name in changes}
    kept = {name: value for name, value in headers.items() if name.lower() not in lowered}
    return kept | {name: value for name, value in changes.items() if value is not None}
