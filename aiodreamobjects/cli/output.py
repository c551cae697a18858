"""What the command prints: lines or JSON on standard output, prose on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from aiodreamobjects.cli.errors import ClosedPipeError

_UNITS = ("", "K", "M", "G", "T", "P", "E")
_STEP = 1024
_HELD_BYTES = 1 << 16
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What JSON allows in a string, and some readers of lines take for the end of one."""


class Output:
    """Standard output and standard error of one command. Lines are held until the event loop turns, then written at once."""

    def __init__(self) -> None:
        self.is_json = self.is_quiet = False
        self.is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self.is_writing = False
        """Whether a write waits for the reader. A signal then cannot wait for the event loop."""
        self.later: Callable[[Callable[[], None]], object] | None = None
        """Calls a function when the event loop turns; None where there is no loop."""
        self.clear_progress: Callable[[], None] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0

    def line(self, text: str) -> None:
        """Print a line for people. On a terminal, control characters are escaped."""
        self._write(printable(text) if self.is_terminal else text)

    def record(self, kind: str, values: Mapping[str, object]) -> None:
        """Print a line of JSON."""
        import json  # noqa: PLC0415 - start-up: few runs print JSON

        text = json.dumps({"type": kind, **values}, ensure_ascii=False, default=_plain).translate(_LINE_ENDS)
        self._write(text.encode("utf-8", "backslashreplace").decode())  # names of files need not be UTF-8

    def value(self, kind: str, value: object, text: str, **more: object) -> None:
        """Print a value of the library: as JSON with its own field names, or as the given text."""
        if self.is_json:
            self.record(kind, {**fields_of(value), **more})
        else:
            self.line(text)

    def say(self, text: str) -> None:
        """Tell people something on standard error."""
        if not self.is_quiet:
            self.complain(text)

    def complain(self, text: str) -> None:
        """Tell people something on standard error, also with --quiet."""
        if self.clear_progress is not None:
            self.clear_progress()
        if self.is_terminal:
            self.flush()  # people read both, in order
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    def flush(self) -> None:
        """Write what is held."""
        data = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        if data:
            self.write(data)

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes as they are. Raises ClosedPipeError if nobody reads any more."""
        rest, self.is_writing = memoryview(data), True
        try:
            while rest:
                rest = rest[os.write(1, rest) :]
        except BrokenPipeError:
            raise ClosedPipeError from None
        finally:
            self.is_writing = False

    def _write(self, text: str) -> None:
        if self.clear_progress is not None:
            self.clear_progress()
        is_first = not self._held
        self._held.append(text.encode("utf-8", "surrogateescape") + b"\n")
        self._held_bytes += len(self._held[-1])
        if self.later is None or self._held_bytes > _HELD_BYTES:
            self.flush()
        elif is_first:
            self.later(self.flush)


def fields_of(value: object) -> dict[str, object]:
    """Return the fields of a value that are known."""
    from dataclasses import fields  # noqa: PLC0415 - start-up: --help needs none

    names = [field.name for field in fields(value)]  # type: ignore[arg-type]  # all values of the library are dataclasses
    return {name: found for name in names if (found := getattr(value, name)) is not None}


def printable(text: str) -> str:
    """Escape characters that could move a terminal's cursor or forge a line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def human(count: int) -> str:
    """Return a number of bytes in at most four digits: ``1023``, ``1.0K``, ``23.4M``."""
    size, unit = float(count), 0
    while size >= _STEP and unit < len(_UNITS) - 1:
        size, unit = size / _STEP, unit + 1
    return f"{size:.1f}{_UNITS[unit]}" if unit else str(count)


def amount(count: float) -> str:
    """Return a number of bytes with its unit: ``1023B``, ``23.4MiB``."""
    found = human(int(count))
    return f"{found}B" if found.isdigit() else f"{found}iB"


def rfc3339(time: datetime) -> str:
    """Return a time in UTC, as ``2026-11-29T06:32:51Z``."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def clock(time: datetime | None) -> str:
    """Return a time as ``aws s3 ls`` prints it, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if time is not None else " " * 19


def _plain(value: Any) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)
