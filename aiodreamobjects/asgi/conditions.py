"""What the Range and the conditions of a request mean, by RFC 9110. Plain functions on values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus

MOST_RANGES = 10
"""More ranges in one request are answered with the whole object."""

Span = tuple[int, int | None]
"""A range as ``Object.get`` takes it: without its end, to the end, or the last n bytes."""

_SPEC = re.compile(r"([0-9]*)[ \t]*-[ \t]*([0-9]*)")
_ETAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')  # RFC 9110 section 8.8.3
_LONGEST_NUMBER = 18
_BEYOND = 10**_LONGEST_NUMBER
"""A position that no object reaches."""


class MalformedRangeError(ValueError):
    """The Range header has no meaning. RFC 9110 section 14.2 lets a server ignore it."""


def parse_range(header: str) -> list[Span]:
    """Return the ranges that a Range header asks for, as they stand there. Leave out specifiers without a meaning."""
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        msg = "Only support bytes range"
        raise MalformedRangeError(msg)
    found = [span for spec in specs.split(",") if (span := _span(spec.strip())) is not None]
    if not found:
        msg = "Range header: range must be requested"
        raise MalformedRangeError(msg)
    if any(stop is not None and start >= stop for start, stop in found):
        msg = "Range header: start must be less than end"
        raise MalformedRangeError(msg)
    return found


def _span(spec: str) -> Span | None:
    match = _SPEC.fullmatch(spec)
    first, last = match.groups() if match else ("", "")
    if first:
        return _number(first), _number(last) + 1 if last else None
    if last:
        return (-_number(last), None) if _number(last) else (_BEYOND, None)  # the last 0 bytes of nothing
    return None


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else _BEYOND


def resolve(spans: Sequence[Span], size: int) -> list[tuple[int, int]]:
    """Return the ranges that an object of this size has, in its order. Ranges that touch are one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(_within(span, size) for span in spans):
        if start >= stop:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


def _within(span: Span, size: int) -> tuple[int, int]:
    start, stop = span
    return max(size + start, 0) if start < 0 else start, size if stop is None else min(stop, size)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: ranges, and conditions. ETags are as in the header, with their quotes."""

    ranges: tuple[Span, ...] = ()
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    modified_since: datetime | None = None
    unmodified_since: datetime | None = None
    if_range: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], *, strict: bool) -> Asked:
        """Return what these headers ask for; their names are in lower case. Raise MalformedRangeError if ``strict``."""
        ranges: list[Span] = []
        if "range" in headers:
            try:
                ranges = parse_range(headers["range"])
            except MalformedRangeError:
                if strict:
                    raise
        return cls(
            tuple(ranges),
            _etags(headers.get("if-match")),
            _etags(headers.get("if-none-match")),
            _date(headers.get("if-modified-since")),
            _date(headers.get("if-unmodified-since")),
            headers.get("if-range", "").strip() or None,
        )

    def status(self, etag: str | None, modified: datetime | None) -> HTTPStatus:
        """Return what the conditions say about an object: OK, NOT_MODIFIED or PRECONDITION_FAILED (RFC 9110 section 13.2.2)."""
        if self.if_match is not None:
            if "*" not in self.if_match and (etag is None or etag.startswith("W/") or etag not in self.if_match):
                return HTTPStatus.PRECONDITION_FAILED
        elif self.unmodified_since is not None and modified is not None and modified > self.unmodified_since:
            return HTTPStatus.PRECONDITION_FAILED
        if self.if_none_match is not None:
            if "*" in self.if_none_match or (etag is not None and _strong(etag) in map(_strong, self.if_none_match)):
                return HTTPStatus.NOT_MODIFIED
        elif self.modified_since is not None and modified is not None and modified <= self.modified_since:
            return HTTPStatus.NOT_MODIFIED
        return HTTPStatus.OK

    def wants_ranges(self, etag: str | None, modified: datetime | None) -> bool:
        """Return whether the ranges count: If-Range names this very state, if it is there (RFC 9110 section 13.1.5)."""
        if not self.ranges:
            return False
        if self.if_range is None or (self.if_range == etag and not etag.startswith("W/")):
            return True
        return modified is not None and self.if_range == format_datetime(modified, usegmt=True)

    def sent_on(self, *, knows_etags: bool) -> tuple[str | None, str | None, dict[str, str]]:
        """Return what the service can decide itself: If-Match, If-None-Match, and headers with the times.

        Services differ in lists of ETags, so these are decided here, like all ETags that the service does not know.
        """
        match = self._one(self.if_match) if knows_etags else None
        none_match = self._one(self.if_none_match) if knows_etags else None
        headers = {}
        if self.modified_since is not None and self.if_none_match is None:
            headers["if-modified-since"] = format_datetime(self.modified_since, usegmt=True)
        if self.unmodified_since is not None and self.if_match is None:
            headers["if-unmodified-since"] = format_datetime(self.unmodified_since, usegmt=True)
        return (None if match is None or match.startswith("W/") else match, none_match and _strong(none_match), headers)

    @staticmethod
    def _one(etags: tuple[str, ...] | None) -> str | None:
        """Return the only ETag of a list, if a header can hold it."""
        if etags is None or len(etags) != 1 or etags == ("*",) or not etags[0].isascii() or _strong(etags[0]) == '""':
            return None
        return etags[0]


def _etags(header: str | None) -> tuple[str, ...] | None:
    """Return the ETags of a list. What is none matches nothing: a client that asks in error gets the whole object, or 412."""
    if header is None:
        return None
    return ("*",) if header.strip() == "*" else tuple(_ETAG.findall(header))


def _strong(etag: str) -> str:
    return etag.removeprefix("W/")


def _date(header: str | None) -> datetime | None:
    """Return the time of a header. RFC 9110 section 13.1.3 ignores what is no time."""
    if header is None:
        return None
    try:
        found = parsedate_to_datetime(header)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
