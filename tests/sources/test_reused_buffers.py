"""Sources that fill one buffer again and again: what is stored is what each chunk held when it was given."""

from __future__ import annotations

import array
import asyncio
import mmap
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from odd_sources import AnyAsyncIterator, Later, async_generated
from servers.faulty import FaultyServer

import aiodreamobjects as dream

PART = 300_000
MIB = 1 << 20
EDGES = [64 << 10, 256 << 10, PART, MIB]
"""A transfer does something else on each side of these."""
SIZES = [(7, 300), *((edge + more, 2) for edge in EDGES for more in (-1, 1)), (2 * PART + 1, 2)]
"""How large each chunk is, and how many there are."""
NOISE = random.Random(1).randbytes(4 * MIB)

Chunks = list[bytes]


def chunks_of(size: int, count: int) -> Chunks:
    return [NOISE[number * size : number * size + size] for number in range(count)]


class Refilled:
    """One buffer, which is filled with the next chunk, and with rubbish behind the last one."""

    def __init__(self, chunks: Chunks, view: Callable[[Any], Any], buffer: Any = None) -> None:
        self.size = len(chunks[0])
        self.buffer = bytearray(self.size) if buffer is None else buffer
        self._chunks, self._view = iter(chunks), view

    def __iter__(self) -> Iterator[Any]:
        while chunk := self.next():
            yield chunk

    def next(self) -> Any:
        """Nothing at the end."""
        chunk = next(self._chunks, None)
        memoryview(self.buffer).cast("B")[: self.size] = chunk or b"\xee" * self.size
        return self._view(self.buffer) if chunk else b""


class WithRead:
    """A file whose ``read`` gives its own buffer, as large as it is, whatever was asked for."""

    def __init__(self, refilled: Refilled) -> None:
        self._refilled = refilled

    def read(self, _: int, /) -> Any:
        return self._refilled.next()


class WithAsyncRead(WithRead):
    async def read(self, size: int, /) -> Any:
        await asyncio.sleep(0)
        return super().read(size)


class WithReadThatReturnsAnAwaitable(WithRead):
    def read(self, size: int, /) -> Later:
        return Later(super().read(size))


class WithSeek(WithRead):
    """Its size is known, and it has no ``readinto``."""

    def __init__(self, refilled: Refilled, size: int) -> None:
        super().__init__(refilled)
        self._size, self._position = size, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> None:
        self._position = offset + (0, self._position, self._size)[whence]


def resized(chunks: Chunks) -> Iterator[bytearray]:
    """BufferError for its maker, while somebody keeps a view of it."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        yield buffer
        buffer.clear()


def released(chunks: Chunks) -> Iterator[memoryview]:
    buffer = bytearray(len(chunks[0]))
    for chunk in chunks:
        buffer[:] = chunk
        with memoryview(buffer) as view:
            yield view


def with_gaps(buffer: bytearray) -> memoryview:
    """The same bytes, not side by side."""
    doubled = bytearray(2 * len(buffer))
    doubled[::2] = buffer
    return memoryview(doubled)[::2]


def items_of(buffer: bytearray) -> memoryview:
    return memoryview(buffer).cast("b")


def in_a_map(chunks: Chunks) -> Refilled:
    size = len(chunks[0])
    return Refilled(chunks, lambda mapped: memoryview(mapped)[:size], mmap.mmap(-1, size))


def in_an_array(chunks: Chunks) -> Refilled:
    return Refilled(chunks, memoryview, array.array("b", bytes(len(chunks[0]))))


class OwnBytes(bytes):
    """As numpy's ``bytes_`` is one."""


KINDS: dict[str, Callable[[Chunks], Any]] = {
    "bytearray": lambda chunks: iter(Refilled(chunks, lambda buffer: buffer)),
    "view": lambda chunks: iter(Refilled(chunks, memoryview)),
    "read-only view": lambda chunks: iter(Refilled(chunks, lambda buffer: memoryview(buffer).toreadonly())),
    "view with gaps": lambda chunks: iter(Refilled(chunks, with_gaps)),
    "view of items": lambda chunks: iter(Refilled(chunks, items_of)),
    "view of a map": lambda chunks: iter(in_a_map(chunks)),
    "view of an array": lambda chunks: iter(in_an_array(chunks)),
    "iterable": lambda chunks: Refilled(chunks, memoryview),
    "resized": resized,
    "released": released,
    "bytes of one's own": lambda chunks: map(OwnBytes, chunks),
    "views of bytes": lambda chunks: [memoryview(b"<" + chunk + b">")[1:-1] for chunk in chunks],
    "async generator": lambda chunks: async_generated(Refilled(chunks, lambda buffer: buffer)),
    "async generator of views": lambda chunks: async_generated(
        Refilled(chunks, lambda buffer: memoryview(buffer).toreadonly())
    ),
    "async iterator": lambda chunks: AnyAsyncIterator(Refilled(chunks, memoryview)),
    "file": lambda chunks: WithRead(Refilled(chunks, lambda buffer: buffer)),
    "file of views": lambda chunks: WithRead(Refilled(chunks, memoryview)),
    "file with a size": lambda chunks: WithSeek(Refilled(chunks, memoryview), sum(map(len, chunks))),
    "async file": lambda chunks: WithAsyncRead(Refilled(chunks, memoryview)),
    "awaitable file": lambda chunks: WithReadThatReturnsAnAwaitable(Refilled(chunks, lambda buffer: buffer)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("part_size", "sizes"), [(PART, SIZES), (8 * MIB, SIZES[:3:2])], ids=["parts", "whole"])
async def test_what_a_source_fills_again_is_stored_as_it_was_given(
    faulty: FaultyServer, kind: str, part_size: int, sizes: list[tuple[int, int]]
) -> None:
    async with faulty.session(limits=dream.Limits(part_size=part_size)) as session:
        obj = session.object("s3://bucket/a")
        for size, count in sizes:
            chunks = chunks_of(size, count)
            info = await obj.put(KINDS[kind](chunks))
            stored = faulty.content("bucket", "a")
            assert stored == b"".join(chunks), f"chunks of {size:,}"
            assert (info.size, info.verified) == (len(stored), "parts" if len(stored) > part_size else "md5")


async def test_what_a_writer_was_given_may_be_filled_again_at_once(faulty: FaultyServer) -> None:
    views: list[Callable[[bytearray], Any]] = [lambda buffer: buffer, memoryview, with_gaps, items_of]
    async with faulty.session(limits=dream.Limits(part_size=PART)) as session:
        obj = session.object("s3://bucket/a")
        for view in views:
            for size, count in SIZES:
                chunks = chunks_of(size, count)
                async with obj.writer() as file:
                    refilled = Refilled(chunks, view)
                    while chunk := refilled.next():
                        assert await file.write(chunk) == size
                assert faulty.content("bucket", "a") == b"".join(chunks), f"chunks of {size:,}"


async def test_a_body_can_be_put_whatever_the_parts_are(faulty: FaultyServer) -> None:
    content = NOISE[: 3 * MIB + 7]
    faulty.put("bucket", "source", content)
    for part_size in (PART, MIB - 1, MIB, 8 * MIB):
        async with (
            faulty.session(limits=dream.Limits(part_size=part_size)) as session,
            session.object("s3://bucket/source").get() as body,
        ):
            await session.object("s3://bucket/a").put(body)
        assert faulty.content("bucket", "a") == content


@pytest.mark.parametrize("given", [bytearray, memoryview, OwnBytes, with_gaps], ids=lambda made: made.__name__)
async def test_bytes_that_the_caller_holds_are_stored(faulty: FaultyServer, given: Callable[[Any], Any]) -> None:
    async with faulty.session(limits=dream.Limits(part_size=PART)) as session:
        for size in (0, 1, *(edge + more for edge in EDGES for more in (0, 1))):
            await session.object("s3://bucket/a").put(given(bytearray(NOISE[:size])))
            assert faulty.content("bucket", "a") == NOISE[:size]


async def test_a_view_of_bytes_keeps_what_is_asked_of_it(faulty: FaultyServer) -> None:
    """No byte before or behind a view, whatever its start and its items."""
    whole = NOISE[: 4 * 70_000]
    async with faulty.session(limits=dream.Limits(part_size=PART)) as session:
        for view in (memoryview(whole)[3:-5], memoryview(whole).cast("I"), memoryview(whole).cast("B", (700, 400))):
            await session.object("s3://bucket/a").put(view)
            assert faulty.content("bucket", "a") == view.tobytes()
            await session.object("s3://bucket/a").put([view, view])
            assert faulty.content("bucket", "a") == view.tobytes() * 2
            async with session.object("s3://bucket/a").writer() as file:
                assert await file.write(view) == view.nbytes
            assert faulty.content("bucket", "a") == view.tobytes()


class WrongReadinto(WithSeek):
    """Its ``readinto`` says that it read ``said`` bytes."""

    def __init__(self, said: int) -> None:
        super().__init__(Refilled([b"x" * 100], memoryview), 100)
        self._said = said

    def readinto(self, _: Any, /) -> int:
        return self._said


@pytest.mark.parametrize("said", [-1, 101, 1 << 40])
async def test_a_file_cannot_have_read_more_than_there_was_room_for(faulty: FaultyServer, said: int) -> None:
    faulty.put("bucket", "a", b"old")
    file: Any = WrongReadinto(said)
    async with faulty.session(service=replace(faulty.service)) as session:
        with pytest.raises(OSError, match=rf"'WrongReadinto': readinto\(\) returned {said} for a buffer"):
            await session.object("s3://bucket/a").put(file)
    assert faulty.content("bucket", "a") == b"old"


@pytest.mark.parametrize("given", [None, "", "text", 0, [], Awaitable], ids=repr)
@pytest.mark.parametrize("kind", [WithRead, WithAsyncRead, WithReadThatReturnsAnAwaitable])
async def test_what_a_file_reads_must_be_bytes_also_at_its_end(
    faulty: FaultyServer, given: Any, kind: type[WithRead]
) -> None:
    class Odd(Refilled):
        def next(self) -> Any:
            return given

    faulty.put("bucket", "a", b"old")
    file: Any = kind(Odd([b"x"], memoryview))
    async with faulty.session() as session:
        with pytest.raises(
            BlockingIOError if given is None else TypeError, match=r"has nothing to read|must return bytes"
        ):
            await session.object("s3://bucket/a").put(file)
    assert faulty.content("bucket", "a") == b"old"
