"""What can be uploaded, each as something that fills memory: bytes, paths, files of every kind, iterables, bodies."""

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
"""A source that is being closed may take this long after its caller is cancelled."""
READ_BYTES = 1 << 20
"""Asked of a file at once that gives its bytes in objects of its own."""
_CANNOT_SEEK = {errno.ESPIPE, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""How systems say that a file cannot seek to its end. Files below ``/proc`` answer EINVAL."""

_log = logging.getLogger("aiodreamobjects")


class BinaryFile(Protocol):
    """An open file in binary mode: whatever has its ``read``."""

    def read(self, size: int, /) -> bytes: ...


class AsyncBinaryFile(Protocol):
    """An aiofiles file in binary mode, or whatever has its ``read``."""

    def read(self, size: int, /) -> Awaitable[bytes]: ...


Opener: TypeAlias = Callable[[str, int], int]

Uploadable: TypeAlias = (
    str | Buffer | os.PathLike[str] | BinaryFile | AsyncBinaryFile | Iterable[Buffer] | AsyncIterable[Buffer] | Body
)


class Source(ABC):
    """Bytes to be sent, in order. ``size``: how many there are in all, where that is known beforehand."""

    size: int | None = None
    what: str
    """For the words of an error."""
    close_grace: float | None = None
    """How many seconds closing may take once the caller is cancelled; None where it always ends by itself."""

    def __init__(self) -> None:
        self.position = 0
        self._kept: deque[memoryview] = deque()

    async def fill(self, memory: memoryview) -> int:
        """The next bytes, as many as fit, and fewer only at the end; how many these were."""
        count = 0
        while self._kept and count < len(memory):
            count += self._take(self._kept.popleft(), memory[count:])
        self.position += count
        if count < len(memory):
            filled = await self._fill(memory[count:])
            self.position += filled
            count += filled
        return count

    def push_back(self, data: Buffer) -> None:
        """To be given again by the next ``fill``."""
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

    def _take(self, data: memoryview, memory: memoryview) -> int:
        """What does not fit is kept for the next ``fill``."""
        count = min(len(data), len(memory))
        memory[:count] = data[:count]
        if count < len(data):
            self._kept.appendleft(data[count:])
        return count

    async def check_end(self) -> None:
        """Raise SourceChangedError unless all of it was given, and it is still what it was."""
        if self.size is not None and self.position < self.size:
            msg = f"{self.what} changed while it was sent: it ends at byte {self.position:,} of {self.size:,}"
            raise SourceChangedError(msg)
        if not await self.is_at_end():
            msg = (
                f"{self.what} changed while it was sent: it goes on after byte {self.position:,}, where it had its end"
            )
            raise SourceChangedError(msg)

    @abstractmethod
    async def _fill(self, memory: memoryview) -> int: ...

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        pass


@asynccontextmanager
async def open_source(given: Uploadable, opener: Opener | None = None) -> AsyncIterator[Source]:
    """TypeError or ValueError for what cannot be uploaded; a path's own OSError. ``opener``: of a path, as ``open`` has it."""
    source = await PathSource.open(given, opener) if isinstance(given, os.PathLike) else await _source_of(given)
    try:
        yield source
    finally:
        await finish(_close(source), grace=source.close_grace)


async def _close(source: Source) -> None:
    """Log what a source raises while it is closed: the transfer has ended by now, well or with an error of its own.

    Runs in a task of its own. So a CancelledError here is not our caller's: ``finish`` raises that one.
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
    raise TypeError(msg)


class HeldSource(Source):
    """Bytes that the caller holds: nothing of them is copied."""

    what = "the bytes"

    def __init__(self, data: Buffer) -> None:
        super().__init__()
        self._data = as_bytes(data)
        self.size = len(self._data)

    def take(self, size: int) -> memoryview:
        self.position += size
        return self._data[self.position - size : self.position]

    async def _fill(self, memory: memoryview) -> int:
        data = self._data[self.position : self.position + len(memory)]
        memory[: len(data)] = data
        return len(data)


class AiofilesSource(Source):
    """An aiofiles file, from where it stands. That a regular one changes while it is read is noticed."""

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

    async def _fill(self, memory: memoryview) -> int:
        """To its end, whatever cancels the caller: a thread that is left alone would write into another's memory."""
        return await finish(_fill_from(self.what, self._file.readinto, memory))


async def _fill_from(what: str, readinto: Callable[[memoryview], Awaitable[int | None]], memory: memoryview) -> int:
    """A short read is not the end of a file."""
    position = 0
    while position < len(memory):
        room = memory[position:]
        if not (count := _counted(what, await readinto(room), len(room))):
            break
        position += count
    return position


def _counted(what: str, count: int | None, room: int) -> int:
    """The result of a ``readinto``, if it can be true."""
    if count is None:
        raise BlockingIOError(_NOTHING_TO_READ.format(what))
    if not 0 <= count <= room:
        msg = f"{what}: readinto() said that it read {count} bytes into a buffer of {room}"
        raise OSError(errno.EIO, msg)
    return count


_NOTHING_TO_READ = "{} does not block, and had nothing to read"


class PathSource(AiofilesSource):
    """A regular file by its name."""

    def __init__(self, path: str, file: AsyncFileIO, found: os.stat_result, content_type: str | None) -> None:
        super().__init__(path, file, found.st_size, found)
        self.path, self.mtime_ns = path, found.st_mtime_ns
        self.content_type = content_type
        """Guessed from the name."""

    @classmethod
    async def open(cls, path: str | os.PathLike[str], opener: Opener | None = None) -> PathSource:
        """OSError where it cannot be read; IsADirectoryError, or ValueError for a FIFO, a socket or a device."""
        name = os.fspath(path)
        file: AsyncFileIO | None = None

        async def open_it() -> PathSource:
            nonlocal file
            if opener is None:
                await in_thread(_look_at, name)
            with naming_lack_of_threads():
                file = await aiofiles.open(name, "rb", buffering=0, opener=opener)
            found = await in_thread(os.fstat, file.fileno())
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


def _look_at(path: str) -> None:
    _check_regular(path, os.stat(path).st_mode)  # noqa: PTH116 - a name, as it was given


def _check_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        msg = f"{path} is not a regular file; open it, and put() what you opened"
        raise ValueError(msg)


class FileSource(Source):
    """An open binary file, from where it stands, read in threads; or one whose ``read`` is to be awaited."""

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

        def looked_at() -> FileSource:
            size = _size_of(file)  # first: seeking writes out what the file has buffered
            return cls(file, size, _stat_of(file))

        return await finish(in_thread(looked_at))

    async def check_end(self) -> None:
        await super().check_end()
        await in_thread(_check_unchanged, self.what, self._file, self._found)

    async def _fill(self, memory: memoryview) -> int:
        if self.size is not None and self._readinto is not None:
            try:
                return await finish(in_thread(self._fill_in_thread, self._readinto, memory))
            except AttributeError as error:
                if error.name != "readinto" or self.position:
                    raise
                self._readinto = None  # the file is a wrapper around one that has only read()
        position = 0
        while position < len(memory):
            given = await self._read(min(len(memory) - position, READ_BYTES))
            if not (data := _checked(given, self.what, self.position + position)):
                break
            position += self._take(data, memory[position:])
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

    def _fill_in_thread(self, readinto: Callable[[memoryview], int | None], memory: memoryview) -> int:
        position = 0
        while position < len(memory):
            room = memory[position:]
            if not (count := _counted(self.what, readinto(room), len(room))):
                break
            position += count
        return position


def _name_of(file: object) -> str:
    name = getattr(file, "name", None)  # of what has no name, the number of its descriptor
    return f"the file {name if name and not isinstance(name, int) else type(file).__name__!r}"


def _stat_of(file: object) -> os.stat_result | None:
    """What a file on disk is, if it is a regular one."""
    descriptor = _ask(file, "fileno")
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
        msg = f"{what} changed while it was sent: it was written to"
        raise SourceChangedError(msg)


def _size_of(file: object) -> int | None:
    """How many bytes there are from where the file stands to its end; None where it cannot seek.

    The file stands where it stood when this returns. Where it does not go back the object would lack its beginning:
    ValueError, or what the file itself raises. Only ``tell()`` says where a file stands: what ``seek()`` returns is None for an mmap on Python 3.12.
    """
    here = _ask(file, "tell") if _ask(file, "seekable") else None
    if not isinstance(here, int) or not callable(getattr(file, "seek", None)):
        return None
    failure: Exception | None = None
    end: object = None
    try:
        if not _seek(file, 0, os.SEEK_END):
            return None
        end = file.tell()  # type: ignore[attr-defined]  # it was asked before
    except Exception as error:  # noqa: BLE001 - raised below, when the file is back
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
            f"{_name_of(file)} stood at byte {here:,}. Its size was looked for at its end, and then it did not go back"
            f"{'' if lost else f' (it stands at {back!r})'}. Make its seekable() return False:"
            " then it is read from where it stands, without seeking"
        )
        if lost is not None:
            lost.add_note(msg)
            raise lost
        raise ValueError(msg) from failure
    return max(0, end - here) if failure is None and isinstance(end, int) else None


def _ask(file: object, name: str) -> object:
    """What this method of the file returns. None where there is none, or the file does not support it."""
    try:
        method = getattr(file, name)
        found: object = method() if callable(method) else None
    except AttributeError as error:
        if error.name != name:
            raise
        return None
    except OSError:
        return None
    return None if _is_later(found) else found


def _seek(file: object, position: int, whence: int = os.SEEK_SET) -> bool:
    """False where the file seeks by an awaitable: nothing has moved then."""
    return not _is_later(file.seek(position, whence))  # type: ignore[attr-defined]  # its caller looked for it


def _is_later(result: object) -> bool:
    """Whether this is a result to be awaited. It is not going to be."""
    if inspect.iscoroutine(result):
        result.close()
    return inspect.isawaitable(result)


def _says_unsupported(error: Exception) -> bool:
    if isinstance(error, AttributeError):
        return error.name in {"seek", "tell"}
    return isinstance(error, io.UnsupportedOperation) or (isinstance(error, OSError) and error.errno in _CANNOT_SEEK)


async def _in_thread_of_its_own(work: Callable[[], T]) -> T:
    """What may block for as long as it likes: a cancelled caller waits a second for it, and then no more."""
    return await finish(in_thread(work, abandon_on_cancel=True), grace=BLOCKED_SECONDS)


class BodySource(Source):
    """Another object's bytes, as they arrive."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.what, self._body = f"{body!r}", body
        self.size = body.remaining

    async def _fill(self, memory: memoryview) -> int:
        return await self._body.readinto(memory)


class ChunksSource(Source):
    """An iterable of bytes, taken in a thread: it may do what blocks."""

    what = "the iterable"
    close_grace = CLOSE_GRACE_SECONDS

    def __init__(self, chunks: Iterable[object]) -> None:
        super().__init__()
        self._chunks: Iterator[object] = iter(chunks)

    async def _fill(self, memory: memoryview) -> int:
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
                position += self._take(chunk, memory[position:])
        return position

    def _next_chunks(self, wanted: int, position: int) -> list[memoryview]:
        """So many bytes, or a little more; none at the end."""
        chunks: list[memoryview] = []
        count = 0
        while count < wanted and (chunk := next(self._chunks, _END)) is not _END:
            chunks.append(_checked(chunk, self.what, position + count))
            count += len(chunks[-1])
        return chunks

    async def aclose(self) -> None:
        chunks = self._chunks
        if inspect.isgenerator(chunks) and not chunks.gi_running:  # else it is at work in a thread that was left to it
            await in_thread(chunks.close, abandon_on_cancel=True)


class AsyncChunksSource(Source):
    """An async-iterable of bytes."""

    what = "the async iterable"
    close_grace = CLOSE_GRACE_SECONDS

    def __init__(self, chunks: AsyncIterable[object]) -> None:
        super().__init__()
        self._chunks = aiter(chunks)

    async def _fill(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory):
            chunk = await anext(self._chunks, _END)
            if chunk is _END:
                break
            data = _checked(chunk, self.what, self.position + position)
            position += self._take(data, memory[position:])
        return position

    async def aclose(self) -> None:
        if inspect.isasyncgen(self._chunks):
            await self._chunks.aclose()


_END = object()


def _checked(data: object, what: str, position: int) -> memoryview:
    """The chunk, as bytes that stay as they are: what is not ``bytes`` is copied before its source is asked for more.

    Sources fill one buffer again and again. A read-only view is no promise, because its buffer may be a bytearray.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        msg = f"{what} gave {type(data).__name__} at byte {position:,}; it must give bytes"
        raise TypeError(msg)
    view = memoryview(data)
    stays = type(view.obj) is bytes and view.format == "B" and view.ndim == 1 and view.contiguous
    return view if stays else memoryview(view.tobytes())


def as_bytes(data: Buffer) -> memoryview:
    """A view of these bytes, one after the other; of a copy where they are not so in memory."""
    view = memoryview(data)
    if view.c_contiguous and view.nbytes:
        with suppress(ValueError, NotImplementedError):  # an item's format that memoryview cannot cast
            return view.cast("B")
    return memoryview(view.tobytes())
