"""A session's settings: frozen values, checked when made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from aiodreamobjects._errors import CredentialsError

KIB, MIB = 1 << 10, 1 << 20
LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a session does at once.

    ``requests`` are in flight at most; as many bodies may be open for streaming beside them, so that a task that
    reads one object while it writes another never waits for itself. ``requests_per_second`` spreads the starts of
    requests evenly; a service with a rate limit (Backblaze B2 documents one per account) is then not overrun.

    An object larger than ``part_size`` bytes goes in parts, ``parts_per_object`` of them at once; the parts become
    larger where 10,000 of this size would not do. ``memory`` bytes are held by the parts of all transfers together: a
    transfer whose next part does not fit waits for its turn, and a part larger than all of it goes alone.
    ``upload_bytes_per_second`` and ``download_bytes_per_second`` are shared by all that the session sends and receives.
    """

    requests: int = 64
    parts_per_object: int = 8
    part_size: int = 8 * MIB
    memory: int = 256 * MIB
    upload_bytes_per_second: float | None = None
    download_bytes_per_second: float | None = None
    requests_per_second: float | None = None

    def __post_init__(self) -> None:
        for name in ("requests", "parts_per_object", "part_size", "memory"):
            _check_whole(f"Limits.{name}", getattr(self, name), least=1)
        for name in ("upload_bytes_per_second", "download_bytes_per_second", "requests_per_second"):
            if getattr(self, name) is not None:
                _check_positive(f"Limits.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long silence is borne, in seconds. Total time is the caller's: ``anyio.fail_after``.

    ``connect``: for a TCP and TLS connection. ``read`` and ``write``: without a single byte. ``low_speed``: in bytes
    per second; a body that is slower than this over a whole ``read`` window (``write`` for uploads) is cut as if it
    were silent. Only time spent waiting for the peer counts.

    ``pool``: a call waits for a place among ``Limits.requests``, or for ``Limits.memory``, as long as others come free or
    move bytes; it fails when nothing did for so many seconds. ``None`` waits for ever.
    """

    connect: float = 10.0
    read: float = 60.0
    write: float = 60.0
    low_speed: float = 10 * KIB
    pool: float | None = 30.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "write"):
            _check_positive(f"Timeouts.{name}", getattr(self, name))
        check_seconds("Timeouts.low_speed", self.low_speed)
        if self.pool is not None:
            _check_positive("Timeouts.pool", self.pool)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is tried, and how long is waited in between.

    Before attempt n + 1 the wait is random between 0 and ``min(cap, base * 2 ** (n - 1))`` seconds ("full jitter"),
    but not less than the service's ``Retry-After``, which itself counts up to ``cap``. ``attempts=1`` never
    retries, except once when the service says that this machine's clock is wrong or that credentials have expired
    which can be renewed, and where bytes are damaged or the reply is to another question.
    """

    attempts: int = 8
    base: float = 0.1
    cap: float = 20.0

    def __post_init__(self) -> None:
        _check_whole("Retry.attempts", self.attempts, least=1)
        _check_positive("Retry.base", self.base)
        _check_positive("Retry.cap", self.cap)


class Secret(str):
    """Text that no repr shows: neither a log, nor an error, nor a traceback with its locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a secret>"


def hide(value: str | None) -> Secret | None:
    """Return a secret that was given, so that it cannot be shown. What is no text becomes one that is refused."""
    if value is None:
        return None
    return Secret(str.__str__(value) if isinstance(value, str) else "\n")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key and its secret, which no repr shows."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise CredentialsError for what no header can carry. The value is not shown."""
        object.__setattr__(self, "secret_key", hide(self.secret_key))
        object.__setattr__(self, "session_token", hide(self.session_token))
        for name, value in (("access key", self.access_key), ("session token", self.session_token or "-")):
            if not isinstance(value, str) or not re.fullmatch("[!-~]+", value):
                msg = f"the {name} must be printable US-ASCII without blanks; is a line end in it?"
                raise CredentialsError(msg)
        if not self.secret_key or not self.secret_key.isprintable():
            msg = "the secret key must be printable text; is a line end in it?"
            raise CredentialsError(msg)


def _check_whole(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        msg = f"{name} must be a whole number of at least {least}, not {value!r}"
        raise ValueError(msg)


def check_seconds(name: str, value: object) -> None:
    """Raise ValueError unless it is a number of seconds, or none at all."""
    if value != 0 or isinstance(value, bool):
        _check_positive(name, value)


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST:
        msg = f"{name} must be a positive number, not {value!r}"
        raise ValueError(msg)
