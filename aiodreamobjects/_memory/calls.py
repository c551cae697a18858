"""A request, parsed, and its reply: the same for a transport in this process and for a socket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Literal
from urllib.parse import unquote_plus, unquote_to_bytes

from aiodreamobjects._memory.codes import Code, S3Error

Level = Literal["service", "bucket", "object"]

NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(slots=True)
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
    _amz: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)
    _md5: str = field(default="", init=False, repr=False, compare=False)

    @property
    def level(self) -> Level:
        return "object" if self.key else "bucket" if self.bucket else "service"

    @property
    def amz(self) -> dict[str, str]:
        """Return the headers whose names begin with ``x-amz-``."""
        if self._amz is None:
            self._amz = {name: value for name, value in self.headers.items() if name.startswith("x-amz-")}
        return self._amz

    @property
    def md5(self) -> str:
        """Return the body's MD5. It is computed once."""
        self._md5 = self._md5 or md5_hex(self.body)
        return self._md5


@dataclass(slots=True)
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
        name, value = name.strip().lower(), value.strip(" \t")  # not what is a blank in latin-1 only
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path, _, raw_query = target.partition("?")
    query = {unquote_plus(name): unquote_plus(value) for name, value in query_pairs(raw_query)} if raw_query else {}
    place = path[1:]
    if "%" in place or not place.isascii():
        place = unquote_to_bytes(place.encode("latin-1")).decode(errors="surrogateescape")
    asked_host = headers.get("host", "")
    if host is not None and asked_host.endswith(f".{host}"):
        return Call(method, target, asked_host.removesuffix(f".{host}"), place, query, headers, b"")
    bucket, _, key = place.partition("/")
    return Call(method, target, bucket, key, query, headers, b"")


def query_pairs(raw_query: str) -> list[tuple[str, str]]:
    """Split a query into its pairs, still encoded. A name without ``=`` has an empty value, as signing wants it."""
    pairs = (part.partition("=") for part in raw_query.split("&") if part)
    return [(name, value) for name, _, value in pairs]


def unchunked(call: Call) -> Call:
    """Return the call without the framing of ``aws-chunked``. The signatures of chunks are not checked."""
    if not call.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return call
    body, pieces, position = call.body, [], 0
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
    checksums = {name: value for name, value in trailers.items() if name.startswith("x-amz-checksum-")}
    return replace(call, body=b"".join(pieces), trailers=checksums)


def response_headers(reply: Reply, now: datetime, request_id: str) -> dict[str, str]:
    """Return all headers of a response whose body is sent as it is."""
    told = {"x-amz-request-id": request_id, "Date": http_date(now.replace(microsecond=0)), **reply.headers}
    if reply.status not in NO_BODY and not any(name.lower() in _FRAMING for name in told):
        told["Content-Length"] = str(len(reply.body))
    return told


_FRAMING = ("content-length", "transfer-encoding")


@lru_cache(maxsize=16)
def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
