"""Which names can be files below a directory, and which of them the patterns take. No file is touched here."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from aiodreamobjects._errors import UnsafeKeyError
from aiodreamobjects._tree.gitignore import Pattern, directories_of, encoded, last_match

# A segment that is empty, "." or "..", which also is an absolute path and a name that ends in a slash; and NUL.
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|\0")
# Windows: backslashes, drives and streams; device names with any extension; outer dots and blanks, which it drops.
_UNSAFE_ON_WINDOWS = re.compile(
    r"[\\:<>\"|?*\x00-\x1f]|(?:^|/)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.[^/]*)?(?:/|\Z)|[. ](?:/|\Z)",
    re.IGNORECASE,
)


def is_safe(name: str, *, on_windows: bool = os.name == "nt") -> bool:
    """Return whether this relative name, cut at its slashes, leads to a file inside a directory."""
    return not (_UNSAFE.search(name) or (on_windows and _UNSAFE_ON_WINDOWS.search(name)))


def folded(name: str) -> str:
    """Return the same for names that are one on a disk that ignores case and how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()


class InTheWay(Exception):  # noqa: N818 - users see an UnsafeKeyError instead, or nothing
    """A file, or a directory with a slash behind its name, has the place of another name. ``delete`` may remove it."""

    def __init__(self, blocking: str) -> None:
        super().__init__(blocking)
        self.blocking = blocking


def in_the_way(name: str, blocking: str, why: str) -> UnsafeKeyError:
    kind = "a directory" if blocking.endswith("/") else "a file"
    return UnsafeKeyError(f"{name!r} is not written: {blocking!r} is {kind} here{why}")


class Clashes:
    """Finds names that cannot be files beside each other, in a stream of sorted names. The first keeps its place.

    A name below a file clashes with it. On a disk that ignores case, so do names that differ only in case; for that, the names
    in the directories on the way to the current one are kept.
    """

    def __init__(self, *, folds_case: bool) -> None:
        self._folds_case = folds_case
        self._files: list[str] = []
        self._levels: list[tuple[str, dict[str, str]]] = [("", {})]

    def with_what(self, name: str) -> str | None:
        """Return the earlier name that this one clashes with."""
        if self._folds_case and (other := self._folded(name)):
            return other
        files = self._files
        while files and not name.startswith(files[-1]):
            files.pop()
        for file in files:
            if name.startswith("/", len(file)):
                return file
        files.append(name)
        return None

    def _folded(self, name: str) -> str | None:
        levels = self._levels
        while not name.startswith(levels[-1][0]):
            levels.pop()
        while True:
            base, names = levels[-1]
            head, slash, _ = name[len(base) :].partition("/")
            other = names.setdefault(folded(head), head)
            if other != head:
                return base + other
            if not slash:
                return None
            levels.append((f"{base}{head}/", {}))


def why_no_file(name: str, clashes: Clashes) -> str | None:
    """Return why this name cannot be a file below a directory, or None."""
    if not is_safe(name):
        return "it leads out of the directory, or to no name in it"
    other = clashes.with_what(name)
    return None if other is None else f"{other!r} is a file beside it, with which it cannot be"


class Patterns:
    """``include`` and ``exclude``, as .gitignore has them: the last pattern that matches decides.

    A name below an excluded directory is excluded, whatever other patterns say of it, as in git. For ``include``, the last
    pattern that matches the name or a directory above it decides.
    """

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        self._include, self._exclude = _compiled("include", include), _compiled("exclude", exclude)
        self._unseen = [*(self._include or ()), *(self._exclude or ())]
        self._above = self._look_at(b"")

    @property
    def are_any(self) -> bool:
        """Return whether there are patterns at all."""
        return self._include is not None or self._exclude is not None

    def __str__(self) -> str:
        include, exclude = ([pattern.line for pattern in some or ()] for some in (self._include, self._exclude))
        return f"include={include if self._include is not None else None}, exclude={exclude}"

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Return the patterns that have matched no name so far."""
        return tuple(pattern.line for pattern in self._unseen)

    def select(self, name: str) -> bool:
        """Return whether a file of this name is taken."""
        if not self.are_any:
            return True
        path = encoded(name)
        above = self._directory(path.rpartition(b"/")[0])
        included_by = -1 if self._include is None else last_match(self._include, path, is_directory=False)
        excluded_by = -1 if self._exclude is None else last_match(self._exclude, path, is_directory=False)
        if included_by >= 0 or excluded_by >= 0:
            self._note(path, is_directory=False)
        if self._include is not None:
            included_by = max(included_by, above.included_by)
            if included_by < 0 or self._include[included_by].negates:
                return False
        if self._exclude is None:
            return True
        return not above.is_excluded and (excluded_by < 0 or self._exclude[excluded_by].negates)

    def leaves_out(self, directory: str) -> bool:
        """Return whether no file below this directory can be taken. Then it need not be read."""
        if not self.are_any:
            return False
        path = encoded(directory.removesuffix("/"))
        here = self._directory(path)
        if here.is_excluded:
            return True
        if self._include is None or (here.included_by >= 0 and not self._include[here.included_by].negates):
            return False
        later = self._include[here.included_by + 1 :]
        return not any(pattern.may_match_below(path) for pattern in later if not pattern.negates)

    def _directory(self, path: bytes) -> _Directory:
        """Names come in order: most are in the same directory as the one before."""
        if self._above.path != path:
            self._above = self._look_at(path)
        return self._above

    def _look_at(self, path: bytes) -> _Directory:
        included_by, is_excluded = -1, False
        for above in (*directories_of(path), path) if path else ():
            self._note(above, is_directory=True)
            if self._include is not None:
                included_by = max(included_by, last_match(self._include, above, is_directory=True))
            if self._exclude is not None and not is_excluded:
                index = last_match(self._exclude, above, is_directory=True)
                is_excluded = index >= 0 and not self._exclude[index].negates
        return _Directory(path, included_by, is_excluded)

    def _note(self, path: bytes, *, is_directory: bool) -> None:
        if self._unseen:
            self._unseen = [one for one in self._unseen if not one.match(path, is_directory=is_directory)]


class _Directory(NamedTuple):
    """What the patterns say of a directory and all above it."""

    path: bytes
    included_by: int
    """The index of the last pattern of ``include`` that matches, or -1."""
    is_excluded: bool


def _compiled(what: str, lines: Iterable[str]) -> list[Pattern] | None:
    """Return None where nothing was given."""
    if isinstance(lines, str):
        msg = f"{what} is one str; it must be patterns: [{lines!r}]"
        raise TypeError(msg)
    given = list(lines)
    for line in given:
        if not isinstance(line, str):
            msg = f"a pattern of {what} is a str, not {type(line).__name__}"
            raise TypeError(msg)
    try:
        return [pattern for line in given if (pattern := Pattern.of(line))] if given else None
    except ValueError as error:
        msg = f"{what}: {error}"
        raise ValueError(msg) from error
