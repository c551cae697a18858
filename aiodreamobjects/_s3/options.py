"""The options of reads and writes. The public verb makes a frozen value of them, and hands it down unchanged.

To add an option, add it to the arguments, to the value, and to the table of headers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final, TypedDict, TypeVar, cast, get_args

from aiodreamobjects._checks import (
    check_extra_headers,
    check_field_name,
    check_field_value,
    check_one_of,
    check_token,
    http_date_of,
)
from aiodreamobjects._models import CannedAcl, Verify, check_canned_acl

V = TypeVar("V", bound=Callable[..., object])

META = "x-amz-meta-"
NOTHING: Final[Mapping[str, str]] = {}
_VERIFY = get_args(Verify)

# What is stored with an object


class HeaderArguments(TypedDict, total=False):
    """The options of ``set_headers``. It keeps a header that is not given. ``None`` removes one."""

    content_type: str | None
    metadata: Mapping[str, str] | None
    cache_control: str | None
    content_disposition: str | None
    content_encoding: str | None
    content_language: str | None
    expires: str | datetime | None
    website_redirect: str | None
    storage_class: str | None


class ContentArguments(HeaderArguments, total=False):
    """The options of ``put``, ``upload``, ``writer`` and ``copy_to``.

    ``copy_to`` keeps a header that is not given. ``None`` removes one.
    """

    acl: CannedAcl | None
    headers: Mapping[str, str] | None
    if_absent: bool
    if_match: str | None


class WriteArguments(ContentArguments, total=False):
    """The options of ``put``, ``upload`` and ``writer``."""

    verify: Verify


def check_header_names(verb: str, given: Mapping[str, object]) -> None:
    """Raise TypeError for an argument that ``set_headers`` does not have."""
    if unknown := given.keys() - HeaderArguments.__annotations__.keys():
        msg = f"{verb}() got an unexpected keyword argument {min(unknown)!r}"
        raise TypeError(msg)


def check_headers_given(verb: str, given: Mapping[str, object]) -> None:
    """Raise ValueError if no header is given, and TypeError for an argument that ``set_headers`` does not have."""
    check_header_names(verb, given)
    if not given:
        msg = f"{verb}() needs a header to change, such as cache_control="
        raise ValueError(msg)


HEADERS: Final[Mapping[str, str]] = {
    "content_type": "content-type",
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
    "content_encoding": "content-encoding",
    "content_language": "content-language",
    "expires": "expires",
    "website_redirect": "x-amz-website-redirect-location",
}
"""The header of each option that the service stores, and returns with the object."""
_ALL_HEADERS: Final[Mapping[str, str]] = {**HEADERS, "storage_class": "x-amz-storage-class", "acl": "x-amz-acl"}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What a write stores besides the bytes, and its conditions. Raises ValueError for a value that no header can carry."""

    content_type: str | None = None
    metadata: Mapping[str, str] | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    expires: str | datetime | None = None
    website_redirect: str | None = None
    storage_class: str | None = None
    acl: CannedAcl | None = None
    headers: Mapping[str, str] | None = None
    """Further headers, which the library sends as they are."""
    if_absent: bool = False
    """Write only if there is no object yet."""
    if_match: str | None = None
    """Write only if the present object has this ETag."""
    verify: Verify = "auto"
    carried: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Headers of a copy's source, as its service sent them: each character is a byte. Other options override them."""
    _stored: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stored = dict(self.carried)
        given = [(name, value) for name in _ALL_HEADERS if (value := getattr(self, name)) is not None]
        for name, value in given:
            if name == "acl":
                check_canned_acl(value)
            elif isinstance(value, datetime) and name == "expires":
                object.__setattr__(self, name, http_date_of(name, value))
            else:
                check_field_value(name, value)
            if value:  # an empty value means no header
                stored[_ALL_HEADERS[name]] = getattr(self, name)
        if self.metadata:
            _check_metadata(self.metadata)
            stored |= {f"{META}{name.lower()}": value for name, value in self.metadata.items()}
        if self.headers:
            check_extra_headers(self.headers)
            stored |= {name.lower(): value for name, value in self.headers.items()}
        object.__setattr__(self, "_stored", stored)
        check_token("if_match", self.if_match)
        if self.if_absent and self.if_match is not None:
            msg = f"if_absent and if_match={self.if_match!r} exclude each other: choose one"
            raise ValueError(msg)
        check_one_of("verify", self.verify, _VERIFY)

    @classmethod
    def of(cls, given: Mapping[str, object]) -> WriteOptions:
        """Return the value for a verb's arguments, which are some of ``WriteArguments``."""
        if unknown := given.keys() - WriteArguments.__annotations__.keys():
            msg = f"unknown option {min(unknown)!r}; there are {', '.join(sorted(WriteArguments.__annotations__))}"
            raise TypeError(msg)
        return cls(**cast(WriteArguments, given)) if given else PLAIN

    @property
    def is_conditional(self) -> bool:
        return self.if_absent or self.if_match is not None

    @property
    def has_headers(self) -> bool:
        """Whether there is any header or metadata to store, given or carried over."""
        is_given = self.metadata is not None or any(getattr(self, name) is not None for name in HEADERS)
        return is_given or bool(self.carried)

    def put_headers(self) -> Mapping[str, str]:
        """Return the headers of a request that stores an object in one go."""
        return {**self._stored, **self.condition_headers()} if self.is_conditional else self._stored

    def content_headers(self) -> Mapping[str, str]:
        """Return the headers of a request that begins an upload. Each character is a byte."""
        return self._stored

    def condition_headers(self) -> Mapping[str, str]:
        """Return the conditions, for the request that makes the object appear."""
        if self.if_absent:
            return {"if-none-match": "*"}
        # Without quotes: Ceph RGW 16.2 refuses them here, and S3's own examples have none.
        return NOTHING if self.if_match is None else {"if-match": unquoted(self.if_match) or ""}


PLAIN: Final = WriteOptions()
"""No options."""


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if not isinstance(metadata, Mapping):
        msg = f"metadata must be a mapping such as {{'color': 'black'}}, not {type(metadata).__name__}"
        raise TypeError(msg)
    if len({name.lower() for name in metadata if isinstance(name, str)}) != len(metadata):
        msg = f"metadata names {sorted(metadata)} differ only in case: S3 ignores case, so choose other names"
        raise ValueError(msg)
    for name, value in metadata.items():
        check_field_name("metadata name", name)
        check_field_value(f"metadata {name!r}", value)


# What is read


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The conditions of a read, the version to read, and whether to compare the bytes with the ETag."""

    if_match: str | None = None
    if_none_match: str | None = None
    version_id: str | None = None
    verify: Verify = "auto"
    _headers: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_token("if_match", self.if_match)
        check_token("if_none_match", self.if_none_match)
        check_token("version_id", self.version_id)
        check_one_of("verify", self.verify, _VERIFY)
        conditions = {"if-match": self.if_match, "if-none-match": self.if_none_match}
        headers = {name: quoted(etag) for name, etag in conditions.items() if etag is not None}
        object.__setattr__(self, "_headers", headers)

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def query(self) -> Mapping[str, str]:
        return {"versionId": self.version_id} if self.version_id else NOTHING


# ETags in headers


def unquoted(etag: str | None) -> str | None:
    """Return the ETag without its quotes. A weak ETag keeps them."""
    return etag[1:-1] if etag and len(etag) > 1 and etag[0] == etag[-1] == '"' else etag or None


def quoted(etag: str) -> str:
    return etag if etag == "*" or etag.endswith('"') else f'"{etag}"'


# Signatures


class _Kept:
    """The default that ``help()`` shows where a missing argument and ``None`` mean different things."""

    def __repr__(self) -> str:
        return "<kept>"


_KEPT: Final = _Kept()


def shows(arguments: type[HeaderArguments], *, keeps: bool = False) -> Callable[[V], V]:
    """Make ``help()`` and the documentation show each option of a verb that takes ``**options``.

    With ``keeps``, they show that the verb keeps headers that are not given.
    """

    def show(verb: V) -> V:
        given = inspect.signature(verb)
        kept = [one for one in given.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        defaults = {option.name: option.default for option in fields(WriteOptions)}
        if keeps:
            defaults |= dict.fromkeys(HeaderArguments.__annotations__, _KEPT)
        options = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation.__forward_arg__
            )
            for name, annotation in arguments.__annotations__.items()
        ]
        verb.__signature__ = given.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]  # inspect's own protocol
        return verb

    return show
