"""The patterns of .gitignore, as git matches them: on the bytes of a name, ``?`` and ``[...]`` included.

The rules are those of gitignore(5); where it leaves something open, those of git's ``dir.c`` and ``wildmatch.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_CLASSES = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"!-~",
    b"lower": rb"a-z",
    b"print": rb" -~",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb" \t-\r",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}
_SPECIAL = re.compile(rb"[*?\[\\]")
_MEMBER = re.compile(rb"\[:([^\]]*):\]|(\\.|.)(?:-(\\.|[^\]\\]))?", re.DOTALL)
"""What can be in a bracket: a named class, a byte, or a range of bytes."""
_NEVER = rb"(?!)"
_ANY_IN_A_NAME = rb"[^/]*"


def encoded(name: str) -> bytes:
    """Return the bytes of a name, with those that are not UTF-8 as the file system has them (PEP 383)."""
    return name.encode("utf-8", "surrogateescape")


def directories_of(name: bytes) -> Iterator[bytes]:
    """Yield the directories above a name, the topmost first."""
    at = name.find(b"/")
    while at >= 0:
        yield name[:at]
        at = name.find(b"/", at + 1)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line."""

    line: str
    """As it was given."""
    negates: bool
    only_directories: bool
    is_bound: bool
    """Whether a slash at its beginning or in its middle binds it to the top. Others match the last part of a path."""
    matches: re.Pattern[bytes]
    leads_to: re.Pattern[bytes] | None
    """For a bound one: matches the directories below which it may match something."""

    @classmethod
    def of(cls, line: str) -> Pattern | None:
        """Return None for a comment or an empty line. Raises ValueError for a lone ``!``."""
        text = _without_end(encoded(line))
        if not text or text.startswith(b"#"):
            return None
        negates = text.startswith(b"!")
        text = text[negates:]
        if not text:
            msg = f"{line!r} negates nothing"
            raise ValueError(msg)
        only_directories = text.endswith(b"/")
        text = text[: len(text) - only_directories]
        is_bound = b"/" in text
        parts = _translated(text.removeprefix(b"/"), is_bound=is_bound)
        matches = re.compile(b"".join(parts), re.DOTALL)
        return cls(line, negates, only_directories, is_bound, matches, _leads(parts) if is_bound else None)

    def match(self, path: bytes, *, is_directory: bool) -> bool:
        """Return whether it names this very path."""
        if self.only_directories and not is_directory:
            return False
        return self.matches.fullmatch(path if self.is_bound else path[path.rfind(b"/") + 1 :]) is not None

    def may_match_below(self, directory: bytes) -> bool:
        return self.leads_to is None or self.leads_to.fullmatch(directory) is not None


def last_match(patterns: Sequence[Pattern], path: bytes, *, is_directory: bool) -> int:
    """Return the index of the last one that matches, or -1."""
    name = path[path.rfind(b"/") + 1 :]
    for index in range(len(patterns) - 1, -1, -1):
        pattern = patterns[index]
        if (is_directory or not pattern.only_directories) and pattern.matches.fullmatch(
            path if pattern.is_bound else name
        ):
            return index
    return -1


def _without_end(text: bytes) -> bytes:
    """Drop the end of the line, and the blanks before it unless a backslash keeps them."""
    text = text.removesuffix(b"\n").removesuffix(b"\r")
    kept = text.rstrip(b" ")
    escapes = len(kept) - len(kept.rstrip(b"\\"))
    return text[: len(kept) + 1] if escapes % 2 and len(kept) < len(text) else kept


def _translated(text: bytes, *, is_bound: bool) -> list[bytes]:
    """Return regular expressions, one for each character, wildcard or class of the pattern."""
    parts, at = list[bytes](), 0
    while at < len(text):
        letter = text[at : at + 1]
        if letter == b"*":
            end = at + len(text[at:]) - len(text[at:].lstrip(b"*"))
            # git compares what comes before the first wildcard by itself, and then takes "**" for the beginning.
            begins = text[at - 1 : at] in (b"", b"/") or not _SPECIAL.search(text[:at])
            ends = text[end : end + 1] in (b"", b"/") or text[end : end + 2] == b"\\/"
            if not is_bound or end - at == 1 or not (begins and ends):
                parts.append(_ANY_IN_A_NAME)
            elif text[end : end + 1] == b"/":
                parts.append(rb"(?:.*/)?")  # and the slash behind it
                end += 1
            else:
                parts.append(rb".*")
            at = end
        elif letter == b"[":
            part, at = _class(text, at + 1)
            parts.append(part)
        elif letter == b"\\":
            parts.append(re.escape(text[at + 1 : at + 2]) or _NEVER)
            at += 2
        else:
            parts.append(rb"[^/]" if letter == b"?" else re.escape(letter))
            at += 1
    return parts


def _class(text: bytes, at: int) -> tuple[bytes, int]:
    """Return the expression of a bracket, and where it ends. One that has no end, or an unknown name, matches nothing."""
    negates = text[at : at + 1] in (b"!", b"^")
    at += negates
    members = list[bytes]()
    while not members or text[at : at + 1] != b"]":  # the first member may be a "]"
        found = _MEMBER.match(text, at)
        if found is None:
            return _NEVER, len(text)
        at = found.end()
        name, first, last = (found[1], *(group and re.escape(group[-1:]) for group in found.group(2, 3)))
        if name is not None:
            members.append(_CLASSES.get(name, b""))
            if not members[-1]:
                return _NEVER, len(text)
        elif last is None or found[2][-1:] > found[3][-1:]:  # git takes only the start of an empty range
            members.append(first)
        else:
            members.append(b"%s-%s" % (first, last))
    inside = b"".join(members)
    if negates:
        return b"[^/%s]" % inside, at + 1
    return b"(?!/)[%s]" % inside, at + 1


def _leads(parts: Sequence[bytes]) -> re.Pattern[bytes]:
    """Return what matches the directories on the way: for ``a/*/c``, ``a`` and ``a/x``."""
    levels: list[list[bytes]] = [[]]
    for part in parts:
        if part in (rb".*", rb"(?:.*/)?"):  # any directory from here on
            levels[-1].append(rb".*")
            levels.append([])
            break
        if part == b"/":
            levels.append([])
        else:
            levels[-1].append(part)
    expression = b""
    for level in reversed(levels[:-1]):
        expression = b"".join(level) + (b"(?:/%s)?" % expression if expression else b"")
    return re.compile(expression or _NEVER, re.DOTALL)
