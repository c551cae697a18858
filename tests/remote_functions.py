"""What the tests of ``apply`` call in workers: they must be able to import it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from contextlib import suppress

import aiodreamobjects as dream


async def content_and_process(cat: dream.Object, suffix: str) -> tuple[str, int]:
    return await cat.read_text() + suffix, os.getpid()


async def key_of_other(cat: dream.Object, bucket: dream.Bucket) -> dream.Object:
    """The bucket arrives as one of the worker's session."""
    assert (await bucket.info()).name == cat.bucket
    return bucket.object(cat.key)


class WrongFood(Exception):  # noqa: N818 - a user's own
    def __init__(self, food: str, *, eater: str) -> None:
        super().__init__(f"{eater} does not eat {food}")


async def fail(cat: dream.Object) -> None:
    raise WrongFood(cat.key, eater="the cat")


async def leave(cat: dream.Object) -> None:
    raise SystemExit(3)


_THE_SAME = ValueError("the same")


async def raise_the_same(cat: dream.Object) -> None:
    raise _THE_SAME


class _Unreadable:
    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("no number",)


async def unreadable(cat: dream.Object) -> object:
    return _Unreadable()


def leave_no_descriptors() -> None:
    """Let this process open no file more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    with suppress(OSError):
        while True:
            os.open(os.devnull, os.O_RDONLY)


async def begin_and_wait(cat: dream.Object) -> None:
    """Say that it has begun, on the standard output that a worker shares with its parent, and never end."""
    os.write(1, b"begun\n")
    await asyncio.Event().wait()


def end_at_sigterm() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


async def send_sigterm_to_this_thread(cat: dream.Object) -> None:
    """The main thread, which waits for this, has to see it: Python runs handlers only there."""
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    await asyncio.Event().wait()
