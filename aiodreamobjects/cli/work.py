"""Tasks and threads of the command. Only what runs a command imports this: it imports asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

_CHUNK_BYTES = 1 << 18


async def spread(items: Iterable[T] | AsyncIterable[T], act: Callable[[T], Awaitable[None]], width: int) -> None:
    """Call a function for each item, ``width`` at once. Items are taken one at a time. The first error ends all."""
    source = items if isinstance(items, AsyncIterable) else _as_async(items)
    iterator, lock = aiter(source), asyncio.Lock()

    async def work() -> None:
        while True:
            async with lock:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    return
            await act(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup) and not hasattr(first, "report"):
            first = first.exceptions[0]
    else:
        return
    raise first


async def _as_async(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


async def in_thread(function: Callable[..., T], *given: object) -> T:
    """Call a function that may wait for people or pipes, in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if not result.done():
            if error is None:
                result.set_result(value)  # type: ignore[arg-type]  # None only if the function returned it
            else:
                result.set_exception(error)

    def call() -> None:
        value, failure = None, None
        try:
            value = function(*given)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=call, daemon=True).start()
    return await result


async def standard_input() -> AsyncIterator[bytes]:
    """Yield what arrives on standard input."""
    while chunk := await in_thread(os.read, 0, _CHUNK_BYTES):
        yield chunk
