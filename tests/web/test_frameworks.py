"""The applications of docs/web.md, as they stand there, behind real servers."""

from __future__ import annotations

import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import Server
from web.conftest import served, served_by_aiohttp

PAGE = (Path(__file__).parents[2] / "docs/web.md").read_text()
FRAMEWORKS = {
    "FastAPI": "fastapi_app",
    "Starlette": "starlette_app",
    "Litestar": "litestar_app",
    "Quart": "quart_app",
    "aiohttp": "aiohttp_app",
}


def app_of(framework: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = re.search(rf"^### {framework}\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    module = types.ModuleType("sample")  # frameworks look names up in the module of a handler
    monkeypatch.setitem(sys.modules, "sample", module)
    exec(compile(found[1], f"docs/web.md: {framework}", "exec"), module.__dict__)
    return module.__dict__[FRAMEWORKS[framework]]


def serving(framework: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    app = app_of(framework, monkeypatch)
    return served_by_aiohttp(app) if framework == "aiohttp" else served(app, lifespan="on")


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_application_of_each_framework(
    framework: str, memory_served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMOBJECTS_ENDPOINT_URL", memory_served.service.endpoint)
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", memory_served.access_key)
    monkeypatch.setenv("DREAMOBJECTS_SECRET_ACCESS_KEY", memory_served.secret_key)
    content = os.urandom(11 << 20)

    async def chunks() -> Any:
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]

    async with memory_served.session() as session:
        bucket = await session.create_bucket("my-bucket", exist_ok=True)
        async with serving(framework, monkeypatch) as url, aiohttp.ClientSession(url) as client:
            async with client.put("/files/a/ü.bin", data=chunks(), headers={"Content-Type": "video/mp4"}) as reply:
                assert reply.status == 201
            assert await bucket.object("a/ü.bin").read() == content
            async with client.get("/files/a/ü.bin", headers={"Range": "bytes=5-9"}) as reply:
                assert (reply.status, await reply.read(), reply.content_type) == (206, content[5:10], "video/mp4")
                etag = reply.headers["etag"]
            async with client.get("/files/a/ü.bin", headers={"If-None-Match": etag}) as reply:
                assert (reply.status, reply.headers["etag"]) == (304, etag)
            async with client.get("/files/a/ü.bin") as reply:
                assert await reply.read() == content
            async with client.get("/files/missing") as reply:
                assert reply.status == 404
        await bucket.delete(force=True)
