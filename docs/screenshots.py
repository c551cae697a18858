"""Make the screenshots of ``docs/cli.md``: the command runs on a terminal, against the service in memory.

    python docs/screenshots.py

It starts ``dreamobjects serve``, runs a few commands on a pseudo-terminal, and lets rich draw what they printed as SVG.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS = 100
ERASE = re.compile(r"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""How rich takes back what it has drawn, before it draws again."""
SHOTS = {
    "cli-progress": ("cp -r photos s3://photos --bwlimit 6M", "frame"),
    "cli-day": (
        "sync photos s3://photos --delete; ls -h s3://photos; du -h --depth 1 s3://photos; tree s3://photos",
        "end",
    ),
}


@contextmanager
def service() -> Iterator[dict[str, str]]:
    """Serve S3 in memory; yield the variables that lead to it."""
    words = [sys.executable, "-m", "aiodreamobjects", "serve"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "ready\n")
            yield dict(line.strip().split("=", 1) for line in lines)
        finally:
            process.terminate()


def on_a_terminal(words: list[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Return all that a command wrote to its terminal."""
    main, other = pty.openpty()
    given = {**os.environ, **environment, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "30"}
    with subprocess.Popen(words, cwd=directory, env=given, stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        written = b""
        try:
            while chunk := os.read(main, 65536):
                written += chunk
        except OSError:  # the other side is closed
            pass
        os.close(main)
        assert process.wait() == 0, written.decode()
    return written.decode()


def frame(written: str) -> str:
    """Return what was to see when most lines were drawn, in the middle of the transfer."""
    frames = [re.sub(r"\x1b\[\?25[lh]", "", one).strip("\r\n") for one in ERASE.split(written)]
    tallest = max(one.count("\n") for one in frames[:-1])
    found = [one for one in frames[:-1] if one.count("\n") == tallest]
    return found[len(found) // 2]


def main() -> None:
    """Write each screenshot beside this file."""
    with service() as variables, tempfile.TemporaryDirectory() as home:
        top = Path(home)
        environment = {**variables, "PYTHONPATH": str(HERE.parent)}
        for name, size in (("2026/beach.mov", 14 << 20), ("2026/dunes.mov", 9 << 20), ("2025/harbour.mov", 5 << 20)):
            (top / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            (top / "photos" / name).write_bytes(os.urandom(size))
        for number in range(4):
            (top / f"photos/2026/{number:03}.jpg").write_bytes(os.urandom(70_000 + number * 9_000))
        command = [sys.executable, "-m", "aiodreamobjects"]
        on_a_terminal([*command, "mb", "s3://photos"], top, environment)
        for name, (lines, kind) in SHOTS.items():
            console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - until the end
            for line in lines.split("; "):
                written = on_a_terminal([*command, *line.split()], top, environment)
                shown = frame(written) if kind == "frame" else re.sub(r"\x1b\[\?25[lh]", "", ERASE.split(written)[-1])
                console.print(Text(f"$ dreamobjects {line}", style="bold"))
                console.print(Text.from_ansi(shown.replace("\r\n", "\n").rstrip()))
            console.save_svg(str(HERE / f"{name}.svg"), title="dreamobjects", unique_id=name)


if __name__ == "__main__":
    main()
