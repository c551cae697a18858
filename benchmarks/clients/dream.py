"""This library."""

from __future__ import annotations

import multiprocessing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ClassVar

from benchmarks.clients import BUCKET, EXPIRES_SECONDS, LARGE, MANY, SCALE, SMALL, Client, Service
from benchmarks.store import READ_KEYS


class Dream(Client):
    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects",)
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "`await obj.read()`, `head()`, `put()`, `delete()`; `async for info in bucket.list()`",
        LARGE: "`await obj.download(path)`, `await obj.upload(path)`; all objects' parts share its default `Limits.memory`",
        MANY: "`bucket.list()`, `delete_many`, `download_tree`, `upload_tree`; its defaults, which are 64 requests at once",
        SCALE: "without an executor",
    }
    many: ClassVar[tuple[str, ...]] = (*Client.many, "plan_download", "plan_upload", "delete_listed", "check")
    least_requests: ClassVar[int] = 64
    parallel: ClassVar[int] = 1
    options: ClassVar[dict[str, Any]] = {}
    """Of downloads and uploads."""
    executor: Any = None

    async def open(self) -> None:
        self._session = self._session_at(self.service)
        await self._session.open()
        self._bucket: Any = self._session.bucket(self.bucket)

    def _session_at(self, service: Service) -> Any:
        import aiodreamobjects as dream

        settings = self.settings
        limits = {"requests": max(self.least_requests, settings.requests or 0), "part_size": settings.part_bytes}
        limits |= {} if settings.parts is None else {"parts_per_object": settings.parts}
        retry, timeouts = dream.Retry(), dream.Timeouts()
        if patience := settings.patience:
            retry = dream.Retry(attempts=patience.attempts)
            timeouts = dream.Timeouts(connect=patience.connect, read=patience.silent, write=patience.silent)
        return dream.Session(
            endpoint=service.endpoint,
            access_key=service.access_key,
            secret_key=service.secret_key,
            session_token=service.session_token,
            region=service.region,
            ca=service.certificate or None,
            limits=dream.Limits(**limits),
            retry=retry,
            timeouts=timeouts,
        )

    async def close(self) -> None:
        await self._session.aclose()

    async def get(self, key: str) -> bytes:
        content: bytes = await self._bucket.object(key).read()
        return content

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        chunks = []
        async with self._bucket.object(key).get() as body:
            async for chunk in body:
                began()
                chunks.append(chunk)
        return b"".join(chunks)

    async def head(self, key: str) -> int:
        return (await self._bucket.object(key).head()).size or 0

    async def put(self, key: str, body: bytes) -> None:
        await self._bucket.object(key).put(body)

    async def put_from(self, key: str, source: Any) -> None:
        await self._bucket.object(key).put(source)

    async def delete(self, key: str) -> None:
        await self._bucket.object(key).delete()

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        count = size = 0
        async for info in self._session.bucket(bucket).list(prefix, parallel=self.parallel):
            count += 1
            size += info.size or 0
        return count, size

    async def keys(self, prefix: str = "") -> Sequence[str]:
        return [info.key async for info in self._bucket.list(prefix)]

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [self._bucket.object(key).presign_get(EXPIRES_SECONDS) for key in keys]

    async def download(self, key: str, path: str) -> None:
        await self._bucket.object(key).download(path, **self.options)

    async def upload(self, path: str, key: str) -> None:
        await self._bucket.object(key).upload(path, **self.options)

    async def delete_many(self, keys: Sequence[str]) -> int:
        done: int = (await self._bucket.delete_many(keys, executor=self.executor)).done
        return done

    async def delete_listed(self, _: str, prefix: str) -> int:
        done: int = (await self._bucket.delete_many(self._bucket.list(prefix), executor=self.executor)).done
        return done

    async def check(self, _: str, prefix: str) -> int:
        """Compare a bucket with itself, by sizes alone."""
        report = await self._bucket.check_tree(self._bucket, prefix, by="size", executor=self.executor)
        same: int = report.same
        return same

    async def delete_prefix(self, prefix: str) -> None:
        await self._bucket.delete_many(self._bucket.list(prefix))

    async def download_tree(self, directory: str, prefix: str) -> int:
        return await _copied(self._bucket.download_tree(directory, prefix, executor=self.executor))

    async def upload_tree(self, directory: str, prefix: str) -> int:
        return await _copied(self._bucket.upload_tree(directory, prefix, executor=self.executor))

    async def plan_download(self, directory: str, prefix: str) -> int:
        return await _copied(self._bucket.download_tree(directory, prefix, compare="size", dry_run=True))

    async def plan_upload(self, directory: str, prefix: str) -> int:
        return await _copied(self._bucket.upload_tree(directory, prefix, compare="size", dry_run=True))

    async def sync(self, directory: str) -> None:
        await self._bucket.download_tree(directory, delete=True, compare="size")

    async def copy_and_sync(self, key: str, other: Service) -> None:
        async with self._session_at(other) as session:
            there = session.bucket(self.bucket)
            await self._bucket.object(key).copy_to(there.object(key))
            await self._bucket.copy_tree(there, compare="mtime")


class DreamParallel(Dream):
    notes: ClassVar[Mapping[str, str]] = {MANY: "`bucket.list(parallel=16)`"}
    many = ("list",)
    parallel = 16


class Dream256(Dream):
    notes: ClassVar[Mapping[str, str]] = {MANY: "the same with `Limits(requests=256)`, as many as s5cmd has workers"}
    many = ("download_tree", "upload_tree")
    least_requests = 256


class DreamUnverified(Dream):
    notes: ClassVar[Mapping[str, str]] = {
        LARGE: '`verify="off"`: no MD5 of what is sent; the ETags here are no digests, so a download has nothing to compare'
    }
    options: ClassVar[dict[str, Any]] = {"verify": "off"}


class Dream1P(Dream):
    """Opened when each worker has a session, so that what is measured is what a long call takes."""

    processes: ClassVar[int] = 1
    least_requests = 1
    notes: ClassVar[Mapping[str, str]] = {SCALE: "with `executor=ProcessPoolExecutor(1)`"}

    async def open(self) -> None:
        await super().open()
        self.executor = ProcessPoolExecutor(self.processes, multiprocessing.get_context("spawn"))
        keys = READ_KEYS[: 4 * self.processes]
        async for _, result in self._session.bucket(BUCKET).apply(keys, _look, executor=self.executor, batch=1):
            if isinstance(result, Exception):
                raise result

    async def close(self) -> None:
        self.executor.shutdown()
        await super().close()


class Dream2P(Dream1P):
    processes = 2
    notes: ClassVar[Mapping[str, str]] = {
        MANY: "the same with `executor=ProcessPoolExecutor(2)`, whose start counts",
        SCALE: "with `executor=ProcessPoolExecutor(2)`",
    }


class Dream4P(Dream1P):
    processes = 4
    notes: ClassVar[Mapping[str, str]] = {SCALE: "with `executor=ProcessPoolExecutor(4)`"}


class Dream8P(Dream1P):
    processes = 8
    notes: ClassVar[Mapping[str, str]] = {SCALE: "with `executor=ProcessPoolExecutor(8)`"}


async def _look(obj: Any) -> None:
    """Let a worker open its session."""
    await obj.exists()


async def _copied(report: Awaitable[Any]) -> int:
    copied: int = (await report).copied
    return copied
