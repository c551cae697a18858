"""The XML of requests and replies. An element is written as text, and its children are joined."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from xml.etree import ElementTree as ET

from aiodreamobjects._memory.calls import Reply
from aiodreamobjects._memory.codes import Code, S3Error

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

# Replies


def document(name: str, *children: str, headers: Mapping[str, str] | None = None, status: int = 200) -> Reply:
    """Return a reply whose body is this document."""
    body = f"{DECLARATION}<{name} {NAMESPACE}>{''.join(children)}</{name}>".encode()
    return Reply(status, {"Content-Type": "application/xml", **(headers or {})}, body)


def error_reply(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with S3's error document, which is in no namespace."""
    request_id = uuid.uuid4().hex[:16]
    told = nested("Error", element("Code", code), element("Message", message), element("RequestId", request_id))
    shown = {"x-amz-request-id": request_id, "Content-Type": "application/xml", **(headers or {})}
    return Reply(status, shown, f"{DECLARATION}{told}".encode())


def nested(name: str, *children: str) -> str:
    return f"<{name}>{''.join(children)}</{name}>"


def element(name: str, text: str | int) -> str:
    return f"<{name}>{escaped(text) if isinstance(text, str) else text}</{name}>"


def optional(name: str, text: str | None) -> str:
    return "" if text is None else element(name, text)


def escaped(text: str) -> str:
    """Escape as S3 does: control characters become references, even though XML 1.0 forbids them."""
    return text if _MARKUP.search(text) is None else _MARKUP.sub(_reference, text)


_MARKUP = re.compile(r"[&<>\"\x00-\x1f]")
_NAMES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def _reference(match: re.Match[str]) -> str:
    return _NAMES.get(match[0]) or f"&#{ord(match[0])};"


@lru_cache(maxsize=1024)
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


def texts_in(parent: ET.Element) -> dict[str, str]:
    """Return the texts of the children by their names."""
    return {child.tag.rpartition("}")[2]: child.text or "" for child in parent}


def text_in(parent: ET.Element, name: str) -> str | None:
    """Return the text of a child, or of a descendant such as ``Owner/ID``."""
    return parent.findtext("/".join([f"{{*}}{part}" for part in name.split("/")]))
