"""The types of options: durations, sizes, times and ranges as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Duration(click.ParamType[timedelta]):
    """``30s``, ``15m``, ``1h``, ``7d``, ``2w``, or a number of seconds."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", str(value).strip().lower())
        if not found:
            self.fail(f"{value!r} is no duration: write 30s, 15m, 1h, 7d or 2w", param, ctx)
        try:
            return timedelta(seconds=float(found[1]) * _SECONDS[found[2] or "s"])
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)


class Size(click.ParamType[int]):
    """``1234``, ``10k``, ``5M``, ``2GiB``: powers of 1024."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?(?:/s)?", str(value).strip().lower())
        if not found:
            self.fail(f"{value!r} is no size: write 1234, 10k, 5M or 2G", param, ctx)
        return int(float(found[1]) * 1024 ** _POWERS[found[2]])


class Moment(click.ParamType[datetime]):
    """``2026-11-29``, ``2026-11-29T06:32:51Z``, or how long ago: ``7d``. Without a zone, in UTC."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return an aware time."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?[smhdw]", text.lower()):
            return datetime.now(UTC) - DURATION.convert(text, param, ctx)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-11-29, 2026-11-29T06:32:51Z or 7d for 7 days ago", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class Range(click.ParamType[tuple[int, int | None]]):
    """``0-99``, ``100-`` or ``-20``, as in HTTP: both ends inclusive."""

    name = "A-B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """Return the range as the library has it: without its end."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(?:bytes=)?(\d*)-(\d*)", str(value))
        if not found or not (found[1] or found[2]) or (found[1] and found[2] and int(found[2]) < int(found[1])):
            self.fail(f"{value!r} is no range: write 0-99, 100- or -20 (the last 20 bytes)", param, ctx)
        if not found[1]:
            return -int(found[2]), None
        return int(found[1]), int(found[2]) + 1 if found[2] else None


class Pair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``."""

    name = "NAME=VALUE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both sides."""
        if isinstance(value, tuple):
            return value
        name, equals, right = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} must have the form NAME=VALUE", param, ctx)
        return name, right


class Lines(click.ParamType[tuple[str, ...]]):
    """A file of patterns, one a line."""

    name = "FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the lines."""
        if isinstance(value, tuple):
            return value
        try:
            with open(str(value), encoding="utf-8") as opened:  # noqa: PTH123 - pathlib takes 6 ms of every start
                return tuple(opened.read().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{value}: {error}", param, ctx)


DURATION, SIZE, MOMENT, RANGE, PAIR, LINES = Duration(), Size(), Moment(), Range(), Pair(), Lines()
