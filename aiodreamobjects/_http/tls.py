"""Which certificates TLS trusts."""

from __future__ import annotations

import errno
import os
import ssl
from pathlib import Path


def make_ssl_context(ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """Return a context that verifies peers by a certificate bundle, or else by the system's. Call it off the event loop.

    Raises FileNotFoundError for a missing bundle, and ValueError for one without a certificate.
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
        msg = f"the certificate bundle {str(path)!r} (ca=, AWS_CA_BUNDLE) holds no PEM certificate: {error}"
        raise ValueError(msg) from error
