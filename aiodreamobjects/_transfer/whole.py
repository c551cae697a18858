"""Receive a whole object into memory, for one that fits into a part."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from aiodreamobjects._models import Address, ObjectInfo, Verified
from aiodreamobjects._s3.options import ReadOptions
from aiodreamobjects._transfer.body import EtagAndSize, RangeIgnoredError, open_body
from aiodreamobjects._transfer.verify import ContentCheck, verified_by_size

if TYPE_CHECKING:
    from aiodreamobjects._progress import Gauge
    from aiodreamobjects._runtime import Runtime


class Whole(NamedTuple):
    """The bytes of an object, not verified yet."""

    info: ObjectInfo
    data: memoryview
    verify: Callable[[], Verified | None]
    """Computes the digest, in this thread. Returns how the bytes were verified. Raises ChecksumMismatchError."""


async def read_whole(
    runtime: Runtime,
    address: Address,
    size: int,
    listed: EtagAndSize | None,
    options: ReadOptions,
    held: AsyncExitStack,
    gauge: Gauge,
) -> Whole:
    """Receive an object of this size with one request. Its memory is borrowed until the end of ``held``.

    ``options`` do not ask for verification, since the caller verifies in a thread. Raises RangeIgnoredError if the object
    has another size by now, and as ``Body`` does.
    """
    async with open_body(runtime, address, None, options, known=listed) as body:
        if body.remaining != size:
            msg = f"{address}: {size:,} bytes were listed, but the service sends {body.remaining}"
            raise RangeIgnoredError(msg)
        memory = await held.enter_async_context(runtime.memory.share().lend(size))
        gauge.count = lambda: body.position
        data = memory[: await body.readinto(memory)]
    check = await ContentCheck.asking(runtime.s3, address, body.info, body.obstacle, options, body.told)

    def verify() -> Verified | None:
        if check is None:
            return verified_by_size(size)
        check.digest.add(data)
        return check.verdict(address, size)

    return Whole(body.info, data, verify)
