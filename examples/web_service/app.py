"""A web service with a page for files: uploads go from the browser straight to storage, downloads stream through here.

    pip install "aiodreamobjects[web]" fastapi uvicorn
    cd examples && python -m web_service          # and open http://127.0.0.1:8000

Without settings it serves a storage service in memory, and everything is lost at its end. ``BUCKET`` names the bucket,
``ORIGINS`` the origins of the page. It has no authentication: write some into ``may`` and the routes before you let others in.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

import aiodreamobjects as dream
from aiodreamobjects.asgi import SignRequest, UploadSigner
from web_service.files import router

ORIGINS = os.environ.get("ORIGINS", "http://127.0.0.1:8000 http://localhost:8000").split()


def key_of(request: SignRequest) -> str:
    """Return the key of an upload: the page puts the folder before the name of the file."""
    return request.filename or ""


def may(_: SignRequest, __: str) -> bool:
    """Return whether this user may upload to this key. Here everyone may."""
    return True


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    async with dream.Session() as session:  # one, as long as the service runs
        bucket = await session.create_bucket(os.environ.get("BUCKET", "my-web-service"), exist_ok=True)
        signer = UploadSigner(bucket, key=key_of, authorize=may)
        with suppress(dream.UnsupportedByServiceError):
            await bucket.set_cors(signer.cors_rules(ORIGINS))
        app.mount("/uppy", signer)
        yield {"bucket": bucket}


async def refuse(_: Request, error: Exception) -> Response:
    """Turn an error into an HTTP status. A client that is gone reads none; its unfinished object was not stored."""
    missing, passes = isinstance(error, dream.NotFoundError), getattr(error, "retryable", False)
    return Response(status_code=404 if missing else 503 if passes else 502)


app = FastAPI(lifespan=lifespan, exception_handlers={dream.DreamObjectsError: refuse, ClientDisconnect: refuse})
app.include_router(router)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))
