"""``python -m benchmarks.instructions``: count the machine instructions of small operations, and compare them with a file.

    python -m benchmarks.instructions            # fails if one takes 3 % more than benchmarks/instructions.json says
    python -m benchmarks.instructions --record   # writes the file

A count does not depend on what else the machine does. It depends on the Python and its packages, so each Python has its
own figures. Needs Debian's package ``valgrind``. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

FIGURES = Path(__file__).with_suffix(".json")
VERBS = ("read", "put", "head", "list")
FEW, MANY = 50, 250
"""Only the difference of two runs counts: what starting takes is in both."""
MOST = 0.03
BODY = bytes(range(256)) * 4
PAGE_KEYS = 100


class Canned(asyncio.Protocol):
    """A service that knows one object, one page, and nothing of signatures."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._rest = transport, b""

    def data_received(self, data: bytes) -> None:
        head, end, rest = (self._rest + data).partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not end or len(rest) < int(length[1] if length else 0):
            self._rest += data
            return
        self._rest = b""
        body = b"" if head.startswith(b"PUT") else PAGE if b"list-type=2" in head.partition(b"\r\n")[0] else BODY
        kept = b"" if head.startswith(b"HEAD") else body
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), HEADERS, kept))


HEADERS = b'ETag: "no-digest"\r\nx-amz-request-id: tx1\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
PAGE = b"".join(
    (
        b"<ListBucketResult><IsTruncated>false</IsTruncated>",
        *(
            b"<Contents><Key>key-%04d</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            b"<ETag>&quot;no-digest&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>" % number
            for number in range(PAGE_KEYS)
        ),
        b"</ListBucketResult>",
    )
)


async def operate(counts: dict[str, int]) -> None:
    """Do each operation so many times, one after another."""
    import aiodreamobjects as dream

    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with dream.Session(endpoint=endpoint, access_key="key", secret_key="secret") as session:
        bucket = session.bucket("bucket")
        found = bucket.object("key")

        async def list_page() -> None:
            async for _ in bucket.list():
                pass

        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "read": found.read,
            "put": lambda: found.put(BODY),
            "head": found.head,
            "list": list_page,
        }
        for verb, count in counts.items():
            for _ in range(count):
                await acts[verb]()
    server.close()


def instructions(counts: dict[str, int]) -> int:
    """Return how many instructions a process takes for all of it."""
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command = [*tool, sys.executable, "-m", "benchmarks.instructions", "--operate", json.dumps(counts)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"I\s+refs:\s+([\d,]+)", told.stderr)
    if told.returncode or not found:
        raise SystemExit(told.stderr[-2000:])
    return int(found[1].replace(",", ""))


def measure() -> dict[str, int]:
    """Return the instructions of each operation."""
    few = dict.fromkeys(VERBS, FEW)
    base = instructions(few)
    return {verb: (instructions({**few, verb: MANY}) - base) // (MANY - FEW) for verb in VERBS}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--record", action="store_true", help="write the figures of this Python")
    parser.add_argument("--operate", type=json.loads, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.operate:
        asyncio.run(operate(told.operate))
        return
    recorded: dict[str, dict[str, int]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    before, now = recorded.get(python, {}), measure()
    for verb, count in now.items():
        change = f"{count / before[verb] - 1:+.1%}" if verb in before else "no figure yet"
        print(f"{verb:5} {count:11,}  {change}")
    if told.record:
        FIGURES.write_text(json.dumps({**recorded, python: now}, indent=1, sort_keys=True) + "\n")
    elif more := [verb for verb, count in now.items() if count > before.get(verb, count) * (1 + MOST)]:
        msg = f"over {MOST:.0%} more instructions: {', '.join(more)}. If that is worth it, --record it"
        raise SystemExit(msg)
    elif not before:
        msg = f"no figures for Python {python}: --record them first"
        raise SystemExit(msg)


if __name__ == "__main__":
    main()
