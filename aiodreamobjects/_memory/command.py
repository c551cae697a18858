"""``python -m aiodreamobjects.testing``: the service in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread

from aiodreamobjects._concurrency import Background
from aiodreamobjects._memory.disk import Directory, Keeper
from aiodreamobjects._memory.engine import Engine
from aiodreamobjects._memory.server import Served, serve
from aiodreamobjects._system import on_signals

_DESCRIPTION = """\
Serve an S3 service in memory on 127.0.0.1, until SIGTERM or Ctrl-C.

It prints its endpoint and its keys, as variables that this library and other S3 tools read, and then "ready":

    AWS_ENDPOINT_URL_S3=http://127.0.0.1:40123
    AWS_ACCESS_KEY_ID=memory
    AWS_SECRET_ACCESS_KEY=not-a-secret
    AWS_REGION=us-east-1
    ready

With --tls it also prints AWS_CA_BUNDLE=FILE: the certificate to trust. The file is deleted at the end.
"""
_DATA_HELP = """\
keep everything in this directory and load it in the next run: buckets with their settings, objects with all their
versions, and open uploads. Changes are saved about every second, and at the end. One process at a time.
"""


def main(engine: Engine, arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m aiodreamobjects.testing",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="the port; one that is free if left out")
    parser.add_argument("--data", type=Path, metavar="DIR", help=_DATA_HELP)
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate made for this run")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_run(engine, options.port, options.data, is_tls=options.tls))
    except (ModuleNotFoundError, OSError, ValueError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


async def _run(engine: Engine, port: int, data: Path | None, *, is_tls: bool) -> None:
    stopped = asyncio.Event()
    on_signals((signal.SIGTERM, signal.SIGINT), stopped.set)
    async with _kept(engine, data, stopped), serve(engine, port, tls=is_tls) as served:
        lines = [f"{name}={value}\n" for name, value in _variables(served, engine.store.dialect.region).items()]
        sys.stdout.write(f"{''.join(lines)}ready\n")
        sys.stdout.flush()
        await stopped.wait()


def _variables(served: Served, region: str) -> dict[str, str]:
    """Return what is printed. Without TLS there is no AWS_CA_BUNDLE: with an empty one, botocore verifies nothing."""
    found = {
        "AWS_ENDPOINT_URL_S3": served.endpoint,
        "AWS_ACCESS_KEY_ID": served.access_key,
        "AWS_SECRET_ACCESS_KEY": served.secret_key,
        "AWS_REGION": region,
    }
    return found if served.ca is None else found | {"AWS_CA_BUNDLE": str(served.ca)}


@asynccontextmanager
async def _kept(engine: Engine, data: Path | None, stopped: asyncio.Event) -> AsyncIterator[None]:
    """Load the directory, and save what changes until the block is left."""
    if data is None:
        yield
        return
    try:
        directory = await to_thread.run_sync(Directory, data)
    except BlockingIOError:
        msg = f"{data}: another process serves this directory"
        raise ValueError(msg) from None
    try:
        await to_thread.run_sync(directory.load, engine.store)
        keeper = Keeper(engine.store, directory)
        saving = Background(keeper.run())
        saving.task.add_done_callback(lambda _: stopped.set())  # it ends by itself only if it fails
        try:
            yield
        finally:
            failure = saving.error
            await saving.stop()
            await keeper.save()
            if failure is not None:
                raise failure
    finally:
        directory.close()
