"""Applications behind a real server, which answers on this event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from aiohttp import web
from conftest import Server, new_name

import aiodreamobjects as dream

App = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def served(app: App, *, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    """Serve an ASGI application with uvicorn. Give its URL."""
    config = uvicorn.Config(app, port=0, lifespan=lifespan, log_config=None, timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


class served_by_aiohttp:  # noqa: N801 - a context manager
    def __init__(self, handle: Any) -> None:
        app = handle if isinstance(handle, web.Application) else web.Application()
        if app is not handle:
            app.router.add_route("*", "/", handle)
        self.runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> str:
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


class Front:
    """A server whose application a test chooses. It notes what the application raised."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url, self.client = url, client
        self.app: App | None = None
        self.raised: list[BaseException] = []

    def answers_with(self, app: object) -> None:
        assert callable(app)
        self.app, self.raised = app, []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        assert self.app is not None
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            self.raised.append(error)
            raise

    @asynccontextmanager
    async def asked(
        self, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.client.request(method, self.url, headers=headers, allow_redirects=False) as reply:
            yield reply


@pytest_asyncio.fixture(scope="session")
async def front() -> AsyncIterator[Front]:
    client = aiohttp.ClientSession(auto_decompress=False)
    made = Front("", client)
    async with client, served(made) as made.url:
        yield made


@pytest.fixture(scope="session", params=["memory", "rgw"])
def web_server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest_asyncio.fixture
async def web_bucket(web_server: Server) -> AsyncIterator[dream.Bucket]:
    async with web_server.session() as session:
        made = await session.create_bucket(new_name())
        yield made
        await made.delete(force=True)
