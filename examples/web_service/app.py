"""A web service with a page for files: uploads go from the browser straight to storage, downloads stream through here.

    pip install "aiodreamobjects[web]" fastapi uvicorn
    cd examples && python -m web_service          # and open http://127.0.0.1:8000
    curl -T video.mkv http://127.0.0.1:8000/files/video.mkv
    curl -r 0-999 http://127.0.0.1:8000/files/video.mkv -o beginning
    curl http://127.0.0.1:8000/folders/?limit=10

Without settings it serves a storage service in memory, and everything is lost at its end. ``BUCKET`` names the bucket, ``ORIGINS`` the
origins of the page. It has no authentication: write some into ``may`` and the routes before you let others in.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from starlette.requests import ClientDisconnect

import aiodreamobjects as dream
from aiodreamobjects.asgi import ObjectResponse, SignRequest, UploadSigner, form_parts
from aiodreamobjects.testing import MemoryService

BUCKET = os.environ.get("BUCKET", "my-web-service")
ORIGINS = os.environ.get("ORIGINS", "http://127.0.0.1:8000 http://localhost:8000").split()
ENDPOINT_VARIABLES = ("DREAMOBJECTS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
PAGE = Path(__file__).with_name("page.html").read_text()
SANDBOX = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
}
"""What strangers stored is shown, but runs no script."""


def key_of(request: SignRequest) -> str:
    """Return the key of an upload. The page puts the folder before the name of the file."""
    return request.filename or ""


async def may(_: SignRequest, __: str) -> bool:
    """Return whether this user may upload to this key. Here everyone may."""
    return True


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
    """Keep one session open while the service runs."""
    async with AsyncExitStack() as stack:
        if any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
            session = await stack.enter_async_context(dream.Session())
        else:
            served = await stack.enter_async_context(MemoryService().serve())
            in_memory = dream.Session(
                endpoint=served.endpoint, access_key=served.access_key, secret_key=served.secret_key
            )
            session = await stack.enter_async_context(in_memory)
        bucket = await session.create_bucket(BUCKET, exist_ok=True)
        signer = UploadSigner(bucket, key=key_of, authorize=may)
        with suppress(dream.UnsupportedByServiceError):
            await bucket.set_cors(signer.cors_rules(ORIGINS))
        yield {"session": session, "bucket": bucket, "signer": signer}


app = FastAPI(lifespan=lifespan)


async def sign(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    await scope["state"]["signer"](scope, receive, send)


app.mount("/uppy", sign)


def named_object(request: Request, key: str) -> dream.Object:
    bucket: dream.Bucket = request.state.bucket
    try:
        return bucket.object(key)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@app.get("/health")
async def health(request: Request, response: Response) -> dict[str, object]:
    """Say whether requests can be served: not while all places are taken by others that do not move."""
    bucket: dream.Bucket = request.state.bucket
    try:
        await bucket.list(limit=1).collect()
    except dream.DreamObjectsError as error:
        response.status_code = 503
        return {"ok": False, "error": str(error)}
    return {"ok": True}


@app.api_route("/files/{key:path}", methods=["GET", "HEAD"])
async def read(obj: Annotated[dream.Object, Depends(named_object)], download: bool = False) -> ObjectResponse:  # noqa: FBT001, FBT002 - a query of the URL
    """Send the object, with ranges and conditions."""
    return ObjectResponse(obj, disposition="attachment" if download else "inline", headers=SANDBOX)


@app.put("/files/{key:path}", status_code=201)
async def store_body(obj: Annotated[dream.Object, Depends(named_object)], request: Request) -> dict[str, object]:
    """Store the request's body as it arrives, of any length: ``curl -T``."""
    return stored(await obj.put(request.stream(), content_type=request.headers.get("content-type")))


@app.post("/files/{key:path}", status_code=201)
async def store_form(obj: Annotated[dream.Object, Depends(named_object)], request: Request) -> dict[str, object]:
    """Store a file from a form as it arrives: ``curl -F file=@video.mkv``."""
    async for part in form_parts(request, max_parts=10):
        if part.filename is not None:
            return stored(await obj.put(part, content_type=part.content_type))
    raise HTTPException(400, "the form has no file")


@app.delete("/files/{key:path}", status_code=204)
async def delete(obj: Annotated[dream.Object, Depends(named_object)]) -> None:
    await obj.delete()


@app.get("/folders/{path:path}")
async def folder(
    request: Request, path: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100, token: str | None = None
) -> dict[str, object]:
    """List one level, a page at a time: pass ``next`` as the token of the next page."""
    bucket: dream.Bucket = request.state.bucket
    try:
        found = await bucket.list_dir(path).page(limit, token)
    except ValueError as error:  # a token that is not of this folder
        raise HTTPException(400, str(error)) from error
    return {"items": [listed(item) for item in found.items], "next": found.token}


def listed(item: dream.ObjectInfo | dream.CommonPrefix) -> dict[str, object]:
    if isinstance(item, dream.CommonPrefix):
        return {"folder": item.prefix}
    return {"key": item.key, "size": item.size, "modified": item.last_modified}


def stored(info: dream.ObjectInfo) -> dict[str, object]:
    return {"key": info.key, "size": info.size, "etag": info.etag, "verified": info.verified}


@app.exception_handler(dream.DreamObjectsError)
async def refuse(_: Request, error: dream.DreamObjectsError) -> Response:
    """Turn an error of the library into an HTTP status."""
    if isinstance(error, dream.NotFoundError):
        return Response(status_code=404)
    return Response(status_code=503 if error.retryable else 502)


@app.exception_handler(ClientDisconnect)
async def give_up(_: Request, __: ClientDisconnect) -> Response:
    """Answer a client that is gone. Its unfinished object was not stored."""
    return Response(status_code=400)
