"""miniopy-async."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from io import BytesIO
from typing import ClassVar
from urllib.parse import urlsplit

from benchmarks.clients import EXPIRES_SECONDS, SMALL, Client


class MiniopyAsync(Client):
    packages = ("miniopy-async", "aiohttp")
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "over plain http it hashes each body in a thread; no retries with a session of one's own"
    }

    async def open(self) -> None:
        from aiohttp import ClientSession, TCPConnector
        from miniopy_async import Minio

        self._minio = Minio(
            urlsplit(self.service.endpoint).netloc,
            access_key=self.service.access_key,
            secret_key=self.service.secret_key,
            region=self.service.region,
            secure=False,
            session=ClientSession(connector=TCPConnector(limit=self.settings.requests or 0)),
        )

    async def close(self) -> None:
        await self._minio.close_session()

    async def get(self, key: str) -> bytes:
        reply = await self._minio.get_object(self.bucket, key)
        content: bytes = await reply.read()
        reply.release()
        return content

    async def head(self, key: str) -> int:
        return (await self._minio.stat_object(self.bucket, key)).size or 0

    async def put(self, key: str, body: bytes) -> None:
        await self._minio.put_object(self.bucket, key, BytesIO(body), len(body))

    async def delete(self, key: str) -> None:
        await self._minio.remove_object(self.bucket, key)

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        count = size = 0
        async for item in self._minio.list_objects(bucket, prefix or None, recursive=True):
            count += 1
            size += item.size or 0
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        expires = timedelta(seconds=EXPIRES_SECONDS)
        return [await self._minio.presigned_get_object(self.bucket, key, expires) for key in keys]
