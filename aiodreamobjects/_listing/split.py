"""Where to cut a range of keys, computed from one page of it. Plain functions that send nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import prod

from aiodreamobjects._checks import KEY_BYTES

DIGITS = 6
"""How many characters to use as digits, after those that all keys of a page share."""
SAMPLE_STEP = 8
"""Look at every eighth key of a page for the characters that occur."""

FAR_BOUNDARIES = 48
"""The rough limit of far boundaries: keys of a thousand characters have room for thousands."""


class Ruler:
    """A measure for the keys after a page. It treats keys as numbers whose digits are characters, in UTF-8 order.

    Its unit is that page: the keys after it, up to and including ``hi``, are assumed to be as dense. All keys begin with
    ``prefix``. ``wide`` also uses letters that the page does not show, to find names beside its own.
    """

    def __init__(
        self, keys: Sequence[str], hi: str | None, *, prefix: str = "", page_keys: int, wide: bool = False
    ) -> None:
        self._last, self._hi = keys[-1], hi
        self._alphabets = [*prefix, *_alphabets(keys, hi, len(prefix), wide=wide)]
        self._start = self._number(keys[-1])
        self._end = prod(map(len, self._alphabets)) - 1 if hi is None else self._number(hi)
        self._page = max(1, (self._start - self._number(keys[0])) * page_keys // len(keys))

    @property
    def pages_left(self) -> float:
        """Estimate the pages up to ``hi``, or up to the highest number."""
        return min(max(0, self._end - self._start), self._page << 40) / self._page  # a float has its limits

    def evenly(self, pieces: int) -> list[str]:
        """Return the boundaries that cut the rest into this many pieces."""
        return self._texts(self._start + (self._end - self._start) * n // pieces for n in range(1, pieces))

    def stepwise(self, pages: float, steps: int) -> list[str]:
        """Return one boundary per ``pages`` pages."""
        return self._texts(self._start + int(self._page * pages * n) for n in range(1, steps + 1))

    def ever_farther(self, pages: float) -> list[str]:
        """Return a few boundaries, from ``pages`` pages away on, each at least four times as far as the one before."""
        nearest = int(self._page * pages) or 1
        doublings = max(0, self._end - self._start).bit_length() - nearest.bit_length()
        stride = max(2, doublings // FAR_BOUNDARIES)
        return self._texts(self._start + (nearest << n) for n in range(0, doublings, stride))

    def _texts(self, numbers: Iterable[int]) -> list[str]:
        """Return the numbers as keys, if they fit between the page and ``hi``."""
        texts = dict.fromkeys(map(self._text, numbers))
        return [
            text
            for text in texts
            if self._last < text and (self._hi is None or text < self._hi) and len(text.encode()) <= KEY_BYTES
        ]

    def _number(self, text: str) -> int:
        number = 0
        for letters, letter in zip_longest(self._alphabets, text[: len(self._alphabets)], fillvalue=""):
            # A letter outside the alphabet counts as the place where it would be inserted.
            number = number * len(letters) + min(bisect_left(letters, letter), len(letters) - 1)
        return number

    def _text(self, number: int) -> str:
        text = []
        for letters in reversed(self._alphabets):
            number, digit = divmod(number, len(letters))
            text.append(letters[digit])
        return "".join(reversed(text))


def middle_first(points: Sequence[str]) -> list[str]:
    """Return the points in the order of a bisection. One answer can make all points on one side needless."""
    ordered, spans = [], [(0, len(points))]
    for start, stop in spans:  # the list grows during the loop
        if start < stop:
            middle = (start + stop) // 2
            ordered.append(points[middle])
            spans += [(start, middle), (middle + 1, stop)]
    return ordered


def _alphabets(keys: Sequence[str], hi: str | None, start: int, *, wide: bool) -> list[str]:
    """Return the sorted characters to use as digits at each position from ``start`` on.

    Where the keys of the page begin to differ, other characters of the same kind are likely to follow. The same holds for
    decimal digits at any position. A letter that all keys share stays as it is, such as the ``T`` in a date.
    """
    common = _shared(keys[0], keys[-1])
    sample = [key[common : common + DIGITS] for key in (*keys[::SAMPLE_STEP], keys[-1])]
    columns = [{letter} for letter in keys[0][:common]]
    columns += [set(column) - {""} for column in zip_longest(*sample, fillvalue="")]
    counting = {common}
    if hi is not None and (ahead := _shared(keys[-1], hi)) < len(columns):
        columns[ahead].add(hi[ahead])
        counting.add(ahead)
    alphabets: list[str] = []
    right = ""
    for position in reversed(range(start, len(columns))):
        column = columns[position]
        if not all(
            letter in right for letter in column
        ):  # else it is the next digit of the same number, decimal or not
            kinds = (_kinds(x) if wide or position in counting or x in _DECIMAL else (x,) for x in column)
            right = "".join(sorted({kind for of_letter in kinds for kind in of_letter}))
        alphabets.append(right)
    return alphabets[::-1]


def _shared(one: str, other: str) -> int:
    """Return how many characters both have in common before the first difference."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _kinds(letter: str) -> tuple[str, ...]:
    """Return the characters that are likely at this one's place, as runs that are equal or disjoint."""
    for runs in _RUNS:
        for number, run in enumerate(runs, 1):
            if letter in run:
                return runs[:number]
    if letter.isascii():
        return (letter,)
    block = ord(letter) & ~0x7F
    return (_run(block, block + 0x7F),)


def _run(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


_DECIMAL = _run(0x30, 0x39)
# Letters up to F may belong to a hexadecimal number. Chinese and Korean have more letters than one block.
_RUNS = (
    (_DECIMAL,),
    (_run(0x41, 0x46), _run(0x47, 0x5A)),
    (_run(0x61, 0x66), _run(0x67, 0x7A)),
    (_run(0x4E00, 0x9FFF),),
    (_run(0xAC00, 0xD7A3),),
)
