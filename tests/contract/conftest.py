"""Holds each service to what ``servers/known.py`` says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import Server
from servers.known import KNOWN, Known
from servers.served import ServedService

import aiodreamobjects as dream

VERBS = Path(__file__).with_name("test_verbs.py")


@pytest_asyncio.fixture(scope="module")
async def session(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[dream.Session]:
    """With the settings that the module names as ``SESSION``; ``multipart`` among them is of the service."""
    given = dict(getattr(request.module, "SESSION", {}))
    if multipart := given.pop("multipart", None):
        given["service"] = replace(server.service, multipart=multipart)
    async with server.session(**given) as opened:
        yield opened


@pytest.fixture(scope="module")
def boto(server: Server) -> Iterator[Any]:
    """A client that shares no code with the library, to look at the same buckets."""
    with ExitStack() as stack:
        seen = server
        if server.memory is not None:
            found = stack.enter_context(ServedService(server.memory)).served
            service = dream.Service.for_endpoint(found.endpoint)
            seen = Server("memory", service, found.access_key, found.secret_key)
        client = seen.boto()
        stack.callback(client.close)
        yield client


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(feature): what a service must have for it, by a name of servers/known.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and item.path == VERBS:
            server = str(item.callspec.params["server"])
            for mark in marks_of(item, server, KNOWN[server]):
                item.add_marker(mark)


def marks_of(item: pytest.Function, server: str, known: Known) -> list[pytest.MarkDecorator]:
    """A row that has ceased to be true fails its test. What is lacking must be refused by name."""
    found = []
    for row in rows_of(item, server):
        if row in known.lacks:
            found.append(
                pytest.mark.xfail(raises=dream.UnsupportedByServiceError, strict=True, reason=known.lacks[row])
            )
        if row in known.wrong:
            found.append(pytest.mark.xfail(strict=True, reason=known.wrong[row]))
        if row in known.hangs:
            found.append(pytest.mark.xfail(run=False, reason=known.hangs[row]))
    return found


def rows_of(item: pytest.Function, server: str) -> list[str]:
    """By which names a row can mean this test, the closest first."""
    case = item.callspec.id.removeprefix(server).removeprefix("-")
    test = item.originalname
    features = [str(mark.args[0]) for mark in item.iter_markers("needs")]
    return [*([f"{test}[{case}]"] if case else []), test, *features]
