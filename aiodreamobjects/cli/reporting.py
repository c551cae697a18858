"""What a bug report needs: ``dreamobjects version --report``."""

from __future__ import annotations

import asyncio
import os
import platform
import ssl
from collections.abc import Iterator
from importlib import metadata
from urllib.parse import urlsplit

from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.config import found_settings

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def lines(app: App) -> Iterator[str]:
    """Yield versions, and where the settings come from. No key, no name of a bucket or user, no path."""
    yield f"Python {platform.python_version()}, {platform.python_implementation()}, {ssl.OPENSSL_VERSION}"
    yield f"system {platform.system()} {platform.release()}, {platform.machine()}"
    loop = asyncio.new_event_loop()
    yield f"event loop {type(loop).__module__}.{type(loop).__qualname__}"
    loop.close()
    for name, version in _packages():
        yield f"{name} {version or 'not installed'}"
    settings = found_settings(app)
    yield f"endpoint {_host(settings['endpoint'])}"
    for name in ("region", "access key", "secret key", "certificates"):
        found = settings[name]
        yield f"{name}: {_place(found[1]) if found else 'not set'}"
    proxies = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.upper())]
    yield f"proxies: {', '.join(proxies) or 'none'}"


def _packages() -> Iterator[tuple[str, str | None]]:
    """Yield what the package asks for, with its extras, and what those pin."""
    asked = metadata.requires("aiodreamobjects") or []
    names = [text.split(";")[0].split("[")[0].split(">")[0].split("=")[0].strip() for text in asked]
    for name in dict.fromkeys([*names, "aiobotocore", "botocore"]):
        if name != "aiodreamobjects":
            try:
                yield name, metadata.version(name)
            except metadata.PackageNotFoundError:
                yield name, None


def _host(found: tuple[str, str] | None) -> str:
    """Return the host alone: the rest of an endpoint may hold a password."""
    url, where = found or ("", "")
    return f"{urlsplit(url).hostname or 'is not a URL'}: {_place(where)}"


def _place(where: str) -> str:
    """Return where a setting comes from; of a file, its kind, as its path has the name of a user."""
    return "a file" if os.sep in where else where
