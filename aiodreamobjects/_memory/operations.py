"""What a request is: the operation by S3's name, and by our verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from aiodreamobjects._memory.calls import Call, Level

Verb = Literal[
    "abort_upload",
    "complete_upload",
    "copy_object",
    "copy_part",
    "create_bucket",
    "create_upload",
    "delete_bucket",
    "delete_object",
    "delete_objects",
    "delete_setting",
    "get_bucket_acl",
    "get_object",
    "get_object_acl",
    "get_object_tags",
    "get_setting",
    "head_bucket",
    "head_object",
    "list_buckets",
    "list_objects",
    "list_parts",
    "list_uploads",
    "list_versions",
    "put_bucket_acl",
    "put_object",
    "put_object_acl",
    "put_object_tags",
    "put_part",
    "put_setting",
]
"""Each kind of request there is, by its name."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. Every attempt is one, also where a fault is what it met."""

    verb: Verb
    bucket: str | None = None
    """None for ``list_buckets``."""
    key: str | None = None
    """A listing's prefix, a setting's name; None for a bucket as a whole and for ``delete_objects``."""


SETTINGS: Final = {
    "cors": "Cors",
    "encryption": "Encryption",
    "lifecycle": "Lifecycle",
    "location": "Location",
    "logging": "Logging",
    "notification": "Notification",
    "ownershipControls": "OwnershipControls",
    "policy": "Policy",
    "publicAccessBlock": "PublicAccessBlock",
    "tagging": "Tagging",
    "versioning": "Versioning",
    "website": "Website",
}
"""The settings of a bucket: the query parameter, and the end of the operations' names."""

_ROUTES: Final[dict[tuple[str, Level, str], str]] = {
    ("GET", "service", ""): "ListBuckets",
    ("PUT", "bucket", ""): "CreateBucket",
    ("HEAD", "bucket", ""): "HeadBucket",
    ("DELETE", "bucket", ""): "DeleteBucket",
    ("GET", "bucket", "acl"): "GetBucketAcl",
    ("PUT", "bucket", "acl"): "PutBucketAcl",
    **{
        (method, "bucket", setting): f"{method.title()}Bucket{name}"
        for setting, name in SETTINGS.items()
        for method in ("GET", "PUT", "DELETE")
    },
    ("GET", "bucket", ""): "ListObjects",
    ("GET", "bucket", "list-type"): "ListObjectsV2",
    ("GET", "bucket", "versions"): "ListObjectVersions",
    ("GET", "bucket", "uploads"): "ListMultipartUploads",
    ("POST", "bucket", "delete"): "DeleteObjects",
    ("POST", "bucket", ""): "PostObject",
    ("PUT", "object", ""): "PutObject",
    ("GET", "object", ""): "GetObject",
    ("HEAD", "object", ""): "HeadObject",
    ("DELETE", "object", ""): "DeleteObject",
    ("GET", "object", "acl"): "GetObjectAcl",
    ("PUT", "object", "acl"): "PutObjectAcl",
    ("GET", "object", "tagging"): "GetObjectTagging",
    ("PUT", "object", "tagging"): "PutObjectTagging",
    ("DELETE", "object", "tagging"): "DeleteObjectTagging",
    ("POST", "object", "uploads"): "CreateMultipartUpload",
    ("PUT", "object", "uploadId"): "UploadPart",
    ("GET", "object", "uploadId"): "ListParts",
    ("POST", "object", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "object", "uploadId"): "AbortMultipartUpload",
    ("OPTIONS", "bucket", ""): "Preflight",
    ("OPTIONS", "object", ""): "Preflight",
}
_SUBRESOURCES: Final = {level: {sub for _, at, sub in _ROUTES if at == level} for level in ("bucket", "object")}
_COPIES: Final = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}

_VERBS: Final[dict[str, Verb]] = {
    "ListBuckets": "list_buckets",
    "CreateBucket": "create_bucket",
    "HeadBucket": "head_bucket",
    "DeleteBucket": "delete_bucket",
    "GetBucketAcl": "get_bucket_acl",
    "PutBucketAcl": "put_bucket_acl",
    "ListObjects": "list_objects",
    "ListObjectsV2": "list_objects",
    "ListObjectVersions": "list_versions",
    "ListMultipartUploads": "list_uploads",
    "DeleteObjects": "delete_objects",
    "PostObject": "put_object",
    "PutObject": "put_object",
    "CopyObject": "copy_object",
    "GetObject": "get_object",
    "HeadObject": "head_object",
    "DeleteObject": "delete_object",
    "GetObjectAcl": "get_object_acl",
    "PutObjectAcl": "put_object_acl",
    "GetObjectTagging": "get_object_tags",
    "PutObjectTagging": "put_object_tags",
    "DeleteObjectTagging": "put_object_tags",
    "CreateMultipartUpload": "create_upload",
    "UploadPart": "put_part",
    "UploadPartCopy": "copy_part",
    "ListParts": "list_parts",
    "CompleteMultipartUpload": "complete_upload",
    "AbortMultipartUpload": "abort_upload",
}
_LISTS: Final = ("list_objects", "list_versions", "list_uploads")
_SETTING_NAMES: Final = {"tagging": "tags"}


def subresource_of(call: Call) -> str:
    """Return the first query parameter that names a subresource."""
    known = _SUBRESOURCES.get(call.level, set())
    return next((name for name in call.query if name in known), "")


def operation_name(call: Call) -> str:
    """Return S3's name of the operation; for an unknown one, its method and level."""
    name = _ROUTES.get((call.method, call.level, subresource_of(call)), f"{call.method} {call.level}")
    return _COPIES.get(name, name) if "x-amz-copy-source" in call.headers else name


def request_of(call: Call, operation: str) -> Request:
    """Return the request by our verb. A request that no verb sends gets the nearest one."""
    subresource = subresource_of(call)
    method = "delete" if call.method == "DELETE" else "put" if call.method in ("PUT", "POST") else "get"
    if call.level == "bucket" and subresource in SETTINGS:
        return Request(cast(Verb, f"{method}_setting"), call.bucket, _SETTING_NAMES.get(subresource, subresource))
    verb = _VERBS.get(operation) or cast(Verb, f"{method}_object")
    if verb in _LISTS:
        return Request(verb, call.bucket, call.query.get("prefix", ""))
    return Request(verb, call.bucket or None, call.key or None)
