"""The objects below a prefix, as a tree."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from aiodreamobjects._bulk import Tally, delete_pages
from aiodreamobjects._checks import encode_utf8
from aiodreamobjects._concurrency import finish, in_thread
from aiodreamobjects._errors import InvalidRequestError, UnsafeKeyError
from aiodreamobjects._integrity import MD5_OF_NOTHING, md5_of_etag, parts_of_etag
from aiodreamobjects._listing.pages import list_objects
from aiodreamobjects._models import Address, ObjectInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import ANY, ReadOptions, WriteOptions
from aiodreamobjects._s3.replies import obstacle
from aiodreamobjects._s3.values import VersionedKey
from aiodreamobjects._transfer.sources import open_source
from aiodreamobjects._transfer.verify import ContentCheck
from aiodreamobjects._tree.disk import Disk
from aiodreamobjects._tree.names import Patterns
from aiodreamobjects._tree.run import SMALL_BYTES
from aiodreamobjects._tree.walk import Entry, Step, Unusable

HASHED_AT_ONCE = 1 << 20

Refusal = Callable[[str], str | None]
"""Returns why this name cannot be in the other tree, or None."""


def directory(prefix: str) -> str:
    """Return a prefix as a directory: ``photos`` does not mean ``photos-2025/``."""
    encode_utf8("prefix", prefix)
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


class Objects:
    """The objects below a prefix. Relative names are their keys without it. Empty ones that end in a slash mark directories."""

    def __init__(self, runtime: Runtime, bucket: str, prefix: str, reads: ReadOptions = ANY) -> None:
        """``reads`` holds the customer's key of all of them, if they have one."""
        self.runtime, self.bucket, self.prefix, self.reads = runtime, bucket, directory(prefix), reads

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def address(self, name: str) -> Address:
        return Address(self.bucket, self.prefix + name)

    async def pages(self, patterns: Patterns, refusal: Refusal | None = None) -> AsyncGenerator[Sequence[Step], None]:
        """``refusal`` is for a tree of files: there, an empty object with others below its name marks a directory as well."""
        listing = list_objects(self.runtime, self.bucket, self.prefix, None, None)
        async with aclosing(listing.pages()) as pages:
            async for listed in pages:
                page = listed if refusal is None else await self._files(listed)
                if patterns.are_any:  # matching them would hold the loop too long
                    yield await finish(in_thread(self._steps, page, patterns, refusal))
                else:
                    yield self._steps(page, patterns, refusal)

    async def _files(self, page: Sequence[ObjectInfo]) -> Sequence[ObjectInfo]:
        """Leave out empty objects that others are below. The page tells which, except for its last names."""
        marking, keys = set[str](), [info.key for info in page]
        for key in [info.key for info in page if not info.size and not info.key.endswith("/")]:
            at = bisect_left(keys, f"{key}/")
            below = keys[at : at + 1]
            if not below:
                listing = list_objects(self.runtime, self.bucket, f"{key}/", None, 1)
                below = [info.key for info in await listing.collect()]
            if below and below[0].startswith(f"{key}/"):
                marking.add(key)
        return [info for info in page if info.key not in marking] if marking else page

    def _steps(self, page: Sequence[ObjectInfo], patterns: Patterns, refusal: Refusal | None) -> list[Step]:
        start = len(self.prefix)
        named = [(info.key[start:], info) for info in page]
        return [
            self._step(name, info, patterns, refusal)
            for name, info in named
            if info.size or not (name.endswith("/") or not name)
        ]

    def _step(self, name: str, info: ObjectInfo, patterns: Patterns, refusal: Refusal | None) -> Step:
        if not patterns.select(name):
            return None
        why = refusal(name) if refusal is not None else None
        if why is not None:
            return Unusable(name, UnsafeKeyError(f"key {info.key!r} is no name for a file: {why}"))
        return Entry(name, info.size or 0, info=info)

    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        async def keys() -> AsyncGenerator[list[VersionedKey], None]:
            async for page in extra:
                yield [VersionedKey(self.prefix + entry.name) for entry in page]

        try:
            await delete_pages(self.runtime, self.bucket, keys(), tally)
        finally:
            start = len(self.prefix)
            tally.failures = [replace(failure, key=failure.key[start:]) for failure in tally.failures]

    async def require(self, options: WriteOptions) -> None:
        """Raise UnsupportedByServiceError if the service cannot store the objects so."""
        await self.runtime.s3.require(self.address("a"), options)

    async def head(self, name: str) -> ObjectInfo:
        return await self.runtime.s3.head_object(self.address(name), self.reads)

    async def has_content_of(self, info: ObjectInfo, disk: Disk, name: str, *, is_sure: bool) -> bool | None:
        """Return whether the object's ETag is that of this file; None where the ETag does not tell.

        ``is_sure``: if they differ, send a HEAD that tells whether the ETag is a digest at all.
        """
        check, kind = None, self._kind_of_etags
        if md5_of_etag(info.etag, kind):
            check = ContentCheck.of(info, kind)
        elif parts_of_etag(info.etag, kind):
            address = Address(self.bucket, info.key)
            try:
                found = await self.runtime.s3.head_object(address, self.reads)
            except InvalidRequestError:  # as a HEAD without the customer's key is answered
                return None
            if found.etag != info.etag:
                return False
            check = await ContentCheck.asking(self.runtime.s3, address, found, None, self.reads)
        if check is None:
            return None
        await _digest(disk, name, info.size or 0, check)
        if check.matches():
            return True
        if not check.is_certain or (is_sure and await self.hides_digest(info)):  # a guess where the parts were cut
            return None
        return False

    async def hides_digest(self, info: ObjectInfo) -> bool:
        """Send a HEAD. Return whether the ETag only looks like a digest: KMS or a customer's key encrypts the object."""
        try:
            headers = await self.runtime.s3.headers_of(Address(self.bucket, info.key), self.reads)
        except InvalidRequestError:  # as a HEAD without the customer's key is answered
            return True
        kind = obstacle(headers, self.runtime.service)
        return not (md5_of_etag(info.etag, kind) or parts_of_etag(info.etag, kind))

    def shape_of_etag(self, info: ObjectInfo) -> int | None:
        """Return the number of parts whose digests make the ETag, 0 for an MD5 of the whole; None if it is no digest."""
        kind = self._kind_of_etags
        return 0 if md5_of_etag(info.etag, kind) else parts_of_etag(info.etag, kind)

    @property
    def _kind_of_etags(self) -> str | None:
        """What keeps ETags of this service from being digests, as far as it is known without a reply."""
        return obstacle({}, self.runtime.service)


async def _digest(disk: Disk, name: str, size: int, check: ContentCheck) -> None:
    if size <= SMALL_BYTES:  # one hop to a thread, where opening, reading and closing take several
        await check.update(await disk.read_one(name, SMALL_BYTES))
        return
    async with open_source(Path(disk.root, name), disk.opener(name)) as file:
        memory = memoryview(bytearray(min(HASHED_AT_ONCE, size)))
        while count := await file.fill(memory):
            await check.update(memory[:count])


def have_same_content(here: Objects, one: ObjectInfo, there: Objects, other: ObjectInfo) -> bool | None:
    """Return whether the ETags say that the contents are equal; None if they cannot be compared.

    ETags that are no digests cannot be compared. Nor can those of different numbers of parts: the same content has
    different ones then. ETags of as many parts can differ for the same content too, if it was cut elsewhere. They count as different.
    """
    if one.size and MD5_OF_NOTHING in (one.etag, other.etag):  # some services give it to every object without a digest
        return None
    shapes = here.shape_of_etag(one), there.shape_of_etag(other)
    return one.etag == other.etag if shapes[0] == shapes[1] and None not in shapes else None
