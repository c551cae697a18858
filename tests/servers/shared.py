"""Servers that the workers of one test run share, where pytest-xdist runs several."""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, TypeVar

if sys.platform != "win32":
    import fcntl

Facts = TypeVar("Facts")


class SharedServers:
    """The worker that asks first starts a server, and stops it when no worker uses servers any more.

    The kernel releases the locks of a worker that is killed.
    """

    def __init__(self, home: Path) -> None:
        """Take a directory of this run. Windows has no such locks: there each worker needs its own."""
        home.mkdir(exist_ok=True)
        self._home, self._started = home, ExitStack()
        self._in_use = (home / "in-use").open("w")
        _lock(self._in_use, exclusive=False)

    def get(self, name: str, start: Callable[[Path], AbstractContextManager[Facts]]) -> Facts:
        """Return what ``start`` gave, in this process or in another. It gets a directory of its own."""
        known = self._home / f"{name}.pickle"
        with (self._home / f"{name}.lock").open("w") as lock:
            _lock(lock, exclusive=True)
            if not known.exists():
                facts = self._started.enter_context(start(Path(tempfile.mkdtemp(prefix=name, dir=self._home))))
                known.write_bytes(pickle.dumps(facts))
                self._started.callback(known.unlink)
            found: Facts = pickle.loads(known.read_bytes())
            return found

    def close(self) -> None:
        """Wait until no other worker uses servers, and stop those that this one has started."""
        with self._in_use, self._started:
            _lock(self._in_use, exclusive=True)


def _lock(file: IO[str], *, exclusive: bool) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
