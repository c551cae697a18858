"""An object as the response of an aiohttp server."""

from __future__ import annotations

from typing import Unpack

from aiohttp import web
from multidict import CIMultiDict

import aiodreamobjects as dream
from aiodreamobjects.asgi.content import Content, ResponseOptions


async def aiohttp_response(
    request: web.Request, obj: dream.Object, **options: Unpack[ResponseOptions]
) -> web.StreamResponse:
    """Answer a request of an aiohttp server with an object. It takes the arguments of ``ObjectResponse`` but ``background``.

    Return what this returns: everything is sent by then. When the client leaves, it returns after the next chunk.
    """
    if not isinstance(request, web.BaseRequest):
        msg = f"request must be the request of an aiohttp server, not {type(request).__name__}"
        raise TypeError(msg)
    content = Content(obj, options)
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
