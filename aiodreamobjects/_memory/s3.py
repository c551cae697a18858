"""S3 on a store in memory: from a request to a reply.

A ``Dialect`` says what kind of service it is. Operations, parameters and headers that are not known here are refused:
no test passes because something was ignored. Every signature is computed from the request as received.

Source: the Amazon S3 API reference.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, cast

from aiodreamobjects._memory import acls, buckets, cors, listings, locks, objects, posts, uploads
from aiodreamobjects._memory.calls import Call, Reply, unchunked
from aiodreamobjects._memory.checksums import check_digests
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import error_reply
from aiodreamobjects._memory.signatures import check_signature
from aiodreamobjects._memory.store import OWNER, Store
from aiodreamobjects._service import Feature

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
    "get_object_legal_hold",
    "get_object_retention",
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
    "put_object_legal_hold",
    "put_object_retention",
    "put_object_tags",
    "put_part",
    "put_setting",
]
"""Each kind of request there is, by its name."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. Each attempt is one, even if a fault strikes it."""

    verb: Verb
    bucket: str | None = None
    """None for ``list_buckets``."""
    key: str | None = None
    """A listing's prefix, a setting's name; None for a bucket as a whole and for ``delete_objects``."""


Anonymous = Literal["read object", "read bucket", "write bucket", "anything"]
"""What an ACL must allow everybody, so that a request without a signature is handled."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What to do, which parameters may come with it, and who may ask for it."""

    name: str
    """S3's name."""
    route: str
    """The method, the level and the query parameter that names a subresource. A PUT with a source is a COPY."""
    verb: Verb
    act: Callable[[Store, Call], Reply]
    parameters: frozenset[str] = frozenset()
    anonymous: Anonymous | None = None
    feature: Feature | None = None
    """A service that refuses this feature does not know the operation."""

    @property
    def subresource(self) -> str:
        return self.route.split(" ")[2]


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
    call = unchunked(call)
    operation, dialect = operation_of(call), store.dialect
    if operation.act is cors.preflight:  # browsers sign none; its query is that of the request that follows
        return operation.act(store, call)
    is_form = operation.name == "PostObject"  # a form is signed in its fields
    is_signed = not is_form and check_signature(dialect, call, store.now())
    dialect.check_headers(call)
    check_digests(call, is_signed=is_signed, has_checksums=operation.name != "CompleteMultipartUpload")
    if operation.name in dialect.lacks or operation.feature in dialect.refuses:
        raise S3Error(Code.NotImplemented)
    others = [name for name in call.query if name not in operation.parameters and not _is_of_signature(name)]
    if others not in ([], [operation.subresource]):
        raise S3Error(Code.NotImplemented)
    for header in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
        if call.amz.get(header, OWNER) != OWNER:
            raise S3Error(Code.AccessDenied)
    if not is_signed and not is_form:
        _admit_anonymous(store, call, operation)
    return operation.act(store, call)


def _is_of_signature(name: str) -> bool:
    return name.startswith("X-Amz-") or name in _OF_SIGNATURES


_OF_SIGNATURES: Final = frozenset({"AWSAccessKeyId", "Signature", "Expires", "x-amz-security-token", "x-id"})


def _admit_anonymous(store: Store, call: Call, operation: Operation) -> None:
    """Raise AccessDenied unless an ACL allows everybody to do this."""
    if operation.anonymous == "anything":
        return
    if operation.anonymous is None:
        raise S3Error(Code.AccessDenied)
    bucket = store.bucket(call.bucket)
    acl = bucket.acl
    if operation.anonymous == "read object":
        if any(name.startswith("response-") for name in call.query):
            raise S3Error(Code.InvalidRequest, "Response headers cannot be overridden in an anonymous request.")
        with suppress(S3Error):  # a user who may list the bucket may know that the key is missing
            acl = acls.acl_of(store.dialect, bucket, bucket.readable(call.key, call.query.get("versionId")))
    acls.require(acl, "WRITE" if operation.anonymous == "write bucket" else "READ")


# Which operation a request is


def operation_of(call: Call) -> Operation:
    """Return the operation. One that is not known refuses to act."""
    level = call.level
    known = _SUBRESOURCES[level]
    subresource = next((name for name in call.query if name in known), "") if call.method != "OPTIONS" else ""
    method = "COPY" if call.method == "PUT" and "x-amz-copy-source" in call.headers else call.method
    return _ROUTES.get(f"{method} {level} {subresource}") or _unknown(call.method, level, subresource)


def _unknown(method: str, level: str, subresource: str) -> Operation:
    """Return an operation that refuses, with the nearest verb."""
    kind = {"DELETE": "delete", "PUT": "put", "POST": "put"}.get(method, "get")
    return Operation(
        f"{method} {level}",
        f"{method} {level} {subresource}",
        cast(Verb, f"{kind}_object"),
        _refuse,
        anonymous="anything",
    )


def _refuse(_store: Store, _call: Call) -> Reply:
    raise S3Error(Code.NotImplemented)


def request_of(call: Call, operation: Operation) -> Request:
    """Return the request in the words of our verbs."""
    verb = operation.verb
    if verb.endswith("_setting"):
        name = operation.subresource
        return Request(verb, call.bucket, "tags" if name == "tagging" else name)
    if verb in ("list_objects", "list_versions", "list_uploads"):
        return Request(verb, call.bucket, call.query.get("prefix", ""))
    return Request(verb, call.bucket or None, call.key or None)


def _setting_verb(method: str) -> Verb:
    return cast(Verb, f"{method.lower()}_setting")


# All that is known; the table stands last because it names everything above

_LIST: Final = frozenset({"prefix", "delimiter", "encoding-type"})
_LIST_V1: Final = _LIST | {"max-keys", "marker"}
_LIST_V2: Final = _LIST | {"max-keys", "start-after", "continuation-token", "fetch-owner"}
_VERSIONS: Final = _LIST | {"max-keys", "key-marker", "version-id-marker"}
_UPLOADS: Final = _LIST | {"max-uploads", "key-marker", "upload-id-marker"}
_PARTS: Final = frozenset({"max-parts", "part-number-marker", "encoding-type"})
_PART: Final = frozenset({"partNumber"})
_VERSION: Final = frozenset({"versionId"})
_READ: Final = _VERSION | _PART | {f"response-{name}" for name in objects.CONTENT_HEADERS}
_BUCKETS: Final = frozenset({"prefix", "continuation-token", "max-buckets"})

OPERATIONS: Final = (
    Operation("ListBuckets", "GET service ", "list_buckets", buckets.list_buckets, _BUCKETS),
    Operation("CreateBucket", "PUT bucket ", "create_bucket", buckets.create_bucket),
    Operation("HeadBucket", "HEAD bucket ", "head_bucket", buckets.head_bucket, anonymous="read bucket"),
    Operation("DeleteBucket", "DELETE bucket ", "delete_bucket", buckets.delete_bucket),
    Operation("GetBucketAcl", "GET bucket acl", "get_bucket_acl", acls.get_acl),
    Operation("PutBucketAcl", "PUT bucket acl", "put_bucket_acl", acls.put_acl),
    *(
        Operation(
            f"{method.title()}{setting.name}",
            f"{method} bucket {query}",
            _setting_verb(method),
            act,
            feature=setting.feature,
        )
        for query, setting in buckets.SETTINGS.items()
        for method, act in setting.acts
    ),
    Operation("ListObjects", "GET bucket ", "list_objects", listings.list_objects, _LIST_V1, "read bucket"),
    Operation(
        "ListObjectsV2", "GET bucket list-type", "list_objects", listings.list_objects_v2, _LIST_V2, "read bucket"
    ),
    Operation("ListObjectVersions", "GET bucket versions", "list_versions", listings.list_versions, _VERSIONS),
    Operation("ListMultipartUploads", "GET bucket uploads", "list_uploads", listings.list_uploads, _UPLOADS),
    Operation(
        "DeleteObjects",
        "POST bucket delete",
        "delete_objects",
        objects.delete_objects,
        anonymous="write bucket",
        feature="delete_objects",
    ),
    Operation("PostObject", "POST bucket ", "put_object", posts.post_object, feature="presigned_post"),
    Operation("PutObject", "PUT object ", "put_object", objects.put_object, anonymous="write bucket"),
    Operation("CopyObject", "COPY object ", "copy_object", objects.copy_object),
    Operation("GetObject", "GET object ", "get_object", objects.get_object, _READ, "read object"),
    Operation("HeadObject", "HEAD object ", "head_object", objects.get_object, _READ, "read object"),
    Operation("DeleteObject", "DELETE object ", "delete_object", objects.delete_object, _VERSION, "write bucket"),
    Operation("GetObjectAcl", "GET object acl", "get_object_acl", acls.get_acl, _VERSION),
    Operation("PutObjectAcl", "PUT object acl", "put_object_acl", acls.put_acl, _VERSION),
    *(
        Operation(
            f"{method.title()}ObjectTagging",
            f"{method} object tagging",
            "get_object_tags" if method == "GET" else "put_object_tags",
            act,
            _VERSION,
            feature="tagging",
        )
        for method, act in objects.TAGGING.items()
    ),
    Operation("GetObjectRetention", "GET object retention", "get_object_retention", locks.get_retention, _VERSION),
    Operation("PutObjectRetention", "PUT object retention", "put_object_retention", locks.put_retention, _VERSION),
    Operation("GetObjectLegalHold", "GET object legal-hold", "get_object_legal_hold", locks.get_hold, _VERSION),
    Operation("PutObjectLegalHold", "PUT object legal-hold", "put_object_legal_hold", locks.put_hold, _VERSION),
    Operation("CreateMultipartUpload", "POST object uploads", "create_upload", uploads.create_upload),
    Operation("UploadPart", "PUT object uploadId", "put_part", uploads.upload_part, _PART),
    Operation("UploadPartCopy", "COPY object uploadId", "copy_part", uploads.copy_part, _PART),
    Operation("ListParts", "GET object uploadId", "list_parts", uploads.list_parts, _PARTS),
    Operation("CompleteMultipartUpload", "POST object uploadId", "complete_upload", uploads.complete_upload),
    Operation("AbortMultipartUpload", "DELETE object uploadId", "abort_upload", uploads.abort_upload),
    Operation("Preflight", "OPTIONS bucket ", "get_object", cors.preflight, _READ, "anything"),
    Operation("Preflight", "OPTIONS object ", "get_object", cors.preflight, _READ, "anything"),
)
_ROUTES: Final = {operation.route: operation for operation in OPERATIONS}
_SUBRESOURCES: Final = {
    level: {one.subresource for one in OPERATIONS if f" {level} " in one.route} - {""}
    for level in ("service", "bucket", "object")
}
