"""Sources of every kind that give the chunks they are made of. ``failure``: what they raise at their end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from typing import Any


class OwnError(Exception):
    """What a source of the caller's raises."""


class ShortReads(io.RawIOBase):
    """A raw file that gives as little at once as it likes."""

    def __init__(self, chunks: Sequence[bytes], failure: Exception | None = None) -> None:
        self._chunks, self._failure = [chunk for chunk in chunks if chunk], failure

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._chunks:
            if self._failure:
                raise self._failure
            return 0
        chunk = self._chunks.pop(0)
        count = min(len(chunk), len(buffer))
        buffer[:count] = chunk[:count]
        if count < len(chunk):
            self._chunks.insert(0, chunk[count:])
        return count


class OnlyRead:
    """Nothing but ``read``, which gives as little at once as it likes."""

    def __init__(self, chunks: Sequence[bytes], failure: Exception | None = None) -> None:
        self._raw = ShortReads(chunks, failure)

    def read(self, size: int, /) -> bytes:
        return self._raw.read(size) or b""


class OnlyAsyncRead(OnlyRead):
    async def read(self, size: int, /) -> bytes:  # type: ignore[override]  # the other kind of file
        await asyncio.sleep(0)
        return super().read(size)


class Later:
    """To be awaited, and no coroutine."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __await__(self) -> Generator[Any, None, Any]:
        yield
        return self._data


class ReadThatReturnsAnAwaitable(OnlyRead):
    def read(self, size: int, /) -> Later:  # type: ignore[override]  # the other kind of file
        return Later(super().read(size))


class AnyIterable:
    """To be iterated, and no iterator."""

    def __init__(self, chunks: Sequence[bytes], failure: Exception | None = None) -> None:
        self._chunks, self._failure = chunks, failure

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._failure:
            raise self._failure


class AnyAsyncIterator:
    """No generator: it has no ``aclose``, and never suspends."""

    def __init__(self, chunks: Iterable[Any], failure: Exception | None = None) -> None:
        self._chunks, self._failure = iter(chunks), failure

    def __aiter__(self) -> AnyAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        for chunk in self._chunks:
            return chunk
        if self._failure:
            raise self._failure
        raise StopAsyncIteration


def generated(chunks: Sequence[bytes], failure: Exception | None = None) -> Iterator[bytes]:
    yield from chunks
    if failure:
        raise failure


async def async_generated(chunks: Iterable[Any], failure: Exception | None = None) -> AsyncIterator[Any]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk
    if failure:
        raise failure
