"""Buckets and their settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast, get_args
from xml.etree import ElementTree as ET

from aiodreamobjects._memory.acls import bucket_acl, owner
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import Node, document, iso, optional, parsed, text_in
from aiodreamobjects._memory.store import PRIVATE, Store
from aiodreamobjects._models import VersioningStatus

MOST_BUCKET_TAGS, MOST_OBJECT_TAGS = 50, 10
POLICY = "Policy"
"""The policy's name among the documents. The others have the names of their root elements."""


def list_buckets(store: Store, call: Call) -> Reply:
    prefix, after = call.query.get("prefix", ""), call.query.get("continuation-token", "")
    names = [name for name in sorted(store.buckets) if name.startswith(prefix) and name > after]
    limit = call.query.get("max-buckets", "")
    found = names[: int(limit)] if limit.isdecimal() else names
    rows: list[Node] = [
        ("Bucket", [("Name", name), ("CreationDate", iso(store.buckets[name].created))]) for name in found
    ]
    token = found[-1] if found and len(found) < len(names) else None
    return document("ListAllMyBucketsResult", [owner(), ("Buckets", rows), *optional("ContinuationToken", token)])


def create_bucket(store: Store, call: Call) -> Reply:
    acl = bucket_acl(store.dialect, call) or PRIVATE
    place = text_in(parsed(call.body, "CreateBucketConfiguration"), "LocationConstraint") if call.body else None
    if place not in (None, store.dialect.region):
        raise S3Error(Code.InvalidLocationConstraint)
    store.create(call.bucket, acl)
    return Reply(headers={"Location": f"/{call.bucket}"})


def head_bucket(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    return Reply(headers={"x-amz-bucket-region": store.dialect.region})


def delete_bucket(store: Store, call: Call) -> Reply:
    store.delete(call.bucket)
    return Reply(HTTPStatus.NO_CONTENT)


def get_location(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    region = store.dialect.region
    return document(
        "LocationConstraint", "" if region == "us-east-1" else region
    )  # S3 API reference, GetBucketLocation


def get_versioning(store: Store, call: Call) -> Reply:
    return document("VersioningConfiguration", optional("Status", store.bucket(call.bucket).versioning))


def put_versioning(store: Store, call: Call) -> Reply:
    bucket, status = store.bucket(call.bucket), text_in(parsed(call.body, "VersioningConfiguration"), "Status")
    if status != "Enabled" and store.dialect.keeps_all_versions:
        raise S3Error(Code.InvalidArgument, "Versioning cannot be switched off.")
    if status not in get_args(VersioningStatus):
        raise S3Error(Code.MalformedXML)
    bucket.versioning = cast(VersioningStatus, status)
    return Reply()


def get_policy(store: Store, call: Call) -> Reply:
    kept = store.bucket(call.bucket).documents.get(POLICY)
    if kept is None:
        raise S3Error(Code.NoSuchBucketPolicy)
    return Reply(headers={"Content-Type": "application/json"}, body=kept)


def put_policy(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    try:
        policy = json.loads(call.body)
    except ValueError:
        raise S3Error(Code.MalformedPolicy, "This policy contains invalid Json") from None
    if not isinstance(policy, dict) or "Statement" not in policy:
        raise S3Error(Code.MalformedPolicy, "Missing required field Statement")
    bucket.documents[POLICY] = call.body
    return Reply(HTTPStatus.NO_CONTENT)


def delete_policy(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket).documents.pop(POLICY, None)
    return Reply(HTTPStatus.NO_CONTENT)


# Tags


def tags_in(root: ET.Element) -> dict[str, str]:
    pairs = [(text_in(tag, "Key") or "", text_in(tag, "Value") or "") for tag in root.iterfind("{*}TagSet/{*}Tag")]
    if len(dict(pairs)) != len(pairs):
        raise S3Error(Code.InvalidTag, "Cannot provide multiple Tags with the same key")
    return dict(pairs)


def check_tags(tags: Mapping[str, str], most: int) -> None:
    """S3 user guide, "Categorizing your objects using tags"."""
    if len(tags) > most:
        raise S3Error(Code.BadRequest, f"Tags cannot be greater than {most}")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or len(value) > 256:  # noqa: PLR2004 - the rule itself
            raise S3Error(Code.InvalidTag, "a tag has a name of 1 to 128 characters and a value of at most 256")


# Settings that are kept as they came


@dataclass(frozen=True, slots=True)
class Setting:
    """The requests for a setting that is kept as the XML it came in. ``missing``: the error if there is none."""

    root_name: str
    missing: Code | None
    check: Callable[[ET.Element], bool] = lambda _: True
    """Tells whether a document is valid."""
    put_status: int = HTTPStatus.OK

    def get(self, store: Store, call: Call) -> Reply:
        kept = store.bucket(call.bucket).documents.get(self.root_name)
        if kept is not None:
            return Reply(headers={"Content-Type": "application/xml"}, body=kept)
        if self.missing is not None:
            raise S3Error(self.missing)
        return document(self.root_name, [])

    def put(self, store: Store, call: Call) -> Reply:
        bucket, root = store.bucket(call.bucket), parsed(call.body, self.root_name)
        if not self.check(root):
            raise S3Error(Code.MalformedXML)
        bucket.documents[self.root_name] = call.body
        return Reply(self.put_status)

    def delete(self, store: Store, call: Call) -> Reply:
        store.bucket(call.bucket).documents.pop(self.root_name, None)
        return Reply(HTTPStatus.NO_CONTENT)


def _has_rules(root: ET.Element) -> bool:
    return root.find("{*}Rule") is not None


def _has_lifecycle_rules(root: ET.Element) -> bool:
    return _has_rules(root) and all(
        text_in(rule, "Status") in ("Enabled", "Disabled") for rule in root.iterfind("{*}Rule")
    )


def _has_cors_rules(root: ET.Element) -> bool:
    rules = root.findall("{*}CORSRule")
    for method in root.iterfind("{*}CORSRule/{*}AllowedMethod"):
        if method.text not in ("DELETE", "GET", "HEAD", "POST", "PUT"):
            msg = f"Found unsupported HTTP method in CORS config. Unsupported method is {method.text}"
            raise S3Error(Code.InvalidRequest, msg)
    needed = ("{*}AllowedMethod", "{*}AllowedOrigin")
    return bool(rules) and all(rule.find(name) is not None for rule in rules for name in needed)


def _has_tags(root: ET.Element) -> bool:
    check_tags(tags_in(root), MOST_BUCKET_TAGS)
    return root.find("{*}TagSet") is not None


CORS: Final = Setting("CORSConfiguration", Code.NoSuchCORSConfiguration, _has_cors_rules)
SETTINGS: Final = {
    "Cors": CORS,
    "Encryption": Setting(
        "ServerSideEncryptionConfiguration", Code.ServerSideEncryptionConfigurationNotFoundError, _has_rules
    ),
    "Lifecycle": Setting("LifecycleConfiguration", Code.NoSuchLifecycleConfiguration, _has_lifecycle_rules),
    "Logging": Setting("BucketLoggingStatus", None),
    "Notification": Setting("NotificationConfiguration", None),
    "OwnershipControls": Setting("OwnershipControls", Code.OwnershipControlsNotFoundError, _has_rules),
    "PublicAccessBlock": Setting("PublicAccessBlockConfiguration", Code.NoSuchPublicAccessBlockConfiguration),
    "Tagging": Setting("Tagging", Code.NoSuchTagSet, _has_tags, HTTPStatus.NO_CONTENT),
    "Website": Setting("WebsiteConfiguration", Code.NoSuchWebsiteConfiguration),
}
"""By the ends of their operations' names. Except for ``CORS``, they are kept and have no effect."""
