"""The routes of the files: streams in both directions, folders page by page."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request

import aiodreamobjects as dream
from aiodreamobjects.asgi import ObjectResponse

router = APIRouter()
POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""What strangers stored is shown, but runs no script."""


def named_object(request: Request, key: str) -> dream.Object:
    bucket: dream.Bucket = request.state.bucket
    try:
        return bucket.object(key)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


@router.api_route("/files/{key:path}", methods=["GET", "HEAD"])
async def read(obj: Annotated[dream.Object, Depends(named_object)], download: bool = False) -> ObjectResponse:  # noqa: FBT001, FBT002 - a query of the URL
    return ObjectResponse(
        obj, disposition="attachment" if download else "inline", headers={"Content-Security-Policy": POLICY}
    )


@router.put("/files/{key:path}", status_code=201)
async def store(obj: Annotated[dream.Object, Depends(named_object)], request: Request) -> dict[str, object]:
    """Store the body as it arrives, of any length."""
    info = await obj.put(request.stream(), content_type=request.headers.get("content-type"))
    return {"key": info.key, "size": info.size, "etag": info.etag, "verified": info.verified}


@router.delete("/files/{key:path}", status_code=204)
async def delete(obj: Annotated[dream.Object, Depends(named_object)]) -> None:
    await obj.delete()


@router.get("/folders/{path:path}")
async def folder(request: Request, path: str, limit: int = 100, token: str | None = None) -> dict[str, object]:
    """List one level. Pass ``next`` as the token of the next page."""
    try:
        found = await request.state.bucket.list_dir(path).page(limit, token)
    except ValueError as error:  # a token of another folder
        raise HTTPException(400, str(error)) from error
    return {"items": [listed(item) for item in found.items], "next": found.token}


def listed(item: dream.ObjectInfo | dream.CommonPrefix) -> dict[str, object]:
    if isinstance(item, dream.CommonPrefix):
        return {"folder": item.prefix}
    return {"key": item.key, "size": item.size, "modified": item.last_modified}
