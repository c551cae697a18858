"""Pages of a list: one function for objects, versions and uploads."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from aiodreamobjects._memory.store import Position


class Listed(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def position(self) -> Position: ...


T = TypeVar("T", bound=Listed)


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """All keys that agree up to the delimiter, as one entry."""

    key: str

    @property
    def position(self) -> Position:
        return end_of(self.key)


def end_of(key: str) -> Position:
    """Return the position after everything that has this key."""
    return key, math.inf


def start_of(key: str) -> Position:
    return key, -math.inf


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted: at most ``limit`` entries after the position ``after``."""

    prefix: str
    delimiter: str
    limit: int
    after: Position | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    entries: Sequence[T | CommonPrefix]
    is_truncated: bool

    @property
    def items(self) -> list[T]:
        return [entry for entry in self.entries if not isinstance(entry, CommonPrefix)]

    @property
    def prefixes(self) -> list[CommonPrefix]:
        return [entry for entry in self.entries if isinstance(entry, CommonPrefix)]

    @property
    def last(self) -> T | CommonPrefix | None:
        """The entry after which the next page starts; None if there is no next page."""
        return self.entries[-1] if self.is_truncated else None


def cut_page(keys: Sequence[str], items_of: Callable[[str], Iterable[T]], window: Window) -> Page[T]:
    """Return one page of a list. A common prefix counts as one entry.

    ``keys`` are in order. ``items_of`` returns what a key has, in order. No more keys are visited than needed.
    """
    found = list(islice(_entries(keys, items_of, window), window.limit + 1))
    return Page(found[: window.limit], is_truncated=0 < window.limit < len(found))


def _entries(keys: Sequence[str], items_of: Callable[[str], Iterable[T]], window: Window) -> Iterator[T | CommonPrefix]:
    prefix, after = window.prefix, window.after or start_of("")
    position = bisect_left(keys, max(prefix, after[0]))
    while position < len(keys) and (key := keys[position]).startswith(prefix):
        items = list(items_of(key))
        common = _rolled_up(key, window)
        if not items or common is None:
            yield from (item for item in items if item.position > after)
            position += 1
            continue
        if common.position > after:
            yield common
        position = bisect_right(keys, common.key, lo=position, key=lambda other: other[: len(common.key)])


def _rolled_up(key: str, window: Window) -> CommonPrefix | None:
    if window.delimiter:
        head, delimiter, _ = key[len(window.prefix) :].partition(window.delimiter)
        if delimiter:
            return CommonPrefix(window.prefix + head + delimiter)
    return None
