"""Run one verb on many keys: in batches, a bounded number at once, with an outcome for each key."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Self, TypeVar, get_args

import anyio

from aiodreamobjects._acls import Acl
from aiodreamobjects._checks import KEY_BYTES, check_key, check_one_of, check_token
from aiodreamobjects._concurrency import close_generator, in_parallel, is_foreign, pull
from aiodreamobjects._encryption import SseCustomer
from aiodreamobjects._errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BucketNotEmptyError,
    CredentialsError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    SessionClosedError,
    TransferError,
    UnsupportedByServiceError,
    forget_frames,
)
from aiodreamobjects._later import Later
from aiodreamobjects._listing.pages import Listing, list_objects, list_uploads, list_versions
from aiodreamobjects._models import Address, CannedAcl, ObjectInfo, UploadInfo, check_canned_acl
from aiodreamobjects._remote.engine import Engine, PoolBrokenError
from aiodreamobjects._remote.spread import ALL_HERE, Spread
from aiodreamobjects._reports import BulkError, BulkFailure, BulkReport
from aiodreamobjects._runtime import HOSTED, Runtime
from aiodreamobjects._s3.errors import is_unanswered
from aiodreamobjects._s3.options import ReadOptions
from aiodreamobjects._s3.retry import backoff
from aiodreamobjects._s3.values import VersionedKey

if TYPE_CHECKING:
    from aiodreamobjects._transfer import copy as copies
    from aiodreamobjects._transfer.copy import Changes
else:
    copies = Later("aiodreamobjects._transfer.copy")


class Place(NamedTuple):
    """Where an object is, and the version of it that is meant."""

    runtime: Runtime
    address: Address
    version_id: str | None = None


class Pair(NamedTuple):
    """An object to copy, and the key of the copy."""

    source: Place
    key: str


K = TypeVar("K", bound=VersionedKey | UploadInfo | Pair)
S = TypeVar("S")
T = TypeVar("T")

KeySource = str | ObjectInfo | tuple[str, str | None]
OnError = Literal["raise", "collect"]

BATCH_KEYS = 1000
"""The limit of DeleteObjects (S3 API reference)."""
BATCHES_IN_FLIGHT = 8
FAILURES_KEPT = 1000
EMPTYING_ROUNDS = 3
DEEPEST_DIRECTORIES = 32
"""How many levels of empty directories to delete on a gateway to a file system. Each round deletes one level."""

_log = logging.getLogger("aiodreamobjects")

# Characters that XML 1.0 cannot carry, and the carriage return, which parsers turn into a line feed. Keys with them go
# one by one.
_NOT_FOR_XML = "[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


async def delete_many(
    runtime: Runtime,
    bucket: str,
    keys: Iterable[KeySource] | AsyncIterable[KeySource],
    on_error: OnError,
    spread: Spread = ALL_HERE,
    *,
    bypasses: bool = False,
) -> BulkReport:
    """``bypasses``: also delete versions under a GOVERNANCE retention."""
    refuse_one_str(keys)
    bulk = _deleting(runtime, bucket, bypasses=bypasses, spread=spread)
    return await bulk.run(Source(keys), partial(versioned_keys, bucket), on_error)


async def delete_pages(
    runtime: Runtime, bucket: str, pages: AsyncGenerator[list[VersionedKey], None], tally: Tally
) -> None:
    """Delete pages of keys. Count each outcome in ``tally``, also if the deletion is interrupted."""
    await _deleting(runtime, bucket, tally=tally).run(Source.of_pages(pages), list, "collect")


def _deleting(
    runtime: Runtime, bucket: str, *, bypasses: bool = False, tally: Tally | None = None, spread: Spread = ALL_HERE
) -> _Bulk[VersionedKey]:
    act = _Deletion(runtime, bucket, bypasses=bypasses).delete
    what, verb = f"keys of s3://{bucket}", "delete_many"
    return _Bulk(runtime, what, "deleted", act, verb=verb, bucket=bucket, batch=BATCH_KEYS, tally=tally, spread=spread)


async def set_acl_many(
    runtime: Runtime,
    bucket: str,
    keys: Iterable[KeySource] | AsyncIterable[KeySource],
    acl: CannedAcl | Acl,
    on_error: OnError,
    spread: Spread,
) -> BulkReport:
    refuse_one_str(keys)
    if not isinstance(acl, Acl):
        check_canned_acl(acl)
    act = partial(_one_by_one, partial(_set_acl, runtime, bucket, acl))
    bulk = _Bulk(
        runtime,
        f"keys of s3://{bucket}",
        "given the ACL",
        act,
        verb="set_acl_many",
        bucket=bucket,
        batch=1,
        spread=spread,
        details=repr(acl),
    )
    return await bulk.run(Source(keys), partial(versioned_keys, bucket), on_error)


async def copy_many(
    runtime: Runtime,
    bucket: str,
    pairs: Iterable[tuple[S, str]] | AsyncIterable[tuple[S, str]],
    place_of: Callable[[S], Place],
    changes: Changes,
    encryption: SseCustomer | None,
    on_error: OnError,
    spread: Spread,
) -> BulkReport:
    """``place_of`` returns where a source is, or raises an error for what is no source."""

    def read(pairs: list[tuple[S, str]]) -> list[Pair]:
        return [_pair_of(runtime, bucket, pair, place_of, changes) for pair in pairs]

    runtime.require_open()
    began = datetime.fromtimestamp(int(runtime.s3.now()), UTC)
    act = partial(_one_by_one, partial(_copy_one, runtime, bucket, changes, encryption, began))
    details = changes.details
    bulk = _Bulk(
        runtime,
        f"keys of s3://{bucket}",
        "copied",
        act,
        verb="copy_many",
        bucket=bucket,
        batch=1,
        spread=spread,
        details=details,
    )
    return await bulk.run(Source(pairs), read, on_error)


async def set_headers_many(
    runtime: Runtime,
    bucket: str,
    keys: Iterable[KeySource] | AsyncIterable[KeySource],
    changes: Changes,
    encryption: SseCustomer | None,
    on_error: OnError,
    spread: Spread,
) -> BulkReport:
    refuse_one_str(keys)
    reads = ReadOptions(encryption=encryption)

    def read(keys: list[KeySource]) -> list[VersionedKey]:
        for key in keys:
            _refuse_old_version(key)
        return versioned_keys(bucket, keys)

    act = partial(_one_by_one, partial(_set_headers, runtime, bucket, changes, reads))
    details = changes.details
    bulk = _Bulk(
        runtime,
        f"keys of s3://{bucket}",
        "changed",
        act,
        verb="set_headers_many",
        bucket=bucket,
        batch=1,
        spread=spread,
        details=details,
    )
    return await bulk.run(Source(keys), read, on_error)


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
                    raise  # otherwise someone else completed or aborted it meanwhile

    act = partial(_one_by_one, abort)
    bulk = _Bulk(runtime, f"uploads of s3://{bucket}", "aborted", act, verb="abort_uploads", bucket=bucket, batch=1)
    return await bulk.run(Source.of_pages(found()), list, on_error)


async def empty(runtime: Runtime, bucket: str, spread: Spread, *, bypasses: bool) -> BulkReport:
    """Delete every version and every delete marker; every object, if the service lists no versions."""
    try:
        versions = list_versions(runtime, bucket, "")
        report = await delete_many(runtime, bucket, versions, "raise", spread, bypasses=bypasses)
    except ServiceError as error:
        if not _is_lacking(error):
            raise
        report = BulkReport(0, 0, ())
    if runtime.service.is_known:
        return report
    # Some gateways know no versions, and some list none (rclone): delete their objects by key. If versions were deleted,
    # delete only keys that end with "/": a gateway to a file system makes them of empty directories. Deleting any other key
    # without its version would leave a marker.
    for _ in range(DEEPEST_DIRECTORIES):
        end, listed = "/" if report.done else "", list_objects(runtime, bucket, "", None, None)
        left = await delete_many(
            runtime, bucket, (info.key async for info in listed if info.key.endswith(end)), "raise", spread
        )
        if not left.done:
            break
        report = report if report.done else left
    return report


async def delete_bucket_and_content(runtime: Runtime, bucket: str, spread: Spread, *, bypasses: bool) -> None:
    """Delete a bucket and its content. Abort open uploads first: one that completes becomes a version. Repeat if someone put more."""
    for round_number in range(1, EMPTYING_ROUNDS + 1):
        try:
            uploads = await abort_uploads(runtime, bucket, "", timedelta(0), "collect", dry_run=False)
        except ServiceError as error:
            if not _is_lacking(error):
                raise
            _log.info("cannot list the open uploads of s3://%s, so none is aborted: %s", bucket, error)
        else:
            if uploads.failed:
                raise uploads.failures[0].error
        await empty(runtime, bucket, spread, bypasses=bypasses)
        try:
            await runtime.s3.delete_bucket(bucket)
        except BucketNotEmptyError:
            if round_number == EMPTYING_ROUNDS:
                raise
        else:
            return


def _is_lacking(error: ServiceError) -> bool:
    """Return whether the service lacks this request. Some services answer 404 to a request that they do not know."""
    is_unknown = isinstance(error, NotFoundError) and error.code != "NoSuchBucket"
    return is_unknown or isinstance(error, UnsupportedByServiceError)


class Tally:
    """The counts of successes and failures, and the first 1,000 failures."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self.failures: list[BulkFailure] = []

    def fail(self, key: str, version_id: str | None, error: Exception) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            forget_frames(error)
            self.failures.append(BulkFailure(key, version_id, error))

    def add(self, other: Tally) -> None:
        """Add the failures of another tally, but not its successes: these are of another kind."""
        self.failed += other.failed
        self.failures = [*self.failures, *other.failures][:FAILURES_KEPT]


class _Bulk(Generic[K]):
    """Workers that pull batches from one source, and count the outcome of each key.

    ``act`` handles one batch. It adds to the tally how many keys are done and which failed. It raises errors that would
    fail all later batches too.
    """

    def __init__(
        self,
        runtime: Runtime,
        what: str,
        done: str,
        act: Callable[[Tally, list[K]], Awaitable[None]],
        *,
        verb: str = "",
        bucket: str = "",
        batch: int,
        tally: Tally | None = None,
        spread: Spread = ALL_HERE,
        details: str = "",
    ) -> None:
        """``details``: what tells this call from others that do the same with other options, for a journal."""
        runtime.require_open()
        self._runtime = runtime
        self._what, self._done = what, done
        self._verb, self._bucket = verb, bucket
        self._act, self._batch = act, batch
        self._width = min(BATCHES_IN_FLIGHT if batch > 1 else runtime.limits.requests, runtime.limits.requests)
        self._reading = anyio.CancelScope()
        self._stopped_by: BaseException | None = None
        self._tally = tally or Tally()
        self._spread, self._engine = spread, None
        if spread.is_in_batches:
            chore = _Share(runtime, what, done, act, batch)
            call = f"{done} {what}, {spread.slice or 'all'}{details and ', '}{details}"
            self._engine = Engine[K, Tally](spread, chore, call, _key_of, self._merge, _packed)
            self._batch = spread.batch

    async def run(self, source: Source[T], read: Callable[[list[T]], list[K]], on_error: OnError) -> BulkReport:
        """Run to the end of the source. Raise errors of the source and of whole requests after the batches in flight have ended."""
        check_one_of("on_error", on_error, get_args(OnError))
        tally = self._tally
        try:
            await self.go(source, read)
        except PoolBrokenError as broken:
            report = self._report()
            msg = f"the workers are gone: {broken}. Of {self._what}, {tally.done:,} were {self._done}, {tally.failed:,} failed, and of "
            msg += f"{report.unfinished:,} it is not known: call again for these"
            raise BulkError(msg, [broken.error], report) from None
        except BaseException as error:
            note = f"{tally.done:,} {self._what} were {self._done}, {tally.failed:,} failed"
            if self._engine is not None and self._engine.unfinished:
                note += f"; of {self._engine.unfinished:,} more it is not known"
            error.add_note(note)
            raise
        report = self._report()
        if report.failed and on_error == "raise":
            msg = f"{tally.failed:,} of {tally.done + tally.failed:,} {self._what} could not be {self._done}"
            msg += f"; the first: {report.failures[0].error}"
            raise BulkError(msg, [failure.error for failure in report.failures], report)
        return report

    async def go(self, source: Source[T], read: Callable[[list[T]], list[K]]) -> None:
        """Run to the end of the source, and raise errors as ``run`` does, without a note."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(source))
            width = self._width
            if self._engine is not None:
                width = (await stack.enter_async_context(self._engine)).width
            await stack.enter_async_context(self._runtime.job(self._verb, self._bucket, is_of_many=True))
            await pull(width, partial(self._next_batch, source, read), self._do)
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _next_batch(self, source: Source[T], read: Callable[[list[T]], list[K]]) -> list[K] | None:
        keys: list[K] = []
        with self._stopping_all():
            while self._stopped_by is None and len(keys) < self._batch:
                batch: list[T] = []
                with anyio.CancelScope() as self._reading:
                    batch = await source.take(self._batch - len(keys))
                if self._stopped_by is not None:
                    return None
                if not batch:
                    break
                keys += self._ours(read(batch))
        return keys if keys and self._stopped_by is None else None

    def _ours(self, keys: list[K]) -> list[K]:
        """Return those that are in the share of this call, and that the journal does not have."""
        if self._spread.slice is not None:
            keys = [key for key in keys if self._spread.takes(_key_of(key))]
        return keys if self._engine is None else self._engine.left(keys)

    async def _do(self, batch: list[K]) -> None:
        with self._stopping_all():
            if self._engine is not None:
                await self._engine.do(batch)
            else:
                await self._act(self._tally, batch)

    def _merge(self, tally: Tally) -> bool:
        self._tally.done += tally.done
        self._tally.add(tally)
        return not tally.failed

    def _report(self) -> BulkReport:
        tally, engine = self._tally, self._engine
        report = BulkReport(tally.done, tally.failed, tuple(tally.failures))
        return report if engine is None else replace(report, **engine.figures)

    @contextmanager
    def _stopping_all(self) -> Iterator[None]:
        """Keep an error for ``_run``, which raises it after the batches in flight. Start no other batch."""
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, Exception) or is_foreign(error)):
                raise
            self._stopped_by = self._stopped_by or error
            self._reading.cancel()


@dataclass(frozen=True, slots=True)
class _Share(Generic[K]):
    """What a worker does with a batch of keys: the same verb."""

    runtime: Runtime
    what: str
    done: str
    act: Callable[[Tally, list[K]], Awaitable[None]]
    batch: int

    async def __call__(self, given: tuple[list[object], None]) -> tuple[Tally, Exception | None]:
        tally = Tally()
        bulk = _Bulk(self.runtime, self.what, self.done, self.act, batch=self.batch, tally=tally)
        try:
            await bulk.go(Source(given[0]), _unpacked)
        except Exception as error:  # noqa: BLE001 - the coordinator raises it
            return tally, error
        return tally, None


def _packed(keys: Sequence[VersionedKey | UploadInfo | Pair]) -> list[object]:
    return [
        key if not isinstance(key, VersionedKey) else key.key if key.version_id is None else tuple(key) for key in keys
    ]


def _unpacked(keys: list[Any]) -> list[Any]:
    return [
        VersionedKey(key) if isinstance(key, str) else key if isinstance(key, Pair) else VersionedKey(*key)
        for key in keys
    ]


def _key_of(key: VersionedKey | UploadInfo | Pair) -> str:
    return key.source.address.key if isinstance(key, Pair) else key.key


async def _set_acl(runtime: Runtime, bucket: str, acl: CannedAcl | Acl, key: VersionedKey) -> None:
    await runtime.s3.put_object_acl(Address(bucket, key.key), acl, key.version_id)


async def _copy_one(
    runtime: Runtime, bucket: str, changes: Changes, encryption: SseCustomer | None, began: datetime, pair: Pair
) -> None:
    source, address, version_id = pair.source
    target = Address(bucket, pair.key)
    reads = ReadOptions(version_id=version_id, encryption=encryption)
    try:
        await copies.copy((source, address), (runtime, target), changes, None, reads)
    except (AlreadyExistsError, PreconditionFailedError):
        if HOSTED.get() is None:
            raise
        # A worker that died may have copied it before the batch was sent again. The ETag and the time tell.
        etag = (await source.s3.head_object(address, reads)).etag
        stored = await runtime.s3.head_object(target, changes.options.reads)
        is_new = stored.last_modified is not None and stored.last_modified >= began
        if not is_new or etag is None or stored.etag != etag:
            raise


async def _set_headers(runtime: Runtime, bucket: str, changes: Changes, reads: ReadOptions, key: VersionedKey) -> None:
    place = runtime, Address(bucket, key.key)
    await copies.copy(place, place, changes, None, reads)


class Source(Generic[T]):
    """Items of an iterable, an async iterable or a listing, read only when needed."""

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
        """Return this many items; fewer only at the end."""
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
    """Delete keys 1,000 per request; one by one if XML cannot carry them, or the service lacks DeleteObjects."""

    def __init__(self, runtime: Runtime, bucket: str, *, bypasses: bool = False) -> None:
        self._runtime, self._bucket, self._bypasses = runtime, bucket, bypasses
        self._is_one_by_one = False

    async def delete(self, tally: Tally, batch: list[VersionedKey]) -> None:
        alone, together = [], batch
        if re.search(_NOT_FOR_XML, "".join([key for key, _ in batch])):
            alone = [key for key in batch if re.search(_NOT_FOR_XML, key.key)]
            together = [key for key in batch if not re.search(_NOT_FOR_XML, key.key)]
        if self._is_one_by_one or "delete_objects" in self._runtime.service.unsupported:
            alone = batch
        else:
            alone += await self._delete_together(tally, together)
        remaining = iter(alone)
        await in_parallel(min(BATCHES_IN_FLIGHT, len(alone)), lambda: _one_by_one(self._delete_alone, tally, remaining))

    async def _delete_together(self, tally: Tally, batch: list[VersionedKey]) -> list[VersionedKey]:
        """Delete a batch with one request. Return the keys that must go one by one.

        Keys that fail for a temporary reason are retried, up to ``Retry.attempts``. Keys that the reply does not mention must
        go one by one. If it mentions none, all later keys go one by one too. So must versions that may be locked: only then
        is it found out.
        """
        s3, retry, attempt = self._runtime.s3, self._runtime.retry, 0
        alone: list[VersionedKey] = []
        while batch:
            attempt += 1
            try:
                keys = list(dict.fromkeys(batch))
                failures = await s3.delete_objects(self._bucket, keys, bypasses=self._bypasses)
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
                elif (
                    isinstance(error, AccessDeniedError)
                    and key.version_id
                    and tally.failed + len(alone) < FAILURES_KEPT
                ):
                    alone.append(key)
                elif not is_unanswered(error):
                    tally.fail(key.key, key.version_id, error)
            if batch:
                await s3.sleep(backoff(retry, attempt))
        return alone

    async def _delete_alone(self, key: VersionedKey) -> None:
        await self._runtime.s3.delete_object(Address(self._bucket, key.key), key.version_id, bypasses=self._bypasses)


async def _one_by_one(act: Callable[[K], Awaitable[None]], tally: Tally, keys: Iterable[K]) -> None:
    for key in keys:
        try:
            await act(key)
            tally.done += 1
        except (ServiceError, TransferError) as error:
            if fails_all(error):
                raise
            tally.fail(key.key, key.version_id if isinstance(key, VersionedKey) else None, error)


def fails_all(error: BaseException) -> bool:
    """Return whether this error of one request would fail every other request."""
    if isinstance(error, ServiceError):
        return error.code in _FAIL_ALL
    return isinstance(error, CredentialsError | SessionClosedError)


_FAIL_ALL = {
    *("NoSuchBucket", "AllAccessDisabled", "AccountProblem"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"),
}


def refuse_one_str(keys: object) -> None:
    if isinstance(keys, str):
        msg = "keys is one str; give an iterable of keys, such as [key]"
        raise TypeError(msg)


def versioned_keys(bucket: str, keys: list[KeySource]) -> list[VersionedKey]:
    found = [VersionedKey(key) if isinstance(key, str) else _versioned(bucket, key) for key in keys]
    if not _are_plain(keys):
        for key, version_id in found:
            check_key(key)
            check_token("version_id", version_id)
    return found


def _are_plain(keys: list[KeySource]) -> bool:
    """Return whether all are ASCII and have a valid length. For 1,000 keys this takes as long as one full check."""
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
            msg = f"{key!r} is not a key: give a str, an ObjectInfo or a tuple (key, version_id)"
            raise TypeError(msg)
        return VersionedKey(*key)
    if key.bucket != bucket:
        msg = f"key {key.key!r} is of bucket {key.bucket!r}, but this call is for bucket {bucket!r}: call session.bucket({key.bucket!r})"
        raise ValueError(msg)
    return VersionedKey(key.key, key.version_id)


def _pair_of(
    runtime: Runtime,
    bucket: str,
    pair: tuple[S, str],
    place_of: Callable[[S], Place],
    changes: Changes,
) -> Pair:
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004 - a pair
        msg = f"{pair!r} is not a pair: give (source, key), where source is a key, an ObjectInfo or an Object"
        raise TypeError(msg)
    source, target = place_of(pair[0]), Address(bucket, pair[1])
    if source == Place(runtime, target) and not changes.has_effect:
        msg = f"a copy of {target} onto itself must change something, such as its metadata"
        raise ValueError(msg)
    return Pair(source, target.key)


def _refuse_old_version(key: KeySource) -> None:
    """Refuse to change the headers of a version that may not be the newest. S3 would make it the newest."""
    is_old = isinstance(key, ObjectInfo) and (key.is_latest is False or key.is_delete_marker)
    if is_old or (isinstance(key, tuple) and len(key) == 2 and key[1] is not None):  # noqa: PLR2004 - a pair
        name = key.key if isinstance(key, ObjectInfo) else key[0]
        msg = f"key {name!r} comes with an older version: only the headers of the newest one can be changed. Give the key alone"
        raise ValueError(msg)
