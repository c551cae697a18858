"""The options of reads and writes. The public verb makes a frozen value of them, and hands it down unchanged.

To add an option, add it to the arguments, to the value, and to the table of headers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, TypeVar, cast, get_args

from aiodreamobjects._checks import (
    check_extra_headers,
    check_field_name,
    check_field_value,
    check_one_of,
    check_token,
    http_date_of,
)
from aiodreamobjects._encryption import Encryption, SseCustomer, check_encryption, check_key, feature_of, headers_of
from aiodreamobjects._later import Later
from aiodreamobjects._models import CannedAcl, Checksum, RetentionMode, Verify, check_canned_acl
from aiodreamobjects._service import Feature

if TYPE_CHECKING:
    from aiodreamobjects import _bucket_settings as values
    from aiodreamobjects._bucket_settings import Retention
else:
    values = Later("aiodreamobjects._bucket_settings")

V = TypeVar("V", bound=Callable[..., object])

META = "x-amz-meta-"
LOCK_MODE, LOCK_UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
LEGAL_HOLD = "x-amz-object-lock-legal-hold"
NOTHING: Final[Mapping[str, str]] = {}
BYPASS: Final[Mapping[str, str]] = {"x-amz-bypass-governance-retention": "true"}
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
    """The options of ``put``, ``upload``, ``writer``, ``copy_to`` and ``move_to``.

    ``copy_to`` and ``move_to`` keep a header that is not given. ``None`` removes one.
    """

    acl: CannedAcl | None
    headers: Mapping[str, str] | None
    encryption: Encryption | None
    retention: Retention | None
    legal_hold: bool | None
    checksum: Checksum | None
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
    encryption: Encryption | None = None
    retention: Retention | None = None
    legal_hold: bool | None = None
    checksum: Checksum | None = None
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
        if self.encryption is not None:
            check_encryption(self.encryption)
            stored |= headers_of(self.encryption)
        if self.has_lock:
            stored |= self.lock_headers()
        object.__setattr__(self, "_stored", stored)
        check_token("if_match", self.if_match)
        if self.if_absent and self.if_match is not None:
            msg = f"if_absent and if_match={self.if_match!r} exclude each other: choose one"
            raise ValueError(msg)
        check_one_of("verify", self.verify, _VERIFY)
        if self.checksum is not None:
            check_one_of("checksum", self.checksum, get_args(Checksum))

    @classmethod
    def of(cls, given: Mapping[str, object]) -> WriteOptions:
        """Return the value for a verb's arguments, which are some of ``WriteArguments``."""
        if not given:
            return PLAIN
        if unknown := given.keys() - WriteArguments.__annotations__.keys():
            msg = f"unknown option {min(unknown)!r}; there are {', '.join(sorted(WriteArguments.__annotations__))}"
            raise TypeError(msg)
        return cls(**cast(WriteArguments, given))

    @property
    def reads(self) -> ReadOptions:
        """Return what a read of the written object needs: the customer's key, if there is one."""
        return reads_with(self.encryption)

    @property
    def feature(self) -> Feature | None:
        """Return the feature for which some services may refuse this write."""
        if self.acl is not None:
            return "object_acl"
        if self.encryption is not None:
            return feature_of(self.encryption)
        return "checksums" if self.checksum is not None else None

    @property
    def has_lock(self) -> bool:
        return self.retention is not None or self.legal_hold is not None

    def lock_headers(self) -> dict[str, str]:
        """Return the headers that lock the object. A new object has no legal hold, so ``False`` needs none."""
        if self.legal_hold is not None and not isinstance(self.legal_hold, bool):
            msg = f"legal_hold must be True or False, not {self.legal_hold!r}"
            raise ValueError(msg)
        headers = {LEGAL_HOLD: "ON"} if self.legal_hold else {}
        if self.retention is not None:
            if not isinstance(self.retention, values.Retention):
                msg = f"retention must be Retention(mode, until), not {self.retention!r}"
                raise ValueError(msg)
            kept = checked_retention(self.retention.mode, self.retention.until)
            headers[LOCK_MODE], headers[LOCK_UNTIL] = kept.mode, iso_of(kept.until)
        return headers

    def part_headers(self) -> Mapping[str, str]:
        """Return the headers that each part of an upload repeats: the customer's key."""
        return headers_of(self.encryption) if isinstance(self.encryption, SseCustomer) else NOTHING

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

    def checksum_headers(self) -> Mapping[str, str]:
        """Return the headers that ask the service to compute a checksum itself, and keep it."""
        return {"x-amz-checksum-algorithm": self.checksum.upper()} if self.checksum is not None else NOTHING

    def condition_headers(self) -> Mapping[str, str]:
        """Return the conditions, for the request that makes the object appear."""
        if self.if_absent:
            return {"if-none-match": "*"}
        # Without quotes: Ceph RGW 16.2 refuses them here, and S3's own examples have none.
        return NOTHING if self.if_match is None else {"if-match": unquoted(self.if_match) or ""}


class _Lock(NamedTuple):
    mode: RetentionMode
    until: datetime


def checked_retention(mode: RetentionMode | None, until: datetime | None) -> _Lock:
    """Return the retention of an object. Raise ValueError unless it has a mode, and a time with a time zone."""
    if mode is None or until is None:
        msg = "the retention of an object needs a mode and a time: Retention('GOVERNANCE', until)"
        raise ValueError(msg)
    found = values.Retention(mode, until)
    if found.until is None:
        msg = f"the retention of an object needs a time, not a number of days: datetime.now(UTC) + timedelta({until!r})"
        raise ValueError(msg)
    return _Lock(found.mode, found.until)


def iso_of(moment: datetime) -> str:
    """Return a time as Object Lock writes it: in whole seconds, and never earlier than given."""
    return (moment.astimezone(UTC) + timedelta(microseconds=999_999)).strftime("%Y-%m-%dT%H:%M:%SZ")


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


class LookArguments(TypedDict, total=False):
    """The options of ``head`` and ``exists``, and of all reads."""

    version_id: str | None
    encryption: SseCustomer | None
    headers: Mapping[str, str] | None


class ReadArguments(LookArguments, total=False):
    """The options of ``read`` and ``download``."""

    verify: Verify


class GetArguments(ReadArguments, total=False):
    """The options of ``get``."""

    if_match: str | None
    if_none_match: str | None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Which version to read, under which conditions and with which key, and whether to compare the bytes with the ETag."""

    if_match: str | None = None
    if_none_match: str | None = None
    version_id: str | None = None
    verify: Verify = "auto"
    encryption: SseCustomer | None = None
    headers: Mapping[str, str] | None = None
    """Further headers, which the library sends as they are."""
    _sent: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_token("if_match", self.if_match)
        check_token("if_none_match", self.if_none_match)
        check_token("version_id", self.version_id)
        check_one_of("verify", self.verify, _VERIFY)
        conditions = {"if-match": self.if_match, "if-none-match": self.if_none_match}
        sent = {name: quoted(etag) for name, etag in conditions.items() if etag is not None}
        if self.headers:
            check_extra_headers(self.headers)
            sent |= {name.lower(): value for name, value in self.headers.items()}
        if self.encryption is not None:
            check_key("encryption", self.encryption)
            sent |= headers_of(self.encryption)
        object.__setattr__(self, "_sent", sent)

    @classmethod
    def of(cls, given: Mapping[str, object]) -> ReadOptions:
        """Return the value for a verb's arguments, which are some of ``GetArguments``."""
        if not given:
            return ANY
        if unknown := given.keys() - GetArguments.__annotations__.keys():
            msg = f"unknown option {min(unknown)!r}; there are {', '.join(sorted(GetArguments.__annotations__))}"
            raise TypeError(msg)
        return cls(**cast(GetArguments, given))

    def pinned(self, etag: str | None) -> ReadOptions:
        """Return the same options for exactly the state with this ETag. With None, for any state."""
        if etag == self.if_match and self.if_none_match is None:
            return self
        return replace(self, if_match=etag, if_none_match=None)

    def sent(self) -> Mapping[str, str]:
        """Return the headers of a request."""
        return self._sent

    def query(self) -> Mapping[str, str]:
        return {"versionId": self.version_id} if self.version_id else NOTHING


ANY: Final = ReadOptions()
"""Reads the newest version, without a condition."""


def reads_with(encryption: Encryption | None) -> ReadOptions:
    """Return what a read of an object with this encryption needs."""
    return ReadOptions(encryption=encryption) if isinstance(encryption, SseCustomer) else ANY


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


def shows(arguments: type[Any], *, keeps: bool = False, others: Mapping[str, object] | None = None) -> Callable[[V], V]:
    """Make ``help()`` and the documentation show each option of a verb that takes ``**options``.

    With ``keeps``, they show that the verb keeps headers that are not given. ``others`` are the defaults of further options.
    """

    def show(verb: V) -> V:
        given = inspect.signature(verb)
        kept = [one for one in given.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        defaults = {option.name: option.default for option in (*fields(ReadOptions), *fields(WriteOptions))}
        defaults |= others or {}
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
