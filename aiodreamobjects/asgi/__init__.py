"""Objects in web services: as responses, as uploads that stream, and from browsers straight to storage.

It imports no framework. ``ObjectResponse`` is a Starlette response if Starlette is installed. ``form_parts`` needs
``aiodreamobjects[web]``.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from aiodreamobjects.asgi.aiohttp_server import aiohttp_response
    from aiodreamobjects.asgi.forms import FormError, FormPart, form_parts
    from aiodreamobjects.asgi.response import ObjectResponse
    from aiodreamobjects.asgi.signer import SignRequest, UploadSigner

__all__ = ["FormError", "FormPart", "ObjectResponse", "SignRequest", "UploadSigner", "aiohttp_response", "form_parts"]

_PLACES = {
    "FormError": "forms",
    "FormPart": "forms",
    "ObjectResponse": "response",
    "SignRequest": "signer",
    "UploadSigner": "signer",
    "aiohttp_response": "aiohttp_server",
    "form_parts": "forms",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first used, so that nobody imports a framework for another one."""
    if name not in _PLACES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = found
    return found
