"""What is never told: no secret in a log, a repr, an error or a file; and no text of others that a terminal obeys."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from servers.ports import free_port
from servers.scripted import Content, Raw, Received, Reply, ScriptedServer, Silence, Step, error

import aiodreamobjects as dream

SECRET, TOKEN, PASSWORD = "CANARY/secret+key", "CANARY/session+token==", "CANARYpassword"
QUICK = dream.Retry(attempts=2, base=0.001)
Answer = Reply | Raw | Silence | Content

Verb = Callable[[dream.Bucket], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "put": lambda bucket: bucket.object("a").put(b"x"),
    "large put": lambda bucket: bucket.object("a").put(bytes(300_000)),
    "read": lambda bucket: bucket.object("a").read(),
    "head": lambda bucket: bucket.object("a").head(),
    "list": lambda bucket: bucket.list().collect(),
    "delete many": lambda bucket: bucket.delete_many(["a"]),
    "tags": lambda bucket: bucket.object("a").tags(),
}
FAULTS: dict[str, Step | None] = {
    "refused": error(403, "SignatureDoesNotMatch"),
    "redirected": Reply(307, b"", {"Location": "http://evil.example/?X-Amz-Signature=CANARY"}),
    "busy": error(503, "SlowDown"),
    "no http": Raw(b"HTTP/1.1 garbage\r\n\r\n"),
    "closed": Raw(),
    "broken off": Reply(200, b"<a>", {"ETag": '"opaque-1"'}, length=200_000),
    "silent": Silence(),
    "no connection": None,
}


async def failed(verb: Awaitable[object]) -> BaseException | None:
    try:
        await verb
    except dream.DreamObjectsError as problem:
        return problem
    return None


def chain(problem: BaseException) -> list[BaseException]:
    """The error, and all that it comes from."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [problem]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, None if one.__suppress_context__ else one.__context__]
            waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else []
    return found


def told(problem: BaseException, *, with_locals: bool) -> str:
    """All that a log or a crash report may tell of an error."""
    shown = [f"{one} {one!r} {getattr(one, '__notes__', '')}" for one in chain(problem)]
    shown += traceback.TracebackException.from_exception(problem, capture_locals=with_locals).format()
    return "\n".join(shown)


def signatures(received: list[Received]) -> list[str]:
    return [asked.headers["authorization"].rpartition("=")[2] for asked in received]


@asynccontextmanager
async def faulty(service: ScriptedServer, fault: str) -> AsyncIterator[dream.Session]:
    step = FAULTS[fault]
    given: dict[str, object] = {"retry": QUICK}
    if isinstance(step, Silence):
        given = {"timeouts": dream.Timeouts(connect=10, read=0.1, write=0.1), "retry": dream.Retry(attempts=1)}
    service.will(step or Reply(200))
    if step is None:
        given["endpoint"] = f"http://127.0.0.1:{free_port()}"
    async with service.session(secret_key=SECRET, session_token=TOKEN, **given) as session:
        yield session


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_secret_is_in_a_log_or_an_error(
    scripted: ScriptedServer, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, of every logger there is, botocore's, aiohttp's and asyncio's too."""
    caplog.set_level(logging.NOTSET)
    asyncio.get_running_loop().set_debug(True)
    shown = []
    try:
        async with faulty(scripted, fault) as session:
            for verb in VERBS.values():
                problem = await failed(verb(session.bucket("bucket")))
                shown += [told(problem, with_locals=False)] if problem else []
            with suppress(dream.DreamObjectsError, BotoCoreError, ClientError):
                await (await session.boto_client()).list_buckets()
    finally:
        asyncio.get_running_loop().set_debug(False)
    text = "\n".join([*shown, caplog.text, *(repr(record.args) for record in caplog.records)])
    assert len(shown) > 5
    assert len(caplog.records) > 40
    for secret in (SECRET, TOKEN, *signatures(scripted.received)):
        assert secret not in text


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_secret_is_in_the_locals_of_a_traceback(fault: str) -> None:
    """As crash reporters send them."""
    shown = {}
    async with ScriptedServer() as service:
        async with faulty(service, fault) as session:
            for name, verb in VERBS.items():
                problem = await failed(verb(session.bucket("bucket")))
                if problem:
                    shown[name] = told(problem, with_locals=True)
        secrets = [SECRET, TOKEN, *signatures(service.received)]
    assert len(shown) > 5
    assert [name for name, text in shown.items() if any(secret in text for secret in secrets)] == []


async def test_no_presigned_url_is_logged_and_no_form_shows_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.NOTSET)
    async with (
        ScriptedServer() as service,
        service.session(secret_key=SECRET, session_token=TOKEN) as session,
    ):
        obj = session.object("s3://bucket/a")
        refused = presigned_for_too_long(obj)
        urls = [obj.presign_get(), obj.presign_put(), obj.presign_get(signature="v2")]
        form = obj.presign_post(max_bytes=10)
        shown = [f"{value!r} {value}" for value in (session, obj, form, [form], session.service)]
    text = "\n".join([*shown, refused, caplog.text])
    queries = [dict(parse_qsl(urlsplit(url).query)) for url in urls]
    made = [query.get("X-Amz-Signature") or query["Signature"] for query in queries]
    text += f"{urls!r} {urls[0]!r}"
    for secret in (SECRET, TOKEN, *made, form.fields["x-amz-signature"], form.fields["policy"]):
        assert secret not in text


def presigned_for_too_long(obj: dream.Object) -> str:
    """All that is told of the refusal."""
    with pytest.raises(ValueError, match="7 days") as caught:
        obj.presign_get(8 * 24 * 3600)
    return told(caught.value, with_locals=True)


async def test_what_can_be_pickled_or_copied_to_a_file_holds_no_secret(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.will(error(403, "SignatureDoesNotMatch"))
    async with scripted.session(secret_key=SECRET, session_token=TOKEN) as session:
        problem = await failed(session.object("s3://bucket/a").put(b"x"))
        values = [session.service, session.statistics(), dream.Limits(), problem]
        for value in values:
            assert b"CANARY" not in pickle.dumps(value)
        for value in (session, session.buckets()):
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
                pickle.dumps(value)
    # A bucket and an object go to workers with the keys that were arguments, and with no others.
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("DREAMOBJECTS_SECRET_ACCESS_KEY", SECRET)
    found = dream.Session(service=dream.Service.for_endpoint(scripted.endpoint))
    for value in (found.bucket("bucket"), found.object("s3://bucket/a"), found.recipe()):
        assert b"CANARY" not in pickle.dumps(value)


async def test_journals_hold_no_secret_and_are_for_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    content = bytes(range(256)) * 1024
    (tmp_path / "up").write_bytes(content)
    async with ScriptedServer() as service:
        rules = dream.MultipartRules(smallest_part=1)
        settings = {
            "service": replace(dream.Service.for_endpoint(service.endpoint), multipart=rules),
            "limits": dream.Limits(part_size=1 << 16, parts_per_object=2),
            "secret_key": SECRET,
            "session_token": TOKEN,
            "retry": dream.Retry(attempts=1),
        }
        async with service.session(**settings) as session:
            obj = session.object("s3://bucket/a")
            begun = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
            service.will(
                lambda asked: Reply(200, begun) if "uploads" in asked.target else error(403, "SignatureDoesNotMatch")
            )
            await failed(obj.upload(tmp_path / "up", resume=True))
            count = 0

            def some(asked: Received) -> Answer:
                nonlocal count
                count += 1
                return Content(content, "opaque-1") if count < 3 else error(403, "SignatureDoesNotMatch")

            service.will(some)
            await failed(obj.download(tmp_path / "down", resume=True))
        made = signatures(service.received)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "up"]
    assert {path.suffix for path in left} == {".json", ".part", ".journal"}
    for path in left:
        for secret in (SECRET, TOKEN, "scripted", *made):
            assert secret.encode() not in path.read_bytes()
        if path.suffix != ".part":
            assert path.stat().st_mode & 0o777 == 0o600
    assert next(iter(state.rglob("uploads"))).stat().st_mode & 0o777 == 0o700


# Text of others

ODD = "a\x1b[2J\nFORGED\r\x07\x7f\x85\x9b31m\u2028\u202e\u2066c"
ODD_ERROR = (
    "<Error><Code>Odd&#10;\x85Code</Code><Message>hi\u202e \u2028&#10;\x9b FORGED</Message>"
    "<RequestId>r&#10;\x85</RequestId></Error>"
).encode()
OTHERS_MD5 = {"ETag": f'"{"0" * 32}"'}
REPLIES: dict[str, tuple[Step, Verb]] = {
    "a refusal": (Reply(403, ODD_ERROR), lambda bucket: bucket.object(ODD).read()),
    "a refusal of a put": (Reply(400, ODD_ERROR), lambda bucket: bucket.object(ODD).put(b"x")),
    "a refusal of a list": (Reply(403, ODD_ERROR), lambda bucket: bucket.list(ODD).collect()),
    "an error in a 200": (Reply(200, ODD_ERROR), lambda bucket: bucket.list(ODD).collect()),
    "a missing key": (Reply(404), lambda bucket: bucket.object(ODD).head()),
    "a region": (Reply(301, b"", {"x-amz-bucket-region": "e\x85\x9bu"}), lambda bucket: bucket.object(ODD).read()),
    "a location": (Reply(301, b"", {"Location": "http://e\x85\x9bu/"}), lambda bucket: bucket.object(ODD).read()),
    "other bytes stored": (Reply(200, headers=OTHERS_MD5), lambda bucket: bucket.object(ODD).put(b"x")),
    "other bytes read": (Reply(200, b"x", OTHERS_MD5), lambda bucket: bucket.object(ODD).read()),
    "no etag": (Reply(200), lambda bucket: bucket.object(ODD).put(b"x")),
    "another range": (
        Reply(206, b"x", {**OTHERS_MD5, "Content-Range": "bytes 5-5/9"}),
        lambda bucket: bucket.object(ODD).read((0, 3)),
    ),
    "no acl": (Reply(200, b"garbage"), lambda bucket: bucket.object(ODD).acl()),
    "no acl set": (Reply(200, b"garbage"), lambda bucket: bucket.object(ODD).set_acl("private")),
    "no deletion": (Reply(200, b"garbage"), lambda bucket: bucket.object(ODD).delete()),
    "no list": (Reply(200, b"garbage"), lambda bucket: bucket.list(ODD).collect()),
    "no versions": (Reply(200, b"garbage"), lambda bucket: bucket.list_versions(ODD).collect()),
    "no uploads": (Reply(200, b"garbage"), lambda bucket: bucket.uploads(ODD).collect()),
    "no copy": (
        lambda asked: Reply(200, b"garbage" if "x-amz-copy-source" in asked.headers else b"", {"ETag": '"opaque-1"'}),
        lambda bucket: bucket.object(ODD).copy_to(bucket.object(f"{ODD}2")),
    ),
    "keys not asked for": (
        Reply(200, "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>x&#10;\x85</Key></Contents></ListBucketResult>".encode()),
        lambda bucket: bucket.list("a").collect(),
    ),
    "a refused key": (
        Reply(200, b"<DeleteResult><Error><Key>b</Key><Code>A&#10;B</Code><Message>M&#10;\xc2\x9b</Message></Error></DeleteResult>"),
        lambda bucket: bucket.delete_many([ODD, "b"]),
    ),
    "a status line": (Raw(b"HTTP/1.1 \x1b[2J\x9b\r\n\r\n"), lambda bucket: bucket.object(ODD).read()),
    "a greeting": (Raw(b"\x1b[2J\x9b\xe2\x80\xae\r\n\r\n"), lambda bucket: bucket.object(ODD).read()),
    "a header": (Raw(b"HTTP/1.1 200 OK\r\nX\x1b[2J: 1\r\n\r\n"), lambda bucket: bucket.object(ODD).read()),
}  # fmt: skip


def obeyed(text: str) -> list[str]:
    """What a terminal would obey, and what would begin a line of its own in a log."""
    return [letter for letter in text if not letter.isprintable()]


@pytest.mark.parametrize("reply", REPLIES)
async def test_no_message_moves_a_cursor_or_forges_a_line(
    scripted: ScriptedServer, reply: str, caplog: pytest.LogCaptureFixture
) -> None:
    step, verb = REPLIES[reply]
    scripted.will(step)
    with caplog.at_level(logging.DEBUG, "aiodreamobjects"):
        async with scripted.session(retry=QUICK) as session:
            problem = await failed(verb(session.bucket("bucket")))
    assert problem is not None
    messages = [str(problem), *getattr(problem, "__notes__", ())]
    if isinstance(problem, dream.BulkError):
        messages += [str(one) for one in problem.exceptions]
    messages += [record.getMessage() for record in caplog.records if record.name.startswith("aiodreamobjects")]
    assert [(message, odd) for message in messages if (odd := obeyed(message))] == []


async def test_no_record_of_a_transfer_moves_a_cursor_or_forges_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings of downloads, resumed ones and uploads, of keys and of files with such names."""
    odd = re.sub(r"[/\0]", "", ODD)
    path = tmp_path / odd
    told_wrong = Content(bytes(100_000), "0" * 32)
    with caplog.at_level(logging.DEBUG, "aiodreamobjects"):
        async with ScriptedServer() as service:
            rules = dream.MultipartRules(smallest_part=1)
            settings = {
                "service": replace(dream.Service.for_endpoint(service.endpoint), multipart=rules),
                "limits": dream.Limits(part_size=1 << 16),
                "retry": QUICK,
            }
            async with service.session(**settings) as session:
                obj = session.object(f"s3://bucket/{ODD}")
                service.will(told_wrong)
                problems = [await failed(obj.download(path)), await failed(obj.download(path, resume=True))]
                for journal in tmp_path.glob(".*.journal"):
                    journal.write_bytes(b"damaged")
                begun = b"<InitiateMultipartUploadResult><UploadId>u&#10;\xc2\x9b</UploadId></InitiateMultipartUploadResult>"
                service.will(lambda asked: Reply(200, begun) if "uploads" in asked.target else Reply(403, ODD_ERROR))
                problems.append(await failed(obj.put(bytes(200_000))))
                (tmp_path / "tree").mkdir()
                (tmp_path / "tree" / odd).write_bytes(b"x")
                problems.append(await failed(session.bucket("bucket").upload_tree(tmp_path / "tree", ODD)))
    records = [record.getMessage() for record in caplog.records if record.name.startswith("aiodreamobjects")]
    assert any("could not be aborted" in record for record in records)
    assert any("downloading it again" in record for record in records)
    messages = [str(one) for problem in problems if problem for one in chain(problem)[:2]]
    assert len(messages) >= 4
    assert [text for text in records + messages if obeyed(text)] == []


# Settings that are wrong

LIBRARY = str(Path(dream.__file__).parent)


@dataclass(frozen=True, slots=True)
class Mistake:
    """Settings that cannot be, and whether that is found only when the session opens."""

    given: Mapping[str, object]
    is_found_at_opening: bool = False
    has_keys: bool = True
    """Whether the keys are given as well."""


MISTAKES: dict[str, Mistake] = {
    "endpoint": Mistake({"endpoint": "no endpoint"}),
    "endpoint, another scheme": Mistake({"endpoint": "ftp://s3.example.com"}),
    "endpoint, no text": Mistake({"endpoint": 7}),
    "endpoint, with a user": Mistake({"endpoint": f"https://AKIA:{PASSWORD}@s3.example.com"}),
    "endpoint, closed": Mistake({"endpoint": "https://objects-us-west-1.dream.io"}),
    "region": Mistake({"region": "here and there"}),
    "limits": Mistake({"limits": "many"}),
    "timeouts": Mistake({"timeouts": 7}),
    "retry": Mistake({"retry": 7}),
    "close_grace": Mistake({"close_grace": -1}),
    "service": Mistake({"service": "x"}),
    "no such setting": Mistake({"colour": "blue"}),
    "profile and boto_session": Mistake({"profile": "a", "boto_session": object()}),
    "half of the keys": Mistake({"secret_key": SECRET}, is_found_at_opening=True, has_keys=False),
    "a token alone": Mistake({"session_token": TOKEN}, is_found_at_opening=True, has_keys=False),
    "access key": Mistake({"access_key": "a b"}, is_found_at_opening=True),
    "access key, no text": Mistake({"access_key": 7}, is_found_at_opening=True),
    "secret key": Mistake({"secret_key": f"{SECRET}\n"}, is_found_at_opening=True),
    "secret key, bytes": Mistake({"secret_key": SECRET.encode()}, is_found_at_opening=True),
    "session token": Mistake({"session_token": f"{TOKEN}\n"}, is_found_at_opening=True),
    "ca": Mistake({"ca": "/no/such/file.pem", "endpoint": "https://s3.example.com"}, is_found_at_opening=True),
    "profile": Mistake({"profile": "no-such-profile"}, is_found_at_opening=True, has_keys=False),
    "boto_session": Mistake({"boto_session": object()}, is_found_at_opening=True, has_keys=False),
}
KEYS = {"access_key": "AKIA", "secret_key": SECRET, "session_token": TOKEN}
SOURCES_OF_KEYS: dict[str, dict[str, str]] = {
    "arguments": {},
    "DREAMOBJECTS_": {"DREAMOBJECTS_ACCESS_KEY_ID": "AKIA", "DREAMOBJECTS_SECRET_ACCESS_KEY": SECRET},
    "AWS_": {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN},
}


async def mistaken(mistake: Mistake, keys: Mapping[str, object]) -> BaseException:
    """What making or opening such a session raises."""
    try:
        session = dream.Session(**{**keys, **mistake.given})  # type: ignore[arg-type]  # each by its name
    except Exception as problem:  # noqa: BLE001 - whichever it is
        return problem
    try:
        await session.open()
    except Exception as problem:  # noqa: BLE001 - the same
        return problem
    await session.aclose()
    msg = f"{mistake} was taken"
    raise AssertionError(msg)


def frames_of_the_library(problem: BaseException) -> list[tuple[str, dict[str, object]]]:
    """Where each frame of ours is, and its locals, of the error and of all that it comes from."""
    return [
        (f"{frame.f_code.co_filename}:{line}", dict(frame.f_locals))
        for one in chain(problem)
        for frame, line in traceback.walk_tb(one.__traceback__)
        if frame.f_code.co_filename.startswith(LIBRARY)
    ]


@pytest.mark.parametrize("source", SOURCES_OF_KEYS)
@pytest.mark.parametrize("name", MISTAKES)
async def test_a_session_that_cannot_be_leaves_no_secret_in_a_frame(
    monkeypatch: pytest.MonkeyPatch, name: str, source: str
) -> None:
    mistake = MISTAKES[name]
    for variable, value in SOURCES_OF_KEYS[source].items():
        monkeypatch.setenv(variable, value)
    has_keys = source == "arguments" and mistake.has_keys
    if source != "arguments" and "key" in name:
        pytest.skip("the environment's keys do not count then")
    if source != "arguments" and name == "a token alone":
        pytest.skip("what is given is half of the keys, whatever the environment has")
    problem = await mistaken(mistake, KEYS if has_keys else {})
    locals_of_ours = frames_of_the_library(problem)
    for secret in (SECRET, TOKEN, PASSWORD):
        assert [
            (where, key) for where, found in locals_of_ours for key, value in found.items() if secret in repr(value)
        ] == []
    for one in chain(problem):
        if (
            name == "profile"
        ):  # aioboto3's own session raises in its repr then, and tracebacks with locals cannot be made
            break
        told_of = traceback.TracebackException.from_exception(one, capture_locals=True)
        shown = [(frame.name, frame.locals) for frame in told_of.stack if frame.filename.startswith(LIBRARY)]
        assert not [name for name, held in shown if any(secret in repr(held) for secret in (SECRET, TOKEN, PASSWORD))]
        assert "repr() failed" not in repr([held for _, held in shown])
        assert SECRET not in f"{one} {one!r} {one.args}"
        assert TOKEN not in f"{one} {one!r} {one.args}"
        assert PASSWORD not in f"{one} {one!r} {one.args}"


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_session_that_is_half_made_has_a_repr(name: str) -> None:
    mistake = MISTAKES[name]
    problem = await mistaken(mistake, KEYS if mistake.has_keys else {})
    sessions = [
        one for _, held in frames_of_the_library(problem) for one in held.values() if isinstance(one, dream.Session)
    ]
    for session in (*sessions, object.__new__(dream.Session)):
        assert repr(session).startswith("<Session")
        assert SECRET not in repr(session)


async def test_an_endpoint_of_the_environment_with_a_user_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMOBJECTS_ENDPOINT_URL", f"https://AKIA:{PASSWORD}@s3.example.com")
    problem = await mistaken(Mistake({}), KEYS)
    assert PASSWORD not in told(problem, with_locals=False)
    assert [
        where
        for where, held in frames_of_the_library(problem)
        if any(PASSWORD in repr(value) for value in held.values())
    ] == []


DOCUMENTS = {
    "no access key": f'{{"Version": 1, "SecretAccessKey": "{SECRET}"}}',
    "no JSON": f'{{"Version": 1, "SecretAccessKey": "{SECRET}",',
    "a blank": f'{{"Version": 1, "AccessKeyId": "a b", "SecretAccessKey": "{SECRET}"}}',
    "no time": f'{{"Version": 1, "AccessKeyId": "ab", "SecretAccessKey": "{SECRET}", "Expiration": "x"}}',
}


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_what_a_credential_process_says_is_in_no_frame_of_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, document: str
) -> None:
    """Of whichever library: botocore's frames hold what it read."""
    (tmp_path / "document").write_text(DOCUMENTS[document])
    (tmp_path / "config").write_text(f"[profile x]\ncredential_process = cat {tmp_path / 'document'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    problem = await failed(dream.Session(profile="x", endpoint="http://127.0.0.1:1").open())
    assert isinstance(problem, dream.CredentialsError)
    assert SECRET not in told(problem, with_locals=True)
