"""A service in memory that is served from a thread of its own, for clients that block."""

from __future__ import annotations

import functools
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from aiodreamobjects.testing import MemoryService, Served
from servers.threads import ThreadedServer


@functools.cache
def boto_session() -> boto3.session.Session:
    """One for all tests that give keys and an endpoint: to make a client takes a fifth of the time by it."""
    return boto3.session.Session()


class ServedService(ThreadedServer):
    """Serves ``service`` for as long as the ``with`` block lasts; ``served`` says where."""

    served: Served

    def __init__(self, service: MemoryService, *, tls: bool = False) -> None:
        super().__init__("memory-s3")
        self.service, self._tls = service, tls

    def client(self, *, signature: str = "s3v4", **settings: Any) -> Any:
        """A boto3 client that tries once."""
        config = Config(signature_version=signature, s3={"addressing_style": "path"}, retries={"max_attempts": 0})
        given = {
            "endpoint_url": self.served.endpoint,
            "aws_access_key_id": self.served.access_key,
            "aws_secret_access_key": self.served.secret_key,
            "region_name": "us-east-1",
            "verify": self.served.ca and str(self.served.ca),
            "config": config,
        }
        return boto_session().client("s3", **{**given, **settings})

    async def _serve(self) -> None:
        async with self.service.serve(tls=self._tls) as self.served:
            self._listening.set_result(urlsplit(self.served.endpoint).port or 0)
            await self._stopping.wait()


@contextmanager
def client_of(server: ServedService, **settings: Any) -> Iterator[Any]:
    client = server.client(**settings)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code


def send(
    server: ServedService, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """A request as it is, to a server of http."""
    parts = urlsplit(server.served.endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request(method, target, body or None, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
