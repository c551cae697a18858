"""Lines, the headers of a response, and what open bodies and files say of themselves, on every server."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream

ON = ("memory", "rgw")

TEXT = (
    "".join(f"{number}: {'ü漢🎉' * (number % 40)}\r\n" if number % 3 else f"{number}\n" for number in range(9000))
    + "the last"
)
CONTENT = TEXT.encode()


@pytest_asyncio.fixture(scope="module")
async def text(session: dream.Session) -> AsyncIterator[dream.Object]:
    bucket = await session.create_bucket(new_name())
    await bucket.object("text").put(CONTENT)
    yield bucket.object("text")
    await bucket.delete(force=True)


async def test_lines_come_without_their_ends(text: dream.Object) -> None:
    expected = TEXT.replace("\r\n", "\n").split("\n")
    async with text.get() as body:
        assert [line async for line in body.lines("utf-8")] == expected
        assert body.info.verified == "md5"
    async with text.get() as body:
        assert [line async for line in body.lines()] == [line.encode() for line in expected]
    async with text.get(range=(0, 1000)) as body:
        assert [line async for line in body.lines()] == CONTENT[:1000].replace(b"\r\n", b"\n").split(b"\n")


async def test_what_is_no_text_in_the_encoding_is_an_error(text: dream.Object) -> None:
    async with text.get() as body:
        with pytest.raises(UnicodeDecodeError):
            _ = [line async for line in body.lines("ascii")]
    cut = CONTENT.index("漢".encode()) + 1
    async with text.get(range=(0, cut)) as body:
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            _ = [line async for line in body.lines("utf-8")]


async def test_a_reader_reads_lines_with_their_ends(session: dream.Session, text: dream.Object) -> None:
    expected = io.BytesIO(CONTENT).readlines()
    before = session.statistics().requests
    async with text.reader() as reader:
        assert [line async for line in reader] == expected
        assert reader.tell() == len(CONTENT)
        assert await reader.readline() == b""
        in_order = session.statistics().requests - before
        assert in_order <= 4
        await reader.seek(0)
        assert await reader.readline() == expected[0]
        assert session.statistics().requests - before == in_order  # the head is kept


async def test_lines_and_bytes_of_a_reader_can_be_mixed(text: dream.Object) -> None:
    file = io.BytesIO(CONTENT)
    async with text.reader() as reader:
        for position in (0, 70_000, 65_530, 5, 400_000, len(CONTENT) - 3, len(CONTENT) + 9):
            file.seek(position)
            await reader.seek(position)
            for size in (-1, 10, 0, 3, 100_000):
                assert await reader.readline(size) == file.readline(size)
                assert await reader.read(7) == file.read(7)
                assert reader.tell() == file.tell()


async def test_an_empty_object_has_no_lines(bucket: dream.Bucket) -> None:
    await bucket.object("empty").put(b"")
    async with bucket.object("empty").get() as body:
        assert [line async for line in body.lines()] == []
    async with bucket.object("empty").get() as body:
        assert [line async for line in body.lines("utf-16")] == []
    async with bucket.object("empty").reader() as reader:
        assert [line async for line in reader] == []


async def test_a_reader_can_be_put(text: dream.Object, bucket: dream.Bucket) -> None:
    async with text.reader() as reader:
        assert await reader.readline() == CONTENT[:2]
        await bucket.object("copy").put(reader)
    assert await bucket.object("copy").read() == CONTENT[2:]


async def test_the_headers_of_a_response_are_those_of_the_object(bucket: dream.Bucket) -> None:
    obj = bucket.object("page.html")
    info = await obj.put(
        b"0123456789",
        content_type="text/html; charset=utf-8",
        cache_control="max-age=60",
        content_disposition="attachment; filename*=UTF-8''%E6%BC%A2.html",
        content_encoding="gzip",
        content_language="de",
        expires=datetime(2033, 1, 1, tzinfo=UTC),
        metadata={"a": "b"},
    )
    async with obj.get() as body:
        assert body.info.last_modified is not None
        expected = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "max-age=60",
            "Content-Disposition": "attachment; filename*=UTF-8''%E6%BC%A2.html",
            "Content-Encoding": "gzip",
            "Content-Language": "de",
            "Expires": "Sat, 01 Jan 2033 00:00:00 GMT",
            "Accept-Ranges": "bytes",
            "ETag": f'"{info.etag}"',
            "Last-Modified": format_datetime(body.info.last_modified, usegmt=True),
            "Content-Length": "10",
        }
        assert body.http_headers() == expected
        await body.read()
        assert body.http_headers() == expected
    async with obj.get(range=(2, 5)) as body:
        assert body.http_headers() == expected | {"Content-Length": "3", "Content-Range": "bytes 2-4/10"}
        await body.read()
    async with obj.get(range=(-3, None)) as body:
        assert body.http_headers() == expected | {"Content-Length": "3", "Content-Range": "bytes 7-9/10"}
    async with obj.get(range=(0, None)) as body:
        assert body.http_headers() == expected


async def test_open_bodies_and_files_say_what_they_are_of(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("a\u202eb\x9b\n")
    async with obj.writer() as writer:
        await writer.write(b"12345")
        shown = [repr(writer)]
    async with obj.get() as body:
        await body.read(2)
        shown.append(repr(body))
    async with obj.reader() as reader:
        await reader.read(2)
        shown.append(repr(reader))
    for text in (*shown, repr(writer), repr(reader), repr(body), repr(bucket.list("a\x9b")), repr(bucket.uploads())):
        assert text.isprintable()
        assert bucket.name in text
    assert shown[0].startswith(f"<ObjectWriter of s3://{bucket.name}/a\\u202eb")
    assert shown[0].endswith("at byte 5>")
    assert shown[1].startswith(f"<Body of s3://{bucket.name}/a\\u202eb")
    assert shown[2].endswith(", at byte 2 of 5>")
    assert re.search("closed at byte 2 of 5", repr(reader))
    assert re.search("closed at byte 5", repr(writer))
    assert (
        repr(bucket.list_dir("a/")) == f"<Listing of one level of objects of s3://{bucket.name} with the prefix 'a/'>"
    )
