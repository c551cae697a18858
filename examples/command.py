"""Shared by the example commands: progress bars, and an exit that says what was done.

The bars are those of rich: pip install rich.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import NoReturn

from event_loop import run
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

import aiodreamobjects as dream

FAILURES_SHOWN = 20


def exit_with(main: Coroutine[object, object, int]) -> NoReturn:
    """Run ``main`` and exit with its result: 0 if all is done, 1 if something failed. Ctrl-C exits with 130."""
    statuses = []

    async def told() -> None:
        try:
            statuses.append(await main)
        except asyncio.CancelledError as error:
            say(with_notes("interrupted", error))
            raise

    try:
        run(told())
    except KeyboardInterrupt:
        sys.exit(130)
    except (dream.DreamObjectsError, OSError, ValueError) as error:  # no credentials, no such bucket, a full disk
        say(with_notes(str(error), error))
        sys.exit(1)
    sys.exit(statuses[0])


def with_notes(text: str, error: BaseException) -> str:
    """Add the notes of the error: bulk and tree verbs note how much was done before it."""
    return "; ".join([text, *getattr(error, "__notes__", ())])


def say(*words: str) -> None:
    print(*words, file=sys.stderr)


def status_of(report: dream.BulkReport) -> int:
    """Print the failures. Return 1 if there are any. ``!r`` escapes keys that would move the terminal's cursor."""
    for failure in report.failures[:FAILURES_SHOWN]:
        say(f"{failure.key!r}: {failure.error}")
    if report.failed > FAILURES_SHOWN:
        say(f"and {report.failed - FAILURES_SHOWN:,} more")
    return 1 if report.failed else 0


@contextmanager
def count_bar(title: str) -> Iterator[Callable[[int], None]]:
    """Show a bar without an end, for a listing of unknown length. Yield a function that adds to its count."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn()
    with Progress(*columns) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda count: bars.advance(bar, count)


@contextmanager
def tree_bar(title: str) -> Iterator[dream.ProgressCallback]:
    """Show a bar for ``progress=`` of a tree verb. Its end is known after both trees are listed."""
    names = TextColumn("{task.fields[names]:,} names")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), names
    ) as bars:
        bar = bars.add_task(title, total=None, names=0)
        yield lambda progress: bars.update(
            bar, completed=progress.done_bytes, total=progress.total_bytes, names=progress.done_objects
        )
