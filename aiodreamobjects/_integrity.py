"""Digests, computed where they do not hold the event loop, and what an ETag says of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread

from aiodreamobjects._concurrency import finish

if TYPE_CHECKING:
    from hashlib import _Hash

    Buffer = bytes | bytearray | memoryview

T = TypeVar("T")

MD5_DIGITS = 32
INLINE_BYTES = 64 << 10
"""Up to here, hashing costs less than the hop to a thread."""


class Md5:
    """The MD5 of a stream. It guards against accidents, as S3's own ETag does; nothing secret leans on it."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    async def update(self, data: Buffer) -> None:
        await _off_loop(lambda: self._hash.update(data), len(data))

    def digest(self) -> bytes:
        return self._hash.digest()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


async def md5(data: Buffer) -> Md5:
    digest = Md5()
    await digest.update(data)
    return digest


async def sha256_hex(data: Buffer) -> str:
    digest: _Hash = await _off_loop(lambda: hashlib.sha256(data), len(data))
    return digest.hexdigest()


def md5_of_etag(etag: str | None, encryption: str | None) -> str | None:
    """The content's MD5 where the ETag is one.

    It is not for multipart objects (``...-N``), nor under KMS or customer keys (S3 API reference, "Object").
    ``encryption`` is the reply's ``x-amz-server-side-encryption``, or the algorithm of a customer key.
    """
    if etag is None or len(etag) != MD5_DIGITS or encryption not in (None, "AES256"):
        return None
    return etag if re.fullmatch(r"[0-9a-f]{32}", etag) else None


async def _off_loop(work: Callable[[], T], size: int) -> T:
    """To its end, whatever cancels the caller: a digest that half took a chunk would be of no use."""
    return work() if size <= INLINE_BYTES else await finish(to_thread.run_sync(work))
