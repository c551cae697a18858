"""Every example, run as a user runs it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from conftest import Server, new_name, put_all
from remote_engines import cluster_of_commands
from servers.ports import free_port, wait_until_listening

import aiodreamobjects as dream

EXAMPLES = Path(__file__).parent.parent / "examples"
OUTPUTS = EXAMPLES.parent / "docs/outputs"
SCRIPTS = sorted(path.name for path in EXAMPLES.iterdir() if not path.name.startswith("__"))
VARIES = re.compile(r"(…|━+|[0-9a-f]{12,}|\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d|\d+(?:,\d{3})+|\d{4,})")
"""What differs in each run: bars, ids, times, ports, large counts."""
MIB = 1 << 20


def environment_for(server: Server | None) -> dict[str, str]:
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
    return environment


def run(script: str, *arguments: str, server: Server | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", EXAMPLES / script, *arguments],
        env=environment_for(server),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_example_is_run_here() -> None:
    assert SCRIPTS == [
        "backup.py",
        "embedded_server.py",
        "make_public.py",
        "migrate_bucket.py",
        "on_a_cluster.py",
        "on_every_core.py",
        "quickstart.py",
        "resume_after_crash.py",
        "upload_with_progress.py",
        "web_service",
        "worker",  # in test_worker.py
    ]


def test_every_example_is_short_and_has_its_output_in_the_docs() -> None:
    for path in EXAMPLES.rglob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path
    shown = re.findall(r"^examples/(\w+)$", (OUTPUTS.parent / "examples.md").read_text(), re.MULTILINE)
    names = {script.removesuffix(".py") for script in SCRIPTS} - {"embedded_server"}  # a part of others
    assert set(shown) == {path.stem for path in OUTPUTS.glob("*.txt")} == names
    for page in (*OUTPUTS.parents[1].glob("*.md"), *OUTPUTS.parent.glob("*.md")):
        for named in re.findall(r"`(?:python )?examples/([\w.]+)", page.read_text()):
            assert named in SCRIPTS, page


def pattern_of(printed: str) -> str:
    parts = VARIES.split(printed)
    return "".join(r"[^\n]+" if index % 2 else re.escape(part) for index, part in enumerate(parts))


def check_documented(name: str, home: Path, environment: dict[str, str], replaced: dict[str, str]) -> None:
    """Run the commands of an output in the docs, with other addresses."""
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    text = (OUTPUTS / f"{name}.txt").read_text()
    for shown, instead in replaced.items():
        text = text.replace(shown, instead)
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    assert commands
    for command, printed in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert re.fullmatch(pattern_of(printed), done.stdout), f"{command}\n{done.stdout}{done.stderr}"


@pytest_asyncio.fixture
async def home(tmp_path: Path, own_moto: Server) -> AsyncIterator[Path]:
    """A directory with files of a user, and the buckets that the outputs in the docs name."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "pictures").mkdir()
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / "pictures" / name).write_text(name)
    (tmp_path / "video.mkv").write_bytes(bytes(20 * MIB))
    (tmp_path / "hello.txt").write_text("Hello World!\n")
    keys = {
        "my-photos": ["photos/cat.jpg", "photos/dog.jpg"],
        "my-old-photos": ["cat.jpg", "dog.jpg"],
        "my-new-photos": [],
    }
    async with own_moto.session() as session:
        for name, objects in keys.items():
            bucket = await session.create_bucket(name)
            for key in objects:
                await bucket.object(key).put(key.rpartition("/")[2])
        yield tmp_path
        for name in (*keys, "my-backup", "my-videos"):
            bucket = session.bucket(name)
            if await bucket.exists():
                await bucket.delete(force=True)


@pytest.mark.parametrize(
    "name",
    [
        name.removesuffix(".py")
        for name in SCRIPTS
        if name not in ("embedded_server.py", "on_a_cluster.py") and name.endswith(".py")
    ],
)
def test_a_script_prints_what_the_docs_show(
    name: str, home: Path, own_moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    keys = f"aws_access_key_id = {own_moto.access_key}\naws_secret_access_key = {own_moto.secret_key}\n"
    (home / "profiles").write_text(f"[old]\n{keys}[new]\n{keys}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "profiles"))
    endpoint = own_moto.service.endpoint
    replaced = {"https://objects.example.com": endpoint, "https://s3.us-east-005.dream.io": endpoint}
    on_moto = name in {"backup", "make_public", "on_every_core"}  # others have a server of their own, or profiles
    check_documented(name, home, environment_for(own_moto if on_moto else None), replaced)


def test_the_web_service_answers_what_the_docs_show(home: Path) -> None:
    with web_service(None, new_name()) as url:
        check_documented("web_service", home, environment_for(None), {"http://127.0.0.1:8000": url})


def test_a_backup_of_an_empty_directory_deletes_nothing_and_says_why(moto: Server, tmp_path: Path) -> None:
    """In the mail of cron: one line, and no traceback."""
    bucket = new_name()
    (tmp_path / "a").touch()
    assert run("backup.py", str(tmp_path), bucket, server=moto).returncode == 0
    (tmp_path / "a").unlink()
    done = run("backup.py", str(tmp_path), bucket, server=moto)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the source is empty" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("backup.py", str(tmp_path / "missing"), bucket, server=moto)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)


async def test_a_backup_is_sent_checked_and_sent_again(moto: Server, tmp_path: Path) -> None:
    directory = tmp_path / "pictures"
    directory.mkdir()
    (directory / "cat.jpg").write_text("cat")
    async with moto.session() as session:
        bucket = session.bucket(new_name())
        for words, told, status in (
            ([], "1 sent, 0 unchanged, 0 deleted, 0 failed", 0),
            (["--check"], "1 are the same, 0 could not be verified", 0),
            ([], "0 sent, 1 unchanged, 0 deleted, 0 failed", 0),
        ):
            done = run("backup.py", str(directory), bucket.name, *words, server=moto)
            assert (done.returncode, done.stdout, done.stderr) == (status, f"{told}\n", "")
        assert await bucket.object("pictures/cat.jpg").read() == b"cat"
        await bucket.object("pictures/cat.jpg").put("dog")
        done = run("backup.py", str(directory), bucket.name, "--check", server=moto)
        assert (done.returncode, done.stderr) == (1, "cat.jpg: not as in the directory\n")
        await bucket.delete(force=True)


@pytest.mark.parametrize("where", ["embedded", "rgw", "rgw_tls", "b2"])
def test_the_quickstart_does_what_the_old_sample_did(request: pytest.FixtureRequest, where: str) -> None:
    server = None if where == "embedded" else request.getfixturevalue(where)
    done = run("quickstart.py", server=server)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    name = lines[-1].split()[1]
    assert name.startswith("my-new-bucket-")
    assert lines[-1] == f"Deleted {name} with all that was in it. It exists: False"
    assert any(line.startswith(f"{name}\t20") for line in lines)
    assert any(line.startswith("hello.txt\t12\t20") for line in lines)
    assert "Downloaded perl_poetry.pdf, 12 bytes" in lines
    assert "Deleted goodbye.txt. It exists: False" in lines
    if where == "b2":
        assert any(line.startswith("Not on this service:") for line in lines)
    else:
        assert "hello.txt\tpublic-read" in lines
        assert "secret_plans.txt\tprivate" in lines
    assert any(line.endswith(f"/{name}/hello.txt") for line in lines)
    assert any(f"/{name}/secret_plans.txt?" in line and "Signature=" in line for line in lines)


async def test_a_file_of_ones_own_is_uploaded_with_progress(rgw: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Hello World!")
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        done = run("upload_with_progress.py", str(tmp_path / "notes.txt"), f"s3://{bucket.name}/notes", server=rgw)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"Uploading notes.txt .* 12/12 bytes", done.stdout)
        assert (await bucket.object("notes").head()).content_type == "text/plain"
        assert await bucket.object("notes").read_text() == "Hello World!"
        await bucket.delete(force=True)


def test_what_was_killed_midway_goes_on_where_it_was(
    rgw: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = run("resume_after_crash.py", server=rgw)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [lines[0], lines[2]] == ["upload: died by signal 9", "download: died by signal 9"]
    sent = re.fullmatch(r"upload: ([0-9,]+) bytes sent, 0 received, of 41,943,040", lines[1])
    received = re.fullmatch(r"download: 0 bytes sent, ([0-9,]+) received, of 41,943,040", lines[3])
    assert sent
    assert received
    for match in (sent, received):
        assert 15 * MIB <= int(match[1].replace(",", "")) <= 25 * MIB  # half of it, give or take the last part
    assert lines[4:] == ["The same bytes came back: True"]
    assert not list(tmp_path.rglob("*.json"))


# Trees, and many objects at once


async def test_a_prefix_is_made_public_and_private_again(rgw: Server) -> None:
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await put_all(bucket, ["photos/a", "photos/b", "other"])
        for option, acl in (([], "public-read"), (["--private"], "private")):
            done = run("make_public.py", bucket.name, "photos/", *option, server=rgw)
            assert (done.returncode, done.stderr) == (0, "")
            assert f"2 objects are {acl}; 0 failed" in done.stdout
            assert [(await bucket.object(key).acl()).canned for key in ("photos/a", "other")] == [acl, "private"]
        await bucket.delete(force=True)


async def test_a_directory_is_uploaded_on_every_core(rgw: Server, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_text("x")
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        done = run("on_every_core.py", str(tmp_path), bucket.name, "p", "--processes", "2", server=rgw)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "20 stored, 0 the same, by 2 processes\n"
        assert len(await bucket.list("p/").collect()) == 20
        await bucket.delete(force=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Dask
async def test_a_prefix_is_copied_on_a_cluster(rgw: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_for(rgw).items():
        if name.startswith("DREAMOBJECTS_"):
            monkeypatch.setenv(name, value)  # the workers find their keys there
    async with cluster_of_commands(tmp_path) as (executor, pids), rgw.session() as session:
        bucket, other = await session.create_bucket(new_name()), await session.create_bucket(new_name())
        await put_all(bucket, [f"pictures/{number}" for number in range(20)])
        address: str = executor._client.scheduler.address  # type: ignore[attr-defined]  # Dask's
        done = run("on_a_cluster.py", address, bucket.name, other.name, "pictures/", server=rgw)
        assert (done.returncode, len(pids)) == (0, 3), done.stderr
        assert done.stdout == (OUTPUTS / "on_a_cluster.txt").read_text().partition("\n")[2]
        assert len(await other.list("pictures/").collect()) == 20
        await bucket.delete(force=True)
        await other.delete(force=True)


async def test_objects_that_cannot_be_made_public_are_told(b2: Server) -> None:
    async with b2.session() as session:
        bucket = await session.create_bucket(new_name())
        await put_all(bucket, ["a", "b"])
        done = run("make_public.py", bucket.name, "", server=b2)
        assert done.returncode == 1
        assert done.stdout == "0 objects are public-read; 2 failed\n"
        assert [line.partition(":")[0] for line in sorted(done.stderr.splitlines())] == ["'a'", "'b'"]
        await bucket.delete(force=True)
    known = replace(b2, service=dream.US_EAST_5)  # nothing is sent there
    done = run("make_public.py", bucket.name, "", server=known)
    assert (done.returncode, done.stdout) == (1, "")
    assert "DreamObjects: objects always have their bucket's ACL here" in done.stderr


async def test_a_bucket_is_migrated_to_another_service(
    rgw: Server, b2: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = tmp_path / "profiles"
    profiles.write_text(
        "".join(
            f"[{server.name}]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
            for server in (rgw, b2)
        )
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    (tmp_path / "config").write_text(f"[profile b2]\nregion = {b2.service.region}\nca_bundle = {b2.ca}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    ends = ["--from", "rgw", rgw.service.endpoint, "--to", "b2", b2.service.endpoint]
    async with rgw.session() as old, b2.session() as new:
        bucket, other = await old.create_bucket(new_name()), await new.create_bucket(new_name())
        await bucket.object("a").put("12345", content_type="text/plain", metadata={"by": "larry"})
        await bucket.object("b/c").put(bytes(9 << 20))
        await other.object("extra").put("x")
        done = run("migrate_bucket.py", bucket.name, other.name, *ends, "--delete", "--dry-run")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == "2 objects, 9,437,189 bytes, would be copied; 1 would be deleted"
        done = run("migrate_bucket.py", bucket.name, other.name, *ends, "--delete")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "2 objects, 9,437,189 bytes, copied; 1 deleted",
            "0 were there already, 0 failed",
        ]
        info = await other.object("a").head()
        assert (info.content_type, info.metadata) == ("text/plain", {"by": "larry"})
        assert (await other.object("b/c").head()).size == 9 << 20
        await bucket.object("large metadata").put(b"", metadata=dict.fromkeys("abcd", "x" * 1800))
        done = run("migrate_bucket.py", bucket.name, other.name, *ends)
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == "2 were there already, 1 failed"
        assert "'large metadata': " in done.stderr
        done = run("migrate_bucket.py", bucket.name, other.name, *ends[:3], "--to", "nobody", b2.service.endpoint)
        assert done.returncode == 1
        assert "nobody" in done.stderr
        assert "Traceback" not in done.stderr
        await bucket.delete(force=True)
        await other.delete(force=True)


def test_a_command_says_that_there_is_no_such_bucket(rgw: Server) -> None:
    done = run("make_public.py", "no-such-bucket-here", "a/", server=rgw)
    assert done.returncode == 1
    assert "NoSuchBucket (404)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_says_that_there_are_no_credentials() -> None:
    done = run("make_public.py", "my-bucket", "a/")
    assert done.returncode == 1
    assert done.stderr.startswith("no credentials found; looked at")
    assert "Traceback" not in done.stderr


# The web service, as a process of its own


@contextmanager
def web_service(server: Server | None, bucket: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "web_service", str(port)]
    with subprocess.Popen(
        command, env={**environment_for(server), "BUCKET": bucket}, cwd=EXAMPLES, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until_listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            said = process.communicate(timeout=30)[1]
    assert "Application shutdown complete" in said
    assert "Traceback" not in said


@pytest_asyncio.fixture(scope="session", params=["embedded", "rgw"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession]:
    server = None if request.param == "embedded" else request.getfixturevalue(request.param)
    with web_service(server, new_name()) as url:
        async with aiohttp.ClientSession(url) as opened:
            yield opened


async def test_the_web_service_stores_a_stream_and_gives_it_back(client: aiohttp.ClientSession) -> None:
    content = os.urandom(MIB) * 11

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    async with client.put("/files/a/b c.bin", data=chunks(), headers={"content-type": "video/mp4"}) as reply:
        assert reply.status == 201
        told = await reply.json()
        assert told == {"key": "a/b c.bin", "size": len(content), "etag": told["etag"], "verified": "parts"}
    async with client.get("/files/a/b c.bin") as reply:
        assert (reply.status, reply.content_type, reply.content_length) == (200, "video/mp4", len(content))
        assert reply.headers["ETag"] == f'"{told["etag"]}"'
        assert reply.headers["Accept-Ranges"] == "bytes"
        assert await reply.read() == content
    async with client.head("/files/a/b c.bin") as described:
        assert described.status == 200
        for name in ("ETag", "Last-Modified", "Content-Length", "Content-Type"):
            assert described.headers[name] == reply.headers[name]


@pytest.mark.parametrize(
    ("range_", "status", "content", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=1-2,3-5", 206, b"12345", "bytes 1-5/10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
    ],
)
async def test_the_web_service_knows_ranges(
    client: aiohttp.ClientSession, range_: str, status: int, content: bytes | None, content_range: str | None
) -> None:
    async with client.put("/files/digits", data=b"0123456789") as reply:
        assert reply.status == 201
    async with client.get("/files/digits", headers={"Range": range_}) as reply:
        assert (reply.status, reply.headers.get("Content-Range")) == (status, content_range)
        assert content is None or (await reply.read(), reply.content_length) == (content, len(content))


async def test_the_web_service_sends_nothing_that_the_client_has(client: aiohttp.ClientSession) -> None:
    async with client.put("/files/page", data=b"0123456789") as reply:
        etag = f'"{(await reply.json())["etag"]}"'
    for known in (etag, f"W/{etag}"):
        async with client.get("/files/page", headers={"If-None-Match": known}) as reply:
            assert (reply.status, reply.headers["ETag"], await reply.read()) == (304, etag, b"")
    for known, status in ((etag, 206), ('"another"', 200)):
        async with client.get("/files/page", headers={"If-Range": known, "Range": "bytes=1-2"}) as reply:
            assert reply.status == status
    async with client.get("/files/page", headers={"If-None-Match": '"another"'}) as reply:
        assert (reply.status, await reply.read()) == (200, b"0123456789")


async def test_the_web_service_lists_a_folder_page_by_page(client: aiohttp.ClientSession) -> None:
    names = ["listed/a", "listed/b/", "listed/ü"]
    for key in ("listed/a", "listed/b/1", "listed/b/2", "listed/ü"):
        async with client.put(f"/files/{key}", data=b"") as reply:
            assert reply.status == 201
    found, asked = [], {"limit": "2"}
    while True:
        async with client.get("/folders/listed/", params=asked) as reply:
            told = await reply.json()
        found.append([item.get("folder") or item["key"] for item in told["items"]])
        if told["next"] is None:
            break
        asked["token"] = told["next"]
    assert found == [names[:2], names[2:]]
    for path, token in (("listed/b/", asked["token"]), ("listed/", "nonsense"), ("listed/", asked["token"][:-1])):
        async with client.get(f"/folders/{path}", params={"token": token}) as reply:
            assert reply.status == 400


async def test_the_web_service_says_what_is_missing_and_what_is_no_key(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/nothing") as reply:
        assert reply.status == 404
    async with client.put(f"/files/{'k' * 1100}", data=b"") as reply:
        assert reply.status == 400


async def test_the_web_service_keeps_nothing_of_an_upload_that_broke_off(rgw: Server) -> None:
    async def chunks(bucket: dream.Bucket) -> AsyncIterator[bytes]:
        for _ in range(12):
            yield bytes(MIB)
        while not await bucket.uploads().collect():
            await asyncio.sleep(0.05)
        msg = "enough"
        raise EOFError(msg)

    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        with web_service(rgw, bucket.name) as url:
            async with aiohttp.ClientSession(url) as client:
                with pytest.raises(aiohttp.ClientError):
                    await client.put("/files/half", data=chunks(bucket))
            for _ in range(100):
                if not await bucket.uploads().collect():
                    break
                await asyncio.sleep(0.05)
            assert not await bucket.uploads().collect()
            assert not await bucket.object("half").exists()
        await bucket.delete(force=True)
