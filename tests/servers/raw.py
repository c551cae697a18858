"""A server of bytes: it says what its script says, piece by piece, and nothing of its own.

It lives on the test's own event loop, on sockets without a transport: a script knows what has left and what has come,
ends a connection as it likes, and never has to wait for a while to be sure.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aiodreamobjects._memory.server import linger_not

TURNS = 4
"""Of the event loop, in which a client on the same loop reads what was sent to it."""
AT_ONCE = 256 << 10
LEFT = "the client left"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    head: bytes
    body: bytes


class Peer:
    """The server's end of a connection. Its methods raise ConnectionError once the client is gone."""

    def __init__(self, server: RawServer, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self.sent = self.received = 0
        """Bytes that the kernel took, and gave, beneath TLS."""
        self._server, self._socket = server, sock
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True) if context else None

    async def shake_hands(self) -> None:
        while self._tls is not None:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            else:
                await self._flush()
                return

    async def request(self) -> Request:
        """The next request, with its body; known to the server by then."""
        request = await self.head()
        length = re.search(rb"\r\ncontent-length: (\d+)", request.head, re.IGNORECASE)
        body = await self.take(int(length[1])) if length else b""
        return self._server.note(Request(request.method, request.path, request.head, body))

    async def head(self) -> Request:
        """The next request's head, which the server does not count."""
        while b"\r\n\r\n" not in self._unread:
            self._unread += await self.read()
        end = self._unread.index(b"\r\n\r\n") + 4
        head = await self.take(end)
        method, path, _ = head.decode("latin-1").split(" ", 2)
        return Request(method, path, head, b"")

    async def take(self, size: int) -> bytes:
        """So many bytes of what the client sends."""
        while len(self._unread) < size:
            self._unread += await self.read()
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    async def read(self) -> bytes:
        """What has arrived since."""
        while self._tls is not None:
            try:
                if data := self._tls.read(AT_ONCE):
                    return data
                raise ConnectionResetError(LEFT)
            except ssl.SSLWantReadError:
                await self._receive()
        return await self._receive_plain()

    async def send(self, *pieces: bytes) -> None:
        """Each piece on its own: the client reads it before the next one is sent."""
        for piece in pieces:
            await self.pour(piece)
            await turns()

    def blurt(self, data: bytes) -> None:
        """Send at once, before the client can do anything."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._socket.sendall(data)

    async def pour(self, data: bytes) -> None:
        """As fast as the client takes it; ``sent`` tells how far it is."""
        if self._tls is not None:
            self._tls.write(data)
            await self._flush()
            return
        view = memoryview(data)
        for start in range(0, len(view), AT_ONCE):
            await self._loop.sock_sendall(self._socket, view[start : start + AT_ONCE])
            self.sent += len(view[start : start + AT_ONCE])
            self._server.changed.set()

    def fin(self) -> None:
        """No more is sent, and TLS says so too. What the client still sends is accepted."""
        if self._tls is not None:
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._socket.sendall(self._outgoing.read())
        self.break_off()

    def break_off(self) -> None:
        """A FIN without TLS's word that this is the end."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """The connection ends with a RST, and whatever is on its way is lost."""
        linger_not(self._socket)
        self._socket.close()

    async def until_gone(self) -> None:
        """Take what the client sends until it leaves."""
        with suppress(OSError):
            while self._socket.fileno() != -1 and await self._receive_plain():
                pass

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._loop.sock_sendall(self._socket, data)
            self.sent += len(data)

    async def _receive(self) -> None:
        self._incoming.write(await self._receive_plain())

    async def _receive_plain(self) -> bytes:
        data = await self._loop.sock_recv(self._socket, AT_ONCE)
        if not data:
            raise ConnectionResetError(LEFT)
        self.received += len(data)
        self._server.changed.set()
        return data


Script = Callable[[Peer], Awaitable[None]]
"""What is done with one connection. When it returns, the server says FIN, and waits for the client to leave."""


def answers(*responses: bytes | Sequence[bytes]) -> Script:
    """A response, or the pieces of one, to each request; and silence to all further ones."""

    async def script(peer: Peer) -> None:
        for response in responses:
            await peer.request()
            await peer.send(*([response] if isinstance(response, bytes) else response))
        await peer.until_gone()

    return script


@functools.cache
def _with_certificate(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    return context


class RawServer:
    """Each connection takes the next script; the last one serves all further connections."""

    def __init__(
        self, *scripts: Script, certificate: tuple[Path, Path] | None = None, receive_buffer: int | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.changed = asyncio.Event()
        """Set whenever something has arrived or left."""
        self._scripts, self._receive_buffer = list(scripts), receive_buffer
        self._context = _with_certificate(*certificate) if certificate else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []

    async def __aenter__(self) -> Self:
        self._listener = socket.socket()
        if self._receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._listener.setblocking(False)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(100)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (self._accepting, *self._tasks):
            task.cancel()
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)
        self._listener.close()
        if self._failures and error is None:
            raise self._failures[0]

    def will(self, *scripts: Script) -> None:
        self._scripts = list(scripts)

    def note(self, request: Request) -> Request:
        self.requests.append(request)
        self.changed.set()
        return request

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that arrives or leaves to make it true."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.changed.set()
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            task = asyncio.create_task(self._serve(script, sock))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.changed.set()

    async def _serve(self, script: Script, sock: socket.socket) -> None:
        with sock:
            peer = Peer(self, sock, self._context)
            try:
                await peer.shake_hands()
                await script(peer)
                if sock.fileno() != -1:
                    peer.fin()
                    await peer.until_gone()
            except (OSError, ssl.SSLError):  # the client left, or does not trust the server
                pass
            except Exception as error:  # noqa: BLE001 - raised when the server ends
                self._failures.append(error)


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
