"""Object lock: what keeps versions from being removed before their time.

Source: Amazon S3 user guide, "Locking objects with Object Lock".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from xml.etree import ElementTree as ET

from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.checksums import given
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import document, element, iso, parsed, text_in
from aiodreamobjects._memory.store import LOCK_ROOT, Attached, Bucket, Retention, Store, Version

_HEADER: Final = "x-amz-object-lock-"
LOCK_HEADERS: Final = frozenset(f"{_HEADER}{name}" for name in ("mode", "retain-until-date", "legal-hold"))
_MODES: Final = ("GOVERNANCE", "COMPLIANCE")
_DAYS: Final = {"Days": 1, "Years": 365}


# Buckets


def lock_bucket(bucket: Bucket) -> None:
    """Let the objects of a new bucket be locked. Its versions are kept from now on."""
    bucket.versioning = "Enabled"
    bucket.documents[LOCK_ROOT] = document(LOCK_ROOT, element("ObjectLockEnabled", "Enabled")).body


def is_configuration(bucket: Bucket, root: ET.Element) -> bool:
    """Tell whether a document is a valid configuration. Raises S3Error if the bucket cannot have one."""
    if bucket.versioning != "Enabled":
        raise S3Error(Code.InvalidBucketState, "Versioning must be 'Enabled' on the bucket to apply Object Lock.")
    rule = root.find("{*}Rule/{*}DefaultRetention")
    return text_in(root, "ObjectLockEnabled") == "Enabled" and (rule is None or _period(rule) is not None)


def _period(rule: ET.Element) -> timedelta | None:
    """Return the period of a default retention; None if the rule is not valid."""
    found = [(text_in(rule, name), days) for name, days in _DAYS.items() if text_in(rule, name) is not None]
    if text_in(rule, "Mode") not in _MODES or len(found) != 1:
        return None
    text, days = found[0]
    return timedelta(days=int(text) * days) if text and text.isdecimal() and int(text) else None


# What a request to store an object gives


def given_lock(store: Store, bucket: Bucket, call: Call) -> tuple[Retention | None, str]:
    """Return the retention and the legal hold of a new object: those of the request, or the bucket's default."""
    told = {name: value for name, value in call.amz.items() if name in LOCK_HEADERS}
    if not told:
        return _default(store, bucket), ""
    _require_lock(bucket)
    if "content-md5" not in call.headers and not given(call) and call.method == "PUT" and call.body:
        msg = (
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
        )
        raise S3Error(Code.InvalidRequest, msg)
    mode, until = told.get(f"{_HEADER}mode"), told.get(f"{_HEADER}retain-until-date")
    if (mode is None) != (until is None):
        raise S3Error(Code.InvalidArgument, "A mode and a date to retain until must be given together.")
    retention = _default(store, bucket) if mode is None or until is None else _retention(mode, until, store.now())
    hold = told.get(f"{_HEADER}legal-hold", "")
    if hold not in ("ON", "OFF", ""):
        raise S3Error(Code.InvalidArgument, "Legal Hold must be either of 'ON' or 'OFF'")
    return retention, hold


def _default(store: Store, bucket: Bucket) -> Retention | None:
    if not bucket.is_locked:
        return None
    rule = parsed(bucket.documents[LOCK_ROOT], LOCK_ROOT).find("{*}Rule/{*}DefaultRetention")
    period = None if rule is None else _period(rule)
    if rule is None or period is None:
        return None
    return Retention(text_in(rule, "Mode") or "", store.time() + period)


def _retention(mode: str, until: str, now: datetime) -> Retention:
    if mode not in _MODES:
        raise S3Error(Code.InvalidArgument, "Unknown wormMode directive.")
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        raise S3Error(Code.InvalidArgument, "The retain until date must be provided in ISO 8601 format") from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    if moment <= now:
        raise S3Error(Code.InvalidArgument, "The retain until date must be in the future!")
    return Retention(mode, moment)


def _require_lock(bucket: Bucket) -> None:
    if not bucket.is_locked:
        raise S3Error(Code.InvalidRequest, "Bucket is missing Object Lock Configuration")


# Versions


def lock_headers(attached: Attached) -> dict[str, str]:
    """Return what a GET or HEAD says of the lock."""
    told = {f"{_HEADER}legal-hold": attached.hold} if attached.hold else {}
    if attached.retention is not None:
        told[f"{_HEADER}mode"] = attached.retention.mode
        told[f"{_HEADER}retain-until-date"] = iso(attached.retention.until)
    return told


def check_removable(version: Version | None, call: Call, now: datetime) -> None:
    """Raise AccessDenied if the version is locked. A request may bypass a retention in governance mode."""
    if version is None:
        return
    if version.attached.hold == "ON" or _is_retained(version.attached.retention, call, now):
        raise S3Error(Code.AccessDenied, "Access Denied because object protected by object lock.")


def _is_retained(retention: Retention | None, call: Call, now: datetime) -> bool:
    if retention is None or retention.until <= now:
        return False
    is_bypassed = call.amz.get("x-amz-bypass-governance-retention", "").lower() == "true"
    return retention.mode == "COMPLIANCE" or not is_bypassed


def get_retention(store: Store, call: Call) -> Reply:
    retention = _locked(store, call)[1].attached.retention
    if retention is None:
        raise S3Error(Code.NoSuchObjectLockConfiguration)
    return document("Retention", element("Mode", retention.mode), element("RetainUntilDate", iso(retention.until)))


def put_retention(store: Store, call: Call) -> Reply:
    """Set a retention. One in compliance mode can only be made longer."""
    (bucket, version), root, now = _locked(store, call), parsed(call.body, "Retention"), store.now()
    mode, until = text_in(root, "Mode"), text_in(root, "RetainUntilDate")
    if (mode is None) != (until is None):
        raise S3Error(Code.MalformedXML)
    before = version.attached.retention
    after = None if mode is None or until is None else _retention(mode, until, now)
    is_longer = before and after and after.until >= before.until and after.mode in (before.mode, "COMPLIANCE")
    if not is_longer and _is_retained(before, call, now):
        raise S3Error(Code.AccessDenied, "Access Denied because object protected by object lock.")
    bucket.change(version, replace(version.attached, retention=after))
    return Reply()


def get_hold(store: Store, call: Call) -> Reply:
    hold = _locked(store, call)[1].attached.hold
    if not hold:
        raise S3Error(Code.NoSuchObjectLockConfiguration)
    return document("LegalHold", element("Status", hold))


def put_hold(store: Store, call: Call) -> Reply:
    (bucket, version), status = _locked(store, call), text_in(parsed(call.body, "LegalHold"), "Status")
    if status is None or status not in ("ON", "OFF"):
        raise S3Error(Code.MalformedXML)
    bucket.change(version, replace(version.attached, hold=status))
    return Reply()


def _locked(store: Store, call: Call) -> tuple[Bucket, Version]:
    bucket = store.bucket(call.bucket)
    _require_lock(bucket)
    return bucket, bucket.readable(call.key, call.query.get("versionId"))
