"""What goes wrong with a request to ``FaultyServer``, as data: a rule says which request, and actions say what happens.

``RuleEngine`` applies them to the service in memory, and ``RuleExchange`` to its connections.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from random import Random
from typing import Literal, TypeVar

from aiodreamobjects._memory import faults
from aiodreamobjects._memory.calls import NO_BODY, Call, Reply
from aiodreamobjects._memory.documents import error_reply
from aiodreamobjects._memory.engine import Engine
from aiodreamobjects._memory.faults import AS_ASKED
from aiodreamobjects._memory.s3 import operation_of
from aiodreamobjects._memory.server import Exchange
from aiodreamobjects._memory.signatures import claim_of, signature_of
from aiodreamobjects._memory.store import Bucket, Store

Then = Literal["reset", "close", "silence"]
"""How a connection ends: with a RST, with a FIN, or only when the client leaves."""


# What is done with the request

Pause = faults.Pause


@dataclass(frozen=True, slots=True)
class Mishear:
    """Handle the request as if it had these headers and this query. None removes a header or a parameter."""

    headers: Mapping[str, str | None] = field(default_factory=dict)
    query: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, call: Call) -> Call:
        headers, query = _changed(call.headers, self.headers), _changed(call.query, self.query)
        return replace(call, headers=headers, query=query)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Change the bucket just before the request is handled, as another client might."""

    change: Callable[[Bucket], object]


@dataclass(frozen=True, slots=True)
class Unread:
    """Do not read the body. Answer at once and close the connection while bytes are still on their way."""


@dataclass(frozen=True, slots=True)
class Early:
    """Send a 200 with these headers before the body is read. A body that does not arrive in full is not stored."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SlowRead:
    """Read the body in small steps."""

    bytes_per_step: int
    seconds_between: float


@dataclass(frozen=True, slots=True)
class Late:
    """Reset the connection and do nothing. Handle the request after the next one of its kind has been answered."""


@dataclass(frozen=True, slots=True)
class Refuse(faults.Refuse):
    """``is_done``: handle the request nevertheless."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_done: bool = field(default=False, repr=False)

    @property
    def is_definite(self) -> bool:
        """Whether a client may be sure that nothing was done."""
        is_busy = self.code == "InternalError" or (
            self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and self.status != HTTPStatus.SERVICE_UNAVAILABLE
        )
        return not self.is_done and not is_busy

    def of(self, _reply: Reply) -> Reply:
        return error_reply(self.status, self.code, AS_ASKED, self.headers)


# What is done with the reply


@dataclass(frozen=True, slots=True)
class Say:
    """Send another status, other headers (None removes one) or another body, with a length that fits."""

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    is_done: bool = True

    def of(self, reply: Reply) -> Reply:
        body = reply.body if self.body is None else self.body
        return Reply(self.status or reply.status, _changed(reply.headers, self.headers), body)


@dataclass(frozen=True, slots=True)
class Shorten:
    """Leave out the last bytes of the body, with a length that fits."""

    by: int

    def of(self, reply: Reply) -> Reply:
        return replace(reply, body=reply.body[: -self.by])


@dataclass(frozen=True, slots=True)
class Lengthen:
    """Append bytes to the body, with a length that fits."""

    by: bytes

    def of(self, reply: Reply) -> Reply:
        return replace(reply, body=reply.body + self.by)


@dataclass(frozen=True, slots=True)
class Flip:
    """Flip one bit of the body. A negative position counts from the end."""

    at: int

    def of(self, reply: Reply) -> Reply:
        body = bytearray(reply.body)
        body[self.at] ^= 1
        return replace(reply, body=bytes(body))


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace some bytes of the body, such as an element of a document."""

    old: bytes
    new: bytes

    def of(self, reply: Reply) -> Reply:
        assert self.old in reply.body, (self.old, reply.body)
        return replace(reply, body=reply.body.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Make:
    """Make another reply from the healthy one."""

    make: Callable[[Reply], Reply]

    def of(self, reply: Reply) -> Reply:
        return self.make(reply)


# How the reply is sent


@dataclass(frozen=True, slots=True)
class Cut:
    """End the response after so many bytes of its body. Negative: before the end of the head. None: send nothing."""

    at: int | None
    then: Then = "reset"
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the body in small steps."""

    bytes_per_step: int
    seconds_between: float


@dataclass(frozen=True, slots=True)
class Blanks:
    """Send the head, some blanks in chunks, then the body, as S3 does while it completes or copies."""

    count: int
    seconds_between: float


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes in place of the response."""

    data: bytes
    then: Then = "close"
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class Extra:
    """Send more bytes after the response, at once or a while later. The connection is kept."""

    data: bytes
    seconds_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection after the response, which did not announce it."""

    then: Then = "close"


Change = Say | Shorten | Lengthen | Flip | Replace | Make | Refuse
Delivery = Cut | Drip | Blanks | Raw | Extra | Close
Action = Mishear | Meanwhile | Pause | Unread | Early | SlowRead | Late | Change | Delivery


def _changed(headers: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    lowered = {name.lower() for name in changes}
    kept = {name: value for name, value in headers.items() if name.lower() not in lowered}
    return kept | {name: value for name, value in changes.items() if value is not None}


# The request that is meant


@dataclass(slots=True)
class Asked:
    """A request as it arrived, and what became of it."""

    op: str
    bucket: str
    key: str
    upload_id: str | None
    part: int | None
    byte_range: tuple[int, int | None] | None
    """The first and the last byte asked for."""
    headers: Mapping[str, str]
    connection: int
    at: float
    """Seconds of the monotonic clock."""
    actions: tuple[Action, ...] = ()
    status: int | None = None
    """The status of the healthy answer; None if the request was not handled."""
    is_plain: bool = False
    """Whether the client got that answer in full."""
    is_refused: bool = False
    """Whether the answer told the client for certain that nothing was done."""

    @classmethod
    def of(cls, call: Call, connection: int) -> Asked:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", ""))
        byte_range = (int(found[1]), int(found[2]) if found[2] else None) if found else None
        number = call.query.get("partNumber", "")
        return cls(
            operation_of(call).name,
            call.bucket,
            call.key or call.query.get("prefix", ""),
            call.query.get("uploadId"),
            int(number) if number.isdecimal() else None,
            byte_range,
            call.headers,
            connection,
            time.monotonic(),
        )

    def covers(self, position: int) -> bool:
        if self.byte_range is None:
            return True
        first, last = self.byte_range
        return first <= position and (last is None or position <= last)


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


# The rules at work


class RuleEngine(Engine):
    """A service whose requests meet rules. ``note`` is called for each request that arrives."""

    def __init__(self, store: Store, note: Callable[[Asked], object]) -> None:
        super().__init__(store, lambda _: None)
        self.rules: Sequence[Rule] = ()
        self.random = Random(0)  # the same chances in each run
        self._note_asked = note
        self._late: list[tuple[Asked, Call]] = []

    def meet(self, call: Call, connection: int) -> Asked:
        """Record a request. Rules strike now."""
        asked = Asked.of(call, connection)
        struck = [rule for rule in self.rules if rule.strikes(asked, self.random)]
        asked.actions = tuple(action for rule in struck for action in rule.actions)
        self._note_asked(asked)
        return asked

    async def made_ready(self, asked: Asked, call: Call) -> Call | None:
        """Apply what comes before the work. Return the call to work on, or None if it is kept for later."""
        for action in asked.actions:
            match action:
                case Pause():
                    await action.wait()
                case Meanwhile():
                    self.change(call.bucket, action)
                case Mishear():
                    call = self._mishear(action, call)
                case Late():
                    self._late.append((asked, call))
                    return None
        return call

    def outcome(self, asked: Asked, call: Call) -> tuple[Reply, Delivery | None]:
        """Do the work, unless an action prevents it. Return the reply, and how to send it."""
        reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR)
        if all(getattr(action, "is_done", True) for action in asked.actions):
            reply = self.work(call)
            asked.status = reply.status
        for action in asked.actions:
            if isinstance(action, Change):
                reply = action.of(reply)
        delivery = next((action for action in asked.actions if isinstance(action, Delivery)), None)
        is_told = not any(isinstance(action, Cut | Raw) for action in asked.actions)
        asked.is_plain = is_told and not any(isinstance(action, Change | Early) for action in asked.actions)
        asked.is_refused = is_told and any(isinstance(one, Refuse) and one.is_definite for one in asked.actions)
        return reply, delivery

    def change(self, bucket: str, meanwhile: Meanwhile) -> None:
        meanwhile.change(self.store.bucket(bucket))

    def carry_out_late(self, asked: Asked) -> None:
        """Handle the requests that were kept until one of their kind was answered."""
        due = [call for late, call in self._late if (late.op, late.key, late.part) == (asked.op, asked.key, asked.part)]
        self._late = [(late, call) for late, call in self._late if call not in due]
        for call in due:
            self.work(call)

    def _mishear(self, mishear: Mishear, call: Call) -> Call:
        """Return the changed call, signed again if its signature was valid."""
        misheard, claim, secret_key = mishear.of(call), claim_of(call), self.store.dialect.secret_key
        if claim is None or "authorization" not in call.headers:
            return misheard
        scope = claim.credential.partition("/")[2]
        if signature_of(secret_key, call, claim, scope) != claim.signature:
            return misheard
        signature = signature_of(secret_key, misheard, claim, scope)
        signed = call.headers["authorization"].replace(claim.signature, signature)
        return replace(misheard, headers={**misheard.headers, "authorization": signed})


T = TypeVar("T")


class RuleExchange(Exchange):
    """A connection whose requests are read and answered as the rules say. ``number`` identifies it."""

    def __init__(
        self, engine: RuleEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        super().__init__(engine, reader, writer)
        self._rules, self._number = engine, number

    async def answer(self) -> bool:
        call = await self.head()
        if call is None:
            return False
        asked = self._rules.meet(call, self._number)
        self.permit(call)
        early, is_unread = _first(asked, Early), _first(asked, Unread) is not None
        if early is not None:
            await self.deliver(call, Reply(headers=early.headers))
        call.body = b"" if is_unread else await self._body_at(call, _first(asked, SlowRead))
        made_ready = await self._rules.made_ready(asked, call)
        if made_ready is None:
            raise self.reset()
        reply, delivery = self._rules.outcome(asked, made_ready)
        if early is None:
            await self._deliver_by(call, reply, delivery)
        self._rules.carry_out_late(asked)
        return not is_unread and not self.is_last

    async def _body_at(self, call: Call, slow: SlowRead | None) -> bytes:
        if slow is None:
            return await self.body(call)
        body, size = bytearray(), int(call.headers["content-length"])
        while len(body) < size:
            body += await self.reader.readexactly(min(slow.bytes_per_step, size - len(body)))
            await asyncio.sleep(slow.seconds_between)
        return bytes(body)

    async def _deliver_by(self, call: Call, reply: Reply, delivery: Delivery | None) -> None:
        body = b"" if call.method == "HEAD" or reply.status in NO_BODY else reply.body
        head = self.response_head(reply)
        match delivery:
            case None:
                await self.send(head + body)
            case Cut(at, then):
                if at is not None:
                    await self.send(head[:at] if at < 0 else head + body[:at])
                await self._end(then)
            case Raw(data, then):
                await self.send(data)
                await self._end(then)
            case Drip(step, seconds):
                await self.send(head)
                for start in range(0, len(body), step):
                    await self.send(body[start : start + step])
                    await asyncio.sleep(seconds)
            case Blanks(count, seconds):
                await self.send(re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head))
                for _ in range(count):
                    await self.send(b"1\r\n \r\n")
                    await asyncio.sleep(seconds)
                chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                await self.send(chunk + b"0\r\n\r\n")
            case Extra(data, seconds):
                await self.send(head + body + (b"" if seconds else data))
                if seconds:
                    await asyncio.sleep(seconds)
                    await self.send(data)
            case Close(then):
                await self.send(head + body)
                await self._end(then)

    async def _end(self, then: Then) -> None:
        if then == "silence":
            while await self.reader.read(1 << 16):
                pass
        elif then == "reset":
            raise self.reset()
        raise ConnectionAbortedError


def _first(asked: Asked, kind: type[T]) -> T | None:
    return next((action for action in asked.actions if isinstance(action, kind)), None)
