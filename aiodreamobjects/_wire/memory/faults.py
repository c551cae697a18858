"""What a service in memory is told to do wrong, and the record of what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeVar, get_args

from aiodreamobjects._checks import check_one_of

Verb = Literal[
    "abort_upload",
    "complete_upload",
    "copy_object",
    "copy_part",
    "create_bucket",
    "create_upload",
    "delete_bucket",
    "delete_object",
    "delete_objects",
    "delete_setting",
    "get_bucket_acl",
    "get_object",
    "get_object_acl",
    "get_object_tags",
    "get_setting",
    "head_bucket",
    "head_object",
    "list_buckets",
    "list_objects",
    "list_parts",
    "list_uploads",
    "list_versions",
    "put_bucket_acl",
    "put_object",
    "put_object_acl",
    "put_object_tags",
    "put_part",
    "put_setting",
]
"""Each kind of request there is, by its name."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. Every attempt is one, also where a fault is what it met."""

    verb: Verb
    bucket: str | None = None
    """None for ``list_buckets``."""
    key: str | None = None
    """A listing's prefix, a setting's name; None for a bucket as a whole and for ``delete_objects``."""


@dataclass(frozen=True, slots=True)
class Delay:
    by: float | asyncio.Event
    """Seconds, or until this is set."""


@dataclass(frozen=True, slots=True)
class BreakConnection:
    """Before anything was done."""


@dataclass(frozen=True, slots=True)
class Refuse:
    code: str
    status: int


@dataclass(frozen=True, slots=True)
class LoseReply:
    """When all was done."""


@dataclass(frozen=True, slots=True)
class CutBody:
    after_bytes: int


Effect = Delay | BreakConnection | Refuse | LoseReply | CutBody
E = TypeVar("E", Delay, BreakConnection, Refuse, LoseReply, CutBody)


class Fault:
    """Something that goes wrong with the requests it is meant for, a number of times or until it is stopped."""

    def __init__(
        self, effect: Effect, verb: Verb | Literal["*"], bucket: str | None, key: str | None, times: int | None
    ) -> None:
        check_one_of("verb", verb, ("*", *get_args(Verb)))
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            msg = f"times {times!r} must be a whole number of at least 1, or None for ever"
            raise ValueError(msg)
        self.fired = 0
        """How many times it struck."""
        self.effect = effect
        self._verb, self._bucket, self._key, self._times = verb, bucket, key, times
        self._is_stopped = False

    def __repr__(self) -> str:
        where = "".join(
            f", {name}={value!r}" for name, value in (("bucket", self._bucket), ("key", self._key)) if value
        )
        times = "" if self._times is None else f" of {self._times}"
        return f"<Fault {self._verb}{where}: {self.effect!r}, fired {self.fired}{times}>"

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
    """Those that were told, in the order in which they were."""

    def __init__(self) -> None:
        self._told: list[Fault] = []

    def tell(self, fault: Fault) -> Fault:
        self._told = [*(told for told in self._told if not told.is_over), fault]
        return fault

    def stop(self) -> None:
        for fault in self._told:
            fault.stop()

    def strike(self, request: Request, kind: type[E]) -> E | None:
        """What the first fault of this kind does to the request, if one is meant for it. It has then struck once more."""
        for fault, effect in self._meant_for(request, kind):
            fault.fired += 1
            return effect
        return None

    def delays(self, request: Request) -> list[Delay]:
        """All of them: they add up."""
        found = list(self._meant_for(request, Delay))
        for fault, _ in found:
            fault.fired += 1
        return [delay for _, delay in found]

    def refusal_of_key(self, request: Request, key: str) -> Refuse | None:
        """For one key of a request for many. Faults that name no key were for the request as a whole."""
        for fault, refusal in self._meant_for(replace(request, key=key), Refuse):
            if fault.names_keys:
                fault.fired += 1
                return refusal
        return None

    def cut_of_body(self, request: Request, length: int) -> int | None:
        """After how many bytes this body ends, if it is longer than a fault lets it be."""
        for fault, cut in self._meant_for(request, CutBody):
            if cut.after_bytes < length:
                fault.fired += 1
                return cut.after_bytes
        return None

    def _meant_for(self, request: Request, kind: type[E]) -> Iterator[tuple[Fault, E]]:
        for fault in self._told:
            if isinstance(fault.effect, kind) and fault.is_for(request):
                yield fault, fault.effect


def _matches(pattern: str | None, name: str | None) -> bool:
    """A name matches itself, whatever in it could be read as a pattern."""
    return pattern is None or (name is not None and (name == pattern or fnmatchcase(name, pattern)))
