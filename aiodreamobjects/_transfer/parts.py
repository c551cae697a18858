"""Compute the sizes of an object's parts. This module only calculates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from aiodreamobjects._service import MultipartRules

MIB = 1 << 20
PART_SIZE_NAME = "part-size"
"""The metadata name under which a multipart upload stores its part size. A download needs it to compute the ETag."""
ANY_SIZE = 1 << 62
"""The size of a single part of unknown length. No object is larger."""
EVEN_PARTS = 1000
"""If the length is unknown, this many parts have the usual size. The parts after them grow."""


@dataclass(frozen=True, slots=True)
class PartSizes:
    """The size of each part: ``sizes(number)``, counted from 1.

    Parts have the size ``first``. From the 1,001st on, each is ``step`` bytes larger than the one before. The last part of
    an object may be smaller.
    """

    first: int
    step: int = 0

    def __call__(self, number: int) -> int:
        return self.first + max(0, number - EVEN_PARTS) * self.step

    def start_of(self, number: int) -> int:
        """Return the offset of this part in the object."""
        before = number - 1
        growing = max(0, before - EVEN_PARTS)
        return before * self.first + self.step * growing * (growing + 1) // 2

    def __str__(self) -> str:
        return f"{self.first}+{self.step}" if self.step else str(self.first)

    def make(self, count: int, size: int) -> bool:
        """Return whether an object of this size has ``count`` parts."""
        return self.start_of(count) < size <= self.start_of(count + 1)


def plan(size: int | None, part_size: int, rules: MultipartRules) -> PartSizes:
    """Return the part sizes for an object of this size, or of unknown size. Raise ValueError if it is too large.

    An object of known size gets parts of one size. If the size is unknown, the first parts have the usual size, and later
    parts grow, so that the allowed number of parts can hold the largest object. Services that require equal parts get
    equal parts.
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
        msg = f"{size:,} bytes are too many for one object: this service allows {rules.largest_object:,}"
        raise ValueError(msg)
    if size > first * rules.most_parts:
        least = -(-size // rules.most_parts)
        first = -(-least // MIB) * MIB if least > MIB else least
    return PartSizes(first)


def known_parts(size: int | None, count: int, metadata: Mapping[str, str] | None) -> tuple[PartSizes | None, bool]:
    """Return the likely part sizes of an object, and whether they are certain. Send no request.

    Our own uploads store the part size in the metadata. Most other tools use whole numbers of MiB, and usually only one
    such number fits the object's size and its count of parts. If the object's size is unknown, the caller must check the
    stored part size after the download.
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
