"""Each request as it leaves, beside what botocore's serialiser makes of the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from servers.scripted import Received, Reply, ScriptedServer, Step, error

import aiodreamobjects as dream
from aiodreamobjects import _checksums

KEY = "a b/ü+%2F?&'=~(1).txt"
MINE = frozenset({"host", "authorization", "date", "x-amz-date", "x-amz-content-sha256", "x-amz-user-agent"})
"""Signatures, which tests/test_signing.py compares."""
OF_THE_LIBRARY = MINE | {
    *("accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request", "connection", "content-length", "expect"),
    *("user-agent", "transfer-encoding"),
}
"""What an HTTP library says for itself."""
LEFT_OUT = OF_THE_LIBRARY | {
    # A digest of the body: ours is an MD5, which every service knows, botocore's a CRC32.
    "content-md5",
    "x-amz-checksum-crc32",
    "x-amz-sdk-checksum-algorithm",
    "content-type",  # botocore gives binary/octet-stream to a body of unknown type, and S3 takes that for none
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, as far as a service looks at it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: object

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Sent:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        kept = {name.lower(): value for name, value in headers.items() if name.lower() not in LEFT_OUT}
        if "x-amz-copy-source" in kept:  # with a leading slash or without it: S3 takes both
            kept["x-amz-copy-source"] = kept["x-amz-copy-source"].removeprefix("/")
        return cls(method, parts.path, query, kept, _plain(body))


def _plain(body: bytes) -> object:
    """A document by its elements, without regard to namespaces, order of writing or quoting."""
    if not body.startswith(b"<"):
        return body
    return _element(ET.fromstring(body))


def _element(element: ET.Element) -> object:
    name = element.tag.rpartition("}")[2]
    kind = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    return name, kind, (element.text or "").strip(), [_element(child) for child in element]


@dataclass(frozen=True, slots=True)
class Row:
    """The same call, by both."""

    ours: Callable[[dream.Session], Awaitable[object]]
    boto: Callable[[Any], object]
    replies: tuple[Step, ...] = (Reply(200, headers={"ETag": '"abc-1"'}),)
    is_it: Callable[[Received], bool] = lambda _: True
    """Which of our requests is compared: the last one of which this holds."""


def document(name: str, content: str = "") -> Reply:
    return Reply(200, f"<{name}>{content}</{name}>".encode(), {"ETag": '"abc-1"', "Content-Type": "application/xml"})


WHOLE = Reply(200, b"x", {"ETag": '"abc-1"'})
PART = Reply(206, b"cd", {"ETag": '"abc-1"', "Content-Range": "bytes 2-3/9"})
OWNER = "<Owner><ID>me</ID></Owner>"
GRANTS = "<AccessControlList><Grant><Grantee><URI>all</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList>"
PAGE = document("ListBucketResult", "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>")
VERSIONS = document("ListVersionsResult", "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>")
UPLOADS = document("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
COPIED = document("CopyObjectResult", '<ETag>"abc-1"</ETag><LastModified>2026-01-01T00:00:00Z</LastModified>')
HEAD = Reply(200, b"x", {"ETag": '"abc-1"', "x-amz-meta-old": "1"})
BEGUN = document("InitiateMultipartUploadResult", "<UploadId>up/load+1</UploadId>")
COMPLETED = document("CompleteMultipartUploadResult", '<ETag>"abc-2"</ETag>')


def is_copy(asked: Received) -> bool:
    return "x-amz-copy-source" in asked.headers


def answer_to_copy(asked: Received) -> Reply:
    if is_copy(asked):
        return COPIED
    return document("Tagging", "<TagSet></TagSet>") if asked.target.endswith("?tagging=") else HEAD


AT = {"Bucket": "bucket", "Key": KEY}
HEADERS: dict[str, Any] = {
    "content_type": "text/plain; charset=utf-8",
    "cache_control": "max-age=60, public",
    "content_disposition": 'attachment; filename="a b.txt"',
    "content_encoding": "gzip",
    "content_language": "de, en",
    "expires": "Thu, 01 Dec 2033 16:00:00 GMT",
    "website_redirect": "/another",
    "storage_class": "STANDARD",
    "acl": "public-read",
    "metadata": {"Color": "blue  green", "n": "1"},
}
BOTO_HEADERS = {
    "ContentType": HEADERS["content_type"],
    "CacheControl": HEADERS["cache_control"],
    "ContentDisposition": HEADERS["content_disposition"],
    "ContentEncoding": HEADERS["content_encoding"],
    "ContentLanguage": HEADERS["content_language"],
    "Expires": HEADERS["expires"],
    "WebsiteRedirectLocation": HEADERS["website_redirect"],
    "StorageClass": HEADERS["storage_class"],
    "ACL": HEADERS["acl"],
    "Metadata": HEADERS["metadata"],
}
ACL = dream.Acl("me", (dream.Grant("READ", uri=dream.ALL_USERS), dream.Grant("FULL_CONTROL", id="me")))
BOTO_ACL = {
    "Owner": {"ID": "me"},
    "Grants": [
        {"Grantee": {"Type": "Group", "URI": dream.ALL_USERS}, "Permission": "READ"},
        {"Grantee": {"Type": "CanonicalUser", "ID": "me"}, "Permission": "FULL_CONTROL"},
    ],
}


def obj(session: dream.Session) -> dream.Object:
    return session.bucket("bucket").object(KEY)


def bucket(session: dream.Session) -> dream.Bucket:
    return session.bucket("bucket")


ROWS: dict[str, Row] = {
    "put": Row(lambda s: obj(s).put(b"content"), lambda c: c.put_object(**AT, Body=b"content")),
    "put nothing": Row(lambda s: obj(s).put(b""), lambda c: c.put_object(**AT, Body=b"")),
    "put with all headers": Row(
        lambda s: obj(s).put(b"content", **HEADERS), lambda c: c.put_object(**AT, Body=b"content", **BOTO_HEADERS)
    ),
    "put with an extra header": Row(
        lambda s: obj(s).put(b"content", headers={"X-Amz-Request-Payer": "requester"}),
        lambda c: c.put_object(**AT, Body=b"content", RequestPayer="requester"),
    ),
    "put if absent": Row(
        lambda s: obj(s).put(b"x", if_absent=True), lambda c: c.put_object(**AT, Body=b"x", IfNoneMatch="*")
    ),
    "put if match": Row(
        lambda s: obj(s).put(b"x", if_match="abc-1"), lambda c: c.put_object(**AT, Body=b"x", IfMatch="abc-1")
    ),
    "read": Row(lambda s: obj(s).read(), lambda c: c.get_object(**AT), (WHOLE,)),
    "read a range": Row(lambda s: obj(s).read((2, 4)), lambda c: c.get_object(**AT, Range="bytes=2-3"), (PART,)),
    "get a version with conditions": Row(
        lambda s: _opened(obj(s).get(if_match="abc-1", if_none_match="d", version_id="v/1+2")),
        lambda c: c.get_object(**AT, IfMatch='"abc-1"', IfNoneMatch='"d"', VersionId="v/1+2"),
        (WHOLE,),
    ),
    "head": Row(lambda s: obj(s).head(), lambda c: c.head_object(**AT), (HEAD,)),
    "delete": Row(lambda s: obj(s).delete(), lambda c: c.delete_object(**AT), (Reply(204),)),
    "delete a version": Row(
        lambda s: obj(s).delete(version_id="v+/1"), lambda c: c.delete_object(**AT, VersionId="v+/1"), (Reply(204),)
    ),
    "delete many": Row(
        lambda s: bucket(s).delete_many([KEY, ("<&>", "v1")]),
        lambda c: c.delete_objects(
            Bucket="bucket", Delete={"Objects": [{"Key": KEY}, {"Key": "<&>", "VersionId": "v1"}]}
        ),
        (
            document(
                "DeleteResult",
                "<Deleted><Key>a b/ü+%2F?&amp;'=~(1).txt</Key></Deleted>"
                "<Deleted><Key>&lt;&amp;&gt;</Key><VersionId>v1</VersionId></Deleted>",
            ),
        ),
    ),
    "copy": Row(
        lambda s: obj(s).copy_to(bucket(s).object("to")),
        lambda c: c.copy_object(
            Bucket="bucket", Key="to", CopySource={"Bucket": "bucket", "Key": KEY}, CopySourceIfMatch='"abc-1"'
        ),
        (answer_to_copy,),
        is_it=is_copy,
    ),
    "copy with other headers": Row(
        lambda s: obj(s).copy_to(bucket(s).object("to"), **HEADERS),
        lambda c: c.copy_object(
            Bucket="bucket",
            Key="to",
            CopySource={"Bucket": "bucket", "Key": KEY},
            CopySourceIfMatch='"abc-1"',
            MetadataDirective="REPLACE",
            **BOTO_HEADERS,
        ),
        (answer_to_copy,),
        is_it=is_copy,
    ),
    "copy with an ACL": Row(
        lambda s: obj(s).copy_to(bucket(s).object("to"), acl="public-read", storage_class="STANDARD_IA"),
        lambda c: c.copy_object(
            Bucket="bucket",
            Key="to",
            CopySource={"Bucket": "bucket", "Key": KEY},
            CopySourceIfMatch='"abc-1"',
            ACL="public-read",
            StorageClass="STANDARD_IA",
        ),
        (answer_to_copy,),
        is_it=is_copy,
    ),
    "acl": Row(
        lambda s: obj(s).acl(), lambda c: c.get_object_acl(**AT), (document("AccessControlPolicy", OWNER + GRANTS),)
    ),
    "set a canned acl": Row(
        lambda s: obj(s).set_acl("public-read"), lambda c: c.put_object_acl(**AT, ACL="public-read"), (Reply(200),)
    ),
    "set grants": Row(
        lambda s: obj(s).set_acl(ACL), lambda c: c.put_object_acl(**AT, AccessControlPolicy=BOTO_ACL), (Reply(200),)
    ),
    "tags": Row(
        lambda s: obj(s).tags(), lambda c: c.get_object_tagging(**AT), (document("Tagging", "<TagSet></TagSet>"),)
    ),
    "set tags": Row(
        lambda s: obj(s).set_tags({"a b": "<&>", "ü": ""}),
        lambda c: c.put_object_tagging(
            **AT, Tagging={"TagSet": [{"Key": "a b", "Value": "<&>"}, {"Key": "ü", "Value": ""}]}
        ),
        (Reply(200),),
    ),
    "remove tags": Row(lambda s: obj(s).set_tags({}), lambda c: c.delete_object_tagging(**AT), (Reply(204),)),
    "list buckets": Row(
        lambda s: s.buckets().collect(),
        lambda c: c.list_buckets(),
        (document("ListAllMyBucketsResult", "<Buckets></Buckets>"),),
    ),
    "create a bucket": Row(
        lambda s: s.create_bucket("bucket", acl="public-read"),
        lambda c: c.create_bucket(Bucket="bucket", ACL="public-read"),
        (error(404, "NoSuchBucket"), Reply(200)),
    ),
    "head a bucket": Row(lambda s: bucket(s).exists(), lambda c: c.head_bucket(Bucket="bucket"), (Reply(200),)),
    "delete a bucket": Row(lambda s: bucket(s).delete(), lambda c: c.delete_bucket(Bucket="bucket"), (Reply(204),)),
    "a bucket's acl": Row(
        lambda s: bucket(s).acl(),
        lambda c: c.get_bucket_acl(Bucket="bucket"),
        (document("AccessControlPolicy", OWNER + GRANTS),),
    ),
    "set a bucket's canned acl": Row(
        lambda s: bucket(s).set_acl("private"),
        lambda c: c.put_bucket_acl(Bucket="bucket", ACL="private"),
        (Reply(200),),
    ),
    "set a bucket's grants": Row(
        lambda s: bucket(s).set_acl(ACL),
        lambda c: c.put_bucket_acl(Bucket="bucket", AccessControlPolicy=BOTO_ACL),
        (Reply(200),),
    ),
    "a bucket's tags": Row(
        lambda s: bucket(s).tags(),
        lambda c: c.get_bucket_tagging(Bucket="bucket"),
        (document("Tagging", "<TagSet></TagSet>"),),
    ),
    "set a bucket's tags": Row(
        lambda s: bucket(s).set_tags({"a": "b"}),
        lambda c: c.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
        (Reply(204),),
    ),
    "remove a bucket's tags": Row(
        lambda s: bucket(s).delete_tags(), lambda c: c.delete_bucket_tagging(Bucket="bucket"), (Reply(204),)
    ),
    "versioning": Row(
        lambda s: bucket(s).versioning(),
        lambda c: c.get_bucket_versioning(Bucket="bucket"),
        (document("VersioningConfiguration"),),
    ),
    "set versioning": Row(
        lambda s: bucket(s).set_versioning("Enabled"),
        lambda c: c.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"}),
        (Reply(200),),
    ),
    "list": Row(
        lambda s: bucket(s).list("a b/+", start_after="a b/+1", limit=7).collect(),
        lambda c: c.list_objects_v2(
            Bucket="bucket", Prefix="a b/+", StartAfter="a b/+1", MaxKeys=7, EncodingType="url"
        ),
        (PAGE,),
    ),
    "list one level": Row(
        lambda s: bucket(s).list_dir("a/").collect(),
        lambda c: c.list_objects_v2(Bucket="bucket", Prefix="a/", Delimiter="/", MaxKeys=1000, EncodingType="url"),
        (PAGE,),
    ),
    "list one level, some of it": Row(
        lambda s: bucket(s).list_dir("a b/+", start_after="a b/+1/x", limit=7).collect(),
        lambda c: c.list_objects_v2(
            Bucket="bucket",
            Prefix="a b/+",
            Delimiter="/",
            StartAfter="a b/+1/\U0010ffff",
            MaxKeys=7,
            EncodingType="url",
        ),
        (PAGE,),
    ),
    "a page of versions": Row(
        lambda s: bucket(s).list_versions("a b/+").page(7),
        lambda c: c.list_object_versions(Bucket="bucket", Prefix="a b/+", MaxKeys=7, EncodingType="url"),
        (VERSIONS,),
    ),
    "a page of uploads": Row(
        lambda s: bucket(s).uploads("a b/+").page(7),
        lambda c: c.list_multipart_uploads(Bucket="bucket", Prefix="a b/+", MaxUploads=7),
        (UPLOADS,),
    ),
    "list versions": Row(
        lambda s: bucket(s).list_versions("a b/+").collect(),
        lambda c: c.list_object_versions(Bucket="bucket", Prefix="a b/+", EncodingType="url"),
        (VERSIONS,),
    ),
    "list uploads": Row(
        lambda s: bucket(s).uploads("a b/+").collect(),
        lambda c: c.list_multipart_uploads(Bucket="bucket", Prefix="a b/+"),
        (UPLOADS,),
    ),
}


async def _opened(opening: Any) -> None:
    async with opening as body:
        await body.read()


def prepared(call: Callable[[Any], object], endpoint: str) -> Sent:
    """What botocore would send; nothing is."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="scripted",
        aws_secret_access_key="not-a-secret",
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
        ),
    )
    seen: list[Sent] = []

    def note(request: Any, **_: object) -> AWSResponse:
        body = request.body or b""
        content = body if isinstance(body, bytes | bytearray) else body.read()
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        seen.append(Sent.of(request.method, request.url.removeprefix(endpoint), headers, bytes(content)))
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda **_: iter([b"<Reply/>"])))

    client.meta.events.register("before-send.s3", note)
    call(client)
    return seen[0]


@pytest.mark.parametrize("name", list(ROWS))
async def test_a_request_is_what_botocore_makes_of_the_same_call(scripted: ScriptedServer, name: str) -> None:
    row = ROWS[name]
    scripted.will(*row.replies)
    async with scripted.session() as session:
        await row.ours(session)
    ours = _sent([received for received in scripted.received if row.is_it(received)][-1])
    expected = await asyncio.to_thread(prepared, row.boto, scripted.endpoint)
    assert ours == expected


def _sent(received: Received) -> Sent:
    return Sent.of(received.method, received.target, received.headers, received.body)


async def test_a_request_for_an_upload_in_parts_is_what_botocore_makes_of_it(scripted: ScriptedServer) -> None:
    rules = dream.MultipartRules(smallest_part=1)
    service = dream.Service("scripted", scripted.endpoint, multipart=rules, addressing="path")
    replies = {
        ("GET", "uploads"): UPLOADS,
        ("POST", "uploads"): BEGUN,
        ("PUT", "partNumber"): Reply(200, headers={"ETag": '"abc-1"'}),
        ("POST", "uploadId"): COMPLETED,
        ("GET", "uploadId"): document("ListPartsResult", "<IsTruncated>false</IsTruncated>"),
    }

    def answer(asked: Received) -> Reply:
        query = dict(parse_qsl(urlsplit(asked.target).query, keep_blank_values=True))
        found = [reply for (method, name), reply in replies.items() if method == asked.method and name in query]
        return found[0] if found else HEAD

    scripted.will(answer)
    upload = {**AT, "UploadId": "up/load+1"}
    async with scripted.session(service=service, endpoint=None, limits=dream.Limits(part_size=4)) as session:
        await obj(session).put(b"abcdefg", metadata={"n": "1"}, content_type="text/plain")
    sent = [_sent(received) for received in scripted.received]

    async def boto(call: Callable[[Any], object]) -> Sent:
        return await asyncio.to_thread(prepared, call, scripted.endpoint)

    begun = await boto(
        lambda c: c.create_multipart_upload(**AT, ContentType="text/plain", Metadata={"n": "1", "part-size": "4"})
    )
    assert begun in sent
    assert await boto(lambda c: c.upload_part(**upload, PartNumber=1, Body=b"abcd")) in sent
    assert await boto(lambda c: c.upload_part(**upload, PartNumber=2, Body=b"efg")) in sent
    parts = [{"ETag": '"abc-1"', "PartNumber": number} for number in (1, 2)]
    assert await boto(lambda c: c.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})) in sent


@pytest.mark.parametrize("checksum", ["sha256", "crc64nvme", "crc32c"])
async def test_a_request_with_a_checksum_is_what_botocore_makes_of_it(
    scripted: ScriptedServer, checksum: dream.Checksum
) -> None:
    """boto3 is given the values: what it computes itself it sends in another way."""
    if checksum != "sha256":
        pytest.importorskip("awscrt.checksums")
    await _checksums.load(checksum)
    name, kind = f"Checksum{checksum.upper()}", _checksums.kind_of(checksum)
    values = [await _checksums.value_of(checksum, content) for content in (b"abcd", b"efg", b"abcdefg", b"x")]

    def answer(asked: Received) -> Reply:
        query = dict(parse_qsl(urlsplit(asked.target).query, keep_blank_values=True))
        if "uploads" in query:
            return BEGUN
        if asked.method == "POST":
            return COMPLETED
        told = f"x-amz-checksum-{checksum}"
        return Reply(200, headers={"ETag": '"abc-1"', told: asked.headers.get(told, "")})

    scripted.will(answer)
    rules = dream.MultipartRules(smallest_part=1)
    service = replace(scripted.service, multipart=rules, keeps_checksums=True)
    async with scripted.session(service=service, limits=dream.Limits(part_size=4)) as session:
        assert (await obj(session).put(b"x", checksum=checksum)).verified == "checksum"
        await obj(session).put(b"abcdefg", checksum=checksum)
    sent = [_sent(received) for received in scripted.received]

    async def boto(call: Callable[[Any], object]) -> Sent:
        return await asyncio.to_thread(prepared, call, scripted.endpoint)

    upload, algorithm = {**AT, "UploadId": "up/load+1"}, checksum.upper()
    assert await boto(lambda c: c.put_object(**AT, Body=b"x", **{name: values[3]})) in sent
    begun = {**AT, "ChecksumAlgorithm": algorithm, "ChecksumType": kind, "Metadata": {"part-size": "4"}}
    assert await boto(lambda c: c.create_multipart_upload(**begun)) in sent
    for number, body in enumerate((b"abcd", b"efg"), start=1):
        given = {**upload, "PartNumber": number, "Body": body, name: values[number - 1]}
        assert await boto(partial(_upload_part, given)) in sent
    parts = [{name: values[number - 1], "ETag": '"abc-1"', "PartNumber": number} for number in (1, 2)]
    whole = {"ChecksumType": kind, name: values[2]} if kind == "FULL_OBJECT" else {}
    ended = {**upload, "MultipartUpload": {"Parts": parts}, **whole}
    assert await boto(lambda c: c.complete_multipart_upload(**ended)) in sent


def _upload_part(given: dict[str, Any], client: Any) -> object:
    return client.upload_part(**given)
