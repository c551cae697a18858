"""Services below a path of their host: what is signed, what is sent, and which endpoints are refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import anyio
import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from conftest import Server, new_name
from servers.mounted import MountedServer

import aiodreamobjects as dream

PATH = "/storage/v1/s3"
LARGE = bytes(range(256)) * (6 << 12)  # two parts
KEY = "dir/a b+ü.txt"


@pytest.fixture(scope="module")
def mounted(rgw: Server) -> Iterator[MountedServer]:
    with MountedServer(PATH, rgw.service.endpoint, rgw.access_key, rgw.secret_key) as running:
        yield running


@pytest.fixture(params=["v4", "v2"])
def signature(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def boto(mounted: MountedServer, rgw: Server, signature: str) -> Iterator[Any]:
    """boto3 with the same endpoint: what it signs must be right, too."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=mounted.endpoint,
        aws_access_key_id=rgw.access_key,
        aws_secret_access_key=rgw.secret_key,
        region_name="us-east-1",
        config=Config(
            signature_version="s3v4" if signature == "v4" else "s3",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    yield client
    client.close()


@pytest_asyncio.fixture
async def session(mounted: MountedServer, rgw: Server, signature: Any) -> AsyncIterator[dream.Session]:
    service = replace(dream.Service.for_endpoint(mounted.endpoint), signature=signature, is_known=True)
    async with dream.Session(service=service, access_key=rgw.access_key, secret_key=rgw.secret_key) as opened:
        yield opened


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    await made.delete(force=True)


async def in_thread(function: Any, **arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(lambda: function(**arguments))


async def fetch(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> bytes:
    def get() -> bytes:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with urlopen(Request(url, data, named, method=method)) as response:
            found: bytes = response.read()
        return found

    return await anyio.to_thread.run_sync(get)


async def test_every_kind_of_request_arrives(
    session: dream.Session, bucket: dream.Bucket, boto: Any, mounted: MountedServer, tmp_path: Path
) -> None:
    mounted.targets.clear()
    item = bucket.object(KEY)
    await item.put(b"small", metadata={"a": "b"})
    got = await in_thread(boto.get_object, Bucket=bucket.name, Key=KEY)
    assert (got["Body"].read(), got["Metadata"]) == (b"small", {"a": "b"})
    await in_thread(boto.put_object, Bucket=bucket.name, Key="boto's", Body=b"its own")
    assert await bucket.object("boto's").read() == b"its own"

    large = bucket.object("large")
    await large.put(LARGE)
    assert (await large.download(tmp_path / "large")).size == len(LARGE)
    await item.copy_to(bucket.object("copy"))
    await large.copy_to(bucket.object("large copy"))
    assert await bucket.object("copy").read() == b"small"
    assert (await bucket.object("large copy").head()).size == len(LARGE)
    assert [info.key for info in await bucket.list("dir/").collect()] == [KEY]
    assert bucket.name in {info.name for info in await session.buckets().collect()}
    await bucket.set_cors([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}])  # by way of aioboto3
    assert len(await bucket.cors()) == 1
    await item.set_acl("public-read")
    assert (await bucket.delete_many(["copy", "large copy"])).done == 2
    client = await session.boto_client()
    assert (await client.head_object(Bucket=bucket.name, Key=KEY))["ContentLength"] == 5
    assert bucket.name in {found["Name"] for found in (await client.list_buckets())["Buckets"]}
    for target in mounted.targets:
        path = target.partition(" ")[2].partition("?")[0]
        assert path == PATH or path.startswith((f"{PATH}/{bucket.name}/", f"{PATH}/{bucket.name}"))


async def test_urls_have_the_path(session: dream.Session, bucket: dream.Bucket, boto: Any) -> None:
    item = bucket.object(KEY)
    await item.put(b"small", acl="public-read")
    assert await fetch(item.url(scheme="http")) == b"small"
    assert await fetch(item.presign_get(60)) == b"small"
    await fetch(item.presign_put(60, content_type="text/plain"), "PUT", b"new", content_type="text/plain")
    assert await item.read() == b"new"
    theirs = await in_thread(
        boto.generate_presigned_url, ClientMethod="get_object", Params={"Bucket": bucket.name, "Key": KEY}
    )
    assert urlsplit(item.presign_get(60))[:3] == urlsplit(theirs)[:3]
    with pytest.raises(HTTPError) as refused:
        await fetch(item.presign_get(60).replace(PATH, f"{PATH}x"))

    refused.value.close()

    form = bucket.object("form").presign_post(60)
    assert form.url == (await in_thread(boto.generate_presigned_post, Bucket=bucket.name, Key="form"))["url"]
    fields = [*form.fields.items(), ("file", "posted")]
    parts = [f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    body = "".join([*parts, "--edge--\r\n"]).encode()
    await fetch(form.url, "POST", body, content_type="multipart/form-data; boundary=edge")
    assert await bucket.object("form").read() == b"posted"


async def test_a_wrong_key_is_noticed_below_a_path(session: dream.Session, bucket: dream.Bucket) -> None:
    service = session.service
    async with dream.Session(service=service, access_key="AK", secret_key="wrong") as other:
        with pytest.raises(dream.AccessDeniedError, match="says the server below the path"):
            await other.bucket(bucket.name).object(KEY).read()


def test_virtual_hosts_have_the_path_too() -> None:
    service = replace(dream.Service.for_endpoint(f"https://s3.example:8443{PATH}"), addressing="virtual")
    assert service.locate("bucket", "a/b") == ("bucket.s3.example:8443", f"{PATH}/a/b")
    assert service.locate("bucket") == ("bucket.s3.example:8443", PATH)
    assert service.locate("my.bucket", "a") == ("s3.example:8443", f"{PATH}/my.bucket/a")


@pytest.mark.parametrize("url", ["https://s3.example/storage/v1/s3", "https://s3.example/storage/v1/s3/"])
def test_an_endpoint_may_have_a_path(url: str) -> None:
    service = dream.Service.for_endpoint(url)
    assert service.endpoint == "https://s3.example/storage/v1/s3"
    assert (service.host, service.path, service.addressing) == ("s3.example", PATH, "path")
    assert service.name == "S3 at s3.example/storage/v1/s3"
    assert dream.Session(endpoint=url, access_key="a", secret_key="b").service == service
    item = dream.Session(endpoint=url, access_key="a", secret_key="b").bucket("bucket").object("a b")
    assert item.url() == "https://s3.example/storage/v1/s3/bucket/a%20b"


@pytest.mark.parametrize("path", ["/.", "/..", "/a/..", "/../a", "/a/./b", "/a/../b", "/./", "/..."])
def test_a_segment_of_dots_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"must not have '\.' or '\.\.' as a segment"):
        dream.Service.for_endpoint(f"https://s3.example{path}")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/a?b",
            "/a?",
            "/a#b",
            "/a#",
            "/%2e%2e/a",
            "/%2E",
            "/a%2fb",
            "/a%b",
            "/a b",
            "/a\\b",
        ),
        *("/a;b", "/a\n", "/a\r\nx: y", "/ü", "/a\x00", "/a@b", "/a:b", "/*", "/a/ "),
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        dream.Service.for_endpoint(f"https://s3.example{path}")
    with pytest.raises(ValueError, match="endpoint"):
        dream.Session(endpoint=f"https://s3.example{path}", access_key="a", secret_key="b")
    with pytest.raises(ValueError, match="endpoint"):
        dream.Service("mine", f"https://s3.example{path}")


@pytest.mark.parametrize(
    ("url", "right"),
    [
        (
            "https://s3.us-east-005.dream.io/my-bucket",
            "DreamObjects is at https://s3.us-east-005.dream.io; give a bucket",
        ),
        ("https://s3.amazonaws.com/my-bucket", "Amazon S3 is at https://s3.amazonaws.com; give a bucket"),
        ("https://abcd.supabase.co", "Supabase is at https://abcd.supabase.co/storage/v1/s3"),
        ("https://abcd.supabase.co/storage/v1", "Supabase is at https://abcd.supabase.co/storage/v1/s3"),
        (
            "https://b.abcd.supabase.co/storage/v1/s3",
            "use https://abcd.supabase.co/storage/v1/s3 and session.bucket('b')",
        ),
    ],
)
def test_a_known_service_has_its_own_path(url: str, right: str) -> None:
    with pytest.raises(ValueError, match=re.escape(right)):
        dream.Service.for_endpoint(url)


@pytest.mark.parametrize("host", ["abcd.supabase.co", "abcd.storage.supabase.co"])
def test_supabase_is_known(host: str) -> None:
    service = dream.Service.for_endpoint(f"https://{host}/storage/v1/s3/")
    assert (service.name, service.path, service.endpoint) == ("Supabase", PATH, f"https://{host}{PATH}")
    assert service.locate("bucket", "key") == (host, f"{PATH}/bucket/key")
