"""The lane through an aioboto3 client: every request S3 has.

A request goes through one door, ``BotoWire._call``: limit, rate, attempt, retry, translation.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import anyio
from aiobotocore.awsrequest import AioAWSResponse
from anyio import to_thread
from botocore.parsers import ResponseParserError

from aiodreamobjects import _integrity
from aiodreamobjects._concurrency import RateLimiter, finish
from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._errors import (
    AlreadyExistsError,
    ChecksumMismatchError,
    ConnectionFailedError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    SessionClosedError,
)
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
from aiodreamobjects._service import Feature, Service
from aiodreamobjects._wire import boto_values as values
from aiodreamobjects._wire import signing
from aiodreamobjects._wire.boto_client import CredentialSource, OpenClient, take_over
from aiodreamobjects._wire.boto_values import Context, Reply
from aiodreamobjects._wire.contract import (
    Conditions,
    Cursor,
    Page,
    ResponseBody,
    Setting,
    VersionedKey,
    WriteConditions,
)
from aiodreamobjects._wire.retry import AttemptFailed, Retrier

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

CLOSING_SECONDS = 2.0
DAMAGED = "\ufffd"
# XML 1.0 section 2.2, as bytes and as references.
_FORBIDDEN_IN_XML = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    rb"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[1245-9]|2[0-9]|3[01]|6553[45]));",
    re.IGNORECASE,
)
_HTML = re.compile(rb"\s*<(!doctype )?html", re.IGNORECASE)

# Headers that travel but are not signed: proxies and HTTP libraries may change them.
_UNSIGNED_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "user-agent", "x-amzn-trace-id"}
)


class BotoWire:
    """The contract, kept by botocore's serialiser, our signatures and our connections. Made on the loop that uses it."""

    def __init__(
        self,
        opened: OpenClient,
        service: Service,
        credentials: CredentialSource,
        limits: Limits,
        timeouts: Timeouts,
        retry: Retry,
    ) -> None:
        self._client, self._context, self._proxy = opened.client, opened.context, opened.proxy
        self._service, self._credentials, self._timeouts, self._limits = service, credentials, timeouts, limits
        # A streamed body holds a connection and a place of its own, so that a pipe from one object to another
        # cannot wait for itself: hence twice the width.
        self._requests = anyio.Semaphore(limits.requests)
        self._streams = anyio.Semaphore(limits.requests)
        self._http = HttpClient(width=2 * limits.requests, timeouts=timeouts, ssl_context=opened.ssl_context)
        self._retrier = Retrier(retry, self.sleep)
        self._rate = RateLimiter(limits.requests_per_second)
        self._waits: set[anyio.CancelScope] = set()
        self._clock_offset = timedelta()
        self._closed = False
        self._sent = self._busy = self._bytes_sent = self._bytes_received = 0
        take_over(self._client, self._send)
        self._refresher = asyncio.create_task(credentials.keep_fresh())

    async def aclose(self) -> None:
        self._closed = True
        for scope in self._waits:
            scope.cancel()
        await finish(self._release())

    async def _release(self) -> None:
        self._refresher.cancel()
        await asyncio.wait({self._refresher})
        with anyio.move_on_after(CLOSING_SECONDS):  # a peer that takes no bytes is not waited for
            await self._http.aclose()
        await self._context.__aexit__(None, None, None)

    def statistics(self) -> Statistics:
        connections = self._http.open_connections
        return Statistics(
            requests=self._sent,
            retries=self._retrier.retries,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            open_connections=connections,
            idle_connections=max(0, connections - self._busy),
        )

    def credentials(self) -> Credentials:
        return self._credentials.current

    def now(self) -> datetime:
        return datetime.now(UTC) + self._clock_offset

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
        reply = await self._call(
            "list_objects_v2",
            f"s3://{bucket}/{prefix}",
            {
                "Bucket": bucket,
                "Prefix": prefix or None,
                "Delimiter": delimiter or None,
                "StartAfter": (cursor[1] or None) if cursor else start_after,
                "ContinuationToken": (cursor[0] or None) if cursor else None,
                "MaxKeys": max_keys,
                "EncodingType": "url",
            },
        )
        decode = _key_decoder(reply, "Contents", "CommonPrefixes")
        found = [
            values.listed_object(bucket, item, decode(values.required(item, "Key")))
            for item in reply.get("Contents", ())
        ]
        prefixes = [
            CommonPrefix(bucket, decode(values.required(item, "Prefix"))) for item in reply.get("CommonPrefixes", ())
        ]
        items: list[ObjectInfo | CommonPrefix] = [*found, *prefixes]
        if prefixes:
            items.sort(key=_utf8_order)
        token = _next(reply, "NextContinuationToken")
        if token is None or DAMAGED not in token[0] or not items:
            return Page(items, token and (*token, ""))
        return Page(items, ("", _end_of(items[-1])))

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
        decode = _key_decoder(reply, "Versions", "DeleteMarkers")
        items = [
            replace(
                values.listed_object(bucket, item, decode(values.required(item, "Key"))), is_delete_marker=is_marker
            )
            for name, is_marker in (("Versions", False), ("DeleteMarkers", True))
            for item in reply.get(name, ())
        ]
        items.sort(key=_newest_first)
        return Page(items, _next(reply, "NextKeyMarker", "NextVersionIdMarker", decode=decode, last=items[-1:]))

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
            decode = unquote_plus
            parameters["EncodingType"] = "url"
            reply = await self._call("list_multipart_uploads", f"s3://{bucket}/{prefix}", parameters)
        items = [
            values.listed_upload(bucket, item, decode(values.required(item, "Key")))
            for item in reply.get("Uploads", ())
        ]
        return Page(items, _next(reply, "NextKeyMarker", "NextUploadIdMarker", decode=decode, last=items[-1:]))

    async def delete_objects(
        self, bucket: str, keys: Sequence[VersionedKey]
    ) -> Mapping[VersionedKey, ServiceError | None]:
        # Not "Quiet": a key that the reply does not name is a key of which nothing is known.
        asked = [{"Key": key.key} | ({"VersionId": key.version_id} if key.version_id else {}) for key in keys]
        reply = await self._call("delete_objects", f"s3://{bucket}", {"Bucket": bucket, "Delete": {"Objects": asked}})
        outcome: dict[tuple[str | None, str | None], ServiceError | None] = {}
        for item in reply.get("Deleted", ()):
            outcome[item.get("Key"), item.get("VersionId") or None] = None
        for item in reply.get("Errors", ()):
            what = f"delete s3://{bucket}/{item.get('Key', '')}"
            error = values.service_error_of_key(item.get("Code", ""), item.get("Message", ""), what, self._service)
            outcome[item.get("Key"), item.get("VersionId") or None] = error
        return {key: outcome.get((key.key, key.version_id), _unanswered(bucket, key)) for key in keys}

    # Objects

    async def put_object(
        self, address: Address, body: bytes, attributes: ObjectAttributes, conditions: WriteConditions
    ) -> ObjectInfo:
        digest = await _integrity.md5(body)
        parameters = {
            **_where(address),
            "Body": body,
            "ContentMD5": base64.b64encode(digest.digest()).decode(),
            "ContentType": attributes.content_type,
            "Metadata": dict(attributes.metadata) if attributes.metadata else None,
            "CacheControl": attributes.cache_control,
            "ContentDisposition": attributes.content_disposition,
            "ContentEncoding": attributes.content_encoding,
            "StorageClass": attributes.storage_class,
            "ACL": attributes.acl,
            "IfNoneMatch": "*" if conditions.if_absent else None,
            # Unquoted: Ceph RGW 16.2 refuses the quotes here, S3's own examples have none.
            "IfMatch": values.unquoted(conditions.if_match),
        }
        feature: Feature | None = "object_acl" if attributes.acl else None
        try:
            reply = await self._call("put_object", str(address), parameters, feature=feature, is_write=True)
        except PreconditionFailedError as error:
            if not conditions.if_absent:
                raise
            refused = AlreadyExistsError(str(error), code=error.code, status=error.status, request_id=error.request_id)
            for note in getattr(error, "__notes__", ()):
                refused.add_note(note)
            raise refused from error
        self._bytes_sent += len(body)
        etag = values.unquoted(values.required(reply, "ETag"))
        expected = _integrity.md5_of_etag(etag, _encryption(reply))
        if expected is not None and expected != digest.hexdigest():
            msg = f"put_object {address}: the service stored other bytes: ETag {etag}, MD5 {digest.hexdigest()}"
            raise ChecksumMismatchError(msg)
        return ObjectInfo(
            bucket=address.bucket,
            key=address.key,
            size=len(body),
            etag=etag,
            content_type=attributes.content_type,
            metadata={name.lower(): value for name, value in (attributes.metadata or {}).items()},
            version_id=values.version_id(reply),
            storage_class=attributes.storage_class,
            cache_control=attributes.cache_control,
            content_disposition=attributes.content_disposition,
            content_encoding=attributes.content_encoding,
        )

    @asynccontextmanager
    async def get_object(
        self, address: Address, *, byte_range: ByteRange | None, conditions: Conditions
    ) -> AsyncIterator[ResponseBody]:
        async with self._slot(self._streams):
            reply = await self._call(
                "get_object",
                str(address),
                {
                    **_where(address),
                    "Range": str(byte_range) if byte_range else None,
                    "IfMatch": _quoted(conditions.if_match),
                    "IfNoneMatch": _quoted(conditions.if_none_match),
                    "VersionId": conditions.version_id,
                },
            )
            self._busy += 1
            try:
                async with reply["Body"] as response:
                    yield BotoBody(self, address, reply, BodyReader(response, self._timeouts))
            finally:
                self._busy -= 1

    async def head_object(self, address: Address) -> ObjectInfo:
        reply = await self._call("head_object", str(address), _where(address))
        return values.object_info(address.bucket, address.key, reply)

    async def delete_object(self, address: Address, version_id: str | None) -> None:
        await self._call("delete_object", str(address), {**_where(address), "VersionId": version_id})

    async def get_object_acl(self, address: Address) -> Acl:
        reply = await self._call("get_object_acl", str(address), _where(address))
        return values.acl_value(reply)

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl) -> None:
        parameters = {**_where(address), **_acl_parameters(acl)}
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
    ) -> Reply:
        """One S3 request, tried as often as it takes. Parameters that are None are left out.

        ``done_earlier`` is the error code by which an attempt learns that an earlier one did it, whose reply was lost.
        """
        context = Context(f"{operation} {where}", feature)
        may_be_done = False

        async def attempt(_: int) -> Reply:
            nonlocal may_be_done
            try:
                return await self._attempt(operation, parameters, context)
            except AttemptFailed as failed:
                error = failed.failure.error
                if may_be_done and isinstance(error, ServiceError) and error.code == done_earlier:
                    return {}
                if is_write and may_be_done and isinstance(error, PreconditionFailedError):
                    error.args = (
                        f"{error}; an earlier attempt of this very call, whose reply was lost, may have done it",
                    )
                may_be_done |= failed.failure.may_be_done
                raise

        return await self._retrier.run(attempt)

    async def _attempt(self, operation: str, parameters: Mapping[str, object], context: Context) -> Reply:
        given = {name: value for name, value in parameters.items() if value is not None}
        async with self._slot(self._requests):
            with self._waiting():
                await self._rate.wait()
            self._busy += 1
            attempt = _Attempt()
            token = _current_attempt.set(attempt)
            try:
                reply = await getattr(self._client, operation)(**given)
                # aiobotocore's own body differs from release to release: what we opened is what we read.
                return {**reply, "Body": attempt.response} if "Body" in reply else cast(Reply, reply)
            except Exception as error:
                attempt.close()
                if self._closed:
                    raise _closed_meanwhile() from error
                now = datetime.now(UTC)
                status = attempt.response.status if attempt.response else None
                failure = values.translate(error, status, self._service, context, now, self._clock_offset)
                if failure is None:
                    raise
                if failure.clock_offset is not None:
                    self._clock_offset = failure.clock_offset
                if failure.error is not error:
                    failure.error.__cause__ = error
                raise AttemptFailed(failure) from error
            except BaseException:
                attempt.close()
                raise
            finally:
                _current_attempt.reset(token)
                self._busy -= 1

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """A wait that the session's closing ends, with SessionClosedError."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
        if self._closed:
            raise _closed_meanwhile()

    async def sleep(self, seconds: float) -> None:
        with self._waiting():
            await anyio.sleep(seconds)

    @asynccontextmanager
    async def _slot(self, slots: anyio.Semaphore) -> AsyncIterator[None]:
        try:
            with self._waiting(), anyio.fail_after(self._timeouts.pool):
                await slots.acquire()
        except TimeoutError as error:
            msg = (
                f"no place became free within Timeouts.pool={self._timeouts.pool:g} s: "
                f"Limits.requests={self._limits.requests} are in use"
            )
            raise ConnectionFailedError(msg) from error
        try:
            yield
        finally:
            slots.release()

    async def _send(self, request: Any, **_: object) -> AioAWSResponse:
        """What botocore prepared, signed and sent: its ``before-send`` hook."""
        body = _plain_body(request.body)
        if "Transfer-Encoding" in request.headers:
            msg = "trailing checksums are refused by older Ceph and by B2: leave ChecksumAlgorithm out"
            raise ValueError(msg)
        headers = await self._signed(request.method, request.url, request.headers, body)
        outgoing = body if isinstance(body, bytes | bytearray) else _read_chunks(body)
        self._sent += 1
        with self._waiting():
            response = await self._http.send(request.method, request.url, headers, outgoing, proxy=self._proxy)
        if attempt := _current_attempt.get():
            attempt.response = response
        names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers}
        if request.stream_output and response.status < HTTPStatus.MULTIPLE_CHOICES:
            return AioAWSResponse(request.url, response.status, names, response)
        with self._waiting():
            document = await read_document(response, self._timeouts)
        if response.ok and _HTML.match(document):
            msg = "HTML where S3 has XML"
            raise ResponseParserError(msg)
        return AioAWSResponse(request.url, response.status, names, _Document(document))

    async def _signed(self, method: str, url: str, headers: Mapping[str, str | bytes], body: object) -> dict[str, str]:
        credentials = await self._credentials.fresh()
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
            return texts | signing.sign_v2(request, credentials, self.now())
        # TLS protects the body; in the clear it is part of what is signed.
        payload = signing.UNSIGNED_PAYLOAD
        if parts.scheme == "http" and isinstance(body, bytes | bytearray):
            payload = await _integrity.sha256_hex(body)
        return texts | signing.sign_v4(request, credentials, self._service.region, self.now(), payload)

    def _resource(self, host: str, path: str) -> str:
        bucket = host.removesuffix(f".{self._service.host}")
        return path if bucket == host else f"/{bucket}{path}"


class _Document:
    """A reply read already, as botocore reads it. What XML 1.0 forbids is made legible.

    Ceph RGW writes markers, prefixes and tokens as they are, also where it was asked to encode the keys.
    """

    def __init__(self, content: bytes) -> None:
        self._content = _FORBIDDEN_IN_XML.sub(DAMAGED.encode(), content) if content.startswith(b"<") else content

    async def read(self) -> bytes:
        return self._content


class _Attempt:
    """An attempt under way, and the response it opened: botocore may fail on a response that is open already."""

    def __init__(self) -> None:
        self.response: Response | None = None

    def close(self) -> None:
        if self.response is not None:
            self.response.close()


_current_attempt: ContextVar[_Attempt | None] = ContextVar("_current_attempt", default=None)


class BotoBody:
    """A ResponseBody over a GetObject reply."""

    def __init__(self, wire: BotoWire, address: Address, reply: Reply, reader: BodyReader) -> None:
        self._wire, self._reader = wire, reader
        self.info = values.object_info(address.bucket, address.key, reply)
        self.start = values.start_of_content_range(reply["ContentRange"]) if "ContentRange" in reply else 0
        self.length: int | None = reply.get("ContentLength")
        self.encryption = _encryption(reply)

    async def read_chunk(self) -> bytes:
        with self._wire._waiting():  # noqa: SLF001 - one thing in two classes
            chunk = await self._reader.read_chunk()
        self._wire._bytes_received += len(chunk)  # noqa: SLF001 - one thing in two classes
        return chunk


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


def _key_decoder(reply: Reply, *names: str) -> Callable[[str], str]:
    """How this page's keys are read; UNREADABLE if they were not encoded and XML could not carry them."""
    decode = values.listed_keys(reply)
    if decode is str:
        for item in (item for name in names for item in reply.get(name, ())):
            if DAMAGED in item.get("Key", "") or DAMAGED in item.get("Prefix", ""):
                values.refuse_reply("a key that XML cannot carry, and did not encode it")
    return decode


def _end_of(item: ObjectInfo | CommonPrefix) -> str:
    """What a listing starts after to go on behind this item."""
    return item.key if isinstance(item, ObjectInfo) else f"{item.prefix}\U0010ffff"


def _quoted(etag: str | None) -> str | None:
    return etag if etag is None or etag == "*" or etag.endswith('"') else f'"{etag}"'


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _utf8_order(item: ObjectInfo | CommonPrefix) -> bytes:
    return (item.key if isinstance(item, ObjectInfo) else item.prefix).encode("utf-8", "surrogatepass")


def _newest_first(item: ObjectInfo) -> tuple[bytes, bool, float]:
    age = -item.last_modified.timestamp() if item.last_modified else 0.0
    return _utf8_order(item), not item.is_latest, age


def _next(
    reply: Reply,
    *names: str,
    decode: Callable[[str], str] = str,
    last: Sequence[ObjectInfo | UploadInfo] = (),
) -> Cursor | None:
    """Where the listing goes on; a key marker is encoded as the keys are, but not by Ceph RGW."""
    if "IsTruncated" not in reply:
        values.refuse_reply("a listing without IsTruncated")
    if not reply["IsTruncated"]:
        return None
    key, *rest = (str(reply.get(name) or "") for name in names)
    if not key:
        values.refuse_reply("a listing that goes on, but not where")
    if last and (DAMAGED in key or last[0].key == key):
        return (last[0].key, *rest)
    return (decode(key), *rest)


def _unanswered(bucket: str, key: VersionedKey) -> ServiceError:
    msg = f"delete {Address(bucket, key.key)}: the service does not say what became of it"
    return ServiceError(msg, code="Unanswered", status=HTTPStatus.OK, retryable=True)


def _closed_meanwhile() -> SessionClosedError:
    return SessionClosedError("the session was closed while this request was under way")
