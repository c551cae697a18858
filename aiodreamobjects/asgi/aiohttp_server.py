"""An object as the response of an aiohttp server."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

import aiodreamobjects as dream
from aiodreamobjects.asgi.content import Content, Disposition, Redirect


async def aiohttp_response(
    request: web.Request,
    obj: dream.Object,
    *,
    filename: str | None = None,
    disposition: Disposition | None = None,
    headers: Mapping[str, str] | None = None,
    cache_control: str | None = None,
    version_id: str | None = None,
    redirect: Redirect | None = None,
    strict_range: bool = False,
) -> web.StreamResponse:
    """Answer a request of an aiohttp server with an object, as ``ObjectResponse`` does.

    Return what this returns: everything is sent by then. When the client leaves, it returns after the next chunk.
    """
    content = Content(
        obj,
        filename=filename,
        disposition=disposition,
        headers=headers,
        cache_control=cache_control,
        version_id=version_id,
        redirect=redirect,
        strict_range=strict_range,
    )
    asked = {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers}
    async with content.answer(request.method, asked) as answer:
        told = CIMultiDict((name.decode(), value.decode()) for name, value in answer.raw_headers())
        response = web.StreamResponse(status=int(answer.status), headers=told)
        try:
            await response.prepare(request)
            if answer.chunks is not None:
                async for chunk in answer.chunks:
                    await response.write(chunk)
            await response.write_eof()
        except ConnectionResetError:  # the client left; the library's own errors are no ConnectionResetError
            return response
    return response
