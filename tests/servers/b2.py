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
import re
import ssl
from dataclasses import replace
from pathlib import Path

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import Call
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.engine import Asked, Engine
from aiodreamobjects._memory.server import Exchange, Listener
from aiodreamobjects._memory.store import Store
from servers.threads import ThreadedServer

REGION = "us-east-005"
ACCESS_KEY = "0055b2stub0000000000000001"
SECRET_KEY = "K005not/a+secret/of+anybody/at"
HEADERS = re.compile(
    r"x-amz-(acl|content-sha256|date|meta-.+|metadata-directive|server-side-encryption|storage-class"
    r"|copy-source(-range|-if-(none-)?match|-if-(un)?modified-since)?)"
)
ONLY_VALUES = {"x-amz-server-side-encryption": "AES256", "x-amz-storage-class": "STANDARD"}


class B2Dialect(Dialect):
    """Refuses checksum headers, chunked signing, and whatever else is not in its list."""

    def check_headers(self, call: Call) -> None:
        if call.method == "PUT" and not {"content-length", "transfer-encoding"} & call.headers.keys():
            raise S3Error(Code.MissingContentLength)
        for name, value in call.amz.items():
            if not HEADERS.fullmatch(name):
                raise S3Error(Code.InvalidArgument, f"Unsupported header '{name}' received for this API call.")
            if value != ONLY_VALUES.get(name, value):
                raise S3Error(Code.InvalidArgument, f"Unsupported value '{value}' for header '{name}'.")
        if "aws-chunked" in call.headers.get("content-encoding", ""):
            raise S3Error(Code.InvalidArgument, "Unsupported header 'content-encoding' received for this API call.")
        if call.amz.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            msg = "Unsupported value of header 'x-amz-content-sha256': no chunked signing."
            raise S3Error(Code.InvalidArgument, msg)


def backblaze_b2() -> Dialect:
    return replace(
        B2Dialect.of(replace(dream.US_EAST_5, region=REGION), ACCESS_KEY, SECRET_KEY),
        acl_refusal=Code.InvalidArgument,
        needs_md5=True,
        taken_names=frozenset({"taken-by-another"}),
        versioning="Enabled",
        keeps_all_versions=True,
        smallest_part=5_000_000,
        metadata_bytes=7000,
        metadata_counts_all=True,
        tells_parts=False,
    )


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
        self._engine = _RecordingEngine(Store(backblaze_b2()))
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

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Exchange(self._engine, reader, writer).answer_all()


class _RecordingEngine(Engine):
    def __init__(self, store: Store) -> None:
        super().__init__(store, lambda _: None)
        self.calls: list[Call] = []

    def arrive(self, call: Call) -> Asked:
        self.calls.append(call)
        return super().arrive(call)
