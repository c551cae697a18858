"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.clients import Side, version_of


def describe_machine() -> dict[str, str]:
    """Return facts by their names, as they are now."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def versions(sides: Iterable[str]) -> str:
    """Return the versions of everything that these sides use."""
    told = {name: version for side in sides for name, version in Side(side).kind.versions().items()}
    told |= {"uvloop": version_of("uvloop")}
    return ", ".join(f"{name} {version}" for name, version in sorted(told.items()))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
