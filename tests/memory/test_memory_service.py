"""The service in memory, served: boto3 is the judge of what it says, over http and over TLS."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from servers.served import ServedService, client_of, refused, send, target_of

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = bytes(range(256)) * (5 << 12)  # 5 MiB, the least that S3 takes for a part with others behind it
ODD_KEYS = ["a dir/ü+~x.txt", "weird&?#=%.txt", "100%25", "a+b c%20d", "/leading", "emoji 🎉 and 漢字", "é" * 512]
KEYS = ["a", "a-b", "a/b", "a/b/c", "a/d", "a0", "é", "漢", "🎉"]


@pytest.fixture
def s3(server: ServedService) -> Iterator[Any]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def bucket(server: ServedService, s3: Any) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


# Buckets


def test_buckets_are_created_listed_and_deleted(s3: Any, bucket: str) -> None:
    listed = {one["Name"]: one["CreationDate"] for one in s3.list_buckets()["Buckets"]}
    assert abs(listed[bucket] - datetime.now(UTC)) < timedelta(minutes=1)
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    with refused("BucketAlreadyOwnedByYou"):
        s3.create_bucket(Bucket=bucket)
    with refused("InvalidBucketName"):
        s3.create_bucket(Bucket="-no-")
    s3.put_object(Bucket=bucket, Key="a")
    with refused("BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)
    with refused("404"):
        s3.head_bucket(Bucket=bucket)
    with refused("NoSuchBucket"):
        s3.list_objects_v2(Bucket=bucket)


# Objects


@pytest.mark.parametrize("key", ODD_KEYS)
def test_every_key_goes_round(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [one["Key"] for one in deleted["Deleted"]] == [key]
    with refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key=key)
    with refused("404"):
        s3.head_object(Bucket=bucket, Key=key)


def test_what_an_object_is_stored_with_comes_back(s3: Any, bucket: str) -> None:
    given = {
        "ContentType": "text/csv",
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.csv"',
        "ContentEncoding": "identity",
        "ContentLanguage": "de",
        "Metadata": {"source": "scale 7"},
        "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "AES256",
    }
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"1;2", Tagging="kind=a%20b", **given)
    assert put["ETag"] == f'"{hashlib.md5(b"1;2").hexdigest()}"'
    for found in (s3.head_object(Bucket=bucket, Key="a"), s3.get_object(Bucket=bucket, Key="a")):
        assert {name: found[name] for name in given} == given
        assert found["ContentLength"] == 3
        assert abs(found["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == [{"Key": "kind", "Value": "a b"}]
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["StorageClass"] == "STANDARD_IA"


def test_ranges_and_conditions_hold(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")["ETag"]

    def get(**asked: Any) -> bytes:
        content: bytes = s3.get_object(Bucket=bucket, Key="a", **asked)["Body"].read()
        return content

    assert (get(Range="bytes=2-4"), get(Range="bytes=7-"), get(Range="bytes=-2")) == (b"234", b"789", b"89")
    with refused("InvalidRange"):
        get(Range="bytes=10-")
    assert get(IfMatch=etag) == b"0123456789"
    with refused("PreconditionFailed"):
        get(IfMatch='"other"')
    with refused("304"):
        get(IfNoneMatch=etag)
    with refused("304"):
        get(IfModifiedSince=datetime.now(UTC) + timedelta(hours=1))
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="b", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="a", Body=b"new", IfMatch=etag)
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", IfMatch=etag)
    with refused("NoSuchKey"):
        s3.put_object(Bucket=bucket, Key="missing", IfMatch=etag)


@pytest.mark.parametrize("given", ["items=0-1", "bytes=a-b", "bytes=-", "bytes=0-1,3-4"])
def test_a_range_that_is_none_of_s3_is_ignored(plain_s3: Any, plain_bucket: str, given: str) -> None:
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=b"0123456789")
    found = plain_s3.get_object(Bucket=plain_bucket, Key="a", Range=given)
    assert (found["ResponseMetadata"]["HTTPStatusCode"], found["Body"].read()) == (200, b"0123456789")


def test_values_that_make_no_sense_are_refused(plain_s3: Any, plain_bucket: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    etag = plain_s3.put_object(Body=b"x", **one)["ETag"]
    for given, code in (
        ({"IfNoneMatch": etag}, "NotImplemented"),  # S3 knows "*" only
        ({"StorageClass": "NONE"}, "InvalidStorageClass"),
        ({"WebsiteRedirectLocation": "elsewhere"}, "InvalidRedirectLocation"),
        ({"ExpectedBucketOwner": "111122223333"}, "AccessDenied"),
    ):
        with refused(code):
            plain_s3.put_object(**one, **given)
    with refused("InvalidArgument"):
        plain_s3.get_object(VersionId="", **one)
    with refused("InvalidArgument"):
        plain_s3.get_object(PartNumber=0, **one)
    assert plain_s3.get_object(**one)["Body"].read() == b"x"


def test_a_deletion_has_conditions(plain_s3: Any, plain_bucket: str) -> None:
    one = {"Bucket": plain_bucket, "Key": "a"}
    etag = plain_s3.put_object(Body=b"x", **one)["ETag"]
    with refused("PreconditionFailed"):
        plain_s3.delete_object(IfMatch='"other"', **one)
    rows = [{"Key": "a", "ETag": '"other"'}, {"Key": "b", "ETag": etag}]
    outcome = plain_s3.delete_objects(Bucket=plain_bucket, Delete={"Objects": rows})
    assert [one["Code"] for one in outcome["Errors"]] == ["PreconditionFailed", "NoSuchKey"]
    plain_s3.delete_object(IfMatch=etag, **one)
    with refused("NoSuchKey"):
        plain_s3.delete_object(IfMatch=etag, **one)


def test_digests_are_compared_and_kept(s3: Any, bucket: str) -> None:
    for algorithm, digest in (("SHA256", hashlib.sha256(b"x")), ("SHA1", hashlib.sha1(b"x"))):
        name, expected = f"Checksum{algorithm}", base64.b64encode(digest.digest()).decode()
        assert s3.put_object(Bucket=bucket, Key="a", Body=b"x", ChecksumAlgorithm=algorithm)[name] == expected
        assert s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")[name] == expected
        with refused("BadDigest"):
            s3.put_object(Bucket=bucket, Key="a", Body=b"y", **{name: expected})
    with refused("BadDigest"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"y", ContentMD5=base64.b64encode(bytes(16)).decode())
    with refused("InvalidDigest"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"y", ContentMD5="no")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_copies_carry_or_replace(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="ü a", Body=b"x", ContentType="text/x", Metadata={"by": "me"}, Tagging="a=1")
    source = {"Bucket": bucket, "Key": "ü a"}
    s3.copy_object(Bucket=bucket, Key="b", CopySource=source)
    found = s3.head_object(Bucket=bucket, Key="b")
    assert (found["ContentType"], found["Metadata"]) == ("text/x", {"by": "me"})
    assert s3.get_object_tagging(Bucket=bucket, Key="b")["TagSet"] == [{"Key": "a", "Value": "1"}]
    replacing = {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE", "Tagging": "b=2"}
    s3.copy_object(Bucket=bucket, Key="b", CopySource=source, Metadata={"by": "you"}, **replacing)
    assert s3.head_object(Bucket=bucket, Key="b")["Metadata"] == {"by": "you"}
    assert s3.get_object_tagging(Bucket=bucket, Key="b")["TagSet"] == [{"Key": "b", "Value": "2"}]
    with refused("InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="ü a", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="ü a", CopySource=source, StorageClass="GLACIER")
    assert s3.head_object(Bucket=bucket, Key="ü a")["StorageClass"] == "GLACIER"
    with refused("PreconditionFailed"):
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source, CopySourceIfMatch='"other"')
    with refused("NoSuchKey"):
        s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "missing"})


def test_a_copy_carries_no_redirect_and_no_encryption(plain_s3: Any, plain_bucket: str) -> None:
    given = {"WebsiteRedirectLocation": "/b", "ServerSideEncryption": "AES256", "StorageClass": "STANDARD_IA"}
    put = plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=b"x", ContentLanguage="de", **given)
    assert put["ServerSideEncryption"] == "AES256"
    assert {name: plain_s3.head_object(Bucket=plain_bucket, Key="a")[name] for name in given} == given
    plain_s3.copy_object(Bucket=plain_bucket, Key="b", CopySource=f"{plain_bucket}/a")
    found = plain_s3.head_object(Bucket=plain_bucket, Key="b")
    assert found["ContentLanguage"] == "de"
    assert not given.keys() & found.keys()
    plain_s3.copy_object(Bucket=plain_bucket, Key="b", CopySource=f"{plain_bucket}/b", WebsiteRedirectLocation="/c")
    assert plain_s3.head_object(Bucket=plain_bucket, Key="b")["WebsiteRedirectLocation"] == "/c"


def test_a_source_that_cannot_be_copied_is_refused(plain_s3: Any, plain_bucket: str) -> None:
    plain_s3.put_bucket_versioning(Bucket=plain_bucket, VersioningConfiguration={"Status": "Enabled"})
    marker = plain_s3.delete_object(Bucket=plain_bucket, Key="a")["VersionId"]
    copy = {"Bucket": plain_bucket, "Key": "b"}
    with refused("NoSuchKey"):
        plain_s3.copy_object(CopySource=f"{plain_bucket}/a", **copy)
    with refused("InvalidRequest"):
        plain_s3.copy_object(CopySource={"Bucket": plain_bucket, "Key": "a", "VersionId": marker}, **copy)
    with refused("InvalidArgument"):
        plain_s3.copy_object(CopySource=plain_bucket, **copy)
    upload = plain_s3.create_multipart_upload(**copy)["UploadId"]
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=b"0123456789")
    for wanted in ("0-3", "bytes=5-50"):
        with refused("InvalidArgument"):
            plain_s3.upload_part_copy(
                UploadId=upload, PartNumber=1, CopySource=f"{plain_bucket}/a", CopySourceRange=wanted, **copy
            )


def test_a_copy_has_a_largest_size() -> None:
    service = dream.Service("small", "https://memory.invalid", multipart=dream.MultipartRules(largest_copy=3))
    with ServedService(MemoryService(service=service)) as server, client_of(server) as s3:
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a", Body=b"1234")
        with refused("InvalidRequest"):
            s3.copy_object(Bucket="photos", Key="b", CopySource={"Bucket": "photos", "Key": "a"})


def test_a_body_may_come_in_chunks(plain: ServedService, plain_s3: Any, plain_bucket: str) -> None:
    url = plain_s3.generate_presigned_url("put_object", {"Bucket": plain_bucket, "Key": "a"})
    chunks = b"5;x=y\r\nHello\r\n7\r\n World!\r\n0\r\nTrailer: 1\r\n\r\n"
    assert send(plain, "PUT", target_of(url), chunks, {"Transfer-Encoding": "chunked"})[0] == 200
    assert plain_s3.get_object(Bucket=plain_bucket, Key="a")["Body"].read() == b"Hello World!"


# Multipart uploads


def test_an_object_is_made_of_parts(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=PART + b"end")
    begun = s3.create_multipart_upload(Bucket=bucket, Key="a", ContentType="text/x", ACL="public-read", Tagging="a=1")
    asked = {"Bucket": bucket, "Key": "a", "UploadId": begun["UploadId"]}
    copied = s3.upload_part_copy(
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange=f"bytes=0-{len(PART) - 1}",
        **asked,
    )
    last = s3.upload_part(PartNumber=2, Body=b"end", **asked)
    parts = [
        {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]},
        {"PartNumber": 2, "ETag": last["ETag"]},
    ]
    listed = s3.list_parts(MaxParts=1, **asked)
    assert (listed["IsTruncated"], listed["NextPartNumberMarker"], listed["Parts"][0]["Size"]) == (True, 1, len(PART))
    assert [one["PartNumber"] for one in s3.list_parts(PartNumberMarker=1, **asked)["Parts"]] == [2]
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"] == begun["UploadId"]
    with refused("InvalidPartOrder"):
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts[::-1]}, **asked)
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **asked)
    digests = hashlib.md5(PART).digest() + hashlib.md5(b"end").digest()
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    found = s3.head_object(Bucket=bucket, Key="a", PartNumber=2)
    assert (found["PartsCount"], found["ContentLength"], found["ContentType"]) == (2, 3, "text/x")
    assert s3.get_object(Bucket=bucket, Key="a", PartNumber=2)["Body"].read() == b"end"
    with refused("416"):
        s3.head_object(Bucket=bucket, Key="a", PartNumber=3)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == PART + b"end"
    assert len(s3.get_object_acl(Bucket=bucket, Key="a")["Grants"]) == 2
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == [{"Key": "a", "Value": "1"}]
    with refused("NoSuchUpload"):
        s3.abort_multipart_upload(**asked)


def test_an_upload_is_aborted(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="a")
    asked = {"Bucket": bucket, "Key": "a", "UploadId": begun["UploadId"]}
    for number in (1, 2):
        s3.upload_part(PartNumber=number, Body=b"small", **asked)
    parts = [{"PartNumber": one["PartNumber"], "ETag": one["ETag"]} for one in s3.list_parts(**asked)["Parts"]]
    with refused("EntityTooSmall"):
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **asked)
    with refused("InvalidPart"):
        s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"no"'}]}, **asked)
    s3.abort_multipart_upload(**asked)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_an_open_upload_keeps_no_bucket(plain_s3: Any, plain_bucket: str) -> None:
    plain_s3.create_multipart_upload(Bucket=plain_bucket, Key="a")
    plain_s3.delete_bucket(Bucket=plain_bucket)
    with refused("NoSuchBucket"):
        plain_s3.list_multipart_uploads(Bucket=plain_bucket)


def test_a_copy_of_an_object_of_parts_has_one_part(plain_s3: Any, plain_bucket: str) -> None:
    asked = {"Bucket": plain_bucket, "Key": "a"}
    asked["UploadId"] = plain_s3.create_multipart_upload(**asked)["UploadId"]
    part = plain_s3.upload_part(PartNumber=1, Body=b"x", **asked)
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    assert plain_s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **asked)["ETag"].endswith('-1"')
    copied = plain_s3.copy_object(Bucket=plain_bucket, Key="b", CopySource=f"{plain_bucket}/a")
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'
    assert "PartsCount" not in plain_s3.head_object(Bucket=plain_bucket, Key="b", PartNumber=1)


def test_a_stream_is_uploaded_and_downloaded_in_parts(s3: Any, bucket: str) -> None:
    content = PART * 3 + b"end"
    s3.upload_fileobj(io.BytesIO(content), bucket, "large")
    found = io.BytesIO()
    s3.download_fileobj(bucket, "large", found)
    assert found.getvalue() == content
    assert "-" in s3.head_object(Bucket=bucket, Key="large")["ETag"]


# Versions


def test_versions_are_kept_hidden_and_deleted(s3: Any, bucket: str) -> None:
    null = s3.put_object(Bucket=bucket, Key="a", Body=b"before")
    assert "VersionId" not in null
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first, second = (s3.put_object(Bucket=bucket, Key="a", Body=body)["VersionId"] for body in (b"1", b"2"))
    assert s3.get_object(Bucket=bucket, Key="a", VersionId=first)["Body"].read() == b"1"
    assert s3.get_object(Bucket=bucket, Key="a", VersionId="null")["Body"].read() == b"before"
    marker = s3.delete_object(Bucket=bucket, Key="a")
    assert marker["DeleteMarker"]
    with refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="a")
    with refused("MethodNotAllowed"):
        s3.get_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    listed = s3.list_object_versions(Bucket=bucket)
    assert [one["VersionId"] for one in listed["Versions"]] == [second, first, "null"]
    assert [(one["VersionId"], one["IsLatest"]) for one in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
    s3.delete_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"2"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket=bucket, Key="a", Body=b"after")
    assert s3.get_object(Bucket=bucket, Key="a", VersionId="null")["Body"].read() == b"after"
    with refused("NoSuchVersion"):
        s3.head_bucket(Bucket=bucket)
        s3.get_object_tagging(Bucket=bucket, Key="a", VersionId="unknown")


def test_lists_of_versions_go_on_behind_a_page(s3: Any, bucket: str) -> None:
    for key in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"before")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        for key in ("a", "b"):
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1}))
    found = [(one["Key"], one["VersionId"]) for page in pages for one in page["Versions"]]
    assert [key for key, _ in found] == ["a", "a", "a", "b", "b", "b"]
    assert len(set(found)) == 6
    assert [version for _, version in found[2::3]] == ["null", "null"]
    # The version behind which the list goes on is gone: nothing of its key is missed.
    s3.delete_object(Bucket=bucket, Key="a", VersionId="null")
    rest = s3.list_object_versions(Bucket=bucket, KeyMarker="a", VersionIdMarker="null")["Versions"]
    assert [one["Key"] for one in rest] == ["a", "a", "b", "b", "b"]


# Lists


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_lists_of_both_kinds_are_in_order_and_go_on(s3: Any, bucket: str, size: int) -> None:
    for key in reversed(KEYS):
        s3.put_object(Bucket=bucket, Key=key)
    for kind in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(kind)
        asked = {"Bucket": bucket, "PaginationConfig": {"PageSize": size}}
        assert [one["Key"] for page in pages.paginate(**asked) for one in page["Contents"]] == KEYS
        found = [
            *(one["Key"] for page in pages.paginate(Delimiter="/", **asked) for one in page.get("Contents", ())),
            *(
                one["Prefix"]
                for page in pages.paginate(Delimiter="/", **asked)
                for one in page.get("CommonPrefixes", ())
            ),
        ]
        assert sorted(found) == ["a", "a-b", "a/", "a0", "é", "漢", "🎉"]
        below = [one["Key"] for page in pages.paginate(Prefix="a/", **asked) for one in page["Contents"]]
        assert below == ["a/b", "a/b/c", "a/d"]
    assert s3.list_objects_v2(Bucket=bucket, StartAfter="a/d")["Contents"][0]["Key"] == "a0"
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    with refused("InvalidArgument"):
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="no token")


# Tags, ACLs and settings


def test_tags_are_kept_within_their_limits(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a")
    tags = [{"Key": "kind", "Value": "a & b"}]
    s3.put_object_tagging(Bucket=bucket, Key="a", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == tags
    assert s3.head_object(Bucket=bucket, Key="a")["TagCount"] == 1
    with refused("BadRequest"):
        many = [{"Key": str(number), "Value": ""} for number in range(11)]
        s3.put_object_tagging(Bucket=bucket, Key="a", Tagging={"TagSet": many})
    with refused("InvalidTag"):
        s3.put_object_tagging(Bucket=bucket, Key="a", Tagging={"TagSet": [*tags, *tags]})
    s3.delete_object_tagging(Bucket=bucket, Key="a")
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == []


def test_acls_are_canned_or_grants(s3: Any, bucket: str) -> None:
    everybody = {"Type": "Group", "URI": dream.ALL_USERS}
    s3.put_object(Bucket=bucket, Key="a", ACL="public-read")
    acl = s3.get_object_acl(Bucket=bucket, Key="a")
    assert {"Grantee": everybody, "Permission": "READ"} in acl["Grants"]
    policy = {"Owner": acl["Owner"], "Grants": [{"Grantee": everybody, "Permission": "READ_ACP"}]}
    for about in ({"Bucket": bucket}, {"Bucket": bucket, "Key": "a"}):
        put, get = (getattr(s3, f"{verb}_{'object' if 'Key' in about else 'bucket'}_acl") for verb in ("put", "get"))
        put(AccessControlPolicy=policy, **about)
        assert get(**about)["Grants"] == policy["Grants"]
        with refused("AccessDenied"):
            put(AccessControlPolicy={**policy, "Owner": {"ID": "somebody"}}, **about)
        put(ACL="private", **about)
        assert len(get(**about)["Grants"]) == 1
    with refused("InvalidArgument"):
        s3.put_object(Bucket=bucket, Key="a", ACL="aws-exec-read")
    grants = f'uri="{dream.ALL_USERS}", id="somebody"'
    s3.put_object(Bucket=bucket, Key="a", GrantRead=grants, GrantFullControl='id="somebody"')
    found = s3.get_object_acl(Bucket=bucket, Key="a")["Grants"]
    assert sorted((one["Permission"], one["Grantee"].get("ID", "all")) for one in found) == [
        ("FULL_CONTROL", "somebody"),
        ("READ", "all"),
        ("READ", "somebody"),
    ]
    for given, code in (
        ({"ACL": "private", "GrantRead": 'id="somebody"'}, "InvalidRequest"),
        ({"GrantRead": "somebody"}, "InvalidArgument"),
        ({"GrantRead": 'emailAddress="a@b.example"'}, "UnresolvableGrantByEmailAddress"),
    ):
        with refused(code):
            s3.put_object(Bucket=bucket, Key="a", **given)


SETTINGS: dict[str, tuple[str, Any, str]] = {
    "cors": (
        "CORSConfiguration",
        {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]},
        "NoSuchCORSConfiguration",
    ),
    "encryption": (
        "ServerSideEncryptionConfiguration",
        {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
        "ServerSideEncryptionConfigurationNotFoundError",
    ),
    "lifecycle_configuration": (
        "LifecycleConfiguration",
        {"Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 1}}]},
        "NoSuchLifecycleConfiguration",
    ),
    "ownership_controls": (
        "OwnershipControls",
        {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]},
        "OwnershipControlsNotFoundError",
    ),
    "policy": ("Policy", json.dumps({"Version": "2012-10-17", "Statement": []}), "NoSuchBucketPolicy"),
    "tagging": ("Tagging", {"TagSet": [{"Key": "a", "Value": "ü"}]}, "NoSuchTagSet"),
    "website": ("WebsiteConfiguration", {"IndexDocument": {"Suffix": "i.html"}}, "NoSuchWebsiteConfiguration"),
}


def test_settings_with_other_names_come_back_too(plain_s3: Any, plain_bucket: str) -> None:
    block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    with refused("NoSuchPublicAccessBlockConfiguration"):
        plain_s3.get_public_access_block(Bucket=plain_bucket)
    plain_s3.put_public_access_block(Bucket=plain_bucket, PublicAccessBlockConfiguration=block)
    assert plain_s3.get_public_access_block(Bucket=plain_bucket)["PublicAccessBlockConfiguration"] == block
    plain_s3.delete_public_access_block(Bucket=plain_bucket)
    logging = {"LoggingEnabled": {"TargetBucket": plain_bucket, "TargetPrefix": "log/"}}
    plain_s3.put_bucket_logging(Bucket=plain_bucket, BucketLoggingStatus=logging)
    assert plain_s3.get_bucket_logging(Bucket=plain_bucket)["LoggingEnabled"] == logging["LoggingEnabled"]
    topic = {"Id": "a", "TopicArn": "arn:aws:sns:us-east-1:1:a", "Events": ["s3:ObjectCreated:*"]}
    plain_s3.put_bucket_notification_configuration(
        Bucket=plain_bucket, NotificationConfiguration={"TopicConfigurations": [topic]}
    )
    assert plain_s3.get_bucket_notification_configuration(Bucket=plain_bucket)["TopicConfigurations"] == [topic]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_comes_back_as_it_was_set(s3: Any, bucket: str, name: str) -> None:
    parameter, value, absent = SETTINGS[name]
    with refused(absent):
        getattr(s3, f"get_bucket_{name}")(Bucket=bucket)
    getattr(s3, f"put_bucket_{name}")(Bucket=bucket, **{parameter: value})
    found = getattr(s3, f"get_bucket_{name}")(Bucket=bucket)
    expected = value if isinstance(value, dict) and parameter not in found else {parameter: value}
    assert {key: found[key] for key in expected} == expected
    getattr(s3, f"delete_bucket_{name.removesuffix('_configuration')}")(Bucket=bucket)
    with refused(absent):
        getattr(s3, f"get_bucket_{name}")(Bucket=bucket)


def test_documents_that_make_no_sense_are_refused(plain: ServedService, plain_s3: Any, plain_bucket: str) -> None:
    with refused("MalformedXML"):
        plain_s3.put_bucket_lifecycle_configuration(Bucket=plain_bucket, LifecycleConfiguration={"Rules": []})
    with refused("MalformedXML"):
        rules = {"Rules": [{"Status": "On", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
        plain_s3.put_bucket_lifecycle_configuration(Bucket=plain_bucket, LifecycleConfiguration=rules)
    with refused("InvalidRequest"):
        cors = {"CORSRules": [{"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}]}
        plain_s3.put_bucket_cors(Bucket=plain_bucket, CORSConfiguration=cors)
    for policy in ("no json", "{}"):
        with refused("MalformedPolicy"):
            plain_s3.put_bucket_policy(Bucket=plain_bucket, Policy=policy)
    assert "TopicConfigurations" not in plain_s3.get_bucket_notification_configuration(Bucket=plain_bucket)
    with refused("NotImplemented"):
        plain_s3.get_bucket_accelerate_configuration(Bucket=plain_bucket)


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5368709121",
        b"content-length: " + b"9" * 5000,
        b"content-length: -1",
        b"transfer-encoding: chunked\r\n\r\n140000001",
        b"transfer-encoding: chunked\r\n\r\n-1",
    ],
)
def test_a_body_that_is_too_large_ends_its_connection(plain: ServedService, head: bytes) -> None:
    address = urlsplit(plain.served.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(b"PUT /bucket/key HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n")
        assert client.recv(1) == b""
