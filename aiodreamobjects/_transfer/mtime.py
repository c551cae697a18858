"""A file's time, as an object keeps it: in rclone's metadata, seconds since the epoch with a fraction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aiodreamobjects._models import ObjectInfo

NAME = "mtime"

_SECONDS = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9})[0-9]*)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def text_of(nanoseconds: int) -> str:
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{'-' if nanoseconds < 0 else ''}{seconds}.{fraction:09}"


def kept_in(metadata: Mapping[str, str] | None) -> int | None:
    """In nanoseconds since the epoch; None where there is none, or something else under its name."""
    match = _SECONDS.fullmatch((metadata or {}).get(NAME, ""))
    if match is None:
        return None
    nanoseconds = int(match[2]) * 1_000_000_000 + int((match[3] or "0").ljust(9, "0"))
    return -nanoseconds if match[1] else nanoseconds


def of(info: ObjectInfo) -> int | None:
    """What is kept of the original, else when the object was stored: in nanoseconds since the epoch."""
    kept = kept_in(info.metadata)
    return stored(info) if kept is None else kept


def stored(info: ObjectInfo) -> int | None:
    modified = info.last_modified
    return None if modified is None else (modified - _EPOCH) // _MICROSECOND * 1000
