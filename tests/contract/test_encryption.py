"""Encryption on Ceph RGW over TLS and on the memory service, with boto3 as the observer."""

from __future__ import annotations

import base64
import copy
import hashlib
import http.client
import os
import pickle
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from conftest import Server, new_name
from servers.scripted import Received, Reply, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = 5 << 20
ON = ("memory-served", "rgw-tls")
LIMITS = dream.Limits(part_size=PART)
SESSION = {"limits": LIMITS}
KEY, OTHER = dream.SseCustomer(bytes(range(32))), dream.SseCustomer(b"o" * 32)
BOTO_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(range(32))}
LARGE = os.urandom(PART + 1)
CONTENTS = {"small": b"hello", "empty": b"", "in parts": LARGE}


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    assert [info.key async for info in made.uploads()] == []
    await made.delete(force=True)


# Reading and writing


async def put(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    return await obj.put(content, encryption=KEY)


async def upload(obj: dream.Object, content: bytes, path: Path) -> dream.ObjectInfo:
    path.write_bytes(content)
    return await obj.upload(path, encryption=KEY)


async def write(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    async with obj.writer(encryption=KEY) as file:
        await file.write(content)
    return file.info


async def send_parts(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    started = await obj.start_upload(encryption=KEY)
    await started.put_part(1, content[:PART])
    if content[PART:]:
        await started.put_part(2, content[PART:])
    return await started.complete()


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("verb", [put, upload, write, send_parts])
async def test_what_is_written_needs_the_key(
    bucket: dream.Bucket,
    boto: Any,
    tmp_path: Path,
    verb: Callable[[dream.Object, bytes, Path], Awaitable[dream.ObjectInfo]],
    content: bytes,
) -> None:
    info = await verb(bucket.object("a"), content, tmp_path / "file")
    assert (info.size, info.encryption, info.verified) == (len(content), "SSE-C", "size")
    assert info.etag
    found = boto.get_object(Bucket=bucket.name, Key="a", **BOTO_KEY)
    assert found["Body"].read() == content
    assert found["SSECustomerAlgorithm"] == "AES256"
    with pytest.raises(ClientError):
        boto.get_object(Bucket=bucket.name, Key="a")


async def read_lines(obj: dream.Object, key: dream.SseCustomer | None, _: Path) -> bytes:
    async with obj.get(encryption=key) as body:
        return await body.read()


async def read_as_file(obj: dream.Object, key: dream.SseCustomer | None, _: Path) -> bytes:
    async with obj.reader(encryption=key) as file:
        return await file.read()


async def download(obj: dream.Object, key: dream.SseCustomer | None, path: Path) -> bytes:
    info = await obj.download(path, encryption=key)
    assert (info.verified, info.encryption) == ("size", "SSE-C")
    return path.read_bytes()


async def head(obj: dream.Object, key: dream.SseCustomer | None, _: Path) -> bytes:
    info = await obj.head(encryption=key)
    assert (info.size, info.encryption) == (len(LARGE), "SSE-C")
    return LARGE


READS = {
    "read": lambda obj, key, _: obj.read(encryption=key),
    "range": lambda obj, key, _: obj.read((0, None), encryption=key),
    "get": read_lines,
    "reader": read_as_file,
    "download": download,
    "head": head,
}


@pytest.mark.parametrize("verb", READS.values(), ids=READS)
async def test_only_the_key_reads(bucket: dream.Bucket, boto: Any, tmp_path: Path, verb: Any) -> None:
    boto.put_object(Bucket=bucket.name, Key="a", Body=LARGE, **BOTO_KEY)
    obj = bucket.object("a")
    assert await verb(obj, KEY, tmp_path / "file") == LARGE
    for wrong in (None, OTHER):
        with pytest.raises(dream.EncryptionKeyError, match="give the") as caught:
            await verb(obj, wrong, tmp_path / "other")
        assert isinstance(caught.value, dream.InvalidRequestError)
    assert await obj.exists()
    assert [path.name for path in tmp_path.iterdir()] in ([], ["file"])


async def test_a_key_for_what_has_none_is_not_taken_for_its_own(
    server: Server, bucket: dream.Bucket, boto: Any
) -> None:
    boto.put_object(Bucket=bucket.name, Key="a", Body=b"open")
    if server.is_rgw:  # Ceph ignores the key
        assert await bucket.object("a").read(encryption=KEY) == b"open"
        return
    with pytest.raises(dream.EncryptionKeyError, match="if it was stored without one"):
        await bucket.object("a").read(encryption=KEY)


async def test_an_interrupted_upload_and_download_go_on_with_the_key(
    server: Server, bucket: dream.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "file"
    file.write_bytes(LARGE * 2)

    def stop(progress: dream.Progress) -> None:
        if progress.done_bytes > PART:  # then the first part is done
            raise KeyError

    async with server.session(limits=dream.Limits(part_size=PART, parts_per_object=1)) as session:
        obj = session.bucket(bucket.name).object("a")
        with pytest.raises(KeyError):
            await obj.upload(file, resume=True, encryption=KEY, progress=stop)
        journals = [path.read_bytes() for path in (tmp_path / "state").rglob("*.json")]
        assert len(journals) == 1
        before = session.statistics().bytes_sent
        assert (await obj.upload(file, resume=True, encryption=KEY)).encryption == "SSE-C"
        if server.is_rgw:  # the ETag of a part is its MD5 on Ceph; elsewhere all parts are sent again
            assert session.statistics().bytes_sent - before < len(LARGE) * 2
        with pytest.raises(KeyError):
            await obj.download(tmp_path / "copy", resume=True, encryption=KEY, progress=stop)
        journals += [path.read_bytes() for path in tmp_path.glob(".copy*journal")]
        with pytest.raises(dream.EncryptionKeyError):
            await obj.download(tmp_path / "copy", resume=True, encryption=OTHER)
        await obj.download(tmp_path / "copy", resume=True, encryption=KEY)
    assert (tmp_path / "copy").read_bytes() == LARGE * 2
    for journal in journals:
        assert bytes(range(32)) not in journal
        assert base64.b64encode(bytes(range(32))) not in journal


# Copies


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("is_large_copy", [False, True])
async def test_a_copy_takes_both_keys(
    server: Server, bucket: dream.Bucket, content: bytes, is_large_copy: bool
) -> None:
    rules = dream.MultipartRules(largest_copy=PART if is_large_copy else 5 << 30)
    for encrypts in (False, not server.is_rgw):  # the memory service copies with keys, Ceph 16.2 does not
        options = {"service": replace(server.service, multipart=rules, encrypts=encrypts)}
        async with server.session(limits=LIMITS, **options) as session:
            here = session.bucket(bucket.name)
            source = here.object("source")
            await source.put(content, encryption=KEY, metadata={"color": "black"})
            other = await source.copy_to(here.object("other"), source_encryption=KEY, encryption=OTHER)
            assert (other.encryption, other.verified) == ("SSE-C", "size")
            bare = await source.copy_to(here.object("bare"), source_encryption=KEY)
            assert bare.encryption is None
            await here.object("bare").copy_to(here.object("kept"), encryption=KEY)
            for key, needed in {"other": OTHER, "bare": None, "kept": KEY}.items():
                obj = here.object(key)
                assert await obj.read(encryption=needed) == content
                assert ((await obj.head(encryption=needed)).metadata or {})["color"] == "black"
            with pytest.raises(dream.EncryptionKeyError):
                await source.copy_to(here.object("none"))
            assert not await here.object("none").exists()


async def test_a_copy_onto_itself_changes_the_key_or_keeps_it(bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    await obj.put(LARGE, encryption=KEY, content_type="text/csv")
    await obj.copy_to(obj, source_encryption=KEY, encryption=OTHER)
    assert await obj.read(encryption=OTHER) == LARGE
    await obj.set_headers(cache_control="no-store", encryption=OTHER)
    info = await obj.head(encryption=OTHER)
    assert (info.content_type, info.cache_control, info.encryption) == ("text/csv", "no-store", "SSE-C")
    with pytest.raises(dream.EncryptionKeyError):
        await obj.set_headers(cache_control="no-cache")


@pytest.mark.parametrize("content", [LARGE[:-1], LARGE], ids=["small", "in parts"])
async def test_a_streamed_copy_onto_itself_undoes_nothing(content: bytes) -> None:
    """What somebody else writes while the content passes through here stays."""
    etag, stored = "e" * 33, list[str]()
    headers = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}

    def answer(asked: Received) -> Reply:
        nonlocal etag
        told = {**headers, "ETag": f'"{etag}"'}
        if asked.method == "GET" and asked.target == "/bucket/a":
            etag = "n" * 33  # now somebody else replaces it
            return Reply(200, content, told)
        if asked.method in ("HEAD", "DELETE"):
            return Reply(200, headers=told, length=len(content) if asked.method == "HEAD" else None)
        if asked.method == "GET":
            return error(404, "NoSuchTagSet")
        if "?uploads" in asked.target:
            created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            return Reply(200, created, headers)
        if asked.target == "/bucket/a" and asked.headers.get("if-match", etag).strip('"') != etag:
            return error(412, "PreconditionFailed")
        if "partNumber" not in asked.target:
            stored.append(asked.target)
        return Reply(200, b"<CompleteMultipartUploadResult><ETag>c</ETag></CompleteMultipartUploadResult>", told)

    async with ScriptedServer() as scripted:
        scripted.will(answer)
        service = replace(dream.Service.for_endpoint(scripted.endpoint), is_known=True)
        async with scripted.session(service=service, limits=LIMITS) as session:
            obj = session.object("s3://bucket/a")
            with pytest.raises(dream.ObjectChangedError, match="changed while it was copied"):
                await obj.copy_to(obj, source_encryption=KEY, cache_control="no-store", copy_acl=False)
    assert stored == []


@pytest.mark.parametrize("encryption", [None, dream.SseKms("key-1")], ids=["kept", "given"])
async def test_what_a_kms_encrypts_is_streamed_where_it_cannot_be_copied(encryption: Any) -> None:
    """Ceph RGW 16.2 answers 501."""
    content, etag = b"x", hashlib.md5(b"x").hexdigest()
    kms = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "key-1"}
    told = {"ETag": f'"{etag}"'} | ({} if encryption else kms)

    def answer(asked: Received) -> Reply:
        if "x-amz-copy-source" in asked.headers:
            return error(501, "NotImplemented")
        if asked.method == "PUT":
            return Reply(200, headers=told | kms)
        if "tagging" in asked.target:
            return error(404, "NoSuchTagSet")
        return Reply(200, b"" if asked.method == "HEAD" else content, told, length=len(content))

    async with ScriptedServer() as scripted:
        scripted.will(answer)
        service = replace(dream.Service.for_endpoint(scripted.endpoint), is_known=True, encrypts=True)
        async with scripted.session(service=service) as session:
            obj, given = session.object("s3://bucket/a"), {"encryption": encryption} if encryption else {}
            info = await obj.copy_to(obj, cache_control="no-store", copy_acl=False, **given)
        assert info.encryption == "aws:kms"
        (stored,) = [one for one in scripted.received if one.method == "PUT" and one.body]
        assert kms.items() <= stored.headers.items()


async def test_a_copy_that_was_not_encrypted_is_told() -> None:
    async with ScriptedServer() as scripted:
        told = {"ETag": f'"{hashlib.md5(b"x").hexdigest()}"'}

        def answer(asked: Received) -> Reply:
            if asked.method == "PUT":
                return Reply(200, f"<CopyObjectResult><ETag>{told['ETag']}</ETag></CopyObjectResult>".encode())
            return Reply(200, headers=told, length=1)

        scripted.will(answer)
        service = replace(dream.Service.for_endpoint(scripted.endpoint), is_known=True, encrypts=True)
        async with scripted.session(service=service) as session:
            obj = session.object("s3://bucket/a")
            with pytest.raises(
                dream.UnsupportedByServiceError, match=r"b was stored, but .* did not encrypt"
            ) as caught:
                await obj.copy_to(session.object("s3://bucket/b"), encryption="AES256")
        assert caught.value.in_doubt


async def test_a_checksum_of_parts_takes_the_key_to_the_end() -> None:
    """Amazon S3 demands the key when an upload with a checksum is completed and when its parts are listed."""
    async with ScriptedServer() as scripted:
        etag = hashlib.md5(b"x").hexdigest()
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><Size>1</Size></Part>"
        scripted.will(
            Reply(200, f"<ListPartsResult>{part}</ListPartsResult>".encode()),
            Reply(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"),
        )
        service = replace(dream.Service.for_endpoint(scripted.endpoint), encrypts=True)
        async with scripted.session(service=service) as session:
            await session.object("s3://bucket/a").multipart("u", encryption=KEY, checksum="sha256").complete()
        key = base64.b64encode(bytes(range(32))).decode()
        name = "x-amz-server-side-encryption-customer-key"
        assert [(one.method, one.headers.get(name)) for one in scripted.received] == [("GET", key), ("POST", key)]


# Conditions


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "in parts"])
async def test_conditions_hold_whatever_the_keys(bucket: dream.Bucket, boto: Any, content: bytes) -> None:
    for key, options in {"keyed": BOTO_KEY, "bare": {}}.items():
        boto.put_object(Bucket=bucket.name, Key=key, Body=b"old", **options)
        obj = bucket.object(key)
        with pytest.raises(dream.AlreadyExistsError):
            await obj.put(content, encryption=OTHER, if_absent=True)
        with pytest.raises(dream.AlreadyExistsError):
            await obj.put(content, if_absent=True)
        assert await obj.read(encryption=KEY if key == "keyed" else None) == b"old"
    etag = (await bucket.object("bare").head()).etag
    await bucket.object("bare").put(content, encryption=KEY, if_match=etag)
    assert await bucket.object("bare").read(encryption=KEY) == content


async def test_a_move_takes_both_keys(bucket: dream.Bucket) -> None:
    obj, to = bucket.object("a"), bucket.object("b")
    await obj.put(LARGE, encryption=KEY)
    with pytest.raises(dream.EncryptionKeyError):
        await obj.move_to(to)
    assert await obj.read(encryption=KEY) == LARGE
    await obj.move_to(to, source_encryption=KEY, encryption=OTHER)
    assert not await obj.exists()
    assert await to.read(encryption=OTHER) == LARGE


async def test_many_with_one_key(bucket: dream.Bucket) -> None:
    for key in ("a", "b"):
        await bucket.object(key).put(b"x", encryption=KEY)
    await bucket.set_headers_many(["a", "b"], cache_control="no-store", encryption=KEY)
    await bucket.copy_many([("a", "c"), ("b", "d")], source_encryption=KEY, encryption=OTHER)
    assert (await bucket.object("a").head(encryption=KEY)).cache_control == "no-store"
    assert await bucket.object("c").read(encryption=OTHER) == b"x"
    found = await bucket.head_many(["a", "missing", "b"], encryption=KEY).collect()
    assert {key: info and info.cache_control for key, info in found.items()} == {
        "a": "no-store",
        "missing": None,
        "b": "no-store",
    }
    with pytest.raises(dream.EncryptionKeyError):
        await bucket.head_many(["a"]).collect()


# Trees


async def test_trees_with_one_key(bucket: dream.Bucket, boto: Any, tmp_path: Path) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    (local / "sub").mkdir(parents=True)
    (local / "small").write_bytes(b"small")
    (local / "sub" / "large").write_bytes(LARGE)
    assert (await bucket.upload_tree(local, "t", encryption=KEY)).copied == 2
    for key in ("t/small", "t/sub/large"):
        with pytest.raises(ClientError):
            boto.head_object(Bucket=bucket.name, Key=key)
    for compare in ("mtime", "size"):
        assert (await bucket.upload_tree(local, "t", compare=compare, encryption=KEY)).copied == 0
    assert (await bucket.download_tree(back, "t", encryption=KEY)).copied == 2
    assert (back / "sub" / "large").read_bytes() == LARGE
    assert (await bucket.download_tree(back, "t", compare="mtime", encryption=KEY)).copied == 0
    with pytest.raises(dream.BulkError) as caught:
        await bucket.download_tree(tmp_path / "none", "t")
    assert {type(error) for error in caught.value.exceptions} == {dream.EncryptionKeyError}
    report = await bucket.copy_tree(bucket, "t", "copied", source_encryption=KEY, encryption=OTHER)
    assert report.copied == 2
    assert await bucket.object("copied/sub/large").read(encryption=OTHER) == LARGE
    boto.put_object(Bucket=bucket.name, Key="t/small", Body=b"small")  # without the key
    assert (await bucket.upload_tree(local, "t", compare="mtime", encryption=KEY)).copied == 1
    assert (await bucket.object("t/small").head(encryption=KEY)).encryption == "SSE-C"
    found = await bucket.check_tree(local, "t", by="content", encryption=KEY)
    assert (found.same, found.differ, found.missing, found.extra, found.unverified) == (2, (), (), (), ())
    moved = await bucket.move_tree(bucket, "copied", "moved", source_encryption=OTHER, encryption=KEY)
    assert moved.copied == 2
    assert await bucket.object("moved/small").read(encryption=KEY) == b"small"
    with pytest.raises(ValueError, match="SseCustomer"):
        await bucket.download_tree(back, "t", encryption="AES256")  # type: ignore[arg-type]  # what a caller may try


# Presigned


async def test_a_presigned_url_works_with_the_key_only(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    encoded = base64.b64encode(bytes(range(32))).decode()
    name = "x-amz-server-side-encryption-customer-"
    digest = base64.b64encode(hashlib.md5(bytes(range(32))).digest()).decode()
    headers = {f"{name}algorithm": "AES256", f"{name}key": encoded, f"{name}key-md5": digest}
    written = obj.presign_put(encryption=KEY)
    got = obj.presign_get(encryption=KEY)
    for url in (written, got):
        assert encoded not in url
        assert "customer-key" in url
    assert ask(server, "PUT", written, headers, b"by URL")[0] == 200
    assert ask(server, "GET", got, headers) == (200, b"by URL")
    assert ask(server, "GET", got, {})[0] == 403
    assert await obj.read(encryption=KEY) == b"by URL"


def ask(server: Server, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes]:
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=server.ca)
        connection = http.client.HTTPSConnection(parts.netloc, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc)  # type: ignore[assignment]  # its subclass is the type above
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


# What the words of a refusal mean

SAID = {
    "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.": (
        dream.InvalidRequestError
    ),
    "The encryption parameters are not applicable to this object.": dream.EncryptionKeyError,
    "The calculated MD5 hash of the key did not match the hash that was provided.": dream.EncryptionKeyError,
    "Invalid range of parts": dream.InvalidRequestError,
}


@pytest.mark.parametrize("text", SAID)
async def test_a_key_is_wrong_only_where_the_service_says_so(text: str) -> None:
    async with ScriptedServer() as scripted:
        scripted.will(Reply(400, f"<Error><Code>InvalidArgument</Code><Message>{text}</Message></Error>".encode()))
        async with scripted.session() as session:
            with pytest.raises(dream.InvalidRequestError) as caught:
                await session.object("s3://bucket/a").read(encryption=KEY)
        assert type(caught.value) is SAID[text]


# With the service's keys


async def test_the_services_own_keys(bucket: dream.Bucket, boto: Any, server: Server) -> None:
    obj = bucket.object("a")
    if server.is_rgw:  # Ceph 16.2 ignores it
        for content in (b"x", LARGE):
            with pytest.raises(dream.UnsupportedByServiceError, match="AES256"):
                await obj.put(content, encryption="AES256")
        with pytest.raises(dream.EncryptionKeyError):
            await obj.put(b"x", encryption=dream.SseKms("unknown"))
        assert not await obj.exists()
        return
    for encryption, name in (("AES256", "AES256"), (dream.SseKms("key-1", {"team": "a"}), "aws:kms")):
        for content in (b"x", LARGE):
            info = await obj.put(content, encryption=encryption)  # type: ignore[arg-type]  # mypy joins the two to object
            assert info.encryption == name
            assert boto.head_object(Bucket=bucket.name, Key="a")["ServerSideEncryption"] == name
            assert await obj.read() == content
            await obj.set_headers(cache_control="no-store")
            assert boto.head_object(Bucket=bucket.name, Key="a")["ServerSideEncryption"] == name
    assert boto.head_object(Bucket=bucket.name, Key="a")["SSEKMSKeyId"] == "key-1"


async def test_a_lock_is_told_without_the_key(session: dream.Session) -> None:
    bucket = await session.create_bucket(new_name(), object_lock=True)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    obj, retention = bucket.object("a"), dream.Retention("GOVERNANCE", until)
    info = await obj.put(b"x", encryption=KEY, retention=retention, legal_hold=True)
    words = f"is locked: GOVERNANCE retention until {until:%Y-%m-%dT%H:%M:%S}Z and under legal hold"
    with pytest.raises(dream.LockedError, match=words):
        await obj.delete(version_id=info.version_id)
    await obj.set_legal_hold(False)
    await bucket.delete(force=True, bypass_governance=True)


# What is not encrypted although it should be


@pytest.mark.parametrize("encryption", ["AES256", dream.SseKms(), KEY], ids=["AES256", "KMS", "customer"])
async def test_a_service_that_ignores_encryption_is_found_out_before_anything_is_stored(encryption: Any) -> None:
    async with ScriptedServer() as scripted:
        created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        scripted.will(Reply(200, created), Reply(204))
        async with scripted.session() as session:
            obj = session.object("s3://bucket/a")
            for _ in range(2):
                with pytest.raises(dream.UnsupportedByServiceError, match="does not encrypt"):
                    await obj.put(b"x", encryption=encryption)
        assert [request.method for request in scripted.received] == ["POST", "DELETE"]


@pytest.mark.parametrize("encryption", ["AES256", dream.SseKms(), KEY], ids=["AES256", "KMS", "customer"])
async def test_a_known_service_that_forgets_to_encrypt_is_an_error(encryption: Any) -> None:
    async with ScriptedServer() as scripted:
        etag = {"ETag": f'"{hashlib.md5(b"x").hexdigest()}"'}
        scripted.will(Reply(200, headers=etag), Reply(200, headers=etag))
        service = replace(dream.Service.for_endpoint(scripted.endpoint), encrypts=True)
        async with scripted.session(service=service) as session:
            with pytest.raises(dream.UnsupportedByServiceError, match="did not encrypt") as caught:
                await session.object("s3://bucket/a").put(b"x", encryption=encryption)
            assert caught.value.in_doubt
        assert [request.method for request in scripted.received] == ["PUT", "HEAD"]


# The key itself


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, "k" * 32, None, 32])
def test_a_key_has_32_bytes(key: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="SseCustomer") as caught:
        dream.SseCustomer(key)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "kkkk" not in shown.replace("key = 'kkk", "").split("_encryption.py")[-1]


def test_a_key_does_not_show_and_is_not_pickled() -> None:
    encoded = base64.b64encode(bytes(range(32))).decode()
    for text in (repr(KEY), str(KEY), f"{KEY}", repr([KEY]), repr(dream.SseKms("a"))):
        assert encoded not in text
        assert repr(bytes(range(32)))[2:-1] not in text
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(KEY, protocol)
    assert copy.copy(KEY) == copy.deepcopy(KEY) == dream.SseCustomer(bytearray(range(32))) != OTHER
    assert hash(KEY) == hash(dream.SseCustomer(memoryview(bytes(range(32)))))


REVERSED = bytes(reversed(range(32)))
SECRETS = [form for key in (bytes(range(32)), REVERSED) for form in (base64.b64encode(key).decode(), repr(key))]


async def test_no_traceback_with_locals_shows_the_key(server: Server, bucket: dream.Bucket) -> None:
    await bucket.object("a").put(b"x", encryption=KEY)
    async with server.session(limits=LIMITS, retry=dream.Retry(attempts=1)) as session:
        obj, missing = session.bucket(bucket.name).object("a"), session.bucket(new_name()).object("a")
        wrong = dream.SseCustomer(REVERSED)
        for verb in (
            lambda: obj.read(encryption=wrong),
            lambda: obj.head(encryption=wrong),
            lambda: missing.put(b"x", encryption=wrong),
            lambda: missing.put(LARGE, encryption=wrong),
            lambda: obj.copy_to(obj, source_encryption=wrong, encryption=KEY),
        ):
            with pytest.raises(dream.DreamObjectsError) as caught:
                await verb()
            shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
            assert "SseCustomer(<a secret>)" in shown
            assert not [secret for secret in SECRETS if secret in shown]


async def test_a_key_does_not_travel_in_the_clear() -> None:
    async with dream.Session(access_key="a", secret_key="b", endpoint="http://storage.example") as session:
        obj = session.object("s3://bucket/a")
        for verb in (
            obj.put(b"x", encryption=KEY),
            obj.read(encryption=KEY),
            obj.head(encryption=KEY),
            obj.start_upload(encryption=KEY),
            obj.multipart("u", encryption=KEY).put_part(1, b"x"),
            obj.multipart("u", encryption=KEY).complete([(1, "e")]),
        ):
            with pytest.raises(ValueError, match="in the clear; use an https endpoint"):
                await verb
        assert session.statistics().requests == 0


WRONG: dict[str, Any] = {
    "another name": "aws:kms",
    "bytes": b"k" * 32,
    "a number": 3,
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
async def test_what_is_no_encryption_is_refused(value: Any) -> None:
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("a")
        sent = session.statistics().requests
        writes: list[Callable[[], Any]] = [
            lambda: obj.put(b"x", encryption=value),
            lambda: obj.start_upload(encryption=value),
            lambda: obj.copy_to(obj, encryption=value),
        ]
        reads: list[Callable[[], Any]] = [
            lambda: obj.read(encryption=value),
            lambda: obj.head(encryption=value),
            lambda: obj.read(encryption="AES256"),  # type: ignore[arg-type]  # what a caller may try
            lambda: obj.copy_to(obj, source_encryption=value),
        ]
        for verb in writes + reads:
            with pytest.raises(ValueError, match=r"SseCustomer\(key\)") as caught:
                await verb()
            assert "kkk" not in str(caught.value)
        assert session.statistics().requests == sent
    for bad in ({"key_id": ""}, {"key_id": "a\n"}, {"context": {"a": 1}}):
        with pytest.raises(ValueError, match=r"key_id|context"):
            dream.SseKms(**bad)
