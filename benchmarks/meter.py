"""What this process uses."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What a turn took: of a library from its open client on, of a program from its start."""

    operations: float
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    process_seconds: float | None = None
    """From the start of the process to its end, if that is something else."""
    idle_bytes: int | None = None
    """Resident memory of the open client."""
    server_cpu_seconds: float | None = None
    """CPU time of the server in the meantime."""
    page_faults: int = 0
    """With one or more for each operation, memory allocation is a part of what is measured."""
    preemptions: int = 0
    """How often other processes took the processor."""
    largest_listing: int = 0
    """Keys of the bucket that was listed."""


class Meter:
    """Wall time, and what the process with all its threads used, from here on.

    With ``from_now``, the most memory is also counted from here on, beside what is resident now. Else it is that of the
    whole process.
    """

    def __init__(self, *, from_now: bool = False) -> None:
        self._idle = _of_this_process("VmRSS:") if from_now else None
        if from_now:
            with open("/proc/self/clear_refs", "w") as switch:  # noqa: PTH123 - pathlib takes time to load
                switch.write("5")
        self._usage, self._wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()

    def elapsed(self) -> float:
        return time.perf_counter() - self._wall

    def read(self, operations: int) -> Measured:
        before, wall, after = self._usage, self.elapsed(), resource.getrusage(resource.RUSAGE_SELF)
        return Measured(
            operations,
            wall,
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            _of_this_process("VmHWM:"),
            idle_bytes=self._idle,
            page_faults=after.ru_minflt - before.ru_minflt,
            preemptions=after.ru_nivcsw - before.ru_nivcsw,
        )


def how_it_ended(code: int) -> str:
    """Say how a process ended that should have ended well."""
    import signal

    return f"its process ended with {signal.Signals(-code).name if code < 0 else code}"


def describe(error: BaseException) -> str:
    """Describe an error in one line; of a group, its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _of_this_process(name: str) -> int:
    """Memory in bytes. ``getrusage`` would count what its parent had when it started this process."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - as above
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))
