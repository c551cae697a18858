"""Object lock in the service in memory, as boto3 sees it."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from servers.served import ServedService, client_of, refused

DAY = timedelta(days=1)


def tomorrow() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + DAY


@pytest.fixture
def bucket(plain_s3: Any) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    plain_s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@contextmanager
def later(server: ServedService, by: timedelta) -> Iterator[None]:
    server.service.clock.advance(by)
    try:
        yield
    finally:
        server.service.clock.advance(-by)


def test_a_bucket_for_locks_keeps_versions(plain_s3: Any, bucket: str) -> None:
    assert plain_s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    found = plain_s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert found == {"ObjectLockEnabled": "Enabled"}
    with refused("InvalidBucketState"):
        plain_s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_a_bucket_without_locks_says_so(plain_s3: Any, plain_bucket: str) -> None:
    with refused("ObjectLockConfigurationNotFoundError"):
        plain_s3.get_object_lock_configuration(Bucket=plain_bucket)
    with refused("InvalidRequest"):
        plain_s3.put_object(
            Bucket=plain_bucket, Key="a", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=tomorrow()
        )
    plain_s3.put_object(Bucket=plain_bucket, Key="a")
    with refused("InvalidRequest"):
        plain_s3.put_object_legal_hold(Bucket=plain_bucket, Key="a", LegalHold={"Status": "ON"})
    configuration = {"ObjectLockEnabled": "Enabled"}
    with refused("InvalidBucketState"):
        plain_s3.put_object_lock_configuration(Bucket=plain_bucket, ObjectLockConfiguration=configuration)
    plain_s3.put_bucket_versioning(Bucket=plain_bucket, VersioningConfiguration={"Status": "Enabled"})
    plain_s3.put_object_lock_configuration(Bucket=plain_bucket, ObjectLockConfiguration=configuration)
    plain_s3.put_object_legal_hold(Bucket=plain_bucket, Key="a", LegalHold={"Status": "ON"})


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_retained_version_is_not_removed(plain_s3: Any, bucket: str, mode: str) -> None:
    until = tomorrow()
    put = plain_s3.put_object(Bucket=bucket, Key="a", Body=b"x", ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
    one = {"Bucket": bucket, "Key": "a", "VersionId": put["VersionId"]}
    found = plain_s3.head_object(Bucket=bucket, Key="a")
    assert (found["ObjectLockMode"], found["ObjectLockRetainUntilDate"]) == (mode, until)
    assert plain_s3.get_object_retention(**one)["Retention"] == {"Mode": mode, "RetainUntilDate": until}
    marker = plain_s3.delete_object(Bucket=bucket, Key="a")
    assert marker["DeleteMarker"]  # a marker may hide it
    plain_s3.delete_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    with refused("AccessDenied"):
        plain_s3.delete_object(**one)
    row = {"Key": "a", "VersionId": put["VersionId"]}
    outcome = plain_s3.delete_objects(Bucket=bucket, Delete={"Objects": [row]})
    assert [one["Code"] for one in outcome["Errors"]] == ["AccessDenied"]
    if mode == "COMPLIANCE":
        with refused("AccessDenied"):
            plain_s3.delete_object(BypassGovernanceRetention=True, **one)
        return
    plain_s3.delete_object(BypassGovernanceRetention=True, **one)
    assert "Versions" not in plain_s3.list_object_versions(Bucket=bucket)


def test_a_lock_needs_a_digest_of_the_body(plain: ServedService, bucket: str) -> None:
    config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
    given = {"Bucket": bucket, "Key": "a", "Body": b"x", "ObjectLockLegalHoldStatus": "ON"}
    with client_of(plain, config=config) as s3:
        with refused("InvalidRequest"):
            s3.put_object(**given)
        s3.put_object(ContentMD5=base64.b64encode(hashlib.md5(b"x").digest()).decode(), **given)


def test_a_retention_ends_with_its_time(plain: ServedService, plain_s3: Any, bucket: str) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)  # signatures are good for longer
    put = plain_s3.put_object(
        Bucket=bucket, Key="a", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )
    with later(plain, timedelta(minutes=10)):
        plain_s3.delete_object(Bucket=bucket, Key="a", VersionId=put["VersionId"])
    assert "Versions" not in plain_s3.list_object_versions(Bucket=bucket)


def test_a_retention_grows_and_shrinks_as_its_mode_allows(plain_s3: Any, bucket: str) -> None:
    until = tomorrow()

    def retain(key: str, mode: str, date: datetime, **more: Any) -> None:
        retention = {"Mode": mode, "RetainUntilDate": date}
        plain_s3.put_object_retention(Bucket=bucket, Key=key, Retention=retention, **more)

    for mode in ("GOVERNANCE", "COMPLIANCE"):
        plain_s3.put_object(Bucket=bucket, Key=mode, Body=b"x")
        with refused("NoSuchObjectLockConfiguration"):
            plain_s3.get_object_retention(Bucket=bucket, Key=mode)
        retain(mode, mode, until)
        retain(mode, mode, until + DAY)
        with refused("AccessDenied"):
            retain(mode, mode, until)
        with refused("InvalidArgument"):
            retain(mode, mode, until - 2 * DAY)
    retain("GOVERNANCE", "GOVERNANCE", until, BypassGovernanceRetention=True)
    retain("GOVERNANCE", "COMPLIANCE", until)
    for key in ("GOVERNANCE", "COMPLIANCE"):
        with refused("AccessDenied"):
            retain(key, "GOVERNANCE", until + 2 * DAY, BypassGovernanceRetention=True)


def test_a_legal_hold_is_on_until_it_is_off(plain_s3: Any, bucket: str) -> None:
    put = plain_s3.put_object(Bucket=bucket, Key="a", Body=b"x", ObjectLockLegalHoldStatus="ON")
    one = {"Bucket": bucket, "Key": "a", "VersionId": put["VersionId"]}
    assert plain_s3.head_object(**one)["ObjectLockLegalHoldStatus"] == "ON"
    with refused("AccessDenied"):
        plain_s3.delete_object(BypassGovernanceRetention=True, **one)
    plain_s3.put_object_legal_hold(LegalHold={"Status": "OFF"}, **one)
    assert plain_s3.get_object_legal_hold(**one)["LegalHold"] == {"Status": "OFF"}
    plain_s3.delete_object(**one)
    plain_s3.put_object(Bucket=bucket, Key="b", Body=b"x")
    with refused("NoSuchObjectLockConfiguration"):
        plain_s3.get_object_legal_hold(Bucket=bucket, Key="b")


def test_requests_about_locks_have_verbs_of_their_own(plain: ServedService, plain_s3: Any, bucket: str) -> None:
    plain_s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    plain.service.fail("put_object_legal_hold", "SlowDown", bucket=bucket)
    with refused("SlowDown"):
        plain_s3.put_object_legal_hold(Bucket=bucket, Key="a", LegalHold={"Status": "ON"})
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": tomorrow()}
    plain_s3.put_object_retention(Bucket=bucket, Key="a", Retention=retention)
    asked = [one.verb for one in plain.service.requests if one.bucket == bucket]
    assert asked[-3:] == ["put_object", "put_object_legal_hold", "put_object_retention"]


@pytest.mark.parametrize(("unit", "days"), [("Days", 1), ("Years", 365)])
def test_new_objects_have_the_retention_of_their_bucket(plain_s3: Any, bucket: str, unit: str, days: int) -> None:
    configuration = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", unit: 1}},
    }
    plain_s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
    assert plain_s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == configuration
    plain_s3.put_object(Bucket=bucket, Key="put", Body=b"x")
    plain_s3.copy_object(Bucket=bucket, Key="copied", CopySource=f"{bucket}/put")
    upload = {
        "Bucket": bucket,
        "Key": "made",
        "UploadId": plain_s3.create_multipart_upload(Bucket=bucket, Key="made")["UploadId"],
    }
    part = plain_s3.upload_part(PartNumber=1, Body=b"x", **upload)
    plain_s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **upload)
    for key in ("put", "copied", "made"):
        found = plain_s3.head_object(Bucket=bucket, Key=key)
        assert found["ObjectLockMode"] == "GOVERNANCE"
        left = found["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert abs(left - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "retention",
    [
        {"Mode": "GOVERNANCE"},
        {"Days": 1},
        {"Mode": "GOVERNANCE", "Days": 1, "Years": 1},
        {"Mode": "GOVERNANCE", "Days": 0},
        {"Mode": "SOMETIMES", "Days": 1},
    ],
)
def test_a_default_that_makes_no_sense_is_refused(plain_s3: Any, bucket: str, retention: dict[str, Any]) -> None:
    with refused("MalformedXML"):
        plain_s3.put_object_lock_configuration(
            Bucket=bucket,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
        )


@pytest.mark.parametrize(
    "given",
    [
        {"ObjectLockMode": "GOVERNANCE"},
        {"ObjectLockRetainUntilDate": datetime(2050, 1, 1, tzinfo=UTC)},
        {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": datetime(2020, 1, 1, tzinfo=UTC)},
        {"ObjectLockMode": "SOMETIMES", "ObjectLockRetainUntilDate": datetime(2050, 1, 1, tzinfo=UTC)},
        {"ObjectLockLegalHoldStatus": "PERHAPS"},
    ],
)
def test_a_lock_that_makes_no_sense_is_refused(plain_s3: Any, bucket: str, given: dict[str, Any]) -> None:
    with refused("InvalidArgument"):
        plain_s3.put_object(Bucket=bucket, Key="a", Body=b"x", **given)
