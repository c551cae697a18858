"""Addresses as people write them: ``s3://bucket/key``, local paths, ``-``, and wildcards."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass

from aiodreamobjects.cli.errors import RefusedError

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class Remote:
    """A bucket, a key in it, or the beginning of keys."""

    bucket: str
    key: str
    is_raw: bool = False
    """Whether wildcards are characters as all others."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}" if self.key else f"{SCHEME}{self.bucket}"

    @property
    def is_directory(self) -> bool:
        """Return whether the address stands for what is below it."""
        return not self.key or self.key.endswith("/")

    @property
    def wildcard(self) -> int | None:
        """Return where the first wildcard is."""
        return None if self.is_raw else first_wildcard(self.key)

    @property
    def base(self) -> str:
        """Return the directory that relative names begin behind, with its slash; empty for the bucket."""
        whole = self.key if self.wildcard is None else self.key[: self.wildcard]
        return whole[: whole.rfind("/") + 1]

    def matcher(self) -> re.Pattern[str]:
        """Return what matches the keys that the wildcards take. ``*`` matches slashes too."""
        return re.compile(fnmatch.translate(self.key))

    def below(self) -> Remote:
        """Return the same address as a directory."""
        return self if self.is_directory else Remote(self.bucket, f"{self.key}/", self.is_raw)

    def join(self, name: str) -> Remote:
        """Return the address of a name in this directory."""
        return Remote(self.bucket, self.key + name, is_raw=True)


@dataclass(frozen=True, slots=True)
class Local:
    """A path on this machine."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def is_directory(self) -> bool:
        """Return whether the path is a directory, or is written as one."""
        return self.path.endswith(("/", os.sep)) or os.path.isdir(self.path)  # noqa: PTH112 - the path as it was written

    def join(self, name: str) -> Local:
        """Return the path of a name in this directory."""
        return Local(os.path.normpath(os.path.join(self.path, name)))  # noqa: PTH118 - the path as it was written


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard input or output."""

    def __str__(self) -> str:
        return "-"


Address = Remote | Local | Standard


def parse(text: str, *, is_raw: bool = False) -> Address:
    """Return what an argument stands for. Raises RefusedError for ``s3://`` without a bucket."""
    if text == "-":
        return Standard()
    if not text.startswith(SCHEME):
        if not text:
            msg = "an empty address: give a path, - or s3://bucket/key"
            raise RefusedError(msg)
        return Local(text)
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        msg = f"{text}: names no bucket: write s3://bucket/key"
        raise RefusedError(msg)
    if "*" in bucket or "?" in bucket:
        msg = f"{text}: wildcards work in keys, not in the name of a bucket"
        raise RefusedError(msg)
    return Remote(bucket, key, is_raw)


def remote(text: str, *, is_raw: bool = False) -> Remote:
    """Return a remote address. Raises RefusedError for a local one."""
    found = parse(text, is_raw=is_raw)
    if not isinstance(found, Remote):
        msg = f"{text}: must be remote, as s3://bucket/key"
        raise RefusedError(msg)
    return found


def bucket_of(text: str) -> Remote:
    """Return the address of a bucket. Raises RefusedError if there is a key in it."""
    found = remote(text)
    if found.key:
        msg = f"{text}: must be a bucket, as s3://{found.bucket}"
        raise RefusedError(msg)
    return found


def one_object(text: str, *, is_raw: bool = True) -> Remote:
    """Return the address of one object. Raises RefusedError for a bucket and for wildcards."""
    found = remote(text, is_raw=is_raw)
    if not found.key:
        msg = f"{text}: must be an object, as s3://{found.bucket}/key"
        raise RefusedError(msg)
    if found.wildcard is not None:
        msg = f"{text}: wildcards do not work here: give the key of one object, or --raw if these are its characters"
        raise RefusedError(msg)
    return found


def first_wildcard(text: str) -> int | None:
    """Return where the first ``*``, ``?`` or ``[...]`` is. A ``[`` without ``]`` is a character as all others."""
    found = re.search(r"[*?]|\[(?=[^\]].*\]|\].*\])", text, re.DOTALL)
    return found.start() if found else None
