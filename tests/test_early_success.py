"""A success that is answered before the end of the request's body is none: what the service has not got it cannot keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from servers.raw import Peer, RawServer, Request

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.values import Part

RECEIVE_BUFFER = 16 << 10
"""Of the server's kernel: what does not fit in it is still with the client when the answer arrives."""
SIZES = (150_000, 300_000, 3 << 20)
"""In one piece, in two, and in many."""
PARTS = 4000
KEYS = [f"{'k' * 300}{number:04}" for number in range(1000)]
SMALL_PARTS = dream.MultipartRules(smallest_part=1)
Verb = Callable[[dream.Session, bytes], Awaitable[object]]


def reply(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    told = {"Content-Length": str(len(body)), "ETag": '"opaque"', **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Early\r\n{lines}\r\n".encode() + body


async def put(session: dream.Session, data: bytes) -> object:
    return await session.object("s3://bucket/early").put(data)


async def put_in_parts(session: dream.Session, data: bytes) -> object:
    return await session.object("s3://bucket/early").put(data + data)


async def complete(session: dream.Session, data: bytes) -> object:
    del data  # it is the list of the parts that is long
    parts = [Part(number, "0" * 32, 1) for number in range(1, PARTS + 1)]
    s3 = session._runtime.s3
    return await s3.complete_upload(Address("bucket", "early"), "id", parts, WriteOptions())


async def delete_many(session: dream.Session, data: bytes) -> object:
    del data
    return await session.bucket("bucket").delete_many(KEYS)


CREATED = b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
COMPLETED = b"<CompleteMultipartUploadResult><ETag>opaque</ETag></CompleteMultipartUploadResult>"
NO_UPLOAD = b"<Error><Code>NoSuchUpload</Code></Error>"


def answer_to(request: Request) -> bytes:
    if request.method == "POST":
        return reply(CREATED if request.path.endswith("?uploads=") or "uploads" in request.path else COMPLETED)
    if request.method == "GET":
        return reply(NO_UPLOAD, 404)
    return reply(status=204) if request.method == "DELETE" else reply()


def all_deleted() -> bytes:
    deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in KEYS)
    return f"<DeleteResult>{deleted}</DeleteResult>".encode()


def early(is_meant: Callable[[Request], bool], answer: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Answers what is meant when its head is there, and all else when its body is, too."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.head()
            if is_meant(request):
                await peer.send(answer)
                await peer.until_gone()
                return
            length = re.search(rb"\r\ncontent-length: (\d+)", request.head, re.IGNORECASE)
            await peer.take(int(length[1]) if length else 0)
            await peer.send(answer_to(request))

    return script


def is_put(request: Request) -> bool:
    return request.method == "PUT"


def is_post(request: Request) -> bool:
    return request.method == "POST" and "uploads" not in request.path


@asynccontextmanager
async def served(
    script: Callable[[Peer], Awaitable[None]], certificate: tuple[Path, Path] | None, ca: Path
) -> AsyncIterator[dream.Session]:
    async with RawServer(script, certificate=certificate, receive_buffer=RECEIVE_BUFFER) as server:
        endpoint = f"http{'s' if certificate else ''}://{server.host}"
        service = replace(dream.Service.for_endpoint(endpoint), multipart=SMALL_PARTS)
        async with dream.Session(
            service=service,
            access_key="early",
            secret_key="not-a-secret",
            ca=ca if certificate else None,
            limits=dream.Limits(part_size=4 << 20),
            retry=dream.Retry(attempts=2, base=0.001, cap=0.002),
        ) as session:
            yield session


VERBS = {
    "put": (put, is_put, b""),
    "put_part": (put_in_parts, is_put, b""),
    "complete": (complete, is_post, COMPLETED),
    "delete_many": (delete_many, is_post, all_deleted()),
}
CASES = [
    *(("put", size, "opaque") for size in SIZES),
    ("put", SIZES[1], "md5"),
    *(("put_part", size, "opaque") for size in SIZES[1:]),
    ("complete", 0, "opaque"),
    ("delete_many", 0, "opaque"),
]


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize(("verb", "size", "etag"), CASES)
async def test_a_success_before_the_end_of_the_body_is_none(
    verb: str, size: int, etag: str, certificate: tuple[Path, Path], ca: Path, *, is_tls: bool
) -> None:
    run, is_meant, document = VERBS[verb]
    data = bytes(2 << 20) + bytes(size) if verb == "put_part" else bytes(size)
    told = f'"{hashlib.md5(data).hexdigest()}"' if etag == "md5" else '"opaque"'
    script = early(is_meant, reply(document, ETag=told))
    async with served(script, certificate if is_tls else None, ca) as session:
        with pytest.raises((dream.ConnectionFailedError, dream.BulkError)) as caught:
            await run(session, data)
    errors = caught.value.exceptions if isinstance(caught.value, dream.BulkError) else [caught.value]
    for error in errors:
        assert isinstance(error, dream.ConnectionFailedError)
        assert "before it had all of the request" in str(error)
        assert error.retryable
    assert caught.value.in_doubt == (verb != "put_part")  # without a completion there is no object


async def test_a_refusal_before_the_end_of_the_body_is_that_refusal(certificate: tuple[Path, Path], ca: Path) -> None:
    refusal = reply(b"<Error><Code>AccessDenied</Code></Error>", 403)
    async with served(early(is_put, refusal), None, ca) as session:
        with pytest.raises(dream.AccessDeniedError):
            await put(session, bytes(3 << 20))
