"""``run``: asyncio's, on uvloop's loop where that is installed (``pip install "aiodreamobjects[uvloop]"``)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


def run(main: Coroutine[object, object, object]) -> None:
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - an extra
    except ImportError:
        from asyncio import new_event_loop  # noqa: PLC0415 - the other choice
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
