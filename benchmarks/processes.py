"""A process a turn: what it is, what it took, and how it is run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.meter import how_it_ended
from benchmarks.rounds import ROOT

STARTER = """
import os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
print('{"wall_seconds": %f, "cpu_seconds": %f, "peak_bytes": %d}' % (*seconds, usage.ru_maxrss << 10))
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""
"""Of a small process that starts another: the most memory of a process is never told as less than its parent's."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a turn took; of a library from its open client, of a tool from its start."""

    wall_seconds: float = 0
    cpu_seconds: float = 0
    peak_bytes: int = 0
    idle_bytes: int | None = None
    """What was resident with the open client."""
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start, that prints a Report as its last line."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def measured(cls, command: Sequence[str], environment: Mapping[str, str]) -> Launch:
        return cls([sys.executable, "-I", "-S", "-c", STARTER, *command], environment)


class NotInstalledError(Exception):
    """This side cannot be measured here; says why."""


def run(launch: Launch, home: Path, environment: Mapping[str, str], longest_seconds: float) -> Report:
    """What the process reports, or how it ended. What it prints is left in ``home / "out"``."""
    out, errors = home / "out", home / "errors"
    with out.open("wb") as out_file, errors.open("wb") as errors_file:
        process = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=errors_file,
            cwd=ROOT,
            env={**environment, **launch.environment},
            start_new_session=True,
        )
        try:
            code = process.wait(longest_seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return Report(failure=f"not done within {longest_seconds} s")
    if code:
        lines = errors.read_text(errors="replace").strip().splitlines()
        return Report(failure=how_it_ended(code) if code < 0 or not lines else lines[-1][:300])
    return Report(**json.loads(last_lines(out, 1)[-1]))


def last_lines(path: Path, count: int) -> list[str]:
    """Of a file whose last lines are short."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().decode(errors="replace").splitlines()[-count:]


def cpu_seconds_of(process: int) -> float | None:
    """What another process of one thread has used of a processor, if there is one and the kernel tells it closely."""
    told = Path(f"/proc/{process}/schedstat")
    return int(told.read_text().split()[0]) / 1e9 if process and told.exists() else None
