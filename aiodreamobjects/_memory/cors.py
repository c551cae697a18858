"""What a bucket's CORS rules allow a browser's page from elsewhere.

Source: Amazon S3 user guide, "Using cross-origin resource sharing (CORS)".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

from aiodreamobjects._memory.buckets import CORS_ROOT
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import parsed, text_in
from aiodreamobjects._memory.store import Store

_VARY = {"Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"}


def preflight(store: Store, call: Call) -> Reply:
    """Answer a browser that asks whether it may send a request."""
    method = call.headers.get("access-control-request-method", "")
    asked = [name.strip() for name in call.headers.get("access-control-request-headers", "").split(",") if name.strip()]
    rule = _rule_for(store, call, method, asked)
    if rule is None:
        raise S3Error(Code.AccessForbidden)
    headers = {"Access-Control-Allow-Headers": ", ".join(asked)} if asked else {}
    if age := text_in(rule, "MaxAgeSeconds"):
        headers["Access-Control-Max-Age"] = age
    return Reply(headers=headers)


def allowed(store: Store, call: Call, reply: Reply) -> Reply:
    """Return the reply, with the headers that let a page of the request's origin read it if a rule allows that."""
    method = call.headers.get("access-control-request-method", "") if call.method == "OPTIONS" else call.method
    rule = _rule_for(store, call, method, ())
    if rule is None:
        return reply
    origin, exposed = call.headers["origin"], _texts(rule, "ExposeHeader")
    is_for_all = "*" in _texts(rule, "AllowedOrigin")
    headers = {
        **reply.headers,
        **_VARY,
        "Access-Control-Allow-Origin": "*" if is_for_all else origin,
        "Access-Control-Allow-Methods": ", ".join(_texts(rule, "AllowedMethod")),
        **({"Access-Control-Expose-Headers": ", ".join(exposed)} if exposed else {}),
        **({} if is_for_all else {"Access-Control-Allow-Credentials": "true"}),
    }
    return replace(reply, headers=headers)


def _rule_for(store: Store, call: Call, method: str, names: Sequence[str]) -> ET.Element | None:
    """Return the first rule that allows this method and these headers from the request's origin."""
    bucket = store.buckets.get(call.bucket)
    kept = None if bucket is None else bucket.documents.get(CORS_ROOT)
    if kept is None:
        return None
    for rule in parsed(kept, CORS_ROOT).iterfind("{*}CORSRule"):
        if (
            method in _texts(rule, "AllowedMethod")
            and _is_like(call.headers.get("origin", ""), _texts(rule, "AllowedOrigin"))
            and all(_is_like(name.lower(), [one.lower() for one in _texts(rule, "AllowedHeader")]) for name in names)
        ):
            return rule
    return None


def _texts(rule: ET.Element, name: str) -> list[str]:
    return [element.text or "" for element in rule.iterfind(f"{{*}}{name}")]


def _is_like(text: str, patterns: Sequence[str]) -> bool:
    """Tell whether the text matches one of the patterns, in which ``*`` stands for anything."""
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) for pattern in patterns)
