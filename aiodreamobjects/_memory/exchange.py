"""One connection to a served service: reads requests from it, and sends the replies as the rules say."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TypeVar

from aiodreamobjects._memory.actions import (
    Blanks,
    Close,
    Cut,
    Delivery,
    Drip,
    Early,
    Extra,
    Raw,
    SlowRead,
    Then,
    Unread,
)
from aiodreamobjects._memory.calls import NO_BODY, Call, Reply, call_of, response_headers, with_body
from aiodreamobjects._memory.codes import S3Error
from aiodreamobjects._memory.documents import error_reply
from aiodreamobjects._memory.engine import Engine
from aiodreamobjects._memory.faults import Asked

T = TypeVar("T")

LONGEST_HEAD_BYTES = 256 << 10
LARGEST_BODY_BYTES = 5 << 30
"""What S3 takes in one request. The connection of a larger one is closed."""
ENDS = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""What reading or writing raises if the client leaves or does not speak HTTP."""


class Exchange:
    """A connection, and the request on it. ``number`` identifies the connection."""

    def __init__(self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._engine, self._reader, self._writer, self._number = engine, reader, writer, number
        self._is_last = False
        # What was drained has left. Over TLS with high=0, asyncio waits for ever: an empty buffer reaches the limit.
        writer.transport.set_write_buffer_limits(high=1, low=0)

    async def answer_all(self) -> None:
        """Answer until the client leaves, or a rule ends the connection."""
        try:
            while await self.answer():
                pass
        except ENDS:
            pass

    async def answer(self) -> bool:
        """Answer one request. Return whether the connection is kept for another."""
        call = await self._head()
        if call is None:
            return False
        asked = self._engine.arrive(call, self._number)
        if call.headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        early = _first(asked, Early)
        if early is not None:
            await self._deliver(call.method, Reply(headers=early.headers), None)
        is_unread = _first(asked, Unread) is not None
        body = b"" if is_unread else await self._body(call, _first(asked, SlowRead))
        reply, delivery = await self._work(asked, call, body)
        if early is None:
            await self._deliver(call.method, reply, delivery)
        self._engine.carry_out_late(asked)
        return not is_unread and not self._is_last

    async def _head(self) -> Call | None:
        """Read the head of a request; None if it is not HTTP."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        words = request_line.split(" ")
        if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):  # noqa: PLR2004
            await self._send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return None
        call = call_of(words[0], words[1], filter(None, lines), self._engine.store.dialect.host)
        self._is_last = "close" in call.headers.get("connection", "").lower() or words[2] == "HTTP/1.0"
        return call

    async def _body(self, call: Call, slow: SlowRead | None) -> bytes:
        if call.headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        length = call.headers.get("content-length", "0")
        is_number = length.isascii() and length.isdecimal() and len(length) < 20  # noqa: PLR2004 - int() refuses thousands
        if not is_number or int(length) > LARGEST_BODY_BYTES:
            raise ConnectionAbortedError
        if slow is None:
            return await self._reader.readexactly(int(length))
        body = bytearray()
        while len(body) < int(length):
            body += await self._reader.readexactly(min(slow.bytes_per_step, int(length) - len(body)))
            await asyncio.sleep(slow.seconds_between)
        return bytes(body)

    async def _chunks(self) -> bytes:
        """Read a body in chunks. Trailing headers are ignored."""
        pieces, received = [], 0
        try:
            while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                received += size
                if received > LARGEST_BODY_BYTES:
                    raise ConnectionAbortedError
                pieces.append(await self._reader.readexactly(size))
                await self._reader.readexactly(2)
        except ValueError:
            raise ConnectionAbortedError from None
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return b"".join(pieces)

    async def _work(self, asked: Asked, call: Call, body: bytes) -> tuple[Reply, Delivery | None]:
        try:
            call = with_body(call, body)
        except S3Error as error:
            return error_reply(error.status, error.name, error.message), None
        prepared = await self._engine.prepare(asked, call)
        if prepared is None:
            raise self._reset()
        return self._engine.reply(asked, prepared)

    # The response

    async def _deliver(self, method: str, reply: Reply, delivery: Delivery | None) -> None:
        body = b"" if method == "HEAD" or reply.status in NO_BODY else reply.body
        head = self._response_head(reply, is_in_chunks=isinstance(delivery, Blanks))
        match delivery:
            case None:
                await self._send(head + body)
            case Cut(at, then):
                if at is not None:
                    await self._send(head[:at] if at < 0 else head + body[:at])
                await self._end(then)
            case Raw(data, then):
                await self._send(data)
                await self._end(then)
            case Drip(step, seconds):
                await self._send(head)
                for start in range(0, len(body), step):
                    await self._send(body[start : start + step])
                    await asyncio.sleep(seconds)
            case Blanks(count, seconds):
                await self._send(head)
                for _ in range(count):
                    await self._send(b"1\r\n \r\n")
                    await asyncio.sleep(seconds)
                chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                await self._send(chunk + b"0\r\n\r\n")
            case Extra(data, seconds):
                await self._send(head + body + (b"" if seconds else data))
                if seconds:
                    await asyncio.sleep(seconds)
                    await self._send(data)
            case Close(then):
                await self._send(head + body)
                await self._end(then)

    def _response_head(self, reply: Reply, *, is_in_chunks: bool) -> bytes:
        told = response_headers(reply, self._engine.store.now(), self._engine.request_id())
        if is_in_chunks:
            told.pop("Content-Length", None)
            told["Transfer-Encoding"] = "chunked"
        lines = "".join([f"{name}: {value}\r\n" for name, value in told.items()])
        return f"HTTP/1.1 {int(reply.status)} S3\r\n{lines}\r\n".encode("latin-1")

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _end(self, then: Then) -> None:
        if then == "silence":
            while await self._reader.read(1 << 16):
                pass
        elif then == "reset":
            raise self._reset()
        raise ConnectionAbortedError

    def _reset(self) -> ConnectionAbortedError:
        reset(self._writer)
        return ConnectionAbortedError()


def _first(asked: Asked, kind: type[T]) -> T | None:
    return next((action for action in asked.actions if isinstance(action, kind)), None)


def linger_not(sock: socket.socket) -> None:
    """Make closing the socket send a RST. Data on its way is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST."""
    linger_not(writer.get_extra_info("socket"))
    writer.transport.abort()
