"""boto3, with its own transfer manager, and aioboto3."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import cached_property
from threading import Lock
from typing import Any, ClassVar

from benchmarks.clients import (
    EXPIRES_SECONDS,
    LARGE,
    MANY,
    SMALL,
    Client,
    Service,
    Settings,
    count_pages,
    delete_in_batches,
    files_below,
    place,
    run_without_a_loop,
)

NO_TREES = "it has no verb for a tree of files"
NO_TREES_ACROSS = "it has no verb for a tree of objects"


def arguments(service: Service) -> dict[str, str | None]:
    return {
        "endpoint_url": service.endpoint,
        "aws_access_key_id": service.access_key,
        "aws_secret_access_key": service.secret_key,
        "aws_session_token": service.session_token,
        "region_name": service.region,
        **({"verify": service.certificate} if service.certificate else {}),
    }


def config(settings: Settings) -> dict[str, Any]:
    told: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path"},
        "request_checksum_calculation": "when_required",
    }
    if settings.requests:
        told["max_pool_connections"] = settings.requests
    if patience := settings.patience:
        told |= {"connect_timeout": patience.connect, "read_timeout": patience.silent}
        told["retries"] = {"mode": "standard", "total_max_attempts": patience.attempts}
    return told


def transfer_config(settings: Settings, threads: int | None = None) -> Any:
    from boto3.s3.transfer import TransferConfig

    concurrency = threads or settings.parts
    return TransferConfig(
        multipart_chunksize=settings.part_bytes,
        multipart_threshold=settings.part_bytes,
        preferred_transfer_client="classic",
        **({"max_concurrency": concurrency} if concurrency else {}),
    )


class Boto(Client):
    """The calls that both have. ``_end`` waits for the reply of aioboto3, and returns that of boto3."""

    lacks_in_faults: ClassVar[Mapping[str, str]] = {
        "sync": NO_TREES,
        "download_tree": NO_TREES,
        "copy_and_sync": NO_TREES_ACROSS,
        "put_refilled": "its sources are files",
    }
    takes_iterators = False
    _s3: Any

    async def _end(self, reply: Any) -> Any:
        raise NotImplementedError

    def _pages(self, bucket: str, prefix: str) -> AsyncIterator[Any]:
        """The keys of a listing, page by page."""
        raise NotImplementedError

    @cached_property
    def _transfer(self) -> Any:
        return transfer_config(self.settings)

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        reply = await self._end(self._s3.get_object(Bucket=self.bucket, Key=key))
        began()
        content: bytes = await self._end(reply["Body"].read())
        return content

    async def head(self, key: str) -> int:
        size: int = (await self._end(self._s3.head_object(Bucket=self.bucket, Key=key)))["ContentLength"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        await self._end(self._s3.put_object(Bucket=self.bucket, Key=key, Body=body))

    async def put_from(self, key: str, source: Any) -> None:
        await self._end(self._s3.upload_fileobj(source, self.bucket, key, Config=self._transfer))

    async def delete(self, key: str) -> None:
        await self._end(self._s3.delete_object(Bucket=self.bucket, Key=key))

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        return await count_pages(self._pages(bucket, prefix), "Size")

    async def keys(self, prefix: str = "") -> Sequence[str]:
        return [item["Key"] async for page in self._pages(self.bucket, prefix) for item in page]

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        sign, told = self._s3.generate_presigned_url, [{"Bucket": self.bucket, "Key": key} for key in keys]
        return [await self._end(sign("get_object", one, ExpiresIn=EXPIRES_SECONDS)) for one in told]

    async def download(self, key: str, path: str) -> None:
        await self._end(self._s3.download_file(self.bucket, key, path, Config=self._transfer))

    async def fetch(self, key: str, path: str) -> None:
        await self.download(key, path)

    async def upload(self, path: str, key: str) -> None:
        await self._end(self._s3.upload_file(path, self.bucket, key, Config=self._transfer))

    async def delete_many(self, keys: Sequence[str]) -> int:
        async def delete(batch: Sequence[str]) -> int:
            told = {"Objects": [{"Key": key} for key in batch]}
            reply = await self._end(self._s3.delete_objects(Bucket=self.bucket, Delete=told))
            return len(reply.get("Deleted", ()))

        return await delete_in_batches(self, keys, delete)


class Aioboto3(Boto):
    packages = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "one client; bodies read to their end; the paginator of `list_objects_v2`",
        LARGE: "`download_file`, `upload_file`; 8 parts of 8 MiB by its `TransferConfig`; a pool as wide as all parts",
        MANY: "the paginator of `list_objects_v2`; `delete_objects` of 1,000 keys, 8 at once, with a reply for each key; "
        "`download_file` and `upload_file`, 64 at once",
    }

    async def open(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack, self._session = AsyncExitStack(), aioboto3.Session()
        self._arguments = {**arguments(self.service), "config": AioConfig(**config(self.settings))}
        self._s3 = await self._stack.enter_async_context(self._session.client("s3", **self._arguments))

    async def close(self) -> None:
        await self._stack.aclose()

    async def _end(self, reply: Any) -> Any:
        return await reply

    async def _pages(self, bucket: str, prefix: str) -> AsyncIterator[Any]:
        async for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield page.get("Contents", ())

    async def get(self, key: str) -> bytes:
        reply = await self._s3.get_object(Bucket=self.bucket, Key=key)
        async with reply["Body"] as body:
            content: bytes = await body.read()
            return content

    async def delete_prefix(self, prefix: str) -> None:
        async with self._session.resource("s3", **self._arguments) as s3:
            bucket = await s3.Bucket(self.bucket)
            await bucket.objects.filter(Prefix=prefix).delete()


class Boto3(Boto):
    packages = ("boto3", "botocore", "s3transfer", "urllib3")
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "threads, one for each request in flight, 32 at most; no event loop",
        LARGE: "`download_file`, `upload_file` of its classic transfer manager, 8 threads and 8 parts of 8 MiB an object; "
        "objects at once are in threads as well",
        MANY: "`s3transfer.TransferManager`, the engine below boto3 and the AWS command line, with 64 threads",
    }
    lacks_in_faults: ClassVar[Mapping[str, str]] = {
        **Boto.lacks_in_faults,
        "second_loop": "it belongs to no event loop",
        "after_cancel": "its calls cannot be cancelled",
    }
    many = ("download_tree", "upload_tree")
    widest = 32
    is_blocking = True

    async def open(self) -> None:
        import boto3
        from botocore.config import Config

        self._session = boto3.session.Session()
        self._arguments = {**arguments(self.service), "config": Config(**config(self.settings))}
        self._s3 = self._session.client("s3", **self._arguments)

    async def close(self) -> None:
        self._s3.close()

    async def _end(self, reply: Any) -> Any:
        return reply

    async def _pages(self, bucket: str, prefix: str) -> AsyncIterator[Any]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield page.get("Contents", ())

    async def get(self, key: str) -> bytes:
        return await self.read(key, lambda: None)

    async def download_all(self, keys: Sequence[str], paths: Sequence[str]) -> None:
        with self._manager() as manager:
            for future in [manager.download(self.bucket, *pair) for pair in zip(keys, paths, strict=True)]:
                future.result()

    async def delete_prefix(self, prefix: str) -> None:
        bucket = self._session.resource("s3", **self._arguments).Bucket(self.bucket)
        bucket.objects.filter(Prefix=prefix).delete()

    async def download_tree(self, directory: str, prefix: str) -> int:
        with self._manager() as manager:
            futures = [
                manager.download(
                    self.bucket, item["Key"], place(directory, prefix, item["Key"]), subscribers=[Known(item)]
                )
                async for page in self._pages(self.bucket, prefix)
                for item in page
            ]
            return sum(1 for future in futures if future.result() is None)

    async def upload_tree(self, directory: str, prefix: str) -> int:
        with self._manager() as manager:
            futures = [manager.upload(path, self.bucket, prefix + name) for path, name in files_below(directory)]
            return sum(1 for future in futures if future.result() is None)

    def _manager(self) -> Any:
        from boto3.s3.transfer import create_transfer_manager

        return create_transfer_manager(self._s3, transfer_config(self.settings, self.settings.requests))

    async def at_once(self, width: int, do: Callable[[Any], Awaitable[object]], things: Iterable[Any]) -> None:
        """In threads, without an event loop."""
        remaining, lock = iter(things), Lock()

        def next_or_self() -> Any:
            with lock:
                return next(remaining, remaining)

        def work() -> None:
            for thing in iter(next_or_self, remaining):
                run_without_a_loop(do(thing))

        with ThreadPoolExecutor(width) as threads:
            futures = [threads.submit(work) for _ in range(width)]
        for future in futures:
            future.result()


class Known:
    """Tells a transfer what the listing told, so that it sends no request to know the size and the ETag."""

    def __init__(self, item: Any) -> None:
        self._item = item

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self._item["Size"])
        future.meta.provide_object_etag(self._item["ETag"])
