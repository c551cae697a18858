"""A bar on standard error while bytes move: bytes, objects, rate and time left. rich draws it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiodreamobjects.cli.output import Output, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    import aiodreamobjects as dream

_LONGEST_NAME = 40


class Bar:
    """Shows how far one command is. ``with bar:`` surrounds the transfer; ``bar.callback`` is its ``progress=``."""

    def __init__(self, out: Output, title: str, *, is_shown: bool) -> None:
        self._out, self._title, self._is_shown = out, title, is_shown
        self._drawn: Progress | None = None

    def __enter__(self) -> Self:
        if self._is_shown:
            from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                DownloadColumn(binary_units=True),
                TextColumn("{task.fields[objects]}"),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[name]}", markup=False),
            )
            self._drawn = Progress(*columns, console=Console(stderr=True), transient=True)
            self._drawn.add_task(self._title, total=None, objects="", name="")
            self._drawn.start()
            self._out.clear_progress = self._hide
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drawn, self._drawn, self._out.clear_progress = self._drawn, None, None
        if drawn is not None:
            drawn.stop()

    def _hide(self) -> None:
        """Clear the bar before a line is printed; the next figures draw it again."""
        if self._drawn is not None and self._drawn.live.is_started:
            self._drawn.stop()

    @property
    def callback(self) -> dream.ProgressCallback | None:
        """Return what a verb calls, or None if nothing is shown."""
        return None if self._drawn is None else self._show

    def _show(self, progress: dream.Progress) -> None:
        if self._drawn is None:
            return
        if not self._drawn.live.is_started:
            self._drawn.start()
        total = "" if progress.total_objects in (None, 1) else f"/{progress.total_objects:,}"
        objects = "" if progress.total_objects == 1 else f"{progress.done_objects:,}{total} objects"
        self._drawn.update(
            self._drawn.task_ids[0],
            completed=progress.done_bytes,
            total=progress.total_bytes,
            objects=objects,
            name=printable(progress.key)[-_LONGEST_NAME:],
        )
