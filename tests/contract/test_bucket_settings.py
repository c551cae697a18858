"""The documents a bucket carries: read, written, deleted, absent; refused by name where a service has none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream

CORS: list[dream.CorsRule] = [
    {
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://example.com"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3000,
    }
]


async def test_cors_rules_come_back_as_they_were_set(bucket: dream.Bucket) -> None:
    assert await bucket.cors() == []
    await bucket.set_cors(CORS)
    (rule,) = await bucket.cors()
    assert sorted(rule["AllowedMethods"]) == ["GET", "PUT"]
    assert {name: rule[name] for name in ("AllowedOrigins", "AllowedHeaders", "ExposeHeaders", "MaxAgeSeconds")} == {
        name: value for name, value in CORS[0].items() if name != "AllowedMethods"
    }
    await bucket.delete_cors()
    assert await bucket.cors() == []


async def test_lifecycle_rules_come_back_as_they_were_set(bucket: dream.Bucket) -> None:
    assert await bucket.lifecycle() == []
    rules: list[dream.LifecycleRule] = [
        {"ID": "old-logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
    ]
    await bucket.set_lifecycle(rules)
    (rule,) = await bucket.lifecycle()
    assert (rule["ID"], rule["Status"], rule["Expiration"]["Days"]) == ("old-logs", "Enabled", 30)
    await bucket.delete_lifecycle()
    assert await bucket.lifecycle() == []


async def test_a_policy_is_a_document(server: Server, bucket: dream.Bucket) -> None:
    document: dream.PolicyDocument = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{bucket.name}/public/*"],
            }
        ],
    }
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="set_acl"):
            await bucket.set_policy(document)
        return
    assert await bucket.policy() is None
    await bucket.set_policy(document)
    assert await bucket.policy() == document
    await bucket.delete_policy()
    assert await bucket.policy() is None
    await bucket.set_policy(json.dumps(document))
    assert await bucket.policy() == document


async def test_a_policy_that_is_not_json_is_refused_here(bucket: dream.Bucket) -> None:
    with pytest.raises(ValueError, match="Expecting"):
        await bucket.set_policy("not json")


async def test_tags_are_a_dict(server: Server, bucket: dream.Bucket) -> None:
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="metadata"):
            await bucket.set_tags({"team": "photos"})
        return
    assert await bucket.tags() == {}
    await bucket.set_tags({"team": "photos", "cost centre": "ü 42"})
    assert await bucket.tags() == {"team": "photos", "cost centre": "ü 42"}
    await bucket.delete_tags()
    assert await bucket.tags() == {}


async def test_versioning_is_a_status(server: Server, bucket: dream.Bucket) -> None:
    if server.is_b2:
        assert await bucket.versioning() == "Enabled"
        with pytest.raises((dream.InvalidRequestError, dream.UnsupportedByServiceError)):
            await bucket.delete_versioning()
        return
    assert await bucket.versioning() is None
    await bucket.set_versioning("Enabled")
    assert await bucket.versioning() == "Enabled"
    await bucket.delete_versioning()
    assert await bucket.versioning() == "Suspended"


async def test_a_website_is_a_document(server: Server, bucket: dream.Bucket) -> None:
    website: dream.Website = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "404.html"}}
    if server.is_rgw or server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError, match="url"):
            await bucket.set_website(website)
        return
    assert await bucket.website() is None
    await bucket.set_website(website)
    assert await bucket.website() == website
    await bucket.delete_website()
    assert await bucket.website() is None


async def test_a_setting_of_the_wrong_shape_is_refused_here(bucket: dream.Bucket) -> None:
    with pytest.raises(ValueError, match="AllowedMethods"):
        await bucket.set_cors([{"AllowedOrigins": ["*"]}])  # type: ignore[typeddict-item]  # that is the point
    with pytest.raises(ValueError, match="'On' is none of 'Enabled', 'Suspended'"):
        await bucket.set_versioning("On")  # type: ignore[arg-type]  # that is the point


# Settings that many services do not know

ENCRYPTION: list[dream.EncryptionRule] = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"


async def test_the_encryption_of_new_objects_is_a_list_of_rules(server: Server, bucket: dream.Bucket) -> None:
    if server.is_rgw:
        for call in (bucket.encryption(), bucket.set_encryption(ENCRYPTION), bucket.delete_encryption()):
            with pytest.raises(dream.UnsupportedByServiceError):
                await call
        return
    assert await bucket.encryption() == []
    await bucket.set_encryption(ENCRYPTION)
    (rule,) = await bucket.encryption()
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    await bucket.delete_encryption()
    assert await bucket.encryption() == []


async def test_a_block_of_public_access_is_a_dict(bucket: dream.Bucket) -> None:
    assert await bucket.public_access_block() is None
    await bucket.set_public_access_block({"BlockPublicAcls": True, "BlockPublicPolicy": False})
    block = await bucket.public_access_block()
    assert block is not None
    assert {name for name, value in block.items() if value} == {"BlockPublicAcls"}
    await bucket.set_public_access_block({"RestrictPublicBuckets": True})
    block = await bucket.public_access_block()
    assert block is not None
    assert {name for name, value in block.items() if value} == {"RestrictPublicBuckets"}
    await bucket.delete_public_access_block()
    assert await bucket.public_access_block() is None


async def test_notifications_are_a_dict(server: Server, bucket: dream.Bucket) -> None:
    assert await bucket.notification() == {}
    await bucket.set_notification({})
    await bucket.delete_notification()
    if server.is_rgw or server.is_moto:  # they want a topic or a queue that exists
        return
    wanted: dream.Notification = {
        "QueueConfigurations": [
            {
                "QueueArn": QUEUE,
                "Events": ["s3:ObjectRemoved:*", "s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "photos/"}]}},
            }
        ]
    }
    await bucket.set_notification(wanted)
    (found,) = (await bucket.notification())["QueueConfigurations"]
    assert (found["QueueArn"], set(found["Events"])) == (QUEUE, {"s3:ObjectRemoved:*", "s3:ObjectCreated:*"})
    await bucket.delete_notification()
    assert await bucket.notification() == {}


async def test_access_logs_are_a_dict(server: Server, bucket: dream.Bucket) -> None:
    wanted: dream.Logging = {"TargetBucket": bucket.name, "TargetPrefix": "logs/"}
    assert await bucket.logging() is None
    await bucket.delete_logging()
    if server.is_rgw:
        with pytest.raises(dream.UnsupportedByServiceError):
            await bucket.set_logging(wanted)
        return
    if server.is_moto:
        await bucket.set_acl("log-delivery-write")
    await bucket.set_logging(wanted)
    found = await bucket.logging()
    assert found is not None
    assert {name: found[name] for name in ("TargetBucket", "TargetPrefix")} == wanted
    await bucket.delete_logging()
    assert await bucket.logging() is None


async def test_ownership_is_a_word(server: Server, bucket: dream.Bucket) -> None:
    if server.is_rgw:
        with pytest.raises(dream.UnsupportedByServiceError):
            await bucket.set_ownership("BucketOwnerEnforced")
        return
    assert await bucket.ownership() is None
    await bucket.set_ownership("BucketOwnerPreferred")
    assert await bucket.ownership() == "BucketOwnerPreferred"
    await bucket.delete_ownership()
    assert await bucket.ownership() is None


@pytest_asyncio.fixture
async def locked(server: Server, session: dream.Session) -> AsyncIterator[dream.Bucket]:
    name = new_name()
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await session.create_bucket(name, object_lock=True)
        assert not await session.bucket(name).exists()
        pytest.skip("the stand-in makes no such buckets")
    made = await session.create_bucket(name, object_lock=True)
    yield made
    await made.delete()


@pytest.mark.parametrize(
    "retention", [dream.Retention("GOVERNANCE", 30), dream.Retention("COMPLIANCE", years=2)], ids=["days", "years"]
)
async def test_a_bucket_locks_new_objects(locked: dream.Bucket, retention: dream.Retention) -> None:
    assert await locked.versioning() == "Enabled"
    assert await locked.object_lock() is None
    await locked.delete_object_lock()
    await locked.set_object_lock(retention)
    assert await locked.object_lock() == retention
    await locked.set_object_lock(None)
    assert await locked.object_lock() is None
    await locked.set_object_lock(dream.Retention("GOVERNANCE", days=1))
    await locked.delete_object_lock()
    assert await locked.object_lock() is None


async def test_a_bucket_with_object_lock_may_exist(locked: dream.Bucket) -> None:
    await locked.create(object_lock=True, exist_ok=True)
    with pytest.raises(dream.AlreadyExistsError, match="choose another name"):
        await locked.create(object_lock=True)


async def test_a_bucket_without_object_lock_is_not_taken_for_one(server: Server, bucket: dream.Bucket) -> None:
    assert await bucket.object_lock() is None
    await bucket.delete_object_lock()  # there is nothing to delete, and Object Lock is not turned on
    await bucket.set_object_lock(None)
    with pytest.raises(dream.AlreadyExistsError, match="without Object Lock"):
        await bucket.create(object_lock=True, exist_ok=True)
    if not server.is_b2:  # it has versions always
        with pytest.raises(dream.ServiceError):
            await bucket.set_object_lock(dream.Retention("GOVERNANCE", days=1))
        assert await bucket.object_lock() is None


async def test_nothing_is_sent_for_a_newer_setting_of_the_wrong_shape(
    bucket: dream.Bucket, session: dream.Session
) -> None:
    await session.boto_client()
    sent = session.statistics().requests
    wrong: list[tuple[str, Any, str]] = [
        ("encryption", [{"SSEAlgorithm": "AES256"}], "ApplyServerSideEncryptionByDefault|Unknown parameter"),
        ("public_access_block", {"BlockEverything": True}, "BlockEverything"),
        ("public_access_block", "all", "valid types: <class 'dict'>"),
        ("notification", {"QueueConfigurations": [{"Events": []}]}, "QueueArn"),
        ("notification", "none", "valid types: <class 'dict'>"),
        ("logging", {"TargetBucket": "logs"}, "TargetPrefix"),
        ("ownership", "mine", "'mine' is none of 'BucketOwnerEnforced', 'BucketOwnerPreferred', 'ObjectWriter'"),
        ("object_lock", dream.Retention("GOVERNANCE", datetime(2030, 1, 1, tzinfo=UTC)), "must be for days or years"),
        ("object_lock", 30, r"write Retention\('GOVERNANCE', days=30\)"),
        ("cors", [{"AllowedOrigins": ["*"]}], "AllowedMethods"),
    ]
    for setting, value, message in wrong:
        with pytest.raises(ValueError, match=message):
            await getattr(bucket, f"set_{setting}")(value)
    assert session.statistics().requests == sent
