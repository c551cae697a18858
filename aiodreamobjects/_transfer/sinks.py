"""Where a download's bytes can go."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import aiofiles
from anyio import to_thread

from aiodreamobjects._concurrency import finish

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncBufferedIOBase


class PathSink:
    """A file that appears under its name when it is complete, or not at all.

    Bytes go to a temporary file in the same directory, which ``commit`` renames over the name. Leaving without a
    commit, for whatever reason, removes it; only a killed process leaves one behind (``.NAME.*.part``, hidden).
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool, fsync: bool) -> None:
        self._path = Path(path)
        self._temporary = self._path.with_name(f".{self._path.name[:50]}.{secrets.token_hex(4)}.part")
        self._overwrite = overwrite
        self._fsync = fsync
        self._file: AsyncBufferedIOBase | None = None
        self._mode: int | None = None

    async def __aenter__(self) -> Self:
        """Raises the OSError of a directory that is missing or read-only, before anything is asked of the service."""
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

    async def write(self, data: bytes) -> None:
        assert self._file is not None
        await self._file.write(data)

    async def commit(self, modified: datetime | None) -> None:
        """Give the file its name, and the object's time."""
        await finish(self._commit(modified))

    async def _open(self) -> None:
        await to_thread.run_sync(self._check_target)
        self._file = await aiofiles.open(self._temporary, "xb", opener=self._create)

    async def _commit(self, modified: datetime | None) -> None:
        assert self._file is not None
        await self._file.flush()
        if self._fsync:
            await to_thread.run_sync(os.fsync, self._file.fileno())
        await self._file.close()
        await to_thread.run_sync(self._publish, modified)
        self._file = None

    async def _discard(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # a full disk refuses the last bytes once more
                await file.close()
            await to_thread.run_sync(lambda: self._temporary.unlink(missing_ok=True))

    def _check_target(self) -> None:
        if not self._overwrite and os.path.lexists(self._path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._path))
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        if not stat.S_ISREG(found.st_mode):  # a device, /dev/stdout, a pipe
            raise FileExistsError(errno.EEXIST, "not a regular file", str(self._path))
        self._mode = stat.S_IMODE(found.st_mode) & 0o777

    def _create(self, path: str, flags: int) -> int:
        """With the mode that the umask gives; for nobody else until it takes the place, and the mode, of a file."""
        return os.open(path, flags | os.O_NOFOLLOW, 0o666 if self._mode is None else 0o600)

    def _publish(self, modified: datetime | None) -> None:
        if modified is not None:
            seconds = modified.timestamp()
            os.utime(self._temporary, (seconds, seconds))
        if self._mode is not None:
            self._temporary.chmod(self._mode)
        if self._overwrite:
            self._temporary.replace(self._path)
        else:
            self._publish_if_absent()
        if self._fsync:
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _publish_if_absent(self) -> None:
        try:
            os.link(self._temporary, self._path)  # unlike a rename it refuses a name that was taken meanwhile
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            try:
                self._temporary.replace(self._path)
            except BaseException:
                self._path.unlink(missing_ok=True)
                raise
        else:
            self._temporary.unlink()


_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
