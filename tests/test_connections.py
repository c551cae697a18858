"""Services that cannot be reached or trusted: an error that names the endpoint, at once where waiting is of no use."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
import trustme
from conftest import Server
from servers.ports import free_port
from servers.scripted import Content, Reply, ScriptedServer, Silence, error

import aiodreamobjects as dream

QUICK = dream.Retry(attempts=2, base=0.001)


async def test_nobody_listening() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b", retry=QUICK) as session:
        with pytest.raises(
            dream.ConnectionFailedError, match=f"{endpoint}: connection failed: Connection refused"
        ) as caught:
            await session.buckets().collect()
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.retryable
    assert caught.value.__notes__ == ["after 2 attempts"]


async def test_an_unknown_host_is_not_tried_again() -> None:
    endpoint = "https://no-such-host.invalid"
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b", retry=QUICK) as session:
        with pytest.raises(dream.ConnectionFailedError, match=f"{endpoint}: the host name is unknown") as caught:
            await session.buckets().collect()
        # A resolver that is not there itself says "try again", and is believed.
        assert session.statistics().requests == (2 if caught.value.retryable else 1)


async def test_tls_to_a_plain_port(moto: Server) -> None:
    endpoint = moto.service.endpoint.replace("http:", "https:")
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b", retry=dream.Retry(base=20)) as session:
        with pytest.raises(dream.ConnectionFailedError, match=f"{endpoint}.*plain http port") as caught:
            await session.buckets().collect()
    assert not caught.value.retryable


async def test_plain_http_to_a_tls_port(moto_tls: Server) -> None:
    endpoint = moto_tls.service.endpoint.replace("https:", "http:")
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b", retry=QUICK) as session:
        with pytest.raises(dream.ConnectionFailedError, match=endpoint):
            await session.buckets().collect()


async def test_a_certificate_of_an_unknown_authority(moto_tls: Server) -> None:
    async with moto_tls.session(ca=None, retry=dream.Retry(base=20)) as session:
        with pytest.raises(dream.ConnectionFailedError, match="certificate cannot be trusted") as caught:
            await session.buckets().collect()
    assert moto_tls.service.endpoint in str(caught.value)
    assert not caught.value.retryable


async def test_a_certificate_for_another_host(moto_tls: Server, authority: trustme.CA, tmp_path: Path) -> None:
    issued = authority.issue_cert("example.org")
    context_files = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(context_files[0]))
    issued.private_key_pem.write_to_path(str(context_files[1]))
    async with ScriptedServer(certificate=context_files) as wrong:
        wrong.will(Reply(200))
        async with wrong.session(ca=moto_tls.ca) as session:
            with pytest.raises(dream.ConnectionFailedError, match="certificate cannot be trusted"):
                await session.buckets().collect()


async def test_a_wrong_secret_is_access_denied(server: Server) -> None:
    if server.is_moto or server.is_memory:
        pytest.skip("no signature is checked there")
    async with server.session(secret_key="not-this-one") as session:
        obj = session.object("s3://test-bucket/key")
        for verb in (session.buckets().collect(), obj.read(), obj.put("x"), obj.head(), obj.exists(), obj.delete()):
            with pytest.raises(dream.AccessDeniedError) as caught:
                await verb
            assert caught.value.status == 403
            assert "not-this-one" not in str(caught.value)
        with pytest.raises(dream.AccessDeniedError):
            await session.create_bucket("test-not-mine")


async def test_an_unknown_access_key_is_access_denied(server: Server) -> None:
    if server.is_moto or server.is_memory:
        pytest.skip("no signature is checked there")
    async with server.session(access_key="unknown") as session:
        with pytest.raises(dream.AccessDeniedError) as caught:
            await session.buckets().collect()
    assert caught.value.code == "InvalidAccessKeyId"


async def test_requests_under_way_fail_when_the_session_closes(scripted: ScriptedServer) -> None:
    scripted.will(Silence())
    session = await scripted.session(timeouts=dream.Timeouts(read=30)).open()
    under_way = [asyncio.create_task(session.object(f"s3://bucket/{n}").head()) for n in range(3)]
    while len(scripted.received) < 3:
        scripted.arrived.clear()
        await scripted.arrived.wait()
    await session.aclose()
    assert [type(outcome) for outcome in await asyncio.gather(*under_way, return_exceptions=True)] == [
        dream.SessionClosedError
    ] * 3


async def test_waits_end_when_the_session_closes(scripted: ScriptedServer) -> None:
    scripted.will(Content(bytes(4 << 20), "opaque-1"))
    limits = dream.Limits(requests=1, requests_per_second=0.01)
    session = await scripted.session(limits=limits).open()
    obj = session.object("s3://bucket/a")
    async with obj.get() as body:
        await body.read(1)
        waiting = [asyncio.create_task(verb) for verb in (obj.read(), obj.head(), obj.head())]
        await asyncio.sleep(0)
        await session.aclose()
        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
    assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * 3


async def test_what_is_half_received_ends_when_the_session_closes(scripted: ScriptedServer) -> None:
    hold = asyncio.Event()
    half = Reply(200, b"half", {"ETag": '"opaque-1"'}, length=8, hold=hold)
    session = await scripted.session(limits=dream.Limits(requests=8), close_grace=0.2).open()
    scripted.will(half)
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(session.object("s3://bucket/a").read()),
        asyncio.create_task(session.bucket("bucket").list().collect()),
    ]
    while len(scripted.received) < 2:
        scripted.arrived.clear()
        await scripted.arrived.wait()
    scripted.stop_reading()
    tasks.append(asyncio.create_task(session.object("s3://bucket/a").put(bytes(64 << 20))))
    while session.statistics().requests < 3:
        await asyncio.sleep(0)
    await asyncio.wait_for(session.aclose(), 10)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert [type(outcome) for outcome in outcomes] == [dream.SessionClosedError] * 3
    hold.set()


async def test_a_wait_before_a_retry_ends_when_the_session_closes(scripted: ScriptedServer) -> None:
    scripted.will(error(503, "SlowDown", Retry_After="60"))
    session = await scripted.session(retry=dream.Retry(base=60, cap=60)).open()
    waiting = asyncio.create_task(session.object("s3://bucket/a").head())
    await scripted.arrived.wait()
    await session.aclose()
    with pytest.raises(dream.SessionClosedError):
        await asyncio.wait_for(waiting, 10)


async def test_closing_waits_for_opening_and_for_closing(scripted: ScriptedServer) -> None:
    session = scripted.session()
    opening = asyncio.create_task(session.open())
    await asyncio.sleep(0)
    await asyncio.gather(session.aclose(), session.aclose())
    await opening
    with pytest.raises(dream.SessionClosedError):
        session.statistics()


async def test_the_password_of_a_proxy_is_not_shown(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("user:CANARY@127.0.0.1:1", "http://user:CANARY@127.0.0.1:1"):
        monkeypatch.setenv("http_proxy", proxy)
        async with scripted.session() as session:
            with pytest.raises(
                dream.ConnectionFailedError, match=r"the proxy 127\.0\.0\.1:1 cannot be reached"
            ) as caught:
                await session.object("s3://bucket/a").head()
        assert "CANARY" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    monkeypatch.setenv("http_proxy", "ftp://user:CANARY@127.0.0.1:1")
    with pytest.raises(ValueError, match="the proxy in http_proxy") as refused:
        await scripted.session().open()
    assert "CANARY" not in str(refused.value)


async def test_bodies_do_not_starve_requests(scripted: ScriptedServer) -> None:
    scripted.will(Content(bytes(4 << 20), "opaque-1"))
    async with scripted.session(limits=dream.Limits(requests=2)) as session:
        obj = session.object("s3://bucket/a")

        async def pipe() -> None:
            async with obj.get() as body:
                await body.read(1)
                await obj.head()
                await body.read()

        await asyncio.wait_for(asyncio.gather(*(pipe() for _ in range(8))), 30)


async def test_a_cancelled_read_gives_its_place_back(scripted: ScriptedServer) -> None:
    scripted.will(Silence())
    async with scripted.session(limits=dream.Limits(requests=2), timeouts=dream.Timeouts(read=30)) as session:
        for _ in range(10):
            scripted.arrived.clear()
            reading = asyncio.create_task(session.object("s3://bucket/a").read())
            await scripted.arrived.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        scripted.will(Content(b"fine", "opaque-1"))
        assert await asyncio.wait_for(session.object("s3://bucket/a").read(), 10) == b"fine"


async def test_connections_are_kept_and_counted(scripted: ScriptedServer) -> None:
    scripted.will(Content(b"12345", "opaque-1"))
    async with scripted.session() as session:
        for _ in range(5):
            await session.object("s3://bucket/a").read()
        assert scripted.connections == 1
        counted = session.statistics()
        assert counted == dream.Statistics(
            requests=5,
            retries=0,
            bytes_sent=0,
            bytes_received=25,
            open_connections=1,
            idle_connections=1,
            calls={"get_object": 5},
            waited_connection=counted.waited_connection,
        )
        assert counted.waited_connection > 0
    gc.collect()


async def test_many_at_once_share_the_connections(scripted: ScriptedServer) -> None:
    scripted.will(Content(b"12345", "opaque-1"))
    async with scripted.session(limits=dream.Limits(requests=8)) as session:
        bodies = await asyncio.gather(*(session.object(f"s3://bucket/{n}").read() for n in range(200)))
    assert bodies == [b"12345"] * 200
    assert scripted.connections <= 8
