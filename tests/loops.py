"""The event loops that a test can run on, each made for one test alone."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

import pytest
from invariants import leaves_nothing, note_complaints

from aiodreamobjects._limits import BytePace

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with suppress(ImportError):  # it is not for Windows
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
TIMER_SECONDS = 0.01
"""A timer of uvloop counts in milliseconds."""
Work = Coroutine[object, object, None]


def on_every_loop(test: Callable[..., Work]) -> Callable[..., None]:
    """Run the test on each event loop, and check that it leaves nothing."""

    @functools.wraps(test)
    def run_test(loop: str, **fixtures: object) -> None:
        with loop_of_its_own(loop) as run:
            run(test(**fixtures))

    parameters = inspect.signature(test).parameters.values()
    named = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run_test.__signature__ = inspect.Signature([named, *parameters])  # type: ignore[attr-defined]  # pytest reads it
    marked: Callable[..., None] = pytest.mark.parametrize("loop", LOOPS)(run_test)
    return marked


@contextmanager
def loop_of_its_own(name: str = "asyncio") -> Iterator[Callable[[Work], None]]:
    """Give a function that runs one piece of work after the other on a new loop. None leaves anything."""
    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        complaints = note_complaints(runner.get_loop())

        def run(work: Work) -> None:
            runner.run(leaves_nothing(work))
            assert complaints == []

        yield run
    assert complaints == []


@contextmanager
def taking_at_least(seconds: float) -> Iterator[None]:
    """Check that this takes no less, except for the lateness that a pace makes good."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started > seconds - BytePace.CATCH_UP_SECONDS - TIMER_SECONDS
