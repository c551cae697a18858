"""The HTTP headers with which a web service sends an object on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import format_datetime

from aiodreamobjects._models import ObjectInfo

_SENT_ON = (
    "Content-Type",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Expires",
)
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")  # field-value, RFC 9110 section 5.5
_ETAG = re.compile(r'(W/)?"[!#-~\x80-\xff]*"')  # RFC 9110 section 8.8.3


def response_headers(
    info: ObjectInfo, stored: Mapping[bytes, bytes], start: int, stop: int | None, *, is_whole: bool
) -> dict[str, str]:
    """Return the headers for these bytes of the object. ``stored`` has the headers of the service's reply."""
    headers = {name: stored.get(name.lower().encode(), b"").decode("latin-1") for name in _SENT_ON}
    # Some services store how other clients sent the body. No browser can decode that.
    codings = [coding.strip() for coding in headers["Content-Encoding"].split(",")]
    headers["Content-Encoding"] = ", ".join(coding for coding in codings if coding.lower() != "aws-chunked")
    headers = {name: value for name, value in headers.items() if value and _VALUE.fullmatch(value)}
    headers["Accept-Ranges"] = "bytes"
    etag = info.etag if info.etag is None or info.etag.startswith("W/") else f'"{info.etag}"'
    if etag is not None and _ETAG.fullmatch(etag):
        headers["ETag"] = etag
    if info.last_modified is not None:
        headers["Last-Modified"] = format_datetime(info.last_modified, usegmt=True)
    if stop is not None:
        headers["Content-Length"] = str(stop - start)
        if not is_whole:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{'*' if info.size is None else info.size}"
    return headers
