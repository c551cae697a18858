"""A real Ceph RADOS Gateway on loopback, by the script beside this file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers.ports import free_port

SCRIPT = Path(__file__).with_name(os.environ.get("CEPH", "rgw"))
"""Of what Debian 12 has; or ``ceph18``, of what Debian 13 has."""
COMMANDS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")


@dataclass(frozen=True, slots=True)
class Gateway:
    endpoint: str
    tls_endpoint: str
    ca: Path
    access_key: str
    secret_key: str
    other_access_key: str
    other_secret_key: str


def is_installed() -> bool:
    if SCRIPT.name != "rgw":
        return True
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return all(shutil.which(command, path=path) for command in COMMANDS)


@contextmanager
def gateway(home: Path) -> Iterator[Gateway]:
    environment = {
        **os.environ,
        "RGW_HOME": str(home / "rgw"),
        "RGW_PORT": str(free_port()),
        "RGW_TLS_PORT": str(free_port()),
    }
    # Its daemons go on in the background with the script's own standard error: not ours.
    with (home / "rgw.log").open("wb") as log:
        started = subprocess.run(
            [SCRIPT, "start", "--tls"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True, check=False
        )
    try:
        if started.returncode:
            msg = f"Ceph RGW did not start:\n{(home / 'rgw.log').read_text()}"
            raise RuntimeError(msg)
        told = dict(re.findall(r"(\w+)=(\S+)", started.stdout))
        yield Gateway(
            endpoint=told["RGW_ENDPOINT"],
            tls_endpoint=told["RGW_TLS_ENDPOINT"],
            ca=Path(told["RGW_TLS_CA"]),
            access_key=told["RGW_ACCESS_KEY"],
            secret_key=told["RGW_SECRET_KEY"],
            other_access_key=told["RGW_ALT_ACCESS_KEY"],
            other_secret_key=told["RGW_ALT_SECRET_KEY"],
        )
    finally:
        subprocess.run([SCRIPT, "stop"], env=environment, stderr=subprocess.DEVNULL, check=True)
