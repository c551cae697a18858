"""The seam to the network: send one signed HTTP request, receive one response. Knows nothing of S3.

Two classes implement ``Transport``: the pool of connections (``pool.py``) and the service in memory (``_memory``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from aiodreamobjects._errors import DreamObjectsError
from aiodreamobjects._progress import Gauge

Buffer = bytes | bytearray | memoryview


class HeaderLines(str):
    """Header lines, each with its CRLF. They hold a signature, so a traceback that shows locals must not show them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<header lines, {len(self)} characters>"


@dataclass(frozen=True, slots=True)
class Pieces:
    """A body that is made while it is sent. ``open`` begins it; ``len()`` is its size in bytes."""

    size: int
    open: Callable[[], AsyncGenerator[Buffer, None]]

    def __len__(self) -> int:
        return self.size


Body = Buffer | Pieces


@dataclass(frozen=True, slots=True)
class Expect:
    """How to receive a response.

    A successful one is streamed if its body is longer than ``stream_from`` bytes or of unknown length. Without
    ``stream_from``, and if it is no success, it is received whole. ``low_speed``: cut the body if it comes at fewer
    bytes a second.
    """

    low_speed: float
    is_head: bool = False
    stream_from: int | None = None


@dataclass(slots=True)
class Request:
    """One HTTP request, signed."""

    method: str
    host: str
    """With its port where that is not the scheme's own. It is in the header lines too."""
    target: str
    """Path and query, percent-encoded as they are signed."""
    headers: HeaderLines
    body: Body
    expect: Expect
    is_idempotent: bool
    """Whether it may be sent again if a kept connection turns out to be dead before it answers."""
    sent: Gauge | None = None
    """Told how much of the body is on its way."""


class Response(Protocol):
    """A status, headers by their names in lower case, and the body."""

    status: int
    headers: dict[bytes, bytes]
    content: bytes | None
    """The body, if it was received whole. ``None`` for one that is streamed."""
    taken: int
    """How many bytes of a streamed body its reader has got so far."""

    async def read_chunk(self) -> bytes:
        """Return the next bytes of the body, at least one; empty at the end. Raises IncompleteBodyError if it ends early."""
        ...

    async def read_into(self, memory: memoryview) -> int:
        """Fill the memory, and less of it only at the end of the body. Return how many bytes that was.

        Raises as ``read_chunk``; ``taken`` then tells how many bytes are there.
        """
        ...

    def close(self) -> None:
        """Let go of the connection: it is used again if all of the body has arrived, else closed. Idempotent."""
        ...


class Transport(Protocol):
    """Sends requests to one service."""

    async def send(self, request: Request) -> Response:
        """Send a request and return its response, whatever its status. The caller must read it to its end or close it.

        Raises ConnectionFailedError, IncompleteBodyError, and what ``aclose`` was given once that was called. A success
        that arrives before the peer can have had all of the request is ConnectionFailedError.
        """
        ...

    @property
    def open_connections(self) -> int: ...

    @property
    def idle_connections(self) -> int: ...

    def bytes_moved(self) -> int:
        """Return a figure that changes as long as bytes of any request or response move."""
        ...

    async def aclose(self, error: Callable[[], DreamObjectsError]) -> None:
        """Close everything. Each request under way, and each later one, raises such an error."""
        ...

    def abandon(self, error: Callable[[], DreamObjectsError]) -> None:
        """Close as far as that can be done without waiting, also when the event loop is gone."""
        ...
