"""Event loops by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

UVLOOP = "+uvloop"


def loop_factory(side: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """For a side's name, that ends with ``+uvloop`` or has asyncio's own."""
    if not side.endswith(UVLOOP):
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
