"""What is written: it appears as a whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import fsspec.core
import pytest
from conftest import new_name

from aiodreamobjects.fsspec import DreamObjectsFileSystem

PART = 5 << 20
LARGE = b"0123456789abcdef" * (9 << 16)  # 9 MiB: more than a part
BOOM = RuntimeError("boom")


class Place:
    """A path for each test, and what an independent client sees there."""

    def __init__(self, fs: DreamObjectsFileSystem, boto: Any, root: str) -> None:
        self.fs, self.root, self._boto = fs, root, boto
        self.path = f"{root}/file"

    def content(self, path: str | None = None) -> bytes | None:
        bucket, _, key = (path or self.path).partition("/")
        try:
            content: bytes = self._boto.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self._boto.exceptions.NoSuchKey:
            return None
        return content

    def head(self) -> dict[str, Any]:
        bucket, _, key = self.path.partition("/")
        found: dict[str, Any] = self._boto.head_object(Bucket=bucket, Key=key)
        return found

    def is_public(self) -> bool:
        bucket, _, key = self.path.partition("/")
        grants = self._boto.get_object_acl(Bucket=bucket, Key=key)["Grants"]
        return any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)

    def open_uploads(self) -> list[str]:
        bucket, _, prefix = self.root.partition("/")
        found = self._boto.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
        return [upload["Key"] for upload in found]


@pytest.fixture
def at(fs: DreamObjectsFileSystem, boto: Any, root: str) -> Place:
    return Place(fs, boto, root)


def fail_in_a_block(at: Place, data: bytes) -> None:
    with at.fs.open(at.path, "wb") as file:
        file.write(data)
        raise BOOM


def fail_in_text(at: Place, data: bytes) -> None:
    with at.fs.open(at.path, "w") as file:
        file.write(data.decode())
        raise BOOM


def fail_while_compressing(at: Place, data: bytes) -> None:
    with at.fs.open(at.path, "wb", compression="gzip") as file:
        file.write(data)
        raise BOOM


def fail_in_an_open_file_of_fsspec(at: Place, data: bytes) -> None:
    with fsspec.core.OpenFile(at.fs, at.path, "wt") as file:
        file.write(data.decode())
        raise BOOM


def fail_where_somebody_else_closes(at: Place, data: bytes) -> None:
    with contextlib.ExitStack() as stack:
        file = at.fs.open(at.path, "wb")
        stack.callback(file.close)
        file.write(data)
        raise BOOM


def fail_in_a_transaction(at: Place, data: bytes) -> None:
    with at.fs.transaction:
        with at.fs.open(at.path, "wb") as file:
            file.write(data)
        raise BOOM


def fail_in_a_block_of_a_transaction(at: Place, data: bytes) -> None:
    with at.fs.transaction, contextlib.suppress(RuntimeError):
        fail_in_a_block(at, data)
    raise BOOM


FAILURES = [
    fail_in_a_block,
    fail_in_text,
    fail_while_compressing,
    fail_in_an_open_file_of_fsspec,
    fail_where_somebody_else_closes,
    fail_in_a_transaction,
    fail_in_a_block_of_a_transaction,
]


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("fail", FAILURES)
def test_an_error_leaves_the_old_object_and_no_upload(
    at: Place, fail: Callable[[Place, bytes], None], data: bytes
) -> None:
    at.fs.pipe_file(at.path, b"old")
    with pytest.raises(RuntimeError, match="boom"):
        fail(at, data)
    gc.collect()
    assert at.content() == b"old"
    assert at.open_uploads() == []


def test_a_file_that_is_opened_and_closed_while_an_error_is_handled_is_stored(at: Place) -> None:
    try:
        raise BOOM
    except RuntimeError as error:
        with at.fs.open(at.path, "w") as log:
            log.write(str(error))
    assert at.content() == b"boom"


class Reporter:
    """A block that writes down, in a file of the filesystem, with which error it was left."""

    def __init__(self, at: Place) -> None:
        self._file = at.fs.open(at.path, "wb")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        try:
            dict[str, str]()["missing"]
        except KeyError:
            self._file.write(b"report")
            self._file.close()


def test_a_file_that_is_closed_while_another_error_is_handled_is_stored(at: Place) -> None:
    """The block around it is not left because of that error."""
    with Reporter(at):
        pass
    assert at.content() == b"report"


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_what_is_written_is_there_when_the_file_is_closed(at: Place, data: bytes) -> None:
    with at.fs.open(at.path, "wb") as file:
        assert file.write(data) == file.tell() == len(data)
        assert at.content() is None
    assert at.content() == data
    assert at.fs.info(at.path)["size"] == len(data)
    with pytest.raises(ValueError, match=r"closed|write mode"):
        file.write(b"more")


def test_compressed_and_text_files_are_complete_when_closed(at: Place) -> None:
    with at.fs.open(at.path, "wb", compression="gzip") as file:
        file.write(LARGE)
    assert gzip.decompress(at.content() or b"") == LARGE
    with at.fs.open(f"{at.path}.gz", "wt", compression="infer", newline="\r\n") as file:
        file.write("ä\n")
    assert gzip.decompress(at.content(f"{at.path}.gz") or b"") == "ä\r\n".encode()
    with at.fs.open(f"{at.path}.gz", "rt", compression="infer") as file:
        assert file.read() == "ä\n"


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_transaction_holds_everything_back_until_its_end(at: Place, data: bytes) -> None:
    paths = [f"{at.root}/{n}" for n in range(2)]
    with at.fs.transaction:
        for path in paths:
            with at.fs.open(path, "wb") as file:
                file.write(data)
        assert [at.content(path) for path in paths] == [None, None]
    assert [at.content(path) for path in paths] == [data, data]
    assert at.fs.find(at.root) == paths


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_file_without_autocommit_is_stored_or_discarded_later(at: Place, data: bytes) -> None:
    def write() -> Any:
        with at.fs.open(at.path, "wb", autocommit=False) as file:
            file.write(data)
        assert at.content() is None
        return file

    discarded = write()
    discarded.discard()
    assert at.open_uploads() == []
    with pytest.raises(ValueError, match="discarded"):
        discarded.commit()
    write().commit()
    assert at.content() == data


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_exclusive_creation_never_replaces(at: Place, data: bytes) -> None:
    with at.fs.open(at.path, "xb") as file:
        file.write(data)
    with pytest.raises(FileExistsError):
        at.fs.open(at.path, "xb")
    calls: list[Callable[[], object]] = [
        lambda: at.fs.pipe_file(at.path, LARGE, mode="create"),
        lambda: at.fs.pipe_file(at.path, b"new", mode="create"),
    ]
    for write in calls:
        with pytest.raises(FileExistsError):
            write()
    assert at.content() == data
    other = f"{at.root}/other"
    file = at.fs.open(other, "xb")
    file.write(data)
    at.fs.pipe_file(other, b"was quicker")
    with pytest.raises(FileExistsError):
        file.close()
    assert at.content(other) == b"was quicker"
    assert at.open_uploads() == []


@pytest.mark.parametrize("old", [None, b"old ", LARGE], ids=["none", "small", "large"])
@pytest.mark.parametrize("new", [b"new", LARGE], ids=["small", "large"])
def test_append_keeps_what_is_there_and_its_headers(at: Place, old: bytes | None, new: bytes) -> None:
    if old is not None:
        at.fs.pipe_file(at.path, old, content_type="text/csv", metadata={"a": "1"})
    with at.fs.open(at.path, "ab") as file:
        assert file.tell() == len(old or b"")
    assert at.content() == (b"" if old is None else old)
    with at.fs.open(at.path, "ab") as file:
        file.write(new)
    assert at.content() == (old or b"") + new
    if old is not None:
        info = at.fs.info(at.path)
        assert info["ContentType"] == "text/csv"
        assert info["metadata"]["a"] == "1"


def test_a_file_that_is_never_closed_warns_and_is_stored(at: Place) -> None:
    with pytest.warns(ResourceWarning, match="not closed"):
        at.fs.open(at.path, "wb").write(b"written")
    assert at.content() == b"written"


async def test_an_asynchronous_file_that_is_never_closed_warns_and_leaves_no_trace(at: Place) -> None:
    fs = DreamObjectsFileSystem(**at.fs.storage_options, asynchronous=True)
    for data in (b"small", LARGE):
        file = await fs.open_async(at.path, "wb")
        await file.write(data)
        with pytest.warns(ResourceWarning, match="not closed"):
            del file
    while await asyncio.to_thread(at.open_uploads):
        pass
    assert await asyncio.to_thread(at.content) is None
    await fs.aclose()


def test_a_block_that_s3_does_not_take_and_unknown_options_are_refused(at: Place) -> None:
    with pytest.raises(ValueError, match="block_size 10 is too small"):
        at.fs.open(at.path, "wb", block_size=10)
    with pytest.raises(TypeError, match=r"unknown option 'colour'.*cache_control"):
        at.fs.open(at.path, "wb", colour="red")
    with pytest.raises(ValueError, match="mode"):
        at.fs.pipe_file(at.path, b"", mode="append")
    with pytest.raises(ValueError, match="names no object"):
        at.fs.open(at.root.split("/", maxsplit=1)[0], "wb")
    assert at.content() is None


def test_headers_have_the_names_of_this_library_or_of_boto(at: Place) -> None:
    at.fs.pipe_file(at.path, b"1", ContentType="text/css", Metadata={"b": "2"})
    info = at.fs.info(at.path)
    assert (info["ContentType"], info["metadata"]) == ("text/css", {"b": "2"})
    with at.fs.open(at.path, "wb", content_type="text/plain") as file:
        file.write(b"1")
    assert at.fs.info(at.path)["ContentType"] == "text/plain"


def test_a_missing_bucket_is_a_missing_file(fs: DreamObjectsFileSystem) -> None:
    path = f"{new_name()}/file"
    calls: list[Callable[[], object]] = [
        lambda: fs.open(path, "wb").close(),
        lambda: fs.pipe_file(path, b""),
        lambda: fs.cat_file(path),
        lambda: fs.open(path),
        lambda: fs.rm(path),
        lambda: fs.ls(path),
        lambda: fs.info(path),
        lambda: fs.rm(path.split("/", maxsplit=1)[0]),
    ]
    for call in calls:
        with pytest.raises(FileNotFoundError):
            call()
    assert not fs.exists(path)


async def pieces_of(file: Any) -> AsyncIterator[bytes]:
    while piece := await file.read(100_000):
        yield piece


async def fail_in_an_asynchronous_block(fs: DreamObjectsFileSystem, path: str) -> None:
    async with await fs.open_async(path, "wb") as file:
        await file.write(LARGE)
        raise BOOM


async def test_asynchronous_files_are_stored_or_leave_no_trace(at: Place) -> None:
    fs = DreamObjectsFileSystem(**at.fs.storage_options, asynchronous=True)
    for data in (b"small", LARGE):
        async with await fs.open_async(at.path, "wb") as file:
            for begin in range(0, len(data), 1 << 20):
                await file.write(data[begin : begin + (1 << 20)])
        async with await fs.open_async(at.path) as file:
            assert file.size == len(data)
            assert b"".join([piece async for piece in pieces_of(file)]) == data
        with pytest.raises(RuntimeError, match="boom"):
            await fail_in_an_asynchronous_block(fs, at.path)
        assert await fs._cat_file(at.path) == data
    with pytest.raises(FileExistsError):
        await fs.open_async(at.path, "xb")
    await fs.aclose()


def test_files_are_merged_in_their_order(at: Place) -> None:
    contents = {f"{at.root}/{n}": data for n, data in enumerate((b"small", LARGE, b"", b"end"))}
    at.fs.pipe(contents)
    at.fs.find(at.root)
    at.fs.merge(at.path, [f"dream://{path}" for path in contents], ContentType="text/csv")
    assert at.content() == b"".join(contents.values())
    assert at.fs.info(at.path)["ContentType"] == "text/csv"
    at.fs.merge(at.path, [at.path, f"{at.root}/3"])
    assert at.content() == b"".join(contents.values()) + b"end"
    with pytest.raises(FileNotFoundError):
        at.fs.merge(at.path, [f"{at.root}/1", f"{at.root}/missing"])
    assert at.content() == b"".join(contents.values()) + b"end"
    assert at.open_uploads() == []


def test_options_of_every_write_have_the_name_of_s3fs(at: Place, tmp_path: Path) -> None:
    fs = DreamObjectsFileSystem(
        **at.fs.storage_options,
        s3_additional_kwargs={"CacheControl": "no-cache", "Metadata": {"a": "1"}, "ContentLanguage": "de"},
    )
    source = tmp_path / "tree" / "file"
    source.parent.mkdir()
    source.write_bytes(b"1")
    at.fs.pipe_file(f"{at.root}/plain", b"1")
    writes: list[Callable[[], object]] = [
        lambda: fs.pipe_file(at.path, b"1"),
        lambda: fs.open(at.path, "wb").close(),
        lambda: fs.open(at.path, "ab").close(),
        lambda: fs.touch(at.path),
        lambda: fs.put_file(source, at.path),
        lambda: fs.put(f"{source.parent}/", at.root, recursive=True),
        lambda: fs.merge(at.path, [f"{at.root}/plain"]),
    ]
    for write in writes:
        at.fs.rm(at.root, recursive=True)
        at.fs.pipe_file(f"{at.root}/plain", b"1")
        write()
        head = at.head()
        assert (head["CacheControl"], head["ContentLanguage"], head["Metadata"]["a"]) == ("no-cache", "de", "1")
    fs.pipe_file(at.path, b"1", cache_control="max-age=1")
    assert at.head()["CacheControl"] == "max-age=1"
    fs.cp_file(f"{at.root}/plain", at.path)  # as in S3, a copy keeps what its source has
    assert "CacheControl" not in at.head()


def test_copies_have_the_acl_of_every_write(at: Place) -> None:
    fs = DreamObjectsFileSystem(**at.fs.storage_options, s3_additional_kwargs={"ACL": "public-read"})
    at.fs.pipe_file(f"{at.root}/plain", b"1")
    fs.cp_file(f"{at.root}/plain", at.path)
    assert at.is_public()
    at.fs.chmod(at.path, "private")
    assert not at.is_public()
    at.fs.chmod(at.root, "public-read", recursive=True)
    assert at.is_public()
