"""No wrong byte passes for a right one: not on its way down, not on its way up, not when it is put on the disk."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import random
import re
import resource
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from etags import etag_of
from servers.scripted import Received, Reply, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects._models import Address
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects.testing import MemoryService, Verb

PART = 64
DATA = random.Random(1).randbytes(12 * PART + 9)
OTHER = random.Random(2).randbytes(12 * PART + 9)
MD5 = hashlib.md5(DATA).hexdigest()
SMALL = dream.MultipartRules(smallest_part=1, largest_copy=100)
LIMITS = dream.Limits(part_size=PART)
ONE_BY_ONE = dream.Limits(part_size=PART, parts_per_object=1)


@pytest.fixture
def memory() -> MemoryService:
    return MemoryService(service=replace(MemoryService().service, multipart=SMALL))


@pytest_asyncio.fixture
async def session(memory: MemoryService) -> AsyncIterator[dream.Session]:
    async with memory.session(limits=LIMITS) as opened:
        yield opened


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> dream.Bucket:
    return await session.create_bucket("verified")


def verbs(memory: MemoryService) -> list[Verb]:
    return [request.verb for request in memory.requests]


async def arrived(memory: MemoryService, verb: Verb, task: asyncio.Task[dream.ObjectInfo]) -> None:
    """Until the task has sent such a request, or has ended."""
    while verb not in verbs(memory) and not task.done():
        await asyncio.sleep(0)


def session_of_parts(scripted: ScriptedServer, limits: dream.Limits = LIMITS) -> dream.Session:
    return scripted.session(service=replace(scripted.service, multipart=SMALL), limits=limits)


# On the way down: a service that lies


@dataclass
class Liar:
    """An object in a service that tells the truth, but for what ``lie`` makes of an answer."""

    data: bytes = DATA
    etag: str = MD5
    headers: Mapping[str, str] = field(default_factory=dict)
    lie: Callable[[int, int, Reply], Reply] = lambda _count, _start, reply: reply
    """Called with the number of GETs so far, the first position asked for, and the true answer."""
    count: int = 0

    def __call__(self, request: Received) -> Reply:
        told = {"ETag": f'"{self.etag}"', **self.headers}
        if request.method == "HEAD":
            return Reply(200, self.data, told)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if asked is None:
            reply, start = Reply(200, self.data, told), 0
        else:
            start, last = int(asked[1]), min(int(asked[2]), len(self.data) - 1)
            told["Content-Range"] = f"bytes {start}-{last}/{len(self.data)}"
            reply = Reply(206, self.data[start : last + 1], told)
        self.count += 1
        return self.lie(self.count, start, reply)


def flipped(reply: Reply) -> Reply:
    return replace(reply, body=bytes([reply.body[0] ^ 1]) + reply.body[1:])


def shown_as(reply: Reply, content_range: str | None) -> Reply:
    others = {name: value for name, value in reply.headers.items() if name != "Content-Range"}
    return replace(reply, headers=others if content_range is None else {**others, "Content-Range": content_range})


CUTS = {
    "md5": (MD5, {}, "md5"),
    "parts like the ranges": (etag_of(DATA, PART), {"x-amz-meta-part-size": str(PART)}, "parts"),
    "larger parts": (etag_of(DATA, 100), {"x-amz-meta-part-size": "100"}, "parts"),
    "smaller parts": (etag_of(DATA, 7), {"x-amz-meta-part-size": "7"}, "parts"),
}


@pytest.mark.parametrize("kind", CUTS)
@pytest.mark.parametrize("limits", [LIMITS, dream.Limits()], ids=["ranges", "one request"])
async def test_a_flipped_byte_is_fetched_again_and_is_an_error_the_second_time(
    scripted: ScriptedServer, tmp_path: Path, kind: str, limits: dream.Limits
) -> None:
    etag, headers, verified = CUTS[kind]
    target = tmp_path / "file"
    struck = 0 if limits == dream.Limits() else 3 * PART
    lies = 0

    def lie(count: int, start: int, reply: Reply) -> Reply:
        nonlocal lies
        if start != struck or lies == most_lies:
            return reply
        lies += 1
        return flipped(reply)

    async with scripted.session(limits=limits) as session:
        for most_lies in (0, 1):
            lies = 0
            scripted.will(Liar(etag=etag, headers=headers, lie=lie))
            info = await session.object("s3://bucket/a").download(target)
            assert target.read_bytes() == DATA
            assert (info.verified, info.size, lies) == (verified, len(DATA), most_lies)
        most_lies, lies = 10, 0
        target.write_bytes(b"old")
        with pytest.raises(dream.ChecksumMismatchError):
            await session.object("s3://bucket/a").download(target)
        assert lies == 2
        assert target.read_bytes() == b"old"
        await session.object("s3://bucket/a").download(target, verify="off")
        assert target.read_bytes() != DATA
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_what_cannot_be_verified_says_so(scripted: ScriptedServer, tmp_path: Path) -> None:
    etag = f"{'0' * 32}-3"  # of parts of whole MiB it cannot be, and nothing tells of which
    scripted.will(Liar(etag=etag))
    async with scripted.session(limits=LIMITS) as session:
        obj = session.object("s3://bucket/a")
        info = await obj.download(tmp_path / "a")
        assert (info.verified, (tmp_path / "a").read_bytes()) == ("size", DATA)
        async with obj.get() as body:
            assert await body.read() == DATA
        assert body.info.verified == "size"
        scripted.will(Liar(etag="opaque"))
        assert (await obj.download(tmp_path / "a")).verified == "size"


@pytest.mark.parametrize(("cuts", "verified"), [([100] * 7 + [77], "parts"), ([150, 50, *[100] * 5, 77], "size")])
async def test_where_parts_were_cut_is_asked_of_the_service(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path, cuts: list[int], verified: str
) -> None:
    """Of an object by another tool, which keeps no part size in the metadata."""
    obj, address = bucket.object("foreign"), Address(bucket.name, "foreign")
    s3 = bucket._runtime.s3
    upload_id = (await s3.create_upload(address, WriteOptions())).upload_id
    starts = [0, *itertools.accumulate(cuts)]
    parts = [
        await s3.put_part(address, upload_id, number, DATA[starts[number - 1] : starts[number]])
        for number in range(1, len(starts))
    ]
    await s3.complete_upload(address, upload_id, parts, WriteOptions())
    memory.forget_requests()
    info = await obj.download(tmp_path / "file")
    assert (info.verified, (tmp_path / "file").read_bytes()) == (verified, DATA)
    assert verbs(memory).count("head_object") == 2
    memory.forget_requests()
    info = await obj.download(tmp_path / "file", verify="off")
    assert (info.verified, (tmp_path / "file").read_bytes()) == ("size", DATA)
    assert set(verbs(memory)) == {"get_object"}


async def test_a_service_without_ranges_serves_all_the_same(scripted: ScriptedServer, tmp_path: Path) -> None:
    def whole(_count: int, _start: int, reply: Reply) -> Reply:
        return Reply(200, DATA, shown_as(reply, None).headers)

    def whole_later(count: int, start: int, reply: Reply) -> Reply:
        return reply if count == 1 else whole(count, start, reply)

    async with scripted.session(limits=LIMITS) as session:
        for lie in (whole, whole_later):
            scripted.will(Liar(lie=lie))
            info = await session.object("s3://bucket/a").download(tmp_path / "file")
            assert (info.verified, (tmp_path / "file").read_bytes()) == ("md5", DATA)
            (tmp_path / "file").unlink()
    assert list(tmp_path.iterdir()) == []


ALL = f"bytes {3 * PART}-{4 * PART - 1}/{len(DATA)}"


@pytest.mark.parametrize(
    ("is_asked", "answer"),
    [
        (lambda start: start == 3 * PART, lambda reply: shown_as(reply, f"bytes 0-{PART - 1}/{len(DATA)}")),
        (lambda start: start == 0, lambda reply: shown_as(reply, f"bytes 1-{PART}/{len(DATA)}")),
        (lambda start: start == 3 * PART, lambda reply: replace(reply, body=reply.body[:-1])),
        (lambda start: start == 3 * PART, lambda reply: replace(reply, body=reply.body + b"x")),
        (lambda start: start == 0, lambda reply: replace(reply, body=reply.body[:-1])),
        (lambda start: start == 3 * PART, lambda reply: shown_as(reply, None)),
        (lambda start: start == 3 * PART, lambda reply: shown_as(reply, "bytes many-more/several")),
        (lambda start: start == 0, lambda reply: shown_as(reply, None)),
        (lambda start: start == 3 * PART, lambda reply: shown_as(reply, ALL.replace(str(len(DATA)), "999999"))),
        (lambda start: start == 3 * PART, lambda reply: shown_as(reply, ALL.replace(str(len(DATA)), "*"))),
        (lambda start: start == 3 * PART, lambda reply: Reply(204)),
        (lambda start: start == 3 * PART, lambda reply: Reply(200, b"<html/>", {"Content-Type": "text/html"})),
    ],
    ids=[
        "another range",
        "another first range",
        "a short body with the length of its own",
        "a long body with the length of its own",
        "a short first body with the length of its own",
        "no Content-Range",
        "no readable Content-Range",
        "no Content-Range at first",
        "another size",
        "no size",
        "no content",
        "a page of somebody else's",
    ],
)
async def test_an_answer_to_another_question_never_passes_for_the_content(
    scripted: ScriptedServer, tmp_path: Path, is_asked: Callable[[int], bool], answer: Callable[[Reply], Reply]
) -> None:
    """It is asked for all of it in one request instead, or gives up: both are well, wrong bytes are not."""
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def lie(_count: int, start: int, reply: Reply) -> Reply:
        return answer(reply) if reply.status == 206 and is_asked(start) else reply

    async with scripted.session(limits=LIMITS) as session:
        scripted.will(Liar(lie=lie))
        try:
            info = await session.object("s3://bucket/a").download(target)
        except (dream.TransferError, dream.ServiceError):
            assert target.read_bytes() == b"old"
        else:
            assert (info.verified, target.read_bytes()) == ("md5", DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_cut_range_is_taken_up(memory: MemoryService, bucket: dream.Bucket, tmp_path: Path) -> None:
    await bucket.object("a").put(DATA)
    faults = [memory.cut_body(after_bytes, times=2) for after_bytes in (1, 5, 7)]
    info = await bucket.object("a").download(tmp_path / "a")
    assert (info.verified, (tmp_path / "a").read_bytes()) == ("parts", DATA)
    assert all(fault.is_over for fault in faults)


# On the way down: an object that is replaced


async def download_while(
    memory: MemoryService, obj: dream.Object, target: Path, change: Callable[[], object], **settings: object
) -> dream.ObjectInfo:
    """The first range is answered, the object is changed, and only then the others are."""
    memory.forget_requests()
    may_go_on = asyncio.Event()
    task = asyncio.create_task(obj.download(target, **settings))  # type: ignore[arg-type]  # each by its name
    await arrived(memory, "get_object", task)
    fault = memory.delay("get_object", may_go_on, times=None)
    await change()  # type: ignore[misc]  # a verb
    fault.stop()
    may_go_on.set()
    return await task


async def test_ranges_that_cut_parts_are_digested_in_order(memory: MemoryService, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(24 << 20)
    async with memory.session(limits=dream.Limits(part_size=3 << 20)) as session:
        await (await session.create_bucket("in-order")).object("a").put(content)
    async with asyncio.timeout(30), memory.serve() as served:  # over sockets, several ranges arrive at once
        session = dream.Session(
            endpoint=served.endpoint,
            access_key=served.access_key,
            secret_key=served.secret_key,
            limits=dream.Limits(part_size=2 << 20),
        )
        async with session:
            for _ in range(5):
                info = await session.object("s3://in-order/a").download(tmp_path / "a")
                assert (info.verified, (tmp_path / "a").read_bytes()) == ("parts", content)


@pytest.mark.parametrize("new", [OTHER, OTHER[:100], OTHER * 3, b""], ids=["as long", "shorter", "longer", "empty"])
async def test_an_object_that_is_replaced_midway_is_noticed_or_begun_again(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path, new: bytes
) -> None:
    obj, target = bucket.object("a"), tmp_path / "file"
    target.write_bytes(b"old")
    await obj.put(DATA)
    with pytest.raises(dream.ObjectChangedError, match="changed while it was downloaded"):
        await download_while(memory, obj, target, lambda: obj.put(new), if_changed="raise")
    assert target.read_bytes() == b"old"
    await obj.put(DATA)
    info = await download_while(memory, obj, target, lambda: obj.put(new))
    assert target.read_bytes() == new
    assert info.size == len(new)
    await obj.put(DATA)
    with pytest.raises(dream.ObjectChangedError):
        await download_while(memory, obj, target, obj.delete, if_changed="raise")
    await obj.put(DATA)
    with pytest.raises(dream.NotFoundError):
        await download_while(memory, obj, target, obj.delete)
    assert target.read_bytes() == new
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_an_object_that_never_rests_is_an_error_in_the_end(scripted: ScriptedServer, tmp_path: Path) -> None:
    states = 0

    def answer(request: Received) -> Reply:
        nonlocal states
        if "if-match" in request.headers:
            return error(412, "PreconditionFailed")
        states += 1
        return Liar(etag=f"{states:032}")(request)

    scripted.will(answer)
    async with scripted.session(limits=LIMITS) as session:
        with pytest.raises(dream.ObjectChangedError):
            await session.object("s3://bucket/a").download(tmp_path / "a")
    assert states == 1 + 1
    assert list(tmp_path.iterdir()) == []


# On the way up: parts


@dataclass
class Uploads:
    """A service that takes a multipart upload; ``lies`` answer in its place, by the kind of request."""

    lies: Mapping[str, Callable[[Received], Reply]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: Received) -> Reply:
        kind = self._kind(request)
        self.asked.append(kind)
        if kind in self.lies:
            return self.lies[kind](request)
        if kind == "part":
            return Reply(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})
        return _TRUTHS[kind]

    def _kind(self, request: Received) -> str:
        if "uploads" in request.target:
            return "create"
        if "uploadId" not in request.target:
            return "head"
        return {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "parts"}[request.method]


NEW = {"ETag": f'"{etag_of(DATA, PART)}"'}
_TRUTHS = {
    "create": Reply(200, b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"),
    "complete": Reply(
        200,
        f"<CompleteMultipartUploadResult><ETag>{NEW['ETag']}</ETag></CompleteMultipartUploadResult>".encode(),
    ),
    "abort": Reply(204),
    "parts": error(404, "NoSuchUpload"),
    "head": Reply(200, DATA, NEW),
}


def lie(reply: Reply) -> Callable[[Received], Reply]:
    return lambda _: reply


async def test_a_part_that_arrived_as_other_bytes_ends_the_upload(scripted: ScriptedServer) -> None:
    wrong = Uploads({"part": lie(Reply(200, headers={"ETag": f'"{MD5}"'}))})
    scripted.will(wrong)
    async with session_of_parts(scripted, ONE_BY_ONE) as session:
        with pytest.raises(dream.ChecksumMismatchError, match="stored other bytes"):
            await session.object("s3://bucket/a").put(DATA)
        assert wrong.asked == ["create", "part", "abort", "parts"]
        scripted.will(opaque := Uploads({"part": lie(Reply(200, headers={"ETag": '"opaque"'}))}))
        assert (await session.object("s3://bucket/a").put(DATA)).verified is None
        assert "abort" not in opaque.asked


async def test_an_upload_of_many_parts_is_verified(scripted: ScriptedServer) -> None:
    scripted.will(told := Uploads())
    async with session_of_parts(scripted) as session:
        info = await session.object("s3://bucket/a").put(DATA)
        assert (info.verified, info.etag, info.size) == ("parts", etag_of(DATA, PART), len(DATA))
        assert told.asked == ["create", *["part"] * 13, "complete"]
        other = _TRUTHS["complete"].body.replace(etag_of(DATA, PART).encode(), etag_of(OTHER, PART).encode())
        scripted.will(Uploads({"complete": lie(Reply(200, other))}))
        assert (await session.object("s3://bucket/a").put(DATA)).verified == "parts"  # the reply alone was damaged


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200),
        Reply(200, b"<html>Welcome to the hotel's network</html>", {"Content-Type": "text/html"}),
        Reply(200, _TRUTHS["complete"].body[:-10]),
        Reply(200, b"<Error><Code>InternalError</Code><Message>scripted</Message></Error>"),
        error(500, "InternalError"),
        error(504, "GatewayTimeout"),
        error(404, "NoSuchUpload"),
    ],
    ids=["nothing", "html", "cut", "an error in a 200", "500", "504", "a lost reply before it"],
)
async def test_a_completion_whose_reply_says_nothing_is_looked_after(scripted: ScriptedServer, reply: Reply) -> None:
    """The object is there, as the HEAD tells: all went well. And nothing is ever aborted."""
    answers = iter([reply] if reply.status != 404 else [error(500, "InternalError"), reply])
    last = reply

    def complete(_: Received) -> Reply:
        return next(answers, last)

    scripted.will(told := Uploads({"complete": complete}))
    async with session_of_parts(scripted, ONE_BY_ONE) as session:
        info = await session.object("s3://bucket/a").put(DATA)
    assert (info.verified, info.etag) == ("parts", etag_of(DATA, PART))
    assert "abort" not in told.asked
    behind = told.asked[told.asked.index("complete") :]
    assert behind.index("head") > 0


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "AccessDenied"), dream.AccessDeniedError),
        (error(400, "InvalidPart"), dream.InvalidRequestError),
        (error(412, "PreconditionFailed"), dream.PreconditionFailedError),
    ],
)
async def test_a_completion_that_is_refused_is_aborted(
    scripted: ScriptedServer, reply: Reply, kind: type[dream.ServiceError]
) -> None:
    scripted.will(told := Uploads({"complete": lie(reply)}))
    async with session_of_parts(scripted, ONE_BY_ONE) as session:
        with pytest.raises(kind):
            await session.object("s3://bucket/a").put(DATA)
    assert told.asked[-2:] == ["abort", "parts"]


async def test_a_completion_that_came_to_nothing_is_the_error_that_it_was(scripted: ScriptedServer) -> None:
    """Neither the upload nor its object is there: it can do no harm any more."""
    scripted.will(told := Uploads({"complete": lie(Reply(200)), "head": lie(Reply(404))}))
    async with session_of_parts(scripted, ONE_BY_ONE) as session:
        with pytest.raises(dream.ServiceError) as caught:
            await session.object("s3://bucket/a").put(DATA)
    assert caught.value.code == "UnreadableReply"
    assert "abort" not in told.asked


async def test_a_completion_whose_every_reply_is_lost_was_a_success(
    memory: MemoryService, bucket: dream.Bucket
) -> None:
    memory.lose_reply("complete_upload", times=None)
    info = await bucket.object("a").put(DATA)
    assert (info.etag, info.verified) == (etag_of(DATA, PART), "parts")
    assert await bucket.object("a").read() == DATA
    assert "abort_upload" not in verbs(memory)
    assert [upload async for upload in bucket.uploads()] == []


async def test_a_completion_in_doubt_is_never_aborted(memory: MemoryService, bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    await obj.put(b"old")
    memory.break_connection("complete_upload", times=None)
    with pytest.raises(dream.ConnectionFailedError) as caught:
        await obj.put(DATA)
    assert any("may still be completed" in note for note in caught.value.__notes__)
    assert "abort_upload" not in verbs(memory)
    assert [upload.key async for upload in bucket.uploads()] == ["a"]
    assert await obj.read() == b"old"


@pytest.mark.parametrize(
    ("code", "times", "kind"),
    [("AccessDenied", 1, dream.AccessDeniedError), ("InternalError", None, dream.ServiceBusyError)],
)
@pytest.mark.parametrize("verb", ["put_part", "copy_part"])
async def test_a_part_that_fails_for_good_ends_the_upload(
    memory: MemoryService, bucket: dream.Bucket, verb: Verb, code: str, times: int | None, kind: type[Exception]
) -> None:
    source, obj = bucket.object("source"), bucket.object("a")
    await source.put(DATA)
    await obj.put(b"old")
    memory.fail(verb, code, times=times)
    memory.forget_requests()
    with pytest.raises(kind):
        await (obj.put(DATA) if verb == "put_part" else source.copy_to(obj))
    assert [upload async for upload in bucket.uploads()] == []
    assert await obj.read() == b"old"
    asked = verbs(memory)
    assert "complete_upload" not in asked
    assert asked.index("abort_upload") > max(at for at, found in enumerate(asked) if found == verb)


async def test_a_part_that_fails_now_and_then_is_sent_again(memory: MemoryService, bucket: dream.Bucket) -> None:
    memory.fail("put_part", "SlowDown", times=3)
    memory.lose_reply("put_part", times=3)
    memory.break_connection("put_part", times=3)
    info = await bucket.object("a").put(DATA)
    assert (info.verified, await bucket.object("a").read()) == ("parts", DATA)
    assert verbs(memory).count("put_part") == 13 + 9


# On the way up: a source that changes


def rewrite(path: Path) -> None:
    path.write_bytes(OTHER)
    os.utime(path, (1, 1))  # the clock of a file system may tick but every few milliseconds


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, 5 * PART),
    "truncated to nothing": lambda path: os.truncate(path, 0),
    "grown": lambda path: path.write_bytes(DATA + b"x"),
    "rewritten": rewrite,
    "touched": lambda path: os.utime(path, (1, 1)),
}
WAYS = ("upload", "upload to go on with", "put", "put of a file")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", WAYS)
async def test_a_file_that_changes_while_it_is_sent_is_noticed(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, way: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "file"
    path.write_bytes(DATA)
    await bucket.object("a").put(b"old")
    async with memory.session(limits=ONE_BY_ONE) as session:
        obj, is_resumable = session.bucket("verified").object("a"), way == "upload to go on with"
        may_go_on = asyncio.Event()
        memory.delay("put_part", may_go_on, times=None)
        with path.open("rb") as file:
            if way.startswith("put"):
                work = obj.put(path if way == "put" else file)
            else:
                work = obj.upload(path, resume=is_resumable)
            task = asyncio.create_task(work)
            await arrived(memory, "put_part", task)
            CHANGES[change](path)
            may_go_on.set()
            with pytest.raises(dream.SourceChangedError, match="changed while it was sent"):
                await task
    assert "complete_upload" not in verbs(memory)
    assert await bucket.object("a").read() == b"old"
    assert [upload.key async for upload in bucket.uploads()] == (["a"] if is_resumable else [])
    if is_resumable:
        await bucket.object("a").upload(path, resume=True)
        assert await bucket.object("a").read() == path.read_bytes()
        if path.stat().st_size > PART:
            assert [upload async for upload in bucket.uploads()] == []


# On the disk


async def test_a_full_disk_leaves_the_old_file(memory: MemoryService, small_disk: Path) -> None:
    content = random.Random(3).randbytes(2 << 20)
    target = small_disk / "file"
    target.write_bytes(b"old")
    async with memory.session(limits=dream.Limits(part_size=256 << 10)) as session:
        obj = (await session.create_bucket("verified")).object("a")
        await obj.put(content)
        for fsync in (False, True):
            with pytest.raises(OSError, match="No space left") as caught:
                await obj.download(target, fsync=fsync)
            assert caught.value.errno == errno.ENOSPC
            assert target.read_bytes() == b"old"
            assert [path.name for path in small_disk.iterdir()] == ["file"]
        with pytest.raises(OSError, match="No space left"):
            await obj.download(target, resume=True)
        assert target.read_bytes() == b"old"
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=6m", str(small_disk)], check=True)
        memory.forget_requests()
        assert (await obj.download(target, resume=True)).verified == "parts"
        assert target.read_bytes() == content
        assert 0 < verbs(memory).count("get_object") < 8
    assert [path.name for path in small_disk.iterdir()] == ["file"]


async def test_a_file_that_may_not_grow_so_far_leaves_the_old_one(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    await bucket.object("a").put(DATA)
    (tmp_path / "file").write_bytes(b"old")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            await bucket.object("a").download(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.errno == errno.EFBIG
    assert verbs(memory).count("get_object") <= 13  # none is asked for again
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="to root no directory is read-only")
async def test_a_read_only_directory_is_its_own_error(
    memory: MemoryService, bucket: dream.Bucket, tmp_path: Path
) -> None:
    await bucket.object("a").put(DATA)
    place = tmp_path / "read-only"
    place.mkdir(mode=0o500)
    memory.forget_requests()
    for resume in (False, True):
        with pytest.raises(PermissionError):
            await bucket.object("a").download(place / "file", resume=resume)
    assert memory.requests == ()
    assert list(place.iterdir()) == []
