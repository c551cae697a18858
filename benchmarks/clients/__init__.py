"""The clients that are measured: this library and others, one adapter each for all works.

An adapter imports its library when it is opened: the process of one side loads no other library, and a client that is
not installed is left out. No client adds checksums of its own accord to what it sends, since older Ceph gateways, and
those of DreamObjects, refuse some of them. What :class:`Settings` does not name is left at each library's default.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

BUCKET = "bench"
KEY_FORMAT = "logs/2026/11/22/part-%09d.json.gz"
"""Keys that count, from 1 on."""
EXPIRES_SECONDS = 3600
BATCH_KEYS, BATCHES_AT_ONCE = 1000, 8
PARTS, PART_BYTES = 8, 8 << 20
SMALL, LARGE, MANY, SCALE = "small", "large", "many", "scale"
UVLOOP = "+uvloop"
NOT_INSTALLED = "not installed"

CLIENTS = {
    "dream": "dream.Dream",
    "dream-parallel": "dream.DreamParallel",
    "dream-256": "dream.Dream256",
    "dream-1p": "dream.Dream1P",
    "dream-2p": "dream.Dream2P",
    "dream-4p": "dream.Dream4P",
    "dream-8p": "dream.Dream8P",
    "dream-unverified": "dream.DreamUnverified",
    "aioboto3": "boto.Aioboto3",
    "boto3": "boto.Boto3",
    "crt": "crt.Crt",
    "obstore": "obstore.Obstore",
    "opendal": "opendal.Opendal",
    "miniopy-async": "miniopy.MiniopyAsync",
    "s3fs": "s3fs.S3fs",
    "s5cmd": "programs.S5cmd",
    "rclone": "programs.Rclone",
    "aiohttp": "bare.Aiohttp",
    "bare": "bare.Bare",
    "bare-buffered": "bare.BareBuffered",
}
"""The module and class of each adapter, in the order of the tables."""


class NotInstalledError(Exception):
    """This client cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is reached."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    certificate: str = ""
    """The PEM file to trust; empty for plain http."""
    session_token: str | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """Few attempts and short timeouts, in seconds, where a client has them."""

    attempts: int = 4
    connect: int = 2
    silent: int = 2
    whole: int = 4
    """For a whole request, where a client has no other timeout."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a client is set up. None is its default."""

    requests: int | None = None
    """The most in flight, and the size of the connection pool."""
    parts: int | None = PARTS
    """The most of one object in flight."""
    part_bytes: int = PART_BYTES
    patience: Patience | None = None

    @classmethod
    def of(cls, told: dict[str, Any]) -> Settings:
        return cls(**{**told, "patience": told["patience"] and Patience(**told["patience"])})


@dataclass(frozen=True, slots=True)
class Job:
    """What a client does in a process of its own. It is passed as JSON on the command line."""

    verb: str
    service: Service
    settings: Settings = Settings()
    bucket: str = BUCKET
    prefix: str = ""
    """Of keys: empty, or with a slash at its end."""
    directory: str = ""
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """A path for each key, for verbs that move objects."""
    count: int = 0
    """How many keys of KEY_FORMAT, if they are too many for a command line."""
    seconds: float = 0
    """How long a verb with small objects is repeated; 0 does the verb once."""
    list_keys: tuple[int, ...] = ()
    """Sizes of the buckets that can be listed, largest first."""
    has_sizes: bool = False
    """Whether objects of these buckets have the sizes 1, 2, 3 and so on; else they are empty."""
    other: Service | None = None
    """A second service, with the same keys."""
    descriptors: int | None = None
    """The most that the process may have open."""

    @property
    def key(self) -> str:
        return self.keys[0]

    @property
    def file(self) -> str:
        return self.files[0]

    @classmethod
    def of(cls, text: str) -> Job:
        told: dict[str, Any] = json.loads(text)
        told |= {"service": Service(**told["service"]), "settings": Settings.of(told["settings"])}
        told |= {"other": told["other"] and Service(**told["other"])}
        told |= {name: tuple(told[name]) for name in ("keys", "files", "list_keys")}
        return cls(**told)


class Adapter:
    """What is known of a client before it is started."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that it uses, its own first."""
    notes: ClassVar[Mapping[str, str]] = {}
    """How it is used in each work that it takes part in, and what could not be set."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Verbs with small objects, or servers, that it does not support, and why."""
    lacks_in_faults: ClassVar[Mapping[str, str]] = {}
    """Verbs, or numbers of kinds of faults, that it does not support, and why."""
    many: ClassVar[tuple[str, ...]] = ("list", "delete_many", "download_tree", "upload_tree")
    """Verbs with many objects that are measured."""
    widest: ClassVar[int | None] = None
    """The most requests it has in flight."""

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Return the version of every distribution it uses."""
        return {name: version_of(name) for name in cls.packages}

    @classmethod
    def is_installed(cls) -> bool:
        return not next(iter(cls.versions().values())).startswith(NOT_INSTALLED)


class Program(Adapter):
    """A program. It prints a line for each key of a listing. Raises NotInstalledError if it is not installed."""

    def command(self, job: Job, home: Path) -> list[str]:
        """Return the command for a job. Files that it reads are written to ``home``."""
        raise NotImplementedError

    def environment(self, service: Service) -> dict[str, str]:
        raise NotImplementedError


class Client(Adapter):
    """A library. Keys need no quoting.

    ``list`` counts keys and bytes, and sees each key as the library's own value. Verbs for trees count files.
    """

    is_blocking: ClassVar[bool] = False
    """Whether its methods block and need no event loop. :meth:`at_once` then uses threads."""
    ends_badly: ClassVar[bool] = False
    """Whether its threads may abort the process at its end. The process then ends at once."""
    has_downloads: ClassVar[bool] = True
    """Whether it has a call that downloads to a file."""
    takes_iterators: ClassVar[bool] = True
    """Whether :meth:`put_from` takes iterators of bytes; else only files."""

    def __init__(self, service: Service, settings: Settings, bucket: str = BUCKET) -> None:
        self.service, self.settings, self.bucket = service, settings, bucket

    async def open(self) -> None:
        """Make the client; nothing is sent."""

    async def close(self) -> None:
        pass

    # What each library does in its own way. A client has the verbs of the works that it takes part in.

    get: Callable[[str], Awaitable[Any]]
    """The content of a key, as bytes or something that has their length."""
    read: Callable[[str, Callable[[], None]], Coroutine[Any, Any, bytes]]
    """The content of a key, read as a stream. Calls back when it begins to arrive."""
    head: Callable[[str], Awaitable[int]]
    put: Callable[[str, bytes], Awaitable[None]]
    put_from: Callable[[str, Any], Awaitable[None]]
    """Store what a file or an iterator gives."""
    delete: Callable[[str], Awaitable[None]]
    presign: Callable[[Sequence[str]], Awaitable[Sequence[str]]]
    """A URL to GET each of the keys."""
    download: Callable[[str, str], Awaitable[None]]
    """A key to a path."""
    upload: Callable[[str, str], Coroutine[Any, Any, None]]
    """A path to a key."""
    delete_many: Callable[[Sequence[str]], Awaitable[int]]
    """How many it says are deleted."""
    delete_prefix: Callable[[str], Awaitable[None]]
    sync: Callable[[str], Awaitable[None]]
    """Make a directory what the bucket is."""
    copy_and_sync: Callable[[str, Service], Awaitable[None]]
    """Copy an object to another service; then the objects that have changed."""

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        raise NotImplementedError

    async def keys(self, prefix: str = "") -> Sequence[str]:
        raise NotImplementedError

    async def fetch(self, key: str, path: str) -> None:
        """Read an object with one request, and then write it to a file."""
        await asyncio.to_thread(Path(path).write_bytes, await self.get(key))

    async def download_all(self, keys: Sequence[str], paths: Sequence[str]) -> None:
        """Download all at once, each to its end. Raise the first error."""
        downloads = [self.download(key, path) for key, path in zip(keys, paths, strict=True)]
        for done in await asyncio.gather(*downloads, return_exceptions=True):
            if done:
                raise done

    async def download_tree(self, directory: str, prefix: str) -> int:
        """Download every object below a prefix, for libraries without a verb for trees."""
        keys = await self.keys(prefix)
        await self.at_once(
            self.settings.requests or 1, lambda key: self.download(key, place(directory, prefix, key)), keys
        )
        return len(keys)

    async def upload_tree(self, directory: str, prefix: str) -> int:
        files = files_below(directory)
        await self.at_once(self.settings.requests or 1, lambda one: self.upload(one[0], prefix + one[1]), files)
        return len(files)

    async def at_once(self, width: int, do: Callable[[Any], Awaitable[object]], things: Iterable[Any]) -> None:
        """Do something with each thing, ``width`` at a time."""
        remaining = iter(things)

        async def work() -> None:
            for thing in remaining:
                await do(thing)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(width):
                tasks.create_task(work())


async def count_pages(pages: AsyncIterable[Any], size: str) -> tuple[int, int]:
    """Return the number of keys of a listing that comes in pages, and the sum of their sizes."""
    count = total = 0
    async for page in pages:
        for item in page:
            count += 1
            total += item[size]
    return count, total


async def delete_in_batches(
    client: Client, keys: Sequence[str], delete: Callable[[Sequence[str]], Awaitable[int]]
) -> int:
    """Call ``delete`` with batches of 1,000 keys, 8 at once. Return the sum of its results."""
    done = 0

    async def delete_one(batch: Sequence[str]) -> None:
        nonlocal done
        done += await delete(batch)

    batches = (keys[start : start + BATCH_KEYS] for start in range(0, len(keys), BATCH_KEYS))
    await client.at_once(BATCHES_AT_ONCE, delete_one, batches)
    return done


def place(directory: str, prefix: str, key: str) -> str:
    """Return the path for a key, and make its directory."""
    path = os.path.join(directory, key[len(prefix) :])  # noqa: PTH118 - once a file, and quick
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - the same
    return path


def files_below(directory: str) -> list[tuple[str, str]]:
    """Return the paths of all files, and their paths relative to the directory."""
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in names]  # noqa: PTH118
    return [(path, os.path.relpath(path, directory)) for path in paths]


def run_without_a_loop(coroutine: Awaitable[Any]) -> Any:
    """Return what a blocking client's method returns."""
    try:
        next(iter(coroutine.__await__()))
    except StopIteration as end:
        return end.value
    msg = "a method of a blocking client waited"
    raise RuntimeError(msg)


@dataclass(frozen=True)
class Side:
    """A client on one event loop."""

    name: str

    @property
    def client(self) -> str:
        return self.name.removesuffix(UVLOOP)

    @property
    def uses_uvloop(self) -> bool:
        return self.name.endswith(UVLOOP)

    @cached_property
    def kind(self) -> type[Adapter]:
        module, name = CLIENTS[self.client].split(".")
        found: type[Adapter] = getattr(importlib.import_module(f"benchmarks.clients.{module}"), name)
        return found

    def library(self) -> type[Client]:
        assert issubclass(self.kind, Client)
        return self.kind

    def program(self) -> Program:
        assert issubclass(self.kind, Program)
        return self.kind()

    @property
    def is_program(self) -> bool:
        return issubclass(self.kind, Program)

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """None is asyncio's own."""
        if not self.uses_uvloop:
            return None
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory


def sides_of(work: str) -> dict[str, Side]:
    """Every client that takes part in a work, on every loop it can have."""
    sides = [side for name in CLIENTS if work in (side := Side(name)).kind.notes]
    pairs = [(side, Side(side.name + UVLOOP)) if not side.is_program else (side,) for side in sides]
    return {side.name: side for pair in pairs for side in pair}


def version_of(package: str) -> str:
    from importlib import metadata  # half of what this module would take to import

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
