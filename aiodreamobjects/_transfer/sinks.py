"""Write a download to a file that appears only when it is complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import aiofiles
import aiofiles.os

from aiodreamobjects._concurrency import QUICK_SECONDS, a_processor, finish, in_thread, naming_lack_of_threads
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._system import NON_BLOCKING, Directory, read_into, set_mode, write_at
from aiodreamobjects._transfer.journal import is_own, require_regular

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncFileIO


class PathSink:
    """A file that appears under its name when it is complete, or not at all.

    The bytes go to a hidden temporary file in the same directory, ``.NAME.*.part``. ``commit`` renames it to the final
    name. Without a commit, the temporary file is removed at the end. It stays only if the process is killed, or if the
    download can be resumed: then ``partial`` is its name and ``is_kept`` is true.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool,
        fsync: bool,
        partial: Path | None = None,
        is_kept: bool = False,
        directory: Directory | None = None,
    ) -> None:
        """``directory``: an open directory that ``path`` is relative to. The caller closes it."""
        self._path, self._directory = Path(path), directory or Directory.working()
        self._follows = overwrite and directory is None
        self._temporary = partial or beside(self._path, secrets.token_hex(4), "part")
        self._is_new = partial is None
        self._overwrite = overwrite
        self._fsync = fsync
        self._file: AsyncFileIO | None = None
        self._mode: int | None = None
        self.is_kept, self.is_published = is_kept, False

    async def __aenter__(self) -> Self:
        """Open the temporary file. Raise OSError for a missing or read-only directory, before any request is sent."""
        try:
            await finish(self._open())
        except BaseException:
            await finish(self._discard())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            await finish(self._discard())

    async def write_at(self, position: int, data: Buffer) -> None:
        """Write all of ``data``. Once begun, this ends even if the caller is cancelled, whose memory may be used again then."""
        assert self._file is not None
        try:
            async with a_processor(QUICK_SECONDS):
                await finish(_write_at(self._file.fileno(), data, position))
        except OSError as error:
            error.filename = error.filename or str(self._path)
            raise

    async def read_at(self, position: int, memory: memoryview) -> int:
        """Read what an earlier process wrote at this position. Return how many bytes there were."""
        assert self._file is not None
        return await finish(_read_at(self._file.fileno(), memory, position))

    async def commit(self, modified: int | None, size: int) -> None:
        """Set the file's length, time and mode, then publish it. ``modified`` is in nanoseconds since the epoch."""
        await finish(self._commit(modified, size))

    async def _open(self) -> None:
        mode: Literal["xb+", "rb+"] = "xb+" if self._is_new else "rb+"
        try:
            with naming_lack_of_threads():
                self._file = await aiofiles.open(self._temporary, mode, buffering=0, opener=self._create)
        except FileNotFoundError as error:  # name the file that was asked for, and not the partial one
            raise FileNotFoundError(error.errno, "no such directory for the file", str(self._path)) from error

    async def _commit(self, modified: int | None, size: int) -> None:
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < size:
            msg = "another process truncated the partial file during the download; download it again"
            raise OSError(errno.EIO, msg, str(self._temporary))
        await in_thread(self._complete, self._file.fileno(), modified, size)
        await self._file.close()
        await in_thread(self._publish)
        self._file, self.is_published = None, True

    async def _discard(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                with suppress(OSError):  # on a full disk, closing fails as well
                    await file.close()
            finally:
                if not self.is_kept:
                    try:
                        await in_thread(self._unlink, self._temporary)
                    except RuntimeError:  # no thread can be started
                        self._unlink(self._temporary)

    def _check_target(self) -> None:
        try:
            found = self._directory.stat(str(self._path), follow=self._follows)
        except FileNotFoundError:
            return
        if self._overwrite and stat.S_ISLNK(found.st_mode):
            return
        if not self._overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._path))
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        if not stat.S_ISREG(found.st_mode):  # a device, /dev/stdout, a pipe
            raise FileExistsError(errno.EEXIST, "not a regular file", str(self._path))
        self._mode = stat.S_IMODE(found.st_mode) & 0o777

    def _create(self, path: str, flags: int) -> int:
        """Check the target, and create or open the temporary file. A new file gets its mode from the umask.

        A file that replaces another one is private until it gets the mode of that one: nobody may read it too early.
        """
        self._check_target()
        mode = 0o666 if self._mode is None else 0o600
        descriptor = self._directory.open(path, flags | os.O_CREAT | NON_BLOCKING, mode)
        if self._is_new:
            return descriptor
        try:
            require_regular(descriptor, path)
            if is_own(descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # It belongs to another user, or has a second name. A process killed within _publish_if_absent leaves it with two.
        os.close(descriptor)
        self._directory.unlink(path)
        return self._directory.open(path, flags | os.O_CREAT | os.O_EXCL, mode)

    def _complete(self, descriptor: int, modified: int | None, size: int) -> None:
        os.ftruncate(descriptor, size)
        if modified is not None:
            with suppress(OSError, OverflowError):  # the file system cannot store this time
                self._directory.set_time(descriptor, str(self._temporary), modified)
        if self._mode is not None:
            set_mode(descriptor, self._mode)
        if self._fsync:
            os.fsync(descriptor)

    def _publish(self) -> None:
        above = Directory(str(self._path.parent)) if self._fsync else None
        try:
            if self._overwrite:
                self._directory.replace(str(self._temporary), str(self._path))
            else:
                self._publish_if_absent()
            if above is not None:
                above.sync()  # otherwise the new name may be lost in a power failure
        finally:
            if above is not None:
                above.close()

    def _publish_if_absent(self) -> None:
        temporary, path = str(self._temporary), str(self._path)
        try:
            # A rename would replace a file that was created meanwhile. A hard link fails instead.
            self._directory.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # Without hard links, reserve the name with an empty file, then rename over that one.
            os.close(self._directory.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            try:
                self._directory.replace(temporary, path)
            except BaseException:
                self._unlink(self._path)
                raise
        else:
            self._unlink(self._temporary)

    def _unlink(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            self._directory.unlink(str(path))


_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def beside(path: Path, identity: str, kind: str) -> Path:
    """Return a hidden name in the same directory, for a temporary file of this path."""
    return path.with_name(temporary_name(path.name, identity, kind))


def temporary_name(name: str, identity: str, kind: str) -> str:
    """Return a name that is short enough for any file system. Its check sum tells our files from those of others."""
    begin = name[:50]
    return f".{begin}.{_check_sum(begin, identity)}.{identity}.{kind}"


def is_left_over(path: str) -> bool:
    """Return whether this is a temporary file of a download, which is still running or was killed."""
    found = _LEFT_OVER.fullmatch(path) if path.endswith((".part", ".journal")) else None
    return found is not None and found[2] == _check_sum(found[1], found[3])


_LEFT_OVER = re.compile(
    r"(?:.*/)?\.([^/]{1,50})\.([0-9a-f]{8})\.([0-9a-f]{8}|[0-9a-f]{12})\.(?:part|journal)", re.DOTALL
)


def _check_sum(begin: str, identity: str) -> str:
    return f"{zlib.crc32(f'aiodreamobjects {identity} {begin}'.encode('utf-8', 'surrogatepass')):08x}"


def _write_all(descriptor: int, data: Buffer, position: int) -> None:
    view = memoryview(data)
    while view:
        count = write_at(descriptor, view, position)
        view, position = view[count:], position + count


_write_at = aiofiles.os.wrap(_write_all)
_read_at = aiofiles.os.wrap(read_into)
