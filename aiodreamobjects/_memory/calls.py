"""A request, parsed, and its reply: the same for a transport in this process and for a socket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Literal
from urllib.parse import unquote_plus, unquote_to_bytes

from aiodreamobjects._memory.codes import Code, S3Error

Level = Literal["service", "bucket", "object"]

NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(frozen=True)
class Call:
    """A request: header names in lower case, the query decoded; ``target`` is the path and query exactly as received.

    Header values are text in latin-1, so that each character is a byte as it was sent.
    """

    method: str
    target: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)
    trailers: Mapping[str, str] = field(default_factory=dict)
    """Checksums that came after the body. They are not part of what is signed."""

    @property
    def level(self) -> Level:
        return "object" if self.key else "bucket" if self.bucket else "service"

    @cached_property
    def md5(self) -> str:
        """The body's MD5, computed once."""
        return md5_hex(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def call_of(method: str, target: str, lines: Iterable[str], host: str | None = None) -> Call:
    """Parse a request's head. ``lines`` are its header lines, without their ends.

    Buckets are addressed by the path; also by a subdomain of ``host``, if one is given.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path, _, raw_query = target.partition("?")
    query = {unquote_plus(name): unquote_plus(value) for name, value in query_pairs(raw_query)}
    place = unquote_to_bytes(path[1:].encode("latin-1")).decode(errors="surrogateescape")
    asked_host = headers.get("host", "")
    if host is not None and asked_host.endswith(f".{host}"):
        return Call(method, target, asked_host.removesuffix(f".{host}"), place, query, headers, b"")
    bucket, _, key = place.partition("/")
    return Call(method, target, bucket, key, query, headers, b"")


def query_pairs(raw_query: str) -> list[tuple[str, str]]:
    """Split a query into its pairs, still encoded. A name without ``=`` has an empty value, as signing wants it."""
    pairs = (part.partition("=") for part in raw_query.split("&") if part)
    return [(name, value) for name, _, value in pairs]


def with_body(call: Call, body: bytes) -> Call:
    """Return the call with its body. The framing of ``aws-chunked`` is removed."""
    if not call.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return replace(call, body=body)
    body, trailers = _unchunked(body)
    return replace(call, body=body, trailers=trailers)


def _unchunked(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the content of the chunks, and the trailing headers. The signatures of chunks are not checked."""
    pieces, position = [], 0
    try:
        while True:
            end = body.index(b"\r\n", position)
            size = int(body[position:end].partition(b";")[0], 16)
            position = end + 2
            if not size:
                break
            pieces.append(body[position : position + size])
            position += size + 2
    except ValueError:
        raise S3Error(Code.IncompleteBody) from None
    lines = body[position:].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    trailers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return b"".join(pieces), {name: value for name, value in trailers.items() if name.startswith("x-amz-checksum-")}


def response_headers(reply: Reply, now: datetime, request_id: str) -> dict[str, str]:
    """Return all headers of a response whose body is sent as it is."""
    told = {"x-amz-request-id": request_id, "Date": http_date(now.replace(microsecond=0)), **reply.headers}
    names = {name.lower() for name in told}
    if reply.status not in NO_BODY and not names & {"content-length", "transfer-encoding"}:
        told["Content-Length"] = str(len(reply.body))
    return told


@lru_cache(maxsize=16)
def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
