"""botocore's dictionaries and errors, in our values and our errors. The border: nothing here goes further untyped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn, cast
from urllib.parse import unquote_plus, urlsplit

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from aiodreamobjects._errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BucketNotEmptyError,
    ConnectionFailedError,
    DreamObjectsError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    ServiceBusyError,
    ServiceError,
    TransferError,
    UnsupportedByServiceError,
)
from aiodreamobjects._models import Acl, BucketInfo, Grant, ObjectInfo, Permission, UploadInfo, printable
from aiodreamobjects._service import Feature, Service
from aiodreamobjects._wire.contract import Setting
from aiodreamobjects._wire.retry import Failure

Reply = Mapping[str, Any]

# Values


def object_info(bucket: str, key: str, reply: Reply) -> ObjectInfo:
    """From a GET or HEAD reply."""
    size = reply.get("ContentLength")
    if "ContentRange" in reply:
        size = total_of_content_range(reply["ContentRange"])
    return ObjectInfo(
        bucket=bucket,
        key=key,
        size=size,
        etag=unquoted(reply.get("ETag")),
        last_modified=utc(reply.get("LastModified")),
        content_type=reply.get("ContentType"),
        metadata=dict(reply.get("Metadata") or {}),
        version_id=version_id(reply),
        storage_class=reply.get("StorageClass"),
        cache_control=reply.get("CacheControl"),
        content_disposition=reply.get("ContentDisposition"),
        content_encoding=reply.get("ContentEncoding"),
    )


def listed_object(bucket: str, item: Reply, key: str) -> ObjectInfo:
    """From an entry of a listing of objects or versions."""
    return ObjectInfo(
        bucket=bucket,
        key=key,
        size=item.get("Size"),
        etag=unquoted(item.get("ETag")),
        last_modified=utc(item.get("LastModified")),
        storage_class=item.get("StorageClass"),
        version_id=item.get("VersionId") or None,
        is_latest=item.get("IsLatest"),
    )


def listed_upload(bucket: str, item: Reply, key: str) -> UploadInfo:
    return UploadInfo(bucket, key, required(item, "UploadId"), utc(item.get("Initiated")), item.get("StorageClass"))


def bucket_info(name: str, headers: Mapping[str, str]) -> BucketInfo:
    """From the headers of a HEAD; only Ceph RGW counts (``X-RGW-*``)."""
    return BucketInfo(
        name=name,
        region=headers.get("x-amz-bucket-region"),
        object_count=_whole(headers.get("x-rgw-object-count")),
        bytes_used=_whole(headers.get("x-rgw-bytes-used")),
    )


def version_id(reply: Reply) -> str | None:
    """``null`` names the version of an object that was put without versioning: no version worth telling."""
    found = reply.get("VersionId")
    return None if found == "null" else found


def utc(time: datetime | None) -> datetime | None:
    return time.astimezone(UTC) if time else None


def unquoted(etag: str | None) -> str | None:
    """Without its quotes, but for a weak one, of which they are a part."""
    return etag[1:-1] if etag and len(etag) > 1 and etag[0] == etag[-1] == '"' else etag or None


def listed_keys(reply: Reply) -> Callable[[str], str]:
    """How this page's keys are decoded: only where the service says that it encoded them."""
    return unquote_plus if reply.get("EncodingType") == "url" else str


def total_of_content_range(value: str) -> int | None:
    total = value.rpartition("/")[2]
    return int(total) if total.isdigit() else None


def start_of_content_range(value: str) -> int:
    first = value.removeprefix("bytes").strip().partition("-")[0]
    return int(first) if first.isdigit() else -1


def acl_value(reply: Reply) -> Acl:
    return Acl(required(reply, "Owner", "ID"), tuple(_grant(grant) for grant in reply.get("Grants", ())))


def _grant(grant: Reply) -> Grant:
    grantee, permission = required(grant, "Grantee"), cast(Permission, required(grant, "Permission"))
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


def refuse_reply(what: str) -> NoReturn:
    msg = f"the service sent {what}: not what S3 promises"
    raise ServiceError(msg, code=UNREADABLE, status=HTTPStatus.OK)


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

LARGEST_SKEW = timedelta(minutes=15)
"""What S3 bears (S3 API reference, "RequestTimeTooSkewed")."""

UNREADABLE = "UnreadableReply"
"""Our code for a reply that is not what S3 promises."""

_BY_CODE: dict[str, type[ServiceError]] = {
    "BucketAlreadyExists": AlreadyExistsError,
    "BucketAlreadyOwnedByYou": AlreadyExistsError,
    "BucketNotEmpty": BucketNotEmptyError,
    "ConditionalRequestConflict": PreconditionFailedError,
    "PreconditionFailed": PreconditionFailedError,
    # Credentials and signatures, which some services answer with 400 or 401.
    "AuthorizationHeaderMalformed": AccessDeniedError,
    "AuthorizationQueryParametersError": AccessDeniedError,
    "ExpiredToken": AccessDeniedError,
    "InvalidAccessKeyId": AccessDeniedError,
    "InvalidToken": AccessDeniedError,
    "RequestExpired": AccessDeniedError,
    "RequestTimeTooSkewed": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
    # Trouble that passes, whatever its status.
    "InternalError": ServiceBusyError,
    "RequestTimeout": ServiceBusyError,
    "ServiceUnavailable": ServiceBusyError,
    "SlowDown": ServiceBusyError,
    "Throttling": ServiceBusyError,
    "TooManyRequests": ServiceBusyError,
}
_BY_STATUS: dict[int, type[ServiceError]] = {
    304: PreconditionFailedError,
    400: InvalidRequestError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: NotFoundError,
    405: UnsupportedByServiceError,
    408: ServiceBusyError,
    412: PreconditionFailedError,
    416: InvalidRequestError,
    429: ServiceBusyError,
    501: UnsupportedByServiceError,
}
_BODILESS_CODES = {
    304: "NotModified",
    400: "BadRequest",
    403: "AccessDenied",
    404: "NotFound",
    405: "MethodNotAllowed",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
}
_THROTTLE_CODES = {"SlowDown", "Throttling", "TooManyRequests"}


@dataclass(frozen=True, slots=True)
class Context:
    """What is being asked, for the words of an error."""

    what: str
    feature: Feature | None = None
    """What the service may refuse to do by design, if that is what this request asks for."""


def translate(
    error: Exception,
    status: int | None,
    service: Service,
    context: Context,
    now: datetime,
    known_offset: timedelta,
) -> Failure | None:
    """An exception from the client as a failure that can be tried again or raised; None if it is not the service's.

    ``status`` is that of the response: botocore calls a 200 with an error document, or with no document, a 500.
    ``known_offset`` is by how much the service's clock is already known to be ahead.
    """
    if isinstance(error, DreamObjectsError):
        is_lost = isinstance(error, TransferError) or (isinstance(error, ConnectionFailedError) and error.request_sent)
        return Failure(error, may_be_done=is_lost)
    if isinstance(error, boto.ClientError):
        return _translate_reply(error, status, service, context, now, known_offset)
    if isinstance(error, boto.ParamValidationError):
        msg = f"{context.what}: {error}"
        raise ValueError(msg) from None  # noqa: TRY004 - of whatever type a value is wrong
    if isinstance(error, ResponseParserError) or (isinstance(error, ValueError) and status is not None):
        msg = f"{context.what}: {service.name} answered with something that is not S3's XML"
        return Failure(ServiceError(msg, code=UNREADABLE, status=status))
    if isinstance(error, boto.HTTPClientError | boto.BotoCoreError):
        return Failure(ConnectionFailedError(f"{context.what}: {error}"), may_be_done=True)
    return None


def _translate_reply(
    error: boto.ClientError,
    real_status: int | None,
    service: Service,
    context: Context,
    now: datetime,
    known_offset: timedelta,
) -> Failure:
    reply = cast(dict[str, Any], error.response)
    metadata = reply.get("ResponseMetadata", {})
    status = real_status or int(metadata.get("HTTPStatusCode", 0))
    headers: Mapping[str, str] = metadata.get("HTTPHeaders", {})
    code, text = str(reply["Error"].get("Code") or ""), str(reply["Error"].get("Message") or "")
    if not code or code.isdigit():
        text = ""
        code = UNREADABLE if status == HTTPStatus.OK else _BODILESS_CODES.get(status, f"HTTP{status}")
    offset = _clock_offset(code, headers, now)
    if code == "AccessDenied" and not text and offset and abs(offset - known_offset) > LARGEST_SKEW:
        code = "RequestTimeTooSkewed"  # a HEAD has no body to say so
    kind = _class_of(code, status, text, service, context)
    request_id = metadata.get("RequestId") or headers.get("x-amz-request-id")
    message = f"{context.what}: {code}" + (f" ({status})" if status else "") + (f": {text}" if text else "")
    if advice := _advice(kind, code, status, headers, service, context, offset):
        message += f"; {advice}"
    if request_id:
        message += f" [request {request_id}]"
    is_throttle = code in _THROTTLE_CODES or status == HTTPStatus.TOO_MANY_REQUESTS
    failed = kind(
        printable(message),
        code=code,
        status=status or None,
        request_id=request_id,
        retryable=kind is ServiceBusyError,
    )
    return Failure(
        failed,
        retry_after=_retry_after(headers, now),
        is_throttle=is_throttle,
        clock_offset=offset if code == "RequestTimeTooSkewed" else None,
        may_be_done=kind is ServiceBusyError and not is_throttle and status != HTTPStatus.SERVICE_UNAVAILABLE,
    )


def service_error_of_key(code: str, text: str, what: str, service: Service) -> ServiceError:
    """The error of one key in the reply to a request for many."""
    kind = _class_of(code, 0, text, service, Context(what))
    return kind(printable(f"{what}: {code}: {text}"), code=code, status=200, retryable=kind is ServiceBusyError)


def _class_of(code: str, status: int, text: str, service: Service, context: Context) -> type[ServiceError]:
    if code == "NotImplemented" or _is_refused_by_design(code, text, service, context):
        return UnsupportedByServiceError
    if kind := _BY_CODE.get(code) or _BY_STATUS.get(status):
        return kind
    if code.startswith("NoSuch"):
        return NotFoundError
    if code.startswith("AccessDenied"):
        return AccessDeniedError
    if code.startswith(("Invalid", "Malformed")):
        return InvalidRequestError
    return ServiceBusyError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ServiceError


def _is_refused_by_design(code: str, text: str, service: Service, context: Context) -> bool:
    """Backblaze B2 answers 400 InvalidArgument, "Unsupported value for canned acl" and "Unsupported header"."""
    if code != "InvalidArgument":
        return False
    return text.startswith("Unsupported ") or context.feature in service.unsupported


def _advice(
    kind: type[ServiceError],
    code: str,
    status: int,
    headers: Mapping[str, str],
    service: Service,
    context: Context,
    offset: timedelta | None,
) -> str:
    if kind is UnsupportedByServiceError and context.feature and context.feature in service.unsupported:
        return service.unsupported[context.feature]
    if code == "RequestTimeTooSkewed" and offset:
        return f"the service's clock is {offset.total_seconds():+.0f} s from this machine's"
    elsewhere = headers.get("x-amz-bucket-region") or urlsplit(headers.get("location", "")).netloc
    return f"it points to {elsewhere!r}, redirects are not followed" if status in _REDIRECTS and elsewhere else ""


_REDIRECTS = (301, 302, 303, 307, 308)


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """In seconds or as a date (RFC 9110 section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    date = _date(value)
    return max(0.0, (date - now).total_seconds()) if date else None


def _date(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _clock_offset(code: str, headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How far the service's clock is ahead of ours, where it refuses the request."""
    date = _date(headers.get("date"))
    return date - now if date and code in ("AccessDenied", "RequestTimeTooSkewed") else None
