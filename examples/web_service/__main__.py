"""Run ``python -m web_service [PORT]`` in the directory ``examples``, and open http://127.0.0.1:8000 in a browser."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import uvicorn

from aiodreamobjects.testing import MemoryService

ENDPOINT_VARIABLES = ("DREAMOBJECTS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


async def main(port: int) -> None:
    os.environ.setdefault("ORIGINS", f"http://127.0.0.1:{port} http://localhost:{port}")
    async with AsyncExitStack() as stack:
        if not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
            served = await stack.enter_async_context(MemoryService().serve())
            os.environ["DREAMOBJECTS_ENDPOINT_URL"] = served.endpoint
            os.environ["DREAMOBJECTS_ACCESS_KEY_ID"] = served.access_key
            os.environ["DREAMOBJECTS_SECRET_ACCESS_KEY"] = served.secret_key
        config = uvicorn.Config("web_service.app:app", host="127.0.0.1", port=port, timeout_graceful_shutdown=30)
        await uvicorn.Server(config).serve()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000))
