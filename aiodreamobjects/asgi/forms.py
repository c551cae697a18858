"""A multipart/form-data request, part by part as it arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Protocol

try:
    from python_multipart import MultipartParser
    from python_multipart.decoders import Base64Decoder, QuotedPrintableDecoder
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header
except ModuleNotFoundError as error:
    message = "form_parts needs an extra: pip install 'aiodreamobjects[web]'"
    raise ModuleNotFoundError(message, name=error.name) from error

try:
    from starlette.exceptions import HTTPException as _Base  # a framework on Starlette answers with its status
except ModuleNotFoundError:

    class _Base(Exception):  # type: ignore[no-redef]  # noqa: N818 - where Starlette is not installed, nobody looks for it
        def __init__(self, status_code: int, detail: str) -> None:
            super().__init__(detail)
            self.status_code, self.detail = status_code, detail


class FormError(_Base):
    """The form is malformed or too large. ``status_code`` is 400, 413 or 415; Starlette and FastAPI answer with it."""


class FormRequest(Protocol):
    """A request of any framework: Starlette, FastAPI and Litestar have ``stream``, Quart ``body``, aiohttp ``content``."""

    @property
    def headers(self) -> Mapping[str, str]: ...


class FormPart:
    """One part of a form. Give it to ``put``, iterate over its bytes, or ``read`` it, before you ask for the next part."""

    def __init__(self, form: _Form, headers: Mapping[str, str]) -> None:
        _, options = parse_options_header(headers.get("content-disposition", ""))
        if b"name" not in options:
            raise FormError(HTTPStatus.BAD_REQUEST, "a part of the form has no name")
        self.name = _text(options[b"name"])
        """The name of the form's field."""
        self.filename = _text(options[b"filename"]) if b"filename" in options else None
        """The name that the client gives to the file; None for a field. It can be anything: make the key yourself."""
        self.content_type = headers.get("content-type")
        """What the client says."""
        self.headers = headers
        """All headers of the part. Names are in lower case."""
        self._form = form
        self._rest = b""
        self._has_ended = self._was_skipped = False

    def __repr__(self) -> str:
        return f"<FormPart {self.name!r}>" if self.filename is None else f"<FormPart {self.name!r}: {self.filename!r}>"

    def __aiter__(self) -> FormPart:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self.read(1 << 20):
            return chunk
        raise StopAsyncIteration

    async def read(self, n: int = -1) -> bytes:
        """Return some bytes, at most ``n``, and nothing at the end. Return all the rest if ``n`` is negative."""
        if self._was_skipped:
            msg = f"{self!r} is over: read it before you ask for the next part"
            raise ValueError(msg)
        if n < 0:
            chunks = []
            while chunk := await self.read(1 << 20):
                chunks.append(chunk)
            return b"".join(chunks)
        if not self._rest and not self._has_ended:
            self._rest = await self._form.next_data() or b""
            self._has_ended = not self._rest
        chunk, self._rest = self._rest[:n], self._rest[n:]
        return chunk

    async def skip(self) -> None:
        """Drop what was not read."""
        while not self._has_ended:
            if await self.read(1 << 20):
                continue
        self._was_skipped = True


async def form_parts(
    request: FormRequest,
    *,
    max_parts: int = 1000,
    max_field_size: int | None = 1 << 20,
    max_file_size: int | None = None,
) -> AsyncGenerator[FormPart, None]:
    """Give the parts of a multipart/form-data request one after another, while the request arrives: ``async for part in ...``.

    ``request`` is one of Starlette, FastAPI, Litestar, Quart or aiohttp that nothing has read yet. Nothing is kept on disk, and
    in memory only what arrived last: a part that is not read holds up the client. What you leave of a part is dropped when you
    ask for the next one.

    Raises FormError with the status 413 for more than ``max_parts`` parts, or more bytes in a field or a file; 400 for what is
    no form; 415 for another content type. What the framework raises when the client leaves comes through. A ``put`` of the part
    raises these too, after it has aborted its upload. Needs ``aiodreamobjects[web]``.
    """
    for name, limit in (("max_parts", max_parts), ("max_field_size", max_field_size), ("max_file_size", max_file_size)):
        if limit is None and name != "max_parts":
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            msg = f"{name} {limit!r} must be a whole number of at least 0"
            raise ValueError(msg)
    chunks = _chunks_of(request)
    form = _Form(_boundary_of(request), chunks, max_parts, max_field_size, max_file_size)
    while (part := await form.next_part()) is not None:
        yield part
        await part.skip()


class _Form:
    """Turns the parser's callbacks into parts and their bytes."""

    def __init__(
        self,
        boundary: bytes,
        chunks: AsyncIterator[bytes],
        max_parts: int,
        max_field_size: int | None,
        max_file_size: int | None,
    ) -> None:
        self._chunks = chunks
        self._max_parts, self._max_field, self._max_file = max_parts, max_field_size, max_file_size
        self._found: deque[FormPart | bytes | None] = deque()
        """What the last chunk held: parts, their bytes, and None at the end of each."""
        self._count = self._size = 0
        self._limit: int | None = None
        self._headers: dict[str, str] = {}
        self._name, self._value = b"", b""
        self._decoder: _Decoder | None = None
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_to_name,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end,
                    "on_end": self._complete,
                },
            )
        except FormParserError as error:
            raise FormError(HTTPStatus.BAD_REQUEST, f"malformed form: {error}") from error

    async def next_part(self) -> FormPart | None:
        """Return the next part. None at the end of the form."""
        found = await self._next()
        assert found is None or isinstance(found, FormPart)
        return found

    async def next_data(self) -> bytes | None:
        """Return the next bytes of the part. None at its end."""
        found = await self._next()
        assert not isinstance(found, FormPart)
        return found

    async def _next(self) -> FormPart | bytes | None:
        while not self._found:
            if self._is_complete:
                return None
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                raise FormError(HTTPStatus.BAD_REQUEST, "the form ends before its last boundary") from None
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise FormError(HTTPStatus.BAD_REQUEST, f"malformed form: {error}") from error
        return self._found.popleft()

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max_parts:
            raise FormError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the form has more than {self._max_parts:,} parts")
        self._headers = {}

    def _add_to_name(self, data: bytes, start: int, stop: int) -> None:
        self._name += data[start:stop]

    def _add_to_value(self, data: bytes, start: int, stop: int) -> None:
        self._value += data[start:stop]

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _end_headers(self) -> None:
        part = FormPart(self, self._headers)
        self._size, self._limit = 0, self._max_field if part.filename is None else self._max_file
        coding = self._headers.get("content-transfer-encoding", "").strip().lower()
        self._decoder = _DECODERS[coding](self) if coding in _DECODERS else None
        self._found.append(part)

    def _add_data(self, data: bytes, start: int, stop: int) -> None:
        (self._decoder or self).write(data[start:stop])

    def write(self, data: bytes) -> None:
        """Take decoded bytes, from the parser or a decoder."""
        self._size += len(data)
        if self._limit is not None and self._size > self._limit:
            msg = f"a part of the form has more than {self._limit:,} bytes"
            raise FormError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, msg)
        if data:
            self._found.append(data)

    def _end(self) -> None:
        if self._decoder is not None:
            self._decoder.finalize()
        self._found.append(None)

    def _complete(self) -> None:
        self._is_complete = True


_Decoder = Base64Decoder | QuotedPrintableDecoder
_DECODERS: Mapping[str, Callable[[_Form], _Decoder]] = {
    "base64": Base64Decoder,
    "quoted-printable": QuotedPrintableDecoder,
}
"""RFC 7578 section 4.7: no browser encodes parts, but some mail-like clients do."""


def _boundary_of(request: FormRequest) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise FormError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the request must be multipart/form-data")
    if not options.get(b"boundary"):
        raise FormError(HTTPStatus.BAD_REQUEST, "the content type of the form has no boundary")
    return options[b"boundary"]


def _chunks_of(request: object) -> AsyncIterator[bytes]:
    """Return the body of a request as it arrives."""
    found = getattr(request, "body", None)  # first: the ``stream`` of Quart is a coroutine that only raises
    if not isinstance(found, AsyncIterable):
        read = getattr(request, "stream", None) or getattr(getattr(request, "content", None), "iter_any", None)
        found = read() if callable(read) else None
    if not isinstance(found, AsyncIterable):
        msg = f"request must be of Starlette, FastAPI, Litestar, Quart or aiohttp, not {type(request).__name__}"
        raise TypeError(msg)
    return aiter(found)


def _text(value: bytes) -> str:
    """Decode a name: browsers send UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
