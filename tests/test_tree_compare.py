"""``compare="etag"`` copies all that is not proved to be the same; ``"etag-or-time"`` asks the time, and says so."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from servers.faulty import FaultyServer
from servers.rules import Make, Meanwhile, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import Reply
from aiodreamobjects._memory.store import Bucket, now

MIB = 1 << 20
CONTENT = b"same" * (3 * MIB // 4)
OTHER = b"othr" * (3 * MIB // 4)
TIME = "1700000000.5"
TIME_NS = 1_700_000_000_500_000_000


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def etag_of_parts(data: bytes, size: int) -> str:
    digests = [hashlib.md5(data[at : at + size], usedforsecurity=False).digest() for at in range(0, len(data), size)]
    return f"{md5(b''.join(digests))}-{len(digests)}"


Proof = Literal["same", "other", "none"]


@dataclass(frozen=True, slots=True)
class Case:
    """The ETag of an object beside a file of ``CONTENT``, and what it proves of the file."""

    etag: str | None
    proof: Proof
    listed: bytes | None = None
    """What a listing has in place of the ETag element."""
    data: bytes = CONTENT


CASES = {
    "its MD5": Case(md5(CONTENT), "same"),
    "another's MD5": Case(md5(OTHER), "other", data=OTHER),
    "one part": Case(etag_of_parts(CONTENT, len(CONTENT)), "same"),
    "one part of another's": Case(etag_of_parts(OTHER, len(OTHER)), "other", data=OTHER),
    "parts of a guessed size": Case(etag_of_parts(CONTENT, 2 * MIB), "same"),
    "parts of a guessed size, of another's": Case(etag_of_parts(OTHER, 2 * MIB), "none", data=OTHER),
    "parts cut elsewhere": Case(etag_of_parts(CONTENT, 7 * MIB // 4), "none"),
    "parts of no size that can be guessed": Case(etag_of_parts(CONTENT, 100_000), "none"),
    "opaque": Case("4f9a-of-nothing", "none"),
    "32 letters": Case("z" * 32, "none"),
    "weak": Case(None, "none", b'<ETag>W/"%s"</ETag>' % md5(CONTENT).encode()),
    "weak, of another's": Case(None, "none", b'<ETag>W/"%s"</ETag>' % md5(OTHER).encode(), OTHER),
    "none": Case(None, "none", b""),
    "empty": Case(None, "none", b"<ETag></ETag>"),
}


def listing_says(etag: bytes) -> Rule:
    def edit(reply: Reply) -> Reply:
        return replace(reply, body=re.sub(rb"<ETag>.*?</ETag>", etag, reply.body))

    return Rule("ListObjectsV2", Make(edit), times=None, may_be_idle=True)


def outcome(report: dream.TreeReport) -> str:
    """The reason for copying, or how it was found to be the same."""
    assert report.skipped + report.copied == 1
    if report.plan:
        assert report.unverified == 0
        return report.plan[0].reason
    return "unverified" if report.unverified else "same"


@pytest.mark.parametrize("is_upload", [True, False])
async def test_files_and_objects(faulty: FaultyServer, tmp_path: Path, *, is_upload: bool) -> None:
    (tmp_path / "name").write_bytes(CONTENT)
    wrong = []
    async with faulty.session() as session:
        bucket = session.bucket("bucket")
        verb = bucket.upload_tree if is_upload else bucket.download_tree
        for name, case in CASES.items():
            faulty.put("bucket", "tree/name", case.data, etag=case.etag, metadata=TIME)
            faulty.will(*([] if case.listed is None else [listing_says(case.listed)]))
            for has_time in (True, False):
                at = TIME_NS + (0 if has_time else 10**9)
                os.utime(tmp_path / "name", ns=(at, at))
                by_time = "unverified" if has_time else "mtime"
                expected = {
                    "etag": "same" if case.proof == "same" else "etag",
                    "etag-or-time": {"same": "same", "other": "etag", "none": by_time}[case.proof],
                    "mtime": "same" if has_time else "mtime",
                }
                for compare in ("etag", "etag-or-time", "mtime"):
                    found = outcome(await verb(tmp_path, "tree", compare=compare, dry_run=True))
                    if found != expected[compare]:
                        wrong.append(f"{name}, {compare}, {has_time=}: {found}, not {expected[compare]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("is_upload", [True, False])
async def test_an_etag_under_kms_leaves_it_to_the_time(
    faulty: FaultyServer, tmp_path: Path, *, is_upload: bool
) -> None:
    """It looks like an MD5, and is none. With "etag" the name is copied on every run, and never called the same."""
    (tmp_path / "name").write_bytes(CONTENT)
    async with faulty.session() as session:
        bucket = session.bucket("bucket")
        verb = bucket.upload_tree if is_upload else bucket.download_tree
        for data in (CONTENT, OTHER):
            faulty.put("bucket", "tree/name", data, etag=md5(b"none of it"), metadata=TIME)
            faulty.will(
                Rule(
                    "HeadObject", Say(headers={"x-amz-server-side-encryption": "aws:kms"}), times=None, may_be_idle=True
                )
            )
            for at, by_time in ((TIME_NS, "unverified"), (TIME_NS + 10**9, "mtime")):
                os.utime(tmp_path / "name", ns=(at, at))
                assert outcome(await verb(tmp_path, "tree", compare="etag", dry_run=True)) == "etag"
                assert outcome(await verb(tmp_path, "tree", compare="etag-or-time", dry_run=True)) == by_time


PAIRS: dict[str, tuple[str, str, Proof]] = {
    "the same MD5": (md5(CONTENT), md5(CONTENT), "same"),
    "other MD5s": (md5(CONTENT), md5(OTHER), "other"),
    "the same parts": (etag_of_parts(CONTENT, MIB), etag_of_parts(CONTENT, MIB), "same"),
    "as many parts of other content": (etag_of_parts(CONTENT, MIB), etag_of_parts(OTHER, MIB), "other"),
    "as many parts, cut elsewhere": (etag_of_parts(CONTENT, 2 * MIB), etag_of_parts(CONTENT, 7 * MIB // 4), "other"),
    "other parts": (etag_of_parts(CONTENT, MIB), etag_of_parts(CONTENT, 2 * MIB), "none"),
    "other parts of other content": (etag_of_parts(CONTENT, MIB), etag_of_parts(OTHER, 2 * MIB), "none"),
    "parts and none": (etag_of_parts(CONTENT, MIB), md5(CONTENT), "none"),
    "one part and none": (etag_of_parts(CONTENT, 3 * MIB), md5(OTHER), "none"),
    "opaque, the same": ("opaque", "opaque", "none"),
    "the MD5 of nothing": (md5(b""), md5(b""), "none"),  # as services give it that have no digest
    "the MD5 of nothing, of other content": (md5(b""), md5(b""), "none"),
    "the MD5 of nothing and an MD5": (md5(b""), md5(CONTENT), "none"),
    "opaque, others": ("opaque", "opaque2", "none"),
    "opaque and an MD5": ("opaque", md5(CONTENT), "none"),
}


async def test_objects_and_objects(faulty: FaultyServer) -> None:
    wrong = []
    async with faulty.session() as session:
        bucket = session.bucket("bucket")
        none = dict.fromkeys(("no ETag", "a weak ETag", "an empty ETag"), ("x", "x", "none"))
        told = {
            "no ETag": b"",
            "a weak ETag": b'<ETag>W/"%s"</ETag>' % md5(CONTENT).encode(),
            "an empty ETag": b"<ETag/>",
        }
        for name, (one, other, proof) in (PAIRS | none).items():
            for is_younger in (True, False):
                faulty.put("bucket", "from/name", CONTENT, etag=one)
                faulty.put("bucket", "to/name", OTHER if "other content" in name else CONTENT, etag=other)
                age(faulty, "from/name" if is_younger else "to/name")
                faulty.will(*([listing_says(told[name])] if name in told else []))
                by_time = "unverified" if is_younger else "mtime"
                expected = {
                    "etag": "same" if proof == "same" else "etag",
                    "etag-or-time": {"same": "same", "other": "etag", "none": by_time}[proof],
                    "mtime": "same" if is_younger else "mtime",
                }
                for compare in ("etag", "etag-or-time", "mtime"):
                    report = await bucket.copy_tree(bucket, "from", "to", compare=compare, dry_run=True)
                    if (found := outcome(report)) != expected[compare]:
                        wrong.append(f"{name}, {compare}, {is_younger=}: {found}, not {expected[compare]}")
    assert not wrong, "\n".join(wrong)


def age(faulty: FaultyServer, key: str) -> None:
    """As if it had been stored a minute ago."""

    def change(bucket: Bucket) -> None:
        bucket.histories[key][-1] = replace(bucket.histories[key][-1], modified=now() - timedelta(minutes=1))

    faulty.change("bucket", Meanwhile(change))


async def test_large_objects_of_other_content_are_copied(faulty: FaultyServer) -> None:
    """Made in parts of the same sizes; the one that is there is younger."""
    limits = dream.Limits(part_size=MIB)
    async with faulty.session(limits=limits) as session:
        bucket = session.bucket("bucket")
        await bucket.object("from/a").put(CONTENT)
        await bucket.object("to/a").put(OTHER)
        assert "-3" in (await bucket.object("to/a").head()).etag  # type: ignore[operator]  # it has one
        for compare in ("etag", "etag-or-time"):
            report = await bucket.copy_tree(bucket, "from", "to", compare=compare)
            assert (report.copied, report.unverified) == (1, 0)
            assert faulty.content("bucket", "to/a") == CONTENT
            await bucket.object("to/a").put(OTHER)
