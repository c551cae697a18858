"""Cut a stream into lines."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import AnyStr, Generic


def check_lines(encoding: str | None, limit: int | None) -> None:
    """Raise LookupError for an unknown encoding, and ValueError for a limit that is not a number of at least 1."""
    if encoding is not None:
        codecs.lookup(encoding)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        msg = f"limit {limit!r} must be the length of the longest line, at least 1, or None for any length"
        raise ValueError(msg)


async def lines_of(chunks: AsyncIterable[bytes], limit: int | None) -> AsyncGenerator[bytes, None]:
    lines = _Lines(b"\n", b"\r", limit)
    async for chunk in chunks:
        for line in lines.ended_by(chunk):
            yield line
    for line in lines.rest():
        yield line


async def decoded_lines_of(chunks: AsyncIterable[bytes], encoding: str, limit: int | None) -> AsyncGenerator[str, None]:
    """Decode before cutting: in UTF-16, the byte of a line feed may be half of another character."""
    lines, decoder = _Lines("\n", "\r", limit), codecs.getincrementaldecoder(encoding)()
    async for chunk in chunks:
        for line in lines.ended_by(decoder.decode(chunk)):
            yield line
    for line in (*lines.ended_by(decoder.decode(b"", final=True)), *lines.rest()):
        yield line


class _Lines(Generic[AnyStr]):
    """The pieces of the line that has not ended yet."""

    def __init__(self, line_feed: AnyStr, carriage_return: AnyStr, limit: int | None) -> None:
        self._line_feed: AnyStr = line_feed
        self._carriage_return: AnyStr = carriage_return
        self._limit = limit
        self._pieces: list[AnyStr] = []
        self._length = 0

    def ended_by(self, piece: AnyStr) -> Sequence[AnyStr]:
        """Add a piece. Return the lines that end in it, without their ends."""
        ended = piece.split(self._line_feed)
        rest = ended.pop()
        if ended:
            ended[0] = self._joined_with(ended[0])
            ended = [line.removesuffix(self._carriage_return) for line in ended]
            self._check(max(map(len, ended)))
        if rest:
            self._pieces.append(rest)
            self._length += len(rest)
            self._check(self._length - rest.endswith(self._carriage_return))
        return ended

    def rest(self) -> Sequence[AnyStr]:
        """Return the last line, if it has no end."""
        line = self._joined_with(self._line_feed[:0])
        self._check(len(line))
        return [line] if line else []

    def _joined_with(self, last: AnyStr) -> AnyStr:
        if not self._pieces:
            return last
        self._pieces.append(last)
        line = self._line_feed[:0].join(self._pieces)
        self._pieces, self._length = [], 0
        return line

    def _check(self, length: int) -> None:
        if self._limit is not None and length > self._limit:
            msg = f"a line is longer than limit={self._limit:,}; are these lines? Or raise the limit"
            raise ValueError(msg)
