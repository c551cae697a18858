"""The command as people run it: processes of their own, and boto3 to look at what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, new_name
from servers.served import ServedService
from servers.shared import SharedServers

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Result:
    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of ``--json``: each must parse, and have a type."""
        found = [json.loads(line) for line in self.out.decode().splitlines()]
        kinds = {"bucket", "object", "prefix", "version", "upload", "action", "error", "summary"}
        assert all(one["type"] in kinds for one in found)
        return found


class Place:
    """A service, the command with its keys, and a client of boto3."""

    def __init__(self, server: Server) -> None:
        self.server, self.boto = server, server.boto()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DREAMOBJECTS_"))},
            "AWS_EC2_METADATA_DISABLED": "true",
            "DREAMOBJECTS_ENDPOINT_URL": server.service.endpoint,
            "DREAMOBJECTS_ACCESS_KEY_ID": server.access_key,
            "DREAMOBJECTS_SECRET_ACCESS_KEY": server.secret_key,
            "DREAMOBJECTS_REGION": server.service.region,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
        }
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "XDG_STATE_HOME"):
            self.environment[name] = os.environ[name]

    def start(self, *words: str, cwd: Path | None = None, **settings: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        arguments = [sys.executable, "-m", "aiodreamobjects", *words]
        environment = {**self.environment, **settings.pop("env", {})}
        return subprocess.Popen(arguments, cwd=cwd, env=environment, **{**pipes, **settings})

    def __call__(
        self, *words: str, stdin: bytes | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Result:
        given = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        with self.start(*words, cwd=cwd, env=env or {}, stdin=given) as process:
            try:
                out, err = process.communicate(stdin, LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(process.returncode, out, err.decode())

    def put(self, bucket: str, objects: Mapping[str, str]) -> None:
        for key, content in objects.items():
            self.boto.put_object(Bucket=bucket, Key=key, Body=content.encode())

    def objects(self, bucket: str) -> dict[str, str]:
        """Return all objects as they are now."""
        listed = self.boto.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {one["Key"]: self.content(bucket, one["Key"]) for one in listed}

    def content(self, bucket: str, key: str) -> str:
        body: bytes = self.boto.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body.decode()

    def make_bucket(self) -> str:
        name = new_name()
        self.boto.create_bucket(Bucket=name)
        return name

    def exists(self, bucket: str) -> bool:
        return any(one["Name"] == bucket for one in self.boto.list_buckets()["Buckets"])


def files_below(directory: Path) -> dict[str, str]:
    """Return the content of all files, by relative names."""
    return {
        str(path.relative_to(directory)): path.read_text() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture(scope="session")
def cli(memory_served: Server) -> Iterator[Place]:
    place = Place(memory_served)
    yield place
    place.boto.close()


@pytest.fixture(scope="session")
def on_ceph(rgw: Server) -> Iterator[Place]:
    place = Place(rgw)
    yield place
    place.boto.close()


@contextmanager
def served_memory(_: Path) -> Iterator[tuple[str, str, str]]:
    with ServedService(MemoryService()) as running:
        yield running.served.endpoint, running.served.access_key, running.served.secret_key


@pytest.fixture(scope="session", params=["memory", "rgw"])
def shared_place(request: pytest.FixtureRequest, shared: SharedServers) -> Iterator[Place]:
    """On a service that all workers share: one of them runs the commands, and each looks at what some of them did."""
    if request.param == "rgw":
        place = Place(request.getfixturevalue("rgw"))
    else:
        endpoint, access_key, secret_key = shared.get("memory", served_memory)
        place = Place(Server("memory", dream.Service.for_endpoint(endpoint), access_key, secret_key))
    yield place
    place.boto.close()


@pytest.fixture
def name(cli: Place) -> str:
    """Return the name of a bucket that exists."""
    return cli.make_bucket()
