"""Read and compare the times of files and objects.

====================================================  ==========================================
source of the time                                    precision
====================================================  ==========================================
an object's metadata: ``mtime`` (from us, rclone or   its last digit
s3fs) or ``s3cmd-attrs`` (from s3cmd)
a listing: when the object was stored                 milliseconds on Ceph and MinIO, else seconds
``Last-Modified`` of a HEAD or GET: also when it was  seconds
stored
a file                                                depends on the disk: ``precision_of_disk``
====================================================  ==========================================

Two times are compared at the coarser of their precisions.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from aiodreamobjects._models import ObjectInfo
from aiodreamobjects._system import Directory
from aiodreamobjects._transfer.sinks import temporary_name

NAME = "mtime"
SECOND = 1_000_000_000

_SECONDS = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9})[0-9]*)?")
_S3CMD = re.compile(r"(?:.*/)?mtime:([^/]*)(?:/.*)?")  # "atime:1700000000/ctime:.../mtime:1700000000/uid:0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS = (2 * SECOND, SECOND, 10_000_000, 1_000_000, 1000, 100, 1)  # FAT keeps even seconds, exFAT hundredths
_PROBE = 1_000_000_001_987_654_321
"""An odd second with a fraction. Every possible rounding changes it by a different amount."""


class Time(NamedTuple):
    nanoseconds: int
    """Nanoseconds since the epoch."""
    precision: int = 1
    """The original time was rounded down to a multiple of this many nanoseconds."""

    def is_that_of(self, file: int, disk: int) -> bool:
        """Return whether the time of a file may come from this one. ``disk``: the precision of the file's disk."""
        precision = max(self.precision, disk)
        if self.nanoseconds // precision == file // precision:
            return True
        # A file time of whole or even seconds may have passed through something coarser, such as tar, zip or a FAT disk.
        if file % SECOND or not self.nanoseconds % SECOND:
            return False
        coarser = SECOND if file % (2 * SECOND) else 2 * SECOND
        return self.nanoseconds // coarser * coarser == file

    def is_before(self, other: Time) -> bool | None:
        """Return whether this time is earlier. Return None if both are equal at the precision that their digits suggest."""
        precision = max(_unit(self.nanoseconds), _unit(other.nanoseconds))
        one, two = self.nanoseconds // precision, other.nanoseconds // precision
        return None if one == two else one < two


def text_of(nanoseconds: int) -> str:
    seconds, fraction = divmod(abs(nanoseconds), SECOND)
    return f"{'-' if nanoseconds < 0 else ''}{seconds}.{fraction:09}"


def kept_in(metadata: Mapping[str, str] | None) -> Time | None:
    """Return the original file's time from the metadata. Return None if there is none, or if it is unreadable."""
    metadata = metadata or {}
    match = _SECONDS.fullmatch(metadata.get(NAME, ""))
    if match is None and (attributes := _S3CMD.fullmatch(metadata.get("s3cmd-attrs", ""))):
        match = _SECONDS.fullmatch(attributes[1])
    if match is None:
        return None
    fraction = match[3] or ""
    nanoseconds = int(match[2]) * SECOND + int(fraction.ljust(9, "0"))
    return Time(-nanoseconds if match[1] else nanoseconds, 10 ** (9 - len(fraction)))


def stored(info: ObjectInfo) -> Time | None:
    """Return when the object was stored. A file downloaded from it gets exactly this time."""
    if info.last_modified is None:
        return None
    return Time((info.last_modified - _EPOCH) // _MICROSECOND * 1000)


def of(info: ObjectInfo, listed: ObjectInfo | None = None) -> Time | None:
    """Return the original file's time, or else when the object was stored.

    The time in ``listed`` is more precise, so it is preferred if its ETag shows the same object.
    """
    kept = kept_in(info.metadata)
    if kept is not None:
        return kept
    return stored(listed if listed is not None and listed.etag == info.etag else info)


def nanoseconds_of(info: ObjectInfo, listed: ObjectInfo | None = None) -> int | None:
    """Return the time that a file downloaded from this object gets."""
    time = of(info, listed)
    return None if time is None else time.nanoseconds


def _unit(nanoseconds: int) -> int:
    return next(unit for unit in _UNITS[1:] if nanoseconds % unit == 0)


def precision_of_disk(directory: Directory, *, may_write: bool) -> int:
    """Return the precision of file times on the disk of this open directory, in nanoseconds.

    Set the time of a temporary file and read it back. The file has no name, so nobody sees it. If the disk does not
    support such files and ``may_write`` is true, the file has a name for a moment. Otherwise look at the time of the
    directory's last change: a fraction shows full precision, and a whole second may mean the coarsest disk.
    """
    lost = _lost(directory, may_write=may_write)
    if lost is None:
        return 1 if directory.stat_itself().st_ctime_ns % SECOND else _UNITS[0]
    return next((unit for unit in reversed(_UNITS) if lost < unit), _UNITS[0])


def _lost(directory: Directory, *, may_write: bool) -> int | None:
    """Return how many nanoseconds of a time the disk drops; None if that cannot be tried."""
    probe, name = directory.open_nameless(), None
    if probe is None:
        if not may_write:
            return None
        name = temporary_name("mtime", secrets.token_hex(4), "part")
        try:
            probe = directory.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError:  # the directory is not writable, and each file will raise its own error
            return None
    try:
        directory.set_time(probe, name or "", _PROBE)
        return abs(_PROBE - os.fstat(probe).st_mtime_ns)
    finally:
        os.close(probe)
        if name:
            directory.unlink(name)
