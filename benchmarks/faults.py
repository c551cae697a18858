"""``python -m benchmarks.faults``: which faults of a server, a disk or a network this library and other clients survive.

A server that breaks as it is told runs in this process. Every client meets every kind of fault in a process of its own,
one after the other. It is judged by what the server then holds and by the files, not by what the client says.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import command
from benchmarks.faults_clients import CLIENTS, SYNC, TREE, Job, Told
from benchmarks.large import tell
from benchmarks.machine import describe_machine
from benchmarks.meter import how_it_ended
from benchmarks.options import known
from benchmarks.rounds import ROOT, clean_environment

sys.path.append(str(ROOT / "tests"))  # the server is the tests'

from servers.faulty import FaultyServer

from benchmarks import faults_report
from benchmarks.faults_kinds import ARRIVES, BUCKET, KINDS, LEAVES, TREE_DIRECTORY, Kind, Outcome, Scene, content_of
from benchmarks.faults_report import Cell

USUAL = ("dream", "boto3", "aioboto3", "obstore", "s5cmd")
PAGE = ROOT / "docs" / "reliability.md"
LOOK_SECONDS = 0.02
UNDER_WAY_SECONDS = 0.4
"""From the request at which a signal is due, until it is sent."""
LEAVE_SECONDS = 5.0
SMALL_DISK = ("-t", "tmpfs", "-o", "size=4m", "tmpfs")
NO_MOUNT = "a small disk can be mounted by root alone, and not in every container"


@dataclass(frozen=True, slots=True)
class Options:
    clients: tuple[str, ...]
    kinds: tuple[Kind, ...]
    json: Path | None
    is_written: bool
    is_checked: bool


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition(": ")[2])
    parser.add_argument("--only", metavar="CLIENTS", help=f"of {', '.join(CLIENTS)}")
    parser.add_argument("--kinds", metavar="NUMBERS", help="of the kinds of faults, such as 1,4,26")
    parser.add_argument("--json", type=Path, help="write every cell there")
    parser.add_argument("--no-write", action="store_true", help="leave the page as it is, as a part of the table does")
    parser.add_argument("--check", action="store_true", help="fail unless this library survives all")
    told = parser.parse_args(arguments)
    try:
        clients = known(told.only, CLIENTS, USUAL)
        numbers = known(told.kinds, [str(number) for number in KINDS], [str(number) for number in KINDS])
    except ValueError as error:
        parser.error(str(error))
    return Options(
        clients=clients,
        kinds=tuple(KINDS[int(number)] for number in numbers),
        json=told.json,
        is_written=not (told.no_write or told.only or told.kinds),
        is_checked=told.check,
    )


class Bench:
    def __init__(self, server: FaultyServer, other: FaultyServer, home: Path) -> None:
        self.server, self.other, self.home = server, other, home
        self.environment = {**clean_environment(home / "bytecode"), "XDG_STATE_HOME": str(home / "state")}

    def cell(self, client: str, kind: Kind) -> Cell:
        """What became of this client with this kind of fault."""
        lacks = CLIENTS[client].lacks
        if reason := lacks.get(kind.verb) or lacks.get(str(kind.number)):
            return Cell(client, kind.number, "–", reason)
        for server in (self.server, self.other):
            server.reset()
            server.make_bucket(BUCKET)
        with self._scene(kind) as scene:
            if kind.has_small_disk and not _mount(scene.there):
                return Cell(client, kind.number, "–", NO_MOUNT)
            try:
                self.server.will(*kind.make(scene))
                outcome = self._meet(client, kind, scene)
                rules = [rule for rule in (*self.server.rules, *self.other.rules) if not rule.may_be_idle]
                is_met = not rules or any(rule.fired for rule in rules)
                seen = kind.judge(scene, outcome) or (None if is_met or outcome.is_ok else "error before the fault")
            finally:
                if kind.has_small_disk:
                    subprocess.run(["umount", "--lazy", str(scene.there)], check=True)
        letter = "F" if seen else "P"
        words = seen or ("" if is_met else "not met") or (f"{outcome.peak_bytes >> 20} MiB" if kind.is_measured else "")
        return Cell(client, kind.number, letter, words, outcome.told.error, outcome.seconds, outcome.peak_bytes)

    @contextmanager
    def _scene(self, kind: Kind) -> Iterator[Scene]:
        scene = Scene(self.server, self.other, self.home / "scene", kind.key, content_of(kind))
        scene.there.mkdir(parents=True)
        try:
            yield scene
        finally:
            shutil.rmtree(scene.home)
            shutil.rmtree(self.home / "state", ignore_errors=True)

    def _meet(self, client: str, kind: Kind, scene: Scene) -> Outcome:
        """Run the client's process until it ends, hangs, or has been sent its signal and ended."""
        out, errors = self.home / "out", self.home / "errors"
        words = [sys.executable, "-m", "benchmarks.faults_clients", client, json.dumps(asdict(self._job(kind, scene)))]
        started = time.monotonic()
        with out.open("wb") as out_file, errors.open("wb") as errors_file:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=errors_file,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
            )
            try:
                is_hung, peak = self._watch(process, kind)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        seconds = time.monotonic() - started
        with suppress(AssertionError):
            self.server.wait_until_left(LEAVE_SECONDS)
        return Outcome(_told(out, errors, process.returncode), is_hung, seconds, peak)

    def _watch(self, process: subprocess.Popen[bytes], kind: Kind) -> tuple[bool, int]:
        """Whether it hangs, and the most memory it had resident."""
        end, peak, due = time.monotonic() + kind.longest_seconds, 0, None
        while process.poll() is None:
            now = time.monotonic()
            if now > end:
                return True, peak
            peak = max(peak, _peak_bytes(process.pid) if kind.is_measured else 0)
            if kind.signal and due is None and kind.is_due(self.server):
                due = now + UNDER_WAY_SECONDS
            if kind.signal and due and now > due:
                process.send_signal(kind.signal)
                due = end + 1
            time.sleep(LOOK_SECONDS)
        return False, peak

    def _job(self, kind: Kind, scene: Scene) -> Job:
        path = {
            **dict.fromkeys(ARRIVES, scene.target),
            **dict.fromkeys(LEAVES, scene.source),
            TREE: scene.there / TREE_DIRECTORY,
            SYNC: scene.there,
        }.get(kind.verb, scene.there)
        return Job(
            verb=kind.verb,
            bucket=BUCKET,
            key=kind.key,
            keys=kind.keys,
            path=str(path),
            part_bytes=kind.part_bytes,
            descriptors=kind.descriptors,
            endpoint=self.server.endpoint,
            other_endpoint=self.other.endpoint,
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
            session_token=kind.session_token,
            region=self.server.region,
        )


def _told(out: Path, errors: Path, code: int) -> Told:
    """What a library said in its last line; a program, by its exit status."""
    lines = out.read_text(errors="replace").splitlines()
    complaints = errors.read_text(errors="replace").strip().splitlines()
    if code:
        return Told(complaints[-1][:300] if code > 0 and complaints else how_it_ended(code))
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if "tasks" in last:
        return Told(**{**last, "keys": None if last["keys"] is None else tuple(last["keys"])})
    keys = [one["key"].split("/", 3)[3] for line in lines if "key" in (one := json.loads(line))]
    return Told(keys=tuple(keys))


def _peak_bytes(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def _mount(directory: Path) -> bool:
    if os.geteuid():
        return False
    done = subprocess.run(["mount", *SMALL_DISK, str(directory)], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def missing(clients: Sequence[str]) -> list[str]:
    """What is to be installed."""
    return [package for name in clients if not importlib.util.find_spec(package := CLIENTS[name].packages[0])]


def measure(options: Options) -> list[Cell]:
    cells = []
    with tempfile.TemporaryDirectory(prefix="faults-") as home, FaultyServer() as server, FaultyServer() as other:
        bench = Bench(server, other, Path(home))
        for kind in options.kinds:
            row = [bench.cell(client, kind) for client in options.clients]
            cells += row
            told = ", ".join(f"{cell.client} {cell.letter} {cell.words}".strip() for cell in row)
            tell(f"{kind.number} {kind.words}: {told}")
    return cells


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = sys.argv[1:]
    options, started = parse(arguments), time.monotonic()
    if packages := missing(options.clients):
        sys.exit(f"not installed: {', '.join(packages)}")
    machine = describe_machine()
    cells = measure(options)
    facts = {
        "command": command(arguments, "benchmarks.faults"),
        **machine,
        "took": f"{(time.monotonic() - started) / 60:.1f} minutes",
        "versions": faults_report.versions(options.clients),
    }
    if options.json:
        told = {"facts": facts, "cells": [asdict(cell) for cell in cells]}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    text = faults_report.section(cells, options.kinds, options.clients, facts)
    if options.is_written:
        faults_report.put_into(PAGE, text)
    print(text)
    ours = [cell for cell in cells if cell.client == "dream"]
    if options.is_checked and not all(cell.letter == "P" for cell in ours if cell.words != NO_MOUNT):
        sys.exit("not all were survived")


if __name__ == "__main__":
    main()
