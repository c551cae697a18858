"""A service behind a real socket: for other processes, for browsers, and for other S3 clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread

from aiodreamobjects._memory.calls import NO_BODY, Call, Reply, call_of, response_headers
from aiodreamobjects._memory.engine import Engine

HOST = "127.0.0.1"
BACKLOG = 4096
LONGEST_HEAD_BYTES = 256 << 10
LARGEST_BODY_BYTES = 5 << 30
"""What S3 takes in one request. The connection of a larger one is closed."""
ENDS = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""What reading or writing raises if the client leaves or does not speak HTTP."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where a service is served, and the keys that it accepts."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    ca: Path | None = None
    """The certificate of the authority to trust, in PEM. None for plain http. The file is deleted at the end."""


@asynccontextmanager
async def serve(engine: Engine, port: int, *, tls: bool) -> AsyncIterator[Served]:
    """Serve on this event loop until the block is left. Port 0 is one that is free.

    Raises OSError for a port that is taken, and ModuleNotFoundError for TLS without ``trustme``.
    """
    async with AsyncExitStack() as stack:
        ca, context = None, None
        if tls:
            directory = await to_thread.run_sync(tempfile.TemporaryDirectory)
            stack.push_async_callback(to_thread.run_sync, directory.cleanup)
            ca = Path(directory.name, "ca.pem")
            context = await to_thread.run_sync(_make_certificate, ca)
        listener = Listener(lambda reader, writer: Exchange(engine, reader, writer).answer_all())
        stack.push_async_callback(listener.aclose)
        port = await listener.open(port, context)
        dialect = engine.store.dialect
        yield Served(f"http{'s' if tls else ''}://{HOST}:{port}", dialect.access_key, dialect.secret_key, ca)


class Listener:
    """Accepts connections and owns their tasks."""

    def __init__(
        self, handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
    ) -> None:
        """``handle`` gets the two streams of a connection."""
        self._handle = handle
        self._server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """The tasks of the open connections."""

    async def open(self, port: int, context: ssl.SSLContext | None) -> int:
        """Start to listen. Return the port."""
        self._server = await asyncio.start_server(
            self._accept, HOST, port, ssl=context, limit=LONGEST_HEAD_BYTES, backlog=BACKLOG
        )
        name: tuple[str, int] = self._server.sockets[0].getsockname()
        return name[1]

    async def aclose(self) -> None:
        """End every connection, even in the middle of a request."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._handle(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.CancelledError):  # by the client, or by aclose, which waits for this task
            pass
        finally:
            writer.transport.abort()
            self.tasks.discard(task)


class Exchange:
    """A connection, and the request on it."""

    def __init__(self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._engine, self.reader, self._writer = engine, reader, writer
        self.is_last = False
        # What was drained has left. Over TLS with high=0, asyncio waits for ever: an empty buffer reaches the limit.
        writer.transport.set_write_buffer_limits(high=1, low=0)

    async def answer_all(self) -> None:
        """Answer until the client leaves, or a fault ends the connection."""
        try:
            while await self.answer():
                pass
        except ENDS:
            pass

    async def answer(self) -> bool:
        """Answer one request. Return whether the connection is kept for another."""
        call = await self.head()
        if call is None:
            return False
        asked = self._engine.arrive(call)
        self.permit(call)
        call.body = await self.body(call)
        for pause in asked.pauses:
            await pause.wait()
        reply, cut = self._engine.reply(asked, call)
        if cut is None:
            await self.deliver(call, reply)
            return not self.is_last
        if cut.at is not None:
            await self.send(self.response_head(reply) + reply.body[: cut.at])
        raise self.reset()

    async def head(self) -> Call | None:
        """Read the head of a request; None if it is not HTTP."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        words = request_line.split(" ")
        if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):  # noqa: PLR2004
            await self.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return None
        call = call_of(words[0], words[1], filter(None, lines), self._engine.store.dialect.host)
        self.is_last = "close" in call.headers.get("connection", "").lower() or words[2] == "HTTP/1.0"
        return call

    def permit(self, call: Call) -> None:
        """Let the client send the body, if it asks first."""
        if call.headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def body(self, call: Call) -> bytes:
        """Read the body. A client that asks whether it may send one must have its answer by then: see ``permit``."""
        if call.headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        length = call.headers.get("content-length", "0")
        is_number = length.isascii() and length.isdecimal() and len(length) < 20  # noqa: PLR2004 - int() refuses thousands
        if not is_number or int(length) > LARGEST_BODY_BYTES:
            raise ConnectionAbortedError
        return await self.reader.readexactly(int(length))

    async def _chunks(self) -> bytes:
        """Read a body in chunks. Trailing headers are ignored."""
        pieces, received = [], 0
        try:
            while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                received += size
                if received > LARGEST_BODY_BYTES:
                    raise ConnectionAbortedError
                pieces.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
        except ValueError:
            raise ConnectionAbortedError from None
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return b"".join(pieces)

    async def deliver(self, call: Call, reply: Reply) -> None:
        body = b"" if call.method == "HEAD" or reply.status in NO_BODY else reply.body
        await self.send(self.response_head(reply) + body)

    def response_head(self, reply: Reply) -> bytes:
        told = response_headers(reply, self._engine.store.now(), self._engine.request_id())
        lines = "".join([f"{name}: {value}\r\n" for name, value in told.items()])
        return f"HTTP/1.1 {int(reply.status)} S3\r\n{lines}\r\n".encode("latin-1")

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> ConnectionAbortedError:
        reset(self._writer)
        return ConnectionAbortedError()


def linger_not(sock: socket.socket) -> None:
    """Make closing the socket send a RST. Data on its way is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST."""
    linger_not(writer.get_extra_info("socket"))
    writer.transport.abort()


def _make_certificate(ca: Path) -> ssl.SSLContext:
    """Make an authority and write its certificate to ``ca``. Return the context of a server that it certifies."""
    try:
        import trustme  # noqa: PLC0415 - nobody else needs it
    except ModuleNotFoundError as error:
        msg = "serving with TLS makes a certificate by trustme: pip install trustme"
        raise ModuleNotFoundError(msg, name="trustme") from error
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST, "localhost").configure_cert(context)
    return context
