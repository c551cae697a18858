"""form_parts: fed from memory in every way, and by the requests of real servers."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from conftest import Server, new_name
from fastapi import FastAPI, Request
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import post as litestar_post
from quart import Quart
from quart import request as quart_request
from web.conftest import Front, served, served_by_aiohttp

import aiodreamobjects as dream
from aiodreamobjects.asgi import FormError, form_parts
from aiodreamobjects.testing import MemoryService

MIB = 1 << 20


class Fed:
    """A request whose body arrives in pieces of some size."""

    def __init__(self, body: bytes, size: int, content_type: str = "multipart/form-data; boundary=b") -> None:
        self.headers, self._body, self._size = {"content-type": content_type}, body, size

    async def stream(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._size):
            yield self._body[start : start + self._size]


def part(content: bytes, *headers: str, name: str = 'name="a"') -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"Content-Disposition: form-data; {name}", *headers))
    return b"--b\r\n" + head.encode() + b"\r\n" + content + b"\r\n"


END = b"--b--\r\n"
NEAR = b"\r\n--\r\n--a\r\n-b\r\n--bx\r--b\n--b--\r\n-\r\n\r"
Expected = list[tuple[str, str | None, str | None, bytes]]
FORMS: dict[str, tuple[bytes, Expected]] = {
    "nothing": (END, []),
    "a field": (part(b"1") + END, [("a", None, None, b"1")]),
    "an empty field": (part(b"") + END, [("a", None, None, b"")]),
    "newlines before": (b"\r\n\r\n" + part(b"1") + END, [("a", None, None, b"1")]),
    "something after": (part(b"1") + END + b"\r\nmore\r\n", [("a", None, None, b"1")]),
    "two files": (
        part(b"x", "Content-Type: text/plain", name='name="f"; filename="1.txt"')
        + part(b"y", name='name="f"; filename=""')
        + END,
        [("f", "1.txt", "text/plain", b"x"), ("f", "", None, b"y")],
    ),
    "headers in any case": (
        b'--b\r\ncOnTent-dispOsition: form-data; name="a"; filename="b"\r\nCONTENT-TYPE: image/PNG; q=1\r\nX-1: 2\r\n\r\n3\r\n'
        + END,
        [("a", "b", "image/PNG; q=1", b"3")],
    ),
    "names in UTF-8, and in no code": (
        part(b"", name='name="ü"; filename="日本\\"語.txt"') + part(b"").replace(b'"a"', b'"\xe9"') + END,
        [("ü", '日本"語.txt', None, b""), ("é", None, None, b"")],
    ),
    "nearly a boundary": (part(NEAR) + END, [("a", None, None, NEAR)]),
    "many newlines": (part(b"\r\n" * 50) + END, [("a", None, None, b"\r\n" * 50)]),
    "base64": (
        part(base64.b64encode(b"Test 123"), "Content-Transfer-Encoding: BASE64") + END,
        [("a", None, None, b"Test 123")],
    ),
    "quoted-printable": (
        part(b"foo=3Dbar", "Content-Transfer-Encoding: quoted-printable") + END,
        [("a", None, None, b"foo=bar")],
    ),
    "all bytes": (part(bytes(range(256))) + END, [("a", None, None, bytes(range(256)))]),
}
MALFORMED: dict[str, bytes] = {
    "an empty body": b"",
    "no form": b"Hello World!",
    "another boundary": part(b"1").replace(b"--b\r", b"--c\r") + END,
    "it ends in a head": part(b"1")[:20],
    "it ends in a part": part(b"1"),
    "it ends in the last boundary": part(b"1") + b"--b-",
    "no name": part(b"1", name="x=1") + END,
    "no disposition": b"--b\r\nContent-Type: a/b\r\n\r\n1\r\n" + END,
    "a bad character in a header": b"--b\r\nContent<Disposition: x\r\n\r\n1\r\n" + END,
    "an empty header": b"--b\r\n: x\r\n\r\n1\r\n" + END,
    "a header without an end": b"--b\r\nA: x\rb\r\n\r\n1\r\n" + END,
    "headers that end badly": b"--b\r\nA: x\r\n\rb\n1\r\n" + END,
    "a header of 1 MB": part(b"1", f"X: {'x' * MIB}") + END,
    "a thousand headers": part(b"1", *[f"X{n}: 1" for n in range(1000)]) + END,
    "broken base64": part(b"abc", "Content-Transfer-Encoding: base64") + END,
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_whole_and_byte_by_byte(form: str) -> None:
    body, expected = FORMS[form]
    for size in (1, 2, 7, len(body)):
        found = [
            (one.name, one.filename, one.content_type, await one.read()) async for one in form_parts(Fed(body, size))
        ]
        assert found == expected


@pytest.mark.parametrize("form", MALFORMED)
async def test_a_malformed_form(form: str) -> None:
    body = MALFORMED[form]
    for size in (1 if len(body) < 1000 else 1000, max(len(body), 1)):
        with pytest.raises(FormError) as caught:
            assert [await one.read() async for one in form_parts(Fed(body, size))] == []
        assert caught.value.status_code == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("", 415),
        ("multipart/mixed; boundary=b", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        (f"multipart/form-data; boundary={'b' * 5000}", 400),
    ],
)
async def test_a_request_that_is_no_form(content_type: str, status: int) -> None:
    with pytest.raises(FormError) as caught:
        await anext(form_parts(Fed(END, 10, content_type)))
    assert caught.value.status_code == status


async def test_limits_hold_while_it_streams() -> None:
    many, long = part(b"") * 11 + END, part(bytes(101)) + END
    file = part(bytes(101), name='name="f"; filename="1"') + END
    for body, limits in (
        (many, {"max_parts": 10}),
        (long, {"max_field_size": 100}),
        (file, {"max_file_size": 100}),
        (long, {"max_field_size": 0}),
    ):
        for size in (1, len(body)):
            with pytest.raises(FormError) as caught:
                assert [one async for one in form_parts(Fed(body, size), **limits)] == []
            assert caught.value.status_code == 413
    for body, limits in ((many, {"max_parts": 11}), (long, {"max_field_size": 101}), (file, {"max_field_size": 0})):
        assert [one async for one in form_parts(Fed(body, 10), **limits)]
    with pytest.raises(ValueError, match="max_parts -1 must be a whole number"):
        await anext(form_parts(Fed(END, 10), max_parts=-1))
    with pytest.raises(ValueError, match="max_parts"):
        await anext(form_parts(Fed(END, 10), max_parts=None))  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match="request must be of"):
        await anext(form_parts("a form"))  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match="request must be of"):
        await anext(form_parts(type("R", (), {"headers": {"content-type": "multipart/form-data; boundary=b"}})()))


async def test_what_is_left_of_a_part_is_dropped() -> None:
    body = part(b"1" * 100) + part(b"2" * 100, name='name="b"') + END
    parts = form_parts(Fed(body, 30))
    first = await anext(parts)
    assert await first.read(5) == b"11111"
    second = await anext(parts)
    assert await second.read() == b"2" * 100
    assert await second.read() == b""
    with pytest.raises(ValueError, match="is over: read it before"):
        await first.read()
    assert [one async for one in parts] == []


# By the requests of each framework


async def store(request: Any, bucket: dream.Bucket, **limits: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async for one in form_parts(request, **limits):
        if one.filename is None:
            found[one.name] = (await one.read()).decode()
        else:
            found[one.name] = (await bucket.object(one.filename).put(one, content_type=one.content_type)).size
    return found


Serve = Callable[[dream.Bucket], Any]


def on_fastapi(bucket: dream.Bucket) -> Any:
    app = FastAPI()

    @app.post("/")
    async def take(request: Request) -> dict[str, Any]:
        return await store(request, bucket, max_parts=3, max_file_size=12 * MIB)

    return served(app)


def on_litestar(bucket: dream.Bucket) -> Any:
    @litestar_post("/")
    async def take(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        return await store(request, bucket, max_parts=3, max_file_size=12 * MIB)

    return served(Litestar([take], request_max_body_size=None))


def on_quart(bucket: dream.Bucket) -> Any:
    app = Quart(__name__)
    app.config["MAX_CONTENT_LENGTH"] = None

    @app.post("/")
    async def take() -> dict[str, Any]:
        return await store(quart_request, bucket, max_parts=3, max_file_size=12 * MIB)

    @app.errorhandler(FormError)
    async def refuse(error: FormError) -> tuple[str, int]:
        return error.detail, error.status_code

    return served(app)


def on_aiohttp(bucket: dream.Bucket) -> Any:
    async def take(request: web.Request) -> web.Response:
        try:
            return web.json_response(await store(request, bucket, max_parts=3, max_file_size=12 * MIB))
        except FormError as error:
            return web.Response(status=error.status_code, text=error.detail)

    return served_by_aiohttp(take)


@pytest.mark.parametrize("serve", [on_fastapi, on_litestar, on_quart, on_aiohttp])
async def test_a_browser_s_form_streams_into_objects(serve: Serve, web_server: Server) -> None:
    content = os.urandom(11 * MIB)
    async with web_server.session() as session:
        bucket = await session.create_bucket(new_name())
        async with serve(bucket) as url, aiohttp.ClientSession() as client:
            form = aiohttp.FormData({"title": "ü"}, quote_fields=False)
            form.add_field("file", io.BytesIO(content), filename="a b.bin", content_type="video/mp4")
            form.add_field("empty", io.BytesIO(), filename="empty")
            async with client.post(url, data=form) as reply:
                assert (reply.status, await reply.json()) == (
                    201 if serve is on_litestar else 200,
                    {"title": "ü", "file": 11 * MIB, "empty": 0},
                )
            stored = await bucket.object("a b.bin").head()
            assert (stored.content_type, await bucket.object("a b.bin").read()) == ("video/mp4", content)
            form = aiohttp.FormData()
            form.add_field("file", io.BytesIO(bytes(12 * MIB + 1)), filename="too large")
            async with client.post(url, data=form) as reply:
                assert reply.status == 413
            async with client.post(
                url, data="no form", headers={"Content-Type": "multipart/form-data; boundary=b"}
            ) as reply:
                assert reply.status == 400
        assert [info.key async for info in bucket.list()] == ["a b.bin", "empty"]
        assert [upload async for upload in bucket.uploads()] == []
        await bucket.delete(force=True)


@pytest.mark.parametrize("serve", [on_fastapi, on_aiohttp])
async def test_a_client_that_leaves_leaves_no_upload(serve: Serve) -> None:
    service = MemoryService()
    async with service.session(limits=dream.Limits(part_size=5 * MIB)) as session:
        bucket = await session.create_bucket("bucket")
        async with serve(bucket) as url, asyncio.timeout(30):
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
            writer.write(head.encode() + part(bytes(6 * MIB), name='name="f"; filename="left"'))
            while "put_part" not in {request.verb for request in service.requests}:
                await asyncio.sleep(0)
            writer.transport.abort()
            while "abort_upload" not in {request.verb for request in service.requests}:
                await asyncio.sleep(0)
        assert [upload async for upload in bucket.uploads()] == []
        assert not await bucket.object("left").exists()


async def test_a_part_that_nobody_reads_holds_up_the_client(front: Front) -> None:
    """The client's socket is full long before the 64 MiB are sent."""
    reads, sent = asyncio.Event(), 0

    @asynccontextmanager
    async def running() -> AsyncIterator[str]:
        app = FastAPI()

        @app.post("/")
        async def take(request: Request) -> int:
            size = 0
            async for one in form_parts(request):
                await reads.wait()
                async for chunk in one:
                    size += len(chunk)
            return size

        async with served(app) as url:
            yield url

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        yield part(b"", name='name="f"; filename="1"').removesuffix(b"\r\n")
        for _ in range(64):
            yield bytes(MIB)
            sent += 1
        yield b"\r\n" + END

    async with running() as url, aiohttp.ClientSession() as client, asyncio.timeout(60):
        asking: Awaitable[aiohttp.ClientResponse] = asyncio.ensure_future(
            client.post(url, data=chunks(), headers={"Content-Type": "multipart/form-data; boundary=b"})
        )
        still, before = 0, -1
        while still < 100:  # until nothing moves any more
            await asyncio.sleep(0.002)
            still, before = (still + 1 if sent == before else 0), sent
        assert sent < 32
        reads.set()
        async with await asking as reply:
            assert await reply.json() == 64 * MIB
