"""Faults that a test injects. A ``Fault`` matches requests by our verbs and has one action.

At most one fault applies to a request, beside pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._memory.codes import S3Error
from aiodreamobjects._memory.s3 import Request, Verb

AS_ASKED = "as the test told it to"


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the request is handled: for so many seconds, or until the event is set."""

    by: float | asyncio.Event

    async def wait(self) -> None:
        await (self.by.wait() if isinstance(self.by, asyncio.Event) else asyncio.sleep(self.by))


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reply with an error document."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection after so many bytes of the reply's body. None: send nothing."""

    at: int | None
    is_done: bool = True
    """Whether the request is handled before."""


FaultAction = Pause | Refuse | Cut


class Fault:
    """A fault that applies to matching requests, a number of times or until it is stopped."""

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
        """How often it was applied."""
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
        """Whether it is used up or stopped."""
        return self._is_stopped or (self._times is not None and self.fired >= self._times)

    def stop(self) -> None:
        """Do not apply it any more."""
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
    """The faults of a service, the oldest first."""

    def __init__(self) -> None:
        self._told: list[Fault] = []

    def tell(self, fault: Fault) -> Fault:
        self._told = [*(told for told in self._told if not told.is_over), fault]
        return fault

    def stop(self) -> None:
        for fault in self._told:
            fault.stop()

    def pauses(self, request: Request) -> tuple[Pause, ...]:
        """Return all pauses that apply. They add up."""
        found = [(fault, one) for fault, one in self._meant_for(request) if isinstance(one, Pause)]
        for fault, _ in found:
            fault.fired += 1
        return tuple(pause for _, pause in found)

    def strike(self, request: Request) -> Refuse | Cut | None:
        """Return the one fault that applies: a broken connection, else a refusal, else a lost reply."""
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
        """Return the refusal of one key of a DeleteObjects. A fault without a key refuses the whole request instead."""
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
