"""The scorecard of docs/reliability.md can be made anew, and this library survives what it has time for here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def scorecard(client: str, kinds: str) -> str:
    """What the command prints. Fails where this library survives not all."""
    command = [sys.executable, "-m", "benchmarks.faults", "--only", client, "--kinds", kinds, "--check", "--no-write"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_judges_this_library() -> None:
    assert "**11 of 11**" in scorecard("dream", "1,4,26,27,37,40,41,42,44,46,49")


def test_the_command_tells_a_success_that_is_none() -> None:
    assert "- 44: aioboto3: an object outside of the prefix is deleted, success reported" in scorecard("aioboto3", "44")
