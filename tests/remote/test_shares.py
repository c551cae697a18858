"""A share of the keys for each machine, and a journal that remembers what is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import put_all

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

KEYS = [f"{number:03}" for number in range(60)]


async def test_the_slices_of_a_call_are_all_of_it(here: dream.Bucket, tmp_path: Path) -> None:
    await put_all(here, [f"a/{key}" for key in KEYS])
    keys = [f"a/{key}" for key in KEYS]
    counts = [(await here.set_acl_many(keys, "private", slice=(i, 3))).done for i in range(3)]
    assert sum(counts) == len(KEYS)
    assert all(counts)
    found = [await here.download_tree(tmp_path / f"{i}", "a", slice=(i, 3)) for i in range(3)]
    names = [sorted(path.name for path in (tmp_path / f"{i}").iterdir()) for i in range(3)]
    assert sorted(name for some in names for name in some) == KEYS
    assert [report.copied for report in found] == [len(some) for some in names]
    checks = [await here.check_tree(tmp_path / f"{i}", "a", slice=(i, 3)) for i in range(3)]
    assert [(check.same, check.missing, check.extra) for check in checks] == [(len(some), (), ()) for some in names]
    (tmp_path / "1" / names[1][0]).unlink()
    with ThreadPoolExecutor(1) as pool:
        left = [await here.upload_tree(tmp_path / "1", "a", delete=True, slice=(i, 3), executor=pool) for i in range(2)]
    assert [report.deleted for report in left] == [len(names[0]), 1]


async def test_a_journal_skips_what_is_finished(here: dream.Bucket, tmp_path: Path) -> None:
    journal, keys = tmp_path / "journal", [*KEYS]

    def cut() -> Iterator[str]:
        yield from keys[:35]
        msg = "the list of keys broke"
        raise OSError(msg)

    with pytest.raises(OSError, match="the list of keys broke"):
        await here.delete_many(cut(), journal=journal, batch=10)
    with journal.open("ab") as file:
        file.write(b'["02')  # cut off by a crash
    torn = tmp_path / "torn"
    torn.write_bytes(journal.read_bytes() + b'9", ["999", "999"]\n')  # and something written behind it
    assert (await here.delete_many(keys, journal=torn, batch=10)).done == 30
    cut_head = tmp_path / "head"
    cut_head.write_bytes(journal.read_bytes()[:20])
    assert (await here.delete_many(keys, journal=cut_head, batch=10)).done == 60
    with ThreadPoolExecutor(2) as pool:
        again = await here.delete_many(keys, journal=journal, batch=10, executor=pool)
    assert again.done == 30
    assert (await here.delete_many(keys, journal=journal)).done == 0
    # New keys between finished ones count as finished; behind them they do not.
    assert (await here.delete_many([*keys, "060"], journal=journal)).done == 1


async def test_a_batch_with_failures_is_not_finished(here: dream.Bucket, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    await put_all(here, [key for key in KEYS if key != "015"])
    first = await here.set_acl_many(KEYS, "private", journal=journal, batch=10, on_error="collect")
    assert (first.done, first.failed) == (59, 1)
    await put_all(here, ["015"])
    assert (await here.set_acl_many(KEYS, "private", journal=journal, batch=10)).done == 10


async def test_a_tree_with_a_journal_continues(here: dream.Bucket, tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    for key in KEYS:
        (source / key).write_text(key)
    await here.upload_tree(source, "a", journal=journal, batch=10)
    (source / "999").write_text("new")
    again = await here.upload_tree(source, "a", journal=journal, batch=10)
    assert (again.copied, again.skipped) == (1, len(KEYS))


async def test_a_tree_with_other_options_is_another_call(here: dream.Bucket, tmp_path: Path) -> None:
    """The ranges of a journal cover the names between finished ones, also those that patterns left out."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    for name in ("a.txt", "b.jpg", "c.txt"):
        (source / name).write_text(name)
    call = partial(here.upload_tree, source, "a", journal=journal)
    assert (await call(include=["*.txt"], cache_control="no-cache")).copied == 2
    assert (await call(include=["*.txt"], cache_control="no-cache")).copied == 0
    others: list[dict[str, Any]] = [
        {},
        {"include": ["*"]},
        {"include": ["*.txt"], "cache_control": "no-store"},
        {"include": ["*.txt"], "acl": "private", "cache_control": "no-cache"},
    ]
    for other in others:
        with pytest.raises(ValueError, match="of another call"):
            await call(**other)


async def test_a_journal_of_another_call_and_keys_without_order_are_refused(here: dream.Bucket, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    await here.delete_many(KEYS, journal=journal)
    content = journal.read_bytes()
    with pytest.raises(ValueError, match="of another call"):
        await here.set_acl_many(KEYS, "private", journal=journal)
    with pytest.raises(ValueError, match="of another call"):
        await here.delete_many(KEYS, journal=journal, slice=(0, 2))
    assert journal.read_bytes() == content
    for keys in (["b", "a"], ["a", "a"]):
        with pytest.raises(ValueError, match="needs the keys in order"):
            await here.delete_many(keys, journal=tmp_path / "".join(keys))
    for text in ("a letter\n", "a letter without an end", "two lines\nwithout an end", '{"a": "document"}'):
        (tmp_path / "text").write_text(text)
        with pytest.raises(ValueError, match="something else"):
            await here.delete_many(KEYS, journal=tmp_path / "text")
        assert (tmp_path / "text").read_text() == text


async def test_a_cancelled_call_with_a_journal_says_what_is_not_known(tmp_path: Path) -> None:
    some = asyncio.Event()

    def look(event: dream.Event) -> None:
        if isinstance(event, dream.CallEnded) and event.operation == "put_object_acl":
            some.set()

    memory, slowly = MemoryService(), dream.Limits(requests=1, requests_per_second=5)
    async with memory.session() as others, memory.session(observe=look, limits=slowly) as session:
        await put_all(await others.create_bucket("photos"), KEYS)
        bucket = session.bucket("photos")
        call = asyncio.create_task(bucket.set_acl_many(KEYS, "private", journal=tmp_path / "journal"))
        await some.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await call
        note = "0 keys of s3://photos were given the ACL, 0 failed; of 60 more it is not known"
        assert cancelled.value.__notes__ == [note]
