"""A real HTTP proxy on loopback: Debian's tinyproxy, which forwards requests and makes tunnels, with Basic authentication."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers.ports import free_port, wait_until_listening

_REQUEST = re.compile(r"Request \(file descriptor \d+\): (\S+ \S+) HTTP")


@dataclass(frozen=True, slots=True)
class TinyProxy:
    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        """Method and target of each request and each tunnel so far. It does not look into tunnels."""
        return _REQUEST.findall(self.log.read_text())

    def hosts(self, start: int = 0) -> set[str]:
        """The hosts, with their ports, that were asked for; without the first requests, if they do not count."""
        targets = [request.partition(" ")[2] for request in self.requests[start:]]
        return {target.removeprefix("http://").partition("/")[0] for target in targets}


def is_installed() -> bool:
    return shutil.which("tinyproxy") is not None


@contextmanager
def tinyproxy(
    home: Path, *, user: str | None = None, password: str = "", tunnels_to: Sequence[int] = ()
) -> Iterator[TinyProxy]:
    """Run one. With ``user`` it wants authentication. ``tunnels_to``: the only ports that it makes tunnels to."""
    proxy = TinyProxy(free_port(), home / "tinyproxy.log")
    settings = [
        f"Port {proxy.port}",
        "Listen 127.0.0.1",
        "Allow 127.0.0.1",
        "Timeout 60",
        "MaxClients 200",
        f'LogFile "{proxy.log}"',
        "LogLevel Connect",
        *([f"BasicAuth {user} {password}"] if user else []),
        *[f"ConnectPort {port}" for port in tunnels_to],
    ]
    (home / "tinyproxy.conf").write_text("\n".join(settings) + "\n")
    command = ["tinyproxy", "-d", "-c", str(home / "tinyproxy.conf")]
    with (
        (home / "tinyproxy.out").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            wait_until_listening(proxy.port)
            yield proxy
        finally:
            process.terminate()
