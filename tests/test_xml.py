"""S3's XML: pages are read as botocore reads them, in whatever shape they come; hostile documents are refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus
from xml.etree import ElementTree as ET

import botocore.session
import pytest
from botocore.parsers import RestXMLParser
from hypothesis import given
from hypothesis import strategies as st

from aiodreamobjects._models import Acl, Grant
from aiodreamobjects._wire import xml
from aiodreamobjects._wire.contract import Part, VersionedKey
from aiodreamobjects._wire.replies import decoded

CARRIED = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
"""What XML can carry, line ends aside: parsers turn a carriage return into a line feed."""
TEXTS = st.text(CARRIED, min_size=1, max_size=20)
NAMESPACE = f'xmlns="{xml.NAMESPACE}"'


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


ENTRIES = st.fixed_dictionaries(
    {"Key": TEXTS},
    optional={
        "LastModified": st.just("2026-11-22T05:18:00.000Z"),
        "ETag": st.sampled_from(["&quot;abc&quot;", '"abc"', "abc", "&quot;abc-2&quot;", 'W/"weak"']),
        "ChecksumAlgorithm": st.just("CRC32"),
        "Size": st.integers(0, 10**15).map(str),
        "Owner": st.sampled_from(["<ID>me</ID><DisplayName>Me</DisplayName>", "<ID>me</ID>", ""]),
        "StorageClass": st.just("STANDARD"),
        "Type": st.just("Normal"),
        "Novelty": st.just("<A><B>c</B></A>"),
    },
)
USUAL_ENTRIES = st.fixed_dictionaries(
    {
        "Key": TEXTS,
        "LastModified": st.just("2026-11-22T05:18:00.000Z"),
        "ETag": st.just("&quot;abc&quot;"),
        "Size": st.integers(0, 10**15).map(str),
        "StorageClass": st.just("STANDARD"),
    }
)
SPACES = st.sampled_from(["", "\n  "])
NOISE = st.sampled_from(["", "", "", "<!-- a -->", "<?target data?>", "<Name>b</Name>", "<Other><Contents2/></Other>"])


@st.composite
def pages(draw: st.DrawFn, entries: st.SearchStrategy[dict[str, str]]) -> str:
    """A page of objects; some with comments, processing instructions and elements that nobody knows."""
    space = draw(SPACES)
    written = []
    for entry in draw(st.lists(entries, max_size=6)):
        fields = list(entry.items())
        if draw(st.booleans()):
            fields = draw(st.permutations(fields))
        inner = space.join(f"<{name}>{escaped(text) if name == 'Key' else text}</{name}>" for name, text in fields)
        written.append(f"<Contents>{space}{inner}{space}</Contents>{draw(NOISE)}")
    attribute = draw(st.sampled_from(["", f" {NAMESPACE}"]))
    declaration = draw(st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>', "<?xml version='1.0'?>\n"]))
    body = space.join(["<IsTruncated>false</IsTruncated>", *written, draw(NOISE)])
    return f"{declaration}<ListBucketResult{attribute}>{space}{body}{space}</ListBucketResult>"


MODEL = botocore.session.get_session().get_service_model("s3")


def read_by_botocore(document: bytes, operation: str = "ListObjectsV2") -> dict[str, Any]:
    reply = {"status_code": 200, "headers": {}, "body": document}
    parsed: dict[str, Any] = RestXMLParser().parse(reply, MODEL.operation_model(operation).output_shape)
    return parsed


def keys_of(document: bytes) -> list[str | None]:
    """By ``xml.read``, whichever way it took."""
    entries, root = xml.read(document)
    assert not (entries and root.find("Contents"))
    return [entry[0] for entry in entries] or [element.get("Key") for element in root.find_all("Contents")]


@given(pages(ENTRIES) | pages(USUAL_ENTRIES))
def test_a_page_has_the_keys_that_botocore_reads(page: str) -> None:
    theirs = [item["Key"] for item in read_by_botocore(page.encode()).get("Contents", [])]
    assert keys_of(page.encode()) == theirs


@given(st.lists(USUAL_ENTRIES, min_size=1, max_size=5), SPACES)
def test_a_usual_page_is_cut_and_not_parsed(entries: Sequence[dict[str, str]], space: str) -> None:
    order = ("Key", "LastModified", "ETag", "Size", "StorageClass")
    fields = [space.join(f"<{n}>{escaped(e[n]) if n == 'Key' else e[n]}</{n}>" for n in order) for e in entries]
    written = space.join(f"<Contents>{inner}</Contents>" for inner in fields)
    page = f"<ListBucketResult><Name>b</Name>{written}<IsTruncated>false</IsTruncated></ListBucketResult>"
    found, root = xml.read(page.encode())
    assert found == [(e["Key"], e["LastModified"], "abc", e["Size"], e["StorageClass"]) for e in entries]
    assert (root.name, root.get("Name"), root.get("IsTruncated")) == ("ListBucketResult", "b", "false")


ENTRY = "<Contents><Key>a</Key><LastModified>2026-11-22T05:18:00Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>"


@pytest.mark.parametrize(
    "page",
    [
        f"<ListBucketResult><!--{ENTRY}--></ListBucketResult>",
        f"<ListBucketResult><![CDATA[{ENTRY}]]></ListBucketResult>",
        f"<ListBucketResult><?x {ENTRY}?></ListBucketResult>",
        f"<?x {ENTRY}?><ListBucketResult></ListBucketResult>",
        f"<ListBucketResult><Other>{ENTRY}</Other></ListBucketResult>",
    ],
)
def test_what_is_no_entry_of_the_page_is_none(page: str) -> None:
    assert keys_of(page.encode()) == []


@pytest.mark.parametrize(
    "page",
    [
        f"{ENTRY}<ListBucketResult></ListBucketResult>",
        f"<ListBucketResult></ListBucketResult>{ENTRY}",
        f'<ListBucketResult a="{ENTRY}"></ListBucketResult>',
        f"<ListBucketResult>{ENTRY}",
        f"<ListBucketResult>{ENTRY}</Other>",
        f"<ListBucketResult>{ENTRY.replace('a', '&novelty;')}</ListBucketResult>",
        f"<ListBucketResult>{ENTRY.replace('>a<', '>&#xD800;<')}</ListBucketResult>",
        f"<ListBucketResult>{ENTRY.replace('>a<', '>&#x110000;<')}</ListBucketResult>",
        f"<ListBucketResult>{ENTRY.replace('>a<', '>a & b<')}</ListBucketResult>",
        "",
        "no xml",
    ],
)
def test_a_page_that_is_no_xml_is_refused(page: str) -> None:
    with pytest.raises(xml.MalformedError):
        xml.read(page.encode())


def test_a_page_that_ends_early_is_refused_wherever_it_ends() -> None:
    page = f'<?xml version="1.0"?><ListBucketResult><Name>b</Name>{ENTRY * 3}<IsTruncated>false</IsTruncated></ListBucketResult>'.encode()
    assert keys_of(page) == ["a"] * 3
    for length in range(len(page)):
        with pytest.raises(xml.MalformedError):
            xml.read(page[:length])


@given(st.text(st.sampled_from("&<>;#xa0'\"lt gmpquo"), max_size=30))
def test_references_are_resolved_as_a_parser_does(text: str) -> None:
    text = text.replace("<", "&lt;")
    try:
        expected = ET.fromstring(f"<a>{text}</a>").text or ""
    except ET.ParseError:
        if "]]>" not in text:
            with pytest.raises(xml.MalformedError):
                xml.unescape(text)
        return
    assert xml.unescape(text) == expected


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


BOMB = (
    b'<!DOCTYPE lolz [<!ENTITY a "lol">' + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
)  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        BOMB + b"]><lolz>&j;</lolz>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"<!DOCTYPE html><html></html>",
        b"<a>" * 2_000_000,
        b"<a>" + b"<a/>" * 1_000_000 + b"</a>",
        b"<a>" + b"x" * (8 << 20) + b"</a>",
        b"<a " + b'b="c" ' * 500_000 + b"/>",
        b"<a>" + bytes(4 << 20) + b"</a>",
        '<?xml version="1.0" encoding="UTF-16"?><a>b</a>'.encode("utf-16"),
        b'<?xml version="1.0"?><a>\xff</a>',
    ],
    ids=[
        "entities",
        "external",
        "external entity",
        "html",
        "deep",
        "wide",
        "long",
        "attributes",
        "nul",
        "utf-16",
        "latin",
    ],
)
def test_a_hostile_document_is_refused_in_little_memory(document: bytes) -> None:
    with little_memory(64 << 20), pytest.raises(xml.MalformedError):
        xml.read(document)


def test_what_xml_forbids_is_made_legible() -> None:
    _, root = xml.read(b"<a><Marker>x\x07y&#x1F;</Marker><Other>\xef\xbf\xbe</Other></a>")
    assert (root.get("Marker"), root.get("Other")) == (f"x{xml.DAMAGED}y{xml.DAMAGED}", xml.DAMAGED)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: not xml._FORBIDDEN.search(text.encode())
)


def children(document: bytes) -> list[list[tuple[str, str]]]:
    """Of each child of the root, its own children's names and texts, by another parser."""
    root = ET.fromstring(document)
    return [[(leaf.tag.rpartition("}")[2], leaf.text or "") for leaf in child] for child in root]


@given(st.lists(st.tuples(ANY_TEXT, st.none() | st.sampled_from(["v1", "a&b<c>", "null"])), max_size=4))
def test_a_list_of_keys_to_delete_arrives_as_it_left(keys: Sequence[tuple[str, str | None]]) -> None:
    document = xml.delete_document([VersionedKey(key, version) for key, version in keys])
    expected = [[("Key", key), *([("VersionId", version)] if version else [])] for key, version in keys]
    assert children(document) == expected


@given(st.lists(st.tuples(st.integers(1, 10_000), TEXTS), max_size=4))
def test_a_list_of_parts_arrives_as_it_left(parts: Sequence[tuple[int, str]]) -> None:
    document = xml.complete_document([Part(number, etag) for number, etag in parts])
    assert children(document) == [[("ETag", f'"{etag}"'), ("PartNumber", str(number))] for number, etag in parts]


@given(TEXTS, st.lists(st.builds(Grant, st.just("READ"), id=TEXTS) | st.builds(Grant, st.just("WRITE"), uri=TEXTS) | st.builds(Grant, st.just("READ_ACP"), email=TEXTS), max_size=4))  # fmt: skip
def test_an_acl_comes_back_as_it_left(owner: str, grants: Sequence[Grant]) -> None:
    acl = Acl(owner, tuple(grants))
    document = xml.acl_document(acl)
    assert xml.acl_of(xml.read(document)[1]) == acl
    theirs = read_by_botocore(document, "GetObjectAcl")
    assert (theirs["Owner"]["ID"], len(theirs.get("Grants", []))) == (owner, len(grants))


@pytest.mark.parametrize("missing", ["Owner", "ID", "Grantee", "Permission"])
def test_an_acl_that_lacks_a_part_is_none(missing: str) -> None:
    document = xml.acl_document(Acl("me", (Grant("READ", id="you"),))).decode()
    _, root = xml.read(
        document.replace(f"<{missing}", f"<No{missing}").replace(f"</{missing}", f"</No{missing}").encode()
    )
    assert xml.acl_of(root) is None


@given(st.text(CARRIED, max_size=20))
def test_an_encoded_key_is_decoded_as_it_was_encoded(key: str) -> None:
    assert decoded(quote_plus(key)) == key
