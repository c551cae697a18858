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

_BEGIN = ".aiodreamobjects-token-"


def is_token(name: str) -> bool:
    """Return whether this is such a file, here or of another call. No tree has it."""
    return name.startswith(_BEGIN)


@asynccontextmanager
async def token_in(root: str) -> AsyncIterator[str]:
    """Put a token into the directory for a while. What cannot be written is known by its inode instead."""
    path = Path(root, f"{_BEGIN}{secrets.token_hex(8)}")

    def make() -> str:
        try:
            path.touch(exist_ok=False)
        except OSError:
            return f"{root}:{os.stat(root).st_ino}"  # noqa: PTH116 - a name, as it was given
        return str(path)

    def remove() -> None:
        with suppress(OSError):
            path.unlink()

    try:
        yield await finish(in_thread(make))
    finally:
        await finish(in_thread(remove))


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
