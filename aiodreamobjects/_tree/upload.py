"""Upload a local directory to objects below a prefix."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from inspect import iscoroutine

from aiodreamobjects._bulk import Tally, fails_all
from aiodreamobjects._errors import DreamObjectsError, EncryptionKeyError, NotFoundError
from aiodreamobjects._models import ObjectInfo, printable
from aiodreamobjects._progress import Gauge
from aiodreamobjects._reports import TreeReason
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import HeaderArguments, WriteOptions
from aiodreamobjects._transfer import mtime, upload
from aiodreamobjects._transfer.content_types import content_type_of
from aiodreamobjects._transfer.parts import plan
from aiodreamobjects._tree.disk import Content, Disk
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import Same, TreeOptions, Verdict
from aiodreamobjects._tree.run import SMALL_BYTES, Direction, Run
from aiodreamobjects._tree.walk import Entry, Step, Walk

HeadersFor = Callable[[str], Mapping[str, object] | None]


class UploadTree(Direction):
    verb = "upload_tree"

    def __init__(
        self,
        runtime: Runtime,
        root: str,
        bucket: str,
        prefix: str,
        options: TreeOptions,
        headers: Mapping[str, object],
        headers_for: HeadersFor | None,
    ) -> None:
        """``headers``: arguments of ``set_headers``, for all files. ``headers_for`` returns others for one name."""
        super().__init__(runtime, options)
        self._given_headers = headers
        self._headers = {**headers, "acl": options.acl, "encryption": options.encryption}
        self._headers_for = headers_for
        self.details = f", headers={dict(sorted(headers.items()))}"
        reads = WriteOptions.of(self._headers).reads  # raises for a value that cannot be sent
        self._disk = Disk(root, follow=options.symlinks == "follow")
        self.place = self._objects = Objects(runtime, bucket, prefix, reads)
        self.what = printable(f"{root} to {self._objects}")

    def parts(self) -> tuple[object, ...]:
        objects, options = self._objects, self.options.of_worker()
        return self.runtime, self._disk.root, objects.bucket, objects.prefix, options, self._given_headers, None

    @property
    def shared_directory(self) -> str:
        return self._disk.root

    def load_for(self, entries: Sequence[Entry]) -> object:
        """Return the headers that the caller's function gives: it is called here, so it need not be importable."""
        if self._headers_for is None:
            return None
        return {entry.name: self._found_headers(entry.name) for entry in entries}

    def take_load(self, load: object) -> None:
        if isinstance(load, dict):
            self._headers_for = load.get

    async def open(self) -> None:
        if not await self._disk.open(make=False):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._disk.root)
        if self.options.compares_times:
            await self._disk.measure(may_write=False)
        if not self.options.dry_run:
            await self._objects.require(WriteOptions.of(self._headers))

    async def aclose(self) -> None:
        await self._disk.aclose()

    def sources(self) -> AsyncGenerator[Sequence[Step], None]:
        options = self.options
        return Walk(self._disk.root, self.patterns, options.symlinks, missing_ok=options.missing_ok).pages()

    async def require_source(self) -> None:
        await self._disk.require_root()

    def targets(self) -> AsyncGenerator[Sequence[Step], None]:
        return self._objects.pages(self.patterns)

    def tell(self, source: Entry, target: Entry) -> TreeReason | Verdict:  # noqa: ARG002 - a listing tells neither
        return "unknown"

    async def look(self, source: Entry, target: Entry) -> TreeReason | Same:
        try:
            return await super().look(source, target)
        except NotFoundError as error:  # it was deleted since it was listed
            if fails_all(error):
                raise
            return "missing"
        except EncryptionKeyError:  # it was stored without this key
            return "etag" if self.options.compare == "etag" else "mtime"

    async def has_same_content(self, source: Entry, target: Entry) -> bool | None:
        assert target.info is not None
        is_sure = self.options.compare == "etag-or-time"  # with "etag", a name is copied in both cases
        return await self._objects.has_content_of(target.info, self._disk, source.name, is_sure=is_sure)

    async def has_same_time(self, source: Entry, target: Entry) -> bool:
        """Without a kept time, an object is current if it was stored when the file was last changed, or later."""
        assert source.mtime_ns is not None
        found = await self._objects.head(source.name)
        lacks_key = self._objects.reads.encryption is not None and found.encryption is None  # Ceph ignores the key then
        if found.size != source.size or lacks_key:
            return False
        if (kept := mtime.kept_in(found.metadata)) is not None:
            return kept.is_that_of(source.mtime_ns, self._disk.precision)
        stored = mtime.of(found, target.info)
        return stored is not None and stored.nanoseconds >= source.mtime_ns

    async def copy(self, run: Run, batch: Sequence[Entry]) -> None:
        if batch[0].size > SMALL_BYTES:
            await self._upload(run, batch[0])
            return
        names = [entry.name for entry in batch]
        contents = await self._disk.read(names, SMALL_BYTES)
        for name, content in zip(names, contents, strict=True):
            await self._disk.rest()
            headers = self._headers_of(name)
            try:
                if isinstance(content, Exception):
                    raise content
                await self._put(name, content, headers)
            except (DreamObjectsError, OSError, ValueError) as error:
                run.failed(name, error)
            else:
                run.copied(name, len(content.data))

    async def delete(self, extra: AsyncGenerator[list[Entry], None], tally: Tally) -> None:
        await self._objects.delete(extra, tally)

    async def try_places(self, entries: Sequence[Entry]) -> list[Exception | None]:
        found: list[Exception | None] = []
        for entry in entries:
            headers = self._headers_of(entry.name)
            try:
                WriteOptions.of(headers)
            except ValueError as error:
                found.append(error)
            else:
                found.append(None)
        return found

    def _headers_of(self, name: str) -> Mapping[str, object]:
        """Return the headers of this file."""
        found = self._found_headers(name)
        return self._headers if found is None else {**self._headers, **found}

    def _found_headers(self, name: str) -> Mapping[str, object] | None:
        """Return what the caller's function says. What it raises ends the tree, as errors of ``progress`` do."""
        found = None if self._headers_for is None else self._headers_for(name)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            if iscoroutine(found):
                found.close()
            msg = f"headers_for({name!r}) returned {type(found).__name__}: it returns a mapping such as {{'cache_control': 'no-cache'}}, or None"
            raise TypeError(msg)
        if unknown := found.keys() - HeaderArguments.__annotations__.keys():
            names = ", ".join(sorted(HeaderArguments.__annotations__))
            msg = f"headers_for({name!r}) returned the unknown name {min(unknown)!r}; there are {names}"
            raise TypeError(msg)
        return found

    async def _put(
        self, name: str, content: Content, headers: Mapping[str, object], sent: Gauge | None = None
    ) -> ObjectInfo:
        metadata = headers.get("metadata") or {}
        if isinstance(metadata, Mapping):  # anything else is refused below
            metadata = {mtime.NAME: mtime.text_of(content.mtime_ns), **metadata}
        content_type = headers.get("content_type") or content_type_of(name)
        options = WriteOptions.of({**headers, "content_type": content_type, "metadata": metadata})
        return await self.runtime.s3.put_object(self._objects.address(name), content.data, options, sent=sent)

    async def _upload(self, run: Run, entry: Entry) -> None:
        headers = self._headers_of(entry.name)
        try:
            with run.meter.piece(entry.size, entry.name) as gauge:
                info = await self._put_whole(entry, headers, gauge) or await self._put_in_pieces(entry, headers, gauge)
        except (DreamObjectsError, OSError, ValueError) as error:
            run.failed(entry.name, error)
        else:
            run.copied(entry.name, info.size or 0, counted=True)

    async def _put_whole(self, entry: Entry, headers: Mapping[str, object], gauge: Gauge) -> ObjectInfo | None:
        """Read a file of up to a part into memory in one call to a thread, and send it. Return None if it is larger by now."""
        runtime = self.runtime
        if plan(entry.size, runtime.limits.part_size, runtime.service.multipart).first < entry.size:
            return None
        address = self._objects.address(entry.name)
        async with (
            runtime.job("upload", address.bucket, address.key) as job,
            runtime.memory.share().lend(entry.size) as memory,
        ):
            content = await self._disk.read_into(entry.name, memory)
            if content is None:
                return None
            with job.writing():
                info = await self._put(entry.name, content, headers, gauge)
            job.note(info, parts=1, resumed=False)
        return info

    async def _put_in_pieces(self, entry: Entry, headers: Mapping[str, object], gauge: Gauge) -> ObjectInfo:
        return await upload.upload(
            self.runtime,
            self._objects.address(entry.name),
            f"{self._disk.root}/{entry.name}",
            WriteOptions.of(headers),
            gauge.follow if self.options.progress else None,
            opener=self._disk.opener(entry.name),
        )
