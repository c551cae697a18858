"""The times of files and objects: what tells them, how exactly, and whether two of them are the same.

====================================================  ==========================================
what tells the time                                   how exactly
====================================================  ==========================================
an object's metadata: ``mtime`` (ours, and that of    to its last digit
rclone and s3fs), or ``s3cmd-attrs`` (s3cmd's)
a listing: when the object was stored                 milliseconds on Ceph and MinIO, else seconds
``Last-Modified`` of a HEAD or GET: the same          seconds
a file                                                what its disk keeps: see ``precision_of_disk``
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
from aiodreamobjects._transfer.sinks import temporary_name

NAME = "mtime"
SECOND = 1_000_000_000

_SECONDS = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9})[0-9]*)?")
_S3CMD = re.compile(r"(?:.*/)?mtime:([^/]*)(?:/.*)?")  # "atime:1700000000/ctime:.../mtime:1700000000/uid:0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS = (2 * SECOND, SECOND, 10_000_000, 1_000_000, 1000, 100, 1)  # FAT keeps even seconds, exFAT hundredths
_PROBE = 1_000_000_001_987_654_321
"""An odd second, and a fraction whose digits all show where they are cut off."""


class Time(NamedTuple):
    nanoseconds: int
    """Since the epoch."""
    precision: int = 1
    """In nanoseconds: the time of the original was cut down to a multiple of this."""

    def is_that_of(self, file: int, disk: int) -> bool:
        """Return whether a file with this time has it from here. ``disk``: the precision of the disk it is on."""
        precision = max(self.precision, disk)
        if self.nanoseconds // precision == file // precision:
            return True
        # A file's time of whole seconds, or even ones, may have come through something coarser: tar, zip, a FAT disk.
        if file % SECOND or not self.nanoseconds % SECOND:
            return False
        coarser = SECOND if file % (2 * SECOND) else 2 * SECOND
        return self.nanoseconds // coarser * coarser == file

    def is_before(self, other: Time) -> bool | None:
        """Return None where they are the same as far as both tell. Who tells a whole second may tell no fractions."""
        precision = max(_unit(self.nanoseconds), _unit(other.nanoseconds))
        one, two = self.nanoseconds // precision, other.nanoseconds // precision
        return None if one == two else one < two


def text_of(nanoseconds: int) -> str:
    seconds, fraction = divmod(abs(nanoseconds), SECOND)
    return f"{'-' if nanoseconds < 0 else ''}{seconds}.{fraction:09}"


def kept_in(metadata: Mapping[str, str] | None) -> Time | None:
    """Return the original file's time; None where the metadata has none, or something else under its name."""
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
    """Return when the object was stored. A file that is made of it gets exactly this time."""
    if info.last_modified is None:
        return None
    return Time((info.last_modified - _EPOCH) // _MICROSECOND * 1000)


def of(info: ObjectInfo, listed: ObjectInfo | None = None) -> Time | None:
    """Return the original's time, else when the object was stored: as it was listed, if that was the same object."""
    kept = kept_in(info.metadata)
    if kept is not None:
        return kept
    return stored(listed if listed is not None and listed.etag == info.etag else info)


def nanoseconds_of(info: ObjectInfo, listed: ObjectInfo | None = None) -> int | None:
    """Return the time that a file made of this object gets."""
    time = of(info, listed)
    return None if time is None else time.nanoseconds


def _unit(nanoseconds: int) -> int:
    return next(unit for unit in _UNITS[1:] if nanoseconds % unit == 0)


def precision_of_disk(directory: int, *, may_write: bool) -> int:
    """Return how exactly the disk of this open directory keeps times, in nanoseconds.

    It gives a time to a file and reads it back. The file has no name, so nobody sees it; only where the disk has no such
    files it has one, for a moment, if ``may_write``. Otherwise the time of the directory's last change tells, which the
    kernel has set: with a fraction, the disk keeps all; without one, it may be the coarsest disk that there is.
    """
    probe = _open_probe(directory, may_write=may_write)
    if probe is None:
        return 1 if os.fstat(directory).st_ctime_ns % SECOND else _UNITS[0]
    try:
        os.utime(probe, ns=(_PROBE, _PROBE))
        lost = abs(_PROBE - os.fstat(probe).st_mtime_ns)
    finally:
        os.close(probe)
    return next((unit for unit in reversed(_UNITS) if lost < unit), _UNITS[0])


def _open_probe(directory: int, *, may_write: bool) -> int | None:
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except (OSError, AttributeError):  # the disk, or the system, has no files without names
        if not may_write:
            return None
    name = temporary_name("mtime", secrets.token_hex(4), "part")
    try:
        probe = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:  # it cannot be written, and each file will say so
        return None
    os.unlink(name, dir_fd=directory)
    return probe
