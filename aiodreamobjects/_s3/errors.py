"""From an error reply to one of our errors: which class, whether and when to try again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

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
from aiodreamobjects._models import Address, printable
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.retry import Failure
from aiodreamobjects._s3.values import VersionedKey
from aiodreamobjects._service import Feature, Service

LARGEST_SKEW_SECONDS = 15 * 60
"""What S3 bears (S3 API reference, "RequestTimeTooSkewed")."""

LONGEST_WORDS = 1000
"""Of what the service says itself in a message."""

UNREADABLE = "UnreadableReply"
"""Our code for a reply that is not what S3 promises."""

_BY_CODE: dict[str, type[ServiceError]] = {
    "BucketAlreadyExists": AlreadyExistsError,
    "BucketAlreadyOwnedByYou": AlreadyExistsError,
    "BucketNameUnavailable": AlreadyExistsError,  # Google Cloud Storage's
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
    "TokenRefreshRequired": AccessDeniedError,
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
"""Another write was under way: the next attempt learns what became of it (S3 user guide, "Conditional writes")."""


class Words(NamedTuple):
    """What the document of an error says. Empty where there is none."""

    code: str = ""
    text: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply, in whatever way it was read."""

    status: int | None
    words: Words
    headers: Mapping[str, str]
    """Names in lower case."""
    is_head: bool = False
    """Whether it is an answer to a HEAD, which has no body to tell a code."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is being asked, of whom, and when: for the words of an error."""

    what: str
    service: Service
    feature: Feature | None
    """What the service may refuse to do by design, if that is what this request asks for."""
    now: float
    clock_offset: float
    """By how many seconds the service's clock is already known to be ahead."""


def failure_of_refusal(refusal: Refusal, context: Context) -> Failure:
    """What a service's error reply amounts to: an error, and whether and when to try again."""
    status, headers = refusal.status or 0, refusal.headers
    words = refusal.words
    code, text = words.code[:LONGEST_WORDS], words.text[:LONGEST_WORDS]
    if not code or code.isdigit():
        code = UNREADABLE if status == HTTPStatus.OK else _BODILESS_CODES.get(status, f"HTTP{status}")
    offset = _clock_offset(code, headers, context.now)
    if code == "AccessDenied" and not text and offset and abs(offset - context.clock_offset) > LARGEST_SKEW_SECONDS:
        code = "RequestTimeTooSkewed"  # a HEAD has no body to say so
    kind = _class_of(code, status, text, context)
    message = f"{context.what}: {code}" + (f" ({status})" if status else "") + (f": {text}" if text else "")
    if advice := _advice(kind, code, status, headers, context, offset):
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
    """What an error below S3 amounts to: the connection's, or a reply that cannot be read."""
    is_lost = isinstance(error, TransferError) or (isinstance(error, ConnectionFailedError) and error.request_sent)
    return Failure(error, may_be_done=is_lost)


def error_of_key(code: str, text: str, context: Context) -> ServiceError:
    """The error of one key in the reply to a request for many."""
    kind = _class_of(code, 0, text, context)
    return kind(printable(f"{context.what}: {code}: {text}"), code=code, status=200, retryable=kind is ServiceBusyError)


@contextmanager
def refused_as_existing(options: WriteOptions, *, source_if_match: str | None = None) -> Iterator[None]:
    """A refusal is that of an object that exists, where the one condition was that there is nothing yet."""
    try:
        yield
    except PreconditionFailedError as error:
        if not options.if_absent or source_if_match is not None:
            raise
        raise as_existing(error) from error


def as_existing(error: ServiceError) -> AlreadyExistsError:
    """The same refusal, and all that is told of it."""
    refused = AlreadyExistsError(str(error), code=error.code, status=error.status, request_id=error.request_id)
    refused.in_doubt = error.in_doubt
    for note in getattr(error, "__notes__", ()):
        refused.add_note(note)
    return refused


Outcomes = Mapping[tuple[str | None, str | None], ServiceError | None]
"""What a reply to a request for many says, by key and version."""


def failures_of(outcomes: Outcomes, bucket: str, keys: Sequence[VersionedKey]) -> dict[VersionedKey, ServiceError]:
    """Return the keys that are not known to be gone, with an error also for a key of which the reply says nothing.

    An answer without the version counts if the key was asked for once (Swift and JuiceFS leave it out).
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
    """Whether a reply to a request for many says nothing of this key."""
    return error.code == _UNANSWERED


def _unanswered(bucket: str, key: VersionedKey) -> ServiceError:
    msg = f"delete {Address(bucket, key.key)}: the service does not say what became of it"
    return ServiceError(msg, code=_UNANSWERED, status=HTTPStatus.OK)


_UNANSWERED = "Unanswered"


def unreadable(context: Context, status: int | None) -> ServiceError:
    msg = f"{context.what}: {context.service.name} answered with something that is not S3's XML"
    return ServiceError(msg, code=UNREADABLE, status=status)


def unknown_part(context: Context, status: int | None) -> UnsupportedByServiceError:
    msg = f"{context.what}: {context.service.name} does not know this request, and answered another one"
    if context.feature and (advice := context.service.unsupported.get(context.feature)):
        msg += f"; {advice}"
    return UnsupportedByServiceError(msg, code="NotImplemented", status=status)


def is_unreadable(error: DreamObjectsError) -> bool:
    """Whether there was a reply, which is not what S3 promises."""
    return isinstance(error, ServiceError) and error.code == UNREADABLE


def may_be_refused(error: ServiceError) -> bool:
    """Return whether an error is an answer for good, to a request that other requests do not depend on."""
    return lacks_request(error) or isinstance(error, AccessDeniedError | NotFoundError)


def lacks_request(error: ServiceError) -> bool:
    """Return whether an error, in answer to a request that reads, says that the service does not know the request."""
    if isinstance(error, NotFoundError):
        return error.code not in ("NoSuchBucket", "NoSuchKey", "NoSuchTagSet", "NoSuchVersion")
    return isinstance(error, UnsupportedByServiceError | InvalidRequestError) or is_unreadable(error)


def refuse_reply(what: str, *, may_be_done: bool = False) -> NoReturn:
    msg = f"the service sent {what}: not what S3 promises"
    error = ServiceError(msg, code=UNREADABLE, status=HTTPStatus.OK)
    error.in_doubt = may_be_done
    raise error


def _class_of(code: str, status: int, text: str, context: Context) -> type[ServiceError]:
    if code == "NotImplemented" or _is_refused_by_design(code, text, context):
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


def _is_refused_by_design(code: str, text: str, context: Context) -> bool:
    """Backblaze B2 answers 400 InvalidArgument, "Unsupported value for canned acl" and "Unsupported header"."""
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
    if code == "RequestTimeTooSkewed" and offset:
        return f"the service's clock is {offset:+.0f} s from this machine's"
    elsewhere = headers.get("x-amz-bucket-region") or _host_of(headers.get("location", ""))
    return f"it points to {elsewhere!r}, redirects are not followed" if status in _REDIRECTS and elsewhere else ""


def _host_of(location: str) -> str:
    """Without a user and a password, which a location may name."""
    try:
        return urlsplit(location).netloc.rpartition("@")[2]
    except ValueError:
        return ""


_REDIRECTS = (301, 302, 303, 307, 308)


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """In seconds or as a date (RFC 9110 section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    date = _date(value)
    return max(0.0, date - now) if date else None


def _date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def _clock_offset(code: str, headers: Mapping[str, str], now: float) -> float | None:
    """How far the service's clock is ahead of ours, where it refuses the request."""
    date = _date(headers.get("date"))
    return date - now if date and code in ("AccessDenied", "RequestTimeTooSkewed") else None
