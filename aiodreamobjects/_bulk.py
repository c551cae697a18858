"""One verb over many keys: bounded, batched, one outcome each."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Literal, get_args

import anyio

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._concurrency import in_parallel
from aiodreamobjects._errors import BucketNotEmptyError, BulkError, NotFoundError, ServiceError
from aiodreamobjects._listing.pages import list_uploads, list_versions
from aiodreamobjects._models import Address, BulkFailure, BulkReport, ObjectInfo, UploadInfo
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._wire.contract import VersionedKey
from aiodreamobjects._wire.retry import backoff

KeySource = str | ObjectInfo | tuple[str, str | None]
OnError = Literal["raise", "collect"]

BATCH_KEYS = 1000
"""DeleteObjects takes no more (S3 API reference)."""
REQUESTS_IN_FLIGHT = 8
FAILURES_KEPT = 1000
EMPTYING_ROUNDS = 3

# What XML 1.0 cannot carry, and the carriage return, which parsers turn into a line feed: such keys go one by one.
_NOT_FOR_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


async def delete_many(
    runtime: Runtime,
    bucket: str,
    keys: Iterable[KeySource] | AsyncIterable[KeySource],
    on_error: OnError,
) -> BulkReport:
    check_one_of("on_error", on_error, get_args(OnError))
    runtime.require_open()
    report = await _Deletion(runtime, bucket).run(_versioned_keys(bucket, keys))
    if report.failed and on_error == "raise":
        msg = f"{report.failed:,} of {report.done + report.failed:,} keys of s3://{bucket} could not be deleted"
        raise BulkError(msg, [failure.error for failure in report.failures], report)
    return report


async def empty(runtime: Runtime, bucket: str) -> BulkReport:
    """Delete every version and every delete marker."""

    async def everything() -> AsyncIterator[KeySource]:
        async for info in list_versions(runtime, bucket, ""):
            yield info

    return await delete_many(runtime, bucket, everything(), "raise")


async def delete_bucket_and_content(runtime: Runtime, bucket: str) -> None:
    """Open uploads first: one that completes meanwhile becomes a version. Then again, if someone put more."""
    for round_number in range(1, EMPTYING_ROUNDS + 1):
        await _abort_all_uploads(runtime, bucket)
        await empty(runtime, bucket)
        try:
            await runtime.wire.delete_bucket(bucket)
        except BucketNotEmptyError:
            if round_number == EMPTYING_ROUNDS:
                raise
        else:
            return


async def _abort_all_uploads(runtime: Runtime, bucket: str) -> None:
    async for page in list_uploads(runtime, bucket, "").pages():
        await in_parallel(REQUESTS_IN_FLIGHT, partial(_abort_some, runtime, iter(page)))


async def _abort_some(runtime: Runtime, uploads: Iterator[UploadInfo]) -> None:
    for upload in uploads:
        with suppress(NotFoundError):  # completed or aborted by someone else meanwhile
            await runtime.wire.abort_upload(Address(upload.bucket, upload.key), upload.upload_id)


class _Deletion:
    """Workers pull batches from one source; what becomes of each key is counted."""

    def __init__(self, runtime: Runtime, bucket: str) -> None:
        self._runtime, self._bucket = runtime, bucket
        self._turn = anyio.Lock()
        self._stopped_by: Exception | None = None
        self._done = self._failed = 0
        self._failures: list[BulkFailure] = []

    async def run(self, keys: AsyncGenerator[VersionedKey]) -> BulkReport:
        """Raises what the source raises and what fails whole requests, once the batches in flight have ended."""
        async with aclosing(keys), anyio.create_task_group() as group:
            for _ in range(min(REQUESTS_IN_FLIGHT, self._runtime.limits.requests)):
                group.start_soon(self._work, keys)
        if self._stopped_by is not None:
            self._stopped_by.add_note(
                f"{self._done:,} keys of s3://{self._bucket} were deleted, {self._failed:,} failed"
            )
            raise self._stopped_by
        return BulkReport(self._done, self._failed, tuple(self._failures))

    async def _work(self, keys: AsyncGenerator[VersionedKey]) -> None:
        try:
            while batch := await self._next_batch(keys):
                await self._delete(batch)
        except Exception as error:  # noqa: BLE001 - raised by run(), as one error and not as a group
            self._stopped_by = self._stopped_by or error

    async def _next_batch(self, keys: AsyncGenerator[VersionedKey]) -> list[VersionedKey]:
        batch: list[VersionedKey] = []
        async with self._turn:
            while self._stopped_by is None and len(batch) < BATCH_KEYS:
                try:
                    batch.append(await anext(keys))
                except StopAsyncIteration:
                    break
        return [] if self._stopped_by else batch

    async def _delete(self, batch: list[VersionedKey]) -> None:
        """Keys that fail for a passing reason are tried again, as often as requests are."""
        retry = self._runtime.retry
        for attempt in range(1, retry.attempts + 1):
            outcome = await self._request(batch)
            again = [key for key in batch if (error := outcome[key]) and error.retryable and attempt < retry.attempts]
            self._count(batch, outcome, set(again))
            if not again:
                return
            batch = again
            await self._runtime.wire.sleep(backoff(retry, attempt))

    async def _request(self, batch: list[VersionedKey]) -> dict[VersionedKey, ServiceError | None]:
        alone = {key for key in batch if _NOT_FOR_XML.search(key.key)}
        together = [key for key in dict.fromkeys(batch) if key not in alone]
        outcome: dict[VersionedKey, ServiceError | None] = {}
        if together:
            outcome |= await self._runtime.wire.delete_objects(self._bucket, together)
        for key in alone:
            try:
                await self._runtime.wire.delete_object(Address(self._bucket, key.key), key.version_id)
                outcome[key] = None
            except ServiceError as error:
                if error.code == "NoSuchBucket":
                    raise
                outcome[key] = error
        return outcome

    def _count(
        self,
        batch: list[VersionedKey],
        outcome: dict[VersionedKey, ServiceError | None],
        again: set[VersionedKey],
    ) -> None:
        for key in batch:
            if key in again:
                continue
            if (error := outcome[key]) is None:
                self._done += 1
                continue
            self._failed += 1
            if len(self._failures) < FAILURES_KEPT:
                self._failures.append(BulkFailure(key.key, key.version_id, error))


async def _versioned_keys(
    bucket: str, keys: Iterable[KeySource] | AsyncIterable[KeySource]
) -> AsyncGenerator[VersionedKey]:
    if isinstance(keys, str):
        msg = "keys is one str; delete_many takes an iterable of keys: [key]"
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
            msg = f"key {key.key!r} is of bucket {key.bucket!r}, and {bucket!r} is to be deleted from"
            raise ValueError(msg)
        return VersionedKey(key.key, key.version_id)
    name, version_id = key if isinstance(key, tuple) else (key, None)
    return VersionedKey(name, version_id)
