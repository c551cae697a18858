"""Checksums where something is wrong: with the service, with a resumed upload, with this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from servers.b2 import B2Server
from servers.faulty import FaultyServer
from servers.rules import Flip, Make, Refuse, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects import _checksums
from aiodreamobjects._memory import checksums as memory
from aiodreamobjects._memory.calls import Reply

PART = 1000
DATA = random.Random(1).randbytes(3 * PART)
LIMITS = dream.Limits(part_size=PART)
WRONG = base64.b64encode(bytes(32)).decode()
CRCS: tuple[dream.Checksum, ...] = ("crc32c", "crc64nvme")


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


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
@fuzzed(0.2)
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


# Copies


@pytest.mark.parametrize("checksum", ["crc64nvme", "sha256"])
async def test_a_copy_in_parts_gets_its_checksum_from_the_service(
    faulty: FaultyServer, checksum: dream.Checksum
) -> None:
    if checksum != "sha256":
        pytest.importorskip("awscrt.checksums")
    service = replace(asking(faulty), multipart=dream.MultipartRules(smallest_part=1, largest_copy=PART))
    async with faulty.session(service=service, limits=LIMITS) as session:
        obj, copy = session.object("s3://bucket/a"), session.object("s3://bucket/copy")
        await obj.put(DATA)
        await obj.copy_to(copy, checksum=checksum)
        assert faulty.ops.count("UploadPartCopy") == 3
        async with copy.get() as body:
            assert await body.read() == DATA
        assert body.info.verified == "checksum"


async def test_a_streamed_copy_has_the_checksum_of_what_was_read(faulty: FaultyServer) -> None:
    async with faulty.session(limits=LIMITS) as session, faulty.session(limits=LIMITS) as other:
        obj, copy = session.object("s3://bucket/a"), other.object("s3://bucket/copy")
        await obj.put(DATA)
        assert (await obj.copy_to(copy, checksum="sha256")).verified == "checksum"
        assert (await obj.move_to(other.object("s3://bucket/moved"))).verified == "parts"
    assert faulty.content("bucket", "copy") == DATA


# What is read


def asking(faulty: FaultyServer) -> dream.Service:
    """A service that is known to keep checksums."""
    return replace(faulty.service, keeps_checksums=True)


async def verified(obj: dream.Object, path: Path, size: int) -> tuple[dream.Verified | None, dream.Verified | None]:
    """What ``get`` and ``download`` say of the whole object."""
    async with obj.get() as body:
        assert len(await body.read()) == size
    info = await obj.download(path)
    assert path.stat().st_size == size
    return body.info.verified, info.verified


@pytest.mark.parametrize("checksum", ["crc32c", "crc64nvme", "sha256", None])
async def test_a_service_that_keeps_checksums_is_asked_for_them(
    faulty: FaultyServer, checksum: dream.Checksum | None, tmp_path: Path
) -> None:
    if checksum != "sha256":
        pytest.importorskip("awscrt.checksums")
    async with faulty.session(service=asking(faulty), limits=dream.Limits(part_size=700)) as session:
        obj = session.object("s3://bucket/a")
        for content in (b"", b"Hello World!", DATA):
            await obj.put(content, checksum=checksum)
            assert await obj.read() == content
            by_etag = "md5" if len(content) < 700 else "parts"
            streamed, downloaded = await verified(obj, tmp_path / "copy", len(content))
            assert streamed == ("checksum" if checksum else by_etag)
            assert downloaded == by_etag  # the first range has the ETag, but no checksum
    assert all("x-amz-checksum-mode" not in asked.headers for asked in faulty.log if "range" in asked.headers)


async def test_where_the_etag_tells_nothing_the_checksum_does(faulty: FaultyServer, tmp_path: Path) -> None:
    """The ETag of what a customer's key encrypts is no digest. A download in ranges asks for the checksum by a HEAD."""
    key = dream.SseCustomer(bytes(range(32)))
    service = replace(asking(faulty), encrypts=True)
    async with faulty.session(service=service, limits=dream.Limits(part_size=700)) as session:
        obj = session.object("s3://bucket/a")
        for checksum, found in (("sha256", "checksum"), (None, "size")):
            info = await obj.put(DATA, checksum=checksum, encryption=key)  # type: ignore[arg-type]  # one of them
            assert checksum is None or info.verified == found
            async with obj.get(encryption=key) as body:
                assert await body.read() == DATA
            assert body.info.verified == found
            faulty.log.clear()
            assert (await obj.download(tmp_path / "copy", encryption=key)).verified == found
            assert faulty.ops.count("HeadObject") == 1
            assert (tmp_path / "copy").read_bytes() == DATA


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("size", [12, 300_000])
async def test_damaged_bytes_are_found_by_the_checksum(
    faulty: FaultyServer, is_asked: bool, size: int, tmp_path: Path
) -> None:
    content = random.Random(2).randbytes(size)
    told = {"ETag": '"tells-nothing"', "x-amz-checksum-sha256": sha256(content)}
    async with faulty.session(service=asking(faulty) if is_asked else faulty.service) as session:
        obj = session.object("s3://bucket/a")
        await obj.put(content, checksum="sha256")
        faulty.will(Rule("GetObject", Flip(5), Say(headers=told)), Rule("GetObject", Say(headers=told), times=None))
        assert await obj.read() == content  # it was read again
        faulty.will(Rule("GetObject", Flip(5), Say(headers=told), times=None))
        with pytest.raises(dream.ChecksumMismatchError, match="the sha256"):
            await obj.read()
        with pytest.raises(dream.ChecksumMismatchError, match="the sha256"):
            async with obj.get() as body:
                await body.read()
        async with obj.get(verify="off") as body:
            assert len(await body.read()) == size


async def test_an_unasked_checksum_does_not_overrule_a_right_etag(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.put("bucket", "a", b"Hello World!")
    faulty.will(Rule("GetObject", Say(headers={"x-amz-checksum-sha256": WRONG}), times=None))
    async with faulty.session() as session:
        obj = session.object("s3://bucket/a")
        assert await obj.read() == b"Hello World!"
        assert await verified(obj, tmp_path / "copy", 12) == ("md5", "md5")


async def test_the_checksum_in_a_reply_to_a_range_may_be_that_of_a_part(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.put("bucket", "a", b"Hello World!")
    in_range = Rule(
        "GetObject", Say(headers={"x-amz-checksum-sha256": WRONG}), when=lambda asked: bool(asked.byte_range)
    )
    faulty.will(in_range)
    async with faulty.session(service=asking(faulty)) as session:
        info = await session.object("s3://bucket/a").download(tmp_path / "copy")
    assert (info.verified, faulty.ops) == ("md5", ["GetObject"])


@pytest.mark.parametrize("value", ["", "-3", "AAAA-0", "?", "AAAA-123456", "AAAA-3"])
async def test_a_checksum_that_cannot_be_one_is_not_compared(faulty: FaultyServer, value: str) -> None:
    faulty.put("bucket", "a", b"Hello World!", etag="tells-nothing")
    faulty.will(Rule("GetObject", Say(headers={"x-amz-checksum-sha256": value}), times=None))
    async with faulty.session(service=asking(faulty)) as session, session.object("s3://bucket/a").get() as body:
        assert await body.read() == b"Hello World!"
    assert body.info.verified == "size"


async def test_a_checksum_of_parts_without_their_number_is_not_compared(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"Hello World!")
    told = {"x-amz-checksum-sha256": WRONG, "x-amz-checksum-type": "COMPOSITE"}
    faulty.will(Rule("GetObject", Say(headers=told), times=None))
    async with faulty.session(service=asking(faulty)) as session:
        assert await session.object("s3://bucket/a").read() == b"Hello World!"


@pytest.mark.parametrize("checksum", CRCS)
async def test_a_service_that_knows_only_checksums_of_parts_stores_all_the_same(
    faulty: FaultyServer, checksum: dream.Checksum
) -> None:
    """As older ones: it is not told the CRC of the whole, and its own answer is of another kind."""
    pytest.importorskip("awscrt.checksums")
    element = f"Checksum{checksum.upper()}".encode()

    def composite(reply: Reply) -> Reply:
        body, count = re.subn(rb"(<%b>)[^<]+" % element, rb"\1AAAA-3", reply.body)
        assert count == 1
        return Reply(reply.status, reply.headers, body)

    faulty.will(Rule("CompleteMultipartUpload", Make(composite)))
    async with faulty.session(limits=LIMITS) as session:
        info = await session.object("s3://bucket/a").put(DATA, checksum=checksum)
    assert (info.verified, faulty.content("bucket", "a")) == ("parts", DATA)
    [completion] = [asked for asked in faulty.log if asked.op == "CompleteMultipartUpload"]
    assert not any("checksum" in name for name in completion.headers)


async def test_what_cannot_be_computed_is_left_to_the_etag(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"Hello World!")
    faulty.will(Rule("GetObject", Say(headers={"x-amz-checksum-xxhash3": "AAAA"}), times=None))
    async with faulty.session(service=asking(faulty)) as session, session.object("s3://bucket/a").get() as body:
        assert await body.read() == b"Hello World!"
    assert body.info.verified == "md5"


async def test_a_service_that_is_not_known_is_not_asked(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"Hello World!")
    async with faulty.session() as session:
        await session.object("s3://bucket/a").read()
    assert not any("checksum" in name for asked in faulty.log for name in asked.headers)
