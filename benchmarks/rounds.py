"""Sides taking turns: each cell of the plan is gone through by all sides, one after the other, round by round."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.clients import SIDES, Side
from benchmarks.load import VERBS, Task
from benchmarks.meter import Measured, how_it_ended
from benchmarks.store import Server

ROOT = Path(__file__).parent.parent
COLD, BARE_PYTHON = "cold", "python -c pass"
COLD_STARTS = 3
ONE_AT_A_TIME = ("list", "presign", COLD)
ALL_VERBS = ("get", "head", "put", "delete", "list", "presign", COLD)
LONGEST_SECONDS = 90
"""A side that has not answered by then is given up."""


@dataclass(frozen=True, slots=True)
class Plan:
    sides: tuple[str, ...]
    verbs: tuple[str, ...]
    in_flight: tuple[int, ...]
    rounds: int
    seconds: float
    list_keys: tuple[int, ...]

    def cells(self) -> list[tuple[str, int]]:
        """Kinds of work and requests in flight, in the order in which they are measured."""
        works = [work for work, verbs in VERBS.items() if set(verbs) & set(self.verbs)]
        wide = [work for work in works if work not in ONE_AT_A_TIME]
        narrow = [work for work in (*works, COLD) if work in ONE_AT_A_TIME and work in self.verbs]
        return [*itertools.product(wide, self.in_flight), *((work, 1) for work in narrow)]


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's turn at one verb, and what it took, or why there is nothing."""

    server: str
    verb: str
    in_flight: int
    side: str
    round: int
    measured: Measured | None = None
    failure: str | None = None


@dataclass
class Worker:
    """The process of a side; started when first asked, and anew after it had to be killed."""

    side: str
    environment: Mapping[str, str]
    log: IO[bytes]
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def ask(self, task: Task) -> tuple[list[Measured], str | None]:
        """What was measured, and what went wrong, if anything did."""
        process = self._process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asdict(task)) + "\n")
        process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], LONGEST_SECONDS)
        line = process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            return [], f"no answer within {LONGEST_SECONDS} s" if not readable else "its process died"
        told = json.loads(line)
        return [Measured(**one) for one in told["measured"]], told["failure"]

    def kill(self) -> None:
        """End it and the turn it has under way, at once."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", self.side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=self.environment,
            start_new_session=True,
        )


def clean_environment(bytecode: Path) -> dict[str, str]:
    """This one without what would sway a side: settings of S3 tools, proxies, and bytecode that is not kept."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "DREAMOBJECTS_", "MINIO_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        # Not the null device: a file that is there has to be read, by what may else not be loaded at all.
        "AWS_CONFIG_FILE": str(bytecode / "no config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(bytecode / "no credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }


def take_turns(
    plan: Plan, server: Server, environment: Mapping[str, str], log: IO[bytes], tell: Callable[[str], None]
) -> Iterator[Turn]:
    """Every turn of the plan on one server. A side that fails at some work is not asked for it again: starts, if all fail."""
    given_up: set[tuple[str, str, int]] = set()
    cells = plan.cells()
    with ExitStack() as stack:
        workers = {name: Worker(name, environment, log) for name in plan.sides}
        for worker in workers.values():
            stack.callback(worker.kill)
        for number, (work, in_flight) in itertools.product(range(plan.rounds), cells):
            started = time.monotonic()
            for name in in_turn(plan.sides, number):
                if (name, work, in_flight) in given_up:
                    continue
                turns = list(_turn(plan, server, workers[name], work, in_flight, number))
                if any(turn.failure for turn in turns) and (work != COLD or not any(turn.measured for turn in turns)):
                    given_up.add((name, work, in_flight))
                yield from (turn for turn in turns if turn.verb in plan.verbs)
            if work == COLD:
                yield _cold_start(None, server, environment, number)
            seconds = time.monotonic() - started
            tell(f"{server.name}, round {number + 1} of {plan.rounds}: {work}, {in_flight} in flight, {seconds:.0f} s")


def in_turn(sides: Sequence[str], number: int) -> Sequence[str]:
    """Every round begins with another side."""
    first = number * len(sides) // 3 % len(sides)
    return [*sides[first:], *sides[:first]]


def _turn(plan: Plan, server: Server, worker: Worker, work: str, in_flight: int, number: int) -> Iterator[Turn]:
    side = SIDES[worker.side]
    verbs = VERBS.get(work, (work,))
    why = side.missing(verbs[0], server.name, in_flight)
    if why:
        yield from (Turn(server.name, verb, in_flight, side.name, number, failure=why) for verb in verbs)
    elif work == COLD:
        if number == 0:
            _cold_start(side, server, worker.environment, number)  # compiles what was never loaded
        yield from (_cold_start(side, server, worker.environment, number) for _ in range(COLD_STARTS))
    else:
        measured, failure = worker.ask(Task(server, work, in_flight, plan.seconds, plan.list_keys))
        found = {one.verb: one for one in measured}
        for verb in verbs:
            one = found.get(verb)
            yield Turn(server.name, verb, in_flight, side.name, number, one, None if one else failure)


def _cold_start(side: Side | None, server: Server, environment: Mapping[str, str], number: int) -> Turn:
    """A whole process, seen from outside; without a side, one that does nothing."""
    program = ["-m", "benchmarks.cold", side.name, json.dumps(asdict(server))] if side else ["-c", "pass"]
    name = side.name if side else BARE_PYTHON
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    )
    assert process.stdout
    assert process.stderr
    out, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        failure = how_it_ended(process.returncode) if process.returncode < 0 or not lines else lines[-1]
        return Turn(server.name, COLD, 1, name, number, failure=failure)
    cpu, peak = usage.ru_utime + usage.ru_stime, int(out or 0)
    return Turn(server.name, COLD, 1, name, number, Measured(COLD, 1, wall, cpu, peak))
