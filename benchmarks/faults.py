"""``python -m benchmarks.faults``: which faults of a server, disk or network this library and other clients survive.

This process runs a server that breaks by rules. Each client meets each kind of fault in a process of its own, one after
the other. The judge is what the server holds afterwards, and the files: not what the client says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import run
from benchmarks.clients import Job, Patience, Service, Settings, Side
from benchmarks.faults_jobs import PREFIX, Told
from benchmarks.machine import versions
from benchmarks.results import markdown
from benchmarks.run import ROOT, Facts, chosen, clean_environment, parser_of, put_into, tell, write_json

sys.path.append(str(ROOT / "tests"))  # the server is one of the tests'

from servers.faulty import FaultyServer

from benchmarks.faults_kinds import BUCKET, KINDS, TREE_DIRECTORY, Kind, Outcome, Scene, content_of

CLIENTS = ("dream", "boto3", "aioboto3", "obstore", "s5cmd")
PAGE = ROOT / "docs" / "reliability.md"
LOOK_SECONDS = 0.02
START_SECONDS = 60.0
"""For a client to load and to send its first request, on a busy machine."""
UNDER_WAY_SECONDS = 0.4
"""Between the request that makes a signal due and the signal."""
LEAVE_SECONDS = 5.0
SMALL_DISK = ("-t", "tmpfs", "-o", "size=4m", "tmpfs")
NO_MOUNT = "only root can mount a small disk, and not in every container"


@dataclass(frozen=True, slots=True)
class Options:
    clients: tuple[str, ...]
    kinds: tuple[Kind, ...]
    json: Path | None
    is_written: bool
    is_checked: bool


@dataclass(frozen=True, slots=True)
class Cell:
    client: str
    kind: int
    letter: str
    """P, F or –."""
    words: str
    """What was seen, or why the client did not take part."""
    error: str | None = None
    """The client's error."""
    seconds: float = 0
    peak_bytes: int = 0


def parse(arguments: list[str]) -> Options:
    parser, numbers = parser_of("benchmarks.faults", __doc__, CLIENTS), [str(number) for number in KINDS]
    parser.add_argument("--kinds", metavar="NUMBERS", help="of the kinds of faults, such as 1,4,26")
    parser.add_argument("--no-write", action="store_true", help="leave the page as it is; so do --only and --kinds")
    parser.add_argument("--check", action="store_true", help="fail unless this library survives all")
    told = parser.parse_args(arguments)
    try:
        clients, kinds = chosen(told.only, CLIENTS, CLIENTS), chosen(told.kinds, numbers, numbers)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        clients=clients,
        kinds=tuple(KINDS[int(number)] for number in kinds),
        json=told.json,
        is_written=not (told.no_write or told.only or told.kinds),
        is_checked=told.check,
    )


class Bench:
    def __init__(self, server: FaultyServer, other: FaultyServer, home: Path) -> None:
        self.server, self.other, self.home = server, other, home
        self.environment = {**clean_environment(home), "XDG_STATE_HOME": str(home / "state")}

    def cell(self, client: str, kind: Kind) -> Cell:
        """Let the client meet this kind of fault, and judge it."""
        lacks = Side(client).kind.lacks_in_faults
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
        """Run the client's process until it ends, or kill it when it hangs."""
        words = ["-m", "benchmarks.faults_jobs", client, json.dumps(asdict(self._job(kind, scene)))]
        started = time.monotonic()
        process = run.start([sys.executable, *words], self.home, self.environment)
        try:
            is_hung, peak = self._watch(process, kind)
        finally:
            if process.poll() is None:
                run.kill(process)
        seconds = time.monotonic() - started
        with suppress(AssertionError):
            self.server.wait_until_left(LEAVE_SECONDS)
        return Outcome(_told(self.home, process.returncode), is_hung, seconds, peak)

    def _watch(self, process: subprocess.Popen[bytes], kind: Kind) -> tuple[bool, int]:
        """Return whether it hangs, and its peak of resident memory."""
        end, peak, due, has_begun = time.monotonic() + START_SECONDS, 0, None, False
        while process.poll() is None:
            now = time.monotonic()
            if self.server.log and not has_begun:
                end, has_begun = now + kind.longest_seconds, True
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
        server, keys = self.server, kind.keys or (kind.key,)
        service = Service(
            server.endpoint, server.access_key, server.secret_key, server.region, session_token=kind.session_token
        )
        is_tree, is_one = kind.verb == "download_tree", len(keys) == 1
        path = scene.target if kind.verb in ("download", "fetch") else scene.source
        return Job(
            kind.verb,
            service,
            Settings(parts=None, part_bytes=kind.part_bytes, patience=Patience()),
            BUCKET,
            PREFIX if kind.verb == "delete_prefix" else "",
            directory=str(scene.there / TREE_DIRECTORY if is_tree else scene.there),
            keys=keys,
            files=tuple(str(path if is_one else scene.there / key) for key in keys),
            other=Service(self.other.endpoint, server.access_key, server.secret_key, server.region),
            descriptors=kind.descriptors,
        )


def _told(home: Path, code: int) -> Told:
    """Read what a library printed in its last line, or a program's exit status."""
    if failure := run.failure_of(home, code):
        return Told(failure)
    lines = (home / "out").read_text(errors="replace").splitlines()
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if "tasks" in last:
        return Told(**{**last, "keys": None if last["keys"] is None else tuple(last["keys"])})
    return Told(keys=tuple(one["key"].split("/", 3)[3] for line in lines if "key" in (one := json.loads(line))))


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


def measure(clients: Sequence[str], kinds: Sequence[Kind]) -> list[Cell]:
    cells = []
    with tempfile.TemporaryDirectory(prefix="faults-") as home, FaultyServer() as server, FaultyServer() as other:
        bench = Bench(server, other, Path(home))
        for kind in kinds:
            row = [bench.cell(client, kind) for client in clients]
            cells += row
            told = ", ".join(f"{cell.client} {cell.letter} {cell.words}".strip() for cell in row)
            tell(f"{kind.number} {kind.words}: {told}")
    return cells


# Output


def section(cells: Sequence[Cell], kinds: Sequence[Kind], clients: Sequence[str], facts: Mapping[str, str]) -> str:
    """Make the part of the page that a run writes: a table of letters, and the reasons below it."""
    told = "\n".join(f"- {name}: {fact}" for name, fact in {**facts, "command": f"`{facts['command']}`"}.items())
    found = {(cell.kind, cell.client): cell for cell in cells}
    rows = [["", "fault", *clients]]
    rows += [[str(kind.number), kind.words, *(_letter(found[kind.number, one]) for one in clients)] for kind in kinds]
    rows.append(["", "**survived, of those that were run**", *(_sum(cells, client) for client in clients)])
    seen, left_out = _seen(cells, "F"), _seen(cells, "–")
    parts = [told, markdown(rows)]
    parts += [f"What was seen where there is an F:\n\n{seen}"] if seen else []
    parts += [f"Why there is a –:\n\n{left_out}"] if left_out else []
    return "\n\n".join(parts)


def _letter(cell: Cell) -> str:
    return f"{cell.letter}, {cell.words}" if cell.letter == "P" and cell.words else cell.letter


def _sum(cells: Sequence[Cell], client: str) -> str:
    letters = [cell.letter for cell in cells if cell.client == client and cell.letter != "–"]
    return f"**{letters.count('P')} of {len(letters)}**"


def _seen(cells: Sequence[Cell], letter: str) -> str:
    """Write a line for each kind. Clients with the same words share them."""
    by_kind: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell.letter == letter:
            by_kind[cell.kind][cell.words].append(cell.client)
    return "\n".join(
        f"- {kind}: " + "; ".join(f"{', '.join(names)}: {words}" for words, names in seen.items())
        for kind, seen in by_kind.items()
    )


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options, facts = parse(sys.argv[1:]), Facts("benchmarks.faults", sys.argv[1:])
    clients = [client for client in options.clients if Side(client).kind.is_installed()]
    for client in sorted({*options.clients} - {*clients}):
        tell(f"{client} is left out: not installed")
    cells = measure(clients, options.kinds)
    told = facts.told(versions=versions(clients))
    write_json(options.json, told, cells=cells)
    text = section(cells, options.kinds, clients, told)
    put_into(PAGE if options.is_written else None, "table", text)
    print(text)
    ours = [cell for cell in cells if cell.client == "dream"]
    if options.is_checked and not all(cell.letter == "P" for cell in ours if cell.words != NO_MOUNT):
        sys.exit("not all were survived")


if __name__ == "__main__":
    main()
