"""The lane through an aioboto3 client: every request S3 has.

A request goes through one door, ``BotoWire._call``: limit, rate, attempt, retry, translation.
"""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlsplit

import anyio
from aiobotocore.awsrequest import AioAWSResponse
from anyio import to_thread
from botocore.parsers import ResponseParserError

from aiodreamobjects import _integrity
from aiodreamobjects._concurrency import finish
from aiodreamobjects._errors import DreamObjectsError, NotFoundError, ServiceError, SessionClosedError, forget_frames
from aiodreamobjects._http.client import CHUNK_BYTES, BodyReader, HttpClient, Response, read_document
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
from aiodreamobjects._wire import boto_values as values
from aiodreamobjects._wire import replies, signing
from aiodreamobjects._wire.boto_client import OpenClient, take_over
from aiodreamobjects._wire.boto_values import Reply
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
    WriteConditions,
)
from aiodreamobjects._wire.errors import Context, error_of_key, refuse_reply, refused_as_existing, untold
from aiodreamobjects._wire.gate import DOCUMENT_SLOWNESS, Gate, closed_meanwhile
from aiodreamobjects._wire.retry import AttemptFailed
from aiodreamobjects._wire.signing import Signer
from aiodreamobjects._wire.xml import DAMAGED, MOST_ELEMENTS, legible

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

CLOSING_SECONDS = 2.0
LONGEST_PROLOG = 64 << 10
_HTML = re.compile(rb"<(!doctype )?html", re.IGNORECASE)
_ROOT = re.compile(rb"(?:<\?xml[^>]*>\s*)?<(?:\w+:)?(\w+)")
_ROOTS = {
    "CompleteMultipartUpload": b"CompleteMultipartUploadResult",
    "CopyObject": b"CopyObjectResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
    "DeleteObjects": b"DeleteResult",
    "ListMultipartUploads": b"ListMultipartUploadsResult",
    "ListObjectVersions": b"ListVersionsResult",
    "ListObjects": b"ListBucketResult",
    "ListObjectsV2": b"ListBucketResult",
    "ListParts": b"ListParts",
    "UploadPartCopy": b"CopyPartResult",
}
"""What botocore does not look at: any document with an ETag would be a completed upload."""
_ERROR = re.compile(rb"(<\?xml[^>]*>\s*)?<Error[\s>]")
SLOW_OPERATIONS = ("complete_multipart_upload", "copy_object", "upload_part_copy")
"""S3 sends a blank now and then while it works on these: only silence counts (S3 API reference)."""

# Headers that travel but are not signed: proxies and HTTP libraries may change them.
_UNSIGNED_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "user-agent", "x-amzn-trace-id"}
)


class BotoWire:
    """The contract, kept by botocore's serialiser, our signatures and aiohttp. Made on the loop that uses it."""

    def __init__(self, opened: OpenClient, gate: Gate) -> None:
        self._client, self._context, self._proxy = opened.client, opened.context, opened.proxy
        self._gate, self._service, self._timeouts = gate, gate.service, gate.timeouts
        self._http = HttpClient(
            width=2 * gate.limits.requests, timeouts=gate.timeouts, ssl_context=opened.ssl_context, paces=gate.paces
        )
        self._busy = 0
        take_over(self._client, self._send)
        gate.movements.append(self._http.bytes_moved)

    def stop(self) -> None:
        self._gate.stop()

    def moved(self) -> int:
        return self._gate.moved()

    def abandon(self) -> None:
        self._gate.abandon()
        self._http.abandon()

    async def aclose(self) -> None:
        await finish(self._release())

    async def _release(self) -> None:
        await self._gate.aclose()
        with anyio.move_on_after(CLOSING_SECONDS):  # a peer that takes no bytes is not waited for
            await self._http.aclose()
        await self._context.__aexit__(None, None, None)

    def statistics(self) -> Statistics:
        connections, gate = self._http.open_connections, self._gate
        return Statistics(
            requests=gate.sent,
            retries=gate.retrier.retries,
            bytes_sent=gate.bytes_sent,
            bytes_received=gate.bytes_received,
            open_connections=connections,
            idle_connections=max(0, connections - self._busy),
        )

    def signer(self) -> Signer:
        return self._gate.signer()

    def now(self) -> float:
        return self._gate.now()

    async def sleep(self, seconds: float) -> None:
        await self._gate.sleep(seconds)

    async def boto_client(self) -> S3Client:
        return self._client

    # The service and its buckets

    async def list_buckets(self) -> list[BucketInfo]:
        reply = await self._call("list_buckets", self._service.endpoint, {})
        return [
            BucketInfo(values.required(item, "Name"), values.utc(item.get("CreationDate")))
            for item in reply.get("Buckets", ())
        ]

    async def create_bucket(self, bucket: str, acl: CannedAcl | None) -> None:
        region = self._service.region
        located = self._service.location_constraint and region != "us-east-1"
        await self._call(
            "create_bucket",
            f"s3://{bucket}",
            {
                "Bucket": bucket,
                "ACL": acl,
                "CreateBucketConfiguration": {"LocationConstraint": region} if located else None,
            },
            done_earlier="BucketAlreadyOwnedByYou",
        )

    async def head_bucket(self, bucket: str) -> BucketInfo:
        reply = await self._call("head_bucket", f"s3://{bucket}", {"Bucket": bucket})
        return values.bucket_info(bucket, reply["ResponseMetadata"]["HTTPHeaders"])

    async def delete_bucket(self, bucket: str) -> None:
        await self._call("delete_bucket", f"s3://{bucket}", {"Bucket": bucket}, done_earlier="NoSuchBucket")

    async def get_bucket_acl(self, bucket: str) -> Acl:
        return values.acl_value(await self._call("get_bucket_acl", f"s3://{bucket}", {"Bucket": bucket}))

    async def put_bucket_acl(self, bucket: str, acl: CannedAcl | Acl) -> None:
        await self._call(
            "put_bucket_acl", f"s3://{bucket}", {"Bucket": bucket, **_acl_parameters(acl)}, feature="acl_grants"
        )

    async def get_setting(self, bucket: str, setting: Setting[T]) -> T:
        requests, feature = values.setting_requests(setting)
        try:
            reply = await self._call(requests.get, f"s3://{bucket}", {"Bucket": bucket}, feature=feature)
        except NotFoundError as error:
            if error.code != requests.absent:
                raise
            return cast(T, requests.empty())
        return cast(T, requests.value_of(reply))

    async def put_setting(self, bucket: str, setting: Setting[T], value: T) -> None:
        requests, feature = values.setting_requests(setting)
        parameters = {"Bucket": bucket, **requests.parameters_of(value)}
        await self._call(requests.put, f"s3://{bucket}", parameters, feature=feature)

    async def delete_setting(self, bucket: str, setting: Setting[T]) -> None:
        requests, feature = values.setting_requests(setting)
        parameters = {"Bucket": bucket}
        if requests.deleted_by_putting is not None:
            parameters |= requests.parameters_of(requests.deleted_by_putting)
        await self._call(requests.delete, f"s3://{bucket}", parameters, feature=feature)

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
        is_v2 = self._service.list_type == 2  # noqa: PLR2004 - S3's own "list-type=2"
        token, begin = (cursor[0], cursor[1]) if cursor else ("", start_after or "")
        starts = (
            {"StartAfter": begin or None, "ContinuationToken": token or None} if is_v2 else {"Marker": begin or None}
        )
        reply = await self._call(
            "list_objects_v2" if is_v2 else "list_objects",
            f"s3://{bucket}/{prefix}",
            {
                "Bucket": bucket,
                "Prefix": prefix or None,
                "Delimiter": delimiter or None,
                "MaxKeys": max_keys,
                "EncodingType": "url",
                **starts,
            },
        )
        contents, prefixes = reply.get("Contents", ()), reply.get("CommonPrefixes", ())
        names = [*(item.get("Key", "") for item in contents), *(item.get("Prefix", "") for item in prefixes)]
        decode = replies.key_decoder(reply.get("EncodingType"), names)
        items: list[ObjectInfo | CommonPrefix] = [values.listed_object(bucket, item, decode) for item in contents]
        if prefixes:
            items += [CommonPrefix(bucket, decode(values.required(item, "Prefix"))) for item in prefixes]
            items.sort(key=replies.name_of)
        is_truncated = reply.get("IsTruncated")
        if not is_v2:
            return Page(items, replies.marker_cursor(is_truncated, items, reply.get("NextMarker")))
        found = replies.next_cursor(is_truncated, [reply.get("NextContinuationToken")])
        return Page(items, replies.objects_cursor(found, items))

    async def list_versions(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[ObjectInfo]:
        reply = await self._call(
            "list_object_versions",
            f"s3://{bucket}/{prefix}",
            {
                "Bucket": bucket,
                "Prefix": prefix or None,
                "KeyMarker": cursor[0] if cursor else None,
                "VersionIdMarker": (cursor[1] or None) if cursor else None,
                "EncodingType": "url",
            },
        )
        found = [
            (item, is_marker)
            for name, is_marker in (("Versions", False), ("DeleteMarkers", True))
            for item in reply.get(name, ())
        ]
        decode = replies.key_decoder(reply.get("EncodingType"), [item.get("Key", "") for item, _ in found])
        items = [
            replace(values.listed_object(bucket, item, decode), is_delete_marker=is_marker) for item, is_marker in found
        ]
        items.sort(key=replies.newest_first)
        markers = [reply.get("NextKeyMarker"), reply.get("NextVersionIdMarker")]
        return Page(items, replies.next_cursor(reply.get("IsTruncated"), markers, decode, items[-1:]))

    async def list_uploads(self, bucket: str, *, prefix: str, cursor: Cursor | None = None) -> Page[UploadInfo]:
        # Ceph RGW encodes the keys when asked to and does not say so: it is asked only where XML fails on a key.
        parameters = {
            "Bucket": bucket,
            "Prefix": prefix or None,
            "KeyMarker": cursor[0] if cursor else None,
            "UploadIdMarker": (cursor[1] or None) if cursor else None,
        }
        decode: Callable[[str], str] = str
        reply = await self._call("list_multipart_uploads", f"s3://{bucket}/{prefix}", parameters)
        if any(DAMAGED in item.get("Key", "") for item in reply.get("Uploads", ())):
            decode = replies.decoded
            parameters["EncodingType"] = "url"
            reply = await self._call("list_multipart_uploads", f"s3://{bucket}/{prefix}", parameters)
        items = [values.listed_upload(bucket, item, decode) for item in reply.get("Uploads", ())]
        markers = [reply.get("NextKeyMarker"), reply.get("NextUploadIdMarker")]
        return Page(items, replies.next_cursor(reply.get("IsTruncated"), markers, decode, items[-1:]))

    async def delete_objects(self, bucket: str, keys: Sequence[VersionedKey]) -> Mapping[VersionedKey, ServiceError]:
        # Not "Quiet": a key that the reply does not name is a key of which nothing is known.
        asked = [{"Key": key.key} | ({"VersionId": key.version_id} if key.version_id else {}) for key in keys]
        reply = await self._call("delete_objects", f"s3://{bucket}", {"Bucket": bucket, "Delete": {"Objects": asked}})
        outcome: dict[tuple[str | None, str | None], ServiceError | None] = {}
        for item in reply.get("Deleted", ()):
            outcome[item.get("Key"), item.get("VersionId") or None] = None
        for item in reply.get("Errors", ()):
            what = f"delete s3://{bucket}/{item.get('Key', '')}"
            error = error_of_key(item.get("Code", ""), item.get("Message", ""), self._context_of(what, None))
            outcome[item.get("Key"), item.get("VersionId") or None] = error
        return untold(outcome, bucket, keys)

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
        digest = await _integrity.md5(body) if verify else None
        if sent is not None:
            await sent.end()
        parameters = {
            **_where(address),
            **values.attribute_parameters(attributes),
            **values.condition_parameters(conditions),
            **_body_parameters(body, digest),
        }
        feature: Feature | None = "object_acl" if attributes.acl else None
        is_conditional = bool(conditions.if_absent or conditions.if_match)
        with refused_as_existing(conditions):
            reply = await self._call(
                "put_object", str(address), parameters, feature=feature, is_write=is_conditional, sent=sent
            )
        self._gate.bytes_sent += len(body)
        etag, verified = _checked_etag(f"put_object {address}", reply, digest)
        return replies.stored_object(address, len(body), etag, attributes, values.raw_headers(reply), verified)

    async def get_object(
        self, address: Address, byte_range: ByteRange | None, conditions: Conditions, *, streamed: bool
    ) -> ResponseBody:
        del streamed  # a body keeps no place of its request here: the number of connections bounds them
        reply = await self._call(
            "get_object",
            str(address),
            {
                **_where(address),
                "Range": str(byte_range) if byte_range else None,
                "IfMatch": replies.quoted(conditions.if_match) if conditions.if_match else None,
                "IfNoneMatch": replies.quoted(conditions.if_none_match) if conditions.if_none_match else None,
                "VersionId": conditions.version_id,
            },
        )
        try:
            return BotoBody(self, address, reply)
        except BaseException:
            reply["Body"].close()
            raise

    def stream(self) -> AbstractAsyncContextManager[None]:
        return self._gate.stream()

    async def head_object(self, address: Address) -> ObjectInfo:
        reply = await self._call("head_object", str(address), _where(address))
        return values.object_info(address.bucket, address.key, reply)

    async def size_of_part(self, address: Address, number: int, etag: str) -> int | None:
        parameters = {**_where(address), "PartNumber": number, "IfMatch": replies.quoted(etag)}
        reply = await self._call("head_object", str(address), parameters)
        return cast("int | None", reply.get("ContentLength")) if "PartsCount" in reply else None

    async def delete_object(self, address: Address, version_id: str | None) -> None:
        await self._call("delete_object", str(address), {**_where(address), "VersionId": version_id})

    async def get_object_acl(self, address: Address) -> Acl:
        reply = await self._call("get_object_acl", str(address), _where(address))
        return values.acl_value(reply)

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        parameters = {**_where(address), **_acl_parameters(acl), "VersionId": version_id}
        await self._call("put_object_acl", str(address), parameters, feature="object_acl")

    async def get_object_tags(self, address: Address) -> dict[str, str]:
        reply = await self._call("get_object_tagging", str(address), _where(address), feature="tagging")
        return values.tags_value(reply)

    async def put_object_tags(self, address: Address, tags: Mapping[str, str]) -> None:
        if not tags:  # moto breaks on an empty set
            await self._call("delete_object_tagging", str(address), _where(address), feature="tagging")
            return
        parameters = {**_where(address), "Tagging": values.tag_set(tags)}
        await self._call("put_object_tagging", str(address), parameters, feature="tagging")

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
        parameters = {
            **_where(to),
            **_source_parameters(source, source_version, source_if_match),
            **(values.attribute_parameters(attributes) if attributes else {}),
            "MetadataDirective": "REPLACE" if attributes else None,
        }
        # botocore 1.40 does not know the conditions of a copy's target.
        with (
            refused_as_existing(conditions, source_if_match=source_if_match),
            _with_headers(replies.headers_of_conditions(conditions)),
        ):
            reply = await self._call(
                "copy_object",
                str(to),
                parameters,
                feature="object_acl" if attributes and attributes.acl else None,
                is_write=bool(conditions.if_absent or conditions.if_match),
            )
        result = reply.get("CopyObjectResult", {})
        modified = result.get("LastModified")
        info = replies.assembled_object(to, result.get("ETag"), None, values.raw_headers(reply))
        return replace(info, last_modified=values.utc(modified))

    # Multipart uploads

    async def create_upload(
        self, address: Address, attributes: ObjectAttributes, on_doubt: Callable[[], None] | None = None
    ) -> CreatedUpload:
        reply = await self._call(
            "create_multipart_upload",
            str(address),
            {**_where(address), **values.attribute_parameters(attributes)},
            feature="object_acl" if attributes.acl else None,
            on_doubt=on_doubt,
        )
        upload_id = cast(str, values.required(reply, "UploadId") or refuse_reply("a reply without UploadId"))
        return CreatedUpload(upload_id, replies.time_of_reply(values.raw_headers(reply)))

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
        digest = await _integrity.md5(body) if verify else None
        parameters = {
            **_where(address),
            "UploadId": upload_id,
            "PartNumber": number,
            **_body_parameters(body, digest),
        }
        reply = await self._call("upload_part", str(address), parameters, sent=sent)
        self._gate.bytes_sent += len(body)
        etag, verified = _checked_etag(f"upload_part {address}", reply, digest)
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
        parameters = {
            **_where(to),
            **_source_parameters(source, source_version, source_if_match),
            "UploadId": upload_id,
            "PartNumber": number,
            "CopySourceRange": str(byte_range) if byte_range else None,
        }
        reply = await self._call("upload_part_copy", str(to), parameters)
        etag = replies.unquoted(values.required(reply, "CopyPartResult", "ETag"))
        return Part(number, etag or refuse_reply("a reply without ETag"))

    async def complete_upload(
        self, address: Address, upload_id: str, parts: Sequence[Part], conditions: WriteConditions
    ) -> ObjectInfo:
        parameters = {
            **_where(address),
            **values.condition_parameters(conditions),
            "UploadId": upload_id,
            "MultipartUpload": {"Parts": [{"ETag": f'"{part.etag}"', "PartNumber": part.number} for part in parts]},
        }
        with refused_as_existing(conditions):
            reply = await self._call("complete_multipart_upload", str(address), parameters, is_write=True)
        return replies.assembled_object(address, reply.get("ETag"), None, values.raw_headers(reply))

    async def list_parts(self, address: Address, upload_id: str, cursor: Cursor | None = None) -> Page[Part]:
        parameters = {
            **_where(address),
            "UploadId": upload_id,
            "PartNumberMarker": replies.whole(cursor[0]) if cursor else None,
        }
        reply = await self._call("list_parts", str(address), parameters)
        parts = [
            Part(values.required(part, "PartNumber"), replies.unquoted(part.get("ETag")) or "", part.get("Size"))
            for part in reply.get("Parts", ())
        ]
        marker = str(reply.get("NextPartNumberMarker") or "")
        return Page(parts, replies.next_cursor(reply.get("IsTruncated"), [marker]))

    async def abort_upload(self, address: Address, upload_id: str) -> None:
        await self._call("abort_multipart_upload", str(address), {**_where(address), "UploadId": upload_id})

    # The one door

    async def _call(
        self,
        operation: str,
        where: str,
        parameters: Mapping[str, object],
        *,
        feature: Feature | None = None,
        done_earlier: str | None = None,
        is_write: bool = False,
        sent: Gauge | None = None,
        on_doubt: Callable[[], None] | None = None,
    ) -> Reply:
        """One S3 request, tried as often as it takes. Parameters that are None are left out.

        ``done_earlier`` is the error code by which an attempt learns that an earlier one did it, whose reply was lost.
        """
        is_lost = False

        async def attempt() -> Reply:
            nonlocal is_lost
            try:
                return await self._attempt(operation, where, parameters, feature, sent)
            except AttemptFailed as failed:
                error = failed.failure.error
                if is_lost and isinstance(error, ServiceError) and error.code == done_earlier:
                    return {}
                is_lost |= failed.failure.may_be_done
                raise

        return await self._gate.retrier.run(attempt, is_write=is_write, on_doubt=on_doubt)

    async def _attempt(
        self,
        operation: str,
        where: str,
        parameters: Mapping[str, object],
        feature: Feature | None,
        sent: Gauge | None,
    ) -> Reply:
        given = {name: value for name, value in parameters.items() if value is not None}
        gate = self._gate
        await gate.enter(gate.requests)
        decreases = gate.retrier.crowd.decreases
        attempt = _Attempt(sent, is_slow=operation in SLOW_OPERATIONS)
        try:
            await gate.keep_pace()
            gate.leave()
            self._busy += 1
            token = _current_attempt.set(attempt)
            try:
                reply = await getattr(self._client, operation)(**given)
                # aiobotocore's own body differs from release to release: what we opened is what we read.
                return {**reply, "Body": attempt.response} if "Body" in reply else cast(Reply, reply)
            finally:
                _current_attempt.reset(token)
                self._busy -= 1
        except Exception as error:
            attempt.close()
            if gate.closed or isinstance(error, SessionClosedError):
                closed = closed_meanwhile()
                closed.in_doubt = True  # it may have left
                raise closed from error
            status = attempt.response.status if attempt.response else None
            failure = values.translate(error, status, self._context_of(f"{operation} {where}", feature))
            if failure is None:
                raise
            if failure.error is not error:
                failure.error.__cause__ = error
            raise AttemptFailed(failure, decreases) from error
        except BaseException:
            attempt.close()
            raise
        finally:
            gate.requests.give_back()

    def _context_of(self, what: str, feature: Feature | None) -> Context:
        return Context(what, self._service, feature, time.time(), self._gate.clock_offset)

    async def _send(self, request: Any, event_name: str, **_: object) -> AioAWSResponse:
        """What botocore prepared, signed and sent: its ``before-send`` hook."""
        body = _plain_body(request.body)
        host = urlsplit(request.url).netloc
        if host != self._service.host and not host.endswith(f".{self._service.host}"):
            msg = f"the request would leave for {host!r}, which is not of {self._service.endpoint}"
            raise ValueError(msg)
        if "Transfer-Encoding" in request.headers:
            msg = "trailing checksums are refused by older Ceph and by B2: leave ChecksumAlgorithm out"
            raise ValueError(msg)
        given = {**request.headers, **_extra_headers.get()}
        headers = await self._signed(request.method, request.url, given, body)
        outgoing = body if isinstance(body, bytes | bytearray) else _read_chunks(body)
        attempt = _current_attempt.get()
        try:
            with self._gate.waiting():
                response = await self._http.send(
                    request.method,
                    request.url,
                    headers,
                    outgoing,
                    proxy=self._proxy,
                    sent=attempt.sent if attempt else None,
                )
        except DreamObjectsError as error:
            raise _without_frames(error) from error.__cause__
        finally:
            headers = {}  # no traceback with its locals shows a signature
        if attempt:
            attempt.response = response
        names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers}
        if request.stream_output and response.status < HTTPStatus.MULTIPLE_CHOICES:
            return AioAWSResponse(request.url, response.status, names, response)
        with self._gate.waiting():
            low_speed = 0.0 if attempt and attempt.is_slow else self._timeouts.low_speed / DOCUMENT_SLOWNESS
            document = (await read_document(response, self._timeouts, low_speed=low_speed)).lstrip()
        if document.startswith(b"<") and not _HTML.match(document) and _is_harmful(document):
            if response.ok:
                msg = f"a document type, or over {MOST_ELEMENTS:,} elements"
                raise ResponseParserError(msg)
            document = b""  # the status says enough
        if response.ok and _HTML.match(document):
            msg = "HTML where S3 has XML"
            raise ResponseParserError(msg)
        root, wanted = _ROOT.match(document), _ROOTS.get(event_name.rpartition(".")[2])
        if response.ok and wanted and root and root[1] != b"Error" and not root[1].startswith(wanted):
            msg = f"{root[1].decode()} where S3 has {wanted.decode()}"
            raise ResponseParserError(msg)
        # botocore looks for an error in a 200 of some requests only.
        status = HTTPStatus.INTERNAL_SERVER_ERROR if response.ok and _ERROR.match(document) else response.status
        return AioAWSResponse(request.url, status, names, _Document(document))

    async def _signed(self, method: str, url: str, headers: Mapping[str, str | bytes], body: object) -> dict[str, str]:
        signer = await self._gate.fresh_signer()
        parts = urlsplit(url)
        texts = {name.lower(): _text(value) for name, value in headers.items()}
        request = signing.Request(
            method=method,
            scheme=parts.scheme,
            host=parts.netloc,
            path=parts.path,
            resource=self._resource(parts.netloc, parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name: value for name, value in texts.items() if name not in _UNSIGNED_HEADERS},
        )
        if self._service.signature == "v2":
            return texts | signing.sign_v2(request, signer.credentials, self.now())
        # TLS protects the body; in the clear it is part of what is signed.
        payload = signing.UNSIGNED_PAYLOAD
        if parts.scheme == "http" and isinstance(body, bytes | bytearray):
            payload = await _integrity.sha256_hex(body)
        return texts | signer.sign(request, self.now(), payload)

    def _resource(self, host: str, path: str) -> str:
        bucket = host.removesuffix(f".{self._service.host}")
        return path if bucket == host else f"/{bucket}{path}"


def _without_frames(error: DreamObjectsError) -> DreamObjectsError:
    """Without those of aiohttp, whose locals hold the signed headers; nor of what it comes from."""
    forget_frames(error)
    return error


def _is_harmful(document: bytes) -> bool:
    """What botocore would take seconds for, on the event loop."""
    return b"<!DOCTYPE" in document[:LONGEST_PROLOG] or document.count(b"<") > 2 * MOST_ELEMENTS


class _Document:
    """A reply read already, as botocore reads it. What XML 1.0 forbids is made legible.

    Ceph RGW writes markers, prefixes and tokens as they are, also where it was asked to encode the keys.
    """

    def __init__(self, content: bytes) -> None:
        self._content = legible(content) if content.startswith(b"<") else content

    async def read(self) -> bytes:
        return self._content


class _Attempt:
    """An attempt under way, and the response it opened: botocore may fail on a response that is open already."""

    def __init__(self, sent: Gauge | None, *, is_slow: bool) -> None:
        self.sent, self.is_slow = sent, is_slow
        self.response: Response | None = None

    def close(self) -> None:
        if self.response is not None:
            self.response.close()


_current_attempt: ContextVar[_Attempt | None] = ContextVar("_current_attempt", default=None)


class BotoBody:
    """A ResponseBody over a GetObject reply."""

    content: bytes | None = None

    def __init__(self, wire: BotoWire, address: Address, reply: Reply) -> None:
        self._wire, self._response = wire, reply["Body"]
        pace = wire._gate.paces.receiving  # noqa: SLF001 - one thing in two classes
        self._reader = BodyReader(self._response, wire._timeouts, pace=pace)  # noqa: SLF001 - the same
        self._rest: Buffer = b""
        self.taken = 0
        headers = values.raw_headers(reply)
        replies.check_answer(self._response.status, headers)
        self.info = values.object_info(address.bucket, address.key, reply)
        self.etag, self.size = self.info.etag, self.info.size
        self.start, _ = replies.place_of(headers)
        self.length = replies.announced_length(headers)
        self.is_part = self._response.status == HTTPStatus.PARTIAL_CONTENT
        self.encryption = _encryption(reply)
        wire._busy += 1  # noqa: SLF001 - one thing in two classes
        self._is_closed = False

    async def read_chunk(self) -> bytes:
        gate = self._wire._gate  # noqa: SLF001 - one thing in two classes
        if self._rest:
            chunk, self._rest = bytes(self._rest), b""
        else:
            with gate.waiting():
                chunk = await self._reader.read_chunk()
            gate.bytes_received += len(chunk)
            gate.bytes_streamed += len(chunk)
        self.taken += len(chunk)
        return chunk

    async def read_into(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory) and (chunk := await self.read_chunk()):
            taken = min(len(chunk), len(memory) - position)
            memory[position : position + taken] = chunk[:taken]
            position += taken
            self._rest = memoryview(chunk)[taken:]
            self.taken -= len(self._rest)
        return position

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._wire._busy -= 1  # noqa: SLF001 - one thing in two classes
            self._response.release()


def _plain_body(body: Any) -> Any:
    """Bytes, however botocore wrapped them; a file of a ``boto_client()`` user stays one."""
    if body is None or isinstance(body, str):
        return (body or "").encode()
    if isinstance(body, io.BytesIO):
        start = body.tell()
        return body.getvalue()[start:] if start else body.getvalue()
    return body


async def _read_chunks(file: Any) -> AsyncIterator[bytes]:
    while chunk := await to_thread.run_sync(file.read, CHUNK_BYTES):
        yield chunk


def _where(address: Address) -> dict[str, object]:
    return {"Bucket": address.bucket, "Key": address.key}


def _acl_parameters(acl: CannedAcl | Acl) -> dict[str, object]:
    return {"AccessControlPolicy": values.acl_policy(acl)} if isinstance(acl, Acl) else {"ACL": acl}


def _encryption(reply: Reply) -> str | None:
    return "a customer's key" if "SSECustomerAlgorithm" in reply else reply.get("ServerSideEncryption")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _body_parameters(body: Buffer, digest: _integrity.Md5 | None) -> dict[str, object]:
    """A body as botocore takes it, which is no memoryview, and its digest."""
    parameters: dict[str, object] = {"Body": bytes(body) if isinstance(body, memoryview) else body}
    return parameters | ({"ContentMD5": base64.b64encode(digest.digest()).decode()} if digest else {})


def _checked_etag(what: str, reply: Reply, digest: _integrity.Md5 | None) -> tuple[str, bool]:
    etag = replies.unquoted(reply.get("ETag")) or refuse_reply("a reply without ETag", may_be_done=True)
    return etag, replies.check_etag(what, etag, _encryption(reply), digest)


def _source_parameters(source: Address, version: str | None, if_match: str | None) -> dict[str, object]:
    return {
        "CopySource": {
            "Bucket": source.bucket,
            "Key": source.key,
            **({"VersionId": quote(version, safe="")} if version else {}),
        },
        "CopySourceIfMatch": replies.quoted(if_match) if if_match is not None else None,
    }


_extra_headers: ContextVar[Mapping[str, str]] = ContextVar("_extra_headers", default={})  # noqa: B039 - never changed


@contextmanager
def _with_headers(headers: Mapping[str, str]) -> Iterator[None]:
    """For what botocore has no parameter for."""
    token = _extra_headers.set(headers)
    try:
        yield
    finally:
        _extra_headers.reset(token)
