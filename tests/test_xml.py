"""S3's XML, read as botocore reads it whatever its shape, and refused where it is none."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree as ET

import botocore.session
import pytest
from botocore.parsers import ResponseParserFactory
from fuzzing import fuzzed
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from invariants import traced_memory
from servers.scripted import Reply, ScriptedServer

from aiodreamobjects._acls import Acl, Grant, Permission
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._s3 import listings, options, replies, xml
from aiodreamobjects._s3.values import Part, VersionedKey

T = TypeVar("T")

NAMESPACE = xml.NAMESPACE

# What XML 1.0 section 2.2 allows, but for the carriage return, which no parser hands on as it is.
LEGAL = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\t\n")
TEXT = st.text(LEGAL, max_size=12)
ODD = st.text(st.sampled_from("a&<>\"'\t\n;#x]é￼\U0001f600 +%2F/"), max_size=8)
KEYS = st.one_of(TEXT, ODD, st.sampled_from(["a", "a/b", "%2F+", "&amp;", "]]>", " ", "<Key>", "</Contents>"]))


# Documents, written in every way that XML has


class Writer:
    """Writes elements, and takes its liberties with what does not matter."""

    def __init__(self, chance: random.Random, *, is_plain: bool = False) -> None:
        self._chance, self._is_plain = chance, is_plain
        self._prefix = "" if is_plain or chance.random() < 0.8 else "s3:"

    def document(self, name: str, content: Sequence[tuple[str, object]]) -> bytes:
        declaration = self._one_of("", '<?xml version="1.0" encoding="UTF-8"?>', "<?xml version='1.0'?>\n")
        space = "" if self._is_plain else self._one_of("", f' xmlns="{NAMESPACE}"', f' xmlns="{NAMESPACE}" a="b"')
        space = f' xmlns:s3="{NAMESPACE}"' if self._prefix else space
        tag = self._prefix + name
        return f"{declaration}<{tag}{space}>{self._content(content)}</{tag}>{self._gap()}".encode()

    def _content(self, content: Sequence[tuple[str, object]]) -> str:
        return "".join(self._gap() + self._element(name, value) for name, value in content) + self._gap()

    def _element(self, name: str, value: object) -> str:
        tag = self._prefix + name
        attributes = "" if self._is_plain else self._one_of("", "", "", "", ' a="&lt;b&gt;"', " b='\"'")
        if isinstance(value, str):
            if not value and not self._is_plain and self._one_of(True, False):
                return f"<{tag}{attributes}/>"
            return f"<{tag}{attributes}>{self._text(value)}</{tag}>"
        assert isinstance(value, list)
        return f"<{tag}{attributes}>{self._content(value)}</{tag}>"

    def _gap(self) -> str:
        if self._is_plain:
            return self._one_of("", "", "\n  ")
        comment = "<!-- <Contents><Key>comment</Key></Contents> -->"
        return self._one_of("", "", "", "\n  ", "\r\n\t", comment, "<?pi <Contents><Key>pi</Key></Contents>?>")

    def _text(self, text: str) -> str:
        if not self._is_plain and "]]>" not in text and self._one_of(*[False] * 9, True):
            return f"<![CDATA[{text}]]>"
        return "".join(self._character(character) for character in text)

    def _character(self, character: str) -> str:
        named = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
        ways = [f"&#{ord(character)};", f"&#x{ord(character):x};", f"&#x{ord(character):X};"] * (not self._is_plain)
        if character in named:
            return self._one_of(named[character], named[character], *ways)
        return self._one_of(*[character] * 9, *ways)

    def _one_of(self, *choices: T) -> T:
        return self._chance.choice(choices)


WRITERS = st.builds(Writer, st.randoms(use_true_random=False), is_plain=st.booleans())


@functools.cache
def _botocore() -> tuple[Any, Any]:
    factory = ResponseParserFactory()
    factory.set_parser_defaults(timestamp_parser=str)
    return factory.create_parser("rest-xml"), botocore.session.Session().get_service_model("s3")


def as_botocore_reads(operation: str, document: bytes) -> dict[str, Any]:
    parser, model = _botocore()
    shape = model.operation_model(operation).output_shape
    found: dict[str, Any] = parser.parse({"body": document, "headers": {}, "status_code": 200}, shape)
    return found


def entries_of(document: bytes) -> tuple[list[xml.Entry], xml.Element]:
    """As a listing takes them."""
    found, root = xml.read(document, "ListBucketResult")
    return list(found) or [listings._entry(element) for element in root.find_all("Contents")], root


# Pages of objects

OWNER = st.tuples(
    st.lists(st.tuples(st.just("ID"), TEXT), max_size=1), st.lists(st.tuples(st.just("DisplayName"), TEXT), max_size=1)
).map(lambda parts: [*parts[0], *parts[1]])
ETAGS = st.one_of(st.just('"d41d8cd98f00b204e9800998ecf8427e"'), st.just('"x-2"'), st.just('W/"x"'), TEXT, ODD)
DATES = st.one_of(st.just("2026-11-23T10:11:12.345Z"), TEXT)
CLASSES = st.one_of(st.just("STANDARD"), TEXT, ODD)
SIZES = st.integers(0, 10**18).map(str)


@st.composite
def usual_entries(draw: st.DrawFn) -> list[tuple[str, object]]:
    """An entry as Amazon S3, Ceph RGW, Backblaze B2 and moto write them."""
    entry: list[tuple[str, object]] = [("Key", draw(KEYS)), ("LastModified", draw(DATES)), ("ETag", draw(ETAGS))]
    if draw(st.booleans()):
        entry += [("ChecksumAlgorithm", "CRC32")] * draw(st.integers(0, 2)) + [("ChecksumType", "FULL_OBJECT")]
    entry.append(("Size", draw(SIZES)))
    rest: list[tuple[str, object]] = []
    if draw(st.booleans()):
        rest.append(("Owner", draw(OWNER)))
    if draw(st.booleans()):
        rest.append(("StorageClass", draw(CLASSES)))
    entry += draw(st.permutations(rest))
    if draw(st.booleans()):
        entry.append(("Type", "Normal"))
    return entry


STRANGE: st.SearchStrategy[tuple[str, object]] = st.sampled_from(
    [
        ("Extra", "x"),
        ("RestoreStatus", [("IsRestoreInProgress", "false")]),
        ("Nested", [("Key", "nested"), ("Contents", [("Key", "nested"), ("Size", "1")])]),
        ("key", "small letters"),
    ]
)


@st.composite
def unusual_entries(draw: st.DrawFn) -> list[tuple[str, object]]:
    """An entry that a parser reads as any other: parts of it, in any order, with others between."""
    entry = draw(usual_entries())
    kept = [pair for pair in entry if pair[0] == "Key" or draw(st.integers(0, 3))]
    return list(draw(st.permutations([*kept, *draw(st.lists(STRANGE, max_size=2))])))


@st.composite
def pages(draw: st.DrawFn) -> list[tuple[str, object]]:
    entries = draw(st.lists(draw(st.sampled_from([usual_entries(), usual_entries(), unusual_entries()])), max_size=5))
    content: list[tuple[str, object]] = [("Contents", entry) for entry in entries]
    facts: list[tuple[str, object]] = [
        ("Name", "bucket"),
        ("Prefix", draw(KEYS)),
        ("IsTruncated", draw(st.sampled_from(["true", "false"]))),
        *[("CommonPrefixes", [("Prefix", draw(KEYS))]) for _ in range(draw(st.integers(0, 2)))],
    ]
    optional = {"NextContinuationToken": KEYS, "NextMarker": KEYS, "EncodingType": st.just("url"), "Delimiter": ODD}
    facts += [(name, draw(values)) for name, values in optional.items() if draw(st.booleans())]
    if draw(st.booleans()):
        return list(draw(st.permutations(facts + content + [("Other", content)])))
    middle = draw(st.integers(0, len(facts)))
    return facts[:middle] + content + facts[middle:]


def told_by_botocore(page: Mapping[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            entry["Key"],
            entry.get("LastModified"),
            options.unquoted(str(entry.get("ETag") or "").strip()),
            entry.get("Size"),
            entry.get("StorageClass"),
        )
        for entry in page.get("Contents", [])
    ]


def told_by_us(entries: Sequence[xml.Entry]) -> list[tuple[object, ...]]:
    return [
        (key, modified, etag or None, None if size is None else int(size), storage_class)
        for key, modified, etag, size, storage_class in entries
    ]


@pytest.mark.parametrize("operation", ["ListObjects", "ListObjectsV2"])
@fuzzed(0.5)
@given(page=pages(), writer=WRITERS)
def test_a_page_of_objects_is_read_as_botocore_reads_it(
    operation: str, page: list[tuple[str, object]], writer: Writer
) -> None:
    document = writer.document("ListBucketResult", page)
    expected = as_botocore_reads(operation, document)
    entries, root = entries_of(document)
    assert told_by_us(entries) == told_by_botocore(expected)
    for name in ("Prefix", "Delimiter", "EncodingType", "Name"):
        assert root.get(name) == expected.get(name)
    marker = "NextMarker" if operation == "ListObjects" else "NextContinuationToken"
    assert root.get(marker) == expected.get(marker)
    assert replies.flag(root, "IsTruncated") == expected.get("IsTruncated")
    prefixes = [element.get("Prefix") for element in root.find_all("CommonPrefixes")]
    assert prefixes == [element.get("Prefix") for element in expected.get("CommonPrefixes", [])]


@settings(deadline=None)
@given(st.lists(usual_entries(), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_usual_pages_take_the_fast_path(entries: list[list[tuple[str, object]]], chance: random.Random) -> None:
    usual: dict[str, object] = {
        "LastModified": "2026-11-23T10:11:12.345Z",
        "ETag": '"d41d8cd98f00b204e9800998ecf8427e"',
        "Owner": [("ID", "me"), ("DisplayName", "Me")],
        "StorageClass": "COLD",
    }
    content: list[tuple[str, object]] = [
        ("Contents", [(name, usual.get(name, value)) for name, value in entry]) for entry in entries
    ]
    document = Writer(chance, is_plain=True).document("ListBucketResult", content)
    assume(b"/>" not in document)
    entries_of_page, root = xml.read(document, "ListBucketResult")
    assert [entry[0] for entry in entries_of_page] == [dict(entry)["Key"] for entry in entries]
    assert root.find("Contents") is None


ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-11-23T10:11:12Z</LastModified><ETag>&quot;e&quot;</ETag>"
    "<Size>1</Size><StorageClass>{storage_class}</StorageClass></Contents>"
)


def both_ways(text: str, storage_class: str = "STANDARD") -> list[object]:
    """What is made of an entry with such a key, on the fast path and beside a comment, which keeps pages off it."""
    found: list[object] = []
    entry = ENTRY.format(key=text, storage_class=storage_class)
    for page in (
        f"<ListBucketResult>{entry}</ListBucketResult>",
        f"<ListBucketResult><!-- -->{entry}</ListBucketResult>",
    ):
        try:
            found.append(entries_of(page.encode())[0])
        except xml.MalformedError:
            found.append(xml.MalformedError)
    return found


REFERENCES = st.lists(
    st.one_of(
        st.sampled_from(
            ["&amp;", "&lt;", "&quot;", "&apos;", "&gt;", "&", ";", "#", "x", "&#", "&#x", "&foo;", "&AMP;"]
        ),
        st.sampled_from(["&#65;", "&#x41;", "&#X41;", "&#xd800;", "&#x110000;", "&#1114111;", "&# 65;", "&#-1;", "&;"]),
        st.integers(9, 0x10FFFF).map(lambda number: f"&#{number};"),
        st.integers(9, 0x10FFFF).map(lambda number: f"&#x{number:x};"),
        TEXT.map(lambda text: text.replace("<", "").replace("]]>", "")),
    ),
    max_size=5,
).map("".join)


@fuzzed(2)
@given(REFERENCES)
def test_a_key_is_the_same_on_the_fast_path(text: str) -> None:
    assume("]]>" not in text and xml.legible(text.encode()) == text.encode())
    fast, slow = both_ways(text)
    assert fast == slow


@pytest.mark.parametrize("text", ["&#0000000065;", "&#x0000000041;", "&#x00000041;"])
def test_a_reference_may_have_leading_zeros(text: str) -> None:
    fast, slow = both_ways(text)
    assert fast == slow != xml.MalformedError


@pytest.mark.parametrize("text", ["R&amp;D", "&#82;", "R&D", "&foo;"])
def test_a_storage_class_is_the_same_on_the_fast_path(text: str) -> None:
    fast, slow = both_ways("a", text)
    assert fast == slow


@pytest.mark.parametrize(
    "text", ["a\x07b", "a&#7;b", "a&#x7;b", "\x00", "&#0;", "\ufffe", "&#xFFFF;", "a\rb", "a\r\nb"]
)
def test_what_xml_cannot_carry_is_the_same_on_the_fast_path(text: str) -> None:
    fast, slow = both_ways(text)
    assert fast == slow


@pytest.mark.parametrize(
    "etag", ["&quot;e", "e&quot;", '"e', "", "&quot;", "&quot;&quot;", "&quot;&quot;e&quot;&quot;"]
)
def test_an_etag_is_the_same_on_the_fast_path(etag: str) -> None:
    page = f"<ListBucketResult>{ENTRY.format(key='a', storage_class='')}</ListBucketResult>".replace(
        "&quot;e&quot;", etag
    )
    fast, _ = entries_of(page.encode())
    slow, _ = entries_of(page.replace("<Contents>", "<!-- --><Contents>").encode())
    assert told_by_us(fast) == told_by_us(slow)


HIDDEN = ENTRY.format(key="hidden", storage_class="STANDARD")
SHOWN = ENTRY.format(key="shown", storage_class="STANDARD")


@pytest.mark.parametrize(
    "content",
    [
        f"<Other>{HIDDEN}</Other>",
        f"<Other>{HIDDEN}</Other>{SHOWN}",
        f"{SHOWN}<Other>{HIDDEN}</Other>",
        f"<CommonPrefixes><Prefix>{HIDDEN}</Prefix></CommonPrefixes>",
        f"<!-- {HIDDEN} -->{SHOWN}",
        f"<![CDATA[{HIDDEN}]]>{SHOWN}",
        f"<?pi {HIDDEN}?>{SHOWN}",
        f"<Contents><Key>{HIDDEN}</Key></Contents>",
    ],
)
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0"?>'])
def test_an_entry_is_one_only_where_it_belongs(content: str, declaration: str) -> None:
    document = f"{declaration}<ListBucketResult>{content}</ListBucketResult>".encode()
    entries, _ = entries_of(document)
    assert "hidden" not in [entry[0] for entry in entries]


@pytest.mark.parametrize(
    "document",
    [
        f"<ListBucketResult></ListBucketResult>{HIDDEN}",
        f"{HIDDEN}<ListBucketResult></ListBucketResult>",
        f"<?pi {HIDDEN}?>",
        f"<?pi {HIDDEN}",
        f"<List{HIDDEN}BucketResult></ListBucketResult>",
        f'<ListBucketResult a="{HIDDEN}"></ListBucketResult>',
        f"<ListBucketResult>{HIDDEN}",
        f"<ListBucketResult>{HIDDEN}</ListBucketResul>",
        f"<ListBucketResult>{HIDDEN}&am{HIDDEN}p;</ListBucketResult>",
        f"<ListBucketResult>{HIDDEN}</ListBucketResult><ListBucketResult></ListBucketResult>",
        f"<ListBucketResult>{HIDDEN}</ListBucketResult>garbage",
    ],
)
def test_a_page_that_is_no_document_is_refused(document: str) -> None:
    with pytest.raises(xml.MalformedError):
        xml.read(document.encode(), "ListBucketResult")


# Other pages

VERSIONS = st.lists(
    st.tuples(
        st.sampled_from(["Version", "DeleteMarker"]),
        st.fixed_dictionaries(
            {"Key": KEYS, "VersionId": KEYS, "IsLatest": st.sampled_from(["true", "false"])},
            optional={"LastModified": DATES, "ETag": ETAGS, "Size": SIZES, "StorageClass": CLASSES},
        ),
    ),
    max_size=4,
)
UPLOADS = st.lists(
    st.fixed_dictionaries({"Key": KEYS, "UploadId": KEYS}, optional={"Initiated": DATES, "StorageClass": CLASSES}),
    max_size=4,
)
PARTS = st.lists(
    st.fixed_dictionaries(
        {"PartNumber": st.integers(1, 10_000).map(str), "ETag": ETAGS}, optional={"Size": SIZES, "LastModified": DATES}
    ),
    max_size=4,
)
OUTCOMES = st.lists(
    st.tuples(
        st.sampled_from(["Deleted", "Error"]),
        st.fixed_dictionaries({"Key": KEYS}, optional={"VersionId": KEYS, "Code": TEXT, "Message": TEXT}),
    ),
    max_size=4,
)
MARKERS = st.fixed_dictionaries(
    {"IsTruncated": st.sampled_from(["true", "false"])},
    optional=dict.fromkeys(["NextKeyMarker", "NextVersionIdMarker", "NextUploadIdMarker", "EncodingType"], KEYS),
)


@st.composite
def shuffled(draw: st.DrawFn, elements: st.SearchStrategy[Any], name: str = "") -> list[tuple[str, object]]:
    """Elements of a page, the children of each in any order, between facts in any order."""
    found: list[tuple[str, object]] = []
    for element in draw(elements):
        tag, fields = (name, element) if name else element
        found.append((tag, list(draw(st.permutations(list(fields.items()))))))
    facts: list[tuple[str, object]] = list(draw(MARKERS).items())
    place = draw(st.integers(0, len(facts)))
    return facts[:place] + found + facts[place:]


def assert_same(root: xml.Element, expected: Mapping[str, Any], lists: Mapping[str, str]) -> None:
    """The elements of each name, and in each the texts that botocore knows; and the facts beside them."""
    for name, member in lists.items():
        ours = [
            {child.name: child.text for child in element.children if child.name in known} if known else {}
            for element, known in zip(
                root.find_all(name), [set(theirs) for theirs in expected.get(member, [])], strict=True
            )
        ]
        theirs = [{key: str(value) for key, value in entry.items()} for entry in expected.get(member, [])]
        assert [{key: _canonical(text) for key, text in entry.items()} for entry in ours] == [
            {key: _canonical(text) for key, text in entry.items()} for entry in theirs
        ]
    for name in ("NextKeyMarker", "NextVersionIdMarker", "NextUploadIdMarker", "EncodingType"):
        if name in expected:
            assert root.get(name) == expected[name]


def _canonical(text: str) -> str:
    return text.lower() if text in ("True", "False") else text


@fuzzed(0.5)
@given(shuffled(VERSIONS), WRITERS)
def test_a_page_of_versions_is_read_as_botocore_reads_it(page: list[tuple[str, object]], writer: Writer) -> None:
    document = writer.document("ListVersionsResult", page)
    expected = as_botocore_reads("ListObjectVersions", document)
    assert_same(xml.parse(document), expected, {"Version": "Versions", "DeleteMarker": "DeleteMarkers"})


@fuzzed(0.5)
@given(shuffled(UPLOADS, "Upload"), WRITERS)
def test_a_page_of_uploads_is_read_as_botocore_reads_it(page: list[tuple[str, object]], writer: Writer) -> None:
    document = writer.document("ListMultipartUploadsResult", page)
    assert_same(xml.parse(document), as_botocore_reads("ListMultipartUploads", document), {"Upload": "Uploads"})


@fuzzed(0.5)
@given(shuffled(PARTS, "Part"), WRITERS)
def test_a_page_of_parts_is_read_as_botocore_reads_it(page: list[tuple[str, object]], writer: Writer) -> None:
    document = writer.document("ListPartsResult", page)
    assert_same(xml.parse(document), as_botocore_reads("ListParts", document), {"Part": "Parts"})


@fuzzed(0.5)
@given(shuffled(OUTCOMES), WRITERS)
def test_the_outcome_of_a_bulk_delete_is_read_as_botocore_reads_it(
    page: list[tuple[str, object]], writer: Writer
) -> None:
    document = writer.document("DeleteResult", page)
    expected = as_botocore_reads("DeleteObjects", document)
    assert_same(xml.parse(document), expected, {"Deleted": "Deleted", "Error": "Errors"})


# What is none, or too much of it


@pytest.mark.parametrize(
    "document",
    [
        Writer(random.Random(1), is_plain=True).document(
            "ListBucketResult",
            [("IsTruncated", "false"), *[("Contents", [("Key", f"é{n}"), ("LastModified", "x"), ("ETag", "x"), ("Size", "1")])
             for n in range(3)]],
        ),
        Writer(random.Random(2)).document(
            "ListVersionsResult", [("IsTruncated", "false"), ("Version", [("Key", "é&"), ("VersionId", "1")])]
        ),
        b"<CompleteMultipartUploadResult><ETag>&quot;e&quot;</ETag></CompleteMultipartUploadResult>",
        xml.acl_document(Acl("owner", (Grant("READ", id="reader"),))),
    ],
)  # fmt: skip
def test_a_truncated_document_is_refused_wherever_it_ends(document: bytes) -> None:
    whole = document.rstrip()
    xml.read(whole, "ListBucketResult")
    for end in range(len(whole)):
        with pytest.raises(xml.MalformedError):
            xml.read(whole[:end], "ListBucketResult")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))

REFUSED: dict[str, bytes | Callable[[], bytes]] = {
    "nothing": b"",
    "blanks": b" \r\n" * 10,
    "a text": b"Welcome",
    "html": b"<!DOCTYPE html><html><body>Welcome<br></body></html>",
    "html without a type": b"<html><body>Welcome<br></body></html>",
    "a document type": b"<!DOCTYPE a><a/>",
    "laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>'.encode(),
    "an external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "a parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/">%x;]><a/>',
    "an unknown entity": b"<a>&nbsp;</a>",
    "a reference to a surrogate": b"<a>&#xD800;</a>",
    "a reference past Unicode": b"<a>&#x110000;</a>",
    "an encoded surrogate": b"<a>\xed\xa0\x80</a>",
    "an overlong encoding": b"<a>\xc0\xaf</a>",
    "latin-1, which is what it says": '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"),
    "utf-16": '<?xml version="1.0" encoding="UTF-16"?><a>x</a>'.encode("utf-16"),
    "utf-16 without a mark": "<a>x</a>".encode("utf-16-le"),
    "utf-32": "<a>x</a>".encode("utf-32"),
    "two roots": b"<a/><a/>",
    "another end": b"<a><b></a></b>",
    "a repeated attribute": b'<a b="1" b="2"/>',
    "a declaration that comes late": b' <?xml version="1.0"?><a/>',
    "33 levels": b"<a>" * 33 + b"</a>" * 33,
    "ten million levels": lambda: b"<a>" * 10_000_000,
    "two million elements": lambda: b"<a>" + b"<a/>" * 2_000_000 + b"</a>",
    "two million commas": lambda: b"<a>" + b",<b/>" * 2_000_000 + b"</a>",
    "a text of 32 MiB": lambda: b"<a>" + b"x" * (32 << 20) + b"</a>",
    "a key of 32 MiB": lambda: b"<a>" + ENTRY.format(key="x" * (32 << 20), storage_class="").encode() + b"</a>",
    "a comment of 32 MiB": lambda: b"<a><!--" + b"x" * (32 << 20) + b"--></a>",
    "a name of 32 MiB": lambda: b"<a><" + b"x" * (32 << 20) + b"/></a>",
    "an attribute of 32 MiB": lambda: b'<a b="' + b"x" * (32 << 20) + b'"/>',
    "a million attributes": lambda: b"<a " + b" ".join(b'a%d=""' % n for n in range(1_000_000)) + b"/>",
    "forbidden bytes": lambda: b"<a>" + b"\x01" * (32 << 20) + b"</a>",
    "references": lambda: b"<a>" + b"&amp;" * (6 << 20) + b"</a>",
    "forbidden references": lambda: b"<a>" + b"&#1;" * (8 << 20) + b"</a>",
    "angle brackets": lambda: b"<" * (8 << 20),
    "entries that do not end": lambda: b"<a>" + b"<Contents><Key>" * (2 << 20),
    "entries nearly right": lambda: b"<a>" + HIDDEN.replace("</Contents>", "").encode() * 50_000,
    "entries of one page": lambda: b"<a>" + HIDDEN.encode() * 200_000 + b"</a>",
    "blanks in entries": lambda: b"<a>" + (b"<Contents>" + b" " * 10_000) * 3000,
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_hostile_documents_are_refused_in_time_and_in_memory(make: bytes | Callable[[], bytes]) -> None:
    document = make if isinstance(make, bytes) else make()
    started = time.thread_time()
    with traced_memory() as memory, pytest.raises(xml.MalformedError):
        xml.read(document, "ListBucketResult")
    assert memory.peak < 12 * len(document) + (1 << 20)
    assert time.thread_time() - started < 20


@pytest.mark.parametrize(
    "document",
    [
        b"\xef\xbb\xbf<a>\xc3\xa9</a>",
        b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?><a>\xc3\xa9</a>',
        b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xc3\xa9</a>',
        b'<?xml version="1.0" standalone="yes"?>\n\n<a>\xc3\xa9</a>\n\n<!-- the end -->\n',
        b"<a><![CDATA[\xc3\xa9]]></a>",
        b"<x:a>&#233;</x:a>",
        b"<a b='c'>&#xe9;</a>",
    ],
)
def test_a_document_in_utf8_is_read_whatever_it_says(document: bytes) -> None:
    root = xml.read(document, "ListBucketResult")[1]
    assert (root.name, root.text) == ("a", "é")


@fuzzed(2)
@given(st.binary(max_size=60) | st.text(LEGAL | st.sampled_from("<>&;/"), max_size=60).map(str.encode))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    for document in (
        data,
        b"<a>" + data + b"</a>",
        b"<ListBucketResult>" + data + SHOWN.encode() + b"</ListBucketResult>",
    ):
        try:
            xml.read(document, "ListBucketResult")
        except xml.MalformedError:
            continue


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.booleans())
def test_what_xml_cannot_carry_is_marked(text: str, as_reference: bool) -> None:
    forbidden = set(map(chr, [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF]))
    written = "".join(
        f"&#{ord(character)};" if character in "\r<&>" or (as_reference and character in forbidden) else character
        for character in text
    )
    marked = "".join(xml.DAMAGED if character in forbidden else character for character in text)
    assert xml.parse(f"<a>{written}</a>".encode()).text == marked


# Names of keys


@given(TEXT | ODD)
def test_a_key_that_was_encoded_is_decoded_as_botocore_decodes_it(key: str) -> None:
    for encode in (quote, quote_plus, functools.partial(quote, safe="")):
        decode = replies.key_decoder("url", [])
        assert decode(encode(key)) == key
    if xml.DAMAGED not in key:
        assert replies.key_decoder(None, [key])(key) == key


def test_a_key_that_was_not_encoded_must_have_come_whole() -> None:
    with pytest.raises(ServiceError):
        replies.key_decoder(None, ["a", f"b{xml.DAMAGED}"])


# Documents that we write


def as_element_tree_reads(document: bytes) -> ET.Element:
    return ET.fromstring(document)


def texts_of(element: ET.Element, *path: str) -> list[str]:
    return [found.text or "" for found in element.iterfind("/".join(f"{{{NAMESPACE}}}{name}" for name in path))]


ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\t\n\r")
)
TOKENS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1).map(str.strip).filter(bool)


@given(
    st.lists(st.builds(VersionedKey, ANY_TEXT.filter(bool).map(lambda key: key[:200]), st.none() | TOKENS), max_size=5)
)
def test_a_request_to_delete_names_its_keys(keys: list[VersionedKey]) -> None:
    root = as_element_tree_reads(xml.delete_document(keys))
    assert root.tag == f"{{{NAMESPACE}}}Delete"
    assert texts_of(root, "Object", "Key") == [key.key for key in keys]
    objects = list(root)
    versions = [texts_of(found, "VersionId") for found in objects]
    assert versions == [[key.version_id] if key.version_id else [] for key in keys]
    assert xml.read(xml.delete_document(keys), "Delete")[1].name == "Delete"


@given(st.lists(st.builds(Part, st.integers(1, 10_000), ANY_TEXT), max_size=5))
def test_a_request_to_complete_names_its_parts(parts: list[Part]) -> None:
    root = as_element_tree_reads(xml.complete_document(parts))
    assert root.tag == f"{{{NAMESPACE}}}CompleteMultipartUpload"
    assert texts_of(root, "Part", "ETag") == [f'"{part.etag}"' for part in parts]
    assert texts_of(root, "Part", "PartNumber") == [str(part.number) for part in parts]


GRANTS = st.builds(
    lambda permission, kind, name: Grant(permission, **{kind: name}),
    st.sampled_from(get_args(Permission)),
    st.sampled_from(["id", "uri", "email"]),
    ANY_TEXT,
)


@given(st.builds(Acl, ANY_TEXT, st.lists(GRANTS, max_size=4).map(tuple)))
def test_an_acl_is_read_as_it_was_written(acl: Acl) -> None:
    document = xml.acl_document(acl)
    assert xml.acl_of(xml.parse(document)) == acl
    told = as_botocore_reads("GetObjectAcl", document)
    assert told.get("Owner", {}).get("ID") == acl.owner
    names = {"id": ("ID", "CanonicalUser"), "uri": ("URI", "Group"), "email": ("EmailAddress", "AmazonCustomerByEmail")}
    for grant, theirs in itertools.zip_longest(acl.grants, told.get("Grants", [])):
        [(field, value)] = [(name, getattr(grant, name)) for name in names if getattr(grant, name) is not None]
        member, kind = names[field]
        assert theirs["Permission"] == grant.permission
        assert theirs["Grantee"] == {member: value, "Type": kind}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<Owner/>",
        "<AccessControlList/>",
        "<Owner><ID>o</ID></Owner><AccessControlList><Grant/></AccessControlList>",
        "<Owner><ID>o</ID></Owner><AccessControlList><Grant><Permission>READ</Permission></Grant></AccessControlList>",
        "<Owner><ID>o</ID></Owner><AccessControlList><Grant><Grantee/><Permission>ANY</Permission></Grant></AccessControlList>",
    ],
)
def test_an_acl_that_is_none_is_none(content: str) -> None:
    assert xml.acl_of(xml.parse(f"<AccessControlPolicy>{content}</AccessControlPolicy>".encode())) is None


def test_elements_are_found_by_their_first() -> None:
    root = xml.parse(b"<a><b>1</b><c/><b>2</b><d><b>3</b></d></a>")
    assert (root.get("b"), root.get("c"), root.get("e")) == ("1", "", None)
    assert [element.text for element in root.find_all("b")] == ["1", "2"]
    found: Iterator[xml.Element] = root.find_all("c", "d")
    assert [element.name for element in found] == ["c", "d"]


# Through the public door


@pytest.mark.parametrize("text", ["&foo;", "&#xD800;", "a & b", "&#x110000;"])
async def test_a_page_with_an_impossible_key_is_an_error_of_ours(scripted: ScriptedServer, text: str) -> None:
    page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{SHOWN}{SHOWN.replace('shown', text)}</ListBucketResult>"
    scripted.will(Reply(200, page.encode()))
    async with scripted.session() as session:
        with pytest.raises(ServiceError) as caught:
            await session.bucket("bucket").list().collect()
    assert caught.value.code == "UnreadableReply"
