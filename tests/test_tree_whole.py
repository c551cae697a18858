"""Objects of up to a part come down in one request, and go to the disk in one call to a thread."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from servers.scripted import Content, Received, Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

OLD, NEW = b"old " * 100_000, b"newer " * 100_000
DAMAGED = OLD[:-1] + b"?"


def etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def listing(data: bytes) -> Reply:
    item = f"<Contents><Key>file</Key><Size>{len(data)}</Size><ETag>&quot;{etag(data)}&quot;</ETag>"
    item += "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
    return Reply(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{item}</ListBucketResult>".encode())


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ([Content(OLD, etag(OLD))], OLD),
        ([Content(DAMAGED, etag(OLD)), Content(OLD, etag(OLD))], OLD),
        ([Content(NEW, etag(NEW))] * 2, NEW),
        ([Content(OLD, etag(OLD), cut=300_000), Content(OLD, etag(OLD))], OLD),
        ([Content(OLD, etag(OLD), cut=300_000), Content(NEW, etag(NEW)), Content(NEW, etag(NEW))], NEW),
    ],
    ids=["as listed", "damaged once", "replaced since it was listed", "cut once", "replaced meanwhile"],
)
async def test_a_file_is_one_state_of_the_object(
    scripted: ScriptedServer, tmp_path: Path, sent: list[Content], stored: bytes
) -> None:
    replies = iter(sent)

    def answer(received: Received) -> Reply | Content:
        if "list-type" in received.target:
            return listing(OLD)
        content = next(replies, sent[-1])
        pin = received.headers.get("if-match")
        return Reply(412) if pin and pin != f'"{content.etag}"' else content

    scripted.will(answer)
    async with scripted.session() as session:
        report = await session.bucket("bucket").download_tree(tmp_path, "")
    assert (report.copied, report.failed) == (1, 0)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": stored}


async def test_what_is_always_damaged_makes_no_file(scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.will(lambda received: listing(OLD) if "list-type" in received.target else Content(DAMAGED, etag(OLD)))
    async with scripted.session() as session:
        with pytest.raises(dream.BulkError) as raised:
            await session.bucket("bucket").download_tree(tmp_path, "")
    assert isinstance(raised.value.report.failures[0].error, dream.ChecksumMismatchError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("new", [NEW, OLD * 30, b"", OLD[:-1]], ids=["larger", "of several parts", "empty", "smaller"])
async def test_a_file_goes_up_as_it_is_when_its_turn_comes(tmp_path: Path, new: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(OLD)

    def change(_: str) -> None:
        file.write_bytes(new)

    memory = MemoryService()
    async with memory.session(limits=dream.Limits(part_size=5 << 20)) as session:
        bucket = await session.create_bucket("bucket")
        report = await bucket.upload_tree(tmp_path, "", headers_for=change)
        stored = await bucket.object("file").read()
    assert (report.copied, report.copied_bytes, stored) == (1, len(new), new)


async def test_files_of_many_sizes_keep_within_the_memory_of_the_session(tmp_path: Path) -> None:
    sizes = {f"{number}": 300_000 + 70_001 * number for number in range(20)}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(name.encode() * (size // len(name)))
    memory = MemoryService()
    async with memory.session(limits=dream.Limits(part_size=2 << 20, memory=2 << 20)) as session:
        bucket = await session.create_bucket("bucket")
        assert (await bucket.upload_tree(tmp_path, "")).copied == len(sizes)
        assert (await bucket.download_tree(tmp_path / "back", "")).copied == len(sizes)
    assert {file.name: file.read_bytes() for file in (tmp_path / "back").iterdir()} == {
        name: (tmp_path / name).read_bytes() for name in sizes
    }
