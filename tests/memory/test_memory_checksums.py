"""Checksums in the service in memory: compared, kept and told."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
from servers.served import refused

from aiodreamobjects._memory.checksums import ALGORITHMS

PART = bytes(range(256)) * (5 << 12)
# The check values of the CRC catalogue, for "123456789"; the others by hashlib.
KNOWN = {
    "crc32": bytes.fromhex("cbf43926"),
    "crc32c": bytes.fromhex("e3069283"),
    "crc64nvme": bytes.fromhex("ae8b14860a799888"),
    "sha1": hashlib.sha1(b"123456789").digest(),
    "sha256": hashlib.sha256(b"123456789").digest(),
}


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def crc32(body: bytes) -> str:
    return encoded(zlib.crc32(body).to_bytes(4, "big"))


@pytest.mark.parametrize("algorithm", KNOWN)
def test_each_algorithm_is_compared_and_kept(plain_s3: Any, plain_bucket: str, algorithm: str) -> None:
    assert set(ALGORITHMS) == set(KNOWN)
    name, value = f"Checksum{algorithm.upper()}", encoded(KNOWN[algorithm])
    one = {"Bucket": plain_bucket, "Key": "a"}
    put = plain_s3.put_object(Body=b"123456789", **one, **{name: value})
    assert (put[name], put["ChecksumType"]) == (value, "FULL_OBJECT")
    found = plain_s3.head_object(ChecksumMode="ENABLED", **one)
    assert (found[name], found["ChecksumType"]) == (value, "FULL_OBJECT")
    assert name not in plain_s3.head_object(**one)
    assert name not in plain_s3.get_object(ChecksumMode="ENABLED", Range="bytes=0-1", **one)
    with refused("BadDigest"):
        plain_s3.put_object(Body=b"12345678", **one, **{name: value})
    assert plain_s3.list_objects_v2(Bucket=plain_bucket)["Contents"][0]["ChecksumAlgorithm"] == [algorithm.upper()]
    plain_s3.copy_object(CopySource=f"{plain_bucket}/a", Bucket=plain_bucket, Key="b")
    assert plain_s3.head_object(Bucket=plain_bucket, Key="b", ChecksumMode="ENABLED")[name] == value


def test_a_crc_counts_every_byte(plain_s3: Any, plain_bucket: str) -> None:
    """An even length has no byte left over; the catalogue's check value has nine."""
    value = encoded(bytes.fromhex("8a9136aa"))  # RFC 3720, appendix B.4: 32 bytes of zero
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=bytes(32), ChecksumCRC32C=value)
    with refused("BadDigest"):
        plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=bytes(31) + b"x", ChecksumCRC32C=value)


def test_a_copy_has_the_checksum_it_is_asked_for(plain_s3: Any, plain_bucket: str) -> None:
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=b"x", ChecksumAlgorithm="SHA1")
    copied = plain_s3.copy_object(
        Bucket=plain_bucket, Key="b", CopySource=f"{plain_bucket}/a", ChecksumAlgorithm="SHA256"
    )
    expected = encoded(hashlib.sha256(b"x").digest())
    assert copied["CopyObjectResult"]["ChecksumSHA256"] == expected
    found = plain_s3.get_object(Bucket=plain_bucket, Key="b", ChecksumMode="ENABLED")
    assert (found["ChecksumSHA256"], "ChecksumSHA1" in found) == (expected, False)


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_an_object_of_parts_has_a_checksum(plain_s3: Any, plain_bucket: str, kind: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    begun = plain_s3.create_multipart_upload(ChecksumAlgorithm="CRC32", ChecksumType=kind, **one)
    assert (begun["ChecksumAlgorithm"], begun["ChecksumType"]) == ("CRC32", kind)
    upload = {**one, "UploadId": begun["UploadId"]}
    parts = [
        {"PartNumber": number, "ETag": put["ETag"], "ChecksumCRC32": put["ChecksumCRC32"]}
        for number, body in enumerate((PART, b"end"), start=1)
        for put in [plain_s3.upload_part(PartNumber=number, Body=body, ChecksumAlgorithm="CRC32", **upload)]
    ]
    assert [part["ChecksumCRC32"] for part in parts] == [crc32(PART), crc32(b"end")]
    listed = plain_s3.list_parts(**upload)
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("CRC32", kind)
    assert [part["ChecksumCRC32"] for part in listed["Parts"]] == [crc32(PART), crc32(b"end")]
    whole = crc32(PART + b"end")
    if kind == "COMPOSITE":
        whole = crc32(b"".join(base64.b64decode(part["ChecksumCRC32"]) for part in parts)) + "-2"
    complete = plain_s3.complete_multipart_upload
    wrong = [parts[0], {**parts[1], "ChecksumCRC32": crc32(b"other")}]
    with refused("InvalidPart"):
        complete(MultipartUpload={"Parts": wrong}, **upload)
    with refused("BadDigest"):
        complete(MultipartUpload={"Parts": parts}, ChecksumCRC32=crc32(b"other"), **upload)
    with refused("InvalidRequest"):
        complete(MultipartUpload={"Parts": parts}, MpuObjectSize=1, **upload)
    other = {"COMPOSITE": "FULL_OBJECT", "FULL_OBJECT": "COMPOSITE"}[kind]
    with refused("InvalidRequest"):
        complete(MultipartUpload={"Parts": parts}, ChecksumType=other, **upload)
    if kind == "COMPOSITE":
        bare = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
        with refused("InvalidRequest"):
            complete(MultipartUpload={"Parts": bare}, **upload)
    done = complete(MultipartUpload={"Parts": parts}, ChecksumCRC32=whole, MpuObjectSize=len(PART) + 3, **upload)
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (whole, kind)
    found = plain_s3.head_object(ChecksumMode="ENABLED", **one)
    assert (found["ChecksumCRC32"], found["ChecksumType"]) == (whole, kind)


def test_a_completion_is_compared_also_if_the_upload_named_no_checksum(plain_s3: Any, plain_bucket: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    upload = {**one, "UploadId": plain_s3.create_multipart_upload(**one)["UploadId"]}
    part = plain_s3.upload_part(PartNumber=1, Body=b"123456789", **upload)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    with refused("BadDigest"):
        plain_s3.complete_multipart_upload(
            MultipartUpload=parts, ChecksumCRC64NVME=encoded(bytes(8)), ChecksumType="FULL_OBJECT", **upload
        )
    value = encoded(KNOWN["crc64nvme"])
    plain_s3.complete_multipart_upload(
        MultipartUpload=parts, ChecksumCRC64NVME=value, ChecksumType="FULL_OBJECT", **upload
    )
    assert plain_s3.head_object(ChecksumMode="ENABLED", **one)["ChecksumCRC64NVME"] == value


def test_a_part_has_the_checksum_of_its_upload(plain_s3: Any, plain_bucket: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    upload = {**one, "UploadId": plain_s3.create_multipart_upload(ChecksumAlgorithm="SHA256", **one)["UploadId"]}
    with refused("InvalidRequest"):
        plain_s3.upload_part(PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA1", **upload)
    plain_s3.put_object(Bucket=plain_bucket, Key="source", Body=b"x")
    copied = plain_s3.upload_part_copy(PartNumber=1, CopySource=f"{plain_bucket}/source", **upload)
    assert copied["CopyPartResult"]["ChecksumSHA256"] == encoded(hashlib.sha256(b"x").digest())


@pytest.mark.parametrize(("algorithm", "kind"), [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("MD4", None)])
def test_checksums_that_do_not_exist_are_refused(
    plain_s3: Any, plain_bucket: str, algorithm: str, kind: str | None
) -> None:
    asked = {"ChecksumAlgorithm": algorithm} | ({"ChecksumType": kind} if kind else {})
    with refused("InvalidRequest"):
        plain_s3.create_multipart_upload(Bucket=plain_bucket, Key="a", **asked)
