"""The documents a bucket carries: read, written, deleted, absent; refused by name where a service has none."""

from __future__ import annotations

import json

import pytest
from conftest import Server

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
