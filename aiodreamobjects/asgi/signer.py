"""Signs the uploads of browsers, which send the bytes straight to storage. The routes are those of Uppy's Companion."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

import aiodreamobjects as dream
from aiodreamobjects.asgi.messages import AWAY, BUSY_SECONDS, Receive, Send, joined_headers, require_bool

Action = Literal["create", "sign", "list", "complete", "abort"]

LONGEST_SECONDS = 3600
MOST_BODY_BYTES = 1 << 20
"""Of a request: 10,000 parts with their ETags have 700 KB."""
MOST_PARTS, MOST_IN_A_BATCH = 10_000, 1000
REMEMBERED_UPLOADS = 10_000

_ROUTE = re.compile(r"(?:^|/)s3/(params|sign|multipart(?:/([^/]+)(?:/([^/]+))?)?)/?$")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]+)?")
_NO_FORMS = (
    "this service takes no browser forms: give shouldUseMultipart: true to @uppy/aws-s3, or its signRequest with UploadSigner(sign_requests=True); "
    "a client of your own adds method=PUT and size="
)
_NO_SIGNING = (
    "this signer makes the keys itself: use companionEndpoint, or UploadSigner(sign_requests=True) for signRequest"
)


@dataclass(frozen=True, slots=True)
class SignRequest:
    """What a browser wants, for ``key`` and ``authorize``. Believe nothing that it says of itself except what you check."""

    action: Action
    """``create`` stores an object or begins an upload; the others are about an upload that was begun."""
    headers: Mapping[str, str] = field(repr=False)
    """The headers of the request, such as ``cookie`` and ``authorization``. Names are in lower case."""
    scope: MutableMapping[str, Any] = field(repr=False)
    """The ASGI scope, in which a framework keeps its session or user."""
    filename: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


Key = Callable[[SignRequest], str | Awaitable[str]]
Authorize = Callable[[SignRequest, str], bool | Awaitable[bool]]


class _RefusedError(Exception):
    """The answer is an error."""

    def __init__(self, status: HTTPStatus, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status, self.allow = status, allow


class _RaisedInsideError(Exception):
    """``key`` or ``authorize`` raised. That is an error of the service, whatever its kind."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class UploadSigner:
    """Sign uploads of browsers: an ASGI application with the routes of Uppy's Companion. Mount it where you like.

    ``key`` is a function that takes a ``SignRequest`` and returns the key of a new object. ``authorize`` takes a ``SignRequest`` and
    the key, and returns whether this may be done; it is asked on every route. Both may be async. ``expires`` is how long each URL
    is valid, in seconds, at most an hour. ``max_size`` limits an object, in bytes. What ``key`` and ``authorize`` raise is raised.

    The browser gets an upload's id with an HMAC over the id and its key, so it cannot use the id of another key. ``secret`` is
    the key of this HMAC: give the same bytes to all processes of a service. Without it, each process takes its own.

    With ``sign_requests=True`` it also answers ``POST /s3/sign``, for Uppy's ``signRequest``. There the browser names the key, and
    ``authorize`` alone decides. An upload's id must be one that the service knows at this key.

    Set ``cors_rules`` for the bucket once, or browsers refuse to send.
    """

    def __init__(
        self,
        bucket: dream.Bucket,
        *,
        key: Key,
        authorize: Authorize,
        expires: int = 300,
        max_size: int | None = None,
        secret: bytes | None = None,
        sign_requests: bool = False,
    ) -> None:
        if not isinstance(bucket, dream.Bucket):
            msg = f"bucket must be a Bucket, not {type(bucket).__name__}: session.bucket(name)"
            raise TypeError(msg)
        require_bool("sign_requests", sign_requests)
        if not isinstance(expires, int) or isinstance(expires, bool) or not 1 <= expires <= LONGEST_SECONDS:
            msg = f"expires {expires!r} must be a whole number of seconds from 1 to {LONGEST_SECONDS:,}"
            raise ValueError(msg)
        if max_size is not None and (not isinstance(max_size, int) or isinstance(max_size, bool) or max_size < 0):
            msg = f"max_size {max_size!r} must be a whole number of bytes"
            raise ValueError(msg)
        if secret is not None and (not isinstance(secret, bytes) or len(secret) < 16):  # noqa: PLR2004 - 128 bits
            msg = "secret must be at least 16 bytes: secrets.token_bytes(32), kept with your other secrets"
            raise ValueError(msg)
        for name, function in (("key", key), ("authorize", authorize)):
            if not callable(function):
                msg = f"{name} must be a function, not {type(function).__name__}"
                raise TypeError(msg)
        self._bucket, self._key, self._authorize = bucket, key, authorize
        self._expires, self._max_size, self._signs_requests = expires, max_size, sign_requests
        self._secret = secret or secrets.token_bytes(32)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Uploads that the service was seen to know."""

    def __repr__(self) -> str:
        return f"<UploadSigner of {self._bucket!r}>"

    def cors_rules(self, origins: Sequence[str]) -> list[dream.CorsRule]:
        """Return the rules for ``bucket.set_cors`` that let pages from these origins upload, such as ``https://www.example.com``.

        Raises ValueError for ``*`` and other patterns: every page of the internet could then use a URL that it gets hold of.
        """
        if not isinstance(origins, list | tuple) or not origins:
            msg = f"origins must be a list such as ['https://www.example.com'], not {origins!r}"
            raise ValueError(msg)
        for origin in origins:
            if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
                msg = f"origin {origin!r} must be like 'https://www.example.com', without a path or *"
                raise ValueError(msg)
        return [
            {
                "AllowedOrigins": list(origins),
                "AllowedMethods": ["PUT", "POST", "GET", "DELETE"],
                "AllowedHeaders": ["*"],
                "ExposeHeaders": ["ETag"],
                "MaxAgeSeconds": 3600,
            }
        ]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            msg = f"UploadSigner answers HTTP requests, not {scope['type']!r}"
            raise ValueError(msg)
        extra: list[tuple[bytes, bytes]] = []
        status = HTTPStatus.OK
        found: object
        try:
            found = await self._answer(scope, receive)
        except _RaisedInsideError as inside:
            raise inside.error from inside.error.__cause__
        except _RefusedError as error:
            status, found = error.status, {"error": str(error)}
            if error.allow:
                extra = [(b"allow", error.allow.encode())]
        except dream.NotFoundError as error:
            status, found = HTTPStatus.NOT_FOUND, {"error": f"no such upload: {error.code}"}
        except AWAY:
            status, found = HTTPStatus.SERVICE_UNAVAILABLE, {"error": "storage is busy: try again"}
            extra = [(b"retry-after", str(BUSY_SECONDS).encode())]
        except (dream.InvalidRequestError, dream.UnsupportedByServiceError, ValueError) as error:
            status, found = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        content = json.dumps(found).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *extra,
        ]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> object:
        route = _ROUTE.search(scope["path"])
        if route is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "no such route")
        method, (name, upload_id, last) = scope["method"].upper(), route.groups()
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
        asked = _Asked(scope, query)
        if upload_id is not None:
            return await self._of_upload(asked, method, upload_id, last, receive)
        match name, method:
            case "params", "GET":
                return await self._params(asked)
            case "sign", "POST" if self._signs_requests:
                return await self._sign(asked, await _json(receive))
            case "sign", _ if not self._signs_requests:
                raise _RefusedError(HTTPStatus.NOT_FOUND, _NO_SIGNING)
            case "multipart", "POST":
                return await self._create(asked, await _json(receive))
        raise _wrong_method(method, "GET" if name == "params" else "POST")

    async def _of_upload(
        self, asked: _Asked, method: str, upload_id: str, last: str | None, receive: Receive
    ) -> object:
        match method, last:
            case "GET", None:
                parts = await (await self._taken_up(asked, "list", upload_id)).parts()
                return [{"PartNumber": part.number, "ETag": f'"{part.etag}"', "Size": part.size} for part in parts]
            case "DELETE", None:
                await (await self._taken_up(asked, "abort", upload_id)).abort()
                return {}
            case "POST", "complete":
                return await self._complete(await self._taken_up(asked, "complete", upload_id), await _json(receive))
            case "GET", str(which) if which != "complete":
                return self._sign_parts(await self._taken_up(asked, "sign", upload_id), which, asked.query)
        raise _wrong_method(method, "GET, DELETE" if last is None else "POST" if last == "complete" else "GET")

    # The routes of Companion

    async def _params(self, asked: _Asked) -> object:
        """Return a form for one object; or a URL for a PUT, if the client asks for that."""
        query = asked.query
        metadata = {name[9:-1]: value for name, value in query.items() if re.fullmatch(r"metadata\[.+\]", name)}
        request = asked.request("create", query.get("filename"), query.get("type"), metadata, query.get("size"))
        obj = await self._new_object(request)
        content_type = request.content_type or "application/octet-stream"
        if query.get("method") == "PUT":
            url, headers = self._signed_put(obj, request.size, content_type, request.metadata)
            return {"method": "PUT", "url": url, "fields": {}, "headers": headers, "expires": self._expires}
        conditions = [
            {"success_action_status": "201"},
            {"Content-Type": content_type},
            *({f"x-amz-meta-{name}": value} for name, value in _to_store(request.metadata).items()),
        ]
        try:
            form = obj.presign_post(self._expires, max_bytes=self._max_size, conditions=conditions)
        except dream.UnsupportedByServiceError:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, _NO_FORMS) from None
        return {
            "method": "POST",
            "url": form.url,
            "fields": dict(form.fields),
            "headers": {},
            "expires": self._expires,
        }

    async def _create(self, asked: _Asked, body: Mapping[str, Any]) -> object:
        request = asked.request(
            "create", body.get("filename"), body.get("type"), body.get("metadata"), body.get("size")
        )
        obj = await self._new_object(request)
        content_type = request.content_type or "application/octet-stream"
        upload = await obj.start_upload(content_type=content_type, metadata=_to_store(request.metadata) or None)
        return {"key": obj.key, "uploadId": self._bound(obj.key, upload.upload_id), "bucket": obj.bucket}

    def _sign_parts(self, upload: dream.MultipartUpload, last: str, query: Mapping[str, str]) -> object:
        if last != "batch":
            return {"url": self._signed_part(upload, _number(last), _size(query.get("size"))), "expires": self._expires}
        numbers = query.get("partNumbers", "").split(",")
        if len(numbers) > MOST_IN_A_BATCH:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"at most {MOST_IN_A_BATCH:,} parts in a batch")
        return {"presignedUrls": {str(_number(one)): self._signed_part(upload, _number(one), None) for one in numbers}}

    async def _complete(self, upload: dream.MultipartUpload, body: Mapping[str, Any]) -> object:
        parts = body.get("parts")
        if not isinstance(parts, list) or not all(_is_part(part) for part in parts):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "parts must be a list of {PartNumber, ETag}")
        if self._max_size is not None:
            there = {part.number: part for part in await upload.parts()}
            if sum(part.size or 0 for part in there.values()) > self._max_size:
                await upload.abort()
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._max_size:,} bytes")
            # Only what was measured may be stored: the browser could replace a part until then.
            measured = {(part.number, part.etag) for part in there.values()}
            if not {(part["PartNumber"], part["ETag"].strip('"')) for part in parts} <= measured:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "parts must be those that storage has")
        await upload.complete([(part["PartNumber"], part["ETag"]) for part in parts])
        obj = self._bucket.object(upload.key)
        return {"location": _location(obj), "key": obj.key, "bucket": obj.bucket}

    async def _taken_up(self, asked: _Asked, action: Action, upload_id: str) -> dream.MultipartUpload:
        """Return the upload if its id is bound to the key, and this may be done."""
        key = asked.query.get("key")
        if key is None:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the query must have the key")
        raw = self._unbound(key, upload_id)
        await self._check(asked.request(action), key)
        return self._object(key).multipart(raw)

    # Signing mode

    async def _sign(self, asked: _Asked, body: Mapping[str, Any]) -> object:
        """Sign one request of Uppy's own client for S3."""
        key, upload_id, number, method = (body.get(name) for name in ("key", "uploadId", "partNumber", "method"))
        if not isinstance(key, str) or not isinstance(upload_id, str | None) or not key or upload_id == "":
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "key and uploadId must be text")
        form = (method, upload_id is not None, number is not None)
        if not isinstance(method, str) or form not in _ACTIONS:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{method!r} with these fields is no request of an upload")
        request = asked.request(_ACTIONS[form], None, body.get("contentType"), None, body.get("size"))
        await self._check(request, key)
        obj = self._object(key)
        if form == ("PUT", False, False):
            url, headers = self._signed_put(obj, request.size, request.content_type, {})
            return {"url": url, "headers": headers} if headers else {"url": url}
        if self._max_size is not None:  # an upload could be completed here without a look at its size
            msg = "signRequest cannot limit the size of an upload in parts: use companionEndpoint"
            raise _RefusedError(HTTPStatus.BAD_REQUEST, msg)
        if upload_id is None:
            return {"url": obj.presign("POST", self._expires, query={"uploads": ""})}
        upload = obj.multipart(upload_id)
        await self._look_for(upload)
        if number is not None:
            return {"url": self._signed_part(upload, _number(number), request.size)}
        return {"url": obj.presign(cast("dream.PresignMethod", method), self._expires, query={"uploadId": upload_id})}

    async def _look_for(self, upload: dream.MultipartUpload) -> None:
        """Raise NotFoundError unless the service has this upload at this key. Once for each upload."""
        place = upload.key, upload.upload_id
        if place not in self._known:
            await upload.parts()
            self._known[place] = None
            if len(self._known) > REMEMBERED_UPLOADS:
                self._known.popitem(last=False)

    # What is checked, and what is signed

    async def _new_object(self, request: SignRequest) -> dream.Object:
        if not request.filename:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "filename must be there")
        if self._max_size is not None and (request.size or 0) > self._max_size:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._max_size:,} bytes")
        with _own_code():
            key = self._key(request)
            key = key if isinstance(key, str) else await key
        await self._check(request, key)
        return self._object(key)

    async def _check(self, request: SignRequest, key: str) -> None:
        with _own_code():
            answer = self._authorize(request, key)
            is_allowed = await answer if inspect.isawaitable(answer) else answer
        if not is_allowed:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this is not allowed")

    def _object(self, key: str) -> dream.Object:
        return self._bucket.object(key)

    def _signed_put(
        self, obj: dream.Object, size: int | None, content_type: str | None, metadata: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        self._check_size(size)
        stored = _to_store(metadata)
        url = obj.presign_put(self._expires, content_length=size, content_type=content_type, metadata=stored or None)
        headers = {f"x-amz-meta-{name}": value for name, value in stored.items()}
        return url, headers | ({"Content-Type": content_type} if content_type else {})

    def _signed_part(self, upload: dream.MultipartUpload, number: int, size: int | None) -> str:
        if size is not None:
            self._check_size(size)
        return upload.presign_part(number, self._expires, content_length=size)

    def _check_size(self, size: int | None) -> None:
        if self._max_size is not None:
            if size is None:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "size must be there, because the size is limited")
            if size > self._max_size:
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._max_size:,} bytes")

    def _bound(self, key: str, upload_id: str) -> str:
        return f"{_encode(upload_id.encode())}.{_encode(self._mac(key, upload_id))}"

    def _unbound(self, key: str, bound: str) -> str:
        """Return the service's id. Refuse one that this did not give out for the key."""
        raw, _, mac = bound.partition(".")
        try:
            upload_id, found = _decode(raw).decode(), _decode(mac)
        except (ValueError, binascii.Error):
            upload_id, found = "", b""
        if not hmac.compare_digest(found, self._mac(key, upload_id)):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this id is of no upload of the key")
        return upload_id

    def _mac(self, key: str, upload_id: str) -> bytes:
        document = json.dumps([self._bucket.name, key, upload_id]).encode()
        return hmac.digest(self._secret, document, "sha256")


_ACTIONS: Mapping[tuple[object, bool, bool], Action] = {
    ("PUT", False, False): "create",
    ("POST", False, False): "create",
    ("PUT", True, True): "sign",
    ("GET", True, False): "list",
    ("POST", True, False): "complete",
    ("DELETE", True, False): "abort",
}
"""What the requests of an upload are, by method, whether they have an upload's id, and a part's number."""


class _Asked:
    """A request before its fields are known to be right."""

    def __init__(self, scope: MutableMapping[str, Any], query: Mapping[str, str]) -> None:
        self.scope, self.query = scope, query

    def request(
        self,
        action: Action,
        filename: object = None,
        content_type: object = None,
        metadata: object = None,
        size: object = None,
    ) -> SignRequest:
        if not isinstance(filename, str | None) or not isinstance(content_type, str | None):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "filename and type must be text")
        if content_type is not None and not re.fullmatch("[ -~]*", content_type):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "type must be printable US-ASCII")
        headers = joined_headers(self.scope["headers"])
        return SignRequest(action, headers, self.scope, filename, content_type, _metadata(metadata), _size(size))


def _wrong_method(method: str, allow: str) -> _RefusedError:
    return _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"no such method of this route: {method}", allow)


@contextmanager
def _own_code() -> Iterator[None]:
    """Mark what is raised in the block, so that no answer is made of it."""
    try:
        yield
    except Exception as error:
        raise _RaisedInsideError(error) from error


async def _json(receive: Receive) -> Mapping[str, Any]:
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the client left")
        content += message.get("body", b"")
        if len(content) > MOST_BODY_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BODY_BYTES:,} bytes of JSON")
        if not message.get("more_body"):
            break
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
    return found


def _metadata(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(one, str | int | float | None) for one in given.values()):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "metadata must be an object with plain values")
    if not all(re.fullmatch("[!-9;-~]+", str(name)) for name in given):  # a form is signed without a look at its fields
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the names of metadata must be printable US-ASCII without blanks")
    texts = {str(name): str(value).strip() for name, value in given.items() if value is not None}
    return {name: value for name, value in texts.items() if value}


def _to_store(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what headers can hold: other text as RFC 2047 has it, which is how S3 shows it too."""
    return {name.lower(): _header_text(value) for name, value in metadata.items()}


def _header_text(value: str) -> str:
    if re.fullmatch("[ -~]*", value):
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode(errors='replace')).decode()}?="


def _size(given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, str) and re.fullmatch("[0-9]{1,18}", given):
        return int(given)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "size must be a number of bytes")
    return given


def _number(given: object) -> int:
    number = int(given) if isinstance(given, str) and re.fullmatch("[0-9]{1,5}", given) else given
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_PARTS:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the number of a part must be from 1 to {MOST_PARTS:,}")
    return number


def _is_part(given: object) -> bool:
    return (
        isinstance(given, dict)
        and isinstance(given.get("PartNumber"), int)
        and isinstance(given.get("ETag"), str)
        and bool(given["ETag"])
    )


def _location(obj: dream.Object) -> str:
    return obj.presign_get(1).partition("?")[0]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
