"""Many keys at once, on every server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from conftest import Server, new_name, put_all

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects.testing import MemoryService

ON = ("memory", "rgw", "b2")


async def fill(bucket: dream.Bucket, count: int) -> list[str]:
    keys = [f"key-{number:04}" for number in range(count)]
    await put_all(bucket, keys)
    return keys


async def test_more_keys_than_a_request_takes_are_deleted(server: Server, bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 1005)
    assert await bucket.delete_many(keys) == dream.BulkReport(done=1005, failed=0)
    assert await bucket.list().collect() == []


async def test_keys_may_come_from_a_listing(bucket: dream.Bucket) -> None:
    await fill(bucket, 12)
    assert (await bucket.delete_many(bucket.list("key-000"))).done == 10
    assert [info.key async for info in bucket.list()] == ["key-0010", "key-0011"]


async def test_keys_may_be_versions(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    obj = bucket.object("a")
    first, second = await obj.put("1"), await obj.put("2")
    assert await bucket.delete_many([("a", second.version_id)]) == dream.BulkReport(done=1, failed=0)
    assert await obj.read() == b"1"
    assert (await bucket.delete_many([first])).done == 1
    assert await bucket.list_versions().collect() == []


async def test_infos_of_another_bucket_are_refused(session: dream.Session, bucket: dream.Bucket) -> None:
    other = await session.create_bucket(new_name())
    for each in (bucket, other):
        await each.object("precious").put("x")
    with pytest.raises(ValueError, match=f"is of bucket '{other.name}'"):
        await bucket.delete_many(other.list())
    assert await bucket.object("precious").exists()
    await other.delete(force=True)


async def test_missing_and_repeated_keys_count_as_done(bucket: dream.Bucket) -> None:
    await bucket.object("here").put("x")
    assert (await bucket.delete_many(["here", "missing", "here"])).done == 3
    assert (await bucket.delete_many([])) == dream.BulkReport(done=0, failed=0)


async def test_keys_may_come_from_iterators(bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 4)

    def some() -> Iterator[str]:
        yield from keys[:2]

    async def others() -> AsyncIterator[str]:
        for key in keys[2:]:
            yield key

    assert (await bucket.delete_many(some())).done == 2
    assert (await bucket.delete_many(others())).done == 2
    assert await bucket.list().collect() == []


async def test_a_source_that_fails_is_raised_as_it_is(bucket: dream.Bucket) -> None:
    await bucket.object("kept").put("x")

    def broken() -> Iterator[str]:
        yield "a"
        raise LookupError("no more keys")  # noqa: TRY003, EM101 - as users raise

    with pytest.raises(LookupError, match="no more keys"):
        await bucket.delete_many(broken())
    assert await bucket.object("kept").exists()


async def test_a_key_that_is_none_is_refused(bucket: dream.Bucket) -> None:
    with pytest.raises(ValueError, match="empty"):
        await bucket.delete_many(["a", ""])
    with pytest.raises(TypeError, match="iterable of keys"):
        await bucket.delete_many("key")
    with pytest.raises(ValueError, match="on_error 'ignore' is none of 'raise', 'collect'"):
        await bucket.delete_many(["a"], on_error="ignore")  # type: ignore[arg-type]  # that is the point


# Access control lists


async def test_many_keys_are_given_an_acl(server: Server, bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 70)
    infos = await bucket.list("key-001").collect()
    if server.is_b2:
        with pytest.raises(dream.BulkError, match=f"3 of 3 keys of s3://{bucket.name}") as caught:
            await bucket.set_acl_many(keys[:3], "public-read")
        assert {failure.key for failure in caught.value.report.failures} == {*keys[:3]}
        for failure in caught.value.report.failures:
            assert isinstance(failure.error, dream.UnsupportedByServiceError)
            assert "bucket.set_acl()" in str(failure.error)
        return
    assert await bucket.set_acl_many(keys[:10], "public-read") == dream.BulkReport(done=10, failed=0)
    assert await bucket.set_acl_many(infos, "public-read") == dream.BulkReport(done=10, failed=0)
    assert await bucket.set_acl_many(bucket.list("key-002"), "public-read") == dream.BulkReport(done=10, failed=0)
    canned = [(await bucket.object(key).acl()).canned for key in keys[:32]]
    assert canned == ["public-read"] * 30 + ["private"] * 2
    owner = (await bucket.object(keys[0]).acl()).owner
    private = dream.Acl(owner, (dream.Grant("FULL_CONTROL", id=owner),))
    assert await bucket.set_acl_many(bucket.list(), private) == dream.BulkReport(done=70, failed=0)
    assert [(await bucket.object(key).acl()).canned for key in keys[::10]] == ["private"] * 7


async def test_a_version_is_given_an_acl_of_its_own(server: Server, bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    obj = bucket.object("a")
    old, new = await obj.put("1"), await obj.put("2")
    versions = [("a", old.version_id)]
    if server.is_b2:
        report = await bucket.set_acl_many(versions, "public-read", on_error="collect")
        assert [(failure.key, failure.version_id) for failure in report.failures] == versions
        return
    assert (await bucket.set_acl_many(versions, "public-read")).done == 1
    assert (await obj.acl()).canned == "private"
    assert (await bucket.set_acl_many([new], "public-read")).done == 1
    assert (await obj.acl()).canned == "public-read"
    assert (await bucket.set_acl_many(bucket.list_versions(), "private")).done == 2
    assert (await obj.acl()).canned == "private"


async def test_a_missing_key_is_given_no_acl_and_fails_alone(server: Server, bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 3)
    given = [keys[0], "missing", *keys[1:]]
    report = await bucket.set_acl_many(given, "public-read", on_error="collect")
    if server.is_b2:
        assert (report.done, report.failed) == (0, 4)
        return
    assert (report.done, report.failed) == (3, 1)
    (failure,) = report.failures
    assert (failure.key, failure.version_id) == ("missing", None)
    assert isinstance(failure.error, dream.NotFoundError)
    assert failure.error.code == "NoSuchKey"
    with pytest.raises(dream.BulkError, match="1 of 4 keys") as caught:
        await bucket.set_acl_many(given, "private")
    assert (caught.value.report.done, caught.value.report.failed) == (3, 1)
    assert [type(error) for error in caught.value.exceptions] == [dream.NotFoundError]
    assert [(await bucket.object(key).acl()).canned for key in keys] == ["private"] * 3


async def test_no_key_is_given_an_acl_of_a_bucket_that_is_missing(session: dream.Session, server: Server) -> None:
    if server.is_b2:
        return  # it has no ACLs of objects, wherever they are
    with pytest.raises(dream.NotFoundError) as caught:
        await session.bucket(new_name()).set_acl_many(["a", "b"], "private")
    assert caught.value.code == "NoSuchBucket"


async def test_what_cannot_be_given_an_acl_is_refused(session: dream.Session, bucket: dream.Bucket) -> None:
    other = dream.ObjectInfo("elsewhere", "a")
    with pytest.raises(ValueError, match="canned ACL 'public'"):
        await bucket.set_acl_many(["a"], "public")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="iterable of keys"):
        await bucket.set_acl_many("key", "private")
    with pytest.raises(ValueError, match="is of bucket 'elsewhere'"):
        await bucket.set_acl_many([other], "private")
    with pytest.raises(ValueError, match="empty"):
        await bucket.set_acl_many([""], "private")
    with pytest.raises(ValueError, match="on_error"):
        await bucket.set_acl_many(["a"], "private", on_error="ignore")  # type: ignore[arg-type]  # that is the point
    assert await bucket.set_acl_many([], "private") == dream.BulkReport(done=0, failed=0)


# Copies


async def test_many_objects_are_copied_from_keys_infos_and_objects(
    bucket: dream.Bucket, session: dream.Session, boto: Any
) -> None:
    other = await session.create_bucket(new_name())
    await bucket.object("a").put("a", cache_control="max-age=60")
    await bucket.object("b").put("b")
    await other.object("c").put("c", content_type="text/csv")
    async with MemoryService().session() as elsewhere:
        far = await elsewhere.create_bucket("far")
        await far.object("d").put("d", metadata={"color": "black"})

        async def pairs() -> AsyncIterator[tuple[dream.CopySource, str]]:
            yield "a", "to/a"
            yield await bucket.object("b").head(), "to/b"
            async for info in other.list():
                yield info, f"to/{info.key}"
            yield far.object("d"), "to/d"

        assert await bucket.copy_many(pairs()) == dream.BulkReport(done=4, failed=0)
    found = {key: boto.get_object(Bucket=bucket.name, Key=f"to/{key}") for key in "abcd"}
    assert {key: reply["Body"].read() for key, reply in found.items()} == {key: key.encode() for key in "abcd"}
    assert found["a"]["CacheControl"] == "max-age=60"
    assert found["c"]["ContentType"] == "text/csv"
    assert found["d"]["Metadata"] == {"color": "black"}
    await other.delete(force=True)


async def test_copies_of_many_objects_may_have_other_headers(bucket: dream.Bucket, boto: Any) -> None:
    keys = await fill(bucket, 70)
    report = await bucket.copy_many(((key, f"to/{key}") for key in keys), cache_control="no-cache", metadata={"a": "b"})
    assert report == dream.BulkReport(done=70, failed=0)
    for key in keys[::23]:
        reply = boto.head_object(Bucket=bucket.name, Key=f"to/{key}")
        assert (reply["CacheControl"], reply["Metadata"]) == ("no-cache", {"a": "b"})


async def test_a_copy_that_fails_does_not_stop_the_others(bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 3)
    pairs = [(key, f"to/{key}") for key in (keys[0], "missing", *keys[1:])]
    with pytest.raises(dream.BulkError, match=r"1 of 4 keys of .* could not be copied") as caught:
        await bucket.copy_many(pairs)
    assert (caught.value.report.done, caught.value.report.failed) == (3, 1)
    report = await bucket.copy_many(pairs, on_error="collect")
    (failure,) = report.failures
    assert (failure.key, failure.version_id, type(failure.error)) == ("to/missing", None, dream.NotFoundError)
    assert sorted([info.key async for info in bucket.list("to/")]) == [f"to/{key}" for key in keys]


async def test_old_versions_are_copied(bucket: dream.Bucket, boto: Any) -> None:
    await bucket.set_versioning("Enabled")
    for text in ("1", "2"):
        await bucket.object("a").put(text)
    await bucket.object("a").delete()
    marker, *versions = await bucket.list_versions().collect()
    report = await bucket.copy_many((info, f"to/{number}") for number, info in enumerate(versions))
    assert report == dream.BulkReport(done=2, failed=0)
    copies = [boto.get_object(Bucket=bucket.name, Key=f"to/{number}")["Body"].read() for number in range(2)]
    assert copies == [b"2", b"1"]
    assert await bucket.copy_many([(versions[1], "a")]) == dream.BulkReport(done=1, failed=0)
    assert boto.get_object(Bucket=bucket.name, Key="a")["Body"].read() == b"1"
    with pytest.raises(TypeError, match="is no source of a copy"):
        await bucket.copy_many([(marker, "b")])


BAD_PAIRS: list[tuple[Any, type[Exception], str]] = [
    ("ab", TypeError, "is not a pair"),
    (("a", "b", "c"), TypeError, "is not a pair"),
    ((1, "b"), TypeError, "is no source of a copy"),
    (("a", ""), ValueError, "empty"),
    (("", "b"), ValueError, "empty"),
    (("a", "a"), ValueError, "must change something"),
]


async def test_a_pair_that_is_none_is_refused(bucket: dream.Bucket) -> None:
    await bucket.object("a").put("a")
    for pair, kind, words in BAD_PAIRS:
        with pytest.raises(kind, match=words):
            await bucket.copy_many([pair])
    assert [info.key async for info in bucket.list()] == ["a"]


async def test_copies_with_wrong_options_are_refused(bucket: dream.Bucket) -> None:
    with pytest.raises(TypeError, match="unknown option 'cache'"):
        await bucket.copy_many([("a", "b")], cache="no")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ValueError, match="exclude each other"):
        await bucket.copy_many([("a", "b")], acl="private", copy_acl=True)
    with pytest.raises(ValueError, match="on_error"):
        await bucket.copy_many([], on_error="ignore")  # type: ignore[arg-type]  # that is the point


# Headers


async def test_the_headers_of_many_objects_are_changed_and_nothing_else_is(
    server: Server, bucket: dream.Bucket, boto: Any
) -> None:
    keys = await fill(bucket, 70)
    first = bucket.object(keys[0])
    await first.put("first", content_type="text/csv", metadata={"color": "black"}, cache_control="no-store")
    if not server.is_b2:
        await first.set_acl("public-read")
        await first.set_tags({"kind": "a"})
    report = await bucket.set_headers_many(bucket.list("key-"), cache_control="public, max-age=31536000")
    assert report == dream.BulkReport(done=70, failed=0)
    for key in keys[::23]:
        assert boto.head_object(Bucket=bucket.name, Key=key)["CacheControl"] == "public, max-age=31536000"
    reply = boto.get_object(Bucket=bucket.name, Key=keys[0])
    assert (reply["Body"].read(), reply["ContentType"], reply["Metadata"]) == (b"first", "text/csv", {"color": "black"})
    if not server.is_b2:
        assert (await first.acl()).canned == "public-read"
        assert boto.get_object_tagging(Bucket=bucket.name, Key=keys[0])["TagSet"] == [{"Key": "kind", "Value": "a"}]
    assert (await bucket.set_headers_many(keys[:2], cache_control=None)).done == 2
    assert "CacheControl" not in boto.head_object(Bucket=bucket.name, Key=keys[0])


async def test_a_missing_key_has_no_headers_and_fails_alone(bucket: dream.Bucket) -> None:
    keys = await fill(bucket, 2)
    report = await bucket.set_headers_many([keys[0], "missing", keys[1]], on_error="collect", content_language="de")
    assert (report.done, report.failed) == (2, 1)
    assert [(failure.key, type(failure.error)) for failure in report.failures] == [("missing", dream.NotFoundError)]
    with pytest.raises(dream.BulkError, match=r"1 of 1 keys of .* could not be changed"):
        await bucket.set_headers_many(["missing"], content_language="de")


async def test_headers_that_cannot_be_changed_are_refused(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    old = await bucket.object("a").put("1")
    await bucket.object("a").put("2")
    versions = await bucket.list_versions().collect()
    with pytest.raises(ValueError, match="needs a header to change"):
        await bucket.set_headers_many(["a"])
    with pytest.raises(TypeError, match=r"set_headers_many\(\) got an unexpected keyword argument 'acl'"):
        await bucket.set_headers_many(["a"], acl="private")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError, match="iterable of keys"):
        await bucket.set_headers_many("key", expires="0")
    for version in (("a", old.version_id), versions[1]):
        with pytest.raises(ValueError, match="only the headers of the newest one"):
            await bucket.set_headers_many([version], expires="0")
    assert await bucket.list_versions().collect() == versions


# Uploads that were begun


async def begin_uploads(session: dream.Session, bucket: dream.Bucket, *keys: str) -> None:
    for key in keys:
        await session._runtime.s3.create_upload(Address(bucket.name, key), WriteOptions())


async def open_uploads(bucket: dream.Bucket) -> list[str]:
    return sorted([upload.key async for upload in bucket.uploads()])


async def test_uploads_are_aborted_by_their_age(server: Server, session: dream.Session, bucket: dream.Bucket) -> None:
    await bucket.object("stored").put("x")
    await begin_uploads(session, bucket, "a", "a", "b/ü +%20")
    assert await bucket.abort_uploads(timedelta(hours=1)) == dream.BulkReport(done=0, failed=0)
    assert await open_uploads(bucket) == ["a", "a", "b/ü +%20"]
    assert await bucket.abort_uploads(timedelta(0)) == dream.BulkReport(done=3, failed=0)
    assert await open_uploads(bucket) == []
    assert await bucket.abort_uploads(timedelta(0)) == dream.BulkReport(done=0, failed=0)
    assert await bucket.object("stored").read() == b"x"


async def test_uploads_that_would_be_aborted_are_counted(session: dream.Session, bucket: dream.Bucket) -> None:
    await begin_uploads(session, bucket, "a", "b", "c")
    assert await bucket.abort_uploads(timedelta(0), dry_run=True) == dream.BulkReport(done=3, failed=0)
    assert await bucket.abort_uploads(timedelta(0), True, prefix="b") == dream.BulkReport(done=1, failed=0)
    assert await open_uploads(bucket) == ["a", "b", "c"]


async def test_uploads_are_aborted_below_a_prefix(session: dream.Session, bucket: dream.Bucket) -> None:
    await begin_uploads(session, bucket, "a/1", "a/2", "b/1")
    assert await bucket.abort_uploads(timedelta(0), prefix="a/") == dream.BulkReport(done=2, failed=0)
    assert await open_uploads(bucket) == ["b/1"]


async def test_an_age_that_is_none_is_refused(bucket: dream.Bucket) -> None:
    wrong: list[Any] = [timedelta(seconds=-1), 3600, 0, None, "1 day"]
    for older_than in wrong:
        with pytest.raises(ValueError, match="must be a timedelta"):
            await bucket.abort_uploads(older_than)


async def test_uploads_of_a_bucket_that_is_missing_are_not_aborted(session: dream.Session) -> None:
    with pytest.raises(dream.NotFoundError) as caught:
        await session.bucket(new_name()).abort_uploads(timedelta(0))
    assert caught.value.code == "NoSuchBucket"
