"""The scorecard of docs/reliability.md can be made anew, and this library survives what it has time for here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_command_judges_this_library() -> None:
    kinds = "1,4,26,27,37"
    command = [sys.executable, "-m", "benchmarks.faults", "--only", "dream", "--kinds", kinds, "--check", "--no-write"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**5 of 5**" in done.stdout
