"""Large bodies that share the turns of the loop, and the processors, with short requests."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from http_client import PATIENT, STREAMED, asked, closed, ok
from loops import on_every_loop

from aiodreamobjects._http.connection import PIECE_BYTES
from aiodreamobjects._http.pool import Pool
from aiodreamobjects._http.transport import Response
from aiodreamobjects._http.turns import TURN_BYTES
from aiodreamobjects._progress import Gauge
from aiodreamobjects._system import processors
from aiodreamobjects.testing import MemoryService

WIDTH = 8
SIZE = 16 << 20
CONTENT = bytes(SIZE)


class Handler(socketserver.StreamRequestHandler):
    """Serves as many bytes as the path says, and takes what is put."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline().lower()) not in (b"\r\n", b""):
                if header.startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            while length:
                length -= len(self.rfile.read(min(length, 1 << 20)))
            count = int(line.split()[1][1:])
            self.connection.sendall(ok(b"")[:-4].replace(b"Content-Length: 0", b"Content-Length: %d" % count))
            self.connection.sendall(b"\r\n\r\n")
            self.connection.sendall(memoryview(CONTENT)[:count])


@pytest.fixture
def host() -> Iterator[str]:
    """A server whose connections have threads of their own: all of them are ready at once."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def busy_pool(host: str) -> AsyncIterator[Pool]:
    """A pool that sends one short request after the other."""
    pool, is_over = Pool(timeouts=PATIENT, ssl_context=None), False

    async def ask() -> None:
        while not is_over:
            await pool.send(asked(host, path="/10"))

    await pool.send(asked(host, path="/10"))
    task = asyncio.ensure_future(ask())
    try:
        yield pool
    finally:
        is_over = True
        await task
        await pool.aclose(closed)


async def large_turns(moved: Callable[[], int], most: int, work: Awaitable[object]) -> int:
    """Do the work. Return in how many turns of the loop the figure grew by more than two bodies may have, ``most`` each."""
    task, count, before = asyncio.ensure_future(work), 0, moved()
    while not task.done():
        await asyncio.sleep(0)
        now = moved()
        count += now - before > 2 * most
        before = now
    await task
    return count


@on_every_loop
async def test_large_bodies_arrive_in_turns_while_there_are_short_requests(host: str) -> None:
    memory = [bytearray(SIZE) for _ in range(WIDTH)]
    responses: list[Response] = []

    async def fill(part: bytearray) -> int:
        responses.append(response := await pool.send(asked(host, path=f"/{SIZE}", expect=STREAMED)))
        return await response.read_into(memoryview(part))

    async with busy_pool(host) as pool:
        reads = asyncio.gather(*map(fill, memory))
        count = await large_turns(lambda: sum(response.taken for response in responses), TURN_BYTES, reads)
    assert reads.result() == [SIZE] * WIDTH
    assert count <= WIDTH  # each comes without a turn once


@on_every_loop
async def test_large_bodies_leave_in_turns_while_there_are_short_requests(host: str) -> None:
    gauges = [Gauge(SIZE) for _ in range(WIDTH)]

    async def put(gauge: Gauge) -> int:
        request = asked(host, "PUT", "/0", CONTENT)
        request.sent = gauge
        return (await pool.send(request)).status

    async with busy_pool(host) as pool:
        puts = asyncio.gather(*map(put, gauges))
        count = await large_turns(lambda: sum(gauge.bytes for gauge in gauges), PIECE_BYTES, puts)
    assert puts.result() == [200] * WIDTH
    assert count <= WIDTH


@on_every_loop
async def test_no_more_digests_than_processors_are_computed_at_once() -> None:
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("bucket")
        before = threading.active_count()
        await asyncio.gather(*(bucket.object(f"{number}").put(bytes(1 << 20)) for number in range(4 * processors())))
        assert threading.active_count() - before <= processors()
