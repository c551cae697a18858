"""The servers that the sides are measured against, and what is put into them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from benchmarks.ceph_rgw import ceph_rgw
from benchmarks.floor import Floor, Signer
from benchmarks.nginx_s3 import nginx_s3
from benchmarks.store import BUCKET, PAYLOAD, READ_KEYS, Server, list_bucket

SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {"nginx": nginx_s3, "rgw": ceph_rgw}

FILL_WIDTH = 32


def fill(server: Server, list_keys: Sequence[int]) -> None:
    """Put the objects that are read and, where listings are not made up, buckets of so many empty objects to list."""
    objects = [(f"/{BUCKET}/{key}", PAYLOAD) for key in READ_KEYS]
    buckets: list[str] = []
    if not server.makes_up_listings:
        buckets = [BUCKET, *(list_bucket(keys) for keys in list_keys)]
        objects += [
            (f"/{list_bucket(keys)}/logs/2026/11/22/part-{number:09}.json.gz", b"")
            for keys in list_keys
            for number in range(1, keys + 1)
        ]
    put_all(server, buckets, objects)


def put_all(server: Server, buckets: Sequence[str], objects: Sequence[tuple[str, bytes]]) -> None:
    """Create the buckets, and put the objects, each at its path."""
    asyncio.run(_put_all(server, buckets, objects))


async def _put_all(server: Server, buckets: Sequence[str], objects: Sequence[tuple[str, bytes]]) -> None:
    floor = Floor(server.endpoint, Signer(server.access_key, server.secret_key, server.region))
    remaining = iter(objects)

    async def work() -> None:
        for path, body in remaining:
            await floor.request("PUT", path, body)

    for bucket in buckets:
        await floor.request("PUT", f"/{bucket}", b"")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(FILL_WIDTH):
            tasks.create_task(work())
    floor.close()
