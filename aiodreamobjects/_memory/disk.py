"""What a service keeps in a directory between its runs.

``state.json`` holds everything except bytes, such as those of objects, parts and settings. They are files in ``bodies``,
each named by its SHA-256. A file is written before the state that names it, and the new state replaces the old one in
one step. So after a crash, the directory holds an earlier state that is complete.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, cast, get_args, get_origin, get_type_hints

import anyio
from anyio import to_thread

from aiodreamobjects._concurrency import finish
from aiodreamobjects._memory.store import Bucket, Store, Upload, Version
from aiodreamobjects._system import PLAIN, lock

Json: TypeAlias = "dict[str, Any]"
"""A JSON object. It does not leave this module."""

FORMAT = 2
SAVE_SECONDS = 1.0
"""How long a change may exist in memory only."""

_OF_BUCKETS = ("acl", "created", "versioning", "documents")
"""What is kept of a bucket, beside its name, its versions and its uploads."""


class Directory:
    """A directory that one running service owns, until ``close``."""

    def __init__(self, path: Path) -> None:
        """Raise BlockingIOError if another process serves this directory."""
        self._path, self._bodies = path, path / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self._named: dict[int, tuple[bytes, str]] = {}
        """The bodies of the last save by their identity, with their file names."""
        self._lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | PLAIN, 0o600)
        try:
            lock(self._lock)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        os.close(self._lock)

    def load(self, store: Store) -> None:
        """Load the saved state into an empty store. Raises ValueError if it cannot be read."""
        try:
            state = json.loads((self._path / "state.json").read_text(encoding="utf-8"))
            if state["format"] != FORMAT:
                msg = f"its format {state['format']} is not known here"
                raise ValueError(msg)  # noqa: TRY301 - told with the path, as all else
            store.numbers = itertools.count(state["next"])
            for found in state["buckets"]:
                self._load_bucket(store, found)
        except FileNotFoundError as error:
            if Path(error.filename).parent == self._path:
                return  # there is nothing yet
            raise ValueError(f"{self._path}: a file is missing: {error.filename}") from error  # noqa: EM102, TRY003
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{self._path}: its state cannot be read: {error!r}"
            raise ValueError(msg) from error

    def save(self, picture: Json) -> None:
        """Write a picture, and drop the files that it does not name."""
        self._named, known = {}, self._named
        bodies: dict[str, bytes] = {}

        def name_of(body: bytes) -> str:
            """Return the body's SHA-256. It is computed once for as long as the body is stored."""
            named = known.get(id(body)) or (body, hashlib.sha256(body).hexdigest())
            self._named[id(body)] = named
            bodies[named[1]] = body
            return named[1]

        state = json.dumps(_plain(picture, name_of))
        for name, body in bodies.items():
            if not (self._bodies / name).exists():
                self._replace(self._bodies / name, body)
        self._replace(self._path / "state.json", state.encode())
        for file in self._bodies.iterdir():
            if file.name not in bodies:
                file.unlink()

    def _replace(self, path: Path, data: bytes) -> None:
        half = self._path / "half"
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def _load_bucket(self, store: Store, found: Json) -> None:
        bucket, kinds = store.create(found["name"]), get_type_hints(Bucket)
        for name in _OF_BUCKETS:
            setattr(bucket, name, self._made(kinds[name], found[name]))
        for one in found["versions"]:
            bucket.restore(self._made(Version, one))
        for one in found["uploads"]:
            upload: Upload = self._made(Upload, one)
            bucket.uploads[upload.upload_id] = upload

    def _made(self, kind: Any, found: Any) -> Any:
        """Return the value of this type that was written as ``found``. A field that was not written has its default."""
        readers = {bytes: lambda name: (self._bodies / name).read_bytes(), datetime: datetime.fromisoformat}
        if kind in readers:
            return readers[kind](found)
        if is_dataclass(kind):
            kinds = get_type_hints(kind)
            values = {name: self._made(kinds[name], value) for name, value in found.items()}
            return cast(Callable[..., Any], kind)(**values)
        origin, kinds_within = get_origin(kind), get_args(kind)
        if origin is tuple:
            return tuple(self._made(kinds_within[0], value) for value in found)
        if origin is UnionType:  # a value or None
            return found if found is None else self._made(kinds_within[0], found)
        if origin in (dict, Mapping):
            key, value_kind = kinds_within
            return {key(name): self._made(value_kind, value) for name, value in found.items()}
        return found


class Keeper:
    """Saves a store into a directory, soon after it changed and at the end."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store, self._directory = store, directory
        self._saved = store.changes

    async def run(self) -> None:
        """Save every second until cancelled. Raises OSError if that fails."""
        while True:
            await anyio.sleep(SAVE_SECONDS)
            await self.save()

    async def save(self) -> None:
        """Save what has changed. The files are written in a thread, from a picture of the state at this moment."""
        changes = self._store.changes
        if changes != self._saved:
            await finish(to_thread.run_sync(self._directory.save, _picture(self._store)))
            self._saved = changes


def _picture(store: Store) -> Json:
    """Return the state of a store at this moment. Immutable values are shared; lists and dictionaries are copied."""
    buckets = [
        {
            "name": bucket.name,
            **{name: getattr(bucket, name) for name in _OF_BUCKETS},
            "documents": dict(bucket.documents),
            "versions": list(bucket.versions()),
            "uploads": [replace(upload, parts=dict(upload.parts)) for upload in bucket.uploads.values()],
        }
        for bucket in store.buckets.values()
    ]
    return {"format": FORMAT, "next": next(store.numbers), "buckets": buckets}


def _plain(value: object, name_of: Callable[[bytes], str]) -> object:
    """Return a value as JSON has it. ``name_of`` gives the name of the file with these bytes."""
    if isinstance(value, bytes):
        return name_of(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name), name_of) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one, name_of) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, name_of) for one in value]
    return value
