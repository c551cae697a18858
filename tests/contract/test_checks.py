"""``check_tree``: what differs between a prefix and a directory, or another prefix, on every server."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ON = ("memory", "rgw")

MIB = 1 << 20
PART = 5 * MIB
LARGE = random.Random(8).randbytes(2 * PART + 1000)
SMALL = {"a": b"aaa", "d/e/empty": b"", "d/f": b"fff", "ü/é+%20&=#?": b"odd", "z": b"zzz"}
BY: tuple[dream.CheckBy, ...] = ("etag", "size", "content")

Kind = Literal["directory", "prefix", "bucket", "another service"]
KINDS: tuple[Kind, ...] = ("directory", "prefix", "bucket", "another service")


@pytest_asyncio.fixture
async def elsewhere() -> AsyncIterator[dream.Bucket]:
    async with MemoryService().session() as session:
        yield await session.create_bucket("elsewhere")


@pytest_asyncio.fixture
async def beside(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    await made.delete(force=True)


class Other:
    """The other side of a comparison: a directory, or a prefix of a bucket."""

    def __init__(self, place: Path | dream.Bucket, prefix: str = "") -> None:
        self.place, self.prefix = place, prefix

    async def put(self, name: str, content: bytes) -> None:
        if isinstance(self.place, Path):
            path = self.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            await self.place.object(self.prefix + name).put(content)

    async def delete(self, name: str) -> None:
        if isinstance(self.place, Path):
            (self.place / name).unlink()
        else:
            await self.place.object(self.prefix + name).delete()

    async def compared(self, bucket: dream.Bucket, prefix: str, **options: Any) -> dream.CheckReport:
        if not isinstance(self.place, Path):
            options["to_prefix"] = self.prefix
        return await bucket.check_tree(self.place, prefix, **options)


@pytest.fixture(params=KINDS)
def other(request: pytest.FixtureRequest, bucket: dream.Bucket, tmp_path: Path) -> Other:
    match request.param:
        case "directory":
            return Other(tmp_path / "other")
        case "prefix":
            return Other(bucket, "other/")
        case "bucket":
            return Other(request.getfixturevalue("beside"), "x/y/")
        case _:
            return Other(request.getfixturevalue("elsewhere"))


async def fill(bucket: dream.Bucket, other: Other, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        await bucket.object(f"here/{name}").put(data)
        await other.put(name, data)


def upload_in_parts(boto: Any, bucket: str, key: str, data: bytes, size: int) -> None:
    """As another tool cuts it."""
    upload = boto.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    given = {"Bucket": bucket, "Key": key, "UploadId": upload}
    parts = []
    for number, start in enumerate(range(0, len(data), size), 1):
        etag = boto.upload_part(**given, PartNumber=number, Body=data[start : start + size])["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    boto.complete_multipart_upload(**given, MultipartUpload={"Parts": parts})


async def test_what_is_the_same_is_the_same_by_all_means(bucket: dream.Bucket, other: Other) -> None:
    await fill(bucket, other, SMALL)
    for by in BY:
        assert await other.compared(bucket, "here", by=by) == dream.CheckReport(len(SMALL), done=len(SMALL))


async def test_each_difference_is_found_and_nothing_is_changed(bucket: dream.Bucket, other: Other, boto: Any) -> None:
    await fill(bucket, other, SMALL)
    boto.put_object(Bucket=bucket.name, Key="here/a", Body=b"bbb")
    boto.put_object(Bucket=bucket.name, Key="here/z", Body=b"longer")
    boto.put_object(Bucket=bucket.name, Key="here/d/extra", Body=b"")
    boto.delete_object(Bucket=bucket.name, Key="here/d/f")
    before = boto.list_object_versions(Bucket=bucket.name)["Versions"]
    for by in BY:
        report = await other.compared(bucket, "here/", by=by)
        differ = ("z",) if by == "size" else ("a", "z")
        same = 5 - 1 - len(differ)
        assert report == dream.CheckReport(same, differ, ("d/f",), ("d/extra",), done=6)
    assert boto.list_object_versions(Bucket=bucket.name)["Versions"] == before


async def test_what_is_empty_has_nothing(bucket: dream.Bucket, other: Other, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert await other.compared(bucket, "here") == dream.CheckReport()
    await other.put("a", b"a")
    assert await other.compared(bucket, "here") == dream.CheckReport(missing=("a",), done=1)
    await bucket.object("here/b").put("b")
    assert await other.compared(bucket, "here") == dream.CheckReport(missing=("a",), extra=("b",), done=2)


async def test_large_objects_that_are_cut_elsewhere(
    server: Server, bucket: dream.Bucket, other: Other, boto: Any
) -> None:
    """An ETag of parts decides nothing beside that of other parts. The content does."""
    await other.put("large", LARGE)
    upload_in_parts(boto, bucket.name, "here/large", LARGE, PART)
    by_etag = await other.compared(bucket, "here")
    assert by_etag.differ == by_etag.missing == by_etag.extra == ()
    if not isinstance(
        other.place, Path
    ):  # of a file, the ETag for other parts can be computed where the parts are known
        assert by_etag == dream.CheckReport(unverified=("large",), done=1)
    assert await other.compared(bucket, "here", by="content") == dream.CheckReport(1, done=1)
    for at in (0, PART, len(LARGE) - 1):
        changed = bytearray(LARGE)
        changed[at] ^= 1
        upload_in_parts(boto, bucket.name, "here/large", bytes(changed), PART)
        assert await other.compared(bucket, "here", by="content") == dream.CheckReport(differ=("large",), done=1)
        assert (await other.compared(bucket, "here")).same == 0


async def test_parts_of_the_same_number_may_be_cut_elsewhere(server: Server, bucket: dream.Bucket, boto: Any) -> None:
    for prefix, size in (("here", 5 * MIB), ("there", 6 * MIB)):
        upload_in_parts(boto, bucket.name, f"{prefix}/large", LARGE[: 9 * MIB], size)
    assert (await bucket.check_tree(bucket, "here", to_prefix="there")).differ == ("large",)
    assert (await bucket.check_tree(bucket, "here", to_prefix="there", by="content")).same == 1


async def test_one_request_at_a_time_is_enough(server: Server) -> None:
    """Nothing waits for a place that it holds itself."""
    if not server.is_memory:
        pytest.skip("in memory")
    async with server.session(limits=dream.Limits(requests=1, part_size=MIB, memory=MIB)) as session:
        bucket = await session.create_bucket(new_name())
        for prefix in ("here", "there"):
            for name in ("a", "b"):
                await bucket.object(f"{prefix}/{name}").put(LARGE[: 3 * MIB])
        await bucket.object("there/a").put(iter([LARGE[: 2 * MIB], LARGE[2 * MIB : 3 * MIB]]))
        for key in ("here/b", "there/b"):
            await bucket.object(key).put(LARGE[: 3 * MIB - 1] + key[:1].encode())
        report = await bucket.check_tree(bucket, "here", to_prefix="there", by="content")
        assert report == dream.CheckReport(1, ("b",), done=2)
        await bucket.delete(force=True)


async def test_the_content_of_objects_under_a_customers_key_is_not_known(
    server: Server, bucket: dream.Bucket, tmp_path: Path
) -> None:
    if not server.is_memory:
        pytest.skip("in memory")
    key, data = dream.SseCustomer(b"k" * 32), {"a": b"secret", "large": LARGE}
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
        await bucket.object(f"there/{name}").put(content)
        await bucket.object(f"here/{name}").put(content, encryption=key)
    unverified = dream.CheckReport(unverified=("a", "large"), done=2)
    assert await bucket.check_tree(tmp_path, "here") == unverified
    assert await bucket.check_tree(bucket, "here", to_prefix="there") == unverified
    assert await bucket.check_tree(bucket, "there", to_prefix="here") == unverified
    report = await bucket.check_tree(tmp_path, "here", by="content", on_error="collect")
    assert (report.same, report.differ, report.failed) == (0, (), 2)
    assert {type(failure.error) for failure in report.failures} == {dream.EncryptionKeyError}
    assert (await bucket.upload_tree(tmp_path, "here", compare="etag")).copied == 2


# What cannot be read


async def test_what_cannot_be_read_is_a_failure_and_nothing_else(bucket: dream.Bucket, tmp_path: Path) -> None:
    root = Other(tmp_path)
    await fill(bucket, root, SMALL)
    await bucket.object("here/link").put("x")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for key in ("../../evil", "a/below", "p//q"):
        await bucket.object(f"here/{key}").put("unsafe")
    with pytest.raises(dream.BulkError, match="5 names could not be compared, 5 were") as caught:
        await bucket.check_tree(tmp_path, "here")
    report = caught.value.report
    assert isinstance(report, dream.CheckReport)
    assert str(report) == str(await bucket.check_tree(tmp_path, "here", on_error="collect"))
    assert (report.same, report.differ, report.missing, report.extra) == (len(SMALL), (), (), ())
    failures = {failure.key: type(failure.error) for failure in report.failures}
    unsafe = dict.fromkeys(("../../evil", "a/below", "p//q"), dream.UnsafeKeyError)
    assert failures == {**unsafe, "link": FileNotFoundError, "pipe": OSError}


async def test_a_directory_that_cannot_be_read_hides_what_is_below_it(bucket: dream.Bucket, tmp_path: Path) -> None:
    root = Other(tmp_path)
    await fill(bucket, root, SMALL)
    (tmp_path / "loop").symlink_to(tmp_path)
    for key in ("loop/x", "loop/y/z", "loop", "loop2"):
        await bucket.object(f"here/{key}").put("x" if key != "loop" else "")
    report = await bucket.check_tree(tmp_path, "here", on_error="collect")
    assert [failure.key for failure in report.failures] == ["loop/"]
    assert (report.same, report.missing, report.extra) == (len(SMALL), (), ("loop2",))


async def test_objects_that_mark_directories_are_passed_over(bucket: dream.Bucket, other: Other) -> None:
    await fill(bucket, other, SMALL)
    await bucket.object("here/d/").put("")
    assert await other.compared(bucket, "here") == dream.CheckReport(len(SMALL), done=len(SMALL))


async def test_patterns_leave_out_names_on_both_sides(bucket: dream.Bucket, other: Other) -> None:
    await fill(bucket, other, SMALL)
    await bucket.object("here/d/extra").put("x")
    await other.put("d/missing", b"x")
    report = await other.compared(bucket, "here", include=["d/", "*.css"], exclude=["missing"])
    assert report == dream.CheckReport(2, extra=("d/extra",), done=3, unmatched=("*.css",))


async def test_progress_ends_at_the_totals(bucket: dream.Bucket, other: Other) -> None:
    await fill(bucket, other, SMALL)
    told: list[dream.Progress] = []
    await other.compared(bucket, "here", by="content", progress=told.append)
    size = sum(map(len, SMALL.values()))
    last = told[-1]
    assert (last.done_bytes, last.total_bytes, last.done_objects, last.total_objects) == (size, size, 5, 5)


async def test_what_cannot_be_compared_is_refused(bucket: dream.Bucket, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="by 'md5' is none of 'etag', 'size', 'content'"):
        await bucket.check_tree(tmp_path, by="md5")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="is a prefix of another bucket"):
        await bucket.check_tree(tmp_path, to_prefix="a")
    with pytest.raises(TypeError):
        await bucket.check_tree(None)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(FileNotFoundError):
        await bucket.check_tree(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        await bucket.check_tree(tmp_path / "file")


async def test_a_bucket_that_is_missing_is_raised_as_it_is(session: dream.Session, bucket: dream.Bucket) -> None:
    missing = session.bucket(new_name())
    for one, other in ((bucket, missing), (missing, bucket)):
        with pytest.raises(dream.NotFoundError) as caught:
            await one.check_tree(other)
        assert caught.value.code == "NoSuchBucket"
