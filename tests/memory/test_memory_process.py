"""The service in memory in other processes: the command, other programs, and the fixtures in a project of a user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import aiohttp
import boto3
import pytest
from botocore.config import Config

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, Served

ROOT = Path(dream.__file__).parent.parent
COMMAND = (sys.executable, "-m", "aiodreamobjects.testing")
PATIENCE_SECONDS = 30


def environment(**variables: str) -> dict[str, str]:
    """Without what this machine has, except the way to the library and to programs."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", **variables}


class Running:
    """The command, once it is ready."""

    def __init__(self, process: subprocess.Popen[str], variables: Mapping[str, str]) -> None:
        self.process, self.variables = process, dict(variables)

    @property
    def endpoint(self) -> str:
        return self.variables["AWS_ENDPOINT_URL_S3"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    @contextmanager
    def client(self) -> Iterator[Any]:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
            region_name=self.variables["AWS_REGION"],
            verify=self.variables.get("AWS_CA_BUNDLE"),
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
        )
        try:
            yield client
        finally:
            client.close()


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, env=environment(), text=True) as process:
        try:
            assert process.stdout is not None
            yield Running(process, variables_of(process.stdout))
        finally:
            process.kill()


def variables_of(output: IO[str]) -> dict[str, str]:
    lines = [line.rstrip("\n") for line in iter(output.readline, "ready\n")]
    return dict(line.split("=", 1) for line in lines)


# The command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_by_a_signal(number: signal.Signals) -> None:
    with running() as one:
        assert set(one.variables) == {
            "AWS_ENDPOINT_URL_S3",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
        }
        with one.client() as s3:
            s3.create_bucket(Bucket="photos")
            s3.put_object(Bucket="photos", Key="a", Body=b"x")
        assert one.stop(number) == 0


def test_a_shell_reads_what_it_prints() -> None:
    with running() as one:
        lines = "\n".join(f"{name}={value}" for name, value in one.variables.items())
        script = f"set -a\n{lines}\nset +a\n{sys.executable} -c '{SHELL_PROGRAM}'"
        done = subprocess.run(["sh", "-c", script], env=environment(), capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("x\n", "")
        assert one.stop() == 0


SHELL_PROGRAM = """
import asyncio
import aiodreamobjects as dream

async def main():
    async with dream.Session() as session:
        bucket = await session.create_bucket("photos")
        await bucket.object("a").put("x")
        print(await bucket.object("a").read_text())

asyncio.run(main())
"""


def test_it_serves_tls_and_names_the_authority() -> None:
    with running("--tls") as one:
        ca = Path(one.variables["AWS_CA_BUNDLE"])
        assert one.endpoint.startswith("https://127.0.0.1:")
        with one.client() as s3:
            s3.create_bucket(Bucket="photos")
        assert b"BEGIN CERTIFICATE" in ca.read_bytes()
        assert one.stop() == 0
    assert not ca.exists()


def test_it_listens_where_it_is_told_to(unused_tcp_port: int) -> None:
    with running("--port", str(unused_tcp_port)) as one:
        assert one.endpoint == f"http://127.0.0.1:{unused_tcp_port}"
        second = subprocess.run(
            [*COMMAND, "--port", str(unused_tcp_port)], env=environment(), capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert "address already in use" in second.stderr
        assert one.stop() == 0


def test_help_says_what_is_kept() -> None:
    done = subprocess.run([*COMMAND, "--help"], env=environment(), capture_output=True, text=True, check=True)
    assert "all their versions" in " ".join(done.stdout.split())


# What is kept


WITH_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(32)}


def fill(s3: Any) -> dict[str, Any]:
    s3.create_bucket(Bucket="photos", ACL="public-read")
    s3.put_object(Bucket="photos", Key="ü/1", Body=b"null", Metadata={"a": "b"}, Tagging="kind=x", ACL="public-read")
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="photos", Key="ü/1", Body=b"second", ContentType="text/x")
    s3.put_object(Bucket="photos", Key="hidden", Body=b"second")
    s3.delete_object(Bucket="photos", Key="hidden")
    s3.put_bucket_tagging(Bucket="photos", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    upload = s3.create_multipart_upload(Bucket="photos", Key="open", Metadata={"c": "d"})["UploadId"]
    s3.upload_part(Bucket="photos", Key="open", UploadId=upload, PartNumber=2, Body=b"part")
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    until = datetime(2050, 1, 1, tzinfo=UTC)
    s3.put_object(
        Bucket="locked", Key="a", Body=b"part", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until, **WITH_KEY
    )
    return look(s3)


def look(s3: Any) -> dict[str, Any]:
    """All that there is, in the words of boto3."""
    upload = s3.list_multipart_uploads(Bucket="photos")["Uploads"][0]
    asked = {"Bucket": "photos", "Key": "open", "UploadId": upload["UploadId"]}
    versions = s3.list_object_versions(Bucket="photos")
    told = ("ContentType", "Metadata", "ETag", "LastModified", "TagCount")
    found: dict[str, Any] = {
        "buckets": s3.list_buckets()["Buckets"],
        "acl": s3.get_bucket_acl(Bucket="photos")["Grants"],
        "tags": s3.get_bucket_tagging(Bucket="photos")["TagSet"],
        "versioning": s3.get_bucket_versioning(Bucket="photos")["Status"],
        "versions": versions["Versions"],
        "markers": versions["DeleteMarkers"],
        "upload": upload,
        "parts": s3.list_parts(**asked)["Parts"],
    }
    locked = s3.head_object(Bucket="locked", Key="a", ChecksumMode="ENABLED", **WITH_KEY)
    names = ("ObjectLockMode", "ObjectLockRetainUntilDate", "SSECustomerKeyMD5", "ChecksumCRC32", "ETag", "VersionId")
    found["locked"] = {name: locked[name] for name in names}
    for version in versions["Versions"]:
        one = {"Bucket": "photos", "Key": version["Key"], "VersionId": version["VersionId"]}
        reply = s3.get_object(**one)
        found[f"{version['Key']} {version['VersionId']}"] = (
            reply["Body"].read(),
            {name: reply.get(name) for name in told},
            s3.get_object_acl(**one)["Grants"],
        )
    return found


def test_what_was_stored_survives_a_restart(tmp_path: Path) -> None:
    with running("--data", str(tmp_path / "data")) as one, one.client() as s3:
        before = fill(s3)
        assert one.stop() == 0
    with running("--data", str(tmp_path / "data")) as one, one.client() as s3:
        assert look(s3) == before
        upload = before["upload"]["UploadId"]
        parts = [{"PartNumber": 2, "ETag": before["parts"][0]["ETag"]}]
        done = s3.complete_multipart_upload(
            Bucket="photos", Key="open", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        assert done["VersionId"] not in {version["VersionId"] for version in before["versions"]}
        s3.delete_object(Bucket="photos", Key="ü/1", VersionId="null")
        assert one.stop() == 0
    with running("--data", str(tmp_path / "data")) as one, one.client() as s3:
        assert s3.get_object(Bucket="photos", Key="open")["Body"].read() == b"part"
        assert [version["Key"] for version in s3.list_object_versions(Bucket="photos")["Versions"]] == [
            "hidden",
            "open",
            "ü/1",
        ]
        assert one.stop() == 0
    kept = {path.read_bytes() for path in (tmp_path / "data" / "bodies").iterdir()}
    assert {body for body in kept if not body.startswith(b"<")} == {
        b"",
        b"second",
        b"part",
    }  # a marker has the empty one


def test_what_was_saved_survives_a_kill(tmp_path: Path) -> None:
    with running("--data", str(tmp_path)) as one, one.client() as s3:
        before, state = fill(s3), tmp_path / "state.json"
        ends = time.monotonic() + PATIENCE_SECONDS
        while not (state.exists() and b'"open"' in state.read_bytes()):
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert one.stop(signal.SIGKILL) == -signal.SIGKILL
    with running("--data", str(tmp_path)) as one, one.client() as s3:
        assert look(s3) == before
        assert one.stop() == 0


def test_a_directory_serves_one_process_and_holds_a_state(tmp_path: Path) -> None:
    with running("--data", str(tmp_path)) as one:
        second = subprocess.run(
            [*COMMAND, "--data", str(tmp_path)], env=environment(), capture_output=True, text=True, check=False
        )
        assert (second.returncode, "another process" in second.stderr) == (1, True)
        assert one.stop() == 0
    for damage in ("no json", '{"format": 99}', '{"format": 1}', "[]"):
        (tmp_path / "state.json").write_text(damage)
        done = subprocess.run(
            [*COMMAND, "--data", str(tmp_path)], env=environment(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, str(tmp_path) in done.stderr) == (1, True), damage
        assert "Traceback" not in done.stderr


# Other programs


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH: nothing was tested with it")
    return found


def test_rclone_copies_and_compares(tmp_path: Path) -> None:
    rclone, files = program("rclone"), tmp_path / "files"
    files.mkdir()
    for name, size in (("a ü.txt", 10), ("large", 12 << 20)):
        (files / name).write_bytes(os.urandom(size))
    with running() as one:
        remote = f":s3,provider=Other,env_auth=true,endpoint='{one.endpoint}',chunk_size=5M:photos/to"
        for verb in ("copy", "check"):
            subprocess.run(
                [rclone, verb, str(files), remote], env=environment(HOME=str(tmp_path), **one.variables), check=True
            )
        assert one.stop() == 0


def test_s5cmd_copies_lists_and_removes(tmp_path: Path) -> None:
    s5cmd, path = program("s5cmd"), tmp_path / "large"
    path.write_bytes(os.urandom(12 << 20))
    with running() as one:
        where = environment(HOME=str(tmp_path), **one.variables)

        def run(*arguments: str) -> str:
            command = [s5cmd, "--endpoint-url", one.endpoint, *arguments]
            return subprocess.run(command, env=where, capture_output=True, text=True, check=True).stdout

        run("mb", "s3://photos")
        run("cp", "--part-size", "5", str(path), "s3://photos/a/large")
        run("cp", "s3://photos/a/large", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == path.read_bytes()
        assert "a/large" in run("ls", "s3://photos/*")
        run("rm", "s3://photos/*")
        run("rb", "s3://photos")
        assert one.stop() == 0


# The service beside a test, on its event loop


def session_with(served: Served) -> dream.Session:
    return dream.Session(
        endpoint=served.endpoint, access_key=served.access_key, secret_key=served.secret_key, ca=served.ca
    )


async def test_it_is_served_on_the_loop_of_the_test() -> None:
    service = MemoryService()
    async with service.serve() as served, service.serve(tls=True) as secured:
        assert secured.ca is not None
        assert "not-a-secret" not in repr(served)
        async with session_with(served) as session:
            bucket = await session.create_bucket("photos")
            await bucket.object("a").put(bytes(300_000))
            await bucket.object("a").set_acl("public-read")
        async with session_with(secured) as session:
            assert await session.object("s3://photos/a").read() == bytes(300_000)
        async with aiohttp.ClientSession() as anyone:
            async with anyone.get(f"{served.endpoint}/photos/a") as reply:
                assert (reply.status, len(await reply.read())) == (200, 300_000)
            fault = service.fail("get_object", "SlowDown")
            async with anyone.get(f"{served.endpoint}/photos/a") as reply:
                assert (reply.status, fault.fired) == (503, 1)
    assert not secured.ca.exists()


async def test_leaving_ends_connections_that_are_open() -> None:
    service = MemoryService()
    async with aiohttp.ClientSession() as anyone:
        async with service.serve() as served, anyone.get(served.endpoint) as reply:
            assert reply.status == 403
        with pytest.raises(aiohttp.ClientConnectionError):
            await anyone.get(served.endpoint)


# The fixtures, in a project of a user


PROJECT = """
import asyncio

import aiodreamobjects as dream

def test_a_bucket_is_there(dream_service, dream_session, dream_bucket):
    async def work():
        async with dream_session as session:
            assert isinstance(session, dream.Session)
            assert dream_service.requests == ()
            await dream_bucket.object("a").put("x")
            assert [bucket.name async for bucket in session.buckets()] == [dream_bucket.name]
            return await session.object(f"s3://{dream_bucket.name}/a").read_text()

    assert asyncio.run(work()) == "x"
    assert dream_service.requests[0].verb == "put_object"

def test_each_test_has_its_own(dream_service):
    assert dream_service.requests == ()
    assert "0 buckets" in repr(dream_service)
"""


def test_a_project_has_the_fixtures_by_naming_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["aiodreamobjects.testing"]\n')
    (tmp_path / "test_it.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
