"""The fast lane: the hot requests over our own connections. The cold ones go to the aioboto3 lane."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread

from aiodreamobjects import _integrity
from aiodreamobjects._concurrency import Places, finish
from aiodreamobjects._errors import (
    ConnectionFailedError,
    IncompleteBodyError,
    ServiceError,
    SessionClosedError,
)
from aiodreamobjects._http.transport import Expect, HeaderLines, Request, Response, Transport
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
    make_object_info,
    printable,
)
from aiodreamobjects._progress import Gauge
from aiodreamobjects._service import Feature, quote_key
from aiodreamobjects._wire import replies, signing, xml
from aiodreamobjects._wire.contract import (
    Buffer,
    Conditions,
    CreatedUpload,
    Cursor,
    Page,
    Part,
    ResponseBody,
    Setting,
    VersionedKey,
    Wire,
    WriteConditions,
)
from aiodreamobjects._wire.errors import (
    Context,
    Refusal,
    error_of_key,
    failure_of,
    failure_of_refusal,
    refuse_reply,
    refused_as_existing,
    unreadable,
    untold,
)
from aiodreamobjects._wire.gate import DOCUMENT_SLOWNESS, Gate, closed_meanwhile
from aiodreamobjects._wire.replies import listed_date, unquoted, whole
from aiodreamobjects._wire.retry import AttemptFailed, Failure
from aiodreamobjects._wire.signing import Signer

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

WHOLE_BYTES = 64 << 10
"""Bodies up to this length are received whole, in one go with the head; longer ones are streamed."""
INLINE_BYTES = 256 << 10
"""Documents up to this length are parsed on the event loop, for a few milliseconds; longer ones in a thread."""
LONGEST_ERROR_BYTES = 64 << 10
"""What is longer is not looked at: the status says enough."""

_NOTHING: Mapping[str, str] = {}
_ALWAYS_SENT = "accept-encoding: identity\r\nuser-agent: aiodreamobjects\r\n"
_SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclass(slots=True, repr=False)
class _Call:
    """One S3 request, as often as it takes."""

    operation: str
    method: str
    bucket: str
    key: str
    expect: Expect
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Buffer = b""
    sent: Gauge | None = None
    payload_hash: str = ""
    feature: Feature | None = None
    is_write: bool = False
    on_doubt: Callable[[], None] | None = None
    """Called for each attempt that may have been carried out although it failed."""
    keeps_place: bool = False
    """Whether the request's place is kept for a body that is streamed."""
    may_be_empty: bool = False
    """Whether a reply without a document is one that says nothing."""
    prefix: str = ""
    """Of a listing, for the words of an error."""

    def __str__(self) -> str:
        return printable(f"{self.operation} s3://{self.bucket}/{self.key or self.prefix}")


class DirectWire:
    """The contract, kept by our own protocol. Made on the loop that uses it.

    ``open_boto`` makes the lane for everything else, the first time that it is needed.
    """

    def __init__(self, gate: Gate, transport: Transport, open_boto: Callable[[], Awaitable[Wire]]) -> None:
        self._gate, self._transport, self._open_boto = gate, transport, open_boto
        self._boto: Wire | None = None
        self._opening = asyncio.Lock()
        service, low_speed = gate.service, gate.timeouts.low_speed
        self._scheme, self._host = service.scheme, service.host
        self._is_path_style, self._is_v4 = service.addressing == "path", service.signature == "v4"
        # TLS protects the body; in the clear it is part of what is signed.
        self._signs_payload = self._is_v4 and self._scheme == "http"
        self._hash_of_nothing = _SHA256_OF_NOTHING if self._signs_payload else signing.UNSIGNED_PAYLOAD
        gate.movements.append(transport.bytes_moved)
        self._object = Expect(low_speed, stream_from=WHOLE_BYTES)
        self._document = Expect(low_speed / DOCUMENT_SLOWNESS)
        # S3 sends a blank now and then while it copies or completes: only silence counts (S3 API reference).
        self._slow_document = Expect(low_speed=0)
        self._head = Expect(low_speed, is_head=True)

    def stop(self) -> None:
        self._gate.stop()

    def moved(self) -> int:
        return self._gate.moved()

    def abandon(self) -> None:
        self._gate.abandon()
        self._transport.abandon(closed_meanwhile)
        if self._boto is not None:
            self._boto.abandon()

    async def aclose(self) -> None:
        await finish(self._release())

    async def _release(self) -> None:
        await self._gate.aclose()
        await self._transport.aclose(closed_meanwhile)
        async with self._opening:
            if self._boto is not None:
                await self._boto.aclose()

    def statistics(self) -> Statistics:
        gate, cold = self._gate, self._boto.statistics() if self._boto else None
        return Statistics(
            requests=gate.sent,
            retries=gate.retrier.retries,
            bytes_sent=gate.bytes_sent,
            bytes_received=gate.bytes_received,
            open_connections=self._transport.open_connections + (cold.open_connections if cold else 0),
            idle_connections=self._transport.idle_connections + (cold.idle_connections if cold else 0),
        )

    def signer(self) -> Signer:
        return self._gate.signer()

    def now(self) -> float:
        return self._gate.now()

    async def sleep(self, seconds: float) -> None:
        await self._gate.sleep(seconds)

    # Cold requests

    async def boto_client(self) -> S3Client:
        return await (await self._cold()).boto_client()

    async def _cold(self) -> Wire:
        if self._boto is None:
            async with self._opening:
                if self._gate.closed:
                    raise closed_meanwhile()
                if self._boto is None:
                    self._boto = await self._open_boto()
        return self._boto

    async def list_buckets(self) -> list[BucketInfo]:
        return await (await self._cold()).list_buckets()

    async def create_bucket(self, bucket: str, acl: CannedAcl | None) -> None:
        await (await self._cold()).create_bucket(bucket, acl)

    async def head_bucket(self, bucket: str) -> BucketInfo:
        return await (await self._cold()).head_bucket(bucket)

    async def delete_bucket(self, bucket: str) -> None:
        await (await self._cold()).delete_bucket(bucket)

    async def get_bucket_acl(self, bucket: str) -> Acl:
        return await (await self._cold()).get_bucket_acl(bucket)

    async def put_bucket_acl(self, bucket: str, acl: CannedAcl | Acl) -> None:
        await (await self._cold()).put_bucket_acl(bucket, acl)

    async def get_setting(self, bucket: str, setting: Setting[T]) -> T:
        return await (await self._cold()).get_setting(bucket, setting)

    async def put_setting(self, bucket: str, setting: Setting[T], value: T) -> None:
        await (await self._cold()).put_setting(bucket, setting, value)

    async def delete_setting(self, bucket: str, setting: Setting[T]) -> None:
        await (await self._cold()).delete_setting(bucket, setting)

    async def get_object_tags(self, address: Address) -> dict[str, str]:
        return await (await self._cold()).get_object_tags(address)

    async def put_object_tags(self, address: Address, tags: Mapping[str, str]) -> None:
        await (await self._cold()).put_object_tags(address, tags)

    # Objects

    async def get_object(
        self, address: Address, byte_range: ByteRange | None, conditions: Conditions, *, streamed: bool
    ) -> ResponseBody:
        headers = {}
        if byte_range is not None:
            headers["range"] = str(byte_range)
        if conditions.if_match is not None:
            headers["if-match"] = replies.quoted(conditions.if_match)
        if conditions.if_none_match is not None:
            headers["if-none-match"] = replies.quoted(conditions.if_none_match)
        query = {"versionId": conditions.version_id} if conditions.version_id else _NOTHING
        call = _Call("get_object", "GET", address.bucket, address.key, self._object, query, headers)
        call.keeps_place = not streamed
        return _body(self._gate, address, await self._call(call), keeps_place=not streamed)

    def stream(self) -> AbstractAsyncContextManager[None]:
        return self._gate.stream()

    async def head_object(self, address: Address) -> ObjectInfo:
        response = await self._call(_Call("head_object", "HEAD", address.bucket, address.key, self._head))
        return replies.object_info(address, response.headers)

    async def size_of_part(self, address: Address, number: int, etag: str) -> int | None:
        query, headers = {"partNumber": str(number)}, {"if-match": replies.quoted(etag)}
        response = await self._call(
            _Call("head_object", "HEAD", address.bucket, address.key, self._head, query, headers)
        )
        return replies.length(response.headers) if b"x-amz-mp-parts-count" in response.headers else None

    async def delete_object(self, address: Address, version_id: str | None) -> None:
        query = {"versionId": version_id} if version_id else _NOTHING
        await self._call(_Call("delete_object", "DELETE", address.bucket, address.key, self._document, query))

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
        headers = replies.headers_of(attributes) | replies.headers_of_conditions(conditions)
        call = _Call("put_object", "PUT", address.bucket, address.key, self._document, _NOTHING, headers)
        call.feature = "object_acl" if attributes.acl else None
        call.is_write = bool(conditions.if_absent or conditions.if_match)
        call.sent = sent
        digest = await self._fill(call, body, verify=verify)
        with refused_as_existing(conditions):
            response = await self._call(call)
        self._gate.bytes_sent += len(body)
        etag, verified = _checked_etag(call, response, digest)
        return replies.stored_object(address, len(body), etag, attributes, response.headers, verified)

    async def get_object_acl(self, address: Address) -> Acl:
        call = _Call("get_object_acl", "GET", address.bucket, address.key, self._document, {"acl": ""})
        acl = xml.acl_of(await self._tree(call, "AccessControlPolicy"))
        return acl or refuse_reply("a reply without Owner/ID, or with grants that are none")

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        query = {"acl": ""} | ({"versionId": version_id} if version_id else {})
        call = _Call("put_object_acl", "PUT", address.bucket, address.key, self._document, query)
        call.feature = "object_acl"
        if isinstance(acl, Acl):
            await self._fill(call, xml.acl_document(acl))
        else:
            call.headers = {"x-amz-acl": acl}
        await self._call(call)

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
        headers = replies.headers_of_source(source, source_version, source_if_match)
        headers |= replies.headers_of_conditions(conditions)
        if attributes is not None:
            headers |= replies.headers_of(attributes) | {"x-amz-metadata-directive": "REPLACE"}
        call = _Call("copy_object", "PUT", to.bucket, to.key, self._slow_document, _NOTHING, headers)
        call.is_write = bool(conditions.if_absent or conditions.if_match)
        call.feature = "object_acl" if attributes and attributes.acl else None
        with refused_as_existing(conditions, source_if_match=source_if_match):
            response, _, root = await self._reply(call, "CopyObjectResult")
        return replies.assembled_object(to, root.get("ETag"), root.get("LastModified"), response.headers)

    # Multipart uploads

    async def create_upload(
        self, address: Address, attributes: ObjectAttributes, on_doubt: Callable[[], None] | None = None
    ) -> CreatedUpload:
        call = _Call("create_multipart_upload", "POST", address.bucket, address.key, self._document, {"uploads": ""})
        call.headers = replies.headers_of(attributes)
        call.feature = "object_acl" if attributes.acl else None
        call.on_doubt = on_doubt
        response, _, root = await self._reply(call, "InitiateMultipartUploadResult")
        upload_id = root.get("UploadId") or refuse_reply("a reply without UploadId")
        return CreatedUpload(upload_id, replies.time_of_reply(response.headers))

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
        query = {"partNumber": str(number), "uploadId": upload_id}
        call = _Call("upload_part", "PUT", address.bucket, address.key, self._document, query)
        call.sent = sent
        digest = await self._fill(call, body, verify=verify)
        response = await self._call(call)
        self._gate.bytes_sent += len(body)
        etag, verified = _checked_etag(call, response, digest)
        return Part(number, etag, len(body), etag if verified else None)

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
        headers = replies.headers_of_source(source, source_version, source_if_match)
        if byte_range is not None:
            headers["x-amz-copy-source-range"] = str(byte_range)
        query = {"partNumber": str(number), "uploadId": upload_id}
        call = _Call("upload_part_copy", "PUT", to.bucket, to.key, self._slow_document, query, headers)
        root = await self._tree(call, "CopyPartResult")
        return Part(number, replies.unquoted(root.get("ETag")) or refuse_reply("a reply without ETag"))

    async def complete_upload(
        self, address: Address, upload_id: str, parts: Sequence[Part], conditions: WriteConditions
    ) -> ObjectInfo:
        call = _Call("complete_multipart_upload", "POST", address.bucket, address.key, self._slow_document)
        call.query = {"uploadId": upload_id}
        call.headers = replies.headers_of_conditions(conditions)
        call.is_write = True
        await self._fill(call, xml.complete_document(parts))
        with refused_as_existing(conditions):
            response, _, root = await self._reply(call, "CompleteMultipartUploadResult")
        return replies.assembled_object(address, root.get("ETag"), None, response.headers)

    async def list_parts(self, address: Address, upload_id: str, cursor: Cursor | None = None) -> Page[Part]:
        query = {"uploadId": upload_id} | ({"part-number-marker": cursor[0]} if cursor else {})
        root = await self._tree(
            _Call("list_parts", "GET", address.bucket, address.key, self._document, query), "ListParts"
        )
        parts = [
            replies.listed_part(part.get("PartNumber"), part.get("ETag"), part.get("Size"))
            for part in root.find_all("Part")
        ]
        return Page(parts, replies.next_cursor(_is_truncated(root), [root.get("NextPartNumberMarker")]))

    async def abort_upload(self, address: Address, upload_id: str) -> None:
        query = {"uploadId": upload_id}
        await self._call(_Call("abort_multipart_upload", "DELETE", address.bucket, address.key, self._document, query))

    # Listings

    async def list_objects(
        self,
        bucket: str,
        *,
        prefix: str,
        delimiter: str = "",
        start_after: str | None = None,
        cursor: Cursor | None = None,
        max_keys: int = 1000,
    ) -> Page[ObjectInfo | CommonPrefix]:
        is_v2 = self._gate.service.list_type == 2  # noqa: PLR2004 - S3's own "list-type=2"
        query = {"encoding-type": "url", "max-keys": str(max_keys), "prefix": prefix, "delimiter": delimiter}
        token, begin = (cursor[0], cursor[1]) if cursor else ("", start_after or "")
        query |= {"list-type": "2", "start-after": begin, "continuation-token": token} if is_v2 else {"marker": begin}
        call = _Call("list_objects_v2" if is_v2 else "list_objects", "GET", bucket, "", self._document, _given(query))
        call.prefix = prefix
        _, entries, root = await self._reply(call, "ListBucketResult")
        entries = entries or [_entry(element) for element in root.find_all("Contents")]
        prefixes = [element.get("Prefix") or "" for element in root.find_all("CommonPrefixes")]
        names = list(prefixes)
        if root.get("EncodingType") != "url":
            entries = list(entries)
            names += [entry[0] for entry in entries]
        decode = replies.key_decoder(root.get("EncodingType"), names)
        items: list[ObjectInfo | CommonPrefix] = [
            make_object_info(
                bucket,
                decode(key),
                int(size) if size else None,
                etag or None,
                listed_date(modified),
                storage_class=storage_class,
            )
            for key, modified, etag, size, storage_class in entries
        ]
        if prefixes:
            items += [CommonPrefix(bucket, decode(name)) for name in prefixes]
            items.sort(key=replies.name_of)
        if is_v2:
            markers = [root.get("NextContinuationToken")]
            return Page(items, replies.objects_cursor(replies.next_cursor(_is_truncated(root), markers), items))
        return Page(items, replies.marker_cursor(_is_truncated(root), items, root.get("NextMarker")))

    async def list_versions(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[ObjectInfo]:
        key_marker, version_marker = cursor or ("", "")
        query = {"versions": "", "encoding-type": "url"} | _given(
            {"prefix": prefix, "key-marker": key_marker, "version-id-marker": version_marker}
        )
        call = _Call("list_object_versions", "GET", bucket, "", self._document, query)
        call.prefix = prefix
        root = await self._tree(call, "ListVersionsResult")
        found = list(root.find_all("Version", "DeleteMarker"))
        decode = replies.key_decoder(root.get("EncodingType"), [element.get("Key") or "" for element in found])
        # In the document's order, but that moto has the markers behind all versions.
        items = [_version(bucket, element, decode) for element in found]
        items.sort(key=lambda item: (item.key, not item.is_latest))
        markers = [root.get("NextKeyMarker"), root.get("NextVersionIdMarker")]
        return Page(items, replies.next_cursor(_is_truncated(root), markers, decode, items[-1:]))

    async def list_uploads(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[UploadInfo]:
        # Ceph RGW encodes the keys when asked to and does not say so: it is asked only where XML fails on a key.
        key_marker, upload_marker = cursor or ("", "")
        query = {"uploads": ""} | _given(
            {"prefix": prefix, "key-marker": key_marker, "upload-id-marker": upload_marker}
        )
        decode: Callable[[str], str] = str
        call = _Call("list_multipart_uploads", "GET", bucket, "", self._document, query)
        call.prefix = prefix
        root = await self._tree(call, "ListMultipartUploadsResult")
        if any(xml.DAMAGED in (element.get("Key") or "") for element in root.find_all("Upload")):
            decode = replies.decoded
            call.query = query | {"encoding-type": "url"}
            root = await self._tree(call, "ListMultipartUploadsResult")
        items = [_upload(bucket, element, decode) for element in root.find_all("Upload")]
        markers = [root.get("NextKeyMarker"), root.get("NextUploadIdMarker")]
        return Page(items, replies.next_cursor(_is_truncated(root), markers, decode, items[-1:]))

    async def delete_objects(self, bucket: str, keys: Sequence[VersionedKey]) -> Mapping[VersionedKey, ServiceError]:
        call = _Call("delete_objects", "POST", bucket, "", self._document, {"delete": ""})
        call.may_be_empty = True
        await self._fill(call, xml.delete_document(keys))
        _, entries, root = await self._reply(call, "DeleteResult")
        deleted = [(name, None) for name, *_ in entries]
        if deleted == keys and root.find("Error") is None:  # the usual answer to the usual question
            return {}
        outcome: dict[tuple[str | None, str | None], ServiceError | None] = dict.fromkeys(deleted)
        for element in root.find_all("Deleted"):
            outcome[element.get("Key"), element.get("VersionId") or None] = None
        for element in root.find_all("Error"):
            key = element.get("Key")
            context = self._context(f"delete s3://{bucket}/{key or ''}", None)
            error = error_of_key(element.get("Code") or "", element.get("Message") or "", context)
            outcome[key, element.get("VersionId") or None] = error
        return untold(outcome, bucket, keys)

    # The one door

    async def _call(self, call: _Call) -> Response:
        attempt = self._attempt if call.expect is self._object else self._attempt_silent
        return await self._gate.retrier.run(partial(attempt, call), is_write=call.is_write)

    async def _attempt_silent(self, call: _Call) -> Response:
        """Of a success that is no object nothing is expected to be said; what is said all the same may be an error."""
        response = await self._attempt(call)
        if response.content:
            await self._read(call, response, "")
        return response

    async def _tree(self, call: _Call, root_name: str) -> xml.Element:
        return (await self._reply(call, root_name))[2]

    async def _reply(self, call: _Call, root_name: str) -> tuple[Response, Iterable[xml.Entry], xml.Element]:
        """The reply and its document. A 200 may hold an error, which is tried again as any other."""

        async def attempt() -> tuple[Response, Iterable[xml.Entry], xml.Element]:
            response = await self._attempt(call)
            return response, *await self._read(call, response, root_name)

        return await self._gate.retrier.run(attempt, is_write=call.is_write, on_doubt=call.on_doubt)

    async def _read(self, call: _Call, response: Response, root_name: str) -> tuple[Iterable[xml.Entry], xml.Element]:
        document = (response.content or b"").lstrip()
        if not document and call.may_be_empty:
            return [], xml.Element(root_name)
        try:
            if len(document) <= INLINE_BYTES:
                entries, root = xml.read(document, root_name)
            else:
                entries, root = await finish(to_thread.run_sync(xml.read, document, root_name))
        except xml.MalformedError as error:
            raise self._unreadable(call, response) from error
        if root.name == "Error":
            raise AttemptFailed(self._refusal(call, response, root))
        if not root.name.startswith(root_name) or root.name.lower() == "html":
            raise self._unreadable(call, response)
        return entries, root

    def _unreadable(self, call: _Call, response: Response) -> AttemptFailed:
        return AttemptFailed(failure_of(unreadable(self._context(str(call), call.feature), response.status)))

    async def _attempt(self, call: _Call) -> Response:
        """One request, in its place: the reply, if it is a success, and AttemptFailed if it is not."""
        gate = self._gate
        if not gate.requests.take():
            await gate.enter(gate.requests)
        decreases = gate.retrier.crowd.decreases
        keeps_place = False
        try:
            if gate.has_pace:
                await gate.keep_pace()
            signer = await gate.fresh_signer() if gate.has_expiring_credentials else gate.signer()
            if gate.closed:
                raise closed_meanwhile()
            request = self._compose(call, signer)
            gate.leave()
            response = await self._transport.send(request)
            if not 200 <= response.status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
                raise AttemptFailed(self._refusal(call, response), decreases)
            keeps_place = call.keeps_place and response.content is None
        except (ConnectionFailedError, IncompleteBodyError) as error:
            raise AttemptFailed(failure_of(error)) from error
        except SessionClosedError as error:
            error.in_doubt = True  # it may have left
            raise
        finally:
            if not keeps_place:
                gate.requests.give_back()
        return response

    def _compose(self, call: _Call, signer: Signer) -> Request:
        gate, host = self._gate, self._host
        resource = f"/{call.bucket}/{quote_key(call.key)}" if call.key else f"/{call.bucket}"
        path = resource
        if not self._is_path_style:
            host, path = gate.service.locate(call.bucket, call.key)
            if host != self._host and not call.key:
                resource += "/"
        query = signing.canonical_query(call.query) if call.query else ""
        target = f"{path}?{query}" if query else path
        payload_hash = call.payload_hash or self._hash_of_nothing
        if self._is_v4 and not call.headers and not signer.credentials.session_token:
            lines = signer.sign_bare(call.method, host, path, query, gate.now(), payload_hash)
        else:
            request = signing.Request(call.method, self._scheme, host, path, resource, call.query, call.headers)
            if self._is_v4:
                headers = signer.sign(request, gate.now(), payload_hash)
            else:
                headers = signing.sign_v2(request, signer.credentials, gate.now()) | {"host": host}
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"content-length: {len(call.body)}\r\n" if call.method in _WITH_BODY else ""
        if call.headers and any(map(_LINE_END, call.headers.values())):
            msg = f"{call}: a header would hold a line end, and what follows it would be another header"
            raise ValueError(msg)
        return Request(
            call.method,
            host,
            target,
            HeaderLines(f"{lines}{length}{_ALWAYS_SENT}"),
            call.body,
            call.expect,
            is_idempotent=not call.is_write and call.method != "POST",
            sent=call.sent,
        )

    async def _fill(self, call: _Call, body: Buffer, *, verify: bool = True) -> _integrity.Md5 | None:
        """Give the request its body, with the digests that are due. The body's MD5."""
        digest = await _integrity.md5(body) if verify else None
        call.body = body
        if digest is not None:
            call.headers = {**call.headers, "content-md5": base64.b64encode(digest.digest()).decode()}
        if self._signs_payload:
            call.payload_hash = await _integrity.sha256_hex(body)
        return digest

    def _refusal(self, call: _Call, response: Response, root: xml.Element | None = None) -> Failure:
        if root is None and response.content and len(response.content) <= LONGEST_ERROR_BYTES:
            try:
                root = xml.parse(response.content)
            except xml.MalformedError:
                root = None
        told = root if root is not None and root.name == "Error" else xml.Element("Error")
        refusal = Refusal(
            response.status,
            told.get("Code") or "",
            told.get("Message") or "",
            replies.texts(response.headers),
            told.get("RequestId"),
            is_head=call.method == "HEAD",
        )
        return failure_of_refusal(refusal, self._context(str(call), call.feature))

    def _context(self, what: str, feature: Feature | None) -> Context:
        return Context(what, self._gate.service, feature, time.time(), self._gate.clock_offset)


_WITH_BODY = ("PUT", "POST")
_LINE_END = re.compile("[\r\n\0]").search


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value}


def _is_truncated(root: xml.Element) -> bool | None:
    return _BOOLEANS.get(root.get("IsTruncated") or "")


_BOOLEANS = {"true": True, "false": False}


def _checked_etag(call: _Call, response: Response, digest: _integrity.Md5 | None) -> tuple[str, bool]:
    etag = replies.etag_of(response.headers) or refuse_reply("a reply without ETag", may_be_done=True)
    return etag, replies.check_etag(str(call), etag, replies.encryption(response.headers), digest)


def _entry(element: xml.Element) -> xml.Entry:
    """An object on a page, of whatever shape."""
    key = element.get("Key")
    if key is None:
        refuse_reply("a listed object without Key")
    told, size = element.get, element.get("Size")
    whole(size)
    return key, told("LastModified"), unquoted(told("ETag")), size, told("StorageClass")


def _version(bucket: str, element: xml.Element, decode: Callable[[str], str]) -> ObjectInfo:
    key, modified, etag, size, storage_class = _entry(element)
    return replace(
        make_object_info(bucket, decode(key), whole(size), etag, listed_date(modified)),
        storage_class=storage_class,
        version_id=element.get("VersionId") or None,
        is_latest=_BOOLEANS.get(element.get("IsLatest") or ""),
        is_delete_marker=element.name == "DeleteMarker",
    )


def _upload(bucket: str, element: xml.Element, decode: Callable[[str], str]) -> UploadInfo:
    key, upload_id = element.get("Key"), element.get("UploadId")
    if key is None or upload_id is None:
        refuse_reply("a listed upload without Key or UploadId")
    return UploadInfo(
        bucket, decode(key), upload_id, listed_date(element.get("Initiated")), element.get("StorageClass")
    )


class DirectBody:
    """A ResponseBody over our own connection."""

    __slots__ = (
        *("_address", "_gate", "_place", "_response"),
        *("content", "encryption", "etag", "is_part", "length", "size", "start"),
    )

    def __init__(self, gate: Gate, address: Address, response: Response) -> None:
        headers = response.headers
        replies.check_answer(response.status, headers)
        self._gate, self._address, self._response = gate, address, response
        self._place: Places | None = None
        replies.check_date(headers.get(b"last-modified"))
        self.etag = replies.etag_of(headers)
        self.start, self.size = replies.place_of(headers)
        self.length = replies.announced_length(headers)
        self.is_part = response.status == HTTPStatus.PARTIAL_CONTENT
        self.encryption = replies.encryption(headers)
        self.content = response.content
        if self.content is not None:
            gate.bytes_received += len(self.content)

    @property
    def taken(self) -> int:
        return self._response.taken

    @property
    def info(self) -> ObjectInfo:
        return replies.object_info(self._address, self._response.headers)

    async def read_chunk(self) -> bytes:
        chunk = await self._response.read_chunk()
        self._count(len(chunk))
        return chunk

    async def read_into(self, memory: memoryview) -> int:
        before = self._response.taken
        try:
            return await self._response.read_into(memory)
        finally:
            self._count(self._response.taken - before)

    def _count(self, received: int) -> None:
        self._gate.bytes_received += received
        if self._place is None:  # then it has its place among the streams
            self._gate.bytes_streamed += received

    async def aclose(self) -> None:
        self._response.close()
        place, self._place = self._place, None
        if place is not None:
            place.give_back()


def _body(gate: Gate, address: Address, response: Response, *, keeps_place: bool) -> DirectBody:
    """With its request's place, if it keeps that: it is given back when the body is closed."""
    place = gate.requests if keeps_place and response.content is None else None
    try:
        body = DirectBody(gate, address, response)
    except BaseException:
        response.close()
        if place is not None:
            place.give_back()
        raise
    body._place = place  # noqa: SLF001 - its maker
    return body
