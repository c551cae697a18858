"""``python -m benchmarks``: this library beside others, in one run, sides taking turns."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from benchmarks import report
from benchmarks.clients import SIDES, USUAL
from benchmarks.machine import describe_machine, versions
from benchmarks.rounds import ALL_VERBS, Plan, Turn, clean_environment, take_turns
from benchmarks.servers import SERVERS, fill
from benchmarks.store import Server, ServerUnavailableError

LIST_KEYS = {"nginx": (100_000, 10_000, 1_000), "rgw": (10_000, 1_000)}
QUICK_LIST_KEYS = {"nginx": (100_000, 10_000, 1_000), "rgw": (2_000, 1_000)}

LEGEND = (
    "Medians of the rounds; ± is half of their range, and nothing of a single round. "
    "† marks a page fault or more an operation: getting memory from the system is then a part of the CPU time. With a "
    "plain protocol on asyncio's own loop that is the read buffer; what it is elsewhere was not looked into. "
    f"‡ marks a side that used less than {report.WAITING:.0%} of one processor: it waited, and its rate is also the server's."
)


@dataclass(frozen=True, slots=True)
class Options:
    plan: Plan
    servers: tuple[str, ...]
    is_quick: bool
    json: Path | None
    plot: Path | None
    doc: Path | None

    def plan_for(self, server: str) -> Plan:
        """On the gateway, where the server is the limit, half of the rounds tell as much."""
        list_keys = (QUICK_LIST_KEYS if self.is_quick else LIST_KEYS)[server]
        rounds = self.plan.rounds if server == "nginx" else (self.plan.rounds + 1) // 2
        return replace(self.plan, rounds=rounds, list_keys=list_keys)


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition(": ")[2])
    parser.add_argument("--quick", action="store_true", help="about two minutes: 1 round, 32 in flight")
    parser.add_argument("--only", metavar="SIDES", help=f"of {', '.join(SIDES)}; a client's name means its usual loops")
    parser.add_argument("--verbs", help=f"of {', '.join(ALL_VERBS)}")
    parser.add_argument("--server", choices=[*SERVERS, "both"], default="both")
    parser.add_argument("--in-flight", metavar="NUMBERS", help="1,32,256")
    parser.add_argument("--rounds", type=int, help="3; half as many on rgw")
    parser.add_argument("--seconds", type=float, help="for each turn: 0.4")
    parser.add_argument("--json", type=Path, help="write every turn there")
    parser.add_argument("--plot", type=Path, help="draw there: .png or .svg")
    parser.add_argument("--doc", type=Path, help="put the result between the markers of this page")
    told = parser.parse_args(arguments)
    try:
        plan = Plan(
            sides=tuple(_sides(told.only)),
            verbs=tuple(_words(told.verbs, ALL_VERBS)),
            in_flight=tuple(int(word) for word in (told.in_flight or ("32" if told.quick else "1,32,256")).split(",")),
            rounds=told.rounds or (1 if told.quick else 3),
            seconds=told.seconds or (0.25 if told.quick else 0.4),
            list_keys=(),
        )
    except ValueError as error:
        parser.error(str(error))
    servers = tuple(SERVERS) if told.server == "both" else (told.server,)
    return Options(plan, servers, told.quick, told.json, told.plot, told.doc)


def _sides(only: str | None) -> list[str]:
    if only is None:
        return USUAL
    found: list[str] = []
    for word in _words(only, SIDES):
        found += [name for name in USUAL if SIDES[name].client == word] or [word]
    return list(dict.fromkeys(found))


def _words(text: str | None, known: Iterable[str]) -> list[str]:
    words = text.split(",") if text else list(known)
    if unknown := set(words) - set(known):
        msg = f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        raise ValueError(msg)
    return words


def measure(options: Options) -> tuple[list[Turn], dict[str, str]]:
    """Every turn, and each server's version, or why it was left out."""
    turns: list[Turn] = []
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        environment = clean_environment(Path(name, "bytecode"))
        with Path(name, "log").open("w+b") as log:
            for server_name in options.servers:
                try:
                    with SERVERS[server_name]() as server:
                        found[server_name] = server.version
                        for turn in _measure_on(server, options, environment, log):
                            turns.append(turn)  # noqa: PERF402 - what there is stays when it is interrupted
                except KeyboardInterrupt:
                    _tell("interrupted: what follows is of the turns until then")
                    break
                except ServerUnavailableError as error:
                    found[server_name] = f"left out: {error}"
                    _tell(f"{server_name} is left out: {error}")
    return turns, found


def _measure_on(server: Server, options: Options, environment: dict[str, str], log: IO[bytes]) -> Iterator[Turn]:
    plan = options.plan_for(server.name)
    _tell(f"{server.name}: {server.version}, filling")
    fill(server, plan.list_keys)
    yield from take_turns(plan, server, environment, log, _tell)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def command(arguments: list[str], module: str = "benchmarks") -> str:
    """What was run, without where its results went."""
    kept, rest = [], iter(arguments)
    for word in rest:
        if word in ("--json", "--plot", "--doc"):
            next(rest, None)
        elif not word.startswith(("--json=", "--plot=", "--doc=")):
            kept.append(word)
    return shlex.join(["python", "-m", module, *kept])


def section(results: report.Results, options: Options, facts: dict[str, str], picture: str | None) -> str:
    """The part of the page that a run writes."""
    plan = options.plan
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    busy = results.busy_places()
    warning = f"**The machine was busy with other things in {len(busy)} of these tables; each of them says so.**"
    return "\n\n".join(
        [
            "## The newest run",
            f"```sh\n{facts['command']}\n```",
            lines.replace(f"- command: {facts['command']}\n", ""),
            *([warning] if busy else []),
            "### How the goals stand",
            report.goals(results),
            *([f"![The same as bars]({picture})"] if picture else []),
            "### The sides",
            report.sides(plan.sides),
            LEGEND,
            report.tables(results),
        ]
    )


def main() -> None:
    arguments = sys.argv[1:]
    options, started = parse(arguments), time.monotonic()
    machine = describe_machine()
    turns, servers = measure(options)
    told = versions(options.plan.sides)
    facts = {
        "command": command(arguments),
        **machine,
        "took": f"{(time.monotonic() - started) / 60:.1f} minutes",
        **servers,
        "versions": ", ".join(f"{name} {version}" for name, version in told.items()),
    }
    results = report.Results.of(turns)
    if options.json:
        written = {"facts": facts, "versions": told, "plan": asdict(options.plan), "turns": [asdict(t) for t in turns]}
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    picture = None
    if options.plot and results.figures:
        from benchmarks.plot import draw

        widths = options.plan.in_flight
        draw(results, options.plot, report.GOAL_IN_FLIGHT if report.GOAL_IN_FLIGHT in widths else max(widths))
        if options.doc:
            picture = os.path.relpath(options.plot, options.doc.parent)
    text = section(results, options, facts, picture)
    if options.doc:
        report.put_into(options.doc, text)
    print(text)


if __name__ == "__main__":
    main()
