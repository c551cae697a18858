"""S3 services that share no code with the others, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from servers.ports import free_port, wait_until_listening

USER, PASSWORD = "testing", "testing-secret"
JUICEFS_OPTIONS = ("--keep-etag", "--object-tag", "--object-meta")


def program(name: str) -> str:
    """Installed beside this Python, by the ``tests`` group of pyproject.toml: another may be on the PATH."""
    return str(Path(sysconfig.get_path("scripts"), name))


@contextmanager
def started(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended with the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment}) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def running(command: Sequence[str], port: int, log: Path, **environment: str) -> Iterator[str]:
    """Its endpoint, once it listens there."""
    with started(command, log, **environment):
        wait_until_listening(port)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def rclone(home: Path) -> Iterator[str]:
    port = free_port()
    command = [program("rclone"), "serve", "s3", "--config=/dev/null", f"--addr=127.0.0.1:{port}"]
    with running([*command, f"--auth-key={USER},{PASSWORD}", ":memory:"], port, home / "rclone.log") as endpoint:
        yield endpoint


@contextmanager
def localbucket(home: Path) -> Iterator[str]:
    """It checks no signature."""
    port = free_port()
    (home / "buckets").mkdir()
    command = [program("localbucket"), f"--port={port}", str(home / "buckets")]
    with running(command, port, home / "localbucket.log") as endpoint:
        yield endpoint


@contextmanager
def juicefs(home: Path, options: Sequence[str]) -> Iterator[str]:
    """The gateway of a file system whose metadata are in SQLite and whose blocks are files."""
    port, database = free_port(), f"sqlite3://{home}/meta.db"
    user = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD}
    (home / "blocks").mkdir()
    subprocess.run(
        [
            *(program("juicefs"), "format", "--quiet", "--storage=file", f"--bucket={home}/blocks/", "--trash-days=0"),
            *(database, "volume"),
        ],
        env={**os.environ, **user},
        check=True,
    )
    gateway = [
        *(program("juicefs"), "gateway", "--no-usage-report", "--multi-buckets", "--no-banner"),
        *(f"--cache-dir={home}/cache", f"--log={home}/gateway.log", *options, database, f"127.0.0.1:{port}"),
    ]
    with running(gateway, port, home / "juicefs.log", **user) as endpoint:
        yield endpoint
