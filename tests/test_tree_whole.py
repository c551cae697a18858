"""Objects of up to a part come down in one request, and go to the disk in one call to a thread."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from servers.scripted import Content, Received, Reply, ScriptedServer

import aiodreamobjects as dream

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
