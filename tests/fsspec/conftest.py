"""The filesystem on servers with sockets: its calls come from any thread and any process.

The contract tests hold the verbs that it is built on to each service.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Server, new_name

from aiodreamobjects.fsspec import DreamObjectsFileSystem

SERVERS = ("memory_served", "rgw", *(["moto"] if os.environ.get("ON_MOTO") else []))
"""moto takes a third of a second for each test: ``nox -s data`` runs fsspec's own suite on it."""


def options_of(server: Server) -> dict[str, Any]:
    """Return the storage options for a server."""
    return {"endpoint": server.service.endpoint, "access_key": server.access_key, "secret_key": str(server.secret_key)}


@pytest.fixture(scope="session", params=SERVERS)
def place(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def boto(place: Server) -> Iterator[Any]:
    """A client that shares no code with the library."""
    client = place.boto()
    yield client
    client.close()


@pytest.fixture
def fs(place: Server) -> Iterator[DreamObjectsFileSystem]:
    yield DreamObjectsFileSystem(**options_of(place))
    DreamObjectsFileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def common_bucket(boto: Any) -> str:
    name = new_name()
    boto.create_bucket(Bucket=name)
    return name


@pytest.fixture
def root(common_bucket: str) -> str:
    """The path of a directory of the test's own."""
    return f"{common_bucket}/{new_name()}"


@pytest.fixture
def bucket_name(fs: DreamObjectsFileSystem) -> Iterator[str]:
    """The name of a bucket that does not exist yet. It is deleted after the test."""
    name = new_name()
    yield name
    if fs.exists(name):
        fs.rm(name, recursive=True)
