"""The libraries of :mod:`benchmarks.many`, in a Python process each.

    python -m benchmarks.many_clients SIDE TASK     # the task's fields as JSON; prints a Done as JSON

What this module imports is in every side's time: it is little.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NoReturn

from benchmarks.access import PART_BYTES, PARTS, boto_arguments, boto_settings, obstore_store, transfer_config
from benchmarks.loops import UVLOOP, loop_factory
from benchmarks.meter import cpu_seconds, describe, forget_peak, peak_bytes, resident_bytes

AT_ONCE = 64
"""Objects, or requests where a side counts those."""
BATCH_KEYS, BATCHES_AT_ONCE = 1000, 8
LIST, DELETE, DOWN, UP, PLAN_DOWN, PLAN_UP = "list", "delete", "down", "up", "plan-down", "plan-up"


@dataclass(frozen=True, slots=True)
class Task:
    """Something with the objects of a bucket whose keys begin with a prefix; files are in a directory."""

    work: str
    bucket: str
    prefix: str
    """Empty, or with a slash at its end."""
    directory: str
    key_format: str
    """Of what is to be deleted, made of the numbers from 1 on."""
    key_count: int
    endpoint: str
    access_key: str
    secret_key: str
    region: str
    certificate: str = ""

    def keys(self) -> list[str]:
        return [self.key_format % number for number in range(1, self.key_count + 1)]


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, and what it took from the open client on."""

    count: int
    """Keys or files, as the library tells it."""
    size: int | None
    """Bytes, where it tells them."""
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    idle_bytes: int
    """What was resident with the open client."""


class Client:
    works: ClassVar[tuple[str, ...]] = (LIST, DELETE, DOWN, UP)
    packages: ClassVar[tuple[str, ...]] = ()
    note: ClassVar[str] = ""
    """What is chosen, and what it could not be told, for whoever reads the numbers."""
    ends_badly: ClassVar[bool] = False
    """Its threads may abort the process at its end, which is then left out."""

    def __init__(self, task: Task) -> None:
        self.task = task

    async def setup(self) -> None:
        """Make the client; nothing is sent."""

    async def list(self) -> tuple[int, int]:
        """How many keys there are and their sizes' sum, each key seen as the library's own value."""
        raise NotImplementedError

    async def delete(self, keys: Sequence[str]) -> int:
        """How many are deleted."""
        raise NotImplementedError

    async def down(self) -> int:
        """How many files are written."""
        raise NotImplementedError

    async def up(self) -> int:
        raise NotImplementedError

    async def plan_down(self) -> int:
        """How many files would be written."""
        raise NotImplementedError

    async def plan_up(self) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    def path(self, key: str) -> str:
        """Where a key's file goes; its directory is made."""
        path = os.path.join(self.task.directory, key[len(self.task.prefix) :])  # noqa: PTH118 - once a file, and quick
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - the same
        return path

    def files(self) -> Iterator[tuple[str, str]]:
        """Paths below the directory, and the keys that they get."""
        root = self.task.directory
        for directory, _, names in os.walk(root):
            for name in names:
                path = os.path.join(directory, name)  # noqa: PTH118 - the same
                yield path, self.task.prefix + os.path.relpath(path, root)


class Dream(Client):
    works: ClassVar[tuple[str, ...]] = (LIST, DELETE, DOWN, UP, PLAN_DOWN, PLAN_UP)
    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects",)
    note = "`bucket.list()`, `delete_many`, `download_tree`, `upload_tree`; its defaults, which are 64 requests at once"
    requests: ClassVar[int] = AT_ONCE
    parallel: ClassVar[int] = 1

    async def setup(self) -> None:
        import aiodreamobjects as dream

        task = self.task
        self._session = dream.Session(
            endpoint=task.endpoint,
            access_key=task.access_key,
            secret_key=task.secret_key,
            region=task.region,
            ca=task.certificate or None,
            limits=dream.Limits(requests=self.requests),
        )
        await self._session.open()
        self._bucket: Any = self._session.bucket(task.bucket)

    async def list(self) -> tuple[int, int]:
        count = size = 0
        async for info in self._bucket.list(self.task.prefix, parallel=self.parallel):
            count += 1
            size += info.size or 0
        return count, size

    async def delete(self, keys: Sequence[str]) -> int:
        done: int = (await self._bucket.delete_many(keys)).done
        return done

    async def down(self) -> int:
        copied: int = (await self._bucket.download_tree(self.task.directory, self.task.prefix)).copied
        return copied

    async def up(self) -> int:
        copied: int = (await self._bucket.upload_tree(self.task.directory, self.task.prefix)).copied
        return copied

    async def plan_down(self) -> int:
        return await self._plan(self._bucket.download_tree)

    async def plan_up(self) -> int:
        return await self._plan(self._bucket.upload_tree)

    async def _plan(self, move: Callable[..., Awaitable[Any]]) -> int:
        report = await move(self.task.directory, self.task.prefix, compare="size", dry_run=True)
        copied: int = report.copied
        return copied

    async def close(self) -> None:
        await self._session.aclose()


class DreamParallel(Dream):
    works = (LIST,)
    note = "`bucket.list(parallel=16)`"
    parallel = 16


class Dream256(Dream):
    works = (DOWN, UP)
    note = "the same with `Limits(requests=256)`, as many as s5cmd has workers"
    requests = 256


class Aioboto3(Client):
    packages = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    note = (
        "the paginator of `list_objects_v2`; `delete_objects` of 1,000 keys, 8 at once, that tells each key as this "
        "library has it told; `download_file` and `upload_file`, 64 at once"
    )

    async def setup(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack = AsyncExitStack()
        self._s3 = await self._stack.enter_async_context(
            aioboto3.Session().client("s3", **boto_arguments(self.task), config=AioConfig(**boto_settings(AT_ONCE)))
        )

    async def list(self) -> tuple[int, int]:
        count = size = 0
        async for page in self._pages():
            for item in page.get("Contents", ()):
                count += 1
                size += item["Size"]
        return count, size

    async def delete(self, keys: Sequence[str]) -> int:
        async def delete(batch: Sequence[str]) -> None:
            told = {"Objects": [{"Key": key} for key in batch]}
            reply = await self._s3.delete_objects(Bucket=self.task.bucket, Delete=told)
            assert len(reply["Deleted"]) == len(batch), reply.get("Errors")

        return await _batch_by_batch(keys, delete)

    async def down(self) -> int:
        config = transfer_config()
        keys = [item["Key"] async for page in self._pages() for item in page.get("Contents", ())]

        async def download(key: str) -> None:
            await self._s3.download_file(self.task.bucket, key, self.path(key), Config=config)

        return await _at_once(AT_ONCE, download, keys)

    async def up(self) -> int:
        config = transfer_config()

        async def upload(source: tuple[str, str]) -> None:
            await self._s3.upload_file(source[0], self.task.bucket, source[1], Config=config)

        return await _at_once(AT_ONCE, upload, self.files())

    def _pages(self) -> Any:
        paginator = self._s3.get_paginator("list_objects_v2")
        return paginator.paginate(Bucket=self.task.bucket, Prefix=self.task.prefix)

    async def close(self) -> None:
        await self._stack.aclose()


class Boto3(Client):
    """The engine of the AWS command line: it is told sizes and ETags, so that no request is needed to know them."""

    works = (DOWN, UP)
    packages = ("boto3", "botocore", "s3transfer", "urllib3")
    note = "`s3transfer.TransferManager`, the engine below boto3 and the AWS command line, with 64 threads"

    async def setup(self) -> None:
        import boto3
        from boto3.s3.transfer import create_transfer_manager
        from botocore.config import Config

        self._s3 = boto3.session.Session().client(
            "s3", **boto_arguments(self.task), config=Config(**boto_settings(AT_ONCE))
        )
        self._manager: Any = create_transfer_manager(self._s3, transfer_config(AT_ONCE))

    async def down(self) -> int:
        paginator = self._s3.get_paginator("list_objects_v2")
        futures = [
            self._manager.download(self.task.bucket, item["Key"], self.path(item["Key"]), subscribers=[Known(item)])
            for page in paginator.paginate(Bucket=self.task.bucket, Prefix=self.task.prefix)
            for item in page.get("Contents", ())
        ]
        return self._done(futures)

    async def up(self) -> int:
        return self._done([self._manager.upload(path, self.task.bucket, key) for path, key in self.files()])

    def _done(self, futures: list[Any]) -> int:
        for future in futures:
            future.result()
        return len(futures)

    async def close(self) -> None:
        self._manager.shutdown()


class Known:
    """A subscriber of a transfer, that tells it what the listing told."""

    def __init__(self, item: Any) -> None:
        self._item = item

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self._item["Size"])
        future.meta.provide_object_etag(self._item["ETag"])


class Obstore(Client):
    packages = ("obstore",)
    note = (
        "pages of 1,000, each key seen as its dict; `delete_async` of all keys in one list; `get_async` and a file written "
        "by hand, and `put_async` of a path, 64 at once, large ones in parts of 8 MiB where it has that"
    )
    ends_badly = True

    async def setup(self) -> None:
        self._store = obstore_store(self.task, self.task.bucket)

    async def list(self) -> tuple[int, int]:
        count = size = 0
        async for item in self._items():
            count += 1
            size += item["size"]
        return count, size

    async def delete(self, keys: Sequence[str]) -> int:
        import obstore

        await obstore.delete_async(self._store, keys)
        return len(keys)

    async def down(self) -> int:
        import obstore

        async def download(key: str) -> None:
            reply = await obstore.get_async(self._store, key)
            with open(self.path(key), "wb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - the quickest way for tmpfs
                async for piece in reply.stream(min_chunk_size=PART_BYTES):
                    file.write(piece)

        return await _at_once(AT_ONCE, download, [item["path"] async for item in self._items()])

    async def up(self) -> int:
        from pathlib import Path

        import obstore

        async def upload(source: tuple[str, str]) -> None:
            path, key = source
            await obstore.put_async(self._store, key, Path(path), chunk_size=PART_BYTES, max_concurrency=PARTS)

        return await _at_once(AT_ONCE, upload, self.files())

    async def _items(self) -> Any:
        import obstore

        async for page in obstore.list(self._store, self.task.prefix or None, chunk_size=BATCH_KEYS):
            for item in page:
                yield item


class S3fs(Client):
    packages = ("s3fs", "fsspec", "aiobotocore", "aiohttp")
    note = (
        "its asynchronous methods: `_find`, all of it collected; `_bulk_delete` of 1,000 keys, 8 at once, that "
        "has only failures told; `_get` and `_put`, recursive, with a batch size of 64"
    )

    async def setup(self) -> None:
        from s3fs import S3FileSystem

        task = self.task
        self._fs = S3FileSystem(
            key=task.access_key,
            secret=task.secret_key,
            endpoint_url=task.endpoint,
            client_kwargs={"region_name": task.region},
            config_kwargs=boto_settings(AT_ONCE),
            asynchronous=True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._session = await self._fs.set_session()
        self._root = f"{task.bucket}/{task.prefix}"

    async def list(self) -> tuple[int, int]:
        found = await self._fs._find(self._root, detail=True)
        return len(found), sum(info["size"] for info in found.values())

    async def delete(self, keys: Sequence[str]) -> int:
        async def delete(batch: Sequence[str]) -> None:
            await self._fs._bulk_delete([f"{self.task.bucket}/{key}" for key in batch])

        return await _batch_by_batch(keys, delete)

    async def down(self) -> int:
        await self._fs._get(self._root, f"{self.task.directory}/", recursive=True, batch_size=AT_ONCE)
        return sum(1 for _ in self.files())

    async def up(self) -> int:
        await self._fs._put(f"{self.task.directory}/", self._root, recursive=True, batch_size=AT_ONCE)
        return sum(1 for _ in self.files())

    async def close(self) -> None:
        await self._session.close()


LIBRARIES: dict[str, type[Client]] = {
    "dream": Dream,
    "dream-parallel": DreamParallel,
    "dream-256": Dream256,
    "aioboto3": Aioboto3,
    "boto3": Boto3,
    "obstore": Obstore,
    "s3fs": S3fs,
}


async def _at_once(width: int, do: Callable[[Any], Awaitable[None]], things: Any) -> int:
    """Do it with each thing, so many at a time; how many there were."""
    remaining, count = iter(things), 0

    async def work() -> None:
        nonlocal count
        for thing in remaining:
            count += 1
            await do(thing)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(width):
            tasks.create_task(work())
    return count


async def _batch_by_batch(keys: Sequence[str], delete: Callable[[Sequence[str]], Awaitable[None]]) -> int:
    batches = (keys[start : start + BATCH_KEYS] for start in range(0, len(keys), BATCH_KEYS))
    await _at_once(BATCHES_AT_ONCE, delete, batches)
    return len(keys)


async def _measure(client: Client) -> Done:
    """Closing the client is in the CPU time, as its threads may only end there, and not in the wall time."""
    keys = client.task.keys()
    await client.setup()
    idle_bytes, idle_cpu = resident_bytes(), cpu_seconds()
    forget_peak()
    started = time.perf_counter()
    count, size = await _do(client, keys)
    wall = time.perf_counter() - started
    await client.close()
    return Done(count, size, wall, cpu_seconds() - idle_cpu, peak_bytes(), idle_bytes)


async def _do(client: Client, keys: Sequence[str]) -> tuple[int, int | None]:
    match client.task.work:
        case "list":
            return await client.list()
        case "delete":
            return await client.delete(keys), None
        case work:
            moves = {DOWN: client.down, UP: client.up, PLAN_DOWN: client.plan_down, PLAN_UP: client.plan_up}
            return await moves[work](), None


def main() -> None:
    side, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    client = LIBRARIES[side.removesuffix(UVLOOP)](task)
    try:
        with asyncio.Runner(loop_factory=loop_factory(side)) as runner:
            done = runner.run(_measure(client))
    except ImportError as error:
        fail(f"not installed: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this side's failure
        fail(describe(error))
    print(json.dumps(asdict(done)), flush=True)
    if client.ends_badly:
        os._exit(0)


def fail(why: str) -> NoReturn:
    """At once, or what libraries say of clients that are not closed would come last."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
