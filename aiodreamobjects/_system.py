"""What Linux has and other systems may lack, each with what takes its place. No other module asks which system this is.

What is missing is found out by looking for it, and not by the name of the system: docs/platforms.md says what each guarantees.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import mmap
import os
import select
import signal
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Self


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _termios, _resource, _msvcrt = map(_module, ("fcntl", "termios", "resource", "msvcrt"))

NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
NON_BLOCKING: int = getattr(os, "O_NONBLOCK", 0)
"""Opening a FIFO would wait without it."""
PLAIN: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""What every file of ours is opened with: no child inherits it, and Windows changes no line ends."""
_DIRECTORY: int = os.O_RDONLY | PLAIN | getattr(os, "O_DIRECTORY", 0)

_NAMELESS: int | None = getattr(os, "O_TMPFILE", None)

HAS_DIRECTORIES = bool(NO_FOLLOW) and hasattr(os, "O_DIRECTORY") and {os.open, os.stat, os.unlink} <= os.supports_dir_fd
"""Whether names can be looked up in an open directory. Otherwise a directory is its path, and may be replaced meanwhile."""
_SETS_TIMES = os.utime in os.supports_fd
"""Whether an open file can be given a time."""


# Files


def open_no_link(path: str | os.PathLike[str], flags: int, mode: int = 0o666, *, directory: int | None = None) -> int:
    """Open a file, or raise OSError (ELOOP) for a symbolic link. Without ``O_NOFOLLOW`` it looks before."""
    if not NO_FOLLOW and os.path.islink(path):  # noqa: PTH114 - a name, as it was given
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, flags | NO_FOLLOW | PLAIN, mode, dir_fd=directory)


def is_mine(found: os.stat_result) -> bool:
    """Return whether a file belongs to this user. Windows has no number for that."""
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def set_mode(descriptor: int, mode: int) -> None:
    """Set the mode of an open file, where files have one."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)


_position = threading.Lock()
"""Held while an open file stands somewhere else than its other users expect."""


def write_at(descriptor: int, data: memoryview, position: int) -> int:
    """Write some of the bytes at a position. Return how many."""
    if hasattr(os, "pwrite"):
        count: int = os.pwrite(descriptor, data, position)
        return count
    with _position:
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.write(descriptor, data)


def read_at(descriptor: int, size: int, position: int) -> bytes:
    """Return up to ``size`` bytes from a position."""
    if hasattr(os, "pread"):
        content: bytes = os.pread(descriptor, size, position)
        return content
    with _position:
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.read(descriptor, size)


def read_into(descriptor: int, memory: memoryview, position: int) -> int:
    """Read into memory from a position. Return how many bytes there were."""
    if hasattr(os, "preadv"):
        count: int = os.preadv(descriptor, [memory], position)
        return count
    found = read_at(descriptor, len(memory), position)
    memory[: len(found)] = found
    return len(found)


def lock(descriptor: int) -> bool:
    """Lock an open file for this process until it is closed. Raise BlockingIOError if another process has it.

    Return False where there are no file locks.
    """
    if _fcntl:
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        return True
    if _msvcrt:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # one byte behind all content, as a locked byte cannot be read
        try:
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    return False


# Directories


class Directory:
    """An open directory, in which names are looked up. ``close`` it.

    No method follows a symbolic link at the end of a name, or one in place of the directory itself. Without directory
    descriptors it is a path, which is looked at before each step: somebody who is quick may replace it in between.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str, *, _descriptor: int | None = None) -> None:
        """Open a directory by its path. Raises OSError for anything else."""
        self.path, self._descriptor = path, _descriptor
        if HAS_DIRECTORIES:
            if _descriptor is None:
                self._descriptor = os.open(path, _DIRECTORY)
        elif not stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116 - a name, as it was given
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    @classmethod
    def working(cls) -> Self:
        """Return the working directory, for names that are whole paths."""
        made = cls.__new__(cls)
        made.path, made._descriptor = "", None  # noqa: SLF001 - our own
        return made

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def again(self) -> Directory:
        """Open the same directory once more."""
        return Directory(self.path, _descriptor=None if self._descriptor is None else os.dup(self._descriptor))

    def below(self, name: str) -> Directory:
        """Open a directory in this one. A link is an OSError (ELOOP or ENOTDIR)."""
        path = f"{self.path}/{name}"
        if HAS_DIRECTORIES:
            return Directory(path, _descriptor=os.open(name, _DIRECTORY | NO_FOLLOW, dir_fd=self._descriptor))
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return Directory(path)

    def stat(self, name: str, *, follow: bool = False) -> os.stat_result:
        return os.stat(self._name(name), dir_fd=self._descriptor, follow_symlinks=follow)

    def stat_itself(self) -> os.stat_result:
        return os.stat(self.path) if self._descriptor is None else os.fstat(self._descriptor)  # noqa: PTH116 - a name

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        return open_no_link(self._name(name), flags, mode, directory=self._descriptor)

    def open_nameless(self) -> int | None:
        """Open a file without a name, to write; None where there is no such thing."""
        if _NAMELESS is not None:
            with suppress(OSError):  # the disk does not have it
                return os.open(self._name("."), _NAMELESS | os.O_WRONLY | PLAIN, 0o600, dir_fd=self._descriptor)
        return None

    def set_time(self, descriptor: int, name: str, nanoseconds: int) -> None:
        """Set the time of an open file in it, by its name if that is the only way."""
        os.utime(descriptor if _SETS_TIMES else self._name(name), ns=(nanoseconds, nanoseconds))

    def make(self, name: str) -> None:
        os.mkdir(self._name(name), dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove an empty directory in it."""
        os.rmdir(self._name(name), dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        os.unlink(self._name(name), dir_fd=self._descriptor)

    def replace(self, name: str, new: str) -> None:
        os.replace(self._name(name), self._name(new), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def link(self, name: str, new: str) -> None:
        """Give a file a second name. Raises FileExistsError if that is taken."""
        os.link(self._name(name), self._name(new), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def sync(self) -> None:
        """Wait until the disk has the names. A directory that is a path cannot be waited for."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def _name(self, name: str) -> str:
        return f"{self.path}/{name}" if self._descriptor is None and self.path else name


# Connections, memory and processes


def pages(size: int) -> mmap.mmap:
    """Return memory of our own, whose pages the system gives as they are used. Raises OSError if there is none."""
    private: Any = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
    return mmap.mmap(-1, size, **({"flags": private} if private else {}))


def unsent_bytes(connection: int) -> int:
    """Return how many bytes the kernel holds that the peer has not acknowledged; 0 where it does not tell."""
    if _fcntl is None or not hasattr(_termios, "TIOCOUTQ"):
        return 0
    try:
        (queued,) = struct.unpack("i", _fcntl.ioctl(connection, _termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return 0
    return int(queued)


def poll_of(connection: int) -> Callable[[int], Sequence[object]] | None:
    """Return a function that waits up to some milliseconds for bytes to arrive, and returns what it found. None without ``poll``."""
    poll: Any = getattr(select, "poll", None)
    if poll is None:
        return None
    made = poll()
    made.register(connection, 1)  # POLLIN
    found: Callable[[int], Sequence[object]] = made.poll
    return found


def most_descriptors() -> int | None:
    """Return how many files and connections this process may have open; None if nothing says so."""
    if _resource is None:
        return None
    soft: int = _resource.getrlimit(_resource.RLIMIT_NOFILE)[0]
    return None if soft == _resource.RLIM_INFINITY else soft


def processors() -> int:
    """Return how many processors this process may use."""
    allowed: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # only on Linux
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def in_forked_child(function: Callable[[], None]) -> None:
    """Call a function in each child that is forked from now on. Where nothing can be forked there is nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def look_for_signals() -> None:
    """Run the handlers of signals that have come.

    Python 3.13 does so by itself only where a thread is interrupted, in a process that another thread than the main one forked.
    """
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.get_ident(), 0)  # sends none, and looks for those that came


def on_signals(numbers: Iterable[signal.Signals], function: Callable[[], None]) -> None:
    """Call a function on this event loop when one of the signals comes."""
    loop = asyncio.get_running_loop()

    def call(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(function)

    for number in numbers:
        try:
            loop.add_signal_handler(number, function)
        except NotImplementedError:  # on Windows
            signal.signal(number, call)
