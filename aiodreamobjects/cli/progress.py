"""Progress on standard error: bytes, objects, rate, time left, and the slowest files. rich draws it."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiodreamobjects.cli.output import Output, amount, printable

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

    import aiodreamobjects as dream

_LONGEST_NAME = 40
_SLOW = 3
"""How many of the slowest files have a line."""
_PATIENCE_SECONDS = 0.3
"""What ends before this shows nothing, and does not import rich."""
_SLOW_SECONDS = 1.0
_INTERVAL_SECONDS = 0.1


class Display:
    """What is drawn for all transfers of one command, however many run at once."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began, self._shown = monotonic(), 0.0
        self._bars: list[Bar] = []
        self._ended_bytes = self._ended_objects = 0
        self._drawn: Progress | None = None
        self._rows: dict[str, TaskID] = {}

    def add(self, bar: Bar) -> None:
        """Count a transfer that begins."""
        self._bars.append(bar)

    def remove(self, bar: Bar) -> None:
        """Count a transfer that ended."""
        self._bars.remove(bar)
        if bar.last is not None:
            self._ended_bytes += bar.last.done_bytes
            self._ended_objects += bar.last.done_objects
        if not self._bars:
            self.hide()

    def hide(self) -> None:
        """Clear it before a line is printed. The next figures draw it again."""
        self._out.clear_progress = None
        if self._drawn is not None and self._drawn.live.is_started:
            self._drawn.stop()

    def show(self) -> None:
        """Draw the figures as they are now."""
        now = monotonic()
        if now - self._began < _PATIENCE_SECONDS or now - self._shown < _INTERVAL_SECONDS:
            return
        self._shown = now
        drawn = self._drawn = self._drawn or _made()
        whole = next((bar.last for bar in self._bars if bar.last), None) if self._is_one else None
        done = self._ended_bytes + sum(bar.last.done_bytes for bar in self._bars if bar.last)
        objects = self._ended_objects + sum(bar.last.done_objects for bar in self._bars if bar.last)
        total = None if whole is None or whole.total_objects in (None, 1) else whole.total_objects
        is_of_one = whole is not None and whole.total_objects == 1
        count = "" if is_of_one else f"{objects:,}{'' if total is None else f'/{total:,}'} objects"
        self._row("", self._bars[0].title, done, whole.total_bytes if whole else None, count)
        slow = self._slow()
        for name in self._rows.keys() - slow.keys() - {""}:
            drawn.remove_task(self._rows.pop(name))
        for name, (moved, size) in slow.items():
            self._row(name, f"  {printable(name)[-_LONGEST_NAME:]}", moved, size, "")
        if not drawn.live.is_started:
            drawn.start()
        drawn.refresh()
        self._out.clear_progress = self.hide

    @property
    def _is_one(self) -> bool:
        return len(self._bars) == 1 and not self._ended_objects

    def _slow(self) -> dict[str, tuple[int, int | None]]:
        """Return the files that are under way for longest: their bytes that have moved, and their sizes."""
        found = [
            (-one.seconds, one.key, one.done_bytes, one.total_bytes)
            for bar in self._bars
            for one in (bar.last.moving if bar.last else ())
        ]
        now = monotonic()
        if not self._is_one:
            found += [
                (bar.began - now, bar.name, bar.last.done_bytes, bar.last.total_bytes or 0)
                for bar in self._bars
                if bar.last and not bar.last.moving
            ]
        slow = [one for one in sorted(found) if -one[0] > _SLOW_SECONDS][:_SLOW]
        return {name: (done, total or None) for _, name, done, total in slow}

    def _row(self, name: str, title: str, done: int, total: int | None, objects: str) -> None:
        assert self._drawn is not None
        if name not in self._rows:
            self._rows[name] = self._drawn.add_task(title, total=None, objects="")
        self._drawn.update(self._rows[name], completed=done, total=total, objects=objects)


class Bar:
    """One transfer. ``with bar:`` surrounds it; ``bar.callback`` is its ``progress=``."""

    def __init__(self, display: Display | None, title: str, name: str) -> None:
        self.title, self.name = printable(title), name
        self.began = monotonic()
        self.last: dream.Progress | None = None
        self._display = display

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.remove(self)

    @property
    def callback(self) -> dream.ProgressCallback | None:
        """Return what a verb calls, or None if nothing is shown."""
        return None if self._display is None else self._note

    def _note(self, progress: dream.Progress) -> None:
        self.last = progress
        if self._display is not None:
            self._display.show()


def _made() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{amount(speed)}/s" if speed else "", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[objects]}"),
        Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False, expand=True)
