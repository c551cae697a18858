"""Turn the headers and documents of replies into our values, or refuse them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast, get_args
from urllib.parse import quote, unquote_plus

from aiodreamobjects._checksums import READABLE, Told, element_of, header_of
from aiodreamobjects._encryption import SSE, Encryption, SseCustomer, SseKms, source_headers_of
from aiodreamobjects._errors import ChecksumMismatchError, ServiceError
from aiodreamobjects._integrity import IF_NO_DIGEST, Md5, md5_of_etag
from aiodreamobjects._later import Later
from aiodreamobjects._models import (
    Address,
    BucketInfo,
    Checksum,
    CommonPrefix,
    ObjectInfo,
    RetentionMode,
    UploadInfo,
    Verified,
    make_object_info,
)
from aiodreamobjects._s3 import xml
from aiodreamobjects._s3.errors import Words, refuse_reply
from aiodreamobjects._s3.options import (
    HEADERS,
    LEGAL_HOLD,
    LOCK_MODE,
    LOCK_UNTIL,
    ReadOptions,
    WriteOptions,
    quoted,
    unquoted,
)
from aiodreamobjects._s3.values import Cursor, Part
from aiodreamobjects._s3.xml import DAMAGED
from aiodreamobjects._service import Service, quote_key

if TYPE_CHECKING:
    import json
    from email import utils as email_utils

    from aiodreamobjects import _bucket_settings as values
    from aiodreamobjects._acls import Acl
    from aiodreamobjects._bucket_settings import Retention
else:
    json, email_utils, values = Later("json"), Later("email.utils"), Later("aiodreamobjects._bucket_settings")

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), start=1
    )
}

Headers = Mapping[bytes, bytes]

MOST_DIGITS = 19
MILLISECONDS_DIGITS = 13
"""The number of digits of milliseconds since 1970, for the years 2001 to 2286."""
_OK, _PARTIAL_CONTENT = int(HTTPStatus.OK), int(HTTPStatus.PARTIAL_CONTENT)


def object_info(address: Address, headers: Headers) -> ObjectInfo:
    """Return what a reply to a GET or HEAD says of an object."""
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
    """Return the description of an object with these stored headers."""
    get = headers.get
    return make_object_info(
        address.bucket,
        address.key,
        size,
        etag,
        modified,
        text(get(b"content-type")),
        metadata_of(headers),
        version,
        text(get(b"x-amz-storage-class")),
        text(get(b"cache-control")),
        text(get(b"content-disposition")),
        text(get(b"content-encoding")),
        text(get(b"content-language")),
        text(get(b"expires")),
        text(get(b"x-amz-website-redirect-location")),
        verified,
        encryption(headers),
    )


_META = b"x-amz-meta-"


def metadata_of(headers: Headers) -> dict[str, str]:
    return {name[11:].decode("latin-1"): as_text(value) for name, value in headers.items() if name[:11] == _META}


def as_text(value: bytes) -> str:
    """Decode a header's value for people: as UTF-8, which most tools store, or else as latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def text(value: bytes | None) -> str | None:
    return value if value is None else as_text(value)


def raw_text(value: bytes | None) -> str | None:
    """Decode a value that goes back to the service unchanged: each character is a byte."""
    return value if value is None else value.decode("latin-1")


def headers_to_carry(headers: Headers, *, replaced: Collection[str], is_itself: bool) -> dict[str, str]:
    """Return the headers that a copy takes over from its source, as the service sent them: each character is a byte.

    ``replaced`` names the options that the caller gives for the copy. If the copy ``is_itself`` the object, it also keeps
    the headers that say how the object is kept.
    """
    names = [header for option, header in HEADERS.items() if option not in replaced]
    if is_itself:
        names += [] if "storage_class" in replaced else [_STORAGE_CLASS]
        names += [] if "encryption" in replaced else _OF_ENCRYPTION
    carried = {name: value.decode("latin-1") for name in names if (value := headers.get(name.encode()))}
    if "metadata" not in replaced:
        carried |= {
            name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items() if name[:11] == _META
        }
    return carried


_STORAGE_CLASS = "x-amz-storage-class"
_OF_ENCRYPTION = (SSE, f"{SSE}-aws-kms-key-id", f"{SSE}-bucket-key-enabled")
"""Headers that say how an object is kept in its bucket. Another bucket or service may have other rules."""


def length(headers: Headers) -> int | None:
    """Return the Content-Length. The HTTP parser has checked that it is a number."""
    value = headers.get(b"content-length")
    return value if value is None else int(value)


def texts(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def encryption(headers: Headers) -> str | None:
    """Return how the service encrypted an object, if it says so."""
    if b"x-amz-server-side-encryption-customer-algorithm" in headers:
        return CUSTOMERS
    return text(headers.get(b"x-amz-server-side-encryption"))


CUSTOMERS = "SSE-C"


def is_encrypted(headers: Headers, wanted: Encryption) -> bool:
    """Return whether these headers of a reply say that the object is encrypted in this way."""
    found = encryption(headers) or ""
    return found.startswith("aws:kms") if isinstance(wanted, SseKms) else found == _name_of(wanted)


def _name_of(encryption: Encryption) -> str:
    if isinstance(encryption, SseCustomer):
        return CUSTOMERS
    return "aws:kms" if isinstance(encryption, SseKms) else encryption


def obstacle(headers: Headers, service: Service, wanted: Encryption | None = None) -> str | None:
    """Return what may keep the ETag of this reply from being a digest: an encryption, or the service's own way.

    ``wanted`` is the encryption that the request asked for.
    """
    if service.digests != "all":
        return f"digests of {service.digests}"
    return encryption(headers) or (None if wanted is None else _name_of(wanted))


def http_date(value: bytes | None) -> datetime | None:
    """Parse a date in the forms of RFC 9110 section 5.6.7. The form that is not obsolete takes the fast way."""
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
        refuse_reply(f"an invalid date {value[:40]!r}")


def time_of_reply(headers: Headers) -> datetime | None:
    """Return when the reply was made, by the service's clock. None without a valid ``Date``."""
    try:
        return http_date(headers.get(b"date"))
    except ServiceError:
        return None


def check_date(value: bytes | None) -> None:
    """Refuse an invalid date. One of the usual form passes unparsed: the caller may never read it."""
    if value is not None and not (len(value) == len("Sun, 06 Nov 1994 08:49:37 GMT") and value[25:] == b" GMT"):
        http_date(value)


def _other_date(value: str) -> datetime:
    try:
        found = email_utils.parsedate_to_datetime(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse_reply(f"an invalid date {value[:40]!r}")


def listed_date(value: str | None) -> datetime | None:
    """Parse a date in a document: ISO 8601, or as some gateways write it, RFC 9110's form or milliseconds since 1970."""
    if value is None:
        return None
    try:
        if (usual := datetime.fromisoformat(value)).tzinfo is UTC:
            return usual
    except ValueError:
        pass
    value = value.strip()
    try:
        if len(value) == MILLISECONDS_DIGITS and value.isascii() and value.isdigit():
            return datetime.fromtimestamp(int(value) / 1000, UTC)
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return _other_date(value)


def whole(value: str | None) -> int | None:
    if value is None:
        return None
    digits = value.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > MOST_DIGITS:
        refuse_reply(f"an invalid number {value[:40]!r}")
    return int(digits)


def flag(root: xml.Element, name: str) -> bool | None:
    """Read a child as one of XML Schema's booleans, in any case: gofakes3 writes ``True``. None if there is no child."""
    value = (root.get(name) or "").strip().lower()
    if value not in _BOOLEANS:
        refuse_reply(f"{name} {value[:40]!r}, which is neither true nor false")
    return _BOOLEANS[value]


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": None}


def version_id(found: str | None) -> str | None:
    """Return the version, or None for ``null``: S3 calls the version of an object that was put without versioning so."""
    return None if found == "null" else found


_CONTENT_RANGE = re.compile(r"bytes[ =]([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_RANGE_OF_NOTHING = re.compile(r"bytes[ =](?:0-+[01]?|\*)/0")
"""The Content-Range of an empty object: ``bytes 0--1/0`` (Ceph, MinIO) or ``bytes */0``."""


def parse_content_range(value: str) -> tuple[int, int, int | None]:
    """Return the first and the last position, and the whole length if it is known (RFC 9110 section 14.4)."""
    if _RANGE_OF_NOTHING.fullmatch(value.strip()):
        return 0, -1, 0
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        refuse_reply(f"an invalid Content-Range {value[:60]!r}")
    first, last, total = match.groups()
    return int(first), int(last), None if total == "*" else int(total)


def announced_length(headers: Headers) -> int | None:
    """Return the length of an object's body, from Content-Length, or from Content-Range if the body comes in chunks."""
    content_range = headers.get(b"content-range")
    if content_range is None or b"content-length" in headers:
        return length(headers)
    first, last, _ = parse_content_range(content_range.decode("latin-1"))
    return last - first + 1


def place_of(headers: Headers) -> tuple[int, int | None]:
    """Return the position of a body's first byte in the object, and the object's size if it is known."""
    content_range = headers.get(b"content-range")
    if content_range is None:
        return 0, length(headers)
    start, _, size = parse_content_range(content_range.decode("latin-1"))
    return start, size


def etag_of(headers: Headers) -> str | None:
    return unquoted(raw_text(headers.get(b"etag")))


def is_same(one: ObjectInfo, other: ObjectInfo) -> bool:
    """Return whether two replies show the same state of an object. Compare sizes and ETags, or without ETags the times.

    ETags are compared weakly (RFC 9110 section 8.8.3.2): a proxy may turn a strong ETag into a weak one.
    """
    if one.size is not None and other.size is not None and one.size != other.size:
        return False
    if one.etag is None or other.etag is None:
        return one.etag == other.etag and one.last_modified == other.last_modified
    return one.etag.removeprefix("W/").strip('"') == other.etag.removeprefix("W/").strip('"')


def check_answer(status: int, headers: Headers) -> None:
    """Refuse a reply that cannot be an object: a web page of a proxy, or a part that does not say which part it is.

    A part may come with a 200 (lakeFS, gofakes3). Its Content-Range shows that it is a part.
    """
    if status not in (_OK, _PARTIAL_CONTENT):
        refuse_reply(f"status {status} in answer to a GET")
    if b"etag" not in headers and not _is_of_service(headers):
        refuse_reply("an object without ETag, nor any other header that tells it from a web page")
    if b"content-length" not in headers and b"transfer-encoding" not in headers:
        refuse_reply("an object without its length")
    if status == _PARTIAL_CONTENT and b"content-range" not in headers:
        refuse_reply("status 206 without a Content-Range")


def _is_of_service(headers: Headers) -> bool:
    """Return whether a reply without an ETag still looks like an object: some gateways send no ETag."""
    if any(name.startswith(b"x-amz-") for name in headers):
        return True
    return b"last-modified" in headers and not headers.get(b"content-type", b"").startswith(b"text/html")


# Objects that a request made


def check_etag(what: object, etag: str, obstacle: str | None, digest: Md5 | None) -> bool:
    """Return whether the ETag verifies the body with this MD5. Raises ChecksumMismatchError if it contradicts it.

    ``what``: the subject of the error, which is put into words only then.
    """
    expected = md5_of_etag(etag, obstacle)
    if digest is None or expected is None:
        return False
    if expected != digest.hexdigest():
        msg = f"{what}: the service stored other bytes: ETag {etag}, sent MD5 {digest.hexdigest()}; {IF_NO_DIGEST}"
        raise ChecksumMismatchError(msg)
    return True


def checksum_of(headers: Headers, service: Service) -> Told | None:
    """Return the checksum of an object, if a reply to a GET or HEAD of the whole tells it."""
    for name, algorithm in _CHECKSUMS:
        if name in headers:
            value = headers[name].decode("latin-1")
            # Without the number of parts, it cannot be compared.
            is_cut_off = headers.get(b"x-amz-checksum-type", b"").upper() == b"COMPOSITE" and "-" not in value
            return None if is_cut_off else Told(algorithm, value, service.keeps_checksums)
    return None


_CHECKSUMS: Final = tuple((f"x-amz-checksum-{algorithm}".encode(), algorithm) for algorithm in READABLE)


def check_checksum(what: object, algorithm: Checksum | None, sent: Mapping[str, str], headers: Headers) -> str | None:
    """Return the checksum with which the service answers. None if it does not keep any.

    Raises ChecksumMismatchError if it is another one than was sent.
    """
    if algorithm is None:
        return None
    name = header_of(algorithm)
    told = raw_text(headers.get(name.encode()))
    if told is not None and told != sent[name]:
        msg = f"{what}: the service stored other bytes: their {algorithm} is {told}, the one of those sent {sent[name]}"
        raise ChecksumMismatchError(msg)
    return told


def etag_of_stored(headers: Headers) -> str:
    return etag_of(headers) or refuse_reply("a reply without ETag", may_be_done=True)


def stored_object(
    address: Address,
    size: int,
    etag: str,
    options: WriteOptions,
    headers: Headers,
    verified: Verified | None,
) -> ObjectInfo:
    """Return the description of an object that was put."""
    version = version_id(raw_text(headers.get(b"x-amz-version-id")))
    return described(address, options, size, etag, version, verified)


def described(
    address: Address,
    options: WriteOptions,
    size: int | None,
    etag: str | None,
    version: str | None,
    verified: Verified | None,
) -> ObjectInfo:
    """Return the description of an object, from the options that it was stored with."""
    stored = {name.encode("latin-1"): value.encode("latin-1") for name, value in options.content_headers().items()}
    return _info(address, size, etag, None, version, stored, verified)


def assembled_object(address: Address, etag: str | None, modified: str | None, headers: Headers) -> ObjectInfo:
    """Return the description of an object that was copied, or completed from parts.

    Only an ETag element proves that it was. It may be empty: Ceph RGW 16.2 sends it so when it completes an upload.
    """
    if etag is None:
        refuse_reply("a reply without ETag")
    return ObjectInfo(
        bucket=address.bucket,
        key=address.key,
        etag=unquoted(etag),
        last_modified=listed_date(modified),
        version_id=version_id(raw_text(headers.get(b"x-amz-version-id"))),
        encryption=encryption(headers),
    )


def listed_part(part: xml.Element) -> Part:
    number = whole(part.get("PartNumber")) or refuse_reply("a part without PartNumber")
    checksums = (part.get(element_of(algorithm)) for algorithm in get_args(Checksum))
    return Part(
        number,
        unquoted(part.get("ETag")) or "",
        whole(part.get("Size")),
        checksum=next((value for value in checksums if value), None),
    )


def bucket_info(name: str, headers: Headers) -> BucketInfo:
    """Return what a HEAD says of a bucket. Only Ceph RGW counts objects (``X-RGW-*``)."""
    return BucketInfo(
        name=name,
        region=text(headers.get(b"x-amz-bucket-region")),
        object_count=_count(headers.get(b"x-rgw-object-count")),
        bytes_used=_count(headers.get(b"x-rgw-bytes-used")),
    )


def _count(value: bytes | None) -> int | None:
    return int(value) if value and value.isdigit() else None


def acl_of(root: xml.Element) -> Acl:
    return xml.acl_of(root) or refuse_reply("an ACL without Owner/ID, or with invalid grants")


def retention_of_headers(headers: Headers) -> Retention | None:
    return retention_of(*(text(headers.get(name.encode())) for name in (LOCK_MODE, LOCK_UNTIL)))


def retention_of(mode: str | None, date: str | None) -> Retention | None:
    until = listed_date(date)
    if not mode or until is None:
        return None
    if mode not in get_args(RetentionMode):
        refuse_reply(f"the retention mode {mode[:40]!r}")
    return values.Retention(cast(RetentionMode, mode), until)


def words_of_lock(headers: Headers) -> str:
    """Say how a version is locked. Empty if it is not."""
    mode, until, hold = (text(headers.get(name.encode())) for name in (LOCK_MODE, LOCK_UNTIL, LEGAL_HOLD))
    return lock_in_words(mode, until, is_held=hold == "ON")


def lock_in_words(mode: str | None, until: str | None, *, is_held: bool) -> str:
    retention = f"{mode} retention until {until}" if mode else ""
    return " and ".join(filter(None, (retention, "under legal hold" if is_held else "")))


# Errors


def words_of(document: bytes) -> Words:
    """Read an error document: S3's, one wrapped as in Amazon's other services, or JSON, which some gateways send."""
    document = document.lstrip()
    if document.startswith(b"{"):
        return _words_of_json(document)
    try:
        return words_of_xml(xml.parse(document))
    except xml.MalformedError:
        return Words()


def words_of_xml(root: xml.Element) -> Words:
    """Read the first ``Error`` element at any depth."""
    if root.name == "Error":
        return Words(root.get("Code") or "", root.get("Message") or "", root.get("RequestId"))
    found = next((words for child in root.children if (words := words_of_xml(child)) != Words()), Words())
    return found._replace(request_id=found.request_id or root.get("RequestId")) if found != Words() else found


def _words_of_json(document: bytes) -> Words:
    try:
        read: object = json.loads(document)
    except (ValueError, RecursionError):
        return Words()
    fields = {name.lower(): value for name, value in read.items()} if isinstance(read, dict) else {}
    if isinstance(fields.get("error"), dict):
        fields |= {str(name).lower(): value for name, value in fields["error"].items()}
    code, text, request_id = (
        next((value for name in names if isinstance(value := fields.get(name), str)), "")
        for names in (
            ("code", "__type", "errorcode", "error"),
            ("message", "error_description", "detail"),
            ("requestid",),
        )
    )
    return Words("" if " " in code else code, text or (code if " " in code else ""), request_id or None)


# Headers of requests


def headers_of_source(source: Address, reads: ReadOptions) -> dict[str, str]:
    """Return the headers that name the source of a server-side copy, its state and its key."""
    version = reads.version_id
    where = f"/{source.bucket}/{quote_key(source.key)}" + (f"?versionId={quote(version, safe='')}" if version else "")
    headers = {"x-amz-copy-source": where}
    if reads.if_match is not None:
        headers["x-amz-copy-source-if-match"] = quoted(reads.if_match)
    return {**headers, **source_headers_of(reads.encryption)}


# Pages


def key_decoder(encoding_type: str | None, names: Iterable[str]) -> Callable[[str], str]:
    """Return the function that decodes a page's keys and prefixes. It does nothing unless the page says they are encoded.

    Refuse a page that is not encoded if XML could not carry one of its names.
    """
    if encoding_type == "url":
        return decoded
    if any(DAMAGED in name for name in names):
        refuse_reply("a key that XML cannot carry without encoding it")
    return str


def prefix_decoder(names: Sequence[str], prefix: str, decode: Callable[[str], str]) -> Callable[[str], str]:
    """Return the function that decodes a page's common prefixes. Some services encode keys but not prefixes.

    A prefix was not encoded if it holds a character that encoding replaces, or if it would not start with the listing's
    prefix once decoded (Ceph tracker issue 41870).
    """
    if decode is decoded and not all(_ENCODED.fullmatch(name) and decoded(name).startswith(prefix) for name in names):
        return str
    return decode


_ENCODED = re.compile(r"(?:[A-Za-z0-9._~*+/!'()$,;:@&=-]|%[0-9A-Fa-f]{2})*")


def decoded(name: str) -> str:
    if "%" not in name and "+" not in name:
        return name
    name = name.replace("%2F", "/")  # Ceph RGW encodes slashes too, and most keys have nothing else
    return unquote_plus(name) if "%" in name or "+" in name else name


def next_cursor(
    is_truncated: bool | None,  # noqa: FBT001 - S3's own word
    markers: Sequence[str | None],
    decode: Callable[[str], str] = str,
    last: Sequence[ObjectInfo | UploadInfo] = (),
) -> Cursor | None:
    """Return where the listing continues, or None at its end.

    Without IsTruncated, a page without a marker is the last (gofakes3). A key marker is encoded as the keys are, except by
    Ceph RGW.
    """
    key, *rest = (marker or "" for marker in markers)
    if not is_truncated and (is_truncated is False or not key):
        return None
    if not key:
        refuse_reply("a truncated page without the marker of the next one")
    if last and (DAMAGED in key or last[0].key == key):
        return (last[0].key, *rest)
    return (decode(key), *rest)


def objects_cursor(token: Cursor | None, items: Sequence[ObjectInfo | CommonPrefix]) -> Cursor | None:
    """Return the cursor after a page of objects: its token, or its last item if XML could not carry the token."""
    if token is None or DAMAGED not in token[0] or not items:
        return token and (*token, "")
    return ("", _end_of(items[-1]))


def marker_cursor(
    is_truncated: bool | None,  # noqa: FBT001 - S3's own word
    items: Sequence[ObjectInfo | CommonPrefix],
    marker: str | None,
) -> Cursor | None:
    """Return the cursor after a page of the first version of the list.

    Use its last item: services disagree on NextMarker and its encoding.
    """
    goes_on = bool(marker) if is_truncated is None else is_truncated
    found = next_cursor(goes_on, [_end_of(items[-1]) if items else marker])
    return found and ("", *found)


def _end_of(item: ObjectInfo | CommonPrefix) -> str:
    """Return the name after which a listing continues: for a common prefix, one behind all keys that start with it."""
    return item.key if isinstance(item, ObjectInfo) else end_of(item.prefix)


def end_of(prefix: str) -> str:
    """Return a name that sorts after the keys with this prefix. Only a key that continues with U+10FFFF could sort after it."""
    return f"{prefix}\U0010ffff"


def name_of(item: ObjectInfo | CommonPrefix) -> str:
    """Return the name by which a page is sorted. The order of ``str`` is that of UTF-8 bytes."""
    return item.key if isinstance(item, ObjectInfo) else item.prefix


def newest_first(item: ObjectInfo) -> tuple[str, bool, float]:
    age = -item.last_modified.timestamp() if item.last_modified else 0.0
    return item.key, not item.is_latest, age
