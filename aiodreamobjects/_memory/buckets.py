"""Buckets and their settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast, get_args
from xml.etree import ElementTree as ET

from aiodreamobjects._memory import locks
from aiodreamobjects._memory.acls import OWNER_XML, bucket_acl
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import document, element, iso, nested, optional, parsed, text_in
from aiodreamobjects._memory.store import LOCK_ROOT, PRIVATE, Bucket, Store
from aiodreamobjects._models import VersioningStatus
from aiodreamobjects._service import Feature

MOST_BUCKET_TAGS, MOST_OBJECT_TAGS = 50, 10

Act = Callable[[Store, Call], Reply]


def list_buckets(store: Store, call: Call) -> Reply:
    prefix, after = call.query.get("prefix", ""), call.query.get("continuation-token", "")
    names = [name for name in sorted(store.buckets) if name.startswith(prefix) and name > after]
    limit = call.query.get("max-buckets", "")
    found = names[: int(limit)] if limit.isdecimal() else names
    rows = [
        nested("Bucket", element("Name", name), element("CreationDate", iso(store.buckets[name].created)))
        for name in found
    ]
    token = found[-1] if found and len(found) < len(names) else None
    return document("ListAllMyBucketsResult", OWNER_XML, nested("Buckets", *rows), optional("ContinuationToken", token))


def create_bucket(store: Store, call: Call) -> Reply:
    acl = bucket_acl(store.dialect, call) or PRIVATE
    place = text_in(parsed(call.body, "CreateBucketConfiguration"), "LocationConstraint") if call.body else None
    if place not in (None, store.dialect.region):
        raise S3Error(Code.InvalidLocationConstraint)
    bucket = store.create(call.bucket, acl)
    if call.amz.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
        locks.lock_bucket(bucket)
    return Reply(headers={"Location": f"/{call.bucket}"})


def head_bucket(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    return Reply(headers={"x-amz-bucket-region": store.dialect.region})


def delete_bucket(store: Store, call: Call) -> Reply:
    store.delete(call.bucket)
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


# Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """The requests for a setting of a bucket. ``name`` is what follows the verb in the operations' names."""

    name: str
    get: Act
    put: Act | None = None
    delete: Act | None = None
    feature: Feature | None = None

    @property
    def acts(self) -> Iterator[tuple[str, Act]]:
        """What each method does."""
        yield "GET", self.get
        if self.put is not None:
            yield "PUT", self.put
        if self.delete is not None:
            yield "DELETE", self.delete


def kept(
    name: str,
    root_name: str,
    missing: Code | None,
    check: Callable[[Bucket, ET.Element], bool] = lambda _bucket, _root: True,
    *,
    status: int = HTTPStatus.OK,
    feature: Feature | None = None,
) -> Setting:
    """Return a setting that is kept as the XML it came in.

    ``missing``: the error if there is none; with None it is then an empty document, and cannot be deleted. ``check``
    tells whether a document is valid. ``status`` is what a PUT answers with.
    """

    def get(store: Store, call: Call) -> Reply:
        found = store.bucket(call.bucket).documents.get(root_name)
        if found is not None:
            return Reply(headers={"Content-Type": "application/xml"}, body=found)
        if missing is not None:
            raise S3Error(missing)
        return document(root_name)

    def put(store: Store, call: Call) -> Reply:
        bucket, root = store.bucket(call.bucket), parsed(call.body, root_name)
        if not check(bucket, root):
            raise S3Error(Code.MalformedXML)
        bucket.documents[root_name] = call.body
        return Reply(status)

    return Setting(name, get, put, _deleting(root_name) if missing else None, feature)


def _deleting(root_name: str) -> Act:
    def delete(store: Store, call: Call) -> Reply:
        store.bucket(call.bucket).documents.pop(root_name, None)
        return Reply(HTTPStatus.NO_CONTENT)

    return delete


def _get_location(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    region = store.dialect.region
    shown = "" if region == "us-east-1" else region  # S3 API reference, GetBucketLocation
    return document("LocationConstraint", shown)


def _get_versioning(store: Store, call: Call) -> Reply:
    return document("VersioningConfiguration", optional("Status", store.bucket(call.bucket).versioning))


def _put_versioning(store: Store, call: Call) -> Reply:
    bucket, status = store.bucket(call.bucket), text_in(parsed(call.body, "VersioningConfiguration"), "Status")
    if status != "Enabled" and store.dialect.keeps_all_versions:
        raise S3Error(Code.InvalidArgument, "Versioning cannot be switched off.")
    if status not in get_args(VersioningStatus):
        raise S3Error(Code.MalformedXML)
    if status != "Enabled" and bucket.is_locked:
        msg = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
        raise S3Error(Code.InvalidBucketState, msg)
    bucket.versioning = cast(VersioningStatus, status)
    return Reply()


def _get_policy(store: Store, call: Call) -> Reply:
    found = store.bucket(call.bucket).documents.get("Policy")
    if found is None:
        raise S3Error(Code.NoSuchBucketPolicy)
    return Reply(headers={"Content-Type": "application/json"}, body=found)


def _put_policy(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    try:
        policy = json.loads(call.body)
    except ValueError:
        raise S3Error(Code.MalformedPolicy, "This policy contains invalid Json") from None
    if not isinstance(policy, dict) or "Statement" not in policy:
        raise S3Error(Code.MalformedPolicy, "Missing required field Statement")
    bucket.documents["Policy"] = call.body
    return Reply(HTTPStatus.NO_CONTENT)


def _has_rules(_bucket: Bucket, root: ET.Element) -> bool:
    return root.find("{*}Rule") is not None


def _has_lifecycle_rules(bucket: Bucket, root: ET.Element) -> bool:
    return _has_rules(bucket, root) and all(
        text_in(rule, "Status") in ("Enabled", "Disabled") for rule in root.iterfind("{*}Rule")
    )


def _has_cors_rules(_bucket: Bucket, root: ET.Element) -> bool:
    rules = root.findall("{*}CORSRule")
    for method in root.iterfind("{*}CORSRule/{*}AllowedMethod"):
        if method.text not in ("DELETE", "GET", "HEAD", "POST", "PUT"):
            msg = f"Found unsupported HTTP method in CORS config. Unsupported method is {method.text}"
            raise S3Error(Code.InvalidRequest, msg)
    needed = ("{*}AllowedMethod", "{*}AllowedOrigin")
    return bool(rules) and all(rule.find(name) is not None for rule in rules for name in needed)


def _has_tags(_bucket: Bucket, root: ET.Element) -> bool:
    check_tags(tags_in(root), MOST_BUCKET_TAGS)
    return root.find("{*}TagSet") is not None


CORS_ROOT: Final = "CORSConfiguration"
_NO_LOCK: Final = Code.ObjectLockConfigurationNotFoundError
_NO_ENCRYPTION: Final = Code.ServerSideEncryptionConfigurationNotFoundError
_NO_ACCESS_BLOCK: Final = Code.NoSuchPublicAccessBlockConfiguration

SETTINGS: Final = {
    "cors": kept("BucketCors", CORS_ROOT, Code.NoSuchCORSConfiguration, _has_cors_rules),
    "encryption": kept("BucketEncryption", "ServerSideEncryptionConfiguration", _NO_ENCRYPTION, _has_rules),
    "lifecycle": kept(
        "BucketLifecycle", "LifecycleConfiguration", Code.NoSuchLifecycleConfiguration, _has_lifecycle_rules
    ),
    "location": Setting("BucketLocation", _get_location),
    "logging": kept("BucketLogging", "BucketLoggingStatus", None),
    "notification": kept("BucketNotification", "NotificationConfiguration", None),
    "object-lock": replace(kept(LOCK_ROOT, LOCK_ROOT, _NO_LOCK, locks.is_configuration), delete=None),
    "ownershipControls": kept(
        "BucketOwnershipControls", "OwnershipControls", Code.OwnershipControlsNotFoundError, _has_rules
    ),
    "policy": Setting("BucketPolicy", _get_policy, _put_policy, _deleting("Policy"), "policy"),
    "publicAccessBlock": kept("BucketPublicAccessBlock", "PublicAccessBlockConfiguration", _NO_ACCESS_BLOCK),
    "tagging": kept(
        "BucketTagging", "Tagging", Code.NoSuchTagSet, _has_tags, status=HTTPStatus.NO_CONTENT, feature="tagging"
    ),
    "versioning": Setting("BucketVersioning", _get_versioning, _put_versioning),
    "website": kept("BucketWebsite", "WebsiteConfiguration", Code.NoSuchWebsiteConfiguration, feature="website"),
}
"""By the query parameters of their requests. Only ``cors``, ``object-lock`` and ``versioning`` have an effect."""
