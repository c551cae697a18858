"""The storage options: checked when the filesystem is made, and all that a pickle of it carries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import aiodreamobjects as dream
from aiodreamobjects.fsspec._border import tokenize

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
    *("max_paths", "skip_instance_cache", "use_listings_cache", "version_aware"),
)


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
            raise TypeError(
                _unknown(f"no storage option {min(unknown)!r}", {*known, *OF_FSSPEC, *ALIASES, "client_kwargs"})
            )
        options = cls(**{name: value for name, value in settled.items() if value is not None})
        options.limits_or_default()
        return options

    def limits_or_default(self) -> dream.Limits:
        """Return the limits. Raise TypeError or ValueError for wrong ones."""
        if self.limits is None:
            return dream.Limits()
        if isinstance(self.limits, dream.Limits):
            return self.limits
        if not isinstance(self.limits, Mapping):
            msg = f"limits must be a mapping such as {{'requests': 64}}, not {self.limits!r}"
            raise TypeError(msg)
        known = {field.name for field in fields(dream.Limits)}
        if unknown := self.limits.keys() - known:
            raise TypeError(_unknown(f"limits has no {min(unknown)!r}", known))
        return dream.Limits(**self.limits)

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
        )

    @property
    def token(self) -> str:
        """Return the same text for the same options, without the secrets."""
        values = [getattr(self, field.name) for field in fields(self)]
        return tokenize(
            *[str(value) if isinstance(value, str) else value for value in values]
        )  # a subclass may hide itself


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
