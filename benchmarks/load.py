"""One turn: a kind of work, with a number of requests in flight, for a given time."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from benchmarks.clients import Client, Operation, Side
from benchmarks.floor import Floor, Signer
from benchmarks.meter import Measured, Meter
from benchmarks.store import BUCKET, PAYLOAD, READ_KEYS, Server, list_bucket

VERBS = {
    "get": ("get",),
    "head": ("head",),
    "write": ("put", "delete"),
    "list": ("list",),
    "presign": ("presign",),
}
"""What a turn of each kind of work measures: what was put is what gets deleted."""

WARM_UP_SECONDS = 0.05
MOST_OPERATIONS = 200_000
PRESIGN_BATCH = 100
SAMPLE = 3
LIST_PATIENCE = 20
"""A listing may take this many times a turn's seconds; one that would take longer is made of fewer keys."""


@dataclass(frozen=True, slots=True)
class Task:
    server: Server
    work: str
    in_flight: int
    seconds: float
    list_keys: tuple[int, ...]
    """Sizes of the buckets that can be listed, largest first."""


class WrongResultError(Exception):
    """A side did something else than the others."""


def run(side: Side, task: Task, report: Callable[[Measured], None]) -> None:
    """Do the task on the side's event loop, and report each verb as soon as it is measured and checked."""
    with asyncio.Runner(loop_factory=side.loop_factory()) as runner:
        runner.run(_run(side.kind(task.server, task.in_flight), task, report))


async def _run(client: Client, task: Task, report: Callable[[Measured], None]) -> None:
    await client.setup()
    match task.work:
        case "get" | "head":
            report(await _measure_reads(client, task))
        case "write":
            await _measure_writes(client, task, report)
        case "list":
            report(await _measure_list(client, task))
        case "presign":
            report(await _measure_presign(client, task))
    await client.close()


async def _measure_reads(client: Client, task: Task) -> Measured:
    async def get(number: int) -> None:
        _expect("size of a body", len(await client.get(READ_KEYS[number % len(READ_KEYS)])), len(PAYLOAD))

    async def head(number: int) -> None:
        _expect("size of an object", await client.head(READ_KEYS[number % len(READ_KEYS)]), len(PAYLOAD))

    read = get if task.work == "get" else head
    await _pump_for(client, read, WARM_UP_SECONDS, least=task.in_flight)
    meter = Meter()
    return meter.read(task.work, await _pump_for(client, read, task.seconds))


async def _measure_writes(client: Client, task: Task, report: Callable[[Measured], None]) -> None:
    keys: list[str] = []

    async def put(number: int) -> None:
        key = f"written/{os.getpid()}/{number}"
        await client.put(key, PAYLOAD)
        keys.append(key)

    async def delete(number: int) -> None:
        await client.delete(keys[number])

    warm = await _pump_for(client, put, WARM_UP_SECONDS, least=task.in_flight)
    meter = Meter()
    count = await _pump_for(client, put, task.seconds, first=warm)
    measured = meter.read("put", count)
    await _check_sample(task.server, keys, len(PAYLOAD))
    report(measured)

    await client.pump(delete, iter(range(warm)))
    meter = Meter()
    await client.pump(delete, iter(range(warm, len(keys))))
    measured = meter.read("delete", count)
    await _check_sample(task.server, keys, None)
    report(measured)


async def _measure_list(client: Client, task: Task) -> Measured:
    fewest = task.list_keys[-1]
    await _list(client, task.server, fewest)
    meter = Meter()
    await _list(client, task.server, fewest)
    affordable = fewest / meter.elapsed() * task.seconds * LIST_PATIENCE
    keys = next((count for count in task.list_keys if count <= affordable), fewest)
    meter, listed = Meter(), 0
    while not listed or meter.elapsed() < task.seconds:
        listed += await _list(client, task.server, keys)
    return replace(meter.read("list", listed), largest_listing=keys)


async def _list(client: Client, server: Server, keys: int) -> int:
    expected = keys, keys * (keys + 1) // 2 if server.makes_up_listings else 0
    _expect("keys and bytes listed", await client.list(list_bucket(keys)), expected)
    return keys


async def _measure_presign(client: Client, task: Task) -> Measured:
    batches = [READ_KEYS[start : start + PRESIGN_BATCH] for start in range(0, len(READ_KEYS), PRESIGN_BATCH)]
    urls = await client.presign(batches[0])
    with urllib.request.urlopen(urls[-1]) as reply:  # noqa: ASYNC210 - nothing else is on this loop
        _expect("content behind a presigned URL", reply.read(), PAYLOAD)
    meter, signed = Meter(), 0
    for batch in itertools.cycle(batches):
        signed += len(await client.presign(batch))
        if meter.elapsed() > task.seconds:
            break
    return meter.read("presign", signed)


async def _pump_for(client: Client, operation: Operation, seconds: float, *, first: int = 0, least: int = 0) -> int:
    """How often the operation was done: for some seconds, and ``least`` times."""
    deadline, count = time.perf_counter() + seconds, 0

    def numbers() -> Iterator[int]:
        nonlocal count
        while count < least or (time.perf_counter() < deadline and count < MOST_OPERATIONS):
            count += 1
            yield first + count - 1

    await client.pump(operation, numbers())
    return count


async def _check_sample(server: Server, keys: Sequence[str], size: int | None) -> None:
    """WrongResultError unless the first and last of the keys are objects of this size, or gone; not asked of the side."""
    floor = Floor(server.endpoint, Signer(server.access_key, server.secret_key, server.region))
    for key in (*keys[:SAMPLE], *keys[-SAMPLE:]):
        reply = await floor.request("HEAD", f"/{BUCKET}/{key}", check=False)
        found = reply.size() if reply.status == HTTPStatus.OK else None
        _expect(f"size of {key}", found, size)
    floor.close()


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        msg = f"{what}: {found!r}, not {wanted!r}"
        raise WrongResultError(msg)
