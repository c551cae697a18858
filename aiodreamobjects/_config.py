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

    ``requests`` is the most requests in flight. As many bodies may be open for streaming in addition, so a task that
    reads one object while it writes another never waits for itself. ``requests_per_second`` spreads the starts of
    requests evenly. Set it for a service with a rate limit (Backblaze B2 documents one per account).

    An object larger than ``part_size`` bytes goes in parts, ``parts_per_object`` at once. The parts are larger if 10,000
    of this size are not enough. ``memory`` is how many bytes the parts of all transfers may hold together. A transfer
    waits if its next part does not fit; a part larger than ``memory`` goes alone. All transfers of a session share
    ``upload_bytes_per_second`` and ``download_bytes_per_second``.
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
            check_whole(f"Limits.{name}", getattr(self, name), least=1)
        for name in ("upload_bytes_per_second", "download_bytes_per_second", "requests_per_second"):
            if getattr(self, name) is not None:
                _check_positive(f"Limits.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a silent peer, in seconds. To limit the total time, use ``anyio.fail_after``.

    ``connect`` is for making a TCP and TLS connection; ``read`` and ``write`` are for waiting without a single byte.
    ``low_speed`` is in bytes per second: a body slower than this for a whole ``read`` window (``write`` for uploads) is
    cut, as if it were silent. Only time spent waiting for the peer counts.

    ``pool`` is for waiting for a place among ``Limits.requests``, or for ``Limits.memory``. A call fails if for this
    long no place or memory came free and no bytes moved. ``None`` waits forever.
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
    """How often a request is tried, and how long to wait between attempts.

    The wait before attempt n + 1 is random between 0 and ``min(cap, base * 2 ** (n - 1))`` seconds ("full jitter"), but
    at least the service's ``Retry-After``, which counts up to ``cap``. ``attempts=1`` turns retries off. One extra
    attempt is still made if the service says that this machine's clock is wrong or that renewable credentials have
    expired, if bytes arrive damaged, or if the reply belongs to another request.
    """

    attempts: int = 8
    base: float = 0.1
    cap: float = 20.0

    def __post_init__(self) -> None:
        check_whole("Retry.attempts", self.attempts, least=1)
        _check_positive("Retry.base", self.base)
        _check_positive("Retry.cap", self.cap)


class Secret(str):
    """Text whose repr hides it from logs, errors and tracebacks with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a secret>"


def hide(value: str | None) -> Secret | None:
    """Return the value as a Secret. A value that is not text becomes one that Credentials refuses."""
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
        """Raise CredentialsError for a value that a header cannot carry. The message does not show the value."""
        object.__setattr__(self, "secret_key", hide(self.secret_key))
        object.__setattr__(self, "session_token", hide(self.session_token))
        for name, value in (("access key", self.access_key), ("session token", self.session_token or "-")):
            if not isinstance(value, str) or not re.fullmatch("[!-~]+", value):
                msg = f"the {name} must be printable US-ASCII without blanks; is there a line break in it?"
                raise CredentialsError(msg)
        if not self.secret_key or not self.secret_key.isprintable():
            msg = "the secret key must be printable text; is there a line break in it?"
            raise CredentialsError(msg)


def check_whole(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        msg = f"{name} must be a whole number of at least {least}, not {value!r}"
        raise ValueError(msg)


def check_seconds(name: str, value: object) -> None:
    """Raise ValueError unless the value is 0 or a positive number of seconds."""
    if value != 0 or isinstance(value, bool):
        _check_positive(name, value)


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST:
        msg = f"{name} must be a positive number, not {value!r}"
        raise ValueError(msg)
