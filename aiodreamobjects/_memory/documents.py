"""The XML of requests and replies."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from xml.etree import ElementTree as ET

from aiodreamobjects._memory.calls import Reply
from aiodreamobjects._memory.codes import Code, S3Error

Node: TypeAlias = "tuple[str, str | int | Sequence[Node]]"
"""An element: its name, behind which attributes may follow, and its text or its children."""

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

# Replies


def document(name: str, children: str | Sequence[Node], headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply whose body is this document."""
    return _reply(f"{name} {NAMESPACE}", children, headers)


def error_reply(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None, facts: Sequence[Node] = ()
) -> Reply:
    """Return a reply with S3's error document, which is in no namespace."""
    request_id = uuid.uuid4().hex[:16]
    told = [("Code", code), ("Message", message), *facts, ("RequestId", request_id)]
    reply = _reply("Error", told, {"x-amz-request-id": request_id, **(headers or {})})
    return Reply(status, reply.headers, reply.body)


def _reply(name: str, content: str | Sequence[Node], headers: Mapping[str, str] | None) -> Reply:
    body = f"{DECLARATION}{_element(name, content)}".encode()
    return Reply(headers={"Content-Type": "application/xml", **(headers or {})}, body=body)


def _element(name: str, content: str | int | Sequence[Node]) -> str:
    if isinstance(content, int):
        content = str(content)
    inner = _escaped(content) if isinstance(content, str) else "".join([_element(*child) for child in content])
    return f"<{name}>{inner}</{name.partition(' ')[0]}>"


def _escaped(text: str) -> str:
    """Escape as S3 does: control characters become references, even though XML 1.0 forbids them."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text)


_MARKUP = re.compile(r"[&<>\"\x00-\x1f]")


def optional(name: str, value: str | None) -> list[Node]:
    return [] if value is None else [(name, value)]


def iso(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='milliseconds')[:23]}Z"  # it is UTC


def truth(value: object) -> str:
    return "true" if value else "false"


# Requests


def parsed(body: bytes, root_name: str) -> ET.Element:
    try:
        root = ET.fromstring(body)  # noqa: S314 - of whoever tests with this service
    except ET.ParseError:
        raise S3Error(Code.MalformedXML) from None
    if root.tag.rpartition("}")[2] != root_name:
        raise S3Error(Code.MalformedXML)
    return root


def text_in(element: ET.Element, name: str) -> str | None:
    """Return the text of a child, or of a descendant such as ``Owner/ID``."""
    return element.findtext("/".join(f"{{*}}{part}" for part in name.split("/")))
