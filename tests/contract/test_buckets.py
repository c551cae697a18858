"""What a bucket is, on every server: the same facts, the same errors."""

from __future__ import annotations

import pytest
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions


async def test_a_created_bucket_is_listed_with_the_time_of_its_creation(
    session: dream.Session, bucket: dream.Bucket
) -> None:
    listed = {info.name: info async for info in session.buckets()}
    created = listed[bucket.name].created
    assert created is not None
    assert created.tzinfo is not None


async def test_create_bucket_returns_a_bucket_that_exists(session: dream.Session) -> None:
    bucket = await session.create_bucket(new_name())
    assert await bucket.exists()
    assert (await bucket.info()).name == bucket.name
    await bucket.delete()
    assert not await bucket.exists()


async def test_creating_a_bucket_again_is_refused_unless_told_otherwise(bucket: dream.Bucket) -> None:
    with pytest.raises(dream.AlreadyExistsError, match=bucket.name):
        await bucket.create()
    assert (await bucket.create(exist_ok=True)).name == bucket.name


async def test_a_name_that_another_account_has_is_taken(server: Server, session: dream.Session) -> None:
    if server.other_account is None:
        if not server.is_b2:
            pytest.skip("moto has one account")
        with pytest.raises(dream.AlreadyExistsError):
            await session.create_bucket("taken-by-another", exist_ok=True)
        return
    access_key, secret_key = server.other_account
    async with server.session(access_key=access_key, secret_key=secret_key) as other:
        theirs = await other.create_bucket(new_name())
        ours = session.bucket(theirs.name)
        for exist_ok in (False, True):
            with pytest.raises(dream.AlreadyExistsError):
                await ours.create(exist_ok=exist_ok)
        with pytest.raises(dream.AccessDeniedError):
            await ours.list().collect()
        with pytest.raises(dream.AccessDeniedError):
            await ours.exists()
        await theirs.delete()


async def test_a_bucket_with_an_object_is_not_deleted(bucket: dream.Bucket) -> None:
    await bucket.object("here").put("x")
    with pytest.raises(dream.BucketNotEmptyError):
        await bucket.delete()
    assert await bucket.object("here").read() == b"x"


async def test_a_bucket_that_is_missing_is_the_same_error_for_every_verb(session: dream.Session) -> None:
    missing = session.bucket(new_name())
    verbs = [
        missing.info(),
        missing.delete(),
        missing.delete(force=True),
        missing.empty(),
        missing.list().collect(),
        missing.list_dir().collect(),
        missing.list_versions().collect(),
        missing.uploads().collect(),
        missing.acl(),
        missing.set_acl("private"),
        missing.delete_many(["a"]),
        missing.cors(),
        missing.lifecycle(),
        missing.object("a").put("x"),
        missing.object("a").head(),
        missing.object("a").read(),
        missing.object("a").acl(),
    ]
    for verb in verbs:
        with pytest.raises(dream.NotFoundError) as caught:
            await verb
        assert missing.name in str(caught.value)
        assert caught.value.status == 404
    assert not await missing.exists()
    assert not await missing.object("a").exists()


async def test_ceph_counts_objects_and_bytes(server: Server, bucket: dream.Bucket) -> None:
    await bucket.object("a").put(b"12345")
    info = await bucket.info()
    if server.is_rgw:
        assert (info.object_count, info.bytes_used) == (1, 5)
    else:
        assert (info.object_count, info.bytes_used) == (None, None)


async def test_a_new_bucket_is_private_and_its_acl_can_be_changed(bucket: dream.Bucket) -> None:
    acl = await bucket.acl()
    assert acl.canned == "private"
    await bucket.set_acl("public-read")
    assert (await bucket.acl()).canned == "public-read"
    await bucket.set_acl("private")
    assert (await bucket.acl()).canned == "private"


async def test_a_bucket_can_be_created_with_an_acl(session: dream.Session) -> None:
    bucket = await session.create_bucket(new_name(), "public-read")
    assert (await bucket.acl()).canned == "public-read"
    await bucket.delete()


async def test_an_acl_can_be_set_by_grants(server: Server, bucket: dream.Bucket) -> None:
    owner = (await bucket.acl()).owner
    reader = dream.Grant("READ", uri=dream.AUTHENTICATED_USERS)
    wanted = dream.Acl(owner, (dream.Grant("FULL_CONTROL", id=owner), reader))
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await bucket.set_acl(wanted)
        return
    await bucket.set_acl(wanted)
    acl = await bucket.acl()
    assert acl.canned == "authenticated-read"
    assert set(acl.grants) == set(wanted.grants)


async def test_force_delete_takes_versions_markers_and_open_uploads(
    server: Server, session: dream.Session, bucket: dream.Bucket
) -> None:
    await bucket.set_versioning("Enabled")
    for content in ("old", "new"):
        await bucket.object("versioned").put(content)
    await bucket.object("hidden").put("x")
    await bucket.object("hidden").delete()
    await session._runtime.s3.create_upload(Address(bucket.name, "open/upload ü"), WriteOptions())
    assert [upload.key async for upload in bucket.uploads()] == ["open/upload ü"]
    await bucket.delete(force=True)
    assert not await bucket.exists()


async def test_emptying_keeps_the_bucket(bucket: dream.Bucket) -> None:
    for number in range(3):
        await bucket.object(f"key-{number}").put("x")
    report = await bucket.empty()
    assert report == dream.BulkReport(done=3, failed=0)
    assert await bucket.list_versions().collect() == []
    assert await bucket.exists()
    assert await bucket.empty() == dream.BulkReport(done=0, failed=0)
