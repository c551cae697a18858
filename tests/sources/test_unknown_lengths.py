"""Bodies without a length: a proxy that passes answers on in chunks leaves the Content-Length out.

What the ETag tells is compared all the same. What nothing tells is not said to be verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faulty import FaultyServer
from servers.rules import Action, Blanks, Flip, Mishear, Rule, Say, Shorten
from servers.scripted import Raw, Received, Reply, ScriptedServer

import aiodreamobjects as dream

PART = 128 << 10
LIMITS = dream.Limits(part_size=PART)
SIZES = [1, 20_000, *(edge + step for edge in (64 << 10, PART, 256 << 10) for step in (-1, 0, 1)), 3 * PART + 5]
DATA = random.Random(1).randbytes(max(SIZES))
IN_CHUNKS = Blanks(0, 0.0)
NO_LENGTH = Say(headers={"Content-Length": None, "Transfer-Encoding": "chunked"})
OLD = b"what was there before"
FAULTS: dict[str, Action] = {"cut": Shorten(1), "flipped": Flip(-1), "flipped-at-first": Flip(0)}
Verb = Callable[[dream.Object, dream.Object, Path], Awaitable[bytes]]


@pytest.fixture(scope="module", params=["http", "tls"])
def lengthless(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[FaultyServer]:
    with FaultyServer(certificate if request.param == "tls" else None) as running:
        yield running


def session_to(server: FaultyServer, ca: Path) -> dream.Session:
    timeouts = dream.Timeouts(connect=20, read=20, write=20)
    service = replace(server.service, unsupported={"tagging": "it has no tags"})
    trusted = ca if "https" in server.endpoint else None
    return server.session(service=service, limits=LIMITS, timeouts=timeouts, ca=trusted)


async def read(obj: dream.Object, _: dream.Object, __: Path) -> bytes:
    return await obj.read()


async def read_from_the_beginning(obj: dream.Object, _: dream.Object, __: Path) -> bytes:
    return await obj.read((0, None))


async def get(obj: dream.Object, _: dream.Object, __: Path) -> bytes:
    async with obj.get() as body:
        return b"".join([chunk async for chunk in body])


async def get_from_the_beginning(obj: dream.Object, _: dream.Object, __: Path) -> bytes:
    async with obj.get(range=(0, None)) as body:
        return await body.read()


async def read_into(obj: dream.Object, _: dream.Object, __: Path) -> bytes:
    async with obj.get() as body:
        buffer = bytearray(len(DATA) + 1)
        return bytes(buffer[: await body.readinto(buffer)])


class Collected:
    def __init__(self) -> None:
        self.content = b""

    async def write(self, data: bytes) -> None:
        self.content += data


async def write_to(obj: dream.Object, _: dream.Object, __: Path) -> bytes:
    async with obj.get() as body:
        file = Collected()
        await body.write_to(file)
        return file.content


async def download(obj: dream.Object, _: dream.Object, home: Path) -> bytes:
    path = home / obj.key
    path.write_bytes(OLD)
    try:
        await obj.download(path)
    except dream.DreamObjectsError:
        assert path.read_bytes() == OLD
        raise
    return path.read_bytes()


async def put_a_body(obj: dream.Object, to: dream.Object, __: Path) -> bytes:
    async with obj.get() as body:
        await to.put(body)
    return await to.read()


async def copy_to(obj: dream.Object, to: dream.Object, _: Path) -> bytes:
    await obj.copy_to(to)
    return await to.read()


async def move_to(obj: dream.Object, to: dream.Object, _: Path) -> bytes:
    await obj.move_to(to)
    return await to.read()


VERBS: list[Verb] = [
    *(read, read_from_the_beginning, get, get_from_the_beginning, read_into, write_to),
    *(download, put_a_body, copy_to, move_to),
]


def key_of(verb: Verb, size: int) -> str:
    return f"{verb.__name__}-{size}"


async def store(server: FaultyServer, session: dream.Session, kind: str) -> None:
    """An object for each verb and size; its ETag is an MD5, or of parts as this library makes them, or tells nothing."""
    for verb in VERBS:
        for size in SIZES:
            key, content = key_of(verb, size), DATA[:size]
            if kind == "parts" and size > PART:
                await session.object(f"s3://bucket/{key}").put(content)
            else:
                server.put("bucket", key, content, etag="opaque-1" if kind == "opaque" else None)


async def run(server: FaultyServer, here: dream.Session, there: dream.Session, home: Path) -> dict[str, object]:
    """What each verb makes of each object: bytes, or its error."""

    async def one(verb: Verb, size: int) -> object:
        key = key_of(verb, size)
        try:
            content = await verb(here.object(f"s3://bucket/{key}"), there.object(f"s3://target/{key}"), home)
        except dream.DreamObjectsError as error:
            return error
        return "right" if content == DATA[:size] else "WRONG"

    pairs = [(verb, size) for verb in VERBS for size in SIZES]
    found = await asyncio.gather(*(one(verb, size) for verb, size in pairs))
    server.will()
    return {key_of(*pair): outcome for pair, outcome in zip(pairs, found, strict=True)}


@pytest.mark.parametrize("kind", ["md5", "parts"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_wrong_bytes_without_a_length_are_noticed(
    lengthless: FaultyServer, ca: Path, tmp_path: Path, fault: str, kind: str
) -> None:
    lengthless.reset()
    for bucket in ("bucket", "target"):
        lengthless.make_bucket(bucket)
    async with session_to(lengthless, ca) as here, session_to(lengthless, ca) as there:
        await store(lengthless, here, kind)
        keys = lengthless.keys("bucket")
        meant = Rule("GetObject", FAULTS[fault], IN_CHUNKS, times=None, when=lambda asked: asked.bucket == "bucket")
        lengthless.will(meant)
        outcomes = await run(lengthless, here, there, tmp_path)
        lengthless.will(meant)
        report = await here.bucket("bucket").download_tree(tmp_path / "tree", include=["/read-*"], on_error="collect")
        assert (report.done, report.failed) == (0, len(SIZES))
    assert [path for path in (tmp_path / "tree").rglob("*") if path.is_file()] == []
    wrong = {key: found for key, found in outcomes.items() if not isinstance(found, dream.DreamObjectsError)}
    assert wrong == {}
    assert lengthless.keys("target") == []
    assert lengthless.keys("bucket") == keys, "a source was deleted"
    assert lengthless.uploads("target") == []


@pytest.mark.parametrize("kind", ["md5", "parts", "opaque"])
async def test_right_bytes_without_a_length_are_taken(
    lengthless: FaultyServer, ca: Path, tmp_path: Path, kind: str
) -> None:
    lengthless.reset()
    for bucket in ("bucket", "target"):
        lengthless.make_bucket(bucket)
    async with session_to(lengthless, ca) as here, session_to(lengthless, ca) as there:
        await store(lengthless, here, kind)
        lengthless.will(Rule("GetObject", IN_CHUNKS, times=None))
        outcomes = await run(lengthless, here, there, tmp_path)
        lengthless.will(Rule("GetObject", IN_CHUNKS, times=None))
        await here.bucket("bucket").download_tree(tmp_path / "tree", include=["/read-*"])
    for size in SIZES:
        assert (tmp_path / "tree" / f"read-{size}").read_bytes() == DATA[:size]
    assert {key: found for key, found in outcomes.items() if found != "right"} == {}


async def test_a_cut_object_whose_etag_tells_nothing_is_noticed_where_its_size_was_told(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    """By the HEAD of a copy, by the listing of a tree: no part of it is stored, and no source deleted."""
    faulty.make_bucket("target")
    cut = Rule("GetObject", Shorten(1), IN_CHUNKS, times=None, when=lambda asked: asked.bucket == "bucket")
    async with session_to(faulty, tmp_path) as here, session_to(faulty, tmp_path) as there:
        for size in (20_000, PART + 1, 3 * PART):
            faulty.put("bucket", "a", DATA[:size], etag="opaque-1")
            faulty.will(cut)
            source, to = here.object("s3://bucket/a"), there.object("s3://target/a")
            for verb in (source.copy_to, source.move_to):
                with pytest.raises(dream.IncompleteBodyError):
                    await verb(to)
            with pytest.raises(dream.BulkError):
                await here.bucket("bucket").copy_tree(there.bucket("target"))
            with pytest.raises(dream.BulkError):
                await here.bucket("bucket").download_tree(tmp_path / "tree")
    assert faulty.keys("target") == []
    assert faulty.keys("bucket") == ["a"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_verified_is_size_only_where_a_size_was_told(faulty: FaultyServer, tmp_path: Path) -> None:
    async with faulty.session(limits=LIMITS) as session:
        for size in (20_000, 3 * PART):
            faulty.put("bucket", "a", DATA[:size], etag="opaque-1")
            obj = session.object("s3://bucket/a")
            for actions, expected in (((), "size"), ((Mishear({"range": None}), IN_CHUNKS), None)):
                faulty.will(*([Rule("GetObject", *actions, times=None)] if actions else []))
                async with obj.get() as body:
                    await body.read()
                assert body.info.verified == expected
                assert (await obj.download(tmp_path / "a")).verified == expected
                assert (await obj.download(tmp_path / "a", verify="off")).verified == expected


async def test_an_object_whose_length_nobody_tells_is_copied_and_not_moved(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    faulty.make_bucket("target")
    rules = [
        Rule(op, NO_LENGTH if op == "HeadObject" else IN_CHUNKS, key="a", times=None)
        for op in ("HeadObject", "GetObject")
    ]
    async with session_to(faulty, tmp_path) as here, session_to(faulty, tmp_path) as there:
        for other, etag in ((there, "opaque-1"), (here, "opaque-1")):
            faulty.put("bucket", "a", DATA[:20_000], etag=etag)
            source, to = here.object("s3://bucket/a"), other.object("s3://target/b")
            faulty.will(*rules)
            assert (await source.copy_to(to)).verified is None
            with pytest.raises(dream.TransferError, match="was not deleted") as caught:
                await source.move_to(to)
            assert caught.value.in_doubt
            assert faulty.content("bucket", "a") == faulty.content("target", "b") == DATA[:20_000]
        for other in (here, there):
            faulty.put("bucket", "a", DATA[:20_000])  # its digest tells enough
            assert (await here.object("s3://bucket/a").move_to(other.object("s3://target/b"))).verified == "md5"
            assert faulty.keys("bucket") == []


# Ranges


@pytest.mark.parametrize("byte_range", [(0, 10), (0, 1000), (-10, None), (10, None), (10, 20)])
async def test_an_answer_without_a_length_is_no_answer_to_a_range(
    scripted: ScriptedServer, byte_range: tuple[int, int | None]
) -> None:
    """Whether it ends where it should is not to be seen, nor whether it is of the right bytes."""
    data = DATA[:1000]
    etag = hashlib.md5(data).hexdigest()
    chunked = b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n'
    scripted.will(Raw(chunked % (etag.encode(), len(data), data)))
    async with scripted.session() as session:
        with pytest.raises(dream.TransferError, match="was requested"):
            await session.object("s3://bucket/a").read(byte_range)
        with pytest.raises(dream.TransferError, match="was requested"):
            async with session.object("s3://bucket/a").get(range=byte_range) as body:
                await body.read()
        assert await session.object("s3://bucket/a").read((0, None)) == data


# Where a HEAD tells the size


@pytest.mark.parametrize("kind", ["ours", "another tool's"])
@pytest.mark.parametrize("cut", [1, PART, PART + 5, 2 * PART])
async def test_a_body_of_parts_that_is_cut_anywhere_is_noticed(
    faulty: FaultyServer, tmp_path: Path, cut: int, kind: str
) -> None:
    """Between two parts, too, where fewer parts than the ETag counts look like a guess that was wrong."""
    size = 3 * PART + 5
    faulty.make_bucket("target")
    async with session_to(faulty, tmp_path) as here, session_to(faulty, tmp_path) as there:
        if kind == "ours":
            await here.object("s3://bucket/a").put(DATA[:size])
        else:
            faulty.put("bucket", "a", DATA[:size], etag=etag_of_parts(DATA[:size], [PART] * 3 + [5]))
        obj, to = here.object("s3://bucket/a"), there.object("s3://target/a")
        faulty.will(Rule("GetObject", Shorten(cut), IN_CHUNKS, times=None, when=lambda asked: asked.bucket == "bucket"))
        for verb in VERBS:
            with pytest.raises(dream.TransferError):
                await verb(obj, to, tmp_path)
    assert (faulty.keys("bucket"), faulty.keys("target")) == (["a"], [])


def etag_of_parts(content: bytes, sizes: list[int]) -> str:
    digests, position = b"", 0
    for size in sizes:
        digests += hashlib.md5(content[position : position + size], usedforsecurity=False).digest()
        position += size
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(sizes)}"


# Read to the end, and no further


async def read_exactly(obj: dream.Object, size: int) -> tuple[bytes, dream.ObjectInfo]:
    async with obj.get() as body:
        return await body.read(size), body.info


async def read_exactly_into(obj: dream.Object, size: int) -> tuple[bytes, dream.ObjectInfo]:
    async with obj.get() as body:
        buffer = bytearray(size)
        return bytes(buffer[: await body.readinto(buffer)]), body.info


@pytest.mark.parametrize("read_all", [read_exactly, read_exactly_into])
@pytest.mark.parametrize("size", [20_000, 300_000])
async def test_a_body_that_is_read_by_its_exact_size_is_verified(
    faulty: FaultyServer,
    size: int,
    read_all: Callable[[dream.Object, int], Awaitable[tuple[bytes, dream.ObjectInfo]]],
) -> None:
    faulty.put("bucket", "a", DATA[:size])
    async with faulty.session() as session:
        obj = session.object("s3://bucket/a")
        faulty.will(Rule("GetObject", IN_CHUNKS))
        content, info = await read_all(obj, size)
        assert (content, info.verified) == (DATA[:size], "md5")
        faulty.will(Rule("GetObject", Flip(5), IN_CHUNKS, times=None))
        with pytest.raises(dream.ChecksumMismatchError):
            await read_all(obj, size)


async def test_an_honest_object_of_unequal_parts_is_taken(scripted: ScriptedServer, tmp_path: Path) -> None:
    """The sizes of the first and of the last part, which a service tells, make another size than it has."""
    sizes = [5000, 6000, 2000]
    content = DATA[: sum(sizes)]
    etag = etag_of_parts(content, sizes)
    chunked = b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n'

    def step(asked: Received) -> Reply | Raw:
        if asked.method == "GET":
            return Raw(chunked % (etag.encode(), len(content), content))
        part = re.search(r"partNumber=(\d)", asked.target)
        length = sizes[int(part[1]) - 1] if part else len(content)
        told = {"ETag": f'"{etag}"', "x-amz-mp-parts-count": str(len(sizes))}
        return Reply(206 if part else 200, b"", told, length=length)

    scripted.will(step)
    async with scripted.session() as session:
        obj = session.object("s3://bucket/a")
        await obj.download(tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == content
        assert await obj.read() == content
