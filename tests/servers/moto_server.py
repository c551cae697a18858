"""moto's server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.ports import free_port, wait_until_listening


@contextmanager
def moto_server(home: Path, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Its endpoint; over TLS where a certificate and its key are given."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    if certificate:
        command += ["--ssl-cert", str(certificate[0]), "--ssl-key", str(certificate[1])]
    with (home / f"moto-{port}.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until_listening(port)
            yield f"http{'s' if certificate else ''}://127.0.0.1:{port}"
        finally:
            process.terminate()
