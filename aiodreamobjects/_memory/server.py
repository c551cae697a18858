"""A service behind a real socket: for other processes, for browsers, and for other S3 clients."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread

from aiodreamobjects._memory.engine import Engine
from aiodreamobjects._memory.exchange import LONGEST_HEAD_BYTES, Exchange

HOST = "127.0.0.1"
BACKLOG = 4096


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
        listener = Listener(lambda reader, writer, number: Exchange(engine, reader, writer, number).answer_all())
        stack.push_async_callback(listener.aclose)
        port = await listener.open(port, context)
        dialect = engine.store.dialect
        yield Served(f"http{'s' if tls else ''}://{HOST}:{port}", dialect.access_key, dialect.secret_key, ca)


class Listener:
    """Accepts connections and owns their tasks."""

    def __init__(
        self, handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Coroutine[None, None, None]]
    ) -> None:
        """``handle`` gets the two streams of a connection, and its number."""
        self._handle = handle
        self._server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """The tasks of the open connections."""
        self.accepted = 0
        """How many connections there were."""

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
        self.accepted += 1
        try:
            await self._handle(reader, writer, self.accepted)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.CancelledError):  # by the client, or by aclose, which waits for this task
            pass
        finally:
            writer.transport.abort()
            self.tasks.discard(task)


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
