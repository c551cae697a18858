"""Multipart uploads: begun, filled with parts, completed or aborted."""

from __future__ import annotations

from http import HTTPStatus

from aiodreamobjects._memory import checksums
from aiodreamobjects._memory.calls import Call, Reply, md5_hex
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import document, element, iso, nested, optional, parsed, texts_in, truth
from aiodreamobjects._memory.keys import check_key_of_part, etag_of, given_key, key_headers, salt_of
from aiodreamobjects._memory.listings import custody, page_limit, spelling, whole_number
from aiodreamobjects._memory.objects import (
    bucket_to_write,
    byte_range,
    copy_source,
    encryption_of,
    facts_of_copy,
    given_attached,
    kept_headers,
    part_number,
    quoted,
    version_header,
    written_headers,
)
from aiodreamobjects._memory.store import Content, Part, Store, Upload, Version


def create_upload(store: Store, call: Call) -> Reply:
    bucket, customer_key = bucket_to_write(store, call), given_key(call)
    headers, attached = kept_headers(store.dialect, call), given_attached(store, bucket, call)
    upload = bucket.begin_upload(call.key, headers, attached, customer_key, checksums.wanted(call))
    facts = element("Bucket", call.bucket), element("Key", call.key), element("UploadId", upload.upload_id)
    told = checksums.headers_of(upload) | key_headers(customer_key) | encryption_of(headers)
    return document("InitiateMultipartUploadResult", *facts, headers=told)


def upload_part(store: Store, call: Call) -> Reply:
    part = _put_part(store, call, call.body)
    return Reply(headers={"ETag": quoted(part.etag), **part.checksums, **key_headers(given_key(call))})


def _put_part(store: Store, call: Call, body: bytes) -> Part:
    upload, number = opened_upload(store, call), part_number(call)
    check_key_of_part(upload, call)
    told = checksums.of_part(call, upload, body)
    return store.bucket(call.bucket).put_part(
        upload, number, body, etag_of(body, salt_of(upload.headers, upload.customer_key)), told
    )


def copy_part(store: Store, call: Call) -> Reply:
    opened_upload(store, call)
    origin, source = copy_source(store, call)
    part = _put_part(store, call, _copied_bytes(call, source))
    ids = version_header(origin, source, "x-amz-copy-source-version-id") | key_headers(given_key(call))
    return document("CopyPartResult", facts_of_copy(part.modified, part.etag, part.checksums), headers=ids)


def _copied_bytes(call: Call, source: Version) -> bytes:
    """Return the bytes to copy. A range must name both ends, and both must lie within the source."""
    body, text = source.content.body, call.headers.get("x-amz-copy-source-range")
    if text is None:
        return body
    wanted = byte_range(text, len(body))
    if wanted is None or text != f"bytes={wanted.start}-{wanted.stop - 1}":
        raise S3Error(Code.InvalidArgument, "The copied range must be bytes=first-last, and lie within the source.")
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
        checksums.elements_of(upload),
        element("PartNumberMarker", after),
        element("NextPartNumberMarker", parts[-1].number if parts else 0),
        element("MaxParts", limit),
        element("IsTruncated", truth(is_truncated)),
        *map(_part_row, parts),
    )


def _part_row(part: Part) -> str:
    facts = element("PartNumber", part.number), element("LastModified", iso(part.modified))
    more = element("ETag", quoted(part.etag)), element("Size", len(part.body))
    return nested("Part", *facts, *more, checksums.elements(part.checksums))


def complete_upload(store: Store, call: Call) -> Reply:
    bucket, upload = bucket_to_write(store, call), opened_upload(store, call)
    named = _named_parts(call.body)
    parts = upload.chosen([(number, etag) for number, etag, _ in named], store.dialect.smallest_part)
    for part, (_, _, texts) in zip(parts, named, strict=True):
        checksums.check_named(part, texts, upload)
    body = b"".join([part.body for part in parts])
    if call.amz.get("x-amz-mp-object-size", str(len(body))) != str(len(body)):
        raise S3Error(Code.InvalidRequest, "The size you specified is not that of the parts together.")
    etag = f"{md5_hex(b''.join([bytes.fromhex(part.etag) for part in parts]))}-{len(parts)}"
    told = checksums.of_whole(call, upload, parts, body)
    sizes = tuple(len(part.body) for part in parts)
    content = Content(body, etag, upload.headers, sizes, told, upload.customer_key)
    version = bucket.add(call.key, content, upload.attached)
    bucket.end_upload(upload)
    return document(
        "CompleteMultipartUploadResult",
        element("Location", f"https://{call.headers['host']}{call.target.partition('?')[0]}"),
        element("Bucket", call.bucket),
        element("Key", call.key),
        element("ETag", quoted(etag)),
        checksums.elements(told),
        headers=written_headers(bucket, version),
    )


def _named_parts(body: bytes) -> list[tuple[int, str, dict[str, str]]]:
    """Return the number, the ETag and the other texts of each part that a completion names."""
    rows = [texts_in(one) for one in parsed(body, "CompleteMultipartUpload").iterfind("{*}Part")]
    if not rows or not all(row.get("PartNumber", "").isdecimal() and row.get("ETag") for row in rows):
        raise S3Error(Code.MalformedXML)
    return [(int(row["PartNumber"]), row["ETag"].strip('"'), row) for row in rows]


def abort_upload(store: Store, call: Call) -> Reply:
    upload = opened_upload(store, call)
    store.bucket(call.bucket).end_upload(upload)
    return Reply(HTTPStatus.NO_CONTENT)


def opened_upload(store: Store, call: Call) -> Upload:
    return store.bucket(call.bucket).upload(call.key, call.query["uploadId"])
