"""The bare limit of Python on small requests: an asyncio protocol, httptools, SigV4 by hand, and nothing else.

No timeouts, no retries, no errors beyond a status that is not 2xx, no values: the yardstick, not a client.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from benchmarks.clients import Service

RECEIVE_BYTES = 64 << 10


class Reply(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    """Names are as they were received."""
    body: bytes

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    def size(self) -> int:
        """Return Content-Length."""
        return next(int(value) for name, value in self.headers.items() if name.lower() == b"content-length")


class Signer:
    """SigV4 for S3 with an unsigned payload. Keeps the key of the day and the date of the second."""

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self._access_key, self._secret_key, self._region = access_key, secret_key, region
        self._second, self._day = 0, ""
        self._date, self._scope, self._key = "", "", b""

    def head(self, method: str, host: str, path: str, length: int | None = None) -> bytes:
        """Make a request up to its empty line. The path is sent and signed as it is."""
        now = int(time.time())
        if now != self._second:
            self._turn_to(now)
        canonical = (
            f"{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{self._date}\n\n"
            "host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{self._date}\n{self._scope}\n{digest}"
        signature = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        content_length = "" if length is None else f"content-length: {length}\r\n"
        return (
            f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{content_length}"
            f"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: {self._date}\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={self._access_key}/{self._scope}, "
            f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}\r\n\r\n"
        ).encode()

    def _turn_to(self, now: int) -> None:
        self._second, self._date = now, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        if self._date[:8] == self._day:
            return
        self._day = self._date[:8]
        key = ("AWS4" + self._secret_key).encode()
        for word in (self._day, self._region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        self._key, self._scope = key, f"{self._day}/{self._region}/s3/aws4_request"


class Connection(asyncio.BaseProtocol):
    """What both ways to receive have in common."""

    def __init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self.on_header, self.on_body = self._headers.__setitem__, self._chunks.append
        self._parser: Any = httptools.HttpResponseParser(self)
        self._has_body = True
        self._answer: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it
        self._loop = asyncio.get_running_loop()

    def request(self, data: bytes, *, has_body: bool) -> asyncio.Future[Reply]:
        self._answer = self._loop.create_future()
        self._headers.clear()
        self._chunks.clear()
        self._has_body = has_body
        self.transport.write(data)
        return self._answer

    def on_headers_complete(self) -> None:
        if not self._has_body:  # the parser would wait for a body
            self.on_message_complete()
            self._parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        assert self._answer
        status = self._parser.get_status_code()
        self._answer.set_result(Reply(status, {**self._headers}, b"".join(self._chunks)))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed by the server"))


class PlainConnection(Connection, asyncio.Protocol):
    """The usual protocol, with which the goals were set.

    asyncio's own loop allocates 256 KiB at each read, which costs from nothing to two page faults and half of all the
    CPU time, depending on what the heap looks like.
    """

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """Receives into memory of its own, as the library does."""

    def __init__(self) -> None:
        super().__init__()
        self._view = memoryview(bytearray(RECEIVE_BYTES))

    def get_buffer(self, _: int) -> memoryview:
        return self._view

    def buffer_updated(self, count: int) -> None:
        self._parser.feed_data(self._view[:count])


@dataclass
class Floor:
    """Requests to one server, over as many connections as there are requests at once."""

    service: Service
    make_connection: type[Connection] = PlainConnection
    _idle: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts, service = urlsplit(self.service.endpoint), self.service
        self._signer = Signer(service.access_key, service.secret_key, service.region)
        self._netloc, self._host, self._port = parts.netloc, parts.hostname or "", parts.port or 80

    async def request(self, method: str, path: str, body: bytes | None = None, *, check: bool = True) -> Reply:
        """Send a request. With ``check``, raise OSError for a status that is not 2xx."""
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(
                self.make_connection, self._host, self._port
            )
        head = self._signer.head(method, self._netloc, path, None if body is None else len(body))
        reply = await connection.request(head if body is None else head + body, has_body=method != "HEAD")
        if (
            reply.headers.get(b"Connection") == b"close"
        ):  # moto ends each connection, and a second request would wait forever
            connection.transport.close()
        else:
            self._idle.append(connection)
        if check and not reply.is_ok:
            msg = f"{method} {path}: {reply.status} {reply.body.decode(errors='replace')[:200]}"
            raise OSError(msg)
        return reply

    def close(self) -> None:
        while self._idle:
            self._idle.pop().transport.close()
