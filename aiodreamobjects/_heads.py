"""Look at many objects, several at once, and tell what was found in the order of the keys."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Self

from aiodreamobjects._bulk import KeySource, Source, refuse_one_str, versioned_keys
from aiodreamobjects._concurrency import Background, Change, is_foreign, pull
from aiodreamobjects._errors import NotFoundError, OfOpenSession, ServiceError
from aiodreamobjects._models import Address, ObjectInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import ReadOptions
from aiodreamobjects._s3.values import VersionedKey

LOOK_AHEAD = 2
"""How many keys to read ahead of the loop, for each request at once."""

Keys = Iterable[KeySource] | AsyncIterable[KeySource]


class Heads(OfOpenSession):
    """What ``head_many`` found: an iterable of ``(key, ObjectInfo | None)`` for ``async for``. Each loop asks again.

    Leaving a loop early cancels the requests in progress.
    """

    def __init__(self, runtime: Runtime, bucket: str, keys: Keys, options: ReadOptions) -> None:
        refuse_one_str(keys)
        self._runtime, self._bucket, self._keys, self._options = runtime, bucket, keys, options

    def __repr__(self) -> str:
        return f"<Heads of objects in s3://{self._bucket}>"

    def __await__(self) -> Generator[None, None, Self]:
        """Return this. So ``async for`` works with ``await bucket.head_many(keys)`` too."""
        yield from ()
        return self

    async def __aiter__(self) -> AsyncGenerator[tuple[str, ObjectInfo | None], None]:
        self._runtime.require_open()
        look = _Look(self._runtime, self._bucket, self._keys, self._options)
        owner = Background(look.work())
        owner.task.add_done_callback(lambda _: look.changed.tell())
        try:
            while True:
                if (found := look.take()) is not None:
                    yield found.key.key, found.outcome()
                elif owner.task.done():
                    owner.outcome()
                    return
                else:
                    await look.changed.wait()
        finally:
            await owner.stop()

    async def collect(self) -> dict[str, ObjectInfo | None]:
        """Return everything in one dict. It has one entry per key, so it is as large as ``keys``."""
        return {key: info async for key, info in self}


@dataclass(slots=True, eq=False)
class _Found:
    """A key, and what was found. Or an error, which the loop raises when it gets there."""

    key: VersionedKey
    info: ObjectInfo | None = None
    error: BaseException | None = None
    is_done: bool = False

    def outcome(self) -> ObjectInfo | None:
        if self.error is not None:
            raise self.error
        return self.info


class _Look:
    """The keys that the loop has not reached, in order. Reads no more of them than the loop will need soon."""

    def __init__(self, runtime: Runtime, bucket: str, keys: Keys, options: ReadOptions) -> None:
        self._runtime, self._bucket, self._options = runtime, bucket, options
        self._source = Source(keys)
        self._found: deque[_Found] = deque()
        self._is_bucket_there = False
        self._looking_for_bucket = asyncio.Lock()
        self.changed = Change()

    def take(self) -> _Found | None:
        """Return the next outcome, if it is there."""
        if not (self._found and self._found[0].is_done):
            return None
        self.changed.tell()
        return self._found.popleft()

    async def work(self) -> None:
        async with aclosing(self._source), self._runtime.job("head_many", self._bucket):
            await pull(self._runtime.limits.requests, self._next, self._look)

    async def _next(self) -> _Found | None:
        while len(self._found) >= LOOK_AHEAD * self._runtime.limits.requests:
            await self.changed.wait()
        try:
            keys = versioned_keys(self._bucket, await self._source.take(1))
        except BaseException as error:
            if not (isinstance(error, Exception) or is_foreign(error)):
                raise
            self._found.append(_Found(VersionedKey(""), error=error, is_done=True))
            self.changed.tell()
            return None
        if not keys:
            return None
        self._found.append(_Found(keys[0]))
        return self._found[-1]

    async def _look(self, found: _Found) -> None:
        try:
            found.info = await self._head(found.key)
        except Exception as error:  # noqa: BLE001 - raised by the loop
            found.error = error
        found.is_done = True
        self.changed.tell()

    async def _head(self, key: VersionedKey) -> ObjectInfo | None:
        options = self._options if key.version_id is None else replace(self._options, version_id=key.version_id)
        try:
            info = await self._runtime.s3.head_object(Address(self._bucket, key.key), options, may_be_missing=True)
        except NotFoundError:
            await self._require_bucket()
            return None
        except ServiceError as error:
            if key.version_id is None or error.status != HTTPStatus.METHOD_NOT_ALLOWED:
                raise
            return None  # the version is a delete marker
        self._is_bucket_there = True
        return info

    async def _require_bucket(self) -> None:
        """Raise NotFoundError if the bucket is missing. A HEAD of an object says 404 in both cases."""
        async with self._looking_for_bucket:
            if self._is_bucket_there:
                return
            try:
                await self._runtime.s3.head_bucket(self._bucket)
            except NotFoundError:
                raise
            except ServiceError:  # not everyone who may look at objects may look at the bucket
                pass
            self._is_bucket_there = True
