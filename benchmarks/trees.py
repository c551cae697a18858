"""Trees of files: how many of which size, and what is in each."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

KIB = 1 << 10
BLOCK = 1 << 20
TOP, BELOW = 10, 10
"""How many directories, and directories in each of them."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Files in a hundred directories, in two levels, or in none."""

    name: str
    words: str
    sizes: tuple[int, ...]
    """Bytes of each file."""
    is_flat: bool = False
    has_digests: bool = True
    """Whether the ETags are MD5s, so that a download is verified."""

    def first(self, count: int) -> Tree:
        """Return the same tree with fewer files."""
        return replace(self, sizes=self.sizes[:count])

    def files(self) -> dict[str, int]:
        """Return sizes by path, in the order of S3."""
        return dict(sorted((self._name(number), size) for number, size in enumerate(self.sizes)))

    def _name(self, number: int) -> str:
        return f"{'' if self.is_flat else f'{number % TOP:02}/{number // TOP % BELOW:02}/'}{number:06}.bin"

    def make(self, directory: Path) -> None:
        """Write the files. The content differs in each file and at each place of it."""
        block = memoryview(os.urandom(BLOCK))
        for parent in {(directory / name).parent for name in self.files()}:
            parent.mkdir(parents=True, exist_ok=True)
        for name, size in self.files().items():
            with (directory / name).open("wb") as file:
                for start in range(0, size, BLOCK):
                    head = f"{self.name} {name} {start} ".encode()
                    file.write(head)
                    file.write(block[len(head) : size - start])


def trees(divisor: int = 1) -> dict[str, Tree]:
    """Return all trees, with so many times fewer files."""
    small, medium = 10_000 // divisor, 1_000 // divisor
    various, some, few = 5_000 // divisor, 100 // divisor, max(1, 4 // divisor)
    mixed = [(1 + 37 * number % 64) * KIB for number in range(various)]
    return {
        "small": Tree("small", f"{small:,} files of 1 KiB", (KIB,) * small),
        "medium": Tree("medium", f"{medium:,} files of 1 MiB", (KIB * KIB,) * medium),
        "plain": Tree(
            "plain", f"{medium:,} files of 1 MiB, ETags that are no digests", (KIB * KIB,) * medium, has_digests=False
        ),
        "mixed": Tree(
            "mixed",
            f"{various:,} files of 1 to 64 KiB, {some} of 1 MiB and {few} of 64 MiB",
            (*mixed, *[KIB * KIB] * some, *[64 * KIB * KIB] * few),
        ),
    }
