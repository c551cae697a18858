"""The sides: this library and others, each behind the same few methods.

A client is made for one server and one number of requests in flight, with a pool as wide; retries and timeouts are each
library's defaults. Libraries are imported where they are used: the process of one side holds no other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from typing import Any, ClassVar

from benchmarks.store import BUCKET, Server

Operation = Callable[[int], Awaitable[None]]

EXPIRES_SECONDS = 3600


class Client:
    """What a side can do. Keys are those of BUCKET, and need no quoting."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions matter, the side's own first; all are imported before anything is measured."""
    modules: ClassVar[tuple[str, ...]] = ()
    note: ClassVar[str] = ""
    """What is left out or chosen, for whoever reads the numbers."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Verbs, or servers, that this side cannot do, and why."""
    widest: ClassVar[int | None] = None
    """The most requests it has in flight."""

    def __init__(self, server: Server, in_flight: int) -> None:
        self.server, self.in_flight = server, in_flight

    async def setup(self) -> None:
        """Make the client; nothing is sent."""

    async def get(self, key: str) -> Any:
        """The content, as bytes or what has their length."""
        raise NotImplementedError

    async def head(self, key: str) -> int:
        """The size."""
        raise NotImplementedError

    async def put(self, key: str, body: bytes) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def list(self, bucket: str) -> tuple[int, int]:
        """How many keys the bucket has and their sizes' sum, each key seen as the library's own value."""
        raise NotImplementedError

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        """A URL to GET each of them."""
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def pump(self, operation: Operation, numbers: Iterator[int]) -> None:
        """Do the operation with each number, ``in_flight`` at a time."""

        async def work() -> None:
            for number in numbers:
                await operation(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.in_flight):
                tasks.create_task(work())


class Dream(Client):
    """This library."""

    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects",)
    modules = ("aiodreamobjects",)
    note = "`await obj.read()`, `head()`, `put()`, `delete()`; `async for info in bucket.list()`"

    async def setup(self) -> None:
        import aiodreamobjects as dream

        self._session = dream.Session(
            endpoint=self.server.endpoint,
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
            region=self.server.region,
            limits=dream.Limits(requests=max(64, self.in_flight)),
        )
        await self._session.open()
        self._bucket = self._session.bucket(BUCKET)

    async def get(self, key: str) -> bytes:
        return await self._bucket.object(key).read()

    async def head(self, key: str) -> int:
        return (await self._bucket.object(key).head()).size or 0

    async def put(self, key: str, body: bytes) -> None:
        await self._bucket.object(key).put(body)

    async def delete(self, key: str) -> None:
        await self._bucket.object(key).delete()

    async def list(self, bucket: str) -> tuple[int, int]:
        count = size = 0
        async for info in self._session.bucket(bucket).list():
            count += 1
            size += info.size or 0
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [self._bucket.object(key).presign_get(EXPIRES_SECONDS) for key in keys]

    async def close(self) -> None:
        await self._session.aclose()


class Aioboto3(Client):
    packages = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    modules = ("aioboto3", "aiobotocore.config")
    note = "one client; bodies read to their end; the paginator of `list_objects_v2`"

    async def setup(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack = AsyncExitStack()
        self._s3 = await self._stack.enter_async_context(
            aioboto3.Session().client(
                "s3",
                **_boto_arguments(self.server),
                config=AioConfig(max_pool_connections=self.in_flight, signature_version="s3v4"),
            )
        )

    async def get(self, key: str) -> bytes:
        reply = await self._s3.get_object(Bucket=BUCKET, Key=key)
        async with reply["Body"] as body:
            content: bytes = await body.read()
            return content

    async def head(self, key: str) -> int:
        size: int = (await self._s3.head_object(Bucket=BUCKET, Key=key))["ContentLength"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        await self._s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    async def delete(self, key: str) -> None:
        await self._s3.delete_object(Bucket=BUCKET, Key=key)

    async def list(self, bucket: str) -> tuple[int, int]:
        count = size = 0
        async for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page["Contents"]:
                count += 1
                size += item["Size"]
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [
            await self._s3.generate_presigned_url(
                "get_object", {"Bucket": BUCKET, "Key": key}, ExpiresIn=EXPIRES_SECONDS
            )
            for key in keys
        ]

    async def close(self) -> None:
        await self._stack.aclose()


class Boto3(Client):
    """Its methods do not wait: :meth:`pump` runs them in threads, without an event loop."""

    packages = ("boto3", "botocore", "urllib3")
    modules = ("boto3", "botocore.config")
    note = "threads, one for each request in flight, 32 at most; no event loop"
    widest = 32

    async def setup(self) -> None:
        import boto3
        from botocore.config import Config

        self._s3 = boto3.session.Session().client(
            "s3",
            **_boto_arguments(self.server),
            config=Config(max_pool_connections=self.in_flight, signature_version="s3v4"),
        )

    async def get(self, key: str) -> bytes:
        content: bytes = self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    async def head(self, key: str) -> int:
        size: int = self._s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    async def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=BUCKET, Key=key)

    async def list(self, bucket: str) -> tuple[int, int]:
        count = size = 0
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page["Contents"]:
                count += 1
                size += item["Size"]
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [
            self._s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": key}, ExpiresIn=EXPIRES_SECONDS)
            for key in keys
        ]

    async def close(self) -> None:
        self._s3.close()

    async def pump(self, operation: Operation, numbers: Iterator[int]) -> None:
        shared = _locked(numbers)

        def work() -> None:
            for number in shared:
                _run_without_a_loop(operation(number))

        with ThreadPoolExecutor(self.in_flight) as threads:
            futures = [threads.submit(work) for _ in range(self.in_flight)]
        for future in futures:
            future.result()


class Obstore(Client):
    packages = ("obstore",)
    modules = ("obstore", "obstore.store")
    note = "Rust, with threads of its own; bodies stay in its buffers; a DELETE is a DeleteObjects of one key"

    async def setup(self) -> None:
        self._stores: dict[str, Any] = {}
        self._store = self._store_of(BUCKET)

    def _store_of(self, bucket: str) -> Any:
        from obstore.store import S3Store

        if bucket not in self._stores:
            self._stores[bucket] = S3Store(
                bucket,
                endpoint=self.server.endpoint,
                access_key_id=self.server.access_key,
                secret_access_key=self.server.secret_key,
                region=self.server.region,
                virtual_hosted_style_request=False,
                client_options={"allow_http": True},
            )
        return self._stores[bucket]

    async def get(self, key: str) -> Any:
        import obstore

        return await (await obstore.get_async(self._store, key)).bytes_async()

    async def head(self, key: str) -> int:
        import obstore

        size: int = (await obstore.head_async(self._store, key))["size"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        import obstore

        await obstore.put_async(self._store, key, body)

    async def delete(self, key: str) -> None:
        import obstore

        await obstore.delete_async(self._store, key)

    async def list(self, bucket: str) -> tuple[int, int]:
        import obstore

        count = size = 0
        async for page in obstore.list(self._store_of(bucket), chunk_size=1000):
            for item in page:
                count += 1
                size += item["size"]
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        import obstore

        expires = timedelta(seconds=EXPIRES_SECONDS)
        return [obstore.sign(self._store, "GET", key, expires) for key in keys]


class MiniopyAsync(Client):
    packages = ("miniopy-async", "aiohttp")
    modules = ("miniopy_async", "aiohttp")
    note = "over plain http it hashes each body in a thread; no retries with a session of one's own"

    async def setup(self) -> None:
        from aiohttp import ClientSession, TCPConnector
        from miniopy_async import Minio

        self._minio = Minio(
            self.server.endpoint.removeprefix("http://"),
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
            region=self.server.region,
            secure=False,
            session=ClientSession(connector=TCPConnector(limit=self.in_flight)),
        )

    async def get(self, key: str) -> bytes:
        reply = await self._minio.get_object(BUCKET, key)
        content: bytes = await reply.read()
        reply.release()
        return content

    async def head(self, key: str) -> int:
        return (await self._minio.stat_object(BUCKET, key)).size or 0

    async def put(self, key: str, body: bytes) -> None:
        await self._minio.put_object(BUCKET, key, BytesIO(body), len(body))

    async def delete(self, key: str) -> None:
        await self._minio.remove_object(BUCKET, key)

    async def list(self, bucket: str) -> tuple[int, int]:
        count = size = 0
        async for item in self._minio.list_objects(bucket, recursive=True):
            count += 1
            size += item.size or 0
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        expires = timedelta(seconds=EXPIRES_SECONDS)
        return [await self._minio.presigned_get_object(BUCKET, key, expires) for key in keys]

    async def close(self) -> None:
        await self._minio.close_session()


class Opendal(Client):
    packages = ("opendal",)
    modules = ("opendal",)
    note = "Rust, with threads of its own; no layer for retries, as by default"

    async def setup(self) -> None:
        self._operators: dict[str, Any] = {}
        self._operator = self._operator_of(BUCKET)

    def _operator_of(self, bucket: str) -> Any:
        from opendal import AsyncOperator

        if bucket not in self._operators:
            self._operators[bucket] = AsyncOperator(
                "s3",
                bucket=bucket,
                endpoint=self.server.endpoint,
                region=self.server.region,
                access_key_id=self.server.access_key,
                secret_access_key=self.server.secret_key,
                disable_config_load="true",
                disable_ec2_metadata="true",
            )
        return self._operators[bucket]

    async def get(self, key: str) -> bytes:
        content: bytes = await self._operator.read(key)
        return content

    async def head(self, key: str) -> int:
        size: int = (await self._operator.stat(key)).content_length
        return size

    async def put(self, key: str, body: bytes) -> None:
        await self._operator.write(key, body)

    async def delete(self, key: str) -> None:
        await self._operator.delete(key)

    async def list(self, bucket: str) -> tuple[int, int]:
        count = size = 0
        async for entry in await self._operator_of(bucket).list("", recursive=True):
            count += 1
            size += entry.metadata.content_length
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [(await self._operator.presign_read(key, EXPIRES_SECONDS)).url for key in keys]


class S3fs(Client):
    packages = ("s3fs", "aiobotocore", "aiohttp")
    modules = ("s3fs", "aiobotocore.config")
    note = (
        "its asynchronous methods; told to read in one piece, or each GET would come with a HEAD; "
        "a listing is collected, and not kept"
    )

    async def setup(self) -> None:
        from s3fs import S3FileSystem

        self._fs = S3FileSystem(
            key=self.server.access_key,
            secret=self.server.secret_key,
            endpoint_url=self.server.endpoint,
            client_kwargs={"region_name": self.server.region},
            config_kwargs={"max_pool_connections": self.in_flight, "signature_version": "s3v4"},
            asynchronous=True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._session = await self._fs.set_session()

    async def get(self, key: str) -> bytes:
        content: bytes = await self._fs._cat_file(f"{BUCKET}/{key}", max_concurrency=1)
        return content

    async def head(self, key: str) -> int:
        size: int = (await self._fs._info(f"{BUCKET}/{key}"))["size"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        await self._fs._pipe_file(f"{BUCKET}/{key}", body)

    async def delete(self, key: str) -> None:
        await self._fs._rm_file(f"{BUCKET}/{key}")

    async def list(self, bucket: str) -> tuple[int, int]:
        found = await self._fs._find(bucket, detail=True)
        return len(found), sum(info["size"] for info in found.values())

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [await self._fs._url(f"{BUCKET}/{key}", expires=EXPIRES_SECONDS) for key in keys]

    async def close(self) -> None:
        await self._session.close()


class Aiohttp(Client):
    packages = ("aiohttp",)
    modules = ("aiohttp",)
    note = "no S3 in it: bare requests, without a signature"
    lacks: ClassVar[Mapping[str, str]] = {
        "list": "bare requests know no listing",
        "presign": "nothing is signed",
        "rgw": "unsigned requests are refused",
    }

    async def setup(self) -> None:
        from aiohttp import ClientSession, TCPConnector

        self._session = ClientSession(connector=TCPConnector(limit=self.in_flight), raise_for_status=True)
        self._base = f"{self.server.endpoint}/{BUCKET}/"

    async def get(self, key: str) -> bytes:
        async with self._session.get(self._base + key) as reply:
            return await reply.read()

    async def head(self, key: str) -> int:
        async with self._session.head(self._base + key) as reply:
            return reply.content_length or 0

    async def put(self, key: str, body: bytes) -> None:
        async with self._session.put(self._base + key, data=body) as reply:
            await reply.read()

    async def delete(self, key: str) -> None:
        async with self._session.delete(self._base + key) as reply:
            await reply.read()

    async def close(self) -> None:
        await self._session.close()


class Bare(Client):
    """The bare protocol of :mod:`benchmarks.floor`."""

    is_buffered = False
    packages = ("httptools",)
    modules = ("benchmarks.floor",)
    note = "an asyncio protocol, httptools and SigV4 by hand; no timeouts, retries, errors or values: the yardstick"
    lacks: ClassVar[Mapping[str, str]] = {
        "list": "the bare protocol knows no listing",
        "presign": "the bare protocol signs requests only",
    }

    async def setup(self) -> None:
        from benchmarks import floor

        server = self.server
        signer = floor.Signer(server.access_key, server.secret_key, server.region)
        make = floor.BufferedConnection if self.is_buffered else floor.PlainConnection
        self._floor = floor.Floor(server.endpoint, signer, make)
        self._base = f"/{BUCKET}/"

    async def get(self, key: str) -> bytes:
        return (await self._floor.request("GET", self._base + key)).body

    async def head(self, key: str) -> int:
        return (await self._floor.request("HEAD", self._base + key)).size()

    async def put(self, key: str, body: bytes) -> None:
        await self._floor.request("PUT", self._base + key, body)

    async def delete(self, key: str) -> None:
        await self._floor.request("DELETE", self._base + key)

    async def close(self) -> None:
        self._floor.close()


class BareBuffered(Bare):
    is_buffered = True
    note = "the same, receiving into memory of its own"


@dataclass(frozen=True, slots=True)
class Side:
    """One client on one event loop."""

    client: str
    kind: type[Client]
    uses_uvloop: bool = False

    @property
    def name(self) -> str:
        return f"{self.client}+uvloop" if self.uses_uvloop else self.client

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        if not self.uses_uvloop:
            return None
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory

    def missing(self, verb: str, server: str, in_flight: int) -> str | None:
        """Why there is nothing to measure, if so."""
        if self.kind.widest is not None and in_flight > self.kind.widest:
            return f"{self.kind.widest} in flight at most"
        return self.kind.lacks.get(verb) or self.kind.lacks.get(server)


CLIENTS: dict[str, type[Client]] = {
    "dream": Dream,
    "aioboto3": Aioboto3,
    "obstore": Obstore,
    "opendal": Opendal,
    "miniopy-async": MiniopyAsync,
    "s3fs": S3fs,
    "boto3": Boto3,
    "aiohttp": Aiohttp,
    "bare": Bare,
    "bare-buffered": BareBuffered,
}
ON_UVLOOP_TOO = ("dream", "obstore", "bare", "bare-buffered")

SIDES = {
    side.name: side
    for client, kind in CLIENTS.items()
    for side in (Side(client, kind), Side(client, kind, uses_uvloop=True))
}
"""Every client on every loop; those of a run are :data:`USUAL` unless others are asked for."""
USUAL = [name for name, side in SIDES.items() if not side.uses_uvloop or side.client in ON_UVLOOP_TOO]


def _boto_arguments(server: Server) -> dict[str, str]:
    return {
        "endpoint_url": server.endpoint,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "region_name": server.region,
    }


def _locked(numbers: Iterable[int]) -> Iterator[int]:
    """The same numbers, for any number of threads."""
    iterator, lock = iter(numbers), threading.Lock()

    def next_or_none() -> int | None:
        with lock:
            return next(iterator, None)

    return iter(next_or_none, None)


def _run_without_a_loop(awaitable: Awaitable[None]) -> None:
    try:
        next(iter(awaitable.__await__()))
    except StopIteration:
        return
    msg = "a method of a threaded client waited"
    raise RuntimeError(msg)
