"""botocore's dictionaries and errors, in our values and our errors. The border: nothing here goes further untyped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast, get_args

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError
from aiodreamobjects._models import (
    Acl,
    BucketInfo,
    Grant,
    ObjectAttributes,
    ObjectInfo,
    Permission,
    UploadInfo,
    make_object_info,
)
from aiodreamobjects._service import Feature
from aiodreamobjects._wire.contract import Setting, WriteConditions
from aiodreamobjects._wire.errors import Context, Refusal, failure_of, failure_of_refusal, refuse_reply, unreadable
from aiodreamobjects._wire.replies import parse_content_range, unquoted, version_id
from aiodreamobjects._wire.retry import Failure

Reply = Mapping[str, Any]

# Values


def object_info(bucket: str, key: str, reply: Reply) -> ObjectInfo:
    """From a GET or HEAD reply."""
    size = reply.get("ContentLength")
    if "ContentRange" in reply:
        size = parse_content_range(reply["ContentRange"])[2]
    return ObjectInfo(
        bucket=bucket,
        key=key,
        size=size,
        etag=unquoted(reply.get("ETag")),
        last_modified=utc(reply.get("LastModified")),
        content_type=reply.get("ContentType"),
        metadata=dict(reply.get("Metadata") or {}),
        version_id=version_id(reply.get("VersionId")),
        storage_class=reply.get("StorageClass"),
        cache_control=reply.get("CacheControl"),
        content_disposition=reply.get("ContentDisposition"),
        content_encoding=reply.get("ContentEncoding"),
    )


def listed_object(bucket: str, item: Reply, decode: Callable[[str], str]) -> ObjectInfo:
    """From an entry of a listing of objects or versions."""
    key, etag = decode(required(item, "Key")), unquoted(item.get("ETag"))
    if item.get("Size", 0) < 0:
        refuse_reply("a size below zero")
    found = make_object_info(bucket, key, item.get("Size"), etag, utc(item.get("LastModified")))
    return replace(
        found,
        storage_class=item.get("StorageClass"),
        version_id=item.get("VersionId") or None,
        is_latest=item.get("IsLatest"),
    )


def listed_upload(bucket: str, item: Reply, decode: Callable[[str], str]) -> UploadInfo:
    key, begun = decode(required(item, "Key")), utc(item.get("Initiated"))
    return UploadInfo(bucket, key, required(item, "UploadId"), begun, item.get("StorageClass"))


def bucket_info(name: str, headers: Mapping[str, str]) -> BucketInfo:
    """From the headers of a HEAD; only Ceph RGW counts (``X-RGW-*``)."""
    return BucketInfo(
        name=name,
        region=headers.get("x-amz-bucket-region"),
        object_count=_whole(headers.get("x-rgw-object-count")),
        bytes_used=_whole(headers.get("x-rgw-bytes-used")),
    )


def utc(time: datetime | None) -> datetime | None:
    try:
        return time.astimezone(UTC) if time else None
    except OverflowError:
        refuse_reply(f"a date out of range, {time}")


def raw_headers(reply: Reply) -> dict[bytes, bytes]:
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}


def attribute_parameters(attributes: ObjectAttributes) -> dict[str, object]:
    return {
        "ContentType": attributes.content_type,
        "Metadata": dict(attributes.metadata) if attributes.metadata else None,
        "CacheControl": attributes.cache_control,
        "ContentDisposition": attributes.content_disposition,
        "ContentEncoding": attributes.content_encoding,
        "StorageClass": attributes.storage_class,
        "ACL": attributes.acl,
    }


def condition_parameters(conditions: WriteConditions) -> dict[str, object]:
    # Unquoted: Ceph RGW 16.2 refuses the quotes here, S3's own examples have none.
    return {"IfNoneMatch": "*" if conditions.if_absent else None, "IfMatch": unquoted(conditions.if_match)}


def acl_value(reply: Reply) -> Acl:
    return Acl(required(reply, "Owner", "ID"), tuple(_grant(grant) for grant in reply.get("Grants", ())))


def _grant(grant: Reply) -> Grant:
    grantee, permission = required(grant, "Grantee"), cast(Permission, required(grant, "Permission"))
    if permission not in get_args(Permission):
        refuse_reply("a grant of a permission that is none")
    if "URI" in grantee:
        return Grant(permission, uri=grantee["URI"])
    if "EmailAddress" in grantee:
        return Grant(permission, email=grantee["EmailAddress"])
    return Grant(permission, id=grantee.get("ID", ""))


def acl_policy(acl: Acl) -> dict[str, Any]:
    return {"Owner": {"ID": acl.owner}, "Grants": [_boto_grant(grant) for grant in acl.grants]}


def _boto_grant(grant: Grant) -> dict[str, Any]:
    if grant.uri is not None:
        grantee = {"Type": "Group", "URI": grant.uri}
    elif grant.email is not None:
        grantee = {"Type": "AmazonCustomerByEmail", "EmailAddress": grant.email}
    else:
        grantee = {"Type": "CanonicalUser", "ID": grant.id or ""}
    return {"Grantee": grantee, "Permission": grant.permission}


def tags_value(reply: Reply) -> dict[str, str]:
    return {required(tag, "Key"): tag.get("Value", "") for tag in reply.get("TagSet", ())}


def tag_set(tags: Mapping[str, str]) -> dict[str, Any]:
    return {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}


def required(reply: Reply, *path: str) -> Any:
    """What S3's schema promises, and a broken gateway may leave out."""
    found: Any = reply
    for name in path:
        if name not in found:
            refuse_reply(f"a reply without {'/'.join(path)}")
        found = found[name]
    return found


def _policy_value(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        refuse_reply("a policy that is no JSON object")
    return document


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


# Settings of a bucket


@dataclass(frozen=True, slots=True)
class SettingRequests:
    """How a setting is read and written, and what a bucket without one answers."""

    get: str
    put: str
    delete: str
    value_of: Callable[[Reply], object]
    parameters_of: Callable[[Any], dict[str, Any]]
    absent: str = ""
    empty: Callable[[], object] = lambda: None
    deleted_by_putting: object = None


_SETTINGS = {
    "cors": SettingRequests(
        "get_bucket_cors",
        "put_bucket_cors",
        "delete_bucket_cors",
        lambda reply: list(reply.get("CORSRules", ())),
        lambda rules: {"CORSConfiguration": {"CORSRules": list(rules)}},
        absent="NoSuchCORSConfiguration",
        empty=list,
    ),
    "policy": SettingRequests(
        "get_bucket_policy",
        "put_bucket_policy",
        "delete_bucket_policy",
        lambda reply: _policy_value(required(reply, "Policy")),
        lambda document: {"Policy": json.dumps(document)},
        absent="NoSuchBucketPolicy",
    ),
    "lifecycle": SettingRequests(
        "get_bucket_lifecycle_configuration",
        "put_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
        lambda reply: list(reply.get("Rules", ())),
        lambda rules: {"LifecycleConfiguration": {"Rules": list(rules)}},
        absent="NoSuchLifecycleConfiguration",
        empty=list,
    ),
    "tags": SettingRequests(
        "get_bucket_tagging",
        "put_bucket_tagging",
        "delete_bucket_tagging",
        tags_value,
        lambda tags: {"Tagging": tag_set(tags)},
        absent="NoSuchTagSet",
        empty=dict,
    ),
    "versioning": SettingRequests(
        "get_bucket_versioning",
        "put_bucket_versioning",
        "put_bucket_versioning",
        lambda reply: reply.get("Status"),
        lambda status: {"VersioningConfiguration": {"Status": status}},
        deleted_by_putting="Suspended",
    ),
    "website": SettingRequests(
        "get_bucket_website",
        "put_bucket_website",
        "delete_bucket_website",
        lambda reply: {name: value for name, value in reply.items() if name != "ResponseMetadata"},
        lambda website: {"WebsiteConfiguration": dict(website)},
        absent="NoSuchWebsiteConfiguration",
    ),
}
_SETTING_FEATURES: dict[str, Feature] = {"tags": "tagging", "website": "website", "policy": "policy"}


def setting_requests(setting: Setting[Any]) -> tuple[SettingRequests, Feature | None]:
    return _SETTINGS[setting.name], _SETTING_FEATURES.get(setting.name)


# Errors


def translate(error: Exception, status: int | None, context: Context) -> Failure | None:
    """An exception from the client as a failure that can be tried again or raised; None if it is not the service's.

    ``status`` is that of the response: botocore calls a 200 with an error document, or with no document, a 500.
    """
    if isinstance(error, DreamObjectsError):
        return failure_of(error)
    if isinstance(error, boto.ClientError):
        return failure_of_refusal(_refusal(error, status), context)
    if isinstance(error, boto.ParamValidationError):
        msg = f"{context.what}: {error}"
        raise ValueError(msg) from None  # noqa: TRY004 - of whatever type a value is wrong
    if isinstance(error, ResponseParserError) or (isinstance(error, ValueError) and status is not None):
        return Failure(unreadable(context, status))
    if isinstance(error, boto.HTTPClientError | boto.BotoCoreError):
        return Failure(ConnectionFailedError(f"{context.what}: {error}"), may_be_done=True)
    return None


def _refusal(error: boto.ClientError, status: int | None) -> Refusal:
    reply = cast(dict[str, Any], error.response)
    metadata = reply.get("ResponseMetadata", {})
    return Refusal(
        status=status or int(metadata.get("HTTPStatusCode", 0)) or None,
        code=str(reply["Error"].get("Code") or ""),
        text=str(reply["Error"].get("Message") or ""),
        headers=metadata.get("HTTPHeaders", {}),
        request_id=metadata.get("RequestId"),
        is_head=error.operation_name.startswith("Head"),
    )
