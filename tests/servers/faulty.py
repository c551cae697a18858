"""An S3 service in memory that breaks as its rules say, and knows afterwards whether its client kept the rules."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import Call, Reply, md5_hex
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.server import Listener
from aiodreamobjects._memory.store import Content, Store
from servers.rules import Asked, Meanwhile, Rule, RuleEngine, RuleExchange
from servers.threads import ThreadedServer

ACCESS_KEY = "FAULTY0ACCESS0KEY"
SECRET_KEY = "faulty/secret+of/nobody"
REGION = "us-east-1"
LACKS: frozenset[dream.Feature] = frozenset({"tagging", "policy", "website", "presigned_post", "sigv2"})
PATIENCE_SECONDS = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the server does in its thread, which sets no event of ours. TimeoutError if it does not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
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
        self._engine = _LockedEngine(self._lock)
        self._listener = Listener(self._handle)
        self._numbers = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """No rules, no buckets, nothing asked."""
        with self._lock:
            self.dialect = Dialect(
                ACCESS_KEY, SECRET_KEY, REGION, refuses=LACKS, smallest_part=1, metadata_bytes=7000, tells_parts=False
            )
            self._store = Store(self.dialect)
            self.log: list[Asked] = []
            self._engine.start_again(self._store, self.log.append)
            self.accepted = 0
            """How many connections there were."""
            self.expected_uploads: list[str] = []
            """Keys of uploads that the test means to leave open."""
            self.expected_files: list[str] = []
            """Names of temporary files and journals that it means to keep."""

    @property
    def rules(self) -> Sequence[Rule]:
        return self._engine.rules

    @property
    def endpoint(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<FaultyServer {len(self.rules)} rules, {len(self.log)} requests>"

    # The test's side

    def will(self, *rules: Rule) -> None:
        """Break by these rules from now on, and by no others."""
        self._engine.rules = rules

    @property
    def service(self) -> dream.Service:
        """As a client is told of it: its parts may be of any size, and nothing need be found out first."""
        service = dream.Service.for_endpoint(self.endpoint)
        return replace(service, region=REGION, multipart=dream.MultipartRules(smallest_part=1), is_known=True)

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
            self._store.create(name).versioning = "Enabled" if keeps_versions else None
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
        ends = time.monotonic() + seconds
        while self.open_connections:
            assert time.monotonic() < ends, f"{self.open_connections} connections are open"
            time.sleep(0.001)

    @property
    def open_connections(self) -> int:
        return len(self._listener.tasks)

    def end_connections(self) -> None:
        """All that are open, whatever is under way on them."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tuple(self._listener.tasks)])

    def change(self, bucket: str, meanwhile: Meanwhile) -> None:
        with self._lock:
            self._engine.change(bucket, meanwhile)

    # The thread and its loop

    async def _serve(self) -> None:
        self._loop.set_exception_handler(lambda *_: None)  # clients end as they like
        self._listening.set_result(await self._listener.open(0, self._context))
        await self._stopping.wait()
        await self._listener.aclose()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await RuleExchange(self._engine, reader, writer, next(self._numbers)).answer_all()


class _LockedEngine(RuleEngine):
    """Its thread and the test's look at the same state."""

    def __init__(self, lock: threading.RLock) -> None:
        super().__init__(Store(Dialect("", "", "")), lambda _: None)
        self._lock = lock

    def start_again(self, store: Store, note: Callable[[Asked], object]) -> None:
        """Also for connections that are open already."""
        super().__init__(store, note)

    def change(self, bucket: str, meanwhile: Meanwhile) -> None:
        with self._lock:
            super().change(bucket, meanwhile)

    def meet(self, call: Call, connection: int) -> Asked:
        with self._lock:
            return super().meet(call, connection)

    def work(self, call: Call) -> Reply:
        with self._lock:
            return super().work(call)


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
