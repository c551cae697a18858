"""Signatures of version 4 and 2, computed from the request as received and independently of any client.

Sources: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)"; Amazon S3 developer guide
(2006-03-01), "Signing and Authenticating REST Requests" for version 2. Where they are silent, the stricter reading.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote

from aiodreamobjects._memory.calls import Call, query_pairs
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect

_SEVERAL_BLANKS = re.compile("[ \t]{2,}")
CLOCK_SKEW = timedelta(minutes=15)
PRESIGN_LIMIT_SECONDS = 7 * 24 * 3600


def check_signature(dialect: Dialect, call: Call, now: datetime) -> bool:
    """Return whether the request is signed. Raises S3Error if its signature is not valid."""
    if call.headers.get("authorization", "").startswith("AWS ") or "AWSAccessKeyId" in call.query:
        _check_v2(dialect, call, now)
        return True
    claim = claim_of(call)
    if claim is None:
        return False
    access_key, _, scope = claim.credential.partition("/")
    token = call.headers.get("x-amz-security-token", call.query.get("X-Amz-Security-Token"))
    check_keys(dialect, access_key, token)
    check_age(claim, now)
    signed_headers = claim.signed_headers.split(";")
    if not call.amz.keys() <= set(signed_headers):
        raise S3Error(Code.AccessDenied, "There were headers present in the request which were not signed.")
    check_scope(dialect, scope, claim.timestamp)
    expected = signature_of(dialect.secret_key, call, claim, scope)
    if "host" not in signed_headers or not hmac.compare_digest(expected, claim.signature):
        raise S3Error(Code.SignatureDoesNotMatch)
    return True


def check_keys(dialect: Dialect, access_key: str, token: str | None) -> None:
    if access_key != dialect.access_key:
        raise S3Error(Code.InvalidAccessKeyId)
    if dialect.session_token not in (None, token):
        raise S3Error(Code.ExpiredToken)


def check_scope(dialect: Dialect, scope: str, timestamp: str) -> None:
    """Check the day, the region and the service that a signing key of version 4 is made for."""
    words = scope.split("/")
    if len(words) == 4 and words[1] != dialect.region:  # noqa: PLR2004 - date/region/service/aws4_request
        msg = f"The region {words[1]!r} is wrong; expecting {dialect.region!r}"
        raise S3Error(Code.AuthorizationHeaderMalformed, msg, {"x-amz-bucket-region": dialect.region})
    if scope != f"{timestamp[:8]}/{dialect.region}/s3/aws4_request":
        raise S3Error(Code.SignatureDoesNotMatch)


# Version 4


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature; ``lifetime`` in seconds where it is presigned."""

    credential: str
    signed_headers: str
    signature: str
    timestamp: str
    payload: str
    lifetime: int | None = None


def claim_of(call: Call) -> Claim | None:
    authorization = call.headers.get("authorization")
    is_presigned = any(name.startswith("X-Amz-") for name in call.query)
    if authorization is not None and is_presigned:
        raise S3Error(Code.InvalidArgument, "Only one authentication mechanism is allowed.")
    if authorization is not None:
        return _claim_of_header(authorization, call.headers)
    return _claim_of_query(call) if is_presigned else None


_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^, ]+), ?SignedHeaders=([^, ]+), ?Signature=([0-9a-f]{64})")


def _claim_of_header(authorization: str, headers: Mapping[str, str]) -> Claim:
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise S3Error(Code.InvalidArgument, "The authorization header is malformed.")
    if "x-amz-content-sha256" not in headers:
        raise S3Error(Code.InvalidRequest, "Missing required header for this request: x-amz-content-sha256.")
    credential, signed_headers, signature = match.groups()
    payload = headers["x-amz-content-sha256"]
    return Claim(credential, signed_headers, signature, headers.get("x-amz-date", ""), payload)


def _claim_of_query(call: Call) -> Claim:
    names = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires")
    if call.query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" or not all(name in call.query for name in names):
        raise S3Error(Code.AuthorizationQueryParametersError)
    credential, signed_headers, signature, timestamp, expires = (call.query[name] for name in names)
    if not expires.isdecimal() or not 1 <= int(expires) <= PRESIGN_LIMIT_SECONDS:
        raise S3Error(Code.AuthorizationQueryParametersError, "X-Amz-Expires must be from 1 second to a week.")
    payload = call.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    return Claim(credential, signed_headers, signature, timestamp, payload, int(expires))


def check_age(claim: Claim, now: datetime) -> None:
    signed_at = _moment(claim.timestamp)
    if signed_at is None:
        raise S3Error(Code.AccessDenied, "A signed request needs a valid date.")
    age = now - signed_at
    if claim.lifetime is None:
        _check_skew(age)
    elif age > timedelta(seconds=claim.lifetime):
        raise S3Error(Code.AccessDenied, "The request has expired.")
    elif age < -CLOCK_SKEW:
        raise S3Error(Code.AccessDenied, "The request is not valid yet.")


@lru_cache(maxsize=64)
def _moment(timestamp: str) -> datetime | None:
    if not re.fullmatch(r"\d{8}T\d{6}Z", timestamp, re.ASCII):
        return None
    try:
        return datetime.fromisoformat(timestamp)
    except ValueError:
        return None


def _check_skew(age: timedelta) -> None:
    if abs(age) > CLOCK_SKEW:
        raise S3Error(Code.RequestTimeTooSkewed)


def signature_of(secret_key: str, call: Call, claim: Claim, scope: str) -> str:
    path, _, raw_query = call.target.partition("?")
    pairs = sorted(pair for pair in query_pairs(raw_query) if pair[0] != "X-Amz-Signature")
    query = "&".join([f"{name}={value}" for name, value in pairs])
    names = claim.signed_headers
    headers = "".join([f"{name}:{_SEVERAL_BLANKS.sub(' ', call.headers.get(name, ''))}\n" for name in names.split(";")])
    request = f"{call.method}\n{path}\n{query}\n{headers}\n{names}\n{claim.payload}"
    digest = hashlib.sha256(request.encode("latin-1")).hexdigest()
    return sealed(secret_key, scope, f"AWS4-HMAC-SHA256\n{claim.timestamp}\n{scope}\n{digest}")


def sealed(secret_key: str, scope: str, text: str) -> str:
    """Sign a text with the version 4 key of this scope."""
    return hmac.digest(_signing_key(secret_key, scope), text.encode(), "sha256").hex()


@lru_cache(maxsize=16)
def _signing_key(secret_key: str, scope: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


# Version 2

_V2_SUBRESOURCES = frozenset(
    {"acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "object-lock", "partNumber"}
    | {"policy", "policyStatus", "publicAccessBlock", "requestPayment", "tagging", "torrent", "uploadId", "uploads"}
    | {"versionId", "versioning", "versions", "website"}
    | {f"response-{name}" for name in ("cache-control", "content-disposition", "content-encoding")}
    | {f"response-{name}" for name in ("content-language", "content-type", "expires")}
)


def _check_v2(dialect: Dialect, call: Call, now: datetime) -> None:
    if "sigv2" in dialect.refuses:
        raise S3Error(Code.InvalidRequest, "The V2 signature is not supported. Please use AWS4-HMAC-SHA256.")
    if "authorization" in call.headers:
        access_key, _, signature = call.headers["authorization"].removeprefix("AWS ").partition(":")
        date = call.headers.get("x-amz-date", call.headers.get("date", ""))
        signed_date = "" if "x-amz-date" in call.headers else date
    else:
        access_key, signature = call.query["AWSAccessKeyId"], call.query.get("Signature", "")
        date = signed_date = call.query.get("Expires", "")
    token = call.headers.get("x-amz-security-token", call.query.get("x-amz-security-token"))
    check_keys(dialect, access_key, token)
    texts = [_text_v2(call, signed_date, token, end) for end in (("", "/") if call.level == "bucket" else ("",))]
    if not any(hmac.compare_digest(sealed_v2(dialect.secret_key, text), signature) for text in texts):
        raise S3Error(Code.SignatureDoesNotMatch)
    if "authorization" in call.headers:
        _check_skew(now - _http_date(date))
    elif not date.isdecimal() or now.timestamp() > int(date):
        raise S3Error(Code.AccessDenied, "The request has expired.")


def _text_v2(call: Call, date: str, token: str | None, end: str) -> str:
    """Return the text to sign. Some clients sign a bucket's path with a ``/`` at its end that they do not send."""
    headers = dict(call.amz)
    if token is not None:
        headers["x-amz-security-token"] = token
    lines = [
        f"{name}:{value}".encode("latin-1").decode(errors="surrogateescape") for name, value in sorted(headers.items())
    ]
    signed = sorted((name, value) for name, value in call.query.items() if name in _V2_SUBRESOURCES)
    query = "&".join(f"{name}={value}" if value else name for name, value in signed)
    path = call.target.partition("?")[0]
    is_subdomain = call.bucket and unquote(path[1:], errors="surrogateescape") == call.key
    resource = (f"/{call.bucket}{path}" if is_subdomain else path) + end
    content = [call.headers.get("content-md5", ""), call.headers.get("content-type", "")]
    return "\n".join([call.method, *content, date, *lines, f"{resource}?{query}" if query else resource])


def sealed_v2(secret_key: str, text: str) -> str:
    return base64.b64encode(hmac.digest(secret_key.encode(), text.encode(errors="surrogateescape"), "sha1")).decode()


def _http_date(text: str) -> datetime:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        raise S3Error(Code.AccessDenied, "A signed request needs a valid date.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
