"""Services that want to do harm, and neighbours on the same disk: typed errors, little memory, nothing given away."""

from __future__ import annotations

import base64
import gzip
import json
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from conftest import Server, new_name
from invariants import traced_memory
from servers.raw import Peer, RawServer
from servers.scripted import Content, Raw, Received, Reply, ScriptedServer, Silence, Step, error
from yarl import URL

import aiodreamobjects as dream

Answer = Reply | Raw | Silence | Content

Verb = Callable[[dream.Session], Awaitable[object]]
READERS: dict[str, Verb] = {
    "list": lambda session: session.bucket("bucket").list().collect(),
    "tags": lambda session: session.object("s3://bucket/a").tags(),
}
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 8))
BOMB = gzip.compress(b"<ListBucketResult>" + b" " * (64 << 20))
HARMFUL: dict[str, Step] = {
    "laughs": Reply(200, f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><ListBucketResult>&l7;</ListBucketResult>'.encode()),
    "a file": Reply(200, b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ListBucketResult>&x;</ListBucketResult>'),
    "depth": Reply(200, b"<a>" * 20_000),
    "a bomb": Reply(200, BOMB, {"Content-Encoding": "gzip"}),
    "a bomb in an error": Reply(404, BOMB, {"Content-Encoding": "gzip"}),
    "a large error": Reply(403, b"<Error><Code>AccessDenied</Code><Message>" + b"x" * (6 << 20) + b"</Message></Error>"),
    "laughs in an error": Reply(403, f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><Error><Code>&l7;</Code></Error>'.encode()),
}  # fmt: skip


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    with traced_memory() as memory:
        yield
    assert memory.peak < most


@pytest.mark.parametrize("harm", HARMFUL)
async def test_a_harmful_document_is_an_error_and_asked_for_once(scripted: ScriptedServer, harm: str) -> None:
    scripted.will(HARMFUL[harm])
    async with scripted.session(retry=dream.Retry(attempts=2, base=0.001)) as session:
        for verb in (READERS["list"], READERS["tags"]):
            scripted.received.clear()
            with pytest.raises(dream.ServiceError) as caught:
                await verb(session)
            assert len(scripted.received) == 1
            assert len(str(caught.value)) < 70_000


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["success", "error"],
)
async def test_a_document_without_an_end_is_cut(head: bytes) -> None:
    chunk = b"10000\r\n" + b"<a/>" * (1 << 14) + b"\r\n"

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.pour(head)
        while True:
            await peer.pour(chunk)

    async with RawServer(endless) as server:
        settings = {"endpoint": f"http://{server.host}", "retry": dream.Retry(attempts=1)}
        async with dream.Session(access_key="a", secret_key="b", **settings) as session:  # type: ignore[arg-type]  # each by its name
            await session.boto_client()
            with little_memory(100 << 20):
                for verb in (READERS["list"], READERS["tags"]):
                    with pytest.raises(dream.ConnectionFailedError, match="a document of over"):
                        await verb(session)


async def test_a_head_without_an_end_is_cut() -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.pour(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.pour(b"".join(b"x-%d: y\r\n" % number for number in range(5000)))

    async with RawServer(endless) as server:
        settings = {"endpoint": f"http://{server.host}", "retry": dream.Retry(attempts=1)}
        async with dream.Session(access_key="a", secret_key="b", **settings) as session:  # type: ignore[arg-type]  # each by its name
            await session.boto_client()
            for verb in (READERS["list"], READERS["tags"], lambda session: session.object("s3://bucket/a").read()):
                with pytest.raises(dream.ConnectionFailedError) as caught:
                    await verb(session)
                assert len(str(caught.value)) < 1000


async def test_a_compressed_object_is_kept_as_it_is_stored(scripted: ScriptedServer, tmp_path: Path) -> None:
    """A bomb is not set off, and what is asked for is identity."""
    scripted.will(Reply(200, BOMB, {"Content-Encoding": "gzip", "ETag": '"opaque-1"'}))
    async with scripted.session() as session:
        obj = session.object("s3://bucket/a")
        assert await obj.read() == BOMB
        await obj.download(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BOMB
    assert {asked.headers["accept-encoding"] for asked in scripted.received} == {"identity"}


# Words of a service that are not believed


async def test_what_was_not_asked_to_be_deleted_is_not_counted(scripted: ScriptedServer) -> None:
    """Neither keys that nobody named, nor what an unescaped key would add: that one is deleted by itself."""
    scripted.will(
        Reply(
            200,
            b"<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>other</Key></Deleted>"
            b"<Deleted><Key>b<Deleted><Key>c</Key></Deleted></Key></Deleted>"
            b"<Error><Key>not ours</Key><Code>AccessDenied</Code></Error></DeleteResult>",
        ),
        error(403, "AccessDenied"),
    )
    async with scripted.session(retry=dream.Retry(attempts=1)) as session:
        report = await session.bucket("bucket").delete_many(["a", "c"], on_error="collect")
    assert (report.done, [failure.key for failure in report.failures]) == (1, ["c"])


@pytest.mark.parametrize(
    "entries",
    [
        b"<Contents><Key>a/<Contents><Key>evil</Key></Contents></Key></Contents>",
        b"<Contents><Key>a/x</Key><Size>1</Size></Contents><Other><Contents><Key>evil</Key></Contents></Other>",
        b"<Contents><Key>a/x</Key><Size>1</Size></Contents><Contents><Key>evil</Key><Size>1</Size></Contents>",
    ],
    ids=["in a key", "in another element", "as one more"],
)
async def test_what_an_unescaped_key_adds_is_not_listed(scripted: ScriptedServer, entries: bytes) -> None:
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated>" + entries + b"</ListBucketResult>"
    scripted.will(Reply(200, page))
    async with scripted.session() as session:
        try:
            keys = [info.key async for info in session.bucket("bucket").list("a/")]
        except dream.ServiceError:
            return
    assert "evil" not in keys


# What is not sent


async def test_nothing_is_public_chunked_or_checksummed_by_itself(tmp_path: Path) -> None:
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    done = b"<CompleteMultipartUploadResult><ETag>opaque-2</ETag></CompleteMultipartUploadResult>"
    copied = b"<CopyObjectResult><ETag>opaque-1</ETag></CopyObjectResult>"

    def answer(asked: Received) -> Answer:
        if asked.method == "POST":
            return Reply(200, done if "uploadId" in asked.target else begun)
        body = copied if "x-amz-copy-source" in asked.headers else b""
        return Reply(200, body, {"ETag": '"opaque-1"'})

    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"x")
    async with ScriptedServer() as service:
        service.will(answer)
        rules = dream.MultipartRules(smallest_part=1)
        settings = {
            "service": replace(dream.Service.for_endpoint(service.endpoint), multipart=rules),
            "limits": dream.Limits(part_size=1 << 16),
        }
        async with service.session(**settings) as session:
            obj, other = session.object("s3://bucket/a"), session.object("s3://bucket/b")
            await obj.put(b"x")
            await obj.put(b"x" * 200_000, verify="off")
            await obj.upload(tmp_path / "tree" / "file")
            await obj.copy_to(other)
            await session.create_bucket("bucket", exist_ok=True)
            await session.bucket("bucket").upload_tree(tmp_path / "tree")
    assert len(service.received) > 8
    for asked in service.received:
        names = set(asked.headers)
        assert not {name for name in names if name.startswith(("x-amz-acl", "x-amz-grant", "x-amz-checksum"))}
        assert not names & {"x-amz-trailer", "x-amz-sdk-checksum-algorithm", "transfer-encoding", "expect"}
        assert "chunked" not in asked.headers.get("content-encoding", "")
        assert not asked.headers["x-amz-content-sha256"].startswith("STREAMING")


# Browser forms


def policy_of(form: dream.PresignedPost) -> tuple[str, list[object]]:
    document = json.loads(base64.b64decode(form.fields["policy"]))
    return document["expiration"], document["conditions"]


async def submit(form: dream.PresignedPost, content: bytes, changed: Mapping[str, str]) -> int:
    with aiohttp.MultipartWriter("form-data") as body:
        for name, value in {**form.fields, **changed}.items():
            body.append(value).set_content_disposition("form-data", name=name)
        body.append(content).set_content_disposition("form-data", name="file", filename="x")
        async with (
            aiohttp.ClientSession() as anyone,
            anyone.post(URL(form.url, encoded=True), data=body) as reply,
        ):
            return reply.status


@pytest.mark.parametrize("signature", ["v4", "v2"])
async def test_a_form_allows_its_bucket_its_key_its_size_and_its_time(rgw: Server, signature: dream.Signature) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("dir/the key")
        form = obj.presign_post(60, max_bytes=10, signature=signature)
        expiration, conditions = policy_of(form)
        assert {"bucket": bucket.name} in conditions
        assert {"key": "dir/the key"} in conditions
        assert ["content-length-range", 0, 10] in conditions
        left = time.mktime(time.strptime(expiration, "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
        assert 0 < left <= 60
        signed = {name for condition in conditions if isinstance(condition, dict) for name in condition}
        assert signed >= ({"x-amz-algorithm", "x-amz-credential", "x-amz-date"} if signature == "v4" else set())
        short = obj.presign_post(1, signature=signature)
        for changed in (
            {"key": "dir/another key"},
            {"key": "dir/the key/../../x"},
            {"key": "${filename}"},
            {"acl": "public-read"},
            {"x-amz-meta-x": "y"},
        ):
            assert await submit(form, b"x", changed) == 403, changed
        assert await submit(form, b"01234567890", {}) >= 400
        elsewhere = await session.create_bucket(new_name())
        moved = dream.PresignedPost(form.url.replace(bucket.name, elsewhere.name), form.fields)
        assert await submit(moved, b"x", {}) == 403
        assert [info.key async for info in bucket.list()] == []
        assert [info.key async for info in elsewhere.list()] == []
        assert await submit(form, b"0123456789", {}) in (200, 204)
        assert await obj.read() == b"0123456789"
        while time.time() < time.mktime(time.strptime(policy_of(short)[0], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone + 1:
            await session.bucket(bucket.name).exists()
        assert await submit(short, b"x", {}) == 403
        await bucket.delete(force=True)
        await elsewhere.delete()


# Files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def umask() -> Iterator[int]:
    mask = 0o027
    before = os.umask(mask)
    yield mask
    os.umask(before)


@pytest.mark.parametrize("kind", ["new", "private", "executable"])
async def test_a_file_under_way_is_open_to_nobody_to_whom_it_will_not_be(
    scripted: ScriptedServer, tmp_path: Path, umask: int, kind: str
) -> None:
    path = tmp_path / "file"
    seen: list[int] = []
    final = {"new": 0o666 & ~umask, "private": 0o600, "executable": 0o755}[kind]
    if kind != "new":
        path.write_bytes(b"old")
        path.chmod(final)

    def look(asked: Received) -> Answer:
        seen.extend(mode_of(part) for part in tmp_path.glob(".*.part"))
        return Content(bytes(300_000), "opaque-1")

    scripted.will(look)
    async with scripted.session(limits=dream.Limits(part_size=1 << 16)) as session:
        await session.object("s3://bucket/a").download(path)
    assert len(seen) > 1
    assert {mode & ~final for mode in seen} == {0}
    assert mode_of(path) == final


@pytest.mark.parametrize("resume", [False, True], ids=["at once", "resumed"])
async def test_a_link_at_the_temporary_name_is_not_followed(
    scripted: ScriptedServer, tmp_path: Path, *, resume: bool
) -> None:
    """Planted while the download is under way, or where one left off."""
    precious, place = tmp_path / "precious", tmp_path / "place"
    precious.write_bytes(b"precious")
    place.mkdir()
    count = 0

    def first_only(asked: Received) -> Answer:
        nonlocal count
        count += 1
        return Content(bytes(300_000), "opaque-1") if count < 3 or not resume else Reply(403)

    limits = dream.Limits(part_size=1 << 16, parts_per_object=1)
    async with scripted.session(limits=limits) as session:
        obj = session.object("s3://bucket/a")
        if resume:
            scripted.will(first_only)
            with pytest.raises(dream.AccessDeniedError):
                await obj.download(place / "file", resume=True)
            left = sorted(path.name for path in place.iterdir())
            assert [name.rpartition(".")[2] for name in left] == ["journal", "part"]
            for name in left:
                (place / name).unlink()
                (place / name).symlink_to(precious)
                scripted.will(Content(bytes(300_000), "opaque-1"))
                with pytest.raises(OSError, match="symbolic links"):
                    await obj.download(place / "file", resume=True)
                (place / name).unlink()
        else:

            def plant(asked: Received) -> Answer:
                for part in place.glob(".*.part"):
                    if not part.is_symlink():
                        part.unlink()
                        part.symlink_to(precious)
                return Content(b"\1" * 300_000, "opaque-1")

            scripted.will(plant)
            await obj.download(place / "file")
    assert precious.read_bytes() == b"precious"
