"""A service for trying things: moto's server in a thread, unless the environment names an endpoint."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

ENDPOINT_VARIABLES = ("DREAMOBJECTS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@contextmanager
def embedded_server_unless_configured() -> Iterator[None]:
    """Start a server and point the environment at it. Do nothing if an endpoint is configured. All data is lost at the end."""
    if any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        yield
        return
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - only the extra "server" brings it

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["DREAMOBJECTS_ENDPOINT_URL"] = f"http://{host}:{port}"
    os.environ.setdefault("DREAMOBJECTS_ACCESS_KEY_ID", "embedded")
    os.environ.setdefault("DREAMOBJECTS_SECRET_ACCESS_KEY", "embedded")
    try:
        yield
    finally:
        server.stop()
