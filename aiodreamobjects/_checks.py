"""Checks of what a caller gives: ValueError or TypeError, before anything is sent, naming the value and the rule."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

KEY_BYTES = 1024
LONGEST_EXPIRY_SECONDS = 100 * 365 * 24 * 3600

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token, RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[ -~]*")
NOT_FOR_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0 section 2.2, "Characters"."""


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse names and values that are no text, or that XML cannot carry."""
    for name, value in tags.items():
        for what, text in (("tag", name), (f"the value of the tag {name!r}", value)):
            if not isinstance(text, str):
                msg = f"{what} {text!r} must be a str, not {type(text).__name__}"
                raise ValueError(msg)  # noqa: TRY004 - as every other wrong value
            if found := NOT_FOR_XML.search(text):
                msg = f"{what} {text[:40]!r} holds {found[0]!r}, which XML cannot carry"
                raise ValueError(msg)


def check_key(key: str) -> None:
    """Refuse what no S3 key can be (S3 user guide, "Naming Amazon S3 objects")."""
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
        msg = f"{name} {text[:40]!r} has a lone surrogate at {error.start}, which UTF-8 cannot carry"
        raise ValueError(msg) from None


def check_one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        msg = f"{name} {value!r} is none of {', '.join(map(repr, choices))}"
        raise ValueError(msg)


def check_token(name: str, value: str | None) -> None:
    """An ETag or a version: an empty one would silently be no condition at all."""
    if value is not None:
        check_field_value(name, value)
        if not value.strip().strip('"'):
            msg = f"{name} is empty; leave it out, or give the value that info tells"
            raise ValueError(msg)


def check_field_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
        msg = f"{what} {name!r} must be an HTTP header name: letters, digits, '-'"
        raise ValueError(msg)


def check_field_value(name: str, value: str) -> None:
    """Header values are printable US-ASCII (RFC 9110 section 5.5): nothing can end the line and start another."""
    if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value) or value != value.strip():
        msg = f"{name} {value!r} must be printable US-ASCII without outer blanks to go into a header; percent-encode the rest"
        raise ValueError(msg)


def seconds_from_now(expires_in: float | timedelta | datetime, now: float) -> int:
    """How many whole seconds from now: the forms in which an expiry can be given."""
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
        msg = f"expires_in {given!r} must lie at least a second and at most a hundred years in the future"
        raise ValueError(msg)
    return int(expires_in)
