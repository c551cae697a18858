"""The ETag that S3 gives what is put in one piece or in parts, by hashlib alone."""

from __future__ import annotations

import hashlib


def etag_of(content: bytes, part_size: int) -> str:
    if len(content) <= part_size:
        return hashlib.md5(content).hexdigest()
    parts = [content[start : start + part_size] for start in range(0, len(content), part_size)]
    return f"{hashlib.md5(b''.join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"
