"""Cancelled at any moment, a verb leaves nothing behind: no file, no task, no place taken."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

import anyio
import pytest
from servers.scripted import Content, Reply, ScriptedServer

import aiodreamobjects as dream

DATA = bytes(range(256)) * 4096
ETAG = hashlib.md5(DATA).hexdigest()

# Turns of the event loop before the cancellation: each of the first, then ever fewer, until the verb is done.
TURNS = [*range(40), *(int(40 * 1.3**n) for n in range(1, 40))]


async def cancelled_after(turns: int, work: Coroutine[object, object, object]) -> bool:
    """Whether the cancellation came before the end."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    if not task.cancel():
        return False
    with pytest.raises(asyncio.CancelledError):
        await task
    return True


async def scope_cancelled_after(turns: int, work: Coroutine[object, object, object]) -> bool:
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            await work

    task = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.done():
        await task
        return False
    scope.cancel()
    await task
    return scope.cancelled_caught


@pytest.mark.parametrize("cancel", [cancelled_after, scope_cancelled_after])
async def test_a_cancelled_download_leaves_the_old_file_or_the_whole_new_one(
    scripted: ScriptedServer, tmp_path: Path, cancel: type[object]
) -> None:
    scripted.will(Content(DATA, ETAG))
    target = tmp_path / "file"
    outcomes = set()
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        for turns in itertools.chain(TURNS, [1 << 20]):
            target.write_bytes(b"old")
            was_cancelled = await cancel(turns, session.object("s3://bucket/a").download(target))  # type: ignore[call-arg, misc]  # one of the two above
            outcomes.add(was_cancelled)
            assert [path.name for path in tmp_path.iterdir()] == ["file"]
            assert target.read_bytes() in ((b"old", DATA) if was_cancelled else (DATA,))
            if not was_cancelled:
                break
        assert await session.object("s3://bucket/a").read() == DATA
    assert outcomes == {True, False}


@pytest.mark.parametrize("cancel", [cancelled_after, scope_cancelled_after])
async def test_a_cancelled_request_leaves_the_session_serving(scripted: ScriptedServer, cancel: type[object]) -> None:
    scripted.will(Content(b"here", "opaque-1"))
    async with scripted.session(limits=dream.Limits(requests=1)) as session:
        obj = session.object("s3://bucket/a")
        for turns in TURNS[:50]:
            for verb in (obj.head(), obj.read(), session.bucket("bucket").info()):
                await cancel(turns, verb)  # type: ignore[call-arg, misc]  # one of the two above
            assert await obj.read() == b"here"


SCRIPT = """
import asyncio, sys
import aiodreamobjects as dream

async def main(endpoint, target):
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b") as session:
        await session.object("s3://bucket/a").download(target)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_control_c_removes_the_temporary_file(scripted: ScriptedServer, tmp_path: Path) -> None:
    hold = asyncio.Event()
    scripted.will(Reply(200, DATA, {"ETag": f'"{ETAG}"'}, length=len(DATA) + 1, hold=hold))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, scripted.endpoint, str(tmp_path / "file"), stderr=asyncio.subprocess.PIPE
    )
    await scripted.arrived.wait()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    hold.set()
    assert errors.decode().splitlines()[-1] == "KeyboardInterrupt"
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []
