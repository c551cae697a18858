"""An object as the response of an ASGI application."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Unpack

import anyio

import aiodreamobjects as dream
from aiodreamobjects.asgi.content import Content, ResponseOptions
from aiodreamobjects.asgi.messages import Message, Receive, Send, joined_headers

try:
    from starlette.responses import Response as _Base  # FastAPI serialises everything else
except ModuleNotFoundError:

    class _Base:  # type: ignore[no-redef]  # where Starlette is not installed, nobody looks for its class
        pass


Background = Callable[[], Awaitable[object] | None]

_log = logging.getLogger("aiodreamobjects")


class _ClientLeftError(Exception):
    """The client closed its connection."""


class ObjectResponse(_Base):
    """Answer a GET or HEAD with an object: return it from a FastAPI or Starlette route, or call it as an ASGI application.

    A GET sends one GET to the service, with the client's range and conditions. The answer is 200, 206, 304, 404, 412 or 416
    as RFC 9110 wants it; 503 with ``Retry-After`` if storage is busy. Other methods get 405. Any other error is raised. Several
    ranges, up to ten, take a HEAD and one GET for each. An error after the first byte breaks the connection, so that the client
    notices. When the client leaves, the body is closed at once, and its place is free.

    The content type is the object's, or else guessed from ``filename`` or the key. ``filename`` makes it a download;
    ``disposition="inline"`` shows it with that name. Show what strangers stored only with ``disposition="attachment"``, or from
    a domain of its own. ``headers`` and ``cache_control`` replace the object's own. ``redirect="presign"`` answers 307 with a URL
    that is valid for a minute, so that the bytes do not come through here. ``strict_range=True`` answers 400 to a malformed Range
    in place of ignoring it. ``background`` is called when an answer was sent, whatever its status, and after the client left.
    """

    status_code = 200
    media_type = None

    def __init__(
        self, obj: dream.Object, *, background: Background | None = None, **options: Unpack[ResponseOptions]
    ) -> None:
        self._content = Content(obj, options)
        if background is not None and not callable(background):
            msg = f"background must be a function, not {type(background).__name__}"
            raise TypeError(msg)
        self.raw_headers = self._content.extra
        self.background = background  # type: ignore[assignment]  # Starlette's own tasks can be called too
        self.body = b""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            msg = f"ObjectResponse answers HTTP requests, not {scope['type']!r}"
            raise ValueError(msg)
        method, headers = scope["method"].upper(), joined_headers(scope["headers"])
        with anyio.CancelScope() as asking:
            async with _cancelled_if_client_leaves(asking, receive, method):
                try:
                    await self._send(method, headers, send)
                except _ClientLeftError:
                    _log.debug("%r: the client left", self._content)
        if self.background is not None:
            waiting = self.background()
            if inspect.isawaitable(waiting):
                await waiting

    async def _send(self, method: str, headers: Mapping[str, str], send: Send) -> None:
        async def tell(message: Message) -> None:
            try:
                await send(message)
            except OSError as error:  # ASGI 2.4
                raise _ClientLeftError from error

        async with self._content.answer(method, headers) as answer:
            start = {"type": "http.response.start", "status": int(answer.status), "headers": answer.raw_headers()}
            await tell(start)
            if answer.chunks is not None:
                async for chunk in answer.chunks:
                    await tell({"type": "http.response.body", "body": chunk, "more_body": True})
            await tell({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def _cancelled_if_client_leaves(scope: anyio.CancelScope, receive: Receive, method: str) -> AsyncIterator[None]:
    """Cancel the scope when the client disconnects. What answers at once is not watched."""
    if method != "GET":
        yield
        return

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([watching])
        if not watching.cancelled() and (error := watching.exception()) is not None:
            _log.warning("the server does not tell whether the client is there: %r", error)
