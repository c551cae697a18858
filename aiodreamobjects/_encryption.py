"""How a service encrypts an object: with a key of its own, of a KMS, or of the customer.

Header names are those of the S3 API reference, "PutObject" and "CopyObject".
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self

from aiodreamobjects._checks import check_field_value
from aiodreamobjects._config import Secret
from aiodreamobjects._later import Later

if TYPE_CHECKING:
    import json
else:
    json = Later("json")

KEY_BYTES = 32
SSE: Final = "x-amz-server-side-encryption"
CUSTOMER: Final = f"{SSE}-customer-"
_OF_SOURCE: Final = "x-amz-copy-source-server-side-encryption-customer-"


@dataclass(frozen=True, slots=True)
class SseKms:
    """Encrypt with a key of the service's key management. Without ``key_id``, with the account's default key.

    ``context`` is checked again by the KMS when the object is read. The KMS logs it, so it is no place for a secret.
    """

    key_id: str | None = None
    context: Mapping[str, str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if self.key_id is not None:
            check_field_value("key_id", self.key_id)
        if self.key_id == "":
            msg = "key_id is empty; leave it out to use the account's default key"
            raise ValueError(msg)
        for name, value in (self.context or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                msg = f"context {name!r}: {value!r} must map text to text"
                raise ValueError(msg)  # noqa: TRY004 - as every other wrong value


class SseCustomer:
    """Encrypt with a key of your own, of 32 bytes. The service does not keep it, so each read needs it again.

    Without the key the object is lost. No repr, log or error shows the key, and it cannot be pickled. It goes to the
    service with each request, so over plain http only to this machine.
    """

    __slots__ = ("_headers", "_key", "_source_headers")

    def __init__(self, key: bytes | bytearray | memoryview) -> None:
        """Keep a copy of the key. Raises TypeError and ValueError for anything but 32 bytes."""
        kind, count = type(key).__name__, len(key) if isinstance(key, bytes | bytearray | memoryview) else None
        if count is None:
            del key  # a traceback may show this frame's locals
            msg = f"the key of SseCustomer must be {KEY_BYTES} bytes, not {kind}; decode a text with base64.b64decode"
            raise TypeError(msg)
        if count != KEY_BYTES:
            del key
            msg = f"the key of SseCustomer has {count} bytes, and must have {KEY_BYTES}: os.urandom(32) makes one"
            raise ValueError(msg)
        self._key = bytes(key)
        encoded = Secret(b64encode(self._key).decode())
        digest = b64encode(md5(self._key, usedforsecurity=False).digest()).decode()
        values = {"algorithm": "AES256", "key": encoded, "key-md5": digest}
        self._headers = {f"{CUSTOMER}{name}": value for name, value in values.items()}
        self._source_headers = {f"{_OF_SOURCE}{name}": value for name, value in values.items()}

    def __repr__(self) -> str:
        return "SseCustomer(<a secret>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SseCustomer) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "SseCustomer cannot be pickled: its key would be written down; make it anew where it is needed"
        raise TypeError(msg)


Encryption = Literal["AES256"] | SseKms | SseCustomer
"""``"AES256"``: the service's own key."""

EncryptionFeature = Literal["sse_s3", "sse_kms", "sse_c"]


def check_encryption(value: Encryption | None) -> None:
    """Raise ValueError for a value that names no encryption of an object that is written."""
    if value is not None and value != "AES256" and not isinstance(value, SseKms | SseCustomer):
        kind = type(value).__name__
        shown = f"{value!r}" if isinstance(value, str) and value.startswith("aws:") else kind
        del value  # it may be a key
        msg = f"encryption must be 'AES256', SseKms(...) or SseCustomer(key), not {shown}"
        raise ValueError(msg)


def check_key(name: str, value: Encryption | None) -> None:
    """Raise ValueError for anything but a customer's key: a reader needs to give no other."""
    if value is not None and not isinstance(value, SseCustomer):
        kind = type(value).__name__
        del value
        msg = f"{name} must be SseCustomer(key), not {kind}: what the service encrypted with its own keys it decrypts itself"
        raise ValueError(msg)


def headers_of(encryption: Encryption | None) -> Mapping[str, str]:
    """Return the headers of a request that stores an object, or that reads one with a customer's key."""
    if encryption is None:
        return {}
    if isinstance(encryption, SseCustomer):
        return encryption._headers  # noqa: SLF001 - they hold the key, so they are no public attribute
    if isinstance(encryption, str):
        return {SSE: encryption}
    headers = {SSE: "aws:kms"}
    if encryption.key_id is not None:
        headers[f"{SSE}-aws-kms-key-id"] = encryption.key_id
    if encryption.context:
        headers[f"{SSE}-context"] = b64encode(json.dumps(dict(encryption.context)).encode()).decode()
    return headers


def source_headers_of(key: SseCustomer | None) -> Mapping[str, str]:
    """Return the headers of a copy whose source has this key."""
    return {} if key is None else key._source_headers  # noqa: SLF001 - as above


def feature_of(encryption: Encryption) -> EncryptionFeature:
    if encryption == "AES256":
        return "sse_s3"
    return "sse_kms" if isinstance(encryption, SseKms) else "sse_c"
