"""The command ``dreamobjects``. It uses only what the library makes public, and imports it only when a command needs it."""

from __future__ import annotations

import gc
import sys

_INTERRUPTED = 130
_GARBAGE = 20_000
"""How many new objects make Python look for garbage. Imports make many objects, and none of them is garbage."""


def main() -> None:
    """Run the command with the arguments of this process, and end the process."""
    gc.set_threshold(_GARBAGE)
    try:
        import click  # noqa: F401, PLC0415 - an extra, whose lack deserves a sentence
    except ModuleNotFoundError:
        sys.stderr.write("dreamobjects: the command needs an extra: pip install 'aiodreamobjects[cli]'\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    try:
        from aiodreamobjects.cli.main import run_process  # noqa: PLC0415 - it needs click

        status = run_process(sys.argv[1:])
    except KeyboardInterrupt:  # before the command handles signals itself
        status = _INTERRUPTED
    gc.freeze()  # else the interpreter looks at every object once more, which takes a sixth of a short command
    raise SystemExit(status)
