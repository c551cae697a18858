"""From a request to the status, the headers and the bytes of an object. ASGI and aiohttp send what this decides."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from http import HTTPStatus
from typing import Literal, TypedDict, get_args
from urllib.parse import quote

import aiodreamobjects as dream
from aiodreamobjects._transfer.content_types import content_type_of
from aiodreamobjects.asgi.conditions import MOST_RANGES, Asked, MalformedRangeError, resolve
from aiodreamobjects.asgi.messages import AWAY, BUSY_SECONDS, require_bool

Disposition = Literal["attachment", "inline"]
Redirect = Literal["presign"]

REDIRECT_SECONDS = 60
"""How long the URL of a redirect is valid. It need only be opened in this time."""

_NO_TYPE = (None, "", "binary/octet-stream")  # S3's own, for an object without a type
_OURS = {
    *("connection", "content-length", "content-range", "keep-alive", "proxy-authenticate", "proxy-connection", "te"),
    *("trailer", "transfer-encoding", "upgrade"),
}
"""Headers that follow from the content, and those of one connection (RFC 9110 section 7.6.1)."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OTHER = r"\x80-\ud7ff\ue000-\U0010ffff"  # what UTF-8 can carry
_VALUE = re.compile(rf"(?:[!-~{_OTHER}](?:[\t -~{_OTHER}]*[!-~{_OTHER}])?)?")
_PLAIN_NAME = re.compile(r"""[ !#$&'()*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z{|}~]+""")  # no quotes, backslash, percent sign


@dataclass(slots=True)
class Answer:
    """A response: its head, and its bytes, if it has any."""

    status: int
    headers: dict[str, str]
    """Names are in lower case."""
    chunks: AsyncIterable[bytes] | None = None
    extra: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Headers that the caller gave, which replace those of the same name."""

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as ASGI has them."""
        given = {name for name, _ in self.extra}
        own = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        return [*(header for header in own if header[0] not in given), *self.extra]


class ResponseOptions(TypedDict, total=False):
    """How to answer with an object: the arguments of ``ObjectResponse`` and ``aiohttp_response``."""

    filename: str | None
    disposition: Disposition | None
    headers: Mapping[str, str] | None
    cache_control: str | None
    version_id: str | None
    redirect: Redirect | None
    strict_range: bool


class Content:
    """An object as the content of a response, with what the caller wants of it."""

    def __init__(self, obj: dream.Object, options: ResponseOptions) -> None:
        if not isinstance(obj, dream.Object):
            msg = f"obj must be an Object, not {type(obj).__name__}: bucket.object(key)"
            raise TypeError(msg)
        if unknown := options.keys() - ResponseOptions.__annotations__.keys():
            msg = f"no such argument of a response: {', '.join(sorted(unknown))}"
            raise TypeError(msg)
        filename, version_id = (_text_or_none(name, options.get(name)) for name in ("filename", "version_id"))
        disposition, redirect = options.get("disposition"), options.get("redirect")
        cache_control, headers = options.get("cache_control"), options.get("headers") or {}
        if not isinstance(headers, Mapping):
            msg = f"headers must be a mapping such as {{'X-Name': 'value'}}, not {type(headers).__name__}"
            raise TypeError(msg)
        strict_range = options.get("strict_range", False)
        require_bool("strict_range", strict_range)
        for name, value, allowed in (("disposition", disposition, Disposition), ("redirect", redirect, Redirect)):
            if value is not None and value not in get_args(allowed):
                msg = f"{name} {value!r} must be one of {', '.join(map(repr, get_args(allowed)))}"
                raise ValueError(msg)
        self._obj, self._version_id = obj, version_id
        self._redirect, self._is_strict = redirect, strict_range
        self._name = obj.key if filename is None else filename
        self._own: dict[str, str] = {}
        if filename is not None or disposition is not None:
            self._own["content-disposition"] = content_disposition(self._name, disposition or "attachment")
        if cache_control is not None:
            self._own["cache-control"] = _checked("cache_control", cache_control)
        self.extra = [_header(name, value) for name, value in headers.items()]
        """The caller's headers. A framework may add some until the response is sent."""

    @asynccontextmanager
    async def answer(self, method: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """Give the answer to a request, whose header names are in lower case. The object is closed when the block ends."""
        async with AsyncExitStack() as stack:
            try:
                found = await self._find(method, headers, stack)
            except dream.NotFoundError:
                found = _text(HTTPStatus.NOT_FOUND)
            except (*AWAY, dream.ObjectChangedError):
                found = _text(HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": str(BUSY_SECONDS)})
            if method == "HEAD":
                found.chunks = None
            yield found

    async def _find(self, method: str, headers: Mapping[str, str], stack: AsyncExitStack) -> Answer:
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "GET, HEAD"})
        if self._redirect is not None:
            return Answer(HTTPStatus.TEMPORARY_REDIRECT, self._location(method))
        try:
            asked = Asked.of(headers, strict=self._is_strict)
        except MalformedRangeError as error:
            return _text(HTTPStatus.BAD_REQUEST, text=str(error))
        if method == "HEAD" or len(asked.ranges) > 1:  # parts of several ranges have their size in their heads
            return await self._after_a_look(method, asked, stack)
        return await self._get(asked, stack)

    async def _get(self, asked: Asked, stack: AsyncExitStack) -> Answer:
        """Answer with one GET, unless its reply shows that the client wants something else."""
        match, none_match, times = asked.sent_on(knows_etags=self._etag_given() is None)
        try:
            body = await stack.enter_async_context(
                self._obj.get(
                    range=asked.ranges[0] if asked.ranges else None,
                    if_match=match,
                    if_none_match=none_match,
                    version_id=self._version_id,
                    headers=times,
                )
            )
        except dream.PreconditionFailedError:  # a 304 has headers too, which only a look can tell
            return await self._after_a_look("GET", asked, stack)
        except dream.InvalidRequestError as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            return await self._after_a_look("GET", asked, stack)
        state = self._etag(body.info), body.info.last_modified
        if asked.status(*state) is HTTPStatus.OK and bool(asked.ranges) is asked.wants_ranges(*state):
            return self._of_body(body, is_range=bool(asked.ranges))
        await stack.aclose()
        return await self._of_info("GET", asked, body.info, stack)

    async def _after_a_look(self, method: str, asked: Asked, stack: AsyncExitStack) -> Answer:
        return await self._of_info(method, asked, await self._obj.head(version_id=self._version_id), stack)

    async def _of_info(self, method: str, asked: Asked, info: dream.ObjectInfo, stack: AsyncExitStack) -> Answer:
        """Answer for exactly the state that was seen."""
        headers, size = self._headers(info), info.size
        status = asked.status(self._etag(info), info.last_modified)
        if status is HTTPStatus.NOT_MODIFIED:
            return self._not_modified(headers)
        if status is HTTPStatus.PRECONDITION_FAILED:
            return _text(status)
        ranges: list[tuple[int, int]] = []
        if size is not None and asked.wants_ranges(self._etag(info), info.last_modified):
            ranges = resolve(asked.ranges, size)
            if not ranges:
                return _text(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"content-range": f"bytes */{size}"})
        if len(ranges) > MOST_RANGES:
            ranges = []
        if len(ranges) > 1:
            return await self._of_ranges(method, headers, info, ranges, stack)
        if method == "GET":
            body = await stack.enter_async_context(self._pinned(info, ranges[0] if ranges else None))
            return self._of_body(body, is_range=bool(ranges))
        start, stop = ranges[0] if ranges else (0, size)
        return self._sized(headers, start, stop, size, is_range=bool(ranges))

    def _of_body(self, body: dream.Body, *, is_range: bool) -> Answer:
        start, rest = body.position, body.remaining
        stop = None if rest is None else start + rest
        answer = self._sized(self._headers(body.info), start, stop, body.info.size, is_range=is_range)
        answer.chunks = body
        return answer

    def _sized(
        self, headers: dict[str, str], start: int, stop: int | None, size: int | None, *, is_range: bool
    ) -> Answer:
        if stop is not None:
            headers["content-length"] = str(stop - start)
        if is_range and stop is not None:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{'*' if size is None else size}"
        return Answer(HTTPStatus.PARTIAL_CONTENT if is_range else HTTPStatus.OK, headers, extra=self.extra)

    async def _of_ranges(
        self,
        method: str,
        headers: dict[str, str],
        info: dream.ObjectInfo,
        ranges: list[tuple[int, int]],
        stack: AsyncExitStack,
    ) -> Answer:
        """Answer several ranges as multipart/byteranges (RFC 9110 section 14.6)."""
        boundary = secrets.token_hex(13)
        kind = next((value.decode() for name, value in self.extra if name == b"content-type"), headers["content-type"])
        heads = [
            f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {start}-{stop - 1}/{info.size}\r\n\r\n".encode()
            for start, stop in ranges
        ]
        end = f"--{boundary}--".encode()
        length = sum(len(head) + stop - start + 2 for head, (start, stop) in zip(heads, ranges, strict=True)) + len(end)
        headers |= {"content-type": f"multipart/byteranges; boundary={boundary}", "content-length": str(length)}
        extra = [header for header in self.extra if header[0] != b"content-type"]  # that of the parts
        answer = Answer(HTTPStatus.PARTIAL_CONTENT, headers, extra=extra)
        if method == "GET":

            async def chunks() -> AsyncGenerator[bytes, None]:
                for head, span in zip(heads, ranges, strict=True):
                    async with self._pinned(info, span) as body:
                        yield head
                        async for chunk in body:
                            yield chunk
                        yield b"\r\n"
                yield end

            answer.chunks = await stack.enter_async_context(aclosing(chunks()))
        return answer

    @asynccontextmanager
    async def _pinned(self, info: dream.ObjectInfo, span: tuple[int, int] | None) -> AsyncIterator[dream.Body]:
        """Open exactly the state that was seen."""
        pin = None if info.etag is None or info.etag.startswith("W/") else info.etag
        try:
            async with self._obj.get(range=span, if_match=pin, version_id=self._version_id) as body:
                yield body
        except dream.PreconditionFailedError as changed:
            msg = f"{self._obj!r} was replaced between two requests"
            raise dream.ObjectChangedError(msg) from changed

    def _not_modified(self, headers: dict[str, str]) -> Answer:
        kept = {name: headers[name] for name in _OF_A_304 if name in headers}  # RFC 9110 section 15.4.5
        extra = [header for header in self.extra if header[0] not in _OF_THE_CONTENT]
        return Answer(HTTPStatus.NOT_MODIFIED, kept, extra=extra)

    def _headers(self, info: dream.ObjectInfo) -> dict[str, str]:
        """Return the headers of the object itself, whatever the status is."""
        codings = [coding.strip() for coding in (info.content_encoding or "").split(",")]
        stored = {
            "content-type": info.content_type if info.content_type not in _NO_TYPE else self._guessed_type(),
            "cache-control": info.cache_control,
            "content-disposition": info.content_disposition,
            # Some services store how other clients sent the body. No browser can decode that.
            "content-encoding": ", ".join(coding for coding in codings if coding.lower() != "aws-chunked"),
            "content-language": info.content_language,
            "expires": info.expires,
            "etag": self._etag(info),
            "last-modified": format_datetime(info.last_modified, usegmt=True) if info.last_modified else None,
        }
        headers = {name: value for name, value in stored.items() if value and _VALUE.fullmatch(value)}
        return {**headers, **self._own, "accept-ranges": "bytes", "x-content-type-options": "nosniff"}

    def _guessed_type(self) -> str:
        guessed = content_type_of(self._name) or "application/octet-stream"
        return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed

    def _etag(self, info: dream.ObjectInfo) -> str | None:
        given = self._etag_given()
        if given is not None or info.etag is None:
            return given
        return info.etag if info.etag.startswith("W/") else f'"{info.etag}"'

    def _etag_given(self) -> str | None:
        return next((value.decode("latin-1") for name, value in self.extra if name == b"etag"), None)

    def _location(self, method: str) -> dict[str, str]:
        if method == "HEAD":
            url = self._obj.presign("HEAD", REDIRECT_SECONDS, version_id=self._version_id)
        else:
            url = self._obj.presign_get(REDIRECT_SECONDS, response_headers=self._own, version_id=self._version_id)
        return {"location": str(url), "cache-control": "no-store", "content-length": "0"}


_OF_THE_CONTENT = (b"content-disposition", b"content-encoding", b"content-language", b"content-type")
_OF_A_304 = ("cache-control", "content-location", "etag", "expires", "last-modified", "vary")


def content_disposition(filename: str, disposition: Disposition) -> str:
    """Return the header with a file's name, by RFC 6266, and by RFC 8187 if the name needs it."""
    name = filename.rsplit("/", 1)[-1]
    if not name:
        return disposition
    if _PLAIN_NAME.fullmatch(name) and name == name.strip():
        return f'{disposition}; filename="{name}"'
    try:
        return f"{disposition}; filename*=utf-8''{quote(name, safe='')}"
    except UnicodeEncodeError:
        msg = f"filename {filename!r} must be text that UTF-8 can encode"
        raise ValueError(msg) from None


def _text_or_none(name: str, value: object) -> str | None:
    if not isinstance(value, str | None):
        msg = f"{name} must be text, not {value!r}"
        raise TypeError(msg)
    return value


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"header name {name!r} must be a token, such as 'Cache-Control'"
        raise ValueError(msg)
    if name.lower() in _OURS:
        msg = f"header {name!r} is set by the response or the server: leave it out"
        raise ValueError(msg)
    return name.lower().encode(), _checked(f"header {name!r}", value).encode()


def _checked(name: str, value: str) -> str:
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        msg = f"{name} {value!r} must be text of one line without blanks at its ends"
        raise ValueError(msg)
    return value


def _text(status: HTTPStatus, headers: Mapping[str, str] | None = None, text: str | None = None) -> Answer:
    content = (status.phrase if text is None else text).encode()

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    own = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(content))}
    return Answer(status, {**own, **(headers or {})}, chunks())
