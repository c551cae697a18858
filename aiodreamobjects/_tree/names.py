"""Which names can be files below a directory, and which of them are asked for. Decides, touches nothing."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from pathspec import GitIgnoreSpec, RegexPattern

# A segment that is empty, "." or "..", which also is an absolute path and a name that ends in a slash; and NUL.
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|\0")
# Windows: backslashes, drives and streams; device names with any extension; outer dots and blanks, which it drops.
_UNSAFE_ON_WINDOWS = re.compile(
    r"[\\:<>\"|?*\x00-\x1f]|(?:^|/)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.[^/]*)?(?:/|\Z)|[. ](?:/|\Z)",
    re.IGNORECASE,
)

_LEFT_OVER = re.compile(r"(?:.*/)?\.[^/]{1,50}\.(?:[0-9a-f]{8}\.part|[0-9a-f]{12}\.(?:part|journal))", re.DOTALL)
"""What PathSink and Disk call their temporary files, and a resumed download its journal."""


def is_left_over(name: str) -> bool:
    """Whether it is called as what a download that is under way, or was killed, leaves beside its target."""
    return name.endswith((".part", ".journal")) and _LEFT_OVER.fullmatch(name) is not None


def is_safe(name: str, *, on_windows: bool = os.name == "nt") -> bool:
    """Whether this relative name, cut at its slashes, leads to a file inside a directory."""
    return not (_UNSAFE.search(name) or (on_windows and _UNSAFE_ON_WINDOWS.search(name)))


def folded(name: str) -> str:
    """The same for names that are one where a disk does not tell cases, or ways to compose an accent, apart."""
    return unicodedata.normalize("NFC", name).casefold()


class Clashes:
    """Names that cannot be files beside each other, found as they go by in order: the first keeps the place.

    A name below one that is a file. Where the disk does not tell cases apart, also a name that differs from another
    only in case: for that the names of the directories that are open in the order are kept.
    """

    def __init__(self, *, folds_case: bool) -> None:
        self._folds_case = folds_case
        self._files: list[str] = []
        self._levels: list[tuple[str, dict[str, str]]] = [("", {})]

    def with_what(self, name: str) -> str | None:
        """The name before it that this one clashes with."""
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


_NEWLINE = "\x0b"
"""Stands for a newline, which pathspec's expressions do not match as any other character (``.`` and ``$``)."""


class Patterns:
    """``include`` and ``exclude``, as .gitignore has them: the last pattern that matches decides."""

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        self._given: dict[str, str] = {}
        """Patterns as the caller wrote them, by what pathspec got."""
        self._include, self._exclude = self._spec("include", include), self._spec("exclude", exclude)
        specs = [spec for spec in (self._include, self._exclude) if spec is not None]
        written = [pattern for spec in specs for pattern in spec.patterns if isinstance(pattern, RegexPattern)]
        self._unseen = [pattern for pattern in written if pattern.include is not None]  # the others are comments
        excluding = self._exclude.patterns if self._exclude is not None else ()
        self._prunes = all(pattern.include is not False for pattern in excluding)

    @property
    def are_any(self) -> bool:
        return self._include is not None or self._exclude is not None

    @property
    def unmatched(self) -> tuple[str, ...]:
        written = [str(pattern.pattern) for pattern in self._unseen]
        return tuple(self._given.get(one, one) for one in written)

    def select(self, name: str) -> bool:
        name = name.replace("\n", _NEWLINE)
        if self._unseen:
            self._note(name)
        if self._include is not None and not self._include.match_file(name):
            return False
        return self._exclude is None or not self._exclude.match_file(name)

    def leaves_out(self, directory: str) -> bool:
        """Whether nothing below this directory, whose name ends in a slash, can be selected: it need not be read."""
        directory = directory.replace("\n", _NEWLINE)
        if self._exclude is None or not self._prunes or not self._exclude.match_file(directory):
            return False
        self._note(directory)
        return True

    def _note(self, name: str) -> None:
        self._unseen = [pattern for pattern in self._unseen if not pattern.match_file(name)]

    def _spec(self, what: str, patterns: Iterable[str]) -> GitIgnoreSpec | None:
        if isinstance(patterns, str):
            msg = f"{what} is one str; it must be patterns: [{patterns!r}]"
            raise TypeError(msg)
        lines = []
        for line in patterns:
            if not isinstance(line, str):
                msg = f"a pattern of {what} is a str, not {type(line).__name__}"
                raise TypeError(msg)
            lines.append(line.removesuffix("\n").replace("\n", _NEWLINE))  # lines of a file may have their ends
            self._given[lines[-1]] = line
        try:
            return GitIgnoreSpec.from_lines(lines) if lines else None
        except ValueError as error:
            msg = f"{what}: {error}"
            raise ValueError(msg) from error
