"""Takes from Python what other systems lack, before the library is imported: ``PYTHONPATH=tests pytest -p lacking``.

What is left is about what Windows has. The standard library and the test tools are imported first, and keep what they have.
"""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import pkgutil
import select
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any

KEEP = (
    *(
        "asyncio.unix_events",
        "concurrent.futures.process",
        "multiprocessing.popen_spawn_posix",
        "pathlib",
        "pty",
        "subprocess",
    ),
    *("_pytest.faulthandler", "aiofiles.os", "anyio._backends._asyncio", "blockbuster", "execnet", "pytest_timeout"),
    "werkzeug.serving",
)
"""Imported before anything is taken away."""
for name in KEEP:
    importlib.import_module(name)

MODULES = ("fcntl", "termios", "resource", "uvloop")
FLAGS = ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_TMPFILE")
FUNCTIONS = ("fchmod", "pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork", "posix_fallocate")
WITH_DIRECTORIES = ("open", "stat", "unlink", "mkdir", "rmdir", "replace", "link", "rename")


def without_directories(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse directory descriptors, and to open a directory."""

    def called(*args: Any, **named: Any) -> Any:
        if any(named.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
            msg = f"{function.__name__}: dir_fd unavailable on this platform"
            raise NotImplementedError(msg)
        if function is OPEN and not isinstance(args[0], int) and os.path.isdir(args[0]):  # noqa: PTH112 - Path.is_dir may open
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), args[0])
        return function(*args, **named)

    return called


def without_times_of_descriptors(path: Any, *args: Any, **named: Any) -> None:
    if isinstance(path, int):
        msg = "utime: path should be string, bytes or os.PathLike, not int"
        raise TypeError(msg)
    UTIME(path, *args, **named)


OPEN, UTIME = os.open, os.utime
shutil._use_fd_functions = False  # type: ignore[attr-defined]  # it has looked already
tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]  # the same
for name in (*FLAGS, *FUNCTIONS):
    if hasattr(os, name):
        delattr(os, name)
for name in WITH_DIRECTORIES:
    setattr(os, name, without_directories(getattr(os, name)))
os.utime = without_times_of_descriptors
os.supports_dir_fd, os.supports_fd = set(), set()
for module, name in ((select, "poll"), (mmap, "MAP_ANONYMOUS"), (mmap, "MAP_PRIVATE")):
    delattr(module, name)

# The tests need these modules themselves, so they are gone only while the whole library is imported.
taken = {name: sys.modules.pop(name, None) for name in MODULES}
sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type]  # an import of None fails
assert not any(name.startswith("aiodreamobjects") for name in sys.modules)
import aiodreamobjects  # noqa: E402 - only now

for found in pkgutil.walk_packages(aiodreamobjects.__path__, "aiodreamobjects."):
    if not found.name.endswith(("__main__", "_upath")):  # the latter needs a package that the tests have not
        importlib.import_module(found.name)
for name in MODULES:
    del sys.modules[name]
sys.modules.update({name: module for name, module in taken.items() if module is not None})
