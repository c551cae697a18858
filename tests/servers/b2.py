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
from pathlib import Path

from aiodreamobjects._memory.calls import Call
from aiodreamobjects._memory.dialects import backblaze_b2
from aiodreamobjects._memory.engine import Engine
from aiodreamobjects._memory.exchange import Exchange
from aiodreamobjects._memory.faults import Asked
from aiodreamobjects._memory.server import Listener
from aiodreamobjects._memory.store import Store
from servers.threads import ThreadedServer

REGION = "us-east-005"
ACCESS_KEY = "0055b2stub0000000000000001"
SECRET_KEY = "K005not/a+secret/of+anybody/at"


class B2Server(ThreadedServer):
    """Serves at `endpoint` for as long as the `with` block lasts, from a thread of its own, each time with no buckets.

    The certificate must be good for the address 127.0.0.1. `requests` lists what arrived, in order.
    """

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    region = REGION

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        super().__init__("b2-stub")
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(cert_file, key_file)
        self._engine = _RecordingEngine(Store(backblaze_b2(ACCESS_KEY, SECRET_KEY, REGION)))
        self._listener = Listener(self._handle)

    @property
    def requests(self) -> list[Call]:
        return self._engine.calls

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<B2Server requests={len(self.requests)}>"

    # The thread and its loop

    async def _serve(self) -> None:
        self._listening.set_result(await self._listener.open(0, self._tls))
        await self._stopping.wait()
        await self._listener.aclose()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await Exchange(self._engine, reader, writer, number).answer_all()


class _RecordingEngine(Engine):
    def __init__(self, store: Store) -> None:
        super().__init__(store, lambda _: None)
        self.calls: list[Call] = []

    def arrive(self, call: Call, connection: int = 0) -> Asked:
        self.calls.append(call)
        return super().arrive(call, connection)
