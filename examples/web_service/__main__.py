"""Run ``python -m web_service [PORT]`` in the directory ``examples``. The server is embedded, unless one is configured."""

from __future__ import annotations

import sys

import uvicorn
from embedded_server import embedded_server_unless_configured

from web_service.app import app

with embedded_server_unless_configured():
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
