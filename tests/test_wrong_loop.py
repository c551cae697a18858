"""A session belongs to one event loop of one process: elsewhere every verb is refused before anything is sent."""

from __future__ import annotations

import asyncio
import inspect
import io
import itertools
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from loops import LOOPS
from servers.faulty import ACCESS_KEY, SECRET_KEY, FaultyServer

import aiodreamobjects as dream

HANG_SECONDS = 60.0
CORS: list[dream.CorsRule] = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]
LIFECYCLE: list[dream.LifecycleRule] = [
    {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 3}}
]

Act = Callable[[dream.Session, Path], Awaitable[object]]


def bucket(session: dream.Session) -> dream.Bucket:
    return session.bucket("bucket")


def a(session: dream.Session) -> dream.Object:
    return bucket(session).object("a")


async def gone_through(items: Any) -> None:
    async for _ in items:
        pass


async def entered(opening: AbstractAsyncContextManager[object]) -> None:
    async with opening:
        pass


async def async_chunks() -> AsyncIterator[bytes]:
    yield b"x"


OF_OBJECTS: dict[str, Act] = {
    "put": lambda session, _: a(session).put(b"x"),
    "upload": lambda session, home: a(session).upload(home / "source"),
    "read": lambda session, _: a(session).read(),
    "read_text": lambda session, _: a(session).read_text(),
    "download": lambda session, home: a(session).download(home / "target"),
    "copy_to": lambda session, _: a(session).copy_to(bucket(session).object("b")),
    "move_to": lambda session, _: a(session).move_to(bucket(session).object("b")),
    "head": lambda session, _: a(session).head(),
    "exists": lambda session, _: a(session).exists(),
    "delete": lambda session, _: a(session).delete(),
    "acl": lambda session, _: a(session).acl(),
    "set_acl": lambda session, _: a(session).set_acl("public-read"),
    "tags": lambda session, _: a(session).tags(),
    "set_tags": lambda session, _: a(session).set_tags({"a": "b"}),
    "set_headers": lambda session, _: a(session).set_headers(cache_control="no-store"),
    "versions": lambda session, _: a(session).versions(),
    "restore": lambda session, _: a(session).restore("v1"),
    "undelete": lambda session, _: a(session).undelete(),
    "retention": lambda session, _: a(session).retention(),
    "set_retention": lambda session, _: a(session).set_retention("GOVERNANCE", datetime(2040, 1, 1, tzinfo=UTC)),
    "legal_hold": lambda session, _: a(session).legal_hold(),
    "set_legal_hold": lambda session, _: a(session).set_legal_hold(True),
    "start_upload": lambda session, _: a(session).start_upload(),
}
ENCRYPTION: list[dream.EncryptionRule] = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
OF_BUCKETS: dict[str, Act] = {
    "create": lambda session, _: session.bucket("another").create(),
    "exists": lambda session, _: bucket(session).exists(),
    "info": lambda session, _: bucket(session).info(),
    "delete": lambda session, _: bucket(session).delete(force=True),
    "empty": lambda session, _: bucket(session).empty(),
    "acl": lambda session, _: bucket(session).acl(),
    "set_acl": lambda session, _: bucket(session).set_acl("public-read"),
    "delete_many": lambda session, _: bucket(session).delete_many(["a"]),
    "set_acl_many": lambda session, _: bucket(session).set_acl_many(["a"], "public-read"),
    "copy_many": lambda session, _: bucket(session).copy_many([("a", "b")]),
    "set_headers_many": lambda session, _: bucket(session).set_headers_many(["a"], expires="0"),
    "abort_uploads": lambda session, _: bucket(session).abort_uploads(timedelta(0)),
    "upload_tree": lambda session, home: bucket(session).upload_tree(home / "tree", "tree"),
    "download_tree": lambda session, home: bucket(session).download_tree(home / "down"),
    "copy_tree": lambda session, _: bucket(session).copy_tree(bucket(session), "from", "to"),
    "move_tree": lambda session, _: bucket(session).move_tree(bucket(session), "from", "to"),
    "restore_tree": lambda session, _: bucket(session).restore_tree("from", datetime.now(UTC)),
    "check_tree": lambda session, home: bucket(session).check_tree(home / "tree"),
    "usage": lambda session, _: bucket(session).usage(),
    "cors": lambda session, _: bucket(session).cors(),
    "set_cors": lambda session, _: bucket(session).set_cors(CORS),
    "delete_cors": lambda session, _: bucket(session).delete_cors(),
    "policy": lambda session, _: bucket(session).policy(),
    "set_policy": lambda session, _: bucket(session).set_policy({"Version": "2012-10-17", "Statement": []}),
    "delete_policy": lambda session, _: bucket(session).delete_policy(),
    "lifecycle": lambda session, _: bucket(session).lifecycle(),
    "set_lifecycle": lambda session, _: bucket(session).set_lifecycle(LIFECYCLE),
    "delete_lifecycle": lambda session, _: bucket(session).delete_lifecycle(),
    "tags": lambda session, _: bucket(session).tags(),
    "set_tags": lambda session, _: bucket(session).set_tags({"a": "b"}),
    "delete_tags": lambda session, _: bucket(session).delete_tags(),
    "versioning": lambda session, _: bucket(session).versioning(),
    "set_versioning": lambda session, _: bucket(session).set_versioning("Enabled"),
    "delete_versioning": lambda session, _: bucket(session).delete_versioning(),
    "website": lambda session, _: bucket(session).website(),
    "set_website": lambda session, _: bucket(session).set_website({"IndexDocument": {"Suffix": "index.html"}}),
    "delete_website": lambda session, _: bucket(session).delete_website(),
    "encryption": lambda session, _: bucket(session).encryption(),
    "set_encryption": lambda session, _: bucket(session).set_encryption(ENCRYPTION),
    "delete_encryption": lambda session, _: bucket(session).delete_encryption(),
    "public_access_block": lambda session, _: bucket(session).public_access_block(),
    "set_public_access_block": lambda session, _: bucket(session).set_public_access_block({"BlockPublicAcls": True}),
    "delete_public_access_block": lambda session, _: bucket(session).delete_public_access_block(),
    "notification": lambda session, _: bucket(session).notification(),
    "set_notification": lambda session, _: bucket(session).set_notification({}),
    "delete_notification": lambda session, _: bucket(session).delete_notification(),
    "object_lock": lambda session, _: bucket(session).object_lock(),
    "set_object_lock": lambda session, _: bucket(session).set_object_lock(dream.Retention("GOVERNANCE", 1)),
    "delete_object_lock": lambda session, _: bucket(session).delete_object_lock(),
    "logging": lambda session, _: bucket(session).logging(),
    "set_logging": lambda session, _: bucket(session).set_logging({"TargetBucket": "b", "TargetPrefix": ""}),
    "delete_logging": lambda session, _: bucket(session).delete_logging(),
    "ownership": lambda session, _: bucket(session).ownership(),
    "set_ownership": lambda session, _: bucket(session).set_ownership("ObjectWriter"),
    "delete_ownership": lambda session, _: bucket(session).delete_ownership(),
}
OF_SESSIONS: dict[str, Act] = {
    "aclose": lambda session, _: session.aclose(),
    "create_bucket": lambda session, _: session.create_bucket("another"),
    "boto_client": lambda session, _: session.boto_client(),
}
OTHERS: dict[str, Act] = {
    "put of a file": lambda session, _: a(session).put(io.BytesIO(b"x")),
    "put of a path": lambda session, home: a(session).put(home / "source"),
    "put of chunks": lambda session, _: a(session).put(iter([b"x"])),
    "put of async chunks": lambda session, _: a(session).put(async_chunks()),
    "put in parts": lambda session, _: a(session).put(bytes(300_000)),
    "put with progress": lambda session, _: a(session).put(b"x", progress=lambda _: None),
    "put under a condition": lambda session, _: bucket(session).object("new").put(b"x", if_absent=True),
    "upload to go on with": lambda session, home: a(session).upload(home / "source", resume=True),
    "download to go on with": lambda session, home: a(session).download(home / "target", resume=True),
    "read of a range": lambda session, _: a(session).read((0, 1)),
    "get": lambda session, _: entered(a(session).get()),
    "reader": lambda session, _: entered(a(session).reader()),
    "writer": lambda session, _: entered(a(session).writer()),
    "buckets": lambda session, _: gone_through(session.buckets()),
    "list": lambda session, _: gone_through(bucket(session).list()),
    "list in parallel": lambda session, _: gone_through(bucket(session).list(parallel=4)),
    "pages": lambda session, _: gone_through(bucket(session).list().pages()),
    "collect": lambda session, _: bucket(session).list().collect(),
    "page": lambda session, _: bucket(session).list().page(),
    "head_many": lambda session, _: gone_through(bucket(session).head_many(["a"])),
    "list_dir": lambda session, _: gone_through(bucket(session).list_dir()),
    "list_versions": lambda session, _: gone_through(bucket(session).list_versions()),
    "uploads": lambda session, _: gone_through(bucket(session).uploads()),
}
ALL: dict[str, Act] = {
    **{f"object.{name}": act for name, act in OF_OBJECTS.items()},
    **{f"bucket.{name}": act for name, act in OF_BUCKETS.items()},
    **{f"session.{name}": act for name, act in OF_SESSIONS.items()},
    **OTHERS,
}


@pytest.mark.parametrize(
    ("kind", "named", "left_out"),
    [
        (dream.Object, OF_OBJECTS, set[str]()),
        (dream.Bucket, OF_BUCKETS, set[str]()),
        (dream.Session, OF_SESSIONS, {"open"}),
    ],
)
def test_every_awaited_verb_is_tried(kind: type, named: dict[str, Act], left_out: set[str]) -> None:
    found = {name for name, member in inspect.getmembers(kind, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert found - left_out == set(named)


@dataclass(frozen=True)
class State:
    """What the service has and was asked for, and what is on the disk."""

    asked: int
    keys: tuple[str, ...]
    uploads: tuple[str, ...]
    buckets: tuple[str, ...]
    content: bytes | None
    files: tuple[str, ...]

    @classmethod
    def now(cls, faulty: FaultyServer, home: Path) -> State:
        return cls(
            len(faulty.log),
            tuple(faulty.keys("bucket")),
            tuple(faulty.uploads("bucket")),
            tuple(faulty.buckets()),
            faulty.content("bucket", "a"),
            tuple(sorted(path.name for path in home.rglob("*"))),
        )


def prepare(faulty: FaultyServer, home: Path) -> None:
    faulty.put("bucket", "a", b"old")
    faulty.put("bucket", "from/a", b"old")
    (home / "source").write_bytes(b"new")
    (home / "tree").mkdir()
    (home / "tree" / "a").write_bytes(b"new")


def refusals(
    run: Callable[[Coroutine[Any, Any, None]], None], session: dream.Session, faulty: FaultyServer, home: Path
) -> list[str]:
    """Try every verb by ``run``; what was not refused as it should be."""
    wrong: list[str] = []

    async def attempt(name: str, act: Act) -> None:
        before = State.now(faulty, home)
        told = repr(session)
        try:
            async with asyncio.timeout(HANG_SECONDS):
                await act(session, home)
        except dream.WrongLoopError as error:
            if told not in str(error):
                wrong.append(f"{name}: the message does not name {told}: {error}")
        except BaseException as error:  # noqa: BLE001 - whatever comes instead
            wrong.append(f"{name}: {error!r}")
        else:
            wrong.append(f"{name}: nothing was raised")
        if State.now(faulty, home) != before:
            wrong.append(f"{name}: something was done")

    for name, act in ALL.items():
        run(attempt(name, act))
    return wrong


async def warm_up(session: dream.Session) -> None:
    """A connection is there, which another loop might take."""
    await a(session).head()


@pytest.mark.parametrize("second", LOOPS)
@pytest.mark.parametrize("first", LOOPS)
async def test_every_verb_is_refused_on_another_loop_of_the_same_thread(
    faulty: FaultyServer, tmp_path: Path, first: str, second: str
) -> None:
    """As in a second ``asyncio.run``."""
    prepare(faulty, tmp_path)

    def work() -> list[str]:
        session = faulty.session()
        with asyncio.Runner(loop_factory=LOOPS[first]) as own, asyncio.Runner(loop_factory=LOOPS[second]) as other:
            own.run(session.open())
            own.run(warm_up(session))
            try:
                wrong = refusals(other.run, session, faulty, tmp_path)
                own.run(warm_up(session))  # it still works where it belongs
            finally:
                own.run(session.aclose())
        return wrong

    wrong = await asyncio.to_thread(work)
    assert not wrong, "\n".join(wrong)


async def test_every_verb_is_refused_on_the_loop_of_another_thread(faulty: FaultyServer, tmp_path: Path) -> None:
    """While the session's own loop runs."""
    prepare(faulty, tmp_path)

    def work(session: dream.Session) -> list[str]:
        with asyncio.Runner() as other:
            return refusals(other.run, session, faulty, tmp_path)

    async with faulty.session() as session:
        await warm_up(session)
        wrong = await asyncio.to_thread(work, session)
        await warm_up(session)
    assert not wrong, "\n".join(wrong)


def in_another_loop(work: Coroutine[Any, Any, object]) -> object:
    return asyncio.run(work)


OPEN: dict[str, Callable[[Any], Coroutine[Any, Any, object]]] = {
    "body.read": lambda body: body.read(1),
    "body.read of all": lambda body: body.read(),
    "body.readinto": lambda body: body.readinto(bytearray(10)),
    "body in a loop": gone_through,
    "body.write_to": lambda body: body.write_to(io.BytesIO()),
}


@pytest.mark.parametrize("size", [1000, 1_000_000])
async def test_an_open_body_is_read_only_on_its_own_loop(faulty: FaultyServer, size: int) -> None:
    faulty.put("bucket", "a", bytes(size))
    async with faulty.session(timeouts=dream.Timeouts()) as session:
        for read in OPEN.values():
            async with a(session).get() as body:
                with pytest.raises(dream.WrongLoopError):
                    await asyncio.to_thread(in_another_loop, read(body))
                assert await body.read() == bytes(size)


async def test_an_open_file_is_used_only_on_its_own_loop(faulty: FaultyServer) -> None:
    content = bytes(1_000_000)
    faulty.put("bucket", "a", content)
    async with faulty.session(timeouts=dream.Timeouts()) as session:
        async with a(session).reader() as reader:
            await reader.seek(500_000)
            with pytest.raises(dream.WrongLoopError):
                await asyncio.to_thread(in_another_loop, reader.read())
            assert await reader.read() == content[500_000:]
        async with bucket(session).object("b").writer() as writer:
            await writer.write(b"x" * 100_000)
            with pytest.raises(dream.WrongLoopError):
                await asyncio.to_thread(in_another_loop, writer.write(b"y" * 100_000))
    assert faulty.content("bucket", "b") in (b"x" * 100_000, None)


async def test_a_writer_that_is_left_on_another_loop_stores_nothing(faulty: FaultyServer) -> None:
    faulty.put("bucket", "b", b"old")
    async with faulty.session() as session, asyncio.timeout(HANG_SECONDS):
        writing = bucket(session).object("b").writer()
        writer = await writing.__aenter__()
        await writer.write(b"new")
        with pytest.raises(dream.WrongLoopError):
            await asyncio.to_thread(in_another_loop, writing.__aexit__(None, None, None))
    assert faulty.ops == []
    assert faulty.content("bucket", "b") == b"old"


async def test_what_sends_nothing_works_anywhere(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"x")

    async def all_of_it(session: dream.Session) -> list[str]:
        obj = session.object("s3://bucket/a")
        return [
            repr(session),
            repr(session.bucket("bucket").object("b")),
            obj.url(),
            *(obj.presign_get(), obj.presign_put(), obj.presign_post().url),
            repr(session.statistics()),
            repr(session.service),
            repr(session.buckets()),
            repr(session.bucket("bucket").list()),
        ]

    async with faulty.session() as session:
        await warm_up(session)
        told = await asyncio.to_thread(in_another_loop, all_of_it(session))
        assert isinstance(told, list)
        assert all(told)
        assert await asyncio.to_thread(session.object("s3://bucket/a").presign_get)  # without a loop
        assert await asyncio.to_thread(session.statistics) == session.statistics()
        assert await asyncio.to_thread(repr, session) == repr(session)


async def test_a_session_may_be_made_in_one_loop_and_opened_in_another(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"x")

    async def make() -> tuple[dream.Session, dream.Object]:
        session = faulty.session()
        return session, session.object("s3://bucket/a")

    async def use(session: dream.Session, obj: dream.Object) -> bytes:
        async with session:
            return await obj.read()

    def work() -> bytes:
        session, obj = asyncio.run(make())
        return asyncio.run(use(session, obj))

    assert await asyncio.to_thread(work) == b"x"


async def test_the_error_is_one_of_ours_and_a_runtime_error(faulty: FaultyServer) -> None:
    async with faulty.session() as session:
        with pytest.raises(RuntimeError) as caught:
            await asyncio.to_thread(in_another_loop, a(session).head())
        assert isinstance(caught.value, dream.DreamObjectsError)
        assert isinstance(caught.value, dream.WrongLoopError)
        assert not caught.value.retryable
        assert not caught.value.in_doubt
        words = str(caught.value).replace(repr(session), "")
        assert "loop" in words
        assert "Session" in words or "session" in words  # what to do: open another there


# Scripts in processes of their own

HEAD = """
import asyncio, gc, os, sys, warnings
import aiodreamobjects as dream

endpoint, key, secret = sys.argv[1:]

def session():
    return dream.Session(endpoint=endpoint, access_key=key, secret_key=secret)
"""


async def run_script(faulty: FaultyServer, script: str, *flags: str) -> tuple[str, str]:
    """What it says, and what it says on stderr."""
    command = [sys.executable, *flags, "-c", HEAD + script, faulty.endpoint, ACCESS_KEY, SECRET_KEY]
    run = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr


FORK = """
VERBS = {
    "put": lambda it: it.object("s3://bucket/a").put(b"new"),
    "put in parts": lambda it: it.object("s3://bucket/a").put(bytes(20 << 20)),
    "delete": lambda it: it.object("s3://bucket/a").delete(),
    "delete_many": lambda it: it.bucket("bucket").delete_many(["a"]),
    "read": lambda it: it.object("s3://bucket/a").read(),
    "list": lambda it: it.bucket("bucket").list().collect(),
    "cors": lambda it: it.bucket("bucket").cors(),
    "aclose": lambda it: it.aclose(),
    "boto_client": lambda it: it.boto_client(),
}

def told(run):
    try:
        run()
    except dream.WrongLoopError as error:
        return "" if "<Session" in str(error) else f"the message is {error}"
    except BaseException as error:
        return repr(error)
    return "nothing was raised"

def child(it):
    for name, verb in VERBS.items():
        for way, run in {"asyncio.run": lambda: asyncio.run(verb(it)), "stepped": lambda: verb(it).send(None)}.items():
            if wrong := told(run):
                print(f"{name}, {way}: {wrong}", flush=True)
    assert it.object("s3://bucket/a").presign_get() and repr(it)

async def main():
    async with session() as it:
        await it.object("s3://bucket/a").head()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
            pid = os.fork()
        if not pid:
            try:
                child(it)
            finally:
                sys.stdout.flush()
                os._exit(0)
        os.waitpid(pid, 0)
        await it.object("s3://bucket/a").head()

asyncio.run(main())
print("done")
"""


async def test_every_verb_is_refused_in_a_forked_child(faulty: FaultyServer) -> None:
    """Also where the child is still inside the loop that it was forked in; the parent's session goes on."""
    faulty.put("bucket", "a", b"old")
    told, _ = await run_script(faulty, FORK)
    assert told == "done\n"
    assert faulty.ops == ["HeadObject", "HeadObject"]


# Sessions that nobody closes

REQUEST = 'await it.object("s3://bucket/a").head()'
UNCLOSED: dict[str, str] = {
    "collected in its loop": """
async def main():
    it = await session().open()
    {request}
    del it
    gc.collect()
    await asyncio.sleep(0)

asyncio.run(main())
""",
    "collected after its loop": """
async def main():
    it = await session().open()
    {request}
    return it

it = asyncio.run(main())
del it
gc.collect()
""",
    "still there at the end": """
async def main():
    it = await session().open()
    {request}
    return it

it = asyncio.run(main())
""",
    "collected before its loop is closed": """
async def main():
    it = await session().open()
    {request}
    return it

loop = asyncio.new_event_loop()
it = loop.run_until_complete(main())
del it
gc.collect()
loop.close()
""",
    "dropped before its bucket": """
async def main():
    it = await session().open()
    bucket = it.bucket("bucket")
    {request}
    del it
    gc.collect()
    assert await bucket.object("a").read() == b"old"
    print("the bucket works", file=sys.stderr)
    del bucket
    gc.collect()

asyncio.run(main())
""",
}


def line_that_opens(script: str) -> int:
    lines = (HEAD + script).splitlines()
    return next(number for number, line in enumerate(lines, 1) if ".open()" in line)


USES = {"no request": "pass", "a request": REQUEST, "the aioboto3 client": "await it.boto_client()"}


@pytest.mark.parametrize(
    ("ends", "use"),
    [
        *((ends, "a request") for ends in UNCLOSED),
        *itertools.product(("collected in its loop", "still there at the end"), ("no request", "the aioboto3 client")),
    ],
)
async def test_a_session_that_is_never_closed_warns_once_and_says_where_it_was_opened(
    faulty: FaultyServer, tmp_path: Path, ends: str, use: str
) -> None:
    faulty.put("bucket", "a", b"old")
    script = UNCLOSED[ends].format(request=USES[use])
    file = tmp_path / "script.py"
    file.write_text(HEAD + script, encoding="utf-8")
    command = [sys.executable, "-X", "dev", "-W", "always::ResourceWarning", str(file)]
    run = await asyncio.to_thread(
        subprocess.run,
        [*command, faulty.endpoint, ACCESS_KEY, SECRET_KEY],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = said(run.stderr)
    # asyncio's own say nothing that is not said. The collector decides whether a transport goes before its socket.
    passed_over = ("Enable tracemalloc", "unclosed transport", "unclosed <socket.socket")
    warned = [
        line
        for line in told.splitlines()
        if "ResourceWarning: " in line and not any(words in line for words in passed_over)
    ]
    assert len(warned) == 1, told
    assert "unclosed <Session" in warned[0]
    assert re.search(rf"{re.escape(str(file))}\D{{1,10}}{line_that_opens(script)}\b", told), told
    for stranger in ("aiohttp", "ClientSession", "Unclosed connector", "Traceback", "Exception"):
        assert stranger not in told
    if ends == "dropped before its bucket":
        assert told.index("the bucket works") < told.index("unclosed <Session")


def said(text: str) -> str:
    """Without what asyncio's debug mode says of slow steps."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("Executing <"))


CLOSED_WELL = """
async def by_with():
    async with session() as it:
        {request}

async def by_aclose():
    it = await session().open()
    {request}
    await it.aclose()

async def never_opened():
    session()

async def failing():
    try:
        async with session() as it:
            {request}
            raise KeyError
    except KeyError:
        pass

for work in (by_with, by_aclose, never_opened, failing):
    asyncio.run(work())
    gc.collect()
"""


async def test_a_closed_session_does_not_warn(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", b"old")
    script = CLOSED_WELL.format(request="; ".join(USES.values()))
    _, told = await run_script(faulty, script, "-X", "dev", "-W", "always::ResourceWarning")
    assert said(told) == ""


@pytest.fixture(scope="module", autouse=True)
def uvloop_has_what_it_keeps() -> None:
    """A pipe for signals, which the process keeps from its first loop on."""

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.sleep(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.fixture(autouse=True)
def path_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts find the library where this process has it from."""
    monkeypatch.setenv("PYTHONPATH", str(Path(dream.__file__).parent.parent))
