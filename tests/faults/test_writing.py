"""An object is written whole or not at all, whatever becomes of a request; and what is told of it is true."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest
from conftest import Server, new_name
from servers.breaking_proxy import Break, BreakingProxy
from servers.faulty import FaultyServer
from servers.rules import (
    Action,
    Blanks,
    Cut,
    Drip,
    Late,
    Meanwhile,
    Refuse,
    Rule,
    Say,
    Shorten,
    SlowRead,
)

import aiodreamobjects as dream
from aiodreamobjects._memory.store import Bucket, Content, Part, Upload, now

PART_SIZE = 128 << 10
LARGE = random.Random(1).randbytes(3 * PART_SIZE + 12_345)
SMALL = LARGE[:100_000]
OTHER = b"what somebody else has written"
OLD = b"old"
PARTS = (1, 2, 4)
"""The first, one in the middle, the last."""
HTML = b"<html><body>Welcome to the hotel's network</body></html>"
HALF = b'<?xml version="1.0" encoding="UTF-8"?>\n<CompleteMultipartUploadResult><Location>http'
ANOTHER_ROOT = b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult><ETag>"x"</ETag></ListBucketResult>'
HANG_SECONDS = 60.0


# The verbs that write


@dataclass(frozen=True, slots=True)
class Trial:
    """One verb that writes one object; where its bytes come from is a file, or an object named ``origin``."""

    session: dream.Session
    bucket: str
    key: str
    path: Path
    data: bytes

    @property
    def origin(self) -> str:
        return f"from/{self.key}"

    @property
    def obj(self) -> dream.Object:
        return self.session.bucket(self.bucket).object(self.key)

    @property
    def pieces(self) -> list[bytes]:
        return [self.data[start : start + 50_000] for start in range(0, len(self.data), 50_000)]


Write = Callable[[Trial], Awaitable[dream.ObjectInfo | None]]


async def put_bytes(trial: Trial) -> dream.ObjectInfo:
    return await trial.obj.put(trial.data)


async def put_file(trial: Trial) -> dream.ObjectInfo:
    with opened(trial.path) as file:
        return await trial.obj.put(file)


async def put_iterator(trial: Trial) -> dream.ObjectInfo:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in trial.pieces:
            yield piece

    return await trial.obj.put(chunks())


async def upload(trial: Trial) -> dream.ObjectInfo:
    return await trial.obj.upload(trial.path)


async def upload_resumed(trial: Trial) -> dream.ObjectInfo:
    return await trial.obj.upload(trial.path, resume=True)


async def write(trial: Trial) -> dream.ObjectInfo | None:
    async with trial.obj.writer() as file:
        for piece in trial.pieces:
            await file.write(piece)
    return file.info


async def upload_tree(trial: Trial) -> None:
    prefix = trial.key.rpartition("/")[0]
    await trial.session.bucket(trial.bucket).upload_tree(trial.path.parent, prefix, compare="size")


async def copy(trial: Trial) -> dream.ObjectInfo:
    return await trial.session.bucket(trial.bucket).object(trial.origin).copy_to(trial.obj)


async def move(trial: Trial) -> dream.ObjectInfo:
    return await trial.session.bucket(trial.bucket).object(trial.origin).move_to(trial.obj)


VERBS: Mapping[str, Write] = {
    "put of bytes": put_bytes,
    "put of a file": put_file,
    "put of an iterator": put_iterator,
    "upload": upload,
    "upload, resumed": upload_resumed,
    "writer": write,
    "upload_tree": upload_tree,
    "copy": copy,
    "move": move,
}
COPYING = ("copy", "move")
SENDING = tuple(name for name in VERBS if name not in COPYING)
ALL = tuple(VERBS)
FEW = ("put of bytes", "upload, resumed", "copy")


def opened(path: Path) -> BinaryIO:
    return path.open("rb")


# What goes wrong, and what must come of it


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, for each of some verbs that write the same bytes.

    ``fails``: the error, else it is a success. ``asks``: how many such requests there are in the end. ``keeps``: what
    the key may hold after a failure. ``left``: uploads that stay open; ``left_resumed``: of a resumed upload.
    """

    name: str
    rules: Callable[[str], Sequence[Rule]]
    verbs: Sequence[str] = ALL
    fails: type[dream.DreamObjectsError] | None = None
    data: bytes = LARGE
    asks: Mapping[str, int] = field(default_factory=dict)
    keeps: Sequence[bytes] = (OLD,)
    left: int = 0
    left_resumed: int = 1
    is_in_doubt: bool | None = None


def rule(
    op: str, *actions: Action, part: int | None = None, nth: int = 1, times: int | None = 1
) -> Callable[[str], list[Rule]]:
    return lambda key: [Rule(op, *actions, key=key, part=part, nth=nth, times=times)]


def of_key(
    op: str, change: Callable[[str, Bucket], None], *actions: Action, part: int | None = None
) -> Callable[[str], list[Rule]]:
    """Somebody else changes something about this key just before."""
    return lambda key: [Rule(op, Meanwhile(partial(change, key)), *actions, key=key, part=part)]


def abort_all(key: str, bucket: Bucket) -> None:
    for upload_id in [name for name, one in bucket.uploads.items() if one.key == key]:
        del bucket.uploads[upload_id]


def begin(key: str, bucket: Bucket, age: timedelta = timedelta(0), parts: Sequence[Part] = ()) -> None:
    """Another writer has an upload open, since so long."""
    upload = Upload(key, next(bucket.numbers), {}, {one.number: one for one in parts}, now() - age)
    bucket.uploads[upload.upload_id] = upload


def begin_others(key: str, bucket: Bucket) -> None:
    begin(key, bucket, timedelta(hours=1))
    begin(f"{key}2", bucket)


def begin_with_a_part(key: str, bucket: Bucket) -> None:
    begin(key, bucket, parts=[Part(1, OTHER, hashlib.md5(OTHER).hexdigest())])


def put_another(key: str, bucket: Bucket) -> None:
    bucket.add(key, Content(OTHER, hashlib.md5(OTHER).hexdigest(), {}))


def wrong_etag(data: bytes = OTHER) -> Say:
    return Say(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})


NO_ETAG = Say(headers={"ETag": None})
NOT_COMPLETED = {"CompleteMultipartUpload": 0}
COMPLETED_ONCE = {"CompleteMultipartUpload": 1, "AbortMultipartUpload": 0}
NEVER_ABORTED = {"AbortMultipartUpload": 0}

WRONG_ETAGS = [
    *(
        Row(f"F08 wrong ETag of part {part}", rule("UploadPart", wrong_etag(), part=part), SENDING, dream.ChecksumMismatchError, asks=NOT_COMPLETED)
        for part in PARTS
    ),
    *(
        Row(f"F08 no ETag of part {part}", rule("UploadPart", NO_ETAG, part=part), SENDING, dream.ServiceError, asks=NOT_COMPLETED)
        for part in PARTS
    ),
    Row(
        "F08 no ETag of a copied part",
        rule("UploadPartCopy", Say(body=b"<CopyPartResult></CopyPartResult>"), part=2),
        COPYING,
        dream.ServiceError,
        asks=NOT_COMPLETED,
    ),
    Row(
        "F08 wrong ETag of a copied part",
        rule("UploadPartCopy", Say(body=b"<CopyPartResult><ETag>&quot;%b&quot;</ETag></CopyPartResult>" % (b"0" * 32)), part=2),
        COPYING,
        dream.ServiceError,
    ),
    Row(
        "F08 wrong ETag of a whole",
        rule("PutObject", wrong_etag()),
        SENDING,
        dream.ChecksumMismatchError,
        SMALL,
        {"PutObject": 1},
        keeps=(SMALL,),
        left_resumed=0,
    ),
    Row(
        "F08 no ETag of a whole",
        rule("PutObject", NO_ETAG),
        SENDING,
        dream.ServiceError,
        SMALL,
        keeps=(SMALL,),
        left_resumed=0,
        is_in_doubt=True,
    ),
]  # fmt: skip

SILENT = Cut(None, "silence")
SILENT_AND_NOT_DONE = Cut(None, "silence", is_done=False)
SILENT_IN_THE_HEAD = Cut(-40, "silence")
SILENT_IN_THE_BODY = Cut(30, "silence")
STALLS = [
    Row("F10 after the body of a put", rule("PutObject", SILENT), SENDING, data=SMALL, asks={"PutObject": 2}),
    Row("F10 in the head of the reply to a put", rule("PutObject", SILENT_IN_THE_HEAD), FEW[:2], data=SMALL),
    Row("F10 after the body of a put that is not done", rule("PutObject", SILENT_AND_NOT_DONE), FEW[:2], data=SMALL),
    *(
        Row(f"F10 after the body of part {part}", rule("UploadPart*", SILENT, part=part), ALL if part == 2 else FEW)
        for part in PARTS
    ),
    Row("F10 after the body of a part that is not stored", rule("UploadPart*", SILENT_AND_NOT_DONE, part=2), FEW),
    Row("F10 in the head of the reply to a part", rule("UploadPart*", SILENT_IN_THE_HEAD, part=2), FEW),
    Row("F10 in the reply to a copied part", rule("UploadPartCopy", SILENT_IN_THE_BODY, part=2), COPYING),
    Row("F10 of a copy", rule("CopyObject", SILENT), COPYING, data=SMALL),
    Row("F10 in the reply to a copy", rule("CopyObject", SILENT_IN_THE_BODY), COPYING, data=SMALL),
    Row("F10 of a completion", rule("CompleteMultipartUpload", SILENT), asks=NEVER_ABORTED),
    Row(
        "F10 in the reply to a completion", rule("CompleteMultipartUpload", SILENT_IN_THE_BODY), FEW, asks=NEVER_ABORTED
    ),
]
STALLS_FOR_EVER = [
    Row(
        "F10 after the body of every put",
        rule("PutObject", SILENT_AND_NOT_DONE, times=None),
        SENDING,
        dream.ConnectionFailedError,
        SMALL,
        left_resumed=0,
        is_in_doubt=True,
    ),
    Row("F10 after the body of a part, for ever", rule("UploadPart*", SILENT, part=2, times=None), ALL, dream.ConnectionFailedError),
    Row("F10 of a copy, for ever", rule("CopyObject", SILENT_AND_NOT_DONE, times=None), COPYING, dream.ConnectionFailedError, SMALL),
]  # fmt: skip

PASSING, FINAL = (
    ("InternalError", "SlowDown"),
    {"AccessDenied": dream.AccessDeniedError, "InvalidPart": dream.InvalidRequestError},
)
ERRORS_IN_A_200 = [
    *(Row(f"F16 {code} to a completion", rule("CompleteMultipartUpload", Refuse(200, code))) for code in PASSING),
    Row("F16 InternalError to a completion that is done", rule("CompleteMultipartUpload", Refuse(200, "InternalError", is_done=True)), asks=NEVER_ABORTED),
    *(Row(f"F16 {code} to a copy", rule("CopyObject", Refuse(200, code)), COPYING, data=SMALL) for code in PASSING),
    *(
        Row(f"F16 {code} to copied part {part}", rule("UploadPartCopy", Refuse(200, code), part=part), COPYING)
        for code in PASSING
        for part in PARTS
    ),
    *(Row(f"F16 {code} to a completion, for ever", rule("CompleteMultipartUpload", Refuse(200, code), times=None), FEW, dream.ServiceBusyError, is_in_doubt=False) for code in PASSING),
    *(
        Row(f"F16 {code} to a copy, for ever", rule("CopyObject", Refuse(200, code), times=None), COPYING, dream.ServiceBusyError, SMALL)
        for code in PASSING
    ),
    *(
        Row(f"F16 {code} to a copied part, for ever", rule("UploadPartCopy", Refuse(200, code), part=2, times=None), COPYING, dream.ServiceBusyError)
        for code in PASSING
    ),
    *(
        Row(f"F16 {code} to a completion, {often}", rule("CompleteMultipartUpload", Refuse(200, code), times=times), ALL, kind, asks={"CompleteMultipartUpload": 1})
        for code, kind in FINAL.items()
        for often, times in (("once", 1), ("for ever", None))
    ),
    *(
        Row(f"F16 {code} to a copy", rule("CopyObject", Refuse(200, code)), COPYING, kind, SMALL, asks={"CopyObject": 1})
        for code, kind in FINAL.items()
    ),
    *(
        Row(f"F16 {code} to a copied part, at once", rule("UploadPartCopy", Refuse(200, code), part=2), COPYING, kind, asks=NOT_COMPLETED)
        for code, kind in FINAL.items()
    ),
]  # fmt: skip

NO_ANSWERS = {"nothing": b"", "half a document": HALF, "HTML": HTML, "another root": ANOTHER_ROOT}
NO_ANSWERS_THOUGH_COMPLETED = [
    *(
        Row(f"F17 {name} to a completion, {often}", rule("CompleteMultipartUpload", Say(body=body), times=times), asks=NEVER_ABORTED)
        for name, body in NO_ANSWERS.items()
        for often, times in (("once", 1), ("for ever", None))
    ),
    Row("F17 a document without its end", rule("CompleteMultipartUpload", Shorten(20)), asks=NEVER_ABORTED),
    Row("F17 blanks for longer than silence is borne", rule("CompleteMultipartUpload", Blanks(20, 0.1)), asks=COMPLETED_ONCE),
    Row("F17 blanks, then InternalError", rule("CompleteMultipartUpload", Blanks(3, 0.01), Refuse(200, "InternalError", is_done=True)), asks=NEVER_ABORTED),
    Row("F17 blanks to a copy", rule("CopyObject", Blanks(20, 0.1)), COPYING, data=SMALL, asks={"CopyObject": 1}),
    Row("F17 blanks to a copied part", rule("UploadPartCopy", Blanks(20, 0.1), part=2), COPYING),
    Row(
        "F17 nothing to a completion, and then another's object",
        lambda key: [
            Rule("CompleteMultipartUpload", Say(body=b""), key=key),
            Rule("ListParts", Meanwhile(partial(put_another, key)), key=key),
        ],
        FEW,
        dream.ServiceError,
        keeps=(OTHER,),
        left_resumed=0,
    ),
]  # fmt: skip

NO_ANSWERS_AND_NOT_COMPLETED = [
    *(
        Row(f"F17 {name}, and it is not completed", rule("CompleteMultipartUpload", Say(200, body=body, is_done=False)))
        for name, body in NO_ANSWERS.items()
    ),
    *(
        Row(
            f"F17 {name}, and it is never completed",
            rule("CompleteMultipartUpload", Say(200, body=body, is_done=False), times=None),
            FEW,
            dream.ServiceError,
        )
        for name, body in NO_ANSWERS.items()
    ),
]

LOST_REPLIES: Mapping[str, Sequence[Action]] = {
    "reset": [Cut(None)],
    "closed": [Cut(None, "close")],
    "reset in the head": [Cut(-40)],
    "reset in the body": [Cut(30)],
    "500": [Refuse(500, "InternalError", is_done=True)],
    "504": [Refuse(504, "GatewayTimeout", is_done=True)],
    "stall": [SILENT],
}
COMPLETED_AND_LOST = [
    *(Row(f"F18 {name}", rule("CompleteMultipartUpload", *actions), asks=NEVER_ABORTED) for name, actions in LOST_REPLIES.items()),
    Row("F18 reset, for ever", rule("CompleteMultipartUpload", Cut(None), times=None), FEW, asks=NEVER_ABORTED),
    Row("F18 504, for ever", rule("CompleteMultipartUpload", Refuse(504, "GatewayTimeout", is_done=True), times=None), FEW, asks=NEVER_ABORTED),
]  # fmt: skip
NOT_COMPLETED_AND_LOST = [
    Row("F19 reset", rule("CompleteMultipartUpload", Cut(None, is_done=False))),
    Row("F19 reset twice", rule("CompleteMultipartUpload", Cut(None, is_done=False), times=2), FEW),
    Row("F19 closed", rule("CompleteMultipartUpload", Cut(None, "close", is_done=False))),
    Row("F19 500", rule("CompleteMultipartUpload", Refuse(500, "InternalError"))),
    Row("F19 503", rule("CompleteMultipartUpload", Refuse(503, "SlowDown"))),
    Row("F19 stall", rule("CompleteMultipartUpload", SILENT_AND_NOT_DONE), FEW),
    Row("F19 it arrives after the next one", rule("CompleteMultipartUpload", Late())),
]
IN_DOUBT_FOR_EVER = [
    Row(
        f"F19 {name}, for ever",
        rule("CompleteMultipartUpload", *actions, times=None),
        FEW,
        kind,
        asks=NEVER_ABORTED,
        left=1,
        is_in_doubt=True,
    )
    for name, kind, actions in (
        ("reset", dream.ConnectionFailedError, [Cut(None, is_done=False)]),
        ("504", dream.ServiceBusyError, [Refuse(504, "GatewayTimeout")]),
    )
]

CREATED_AND_LOST = [
    *(Row(f"F20 {name}", rule("CreateMultipartUpload", *actions), FEW if name == "stall" else ALL) for name, actions in LOST_REPLIES.items()),
    Row("F20 reset twice", rule("CreateMultipartUpload", Cut(None), times=2)),
    Row("F20 it arrives after the next one", rule("CreateMultipartUpload", Late())),
    Row("F20 reset, and others have uploads open", of_key("CreateMultipartUpload", begin_others, Cut(None)), FEW, left=1),
    Row(
        "F20 reset, and another has begun just then",
        of_key("CreateMultipartUpload", begin_with_a_part, Cut(None)),
        FEW,
        left=1,
    ),
    # Which of two is the one that nobody knows cannot be told: neither is touched.
    Row("F20 reset, and another begins just then", of_key("CreateMultipartUpload", begin, Cut(None)), FEW, left=2),
    Row("F20 reset, for ever", rule("CreateMultipartUpload", Cut(None), times=None), FEW, dream.ConnectionFailedError, left_resumed=0),
    Row("F20 500, for ever", rule("CreateMultipartUpload", Refuse(500, "InternalError", is_done=True), times=None), FEW, dream.ServiceBusyError, left_resumed=0),
    *(
        Row(f"F20 {name} in answer", rule("CreateMultipartUpload", Say(body=body)), FEW, dream.ServiceError, left_resumed=0)
        for name, body in NO_ANSWERS.items()
    ),
]  # fmt: skip

STORED_AND_LOST = [
    *(
        Row(f"F21 {name}, part {part}", rule("UploadPart*", *actions, part=part), ALL if part == 2 else FEW)
        for name, actions in LOST_REPLIES.items()
        if name not in ("stall", "reset in the body")
        for part in PARTS
    ),
    Row("F21 reset in the body of a copied part", rule("UploadPartCopy", Cut(30), part=2), COPYING),
    Row("F21 every part once", lambda key: [Rule("UploadPart*", Cut(None), key=key, part=part) for part in (1, 2, 3, 4)]),
    *(Row(f"F21 part {part} arrives after the next attempt", rule("UploadPart*", Late(), part=part)) for part in PARTS),
    Row("F21 a put arrives after the next attempt", rule("PutObject", Late()), SENDING, data=SMALL),
    Row("F21 a copy arrives after the next attempt", rule("CopyObject", Late()), COPYING, data=SMALL),
    Row("F21 part 2 for ever", rule("UploadPart*", Cut(None), part=2, times=None), FEW, dream.ConnectionFailedError),
]  # fmt: skip
ABORTED_BY_ANOTHER = [
    *(
        Row(f"F22 before part {part}", of_key("UploadPart*", abort_all, part=part), ALL if part == 2 else FEW, dream.NotFoundError, asks=NOT_COMPLETED, left_resumed=0)
        for part in PARTS
    ),
    Row("F22 before the completion", of_key("CompleteMultipartUpload", abort_all), ALL, dream.NotFoundError, left_resumed=0),
]  # fmt: skip

TABLES: Mapping[str, Sequence[Row]] = {
    "F08-etags": WRONG_ETAGS,
    "F10-stalls": STALLS,
    "F10-stalls-for-ever": STALLS_FOR_EVER,
    "F16-an-error-in-a-200": ERRORS_IN_A_200,
    "F17-no-answer-though-completed": NO_ANSWERS_THOUGH_COMPLETED,
    "F17-no-answer-and-not-completed": NO_ANSWERS_AND_NOT_COMPLETED,
    "F18-completed-and-the-reply-lost": COMPLETED_AND_LOST,
    "F19-not-completed-and-the-reply-lost": NOT_COMPLETED_AND_LOST,
    "F20-created-and-the-reply-lost": CREATED_AND_LOST,
    "F21-stored-and-the-reply-lost": STORED_AND_LOST,
    "F22-aborted-by-another": ABORTED_BY_ANOTHER,
}


# How it is tried


def session_to(faulty: FaultyServer, **settings: object) -> dream.Session:
    """Copies go in parts as well; the server knows no tags, which they would carry over."""
    rules = replace(faulty.service.multipart, largest_copy=PART_SIZE)
    service = replace(faulty.service, multipart=rules, unsupported={"tagging": "there are none"})
    return faulty.session(service=service, limits=dream.Limits(part_size=PART_SIZE), **settings)


async def attempt(verb: str, trial: Trial) -> dream.ObjectInfo | Exception | None:
    try:
        return await VERBS[verb](trial)
    except dream.BulkError as error:
        return error.exceptions[0]
    except Exception as error:  # noqa: BLE001 - what came of it is judged
        return error


def judge(faulty: FaultyServer, row: Row, verb: str, trial: Trial, outcome: object) -> list[str]:
    """What is not as it must be."""
    stored, origin = faulty.content(trial.bucket, trial.key), faulty.content(trial.bucket, trial.origin)
    asked = [one.op for one in faulty.asked() if one.key == trial.key]
    left, expected = faulty.uploads(trial.bucket).count(trial.key), row.left
    if row.fails is not None and verb == "upload, resumed" and not row.left:
        expected = row.left_resumed
    moved = verb == "move" and row.fails is None
    told = outcome if isinstance(outcome, dream.ObjectInfo) else None
    failed = outcome if isinstance(outcome, Exception) else None
    is_in_doubt = getattr(outcome, "in_doubt", None)
    checks = {
        f"the outcome is {outcome!r} {getattr(outcome, '__notes__', '')}": isinstance(failed, row.fails or type(None)),
        f"in_doubt is {is_in_doubt}": row.is_in_doubt in (None, is_in_doubt),
        f"there are {stored and len(stored)} bytes": stored in (row.keeps if row.fails else [row.data]),
        f"the source is {origin and len(origin)} bytes": origin == (None if moved else row.data),
        f"it told a size of {told and told.size}": told is None or told.size == len(row.data),
        f"{left} uploads are open, and not {expected}": left == expected,
    } | {
        f"{op} was asked {asked.count(op)} times, and not {count}: {asked}": asked.count(op) == count
        for op, count in row.asks.items()
    }
    return [f"{row.name}, {verb}: {what}" for what, is_right in checks.items() if not is_right]


@dataclass(frozen=True, slots=True)
class Round:
    """Rows that are tried at once."""

    faulty: FaultyServer
    place: Path
    trials: list[tuple[Row, str, Trial]] = field(default_factory=list)

    def add(self, row: Row, session: dream.Session) -> None:
        bucket = "bucket"
        for verb in row.verbs:
            path = self.place / f"{row.name} {verb}" / "file"
            path.parent.mkdir(parents=True)
            path.write_bytes(row.data)
            trial = Trial(session, bucket, f"{row.name}/{verb}/file", path, row.data)
            self.faulty.put(bucket, trial.key, OLD)
            self.faulty.put(bucket, trial.origin, row.data)
            self.trials.append((row, verb, trial))

    async def run(self) -> list[str]:
        """What is not as it must be."""
        faulty, trials = self.faulty, self.trials
        faulty.will(*(one for row, _, trial in trials for one in row.rules(trial.key)))
        outcomes = await asyncio.gather(*(attempt(verb, trial) for _, verb, trial in trials))
        faulty.check()
        wrong = []
        for (row, verb, trial), outcome in zip(trials, outcomes, strict=True):
            wrong += judge(faulty, row, verb, trial, outcome)
        faulty.will()
        for row, verb, trial in trials:
            if verb == "upload, resumed" and row.fails is not None:
                done = replace(row, name=f"{row.name}, taken up", fails=None, asks={}, left=0, is_in_doubt=None)
                wrong += judge(faulty, done, verb, trial, await attempt(verb, trial))
            elif row.left:
                faulty.expected_uploads += [key for key in faulty.uploads(trial.bucket) if key.startswith(trial.key)]
        return wrong


AT_ONCE = 4
STALLING_AT_ONCE = 12


@pytest.mark.parametrize("table", list(TABLES))
async def test_what_is_written_is_whole_or_the_old_object_stays(
    faulty: FaultyServer, table: str, tmp_path: Path
) -> None:
    is_for_ever = table.endswith("stalls-for-ever")
    retry = dream.Retry(attempts=2 if is_for_ever else 4, base=0.001, cap=0.01)
    at_once = STALLING_AT_ONCE if table.startswith(("F10", "F17")) else AT_ONCE
    is_busy = table.startswith(("F08", "F16", "F21", "F22"))  # where nothing stalls, and requests are counted
    patience = 5 if is_busy else 1.5 if table.startswith("F17") else 0.5  # blanks come for longer than that
    timeouts = dream.Timeouts(connect=5, read=patience, write=patience)
    wrong: list[str] = []
    async with asyncio.timeout(HANG_SECONDS), session_to(faulty, retry=retry, timeouts=timeouts) as session:
        for start in range(0, len(TABLES[table]), at_once):
            round_ = Round(faulty, tmp_path)
            for row in TABLES[table][start : start + at_once]:
                round_.add(row, session)
            wrong += await round_.run()
    assert not wrong, "\n".join(wrong)


async def test_an_upload_whose_completion_is_in_doubt_is_left_open_and_can_be_taken_up(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    """All at once: it takes some seconds until nothing more is hoped for."""
    round_ = Round(faulty, tmp_path)
    async with asyncio.timeout(HANG_SECONDS), session_to(faulty) as session:
        for row in IN_DOUBT_FOR_EVER:
            round_.add(row, session)
        wrong = await round_.run()
    assert not wrong, "\n".join(wrong)


# F11 and F12: a server that reads slowly


async def test_f11_a_server_that_reads_a_kib_a_second_is_left(faulty: FaultyServer) -> None:
    """More than the buffers between them hold; ``low_speed`` is 10 KiB a second."""
    data = random.Random(2).randbytes(12 << 20)
    slow = SlowRead(102, 0.1)
    limits = dream.Limits(part_size=16 << 20)
    async with asyncio.timeout(HANG_SECONDS), faulty.session(limits=limits) as session:
        faulty.will(Rule("PutObject", slow))
        await session.object("s3://bucket/a").put(data)
        assert faulty.content("bucket", "a") == data
        assert faulty.ops == ["PutObject", "PutObject"]
    faulty.will(Rule("PutObject", slow, times=None))
    retry = dream.Retry(attempts=2, base=0.001, cap=0.01)
    async with asyncio.timeout(HANG_SECONDS), faulty.session(limits=limits, retry=retry) as session:
        with pytest.raises(dream.ConnectionFailedError):
            await session.object("s3://bucket/a").put(data[::-1])
    assert faulty.content("bucket", "a") == data
    faulty.end_connections()  # it goes on reading what it was sent


@pytest.mark.skipif("SOAK" not in os.environ, reason="ten minutes: SOAK=1 asks for it")
@pytest.mark.timeout(1500)
async def test_a_peer_of_50_kib_a_second_is_slow_and_healthy(faulty: FaultyServer, tmp_path: Path) -> None:
    """F12: by the timeouts that are the usual ones."""
    data = random.Random(3).randbytes(600 * (50 << 10))
    faulty.put("bucket", "slow", data)
    faulty.will(Rule("GetObject", Drip(5 << 10, 0.1)), Rule("PutObject", SlowRead(5 << 10, 0.1)))
    limits, timeouts = dream.Limits(part_size=64 << 20), dream.Timeouts()
    async with faulty.session(limits=limits, timeouts=timeouts) as session, asyncio.TaskGroup() as group:
        group.create_task(session.object("s3://bucket/slow").download(tmp_path / "file"))
        group.create_task(session.object("s3://bucket/sent").put(data))
    assert (tmp_path / "file").read_bytes() == faulty.content("bucket", "sent") == data
    assert sorted(faulty.ops) == ["GetObject", "PutObject"]


# A real gateway, behind a proxy that breaks connections

REAL_PART_SIZE = 5 << 20
REAL = random.Random(4).randbytes(2 * REAL_PART_SIZE + 12_345)
REAL_BREAKS: Mapping[str, Callable[[str], list[Break]]] = {
    "F18-completed-then-reset": lambda key: [Break("reset", behind=f"POST /{key}?uploadId=".encode())],
    "F18-completed-then-silence": lambda key: [Break("silence", behind=f"POST /{key}?uploadId=".encode())],
    "F20-created-then-reset": lambda key: [Break("reset", behind=f"POST /{key}?uploads".encode())],
    "F21-stored-then-reset": lambda _: [Break("reset", behind=b"partNumber=2")],
    "F21-reset-in-a-part": lambda _: [Break("reset", after=3 << 20, direction="up", times=3)],
    "F21-closed-in-a-part": lambda _: [Break("close", after=3 << 20, direction="up", times=2)],
    "F10-silence-in-a-part": lambda _: [Break("silence", after=3 << 20, direction="up")],
}


@pytest.mark.parametrize("name", REAL_BREAKS)
async def test_a_real_gateway_behind_a_bad_line_has_the_object_and_no_upload(
    rgw: Server, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(REAL)
    settings = {
        "limits": dream.Limits(part_size=REAL_PART_SIZE),
        "retry": dream.Retry(attempts=5, base=0.01, cap=0.1),
        "timeouts": dream.Timeouts(connect=5, read=1.5, write=1.5),
    }
    gateway = urlsplit(rgw.service.endpoint)
    async with asyncio.timeout(HANG_SECONDS), rgw.session() as plain, BreakingProxy(gateway.port or 80) as proxy:
        bucket = await plain.create_bucket(new_name())
        service = replace(rgw.service, endpoint=f"http://127.0.0.1:{proxy.port}")
        async with replace(rgw, service=service).session(**settings) as session:
            obj = session.bucket(bucket.name).object("a")
            breaks = REAL_BREAKS[name](f"{bucket.name}/a")
            proxy.will(*breaks)
            info = await obj.upload(path)
            assert proxy.idle_breaks == []
        assert (info.size, info.verified) == (len(REAL), "parts")
        assert await bucket.object("a").read() == REAL
        assert await bucket.uploads().collect() == []
        assert len(await bucket.list().collect()) == 1
        await bucket.delete(force=True)
