"""S3 on a store in memory: from a request to a reply, whatever carries them.

A `Dialect` says what kind of service it is. Whatever nobody thought about is refused, so that a request only passes if
somebody did. Buckets are addressed by path, and every signature is reckoned from the request as received.

Sources: the Amazon S3 API Reference for the formats, and its chapter on Signature Version 4 for authentication. Where
it is silent the stricter reading is taken: a `+` in a query or copy source is a space.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.parse import quote_plus, unquote_plus
from xml.etree import ElementTree as ET

from servers.store import (
    CANNED_ACLS,
    LARGEST_KEY_BYTES,
    Bucket,
    Code,
    CommonPrefix,
    Content,
    Dialect,
    Part,
    S3Error,
    Store,
    Upload,
    Version,
    Window,
    cut_page,
    end_of,
    md5_hex,
    number_in,
)

OWNER = "owner-of-all"
LARGEST_PAGE = 1000
LARGEST_PART_NUMBER = 10_000
LARGEST_METADATA_BYTES = 7000

CLOCK_SKEW = timedelta(minutes=15)
PRESIGN_LIMIT_SECONDS = 7 * 24 * 3600

CONTENT_HEADERS = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
AMZ_HEADERS = re.compile(
    r"x-amz-(acl|content-sha256|date|meta-.+|metadata-directive|server-side-encryption|storage-class"
    r"|copy-source(-range|-if-(none-)?match|-if-(un)?modified-since)?)"
)
ONLY_VALUES = {"x-amz-server-side-encryption": "AES256", "x-amz-storage-class": "STANDARD"}


# What goes in and out


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived: the path still percent-encoded, the query decoded, header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """A request ready to be worked on; `target` is the path and query exactly as received."""

    method: str
    target: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def level(self) -> str:
        return "object" if self.key else "bucket" if self.bucket else "service"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


# From a request to a reply


def answer(store: Store, call: Call) -> Reply:
    try:
        check_key(call.key)
        is_signed = check_signature(store.dialect, call)
        refuse_unsupported_headers(store.dialect, call)
        check_digests(call, is_signed=is_signed)
        operation = operation_of(call)
        if not is_signed:
            admit_anonymous(store, call, operation)
        return operation.act(store, call)
    except S3Error as error:
        return error_reply(error.status, error.code.name, error.message, error.headers)


def query_pairs(raw_query: str) -> list[tuple[str, str]]:
    """The parts of a query, still encoded; one without a `=` has an empty value, as signing wants it."""
    pairs = (part.partition("=") for part in raw_query.split("&") if part)
    return [(name, value) for name, _, value in pairs]


def check_key(key: str) -> None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise S3Error(Code.InvalidURI) from None
    if size > LARGEST_KEY_BYTES:
        raise S3Error(Code.KeyTooLongError)


def refuse_unsupported_headers(dialect: Dialect, call: Call) -> None:
    if call.method == "PUT" and "content-length" not in call.headers:
        raise S3Error(Code.MissingContentLength)
    if not dialect.is_b2:
        return
    for name, value in call.headers.items():
        if name.startswith("x-amz-") and not AMZ_HEADERS.fullmatch(name):
            raise S3Error(Code.InvalidArgument, f"Unsupported header '{name}' received for this API call.")
        if value != ONLY_VALUES.get(name, value):
            raise S3Error(Code.InvalidArgument, f"Unsupported value '{value}' for header '{name}'.")
    if "aws-chunked" in call.headers.get("content-encoding", ""):
        raise S3Error(Code.InvalidArgument, "Unsupported header 'content-encoding' received for this API call.")
    if call.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        raise S3Error(Code.InvalidArgument, "Unsupported value of header 'x-amz-content-sha256': no chunked signing.")


def check_digests(call: Call, *, is_signed: bool) -> None:
    if "content-md5" in call.headers:
        try:
            digest = base64.b64decode(call.headers["content-md5"], validate=True)
        except binascii.Error:
            raise S3Error(Code.InvalidDigest) from None
        if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
            raise S3Error(Code.InvalidDigest)
        if digest.hex() != md5_hex(call.body):
            raise S3Error(Code.BadDigest)
    claimed = call.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    if is_signed and claimed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(call.body).hexdigest()):
        raise S3Error(Code.XAmzContentSHA256Mismatch)


def admit_anonymous(store: Store, call: Call, operation: Operation) -> None:
    """Without a signature, only the objects of public buckets can be read."""
    if operation.act is not get_object or store.bucket(call.bucket).acl != "public-read":
        raise S3Error(Code.AccessDenied)
    if any(name.startswith("response-") for name in call.query):
        raise S3Error(Code.InvalidRequest, "Response headers cannot be overridden in an anonymous request.")


def error_reply(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    request_id = uuid.uuid4().hex[:16]
    body = document(_element("Error", [("Code", code), ("Message", message), ("RequestId", request_id)])).body
    return Reply(status, {"Content-Type": "application/xml", "x-amz-request-id": request_id, **(headers or {})}, body)


# Signature version 4, reckoned from the request as received and independently of any client


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature; `lifetime` in seconds where it is presigned."""

    credential: str
    signed_headers: str
    signature: str
    timestamp: str
    payload: str
    lifetime: int | None = None


def check_signature(dialect: Dialect, call: Call) -> bool:
    """False for an anonymous request, True for one rightly signed."""
    claim = claim_of(call)
    if claim is None:
        return False
    access_key, _, scope = claim.credential.partition("/")
    if access_key != dialect.access_key:
        raise S3Error(Code.InvalidAccessKeyId)
    token = call.headers.get("x-amz-security-token", call.query.get("X-Amz-Security-Token"))
    if dialect.session_token not in (None, token):
        raise S3Error(Code.ExpiredToken)
    check_age(claim, dialect.now())
    signed_headers = claim.signed_headers.split(";")
    if any(name.startswith("x-amz-") and name not in signed_headers for name in call.headers):
        raise S3Error(Code.AccessDenied, "There were headers present in the request which were not signed.")
    expected = signature_of(dialect.secret_key, call, claim, scope)
    is_scope_right = scope == f"{claim.timestamp[:8]}/{dialect.region}/s3/aws4_request"
    if not is_scope_right or "host" not in signed_headers or not hmac.compare_digest(expected, claim.signature):
        raise S3Error(Code.SignatureDoesNotMatch)
    return True


def claim_of(call: Call) -> Claim | None:
    authorization = call.headers.get("authorization")
    if (authorization or "").startswith("AWS ") or "AWSAccessKeyId" in call.query:
        raise S3Error(Code.InvalidRequest, "The V2 signature is not supported. Please use AWS4-HMAC-SHA256.")
    is_presigned = any(name.startswith("X-Amz-") for name in call.query)
    if authorization is not None and is_presigned:
        raise S3Error(Code.InvalidArgument, "Only one authentication mechanism is allowed.")
    if authorization is not None:
        return claim_of_header(authorization, call.headers)
    return claim_of_query(call) if is_presigned else None


def claim_of_header(authorization: str, headers: Mapping[str, str]) -> Claim:
    pattern = r"AWS4-HMAC-SHA256 Credential=([^, ]+), ?SignedHeaders=([^, ]+), ?Signature=([0-9a-f]{64})"
    match = re.fullmatch(pattern, authorization)
    if match is None:
        raise S3Error(Code.InvalidArgument, "The authorization header is malformed.")
    if "x-amz-content-sha256" not in headers:
        raise S3Error(Code.InvalidRequest, "Missing required header for this request: x-amz-content-sha256.")
    credential, signed_headers, signature = match.groups()
    payload = headers["x-amz-content-sha256"]
    return Claim(credential, signed_headers, signature, headers.get("x-amz-date", ""), payload)


def claim_of_query(call: Call) -> Claim:
    names = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires")
    if call.query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" or not all(name in call.query for name in names):
        raise S3Error(Code.AuthorizationQueryParametersError)
    credential, signed_headers, signature, timestamp, expires = (call.query[name] for name in names)
    if not expires.isdecimal() or not 1 <= int(expires) <= PRESIGN_LIMIT_SECONDS:
        raise S3Error(Code.AuthorizationQueryParametersError, "X-Amz-Expires must be from 1 second to a week.")
    payload = call.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    return Claim(credential, signed_headers, signature, timestamp, payload, int(expires))


def check_age(claim: Claim, time: datetime) -> None:
    try:
        signed_at = datetime.strptime(claim.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise S3Error(Code.AccessDenied, "A signed request needs a valid date.") from None
    age = time - signed_at
    if claim.lifetime is None:
        if abs(age) > CLOCK_SKEW:
            raise S3Error(Code.RequestTimeTooSkewed)
    elif age > timedelta(seconds=claim.lifetime):
        raise S3Error(Code.AccessDenied, "The request has expired.")
    elif age < -CLOCK_SKEW:
        raise S3Error(Code.AccessDenied, "The request is not valid yet.")


def signature_of(secret_key: str, call: Call, claim: Claim, scope: str) -> str:
    path, _, raw_query = call.target.partition("?")
    pairs = sorted(pair for pair in query_pairs(raw_query) if pair[0] != "X-Amz-Signature")
    query = "&".join(f"{name}={value}" for name, value in pairs)
    names = claim.signed_headers
    headers = "".join(f"{name}:{' '.join(call.headers.get(name, '').split())}\n" for name in names.split(";"))
    request = f"{call.method}\n{path}\n{query}\n{headers}\n{names}\n{claim.payload}"
    digest = hashlib.sha256(request.encode(errors="surrogateescape")).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{claim.timestamp}\n{scope}\n{digest}"
    key = f"AWS4{secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


# XML

Node: TypeAlias = "tuple[str, str | int | Sequence[Node]]"

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def xml(name: str, *children: Node) -> Reply:
    return document(_element(f"{name} {NAMESPACE}", children))


def document(text: str) -> Reply:
    return Reply(headers={"Content-Type": "application/xml"}, body=f"{XML_DECLARATION}{text}".encode())


def _element(name: str, content: str | int | Sequence[Node]) -> str:
    """One element; what follows a space in its name is attributes."""
    if isinstance(content, int):
        content = str(content)
    inner = _escaped(content) if isinstance(content, str) else "".join(_element(*child) for child in content)
    return f"<{name}>{inner}</{name.partition(' ')[0]}>"


def _escaped(text: str) -> str:
    """As S3 does it: control characters become references, which XML 1.0 readers are right to refuse."""
    return re.sub(r"[&<>\"\x00-\x1f]", lambda match: f"&#{ord(match[0])};", text)


def parsed(body: bytes, root_name: str) -> ET.Element:
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        raise S3Error(Code.MalformedXML) from None
    if root.tag.rpartition("}")[2] != root_name:
        raise S3Error(Code.MalformedXML)
    return root


def text_in(element: ET.Element, name: str) -> str | None:
    return element.findtext(f"{{*}}{name}")


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def truth(value: object) -> str:
    return "true" if value else "false"


def owner(name: str = "Owner") -> Node:
    return name, [("ID", OWNER), ("DisplayName", OWNER)]


# Buckets


def list_buckets(store: Store, _call: Call) -> Reply:
    buckets = sorted(store.buckets.values(), key=lambda bucket: bucket.name)
    rows: list[Node] = [("Bucket", [("Name", one.name), ("CreationDate", iso(one.created))]) for one in buckets]
    return xml("ListAllMyBucketsResult", owner(), ("Buckets", rows))


def create_bucket(store: Store, call: Call) -> Reply:
    acl = canned_acl(call, CANNED_ACLS) or "private"
    place = text_in(parsed(call.body, "CreateBucketConfiguration"), "LocationConstraint") if call.body else None
    if place not in (None, store.dialect.region):
        raise S3Error(Code.InvalidLocationConstraint)
    store.create(call.bucket, acl)
    return Reply(headers={"Location": f"/{call.bucket}"})


def head_bucket(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    return Reply(headers={"x-amz-bucket-region": store.dialect.region})


def delete_bucket(store: Store, call: Call) -> Reply:
    store.delete(call.bucket)
    return Reply(HTTPStatus.NO_CONTENT)


def get_location(store: Store, call: Call) -> Reply:
    store.bucket(call.bucket)
    return document(_element(f"LocationConstraint {NAMESPACE}", store.dialect.region))


def get_versioning(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    return xml("VersioningConfiguration", *optional("Status", "Enabled" if bucket.keeps_versions else None))


def put_versioning(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    if text_in(parsed(call.body, "VersioningConfiguration"), "Status") != "Enabled":
        raise S3Error(Code.InvalidArgument, "Versioning cannot be switched off.")
    bucket.keeps_versions = True
    return Reply()


def canned_acl(call: Call, allowed: Sequence[str]) -> str | None:
    acl = call.headers.get("x-amz-acl")
    if acl is not None and acl not in allowed:
        raise S3Error(Code.InvalidArgument, f"Unsupported value for canned acl '{acl}'")
    return acl


def get_acl(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    if call.key:
        bucket.readable(call.key, call.query.get("versionId"))
    grants = [grant("CanonicalUser", ("ID", OWNER), "FULL_CONTROL")]
    if bucket.acl == "public-read":
        grants.append(grant("Group", ("URI", "http://acs.amazonaws.com/groups/global/AllUsers"), "READ"))
    return xml("AccessControlPolicy", owner(), ("AccessControlList", grants))


def grant(kind: str, who: Node, permission: str) -> Node:
    grantee = f'Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{kind}"'
    return "Grant", [(grantee, [who]), ("Permission", permission)]


def put_acl(store: Store, call: Call) -> Reply:
    """Only canned ACLs; an object can only be given the one its bucket has."""
    bucket = store.bucket(call.bucket)
    if call.key:
        bucket.readable(call.key, call.query.get("versionId"))
    acl = canned_acl(call, (bucket.acl,) if call.key and store.dialect.is_b2 else CANNED_ACLS)
    if acl is None:
        raise S3Error(Code.InvalidArgument, "Only canned ACLs are supported.")
    bucket.acl = acl
    return Reply()


@dataclass(frozen=True, slots=True)
class Rules:
    """The three calls on one kind of rules, kept as the XML they came in."""

    root_name: str
    missing: Code

    def get(self, store: Store, call: Call) -> Reply:
        kept = store.bucket(call.bucket).documents.get(self.root_name)
        if kept is None:
            raise S3Error(self.missing)
        return Reply(headers={"Content-Type": "application/xml"}, body=kept)

    def put(self, store: Store, call: Call) -> Reply:
        bucket = store.bucket(call.bucket)
        parsed(call.body, self.root_name)
        bucket.documents[self.root_name] = call.body
        return Reply()

    def delete(self, store: Store, call: Call) -> Reply:
        store.bucket(call.bucket).documents.pop(self.root_name, None)
        return Reply(HTTPStatus.NO_CONTENT)


# Lists

Spelling: TypeAlias = Callable[[str], str]


def list_objects(store: Store, call: Call) -> Reply:
    marker = call.query.get("marker")
    page = cut_page(store.bucket(call.bucket).objects(), window(call, "max-keys", marker))
    spell = spelling(call)
    # Without a delimiter S3 leaves it to the client to go on from the last key.
    next_marker = spell(page.last.key) if page.last is not None and call.query.get("delimiter") else None
    return xml(
        "ListBucketResult",
        *described(call, "max-keys", is_truncated=page.is_truncated),
        ("Marker", spell(marker or "")),
        *optional("NextMarker", next_marker),
        *[("Contents", [*object_facts(one, spell), owner()]) for one in page.items],
        *common_prefixes(page.prefixes, spell),
    )


def list_objects_v2(store: Store, call: Call) -> Reply:
    if call.query["list-type"] != "2":
        raise S3Error(Code.InvalidArgument, "Unsupported value for list-type.")
    token, start = call.query.get("continuation-token"), call.query.get("start-after")
    behind = start if token is None else key_in_token(token)
    page = cut_page(store.bucket(call.bucket).objects(), window(call, "max-keys", behind))
    spell = spelling(call)
    owners = [owner()] if call.query.get("fetch-owner") == "true" else []
    return xml(
        "ListBucketResult",
        *described(call, "max-keys", is_truncated=page.is_truncated),
        ("KeyCount", len(page.entries)),
        *optional("StartAfter", None if start is None else spell(start)),
        *optional("ContinuationToken", token),
        *optional("NextContinuationToken", token_for(page.last.key) if page.last else None),
        *[("Contents", [*object_facts(one, spell), *owners]) for one in page.items],
        *common_prefixes(page.prefixes, spell),
    )


def list_versions(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    key, version_id = call.query.get("key-marker"), call.query.get("version-id-marker")
    if version_id is not None and key is None:
        raise S3Error(Code.InvalidArgument, "A version-id marker cannot be specified without a key marker.")
    rank = None if version_id is None else -number_in(version_id)
    page = cut_page(bucket.versions(), window(call, "max-keys", key, rank))
    spell, last = spelling(call), page.last
    return xml(
        "ListVersionsResult",
        *described(call, "max-keys", is_truncated=page.is_truncated),
        ("KeyMarker", spell(key or "")),
        ("VersionIdMarker", version_id or ""),
        *optional("NextKeyMarker", spell(last.key) if last else None),
        *optional("NextVersionIdMarker", last.version_id if isinstance(last, Version) else None),
        *[version_row(one, spell, is_latest=bucket.newest(one.key) is one) for one in page.items],
        *common_prefixes(page.prefixes, spell),
    )


def list_uploads(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    key, upload_id = call.query.get("key-marker"), call.query.get("upload-id-marker")
    rank = number_in(upload_id) if upload_id else None
    page = cut_page(bucket.uploads.values(), window(call, "max-uploads", key, rank))
    spell, last = spelling(call), page.last
    return xml(
        "ListMultipartUploadsResult",
        *described(call, "max-uploads", is_truncated=page.is_truncated),
        ("KeyMarker", spell(key or "")),
        ("UploadIdMarker", upload_id or ""),
        *optional("NextKeyMarker", spell(last.key) if last else None),
        *optional("NextUploadIdMarker", last.upload_id if isinstance(last, Upload) else None),
        *[upload_row(one, spell) for one in page.items],
        *common_prefixes(page.prefixes, spell),
    )


def window(call: Call, limit_name: str, key: str | None, rank: float | None = None) -> Window:
    """The page a request asks for, behind `key` and, within that key, behind `rank`."""
    after = None if key is None else end_of(key) if rank is None else (key, rank)
    limit = page_limit(call, limit_name)
    return Window(call.query.get("prefix", ""), call.query.get("delimiter", ""), limit, after)


def page_limit(call: Call, name: str) -> int:
    return min(whole_number(call, name, LARGEST_PAGE), LARGEST_PAGE)


def whole_number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise S3Error(Code.InvalidArgument, f"{name} must be a whole number.")
    return int(text)


def spelling(call: Call) -> Spelling:
    """How keys are written: as they are, or so that keys which XML cannot carry get through."""
    encoding = call.query.get("encoding-type")
    if encoding not in (None, "url"):
        raise S3Error(Code.InvalidArgument, "Invalid encoding type specified.")
    return str if encoding is None else lambda text: quote_plus(text, safe="/")


def described(call: Call, limit_name: str, *, is_truncated: bool) -> list[Node]:
    """What a page repeats of the request."""
    spell, query = spelling(call), call.query
    return [
        ("Bucket" if limit_name == "max-uploads" else "Name", call.bucket),
        ("Prefix", spell(query.get("prefix", ""))),
        *optional("Delimiter", spell(query.get("delimiter", "")) or None),
        *optional("EncodingType", query.get("encoding-type")),
        (limit_name.title().replace("-", ""), page_limit(call, limit_name)),
        ("IsTruncated", truth(is_truncated)),
    ]


def optional(name: str, value: str | None) -> list[Node]:
    return [] if value is None else [(name, value)]


def object_facts(version: Version, spell: Spelling) -> list[Node]:
    return [
        ("Key", spell(version.key)),
        ("LastModified", iso(version.modified)),
        ("ETag", f'"{version.content.etag}"'),
        ("Size", len(version.content.body)),
        ("StorageClass", "STANDARD"),
    ]


def version_row(version: Version, spell: Spelling, *, is_latest: bool) -> Node:
    name, facts = "Version", object_facts(version, spell)
    if version.is_marker:
        name, facts = "DeleteMarker", facts[:2]
    return name, [*facts, ("VersionId", version.version_id), ("IsLatest", truth(is_latest)), owner()]


def upload_row(upload: Upload, spell: Spelling) -> Node:
    facts: list[Node] = [("Key", spell(upload.key)), ("UploadId", upload.upload_id), ("Initiated", iso(upload.started))]
    return "Upload", [*facts, *custody()]


def custody() -> list[Node]:
    return [owner("Initiator"), owner(), ("StorageClass", "STANDARD")]


def common_prefixes(prefixes: Sequence[CommonPrefix], spell: Spelling) -> list[Node]:
    return [("CommonPrefixes", [("Prefix", spell(one.key))]) for one in prefixes]


def token_for(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def key_in_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise S3Error(Code.InvalidArgument, "The continuation token provided is incorrect.") from None


# Objects


def put_object(store: Store, call: Call) -> Reply:
    if "x-amz-copy-source" in call.headers:
        return copy_object(store, call)
    bucket = bucket_to_write(store, call)
    version = bucket.add(call.key, Content(call.body, md5_hex(call.body), kept_headers(call)))
    return Reply(headers={"ETag": f'"{version.content.etag}"', **version_header(bucket, version)})


def version_header(bucket: Bucket, version: Version, name: str = "x-amz-version-id") -> dict[str, str]:
    return {name: version.version_id} if bucket.keeps_versions else {}


def copy_object(store: Store, call: Call) -> Reply:
    bucket, (origin, source) = bucket_to_write(store, call), copy_source(store, call)
    directive = call.headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error(Code.InvalidArgument, "Unknown metadata directive.")
    if directive == "COPY" and bucket.newest(call.key) is source:
        raise S3Error(Code.InvalidRequest, "This copy request would change nothing.")
    headers = kept_headers(call) if directive == "REPLACE" else source.content.headers
    version = bucket.add(call.key, Content(source.content.body, source.content.etag, headers))
    reply = xml("CopyObjectResult", ("LastModified", iso(version.modified)), ("ETag", f'"{version.content.etag}"'))
    ids = version_header(bucket, version) | version_header(origin, source, "x-amz-copy-source-version-id")
    return Reply(headers={**reply.headers, **ids}, body=reply.body)


def get_object(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    version = bucket.readable(call.key, call.query.get("versionId"))
    headers = {
        **version.content.headers,
        **{name.removeprefix("response-"): text for name, text in call.query.items() if name.startswith("response-")},
        "ETag": f'"{version.content.etag}"',
        "Last-Modified": format_datetime(version.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        **version_header(bucket, version),
    }
    status = verdict(version, call.headers)
    if status is HTTPStatus.PRECONDITION_FAILED:
        raise S3Error(Code.PreconditionFailed)
    if status is HTTPStatus.NOT_MODIFIED:
        return Reply(status, headers)
    body = version.content.body
    if "range" not in call.headers:
        return Reply(status, headers, body)
    start, end = byte_range(call.headers["range"], len(body))
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
    return Reply(HTTPStatus.PARTIAL_CONTENT, headers, body[start:end])


def delete_object(store: Store, call: Call) -> Reply:
    outcome = deleted(store.bucket(call.bucket), call.key, call.query.get("versionId"))
    headers = {"x-amz-version-id": outcome.version_id} if outcome.version_id else {}
    if outcome.is_marker:
        headers["x-amz-delete-marker"] = "true"
    return Reply(HTTPStatus.NO_CONTENT, headers)


def delete_objects(store: Store, call: Call) -> Reply:
    bucket, root = store.bucket(call.bucket), parsed(call.body, "Delete")
    if store.dialect.is_b2 and "content-md5" not in call.headers:
        raise S3Error(Code.InvalidRequest, "Missing required header for this request: Content-MD5.")
    wanted = [(text_in(one, "Key") or "", text_in(one, "VersionId")) for one in root.iterfind("{*}Object")]
    if not 1 <= len(wanted) <= LARGEST_PAGE or not all(key for key, _ in wanted):
        raise S3Error(Code.MalformedXML)
    rows = [delete_row(bucket, key, version_id) for key, version_id in wanted]
    is_quiet = text_in(root, "Quiet") == "true"
    return xml("DeleteResult", *[row for row in rows if row[0] == "Error" or not is_quiet])


def delete_row(bucket: Bucket, key: str, version_id: str | None) -> Node:
    try:
        check_key(key)
    except S3Error as error:
        return "Error", [("Key", key), ("Code", error.code.name), ("Message", error.message)]
    outcome = deleted(bucket, key, version_id)
    facts: list[Node] = [("Key", key), *optional("VersionId", version_id)]
    if outcome.is_marker:
        facts += [("DeleteMarker", "true"), ("DeleteMarkerVersionId", outcome.version_id)]
    return "Deleted", facts


@dataclass(frozen=True, slots=True)
class Deleted:
    """The version taken away, or the delete marker put on top; empty where no versions are kept."""

    version_id: str
    is_marker: bool


def deleted(bucket: Bucket, key: str, version_id: str | None) -> Deleted:
    if version_id is None and not bucket.keeps_versions:
        bucket.drop(key)
        return Deleted("", is_marker=False)
    if version_id is None:
        return Deleted(bucket.hide(key).version_id, is_marker=True)
    version = bucket.remove(key, version_id)
    return Deleted(version_id, is_marker=version is not None and version.is_marker)


def bucket_to_write(store: Store, call: Call) -> Bucket:
    """The bucket, if it takes an object with these headers."""
    bucket = store.bucket(call.bucket)
    canned_acl(call, (bucket.acl,) if store.dialect.is_b2 else CANNED_ACLS)
    wanted, is_unwanted = call.headers.get("if-match"), "if-none-match" in call.headers
    if wanted is None and not is_unwanted:
        return bucket
    if store.dialect.is_b2:
        raise S3Error(Code.NotImplemented, "A header you provided implies functionality that is not implemented.")
    there = bucket.newest(call.key)
    if there is not None and there.is_marker:
        there = None
    if wanted is not None and there is None:
        raise S3Error(Code.NoSuchKey)
    if there is not None and (is_unwanted or not names_etag(wanted or "", there.content.etag)):
        raise S3Error(Code.PreconditionFailed)
    return bucket


def kept_headers(call: Call) -> dict[str, str]:
    """The headers that an object keeps, which with its key must fit in 7,000 bytes."""
    kept = {
        name: value for name, value in call.headers.items() if name in CONTENT_HEADERS or name.startswith("x-amz-meta-")
    }
    size = sum(len(f"{name.removeprefix('x-amz-meta-')}{value}".encode()) for name, value in kept.items())
    if len(call.key.encode()) + size > LARGEST_METADATA_BYTES:
        raise S3Error(Code.InvalidRequest, "The key and the metadata are too large.")
    return {"content-type": "binary/octet-stream", **kept}


def copy_source(store: Store, call: Call) -> tuple[Bucket, Version]:
    place, _, version_id = call.headers["x-amz-copy-source"].partition("?versionId=")
    name, _, key = unquote_plus(place.removeprefix("/")).partition("/")
    bucket = store.bucket(name)
    version = bucket.readable(key, version_id or None)
    if verdict(version, call.headers, "x-amz-copy-source-") is not HTTPStatus.OK:
        raise S3Error(Code.PreconditionFailed)
    return bucket, version


def verdict(version: Version, headers: Mapping[str, str], prefix: str = "") -> HTTPStatus:
    """Whether the conditions hold, weighed in the order of RFC 9110, section 13.2.2."""
    modified = version.modified.replace(microsecond=0)
    matches, differs = headers.get(f"{prefix}if-match"), headers.get(f"{prefix}if-none-match")
    since, until = (moment(headers.get(f"{prefix}if-{word}-since")) for word in ("modified", "unmodified"))
    if matches is not None and not names_etag(matches, version.content.etag):
        return HTTPStatus.PRECONDITION_FAILED
    if matches is None and until is not None and modified > until:
        return HTTPStatus.PRECONDITION_FAILED
    if differs is not None and names_etag(differs, version.content.etag):
        return HTTPStatus.NOT_MODIFIED
    if differs is None and since is not None and modified <= since:
        return HTTPStatus.NOT_MODIFIED
    return HTTPStatus.OK


def names_etag(condition: str, etag: str) -> bool:
    return condition.strip() == "*" or etag in (one.strip().strip('"') for one in condition.split(","))


def moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def byte_range(text: str, size: int) -> tuple[int, int]:
    """Start and end, the end not included, of the one range a request may ask for."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text, re.ASCII)
    if match is None or match.groups() == ("", ""):
        raise S3Error(Code.NotImplemented, "Only a single range of bytes is supported.")
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise S3Error(Code.InvalidRange, headers={"Content-Range": f"bytes */{size}"})
    return start, end


# Multipart uploads


def create_upload(store: Store, call: Call) -> Reply:
    upload = bucket_to_write(store, call).begin_upload(call.key, kept_headers(call))
    return xml(
        "InitiateMultipartUploadResult", ("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload.upload_id)
    )


def upload_part(store: Store, call: Call) -> Reply:
    upload = opened_upload(store, call)
    number = whole_number(call, "partNumber", 0)
    if not 1 <= number <= LARGEST_PART_NUMBER:
        raise S3Error(Code.InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive.")
    if "x-amz-copy-source" not in call.headers:
        part = upload.parts[number] = Part(number, call.body, md5_hex(call.body))
        return Reply(headers={"ETag": f'"{part.etag}"'})
    origin, source = copy_source(store, call)
    body = copied_bytes(call, source)
    part = upload.parts[number] = Part(number, body, md5_hex(body))
    reply = xml("CopyPartResult", ("LastModified", iso(part.modified)), ("ETag", f'"{part.etag}"'))
    ids = version_header(origin, source, "x-amz-copy-source-version-id")
    return Reply(headers={**reply.headers, **ids}, body=reply.body)


def copied_bytes(call: Call, source: Version) -> bytes:
    """A copied range must name both ends, and both must lie within the source."""
    body, text = source.content.body, call.headers.get("x-amz-copy-source-range")
    if text is None:
        return body
    start, end = byte_range(text, len(body))
    if text != f"bytes={start}-{end - 1}":
        raise S3Error(Code.InvalidArgument, "The copied range must lie within the source.")
    return body[start:end]


def list_parts(store: Store, call: Call) -> Reply:
    upload = opened_upload(store, call)
    limit, after = page_limit(call, "max-parts"), whole_number(call, "part-number-marker", 0)
    behind = [upload.parts[number] for number in sorted(upload.parts) if number > after]
    parts, is_truncated = behind[:limit], 0 < limit < len(behind)
    return xml(
        "ListPartsResult",
        ("Bucket", call.bucket),
        ("Key", spelling(call)(call.key)),
        *optional("EncodingType", call.query.get("encoding-type")),
        ("UploadId", upload.upload_id),
        *custody(),
        ("PartNumberMarker", after),
        ("NextPartNumberMarker", parts[-1].number if parts else 0),
        ("MaxParts", limit),
        ("IsTruncated", truth(is_truncated)),
        *[("Part", part_facts(part)) for part in parts],
    )


def part_facts(part: Part) -> list[Node]:
    return [
        ("PartNumber", part.number),
        ("LastModified", iso(part.modified)),
        ("ETag", f'"{part.etag}"'),
        ("Size", len(part.body)),
    ]


def complete_upload(store: Store, call: Call) -> Reply:
    bucket, upload = bucket_to_write(store, call), opened_upload(store, call)
    content = upload.assembled(named_parts(call.body), store.dialect.smallest_part)
    version = bucket.add(call.key, content)
    del bucket.uploads[upload.upload_id]
    reply = xml(
        "CompleteMultipartUploadResult",
        ("Location", f"https://{call.headers['host']}{call.target.partition('?')[0]}"),
        ("Bucket", call.bucket),
        ("Key", call.key),
        ("ETag", f'"{content.etag}"'),
    )
    return Reply(headers={**reply.headers, **version_header(bucket, version)}, body=reply.body)


def named_parts(body: bytes) -> list[tuple[int, str]]:
    elements = parsed(body, "CompleteMultipartUpload").findall("{*}Part")
    rows = [(text_in(one, "PartNumber") or "", text_in(one, "ETag") or "") for one in elements]
    if not rows or not all(number.isdecimal() and etag for number, etag in rows):
        raise S3Error(Code.MalformedXML)
    return [(int(number), etag.strip('"')) for number, etag in rows]


def abort_upload(store: Store, call: Call) -> Reply:
    upload = opened_upload(store, call)
    del store.bucket(call.bucket).uploads[upload.upload_id]
    return Reply(HTTPStatus.NO_CONTENT)


def opened_upload(store: Store, call: Call) -> Upload:
    return store.bucket(call.bucket).upload(call.key, call.query["uploadId"])


# All that is known; the table stands last because it names everything above


@dataclass(frozen=True, slots=True)
class Operation:
    """What to do, and the query parameters that may come with it."""

    act: Callable[[Store, Call], Reply]
    parameters: frozenset[str] = frozenset()


def operation_of(call: Call) -> Operation:
    """The first parameter that names a subresource decides; a parameter nobody thought about is refused."""
    names = [name for name in call.query if not name.startswith("X-Amz-") and name != "x-id"]
    subresource = next((name for name in names if name in SUBRESOURCES), "")
    operation = OPERATIONS.get((call.method, call.level, subresource))
    if operation is None or not operation.parameters.issuperset(name for name in names if name != subresource):
        raise S3Error(Code.NotImplemented)
    return operation


CORS = Rules("CORSConfiguration", Code.NoSuchCORSConfiguration)
LIFECYCLE = Rules("LifecycleConfiguration", Code.NoSuchLifecycleConfiguration)

LIST = frozenset({"prefix", "delimiter", "encoding-type"})
VERSION = frozenset({"versionId"})
READ = VERSION | {f"response-{name}" for name in CONTENT_HEADERS}

OPERATIONS: Final = {
    ("GET", "service", ""): Operation(list_buckets),
    ("PUT", "bucket", ""): Operation(create_bucket),
    ("HEAD", "bucket", ""): Operation(head_bucket),
    ("DELETE", "bucket", ""): Operation(delete_bucket),
    ("GET", "bucket", "location"): Operation(get_location),
    ("GET", "bucket", "versioning"): Operation(get_versioning),
    ("PUT", "bucket", "versioning"): Operation(put_versioning),
    ("GET", "bucket", "acl"): Operation(get_acl),
    ("PUT", "bucket", "acl"): Operation(put_acl),
    ("GET", "object", "acl"): Operation(get_acl, VERSION),
    ("PUT", "object", "acl"): Operation(put_acl, VERSION),
    ("GET", "bucket", "cors"): Operation(CORS.get),
    ("PUT", "bucket", "cors"): Operation(CORS.put),
    ("DELETE", "bucket", "cors"): Operation(CORS.delete),
    ("GET", "bucket", "lifecycle"): Operation(LIFECYCLE.get),
    ("PUT", "bucket", "lifecycle"): Operation(LIFECYCLE.put),
    ("DELETE", "bucket", "lifecycle"): Operation(LIFECYCLE.delete),
    ("GET", "bucket", ""): Operation(list_objects, LIST | {"max-keys", "marker"}),
    ("GET", "bucket", "list-type"): Operation(
        list_objects_v2, LIST | {"max-keys", "start-after", "continuation-token", "fetch-owner"}
    ),
    ("GET", "bucket", "versions"): Operation(list_versions, LIST | {"max-keys", "key-marker", "version-id-marker"}),
    ("GET", "bucket", "uploads"): Operation(list_uploads, LIST | {"max-uploads", "key-marker", "upload-id-marker"}),
    ("POST", "bucket", "delete"): Operation(delete_objects),
    ("PUT", "object", ""): Operation(put_object),
    ("GET", "object", ""): Operation(get_object, READ),
    ("HEAD", "object", ""): Operation(get_object, READ),
    ("DELETE", "object", ""): Operation(delete_object, VERSION),
    ("POST", "object", "uploads"): Operation(create_upload),
    ("PUT", "object", "uploadId"): Operation(upload_part, frozenset({"partNumber"})),
    ("GET", "object", "uploadId"): Operation(
        list_parts, frozenset({"max-parts", "part-number-marker", "encoding-type"})
    ),
    ("POST", "object", "uploadId"): Operation(complete_upload),
    ("DELETE", "object", "uploadId"): Operation(abort_upload),
}
SUBRESOURCES: Final = frozenset(subresource for _, _, subresource in OPERATIONS)
