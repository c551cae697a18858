"""S3 on a store in memory: from a request to a reply.

A ``Dialect`` says what kind of service it is. Operations, parameters and headers that are not known here are refused:
no test passes because something was ignored. Every signature is computed from the request as received.

Source: the Amazon S3 API reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from aiodreamobjects._memory import acls, buckets, cors, listings, objects, posts, uploads
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.digests import check_digests
from aiodreamobjects._memory.documents import error_reply
from aiodreamobjects._memory.operations import operation_name, subresource_of
from aiodreamobjects._memory.signatures import check_signature
from aiodreamobjects._memory.store import Store
from aiodreamobjects._service import Feature

Anonymous = Literal["read object", "read bucket", "write bucket", "anything"]
"""What an ACL must allow to everybody for a request without a signature."""

_UNKNOWN_HEADERS = re.compile(
    r"x-amz-(grant-.+|mfa|object-lock-.+|bucket-object-lock-.+|bypass-governance-retention"
    r"|server-side-encryption-.+|copy-source-server-side-encryption-.+)"
)
"""They ask for something this service does not do. Ignored, they would seem to have an effect."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What to do, which parameters may come with it, and who may ask for it."""

    act: Callable[[Store, Call], Reply]
    parameters: frozenset[str] = frozenset()
    anonymous: Anonymous | None = None
    feature: Feature | None = None
    """A service that refuses this feature does not know the operation."""


def answer(store: Store, call: Call) -> Reply:
    """Return the reply to a request. All its changes happen in one step."""
    if call.method not in ("GET", "HEAD", "OPTIONS"):
        store.changes += 1
    try:
        reply = _answer(store, call)
    except S3Error as error:
        reply = error_reply(error.status, error.name, error.message, error.headers)
    return cors.allowed(store, call, reply) if "origin" in call.headers else reply


def _answer(store: Store, call: Call) -> Reply:
    objects.check_key(call.key)
    name = operation_name(call)
    is_form = name == "PostObject"  # a form is signed in its fields
    is_signed = not is_form and check_signature(store.dialect, call, store.now())
    refuse_unsupported_headers(store.dialect, call)
    check_digests(call, is_signed=is_signed, has_checksums=name != "CompleteMultipartUpload")
    operation = operation_of(store.dialect, call, name)
    if not is_signed and not is_form:
        admit_anonymous(store, call, operation)
    return operation.act(store, call)


def operation_of(dialect: Dialect, call: Call, name: str) -> Operation:
    """Return the operation. Raises S3Error if it, or one of its parameters, is not known."""
    subresource = subresource_of(call)
    operation = OPERATIONS.get(name)
    if operation is None or name in dialect.lacks or operation.feature in dialect.refuses:
        raise S3Error(Code.NotImplemented)
    others = (name for name in call.query if not _is_of_signature(name) and name not in ("x-id", subresource))
    if not operation.parameters.issuperset(others):
        raise S3Error(Code.NotImplemented)
    return operation


def _is_of_signature(name: str) -> bool:
    return name.startswith("X-Amz-") or name in ("AWSAccessKeyId", "Signature", "Expires", "x-amz-security-token")


def refuse_unsupported_headers(dialect: Dialect, call: Call) -> None:
    if call.method == "PUT" and not {"content-length", "transfer-encoding"} & call.headers.keys():
        raise S3Error(Code.MissingContentLength)
    if dialect.known_headers is None:
        is_other = call.headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
        if is_other or any(_UNKNOWN_HEADERS.fullmatch(name) for name in call.headers):
            raise S3Error(Code.NotImplemented, "A header you provided implies functionality that is not implemented.")
        return
    for name, value in call.headers.items():
        if name.startswith("x-amz-") and not dialect.known_headers.fullmatch(name):
            raise S3Error(Code.InvalidArgument, f"Unsupported header '{name}' received for this API call.")
        if value != dialect.only_values.get(name, value):
            raise S3Error(Code.InvalidArgument, f"Unsupported value '{value}' for header '{name}'.")
    if "aws-chunked" in call.headers.get("content-encoding", ""):
        raise S3Error(Code.InvalidArgument, "Unsupported header 'content-encoding' received for this API call.")
    if call.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        raise S3Error(Code.InvalidArgument, "Unsupported value of header 'x-amz-content-sha256': no chunked signing.")


def admit_anonymous(store: Store, call: Call, operation: Operation) -> None:
    """Raise AccessDenied unless an ACL allows everybody to do this."""
    if operation.anonymous == "anything":
        return
    if operation.anonymous is None:
        raise S3Error(Code.AccessDenied)
    bucket = store.bucket(call.bucket)
    if operation.anonymous == "read object":
        if any(name.startswith("response-") for name in call.query):
            raise S3Error(Code.InvalidRequest, "Response headers cannot be overridden in an anonymous request.")
        try:
            acl = acls.acl_of(store.dialect, bucket, bucket.readable(call.key, call.query.get("versionId")))
        except S3Error:
            acl = bucket.acl  # whoever may list the bucket may know that the key is missing
        acls.require(acl, "READ")
    elif operation.anonymous == "read bucket":
        acls.require(bucket.acl, "READ")
    else:
        acls.require(bucket.acl, "WRITE")


# All that is known; the table stands last because it names everything above

_LIST: Final = frozenset({"prefix", "delimiter", "encoding-type"})
_VERSION: Final = frozenset({"versionId"})
_READ: Final = _VERSION | {"partNumber"} | {f"response-{name}" for name in objects.CONTENT_HEADERS}
_FEATURES: Final[dict[str, Feature]] = {"Policy": "policy", "Tagging": "tagging", "Website": "website"}

OPERATIONS: Final = {
    "ListBuckets": Operation(buckets.list_buckets, frozenset({"prefix", "continuation-token", "max-buckets"})),
    "CreateBucket": Operation(buckets.create_bucket),
    "HeadBucket": Operation(buckets.head_bucket, anonymous="read bucket"),
    "DeleteBucket": Operation(buckets.delete_bucket),
    "GetBucketAcl": Operation(acls.get_acl),
    "PutBucketAcl": Operation(acls.put_acl),
    "GetBucketLocation": Operation(buckets.get_location),
    "GetBucketVersioning": Operation(buckets.get_versioning),
    "PutBucketVersioning": Operation(buckets.put_versioning),
    "GetBucketPolicy": Operation(buckets.get_policy, feature="policy"),
    "PutBucketPolicy": Operation(buckets.put_policy, feature="policy"),
    "DeleteBucketPolicy": Operation(buckets.delete_policy, feature="policy"),
    **{
        f"{method}Bucket{name}": Operation(act, feature=_FEATURES.get(name))
        for name, setting in buckets.SETTINGS.items()
        for method, act in (("Get", setting.get), ("Put", setting.put), ("Delete", setting.delete))
        if method != "Delete" or setting.missing is not None
    },
    "ListObjects": Operation(listings.list_objects, _LIST | {"max-keys", "marker"}, "read bucket"),
    "ListObjectsV2": Operation(
        listings.list_objects_v2,
        _LIST | {"max-keys", "start-after", "continuation-token", "fetch-owner"},
        "read bucket",
    ),
    "ListObjectVersions": Operation(listings.list_versions, _LIST | {"max-keys", "key-marker", "version-id-marker"}),
    "ListMultipartUploads": Operation(listings.list_uploads, _LIST | {"max-uploads", "key-marker", "upload-id-marker"}),
    "DeleteObjects": Operation(objects.delete_objects, anonymous="write bucket", feature="delete_objects"),
    "PostObject": Operation(posts.post_object, feature="presigned_post"),
    "PutObject": Operation(objects.put_object, anonymous="write bucket"),
    "CopyObject": Operation(objects.copy_object),
    "GetObject": Operation(objects.get_object, _READ, "read object"),
    "HeadObject": Operation(objects.get_object, _READ, "read object"),
    "DeleteObject": Operation(objects.delete_object, _VERSION, "write bucket"),
    "GetObjectAcl": Operation(acls.get_acl, _VERSION),
    "PutObjectAcl": Operation(acls.put_acl, _VERSION),
    "GetObjectTagging": Operation(objects.get_tags, _VERSION, feature="tagging"),
    "PutObjectTagging": Operation(objects.put_tags, _VERSION, feature="tagging"),
    "DeleteObjectTagging": Operation(objects.delete_tags, _VERSION, feature="tagging"),
    "CreateMultipartUpload": Operation(uploads.create_upload),
    "UploadPart": Operation(uploads.upload_part, frozenset({"partNumber"})),
    "UploadPartCopy": Operation(uploads.copy_part, frozenset({"partNumber"})),
    "ListParts": Operation(uploads.list_parts, frozenset({"max-parts", "part-number-marker", "encoding-type"})),
    "CompleteMultipartUpload": Operation(uploads.complete_upload),
    "AbortMultipartUpload": Operation(uploads.abort_upload),
    "Preflight": Operation(cors.preflight, _READ, "anything"),
}
