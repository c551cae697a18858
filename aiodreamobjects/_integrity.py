"""Compute digests without holding up the event loop, and read digests from ETags."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from aiodreamobjects import _checksums
from aiodreamobjects._concurrency import compute_in_thread

if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

T = TypeVar("T")

MD5_DIGITS = 32
MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
INLINE_BYTES = 64 << 10
"""Up to this size, hashing takes less time than the hop to a thread."""


class Md5:
    """The MD5 of a stream. It detects accidents, as S3's own ETag does. It protects no secret."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    async def update(self, data: Buffer) -> None:
        await _off_loop(lambda: self._hash.update(data), len(data))

    def add(self, data: Buffer) -> None:
        """Add the next bytes, in this thread."""
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


async def md5(data: Buffer) -> Md5:
    digest = Md5()
    await digest.update(data)
    return digest


class ContentDigest:
    """The ETag that a content should have: its MD5, or the MD5 of its parts' MD5s, with the number of parts.

    S3 does not document the second form. Amazon S3, Ceph RGW, Backblaze B2 and MinIO all use it. With another ``algorithm`` it is
    a checksum, whose forms are the same, in base64.
    """

    def __init__(self, part_sizes: Callable[[int], int] | None = None, algorithm: str = "md5") -> None:
        """Start a digest. ``part_sizes`` returns the size of a part by its number, from 1. Without it, there are no parts."""
        self._part_sizes, self._algorithm = part_sizes, algorithm
        self._hash = _checksums.new(algorithm)
        self._parts: dict[int, bytes] = {}
        self._number = 1
        self._room = part_sizes(1) if part_sizes else 0
        self.position = 0

    async def update(self, data: Buffer) -> None:
        """Add the next bytes."""
        await _off_loop(lambda: self._update(data), len(data))
        self.position += len(data)

    async def add_part(self, number: int, data: Buffer) -> None:
        """Add a whole part, in any order. Do not mix this with ``update``."""
        digest = _checksums.new(self._algorithm)
        await _off_loop(lambda: digest.update(data), len(data))
        self._parts[number] = digest.digest()

    def value(self) -> str:
        if self._part_sizes is None:
            return self._written(self._hash.digest())
        if self._room < self._part_sizes(self._number) or not self._parts:  # an empty content has one empty part
            self._end_part()
        digest = _checksums.new(self._algorithm)
        digest.update(b"".join(found for _, found in sorted(self._parts.items())))
        return f"{self._written(digest.digest())}-{len(self._parts)}"

    def _written(self, digest: bytes) -> str:
        return digest.hex() if self._algorithm == "md5" else base64.b64encode(digest).decode()

    def add(self, data: Buffer) -> None:
        """Add the next bytes, in this thread. ``position`` changes at the end: others wait for it to add theirs."""
        self._update(data)
        self.position += len(data)

    def _update(self, data: Buffer) -> None:
        if self._part_sizes is None:
            self._hash.update(data)
            return
        view = memoryview(data)
        while view:
            piece, view = view[: self._room], view[self._room :]
            self._hash.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._end_part()

    def _end_part(self) -> None:
        assert self._part_sizes
        self._parts[self._number] = self._hash.digest()
        self._hash = _checksums.new(self._algorithm)
        self._number += 1
        self._room = self._part_sizes(self._number)


def etag_of_parts(digests: Sequence[bytes]) -> str:
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def parts_of_etag(etag: str | None, obstacle: str | None) -> int | None:
    """Return the number of an object's parts, if its ETag is made of their MD5s. For ``obstacle`` see ``md5_of_etag``."""
    match = re.fullmatch(r"[0-9a-f]{32}-([1-9][0-9]{0,4})", etag or "")
    return int(match[1]) if match and obstacle in _NO_OBSTACLES else None


def md5_of_etag(etag: str | None, obstacle: str | None) -> str | None:
    """Return the content's MD5 if the ETag is one.

    The ETag of a multipart object (``...-N``) is not, nor that of an object under KMS or customer keys (S3 API reference,
    "Object"). ``obstacle`` names the reason why an ETag may not be one, as ``replies.obstacle`` returns it.
    """
    if etag is None or len(etag) != MD5_DIGITS or obstacle not in (*_NO_OBSTACLES, "digests of whole"):
        return None
    return etag if re.fullmatch(r"[0-9a-f]{32}", etag) else None


_NO_OBSTACLES = (None, "AES256")
IF_NO_DIGEST = (
    "if this service's ETags are not digests, give verify='off', or dataclasses.replace(service, digests='none')"
)
"""Advice for a digest that does not match."""


async def _off_loop(work: Callable[[], T], size: int) -> T:
    """Run the work in a thread if it is long. A cancelled caller waits for it: a half-updated digest would be useless."""
    return work() if size <= INLINE_BYTES else await compute_in_thread(work)
