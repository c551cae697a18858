"""The process of one side: loads its libraries once, then forks for each turn, so that each has a process of its own.

python -m benchmarks.worker SIDE     # a task a line in, its answer a line out, both JSON
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.clients import SIDES, Side
from benchmarks.load import Task, run
from benchmarks.meter import describe, how_it_ended
from benchmarks.store import Server

Answer = dict[str, Any]


def load(side: Side) -> None:
    """Import what the side needs. Nothing of it may start a thread yet."""
    for name in (*side.kind.modules, *(["uvloop"] if side.uses_uvloop else [])):
        importlib.import_module(name)


def answer(side: Side, line: str) -> Answer:
    """What was measured, and what went wrong after that, if anything did."""
    measured: list[Answer] = []
    try:
        run(side, _task(line), lambda one: measured.append(asdict(one)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this side's failure
        traceback.print_exc()
        return {"measured": measured, "failure": describe(error)}
    return {"measured": measured, "failure": None}


def in_a_fork(work: Callable[[], Answer]) -> Answer:
    """What the work gives, done in a child of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "w") as out:
            json.dump(work(), out)
        os._exit(0)  # without what libraries do at the end of a process
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"measured": [], "failure": how_it_ended(os.waitstatus_to_exitcode(status))}
    result: Answer = json.loads(text)
    return result


def _task(line: str) -> Task:
    told = json.loads(line)
    return Task(**{**told, "server": Server(**told["server"]), "list_keys": tuple(told["list_keys"])})


def main() -> None:
    side = SIDES[sys.argv[1]]
    missing: Answer | None = None
    try:
        load(side)
    except ImportError as error:
        missing = {"measured": [], "failure": f"not installed: {error}"}
    for line in sys.stdin:
        told = missing or in_a_fork(partial(answer, side, line))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
