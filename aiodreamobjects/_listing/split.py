"""Where to cut a range of keys: arithmetic on what one page of it shows. Nothing here waits or asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import prod

from aiodreamobjects._checks import KEY_BYTES

DIGITS = 6
"""How many characters are counted behind those that all keys of a page share."""
SAMPLE_STEP = 8
"""Every so many keys of a page are looked at for the characters that occur."""

FAR_BOUNDARIES = 48
"""About so many at most: keys of a thousand characters have room for thousands."""


class Ruler:
    """Measures the keys behind a page as numbers whose digits are characters, in the order of their UTF-8 bytes.

    Its unit is that page: what lies behind it, up to and with ``hi``, is taken to be as dense. All keys begin with
    ``prefix``. ``wide`` also counts with letters that the page does not show, to find the names beside its own.
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
        """An estimate: up to ``hi``, or to the highest number there is."""
        return min(max(0, self._end - self._start), self._page << 40) / self._page  # a float has its limits

    def evenly(self, pieces: int) -> list[str]:
        """The boundaries between so many pieces of all that is left."""
        return self._texts(self._start + (self._end - self._start) * n // pieces for n in range(1, pieces))

    def stepwise(self, pages: float, steps: int) -> list[str]:
        """Boundaries every so many pages."""
        return self._texts(self._start + int(self._page * pages * n) for n in range(1, steps + 1))

    def ever_farther(self, pages: float) -> list[str]:
        """Boundaries from so many pages away on, each at least four times as far as the one before; not very many."""
        nearest = int(self._page * pages) or 1
        doublings = max(0, self._end - self._start).bit_length() - nearest.bit_length()
        stride = max(2, doublings // FAR_BOUNDARIES)
        return self._texts(self._start + (nearest << n) for n in range(0, doublings, stride))

    def _texts(self, numbers: Iterable[int]) -> list[str]:
        """As keys, where one fits between the page and ``hi``."""
        texts = dict.fromkeys(map(self._text, numbers))
        return [
            text
            for text in texts
            if self._last < text and (self._hi is None or text < self._hi) and len(text.encode()) <= KEY_BYTES
        ]

    def _number(self, text: str) -> int:
        number = 0
        for letters, letter in zip_longest(self._alphabets, text[: len(self._alphabets)], fillvalue=""):
            # A letter that is not counted with stands where it would be inserted.
            number = number * len(letters) + min(bisect_left(letters, letter), len(letters) - 1)
        return number

    def _text(self, number: int) -> str:
        text = []
        for letters in reversed(self._alphabets):
            number, digit = divmod(number, len(letters))
            text.append(letters[digit])
        return "".join(reversed(text))


def middle_first(points: Sequence[str]) -> list[str]:
    """The same ones in the order of a bisection: the answer to one can make all on one side of it needless."""
    ordered, spans = [], [(0, len(points))]
    for start, stop in spans:  # grows meanwhile
        if start < stop:
            middle = (start + stop) // 2
            ordered.append(points[middle])
            spans += [(start, middle), (middle + 1, stop)]
    return ordered


def _alphabets(keys: Sequence[str], hi: str | None, start: int, *, wide: bool) -> list[str]:
    """The characters to count with at each position from ``start`` on, sorted.

    A page shows the beginning of what comes: where its keys begin to differ, all of a kind are likely to follow one
    another, and digits anywhere. A letter that all its keys share stays as it is: a date's ``T`` is no number.
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
    """How many characters they have in common before the first that differs."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _kinds(letter: str) -> tuple[str, ...]:
    """The characters that are likely where this one is, in runs that are the same or have nothing in common."""
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
# Letters up to F may be of a hexadecimal number; Chinese and Korean have more of them than a block.
_RUNS = (
    (_DECIMAL,),
    (_run(0x41, 0x46), _run(0x47, 0x5A)),
    (_run(0x61, 0x66), _run(0x67, 0x7A)),
    (_run(0x4E00, 0x9FFF),),
    (_run(0xAC00, 0xD7A3),),
)
