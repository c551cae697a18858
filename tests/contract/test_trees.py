"""Trees of files and of objects, made alike on every server."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ON = ("memory", "rgw", "b2")

NAMES = [
    "a",
    "a-b/c",
    "d/a",
    "d/e/ f .txt",
    "d/e/empty",
    "ü/é+%20&=#?",
    "u\u0308\U0001f600",
    ".hidden",
    "z.tar.gz",
    "~",
]
CONTENTS = {name: (name * 3).encode() if name != "d/e/empty" else b"" for name in NAMES}
PART = 5 << 20
LIMITS = dream.Limits(part_size=PART)

Compare = Literal["size", "mtime", "etag"]
COMPARISONS: tuple[Compare, ...] = ("size", "mtime", "etag")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    for number, (name, content) in enumerate(CONTENTS.items()):
        write(root / name, content, 1_600_000_000_123_456_000 + number)
    return root


def write(path: Path, content: bytes, modified: int = 1_600_000_000_000_000_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(modified, modified))


def all_in(root: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


async def names_in(bucket: dream.Bucket, prefix: str) -> list[str]:
    return [info.key.removeprefix(prefix) async for info in bucket.list(prefix)]


async def test_a_tree_goes_up_and_comes_down_the_same(bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    up = await bucket.upload_tree(files, "photos/2026")
    assert (up.copied, up.copied_bytes) == (len(NAMES), sum(map(len, CONTENTS.values())))
    assert await names_in(bucket, "photos/2026/") == sorted(NAMES)
    assert (await bucket.object("photos/2026/z.tar.gz").head()).content_type == "application/gzip"
    down = await bucket.download_tree(tmp_path / "down", "photos/2026/")
    assert (down.copied, down.copied_bytes) == (up.copied, up.copied_bytes)
    assert all_in(tmp_path / "down") == all_in(files)
    for compare in COMPARISONS:
        for again in (
            await bucket.upload_tree(files, "photos/2026", compare=compare, delete=True),
            await bucket.download_tree(tmp_path / "down", "photos/2026", compare=compare, delete=True),
        ):
            assert again == dream.TreeReport(0, 0, skipped=len(NAMES))


async def test_a_large_file_goes_in_parts_and_is_the_same(server: Server, tmp_path: Path) -> None:
    if server.name not in ("rgw", "memory"):
        pytest.skip("in memory, and on Ceph RGW")
    content = random.Random(1).randbytes(PART + 1000)
    write(tmp_path / "up" / "d" / "large", content, 1_600_000_000_987_654_321)
    async with server.session(limits=LIMITS) as session:
        bucket = await session.create_bucket(new_name())
        await bucket.upload_tree(tmp_path / "up", acl="public-read")
        info = await bucket.object("d/large").head()
        assert (info.etag or "").endswith("-2")
        assert (await bucket.object("d/large").acl()).canned == "public-read"
        await bucket.download_tree(tmp_path / "down")
        assert all_in(tmp_path / "down") == all_in(tmp_path / "up")
        for compare in COMPARISONS:
            assert (await bucket.upload_tree(tmp_path / "up", compare=compare)).skipped == 1
            assert (await bucket.download_tree(tmp_path / "down", compare=compare)).skipped == 1
        assert (await bucket.copy_tree(bucket, "d", "copy")).copied_bytes == len(content)
        assert await bucket.object("copy/large").read() == content
        # An ETag of parts is not a copy's everywhere, and within a second in memory their times are the same.
        for compare in ("size", "mtime") if server.is_rgw else ("size",):
            assert (await bucket.copy_tree(bucket, "d", "copy", compare=compare)).skipped == 1
        await bucket.delete(force=True)


@pytest.fixture
async def other(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    await made.delete(force=True)


async def test_a_tree_is_copied_within_a_bucket_and_to_another(
    bucket: dream.Bucket, other: dream.Bucket, files: Path, tmp_path: Path
) -> None:
    await bucket.upload_tree(files, "a")
    for to, prefix in ((bucket, "b/c"), (other, None), (other, "")):
        report = await bucket.copy_tree(to, "a", prefix)
        assert (report.copied, report.copied_bytes) == (len(NAMES), sum(map(len, CONTENTS.values())))
        for compare in COMPARISONS:
            again = await bucket.copy_tree(to, "a", prefix, compare=compare)
            assert (again.copied, again.skipped) == (0, len(NAMES))
    await bucket.download_tree(tmp_path / "within", "b/c")
    await other.download_tree(tmp_path / "beyond", "a")
    assert all_in(tmp_path / "within") == all_in(tmp_path / "beyond") == all_in(files)


async def test_a_tree_is_copied_to_another_service_and_back(bucket: dream.Bucket, files: Path, tmp_path: Path) -> None:
    async with MemoryService().session() as elsewhere:
        there = await elsewhere.create_bucket("there")
        await bucket.upload_tree(files, "a")
        assert (await bucket.copy_tree(there, "a", "b")).copied == len(NAMES)
        assert (await there.copy_tree(bucket, "b", "c")).copied == len(NAMES)
        for compare in COMPARISONS:
            assert (await there.copy_tree(bucket, "b", "c", compare=compare)).skipped == len(NAMES)
    await bucket.download_tree(tmp_path / "back", "c")
    assert all_in(tmp_path / "back") == all_in(files)


async def test_exactly_what_differs_is_copied(bucket: dream.Bucket, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("same", "content", "longer", "touched", "d/missing"):
        write(here / name, b"1")
    await bucket.upload_tree(here, "p")
    await bucket.download_tree(there, "p")
    later = 1_700_000_000_000_000_000
    write(here / "content", b"2", later)
    write(here / "longer", b"11", later)
    write(here / "touched", b"1", later)
    await bucket.object("p/d/missing").delete()
    (there / "d" / "missing").unlink()
    differ: dict[Compare, dict[str, str]] = {
        "size": {"longer": "size", "d/missing": "missing"},
        "etag": {"longer": "size", "d/missing": "missing", "content": "etag"},
        "mtime": {"longer": "size", "d/missing": "missing", "content": "mtime", "touched": "mtime"},
    }
    for compare, expected in differ.items():
        dry = await bucket.upload_tree(here, "p", compare=compare, dry_run=True)
        assert {action.name: action.reason for action in dry.plan or ()} == expected
    assert (await bucket.upload_tree(here, "p", compare="mtime")).copied == 4
    for compare, expected in differ.items():
        dry = await bucket.download_tree(there, "p", compare=compare, dry_run=True)
        assert {action.name: action.reason for action in dry.plan or ()} == expected
    assert (await bucket.download_tree(there, "p", compare="mtime")).copied == 4
    assert all_in(there) == all_in(here)


async def test_what_the_source_lacks_is_deleted_and_nothing_else(
    bucket: dream.Bucket, files: Path, tmp_path: Path
) -> None:
    neighbours = ["photos", "photos-old/x", "photos.txt", "photosx", "x/photos/y"]
    for key in (*neighbours, "photos/extra", "photos/d/extra"):
        await bucket.object(key).put("precious")
    report = await bucket.upload_tree(files, "photos", compare="size", delete=True)
    assert (report.copied, report.deleted) == (len(NAMES), 2)
    assert await names_in(bucket, "photos/") == sorted(NAMES)
    await bucket.copy_tree(bucket, "photos", "copy")
    for key in ("copy/extra", "copy-old/x"):
        await bucket.object(key).put("precious")
    assert (await bucket.copy_tree(bucket, "photos", "copy", compare="etag", delete=True)).deleted == 1
    write(tmp_path / "down" / "d" / "extra" / "x", b"1")
    assert (await bucket.download_tree(tmp_path / "down", "photos", delete=True)).deleted == 1
    assert all_in(tmp_path / "down") == all_in(files)
    assert not (tmp_path / "down" / "d" / "extra").exists()
    for key in (*neighbours, "copy-old/x"):
        assert await bucket.object(key).read() == b"precious"


async def test_an_acl_is_set_where_the_service_has_them(server: Server, bucket: dream.Bucket, tmp_path: Path) -> None:
    write(tmp_path / "a", b"1")
    write(tmp_path / "large", bytes(300 << 10))
    if server.is_b2:
        with pytest.raises(dream.BulkError) as caught:
            await bucket.upload_tree(tmp_path, "p", acl="public-read")
        assert isinstance(caught.value.exceptions[0], dream.UnsupportedByServiceError)
        return
    await bucket.upload_tree(tmp_path, "p", acl="public-read")
    await bucket.copy_tree(bucket, "p", "q", acl="public-read")
    await bucket.copy_tree(bucket, "p", "r")
    for prefix, acl in (("p", "public-read"), ("q", "public-read"), ("r", "private")):
        for name in ("a", "large"):
            assert (await bucket.object(f"{prefix}/{name}").acl()).canned == acl


async def test_a_missing_bucket_is_raised_itself(
    session: dream.Session, bucket: dream.Bucket, files: Path, tmp_path: Path
) -> None:
    missing = session.bucket(new_name())
    await bucket.object("a/x").put("1")
    for work in (
        missing.upload_tree(files),
        missing.upload_tree(files, compare="size", delete=True),
        missing.download_tree(tmp_path / "down"),
        missing.copy_tree(bucket),
        bucket.copy_tree(missing, "a"),
        bucket.copy_tree(missing, "a", delete=True),
    ):
        with pytest.raises(dream.NotFoundError, match=missing.name) as caught:
            await work
        assert caught.value.code == "NoSuchBucket"
    assert await names_in(bucket, "") == ["a/x"]


async def test_a_tree_of_more_than_a_page(server: Server, bucket: dream.Bucket, tmp_path: Path) -> None:
    if server.name != "rgw":
        pytest.skip("it takes its time, and listings are tried elsewhere")
    names = [f"d{number % 3}/{number:04}" for number in range(1005)]
    for name in names:
        write(tmp_path / "up" / name, b"1")
    assert (await bucket.upload_tree(tmp_path / "up", "p")).copied == 1005
    assert (await bucket.upload_tree(tmp_path / "up", "p", compare="size", delete=True)).skipped == 1005
    assert (await bucket.download_tree(tmp_path / "down", "p")).copied == 1005
    assert all_in(tmp_path / "down") == all_in(tmp_path / "up")
    for name in names[::100]:
        (tmp_path / "down" / name).unlink()
    write(tmp_path / "down" / "d1" / "extra", b"1")
    report = await bucket.download_tree(tmp_path / "down", "p", compare="size", delete=True)
    assert (report.copied, report.skipped, report.deleted) == (11, 994, 1)


async def test_another_account_is_copied_to(server: Server, bucket: dream.Bucket, files: Path) -> None:
    if server.other_account is None or server.name != "rgw":
        pytest.skip("there is one account, or it was tried already")
    access_key, secret_key = server.other_account
    async with AsyncExitStack() as stack:
        theirs = await stack.enter_async_context(server.session(access_key=access_key, secret_key=secret_key))
        there = await theirs.create_bucket(new_name())
        stack.push_async_callback(there.delete, force=True)
        await bucket.upload_tree(files, "a")
        assert (await bucket.copy_tree(there, "a", "a")).copied == len(NAMES)
        assert (await bucket.copy_tree(there, "a", "a", compare="mtime", delete=True)).skipped == len(NAMES)
        with pytest.raises(dream.AccessDeniedError):
            await theirs.bucket(bucket.name).copy_tree(there, "a", "b")


async def test_changes_of_kind_and_marked_directories_come_down(bucket: dream.Bucket, tmp_path: Path) -> None:
    """Objects can be beside each other where files cannot. An empty one above others is a directory."""
    write(tmp_path / "a" / "b", b"old")
    write(tmp_path / "c", b"old")
    for key, content in {"p/a": b"new", "p/c/d": b"new", "p/photos": b"", "p/photos/x.jpg": b"x"}.items():
        await bucket.object(key).put(content)
    report = await bucket.download_tree(tmp_path, "p", delete=True)
    assert (report.copied, report.deleted) == (3, 2)
    assert {name: content for name, (content, _) in all_in(tmp_path).items()} == {
        "a": b"new",
        "c/d": b"new",
        "photos/x.jpg": b"x",
    }
    assert (await bucket.upload_tree(tmp_path, "p", compare="mtime", delete=True)).copied == 0


# Headers


async def test_all_files_get_the_headers_that_are_given(bucket: dream.Bucket, files: Path, boto: Any) -> None:
    write(files / "large", bytes(300_000))
    metadata = {"color": "black"}
    report = await bucket.upload_tree(files, "a", cache_control="max-age=60", content_language="de", metadata=metadata)
    assert report.copied == len(NAMES) + 1
    for name, content_type in (("z.tar.gz", "application/gzip"), ("large", None)):
        reply = boto.head_object(Bucket=bucket.name, Key=f"a/{name}")
        assert (reply["CacheControl"], reply["ContentLanguage"]) == ("max-age=60", "de")
        assert reply["Metadata"].keys() >= {"color", "mtime"}
        assert reply["Metadata"]["color"] == "black"
        assert content_type in (None, reply["ContentType"])
    assert (await bucket.upload_tree(files, "a", compare="mtime", metadata=metadata)).skipped == len(NAMES) + 1
    await bucket.upload_tree(files, "b", content_type="text/plain")
    assert {boto.head_object(Bucket=bucket.name, Key=f"b/{name}")["ContentType"] for name in (*NAMES, "large")} == {
        "text/plain"
    }


async def test_each_file_may_have_headers_of_its_own(bucket: dream.Bucket, files: Path, boto: Any) -> None:
    write(files / "large", bytes(300_000))
    asked: list[str] = []

    def headers_for(name: str) -> dict[str, object] | None:
        asked.append(name)
        if name == "large":
            return {"content_type": "text/large", "metadata": {"own": "1"}}
        return {"cache_control": None} if name == "a" else None

    await bucket.upload_tree(files, "p", headers_for=headers_for, cache_control="no-cache", metadata={"all": "1"})
    assert sorted(asked) == sorted([*NAMES, "large"])
    found = {name: boto.head_object(Bucket=bucket.name, Key=f"p/{name}") for name in ("large", "a", "~")}
    assert [reply.get("CacheControl") for reply in found.values()] == ["no-cache", None, "no-cache"]
    assert [sorted(reply["Metadata"].keys() - {"part-size"}) for reply in found.values()] == [
        ["mtime", "own"],
        ["all", "mtime"],
        ["all", "mtime"],
    ]
    assert found["large"]["ContentType"] == "text/large"


async def test_headers_that_are_none_are_refused_before_anything_is_sent(bucket: dream.Bucket, files: Path) -> None:
    with pytest.raises(TypeError, match=r"upload_tree\(\) got an unexpected keyword argument 'if_absent'"):
        await bucket.upload_tree(files, if_absent=True)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ValueError, match="cache_control"):
        await bucket.upload_tree(files, cache_control="\n")
    with pytest.raises(TypeError, match="metadata must be a mapping"):
        await bucket.upload_tree(files, metadata="color")  # type: ignore[arg-type]  # that is the point
    assert await bucket.list().collect() == []


@pytest.mark.parametrize("dry_run", [False, True])
async def test_what_headers_for_returns_is_checked(bucket: dream.Bucket, files: Path, *, dry_run: bool) -> None:
    async def later(_: str) -> None:
        pass

    wrong: list[tuple[Any, str]] = [
        (lambda _: {"Cache-Control": "no-cache"}, "returned the unknown name 'Cache-Control'; there are cache_control"),
        (lambda _: {"acl": "private"}, "returned the unknown name 'acl'"),
        (lambda _: ["cache_control"], "returned list: it returns a mapping"),
        (later, "returned coroutine: it returns a mapping"),
    ]
    for function, words in wrong:
        with pytest.raises(TypeError, match=words):
            await bucket.upload_tree(files, headers_for=function, dry_run=dry_run)
    report = await bucket.upload_tree(
        files,
        headers_for=lambda name: {"content_disposition": f"inline; filename={name}"},
        dry_run=dry_run,
        on_error="collect",
    )
    assert {failure.key for failure in report.failures} == {name for name in NAMES if not name.isascii()}
    assert report.copied == len(NAMES) - report.failed
