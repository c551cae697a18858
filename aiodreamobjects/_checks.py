"""Checks of arguments. They raise ValueError or TypeError before anything is sent, and name the value and the rule."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiodreamobjects._later import Later

if TYPE_CHECKING:
    from email import utils as email_utils
else:
    email_utils = Later("email.utils")

KEY_BYTES = 1024
LONGEST_EXPIRY_SECONDS = 100 * 365 * 24 * 3600

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token, RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
LONGEST_SHOWN = 80
"""How many characters of a wrong value a message shows."""
_NOT_FOR_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""XML 1.0 section 2.2, "Characters". Compiled at its first use: that takes longer than a request."""


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise ValueError for names and values that are not text, or that XML cannot carry."""
    for name, value in tags.items():
        for what, text in (("tag", name), (f"the value of the tag {name!r}", value)):
            if not isinstance(text, str):
                msg = f"{what} {text!r} must be a str, not {type(text).__name__}"
                raise ValueError(msg)  # noqa: TRY004 - as every other wrong value
            if found := re.search(_NOT_FOR_XML, text):
                msg = f"{what} {text[:40]!r} holds {found[0]!r}, which XML cannot carry: remove it"
                raise ValueError(msg)


def check_key(key: str) -> None:
    """Raise ValueError for a key that S3 does not allow (S3 user guide, "Naming Amazon S3 objects")."""
    if not isinstance(key, str):
        msg = f"a key is a str, not {type(key).__name__}"
        raise TypeError(msg)
    if not key:
        msg = "the key is empty; a key has at least one character"
        raise ValueError(msg)
    size = len(key) if key.isascii() else len(encode_utf8("key", key))
    if size > KEY_BYTES:
        msg = f"key {key[:40]!r}... has {size:,} bytes in UTF-8; a key has at most {KEY_BYTES:,}"
        raise ValueError(msg)


def encode_utf8(name: str, text: str) -> bytes:
    if not isinstance(text, str):
        msg = f"{name} is a str, not {type(text).__name__}"
        raise TypeError(msg)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        msg = f"{name} {text[:40]!r} has a lone surrogate at {error.start}, which UTF-8 cannot carry: remove it"
        raise ValueError(msg) from None


def check_one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        msg = f"{name} {value!r} is none of {', '.join(map(repr, choices))}"
        raise ValueError(msg)


def check_token(name: str, value: str | None) -> None:
    """Check an ETag or a version ID. Refuse an empty one: the call would silently have no condition."""
    if value is not None:
        check_field_value(name, value)
        if not value.strip().strip('"'):
            msg = f"{name} is empty; leave it out, or give the value from an ObjectInfo"
            raise ValueError(msg)


def check_field_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
        msg = f"{what} {name!r} must be an HTTP header name: letters, digits, '-'"
        raise ValueError(msg)


def check_field_value(name: str, value: str) -> None:
    """Check that a header can hold the value: printable US-ASCII (RFC 9110 section 5.5). It cannot end the header's line."""
    if not isinstance(value, str):
        msg = f"{name} {value!r} must be a str, not {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - as every other wrong value
    if not _FIELD_VALUE.fullmatch(value):
        msg = f"{name} {value[:LONGEST_SHOWN]!r} must be printable US-ASCII without blanks at its ends to go into a header; {_form_that_works(name, value)}"
        raise ValueError(msg)


def _form_that_works(name: str, value: str) -> str:
    """Return how to write a value that a header cannot hold: RFC 8187 for a file name, else percent-encoding."""
    if name == "content_disposition":
        kind, _, rest = value.partition(";")
        found = re.search(r'filename="?([^";]*)', rest)
        file_name = quote(found[1] if found else "résumé.pdf", safe="", errors="replace")
        return f"write {kind.strip() if kind.isascii() and found else 'attachment'}; filename*=UTF-8''{file_name}"
    encoded = quote(value.strip()[:LONGEST_SHOWN], safe=_PRINTABLE, errors="replace")
    return f"percent-encode the rest, as in {encoded!r}"


def check_extra_headers(headers: Mapping[str, str]) -> None:
    """Check headers that a caller adds to a request. Raise ValueError for headers that the library sets itself."""
    if not isinstance(headers, Mapping):
        msg = f"headers {headers!r} must be a mapping of names to values"
        raise TypeError(msg)
    for name, value in headers.items():
        check_field_name("header name", name)
        check_field_value(f"header {name!r}", value)
        if instead := _instead_of(name.lower()):
            msg = f"header {name!r} is set by the library: {instead}"
            raise ValueError(msg)
    if len({name.lower() for name in headers}) != len(headers):
        msg = f"header names {sorted(headers)} must differ by more than upper and lower case"
        raise ValueError(msg)


def _instead_of(name: str) -> str | None:
    """Return what to use instead of this header; None if a caller may set it."""
    found = next((instead for prefix, instead in _OUR_FAMILIES.items() if name.startswith(prefix)), None)
    return found or _OURS.get(name)


_OUR_FAMILIES = {
    "x-amz-meta-": "use metadata=",
    "x-amz-copy-": "use copy_to()",
    "x-amz-server-side-encryption": "use encryption=",
    "x-amz-object-lock-": "use retention= and legal_hold=",
}


_OF_THE_REQUEST = "leave it out"
_OURS = {
    "content-type": "use content_type=",
    "cache-control": "use cache_control=",
    "content-disposition": "use content_disposition=",
    "content-encoding": "use content_encoding=",
    "content-language": "use content_language=",
    "expires": "use expires=",
    "x-amz-website-redirect-location": "use website_redirect=",
    "x-amz-storage-class": "use storage_class=",
    "x-amz-acl": "use acl=",
    "if-match": "use if_match=",
    "if-none-match": "use if_absent= to write, if_none_match= to read",
    "range": "use range=",
    **dict.fromkeys(
        (
            *("accept-encoding", "authorization", "connection", "content-length", "content-md5", "date", "expect"),
            *("host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding"),
            *("upgrade", "user-agent", "x-amz-content-sha256", "x-amz-date", "x-amz-metadata-directive"),
            *("x-amz-security-token", "x-amz-tagging-directive"),
        ),
        _OF_THE_REQUEST,
    ),
}
"""Headers that the library sets, with what to use instead."""


def check_aware(name: str, moment: datetime) -> None:
    """Raise ValueError for a time without a time zone."""
    if not isinstance(moment, datetime):
        msg = f"{name} {moment!r} must be a datetime, not {type(moment).__name__}"
        raise TypeError(msg)
    if moment.utcoffset() is None:
        msg = f"{name} {moment!r} is naive: give it a time zone, such as datetime.now(UTC)"
        raise ValueError(msg)


def http_date_of(name: str, moment: datetime) -> str:
    """Return a time in the format of headers (RFC 9110 section 5.6.7). Raise ValueError if it has no time zone."""
    check_aware(name, moment)
    return email_utils.format_datetime(moment.astimezone(UTC), usegmt=True)


def seconds_from_now(expires_in: float | timedelta | datetime, now: float) -> int:
    """Return an expiry as whole seconds from now, whichever form the caller gave."""
    given = expires_in
    if isinstance(expires_in, datetime):
        if expires_in.tzinfo is None:
            msg = f"expires_in {given!r} is naive: give it a time zone, such as datetime.now(UTC)"
            raise ValueError(msg)
        expires_in = expires_in.timestamp() - now
    if isinstance(expires_in, timedelta):
        expires_in = expires_in.total_seconds()
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not -math.inf < expires_in < math.inf:
        msg = f"expires_in {given!r} must be seconds, a timedelta or an aware datetime"
        raise ValueError(msg)
    if not 1 <= expires_in <= LONGEST_EXPIRY_SECONDS:
        msg = f"expires_in {given!r} must be at least a second and at most a hundred years from now"
        raise ValueError(msg)
    return int(expires_in)
