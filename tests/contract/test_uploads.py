"""Objects that go up in parts and come back in ranges, on every server."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from conftest import SERVERS, Server
from etags import etag_of

import aiodreamobjects as dream

ON = (*SERVERS, "rgw-tls")

PART = 5 << 20  # the least that S3 takes for a part with others behind it
SESSION = {"limits": dream.Limits(part_size=PART, parts_per_object=3)}
CONTENT = os.urandom(2 * PART + 1)
NAMES = [("a.csv", "text/csv"), ("a.json", "application/json"), ("a.tar.gz", "application/gzip"), ("noidea", None)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "content.csv"
    path.write_bytes(CONTENT)
    os.utime(path, ns=(0, 1_600_000_000_123_456_789))
    return path


async def in_chunks(content: bytes, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def nothing_is_left(bucket: dream.Bucket) -> bool:
    return await bucket.uploads().collect() == []


async def test_what_the_signature_does_not_cover_is_stored_and_verified(server: Server, bucket: dream.Bucket) -> None:
    if server.service.scheme == "https":
        pytest.skip("TLS protects the content")
    service = replace(server.service, signs_payload=False)
    async with server.session(service=service, limits=dream.Limits(part_size=PART)) as session:
        obj = session.bucket(bucket.name).object("a")
        assert (await obj.put(b"small")).verified == "md5"
        assert await bucket.object("a").read() == b"small"
        assert (await obj.put(CONTENT)).verified == "parts"
        assert await bucket.object("a").read() == CONTENT


async def test_an_object_that_another_client_cut_is_downloaded(
    server: Server, bucket: dream.Bucket, boto: Any, tmp_path: Path
) -> None:
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART + (1 << 20))
    boto.upload_fileobj(io.BytesIO(CONTENT), bucket.name, "a", Config=config)
    info = await bucket.object("a").download(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    tells_sizes_of_parts = server.name in ("memory", "moto")  # Ceph 16.2 and Backblaze B2 do not
    assert info.verified == ("parts" if tells_sizes_of_parts else "size")


async def test_every_length_goes_there_and_back(bucket: dream.Bucket, tmp_path: Path) -> None:
    obj = bucket.object("a dir/ü+~%20&x")
    for size in (0, 1, PART - 1, PART, PART + 1, 2 * PART):
        content = CONTENT[:size]
        etag, verified = etag_of(content, PART), "md5" if size <= PART else "parts"
        info = await obj.put(in_chunks(content))
        assert (info.size, info.etag, info.verified) == (size, etag, verified)
        head = await obj.head()
        assert (head.size, head.etag) == (size, etag)
        downloaded = await obj.download(tmp_path / "copy")
        assert (downloaded.size, downloaded.etag, downloaded.verified) == (size, etag, verified)
        assert (tmp_path / "copy").read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["copy"]
        assert await nothing_is_left(bucket)


async def test_a_file_keeps_its_type_its_time_and_what_it_is_given(
    server: Server, bucket: dream.Bucket, source: Path, tmp_path: Path
) -> None:
    obj = bucket.object("large.csv")
    before = datetime.now(UTC) - timedelta(seconds=5)
    seen: list[dream.Progress] = []
    info = await obj.upload(
        source,
        metadata={"Source": "scale 7"},
        cache_control="max-age=60",
        content_disposition='attachment; filename="a.csv"',
        content_encoding="identity",
        storage_class="STANDARD",
        progress=seen.append,
    )
    assert (info.size, info.etag, info.verified, info.content_type) == (
        len(CONTENT),
        etag_of(CONTENT, PART),
        "parts",
        "text/csv",
    )
    head = await obj.head()
    assert (head.size, head.etag) == (info.size, info.etag)
    assert (head.content_type, head.cache_control, head.content_encoding) == ("text/csv", "max-age=60", "identity")
    assert head.content_disposition == 'attachment; filename="a.csv"'
    assert head.metadata == {"source": "scale 7", "mtime": "1600000000.123456789", "part-size": str(PART)}
    assert head.last_modified is not None
    assert before < head.last_modified < datetime.now(UTC) + timedelta(seconds=5)
    assert_that_progress_was_told(seen, "large.csv")
    seen.clear()

    async def note(progress: dream.Progress) -> None:
        seen.append(progress)

    downloaded = await obj.download(tmp_path / "copy", progress=note)
    assert downloaded.verified == "parts"
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert (tmp_path / "copy").stat().st_mtime == pytest.approx(1_600_000_000.123456789, abs=1e-5)
    assert_that_progress_was_told(seen, "large.csv")


def assert_that_progress_was_told(seen: list[dream.Progress], key: str) -> None:
    """Figures only grow, to the end, which is told once."""
    counts = [progress.done_bytes for progress in seen]
    assert counts == sorted(counts)
    assert seen[-1] == dream.Progress(len(CONTENT), len(CONTENT), 1, 1, key)
    assert {progress.done_objects for progress in seen[:-1]} <= {0}


async def test_a_type_is_guessed_from_the_files_name(bucket: dream.Bucket, tmp_path: Path) -> None:
    obj = bucket.object("any.png")
    for name, content_type in NAMES:
        (tmp_path / name).write_bytes(b"x")
        await obj.upload(tmp_path / name)
        found = (await obj.head()).content_type
        assert found == content_type or (content_type is None and found in (None, "", "binary/octet-stream"))
    await obj.upload(str(tmp_path / "a.csv"), content_type="text/x-mine")
    assert (await obj.head()).content_type == "text/x-mine"


async def test_a_files_time_is_kept_as_rclone_keeps_it(bucket: dream.Bucket, tmp_path: Path) -> None:
    path, obj = tmp_path / "file", bucket.object("file")
    path.write_bytes(b"x")
    for nanoseconds in (0, 1, 1_700_000_000_000_000_000):
        await goes_there_and_back(path, obj, nanoseconds)
    await obj.upload(path, metadata={"mtime": "7"})
    assert ((await obj.head()).metadata or {})["mtime"] == "7"


async def test_a_time_before_1970_is_kept_as_rclone_keeps_it(bucket: dream.Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    await goes_there_and_back(tmp_path / "file", bucket.object("file"), -1_500_000_000)


async def goes_there_and_back(path: Path, obj: dream.Object, nanoseconds: int) -> None:
    os.utime(path, ns=(nanoseconds, nanoseconds))
    await obj.upload(path)
    metadata = (await obj.head()).metadata or {}
    assert float(metadata["mtime"]) == pytest.approx(nanoseconds / 1e9, abs=1e-9)
    copy = path.with_name("copy")
    await obj.download(copy)
    assert copy.stat().st_mtime == pytest.approx(nanoseconds / 1e9, abs=1e-6)


async def test_a_multipart_upload_can_be_refused_where_an_object_is(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("once")
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await obj.put(CONTENT, if_absent=True)
        assert not await obj.exists()
        assert await nothing_is_left(bucket)
        return
    assert (await obj.put(CONTENT, if_absent=True)).size == len(CONTENT)
    pulled = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal pulled
        async for chunk in in_chunks(CONTENT):
            pulled += len(chunk)
            yield chunk

    with pytest.raises(dream.AlreadyExistsError, match="once"):
        await obj.put(counted(), if_absent=True)
    assert pulled <= PART + 300_000
    assert (await obj.head()).size == len(CONTENT)
    assert await nothing_is_left(bucket)


async def test_a_multipart_upload_can_be_pinned_to_an_etag(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("pinned")
    etag = (await obj.put("1")).etag
    if server.is_b2:
        with pytest.raises(dream.UnsupportedByServiceError):
            await obj.put(CONTENT, if_match=etag)
        assert await obj.read() == b"1"
        assert await nothing_is_left(bucket)
        return
    with pytest.raises(dream.PreconditionFailedError):
        await obj.put(CONTENT, if_match="0" * 32)
    assert await obj.read() == b"1"
    await obj.put(CONTENT, if_match=etag)
    assert (await obj.head()).size == len(CONTENT)
    with pytest.raises(dream.PreconditionFailedError):
        await obj.put(CONTENT, if_match=etag)
    with pytest.raises(dream.NotFoundError):
        await bucket.object("missing").put(CONTENT, if_match=etag)
    assert await nothing_is_left(bucket)


async def test_a_source_that_fails_in_a_later_part_leaves_the_old_object(bucket: dream.Bucket) -> None:
    failure = KeyError("no more")

    async def failing() -> AsyncIterator[bytes]:
        yield CONTENT[: PART + 1]
        raise failure

    obj = bucket.object("kept")
    await obj.put("old")
    with pytest.raises(KeyError) as caught:
        await obj.put(failing())
    assert caught.value is failure
    assert await obj.read() == b"old"
    assert await nothing_is_left(bucket)


async def test_verification_can_be_left_out(bucket: dream.Bucket, source: Path, tmp_path: Path) -> None:
    obj = bucket.object("unverified")
    assert (await obj.put(CONTENT[:100], verify="off")).verified is None
    assert await obj.read() == CONTENT[:100]
    info = await obj.upload(source, verify="off")
    assert (info.size, info.verified) == (len(CONTENT), None)
    assert (await obj.download(tmp_path / "copy", verify="off")).verified == "size"
    assert (tmp_path / "copy").read_bytes() == CONTENT
    async with obj.get(verify="off") as body:
        assert await body.read() == CONTENT
        assert body.info.verified == "size"


async def test_a_body_of_an_object_in_parts_is_verified(bucket: dream.Bucket) -> None:
    obj, buffer = bucket.object("verified"), bytearray(len(CONTENT) + 10)
    await obj.put(CONTENT)
    async with obj.get() as body:
        assert body.remaining == len(CONTENT)
        assert await body.read(10) == CONTENT[:10]
        assert (body.remaining, body.info.verified) == (len(CONTENT) - 10, None)
        assert await body.readinto(buffer) == len(CONTENT) - 10
        assert buffer[: len(CONTENT) - 10] == CONTENT[10:]
        assert (body.remaining, body.info.verified) == (0, "parts")


# A writer


async def test_what_is_written_is_the_object_when_the_writer_is_left(bucket: dream.Bucket) -> None:
    obj = bucket.object("written")
    async with obj.writer(content_type="text/csv", metadata={"a": "b"}) as file:
        assert await file.write(CONTENT[:10]) == 10
        assert await file.write(bytearray(CONTENT[10:PART])) == PART - 10
        assert file.tell() == PART
        assert await file.write(memoryview(CONTENT)[PART:]) == PART + 1
        assert not await obj.exists()
    assert (file.info.size, file.info.etag, file.info.verified) == (len(CONTENT), etag_of(CONTENT, PART), "parts")
    head = await obj.head()
    assert (head.etag, head.content_type) == (file.info.etag, "text/csv")
    assert (head.metadata or {})["a"] == "b"
    assert await obj.read() == CONTENT
    for size in (0, 1, 100_000):
        with pytest.raises(ValueError, match="the writer is closed: write inside its 'async with'"):
            await file.write(bytes(size))


async def test_little_can_be_written(bucket: dream.Bucket) -> None:
    for size in (0, 1, 100_000):
        async with bucket.object("little").writer() as file:
            if size:
                await file.write(CONTENT[:size])
        assert (file.info.size, file.info.etag, file.info.verified) == (size, etag_of(CONTENT[:size], PART), "md5")
        assert await bucket.object("little").read() == CONTENT[:size]


async def test_an_exception_inside_a_writer_leaves_nothing(bucket: dream.Bucket) -> None:
    obj, failure = bucket.object("kept"), KeyError("no more")
    await obj.put("old")
    for size in (1, PART + PART // 2):
        with pytest.raises(KeyError) as caught:
            await write_and_raise(obj, CONTENT[:size], failure)
        assert caught.value is failure
        assert await obj.read() == b"old"
        assert await nothing_is_left(bucket)


async def write_and_raise(obj: dream.Object, content: bytes, failure: Exception) -> None:
    async with obj.writer() as file:
        await file.write(content)
        raise failure


async def test_a_writer_takes_bytes(bucket: dream.Bucket) -> None:
    async with bucket.object("typed").writer() as file:
        with pytest.raises(TypeError, match="write takes bytes, not str"):
            await file.write("text")  # type: ignore[arg-type]  # that is the test
        await file.write(b"bytes")
    assert await bucket.object("typed").read() == b"bytes"


async def test_a_writer_can_be_refused_where_an_object_is(server: Server, bucket: dream.Bucket) -> None:
    if server.is_b2:
        pytest.skip("Backblaze B2 has no conditional writes")
    obj = bucket.object("once")
    await obj.put("old")
    with pytest.raises(dream.AlreadyExistsError):
        async with obj.writer(if_absent=True) as file:
            await file.write(b"new")
    assert await obj.read() == b"old"


# A reader


async def test_a_reader_is_read_and_sought_in(bucket: dream.Bucket) -> None:
    content, obj = CONTENT[: 3 << 19], bucket.object("file")
    size, buffer = len(content), bytearray(100_000)
    info = await obj.put(content)
    async with obj.reader() as file:
        assert (file.readable(), file.seekable(), file.tell()) == (True, True, 0)
        assert (file.info.size, file.info.etag) == (size, info.etag)
        assert await file.read(0) == b""
        assert await file.read(10) == content[:10]
        assert await file.seek(-22, os.SEEK_END) == size - 22
        assert await file.read() == content[-22:]
        assert await file.read() == b""
        assert await file.seek(70_000) == 70_000
        assert await file.seek(10_000, os.SEEK_CUR) == 80_000
        assert await file.read(300_000) == content[80_000:380_000]
        assert file.tell() == 380_000
        assert await file.seek(-380_000, os.SEEK_CUR) == 0
        assert await file.readinto(buffer) == 100_000
        assert buffer == content[:100_000]
        await file.seek(-10, os.SEEK_END)
        assert await file.readinto(memoryview(buffer)) == 10
        assert buffer[:10] == content[-10:]
        assert await file.seek(0) == 0
        assert await file.read() == content
    with pytest.raises(ValueError, match="is closed: read inside its 'async with'"):
        await file.read(1)


async def test_a_reader_goes_beyond_the_end_and_not_before_the_beginning(bucket: dream.Bucket) -> None:
    obj = bucket.object("file")
    for size in (0, 1, 100_000):
        await obj.put(CONTENT[:size])
        async with obj.reader() as file:
            assert file.info.size == size
            assert await file.seek(size + 10) == size + 10
            assert await file.read() == b""
            assert await file.readinto(bytearray(5)) == 0
            assert file.tell() == size + 10
            for offset, whence in ((-1, os.SEEK_SET), (-size - 1, os.SEEK_END), (-size - 11, os.SEEK_CUR)):
                with pytest.raises(ValueError, match="before the beginning"):
                    await file.seek(offset, whence)
            with pytest.raises(ValueError, match="whence 7 must be"):
                await file.seek(0, 7)
            assert await file.seek(-size, os.SEEK_END) == 0
            assert await file.read(size + 5) == CONTENT[:size]


async def test_a_reader_of_nothing_is_an_error_when_it_is_opened(bucket: dream.Bucket) -> None:
    with pytest.raises(dream.NotFoundError, match="missing"):
        async with bucket.object("missing").reader():
            pass


@pytest.mark.parametrize("change", ["replace", "delete"])
async def test_a_reader_notices_that_the_object_is_another(bucket: dream.Bucket, change: str) -> None:
    obj = bucket.object("changing")
    await obj.put(CONTENT[:500_000])
    async with obj.reader() as file:
        assert await file.read(10) == CONTENT[:10]
        await (obj.delete() if change == "delete" else obj.put(CONTENT[1:500_001]))
        await file.seek(400_000)
        with pytest.raises(dream.ObjectChangedError, match="changed while it was read, after byte 400,000"):
            await file.read(10)


async def test_an_object_goes_through_here_to_another(bucket: dream.Bucket) -> None:
    one, other, third = (bucket.object(key) for key in ("one", "other", "third"))
    await one.put(CONTENT)
    async with one.get() as body:
        info = await other.put(body)
    assert (info.size, info.etag, info.verified) == (len(CONTENT), etag_of(CONTENT, PART), "parts")
    async with other.reader() as file:
        await file.seek(PART)
        assert (await third.put(file)).size == PART + 1
    assert await third.read() == CONTENT[PART:]


async def test_what_a_callback_raises_comes_out_as_itself(bucket: dream.Bucket, tmp_path: Path) -> None:
    failure = KeyError("stop")

    def stop(_: dream.Progress) -> None:
        raise failure

    obj = bucket.object("stopped")
    for call in (obj.put(CONTENT[:10], progress=stop), obj.put(CONTENT, progress=stop)):
        with pytest.raises(KeyError) as caught:
            await call
        assert caught.value is failure
        assert await nothing_is_left(bucket)
    await obj.put(CONTENT)
    with pytest.raises(KeyError) as caught:
        await obj.download(tmp_path / "copy", progress=stop)
    assert caught.value is failure
    assert list(tmp_path.iterdir()) == []
