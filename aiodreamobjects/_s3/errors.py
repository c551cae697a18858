"""Turn an error reply into one of our errors: its class, and whether and when to try again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import urlsplit

from aiodreamobjects._errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BucketNotEmptyError,
    ConnectionFailedError,
    DreamObjectsError,
    EncryptionKeyError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    PreconditionFailedError,
    ServiceBusyError,
    ServiceError,
    TransferError,
    UnsupportedByServiceError,
)
from aiodreamobjects._later import Later
from aiodreamobjects._models import Address, printable
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.retry import Failure
from aiodreamobjects._s3.values import VersionedKey
from aiodreamobjects._service import Feature, Service

if TYPE_CHECKING:
    from email import utils as email_utils
else:
    email_utils = Later("email.utils")

LARGEST_SKEW_SECONDS = 15 * 60
"""The difference of clocks that S3 accepts (S3 API reference, "RequestTimeTooSkewed")."""

LONGEST_WORDS = 1000
"""The longest text of the service's own in a message, in characters."""

UNREADABLE = "UnreadableReply"
"""Our code for a reply that is not what S3 promises."""

_BY_CODE: dict[str, type[ServiceError]] = {
    "BucketAlreadyExists": AlreadyExistsError,
    "BucketAlreadyOwnedByYou": AlreadyExistsError,
    "BucketNameUnavailable": AlreadyExistsError,  # Google Cloud Storage's
    "BucketNotEmpty": BucketNotEmptyError,
    "ConditionalRequestConflict": PreconditionFailedError,
    "PreconditionFailed": PreconditionFailedError,
    # Credentials and signatures: some services answer 400 or 401.
    "AuthorizationHeaderMalformed": AccessDeniedError,
    "AuthorizationQueryParametersError": AccessDeniedError,
    "ExpiredToken": AccessDeniedError,
    "InvalidAccessKeyId": AccessDeniedError,
    "InvalidToken": AccessDeniedError,
    "RequestExpired": AccessDeniedError,
    "RequestTimeTooSkewed": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
    "TokenRefreshRequired": AccessDeniedError,
    # Trouble that passes, whatever the status.
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
    499: ServiceBusyError,
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
_EXPIRED_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_CONFLICT_CODES = {"ConditionalRequestConflict"}
"""Another write was under way. The next attempt sees its outcome (S3 user guide, "Conditional writes")."""


class Words(NamedTuple):
    """What an error document says. Empty if there is none."""

    code: str = ""
    text: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply, from our own reader or from botocore."""

    status: int | None
    words: Words
    headers: Mapping[str, str]
    """Names in lower case."""
    is_head: bool = False
    """Whether it answers a HEAD. Such a reply has no body, so no error code."""
    is_page: bool = False
    """Whether its body is HTML, as of a web server, a login page or a proxy. S3 answers with XML."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an error message needs to know of the request: its subject, the service, the time."""

    what: str
    service: Service
    feature: Feature | None
    """The feature that this request needs, if some services lack it by design."""
    now: float
    clock_offset: float
    """How many seconds the service's clock is known to be ahead."""
    is_anonymous: bool = False
    """Whether the session sends no keys."""
    sends_key: bool = False
    """Whether the request has a customer's key for encryption."""


def failure_of_refusal(refusal: Refusal, context: Context) -> Failure:
    """Return the failure that an error reply stands for: an error, and whether and when to try again."""
    status, headers = refusal.status or 0, refusal.headers
    words = refusal.words
    code, text = words.code[:LONGEST_WORDS], words.text[:LONGEST_WORDS]
    if not code or code.isdigit():
        code = UNREADABLE if status == HTTPStatus.OK else _BODILESS_CODES.get(status, f"HTTP{status}")
    offset = None if context.is_anonymous else _clock_offset(code, headers, context.now)
    if code == "AccessDenied" and not text and offset and abs(offset - context.clock_offset) > LARGEST_SKEW_SECONDS:
        code = "RequestTimeTooSkewed"  # a reply to a HEAD has no body that could say so
    kind = _class_of(code, status, text, context)
    if status == HTTPStatus.METHOD_NOT_ALLOWED and headers.get("x-amz-delete-marker") == "true":
        kind, text = NotFoundError, "this version is a delete marker"  # S3 API reference, "GetObject"
    message = f"{context.what}: {code}" + (f" ({status})" if status else "") + (f": {text}" if text else "")
    if advice := _advice(kind, code, status, headers, context, offset) or (_ADVICE_ON_PAGES if refusal.is_page else ""):
        message += f"; {advice}"
    request_id = words.request_id or headers.get("x-amz-request-id")
    if request_id:
        message += f" [request {request_id}]"
    is_throttle = code in _THROTTLE_CODES or status == HTTPStatus.TOO_MANY_REQUESTS
    is_throttle = is_throttle or (refusal.is_head and status == HTTPStatus.SERVICE_UNAVAILABLE)
    failed = kind(
        printable(message),
        code=code,
        status=status or None,
        request_id=request_id,
        retryable=kind is ServiceBusyError or code in _CONFLICT_CODES,
    )
    return Failure(
        failed,
        retry_after=_retry_after(headers, context.now),
        is_throttle=is_throttle,
        has_expired=code in _EXPIRED_CODES or (refusal.is_head and status == HTTPStatus.BAD_REQUEST),
        clock_offset=offset if code == "RequestTimeTooSkewed" else None,
        may_be_done=kind is ServiceBusyError and not is_throttle and status != HTTPStatus.SERVICE_UNAVAILABLE,
    )


def failure_of(error: DreamObjectsError) -> Failure:
    """Return the failure for an error of the connection, or for an unreadable reply."""
    is_lost = isinstance(error, TransferError) or (isinstance(error, ConnectionFailedError) and error.request_sent)
    return Failure(error, may_be_done=is_lost)


def error_of_key(code: str, text: str, context: Context) -> ServiceError:
    """Return the error of one key, from the reply to a request for many."""
    kind = _class_of(code, 0, text, context)
    message = f"{context.what}: {code}: {text}"
    if advice := _advice(kind, code, 0, {}, context, None):
        message += f"; {advice}"
    return kind(printable(message), code=code, status=200, retryable=kind is ServiceBusyError)


@contextmanager
def refused_as_existing(options: WriteOptions, *, source_if_match: str | None = None) -> Iterator[None]:
    """Raise AlreadyExistsError for a failed precondition if ``if_absent`` was the only one."""
    try:
        yield
    except PreconditionFailedError as error:
        if not options.if_absent or source_if_match is not None:
            raise
        raise as_existing(error) from error


def as_existing(error: ServiceError) -> AlreadyExistsError:
    """Return the same refusal as an AlreadyExistsError, with its notes."""
    refused = AlreadyExistsError(str(error), code=error.code, status=error.status, request_id=error.request_id)
    refused.in_doubt = error.in_doubt
    for note in getattr(error, "__notes__", ()):
        refused.add_note(note)
    return refused


def wrong_key(error: AccessDeniedError) -> EncryptionKeyError:
    """Return a refusal as the EncryptionKeyError that it is."""
    message = str(error).replace(_ADVICE_ON_KEYS[False, True], _ADVICE_ON_KEYS[True, True])
    return EncryptionKeyError(message, code=error.code, status=error.status, request_id=error.request_id)


def locked(error: ServiceError, message: str) -> LockedError:
    """Return a refusal as the LockedError that it is."""
    return LockedError(message, code=error.code, status=error.status, request_id=error.request_id)


Outcomes = Mapping[tuple[str | None, str | None], ServiceError | None]
"""The results in a reply to a request for many keys, by key and version. None for a success."""


def failures_of(outcomes: Outcomes, bucket: str, keys: Sequence[VersionedKey]) -> dict[VersionedKey, ServiceError]:
    """Return an error for each key that may still be there. That includes keys that the reply does not mention.

    A result without a version counts if the request named the key once: Swift and JuiceFS leave versions out.
    """
    by_key = {name: error for (name, version), error in outcomes.items() if version in (None, "null")}
    times = Counter(key.key for key in keys)
    failures = {}
    for key in keys:
        found: ServiceError | None = _unanswered(bucket, key)
        if key in outcomes:
            found = outcomes[key]
        elif times[key.key] == 1 and key.key in by_key:
            found = by_key[key.key]
        if found is not None:
            failures[key] = found
    return failures


def is_unanswered(error: ServiceError) -> bool:
    """Return whether this error stands for a key that the reply does not mention."""
    return error.code == _UNANSWERED


def _unanswered(bucket: str, key: VersionedKey) -> ServiceError:
    msg = f"delete {Address(bucket, key.key)}: the service's reply does not mention this key"
    return ServiceError(msg, code=_UNANSWERED, status=HTTPStatus.OK)


_UNANSWERED = "Unanswered"


def unreadable(context: Context, status: int | None) -> ServiceError:
    msg = f"{context.what}: {context.service.name} answered with a document that is not S3's XML"
    return ServiceError(msg, code=UNREADABLE, status=status)


def unknown_part(context: Context, status: int | None) -> UnsupportedByServiceError:
    msg = f"{context.what}: {context.service.name} does not support this request, and answered a different one"
    if context.feature and (advice := context.service.unsupported.get(context.feature)):
        msg += f"; {advice}"
    return UnsupportedByServiceError(msg, code="NotImplemented", status=status)


def is_unreadable(error: DreamObjectsError) -> bool:
    """Return whether the service did reply, but not as S3 promises."""
    return isinstance(error, ServiceError) and error.code == UNREADABLE


def may_be_refused(error: ServiceError) -> bool:
    """Return whether an error is final, so that work which does not depend on this request can go on without it."""
    return lacks_request(error) or isinstance(error, AccessDeniedError | NotFoundError)


def lacks_request(error: ServiceError) -> bool:
    """Return whether an error in answer to a read means that the service does not support the request."""
    if isinstance(error, NotFoundError):
        return error.code not in ("NoSuchBucket", "NoSuchKey", "NoSuchTagSet", "NoSuchVersion")
    return isinstance(error, UnsupportedByServiceError | InvalidRequestError) or is_unreadable(error)


def refuse_reply(what: str, *, may_be_done: bool = False) -> NoReturn:
    msg = f"the service sent {what}, which S3 never does"
    error = ServiceError(msg, code=UNREADABLE, status=HTTPStatus.OK)
    error.in_doubt = may_be_done
    raise error


def _class_of(code: str, status: int, text: str, context: Context) -> type[ServiceError]:
    if code == "NotImplemented" or _is_refused_by_design(code, text, context):
        return UnsupportedByServiceError
    if kind := _BY_CODE.get(code) or _BY_STATUS.get(status) or _class_of_prefix(code):
        return _class_by_text(kind, text) or kind
    return ServiceBusyError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ServiceError


def _class_of_prefix(code: str) -> type[ServiceError] | None:
    found = (kind for prefix, kind in _BY_PREFIX.items() if code.startswith(prefix))
    return next(found, None)


_BY_PREFIX: dict[str, type[ServiceError]] = {
    "NoSuch": NotFoundError,
    "AccessDenied": AccessDeniedError,
    "Invalid": InvalidRequestError,
    "Malformed": InvalidRequestError,
}


def _class_by_text(kind: type[ServiceError], text: str) -> type[ServiceError] | None:
    """Return the class of a refusal whose reason is only in its words."""
    if kind in (InvalidRequestError, AccessDeniedError) and re.search(_OF_KEY, text) and not re.search(_OF_TLS, text):
        return EncryptionKeyError
    return LockedError if kind is AccessDeniedError and re.search(_OF_LOCK, text) else None


# What services say of a customer's key that is missing, wrong, or given for an object that has none: Amazon, Ceph, MinIO.
_OF_KEY = r"(?i)server.side encryption|customer.provided|encryption parameters|hash of the key|kms.?key"
_OF_LOCK = r"(?i)object.lock|\bWORM\b|legal.hold"
_OF_TLS = r"secure connection|SSL|TLS"


def _is_refused_by_design(code: str, text: str, context: Context) -> bool:
    """Return whether a refusal means that the service lacks the feature.

    Backblaze B2 answers 400 InvalidArgument with "Unsupported value for canned acl" or "Unsupported header".
    """
    if code != "InvalidArgument":
        return False
    return text.startswith("Unsupported ") or context.feature in context.service.unsupported


def _advice(
    kind: type[ServiceError],
    code: str,
    status: int,
    headers: Mapping[str, str],
    context: Context,
    offset: float | None,
) -> str:
    if kind is UnsupportedByServiceError and context.feature and context.feature in context.service.unsupported:
        return context.service.unsupported[context.feature]
    if kind is AccessDeniedError and context.is_anonymous:
        return "this session is anonymous: it signs nothing, so it may only do what everybody may; give a Session keys for the rest"
    if advice := _advice_on_encryption(kind, code, context):
        return advice
    if code == "RequestTimeTooSkewed" and offset:
        side = "ahead of" if offset > 0 else "behind"
        return f"the service's clock is {abs(offset):.0f} s {side} this machine's"
    elsewhere = headers.get("x-amz-bucket-region") or _host_of(headers.get("location", ""))
    if status not in _REDIRECTS or not elsewhere:
        return _ADVICE_ON_SETTINGS.get(code, "")
    return f"it redirects to {elsewhere!r}; redirects are not followed, so use that region or endpoint"


_ADVICE_ON_SETTINGS = {
    "AuthorizationHeaderMalformed": "region= sets the region",
    "InvalidAccessKeyId": "this service does not know the access key: keys and endpoint must be of one service",
    "SignatureDoesNotMatch": "the secret key is wrong, or something on the way changed the request",
}


_ADVICE_ON_PAGES = "the answer is a web page and not S3's: look at the endpoint, and at proxies on the way"


def _advice_on_encryption(kind: type[ServiceError], code: str, context: Context) -> str | None:
    if kind is InvalidRequestError and (context.feature or "").startswith("sse_") and context.service.scheme == "http":
        return "some services encrypt only over https"
    if (kind is EncryptionKeyError and context.feature != "sse_kms") or (code == "AccessDenied" and context.sends_key):
        return _ADVICE_ON_KEYS[kind is EncryptionKeyError, context.sends_key]
    return None


_ADVICE_ON_KEYS = {
    (True, False): "give the object's key: encryption=SseCustomer(key), or source_encryption= for the source of a copy",
    (True, True): "give the key that the object was stored with, or no encryption= if it was stored without one",
    (False, True): "if you are allowed to do this, the key is not the one that the object was stored with",
}
"""By whether the service said that the key is wrong, and whether the request had one."""


def _host_of(location: str) -> str:
    """Return the host and port of a URL, without the user and password that it may name."""
    try:
        return urlsplit(location).netloc.rpartition("@")[2]
    except ValueError:
        return ""


_REDIRECTS = (301, 302, 303, 307, 308)


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read ``Retry-After``, which is in seconds or a date (RFC 9110 section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    date = _date(value)
    return max(0.0, date - now) if date else None


def _date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return email_utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def _clock_offset(code: str, headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds the service's clock is ahead of ours, if it refused the request for that."""
    date = _date(headers.get("date"))
    return date - now if date and code in ("AccessDenied", "RequestTimeTooSkewed") else None
