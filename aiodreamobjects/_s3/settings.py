"""The settings of a bucket, one row each. To add one, add its row here and its verbs to ``Bucket``.

A row says how to read, write and remove the setting: as our own XML, or through aioboto3 if it is rarely used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from aiodreamobjects._models import CorsRule, LifecycleRule, PolicyDocument, VersioningStatus, Website
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
    read: Callable[[BotoReply], T]
    write: Callable[[T], dict[str, Any]]
    root: str
    """The root of the document that answers ``get``. ``{`` stands for JSON."""


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
