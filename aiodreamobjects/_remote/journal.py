"""A file that remembers which batches of a verb are finished, so that the same call can skip them."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from pathlib import Path
from typing import Self

from aiodreamobjects._concurrency import close_in_thread, finish, in_thread


class Journal:
    """Finished batches, as ranges of sorted keys. A range ends with the last key of a batch, and begins behind the batch before.

    The first line names the call. Each other line is one range, written and synced when its batch is finished. A line that was
    cut by a crash is dropped.
    """

    def __init__(self, path: str | os.PathLike[str], call: str) -> None:
        self._path, self._call = Path(path), call
        self._file = -1
        self._begins: list[str] = []
        self._ends: list[str] = []

    async def __aenter__(self) -> Self:
        await finish(in_thread(self._open))
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_in_thread(os.close, self._file)

    def has(self, key: str) -> bool:
        """Return whether a finished batch had this key."""
        at = bisect_left(self._ends, key)
        return at < len(self._ends) and self._begins[at] < key

    async def add(self, after: str, last: str) -> None:
        """Note that all keys behind ``after``, up to ``last``, are done."""
        await finish(in_thread(self._write, [after, last]))

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def _read(self) -> None:
        with self._path.open("rb") as file:
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            os.ftruncate(self._file, len(whole))
        lines = whole.splitlines()
        if not lines:
            self._write({"call": self._call})
            return
        try:
            head, *rows = map(json.loads, lines)
            found = head["call"]
            ranges = sorted((after, last) for after, last in rows)
        except (ValueError, TypeError, KeyError):
            found, ranges = "something else than a call", []
        if found != self._call:
            msg = f"journal {str(self._path)!r} is of another call: {found}. This one is: {self._call}. Give each call a file of its own"
            raise ValueError(msg)
        for after, last in ranges:
            if self._ends and after <= self._ends[-1]:
                self._ends[-1] = max(last, self._ends[-1])
            else:
                self._begins.append(after)
                self._ends.append(last)

    def _write(self, row: object) -> None:
        os.write(self._file, f"{json.dumps(row)}\n".encode())
        os.fsync(self._file)
