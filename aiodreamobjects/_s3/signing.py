"""Compute signatures: SigV4 and SigV2, as headers, URLs and browser forms. The time is an argument.

Sources: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)"; Amazon S3 developer guide
(2006-03-01), "Signing and Authenticating REST Requests" for version 2, which the older Ceph clusters use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from aiodreamobjects._config import Credentials
from aiodreamobjects._later import Later
from aiodreamobjects._service import Signature

if TYPE_CHECKING:
    import json
    from email import utils as email_utils
else:
    json, email_utils = Later("json"), Later("email.utils")

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_BARE_NAMES = "host;x-amz-content-sha256;x-amz-date"
V4_LONGEST_PRESIGN = 7 * 24 * 3600

# The query parameters that SigV2 signs as a part of the resource. Their values are signed unquoted.
# Not object-lock, although botocore signs it: Ceph RGW 16.2 does not, and then refuses the signature.
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
        "policyStatus",
        "publicAccessBlock",
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


@dataclass(slots=True)
class Request:
    """The parts of a request that are signed. ``path`` and ``host`` are as sent, ``query`` and ``headers`` unencoded."""

    method: str
    scheme: str
    host: str
    path: str
    resource: str
    """``/bucket/key``, percent-encoded. SigV2 signs this instead of the path, for every kind of addressing."""
    query: Mapping[str, str]
    headers: Mapping[str, str]


class Signer:
    """Signs by SigV4, with one set of credentials. It computes once what stays the same for a day or a second.

    Times are seconds since the epoch.
    """

    __slots__ = (
        "_credential",
        "_day",
        "_key",
        "_presigned",
        "_scope",
        "_second",
        "_timestamp",
        "credentials",
        "region",
    )

    def __init__(self, credentials: Credentials, region: str) -> None:
        self.credentials, self.region = credentials, region
        self._second: int | None = None
        self._day = self._timestamp = self._scope = self._credential = self._presigned = ""
        self._key = b""

    def sign(self, request: Request, query: str, now: float, payload_hash: str = UNSIGNED_PAYLOAD) -> str:
        """Return all header lines of the signed request. The signature covers every header that is given.

        ``query`` is the request's, in canonical form.
        """
        self._set_clock(now)
        headers, token = request.headers, self.credentials.session_token
        if token:
            headers = {**headers, "x-amz-security-token": token}
        in_order, names, signed, sent = _layout(tuple(headers))
        values = (*headers.values(), request.host, payload_hash, self._timestamp)
        lines = signed % in_order([_folded(value) for value in values])
        signature = self._signature(request, query, lines, names, payload_hash)
        return f"{sent % in_order(values)}authorization: {self._credential}, SignedHeaders={names}, Signature={signature}\r\n"

    def sign_bare(self, method: str, host: str, path: str, query: str, now: float, payload_hash: str) -> str:
        """Return the header lines of a request without further headers. Faster than ``sign``: it needs no dictionary.

        The credentials must have no session token. ``query`` is in canonical form.
        """
        self._set_clock(now)
        stamp = self._timestamp
        lines = f"host:{host}\nx-amz-content-sha256:{payload_hash}\nx-amz-date:{stamp}\n"
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{_BARE_NAMES}\n{payload_hash}"
        return (
            f"host: {host}\r\nx-amz-content-sha256: {payload_hash}\r\nx-amz-date: {stamp}\r\n"
            f"authorization: {self._credential}, SignedHeaders={_BARE_NAMES}, Signature={self._seal(canonical)}\r\n"
        )

    def presign(self, request: Request, now: float, expires_in: int) -> str:
        """Return a URL with its signature. The client must also send the given headers.

        Raises ValueError for more than seven days, the limit of SigV4.
        """
        if expires_in > V4_LONGEST_PRESIGN:
            msg = f"expires_in {expires_in} is over 7 days (604800 seconds), the longest that SigV4 allows"
            raise ValueError(msg)
        self._set_clock(now)
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers["host"] = request.host
        names = sorted(headers)
        query = self._presigned_query(request.query, expires_in, names)
        lines = "".join([f"{name}:{_folded(headers[name])}\n" for name in names])
        signature = self._signature(request, query, lines, ";".join(names), UNSIGNED_PAYLOAD)
        return f"{request.scheme}://{request.host}{request.path}?{query}&X-Amz-Signature={signature}"

    def _presigned_query(self, extra: Mapping[str, str], expires_in: int, signed_headers: list[str]) -> str:
        """Return the query without its signature. The names are written in canonical order, so only ``extra`` needs sorting."""
        token = self.credentials.session_token
        security = f"&X-Amz-Security-Token={_quote(token)}" if token else ""
        signed = "%3B".join(map(_quote, signed_headers)) if len(signed_headers) > 1 else "host"
        query = f"{self._presigned}{expires_in}{security}&X-Amz-SignedHeaders={signed}"
        if not extra:
            return query
        pairs = [tuple(pair.split("=", 1)) for pair in query.split("&")]
        return "&".join(f"{name}={value}" for name, value in sorted([*pairs, *_quoted_pairs(extra)]))

    def _signature(self, request: Request, query: str, lines: str, names: str, payload_hash: str) -> str:
        canonical = f"{request.method}\n{request.path}\n{query}\n{lines}\n{names}\n{payload_hash}"
        return self._seal(canonical)

    def _seal(self, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()  # each character of a header is a byte
        return _hmac_sha256_hex(self._key, f"AWS4-HMAC-SHA256\n{self._timestamp}\n{self._scope}\n{digest}")

    def _set_clock(self, now: float) -> None:
        second = math.floor(now)
        if second == self._second:
            return
        self._second, self._timestamp = second, timestamp(now)
        if self._timestamp[:8] != self._day:
            self._day = self._timestamp[:8]
            self._scope = _scope(self.region, now)
            self._key = _signing_key(self.credentials, self._scope)
        self._credential = f"AWS4-HMAC-SHA256 Credential={self.credentials.access_key}/{self._scope}"
        self._presigned = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={_quote(f'{self.credentials.access_key}/{self._scope}')}"
            f"&X-Amz-Date={self._timestamp}&X-Amz-Expires="
        )


def sign_v2(request: Request, credentials: Credentials, now: float) -> dict[str, str]:
    """Return the request's headers with a SigV2 ``authorization``."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers["date"] = email_utils.formatdate(now, usegmt=True)
    if credentials.session_token:
        headers["x-amz-security-token"] = credentials.session_token
    signature = _signature_v2(request, headers, headers["date"], credentials)
    return headers | {"authorization": f"AWS {credentials.access_key}:{signature}"}


def presign_v2(request: Request, credentials: Credentials, now: float, expires_in: int) -> str:
    """Return a SigV2 URL that carries its signature, for older clusters. ``expires_in`` has no limit."""
    expires = str(math.floor(now) + expires_in)
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = dict(request.query)
    if credentials.session_token:
        headers["x-amz-security-token"] = query["x-amz-security-token"] = credentials.session_token
    signature = _signature_v2(request, headers, expires, credentials)
    query |= {"Signature": signature, "Expires": expires, "AWSAccessKeyId": credentials.access_key}
    return f"{request.scheme}://{request.host}{request.path}?{canonical_query(query)}"


def post_form(
    bucket: str,
    key: str,
    conditions: Iterable[Mapping[str, str] | Sequence[str | int]],
    credentials: Credentials,
    region: str,
    now: float,
    expires_in: int,
    *,
    signature: Signature,
) -> dict[str, str]:
    """Return the fields of a browser form that may store this one key until it expires."""
    asked = list(conditions)
    scope = _scope(region, now)
    signed: dict[str, str] = {}
    if signature == "v4":
        signed["x-amz-algorithm"] = "AWS4-HMAC-SHA256"
        signed["x-amz-credential"] = f"{credentials.access_key}/{scope}"
        signed["x-amz-date"] = timestamp(now)
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    policy = {
        "expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + expires_in)),
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
            headers.get("content-md5", ""),
            _as_bytes(headers.get("content-type", "")),
            date,
            *(f"{name}:{_as_bytes(value)}" for name, value in amz),
            resource,
        ],
    )
    return _hmac_sha1(credentials, to_sign)


def _as_bytes(value: str) -> str:
    """Convert a header's value, in which each character is a byte, to text that encodes to these bytes in UTF-8."""
    return value.strip(" \t").encode("latin-1").decode(errors="surrogateescape")


def _hmac_sha1(credentials: Credentials, text: str) -> str:
    signed = text.encode(errors="surrogateescape")
    return base64.b64encode(hmac.digest(credentials.secret_key.encode(), signed, "sha1")).decode()


def canonical_query(query: Mapping[str, str]) -> str:
    """Return the query percent-encoded and sorted, as it is signed and sent."""
    return "&".join([f"{name}={value}" for name, value in sorted(_quoted_pairs(query))])


def _quoted_pairs(query: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(_quote(name), _quote(value)) for name, value in query.items()]


class _Layout(NamedTuple):
    """How headers of some names are signed and sent, with those that each request has."""

    in_order: Callable[[Sequence[str]], tuple[str, ...]]
    """Takes the values and returns them in the order of their names, each name once."""
    names: str
    signed: str
    sent: str
    """Takes values in this order, as ``signed`` does."""


@lru_cache(maxsize=256)
def _layout(given: tuple[str, ...]) -> _Layout:
    names = (*given, "host", "x-amz-content-sha256", "x-amz-date")
    places = {name.lower(): number for number, name in enumerate(names)}  # of equal names, the last one counts
    ordered = sorted(places)
    escaped = [name.replace("%", "%%") for name in ordered]
    return _Layout(
        itemgetter(*(places[name] for name in ordered)),
        ";".join(ordered),
        "".join([f"{name}:%s\n" for name in escaped]),
        "".join([f"{name}: %s\r\n" for name in escaped]),
    )


def _folded(value: str) -> str:
    """Return a header's value as SigV4 signs it: without outer blanks, and with one space for several blanks inside.

    A single tab stays a tab, as in Ceph RGW. Only spaces and tabs are blanks: other characters may be bytes of UTF-8.
    """
    return _SEVERAL_BLANKS.sub(" ", value.strip(" \t")) if " " in value or "\t" in value else value


_SEVERAL_BLANKS = re.compile("[ \t]{2,}")


def _quote(text: str) -> str:
    return quote(text, safe="-_.~")


def timestamp(now: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def _scope(region: str, now: float) -> str:
    return f"{timestamp(now)[:8]}/{region}/s3/aws4_request"
