"""An open file is stored from where it stands to its end, exactly; or the call fails, and the old object stays."""

from __future__ import annotations

import asyncio
import bz2
import errno
import gzip
import http.client
import io
import lzma
import mmap
import os
import random
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest
import urllib3
from odd_sources import OwnError
from servers.faulty import FaultyServer

import aiodreamobjects as dream

PART = 300_000
CONTENT = random.Random(1).randbytes(200_000) + bytes(range(256)) * 2000
MIDDLES = [1, 65_537, PART, PART + 1]


async def put(faulty: FaultyServer, file: Any) -> dream.ObjectInfo:
    async with faulty.session(limits=dream.Limits(part_size=PART)) as session:
        return await session.object("s3://bucket/a").put(file)


# Files of all kinds


class Place:
    """Where files are made, and closed in the end."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self.stack, self.path = stack, path

    def file(self, content: bytes = CONTENT) -> Path:
        self.path.write_bytes(content)
        return self.path

    def opened(self, mode: str = "rb", buffering: int = -1) -> Any:
        return self.stack.enter_context(self.file().open(mode, buffering=buffering))

    def compressed(self, kind: Any) -> Any:
        return self.stack.enter_context(kind.open(self.file(kind.compress(CONTENT))))

    def socket(self, head: bytes = b"") -> socket.socket:
        """The reading end; the content waits in it, or is written by a thread."""
        reading, writing = socket.socketpair()

        def send() -> None:
            with writing:
                writing.sendall(head + CONTENT)

        thread = threading.Thread(target=send)
        thread.start()
        self.stack.callback(thread.join)
        return self.stack.enter_context(reading)


class Raw(io.RawIOBase):
    """A raw file of one's own; without ``position`` it cannot seek."""

    def __init__(self, position: int | None = 0) -> None:
        self._file, self._can_seek = io.BytesIO(CONTENT), position is not None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._can_seek

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(memoryview(buffer)[:10_000])

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence) if self._can_seek else super().seek(offset, whence)


def of_rolled_file(place: Place) -> Any:
    file = place.stack.enter_context(tempfile.SpooledTemporaryFile(max_size=10))  # noqa: SIM115 - the stack closes it
    file.write(CONTENT)
    file.seek(0)
    return file


def of_spooled_file(place: Place) -> Any:
    file = place.stack.enter_context(tempfile.SpooledTemporaryFile())  # noqa: SIM115 - the stack closes it
    file.write(CONTENT)
    file.seek(0)
    return file


def of_temporary_file(place: Place) -> Any:
    file = place.stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - the stack closes it
    file.write(CONTENT)
    file.seek(0)
    return file


def of_append(place: Place) -> Any:
    file = place.opened("a+b")
    file.seek(0)
    return file


def of_unwritten(place: Place) -> Any:
    """What it is to hold is in its buffer, and not on the disk."""
    file = place.stack.enter_context(place.file(CONTENT[:-3] + b"???").open("r+b", buffering=MIB))
    file.seek(-3, os.SEEK_END)
    file.write(CONTENT[-3:])
    file.seek(0)
    return file


def of_zip(place: Place) -> Any:
    with zipfile.ZipFile(place.path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", CONTENT)
    return place.stack.enter_context(place.stack.enter_context(zipfile.ZipFile(place.path)).open("member"))


def of_zip_that_cannot_seek(place: Place) -> Any:
    file = of_zip(place)
    file._seekable = False
    return file


def of_tar(place: Place, mode: str = "r") -> Any:
    with tarfile.open(place.path, "w:gz" if "gz" in mode else "w") as archive:
        info = tarfile.TarInfo("member")
        info.size = len(CONTENT)
        archive.addfile(info, io.BytesIO(CONTENT))
    file: Any = tarfile.open(place.path, mode)  # type: ignore[call-overload]  # noqa: SIM115 - the stack closes it
    archive = place.stack.enter_context(file)
    return archive.extractfile(archive.next())


def of_pipe(place: Place) -> Any:
    cat = place.stack.enter_context(subprocess.Popen(["cat", place.file()], stdout=subprocess.PIPE))
    return cat.stdout


def of_raw_pipe(place: Place) -> Any:
    cat = subprocess.Popen(["cat", place.file()], stdout=subprocess.PIPE, bufsize=0)
    return place.stack.enter_context(cat).stdout


def of_map(place: Place) -> Any:
    return place.stack.enter_context(mmap.mmap(place.opened("r+b").fileno(), 0))


def of_response(place: Place) -> Any:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT)
    response = place.stack.enter_context(http.client.HTTPResponse(place.socket(head)))
    response.begin()
    return response


def of_urllib3(place: Place) -> Any:
    return place.stack.enter_context(urllib3.HTTPResponse(io.BytesIO(CONTENT), preload_content=False))


MIB = 1 << 20
KINDS: dict[str, Callable[[Place], Any]] = {
    "BytesIO": lambda _: io.BytesIO(CONTENT),
    "buffered file": lambda place: place.opened(),
    "raw file": lambda place: place.opened(buffering=0),
    "buffered reader of a raw file": lambda place: io.BufferedReader(place.opened(buffering=0), 100),
    "file of a descriptor": lambda place: place.stack.enter_context(os.fdopen(os.dup(place.opened().fileno()), "rb")),
    "file to append to": of_append,
    "file that is not written out": of_unwritten,
    "temporary file": of_temporary_file,
    "spooled file": of_spooled_file,
    "spooled file on the disk": of_rolled_file,
    "map": of_map,
    "gzip": lambda place: place.compressed(gzip),
    "bz2": lambda place: place.compressed(bz2),
    "lzma": lambda place: place.compressed(lzma),
    "zip": of_zip,
    "zip that cannot seek": of_zip_that_cannot_seek,
    "tar": of_tar,
    "tar.gz": lambda place: of_tar(place, "r:gz"),
    "tar from a stream": lambda place: of_tar(place, "r|"),
    "tar.gz from a stream": lambda place: of_tar(place, "r|gz"),
    "own raw file": lambda _: Raw(),
    "own raw file that cannot seek": lambda _: Raw(None),
    "buffered reader of an own one": lambda _: io.BufferedReader(Raw(), 100),
    "buffered reader of an own one that cannot seek": lambda _: io.BufferedReader(Raw(None), 100),
    "output of a program": of_pipe,
    "output of a program, unbuffered": of_raw_pipe,
    "socket": lambda place: place.stack.enter_context(place.socket().makefile("rb")),
    "HTTP response": of_response,
    "urllib3 response": of_urllib3,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_is_stored_from_where_it_stands(faulty: FaultyServer, tmp_path: Path, kind: str) -> None:
    for position in (0, *MIDDLES, len(CONTENT)):
        with ExitStack() as stack:
            file = KINDS[kind](Place(stack, tmp_path / "file"))
            left = position
            while left:
                left -= len(file.read(left))
            info = await put(faulty, file)
            assert faulty.content("bucket", "a") == CONTENT[position:]
            assert info.verified == ("parts" if len(CONTENT) - position > PART else "md5")


@pytest.mark.parametrize("kind", ["BytesIO", "buffered file", "raw file", "map", "gzip", "zip", "own raw file"])
async def test_a_file_that_was_sought_is_stored_from_there(faulty: FaultyServer, tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        file = KINDS[kind](Place(stack, tmp_path / "file"))
        for position in (len(CONTENT), 70_000, 0):
            file.seek(position)
            await put(faulty, file)
            assert faulty.content("bucket", "a") == CONTENT[position:]
        if kind != "map":
            file.seek(len(CONTENT) + 5)
            await put(faulty, file)
            assert faulty.content("bucket", "a") == b""


async def test_a_file_that_the_system_makes_up_is_stored(faulty: FaultyServer) -> None:
    """It says that it has no bytes, and that it cannot seek to its end."""
    path = Path("/proc/self/mountinfo")
    with path.open("rb") as file:  # noqa: ASYNC230 - it does not block
        await put(faulty, file)
    assert faulty.content("bucket", "a") == path.read_bytes()


@pytest.mark.parametrize("position", [0, 1, 300_000, len(CONTENT) - 1, len(CONTENT)])
@pytest.mark.parametrize(
    ("compressed", "kind"),
    [
        (gzip.compress(CONTENT) + b"\n", gzip.BadGzipFile),
        (gzip.compress(CONTENT) + b"\n" * 100_000, gzip.BadGzipFile),
        (gzip.compress(CONTENT) * 2 + b"x", gzip.BadGzipFile),
        (gzip.compress(CONTENT)[:-1], EOFError),
        (gzip.compress(CONTENT)[:-8] + bytes(8), gzip.BadGzipFile),
    ],
    ids=["a newline behind it", "many newlines behind it", "twice, and a letter", "cut", "of other bytes"],
)
async def test_a_gzip_file_that_is_damaged_is_not_stored(
    faulty: FaultyServer, tmp_path: Path, compressed: bytes, kind: type[Exception], position: int
) -> None:
    faulty.put("bucket", "a", b"old")
    (tmp_path / "file.gz").write_bytes(compressed)
    with gzip.open(tmp_path / "file.gz") as file:
        if position < len(CONTENT):
            assert len(file.read(position)) == position
        with pytest.raises(kind):
            await put(faulty, file)
    assert faulty.content("bucket", "a") == b"old"


async def test_a_damaged_member_of_an_archive_is_not_stored(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.put("bucket", "a", b"old")
    with zipfile.ZipFile(tmp_path / "file.zip", "w") as archive:
        archive.writestr("member", CONTENT)
    damaged = (tmp_path / "file.zip").read_bytes().replace(CONTENT[-100:], bytes(100), 1)
    with zipfile.ZipFile(io.BytesIO(damaged)) as archive:
        for position in (0, 1000):
            with archive.open("member") as file:
                file.read(position)
                with pytest.raises(zipfile.BadZipFile, match="Bad CRC"):
                    await put(faulty, file)
    assert faulty.content("bucket", "a") == b"old"


# Files that say other things than they do


def fails(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


class File:
    """A good file. ``name=function`` replaces one of its methods; ``name=None`` takes it away."""

    name = "own.bin"

    def __init__(self, *, position: int = 0, **methods: Any) -> None:
        self.inner = io.BytesIO(CONTENT)
        self.inner.seek(position)
        for method in ("read", "readinto", "seek", "tell", "seekable"):
            setattr(self, method, getattr(self.inner, method))
        for method, replacement in methods.items():
            if replacement is None:
                delattr(self, method)
            else:
                setattr(self, method, replacement)

    def seeks_to_the_end_only(self, *, then: Callable[[], object] = lambda: None) -> Callable[[int, int], object]:
        def seek(offset: int, whence: int = os.SEEK_SET) -> object:
            return self.inner.seek(offset, whence) if whence == os.SEEK_END else then()

        return seek

    def goes_one_too_far(self) -> Callable[[int, int], object]:
        def seek(offset: int, whence: int = os.SEEK_SET) -> object:
            return self.inner.seek(offset + (whence == os.SEEK_SET), whence)

        return seek

    def fails_at_the_end(self, error: Exception, *, moves: bool) -> Callable[[int, int], object]:
        def seek(offset: int, whence: int = os.SEEK_SET) -> object:
            if whence == os.SEEK_END:
                self.inner.seek(offset if moves else self.inner.tell(), whence if moves else os.SEEK_SET)
                raise error
            return self.inner.seek(offset, whence)

        return seek


def with_seek(make: Callable[[File], Callable[[int, int], object]], **given: Any) -> File:
    file = File(**given)
    file.seek = make(file)  # type: ignore[attr-defined]  # it is set from outside
    return file


def unsupported() -> Exception:
    return io.UnsupportedOperation("not this file")


def of_errno(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Delegating:
    """A wrapper around what has a ``read`` and nothing else."""

    def __init__(self, position: int) -> None:
        self._inner = File(position=position, seek=None, tell=None, seekable=None, readinto=None)

    def read(self, size: int) -> Any:
        return self._inner.read(size)  # type: ignore[attr-defined]  # it is set from outside

    def seekable(self) -> Any:
        return self._inner.seekable()  # type: ignore[attr-defined]  # there is none, and that is the test

    def fileno(self) -> Any:
        return self._inner.fileno()  # type: ignore[attr-defined]  # the same


class DelegatingReadinto(File):
    """Its ``readinto`` is one of a file that has none."""

    def __init__(self, position: int) -> None:
        super().__init__(position=position, readinto=None)

    def __getattr__(self, name: str) -> Any:
        if name == "readinto":
            return fails(AttributeError("'Inner' object has no attribute 'readinto'", name="readinto", obj=None))
        raise AttributeError(name)


ODD: dict[str, Callable[[int], Any]] = {
    "seekable() is False, and seek() raises": lambda at: File(
        position=at, seekable=lambda: False, seek=fails(OwnError())
    ),
    "seekable() is False, and seek() does not go back": lambda at: with_seek(
        File.seeks_to_the_end_only, position=at, seekable=lambda: False
    ),
    "seekable() is False, and tell() raises": lambda at: File(
        position=at, seekable=lambda: False, tell=fails(OwnError())
    ),
    "seekable() is None": lambda at: File(position=at, seekable=lambda: None, seek=fails(OwnError())),
    "no seekable(), and seek() does not go back": lambda at: with_seek(
        File.seeks_to_the_end_only, position=at, seekable=None
    ),
    "seekable() is not supported": lambda at: File(position=at, seekable=fails(unsupported()), seek=fails(OwnError())),
    "seekable() is an OSError": lambda at: File(position=at, seekable=fails(of_errno(errno.EBADF))),
    "tell() is not supported": lambda at: File(position=at, tell=fails(unsupported()), seek=fails(OwnError())),
    "tell() is an OSError": lambda at: File(position=at, tell=fails(of_errno(errno.ESPIPE)), seek=fails(OwnError())),
    "no tell()": lambda at: File(position=at, tell=None, seek=fails(OwnError())),
    "no seek()": lambda at: File(position=at, seek=None),
    "only read()": lambda at: File(position=at, seek=None, tell=None, seekable=None, readinto=None),
    "seek() returns None": lambda at: with_seek(
        lambda file: lambda *given: file.inner.seek(*given) and None, position=at
    ),
    "seek() returns nonsense": lambda at: with_seek(lambda file: lambda *given: -file.inner.seek(*given), position=at),
    "seek() is not supported": lambda at: with_seek(
        lambda file: file.fails_at_the_end(unsupported(), moves=False), position=at
    ),
    "seek() is not supported once it moved": lambda at: with_seek(
        lambda file: file.fails_at_the_end(unsupported(), moves=True), position=at
    ),
    "seek() is illegal": lambda at: with_seek(
        lambda file: file.fails_at_the_end(of_errno(errno.ESPIPE), moves=True), position=at
    ),
    "seek() is invalid": lambda at: with_seek(
        lambda file: file.fails_at_the_end(of_errno(errno.EINVAL), moves=False), position=at
    ),
    "fileno() is not supported": lambda at: File(position=at, fileno=fails(unsupported())),
    "fileno() is None": lambda at: File(position=at, fileno=lambda: None),
    "fileno() is no descriptor": lambda at: File(position=at, fileno=lambda: -1),
    "a wrapper around read()": Delegating,
    "a wrapper around a file without readinto()": DelegatingReadinto,
}


@pytest.mark.parametrize("position", [0, 70_000, len(CONTENT)])
@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_file_is_stored_from_where_it_stands(faulty: FaultyServer, odd: str, position: int) -> None:
    await put(faulty, ODD[odd](position))
    assert faulty.content("bucket", "a") == CONTENT[position:]


LOST: dict[str, Callable[[], File]] = {
    "silently": lambda: with_seek(File.seeks_to_the_end_only, position=70_000),
    "with an error": lambda: with_seek(
        lambda file: file.seeks_to_the_end_only(then=fails(OwnError("no way back"))), position=70_000
    ),
    "with an OSError": lambda: with_seek(
        lambda file: file.seeks_to_the_end_only(then=fails(unsupported())), position=70_000
    ),
    "elsewhere": lambda: with_seek(File.goes_one_too_far, position=70_000),
}


@pytest.mark.parametrize("how", LOST)
async def test_a_file_that_does_not_go_back_is_refused(faulty: FaultyServer, how: str) -> None:
    faulty.put("bucket", "a", b"old")
    message = r"the file 'own\.bin' was at byte 70,000\. .* did not go back.* Make its seekable\(\) return False"
    with pytest.raises(
        (ValueError, OwnError), match=message
    ) as caught:  # a note, where the file raises an error of its own
        await put(faulty, LOST[how]())
    kinds = {"with an error": OwnError, "with an OSError": io.UnsupportedOperation}
    assert type(caught.value) is kinds.get(how, ValueError)
    assert faulty.content("bucket", "a") == b"old"


async def test_a_file_that_lost_its_place_by_an_unsupported_seek_is_refused(faulty: FaultyServer) -> None:
    """The seek that failed moved it, and it does not go back."""
    faulty.put("bucket", "a", b"old")

    def make(file: File) -> Callable[[int, int], object]:
        def seek(_: int, whence: int = os.SEEK_SET) -> object:
            file.inner.seek(0, os.SEEK_END)
            raise io.UnsupportedOperation(str(whence))

        return seek

    with pytest.raises(ValueError, match="did not go back"):
        await put(faulty, with_seek(make))
    assert faulty.content("bucket", "a") == b"old"


ERRORS: list[Callable[[], Exception]] = [
    OwnError,
    lambda: AttributeError("'Inner' object has no attribute 'other'", name="other", obj=None),
    lambda: ValueError("I/O operation on closed file"),
    lambda: TypeError("own"),
    lambda: RuntimeError("own"),
]


@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
@pytest.mark.parametrize("method", ["seekable", "tell", "seek", "fileno", "readinto", "read"])
async def test_what_a_file_raises_is_raised_as_itself(
    faulty: FaultyServer, method: str, make: Callable[[], Exception]
) -> None:
    faulty.put("bucket", "a", b"old")
    failure = make()
    others: dict[str, Any] = {"readinto": None} if method == "read" else {}
    with pytest.raises(type(failure)) as caught:
        await put(faulty, File(**others | {method: fails(failure)}))
    assert caught.value is failure
    assert faulty.content("bucket", "a") == b"old"


@pytest.mark.parametrize("method", ["seek", "readinto", "read"])
async def test_a_disk_that_fails_is_told(faulty: FaultyServer, method: str) -> None:
    failure = of_errno(errno.EIO)
    others: dict[str, Any] = {"readinto": None} if method == "read" else {}
    with pytest.raises(OSError, match="Input/output") as caught:
        await put(faulty, File(**others | {method: fails(failure)}))
    assert caught.value is failure
    assert faulty.content("bucket", "a") is None


@pytest.mark.parametrize("readinto", [True, False])
@pytest.mark.parametrize("more", [-1, 1, 1000, -len(CONTENT)])
@pytest.mark.parametrize("position", [0, len(CONTENT) - 1000])
async def test_a_file_that_gives_more_or_less_than_it_said_is_a_changed_one(
    faulty: FaultyServer, more: int, position: int, *, readinto: bool
) -> None:
    faulty.put("bucket", "a", b"old")
    methods = {} if readinto else {"readinto": None}
    file = File(position=position, **methods)
    file.tell = lambda: file.inner.tell() - more * (file.inner.tell() == len(CONTENT))  # type: ignore[attr-defined]
    with pytest.raises(dream.SourceChangedError, match=r"the file 'own\.bin' changed while it was sent"):
        await put(faulty, file)
    assert faulty.content("bucket", "a") == b"old"


async def test_a_file_of_which_only_reading_is_to_be_awaited_is_not_sought(faulty: FaultyServer) -> None:
    """Plain functions around a file whose ``seek`` is a coroutine function: no coroutine is left without an await."""

    class Wrapped:
        def __init__(self, reader: dream.ObjectReader) -> None:
            self._reader = reader

        def read(self, size: int) -> Any:
            return self._reader.read(size)

        def seek(self, offset: int, whence: int = os.SEEK_SET) -> Any:
            return self._reader.seek(offset, whence)

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return self._reader.tell()

    faulty.put("bucket", "source", CONTENT)
    async with faulty.session() as session, session.object("s3://bucket/source").reader() as reader:
        await reader.seek(70_000)
        wrapped: Any = Wrapped(reader)
        await session.object("s3://bucket/a").put(wrapped)
    assert faulty.content("bucket", "a") == CONTENT[70_000:]


@pytest.mark.parametrize("text", ["", "text"])
async def test_text_is_refused_whatever_holds_it(faulty: FaultyServer, tmp_path: Path, text: str) -> None:
    faulty.put("bucket", "a", b"old")
    (tmp_path / "text").write_text(text)
    with (
        (tmp_path / "text").open() as file,
        gzip.open(io.BytesIO(gzip.compress(text.encode())), "rt") as compressed,
        tempfile.SpooledTemporaryFile(mode="w+") as spooled,
        tempfile.NamedTemporaryFile("w+") as named,
    ):
        for temporary in (spooled, named):
            temporary.write(text)
            temporary.seek(0)
        for given in (file, compressed, spooled, named, io.StringIO(text)):
            with pytest.raises(
                TypeError, match=r"text mode; open it with 'rb'|returned str at byte 0; it must return bytes"
            ):
                await put(faulty, given)
    assert faulty.content("bucket", "a") == b"old"


async def test_standard_input_that_is_a_file_or_a_pipe_is_stored(faulty: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    program = """
import asyncio, sys
import aiodreamobjects as dream
async def main():
    keys = dict(access_key=sys.argv[2], secret_key=sys.argv[3], region=sys.argv[4])
    async with dream.Session(endpoint=sys.argv[1], **keys) as session:
        await session.object("s3://bucket/a").put(sys.stdin.buffer)
asyncio.run(main())
"""
    keys = (faulty.endpoint, faulty.access_key, faulty.secret_key, faulty.region)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.seek(70_000)
        first = await asyncio.create_subprocess_exec(sys.executable, "-c", program, *keys, stdin=file)
        assert await first.wait() == 0
    assert faulty.content("bucket", "a") == CONTENT[70_000:]
    second = await asyncio.create_subprocess_exec(sys.executable, "-c", program, *keys, stdin=asyncio.subprocess.PIPE)
    await second.communicate(CONTENT)
    assert second.returncode == 0
    assert faulty.content("bucket", "a") == CONTENT
