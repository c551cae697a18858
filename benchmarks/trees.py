"""Trees of files: how many of which size, and what is in each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIB = 1 << 10
BLOCK = 1 << 20
TOP, BELOW = 10, 10
"""Directories, and those in each of them."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Files in a hundred directories, in two levels."""

    name: str
    words: str
    sizes: tuple[int, ...]
    """Bytes of each file."""

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes)

    def files(self) -> dict[str, int]:
        """Sizes by path, in the order of S3."""
        return dict(
            sorted((f"{n % TOP:02}/{n // TOP % BELOW:02}/{n:06}.bin", size) for n, size in enumerate(self.sizes))
        )

    def make(self, directory: Path) -> None:
        """Write it, with content that is another in every file."""
        block = os.urandom(BLOCK)
        for top in range(TOP):
            for below in range(BELOW):
                (directory / f"{top:02}" / f"{below:02}").mkdir(parents=True, exist_ok=True)
        for name, size in self.files().items():
            with (directory / name).open("wb") as file:
                file.writelines(_content(f"{self.name} {name} ".encode(), block, size))


def _content(head: bytes, block: bytes, size: int) -> Iterator[bytes]:
    yield head
    size -= len(head)
    while size > 0:
        yield block[:size]
        size -= len(block)


def trees(divisor: int = 1) -> dict[str, Tree]:
    """All there are, with so many times fewer files."""
    small, medium = 10_000 // divisor, 1_000 // divisor
    various, some, few = 5_000 // divisor, 100 // divisor, max(1, 4 // divisor)
    mixed = [(1 + 37 * number % 64) * KIB for number in range(various)]
    return {
        "small": Tree("small", f"{small:,} files of 1 KiB", (KIB,) * small),
        "medium": Tree("medium", f"{medium:,} files of 1 MiB", (KIB * KIB,) * medium),
        "mixed": Tree(
            "mixed",
            f"{various:,} files of 1 to 64 KiB, {some} of 1 MiB and {few} of 64 MiB",
            (*mixed, *[KIB * KIB] * some, *[64 * KIB * KIB] * few),
        ),
    }
