"""Servers that follow scripts, over TLS or not."""

from __future__ import annotations

from pathlib import Path

import pytest
from http_client import Serve


@pytest.fixture(params=["plain", "tls"])
def serve(request: pytest.FixtureRequest, certificate: tuple[Path, Path], ca: Path) -> Serve:
    return Serve(certificate, ca) if request.param == "tls" else Serve()


@pytest.fixture
def over_tls(certificate: tuple[Path, Path], ca: Path) -> Serve:
    return Serve(certificate, ca)
