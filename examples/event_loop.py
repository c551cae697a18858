"""``run``: as ``asyncio.run``, but with uvloop if it is installed (``pip install "aiodreamobjects[uvloop]"``)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


def run(main: Coroutine[object, object, object]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
