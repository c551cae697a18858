"""What goes wrong with a request, as data: a rule says which request it is, and actions say what becomes of it.

A ``Rule`` names operations as S3 does, for the tests of this library. Its actions strike when the request arrives.
A ``Fault`` names our verbs, for ``MemoryService``. It has one action, and only one fault of a request strikes at a time,
except for pauses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Literal, get_args

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._memory.actions import (
    AS_ASKED,
    Action,
    Blanks,
    Change,
    Close,
    Cut,
    Delivery,
    Drip,
    Early,
    Extra,
    Flip,
    Late,
    Lengthen,
    Make,
    Meanwhile,
    Mishear,
    Pause,
    Raw,
    Refuse,
    Replace,
    Say,
    Shorten,
    SlowRead,
    Then,
    Unread,
)
from aiodreamobjects._memory.calls import NO_BODY, Call
from aiodreamobjects._memory.codes import S3Error
from aiodreamobjects._memory.operations import Request, Verb, operation_name, request_of

__all__ = [
    "NO_BODY",
    "Action",
    "Asked",
    "Blanks",
    "Change",
    "Close",
    "Cut",
    "Delivery",
    "Drip",
    "Early",
    "Extra",
    "Fault",
    "Faults",
    "Flip",
    "Late",
    "Lengthen",
    "Make",
    "Meanwhile",
    "Mishear",
    "Pause",
    "Raw",
    "Refuse",
    "Replace",
    "Rule",
    "Say",
    "Shorten",
    "SlowRead",
    "Then",
    "Unread",
]

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
    request: Request
    """In the words of our verbs."""
    actions: tuple[Action, ...] = ()
    status: int | None = None
    """The status of the healthy answer; None if the request was not handled."""
    is_plain: bool = False
    """Whether the client got that answer in full."""
    is_refused: bool = False
    """Whether the answer told the client for certain that nothing was done."""

    def __str__(self) -> str:
        """For the words of an error."""
        request = self.request
        if request.bucket is None:
            return request.verb
        if request.verb.endswith("_setting"):
            return f"{request.verb} {request.key} of s3://{request.bucket}"
        return f"{request.verb} s3://{request.bucket}" + (f"/{request.key}" if request.key else "")

    @classmethod
    def of(cls, call: Call, connection: int = 0) -> Asked:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", ""))
        byte_range = (int(found[1]), int(found[2]) if found[2] else None) if found else None
        number, operation = call.query.get("partNumber", ""), operation_name(call)
        return cls(
            operation,
            call.bucket,
            call.key or call.query.get("prefix", ""),
            call.query.get("uploadId"),
            int(number) if number.isdecimal() else None,
            byte_range,
            call.headers,
            connection,
            time.monotonic(),
            request_of(call, operation),
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


# What a test tells by our verbs

FaultAction = Pause | Refuse | Cut


class Fault:
    """Something that goes wrong with the requests it is meant for, a number of times or until it is stopped."""

    def __init__(
        self,
        action: FaultAction,
        verb: Verb | Literal["*"],
        bucket: str | None = None,
        key: str | None = None,
        times: int | None = 1,
    ) -> None:
        check_one_of("verb", verb, ("*", *get_args(Verb)))
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            msg = f"times {times!r} must be a whole number of at least 1, or None for ever"
            raise ValueError(msg)
        self.fired = 0
        """How many times it struck."""
        self.action = action
        self._verb, self._bucket, self._key, self._times = verb, bucket, key, times
        self._is_stopped = False

    def __repr__(self) -> str:
        where = "".join(
            f", {name}={value!r}" for name, value in (("bucket", self._bucket), ("key", self._key)) if value
        )
        times = "" if self._times is None else f" of {self._times}"
        return f"<Fault {self._verb}{where}: {self.action!r}, fired {self.fired}{times}>"

    @property
    def is_over(self) -> bool:
        """Whether it has struck as often as it was to, or was stopped."""
        return self._is_stopped or (self._times is not None and self.fired >= self._times)

    def stop(self) -> None:
        """Strike no more."""
        self._is_stopped = True

    @property
    def names_keys(self) -> bool:
        return self._key is not None

    def is_for(self, request: Request) -> bool:
        return (
            not self.is_over
            and self._verb in ("*", request.verb)
            and _matches(self._bucket, request.bucket)
            and _matches(self._key, request.key)
        )


class Faults:
    """The faults of a service, in the order they were told."""

    def __init__(self) -> None:
        self._told: list[Fault] = []

    def tell(self, fault: Fault) -> Fault:
        self._told = [*(told for told in self._told if not told.is_over), fault]
        return fault

    def stop(self) -> None:
        for fault in self._told:
            fault.stop()

    def pauses(self, request: Request) -> tuple[Pause, ...]:
        """Return all pauses that strike: they add up."""
        found = [(fault, one) for fault, one in self._meant_for(request) if isinstance(one, Pause)]
        for fault, _ in found:
            fault.fired += 1
        return tuple(pause for _, pause in found)

    def strike(self, request: Request) -> Refuse | Cut | None:
        """Return the one fault that strikes: a broken connection, else a refusal, else a lost reply."""
        for is_kind in (_breaks, _refuses, _loses):
            for fault, action in self._meant_for(request):
                if is_kind(action) and isinstance(action, Refuse | Cut):
                    fault.fired += 1
                    return action
        return None

    def cut_of_body(self, request: Request, length: int) -> Cut | None:
        """Return the fault that cuts a body of this length, if there is one."""
        for fault, action in self._meant_for(request):
            if isinstance(action, Cut) and action.at is not None and action.at < length:
                fault.fired += 1
                return action
        return None

    def refusal_of_key(self, bucket: str, key: str) -> S3Error | None:
        """Return the refusal of one key of a DeleteObjects. Faults that name no key are for the request as a whole."""
        for fault, action in self._meant_for(Request("delete_objects", bucket, key)):
            if fault.names_keys and isinstance(action, Refuse):
                fault.fired += 1
                return S3Error(action.code, AS_ASKED, status=action.status)
        return None

    def _meant_for(self, request: Request) -> Iterator[tuple[Fault, FaultAction]]:
        for fault in self._told:
            if fault.is_for(request):
                yield fault, fault.action


def _breaks(action: FaultAction) -> bool:
    return isinstance(action, Cut) and action.at is None and not action.is_done


def _refuses(action: FaultAction) -> bool:
    return isinstance(action, Refuse)


def _loses(action: FaultAction) -> bool:
    return isinstance(action, Cut) and action.at is None and action.is_done


def _matches(pattern: str | None, name: str | None) -> bool:
    """Tell whether the name is or matches the pattern: a name with ``*`` in it matches itself."""
    return pattern is None or (name is not None and (name == pattern or fnmatchcase(name, pattern)))
