"""Requests about one object, and the object's body as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from aiodreamobjects._errors import ChecksumMismatchError, NotFoundError
from aiodreamobjects._http.transport import Buffer, Response
from aiodreamobjects._limits import Places
from aiodreamobjects._models import Acl, Address, ByteRange, CannedAcl, ObjectInfo, Verified
from aiodreamobjects._progress import Gauge
from aiodreamobjects._s3 import replies, xml
from aiodreamobjects._s3.call import Call, Caller
from aiodreamobjects._s3.errors import refused_as_existing
from aiodreamobjects._s3.gate import Gate
from aiodreamobjects._s3.options import NOTHING, ReadOptions, WriteOptions, quoted
from aiodreamobjects._s3.replies import Headers
from aiodreamobjects._s3.settings import tags_of


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
        headers = options.headers()
        if byte_range is not None:
            headers = {**headers, "range": str(byte_range)}
        caller = self._caller
        call = Call("get_object", "GET", address.bucket, address.key, caller.object, options.query(), headers)
        call.keeps_place = not streamed
        return ObjectBody.of(caller.gate, address, await caller.send(call), keeps_place=not streamed)

    def stream(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for a streamed body, also while its connection breaks and the rest is asked for."""
        return self._caller.gate.stream()

    async def head_object(self, address: Address) -> ObjectInfo:
        return replies.object_info(address, await self.headers_of(address))

    async def headers_of(self, address: Address) -> Headers:
        """Return the headers of a HEAD, byte for byte."""
        call = Call("head_object", "HEAD", address.bucket, address.key, self._caller.head)
        return (await self._caller.send(call)).headers

    async def size_of_part(self, address: Address, number: int, etag: str) -> int | None:
        """Return the size of one part of the object with this ETag. None if the service does not say.

        Ceph RGW 16.2 ignores ``partNumber``.
        """
        query, headers = {"partNumber": str(number)}, {"if-match": quoted(etag)}
        call = Call("head_object", "HEAD", address.bucket, address.key, self._caller.head, query, headers)
        response = await self._caller.send(call)
        return replies.length(response.headers) if b"x-amz-mp-parts-count" in response.headers else None

    async def delete_object(self, address: Address, version_id: str | None) -> None:
        """Delete an object or a version. A missing one is a success, also where the service answers 404 (Google's does)."""
        query = {"versionId": version_id} if version_id else NOTHING
        call = Call("delete_object", "DELETE", address.bucket, address.key, self._caller.document, query)
        try:
            await self._caller.send(call)
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
        call.feature = "object_acl" if options.acl else None
        call.is_conditional = options.is_conditional
        call.sent = sent
        digest = await caller.fill(call, body, verify=options.verify == "auto")
        with refused_as_existing(options):
            response = await caller.send(call)
        gate = caller.gate
        gate.bytes_sent += len(body)
        etag = replies.etag_of_stored(response.headers)
        verified: Verified | None = None
        try:
            if replies.check_etag(str(call), etag, replies.obstacle(response.headers, gate.service), digest):
                gate.has_seen_md5, verified = True, "md5"
        except ChecksumMismatchError as error:
            verified = await self._explain_etag(error, address, body, etag)
        return replies.stored_object(address, len(body), etag, options, response.headers, verified)

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
        *,
        source_version: str | None = None,
        source_if_match: str | None = None,
    ) -> ObjectInfo:
        """Copy on the server, up to 5 GiB.

        If ``options`` has any header or metadata, these replace all of the source's. Ceph RGW 16.2 ignores
        ``source_if_match``: a caller that relies on it must check the result.
        """
        headers = replies.headers_of_source(source, source_version, source_if_match)
        headers |= options.put_headers()
        if options.has_headers:
            headers["x-amz-metadata-directive"] = "REPLACE"
        call = Call("copy_object", "PUT", to.bucket, to.key, self._caller.slow_document, NOTHING, headers)
        call.is_conditional = options.is_conditional
        call.feature = "object_acl" if options.acl else None
        if any(name.startswith("x-amz-object-lock-") for name in headers):
            # S3 demands a digest of each PUT with these headers (S3 user guide, "Object Lock").
            await self._caller.fill(call, b"")
        with refused_as_existing(options, source_if_match=source_if_match):
            response, _, root = await self._caller.reply(call, "CopyObjectResult")
        return replies.assembled_object(to, root.get("ETag"), root.get("LastModified"), response.headers)

    # ACL and tags

    async def get_object_acl(self, address: Address) -> Acl:
        call = Call("get_object_acl", "GET", address.bucket, address.key, self._caller.document, {"acl": ""})
        return replies.acl_of(await self._caller.document_of(call, "AccessControlPolicy"))

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        query = {"acl": ""} | ({"versionId": version_id} if version_id else {})
        call = Call("put_object_acl", "PUT", address.bucket, address.key, self._caller.document, query)
        call.feature = "object_acl"
        if isinstance(acl, Acl):
            await self._caller.fill(call, xml.acl_document(acl))
        else:
            call.headers = {"x-amz-acl": acl}
        await self._caller.send(call)

    async def get_object_tags(self, address: Address) -> dict[str, str]:
        call = self._tagging("get_object_tagging", "GET", address)
        return tags_of(await self._caller.document_of(call, "Tagging"))

    async def put_object_tags(self, address: Address, tags: Mapping[str, str]) -> None:
        if not tags:  # moto breaks on an empty set
            await self._caller.send(self._tagging("delete_object_tagging", "DELETE", address))
            return
        call = self._tagging("put_object_tagging", "PUT", address)
        await self._caller.fill(call, xml.tagging_document(tags))
        await self._caller.send(call)

    def _tagging(self, operation: str, method: str, address: Address) -> Call:
        call = Call(operation, method, address.bucket, address.key, self._caller.document, {"tagging": ""})
        call.feature = "tagging"
        return call

    # Locks

    async def put_object_retention(self, address: Address, mode: str, until: str) -> None:
        """Lock the object until a time, given in ISO 8601."""
        await self._put_lock("put_object_retention", "retention", address, xml.retention_document(mode, until))

    async def put_object_legal_hold(self, address: Address, status: str) -> None:
        """Set the legal hold: ``ON`` or ``OFF``."""
        await self._put_lock("put_object_legal_hold", "legal-hold", address, xml.legal_hold_document(status))

    async def _put_lock(self, operation: str, part: str, address: Address, document: bytes) -> None:
        call = Call(operation, "PUT", address.bucket, address.key, self._caller.document, {part: ""})
        await self._caller.fill(call, document)
        await self._caller.send(call)


class ObjectBody:
    """An object's bytes as they arrive: the body of one response. Whoever gets it must close it."""

    __slots__ = (
        *("_address", "_gate", "_place", "_response"),
        *("content", "encryption", "etag", "is_part", "length", "obstacle", "size", "start"),
    )

    def __init__(self, gate: Gate, address: Address, response: Response, place: Places | None) -> None:
        headers = response.headers
        replies.check_answer(response.status, headers)
        replies.check_date(headers.get(b"last-modified"))
        self._gate, self._address, self._response, self._place = gate, address, response, place
        self.etag = replies.etag_of(headers)
        self.start, self.size = replies.place_of(headers)
        """The position of the first byte in the object, and the size of the whole object if the service says it."""
        self.length = replies.announced_length(headers)
        """The announced number of bytes."""
        self.is_part = b"content-range" in headers
        """Whether the reply has a Content-Range, even one that covers the whole object."""
        self.encryption = replies.encryption(headers)
        """How the service encrypted the object, if it says so."""
        self.obstacle = replies.obstacle(headers, gate.service)
        """What keeps the ETag from being a digest."""
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

    @property
    def taken(self) -> int:
        """The number of bytes read so far, also after a read that failed midway."""
        return self._response.taken

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
