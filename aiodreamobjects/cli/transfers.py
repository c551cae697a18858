"""Carries out ``cp``, ``mv`` and ``sync``: single objects by their verbs, whole trees by the tree verbs."""

from __future__ import annotations

import glob
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Address, Local, Remote, Standard, first_wildcard
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.content import print_object, store_input
from aiodreamobjects.cli.copying import is_local_pattern
from aiodreamobjects.cli.errors import NothingFoundError, RefusedError
from aiodreamobjects.cli.finding import objects
from aiodreamobjects.cli.options import headers_of, key_of, patterns_of

_PRINTED = {"copy": "cp", "move": "mv", "delete": "rm"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One file or object, and where it goes."""

    source: Local | Remote
    target: Local | Remote
    size: int | None = None


class Transfer:
    """One ``cp``, ``mv`` or ``sync``."""

    def __init__(self, app: App, verb: str, options: dict[str, Any]) -> None:
        self._app, self._verb, self._options = app, verb, options
        self._key = key_of(options["sse_c"])
        self._headers = headers_of(options)
        self._moves = verb == "mv"

    async def run(self, source: Address, target: Address, *, into: bool) -> None:
        """Transfer one source. ``into``: the target is a directory."""
        options = self._options
        if isinstance(source, Standard) and isinstance(target, Remote):
            await store_input(self._app, target, options)
        elif isinstance(target, Standard) and isinstance(source, Remote):
            if source.is_directory or source.wildcard is not None or options["recursive"]:
                msg = f"{source}: only one object goes to standard output: see cat for several"
                raise RefusedError(msg)
            await print_object(self._app, source, options)
        elif not isinstance(source, Standard) and not isinstance(target, Standard):
            await self._run(source, target, into=into)

    async def _run(self, source: Local | Remote, target: Local | Remote, *, into: bool) -> None:
        if isinstance(source, Local):
            if is_local_pattern(source, self._options):
                await self._each(self._matches(source, target))
            elif source.is_directory:
                await self._tree(source, target)
            else:
                await self._one(Pair(source, target.join(Path(source.path).name) if into else target))
            return
        source = source if source.key or not self._options["raw"] else Remote(source.bucket, "")
        is_tree = source.is_directory or (self._options["recursive"] and not await self._is_one(source))
        if source.wildcard is not None:
            if source.key == f"{source.base}*":
                await self._tree(Remote(source.bucket, source.base), target)
            elif self._verb == "sync" and self._options["delete"]:
                msg = f"{source}: --delete needs a whole directory: write s3://{source.bucket}/{source.base} and --include"
                raise RefusedError(msg)
            else:
                await self._each(self._found(source, target))
        elif is_tree:
            await self._tree(source.below(), target)
        else:
            is_into = into or target.is_directory
            await self._one(Pair(source, target.join(source.key.rpartition("/")[2]) if is_into else target))

    async def _is_one(self, source: Remote) -> bool:
        """Return whether ``sync s3://bucket/name`` means an object: there is one, and nothing below it."""
        if self._verb != "sync":
            return False
        bucket = (await self._app.session()).bucket(source.bucket)
        async for _ in bucket.list(f"{source.key}/", limit=1):
            return False
        return await bucket.object(source.key).exists()

    # Single objects

    async def _one(self, pair: Pair) -> None:
        try:
            await self._move_one(pair)
        except dream.AlreadyExistsError:
            if not self._options["if_absent"]:
                raise
            self._app.count("kept", 1)
        except FileExistsError:
            if not self._options["if_absent"]:
                raise
            self._app.count("kept", 1)

    async def _each(self, pairs: AsyncIterator[Pair]) -> None:
        await self._app.each(pairs, self._one, lambda pair: pair.source)

    async def _move_one(self, pair: Pair) -> None:
        session, size = await self._app.session(), pair.size
        links = self._options["symlinks"]
        if links != "follow" and isinstance(pair.source, Local) and Path(pair.source.path).is_symlink():
            if links == "refuse":
                msg = f"{pair.source}: is a symbolic link"
                raise RefusedError(msg)
            self._app.count("skipped", 1)
            return
        if isinstance(pair.source, Local) and isinstance(pair.target, Remote):
            size = await self._upload(session, pair.source, pair.target)
        elif isinstance(pair.source, Remote) and isinstance(pair.target, Local):
            size = await self._download(session, pair.source, pair.target)
        elif isinstance(pair.source, Remote) and isinstance(pair.target, Remote):
            size = await self._copy(session, pair.source, pair.target)
        self._app.acted("mv" if self._moves else "cp", pair.source, pair.target, size=size)

    async def _upload(self, session: dream.Session, source: Local, target: Remote) -> int | None:
        obj, path = session.bucket(target.bucket).object(target.key), Path(source.path)
        before = path.stat()
        if self._app.is_dry:
            return before.st_size
        given = self._written()
        with self._app.bar(path.name) as bar:
            info = await obj.upload(path, resume=self._options["resume"], progress=bar.callback, **given)
        if self._moves:
            after = path.stat()
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                msg = f"{source}: changed while it was sent, so it stays: the copy is {target}"
                raise RefusedError(msg)
            path.unlink()
        return info.size if info.size is not None else before.st_size

    async def _download(self, session: dream.Session, source: Remote, target: Local) -> int | None:
        obj, path = session.bucket(source.bucket).object(source.key), Path(target.path)
        if self._app.is_dry:
            return (await obj.head(version_id=self._options["version_id"])).size
        made = _make_directories(path.parent)
        given: dict[str, Any] = {} if self._key is None else {"encryption": self._key}
        try:
            with self._app.bar(path.name) as bar:
                info = await obj.download(
                    path,
                    resume=self._options["resume"],
                    overwrite=not self._options["if_absent"],
                    progress=bar.callback,
                    version_id=self._options["version_id"],
                    **given,
                )
        except BaseException:
            _remove_directories(made)
            raise
        if self._moves:
            if (await obj.head(**given)).etag != info.etag:
                msg = f"{source}: changed meanwhile, so it stays: the copy is {target}"
                raise RefusedError(msg)
            await obj.delete()
        return info.size

    async def _copy(self, session: dream.Session, source: Remote, target: Remote) -> int | None:
        obj, to = session.bucket(source.bucket).object(source.key), session.bucket(target.bucket).object(target.key)
        if self._app.is_dry:
            return (await obj.head(version_id=self._options["version_id"])).size
        given = self._written()
        if self._key is not None:
            given["source_encryption"] = self._key
        with self._app.bar(source.key) as bar:
            if not self._moves:
                return (
                    await obj.copy_to(to, version_id=self._options["version_id"], progress=bar.callback, **given)
                ).size
            return (await obj.move_to(to, progress=bar.callback, **given)).size

    def _written(self) -> dict[str, Any]:
        """Return the options of a verb that stores an object."""
        given = {name: self._options[name] for name in ("acl", "checksum") if self._options[name] is not None}
        given |= self._headers
        if self._key is not None:
            given["encryption"] = self._key
        return given | ({"if_absent": True} if self._options["if_absent"] else {})

    # Wildcards

    async def _found(self, source: Remote, target: Local | Remote) -> AsyncIterator[Pair]:
        async for info in objects(self._app, source, self._options):
            name = info.key[len(source.base) :]
            if name.endswith("/") and not info.size and isinstance(target, Local):
                continue  # it only marks a directory
            whole = Remote(info.bucket, info.key, is_raw=True)
            if isinstance(target, Local) and not _is_safe(target, name):
                self._app.fail(
                    whole, dream.UnsafeKeyError(f"{name!r} leads out of {target}: give cp one object and a name")
                )
                continue
            yield Pair(whole, target.join(name), info.size)

    async def _matches(self, source: Local, target: Local | Remote) -> AsyncIterator[Pair]:
        first = first_wildcard(source.path)
        base = source.path[: source.path.rfind("/", 0, first) + 1]
        include, exclude = patterns_of(self._options)
        select = dream.Patterns(include, exclude).select
        found = sorted(glob.glob(source.path, include_hidden=True))  # noqa: PTH207 - a path, not a Path
        if not found:
            msg = f"{source}: no file matches"
            raise NothingFoundError(msg)
        for path in found:
            for file in [path] if not os.path.isdir(path) else _walk(path):  # noqa: PTH112 - the path as it was written
                name = file[len(base) :]
                if select(name):
                    yield Pair(Local(file), target.join(name))

    # Trees

    async def _tree(self, source: Local | Remote, target: Local | Remote) -> None:
        """Transfer everything below a directory or prefix: plan, ask if much would be deleted, carry out, report."""
        if isinstance(source, Local) and not os.path.isdir(source.path):  # noqa: PTH112 - the path as it was written
            msg = f"{source}: no such directory"
            raise NothingFoundError(msg)
        if await self._can_go_at_once(source, target):
            if isinstance(source, Remote) and source.key:
                await self._require(source)
            report = await self._call(source, target, on_done=self._printer(source, target))
            self._app.failures(report, source.join)
            self._count(report)
            return
        plan = await self._call(source, target, dry_run=True)
        actions = plan.plan or ()
        if not actions and isinstance(source, Remote) and not plan.skipped and not plan.excluded and source.key:
            await self._require(source)
        await self._check_deletions(plan, target)
        if self._needs_single_verbs(source, target) and not self._app.is_dry:
            self._app.failures(plan, source.join)
            await self._each(self._planned(actions, source, target))
            self._app.count("same", plan.skipped)
            return
        report = plan
        if not self._app.is_dry and actions:
            report = await self._call(source, target)
        failed = {failure.key for failure in report.failures}
        self._app.failures(report, source.join)
        show = self._printer(source, target)
        for one in actions if report.failed == len(failed) else ():
            if one.name not in failed:
                show(one)
        if report.failed != len(failed):
            self._app.done += report.done
            self._app.bytes += report.copied_bytes
        self._count(report)

    async def _can_go_at_once(self, source: Local | Remote, target: Local | Remote) -> bool:
        """Return whether nothing has to be known before the first name is transferred."""
        needs_plan = self._app.is_dry or self._options.get("delete") or self._options.get("max_delete") is not None
        return not (needs_plan or self._needs_single_verbs(source, target) or await self._app.spread())

    def _printer(self, source: Local | Remote, target: Local | Remote) -> dream.OnDone:
        """Return what prints an action. It is called for each name of a tree, so both directories are written once."""
        one_from, one_to = (str(place.join("x"))[:-1] for place in (source, target))

        def show(one: dream.TreeAction) -> None:
            ends = (one_to + one.name,) if one.action == "delete" else (one_from + one.name, one_to + one.name)
            printed = _PRINTED["move" if self._moves and one.action == "copy" else one.action]
            self._app.acted(printed, *ends, size=one.size, reason=one.reason)

        return show

    def _count(self, report: dream.TreeReport) -> None:
        self._app.count("same", report.skipped)
        self._app.count("kept", report.kept)
        typed = {*self._options["include"], *self._options["exclude"]}  # files of patterns are for many trees
        if unmatched := [pattern for pattern in report.unmatched if pattern in typed]:
            self._app.out.say(f"dreamobjects: no name matches {', '.join(map(repr, unmatched))}")

    async def _require(self, source: Remote) -> None:
        """Raise unless there is anything below a prefix."""
        async for _ in (await self._app.session()).bucket(source.bucket).list(source.key, limit=1):
            return
        msg = f"{source}: nothing there"
        raise NothingFoundError(msg)

    async def _planned(
        self, actions: tuple[dream.TreeAction, ...], source: Local | Remote, target: Local | Remote
    ) -> AsyncIterator[Pair]:
        for one in actions:
            if one.action != "delete":
                yield Pair(source.join(one.name), target.join(one.name), one.size)

    def _needs_single_verbs(self, source: Local | Remote, target: Local | Remote) -> bool:
        """Return whether the tree verbs lack an option, so that each object takes a verb of its own."""
        options = self._options
        is_special = options["if_absent"] or options["resume"] or options["checksum"] is not None
        if isinstance(source, Remote) and isinstance(target, Remote):
            return bool(is_special or self._headers)
        return bool(is_special or self._moves)

    async def _call(
        self,
        source: Local | Remote,
        target: Local | Remote,
        *,
        dry_run: bool = False,
        on_done: dream.OnDone | None = None,
    ) -> dream.TreeReport:
        include, exclude = patterns_of(self._options)
        options, session = self._options, await self._app.session()
        with self._app.bar(self._verb) as bar:
            given: dict[str, Any] = {
                "include": include,
                "exclude": exclude,
                "dry_run": dry_run,
                "on_error": "collect",
                "encryption": self._key,
                "on_done": on_done,
            }
            if not dry_run:
                given |= {"progress": bar.callback, **await self._app.spread()}
            if self._verb == "sync":
                given |= {
                    "compare": options["compare"],
                    "delete": options["delete"],
                    "allow_empty": bool(self._app.options.get("yes")),
                }
            if not isinstance(target, Local):
                given["acl"] = options["acl"]
            if isinstance(source, Local) and isinstance(target, Remote):
                given |= {"symlinks": options["symlinks"], "missing_ok": options["missing_ok"], **self._headers}
                return await session.bucket(target.bucket).upload_tree(source.path, target.key, **given)
            if isinstance(source, Remote) and isinstance(target, Local):
                return await session.bucket(source.bucket).download_tree(target.path, source.key, **given)
            assert isinstance(source, Remote)
            assert isinstance(target, Remote)
            bucket, to = session.bucket(source.bucket), session.bucket(target.bucket)
            given["source_encryption"] = self._key
            verb = bucket.move_tree if self._moves and not self._headers else bucket.copy_tree
            return await verb(to, source.key, target.key, **given)

    async def _check_deletions(self, plan: dream.TreeReport, target: Local | Remote) -> None:
        deleted, most = sum(one.action == "delete" for one in plan.plan or ()), self._options.get("max_delete")
        if most is not None and deleted > most:
            msg = f"{target}: {deleted:,} would be deleted, and --max-delete allows {most:,}"
            raise RefusedError(msg)
        await self._app.confirm_deletions(plan, target)


def _walk(top: str) -> list[str]:
    return sorted(os.path.join(path, name) for path, _, names in os.walk(top) for name in names)  # noqa: PTH118 - as written


def _is_safe(root: Local, name: str) -> bool:
    """Return whether a name leads to a file below a directory, through no link."""
    if not name or any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        return False
    top = Path(root.path).resolve()
    return (top / name).parent.resolve().is_relative_to(top)


def _make_directories(directory: Path) -> list[Path]:
    """Make a directory and those above it; return the new ones, the deepest first."""
    made = []
    for one in (directory, *directory.parents):
        if one.exists():
            break
        made.append(one)
    directory.mkdir(parents=True, exist_ok=True)
    return made


def _remove_directories(made: list[Path]) -> None:
    """Remove directories that a failed download made, if nothing else is in them."""
    for one in made:
        try:
            one.rmdir()
        except OSError:
            return
