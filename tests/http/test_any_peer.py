"""Whatever a peer makes of HTTP, no request hangs, and none returns a body that was not sent."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from fuzzing import fuzzed
from http_client import HEAD, KINDS, WAYS, WRONG, assert_serves, content_of, echo, served
from hypothesis import example, given
from hypothesis import strategies as st
from loops import LOOPS, loop_of_its_own
from servers.raw import Peer, turns

import aiodreamobjects as dream

WORDS = [
    b"",
    b"\r\n",
    b"\n",
    b"\0",
    b":",
    b"0\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"content-length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 ",
    WRONG,
]


@dataclass(frozen=True)
class Said:
    """What a peer says to a request, in which pieces, and how it goes on."""

    pieces: Sequence[bytes]
    then: str
    way: str

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@st.composite
def answers_of_sorts(draw: st.DrawFn) -> Said:
    """Often a response, often nearly one, in pieces of any size."""
    kind = draw(st.sampled_from(list(KINDS.values())))
    data = draw(st.sampled_from([kind.data, kind.data + kind.data, kind.data + WRONG])) if draw(st.booleans()) else b""
    data = data or kind.data
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 12)))
        new = draw(st.sampled_from([*WORDS, data[start:stop] * 2]) | st.binary(max_size=4))
        data = data[:start] + new + data[stop:]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    pieces = [data[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(data)])]
    way = "head" if kind.expect.is_head else draw(st.sampled_from(list(WAYS)))
    return Said(pieces, draw(st.sampled_from(["fin", "fin", "fin", "reset", "listen"])), way)


def bodies(data: bytes, *, is_head: bool) -> Iterator[bytes]:
    """What a lenient reader may find in it: one reading, or none, but for interim responses that have a body."""
    data = data.lstrip(b"\r\n")
    head, end, rest = data.partition(b"\r\n\r\n")
    line = re.match(rb"HTTP/[0-9.]+ ([0-9]{3})", head)
    if not line or not end:
        return
    status, fields = int(line[1]), dict(re.findall(rb"\r\n([^:\r]+):[ \t]*([^\r]*?)[ \t]*(?=\r|$)", head.lower()))
    if status < 200:
        yield from bodies(rest, is_head=is_head)
    if is_head or status in (204, 304):
        found: bytes | None = b""
        after = rest
    elif b"transfer-encoding" in fields and fields[b"transfer-encoding"].endswith(b"chunked"):
        found, after = read_chunks(rest)
    elif b"content-length" in fields:
        length = int(fields[b"content-length"] or b"0")
        found, after = rest[:length] if len(rest) >= length else None, rest[length:]
    else:
        found, after = rest, b""
    if found is not None:
        yield from [found] if status >= 200 else bodies(after, is_head=is_head)


def read_chunks(data: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while line := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", data):
        size, data = int(line[1], 16), data[line.end() :]
        if size == 0:
            trailers = re.match(rb"(?:[^\r\n]+\r\n)*\r\n", data)
            return (body, data[trailers.end() :]) if trailers else (None, b"")
        if len(data) < size + 2 or data[size : size + 2] != b"\r\n":
            return None, b""
        body, data = body + data[:size], data[size + 2 :]
    return None, b""


@pytest.mark.parametrize("loop", LOOPS)
def test_no_peer_makes_it_hang_or_lie(loop: str) -> None:
    timeouts = dream.Timeouts(connect=10, read=0.1, write=0.1)
    ways = WAYS | {"head": (HEAD, content_of)}

    async def converse(said: Said) -> None:
        has_said = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            try:
                await peer.send(*said.pieces)
                if said.then == "reset":
                    peer.reset()
                elif said.then == "fin":
                    peer.fin()
            finally:
                has_said.set()
            if said.then == "listen":
                await echo(peer)
            await peer.until_gone()

        async with served(script, echo, timeouts=timeouts) as (_, client):
            expect, receive = ways[said.way]
            try:
                body = await receive(await client.get("/1", expect))
            except (dream.ConnectionFailedError, dream.IncompleteBodyError):
                pass
            else:
                assert body in list(bodies(said.data, is_head=said.way == "head"))
            await has_said.wait()
            await turns(20)
            await assert_serves(client)

    with loop_of_its_own(loop) as run:

        @fuzzed(1.5)
        @example(Said([KINDS["interim"].data], "fin", "whole"))
        @given(answers_of_sorts())
        def hold_conversations(said: Said) -> None:
            run(converse(said))

        hold_conversations()
