"""What a service keeps in a directory between its runs.

``state.json`` holds everything except the bytes of objects and parts, which are files in ``bodies``, each named by its
SHA-256. A file is written before the state that names it, and the state replaces the one before in one step: after a
crash, the directory holds the state of some moment before it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from anyio import to_thread

from aiodreamobjects._concurrency import finish
from aiodreamobjects._memory.store import OWNER, Bucket, Content, Part, Store, Upload, Version
from aiodreamobjects._models import Acl, Grant

Json: TypeAlias = "dict[str, Any]"
"""A JSON object. It does not leave this module."""

FORMAT = 1
SAVE_SECONDS = 1.0
"""How long a change may exist in memory only."""


class Directory:
    """A directory that one running service owns, until ``close``."""

    def __init__(self, path: Path) -> None:
        """Raise BlockingIOError if another process serves this directory."""
        self._path, self._bodies = path, path / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self._named: dict[int, tuple[bytes, str]] = {}
        """The bodies of the last save by their identity, with their file names."""
        self._lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            store.numbers.next = state["next"]
            for found in state["buckets"]:
                self._load_bucket(store, found)
        except FileNotFoundError as error:
            if Path(error.filename).parent == self._path:
                return  # there is nothing yet
            raise ValueError(f"{self._path}: a file is missing: {error.filename}") from error  # noqa: EM102, TRY003
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{self._path}: its state cannot be read: {error!r}"
            raise ValueError(msg) from error

    def save(self, picture: Picture) -> None:
        """Write a picture, and drop the files that it does not name."""
        self._named, known = {}, self._named
        bodies = {self._name_of(body, known): body for body in picture.bodies()}
        for name, body in bodies.items():
            if not (self._bodies / name).exists():
                self._replace(self._bodies / name, body)
        state = picture.state(lambda body: self._named[id(body)][1])
        self._replace(self._path / "state.json", json.dumps(state).encode())
        for file in self._bodies.iterdir():
            if file.name not in bodies:
                file.unlink()

    def _name_of(self, body: bytes, known: Mapping[int, tuple[bytes, str]]) -> str:
        """Return the body's SHA-256. It is computed once for as long as the body is stored."""
        named = known.get(id(body)) or (body, hashlib.sha256(body).hexdigest())
        self._named[id(body)] = named
        return named[1]

    def _replace(self, path: Path, data: bytes) -> None:
        half = self._path / "half"
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def _load_bucket(self, store: Store, found: Json) -> None:
        bucket = store.create(found["name"], _acl_in(found["acl"]))
        bucket.created, bucket.versioning = datetime.fromisoformat(found["created"]), found["versioning"]
        bucket.documents.update({name: base64.b64decode(text) for name, text in found["documents"].items()})
        for one in found["versions"]:
            bucket.restore(self._version_in(one))
        for one in found["uploads"]:
            upload = self._upload_in(one)
            bucket.uploads[upload.upload_id] = upload

    def _body(self, name: str) -> bytes:
        return (self._bodies / name).read_bytes()

    def _version_in(self, found: Json) -> Version:
        content = Content(self._body(found["body"]), found["etag"], found["headers"], tuple(found["parts"]))
        return Version(
            found["key"],
            found["number"],
            content,
            found["is_marker"],
            datetime.fromisoformat(found["modified"]),
            found["is_null"],
            _acl_in(found["acl"]),
            found["tags"],
        )

    def _upload_in(self, found: Json) -> Upload:
        parts = {
            one["number"]: Part(
                one["number"], self._body(one["body"]), one["etag"], datetime.fromisoformat(one["modified"])
            )
            for one in found["parts"]
        }
        started = datetime.fromisoformat(found["started"])
        return Upload(
            found["key"], found["number"], found["headers"], parts, started, _acl_in(found["acl"]), found["tags"]
        )


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
            await finish(to_thread.run_sync(self._directory.save, Picture(self._store)))
            self._saved = changes


class Picture:
    """The state of a store at one moment. Immutable values are shared; lists and dictionaries are copied."""

    def __init__(self, store: Store) -> None:
        self._next = store.numbers.next
        self._buckets = [
            (
                _bucket(bucket),
                list(bucket.versions()),
                [(upload, list(upload.parts.values())) for upload in bucket.uploads.values()],
            )
            for bucket in store.buckets.values()
        ]

    def bodies(self) -> Iterator[bytes]:
        for _, versions, uploads in self._buckets:
            yield from (version.content.body for version in versions)
            yield from (part.body for _, parts in uploads for part in parts)

    def state(self, name_of: Callable[[bytes], str]) -> Json:
        """Return the state as it is written. ``name_of`` gives the name of a body's file."""
        buckets = [
            {
                **facts,
                "versions": [_version(version, name_of) for version in versions],
                "uploads": [_upload(upload, parts, name_of) for upload, parts in uploads],
            }
            for facts, versions, uploads in self._buckets
        ]
        return {"format": FORMAT, "next": self._next, "buckets": buckets}


def _bucket(bucket: Bucket) -> Json:
    return {
        "name": bucket.name,
        "acl": _grants(bucket.acl),
        "created": bucket.created.isoformat(),
        "versioning": bucket.versioning,
        "documents": {name: base64.b64encode(text).decode() for name, text in bucket.documents.items()},
    }


def _version(version: Version, name_of: Callable[[bytes], str]) -> Json:
    content = version.content
    return {
        "key": version.key,
        "number": version.number,
        "body": name_of(content.body),
        "etag": content.etag,
        "headers": dict(content.headers),
        "parts": content.part_sizes,
        "is_marker": version.is_marker,
        "is_null": version.is_null,
        "modified": version.modified.isoformat(),
        "acl": _grants(version.acl),
        "tags": dict(version.tags),
    }


def _upload(upload: Upload, parts: Iterable[Part], name_of: Callable[[bytes], str]) -> Json:
    return {
        "key": upload.key,
        "number": upload.number,
        "headers": dict(upload.headers),
        "started": upload.started.isoformat(),
        "acl": _grants(upload.acl),
        "tags": dict(upload.tags),
        "parts": [
            {
                "number": part.number,
                "body": name_of(part.body),
                "etag": part.etag,
                "modified": part.modified.isoformat(),
            }
            for part in parts
        ],
    }


def _grants(acl: Acl) -> list[list[str | None]]:
    return [[grant.permission, grant.id, grant.uri] for grant in acl.grants]


def _acl_in(grants: list[Any]) -> Acl:
    return Acl(OWNER, tuple(Grant(permission, id=found, uri=uri) for permission, found, uri in grants))
