"""The storage options: checked when the filesystem is made, and all that a pickle of it carries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import aiodreamobjects as dream
from aiodreamobjects.fsspec._border import tokenize

if TYPE_CHECKING:  # the names would import half the library
    T = TypeVar("T", dream.Limits, dream.Timeouts, dream.Retry)

ALIASES = {"key": "access_key", "secret": "secret_key", "token": "session_token", "endpoint_url": "endpoint"}
"""Names that s3fs has for the same."""
CLIENT_ALIASES = {
    "endpoint_url": "endpoint",
    "region_name": "region",
    "aws_access_key_id": "access_key",
    "aws_secret_access_key": "secret_key",
    "aws_session_token": "session_token",
}
"""The keys of s3fs's ``client_kwargs`` that mean the same."""
OF_FSSPEC = (
    *("asynchronous", "batch_size", "default_block_size", "default_cache_type", "listings_expiry_time", "loop"),
    *("max_paths", "s3_additional_kwargs", "skip_instance_cache", "use_listings_cache", "version_aware"),
)
"""What the filesystem takes for itself, and what fsspec takes."""
INSTEAD = {
    "config_kwargs": "limits={'requests': 64}, timeouts={'read': 60} and retry={'attempts': 8}",
    "max_concurrency": "limits={'requests': 64}",
    "use_ssl": "the scheme of the endpoint: https:// or http://",
    "verify": "ca='authority.pem'",
}
"""What takes the place of options that s3fs has."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a session needs to know."""

    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    profile: str | None = None
    region: str | None = None
    service: Any = None
    ca: str | os.PathLike[str] | None = None
    anon: bool = False
    limits: Any = None
    timeouts: Any = None
    retry: Any = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Take the options by their names or aliases. Raise TypeError for an unknown one, and for one given twice."""
        settled: dict[str, Any] = {}
        for name, value in given.items():
            if name == "client_kwargs":
                for inner, inner_value in _checked_client(value).items():
                    _settle(settled, CLIENT_ALIASES[inner], inner_value, f"client_kwargs[{inner!r}]")
            else:
                _settle(settled, ALIASES.get(name, name), value, name)
        known = {field.name for field in fields(cls)}
        if unknown := settled.keys() - known:
            name = min(unknown)
            what = f"no storage option {name!r}" + (f", use {INSTEAD[name]}" if name in INSTEAD else "")
            raise TypeError(_unknown(what, {*known, *OF_FSSPEC, *ALIASES, "client_kwargs"}))
        options = cls(**{name: value for name, value in settled.items() if value is not None})
        options.limits_or_default()
        options.timeouts_or_default()
        options.retry_or_default()
        return options

    def limits_or_default(self) -> dream.Limits:
        """Return the limits. Raise TypeError or ValueError for wrong ones."""
        return _made(dream.Limits, "limits", self.limits, {"requests": 64})

    def timeouts_or_default(self) -> dream.Timeouts:
        """Return the timeouts. Raise as ``limits_or_default`` does."""
        return _made(dream.Timeouts, "timeouts", self.timeouts, {"read": 60})

    def retry_or_default(self) -> dream.Retry:
        """Return how requests are tried again. Raise as ``limits_or_default`` does."""
        return _made(dream.Retry, "retry", self.retry, {"attempts": 8})

    def session(self, service: dream.Service | None = None) -> dream.Session:
        """Return a session that is not open yet; ``service`` is all that is known about the service, if it is known."""
        is_anonymous = bool(self.anon)
        # As in s3fs, keys count for nothing then: after a PermissionError pandas adds anon=True to the options that it was given.
        keys = (None, None, None) if is_anonymous else (self.access_key, self.secret_key, self.session_token)
        return dream.Session(
            self.profile,
            anonymous=is_anonymous,
            access_key=keys[0],
            secret_key=keys[1],
            session_token=keys[2],
            endpoint=None if service else self.endpoint,
            region=None if service else self.region,
            service=service or self.service,
            ca=self.ca,
            limits=self.limits_or_default(),
            timeouts=self.timeouts_or_default(),
            retry=self.retry_or_default(),
        )

    @property
    def token(self) -> str:
        """Return the same text for the same options, without the secrets."""
        values = [getattr(self, field.name) for field in fields(self)]
        return tokenize(
            *[str(value) if isinstance(value, str) else value for value in values]
        )  # a subclass may hide itself


def _made(kind: type[T], name: str, given: Any, example: dict[str, int]) -> T:
    """Return a value of this class, from its fields."""
    if given is None:
        return kind()
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        msg = f"{name} must be a mapping such as {example}, not {given!r}"
        raise TypeError(msg)
    known = {field.name for field in fields(kind)}
    if unknown := given.keys() - known:
        raise TypeError(_unknown(f"{name} has no {min(unknown)!r}", known))
    return kind(**given)


def _settle(settled: dict[str, Any], name: str, value: Any, given_as: str) -> None:
    if value is None:
        return
    if settled.get(name, value) != value:
        msg = f"the storage option {name!r} is given twice, once as {given_as!r}: leave one out"
        raise TypeError(msg)
    settled[name] = value


def _checked_client(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        msg = f"client_kwargs must be a mapping such as {{'endpoint_url': 'https://…'}}, not {value!r}"
        raise TypeError(msg)
    if unknown := value.keys() - CLIENT_ALIASES.keys():
        raise TypeError(_unknown(f"client_kwargs has no {min(unknown)!r} here", set(CLIENT_ALIASES)))
    return value


def _unknown(what: str, known: set[str]) -> str:
    return f"DreamObjectsFileSystem: {what}; there are: {', '.join(sorted(known))}"
