"""Read the content of an upload into memory, from bytes, paths, files, iterables and bodies."""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import logging
import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar, cast

import aiofiles
from aiofiles.base import AsyncBase

from aiodreamobjects._concurrency import finish, in_thread, naming_lack_of_threads
from aiodreamobjects._errors import SourceChangedError
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._transfer.body import Body
from aiodreamobjects._transfer.content_types import content_type_of

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncFileIO

T = TypeVar("T")

BLOCKED_SECONDS = 1.0
CLOSE_GRACE_SECONDS = 10.0
"""Closing a source may take this long after its caller is cancelled."""
READ_BYTES = 1 << 20
"""The largest ``read`` from a file without ``readinto``. Each read allocates its own bytes."""
_CANNOT_SEEK = {errno.ESPIPE, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Error numbers of a file that cannot seek to its end. Files below ``/proc`` raise EINVAL."""

_log = logging.getLogger("aiodreamobjects")


class BinaryFile(Protocol):
    """An open binary file, or any object with the same ``read``."""

    def read(self, size: int, /) -> bytes: ...


class AsyncBinaryFile(Protocol):
    """A binary aiofiles file, or any object with the same ``read``."""

    def read(self, size: int, /) -> Awaitable[bytes]: ...


Opener: TypeAlias = Callable[[str, int], int]

Uploadable: TypeAlias = (
    str | Buffer | os.PathLike[str] | BinaryFile | AsyncBinaryFile | Iterable[Buffer] | AsyncIterable[Buffer] | Body
)


class Source(ABC):
    """The bytes to send, in order."""

    size: int | None = None
    """The number of all bytes. None if it is not known beforehand."""
    what: str
    """The name of the source in error messages."""
    close_grace: float | None = None
    """How many seconds closing may take after the caller is cancelled. None if closing always ends by itself."""

    def __init__(self) -> None:
        self.position = 0
        self._kept: deque[memoryview] = deque()

    async def fill(self, memory: memoryview) -> int:
        """Fill the memory with the next bytes, or less of it at the end. Return how many bytes were written into it."""
        count = 0
        while self._kept and count < len(memory):
            count += self._copy_chunk(self._kept.popleft(), memory[count:])
        self.position += count
        if count < len(memory):
            added = await self._read_into(memory[count:])
            self.position += added
            count += added
        return count

    def push_back(self, data: Buffer) -> None:
        """Return these bytes once more with the next ``fill``."""
        self._kept.appendleft(memoryview(data))
        self.position -= len(data)

    async def is_at_end(self) -> bool:
        if self._kept:
            return False
        probe = bytearray(1)
        count = await self.fill(memoryview(probe))
        if count:
            self.push_back(probe)
        return not count

    def _copy_chunk(self, data: memoryview, memory: memoryview) -> int:
        """Copy a chunk into the memory. Keep the part that does not fit for the next ``fill``."""
        count = min(len(data), len(memory))
        memory[:count] = data[:count]
        if count < len(data):
            self._kept.appendleft(data[count:])
        return count

    async def check_end(self) -> None:
        """Raise SourceChangedError if the source became shorter, longer or otherwise different while it was sent."""
        if self.size is not None and self.position < self.size:
            msg = f"{self.what} changed while it was sent: it ends at byte {self.position:,} of {self.size:,}"
            raise SourceChangedError(msg)
        if not await self.is_at_end():
            msg = f"{self.what} changed while it was sent: it is longer than the {self.position:,} bytes it had before"
            raise SourceChangedError(msg)

    @abstractmethod
    async def _read_into(self, memory: memoryview) -> int:
        """Read up to ``len(memory)`` bytes, fewer only at the end. Return how many."""

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        pass


@asynccontextmanager
async def open_source(given: Uploadable, opener: Opener | None = None) -> AsyncIterator[Source]:
    """Open a source, and close it at the end of the ``async with``. ``opener`` opens a path, as in the builtin ``open``.

    Raise TypeError or ValueError for an object that cannot be uploaded, and OSError for a path that cannot be opened.
    """
    source = await PathSource.open(given, opener) if isinstance(given, os.PathLike) else await _source_of(given)
    try:
        yield source
    finally:
        await finish(_close(source), grace=source.close_grace)


async def _close(source: Source) -> None:
    """Close a source, and only log its errors: the transfer already has its own result.

    This runs in its own task. So a CancelledError here comes from the source. ``finish`` raises the caller's one.
    """
    try:
        await source.aclose()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - users' clean-up can raise anything
        _log.warning("%s could not be closed: %s", source.what, repr(error))


async def _source_of(given: object) -> Source:
    if isinstance(given, bytes | bytearray | memoryview):
        return HeldSource(given)
    if isinstance(given, io.TextIOBase):
        msg = "the file is open in text mode; open it with 'rb'"
        raise TypeError(msg)
    if isinstance(given, Body):
        return BodySource(given)
    if isinstance(given, AsyncBase) and hasattr(given, "readinto"):
        return await AiofilesSource.of(cast("AsyncFileIO", given))
    if callable(getattr(given, "read", None)):
        return await FileSource.of(cast(BinaryFile, given))
    if isinstance(given, AsyncIterable):
        return AsyncChunksSource(given)
    if isinstance(given, Iterable) and not isinstance(given, dict):
        return ChunksSource(given)
    msg = f"put takes str, bytes, a Path, a binary file or an iterable of bytes, not {type(given).__name__}"
    if inspect.isawaitable(given):
        msg += ": is an 'await' missing?"
    raise TypeError(msg)


class HeldSource(Source):
    """Bytes in the caller's memory. They are sent from there without a copy."""

    what = "the bytes"

    def __init__(self, data: Buffer) -> None:
        super().__init__()
        self._data = as_bytes(data)
        self.size = len(self._data)

    def take(self, size: int) -> memoryview:
        self.position += size
        return self._data[self.position - size : self.position]

    async def _read_into(self, memory: memoryview) -> int:
        data = self._data[self.position : self.position + len(memory)]
        memory[: len(data)] = data
        return len(data)


class AiofilesSource(Source):
    """An aiofiles file, from its current position. A change of a regular file during the upload is detected."""

    def __init__(self, what: str, file: AsyncFileIO, size: int | None, found: os.stat_result | None) -> None:
        super().__init__()
        self.what, self._file, self._found = what, file, found
        self.size = size

    @classmethod
    async def of(cls, file: AsyncFileIO) -> Self:
        what = _name_of(file)
        await finish(file.flush())
        found = await in_thread(_stat_of, file)
        size = None if found is None else max(0, found.st_size - await file.tell())
        return cls(what, file, size, found)

    async def check_end(self) -> None:
        await super().check_end()
        await in_thread(_check_unchanged, self.what, self._file, self._found)

    async def _read_into(self, memory: memoryview) -> int:
        """Read to the end even if the caller is cancelled: an abandoned thread would write into reused memory."""
        return await finish(_read_fully(self.what, self._file.readinto, memory))


async def _read_fully(what: str, readinto: Callable[[memoryview], Awaitable[int | None]], memory: memoryview) -> int:
    """Read until the memory is full or nothing comes. A short read is not yet the end of a file."""
    position = 0
    while position < len(memory):
        room = memory[position:]
        if not (count := _checked_count(what, await readinto(room), len(room))):
            break
        position += count
    return position


def _checked_count(what: str, count: int | None, room: int) -> int:
    """Return the result of a ``readinto``, or raise OSError if it is impossible."""
    if count is None:
        raise BlockingIOError(_NOTHING_TO_READ.format(what))
    if not 0 <= count <= room:
        msg = f"{what}: readinto() returned {count} for a buffer of {room} bytes"
        raise OSError(errno.EIO, msg)
    return count


_NOTHING_TO_READ = "{} is non-blocking and has nothing to read yet; open it in blocking mode"


class PathSource(AiofilesSource):
    """A regular file, given by its path."""

    def __init__(self, path: str, file: AsyncFileIO, found: os.stat_result, content_type: str | None) -> None:
        super().__init__(path, file, found.st_size, found)
        self.path, self.mtime_ns = path, found.st_mtime_ns
        self.content_type = content_type
        """Guessed from the name."""

    @classmethod
    async def open(cls, path: str | os.PathLike[str], opener: Opener | None = None) -> PathSource:
        """Open a regular file. Raise OSError if that fails or it is a directory, ValueError for a FIFO, socket or device."""
        name = os.fspath(path)
        file: AsyncFileIO | None = None
        found: os.stat_result

        def open_now(path: str, flags: int) -> int:
            nonlocal found
            if opener is None:
                _check_regular(name, os.stat(name).st_mode)  # noqa: PTH116 - before opening, which would block on a FIFO
            descriptor = os.open(path, flags) if opener is None else opener(path, flags)
            found = os.fstat(descriptor)
            return descriptor

        async def open_it() -> PathSource:
            nonlocal file
            with naming_lack_of_threads():
                file = await aiofiles.open(name, "rb", buffering=0, opener=open_now)
            _check_regular(name, found.st_mode)
            return cls(name, file, found, content_type_of(name))

        try:
            return await finish(open_it())
        except BaseException:
            if file is not None:
                await finish(file.close())
            raise

    async def aclose(self) -> None:
        await self._file.close()


def _check_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        msg = f"{path} is not a regular file; open it yourself and pass the open file to put()"
        raise ValueError(msg)


class FileSource(Source):
    """An open binary file, from its current position. It is read in threads, or awaited if its ``read`` is async."""

    def __init__(self, file: BinaryFile, size: int | None, found: os.stat_result | None) -> None:
        super().__init__()
        self.what = _name_of(file)
        self._file, self._found = file, found
        self.size = size
        self._is_async = inspect.iscoroutinefunction(file.read)
        self._readinto: Callable[[memoryview], int | None] | None = getattr(file, "readinto", None)

    @classmethod
    async def of(cls, file: BinaryFile) -> FileSource:
        if inspect.iscoroutinefunction(file.read):
            return cls(file, None, None)

        def inspected() -> FileSource:
            size = _size_of(file)  # before the stat: seeking flushes the file's buffer, which changes size and time
            return cls(file, size, _stat_of(file))

        return await finish(in_thread(inspected))

    async def check_end(self) -> None:
        await super().check_end()
        await in_thread(_check_unchanged, self.what, self._file, self._found)

    async def _read_into(self, memory: memoryview) -> int:
        if self.size is not None and self._readinto is not None:
            try:
                return await finish(in_thread(self._read_fully, self._readinto, memory))
            except AttributeError as error:
                if error.name != "readinto" or self.position:
                    raise
                self._readinto = None  # the file wraps another one, which only has read()
        position = 0
        while position < len(memory):
            given = await self._read(min(len(memory) - position, READ_BYTES))
            if not (data := _checked(given, self.what, self.position + position)):
                break
            position += self._copy_chunk(data, memory[position:])
        return position

    async def _read(self, size: int) -> object:
        if self._is_async:
            data: object = await cast(AsyncBinaryFile, self._file).read(size)
        else:
            data = await _in_thread_of_its_own(lambda: self._file.read(size))
            if inspect.isawaitable(data):
                self._is_async = True
                data = await data
        if data is None:
            raise BlockingIOError(_NOTHING_TO_READ.format(self.what))
        return data

    def _read_fully(self, readinto: Callable[[memoryview], int | None], memory: memoryview) -> int:
        position = 0
        while position < len(memory):
            room = memory[position:]
            if not (count := _checked_count(self.what, readinto(room), len(room))):
                break
            position += count
        return position


def _name_of(file: object) -> str:
    name = getattr(file, "name", None)  # a file opened by descriptor has its number as name
    return f"the file {name if name and not isinstance(name, int) else type(file).__name__!r}"


def _stat_of(file: object) -> os.stat_result | None:
    """Return the stat of a regular file on disk, or None for any other file."""
    descriptor = _call_if_supported(file, "fileno")
    if not isinstance(descriptor, int):
        return None
    try:
        found = os.fstat(descriptor)
    except (OSError, OverflowError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _check_unchanged(what: str, file: object, before: os.stat_result | None) -> None:
    now = _stat_of(file) if before is not None else None
    if now and before and (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        msg = f"{what} changed while it was sent: its size or modification time is another one"
        raise SourceChangedError(msg)


def _size_of(file: object) -> int | None:
    """Return how many bytes are left from the file's position to its end. Return None if it cannot seek.

    The file is back at its position when this returns. If it cannot go back, the object would lack its beginning: raise
    ValueError, or the file's own error. The position comes from ``tell()``, because ``seek()`` of an mmap returns None on
    Python 3.12.
    """
    here = _call_if_supported(file, "tell") if _call_if_supported(file, "seekable") else None
    if not isinstance(here, int) or not callable(getattr(file, "seek", None)):
        return None
    failure: Exception | None = None
    end: object = None
    try:
        if not _seek(file, 0, os.SEEK_END):
            return None
        end = file.tell()  # type: ignore[attr-defined]  # it was called before
    except Exception as error:  # noqa: BLE001 - raised below, when the file is back at its position
        failure = error
    back: object = None
    lost: Exception | None = None
    try:
        _seek(file, here)
        back = file.tell()  # type: ignore[attr-defined]  # the same
    except Exception as error:  # noqa: BLE001 - the cause of the ValueError below
        lost = error
    if failure is not None and not _says_unsupported(failure):
        raise failure
    if back != here:
        msg = (
            f"{_name_of(file)} was at byte {here:,}. It was moved to its end to find its size, and then did not go back"
            f"{'' if lost else f' (it is at {back!r})'}. Make its seekable() return False:"
            " then it is read from its position, without seeking"
        )
        if lost is not None:
            lost.add_note(msg)
            raise lost
        raise ValueError(msg) from failure
    return max(0, end - here) if failure is None and isinstance(end, int) else None


def _call_if_supported(file: object, name: str) -> object:
    """Call this method of the file and return its result. Return None if the file does not have or support it."""
    try:
        method = getattr(file, name)
        found: object = method() if callable(method) else None
    except AttributeError as error:
        if error.name != name:
            raise
        return None
    except OSError:
        return None
    return None if _discards_awaitable(found) else found


def _seek(file: object, position: int, whence: int = os.SEEK_SET) -> bool:
    """Seek, and return whether the file moved. A ``seek`` that must be awaited moves nothing here."""
    return not _discards_awaitable(file.seek(position, whence))  # type: ignore[attr-defined]  # the caller checked it


def _discards_awaitable(result: object) -> bool:
    """Return whether a result must be awaited. If it is a coroutine, close it, because nobody will await it."""
    if inspect.iscoroutine(result):
        result.close()
    return inspect.isawaitable(result)


def _says_unsupported(error: Exception) -> bool:
    if isinstance(error, AttributeError):
        return error.name in {"seek", "tell"}
    return isinstance(error, io.UnsupportedOperation) or (isinstance(error, OSError) and error.errno in _CANNOT_SEEK)


async def _in_thread_of_its_own(work: Callable[[], T]) -> T:
    """Run work that may block forever. After a cancellation, wait one second for it, then abandon the thread."""
    return await finish(in_thread(work, abandon_on_cancel=True), grace=BLOCKED_SECONDS)


class BodySource(Source):
    """The bytes of another object, as they arrive."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.what, self._body = f"{body!r}", body
        self.size = body.remaining

    async def _read_into(self, memory: memoryview) -> int:
        return await self._body.readinto(memory)


class ChunksSource(Source):
    """An iterable of bytes. It is consumed in a thread, because it may block."""

    what = "the iterable"
    close_grace = CLOSE_GRACE_SECONDS

    def __init__(self, chunks: Iterable[object]) -> None:
        super().__init__()
        self._chunks: Iterator[object] = iter(chunks)

    async def _read_into(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory):
            wanted = min(len(memory) - position, READ_BYTES)
            chunks = await _in_thread_of_its_own(partial(self._next_chunks, wanted, self.position + position))
            if not chunks:
                break
            for number, chunk in enumerate(chunks):
                if position == len(memory):
                    self._kept.extend(chunks[number:])
                    break
                position += self._copy_chunk(chunk, memory[position:])
        return position

    def _next_chunks(self, wanted: int, position: int) -> list[memoryview]:
        """Return chunks with at least ``wanted`` bytes, or what is left. Return an empty list at the end."""
        chunks: list[memoryview] = []
        count = 0
        while count < wanted and (chunk := next(self._chunks, _END)) is not _END:
            chunks.append(_checked(chunk, self.what, position + count))
            count += len(chunks[-1])
        return chunks

    async def aclose(self) -> None:
        chunks = self._chunks
        if inspect.isgenerator(chunks) and not chunks.gi_running:  # an abandoned thread may still be running it
            await in_thread(chunks.close, abandon_on_cancel=True)


class AsyncChunksSource(Source):
    """An async-iterable of bytes."""

    what = "the async iterable"
    close_grace = CLOSE_GRACE_SECONDS

    def __init__(self, chunks: AsyncIterable[object]) -> None:
        super().__init__()
        self._chunks = aiter(chunks)

    async def _read_into(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory):
            chunk = await anext(self._chunks, _END)
            if chunk is _END:
                break
            data = _checked(chunk, self.what, self.position + position)
            position += self._copy_chunk(data, memory[position:])
        return position

    async def aclose(self) -> None:
        if inspect.isasyncgen(self._chunks):
            await self._chunks.aclose()


_END = object()


def _checked(data: object, what: str, position: int) -> memoryview:
    """Return the chunk as bytes that cannot change. Copy it if it is not ``bytes``.

    Many sources reuse one buffer for all chunks. A read-only view is not safe either: its buffer may be a bytearray.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        msg = f"{what} returned {type(data).__name__} at byte {position:,}; it must return bytes"
        raise TypeError(msg)
    view = memoryview(data)
    stays = type(view.obj) is bytes and view.format == "B" and view.ndim == 1 and view.contiguous
    return view if stays else memoryview(view.tobytes())


def as_bytes(data: Buffer) -> memoryview:
    """Return a flat view of these bytes. Copy them first if they are not contiguous in memory."""
    view = memoryview(data)
    if view.c_contiguous and view.nbytes:
        with suppress(ValueError, NotImplementedError):  # memoryview cannot cast this item format
            return view.cast("B")
    return memoryview(view.tobytes())
