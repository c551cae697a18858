"""``check_tree`` where ETags mislead, objects change, and peers break: what is not known is never called the same."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faulty import FaultyServer, until
from servers.rules import Cut, Meanwhile, Refuse, Rule, Say
from test_tree_compare import md5

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Bucket, Content
from aiodreamobjects._service import Digests

MIB = 1 << 20
DATA = random.Random(3).randbytes(3 * MIB)
OTHER = DATA[:-1] + bytes([DATA[-1] ^ 1])
LIMITS = dream.Limits(part_size=MIB)
READS = {"ListObjectsV2", "HeadObject", "GetObject"}


def encrypted(key: str) -> Rule:
    """As Amazon S3 tells of an object under KMS. Its ETag looks like an MD5 and is none."""
    return Rule("HeadObject", Say(headers={"x-amz-server-side-encryption": "aws:kms"}), key=key, times=None)


@pytest.mark.parametrize("data", [DATA, OTHER], ids=["the same", "other"])
async def test_an_etag_under_kms_decides_nothing(faulty: FaultyServer, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(DATA)
    faulty.put("bucket", "here/a", data, etag=md5(b"nothing of it"))
    faulty.put("bucket", "there/a", DATA)
    unverified = dream.CheckReport(unverified=("a",), done=1)
    decided = dream.CheckReport(1, done=1) if data == DATA else dream.CheckReport(differ=("a",), done=1)
    async with faulty.session(limits=LIMITS) as session:
        bucket = session.bucket("bucket")
        faulty.will(encrypted("here/a"))
        assert await bucket.check_tree(tmp_path, "here") == unverified
        assert await bucket.check_tree(bucket, "here", to_prefix="there") == unverified
        assert await bucket.check_tree(bucket, "there", to_prefix="here") == unverified
        for other in (tmp_path, bucket):
            to_prefix = None if other is tmp_path else "there"
            assert await bucket.check_tree(other, "here", to_prefix=to_prefix, by="content") == decided
    assert {asked.op for asked in faulty.log} <= READS


@pytest.mark.parametrize("digests", ["none", "whole"])
async def test_etags_of_a_service_without_digests_decide_nothing(
    faulty: FaultyServer, tmp_path: Path, digests: Digests
) -> None:
    """The same ETag for other content: nothing that reads it may call them the same."""
    etag = md5(DATA) + ("-3" if digests == "whole" else "")
    for key, data in (("here/a", DATA), ("there/a", OTHER)):
        faulty.put("bucket", key, data, etag=etag)
    (tmp_path / "a").write_bytes(OTHER)
    async with faulty.session(service=replace(faulty.service, digests=digests), limits=LIMITS) as session:
        bucket = session.bucket("bucket")
        assert (await bucket.check_tree(bucket, "here", to_prefix="there")).unverified == ("a",)
        assert (await bucket.check_tree(tmp_path, "here")).unverified == ("a",)
        assert (await bucket.check_tree(bucket, "here", to_prefix="there", by="content")).differ == ("a",)
        assert (await bucket.copy_tree(bucket, "here", "there", compare="etag")).copied == 1
        assert (await bucket.upload_tree(tmp_path, "here", compare="etag")).copied == 1
    assert faulty.content("bucket", "there/a") == DATA


@pytest.mark.parametrize("size", [1000, 3 * MIB])
@pytest.mark.parametrize("side", ["here", "there"])
async def test_an_object_that_changes_meanwhile_is_a_failure(faulty: FaultyServer, side: str, size: int) -> None:
    for prefix in ("here", "there"):
        faulty.put("bucket", f"{prefix}/a", DATA[:size], etag=f"opaque-{prefix}")

    def change(bucket: Bucket) -> None:
        bucket.add(f"{side}/a", Content(OTHER[:size], "changed", {}))

    async with faulty.session(limits=LIMITS) as session:
        bucket = session.bucket("bucket")
        faulty.will(Rule("GetObject", Meanwhile(change), key=f"{side}/a"))
        report = await bucket.check_tree(bucket, "here", to_prefix="there", by="content", on_error="collect")
    assert (report.same, report.differ, report.failed) == (0, (), 1)
    assert isinstance(report.failures[0].error, dream.ObjectChangedError)


@pytest.mark.parametrize("side", ["here", "there"])
async def test_a_connection_that_breaks_is_no_difference(faulty: FaultyServer, side: str) -> None:
    for prefix in ("here", "there"):
        faulty.put("bucket", f"{prefix}/a", DATA, etag=f"opaque-{prefix}")
    async with faulty.session(limits=LIMITS) as session:
        bucket = session.bucket("bucket")
        faulty.will(Rule("GetObject", Cut(100_000, "reset"), key=f"{side}/a", times=2))
        report = await bucket.check_tree(bucket, "here", to_prefix="there", by="content")
    assert report == dream.CheckReport(1, done=1)


async def test_a_refusal_is_a_failure(faulty: FaultyServer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        faulty.put("bucket", f"here/{name}", DATA, etag="opaque")
        (tmp_path / name).write_bytes(DATA)
    async with faulty.session(limits=LIMITS) as session:
        faulty.will(Rule("GetObject", Refuse(403, "AccessDenied"), key="here/a", times=None))
        with pytest.raises(dream.BulkError, match="1 names could not be compared, 1 were") as caught:
            await session.bucket("bucket").check_tree(tmp_path, "here", by="content")
    report = caught.value.report
    assert isinstance(report, dream.CheckReport)
    assert (report.same, report.failures[0].key) == (1, "a")


async def test_a_file_that_changes_while_it_is_compared_is_a_failure(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.put("bucket", "here/a", DATA, etag="opaque")
    path = tmp_path / "a"
    path.write_bytes(DATA)
    async with faulty.session(limits=LIMITS) as session:
        faulty.will(Rule("GetObject", Meanwhile(lambda _: path.write_bytes(DATA + b"more")), key="here/a"))
        report = await session.bucket("bucket").check_tree(tmp_path, "here", by="content", on_error="collect")
    assert (report.same, report.differ) == (0, ())
    assert isinstance(report.failures[0].error, dream.SourceChangedError)


@pytest.mark.parametrize("side", ["here", "there"])
async def test_a_check_ends_when_one_of_its_sessions_closes(faulty: FaultyServer, side: str) -> None:
    for prefix in ("here", "there"):
        faulty.put("bucket", f"{prefix}/a", DATA, etag=f"opaque-{prefix}")
    silence = Rule("GetObject", Cut(None, "silence", is_done=False), key=f"{side}/a", times=None)
    async with faulty.session(limits=LIMITS) as here, faulty.session(limits=LIMITS) as there:
        faulty.will(silence)
        other = there.bucket("bucket")
        task = asyncio.create_task(
            here.bucket("bucket").check_tree(other, "here", to_prefix="there", by="content", on_error="collect")
        )
        await until(lambda: silence.fired)
        await (here if side == "here" else there).aclose()
        with pytest.raises(dream.SessionClosedError) as caught:
            await task
        assert not caught.value.in_doubt
