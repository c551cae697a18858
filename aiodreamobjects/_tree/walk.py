"""A local tree in the order of keys: of the UTF-8 bytes of the whole relative name."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from anyio import to_thread

from aiodreamobjects._concurrency import finish
from aiodreamobjects._models import ObjectInfo
from aiodreamobjects._tree.names import Patterns, is_left_over

Symlinks = Literal["follow", "skip", "refuse"]

PAGE_FILES = 1000


Identity = tuple[int, int, int]
"""What tells one state of a file from every other: inode, size and time."""


def identity_of(found: os.stat_result) -> Identity:
    return found.st_ino, found.st_size, found.st_mtime_ns


class Entry(NamedTuple):
    """A file or an object, by the relative name that it has in both trees."""

    name: str
    size: int
    mtime_ns: int | None = None
    """Of a file: its own."""
    identity: Identity | None = None
    info: ObjectInfo | None = None
    """Of an object: what the listing tells."""


class Unusable(NamedTuple):
    """What is there and cannot be moved."""

    name: str
    error: Exception


class _Directory(NamedTuple):
    name: str
    above: tuple[tuple[int, int], ...]
    """What tells the directories on the way down to it from all others: devices and inodes."""


Step = Entry | Unusable | None
"""None is for what is left out."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How a directory is gone through. In memory are the names of the directories on the way to where it is."""

    root: str
    patterns: Patterns
    symlinks: Symlinks
    """A link that is followed is what it leads to; one that leads back to a directory above it is unusable."""
    only_files: bool = False
    """Whether all but regular files, and names that are not UTF-8, are passed over in silence."""

    async def pages(self) -> AsyncGenerator[list[Step], None]:
        steps = self._steps()
        while page := await finish(to_thread.run_sync(lambda: list(islice(steps, PAGE_FILES)))):
            yield page

    def _steps(self) -> Iterator[Step]:
        """Depth first, without recursion: a tree may be deeper than Python's stack."""
        levels = [self._enter(_Directory("", ()))]
        while levels:
            for step in levels[-1]:
                if isinstance(step, _Directory):
                    levels.append(self._enter(step))
                    break
                yield step
            else:
                levels.pop()

    def _enter(self, directory: _Directory) -> Iterator[Step | _Directory]:
        path, above = f"{self.root}/{directory.name}", directory.above
        try:
            if self.symlinks == "follow":
                found = os.stat(path)  # noqa: PTH116 - a name, as it was given
                above = (*above, (found.st_dev, found.st_ino))
            with os.scandir(path) as entries:
                names = sorted(self._name(directory.name, entry) for entry in entries)
        except OSError as error:
            yield Unusable(directory.name, error)
            return
        if above and above[-1] in above[:-1]:
            yield Unusable(directory.name, _error(errno.ELOOP, path, "it leads back to a directory above it"))
            return
        for name in names:
            if not name.endswith("/"):
                yield from self._look_at(name)
            elif self.patterns.leaves_out(name):
                yield None
            else:
                yield _Directory(name, above)

    def _name(self, directory: str, entry: os.DirEntry[str]) -> str:
        """With a slash behind it where it is a directory, as its keys have: so they sort by it."""
        try:
            is_directory = entry.is_dir(follow_symlinks=self.symlinks == "follow")
        except OSError:  # a link that leads in a circle, or to where nobody may look
            is_directory = False
        return f"{directory}{entry.name}/" if is_directory else f"{directory}{entry.name}"

    def _look_at(self, name: str) -> Iterator[Step]:
        if not self.patterns.select(name):
            yield None
            return
        if not self.only_files and is_left_over(name):
            yield None
            return
        path = f"{self.root}/{name}"
        if not (name.isascii() or _is_utf8(name)):
            yield from self._pass_over(name, _error(errno.EILSEQ, path, "its name is not UTF-8"))
            return
        try:
            found = os.stat(path, follow_symlinks=self.symlinks == "follow")  # noqa: PTH116 - a name, as it was given
        except OSError as error:
            yield from self._pass_over(name, error)
            return
        if stat.S_ISREG(found.st_mode):
            yield Entry(name, found.st_size, found.st_mtime_ns, identity_of(found))
        elif not stat.S_ISLNK(found.st_mode):
            yield from self._pass_over(name, _error(errno.EINVAL, path, "it is no regular file"))
        elif self.symlinks == "refuse":
            yield from self._pass_over(name, _error(errno.ELOOP, path, "it is a symbolic link"))
        else:
            yield None

    def _pass_over(self, name: str, error: OSError) -> Iterator[Unusable]:
        if not self.only_files:
            yield Unusable(name, error)


def _is_utf8(name: str) -> bool:
    """The file system's bytes that are none stand in the name as lone surrogates (PEP 383)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _error(number: int, path: str, why: str) -> OSError:
    return OSError(number, why, path)
