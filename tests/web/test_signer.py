"""UploadSigner: a client in place of the browser sends to storage what the signer signs. Uppy itself: test_browser.py."""

from __future__ import annotations

import asyncio
import io
import json as to_json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from conftest import Server, new_name
from starlette.applications import Starlette
from starlette.routing import Mount
from web.conftest import served

import aiodreamobjects as dream
from aiodreamobjects.asgi import SignRequest, UploadSigner
from aiodreamobjects.testing import MemoryService

MIB = 1 << 20
ODD = "ü +%'\"&?#.txt"


def key_of(request: SignRequest) -> str:
    return f"{request.headers.get('x-user', 'larry')}/{request.filename}"


async def authorized(request: SignRequest, key: str) -> bool:
    return key.startswith(request.headers.get("x-user", "larry") + "/")


class Browser:
    """Asks the signer, and sends to storage."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url, self.client = url, client

    async def ask(
        self, verb: str, path: str, /, status: int = 200, json: Any = None, user: str = "larry", **query: str
    ) -> Any:
        headers = {"x-user": user}
        url = f"{self.url}/uppy/s3/{path}"
        body = None if json is None and verb == "GET" else io.BytesIO(to_json.dumps(json).encode())
        async with self.client.request(verb, url, params=query, data=body, headers=headers) as reply:
            found = await reply.json()
            assert (reply.status, reply.headers["cache-control"]) == (status, "no-store"), found
            return found

    async def send(
        self, method: str, url: str, content: Any = b"", headers: dict[str, str] | None = None, status: int = 200
    ) -> str:
        data = io.BytesIO(content) if isinstance(content, bytes) else content
        async with self.client.request(method, _as_it_is(url), data=data, headers=headers) as reply:
            text = await reply.text()
            assert reply.status == status, text
            return reply.headers.get("etag", "") or text


def _as_it_is(url: str) -> Any:
    from yarl import URL  # noqa: PLC0415 - only here

    return URL(url, encoded=True)


@asynccontextmanager
async def browser_of(bucket: dream.Bucket, **settings: Any) -> AsyncIterator[Browser]:
    signer = UploadSigner(bucket, **{"key": key_of, "authorize": authorized, "sign_requests": True, **settings})
    app = Starlette(routes=[Mount("/uppy", signer)])
    async with served(app) as url, aiohttp.ClientSession() as client:
        yield Browser(url, client)


@pytest.fixture(scope="session", params=["memory_served", "rgw"])
def web_server(request: pytest.FixtureRequest) -> Server:
    """Served, because the browser sends to it."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest_asyncio.fixture
async def browser(web_bucket: dream.Bucket) -> AsyncIterator[Browser]:
    async with browser_of(web_bucket) as opened:
        yield opened


async def test_a_form_for_one_object(browser: Browser, web_bucket: dream.Bucket) -> None:
    for size in (0, 1024):
        content = os.urandom(size)
        query: dict[str, Any] = {
            "filename": ODD,
            "type": "text/plain",
            "metadata[name]": "ü",
            "metadata[Color]": "blue",
        }
        told = await browser.ask("GET", "params", **query)
        assert (told["method"], told["expires"], told["fields"]["key"]) == ("POST", 300, f"larry/{ODD}")
        form = aiohttp.FormData(told["fields"], quote_fields=False)
        form.add_field("file", content, filename="anything")
        await browser.send("POST", told["url"], form, told["headers"], 201)
        obj = web_bucket.object(f"larry/{ODD}")
        info = await obj.head()
        assert (await obj.read(), info.content_type) == (content, "text/plain")
        assert info.metadata == {"name": "=?UTF-8?B?w7w=?=", "color": "blue"}


async def test_a_put_of_one_object(browser: Browser, web_bucket: dream.Bucket) -> None:
    query: dict[str, Any] = {"filename": ODD, "type": "text/plain", "metadata[name]": "ü", "method": "PUT", "size": "4"}
    told = await browser.ask("GET", "params", **query)
    assert (told["method"], told["fields"]) == ("PUT", {})
    await browser.send("PUT", told["url"], b"12345", told["headers"], 403)  # the length is signed
    await browser.send("PUT", told["url"], b"1234", told["headers"])
    assert await web_bucket.object(f"larry/{ODD}").read() == b"1234"


async def test_an_upload_in_parts(browser: Browser, web_bucket: dream.Bucket) -> None:
    content = os.urandom(12 * MIB)
    made = await browser.ask(
        "POST", "multipart", json={"filename": ODD, "type": "video/mp4", "metadata": {"name": "ü", "none": None}}
    )
    key, path = made["key"], f"multipart/{made['uploadId']}"
    assert (key, made["bucket"]) == (f"larry/{ODD}", web_bucket.name)
    assert await browser.ask("GET", path, key=key) == []
    one = await browser.ask("GET", f"{path}/1", key=key)
    batch = await browser.ask("GET", f"{path}/batch", key=key, partNumbers="2,3")
    urls = {1: one["url"], 2: batch["presignedUrls"]["2"], 3: batch["presignedUrls"]["3"]}
    sent = [(n, await browser.send("PUT", urls[n], content[(n - 1) * 5 * MIB : n * 5 * MIB])) for n in (2, 1, 3)]
    listed = await browser.ask("GET", path, key=key)
    assert [(part["PartNumber"], part["ETag"], part["Size"]) for part in listed] == [
        (n, etag, 5 * MIB if n < 3 else 2 * MIB) for n, etag in sorted(sent)
    ]
    done = await browser.ask("POST", f"{path}/complete", json={"parts": listed}, key=key)
    assert (done["key"], done["bucket"]) == (key, web_bucket.name)
    obj = web_bucket.object(key)
    assert done["location"] == obj.presign_get(9).partition("?")[0]
    assert (await obj.read(), (await obj.head()).content_type) == (content, "video/mp4")
    assert [upload async for upload in web_bucket.uploads()] == []


async def test_an_upload_that_is_cancelled(browser: Browser, web_bucket: dream.Bucket) -> None:
    made = await browser.ask("POST", "multipart", json={"filename": "a", "type": "a/b"})
    key, path = made["key"], f"multipart/{made['uploadId']}"
    await browser.send("PUT", (await browser.ask("GET", f"{path}/1", key=key))["url"], b"1")
    assert [upload.key async for upload in web_bucket.uploads()] == [key]
    assert await browser.ask("DELETE", path, key=key) == {}
    assert [upload async for upload in web_bucket.uploads()] == []
    await browser.ask("GET", path, 404, key=key)


async def test_signing_mode(browser: Browser, web_bucket: dream.Bucket) -> None:
    """Each request of an upload by the browser itself, which reads the service's XML."""
    key = f"larry/{ODD}"
    signed = await browser.ask("POST", "sign", json={"method": "PUT", "key": key, "contentType": "text/plain"})
    await browser.send("PUT", signed["url"], b"12345", signed["headers"])
    assert (await web_bucket.object(key).head()).content_type == "text/plain"
    begun = await browser.send("POST", (await browser.ask("POST", "sign", json={"method": "POST", "key": key}))["url"])
    found = re.search("<UploadId>(.*?)</UploadId>", begun)
    assert found
    ours = {"key": key, "uploadId": found[1]}
    etag = await browser.send(
        "PUT", (await browser.ask("POST", "sign", json={"method": "PUT", "partNumber": 1, **ours}))["url"], b"part"
    )
    listed = await browser.send("GET", (await browser.ask("POST", "sign", json={"method": "GET", **ours}))["url"])
    assert etag.strip('"') in listed
    document = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    url = (await browser.ask("POST", "sign", json={"method": "POST", **ours}))["url"]
    await browser.send("POST", url, document, {"Content-Type": "application/xml"})
    assert await web_bucket.object(key).read() == b"part"
    upload = await web_bucket.object(key).start_upload()
    url = (await browser.ask("POST", "sign", json={"method": "DELETE", "key": key, "uploadId": upload.upload_id}))[
        "url"
    ]
    await browser.send("DELETE", url, status=204)
    assert [one async for one in web_bucket.uploads()] == []


# What must not work


async def test_nobody_gets_at_the_uploads_and_keys_of_others(browser: Browser, web_bucket: dream.Bucket) -> None:
    made = await browser.ask("POST", "multipart", json={"filename": "a", "type": "a/b"})
    other = await browser.ask("POST", "multipart", json={"filename": "a", "type": "a/b"}, user="mallory")
    raw = (await web_bucket.uploads("larry/").collect())[0].upload_id
    front, mac = made["uploadId"].split(".")
    for user, key, upload_id in (
        ("mallory", "larry/a", made["uploadId"]),  # not authorized
        ("mallory", "mallory/a", made["uploadId"]),  # of another key
        ("larry", "larry/b", made["uploadId"]),
        ("larry", "larry/a", raw),
        ("larry", "larry/a", f"{front}."),
        ("larry", "larry/a", front),
        ("larry", "larry/a", f"{front}.{mac[:-4]}AAAA"),
        ("larry", "larry/a", f"{front}.{other['uploadId'].split('.')[1]}"),
        ("larry", "larry/a", f"{front}.ü"),
        ("mallory", "mallory/../larry/a", made["uploadId"]),
    ):
        for method, last in (("GET", ""), ("GET", "/1"), ("GET", "/batch"), ("DELETE", ""), ("POST", "/complete")):
            await browser.ask(method, f"multipart/{upload_id}{last}", 403, {}, user, key=key, partNumbers="1")
    bodies: list[dict[str, Any]] = [
        {"method": "PUT", "key": "larry/a"},
        {"method": "POST", "key": "larry/a"},
        {"method": "PUT", "key": "larry/a", "uploadId": raw, "partNumber": 1},
        {"method": "DELETE", "key": "larry/a", "uploadId": raw},
    ]
    for body in bodies:
        await browser.ask("POST", "sign", 403, body, "mallory")
    for upload_id in (raw, "forged"):  # an upload of another key, or of none
        theirs = {"key": "mallory/a", "uploadId": upload_id}
        await browser.ask("POST", "sign", 404, {"method": "PUT", "partNumber": 1, **theirs}, "mallory")
        await browser.ask("POST", "sign", 404, {"method": "POST", **theirs}, "mallory")


async def test_bad_requests(browser: Browser) -> None:
    made = await browser.ask("POST", "multipart", json={"filename": "a", "type": "a/b"})
    path, key = f"multipart/{made['uploadId']}", made["key"]
    for number in ("0", "10001", "-1", "x", "1.5", "9" * 500):
        await browser.ask("GET", f"{path}/{number}", 400, key=key)
    for numbers in ("", "1,", "1,0", ",".join(map(str, range(1, 1002)))):
        await browser.ask("GET", f"{path}/batch", 400, key=key, partNumbers=numbers)
    await browser.ask("GET", path, 400)
    wrong_parts: list[Any] = [
        None,
        {},
        [1],
        [{"PartNumber": "1", "ETag": "a"}],
        [{"PartNumber": 1}],
        [],
        [{"PartNumber": 1, "ETag": ""}],
        [{"PartNumber": 0, "ETag": "a"}],
        [{"PartNumber": 1, "ETag": "a\r\nb"}],
        [{"PartNumber": 1, "ETag": "a"}] * 2,
    ]
    for parts in wrong_parts:
        await browser.ask("POST", f"{path}/complete", 400, {"parts": parts}, key=key)
    wrong_uploads: list[Any] = [
        None,
        [],
        {},
        {"filename": ""},
        {"filename": 3},
        {"filename": "a", "type": 3},
        {"filename": "a", "metadata": []},
        {"filename": "a", "metadata": {"a": {}}},
        {"filename": "a", "metadata": {"ü b": "1"}},
        {"filename": "a" * 2000},
        {"filename": "a", "type": "a\r\nb"},
        {"filename": "a", "size": -1},
    ]
    for body in wrong_uploads:
        await browser.ask("POST", "multipart", 400, body)
    for field, value in (
        ("type", "a\r\nX-Other: b"),
        ("type", "ü"),
        ("metadata[a b]", "1"),
    ):
        await browser.ask("GET", "params", 400, filename="a", **{field: value})
    wrong_requests: list[Any] = [
        {},
        {"key": "larry/a"},
        {"method": "DELETE", "key": "larry/a"},
        {"method": "GET", "key": "larry/a"},
        {"method": "PUT", "key": "larry/a", "uploadId": "x"},
        {"method": "PUT", "key": 1},
        {"method": ["PUT"], "key": "larry/a"},
        {"method": "PUT", "key": "larry/a", "uploadId": "", "partNumber": 1},
    ]
    for body in wrong_requests:
        await browser.ask("POST", "sign", 400, body)
    for method, route, status in (
        ("GET", "other", 404),
        ("GET", f"{path}/1/2", 404),
    ):
        await browser.ask(method, route, status, key=key)
    for method, route, allow in (
        ("POST", "params", "GET"),
        ("GET", "sign", "POST"),
        ("GET", "multipart", "POST"),
        ("PUT", path, "GET, DELETE"),
        ("GET", f"{path}/complete", "POST"),
        ("POST", f"{path}/1", "GET"),
    ):
        async with browser.client.request(method, f"{browser.url}/uppy/s3/{route}", params={"key": key}) as reply:
            assert (reply.status, reply.headers["allow"]) == (405, allow)
    await browser.ask("GET", "params", 400)
    await browser.ask("POST", "multipart", 413, {"filename": "a" * (1 << 20)})


async def test_the_browser_names_no_key_unless_the_signer_is_told_so(web_bucket: dream.Bucket) -> None:
    async with browser_of(web_bucket, sign_requests=False) as browser:
        for body in ({"method": "PUT", "key": "larry/a"}, {"method": "POST", "key": "larry/a"}):
            told = await browser.ask("POST", "sign", 404, body)
            assert "sign_requests=True" in told["error"]


async def test_the_size_is_limited(web_bucket: dream.Bucket) -> None:
    async with browser_of(web_bucket, max_size=1000) as browser:
        told = await browser.ask("GET", "params", filename="a")
        for size, status in ((1000, 201), (1001, 400)):
            form = aiohttp.FormData(told["fields"], quote_fields=False)
            form.add_field("file", bytes(size), filename="a")
            await browser.send("POST", told["url"], form, status=status)
        await browser.ask("GET", "params", 400, filename="a", method="PUT")
        await browser.ask("GET", "params", 413, filename="a", method="PUT", size="1001")
        await browser.ask("POST", "multipart", 413, {"filename": "a", "size": 1001})
        await browser.ask("POST", "sign", 400, {"method": "PUT", "key": "larry/a"})
        await browser.ask("POST", "sign", 400, {"method": "POST", "key": "larry/a"})
        await browser.ask("POST", "sign", 200, {"method": "PUT", "key": "larry/a", "size": 1000})
        made = await browser.ask("POST", "multipart", json={"filename": "b"})
        path, key = f"multipart/{made['uploadId']}", made["key"]
        await browser.ask("GET", f"{path}/1", 413, key=key, size="1001")
        etag = await browser.send("PUT", (await browser.ask("GET", f"{path}/1", key=key))["url"], bytes(1001))
        await browser.ask("POST", f"{path}/complete", 413, {"parts": [{"PartNumber": 1, "ETag": etag}]}, key=key)
        assert not await web_bucket.object("larry/b").exists()
        assert [upload async for upload in web_bucket.uploads()] == []


async def test_no_other_route_completes_what_is_too_large(web_bucket: dream.Bucket) -> None:
    async with browser_of(web_bucket, max_size=1000) as browser:
        made = await browser.ask("POST", "multipart", json={"filename": "b"})
        url = (await browser.ask("GET", f"multipart/{made['uploadId']}/1", key="larry/b"))["url"]
        await browser.send("PUT", url, bytes(1001))
        upload_id = parse_qs(urlsplit(url).query)["uploadId"][0]  # each signed URL shows the service's own id
        for method, number in (("POST", None), ("PUT", 1)):
            asked = {"method": method, "key": "larry/b", "uploadId": upload_id, "partNumber": number}
            await browser.ask("POST", "sign", 400, asked)


async def test_a_part_that_is_replaced_after_it_was_measured_is_not_stored() -> None:
    service = MemoryService()
    async with (
        service.serve() as at,
        dream.Session(endpoint=at.endpoint, access_key=at.access_key, secret_key=at.secret_key) as session,
    ):
        bucket = await session.create_bucket(new_name())
        async with browser_of(bucket, max_size=1000) as browser:
            made = await browser.ask("POST", "multipart", json={"filename": "b"})
            path, key = f"multipart/{made['uploadId']}", made["key"]
            url = (await browser.ask("GET", f"{path}/1", key=key))["url"]
            large = await browser.send("PUT", url, bytes(1001))
            await browser.send("PUT", url, bytes(10))
            measured = asyncio.Event()
            held = service.delay("complete_upload", measured)
            parts = {"parts": [{"PartNumber": 1, "ETag": large}]}
            completing = asyncio.create_task(browser.ask("POST", f"{path}/complete", 400, parts, key=key))
            while not completing.done() and not held.fired:
                await asyncio.sleep(0)
            await browser.send("PUT", url, bytes(1001))
            measured.set()
            await completing
            assert not await bucket.object(key).exists()


@pytest.mark.parametrize("name", ["key", "authorize"])
async def test_what_the_functions_raise_is_no_answer_to_the_browser(name: str) -> None:
    def fail(*_: object) -> Any:
        msg = "secret text"
        raise ValueError(msg)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b'{"filename": "a"}'}

    async def send(message: object) -> None:
        raise AssertionError(message)

    async with MemoryService().session() as session:
        functions: dict[str, Any] = {"key": key_of, "authorize": authorized, name: fail}
        signer = UploadSigner(session.bucket("bucket"), **functions)
        scope = {"type": "http", "method": "POST", "path": "/s3/multipart", "headers": []}
        with pytest.raises(ValueError, match="secret"):
            await signer(scope, receive, send)


async def test_a_service_without_forms_says_what_to_do() -> None:
    async with MemoryService(service=dream.US_EAST_5).session() as session:
        bucket = await session.create_bucket(new_name())
        async with browser_of(bucket) as browser:
            told = await browser.ask("GET", "params", 400, filename="a")
            assert "shouldUseMultipart: true" in told["error"]
            assert "signRequest" in told["error"]
            told = await browser.ask("GET", "params", filename="a", method="PUT")
            assert told["url"].startswith("https://")


async def test_a_busy_service_is_told_to_the_browser() -> None:
    service = MemoryService()
    async with (
        service.session(retry=dream.Retry(attempts=1)) as session,
        browser_of(session.bucket("bucket")) as browser,
    ):
        service.fail("create_upload", "SlowDown")
        await browser.ask("POST", "multipart", 503, {"filename": "a"})


async def test_processes_with_one_secret_know_each_other_s_uploads(web_bucket: dream.Bucket) -> None:
    secret = os.urandom(32)
    async with (
        browser_of(web_bucket, secret=secret) as one,
        browser_of(web_bucket, secret=secret) as two,
        browser_of(web_bucket) as three,
    ):
        made = await one.ask("POST", "multipart", json={"filename": "a"})
        assert await two.ask("GET", f"multipart/{made['uploadId']}", key=made["key"]) == []
        await three.ask("GET", f"multipart/{made['uploadId']}", 403, key=made["key"])


async def test_the_rules_for_browsers_expose_etags_to_named_origins(web_bucket: dream.Bucket) -> None:
    signer = UploadSigner(web_bucket, key=key_of, authorize=authorized)
    await web_bucket.set_cors(signer.cors_rules(["https://www.example.com", "http://localhost:8000"]))
    async with aiohttp.ClientSession() as client:
        url = web_bucket.object("larry/a").presign_put()
        for origin, allowed in (("https://www.example.com", True), ("https://evil.example", False)):
            headers = {
                "Origin": origin,
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": "content-type",
            }
            async with client.options(_as_it_is(url), headers=headers) as reply:
                assert (reply.headers.get("access-control-allow-origin") == origin) is allowed
        async with client.put(_as_it_is(url), data=b"1", headers={"Origin": "https://www.example.com"}) as reply:
            assert "etag" in reply.headers["access-control-expose-headers"].lower()
    for wrong in (["*"], "https://a.example", [], ["https://*.example.com"], ["https://a.example/"], ["a.example"]):
        with pytest.raises(ValueError, match=r"origins? .*must be"):
            signer.cors_rules(wrong)


@pytest.mark.parametrize(
    "given",
    [
        {"expires": 0},
        {"expires": 3601},
        {"expires": 1.5},
        {"max_size": -1},
        {"secret": b"short"},
        {"secret": "text" * 9},
    ],
)
def test_wrong_settings(given: dict[str, Any]) -> None:
    bucket = MemoryService().session().bucket("bucket")
    with pytest.raises(ValueError, match="must be"):
        UploadSigner(bucket, **{"key": key_of, "authorize": authorized, **given})
    with pytest.raises(TypeError, match="key must be a function"):
        UploadSigner(bucket, key="a", authorize=authorized)  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match="bucket must be a Bucket"):
        UploadSigner("bucket", key=key_of, authorize=authorized)  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match="sign_requests must be True or False"):
        UploadSigner(bucket, key=key_of, authorize=authorized, sign_requests="no")  # type: ignore[arg-type]  # what is tried
    wrong: list[Any] = ["https://a.example", 5, {}, []]
    for origins in wrong:
        with pytest.raises(ValueError, match="origins must be a list"):
            UploadSigner(bucket, key=key_of, authorize=authorized).cors_rules(origins)


def test_a_query_that_is_the_signature_s_is_refused() -> None:
    obj = MemoryService().session().bucket("bucket").object("key")
    for query in ({"X-Amz-Expires": "9"}, {"Signature": "x"}, {"a b": "x"}, {"a": "\ud800"}):
        with pytest.raises(ValueError, match="query"):
            obj.presign("POST", query=query)
