"""Multipart uploads: begun, filled with parts, completed or aborted."""

from __future__ import annotations

from http import HTTPStatus

from aiodreamobjects._memory.calls import Call, Reply, md5_hex
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.digests import checksums
from aiodreamobjects._memory.documents import document, element, iso, nested, optional, parsed, texts_in, truth
from aiodreamobjects._memory.listings import custody, page_limit, spelling, whole_number
from aiodreamobjects._memory.objects import (
    bucket_to_write,
    byte_range,
    copy_source,
    facts_of_copy,
    given_tags,
    kept_headers,
    version_header,
)
from aiodreamobjects._memory.store import Part, Store, Upload, Version

LARGEST_PART_NUMBER = 10_000


def create_upload(store: Store, call: Call) -> Reply:
    bucket, acl = bucket_to_write(store, call)
    kept, tags = kept_headers(store.dialect, call), given_tags(store.dialect, call)
    upload = bucket.begin_upload(call.key, kept, acl, tags)
    facts = element("Bucket", call.bucket), element("Key", call.key), element("UploadId", upload.upload_id)
    return document("InitiateMultipartUploadResult", *facts)


def upload_part(store: Store, call: Call) -> Reply:
    upload, number = opened_upload(store, call), _part_number(call)
    part = store.bucket(call.bucket).put_part(upload, number, call.body, call.md5)
    return Reply(headers={"ETag": f'"{part.etag}"', **checksums(call)})


def copy_part(store: Store, call: Call) -> Reply:
    upload, number = opened_upload(store, call), _part_number(call)
    origin, source = copy_source(store, call)
    body = _copied_bytes(call, source)
    part = store.bucket(call.bucket).put_part(upload, number, body, md5_hex(body))
    ids = version_header(origin, source, "x-amz-copy-source-version-id")
    return document("CopyPartResult", *facts_of_copy(part.modified, part.etag), headers=ids)


def _part_number(call: Call) -> int:
    number = whole_number(call.query, "partNumber", 0)
    if not 1 <= number <= LARGEST_PART_NUMBER:
        raise S3Error(Code.InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive.")
    return number


def _copied_bytes(call: Call, source: Version) -> bytes:
    """Return the bytes to copy. A range must name both ends, and both must lie within the source."""
    body, text = source.content.body, call.headers.get("x-amz-copy-source-range")
    if text is None:
        return body
    wanted = byte_range(text, len(body))
    if text != f"bytes={wanted.start}-{wanted.stop - 1}":
        raise S3Error(Code.InvalidArgument, "The copied range must lie within the source.")
    return body[wanted]


def list_parts(store: Store, call: Call) -> Reply:
    upload = opened_upload(store, call)
    limit, after = page_limit(call, "max-parts"), whole_number(call.query, "part-number-marker", 0)
    behind = [upload.parts[number] for number in sorted(upload.parts) if number > after]
    parts, is_truncated = behind[:limit], 0 < limit < len(behind)
    return document(
        "ListPartsResult",
        element("Bucket", call.bucket),
        f"<Key>{spelling(call)(call.key)}</Key>",
        optional("EncodingType", call.query.get("encoding-type")),
        element("UploadId", upload.upload_id),
        custody(upload),
        element("PartNumberMarker", after),
        element("NextPartNumberMarker", parts[-1].number if parts else 0),
        element("MaxParts", limit),
        element("IsTruncated", truth(is_truncated)),
        *map(_part_row, parts),
    )


def _part_row(part: Part) -> str:
    facts = element("PartNumber", part.number), element("LastModified", iso(part.modified))
    return nested("Part", *facts, element("ETag", f'"{part.etag}"'), element("Size", len(part.body)))


def complete_upload(store: Store, call: Call) -> Reply:
    (bucket, _), upload = bucket_to_write(store, call), opened_upload(store, call)
    content = upload.assembled(_named_parts(call.body), store.dialect.smallest_part)
    version = bucket.add(call.key, content, upload.acl, upload.tags)
    bucket.end_upload(upload)
    return document(
        "CompleteMultipartUploadResult",
        element("Location", f"https://{call.headers['host']}{call.target.partition('?')[0]}"),
        element("Bucket", call.bucket),
        element("Key", call.key),
        element("ETag", f'"{content.etag}"'),
        headers=version_header(bucket, version),
    )


def _named_parts(body: bytes) -> list[tuple[int, str]]:
    elements = parsed(body, "CompleteMultipartUpload").findall("{*}Part")
    rows = [texts_in(one) for one in elements]
    if not rows or not all(row.get("PartNumber", "").isdecimal() and row.get("ETag") for row in rows):
        raise S3Error(Code.MalformedXML)
    return [(int(row["PartNumber"]), row["ETag"].strip('"')) for row in rows]


def abort_upload(store: Store, call: Call) -> Reply:
    upload = opened_upload(store, call)
    store.bucket(call.bucket).end_upload(upload)
    return Reply(HTTPStatus.NO_CONTENT)


def opened_upload(store: Store, call: Call) -> Upload:
    return store.bucket(call.bucket).upload(call.key, call.query["uploadId"])
