"""The filesystem: fsspec's methods on the library's verbs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from glob import has_magic
from pathlib import Path
from typing import Any

import aiodreamobjects as dream
from aiodreamobjects.fsspec._border import (
    NO_CALLBACK,
    AsyncFileSystem,
    Callback,
    compr,
    get_compression,
    get_loop,
    make_path_posix,
    stringify_path,
    tokenize,
)
from aiodreamobjects.fsspec._errors import not_found, os_error, translated
from aiodreamobjects.fsspec._files import CompressedFile, DreamObjectsAsyncFile, DreamObjectsFile, TextFile
from aiodreamobjects.fsspec._options import Options
from aiodreamobjects.fsspec._paths import (
    Entry,
    Target,
    Tree,
    by_name,
    directory_entry,
    each,
    file_entry,
    looked_at,
    name_of,
    split,
    split_version,
)
from aiodreamobjects.fsspec._ranges import MAX_GAP, Ranges
from aiodreamobjects.fsspec._sessions import Sessions
from aiodreamobjects.fsspec._sync import sync_wrapper
from aiodreamobjects.fsspec._writes import OF_COPIES, OF_TREES, defaults_of, options_of

PROTOCOLS = ("dreamobjects", "dream")
STRIPPED = (*PROTOCOLS, "s3", "s3a")
PARALLEL_LISTING = 8
"""Requests at once for a flat listing of more than one page."""


class DreamObjectsFileSystem(AsyncFileSystem):
    """Objects as files, for fsspec and all that is built on it.

    ``fsspec.filesystem("dreamobjects", endpoint=..., access_key=..., secret_key=...)``. Options that are left out are found as
    ``dream.Session`` finds them. s3fs's names ``key``, ``secret``, ``token``, ``endpoint_url`` and ``client_kwargs`` work too.

    A pickle or the JSON of a filesystem carries its options and nothing else. Secrets that were given as options are among them;
    those that the environment or a profile has are not.
    """

    protocol = PROTOCOLS
    root_marker = ""
    default_block_size = 8 << 20
    default_cache_type = "readahead"
    _strip_tokenize_options = ("loop",)  # a loop is not part of what is pickled

    def __init__(
        self,
        *,
        version_aware: bool = False,
        default_block_size: int | None = None,
        default_cache_type: str | None = None,
        use_listings_cache: bool = True,
        listings_expiry_time: float | None = None,
        max_paths: int | None = None,
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        batch_size: int | None = None,
        s3_additional_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._options = Options.of(options)
        self._of_writes = defaults_of(s3_additional_kwargs)
        super().__init__(
            asynchronous=asynchronous,
            loop=loop,
            batch_size=batch_size,
            use_listings_cache=use_listings_cache,
            listings_expiry_time=listings_expiry_time,
            max_paths=max_paths,
        )
        self.version_aware = version_aware
        self.default_block_size = default_block_size or type(self).default_block_size
        self.default_cache_type = default_cache_type or type(self).default_cache_type
        self._limits = self._options.limits_or_default()
        self._sessions = Sessions(self._options)
        self._forgotten = 0
        """How often listings were forgotten. One that began before may lack what was changed."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop for synchronous calls. A forked process gets one of its own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = None if self.asynchronous else get_loop()
        return self._loop

    async def session(self) -> dream.Session:
        """Return the session of the running event loop, opened at first use."""
        return (await self._sessions.here()).session

    async def aclose(self) -> None:
        """Close the session of the running event loop. The next call opens a new one."""
        await self._sessions.aclose()

    # Paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        path = stringify_path(path)
        for protocol in STRIPPED:
            if path.startswith((f"{protocol}://", f"{protocol}::")):
                path = path[len(protocol) + (3 if path[len(protocol) + 1] == "/" else 2) :]
                break
        return path.strip("/") if path[:1] == "/" else path.rstrip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        return {"version_aware": True} if "?versionId=" in path else {}

    def split_path(self, path: str) -> tuple[str, str, str | None]:
        """Return the bucket, the key and the version of a path. Without ``version_aware``, all of it is the key."""
        return self._split(self._strip_protocol(path))

    def _split(self, path: str) -> Target:
        return split_version(path) if self.version_aware else (*split(path), None)

    async def bucket_at(self, name: str) -> dream.Bucket:
        """Return a handle on a bucket. Raise FileNotFoundError for a name that no bucket can have."""
        connection = await self._sessions.here()
        try:
            return await connection.bucket(name)
        except ValueError as error:
            raise not_found(name) from error

    async def object_at(self, path: str) -> dream.Object:
        bucket, key, _ = self._split(path)
        if not key:
            msg = f"{path!r} names no object: the form is bucket/key"
            raise ValueError(msg)
        return (await self.bucket_at(bucket)).object(key)

    async def target_at(self, path: str) -> dream.Object:
        """Return the object to write. Raise ValueError if the path names a version, which nobody can write."""
        self.check_target(path)
        return await self.object_at(path)

    def check_target(self, path: str, version_id: str | None = None) -> None:
        """Raise ValueError for a version: nobody can write one."""
        if self._version_of(path, version_id) is not None:
            msg = f"{path!r}: a write makes a new version: leave out the version"
            raise ValueError(msg)

    def _version_of(self, path: str, version_id: str | None) -> str | None:
        in_path = self._split(path)[2]
        if version_id is not None and not self.version_aware:
            msg = "version_id needs a filesystem with version_aware=True"
            raise ValueError(msg)
        if in_path is not None and version_id not in (None, in_path):
            msg = f"{path!r} names another version than version_id={version_id!r}"
            raise ValueError(msg)
        return version_id or in_path

    async def _expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, assume_literal: bool = False
    ) -> list[str]:
        paths = self._strip_protocol([path] if isinstance(path, str) else list(path))
        versions = [one for one in paths if self._split(one)[2] is not None]  # its question mark is no pattern
        others = [one for one in paths if self._split(one)[2] is None]
        if not versions:
            return await super()._expand_path(path, recursive, maxdepth, assume_literal)
        found = await super()._expand_path(others, recursive, maxdepth, assume_literal) if others else []
        return sorted({*versions, *found})

    # Looking

    @translated
    async def _info(self, path: str, refresh: bool = False, version_id: str | None = None, **kwargs: Any) -> Entry:
        path = self._strip_protocol(path)
        bucket, key, _ = self._split(path)
        version = self._version_of(path, version_id)
        if not path:
            return directory_entry("")
        if not refresh and (known := self._known(path, version)):
            return known  # the entry itself, as everywhere in fsspec, whose filesystems copy one before they change it
        return await self._look((bucket, key, version))

    async def _look(self, target: Target) -> Entry:
        """Ask the service whether the path is an object, a directory or a bucket. Raise FileNotFoundError if it is none."""
        bucket, key, version = target
        place = await self.bucket_at(bucket)
        if not key:
            if not await _has_bucket(place):
                raise not_found(bucket)
            return {**directory_entry(bucket), "VersionId": None}
        try:
            obj = place.object(key)
        except ValueError as error:  # no object can have this name
            raise not_found(name_of(target)) from error
        try:
            return looked_at(f"{bucket}/{key}", await obj.head(version_id=version))
        except dream.NotFoundError:
            if version is None and await _has_below(place, f"{key}/"):
                return directory_entry(f"{bucket}/{key}")
        raise not_found(name_of(target))

    def _known(self, path: str, version: str | None = None) -> Entry | None:
        """Return the entry that the listings cache has. A listing without the path says nothing: it may be old."""
        for entry in self._listed(path):
            if version is None or entry.get("VersionId") == version:
                return entry
        return directory_entry(path) if version is None and path in self.dircache else None

    def _listed(self, path: str) -> list[Entry]:
        """Return the entries that the kept listing of the parent has for a path: a file, a directory, or both."""
        entries = self.dircache.get(self._parent(path), [])
        begin = bisect_left(entries, path, key=by_name)
        return [entry for entry in entries[begin : begin + 2] if entry["name"] == path]

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        try:
            await self._info(path, **kwargs)
        except FileNotFoundError:
            return False
        return True

    async def _isfile(self, path: str) -> bool:
        try:
            found = await self._info(path)
        except FileNotFoundError:  # fsspec's own method takes every error for a missing file
            return False
        return bool(found["type"] == "file")

    @translated
    async def _isdir(self, path: str) -> bool:
        path = self._strip_protocol(path)
        bucket, key = split(path)
        if not path or path in self.dircache:
            return True
        if any(entry["type"] == "directory" for entry in self._listed(path)):
            return True
        try:
            place = await self.bucket_at(bucket)
            return await (_has_below(place, f"{key}/") if key else _has_bucket(place))
        except FileNotFoundError:
            return False

    @translated
    async def head_or_none(self, path: str) -> dream.ObjectInfo | None:
        """Return what a HEAD says about an object, or None if there is none."""
        return await _head(await self.object_at(path))

    async def has_object(self, path: str) -> bool:
        return await self.head_or_none(path) is not None

    @translated
    async def _modified(self, path: str, version_id: str | None = None, refresh: bool = False) -> datetime:
        info = await self._info(path, version_id=version_id, refresh=refresh)
        if info["type"] != "file":
            raise os_error(errno.EISDIR, path)
        modified: datetime = info["LastModified"]
        return modified

    @translated
    async def _checksum(self, path: str, refresh: bool = False) -> int:
        """Return a number that changes when the content does."""
        info = await self._info(path, refresh=refresh)
        digest = str(info.get("ETag", "")).strip('"').split("-")[0]
        try:
            return int(digest, 16)
        except ValueError:
            return int(tokenize(info), 16)

    def ukey(self, path: str) -> str:
        """Return a text that changes when the content does."""
        info = self.info(path)
        told = (info["name"], info["type"], info["size"], info.get("ETag"))
        return hashlib.sha256(repr(told).encode()).hexdigest()

    @translated
    async def _sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        path = self._strip_protocol(path)
        return (await self.object_at(path)).presign_get(expiration, version_id=self._split(path)[2], **kwargs)

    @translated
    async def _object_version_info(self, path: str) -> list[Entry]:
        """Return the versions of an object, the newest first."""
        path = self._strip_protocol(path)
        if not self.version_aware:
            msg = "object_version_info needs a filesystem with version_aware=True"
            raise ValueError(msg)
        name = "/".join(self._split(path)[:2])
        return [
            {**file_entry(name, info, with_version=True), "IsLatest": info.is_latest}
            for info in await (await self.object_at(path)).versions()
            if not info.is_delete_marker
        ]

    # Listing

    @translated
    async def _ls(
        self, path: str, detail: bool = False, refresh: bool = False, versions: bool = False, **kwargs: Any
    ) -> list[Any]:
        entries = await self._entries(self._strip_protocol(path), refresh=refresh, versions=versions)
        return [dict(entry) for entry in entries] if detail else sorted([entry["name"] for entry in entries])

    async def _entries(self, path: str, *, refresh: bool = False, versions: bool = False) -> list[Entry]:
        """Return the listing of a directory. Its name may be empty: then the path ends with a slash."""
        entries: list[Entry] | None = None if refresh or versions else self.dircache.get(path)
        if entries is None:
            entries = await (self._list_directory(path, versions=versions) if path else self._list_buckets())
        return entries

    async def _list_buckets(self) -> list[Entry]:
        session, forgotten = (await self._sessions.here()).session, self._forgotten
        entries = sorted([directory_entry(info.name) for info in await session.buckets().collect()], key=by_name)
        self._keep("", entries, forgotten)
        return entries

    async def _list_directory(self, path: str, *, versions: bool) -> list[Entry]:
        bucket, key = split(path)
        prefix, forgotten = f"{key}/" if key else "", self._forgotten
        entries, is_directory = await self._list_level(bucket, prefix, versions=versions)
        if not entries and not is_directory and key:
            entry = await self._info(path, refresh=True)
            if entry["type"] != "file":
                raise not_found(path)  # deleted meanwhile
            listed = {"Key": entry["name"], "Size": entry["size"], **entry}
            for name in ("ContentType", "metadata", *(() if self.version_aware else ("VersionId",))):
                listed.pop(name, None)
            return [listed]
        if not versions:
            self._keep(path, entries, forgotten)
        return entries

    async def _list_level(self, bucket: str, prefix: str, *, versions: bool = False) -> tuple[list[Entry], bool]:
        """Return the entries of one level, sorted, and whether the directory has a marker of its own."""
        place, is_marked = await self.bucket_at(bucket), False
        if versions and not self.version_aware:
            msg = "versions=True needs a filesystem with version_aware=True"
            raise ValueError(msg)
        entries: list[Entry] = []
        if self.version_aware:
            directories = dict[str, None]()
            async with aclosing(self._pages(bucket, prefix, versions=versions)) as pages:
                async for page in pages:
                    for info in page:
                        directory, slash, _ = info.key[len(prefix) :].partition("/")
                        if slash:
                            directories[f"{bucket}/{prefix}{directory}"] = None
                        elif info.key == prefix:
                            is_marked = True
                        else:
                            name = f"{bucket}/{info.key}" + (f"?versionId={info.version_id}" if versions else "")
                            entries.append(file_entry(name, info, with_version=True))
            entries += [directory_entry(name) for name in directories]
        else:
            async for item in place.list_dir(prefix):
                if isinstance(item, dream.CommonPrefix):
                    entries.append(directory_entry(f"{bucket}/{item.prefix[:-1]}"))
                elif item.key == prefix:
                    is_marked = True
                else:
                    entries.append(file_entry(f"{bucket}/{item.key}", item))
        entries.sort(key=by_name)
        return entries, is_marked

    async def _pages(
        self, bucket: str, prefix: str, *, versions: bool = False
    ) -> AsyncGenerator[Sequence[dream.ObjectInfo], None]:
        """Yield everything below a prefix: of a version-aware filesystem, with the versions."""
        place = await self.bucket_at(bucket)
        if not self.version_aware:
            async with aclosing(place.list(prefix, parallel=PARALLEL_LISTING).pages()) as pages:
                async for page in pages:
                    yield page
            return
        async with aclosing(place.list_versions(prefix).pages()) as pages:
            async for page in pages:
                yield [info for info in page if not info.is_delete_marker and (versions or info.is_latest)]

    @translated
    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> Any:
        path = self._strip_protocol(path)
        if not path:
            msg = "find needs a bucket: it does not search all of them"
            raise ValueError(msg)
        if maxdepth is not None and maxdepth < 1:
            msg = f"maxdepth must be at least 1, not {maxdepth!r}"
            raise ValueError(msg)
        if maxdepth is None:
            found = await self._find_all(path, prefix or "", withdirs=bool(withdirs), detail=detail)
        else:
            found = await self._find_levels(path, prefix or "", maxdepth, withdirs=bool(withdirs))
        return found if detail else list(found)

    async def _find_all(self, path: str, prefix: str, *, withdirs: bool, detail: bool) -> dict[str, Entry]:
        """Find everything below a path by one flat listing. Remember the listings of its directories."""
        bucket, key = split(path)
        below = f"{key}/{prefix}" if key else prefix
        head, with_version, forgotten = f"{bucket}/", self.version_aware, self._forgotten
        found: dict[str, Entry] = {}
        markers: list[str] = []
        async with aclosing(self._pages(bucket, below)) as pages:
            async for page in pages:
                for info in page:
                    name = head + info.key
                    if name[-1] == "/":
                        markers.append(name[:-1])
                    else:
                        found[name] = file_entry(name, info, with_version=with_version)
        if not found and not markers:
            if not key or prefix:
                return {}
            try:
                entry = await self._info(path, refresh=True)
            except FileNotFoundError:
                return {}
            return {path: entry} if entry["type"] == "file" else {}
        if withdirs or not prefix:
            kept_since = None if prefix else forgotten  # the listing of a prefix lacks what does not start so
            # A caller who gets entries may change them.
            entries = map(dict, found.values()) if detail else found.values()
            tree = Tree(path)
            tree.add(entries)
            found = self._with_tree(tree, found, markers, kept_since, withdirs=withdirs)
        return found

    def _with_tree(
        self, tree: Tree, found: dict[str, Entry], markers: list[str], kept_since: int | None, *, withdirs: bool
    ) -> dict[str, Entry]:
        for marker in markers:
            tree.listing(marker)
        tree.finish()
        if kept_since is not None:
            for directory, entries in tree.listings.items():
                self._keep(directory, entries, kept_since)
        if not withdirs:
            return found
        directories = {name: directory_entry(name) for name in tree.listings if name not in found}
        if "/" not in tree.root:
            directories.pop(tree.root, None)
        return dict(sorted({**directories, **found}.items()))

    async def _find_levels(self, path: str, prefix: str, maxdepth: int, *, withdirs: bool) -> dict[str, Entry]:
        """Find what is at most so deep, level by level. Only whole levels are remembered."""
        bucket, key = split(path)
        try:
            if prefix:
                level, _ = await self._list_level(bucket, f"{key}/{prefix}" if key else prefix)
            else:
                level = await self._entries(path)
        except FileNotFoundError:
            return {}
        found = {}
        if withdirs and not prefix and not (len(level) == 1 and level[0]["name"] == path):
            found[path] = directory_entry(path)
        for depth in range(maxdepth):
            directories = [entry["name"] for entry in level if entry["type"] == "directory"]
            for entry in level:
                if entry["type"] == "file" or (withdirs and entry["name"] not in found):
                    found[entry["name"]] = dict(entry)
            if depth + 1 == maxdepth or not directories:
                break
            listed = await each(self._entries, directories, self._limits.requests)
            level = [entry for entries in _without_missing(listed) for entry in entries]
        return dict(sorted(found.items()))

    async def _glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        if self._strip_protocol(path)[:1] in ("*", "?", "["):
            msg = f"{path!r}: a pattern needs the name of a bucket before its first wildcard"
            raise ValueError(msg)
        return await super()._glob(path, maxdepth=maxdepth, **kwargs)

    async def _du(
        self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any
    ) -> int | dict[str, int]:
        found = await self._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes = {name: entry["size"] for name, entry in found.items()}
        return sum(sizes.values()) if total else sizes

    def _keep(self, path: str, entries: list[Entry], forgotten: int) -> None:
        """Keep a listing, unless one was forgotten since it began."""
        if forgotten == self._forgotten:
            self.dircache[path] = entries

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget the listings of a path and of all directories above it; without a path, all listings."""
        if path is None:
            self._forgotten += 1
            self.dircache.clear()
        else:
            self._forget(self._strip_protocol(path))
        super().invalidate_cache(path)

    def _forget(self, place: str) -> None:
        self._forgotten += 1
        while place:
            self.dircache.pop(place, None)
            place = place.rpartition("/")[0]
        self.dircache.pop("", None)

    def _forget_below(self, path: str) -> None:
        for name in [name for name in self.dircache if name.startswith(f"{path}/")]:
            self.dircache.pop(name, None)
        self.invalidate_cache(path)

    # Reading

    @translated
    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, version_id: str | None = None, **kwargs: Any
    ) -> bytes:
        path = self._strip_protocol(path)
        version = self._version_of(path, version_id)
        obj = await self.object_at(path)
        if start is None and end is None:
            return await obj.read(version_id=version)
        if (end is not None and end < 0) or (start is not None and start < 0 and end is not None):
            size = (await obj.head(version_id=version)).size or 0
            start, end, _ = slice(start, end).indices(size)
        if start == end or (end is not None and end <= (start or 0)):
            return b""
        return await Ranges(self._limits).read(obj, start or 0, end, version_id=version)

    async def read_pinned(self, path: str, start: int, end: int, etag: str | None, version_id: str | None) -> bytes:
        """Read a range of one state of an object. Raise OSError if the object is another one by now."""
        read = translated(Ranges(self._limits).read)
        return await read(await self.object_at(path), start, end, etag=etag, version_id=version_id)

    @translated
    async def _cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        paths = await self._expand_path(path, recursive=recursive)
        if recursive:
            paths = [each for each in paths if (self._known(each) or {}).get("type") != "directory"]
        results = await each(lambda name: self._cat_file(name, **kwargs), paths, self._width(batch_size))
        if recursive:  # without kept listings, directories are known only now
            files = [
                (name, result)
                for name, result in zip(paths, results, strict=True)
                if not (isinstance(result, FileNotFoundError) and await self._isdir(name))
            ]
            paths, results = [name for name, _ in files], [result for _, result in files]
        if on_error == "raise":
            _raise_first(results)
        if isinstance(path, list) or paths != [self._strip_protocol(path)]:
            return {
                name: result
                for name, result in zip(paths, results, strict=True)
                if on_error != "omit" or not isinstance(result, Exception)
            }
        if isinstance(results[0], Exception) and on_error == "omit":
            return {}
        return results[0]

    @translated
    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = MAX_GAP,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        if not isinstance(paths, list):
            msg = f"paths must be a list, not {paths!r}"
            raise TypeError(msg)
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            msg = f"{len(paths)} paths need as many starts and ends, not {len(starts)} and {len(ends)}"
            raise ValueError(msg)
        ranges = Ranges(self._limits, MAX_GAP if max_gap is None else max_gap)
        results = await ranges.read_many(self, self._strip_protocol(paths), starts, ends, self._width(batch_size))
        if on_error == "raise":
            _raise_first(results)
        return results

    @translated
    async def _get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Callback = NO_CALLBACK,
        version_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        rpath = self._strip_protocol(rpath)
        if "/" not in rpath:
            await asyncio.to_thread(os.makedirs, lpath, exist_ok=True)
            return
        obj, version = await self.object_at(rpath), self._version_of(rpath, version_id)
        try:
            await obj.download(lpath, version_id=version, progress=_progress_to(callback))
        except IsADirectoryError:
            return  # a directory of that name is there, with what was below it
        except dream.NotFoundError:
            if not await self._isdir(rpath):
                raise
            await asyncio.to_thread(os.makedirs, lpath, exist_ok=True)

    @translated
    async def _get(
        self, rpath: Any, lpath: Any, recursive: bool = False, callback: Callback = NO_CALLBACK, **kwargs: Any
    ) -> Any:
        """Fetch files. A whole directory goes as the library moves trees, unless ``callback`` wants to hear of each file."""
        if recursive and callback is NO_CALLBACK and not kwargs and _is_one(rpath, lpath):
            path, local = self._strip_protocol(rpath), Path(make_path_posix(lpath))
            if await self._isdir(path):
                bucket, key = split(path)
                if not _is_inside(rpath) and (_is_inside(lpath) or await asyncio.to_thread(local.is_dir)):
                    local /= path.rpartition("/")[2]
                with suppress(dream.BulkError):  # not every name can be a file: fsspec's way says which, and why
                    report = await (await self.bucket_at(bucket)).download_tree(local, key)
                    if report.copied:
                        return []
                rpath, lpath = f"{path}/", f"{local}/"
        return await super()._get(rpath, lpath, recursive=recursive, callback=callback, **kwargs)

    # Writing

    def options_of_write(self, given: Mapping[str, Any], mode: str = "overwrite") -> dict[str, Any]:
        """Return the options of a write: those that every write has, and those that are given to this one."""
        return {**self._of_writes, **options_of(given, mode)}

    @translated
    async def _put(
        self, lpath: Any, rpath: Any, recursive: bool = False, callback: Callback = NO_CALLBACK, **kwargs: Any
    ) -> Any:
        """Store files. A whole directory goes as the library moves trees, as in ``get``."""
        can_be_tree = callback is NO_CALLBACK and not kwargs and self._of_writes.keys() <= OF_TREES
        if recursive and can_be_tree and _is_one(lpath, rpath):
            local, path = Path(make_path_posix(lpath)), self._strip_protocol(rpath)
            if await asyncio.to_thread(local.is_dir):
                if not _is_inside(lpath) and (_is_inside(rpath) or await self._isdir(path)):
                    path = f"{path}/{local.name}"
                await self._makedirs(path, exist_ok=True)
                bucket, key = split(path)
                try:
                    await (await self.bucket_at(bucket)).upload_tree(local, key, allow_empty=True, **self._of_writes)
                finally:
                    self._forget_below(path)
                return []
        return await super()._put(lpath, rpath, recursive=recursive, callback=callback, **kwargs)

    @translated
    async def _pipe_file(
        self, path: str, value: Any = b"", mode: str = "overwrite", data: Any = None, **kwargs: Any
    ) -> Entry:
        """Store an object. s3fs has the name ``data`` for ``value``."""
        path, value = self._strip_protocol(path), value if data is None else data
        options = self.options_of_write(kwargs, mode)
        obj = await self.target_at(path)
        content = value if isinstance(value, bytes | bytearray | memoryview | str) else memoryview(value)
        info = await obj.put(content, **options)
        self.invalidate_cache(path)
        return {**file_entry(path, info, with_version=True)}

    async def _pipe(self, path: Any, value: Any = None, batch_size: int | None = None, **kwargs: Any) -> list[Entry]:
        contents = path if isinstance(path, Mapping) else {path: value}
        results = await each(
            lambda item: self._pipe_file(item[0], item[1], **kwargs), list(contents.items()), self._width(batch_size)
        )
        _raise_first(results)
        return [result for result in results if not isinstance(result, Exception)]

    @translated
    async def _put_file(
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Callback = NO_CALLBACK, **kwargs: Any
    ) -> None:
        rpath = self._strip_protocol(rpath)
        options = self.options_of_write(kwargs, mode)
        if "/" not in rpath and await asyncio.to_thread(os.path.isdir, lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        try:
            await (await self.target_at(rpath)).upload(lpath, progress=_progress_to(callback), **options)
        except IsADirectoryError:
            await self._makedirs(rpath, exist_ok=True)
        self.invalidate_cache(rpath)

    @translated
    async def _cp_file(self, path1: str, path2: str, version_id: str | None = None, **kwargs: Any) -> None:
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if "/" not in path1:
            return  # a bucket is a directory, and those come into being with what is in them
        source, target = await self.object_at(path1), await self.target_at(path2)
        kwargs.pop("preserve_etag", None)
        of_copies = {name: value for name, value in self._of_writes.items() if name in OF_COPIES}
        options = {**of_copies, **options_of(kwargs)}
        try:
            await source.copy_to(target, version_id=self._version_of(path1, version_id), **options)
        except dream.NotFoundError:
            if not await self._isdir(path1):
                raise
        self.invalidate_cache(path2)

    @translated
    async def _merge(self, path: str, filelist: Sequence[str], **kwargs: Any) -> None:
        """Make one file of others, in their order. They may be of any size; their bytes come through this process.

        The file appears when it is complete. Raises FileNotFoundError if one of the others is missing.
        """
        path, sources = self._strip_protocol(path), self._strip_protocol(list(filelist))
        target, options = await self.target_at(path), self.options_of_write(kwargs)
        async with target.writer(**options) as writer:
            for source in sources:
                obj = await self.object_at(source)
                async with obj.get(version_id=self._split(source)[2]) as body:
                    async for chunk in body:
                        await writer.write(chunk)
        self.invalidate_cache(path)

    @translated
    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        path = self._strip_protocol(path)
        if not truncate and await self._exists(path, refresh=True):
            msg = f"{path}: S3 cannot change the time of an object; truncate=True empties it"
            raise ValueError(msg)
        await self._pipe_file(path, b"", **kwargs)

    @translated
    async def _mkdir(
        self, path: str, create_parents: bool = True, acl: Any = None, region_name: str | None = None, **kwargs: Any
    ) -> None:
        """Create a bucket. Below one, directories come into being with what is in them."""
        path = self._strip_protocol(path)
        bucket, key = split(path)
        if not path:
            msg = "mkdir needs the name of a bucket"
            raise ValueError(msg)
        connection = await self._sessions.here()
        place = await connection.bucket(bucket)
        if await _has_bucket(place):
            if not key:
                raise os_error(errno.EEXIST, path)
        elif key and not create_parents:
            raise not_found(bucket)
        else:
            try:
                await place.create(acl or None)
            except dream.InvalidRequestError as error:
                if error.code != "IllegalLocationConstraintException":
                    raise
                await (await connection.lenient_bucket(bucket)).create(acl or None)
        self.invalidate_cache(path)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        try:
            await self._mkdir(path, create_parents=True)
        except FileExistsError:
            if not exist_ok:
                raise

    @translated
    async def _rmdir(self, path: str) -> None:
        path = self._strip_protocol(path)
        bucket, key = split(path)
        place = await self.bucket_at(bucket)
        if not key:
            await place.delete()
        else:
            below = await place.list(f"{key}/", limit=2).collect()
            if not below and not await self.has_object(path):
                raise not_found(path)
            if [info.key for info in below] != [f"{key}/"]:
                raise FileExistsError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
            await place.object(f"{key}/").delete()
        self._forget_below(path)

    @translated
    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Delete files, 1,000 in a request. Raise FileNotFoundError if one is missing, before anything is deleted."""
        targets = await self._matching(path, maxdepth)
        is_cut = recursive and maxdepth is not None  # then a bucket keeps what is deeper
        buckets = [] if is_cut else [bucket for bucket, key, _ in targets if not key]
        targets = [target for target in targets if target[0] not in buckets]
        if recursive:
            targets = [found for target in targets for found in await self._below(target, maxdepth)]
        else:
            _raise_first(await each(self._require_file, targets, self._width(batch_size)))
        await self._delete(targets)
        names = [name_of(target) for target in targets]
        for bucket in buckets:
            if recursive:
                names += await self._rm_bucket(bucket)
            else:
                await self._rmdir(bucket)
        return names

    async def _matching(self, path: Any, maxdepth: int | None) -> list[Target]:
        """Return what is meant: the paths, and what matches those that are patterns. Raise FileNotFoundError if nothing does."""
        targets: list[Target] = []
        for one in self._strip_protocol(path if isinstance(path, list) else [path]):
            target = self._split(one)
            if not has_magic(one) or target[2] is not None:
                targets.append(target)
            elif found := await self._glob(one, maxdepth=maxdepth):
                targets += [(*split(name), None) for name in found]  # names from a listing have no version
            else:
                raise not_found(one)
        return targets

    async def _delete(self, targets: Sequence[Target]) -> None:
        """Delete files of any buckets, 1,000 in a request."""
        keys: defaultdict[str, list[tuple[str, str | None]]] = defaultdict(list)
        for bucket, key, version in targets:
            keys[bucket].append((key, version))
        try:
            for bucket, of_bucket in keys.items():
                await (await self.bucket_at(bucket)).delete_many(of_bucket)
        finally:
            for parent in {f"{bucket}/{key}".rpartition("/")[0] for bucket, key, _ in targets}:
                self._forget(parent)

    async def _below(self, target: Target, maxdepth: int | None) -> list[Target]:
        """Return what a recursive deletion deletes: markers of directories too. Raise FileNotFoundError for nothing."""
        bucket, key, version = target
        if version is not None:
            await self._require_file(target)
            return [target]
        path = name_of(target)
        if maxdepth is not None:
            keys = [split(name)[1] for name in await self._find(path, maxdepth=maxdepth)]
        else:
            place = await self.bucket_at(bucket)
            async with aclosing(place.list(f"{key}/", parallel=PARALLEL_LISTING).pages()) as pages:
                keys = [info.key async for page in pages for info in page]
            if await _head(place.object(key)) is not None:
                keys.append(key)
        if not keys:
            raise not_found(path)
        self._forget_below(path)
        return [(bucket, found, None) for found in keys]

    async def _require_file(self, target: Target) -> None:
        """Raise FileNotFoundError, or IsADirectoryError, unless there is this object."""
        name = name_of(target)
        is_known = target[2] is None and (self._known(name) or {}).get("type") == "file"
        if not is_known and (await self._look(target))["type"] != "file":
            raise os_error(errno.EISDIR, name, "; use recursive=True")

    async def _rm_bucket(self, bucket: str) -> list[str]:
        """Delete a bucket with all that is in it, old versions too. Return the names of its files."""
        place = await self.bucket_at(bucket)
        names = [f"{bucket}/{info.key}" async for info in place.list(parallel=PARALLEL_LISTING)]
        await place.delete(force=True)
        self._forget_below(bucket)
        return names

    @translated
    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        """Delete one file. Its name is no pattern."""
        target = self.split_path(path)
        await self._require_file(target)
        await self._delete([target])

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Move files: copy them, and then delete them. A path that moves onto itself stays as it is.

        Raise OSError for a directory that is to move into itself.
        """
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        is_one = isinstance(source, str) and isinstance(target, str)
        if is_one and source == target and not _is_inside(path2):
            return
        if is_one and recursive and f"{target}/".startswith(f"{source}/"):
            raise OSError(errno.EINVAL, f"cannot move {source!r} into itself", target)
        super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    # What s3fs has beyond fsspec

    @translated
    async def _url(self, path: str, expires: int = 3600, client_method: str = "get_object", **kwargs: Any) -> str:
        """Return a signed URL, as ``sign`` does. ``client_method`` may be ``put_object``, ``head_object`` or ``delete_object``."""
        methods = {"get_object": "GET", "put_object": "PUT", "head_object": "HEAD", "delete_object": "DELETE"}
        if client_method not in methods:
            msg = f"client_method must be one of {', '.join(methods)}, not {client_method!r}"
            raise ValueError(msg)
        path = self._strip_protocol(path)
        obj = await self.object_at(path)
        return obj.presign(methods[client_method], expires, **{"version_id": self._split(path)[2], **kwargs})  # type: ignore[arg-type]  # one of its words

    @translated
    async def _metadata(self, path: str, refresh: bool = False, **kwargs: Any) -> dict[str, str]:
        """Return the metadata of an object."""
        path = self._strip_protocol(path)
        info = await (await self.object_at(path)).head(version_id=self._split(path)[2])
        return dict(info.metadata or {})

    async def _getxattr(self, path: str, attr_name: str, **kwargs: Any) -> str | None:
        """Return one value of an object's metadata, or None."""
        return (await self._metadata(path)).get(attr_name.replace("_", "-").lower())

    @translated
    async def _setxattr(self, path: str, copy_kwargs: Any = None, **values: str | None) -> None:
        """Change values of an object's metadata; None removes one. The content stays as it is."""
        path = self._strip_protocol(path)
        given = {name.replace("_", "-").lower(): value for name, value in values.items()}
        metadata = {**await self._metadata(path), **given}
        kept = {name: value for name, value in metadata.items() if value is not None}
        await (await self.object_at(path)).set_headers(**{**options_of(copy_kwargs or {}), "metadata": kept})
        self.invalidate_cache(path)

    @translated
    async def _chmod(self, path: str, acl: Any, recursive: bool = False, **kwargs: Any) -> None:
        """Set the canned ACL of an object or a bucket; with ``recursive``, of every object below a path."""
        path = self._strip_protocol(path)
        self.check_target(path)
        bucket, key = split(path)
        place = await self.bucket_at(bucket)
        if recursive:
            await place.set_acl_many(place.list(f"{key}/" if key else "", parallel=PARALLEL_LISTING), acl)
        if not key:
            await place.set_acl(acl)
        elif not recursive or await self.has_object(path):
            await place.object(key).set_acl(acl)

    @translated
    async def _get_tags(self, path: str) -> dict[str, str]:
        """Return the tags of an object."""
        return await (await self.object_at(self._strip_protocol(path))).tags()

    @translated
    async def _put_tags(self, path: str, tags: dict[str, str], mode: str = "o") -> None:
        """Replace the tags of an object; with mode ``m``, add to them."""
        if mode not in ("o", "m"):
            msg = f"mode must be 'o', to overwrite, or 'm', to merge, not {mode!r}"
            raise ValueError(msg)
        obj = await self.object_at(self._strip_protocol(path))
        await obj.set_tags({**(await obj.tags() if mode == "m" else {}), **tags})

    @translated
    async def _is_bucket_versioned(self, bucket: str) -> bool:
        """Return whether a bucket keeps versions."""
        return await (await self.bucket_at(self._strip_protocol(bucket))).versioning() == "Enabled"

    @translated
    async def _make_bucket_versioned(self, bucket: str, versioned: bool = True) -> None:
        """Let a bucket keep versions, or no more of them."""
        place = await self.bucket_at(self._strip_protocol(bucket))
        await place.set_versioning("Enabled" if versioned else "Suspended")

    @translated
    async def _list_multipart_uploads(self, bucket: str) -> list[dict[str, Any]]:
        """Return the open multipart uploads of a bucket."""
        place = await self.bucket_at(self._strip_protocol(bucket))
        return [
            {"Key": upload.key, "UploadId": upload.upload_id, "Initiated": upload.initiated}
            async for upload in place.uploads()
        ]

    @translated
    async def _clear_multipart_uploads(self, bucket: str) -> None:
        """Abort all open multipart uploads of a bucket."""
        await (await self.bucket_at(self._strip_protocol(bucket))).abort_uploads(timedelta(0))

    # Files

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file. One that is written appears when it is closed; an error in its ``with`` block leaves no trace."""
        if "b" not in mode:
            text = {name: kwargs.pop(name) for name in ("encoding", "errors", "newline") if name in kwargs}
            binary = f"{mode.replace('t', '')}b"
            return TextFile(self.open(path, binary, block_size, cache_options, compression, **kwargs), **text)
        if compression is None or "r" in mode:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        target = super().open(path, mode, block_size, cache_options, None, **kwargs)
        name = get_compression(self._strip_protocol(path), compression)
        return target if name is None else CompressedFile(compr[name](target, mode=mode[0]), target)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str | None = None,
        size: int | None = None,
        version_id: str | None = None,
        etag: str | None = None,
        **kwargs: Any,
    ) -> DreamObjectsFile:
        if "/" not in path:
            msg = f"{path!r} names no object: the form is bucket/key"
            raise ValueError(msg)
        if mode != "rb":
            self.check_target(path, version_id)
        return DreamObjectsFile(
            self,
            path,
            mode,
            block_size,
            autocommit,
            cache_type or self.default_cache_type,
            cache_options,
            size,
            self._version_of(path, version_id),
            etag,
            **kwargs,
        )

    @translated
    async def open_async(self, path: Any, mode: str = "rb", **kwargs: Any) -> DreamObjectsAsyncFile:
        """Open a stream for asynchronous code, to read or to write."""
        if mode not in ("rb", "wb", "xb") or kwargs.pop("compression", None):
            msg = f"open_async takes the modes rb, wb and xb, without compression, not {mode!r}"
            raise ValueError(msg)
        path = self._strip_protocol(path)
        block_size = kwargs.pop("block_size", None) or self.default_block_size
        version_id = self._version_of(path, kwargs.pop("version_id", None))
        if mode == "rb":
            info = await self._info(path, refresh=True, version_id=version_id)
            if info["type"] != "file":
                raise os_error(errno.EISDIR, path)
            return DreamObjectsAsyncFile(self, path, mode, info, block_size, {})
        self.check_target(path, version_id)
        options = self.options_of_write(kwargs, "create" if mode == "xb" else "overwrite")
        if mode == "xb" and await self.has_object(path):
            raise os_error(errno.EEXIST, path)
        return DreamObjectsAsyncFile(self, path, mode, None, block_size, options)

    def _width(self, batch_size: int | None) -> int:
        """Return how many calls run at once. The session limits its requests besides."""
        width = batch_size or self.batch_size or self._limits.requests
        return width if width > 0 else sys.maxsize


for _name in (
    *("_cat", "_cat_file", "_cat_ranges", "_checksum", "_copy", "_cp_file", "_du", "_exists", "_expand_path", "_find"),
    *("_get", "_get_file", "_glob", "_info", "_isdir", "_isfile", "_ls", "_makedirs", "_mkdir", "_modified"),
    *(
        "_object_version_info",
        "_pipe",
        "_pipe_file",
        "_put",
        "_put_file",
        "_rm",
        "_rm_file",
        "_rmdir",
        "_sign",
        "_size",
    ),
    *(
        "_sizes",
        "_touch",
        "_merge",
        "_url",
        "_metadata",
        "_chmod",
        "_getxattr",
        "_setxattr",
        "_get_tags",
        "_put_tags",
        "_is_bucket_versioned",
    ),
    *("_make_bucket_versioned", "_list_multipart_uploads", "_clear_multipart_uploads"),
):
    setattr(DreamObjectsFileSystem, _name[1:], sync_wrapper(getattr(DreamObjectsFileSystem, _name)))


async def _head(obj: dream.Object) -> dream.ObjectInfo | None:
    try:
        return await obj.head()
    except dream.NotFoundError:
        return None


async def _has_bucket(bucket: dream.Bucket) -> bool:
    try:
        return await bucket.exists()
    except dream.AccessDeniedError:
        try:
            await bucket.list(limit=1).collect()  # who may not look at the bucket may list it
        except dream.NotFoundError:
            return False
        return True


async def _has_below(bucket: dream.Bucket, prefix: str) -> bool:
    try:
        below = bucket.list(prefix, limit=1)
    except ValueError:  # no key can begin so
        return False
    return bool(await below.collect())


def _is_one(source: Any, target: Any) -> bool:
    """Return whether one path is to go to one place, and the first is no pattern."""
    return isinstance(source, str) and not has_magic(source) and not isinstance(target, list)


def _is_inside(path: Any) -> bool:
    """Return whether a path means what is inside of a directory."""
    return str(stringify_path(path)).endswith("/")


def _progress_to(callback: Callback) -> Any:
    if callback is NO_CALLBACK:
        return None

    def tell(progress: dream.Progress) -> None:
        if progress.total_bytes is not None:
            callback.set_size(progress.total_bytes)
        callback.absolute_update(progress.done_bytes)

    return tell


def _raise_first(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result


def _without_missing(listed: Sequence[list[Any] | Exception]) -> list[list[Any]]:
    """Leave out directories that are gone by now; raise any other error."""
    _raise_first([each for each in listed if not isinstance(each, FileNotFoundError)])
    return [each for each in listed if not isinstance(each, Exception)]
