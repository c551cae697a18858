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
from aiodreamobjects._memory.checksums import elements, given, kept, of_copy
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.documents import document, element, iso, nested, optional, parsed, text_in, texts_in
from aiodreamobjects._memory.keys import check_key_of, etag_of, given_key, key_headers, salt_of
from aiodreamobjects._memory.listings import LARGEST_PAGE, whole_number
from aiodreamobjects._memory.locks import check_removable, given_lock, lock_headers
from aiodreamobjects._memory.store import (
    LARGEST_KEY_BYTES,
    NO_MORE,
    PRIVATE,
    Attached,
    Bucket,
    Content,
    Deleted,
    Store,
    Version,
)

LARGEST_PART_NUMBER = 10_000

CONTENT_HEADERS = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_ENCRYPTION, _CLASS, _REDIRECT = (
    f"x-amz-{name}" for name in ("server-side-encryption", "storage-class", "website-redirect-location")
)
_OF_ENCRYPTION = {_ENCRYPTION, f"{_ENCRYPTION}-aws-kms-key-id"}
KEPT_HEADERS = CONTENT_HEADERS | _OF_ENCRYPTION | {_CLASS, _REDIRECT}
_STORAGE_CLASSES = frozenset(
    {"DEEP_ARCHIVE", "GLACIER", "GLACIER_IR", "INTELLIGENT_TIERING", "ONEZONE_IA", "OUTPOSTS"}
    | {"REDUCED_REDUNDANCY", "STANDARD", "STANDARD_IA"}
)
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
    bucket = bucket_to_write(store, call)
    customer_key, headers = given_key(call), kept_headers(store.dialect, call)
    salt = salt_of(headers, customer_key)
    etag = etag_of(call.body, salt) if salt else call.md5
    content = Content(call.body, etag, headers, (), kept(given(call)), customer_key)
    checksums = content.checksums
    version = bucket.add(call.key, content, given_attached(store, bucket, call))
    return Reply(headers={"ETag": f'"{etag}"', **checksums, **written_headers(bucket, version)})


def bucket_to_write(store: Store, call: Call) -> Bucket:
    """Return the bucket. Raises S3Error if a condition of the request does not hold."""
    bucket = store.bucket(call.bucket)
    wanted, unwanted = call.headers.get("if-match"), call.headers.get("if-none-match")
    if wanted is None and unwanted is None:
        return bucket
    if "conditional_writes" in store.dialect.refuses or unwanted not in (None, "*"):
        raise S3Error(Code.NotImplemented, "A header you provided implies functionality that is not implemented.")
    check_newest(bucket, call.key, wanted)
    if unwanted is not None and (there := bucket.newest(call.key)) and not there.is_marker:
        raise S3Error(Code.PreconditionFailed)
    return bucket


def check_newest(bucket: Bucket, key: str, etag: str | None) -> None:
    """Raise S3Error unless the object has this ETag, if one is given."""
    if etag is None:
        return
    there = bucket.newest(key)
    if there is None or there.is_marker:
        raise S3Error(Code.NoSuchKey)
    if not _names_etag(etag, there.content.etag):
        raise S3Error(Code.PreconditionFailed)


def given_attached(store: Store, bucket: Bucket, call: Call) -> Attached:
    """Return what a request attaches to a new object."""
    acl = object_acl(store.dialect, bucket, call) or PRIVATE
    return Attached(acl, given_tags(store.dialect, call), *given_lock(store, bucket, call))


def kept_headers(dialect: Dialect, call: Call) -> dict[str, str]:
    """Return the headers that are stored with an object. Raises S3Error if one is not valid, or they are too large."""
    kept = {
        name: value for name, value in call.headers.items() if name in KEPT_HEADERS or name.startswith("x-amz-meta-")
    }
    if kept.get(_CLASS, "STANDARD") not in _STORAGE_CLASSES:
        raise S3Error(Code.InvalidStorageClass)
    if kept.get(_CLASS) == "STANDARD":  # no reply names it
        del kept[_CLASS]
    if not kept.get(_REDIRECT, "/").startswith(("/", "http://", "https://")):
        raise S3Error(Code.InvalidRedirectLocation)
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


def written_headers(bucket: Bucket, version: Version) -> dict[str, str]:
    """Return what the reply to a write says of the version and its encryption."""
    content = version.content
    return {**encryption_of(content.headers), **key_headers(content.customer_key), **version_header(bucket, version)}


def encryption_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of an object's headers that say how the service encrypts it."""
    return {name: headers[name] for name in _OF_ENCRYPTION & headers.keys()}


# Copying


def copy_object(store: Store, call: Call) -> Reply:
    bucket, (origin, source) = bucket_to_write(store, call), copy_source(store, call)
    body, customer_key = source.content.body, given_key(call)
    directive = _directive(call, "x-amz-metadata-directive")
    is_changed = directive == "REPLACE" or ({_CLASS, _REDIRECT} | _OF_ENCRYPTION) & call.amz.keys() or customer_key
    if not is_changed and bucket.newest(call.key) is source:
        raise S3Error(Code.InvalidRequest, "A copy onto itself has to change something, such as the metadata.")
    if len(body) > store.dialect.largest_copy:
        raise S3Error(Code.InvalidRequest, f"The copy source is larger than {store.dialect.largest_copy} bytes.")
    headers = kept_headers(store.dialect, call)
    if directive == "COPY":
        own = {_CLASS, _REDIRECT} | _OF_ENCRYPTION  # never carried over
        carried = {name: value for name, value in source.content.headers.items() if name not in own}
        headers = {**carried, **{name: value for name, value in headers.items() if name in own}}
    attached = given_attached(store, bucket, call)
    if _directive(call, "x-amz-tagging-directive") == "COPY":
        attached = replace(attached, tags=source.attached.tags)
    salt, was = salt_of(headers, customer_key), salt_of(source.content.headers, source.content.customer_key)
    is_same = not (source.content.part_sizes or salt or was)
    etag = source.content.etag if is_same else etag_of(body, salt)
    checksums = of_copy(call, source.content.checksums, body)
    version = bucket.add(call.key, Content(body, etag, headers, (), checksums, customer_key), attached)
    told = written_headers(bucket, version) | version_header(origin, source, "x-amz-copy-source-version-id")
    facts = facts_of_copy(version.modified, etag, checksums)
    return document("CopyObjectResult", facts, headers=told)


def facts_of_copy(modified: datetime, etag: str, checksums: Mapping[str, str]) -> str:
    return f"{element('LastModified', iso(modified))}{element('ETag', quoted(etag))}{elements(checksums)}"


def quoted(etag: str) -> str:
    return f'"{etag}"'


def _directive(call: Call, name: str) -> str:
    directive = call.headers.get(name, "COPY")
    if directive not in DIRECTIVES:
        raise S3Error(Code.InvalidArgument, f"Unknown {name}.")
    return directive


def copy_source(store: Store, call: Call) -> tuple[Bucket, Version]:
    """Return what is to be copied. Raises S3Error if a condition does not hold. A ``+`` in the header is a space."""
    place, _, version_id = call.headers["x-amz-copy-source"].partition("?versionId=")
    name, _, key = unquote_plus(place.removeprefix("/")).partition("/")
    if not key:
        raise S3Error(Code.InvalidArgument, "Invalid copy source object key")
    bucket = store.bucket(name)
    if version_id and (named := bucket.find(key, version_id)) and named.is_marker:
        raise S3Error(Code.InvalidRequest, "The source of a copy may not name a delete marker by its version id.")
    version = bucket.readable(key, version_id or None)
    if verdict(version, call.headers, "x-amz-copy-source-") is not HTTPStatus.OK:
        raise S3Error(Code.PreconditionFailed)
    check_key_of(version.content, call, is_source=True)
    return bucket, version


# Reading


def get_object(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    version = bucket.readable(call.key, call.query.get("versionId"))
    content = version.content
    check_key_of(content, call)
    status, headers = verdict(version, call.headers), _told_headers(bucket, version, call)
    if status is HTTPStatus.PRECONDITION_FAILED:
        raise S3Error(Code.PreconditionFailed)
    if status is HTTPStatus.NOT_MODIFIED:
        return Reply(status, headers)
    piece = _part_of(store.dialect, content, call)
    if piece is not None and content.part_sizes:
        headers["x-amz-mp-parts-count"] = str(len(content.part_sizes))
    if piece is None and "range" in call.headers:
        piece = byte_range(call.headers["range"], len(content.body))
    if piece is None:
        if call.amz.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers |= content.checksums
        return Reply(status, headers, content.body)
    headers["Content-Range"] = f"bytes {piece.start}-{piece.stop - 1}/{len(content.body)}"
    return Reply(HTTPStatus.PARTIAL_CONTENT, headers, content.body[piece])


def _told_headers(bucket: Bucket, version: Version, call: Call) -> dict[str, str]:
    told = {
        **version.content.headers,
        "ETag": f'"{version.content.etag}"',
        "Last-Modified": http_date(version.modified),
        "Accept-Ranges": "bytes",
        **version_header(bucket, version),
    }
    if call.query:
        told |= {name[9:]: text for name, text in call.query.items() if name.startswith("response-")}
    if version.attached is not NO_MORE:
        tags = version.attached.tags
        told |= lock_headers(version.attached) | ({"x-amz-tagging-count": str(len(tags))} if tags else {})
    return told | key_headers(version.content.customer_key)


def _part_of(dialect: Dialect, content: Content, call: Call) -> slice | None:
    """Return the part that is asked for by its number. An object that was not made of parts is one part."""
    if "partNumber" not in call.query:
        return None
    if not dialect.tells_parts:
        raise S3Error(Code.NotImplemented)
    if "range" in call.headers:
        raise S3Error(Code.InvalidRequest, "Cannot specify both Range header and partNumber query parameter.")
    sizes, number = content.part_sizes or (len(content.body),), part_number(call)
    if number > len(sizes):
        raise S3Error(Code.InvalidPartNumber)
    start = sum(sizes[: number - 1])
    return slice(start, start + sizes[number - 1]) if sizes[number - 1] else None


def part_number(call: Call) -> int:
    number = whole_number(call.query, "partNumber", 0)
    if not 1 <= number <= LARGEST_PART_NUMBER:
        raise S3Error(Code.InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive.")
    return number


def verdict(version: Version, headers: Mapping[str, str], prefix: str = "") -> HTTPStatus:
    """Evaluate the conditions in the order of RFC 9110, section 13.2.2."""
    matches, differs = headers.get(f"{prefix}if-match"), headers.get(f"{prefix}if-none-match")
    since, until = (_moment(headers.get(f"{prefix}if-{word}-since")) for word in ("modified", "unmodified"))
    if matches is not None and not _names_etag(matches, version.content.etag):
        return HTTPStatus.PRECONDITION_FAILED
    if matches is None and until is not None and version.modified > until:
        return HTTPStatus.PRECONDITION_FAILED
    if differs is not None and _names_etag(differs, version.content.etag):
        return HTTPStatus.NOT_MODIFIED
    if differs is None and since is not None and version.modified <= since:
        return HTTPStatus.NOT_MODIFIED
    return HTTPStatus.OK


def _names_etag(condition: str, etag: str) -> bool:
    return condition.strip() == "*" or etag in (one.strip().strip('"') for one in condition.split(","))


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None


_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def byte_range(text: str, size: int) -> slice | None:
    """Parse a range. Return None for one that S3 ignores: in another unit, of several pieces, or not valid."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise S3Error(Code.InvalidRange, headers={"Content-Range": f"bytes */{size}"})
    return slice(start, end)


# Deleting


def delete_object(store: Store, call: Call) -> Reply:
    version_id = call.query.get("versionId")
    outcome = _delete(store, call, call.key, version_id, call.headers.get("if-match"))
    headers = {"x-amz-version-id": outcome.version_id} if outcome.version_id else {}
    if outcome.is_marker:
        headers["x-amz-delete-marker"] = "true"
    return Reply(HTTPStatus.NO_CONTENT, headers)


def _delete(store: Store, call: Call, key: str, version_id: str | None, etag: str | None) -> Deleted:
    bucket = store.bucket(call.bucket)
    if version_id is not None:
        check_removable(bucket.find(key, version_id), call, store.now())
    if etag is not None and "conditional_writes" in store.dialect.refuses:
        raise S3Error(Code.NotImplemented, "A header you provided implies functionality that is not implemented.")
    check_newest(bucket, key, etag)
    return bucket.delete(key, version_id)


def delete_objects(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    root = parsed(call.body, "Delete")
    if store.dialect.needs_md5 and "content-md5" not in call.headers:
        raise S3Error(Code.InvalidRequest, "Missing required header for this request: Content-MD5.")
    wanted = [texts_in(one) for one in root.iterfind("{*}Object")]
    if not 1 <= len(wanted) <= LARGEST_PAGE or not all(one.get("Key") for one in wanted):
        raise S3Error(Code.MalformedXML)
    rows = [_delete_row(store, call, one["Key"], one.get("VersionId") or None, one.get("ETag")) for one in wanted]
    is_quiet = text_in(root, "Quiet") == "true"
    return document("DeleteResult", *[row for row in rows if not is_quiet or row.startswith("<Error>")])


def _delete_row(store: Store, call: Call, key: str, version_id: str | None, etag: str | None) -> str:
    named = element("Key", key) + optional("VersionId", version_id)
    try:
        check_key(key)
        if refusal := store.refusal_of_key(call.bucket, key):
            raise refusal
        outcome = _delete(store, call, key, version_id, etag)
    except S3Error as error:
        return nested("Error", named, element("Code", error.name), element("Message", error.message))
    if outcome.is_marker:
        named += f"<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{outcome.version_id}</DeleteMarkerVersionId>"
    return f"<Deleted>{named}</Deleted>"


# Tags


def _get_tags(store: Store, call: Call) -> Reply:
    bucket, version = _tagged(store, call)
    rows = [
        nested("Tag", element("Key", name), element("Value", value)) for name, value in version.attached.tags.items()
    ]
    return document("Tagging", nested("TagSet", *rows), headers=version_header(bucket, version))


def _put_tags(store: Store, call: Call) -> Reply:
    bucket, version = _tagged(store, call)
    tags = tags_in(parsed(call.body, "Tagging"))
    check_tags(tags, MOST_OBJECT_TAGS)
    bucket.change(version, replace(version.attached, tags=tags))
    return Reply(headers=version_header(bucket, version))


def _delete_tags(store: Store, call: Call) -> Reply:
    bucket, version = _tagged(store, call)
    bucket.change(version, replace(version.attached, tags={}))
    return Reply(HTTPStatus.NO_CONTENT, version_header(bucket, version))


def _tagged(store: Store, call: Call) -> tuple[Bucket, Version]:
    bucket = store.bucket(call.bucket)
    return bucket, bucket.readable(call.key, call.query.get("versionId"))


TAGGING: Final = {"GET": _get_tags, "PUT": _put_tags, "DELETE": _delete_tags}
