"""A web service that stores uploads and serves downloads. It holds only a few parts in memory.

    pip install fastapi uvicorn python-multipart
    cd examples && python -m web_service
    curl -T video.mkv http://127.0.0.1:8000/files/video.mkv
    curl -r 0-999 http://127.0.0.1:8000/files/video.mkv -o beginning
    curl http://127.0.0.1:8000/folders/?limit=10

It has no authentication: add some before you let others in.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import format_datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

import aiodreamobjects as dream

BUCKET = os.environ.get("BUCKET", "my-web-service")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, dream.Bucket]]:
    """Keep one session open while the service runs."""
    async with dream.Session() as session:
        yield {"bucket": await session.create_bucket(BUCKET, exist_ok=True)}


app = FastAPI(lifespan=lifespan)


def named_object(request: Request, key: str) -> dream.Object:
    bucket: dream.Bucket = request.state.bucket
    try:
        return bucket.object(key)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


@app.put("/files/{key:path}", status_code=201)
async def store_body(obj: Annotated[dream.Object, Depends(named_object)], request: Request) -> dict[str, object]:
    """Store the request's body as it arrives, of any length: ``curl -T``."""
    return stored(await obj.put(request.stream(), content_type=request.headers.get("content-type")))


@app.post("/files/{key:path}", status_code=201)
async def store_form(obj: Annotated[dream.Object, Depends(named_object)], file: UploadFile) -> dict[str, object]:
    """Store a file from a browser's form: ``curl -F file=@video.mkv``. The framework first saves it on disk."""
    return stored(await obj.put(file, content_type=file.content_type))


@app.head("/files/{key:path}")
async def describe(obj: Annotated[dream.Object, Depends(named_object)]) -> Response:
    info = await obj.head()
    return Response(headers=headers_of(info) | {"Content-Length": str(info.size)})


async def opened_body(
    obj: Annotated[dream.Object, Depends(named_object)],
    range_: Annotated[str, Header(alias="Range")] = "",
    if_range: Annotated[str, Header()] = "",
    if_none_match: Annotated[str, Header()] = "",
) -> AsyncIterator[dream.Body]:
    """Open the object, and keep it open until the response is sent."""
    byte_range = parsed_range(range_)
    if byte_range and if_range and if_range != f'"{(await obj.head()).etag}"':
        byte_range = None  # RFC 9110, section 13.1.5: the client has another state of the object
    etags: list[str] = re.findall(r'"([!#-~]+)"', if_none_match)
    try:
        async with obj.get(range=byte_range, if_none_match=etags[0] if len(etags) == 1 else None) as body:
            yield body
    except dream.PreconditionFailedError as error:  # the client already has it
        raise HTTPException(304, headers={"ETag": f'"{etags[0]}"'}) from error
    except dream.InvalidRequestError as error:
        if error.status != 416:  # noqa: PLR2004 - the range begins beyond the end
            raise
        size = (await obj.head()).size
        raise HTTPException(416, headers={"Content-Range": f"bytes */{size}"}) from error


@app.get("/files/{key:path}")
async def read(body: Annotated[dream.Body, Depends(opened_body)]) -> Response:
    headers = {"Content-Type": "application/octet-stream", **body.http_headers(), "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(body, 206 if "Content-Range" in headers else 200, headers)


@app.get("/folders/{path:path}")
async def folder(
    request: Request, path: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100, token: str | None = None
) -> dict[str, object]:
    """List one level, a page at a time: pass ``next`` as the token of the next page."""
    bucket: dream.Bucket = request.state.bucket
    try:
        page = await bucket.list_dir(path).page(limit, token)
    except ValueError as error:  # a token that is not of this folder
        raise HTTPException(400, str(error)) from error
    names = [item.prefix if isinstance(item, dream.CommonPrefix) else item.key for item in page.items]
    return {"names": names, "next": page.token}


def headers_of(info: dream.ObjectInfo) -> dict[str, str]:
    found = {
        "ETag": f'"{info.etag}"' if info.etag else None,
        "Last-Modified": format_datetime(info.last_modified, usegmt=True) if info.last_modified else None,
        "Content-Type": info.content_type or "application/octet-stream",
        "Content-Encoding": info.content_encoding,
        "Cache-Control": info.cache_control,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    return {name: value for name, value in found.items() if value}


def stored(info: dream.ObjectInfo) -> dict[str, object]:
    return {"key": info.key, "size": info.size, "etag": info.etag, "verified": info.verified}


def parsed_range(header: str) -> tuple[int, int | None] | None:
    """Return one range of bytes. For several ranges or a bad header a server may send everything (RFC 9110, section 14.2)."""
    match = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", header.replace(" ", ""))
    first, last = match.groups() if match else ("", "")
    if not first:
        return (-int(last), None) if last and int(last) else None
    if not last:
        return int(first), None
    return (int(first), int(last) + 1) if int(first) <= int(last) else None


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
