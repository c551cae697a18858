"""Who may ask the service in memory for what: keys, signatures, clocks, ACLs, browsers. What it refuses by design."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import HTTPClientError
from servers.served import ServedService, client_of, refused, send, target_of

import aiodreamobjects as dream
from aiodreamobjects._memory.codes import Code
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.s3 import OPERATIONS
from aiodreamobjects.testing import MemoryService

# Who asks


@pytest.mark.parametrize("signature", ["s3v4", "s3"], ids=["v4", "v2"])
def test_keys_that_are_wrong_are_refused(server: ServedService, signature: str) -> None:
    with client_of(server, signature=signature, aws_secret_access_key="wrong") as s3, refused("SignatureDoesNotMatch"):
        s3.list_buckets()
    with client_of(server, signature=signature, aws_access_key_id="nobody") as s3, refused("InvalidAccessKeyId"):
        s3.list_buckets()
    with client_of(server, signature=signature) as s3:
        s3.list_buckets()


def test_the_region_is_a_part_of_the_signature(plain: ServedService) -> None:
    with client_of(plain, region_name="eu-central-1") as s3, refused("AuthorizationHeaderMalformed"):
        s3.list_buckets()


def test_the_older_signature_signs_subresources(plain: ServedService, plain_bucket: str) -> None:
    with client_of(plain, signature="s3") as s3:
        s3.put_object(Bucket=plain_bucket, Key="a b/ü", Body=b"x", Metadata={"a": "b"}, ContentType="text/x")
        assert s3.get_object(Bucket=plain_bucket, Key="a b/ü", ResponseContentType="text/y")["ContentType"] == "text/y"
        assert s3.get_bucket_acl(Bucket=plain_bucket)["Grants"]
        with refused("ObjectLockConfigurationNotFoundError"):
            s3.get_object_lock_configuration(Bucket=plain_bucket)
        url = s3.generate_presigned_url("get_object", {"Bucket": plain_bucket, "Key": "a b/ü"}, ExpiresIn=60)
        assert send(plain, "GET", target_of(url))[2] == b"x"
        assert send(plain, "GET", target_of(url).replace("Signature=", "Signature=0"))[0] == 403


def test_somebody_without_keys_may_what_the_acl_allows(plain: ServedService, plain_s3: Any, plain_bucket: str) -> None:
    plain_s3.put_object(Bucket=plain_bucket, Key="open", Body=b"x", ACL="public-read")
    plain_s3.put_object(Bucket=plain_bucket, Key="closed", Body=b"x")
    with client_of(plain, config=Config(signature_version=botocore.UNSIGNED)) as anyone:
        assert anyone.get_object(Bucket=plain_bucket, Key="open")["Body"].read() == b"x"
        asks: list[Callable[[], Any]] = [
            lambda: anyone.get_object(Bucket=plain_bucket, Key="closed"),
            lambda: anyone.list_objects_v2(Bucket=plain_bucket),
            lambda: anyone.put_object(Bucket=plain_bucket, Key="new"),
            anyone.list_buckets,
        ]
        for asked in asks:
            with refused("AccessDenied"):
                asked()
        plain_s3.put_bucket_acl(Bucket=plain_bucket, ACL="public-read-write")
        assert anyone.list_objects_v2(Bucket=plain_bucket)["KeyCount"] == 2
        anyone.put_object(Bucket=plain_bucket, Key="new")


def test_presigned_urls_and_dates_follow_the_clock() -> None:
    service = MemoryService()
    with ServedService(service) as server, client_of(server) as s3:
        s3.create_bucket(Bucket="photos")
        asked = {"Bucket": "photos", "Key": "a"}
        put = s3.generate_presigned_url("put_object", asked, ExpiresIn=60)
        assert send(server, "PUT", target_of(put), b"x")[0] == 200
        get = target_of(s3.generate_presigned_url("get_object", asked, ExpiresIn=24 * 3600))
        status, headers, body = send(server, "GET", get)
        assert (status, body) == (200, b"x")
        assert send(server, "HEAD", get)[0] == 403
        assert send(server, "PUT", target_of(put), b"y")[0] == 200
        service.clock.advance(timedelta(seconds=61))
        refusal = send(server, "PUT", target_of(put), b"z")
        assert refusal[0] == 403
        assert b"<Code>AccessDenied</Code>" in refusal[2]
        assert b"has expired" in refusal[2]
        assert send(server, "GET", get)[2] == b"y"
        service.clock.advance(timedelta(days=1))
        assert send(server, "GET", get)[0] == 403
        with refused("RequestTimeTooSkewed"):
            s3.list_buckets()
        later = parsedate_to_datetime(send(server, "GET", "/")[1]["date"])
        assert timedelta(days=1) <= later - parsedate_to_datetime(headers["date"]) < timedelta(days=1, minutes=5)


def test_a_clock_of_ones_own_dates_everything() -> None:
    class Fixed:
        time = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)

        def now(self) -> datetime:
            return self.time

        def advance(self, by: timedelta) -> None:
            self.time += by

    service = MemoryService(clock=Fixed())
    with ServedService(service) as server:
        made = server.service._engine.store.create("photos")
        service.clock.advance(timedelta(days=1))
        assert made.created == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        status, headers, _ = send(server, "GET", "/")
        assert (status, headers["date"]) == (403, "Thu, 03 Jan 2030 03:04:05 GMT")


# Browsers


TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"


def test_a_form_stores_what_its_policy_allows(plain: ServedService, plain_s3: Any, plain_bucket: str) -> None:
    form = plain_s3.generate_presigned_post(
        plain_bucket,
        "form/${filename}",
        Fields={
            "acl": "public-read",
            "success_action_status": "201",
            "tagging": TAGS,
            "x-amz-storage-class": "GLACIER",
        },
        Conditions=[
            {"acl": "public-read"},
            {"tagging": TAGS},
            ["eq", "$x-amz-storage-class", "GLACIER"],
            {"success_action_status": "201"},
            ["starts-with", "$Content-Type", "text/"],
            ["content-length-range", 1, 10],
        ],
    )

    def submit(content: bytes, **fields: str) -> tuple[int, bytes]:
        lines = b"".join(
            f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in {**form["fields"], "Content-Type": "text/x", **fields}.items()
        )
        head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\n\r\n'
        body = lines + head + content + b"\r\n--edge--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=edge"}
        status, _, answer = send(plain, "POST", f"/{plain_bucket}", body, headers)
        return status, answer

    content = b"\r\n--edg\r\n\0"
    assert submit(content)[0] == 201
    found = plain_s3.get_object(Bucket=plain_bucket, Key="form/a b.txt")
    assert (found["Body"].read(), found["ContentType"]) == (content, "text/x")
    assert (found["StorageClass"], found["TagCount"]) == ("GLACIER", 1)
    assert len(plain_s3.get_object_acl(Bucket=plain_bucket, Key="form/a b.txt")["Grants"]) == 2
    for fields, code in (
        ({"Content-Type": "image/png"}, "AccessDenied"),
        ({"acl": "private"}, "AccessDenied"),
        ({"x-amz-meta-extra": "1"}, "AccessDenied"),
        ({"key": "elsewhere"}, "AccessDenied"),
        ({"policy": form["fields"]["policy"][:-4]}, "SignatureDoesNotMatch"),
    ):
        assert f"<Code>{code}</Code>".encode() in submit(b"x", **fields)[1], fields
    assert b"<Code>EntityTooLarge</Code>" in submit(bytes(11))[1]
    assert b"<Code>EntityTooSmall</Code>" in submit(b"")[1]
    plain.service.clock.advance(timedelta(hours=2))
    try:
        assert b"Policy expired" in submit(b"x")[1]
    finally:
        plain.service.clock.advance(timedelta(hours=-2))


def test_a_page_of_another_origin_is_answered_as_the_rules_say(
    plain: ServedService, plain_s3: Any, plain_bucket: str
) -> None:
    rule = {
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://*.example"],
        "AllowedHeaders": ["x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
    plain_s3.put_bucket_cors(Bucket=plain_bucket, CORSConfiguration={"CORSRules": [rule]})
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=b"x", ACL="public-read")
    asks = {"Origin": "https://web.example", "Access-Control-Request-Method": "PUT"}
    target = f"/{plain_bucket}/a"
    status, headers, _ = send(plain, "OPTIONS", target, headers={**asks, "Access-Control-Request-Headers": "X-Amz-Acl"})
    assert (status, headers["access-control-allow-origin"]) == (200, "https://web.example")
    assert (headers["access-control-allow-headers"], headers["access-control-max-age"]) == ("X-Amz-Acl", "60")
    for other in (
        {"Origin": "https://elsewhere.org"},
        {"Access-Control-Request-Method": "DELETE"},
        {"Access-Control-Request-Headers": "authorization"},
    ):
        assert send(plain, "OPTIONS", target, headers={**asks, **other})[0] == 403
    for query in ("uploadId=1&partNumber=2", "uploads=", "X-Amz-Signature=of-a-put&X-Amz-Expires=9"):
        assert send(plain, "OPTIONS", f"{target}?{query}", headers=asks)[0] == 200
    status, headers, body = send(plain, "GET", target, headers={"Origin": "https://web.example"})
    assert (status, body, headers["access-control-expose-headers"]) == (200, b"x", "ETag")
    assert "access-control-allow-origin" not in send(plain, "GET", target, headers={"Origin": "https://no.org"})[1]


# What goes wrong, and what it is taken for


def test_faults_strike_other_clients_too(plain: ServedService, plain_s3: Any, plain_bucket: str) -> None:
    service = plain.service
    plain_s3.put_object(Bucket=plain_bucket, Key="a", Body=bytes(1000))
    fault = service.fail("get_object", "SlowDown", key="a")
    with refused("SlowDown"):
        plain_s3.get_object(Bucket=plain_bucket, Key="a")
    assert fault.is_over
    service.break_connection("put_object")
    with pytest.raises(HTTPClientError):
        plain_s3.put_object(Bucket=plain_bucket, Key="b")
    service.lose_reply("put_object")
    with pytest.raises(HTTPClientError):
        plain_s3.put_object(Bucket=plain_bucket, Key="c")
    assert [one["Key"] for one in plain_s3.list_objects_v2(Bucket=plain_bucket)["Contents"]] == ["a", "c"]
    service.cut_body(10, key="a")
    with pytest.raises(Exception, match=r"10 bytes read|Connection broken"):
        plain_s3.get_object(Bucket=plain_bucket, Key="a")["Body"].read()
    service.fail("delete_objects", "AccessDenied", key="a")
    outcome = plain_s3.delete_objects(Bucket=plain_bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "c"}]})
    assert [one["Key"] for one in outcome["Deleted"]] == ["c"]
    assert [(one["Key"], one["Code"]) for one in outcome["Errors"]] == [("a", "AccessDenied")]
    assert ("put_object", plain_bucket, "c") in [(one.verb, one.bucket, one.key) for one in service.requests]


def test_what_a_service_refuses_by_design_is_refused() -> None:
    service = MemoryService(service=dream.US_EAST_5)
    with ServedService(service) as server, client_of(server, region_name="us-east-005") as s3:
        s3.create_bucket(Bucket="photos-2026")
        with refused("NotImplemented"):
            s3.put_object(Bucket="photos-2026", Key="a", IfNoneMatch="*")
        with refused("NotImplemented"):
            s3.put_bucket_tagging(Bucket="photos-2026", Tagging={"TagSet": []})
        with refused("InvalidBucketName"):
            s3.create_bucket(Bucket="short")


def test_a_small_gateway_lacks_much() -> None:
    service = MemoryService()
    few = {"ListBuckets", "CreateBucket", "HeadBucket", "DeleteBucket", "ListObjects", "PutObject", "GetObject"}
    service._engine.store.dialect = Dialect(
        "memory", "not-a-secret", "us-east-1", lacks=frozenset(one.name for one in OPERATIONS) - few
    )
    with ServedService(service) as server, client_of(server) as s3:
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a", Body=b"x")
        assert s3.list_objects(Bucket="photos")["Contents"][0]["Key"] == "a"
        asks: list[Callable[[], Any]] = [
            lambda: s3.list_objects_v2(Bucket="photos"),
            lambda: s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "a"}]}),
            lambda: s3.get_bucket_cors(Bucket="photos"),
            lambda: s3.get_bucket_acl(Bucket="photos"),
        ]
        for asked in asks:
            with refused("NotImplemented"):
                asked()


def test_what_is_no_request_of_s3_is_answered(plain: ServedService) -> None:
    assert send(plain, "PATCH", "/photos/a")[0] == 501
    assert send(plain, "GET", "/photos/%ff")[0] == 400
    parts = urlsplit(plain.served.endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.putrequest("GET", "http://elsewhere/", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_each_code_has_a_status() -> None:
    assert all(300 <= code.value[0] < 600 and re.fullmatch("[A-Za-z0-9]+", code.name) for code in Code)
