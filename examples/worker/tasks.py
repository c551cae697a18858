"""Jobs on one session: each streams an object, line by line, through gzip into another one.

    pip install arq aiodreamobjects        # and a Redis: apt install redis-server
    cd examples
    arq worker.tasks.WorkerSettings
    python -m worker s3://my-bucket/access.log s3://my-bucket/errors.log.gz " 500 "

A job holds some parts in memory, never an object. One that fails, runs out of time or is aborted leaves nothing behind.
"""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from arq.connections import RedisSettings

import aiodreamobjects as dream

Context = dict[str, Any]  # arq's Redis, the id of the job, and the session of this worker


async def keep_lines(context: Context, source: str, target: str, containing: str = "") -> dict[str, int | None]:
    """Store the lines of one object that contain a text, compressed. Return how much was read and written."""
    session: dream.Session = context["session"]
    async with session.object(source).get() as body:
        lines = gzipped(context, body, containing.encode())
        info = await session.object(target).put(lines, content_type="application/gzip")
        return {"read": body.position, "written": info.size}


async def gzipped(context: Context, body: dream.Body, containing: bytes) -> AsyncIterator[bytes]:
    """For each MiB that is read, compress the lines in a thread, and note the progress in Redis."""
    chosen, done = bytearray(), 0
    async for line in body.lines():
        if containing in line:
            chosen += line + b"\n"
        if body.position - done >= 1 << 20:
            yield await asyncio.to_thread(gzip.compress, bytes(chosen))  # gzip files in a row are one (RFC 1952 2.2)
            chosen.clear()
            done = body.position
            await context["redis"].set(f"progress:{context['job_id']}", done, ex=3600)
    yield await asyncio.to_thread(gzip.compress, bytes(chosen))


async def startup(context: Context) -> None:
    context["session"] = await dream.Session().open()


async def shutdown(context: Context) -> None:  # arq has cancelled the jobs: their uploads are aborted meanwhile
    await context["session"].aclose()


class WorkerSettings:
    functions: ClassVar = [keep_lines]
    on_startup, on_shutdown = startup, shutdown
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
    max_jobs, job_timeout, allow_abort_jobs = 10, 3600, True
