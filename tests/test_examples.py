"""Every example, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from conftest import Server, new_name

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def run(script: str, *arguments: str, server: Server | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DREAMOBJECTS_")}
    if server:
        environment |= {
            "DREAMOBJECTS_ENDPOINT_URL": server.service.endpoint,
            "DREAMOBJECTS_REGION": server.service.region,
            "DREAMOBJECTS_ACCESS_KEY_ID": server.access_key,
            "DREAMOBJECTS_SECRET_ACCESS_KEY": server.secret_key,
        }
        if server.ca:
            environment["AWS_CA_BUNDLE"] = str(server.ca)
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", EXAMPLES / script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_example_is_run_here() -> None:
    assert SCRIPTS == [
        "delete_bucket.py",
        "embedded_server.py",
        "event_loop.py",
        "quickstart.py",
        "share_links.py",
    ]


@pytest.mark.parametrize("where", ["embedded", "rgw", "rgw_tls", "b2"])
def test_the_quickstart_does_what_the_old_sample_did(request: pytest.FixtureRequest, where: str) -> None:
    server = None if where == "embedded" else request.getfixturevalue(where)
    done = run("quickstart.py", server=server)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    name = lines[-1].split()[1]
    assert name.startswith("my-new-bucket-")
    assert lines[-1] == f"Forced. {name} exists: False"
    assert any(line.startswith(f"{name}\t20") for line in lines)
    assert any(line.startswith("hello.txt\t12\t20") for line in lines)
    assert "perl_poetry.pdf\t12" in lines
    assert "goodbye.txt exists: False" in lines
    assert "Refused: it is not empty" in lines
    if where == "b2":
        assert any(line.startswith("Not on this service:") for line in lines)
    else:
        assert "hello.txt\tpublic-read" in lines
        assert "secret_plans.txt\tprivate" in lines
    assert any(line.endswith(f"/{name}/hello.txt") for line in lines)
    assert any(f"/{name}/secret_plans.txt?" in line and "Signature=" in line for line in lines)


async def test_shared_links_work(rgw: Server) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("a b.txt").put("Hello World!")
        done = run("share_links.py", f"s3://{bucket.name}/a b.txt", "1", server=rgw)
        assert (done.returncode, done.stderr) == (0, "")
        read = next(line for line in done.stdout.splitlines() if line.startswith("Read: "))
        async with aiohttp.ClientSession() as anyone, anyone.get(read.removeprefix("Read: ")) as reply:
            assert await reply.text() == "Hello World!"
        assert "Browser form, up to 10 MiB:" in done.stdout
        await bucket.delete(force=True)


async def test_a_bucket_is_counted_then_deleted(rgw: Server) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("a").put("12345")
        done = run("delete_bucket.py", bucket.name, server=rgw)
        assert done.stdout.splitlines() == [
            f"{bucket.name}: 1 versions, 5 bytes, 0 delete markers, 0 open uploads",
            "Nothing was deleted: add --yes",
        ]
        assert await bucket.exists()
        done = run("delete_bucket.py", bucket.name, "--yes", server=rgw)
        assert (done.returncode, done.stderr) == (0, "")
        assert not await bucket.exists()
        done = run("delete_bucket.py", bucket.name, "--yes", server=rgw)
        assert done.returncode == 1
        assert "NoSuchBucket" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("script", ["share_links.py", "delete_bucket.py"])
def test_an_example_says_how_it_is_used(script: str) -> None:
    done = run(script)
    assert done.returncode == 1
    assert f"python examples/{script}" in done.stderr
