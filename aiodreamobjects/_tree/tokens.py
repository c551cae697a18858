"""A file by which a worker knows that it sees the same directory as the coordinator."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._system import PLAIN, lock, open_no_link

_BEGIN = ".aiodreamobjects-token-"


def is_token(name: str) -> bool:
    """Return whether this is such a file, here or of another call. No tree has it."""
    return name.startswith(_BEGIN)


@asynccontextmanager
async def token_in(root: str) -> AsyncIterator[str]:
    """Put a token into the directory for a while. What cannot be written is known by its inode instead.

    The token is locked, so the next call knows the tokens of processes that were killed, and removes them.
    """
    ours, name = f"{_BEGIN}{platform.node()}-", secrets.token_hex(8)
    unlocked, path = Path(root, f"{_BEGIN}{name}"), Path(root, f"{ours}{name}")
    file = -1

    def make() -> str:
        nonlocal file
        try:
            file = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | PLAIN, 0o600)
        except OSError:
            return f"{root}:{os.stat(root).st_ino}"  # noqa: PTH116 - a name, as it was given
        with suppress(OSError):  # not all file systems have locks
            lock(file)
        try:
            unlocked.rename(path)
        except PermissionError:  # Windows renames no open file
            return str(unlocked)
        _remove_left(root, ours)
        return str(path)

    def remove() -> None:
        if file != -1:
            os.close(file)  # first, as Windows removes no open file
            for one in (unlocked, path):
                with suppress(OSError):
                    one.unlink()

    try:
        yield await finish(in_thread(make))
    finally:
        await finish(in_thread(remove))


def _remove_left(root: str, ours: str) -> None:
    """Remove the tokens of this machine that no process holds."""
    with os.scandir(root) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(ours)]
    for path in left:
        with suppress(OSError):  # BlockingIOError: it is in use
            file = open_no_link(path, os.O_RDWR)
            try:
                if lock(file):
                    os.unlink(path)  # noqa: PTH108 - as scandir gave it
            finally:
                os.close(file)


async def require_token(token: str) -> None:
    """Raise an error if this process sees another directory."""

    def is_there() -> bool:
        if is_token(os.path.basename(token)):  # noqa: PTH119 - a name, as it was given
            return os.path.lexists(token)
        root, _, inode = token.rpartition(":")
        try:
            return os.stat(root).st_ino == int(inode)  # noqa: PTH116 - as above
        except OSError:
            return False

    if not await finish(in_thread(is_there)):
        root = os.path.dirname(token) if is_token(os.path.basename(token)) else token.rpartition(":")[0]  # noqa: PTH119, PTH120 - as above
        msg = f"the worker on {platform.node()} does not see the directory {root!r} of the caller: with executor=, it must be on a file system that all workers share"
        raise DreamObjectsError(msg)
