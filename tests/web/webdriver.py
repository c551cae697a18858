"""Chromium by the W3C WebDriver protocol, which is small enough to need no client library."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from servers.ports import free_port, wait_until_listening

NO_BROWSER = "chromium and chromium-driver are not installed: nox -s browser installs them"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
WAIT_SECONDS = 60
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004"}


def is_installed() -> bool:
    return bool(shutil.which("chromedriver") and shutil.which("chromium"))


class Browser:
    def __init__(self, client: aiohttp.ClientSession, session: str) -> None:
        self._client, self._session = client, session

    async def command(self, path: str, body: Any = None, method: str = "POST") -> Any:
        data = None if method in ("GET", "DELETE") else body or {}
        async with self._client.request(method, f"/session/{self._session}{path}", json=data) as reply:
            value = (await reply.json())["value"]
            assert reply.status == 200, value
            return value

    async def open(self, url: str) -> None:
        await self.command("/url", {"url": "about:blank"})  # so that another fragment is another page, too
        await self.command("/url", {"url": url})
        # A page that looks otherwise than the one before gets a process of its own: the driver may answer before it is there.
        await self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function, which may await. Its arguments are in ``args``."""
        wrapped = (
            "const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);"
            f"(async () => {{ {script} }})().then(value => done({{value}}), error => done({{error: String(error)}}))"
        )
        found = await self.command("/execute/async", {"script": wrapped, "args": list(arguments)})
        assert "error" not in found, found["error"]
        return found.get("value")

    async def until(self, expression: str, *arguments: Any) -> Any:
        """Wait until an expression of the page is true, and return it."""
        until = time.monotonic() + WAIT_SECONDS
        while not (found := await self.run(f"return {expression}", *arguments)):
            if time.monotonic() > until:
                page = await self.run("return document.body.innerText")
                pytest.fail(f"never true: {expression} {arguments}; the page says: {page}")
            await asyncio.sleep(0.05)
        return found

    async def find(self, selector: str) -> str:
        found = await self.command("/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    async def click(self, selector: str) -> None:
        await self.command(f"/element/{await self.find(selector)}/click")

    async def type(self, selector: str, text: str) -> None:
        await self.command(f"/element/{await self.find(selector)}/value", {"text": text})

    async def press(self, *keys: str) -> None:
        actions = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        await self.command("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    async def devtools(self, command: str, **parameters: Any) -> Any:
        return await self.command("/goog/cdp/execute", {"cmd": command, "params": parameters})

    async def slow_down(self, bytes_per_second: int = -1, *, is_offline: bool = False) -> None:
        """Limit the speed of uploads, or all of the network; without an argument, end the limit."""
        await self.devtools("Network.enable")
        await self.devtools(
            "Network.emulateNetworkConditions",
            offline=is_offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=bytes_per_second,
        )

    async def looks(self, width: int, height: int, scheme: str) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600}
        await self.devtools("Emulation.setDeviceMetricsOverride", **metrics)
        await self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def screenshot(self) -> bytes:
        return base64.b64decode(await self.command("/screenshot", method="GET"))


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Browser]:
    port = free_port()
    command = ["chromedriver", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:  # noqa: ASYNC220 - once, in a test
        try:
            await asyncio.to_thread(wait_until_listening, port)
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={home}"]
                wanted = {
                    "browserName": "chrome",
                    "goog:chromeOptions": {"args": arguments},
                    "timeouts": {"script": 60_000},
                }
                async with client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}) as reply:
                    made = (await reply.json())["value"]
                    assert reply.status == 200, made
                browser = Browser(client, made["sessionId"])
                try:
                    yield browser
                finally:
                    await browser.command("", method="DELETE")
        finally:
            driver.terminate()
