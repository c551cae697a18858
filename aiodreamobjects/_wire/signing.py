"""Signatures: SigV4 and SigV2, as headers, as URLs, as browser forms. Pure: the time is an argument.

Sources: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)"; Amazon S3 developer guide
(2006-03-01), "Signing and Authenticating REST Requests" for version 2, which the older Ceph clusters use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

from aiodreamobjects._config import Credentials
from aiodreamobjects._service import Signature

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
V4_LONGEST_PRESIGN = 7 * 24 * 3600

# The query parameters that belong to a SigV2 resource; values of response-* are signed as they are, unquoted.
_V2_SUBRESOURCES = frozenset(
    [
        "acl",
        "cors",
        "delete",
        "lifecycle",
        "location",
        "logging",
        "notification",
        "partNumber",
        "policy",
        "requestPayment",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    ],
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is signed of a request. ``path`` and ``host`` as they go out; ``query`` and ``headers`` unencoded."""

    method: str
    scheme: str
    host: str
    path: str
    resource: str
    """``/bucket/key``, percent-encoded: what SigV2 signs in the path's place, whatever the addressing."""
    query: Mapping[str, str]
    headers: Mapping[str, str]


def sign_v4(
    request: Request,
    credentials: Credentials,
    region: str,
    now: datetime,
    payload_hash: str = UNSIGNED_PAYLOAD,
) -> dict[str, str]:
    """The request's headers, signed; all that are given are signed."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers |= {"host": request.host, "x-amz-date": _timestamp(now), "x-amz-content-sha256": payload_hash}
    if credentials.session_token:
        headers["x-amz-security-token"] = credentials.session_token
    scope = _scope(region, now)
    signature = _signature_v4(request, headers, _canonical_query(request.query), payload_hash, credentials, scope, now)
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={';'.join(sorted(headers))}, Signature={signature}"
    )
    return headers


def presign_v4(request: Request, credentials: Credentials, region: str, now: datetime, expires_in: int) -> str:
    """A URL that carries its signature. Whoever uses it must send the same headers, if any were given.

    Raises ValueError beyond seven days, S3's limit for SigV4.
    """
    if expires_in > V4_LONGEST_PRESIGN:
        msg = f"expires_in {expires_in} is over 7 days (604800 seconds), the longest that SigV4 allows"
        raise ValueError(msg)
    headers = {name.lower(): value for name, value in request.headers.items()} | {"host": request.host}
    scope = _scope(region, now)
    query = dict(request.query) | {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": _timestamp(now),
        "X-Amz-Expires": str(expires_in),
        "X-Amz-SignedHeaders": ";".join(sorted(headers)),
    }
    if credentials.session_token:
        query["X-Amz-Security-Token"] = credentials.session_token
    canonical = _canonical_query(query)
    signature = _signature_v4(request, headers, canonical, UNSIGNED_PAYLOAD, credentials, scope, now)
    return f"{request.scheme}://{request.host}{request.path}?{canonical}&X-Amz-Signature={signature}"


def sign_v2(request: Request, credentials: Credentials, now: datetime) -> dict[str, str]:
    """The request's headers with a SigV2 ``authorization``."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers["date"] = format_datetime(now.astimezone(UTC), usegmt=True)
    if credentials.session_token:
        headers["x-amz-security-token"] = credentials.session_token
    signature = _signature_v2(request, headers, headers["date"], credentials)
    return headers | {"authorization": f"AWS {credentials.access_key}:{signature}"}


def presign_v2(request: Request, credentials: Credentials, now: datetime, expires_in: int) -> str:
    """A SigV2 URL, for the older clusters; it may live as long as you like."""
    expires = str(int(now.timestamp()) + expires_in)
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = dict(request.query)
    if credentials.session_token:
        headers["x-amz-security-token"] = query["x-amz-security-token"] = credentials.session_token
    signature = _signature_v2(request, headers, expires, credentials)
    query |= {"Signature": signature, "Expires": expires, "AWSAccessKeyId": credentials.access_key}
    return f"{request.scheme}://{request.host}{request.path}?{_canonical_query(query)}"


def post_form(
    bucket: str,
    key: str,
    conditions: Iterable[Mapping[str, str] | Sequence[str | int]],
    credentials: Credentials,
    region: str,
    now: datetime,
    expires_in: int,
    *,
    signature: Signature,
) -> dict[str, str]:
    """The fields of a browser form that may store this one key until it expires."""
    asked = list(conditions)
    scope = _scope(region, now)
    signed: dict[str, str] = {}
    if signature == "v4":
        signed["x-amz-algorithm"] = "AWS4-HMAC-SHA256"
        signed["x-amz-credential"] = f"{credentials.access_key}/{scope}"
        signed["x-amz-date"] = _timestamp(now)
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    expiration = now.astimezone(UTC) + timedelta(seconds=expires_in)
    policy = {
        "expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [{"bucket": bucket}, {"key": key}, *asked, *({name: value} for name, value in signed.items())],
    }
    document = base64.b64encode(json.dumps(policy).encode()).decode()
    fields = {"key": key}
    for condition in asked:
        if isinstance(condition, Mapping):
            fields |= condition
    fields |= signed | {"policy": document}
    if signature == "v4":
        return fields | {"x-amz-signature": _hmac_sha256_hex(_signing_key(credentials, scope), document)}
    return fields | {"AWSAccessKeyId": credentials.access_key, "signature": _hmac_sha1(credentials, document)}


def _signature_v4(
    request: Request,
    headers: Mapping[str, str],
    canonical_query: str,
    payload_hash: str,
    credentials: Credentials,
    scope: str,
    now: datetime,
) -> str:
    names = sorted(headers)
    canonical = "\n".join(
        [
            request.method,
            request.path,
            canonical_query,
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            ";".join(names),
            payload_hash,
        ],
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{_timestamp(now)}\n{scope}\n{digest}"
    return _hmac_sha256_hex(_signing_key(credentials, scope), to_sign)


def _signing_key(credentials: Credentials, scope: str) -> bytes:
    key = f"AWS4{credentials.secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _hmac_sha256_hex(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()


def _signature_v2(request: Request, headers: Mapping[str, str], date: str, credentials: Credentials) -> str:
    amz = sorted((name, value) for name, value in headers.items() if name.startswith("x-amz-"))
    resource = request.resource
    signed = sorted((name, value) for name, value in request.query.items() if name in _V2_SUBRESOURCES)
    if signed:
        resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in signed)
    to_sign = "\n".join(
        [
            request.method,
            headers.get("content-md5", "").strip(),
            headers.get("content-type", "").strip(),
            date,
            *(f"{name}:{value.strip()}" for name, value in amz),
            resource,
        ],
    )
    return _hmac_sha1(credentials, to_sign)


def _hmac_sha1(credentials: Credentials, text: str) -> str:
    return base64.b64encode(hmac.digest(credentials.secret_key.encode(), text.encode(), "sha1")).decode()


def _canonical_query(query: Mapping[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted((_quote(n), _quote(v)) for n, v in query.items()))


def _quote(text: str) -> str:
    return quote(text, safe="-_.~")


def _timestamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _scope(region: str, now: datetime) -> str:
    return f"{_timestamp(now)[:8]}/{region}/s3/aws4_request"
