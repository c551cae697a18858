"""Hostile answers and damaged documents, from a seed or from Hypothesis, for runs of any length.

``FUZZ_EXAMPLES`` is the number of examples that each test tries; with it the examples are new ones in every run.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
USUAL_EXAMPLES = 100
READ_AT_ONCE = 64 << 10


def fuzzed(share: float = 1.0) -> settings:
    """As many examples as are asked for, or this share of them where each takes long."""
    return settings(
        max_examples=max(1, round((EXAMPLES or USUAL_EXAMPLES) * share)),
        deadline=None,
        derandomize=not EXAMPLES,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.function_scoped_fixture,
        ],
    )


# Objects whose bytes tell whose they are


def marker(name: object) -> bytes:
    """Of an object: no few bits of damage make one of another."""
    return b"<m:%s>" % hashlib.sha256(str(name).encode()).hexdigest()[:16].encode()


MARKER = re.compile(rb"<m:[0-9a-f]{16}>")


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: every stretch of it is marked, and what looks like another answer in it is marked as well."""

    name: str
    size: int
    etag_kind: str = "md5"

    @property
    def content(self) -> bytes:
        mark = marker(self.name)
        inner = b'HTTP/1.1 200 OK\r\nETag: "inner"\r\nContent-Length: %d\r\n\r\n%s' % (len(mark), mark)
        block = mark + inner + b"0\r\n\r\n" + inner
        return (block * (self.size // len(block) + 1))[: self.size]

    @property
    def etag(self) -> bytes:
        if self.etag_kind == "md5":
            return b'"%s"' % hashlib.md5(self.content, usedforsecurity=False).hexdigest().encode()
        return b'"opaque-%s"' % hashlib.sha256(self.name.encode()).hexdigest()[:8].encode()

    @property
    def fields(self) -> list[bytes]:
        """Of the head of every answer about it."""
        told = [b"x-amz-version-id: v%s" % marker(self.name)[3:-1], b"x-amz-meta-mark: %s" % marker(self.name)]
        return told if self.etag_kind == "none" else [b"ETag: " + self.etag, *told]


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What a server says to a request, and how it goes on."""

    pieces: Sequence[bytes]
    stray: bytes = b""
    """Sent with the last piece, in the same turn of the event loop: nobody has asked for it."""
    then: str = "keep"
    """The connection's fate: ``keep``, ``fin``, ``reset``."""
    is_paced: bool = False
    """Whether the client reads each piece before the next one is sent."""
    is_early: bool = False
    """Whether it is sent before the request's body is taken."""
    is_whole: bool = True
    """Whether any client must be able to read it."""

    def __repr__(self) -> str:
        pieces = [shown(piece) for piece in self.pieces[:8]]
        return (
            f"Answer({pieces}, stray={shown(self.stray)}, then={self.then!r}, is_paced={self.is_paced}, "
            f"is_early={self.is_early}, is_whole={self.is_whole})"
        )

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


FLOODS: dict[str, bytes] = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "blank lines": b"\r\n" * 40,
    "line feeds": b"\n\n",
    "NULs": b"\0" * 9,
    "a few interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 16,
    "interim responses": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 400,
    "an interim response with a length": b"HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\n",
    "an interim response in chunks": b"HTTP/1.1 102 Processing\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
    "an interim response with a body": (
        b"HTTP/1.1 102 Processing\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n%s\r\n0\r\n\r\n" % marker("stray")
    ),
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
}
LINES: list[bytes] = [
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"content-length: 18446744073709551616",
    b"Content-Length: -1",
    b"Content-Length: 5, 5",
    b"Content-Length : 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding:\x0bchunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Keep-Alive: timeout=5",
    b"Content-Range: bytes 0-4/5",
    b"Content-Range: bytes 5-9/*",
    b"Content-Encoding: gzip",
    b"Location: http://elsewhere.invalid/",
    b"Retry-After: 99999999999999999999",
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
    b"Last-Modified: yesterday",
    b"Last-Modified: Thu, 99 Jan 9999 99:99:99 GMT",
    b'ETag: ""',
    b"ETag: \xff\xfe",
    b"x-amz-server-side-encryption: aws:kms",
    b"x-amz-meta-\xe9: \xe9",
    b" folded",
    b"\tfolded",
    b": nameless",
    b"no colon",
    b"X: a\0b",
    b"X: a\rb",
    b"X: a\nb",
    b"",
]
WORDS: list[bytes] = [
    *(b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b";", b"0\r\n\r\n", b"\r\n\r\n", b"ffffffffffffffff\r\n"),
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 ",
        b"HTTP/2 200\r\n\r\n",
        b"\xff\xff",
        b"-1",
        b"<Error/>",
        b"5;x=y\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n",
    ),
]
STATUSES = [
    100,
    101,
    102,
    199,
    201,
    202,
    204,
    205,
    206,
    301,
    304,
    307,
    400,
    403,
    404,
    408,
    412,
    416,
    429,
    500,
    503,
    999,
]


class Mangler:
    """Makes answers: as they should be in one of many ways, and as they should not."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    # Values

    def thing(self, name: str) -> Thing:
        size = self._one_of(0, 1, 24, 150, 400, 1000, 1000, 20_000, READ_AT_ONCE, 70_000)
        return Thing(name, size, self._one_of("md5", "md5", "md5", "opaque", "none"))

    def answer(self, thing: Thing, method: str, *, stray: bytes = b"", may_pace: bool = True) -> Answer:
        """To a GET, HEAD or PUT of the thing. A stray follows what is whole, and nothing else."""
        is_mangled = self._one_of(True, False)
        data = self._mangled(thing, method) if is_mangled else self._whole(thing, method)
        then = self._one_of(*["keep"] * 4, "fin", "reset") if is_mangled else "keep"
        if is_mangled and then == "keep" and self._chance.randrange(4):
            then = "fin"  # of what is cut, silence takes its time
        made = Answer(self._cut(data), then=then, is_early=self._one_of(True, False), is_whole=not is_mangled)
        if not is_mangled and self._one_of(True, False):
            made = replace(made, stray=self._stray(stray))
        elif not is_mangled:
            made = replace(made, then=self._one_of("keep", "keep", "fin"))
        return replace(made, is_paced=may_pace and self._one_of(True, False))

    def unasked(self, stray: bytes) -> bytes:
        """What a server says while nobody has asked."""
        return self._stray(stray) or b"\0"

    def part(self, thing: Thing, start: int) -> Answer:
        """To a request for the rest of the thing."""
        rest = thing.content[start:]
        fields = [b"Content-Range: bytes %d-%d/%d" % (start, thing.size - 1, thing.size), *thing.fields]
        fields.append(b"Content-Length: %d" % len(rest))
        return Answer([_head(b"HTTP/1.1 206 Partial Content", fields) + rest])

    # Answers as they should be

    def _whole(self, thing: Thing, method: str) -> bytes:
        content = thing.content if method == "GET" else b""
        fields, sent = thing.fields, content
        version = self._one_of(*[b"1.1"] * 5, b"1.0")
        if method == "GET" and version == b"1.1" and self._one_of(False, False, True):
            fields = [*fields, self._one_of(b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked")]
            sent = self._chunks(content)
        else:
            length = thing.size if method == "HEAD" else len(content)
            fields = [*fields, self._one_of(b"Content-Length: %d", b"content-length:\t%d \t") % length]
        if self._one_of(*[False] * 5, True):
            fields = [*fields, *(b"X-%d: y" % number for number in range(self._one_of(1, 100, 400)))]
        if self._one_of(*[False] * 5, True):
            fields = [*fields, self._one_of(b"Connection: close", b"Connection: keep-alive", b"Connection: Close, x")]
        self._chance.shuffle(fields)
        if self._one_of(*[False] * 5, True):  # all of it is what the client reads at once
            missing = READ_AT_ONCE - len(_head(b"HTTP/%s 200 OK" % version, [*fields, b"X-Fill: "])) - len(sent)
            fields = [*fields, b"X-Fill: " + b"x" * missing] if 0 < missing < READ_AT_ONCE // 2 else fields
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * self._one_of(0, 0, 0, 1, 3)
        return interim + _head(b"HTTP/%s 200 %s" % (version, self._one_of(b"OK", b"", b"O\xe9K")), fields) + sent

    def _chunks(self, content: bytes) -> bytes:
        made: list[bytes] = []
        position = 0
        sizes = [self._one_of(1, 3, 16, 50, 100, 1000, 50_000, 100_000) for _ in range(8)]
        while position < len(content):
            chunk = content[position : position + sizes[len(made) % 8] + len(content) // 400]
            extension = b";a=b" if sizes[0] == 16 else b""
            made.append(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk))
            position += len(chunk)
        trailers = self._one_of(b"", b"", b"X-T: 1\r\n", b'X-T: 1\r\nETag: "other"\r\n')
        return b"".join(made) + self._one_of(b"0", b"000") + b"\r\n" + trailers + b"\r\n"

    def _stray(self, answer: bytes) -> bytes:
        """Another's answer, a part of it, or nothing that is any."""
        return self._one_of(
            answer, answer, answer * 2, answer[:20], b"\r\n" + answer, b"HTTP", b"x", b"0\r\n\r\n", b"\0"
        )

    # And as they should not

    def _mangled(self, thing: Thing, method: str) -> bytes:
        data = self._whole(thing, method)
        for _ in range(self._one_of(1, 1, 1, 2, 3)):
            data = self._chance.choice(self._WAYS)(self, data)
        return data

    def _edit_bytes(self, data: bytes) -> bytes:
        start = self._place(data)
        stop = min(len(data), start + self._one_of(0, 1, 2, 7, 40, 300))
        new = self._one_of(b"", self._one_of(*WORDS), data[start:stop] * 2, data[start:stop][::-1])
        return data[:start] + new + data[stop:]

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        place = self._place(data[:-1])
        return data[:place] + bytes([data[place] ^ 1 << self._chance.randrange(8)]) + data[place + 1 :]

    def _cut_off(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _move(self, data: bytes) -> bytes:
        """Two halves, one in the middle of the other."""
        first, second = sorted((self._place(data), self._place(data)))
        return data[:first] + data[second:] + data[first:second]

    def _double(self, data: bytes) -> bytes:
        return data + self._one_of(b"", b"\r\n", b"\0") + data

    def _flood(self, data: bytes) -> bytes:
        return self._one_of(*FLOODS.values()) + data

    def _bare_line_feeds(self, data: bytes) -> bytes:
        return data.replace(b"\r\n", b"\n", self._one_of(1, 2, -1))

    def _add_line(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        place = self._chance.randrange(1, min(len(lines), 8) + 1)
        repeated = lines[self._chance.randrange(min(len(lines), 8))]
        return b"\r\n".join([*lines[:place], self._one_of(self._one_of(*LINES), repeated), *lines[place:]])

    def _add_long_line(self, data: bytes) -> bytes:
        line, end, rest = data.partition(b"\r\n")
        flood = self._one_of(
            b"X: " + b"x" * 70_000 + b"\r\n",
            b"x" * 70_000 + b": x\r\n",
            b"X: y\r\n" * 20_000,
            b"".join(b"x-%d: y\r\n" % number for number in range(3000)),
        )
        return line + end + flood + rest

    def _restate(self, data: bytes) -> bytes:
        return re.sub(rb"(?<=HTTP/1.[01] )[0-9]{3}", b"%d" % self._one_of(*STATUSES), data, count=1)

    def _lie_of_length(self, data: bytes) -> bytes:
        """In the head or in a chunk: by a little, or so that the rest is a response."""
        found = re.search(rb"(?i)(?<=content-length:)[ \t]*([0-9]+)", data) or re.search(rb"\r\n([0-9a-f]+)\r\n", data)
        if found is None:
            return data
        inner = data.find(b"HTTP/", data.find(b"\r\n\r\n") + 4) - data.find(b"\r\n\r\n") - 4
        base = 16 if found[0].startswith(b"\r\n") else 10
        length = int(found[1], base)
        new = self._one_of(max(0, inner), max(0, length + self._one_of(-1, 1, -24, 24, 1000, -length)))
        return data[: found.start(1)] + (b"%x" if base == 16 else b"%d") % new + data[found.end(1) :]

    _WAYS = (
        *(_edit_bytes, _edit_bytes, _flip, _cut_off, _move, _double, _flood, _bare_line_feeds, _add_line, _add_line),
        *(_add_long_line, _restate, _lie_of_length, _lie_of_length, _lie_of_length),
    )

    def _place(self, data: bytes) -> int:
        """Anywhere, half of the time in the head."""
        end = data.find(b"\r\n\r\n") + 4 if self._one_of(True, False) else len(data)
        return self._chance.randint(0, max(0, min(end, len(data))))

    def _cut(self, data: bytes) -> list[bytes]:
        if 0 < len(data) < 300 and self._one_of(*[False] * 7, True):
            return [data[place : place + 1] for place in range(len(data))]
        cuts = sorted(self._place(data) for _ in range(self._one_of(0, 0, 1, 2, 4)))
        return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _one_of(self, *choices: T) -> T:
        return self._chance.choice(choices)

    # Documents

    def damaged(self, document: bytes) -> bytes:
        for _ in range(self._one_of(1, 1, 1, 2, 3)):
            document = self._chance.choice(self._DAMAGES)(self, document)
        return document

    def _splice(self, document: bytes) -> bytes:
        start = self._chance.randint(0, len(document))
        stop = min(len(document), start + self._one_of(0, 0, 0, 1, 2, 9, 60))
        return document[:start] + self._one_of(b"", *MARKUP) + document[stop:]

    def _flip_anywhere(self, document: bytes) -> bytes:
        place = self._chance.randrange(len(document) or 1)
        return (
            document[:place]
            + bytes(byte ^ 1 << self._chance.randrange(8) for byte in document[place : place + 1])
            + (document[place + 1 :])
        )

    def _truncate(self, document: bytes) -> bytes:
        return document[: self._chance.randint(0, len(document))]

    def _between_tags(self, document: bytes) -> bytes:
        """Something where an element ends or begins."""
        places = [found.start() for found in re.finditer(rb"<|(?<=>)", document)] or [0]
        place = self._chance.choice(places)
        return document[:place] + self._one_of(*MARKUP) + document[place:]

    def _change_element(self, document: bytes) -> bytes:
        """An element with all that is in it: gone, doubled, emptied, or somewhere else."""
        elements = list(re.finditer(rb"<([A-Za-z]+)>(.*?)</\1>", document, re.DOTALL))
        elements += list(re.finditer(rb"<([A-Za-z]+)>([^<]*)</\1>", document))
        if not elements:
            return document
        found, other = self._chance.choice(elements), self._chance.choice(elements)
        name = found[1]
        new = self._one_of(
            b"",
            found[0] * 2,
            b"<%s/>" % name,
            b"<%s></%s>" % (name, name),
            b"<%s>%s</%s>" % (name, other[2], name),
            b"<%s a='b'>%s</%s>" % (name, found[2], name),
            b"<x:%s>%s</x:%s>" % (name, found[2], name),
            b"<%s><![CDATA[%s]]></%s>" % (name, found[2], name),
            b"<%s>%s</%s>" % (name, self._one_of(*TEXTS), name),
            b"<Other>%s</Other>" % found[0],
            b"<!-- %s -->" % found[0],
            other[0] + found[0],
        )
        return document[: found.start()] + new + document[found.end() :]

    _DAMAGES = (_splice, _flip_anywhere, _truncate, _between_tags, _change_element, _change_element)


MARKUP: list[bytes] = [
    *(
        b"<",
        b">",
        b"&",
        b";",
        b'"',
        b"]]>",
        b"<!---->",
        b"<!-- -->",
        b"<![CDATA[",
        b"<![CDATA[x]]>",
        b"<?pi?>",
        b" ",
        b"\r",
    ),
    *(b"\n", b"\0", b"\x0b", b"\x1b", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff", b"\xed\xa0\x80", b"\xef\xbf\xbf"),
    *(b"&amp;", b"&#0;", b"&#13;", b"&#x1F600;", b"&#xD800;", b"&nbsp;", b"&x;", b"</Key>", b"<Key>", b"<Key/>"),
    *(
        b"<Contents>",
        b"</Contents>",
        b"<Contents/>",
        b"<Deleted/>",
        b"<Deleted><Key>x</Key></Deleted>",
        b"<a>",
        b"</a>",
    ),
    *(
        b'<!DOCTYPE a [<!ENTITY x "y">]>',
        b"<!DOCTYPE html>",
        b'<!ENTITY x "y">',
        b'<?xml version="1.0"?>',
        b"\xef\xbb\xbf",
    ),
    *(b"<IsTruncated>true</IsTruncated>", b"<EncodingType>url</EncodingType>", b"<Error><Code>X</Code></Error>"),
]
TEXTS: list[bytes] = [
    *(
        b"",
        b" ",
        b"x",
        b"true",
        b"True",
        b"-1",
        b"1e3",
        b"99999999999999999999",
        b"\xd9\xa1",
        b"\xc2\xb2",
        b"%00",
        b"%",
        b"+",
    ),
    *(b"%FF", b"&quot;", b'"', b"2026-13-99T99:99:99Z", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59"),
    *(b"a\r\nb", b"..", b"\xf0\x9f\x98\x80", b"W/&quot;x&quot;", b"0" * 5000, b"x" * 5000),
]


def shown(data: bytes) -> str:
    return repr(data) if len(data) <= 600 else f"{data[:300]!r}..{len(data):,}..{data[-100:]!r}"


def _head(line: bytes, fields: Sequence[bytes]) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


# Documents as services write them

_ENTRY = (
    b"<Contents><Key>%s</Key><LastModified>2026-11-23T10:11:12.345Z</LastModified>"
    b"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>%d</Size>%s</Contents>"
)
_RGW = (
    b"<StorageClass>STANDARD</StorageClass><Owner><ID>me</ID><DisplayName>Me</DisplayName></Owner><Type>Normal</Type>"
)
_AWS = b"<StorageClass>STANDARD</StorageClass>"
_MOTO = b"<StorageClass>STANDARD</StorageClass><Owner><ID>me</ID><DisplayName>webfile</DisplayName></Owner>"
_OPEN = b'<?xml version="1.0" encoding="UTF-8"?><%s xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
_OWNER = b"<Owner><ID>me</ID><DisplayName>Me</DisplayName></Owner>"


def _document(name: bytes, *content: bytes) -> bytes:
    return _OPEN % name + b"".join(content) + b"</%s>" % name


PAGES: list[bytes] = [
    _document(
        b"ListBucketResult",
        b"<Name>bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>",
        *(_ENTRY % (key, len(key), _RGW) for key in (b"a", b"b/c", b"d &amp; e", b"\xc3\xa9")),
        b"<CommonPrefixes><Prefix>photos/</Prefix></CommonPrefixes>",
    ),
    _document(
        b"ListBucketResult",
        b"\n  <IsTruncated>false</IsTruncated>\n",
        *(b"  " + _ENTRY % (key, 1, _AWS) + b"\n" for key in (b"a%20b", b"c+d", b"e%2Ff")),
        b"  <EncodingType>url</EncodingType><KeyCount>3</KeyCount>\n",
    )
    + b"\n",
    _document(
        b"ListBucketResult",
        b"<IsTruncated>false</IsTruncated>",
        *(_ENTRY % (b"key-%d" % number, number, _MOTO) for number in range(5)),
    ),
    _document(b"ListBucketResult", b"<IsTruncated>false</IsTruncated><KeyCount>0</KeyCount>"),
]
DELETED = [
    _document(b"DeleteResult", *(b"<Deleted><Key>%s</Key></Deleted>" % key for key in (b"a", b"b &lt; c", b"d"))),
    _document(
        b"DeleteResult",
        b"<Deleted><Key>a</Key></Deleted><Deleted><Key>d</Key><VersionId>1</VersionId></Deleted>",
        b"<Error><Key>b &lt; c</Key><Code>AccessDenied</Code><Message>no</Message></Error>",
    ),
]
VERSIONS = _document(
    b"ListVersionsResult",
    b"<Name>bucket</Name><IsTruncated>false</IsTruncated>",
    b"<Version><Key>a</Key><VersionId>2</VersionId><IsLatest>true</IsLatest><LastModified>2026-11-23T10:11:12Z",
    b"</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass>"
    + _OWNER
    + b"</Version>",
    b"<DeleteMarker><Key>b &amp; c</Key><VersionId>1</VersionId><IsLatest>true</IsLatest>"
    + _OWNER
    + b"</DeleteMarker>",
)
UPLOADS = _document(
    b"ListMultipartUploadsResult",
    b"<Bucket>bucket</Bucket><IsTruncated>false</IsTruncated>",
    *(
        b"<Upload><Key>%s</Key><UploadId>2~x</UploadId><Initiated>2026-11-23T10:11:12Z</Initiated>%s</Upload>"
        % (key, _OWNER)
        for key in (b"a", b"b &gt; c")
    ),
)
PARTS = _document(
    b"ListPartsResult",
    b"<UploadId>2~x</UploadId><IsTruncated>false</IsTruncated>",
    *(
        b"<Part><PartNumber>%d</PartNumber><ETag>&quot;e&quot;</ETag><Size>1</Size></Part>" % number
        for number in (1, 2)
    ),
)
COMPLETED = _document(
    b"CompleteMultipartUploadResult",
    b"<Location>http://h/bucket/key</Location><Bucket>bucket</Bucket><Key>key</Key><ETag>&quot;e-2&quot;</ETag>",
)
ACL = _document(
    b"AccessControlPolicy",
    _OWNER + b"<AccessControlList>",
    b'<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>me</ID></Grantee>',
    b"<Permission>FULL_CONTROL</Permission></Grant>",
    b'<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://x/AllUsers</URI>',
    b"</Grantee><Permission>READ</Permission></Grant></AccessControlList>",
)
ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>none</Message>'
    b"<RequestId>tx1</RequestId><HostId>h</HostId></Error>"
)
DOCUMENTS = [*PAGES, *DELETED, VERSIONS, UPLOADS, PARTS, COMPLETED, ACL, ERROR]
