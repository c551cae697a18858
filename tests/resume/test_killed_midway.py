"""Killed at any byte, against a real gateway: the next try takes up what was there, and ends in the right bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, new_name

import aiodreamobjects as dream

ROUNDS = 8
MIB = 1 << 20
LARGE = random.Random(6).randbytes(30 * MIB)
HELPER = """
import asyncio, json, os, sys
import aiodreamobjects as dream

def tell(**facts):
    os.write(1, json.dumps(facts).encode() + b"\\n")

async def work(job):
    limits = dream.Limits(part_size=5 << 20, parts_per_object=2, **job["pace"])
    service = dream.Service.ceph_rgw(job["endpoint"])
    access_key, secret_key = job["keys"]
    async with dream.Session(service=service, access_key=access_key, secret_key=secret_key, limits=limits) as session:
        verb = getattr(session.object(job["uri"]), job["verb"])
        info = await verb(job["path"], resume=True, progress=lambda now: tell(bytes=now.done_bytes))
        found = session.statistics()
        tell(verified=info.verified, sent=found.bytes_sent, received=found.bytes_received)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        tell(pid=os.getpid())
        asyncio.run(work(json.loads(line)))
        os._exit(0)
    tell(status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@asynccontextmanager
async def helper() -> AsyncIterator[Process]:
    """A process that does each job in a fork of its own: it has imported everything already."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HELPER, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


async def do(process: Process, job: Mapping[str, object], *, kill_at: int | None) -> dict[str, Any]:
    """What the job told at its end; nothing if it was killed, as soon as it was so many bytes far."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job).encode() + b"\n")
    told: dict[str, Any] = {}
    while "status" not in told:
        told |= json.loads(await process.stdout.readline())
        if kill_at is not None and told.get("bytes", -1) >= kill_at and "verified" not in told:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(told["pid"], signal.SIGKILL)
            kill_at = None
    assert told["status"] in (0, -signal.SIGKILL)
    return told if told["status"] == 0 else {}


@pytest.mark.parametrize("verb", ["upload", "download"])
async def test_what_was_killed_midway_is_taken_up(rgw: Server, place: Path, verb: str) -> None:
    chosen, path, kills, taken_up = random.Random(verb), place / "file", 0, 0
    digests = b"".join(hashlib.md5(LARGE[start : start + 5 * MIB]).digest() for start in range(0, len(LARGE), 5 * MIB))
    etag = f"{hashlib.md5(digests).hexdigest()}-6"
    async with rgw.session(limits=dream.Limits(part_size=5 * MIB)) as session, helper() as process:
        bucket = await session.create_bucket(new_name())
        obj = bucket.object("a")
        if verb == "upload":
            path.write_bytes(LARGE)
        else:
            await obj.put(LARGE)
        job = {
            "verb": verb,
            "path": str(path),
            "uri": f"s3://{obj.bucket}/a",
            "endpoint": rgw.service.endpoint,
            "keys": [rgw.access_key, rgw.secret_key],
            "pace": {f"{verb}_bytes_per_second": 100 * MIB},
        }
        for _ in range(ROUNDS):
            last = furthest = 0
            for _ in range(chosen.choice([1, 1, 2])):
                last = chosen.randrange(28 * MIB)
                furthest = max(furthest, last)
                told = await do(process, job, kill_at=last)
                if told:
                    break
                kills += 1
            else:
                was_over = path.exists() if verb == "download" else not await bucket.uploads().collect()
                told = await do(process, job, kill_at=None)
                moved = told["sent" if verb == "upload" else "received"]
                # Two parts are under way at once: what is further than them was there, unless it was completed.
                assert moved < len(LARGE) or was_over or last <= 10 * MIB or furthest >= 20 * MIB
                taken_up += moved < len(LARGE)
            assert told["verified"] == "parts"
            if verb == "upload":
                assert (await obj.head()).etag == etag
                await obj.delete()
            else:
                assert await asyncio.to_thread(path.read_bytes) == LARGE
                assert [found.name for found in place.iterdir()] == ["file"]
                path.unlink()
        assert await bucket.uploads().collect() == []
        await bucket.delete(force=True)
    assert kills
    assert taken_up
