"""An S3 client that sends header values as bytes, signed, and gives back those of the answer as they came."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, bytes]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class ByteClient:
    """For plain http and signatures of version 4. Each request has a connection of its own, and it blocks."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def send(
        self, method: str, path: str, headers: Mapping[str, bytes] | None = None, body: bytes = b"", query: str = ""
    ) -> Answer:
        host = urlsplit(self.endpoint).netloc
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        sent = {
            **(headers or {}),
            "host": host.encode(),
            "x-amz-date": stamp.encode(),
            "x-amz-content-sha256": b"UNSIGNED-PAYLOAD",
        }
        names = ";".join(sorted(sent))
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        lines = [name.encode() + b":" + re.sub(rb"[ \t]{2,}", b" ", sent[name]) for name in sorted(sent)]
        canonical = [method.encode(), path.encode(), query.encode(), *lines, b"", names.encode(), b"UNSIGNED-PAYLOAD"]
        digest = hashlib.sha256(b"\n".join(canonical)).hexdigest()
        key = f"AWS4{self.secret_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
        credential = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}"
        sent["authorization"] = f"{credential}, SignedHeaders={names}, Signature={signature}".encode()
        sent |= {"content-length": str(len(body)).encode(), "connection": b"close"}
        head = f"{method} {path}{'?' if query else ''}{query} HTTP/1.1\r\n".encode()
        head += b"".join([name.encode() + b": " + value + b"\r\n" for name, value in sent.items()])
        return _exchange(host, head + b"\r\n" + body)


def _exchange(host: str, request: bytes) -> Answer:
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=20) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    headers = {name.decode().lower(): value.strip(b" \t") for name, _, value in pairs}
    return Answer(int(status_line.split()[1]), headers, body)
