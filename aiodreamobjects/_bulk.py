"""One verb over many keys: bounded, batched, one outcome each."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Generic, Literal, TypeVar, get_args

import anyio

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._concurrency import in_parallel
from aiodreamobjects._errors import (
    BucketNotEmptyError,
    BulkError,
    CredentialsError,
    NotFoundError,
    ServiceError,
    SessionClosedError,
    UnsupportedByServiceError,
)
from aiodreamobjects._listing.pages import list_uploads, list_versions
from aiodreamobjects._models import (
    Acl,
    Address,
    BulkFailure,
    BulkReport,
    CannedAcl,
    ObjectInfo,
    UploadInfo,
    check_canned_acl,
)
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._wire.contract import VersionedKey
from aiodreamobjects._wire.retry import backoff

K = TypeVar("K", bound=VersionedKey | UploadInfo)

KeySource = str | ObjectInfo | tuple[str, str | None]
OnError = Literal["raise", "collect"]

BATCH_KEYS = 1000
"""DeleteObjects takes no more (S3 API reference)."""
BATCHES_IN_FLIGHT = 8
FAILURES_KEPT = 1000
EMPTYING_ROUNDS = 3

# What XML 1.0 cannot carry, and the carriage return, which parsers turn into a line feed: such keys go one by one.
_NOT_FOR_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


async def delete_many(
    runtime: Runtime, bucket: str, keys: Iterable[KeySource] | AsyncIterable[KeySource], on_error: OnError
) -> BulkReport:
    deletion = _Deletion(runtime, bucket)
    bulk = Bulk(runtime, f"keys of s3://{bucket}", "deleted", deletion.delete, batch=BATCH_KEYS, on_error=on_error)
    return await bulk.run(_versioned_keys(bucket, keys))


async def set_acl_many(
    runtime: Runtime,
    bucket: str,
    keys: Iterable[KeySource] | AsyncIterable[KeySource],
    acl: CannedAcl | Acl,
    on_error: OnError,
) -> BulkReport:
    if not isinstance(acl, Acl):
        check_canned_acl(acl)

    async def set_acl(key: VersionedKey) -> None:
        await runtime.wire.put_object_acl(Address(bucket, key.key), acl, key.version_id)

    act = partial(_one_by_one, set_acl)
    bulk = Bulk(runtime, f"keys of s3://{bucket}", "given the ACL", act, batch=1, on_error=on_error)
    return await bulk.run(_versioned_keys(bucket, keys))


async def abort_uploads(
    runtime: Runtime, bucket: str, prefix: str, older_than: timedelta, on_error: OnError, *, dry_run: bool
) -> BulkReport:
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        msg = f"older_than {older_than!r} must be a timedelta, such as timedelta(days=1); timedelta(0) means all"
        raise ValueError(msg)
    runtime.require_open()
    latest = datetime.fromtimestamp(runtime.wire.now(), UTC) - older_than

    async def found() -> AsyncGenerator[UploadInfo]:
        async for upload in list_uploads(runtime, bucket, prefix):
            if not older_than or (upload.initiated is not None and upload.initiated <= latest):
                yield upload

    async def abort(upload: UploadInfo) -> None:
        if not dry_run:
            try:
                await runtime.wire.abort_upload(Address(bucket, upload.key), upload.upload_id)
            except NotFoundError as error:
                if error.code == "NoSuchBucket":
                    raise  # else it was completed or aborted by someone else meanwhile

    act = partial(_one_by_one, abort)
    bulk = Bulk(runtime, f"uploads of s3://{bucket}", "aborted", act, batch=1, on_error=on_error)
    return await bulk.run(found())


async def empty(runtime: Runtime, bucket: str) -> BulkReport:
    """Delete every version and every delete marker."""
    return await delete_many(runtime, bucket, list_versions(runtime, bucket, ""), "raise")


async def delete_bucket_and_content(runtime: Runtime, bucket: str) -> None:
    """Open uploads first: one that completes meanwhile becomes a version. Then again, if someone put more."""
    for round_number in range(1, EMPTYING_ROUNDS + 1):
        uploads = await abort_uploads(runtime, bucket, "", timedelta(0), "collect", dry_run=False)
        if uploads.failed:
            raise uploads.failures[0].error
        await empty(runtime, bucket)
        try:
            await runtime.wire.delete_bucket(bucket)
        except BucketNotEmptyError:
            if round_number == EMPTYING_ROUNDS:
                raise
        else:
            return


class Tally:
    """What became of each of many things: all are counted, the first failures are kept."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self.failures: list[BulkFailure] = []

    def fail(self, key: str, version_id: str | None, error: Exception) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(BulkFailure(key, version_id, error))


class Bulk(Generic[K]):
    """Workers pull batches from one source; what becomes of each key is counted.

    ``act`` does a batch, and tells how many of it are done and which failed. It raises what fails all that may follow.
    """

    def __init__(
        self,
        runtime: Runtime,
        what: str,
        done: str,
        act: Callable[[Tally, list[K]], Awaitable[None]],
        *,
        batch: int,
        on_error: OnError,
    ) -> None:
        check_one_of("on_error", on_error, get_args(OnError))
        runtime.require_open()
        self._what, self._done, self._on_error = what, done, on_error
        self._act, self._batch = act, batch
        self._width = min(BATCHES_IN_FLIGHT if batch > 1 else runtime.limits.requests, runtime.limits.requests)
        self._turn = anyio.Lock()
        self._stopped_by: Exception | None = None
        self._tally = Tally()

    async def run(self, keys: AsyncGenerator[K]) -> BulkReport:
        """Raises what the source raises and what fails whole requests, once the batches in flight have ended."""
        tally = self._tally
        async with aclosing(keys):
            await in_parallel(self._width, partial(self._work, keys))
        if self._stopped_by is not None:
            self._stopped_by.add_note(f"{tally.done:,} {self._what} were {self._done}, {tally.failed:,} failed")
            raise self._stopped_by
        report = BulkReport(tally.done, tally.failed, tuple(tally.failures))
        if report.failed and self._on_error == "raise":
            msg = f"{tally.failed:,} of {tally.done + tally.failed:,} {self._what} could not be {self._done}"
            raise BulkError(msg, [failure.error for failure in report.failures], report)
        return report

    async def _work(self, keys: AsyncGenerator[K]) -> None:
        try:
            while batch := await self._next_batch(keys):
                await self._act(self._tally, batch)
        except Exception as error:  # noqa: BLE001 - raised by run(), when what is under way has ended
            self._stopped_by = self._stopped_by or error

    async def _next_batch(self, keys: AsyncGenerator[K]) -> list[K]:
        batch: list[K] = []
        async with self._turn:
            while self._stopped_by is None and len(batch) < self._batch:
                try:
                    batch.append(await anext(keys))
                except StopAsyncIteration:
                    break
        return [] if self._stopped_by else batch


class _Deletion:
    """Keys go by the thousand; by themselves where XML cannot carry them, or the service knows no DeleteObjects."""

    def __init__(self, runtime: Runtime, bucket: str) -> None:
        self._runtime, self._bucket = runtime, bucket
        self._is_one_by_one = False

    async def delete(self, tally: Tally, batch: list[VersionedKey]) -> None:
        alone = [key for key in batch if _NOT_FOR_XML.search(key.key)]
        together = [key for key in batch if not _NOT_FOR_XML.search(key.key)] if alone else batch
        if self._is_one_by_one or "delete_objects" in self._runtime.service.unsupported:
            alone = batch
        else:
            try:
                await self._delete_together(tally, together)
            except UnsupportedByServiceError:
                self._is_one_by_one, alone = True, batch
        remaining = iter(alone)
        await in_parallel(min(BATCHES_IN_FLIGHT, len(alone)), lambda: _one_by_one(self._delete_alone, tally, remaining))

    async def _delete_together(self, tally: Tally, batch: list[VersionedKey]) -> None:
        """Keys that fail for a passing reason are tried again, as often as requests are."""
        wire, retry, attempt = self._runtime.wire, self._runtime.retry, 0
        while batch:
            attempt += 1
            outcome = await wire.delete_objects(self._bucket, list(dict.fromkeys(batch)))
            again = []
            for key in batch:
                error = outcome[key]
                if error is None:
                    tally.done += 1
                elif error.retryable and attempt < retry.attempts:
                    again.append(key)
                else:
                    tally.fail(key.key, key.version_id, error)
            batch = again
            if batch:
                await wire.sleep(backoff(retry, attempt))

    async def _delete_alone(self, key: VersionedKey) -> None:
        await self._runtime.wire.delete_object(Address(self._bucket, key.key), key.version_id)


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


async def _versioned_keys(
    bucket: str, keys: Iterable[KeySource] | AsyncIterable[KeySource]
) -> AsyncGenerator[VersionedKey]:
    if isinstance(keys, str):
        msg = "keys is one str; it must be an iterable of keys: [key]"
        raise TypeError(msg)
    if isinstance(keys, AsyncIterable):
        async for key in keys:
            yield _versioned(bucket, key)
    else:
        for key in keys:
            yield _versioned(bucket, key)


def _versioned(bucket: str, key: KeySource) -> VersionedKey:
    if isinstance(key, ObjectInfo):
        if key.bucket != bucket:
            msg = f"key {key.key!r} is of bucket {key.bucket!r}, and the verb is one of bucket {bucket!r}"
            raise ValueError(msg)
        return VersionedKey(key.key, key.version_id)
    name, version_id = key if isinstance(key, tuple) else (key, None)
    return VersionedKey(name, version_id)
