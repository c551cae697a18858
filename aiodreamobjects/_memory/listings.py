"""Lists of objects, of versions and of uploads, a page at a time."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote_plus

from aiodreamobjects._memory.acls import owner
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import Node, document, iso, optional, truth
from aiodreamobjects._memory.pages import CommonPrefix, Page, Window, cut_page, end_of, start_of
from aiodreamobjects._memory.store import NULL_VERSION, Bucket, Position, Store, Upload, Version, number_in

LARGEST_PAGE = 1000

Spelling = Callable[[str], str]


def list_objects(store: Store, call: Call) -> Reply:
    marker = call.query.get("marker")
    page = _objects(store.bucket(call.bucket), window(call, "max-keys", marker))
    spell = spelling(call)
    # Without a delimiter S3 leaves it to the client to go on from the last key.
    next_marker = spell(page.last.key) if page.last is not None and call.query.get("delimiter") else None
    return document(
        "ListBucketResult",
        [
            *described(call, "max-keys", is_truncated=page.is_truncated),
            ("Marker", spell(marker or "")),
            *optional("NextMarker", next_marker),
            *[("Contents", [*_object_facts(one, spell), owner()]) for one in page.items],
            *common_prefixes(page.prefixes, spell),
        ],
    )


def list_objects_v2(store: Store, call: Call) -> Reply:
    if call.query["list-type"] != "2":
        raise S3Error(Code.InvalidArgument, "Unsupported value for list-type.")
    token, start = call.query.get("continuation-token"), call.query.get("start-after")
    behind = start if token is None else key_in_token(token)
    page = _objects(store.bucket(call.bucket), window(call, "max-keys", behind))
    spell = spelling(call)
    owners = [owner()] if call.query.get("fetch-owner") == "true" else []
    return document(
        "ListBucketResult",
        [
            *described(call, "max-keys", is_truncated=page.is_truncated),
            ("KeyCount", len(page.entries)),
            *optional("StartAfter", None if start is None else spell(start)),
            *optional("ContinuationToken", token),
            *optional("NextContinuationToken", token_for(page.last.key) if page.last else None),
            *[("Contents", [*_object_facts(one, spell), *owners]) for one in page.items],
            *common_prefixes(page.prefixes, spell),
        ],
    )


def list_versions(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    key, version_id = call.query.get("key-marker"), call.query.get("version-id-marker")
    if version_id is not None and key is None:
        raise S3Error(Code.InvalidArgument, "A version-id marker cannot be specified without a key marker.")
    after = _behind_version(bucket, key, version_id) if key is not None and version_id else None
    page = cut_page(bucket.keys, lambda key: reversed(bucket.histories[key]), window(call, "max-keys", key, after))
    spell, last = spelling(call), page.last
    return document(
        "ListVersionsResult",
        [
            *described(call, "max-keys", is_truncated=page.is_truncated),
            ("KeyMarker", spell(key or "")),
            ("VersionIdMarker", version_id or ""),
            *optional("NextKeyMarker", spell(last.key) if last else None),
            *optional("NextVersionIdMarker", last.version_id if isinstance(last, Version) else None),
            *[_version_row(one, spell, is_latest=bucket.newest(one.key) is one) for one in page.items],
            *common_prefixes(page.prefixes, spell),
        ],
    )


def list_uploads(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    key, upload_id = call.query.get("key-marker"), call.query.get("upload-id-marker")
    after = (key, number_in(upload_id)) if key is not None and upload_id else None
    by_key: dict[str, list[Upload]] = {}
    for upload in sorted(bucket.uploads.values(), key=lambda one: one.position):
        by_key.setdefault(upload.key, []).append(upload)
    page = cut_page(list(by_key), by_key.__getitem__, window(call, "max-uploads", key, after))
    spell, last = spelling(call), page.last
    return document(
        "ListMultipartUploadsResult",
        [
            *described(call, "max-uploads", is_truncated=page.is_truncated),
            ("KeyMarker", spell(key or "")),
            ("UploadIdMarker", upload_id or ""),
            *optional("NextKeyMarker", spell(last.key) if last else None),
            *optional("NextUploadIdMarker", last.upload_id if isinstance(last, Upload) else None),
            *[_upload_row(one, spell) for one in page.items],
            *common_prefixes(page.prefixes, spell),
        ],
    )


# Which page is asked for


def window(call: Call, limit_name: str, key: str | None, after: Position | None = None) -> Window:
    """Return the page that a request asks for: after a key, or after a position."""
    behind = after or (None if key is None else end_of(key))
    limit = page_limit(call, limit_name)
    return Window(call.query.get("prefix", ""), call.query.get("delimiter", ""), limit, behind)


def _objects(bucket: Bucket, wanted: Window) -> Page[Version]:
    def newest(key: str) -> Sequence[Version]:
        version = bucket.histories[key][-1]
        return () if version.is_marker else (version,)

    return cut_page(bucket.keys, newest, wanted)


def _behind_version(bucket: Bucket, key: str, version_id: str) -> Position:
    """Return where to go on after a version. If a null version is gone, its key is listed from the beginning."""
    if version_id != NULL_VERSION:
        return key, -number_in(version_id)
    found = next((one for one in bucket.histories.get(key, ()) if one.is_null), None)
    return start_of(key) if found is None else found.position


def page_limit(call: Call, name: str) -> int:
    return min(whole_number(call.query, name, LARGEST_PAGE), LARGEST_PAGE)


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise S3Error(Code.InvalidArgument, f"{name} must be a whole number.")
    return int(text)


def token_for(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def key_in_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise S3Error(Code.InvalidArgument, "The continuation token provided is incorrect.") from None


# How it is written


def spelling(call: Call) -> Spelling:
    """Return how keys are written: as they are, or percent-encoded for keys that XML cannot carry."""
    encoding = call.query.get("encoding-type")
    if encoding not in (None, "url"):
        raise S3Error(Code.InvalidArgument, "Invalid encoding type specified.")
    return str if encoding is None else lambda text: quote_plus(text, safe="/")


def described(call: Call, limit_name: str, *, is_truncated: bool) -> list[Node]:
    """Return what a page repeats of the request."""
    spell, query = spelling(call), call.query
    return [
        ("Bucket" if limit_name == "max-uploads" else "Name", call.bucket),
        ("Prefix", spell(query.get("prefix", ""))),
        *optional("Delimiter", spell(query.get("delimiter", "")) or None),
        *optional("EncodingType", query.get("encoding-type")),
        (limit_name.title().replace("-", ""), page_limit(call, limit_name)),
        ("IsTruncated", truth(is_truncated)),
    ]


def _object_facts(version: Version, spell: Spelling) -> list[Node]:
    return [
        ("Key", spell(version.key)),
        ("LastModified", iso(version.modified)),
        ("ETag", f'"{version.content.etag}"'),
        ("Size", len(version.content.body)),
        ("StorageClass", version.content.storage_class),
    ]


def _version_row(version: Version, spell: Spelling, *, is_latest: bool) -> Node:
    name, facts = "Version", _object_facts(version, spell)
    if version.is_marker:
        name, facts = "DeleteMarker", facts[:2]
    return name, [*facts, ("VersionId", version.version_id), ("IsLatest", truth(is_latest)), owner()]


def _upload_row(upload: Upload, spell: Spelling) -> Node:
    facts: list[Node] = [("Key", spell(upload.key)), ("UploadId", upload.upload_id), ("Initiated", iso(upload.started))]
    return "Upload", [*facts, *custody(upload)]


def custody(upload: Upload) -> list[Node]:
    return [
        owner("Initiator"),
        owner(),
        ("StorageClass", upload.headers.get("x-amz-storage-class", "STANDARD")),
    ]


def common_prefixes(prefixes: Sequence[CommonPrefix], spell: Spelling) -> list[Node]:
    return [("CommonPrefixes", [("Prefix", spell(one.key))]) for one in prefixes]
