"""``run``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

import click

from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import REFUSED, RefusedError
from aiodreamobjects.cli.options import command, pass_app

_NOT_HERE = ("run", "serve", "config")


class Line(NamedTuple):
    """A line of the file."""

    number: int
    text: str


@command(
    "run",
    examples="""
dreamobjects run commands.txt                # each line: cp a.txt s3://docs/
printf 'rm s3://docs/a\\nrm s3://docs/b\\n' | dreamobjects run -
dreamobjects run commands.txt -j 16 --json
""",
)
@click.argument("file", default="-")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="Run N lines at once."
)
@pass_app
async def run_command(app: App, file: str, jobs: int) -> None:
    """Run commands, one a line, with one connection. Lines are split as a shell splits words; # begins a comment.

    Lines run at once, in no certain order: use -j 1 if one needs another. One failure does not stop the others.
    """
    from aiodreamobjects.cli.work import spread  # noqa: PLC0415 - it imports asyncio

    statuses: list[int] = []

    async def act(line: Line) -> None:
        statuses.append(await _run_line(app, line))

    await app.session()  # one, before several lines want it
    await spread(_lines(file), act, jobs)
    failed = sum(status != 0 for status in statuses)
    app.done, app.failed = len(statuses) - failed, failed
    app.note_statuses(set(statuses) - {0})
    if app.out.is_json or failed:
        app.summarize("run")


async def _run_line(app: App, line: Line) -> int:
    from aiodreamobjects.cli.main import carry_out, parse  # noqa: PLC0415 - it imports this module

    try:
        words = shlex.split(line.text, comments=True)
    except ValueError as error:
        App(app.out, app).fail(f"line {line.number}", RefusedError(f"{error}: {line.text}"))
        return REFUSED
    if words[:1] == ["dreamobjects"]:
        del words[0]
    if not words:
        return 0
    child = App(app.out, app)
    if words[0] in _NOT_HERE:
        child.fail(f"line {line.number}", RefusedError(f"{words[0]} does not work in a file of commands"))
        return REFUSED
    job = parse(child, words)
    if not isinstance(job, int):
        await carry_out(child, job)
        return child.status
    return job


async def _lines(file: str) -> AsyncIterator[Line]:
    """Yield the lines that are not empty."""
    from aiodreamobjects.cli.work import in_thread  # noqa: PLC0415 - it imports asyncio

    opened = sys.stdin if file == "-" else await in_thread(open, file)
    number = 0
    try:
        while text := await in_thread(opened.readline):
            number += 1
            if text.strip() and not text.lstrip().startswith("#"):
                yield Line(number, text.strip())
    finally:
        if opened is not sys.stdin:
            opened.close()
