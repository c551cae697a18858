"""Whatever a service sends, of HTTP and of XML: no hang, no error but ours, no other's answer, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
import re
import time
import xml.sax
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from xml.sax.handler import ContentHandler, property_lexical_handler
from xml.sax.xmlreader import InputSource

import pytest
from fuzzing import (
    ACL,
    COMPLETED,
    DELETED,
    DOCUMENTS,
    MARKUP,
    PAGES,
    PARTS,
    TEXTS,
    UPLOADS,
    VERSIONS,
    Answer,
    Mangler,
    Thing,
    fuzzed,
    marker,
    shown,
)
from hypothesis import given
from hypothesis import strategies as st
from invariants import descriptors, traced_memory
from loops import Work, loop_of_its_own
from servers.raw import Peer, RawServer, Request, turns
from servers.scripted import Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._models import Address
from aiodreamobjects._s3 import listings
from aiodreamobjects._s3 import xml as wire_xml
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.values import Part

IMPATIENT = dream.Timeouts(connect=10, read=0.1, write=0.1)
QUICK = dream.Retry(attempts=2, base=0.001, cap=0.002)
CHANCES = st.randoms(use_true_random=False)


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What pytest keeps of it would be memory that grows."""
    caplog.set_level(logging.CRITICAL, "aiodreamobjects")


@contextmanager
def runner_of_examples() -> Iterator[Callable[[Work], None]]:
    """Runs one example after the other on a loop of their own, after which nothing is left of any."""
    with loop_of_its_own() as run:
        yield run
        gc.collect()


def session_to(server: RawServer, timeouts: dream.Timeouts = IMPATIENT, retry: dream.Retry = QUICK) -> dream.Session:
    return dream.Session(
        endpoint=f"http://{server.host}", access_key="fuzz", secret_key="not-a-secret", timeouts=timeouts, retry=retry
    )


# What is asked, and what is answered


METHODS = {"read": "GET", "stream": "GET", "fill": "GET", "leave": "GET", "head": "HEAD", "put": "PUT"}


@dataclass(frozen=True, repr=False)
class Turn:
    """A request for a thing, what it is answered, and what idle connections say before it."""

    thing: Thing
    way: str
    answer: Answer
    gap: bytes | None
    """Said on each idle connection, the end of it where this is empty."""
    is_gap_noticed: bool

    def __repr__(self) -> str:
        gap = None if self.gap is None else shown(self.gap)
        return f"Turn({self.thing}, {self.way!r}, {self.answer}, gap={gap}, is_gap_noticed={self.is_gap_noticed})"


def turns_of(chance: random.Random, *, at_once: bool) -> list[Turn]:
    mangler = Mangler(chance)
    found: list[Turn] = []
    for number in range(chance.randint(1, 6)):
        thing = mangler.thing(str(number))
        way = chance.choice([*METHODS, "read", "read"])
        stray = plain(mangler.thing(chance.choice([str(number + 1), str(number + 2), "stray"])))
        answer = mangler.answer(thing, METHODS[way], stray=stray, may_pace=not at_once)
        gap = None if at_once or chance.randrange(3) else chance.choice([b"", mangler.unasked(stray)])
        found.append(Turn(thing, way, answer, gap, is_gap_noticed=chance.random() < 0.5))
    return found


def plain(thing: Thing) -> bytes:
    fields = [*replace(thing, etag_kind="md5").fields, b"Content-Length: %d" % thing.size]
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"", thing.content])


AFTER = Thing("after", 150)


class Conversation:
    """A client and a server that give and take what was settled beforehand.

    One thing is kept from the server, which no client of HTTP/1.1 could tell from an answer: to say something for the
    first time when the next request is already on its way, and then not as the answer to that. So a stray leaves in the
    same turn of the event loop as what it follows, and a client that takes turns waits until the server has said all.
    """

    def __init__(self, script: list[Turn]) -> None:
        self.turns = script
        self.asked = [0] * len(script)
        self.outcomes: list[bool] = []
        """Whether there was an answer, of each request."""
        self._server = RawServer(self._serve)
        self._idle: set[Peer] = set()
        self._busy = 0

    async def hold(self, width: int) -> None:
        async with self._server, session_to(self._server) as session:
            remaining = iter(range(len(self.turns)))

            async def work() -> None:
                for number in remaining:
                    if width == 1:
                        await self._pause(self.turns[number])
                    await self._ask(session, number)

            async with asyncio.TaskGroup() as group:
                for _ in range(width):
                    group.create_task(work())
            await self._server.until(lambda: not self._busy)
            assert await session.object("s3://bucket/after").read() == AFTER.content

    async def _pause(self, turn: Turn) -> None:
        await self._server.until(lambda: not self._busy)
        if turn.gap is None:
            return
        for peer in self._idle:
            with suppress(OSError):
                peer.blurt(turn.gap) if turn.gap else peer.break_off()
        if turn.is_gap_noticed:
            await turns(20)

    # The client

    async def _ask(self, session: dream.Session, number: int) -> None:
        turn = self.turns[number]
        try:
            found = await WAYS[turn.way](session.object(f"s3://bucket/{number}"), turn.thing)
        except dream.DreamObjectsError as error:
            if turn.answer.is_whole and (turn.thing.etag_kind != "none" or turn.way == "head"):
                pytest.fail(f"{number} had an answer: {error!r}")
            self.outcomes.append(False)
            return
        self.outcomes.append(True)
        for other in [str(other) for other in range(len(self.turns) + 2) if other != number] + ["stray", "after"]:
            assert marker(other)[3:-1] not in found, f"{number} got the answer of {other}"
        if turn.answer.is_whole:
            self._check_whole(turn, found)
        elif METHODS[turn.way] == "GET" and self.asked[number] == 1:
            self._check_length(turn, found)

    def _check_whole(self, turn: Turn, found: bytes) -> None:
        if turn.way == "leave":
            assert turn.thing.content.startswith(found)
        elif METHODS[turn.way] == "GET":
            assert found == turn.thing.content
        else:
            assert marker(turn.thing.name)[3:-1] in found

    def _check_length(self, turn: Turn, found: bytes) -> None:
        """No more than was announced, unless that was a body in chunks."""
        said = turn.answer.data.lower()
        assert len(found) <= len(said)
        if b"transfer-encoding" not in said and turn.way != "leave":
            assert len(found) in {int(length) for length in re.findall(rb"content-length:\s*([0-9]+)", said)}

    # The server

    async def _serve(self, peer: Peer) -> None:
        while True:
            self._idle.add(peer)
            try:
                request = await peer.head()
            finally:
                self._idle.discard(peer)
            self._busy += 1
            try:
                await self._answer(peer, request)
            finally:
                self._busy -= 1
                self._server.changed.set()

    async def _answer(self, peer: Peer, request: Request) -> None:
        answer = self._answer_to(request)
        length = re.search(rb"\r\ncontent-length: ([0-9]+)", request.head)
        size = int(length[1]) if length else 0
        if not answer.is_early:
            await peer.take(size)
        for piece in answer.pieces[:-1]:
            peer.blurt(piece)
            if answer.is_paced:
                await turns()
        peer.blurt(answer.pieces[-1])
        peer.blurt(answer.stray)
        if answer.then == "reset":
            peer.reset()
            raise ConnectionResetError
        if answer.then == "fin":
            peer.break_off()
        if answer.is_early:
            await peer.take(size)

    def _answer_to(self, request: Request) -> Answer:
        name = request.path.rpartition("/")[2]
        if name == "after":
            return Answer([plain(AFTER)])
        turn = self.turns[int(name)]
        self.asked[int(name)] += 1
        if self.asked[int(name)] == 1:
            return turn.answer
        if request.method == "GET" and (start := re.search(rb"\r\nrange: bytes=([0-9]+)-", request.head)):
            return Mangler(random.Random(0)).part(turn.thing, int(start[1]))
        if request.method == "GET":
            return Answer([plain(turn.thing)])
        fields = [*turn.thing.fields, b"Content-Length: 0", b"", b""]
        return Answer([b"\r\n".join([b"HTTP/1.1 200 OK", *fields])])


async def _read(it: dream.Object, _: Thing) -> bytes:
    return await it.read()


async def _stream(it: dream.Object, _: Thing) -> bytes:
    async with it.get() as body:
        found = b"".join([chunk async for chunk in body])
        if body.info.verified == "md5":
            assert hashlib.md5(found, usedforsecurity=False).hexdigest() == body.info.etag
        assert body.info.size in (None, len(found))
    return found


async def _fill(it: dream.Object, _: Thing) -> bytes:
    memory, found = bytearray(30_000), b""
    async with it.get() as body:
        while count := await body.readinto(memory):
            found += memory[:count]
    return found


async def _leave(it: dream.Object, _: Thing) -> bytes:
    async with it.get() as body:
        return await body.read(100)


async def _head(it: dream.Object, _: Thing) -> bytes:
    return repr(await it.head()).encode()


async def _put(it: dream.Object, thing: Thing) -> bytes:
    return repr(await it.put(thing.content)).encode()


WAYS: Mapping[str, Callable[[dream.Object, Thing], Awaitable[bytes]]] = {
    "read": _read,
    "stream": _stream,
    "fill": _fill,
    "leave": _leave,
    "head": _head,
    "put": _put,
}


@pytest.mark.parametrize("width", [1, 4], ids=["one after the other", "at once"])
def test_no_server_makes_a_session_hang_or_lie_or_confuse_answers(width: int) -> None:
    answered = []
    with runner_of_examples() as run:

        @fuzzed()
        @given(CHANCES.map(lambda chance: turns_of(chance, at_once=width > 1)))
        def hold_conversations(script: list[Turn]) -> None:
            conversation = Conversation(script)
            run(conversation.hold(width))
            answered.extend(conversation.outcomes)

        hold_conversations()
    assert any(answered)
    assert not all(answered)


@pytest.mark.parametrize(
    "said", [plain(Thing("stray", 150)), b"HTTP/1.1 200 OK\r\n", b"x"], ids=["an answer", "half", "x"]
)
def test_what_a_server_says_before_it_is_asked_is_no_answer(said: bytes) -> None:
    async def talk() -> None:
        async def speak_first(peer: Peer) -> None:
            peer.blurt(said)
            while True:
                request = await peer.request()
                await peer.send(plain(Thing(request.path, 150)))

        async with RawServer(speak_first) as server, session_to(server) as session:
            for number in range(5):
                with suppress(dream.DreamObjectsError):
                    found = await session.object(f"s3://bucket/{number}").read()
                    assert found == Thing(f"/bucket/{number}", 150).content

    with runner_of_examples() as run:
        run(talk())


# Without an end

MOST_SENT = 24 << 20
"""A document of 8 MiB may be kept; the rest is what the kernel holds."""
OBJECT = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'
BEGINNINGS: dict[str, list[bytes]] = {
    "GET": [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 404 No\r\n\r\n",
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    "LIST": [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    "OBJECT": [OBJECT + b"1;", OBJECT + b"0\r\n", OBJECT + b"0\r\nX: ", OBJECT + b"0", OBJECT],
}
CHUNK = b"100\r\n" + b"x" * 256 + b"\r\n"
UNITS = [
    *(
        b"\r\n",
        b"\0",
        b"0",
        b"x",
        b" ",
        b"X: y\r\n",
        b"x;",
        b"x: y\r\n z\r\n",
        CHUNK,
        CHUNK.replace(b"\r\n", b";a=b\r\n", 1),
    ),
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n",
        b"HTTP/1.1 404 No\r\n\r\n",
        b"<a>",
        b"<Contents/>",
    ),
    *(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n", plain(AFTER)),
]


async def _list(session: dream.Session) -> object:
    return await session.bucket("bucket").list().collect()


ENDLESS_WAYS: dict[str, tuple[str, Callable[[dream.Session], Awaitable[object]]]] = {
    "read": ("GET", lambda session: session.object("s3://bucket/key").read()),
    "read an object": ("OBJECT", lambda session: session.object("s3://bucket/key").read()),
    "head": ("GET", lambda session: session.object("s3://bucket/key").head()),
    "put": ("LIST", lambda session: session.object("s3://bucket/key").put(b"x")),
    "list": ("LIST", _list),
}


@st.composite
def floods(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    name = draw(st.sampled_from(list(ENDLESS_WAYS)))
    kind = ENDLESS_WAYS[name][0]
    begin = draw(st.sampled_from(BEGINNINGS[kind]))
    units = [unit for unit in UNITS if kind != "OBJECT" or CHUNK[-9:] not in unit]
    unit = b"".join(draw(st.lists(st.sampled_from(units), min_size=1, max_size=3)))
    if kind == "GET" and name == "read" and begin in (b"", b"HTTP/1.1 200 OK\r\n"):
        unit = unit.replace(b"HTTP/1.1 200", b"HTTP/1.1 404")
    return name, begin, unit


def test_what_has_no_end_is_left_before_it_fills_the_memory() -> None:
    with runner_of_examples() as run:

        @fuzzed(0.3)
        @given(floods())
        def flood(example: tuple[str, bytes, bytes]) -> None:
            name, begin, unit = example
            sent: list[int] = []

            async def pour(peer: Peer) -> None:
                await peer.head()
                piece = unit * (1 + (1 << 18) // len(unit))
                try:
                    await peer.pour(begin)
                    while peer.sent < 2 * MOST_SENT:
                        await peer.pour(piece)
                finally:
                    sent.append(peer.sent)

            async def talk() -> None:
                async with RawServer(pour) as server, session_to(server) as session:
                    with suppress(dream.DreamObjectsError):
                        await ENDLESS_WAYS[name][1](session)
                    await server.until(lambda: not server.open_connections)

            run(talk())
            assert max(sent) < MOST_SENT

        flood()


# Nothing stays


def test_a_thousand_hostile_answers_leave_no_memory_and_no_descriptor_behind() -> None:
    chance = random.Random(7)
    opened = len(descriptors())

    async def talk() -> None:
        async def serve(peer: Peer) -> None:
            while True:
                request = await peer.head()
                length = re.search(rb"\r\ncontent-length: ([0-9]+)", request.head)
                await peer.take(int(length[1]) if length else 0)
                for piece in answer.pieces:
                    peer.blurt(piece)
                peer.blurt(answer.stray)
                if answer.then == "reset":
                    peer.reset()
                    raise ConnectionResetError
                if not answer.is_whole:
                    return

        mangler = Mangler(chance)
        stray = plain(Thing("stray", 150))
        grown: list[int] = []
        failed = 0
        async with RawServer(serve) as server, session_to(server, retry=dream.Retry(attempts=1)) as session:
            for number in range(1000):
                thing = mangler.thing("thing")
                way = chance.choice(list(METHODS))
                answer = mangler.answer(thing, METHODS[way], stray=stray)
                try:
                    await WAYS[way](session.object("s3://bucket/thing"), thing)
                except dream.DreamObjectsError:
                    failed += 1
                if number % 200 == 199:
                    await server.until(lambda: server.open_connections <= session.statistics().open_connections)
                    gc.collect()
                    grown.append(memory.taken)
            assert 200 < failed < 800
            assert session.statistics().open_connections <= 1
        assert max(grown[1:]) - grown[0] < 100_000, grown

    with runner_of_examples() as run, traced_memory() as memory:
        run(talk())
    assert len(descriptors()) <= opened


# Documents


Node = tuple[str, str, list["Node"]]
"""An element: its name without a prefix, its own text, its children."""


class Judge(ContentHandler):
    """What the standard library makes of a document, and whether there is a document type."""

    def __init__(self) -> None:
        super().__init__()
        self.has_doctype = False
        self.path: list[Node] = [("", "", [])]

    def startElement(self, name: str, _: object) -> None:  # noqa: N802 - its base's name
        node: Node = (name.rpartition(":")[2], "", [])
        self.path[-1][2].append(node)
        self.path.append(node)

    def endElement(self, _: str) -> None:  # noqa: N802 - its base's name
        self.path.pop()

    def characters(self, content: str) -> None:
        name, text, children = self.path[-1]
        self.path[-1] = (name, text + content, children)
        self.path[-2][2][-1] = self.path[-1]

    def startDTD(self, *_: object) -> None:  # noqa: N802 - its base's name
        self.has_doctype = True

    def comment(self, *_: object) -> None: ...
    def startCDATA(self) -> None: ...  # noqa: N802 - its base's name
    def endCDATA(self) -> None: ...  # noqa: N802 - its base's name
    def endDTD(self) -> None: ...  # noqa: N802 - its base's name


def judged(document: bytes) -> tuple[Node | None, bool]:
    """The root, None of what is no XML; and whether there is a document type."""
    judge = Judge()
    reader = xml.sax.make_parser()
    reader.setContentHandler(judge)
    reader.setProperty(property_lexical_handler, judge)
    source = InputSource()
    source.setByteStream(BytesIO(wire_xml.legible(document)))
    source.setEncoding("utf-8")
    try:
        reader.parse(source)
    except xml.sax.SAXException:
        return None, judge.has_doctype
    return judge.path[0][2][0], judge.has_doctype


def as_node(element: wire_xml.Element) -> Node:
    return element.name, element.text, [as_node(child) for child in element.children]


def damaged(documents: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the documents, and what chance makes of it."""
    return st.tuples(CHANCES, st.sampled_from(documents)).map(lambda drawn: Mangler(drawn[0]).damaged(drawn[1]))


def is_beyond_s3(document: bytes) -> bool:
    return re.search(rb"<[^<>]{4096}", document) is not None


@fuzzed(4)
@given(damaged(DOCUMENTS))
def test_a_damaged_document_is_read_as_a_parser_reads_it(document: bytes) -> None:
    expected, has_doctype = judged(document)
    try:
        root = wire_xml.parse(document)
    except wire_xml.MalformedError:
        assert expected is None or has_doctype or is_beyond_s3(document)
        return
    assert not has_doctype
    assert as_node(root) == expected


Told = tuple[list[tuple[object, ...]], list[Node]]
"""The entries of a document, and what is beside them."""


def told_of_objects(document: bytes) -> Told:
    entries, root = wire_xml.read(document, "ListBucketResult")
    listed = list(entries) or [listings._entry(element) for element in root.find_all("Contents")]
    told: list[tuple[object, ...]] = [
        (key, modified, etag or None, int(size) if size else None, kind) for key, modified, etag, size, kind in listed
    ]
    return told, [as_node(child) for child in root.children if child.name != "Contents"]


def told_of_deleted(document: bytes) -> Told:
    entries, root = wire_xml.read(document, "DeleteResult")
    told: list[tuple[object, ...]] = [(key, None) for key, *_ in entries]
    told += [(element.get("Key"), element.get("VersionId")) for element in root.find_all("Deleted")]
    return told, [as_node(child) for child in root.children if child.name != "Deleted"]


def outcome(reader: Callable[[bytes], Told], document: bytes) -> Told | str:
    try:
        return reader(document)
    except (wire_xml.MalformedError, ServiceError) as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("reader", "pages"), [(told_of_objects, PAGES), (told_of_deleted, DELETED)], ids=["objects", "deleted"]
)
def test_the_fast_path_reads_no_damaged_page_otherwise(reader: Callable[[bytes], Told], pages: list[bytes]) -> None:
    @fuzzed(4)
    @given(damaged(pages))
    def damage(document: bytes) -> None:
        if judged(document)[0] is None:
            assert outcome(reader, document) == "MalformedError"
        else:  # a comment keeps it off the fast path
            assert outcome(reader, document) == outcome(reader, document + b"<!-- -->")

    damage()


@pytest.mark.parametrize("document", [*PAGES[:3], DELETED[0]], ids=["rgw", "aws", "moto", "deleted"])
def test_what_is_damaged_here_would_have_taken_the_fast_path(document: bytes) -> None:
    entries, _ = wire_xml.read(document, "DeleteResult" if document is DELETED[0] else "ListBucketResult")
    assert list(entries)


DOCTYPES = [
    b"<!DOCTYPE a>",
    b"<!DOCTYPE html>",
    b'<!DOCTYPE a [<!ENTITY x "y">]>',
    b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/"> %x;]>',
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    b"<!DOCTYPE a [<!ELEMENT a ANY><!ATTLIST a b CDATA 'c'>]>",
]


@fuzzed()
@given(st.sampled_from(DOCUMENTS), st.sampled_from(DOCTYPES), st.sampled_from([b"", b"\n", b"<!-- -->", b"<?pi?>"]))
def test_a_document_type_is_refused_wherever_it_may_be(document: bytes, doctype: bytes, before: bytes) -> None:
    declaration, _, rest = document.partition(b"?>")
    document = declaration + b"?>" + before + doctype + before + rest
    assert judged(document)[1]
    for name in ("ListBucketResult", "DeleteResult", "Error"):
        with pytest.raises(wire_xml.MalformedError):
            wire_xml.read(document, name)


@fuzzed(0.3)
@given(
    st.sampled_from(DOCUMENTS),
    st.lists(st.sampled_from([*MARKUP, *TEXTS, b"<Contents>\n"]), min_size=1, max_size=3),
    CHANCES,
)
def test_a_document_that_repeats_itself_takes_time_and_memory_in_proportion(
    document: bytes, units: list[bytes], chance: random.Random
) -> None:
    unit = b"".join(units) or b" "
    place = chance.choice([found.start() for found in re.finditer(rb"<|(?<=>)", document)])
    large = document[:place] + unit * (1 + 300_000 // len(unit)) + document[place:]
    started = time.thread_time()
    with traced_memory() as memory:
        for name in ("ListBucketResult", "DeleteResult"):
            with suppress(wire_xml.MalformedError):
                wire_xml.read(large, name)
    elements = min(wire_xml.MOST_ELEMENTS, large.count(b"<"))
    assert memory.peak < 12 * len(large) + 250 * elements + (1 << 20)
    assert time.thread_time() - started < 20


# Documents, through the public door

Verb = Callable[[dream.Session], Coroutine[object, object, object]]


async def _objects(session: dream.Session) -> list[str]:
    return sorted(info.key for info in await session.bucket("bucket").list().collect())


async def _versions(session: dream.Session) -> list[str]:
    return sorted(info.key for info in await session.bucket("bucket").list_versions().collect())


async def _uploads(session: dream.Session) -> list[str]:
    return sorted(info.key for info in await session.bucket("bucket").uploads().collect())


async def _delete(session: dream.Session) -> list[str]:
    report = await session.bucket("bucket").delete_many(["a", "b < c", "d"], on_error="collect")
    return sorted({"a", "b < c", "d"} - {failure.key for failure in report.failures})


async def _acl(session: dream.Session) -> object:
    return await session.object("s3://bucket/key").acl()


async def _parts(session: dream.Session) -> list[int]:
    page = await session._runtime.s3.list_parts(Address("bucket", "key"), "2~x")
    return [part.number for part in page.items]


async def _complete(session: dream.Session) -> str:
    s3, parts = session._runtime.s3, [Part(1, "e")]
    info = await s3.complete_upload(Address("bucket", "key"), "2~x", parts, WriteOptions())
    return (info.etag or "").strip('"')


def texts_in(root: Node, field: str, *names: str) -> list[str]:
    """The first text of this name in each element of these names."""
    entries = [child for child in root[2] if child[0] in names]
    return [next((text for name, text, _ in entry[2] if name == field), "") for entry in entries]


def keys_in(*names: str) -> Callable[[Node], object]:
    return lambda root: sorted(texts_in(root, "Key", *names))


def deleted_in(root: Node) -> list[str]:
    versions = texts_in(root, "VersionId", "Deleted"), texts_in(root, "VersionId", "Error")
    done = {key for key, version in zip(texts_in(root, "Key", "Deleted"), versions[0], strict=True) if not version}
    failed = {key for key, version in zip(texts_in(root, "Key", "Error"), versions[1], strict=True) if not version}
    return sorted((done - failed) & {"a", "b < c", "d"})


def parts_in(root: Node) -> list[int]:
    return [int(number) for number in texts_in(root, "PartNumber", "Part")]


def etag_in(root: Node) -> str:
    return next(text for name, text, _ in root[2] if name == "ETag").strip('"')


VERBS: dict[str, tuple[Verb, list[bytes], Callable[[Node], object] | None]] = {
    "objects": (_objects, PAGES[:1] + PAGES[2:], keys_in("Contents")),
    "encoded objects": (_objects, PAGES[1:2], None),
    "versions": (_versions, [VERSIONS], keys_in("Version", "DeleteMarker")),
    "uploads": (_uploads, [UPLOADS], keys_in("Upload")),
    "delete": (_delete, DELETED, deleted_in),
    "acl": (_acl, [ACL], None),
    "parts": (_parts, [PARTS], parts_in),
    "complete": (_complete, [COMPLETED], etag_in),
}
"""A verb, documents that answer it, and what it must make of one that is not quite so."""


@asynccontextmanager
async def scripted_session() -> AsyncIterator[tuple[ScriptedServer, dream.Session]]:
    async with ScriptedServer() as server, server.session(retry=dream.Retry(attempts=1)) as session:
        yield server, session


@pytest.mark.parametrize("name", VERBS)
def test_a_damaged_reply_is_an_error_of_ours_or_what_a_parser_finds_in_it(name: str) -> None:
    verb, documents, found_in = VERBS[name]
    last = PAGES[3].replace(b"ListBucketResult", b"%s" % re.findall(rb"<([A-Za-z]+) xmlns", documents[0])[0])
    outcomes: set[str] = set()

    async def ask(document: bytes, status: int) -> None:
        root, has_doctype = judged(document.lstrip())  # S3 may send blanks beforehand
        async with scripted_session() as (server, session):
            server.will(Reply(status, document), Reply(200, last))
            try:
                found = await verb(session)
            except dream.DreamObjectsError:
                outcomes.add("error")
                return
            assert status == 200
            outcomes.add("value")
            is_silent = not document.strip() and name == "delete"
            assert (root is not None and not has_doctype) or is_silent
            if (
                found_in is not None
                and root is not None
                and len(server.received) == 1
                and b"EncodingType" not in document
            ):
                assert found == found_in(root)

    with runner_of_examples() as run:

        @fuzzed(0.4)
        @given(damaged(documents), st.sampled_from([200] * 5 + [404, 500]))
        def damage(document: bytes, status: int) -> None:
            run(ask(document, status))

        damage()
    assert outcomes == {"error", "value"}


@pytest.mark.parametrize("name", VERBS)
def test_a_reply_that_was_cut_is_an_error_wherever_that_was(name: str) -> None:
    verb, documents, _ = VERBS[name]

    async def ask(document: bytes, stop: int) -> None:
        async with scripted_session() as (server, session):
            server.will(Reply(200, document[:stop]))
            with pytest.raises(dream.DreamObjectsError):
                await verb(session)

    with runner_of_examples() as run:

        @fuzzed(0.2)
        @given(
            st.sampled_from(documents).flatmap(lambda it: st.tuples(st.just(it), st.integers(1, len(it.rstrip()) - 1)))
        )
        def cut(example: tuple[bytes, int]) -> None:
            run(ask(*example))

        cut()
