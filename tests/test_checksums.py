"""Checksums where something is wrong: with the service, with a resumed upload, with this machine."""

from __future__ import annotations

import asyncio
import base64
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.b2 import B2Server
from servers.faulty import FaultyServer
from servers.rules import Make, Refuse, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects import _checksums
from aiodreamobjects._memory import checksums as memory
from aiodreamobjects._memory.calls import Reply

PART = 1000
DATA = random.Random(1).randbytes(3 * PART)
LIMITS = dream.Limits(part_size=PART)
WRONG = base64.b64encode(bytes(32)).decode()
CRCS: tuple[dream.Checksum, ...] = ("crc32c", "crc64nvme")


async def test_a_wrong_checksum_in_a_reply_is_a_mismatch(faulty: FaultyServer) -> None:
    faulty.will(Rule("PutObject", Say(headers={"x-amz-checksum-sha256": WRONG})))
    async with faulty.session() as session:
        with pytest.raises(dream.ChecksumMismatchError, match=f"their sha256 is {WRONG}"):
            await session.object("s3://bucket/a").put(b"x", checksum="sha256")


async def test_a_wrong_checksum_of_a_part_ends_the_upload(faulty: FaultyServer) -> None:
    faulty.will(Rule("UploadPart", Say(headers={"x-amz-checksum-sha256": WRONG}), part=2))
    async with faulty.session(limits=LIMITS) as session:
        with pytest.raises(dream.ChecksumMismatchError, match=f"their sha256 is {WRONG}"):
            await session.object("s3://bucket/a").put(DATA, checksum="sha256")
    assert faulty.content("bucket", "a") is None


async def test_a_wrong_checksum_of_the_whole_is_looked_into(faulty: FaultyServer) -> None:
    """The reply lies: the object has the ETag of the parts."""

    def lie(reply: Reply) -> Reply:
        body, count = re.subn(rb"<ChecksumSHA256>[^<]+", f"<ChecksumSHA256>{WRONG}-3".encode(), reply.body)
        assert count == 1
        return Reply(reply.status, reply.headers, body)

    faulty.will(Rule("CompleteMultipartUpload", Make(lie)))
    async with faulty.session(limits=LIMITS) as session:
        info = await session.object("s3://bucket/a").put(DATA, checksum="sha256")
    assert info.verified == "parts"  # of the checksum nothing is known


async def test_a_service_that_keeps_none_is_told_apart(faulty: FaultyServer) -> None:
    faulty.will(Rule("PutObject", Say(headers={"x-amz-checksum-sha256": None})))
    async with faulty.session() as session:
        obj = session.object("s3://bucket/a")
        assert (await obj.put(b"x", checksum="sha256")).verified == "md5"
        assert (await obj.put(b"x", checksum="sha256")).verified == "checksum"


async def test_a_resumed_upload_keeps_the_parts_whose_checksum_is_right(faulty: FaultyServer, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    faulty.will(Rule("UploadPart", Refuse(403, "AccessDenied"), part=3))
    async with faulty.session(limits=dream.Limits(part_size=PART, parts_per_object=1)) as session:
        obj = session.object("s3://bucket/a")
        with pytest.raises(dream.AccessDeniedError):
            await obj.upload(path, resume=True, checksum="sha256")
        faulty.will()
        faulty.log.clear()
        info = await obj.upload(path, resume=True, checksum="sha256")
        assert info.verified == "checksum"
    assert faulty.ops.count("UploadPart") == 1
    assert faulty.content("bucket", "a") == DATA


async def test_an_upload_with_another_checksum_is_not_resumed(faulty: FaultyServer, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    faulty.will(Rule("UploadPart", Refuse(403, "AccessDenied"), part=3))
    async with faulty.session(limits=dream.Limits(part_size=PART, parts_per_object=1)) as session:
        obj = session.object("s3://bucket/a")
        with pytest.raises(dream.AccessDeniedError):
            await obj.upload(path, resume=True)
        faulty.will()
        assert (await obj.upload(path, resume=True, checksum="sha256")).verified == "checksum"
    assert faulty.content("bucket", "a") == DATA


async def test_a_service_that_turns_out_to_refuse_checksums_says_so(b2_server: B2Server, ca: Path) -> None:
    unsupported: dict[dream.Feature, str] = {
        name: advice for name, advice in dream.US_EAST_5.unsupported.items() if name != "checksums"
    }
    service = replace(dream.US_EAST_5, endpoint=b2_server.endpoint, unsupported=unsupported)
    async with dream.Session(
        access_key=b2_server.access_key, secret_key=b2_server.secret_key, service=service, ca=ca
    ) as session:
        bucket = await session.create_bucket("checksums-refused")
        with pytest.raises(dream.UnsupportedByServiceError):
            await bucket.object("a").put(b"x", checksum="sha256")
        await bucket.delete(force=True)


@pytest.mark.parametrize("algorithm", CRCS)
@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_crcs_of_parts_make_the_crc_of_the_whole(algorithm: dream.Checksum, parts: list[bytes]) -> None:
    """By the library, and by the service in memory, which shares no code with it."""
    pytest.importorskip("awscrt.checksums")

    async def compute() -> tuple[str, str]:
        await _checksums.load(algorithm)
        values = [(await _checksums.value_of(algorithm, memoryview(bytearray(part))), len(part)) for part in parts]
        return _checksums.value_of_parts(algorithm, values), await _checksums.value_of(algorithm, b"".join(parts))

    combined, whole = asyncio.run(compute())
    assert combined == whole == base64.b64encode(memory.ALGORITHMS[algorithm](b"".join(parts))).decode()


NEEDS = """
import asyncio, sys
sys.modules["awscrt"] = None
import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

async def main():
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("a")
        for _ in range(2):
            try:
                await obj.put(b"x", checksum="crc32c")
            except ImportError as error:
                print(error)
        assert not await obj.exists()
        print((await obj.put(b"x", checksum="sha256")).verified)

asyncio.run(main())
"""


async def test_a_missing_library_is_named_with_what_installs_it() -> None:
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", NEEDS], capture_output=True, text=True, timeout=60, check=False
    )
    error = "checksum='crc32c' needs awscrt: pip install 'aiodreamobjects[checksums]'; 'sha256' needs nothing"
    assert (run.stdout.splitlines(), run.stderr) == ([error, error, "checksum"], "")
