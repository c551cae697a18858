"""opendal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.clients import EXPIRES_SECONDS, SMALL, Client


class Opendal(Client):
    packages = ("opendal",)
    notes: ClassVar[Mapping[str, str]] = {SMALL: "Rust, with threads of its own; no layer for retries, as by default"}

    ends_badly = True

    async def open(self) -> None:
        self._operators: dict[str, Any] = {}
        self._operator = self._operator_of(self.bucket)

    def _operator_of(self, bucket: str) -> Any:
        from opendal import AsyncOperator

        if bucket not in self._operators:
            self._operators[bucket] = AsyncOperator(
                "s3",
                bucket=bucket,
                endpoint=self.service.endpoint,
                region=self.service.region,
                access_key_id=self.service.access_key,
                secret_access_key=self.service.secret_key,
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

    async def list(self, bucket: str, prefix: str = "") -> tuple[int, int]:
        count = size = 0
        async for entry in await self._operator_of(bucket).list(prefix, recursive=True):
            count += 1
            size += entry.metadata.content_length
        return count, size

    async def presign(self, keys: Sequence[str]) -> Sequence[str]:
        return [(await self._operator.presign_read(key, EXPIRES_SECONDS)).url for key in keys]
