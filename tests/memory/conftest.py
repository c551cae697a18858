"""The service in memory: by its own sessions, and served to boto3."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from servers.served import ServedService, client_of

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService


@pytest.fixture
def memory() -> MemoryService:
    return MemoryService()


@pytest_asyncio.fixture
async def session(memory: MemoryService) -> AsyncIterator[dream.Session]:
    async with memory.session() as opened:
        yield opened


@pytest_asyncio.fixture
async def bucket(session: dream.Session, memory: MemoryService) -> dream.Bucket:
    made = await session.create_bucket("photos")
    memory.forget_requests()
    return made


@pytest.fixture(scope="module", params=["http", "https"])
def server(request: pytest.FixtureRequest) -> Iterator[ServedService]:
    with ServedService(MemoryService(), tls=request.param == "https") as running:
        yield running


@pytest.fixture(scope="module")
def plain() -> Iterator[ServedService]:
    """For what TLS adds nothing to."""
    with ServedService(MemoryService()) as running:
        yield running


@pytest.fixture
def plain_s3(plain: ServedService) -> Iterator[Any]:
    with client_of(plain) as client:
        yield client


@pytest.fixture
def plain_bucket(plain_s3: Any) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    plain_s3.create_bucket(Bucket=name)
    return name
