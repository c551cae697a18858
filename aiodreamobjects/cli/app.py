"""One run of the command: its options, its session, what it prints, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import aiodreamobjects as dream
from aiodreamobjects.cli.errors import (
    FAILED,
    OK,
    ClosedPipeError,
    RefusedError,
    ends_all,
    request_id_of,
    sentence_of,
    status_of,
)
from aiodreamobjects.cli.output import Output, amount

if TYPE_CHECKING:
    from aiodreamobjects.cli.executors import Executors
    from aiodreamobjects.cli.progress import Bar, Display

T = TypeVar("T")

_OF_SESSION = frozenset(
    {"endpoint_url", "profile", "region", "no_sign_request", "ca", "concurrency", "bwlimit", "rps", "retries"}
)
_REQUESTS = 64
_MEASURABLE_SECONDS = 0.1
_LONG_SECONDS = 2.0
_MANY_DELETIONS = 1000


class App:
    """What the commands share. ``run`` makes one for each line, with the same session."""

    def __init__(self, out: Output, parent: App | None = None) -> None:
        self.out, self._parent = out, parent
        self.options: dict[str, object] = {} if parent is None else dict(parent.options)
        self.done = self.failed = self.bytes = 0
        self.name = ""
        """The command."""
        self.is_different = self.is_summarized = False
        self._statuses: set[int] = set()
        self._session: dream.Session | None = None
        self._executors: Executors | None = None
        self._counts: dict[str, int] = {}
        self.display: Display | None = None
        """What all transfers draw on; that of ``run`` for all its lines."""
        self._began = monotonic()

    # Options

    @property
    def is_dry(self) -> bool:
        """Return whether nothing may be changed."""
        return bool(self.options.get("dry_run"))

    @property
    def verbosity(self) -> int:
        """Return how many -v there are."""
        found = self.options.get("verbose", 0)
        return found if isinstance(found, int) else 0

    @property
    def concurrency(self) -> int:
        """Return how many requests to send at once."""
        found = self.options.get("concurrency", _REQUESTS)
        return found if isinstance(found, int) else _REQUESTS

    def settle(self) -> None:
        """Pass the options on to the output."""
        self.out.is_json, self.out.is_quiet = bool(self.options.get("json")), bool(self.options.get("quiet"))

    # The session

    async def session(self) -> dream.Session:
        """Return the session, which the first call opens."""
        if self._parent is not None:
            changed = [name for name in _OF_SESSION if self.options.get(name) != self._parent.options.get(name)]
            if changed:
                msg = f"--{min(changed).replace('_', '-')}: all lines share one connection: give it before run"
                raise RefusedError(msg)
            return await self._parent.session()
        if self._session is None:
            given: dict[str, Any] = self.options
            rate, retries = given.get("bwlimit"), given.get("retries")
            limits = dream.Limits(
                requests=self.concurrency,
                upload_bytes_per_second=rate,
                download_bytes_per_second=rate,
                requests_per_second=given.get("rps"),
            )
            retry = dream.Retry() if retries is None else dream.Retry(attempts=retries + 1)
            made = dream.Session(
                given.get("profile"),
                anonymous=bool(given.get("no_sign_request")),
                endpoint=given.get("endpoint_url"),
                region=given.get("region"),
                ca=given.get("ca"),
                limits=limits,
                retry=retry,
            )
            self._session = await made.open()
        return self._session

    async def spread(self) -> dict[str, Any]:
        """Return the arguments of a verb that --processes and --dask stand for."""
        if self._parent is not None:
            return await self._parent.spread_as(self.options)
        return await self.spread_as(self.options)

    async def spread_as(self, options: dict[str, object]) -> dict[str, Any]:
        """Return the same for the options of a line. All lines share one executor of each kind."""
        if self._parent is not None:
            return await self._parent.spread_as(options)
        kind = options.get("processes"), options.get("dask")
        if kind == (None, None) or options.get("dry_run"):
            return {}
        from aiodreamobjects.cli.executors import Executors  # noqa: PLC0415 - start-up: rarely needed

        self._executors = self._executors or Executors()
        return {"executor": await self._executors.get(*kind)}

    async def close(self) -> None:
        """Close the session, and what works for it."""
        if self._executors is not None:
            await self._executors.close()
        if self._session is not None:
            await self._session.aclose()

    # What was done

    def acted(self, action: str, *addresses: object, size: int | None = None, **more: object) -> None:
        """Note and print one thing that was done, or would be done."""
        self.done += 1
        self.bytes += size or 0
        if self.out.is_json:
            values: dict[str, object] = {"action": action, "source": str(addresses[0])}
            if len(addresses) > 1:
                values["target"] = str(addresses[1])
            if size is not None:
                values["size"] = size
            self.out.record("action", {**values, **more, **({"dry_run": True} if self.is_dry else {})})
        elif not self.out.is_quiet:
            self.out.line(" ".join([action, *map(str, addresses)]))

    def fail(self, address: object, error: BaseException) -> None:
        """Note and print one thing that failed."""
        status, text = status_of(error), sentence_of(error)
        self.failed += 1
        self._statuses.add(status)
        if self.out.is_json:
            code = {"code": error.code} if isinstance(error, dream.ServiceError) and error.code else {}
            request = {"request_id": found} if (found := request_id_of(error)) else {}
            values = {"address": str(address), "error": type(error).__name__, "message": text, "status": status}
            self.out.record("error", {**values, **code, **request})
        if self.verbosity:
            text = sentence_of(error, is_full=True)
        named = text if not str(address) or str(address) in text else f"{address}: {text}"
        self.out.complain(f"dreamobjects: {named}")
        if self.verbosity > 1:
            import traceback  # noqa: PLC0415 - start-up: rarely needed

            sys.stderr.write("".join(traceback.format_exception(error)))

    def failures(self, report: dream.BulkReport, address: Callable[[str], object]) -> None:
        """Note and print the failures of a report."""
        for failure in report.failures:
            self.fail(address(failure.key), failure.error)
        self.failed += report.failed - len(report.failures)

    def note_statuses(self, statuses: set[int]) -> None:
        """Keep the exit statuses of commands that failed."""
        self._statuses |= statuses

    def count(self, name: str, number: int) -> None:
        """Add a figure to the summary."""
        if number:
            self._counts[name] = self._counts.get(name, 0) + number

    def summarize(self, command: str, **more: object) -> None:
        """Print the last line: what was done in all."""
        self.is_summarized = True
        if self.out.is_json:
            values = {"command": command, "done": self.done, "failed": self.failed, "bytes": self.bytes}
            self.out.record("summary", {**values, **self._counts, **more, **({"dry_run": True} if self.is_dry else {})})
            return
        if not self.shows_progress:
            return
        seconds = monotonic() - self._began
        moved = f"{amount(self.bytes)} in {seconds:.1f} s" if self.bytes else ""
        rate = f"{amount(self.bytes / seconds)}/s" if self.bytes and seconds >= _MEASURABLE_SECONDS else ""
        parts = [f"{self.done:,} done", moved, rate]
        parts += [f"{number:,} {name}" for name, number in self._counts.items()]
        parts += [f"{self.failed:,} failed" if self.failed else ""]
        end = " (dry run: nothing was changed)" if self.is_dry else ""
        if self.done + self.failed + sum(self._counts.values()) > 1 or self.is_dry or seconds > _LONG_SECONDS:
            self.out.say(f"{command}: {', '.join(filter(None, parts))}{end}")

    @property
    def status(self) -> int:
        """Return the exit status: that of the errors if nothing was done and they agree, else 1."""
        if not self.failed:
            return FAILED if self.is_different else OK
        return self._statuses.copy().pop() if not self.done and len(self._statuses) == 1 else FAILED

    # Safety

    async def confirm(self, what: str) -> None:
        """Ask whether to do something that cannot be undone. Raises RefusedError for no, and where nobody can be asked."""
        if self.is_dry or self.options.get("yes"):
            return
        if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
            msg = f"{what}: nobody can be asked here: add --yes to do it, or --dry-run to see it"
            raise RefusedError(msg)
        from aiodreamobjects.cli.work import in_thread  # noqa: PLC0415 - it imports asyncio

        if self.out.clear_progress is not None:
            self.out.clear_progress()
        sys.stderr.write(f"{what}. Continue? [y/N] ")
        sys.stderr.flush()
        answer = await in_thread(sys.stdin.readline)
        if answer.strip().lower() not in ("y", "yes"):
            msg = f"{what}: not done"
            raise RefusedError(msg)

    async def confirm_deletions(self, plan: dream.TreeReport, where: object) -> None:
        """Ask if a tree verb would delete more than 1,000 objects, or more than half of what is there."""
        actions = plan.plan or ()
        deleted = sum(one.action == "delete" for one in actions)
        there = deleted + plan.skipped + sum(one.action != "delete" and one.reason != "missing" for one in actions)
        if deleted > _MANY_DELETIONS or deleted * 2 > there:
            await self.confirm(f"this deletes {deleted:,} of {there:,} in {where}")

    # Many at once

    async def one_by_one(self, items: Sequence[T], act: Callable[[T], Awaitable[None]]) -> None:
        """Do something with each address of an argument, in order. One failure does not stop the others."""
        for item in items:
            try:
                await act(item)
            except ClosedPipeError:
                raise
            except Exception as error:
                if len(items) == 1 or ends_all(error):
                    raise
                self.fail(item, error)

    async def each(
        self, items: Iterable[T] | AsyncIterable[T], act: Callable[[T], Awaitable[None]], name: Callable[[T], object]
    ) -> None:
        """Do something with each of many things, several at once. One failure does not stop the others."""
        from aiodreamobjects.cli.work import spread  # noqa: PLC0415 - it imports asyncio

        async def guarded(item: T) -> None:
            try:
                await act(item)
            except (dream.DreamObjectsError, OSError, ValueError, RefusedError) as error:
                if ends_all(error):
                    raise
                self.fail(name(item), error)

        await spread(items, guarded, self.concurrency)

    def bar(self, name: str) -> Bar:
        """Return the progress of one transfer. Nothing is shown unless standard error is a terminal."""
        from aiodreamobjects.cli.progress import Bar, Display  # noqa: PLC0415 - few commands show one

        if not self.shows_progress:
            return Bar(None, name, name)
        root = self if self._parent is None else self._parent
        root.display = root.display or Display(self.out)
        return Bar(root.display, self.name if name == self.name else f"{self.name} {name}", name)

    @property
    def shows_progress(self) -> bool:
        """Return whether people watch standard error, and want to see progress."""
        is_unwanted = any(self.options.get(name) for name in ("no_progress", "quiet", "json"))
        return not is_unwanted and sys.stderr is not None and sys.stderr.isatty()
