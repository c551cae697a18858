"""The example of a worker: its jobs alone, and as arq runs them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from conftest import Server, new_name
from servers.ports import free_port, wait_until_listening
from servers.programs import program, started
from test_examples import check_documented
from worker.tasks import keep_lines

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

EXAMPLES = Path(__file__).parent.parent / "examples"
REDIS = shutil.which("redis-server")


class Noted:
    """In the place of Redis, for a job alone."""

    def __init__(self) -> None:
        self.told: list[int] = []

    async def set(self, name: str, value: int, *, ex: int) -> None:
        assert (name, ex) == ("progress:1", 3600)
        self.told.append(value)


async def test_a_job_keeps_lines_and_tells_its_progress() -> None:
    redis = Noted()
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("bucket-1")
        content = b"one 500 \ntwo 200 \n" * 100_000
        await bucket.object("log").put(content)
        context = {"session": session, "redis": redis, "job_id": "1"}
        outcome = await keep_lines(context, "s3://bucket-1/log", "s3://bucket-1/log.gz", " 500 ")
        stored = await bucket.object("log.gz").read()
        assert gzip.decompress(stored) == b"one 500 \n" * 100_000
        assert outcome == {"read": len(content), "written": len(stored)}
    assert redis.told
    assert redis.told[0] in range(1 << 20, len(content) + 1)


async def test_a_job_that_runs_out_of_time_leaves_nothing() -> None:
    service = MemoryService()
    async with service.session(limits=dream.Limits(part_size=5 << 20)) as session:
        bucket = await session.create_bucket("bucket-1")
        await bucket.object("log").put(lines(12 << 20))
        service.delay("put_part", 60, times=None)
        context = {"session": session, "redis": Noted(), "job_id": "1"}
        with pytest.raises(TimeoutError), anyio.fail_after(2):
            await keep_lines(context, "s3://bucket-1/log", "s3://bucket-1/log.gz")
        assert not await bucket.object("log.gz").exists()
        assert await bucket.uploads().collect() == []


def lines(size: int) -> bytes:
    """Lines that gzip cannot make much smaller."""
    return base64.encodebytes(random.Random(1).randbytes(size))


@contextmanager
def arq(server: Server, home: Path) -> Iterator[dict[str, str]]:
    """The environment of a Redis and a worker, which run."""
    port = free_port()
    assert REDIS is not None
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)]),
        "REDIS_URL": f"redis://127.0.0.1:{port}",
        "DREAMOBJECTS_ENDPOINT_URL": server.service.endpoint,
        "DREAMOBJECTS_ACCESS_KEY_ID": server.access_key,
        "DREAMOBJECTS_SECRET_ACCESS_KEY": server.secret_key,
    }
    command = [REDIS, f"--port {port}", "--bind 127.0.0.1", "--save ''", f"--dir {home}"]
    with started(command, home / "redis.log"):
        wait_until_listening(port)
        with started([program("arq"), "worker.tasks.WorkerSettings"], home / "worker.log", **environment):
            yield environment


def ask(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "worker", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed: tests/servers/debian install")
async def test_a_job_prints_what_the_docs_show(moto: Server, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    async with moto.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("access.log").put("GET /a 200 5\nGET /b 500 0\nGET /c 200 9\nGET /b 500 0\n")
        with arq(moto, tmp_path) as environment:
            replaced = {"s3://my-logs/": f"s3://{bucket.name}/"}
            await asyncio.to_thread(check_documented, "worker", tmp_path, environment, replaced)
        await bucket.delete(force=True)


@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed: tests/servers/debian install")
async def test_jobs_run_and_are_aborted(rgw: Server, tmp_path: Path) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        content = lines(24 << 20)
        await bucket.object("log").put(content)
        place = f"s3://{bucket.name}"
        with arq(rgw, tmp_path) as environment:
            with ask(environment, f"{place}/log", f"{place}/log.gz", "A") as asked:
                told, progress = await asyncio.to_thread(asked.communicate)
            assert asked.returncode == 0, progress + (tmp_path / "worker.log").read_text()
            stored = await bucket.object("log.gz").read()
            assert gzip.decompress(stored).splitlines() == [line for line in content.splitlines() if b"A" in line]
            assert f"'written': {len(stored)}" in told
            with ask(environment, f"{place}/log", f"{place}/aborted.gz") as asked:
                assert asked.stderr is not None
                while not re.match("[1-9]", await asyncio.to_thread(asked.stderr.readline)):
                    assert asked.poll() is None
                asked.send_signal(signal.SIGINT)
                await asyncio.to_thread(asked.communicate)
            assert asked.returncode != 0
            assert not await bucket.object("aborted.gz").exists()
            assert await bucket.uploads().collect() == []
        await bucket.delete(force=True)
