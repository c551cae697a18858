"""Whether a bucket's document has the shape that its type gives it, which botocore checks for the real services."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from aiodreamobjects._models import CorsRule, LifecycleRule, VersioningStatus, Website
from aiodreamobjects._wire.memory.store import refuse

_SHAPES: dict[str, Any] = {
    "cors": list[CorsRule],
    "lifecycle": list[LifecycleRule],
    "policy": dict[str, object],
    "tags": dict[str, str],
    "versioning": VersioningStatus,
    "website": Website,
}


def check_document(setting: str, value: object) -> None:
    """Raise ValueError that says what is wrong where."""
    _check(setting, value, _SHAPES[setting])


def check_rules(setting: str, value: object) -> None:
    """What the service itself refuses in a document of the right shape."""
    if setting in ("cors", "lifecycle") and not value:
        refuse("MalformedXML", "at least one rule is needed")
    if setting == "policy" and isinstance(value, dict) and "Statement" not in value:
        refuse("MalformedPolicy", "Missing required field Statement")


def _check(where: str, value: object, shape: Any) -> None:
    origin = get_origin(shape)
    if is_typeddict(shape):
        _check_members(where, value, shape)
    elif origin is Literal:
        if value not in get_args(shape):
            _refuse(f"{where} {value!r} is none of {', '.join(map(repr, get_args(shape)))}")
    elif origin is list:
        _check_type(where, value, list)
        assert isinstance(value, list)
        for number, item in enumerate(value):
            _check(f"{where}[{number}]", item, get_args(shape)[0])
    elif origin is dict:
        _check_type(where, value, dict)
        assert isinstance(value, dict)
        for name, item in value.items():
            _check_type(f"a name in {where}", name, str)
            _check(f"{where}[{name!r}]", item, get_args(shape)[1])
    else:
        _check_type(where, value, shape)


def _check_members(where: str, value: object, shape: Any) -> None:
    _check_type(where, value, dict)
    assert isinstance(value, dict)
    members = get_type_hints(shape, include_extras=True)
    for name in value:
        if name not in members:
            _refuse(f"{where} holds {name!r}; it may hold {', '.join(members)}")
    for name, member in members.items():
        is_optional = get_origin(member) is NotRequired
        if name in value:
            _check(f"{where}[{name!r}]", value[name], get_args(member)[0] if is_optional else member)
        elif shape.__total__ and not is_optional:
            _refuse(f"{where} lacks {name!r}")


def _check_type(where: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        _refuse(f"{where} is a {kind.__name__}, not {value!r}")


def _refuse(msg: str) -> None:
    raise ValueError(msg)
