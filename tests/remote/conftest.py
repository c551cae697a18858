"""A bucket that workers reach."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from conftest import Server, new_name

import aiodreamobjects as dream


@pytest_asyncio.fixture
async def here(memory_served: Server) -> AsyncIterator[dream.Bucket]:
    """A bucket of a session with keys, on a service that other processes reach."""
    async with memory_served.session(limits=dream.Limits(requests=8)) as session:
        yield await session.create_bucket(new_name())
