"""Run ``python -m web_service [PORT]`` in the directory ``examples``, and open http://127.0.0.1:8000 in a browser."""

from __future__ import annotations

import os
import sys

import uvicorn

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
os.environ.setdefault("ORIGINS", f"http://127.0.0.1:{port} http://localhost:{port}")

from web_service.app import app  # noqa: E402 - it reads the environment

uvicorn.run(app, host="127.0.0.1", port=port, timeout_graceful_shutdown=30)
