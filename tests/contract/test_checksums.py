"""Checksums of writes, on every server. boto3 is told what the service keeps.

After test_object_checksum_*, test_multipart_checksum_* and test_multipart_use_cksum_helper_* of ceph/s3-tests.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest
from conftest import Server
from etags import etag_of

import aiodreamobjects as dream

PART = 5 << 20  # the least that S3 takes for a part with others behind it
SESSION = {"limits": dream.Limits(part_size=PART)}
CONTENT = os.urandom(2 * PART + 7)
ALGORITHMS: tuple[dream.Checksum, ...] = ("crc32c", "crc64nvme", "sha256")


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest, server: Server) -> dream.Checksum:
    found: dream.Checksum = request.param
    if found != "sha256":
        pytest.importorskip("awscrt.checksums")
    if server.is_b2:
        pytest.skip("it refuses checksums: see below")
    if server.is_moto and found != "sha256":
        pytest.skip("it answers with a CRC32 where it lacks a library, and with one of the parts' CRCs")
    return found


def answers(server: Server) -> bool:
    """Whether the reply to a write has the checksum, as S3's has. moto keeps it without a word."""
    return server.is_memory


def digest_of(algorithm: dream.Checksum, content: bytes) -> bytes:
    """What the checksum of the content is, by libraries."""
    if algorithm == "sha256":
        return hashlib.sha256(content).digest()
    from awscrt import checksums  # noqa: PLC0415 - an optional library

    value: int = checksums.crc32c(content) if algorithm == "crc32c" else checksums.crc64nvme(content)
    return value.to_bytes(4 if algorithm == "crc32c" else 8, "big")


def expected(algorithm: dream.Checksum, content: bytes, part_size: int | None = None) -> str:
    if part_size is None or algorithm != "sha256":
        return base64.b64encode(digest_of(algorithm, content)).decode()
    digests = [
        hashlib.sha256(content[start : start + part_size]).digest() for start in range(0, len(content), part_size)
    ]
    return f"{base64.b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(digests)}"


async def keeps(
    server: Server, session: dream.Session, obj: dream.Object, algorithm: dream.Checksum, value: str
) -> None:
    """Ceph RGW 16.2 takes checksums and forgets them. moto keeps another one of empty objects, and of those in parts."""
    client = await session.boto_client()
    told = await client.head_object(Bucket=obj.bucket, Key=obj.key, ChecksumMode="ENABLED")
    found = told.get(f"Checksum{algorithm.upper()}")
    assert found == (None if server.is_rgw else value) or server.is_moto


async def test_an_object_of_one_request_has_its_checksum(
    server: Server, session: dream.Session, bucket: dream.Bucket, algorithm: dream.Checksum
) -> None:
    obj = bucket.object("a dir/ü+~%20&x")
    for content in (b"", b"Hello World!", CONTENT[: PART - 1]):
        info = await obj.put(content, checksum=algorithm)
        assert info.verified == ("checksum" if answers(server) else "md5")
        await keeps(server, session, obj, algorithm, expected(algorithm, content))
        assert await obj.read() == content
    info = await obj.put(b"x", checksum=algorithm, verify="off")
    assert info.verified == ("checksum" if answers(server) else None)


async def test_an_object_in_parts_has_its_checksum(
    server: Server, session: dream.Session, bucket: dream.Bucket, algorithm: dream.Checksum, tmp_path: Path
) -> None:
    obj, path = bucket.object("large"), tmp_path / "source"
    path.write_bytes(CONTENT)

    async def by_writer() -> dream.ObjectInfo:
        async with obj.writer(checksum=algorithm) as file:
            await file.write(CONTENT)
        return file.info

    async def by_handle() -> dream.ObjectInfo:
        upload = await obj.start_upload(checksum=algorithm, metadata={"part-size": str(PART)})
        for number in (3, 1, 2):
            await upload.put_part(number, CONTENT[(number - 1) * PART : number * PART])
        listed = await upload.parts()
        for number, part in enumerate(listed, start=1):
            content = CONTENT[(number - 1) * PART : number * PART]
            assert part.checksum == (expected(algorithm, content) if answers(server) else None)
        return await upload.complete()

    whole = expected(algorithm, CONTENT, PART)
    for info in (
        await obj.put(CONTENT, checksum=algorithm),
        await obj.upload(path, checksum=algorithm),
        await by_writer(),
        await by_handle(),
    ):
        assert (info.size, info.etag) == (len(CONTENT), etag_of(CONTENT, PART))
        assert info.verified == ("checksum" if answers(server) else "parts")
        await keeps(server, session, obj, algorithm, whole)
        assert await obj.read() == CONTENT


async def test_parts_that_others_sent_are_completed_with_their_checksums(
    server: Server, session: dream.Session, bucket: dream.Bucket, algorithm: dream.Checksum
) -> None:
    if server.is_moto:
        pytest.skip("it lists no checksums of parts")
    obj, client = bucket.object("a"), await session.boto_client()
    upload = await obj.start_upload(checksum=algorithm)
    for number, content in ((1, CONTENT[:PART]), (2, b"end")):
        await client.upload_part(
            Bucket=obj.bucket,
            Key=obj.key,
            UploadId=upload.upload_id,
            PartNumber=number,
            Body=content,
            **{f"Checksum{algorithm.upper()}": expected(algorithm, content)},  # type: ignore[arg-type]  # one of them
        )
    await obj.multipart(upload.upload_id, checksum=algorithm).complete()
    whole = expected(algorithm, CONTENT[:PART] + b"end", PART)
    await keeps(server, session, obj, algorithm, whole)


async def test_a_copy_gets_a_checksum(
    server: Server, session: dream.Session, bucket: dream.Bucket, algorithm: dream.Checksum
) -> None:
    source, copy = bucket.object("source"), bucket.object("copy")
    await source.put(b"Hello World!", content_type="text/css")
    await source.copy_to(copy, checksum=algorithm)
    if server.is_memory:  # moto ignores the algorithm
        await keeps(server, session, copy, algorithm, expected(algorithm, b"Hello World!"))
    await source.copy_to(source, checksum=algorithm)
    assert (await source.head()).content_type == "text/css"
    assert await source.read() == await copy.read() == b"Hello World!"


async def test_what_a_service_refuses_is_refused_before_anything_is_sent(server: Server, bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    with pytest.raises(ValueError, match="checksum 'md5' is none of 'crc32c', 'crc64nvme', 'sha256'"):
        await obj.put(b"x", checksum="md5")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ValueError, match="the body is not known here; give headers="):
        obj.presign_put(checksum="sha256")
    if server.is_b2:
        for verb in (obj.put(b"x", checksum="sha256"), obj.start_upload(checksum="sha256")):
            with pytest.raises(
                dream.UnsupportedByServiceError, match="does not support checksum=; leave checksum= out"
            ):
                await verb
        assert not await obj.exists()
