"""The lane to a service inside this process, for tests: the whole contract, and neither sockets, files nor threads.

A request goes through one door, ``MemoryWire._attempt``: it waits for its turn, meets the faults that were told, does
its work in one step, and what it is refused becomes an error by the table that every lane uses.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar, cast

from aiodreamobjects._concurrency import BytePace, Places
from aiodreamobjects._errors import (
    ConnectionFailedError,
    IncompleteBodyError,
    ServiceError,
    UnsupportedByServiceError,
)
from aiodreamobjects._models import (
    Acl,
    Address,
    BucketInfo,
    ByteRange,
    CannedAcl,
    CommonPrefix,
    ObjectAttributes,
    ObjectInfo,
    Statistics,
    UploadInfo,
)
from aiodreamobjects._progress import Gauge
from aiodreamobjects._service import Feature
from aiodreamobjects._wire.contract import (
    Buffer,
    Conditions,
    CreatedUpload,
    Cursor,
    Page,
    Part,
    Setting,
    VersionedKey,
    WriteConditions,
)
from aiodreamobjects._wire.errors import (
    Context,
    Refusal,
    error_of_key,
    failure_of,
    failure_of_refusal,
    refused_as_existing,
)
from aiodreamobjects._wire.gate import Gate, closed_meanwhile
from aiodreamobjects._wire.memory.documents import check_document, check_rules
from aiodreamobjects._wire.memory.faults import BreakConnection, Faults, LoseReply, Refuse, Request
from aiodreamobjects._wire.memory.store import (
    Bucket,
    Refused,
    Store,
    Upload,
    Version,
    acl_of,
    check_object_tags,
    refuse,
    slice_of,
    slice_to_copy,
)
from aiodreamobjects._wire.memory.values import (
    PAGE_ITEMS,
    as_stored,
    behind,
    copied_object,
    cut_page,
    listed_class,
    listed_object,
    listed_version,
    object_info,
    part_of,
    position_of,
    stored_object,
)
from aiodreamobjects._wire.retry import AttemptFailed
from aiodreamobjects._wire.signing import Signer

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

LARGEST_WITH_HEAD_BYTES = 64 << 10
"""Up to here a body comes with its head, and its place is free again at once."""
CHUNK_BYTES = 256 << 10

_EMPTY_SETTINGS: Mapping[str, object] = {"cors": [], "lifecycle": [], "tags": {}}
_SETTING_FEATURES: dict[str, Feature] = {"tags": "tagging", "website": "website", "policy": "policy"}


def _acl_feature(attributes: ObjectAttributes | None) -> Feature | None:
    return "object_acl" if attributes is not None and attributes.acl is not None else None


class MemoryWire:
    """One session's way to a ``Store``, which other sessions may share. Made on the loop that uses it."""

    def __init__(self, store: Store, faults: Faults, record: MutableSequence[Request], gate: Gate) -> None:
        self._store, self._faults, self._record, self._gate = store, faults, record, gate

    def stop(self) -> None:
        self._gate.stop()

    def moved(self) -> int:
        return self._gate.moved()

    def abandon(self) -> None:
        pass

    async def aclose(self) -> None:
        await self._gate.aclose()

    def statistics(self) -> Statistics:
        gate = self._gate
        return Statistics(
            requests=gate.sent,
            retries=gate.retrier.retries,
            bytes_sent=gate.bytes_sent,
            bytes_received=gate.bytes_received,
            open_connections=0,
            idle_connections=0,
        )

    def signer(self) -> Signer:
        return self._gate.signer()

    def now(self) -> float:
        return self._gate.now()

    async def sleep(self, seconds: float) -> None:
        await self._gate.sleep(seconds)

    async def boto_client(self) -> S3Client:
        msg = (
            "a service in memory has no aioboto3 client: use the session's own verbs, "
            "or test against a server, such as moto's"
        )
        raise UnsupportedByServiceError(msg)

    # The service and its buckets

    async def list_buckets(self) -> list[BucketInfo]:
        return await self._ask(
            Request("list_buckets"),
            lambda: [BucketInfo(name, bucket.created) for name, bucket in sorted(self._store.buckets.items())],
        )

    async def create_bucket(self, bucket: str, acl: CannedAcl | None) -> None:
        await self._ask_until_done(
            Request("create_bucket", bucket), lambda: self._store.create(bucket, acl), "BucketAlreadyOwnedByYou"
        )

    async def head_bucket(self, bucket: str) -> BucketInfo:
        region = self._gate.service.region
        return await self._ask(
            Request("head_bucket", bucket), lambda: BucketInfo(self._store.bucket(bucket).name, region=region)
        )

    async def delete_bucket(self, bucket: str) -> None:
        await self._ask_until_done(Request("delete_bucket", bucket), lambda: self._store.delete(bucket), "NoSuchBucket")

    async def get_bucket_acl(self, bucket: str) -> Acl:
        return await self._ask(Request("get_bucket_acl", bucket), lambda: self._store.bucket(bucket).acl)

    async def put_bucket_acl(self, bucket: str, acl: CannedAcl | Acl) -> None:
        def act() -> None:
            self._store.bucket(bucket).acl = acl_of(acl)

        feature: Feature | None = "acl_grants" if isinstance(acl, Acl) else None
        await self._ask(Request("put_bucket_acl", bucket), act, feature=feature)

    async def get_setting(self, bucket: str, setting: Setting[T]) -> T:
        def act() -> object:
            empty = _EMPTY_SETTINGS.get(setting.name)
            return copy.deepcopy(self._store.bucket(bucket).settings.get(setting.name, empty))

        request = Request("get_setting", bucket, setting.name)
        return cast(T, await self._ask(request, act, feature=_SETTING_FEATURES.get(setting.name)))

    async def put_setting(self, bucket: str, setting: Setting[T], value: T) -> None:
        check_document(setting.name, value)

        def act() -> None:
            settings = self._store.bucket(bucket).settings
            check_rules(setting.name, value)
            settings[setting.name] = copy.deepcopy(value)

        request = Request("put_setting", bucket, setting.name)
        await self._ask(request, act, feature=_SETTING_FEATURES.get(setting.name))

    async def delete_setting(self, bucket: str, setting: Setting[T]) -> None:
        def act() -> None:
            settings = self._store.bucket(bucket).settings
            if setting.name == "versioning":
                settings["versioning"] = "Suspended"
            else:
                settings.pop(setting.name, None)

        request = Request("delete_setting", bucket, setting.name)
        await self._ask(request, act, feature=_SETTING_FEATURES.get(setting.name))

    # Listings

    async def list_objects(
        self,
        bucket: str,
        *,
        prefix: str,
        delimiter: str = "",
        start_after: str | None = None,
        cursor: Cursor | None = None,
        max_keys: int = PAGE_ITEMS,
    ) -> Page[ObjectInfo | CommonPrefix]:
        after = cursor[0] if cursor else start_after

        def act() -> Page[ObjectInfo | CommonPrefix]:
            found, goes_on = cut_page(self._store.bucket(bucket).objects(prefix, delimiter, after), max_keys)
            items = [CommonPrefix(bucket, one) if isinstance(one, str) else listed_object(bucket, one) for one in found]
            last = [one if isinstance(one, str) else one.key for one in found[-1:]]
            return Page(items, tuple(last) if goes_on else None)

        return await self._ask(Request("list_objects", bucket, prefix), act)

    async def list_versions(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[ObjectInfo]:
        def act() -> Page[ObjectInfo]:
            kept = self._store.bucket(bucket)
            found, goes_on = cut_page(kept.versions(prefix, position_of(cursor)))
            items = [listed_version(bucket, one, is_latest=kept.is_newest(one)) for one in found]
            return Page(items, behind(found[-1]) if goes_on else None)

        return await self._ask(Request("list_versions", bucket, prefix), act)

    async def list_uploads(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[UploadInfo]:
        def act() -> Page[UploadInfo]:
            found, goes_on = cut_page(self._store.bucket(bucket).open_uploads(prefix, position_of(cursor)))
            items = [UploadInfo(bucket, one.key, one.upload_id, one.initiated, listed_class(one)) for one in found]
            return Page(items, behind(found[-1]) if goes_on else None)

        return await self._ask(Request("list_uploads", bucket, prefix), act)

    async def delete_objects(self, bucket: str, keys: Sequence[VersionedKey]) -> Mapping[VersionedKey, ServiceError]:
        request = Request("delete_objects", bucket)

        def act() -> Mapping[VersionedKey, ServiceError]:
            kept = self._store.bucket(bucket)
            if not 1 <= len(keys) <= PAGE_ITEMS:
                refuse("MalformedXML", f"1 to {PAGE_ITEMS} keys")
            outcomes = {key: self._delete_one_of_many(request, kept, key) for key in keys}
            return {key: error for key, error in outcomes.items() if error is not None}

        return await self._ask(request, act)

    def _delete_one_of_many(self, request: Request, bucket: Bucket, key: VersionedKey) -> ServiceError | None:
        if refusal := self._faults.refusal_of_key(request, key.key):
            what = f"delete {Address(bucket.name, key.key)}"
            return error_of_key(refusal.code, _TOLD, replace(self._context(request, None), what=what))
        bucket.delete(key.key, key.version_id)
        return None

    # Objects

    async def put_object(
        self,
        address: Address,
        body: Buffer,
        attributes: ObjectAttributes,
        conditions: WriteConditions,
        *,
        verify: bool = True,
        sent: Gauge | None = None,
    ) -> ObjectInfo:
        if sent is not None:
            await sent.end()
        await self._pace(self._gate.paces.sending, len(body))

        def act() -> ObjectInfo:
            bucket = self._store.bucket(address.bucket)
            acl = self._new_acl(bucket, attributes)
            kept = as_stored(attributes)
            bucket.check_write(address.key, conditions)
            stored = stored_object(address, bucket.put(address.key, bytes(body), kept, acl), attributes)
            return replace(stored, verified="md5" if verify else None)

        request = Request("put_object", address.bucket, address.key)
        info = await self._write(request, act, conditions, feature=_acl_feature(attributes))
        self._account(len(body), sent)
        return info

    async def get_object(
        self, address: Address, byte_range: ByteRange | None, conditions: Conditions, *, streamed: bool
    ) -> MemoryBody:
        gate, request = self._gate, Request("get_object", address.bucket, address.key)
        place = None if streamed else gate.requests

        def act() -> MemoryBody:
            version = self._store.bucket(address.bucket).matching(address.key, conditions)
            part = slice_of(byte_range, len(version.body))
            cut = self._faults.cut_of_body(request, part.stop - part.start)
            return MemoryBody(gate, place, object_info(address, version), version.body[part], part.start, cut)

        body = await self._ask(request, act)
        gate.bytes_received += len(body.content or b"")
        return body

    def stream(self) -> AbstractAsyncContextManager[None]:
        return self._gate.stream()

    async def head_object(self, address: Address) -> ObjectInfo:
        return await self._ask(
            Request("head_object", address.bucket, address.key), lambda: object_info(address, self._readable(address))
        )

    async def size_of_part(self, address: Address, number: int, etag: str) -> int | None:
        def act() -> int | None:
            version = self._source(address, Conditions(if_match=etag))
            return version.part_sizes[number - 1] if 0 < number <= len(version.part_sizes) else None

        return await self._ask(Request("head_object", address.bucket, address.key), act)

    async def delete_object(self, address: Address, version_id: str | None) -> None:
        await self._ask(
            Request("delete_object", address.bucket, address.key),
            lambda: self._store.bucket(address.bucket).delete(address.key, version_id),
        )

    async def get_object_acl(self, address: Address) -> Acl:
        def act() -> Acl:
            bucket = self._store.bucket(address.bucket)
            version = bucket.readable(address.key)
            return bucket.acl if "object_acl" in self._gate.service.unsupported else version.acl

        return await self._ask(Request("get_object_acl", address.bucket, address.key), act)

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        def act() -> None:
            bucket = self._store.bucket(address.bucket)
            version = bucket.readable(address.key, version_id)
            self._check_object_acl(bucket, acl)
            version.acl = acl_of(acl)

        await self._ask(Request("put_object_acl", address.bucket, address.key), act, feature="object_acl")

    async def get_object_tags(self, address: Address) -> dict[str, str]:
        request = Request("get_object_tags", address.bucket, address.key)
        return await self._ask(request, lambda: dict(self._readable(address).tags), feature="tagging")

    async def put_object_tags(self, address: Address, tags: Mapping[str, str]) -> None:
        def act() -> None:
            version = self._readable(address)
            check_object_tags(tags)
            version.tags = dict(tags)

        await self._ask(Request("put_object_tags", address.bucket, address.key), act, feature="tagging")

    async def copy_object(
        self,
        source: Address,
        to: Address,
        attributes: ObjectAttributes | None,
        conditions: WriteConditions,
        *,
        source_version: str | None = None,
        source_if_match: str | None = None,
    ) -> ObjectInfo:
        asked = Conditions(if_match=source_if_match, version_id=source_version)

        def act() -> ObjectInfo:
            copied, bucket = self._source(source, asked), self._store.bucket(to.bucket)
            if source == to and attributes is None and source_version is None:
                refuse("InvalidRequest", "a copy onto itself has to change the metadata")
            acl = self._new_acl(bucket, attributes)
            bucket.check_write(to.key, conditions)
            kept = replace(copied.attributes, storage_class=None) if attributes is None else as_stored(attributes)
            return copied_object(to, bucket.put(to.key, copied.body, kept, acl, tags=copied.tags))

        request = Request("copy_object", to.bucket, to.key)
        feature = _acl_feature(attributes)
        return await self._write(request, act, conditions, feature=feature, source_if_match=source_if_match)

    # Multipart uploads

    async def create_upload(
        self, address: Address, attributes: ObjectAttributes, on_doubt: Callable[[], None] | None = None
    ) -> CreatedUpload:
        def act() -> CreatedUpload:
            bucket = self._store.bucket(address.bucket)
            acl = self._new_acl(bucket, attributes)
            upload = bucket.create_upload(address.key, as_stored(attributes), acl)
            return CreatedUpload(upload.upload_id, upload.initiated)

        request = Request("create_upload", address.bucket, address.key)
        return await self._ask(request, act, feature=_acl_feature(attributes), on_doubt=on_doubt)

    async def put_part(
        self,
        address: Address,
        upload_id: str,
        number: int,
        body: Buffer,
        *,
        verify: bool = True,
        sent: Gauge | None = None,
    ) -> Part:
        await self._pace(self._gate.paces.sending, len(body))

        def act() -> Part:
            return part_of(self._upload(address, upload_id).put_part(number, bytes(body)))

        part = await self._ask(Request("put_part", address.bucket, address.key), act)
        self._account(len(body), sent)
        return replace(part, md5=part.etag if verify else None)

    async def copy_part(
        self,
        source: Address,
        to: Address,
        upload_id: str,
        number: int,
        byte_range: ByteRange | None,
        *,
        source_version: str | None = None,
        source_if_match: str | None = None,
    ) -> Part:
        asked = Conditions(if_match=source_if_match, version_id=source_version)

        def act() -> Part:
            upload, copied = self._upload(to, upload_id), self._source(source, asked)
            return part_of(upload.put_part(number, copied.body[slice_to_copy(byte_range, len(copied.body))]))

        return await self._ask(Request("copy_part", to.bucket, to.key), act)

    async def complete_upload(
        self, address: Address, upload_id: str, parts: Sequence[Part], conditions: WriteConditions
    ) -> ObjectInfo:
        def act() -> ObjectInfo:
            if not parts:
                refuse("MalformedXML", "at least one part is needed")
            upload = self._upload(address, upload_id)
            smallest = self._gate.service.multipart.smallest_part
            version = self._store.bucket(address.bucket).complete(upload, parts, conditions, smallest)
            return replace(copied_object(address, version), last_modified=None)

        return await self._write(Request("complete_upload", address.bucket, address.key), act, conditions)

    async def list_parts(self, address: Address, upload_id: str, cursor: Cursor | None = None) -> Page[Part]:
        last = int(cursor[0]) if cursor else 0

        def act() -> Page[Part]:
            parts = sorted(self._upload(address, upload_id).parts.items())
            found, goes_on = cut_page(part for number, part in parts if number > last)
            return Page([part_of(part) for part in found], (str(found[-1].number),) if goes_on else None)

        return await self._ask(Request("list_parts", address.bucket, address.key), act)

    async def abort_upload(self, address: Address, upload_id: str) -> None:
        def act() -> None:
            del self._store.bucket(address.bucket).uploads[self._upload(address, upload_id).upload_id]

        await self._ask(Request("abort_upload", address.bucket, address.key), act)

    async def _pace(self, pace: BytePace | None, count: int) -> None:
        if pace is not None:
            await self._gate.sleep(max(0.0, pace.spend(count)))

    def _account(self, count: int, sent: Gauge | None) -> None:
        self._gate.bytes_sent += count
        if sent is not None:
            sent.bytes = count

    # What is where

    def _readable(self, address: Address) -> Version:
        return self._store.bucket(address.bucket).readable(address.key)

    def _source(self, source: Address, asked: Conditions) -> Version:
        return self._store.bucket(source.bucket).matching(source.key, asked)

    def _upload(self, address: Address, upload_id: str) -> Upload:
        return self._store.bucket(address.bucket).upload(address.key, upload_id)

    def _new_acl(self, bucket: Bucket, attributes: ObjectAttributes | None) -> Acl:
        """The ACL of an object that is put with these."""
        if attributes is None or attributes.acl is None:
            return acl_of("private")
        self._check_object_acl(bucket, attributes.acl)
        return acl_of(attributes.acl)

    def _check_object_acl(self, bucket: Bucket, acl: CannedAcl | Acl) -> None:
        """Where objects have their bucket's ACL, they may be given that one."""
        if "object_acl" in self._gate.service.unsupported and acl != bucket.acl.canned:
            refuse("NotImplemented")

    # The one door

    async def _ask(
        self,
        request: Request,
        act: Callable[[], T],
        *,
        feature: Feature | None = None,
        is_write: bool = False,
        on_doubt: Callable[[], None] | None = None,
    ) -> T:
        run = self._gate.retrier.run
        return await run(lambda: self._attempt(request, act, feature), is_write=is_write, on_doubt=on_doubt)

    async def _write(
        self,
        request: Request,
        act: Callable[[], ObjectInfo],
        conditions: WriteConditions,
        *,
        feature: Feature | None = None,
        source_if_match: str | None = None,
    ) -> ObjectInfo:
        """``source_if_match``: what may have been refused as well as ``if_absent``."""
        is_write = request.verb == "complete_upload" or conditions.if_absent or conditions.if_match is not None
        with refused_as_existing(conditions, source_if_match=source_if_match):
            return await self._ask(request, act, feature=feature, is_write=is_write)

    async def _ask_until_done(self, request: Request, act: Callable[[], None], done_earlier: str) -> None:
        """``done_earlier``: the code by which an attempt learns that an earlier one did it, whose reply was lost."""
        may_be_done = False

        async def attempt() -> None:
            nonlocal may_be_done
            try:
                await self._attempt(request, act, None)
            except AttemptFailed as failed:
                error = failed.failure.error
                if may_be_done and isinstance(error, ServiceError) and error.code == done_earlier:
                    return
                may_be_done |= failed.failure.may_be_done
                raise

        await self._gate.retrier.run(attempt)

    async def _attempt(self, request: Request, act: Callable[[], T], feature: Feature | None) -> T:
        """One request, in its place. A body that is yet to be read keeps it."""
        gate = self._gate
        await gate.enter(gate.requests)
        decreases = gate.retrier.crowd.decreases
        keeps_place = False
        try:
            await gate.keep_pace()
            gate.leave()
            self._record.append(request)
            await self._arrive(request)
            result = self._answer(request, act, feature)
            keeps_place = isinstance(result, MemoryBody) and result.place is not None
        except ConnectionFailedError as error:
            raise AttemptFailed(failure_of(error)) from error
        except Refused as refused:
            raise AttemptFailed(
                failure_of_refusal(self._refusal(request, refused), self._context(request, feature)), decreases
            ) from None
        finally:
            if not keeps_place:
                gate.requests.give_back()
        return result

    async def _arrive(self, request: Request) -> None:
        """Let others run, as any request does, and wait as long as was told."""
        gate, delays = self._gate, self._faults.delays(request)
        try:
            with gate.waiting():
                async with asyncio.timeout(gate.timeouts.read if delays else None):
                    await asyncio.sleep(0)
                    for delay in delays:
                        await (asyncio.sleep(delay.by) if isinstance(delay.by, int | float) else delay.by.wait())
        except TimeoutError:
            msg = f"{_what(request)}: {gate.service.name} was silent for {gate.timeouts.read:g} s"
            raise ConnectionFailedError(msg) from None

    def _answer(self, request: Request, act: Callable[[], T], feature: Feature | None) -> T:
        if self._faults.strike(request, BreakConnection):
            msg = f"{_what(request)}: the connection broke, {_TOLD}"
            raise ConnectionFailedError(msg)
        if refusal := self._faults.strike(request, Refuse):
            raise Refused(refusal.code, _TOLD, refusal.status)
        is_lost = self._faults.strike(request, LoseReply) is not None
        try:
            if feature != "object_acl" and feature in self._gate.service.unsupported:
                refuse("NotImplemented")
            result = act()
        except Refused:
            if not is_lost:
                raise
        else:
            if not is_lost:
                return result
        msg = f"{_what(request)}: the connection broke before the reply, {_TOLD}"
        raise ConnectionFailedError(msg)

    def _refusal(self, request: Request, refused: Refused) -> Refusal:
        """The reply to a HEAD has no body that could hold a code, and a 304 has none either."""
        is_bodiless = request.verb in ("head_bucket", "head_object") or refused.status == HTTPStatus.NOT_MODIFIED
        code, text = ("", "") if is_bodiless else (refused.code, refused.text)
        request_id = f"memory-{self._gate.sent}"
        return Refusal(refused.status, code, text, {}, request_id, is_head=request.verb.startswith("head_"))

    def _context(self, request: Request, feature: Feature | None) -> Context:
        gate = self._gate
        return Context(_what(request), gate.service, feature, time.time(), gate.clock_offset)


_TOLD = "as the test told it to"


class MemoryBody:
    """A ResponseBody over bytes that are here already, some of which may have been told to stay away."""

    length: int | None
    content: bytes | None
    encryption: str | None = None

    def __init__(
        self, gate: Gate, place: Places | None, info: ObjectInfo, data: bytes, start: int, cut_after: int | None
    ) -> None:
        self.info, self.etag, self.size = info, info.etag, info.size
        self.start, self.length = start, len(data)
        self.is_part = len(data) != info.size
        self._gate, self._data, self._cut_after = gate, data, cut_after
        self._position = self.taken = 0
        is_small = cut_after is None and len(data) <= LARGEST_WITH_HEAD_BYTES
        self.content = data if is_small else None
        self.place = None if is_small else place
        """What it occupies until it is closed."""

    async def read_chunk(self) -> bytes:
        await asyncio.sleep(0)
        if self._gate.closed:
            raise closed_meanwhile()
        if self.content is not None:
            return b""
        if self._position == self._cut_after:
            where = Address(self.info.bucket, self.info.key)
            msg = f"{where}: the body ended after {self._position:,} of {len(self._data):,} bytes, {_TOLD}"
            raise IncompleteBodyError(msg)
        stop = len(self._data) if self._cut_after is None else self._cut_after
        chunk = self._data[self._position : min(self._position + CHUNK_BYTES, stop)]
        self._take(len(chunk))
        if self._gate.paces.receiving is not None:
            await self._gate.sleep(max(0.0, self._gate.paces.receiving.spend(len(chunk))))
        return chunk

    async def read_into(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory) and (chunk := await self.read_chunk()):
            fitting = chunk[: len(memory) - position]
            memory[position : position + len(fitting)] = fitting
            position += len(fitting)
            self._take(len(fitting) - len(chunk))
        return position

    def _take(self, count: int) -> None:
        self._position += count
        self.taken += count
        self._gate.bytes_received += count
        self._gate.bytes_streamed += count

    async def aclose(self) -> None:
        place, self.place = self.place, None
        if place is not None:
            place.give_back()


def _what(request: Request) -> str:
    """What is asked, for the words of an error."""
    if request.bucket is None:
        return request.verb
    if request.verb.endswith("_setting"):
        return f"{request.verb} {request.key} of s3://{request.bucket}"
    return f"{request.verb} s3://{request.bucket}" + (f"/{request.key}" if request.key else "")
