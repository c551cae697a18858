"""The process of a library's turn.

    python -m benchmarks.turn SIDE JOB     # JOB is JSON; prints a line with a Done as JSON for each verb

Some turns measure the whole process, so this module imports little.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

from benchmarks.clients import BUCKET, KEY_FORMAT, Client, Job, Service, Side
from benchmarks.meter import Measured, Meter, describe
from benchmarks.store import PAYLOAD, READ_KEYS, list_bucket

Operation = Callable[[int], Awaitable[None]]

WARM_UP_SECONDS = 0.05
MOST_OPERATIONS = 200_000
PRESIGN_BATCH = 100
SAMPLE = 3
LIST_PATIENCE = 20
"""A listing may take this many times a turn's seconds. If it would take longer, a bucket with fewer keys is listed."""


@dataclass(frozen=True, slots=True)
class Done:
    """What the library says it did, and what that took from the open client on."""

    verb: str
    measured: Measured
    count: int = 0
    """Keys or files."""
    size: int | None = None
    """Bytes, if it says so."""

    @classmethod
    def of(cls, line: str) -> Done:
        told = json.loads(line)
        return cls(**{**told, "measured": Measured(**told["measured"])})


class WrongResultError(Exception):
    """A client returned or stored something wrong."""


async def do(client: Client, job: Job) -> AsyncIterator[Done]:
    """Open the client and do the job. Yield each verb as soon as it is measured and checked."""
    keys = job.keys or [KEY_FORMAT % number for number in range(1, job.count + 1)]
    await client.open()
    if job.verb == "start":
        _expect("size of a body", len(await client.get(READ_KEYS[0])), len(PAYLOAD))
        await client.close()
    elif not job.seconds:
        yield await _once(client, job, keys)
    else:
        work = {"write": _writes, "list": _lists, "presign": _presigns}.get(job.verb, _reads)
        async for done in work(client, job):
            yield done
        await client.close()


# Large or many objects, once


async def _once(client: Client, job: Job, keys: Sequence[str]) -> Done:
    """Do the verb once. The CPU time includes closing the client, where its threads may end; the wall time does not."""
    meter = Meter(from_now=True)
    count, size = await _do_once(client, job, keys)
    wall = meter.elapsed()
    await client.close()
    return Done(job.verb, replace(meter.read(1), wall_seconds=wall), count, size)


async def _do_once(client: Client, job: Job, keys: Sequence[str]) -> tuple[int, int | None]:
    match job.verb:
        case "list":
            return await client.list(job.bucket, job.prefix)
        case "delete_many":
            return await client.delete_many(keys), None
        case "download":
            await client.at_once(len(keys), lambda pair: client.download(*pair), zip(keys, job.files, strict=True))
            return len(keys), None
        case "upload":
            await client.at_once(len(keys), lambda pair: client.upload(*pair), zip(job.files, keys, strict=True))
            return len(keys), None
        case verb:
            count: int = await getattr(client, verb)(job.directory, job.prefix)
            return count, None


# Small objects, for some seconds


async def _reads(client: Client, job: Job) -> AsyncIterator[Done]:
    async def get(number: int) -> None:
        _expect("size of a body", len(await client.get(READ_KEYS[number % len(READ_KEYS)])), len(PAYLOAD))

    async def head(number: int) -> None:
        _expect("size of an object", await client.head(READ_KEYS[number % len(READ_KEYS)]), len(PAYLOAD))

    read = get if job.verb == "get" else head
    await _pump_for(client, job, read, WARM_UP_SECONDS, least=_width(job))
    meter = Meter()
    yield Done(job.verb, meter.read(await _pump_for(client, job, read, job.seconds)))


async def _writes(client: Client, job: Job) -> AsyncIterator[Done]:
    keys: list[str] = []

    async def put(number: int) -> None:
        key = f"written/{os.getpid()}/{number}"
        await client.put(key, PAYLOAD)
        keys.append(key)

    async def delete(number: int) -> None:
        await client.delete(keys[number])

    warm = await _pump_for(client, job, put, WARM_UP_SECONDS, least=_width(job))
    meter = Meter()
    count = await _pump_for(client, job, put, job.seconds, first=warm)
    measured = meter.read(count)
    await _check_sample(job.service, keys, len(PAYLOAD))
    yield Done("put", measured)

    await client.at_once(_width(job), delete, range(warm))
    meter = Meter()
    await client.at_once(_width(job), delete, range(warm, len(keys)))
    measured = meter.read(count)
    await _check_sample(job.service, keys, None)
    yield Done("delete", measured)


async def _lists(client: Client, job: Job) -> AsyncIterator[Done]:
    async def list_(keys: int) -> int:
        expected = keys, keys * (keys + 1) // 2 if job.has_sizes else 0
        _expect("keys and bytes listed", await client.list(list_bucket(keys)), expected)
        return keys

    fewest = job.list_keys[-1]
    await list_(fewest)
    meter = Meter()
    await list_(fewest)
    affordable = fewest / meter.elapsed() * job.seconds * LIST_PATIENCE
    keys = next((count for count in job.list_keys if count <= affordable), fewest)
    meter, listed = Meter(), 0
    while not listed or meter.elapsed() < job.seconds:
        listed += await list_(keys)
    yield Done("list", replace(meter.read(listed), largest_listing=keys))


async def _presigns(client: Client, job: Job) -> AsyncIterator[Done]:
    from urllib.request import urlopen

    batches = [READ_KEYS[start : start + PRESIGN_BATCH] for start in range(0, len(READ_KEYS), PRESIGN_BATCH)]
    urls = await client.presign(batches[0])
    with urlopen(urls[-1]) as reply:  # noqa: ASYNC210 - nothing else is on this loop
        _expect("content behind a presigned URL", reply.read(), PAYLOAD)
    meter, signed = Meter(), 0
    for batch in itertools.cycle(batches):
        signed += len(await client.presign(batch))
        if meter.elapsed() > job.seconds:
            break
    yield Done("presign", meter.read(signed))


async def _pump_for(
    client: Client, job: Job, operation: Operation, seconds: float, *, first: int = 0, least: int = 0
) -> int:
    """Do the operation for some seconds, and at least ``least`` times. Return how often."""
    deadline, count = time.perf_counter() + seconds, 0

    def numbers() -> Iterator[int]:
        nonlocal count
        while count < least or (time.perf_counter() < deadline and count < MOST_OPERATIONS):
            count += 1
            yield first + count - 1

    await client.at_once(_width(job), operation, numbers())
    return count


def _width(job: Job) -> int:
    return job.settings.requests or 1


async def _check_sample(service: Service, keys: Sequence[str], size: int | None) -> None:
    """Raise WrongResultError unless the first and last keys have this size, or are gone."""
    from benchmarks.floor import Floor

    floor = Floor(service)
    for key in (*keys[:SAMPLE], *keys[-SAMPLE:]):
        reply = await floor.request("HEAD", f"/{BUCKET}/{key}", check=False)
        _expect(f"size of {key}", reply.size() if reply.is_ok else None, size)
    floor.close()


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        msg = f"{what}: {found!r}, not {wanted!r}"
        raise WrongResultError(msg)


# The process


async def _tell(client: Client, job: Job) -> None:
    async for done in do(client, job):
        print(json.dumps(asdict(done)), flush=True)


def main() -> None:
    side, job = Side(sys.argv[1]), Job.of(sys.argv[2])
    client = side.library()(job.service, job.settings, job.bucket)
    try:
        with asyncio.Runner(loop_factory=side.loop_factory()) as runner:
            runner.run(_tell(client, job))
    except ImportError as error:
        fail(f"not installed: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this side's failure
        fail(describe(error))
    if client.ends_badly and job.verb != "start":  # a start is measured to its end
        os._exit(0)


def fail(why: str) -> NoReturn:
    """End at once, before libraries complain about clients that were not closed."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
