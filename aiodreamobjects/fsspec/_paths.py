"""Paths and entries: ``bucket/key`` as fsspec names it, and what a listing says about it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import aiodreamobjects as dream

T = TypeVar("T")
R = TypeVar("R")

Entry = dict[str, Any]
"""What fsspec calls info: ``name``, ``size``, ``type``, and what S3 says beyond that."""

Target = tuple[str, str, str | None]
"""A bucket, a key and a version."""

_VERSION = re.compile(r"\?versionId=([^&?]+)$")


def split(path: str) -> tuple[str, str]:
    """Split a path without its protocol into bucket and key."""
    bucket, _, key = path.partition("/")
    return bucket, key


def split_version(path: str) -> Target:
    """Split a path that may name a version. A name from a listing is none: a key may have such an end itself."""
    version = None
    if found := _VERSION.search(path):
        path, version = path[: found.start()], found[1]
    return *split(path), version


def name_of(target: Target) -> str:
    bucket, key, version = target
    return (f"{bucket}/{key}" if key else bucket) + (f"?versionId={version}" if version else "")


def file_entry(name: str, info: dream.ObjectInfo, *, with_version: bool = False) -> Entry:
    """Return the entry of a file in a listing. ``Key`` and ``Size`` are there because s3fs has them."""
    modified = info.last_modified
    entry = {
        "Key": name,
        "Size": info.size,
        "name": name,
        "size": info.size,
        "type": "file",
        "mtime": None if modified is None else modified.timestamp(),
        "LastModified": modified,
        "ETag": f'"{info.etag}"',
        "StorageClass": info.storage_class or "STANDARD",
    }
    if with_version:
        entry["VersionId"] = info.version_id
    return entry


def directory_entry(name: str) -> Entry:
    return {"Key": name, "Size": 0, "name": name, "size": 0, "type": "directory", "StorageClass": "DIRECTORY"}


def looked_at(name: str, info: dream.ObjectInfo) -> Entry:
    """Return what a HEAD says about a file."""
    entry = file_entry(name, info)
    del entry["Key"], entry["Size"]  # as s3fs
    entry["VersionId"] = info.version_id
    entry["ContentType"] = info.content_type
    if info.metadata:
        entry["metadata"] = dict(info.metadata)
    return entry


def by_name(entry: Entry) -> str:
    name: str = entry["name"]
    return name


class Tree:
    """The listings of directories, made from one flat listing of everything below ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.listings: dict[str, list[Entry]] = {root: []}
        self._unsorted: set[str] = set()

    def add(self, entries: Iterable[Entry]) -> None:
        """Add files. It is quickest if those of one directory follow one another."""
        directory, listing = None, list[Entry]()
        for entry in entries:
            above = entry["name"][: entry["name"].rfind("/")]
            if above != directory:
                directory, listing = above, self.listing(above)
            listing.append(entry)

    def listing(self, directory: str) -> list[Entry]:
        """Return the listing of a directory. Make it, and its entry in its parent's listing."""
        found = self.listings.get(directory)
        if found is None:
            found = self.listings[directory] = []
            parent = directory[: directory.rfind("/")]
            self.listing(parent).append(directory_entry(directory))
            self._unsorted.add(parent)
        return found

    def finish(self) -> None:
        """Sort what is not sorted: an S3 listing tells of a directory only by the keys in it."""
        for directory in self._unsorted:
            self.listings[directory].sort(key=by_name)


async def each(function: Callable[[T], Awaitable[R]], items: Sequence[T], width: int) -> list[R | Exception]:
    """Await ``function`` for each item, ``width`` at once. Return the results, or exceptions in their places."""
    results: list[Any] = [None] * len(items)
    numbers = iter(range(len(items)))

    async def work() -> None:
        for number in numbers:
            try:
                results[number] = await function(items[number])
            except Exception as error:  # noqa: BLE001 - the caller decides
                results[number] = error

    async with asyncio.TaskGroup() as group:
        for _ in range(min(width, len(items))):
            group.create_task(work())
    return results
