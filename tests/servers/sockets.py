"""How connections end."""

from __future__ import annotations

import asyncio
import socket
import struct


def linger_not(sock: socket.socket) -> None:
    """Closing it sends a RST, and whatever is on its way is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(writer: asyncio.StreamWriter) -> None:
    linger_not(writer.get_extra_info("socket"))
    writer.transport.abort()
