"""Jobs on one session: each streams an object, line by line, through gzip into another one.

    pip install arq 'aiodreamobjects'      # and a Redis: apt install redis-server
    cd examples
    arq worker.tasks.WorkerSettings
    python -m worker s3://my-bucket/access.log s3://my-bucket/errors.log.gz " 500 "

A job holds some parts of the target in memory, never an object. A job that fails, runs out of time or is aborted leaves neither
an object nor an open upload.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from arq.connections import RedisSettings

import aiodreamobjects as dream

CHUNK_BYTES = 256 << 10
"""How many bytes of lines are compressed at once, in a thread: a few milliseconds of work."""

log = logging.getLogger("worker")
Context = dict[str, Any]
"""What arq hands to each job: its Redis, its id, and the session of this worker."""


async def keep_lines(context: Context, source: str, target: str, containing: str = "") -> dict[str, int | None]:
    """Store the lines of one object that contain a text, compressed. Return how much was read and written."""
    session: dream.Session = context["session"]
    async with session.object(source).get() as body:
        lines = gzipped(chosen(context, body, containing.encode()))
        info = await session.object(target).put(lines, content_type="application/gzip")
        return {"read": body.position, "written": info.size}


async def chosen(context: Context, body: dream.Body, containing: bytes) -> AsyncIterator[bytes]:
    """Yield the lines that contain a text. Tell the progress in Redis, once a second."""
    told = time.monotonic()
    async for line in body.lines():
        if containing in line:
            yield line + b"\n"
        if time.monotonic() - told > 1:
            told = time.monotonic()
            await tell(context, body)
    await tell(context, body)


async def tell(context: Context, body: dream.Body) -> None:
    progress = json.dumps({"done": body.position, "total": body.info.size})
    await context["redis"].set(f"progress:{context['job_id']}", progress, ex=3600)


async def gzipped(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compress lines. gzip is too slow for the event loop, so it works in a thread."""
    waiting: list[bytes] = []
    size = 0
    async for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield await asyncio.to_thread(gzip.compress, b"".join(waiting))
            waiting, size = [], 0
    yield await asyncio.to_thread(
        gzip.compress, b"".join(waiting)
    )  # gzip files in a row are one (RFC 1952 section 2.2)


async def startup(context: Context) -> None:
    context["session"] = await dream.Session().open()


async def shutdown(context: Context) -> None:
    """Close the session. arq has cancelled the jobs; their uploads are aborted meanwhile."""
    await context["session"].aclose()


async def after_job(context: Context) -> None:
    """Log the counters of this worker's session."""
    log.info("totals", extra={"totals": context["session"].statistics()})


class WorkerSettings:
    functions: ClassVar = [keep_lines]
    on_startup, on_shutdown, after_job_end = startup, shutdown, after_job
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
    max_jobs = 10
    job_timeout = 3600
    allow_abort_jobs = True
