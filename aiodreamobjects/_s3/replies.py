"""From the headers and pages of a reply to our values."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote, unquote_plus

from aiodreamobjects._errors import ChecksumMismatchError, ServiceError
from aiodreamobjects._integrity import Md5, md5_of_etag
from aiodreamobjects._models import (
    Acl,
    Address,
    BucketInfo,
    CommonPrefix,
    ObjectInfo,
    UploadInfo,
    Verified,
    make_object_info,
)
from aiodreamobjects._s3 import xml
from aiodreamobjects._s3.errors import refuse_reply
from aiodreamobjects._s3.options import HEADERS, WriteOptions, quoted, unquoted
from aiodreamobjects._s3.values import Cursor, Part
from aiodreamobjects._s3.xml import DAMAGED
from aiodreamobjects._service import quote_key

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), start=1
    )
}

Headers = Mapping[bytes, bytes]

MOST_DIGITS = 19
_OK, _PARTIAL_CONTENT = int(HTTPStatus.OK), int(HTTPStatus.PARTIAL_CONTENT)


def object_info(address: Address, headers: Headers) -> ObjectInfo:
    """Return what a GET or HEAD reply tells of an object."""
    modified = http_date(headers.get(b"last-modified"))
    version = version_id(raw_text(headers.get(b"x-amz-version-id")))
    return _info(address, place_of(headers)[1], etag_of(headers), modified, version, headers)


def _info(
    address: Address,
    size: int | None,
    etag: str | None,
    modified: datetime | None,
    version: str | None,
    headers: Headers,
    verified: Verified | None = None,
) -> ObjectInfo:
    """``headers``: those that the object is stored with."""
    told = headers.get
    return make_object_info(
        address.bucket,
        address.key,
        size,
        etag,
        modified,
        text(told(b"content-type")),
        metadata_of(headers),
        version,
        text(told(b"x-amz-storage-class")),
        text(told(b"cache-control")),
        text(told(b"content-disposition")),
        text(told(b"content-encoding")),
        text(told(b"content-language")),
        text(told(b"expires")),
        text(told(b"x-amz-website-redirect-location")),
        verified,
    )


_META = b"x-amz-meta-"


def metadata_of(headers: Headers) -> dict[str, str]:
    return {name[11:].decode("latin-1"): as_text(value) for name, value in headers.items() if name[:11] == _META}


def as_text(value: bytes) -> str:
    """Read a header's value for people: as UTF-8, which most tools store, else as latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def text(value: bytes | None) -> str | None:
    return value if value is None else as_text(value)


def raw_text(value: bytes | None) -> str | None:
    """Read a value that goes back to the service: each character is a byte."""
    return value if value is None else value.decode("latin-1")


def headers_to_carry(headers: Headers, *, replaced: Collection[str], is_itself: bool) -> dict[str, str]:
    """Return the headers that a copy of an object takes over, as the service sent them: each character is a byte.

    ``replaced``: the options that are given for the copy. ``is_itself``: the copy takes the object's place, and keeps what
    belongs to the place too.
    """
    names = [header for option, header in HEADERS.items() if option not in replaced]
    if is_itself:
        names += [name for name in _OF_THE_PLACE if name != _STORAGE_CLASS or "storage_class" not in replaced]
    carried = {name: value.decode("latin-1") for name in names if (value := headers.get(name.encode()))}
    if "metadata" not in replaced:
        carried |= {
            name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items() if name[:11] == _META
        }
    return carried


LOCK_MODE, LOCK_UNTIL = b"x-amz-object-lock-mode", b"x-amz-object-lock-retain-until-date"
LEGAL_HOLD = b"x-amz-object-lock-legal-hold"
_STORAGE_CLASS = "x-amz-storage-class"
_OF_THE_PLACE = (
    _STORAGE_CLASS,
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    *(name.decode() for name in (LOCK_MODE, LOCK_UNTIL, LEGAL_HOLD)),
)
"""Headers that say how an object is kept where it is. Another bucket or service has its own ways."""


def length(headers: Headers) -> int | None:
    """Of the body; the HTTP parser has seen that it is a number."""
    value = headers.get(b"content-length")
    return value if value is None else int(value)


def texts(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def encryption(headers: Headers) -> str | None:
    """How the service encrypted an object, as far as it says."""
    if b"x-amz-server-side-encryption-customer-algorithm" in headers:
        return "a customer's key"
    return text(headers.get(b"x-amz-server-side-encryption"))


def http_date(value: bytes | None) -> datetime | None:
    """As RFC 9110 section 5.6.7 has it: fast in the form that is not obsolete."""
    if value is None:
        return None
    if len(value) != len("Sun, 06 Nov 1994 08:49:37 GMT") or value[25:] != b" GMT":
        return _other_date(value.decode("latin-1"))
    try:
        return datetime(
            int(value[12:16]),
            _MONTHS[value[8:11]],
            int(value[5:7]),
            int(value[17:19]),
            int(value[20:22]),
            int(value[23:25]),
            tzinfo=UTC,
        )
    except (KeyError, ValueError):
        refuse_reply(f"a date that is none, {value[:40]!r}")


def time_of_reply(headers: Headers) -> datetime | None:
    """When it was made, by the service's clock; None where it does not tell, or in no form that is known."""
    try:
        return http_date(headers.get(b"date"))
    except ServiceError:
        return None


def check_date(value: bytes | None) -> None:
    """Refuse what has not even the shape of a date, for a reply whose date may never be asked for."""
    if value is not None and not (len(value) == len("Sun, 06 Nov 1994 08:49:37 GMT") and value[25:] == b" GMT"):
        http_date(value)


def _other_date(value: str) -> datetime:
    try:
        found = parsedate_to_datetime(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse_reply(f"a date that is none, {value[:40]!r}")


def listed_date(value: str | None) -> datetime | None:
    """As XML has it: ISO 8601."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is UTC:
            return found
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return _other_date(value)


def whole(value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > MOST_DIGITS:
        refuse_reply(f"a number that is none, {value[:40]!r}")
    return int(value)


def version_id(found: str | None) -> str | None:
    """``null`` names the version of an object that was put without versioning: no version worth telling."""
    return None if found == "null" else found


_CONTENT_RANGE = re.compile(r"bytes[ =]([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


def parse_content_range(value: str) -> tuple[int, int, int | None]:
    """First and last position, and the whole length where it is known (RFC 9110 section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        refuse_reply(f"a Content-Range that is none, {value[:60]!r}")
    first, last, total = match.groups()
    return int(first), int(last), None if total == "*" else int(total)


def announced_length(headers: Headers) -> int | None:
    """Of an object's body: its Content-Length, or what its Content-Range says where it comes in chunks."""
    content_range = headers.get(b"content-range")
    if content_range is None or b"content-length" in headers:
        return length(headers)
    first, last, _ = parse_content_range(content_range.decode("latin-1"))
    return last - first + 1


def place_of(headers: Headers) -> tuple[int, int | None]:
    """The position in the object of a reply's first byte, and the object's size."""
    content_range = headers.get(b"content-range")
    if content_range is None:
        return 0, length(headers)
    start, _, size = parse_content_range(content_range.decode("latin-1"))
    return start, size


def etag_of(headers: Headers) -> str | None:
    return unquoted(raw_text(headers.get(b"etag")))


def check_answer(status: int, headers: Headers) -> None:
    """Refuse what is no answer to a GET of an object: a page of somebody else's, a part that does not say which."""
    content_range = headers.get(b"content-range")
    if status not in (_OK, _PARTIAL_CONTENT):
        refuse_reply(f"status {status} in answer to a GET")
    if b"etag" not in headers:
        refuse_reply("an object without ETag")
    if b"content-length" not in headers and b"transfer-encoding" not in headers:
        refuse_reply("an object without its length")
    if (status == _PARTIAL_CONTENT) != (content_range is not None):
        refuse_reply(f"status {status} {'with' if content_range else 'without'} a Content-Range")


# Objects that a request has made


def check_etag(what: str, etag: str, encryption: str | None, digest: Md5 | None) -> bool:
    """Whether the ETag that the service gave a body says that it has these bytes; it must not be that of others."""
    expected = md5_of_etag(etag, encryption)
    if digest is None or expected is None:
        return False
    if expected != digest.hexdigest():
        msg = f"{what}: the service stored other bytes: ETag {etag}, MD5 {digest.hexdigest()}"
        raise ChecksumMismatchError(msg)
    return True


def checked_etag(what: str, headers: Headers, digest: Md5 | None) -> tuple[str, bool]:
    """Return the ETag of what was put, and whether it verifies the bytes."""
    etag = etag_of(headers) or refuse_reply("a reply without ETag", may_be_done=True)
    return etag, check_etag(what, etag, encryption(headers), digest)


def stored_object(
    address: Address,
    size: int,
    etag: str,
    options: WriteOptions,
    headers: Headers,
    is_verified: bool,  # noqa: FBT001 - private
) -> ObjectInfo:
    """Return what is known of an object that was put."""
    version = version_id(raw_text(headers.get(b"x-amz-version-id")))
    return described(address, options, size, etag, version, "md5" if is_verified else None)


def described(
    address: Address,
    options: WriteOptions,
    size: int | None,
    etag: str | None,
    version: str | None,
    verified: Verified | None,
) -> ObjectInfo:
    """Return what is known of an object by what it was stored with."""
    stored = {name.encode("latin-1"): value.encode("latin-1") for name, value in options.content_headers().items()}
    return _info(address, size, etag, None, version, stored, verified)


def assembled_object(address: Address, etag: str | None, modified: str | None, headers: Headers) -> ObjectInfo:
    """What is known of an object that was copied, or completed from parts. Only an ETag says that it was.

    Ceph RGW 16.2 leaves the element empty when it completes an upload.
    """
    if etag is None:
        refuse_reply("a reply without ETag")
    return ObjectInfo(
        bucket=address.bucket,
        key=address.key,
        etag=unquoted(etag),
        last_modified=listed_date(modified),
        version_id=version_id(raw_text(headers.get(b"x-amz-version-id"))),
    )


def listed_part(number: str | None, etag: str | None, size: str | None) -> Part:
    return Part(whole(number) or refuse_reply("a part without PartNumber"), unquoted(etag) or "", whole(size))


def bucket_info(name: str, headers: Headers) -> BucketInfo:
    """From the headers of a HEAD; only Ceph RGW counts (``X-RGW-*``)."""
    return BucketInfo(
        name=name,
        region=text(headers.get(b"x-amz-bucket-region")),
        object_count=_count(headers.get(b"x-rgw-object-count")),
        bytes_used=_count(headers.get(b"x-rgw-bytes-used")),
    )


def _count(value: bytes | None) -> int | None:
    return int(value) if value and value.isdigit() else None


def acl_of(root: xml.Element) -> Acl:
    return xml.acl_of(root) or refuse_reply("a reply without Owner/ID, or with grants that are none")


# Headers of requests


def headers_of_source(source: Address, version: str | None, if_match: str | None) -> dict[str, str]:
    """Of a server-side copy."""
    where = f"/{source.bucket}/{quote_key(source.key)}" + (f"?versionId={quote(version, safe='')}" if version else "")
    headers = {"x-amz-copy-source": where}
    return headers | {"x-amz-copy-source-if-match": quoted(if_match)} if if_match is not None else headers


# Pages


def key_decoder(encoding_type: str | None, names: Iterable[str]) -> Callable[[str], str]:
    """How a page's keys and prefixes are read: decoded only where the service says that it encoded them.

    Refused if they were not encoded and XML could not carry one.
    """
    if encoding_type == "url":
        return decoded
    if any(DAMAGED in name for name in names):
        refuse_reply("a key that XML cannot carry, and did not encode it")
    return str


def decoded(name: str) -> str:
    return unquote_plus(name) if "%" in name or "+" in name else name


def next_cursor(
    is_truncated: bool | None,  # noqa: FBT001 - S3's own word
    markers: Sequence[str | None],
    decode: Callable[[str], str] = str,
    last: Sequence[ObjectInfo | UploadInfo] = (),
) -> Cursor | None:
    """Where the listing goes on; a key marker is encoded as the keys are, but not by Ceph RGW."""
    if is_truncated is None:
        refuse_reply("a listing without IsTruncated")
    if not is_truncated:
        return None
    key, *rest = (marker or "" for marker in markers)
    if not key:
        refuse_reply("a listing that goes on, but not where")
    if last and (DAMAGED in key or last[0].key == key):
        return (last[0].key, *rest)
    return (decode(key), *rest)


def objects_cursor(token: Cursor | None, items: Sequence[ObjectInfo | CommonPrefix]) -> Cursor | None:
    """Of a page of objects: its token, or the last item where XML could not carry that."""
    if token is None or DAMAGED not in token[0] or not items:
        return token and (*token, "")
    return ("", _end_of(items[-1]))


def marker_cursor(
    is_truncated: bool | None,  # noqa: FBT001 - S3's own word
    items: Sequence[ObjectInfo | CommonPrefix],
    marker: str | None,
) -> Cursor | None:
    """Of a page of the older kind of list. Its last item serves: services disagree on NextMarker and its encoding."""
    found = next_cursor(is_truncated, [_end_of(items[-1]) if items else marker])
    return found and ("", *found)


def _end_of(item: ObjectInfo | CommonPrefix) -> str:
    """What a listing starts after to go on behind this item."""
    return item.key if isinstance(item, ObjectInfo) else f"{item.prefix}\U0010ffff"


def name_of(item: ObjectInfo | CommonPrefix) -> str:
    """What a page is sorted by: the order of ``str`` is that of UTF-8 bytes."""
    return item.key if isinstance(item, ObjectInfo) else item.prefix


def newest_first(item: ObjectInfo) -> tuple[str, bool, float]:
    age = -item.last_modified.timestamp() if item.last_modified else 0.0
    return item.key, not item.is_latest, age
