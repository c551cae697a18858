"""Walk a local tree in the order of keys, which is that of the UTF-8 bytes of the whole relative name."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._models import ObjectInfo
from aiodreamobjects._transfer.sinks import is_left_over
from aiodreamobjects._tree.names import Patterns
from aiodreamobjects._tree.tokens import is_token

Symlinks = Literal["follow", "skip", "refuse"]

PAGE_FILES = 1000
MOST_TIMES_BEHIND_LINKS = 8
"""How often a directory is entered through two links or more. Directories that link to each other would otherwise be entered in
every order: 6 of them 1,956 times, 10 of them ten million times."""


Identity = tuple[int, int, int]
"""Inode, size and time: they tell one state of a file from every other."""


def identity_of(found: os.stat_result) -> Identity:
    return found.st_ino, found.st_size, found.st_mtime_ns


class Entry(NamedTuple):
    """A file or an object, by the relative name that it has in both trees."""

    name: str
    size: int
    mtime_ns: int | None = None
    """A file's own time."""
    identity: Identity | None = None
    info: ObjectInfo | None = None
    """What the listing says of an object."""


class Unusable(NamedTuple):
    """A name that is there and cannot be copied."""

    name: str
    error: Exception


class _Directory(NamedTuple):
    name: str
    above: tuple[tuple[int, int], ...]
    """The directories on the way down to it: their devices and inodes."""
    links: int
    """How many links are on that way. The last part of the name counts if it is one."""
    is_link: bool


Step = Entry | Unusable | None
"""None stands for a name that is left out."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How to go through a directory. It holds the names in the directories on the way to where it is."""

    root: str
    patterns: Patterns
    symlinks: Symlinks
    """A link that is followed is what it leads to. One that leads back to a directory above it is unusable."""
    only_files: bool = False
    """Whether to pass over names that are not UTF-8, and all but regular files, without a word."""
    missing_ok: bool = False
    """Whether to leave out what vanishes during the walk."""
    _times_behind_links: Counter[tuple[int, int]] = field(default_factory=Counter)

    async def pages(self) -> AsyncGenerator[list[Step], None]:
        steps = self._steps()
        while page := await finish(in_thread(lambda: list(islice(steps, PAGE_FILES)))):
            yield page

    def _steps(self) -> Iterator[Step]:
        """Depth first, without recursion: a tree may be deeper than Python's stack."""
        levels = [self._enter(_Directory("", (), links=0, is_link=False))]
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
                self._check_links(directory, path, above)
            with os.scandir(path) as entries:
                found_here = sorted(self._name(directory.name, entry) for entry in entries)
        except OSError as error:
            yield None if directory.name and self._has_vanished(path, error) else Unusable(directory.name, error)
            return
        for name, is_link in found_here:
            if not name.endswith("/"):
                yield from self._look_at(name)
            elif self.patterns.leaves_out(name):
                yield None
            else:
                yield _Directory(name, above, directory.links + is_link, is_link)

    def _check_links(self, directory: _Directory, path: str, above: tuple[tuple[int, int], ...]) -> None:
        if above[-1] in above[:-1]:
            raise _error(errno.ELOOP, path, "it leads back to a directory above it")
        if directory.is_link and directory.links > 1:
            times = self._times_behind_links
            times[above[-1]] += 1
            if times[above[-1]] > MOST_TIMES_BEHIND_LINKS:
                msg = f"more than {MOST_TIMES_BEHIND_LINKS} ways lead to it through several links: directories seem to link to each other"
                raise _error(errno.ELOOP, path, msg)

    def _name(self, directory: str, entry: os.DirEntry[str]) -> tuple[str, bool]:
        """Return the name, and whether it is a link to a directory.

        A directory has a slash behind its name, as in keys, so that they sort by it.
        """
        try:
            is_directory = entry.is_dir(follow_symlinks=self.symlinks == "follow")
        except OSError:  # a link in a circle, or to a place that may not be read
            is_directory = False
        name = f"{directory}{entry.name}"
        return (f"{name}/", entry.is_symlink()) if is_directory else (name, False)

    def _look_at(self, name: str) -> Iterator[Step]:
        if is_token(name):
            return
        if not self.patterns.select(name):
            yield None
            return
        if not self.only_files and is_left_over(name):
            yield None
            return
        path = f"{self.root}/{name}"
        if not (name.isascii() or is_utf8(name)):
            yield from self._pass_over(name, _error(errno.EILSEQ, path, "its name is not UTF-8"))
            return
        try:
            found = os.stat(path, follow_symlinks=self.symlinks == "follow")  # noqa: PTH116 - a name, as it was given
        except OSError as error:
            if self._has_vanished(path, error):
                yield None
            else:
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

    def _has_vanished(self, path: str, error: OSError) -> bool:
        """Return whether to leave this out. A link that leads nowhere has not vanished."""
        return self.missing_ok and isinstance(error, FileNotFoundError) and not os.path.lexists(path)

    def _pass_over(self, name: str, error: OSError) -> Iterator[Unusable]:
        if not self.only_files:
            yield Unusable(name, error)


def is_utf8(name: str) -> bool:
    """Bytes that are not UTF-8 are lone surrogates in a name (PEP 383)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _error(number: int, path: str, why: str) -> OSError:
    return OSError(number, why, path)
