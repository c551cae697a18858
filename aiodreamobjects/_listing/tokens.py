"""Tokens that say where a listing continues. Clients of a web service keep them between two requests.

A token holds the last item, and a MAC over it and the listing. So a client cannot use it for another listing, nor make one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from aiodreamobjects._checks import LONGEST_SHOWN
from aiodreamobjects._config import Secret
from aiodreamobjects._later import Later

if TYPE_CHECKING:
    import json
else:
    json = Later("json")

MAC_BYTES = 16
OF_ANYONE = "anonymous"
"""Stands for the secret key that an anonymous session does not have."""
_LABEL = b"aiodreamobjects: tokens of listings, version 1"


class Position(NamedTuple):
    """The last item of a page: its key or common prefix; and the ID of a version or upload, with what else finds the place."""

    name: str
    id: str = ""
    about: str = ""


class Scope(NamedTuple):
    """The listing to which a token belongs."""

    what: str
    """A change of these words makes all tokens invalid."""
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.what} of s3://{self.bucket} with the prefix {self.prefix!r}"


class TokenKey(bytes):
    """A key that signs tokens. Its repr hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a secret>"


def token_key(secret: str | bytes) -> TokenKey:
    """Derive a key that does not reveal the secret, and that signs nothing else (the first step of HKDF, RFC 5869)."""
    return TokenKey(hmac.digest(_LABEL, secret if isinstance(secret, bytes) else secret.encode(), "sha256"))


def check_secret(secret: str | bytes) -> str | bytes:
    if not isinstance(secret, str | bytes):
        msg = f"secret must be a str or bytes, not {type(secret).__name__}"
        raise TypeError(msg)
    if not secret:
        msg = "secret is empty; leave it out to sign tokens with a key derived from the session's secret key"
        raise ValueError(msg)
    return Secret(secret) if isinstance(secret, str) else TokenKey(secret)


def write(key: bytes, scope: Scope, position: Position) -> str:
    # Only a key may have a NUL, and it comes last. An ID has none, since XML cannot carry one.
    told = f"{position.id}\0{position.about}\0{position.name}".encode()
    about = json.dumps([scope.what, scope.bucket, scope.prefix]).encode()
    mac = hmac.digest(key, about + b"\n" + told, "sha256")[:MAC_BYTES]
    return base64.urlsafe_b64encode(mac + told).rstrip(b"=").decode()


def read(keys: Sequence[bytes], scope: Scope, token: str) -> Position:
    """Return the position. Raise ValueError for anything but a token that one of these keys made for this listing."""
    if not isinstance(token, str) or not token:
        msg = f"token {token!r} must be the token of a ListPage, or None for the first page"
        raise ValueError(msg)
    try:
        told = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[MAC_BYTES:].decode()
        unique, about, name = told.split("\0", 2)
        position = Position(name, unique, about)
    except (binascii.Error, ValueError):
        position = Position("")
    # Comparing whole tokens also refuses other spellings of the same bytes.
    if not token.isascii() or not any(hmac.compare_digest(write(key, scope, position), token) for key in keys):
        shown = token if len(token) <= LONGEST_SHOWN else f"{token[:LONGEST_SHOWN]}..."
        msg = (
            f"token {shown!r} does not belong to this listing ({scope}): pass the token of its page unchanged, or None for the "
            "first page. A token also becomes invalid when the secret that signed it changes"
        )
        raise ValueError(msg)
    return position
