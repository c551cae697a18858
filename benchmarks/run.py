"""What all works share: options, sides that take turns, a process for each turn, and the page."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import results
from benchmarks.clients import Job, NotInstalledError, Side
from benchmarks.machine import describe_machine
from benchmarks.meter import Measured, how_it_ended
from benchmarks.results import COLD, Column, Figures, Place, Results, Turn
from benchmarks.turn import Done

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 180
"""A turn that takes longer is given up."""

STARTER = """
import os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
print('{"operations": 1, "wall_seconds": %f, "cpu_seconds": %f, "peak_bytes": %d}' % (*seconds, usage.ru_maxrss << 10))
sys.stdout.flush()
code = os.waitstatus_to_exitcode(status)
sys.exit(code) if code >= 0 else os.kill(os.getpid(), -code)
"""
"""Starts a process from a small one: the system never reports a smaller peak for a process than for its parent."""


# Options


def parser_of(module: str, description: str | None, sides: Iterable[str], quick: str = "") -> argparse.ArgumentParser:
    """Make a parser with the options of every work and, if ``quick`` describes a quick run, those of works with rounds."""
    _, _, words = (description or "").partition(": ")
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=words)
    parser.add_argument("--only", metavar="SIDES", help=f"of {', '.join(sides)}")
    parser.add_argument("--json", type=Path, help="write every turn there")
    if quick:
        parser.add_argument("--quick", action="store_true", help=quick)
        parser.add_argument("--rounds", type=int, help="3")
        parser.add_argument("--doc", type=Path, help="put the result between the markers of this page")
    return parser


def chosen(text: str | None, known: Iterable[str], usual: Iterable[str]) -> tuple[str, ...]:
    """Split an option into words, each once. Raise ValueError for an unknown one."""
    words, names = tuple(dict.fromkeys(text.split(","))) if text else tuple(usual), tuple(known)
    if unknown := [word for word in words if word not in names]:
        msg = f"unknown: {', '.join(unknown)}; there are {', '.join(names)}"
        raise ValueError(msg)
    return words


def numbers(text: str | None, usual: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",")) if text else tuple(usual)


# Turns


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def take_turns(
    sides: Sequence[str], cells: Sequence[Place], rounds: int, turn: Callable[[str, Place, int], Iterable[Turn]]
) -> Iterator[Turn]:
    """Go through the cells, round by round. In each cell all sides take turns.

    Each round begins with another side. A side that fails in a cell gets no more turns there, but a start may fail if
    another start succeeds.
    """
    given_up: set[tuple[str, Place]] = set()
    for number, cell in itertools.product(range(rounds), cells):
        started, first = time.monotonic(), number * len(sides) // 3 % len(sides)
        for side in [*sides[first:], *sides[:first]]:
            if (side, cell) in given_up:
                continue
            turns = list(turn(side, cell, number))
            if any(one.failure for one in turns) and not (cell.verb == COLD and any(one.measured for one in turns)):
                given_up.add((side, cell))
            yield from turns
        tell(f"round {number + 1} of {rounds}: {cell.heading()}, {time.monotonic() - started:.0f} s")


def until_interrupted(turns: Iterable[T]) -> list[T]:
    """Return all turns, or those before SIGINT or SIGTERM."""
    done: list[T] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for turn in turns:
            done.append(turn)  # noqa: PERF402 - what there is stays when it is interrupted
    except KeyboardInterrupt:
        tell("interrupted: the result has the turns until now")
    return done


# Processes


def clean_environment(home: Path) -> dict[str, str]:
    """Return this environment without settings of S3 tools and proxies, and with bytecode that is kept."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "DREAMOBJECTS_", "MINIO_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        # Not the null device: for a file that exists, a client loads more of itself.
        "AWS_CONFIG_FILE": str(home / "no config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "no credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPYCACHEPREFIX": str(home / "bytecode"),
    }


def start(command: Sequence[str], home: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process with a group of its own. It prints to ``home / "out"`` and ``home / "errors"``."""
    with (home / "out").open("wb") as out, (home / "errors").open("wb") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def failure_of(home: Path, code: int) -> str | None:
    """Return why a process of this home failed, if it did: its last error line, or how it ended."""
    if not code:
        return None
    lines = (home / "errors").read_text(errors="replace").strip().splitlines()
    return how_it_ended(code) if code < 0 or not lines else lines[-1][:300]


def measured(
    command: Sequence[str], home: Path, environment: Mapping[str, str], seconds: float = LONGEST_SECONDS
) -> tuple[Measured | None, str | None]:
    """Run a command. Return what its whole process took, or why it failed."""
    process = start([sys.executable, "-I", "-S", "-c", STARTER, *command], home, environment)
    try:
        code = process.wait(seconds)
    except BaseException as error:
        kill(process)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return None, f"not done within {seconds} s"
    if failure := failure_of(home, code):
        return None, failure
    return Measured(**json.loads((home / "out").read_text().splitlines()[-1])), None


def turn_of(
    side: Side, job: Job, home: Path, environment: Mapping[str, str]
) -> tuple[dict[str, Done], Measured | None, str | None]:
    """Run one turn. Return a library's answer for each verb, what the whole process took, and why it failed."""
    if side.is_program:
        program = side.program()
        try:
            command = program.command(job, home)
        except NotInstalledError as error:
            return {}, None, str(error)
        return {}, *measured(command, home, {**environment, **program.environment(job.service)})
    words = ["-m", "benchmarks.turn", side.name, json.dumps(asdict(job))]
    whole, failure = measured([sys.executable, *words], home, environment)
    lines = (home / "out").read_text().splitlines()
    told = [Done.of(line) for line in lines if line.startswith('{"verb"')]
    return {done.verb: done for done in told}, whole, failure


def cpu_seconds_of(process: int) -> float | None:
    """Return the CPU time of another process of one thread, if there is one and the kernel measures it closely."""
    told = Path(f"/proc/{process}/schedstat")
    return int(told.read_text().split()[0]) / 1e9 if process and told.exists() else None


# Results


class Facts:
    """When and where a run was made. Make it when the run begins."""

    def __init__(self, module: str, arguments: Sequence[str], **more: str) -> None:
        command = shlex.join(["python", "-m", module, *arguments])
        self._command = re.sub(r" --(json|doc)[= ]\S+", "", command)  # where results go says nothing of them
        self._machine, self._started = {**describe_machine(), **more}, time.monotonic()

    def told(self, **more: str) -> dict[str, str]:
        took = f"{(time.monotonic() - self._started) / 60:.1f} minutes"
        return {"command": self._command, **self._machine, "took": took, **more}


@dataclass(frozen=True, slots=True)
class Page:
    """What a work writes into a page, between markers with its name."""

    name: str
    work: str
    legend: str
    goals: Callable[[Results], str]
    columns: Callable[[Place, Figures], Mapping[str, Column]]


def publish(page: Page, found: Results, facts: Mapping[str, str], sides: Sequence[str], doc: Path | None) -> None:
    """Print the part of the page that a run writes, and put it there."""
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if name != "command")
    busy = sum(found.is_busy(place) for place in found.places)
    warning = f"**The machine was busy with other things in {busy} of these tables; each of them says so.**"
    parts = ["## The run", f"```sh\n{facts['command']}\n```", lines, warning if busy else ""]
    parts += ["## How the goals stand", page.goals(found)]
    parts += ["## The sides", results.notes(sides, page.work), page.legend]
    text = "\n\n".join(part for part in (*parts, *results.tables(found, page.columns)) if part)
    put_into(doc, page.name, text)
    print(text)


def write_json(path: Path | None, facts: Mapping[str, str], **rows: Sequence[Any]) -> None:
    if path:
        told = {name: [asdict(row) for row in found] for name, found in rows.items()}
        path.write_text(json.dumps({"facts": facts, **told}, indent=1) + "\n")


def put_into(document: Path | None, name: str, section: str) -> None:
    """Replace the text between two markers of a document. Raise ValueError if it has no such markers."""
    if document is None:
        return
    text = document.read_text()
    pattern = re.compile(f"(<!-- {name}: ?begin -->).*(<!-- {name}: ?end -->)", re.DOTALL)
    if not pattern.search(text):
        msg = f"{document} has no lines for {name} to begin and to end"
        raise ValueError(msg)
    document.write_text(pattern.sub(lambda found: f"{found[1]}\n\n{section}\n\n{found[2]}", text))
