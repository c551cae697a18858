"""Handshakes and certificates that fail."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from http_client import connect, echo, failing
from loops import on_every_loop
from servers.raw import Peer, RawServer, answers

import aiodreamobjects as dream


def issued(authority: trustme.CA, folder: Path, name: str, begin: datetime | None = None) -> tuple[Path, Path]:
    """A certificate and its key; with ``begin``, for a day."""
    certificate = authority.issue_cert(name, not_before=begin, not_after=begin and begin + timedelta(days=1))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    return folder / "chain.pem", folder / "key.pem"


@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired"])
@on_every_loop
async def test_a_certificate_that_cannot_be_trusted_is_final(
    fault: str, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    signer = trustme.CA() if fault == "unknown authority" else authority
    name = "example.org" if fault == "wrong name" else "127.0.0.1"
    certificate = issued(signer, tmp_path, name, datetime(2020, 1, 1, tzinfo=UTC) if fault == "expired" else None)
    async with RawServer(echo, certificate=certificate) as server:
        with failing(f"https://{server.host}: its certificate cannot be trusted") as caught:
            await connect(server.host, context=ssl.create_default_context(cafile=ca))
        assert (caught.value.retryable, caught.value.request_sent) == (False, False)
    assert (server.connections, server.requests) == (1, [])


@pytest.mark.parametrize("speaks_first", [False, True], ids=["when asked", "at once"])
@on_every_loop
async def test_tls_to_a_plain_port_is_final(speaks_first: bool) -> None:
    async def script(peer: Peer) -> None:
        if not speaks_first:
            await peer.read()
        peer.blurt(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await peer.until_gone()

    async with RawServer(script) as server:
        with failing("TLS failed, is this a plain http port") as caught:
            await connect(server.host, context=ssl.create_default_context())
    assert str(caught.value).count(server.host) == 1
    assert (caught.value.retryable, caught.value.request_sent) == (False, False)


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("greets", [True, False], ids=["after a greeting", "at once"])
@on_every_loop
async def test_a_handshake_that_breaks_off_may_be_tried_again(end: Callable[[Peer], None], greets: bool) -> None:
    async def script(peer: Peer) -> None:
        if greets:
            await peer.read()
        end(peer)

    async with RawServer(script) as server:
        with failing("connection failed") as caught:
            await connect(server.host, context=ssl.create_default_context())
    assert str(caught.value).count(server.host) == 1
    assert (caught.value.retryable, caught.value.request_sent) == (True, False)


@on_every_loop
async def test_a_handshake_must_come_in_time() -> None:
    async with RawServer(answers()) as server:
        with failing("did not connect within 0.2 s") as caught:
            await connect(server.host, dream.Timeouts(connect=0.2), ssl.create_default_context())
        assert (caught.value.retryable, caught.value.request_sent) == (True, False)
        await server.until(lambda: server.open_connections == 0)
