"""What can be uploaded: of every kind, cut anywhere, into parts of any size, what comes back is what was put."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiofiles
import pytest
import pytest_asyncio
from etags import etag_of
from fuzzing import fuzzed
from hypothesis import example, given
from hypothesis import strategies as st
from invariants import no_task_is_left
from odd_sources import (
    AnyAsyncIterator,
    AnyIterable,
    OnlyAsyncRead,
    OnlyRead,
    OwnError,
    ReadThatReturnsAnAwaitable,
    ShortReads,
    async_generated,
    generated,
)

import aiodreamobjects as dream
from aiodreamobjects._transfer.parts import EVEN_PARTS, PART_SIZE_NAME, PartSizes, known_parts, plan
from aiodreamobjects.testing import MemoryService, Verb

PART = 64
RULES = dream.MultipartRules()
MIB = 1 << 20

few = fuzzed(0.08)


def tiny_parts(*, equal_parts: bool = False, **rules: int) -> MemoryService:
    """A service whose parts may have a byte."""
    given = {"smallest_part": 1, "equal_parts": equal_parts, **rules}
    multipart = dream.MultipartRules(**given)  # type: ignore[arg-type]  # each by its name
    return MemoryService(service=replace(MemoryService().service, multipart=multipart))


@asynccontextmanager
async def opened(
    service: MemoryService | None = None, **limits: int
) -> AsyncIterator[tuple[dream.Session, dream.Object]]:
    """A session that cuts small, and an object to write. No task is left at the end, nor an upload."""
    settings = dream.Limits(**{"part_size": PART, **limits})
    with no_task_is_left():
        async with (service or tiny_parts()).session(limits=settings) as session:
            bucket = await session.create_bucket("photos")
            yield session, bucket.object("cat")
            assert await bucket.uploads().collect() == []


async def arrival_of(verb: Verb, memory: MemoryService) -> None:
    while verb not in [request.verb for request in memory.requests]:
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Place:
    """Where sources are made, and closed in the end."""

    stack: AsyncExitStack
    path: Path
    other: dream.Object

    def file(self, content: bytes) -> Path:
        self.path.write_bytes(content)
        return self.path


async def of_path(place: Place, chunks: Sequence[bytes]) -> Path:
    return place.file(b"".join(chunks))


async def of_buffered_file(place: Place, chunks: Sequence[bytes]) -> object:
    file = place.stack.enter_context(place.file(b"skipped" + b"".join(chunks)).open("rb"))
    assert file.read(7) == b"skipped"
    return file


async def of_unbuffered_file(place: Place, chunks: Sequence[bytes]) -> object:
    return place.stack.enter_context(place.file(b"".join(chunks)).open("rb", buffering=0))


async def of_bytes_io(place: Place, chunks: Sequence[bytes]) -> object:
    file = io.BytesIO(b"skipped" + b"".join(chunks))
    file.seek(7)
    return file


async def of_spooled_file(place: Place, chunks: Sequence[bytes]) -> object:
    file = place.stack.enter_context(tempfile.SpooledTemporaryFile(max_size=100))  # noqa: SIM115 - the stack closes it
    file.writelines(chunks)
    file.seek(0)
    return file


async def of_gzip_file(place: Place, chunks: Sequence[bytes]) -> object:
    place.file(gzip.compress(b"".join(chunks)))
    return place.stack.enter_context(gzip.open(place.path))


async def of_pipe(place: Place, chunks: Sequence[bytes]) -> object:
    reading, writing = os.pipe()
    with io.FileIO(writing, "wb") as file:
        file.write(b"".join(chunks))
    return place.stack.enter_context(io.BufferedReader(io.FileIO(reading)))


async def of_aiofiles(place: Place, chunks: Sequence[bytes]) -> object:
    file = await place.stack.enter_async_context(aiofiles.open(place.file(b"skipped" + b"".join(chunks)), "rb"))
    assert await file.read(7) == b"skipped"
    return file


async def of_unbuffered_aiofiles(place: Place, chunks: Sequence[bytes]) -> object:
    opening = aiofiles.open(place.file(b"".join(chunks)), "rb", buffering=0)
    return await place.stack.enter_async_context(opening)


async def of_body(place: Place, chunks: Sequence[bytes]) -> object:
    await place.other.put(b"skipped" + b"".join(chunks))
    body = await place.stack.enter_async_context(place.other.get())
    assert await body.read(7) == b"skipped"
    return body


async def of_reader(place: Place, chunks: Sequence[bytes]) -> object:
    await place.other.put(b"skipped" + b"".join(chunks))
    reader = await place.stack.enter_async_context(place.other.reader())
    assert await reader.seek(7) == 7
    return reader


def plainly(make: Callable[[Sequence[bytes]], object]) -> Callable[[Place, Sequence[bytes]], Awaitable[object]]:
    async def made(_: Place, chunks: Sequence[bytes]) -> object:
        return make(chunks)

    return made


KINDS: dict[str, Callable[[Place, Sequence[bytes]], Awaitable[object]]] = {
    "str": plainly(lambda chunks: b"".join(chunks).decode("latin-1")),
    "bytes": plainly(b"".join),
    "bytearray": plainly(lambda chunks: bytearray(b"".join(chunks))),
    "memoryview": plainly(lambda chunks: memoryview(b"".join(chunks))),
    "path": of_path,
    "buffered file": of_buffered_file,
    "unbuffered file": of_unbuffered_file,
    "BytesIO": of_bytes_io,
    "spooled file": of_spooled_file,
    "gzip file": of_gzip_file,
    "pipe": of_pipe,
    "raw file with short reads": plainly(ShortReads),
    "buffered reader of short reads": plainly(lambda chunks: io.BufferedReader(ShortReads(chunks), 10)),
    "only read": plainly(OnlyRead),
    "only async read": plainly(OnlyAsyncRead),
    "aiofiles": of_aiofiles,
    "unbuffered aiofiles": of_unbuffered_aiofiles,
    "list": plainly(list),
    "tuple of bytearrays": plainly(lambda chunks: tuple(map(bytearray, chunks))),
    "iterator of memoryviews": plainly(lambda chunks: (memoryview(chunk) for chunk in chunks)),
    "iterable": plainly(AnyIterable),
    "generator": plainly(generated),
    "async iterator": plainly(AnyAsyncIterator),
    "async generator": plainly(async_generated),
    "body": of_body,
    "reader": of_reader,
}

chunkings = st.lists(st.binary(max_size=90), max_size=6)


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.mark.parametrize("kind", KINDS)
@few
@given(chunks=chunkings, part_size=st.integers(1, 100), width=st.integers(1, 4))
@example(chunks=[], part_size=PART, width=1)
@example(chunks=[b"x" * PART], part_size=PART, width=4)
@example(chunks=[b"x" * PART, b"y"], part_size=PART, width=4)
@example(chunks=[b"x" * 3 * PART], part_size=PART, width=2)
@example(chunks=[b"", b"x", b"", b"y" * PART], part_size=1, width=8)
async def test_what_is_put_comes_back(
    kind: str, chunks: list[bytes], part_size: int, width: int, directory: Path
) -> None:
    async with opened(part_size=part_size, parts_per_object=width) as (session, obj), AsyncExitStack() as stack:
        other = (await session.create_bucket("others")).object("other")
        given: Any = await KINDS[kind](Place(stack, directory / "source", other), chunks)
        content = given.encode() if isinstance(given, str) else b"".join(chunks)
        etag, verified = etag_of(content, part_size), "md5" if len(content) <= part_size else "parts"

        info = await obj.put(given)

        assert (info.bucket, info.key, info.size, info.etag, info.verified) == (
            "photos",
            "cat",
            len(content),
            etag,
            verified,
        )
        head = await obj.head()
        assert (head.size, head.etag) == (len(content), etag)
        assert await obj.read() == content
        async with obj.get() as body:
            assert b"".join([chunk async for chunk in body]) == content
            assert (body.info.etag, body.info.verified) == (etag, verified)
        downloaded = await obj.download(directory / "copy")
        assert (directory / "copy").read_bytes() == content
        assert (downloaded.size, downloaded.etag, downloaded.verified) == (len(content), etag, verified)
        async with obj.reader() as file:
            assert await file.read() == content


FAILING: dict[str, Callable[[Sequence[bytes], Exception], object]] = {
    "raw file": ShortReads,
    "buffered reader": lambda chunks, failure: io.BufferedReader(ShortReads(chunks, failure), 10),
    "only read": OnlyRead,
    "only async read": OnlyAsyncRead,
    "iterable": AnyIterable,
    "generator": generated,
    "async iterator": AnyAsyncIterator,
    "async generator": async_generated,
}


@pytest.mark.parametrize("kind", FAILING)
@few
@given(chunks=chunkings, part_size=st.integers(1, 100), width=st.integers(1, 4))
@example(chunks=[], part_size=PART, width=4)
@example(chunks=[b"x" * PART], part_size=PART, width=4)
@example(chunks=[b"x" * 3 * PART], part_size=PART, width=4)
async def test_the_error_of_a_source_is_raised_as_itself_and_the_old_object_stays(
    kind: str, chunks: list[bytes], part_size: int, width: int
) -> None:
    async with opened(part_size=part_size, parts_per_object=width) as (_, obj):
        await obj.put("old")
        failure = OwnError("the disk is on fire")
        given: Any = FAILING[kind](chunks, failure)
        with pytest.raises(OwnError) as caught:
            await obj.put(given)
        assert caught.value is failure
        assert await obj.read() == b"old"


async def test_an_error_that_is_an_exception_group_is_raised_as_itself() -> None:
    async with opened() as (_, obj):
        failure = ExceptionGroup("both", [OwnError("a"), OwnError("b")])
        with pytest.raises(ExceptionGroup) as caught:
            await obj.put(async_generated([b"x" * 200], failure))
        assert caught.value is failure
        assert not await obj.exists()


@pytest.mark.parametrize("content", [b"x", b"x" * 10 * PART], ids=["whole", "parts"])
async def test_generators_are_closed_when_the_upload_fails(content: bytes) -> None:
    closed: list[str] = []

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield content
        finally:
            closed.append("generator")

    async def endless_async() -> AsyncIterator[bytes]:
        try:
            while True:
                yield content
        finally:
            closed.append("async generator")

    memory = tiny_parts()
    memory.fail("put_part", "AccessDenied", times=None)
    async with opened(memory) as (_, obj):
        for source in (endless(), endless_async()):
            with pytest.raises(dream.AccessDeniedError):
                await obj.put(source)
    assert closed == ["generator", "async generator"]


def endless(at_the_end: Callable[[], object]) -> Iterator[bytes]:
    try:
        while True:
            yield b"x" * 10 * PART
    finally:
        at_the_end()


async def endless_async(at_the_end: Callable[[], object]) -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"x" * 10 * PART
    finally:
        at_the_end()


class MadeByAGenerator:
    """No generator itself: its ``__iter__`` and ``__aiter__`` are generator functions."""

    def __init__(self, at_the_end: Callable[[], object]) -> None:
        self._at_the_end = at_the_end

    def __iter__(self) -> Iterator[bytes]:
        return endless(self._at_the_end)


class MadeByAnAsyncGenerator(MadeByAGenerator):
    __iter__ = None  # type: ignore[assignment]  # it cannot be iterated

    def __aiter__(self) -> AsyncIterator[bytes]:
        return endless_async(self._at_the_end)


GENERATORS: list[Callable[[Callable[[], object]], Any]] = [
    endless,
    endless_async,
    MadeByAGenerator,
    MadeByAnAsyncGenerator,
]


@pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "error",
    [OwnError("own"), RuntimeError("own"), ValueError("own"), asyncio.CancelledError("own"), KeyError("own")],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_generator_raises_while_it_is_closed_is_logged_and_hides_no_error(
    make: Callable[[Callable[[], object]], Any], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[bool] = []

    def at_the_end() -> None:
        closed.append(True)
        raise error

    memory = tiny_parts()
    memory.fail("put_part", "AccessDenied", times=None)
    async with opened(memory) as (_, obj):
        await obj.put("old")
        with pytest.raises(dream.AccessDeniedError):
            await obj.put(make(at_the_end))
        assert await obj.read() == b"old"
    assert closed == [True]
    (record,) = [record for record in caplog.records if "could not be closed" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert repr(error) in record.getMessage()


@pytest.mark.parametrize("how", ["task", "timeout"])
async def test_a_cancellation_while_a_generator_is_closed_is_not_absorbed(how: str) -> None:
    closing, may_end = asyncio.Event(), asyncio.Event()
    ended: list[bool] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10 * PART
        finally:
            closing.set()
            await may_end.wait()
            ended.append(True)
            raise OwnError

    memory = tiny_parts()
    memory.fail("put_part", "AccessDenied", times=None)
    async with opened(memory) as (_, obj):

        async def put() -> None:
            async with asyncio.timeout(None) as scope:
                scopes.append(scope)
                await obj.put(source())

        scopes: list[asyncio.Timeout] = []
        task = asyncio.create_task(put())
        await closing.wait()
        if how == "task":
            task.cancel()
        else:
            scopes[0].reschedule(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError if how == "task" else TimeoutError):
            await task
        assert ended == [True]
        assert not await obj.exists()


async def test_a_body_that_breaks_is_taken_up_in_the_middle_of_an_upload() -> None:
    memory = tiny_parts()
    content = os.urandom(300_000)
    async with opened(memory, part_size=100_000) as (session, obj):
        other = (await session.create_bucket("others")).object("other")
        await other.put(content)
        memory.cut_body(50_000, bucket="others", times=2)
        async with other.get() as body:
            assert (await obj.put(body)).size == len(content)
        assert await obj.read() == content


async def test_a_body_of_an_object_that_is_replaced_meanwhile_makes_no_object() -> None:
    memory = tiny_parts()
    async with opened(memory, part_size=100_000) as (session, obj):
        other = (await session.create_bucket("others")).object("other")
        await other.put(bytes(300_000))
        memory.cut_body(150_000, bucket="others")
        async with other.get() as body:
            await other.put("new")
            with pytest.raises(dream.ObjectChangedError):
                await obj.put(body)
        assert not await obj.exists()


async def test_a_range_of_another_object_can_be_put() -> None:
    async with opened() as (session, obj):
        other = (await session.create_bucket("others")).object("other")
        await other.put(bytes(range(256)))
        async with other.get(range=(10, 240)) as body:
            assert (await obj.put(body)).size == 230
        assert await obj.read() == bytes(range(10, 240))


@pytest.mark.parametrize("kind", ["file", "raw file", "iterable"])
async def test_a_put_of_a_pipe_that_says_nothing_can_be_cancelled(kind: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0 if kind == "raw file" else -1) as pipe:
        try:
            async with tiny_parts().session() as session:
                bucket = await session.create_bucket("pipes")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await bucket.object("a").put(iter(lambda: pipe.read(10), b"") if kind == "iterable" else pipe)
                assert not await bucket.object("a").exists()
        finally:
            os.close(writing)


async def test_a_file_that_had_something_to_write_is_no_changed_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"tail of the file")
    async with tiny_parts().session() as session:
        obj = (await session.create_bucket("files")).object("a")
        with path.open("r+b") as file:
            file.read(1)
            file.seek(0)
            file.write(b"head")
            file.seek(0)
            await obj.put(file)
        assert await obj.read() == b"head of the file"
        async with aiofiles.open(path, "r+b") as async_file:
            await async_file.write(b"HEAD")
            await async_file.seek(0)
            await obj.put(async_file)
        assert await obj.read() == b"HEAD of the file"


async def test_a_file_that_reads_by_an_awaitable_is_an_async_file() -> None:
    async with opened() as (_, obj):
        await obj.put(ReadThatReturnsAnAwaitable([b"x" * 100]))
        assert await obj.read() == b"x" * 100


@pytest.mark.parametrize("size", [10, 1000], ids=["whole", "parts"])
@pytest.mark.parametrize("in_a_list", [False, True])
async def test_every_memoryview_is_as_good(size: int, *, in_a_list: bool) -> None:
    content = os.urandom(size * 2)
    views = [
        memoryview(content)[::2],
        memoryview(content)[::-1],
        memoryview(content).cast("H"),
        memoryview(content).cast("B", shape=(2, size)),
    ]
    async with opened() as (_, obj):
        for view in views:
            info = await obj.put([view] if in_a_list else view)
            assert info.size == view.nbytes
            assert await obj.read() == view.tobytes()


# Files that change


@pytest.mark.parametrize("size", [10, 1000], ids=["whole", "parts"])
@pytest.mark.parametrize("change", ["grows", "shrinks", "is written to"])
@pytest.mark.parametrize("by", ["path", "file"])
async def test_a_file_that_changes_while_it_is_sent_makes_no_object(
    tmp_path: Path, size: int, change: str, by: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    os.utime(path, (1, 1))

    class Changing(io.FileIO):
        def readinto(self, buffer: Any, /) -> int:
            alter()
            return super().readinto(buffer) or 0

    def alter() -> None:
        if change == "grows":
            os.truncate(path, size + 5)
        elif change == "shrinks":
            os.truncate(path, size - 5)
        else:
            path.write_bytes(b"y" * size)

    memory = tiny_parts()
    async with opened(memory, parts_per_object=1) as (_, obj):
        await obj.put("old")
        if by == "file":
            with Changing(path) as file, pytest.raises(dream.SourceChangedError, match="changed while it was sent"):
                await obj.put(file)
        elif size > PART:
            held = asyncio.Event()
            memory.delay("create_upload", held)
            task = asyncio.create_task(obj.put(path))
            await arrival_of("create_upload", memory)
            alter()
            held.set()
            with pytest.raises(dream.SourceChangedError, match=f"{path} changed while it was sent"):
                await task
        assert await obj.read() == b"old"


# What cannot be uploaded


async def refused(obj: dream.Object, given: Any, kind: type[BaseException], match: str) -> None:
    with pytest.raises(kind, match=match):
        await obj.put(given)
    assert not await obj.exists()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (None, r"put takes str, bytes, a Path, .* not NoneType"),
        (7, r"put takes str, bytes, a Path, .* not int"),
        ({"a": b"b"}, r"put takes str, bytes, a Path, .* not dict"),
        (["text"], r"the iterable returned str at byte 0; it must return bytes"),
        ([b"abc", "text"], r"the iterable returned str at byte 3; it must return bytes"),
        ([b"x" * 1234, 7], r"the iterable returned int at byte 1,234; it must return bytes"),
        ([None], r"the iterable returned NoneType at byte 0; it must return bytes"),
        (range(5), r"the iterable returned int at byte 0; it must return bytes"),
        (io.StringIO("text"), r"open in text mode; open it with 'rb'"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_what_is_no_source_is_refused_with_what_is_one(given: Any, match: str) -> None:
    async with opened() as (_, obj):
        await refused(obj, given, TypeError, match)


async def test_an_async_iterable_must_give_bytes() -> None:
    async def texts() -> AsyncIterator[Any]:
        yield b"x" * 100
        yield "text"

    async with opened() as (_, obj):
        await refused(obj, texts(), TypeError, r"the async iterable returned str at byte 100; it must return bytes")


async def test_files_in_text_mode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("text")
    async with opened() as (_, obj):
        with path.open() as file:
            await refused(obj, file, TypeError, "text mode; open it with 'rb'")
        async with aiofiles.open(path) as async_file:
            await refused(obj, async_file, TypeError, "returned str at byte 0; it must return bytes")
        with tempfile.NamedTemporaryFile("w+") as temporary:
            temporary.write("text")
            temporary.seek(0)
            await refused(obj, temporary, TypeError, "returned str at byte 0; it must return bytes")


async def test_files_that_cannot_be_read_are_refused_as_themselves(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with path.open("rb") as closed:
        pass
    async with aiofiles.open(path, "rb") as closed_async:
        pass
    async with opened() as (_, obj):
        await refused(obj, closed, ValueError, "closed file")
        await refused(obj, closed_async, ValueError, "closed file")
        with (tmp_path / "new").open("wb") as writing:
            await refused(obj, writing, io.UnsupportedOperation, "read")
        reading, writing_end = os.pipe()
        os.set_blocking(reading, False)
        with io.FileIO(reading) as pipe, io.FileIO(writing_end, "wb"):
            await refused(obj, pipe, BlockingIOError, "is non-blocking and has nothing to read yet")


async def test_a_closed_body_is_refused() -> None:
    async with opened() as (session, obj):
        other = (await session.create_bucket("others")).object("other")
        await other.put(b"x" * 100_000)
        async with other.get() as body:
            pass
        await refused(obj, body, ValueError, "is closed: its 'async with' ended")


@pytest.mark.parametrize("verb", ["put", "upload"])
async def test_only_a_regular_file_can_be_named(tmp_path: Path, verb: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    async with opened() as (_, obj):
        send: Callable[[Path], Awaitable[object]] = getattr(obj, verb)
        with pytest.raises(IsADirectoryError, match=str(tmp_path)):
            await send(tmp_path)
        with pytest.raises(
            ValueError, match=r"fifo is not a regular file; open it yourself and pass the open file to put\(\)"
        ):
            await send(tmp_path / "fifo")
        with pytest.raises(ValueError, match="is not a regular file"):
            await send(Path("/dev/null"))
        for missing in ("missing", "missing/too", "dangling"):
            with pytest.raises(FileNotFoundError) as caught:
                await send(tmp_path / missing)
            assert not isinstance(caught.value, dream.DreamObjectsError)
            assert caught.value.filename == str(tmp_path / missing)
        assert not await obj.exists()


async def test_text_is_no_path() -> None:
    async with opened() as (_, obj):
        await obj.put("missing/file")
        assert await obj.read_text() == "missing/file"
        with pytest.raises(FileNotFoundError):
            await obj.upload("missing/file")
        with pytest.raises(TypeError):
            await obj.upload(b"bytes".join)  # type: ignore[arg-type]  # that is the test


async def test_bad_words_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    memory = tiny_parts()
    async with opened(memory) as (_, obj):
        memory.forget_requests()
        bad: Any = "md5"
        for call in (
            obj.put("x", verify=bad),
            obj.upload(tmp_path, verify=bad),
            obj.download(tmp_path / "f", verify=bad),
        ):
            with pytest.raises(ValueError, match="verify 'md5' is none of 'auto', 'off'"):
                await call
        for open_it in (lambda: obj.writer(verify=bad), lambda: obj.get(verify=bad)):
            with pytest.raises(ValueError, match="verify 'md5' is none of 'auto', 'off'"):
                open_it()
        with pytest.raises(ValueError, match="if_changed 'again' is none of"):
            await obj.download(tmp_path / "f", if_changed="again")  # type: ignore[arg-type]  # that is the test
        with pytest.raises(ValueError, match="choose one"):
            obj.writer(if_absent=True, if_match="x")
        for bad_range in ((5, 5), (5, 1), (-5, 1), (0.5, 2), (True, 2)):
            with pytest.raises(ValueError, match="range"):
                await obj.read(bad_range)  # type: ignore[arg-type]  # that is the test
            with pytest.raises(ValueError, match="range"):
                obj.get(range=bad_range)  # type: ignore[arg-type]  # that is the test
        assert memory.requests == ()


async def test_nothing_is_sent_by_a_session_that_is_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    memory = MemoryService()
    session = memory.session()
    obj = session.object("s3://photos/cat")
    pulled: list[bool] = []

    async def source() -> AsyncIterator[bytes]:
        pulled.append(True)
        yield b"x"

    for call in (
        obj.put("x"),
        obj.put(source()),
        obj.upload(tmp_path / "missing"),
        obj.copy_to(obj),
        obj.move_to(session.object("s3://photos/dog")),
        obj.download(tmp_path / "copy"),
    ):
        with pytest.raises(dream.SessionClosedError):
            await call
    with pytest.raises(dream.SessionClosedError):
        async with obj.writer():
            pass
    assert not pulled
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# How many parts


async def test_a_length_that_needs_too_many_parts_is_cut_into_larger_ones(directory: Path) -> None:
    content = os.urandom(1_200 * PART)
    async with opened(tiny_parts(most_parts=1000), parts_per_object=64) as (_, obj):
        info = await obj.put(content)
        assert info.etag == etag_of(content, 77)
        assert info.etag is not None
        assert info.etag.endswith("-998")
        assert await obj.read() == content
        assert (await obj.download(directory / "copy")).verified == "parts"
        assert (directory / "copy").read_bytes() == content


async def test_the_parts_of_an_unknown_length_grow(directory: Path) -> None:
    content = os.urandom(3_000 * PART)
    async with opened(tiny_parts(most_parts=2000, largest_object=len(content)), parts_per_object=64) as (_, obj):
        info = await obj.put(async_generated([content[: len(content) // 2], content[len(content) // 2 :]]))
        assert info.verified == "parts"
        assert info.etag is not None
        assert 1000 < int(info.etag.partition("-")[2]) <= 2000
        assert await obj.read() == content
        assert (await obj.download(directory / "copy")).verified == "parts"
        assert (directory / "copy").read_bytes() == content


async def test_an_upload_of_unknown_length_that_just_begins_to_grow_is_read_back(directory: Path) -> None:
    content = os.urandom(1001 * PART + 30)
    async with opened(tiny_parts(largest_object=12_000 * PART), parts_per_object=64) as (_, obj):
        info = await obj.put(async_generated([content]))
        assert info.etag is not None
        assert info.etag.endswith("-1002")
        await obj.download(directory / "copy")
        assert (directory / "copy").read_bytes() == content
        async with obj.get() as body:
            assert await body.read() == content


async def test_an_unknown_length_ends_where_the_parts_do() -> None:
    """Of 1, 1, ... 1, 334 and 667 bytes: 2,001 in all."""
    async with opened(tiny_parts(most_parts=1002, largest_object=2000), part_size=1, parts_per_object=16) as (_, obj):
        assert (await obj.put(async_generated([bytes(2001)]))).size == 2001
        with pytest.raises(dream.TransferError, match=r"has more than the 2,001 bytes that fit into 1,002 parts"):
            await obj.put(async_generated([bytes(2002)]))
        with pytest.raises(ValueError, match=r"2,001 bytes are too many for one object: this service allows 2,000"):
            await obj.put(bytes(2001))
        assert (await obj.head()).size == 2001


async def test_a_service_may_take_fewer_parts() -> None:
    """Those of an unknown length grow only from the 1,001st on."""
    for most_parts in (10, 999, 1000, 1001):
        content = os.urandom(most_parts * 10)
        rules = tiny_parts(most_parts=most_parts, largest_object=len(content))
        async with opened(rules, part_size=1) as (_, obj):
            assert (await obj.put(content)).verified == "parts"
            assert await obj.read() == content
            if most_parts > EVEN_PARTS:
                assert (await obj.put(async_generated([content]))).verified == "parts"
            else:
                with pytest.raises(
                    dream.TransferError, match=f"than the {most_parts:,} bytes that fit into {most_parts:,} parts"
                ):
                    await obj.put(async_generated([content]))


async def test_all_parts_have_one_size_where_the_service_demands_that() -> None:
    content = os.urandom(1003 * 10 + 3)
    rules = tiny_parts(most_parts=1004, largest_object=1 << 40, equal_parts=True)
    async with opened(rules, part_size=10, parts_per_object=64) as (_, obj):
        info = await obj.put(async_generated([content]))
        assert info.etag is not None
        assert info.etag.endswith("-1004")
        assert await obj.read() == content
        with pytest.raises(
            dream.TransferError, match=r"the 10,040 bytes that fit into 1,004 parts; open .* larger Limits"
        ):
            await obj.put(async_generated([content, bytes(8)]))
        assert await obj.read() == content


async def test_metadata_of_another_upload_can_be_given_again(directory: Path) -> None:
    """What ``info.metadata`` tells is of that object's parts, not of this one's."""
    content = os.urandom(90)
    memory = tiny_parts()
    async with opened(memory, part_size=50) as (_, obj):
        await obj.put(content, metadata={"color": "black"})
        metadata = (await obj.head()).metadata
        async with memory.session(limits=dream.Limits(part_size=80)) as other_session:
            other = other_session.object("s3://photos/dog")
            await other.put(content, metadata=metadata)
            assert ((await other.head()).metadata or {})["color"] == "black"
            assert await other.read() == content
            assert (await other.download(directory / "copy")).verified == "parts"


part_sizes = st.integers(1, 1 << 30)
lengths = st.integers(0, RULES.largest_object)


@given(size=lengths, part_size=part_sizes)
@example(size=RULES.largest_object, part_size=1)
@example(size=10_000 * (5 << 20), part_size=1)
@example(size=10_000 * (5 << 20) + 1, part_size=1)
def test_every_length_that_an_object_can_have_is_cut_evenly_into_parts_that_a_service_takes(
    size: int, part_size: int
) -> None:
    sizes = plan(size, part_size, RULES)
    assert sizes.step == 0
    assert RULES.smallest_part <= sizes.first <= 5 << 30
    assert -(-size // sizes.first) <= RULES.most_parts
    if size <= 10_000 * max(part_size, RULES.smallest_part):
        assert sizes.first == max(part_size, RULES.smallest_part)


@given(part_size=part_sizes)
@example(part_size=1)
@example(part_size=8 << 20)
def test_the_parts_of_an_unknown_length_hold_the_largest_object(part_size: int) -> None:
    sizes = plan(None, part_size, RULES)
    assert sizes.start_of(RULES.most_parts + 1) >= RULES.largest_object
    assert all(sizes(number) == max(part_size, RULES.smallest_part) for number in (1, 500, EVEN_PARTS))
    assert sizes(RULES.most_parts) <= 5 << 30


def test_a_length_beyond_the_largest_object_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5,497,558,138,881 bytes are too many .* 5,497,558,138,880"):
        plan((5 << 40) + 1, 8 << 20, RULES)


@given(first=st.integers(1, 1 << 33), step=st.integers(0, 1 << 30), number=st.integers(1, 10_000))
@example(first=1, step=1, number=1000)
@example(first=1, step=1, number=1001)
def test_a_part_begins_where_the_one_before_it_ends(first: int, step: int, number: int) -> None:
    sizes = PartSizes(first, step)
    assert sizes.start_of(1) == 0
    assert sizes.start_of(number + 1) - sizes.start_of(number) == sizes(number)
    assert sizes(number + 1) >= sizes(number)


@given(first=st.integers(1, 1 << 30), step=st.integers(0, 1 << 20), count=st.integers(1, 3000))
def test_where_a_part_begins_is_the_sum_of_those_before_it(first: int, step: int, count: int) -> None:
    sizes = PartSizes(first, step)
    assert sizes.start_of(count + 1) == sum(map(sizes, range(1, count + 1)))
    assert sizes.make(count, sizes.start_of(count + 1))
    assert sizes.make(count, sizes.start_of(count) + 1)
    assert not sizes.make(count, sizes.start_of(count))
    assert not sizes.make(count, sizes.start_of(count + 1) + 1)


@given(part_size=part_sizes, size=lengths.filter(bool))
def test_the_parts_of_a_known_length_are_found_by_the_metadata(part_size: int, size: int) -> None:
    sizes = plan(size, part_size, RULES)
    count = -(-size // sizes.first)
    found, is_certain = known_parts(size, count, {PART_SIZE_NAME: str(sizes)})
    assert is_certain
    assert found is not None
    assert [found.start_of(number) for number in range(1, min(count, 50) + 1)] == [
        sizes.start_of(number) for number in range(1, min(count, 50) + 1)
    ]
    assert found.start_of(count) == sizes.start_of(count)


@given(size=st.integers(1, 1 << 45), count=st.integers(1, 10_000), kept=st.text(max_size=20))
def test_whatever_the_metadata_says_the_parts_make_the_object(size: int, count: int, kept: str) -> None:
    for metadata in (None, {}, {PART_SIZE_NAME: kept}):
        found, is_certain = known_parts(size, count, metadata)
        if found is None:
            assert not is_certain
        else:
            assert found.make(count, size) or size < count


@given(count=st.integers(2, 10_000), mib=st.sampled_from([5, 8, 16, 64, 512]), data=st.data())
def test_parts_of_a_usual_size_are_found_without_metadata_or_not_called_certain(
    count: int, mib: int, data: st.DataObject
) -> None:
    sizes = PartSizes(mib * MIB)
    size = data.draw(st.integers(sizes.start_of(count) + 1, sizes.start_of(count + 1)))
    found, is_certain = known_parts(size, count, None)
    assert found == sizes or not is_certain


# Memory, and parts in parallel


async def test_a_source_is_read_no_further_ahead_than_the_parts_under_way_which_go_in_parallel() -> None:
    """Nothing is stored before the source was asked for the last part that may be under way."""
    memory, width, part_size = tiny_parts(), 5, 1000
    held = asyncio.Event()
    memory.delay("put_part", held, times=None)
    ahead: list[int] = []
    async with opened(memory, part_size=part_size, parts_per_object=width) as (session, obj):
        before = session.statistics().bytes_sent

        async def source() -> AsyncIterator[bytes]:
            pulled = 0
            for _ in range(300):
                ahead.append(pulled - (session.statistics().bytes_sent - before))
                if pulled == width * part_size - 100:
                    assert ahead[-1] == pulled
                    held.set()
                pulled += 100
                yield bytes(100)

        assert (await obj.put(source())).size == 30_000
    assert held.is_set()
    assert max(ahead) <= width * part_size


async def test_parts_that_are_stored_out_of_order_make_the_object_in_order() -> None:
    """The first one is held until the source is asked for the last."""
    memory, held, content = tiny_parts(), asyncio.Event(), os.urandom(6 * PART)
    memory.delay("put_part", held)

    async def source() -> AsyncIterator[bytes]:
        yield content[: 5 * PART]
        held.set()
        yield content[5 * PART :]

    async with opened(memory, parts_per_object=2) as (_, obj):
        assert (await obj.put(source())).etag == etag_of(content, PART)
        assert await obj.read() == content


async def test_twenty_uploads_at_once_share_the_memory() -> None:
    pulled = most = 0
    async with opened(part_size=MIB, memory=4 * MIB, parts_per_object=3) as (session, obj):
        before = session.statistics().bytes_sent

        async def source() -> AsyncIterator[bytes]:
            nonlocal pulled, most
            for _ in range(40):
                pulled += 64 << 10
                most = max(most, pulled - (session.statistics().bytes_sent - before))
                yield bytes(64 << 10)

        bucket = session.bucket("photos")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bucket.object(str(number)).put(source())) for number in range(20)]
        assert [task.result().size for task in tasks] == [40 << 16] * 20
        assert most <= 4 * MIB + 20 * (256 << 10)
        assert not await obj.exists()


async def test_uploads_and_downloads_that_need_more_than_all_memory_go_one_after_the_other(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    async with opened(part_size=MIB, memory=1) as (session, _):
        bucket = session.bucket("photos")

        async def there_and_back(number: int) -> None:
            await bucket.object(str(number)).put(async_generated([content]))
            await bucket.object(str(number)).download(tmp_path / str(number))
            assert (tmp_path / str(number)).read_bytes() == content

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(there_and_back(number))


async def test_small_objects_do_not_wait_for_memory() -> None:
    memory = tiny_parts()
    held = asyncio.Event()
    memory.delay("put_part", held, key="large", times=None)
    async with opened(memory, part_size=MIB, memory=MIB) as (session, obj):
        large = asyncio.create_task(session.object("s3://photos/large").put(async_generated([bytes(3 * MIB)])))
        await arrival_of("put_part", memory)
        await obj.put(async_generated([bytes(200_000)]))
        assert await obj.read() == bytes(200_000)
        held.set()
        assert (await large).size == 3 * MIB


async def test_what_waits_for_memory_when_the_session_closes_learns_it() -> None:
    memory = tiny_parts()
    memory.delay("put_part", asyncio.Event(), times=None)
    session = memory.session(limits=dream.Limits(part_size=MIB, memory=MIB))
    await session.open()
    bucket = await session.create_bucket("photos")
    first = asyncio.create_task(bucket.object("a").put(async_generated([bytes(3 * MIB)])))
    await arrival_of("put_part", memory)
    second = asyncio.create_task(bucket.object("b").put(async_generated([bytes(3 * MIB)])))
    for _ in range(20):
        await asyncio.sleep(0)
    await session.aclose()
    for task in (first, second):
        with pytest.raises(dream.SessionClosedError):
            await task


# Progress


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_callback_that_raises_ends_the_upload_and_leaves_nothing(*, is_async: bool) -> None:
    failure = OwnError("enough")
    seen: list[dream.Progress] = []

    def stop(progress: dream.Progress) -> None:
        seen.append(progress)
        raise failure

    async def stop_later(progress: dream.Progress) -> None:
        stop(progress)

    async def source() -> AsyncIterator[bytes]:
        yield bytes(PART + 1)
        await asyncio.Event().wait()

    async with opened() as (_, obj):
        await obj.put("old")
        with pytest.raises(OwnError) as caught:
            await obj.put(source(), progress=stop_later if is_async else stop)
        assert caught.value is failure
        assert await obj.read() == b"old"
    assert seen == [dream.Progress(PART, None, 0, 1, "cat")]


async def test_progress_of_a_source_without_a_length_has_no_total() -> None:
    seen: list[dream.Progress] = []
    async with opened() as (_, obj):
        await obj.put(async_generated([bytes(1000)]), progress=seen.append)
        assert seen[-1] == dream.Progress(1000, None, 1, 1, "cat")


async def test_figures_grow_part_by_part() -> None:
    """The source goes on when the part before was told of."""
    seen: list[int] = []
    told = [asyncio.Event() for _ in range(3)]

    async def source() -> AsyncIterator[bytes]:
        yield bytes(PART + 1)
        await told[0].wait()
        yield bytes(PART)
        await told[1].wait()
        yield bytes(PART - 1)

    def note(progress: dream.Progress) -> None:
        seen.append(progress.done_bytes)
        told[len(seen) - 1].set()

    async with opened(parts_per_object=1) as (_, obj):
        await obj.put(source(), progress=note)
    assert seen == [PART, 2 * PART, 3 * PART]


# A writer


async def write(obj: dream.Object, sizes: Iterable[int], failure: Exception | None = None) -> None:
    async with obj.writer() as file:
        for size in sizes:
            await file.write(bytes(size))
        if failure is not None:
            raise failure


async def test_a_writer_tells_what_ended_the_upload() -> None:
    memory = tiny_parts()
    memory.fail("put_part", "AccessDenied", times=None)
    async with opened(memory, part_size=64 << 10) as (_, obj):
        with pytest.raises(dream.AccessDeniedError):
            await write(obj, itertools.repeat(10_000))
        assert not await obj.exists()


async def test_an_error_of_the_caller_is_not_hidden_by_one_of_the_upload() -> None:
    memory, failure = tiny_parts(), OwnError()
    memory.fail("put_object", "AccessDenied", times=None)
    async with opened(memory, part_size=200_000) as (_, obj):
        for size in (10, 500_000):
            with pytest.raises(OwnError) as caught:
                await write(obj, [size], failure)
            assert caught.value is failure
            assert not await obj.exists()


@pytest_asyncio.fixture
async def many() -> AsyncIterator[dream.Object]:
    async with opened(part_size=100_000) as (_, obj):
        await obj.put(bytes(range(256)) * 4000)
        yield obj


@few
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]),
            st.integers(-1_200_000, 1_200_000),
            st.integers(0, 400_000),
        ),
        max_size=8,
    )
)
async def test_a_reader_is_as_a_file_of_the_same_bytes(many: dream.Object, steps: list[tuple[int, int, int]]) -> None:
    model = io.BytesIO(bytes(range(256)) * 4000)
    async with many.reader() as file:
        for whence, offset, count in steps:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: model.tell(), os.SEEK_END: 1_024_000}[whence]
            if base + offset < 0:
                with pytest.raises(ValueError, match="before the beginning"):
                    await file.seek(offset, whence)
            else:
                assert await file.seek(offset, whence) == model.seek(base + offset)
            assert await file.read(count) == model.read(count)
            assert file.tell() == model.tell()
            into, expected = bytearray(1000), bytearray(1000)
            assert await file.readinto(into) == model.readinto(expected)
            assert into == expected
        assert await file.read() == model.read()


@given(sizes=st.lists(st.integers(0, 200_000), max_size=8), part_size=st.integers(20_000, 300_000))
@few
async def test_what_is_written_in_any_pieces_is_the_object(sizes: list[int], part_size: int) -> None:
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    content = b"".join(pieces)
    async with opened(part_size=part_size) as (_, obj):
        async with obj.writer() as file:
            for piece in pieces:
                assert await file.write(piece) == len(piece)
        assert (file.tell(), file.info.size, file.info.etag) == (
            len(content),
            len(content),
            etag_of(content, part_size),
        )
        assert await obj.read() == content
