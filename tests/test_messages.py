"""What an error says: what was wrong, where, and what to do."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from servers.scripted import Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService


@pytest.mark.parametrize("wrong", ["bytes=0-9", "0-9", (0,), (0, 1, 2), 5, object()])
async def test_a_range_that_is_no_pair_is_refused_with_the_form_that_works(wrong: object) -> None:
    async with MemoryService().session() as session:
        with pytest.raises(ValueError, match=r"must be a pair of positions: \(0, 10\)"):
            await session.object("s3://bucket/a").read(range=wrong)  # type: ignore[arg-type]  # on purpose


async def test_a_policy_that_is_not_json_is_named() -> None:
    async with MemoryService().session() as session:
        with pytest.raises(ValueError, match="the policy for s3://bucket is not JSON: Expecting"):
            await session.bucket("bucket").set_policy("{nope")


async def test_a_session_says_whether_it_is_not_open_yet_or_closed() -> None:
    session = MemoryService().session()
    with pytest.raises(dream.SessionClosedError, match="is not open: use it inside"):
        await session.object("s3://bucket/a").read()
    async with session:
        pass
    with pytest.raises(dream.SessionClosedError, match="was closed and is not open any more: make a new one"):
        await session.object("s3://bucket/a").read()


async def test_options_that_are_none_are_refused_by_name() -> None:
    async with MemoryService().session() as session:
        obj = session.object("s3://bucket/a")
        with pytest.raises(TypeError, match=r"metadata must be a mapping such as \{'color': 'black'\}, not str"):
            await obj.put(b"", metadata="x")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match=r"metadata must be a mapping .*, not list"):
            await obj.put(b"", metadata=[("a", "b")])  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match=r"unknown option 'colour'; there are acl, cache_control, "):
            await obj.put(b"", colour="black")  # type: ignore[call-arg]  # on purpose
        with pytest.raises(TypeError, match="unknown option 'carried'"):
            await obj.copy_to(obj, carried={})  # type: ignore[call-arg]  # on purpose


async def test_a_source_that_was_not_awaited_is_told_so() -> None:
    async with MemoryService().session() as session:
        forgotten = session.object("s3://bucket/b").read()
        with pytest.raises(TypeError, match=r"not coroutine: is an 'await' missing\?"):
            await session.object("s3://bucket/a").put(forgotten)  # type: ignore[arg-type]  # on purpose
        forgotten.close()


async def test_a_missing_directory_is_named_and_not_the_partial_file(tmp_path: Path) -> None:
    async with MemoryService().session() as session:
        obj = (await session.create_bucket("bucket")).object("a")
        await obj.put(b"x")
        with pytest.raises(FileNotFoundError, match="no such directory for the file") as caught:
            await obj.download(tmp_path / "missing" / "a")
        assert caught.value.filename == str(tmp_path / "missing" / "a")


DOCUMENTS = {
    "S3": b"<Error><Code>Odd</Code><Message>words of it</Message><RequestId>r1</RequestId></Error>",
    "a prefix": b"<e:Error xmlns:e='urn:x'><e:Code>Odd</e:Code><e:Message>words of it</e:Message></e:Error>",
    "wrapped": b"<ErrorResponse><Error><Type>Sender</Type><Code>Odd</Code><Message>words of it</Message></Error></ErrorResponse>",
    "wrapped twice": b"<Response><Errors><Error><Code>Odd</Code><Message>words of it</Message></Error></Errors></Response>",
    "JSON": json.dumps({"code": "Odd", "message": "words of it"}).encode(),
    "JSON, capitals": json.dumps({"Code": "Odd", "Message": "words of it", "RequestId": "r1"}).encode(),
    "JSON, nested": json.dumps({"error": {"code": "Odd", "message": "words of it"}}).encode(),
    "JSON, a type": json.dumps({"__type": "Odd", "message": "words of it"}).encode(),
}


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_an_error_document_keeps_its_words(scripted: ScriptedServer, document: str) -> None:
    scripted.will(Reply(400, DOCUMENTS[document]))
    async with scripted.session() as session:
        with pytest.raises(dream.InvalidRequestError, match=r"Odd \(400\): words of it") as caught:
            await session.object("s3://bucket/a").read()
    assert caught.value.code == "Odd"


@pytest.mark.parametrize(
    "document",
    [
        b"<Error><Message>words of it</Message></Error>",
        json.dumps({"code": 400, "message": "words of it"}).encode(),
        json.dumps({"error": "words of it"}).encode(),
        json.dumps({"detail": "words of it"}).encode(),
    ],
)
async def test_words_without_a_code_are_kept_too(scripted: ScriptedServer, document: bytes) -> None:
    scripted.will(Reply(400, document))
    async with scripted.session() as session:
        with pytest.raises(dream.InvalidRequestError, match=r"BadRequest \(400\): words of it"):
            await session.object("s3://bucket/a").read()


@pytest.mark.parametrize("document", [b"{", b"{" * 5000, b"[1]", b'{"error": []}', b"{}", b"nothing"])
async def test_what_is_no_document_of_an_error_has_no_words(scripted: ScriptedServer, document: bytes) -> None:
    scripted.will(Reply(400, document))
    async with scripted.session() as session:
        with pytest.raises(dream.InvalidRequestError, match=r"BadRequest \(400\)$"):
            await session.object("s3://bucket/a").read()


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE HTML><html><h1>Not Found</h1></html>", b"\n<html><body>Sign in</body></html>"]
)
@pytest.mark.parametrize("status", [403, 404])
async def test_a_web_page_as_an_answer_points_to_the_endpoint(
    scripted: ScriptedServer, status: int, page: bytes
) -> None:
    scripted.will(Reply(status, page))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="is a web page and not S3's: look at the endpoint") as caught:
            await session.object("s3://bucket/a").read()
    assert caught.value.status == status


def test_a_session_that_asyncio_opened_names_the_line_of_the_program() -> None:
    sessions = [MemoryService().session()]
    asyncio.run(sessions[0].open())

    def forget() -> None:
        sessions.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match=rf"opened at {re.escape(__file__)}:\d+"):
        forget()


async def test_a_wrapped_error_in_a_200_is_an_error(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, DOCUMENTS["wrapped"]))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceError, match="Odd"):
            await session.bucket("bucket").list().collect()


@pytest.mark.parametrize("verb", ["put", "read", "upload", "download", "upload_tree", "download_tree"])
async def test_a_process_that_may_start_no_more_threads_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    content = bytes(1 << 20)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(content)
    async with MemoryService().session(limits=dream.Limits(part_size=1 << 18)) as session:
        bucket = await session.create_bucket("bucket")
        obj = bucket.object("tree/a")
        await obj.put(content, verify="off")
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: obj.put(content),
            "read": obj.read,
            "upload": lambda: obj.upload(tmp_path / "tree" / "a"),
            "download": lambda: obj.download(tmp_path / "new"),
            "upload_tree": lambda: bucket.upload_tree(tmp_path / "tree", "tree"),
            "download_tree": lambda: bucket.download_tree(tmp_path / "other", "tree"),
        }

        def refuse(_: threading.Thread) -> None:
            msg = "can't start new thread"
            raise RuntimeError(msg)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(dream.DreamObjectsError, match="cannot start more threads"):
            await calls[verb]()


def test_a_session_says_its_address_once() -> None:
    unknown = dream.Session(endpoint="http://127.0.0.1:9000", access_key="a", secret_key="b")
    assert repr(unknown) == "<Session to http://127.0.0.1:9000, not open>"
    known = dream.Session(service=dream.US_EAST_5, access_key="a", secret_key="b")
    assert repr(known) == "<Session to DreamObjects at https://s3.us-east-005.dream.io, not open>"
