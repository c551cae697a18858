"""What a read and a write may be given: one frozen value each, made by the public verb and handed down unchanged.

To add an option, add it to the arguments and to the value, and a row to the table that makes headers of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final, TypedDict, TypeVar, get_args

from aiodreamobjects._checks import check_field_name, check_field_value, check_one_of, check_token
from aiodreamobjects._models import CannedAcl, Verify, check_canned_acl

V = TypeVar("V", bound=Callable[..., object])

# What is stored with an object


class ContentArguments(TypedDict, total=False):
    """What ``put``, ``upload``, ``writer`` and ``copy_to`` take."""

    content_type: str | None
    metadata: Mapping[str, str] | None
    cache_control: str | None
    content_disposition: str | None
    content_encoding: str | None
    storage_class: str | None
    acl: CannedAcl | None
    if_absent: bool
    if_match: str | None


class WriteArguments(ContentArguments, total=False):
    """What ``put``, ``upload`` and ``writer`` take."""

    verify: Verify


_HEADERS: Final[Mapping[str, str]] = {
    "content_type": "content-type",
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
    "content_encoding": "content-encoding",
    "storage_class": "x-amz-storage-class",
    "acl": "x-amz-acl",
}
"""The header of each option that is stored as it is given."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What is stored beside an object's bytes, and what must hold for the write to happen.

    Raises ValueError for what no header can carry.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    storage_class: str | None = None
    acl: CannedAcl | None = None
    if_absent: bool = False
    """Nothing is there yet."""
    if_match: str | None = None
    """The object that is there has this ETag."""
    verify: Verify = "auto"

    def __post_init__(self) -> None:
        for name in _HEADERS:
            value = getattr(self, name)
            if value is not None and name != "acl":
                check_field_value(name, value)
        if self.acl is not None:
            check_canned_acl(self.acl)
        if self.metadata:
            _check_metadata(self.metadata)
        check_token("if_match", self.if_match)
        if self.if_absent and self.if_match is not None:
            msg = f"if_absent and if_match={self.if_match!r} cannot both hold: choose one"
            raise ValueError(msg)
        check_one_of("verify", self.verify, get_args(Verify))

    @property
    def is_conditional(self) -> bool:
        return self.if_absent or self.if_match is not None

    @property
    def content(self) -> dict[str, object]:
        """What is stored with the object: all but the conditions and ``verify``."""
        return {name: getattr(self, name) for name in ("content_type", "metadata", *_HEADERS)}

    @property
    def changes_content(self) -> bool:
        return any(value is not None for value in self.content.values())

    def content_headers(self) -> dict[str, str]:
        """Return the headers of a request that begins to store an object."""
        headers = {f"x-amz-meta-{name.lower()}": value for name, value in (self.metadata or {}).items()}
        for name, header in _HEADERS.items():
            value: str | None = getattr(self, name)
            if value is not None:
                headers[header] = value
        return headers

    def condition_headers(self) -> dict[str, str]:
        """Return the headers of the request that makes the object appear."""
        if self.if_absent:
            return {"if-none-match": "*"}
        # Unquoted: Ceph RGW 16.2 refuses the quotes here, S3's own examples have none.
        return {} if self.if_match is None else {"if-match": unquoted(self.if_match) or ""}


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len({name.lower() for name in metadata if isinstance(name, str)}) != len(metadata):
        msg = f"metadata names {sorted(metadata)} must differ by more than case"
        raise ValueError(msg)
    for name, value in metadata.items():
        check_field_name("metadata name", name)
        check_field_value(f"metadata {name!r}", value)


# What is read


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What must hold of an object to be read, which version of it, and whether its bytes are compared with its ETag."""

    if_match: str | None = None
    if_none_match: str | None = None
    version_id: str | None = None
    verify: Verify = "auto"

    def __post_init__(self) -> None:
        check_token("if_match", self.if_match)
        check_token("if_none_match", self.if_none_match)
        check_token("version_id", self.version_id)
        check_one_of("verify", self.verify, get_args(Verify))

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.if_match is not None:
            headers["if-match"] = quoted(self.if_match)
        if self.if_none_match is not None:
            headers["if-none-match"] = quoted(self.if_none_match)
        return headers

    def query(self) -> dict[str, str]:
        return {"versionId": self.version_id} if self.version_id else {}


# ETags in headers


def unquoted(etag: str | None) -> str | None:
    """Return the ETag without its quotes. A weak one keeps them, as a part of it."""
    return etag[1:-1] if etag and len(etag) > 1 and etag[0] == etag[-1] == '"' else etag or None


def quoted(etag: str) -> str:
    return etag if etag == "*" or etag.endswith('"') else f'"{etag}"'


# Signatures


def shows(arguments: type[ContentArguments]) -> Callable[[V], V]:
    """Have ``help()`` and the documentation show each option of a verb that takes ``**options``."""

    def show(verb: V) -> V:
        given = inspect.signature(verb)
        kept = [one for one in given.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        defaults = {field.name: field.default for field in fields(WriteOptions)}
        options = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation.__forward_arg__
            )
            for name, annotation in arguments.__annotations__.items()
        ]
        verb.__signature__ = given.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]  # inspect's own protocol
        return verb

    return show
