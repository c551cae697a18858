"""Object Lock: retention, legal hold, and what may be deleted in spite of them. boto3 is the observer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server, new_name
from servers.scripted import Received, Reply, ScriptedServer, error

import aiodreamobjects as dream

ON = ("memory-served", "rgw", "moto")
PART = 5 << 20
SESSION = {"limits": dream.Limits(part_size=PART), "multipart": dream.MultipartRules(largest_copy=PART)}
LARGE = os.urandom(PART + 1)
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
KEPT = dream.Retention("GOVERNANCE", UNTIL)


@pytest_asyncio.fixture
async def bucket(session: dream.Session, boto: Any) -> AsyncIterator[dream.Bucket]:
    made = session.bucket(new_name())
    boto.create_bucket(Bucket=made.name, ObjectLockEnabledForBucket=True)
    yield made
    for version in await made.list_versions().collect():
        if not version.is_delete_marker:
            await made.object(version.key).set_legal_hold(False, version_id=version.version_id)
        await made.object(version.key).delete(version_id=version.version_id, bypass_governance=True)
    await made.delete()


def lock_of(boto: Any, bucket: str, key: str, version_id: str | None = None) -> tuple[object, ...]:
    head = boto.head_object(Bucket=bucket, Key=key, **({"VersionId": version_id} if version_id else {}))
    hold = head.get("ObjectLockLegalHoldStatus")
    return head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate"), None if hold == "OFF" else hold


async def put(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    return await obj.put(content, retention=KEPT, legal_hold=True)


async def upload(obj: dream.Object, content: bytes, path: Path) -> dream.ObjectInfo:
    path.write_bytes(content)
    return await obj.upload(path, retention=KEPT, legal_hold=True)


async def write(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    async with obj.writer(retention=KEPT, legal_hold=True) as file:
        await file.write(content)
    return file.info


async def copy_to(obj: dream.Object, content: bytes, path: Path) -> dream.ObjectInfo:
    source = path.parent / "source"
    source.write_bytes(content)
    sent = obj._runtime  # the same session
    other = dream.Object(sent, replace(obj._address, key="source"))
    await other.upload(source)
    return await other.copy_to(obj, retention=KEPT, legal_hold=True)


async def send_parts(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    started = await obj.start_upload(retention=KEPT, legal_hold=True)
    await started.put_part(1, content)
    return await started.complete()


async def take_up(obj: dream.Object, content: bytes, _: Path) -> dream.ObjectInfo:
    started = await obj.start_upload(retention=KEPT, legal_hold=True)
    part = await started.put_part(1, content)
    return await obj.multipart(started.upload_id, retention=KEPT, legal_hold=True).complete([part])


@pytest.mark.parametrize("content", [b"x", LARGE], ids=["small", "in parts"])
@pytest.mark.parametrize("verb", [put, upload, write, copy_to, send_parts, take_up])
async def test_a_lock_that_is_asked_for_holds(
    bucket: dream.Bucket, boto: Any, tmp_path: Path, verb: Any, content: bytes
) -> None:
    await verb(bucket.object("a"), content, tmp_path / "file")
    assert lock_of(boto, bucket.name, "a") == ("GOVERNANCE", UNTIL, "ON")


@pytest.mark.parametrize("content", [b"x", LARGE], ids=["small", "in parts"])
async def test_a_change_in_place_keeps_the_lock(
    bucket: dream.Bucket, boto: Any, content: bytes, server: Server
) -> None:
    if server.name == "moto" and content == LARGE:
        pytest.xfail("moto answers 500 to the ACL of an object that was copied in parts")
    obj = bucket.object("a")
    await obj.put(content, retention=KEPT, legal_hold=True)
    await obj.set_headers(cache_control="no-store")
    assert lock_of(boto, bucket.name, "a") == ("GOVERNANCE", UNTIL, "ON")
    later = dream.Retention("GOVERNANCE", UNTIL + timedelta(days=1))
    await obj.copy_to(obj, retention=later, legal_hold=False)
    assert lock_of(boto, bucket.name, "a") == ("GOVERNANCE", later.until, None)
    await obj.copy_to(bucket.object("elsewhere"))
    if server.name != "rgw":  # which copies a retention
        assert lock_of(boto, bucket.name, "elsewhere") == (None, None, None)


async def test_restore_leaves_the_lock_with_the_old_version(bucket: dream.Bucket, boto: Any) -> None:
    obj = bucket.object("a")
    old = (await obj.put(b"old", retention=KEPT)).version_id
    await obj.put(b"new")
    assert old
    await obj.restore(old)
    assert lock_of(boto, bucket.name, "a") == (None, None, None)
    assert lock_of(boto, bucket.name, "a", old) == ("GOVERNANCE", UNTIL, None)


async def test_retention_and_legal_hold_are_set_and_read(bucket: dream.Bucket, boto: Any, server: Server) -> None:
    obj = bucket.object("a")
    first = (await obj.put(b"1")).version_id
    await obj.put(b"2")
    assert not await obj.legal_hold()
    await obj.set_retention("GOVERNANCE", UNTIL, version_id=first)
    await obj.set_legal_hold(True, version_id=first)
    assert await obj.retention(version_id=first) == KEPT
    assert await obj.legal_hold(version_id=first)
    assert not await obj.legal_hold()
    if server.name != "moto":  # which knows no GET of a retention
        assert await obj.retention() is None
    assert lock_of(boto, bucket.name, "a", first) == ("GOVERNANCE", UNTIL, "ON")
    await obj.set_legal_hold(False, version_id=first)
    assert not await obj.legal_hold(version_id=first)


def locking(obj: dream.Object) -> list[Callable[[], Any]]:
    return [lambda: obj.set_legal_hold(True), lambda: obj.set_retention("GOVERNANCE", UNTIL)]


async def test_a_bucket_without_object_lock(session: dream.Session, server: Server) -> None:
    plain = await session.create_bucket(new_name())
    obj = plain.object("a")
    await obj.put(b"x")
    assert not await obj.legal_hold()
    if server.name != "moto":  # which knows no GET of a retention
        assert await obj.retention() is None
        for verb in locking(obj):
            with pytest.raises(dream.InvalidRequestError):
                await verb()
    await plain.delete(force=True)


async def test_the_lock_of_a_missing_object(bucket: dream.Bucket) -> None:
    obj = bucket.object("none")
    for verb in (obj.legal_hold, obj.retention):
        with pytest.raises(dream.NotFoundError):
            await verb()


# What a lock forbids


@pytest.mark.parametrize("lock", ["retention", "hold"])
async def test_a_locked_version_is_not_deleted(bucket: dream.Bucket, boto: Any, lock: str, server: Server) -> None:
    obj = bucket.object("a")
    version = (await obj.put(b"x")).version_id
    if lock == "retention":
        await obj.set_retention("GOVERNANCE", UNTIL)
    else:
        await obj.set_legal_hold(True)
    with pytest.raises(dream.LockedError) as caught:
        await obj.delete(version_id=version)
    assert isinstance(caught.value, dream.AccessDeniedError)
    if server.name != "moto":  # whose words are enough
        assert "until" in str(caught.value) if lock == "retention" else "legal hold" in str(caught.value)
        assert str(version) in str(caught.value)
    assert boto.head_object(Bucket=bucket.name, Key="a", VersionId=version)["ContentLength"] == 1
    await obj.delete()  # only hides it
    with pytest.raises(dream.NotFoundError):
        await obj.read()
    if lock == "retention":
        await obj.delete(version_id=version, bypass_governance=True)
        assert [one.is_delete_marker for one in await obj.versions()] == [True]


async def test_a_forced_deletion_names_what_is_locked(bucket: dream.Bucket, server: Server) -> None:
    await bucket.object("free").put(b"x")
    for key in ("held", "kept"):
        await bucket.object(key).put(b"x", legal_hold=key == "held", retention=KEPT if key == "kept" else None)
    for verb in (lambda: bucket.delete(force=True), bucket.empty):
        with pytest.raises(dream.BulkError, match=r"2 of \d keys .* the first: .*(held|kept)") as caught:
            await verb()
        report = caught.value.report
        assert {failure.key for failure in report.failures} == {"held", "kept"}
        assert {type(failure.error) for failure in report.failures} == {dream.LockedError}
        if server.name != "moto":
            assert {True} == {"is locked: " in str(failure.error) for failure in report.failures}
    assert await bucket.object("held").read() == b"x"
    with pytest.raises(dream.BulkError, match="1 of 2 keys"):
        await bucket.delete(force=True, bypass_governance=True)
    assert [version.key for version in await bucket.list_versions().collect()] == ["held"]
    await bucket.object("held").set_legal_hold(False)


async def test_a_retention_is_shortened_only_with_the_right(bucket: dream.Bucket, server: Server, boto: Any) -> None:
    if server.name == "moto":
        pytest.xfail("moto lets anybody shorten a retention")
    obj = bucket.object("a")
    await obj.put(b"x", retention=KEPT)
    sooner = UNTIL - timedelta(hours=1)
    with pytest.raises(dream.LockedError, match="GOVERNANCE retention until"):
        await obj.set_retention("GOVERNANCE", sooner)
    with pytest.raises((dream.LockedError, dream.InvalidRequestError)):  # Ceph ends no retention
        await obj.set_retention(None, None)
    await obj.set_retention("GOVERNANCE", sooner, bypass_governance=True)
    assert lock_of(boto, bucket.name, "a")[1] == sooner
    await obj.set_retention("GOVERNANCE", UNTIL)
    assert lock_of(boto, bucket.name, "a")[1] == UNTIL


async def test_rights_that_are_missing_are_no_lock() -> None:
    async with ScriptedServer() as scripted:
        scripted.will(error(403, "AccessDenied"), Reply(200, headers={"ETag": '"e"'}))
        async with scripted.session() as session:
            with pytest.raises(dream.AccessDeniedError) as caught:
                await session.object("s3://bucket/a").delete(version_id="v")
        assert not isinstance(caught.value, dream.LockedError)


async def test_a_cancellation_during_the_completion_leaves_no_object_without_its_lock() -> None:
    """The service forgets the lock of an upload in parts, as Ceph RGW 16.2 does."""
    is_completing, goes_on = asyncio.Event(), asyncio.Event()
    has_hold = False

    def answer(request: Received) -> Reply:
        nonlocal has_hold
        if request.method == "POST" and "uploads" in request.target:
            return Reply(200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
        if request.method == "POST":
            is_completing.set()
            document = b"<CompleteMultipartUploadResult><ETag>opaque</ETag></CompleteMultipartUploadResult>"
            return Reply(200, document, hold=goes_on)
        if "legal-hold" in request.target:
            has_hold = True
            return Reply(200)
        if request.method == "HEAD":
            told = {"x-amz-object-lock-legal-hold": "ON"} if has_hold else {}
            return Reply(200, headers={"ETag": '"opaque"', **told})
        return Reply(200, headers={"ETag": '"opaque"'})

    async with ScriptedServer() as scripted, scripted.session(limits=dream.Limits(part_size=PART)) as session:
        scripted.will(answer)
        task = asyncio.create_task(session.object("s3://bucket/a").put(LARGE, legal_hold=True))
        await is_completing.wait()
        task.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert has_hold


async def test_a_service_that_ignores_the_lock_is_found_out() -> None:
    async with ScriptedServer() as scripted:
        etag = Reply(200, headers={"ETag": '"9dd4e461268c8034f5c8564e155c67a6"'})
        hold = Reply(200, b"<LegalHold><Status>OFF</Status></LegalHold>")
        scripted.will(etag, etag, hold, Reply(200), Reply(200), etag)
        async with scripted.session() as session:
            with pytest.raises(dream.UnsupportedByServiceError, match="was stored, but is not locked as asked"):
                await session.object("s3://bucket/a").put(b"x", retention=KEPT, legal_hold=True)


async def test_a_service_that_does_not_know_locks_does_not_lose_the_content() -> None:
    """It takes ``PUT ?retention`` for a PUT of the object."""
    async with ScriptedServer() as scripted:
        scripted.will(Reply(200, b"the content", headers={"ETag": '"e"'}))
        async with scripted.session(service=dream.Service.for_endpoint(scripted.endpoint)) as session:
            obj = session.object("s3://bucket/a")
            for verb in locking(obj):
                with pytest.raises(dream.UnsupportedByServiceError):
                    await verb()
        assert {request.method for request in scripted.received} == {"GET"}


async def test_a_known_lack_of_locks_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    async with ScriptedServer() as scripted:
        scripted.will(Reply(200, headers={"ETag": '"9dd4e461268c8034f5c8564e155c67a6"'}))
        known = dream.Service.for_endpoint(scripted.endpoint)
        service = replace(known, is_known=True, unsupported={**known.unsupported, "object_lock": "it has none"})
        async with scripted.session(service=service) as session:
            obj = session.object("s3://bucket/a")
            for verb in (
                obj.put(b"x", legal_hold=True),
                obj.upload(path, retention=KEPT),
                obj.start_upload(retention=KEPT),
                obj.set_retention("GOVERNANCE", UNTIL),
                obj.set_legal_hold(True),
            ):
                with pytest.raises(dream.UnsupportedByServiceError, match="does not support Object Lock; it has none"):
                    await verb
        assert scripted.received == []


# Bad input


WRONG: dict[str, dict[str, Any]] = {
    "no retention": {"retention": "GOVERNANCE"},
    "days": {"retention": dream.Retention("GOVERNANCE", days=1)},
    "no boolean": {"legal_hold": "ON"},
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG)
async def test_what_is_no_lock_is_refused_before_anything_is_sent(given: Any) -> None:
    async with ScriptedServer() as scripted, scripted.session() as session:
        obj = session.object("s3://bucket/a")
        writes: list[Callable[[], Any]] = [lambda: obj.put(b"x", **given), lambda: obj.copy_to(obj, **given)]
        for verb in writes:
            with pytest.raises(ValueError, match=r"retention|legal_hold"):
                await verb()
        for arguments in (("LOCKED", UNTIL), ("GOVERNANCE", datetime(2040, 1, 1)), ("GOVERNANCE", None), (None, UNTIL)):  # noqa: DTZ001 - refused
            with pytest.raises(ValueError, match=r"retention|until"):
                await obj.set_retention(*arguments)
        with pytest.raises(ValueError, match="True or False"):
            await obj.set_legal_hold("ON")  # type: ignore[arg-type]  # the same
        assert scripted.received == []
