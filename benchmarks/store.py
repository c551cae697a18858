"""What the sides work on: a server, its buckets, and the objects that are put there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.clients import BUCKET, KEY_FORMAT, Service

FILL_WIDTH = 32

PAYLOAD = bytes(range(256)) * 4
"""What every object of BUCKET holds: 1 KiB."""
READ_KEYS = [f"read/{number}" for number in range(1000)]
"""The objects of BUCKET that are read and never written."""


class ServerUnavailableError(Exception):
    """This server cannot be started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    service: Service
    version: str
    makes_up_listings: bool
    """Then any bucket of :func:`list_bucket` is there, with keys of sizes 1, 2, 3 and so on; else they are empty."""
    tls: Service | None = None
    """The same over TLS, if it speaks that."""
    delayed: Service | None = None
    """The same with latency, if it was asked for."""
    objects: str = ""
    """The directory of the buckets, where objects are files."""
    process: int = 0
    """The one that does the work, where it is one."""


def list_bucket(keys: int) -> str:
    """The bucket that holds this many keys to be listed."""
    return f"list-{keys}"


def fill(server: Server, list_keys: Sequence[int]) -> None:
    """Put the objects that are read and, where listings are not made up, buckets of so many empty objects to list."""
    put_all(
        server.service, [] if server.makes_up_listings else [BUCKET], {f"/{BUCKET}/{key}": PAYLOAD for key in READ_KEYS}
    )
    for keys in () if server.makes_up_listings else list_keys:
        fill_bucket(server.service, list_bucket(keys), keys)


def fill_bucket(service: Service, bucket: str, keys: int) -> None:
    """Put so many empty objects into a new bucket."""
    put_all(service, [bucket], {f"/{bucket}/{KEY_FORMAT % number}": b"" for number in range(1, keys + 1)})


def put_all(service: Service, buckets: Sequence[str], objects: Mapping[str, bytes]) -> None:
    """Create the buckets, and put the objects, each at its path."""
    asyncio.run(_put_all(service, buckets, objects))


async def _put_all(service: Service, buckets: Sequence[str], objects: Mapping[str, bytes]) -> None:
    from benchmarks.floor import Floor  # a library's process does without it

    floor, remaining = Floor(service), iter(objects.items())

    async def work() -> None:
        for path, body in remaining:
            await floor.request("PUT", path, body)

    for bucket in buckets:
        await floor.request("PUT", f"/{bucket}", b"")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(FILL_WIDTH):
            tasks.create_task(work())
    floor.close()
