"""URLs and browser forms with a signature, for people without credentials. Making one sends nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, get_args

from aiodreamobjects._checks import (
    check_field_name,
    check_field_value,
    check_one_of,
    check_token,
    encode_utf8,
    seconds_from_now,
)
from aiodreamobjects._errors import UnsupportedByServiceError
from aiodreamobjects._models import Address
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3 import signing
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._service import Feature, Service, Signature, quote_key

Expiry = float | timedelta | datetime
PresignMethod = Literal["GET", "HEAD", "PUT", "POST", "DELETE"]
PostCondition = Mapping[str, str] | Sequence[str | int]

_RESPONSE_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)


class PresignedUrl(str):
    """A URL with a signature. Use it as any ``str``; only its ``repr`` hides the signature, and a session token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<PresignedUrl {_SECRET_OF_URL.sub('…', self)}>"


_SECRET_OF_URL = re.compile("(?<=Signature=)[^&]+|(?<=-[Tt]oken=)[^&]+")


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A browser form. POST ``fields`` to ``url``, and the file as the last field, named ``file``."""

    url: str
    fields: Mapping[str, str] = field(repr=False)


def object_url(service: Service, address: Address, scheme: str) -> str:
    """Return the object's URL without a signature. It works only if the object is public."""
    check_one_of("scheme", scheme, ("https", "http"))
    if scheme == "http" and (advice := service.unsupported.get("plain_http")):
        msg = f"{service.name} has no http URLs: {advice}"
        raise UnsupportedByServiceError(msg)
    host, path = service.locate(address.bucket, address.key)
    return f"{scheme}://{host}{path}"


def presign(
    runtime: Runtime,
    method: PresignMethod,
    address: Address,
    expires_in: Expiry,
    version_id: str | None,
    headers: Mapping[str, str],
    given_query: Mapping[str, str],
    signature: Signature | None,
) -> PresignedUrl:
    """Return a URL for any method. Check what the caller names freely."""
    check_one_of("method", method, get_args(PresignMethod))
    if method == "PUT" and version_id is not None:
        msg = f"version_id={version_id!r}: a PUT makes a new version; leave version_id out"
        raise ValueError(msg)
    for name, value in headers.items():
        check_field_name("header name", name)
        check_field_value(f"header {name!r}", value)
    for name, value in given_query.items():
        check_field_name("query name", name)
        encode_utf8(f"query {name!r}", value)
        if name.lower().startswith("x-amz-") or name in ("AWSAccessKeyId", "Expires", "Signature"):
            msg = f"query {name!r} is part of the signature: leave it out"
            raise ValueError(msg)
    query = {**response_query(None, version_id), **given_query}
    lowered = {name.lower(): value for name, value in headers.items()}
    return presign_url(runtime, method, address, expires_in, query=query, headers=lowered, signature=signature)


def presign_url(
    runtime: Runtime,
    method: str,
    address: Address,
    expires_in: Expiry,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    signature: Signature | None,
) -> PresignedUrl:
    service, s3 = runtime.service, runtime.s3_anywhere
    chosen = _choose(service, signature)
    if chosen == "v2" and headers:
        _check_for_v2(headers)
    now = s3.now()
    seconds = seconds_from_now(expires_in, now)
    host, path = service.locate(address.bucket, address.key)
    request = signing.Request(
        method=method,
        scheme=service.scheme,
        host=host,
        path=path,
        resource=f"/{address.bucket}/{quote_key(address.key)}",
        query=query,
        headers=headers,
    )
    if chosen == "v2":
        return PresignedUrl(signing.presign_v2(request, s3.signer().credentials, now, seconds))
    return PresignedUrl(s3.signer().presign(request, now, seconds))


def headers_to_put(
    service: Service, options: WriteOptions, content_length: int | None, content_md5: str | None
) -> dict[str, str]:
    """Return the headers that a PUT by a presigned URL must have. Raise UnsupportedByServiceError for its conditions."""
    needed: tuple[Feature, ...] = (
        ("conditional_writes",) if options.if_match is None else ("conditional_writes", "if_match")
    )
    for feature in needed:
        if options.is_conditional and (advice := service.unsupported.get(feature)):
            msg = f"{service.name} refuses conditions of a write: {advice}"
            raise UnsupportedByServiceError(msg)
    if options.checksum is not None:
        msg = f"checksum={options.checksum!r}: the body is not known here; give headers={{'x-amz-checksum-{options.checksum}': value}}"
        raise ValueError(msg)
    return {**options.put_headers(), **headers_of_body(content_length, content_md5)}


def headers_of_body(content_length: int | None, content_md5: str | None) -> dict[str, str]:
    """Return the headers that permit only a body of this length, or with this MD5."""
    headers = {}
    if content_length is not None:
        _check_bytes("content_length", content_length)
        headers["content-length"] = str(content_length)
    if content_md5 is not None:
        _check_md5(content_md5)
        headers["content-md5"] = content_md5
    return headers


def presign_post(
    runtime: Runtime,
    address: Address,
    expires_in: Expiry,
    *,
    max_bytes: int | None,
    conditions: Sequence[PostCondition],
    signature: Signature | None,
) -> PresignedPost:
    service, s3 = runtime.service, runtime.s3_anywhere
    if advice := service.unsupported.get("presigned_post"):
        msg = f"{service.name} takes no browser forms: {advice}"
        raise UnsupportedByServiceError(msg)
    chosen = _choose(service, signature)
    now = s3.now()
    seconds = seconds_from_now(expires_in, now)
    if chosen == "v4" and seconds > signing.V4_LONGEST_PRESIGN:
        msg = f"expires_in {expires_in!r} is over 7 days (604800 seconds), the longest that SigV4 allows"
        raise ValueError(msg)
    asked = [_checked(condition) for condition in conditions]
    if max_bytes is not None:
        _check_bytes("max_bytes", max_bytes)
        asked.append(["content-length-range", 0, max_bytes])
    host, path = service.locate(address.bucket)
    fields = signing.post_form(
        address.bucket, address.key, asked, s3.signer().credentials, service.region, now, seconds, signature=chosen
    )
    return PresignedPost(f"{service.scheme}://{host}{path}", fields)


def response_query(response_headers: Mapping[str, str] | None, version_id: str | None) -> dict[str, str]:
    """Return the query that overrides response headers and picks the version."""
    check_token("version_id", version_id)
    query = {} if version_id is None else {"versionId": version_id}
    for name, value in (response_headers or {}).items():
        header = name.lower()
        check_one_of("response header", header, _RESPONSE_HEADERS)
        encode_utf8(f"response header {name!r}", value)
        query[f"response-{header}"] = value
    return query


def _choose(service: Service, signature: Signature | None) -> Signature:
    if signature is None:
        return service.signature
    check_one_of("signature", signature, get_args(Signature))
    if signature == "v2" and (advice := service.unsupported.get("sigv2")):
        msg = f"{service.name} refuses signature='v2': {advice}; leave signature out"
        raise UnsupportedByServiceError(msg)
    return signature


def _check_for_v2(headers: Mapping[str, str]) -> None:
    """Raise ValueError for headers that SigV2 does not sign: a client could leave them out, or change them."""
    unsigned = [name for name in headers if name not in _SIGNED_BY_V2 and not name.startswith("x-amz-")]
    if unsigned:
        msg = f"signature='v2' cannot sign {', '.join(sorted(unsigned))}: leave it out, or use signature='v4'"
        raise ValueError(msg)


_SIGNED_BY_V2 = ("content-md5", "content-type")


def _check_bytes(name: str, count: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        msg = f"{name} {count!r} must be a number of bytes, 0 or more"
        raise ValueError(msg)


def _check_md5(value: str) -> None:
    try:
        size = len(base64.b64decode(value, validate=True)) if isinstance(value, str) else 0
    except (ValueError, binascii.Error):
        size = 0
    if size != hashlib.md5(usedforsecurity=False).digest_size:
        msg = f"content_md5 {value!r} must be the 16 bytes of an MD5 in base64: base64.b64encode(digest).decode()"
        raise ValueError(msg)


def _checked(condition: PostCondition) -> dict[str, str] | list[str | int]:
    if isinstance(condition, Mapping) and not {"bucket", "key"} & condition.keys():
        return dict(condition)
    if not isinstance(condition, str | Mapping) and len(condition) == 3:  # noqa: PLR2004 - operator, field, value
        return list(condition)
    msg = f"condition {condition!r} must be {{'field': 'value'}} or ['starts-with', '$field', 'prefix']; leave out bucket and key, which the form has already"
    raise ValueError(msg)
