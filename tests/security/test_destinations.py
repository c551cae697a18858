"""Where a request may go, and what may be in it: no redirect, no name and no value leads elsewhere."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
import pytest_asyncio
from botocore.exceptions import BotoCoreError, ClientError
from fuzzing import fuzzed
from hypothesis import example, given
from hypothesis import strategies as st
from servers.scripted import Content, Raw, Received, Reply, ScriptedServer, Silence, Step

import aiodreamobjects as dream

Answer = Reply | Raw | Silence | Content
OF_A_CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}

Verb = Callable[[dream.Session], Awaitable[object]]

VERBS: dict[str, Verb] = {
    "put": lambda session: session.object("s3://bucket/a").put(b"x"),
    "conditional put": lambda session: session.object("s3://bucket/a").put(b"x", if_absent=True),
    "read": lambda session: session.object("s3://bucket/a").read(),
    "head": lambda session: session.object("s3://bucket/a").head(),
    "delete": lambda session: session.object("s3://bucket/a").delete(),
    "copy": lambda session: session.object("s3://bucket/a").copy_to(session.object("s3://bucket/b")),
    "acl": lambda session: session.object("s3://bucket/a").set_acl("public-read"),
    "tags": lambda session: session.object("s3://bucket/a").set_tags({"a": "b"}),
    "list": lambda session: session.bucket("bucket").list().collect(),
    "delete many": lambda session: session.bucket("bucket").delete_many(["a", "b"]),
    "create bucket": lambda session: session.create_bucket("bucket"),
    "head bucket": lambda session: session.bucket("bucket").info(),
    "buckets": lambda session: session.buckets().collect(),
}
Target = Callable[[str, str, Received], Mapping[str, str]]

TARGETS: dict[str, Target] = {
    "another host": lambda here, there, asked: {"Location": f"{there}{asked.target}"},
    "another host, as B2 and S3 say it": lambda here, there, asked: {
        "Location": f"{there}{asked.target}",
        "x-amz-bucket-region": "us-west-004",
    },
    "the same host": lambda here, there, asked: {"Location": f"{here}/bucket/other"},
    "a path": lambda here, there, asked: {"Location": "/bucket/other"},
    "no scheme": lambda here, there, asked: {"Location": f"//{urlsplit(there).netloc}/bucket/a"},
    "in a circle": lambda here, there, asked: {"Location": f"{here}{asked.target}"},
    "a region": lambda here, there, asked: {"x-amz-bucket-region": "us-west-004"},
    "nowhere": lambda here, there, asked: {"Location": ""},
    "nothing": lambda here, there, asked: {},
}
POINTS_ELSEWHERE = b"<Error><Code>TemporaryRedirect</Code><Message>go</Message><Endpoint>127.0.0.1</Endpoint></Error>"


def redirect(status: int, headers: Mapping[str, str]) -> Reply:
    return Reply(status, POINTS_ELSEWHERE, headers)


def pointing(status: int, target: Target, here: str, there: str) -> Step:
    return lambda asked: redirect(status, target(here, there, asked))


# Redirects


@pytest.mark.parametrize("status", [301, 303, 307])
async def test_no_verb_follows_a_redirect(scripted: ScriptedServer, status: int) -> None:
    async with ScriptedServer() as elsewhere, scripted.session(session_token="canary") as session:
        elsewhere.will(Reply(200))
        for target in TARGETS.values():
            for name, verb in VERBS.items():
                scripted.will(pointing(status, target, scripted.endpoint, elsewhere.endpoint))
                with pytest.raises(dream.ServiceError) as caught:
                    await verb(session)
                assert caught.value.status == status, name
                assert len(scripted.received) == 1, f"{name}: {scripted.requests}"
        assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [301, 307])
async def test_the_aioboto3_client_follows_no_redirect(scripted: ScriptedServer, status: int) -> None:
    """Neither botocore's own to another region, which has ended in a RecursionError, nor HTTP's."""
    async with ScriptedServer() as elsewhere, scripted.session(session_token="canary") as session:
        elsewhere.will(Reply(200))
        client: Any = await session.boto_client()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: client.get_object(Bucket="bucket", Key="a", **OF_A_CUSTOMER),
            lambda: client.put_object(Bucket="bucket", Key="a", Body=b"x", **OF_A_CUSTOMER),
            lambda: client.head_bucket(Bucket="bucket"),
            lambda: client.list_objects_v2(Bucket="bucket"),
        ]
        for target in TARGETS.values():
            for call in calls:
                scripted.will(pointing(status, target, scripted.endpoint, elsewhere.endpoint))
                with pytest.raises(ClientError):
                    await call()
                assert len(scripted.received) == 1
        assert elsewhere.connections == 0


async def test_a_completion_follows_no_redirect(scripted: ScriptedServer) -> None:
    rules = dream.MultipartRules(smallest_part=1)
    service = replace(dream.Service.for_endpoint(scripted.endpoint), multipart=rules)
    async with ScriptedServer() as elsewhere:
        elsewhere.will(Reply(200))

        def answer(asked: Received) -> Answer:
            if asked.method == "POST" and "uploadId" not in asked.target:
                begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
                return Reply(200, begun)
            if asked.method == "POST":
                return redirect(307, {"Location": f"{elsewhere.endpoint}{asked.target}"})
            if asked.method == "GET":
                return Reply(200, b"<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>")
            return Reply(204) if asked.method == "DELETE" else Reply(200, headers={"ETag": '"opaque-1"'})

        scripted.will(answer)
        limits = dream.Limits(part_size=1 << 20, parts_per_object=2)
        async with scripted.session(service=service, limits=limits, session_token="canary") as session:
            with pytest.raises(dream.ServiceError) as caught:
                await session.object("s3://bucket/a").put(bytes(3 << 20), verify="off")
        assert caught.value.status == 307
        completions = [
            request for request in scripted.requests if request.startswith("POST") and "uploadId=u" in request
        ]
        assert len(completions) == 1
        assert elsewhere.connections == 0


async def test_no_redirect_leads_from_https_to_http(certificate: tuple[Path, Path], ca: Path) -> None:
    async with ScriptedServer(certificate) as service, ScriptedServer() as plain:
        plain.will(Reply(200))
        service.will(lambda asked: redirect(307, {"Location": f"{plain.endpoint}{asked.target}"}))
        async with service.session(ca=ca, session_token="canary") as session:
            for verb in VERBS.values():
                with pytest.raises(dream.ServiceError):
                    await verb(session)
        assert len(service.received) == len(VERBS)
        assert plain.connections == 0


# Names that mean another host

HOSTILE = [
    *("x@evil:443/#", "evil/", "evil#", "evil?", "evil\\", "a@b", ":80", "//evil", "..", ".", "", " ", "%2f", "%00", "evil%2ecom"),
    *("photos\n", "\nphotos", "photos\r\nHost: evil", "photos\0", "pho\tos", "Photos", "PHOTOS", "photos.", ".photos", "-photos", "a..b"),
    *("127.0.0.1", "\uff11\uff12\uff17.0.0.1", "photo\u017f", "\u212aphotos", "ph\u0131tos", "ph\u0130tos", "photos\uff0eevil", "photos\u3002evil", "photoß"),
    *("photos٣", "photos\u0663", "photos²", "é", "xn--photos", "[::1]", "localhost", "arn:aws:s3:::photos", "test--use1-az4--x-s3"),
]  # fmt: skip
NAMES = (
    st.sampled_from(HOSTILE) | st.text(max_size=12) | st.text("aA0-._:/@#?%\\\n [\u017f\u212a\u0130\u0131", max_size=24)
)
STRICT_ENDPOINT = re.compile(r"https?://([a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII)


def made(settings: Mapping[str, object]) -> dream.Session | None:
    """None where it is refused as every impossible value is."""
    try:
        return dream.Session(access_key="AK", secret_key="SK", **settings)  # type: ignore[arg-type]  # each by its name
    except ValueError:
        return None


@given(
    st.builds(
        "{}://{}{}".format, st.sampled_from(["https", "http", "HTTPS", "http\u017f", "ftp", "s3", ""]), NAMES, NAMES
    )
    | NAMES
)
@example("http\u017f://minio.example")
@example("https://\u017f3.us-east-005.dream.io")
@example("https://\u212a.example")
@example("https://\u0130.example")
@fuzzed(0.5)
async def test_an_endpoint_is_what_it_looks_like_or_refused(endpoint: str) -> None:
    session = made({"endpoint": endpoint}) if endpoint else None
    if session is None:
        return
    assert STRICT_ENDPOINT.fullmatch(endpoint.lower()), f"{endpoint!r} was accepted"
    assert endpoint.isascii(), f"{endpoint!r} was accepted"
    expected = urlsplit(endpoint.lower().rstrip("/"))
    async with session:
        url = urlsplit(session.object("s3://photos/key").presign_get())
    assert (url.scheme, url.hostname, url.username) == (expected.scheme, (expected.hostname or "").rstrip("."), None)
    assert (url.port or None) in (expected.port, None)


@pytest.mark.parametrize(
    ("endpoint", "warns"),
    [
        ("http://minio.example", True),
        ("http://10.0.0.1:9000", True),
        ("https://minio.example", False),
        ("http://127.0.0.1:9000", False),
        ("http://[::1]:9000", False),
        ("http://localhost:9000", False),
    ],
)
async def test_an_endpoint_in_the_clear_is_warned_of(
    endpoint: str, *, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with dream.Session(endpoint=endpoint, access_key="AK", secret_key="SK"):
        pass
    assert ("is not encrypted" in caplog.text) == warns


@given(NAMES)
@fuzzed(0.5)
async def test_a_region_leads_nowhere_else_and_ends_no_header(region: str) -> None:
    for given_by in ({"endpoint": "http://minio.example"}, {"service": dream.Service.ceph_rgw("http://minio.example")}):
        session = made({**given_by, "region": region}) if region else None
        if session is not None:
            assert re.fullmatch(r"[A-Za-z0-9_-]+", region, re.ASCII)
            async with session:
                url = urlsplit(session.object("s3://photos/key").presign_get())
            assert url.netloc == "minio.example"
            assert dict(parse_qsl(url.query))["X-Amz-Credential"].split("/")[2] == region
    try:
        told = (dream.Service.backblaze_b2(region), dream.Service.amazon_s3(region))
    except ValueError:
        return
    for service in told:
        assert service.host.endswith((".backblazeb2.com", ".amazonaws.com"))
        assert region.lower() in service.host.split(".")


@pytest_asyncio.fixture(params=["path", "virtual"])
async def example_org(request: pytest.FixtureRequest) -> AsyncIterator[dream.Session]:
    service = dream.Service("example", "https://s3.example.org", addressing=request.param)
    async with dream.Session(service=service, access_key="AK", secret_key="SK") as session:
        yield session


async def test_no_bucket_and_no_key_leads_to_another_host(example_org: dream.Session) -> None:
    """Of whatever is accepted, the presigned URL, the plain one and the form name the service's host."""
    words = random.Random(8)
    pieces = [*"photos.evil-0" * 4, *"@:/#?%\\\n\r\0 ", "..", "\u017f", "\u212a", "\uff0e", "é"]
    names = [*HOSTILE, *("".join(words.choices(pieces, k=words.randint(3, 9))) for _ in range(2000))]
    accepted = 0
    for bucket in names:
        try:
            named = example_org.bucket(bucket)
        except ValueError:
            continue
        accepted += 1
        assert re.fullmatch(r"[a-z0-9.-]{3,63}", bucket, re.ASCII)
        key = words.choice(names) or "key"
        obj = named.object(key)
        for url in (
            obj.presign_get(),
            obj.presign_put(),
            obj.presign_get(signature="v2"),
            obj.url(),
            obj.presign_post().url,
        ):
            parts = urlsplit(url)
            assert url.isascii()
            assert url.isprintable()
            assert (parts.scheme, parts.username, parts.port, parts.fragment) == ("https", None, None, "")
            in_path = parts.netloc == "s3.example.org"
            assert in_path or parts.netloc == f"{bucket}.s3.example.org"
            if url != obj.presign_post().url:
                assert unquote(parts.path) == (f"/{bucket}/{key}" if in_path else f"/{key}")
    assert accepted > 50


async def test_no_impossible_bucket_is_asked_for(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200))
    async with scripted.session() as session:
        for name in HOSTILE:
            try:
                session.bucket(name)
            except ValueError:
                with pytest.raises(ValueError, match="impossible here"):
                    await session.create_bucket(name)
                assert scripted.received == []
            else:
                await session.bucket(name).info()
                request = scripted.received.pop()
                assert (request.target.rstrip("/"), request.headers["host"]) == (
                    f"/{name}",
                    f"127.0.0.1:{scripted.port}",
                )


@pytest.mark.parametrize(
    "bucket",
    [
        "arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap",
        "arn:aws:s3:us-west-2:123456789012:accesspoint:reports",
        "arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/reports",
    ],
)
async def test_no_arn_leads_the_aioboto3_client_to_another_service(scripted: ScriptedServer, bucket: str) -> None:
    """A host is made of it, which need not be below the endpoint's: nothing signed may go there."""
    scripted.will(Reply(200))
    asked: list[str] = []
    async with scripted.session(session_token="canary") as session:
        client: Any = await session.boto_client()
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def note(host: Any, *rest: Any, **options: Any) -> Any:
            asked.append(str(host))
            return await resolve("127.0.0.1", *rest, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "getaddrinfo", note)
            with suppress(ValueError, dream.DreamObjectsError, BotoCoreError, ClientError):
                await client.get_object(Bucket=bucket, Key="a")
    assert [host for host in asked if not host.endswith(("127.0.0.1", "localhost"))] == []


# Values that mean another header

LETTERS = [
    *"ab \"';:=",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\t",
    "\x0b",
    "\x0c",
    "\x1b",
    "\x7f",
    "\x85",
    "\xa0",
    "é",
    "\u2028",
    "\u2029",
    "\ud800",
]
LETTERS += [
    "\r\nx-evil: 1",
    "\nx-evil: 1",
    "\rx-evil: 1",
    "\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "\u010d\u010a",
    "\uff0a",
]


def hostile_values(count: int) -> list[str]:
    chosen = random.Random(4711)
    return ["".join(chosen.choices(LETTERS, k=chosen.randint(1, 6))) for _ in range(count)]


Setter = Callable[[dream.Object, str], Awaitable[object]]
SETTERS: dict[str, Setter] = {
    "content_type": lambda obj, value: obj.put(b"", content_type=value),
    "cache_control": lambda obj, value: obj.put(b"", cache_control=value),
    "content_disposition": lambda obj, value: obj.put(b"", content_disposition=value),
    "content_encoding": lambda obj, value: obj.put(b"", content_encoding=value),
    "storage_class": lambda obj, value: obj.put(b"", storage_class=value),
    "acl": lambda obj, value: obj.put(b"", acl=value),  # type: ignore[arg-type]  # what is none is refused
    "metadata name": lambda obj, value: obj.put(b"", metadata={value: "x"}),
    "metadata value": lambda obj, value: obj.put(b"", metadata={"x": value}),
    "if_match": lambda obj, value: obj.put(b"", if_match=value),
    "if_match of a read": lambda obj, value: read(obj, if_match=value),
    "if_none_match": lambda obj, value: read(obj, if_none_match=value),
    "version_id": lambda obj, value: read(obj, version_id=value),
    "version_id of a deletion": lambda obj, value: obj.delete(version_id=value),
    "set_acl": lambda obj, value: obj.set_acl(value),  # type: ignore[arg-type]  # what is none is refused
    "range": lambda obj, value: obj.read((0, value)),  # type: ignore[arg-type]  # what is none is refused
}
SENT = {
    *("host", "authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "content-length"),
    *(
        "content-md5",
        "accept-encoding",
        "user-agent",
        "accept",
        "connection",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
    ),
    *("content-type", "cache-control", "content-disposition", "content-encoding", "x-amz-storage-class", "x-amz-acl"),
    *("if-match", "if-none-match", "range"),
}


async def read(obj: dream.Object, **conditions: Any) -> bytes:
    async with obj.get(**conditions) as body:
        return await body.read()


def assert_as_asked(request: Received, method: str, path: str) -> None:
    assert (request.method, request.target.partition("?")[0], request.body) == (method, path, b"")
    for name, value in request.headers.items():
        assert name in SENT or re.fullmatch(r"x-amz-meta-[!-~]+", name), f"{name!r} was sent"
        assert value.isascii(), f"{name}: {value!r} was sent"
        assert value.isprintable(), f"{name}: {value!r} was sent"


async def test_no_value_makes_another_header_or_request() -> None:
    """Refused before anything is sent, or sent as one value of its own header."""
    sent = refused = 0
    async with ScriptedServer() as service, service.session() as session:
        obj = session.object("s3://bucket/key")
        for name, setter in SETTERS.items():
            for value in hostile_values(600):
                service.will(Reply(200, headers={"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}))
                try:
                    await setter(obj, value)
                except (ValueError, TypeError):
                    assert service.received == [], f"{name} {value!r} was refused after it was sent"
                    refused += 1
                    continue
                method = (
                    "DELETE"
                    if "deletion" in name
                    else "GET"
                    if "read" in name or name in ("if_none_match", "version_id")
                    else "PUT"
                )
                assert len(service.received) == 1
                assert_as_asked(service.received[0], method, "/bucket/key")
                sent += 1
    assert refused > sent > 10


async def test_no_key_makes_another_header_or_request() -> None:
    copied = b"<CopyObjectResult><ETag>opaque-1</ETag></CopyObjectResult>"
    told = {"ETag": '"opaque-1"'}

    def answer(asked: Received) -> Answer:
        return Reply(200, copied) if "x-amz-copy-source" in asked.headers else Reply(200, headers=told)

    async with ScriptedServer() as service, service.session() as session:
        bucket = session.bucket("bucket")
        for key in hostile_values(1000):
            service.will(answer)
            try:
                obj = bucket.object(key)
            except ValueError:
                assert "\ud800" in key
                continue
            path = f"/bucket/{quote(key, safe='/-_.~')}"
            await obj.delete()
            assert_as_asked(service.received[0], "DELETE", path)
            assert len(service.received) == 1
            await obj.copy_to(bucket.object("copy"))
            sources = [
                request.headers["x-amz-copy-source"]
                for request in service.received
                if "x-amz-copy-source" in request.headers
            ]
            assert [unquote(source).lstrip("/") for source in sources] == [f"bucket/{key}"]
            assert {request.target.partition("?")[0] for request in service.received} == {path, "/bucket/copy"}
            assert all(
                value.isascii() and value.isprintable()
                for request in service.received
                for value in request.headers.values()
            )


async def test_what_is_presigned_is_what_was_named(example_org: dream.Session) -> None:
    """Headers that a reply is to have, and those that an upload must have."""
    obj = example_org.object("s3://photos/a key")
    names = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    ]
    for value in hostile_values(1000):
        for name in ("Content-Disposition", "content-type", "expires", value):
            try:
                url = obj.presign_get(response_headers={name: value})
            except ValueError:
                assert "\ud800" in value or name == value
                continue
            assert url.isascii()
            assert url.isprintable()
            query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True))
            assert query.pop(f"response-{name.lower()}") == value
            assert sorted(query) == sorted(names)
        for given_ in ({"content_type": value}, {"metadata": {"x": value}}, {"metadata": {value: "x"}}):
            try:
                url = obj.presign_put(**given_)
            except ValueError:
                continue
            assert next(iter(given_.values())) in (value, {"x": value}, {value: "x"})
            assert (value.isascii(), value.isprintable()) == (True, True)
            assert sorted(dict(parse_qsl(urlsplit(url).query))) == sorted(names)


async def test_no_tag_and_no_grant_makes_another_element(scripted: ScriptedServer) -> None:
    odd = "a</Value></Tag><Tag><Key>evil</Key><Value>&amp;'\"<!--"
    scripted.will(Reply(200))
    async with scripted.session() as session:
        obj = session.object("s3://bucket/key")
        await obj.set_tags({"x": odd})
        await obj.set_acl(dream.Acl(odd, (dream.Grant("READ", id=odd),)))
    tags, acl = (request.body for request in scripted.received)
    assert (tags.count(b"<Tag>"), acl.count(b"<Grant>")) == (1, 1)
    for body in (tags, acl):
        assert b"&lt;/Value&gt;" in body
        assert b"<Key>evil</Key>" not in body


# Endpoints and proxies of the environment


async def test_a_proxy_sees_only_what_it_is_set_for(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for the other scheme is not used, and ``no_proxy`` is obeyed."""
    async with ScriptedServer() as proxy:
        proxy.will(Reply(407))
        scripted.will(Reply(200))
        for settings_ in (
            {"https_proxy": proxy.endpoint},
            {"http_proxy": proxy.endpoint, "no_proxy": "127.0.0.1"},
            {"all_proxy": proxy.endpoint, "no_proxy": "127.0.0.0/8"},
        ):
            with monkeypatch.context() as patch:
                for name, value in settings_.items():
                    patch.setenv(name, value)
                async with scripted.session() as session:
                    await session.object("s3://bucket/a").delete()
        assert len(scripted.received) == 3
        assert proxy.connections == 0
