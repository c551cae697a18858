"""Every legal way to use the public API, for type checkers alone: mypy --strict must find nothing here."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, assert_type

import aioboto3
import aiofiles
from aiobotocore.session import get_session
from aiohttp import web

import aiodreamobjects as dream
from aiodreamobjects.asgi import FormPart, ObjectResponse, SignRequest, UploadSigner, aiohttp_response, form_parts


def settings() -> None:
    dream.Session()
    dream.Session("profile")
    dream.Session(access_key="a", secret_key="b", session_token="c", endpoint="https://s3.example", region="r")
    dream.Session(service=dream.US_EAST_5, ca=Path("ca.pem"))
    dream.Session("profile", anonymous=True, close_grace=5, observe=print)
    dream.Session(service=dream.Service.for_endpoint("http://127.0.0.1:7480"), ca="ca.pem")
    dream.Session(service=dream.Service.ceph_rgw("http://127.0.0.1:7480", region="default", addressing="virtual"))
    dream.Session(service=dream.Service.backblaze_b2("us-west-004"))
    dream.Session(service=dream.Service.amazon_s3("eu-central-1"))
    dream.Session(boto_session=aioboto3.Session())
    dream.Session(boto_session=get_session())
    dream.Session(
        limits=dream.Limits(
            requests=8,
            parts_per_object=4,
            part_size=5 << 20,
            memory=64 << 20,
            upload_bytes_per_second=1e6,
            download_bytes_per_second=1_000_000,
            requests_per_second=100,
        ),
        timeouts=dream.Timeouts(connect=1, read=2, write=3, low_speed=0, pool=4.5),
        retry=dream.Retry(attempts=1, base=0.1, cap=1),
    )
    dream.Service(
        "mine",
        "https://s3.example",
        bucket_names=dream.BucketNames(longest=255, characters="a-zA-Z0-9._-", reserved_prefixes=("xn--",)),
        unsupported={"tagging": "do without"},
        multipart=dream.MultipartRules(
            smallest_part=5 << 20, most_parts=1000, largest_object=5 << 40, largest_copy=5 << 30
        ),
    )


def recipes(opened: dream.Session, bucket: dream.Bucket, cat: dream.Object) -> None:
    assert_type(opened.recipe(), dream.Recipe)
    assert_type(opened.recipe().divided(8), dream.Recipe)
    assert_type(opened.bind(bucket), dream.Bucket)
    assert_type(opened.bind(cat), dream.Object)


async def in_workers(bucket: dream.Bucket, pool: ProcessPoolExecutor) -> None:
    async def size_of(cat: dream.Object, least: int) -> int:
        return max(least, (await cat.head()).size or 0)

    for executor in (pool, None):
        assert_type(await bucket.delete_many(["a"], executor=executor, batch=100, in_flight=4), dream.BulkReport)
        await bucket.set_acl_many(["a"], "private", executor=executor, journal="acl.journal")
        await bucket.set_headers_many(["a"], cache_control="no-cache", executor=executor, slice=(0, 4))
        await bucket.copy_many([("a", "b")], executor=executor, journal=Path("copy.journal"))
        assert_type(await bucket.upload_tree("site", executor=executor, slice=(1, 2)), dream.TreeReport)
        await bucket.download_tree("site", executor=executor, batch=10)
        await bucket.copy_tree(bucket, "a", "b", executor=executor)
        await bucket.move_tree(bucket, "a", "b", executor=executor, journal="move.journal")
        assert_type(await bucket.check_tree("site", executor=executor, slice=(0, 2)), dream.CheckReport)
        await bucket.empty(executor=executor)
        await bucket.delete(force=True, executor=executor)
        async for key, result in bucket.apply(["a"], size_of, 0, executor=executor, batch=10):
            assert_type(key, str)
            assert_type(result, int | Exception)


async def session(opened: dream.Session) -> None:
    async with dream.Session() as entered:
        assert_type(entered, dream.Session)
    assert_type(await opened.open(), dream.Session)
    await opened.aclose()
    assert_type(opened.bucket("name"), dream.Bucket)
    assert_type(opened.object("s3://bucket/key"), dream.Object)
    assert_type(await opened.create_bucket("name", "public-read", exist_ok=True), dream.Bucket)
    async for info in opened.buckets():
        assert_type(info, dream.BucketInfo)
        assert_type(info.created, datetime | None)
    assert_type(await opened.buckets().collect(), list[dream.BucketInfo])
    assert_type(opened.statistics().requests, int)
    assert_type(opened.service, dream.Service)
    client = await opened.boto_client()
    await client.head_bucket(Bucket="name")


async def bucket(b: dream.Bucket) -> None:
    assert_type(b.name, str)
    assert_type(b.object("key"), dream.Object)
    assert_type(await b.create("private", exist_ok=True), dream.BucketInfo)
    assert_type(await b.exists(), bool)
    assert_type((await b.info()).object_count, int | None)
    await b.delete()
    await b.delete(force=True)
    assert_type(await b.empty(), dream.BulkReport)
    acl = await b.acl()
    assert_type(acl, dream.Acl)
    assert_type(acl.canned, dream.CannedAcl | None)
    await b.set_acl("private")
    await b.set_acl(dream.Acl(acl.owner, (*acl.grants, dream.Grant("READ", uri=dream.ALL_USERS))))
    assert_type(dream.Retention("GOVERNANCE", 30).days, int | None)
    assert_type(dream.Retention("COMPLIANCE", datetime.now(UTC)).until, datetime | None)
    assert_type(dream.Retention("COMPLIANCE", years=1).mode, dream.RetentionMode)

    async for info in b.list("prefix", start_after="key", limit=10):
        assert_type(info, dream.ObjectInfo)
        assert_type(info.size, int | None)
        assert_type(info.last_modified, datetime | None)
    async for page in b.list().pages():
        assert_type(page, list[dream.ObjectInfo])
    assert_type(b.list(), dream.Listing[dream.ObjectInfo])
    assert_type(b.list("prefix", start_after="key", limit=10, parallel=8), dream.Listing[dream.ObjectInfo])
    async for item in b.list_dir("prefix/"):
        match item:
            case dream.CommonPrefix(prefix=prefix):
                assert_type(prefix, str)
            case dream.ObjectInfo(key=key):
                assert_type(key, str)
    assert_type(
        b.list_dir("prefix/", start_after="key", limit=10), dream.Listing[dream.ObjectInfo | dream.CommonPrefix]
    )
    page_of_objects = await b.list("prefix").page()
    assert_type(page_of_objects, dream.ListPage[dream.ObjectInfo])
    assert_type(page_of_objects.items, tuple[dream.ObjectInfo, ...])
    assert_type(page_of_objects.token, str | None)
    await b.list_versions().page(100, page_of_objects.token)
    await b.uploads().page(limit=100, token=None, secret=b"secret")
    await b.list_dir().page(secret="secret")
    async for version in b.list_versions():
        assert_type(version.version_id, str | None)
        assert_type(version.is_delete_marker, bool | None)
    async for upload in b.uploads():
        assert_type(upload, dream.UploadInfo)


async def bulk(b: dream.Bucket) -> None:
    async def keys() -> AsyncIterator[str]:
        yield "a"

    assert_type(await b.delete_many(["a", "b"]), dream.BulkReport)
    await b.delete_many({"a", "b"})
    await b.delete_many(keys())
    await b.delete_many(b.list("old/"))
    await b.delete_many([("a", "version"), ("b", None)])
    await b.delete_many([info async for info in b.list_versions()], on_error="collect")
    try:
        await b.delete_many(str(number) for number in range(10))
    except dream.BulkError as error:
        assert_type(error.report, dream.BulkReport)
        for failure in error.report.failures:
            assert_type(failure.key, str)
            assert_type(failure.version_id, str | None)
            assert_type(failure.error, Exception)

    async for key, info in b.head_many(["a", dream.ObjectInfo("name", "b"), ("c", "version")]):
        assert_type(key, str)
        assert_type(info, dream.ObjectInfo | None)
    async for _ in await b.head_many(keys(), encryption=dream.SseCustomer(bytes(32))):
        pass
    assert_type(await b.head_many(b.list()).collect(), dict[str, dream.ObjectInfo | None])
    report = await b.usage("prefix/", depth=2, parallel=4)
    assert_type(report, dream.UsageReport)
    assert_type(report.objects + report.bytes, int)
    for directory, used in report.by_prefix.items():
        assert_type(directory, str)
        assert_type(used, dream.Usage)

    assert_type(await b.set_acl_many(["a", "b"], "private"), dream.BulkReport)
    await b.set_acl_many(keys(), await b.object("a").acl())
    await b.set_acl_many(b.list("old/"), "public-read", on_error="collect")
    await b.set_acl_many([("a", "version"), ("b", None)], acl="private", on_error="raise")

    pairs: list[tuple[dream.CopySource, str]] = [("a", "b"), (b.object("c"), "d"), (dream.ObjectInfo("name", "e"), "f")]
    assert_type(await b.copy_many(pairs), dream.BulkReport)
    await b.copy_many(((info, f"copies/{info.key}") async for info in b.list()), on_error="collect")
    await b.copy_many(pairs, tags={}, copy_acl=True, cache_control=None, metadata={"a": "b"}, if_absent=True)
    assert_type(await b.set_headers_many(["a"], cache_control="no-cache"), dream.BulkReport)
    await b.set_headers_many(b.list("old/"), on_error="collect", content_type=None, storage_class="STANDARD_IA")

    assert_type(await b.abort_uploads(timedelta(days=1)), dream.BulkReport)
    await b.abort_uploads(older_than=timedelta(0), dry_run=True, prefix="old/", on_error="collect")

    sources: list[dream.KeySource] = ["a", dream.ObjectInfo("name", "b"), ("c", "version")]
    on_error: dream.OnError = "collect"
    await b.delete_many(sources, on_error=on_error)


async def trees(b: dream.Bucket, other: dream.Bucket) -> None:
    callback: dream.ProgressCallback = print
    compare: dream.Compare = "mtime"
    symlinks: dream.Symlinks = "skip"
    assert_type(await b.upload_tree("directory"), dream.TreeReport)
    await b.upload_tree(
        Path("directory"), "prefix/", compare=compare, delete=True, include=["*.jpg"], exclude=("tmp/",)
    )
    await b.upload_tree("directory", acl="public-read", progress=callback, on_error="collect", symlinks=symlinks)
    await b.upload_tree("directory", compare=None, dry_run=True, allow_empty=True, symlinks="refuse")
    on_done: dream.OnDone = print
    await b.upload_tree("directory", on_done=on_done)
    headers_for: dream.HeadersFor = {"index.html": {"cache_control": "no-cache"}}.get
    await b.upload_tree("directory", headers_for=headers_for, missing_ok=True, content_type=None, metadata={"a": "b"})
    await b.upload_tree("directory", headers_for=lambda name: {"content_language": name[:2]}, cache_control="no-cache")
    assert_type(await b.download_tree("directory"), dream.TreeReport)
    await b.download_tree(Path("directory"), "prefix/", compare="size", delete=True, include={"*.jpg"}, exclude=[])
    await b.download_tree("directory", dry_run=True, progress=callback, on_error="collect", allow_empty=True)
    assert_type(await b.copy_tree(other), dream.TreeReport)
    await b.copy_tree(other, "prefix/", "to/", compare="etag", delete=True, include=iter(["*.jpg"]), exclude=["a", "b"])
    await b.copy_tree(to=other, prefix="prefix/", to_prefix=None, dry_run=True, acl="private", progress=callback)
    assert_type(await b.move_tree(other), dream.TreeReport)
    await b.move_tree(other, "prefix/", "to/", include=["*.jpg"], exclude=["a"], dry_run=True, acl="private")
    await b.move_tree(to=other, prefix="prefix/", to_prefix=None, progress=callback, on_error="collect")
    assert_type(await b.restore_tree("prefix/", datetime.now(UTC)), dream.TreeReport)
    await b.restore_tree("", datetime.now(UTC), other, True, include=["*.jpg"], exclude=["a"], progress=callback)
    await b.restore_tree(prefix="prefix/", as_of=datetime.now(UTC), to="old/", dry_run=True, on_error="collect")
    by: dream.CheckBy = "content"
    checked = await b.check_tree("directory")
    assert_type(checked, dream.CheckReport)
    assert_type(checked.same + checked.done + checked.failed, int)
    assert_type(checked.differ + checked.missing + checked.extra + checked.unverified, tuple[str, ...])
    await b.check_tree(other, "prefix/", to_prefix="to/", by=by, include=["*.jpg"], exclude=(), progress=callback)
    await b.check_tree(other=Path("directory"), by="size", on_error="collect")
    try:
        report = await b.copy_tree(other, on_error="collect", allow_empty=True)
    except dream.BulkError as error:
        assert_type(error.report, dream.BulkReport)
        if isinstance(error.report, dream.TreeReport):
            assert_type(error.report.kept, int)
    else:
        assert_type(report.done + report.failed, int)
        assert_type(report.failures, tuple[dream.BulkFailure, ...])
        assert_type(report.copied + report.copied_bytes + report.skipped + report.deleted, int)
        assert_type(report.kept + report.excluded, int)
        assert_type(report.unmatched, tuple[str, ...])
        for action in report.plan or ():
            assert_type(action, dream.TreeAction)
            assert_type(action.action, Literal["copy", "move", "delete"])
            assert_type(action.name, str)
            assert_type(action.size, int)
            assert_type(action.reason, dream.TreeReason)


async def documents(b: dream.Bucket) -> None:
    await b.set_cors([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}])
    for rule in await b.cors():
        assert_type(rule["AllowedMethods"], list[str])
    await b.delete_cors()
    await b.set_policy({"Version": "2012-10-17", "Statement": []})
    await b.set_policy('{"Version": "2012-10-17", "Statement": []}')
    assert_type(await b.policy(), dream.PolicyDocument | None)
    await b.delete_policy()
    await b.set_lifecycle([{"Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}])
    for lifecycle in await b.lifecycle():
        assert_type(lifecycle, dream.LifecycleRule)
    await b.delete_lifecycle()
    await b.set_tags({"a": "b"})
    assert_type(await b.tags(), dict[str, str])
    await b.delete_tags()
    await b.set_versioning("Enabled")
    assert_type(await b.versioning(), dream.VersioningStatus | None)
    await b.delete_versioning()
    await b.set_website({"IndexDocument": {"Suffix": "index.html"}})
    assert_type(await b.website(), dream.Website | None)
    await b.set_encryption([{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}])
    assert_type(await b.encryption(), Sequence[dream.EncryptionRule])
    await b.set_public_access_block({"BlockPublicAcls": True})
    assert_type(await b.public_access_block(), dream.PublicAccessBlock | None)
    await b.set_notification({"TopicConfigurations": [{"TopicArn": "arn", "Events": ["s3:ObjectCreated:*"]}]})
    assert_type(await b.notification(), dream.Notification)
    await b.set_object_lock(dream.Retention("GOVERNANCE", 30))
    await b.set_object_lock(None)
    assert_type(await b.object_lock(), dream.Retention | None)
    await b.set_logging({"TargetBucket": "logs", "TargetPrefix": "photos/"})
    assert_type(await b.logging(), dream.Logging | None)
    await b.set_ownership("BucketOwnerEnforced")
    assert_type(await b.ownership(), dream.ObjectOwnership | None)
    assert_type(await b.create(object_lock=True), dream.BucketInfo)
    await b.delete_website()


async def content(o: dream.Object) -> None:
    def note(progress: dream.Progress) -> None:
        assert_type(progress.total_bytes, int | None)
        assert_type(progress.moving, tuple[dream.Moving, ...])

    async def note_later(progress: dream.Progress) -> None: ...

    assert_type(o.bucket, str)
    assert_type(o.key, str)
    assert_type(await o.put("text"), dream.ObjectInfo)
    await o.put(b"bytes", content_type="text/csv", metadata={"a": "b"}, cache_control="no-cache", acl="private")
    await o.put(bytearray(b"x"), content_disposition="inline", content_encoding="gzip", storage_class="STANDARD")
    await o.put(memoryview(b"x"), if_absent=True, progress=note)
    await o.put(b"x", if_match="etag", progress=note_later)
    await o.put(
        b"x", content_language="de", expires=datetime(2033, 1, 1, tzinfo=UTC), website_redirect="/a", headers={}
    )
    assert_type(await o.read(), bytes)
    await o.read((0, 10))
    await o.read((10, None))
    await o.read(range=(-10, None))
    assert_type(await o.read_text(), str)
    await o.read_text("latin-1")
    async with o.get(range=(0, 10), if_match="a", if_none_match="b", version_id="c") as body:
        assert_type(body, dream.Body)
        assert_type(body.info, dream.ObjectInfo)
        assert_type(await body.read(), bytes)
        assert_type(await body.read(10), bytes)
        async for chunk in body:
            assert_type(chunk, bytes)
        async with aiofiles.open("file", "wb") as file:
            assert_type(await body.write_to(file), int)
        async for line in body.lines():
            assert_type(line, bytes)
        async for text in body.lines("utf-8", limit=1 << 20):
            assert_type(text, str)
        assert_type(body.http_headers(), dict[str, str])
        assert_type(body.remaining, int | None)
        assert_type(body.position, int)
        assert_type(await body.readinto(bytearray(10)), int)
        await body.readinto(memoryview(bytearray(10)))
        assert_type(body.info.verified, dream.Verified | None)
    o.get(verify="off")
    assert_type(await o.download("path"), dream.ObjectInfo)
    await o.download(Path("path"), overwrite=False, progress=note, fsync=True)
    await o.download("path", resume=True, verify="off", if_changed="restart", progress=note_later)
    changed: dream.IfChanged = "raise"
    verify: dream.Verify = "auto"
    await o.download("path", if_changed=changed, verify=verify)


class Short:
    def read(self, size: int, /) -> bytes:
        return bytes(size)


class Later:
    async def read(self, size: int, /) -> bytes:
        return bytes(size)


async def sources(o: dream.Object, other: dream.Object) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"

    async def pieces_later() -> AsyncIterator[bytearray]:
        yield bytearray(b"x")

    await o.put(Path("file"))
    await o.put(b"x", verify="off")
    await o.put([b"x", bytearray(b"y"), memoryview(b"z")])
    await o.put((b"x",))
    await o.put(pieces())
    await o.put(pieces_later())
    await o.put(io.BytesIO(b"x"))
    await o.put(Short())
    await o.put(Later())
    with open("file", "rb") as file:  # noqa: ASYNC230, PTH123 - types alone
        await o.put(file)
    with open("file", "rb", buffering=0) as raw:  # noqa: ASYNC230, PTH123 - types alone
        await o.put(raw)
    with gzip.open("file") as packed:
        await o.put(packed)
    with tempfile.TemporaryFile() as temporary:
        await o.put(temporary)
    async with aiofiles.open("file", "rb") as async_file:
        await o.put(async_file)
    async with aiofiles.open("file", "rb", buffering=0) as async_raw:
        await o.put(async_raw)
    async with other.get() as body:
        await o.put(body)
    async with other.reader() as reader:
        await o.put(reader)
    given: dream.Uploadable = b"x"
    await o.put(given, progress=print)


async def files(o: dream.Object) -> None:
    callback: dream.ProgressCallback = print
    assert_type(await o.upload("path"), dream.ObjectInfo)
    await o.upload(Path("path"), resume=True, content_type="text/csv", metadata={"a": "b"}, cache_control="no-cache")
    await o.upload("path", content_disposition="inline", content_encoding="gzip", storage_class="STANDARD")
    await o.upload("path", acl="private", if_absent=True, progress=callback, verify="off")
    await o.upload("path", if_match="etag")
    async with o.writer(content_type="text/csv", metadata={"a": "b"}, acl="private", if_absent=True) as writer:
        assert_type(writer, dream.ObjectWriter)
        assert_type(await writer.write(b"x"), int)
        await writer.write(bytearray(b"x"))
        await writer.write(memoryview(b"x"))
        assert_type(writer.tell(), int)
    assert_type(writer.info, dream.ObjectInfo)
    o.writer(cache_control="no-cache", content_disposition="inline", content_encoding="gzip", storage_class="STANDARD")
    o.writer(if_match="etag", progress=callback, verify="off")
    async with o.reader() as reader:
        assert_type(reader, dream.ObjectReader)
        assert_type(reader.info, dream.ObjectInfo)
        assert_type(await reader.read(), bytes)
        assert_type(await reader.read(10), bytes)
        assert_type(await reader.readinto(bytearray(10)), int)
        assert_type(await reader.seek(-10, os.SEEK_END), int)
        assert_type(await reader.seek(10), int)
        assert_type(await reader.readline(), bytes)
        await reader.readline(100)
        async for line in reader:
            assert_type(line, bytes)
        assert_type(reader.tell(), int)
        assert_type(reader.readable() and reader.seekable(), bool)


async def handles(o: dream.Object) -> None:
    upload = await o.start_upload(content_type="text/csv", metadata={"a": "b"}, if_absent=True, verify="off")
    assert_type(upload, dream.MultipartUpload)
    assert_type(upload.upload_id, str)
    assert_type(await upload.put_part(1, b"x"), dream.UploadedPart)
    await upload.put_part(2, Path("file"))
    assert_type(upload.presign_part(3), dream.PresignedUrl)
    upload.presign_part(3, timedelta(hours=1), content_length=5, content_md5="x", signature="v2")
    parts = await upload.parts()
    assert_type(parts, tuple[dream.UploadedPart, ...])
    for part in parts:
        assert_type((part.number, part.etag, part.size), tuple[int, str, int | None])
    assert_type(await upload.complete(), dream.ObjectInfo)
    await upload.complete(parts)
    await upload.complete([(1, "etag")])
    await upload.complete((part.number, part.etag) for part in parts)
    await upload.abort()
    checksum: dream.Checksum = "crc32c"
    await o.put(b"x", checksum=checksum)
    await o.upload("path", checksum="sha256")
    await o.copy_to(o, checksum="crc64nvme")
    o.writer(checksum=None)
    assert_type(parts[0].checksum, str | None)
    assert_type(o.multipart(upload.upload_id, if_match="etag"), dream.MultipartUpload)


async def copies(o: dream.Object, to: dream.Object) -> None:
    assert_type(await o.copy_to(to), dream.ObjectInfo)
    await o.copy_to(to, content_type="text/csv", metadata={"a": "b"}, tags={"a": "b"}, copy_acl=True, if_absent=True)
    await o.copy_to(to, cache_control="no-cache", content_disposition="inline", content_encoding="gzip", acl="private")
    await o.copy_to(to, storage_class="STANDARD", if_match="etag", progress=print)
    await o.copy_to(to, cache_control=None, metadata=None, expires="0", copy_acl=None)
    assert_type(await o.set_headers(cache_control=None, metadata={"a": "b"}, expires=None), dream.ObjectInfo)
    await o.set_headers(content_type="a/b", content_disposition="inline", content_encoding=None, content_language="de")
    await o.set_headers(storage_class="STANDARD", website_redirect=None)
    assert_type(await o.move_to(to), dream.ObjectInfo)
    await o.move_to(to, copy_acl=True, if_absent=True, progress=print)
    await o.move_to(to, if_match="etag")
    await o.move_to(
        to, tags={"k": "v"}, acl="private", cache_control="no-cache", checksum="crc32c", metadata={"k": "v"}
    )


async def whole(o: dream.Object) -> None:
    assert_type(await o.head(), dream.ObjectInfo)
    assert_type(await o.exists(), bool)
    await o.delete()
    await o.delete(version_id="v")
    await o.set_acl((await o.acl()).canned or "private")
    await o.set_tags(await o.tags())


def links(o: dream.Object) -> None:
    assert_type(o.url(), str)
    o.url(scheme="http")
    assert_type(o.presign_get(), dream.PresignedUrl)
    plain: str = o.presign_get()
    method: dream.PresignMethod = "DELETE"
    assert_type(o.presign(method, 60, version_id=plain, headers={}, signature="v4"), dream.PresignedUrl)
    assert_type(o.presign_put(content_length=5, content_md5="x", cache_control="no-store"), dream.PresignedUrl)
    o.presign_put(timedelta(hours=1), content_disposition="inline", if_absent=True, headers={"a": "b"})
    o.presign_get(60)
    o.presign_get(timedelta(hours=1), response_headers={"content-type": "text/plain"}, version_id="v")
    o.presign_get(datetime.now(UTC) + timedelta(hours=1), signature="v2")
    o.presign_put(60, content_type="text/plain", metadata={"a": "b"}, acl="public-read", signature="v4")
    post = o.presign_post(60, max_bytes=10, conditions=[{"acl": "private"}, ["starts-with", "$Content-Type", "image/"]])
    assert_type(post.url, str)
    assert_type(dict(post.fields), dict[str, str])


def errors() -> None:
    with contextlib.suppress(FileNotFoundError, dream.NotFoundError):
        pass
    try:
        pass
    except dream.ServiceError as error:
        assert_type(error.code, str)
        assert_type(error.status, int | None)
        assert_type(error.request_id, str | None)
        assert_type(error.retryable, bool)
    except (dream.SourceChangedError, dream.ObjectChangedError, dream.ChecksumMismatchError) as transfer:
        assert_type(transfer.in_doubt, bool)
    except dream.UnsafeKeyError as unsafe:
        assert_type(unsafe.retryable, bool)
    except dream.TransferError as other:
        assert_type(other.retryable, bool)
    except dream.ConnectionFailedError as failed:
        assert_type(failed.retryable, bool)


def patterns() -> None:
    chosen = dream.Patterns(["*.jpg"], [])
    assert_type(chosen.select("photos/a.jpg"), bool)
    assert_type(chosen.unmatched, tuple[str, ...])


async def web_services(obj: dream.Object, request: web.Request) -> None:
    ObjectResponse(obj)
    ObjectResponse(obj, filename="a.pdf", disposition="inline", headers={"Vary": "Origin"}, cache_control="no-cache")
    ObjectResponse(obj, version_id="v", redirect="presign", strict_range=True, background=lambda: None)
    assert_type(await aiohttp_response(request, obj, filename="a.pdf"), web.StreamResponse)
    async for part in form_parts(request, max_parts=10, max_field_size=100, max_file_size=None):
        assert_type(part, FormPart)
        await obj.put(part, content_type=part.content_type)


async def signers(bucket: dream.Bucket) -> None:
    async def may(request: SignRequest, key: str) -> bool:
        return request.action == "create" and key == request.filename

    signer = UploadSigner(
        bucket, key=lambda request: request.filename or "", authorize=may, expires=60, max_size=1, secret=bytes(32)
    )
    await bucket.set_cors(signer.cors_rules(["https://www.example.com"]))
    bucket.object("k").presign("POST", query={"uploads": ""})


def observers(event: dream.Event) -> None:
    assert_type(dream.Session(observe=observers), dream.Session)
    observer: dream.Observer = observers
    observer(event)
    match event:
        case dream.CallStarted():
            assert_type(event.part_number, int | None)
        case dream.AttemptFailed():
            assert_type(event.wait, float | None)
        case dream.CallEnded():
            assert_type(event.error, BaseException | None)
        case dream.TransferStarted() | dream.TransferEnded():
            assert_type(event.verb, str)
        case dream.ConnectionOpened() | dream.ConnectionClosed():
            assert_type(event.host, str)
        case dream.Throttled():
            assert_type(event.after, int)
