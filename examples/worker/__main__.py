"""Ask for a job, and show its progress: ``python -m worker SOURCE TARGET [TEXT]``. Ctrl-C aborts it."""

import asyncio
import sys

from arq import create_pool

from worker.tasks import WorkerSettings


async def main(*arguments: str) -> None:
    redis = await create_pool(WorkerSettings.redis_settings)
    job = await redis.enqueue_job("keep_lines", *arguments)
    assert job is not None  # None would mean that a job with this id exists
    result = asyncio.ensure_future(job.result())
    try:
        while not result.done():
            await asyncio.wait([result], timeout=1)
            done = int(await redis.get(f"progress:{job.job_id}") or 0)
            print(f"{done:,} bytes read", file=sys.stderr)
        print(await result)
    except asyncio.CancelledError:
        result.cancel()
        await job.abort()
        raise
    finally:
        await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
