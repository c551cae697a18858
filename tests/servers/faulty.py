"""An S3 service in memory that breaks as its rules say, and knows afterwards whether its client kept the rules."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import TypeVar
from urllib.parse import unquote, unquote_plus

import aiodreamobjects as dream
from servers.faults import (
    NO_BODY,
    Action,
    Asked,
    Blanks,
    Change,
    Close,
    Cut,
    Delivery,
    Drip,
    Early,
    Extra,
    Late,
    Meanwhile,
    Mishear,
    Pause,
    Raw,
    Refuse,
    Rule,
    SlowRead,
    Then,
    Unread,
)
from servers.s3 import Call, Reply, answer, claim_of, query_pairs, signature_of
from servers.sockets import reset
from servers.store import Content, Dialect, Store, md5_hex
from servers.threads import ThreadedServer

T = TypeVar("T")

ACCESS_KEY = "FAULTY0ACCESS0KEY"
SECRET_KEY = "faulty/secret+of/nobody"
REGION = "us-east-1"
LONGEST_HEAD_BYTES = 256 << 10
PATIENCE_SECONDS = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the server does in its thread, which sets no event of ours. TimeoutError if it does not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.001)


class FaultyServer(ThreadedServer):
    """Serves at ``endpoint`` while the ``with`` block lasts, from a thread and an event loop of its own.

    A request meets all rules that are meant for it, in their order. Afterwards it can be asked for what it has seen:
    ``log``, the state (``content``, ``keys``, ``uploads``), and ``check``.
    """

    access_key, secret_key, region = ACCESS_KEY, SECRET_KEY, REGION

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__("faulty-s3")
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(*certificate)
        self._lock = threading.RLock()
        self._left = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """No rules, no buckets, nothing asked."""
        with self._lock:
            self.dialect = Dialect(ACCESS_KEY, SECRET_KEY, REGION, smallest_part=1)
            self._store = Store(self.dialect)
            self.rules: tuple[Rule, ...] = ()
            self.log: list[Asked] = []
            self.accepted = 0
            """How many connections there were."""
            self.expected_uploads: list[str] = []
            """Keys of uploads that the test means to leave open."""
            self.expected_files: list[str] = []
            """Names of temporary files and journals that it means to keep."""
            self._late: list[tuple[Asked, Call]] = []
            self._random = Random(0)

    @property
    def endpoint(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<FaultyServer {len(self.rules)} rules, {len(self.log)} requests>"

    # The test's side

    def will(self, *rules: Rule) -> None:
        """Break by these rules from now on, and by no others."""
        self.rules = rules

    @property
    def service(self) -> dream.Service:
        """As a client is told of it: its parts may be of any size."""
        service = dream.Service.for_endpoint(self.endpoint)
        return replace(service, region=REGION, multipart=dream.MultipartRules(smallest_part=1))

    def session(self, **settings: object) -> dream.Session:
        """A session to it that waits next to nothing between attempts, and not long for a silent peer."""
        given = {
            "service": self.service,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "retry": dream.Retry(attempts=4, base=0.001, cap=0.01),
            "timeouts": dream.Timeouts(connect=5, read=0.5, write=0.5),
        }
        return dream.Session(**{**given, **settings})  # type: ignore[arg-type]  # each by its name

    def make_bucket(self, name: str, *, keeps_versions: bool = False) -> str:
        with self._lock:
            self._store.create(name, "private").keeps_versions = keeps_versions
        return name

    def put(self, bucket: str, key: str, body: bytes, *, etag: str | None = None, metadata: str | None = None) -> str:
        """An object that is there; its ETag. Another than its MD5 is one that tells nothing."""
        etag = etag or md5_hex(body)
        headers = {"content-type": "binary/octet-stream"} | ({"x-amz-meta-mtime": metadata} if metadata else {})
        with self._lock:
            self._store.bucket(bucket).add(key, Content(body, etag, headers))
        return etag

    def begin_upload(self, bucket: str, key: str) -> str:
        """A multipart upload that is open, without a part; its id."""
        with self._lock:
            return self._store.bucket(bucket).begin_upload(key, {}).upload_id

    def content(self, bucket: str, key: str) -> bytes | None:
        """None for an object that is not there."""
        with self._lock:
            version = self._store.bucket(bucket).newest(key)
            return None if version is None or version.is_marker else version.content.body

    def keys(self, bucket: str) -> list[str]:
        with self._lock:
            return sorted(version.key for version in self._store.bucket(bucket).objects())

    def versions(self, bucket: str) -> int:
        with self._lock:
            return len(list(self._store.bucket(bucket).versions()))

    def uploads(self, bucket: str) -> list[str]:
        """The keys of those that are open."""
        with self._lock:
            return sorted(upload.key for upload in self._store.bucket(bucket).uploads.values())

    def upload_ids(self, bucket: str) -> set[str]:
        with self._lock:
            return set(self._store.bucket(bucket).uploads)

    def buckets(self) -> list[str]:
        with self._lock:
            return sorted(self._store.buckets)

    def asked(self, *ops: str) -> list[Asked]:
        """What arrived, in order; of these operations only, where they are named."""
        return [asked for asked in self.log if not ops or asked.op in ops]

    @property
    def ops(self) -> list[str]:
        return [asked.op for asked in self.log]

    def check(self, *, all_fired: bool = True) -> None:
        """Raise AssertionError where a rule never struck, or the client broke one of those of multipart uploads."""
        if all_fired:
            idle = [rule for rule in self.rules if not rule.fired and not rule.may_be_idle]
            assert not idle, f"never struck: {idle}"
        check_uploads(self.log)

    def wait_until_left(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Until no client has a connection here any more."""
        with self._left:
            assert self._left.wait_for(lambda: not self._tasks, seconds), f"{len(self._tasks)} connections are open"

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    def end_connections(self) -> None:
        """All that are open, whatever is under way on them."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tuple(self._tasks)])

    # The thread and its loop

    async def _serve(self) -> None:
        self._loop.set_exception_handler(lambda *_: None)  # clients end as they like
        server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, ssl=self._context, limit=LONGEST_HEAD_BYTES, backlog=4096
        )
        self._listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        exchange = _Exchange(self, reader, writer, self.accepted)
        try:
            while await exchange.answer():
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()
            with self._left:
                self._tasks.discard(task)
                self._left.notify_all()

    def strike(self, asked: Asked) -> tuple[Action, ...]:
        with self._lock:
            struck = [rule for rule in self.rules if rule.strikes(asked, self._random)]
            asked.actions = tuple(action for rule in struck for action in rule.actions)
            self.log.append(asked)
            return asked.actions

    def work(self, call: Call) -> Reply:
        with self._lock:
            return answer(self._store, call)

    def mishear(self, mishear: Mishear, call: Call) -> Call:
        """Signed, where it was rightly signed as it came."""
        misheard, claim = mishear.of(call), claim_of(call)
        if claim is None or "authorization" not in call.headers:
            return misheard
        scope = claim.credential.partition("/")[2]
        if signature_of(SECRET_KEY, call, claim, scope) != claim.signature:
            return misheard
        signature = signature_of(SECRET_KEY, misheard, claim, scope)
        signed = call.headers["authorization"].replace(claim.signature, signature)
        return replace(misheard, headers={**misheard.headers, "authorization": signed})

    def change(self, bucket: str, meanwhile: Meanwhile) -> None:
        with self._lock:
            meanwhile.change(self._store.bucket(bucket))

    def keep_for_later(self, asked: Asked, call: Call) -> None:
        self._late.append((asked, call))

    def carry_out_late(self, asked: Asked) -> None:
        due = [call for late, call in self._late if (late.op, late.key, late.part) == (asked.op, asked.key, asked.part)]
        self._late = [(late, call) for late, call in self._late if call not in due]
        for call in due:
            self.work(call)


class _Exchange:
    """One connection, and the request that is on it."""

    def __init__(
        self, server: FaultyServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._server, self._reader, self._writer, self._number = server, reader, writer, number
        # What was drained has left. Over TLS, asyncio takes a limit of 0 as reached by an empty buffer, and waits for ever.
        writer.transport.set_write_buffer_limits(high=1, low=0)

    async def answer(self) -> bool:
        """Whether the connection is kept for another one."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        call = _call_of(head)
        asked = _asked_of(call, self._number)
        actions = self._server.strike(asked)
        if call.headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        early = next((action for action in actions if isinstance(action, Early)), None)
        if early:
            await self._deliver(call.method, Reply(headers=early.headers), None)
        is_unread = any(isinstance(action, Unread) for action in actions)
        if not is_unread:
            slow = next((action for action in actions if isinstance(action, SlowRead)), None)
            body = await self._read(int(call.headers.get("content-length", 0)), slow)
            call = _with_body(call, body)
        for action in actions:
            match action:
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Meanwhile():
                    self._server.change(call.bucket, action)
                case Mishear():
                    call = self._server.mishear(action, call)
                case Late():
                    self._server.keep_for_later(asked, call)
                    self.reset()
        reply = self._reply(asked, call, actions)
        delivery = next((one for one in actions if isinstance(one, Delivery)), None)
        asked.is_plain = not any(isinstance(one, Cut | Raw | Change | Early) for one in actions)
        is_told = not any(isinstance(one, Cut | Raw) for one in actions)
        asked.is_refused = is_told and any(isinstance(one, Refuse) and one.is_definite for one in actions)
        if not early:
            await self._deliver(call.method, reply, delivery)
        self._server.carry_out_late(asked)
        return not is_unread

    async def _read(self, size: int, slow: SlowRead | None) -> bytes:
        if slow is None:
            return await self._reader.readexactly(size)
        body = bytearray()
        while len(body) < size:
            body += await self._reader.readexactly(min(slow.bytes_per_step, size - len(body)))
            await asyncio.sleep(slow.seconds_between)
        return bytes(body)

    def _reply(self, asked: Asked, call: Call, actions: Iterable[Action]) -> Reply:
        reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR)
        if all(getattr(action, "is_done", True) for action in actions):
            reply = self._server.work(call)
            asked.status = reply.status
        for action in actions:
            if isinstance(action, Change):
                reply = action.of(reply)
        return reply

    async def _deliver(self, method: str, reply: Reply, delivery: Delivery | None) -> None:
        body = b"" if method == "HEAD" or reply.status in NO_BODY else reply.body
        head = self._head(reply, is_in_chunks=isinstance(delivery, Blanks))
        match delivery:
            case None:
                await self._send(head + body)
            case Cut(at, then):
                if at is not None:
                    await self._send(head[:at] if at < 0 else head + body[:at])
                await self._end(then)
            case Raw(data, then):
                await self._send(data)
                await self._end(then)
            case Drip(step, seconds):
                await self._send(head)
                for start in range(0, len(body), step):
                    await self._send(body[start : start + step])
                    await asyncio.sleep(seconds)
            case Blanks(count, seconds):
                await self._send(head)
                for _ in range(count):
                    await self._send(b"1\r\n \r\n")
                    await asyncio.sleep(seconds)
                chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                await self._send(chunk + b"0\r\n\r\n")
            case Extra(data, seconds):
                await self._send(head + body + (b"" if seconds else data))
                if seconds:
                    await asyncio.sleep(seconds)
                    await self._send(data)
            case Close(then):
                await self._send(head + body)
                await self._end(then)

    def _head(self, reply: Reply, *, is_in_chunks: bool) -> bytes:
        date = self._server.dialect.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
        told = {"x-amz-request-id": f"tx{len(self._server.log)}", "Date": date, **reply.headers}
        names = {name.lower() for name in told}
        if is_in_chunks:
            told["Transfer-Encoding"] = "chunked"
        elif reply.status not in NO_BODY and not names & {"content-length", "transfer-encoding"}:
            told["Content-Length"] = str(len(reply.body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return f"HTTP/1.1 {int(reply.status)} Faulty\r\n{lines}\r\n".encode("latin-1")

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _end(self, then: Then) -> None:
        if then == "silence":
            while await self._reader.read(1 << 16):
                pass
        elif then == "reset":
            self.reset()
        raise ConnectionAbortedError

    def reset(self) -> None:
        reset(self._writer)
        raise ConnectionAbortedError


def _call_of(head: bytes) -> Call:
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = request_line.split(" ")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    path, _, raw_query = target.partition("?")
    query = {unquote_plus(name): unquote_plus(value) for name, value in query_pairs(raw_query)}
    bucket, _, key = unquote(path[1:], errors="surrogateescape").partition("/")
    return Call(method, target, bucket, key, query, headers, b"")


def _with_body(call: Call, body: bytes) -> Call:
    """Without the chunks of ``aws-chunked``, which some clients send."""
    headers = dict(call.headers)
    if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        body = _unchunked(body)
        encodings = [one.strip() for one in headers.pop("content-encoding", "").split(",")]
        if kept := [one for one in encodings if one and one != "aws-chunked"]:
            headers["content-encoding"] = ",".join(kept)
    return replace(call, body=body, headers=headers)


def _unchunked(body: bytes) -> bytes:
    data, position = b"", 0
    while True:
        end = body.index(b"\r\n", position)
        size = int(body[position:end].partition(b";")[0], 16)
        if not size:
            return data
        data += body[end + 2 : end + 2 + size]
        position = end + 4 + size


def _asked_of(call: Call, connection: int) -> Asked:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", ""))
    byte_range = (int(found[1]), int(found[2]) if found[2] else None) if found else None
    number = call.query.get("partNumber", "")
    return Asked(
        operation_name(call),
        call.bucket,
        call.key or call.query.get("prefix", ""),
        call.query.get("uploadId"),
        int(number) if number.isdecimal() else None,
        byte_range,
        call.headers,
        connection,
        time.monotonic(),
    )


_BUCKET_SUBRESOURCES = {
    "acl": "BucketAcl",
    "cors": "BucketCors",
    "lifecycle": "BucketLifecycle",
    "location": "BucketLocation",
    "policy": "BucketPolicy",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
_PLAIN = {
    ("GET", "service"): "ListBuckets",
    ("PUT", "bucket"): "CreateBucket",
    ("HEAD", "bucket"): "HeadBucket",
    ("DELETE", "bucket"): "DeleteBucket",
    ("GET", "bucket"): "ListObjects",
    ("GET", "object"): "GetObject",
    ("HEAD", "object"): "HeadObject",
    ("DELETE", "object"): "DeleteObject",
    ("POST", "object"): "PostObject",
}
_OF_UPLOADS = {
    "GET": "ListParts",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}


def operation_name(call: Call) -> str:  # noqa: PLR0911 - a table with a few rows that are rules
    query, method, level = call.query, call.method, call.level
    is_copy = "x-amz-copy-source" in call.headers
    if level == "bucket":
        if "list-type" in query:
            return "ListObjectsV2"
        if "versions" in query:
            return "ListObjectVersions"
        if "uploads" in query:
            return "ListMultipartUploads"
        if "delete" in query:
            return "DeleteObjects"
        if name := next((name for name in query if name in _BUCKET_SUBRESOURCES), None):
            return method.title() + _BUCKET_SUBRESOURCES[name]
    if level == "object":
        if "uploads" in query:
            return "CreateMultipartUpload"
        if "uploadId" in query:
            return _OF_UPLOADS.get(method) or ("UploadPartCopy" if is_copy else "UploadPart")
        if "acl" in query or "tagging" in query:
            return method.title() + ("ObjectAcl" if "acl" in query else "ObjectTagging")
        if method == "PUT":
            return "CopyObject" if is_copy else "PutObject"
    return _PLAIN.get((method, level), f"{method} {level}")


def check_uploads(log: Sequence[Asked]) -> None:
    """No request for an upload after its Abort; no Abort while nobody can know what became of its Complete.

    A part that was cancelled, and whose connection ended with it, may be read after the Abort that followed.
    """
    aborted: set[str] = set()
    in_doubt: dict[str, str] = {}
    ends = {asked.connection: asked for asked in log}
    for asked in log:
        upload_id = asked.upload_id
        is_proof = asked.is_plain and asked.op in ("ListParts", "HeadObject", "CompleteMultipartUpload")
        if is_proof:
            in_doubt = {one: key for one, key in in_doubt.items() if key != asked.key}
        if upload_id is None:
            continue
        if upload_id in aborted and not (asked.part is not None and asked is ends[asked.connection]):
            assert asked.op in ("ListParts", "AbortMultipartUpload"), f"{asked.op} after an Abort of {asked.key}"
        if asked.op == "AbortMultipartUpload":
            assert upload_id not in in_doubt, f"an Abort of {asked.key}, which may be complete"
            if asked.status == HTTPStatus.NO_CONTENT:
                aborted.add(upload_id)
        if asked.op == "CompleteMultipartUpload" and not asked.is_plain and not asked.is_refused:
            in_doubt[upload_id] = asked.key
