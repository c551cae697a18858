"""What can go wrong with a request or its reply, as data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Literal

from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.documents import error_reply
from aiodreamobjects._memory.store import Bucket

AS_ASKED = "as the test told it to"

Then = Literal["reset", "close", "silence"]
"""How a connection ends: with a RST, with a FIN, or only when the client leaves."""


# What is done with the request


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
class Pause:
    """Wait before the request is handled: for so many seconds, or until the event is set."""

    by: float | asyncio.Event

    async def wait(self) -> None:
        await (self.by.wait() if isinstance(self.by, asyncio.Event) else asyncio.sleep(self.by))


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
class Refuse:
    """Reply with an error document. ``is_done``: handle the request nevertheless."""

    status: int
    code: str
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
