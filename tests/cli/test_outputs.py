"""What the end-to-end tests of s5cmd (MIT) expect the commands to print, as ``--json`` says it. One process for each service."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from cli.conftest import Place
from servers.shared import SharedServers

LS = {f"{name}": "content" for name in ("a/f1.txt", "a/f2.txt", "b/f3.txt", "c/f5.gz", "d/e/f8.txt", "report.gz", "t.txt", "t/f", "newli\ne.txt")}  # fmt: skip
CAT = {"foo1.txt": "0", "foo2.txt": "1", "bar1.txt": "2", "foolder/foo3.txt": "3", "log-2024-01": "4", "log-2023-01": "6", "foolder/in/x": "7"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    name: str
    command: str
    """``{b}`` is a bucket with the objects, ``{e}`` an empty one."""
    expected: Sequence[Any]
    """Keys, prefixes, ``(objects, bytes)``, pairs of addresses; the exit status of an error; or what ``cat`` prints."""
    objects: Mapping[str, str] = field(default_factory=dict)


CASES = [
    Case("ls bucket", "ls s3://{b}", ["a/", "b/", "c/", "d/", "newli\ne.txt", "report.gz", "t.txt", "t/"], LS),
    Case("ls bucket/", "ls s3://{b}/", ["a/", "b/", "c/", "d/", "newli\ne.txt", "report.gz", "t.txt", "t/"], LS),
    Case("ls object", "ls s3://{b}/t.txt", ["t.txt"], LS),
    Case("ls prefix", "ls s3://{b}/t", ["t.txt", "t/"], LS),
    Case("ls prefix/", "ls s3://{b}/a/", ["a/f1.txt", "a/f2.txt"], LS),
    Case("ls -r prefix", "ls -r s3://{b}/d", ["d/e/f8.txt"], LS),
    Case("ls *.gz", "ls 's3://{b}/*.gz'", ["c/f5.gz", "report.gz"], LS),
    Case("ls n*.txt with a newline", "ls 's3://{b}/n*.txt'", ["newli\ne.txt"], LS),
    Case("ls */f*.txt", "ls 's3://{b}/*/f*.txt'", ["a/f1.txt", "a/f2.txt", "b/f3.txt", "d/e/f8.txt"], LS),
    Case("ls a/f*.txt", "ls 's3://{b}/a/f*.txt'", ["a/f1.txt", "a/f2.txt"], LS),
    Case("ls --exclude", "ls --exclude '*.txt' s3://{b}/*", ["c/f5.gz", "report.gz", "t/f"], LS),
    Case("ls two --exclude, one level", "ls --exclude '*.txt' --exclude '*.gz' s3://{b}", ["a/", "b/", "c/", "d/", "t/"], LS),
    Case("ls --exclude ''", "ls --exclude '' s3://{b}/a/", ["a/f1.txt", "a/f2.txt"], LS),
    Case("ls --exclude a path", "ls --exclude a/f1.txt 's3://{b}/a*'", ["a/f2.txt"], LS),
    Case("ls missing", "ls s3://{b}/none", [3], LS),
    Case("ls * that matches nothing", "ls 's3://{b}/*/none*.txt'", [3], LS),
    Case("ls an empty bucket", "ls s3://{e}", []),
    Case("ls a missing bucket", "ls s3://no-such-bucket-here", [3]),
    Case("du object", "du s3://{b}/t.txt", [(1, 7)], LS),
    Case("du prefix/", "du s3://{b}/a/", [(2, 14)], LS),
    Case("du *.txt", "du 's3://{b}/*.txt'", [(6, 42)], LS),
    Case("du --exclude", "du --exclude 't*' 's3://{b}/*.txt'", [(5, 35)], LS),
    Case("du two --exclude", "du --exclude '*.txt' --exclude '*.gz' s3://{b}", [(1, 7)], LS),
    Case("du of nothing", "du s3://{b}/none", [(0, 0)], LS),
    Case("du of an empty bucket", "du s3://{e}", [(0, 0)]),
    Case("cat object", "cat s3://{b}/foo1.txt", ["0"], CAT),
    Case("cat bucket", "cat s3://{b}", ["20164"], CAT),
    Case("cat prefix/", "cat s3://{b}/foolder/", ["3"], CAT),
    Case("cat foo*", "cat 's3://{b}/foo*'", ["0137"], CAT),
    Case("cat log-*", "cat 's3://{b}/log-*'", ["64"], CAT),
    Case("cat two", "cat s3://{b}/bar1.txt s3://{b}/foo1.txt", ["20"], CAT),
    Case("cat missing", "cat s3://{b}/none", [3], CAT),
    Case("cat * that matches nothing", "cat 's3://{b}/none*'", [3], CAT),
    Case("cat missing prefix/", "cat s3://{b}/none/", [3], CAT),
    Case("cat an empty bucket", "cat s3://{e}", []),
    Case("cat * of an empty bucket", "cat 's3://{e}/*'", [3]),
    Case("cat a file", "cat file.txt", [2]),
    Case("cat --version-id of a prefix", "cat --version-id x s3://{b}/foolder/", [2], CAT),
    Case("cat --version-id of a bucket", "cat --version-id x s3://{b}/", [2], CAT),
    Case("cat --version-id of a wildcard", "cat --version-id x 's3://{b}/*'", [2], CAT),
    Case("head object", "head s3://{b}/t.txt", ["t.txt"], LS),
    Case("head missing", "head s3://{b}/none", [3], LS),
    Case("head bucket", "head s3://{e}", ["{e}"]),
    Case("head a missing bucket", "head s3://no-such-bucket-here", [3]),
    Case("head without an address", "head", [2]),
    Case("head *", "head 's3://{b}/t*'", [2], LS),
    Case("head --raw", "head --raw 's3://{b}/f*.txt'", ["f*.txt"], {"f*.txt": "1", "f1.txt": "2"}),
    Case("rm says what", "rm s3://{b}/t.txt s3://{b}/none", ["s3://{b}/t.txt", "s3://{b}/none"], LS),
    Case("rm * says what", "rm 's3://{b}/a/*'", ["s3://{b}/a/f1.txt", "s3://{b}/a/f2.txt"], LS),
    Case("rm --dry-run says what", "rm --dry-run 's3://{b}/a/*'", ["s3://{b}/a/f1.txt", "s3://{b}/a/f2.txt"], LS),
    Case("cp says what", "cp s3://{b}/t.txt s3://{e}/p/", [("s3://{b}/t.txt", "s3://{e}/p/t.txt")], LS),
    Case("mv says what", "mv s3://{b}/t.txt s3://{b}/u", [("s3://{b}/t.txt", "s3://{b}/u")], LS),
    Case("rb of a bucket with objects", "rb s3://{b}", [1], LS),
    Case("rb of a missing bucket", "rb s3://no-such-bucket-here", [3]),
    Case("rb of an empty bucket", "rb s3://{b}", ["s3://{b}"]),
    Case("rb of a bad name", "rb s3://{{}}", [2]),
    Case("mb of a bad name", "mb s3://{{}}", [2]),
    Case("mb of its own", "mb s3://{e}", [1]),
    Case("rm of a file", "rm file.txt", [2]),
    Case("ls of a file", "ls s3/", [2]),
    Case("run in run", "run none.txt", [2]),
    Case("a command that is none", "lsx s3://{b}", [2]),
    Case("an option that is none", "ls --nope", [2]),
]  # fmt: skip


def told(record: Mapping[str, Any]) -> object:
    """Return what a record is about, in short."""
    match record["type"]:
        case "error":
            return record["status"]
        case "object" | "version":
            return record["key"]
        case "bucket":
            return record["name"]
        case "action":
            return (record["source"], record["target"]) if "target" in record else record["source"]
    return (record["objects"], record["bytes"]) if "objects" in record else record["prefix"]


Output = tuple[str, dict[str, str]]
"""What a command printed, and the buckets that it had."""


def run_all(place: Place) -> dict[str, Output]:
    """Run all commands in one process. A link between two commands marks where one ends."""
    empty, lines, names = place.make_bucket(), [], []
    for case in CASES:
        bucket = place.make_bucket()
        place.put(bucket, case.objects)
        names.append({"b": bucket, "e": empty})
        lines += [case.command.format(**names[-1]), "presign s3://a-mark/mark"]
    result = place("run", "-", "-j", "1", "--json", stdin="\n".join(lines).encode())
    parts = re.split(
        r'\{"type": "action", "action": "presign", "source": "s3://a-mark/mark"[^\n]*\n', result.out.decode()
    )
    assert (result.status, len(parts)) == (1, len(CASES) + 1)
    assert json.loads(parts[-1])["type"] == "summary"
    return {case.name: (part, given) for case, part, given in zip(CASES, parts, names, strict=False)}


@pytest.fixture(scope="module")
def outputs(shared_place: Place, shared: SharedServers) -> dict[str, Output]:
    return shared.get(f"cli-outputs-{shared_place.server.name}", lambda _: nullcontext(run_all(shared_place)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_command_prints(case: Case, outputs: dict[str, Output]) -> None:
    printed, names = outputs[case.name]
    expected = [
        tuple(str(part).format(**names) for part in one)
        if isinstance(one, tuple) and isinstance(one[0], str)
        else one.format(**names)
        if isinstance(one, str)
        else one
        for one in case.expected
    ]
    if case.command.startswith("cat ") and expected not in ([2], [3]):
        assert printed == "".join(map(str, expected))
        return
    records = [json.loads(line) for line in printed.splitlines()]
    if records and records[-1]["type"] == "summary":
        records.pop()
    assert sorted(map(str, map(told, records))) == sorted(map(str, expected))
