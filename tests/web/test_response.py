"""ObjectResponse behind a real server. The first part asks what Starlette's own tests ask of its files."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack
from email.utils import format_datetime
from typing import Any

import aiohttp
import anyio
import pytest
import pytest_asyncio
from conftest import Server, new_name
from fastapi import BackgroundTasks, FastAPI
from web.conftest import Front, served, served_by_aiohttp

import aiodreamobjects as dream
from aiodreamobjects.asgi import ObjectResponse, aiohttp_response
from aiodreamobjects.testing import MemoryService

CONTENT = ("# BáiZé\n" + "".join(f"{number:03}," for number in range(200)))[:524].encode()
SIZE = len(CONTENT)
PLAIN = "text/plain; charset=utf-8"
CLIENTS = 1000 if os.environ.get("SOAK") else 100


@pytest_asyncio.fixture
async def readme(web_bucket: dream.Bucket) -> dream.Object:
    obj = web_bucket.object("docs/README.txt")
    await obj.put(CONTENT)
    return obj


def assert_is_all(reply: aiohttp.ClientResponse) -> None:
    assert (reply.status, reply.headers.get("content-range")) == (200, None)
    assert (reply.headers["content-length"], reply.headers["content-type"]) == (str(SIZE), PLAIN)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_whole_object(front: Front, readme: dream.Object, method: str) -> None:
    called: list[str] = []
    front.answers_with(ObjectResponse(readme, filename="example.txt", background=lambda: called.append("background")))
    async with front.asked(method=method) as reply:
        assert_is_all(reply)
        assert await reply.read() == (CONTENT if method == "GET" else b"")
        info = await readme.head()
        assert info.last_modified
        expected = {
            "accept-ranges": "bytes",
            "content-disposition": 'attachment; filename="example.txt"',
            "etag": f'"{info.etag}"',
            "last-modified": format_datetime(info.last_modified, usegmt=True),
            "x-content-type-options": "nosniff",
        }
        assert expected.items() <= {name.lower(): value for name, value in reply.headers.items()}.items()
        own = {*expected, "content-length", "content-type", "date", "server"}
        assert {name.lower() for name in reply.headers} == own
    assert called == ["background"]


async def test_the_type_is_the_object_s_or_guessed(front: Front, web_bucket: dream.Bucket) -> None:
    for key, stored, filename, expected in (
        ("a.png", "image/jpeg", None, "image/jpeg"),
        ("b.png", None, None, "image/png"),
        ("c", None, "example.png", "image/png"),
        ("d.unknownext", None, None, "application/octet-stream"),
        ("e.html", "application/octet-stream", None, "application/octet-stream"),
    ):
        await web_bucket.object(key).put(b"<file content>", content_type=stored)
        front.answers_with(ObjectResponse(web_bucket.object(key), filename=filename))
        async with front.asked() as reply:
            assert reply.headers["content-type"] == expected


async def test_what_is_stored_with_an_object_is_passed_on(front: Front, web_bucket: dream.Bucket) -> None:
    obj = web_bucket.object("page")
    stored: dict[str, Any] = {
        "content_type": "text/html; charset=latin-1",
        "cache_control": "max-age=60",
        "content_disposition": 'inline; filename="page.html"',
        "content_encoding": "gzip",
        "content_language": "de",
        "expires": "Wed, 01 Jan 2031 00:00:00 GMT",
    }
    await obj.put(b"123", metadata={"secret": "mine"}, **stored)
    front.answers_with(ObjectResponse(obj))
    async with front.asked() as reply:
        assert {name: reply.headers[name.replace("_", "-")] for name in stored} == stored
        assert not [name for name in reply.headers if name.lower().startswith("x-amz")]
    front.answers_with(
        ObjectResponse(obj, cache_control="no-cache", headers={"Content-Language": "en", "Vary": "Origin"})
    )
    async with front.asked() as reply:
        found = [reply.headers.getall(name) for name in ("Cache-Control", "Content-Language", "Vary")]
        assert found == [["no-cache"], ["en"], ["Origin"]]


@pytest.mark.parametrize(
    ("filename", "disposition", "expected"),
    [
        ("hello.txt", None, 'attachment; filename="hello.txt"'),
        ("hello.txt", "inline", 'inline; filename="hello.txt"'),
        ("a b;c.txt", None, 'attachment; filename="a b;c.txt"'),
        ("你好.txt", None, "attachment; filename*=utf-8''%E4%BD%A0%E5%A5%BD.txt"),
        ('a"b%41\\.txt', None, "attachment; filename*=utf-8''a%22b%2541%5C.txt"),
        ("a\r\nSet-Cookie: x", None, "attachment; filename*=utf-8''a%0D%0ASet-Cookie%3A%20x"),
        ("../../etc/passwd", None, 'attachment; filename="passwd"'),
        (None, "inline", 'inline; filename="README.txt"'),
        (None, None, None),
    ],
)
async def test_the_name_of_a_download(
    front: Front, filename: str | None, disposition: Any, expected: str | None
) -> None:
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("docs/README.txt")
        await obj.put(CONTENT)
        front.answers_with(ObjectResponse(obj, filename=filename, disposition=disposition))
        async with front.asked() as reply:
            assert reply.headers.get("content-disposition") == expected
            assert "set-cookie" not in reply.headers


ONE_RANGE = [
    ("bytes=0-100", 0, 101),
    ("bytes=100-100", 100, 101),
    ("bytes=500-", 500, SIZE),
    ("bytes=0-", 0, SIZE),
    (f"bytes=0-{SIZE + 1}", 0, SIZE),
    ("bytes=-100", SIZE - 100, SIZE),
    ("bytes=-1000", 0, SIZE),
    ("BYTES = 0-9", 0, 10),
    ("bytes=0-100, 50-200", 0, 201),
    ("bytes=50-200, 0-49", 0, 201),
    ("bytes=0-9, 9000-", 0, 10),
    ("bytes=100, 0-50", 0, 51),
    ("bytes= - , 0-50", 0, 51),
    ("bytes=abc-def, 0-50", 0, 51),
    (f"bytes=5-{'9' * 5000}", 5, SIZE),
]
MALFORMED = ["bytes: 0-1000", "items=0-100", "bytes=", "bytes=100-0", "bytes", "bytes=--1", "bytes=1.5-3", "bytes=٣-٤"]
BEYOND = [f"bytes={SIZE + 1}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={'9' * 30}-", "bytes=9000-, 8000-8001"]


async def test_one_range(front: Front, readme: dream.Object) -> None:
    front.answers_with(ObjectResponse(readme))
    for header, start, stop in ONE_RANGE:
        for method in ("GET", "HEAD"):
            async with front.asked({"Range": header}, method) as reply:
                told = [reply.headers[name] for name in ("content-range", "content-length", "content-type")]
                assert told == [f"bytes {start}-{stop - 1}/{SIZE}", str(stop - start), PLAIN], header
                assert reply.status == 206
                assert await reply.read() == (CONTENT[start:stop] if method == "GET" else b"")


async def test_a_malformed_range_is_ignored_or_refused(front: Front, readme: dream.Object) -> None:
    texts = {
        "items=0-100": "Only support bytes range",
        "bytes=": "Range header: range must be requested",
        "bytes=100-0": "Range header: start must be less than end",
    }
    for header in MALFORMED:
        sent = {"Range": header.encode().decode("latin-1")}
        front.answers_with(ObjectResponse(readme))
        async with front.asked(sent) as reply:
            assert_is_all(reply)
            assert await reply.read() == CONTENT
        front.answers_with(ObjectResponse(readme, strict_range=True))
        async with front.asked(sent) as reply:
            assert reply.status == 400
            assert texts.get(header) in (None, await reply.text())


async def test_a_range_beyond_the_end(front: Front, web_bucket: dream.Bucket, readme: dream.Object) -> None:
    empty = web_bucket.object("empty")
    await empty.put(b"")
    asked = [*((readme, header, SIZE) for header in BEYOND), (empty, "bytes=0-", 0), (empty, "bytes=-5", 0)]
    for obj, header, size in asked:
        front.answers_with(ObjectResponse(obj))
        for method in ("GET", "HEAD"):
            async with front.asked({"Range": header}, method) as reply:
                assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{size}"), header


def parts_of(content: bytes, content_type: str) -> list[tuple[list[bytes], bytes]]:
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    first, *parts, last = content.split(boundary)
    assert (first, last) == (b"", b"--")
    found = []
    for part in parts:
        head, _, data = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        found.append((head.split(b"\r\n"), data))
    return found


async def test_several_ranges(front: Front, readme: dream.Object) -> None:
    front.answers_with(ObjectResponse(readme))
    for header, spans in (
        ("bytes=0-100, 200-300", [(0, 101), (200, 301)]),
        ("bytes=100-200, 0-50", [(0, 51), (100, 201)]),
        ("bytes=0-15,20-35,35-50", [(0, 16), (20, 51)]),
        ("bytes=-1,0-0,9000-", [(0, 1), (SIZE - 1, SIZE)]),
        (f"bytes={','.join(f'{n * 20}-{n * 20}' for n in range(10))}", [(n * 20, n * 20 + 1) for n in range(10)]),
    ):
        async with front.asked({"Range": header}) as reply:
            content, kind = await reply.read(), reply.headers["content-type"]
            assert kind.startswith("multipart/byteranges; boundary=")
            assert (reply.status, reply.headers["content-length"]) == (206, str(len(content)))
            assert "content-range" not in reply.headers
            assert parts_of(content, kind) == [
                (
                    [f"Content-Type: {PLAIN}".encode(), f"Content-Range: bytes {start}-{stop - 1}/{SIZE}".encode()],
                    CONTENT[start:stop],
                )
                for start, stop in spans
            ]
        async with front.asked({"Range": header}, "HEAD") as reply:
            assert (reply.status, reply.headers["content-length"]) == (206, str(len(content)))
    async with front.asked({"Range": f"bytes={','.join(f'{n * 20}-{n * 20}' for n in range(11))}"}) as reply:
        assert_is_all(reply)


async def test_a_type_of_the_caller_is_that_of_each_range(front: Front, readme: dream.Object) -> None:
    front.answers_with(ObjectResponse(readme, headers={"Content-Type": "video/mp4"}))
    async with front.asked({"Range": "bytes=0-9,20-29"}) as reply:
        kind = reply.headers["content-type"]
        assert kind.startswith("multipart/byteranges; boundary=")
        assert [heads[0] for heads, _ in parts_of(await reply.read(), kind)] == [b"Content-Type: video/mp4"] * 2


async def test_ranges_of_another_state(front: Front, readme: dream.Object) -> None:
    front.answers_with(ObjectResponse(readme))
    async with front.asked(method="HEAD") as reply:
        etag, modified = reply.headers["etag"], reply.headers["last-modified"]
    for known, status in (
        (etag, 206),
        (modified, 206),
        (etag[:-1], 200),
        (f"W/{etag}", 200),
        ('"another"', 200),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 200),
        ("nonsense", 200),
    ):
        for span in ("bytes=200-300", "bytes=0-1,20-30", "bytes=9000-"):
            for method in ("GET", "HEAD"):
                async with front.asked({"Range": span, "If-Range": known}, method) as reply:
                    assert reply.status == (416 if status == 206 and "9000" in span else status), (known, span)
                    assert await reply.read() == CONTENT if (status, method) == (200, "GET") else True
    front.answers_with(ObjectResponse(readme, headers={"ETag": '"my-own"'}))
    async with front.asked({"Range": "bytes=0-4", "If-Range": '"my-own"'}) as reply:
        told = (reply.status, reply.headers["etag"], reply.headers["content-range"], await reply.read())
        assert told == (206, '"my-own"', f"bytes 0-4/{SIZE}", CONTENT[:5])
    async with front.asked({"If-None-Match": '"my-own"'}) as reply:
        assert reply.status == 304


async def test_a_304_has_the_caller_s_headers_but_those_of_the_content(front: Front, readme: dream.Object) -> None:
    kept = {"Content-Security-Policy": "sandbox", "Content-Location": "/a", "Cache-Control": "no-cache", "X-Mine": "1"}
    left_out = {"Content-Type": "text/x", "Content-Language": "de", "Content-Encoding": "br"}
    front.answers_with(ObjectResponse(readme, headers=kept | left_out))
    async with front.asked({"If-None-Match": "*"}) as reply:
        assert reply.status == 304
        assert {name: reply.headers.get(name) for name in kept} == kept
        assert not left_out.keys() & reply.headers.keys()


async def test_conditions(front: Front, readme: dream.Object) -> None:
    await readme.set_headers(cache_control="max-age=60")
    front.answers_with(ObjectResponse(readme, headers={"Vary": "Origin"}))
    async with front.asked() as reply:
        etag, modified = reply.headers["etag"], reply.headers["last-modified"]
    past, future = "Wed, 11 Oct 2023 15:30:19 GMT", "Sun, 11 Oct 2099 15:30:19 GMT"
    for status, asked in (
        (304, {"If-None-Match": etag}),
        (304, {"If-None-Match": f'W/{etag}, "123"'}),
        (304, {"If-None-Match": f'"123",\tW/{etag}'}),
        (304, {"If-None-Match": f"W/{etag}"}),
        (304, {"If-None-Match": "*"}),
        (200, {"If-None-Match": '"123"'}),
        (200, {"If-None-Match": '"123"', "If-Modified-Since": modified}),
        (200, {"If-None-Match": etag.strip('"')}),
        (304, {"If-Modified-Since": modified}),
        (304, {"If-Modified-Since": future}),
        (200, {"If-Modified-Since": past}),
        (200, {"If-Modified-Since": "yesterday"}),
        (200, {"If-Modified-Since": "Mon, 99 Foo 2023 99:99:99 GMT"}),
        (200, {"If-Match": etag}),
        (200, {"If-Match": f'"123", {etag}'}),
        (200, {"If-Match": "*"}),
        (412, {"If-Match": f"W/{etag}"}),
        (412, {"If-Match": '"123"'}),
        (412, {"If-Match": "nonsense"}),
        (200, {"If-Match": etag, "If-Unmodified-Since": past}),
        (412, {"If-Unmodified-Since": past}),
        (200, {"If-Unmodified-Since": modified}),
        (200, {"If-Unmodified-Since": "tomorrow"}),
        (412, {"If-Match": '"123"', "If-None-Match": etag}),
        (304, {"If-None-Match": etag, "Range": "bytes=0-1"}),
        (412, {"If-Match": '"123"', "Range": "bytes=0-1,20-21"}),
    ):
        for method in ("GET", "HEAD"):
            async with front.asked(asked, method) as reply:
                assert reply.status == status, (method, asked)
                if status == 304:
                    kept = {name.lower(): value for name, value in reply.headers.items()}
                    assert kept.pop("date")
                    assert kept.pop("server")
                    expected = {
                        "etag": etag,
                        "last-modified": modified,
                        "cache-control": "max-age=60",
                        "vary": "Origin",
                    }
                    assert (kept, await reply.read()) == (expected, b"")
    assert front.raised == []


async def test_each_answer_takes_the_least_requests(front: Front) -> None:
    service = MemoryService()
    async with service.session() as session:
        obj = (await session.create_bucket("bucket")).object("key.txt")
        etag = (await obj.put(CONTENT)).etag
        front.answers_with(ObjectResponse(obj))
        for asked, requests in (
            ({}, ["get_object"]),
            ({"Range": "bytes=1-2"}, ["get_object"]),
            ({"Range": "bytes=1-2", "If-Range": f'"{etag}"'}, ["get_object"]),
            ({"If-None-Match": '"other"'}, ["get_object"]),
            ({"If-None-Match": f'"{etag}"'}, ["get_object", "head_object"]),
            ({"Range": "bytes=1-2,9-9"}, ["head_object", "get_object", "get_object"]),
        ):
            service.forget_requests()
            async with front.asked(asked) as reply:
                await reply.read()
            assert [request.verb for request in service.requests] == requests, asked


async def test_other_methods_and_missing_objects(front: Front, web_bucket: dream.Bucket) -> None:
    await web_bucket.object("folder/file").put(b"")
    for key in ("404.txt", "folder", "folder/"):
        front.answers_with(
            ObjectResponse(web_bucket.object(key), filename="a.txt", headers={"Cache-Control": "max-age=9"})
        )
        for method in ("GET", "HEAD"):
            async with front.asked({"Range": "bytes=0-1"} if key == "folder" else {}, method) as reply:
                assert (reply.status, reply.headers.get("cache-control")) == (404, None)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
        async with front.asked(method=method) as reply:
            assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert front.raised == []


async def test_an_old_version(front: Front, rgw: Server) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.set_versioning("Enabled")
        old = await bucket.object("key").put(b"old")
        await bucket.object("key").put(b"newer")
        for version, expected in ((old.version_id, b"old"), (None, b"newer")):
            front.answers_with(ObjectResponse(bucket.object("key"), version_id=version))
            for asked in ({}, {"Range": "bytes=0-0,2-2"}, {"Range": "bytes=-3"}):
                async with front.asked(asked) as reply:
                    content = await reply.read()
                    assert expected == content or reply.status == 206
                    assert reply.headers["etag"] == f'"{(await bucket.object("key").head(version_id=version)).etag}"'
        await bucket.delete(force=True)


async def test_a_redirect_to_storage(front: Front, rgw: Server) -> None:
    async with rgw.session() as session, aiohttp.ClientSession() as anyone:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("a b.txt")
        await obj.put(CONTENT)
        front.answers_with(ObjectResponse(obj, redirect="presign", filename="ü.txt", cache_control="no-cache"))
        for method in ("GET", "HEAD"):
            async with front.asked(method=method) as reply:
                assert (reply.status, reply.headers["cache-control"]) == (307, "no-store")
                location = reply.headers["location"]
            async with anyone.request(method, location, headers={"Range": "bytes=0-9"}) as found:
                assert (found.status, await found.read()) == (206, CONTENT[:10] if method == "GET" else b"")
                if method == "GET":
                    named = [found.headers[name] for name in ("content-disposition", "cache-control")]
                    assert named == ["attachment; filename*=utf-8''%C3%BC.txt", "no-cache"]
        await bucket.delete(force=True)


# When something is wrong


@pytest.mark.parametrize(
    "given",
    [
        {"disposition": "form-data"},
        {"redirect": "forever"},
        {"cache_control": "no-cache\r\nSet-Cookie: x"},
        {"headers": {"Bad Name": "x"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"content-length": "3"}},
        {"cache_control": "lone \ud800 surrogate"},
        {"filename": "\ud800"},
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(given: dict[str, Any]) -> None:
    obj = MemoryService().session().bucket("bucket").object("key")
    with pytest.raises(ValueError, match=r"must be|leave it out"):
        ObjectResponse(obj, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"filename": 5},
        {"version_id": 5},
        {"headers": [("X", "a")]},
        {"strict_range": "no"},
        {"background": 5},
    ],
)
def test_a_wrong_type_is_named(given: dict[str, Any]) -> None:
    obj = MemoryService().session().bucket("bucket").object("key")
    with pytest.raises(TypeError, match=f"{next(iter(given))} must be"):
        ObjectResponse(obj, **given)


async def test_arguments_that_do_not_exist_and_swapped_ones_are_refused() -> None:
    obj = MemoryService().session().bucket("bucket").object("key")
    with pytest.raises(TypeError, match="no such argument of a response: filenam"):
        ObjectResponse(obj, filenam="a")  # type: ignore[call-arg]  # what is tried
    with pytest.raises(TypeError, match="obj must be an Object, not str"):
        ObjectResponse("key")  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match="request must be the request of an aiohttp server"):
        await aiohttp_response(obj, obj)  # type: ignore[arg-type]  # what is tried


async def test_a_busy_service_is_told(front: Front) -> None:
    service = MemoryService()
    async with service.session(retry=dream.Retry(attempts=1)) as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put(CONTENT)
        front.answers_with(ObjectResponse(obj, headers={"Cache-Control": "max-age=9"}))
        for breaks in (False, True):
            for asked in ({}, {"Range": "bytes=0-1,5-6"}):
                if breaks:
                    service.break_connection("*")
                else:
                    service.fail("*", "SlowDown")
                async with front.asked(asked) as reply:
                    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
                    assert "cache-control" not in reply.headers
        service.cut_body(5)  # of a small object nothing is sent before all of it is there
        async with front.asked() as reply:
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        service.fail("*", "AccessDenied", times=None)  # the client cannot do anything about it
        async with front.asked() as reply:
            assert reply.status == 500
        assert isinstance(front.raised[0], dream.AccessDeniedError)


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=1000-2999999"}, {"Range": "bytes=0-5,1000-2999999"}])
async def test_an_error_after_the_first_byte_breaks_the_connection(front: Front, asked: dict[str, str]) -> None:
    service = MemoryService()
    async with service.session(retry=dream.Retry(attempts=1)) as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put(os.urandom(3_000_000))
        called: list[str] = []
        front.answers_with(ObjectResponse(obj, background=lambda: called.append("background")))
        service.cut_body(1_000_000, times=None)
        async with front.asked(asked) as reply:
            assert reply.status in (200, 206)
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
        assert isinstance(front.raised[0], dream.IncompleteBodyError)
        assert called == []


async def test_a_stream_that_breaks_goes_on_unseen(front: Front) -> None:
    service = MemoryService()
    async with service.session() as session:
        obj = (await session.create_bucket("bucket")).object("key")
        content = os.urandom(3_000_000)
        await obj.put(content)
        front.answers_with(ObjectResponse(obj))
        service.cut_body(1_000_000)
        async with front.asked() as reply:
            assert await reply.read() == content


# Clients that leave


async def test_clients_that_leave_take_nothing_with_them(web_server: Server) -> None:
    """In the middle of the body, while it waits for a place, and before the head: whatever the server was at."""
    gone = asyncio.Semaphore(0)
    clients = CLIENTS if web_server.is_memory else CLIENTS // 4
    limits = dream.Limits(requests=8)
    async with web_server.session(limits=limits) as session:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("large")
        await obj.put(bytes(4 << 20))
        response = ObjectResponse(obj, background=gone.release)
        before = asyncio.all_tasks()
        async with served(response) as url:
            port = int(url.rpartition(":")[2])

            async def leave(number: int) -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                ranges = ("", "Range: bytes=0-2000000,3000000-\r\n")[number % 2]
                writer.write(f"GET / HTTP/1.1\r\nHost: a\r\n{ranges}\r\n".encode())
                await writer.drain()
                if number % 3 == 0:
                    await reader.readexactly(1000)
                elif number % 3 == 1:
                    await reader.readexactly(1)
                writer.transport.abort()

            async with asyncio.timeout(100):
                for start in range(0, clients, 50):
                    async with asyncio.TaskGroup() as group:
                        for number in range(start, min(start + 50, clients)):
                            group.create_task(leave(number))
                    for _ in range(start, min(start + 50, clients)):
                        await gone.acquire()
            async with AsyncExitStack() as stack, asyncio.timeout(20):  # each place is free
                for _ in range(limits.requests):
                    await stack.enter_async_context(obj.get())
                await stack.aclose()
                while session.statistics().open_connections > session.statistics().idle_connections:
                    await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before
        await bucket.delete(force=True)


async def test_a_client_that_leaves_before_the_service_answers() -> None:
    service, holds, gone = MemoryService(), asyncio.Event(), asyncio.Event()
    async with service.session(limits=dream.Limits(requests=1)) as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put(CONTENT)
        async with served(ObjectResponse(obj, background=gone.set)) as url:
            service.delay("get_object", holds)
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            service.forget_requests()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not service.requests:
                await asyncio.sleep(0)
            writer.transport.abort()
            async with asyncio.timeout(20):
                await gone.wait()
                assert await obj.read() == CONTENT
        assert not holds.is_set()


async def test_a_server_that_raises_when_the_client_is_gone() -> None:
    """As ASGI 2.4 says it; and one whose receive fails, like a framework that has read the request."""
    called: list[str] = []
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put(bytes(1 << 20))

        async def receive() -> MutableMapping[str, Any]:
            raise RuntimeError

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                raise OSError

        await ObjectResponse(obj, background=lambda: called.append("left"))(
            {"type": "http", "method": "get", "headers": []}, receive, send
        )
        assert called == ["left"]
        with pytest.raises(ValueError, match="answers HTTP requests, not 'websocket'"):
            await ObjectResponse(obj)({"type": "websocket"}, receive, send)


async def test_a_cancelled_server_closes_the_body() -> None:
    async with MemoryService().session(limits=dream.Limits(requests=1)) as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put(bytes(1 << 20))
        started = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            started.set()
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "headers": []}
        answering = asyncio.create_task(ObjectResponse(obj)(scope, receive, send))
        await started.wait()
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        with anyio.fail_after(20):
            assert len(await obj.read()) == 1 << 20


# In a framework


async def test_a_route_of_fastapi_returns_it() -> None:
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("key.txt")
        await obj.put(CONTENT)
        app, called = FastAPI(), list[str]()

        @app.api_route("/{name}", methods=["GET", "HEAD"])
        async def read(name: str, tasks: BackgroundTasks) -> ObjectResponse:
            tasks.add_task(called.append, name)
            response = ObjectResponse(obj, headers={"X-Mine": "1"})
            response.set_cookie("seen", "yes")
            return response

        async with served(app) as url, aiohttp.ClientSession(url) as client:
            async with client.get("/a", headers={"Range": "bytes=0-1"}) as reply:
                assert (reply.status, await reply.read()) == (206, CONTENT[:2])
                assert (reply.headers["x-mine"], reply.cookies["seen"].value) == ("1", "yes")
            async with client.head("/b") as reply:
                assert_is_all(reply)
        assert called == ["a", "b"]


@pytest_asyncio.fixture
async def aiohttp_url(readme: dream.Object) -> AsyncIterator[str]:
    async def handle(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        return await aiohttp_response(request, readme, filename="ü.txt", headers={"X-Mine": "ü"})

    async with served_by_aiohttp(handle) as url:
        yield url


async def test_a_handler_of_aiohttp_returns_it(aiohttp_url: str, readme: dream.Object) -> None:
    async with aiohttp.ClientSession(aiohttp_url) as client:
        for asked, status, content in (
            ({}, 200, CONTENT),
            ({"Range": "bytes=2-4"}, 206, CONTENT[2:5]),
            ({"Range": "bytes=9000-"}, 416, None),
            ({"If-None-Match": "*"}, 304, b""),
            ({"Range": "bytes=0-1,8-9"}, 206, None),
        ):
            async with client.get("/", headers=asked) as reply:
                found = await reply.read()
                assert (reply.status, found) == (status, found if content is None else content)
                assert status == 304 or reply.headers["content-length"] == str(len(found))
                assert status in (304, 416) or reply.headers["x-mine"] == "ü"
        async with client.head("/") as reply:
            assert (reply.status, reply.headers["content-length"]) == (200, str(SIZE))
        async with client.post("/") as reply:
            assert reply.status == 405


async def test_an_aiohttp_server_closes_the_body_too() -> None:
    service, ended = MemoryService(), asyncio.Semaphore(0)
    async with service.session(limits=dream.Limits(requests=1), retry=dream.Retry(attempts=1)) as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put(bytes(16 << 20))

        async def handle(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
            try:
                return await aiohttp_response(request, obj)
            finally:
                ended.release()

        async with served_by_aiohttp(handle) as url, aiohttp.ClientSession(url) as client, asyncio.timeout(20):
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readexactly(1000)
                writer.transport.abort()
                await ended.acquire()
            service.cut_body(1_000_000, times=None)
            async with client.get("/") as reply:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await reply.read()


def test_no_framework_is_imported_or_needed() -> None:
    """In a process of its own, without Starlette: the response is an ASGI application all the same."""
    script = """
import asyncio, sys
import aiodreamobjects.asgi
frameworks = {"aiohttp", "fastapi", "python_multipart", "starlette"}
assert not frameworks & sys.modules.keys()
sys.modules["starlette"] = None
from aiodreamobjects.asgi import ObjectResponse
from aiodreamobjects.testing import MemoryService
assert "aiohttp" not in sys.modules and ObjectResponse.__mro__[-2].__module__ == "aiodreamobjects.asgi.response"

async def main():
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("key")
        await obj.put("Hello World!")
        sent = []
        async def send(message): sent.append(message)
        async def receive(): await asyncio.Event().wait()
        await ObjectResponse(obj)({"type": "http", "method": "GET", "headers": []}, receive, send)
        assert [message.get("status") or message["body"] for message in sent] == [200, b"Hello World!", b""]

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
