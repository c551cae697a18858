"""A file that remembers which batches of a verb are finished, so that the same call can skip them."""

from __future__ import annotations

import errno
import json
import os
from bisect import bisect_left
from pathlib import Path
from typing import Self

from aiodreamobjects._concurrency import close_in_thread, finish, in_thread
from aiodreamobjects._system import PLAIN


class Journal:
    """Finished batches, as ranges of sorted keys. A range ends with the last key of a batch, and begins behind the batch before.

    The first line names the call. Each other line is one range, written and synced when its batch is finished. A line that was
    cut by a crash or a full disk cannot be read: its batch counts as not finished.
    """

    def __init__(self, path: str | os.PathLike[str], call: str) -> None:
        self._path, self._call = Path(path), call
        self._file = -1
        self._begins: list[str] = []
        self._ends: list[str] = []

    async def __aenter__(self) -> Self:
        try:
            await finish(in_thread(self._open))
        except BaseException:  # also a cancellation that came meanwhile
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file != -1:
            await close_in_thread(os.close, self._file)

    def has(self, key: str) -> bool:
        """Return whether a finished batch had this key."""
        at = bisect_left(self._ends, key)
        return at < len(self._ends) and self._begins[at] < key

    async def add(self, after: str, last: str) -> None:
        """Note that all keys behind ``after``, up to ``last``, are done."""
        await finish(in_thread(self._write, _line([after, last])))

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | PLAIN, 0o600)
        with open(self._file, "rb", closefd=False) as file:
            content = file.read()
        head = _line({"call": self._call})
        if head.startswith(content):  # new, or cut within its first line
            os.ftruncate(self._file, 0)
            self._write(head)
        elif content.startswith(head):
            self._take(sorted(filter(None, map(_range_in, content.splitlines()[1:]))))
            if not content.endswith(b"\n"):
                self._write(b"\n")
        else:
            msg = f"journal {str(self._path)!r} is of another call: {_call_in(content)}. This one is: {self._call}. Give each call a file of its own"
            raise ValueError(msg)

    def _take(self, ranges: list[tuple[str, str]]) -> None:
        for after, last in ranges:
            if self._ends and after <= self._ends[-1]:
                self._ends[-1] = max(last, self._ends[-1])
            else:
                self._begins.append(after)
                self._ends.append(last)

    def _write(self, line: bytes) -> None:
        if os.write(self._file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.fsync(self._file)


def _line(row: object) -> bytes:
    return f"{json.dumps(row)}\n".encode()


def _range_in(line: bytes) -> tuple[str, str] | None:
    """Return the range that a line holds. None for a line that was cut, also if the next one was written behind it."""
    try:
        after, last = json.loads(line)
    except (ValueError, TypeError):
        return None
    return (after, last) if isinstance(after, str) and isinstance(last, str) else None


def _call_in(content: bytes) -> str:
    try:
        return str(json.loads(content.splitlines()[0])["call"])
    except (ValueError, TypeError, KeyError):
        return "something else than a call"
