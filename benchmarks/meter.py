"""What work cost this process."""

from __future__ import annotations

import resource
import signal
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    verb: str
    operations: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    page_faults: int = 0
    """Many an operation, and it is the allocator that is measured."""
    preemptions: int = 0
    """How often others took the processor: the machine was busy."""
    largest_listing: int = 0
    """Keys of the bucket that was listed."""


class Meter:
    """Wall time, and what the process with all its threads used, from here on."""

    def __init__(self) -> None:
        self._wall, self._usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)

    def elapsed(self) -> float:
        return time.perf_counter() - self._wall

    def read(self, verb: str, operations: int) -> Measured:
        before, after = self._usage, resource.getrusage(resource.RUSAGE_SELF)
        return Measured(
            verb,
            operations,
            self.elapsed(),
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            peak_bytes(),
            after.ru_minflt - before.ru_minflt,
            after.ru_nivcsw - before.ru_nivcsw,
        )


def how_it_ended(code: int) -> str:
    """Of a process that was not to end like this."""
    return f"its process ended with {signal.Signals(-code).name if code < 0 else code}"


def describe(error: BaseException) -> str:
    """One line; of a group, its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def cpu_seconds() -> float:
    """Of this process, all its threads, and what it started and has ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_bytes() -> int:
    """The most memory this process had resident. ``getrusage`` would count what its parent had when it started it."""
    return _of_this_process("VmHWM:")


def resident_bytes() -> int:
    """The memory that this process has resident now."""
    return _of_this_process("VmRSS:")


def forget_peak() -> None:
    """The most memory is, from here on, what is used from here on; ``getrusage`` and ``wait4`` go by that too."""
    with open("/proc/self/clear_refs", "w") as switch:  # noqa: PTH123 - as below
        switch.write("5")


def _of_this_process(name: str) -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is not loaded where a start is timed
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))
