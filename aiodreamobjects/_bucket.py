"""The class Bucket. Each verb is one line that delegates."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, Unpack, get_args

from aiodreamobjects._checks import check_aware, check_one_of, check_tags
from aiodreamobjects._encryption import Encryption, SseCustomer
from aiodreamobjects._errors import AccessDeniedError, AlreadyExistsError, NotFoundError
from aiodreamobjects._later import Later
from aiodreamobjects._listing import pages
from aiodreamobjects._listing.pages import Listing
from aiodreamobjects._models import (
    Address,
    BucketInfo,
    CannedAcl,
    CommonPrefix,
    ObjectInfo,
    ObjectOwnership,
    UploadInfo,
    VersioningStatus,
    check_canned_acl,
)
from aiodreamobjects._object import Object
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._remote.spread import (
    BATCH_NAMES,
    SPREAD_DEFAULTS,
    ExecutorArguments,
    SliceArguments,
    Spread,
    SpreadArguments,
)
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import (
    ContentArguments,
    HeaderArguments,
    ReadOptions,
    check_header_names,
    check_headers_given,
    shows,
)

if TYPE_CHECKING:
    from aiodreamobjects import _acls as acls
    from aiodreamobjects import _apply as applying
    from aiodreamobjects import _bucket_settings as values
    from aiodreamobjects import _bulk as bulk
    from aiodreamobjects import _heads as heads
    from aiodreamobjects import _tree as trees
    from aiodreamobjects._acls import Acl
    from aiodreamobjects._apply import Applied
    from aiodreamobjects._bucket_settings import (
        CorsRule,
        EncryptionRule,
        LifecycleRule,
        Logging,
        Notification,
        PolicyDocument,
        PublicAccessBlock,
        Retention,
        Website,
    )
    from aiodreamobjects._bulk import KeySource, OnError
    from aiodreamobjects._heads import Heads
    from aiodreamobjects._listing import usage as usages
    from aiodreamobjects._reports import BulkReport, CheckReport, OnDone, TreeReport, UsageReport
    from aiodreamobjects._s3 import settings
    from aiodreamobjects._transfer import copy
    from aiodreamobjects._tree import CheckBy, Compare, HeadersFor, Objects, Symlinks
else:
    acls, applying = Later("aiodreamobjects._acls"), Later("aiodreamobjects._apply")
    values, bulk = Later("aiodreamobjects._bucket_settings"), Later("aiodreamobjects._bulk")
    heads, usages = Later("aiodreamobjects._heads"), Later("aiodreamobjects._listing.usage")
    settings, copy = Later("aiodreamobjects._s3.settings"), Later("aiodreamobjects._transfer.copy")
    trees = Later("aiodreamobjects._tree")

T = TypeVar("T")

CopySource = str | ObjectInfo | Object
"""What ``copy_many`` copies: a key, an ObjectInfo or an Object."""


class _CopyManyArguments(ContentArguments, SpreadArguments, total=False):
    """The options of ``copy_many``."""


class _SetHeadersArguments(HeaderArguments, SpreadArguments, total=False):
    """The options of ``set_headers_many`` and ``upload_tree``."""


def _split(verb: str, options: Mapping[str, object]) -> tuple[Spread, dict[str, object]]:
    """Return how to spread the verb, and the other options."""
    names = SpreadArguments.__annotations__
    spread = {name: value for name, value in options.items() if name in names}
    return Spread.of(verb, spread), {name: value for name, value in options.items() if name not in names}


class Bucket:
    """A handle on a bucket, which need not exist. Making one sends nothing.

    Every awaited verb raises SessionClosedError unless the session is open, NotFoundError if the bucket is missing,
    AccessDeniedError, and, after the session's last attempt, ServiceBusyError or ConnectionFailedError.
    """

    __slots__ = ("_name", "_runtime")

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self._name = name

    @property
    def name(self) -> str:
        """Return the bucket's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<Bucket s3://{self._name}>"

    def __eq__(self, other: builtins.object) -> bool:
        return isinstance(other, Bucket) and (self._name, self._runtime) == (other._name, other._runtime)

    def __hash__(self) -> int:
        return hash(self._name)

    def object(self, key: str) -> Object:
        """Return a handle on an object, which need not exist. Sends nothing.

        Raises ValueError for a key that is empty, longer than 1,024 bytes of UTF-8, or not valid UTF-8.
        """
        return Object(self._runtime, Address(self._name, key))

    # The bucket as a whole

    async def create(
        self,
        acl: CannedAcl | None = None,
        exist_ok: bool = False,  # noqa: FBT001, FBT002 - as makedirs
        *,
        object_lock: bool = False,
    ) -> BucketInfo:
        """Create the bucket. With ``object_lock``, its objects can be locked, and their versions are kept from the start.

        Raises AlreadyExistsError if it exists; with ``exist_ok``, only if another account owns it. On some services a second
        creation succeeds, so without ``exist_ok`` this verb first looks for the bucket. If two callers create it at the same
        moment, both may succeed.

        With ``object_lock``, raises UnsupportedByServiceError if the service does not know Object Lock. Some services notice that
        only when the bucket exists: then a note of the error says so. Raises AlreadyExistsError for a bucket that exists without
        Object Lock, also with ``exist_ok``.
        """
        if acl is not None:
            check_canned_acl(acl)
        is_taken = (object_lock or not exist_ok) and await self._is_taken()
        if is_taken and not exist_ok:
            msg = f"bucket {self._name!r} exists already: choose another name, or use exist_ok=True if it is yours"
            raise AlreadyExistsError(msg, code="BucketAlreadyExists", status=409)
        if object_lock:
            await self._runtime.s3.create_locked_bucket(self._name, acl, exists=is_taken)
            return BucketInfo(self._name)
        try:
            await self._runtime.s3.create_bucket(self._name, acl)
        except AlreadyExistsError as error:
            # Many services answer BucketAlreadyExists for your own bucket too. Only its owner may look at it.
            if not exist_ok or (error.code != "BucketAlreadyOwnedByYou" and not await self._is_taken()):
                raise
        return BucketInfo(self._name)

    async def exists(self) -> bool:
        """Return whether the bucket exists. Raises AccessDeniedError if another account owns it, or you may not look."""
        try:
            await self._runtime.s3.head_bucket(self._name, may_be_missing=True)
        except NotFoundError:
            return False
        return True

    async def info(self) -> BucketInfo:
        """Return what a HEAD says about the bucket. Only Ceph RGW gives ``object_count`` and ``bytes_used``."""
        return await self._runtime.s3.head_bucket(self._name)

    @shows(ExecutorArguments, others=SPREAD_DEFAULTS)
    async def delete(
        self,
        force: bool = False,  # noqa: FBT001, FBT002 - the field's word
        *,
        bypass_governance: bool = False,
        **spread: Unpack[ExecutorArguments],
    ) -> None:
        """Delete the bucket. Raises BucketNotEmptyError if anything is in it.

        With ``force``, first abort every open upload, then delete every version and delete marker, 1,000 per request and
        several requests at once. This cannot be undone. If it fails midway, what was deleted stays deleted. Raises BulkError
        that names what is locked by Object Lock; ``bypass_governance`` also deletes what is under a GOVERNANCE retention.
        ``executor``: see ``delete_many``.
        """
        where = Spread.of("delete", spread, ExecutorArguments)
        if force:
            await bulk.delete_bucket_and_content(self._runtime, self._name, where, bypasses=bypass_governance)
        else:
            await self._runtime.s3.delete_bucket(self._name)

    @shows(ExecutorArguments, others=SPREAD_DEFAULTS)
    async def empty(self, *, bypass_governance: bool = False, **spread: Unpack[ExecutorArguments]) -> BulkReport:
        """Delete every version and every delete marker, and keep the bucket. ``bypass_governance`` is that of ``delete``.

        Raises BulkError if some could not be deleted. This cannot be undone. ``executor``: see ``delete_many``.
        """
        where = Spread.of("empty", spread, ExecutorArguments)
        return await bulk.empty(self._runtime, self._name, where, bypasses=bypass_governance)

    async def acl(self) -> Acl:
        """Return the bucket's ACL: who may do what with it."""
        return await self._runtime.s3.get_bucket_acl(self._name)

    async def set_acl(self, acl: CannedAcl | Acl) -> None:
        """Replace the bucket's ACL with a canned ACL or with grants.

        Raises ValueError for an unknown name, UnsupportedByServiceError if the service does not support this ACL.
        """
        if not isinstance(acl, acls.Acl):
            check_canned_acl(acl)
        await self._runtime.s3.put_bucket_acl(self._name, acl)

    # What is in it

    def list(
        self, prefix: str = "", *, start_after: str | None = None, limit: int | None = None, parallel: int = 1
    ) -> Listing[ObjectInfo]:
        """List the objects in the order of their keys' UTF-8 bytes: ``async for info in bucket.list("2026/")``.

        Sends one request per 1,000 objects. ``.pages()`` yields lists; ``await .collect()`` returns one list of everything.
        ``start_after`` skips all keys up to this one, which need not exist. ``limit`` is the most objects to list.

        ``parallel`` is how many requests to send at once. Use it for many thousands of objects: you get the same objects in the
        same order, several times as fast if the service's latency takes most of the time. It sends one small extra request for
        every one to three pages, and buffers up to 8,000 objects for each of the parallel requests. If any request fails, the
        listing raises at once, even if your loop has not reached that place.
        """
        return pages.list_objects(self._runtime, self._name, prefix, start_after, limit, parallel)

    def list_dir(
        self, prefix: str = "", *, start_after: str | None = None, limit: int | None = None
    ) -> Listing[ObjectInfo | CommonPrefix]:
        """List one level, like a directory: its objects, and a CommonPrefix for each ``name/`` that other keys begin with.

        ``start_after`` skips all names up to this one, as in ``list``: ``photos/cat.jpg`` skips the CommonPrefix ``photos/``, and
        so does ``photos/``. ``limit`` is the most items to list, of both kinds together.
        """
        return pages.list_dir(self._runtime, self._name, prefix, start_after, limit)

    def list_versions(self, prefix: str = "") -> Listing[ObjectInfo]:
        """List every version and delete marker, by key, and the newest of a key first.

        Each has ``version_id``, ``is_latest`` and ``is_delete_marker``.
        """
        return pages.list_versions(self._runtime, self._name, prefix)

    def uploads(self, prefix: str = "") -> Listing[UploadInfo]:
        """List the open multipart uploads: started, but neither completed nor aborted.

        The service stores their parts, and most services bill them.
        """
        return pages.list_uploads(self._runtime, self._name, prefix)

    async def usage(self, prefix: str = "", depth: int = 0, parallel: int = 8) -> UsageReport:
        """Count the objects under a prefix and their bytes, in total and for each directory down to ``depth`` levels.

        With ``depth=1``, ``by_prefix`` has the directories that ``list_dir(prefix)`` lists. Each counts all that lies below it, at
        any depth. Lists all objects once, with ``parallel`` requests at once. Memory grows with the number of directories only.
        Counts the current objects: neither older versions nor the parts of open uploads, which the service also stores.
        """
        return await usages.usage(self._runtime, self._name, prefix, depth, parallel)

    def head_many(
        self, keys: Iterable[KeySource] | AsyncIterable[KeySource], *, encryption: SseCustomer | None = None
    ) -> Heads:
        """Look at many objects: ``async for key, info in bucket.head_many(keys)``, with the ObjectInfo of a HEAD, or None.

        None means that there is no such object. ``keys`` are as in ``delete_many``, and may be endless. Outcomes come in the order of
        the keys. Sends ``Limits.requests`` HEADs at once, and reads no more than twice as many keys ahead of your loop.

        An error is raised as itself when the loop gets to its key. If the first object is missing, one more request looks whether the
        bucket is. ``encryption`` is the customer's key of all objects. ``await .collect()`` returns a dict.
        """
        return heads.Heads(self._runtime, self._name, keys, ReadOptions(encryption=encryption))

    @shows(SpreadArguments, others=SPREAD_DEFAULTS)
    async def delete_many(
        self,
        keys: Iterable[KeySource] | AsyncIterable[KeySource],
        *,
        on_error: OnError = "raise",
        bypass_governance: bool = False,
        **spread: Unpack[SpreadArguments],
    ) -> BulkReport:
        """Delete keys, ObjectInfos or ``(key, version_id)`` pairs, 1,000 per request and several requests at once.

        ``keys`` may be endless: it is read as fast as requests finish, and never collected. Each request has 1,000 keys, except
        the last one. An ObjectInfo with a ``version_id`` deletes that version for good; an ObjectInfo of another bucket raises
        ValueError. Deleting a key that does not exist counts as done.

        Keys that fail are retried if that can help. Raises BulkError at the end if some still fail; ``on_error="collect"``
        returns the report instead. An error of a whole request, such as a missing bucket or a lost connection, is raised as
        itself, with a note that says how many keys were deleted before it. A version that Object Lock protects is a LockedError
        among the failures.

        ``executor`` is a ``concurrent.futures.Executor``, such as a ProcessPoolExecutor, or ``client.get_executor()`` of Dask: its
        workers send the requests, each with a session of its own. They get ``batch`` keys at once, and ``in_flight`` batches are on
        their way, twice the number of workers by default. The workers together have the bandwidth, memory and requests per second
        of this session's ``Limits``. A batch whose worker died is sent again on Dask; a pool of processes breaks as a whole, which raises
        BulkError: its member is the pool's error, and ``unfinished`` of its report counts the keys whose fate is not known.

        ``slice=(i, n)`` takes only a share of the keys, the same on every machine: ``n`` calls with ``i`` from 0 to ``n - 1`` take all.
        ``journal`` is a file that remembers finished batches. The same call skips them, also on another machine. The keys must
        then be in order, each once, as ``list`` gives them.
        """
        found = Spread.of("delete_many", spread)
        return await bulk.delete_many(self._runtime, self._name, keys, on_error, found, bypasses=bypass_governance)

    @shows(SpreadArguments, others=SPREAD_DEFAULTS)
    async def set_acl_many(
        self,
        keys: Iterable[KeySource] | AsyncIterable[KeySource],
        acl: CannedAcl | Acl,
        *,
        on_error: OnError = "raise",
        **spread: Unpack[SpreadArguments],
    ) -> BulkReport:
        """Set the same ACL on each key, with one request per key and ``Limits.requests`` at once.

        ``keys``, errors and ``executor`` work as in ``delete_many``. A missing key is a NotFoundError among the failures.
        """
        found = Spread.of("set_acl_many", spread)
        return await bulk.set_acl_many(self._runtime, self._name, keys, acl, on_error, found)

    @shows(_CopyManyArguments, keeps=True, others=SPREAD_DEFAULTS)
    async def copy_many(
        self,
        pairs: Iterable[tuple[CopySource, str]] | AsyncIterable[tuple[CopySource, str]],
        *,
        tags: Mapping[str, str] | None = None,
        copy_acl: bool | None = None,
        source_encryption: SseCustomer | None = None,
        on_error: OnError = "raise",
        **options: Unpack[_CopyManyArguments],
    ) -> BulkReport:
        """Copy objects to keys of this bucket, each as ``copy_to`` does, ``Limits.requests`` at once.

        Each pair is ``(source, key)``. The source is a key of this bucket, an ObjectInfo of any bucket of this session, or an
        Object of any session. An ObjectInfo with a ``version_id`` copies that version. ``pairs`` may be endless, as in ``delete_many``. The options are those of ``copy_to``, the same for
        all copies. Copies are made in no certain order, so do not give the same target twice.

        A copy that fails does not stop the others. Raises BulkError at the end, whose report names the target keys that failed;
        ``on_error="collect"`` returns the report instead. An error that would fail every copy, and a lost connection, is raised
        as itself, with a note that says how many objects were copied before it. ``executor`` works as in ``delete_many``; a journal
        and a slice go by the keys of the sources.
        """
        check_tags(tags or {})
        spread, given = _split("copy_many", options)
        changes = copy.Changes.of(given, tags, copy_acl)
        name, place_of = self._name, self._place_of
        return await bulk.copy_many(self._runtime, name, pairs, place_of, changes, source_encryption, on_error, spread)

    @shows(_SetHeadersArguments, keeps=True, others=SPREAD_DEFAULTS)
    async def set_headers_many(
        self,
        keys: Iterable[KeySource] | AsyncIterable[KeySource],
        *,
        encryption: SseCustomer | None = None,
        on_error: OnError = "raise",
        **headers: Unpack[_SetHeadersArguments],
    ) -> BulkReport:
        """Change the same headers of each key in place, as ``Object.set_headers`` does, ``Limits.requests`` at once.

        ``keys``, errors and ``executor`` work as in ``delete_many``; a missing key is a NotFoundError among the failures. Each key takes a HEAD,
        a copy onto itself, and requests for its ACL and tags. Only the newest version can be changed, so an ObjectInfo of an
        older one raises ValueError. Raises ValueError if no header is given.
        """
        spread, given = _split("set_headers_many", headers)
        check_headers_given("set_headers_many", given)
        changes = copy.Changes.of(given)
        return await bulk.set_headers_many(self._runtime, self._name, keys, changes, encryption, on_error, spread)

    def apply(
        self,
        keys: Iterable[KeySource] | AsyncIterable[KeySource],
        function: Callable[..., Awaitable[T]],
        *args: builtins.object,
        executor: Executor | None = None,
        batch: int = BATCH_NAMES,
        in_flight: int | None = None,
    ) -> Applied[T]:
        """Call an async function for many objects: ``async for key, result in bucket.apply(keys, function, executor=pool)``.

        ``function(object, *args)`` gets the Object of each key. Outcomes come in batches, in no certain order: what the function
        returned, or the exception that it raised. ``Limits.requests`` calls run at once; with an ``executor``, that many in each
        of its workers. Then function, arguments and results are pickled: the function must be one of a module that the workers can
        import. Reads no more than ``in_flight + 1`` batches ahead of your loop; leaving the loop stops the rest.
        """
        work = applying.Applying(self._runtime, self._name, Object, function, args)
        return applying.Applied(keys, work, Spread(executor, batch, in_flight))

    async def abort_uploads(
        self,
        older_than: timedelta,
        dry_run: bool = False,  # noqa: FBT001, FBT002 - after what it is a dry run of
        *,
        prefix: str = "",
        on_error: OnError = "raise",
    ) -> BulkReport:
        """Abort the multipart uploads that started at least ``older_than`` ago. The service then deletes their parts.

        ``timedelta(0)`` aborts all of them, even those still in use. ``dry_run`` only counts them.
        """
        return await bulk.abort_uploads(self._runtime, self._name, prefix, older_than, on_error, dry_run=dry_run)

    # Trees

    @shows(_SetHeadersArguments, others=SPREAD_DEFAULTS)
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
        missing_ok: bool = False,
        headers_for: HeadersFor | None = None,
        encryption: Encryption | None = None,
        on_done: OnDone | None = None,
        **headers: Unpack[_SetHeadersArguments],
    ) -> TreeReport:
        """Store the files below a directory, each under ``prefix/`` and its relative name. Return what was done.

        ``compare`` decides which files are stored. None: all. ``"size"``: missing files and files with another size. ``"mtime"``:
        also files with another time. The metadata holds the time, as rclone stores it; a HEAD reads it for each file of the same
        size. ``"etag"``: also files with other content. This reads each file of the same size and computes its ETag. If the
        ETags cannot be compared, the file is stored; with ``"etag-or-time"`` the time decides then, and the report counts the
        file as ``unverified`` if it is skipped. ``include`` and ``exclude`` are patterns as in a .gitignore. They apply to the
        relative names in both trees.

        ``delete`` removes the objects under ``prefix/`` that the directory lacks. It does so last, and only if nothing failed.
        Raises ValueError for an empty directory unless ``allow_empty``. Empty objects that only mark a directory (``name/``)
        stay, and so do names that the patterns leave out.

        One failure does not stop the others. Raises BulkError at the end, whose ``report`` says which names failed;
        ``on_error="collect"`` returns the report instead. An error that would fail every name, such as a failed listing, a full
        disk or a missing bucket, is raised as itself, with a note that says how much was done. ``dry_run`` only reads, and
        returns the ``plan``.

        ``content_type``, ``cache_control``, ``metadata`` and the other headers are for all files that are stored. Without a
        ``content_type``, each file gets that of its name. ``headers_for`` is called with the relative name of each file before it
        is stored, and returns a mapping with the same names, or None; its values replace those for all files. ``metadata`` is
        stored beside the file's time. An exception of ``headers_for`` ends the call, and is raised as itself; a value that cannot
        be sent is a failure of that file. Headers are not compared: a file that is the same is not stored again.

        ``on_done`` is called on the event loop with a TreeAction for each name that was stored, in the order in which they end. An
        exception of it ends the call, and is raised as itself. It does not go with ``executor``: workers tell no names.

        ``symlinks`` says whether symbolic links are followed, skipped or reported as failures. ``missing_ok`` leaves out files
        that vanish while the tree is read; otherwise they are failures. Unreadable files, names that are
        not UTF-8, and sockets, FIFOs and devices are failures too. Files of up to 256 KiB go in batches, larger ones as in
        ``upload``, ``Limits.requests`` at once in total. Memory does not grow with the tree, except for the names in its largest
        directory. ``encryption`` is that of ``put``, with one key for all.

        ``executor``, ``batch``, ``in_flight``, ``slice`` and ``journal`` are those of ``delete_many``: workers store the files, of
        at most 64 MiB a batch. They must see the same directory, or they refuse. ``progress`` and ``headers_for`` are called here.
        """
        spread, given = _split("upload_tree", headers)
        check_header_names("upload_tree", given)
        options = trees.TreeOptions(
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
            missing_ok=missing_ok,
            encryption=encryption,
            on_done=on_done,
            spread=spread,
        )
        local = await spread.path(local)
        return await trees.Run(
            trees.UploadTree(self._runtime, local, self._name, prefix, options, given, headers_for)
        ).run()

    @shows(SpreadArguments, others=SPREAD_DEFAULTS)
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
        encryption: SseCustomer | None = None,
        on_done: OnDone | None = None,
        **spread: Unpack[SpreadArguments],
    ) -> TreeReport:
        """Fetch the objects under ``prefix/``, each to a file with its relative name. Return what was done.

        The options are those of ``upload_tree``. This makes the directory if it is missing. A file appears under its name when
        it is complete and verified, with the object's time.

        Nothing is ever written outside the directory, whatever the keys are. A key that leads out of it, through a symbolic link
        below it, or to the place of a directory is an UnsafeKeyError among the failures. So is ``a/b`` beside ``a``, and ``B``
        beside ``b`` on a disk that ignores case. An empty object ``a`` beside ``a/b`` is a directory. ``delete`` removes regular
        files that have not changed since they were seen, and the directories that become empty. If a file became a directory, or
        a directory a file, ``delete`` removes the old one first. ``acl`` raises ValueError: files have none.
        ``encryption`` is the customer's key of all the objects.
        """
        if acl is not None:
            msg = f"acl={acl!r}: a download makes files, which have no ACL; leave acl out"
            raise ValueError(msg)
        found = Spread.of("download_tree", spread)
        options = trees.TreeOptions(
            compare=compare,
            delete=delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=acl,
            progress=progress,
            on_error=on_error,
            allow_empty=allow_empty,
            encryption=encryption,
            on_done=on_done,
            spread=found,
        )
        return await trees.Run(
            trees.DownloadTree(self._runtime, self._name, prefix, await found.path(local), options)
        ).run()

    @shows(SpreadArguments, others=SPREAD_DEFAULTS)
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
        encryption: Encryption | None = None,
        source_encryption: SseCustomer | None = None,
        on_done: OnDone | None = None,
        **spread: Unpack[SpreadArguments],
    ) -> TreeReport:
        """Copy the objects under ``prefix/`` to ``to_prefix/`` of a bucket. Return what was done.

        ``to_prefix`` defaults to ``prefix``. Within a session the service copies; between sessions this process streams the
        objects. The options are those of ``upload_tree``, and ``acl`` is the ACL of the copies. ``compare="mtime"`` copies
        objects that were stored later than their copies. ``"etag"`` copies objects whose ETag differs, or is not a digest. With
        ``"etag-or-time"`` the time decides if ETags cannot be compared, because the numbers of parts differ or one is not a
        digest. Comparing sends no requests but the listings. Raises ValueError if one of the prefixes lies inside the other.
        ``encryption`` and ``source_encryption`` are those of ``Object.copy_to``, for all objects.
        """
        found = Spread.of("copy_tree", spread)
        options = trees.TreeOptions(
            compare=compare,
            delete=delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=acl,
            progress=progress,
            on_error=on_error,
            allow_empty=allow_empty,
            encryption=encryption,
            on_done=on_done,
            spread=found,
        )
        target = to._objects(prefix if to_prefix is None else to_prefix)
        return await trees.Run(trees.CopyTree(self._objects(prefix, source_encryption), target, options)).run()

    @shows(SpreadArguments, others=SPREAD_DEFAULTS)
    async def move_tree(
        self,
        to: Bucket,
        prefix: str = "",
        to_prefix: str | None = None,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        dry_run: bool = False,
        acl: CannedAcl | None = None,
        progress: ProgressCallback | None = None,
        on_error: OnError = "raise",
        encryption: Encryption | None = None,
        source_encryption: SseCustomer | None = None,
        on_done: OnDone | None = None,
        **spread: Unpack[SpreadArguments],
    ) -> TreeReport:
        """Move the objects under ``prefix/`` to ``to_prefix/`` of a bucket. Return what was done.

        Each object is copied as by ``copy_tree``, then both are compared, and only then the source is deleted. If the copy cannot
        be verified, the source stays, and the name fails with a TransferError. ``copied`` of the report counts the names moved.
        One failure does not stop the others, and an interrupted call leaves every object in at least one place: call it again to
        move what is left. What is in the target already is overwritten.

        Where versions are kept, the source is hidden by a delete marker, and its versions stay. Empty objects that mark a
        directory stay, too. Raises ValueError if one of the prefixes lies inside the other.
        """
        found = Spread.of("move_tree", spread)
        options = trees.TreeOptions(
            compare=None,
            delete=False,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=acl,
            progress=progress,
            on_error=on_error,
            allow_empty=True,
            encryption=encryption,
            on_done=on_done,
            spread=found,
        )
        target = to._objects(prefix if to_prefix is None else to_prefix)
        return await trees.Run(trees.MoveTree(self._objects(prefix, source_encryption), target, options)).run()

    async def restore_tree(
        self,
        prefix: str,
        as_of: datetime,
        to: Bucket | str | None = None,
        dry_run: bool = False,  # noqa: FBT001, FBT002 - the design fixes it
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        progress: ProgressCallback | None = None,
        on_error: OnError = "raise",
        encryption: SseCustomer | None = None,
    ) -> TreeReport:
        """Bring the objects under ``prefix/`` back to a time, from the versions that the bucket keeps. Return what was done.

        For each key, the newest version that was stored at ``as_of`` or before becomes the newest again: the service copies it, with
        headers, metadata, tags and ACL. An object that did not exist at ``as_of`` is hidden by a delete marker. A key that has
        not changed since is skipped. Markers come last, and only if no copy failed. All versions stay, so this can be
        undone by another call, with the time before this one. If versioning is suspended, what was stored meanwhile has no
        version, and is replaced for good.

        With ``to``, a bucket or another prefix of this bucket, the state of that time is copied there, without ACLs, and nothing
        is hidden. ``dry_run`` only reads, and returns the ``plan``. Times are the service's, as ``list_versions`` gives them, often
        whole seconds; an ``as_of`` without a fraction means that whole second. If several versions have the same time, the newest
        counts. ``encryption`` is the customer's key of all versions; the copies get the same key.

        Takes one request per 1,000 versions, and for each key that changed a copy, a HEAD, and requests for its ACL and tags.
        Raises ValueError for a time without a time zone, and if the bucket never kept versions.
        """
        check_aware("as_of", as_of)
        options = trees.TreeOptions(
            compare="etag" if to is None else None,
            delete=to is None,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            acl=None,
            progress=progress,
            on_error=on_error,
            allow_empty=True,
            encryption=encryption,
        )
        target = self._objects(to) if isinstance(to, str) else None
        if isinstance(to, Bucket):
            target = to._objects(prefix)  # noqa: SLF001 - of this class
        return await trees.Run(trees.RestoreTree(self._objects(prefix, encryption), target, as_of, options)).run()

    @shows(SliceArguments, others=SPREAD_DEFAULTS)
    async def check_tree(
        self,
        other: str | os.PathLike[str] | Bucket,
        prefix: str = "",
        *,
        to_prefix: str | None = None,
        by: CheckBy = "etag",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        progress: ProgressCallback | None = None,
        on_error: OnError = "raise",
        encryption: SseCustomer | None = None,
        **spread: Unpack[SliceArguments],
    ) -> CheckReport:
        """Compare the objects under ``prefix/`` with a local directory, or with those of a bucket. Change nothing.

        The report says which names differ, are ``missing`` here, or are ``extra`` here. Differences raise nothing: look at the
        report. ``to_prefix`` is the prefix in the other bucket, which may be of another session; it defaults to ``prefix``.

        ``by="etag"`` compares ETags, of a file the ETag that it would have: the file is read. Names of the same size whose ETags
        cannot be compared are ``unverified``. ``"content"`` reads both sides of those, up to the first difference. ``"size"``
        compares only sizes. Sends the listings, a HEAD for each name whose ETag is not that of the other side, and one to three
        for each file whose object was uploaded in parts.

        Names that cannot be read on one side, such as an unreadable file or an object that changes meanwhile, are failures.
        Raises BulkError for them at the end, whose ``report`` is the whole report; ``on_error="collect"`` returns it instead.
        Names are read as in ``upload_tree`` and ``copy_tree``: links are followed, and empty objects that mark a directory are
        passed over. The names in the report are in memory. ``encryption`` is the customer's key of all the objects, on both sides.
        ``executor`` and ``slice`` are those of ``upload_tree``.
        """
        found = Spread.of("check_tree", spread, SliceArguments)
        there: Objects | str
        if isinstance(other, Bucket):
            there = other._objects(prefix if to_prefix is None else to_prefix, encryption)  # noqa: SLF001 - of this class
        elif to_prefix is not None:
            msg = f"to_prefix={to_prefix!r} is a prefix of another bucket, but {other!r} is a local directory: leave to_prefix out"
            raise ValueError(msg)
        else:
            there = await found.path(other)
        patterns = trees.Patterns(include, exclude)
        return await trees.CheckTree(
            self._objects(prefix, encryption),
            there,
            patterns,
            by=by,
            progress=progress,
            on_error=on_error,
            spread=found,
        ).run()

    # Settings. Plain values; ``[]``, ``{}`` or ``None`` if the bucket has none.

    async def cors(self) -> Sequence[CorsRule]:
        """Return the CORS rules; an empty list if there are none."""
        return await self._runtime.s3.get_setting(self._name, settings.CORS)

    async def set_cors(self, rules: Sequence[CorsRule]) -> None:
        """Replace the CORS rules. Raises ValueError for rules that S3 does not have."""
        await self._runtime.s3.put_setting(self._name, settings.CORS, [*rules])

    async def delete_cors(self) -> None:
        """Remove the CORS rules."""
        await self._runtime.s3.delete_setting(self._name, settings.CORS)

    async def policy(self) -> PolicyDocument | None:
        """Return the policy document, parsed; None if there is none."""
        return await self._runtime.s3.get_setting(self._name, settings.POLICY)

    async def set_policy(self, document: Mapping[str, builtins.object] | str) -> None:
        """Replace the policy with a mapping or with JSON text. Raises ValueError for text that is not JSON."""
        parsed = values.parsed_policy(self._name, document) if isinstance(document, str) else dict(document)
        await self._runtime.s3.put_setting(self._name, settings.POLICY, parsed)

    async def delete_policy(self) -> None:
        """Remove the policy."""
        await self._runtime.s3.delete_setting(self._name, settings.POLICY)

    async def lifecycle(self) -> Sequence[LifecycleRule]:
        """Return the lifecycle rules; an empty list if there are none."""
        return await self._runtime.s3.get_setting(self._name, settings.LIFECYCLE)

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        """Replace the lifecycle rules. Raises ValueError for rules that S3 does not have."""
        await self._runtime.s3.put_setting(self._name, settings.LIFECYCLE, [*rules])

    async def delete_lifecycle(self) -> None:
        """Remove the lifecycle rules."""
        await self._runtime.s3.delete_setting(self._name, settings.LIFECYCLE)

    async def tags(self) -> dict[str, str]:
        """Return the bucket's tags; an empty dict if there are none."""
        return await self._runtime.s3.get_setting(self._name, settings.TAGS)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace all tags of the bucket. Raises ValueError for tags that are not text, or that XML cannot carry."""
        check_tags(tags)
        await self._runtime.s3.put_setting(self._name, settings.TAGS, dict(tags))

    async def delete_tags(self) -> None:
        """Remove all tags of the bucket."""
        await self._runtime.s3.delete_setting(self._name, settings.TAGS)

    async def versioning(self) -> VersioningStatus | None:
        """Return ``"Enabled"`` or ``"Suspended"``; None if versioning was never enabled."""
        return await self._runtime.s3.get_setting(self._name, settings.VERSIONING)

    async def set_versioning(self, status: VersioningStatus) -> None:
        """Enable or suspend versioning. Raises ValueError for another word."""
        check_one_of("versioning", status, get_args(VersioningStatus))
        await self._runtime.s3.put_setting(self._name, settings.VERSIONING, status)

    async def delete_versioning(self) -> None:
        """Suspend versioning: a bucket that had versions cannot go back to having none."""
        await self._runtime.s3.delete_setting(self._name, settings.VERSIONING)

    async def website(self) -> Website | None:
        """Return how the bucket is served as a website; None if it is not."""
        return await self._runtime.s3.get_setting(self._name, settings.WEBSITE)

    async def set_website(self, website: Website) -> None:
        """Serve the bucket as a website. Raises UnsupportedByServiceError if the service cannot."""
        await self._runtime.s3.put_setting(self._name, settings.WEBSITE, website)

    async def delete_website(self) -> None:
        """Stop serving the bucket as a website."""
        await self._runtime.s3.delete_setting(self._name, settings.WEBSITE)

    def _objects(self, prefix: str, key: SseCustomer | None = None) -> Objects:
        return trees.Objects(self._runtime, self._name, prefix, ReadOptions(encryption=key))

    def _place_of(self, source: CopySource) -> bulk.Place:
        """Return where the source of a copy is."""
        if isinstance(source, Object):
            return bulk.Place(source._runtime, source._address)  # noqa: SLF001 - our own class
        if isinstance(source, str):
            return bulk.Place(self._runtime, Address(self._name, source))
        if isinstance(source, ObjectInfo) and not source.is_delete_marker:
            return bulk.Place(self._runtime, Address(source.bucket, source.key), source.version_id)
        msg = f"{source!r} is no source of a copy: give a key, an ObjectInfo or an Object"
        raise TypeError(msg)

    # Settings that many services do not know. A service may answer "OK" to what it ignores, so each is read before it is written,
    # and read back afterwards.

    async def encryption(self) -> Sequence[EncryptionRule]:
        """Return how new objects are encrypted by default; an empty list if nothing is set."""
        return await self._runtime.s3.get_setting(self._name, settings.ENCRYPTION)

    async def set_encryption(self, rules: Sequence[EncryptionRule]) -> None:
        """Set how new objects are encrypted by default: ``[{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]``.

        Like each ``set`` below, this needs the right to read the setting, too. Raises ValueError for rules that S3 does not have,
        UnsupportedByServiceError if the service refuses or ignores them.
        """
        await self._runtime.s3.put_setting(self._name, settings.ENCRYPTION, [*rules])

    async def delete_encryption(self) -> None:
        """Return to the service's own default."""
        await self._runtime.s3.delete_setting(self._name, settings.ENCRYPTION)

    async def public_access_block(self) -> PublicAccessBlock | None:
        """Return which public access is blocked, whatever ACLs and policies say; None if none is."""
        return await self._runtime.s3.get_setting(self._name, settings.PUBLIC_ACCESS_BLOCK)

    async def set_public_access_block(self, block: PublicAccessBlock) -> None:
        """Block public access: ``{"BlockPublicAcls": True, ...}``. What is left out is not blocked. Errors: ``set_encryption``."""
        await self._runtime.s3.put_setting(self._name, settings.PUBLIC_ACCESS_BLOCK, block)

    async def delete_public_access_block(self) -> None:
        """Block no public access."""
        await self._runtime.s3.delete_setting(self._name, settings.PUBLIC_ACCESS_BLOCK)

    async def notification(self) -> Notification:
        """Return which events the service sends where; an empty dict if there are none."""
        return await self._runtime.s3.get_setting(self._name, settings.NOTIFICATION)

    async def set_notification(self, notification: Notification) -> None:
        """Replace what the service sends where: ``{"TopicConfigurations": [...], ...}``. Errors: ``set_encryption``."""
        if notification == {}:
            await self.delete_notification()  # some services refuse the empty document
            return
        await self._runtime.s3.put_setting(self._name, settings.NOTIFICATION, notification)

    async def delete_notification(self) -> None:
        """Send no events."""
        await self._runtime.s3.delete_setting(self._name, settings.NOTIFICATION)

    async def object_lock(self) -> Retention | None:
        """Return how long new objects are locked by default; None if they are not, or the bucket has no Object Lock."""
        return await self._runtime.s3.get_setting(self._name, settings.OBJECT_LOCK)

    async def set_object_lock(self, retention: Retention | None) -> None:
        """Lock new objects for some days or years; ``None`` locks no more. Objects that are locked stay so.

        The bucket needs Object Lock: ``create(object_lock=True)``. Amazon S3 turns it on here if the bucket has versions; it cannot
        be turned off again. Raises ValueError for a retention with ``until``. Other errors: ``set_encryption``.
        """
        if retention is None:
            await self.delete_object_lock()
            return
        values.check_default_retention(retention)
        await self._runtime.s3.put_setting(self._name, settings.OBJECT_LOCK, retention)

    async def delete_object_lock(self) -> None:
        """Lock no new objects by default. Object Lock itself stays: S3 cannot turn it off."""
        await self._runtime.s3.delete_setting(self._name, settings.OBJECT_LOCK)

    async def logging(self) -> Logging | None:
        """Return where the service stores access logs; None if it does not."""
        return await self._runtime.s3.get_setting(self._name, settings.LOGGING)

    async def set_logging(self, logging: Logging) -> None:
        """Store access logs: ``{"TargetBucket": "logs", "TargetPrefix": "photos/"}``. Errors: ``set_encryption``."""
        await self._runtime.s3.put_setting(self._name, settings.LOGGING, logging)

    async def delete_logging(self) -> None:
        """Store no more access logs."""
        await self._runtime.s3.delete_setting(self._name, settings.LOGGING)

    async def ownership(self) -> ObjectOwnership | None:
        """Return who owns new objects, and whether ACLs count; None if nothing is set."""
        return await self._runtime.s3.get_setting(self._name, settings.OWNERSHIP)

    async def set_ownership(self, ownership: ObjectOwnership) -> None:
        """Set who owns new objects. ``"BucketOwnerEnforced"`` turns ACLs off. Errors: ``set_encryption``."""
        check_one_of("ownership", ownership, get_args(ObjectOwnership))
        await self._runtime.s3.put_setting(self._name, settings.OWNERSHIP, ownership)

    async def delete_ownership(self) -> None:
        """Return to the service's own default."""
        await self._runtime.s3.delete_setting(self._name, settings.OWNERSHIP)

    async def _is_taken(self) -> bool:
        try:
            return await self.exists()
        except AccessDeniedError:  # another account's, or wrong credentials: the creation will show which
            return False
