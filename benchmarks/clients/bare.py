"""Yardsticks, which are no S3 clients: aiohttp, and the bare protocol of :mod:`benchmarks.floor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.clients import SMALL, Client


class Aiohttp(Client):
    packages = ("aiohttp",)
    notes: ClassVar[Mapping[str, str]] = {SMALL: "no S3 in it: bare requests, without a signature"}
    lacks: ClassVar[Mapping[str, str]] = {
        "list": "bare requests know no listing",
        "presign": "nothing is signed",
        "rgw": "unsigned requests are refused",
    }

    async def open(self) -> None:
        from aiohttp import ClientSession, TCPConnector

        connector = TCPConnector(limit=self.settings.requests or 0)
        self._session = ClientSession(connector=connector, raise_for_status=True)
        self._base = f"{self.service.endpoint}/{self.bucket}/"

    async def close(self) -> None:
        await self._session.close()

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


class Bare(Client):
    is_buffered: ClassVar[bool] = False
    packages = ("httptools",)
    notes: ClassVar[Mapping[str, str]] = {
        SMALL: "an asyncio protocol, httptools and SigV4 by hand; no timeouts, retries, errors or values: the yardstick"
    }
    lacks: ClassVar[Mapping[str, str]] = {
        "list": "the bare protocol knows no listing",
        "presign": "the bare protocol signs requests only",
    }

    async def open(self) -> None:
        from benchmarks import floor

        make = floor.BufferedConnection if self.is_buffered else floor.PlainConnection
        self._floor = floor.Floor(self.service, make)
        self._base = f"/{self.bucket}/"

    async def close(self) -> None:
        self._floor.close()

    async def get(self, key: str) -> bytes:
        return (await self._floor.request("GET", self._base + key)).body

    async def head(self, key: str) -> int:
        return (await self._floor.request("HEAD", self._base + key)).size()

    async def put(self, key: str, body: bytes) -> None:
        await self._floor.request("PUT", self._base + key, body)

    async def delete(self, key: str) -> None:
        await self._floor.request("DELETE", self._base + key)


class BareBuffered(Bare):
    is_buffered = True
    notes: ClassVar[Mapping[str, str]] = {SMALL: "the same, receiving into memory of its own"}
