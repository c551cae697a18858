"""How an object is cut into parts. Arithmetic only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from aiodreamobjects._service import MultipartRules

MIB = 1 << 20
PART_SIZE_NAME = "part-size"
"""The metadata in which a multipart upload keeps its part size, so that a download can compute its ETag."""
ANY_SIZE = 1 << 62
"""No object is larger: of a single part whose length is not known."""
EVEN_PARTS = 1000
"""Of an upload whose length is not known, so many parts have the usual size; then they grow."""


@dataclass(frozen=True, slots=True)
class PartSizes:
    """``sizes(number)``, from 1: all parts are of the ``first`` size, or from the 1,001st on each is larger by ``step``.

    The last part of an object is as large as it is.
    """

    first: int
    step: int = 0

    def __call__(self, number: int) -> int:
        return self.first + max(0, number - EVEN_PARTS) * self.step

    def start_of(self, number: int) -> int:
        """Where this part begins in the object."""
        before = number - 1
        growing = max(0, before - EVEN_PARTS)
        return before * self.first + self.step * growing * (growing + 1) // 2

    def __str__(self) -> str:
        return f"{self.first}+{self.step}" if self.step else str(self.first)

    def make(self, count: int, size: int) -> bool:
        """Whether an object of this size has so many parts."""
        return self.start_of(count) < size <= self.start_of(count + 1)


def plan(size: int | None, part_size: int, rules: MultipartRules) -> PartSizes:
    """The parts of an object of this size, or of one whose end is not known. ValueError where no parts can make it.

    A known size is cut evenly. An unknown one begins with the usual size and grows so that the most parts that there
    may be hold the largest object, where parts may have different sizes.
    """
    first = max(part_size, rules.smallest_part)
    if size is None:
        if rules.equal_parts:
            return PartSizes(first)
        growing = rules.most_parts - EVEN_PARTS
        missing = rules.largest_object - rules.most_parts * first
        if growing < 1 or missing < 1:
            return PartSizes(first)
        step = ceil(missing / (growing * (growing + 1) / 2))
        return PartSizes(first, min(step, max(0, rules.largest_part - first) // growing))
    if size > rules.largest_object:
        msg = f"{size:,} bytes are more than the {rules.largest_object:,} that an object can have"
        raise ValueError(msg)
    if size > first * rules.most_parts:
        least = -(-size // rules.most_parts)
        first = -(-least // MIB) * MIB if least > MIB else least
    return PartSizes(first)


def known_parts(size: int | None, count: int, metadata: Mapping[str, str] | None) -> tuple[PartSizes | None, bool]:
    """Return the sizes of the parts that an object is likely made of, and whether they are certain. Ask nobody.

    An upload of ours keeps the size in the metadata. Most other tools use whole numbers of MiB, and mostly just one of
    them makes so many parts of so many bytes. Where the size is not known yet, whether the parts make it is to be seen
    when all has arrived.
    """
    kept = re.fullmatch(r"([1-9][0-9]{0,12})(?:\+([0-9]{1,13}))?", (metadata or {}).get(PART_SIZE_NAME, ""))
    if kept:
        sizes = PartSizes(int(kept[1]), int(kept[2] or 0))
        if size is None or sizes.make(count, size):
            return sizes, True
    if count == 1:
        return PartSizes(ANY_SIZE if size is None else size), True
    if size is None:
        return None, False
    smallest, largest = -(-size // count), (size - 1) // (count - 1)
    first, last = -(-smallest // MIB), largest // MIB
    if first > last:
        return None, False
    usual = [mib for mib in USUAL_MIB if first <= mib <= last]
    return PartSizes((usual or [first])[0] * MIB), False


USUAL_MIB = (8, 5, 16, 10, 15, 32, 50, 64, 100, 128, 256, 512)
