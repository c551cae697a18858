"""Connections that stall, crawl, lie, cannot be had or are all taken: what was asked for comes, or an error says so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Server, new_name
from faulty_verbs import DATA, LIMITS, PART, RIGHT, SMALL, VERBS, Case, run
from invariants import traced_memory
from servers.breaking_proxy import Break, BreakingProxy
from servers.faulty import FaultyServer
from servers.ports import free_port, full_port
from servers.raw import Peer, RawServer
from servers.rules import Close, Cut, Drip, Extra, Raw, Refuse, Rule, Unread

import aiodreamobjects as dream

FOR_EVER = None
PATIENCE_SECONDS = 60.0
QUICK = dream.Retry(attempts=2, base=0.001, cap=0.01)


# F10, F11: silence, and bodies that crawl


async def test_f10_silence_is_cut_and_what_it_held_up_is_asked_for_again(faulty: FaultyServer, tmp_path: Path) -> None:
    cases = []
    for verb in VERBS:
        cases.append(Case("F10-in-the-body-once", verb, [Cut(1000, "silence")], RIGHT))
        for place, at in {"before-the-head": None, "in-the-head": -10, "behind-the-head": 0}.items():
            stall = [Cut(at, "silence")]
            cases.append(Case(f"F10-{place}-once", verb, stall, RIGHT))
            cases.append(Case(f"F10-{place}-for-ever", verb, stall, dream.DreamObjectsError, FOR_EVER))
    timeouts = dream.Timeouts(connect=5, read=0.3)
    async with faulty.session(limits=LIMITS, timeouts=timeouts) as session:
        await run(faulty, session, tmp_path, cases)


async def test_f11_a_body_that_crawls_is_cut_and_taken_up(faulty: FaultyServer, tmp_path: Path) -> None:
    cases = [
        Case(f"F11-{step}-at-a-time-{times}-times", verb, [Drip(step, 0.02)], RIGHT, times)
        for verb in VERBS
        for step in (1, 20)
        for times in (1, 2)
    ]
    timeouts = dream.Timeouts(connect=5, read=0.3)
    async with faulty.session(limits=LIMITS, timeouts=timeouts) as session:
        await run(faulty, session, tmp_path, cases)


# F23: connections that were kept

STRAY = b'HTTP/1.1 200 OK\r\nETag: "stray"\r\nContent-Length: 5\r\n\r\nstray'
ENDS: Mapping[str, Close | Extra] = {
    "F23-closed": Close(),
    "F23-reset": Close("reset"),
    "F23-a-stray-response": Extra(STRAY),
    "F23-many-stray-responses": Extra(STRAY * 100),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_hundred_requests_on_connections_that_are_not_what_they_seem(faulty: FaultyServer, end: str) -> None:
    bodies = {f"{number}": b"%d" % number * 100 for number in range(20)}
    for key, body in bodies.items():
        faulty.put("bucket", key, body)
    faulty.will(Rule("*", ENDS[end], times=FOR_EVER))
    retry = dream.Retry(attempts=8, base=0.001, cap=0.01)
    async with faulty.session(retry=retry) as session:
        for key, body in bodies.items():
            obj = session.object(f"s3://bucket/{key}")
            assert (await obj.head()).size == len(body)
            assert await obj.read() == body
            assert await obj.read((1, 3)) == body[1:3]
            assert (await obj.put(body * 2)).size == 2 * len(body)
            assert await obj.read() == body * 2
    assert len(faulty.log) >= 100


async def test_f23_a_stray_response_on_an_idle_connection_answers_nothing() -> None:
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            key = request.path.rpartition("/")[2].encode()
            await peer.send(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n%b' % (len(key), key), STRAY)
            said.set()

    async with RawServer(script) as server:
        endpoint = f"http://{server.host}"
        async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b") as session:
            for number in range(100):
                said.clear()
                assert await session.object(f"s3://bucket/key-{number}").read() == b"key-%d" % number
                await said.wait()
        assert len(server.requests) == 100


async def test_f23_a_connection_that_ends_with_bytes_on_their_way(faulty: FaultyServer) -> None:
    body = bytes(1 << 20)
    async with faulty.session(limits=dream.Limits(part_size=2 << 20)) as session:
        obj = session.object("s3://bucket/a")
        faulty.will(Rule("PutObject", Unread(), Refuse(503, "SlowDown")))
        await obj.put(body)
        assert faulty.content("bucket", "a") == body
        faulty.will(Rule("PutObject", Unread(), Refuse(403, "AccessDenied"), times=FOR_EVER))
        with pytest.raises(dream.DreamObjectsError):
            await obj.put(b"other" * 100_000)
        assert faulty.content("bucket", "a") == body
        assert (await obj.head()).size == len(body)


# F24: answers that are not HTTP

HEAD = b'HTTP/1.1 200 OK\r\nETag: "e"\r\n'
MALFORMED: Mapping[str, bytes] = {
    "F24-a-chunk-size-that-is-none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "F24-a-chunk-of-any-size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nhello\r\n0\r\n\r\n",
    "F24-two-lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "F24-a-header-of-a-MiB": HEAD + b"X-Long: " + b"x" * (1 << 20) + b"\r\nContent-Length: 5\r\n\r\nhello",
    "F24-100,000-headers": HEAD
    + b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    + b"Content-Length: 5\r\n\r\nhello",
    "F24-a-folded-header": HEAD + b"X-Folded: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    "F24-a-flood-of-interim-responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
}
MOST_BYTES = 32 << 20


@pytest.mark.parametrize("fault", MALFORMED)
async def test_what_is_no_http_is_an_error_and_costs_no_memory(faulty: FaultyServer, fault: str) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(Rule("GetObject", Raw(MALFORMED[fault]), times=FOR_EVER))
    async with faulty.session(retry=QUICK) as session:
        obj = session.object("s3://bucket/a")
        with traced_memory() as most:
            try:
                content = await obj.read()
            except (dream.ConnectionFailedError, dream.TransferError):
                content = None
        # Folding is obsolete; either answer is right (RFC 9112 section 5.2).
        assert content is None or (fault == "F24-a-folded-header" and content == b"hello")
        faulty.will()
        assert await obj.read() == SMALL
    assert most.peak < MOST_BYTES


# F27: no connection

Resolve = Callable[..., Awaitable[object]]


def elsewhere(endpoint: str, **settings: object) -> dream.Session:
    given = {"endpoint": endpoint, "access_key": "a", "secret_key": "b", "retry": QUICK}
    return dream.Session(**{**given, **settings})  # type: ignore[arg-type]  # each by its name


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Callable[[Resolve], None]:
    """The loop's resolver of names, for service.example."""

    def set_to(resolve: Resolve) -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def choose(host: str, port: int, **options: object) -> object:
            if host == "service.example":
                return await resolve(port)
            return await real(host, port, **options)  # type: ignore[arg-type]  # handed on

        monkeypatch.setattr(loop, "getaddrinfo", choose)

    return set_to


async def assert_unreachable(session: dream.Session, requests: int) -> dream.ConnectionFailedError:
    async with session, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(dream.ConnectionFailedError) as caught:
            await session.object("s3://bucket/a").read()
        assert session.statistics().requests == requests
    assert not caught.value.request_sent
    return caught.value


async def test_f27_a_port_that_refuses() -> None:
    error = await assert_unreachable(elsewhere(f"http://127.0.0.1:{free_port()}"), 2)
    assert error.retryable


async def test_f27_a_port_whose_queue_is_full() -> None:
    timeouts = dream.Timeouts(connect=0.2)
    with full_port() as port:
        await assert_unreachable(elsewhere(f"http://127.0.0.1:{port}", timeouts=timeouts), 2)


@pytest.mark.parametrize(
    ("number", "requests"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 2)], ids=["F27-no-such-name", "F27-try-again"]
)
async def test_a_resolver_that_fails(resolver: Callable[[Resolve], None], number: int, requests: int) -> None:
    async def resolve(_: int) -> object:
        raise socket.gaierror(number, "scripted")

    resolver(resolve)
    await assert_unreachable(elsewhere("http://service.example"), requests)


async def test_f27_a_resolver_that_does_not_answer(resolver: Callable[[Resolve], None]) -> None:
    async def resolve(_: int) -> object:
        return await asyncio.Event().wait()

    resolver(resolve)
    await assert_unreachable(elsewhere("http://service.example", timeouts=dream.Timeouts(connect=0.2)), 2)


@pytest.mark.parametrize("dead", ["refuses", "is-silent"], ids=lambda dead: f"F27-an-address-that-{dead}")
async def test_a_name_with_a_dead_address_and_a_live_one(
    faulty: FaultyServer, resolver: Callable[[Resolve], None], dead: str
) -> None:
    faulty.put("bucket", "a", SMALL)

    async def resolve(port: int) -> object:
        kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
        return [(*kind, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    resolver(resolve)
    service = replace(faulty.service, endpoint=f"http://service.example:{faulty.port}")
    async with faulty.session(service=service) as session:
        if dead == "refuses":
            assert await session.object("s3://bucket/a").read() == SMALL
        else:
            with full_port("127.0.0.2", faulty.port):
                assert await session.object("s3://bucket/a").read() == SMALL


# F28: no place


async def test_f28_open_bodies_hold_all_places(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", bytes(8 << 20))
    settings = {"limits": dream.Limits(requests=2), "timeouts": dream.Timeouts(read=30, pool=0.1)}
    async with faulty.session(**settings) as session, asyncio.timeout(PATIENCE_SECONDS):
        obj = session.object("s3://bucket/a")
        async with obj.get() as one, obj.get() as other:
            for _ in range(2):
                with pytest.raises(dream.ConnectionFailedError, match=r"Timeouts\.pool") as caught:
                    async with obj.get():
                        pass
                assert not caught.value.request_sent
            assert (await obj.head()).size == 8 << 20
            assert len(await one.read()) == len(await other.read()) == 8 << 20
        async with obj.get() as body:
            assert await body.read(5) == bytes(5)


async def test_f28_who_waits_for_a_place_can_be_cancelled(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", bytes(8 << 20))

    async def first(obj: dream.Object) -> bytes:
        async with obj.get() as body:
            return await body.read(1)

    settings = {"limits": dream.Limits(requests=2), "timeouts": dream.Timeouts(read=30)}
    async with faulty.session(**settings) as session, asyncio.timeout(PATIENCE_SECONDS):
        obj = session.object("s3://bucket/a")
        async with obj.get(), obj.get():
            waiting = [asyncio.create_task(first(obj)) for _ in range(3)]
            done, _ = await asyncio.wait(waiting, timeout=0.05)
            assert not done
            waiting[0].cancel()
            assert isinstance((await asyncio.gather(waiting[0], return_exceptions=True))[0], asyncio.CancelledError)
        assert await asyncio.gather(*waiting[1:]) == [b"\0"] * 2


# Ceph RGW behind a wire that breaks

BREAKS: Mapping[str, Break] = {
    "F01-reset-at-1": Break("reset", 1),
    "F01-reset-in-the-head": Break("reset", 200),
    "F01-reset-in-the-body": Break("reset", 100_000),
    "F02-closed-in-the-body": Break("close", 100_000),
    "F07-a-flipped-bit": Break("flip", 150_000),
    "F10-silence-in-the-body": Break("silence", 100_000),
    "F11-a-drip": Break("drip", 100_000),
    "F01-reset-in-the-request": Break("reset", 10, "up"),
}
HANDSHAKES: Mapping[str, Break] = {
    "F26-reset-before-the-handshake": Break("reset", 0),
    "F26-reset-in-the-handshake": Break("reset", 300),
    "F26-closed-in-the-handshake": Break("close", 300),
    "F26-silence-in-the-handshake": Break("silence", 300),
}


@asynccontextmanager
async def behind(server: Server) -> AsyncIterator[tuple[BreakingProxy, Server]]:
    address, _, port = server.service.endpoint.rpartition(":")
    async with BreakingProxy(int(port)) as proxy:
        service = replace(server.service, endpoint=f"{address}:{proxy.port}")
        yield proxy, replace(server, service=service)


async def assert_reads_through(server: Server, home: Path, breaks: Mapping[str, Break]) -> None:
    async with server.session() as session, behind(server) as (proxy, broken):
        bucket = await session.create_bucket(new_name())
        await bucket.object("a").put(DATA)
        for name, fault in breaks.items():
            proxy.will(fault)
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                broken.session(
                    limits=LIMITS,
                    timeouts=dream.Timeouts(connect=0.5, read=0.5),
                    retry=dream.Retry(attempts=4, base=0.001, cap=0.01),
                ) as through,
            ):
                obj = through.object(f"s3://{bucket.name}/a")
                await obj.download(home / name)
                assert (home / name).read_bytes() == DATA, name
                assert await obj.read() == DATA, name
                async with obj.reader() as file:
                    await file.seek(PART)
                    assert await file.read(PART) == DATA[PART : 2 * PART], name
            assert not proxy.idle_breaks, name
        await bucket.delete(force=True)
    assert sorted(path.name for path in home.iterdir()) == sorted(breaks)


async def test_the_gateway_behind_a_wire_that_breaks(rgw: Server, tmp_path: Path) -> None:
    await assert_reads_through(rgw, tmp_path, BREAKS)


async def test_the_gateway_by_tls_behind_a_wire_that_breaks(rgw_tls: Server, tmp_path: Path) -> None:
    await assert_reads_through(rgw_tls, tmp_path, {**HANDSHAKES, **BREAKS})
