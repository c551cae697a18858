"""An upload resumes where it was cut off. Its journal is believed as far as it is right, and no other upload is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from journals import (
    BRACKETS,
    COUNT,
    DAMAGED,
    DATA,
    FOREIGN,
    HELD,
    NESTED,
    OTHER,
    PART,
    STRANGE,
    WORDS,
    Upload,
    count,
    cut_off_upload,
    forged,
    in_time,
    make_huge,
    told,
)

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService


async def test_an_upload_goes_on_where_it_was_cut_off(memory: MemoryService, upload: Upload) -> None:
    assert upload.journal.stat().st_mode & 0o077 == 0
    assert len(await upload.open_ones()) == 1
    upload.path.with_name("link").symlink_to("file")
    info = await upload.bucket.object("a").upload(upload.path.with_name("link"), resume=True)
    assert (await upload.bucket.object("a").read(), info.verified) == (DATA, "parts")
    assert (count(memory, "create_upload"), upload.sent) == (0, COUNT - HELD)
    assert await upload.open_ones() == []
    assert not upload.journal.exists()


# The file or the options are others


def rewrite(path: Path) -> None:
    path.write_bytes(OTHER)
    os.utime(path, (1, 1))  # the clock of a file system may tick but every few milliseconds


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "longer": lambda path: path.write_bytes(OTHER * 2),
    "shorter": lambda path: path.write_bytes(OTHER[:200]),
    "touched": lambda path: os.utime(path, (1, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changed_between_two_tries_is_sent_anew(
    upload: Upload, log: pytest.LogCaptureFixture, change: str
) -> None:
    CHANGES[change](upload.path)
    await upload.resume()
    assert told(log)
    assert await upload.open_ones() == []


async def test_a_file_that_fits_into_one_request_by_now_leaves_no_old_upload(upload: Upload) -> None:
    upload.path.write_bytes(b"short")
    await upload.resume()
    assert await upload.open_ones() == []


async def test_bytes_that_changed_behind_the_files_time_are_sent_again(upload: Upload) -> None:
    found = upload.path.stat()
    changed = bytearray(DATA)
    changed[PART] ^= 1
    upload.path.write_bytes(changed)
    os.utime(upload.path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    await upload.resume()
    assert upload.sent == COUNT - HELD + 1


async def test_other_headers_begin_anew(upload: Upload, log: pytest.LogCaptureFixture) -> None:
    await upload.resume(content_type="text/x-new")
    assert (await upload.bucket.object("a").head()).content_type == "text/x-new"
    assert told(log)
    assert await upload.open_ones() == []


async def test_other_limits_begin_anew(memory: MemoryService, upload: Upload, log: pytest.LogCaptureFixture) -> None:
    async with memory.session(limits=dream.Limits(part_size=100)) as other:
        assert (await other.object("s3://resumed/a").upload(upload.path, resume=True)).verified == "parts"
    assert await upload.bucket.object("a").read() == DATA
    assert told(log)
    assert await upload.open_ones() == []


# The upload is another one, or gone


async def test_an_upload_that_somebody_aborted_between_two_tries_is_begun_anew(
    upload: Upload, log: pytest.LogCaptureFixture
) -> None:
    await upload.bucket.delete(force=True)
    await upload.bucket.create()
    await upload.resume()
    assert "cannot be resumed, so it starts again" in log.text
    assert await upload.open_ones() == []


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidArgument", "InvalidRequest"])
async def test_an_upload_that_the_service_does_not_know_is_begun_anew(
    memory: MemoryService, upload: Upload, code: str, log: pytest.LogCaptureFixture
) -> None:
    memory.fail("list_parts", code)
    await upload.resume()
    assert len(told(log)) == 1


@pytest.mark.parametrize("upload_id", [*WORDS, "nobody's"], ids=lambda value: f"{value!r:.20}")
async def test_an_upload_id_that_cannot_be_one_is_asked_of_nobody(
    memory: MemoryService, upload: Upload, upload_id: object, log: pytest.LogCaptureFixture
) -> None:
    left_open = await upload.open_ones()
    upload.journal.write_bytes(forged(upload.journal.read_bytes(), upload_id=upload_id))
    await upload.resume()
    asked = 1 if upload_id == "nobody's" else 0
    assert (count(memory, "list_parts"), count(memory, "abort_upload")) == (asked, 0)
    assert len(told(log)) == 1
    assert await upload.open_ones() == left_open


async def test_an_upload_of_another_object_is_neither_used_nor_aborted(
    memory: MemoryService, upload: Upload, uploads: Path
) -> None:
    strange = await cut_off_upload(memory, upload.path, uploads, "b")
    good, strange_id = upload.journal.read_bytes(), json.loads(strange.read_bytes())["upload_id"]
    for named in (strange.read_bytes(), forged(good, upload_id=strange_id), forged(good, upload_id=strange_id, size=1)):
        upload.journal.write_bytes(named)
        await upload.resume()
        assert {found.upload_id async for found in upload.bucket.uploads("b")} == {strange_id}
    memory.forget_requests()
    await upload.bucket.object("b").upload(upload.path, resume=True)
    assert await upload.bucket.object("b").read() == DATA
    assert upload.sent == COUNT - HELD


async def test_parts_of_another_file_are_replaced(memory: MemoryService, upload: Upload, uploads: Path) -> None:
    """The upload is of this object, and what it holds is not what is to be sent."""
    strange = upload.path.with_name("strange")
    strange.write_bytes(OTHER)
    strange_id = json.loads((await cut_off_upload(memory, strange, uploads)).read_bytes())["upload_id"]
    upload.journal.write_bytes(forged(upload.journal.read_bytes(), upload_id=strange_id))
    assert (await upload.resume()).verified == "parts"
    assert upload.sent == COUNT
    await upload.bucket.object("a").upload(strange, resume=True)  # its upload is complete, and so it is gone
    assert await upload.bucket.object("a").read() == OTHER


# Damaged journals


@pytest.mark.parametrize("damage", DAMAGED)
async def test_an_upload_is_exact_whatever_its_journal_says_and_the_open_one_is_not_touched(
    memory: MemoryService, upload: Upload, damage: str, log: pytest.LogCaptureFixture
) -> None:
    good, left_open = upload.journal.read_bytes(), await upload.open_ones()
    for damaged in DAMAGED[damage](good):
        log.clear()
        await upload.bucket.object("a").delete()
        upload.journal.write_bytes(damaged)
        assert (await upload.resume()).verified == "parts"
        assert told(log)
        assert list(upload.journal.parent.iterdir()) == []
        assert await upload.open_ones() == left_open
    upload.journal.write_bytes(good)
    await upload.resume()
    assert (count(memory, "create_upload"), upload.sent) == (0, COUNT - HELD)
    assert await upload.open_ones() == []


@pytest.mark.parametrize(
    "planted",
    [
        *(lambda line: forged(line, key="b"), lambda line: forged(line, bucket="another")),
        *(lambda line: forged(line, part_size=0), lambda line: forged(line, size=1)),
        *(lambda _: NESTED, lambda _: BRACKETS),
    ],
    ids=["another key", "another bucket", "no part size", "another size", "nested", "brackets"],
)
async def test_an_upload_does_not_believe_a_planted_journal(
    upload: Upload, planted: Callable[[bytes], bytes], log: pytest.LogCaptureFixture
) -> None:
    upload.journal.write_bytes(planted(upload.journal.read_bytes()))
    await upload.resume()
    assert len(told(log)) == 1


@pytest.mark.parametrize("lines", [0, 1_000_000], ids=["a tebibyte, all of it a hole", "a million lines"])
async def test_an_uploads_journal_that_is_larger_than_one_can_be_is_none(
    upload: Upload, lines: int, log: pytest.LogCaptureFixture
) -> None:
    make_huge(upload.journal, lines)
    await upload.resume()
    assert len(told(log)) == 1


# Where there is no regular file, or not one's own


@pytest.mark.parametrize("strange", STRANGE)
async def test_an_upload_writes_through_no_link_and_leaves_nothing_open(
    upload: Upload, precious: Path, strange: str
) -> None:
    left_open = await upload.open_ones()
    expected = upload.journal.read_bytes()[:-1]
    precious.write_bytes(expected)
    upload.journal.unlink()
    STRANGE[strange](upload.journal, precious)
    obj = upload.bucket.object("a")
    failure = await in_time(obj.upload(upload.path, resume=True), upload.journal)
    assert failure is None or isinstance(failure, OSError), failure
    if failure is None:
        assert await obj.read() == DATA
        assert not os.path.lexists(upload.journal)
    assert await upload.open_ones() == left_open
    assert [found.name for found in precious.parent.iterdir()] == ["precious"]
    assert precious.read_bytes() == expected
    assert set(upload.journal.parent.iterdir()) <= {upload.journal}


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("what", ["a journal", "text", "nothing"])
async def test_an_uploads_journal_that_is_not_its_own_is_not_believed_and_not_written_to(
    upload: Upload, precious: Path, what: str, foreign: str, log: pytest.LogCaptureFixture
) -> None:
    left_open = await upload.open_ones()
    content = {"a journal": upload.journal.read_bytes(), "text": b"precious", "nothing": b""}[what]
    precious.write_bytes(content)
    upload.journal.unlink()
    FOREIGN[foreign](upload.journal, precious)
    await upload.resume()
    assert precious.read_bytes() == content
    assert len(told(log)) == 1
    assert list(upload.journal.parent.iterdir()) == []
    assert await upload.open_ones() == left_open


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_an_uploads_journal_that_may_not_be_read_is_an_error(upload: Upload) -> None:
    await upload.bucket.object("a").put(OTHER)
    upload.journal.chmod(0)
    with pytest.raises(PermissionError):
        await upload.bucket.object("a").upload(upload.path, resume=True)
    assert await upload.bucket.object("a").read() == OTHER
