"""Objects: stored, read, copied, deleted, tagged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from aiodreamobjects._memory.acls import object_acl
from aiodreamobjects._memory.buckets import MOST_OBJECT_TAGS, check_tags, tags_in
from aiodreamobjects._memory.calls import Call, Reply, http_date
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.digests import CHECKSUM, checksums
from aiodreamobjects._memory.documents import document, element, iso, nested, optional, parsed, text_in, texts_in
from aiodreamobjects._memory.listings import LARGEST_PAGE, whole_number
from aiodreamobjects._memory.store import LARGEST_KEY_BYTES, PRIVATE, Bucket, Content, Store, Version
from aiodreamobjects._models import Acl

CONTENT_HEADERS = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
KEPT_HEADERS = CONTENT_HEADERS | {
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
}
DIRECTIVES = ("COPY", "REPLACE")


def check_key(key: str) -> None:
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        raise S3Error(Code.InvalidURI) from None
    if size > LARGEST_KEY_BYTES:
        raise S3Error(Code.KeyTooLongError)


# Storing


def put_object(store: Store, call: Call) -> Reply:
    bucket, acl = bucket_to_write(store, call)
    given = checksums(call)
    content = Content(call.body, call.md5, {**kept_headers(store.dialect, call), **given})
    version = bucket.add(call.key, content, acl, given_tags(store.dialect, call))
    return Reply(headers={"ETag": f'"{content.etag}"', **given, **version_header(bucket, version)})


def bucket_to_write(store: Store, call: Call) -> tuple[Bucket, Acl]:
    """Return the bucket and the new object's ACL. Raises S3Error if a condition of the request does not hold."""
    bucket = store.bucket(call.bucket)
    acl = object_acl(store.dialect, bucket, call.headers.get("x-amz-acl")) or PRIVATE
    wanted, is_unwanted = call.headers.get("if-match"), "if-none-match" in call.headers
    if wanted is None and not is_unwanted:
        return bucket, acl
    if "conditional_writes" in store.dialect.refuses:
        raise S3Error(Code.NotImplemented, "A header you provided implies functionality that is not implemented.")
    there = bucket.newest(call.key)
    if there is not None and there.is_marker:
        there = None
    if wanted is not None and there is None:
        raise S3Error(Code.NoSuchKey)
    if there is not None and (is_unwanted or not _names_etag(wanted or "", there.content.etag)):
        raise S3Error(Code.PreconditionFailed)
    return bucket, acl


def kept_headers(dialect: Dialect, call: Call) -> dict[str, str]:
    """Return the headers that are stored with an object. Raises S3Error if they are too large."""
    kept = {
        name: value for name, value in call.headers.items() if name in KEPT_HEADERS or name.startswith("x-amz-meta-")
    }
    if kept.get("x-amz-storage-class") == "STANDARD":  # no reply names it
        del kept["x-amz-storage-class"]
    if "aws-chunked" in (encoding := kept.get("content-encoding", "")):  # of the request, not of the object
        del kept["content-encoding"]
        if others := [one.strip() for one in encoding.split(",") if one.strip() not in ("", "aws-chunked")]:
            kept["content-encoding"] = ",".join(others)
    counted = kept if dialect.metadata_counts_all else {n: v for n, v in kept.items() if n.startswith("x-amz-meta-")}
    size = sum(len(f"{name.removeprefix('x-amz-meta-')}{value}".encode("latin-1")) for name, value in counted.items())
    if dialect.metadata_counts_all and size + len(call.key.encode()) > dialect.metadata_bytes:
        raise S3Error(Code.InvalidRequest, "The key and the metadata are too large.")
    if size > dialect.metadata_bytes:
        raise S3Error(Code.MetadataTooLarge)
    return {"content-type": "binary/octet-stream", **kept}


def given_tags(dialect: Dialect, call: Call) -> dict[str, str]:
    """Return the tags in a request's header."""
    if "x-amz-tagging" not in call.headers:
        return {}
    pairs = parse_qsl(call.headers["x-amz-tagging"], keep_blank_values=True)
    if pairs and "tagging" in dialect.refuses:
        raise S3Error(Code.NotImplemented)
    if len(dict(pairs)) != len(pairs):
        raise S3Error(Code.InvalidTag, "Cannot provide multiple Tags with the same key")
    check_tags(dict(pairs), MOST_OBJECT_TAGS)
    return dict(pairs)


def version_header(bucket: Bucket, version: Version, name: str = "x-amz-version-id") -> dict[str, str]:
    return {} if bucket.versioning is None else {name: version.version_id}


# Copying


def copy_object(store: Store, call: Call) -> Reply:
    (bucket, acl), (origin, source) = bucket_to_write(store, call), copy_source(store, call)
    directive = _directive(call, "x-amz-metadata-directive")
    is_replaced = directive == "REPLACE" or "x-amz-storage-class" in call.headers
    if not is_replaced and bucket.newest(call.key) is source:
        raise S3Error(Code.InvalidRequest, "A copy onto itself has to change something, such as the metadata.")
    if len(source.content.body) > store.dialect.largest_copy:
        raise S3Error(Code.InvalidRequest, f"The copy source is larger than {store.dialect.largest_copy} bytes.")
    headers = kept_headers(store.dialect, call)
    if directive == "COPY":
        given = {name: value for name, value in headers.items() if name == "x-amz-storage-class"}
        kept = {name: value for name, value in source.content.headers.items() if name != "x-amz-storage-class"}
        headers = {**kept, **given}
    tags = source.tags
    if _directive(call, "x-amz-tagging-directive") == "REPLACE":
        tags = given_tags(store.dialect, call)
    version = bucket.add(call.key, replace(source.content, headers=headers), acl, tags)
    ids = version_header(bucket, version) | version_header(origin, source, "x-amz-copy-source-version-id")
    return document("CopyObjectResult", *facts_of_copy(version.modified, version.content.etag), headers=ids)


def facts_of_copy(modified: datetime, etag: str) -> tuple[str, str]:
    return element("LastModified", iso(modified)), element("ETag", f'"{etag}"')


def _directive(call: Call, name: str) -> str:
    directive = call.headers.get(name, "COPY")
    if directive not in DIRECTIVES:
        raise S3Error(Code.InvalidArgument, f"Unknown {name}.")
    return directive


def copy_source(store: Store, call: Call) -> tuple[Bucket, Version]:
    """Return what is to be copied. Raises S3Error if a condition does not hold. A ``+`` in the header is a space."""
    place, _, version_id = call.headers["x-amz-copy-source"].partition("?versionId=")
    name, _, key = unquote_plus(place.removeprefix("/")).partition("/")
    bucket = store.bucket(name)
    version = bucket.readable(key, version_id or None)
    if verdict(version, call.headers, "x-amz-copy-source-") is not HTTPStatus.OK:
        raise S3Error(Code.PreconditionFailed)
    return bucket, version


# Reading


def get_object(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    version = bucket.readable(call.key, call.query.get("versionId"))
    content, headers = version.content, _told_headers(bucket, version, call)
    status = verdict(version, call.headers)
    if status is HTTPStatus.PRECONDITION_FAILED:
        raise S3Error(Code.PreconditionFailed)
    if status is HTTPStatus.NOT_MODIFIED:  # without checksums: botocore would look for the body
        return Reply(status, {name: value for name, value in headers.items() if not name.startswith(CHECKSUM)})
    piece = _part_of(store.dialect, content, call)
    if piece is not None and content.part_sizes:
        headers["x-amz-mp-parts-count"] = str(len(content.part_sizes))
    if piece is None and "range" in call.headers:
        piece = byte_range(call.headers["range"], len(content.body))
    if piece is None:
        return Reply(status, headers, content.body)
    headers["Content-Range"] = f"bytes {piece.start}-{piece.stop - 1}/{len(content.body)}"
    return Reply(HTTPStatus.PARTIAL_CONTENT, headers, content.body[piece])


def _told_headers(bucket: Bucket, version: Version, call: Call) -> dict[str, str]:
    overridden = {
        name.removeprefix("response-"): text for name, text in call.query.items() if name.startswith("response-")
    }
    is_whole = "range" not in call.headers and "partNumber" not in call.query
    tells_checksums = is_whole and call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    kept = {
        name: value
        for name, value in version.content.headers.items()
        if tells_checksums or not name.startswith(CHECKSUM)
    }
    return {
        **kept,
        **overridden,
        "ETag": f'"{version.content.etag}"',
        "Last-Modified": http_date(version.modified),
        "Accept-Ranges": "bytes",
        **({"x-amz-tagging-count": str(len(version.tags))} if version.tags else {}),
        **version_header(bucket, version),
    }


def _part_of(dialect: Dialect, content: Content, call: Call) -> slice | None:
    """Return the part that is asked for by its number. An object that was not made of parts is one part."""
    if "partNumber" not in call.query:
        return None
    if not dialect.tells_parts:
        raise S3Error(Code.NotImplemented)
    if "range" in call.headers:
        raise S3Error(Code.InvalidRequest, "Cannot specify both Range header and partNumber query parameter.")
    sizes, number = content.part_sizes or (len(content.body),), whole_number(call.query, "partNumber", 0)
    if not 1 <= number <= len(sizes):
        raise S3Error(Code.InvalidPartNumber)
    start = sum(sizes[: number - 1])
    return slice(start, start + sizes[number - 1]) if sizes[number - 1] else None


def verdict(version: Version, headers: Mapping[str, str], prefix: str = "") -> HTTPStatus:
    """Evaluate the conditions in the order of RFC 9110, section 13.2.2."""
    modified = version.modified.replace(microsecond=0)
    matches, differs = headers.get(f"{prefix}if-match"), headers.get(f"{prefix}if-none-match")
    since, until = (_moment(headers.get(f"{prefix}if-{word}-since")) for word in ("modified", "unmodified"))
    if matches is not None and not _names_etag(matches, version.content.etag):
        return HTTPStatus.PRECONDITION_FAILED
    if matches is None and until is not None and modified > until:
        return HTTPStatus.PRECONDITION_FAILED
    if differs is not None and _names_etag(differs, version.content.etag):
        return HTTPStatus.NOT_MODIFIED
    if differs is None and since is not None and modified <= since:
        return HTTPStatus.NOT_MODIFIED
    return HTTPStatus.OK


def _names_etag(condition: str, etag: str) -> bool:
    return condition.strip() == "*" or etag in (one.strip().strip('"') for one in condition.split(","))


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def byte_range(text: str, size: int) -> slice:
    """Parse a range. S3 knows only one range in a request."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text, re.ASCII)
    if match is None or match.groups() == ("", ""):
        raise S3Error(Code.NotImplemented, "Only a single range of bytes is supported.")
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise S3Error(Code.InvalidRange, headers={"Content-Range": f"bytes */{size}"})
    return slice(start, end)


# Deleting


def delete_object(store: Store, call: Call) -> Reply:
    outcome = store.bucket(call.bucket).delete(call.key, call.query.get("versionId"))
    headers = {"x-amz-version-id": outcome.version_id} if outcome.version_id else {}
    if outcome.is_marker:
        headers["x-amz-delete-marker"] = "true"
    return Reply(HTTPStatus.NO_CONTENT, headers)


def delete_objects(store: Store, call: Call) -> Reply:
    bucket, root = store.bucket(call.bucket), parsed(call.body, "Delete")
    if store.dialect.needs_md5 and "content-md5" not in call.headers:
        raise S3Error(Code.InvalidRequest, "Missing required header for this request: Content-MD5.")
    wanted = [texts_in(one) for one in root.iterfind("{*}Object")]
    if not 1 <= len(wanted) <= LARGEST_PAGE or not all(one.get("Key") for one in wanted):
        raise S3Error(Code.MalformedXML)
    rows = [_delete_row(store, bucket, one["Key"], one.get("VersionId") or None) for one in wanted]
    is_quiet = text_in(root, "Quiet") == "true"
    return document("DeleteResult", *[row for row in rows if not is_quiet or row.startswith("<Error>")])


def _delete_row(store: Store, bucket: Bucket, key: str, version_id: str | None) -> str:
    named = element("Key", key) + optional("VersionId", version_id)
    try:
        check_key(key)
        if refusal := store.refusal_of_key(bucket.name, key):
            raise refusal
    except S3Error as error:
        return nested("Error", named, element("Code", error.name), element("Message", error.message))
    outcome = bucket.delete(key, version_id)
    if outcome.is_marker:
        named += f"<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{outcome.version_id}</DeleteMarkerVersionId>"
    return f"<Deleted>{named}</Deleted>"


# Tags


def _get_tags(store: Store, call: Call) -> Reply:
    bucket, version = _tagged(store, call)
    rows = [nested("Tag", element("Key", name), element("Value", value)) for name, value in version.tags.items()]
    return document("Tagging", nested("TagSet", *rows), headers=version_header(bucket, version))


def _put_tags(store: Store, call: Call) -> Reply:
    bucket, version = _tagged(store, call)
    tags = tags_in(parsed(call.body, "Tagging"))
    check_tags(tags, MOST_OBJECT_TAGS)
    bucket.change(version, tags=tags)
    return Reply(headers=version_header(bucket, version))


def _delete_tags(store: Store, call: Call) -> Reply:
    bucket, version = _tagged(store, call)
    bucket.change(version, tags={})
    return Reply(HTTPStatus.NO_CONTENT, version_header(bucket, version))


def _tagged(store: Store, call: Call) -> tuple[Bucket, Version]:
    bucket = store.bucket(call.bucket)
    return bucket, bucket.readable(call.key, call.query.get("versionId"))


TAGGING: Final = {"GET": _get_tags, "PUT": _put_tags, "DELETE": _delete_tags}
