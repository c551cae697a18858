"""S3's XML, read and written. Nothing here knows HTTP.

Documents come from whoever answers at the endpoint: a document type, and with it every entity, is refused; depth, the
number of elements and the length of tags and texts are bounded. The size of a document is bounded where it is received.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import cast, get_args
from xml.parsers import expat

from aiodreamobjects._models import Acl, Grant, Permission
from aiodreamobjects._s3.values import Part, VersionedKey

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DEEPEST = 32
MOST_ELEMENTS = 100_000
"""A page of 1,000 versions has some 15,000."""
LONGEST_TEXT = 64 << 10
MOST_DAMAGE = 10_000
"""What is more is left to the parser, which refuses it."""
DAMAGED = "\ufffd"
"""What stands for a character that XML cannot carry."""

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
# XML 1.0 section 2.2, as bytes and as references.
_FORBIDDEN = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    rb"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[1245-9]|2[0-9]|3[01]|6553[45]));",
    re.IGNORECASE,
)


_LONG_TAG = re.compile(rb"<[^<>]{4096}")


class MalformedError(ValueError):
    """The document is no XML, or more of it than S3 ever sends."""


class Element:
    """An element: its name without a namespace, its text, its children."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Element] = []

    def find(self, name: str) -> Element | None:
        for child in self.children:
            if child.name == name:
                return child
        return None

    def find_all(self, *names: str) -> Iterator[Element]:
        return (child for child in self.children if child.name in names)

    def get(self, name: str) -> str | None:
        """Return the text of the first child of this name."""
        child = self.find(name)
        return None if child is None else child.text


_TELLING: Mapping[str, tuple[str, ...]] = {
    "AccessControlPolicy": ("AccessControlList",),
    "DeleteResult": ("Deleted", "Error"),
    "InitiateMultipartUploadResult": ("UploadId",),
    "ListAllMyBucketsResult": ("Buckets",),
    "ListBucketResult": ("Contents", "CommonPrefixes", "IsTruncated"),
    "ListMultipartUploadsResult": ("Upload",),
    "ListPartsResult": ("Part",),
    "ListVersionsResult": ("Version", "DeleteMarker"),
    "Tagging": ("TagSet",),
}
"""The root of each kind of document, and the children by which it is known under another root.

A completion and a copy are not here: to take something else for one of these loses data.
"""
_ROOTS = (*_TELLING, "CompleteMultipartUploadResult", "CopyObjectResult", "VersioningConfiguration")


def is_document(root: Element, root_name: str) -> bool:
    """Return whether a document is of the kind that has this root. ``""``: of any kind."""
    if root.name.lower() == "html":
        return False
    if root.name.startswith(root_name):
        return True
    if is_another(root, root_name):
        return False
    telling = next((children for name, children in _TELLING.items() if name.startswith(root_name)), ())
    return any(root.find(child) is not None for child in telling)


def is_another(root: Element, root_name: str) -> bool:
    """Return whether a document is of a kind that S3 has, and of another one than the kind with this root."""
    return not root.name.startswith(root_name) and root.name in _ROOTS


def legible(document: bytes) -> bytes:
    """What XML 1.0 forbids is made ``DAMAGED``: Ceph RGW writes markers, prefixes and tokens as they are."""
    return _FORBIDDEN.sub(DAMAGED.encode(), document, count=MOST_DAMAGE)


def parse(document: bytes) -> Element:
    """The root element. Raises MalformedError."""
    if _LONG_TAG.search(document):
        msg = "a tag of over 4,096 bytes"
        raise MalformedError(msg)
    builder = _Builder()
    parser = expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse_doctype
    parser.EntityDeclHandler = builder.refuse_doctype
    try:
        parser.Parse(legible(document), True)
    except expat.ExpatError as error:
        raise MalformedError(str(error)) from error
    return builder.root


class _Builder:
    def __init__(self) -> None:
        self.root = Element("")
        self._path: list[Element] = []
        self._count = 0

    def start(self, name: str, _: Mapping[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS or len(self._path) == DEEPEST:
            msg = f"over {MOST_ELEMENTS:,} elements, or {DEEPEST} deep"
            raise MalformedError(msg)
        element = Element(name.rpartition(":")[2])
        if self._path:
            self._path[-1].children.append(element)
        else:
            self.root = element
        self._path.append(element)

    def end(self, _: str) -> None:
        self._path.pop()

    def text(self, text: str) -> None:
        element = self._path[-1]
        element.text += text
        if len(element.text) > LONGEST_TEXT:
            msg = f"a text of over {LONGEST_TEXT:,} characters"
            raise MalformedError(msg)

    def refuse_doctype(self, *_: object) -> None:
        msg = "a document type, which S3 never sends"
        raise MalformedError(msg)


# Pages of objects: a thousand entries of one shape, for which a tree would cost more than the request


Entry = tuple[str, str | None, str | None, str | None, str | None]
"""Key, LastModified, ETag, Size and StorageClass of an object on a page: the ETag without its quotes, Size in digits."""

# The order and the neighbours that Amazon S3, Ceph RGW, Backblaze B2 and moto have. Texts hold no markup, and except for the
# keys no references: so whatever this takes, a parser would take for the same.
_TEXT = "[^<>&\\x00-\\x1f]{0,4096}"
_OWNER = rf"(?:<Owner>\s*(?:<ID>{_TEXT}</ID>\s*)?(?:<DisplayName>{_TEXT}</DisplayName>\s*)?</Owner>\s*)?"
_ENTRY = re.compile(
    rf"<Contents>\s*<Key>([^<>]{{0,4096}})</Key>\s*<LastModified>([0-9TZ:.+-]*)</LastModified>\s*"
    r"<ETag>(?:&quot;|\")([0-9A-Za-z_-]*)(?:&quot;|\")</ETag>\s*"
    rf"(?:<ChecksumAlgorithm>{_TEXT}</ChecksumAlgorithm>\s*)*(?:<ChecksumType>{_TEXT}</ChecksumType>\s*)?"
    rf"<Size>([0-9]{{1,19}})</Size>\s*{_OWNER}(?:<StorageClass>([A-Za-z0-9_-]*)</StorageClass>\s*)?{_OWNER}"
    rf"(?:<Type>{_TEXT}</Type>\s*)?</Contents>\s*",
)
# A key of which DeleteObjects tells nothing but that it is gone.
_DELETED = re.compile(r"<Deleted>\s*<Key>([^<>]{0,4096})</Key>\s*</Deleted>\s*")
_SHAPES = {"ListBucketResult": ("Contents", _ENTRY), "DeleteResult": ("Deleted", _DELETED)}
# What a parser would not read as it stands, beside the references that S3 writes.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|&(?!(?:amp|lt|gt|quot|apos);)")


def read(document: bytes, root_name: str) -> tuple[Iterable[Entry], Element]:
    """A document's root, and beside it its entries, to be gone through once. Raises MalformedError.

    There are entries in a page of objects, and in what tells of deleted keys, with nothing but these; else none, ``[]``.
    There are none either where they have an unusual shape: all stay in the tree then.
    """
    if root_name not in _SHAPES or (found := _cut(document, *_SHAPES[root_name])) is None:
        return [], parse(document)
    columns, rest = found
    return zip(*columns, *[repeat(None)] * (_ENTRY.groups - len(columns)), strict=False), rest


def _cut(document: bytes, name: str, shape: re.Pattern[str]) -> tuple[list[Iterable[str]], Element] | None:
    """The entries, by columns with the keys first, and the tree without them; None for whatever a parser has to look at."""
    if b"<!" in document or b"<?" in document[1:]:  # comments, CDATA sections and the like
        return None
    try:
        pieces: list[str] = shape.split(document.decode())
    except UnicodeDecodeError as error:
        raise MalformedError(str(error)) from error
    stride = shape.groups + 1
    keys, *columns = (pieces[number::stride] for number in range(1, stride))
    written = " ".join(keys)
    is_odd = ("&" in written or not written.isprintable()) and _ODD.search(written)
    if not keys or len(keys) > MOST_ELEMENTS or any(pieces[stride:-1:stride]) or is_odd:
        return None
    rest = parse(f"{pieces[0]}<{name}/>{pieces[-1]}".encode())
    if [len(entry.children) for entry in rest.find_all(name)] != [0]:
        return None
    rest.children = [child for child in rest.children if child.name != name]
    return [list(map(html.unescape, keys)) if "&" in written else keys, *columns], rest


# Documents to be sent


def delete_document(keys: Sequence[VersionedKey]) -> bytes:
    """Of DeleteObjects. Not "Quiet": a key that the reply does not name is a key of which nothing is known."""
    names = _text("\0".join([key for key, _ in keys])).split("\0")  # all at once: there are a thousand
    if len(names) != len(keys):  # no key that XML can carry has one
        names = [_text(key) for key, _ in keys]
    objects = "".join(
        [
            f"<Object><Key>{name}</Key><VersionId>{_text(version_id)}</VersionId></Object>"
            if version_id
            else f"<Object><Key>{name}</Key></Object>"
            for name, (_, version_id) in zip(names, keys, strict=True)
        ]
    )
    return _document("Delete", objects)


def complete_document(parts: Sequence[Part]) -> bytes:
    """Of CompleteMultipartUpload."""
    return _document(
        "CompleteMultipartUpload",
        "".join(
            f"<Part><ETag>&quot;{_text(part.etag)}&quot;</ETag><PartNumber>{part.number}</PartNumber></Part>"
            for part in parts
        ),
    )


def acl_document(acl: Acl) -> bytes:
    """Of PutObjectAcl."""
    grants = "".join(
        f"<Grant>{_grantee(grant)}<Permission>{grant.permission}</Permission></Grant>" for grant in acl.grants
    )
    owner = f"<Owner><ID>{_text(acl.owner)}</ID></Owner>"
    return _document("AccessControlPolicy", f"{owner}<AccessControlList>{grants}</AccessControlList>")


def tagging_document(tags: Mapping[str, str]) -> bytes:
    rows = "".join(f"<Tag><Key>{_text(name)}</Key><Value>{_text(value)}</Value></Tag>" for name, value in tags.items())
    return _document("Tagging", f"<TagSet>{rows}</TagSet>")


def retention_document(mode: str, until: str) -> bytes:
    return _document("Retention", f"<Mode>{_text(mode)}</Mode><RetainUntilDate>{_text(until)}</RetainUntilDate>")


def legal_hold_document(status: str) -> bytes:
    return _document("LegalHold", f"<Status>{_text(status)}</Status>")


def versioning_document(status: str) -> bytes:
    return _document("VersioningConfiguration", f"<Status>{_text(status)}</Status>")


def location_document(region: str) -> bytes:
    """Of CreateBucket."""
    return _document("CreateBucketConfiguration", f"<LocationConstraint>{_text(region)}</LocationConstraint>")


def _grantee(grant: Grant) -> str:
    if grant.uri is not None:
        kind, content = "Group", f"<URI>{_text(grant.uri)}</URI>"
    elif grant.email is not None:
        kind, content = "AmazonCustomerByEmail", f"<EmailAddress>{_text(grant.email)}</EmailAddress>"
    else:
        kind, content = "CanonicalUser", f"<ID>{_text(grant.id or '')}</ID>"
    schema = "http://www.w3.org/2001/XMLSchema-instance"
    return f'<Grantee xmlns:xsi="{schema}" xsi:type="{kind}">{content}</Grantee>'


def acl_of(root: Element) -> Acl | None:
    """Of an AccessControlPolicy; None where what S3 promises is not there."""
    owner = root.find("Owner")
    listed = root.find("AccessControlList")
    owner_id = owner.get("ID") if owner else None
    if owner_id is None:
        return None
    grants = [_grant_of(element) for element in (listed.find_all("Grant") if listed else ())]
    return None if None in grants else Acl(owner_id, tuple(grant for grant in grants if grant))


def _grant_of(element: Element) -> Grant | None:
    grantee, permission = element.find("Grantee"), element.get("Permission")
    if grantee is None or permission not in get_args(Permission):
        return None
    kind = cast(Permission, permission)
    if (uri := grantee.get("URI")) is not None:
        return Grant(kind, uri=uri)
    if (email := grantee.get("EmailAddress")) is not None:
        return Grant(kind, email=email)
    return Grant(kind, id=grantee.get("ID") or "")


def _document(name: str, content: str) -> bytes:
    return _DECLARATION + f'<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


def _text(text: str) -> str:
    """As the text of an element; a parser would turn a carriage return into a line feed."""
    return html.escape(text, quote=False).replace("\r", "&#xD;").replace("\n", "&#xA;")
