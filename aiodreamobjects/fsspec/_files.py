"""Files: buffered ones for synchronous code, and streams for asynchronous code."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
import warnings
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiodreamobjects as dream
from aiodreamobjects.fsspec._border import AbstractAsyncStreamedFile, AbstractBufferedFile
from aiodreamobjects.fsspec._errors import os_error, translated
from aiodreamobjects.fsspec._sync import is_running, sync
from aiodreamobjects.fsspec._writes import options_of

if TYPE_CHECKING:
    from aiodreamobjects.fsspec._filesystem import DreamObjectsFileSystem

LEAST_BLOCK_BYTES = 5 << 20
"""The smallest part that S3 takes, except for the last one."""
FIRST_WINDOW_BYTES = 256 << 10
PART_SIZE_MARK = "part-size"
"""The library's own metadata of an object that was stored in parts."""


_TASKS: set[asyncio.Task[Any]] = set()
"""The event loop itself would let its tasks be collected."""


class _DiscardedError(Exception):
    """Ends a writer without storing anything."""


class Upload:
    """The content of one object on its way: held until it is too large for one request, then a multipart upload."""

    def __init__(
        self, fs: DreamObjectsFileSystem, path: str, options: Mapping[str, Any], base: dream.ObjectInfo | None
    ) -> None:
        self._fs, self._path, self._options = fs, path, options
        self._base = base
        self._context: AbstractAsyncContextManager[dream.ObjectWriter] | None = None
        self._writer: dream.ObjectWriter | None = None

    @property
    def is_begun(self) -> bool:
        return self._writer is not None

    @translated
    async def write(self, data: bytes | memoryview) -> None:
        """Send some bytes. They are free for other use when this returns."""
        if self._writer is None:
            obj = await self._fs.object_at(self._path)
            self._context = obj.writer(**self._options)
            self._writer = await self._context.__aenter__()
            if self._base is not None:
                async with obj.get(if_match=self._base.etag) as body:
                    async for chunk in body:
                        await self._writer.write(chunk)
        await self._writer.write(data)

    @translated
    async def complete(self, rest: bytes | memoryview) -> dream.ObjectInfo:
        """Store the object: what was written, and ``rest``."""
        if self._writer is None and self._base is None:
            obj = await self._fs.object_at(self._path)
            info = await obj.put(rest, **self._options)
        else:
            if self._writer is None or rest:
                await self.write(rest)
            assert self._context is not None
            assert self._writer is not None
            context, self._context = self._context, None
            await context.__aexit__(None, None, None)
            info = self._writer.info
        self._fs.invalidate_cache(self._path)
        return info

    @translated
    async def discard(self) -> None:
        """Abort the upload, if it has begun."""
        context, self._context = self._context, None
        if context is not None:
            error = _DiscardedError()
            with suppress(_DiscardedError):
                await context.__aexit__(_DiscardedError, error, None)


class WholeFile(io.IOBase):
    """A file that stores nothing if its ``with`` block ends with an error."""

    def discard(self) -> None:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()


class DreamObjectsFile(WholeFile, AbstractBufferedFile):
    """An object as a file. Reading sees one state of it; what is written appears when the file is closed without an error."""

    fs: DreamObjectsFileSystem

    def __init__(
        self,
        fs: DreamObjectsFileSystem,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_type: str = "readahead",
        cache_options: dict[str, Any] | None = None,
        size: int | None = None,
        version_id: str | None = None,
        etag: str | None = None,
        **given: Any,
    ) -> None:
        self.closed = True  # until everything is checked: __del__ looks at it
        self._pid = os.getpid()
        self._error_at_opening = sys.exception()
        self._upload: Upload | None = None
        self.version_id = version_id
        self._etag = etag
        options: dict[str, Any] = {}
        base: dream.ObjectInfo | None = None
        if mode == "rb":
            if size is None:
                info = sync(fs.loop, fs._info(path, refresh=True, version_id=version_id))
                if info["type"] != "file":
                    raise os_error(errno.EISDIR, path)
                size, self._etag = info["size"], info["ETag"].strip('"')
                self._details = info
                if fs.version_aware:
                    self.version_id = info["VersionId"]
            given = {"version_id": self.version_id, "etag": self._etag}
        elif mode in ("wb", "xb", "ab"):
            if block_size is not None and block_size < LEAST_BLOCK_BYTES:
                msg = f"block_size {block_size:,} is too small to write: S3 takes parts of {LEAST_BLOCK_BYTES:,} bytes and more"
                raise ValueError(msg)
            chosen, given = options_of(given, "create" if mode == "xb" else "overwrite"), {}
            if mode == "xb" and sync(fs.loop, fs.has_object(path)):
                raise os_error(errno.EEXIST, path)
            if mode == "ab":
                base = sync(fs.loop, fs.head_or_none(path))
            options = {**fs.options_of_write({}), **_headers_of(base), **chosen}
        super().__init__(
            fs, path, mode, block_size or fs.default_block_size, autocommit, cache_type, cache_options, size, **given
        )
        if mode != "rb":
            self._upload = Upload(fs, path, options, base)
            self.loc = (base.size or 0) if base is not None else 0
            self._had_base = base is not None
            self._is_discarded = self._is_stored = False

    # Reading

    def _fetch_range(self, start: int, end: int) -> bytes:
        if end <= start:  # the mmap cache asks for what is beyond the end
            return b""
        return sync(self.fs.loop, self.fs.read_pinned(self.path, start, end, self._etag, self.version_id))

    # Writing. fsspec collects a block, and calls _upload_chunk when it is full and at the end.

    def _upload_chunk(self, final: bool = False) -> bool:
        assert self._upload is not None
        if not final:
            sync(self._own_loop(), self._upload.write(self._collected()))
            return True
        if self.autocommit:
            self.commit()
        return False

    def _collected(self) -> bytes:
        """Return what is in the buffer, without a copy.

        A view of it may stay in a traceback. Python 3.12.1 crashes when it collects both, and 3.13 complains.
        """
        return self.buffer.getvalue()

    def commit(self) -> None:
        """Store the object. A file opened with ``autocommit=False``, as in a transaction, waits for this."""
        if self._upload is None or self._is_stored:
            return
        if self._is_discarded:
            msg = f"{self.path}: the file was discarded, so there is nothing to store"
            raise ValueError(msg)
        if self._had_base and not self._upload.is_begun and not self.buffer.tell():
            return  # opened to append, and nothing was written
        info = sync(self._own_loop(), self._upload.complete(self._collected()))
        self._is_stored = True
        self.buffer = io.BytesIO()
        if self.fs.version_aware:
            self.version_id = info.version_id

    def discard(self) -> None:
        """Store nothing, and abort the upload if it has begun."""
        if self._upload is None or self._is_stored or self._is_discarded:
            return
        self._is_discarded, self.forced, self.closed = True, True, True
        self.buffer = io.BytesIO()
        if not self.autocommit and self.fs._intrans:
            with suppress(ValueError):
                self.fs.transaction.files.remove(self)
        if self._pid == os.getpid():
            sync(self._own_loop(), self._upload.discard())

    def _own_loop(self) -> asyncio.AbstractEventLoop | None:
        if self._pid != os.getpid():
            msg = f"{self.path} was opened for writing before this process was forked: write it in the process that opened it"
            raise OSError(errno.EBADF, msg)
        return self.fs.loop

    def url(self, **kwargs: Any) -> str:
        """Return a signed URL of the object."""
        found: str = self.fs.url(self.path, **kwargs)
        return found

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the object."""
        found: dict[str, str] = self.fs.metadata(self.path)
        return found

    def getxattr(self, xattr_name: str) -> str | None:
        """Return one value of the object's metadata, or None."""
        found: str | None = self.fs.getxattr(self.path, xattr_name)
        return found

    def setxattr(self, copy_kwargs: Any = None, **values: str | None) -> None:
        """Change values of the object's metadata; None removes one."""
        if self._upload is not None:
            msg = f"{self.path} is open for writing: give metadata=... to open() instead"
            raise NotImplementedError(msg)
        self.fs.setxattr(self.path, copy_kwargs=copy_kwargs, **values)

    def close(self) -> None:
        """Store the object, unless the file is closed because of an error in its ``with`` block."""
        if self.closed:
            return
        if self._upload is not None and _is_unwinding(self._error_at_opening):
            self.discard()
            return
        try:
            super().close()
        except BaseException:
            if self._upload is not None and not self._is_stored:
                with suppress(Exception):
                    self.discard()
            raise

    def __del__(self) -> None:
        if self.closed:
            return
        if self._upload is None:
            self.closed = True
            return
        if self._pid != os.getpid() or sys.is_finalizing():
            return
        _warn(self)
        if is_running(self.fs.loop):  # the collector may run in any thread
            _begin(self._upload.complete(self.buffer.getvalue()))
            self.closed = True
            return
        with suppress(Exception):
            self.close()


class TextFile(WholeFile, io.TextIOWrapper):
    """A text file on one that can be discarded, or on one that is read."""

    def discard(self) -> None:
        if isinstance(self.buffer, WholeFile):
            self.buffer.discard()


class CompressedFile(WholeFile, io.BufferedIOBase):
    """A compressing file that closes, or discards, the file that it writes to."""

    def __init__(self, compressing: Any, target: DreamObjectsFile) -> None:
        self._compressing, self._target = compressing, target

    def writable(self) -> bool:
        return not self.closed

    def write(self, data: Any) -> int:
        written: int = self._compressing.write(data)
        return written

    def flush(self) -> None:
        """Do nothing: a compressor writes what it holds when it is closed."""

    def tell(self) -> int:
        position: int = self._compressing.tell()
        return position

    def discard(self) -> None:
        self._target.discard()

    def close(self) -> None:
        if self.closed:
            return
        try:
            if not self._target.closed:
                self._compressing.close()
                self._target.close()
        finally:
            super().close()


class DreamObjectsAsyncFile(AbstractAsyncStreamedFile):
    """An object as a stream for asynchronous code: ``async with await fs.open_async(path, "wb") as file: await file.write(...)``."""

    fs: DreamObjectsFileSystem

    def __init__(
        self,
        fs: DreamObjectsFileSystem,
        path: str,
        mode: str,
        info: dict[str, Any] | None,
        block_size: int,
        options: Mapping[str, Any],
    ) -> None:
        self.fs, self.path, self.mode, self.blocksize = fs, path, mode, block_size
        self.loc = 0
        self.closed = False
        self._pid, self._loop = os.getpid(), asyncio.get_running_loop()
        self._held, self._held_at, self._window = b"", 0, FIRST_WINDOW_BYTES
        self._upload = None if mode == "rb" else Upload(fs, path, options, None)
        self._pending = bytearray()
        if info is not None:
            self.size = info["size"]
            self._details = info
            self._etag, self.version_id = info["ETag"].strip('"'), info["VersionId"]

    async def read(self, length: int = -1) -> bytes:
        """Return exactly ``length`` bytes, or fewer at the end; all the rest if it is negative."""
        self._check("rb")
        end = self.size if length is None or length < 0 else min(self.size, self.loc + length)
        if end <= self.loc:
            return b""
        offset = self.loc - self._held_at
        found = self._held[offset : offset + end - self.loc] if 0 <= offset < len(self._held) else b""
        begin = self.loc + len(found)
        if begin < end:
            is_next = begin == self._held_at + len(self._held)
            self._window = min(self._window * 2, self.blocksize) if is_next else FIRST_WINDOW_BYTES
            stop = min(self.size, max(end, begin + self._window))
            self._held = await self.fs.read_pinned(self.path, begin, stop, self._etag, self.version_id)
            self._held_at = begin
            found += self._held[: end - begin]
        self.loc += len(found)
        return found

    async def write(self, data: Any) -> int:
        """Add bytes. They are sent when there is a block of them."""
        self._check("wb")
        assert self._upload is not None
        with memoryview(data) as view:
            count = view.nbytes
            self._pending += view.cast("B")
        self.loc += count
        if len(self._pending) >= self.blocksize:
            pending, self._pending = self._pending, bytearray()
            await self._upload.write(bytes(pending))
        return count

    async def flush(self, force: bool = False) -> None:
        """Do nothing: S3 stores an object as a whole."""

    async def discard(self) -> None:
        """Store nothing, and abort the upload if it has begun."""
        self.closed = True
        if self._upload is not None:
            await self._upload.discard()

    async def close(self) -> None:
        """Store the object, if the file was opened for writing."""
        if self.closed:
            return
        self.closed = True
        if self._upload is not None:
            try:
                await self._upload.complete(bytes(self._pending))
            except BaseException:
                await self._upload.discard()
                raise
        self._held = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._upload is not None:
            await self.discard()
        await self.close()

    def _check(self, mode: str) -> None:
        if self.closed:
            msg = f"{self.path}: the file is closed"
            raise ValueError(msg)
        if (self.mode == "rb") != (mode == "rb"):
            msg = f"{self.path}: the file was opened with mode {self.mode!r}"
            raise ValueError(msg)

    def __del__(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._upload is None or self._pid != os.getpid() or sys.is_finalizing():
            return
        _warn(self)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda upload: _begin(upload.discard()), self._upload)


def _warn(file: DreamObjectsFile | DreamObjectsAsyncFile) -> None:
    warnings.warn(f"{file.path} was opened for writing and not closed", ResourceWarning, source=file, stacklevel=3)


def _begin(call: Coroutine[Any, Any, Any]) -> None:
    """Run a call on the running event loop without waiting for it."""
    task = asyncio.get_running_loop().create_task(call)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


def _headers_of(info: dream.ObjectInfo | None) -> dict[str, Any]:
    """Return the headers that an object keeps when something is appended to it."""
    if info is None:
        return {}
    metadata = {name: value for name, value in (info.metadata or {}).items() if name != PART_SIZE_MARK}
    headers = {
        "metadata": metadata,
        **{
            name: getattr(info, name)
            for name in (
                *("cache_control", "content_disposition", "content_encoding", "content_language", "content_type"),
                *("expires", "storage_class", "website_redirect"),
            )
        },
    }
    return {name: value for name, value in headers.items() if value}


def _is_unwinding(error_at_opening: BaseException | None) -> bool:
    """Return whether a ``with`` block is left because of an error that came after the file was opened.

    Wrappers such as fsspec's OpenFile and pandas' handles close a file in their ``__exit__`` without telling it why. That
    ``__exit__`` was called with the error: an ``except`` block that closes a file is none.
    """
    error = sys.exception()
    if error is None or error is error_at_opening:
        return False
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name in ("__exit__", "__aexit__") and _holds(frame.f_locals.values(), error):
            return True
    return False


def _holds(values: Iterable[object], error: BaseException) -> bool:
    return any(value is error or (isinstance(value, tuple) and any(one is error for one in value)) for value in values)
