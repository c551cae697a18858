"""What the sides work on: a server, its buckets and their objects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.clients import BUCKET, KEY_FORMAT, Service

FILL_WIDTH = 32

PAYLOAD = bytes(range(256)) * 4
"""What every object of BUCKET holds: 1 KiB."""
READ_KEYS = [f"read/{number}" for number in range(1000)]
"""Objects of BUCKET that are only read."""


class ServerUnavailableError(Exception):
    """This server cannot be started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    service: Service
    version: str
    makes_up_listings: bool
    """Whether it has any bucket of :func:`list_bucket`, with sizes 1, 2, 3 and so on. Else objects to list are empty."""
    tls: Service | None = None
    """The same over TLS, if it has that."""
    delayed: Service | None = None
    """The same with latency, if it has that."""
    objects: str = ""
    """The directory of the buckets, if objects are files."""
    process: int = 0
    """The id of the process that does the work, if it is one."""


def list_bucket(keys: int) -> str:
    """Return the name of the bucket with this many keys to list."""
    return f"list-{keys}"


def fill(server: Server, list_keys: Sequence[int]) -> None:
    """Put the objects to read and, unless listings are made up, buckets with so many empty objects to list."""
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
    from benchmarks.floor import Floor  # not in a library's process

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
