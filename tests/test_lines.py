"""Cutting into lines, however the content arrives; and headers that a service should not have stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.scripted import Reply, ScriptedServer

from aiodreamobjects._transfer.lines import decoded_lines_of, lines_of

TEXTS = st.text(st.sampled_from("ab\r\n\x0b\x0c\x1c\x85\u2028é漢🎉"), max_size=30)


async def in_pieces(content: bytes, cuts: Sequence[int]) -> AsyncIterator[bytes]:
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    for start, stop in pairwise(places):
        if start < stop:
            yield content[start:stop]


def lines_in(text: str) -> list[str]:
    """Each part between line feeds, without the carriage return before one. Nothing behind the last line feed."""
    *ended, rest = text.split("\n")
    return [line.removesuffix("\r") for line in ended] + ([rest] if rest else [])


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20), st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32"]))
async def test_lines_are_the_same_wherever_the_content_is_cut(text: str, cuts: list[int], encoding: str) -> None:
    found = [line async for line in decoded_lines_of(in_pieces(text.encode(encoding), cuts), encoding, None)]
    assert found == lines_in(text)
    raw = [line async for line in lines_of(in_pieces(text.encode(), cuts), None)]
    assert raw == [line.encode() for line in lines_in(text)]


@pytest.mark.parametrize("encoding", [None, "utf-8"])
@pytest.mark.parametrize(
    ("content", "is_short"),
    [
        (b"12345\r\n1\n", True),
        (b"1\n12345", True),
        (b"123456\n1", False),
        (b"1\n123456", False),
        (b"1234567890" * 5, False),
    ],
)
async def test_a_line_longer_than_the_limit_is_an_error(
    scripted: ScriptedServer, encoding: str | None, content: bytes, is_short: bool
) -> None:
    scripted.will(Reply(200, content, {"ETag": '"e"'}))
    async with scripted.session() as session, session.object("s3://bucket/a").get() as body:
        lines = body.lines(limit=5) if encoding is None else body.lines(encoding, limit=5)
        if is_short:
            assert len([line async for line in lines]) == 2
        else:
            with pytest.raises(ValueError, match="longer than limit=5"):
                _ = [line async for line in lines]


async def test_a_line_without_an_end_is_not_read_beyond_the_limit(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"x" * (8 << 20), {"ETag": '"e"'}))
    async with scripted.session() as session, session.object("s3://bucket/a").get() as body:
        with pytest.raises(ValueError, match="longer than limit=1,000"):
            _ = [line async for line in body.lines(limit=1000)]
        assert body.position < 1 << 20


async def test_wrong_arguments_are_refused_before_anything_is_read(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"text", {"ETag": '"e"'}))
    async with scripted.session() as session, session.object("s3://bucket/a").get() as body:
        with pytest.raises(LookupError, match="unknown encoding"):
            body.lines("latin-77")
        for limit in (0, -1, True, "1"):
            with pytest.raises(ValueError, match="limit"):
                body.lines(limit=limit)  # type: ignore[arg-type]  # wrong arguments
        assert await body.read() == b"text"


async def test_a_reader_that_is_closed_reads_no_line(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, b"text", {"ETag": '"e"'}))
    async with scripted.session() as session:
        async with session.object("s3://bucket/a").reader() as reader:
            pass
        with pytest.raises(ValueError, match="is closed"):
            await reader.readline()
        with pytest.raises(ValueError, match="is closed"):
            await anext(reader)


async def headers_with(scripted: ScriptedServer, told: dict[str, str], content: bytes = b"content") -> dict[str, str]:
    scripted.will(Reply(200, content, {"ETag": '"e"', **told}))
    async with scripted.session() as session, session.object("s3://bucket/a").get() as body:
        return body.http_headers()


async def test_only_what_belongs_into_a_response_is_sent_on(scripted: ScriptedServer) -> None:
    told = {
        "x-amz-request-id": "1",
        "x-amz-meta-a": "b",
        "Server": "s",
        "Connection": "keep-alive",
        "Set-Cookie": "c",
        "Access-Control-Allow-Origin": "*",
        "Transfer-Encoding-Not": "chunked",
        "Strict-Transport-Security": "x",
    }
    assert await headers_with(scripted, told) == {"Accept-Ranges": "bytes", "ETag": '"e"', "Content-Length": "7"}


@pytest.mark.parametrize(
    ("stored", "sent_on"),
    [("aws-chunked", None), ("AWS-Chunked,gzip", "gzip"), ("gzip, aws-chunked", "gzip"), ("br", "br"), ("", None)],
)
async def test_a_coding_of_other_clients_is_left_out(
    scripted: ScriptedServer, stored: str, sent_on: str | None
) -> None:
    assert (await headers_with(scripted, {"Content-Encoding": stored})).get("Content-Encoding") == sent_on


async def test_bytes_beyond_ascii_are_sent_on_as_they_are(scripted: ScriptedServer) -> None:
    for name in ("Content-Disposition", "Content-Type"):
        found = await headers_with(scripted, {name: "a; b=漢é"})  # the server writes UTF-8
        assert found[name].encode("latin-1") == "a; b=漢é".encode()


@pytest.mark.parametrize(
    ("etag", "sent_on"), [('W/"e"', 'W/"e"'), ('"e-2"', '"e-2"'), ("bare", '"bare"'), ('"a"b"', None)]
)
async def test_an_etag_has_its_quotes(scripted: ScriptedServer, etag: str, sent_on: str | None) -> None:
    assert (await headers_with(scripted, {"ETag": etag})).get("ETag") == sent_on
