"""Rare requests: aioboto3 makes them and reads their answers, ``Caller`` sends them.

botocore turns parameters into HTTP requests, and replies into values. It does nothing else:

- It adds no checksum header and no trailer: older Ceph and Backblaze B2 refuse or store them. Where S3 demands a digest,
  it sends Content-MD5.
- Its own signatures, retries, redirects and connections are off. So its debug log of a request shows no signature.
- ``Caller`` raises our error for a refusal before botocore sees the reply.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import UNSIGNED, xform_name
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from botocore.validate import ParamValidator

from aiodreamobjects import _integrity
from aiodreamobjects._concurrency import in_thread
from aiodreamobjects._config import Credentials, Limits, Timeouts
from aiodreamobjects._errors import DreamObjectsError, ServiceError, forget_frames
from aiodreamobjects._http.transport import Body, Buffer, Pieces, Response
from aiodreamobjects._limits import Places
from aiodreamobjects._s3 import replies
from aiodreamobjects._s3.boto_session import make_session, make_session_without_files, not_to_be_had
from aiodreamobjects._s3.call import Call, Caller, Destination
from aiodreamobjects._s3.errors import unreadable
from aiodreamobjects._s3.settings import BotoReply, ByBoto
from aiodreamobjects._service import Feature, Service

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from aiodreamobjects._s3.credentials import BotoSession

T = TypeVar("T")

CHUNK_BYTES = 256 << 10

_VERB: ContextVar[Verb | None] = ContextVar("aiodreamobjects_verb", default=None)
"""The verb for which botocore prepares its next request. None if a user of ``boto_client()`` asks."""

_CONDITIONS = frozenset({"if-match", "if-none-match"})

# Headers that the caller sets itself, or that botocore sends for its own HTTP library.
_NOT_SENT = frozenset({"accept-encoding", "connection", "content-length", "expect", "host", "user-agent"})


class Verb(NamedTuple):
    """A verb of this library that sends a request through botocore."""

    feature: Feature | None
    root: str = ""
    """The root of the reply's document. Empty if nobody reads it."""
    other_root: str = ""
    """Another name that some service gives this root."""


class Cold:
    """An aioboto3 client whose requests ``Caller`` signs, sends and tries again. Made on the loop that uses it."""

    def __init__(self, caller: Caller, client: S3Client, context: AbstractAsyncContextManager[S3Client]) -> None:
        self._caller, self.client, self._context = caller, client, context
        events = client.meta.events
        events.register_last("before-call.s3", _before_call)
        events.register("choose-signer.s3", _leave_unsigned)
        events.register("before-send.s3", self._send)

    @classmethod
    async def open(cls, caller: Caller, session: BotoSession | None, explicit: Credentials | None) -> Self:
        """Make the client in a thread with a loop of its own: botocore takes 0.1 s and more to build its S3 model.

        ``explicit`` credentials take precedence over those that the session finds.
        """
        gate = caller.gate
        client, context = await in_thread(
            lambda: asyncio.run(
                _make_client(
                    session, gate.service, gate.limits, gate.timeouts, explicit, is_anonymous=gate.is_anonymous
                )
            )
        )
        return cls(caller, client, context)

    async def aclose(self) -> None:
        await self._context.__aexit__(None, None, None)

    # Settings

    async def get(self, bucket: str, form: ByBoto[T], feature: Feature | None) -> T:
        return form.read(await self._ask(form.get, bucket, {}, Verb(feature, form.root, form.other_root)))

    def check(self, bucket: str, form: ByBoto[T], value: T) -> None:
        """Raise ValueError for a value of the wrong shape. Sends nothing."""
        meta = self.client.meta
        shape = meta.service_model.operation_model(meta.method_to_api_mapping[form.put]).input_shape
        report = ParamValidator().validate({"Bucket": bucket, **form.write(value)}, shape)
        if report.has_errors():
            msg = f"{form.put} s3://{bucket}: {report.generate_report()}"
            raise ValueError(msg)

    async def put(self, bucket: str, form: ByBoto[T], value: T, feature: Feature | None) -> None:
        await self._ask(form.put, bucket, form.write(value), Verb(feature))

    async def delete(self, bucket: str, form: ByBoto[T], feature: Feature | None) -> None:
        await self._ask(form.delete, bucket, {}, Verb(feature))

    async def _ask(self, operation: str, bucket: str, parameters: Mapping[str, Any], verb: Verb) -> BotoReply:
        token = _VERB.set(verb)
        try:
            return cast(BotoReply, await getattr(self.client, operation)(Bucket=bucket, **parameters))
        except boto.ParamValidationError as error:
            msg = f"{operation} s3://{bucket}: {error}"
            raise ValueError(msg) from None
        except ResponseParserError as error:
            raise unreadable(self._caller.context(f"{operation} s3://{bucket}", None), None) from error
        finally:
            _VERB.reset(token)

    # Requests that botocore prepared

    async def _send(self, request: Any, event_name: str, **_: object) -> AioAWSResponse:
        """Send a request that botocore prepared. This is its ``before-send`` hook."""
        name = event_name.rpartition(".")[2]
        call = await self._call_of(request, xform_name(name))
        try:
            verb = _VERB.get()
            response = await self._caller.send_document(call, verb.root if verb is not None else "")
        except DreamObjectsError as error:
            forget_frames(error)  # their locals hold botocore's request
            if _VERB.get() is not None or not isinstance(error, ServiceError):
                raise
            raise _also_client_error(error, self.client, name) from error.__cause__
        place = self._caller.gate.requests if call.keeps_place and response.content is None else None
        raw = _Raw(request.url, response, place)
        return AioAWSResponse(request.url, response.status, replies.texts(response.headers), raw)

    async def _call_of(self, request: Any, operation: str) -> Call:
        caller, parts = self._caller, urlsplit(request.url)
        service = caller.gate.service
        bucket_of_host = parts.netloc.removesuffix(service.host)
        if not parts.netloc.endswith(service.host) or bucket_of_host[-1:] not in ("", "."):
            msg = f"the request is addressed to {parts.netloc!r}, which does not belong to {service.endpoint}"
            raise ValueError(msg)
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        if "transfer-encoding" in headers:
            msg = "older Ceph and B2 refuse trailing checksums: leave ChecksumAlgorithm out"
            raise ValueError(msg)
        path = parts.path.removeprefix(service.path) or "/"
        resource = f"/{bucket_of_host[:-1]}{path}" if bucket_of_host else path
        call = Call(operation, request.method, "", "", caller.object if request.stream_output else caller.document)
        if request.method == "HEAD":
            call.expect = caller.head
        if operation in ("complete_multipart_upload", "copy_object", "upload_part_copy"):
            call.expect = caller.slow_document
        call.is_conditional = request.method != "GET" and not _CONDITIONS.isdisjoint(headers)
        call.keeps_place = bool(request.stream_output)
        verb = _VERB.get()
        if verb is not None:
            call.feature, call.other_root = verb.feature, verb.other_root
        call.destination = Destination(parts.netloc, parts.path, resource)
        call.where = f"s3:/{unquote(resource)}"
        call.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        call.headers = {name: value for name, value in headers.items() if name not in _NOT_SENT}
        body = _body_of(request.body, headers.get("content-length"))
        if isinstance(body, Pieces):
            call.body, call.payload_hash = body, "UNSIGNED-PAYLOAD"
        elif body:
            await caller.fill(call, body, verify=False)
        return call


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _body_of(body: Any, length: str | None) -> Body:
    """Return the body as bytes, however botocore wrapped it. A file of a ``boto_client()`` user is read as it is sent."""
    if body is None or isinstance(body, str):
        return (body or "").encode()
    if isinstance(body, io.BytesIO):
        return body.getvalue()[body.tell() :]
    if isinstance(body, bytes | bytearray):
        return body
    can_seek = getattr(body, "seekable", bool)()
    start = body.tell() if can_seek else 0
    is_begun = False

    async def read() -> AsyncGenerator[Buffer, None]:
        nonlocal is_begun
        if is_begun and not can_seek:
            msg = "the request failed, and its body cannot be read again: pass bytes, or a file that can seek"
            raise ValueError(msg)
        is_begun = True
        if can_seek:
            await in_thread(body.seek, start)
        while chunk := await in_thread(body.read, CHUNK_BYTES):
            yield chunk

    return Pieces(int(length or 0), read)


class _Raw:
    """A response with those attributes of aiohttp's that aiobotocore and its users read. It keeps its request's place."""

    def __init__(self, url: str, response: Response, place: Places | None) -> None:
        self.url, self._response, self._place = url, response, place
        self._loop = asyncio.get_running_loop()
        self._rest = memoryview(response.content or b"")
        self._is_at_end = response.content is not None
        self.content = self

    async def read(self, amount: int = -1) -> bytes:
        """Return the bytes that have arrived, at most ``amount``. If ``amount`` is negative, return all that are left."""
        if amount < 0:
            return b"".join([chunk async for chunk in self._chunks()])
        if not self._rest and not self._is_at_end:
            try:
                self._rest = memoryview(await self._response.read_chunk())
            except DreamObjectsError:
                self.close()
                raise
            self._is_at_end = not self._rest
        taken, self._rest = bytes(self._rest[:amount]), self._rest[amount:]
        if self.at_eof():
            self.close()
        return taken

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while chunk := await self.read(CHUNK_BYTES):
            yield chunk

    def at_eof(self) -> bool:
        return not self._rest and self._is_at_end

    def close(self) -> None:
        self._response.close()
        place, self._place = self._place, None
        if place is not None:
            place.give_back()

    release = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        """Give back the place of a body that nobody read to its end. The garbage collector may run in any thread."""
        if self._place is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_let_go, self._response, self._place)


def _let_go(response: Response, place: Places) -> None:
    response.close()
    place.give_back()


# Errors that belong to our tree and to botocore's


def _also_client_error(error: ServiceError, client: S3Client, operation: str) -> ServiceError:
    """Return the same error as a subclass of the ClientError that users of botocore catch."""
    kind = _both(type(error), cast("type[boto.ClientError]", client.exceptions.from_code(error.code)))
    made = kind.__new__(kind, *error.args)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    if isinstance(made, OSError):
        OSError.__setattr__(made, "errno", error.errno_value)
    metadata: dict[str, object] = {"RequestId": error.request_id, "HTTPStatusCode": error.status, "HTTPHeaders": {}}
    response = {"Error": {"Code": error.code, "Message": str(error)}, "ResponseMetadata": metadata}
    made.__dict__.update(response=response, operation_name=operation)
    return made


_BOTH: dict[tuple[type[ServiceError], type[boto.ClientError]], type[ServiceError]] = {}


def _both(ours: type[ServiceError], botos: type[boto.ClientError]) -> type[ServiceError]:
    def reduce(self: ServiceError) -> tuple[type[ServiceError], tuple[Any, ...], dict[str, object]]:
        return ours, self.args, self.__dict__  # pickle cannot find a class that was made at run time

    if (ours, botos) not in _BOTH:
        members = {"__reduce__": reduce, "__module__": ours.__module__}
        _BOTH[ours, botos] = type(ours.__name__, (ours, botos), members)
    return _BOTH[ours, botos]


# Making the client


async def _make_client(
    session: BotoSession | None,
    service: Service,
    limits: Limits,
    timeouts: Timeouts,
    explicit: Credentials | None,
    *,
    is_anonymous: bool,
) -> tuple[S3Client, AbstractAsyncContextManager[S3Client]]:
    signature = UNSIGNED if is_anonymous else {"v4": "s3v4", "v2": "s3"}[service.signature]
    config = AioConfig(
        signature_version=signature,  # with UNSIGNED, botocore does not even look for keys
        s3={"addressing_style": service.addressing, "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=limits.requests,
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
    )
    try:
        session = session or (make_session_without_files() if explicit or is_anonymous else make_session(None))
        create = session.create_client if isinstance(session, AioSession) else session.client
        context = create(
            "s3",
            region_name=service.region,
            endpoint_url=service.endpoint,
            aws_access_key_id=explicit.access_key if explicit else None,
            aws_secret_access_key=explicit.secret_key if explicit else None,
            aws_session_token=explicit.session_token if explicit else None,
            config=config,
        )
        return await context.__aenter__(), context
    except boto.BotoCoreError as error:
        raise not_to_be_had(error) from error


async def _before_call(model: Any, params: dict[str, Any], **_: object) -> None:
    """Send Content-MD5 instead of botocore's CRC32 where S3 demands a digest. Disable redirects and 100-continue."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True
    params["headers"].pop("Expect", None)
    checksum = params["context"].get("checksum", {})
    if model.http_checksum.get("requestChecksumRequired") and isinstance(params["body"], bytes | bytearray):
        checksum.pop("request_algorithm", None)
        checksum.pop("request_algorithm_header", None)
        digest = (await _integrity.md5(params["body"])).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _leave_unsigned(signature_version: object, **_: object) -> object:
    """Leave requests unsigned: ``Caller`` signs them. The client's own presigned URLs are botocore's."""
    is_presigning = isinstance(signature_version, str) and signature_version.endswith(("-query", "-presign-post"))
    return None if is_presigning else UNSIGNED
