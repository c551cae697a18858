"""Answers that are not HTTP, or that never end, are errors."""

from __future__ import annotations

import itertools

import pytest
from http_client import STREAMED, Receiver, assert_serves, echo, failing, on_every_way, served
from invariants import traced_memory
from loops import on_every_loop
from servers.raw import Peer, Script, answers

import aiodreamobjects as dream
from aiodreamobjects._http.transport import Expect, Response

HEADER_FLOOD = b"".join(b"x-%d: y\r\n" % number for number in range(100_000))


MALFORMED = {
    "garbage": b"\x00\x01\x02 garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "tls": b"\x15\x03\x01\x00\x02\x02\x46",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "another version": b"HTTP/3.7 200 OK\r\n\r\n",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
    "two framings, the other way": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "a length in hex": b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
    "a length past 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    "a header without a name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "a bare line feed": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "another protocol, agreed": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\x00\x01",
    "a header of a mebibyte": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
    "a name of a mebibyte": b"HTTP/1.1 200 OK\r\n" + b"x" * (1 << 20) + b": x\r\n\r\n",
    "a reason of a mebibyte": b"HTTP/1.1 200 " + b"x" * (1 << 20) + b"\r\n\r\n",
    "100,000 headers": b"HTTP/1.1 200 OK\r\n" + HEADER_FLOOD + b"\r\n",
    "interim responses without an end": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "interim responses with headers": (b"HTTP/1.1 103 Hints\r\n" + HEADER_FLOOD[:5000] + b"\r\n") * 100,
    "blank lines": b"\r\n" * (1 << 20),
}


BROKEN_BODIES = {
    "no chunk size": b"\r\nhello\r\n0\r\n\r\n",
    "a bad chunk size": b"5x\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size past 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk that is too short": b"6\r\nhello\r\n0\r\n\r\n",
    "a chunk that is too long": b"4\r\nhello\r\n0\r\n\r\n",
    "a bare line feed": b"5\nhello\n0\n\n",
    "trailers without an end": b"5\r\nhello\r\n0\r\n" + HEADER_FLOOD,
    "a trailer without an end": b"5\r\nhello\r\n0\r\nX: " + b"x" * (1 << 20),
    "a chunk extension without an end": b"5;" + b"x" * (1 << 20),
}


def floods(data: bytes) -> Script:
    """The answer to a request, and then nothing until the client leaves."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pour(data)
        await peer.until_gone()

    return script


@pytest.mark.parametrize("is_one_piece", [True, False], ids=["at once", "in pieces"])
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
@on_every_loop
async def test_what_is_not_http_is_an_error(data: bytes, is_one_piece: bool) -> None:
    script = floods(data) if is_one_piece else answers([data[:7], data[7:20], data[20:30], data[30:]])
    async with served(script, echo) as (_, client):
        with failing("does not answer in HTTP|a head of over|interim responses") as caught:
            await client.get()
        assert (caught.value.retryable, caught.value.request_sent) == (False, True)
        await assert_serves(client)


@on_every_way
@pytest.mark.parametrize("is_one_piece", [True, False], ids=["at once", "in pieces"])
@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
@on_every_loop
async def test_a_body_in_broken_chunks_is_an_error(
    body: bytes, is_one_piece: bool, expect: Expect, receive: Receiver
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = floods(head + body) if is_one_piece else answers([head, body[:1], body[1:4], body[4:9], body[9:]])
    async with served(script, echo) as (_, client):
        with pytest.raises((dream.ConnectionFailedError, dream.IncompleteBodyError)):
            await receive(await client.get("/", expect))
        await assert_serves(client)


async def _pour_away(response: Response) -> None:
    while await response.read_chunk():
        pass


@on_every_loop
async def test_trailers_after_a_large_body_do_not_fill_the_memory() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pour(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800000\r\n" + bytes(8 << 20) + b"\r\n0\r\n"
        )
        for number in itertools.count():
            await peer.pour(b"x-%d: %s\r\n" % (number, b"y" * 60_000))

    async with served(script) as (_, client):
        response = await client.get("/", STREAMED)
        with traced_memory() as memory, pytest.raises((dream.ConnectionFailedError, dream.IncompleteBodyError)):
            await _pour_away(response)
        assert memory.peak < 4 << 20


@on_every_loop
async def test_a_document_that_announces_too_much_is_refused_at_once() -> None:
    for status in (200, 500):
        head = b"HTTP/1.1 %d Scripted\r\nContent-Length: 99999999999\r\n\r\n<Error>" % status
        async with served(floods(head), echo) as (_, client):
            with failing("a document of over 8,388,608 bytes") as caught:
                await client.get()
            assert not caught.value.retryable
            await assert_serves(client)


@on_every_loop
async def test_a_document_without_an_end_is_refused() -> None:
    for head, piece in [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", bytes(1 << 16)),
    ]:

        async def script(peer: Peer, head: bytes = head, piece: bytes = piece) -> None:
            await peer.request()
            await peer.pour(head)
            while True:
                await peer.pour(piece)

        async with served(script, echo) as (_, client):
            with failing("a document of over 8,388,608 bytes"):
                await client.get()
            await assert_serves(client)


@on_every_loop
async def test_a_peer_that_speaks_first_is_not_believed() -> None:
    async def script(peer: Peer) -> None:
        peer.blurt(b"220 ready\r\n")
        await peer.until_gone()

    async with served(script, echo) as (_, client):
        with failing("that answer no request|does not answer in HTTP|before the first request"):
            await client.get()
        await assert_serves(client)
