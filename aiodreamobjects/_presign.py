"""URLs and browser forms with a signature, for people without credentials. Making one sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import get_args

from aiodreamobjects._checks import check_one_of, check_token, encode_utf8, seconds_from_now
from aiodreamobjects._errors import UnsupportedByServiceError
from aiodreamobjects._models import Address, PresignedPost
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3 import signing
from aiodreamobjects._service import Service, Signature, quote_key

Expiry = float | timedelta | datetime
PostCondition = Mapping[str, str] | Sequence[str | int]

_RESPONSE_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)


def object_url(service: Service, address: Address, scheme: str) -> str:
    """Return the object's URL without a signature. It works only if the object is public."""
    check_one_of("scheme", scheme, ("https", "http"))
    if scheme == "http" and (advice := service.unsupported.get("plain_http")):
        msg = f"{service.name} has no http URLs: {advice}"
        raise UnsupportedByServiceError(msg)
    host, path = service.locate(address.bucket, address.key)
    return f"{scheme}://{host}{path}"


def presign_url(
    runtime: Runtime,
    method: str,
    address: Address,
    expires_in: Expiry,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    signature: Signature | None,
) -> str:
    service, s3 = runtime.service, runtime.s3_anywhere
    chosen = _choose(service, signature)
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
        return signing.presign_v2(request, s3.signer().credentials, now, seconds)
    return s3.signer().presign(request, now, seconds)


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
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 0:
            msg = f"max_bytes {max_bytes!r} must be a number of bytes, 0 or more"
            raise ValueError(msg)
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


def _checked(condition: PostCondition) -> dict[str, str] | list[str | int]:
    if isinstance(condition, Mapping) and not {"bucket", "key"} & condition.keys():
        return dict(condition)
    if not isinstance(condition, str | Mapping) and len(condition) == 3:  # noqa: PLR2004 - operator, field, value
        return list(condition)
    msg = f"condition {condition!r} must be {{'field': 'value'}} or ['starts-with', '$field', 'prefix']; leave out bucket and key, which the form has already"
    raise ValueError(msg)
