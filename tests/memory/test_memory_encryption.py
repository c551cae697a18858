"""Objects that are encrypted with a customer's key, in the service in memory. boto3 gives the key's MD5 itself."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from servers.served import ServedService, refused, send

KEY, OTHER = bytes(32), bytes(range(32))
PART = bytes(5 << 20)


def with_key(key: bytes, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def test_an_object_is_read_with_its_key_only(plain_s3: Any, plain_bucket: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    told = base64.b64encode(hashlib.md5(KEY).digest()).decode()
    put = plain_s3.put_object(Body=b"x", **one, **with_key(KEY))
    assert (put["SSECustomerAlgorithm"], put["SSECustomerKeyMD5"]) == ("AES256", told)
    assert put["ETag"] != f'"{hashlib.md5(b"x").hexdigest()}"'
    found = plain_s3.get_object(**one, **with_key(KEY))
    assert (found["Body"].read(), found["SSECustomerKeyMD5"], found["ETag"]) == (b"x", told, put["ETag"])
    assert plain_s3.head_object(**one, **with_key(KEY))["ContentLength"] == 1
    with refused("InvalidRequest"):
        plain_s3.get_object(**one)
    with refused("AccessDenied"):
        plain_s3.get_object(**one, **with_key(OTHER))
    with refused("400"):
        plain_s3.head_object(**one)
    plain_s3.put_object(Bucket=plain_bucket, Key="plain", Body=b"x")
    with refused("InvalidRequest"):
        plain_s3.get_object(Bucket=plain_bucket, Key="plain", **with_key(KEY))


def test_copies_are_read_and_written_with_keys(plain_s3: Any, plain_bucket: str) -> None:
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=b"x", **with_key(KEY))
    copy = {"Bucket": plain_bucket, "CopySource": f"{plain_bucket}/a"}
    with refused("InvalidRequest"):
        plain_s3.copy_object(Key="b", **copy)
    with refused("AccessDenied"):
        plain_s3.copy_object(Key="b", **copy, **with_key(OTHER, "CopySource"))
    plain_s3.copy_object(Key="open", **copy, **with_key(KEY, "CopySource"))
    found = plain_s3.get_object(Bucket=plain_bucket, Key="open")
    assert (found["Body"].read(), found["ETag"]) == (b"x", f'"{hashlib.md5(b"x").hexdigest()}"')
    plain_s3.copy_object(Key="a", **copy, **with_key(KEY, "CopySource"), **with_key(OTHER))
    assert plain_s3.get_object(Bucket=plain_bucket, Key="a", **with_key(OTHER))["Body"].read() == b"x"


def test_each_part_has_the_key_of_its_upload(plain_s3: Any, plain_bucket: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    begun = plain_s3.create_multipart_upload(**one, **with_key(KEY))
    assert begun["SSECustomerAlgorithm"] == "AES256"
    upload = {**one, "UploadId": begun["UploadId"]}
    for keys in ({}, with_key(OTHER)):
        with refused("InvalidRequest"):
            plain_s3.upload_part(PartNumber=1, Body=PART, **upload, **keys)
    first = plain_s3.upload_part(PartNumber=1, Body=PART, **upload, **with_key(KEY))
    assert first["SSECustomerKeyMD5"]
    plain_s3.put_object(Bucket=plain_bucket, Key="source", Body=b"end")
    second = plain_s3.upload_part_copy(PartNumber=2, CopySource=f"{plain_bucket}/source", **upload, **with_key(KEY))
    parts = [
        {"PartNumber": 1, "ETag": first["ETag"]},
        {"PartNumber": 2, "ETag": second["CopyPartResult"]["ETag"]},
    ]
    plain_s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
    with refused("InvalidRequest"):
        plain_s3.get_object(**one)
    assert plain_s3.get_object(**one, **with_key(KEY))["Body"].read() == PART + b"end"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x-amz-server-side-encryption-customer-algorithm": "DES"}, "InvalidEncryptionAlgorithmError"),
        ({"x-amz-server-side-encryption-customer-key": None}, "InvalidArgument"),
        ({"x-amz-server-side-encryption-customer-key": "AAAA"}, "InvalidArgument"),
        ({"x-amz-server-side-encryption-customer-key": "*"}, "InvalidArgument"),
        ({"x-amz-server-side-encryption-customer-key-MD5": "AAAA"}, "InvalidArgument"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    plain: ServedService, plain_s3: Any, plain_bucket: str, change: dict[str, str | None], code: str
) -> None:
    headers: dict[str, str | None] = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(KEY).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": base64.b64encode(hashlib.md5(KEY).digest()).decode(),
    }
    given = {name: value for name, value in (headers | change).items() if value is not None}
    plain_s3.put_bucket_acl(Bucket=plain_bucket, ACL="public-read-write")
    status, _, body = send(plain, "PUT", f"/{plain_bucket}/a", b"x", given)
    assert (status, f"<Code>{code}</Code>".encode() in body) == (400, True)
