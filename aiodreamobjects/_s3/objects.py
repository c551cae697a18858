"""Requests about one object, and the object's body as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiodreamobjects._checksums import Told, can_compute
from aiodreamobjects._encryption import SseCustomer
from aiodreamobjects._errors import (
    AccessDeniedError,
    ChecksumMismatchError,
    DreamObjectsError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    UnsupportedByServiceError,
)
from aiodreamobjects._http.transport import Buffer, Response
from aiodreamobjects._later import Later
from aiodreamobjects._limits import Places
from aiodreamobjects._models import Address, ByteRange, CannedAcl, ObjectInfo, Verified
from aiodreamobjects._progress import Gauge
from aiodreamobjects._s3 import replies, xml
from aiodreamobjects._s3.call import Call, Caller
from aiodreamobjects._s3.errors import locked, refused_as_existing, wrong_key
from aiodreamobjects._s3.gate import Gate
from aiodreamobjects._s3.options import ANY, BYPASS, NOTHING, ReadOptions, WriteOptions, iso_of
from aiodreamobjects._s3.replies import Headers

if TYPE_CHECKING:
    from aiodreamobjects import _acls as acls
    from aiodreamobjects._acls import Acl
    from aiodreamobjects._bucket_settings import Retention
    from aiodreamobjects._s3 import settings
else:
    acls, settings = Later("aiodreamobjects._acls"), Later("aiodreamobjects._s3.settings")


class Objects:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get_object(
        self, address: Address, byte_range: ByteRange | None, options: ReadOptions, *, streamed: bool
    ) -> ObjectBody:
        """Return the object's body. The caller must close it.

        A ``streamed`` body may stay open during other requests: the caller holds a place by ``stream()`` for it. Any other
        body keeps the place of its request.
        """
        if options.encryption is not None:
            self._caller.require_encryption(options.encryption)
        headers = options.sent()
        if byte_range is not None:
            headers = {**headers, "range": str(byte_range)}
        caller = self._caller
        if caller.gate.service.keeps_checksums and byte_range is None and options.verify == "auto":
            headers = {**headers, **_CHECKSUM_MODE}
        call = Call("get_object", "GET", address.bucket, address.key, caller.object, options.query(), headers)
        call.keeps_place = not streamed
        try:
            response = await caller.send(call)
        except AccessDeniedError as error:
            await self._explain_denied(address, options, error)
            raise
        body = ObjectBody.of(caller.gate, address, response, keeps_place=not streamed)
        if body.told is not None:
            await body.forget_impossible_checksum()
        return body

    def stream(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for a streamed body, also while its connection breaks and the rest is asked for."""
        return self._caller.gate.stream()

    async def checksum_of(self, address: Address, options: ReadOptions) -> Told | None:
        """Return the object's checksum, if the service tells one that can be computed here."""
        call = Call("head_object", "HEAD", address.bucket, address.key, self._caller.head, options.query())
        call.headers = {**options.sent(), **_CHECKSUM_MODE}
        told = replies.checksum_of((await self._caller.send(call)).headers, self._caller.gate.service)
        return told if told is not None and await can_compute(told.algorithm) else None

    async def head_object(
        self, address: Address, options: ReadOptions = ANY, *, may_be_missing: bool = False
    ) -> ObjectInfo:
        """Raise NotFoundError if there is no such object. With ``may_be_missing``, the observer sees a call without an error."""
        return replies.object_info(address, await self.headers_of(address, options, may_be_missing=may_be_missing))

    async def headers_of(
        self, address: Address, options: ReadOptions = ANY, *, may_be_missing: bool = False
    ) -> Headers:
        """Return the headers of a HEAD, byte for byte."""
        if options.encryption is not None:
            self._caller.require_encryption(options.encryption)
        query, headers = options.query(), options.sent()
        call = Call("head_object", "HEAD", address.bucket, address.key, self._caller.head, query, headers)
        call.may_be_missing = may_be_missing
        try:
            return (await self._caller.send(call)).headers
        except InvalidRequestError as error:
            if error.status == HTTPStatus.BAD_REQUEST:
                await self._explain(address, options)
            raise
        except AccessDeniedError as error:
            await self._explain_denied(address, options, error)
            raise

    async def _explain(self, address: Address, options: ReadOptions) -> None:
        """Read a byte, whose refusal says in words what a HEAD, without a body, cannot: mostly that a key is missing."""
        for byte_range in (ByteRange(0, 1), None):
            try:
                await (await self.get_object(address, byte_range, options, streamed=False)).aclose()
            except NotFoundError:
                return
            except InvalidRequestError as error:
                if byte_range is not None and error.code == "InvalidRange":  # it is empty
                    continue
                raise
            return

    async def _explain_denied(self, address: Address, options: ReadOptions, error: AccessDeniedError) -> None:
        """Raise EncryptionKeyError if the key is why access was denied, as Amazon says of a wrong one.

        Then the service does let us ask, since it answers a HEAD without a key that a key is missing.
        """
        if options.encryption is None:
            return
        call = Call("head_object", "HEAD", address.bucket, address.key, self._caller.head, options.query())
        try:
            await self._caller.send(call)
        except InvalidRequestError as missing:
            if missing.status == HTTPStatus.BAD_REQUEST:
                raise wrong_key(error) from error
        except DreamObjectsError:
            return

    async def size_of_part(self, address: Address, number: int, options: ReadOptions) -> int | None:
        """Return the size of one part of the object with the ETag that ``options`` pin. None if the service does not say.

        Ceph RGW 16.2 ignores ``partNumber``. moto 5.2 compares the condition with the ETag of the part, so a refusal says nothing of
        the object: look at the object itself, and ask again without a condition. Raises PreconditionFailedError if it has changed.
        """
        try:
            response = await self._head_part(address, number, options)
        except PreconditionFailedError:
            await self.headers_of(address, options)
            response = await self._head_part(address, number, options.pinned(None))
        return replies.length(response.headers) if b"x-amz-mp-parts-count" in response.headers else None

    async def _head_part(self, address: Address, number: int, options: ReadOptions) -> Response:
        query = {"partNumber": str(number), **options.query()}
        call = Call("head_object", "HEAD", address.bucket, address.key, self._caller.head, query, options.sent())
        return await self._caller.send(call)

    async def delete_object(self, address: Address, version_id: str | None, *, bypasses: bool = False) -> None:
        """Delete an object or a version. A missing one is a success, also where the service answers 404 (Google's does)."""
        query = {"versionId": version_id} if version_id else NOTHING
        call = Call("delete_object", "DELETE", address.bucket, address.key, self._caller.document, query)
        call.headers, call.may_be_missing = BYPASS if bypasses else NOTHING, True
        try:
            await self._caller.send(call)
        except AccessDeniedError as error:
            if version_id is not None:
                await self._explain_lock(address, version_id, error)
            raise
        except NotFoundError as error:
            if error.code == "NoSuchBucket":
                raise

    async def put_object(
        self,
        address: Address,
        body: Buffer,
        options: WriteOptions,
        *,
        sent: Gauge | None = None,
    ) -> ObjectInfo:
        """Store an object. ``verify="off"`` computes no MD5. ``sent`` counts the bytes of the body that have left.

        Raises AlreadyExistsError if there is an object and ``if_absent``. Raises ChecksumMismatchError if the ETag is not
        the MD5 of the body.
        """
        caller = self._caller
        call = Call("put_object", "PUT", address.bucket, address.key, caller.document, NOTHING, options.put_headers())
        call.feature = options.feature
        call.is_conditional = options.is_conditional
        call.sent = sent
        # S3 demands a digest of each PUT with a lock (S3 user guide, "Object Lock").
        verify = options.verify == "auto" or options.has_lock
        digest = await caller.fill(call, body, verify=verify, checksum=options.checksum)
        with refused_as_existing(options):
            response = await caller.send(call)
        gate = caller.gate
        gate.bytes_sent += len(body)
        etag = replies.etag_of_stored(response.headers)
        verified: Verified | None = None
        if options.encryption is not None:
            await self._require_encrypted(address, options, response.headers)
            # The ETag of what a customer's key encrypted proves nothing. The service took as many bytes as were announced.
            verified = "size" if isinstance(options.encryption, SseCustomer) else None
        obstacle = replies.obstacle(response.headers, gate.service, options.encryption)
        try:
            if replies.check_etag(call, etag, obstacle, digest):
                gate.has_seen_md5, verified = True, "md5"
        except ChecksumMismatchError as error:
            verified = await self._explain_etag(error, address, body, etag)
        if replies.check_checksum(call, options.checksum, call.headers, response.headers) is not None:
            verified = "checksum"
        return replies.stored_object(address, len(body), etag, options, response.headers, verified)

    async def _require_encrypted(self, address: Address, options: WriteOptions, headers: Headers) -> None:
        """Raise UnsupportedByServiceError if the object that was just stored is not encrypted as ``options`` say.

        A reply to a write says how the object is encrypted. Where it does not, look at the object.
        """
        assert options.encryption is not None
        if not replies.is_encrypted(headers, options.encryption):
            found = await self.headers_of(address, options.reads)
            if not replies.is_encrypted(found, options.encryption):
                raise self._caller.ignored_encryption(address, options.encryption)

    async def _explain_etag(
        self,
        error: ChecksumMismatchError,
        address: Address,  # noqa: ARG002 - Abilities reads the object back
        body: Buffer,  # noqa: ARG002
        etag: str,  # noqa: ARG002
    ) -> Verified:
        """Raise the error, unless the service's ETags turn out not to be digests. Then return what was verified."""
        raise error

    async def copy_object(
        self,
        source: Address,
        to: Address,
        options: WriteOptions,
        reads: ReadOptions = ANY,
    ) -> ObjectInfo:
        """Copy on the server, up to 5 GiB. ``reads`` says which version of the source, in which state, with which key.

        If ``options`` has any header or metadata, these replace all of the source's. Ceph RGW 16.2 ignores the
        ``if_match`` of the source: a caller that relies on it must check the result.
        """
        headers = replies.headers_of_source(source, reads)
        headers |= options.put_headers()
        headers |= options.checksum_headers()
        if options.has_headers:
            headers["x-amz-metadata-directive"] = "REPLACE"
        call = Call("copy_object", "PUT", to.bucket, to.key, self._caller.slow_document, NOTHING, headers)
        call.is_conditional = options.is_conditional
        call.feature = options.feature
        if any(name.startswith("x-amz-object-lock-") for name in headers):
            # S3 demands a digest of each PUT with these headers (S3 user guide, "Object Lock").
            await self._caller.fill(call, b"")
        with refused_as_existing(options, source_if_match=reads.if_match):
            response, _, root = await self._caller.reply(call, "CopyObjectResult")
        if options.encryption is not None:
            await self._require_encrypted(to, options, response.headers)
        return replies.assembled_object(to, root.get("ETag"), root.get("LastModified"), response.headers)

    # ACL and tags

    async def get_object_acl(self, address: Address, version_id: str | None = None) -> Acl:
        query = of_version("acl", version_id)
        call = Call("get_object_acl", "GET", address.bucket, address.key, self._caller.document, query)
        return replies.acl_of(await self._caller.document_of(call, "AccessControlPolicy"))

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        query = of_version("acl", version_id)
        call = Call("put_object_acl", "PUT", address.bucket, address.key, self._caller.document, query)
        call.feature = "object_acl"
        if isinstance(acl, acls.Acl):
            await self._caller.fill(call, xml.acl_document(acl))
        else:
            call.headers = {"x-amz-acl": acl}
        await self._caller.send(call)

    async def get_object_tags(self, address: Address, version_id: str | None = None) -> dict[str, str]:
        call = self._tagging("get_object_tagging", "GET", address, version_id)
        return settings.tags_of(await self._caller.document_of(call, "Tagging"))

    async def put_object_tags(self, address: Address, tags: Mapping[str, str], version_id: str | None = None) -> None:
        if not tags:  # moto breaks on an empty set
            await self._caller.send(self._tagging("delete_object_tagging", "DELETE", address, version_id))
            return
        call = self._tagging("put_object_tagging", "PUT", address, version_id)
        await self._caller.fill(call, xml.tagging_document(tags))
        await self._caller.send(call)

    def _tagging(self, operation: str, method: str, address: Address, version_id: str | None) -> Call:
        query = of_version("tagging", version_id)
        call = Call(operation, method, address.bucket, address.key, self._caller.document, query)
        call.feature = "tagging"
        return call

    # Locks

    async def get_object_retention(self, address: Address, version_id: str | None = None) -> Retention | None:
        try:
            root = await self._lock(address, "retention", "Retention", version_id)
        except UnsupportedByServiceError:  # moto shows it only in a HEAD
            found = await self.headers_of(address, ReadOptions(version_id=version_id))
            if (kept := replies.retention_of_headers(found)) is not None:
                return kept
            raise
        return replies.retention_of(root.get("Mode"), root.get("RetainUntilDate")) if root is not None else None

    async def put_object_retention(
        self,
        address: Address,
        mode: str | None,
        until: str | None,
        version_id: str | None = None,
        *,
        bypasses: bool = False,
    ) -> None:
        """Lock the object until a time, given in ISO 8601. Without a mode, unlock it."""
        document = xml.retention_document(mode, until)
        await self._put_lock("put_object_retention", "retention", address, document, version_id, bypasses=bypasses)

    async def get_object_legal_hold(self, address: Address, version_id: str | None = None) -> bool:
        root = await self._lock(address, "legal-hold", "LegalHold", version_id)
        return root is not None and (root.get("Status") or "").strip().upper() == "ON"

    async def put_object_legal_hold(self, address: Address, status: str, version_id: str | None = None) -> None:
        """Set the legal hold: ``ON`` or ``OFF``."""
        await self._put_lock(
            "put_object_legal_hold", "legal-hold", address, xml.legal_hold_document(status), version_id
        )

    async def _lock(self, address: Address, part: str, root: str, version_id: str | None) -> xml.Element | None:
        """Return this part of the object's lock. None if the object has none, or the bucket has no Object Lock."""
        operation, query = f"get_object_{part.replace('-', '_')}", of_version(part, version_id)
        call = Call(operation, "GET", address.bucket, address.key, self._caller.document, query)
        call.feature = "object_lock"
        try:
            return await self._caller.document_of(call, root)
        except NotFoundError as error:
            if error.code in ("NoSuchBucket", "NoSuchKey", "NoSuchVersion"):
                raise
        except InvalidRequestError as error:
            if error.code != "InvalidRequest":  # how a bucket without Object Lock answers
                raise
        return None

    async def _put_lock(
        self,
        operation: str,
        part: str,
        address: Address,
        document: bytes,
        version_id: str | None,
        *,
        bypasses: bool = False,
    ) -> None:
        query = of_version(part, version_id)
        call = Call(operation, "PUT", address.bucket, address.key, self._caller.document, query)
        call.headers, call.feature = BYPASS if bypasses else NOTHING, "object_lock"
        await self._caller.fill(call, document)
        try:
            await self._caller.send(call)
        except AccessDeniedError as error:
            await self._explain_lock(address, version_id, error)
            raise

    async def _explain_lock(self, address: Address, version_id: str | None, error: AccessDeniedError) -> None:
        """Raise LockedError if a lock is why the service refused this request."""
        try:
            lock = await self._words_of_lock(address, version_id)
        except DreamObjectsError:
            return
        if lock:
            what = f"{address}" + (f", version {version_id}," if version_id else "")
            raise locked(error, f"{what} is locked: {lock}") from error

    async def _words_of_lock(self, address: Address, version_id: str | None) -> str:
        try:
            return replies.words_of_lock(await self.headers_of(address, ReadOptions(version_id=version_id)))
        except InvalidRequestError:  # a HEAD needs the customer's key; the requests for the lock do not
            kept = await self.get_object_retention(address, version_id)
            is_held = await self.get_object_legal_hold(address, version_id)
        mode, until = (kept.mode, kept.until) if kept is not None else (None, None)
        return replies.lock_in_words(mode, None if until is None else iso_of(until), is_held=is_held)


_CHECKSUM_MODE: Final = {"x-amz-checksum-mode": "ENABLED"}


def of_version(part: str, version_id: str | None) -> dict[str, str]:
    """Return the query for a part of an object, such as its ACL, or of one version of it."""
    return {part: "", "versionId": version_id} if version_id else {part: ""}


class ObjectBody:
    """An object's bytes as they arrive: the body of one response. The caller must close it."""

    __slots__ = (
        *("_address", "_gate", "_place", "_response"),
        *("content", "encryption", "etag", "is_part", "length", "obstacle", "size", "start", "told"),
    )

    def __init__(self, gate: Gate, address: Address, response: Response, place: Places | None) -> None:
        headers = response.headers
        replies.check_answer(response.status, headers)
        replies.check_date(headers.get(b"last-modified"))
        self._gate, self._address, self._response, self._place = gate, address, response, place
        self.etag = replies.etag_of(headers)
        self.is_part = b"content-range" in headers
        """Whether the reply has a Content-Range, even one that covers the whole object."""
        self.start, self.size = replies.place_of(headers)
        """The position of the first byte in the object, and the size of the whole object if the service says it."""
        self.length = replies.announced_length(headers) if self.is_part else self.size
        """The announced number of bytes."""
        self.encryption = replies.encryption(headers)
        """How the service encrypted the object, if it says so."""
        self.obstacle = replies.obstacle(headers, gate.service)
        """What keeps the ETag from being a digest."""
        self.told = None if self.is_part else replies.checksum_of(headers, gate.service)
        """The checksum of the object, if the service tells it. A reply to a range may have the one of a part."""
        self.content = response.content
        """The whole body, if it was short enough to arrive with the head. Then there is nothing to read or to close."""
        if self.content is not None:
            gate.bytes_received += len(self.content)

    @classmethod
    def of(cls, gate: Gate, address: Address, response: Response, *, keeps_place: bool) -> ObjectBody:
        """Return the body of a response. With ``keeps_place`` it holds its request's place until it is closed."""
        place = gate.requests if keeps_place and response.content is None else None
        try:
            return cls(gate, address, response, place)
        except BaseException:
            response.close()
            if place is not None:
                place.give_back()
            raise

    async def forget_impossible_checksum(self) -> None:
        """Forget the checksum if it cannot be computed here. On a cancellation, close the body."""
        try:
            if self.told is not None and not await can_compute(self.told.algorithm):
                self.told = None
        except BaseException:
            await self.aclose()
            raise

    @property
    def taken(self) -> int:
        """The number of bytes read so far, also after a read that failed midway."""
        return self._response.taken

    @property
    def headers(self) -> Headers:
        """The headers of the reply, byte for byte."""
        return self._response.headers

    @property
    def info(self) -> ObjectInfo:
        return replies.object_info(self._address, self._response.headers)

    async def read_chunk(self) -> bytes:
        """Return the next bytes, a few KiB at a time; empty at the end. Raises IncompleteBodyError if the body ends early."""
        chunk = await self._response.read_chunk()
        self._count(len(chunk))
        return chunk

    async def read_into(self, memory: memoryview) -> int:
        """Fill the memory, or less of it at the end. Return the number of bytes. Raises as ``read_chunk`` does."""
        before = self._response.taken
        try:
            return await self._response.read_into(memory)
        finally:
            self._count(self._response.taken - before)

    def _count(self, received: int) -> None:
        self._gate.bytes_received += received
        if self._place is None:  # a body without its request's place has one among the streams
            self._gate.bytes_streamed += received

    async def aclose(self) -> None:
        """Give back the place, and the connection if the body was read to its end. Idempotent; never waits for the peer."""
        self._response.close()
        place, self._place = self._place, None
        if place is not None:
            place.give_back()
