"""The messages of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import aiodreamobjects as dream

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BUSY_SECONDS = 5
"""When a client should try again if storage is busy."""
AWAY = dream.ServiceBusyError, dream.ConnectionFailedError, dream.IncompleteBodyError
"""What storage raises while it is busy or away, or breaks off its answer."""


def require_bool(name: str, value: object) -> None:
    """Raise TypeError for anything but True and False: a text such as "no" would count as True."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise TypeError(msg)


def joined_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of a request. Lines of one name are one list (RFC 9110 section 5.3)."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
