"""The seam to the network: send one signed HTTP request and receive one response. Knows nothing of S3.

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
    """Header lines, each with its CRLF. They hold a signature, so ``repr`` hides them from tracebacks that show locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<header lines, {len(self)} characters>"


@dataclass(frozen=True, slots=True)
class Pieces:
    """A body that is made while it is sent. ``open`` starts it from the beginning. ``len()`` is its size in bytes."""

    size: int
    open: Callable[[], AsyncGenerator[Buffer, None]]

    def __len__(self) -> int:
        return self.size


Body = Buffer | Pieces


@dataclass(frozen=True, slots=True)
class Expect:
    """How to receive a response.

    Stream a successful one if its body is longer than ``stream_from`` bytes, or of unknown length. Receive any other
    response whole. Give up a body that arrives at fewer than ``low_speed`` bytes a second.
    """

    low_speed: float
    is_head: bool = False
    stream_from: int | None = None


class Waits(Protocol):
    """The seconds that a request waited."""

    waited_place: float
    """For its turn among the requests of the session."""
    waited_connection: float
    """For a new connection."""


@dataclass(slots=True)
class Request:
    """One signed HTTP request."""

    method: str
    host: str
    """The host, with a port that is not the scheme's default. The header lines name it too."""
    target: str
    """Path and query, percent-encoded as they were signed."""
    headers: HeaderLines
    body: Body
    expect: Expect
    is_idempotent: bool
    """Whether to send it again if a kept connection turns out to be closed before any answer."""
    sent: Gauge | None = None
    """Counts the bytes of the body that have left."""
    waits: Waits | None = None
    """Counts the time that the request waits."""


class Response(Protocol):
    """A status, headers with names in lower case, and the body."""

    status: int
    headers: dict[bytes, bytes]
    content: bytes | None
    """The body, if it was received whole. ``None`` for a streamed one."""

    @property
    def taken(self) -> int:
        """The number of bytes of a streamed body that were read so far."""
        ...

    async def read_chunk(self) -> bytes:
        """Return the next bytes of the body, at least one; empty at the end. Raises IncompleteBodyError for an early end."""
        ...

    async def read_into(self, memory: memoryview) -> int:
        """Fill the memory, or less of it at the end of the body. Return the number of bytes.

        Raises as ``read_chunk`` does. ``taken`` then counts the bytes that are in the memory too.
        """
        ...

    def close(self) -> None:
        """Release the connection. It is used again if all of the body has arrived, else closed. Idempotent."""
        ...


class Transport(Protocol):
    """Sends requests to one service."""

    async def send(self, request: Request) -> Response:
        """Send a request and return its response, of any status. The caller must read it to its end or close it.

        Raises ConnectionFailedError or IncompleteBodyError, and after ``aclose`` the error that it was given. A success
        raises ConnectionFailedError if the peer cannot have received the whole request.
        """
        ...

    @property
    def open_connections(self) -> int: ...

    @property
    def idle_connections(self) -> int: ...

    @property
    def waited(self) -> float:
        """The seconds that all requests waited for a new connection."""
        ...

    def bytes_moved(self) -> int:
        """Return a figure that changes while bytes of any request or response move."""
        ...

    async def aclose(self, error: Callable[[], DreamObjectsError]) -> None:
        """Close everything. Each request under way, and each later one, raises a new error from this function."""
        ...

    def abandon(self, error: Callable[[], DreamObjectsError]) -> None:
        """Close what can be closed without waiting, also if the event loop is gone."""
        ...
