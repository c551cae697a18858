"""A real Ceph RADOS Gateway on 127.0.0.1, started by the script of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.clients import Service
from benchmarks.nginx_s3 import free_port
from benchmarks.store import Server, ServerUnavailableError

SCRIPT = Path(__file__).parent.parent / "tests" / "servers" / "rgw"


@contextmanager
def ceph_rgw(settings: str = "") -> Iterator[Server]:
    """Start an empty gateway for the `with` block. Raise ServerUnavailableError if it does not start.

    ``settings`` are further lines for its configuration.
    """
    with tempfile.TemporaryDirectory(prefix="rgw-") as home:
        more = Path(home, "settings")
        more.write_text(settings)
        environment = {
            **os.environ,
            "RGW_HOME": f"{home}/rgw",
            "RGW_PORT": str(free_port()),
            "RGW_CONF": os.environ.get("RGW_CONF", "") if not settings else str(more),
        }
        log = Path(home, "log")
        with log.open("wb") as errors:  # the daemons keep this file open
            started = subprocess.run(
                [SCRIPT, "start"], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
            )
        try:
            if started.returncode:
                raise ServerUnavailableError(log.read_text().strip())
            told = dict(re.findall(r"(\w+)=(\S+)", started.stdout))
            yield Server(
                "rgw",
                Service(told["RGW_ENDPOINT"], told["RGW_ACCESS_KEY"], told["RGW_SECRET_KEY"], told["RGW_REGION"]),
                version=_version(),
                makes_up_listings=False,
            )
        finally:
            subprocess.run([SCRIPT, "stop"], env=environment, stderr=subprocess.DEVNULL, check=True)


def _version() -> str:
    told = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=True).stdout
    return "Ceph RGW " + told.split()[2]
