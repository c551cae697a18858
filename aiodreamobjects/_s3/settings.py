"""The settings of a bucket, one row each. To add one, add its row here and its verbs to ``Bucket``.

A row says how to read, write and remove the setting: as our own XML, or through aioboto3 if it is rarely used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from aiodreamobjects._bucket_settings import (
    CorsRule,
    EncryptionRule,
    LifecycleRule,
    Logging,
    Notification,
    PolicyDocument,
    PublicAccessBlock,
    Retention,
    Website,
)
from aiodreamobjects._models import ObjectOwnership, VersioningStatus
from aiodreamobjects._s3 import xml
from aiodreamobjects._s3.errors import refuse_reply
from aiodreamobjects._service import Feature

T = TypeVar("T")

BotoReply = Mapping[str, Any]
"""botocore's reply. Its values have no types, so only this table and ``cold`` use it."""


@dataclass(frozen=True, slots=True)
class AsXml(Generic[T]):
    """``GET``, ``PUT`` and ``DELETE`` of ``?query``, with our own document."""

    query: str
    root: str
    read: Callable[[xml.Element], T]
    write: Callable[[T], bytes]
    other_root: str = ""
    deleted_by_putting: T | None = None
    """The value that means no setting, if S3 has no ``DELETE`` for it."""


@dataclass(frozen=True, slots=True)
class ByBoto(Generic[T]):
    """Three operations of botocore, by the names of the client's methods."""

    get: str
    put: str
    delete: str
    """Empty if S3 has no ``DELETE`` for it: then the setting's empty value is put."""
    read: Callable[[BotoReply], T]
    write: Callable[[T], dict[str, Any]]
    root: str
    """The root of the document that answers ``get``. ``{`` stands for JSON."""
    other_root: str = ""
    """Another name that some service gives this root."""
    other_delete: str = ""
    """The query by which a service deletes the setting if it refuses the empty value."""


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A document that a bucket may have."""

    name: str
    form: AsXml[T] | ByBoto[T]
    empty: Callable[[], T]
    """Makes the value of a bucket without this setting."""
    absent: str = ""
    """The service's error code for a bucket without this setting."""
    feature: Feature | None = None
    meaning: Callable[[T], object] | None = None
    """Reduces a value to what a service must keep of it. With this, ``set`` reads the setting back and compares.

    The feature is then this setting's own, and is asked for before the first write: many services ignore the setting. Ceph RGW
    deletes an empty bucket if it is asked to delete the bucket's encryption.
    """

    @property
    def lack(self) -> Feature | None:
        """The feature that a service lacks if it does not know this setting. None if that would say more than is known."""
        return self.feature if self.meaning is not None else None


def tags_of(root: xml.Element) -> dict[str, str]:
    tag_set = root.find("TagSet")
    tags = list(tag_set.find_all("Tag")) if tag_set else []
    return {tag.get("Key") or refuse_reply("a tag without Key"): tag.get("Value") or "" for tag in tags}


def _status_of(root: xml.Element) -> VersioningStatus | None:
    status = root.get("Status") or None
    if status not in (None, "Enabled", "Suspended"):
        refuse_reply(f"the versioning status {status[:40]!r}")
    return cast("VersioningStatus | None", status)


def _policy_of(reply: BotoReply) -> PolicyDocument:
    try:
        document = json.loads(reply["Policy"])
    except (KeyError, ValueError):
        document = None
    if not isinstance(document, dict):
        refuse_reply("a policy that is not a JSON object")
    return document


CORS: Setting[list[CorsRule]] = Setting(
    "cors",
    ByBoto(
        "get_bucket_cors",
        "put_bucket_cors",
        "delete_bucket_cors",
        lambda reply: list(reply.get("CORSRules", ())),
        lambda rules: {"CORSConfiguration": {"CORSRules": list(rules)}},
        root="CORSConfiguration",
    ),
    empty=list,
    absent="NoSuchCORSConfiguration",
)
POLICY: Setting[PolicyDocument | None] = Setting(
    "policy",
    ByBoto(
        "get_bucket_policy",
        "put_bucket_policy",
        "delete_bucket_policy",
        _policy_of,
        lambda document: {"Policy": json.dumps(document)},
        root="{",
    ),
    empty=lambda: None,
    absent="NoSuchBucketPolicy",
    feature="policy",
)
LIFECYCLE: Setting[list[LifecycleRule]] = Setting(
    "lifecycle",
    ByBoto(
        "get_bucket_lifecycle_configuration",
        "put_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
        lambda reply: list(reply.get("Rules", ())),
        lambda rules: {"LifecycleConfiguration": {"Rules": list(rules)}},
        root="LifecycleConfiguration",
    ),
    empty=list,
    absent="NoSuchLifecycleConfiguration",
)
TAGS: Setting[dict[str, str]] = Setting(
    "tags",
    AsXml("tagging", "Tagging", tags_of, xml.tagging_document),
    empty=dict,
    absent="NoSuchTagSet",
    feature="tagging",
)
VERSIONING: Setting[VersioningStatus | None] = Setting(
    "versioning",
    AsXml(
        "versioning",
        "VersioningConfiguration",
        _status_of,
        lambda status: xml.versioning_document(status or "Suspended"),
        other_root="GetBucketVersioningResponse",  # moto's
        deleted_by_putting="Suspended",
    ),
    empty=lambda: None,
)
WEBSITE: Setting[Website | None] = Setting(
    "website",
    ByBoto(
        "get_bucket_website",
        "put_bucket_website",
        "delete_bucket_website",
        lambda reply: cast(Website, {name: value for name, value in reply.items() if name != "ResponseMetadata"}),
        lambda website: {"WebsiteConfiguration": dict(website or {})},
        root="WebsiteConfiguration",
    ),
    empty=lambda: None,
    absent="NoSuchWebsiteConfiguration",
    feature="website",
)


# Settings that many services do not know. Each is read before it is written, and read back afterwards.


def _plain(value: object) -> object:
    """Return a mapping as the dict that botocore wants. It names the wrong type of anything else."""
    return dict(value) if isinstance(value, Mapping) else value


def _access_of(reply: BotoReply) -> PublicAccessBlock | None:
    """Return the block; None if it blocks nothing, which is how Ceph RGW says that there is none."""
    found = reply.get("PublicAccessBlockConfiguration", {})
    return cast(PublicAccessBlock, dict(found)) if any(found.values()) else None


def _ownership_of(reply: BotoReply) -> ObjectOwnership | None:
    rules = reply.get("OwnershipControls", {}).get("Rules", ())
    return cast("ObjectOwnership | None", rules[0].get("ObjectOwnership")) if rules else None


def _notification_of(reply: BotoReply) -> Notification:
    return cast(Notification, {name: value for name, value in reply.items() if name != "ResponseMetadata"})


def _meaning_of_notification(notification: Notification) -> object:
    """Return the targets, each with its events and filters. Services add IDs, reorder, and capitalise the names of filters."""
    meaning: set[object] = set()
    for kind, configurations in cast("dict[str, Any]", notification).items():
        if kind == "EventBridgeConfiguration":
            meaning.add(kind)
            continue
        for found in configurations:
            target = next((value for name, value in found.items() if name.endswith("Arn")), "")
            rules = found.get("Filter", {}).get("Key", {}).get("FilterRules", ())
            filters = frozenset((rule.get("Name", "").lower(), rule.get("Value", "")) for rule in rules)
            meaning.add((kind, target, frozenset(found.get("Events", ())), filters))
    return meaning


def _retention_of(reply: BotoReply) -> Retention | None:
    rule = reply.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
    days, years = rule.get("Days") or None, rule.get("Years") or None  # Ceph RGW sends the other one as 0
    if not rule.get("Mode") or (days is None and years is None):
        return None
    try:
        return Retention(rule["Mode"], days=days, years=years)
    except ValueError:
        refuse_reply(f"the default retention {rule!r}")


def _retention_document(retention: Retention | None) -> dict[str, Any]:
    document: dict[str, Any] = {"ObjectLockEnabled": "Enabled"}
    if retention is not None:
        period = {"Days": retention.days} if retention.years is None else {"Years": retention.years}
        document["Rule"] = {"DefaultRetention": {"Mode": retention.mode, **period}}
    return {"ObjectLockConfiguration": document}


ENCRYPTION: Setting[list[EncryptionRule]] = Setting(
    "encryption",
    ByBoto(
        "get_bucket_encryption",
        "put_bucket_encryption",
        "delete_bucket_encryption",
        lambda reply: list(reply.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())),
        lambda rules: {"ServerSideEncryptionConfiguration": {"Rules": list(rules)}},
        root="ServerSideEncryptionConfiguration",
    ),
    empty=list,
    absent="ServerSideEncryptionConfigurationNotFoundError",
    feature="bucket_encryption",
    meaning=lambda rules: [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules],
)
PUBLIC_ACCESS_BLOCK: Setting[PublicAccessBlock | None] = Setting(
    "public_access_block",
    ByBoto(
        "get_public_access_block",
        "put_public_access_block",
        "delete_public_access_block",
        _access_of,
        lambda block: {"PublicAccessBlockConfiguration": _plain(block or {})},
        root="PublicAccessBlockConfiguration",
        other_root="BlockPublicAccessBlockConfiguration",  # Ceph RGW's
    ),
    empty=lambda: None,
    absent="NoSuchPublicAccessBlockConfiguration",
    feature="public_access_block",
    meaning=lambda block: {name for name, value in (block or {}).items() if value},
)
NOTIFICATION: Setting[Notification] = Setting(
    "notification",
    ByBoto(
        "get_bucket_notification_configuration",
        "put_bucket_notification_configuration",
        "",
        _notification_of,
        lambda notification: {"NotificationConfiguration": _plain(notification)},
        root="NotificationConfiguration",
        other_root="GetBucketNotificationResponse",  # moto's
        other_delete="notification",  # Ceph documentation, "S3 Bucket Notifications Compatibility", "Delete Notification"
    ),
    empty=Notification,
    feature="notification",
    meaning=_meaning_of_notification,
)
OBJECT_LOCK: Setting[Retention | None] = Setting(
    "object_lock",
    ByBoto(
        "get_object_lock_configuration",
        "put_object_lock_configuration",
        "",
        _retention_of,
        _retention_document,
        root="ObjectLockConfiguration",
    ),
    empty=lambda: None,
    absent="ObjectLockConfigurationNotFoundError",
    feature="object_lock",
    meaning=lambda retention: retention,
)
HAS_LOCK: Setting[bool] = Setting(
    "object_lock",
    ByBoto(
        "get_object_lock_configuration",
        "",
        "",
        lambda reply: reply.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled",
        lambda _: {},
        root="ObjectLockConfiguration",
    ),
    empty=lambda: False,
    absent="ObjectLockConfigurationNotFoundError",
    feature="object_lock",
    meaning=bool,
)
"""Whether the bucket has Object Lock, with or without a default retention. Only for reading."""
LOGGING: Setting[Logging | None] = Setting(
    "logging",
    ByBoto(
        "get_bucket_logging",
        "put_bucket_logging",
        "",
        lambda reply: cast("Logging | None", reply.get("LoggingEnabled") or None),
        lambda logging: {"BucketLoggingStatus": {"LoggingEnabled": _plain(logging)} if logging else {}},
        root="BucketLoggingStatus",
    ),
    empty=lambda: None,
    feature="logging",
    meaning=lambda logging: logging and (logging.get("TargetBucket"), logging.get("TargetPrefix") or ""),
)
OWNERSHIP: Setting[ObjectOwnership | None] = Setting(
    "ownership",
    ByBoto(
        "get_bucket_ownership_controls",
        "put_bucket_ownership_controls",
        "delete_bucket_ownership_controls",
        _ownership_of,
        lambda ownership: {"OwnershipControls": {"Rules": [{"ObjectOwnership": ownership}]}},
        root="OwnershipControls",
    ),
    empty=lambda: None,
    absent="OwnershipControlsNotFoundError",
    feature="ownership",
    meaning=lambda ownership: ownership,
)
