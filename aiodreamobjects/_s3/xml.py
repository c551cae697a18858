"""Read and write S3's XML. Nothing here knows HTTP.

Documents are not trusted: anybody may answer at the endpoint. Document types, and so all entities, are refused. Depth, the
number of elements, and the length of tags and texts are limited. The receiver limits the size of a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, cast, get_args
from xml.parsers import expat

from aiodreamobjects._checksums import element_of
from aiodreamobjects._later import Later
from aiodreamobjects._models import Checksum
from aiodreamobjects._s3.values import Part, VersionedKey

if TYPE_CHECKING:
    import html

    from aiodreamobjects import _acls as acls
    from aiodreamobjects._acls import Acl, Grant, Permission
else:
    html, acls = Later("html"), Later("aiodreamobjects._acls")

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DEEPEST = 32
MOST_ELEMENTS = 100_000
"""The most elements of a document. A page of 1,000 versions has about 15,000."""
LONGEST_TEXT = 64 << 10
MOST_DAMAGE = 10_000
"""The most forbidden characters to replace. The parser refuses a document with more."""
DAMAGED = "\ufffd"
"""Replaces a character that XML cannot carry."""

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
# The characters that XML 1.0 section 2.2 forbids, as bytes and as references.
_FORBIDDEN = (
    rb"(?i)[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    rb"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[1245-9]|2[0-9]|3[01]|6553[45]));"
)
_LONG_TAG = re.compile(rb"<[^<>]{4096}")


class MalformedError(ValueError):
    """The document is not XML, or exceeds a limit that no document of S3 reaches."""


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
"""The root of each kind of document, and the children that identify it under another root.

Completions and copies are not here: mistaking another document for one of these would lose data.
"""
_ROOTS = (*_TELLING, "CompleteMultipartUploadResult", "CopyObjectResult", "VersioningConfiguration")


def is_document(root: Element, root_name: str) -> bool:
    """Return whether a document is of the kind with this root. ``""`` means any kind."""
    if root.name.lower() == "html":
        return False
    if root.name.startswith(root_name):
        return True
    if is_another(root, root_name):
        return False
    telling = next((children for name, children in _TELLING.items() if name.startswith(root_name)), ())
    return any(root.find(child) is not None for child in telling)


def is_another(root: Element, root_name: str) -> bool:
    """Return whether a document is one of S3's kinds, but not the kind with this root."""
    return not root.name.startswith(root_name) and root.name in _ROOTS


def legible(document: bytes) -> bytes:
    """Replace what XML 1.0 forbids by ``DAMAGED``. Ceph RGW writes markers, prefixes and tokens without encoding them."""
    return re.sub(_FORBIDDEN, DAMAGED.encode(), document, count=MOST_DAMAGE)


def parse(document: bytes) -> Element:
    """Return the root element. Raises MalformedError."""
    if _LONG_TAG.search(document):
        msg = "the document has a tag of over 4,096 bytes"
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
            msg = f"the document has over {MOST_ELEMENTS:,} elements, or over {DEEPEST} levels"
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
            msg = f"the document has a text of over {LONGEST_TEXT:,} characters"
            raise MalformedError(msg)

    def refuse_doctype(self, *_: object) -> None:
        msg = "the document has a document type, which S3 never sends"
        raise MalformedError(msg)


# Pages of objects. A tree of a thousand entries would cost more than the request, so a pattern reads them.

Entry = tuple[str, str | None, str | None, str | None, str | None]
"""Key, LastModified, ETag, Size and StorageClass of an object on a page. The ETag has no quotes, the size is in digits."""

# The elements in the order of Amazon S3, Ceph RGW, Backblaze B2 and moto. Texts must hold no markup, and only keys may hold
# references. So a parser would read whatever this matches in the same way.
_TEXT = "[^<>&\\x00-\\x1f]{0,4096}"
_OWNER = rf"(?:<Owner>\s*(?:<ID>{_TEXT}</ID>\s*)?(?:<DisplayName>{_TEXT}</DisplayName>\s*)?</Owner>\s*)?"
_ENTRY = re.compile(
    rf"<Contents>\s*<Key>([^<>]{{0,4096}})</Key>\s*<LastModified>([0-9TZ:.+-]*)</LastModified>\s*"
    r"<ETag>(?:&quot;|\")([0-9A-Za-z_-]*)(?:&quot;|\")</ETag>\s*"
    rf"(?:<ChecksumAlgorithm>{_TEXT}</ChecksumAlgorithm>\s*)*(?:<ChecksumType>{_TEXT}</ChecksumType>\s*)?"
    rf"<Size>([0-9]{{1,19}})</Size>\s*{_OWNER}(?:<StorageClass>([A-Za-z0-9_-]*)</StorageClass>\s*)?{_OWNER}"
    rf"(?:<Type>{_TEXT}</Type>\s*)?</Contents>\s*",
)
# A deleted key without a version.
_DELETED = re.compile(r"<Deleted>\s*<Key>([^<>]{0,4096})</Key>\s*</Deleted>\s*")
_SHAPES = {"ListBucketResult": ("Contents", _ENTRY), "DeleteResult": ("Deleted", _DELETED)}
# What a parser would refuse, replace or resolve. The five references that S3 writes are left to ``html.unescape``.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|&(?!(?:amp|lt|gt|quot|apos);)")


def read(document: bytes, root_name: str) -> tuple[Iterable[Entry], Element]:
    """Return a document's entries, to be iterated once, and its root without them. Raises MalformedError.

    Only pages of objects and replies about deleted keys have entries. Otherwise, and if any of them has an unusual shape,
    return ``[]``: then all elements are in the tree.
    """
    if root_name not in _SHAPES or (found := _cut(document, *_SHAPES[root_name])) is None:
        return [], parse(document)
    columns, rest = found
    return zip(*columns, *[repeat(None)] * (_ENTRY.groups - len(columns)), strict=False), rest


def _cut(document: bytes, name: str, shape: re.Pattern[str]) -> tuple[list[Iterable[str]], Element] | None:
    """Return the entries as columns, keys first, and the tree without them. None if the pattern does not match them all."""
    if b"<!" in document or b"<?" in document[1:]:  # comments, CDATA sections and the like
        return None
    try:
        pieces: list[str] = shape.split(document.decode())
    except UnicodeDecodeError as error:
        raise MalformedError(str(error)) from error
    stride = shape.groups + 1  # split() gives the text before each match, and then its groups
    keys, *columns = (pieces[number::stride] for number in range(1, stride))
    written = " ".join(keys)
    is_odd = ("&" in written or not written.isprintable()) and _ODD.search(written)
    if not keys or len(keys) > MOST_ELEMENTS or any(pieces[stride:-1:stride]) or is_odd:
        return None
    # An empty element takes the place of all entries: the parser then shows that they were where they belong.
    rest = parse(f"{pieces[0]}<{name}/>{pieces[-1]}".encode())
    if [len(entry.children) for entry in rest.find_all(name)] != [0]:
        return None
    rest.children = [child for child in rest.children if child.name != name]
    return [list(map(html.unescape, keys)) if "&" in written else keys, *columns], rest


# Documents to send


def delete_document(keys: Sequence[VersionedKey]) -> bytes:
    """Return the body of DeleteObjects. It is not "Quiet": only a key that the reply names is known to be gone."""
    names = _text("\0".join([key for key, _ in keys])).split("\0")  # one call for a thousand keys
    if len(names) != len(keys):  # a key holds the separator
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


def complete_document(parts: Sequence[Part], algorithm: Checksum | None = None) -> bytes:
    """Return the body of CompleteMultipartUpload. With an ``algorithm``, it names the checksums of the parts."""

    def checksum(part: Part) -> str:
        if algorithm is None or part.checksum is None:
            return ""
        return f"<{element_of(algorithm)}>{_text(part.checksum)}</{element_of(algorithm)}>"

    return _document(
        "CompleteMultipartUpload",
        "".join(
            f"<Part>{checksum(part)}<ETag>&quot;{_text(part.etag)}&quot;</ETag><PartNumber>{part.number}</PartNumber></Part>"
            for part in parts
        ),
    )


def acl_document(acl: Acl) -> bytes:
    """Return the body of PutObjectAcl and PutBucketAcl."""
    grants = "".join(
        f"<Grant>{_grantee(grant)}<Permission>{grant.permission}</Permission></Grant>" for grant in acl.grants
    )
    owner = f"<Owner><ID>{_text(acl.owner)}</ID></Owner>"
    return _document("AccessControlPolicy", f"{owner}<AccessControlList>{grants}</AccessControlList>")


def tagging_document(tags: Mapping[str, str]) -> bytes:
    rows = "".join(f"<Tag><Key>{_text(name)}</Key><Value>{_text(value)}</Value></Tag>" for name, value in tags.items())
    return _document("Tagging", f"<TagSet>{rows}</TagSet>")


def retention_document(mode: str | None, until: str | None) -> bytes:
    if mode is None or until is None:
        return _document("Retention", "")
    return _document("Retention", f"<Mode>{_text(mode)}</Mode><RetainUntilDate>{_text(until)}</RetainUntilDate>")


def legal_hold_document(status: str) -> bytes:
    return _document("LegalHold", f"<Status>{_text(status)}</Status>")


def versioning_document(status: str) -> bytes:
    return _document("VersioningConfiguration", f"<Status>{_text(status)}</Status>")


def location_document(region: str) -> bytes:
    """Return the body of CreateBucket."""
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
    """Read an AccessControlPolicy. Return None if it lacks what S3 promises."""
    owner = root.find("Owner")
    listed = root.find("AccessControlList")
    owner_id = owner.get("ID") if owner else None
    if owner_id is None:
        return None
    grants = [_grant_of(element) for element in (listed.find_all("Grant") if listed else ())]
    return None if None in grants else acls.Acl(owner_id, tuple(grant for grant in grants if grant))


def _grant_of(element: Element) -> Grant | None:
    grantee, permission = element.find("Grantee"), element.get("Permission")
    if grantee is None or permission not in get_args(acls.Permission):
        return None
    kind = cast("Permission", permission)
    if (uri := grantee.get("URI")) is not None:
        return acls.Grant(kind, uri=uri)
    if (email := grantee.get("EmailAddress")) is not None:
        return acls.Grant(kind, email=email)
    return acls.Grant(kind, id=grantee.get("ID") or "")


def _document(name: str, content: str) -> bytes:
    return _DECLARATION + f'<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


def _text(text: str) -> str:
    """Escape the text of an element. References keep line ends: a parser turns a bare carriage return into a line feed."""
    return html.escape(text, quote=False).replace("\r", "&#xD;").replace("\n", "&#xA;")
