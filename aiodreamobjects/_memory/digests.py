"""Check a request's body against the digests that the request gives."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from typing import Final

from aiodreamobjects._memory.calls import Call
from aiodreamobjects._memory.codes import Code, S3Error

CHECKSUM = "x-amz-checksum-"
_ALGORITHMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
"""The algorithms of Python's standard library. Written in Python, the others would take seconds for a large body."""
_NAMES: Final = tuple(f"{CHECKSUM}{name}" for name in (*_ALGORITHMS, "crc32c", "crc64nvme"))


def check_digests(call: Call, *, is_signed: bool, has_checksums: bool = True) -> None:
    """Raise S3Error if the body does not match a digest. ``has_checksums``: the checksum headers describe the body."""
    if "content-md5" in call.headers:
        digest = _decoded(call.headers["content-md5"])
        if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
            raise S3Error(Code.InvalidDigest)
        if digest.hex() != call.md5:
            raise S3Error(Code.BadDigest)
    for name, value in checksums(call).items() if has_checksums else ():
        algorithm = _ALGORITHMS.get(name.removeprefix(CHECKSUM))
        if algorithm is not None and algorithm(call.body) != _decoded(value):
            raise S3Error(Code.BadDigest, f"The {name.removeprefix(CHECKSUM).upper()} you specified did not match.")
    claimed = call.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    is_body_signed = is_signed and claimed != "UNSIGNED-PAYLOAD" and not claimed.startswith("STREAMING-")
    if is_body_signed and claimed != hashlib.sha256(call.body).hexdigest():
        raise S3Error(Code.XAmzContentSHA256Mismatch)


def checksums(call: Call) -> dict[str, str]:
    """Return the checksums that a request gives, by the names of their headers."""
    given = {**call.amz, **call.trailers}
    return {name: given[name] for name in _NAMES if name in given}


def _decoded(digest: str) -> bytes:
    try:
        return base64.b64decode(digest, validate=True)
    except binascii.Error:
        raise S3Error(Code.InvalidDigest) from None
