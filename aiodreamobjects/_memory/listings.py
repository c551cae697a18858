"""Lists of objects, of versions and of uploads, a page at a time."""

from __future__ import annotations

import base64
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote_plus

from aiodreamobjects._memory.acls import OWNER_XML, owner
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.checksums import in_list
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import document, element, escaped, iso, nested, optional, truth
from aiodreamobjects._memory.store import NULL_VERSION, Bucket, Position, Store, Upload, Version, number_in

LARGEST_PAGE = 1000

Spelling = Callable[[str], str]
"""How a key is written in XML."""


def list_objects(store: Store, call: Call) -> Reply:
    marker, spell = call.query.get("marker"), spelling(call)
    page = _objects(store.bucket(call.bucket), window(call, "max-keys", marker))
    # Without a delimiter S3 leaves it to the client to go on from the last key.
    goes_on = page.last is not None and call.query.get("delimiter")
    return document(
        "ListBucketResult",
        described(call, "max-keys", page),
        f"<Marker>{spell(marker or '')}</Marker>",
        f"<NextMarker>{spell(page.last.key)}</NextMarker>" if page.last and goes_on else "",
        *[f"<Contents>{_object_facts(one, spell)}{OWNER_XML}</Contents>" for one in page.items],
        *common_prefixes(page, spell),
    )


def list_objects_v2(store: Store, call: Call) -> Reply:
    if call.query["list-type"] != "2":
        raise S3Error(Code.InvalidArgument, "Unsupported value for list-type.")
    token, start, spell = call.query.get("continuation-token"), call.query.get("start-after"), spelling(call)
    page = _objects(
        store.bucket(call.bucket), window(call, "max-keys", start if token is None else key_in_token(token))
    )
    owners = OWNER_XML if call.query.get("fetch-owner") == "true" else ""
    return document(
        "ListBucketResult",
        described(call, "max-keys", page),
        element("KeyCount", len(page.entries)),
        "" if start is None else f"<StartAfter>{spell(start)}</StartAfter>",
        optional("ContinuationToken", token),
        optional("NextContinuationToken", token_for(page.last.key) if page.last else None),
        *[f"<Contents>{_object_facts(one, spell)}{owners}</Contents>" for one in page.items],
        *common_prefixes(page, spell),
    )


def list_versions(store: Store, call: Call) -> Reply:
    bucket, spell = store.bucket(call.bucket), spelling(call)
    key, version_id = call.query.get("key-marker"), call.query.get("version-id-marker")
    if version_id is not None and key is None:
        raise S3Error(Code.InvalidArgument, "A version-id marker cannot be specified without a key marker.")
    after = _behind_version(bucket, key, version_id) if key is not None and version_id else None
    page = cut_page(bucket.keys, lambda key: bucket.histories[key][::-1], window(call, "max-keys", key, after))
    return document(
        "ListVersionsResult",
        described(call, "max-keys", page),
        _markers("Version", page, spell, key, version_id),
        *[_version_row(one, spell, is_latest=bucket.histories[one.key][-1] is one) for one in page.items],
        *common_prefixes(page, spell),
    )


def list_uploads(store: Store, call: Call) -> Reply:
    bucket, spell = store.bucket(call.bucket), spelling(call)
    key, upload_id = call.query.get("key-marker"), call.query.get("upload-id-marker")
    after = (key, number_in(upload_id)) if key is not None and upload_id else None
    by_key: dict[str, list[Upload]] = {}
    for upload in sorted(bucket.uploads.values(), key=lambda one: one.position):
        by_key.setdefault(upload.key, []).append(upload)
    page = cut_page(list(by_key), by_key.__getitem__, window(call, "max-uploads", key, after))
    return document(
        "ListMultipartUploadsResult",
        described(call, "max-uploads", page),
        _markers("Upload", page, spell, key, upload_id),
        *[_upload_row(one, spell) for one in page.items],
        *common_prefixes(page, spell),
    )


# Which page is asked for


class Listed(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def position(self) -> Position: ...


T = TypeVar("T", bound=Listed)


@dataclass(slots=True)
class CommonPrefix:
    """All keys that agree up to the delimiter, as one entry."""

    key: str

    @property
    def position(self) -> Position:
        return self.key, math.inf


@dataclass(slots=True)
class Window:
    """Which part of a list is wanted: at most ``limit`` entries after the position ``after``."""

    prefix: str
    delimiter: str
    limit: int
    after: Position


def window(call: Call, limit_name: str, key: str | None, after: Position | None = None) -> Window:
    """Return the page that a request asks for: after all that has this key, or after a position."""
    behind = after or (("", -math.inf) if key is None else (key, math.inf))
    return Window(call.query.get("prefix", ""), call.query.get("delimiter", ""), page_limit(call, limit_name), behind)


@dataclass(slots=True)
class Page(Generic[T]):
    entries: Sequence[T | CommonPrefix]
    is_truncated: bool

    @property
    def items(self) -> list[T]:
        return [entry for entry in self.entries if not isinstance(entry, CommonPrefix)]

    @property
    def last(self) -> T | CommonPrefix | None:
        """The entry after which the next page starts; None if there is no next page."""
        return self.entries[-1] if self.is_truncated else None


def cut_page(keys: Sequence[str], items_of: Callable[[str], Sequence[T]], window: Window) -> Page[T]:
    """Return one page of a list. A common prefix counts as one entry.

    ``keys`` are in order. ``items_of`` returns what a key has, in order. No more keys are visited than needed.
    """
    found = list(islice(_entries(keys, items_of, window), window.limit + 1))
    return Page(found[: window.limit], is_truncated=0 < window.limit < len(found))


def _entries(keys: Sequence[str], items_of: Callable[[str], Sequence[T]], window: Window) -> Iterator[T | CommonPrefix]:
    prefix, delimiter, after = window.prefix, window.delimiter, window.after
    position = bisect_left(keys, max(prefix, after[0]))
    while position < len(keys) and (key := keys[position]).startswith(prefix):
        items = items_of(key)
        end = key.find(delimiter, len(prefix)) if delimiter and items else -1
        if end < 0:
            yield from items if key > after[0] else (item for item in items if item.position > after)
            position += 1
            continue
        common = CommonPrefix(key[: end + len(delimiter)])
        if common.position > after:
            yield common
        position = bisect_right(keys, common.key, lo=position, key=lambda other: other[: len(common.key)])


def _objects(bucket: Bucket, wanted: Window) -> Page[Version]:
    def newest(key: str) -> Sequence[Version]:
        found = bucket.histories[key][-1:]
        return () if found[0].is_marker else found

    return cut_page(bucket.keys, newest, wanted)


def _behind_version(bucket: Bucket, key: str, version_id: str) -> Position:
    """Return where to go on after a version. If a null version is gone, its key is listed from the beginning."""
    if version_id != NULL_VERSION:
        return key, -number_in(version_id)
    found = next((one for one in bucket.histories.get(key, ()) if one.is_null), None)
    return (key, -math.inf) if found is None else found.position


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
    return escaped if encoding is None else _percent_encoded


def _percent_encoded(key: str) -> str:
    return key if _PLAIN(key) else quote_plus(key, safe="/")


_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch


def described(call: Call, limit_name: str, page: Page[T]) -> str:
    """Return what a page repeats of the request."""
    spell, query = spelling(call), call.query
    delimiter = query.get("delimiter")
    return "".join(
        [
            element("Bucket" if limit_name == "max-uploads" else "Name", call.bucket),
            f"<Prefix>{spell(query.get('prefix', ''))}</Prefix>",
            f"<Delimiter>{spell(delimiter)}</Delimiter>" if delimiter else "",
            optional("EncodingType", query.get("encoding-type")),
            element(limit_name.title().replace("-", ""), page_limit(call, limit_name)),
            element("IsTruncated", truth(page.is_truncated)),
        ]
    )


def _markers(kind: str, page: Page[T], spell: Spelling, key: str | None, behind: str | None) -> str:
    """Return where the page starts, and where the next one does."""
    told = f"<KeyMarker>{spell(key or '')}</KeyMarker>" + element(f"{kind}IdMarker", behind or "")
    last = page.last
    if last is not None:
        told += f"<NextKeyMarker>{spell(last.key)}</NextKeyMarker>"
    if isinstance(last, Version | Upload):
        told += element(f"Next{kind}IdMarker", last.version_id if isinstance(last, Version) else last.upload_id)
    return told


def _object_facts(version: Version, spell: Spelling) -> str:
    content = version.content
    checksums = in_list(content.checksums) if content.checksums else ""
    return (
        f"<Key>{spell(version.key)}</Key><LastModified>{iso(version.modified)}</LastModified>"
        f"<ETag>&quot;{content.etag}&quot;</ETag>{checksums}"
        f"<Size>{len(content.body)}</Size>"
        f"<StorageClass>{content.storage_class}</StorageClass>"
    )


def _version_row(version: Version, spell: Spelling, *, is_latest: bool) -> str:
    about = f"<VersionId>{version.version_id}</VersionId><IsLatest>{truth(is_latest)}</IsLatest>{OWNER_XML}"
    if not version.is_marker:
        return f"<Version>{_object_facts(version, spell)}{about}</Version>"
    when = f"<LastModified>{iso(version.modified)}</LastModified>"
    return f"<DeleteMarker><Key>{spell(version.key)}</Key>{when}{about}</DeleteMarker>"


def _upload_row(upload: Upload, spell: Spelling) -> str:
    facts = f"<Key>{spell(upload.key)}</Key>", element("UploadId", upload.upload_id)
    return nested("Upload", *facts, element("Initiated", iso(upload.started)), custody(upload))


def custody(upload: Upload) -> str:
    storage_class = upload.headers.get("x-amz-storage-class", "STANDARD")
    return f"{owner('Initiator')}{OWNER_XML}{element('StorageClass', storage_class)}"


def common_prefixes(page: Page[T], spell: Spelling) -> Iterable[str]:
    return (
        f"<CommonPrefixes><Prefix>{spell(entry.key)}</Prefix></CommonPrefixes>"
        for entry in page.entries
        if isinstance(entry, CommonPrefix)
    )
