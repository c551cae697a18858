"""A strict S3 service in memory that answers as Backblaze B2, the service behind DreamObjects US-East 5, documents it.

It stands in for a service that cannot be run at home, so it refuses what B2 refuses: plain http, signature version 2,
checksum headers and chunked signing, object ACLs other than the bucket's, tagging, policies, website hosting, browser
posts, conditional puts, and bucket names with dots. Versioning is always on.

Sources: "Backblaze S3-Compatible API", "S3-Compatible API Call Reference", "File Versions", "Large Files", "Rate
Limits" and "Error Handling" in the Backblaze documentation; DreamHost's knowledge base on DreamObjects buckets and
permissions. Where these are silent the stand-in takes the stricter reading: every `x-amz-` header must be signed.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from aiohttp import web

from servers.s3 import Call, Reply, Seen, answer, error_reply, query_pairs
from servers.store import Dialect, Store
from servers.threads import ThreadedServer

if TYPE_CHECKING:
    import os

REGION = "us-east-005"
ACCESS_KEY = "0055b2stub0000000000000001"
SECRET_KEY = "K005not/a+secret/of+anybody/at"
SMALLEST_PART_BYTES = 5_000_000
LARGEST_REQUEST_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to answer with, instead of the work or after it."""

    method: str | None
    contains: str
    reply: Reply
    after: bool

    def matches(self, call: Call) -> bool:
        return self.method in (None, call.method) and self.contains in call.target


@dataclass(frozen=True, slots=True)
class Drop:
    """A reply to break off."""

    method: str
    contains: str
    after_bytes: int

    def matches(self, call: Call) -> bool:
        return self.method == call.method and self.contains in call.target


class B2Server(ThreadedServer):
    """Serves at `endpoint` for as long as the `with` block lasts, from a thread of its own, each time with no buckets.

    The certificate must be good for the address 127.0.0.1. `requests` lists what arrived, in order, faults included.
    """

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    region = REGION

    def __init__(self, cert_file: str | os.PathLike[str], key_file: str | os.PathLike[str]) -> None:
        super().__init__("b2-stub")
        self.requests: list[Seen] = []
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(cert_file, key_file)
        dialect = Dialect(ACCESS_KEY, SECRET_KEY, REGION, is_b2=True, keeps_versions=True)
        dialect.smallest_part = SMALLEST_PART_BYTES
        self._store = Store(dialect)
        self._failures: list[Failure] = []
        self._drops: list[Drop] = []

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<B2Server requests={len(self.requests)}>"

    @property
    def pending_faults(self) -> int:
        return len(self._failures) + len(self._drops)

    def fail_next(
        self,
        *,
        method: str | None = None,
        contains: str = "",
        status: int = HTTPStatus.SERVICE_UNAVAILABLE,
        code: str = "SlowDown",
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        after: bool = False,
    ) -> None:
        """Answer the next requests with this error, instead of doing the work or (`after`) although it was done.

        `contains` is looked for in the path and query as sent, percent-encoding and all.
        """
        reply = error_reply(status, code, "A fault that the test asked for.", headers)
        self._failures += [Failure(method, contains, reply, after)] * times

    def drop_next(self, *, method: str | None = None, contains: str = "", times: int = 1, after_bytes: int = 0) -> None:
        """Announce the whole length of the next replies, then close the connection after `after_bytes` of the body.

        Without a method, replies to GET. Of a reply that has no body nothing is sent at all.
        """
        self._drops += [Drop(method or "GET", contains, after_bytes)] * times

    # The thread and its loop

    async def _serve(self) -> None:
        # Bodies are stored as they come: aiohttp must not unpack those that say Content-Encoding: gzip.
        server = web.Server(
            self._handle,
            access_log=None,
            auto_decompress=False,
            max_line_size=LARGEST_REQUEST_LINE_BYTES,
            max_field_size=LARGEST_REQUEST_LINE_BYTES,
        )
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls).start()
            self._listening.set_result(runner.addresses[0][1])
            await self._stopping.wait()
        finally:
            await _abort_connections(server)
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path  # the one spelling that neither aiohttp nor yarl has touched
        path, _, raw_query = target.partition("?")
        query = {unquote_plus(name): unquote_plus(value) for name, value in query_pairs(raw_query)}
        headers = {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}
        self.requests.append(Seen(request.method, path, query, headers))

        if headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await request.content.read()
        except (ConnectionError, web.RequestPayloadError):
            return web.Response(status=HTTPStatus.BAD_REQUEST)  # nobody is left to read it
        bucket, _, key = unquote(path[1:], errors="surrogateescape").partition("/")
        call = Call(request.method, target, bucket, key, query, headers, body)
        return await self._send(request, call, self._faulty_answer(call))

    def _faulty_answer(self, call: Call) -> Reply:
        failure = next((one for one in tuple(self._failures) if one.matches(call)), None)
        if failure is None:
            return answer(self._store, call)
        self._failures.remove(failure)
        if failure.after:
            answer(self._store, call)
        return failure.reply

    async def _send(self, request: web.BaseRequest, call: Call, reply: Reply) -> web.StreamResponse:
        headers = {"x-amz-request-id": uuid.uuid4().hex[:16], "x-amz-id-2": uuid.uuid4().hex, **reply.headers}
        drop = next((one for one in tuple(self._drops) if one.matches(call)), None)
        if drop is None:
            body = b"" if call.method == "HEAD" and reply.status >= HTTPStatus.BAD_REQUEST else reply.body
            if call.method == "HEAD":
                headers["Content-Length"] = str(len(body))
            return web.Response(status=reply.status, headers=headers, body=body)
        self._drops.remove(drop)
        broken = web.StreamResponse(status=reply.status, headers=headers)
        if reply.body:
            broken.content_length = len(reply.body)
            await broken.prepare(request)
            await broken.write(reply.body[: drop.after_bytes])
        if request.transport is not None:
            request.transport.close()
        return broken


async def _abort_connections(server: web.Server) -> None:
    """Close at once: a client that keeps its connections open would have TLS wait for it to say goodbye."""
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0)
