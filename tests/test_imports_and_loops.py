"""What a session imports, finds in its environment and keeps open, on whichever event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop
from conftest import Server, new_name
from servers.proxy import ForwardProxy
from servers.scripted import Content, Raw, Reply, ScriptedServer, error

import aiodreamobjects as dream

SCRIPT = """
import asyncio, sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
import aiodreamobjects as dream

async def main(endpoint, keys):
    async with dream.Session(endpoint=endpoint, **keys) as session:
        await session.object("s3://bucket/a").read()

asyncio.run(main(sys.argv[1], {"access_key": "a", "secret_key": "b"} if sys.argv[2] == "given" else {}))
foreign = {name.partition(".")[0] for name in sys.modules} & {"aioboto3", "aiobotocore", "botocore", "aiohttp"}
print(sorted(foreign), any("/data/s3/" in name for name in opened))
"""


async def imported_for(scripted: ScriptedServer, keys: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT, scripted.endpoint, keys),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode().strip()


async def test_with_given_keys_nothing_of_botocore_is_imported(scripted: ScriptedServer) -> None:
    scripted.will(Content(b"x", "opaque-1"))
    assert await imported_for(scripted, "given") == "[] False"
    assert await imported_for(scripted, "given", AWS_CA_BUNDLE="", AWS_DEFAULT_REGION="here") == "[] False"


async def test_with_keys_that_aioboto3_finds_its_model_of_s3_is_not_read(scripted: ScriptedServer) -> None:
    scripted.will(Content(b"x", "opaque-1"))
    found = await imported_for(scripted, "found", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    assert found == "['aioboto3', 'aiobotocore', 'aiohttp', 'botocore'] False"


async def test_a_file_of_settings_is_asked_for_its_settings(
    scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = over-here\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    async with scripted.session(endpoint=scripted.endpoint) as session:
        assert session.service.region == "over-here"


async def test_the_environment_is_asked_where_there_is_no_file(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "over-there")
    async with scripted.session(endpoint=scripted.endpoint) as session:
        assert session.service.region == "over-there"
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    async with scripted.session():  # http: nothing is verified, so no bundle is read
        pass
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        await scripted.session(endpoint="https://localhost:1").open()


async def test_requests_go_through_a_proxy_and_one_line_says_so(
    proxy: ForwardProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiodreamobjects")
    async with ScriptedServer() as service:
        service.will(Reply(200))
        async with service.session() as session:
            await session.object("s3://bucket/a").head()
    assert proxy.targets == [f"127.0.0.1:{service.port}"]
    assert [record.getMessage() for record in caplog.records if record.name == "aiodreamobjects"] == [
        f"requests to {service.endpoint} go through the proxy {proxy.url}"
    ]


async def test_a_proxy_that_is_not_for_this_host_decides_nothing(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    caplog.set_level(logging.INFO, "aiodreamobjects")
    async with ScriptedServer() as service:
        service.will(Reply(200))
        async with service.session() as session:
            await session.object("s3://bucket/a").head()
    assert (proxy.targets, caplog.messages) == ([], [])


async def test_hot_and_cold_requests_share_places_pace_and_clock(server: Server) -> None:
    async with server.session(limits=dream.Limits(requests=1)) as session:
        bucket = await session.create_bucket(new_name())
        await asyncio.gather(*(bucket.object(str(n)).put("x") for n in range(5)), bucket.acl(), bucket.info())
        assert session.statistics().requests >= 5 + 2
        assert session.statistics().open_connections <= 2
        await bucket.delete(force=True)


async def test_a_kept_connection_that_died_costs_no_attempt() -> None:
    async with ScriptedServer() as service:
        service.will(Content(b"x", "opaque-1"))
        async with service.session(retry=dream.Retry(attempts=1)) as session:
            obj = session.object("s3://bucket/a")
            for _ in range(3):
                await obj.read()
                service.hang_up()  # not noticed here before the next request leaves
            assert await obj.read() == b"x"
            assert session.statistics().retries == 0
    assert service.connections == 4


async def test_a_conditional_put_is_not_sent_again_in_silence() -> None:
    async with ScriptedServer() as service:
        service.will(Content(b"x", "opaque-1"), Raw(), error(412, "PreconditionFailed"))
        async with service.session() as session:
            await session.object("s3://bucket/a").read()
            with pytest.raises(dream.AlreadyExistsError, match="an earlier attempt of this call"):
                await session.object("s3://bucket/a").put(b"a", if_absent=True)
            assert session.statistics().retries == 1


def test_a_session_works_on_uvloop(rgw: Server, rgw_tls: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000

    async def main(server: Server) -> None:
        async with server.session() as session:
            bucket = await session.create_bucket(new_name())
            await asyncio.gather(*(bucket.object(f"small/{n}").put(f"{n}") for n in range(100)))
            assert await bucket.object("small/7").read_text() == "7"
            await bucket.object("large").put(content)
            await bucket.object("large").download(tmp_path / "large")
            assert (tmp_path / "large").read_bytes() == content
            assert len(await bucket.list("small/").collect()) == 100
            await bucket.delete(force=True)

    for server in (rgw, rgw_tls):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(server))


LACKING = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
try:
    exec(sys.argv[2])
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "use", "needs"),
    [
        (
            "fsspec",
            "from aiodreamobjects.fsspec import DreamObjectsFileSystem",
            "aiodreamobjects.fsspec needs an extra",
        ),
        ("opentelemetry", "from aiodreamobjects import otel", "aiodreamobjects.otel needs an extra"),
        ("python_multipart", "from aiodreamobjects.asgi import form_parts", "form_parts needs an extra"),
    ],
)
async def test_a_missing_extra_is_named_with_what_installs_it(missing: str, use: str, needs: str) -> None:
    command = [sys.executable, "-c", LACKING, missing, use]
    run = await asyncio.to_thread(subprocess.run, command, stdout=subprocess.PIPE, text=True, check=True)
    extra = {"opentelemetry": "otel", "python_multipart": "web"}.get(missing, missing)
    assert run.stdout == f"{needs}: pip install 'aiodreamobjects[{extra}]'\n"
