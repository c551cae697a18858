"""One verb over many keys: bounded, batched, one outcome each."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Generic, Literal, Self, TypeVar, get_args

import anyio

from aiodreamobjects._checks import KEY_BYTES, check_key, check_one_of, check_token
from aiodreamobjects._concurrency import close_generator, in_parallel, is_foreign, pull
from aiodreamobjects._errors import (
    BucketNotEmptyError,
    CredentialsError,
    NotFoundError,
    ServiceError,
    SessionClosedError,
    UnsupportedByServiceError,
    forget_frames,
)
from aiodreamobjects._listing.pages import Listing, list_objects, list_uploads, list_versions
from aiodreamobjects._models import Acl, Address, CannedAcl, ObjectInfo, UploadInfo, check_canned_acl
from aiodreamobjects._reports import BulkError, BulkFailure, BulkReport
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.errors import is_unanswered
from aiodreamobjects._s3.retry import backoff
from aiodreamobjects._s3.values import VersionedKey

K = TypeVar("K", bound=VersionedKey | UploadInfo)
T = TypeVar("T")

KeySource = str | ObjectInfo | tuple[str, str | None]
OnError = Literal["raise", "collect"]

BATCH_KEYS = 1000
"""DeleteObjects takes no more (S3 API reference)."""
BATCHES_IN_FLIGHT = 8
FAILURES_KEPT = 1000
EMPTYING_ROUNDS = 3
DEEPEST_DIRECTORIES = 32
"""So deep may be what a gateway to a file system makes of empty directories: each round deletes one level."""

_log = logging.getLogger("aiodreamobjects")

# What XML 1.0 cannot carry, and the carriage return, which parsers turn into a line feed: such keys go one by one.
_NOT_FOR_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


async def delete_many(
    runtime: Runtime, bucket: str, keys: Iterable[KeySource] | AsyncIterable[KeySource], on_error: OnError
) -> BulkReport:
    _refuse_one_str(keys)
    bulk = _Bulk(runtime, f"keys of s3://{bucket}", "deleted", _Deletion(runtime, bucket).delete, batch=BATCH_KEYS)
    return await bulk.run(Source(keys), partial(_versioned_keys, bucket), on_error)


async def delete_pages(
    runtime: Runtime, bucket: str, pages: AsyncGenerator[list[VersionedKey], None], tally: Tally
) -> None:
    """What became of each is told to the tally, also when it is cut short."""
    act = _Deletion(runtime, bucket).delete
    bulk = _Bulk(runtime, f"keys of s3://{bucket}", "deleted", act, batch=BATCH_KEYS, tally=tally)
    await bulk.run(Source.of_pages(pages), list, "collect")


async def set_acl_many(
    runtime: Runtime,
    bucket: str,
    keys: Iterable[KeySource] | AsyncIterable[KeySource],
    acl: CannedAcl | Acl,
    on_error: OnError,
) -> BulkReport:
    _refuse_one_str(keys)
    if not isinstance(acl, Acl):
        check_canned_acl(acl)

    async def set_acl(key: VersionedKey) -> None:
        await runtime.s3.put_object_acl(Address(bucket, key.key), acl, key.version_id)

    act = partial(_one_by_one, set_acl)
    bulk = _Bulk(runtime, f"keys of s3://{bucket}", "given the ACL", act, batch=1)
    return await bulk.run(Source(keys), partial(_versioned_keys, bucket), on_error)


async def abort_uploads(
    runtime: Runtime, bucket: str, prefix: str, older_than: timedelta, on_error: OnError, *, dry_run: bool
) -> BulkReport:
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        msg = f"older_than {older_than!r} must be a timedelta, such as timedelta(days=1); timedelta(0) means all"
        raise ValueError(msg)
    runtime.require_open()
    latest = datetime.fromtimestamp(runtime.s3.now(), UTC) - older_than

    async def found() -> AsyncGenerator[list[UploadInfo]]:
        async with aclosing(list_uploads(runtime, bucket, prefix).pages()) as pages:
            async for page in pages:
                yield [
                    upload
                    for upload in page
                    if not older_than or (upload.initiated is not None and upload.initiated <= latest)
                ]

    async def abort(upload: UploadInfo) -> None:
        if not dry_run:
            try:
                await runtime.s3.abort_upload(Address(bucket, upload.key), upload.upload_id)
            except NotFoundError as error:
                if error.code == "NoSuchBucket":
                    raise  # else it was completed or aborted by someone else meanwhile

    act = partial(_one_by_one, abort)
    bulk = _Bulk(runtime, f"uploads of s3://{bucket}", "aborted", act, batch=1)
    return await bulk.run(Source.of_pages(found()), list, on_error)


async def empty(runtime: Runtime, bucket: str) -> BulkReport:
    """Delete every version and every delete marker; every object, where the service lists no versions."""
    try:
        report = await delete_many(runtime, bucket, list_versions(runtime, bucket, ""), "raise")
    except ServiceError as error:
        if not _is_lacking(error):
            raise
        report = BulkReport(0, 0, ())
    if runtime.service.is_known:
        return report
    # Some gateways know no versions, and some say that there are none (rclone). Where there are some, a deletion without
    # a version would leave a marker: then only what a gateway to a file system makes of empty directories is left.
    for _ in range(DEEPEST_DIRECTORIES):
        end, listed = "/" if report.done else "", list_objects(runtime, bucket, "", None, None)
        left = await delete_many(
            runtime, bucket, (info.key async for info in listed if info.key.endswith(end)), "raise"
        )
        if not left.done:
            break
        report = report if report.done else left
    return report


async def delete_bucket_and_content(runtime: Runtime, bucket: str) -> None:
    """Open uploads first: one that completes meanwhile becomes a version. Then again, if someone put more."""
    for round_number in range(1, EMPTYING_ROUNDS + 1):
        try:
            uploads = await abort_uploads(runtime, bucket, "", timedelta(0), "collect", dry_run=False)
        except ServiceError as error:
            if not _is_lacking(error):
                raise
            _log.info("s3://%s: its open uploads cannot be listed, and are passed over: %s", bucket, error)
        else:
            if uploads.failed:
                raise uploads.failures[0].error
        await empty(runtime, bucket)
        try:
            await runtime.s3.delete_bucket(bucket)
        except BucketNotEmptyError:
            if round_number == EMPTYING_ROUNDS:
                raise
        else:
            return


def _is_lacking(error: ServiceError) -> bool:
    """Whether a service does not have what was asked for: some answer 404 to a request that they do not know."""
    is_unknown = isinstance(error, NotFoundError) and error.code != "NoSuchBucket"
    return is_unknown or isinstance(error, UnsupportedByServiceError)


class Tally:
    """What became of each of many things: all are counted, the first failures are kept."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self.failures: list[BulkFailure] = []

    def fail(self, key: str, version_id: str | None, error: Exception) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            forget_frames(error)
            self.failures.append(BulkFailure(key, version_id, error))

    def add(self, other: Tally) -> None:
        """What failed elsewhere."""
        self.failed += other.failed
        self.failures = [*self.failures, *other.failures][:FAILURES_KEPT]


class _Bulk(Generic[K]):
    """Workers pull batches from one source; what becomes of each key is counted.

    ``act`` does a batch, and tells the tally how many of it are done and which failed. It raises what fails all that
    may follow.
    """

    def __init__(
        self,
        runtime: Runtime,
        what: str,
        done: str,
        act: Callable[[Tally, list[K]], Awaitable[None]],
        *,
        batch: int,
        tally: Tally | None = None,
    ) -> None:
        runtime.require_open()
        self._runtime = runtime
        self._what, self._done = what, done
        self._act, self._batch = act, batch
        self._width = min(BATCHES_IN_FLIGHT if batch > 1 else runtime.limits.requests, runtime.limits.requests)
        self._reading = anyio.CancelScope()
        self._stopped_by: BaseException | None = None
        self._tally = tally or Tally()

    async def run(self, source: Source[T], read: Callable[[list[T]], list[K]], on_error: OnError) -> BulkReport:
        """Raises what the source raises and what fails whole requests, once the batches in flight have ended."""
        check_one_of("on_error", on_error, get_args(OnError))
        tally = self._tally
        try:
            await self._run(source, read)
        except BaseException as error:
            error.add_note(f"{tally.done:,} {self._what} were {self._done}, {tally.failed:,} failed")
            raise
        report = BulkReport(tally.done, tally.failed, tuple(tally.failures))
        if report.failed and on_error == "raise":
            msg = f"{tally.failed:,} of {tally.done + tally.failed:,} {self._what} could not be {self._done}"
            raise BulkError(msg, [failure.error for failure in report.failures], report)
        return report

    async def _run(self, source: Source[T], read: Callable[[list[T]], list[K]]) -> None:
        async with aclosing(source), self._runtime.job(is_of_many=True):
            await pull(self._width, partial(self._next_batch, source, read), self._do)
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _next_batch(self, source: Source[T], read: Callable[[list[T]], list[K]]) -> list[K] | None:
        with self._stopping_all():
            if self._stopped_by is None:
                batch: list[T] = []
                with anyio.CancelScope() as self._reading:
                    batch = await source.take(self._batch)
                if self._stopped_by is None:
                    return read(batch) or None
        return None

    async def _do(self, batch: list[K]) -> None:
        with self._stopping_all():
            await self._act(self._tally, batch)

    @contextmanager
    def _stopping_all(self) -> Iterator[None]:
        """Keep an error for ``_run``, which raises it when the batches under way have ended. No other batch begins."""
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, Exception) or is_foreign(error)):
                raise
            self._stopped_by = self._stopped_by or error
            self._reading.cancel()


class Source(Generic[T]):
    """Items from wherever, read as far as they are asked for."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        self._at_hand: Iterator[T] = iter(())
        self._pages: AsyncGenerator[list[T], None] | None = None
        if isinstance(items, Listing):
            self._pages = items.pages()
        elif isinstance(items, AsyncIterable):
            self._pages = _page_each(items)
        else:
            self._at_hand = iter(items)

    @classmethod
    def of_pages(cls, pages: AsyncGenerator[list[T], None]) -> Self:
        source = cls(())
        source._pages = pages
        return source

    async def take(self, count: int) -> list[T]:
        """So many, or what is left."""
        taken = list(islice(self._at_hand, count))
        while len(taken) < count and self._pages is not None:
            page = await anext(self._pages, None)
            if page is None:
                self._pages = None
            else:
                self._at_hand = iter(page)
                taken += islice(self._at_hand, count - len(taken))
        return taken

    async def aclose(self) -> None:
        if self._pages is not None:
            await self._pages.aclose()


async def _page_each(items: AsyncIterable[T]) -> AsyncGenerator[list[T], None]:
    try:
        async for item in items:
            yield [item]
    finally:
        if isinstance(items, AsyncGenerator):
            await close_generator(items)


class _Deletion:
    """Keys go by the thousand; by themselves where XML cannot carry them, or the service knows no DeleteObjects."""

    def __init__(self, runtime: Runtime, bucket: str) -> None:
        self._runtime, self._bucket = runtime, bucket
        self._is_one_by_one = False

    async def delete(self, tally: Tally, batch: list[VersionedKey]) -> None:
        alone, together = [], batch
        if _NOT_FOR_XML.search("".join([key for key, _ in batch])):
            alone = [key for key in batch if _NOT_FOR_XML.search(key.key)]
            together = [key for key in batch if not _NOT_FOR_XML.search(key.key)]
        if self._is_one_by_one or "delete_objects" in self._runtime.service.unsupported:
            alone = batch
        else:
            alone += await self._delete_together(tally, together)
        remaining = iter(alone)
        await in_parallel(min(BATCHES_IN_FLIGHT, len(alone)), lambda: _one_by_one(self._delete_alone, tally, remaining))

    async def _delete_together(self, tally: Tally, batch: list[VersionedKey]) -> list[VersionedKey]:
        """Delete many by one request. Return those that must go one by one.

        Keys that fail for a passing reason are tried again, as often as requests are. Keys of which the reply says nothing
        must go one by one; all further keys too, if it says nothing of any.
        """
        s3, retry, attempt = self._runtime.s3, self._runtime.retry, 0
        alone: list[VersionedKey] = []
        while batch:
            attempt += 1
            try:
                failures = await s3.delete_objects(self._bucket, list(dict.fromkeys(batch)))
            except UnsupportedByServiceError:
                self._is_one_by_one = True
                return [*alone, *batch]
            failed = [key for key in batch if key in failures] if failures else []
            tally.done += len(batch) - len(failed)
            unanswered = [key for key in failed if is_unanswered(failures[key])]
            alone += unanswered
            if len(unanswered) == len(batch):
                self._is_one_by_one = True
            batch = []
            for key in failed:
                error = failures[key]
                if error.retryable and attempt < retry.attempts:
                    batch.append(key)
                elif not is_unanswered(error):
                    tally.fail(key.key, key.version_id, error)
            if batch:
                await s3.sleep(backoff(retry, attempt))
        return alone

    async def _delete_alone(self, key: VersionedKey) -> None:
        await self._runtime.s3.delete_object(Address(self._bucket, key.key), key.version_id)


async def _one_by_one(act: Callable[[K], Awaitable[None]], tally: Tally, keys: Iterable[K]) -> None:
    for key in keys:
        try:
            await act(key)
            tally.done += 1
        except ServiceError as error:
            if fails_all(error):
                raise
            tally.fail(key.key, key.version_id if isinstance(key, VersionedKey) else None, error)


def fails_all(error: BaseException) -> bool:
    """Whether what failed one request will fail every other."""
    if isinstance(error, ServiceError):
        return error.code in _FAIL_ALL
    return isinstance(error, CredentialsError | SessionClosedError)


_FAIL_ALL = {
    *("NoSuchBucket", "AllAccessDisabled", "AccountProblem"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"),
}


def _refuse_one_str(keys: object) -> None:
    if isinstance(keys, str):
        msg = "keys is one str; it must be an iterable of keys: [key]"
        raise TypeError(msg)


def _versioned_keys(bucket: str, keys: list[KeySource]) -> list[VersionedKey]:
    found = [VersionedKey(key) if isinstance(key, str) else _versioned(bucket, key) for key in keys]
    if not _are_plain(keys):
        for key, version_id in found:
            check_key(key)
            check_token("version_id", version_id)
    return found


def _are_plain(keys: list[KeySource]) -> bool:
    """Whether all are ASCII, and of a length that keys can have: told of a thousand in the time that one check takes."""
    names = [key for key in keys if isinstance(key, str)]
    return (
        len(names) == len(keys)
        and all(names)
        and "".join(names).isascii()
        and max(map(len, names), default=0) <= KEY_BYTES
    )


def _versioned(bucket: str, key: ObjectInfo | tuple[str, str | None]) -> VersionedKey:
    if not isinstance(key, ObjectInfo):
        if not isinstance(key, tuple) or len(key) != 2:  # noqa: PLR2004 - a pair
            msg = f"{key!r} is no key: give a str, an ObjectInfo or a pair of key and version_id"
            raise TypeError(msg)
        return VersionedKey(*key)
    if key.bucket != bucket:
        msg = f"key {key.key!r} is of bucket {key.bucket!r}, and the verb is one of bucket {bucket!r}"
        raise ValueError(msg)
    return VersionedKey(key.key, key.version_id)
