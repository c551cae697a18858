"""obstore."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.clients import BATCH_KEYS, EXPIRES_SECONDS, LARGE, MANY, SMALL, Client, count_pages
from benchmarks.clients.boto import NO_TREES, NO_TREES_ACROSS

NO_FILES = "it has no download to a file"


class Obstore(Client):
    packages = ("obstore",)
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "Rust, with threads of its own; bodies stay in its buffers; a DELETE is a DeleteObjects of one key",
        LARGE: "`put_async` of a path, 8 parts of 8 MiB; `get_async` streamed to a file in pieces of 8 MiB: one request, as "
        "it has no download in parts",
        MANY: "pages of 1,000, each key seen as its dict; `delete_async` of all keys in one list; `get_async` and a file "
        "written by hand, and `put_async` of a path, 64 at once, large ones in parts of 8 MiB where it has that",
    }
    lacks_in_faults: ClassVar[Mapping[str, str]] = {
        "sync": NO_TREES,
        "download_tree": NO_TREES,
        **dict.fromkeys(("18", "19", "20", "21"), NO_FILES),
        "copy_and_sync": NO_TREES_ACROSS,
        "close_under_way": "it cannot be closed",
    }
    ends_badly = True
    has_downloads = False

    async def open(self) -> None:
        self._stores: dict[str, Any] = {}
        self._store = self._store_of(self.bucket)

    def _store_of(self, bucket: str) -> Any:
        from obstore.store import S3Store

        service, patience = self.service, self.settings.patience
        options: dict[str, Any] = {"allow_http": True}
        if service.certificate:
            options = {"root_certificate": Path(service.certificate).read_text()}
        more: dict[str, Any] = {"session_token": service.session_token} if service.session_token else {}
        if patience:
            options["connect_timeout"], options["timeout"] = (
                timedelta(seconds=seconds) for seconds in (patience.connect, patience.whole)
            )
            more["retry_config"] = {"max_retries": patience.attempts - 1}
        if bucket not in self._stores:
            self._stores[bucket] = S3Store(
                bucket,
                endpoint=service.endpoint,
                access_key_id=service.access_key,
                secret_access_key=service.secret_key,
                region=service.region,
                virtual_hosted_style_request=False,
                client_options=options,
                **more,
            )
        return self._stores[bucket]

    async def get(self, key: str) -> Any:
        import obstore

        return await (await obstore.get_async(self._store, key)).bytes_async()

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        import obstore

        reply = await obstore.get_async(self._store, key)
        began()
        return b"".join([bytes(chunk) async for chunk in reply.stream()])

    async def head(self, key: str) -> int:
        import obstore

        size: int = (await obstore.head_async(self._store, key))["size"]
        return size

    async def put(self, key: str, body: bytes) -> None:
        import obstore

        await obstore.put_async(self._store, key, body)

    async def put_from(self, key: str, source: Any) -> None:
        import obstore

        parts = {} if self.settings.parts is None else {"max_concurrency": self.settings.parts}
        await obstore.put_async(self._store, key, source, chunk_size=self.settings.part_bytes, **parts)

    async def delete(self, key: str) -> None:
        import obstore

        await obstore.delete_async(self._store, key)

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        return await count_pages(self._pages(bucket, prefix), "size")

    async def keys(self, prefix: str = "") -> Sequence[str]:
        return [item["path"] async for page in self._pages(self.bucket, prefix) for item in page]

    def _pages(self, bucket: str, prefix: str) -> AsyncIterator[Any]:
        import obstore

        pages: AsyncIterator[Any] = obstore.list(self._store_of(bucket), prefix or None, chunk_size=BATCH_KEYS)
        return pages

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        import obstore

        expires = timedelta(seconds=EXPIRES_SECONDS)
        return [obstore.sign(self._store, "GET", key, expires) for key in keys]

    async def download(self, key: str, path: str) -> None:
        import obstore

        reply = await obstore.get_async(self._store, key)
        with open(path, "wb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - the quickest way for tmpfs
            async for piece in reply.stream(min_chunk_size=self.settings.part_bytes):
                file.write(piece)

    async def upload(self, path: str, key: str) -> None:
        await self.put_from(key, Path(path))

    async def delete_many(self, keys: Sequence[str]) -> int:
        import obstore

        await obstore.delete_async(self._store, keys)
        return len(keys)

    async def delete_prefix(self, prefix: str) -> None:
        async for page in self._pages(self.bucket, prefix):
            await self.delete_many([item["path"] for item in page])
