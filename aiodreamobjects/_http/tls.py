"""What is trusted over TLS."""

from __future__ import annotations

import errno
import os
import ssl
from pathlib import Path


def make_ssl_context(ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """A context that verifies, from a certificate bundle or the system's. Reads files: call it off the event loop.

    Raises FileNotFoundError for a bundle that is not there, ValueError for one that holds no certificate.
    """
    if ca is None:
        return ssl.create_default_context()
    path = Path(ca)
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such certificate bundle (ca=, AWS_CA_BUNDLE)", str(path))
    try:
        return ssl.create_default_context(
            cafile=None if path.is_dir() else path, capath=path if path.is_dir() else None
        )
    except ssl.SSLError as error:
        msg = f"certificate bundle {str(path)!r} holds no PEM certificate: {error}"
        raise ValueError(msg) from error
