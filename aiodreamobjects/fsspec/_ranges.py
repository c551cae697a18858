"""Ranges of objects: near ones are read together, large ones in parts at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiodreamobjects as dream
from aiodreamobjects.fsspec._paths import each

if TYPE_CHECKING:
    from aiodreamobjects.fsspec._filesystem import DreamObjectsFileSystem

MAX_GAP = 64 << 10
"""Read the bytes between two ranges too, if there are at most so many: that is faster than another request."""


@dataclass(slots=True)
class _Block:
    """Bytes to read at once, and the numbers of the ranges that lie in them."""

    path: str
    start: int | None
    end: int | None
    numbers: list[int]


class Ranges:
    """Reads ranges within a session's limits."""

    def __init__(self, limits: dream.Limits, max_gap: int = MAX_GAP) -> None:
        self._limits, self._max_gap = limits, max_gap

    async def read(
        self, obj: dream.Object, start: int, end: int | None, *, etag: str | None = None, version_id: str | None = None
    ) -> bytes:
        """Read from ``start`` to ``end``, in parts at once if it is long; all of the same state of the object.

        A negative start counts from the end of the object. Bytes beyond its end are left out.
        """
        part = self._limits.part_size
        if end is None or end - start <= part:
            return (await _read(obj, (start, end), etag, version_id))[0]
        first, info = await _read(obj, (start, start + part), etag, version_id, wants_info=True)
        if info is None or len(first) < part:
            return first
        end = end if info.size is None else min(end, info.size)
        parts = [(begin, min(begin + part, end)) for begin in range(start + part, end, part)]
        found = await each(
            lambda piece: _read(obj, piece, etag or info.etag, version_id), parts, self._limits.parts_per_object
        )
        return b"".join([first, *[data for data, _ in _all(found)]])

    async def read_many(
        self,
        fs: DreamObjectsFileSystem,
        paths: Sequence[str],
        starts: Sequence[int | None],
        ends: Sequence[int | None],
        width: int,
    ) -> list[bytes | Exception]:
        """Read many ranges. Return the bytes of each, or its error."""
        blocks = self._blocks(paths, starts, ends)
        results: list[bytes | Exception] = [b""] * len(paths)

        async def read(block: _Block) -> bytes:
            return await fs._cat_file(block.path, block.start, block.end)

        for block, found in zip(blocks, await each(read, blocks, width), strict=True):
            for number in block.numbers:
                if isinstance(found, Exception) or len(block.numbers) == 1:
                    results[number] = found
                else:
                    begin = (starts[number] or 0) - (block.start or 0)
                    results[number] = found[begin : begin + (ends[number] or 0) - (starts[number] or 0)]
        return results

    def _blocks(self, paths: Sequence[str], starts: Sequence[int | None], ends: Sequence[int | None]) -> list[_Block]:
        blocks: list[_Block] = []
        plain: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for number, (path, start, end) in enumerate(zip(paths, starts, ends, strict=True)):
            if end is None or end < 0 or (start or 0) < 0:
                blocks.append(_Block(path, start, end, [number]))
            elif end > (start or 0):
                plain[path].append((start or 0, end, number))
        for path, ranges in plain.items():
            block: _Block | None = None
            for start, end, number in sorted(ranges):
                if block is not None and block.end is not None and start - block.end <= self._max_gap:
                    block.end = max(block.end, end)
                    block.numbers.append(number)
                else:
                    block = _Block(path, start, end, [number])
                    blocks.append(block)
        return blocks


async def _read(
    obj: dream.Object,
    span: tuple[int, int | None],
    etag: str | None,
    version_id: str | None,
    *,
    wants_info: bool = False,
) -> tuple[bytes, dream.ObjectInfo | None]:
    try:
        if etag is None and not wants_info:
            return await obj.read(span, version_id=version_id), None
        async with obj.get(range=span, if_match=etag, version_id=version_id) as body:
            return await body.read(), body.info
    except dream.InvalidRequestError as error:
        if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b"", None  # it begins beyond the end
        raise


def _all(
    found: Sequence[tuple[bytes, dream.ObjectInfo | None] | Exception],
) -> list[tuple[bytes, dream.ObjectInfo | None]]:
    for one in found:
        if isinstance(one, Exception):
            raise one
    return [one for one in found if not isinstance(one, Exception)]
