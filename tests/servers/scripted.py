"""A server that says what it is told to say: for everything that a healthy one will not do.

It speaks just enough HTTP to find where a request ends. Each request takes the next step of the script; the last step
answers all further ones.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import aiodreamobjects as dream


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. ``body`` is what is sent; ``length`` is what is announced, where that is a lie."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    delay: float = 0.0
    """Seconds before it is sent."""
    hold: asyncio.Event | None = None
    """Set by the test: the body is sent, the connection kept, and the rest awaits this event."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are, then the end of the connection."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer, as long as the client stays."""


@dataclass(frozen=True, slots=True)
class Content:
    """An object, whole or in the range that is asked for, whose connection breaks after ``cut`` bytes of it."""

    data: bytes
    etag: str
    cut: int | None = None

    def reply(self, headers: Mapping[str, str]) -> Reply:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        size = len(self.data)
        start, stop = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
        if asked and start >= size:
            return error(416, "InvalidRange")
        told = {"ETag": f'"{self.etag}"'}
        if asked:
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        cut = stop if self.cut is None else min(stop, start + self.cut)
        return Reply(206 if asked else 200, self.data[start:cut], told, length=stop - start)


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Step = Reply | Raw | Silence | Content | Callable[[Received], "Reply | Raw | Silence | Content"]
"""A function answers what was asked, where the order of requests is not known."""


def error(status: int, code: str, **headers: str) -> Reply:
    """An S3 error document."""
    body = f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode()
    told = {"x-amz-request-id": "tx1"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, body, told)


IMPATIENT = dream.Timeouts(connect=10, read=0.5, write=0.5)
"""For tests of a silent peer; elsewhere a busy machine may keep a healthy one waiting."""


class ScriptedServer:
    def __init__(self, certificate: tuple[Path, Path] | None = None, port: int = 0) -> None:
        self.port, self._certificate = port, certificate
        self.received: list[Received] = []
        self.connections = 0
        self._steps: list[Step] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self.arrived = asyncio.Event()
        """Set when a request has arrived; for the test to clear."""
        self._drip: tuple[int, float] | None = None

    async def __aenter__(self) -> Self:
        context = None
        if self._certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self._certificate)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.endpoint = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def will(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.received.clear()

    def stop_reading(self) -> None:
        """Take heads of requests, and no bodies."""
        self._may_read.clear()

    def hang_up(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def drip(self, *, bytes_per_step: int, seconds_between: float) -> None:
        """Send bodies slowly."""
        self._drip = bytes_per_step, seconds_between

    def session(self, **settings: object) -> dream.Session:
        """A session to it that waits next to nothing between attempts, and asks nothing first."""
        given = {
            "service": None if "endpoint" in settings else self.service,
            "access_key": "scripted",
            "secret_key": "not-a-secret",
            "retry": dream.Retry(attempts=4, base=0.001, cap=0.002),
            "timeouts": dream.Timeouts(connect=10, read=10, write=10),
        }
        return dream.Session(**{**given, **settings})  # type: ignore[arg-type]  # each by its name

    @property
    def service(self) -> dream.Service:
        return replace(dream.Service.for_endpoint(self.endpoint), is_known=True)

    @property
    def requests(self) -> Sequence[str]:
        return [f"{request.method} {request.target}" for request in self.received]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        await self._may_read.wait()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = request_line.split(" ")
        self.received.append(Received(method, target, headers, body))
        self.arrived.set()
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if callable(step):
            step = step(self.received[-1])
        if isinstance(step, Content):
            step = step.reply(headers)
        match step:
            case Silence():
                await reader.read()
                return False
            case Raw(data):
                writer.write(data)
                await writer.drain()
                return False
            case Reply(status, content, extra, length, delay, hold):
                await asyncio.sleep(delay)
                announced = len(content) if length is None else length
                lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {announced}"]
                lines += [f"{name}: {value}" for name, value in extra.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
                await self._send(writer, b"" if method == "HEAD" else content)
                if hold is not None:
                    await hold.wait()
                return announced == len(content) or method == "HEAD"

    async def _send(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        step, pause = self._drip or (len(content) or 1, 0.0)
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
            await writer.drain()
            await asyncio.sleep(pause)
        await writer.drain()
