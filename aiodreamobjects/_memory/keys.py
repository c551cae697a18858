"""Encryption with a customer's key. Only the key's MD5 is kept: the content is stored as it is.

Source: Amazon S3 user guide, "Using server-side encryption with customer-provided keys (SSE-C)".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from aiodreamobjects._memory.calls import Call, md5_hex
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.store import Content, Upload

_HEADER: Final = "x-amz-server-side-encryption-customer-"
_SOURCE_HEADER: Final = "x-amz-copy-source-server-side-encryption-customer-"
_KEY_BYTES: Final = 32


def given_key(call: Call, header: str = _HEADER) -> str:
    """Return the MD5 of the key that a request gives, "" if it gives none. Raises S3Error if it is not valid."""
    given = {name[len(header) :]: value for name, value in call.amz.items() if name.startswith(header)}
    if not given:
        return ""
    algorithm, key, told = (given.get(name) for name in ("algorithm", "key", "key-md5"))
    if algorithm is None or key is None or told is None:
        raise S3Error(Code.InvalidArgument, "A customer's key needs its algorithm, the key and its MD5.")
    if algorithm != "AES256":
        raise S3Error(Code.InvalidEncryptionAlgorithmError)
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise S3Error(Code.InvalidArgument, "The secret key was invalid for the specified algorithm.")
    if base64.b64encode(hashlib.md5(secret, usedforsecurity=False).digest()).decode() != told:
        msg = "The calculated MD5 hash of the key did not match the hash that was provided."
        raise S3Error(Code.InvalidArgument, msg)
    return told


def check_key_of(content: Content, call: Call, *, is_source: bool = False) -> None:
    """Raise S3Error unless the request gives the key that the content is encrypted with."""
    told = given_key(call, _SOURCE_HEADER if is_source else _HEADER)
    if told == content.customer_key:
        return
    if told and content.customer_key:
        raise S3Error(Code.AccessDenied)
    msg = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided."
    raise S3Error(
        Code.InvalidRequest, msg if not told else "The encryption parameters are not applicable to this object."
    )


def check_key_of_part(upload: Upload, call: Call) -> None:
    if given_key(call) != upload.customer_key:
        msg = "The encryption parameters of a part must be those that the upload was begun with."
        raise S3Error(Code.InvalidRequest, msg)


def key_headers(customer_key: str) -> dict[str, str]:
    """Return what a reply says of the key."""
    return {f"{_HEADER}algorithm": "AES256", f"{_HEADER}key-MD5": customer_key} if customer_key else {}


def salt_of(headers: Mapping[str, str], customer_key: str) -> str:
    """Return what makes the ETag another value than the MD5: a customer's key, or the KMS. "" if nothing does."""
    return customer_key or ("KMS" if headers.get("x-amz-server-side-encryption") == "aws:kms" else "")


def etag_of(body: bytes, salt: str) -> str:
    """Return the ETag of a body: its MD5, unless there is a salt."""
    return md5_hex(salt.encode() + body if salt else body)
