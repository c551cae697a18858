"""A download and an upload that were cut off, each with the journal that it has left."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from journals import DATA, PART, Download, Upload, cut_off_download, cut_off_upload

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the journals of uploads are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "aiodreamobjects" / "uploads"


@pytest.fixture
def memory() -> MemoryService:
    rules = dream.MultipartRules(smallest_part=1)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest_asyncio.fixture
async def bucket(memory: MemoryService) -> AsyncIterator[dream.Bucket]:
    async with memory.session(limits=dream.Limits(part_size=PART)) as session:
        yield await session.create_bucket("resumed")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Somebody's file, which must stay as it is."""
    path = tmp_path / "home" / "precious"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    return path


@pytest_asyncio.fixture
async def download(memory: MemoryService, bucket: dream.Bucket, place: Path) -> Download:
    await bucket.object("a").put(DATA)
    return await cut_off_download(memory, bucket, place / "file")


@pytest_asyncio.fixture
async def upload(memory: MemoryService, bucket: dream.Bucket, place: Path, uploads: Path) -> Upload:
    path = place / "file"
    path.write_bytes(DATA)
    return Upload(memory, bucket, path, await cut_off_upload(memory, path, uploads))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="aiodreamobjects")
    return caplog
