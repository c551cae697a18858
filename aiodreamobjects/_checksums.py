"""S3's checksums: how each is computed, combined and written. The CRCs need awscrt, an optional dependency.

Source: Amazon S3 user guide, "Checking object integrity in Amazon S3".
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal, NamedTuple, Protocol

from aiodreamobjects._concurrency import compute_in_thread, finish, in_thread
from aiodreamobjects._models import Checksum

Buffer = bytes | bytearray | memoryview

INLINE_BYTES = 64 << 10
"""Up to this size, computing takes less time than the hop to a thread."""
_LIBRARY = "awscrt.checksums"


class Hash(Protocol):
    """A checksum in progress, as hashlib has them."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Crc:
    """The functions of a CRC: the value after further bytes, and the value of two contents in a row."""

    size: int
    extend: Callable[[Buffer, int], int]
    combine: Callable[[int, int, int], int]


class _RunningCrc:
    def __init__(self, extend: Callable[[Buffer, int], int], size: int) -> None:
        self._extend, self._size, self._value = extend, size, 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._extend(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


_CRCS: Final[dict[str, _Crc]] = {}
"""The CRCs, once the library is loaded."""
_HASHES: Final[dict[str, Callable[[], Hash]]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "crc32": lambda: _RunningCrc(zlib.crc32, 4),
}
"""What needs no library. SHA-1 and CRC32 are here for objects of other tools."""
_missing: set[str] = set()
"""The library, once it was found to be missing."""


class Told(NamedTuple):
    """A checksum that a service tells of an object."""

    algorithm: str
    value: str
    """In base64; with ``-N`` behind it, of the checksums of N parts."""
    is_asked: bool
    """Whether the service is known to keep checksums, and was asked."""


READABLE: Final = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")
"""What objects may have, the fastest first."""


async def load(algorithm: Checksum) -> None:
    """Make an algorithm ready. Raise ImportError, which names the extra to install, if its library is missing."""
    if algorithm == "sha256" or _CRCS:
        return
    try:
        found = await finish(in_thread(import_module, _LIBRARY))
    except ImportError as error:
        msg = f"checksum={algorithm!r} needs awscrt: pip install 'aiodreamobjects[checksums]'; 'sha256' needs nothing"
        raise ImportError(msg) from error
    _CRCS["crc32c"] = _Crc(4, found.crc32c, found.combine_crc32c)
    _CRCS["crc64nvme"] = _Crc(8, found.crc64nvme, found.combine_crc64nvme)


async def can_compute(algorithm: str) -> bool:
    """Return whether this process can compute such a checksum. Load its library if need be."""
    if algorithm in _HASHES or algorithm in _CRCS:
        return True
    if _missing or algorithm not in ("crc32c", "crc64nvme"):
        return False
    try:
        await load("crc32c")
    except ImportError:
        _missing.add(_LIBRARY)
    return algorithm in _CRCS


def new(algorithm: str) -> Hash:
    """Begin a checksum, whose algorithm was loaded; or an MD5."""
    if (crc := _CRCS.get(algorithm)) is not None:
        return _RunningCrc(crc.extend, crc.size)
    return _HASHES[algorithm]()


def compute(algorithm: Checksum, data: Buffer) -> str:
    """Return the checksum of these bytes in base64, as headers and documents have it."""
    running = new(algorithm)
    running.update(data)
    return base64.b64encode(running.digest()).decode()


async def value_of(algorithm: Checksum, data: Buffer) -> str:
    """Do the same in a thread, if it takes long."""
    return compute(algorithm, data) if len(data) <= INLINE_BYTES else await compute_in_thread(compute, algorithm, data)


def kind_of(algorithm: Checksum) -> Literal["FULL_OBJECT", "COMPOSITE"]:
    """Return what the checksum of an object in parts is: of the whole content, or of the parts' checksums.

    A CRC can be combined from those of the parts, so it does not depend on how the object is cut.
    """
    return "COMPOSITE" if algorithm == "sha256" else "FULL_OBJECT"


def value_of_parts(algorithm: Checksum, parts: Sequence[tuple[str, int]]) -> str:
    """Return the checksum of an object from those of its parts and their sizes."""
    digests = [base64.b64decode(value) for value, _ in parts]
    if kind_of(algorithm) == "COMPOSITE":
        return f"{base64.b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(parts)}"
    crc, whole = _CRCS[algorithm], 0
    for digest, (_, size) in zip(digests, parts, strict=True):
        whole = crc.combine(whole, int.from_bytes(digest, "big"), size)
    return base64.b64encode(whole.to_bytes(crc.size, "big")).decode()


def header_of(algorithm: Checksum) -> str:
    return f"x-amz-checksum-{algorithm}"


def element_of(algorithm: Checksum) -> str:
    return f"Checksum{algorithm.upper()}"
