"""The ``Transport`` to a service in this process. It uses no sockets, threads or files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import anyio

from aiodreamobjects._config import Timeouts
from aiodreamobjects._errors import ConnectionFailedError, DreamObjectsError, IncompleteBodyError
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import Pieces, Request
from aiodreamobjects._memory.calls import NO_BODY, Reply, call_of, response_headers
from aiodreamobjects._memory.engine import Asked, Engine
from aiodreamobjects._memory.faults import AS_ASKED, Cut

T = TypeVar("T")

_NOTHING = memoryview(b"")
CHUNK_BYTES = 256 << 10
"""How much of a streamed body is read at once."""


class MemoryTransport:
    """Send one session's requests to an ``Engine``, which other sessions may share. Create it on the loop that uses it.

    ``name`` is the service's name, for error messages.
    """

    def __init__(self, engine: Engine, name: str, *, timeouts: Timeouts, paces: Paces | None = None) -> None:
        self._engine, self._name, self._timeouts, self._paces = engine, name, timeouts, paces or Paces()
        self._closed_by: Callable[[], DreamObjectsError] | None = None
        self._waits: set[anyio.CancelScope] = set()
        self._moved = 0

    @property
    def open_connections(self) -> int:
        return 0

    @property
    def idle_connections(self) -> int:
        return 0

    @property
    def waited(self) -> float:
        return 0.0

    def bytes_moved(self) -> int:
        return self._moved

    async def send(self, request: Request) -> MemoryResponse:
        self.raise_if_closed()
        body = await self._body_of(request)
        lines = filter(None, request.headers.split("\r\n"))
        call = call_of(request.method, request.target, lines, self._engine.store.dialect.host)
        call.body = body
        asked = self._engine.arrive(call)
        await asyncio.sleep(0)
        if asked.pauses:
            await self.until_closed(self._pause(asked))
        self.raise_if_closed()
        return self._respond(request, asked, *self._engine.reply(asked, call))

    async def aclose(self, error: Callable[[], DreamObjectsError]) -> None:
        self.abandon(error)

    def abandon(self, error: Callable[[], DreamObjectsError]) -> None:
        self._closed_by = error
        for wait in self._waits:
            wait.cancel()

    async def until_closed(self, work: Awaitable[T]) -> T:
        """Await work that may take long. ``aclose`` ends it with the error it was given."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await work
            finally:
                self._waits.discard(scope)
        self.raise_if_closed()
        raise AssertionError

    def raise_if_closed(self) -> None:
        if self._closed_by is not None:
            raise self._closed_by()

    async def receive(self, count: int) -> None:
        """Count received bytes, and wait as long as the session's bandwidth demands."""
        self._moved += count
        await asyncio.sleep(0)
        if self._paces.receiving is not None:
            await self.until_closed(asyncio.sleep(self._paces.receiving.spend(count)))
        self.raise_if_closed()

    async def _body_of(self, request: Request) -> bytes:
        """Return the request's body, after the time that the session's bandwidth demands."""
        sent, body = request.sent, request.body
        if sent is not None and sent.before_end is not None:
            await self.until_closed(sent.end())
        found = await self.until_closed(_joined(body)) if isinstance(body, Pieces) else bytes(body)
        if self._paces.sending is not None:
            await self.until_closed(asyncio.sleep(self._paces.sending.spend(len(found))))
        self._moved += len(found)
        if sent is not None:
            sent.bytes = len(found)
        return found

    async def _pause(self, asked: Asked) -> None:
        try:
            async with asyncio.timeout(self._timeouts.read):
                for pause in asked.pauses:
                    await pause.wait()
        except TimeoutError:
            msg = f"{asked}: {self._name} was silent for {self._timeouts.read:g} s"
            raise ConnectionFailedError(msg) from None

    def _respond(self, request: Request, asked: Asked, reply: Reply, cut: Cut | None) -> MemoryResponse:
        if cut is not None and cut.at is None:
            when = " before the reply" if cut.is_done else ""
            msg = f"{asked}: the connection broke{when}, {AS_ASKED}"
            raise ConnectionFailedError(msg)
        body = b"" if request.expect.is_head or reply.status in NO_BODY else reply.body
        stop = len(body) if cut is None or cut.at is None else cut.at
        told = response_headers(reply, self._engine.store.now(), self._engine.request_id())
        headers = {name.lower().encode(): value.encode("latin-1") for name, value in told.items()}
        response = MemoryResponse(self, asked, int(reply.status), headers, body, stop)
        start = request.expect.stream_from
        is_success = 200 <= reply.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3
        if start is None or not is_success or len(body) <= start:
            response.take_whole(body)
        return response


class MemoryResponse:
    """A ``transport.Response`` whose body is in memory. At ``stop`` it is cut off."""

    __slots__ = ("_asked", "_body", "_position", "_stop", "_transport", "content", "headers", "status", "taken")

    def __init__(
        self,
        transport: MemoryTransport,
        asked: Asked,
        status: int,
        headers: dict[bytes, bytes],
        body: bytes,
        stop: int,
    ) -> None:
        self.status, self.headers = status, headers
        self.content: bytes | None = None
        self.taken = 0
        self._transport: MemoryTransport | None = transport
        self._asked, self._body, self._stop = asked, memoryview(body), stop
        self._position = 0

    def take_whole(self, body: bytes) -> None:
        """Receive the body with the head."""
        if self._stop < len(body):
            raise self._cut()
        self.content = body
        self.close()

    async def read_chunk(self) -> bytes:
        return bytes(await self._next(CHUNK_BYTES))

    async def read_into(self, memory: memoryview) -> int:
        position = 0
        while position < len(memory) and (piece := await self._next(min(CHUNK_BYTES, len(memory) - position))):
            memory[position : position + len(piece)] = piece
            position += len(piece)
        return position

    def close(self) -> None:
        self._transport = None
        self._body = _NOTHING

    async def _next(self, most: int) -> memoryview:
        """Return the next bytes; nothing at the end, or after ``close``."""
        if self._transport is None:
            return _NOTHING
        piece = self._body[self._position : min(self._position + most, self._stop)]
        await self._transport.receive(len(piece))
        if not piece and self._stop < len(self._body):
            raise self._cut()
        self._position += len(piece)
        self.taken += len(piece)
        return piece

    def _cut(self) -> IncompleteBodyError:
        what = f"the body ended after {self._stop:,} of {len(self._body):,} bytes"
        return IncompleteBodyError(f"{self._asked}: {what}, {AS_ASKED}")


async def _joined(pieces: Pieces) -> bytes:
    async with aclosing(pieces.open()) as chunks:
        body = b"".join([bytes(chunk) async for chunk in chunks])
    if len(body) != len(pieces):
        msg = f"the body does not have the {len(pieces):,} bytes that were announced: did its file change?"
        raise ValueError(msg)
    return body
