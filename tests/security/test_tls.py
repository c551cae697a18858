"""Whom a request trusts: a peer that cannot prove its name is asked nothing, once, and never without TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from servers.ports import free_port
from servers.raw import Peer, RawServer, Script
from servers.scripted import Content, Raw, Reply, ScriptedServer, Silence

import aiodreamobjects as dream

Answer = Reply | Raw | Silence | Content


def written(folder: Path, chain: bytes, key: bytes) -> tuple[Path, Path]:
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    return folder / "chain.pem", folder / "key.pem"


def issued(
    authority: trustme.CA,
    folder: Path,
    name: str = "127.0.0.1",
    begin: dt.datetime | None = None,
    end: dt.datetime | None = None,
) -> tuple[Path, Path]:
    leaf = authority.issue_cert(name, not_before=begin, not_after=end)
    return written(folder, leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())


def self_signed(folder: Path) -> tuple[Path, Path]:
    root = trustme.CA()
    return written(folder, root.cert_pem.bytes(), root.private_key_pem.bytes())


YEAR = dt.timedelta(days=365)
UNTRUSTED: dict[str, Callable[[trustme.CA, Path], tuple[Path, Path]]] = {
    "expired": lambda ours, to: issued(ours, to, begin=dt.datetime.now(dt.UTC) - YEAR, end=dt.datetime.now(dt.UTC) - YEAR / 2),
    "not valid yet": lambda ours, to: issued(ours, to, begin=dt.datetime.now(dt.UTC) + YEAR, end=dt.datetime.now(dt.UTC) + 2 * YEAR),
    "for another name": lambda ours, to: issued(ours, to, "s3.us-east-005.dream.io"),
    "for a name like it": lambda ours, to: issued(ours, to, "127.0.0.1.example.org"),
    "of an unknown authority": lambda ours, to: issued(trustme.CA(), to),
    "of itself": lambda ours, to: self_signed(to),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNTRUSTED)
async def test_a_certificate_that_cannot_be_trusted_is_asked_nothing_and_only_once(
    fault: str, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    async with ScriptedServer(UNTRUSTED[fault](authority, tmp_path)) as impostor:
        impostor.will(Reply(200))
        async with impostor.session(ca=ca, retry=dream.Retry(base=20)) as session:
            with pytest.raises(dream.ConnectionFailedError, match="certificate cannot be trusted") as caught:
                await session.object("s3://bucket/a").put(b"x")
            assert (caught.value.retryable, caught.value.request_sent) == (False, False)
            assert impostor.endpoint in str(caught.value)
            assert (session.statistics().requests, session.statistics().retries) == (1, 0)
        assert impostor.received == []


async def test_only_the_given_authority_is_trusted(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with ScriptedServer(certificate) as service:
        service.will(Reply(200))
        for trusted in (None, other):
            async with service.session(ca=trusted) as session:
                with pytest.raises(dream.ConnectionFailedError, match="certificate cannot be trusted"):
                    await session.object("s3://bucket/a").delete()
        assert service.received == []


async def test_a_peer_that_knows_old_tls_only_is_refused(certificate: tuple[Path, Path], ca: Path) -> None:
    def old(context: ssl.SSLContext) -> ssl.SSLContext:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.deprecated_call():
            context.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.deprecated_call():
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*certificate)
    old(serving)
    shaken = 0

    async def shake_hands(peer: Peer) -> None:
        nonlocal shaken
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = serving.wrap_bio(incoming, outgoing, server_side=True)
        is_over = False
        while not is_over:
            incoming.write(await peer.read())
            try:
                tls.do_handshake()
                is_over, shaken = True, shaken + 1
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                is_over = True
            await peer.pour(outgoing.read())

    async with RawServer(shake_hands) as server:
        settings = {"endpoint": f"https://{server.host}", "ca": ca, "retry": dream.Retry(base=20)}
        async with dream.Session(access_key="a", secret_key="b", **settings) as session:  # type: ignore[arg-type]  # each by its name
            with pytest.raises(dream.ConnectionFailedError, match="TLS failed") as caught:
                await session.object("s3://bucket/a").put(b"x")
            assert not caught.value.retryable
            assert session.statistics().requests == 1
        assert (server.connections, shaken) == (1, 0)
        lenient = old(ssl.create_default_context(cafile=ca))
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=lenient)
        writer.transport.abort()
    assert shaken == 1, "the server of this test does speak old TLS"


async def test_tls_is_not_given_up_for_a_plain_port() -> None:
    async def refuse(peer: Peer) -> None:
        assert (await peer.read())[:1] == b"\x16", "a TLS record, of the kind handshake"
        await peer.pour(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with RawServer(refuse) as plain:
        settings = {"endpoint": f"https://{plain.host}", "retry": dream.Retry(base=20)}
        async with dream.Session(access_key="a", secret_key="b", **settings) as session:  # type: ignore[arg-type]  # each by its name
            with pytest.raises(dream.ConnectionFailedError, match="plain http port") as caught:
                await session.object("s3://bucket/a").put(b"x")
            assert not caught.value.retryable
            assert session.statistics().requests == 1
        assert plain.connections == 1


async def test_a_certificate_that_changes_midway_is_judged_anew(
    certificate: tuple[Path, Path], ca: Path, tmp_path: Path
) -> None:
    """Another peer takes the service's address: what was trusted before is no reason to trust it."""
    port = free_port()
    endpoint = f"https://127.0.0.1:{port}"
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b", ca=ca) as session:
        for chain, is_trusted in ((certificate, True), (issued(trustme.CA(), tmp_path), False), (certificate, True)):
            async with ScriptedServer(chain, port) as peer:
                peer.will(Reply(200))
                if is_trusted:
                    await session.object("s3://bucket/a").delete()
                else:
                    with pytest.raises(dream.ConnectionFailedError, match="certificate cannot be trusted"):
                        await session.object("s3://bucket/a").delete()
                assert len(peer.received) == is_trusted
                peer.hang_up()


async def test_a_handshake_that_is_cut_is_begun_again_with_tls(certificate: tuple[Path, Path], ca: Path) -> None:
    async with ScriptedServer(certificate) as service:
        service.will(Reply(200))

        async def cut(peer: Peer) -> None:
            assert (await peer.read())[:1] == b"\x16", "a TLS record, of the kind handshake"
            peer.reset()

        async with RawServer(cut, cut, relay_to(service.port)) as path:
            async with service.session(endpoint=f"https://{path.host}", ca=ca) as session:
                await session.object("s3://bucket/a").delete()
            assert path.connections == 3
        assert service.requests == ["DELETE /bucket/a"]


def relay_to(port: int) -> Script:
    async def relay(peer: Peer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def forth() -> None:
            while data := await peer.read():
                writer.write(data)

        sending = asyncio.create_task(forth())
        try:
            while data := await reader.read(1 << 16):
                await peer.pour(data)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()

    return relay
