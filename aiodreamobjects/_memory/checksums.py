"""Digests of a body that requests give, and the checksums that are kept with an object.

Source: Amazon S3 user guide, "Checking object integrity in Amazon S3".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from aiodreamobjects._memory.calls import Call
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import element, optional
from aiodreamobjects._memory.store import Part, Upload

_PREFIX: Final = "x-amz-checksum-"
TYPE: Final = "x-amz-checksum-type"


_LIBRARY: Final = "awscrt.checksums"
_SMALL_BYTES: Final = 64 << 10


def _crc(name: str, body: bytes, polynomial: int, size: int) -> bytes:
    """Return the CRC of this reversed polynomial.

    For a large body, use the library if somebody has loaded it, as a client in this process has: it is 1,000 times as fast.
    """
    if len(body) > _SMALL_BYTES and (library := sys.modules.get(_LIBRARY)) is not None:
        value: int = getattr(library, name)(body)
        return value.to_bytes(size, "big")
    table = _table(polynomial)
    crc = mask = (1 << 8 * size) - 1
    words = array("H", body[: len(body) & ~1])
    if sys.byteorder == "big":
        words.byteswap()
    for word in words:
        crc = table[(crc ^ word) & 0xFFFF] ^ (crc >> 16)
    if len(body) % 2:
        crc ^= body[-1]
        for _ in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
    return (crc ^ mask).to_bytes(size, "big")


@cache
def _table(polynomial: int) -> list[int]:
    """Return what each value of two bytes adds to a CRC."""
    table = list(range(1 << 16))
    for _ in range(16):
        table = [(value >> 1) ^ polynomial if value & 1 else value >> 1 for value in table]
    return table


ALGORITHMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "crc32c": lambda body: _crc("crc32c", body, 0x82F63B78, 4),
    "crc64nvme": lambda body: _crc("crc64nvme", body, 0x9A6C9329AC4BC9B5, 8),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
_TYPES: Final = {
    "crc64nvme": ("FULL_OBJECT",),
    "sha1": ("COMPOSITE",),
    "sha256": ("COMPOSITE",),
    "crc32": ("COMPOSITE", "FULL_OBJECT"),
    "crc32c": ("COMPOSITE", "FULL_OBJECT"),
}
"""What the checksum of an object made of parts can be, the usual one first."""


def check_digests(call: Call, *, is_signed: bool, has_checksums: bool = True) -> None:
    """Raise S3Error if the body does not match a digest. ``has_checksums``: the checksum headers describe the body."""
    if "content-md5" in call.headers:
        digest = _decoded(call.headers["content-md5"])
        if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
            raise S3Error(Code.InvalidDigest)
        if digest.hex() != call.md5:
            raise S3Error(Code.BadDigest)
    if has_checksums:
        _compare(given(call), call.body)
    claimed = call.amz.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    is_body_signed = is_signed and claimed != "UNSIGNED-PAYLOAD" and not claimed.startswith("STREAMING-")
    if is_body_signed and claimed != hashlib.sha256(call.body).hexdigest():
        raise S3Error(Code.XAmzContentSHA256Mismatch)


def _compare(checksums: Mapping[str, str], body: bytes) -> None:
    for name, value in checksums.items():
        algorithm = algorithm_of(name)
        if ALGORITHMS[algorithm](body) != _decoded(value):
            raise S3Error(Code.BadDigest, f"The {algorithm.upper()} you specified did not match.")


def _decoded(digest: str) -> bytes:
    try:
        return base64.b64decode(digest, validate=True)
    except binascii.Error:
        raise S3Error(Code.InvalidDigest) from None


def given(call: Call) -> dict[str, str]:
    """Return the checksums that a request gives, by the names of their headers."""
    found = {**call.amz, **call.trailers}
    return {name: found[name] for name in _HEADERS if name in found}


_HEADERS: Final = tuple(f"{_PREFIX}{algorithm}" for algorithm in ALGORITHMS)


def algorithm_of(header: str) -> str:
    return header.removeprefix(_PREFIX)


def kept(checksums: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept with an object that was stored by one request."""
    return {**checksums, TYPE: "FULL_OBJECT"} if checksums else {}


def of_copy(call: Call, source: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return the checksums of a copy: by the algorithm that the request names, or else by those of the source."""
    named = call.amz.get("x-amz-checksum-algorithm")
    algorithms = [_known(named)] if named else [algorithm_of(name) for name in source if name in _HEADERS]
    return kept({f"{_PREFIX}{one}": _encoded(one, body) for one in algorithms})


def _known(name: str) -> str:
    if name.lower() not in ALGORITHMS:
        raise S3Error(Code.InvalidRequest, "Checksum algorithm provided is unsupported.")
    return name.lower()


def _encoded(algorithm: str, body: bytes) -> str:
    return base64.b64encode(ALGORITHMS[algorithm](body)).decode()


def elements(checksums: Mapping[str, str]) -> str:
    """Return the checksums as XML has them."""
    named = [optional(f"Checksum{one.upper()}", checksums.get(f"{_PREFIX}{one}")) for one in ALGORITHMS]
    return "".join([*named, optional("ChecksumType", checksums.get(TYPE))])


def in_list(checksums: Mapping[str, str]) -> str:
    """Return what a list says of an object's checksums."""
    named = [element("ChecksumAlgorithm", algorithm_of(name).upper()) for name in checksums if name != TYPE]
    return "".join([*named, optional("ChecksumType", checksums.get(TYPE))])


# Objects made of parts


def wanted(call: Call) -> tuple[str, ...]:
    """Return the algorithm and the type that a request to begin an upload names; nothing if it names none."""
    name, kind = call.amz.get("x-amz-checksum-algorithm"), call.amz.get(TYPE)
    if name is None:
        if kind is not None:
            raise S3Error(Code.InvalidRequest, "A checksum type needs an algorithm.")
        return ()
    algorithm = _known(name)
    kind = kind or _TYPES[algorithm][0]
    if kind not in _TYPES[algorithm]:
        raise S3Error(Code.InvalidRequest, f"The {kind} checksum type cannot be used with {algorithm}.")
    return algorithm, kind


def headers_of(upload: Upload) -> dict[str, str]:
    """Return what replies about an upload say of its checksum."""
    return {f"{_PREFIX}algorithm": upload.checksum[0].upper(), TYPE: upload.checksum[1]} if upload.checksum else {}


def elements_of(upload: Upload) -> str:
    """Return the same as XML has it."""
    if not upload.checksum:
        return ""
    algorithm, kind = upload.checksum
    return element("ChecksumAlgorithm", algorithm.upper()) + element("ChecksumType", kind)


def of_part(call: Call, upload: Upload, body: bytes) -> dict[str, str]:
    """Return the checksums of a part. Raises S3Error if it lacks the one that its upload was begun with."""
    found = given(call)
    if not upload.checksum or f"{_PREFIX}{upload.checksum[0]}" in found:
        return found
    algorithm, kind = upload.checksum
    if found or (kind == "COMPOSITE" and "x-amz-copy-source" not in call.amz):
        told = ", ".join(map(algorithm_of, found)) or "null"
        msg = f"Checksum Type mismatch occurred, expected checksum Type: {algorithm}, actual checksum Type: {told}"
        raise S3Error(Code.InvalidRequest, msg)
    return {f"{_PREFIX}{algorithm}": _encoded(algorithm, body)}


def check_named(part: Part, named: Mapping[str, str], upload: Upload) -> None:
    """Raise S3Error if a completion names other checksums of a part, or not the one it must name."""
    for algorithm in ALGORITHMS:
        told = named.get(f"Checksum{algorithm.upper()}")
        if told is not None and part.checksums.get(f"{_PREFIX}{algorithm}") != told:
            raise S3Error(Code.InvalidPart)
        if told is None and upload.checksum == (algorithm, "COMPOSITE"):
            msg = f"The complete request must include the {algorithm} checksum of part {part.number}."
            raise S3Error(Code.InvalidRequest, msg)


def of_whole(call: Call, upload: Upload, parts: Sequence[Part], body: bytes) -> dict[str, str]:
    """Return the checksum of an object made of parts. Raises S3Error if the completion gives another."""
    told = given(call)
    if not upload.checksum:  # whatever the completion gives is of the full object
        _compare(told, body)
        return kept(told)
    algorithm, kind = upload.checksum
    if call.amz.get(TYPE, kind) != kind:
        raise S3Error(Code.InvalidRequest, f"The upload was begun with the checksum type {kind}.")
    name = f"{_PREFIX}{algorithm}"
    value = _encoded(algorithm, body)
    if kind == "COMPOSITE":
        digests = b"".join(base64.b64decode(part.checksums[name]) for part in parts)
        value = f"{_encoded(algorithm, digests)}-{len(parts)}"
    if told.get(name, value) not in (value, value.partition("-")[0]):
        raise S3Error(Code.BadDigest, f"The {algorithm.upper()} you specified did not match.")
    return {name: value, TYPE: kind}
