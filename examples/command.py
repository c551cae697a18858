"""What the commands among the examples have in common: their bars, and an end that tells what was done.

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
    """Run it, and exit with what it returns: 0 where all is done, 1 where something failed. Ctrl-C is 130."""
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
    """What ends a bulk or tree verb carries a note of how much was done until then."""
    return "; ".join([text, *getattr(error, "__notes__", ())])


def say(*words: str) -> None:
    print(*words, file=sys.stderr)


def status_of(report: dream.BulkReport) -> int:
    """Tell what failed; 1 if anything did. Keys are anybody's choice, and some would move the cursor: hence ``!r``."""
    for failure in report.failures[:FAILURES_SHOWN]:
        say(f"{failure.key!r}: {failure.error}")
    if report.failed > FAILURES_SHOWN:
        say(f"and {report.failed - FAILURES_SHOWN:,} more")
    return 1 if report.failed else 0


@contextmanager
def count_bar(title: str) -> Iterator[Callable[[int], None]]:
    """A bar without an end, for a listing: nobody knows how long it is. It is told how many more there were."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn()
    with Progress(*columns) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda count: bars.advance(bar, count)


@contextmanager
def tree_bar(title: str) -> Iterator[dream.ProgressCallback]:
    """A bar for ``progress=`` of a tree verb. Its end is known when both trees have been listed."""
    names = TextColumn("{task.fields[names]:,} names")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), names
    ) as bars:
        bar = bars.add_task(title, total=None, names=0)
        yield lambda progress: bars.update(
            bar, completed=progress.done_bytes, total=progress.total_bytes, names=progress.done_objects
        )
