"""Send one S3 request: place, pace, signature, answer, retries. Every request of a session passes here, and only here."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from aiodreamobjects import _checksums, _integrity
from aiodreamobjects._concurrency import compute_in_thread, finish, in_thread
from aiodreamobjects._encryption import Encryption, SseCustomer, feature_of
from aiodreamobjects._errors import (
    ConnectionFailedError,
    DreamObjectsError,
    IncompleteBodyError,
    ServiceError,
    SessionClosedError,
    UnsupportedByServiceError,
)
from aiodreamobjects._http.transport import Body, Buffer, Expect, HeaderLines, Request, Response, Transport
from aiodreamobjects._models import Address, Checksum, printable
from aiodreamobjects._progress import Gauge
from aiodreamobjects._s3 import replies, signing, xml
from aiodreamobjects._s3.errors import (
    Context,
    Refusal,
    Words,
    failure_of,
    failure_of_refusal,
    unknown_part,
    unreadable,
)
from aiodreamobjects._s3.gate import DOCUMENT_SLOWNESS, Gate, closed_meanwhile
from aiodreamobjects._s3.options import NOTHING
from aiodreamobjects._s3.retry import Failure, Unsuccessful, facts_of
from aiodreamobjects._s3.signing import Signer
from aiodreamobjects._service import Feature, is_loopback, quote_key

if TYPE_CHECKING:
    from aiodreamobjects._trace import Record

WHOLE_BYTES = 64 << 10
"""An object's body up to this length is received together with the head. A longer one is streamed."""
INLINE_BYTES = 256 << 10
"""A document up to this length is parsed on the event loop, in a few milliseconds. A longer one is parsed in a thread."""
LONGEST_ERROR_BYTES = 64 << 10
"""A longer error document is not parsed: the status says enough."""

_ALWAYS_SENT = "accept-encoding: identity\r\nuser-agent: aiodreamobjects\r\n"
_SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_WITH_BODY = ("PUT", "POST")
_NOT_SENDABLE = re.compile("[\r\n\0]|[^\0-\xff]").search
"""A line end, or a character that is not one byte."""


def _sends_key(headers: Mapping[str, str]) -> bool:
    """Return whether these headers of a request hold a customer's key."""
    return any("-customer-key" in name for name in headers)


T = TypeVar("T")

_log = logging.getLogger("aiodreamobjects.retry")


class Destination(NamedTuple):
    """Where botocore addressed a request: host, path, and the path that SigV2 signs."""

    host: str
    path: str
    resource: str


@dataclass(slots=True, repr=False)
class Call:
    """One S3 request, and what its answer may look like."""

    operation: str
    method: str
    bucket: str
    key: str
    expect: Expect
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    sent: Gauge | None = None
    payload_hash: str = ""
    feature: Feature | None = None
    """The feature that this request needs, if some services lack it by design."""
    is_conditional: bool = False
    """Whether a retry may be refused because the first attempt succeeded."""
    on_doubt: Callable[[], None] | None = None
    """Called for each failed attempt that the service may have carried out."""
    keeps_place: bool = False
    """Whether a streamed body keeps the request's place."""
    may_be_empty: bool = False
    """Whether a success may come without a document."""
    other_root: str = ""
    """Another name that some service gives the root of the reply's document."""
    where: str = ""
    """The subject of an error message, if it is not the bucket or the object."""
    destination: Destination | None = None
    may_be_missing: bool = False
    """Whether the caller expects that there may be no such object or bucket."""
    record: Record | None = None
    """What an observer will be told of this call. None without an observer, and when it was told."""

    @property
    def may_be_misread(self) -> bool:
        """Whether a service that does not know this request may take it for another one.

        Some ignore a subresource such as ``?acl`` and answer for the whole bucket or object. Some take the copy of a part
        for the upload of an empty one.
        """
        names_a_part = self.method == "GET" and "" in self.query.values()
        return names_a_part or self.operation == "upload_part_copy"

    def __str__(self) -> str:
        where = self.where or (f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}")
        return printable(f"{self.operation} {where}")


class Caller:
    """Sends the requests of one session. Made on the loop that uses it."""

    def __init__(self, gate: Gate, transport: Transport) -> None:
        self.gate, self.transport = gate, transport
        service, low_speed = gate.service, gate.timeouts.low_speed
        self._scheme, self._host, self._path = service.scheme, service.host, service.path
        self._is_in_the_clear = self._scheme == "http" and not is_loopback(self._host)
        self._is_path_style, self._is_v4 = service.addressing == "path", service.signature == "v4"
        # TLS protects the body. Over plain http the signature must cover it, unless the user says that nobody can change it.
        is_signed = self._is_v4 and not gate.is_anonymous
        self._signs_payload = is_signed and self._scheme == "http" and service.signs_payload
        self._hash_of_nothing = _SHA256_OF_NOTHING if self._signs_payload else signing.UNSIGNED_PAYLOAD
        gate.movements.append(transport.bytes_moved)
        self.object = Expect(low_speed, stream_from=WHOLE_BYTES)
        self.document = Expect(low_speed / DOCUMENT_SLOWNESS)
        # S3 sends a blank now and then while it copies or completes, so only silence counts (S3 API reference).
        self.slow_document = Expect(low_speed=0)
        self.head = Expect(low_speed, is_head=True)

    async def send(self, call: Call) -> Response:
        """Return a successful response, for a caller that needs no document.

        Only a GET of an object has a body. Anything else may be an error document sent with a 200, so parse it.
        """
        attempt = self._attempt if call.expect is self.object else self._attempt_without_document
        return await self._run(call, partial(attempt, call))

    async def document_of(self, call: Call, root_name: str) -> xml.Element:
        """Return the root of the reply's document."""
        return (await self.reply(call, root_name))[2]

    async def reply(self, call: Call, root_name: str) -> tuple[Response, Iterable[xml.Entry], xml.Element]:
        """Return the response and its document. A 200 may hold an error document: retry that like any other error."""

        async def attempt() -> tuple[Response, Iterable[xml.Entry], xml.Element]:
            response = await self._attempt(call)
            return response, *await self._read(call, response, root_name)

        return await self._run(call, attempt)

    async def send_document(self, call: Call, root_name: str = "") -> Response:
        """Return a response for botocore to parse, once we know that it is not an error.

        With ``root_name``, its document must have this root; ``{`` stands for JSON. An XML document is complete, and free
        of characters that XML 1.0 forbids.
        """
        if call.expect is self.object:
            return await self.send(call)

        async def attempt() -> Response:
            response = await self._attempt(call)
            document = (response.content or b"").lstrip()
            if root_name and (not document or document.startswith(b"<") == (root_name == "{")):
                raise self._unknown(call, response)
            if document.startswith(b"<"):
                await self._read(call, response, root_name)
                response.content = xml.legible(document)
            return response

        return await self._run(call, attempt)

    async def fill(
        self, call: Call, body: Buffer, *, verify: bool = True, checksum: Checksum | None = None
    ) -> _integrity.Md5 | None:
        """Set the call's body and the digests that it needs. Return the body's MD5, unless ``verify`` is off."""
        call.body = body
        digest = _integrity.Md5() if verify else None
        if digest is None and checksum is None and not self._signs_payload:
            return None
        if len(body) <= _integrity.INLINE_BYTES:
            self._set_digests(call, body, digest, checksum)
        else:
            await compute_in_thread(self._set_digests, call, body, digest, checksum)
        return digest

    def _set_digests(self, call: Call, body: Buffer, digest: _integrity.Md5 | None, checksum: Checksum | None) -> None:
        if digest is not None:
            digest.add(body)
            call.headers = {**call.headers, "content-md5": base64.b64encode(digest.digest()).decode()}
        if checksum is not None:
            call.headers = {**call.headers, _checksums.header_of(checksum): _checksums.compute(checksum, body)}
        if self._signs_payload:
            call.payload_hash = hashlib.sha256(body).hexdigest()

    def require_encryption(self, encryption: Encryption) -> None:
        """Raise UnsupportedByServiceError if the service is known not to encrypt in this way.

        Raise ValueError if a customer's key would travel in the clear.
        """
        service = self.gate.service
        if (advice := service.unsupported.get(feature_of(encryption))) is not None:
            msg = f"{service.name} does not encrypt with {encryption!r}; {advice}"
            raise UnsupportedByServiceError(msg, code="NotImplemented")
        if self._is_in_the_clear and isinstance(encryption, SseCustomer):
            raise self._shown_key()

    def _shown_key(self) -> ValueError:
        endpoint = self.gate.service.endpoint
        return ValueError(
            f"encryption=SseCustomer(...): the key would go to {endpoint} in the clear; use an https endpoint"
        )

    def ignored_encryption(self, address: Address, encryption: Encryption) -> UnsupportedByServiceError:
        """Return the error for an object that was stored without the encryption that was asked for. Remember the lack."""
        service = self.gate.service
        self.gate.note_lack(feature_of(encryption), "it ignored that earlier in this session")
        msg = (
            f"{address} was stored, but {service.name} did not encrypt it with {encryption!r}: "
            "delete it, or store it without encryption="
        )
        error = UnsupportedByServiceError(msg, code="NotImplemented")
        error.in_doubt = True
        return error

    def context(self, what: str, feature: Feature | None, headers: Mapping[str, str] = NOTHING) -> Context:
        """Return what an error message needs to know. ``headers`` are those of the request."""
        gate = self.gate
        return Context(
            what,
            gate.service,
            feature,
            gate.clock(),
            gate.clock_offset,
            is_anonymous=gate.is_anonymous,
            sends_key=_sends_key(headers),
        )

    async def send_for_effect(self, call: Call, *, done_earlier: str) -> None:
        """Send a request whose reply does not matter, only its effect.

        ``done_earlier`` is the error code of a retry after an attempt that worked but lost its reply: count it as success.
        """
        call.is_conditional = True
        is_lost = False

        async def attempt() -> None:
            nonlocal is_lost
            try:
                await self._attempt_without_document(call)
            except Unsuccessful as failed:
                error = failed.failure.error
                if is_lost and isinstance(error, ServiceError) and error.code == done_earlier:
                    return
                is_lost |= failed.failure.may_be_done
                raise

        await self._run(call, attempt)

    # Attempts

    def _run(self, call: Call, attempt: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        gate = self.gate
        gate.calls[call.operation] += 1
        if gate.watch is not None:
            is_plain = call.destination is None and (self._is_path_style or not call.bucket)
            host = self._host if is_plain else (call.destination or self._locate(call)).host
            gate.watch.begin(call, host)
        return gate.retrier.run(attempt, call, self._note_failure)

    def _note_failure(self, call: Call, number: int, error: DreamObjectsError, wait: float | None) -> None:
        """Count, log and tell a failed attempt. ``wait``: the seconds until the next one. None if there will be none."""
        if wait is not None:
            status, code, request_id = facts_of(error)
            self.gate.retries[code or type(error).__name__] += 1
            fields = {
                "operation": call.operation,
                "bucket": call.bucket,
                "key": call.key,
                "attempt": number,
                "status": status,
                "code": code,
                "wait": wait,
                "request_id": request_id,
            }
            _log.info("%s; attempt %d, the next in %.3f s", error, number, wait, extra=fields)
        if self.gate.watch is not None:
            self.gate.watch.failed(call, number, error, wait)

    async def _attempt_without_document(self, call: Call) -> Response:
        response = await self._attempt(call)
        if response.content:
            await self._read(call, response, "")
        return response

    async def _attempt(self, call: Call) -> Response:
        """Send the request once, with a place. Return a successful response, or raise Unsuccessful."""
        gate = self.gate
        if not gate.requests.take():
            await gate.timed(gate.enter(gate.requests), call.record)
        decreases = gate.retrier.crowd.decreases  # so that one overrun service causes one decrease, not one a request
        keeps_place = False
        try:
            if gate.has_pace:
                await gate.timed(gate.keep_pace(), call.record)
            signer = None
            if not gate.is_anonymous:
                signer = await gate.fresh_signer() if gate.has_expiring_credentials else gate.signer()
            if gate.closed:  # while this waited for its place, its pace or its credentials
                raise closed_meanwhile()
            request = self._compose(call, signer)
            gate.leave()
            if call.record is not None:
                call.record.attempts += 1
                request.waits = call.record
            response = await self.transport.send(request)
            if gate.watch is not None:
                response = gate.watch.answered(call, response)
            if not 200 <= response.status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
                raise Unsuccessful(self._refusal(call, response), decreases)
            keeps_place = call.keeps_place and response.content is None
        except (ConnectionFailedError, IncompleteBodyError) as error:
            raise Unsuccessful(failure_of(error)) from error
        except SessionClosedError as error:
            error.in_doubt = True  # the request may have left
            raise
        finally:
            if not keeps_place:
                gate.requests.give_back()
        return response

    def _compose(self, call: Call, signer: Signer | None) -> Request:
        """Return the request, signed if there is a signer."""
        if call.headers:
            if any(map(_NOT_SENDABLE, call.headers.values())):
                msg = f"{call}: a header holds a line end, or a character that does not fit into one byte"
                raise ValueError(msg)
            if self._is_in_the_clear and _sends_key(call.headers):  # verbs ask earlier, but no request may slip through
                raise self._shown_key()
        if call.destination is None and self._is_path_style and call.bucket:
            host = self._host
            resource = f"/{call.bucket}/{quote_key(call.key)}" if call.key else f"/{call.bucket}"
            path = self._path + resource
        else:
            host, path, resource = call.destination or self._locate(call)
        query = signing.canonical_query(call.query) if call.query else ""
        target = f"{path}?{query}" if query else path
        payload_hash = call.payload_hash or self._hash_of_nothing
        now = self.gate.now()
        if signer is None:
            lines = "".join([f"{name}: {value}\r\n" for name, value in ({"host": host} | dict(call.headers)).items()])
        elif self._is_v4 and not call.headers and not signer.credentials.session_token:  # most requests: the short way
            lines = signer.sign_bare(call.method, host, path, query, now, payload_hash)
        else:
            request = signing.Request(call.method, self._scheme, host, path, resource, call.query, call.headers)
            if self._is_v4:
                lines = signer.sign(request, query, now, payload_hash)
            else:
                headers = signing.sign_v2(request, signer.credentials, now) | {"host": host}
                lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"content-length: {len(call.body)}\r\n" if call.method in _WITH_BODY else ""
        return Request(
            call.method,
            host,
            target,
            HeaderLines(f"{lines}{length}{_ALWAYS_SENT}"),
            call.body,
            call.expect,
            is_idempotent=not call.is_conditional and call.method != "POST",
            sent=call.sent,
        )

    def _locate(self, call: Call) -> Destination:
        """Return the host and both paths for a request without a bucket, or for a service that has buckets in host names.

        SigV2 does not sign the endpoint's path: botocore leaves it out too.
        """
        if not call.bucket:
            return Destination(self._host, self._path or "/", "/")
        host, path = self.gate.service.locate(call.bucket, call.key)
        resource = f"/{call.bucket}/{quote_key(call.key)}" if call.key else f"/{call.bucket}"
        # For a bucket that is a host name, SigV2 signs "/bucket/".
        return Destination(host, path, resource if call.key or host == self._host else f"{resource}/")

    # Answers

    async def _read(self, call: Call, response: Response, root_name: str) -> tuple[Iterable[xml.Entry], xml.Element]:
        document = (response.content or b"").lstrip()
        if not document and call.may_be_empty:
            return [], xml.Element(root_name)
        if root_name and call.may_be_misread and not document.startswith(b"<"):
            raise self._unknown(call, response)
        try:
            if len(document) <= INLINE_BYTES:
                entries, root = xml.read(document, root_name)
            else:
                entries, root = await finish(in_thread(xml.read, document, root_name))
        except xml.MalformedError as error:
            raise self._unreadable(call, response) from error
        if root.name in ("Error", "ErrorResponse"):
            raise Unsuccessful(self._refusal(call, response, root))
        # Accept an unknown root, as other clients do, but not the root of another kind of document.
        is_known = xml.is_document(root, root_name) or (call.other_root and root.name == call.other_root)
        if is_known or (entries and not xml.is_another(root, root_name)):  # entries were cut out of the tree
            return entries, root
        if call.may_be_misread and xml.is_another(root, root_name):
            raise self._unknown(call, response)
        raise self._unreadable(call, response)

    def _unknown(self, call: Call, response: Response) -> Unsuccessful:
        """Return the failure for a service that ignored the subresource, and answered for the whole bucket or object."""
        return Unsuccessful(failure_of(unknown_part(self.context(str(call), call.feature), response.status)))

    def _unreadable(self, call: Call, response: Response) -> Unsuccessful:
        return Unsuccessful(failure_of(unreadable(self.context(str(call), call.feature), response.status)))

    def _refusal(self, call: Call, response: Response, root: xml.Element | None = None) -> Failure:
        words = Words()
        if root is not None:
            words = replies.words_of_xml(root)
        elif response.content and len(response.content) <= LONGEST_ERROR_BYTES:
            words = replies.words_of(response.content)
        headers = replies.texts(response.headers)
        is_page = (response.content or b"").lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))
        refusal = Refusal(response.status, words, headers, is_head=call.method == "HEAD", is_page=is_page)
        return failure_of_refusal(refusal, self.context(str(call), call.feature, call.headers))
