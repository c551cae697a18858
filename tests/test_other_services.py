"""Services whose answers differ from Amazon S3's: the library accepts what other clients accept, and loses nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
import pytest_asyncio
from servers.faulty import FaultyServer
from servers.rules import Action, Cut, Flip, Make, Mishear, Refuse, Rule, Say

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import Reply, md5_hex

PART = 64 << 10
SMALL, LARGE = b"a small object", bytes(range(256)) * 1024
ALWAYS = None


@pytest_asyncio.fixture
async def bucket(faulty: FaultyServer) -> AsyncIterator[dream.Bucket]:
    """Return a bucket of a service that the library does not know."""
    faulty.dialect.refuses = frozenset()
    service = replace(faulty.service, is_known=False)
    limits = dream.Limits(part_size=PART, parts_per_object=4)
    async with faulty.session(service=service, limits=limits) as session:
        yield session.bucket("bucket")


def always(op: str, *actions: Action, may_be_idle: bool = False) -> Rule:
    return Rule(op, *actions, times=ALWAYS, may_be_idle=may_be_idle)


def edited(pattern: str, new: str) -> Make:
    """Replace what the pattern finds in the reply's document."""
    return Make(lambda reply: replace(reply, body=re.sub(pattern.encode(), new.encode(), reply.body, flags=re.DOTALL)))


def with_headers(change: Callable[[dict[str, str]], dict[str, str]], status: int | None = None) -> Make:
    return Make(lambda reply: replace(reply, headers=change(dict(reply.headers)), status=status or reply.status))


def without(*names: str) -> Make:
    return with_headers(lambda headers: {name: value for name, value in headers.items() if name.lower() not in names})


def with_etag(make: Callable[[str], str]) -> Make:
    return with_headers(
        lambda headers: {name: make(value) if name.lower() == "etag" else value for name, value in headers.items()}
    )


# A range with status 200


async def test_the_requested_range_is_accepted_with_a_200(
    faulty: FaultyServer, bucket: dream.Bucket, tmp_path: Path
) -> None:
    faulty.put("bucket", "a", LARGE)
    faulty.will(always("GetObject", with_headers(lambda headers: headers, status=200)))
    assert await bucket.object("a").read(range=(10, 200)) == LARGE[10:200]
    assert await bucket.object("a").read(range=(-7, None)) == LARGE[-7:]
    await bucket.object("a").download(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == LARGE
    async with bucket.object("a").reader() as file:
        await file.seek(200_000)
        assert await file.read(100) == LARGE[200_000:200_100]


async def test_another_range_is_refused_with_a_200_too(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.put("bucket", "a", SMALL)
    moved = with_headers(lambda headers: headers | {"Content-Range": "bytes 3-6/14"}, status=200)
    faulty.will(always("GetObject", moved))
    with pytest.raises(dream.TransferError, match="bytes from 2 were requested"):
        await bucket.object("a").read(range=(2, 6))


# Other root elements


@pytest.mark.parametrize(
    "root", ["InitiateMultipartUpload", "x:Whatever xmlns:x='urn:x'", "CreateMultipartUploadOutput"]
)
async def test_an_upload_id_is_accepted_under_any_root(faulty: FaultyServer, bucket: dream.Bucket, root: str) -> None:
    opening = edited(
        r"<InitiateMultipartUploadResult[^>]*>(.*)</InitiateMultipartUploadResult>",
        rf"<{root}>\1</{root.split(maxsplit=1)[0]}>",
    )
    faulty.will(always("CreateMultipartUpload", opening))
    await bucket.object("a").put(iter([LARGE]))
    assert faulty.content("bucket", "a") == LARGE


@pytest.mark.parametrize(
    ("op", "root", "ask"),
    [
        ("ListObjectsV2", "ListBucketResult", lambda bucket: bucket.list()),
        ("ListObjectsV2", "ListBucketResult", lambda bucket: bucket.list_dir()),
        ("ListObjectVersions", "ListVersionsResult", lambda bucket: bucket.list_versions()),
        ("ListMultipartUploads", "ListMultipartUploadsResult", lambda bucket: bucket.uploads()),
    ],
)
async def test_a_listing_is_accepted_under_another_root(
    faulty: FaultyServer, bucket: dream.Bucket, op: str, root: str, ask: Callable[[dream.Bucket], dream.Listing[object]]
) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.begin_upload("bucket", "a")
    faulty.expected_uploads.append("a")
    faulty.will(always(op, edited(root, "Result")))
    assert len(await ask(bucket).collect()) == 1


@pytest.mark.parametrize(
    ("op", "write"),
    [
        ("CompleteMultipartUpload", lambda bucket: bucket.object("b").put(iter([LARGE]))),
        ("CopyObject", lambda bucket: bucket.object("a").copy_to(bucket.object("b"))),
    ],
)
async def test_a_completion_or_copy_is_refused_under_another_root(
    faulty: FaultyServer, bucket: dream.Bucket, op: str, write: Callable[[dream.Bucket], Awaitable[object]]
) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(always(op, Say(200, {}, b"<Result><ETag>&quot;x&quot;</ETag></Result>", is_done=False)))
    with pytest.raises(dream.ServiceError, match="not S3's XML"):
        await write(bucket)
    assert faulty.content("bucket", "b") is None


# The end of a listing


@pytest.mark.parametrize("op", ["ListObjectsV2", "ListObjectVersions", "ListMultipartUploads"])
@pytest.mark.parametrize(
    ("true", "false"),
    [("True", "False"), (" true\n", "\tfalse "), ("1", "0"), ("TRUE", "")],
    ids=["capital", "blanks", "digits", "absent at the end"],
)
async def test_a_listing_finds_its_end(
    faulty: FaultyServer, bucket: dream.Bucket, op: str, true: str, false: str
) -> None:
    keys = [f"k{number}" for number in range(7)]
    for key in keys:
        faulty.put("bucket", key, SMALL)
        faulty.begin_upload("bucket", key)
        faulty.expected_uploads.append(key)

    def edit(reply: Reply) -> Reply:
        body = reply.body.replace(b"<IsTruncated>true<", f"<IsTruncated>{true}<".encode())
        last = f"<IsTruncated>{false}</IsTruncated>".encode() if false else b""
        return replace(reply, body=body.replace(b"<IsTruncated>false</IsTruncated>", last))

    faulty.will(*short_pages(), always(op, Make(edit)))
    listings: dict[str, dream.Listing[dream.ObjectInfo] | dream.Listing[dream.UploadInfo]] = {
        "ListObjectsV2": bucket.list(),
        "ListObjectVersions": bucket.list_versions(),
        "ListMultipartUploads": bucket.uploads(),
    }
    assert [info.key for info in await listings[op].collect()] == keys


def short_pages() -> list[Rule]:
    names = {"ListObject*": "max-keys", "ListMultipartUploads": "max-uploads"}
    return [Rule(op, Mishear(query={name: "3"}), times=ALWAYS, may_be_idle=True) for op, name in names.items()]


async def test_an_unknown_value_of_is_truncated_is_refused(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(always("ListObjectsV2", edited("<IsTruncated>false<", "<IsTruncated>perhaps<")))
    with pytest.raises(dream.ServiceError, match="IsTruncated 'perhaps'"):
        await bucket.list().collect()


async def test_a_service_without_list_type_2_is_listed_by_the_first_version(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    keys = [f"k{number}" for number in range(7)]
    for key in keys:
        faulty.put("bucket", key, SMALL)

    def older(reply: Reply) -> Reply:
        body = re.sub(
            rb"<NextContinuationToken>[^<]*</NextContinuationToken>|<KeyCount>[^<]*</KeyCount>", b"", reply.body
        )
        return replace(reply, body=body.replace(b"<IsTruncated>", b"<Marker></Marker><IsTruncated>"))

    faulty.will(*short_pages(), always("ListObjectsV2", Make(older)))
    assert [info.key for info in await bucket.list().collect()] == keys
    assert len(faulty.asked("ListObjectsV2")) == 1


# Buckets that exist


@pytest.mark.parametrize("code", ["BucketAlreadyExists", "BucketAlreadyOwnedByYou", "BucketNameUnavailable"])
async def test_your_own_bucket_exists_under_any_error_code(
    faulty: FaultyServer, bucket: dream.Bucket, code: str
) -> None:
    faulty.will(always("CreateBucket", Refuse(409, code)))
    await bucket.create(exist_ok=True)
    with pytest.raises(dream.AlreadyExistsError):
        await bucket.create()


@pytest.mark.parametrize("code", ["BucketAlreadyExists", "BucketNameUnavailable"])
async def test_somebody_elses_bucket_is_an_error(faulty: FaultyServer, bucket: dream.Bucket, code: str) -> None:
    faulty.will(always("CreateBucket", Refuse(409, code)), always("HeadBucket", Refuse(403, "AccessDenied")))
    with pytest.raises(dream.AlreadyExistsError):
        await bucket.create(exist_ok=True)


# ETags that look like digests, but are not


def other_digest(value: str) -> str:
    """Return another digest, always the same one for the same ETag."""
    return f'"{md5_hex(value.encode())}"'


OPAQUE = [
    Rule(op, with_etag(other_digest), times=ALWAYS, may_be_idle=True)
    for op in ("PutObject", "UploadPart", "GetObject", "HeadObject")
]


async def test_an_etag_that_is_not_a_digest_is_detected(
    faulty: FaultyServer, bucket: dream.Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.will(*OPAQUE)
    stored = await bucket.object("a").put(SMALL)
    assert stored.verified == "size"
    assert faulty.content("bucket", "a") == SMALL
    await bucket.object("b").put(SMALL)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{faulty.service.name}: its ETags look like MD5 digests but are not; only sizes are verified"
    ]
    assert len(faulty.asked("GetObject")) == 1
    assert await bucket.object("a").read() == SMALL


async def test_an_etag_of_parts_that_is_not_made_of_their_digests_is_detected(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    def composite(reply: Reply) -> Reply:
        return replace(reply, body=re.sub(rb"[0-9a-f]{32}-", b"0" * 32 + b"-", reply.body))

    zeros = with_etag(lambda value: re.sub("[0-9a-f]{32}-", "0" * 32 + "-", value))
    faulty.will(always("CompleteMultipartUpload", Make(composite)), always("*Object", zeros))
    stored = await bucket.object("a").put(iter([LARGE]))
    assert faulty.content("bucket", "a") == LARGE
    assert (stored.size, stored.verified) == (len(LARGE), "size")
    async with bucket.object("a").get() as body:
        assert await body.read() == LARGE
        assert body.info.verified == "size"


async def test_etags_that_are_not_digests_are_detected_at_the_first_part(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    opaque = b"<CompleteMultipartUploadResult><ETag>opaque</ETag></CompleteMultipartUploadResult>"
    faulty.will(*OPAQUE, Rule("CompleteMultipartUpload", Say(200, {}, opaque, is_done=False)))
    faulty.expected_uploads.append("dir/a")
    assert (await bucket.object("dir/a").put(iter([LARGE]))).etag == "opaque"
    assert len(faulty.asked("UploadPart")) == len(LARGE) // PART
    assert faulty.keys("bucket") == []


async def test_bytes_that_change_on_their_way_are_still_an_error(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.will(Rule("PutObject", with_etag(other_digest)), Rule("GetObject", Flip(3)))
    with pytest.raises(dream.ChecksumMismatchError, match="verify='off'"):
        await bucket.object("a").put(SMALL)


async def test_a_part_that_was_changed_on_its_way_leaves_nothing_beside_the_object(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    faulty.will(*OPAQUE, Rule("GetObject", Flip(3), times=ALWAYS))
    with pytest.raises(dream.ChecksumMismatchError):
        await bucket.object("dir/a").put(iter([LARGE]))
    assert faulty.keys("bucket") == []


async def test_a_service_that_once_sent_a_digest_must_go_on_sending_them(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    await bucket.object("a").put(SMALL)
    faulty.will(*OPAQUE)
    with pytest.raises(dream.ChecksumMismatchError):
        await bucket.object("b").put(SMALL)


# No ETag, weak ETags, blanks


async def test_an_object_without_an_etag_is_read_and_verified_by_its_size(
    faulty: FaultyServer, bucket: dream.Bucket, tmp_path: Path
) -> None:
    faulty.put("bucket", "small", SMALL)
    faulty.put("bucket", "large", LARGE)
    faulty.will(always("*Object", without("etag")))
    assert await bucket.object("small").read() == SMALL
    assert (await bucket.object("small").head()).etag is None
    for name, content in (("small", SMALL), ("large", LARGE)):
        info = await bucket.object(name).download(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
        assert info.verified == "size"
        async with bucket.object(name).get() as body:
            assert await body.read() == content
            assert body.info.verified == "size"
        async with bucket.object(name).reader() as file:
            assert await file.read() == content


async def test_a_replaced_object_without_an_etag_is_noticed_by_its_time(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    faulty.put("bucket", "a", LARGE * 4)
    dates = iter(["Tue, 10 Nov 2026 20:48:33 GMT", "Tue, 10 Nov 2026 20:48:34 GMT"])
    moved = with_headers(
        lambda headers: (
            {name: value for name, value in headers.items() if name != "ETag"} | {"Last-Modified": next(dates)}
        )
    )
    faulty.will(always("GetObject", moved))
    async with bucket.object("a").reader() as file:
        await file.seek(700_000)
        with pytest.raises(dream.ObjectChangedError):
            await file.read(10)


async def test_a_weak_etag_is_compared_weakly(faulty: FaultyServer, bucket: dream.Bucket, tmp_path: Path) -> None:
    faulty.put("bucket", "a", LARGE)
    faulty.will(
        Rule("GetObject", Cut(PART), times=1),
        Rule("GetObject", with_etag("W/{}".format), times=2),
        Rule("GetObject", times=ALWAYS, may_be_idle=True),
    )
    async with bucket.object("a").get() as body:
        assert await body.read() == LARGE
    faulty.will(always("GetObject", with_etag("W/{}".format)))
    await bucket.object("a").download(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == LARGE


async def test_blanks_after_a_header_do_not_belong_to_it(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(
        always("*Object", with_headers(lambda headers: {name: f"{value} \t" for name, value in headers.items()}))
    )
    async with bucket.object("a").get() as body:
        assert await body.read() == SMALL
        assert body.info.verified == "md5"
        assert body.info.etag == md5_hex(SMALL)
    assert (await bucket.object("a").head()).content_type == "binary/octet-stream"


# An empty object


@pytest.mark.parametrize("told", ["bytes 0--1/0", "bytes 0-0/0", "bytes */0", "400", "416"])
async def test_an_empty_object_is_empty(faulty: FaultyServer, bucket: dream.Bucket, tmp_path: Path, told: str) -> None:
    faulty.put("bucket", "a", b"")

    answer: Action = Say(206, {"ETag": f'"{md5_hex(b"")}"', "Content-Range": told}, b"")
    if told.isdigit():
        answer = Refuse(int(told), "InvalidRange")
    faulty.will(Rule("GetObject", answer, times=ALWAYS, when=lambda asked: asked.byte_range is not None))
    assert (await bucket.object("a").download(tmp_path / "a")).size == 0
    assert (tmp_path / "a").read_bytes() == b""
    async with bucket.object("a").reader() as file:
        assert await file.read() == b""


# Subresources that a service does not support

LISTING = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
IGNORING = {"a listing": Say(200, {}, LISTING), "nothing": Say(200, {}, b""), "the object": Say(200, {}, SMALL)}


@pytest.mark.parametrize("answer", IGNORING)
@pytest.mark.parametrize(
    ("op", "ask"),
    [
        ("GetBucketAcl", lambda bucket: bucket.acl()),
        ("GetBucketTagging", lambda bucket: bucket.tags()),
        ("GetBucketVersioning", lambda bucket: bucket.versioning()),
        ("GetObjectAcl", lambda bucket: bucket.object("a").acl()),
        ("GetObjectTagging", lambda bucket: bucket.object("a").tags()),
        ("ListObjectVersions", lambda bucket: bucket.list_versions().collect()),
        ("ListMultipartUploads", lambda bucket: bucket.uploads().collect()),
    ],
)
async def test_an_unsupported_subresource_is_an_error_and_not_an_empty_value(
    faulty: FaultyServer, bucket: dream.Bucket, op: str, ask: Callable[[dream.Bucket], Awaitable[object]], answer: str
) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(always(op, IGNORING[answer]))
    with pytest.raises(dream.UnsupportedByServiceError, match="does not support this request"):
        await ask(bucket)


# The list of buckets, dates, prefixes


@pytest.mark.parametrize("document", [b"", LISTING, b"<html><body>Welcome</body></html>", b"<Anything/>"])
async def test_a_document_that_is_not_a_list_of_buckets_is_an_error(
    faulty: FaultyServer, bucket: dream.Bucket, document: bytes
) -> None:
    faulty.will(always("ListBuckets", Say(body=document)))
    async with faulty.session() as session:
        with pytest.raises(dream.ServiceError):
            await session.buckets().collect()


async def test_a_date_may_be_in_milliseconds(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(always("ListObjectsV2", edited("<LastModified>[^<]*<", "<LastModified>1762807713250<")))
    (info,) = await bucket.list().collect()
    assert info.last_modified is not None
    assert info.last_modified.isoformat() == "2025-11-10T20:48:33.250000+00:00"


async def test_prefixes_that_are_not_encoded_are_read_as_they_are(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    for key in ("a b+c/x", "ü/x", "plain/x"):
        faulty.put("bucket", key, SMALL)

    def raw(reply: Reply) -> Reply:
        body = re.sub("<Prefix>[^<]+</Prefix>", lambda found: unquote_plus(found[0]), reply.body.decode())
        return replace(reply, body=body.encode())

    faulty.will(always("ListObjectsV2", Make(raw)))
    assert [item.prefix for item in await bucket.list_dir().collect() if isinstance(item, dream.CommonPrefix)] == [
        "a b+c/",
        "plain/",
        "ü/",
    ]


# Deletion of a bucket with its content

LACKING: dict[str, Action] = {
    "501": Refuse(501, "NotImplemented"),
    "405": Refuse(405, "MethodNotAllowed"),
    "404 NoSuchUpload": Refuse(404, "NoSuchUpload"),
    "404": Say(404, {}, b""),
    "a listing": Say(body=LISTING),
    "nothing": Say(body=b""),
}


@pytest.mark.parametrize("uploads", LACKING)
@pytest.mark.parametrize("versions", [*LACKING, "no version"])
async def test_a_bucket_is_deleted_with_its_content_if_versions_or_uploads_cannot_be_listed(
    faulty: FaultyServer, bucket: dream.Bucket, uploads: str, versions: str
) -> None:
    for number in range(3):
        faulty.put("bucket", f"k{number}", SMALL)
    none = Say(body=b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
    faulty.will(
        always("ListMultipartUploads", LACKING[uploads]),
        always("ListObjectVersions", {**LACKING, "no version": none}[versions]),
    )
    await bucket.delete(force=True)
    assert not await bucket.exists()


async def test_emptying_a_missing_bucket_is_an_error(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    await bucket.delete()
    with pytest.raises(dream.NotFoundError):
        await bucket.empty()
    with pytest.raises(dream.NotFoundError):
        await bucket.delete(force=True)


# Replies to DeleteObjects that leave things out

SILENT: dict[str, Make] = {
    "says nothing": edited(r"<Deleted>.*</Deleted>", ""),
    "names no key": edited(r"<Key>[^<]*</Key>", ""),
    "names no version": edited(r"<VersionId>[^<]*</VersionId>", ""),
    "another root": edited("DeleteResult", "Result"),
    "an empty element": edited(r"^.*$", "<DeleteResult/>"),
}


@pytest.mark.parametrize("silence", SILENT)
@pytest.mark.parametrize("keeps_versions", [False, True])
async def test_keys_are_deleted_whatever_the_reply_leaves_out(
    faulty: FaultyServer, *, silence: str, keeps_versions: bool
) -> None:
    name = faulty.make_bucket("versioned" if keeps_versions else "plain", keeps_versions=keeps_versions)
    for number in range(5):
        faulty.put(name, f"k{number}", SMALL)
    faulty.will(always("DeleteObjects", SILENT[silence]))
    async with faulty.session(service=replace(faulty.service, is_known=False)) as session:
        found = await session.bucket(name).list_versions().collect()
        report = await session.bucket(name).delete_many(found if keeps_versions else [info.key for info in found])
        assert (report.done, report.failed) == (5, 0)
    if silence == "names no version":  # each key was asked for once
        assert not faulty.asked("DeleteObject")
    assert faulty.versions(name) == 0


async def test_a_key_that_the_reply_leaves_out_is_deleted_alone_and_its_error_reported(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    for number in range(3):
        faulty.put("bucket", f"k{number}", SMALL)
    kept = edited(r"<Deleted>(?:(?!</Deleted>).)*k1.*?</Deleted>", "")
    faulty.will(always("DeleteObjects", kept), always("DeleteObject", Refuse(403, "AccessDenied")))
    report = await bucket.delete_many(["k0", "k1", "k2"], on_error="collect")
    assert (report.done, [failure.key for failure in report.failures]) == (2, ["k1"])
    assert isinstance(report.failures[0].error, dream.AccessDeniedError)


# Deletion of a missing key


@pytest.mark.parametrize("answer", [Refuse(404, "NoSuchKey"), Refuse(404, "NoSuchVersion"), Say(404, {}, b"")])
async def test_deleting_a_missing_key_succeeds_whatever_the_service_answers(
    faulty: FaultyServer, bucket: dream.Bucket, answer: Action
) -> None:
    faulty.will(always("DeleteObject", answer))
    await bucket.object("missing").delete()
    faulty.will(always("DeleteObject", answer), always("DeleteObjects", Refuse(501, "NotImplemented")))
    assert (await bucket.delete_many(["missing"])).done == 1


async def test_deleting_from_a_missing_bucket_is_an_error(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.will(always("DeleteObject", Refuse(404, "NoSuchBucket")))
    with pytest.raises(dream.NotFoundError):
        await bucket.object("a").delete()


async def test_keys_that_the_reply_reports_missing_count_as_deleted(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    missing = b"<DeleteResult><Error><Key>a</Key><Code>NoSuchKey</Code><Message/></Error></DeleteResult>"
    faulty.will(always("DeleteObjects", Say(body=missing)))
    assert (await bucket.delete_many(["a"])).done == 1


# Conditions and subresources that a service ignores


def ignoring(*headers: str) -> Mishear:
    return Mishear(headers=dict.fromkeys(headers))


CONDITIONS = {
    "both": (ignoring("if-match", "if-none-match"), ({"if_absent": True}, {"if_match": "x"})),
    "if-match": (ignoring("if-match"), ({"if_match": "x"},)),
}


@pytest.mark.parametrize("ignored", CONDITIONS)
async def test_an_ignored_condition_is_an_error_before_anything_is_replaced(
    faulty: FaultyServer, bucket: dream.Bucket, tmp_path: Path, ignored: str
) -> None:
    mishear, conditions = CONDITIONS[ignored]
    faulty.put("bucket", "dir/a", SMALL)
    faulty.put("bucket", "source", LARGE)
    faulty.will(always("PutObject", mishear))
    (tmp_path / "new").write_bytes(b"new")
    obj, source = bucket.object("dir/a"), bucket.object("source")
    for condition in conditions:
        for written in (
            obj.put(b"new", **condition),
            obj.put(iter([LARGE]), **condition),
            obj.upload(tmp_path / "new", **condition),
            source.copy_to(obj, **condition),
        ):
            with pytest.raises(dream.UnsupportedByServiceError, match="does not support if_"):
                await written
    assert faulty.content("bucket", "dir/a") == SMALL
    assert faulty.keys("bucket") == ["dir/a", "source"]
    assert len(faulty.asked("PutObject")) == 2


async def test_if_absent_works_if_only_if_match_is_ignored(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(always("PutObject", ignoring("if-match")))
    with pytest.raises(dream.AlreadyExistsError):
        await bucket.object("a").put(b"new", if_absent=True)
    await bucket.object("b").put(b"new", if_absent=True)
    assert faulty.keys("bucket") == ["a", "b"]


async def test_conditions_are_probed_once_and_the_probe_leaves_nothing(
    faulty: FaultyServer, bucket: dream.Bucket
) -> None:
    etag = faulty.put("bucket", "a", SMALL)
    for number in range(3):
        await bucket.object(f"new{number}").put(b"new", if_absent=True)
    with pytest.raises(dream.AlreadyExistsError):
        await bucket.object("a").put(b"new", if_absent=True)
    with pytest.raises(dream.PreconditionFailedError):
        await bucket.object("a").put(b"new", if_match="other")
    await bucket.object("a").put(b"new", if_match=etag)
    assert len(faulty.asked("PutObject")) == 1 + 3 + 3
    assert faulty.keys("bucket") == ["a", "new0", "new1", "new2"]


@pytest.mark.parametrize("kind", ["acl", "tagging"])
async def test_an_acl_or_tags_are_not_written_if_that_would_replace_the_content(
    faulty: FaultyServer, bucket: dream.Bucket, kind: str
) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(always("*", Mishear(query={kind: None})))
    obj = bucket.object("a")
    for _ in range(2):
        with pytest.raises(dream.UnsupportedByServiceError, match="does not support"):
            await (obj.set_acl("public-read") if kind == "acl" else obj.set_tags({"a": "b"}))
    assert faulty.content("bucket", "a") == SMALL
    assert {asked.op for asked in faulty.log} == {"GetObjectAcl" if kind == "acl" else "GetObjectTagging"}


@pytest.mark.parametrize("refusal", [None, Refuse(403, "AccessDenied")])
async def test_a_service_with_acls_and_tags_is_probed_once(
    faulty: FaultyServer, bucket: dream.Bucket, refusal: Refuse | None
) -> None:
    for key in ("a", "b"):
        faulty.put("bucket", key, SMALL)
    if refusal is not None:
        faulty.will(always("GetObject*", refusal))
    for key in ("a", "b"):
        await bucket.object(key).set_acl("public-read")
        await bucket.object(key).set_tags({"a": "b"})
    assert [asked.op for asked in faulty.log] == [
        *("GetObjectAcl", "PutObjectAcl", "GetObjectTagging", "PutObjectTagging"),
        *("PutObjectAcl", "PutObjectTagging"),
    ]


async def test_the_session_keeps_what_its_service_lacks(faulty: FaultyServer, bucket: dream.Bucket) -> None:
    service = replace(faulty.service, is_known=False)
    async with faulty.session(service=service) as session:
        assert not session.service.unsupported
        faulty.will(always("PutObject", ignoring("if-match", "if-none-match")))
        with pytest.raises(dream.UnsupportedByServiceError):
            await session.object("s3://bucket/a").put(b"", if_absent=True)
        assert set(session.service.unsupported) == {"conditional_writes"}
    assert set(session.service.unsupported) == {"conditional_writes"}
