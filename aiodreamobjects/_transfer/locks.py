"""Object Lock: see to it that a written object is locked as it should be.

Ceph RGW 16.2 answers 200 to the lock headers of an upload in parts and of a copy, and ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aiodreamobjects._errors import UnsupportedByServiceError
from aiodreamobjects._models import Address, ObjectInfo
from aiodreamobjects._runtime import clean_up
from aiodreamobjects._s3.options import LEGAL_HOLD, LOCK_MODE, LOCK_UNTIL, ReadOptions, WriteOptions
from aiodreamobjects._s3.replies import Headers, listed_date, raw_text
from aiodreamobjects._s3.s3 import S3

GRACE_SECONDS = 10.0
"""After a cancellation, locking an object that was stored may take this long."""


def of_headers(headers: Headers, now: float) -> dict[str, str]:
    """Return the lock headers among these, but no retention that has ended: S3 refuses a time in the past."""
    found = {
        name: value for name in (LOCK_MODE, LOCK_UNTIL, LEGAL_HOLD) if (value := raw_text(headers.get(name.encode())))
    }
    until = listed_date(found.get(LOCK_UNTIL))
    if until is None or until.timestamp() <= now:
        found.pop(LOCK_MODE, None)
        found.pop(LOCK_UNTIL, None)
    if found.get(LEGAL_HOLD) != "ON":
        found.pop(LEGAL_HOLD, None)
    return found


async def hold(s3: S3, options: WriteOptions, info: ObjectInfo) -> ObjectInfo:
    """Return the info of an object that was stored. See to it that the object has the lock that was asked for."""
    if options.has_lock:
        reads = replace(options.reads, version_id=info.version_id)
        ensured = ensure(s3, Address(info.bucket, info.key), options.lock_headers(), reads)
        await clean_up(ensured, grace=GRACE_SECONDS)
    return info


async def ensure(s3: S3, address: Address, lock: Mapping[str, str], reads: ReadOptions) -> None:
    """Look whether the object has this lock. If not, set it by requests of its own, and look again."""
    missing = _missing(lock, await s3.headers_of(address, reads))
    if not missing:
        return
    if LOCK_MODE in missing:
        await s3.put_object_retention(address, lock[LOCK_MODE], lock[LOCK_UNTIL], reads.version_id)
    if LEGAL_HOLD in missing:
        await s3.put_object_legal_hold(address, lock[LEGAL_HOLD], reads.version_id)
    if missing := _missing(lock, await s3.headers_of(address, reads)):
        msg = f"{address} was stored, but is not locked as asked: the service does not show {' and '.join(missing)}"
        raise UnsupportedByServiceError(msg, code="NotImplemented")


def _missing(lock: Mapping[str, str], headers: Headers) -> list[str]:
    found = {name: raw_text(headers.get(name.encode())) for name in lock}
    missing = [name for name in (LOCK_MODE, LEGAL_HOLD) if name in lock and found[name] != lock[name]]
    if LOCK_UNTIL in lock and LOCK_MODE not in missing:
        wanted, until = listed_date(lock[LOCK_UNTIL]), listed_date(found[LOCK_UNTIL])
        assert wanted is not None
        if until is None or until < wanted:
            missing.append(LOCK_MODE)
    return missing
