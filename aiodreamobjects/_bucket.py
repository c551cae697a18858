"""Bucket: names objects. Each verb is a line that delegates."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import get_args

from aiodreamobjects import _bulk
from aiodreamobjects._bulk import KeySource, OnError
from aiodreamobjects._checks import check_one_of, check_tags
from aiodreamobjects._errors import AccessDeniedError, AlreadyExistsError, NotFoundError
from aiodreamobjects._listing import pages
from aiodreamobjects._listing.pages import Listing
from aiodreamobjects._models import (
    Acl,
    Address,
    BucketInfo,
    CannedAcl,
    CommonPrefix,
    CorsRule,
    LifecycleRule,
    ObjectInfo,
    PolicyDocument,
    UploadInfo,
    VersioningStatus,
    Website,
    check_canned_acl,
)
from aiodreamobjects._object import Object
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._reports import BulkReport, TreeReport
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.settings import CORS, LIFECYCLE, POLICY, TAGS, VERSIONING, WEBSITE
from aiodreamobjects._tree.copy import CopyTree
from aiodreamobjects._tree.download import DownloadTree
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import Compare, TreeOptions
from aiodreamobjects._tree.run import Run
from aiodreamobjects._tree.upload import UploadTree
from aiodreamobjects._tree.walk import Symlinks


class Bucket:
    """A name for a bucket that may or may not exist. Making one sends nothing.

    Every awaited verb raises SessionClosedError unless the session is open, NotFoundError where the bucket is
    missing, AccessDeniedError, and, once the session's attempts are spent, ServiceBusyError or ConnectionFailedError.
    """

    __slots__ = ("_name", "_runtime")

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"<Bucket s3://{self._name}>"

    def __eq__(self, other: builtins.object) -> bool:
        return isinstance(other, Bucket) and (self._name, self._runtime) == (other._name, other._runtime)

    def __hash__(self) -> int:
        return hash(self._name)

    def object(self, key: str) -> Object:
        """Sends nothing. ValueError for a key that is empty, over 1,024 bytes of UTF-8, or no UTF-8 at all."""
        return Object(self._runtime, Address(self._name, key))

    # The bucket as a whole

    async def create(self, acl: CannedAcl | None = None, exist_ok: bool = False) -> BucketInfo:  # noqa: FBT001, FBT002 - as makedirs
        """Create it; AlreadyExistsError if it is there, which with ``exist_ok`` is only raised for somebody else's.

        Services differ on whether a second creation succeeds, so without ``exist_ok`` the bucket is looked for first:
        two creators at the same moment may then both succeed.
        """
        if acl is not None:
            check_canned_acl(acl)
        if not exist_ok and await self._is_taken():
            msg = f"bucket {self._name!r} exists already"
            raise AlreadyExistsError(msg, code="BucketAlreadyExists", status=409)
        try:
            await self._runtime.s3.create_bucket(self._name, acl)
        except AlreadyExistsError as error:
            if not (exist_ok and error.code == "BucketAlreadyOwnedByYou"):
                raise
        return BucketInfo(self._name)

    async def exists(self) -> bool:
        """Raises AccessDeniedError where it is somebody else's, or the service will not say."""
        try:
            await self.info()
        except NotFoundError:
            return False
        return True

    async def info(self) -> BucketInfo:
        """With ``object_count`` and ``bytes_used`` on Ceph RGW; other services do not tell."""
        return await self._runtime.s3.head_bucket(self._name)

    async def delete(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - the field's word
        """Delete the bucket; BucketNotEmptyError if anything is in it.

        ``force`` first aborts every open upload and deletes every version and delete marker, 1,000 to a request and
        several requests at once. There is no way back. If it fails midway, what was deleted stays deleted.
        """
        if force:
            await _bulk.delete_bucket_and_content(self._runtime, self._name)
        else:
            await self._runtime.s3.delete_bucket(self._name)

    async def empty(self) -> BulkReport:
        """Delete every version and every delete marker, and keep the bucket. BulkError if some would not go."""
        return await _bulk.empty(self._runtime, self._name)

    async def acl(self) -> Acl:
        return await self._runtime.s3.get_bucket_acl(self._name)

    async def set_acl(self, acl: CannedAcl | Acl) -> None:
        """By a canned name (ValueError for an unknown one) or by grants."""
        if not isinstance(acl, Acl):
            check_canned_acl(acl)
        await self._runtime.s3.put_bucket_acl(self._name, acl)

    # What is in it

    def list(
        self, prefix: str = "", *, start_after: str | None = None, limit: int | None = None, parallel: int = 1
    ) -> Listing[ObjectInfo]:
        """The objects, in the order of their keys' UTF-8 bytes: ``async for info in bucket.list("2026/")``.

        One request per 1,000. ``.pages()`` gives lists, ``await .collect()`` one list of all. ``start_after`` begins
        behind a key, whether that exists or not.

        ``parallel`` is how many requests are made at once, for listings of many thousands: the same objects in the
        same order, several times as fast where the service's latency is what takes the time. The keys are cut where
        their names let expect as many on each side, which costs a small request more for every page to every third.
        Up to 8,000 objects for each of the requests wait for the loop. An error of any of them ends the listing at
        once, also ahead of the loop.
        """
        return pages.list_objects(self._runtime, self._name, prefix, start_after, limit, parallel)

    def list_dir(self, prefix: str = "") -> Listing[ObjectInfo | CommonPrefix]:
        """One level, as of a directory: the objects, and a CommonPrefix for each ``name/`` that more keys share."""
        return pages.list_dir(self._runtime, self._name, prefix)

    def list_versions(self, prefix: str = "") -> Listing[ObjectInfo]:
        """Every version and delete marker, with ``version_id``, ``is_latest`` and ``is_delete_marker``, newest first."""
        return pages.list_versions(self._runtime, self._name, prefix)

    def uploads(self, prefix: str = "") -> Listing[UploadInfo]:
        """The multipart uploads that were begun and not ended. Their parts are stored, and on most services billed."""
        return pages.list_uploads(self._runtime, self._name, prefix)

    async def delete_many(
        self, keys: Iterable[KeySource] | AsyncIterable[KeySource], *, on_error: OnError = "raise"
    ) -> BulkReport:
        """Delete keys, ObjectInfos or ``(key, version_id)`` pairs, 1,000 to a request and several requests at once.

        ``keys`` may be endless: it is read as fast as requests end, never collected; a request leaves when it has
        1,000 keys, or the last. ObjectInfos of another bucket are a ValueError; one with a ``version_id`` means that
        version, gone for good. Deleting what is not there
        counts as done. Keys that fail are tried again where that can help; BulkError at the end if any are left, or
        with ``on_error="collect"`` only the report. What fails a whole request (no such bucket, no connection) is
        raised itself, with a note of how many were deleted.
        """
        return await _bulk.delete_many(self._runtime, self._name, keys, on_error)

    async def set_acl_many(
        self, keys: Iterable[KeySource] | AsyncIterable[KeySource], acl: CannedAcl | Acl, *, on_error: OnError = "raise"
    ) -> BulkReport:
        """Give each key this ACL, ``Limits.requests`` at once. ``keys`` and errors are as with ``delete_many``.

        A request per key. NotFoundError for a key that is missing is one of the failures.
        """
        return await _bulk.set_acl_many(self._runtime, self._name, keys, acl, on_error)

    async def abort_uploads(
        self,
        older_than: timedelta,
        dry_run: bool = False,  # noqa: FBT001, FBT002 - after what it is a dry run of
        *,
        prefix: str = "",
        on_error: OnError = "raise",
    ) -> BulkReport:
        """Abort the multipart uploads that were begun so long ago, and free what their parts take.

        ``timedelta(0)`` means all, also those that somebody is at. With ``dry_run`` they are only counted.
        """
        return await _bulk.abort_uploads(self._runtime, self._name, prefix, older_than, on_error, dry_run=dry_run)

    # Trees

    async def upload_tree(
        self,
        local: str | os.PathLike[str],
        prefix: str = "",
        *,
        compare: Compare | None = None,
        delete: bool = False,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        dry_run: bool = False,
        acl: CannedAcl | None = None,
        progress: ProgressCallback | None = None,
        on_error: OnError = "raise",
        allow_empty: bool = False,
        symlinks: Symlinks = "follow",
    ) -> TreeReport:
        """Store the files below a directory, each under ``prefix/`` and its relative name; what was done.

        ``compare=None`` moves all. ``"size"`` moves what is missing or has another size; ``"mtime"`` also what has
        another time, which is kept in the metadata as rclone keeps it (a HEAD for each that has the same size);
        ``"etag"`` also what has other content: each such file is read, and its ETag computed, in parts where it has
        parts. What an ETag does not tell is moved. ``"etag-or-time"`` decides that by time, as ``"mtime"`` does; the
        report counts what is the same by time only, as ``unverified``. ``include`` and ``exclude`` are patterns as in a
        .gitignore, for the relative names in both trees.

        ``delete`` removes the objects under ``prefix/`` that the directory lacks, when all else is done and nothing
        failed. ValueError for an empty directory, unless ``allow_empty``. Objects that only mark a directory
        (``name/``, empty) are passed over, as are those that the patterns leave out.

        A name that fails fails alone: BulkError at the end, whose ``report`` tells which, or with
        ``on_error="collect"`` only the report. What no name can do without is raised itself: a listing that fails, a
        disk that is full, a bucket that is missing; a note tells how much was done. ``dry_run`` only reads, and tells
        the ``plan``.

        ``symlinks`` are followed, skipped, or refused, as one of the failures; so are unreadable files, names that are
        not UTF-8, and what is no regular file. Files up to 256 KiB go in batches, larger ones as with ``upload``; in
        all ``Limits.requests`` at once. Memory does not grow with the tree, except for the names in its largest directory.
        """
        options = TreeOptions(
            compare=compare,
            delete=delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=acl,
            progress=progress,
            on_error=on_error,
            allow_empty=allow_empty,
            symlinks=symlinks,
        )
        return await Run(UploadTree(self._runtime, os.fsdecode(local), self._name, prefix, options)).run()

    async def download_tree(
        self,
        local: str | os.PathLike[str],
        prefix: str = "",
        *,
        compare: Compare | None = None,
        delete: bool = False,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        dry_run: bool = False,
        acl: CannedAcl | None = None,
        progress: ProgressCallback | None = None,
        on_error: OnError = "raise",
        allow_empty: bool = False,
    ) -> TreeReport:
        """Fetch the objects under ``prefix/``, each to a file by its relative name; the options are those of ``upload_tree``.

        The directory is made where it is missing. A file appears under its name when it is complete and verified, with
        the object's time. Nothing is ever written outside of the directory, whatever the keys: one that would lead out
        of it, through a symbolic link below it, or to the place of a directory, is an UnsafeKeyError among the failures;
        so is ``a/b`` beside ``a``, and ``B`` beside ``b`` on a disk that does not tell them apart. ``delete`` removes
        regular files that have not changed since they were seen, and the directories that this leaves empty. ``acl``
        has no meaning here (ValueError).
        """
        if acl is not None:
            msg = f"acl={acl!r}: a download makes files, which have none"
            raise ValueError(msg)
        options = TreeOptions(
            compare=compare,
            delete=delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=acl,
            progress=progress,
            on_error=on_error,
            allow_empty=allow_empty,
        )
        return await Run(DownloadTree(self._runtime, self._name, prefix, os.fsdecode(local), options)).run()

    async def copy_tree(
        self,
        to: Bucket,
        prefix: str = "",
        to_prefix: str | None = None,
        *,
        compare: Compare | None = None,
        delete: bool = False,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        dry_run: bool = False,
        acl: CannedAcl | None = None,
        progress: ProgressCallback | None = None,
        on_error: OnError = "raise",
        allow_empty: bool = False,
    ) -> TreeReport:
        """Copy the objects under ``prefix/`` to those under ``to_prefix/`` (the same, unless given) of a bucket.

        Within a session by the service itself, else streamed through here; options as of ``upload_tree``. ``"mtime"``
        copies what was stored later than its copy; ``"etag"`` what has another ETag, or one that is not a digest. With
        ``"etag-or-time"``, time decides where ETags cannot be compared: those of other numbers of parts, and those that
        are no digests. None of these asks for more than the listings. ValueError where one of the prefixes lies in the
        other. ``acl`` is that of the copies.
        """
        options = TreeOptions(
            compare=compare,
            delete=delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=acl,
            progress=progress,
            on_error=on_error,
            allow_empty=allow_empty,
        )
        source = Objects(self._runtime, self._name, prefix)
        target = Objects(to._runtime, to._name, prefix if to_prefix is None else to_prefix)
        return await Run(CopyTree(source, target, options)).run()

    # Settings. Read as plain values; ``[]``, ``{}`` or ``None`` where the bucket has none.

    async def cors(self) -> Sequence[CorsRule]:
        return await self._runtime.s3.get_setting(self._name, CORS)

    async def set_cors(self, rules: Sequence[CorsRule]) -> None:
        await self._runtime.s3.put_setting(self._name, CORS, [*rules])

    async def delete_cors(self) -> None:
        await self._runtime.s3.delete_setting(self._name, CORS)

    async def policy(self) -> PolicyDocument | None:
        """The policy document, parsed."""
        return await self._runtime.s3.get_setting(self._name, POLICY)

    async def set_policy(self, document: Mapping[str, builtins.object] | str) -> None:
        """A policy as a mapping or as JSON text (ValueError if it is not JSON)."""
        parsed = json.loads(document) if isinstance(document, str) else dict(document)
        await self._runtime.s3.put_setting(self._name, POLICY, parsed)

    async def delete_policy(self) -> None:
        await self._runtime.s3.delete_setting(self._name, POLICY)

    async def lifecycle(self) -> Sequence[LifecycleRule]:
        return await self._runtime.s3.get_setting(self._name, LIFECYCLE)

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        await self._runtime.s3.put_setting(self._name, LIFECYCLE, [*rules])

    async def delete_lifecycle(self) -> None:
        await self._runtime.s3.delete_setting(self._name, LIFECYCLE)

    async def tags(self) -> dict[str, str]:
        return await self._runtime.s3.get_setting(self._name, TAGS)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        check_tags(tags)
        await self._runtime.s3.put_setting(self._name, TAGS, dict(tags))

    async def delete_tags(self) -> None:
        await self._runtime.s3.delete_setting(self._name, TAGS)

    async def versioning(self) -> VersioningStatus | None:
        """``"Enabled"``, ``"Suspended"``, or None where it never was on."""
        return await self._runtime.s3.get_setting(self._name, VERSIONING)

    async def set_versioning(self, status: VersioningStatus) -> None:
        check_one_of("versioning", status, get_args(VersioningStatus))
        await self._runtime.s3.put_setting(self._name, VERSIONING, status)

    async def delete_versioning(self) -> None:
        """Suspend it: S3 has no way back to a bucket that never had versions."""
        await self._runtime.s3.delete_setting(self._name, VERSIONING)

    async def website(self) -> Website | None:
        return await self._runtime.s3.get_setting(self._name, WEBSITE)

    async def set_website(self, website: Website) -> None:
        await self._runtime.s3.put_setting(self._name, WEBSITE, website)

    async def delete_website(self) -> None:
        await self._runtime.s3.delete_setting(self._name, WEBSITE)

    async def _is_taken(self) -> bool:
        try:
            return await self.exists()
        except AccessDeniedError:  # somebody else's, or wrong credentials: creating it will tell which
            return False
