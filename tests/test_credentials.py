"""Credentials that end while a session lives."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiobotocore.credentials import AioDeferredRefreshableCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession
from servers.faulty import FaultyServer
from servers.scripted import Reply, ScriptedServer

import aiodreamobjects as dream

PROVIDER = """
import json, pathlib, sys
calls = pathlib.Path(sys.argv[1])
number = len(calls.read_text()) + 1 if calls.exists() else 1
calls.write_text("x" * number)
print(json.dumps({
    "Version": 1, "AccessKeyId": f"key-{number}", "SecretAccessKey": "secret", "SessionToken": f"token-{number}",
    "Expiration": sys.argv[2],
}))
"""


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential process whose credentials end in five minutes, which botocore finds too soon to keep them."""
    script, calls, config = tmp_path / "provider.py", tmp_path / "calls", tmp_path / "config"
    script.write_text(PROVIDER)
    ends = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script} {calls} {ends}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return calls


async def test_credentials_about_to_end_are_renewed_for_the_next_request(
    scripted: ScriptedServer, provider: Path
) -> None:
    scripted.will(Reply(200))
    async with dream.Session(endpoint=scripted.endpoint) as session:
        for _ in range(3):
            await session.object("s3://bucket/a").head()
        signed_with = [request.headers["authorization"].partition("Credential=")[2] for request in scripted.received]
        keys = [credential.partition("/")[0] for credential in signed_with]
        assert len(set(keys)) == 3
        assert [request.headers["x-amz-security-token"] for request in scripted.received] == [
            key.replace("key", "token") for key in keys
        ]
        newest = len(provider.read_text())
        assert f"X-Amz-Credential=key-{newest}%2F" in session.object("s3://bucket/a").presign_get()


@pytest.mark.parametrize(
    "program",
    ["print('no json')", "print('{}')", 'print(\'{"Version": 1, "AccessKeyId": "a"}\')', "raise SystemExit('shut')"],
)
async def test_whatever_a_provider_does_wrong_is_a_credentials_error(
    provider: Path, tmp_path: Path, program: str
) -> None:
    (tmp_path / "provider.py").write_text(program)
    with pytest.raises(dream.CredentialsError):
        await dream.Session(endpoint="http://127.0.0.1:1").open()


async def test_a_provider_that_is_missing_is_a_credentials_error(provider: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = /no/such/program\n")
    with pytest.raises(dream.CredentialsError):
        await dream.Session(endpoint="http://127.0.0.1:1").open()


@pytest.mark.parametrize("keys", [("AK\n", "secret"), ("AK", "secret\r"), ("AK", "s\x00cret"), ("A K", "secret")])
async def test_keys_with_a_line_end_are_refused_and_not_shown(keys: tuple[str, str]) -> None:
    with pytest.raises(dream.CredentialsError, match="must be printable") as caught:
        await dream.Session(access_key=keys[0], secret_key=keys[1]).open()
    assert "cret" not in str(caught.value).replace("secret key", "")


async def test_a_provider_that_fails_is_a_credentials_error(
    scripted: ScriptedServer, provider: Path, tmp_path: Path
) -> None:
    scripted.will(Reply(200))
    async with dream.Session(endpoint=scripted.endpoint) as session:
        (tmp_path / "provider.py").write_text("raise SystemExit('the vault is shut')")
        with pytest.raises(dream.CredentialsError, match="the vault is shut"):
            await session.object("s3://bucket/a").head()
    assert scripted.received == []


def shared_source(
    refresh: Callable[[], Coroutine[None, None, dict[str, str]]], first: dict[str, str] | None = None
) -> AioSession:
    """An aiobotocore session whose credentials come from ``refresh``: when first asked for, or after ``first``."""
    core = AioSession()
    if first is None:
        core._credentials = AioDeferredRefreshableCredentials(refresh_using=refresh, method="test")
    else:
        core._credentials = AioRefreshableCredentials.create_from_metadata(first, refresh_using=refresh, method="test")
    return core


def numbered(number: int, **lifetime: int) -> dict[str, str]:
    ends = datetime.now(UTC) + timedelta(**lifetime)
    return {"access_key": f"key-{number}", "secret_key": "s", "token": f"t-{number}", "expiry_time": ends.isoformat()}


async def test_credentials_that_somebody_else_renewed_are_taken_up(scripted: ScriptedServer) -> None:
    async def refresh() -> dict[str, str]:
        return numbered(2, hours=1)

    scripted.will(Reply(200))
    core = shared_source(refresh, first=numbered(1, hours=1))
    async with dream.Session(endpoint=scripted.endpoint, boto_session=core) as session:
        await session.object("s3://bucket/a").head()
        await core._credentials._refresh()  # not due yet
        core._credentials._expiry_time = datetime.now(UTC)
        await core._credentials.get_frozen_credentials()  # by the other user of the session
        await session.object("s3://bucket/a").head()
        assert [request.headers["x-amz-security-token"] for request in scripted.received] == ["t-1", "t-2"]
        assert "X-Amz-Security-Token=t-2" in session.object("s3://bucket/a").presign_get()


async def test_sessions_that_share_a_source_open_at_once(scripted: ScriptedServer) -> None:
    async def refresh() -> dict[str, str]:
        for _ in range(100):  # others come meanwhile
            await asyncio.sleep(0)
        return numbered(1, hours=1)

    core = shared_source(refresh)
    sessions = [dream.Session(endpoint=scripted.endpoint, boto_session=core) for _ in range(4)]
    await asyncio.wait_for(asyncio.gather(*(session.open() for session in sessions)), 30)
    for session in sessions:
        await session.aclose()


async def test_closing_ends_a_wait_for_credentials(scripted: ScriptedServer) -> None:
    is_asked, never = asyncio.Event(), asyncio.Event()

    async def refresh() -> dict[str, str]:
        is_asked.set()
        await never.wait()
        return numbered(2, hours=1)

    scripted.will(Reply(200))
    core = shared_source(refresh, first=numbered(1, hours=1))
    session = dream.Session(endpoint=scripted.endpoint, boto_session=core)
    await session.open()
    core._credentials._expiry_time = datetime.now(UTC)
    asking = asyncio.create_task(session.object("s3://bucket/a").head())
    await is_asked.wait()
    await session.aclose()
    with pytest.raises(dream.SessionClosedError):
        await asyncio.wait_for(asking, 10)
    assert scripted.connections == 0


async def test_a_session_that_is_never_closed_leaves_no_task_that_renews(faulty: FaultyServer) -> None:
    keys = {"access_key": faulty.access_key, "secret_key": faulty.secret_key, "token": "", "expiry_time": ""}

    async def renew() -> dict[str, str]:
        return keys | {"expiry_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}

    async def use() -> None:
        source = shared_source(renew, first=await renew())
        session = dream.Session(service=faulty.service, boto_session=source)
        await session.open()
        await session.object("s3://bucket/a").head()

    async def drop() -> None:
        await use()
        gc.collect()

    faulty.put("bucket", "a", b"x")
    before = asyncio.all_tasks()
    with pytest.warns(ResourceWarning, match="unclosed"):
        await drop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()
