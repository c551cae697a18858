"""All sides of :mod:`benchmarks.many`: its libraries, and programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import ClassVar

from benchmarks import programs
from benchmarks.access import PARTS
from benchmarks.loops import UVLOOP
from benchmarks.many_clients import AT_ONCE, DELETE, DOWN, LIBRARIES, LIST, UP, Client, Task
from benchmarks.processes import Launch, NotInstalledError
from benchmarks.programs import S5CMD_QUIET, Program


class Tool:
    """A program of its own, that prints a line for each key of a listing."""

    program: ClassVar[Program]
    works: ClassVar[tuple[str, ...]] = (LIST, DOWN, UP)
    note: ClassVar[str] = ""

    def words(self, task: Task) -> Sequence[str]:
        """What it is told, beside the service."""
        raise NotImplementedError

    def launch(self, task: Task) -> Launch:
        """NotInstalledError if it is not here."""
        return Launch.measured([*self.program.command(task), *self.words(task)], self.program.environment(task))


class S5cmd(Tool):
    program = programs.S5cmd()
    works = (LIST, DELETE, DOWN, UP)
    note = "`ls`, `rm`, which lists what it deletes, and `cp`, with its 256 workers; parts of 8 MiB, 8 of an object at once"

    def words(self, task: Task) -> Sequence[str]:
        there, here = f"s3://{task.bucket}/{task.prefix}", f"{task.directory}/"
        parts = ["--concurrency", str(PARTS), "--part-size", "8"]
        return {
            LIST: ["ls", f"{there}*"],
            DELETE: [*S5CMD_QUIET, "rm", f"{there}*"],
            DOWN: [*S5CMD_QUIET, "cp", *parts, f"{there}*", here],
            UP: [*S5CMD_QUIET, "cp", *parts, here, there],
        }[task.work]


class Rclone(Tool):
    program = programs.Rclone()
    note = (
        "`lsf --recursive --fast-list`; `copy` with 64 transfers, told to leave out what the others do not do either: "
        "MD5 of the whole file, a look at the object afterwards"
    )

    def words(self, task: Task) -> Sequence[str]:
        there, here = f"bench:{task.bucket}/{task.prefix}", task.directory
        without = "--s3-disable-checksum --ignore-checksum --s3-no-head --retries 1"
        at_once = f"--fast-list --transfers {AT_ONCE} --checkers {AT_ONCE}"
        in_parts = f"--s3-upload-concurrency {PARTS} --s3-chunk-size 8M --s3-upload-cutoff 8M"
        in_streams = f"--multi-thread-streams {PARTS} --multi-thread-cutoff 8M"
        copy = f"copy {without} {at_once} {in_parts} {in_streams}".split()
        return {
            LIST: ["lsf", "--recursive", "--files-only", "--fast-list", there],
            DOWN: [*copy, there, here],
            UP: [*copy, here, there],
        }[task.work]


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    kind: type[Client | Tool]

    @property
    def client(self) -> str:
        return self.name.removesuffix(UVLOOP)

    @property
    def is_tool(self) -> bool:
        return issubclass(self.kind, Tool)

    def launch(self, task: Task) -> Launch:
        """The process of one turn, measured from its start to its end."""
        if issubclass(self.kind, Tool):
            return self.kind().launch(task)
        words = ["-m", "benchmarks.many_clients", self.name, json.dumps(asdict(task))]
        return Launch.measured([sys.executable, *words], {})

    def versions(self) -> dict[str, str]:
        """Of what it leans on, by name."""
        try:
            if issubclass(self.kind, Tool):
                return {self.client: self.kind.program.version()}
            return {name: metadata.version(name) for name in self.kind.packages}
        except (NotInstalledError, metadata.PackageNotFoundError):
            return {self.client: "not installed"}


TOOLS: dict[str, type[Tool]] = {"s5cmd": S5cmd, "rclone": Rclone}

SIDES: dict[str, Side] = {
    **{name + loop: Side(name + loop, kind) for name, kind in LIBRARIES.items() for loop in ("", UVLOOP)},
    **{name: Side(name, kind) for name, kind in TOOLS.items()},
}
USUAL = (
    *("dream", "dream+uvloop", "dream-parallel", "dream-parallel+uvloop", "dream-256", "dream-256+uvloop"),
    *("aioboto3", "boto3", "obstore", "s3fs", "s5cmd", "rclone"),
)
"""The sides of a run, unless others are asked for."""
