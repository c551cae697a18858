"""Read and write files below one directory, many of them in one call to a worker thread. Nothing here waits for a network.

Writes go through open directories, one step at a time, and never through a symbolic link. So nothing lands outside of the
directory, whatever somebody plants below it meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from anyio import CapacityLimiter

from aiodreamobjects._concurrency import QUICK_SECONDS, a_processor, close_in_thread, finish, in_thread
from aiodreamobjects._errors import SourceChangedError, UnsafeKeyError
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._system import NON_BLOCKING, PLAIN, Directory, read_into, set_mode
from aiodreamobjects._transfer.mtime import precision_of_disk
from aiodreamobjects._transfer.sinks import temporary_name
from aiodreamobjects._tree.names import InTheWay, Patterns
from aiodreamobjects._tree.walk import Entry, Identity, identity_of, is_utf8

P = ParamSpec("P")
T = TypeVar("T")

HOPS = 8
"""How many threads read or write at once on a slow disk."""


class Content(NamedTuple):
    """A whole file, as it was at one moment."""

    data: Buffer
    mtime_ns: int


class NewFile(NamedTuple):
    name: str
    data: Buffer
    mtime_ns: int | None


class Disk:
    """A directory to read and write below. All names are relative to it.

    ``follow``: whether to read through symbolic links. Nothing is ever written through one.
    """

    def __init__(self, root: str, *, follow: bool = False) -> None:
        if not root:
            msg = "the local directory has no name; '.' is the working directory"
            raise ValueError(msg)
        self.root = root
        self.precision = 1
        """How exactly it keeps times, in nanoseconds. ``measure`` finds it out."""
        self._follow = follow
        self._directory: Directory | None = None
        self._hops = CapacityLimiter(HOPS)
        self._is_busy = False
        """Whether a batch has a thread now, and is no slow one."""
        self._line: deque[tuple[asyncio.Future[None], bool]] = deque()
        """Who waits for its end, and whether that is a batch."""

    async def rest(self) -> None:
        """Wait up to 30 ms for a running batch: two busy threads would fight over the GIL, and take twice the time.

        A batch that takes longer waits for a slow disk, and does not need the interpreter.
        """
        if self._is_busy:
            await self._wait(is_batch=False)

    async def _hop(self, work: Callable[[], None]) -> None:
        while self._is_busy:
            await self._wait(is_batch=True)
        self._is_busy = True
        held = ExitStack()
        held.callback(self._go_on)
        slow = asyncio.get_running_loop().call_later(QUICK_SECONDS, held.close)
        try:
            await finish(in_thread(work, limiter=self._hops))
        finally:
            slow.cancel()
            held.close()

    async def _wait(self, *, is_batch: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line.append((turn, is_batch))
        try:
            await turn
        except BaseException:
            has_turn = turn.done() and not turn.cancelled()
            if is_batch and has_turn and not self._is_busy:  # it will not take its turn, so the next ones go on
                self._go_on()
            raise

    def _go_on(self) -> None:
        """Wake those that wait, in their order, up to the next batch. Each is woken once, however many wait.

        Who calls this goes on before them: the files of an older batch are sent before the next one is read.
        """
        self._is_busy = False
        while self._line:
            turn, is_batch = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                if is_batch:
                    return

    async def open(self, *, make: bool) -> bool:
        """Open the directory, and return whether it is there. ``make`` creates it. Raises NotADirectoryError for anything else."""
        return await finish(in_thread(self._open, make))

    async def aclose(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            await close_in_thread(directory.close)

    async def require_root(self) -> None:
        """Raise FileNotFoundError if the directory itself was removed, moved or unmounted since it was opened."""

        def check() -> None:
            assert self._directory is not None
            if not os.path.samestat(self._directory.stat_itself(), Path(self.root).stat()):
                raise FileNotFoundError(errno.ENOENT, "another directory has its place now", self.root)

        await finish(in_thread(check))

    async def measure(self, *, may_write: bool) -> None:
        """Find out how exactly it keeps times."""

        def measure() -> None:
            assert self._directory is not None
            self.precision = precision_of_disk(self._directory, may_write=may_write)

        await finish(in_thread(measure))

    async def folds_case(self) -> bool:
        """Return whether it takes names for the same that differ only in case."""
        return await finish(in_thread(self._folds_case))

    async def read(self, names: Sequence[str], most: int) -> list[Content | Exception]:
        """Return the content of each file, or the error. A file that has grown beyond ``most`` bytes is an error."""
        contents: list[Content | Exception] = []
        await self._hop(lambda: contents.extend([_tried(self._read, name, most) for name in names]))
        return contents

    async def read_one(self, name: str, most: int) -> Buffer:
        """Return the content of one file. Raises what ``read`` returns as an error."""
        return (await finish(in_thread(self._read, name, most, limiter=self._hops))).data

    async def read_into(self, name: str, memory: memoryview) -> Content | None:
        """Read a file that fills the memory. Return None if it has another size. Raises as ``read_one``."""
        return await finish(in_thread(self._read_into, name, memory, limiter=self._hops))

    async def has_bytes(self, file: Entry, start: int, data: memoryview) -> bool:
        """Return whether the file has these bytes there. Raises SourceChangedError if it has changed since it was listed."""
        return await finish(in_thread(self._has_bytes, file, start, data, limiter=self._hops))

    async def write(self, files: Sequence[NewFile], outcomes: list[Exception | None]) -> None:
        """Write each file, and put its error, or None, into ``outcomes``. A file appears when it is complete, or not at all.

        Once begun, all are tried, and have outcomes, even if the caller is cancelled meanwhile.
        """
        await self._hop(lambda: self._write_all(files, outcomes))

    async def write_one(self, file: NewFile, verify: Callable[[], T]) -> T:
        """Call ``verify`` in the thread that writes, and write the file unless that raises. Return what it returns."""

        def write() -> T:
            verified = verify()
            with closing(self._cursor()) as cursor:
                _write(cursor, file)
            return verified

        async with a_processor(QUICK_SECONDS):
            return await finish(in_thread(write, limiter=self._hops))

    async def try_places(self, names: Sequence[str]) -> list[Exception | None]:
        """Return what would keep each from being written."""
        errors: list[Exception | None] = []
        await self._hop(lambda: self._try_places(names, errors))
        return errors

    async def will_stay(self, paths: Sequence[str], patterns: Patterns) -> list[bool]:
        """Return whether each will be there when all files that the patterns take have been deleted."""
        found: list[bool] = []
        await self._hop(lambda: found.extend([self._will_stay(path, patterns) for path in paths]))
        return found

    async def remove_empty(self, paths: Sequence[str]) -> None:
        """Remove these directories, and all in them, as far as there are no files."""
        await self._hop(lambda: self._remove_empty(paths))

    async def remove(self, files: Sequence[Entry], outcomes: list[bool | Exception]) -> None:
        """Delete the files that have not changed, and the directories that this leaves empty.

        ``outcomes`` gets whether each is gone, or its error, as in ``write``.
        """
        await finish(in_thread(self._remove_all, files, outcomes, limiter=self._hops))

    def opener(self, name: str) -> Callable[[str, int], int]:
        """Return an opener for ``open``, which opens this file, whatever path it gets."""
        return lambda _, flags: self._open_to_read(name, flags)

    @asynccontextmanager
    async def directory_of(self, name: str) -> AsyncIterator[Directory]:
        """Open the directory that the file is in. It is made if it is missing."""
        opened: list[Directory] = []
        try:
            await finish(in_thread(lambda: opened.append(self._open_directory(name)), limiter=self._hops))
            yield opened[0]
        finally:
            for directory in opened:
                await close_in_thread(directory.close)

    def _open(self, make: bool) -> bool:  # noqa: FBT001 - private
        if not _is_directory(self.root):
            if not make:
                return False
            Path(self.root).mkdir(parents=True, exist_ok=True)
        self._directory = Directory(self.root)
        return True

    def _folds_case(self) -> bool:
        directory, name = self._directory, temporary_name("aA", secrets.token_hex(4), "part")
        assert directory is not None
        try:
            os.close(directory.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError:  # a read-only disk: each file will fail by itself
            return False
        try:
            directory.stat(name.swapcase())
        except FileNotFoundError:
            return False
        else:
            return True
        finally:
            directory.unlink(name)

    def _open_to_read(self, name: str, flags: int) -> int:
        flags |= NON_BLOCKING
        if self._follow:
            return os.open(f"{self.root}/{name}", flags | PLAIN)
        with closing(self._cursor()) as cursor:
            directory, last = cursor.go_above(name, make=False)
            return directory.open(last, flags)

    def _read(self, name: str, most: int) -> Content:
        with self._unchanged(name) as (descriptor, file):
            data = _read_up_to(descriptor, min(file.st_size, most) + 1)
            if len(data) != file.st_size:
                raise self._changed(name)
        return Content(data, file.st_mtime_ns)

    def _read_into(self, name: str, memory: memoryview) -> Content | None:
        with self._unchanged(name) as (descriptor, file):
            if file.st_size != len(memory):
                return None
            rest = memory
            while rest:
                count = read_into(descriptor, rest, len(memory) - len(rest))
                if not count:
                    raise self._changed(name)
                rest = rest[count:]
        return Content(memory, file.st_mtime_ns)

    @contextmanager
    def _unchanged(self, name: str) -> Iterator[tuple[int, os.stat_result]]:
        """Open a regular file. Raise SourceChangedError if it has changed when it is closed."""
        descriptor = self._open_to_read(name, os.O_RDONLY)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", f"{self.root}/{name}")
            yield descriptor, before
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise self._changed(name)

    def _changed(self, name: str) -> SourceChangedError:
        return SourceChangedError(f"{self.root}/{name} changed while it was read")

    def _has_bytes(self, file: Entry, start: int, data: memoryview) -> bool:
        descriptor = self._open_to_read(file.name, os.O_RDONLY)
        try:
            os.lseek(descriptor, start, os.SEEK_SET)
            is_same = _read_up_to(descriptor, len(data)) == bytes(data)
            if identity_of(os.fstat(descriptor)) == file.identity:
                return is_same
        finally:
            os.close(descriptor)
        msg = f"{self.root}/{file.name} changed while it was compared"
        raise SourceChangedError(msg)

    def _write_all(self, files: Sequence[NewFile], outcomes: list[Exception | None]) -> None:
        with closing(self._cursor()) as cursor:
            outcomes += [_tried(_write, cursor, file) for file in files]

    def _try_places(self, names: Sequence[str], errors: list[Exception | None]) -> None:
        with closing(self._cursor()) as cursor:
            errors += [_tried(_try_place, cursor, name) for name in names]

    def _will_stay(self, path: str, patterns: Patterns) -> bool:
        if not path.endswith("/"):
            return not patterns.select(path)
        start = len(self.root) + 1
        try:
            for above, directories, files in os.walk(f"{self.root}/{path[:-1]}", onerror=_raise):
                if any(os.path.islink(f"{above}/{name}") for name in directories):  # noqa: PTH114 - names, as they are
                    return True
                if not all(_is_deleted(f"{above}/{name}", start, patterns) for name in files):
                    return True
        except (OSError, RecursionError):
            return True
        return False

    def _remove_empty(self, paths: Sequence[str]) -> None:
        with closing(self._cursor()) as cursor:
            for path in paths:
                for above, _, _ in os.walk(f"{self.root}/{path.rstrip('/')}", topdown=False):
                    with suppress(OSError, UnsafeKeyError, InTheWay):
                        directory, last = cursor.go_above(above[len(self.root) + 1 :], make=False)
                        directory.remove(last)

    def _remove_all(self, files: Sequence[Entry], outcomes: list[bool | Exception]) -> None:
        with closing(self._cursor()) as cursor:
            outcomes += [_tried(_remove, cursor, file.name, file.identity) for file in files]
            for above in sorted({file.name.rpartition("/")[0] for file in files}, reverse=True):
                _remove_empty(cursor, above)

    def _open_directory(self, name: str) -> Directory:
        with closing(self._cursor()) as cursor:
            return cursor.go_above(name, make=True)[0].again()

    def _cursor(self) -> _Cursor:
        assert self._directory is not None
        return _Cursor(self._directory)


def _read_up_to(descriptor: int, size: int) -> bytes:
    """Read on until the end: some file systems give less at once."""
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def _is_directory(path: str) -> bool:
    """Raises NotADirectoryError for anything else."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return True


class _Cursor:
    """A position below a directory. It holds one descriptor, however deep, and moves little if names come in order."""

    def __init__(self, root: Directory) -> None:
        self._root = self._here = root
        self._path: list[str] = []

    def go_above(self, name: str, *, make: bool) -> tuple[Directory, str]:
        """Move to the directory that the file is in. Return it, and the file's name there."""
        *path, last = name.split("/")
        if path[: len(self._path)] != self._path:
            self.close()
        for part in path[len(self._path) :]:
            self._stand_in(_open_below(self._here, part, "/".join((*self._path, part)), name, make=make))
            self._path.append(part)
        return self._here, last

    def close(self) -> None:
        self._stand_in(self._root)
        self._path = []

    def _stand_in(self, directory: Directory) -> None:
        left, self._here = self._here, directory
        if left is not self._root:
            left.close()


def _open_below(parent: Directory, name: str, path: str, of: str, *, make: bool) -> Directory:
    for _ in range(2):
        try:
            return parent.below(name)
        except FileNotFoundError:
            if not make:
                raise
            with suppress(FileExistsError):  # another thread was faster
                parent.make(name)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            if stat.S_ISREG(parent.stat(name).st_mode):
                raise InTheWay(path) from error
            msg = f"{of!r} is not written: {path!r} is a symbolic link here, or no directory"
            raise UnsafeKeyError(msg) from error
    raise FileNotFoundError(errno.ENOENT, "its directory was removed meanwhile", of)


def _raise(error: OSError) -> None:
    raise error


def _is_deleted(path: str, start: int, patterns: Patterns) -> bool:
    """Return whether a deletion takes this file: a regular one, whose name is UTF-8 and not left out."""
    name = path[start:]
    return stat.S_ISREG(os.lstat(path).st_mode) and is_utf8(name) and patterns.select(name)


def _try_place(cursor: _Cursor, name: str) -> None:
    with suppress(FileNotFoundError):
        directory, last = cursor.go_above(name, make=False)
        _mode_to_keep(directory, last, name)


def _write(cursor: _Cursor, file: NewFile) -> None:
    directory, name = cursor.go_above(file.name, make=True)
    mode = _mode_to_keep(directory, name, file.name)
    temporary = temporary_name(name, secrets.token_hex(4), "part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    descriptor = directory.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        _fill(directory, temporary, descriptor, file, mode)
        directory.replace(temporary, name)
    except BaseException as error:
        with suppress(FileNotFoundError):
            directory.unlink(temporary)
        if isinstance(error, OSError):  # a failed write names no file
            error.filename = file.name
        raise


def _fill(directory: Directory, name: str, descriptor: int, file: NewFile, mode: int | None) -> None:
    try:
        data = memoryview(file.data)
        while data:
            data = data[os.write(descriptor, data) :]
        if file.mtime_ns is not None:
            with suppress(OSError, OverflowError):  # a time that this file system cannot keep
                directory.set_time(descriptor, name, file.mtime_ns)
        if mode is not None:
            set_mode(descriptor, mode)
    finally:
        os.close(descriptor)


def _remove(cursor: _Cursor, name: str, identity: Identity | None) -> bool:
    with suppress(FileNotFoundError):
        directory, last = cursor.go_above(name, make=False)
        if identity != identity_of(directory.stat(last)):
            return False
        directory.unlink(last)
    return True


def _remove_empty(cursor: _Cursor, path: str) -> None:
    """Remove this directory and those above it, as long as they are empty."""
    with suppress(OSError, UnsafeKeyError, InTheWay):
        while path:
            directory, last = cursor.go_above(path, make=False)
            directory.remove(last)
            path = path.rpartition("/")[0]


def _mode_to_keep(directory: Directory, name: str, of: str) -> int | None:
    """Return the mode of the file that will be replaced; None if there is none. Raises if something else has the name."""
    try:
        found = directory.stat(name)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        return stat.S_IMODE(found.st_mode) & 0o777
    if stat.S_ISLNK(found.st_mode):  # the link is replaced, not what it leads to
        return None
    if stat.S_ISDIR(found.st_mode):
        raise InTheWay(of + "/")
    raise special_file(of)


def special_file(name: str) -> UnsafeKeyError:
    return UnsafeKeyError(f"{name!r} is not written: it is a socket, a FIFO or a device here")


def _tried(act: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | Exception:
    try:
        return act(*arguments, **named)
    except Exception as error:  # noqa: BLE001 - one of many: the caller gets it as a value
        return error
