"""s3fs: its asynchronous methods, which wear an underscore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from benchmarks.clients import EXPIRES_SECONDS, MANY, SMALL, Client, delete_in_batches, files_below
from benchmarks.clients.boto import config


class S3fs(Client):
    packages = ("s3fs", "fsspec", "aiobotocore", "aiohttp")
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "its asynchronous methods; told to read in one piece, or each GET would come with a HEAD; a listing is "
        "collected, and not kept",
        MANY: "its asynchronous methods: `_find`, all of it collected; `_bulk_delete` of 1,000 keys, 8 at once, with a reply "
        "for failures only; `_get` and `_put`, recursive, with a batch size of 64",
    }

    async def open(self) -> None:
        from s3fs import S3FileSystem

        self._fs = S3FileSystem(
            key=self.service.access_key,
            secret=self.service.secret_key,
            endpoint_url=self.service.endpoint,
            client_kwargs={"region_name": self.service.region},
            config_kwargs=config(self.settings),
            asynchronous=True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._session = await self._fs.set_session()

    async def close(self) -> None:
        await self._session.close()

    async def get(self, key: str) -> bytes:
        content: bytes = await self._fs._cat_file(f"{self.bucket}/{key}", max_concurrency=1)
        return content

    async def head(self, key: str) -> int:
        size: int = (await self._fs._info(f"{self.bucket}/{key}"))["size"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        await self._fs._pipe_file(f"{self.bucket}/{key}", body)

    async def delete(self, key: str) -> None:
        await self._fs._rm_file(f"{self.bucket}/{key}")

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        found = await self._fs._find(f"{bucket}/{prefix}", detail=True)
        return len(found), sum(info["size"] for info in found.values())

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [await self._fs._url(f"{self.bucket}/{key}", expires=EXPIRES_SECONDS) for key in keys]

    async def delete_many(self, keys: Sequence[str]) -> int:
        async def delete(batch: Sequence[str]) -> int:
            await self._fs._bulk_delete([f"{self.bucket}/{key}" for key in batch])
            return len(batch)

        return await delete_in_batches(self, keys, delete)

    async def download_tree(self, directory: str, prefix: str) -> int:
        there = f"{self.bucket}/{prefix}"
        await self._fs._get(there, f"{directory}/", recursive=True, batch_size=self.settings.requests)
        return len(files_below(directory))

    async def upload_tree(self, directory: str, prefix: str) -> int:
        there = f"{self.bucket}/{prefix}"
        await self._fs._put(f"{directory}/", there, recursive=True, batch_size=self.settings.requests)
        return len(files_below(directory))
