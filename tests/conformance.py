"""What every request of the library does under every fault: one table, operations by instructions.

An ``Operation`` says what is repeated without harm, an ``Instruction`` what happens and what is to follow;
``outcome_of`` has, with their reasons, the exceptions.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from servers.faulty import FaultyServer
from servers.rules import Action, Cut, Raw, Refuse, Say

import aiodreamobjects as dream

ATTEMPTS = 4
PART = 1 << 10
CONTENT = random.Random(3).randbytes(3 * PART)
OTHER = b"other"

Reply = Literal["document", "object", "nothing"]
"""What a success says."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket of the case's own, with the object ``a``, and no object ``b``."""

    session: dream.Session
    server: FaultyServer
    name: str

    @property
    def bucket(self) -> dream.Bucket:
        return self.session.bucket(self.name)

    @property
    def a(self) -> dream.Object:
        return self.bucket.object("a")

    @property
    def b(self) -> dream.Object:
        return self.bucket.object("b")

    def content(self, key: str) -> bytes | None:
        return self.server.content(self.name, key)


@dataclass(frozen=True, slots=True)
class Operation:
    """A request of S3, by a verb that sends it. ``has_done`` is seen on the server, once the verb has succeeded."""

    op: str
    verb: Callable[[Place], Awaitable[object]]
    has_done: Callable[[Place], bool] = lambda _: True
    reply: Reply = "document"
    is_repeatable: bool = True
    """Whether it may be carried out twice without a difference, or the second time tells that it was done."""
    is_resent: bool = True
    """Whether a connection that was kept, and turns out to be dead, is replaced without ado."""
    needs: Literal["bucket", "nothing", "upload", "empty bucket"] = "bucket"
    name: str = ""
    part: int | None = None

    def __str__(self) -> str:
        return self.name or self.op


async def stream(place: Place) -> None:
    async with place.a.get() as body:
        assert await body.read() == CONTENT


async def read(place: Place) -> None:
    assert await place.a.read() == CONTENT


async def listing(place: Place) -> None:
    assert [info.key async for info in place.bucket.list()] == ["a"]


async def buckets(place: Place) -> None:
    assert place.name in [bucket.name async for bucket in place.session.buckets()]


async def versions(place: Place) -> None:
    assert [info.key async for info in place.bucket.list_versions()] == ["a"]


async def uploads(place: Place) -> None:
    assert [upload.key async for upload in place.bucket.uploads()] == ["b"]


CORS: list[dream.CorsRule] = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]


def has_b(place: Place) -> bool:
    return place.content("b") == CONTENT


OPERATIONS = [
    Operation("ListBuckets", buckets),
    Operation(
        "CreateBucket",
        lambda place: place.bucket.create(),
        lambda place: place.name in place.server.buckets(),
        "nothing",
        needs="nothing",
        is_resent=False,
    ),
    Operation("HeadBucket", lambda place: place.bucket.info(), reply="nothing"),
    Operation(
        "DeleteBucket",
        lambda place: place.bucket.delete(),
        lambda place: place.name not in place.server.buckets(),
        "nothing",
        needs="empty bucket",
        is_resent=False,
    ),
    Operation("GetBucketAcl", lambda place: place.bucket.acl()),
    Operation("PutBucketAcl", lambda place: place.bucket.set_acl("public-read"), reply="nothing"),
    Operation("PutBucketCors", lambda place: place.bucket.set_cors(CORS), reply="nothing"),
    Operation("DeleteBucketCors", lambda place: place.bucket.delete_cors(), reply="nothing"),
    Operation("ListObjectsV2", listing),
    Operation("ListObjectVersions", versions),
    Operation("ListMultipartUploads", uploads, needs="upload"),
    Operation(
        "DeleteObjects",
        lambda place: place.bucket.delete_many(["a"]),
        lambda place: place.content("a") is None,
        is_resent=False,
    ),
    Operation(
        "PutObject", lambda place: place.b.put(CONTENT[:PART]), lambda place: place.content("b") is not None, "nothing"
    ),
    Operation(
        "PutObject",
        lambda place: place.b.put(CONTENT[:PART], if_absent=True),
        lambda place: place.content("b") is not None,
        "nothing",
        is_repeatable=False,
        is_resent=False,
        name="PutObject if absent",
    ),
    Operation("GetObject", read, reply="object"),
    Operation("GetObject", stream, reply="object", name="GetObject streamed"),
    Operation("HeadObject", lambda place: place.a.head(), reply="object"),
    Operation("DeleteObject", lambda place: place.a.delete(), lambda place: place.content("a") is None, "nothing"),
    Operation("GetObjectAcl", lambda place: place.a.acl()),
    Operation("PutObjectAcl", lambda place: place.a.set_acl("private"), reply="nothing"),
    Operation("CopyObject", lambda place: place.a.copy_to(place.b), has_b),
    Operation("CreateMultipartUpload", lambda place: place.b.put(CONTENT), has_b, is_resent=False),
    Operation("UploadPart", lambda place: place.b.put(CONTENT), has_b, "nothing", part=2),
    Operation("CompleteMultipartUpload", lambda place: place.b.put(CONTENT), has_b, is_resent=False),
    Operation(
        "AbortMultipartUpload",
        lambda place: place.bucket.abort_uploads(timedelta(0)),
        lambda place: place.server.uploads(place.name) == [],
        "nothing",
        needs="upload",
    ),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``requests`` of the operation in all, and the error; None where the verb succeeds all the same."""

    requests: int
    error: type[Exception] | None = None
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """What happens to the operation's requests, ``times`` of them; None for all."""

    name: str
    action: Action
    outcome: Outcome
    times: int | None = 1
    is_done: bool = False
    """Whether the request was carried out all the same."""
    replies: tuple[Reply, ...] = field(default=("document", "object", "nothing"))
    """What it can happen to."""

    @property
    def is_silence(self) -> bool:
        return isinstance(self.action, Cut) and self.action.then == "silence"


def again(times: int = 1) -> Outcome:
    return Outcome(times + 1)


def refused(error: type[Exception], *, in_doubt: bool = False) -> Outcome:
    return Outcome(1, error, in_doubt)


ELSEWHERE = {"Location": "http://127.0.0.1:9/elsewhere"}
HTML = b"<html><body>Bad gateway</body></html>"
INTERNAL_ERROR = b"<Error><Code>InternalError</Code><Message>sorry</Message></Error>"
ACCESS_DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
BUSY = Outcome(ATTEMPTS, dream.ServiceBusyError)
BUSY_IN_DOUBT = Outcome(ATTEMPTS, dream.ServiceBusyError, in_doubt=True)
GONE_IN_DOUBT = Outcome(ATTEMPTS, dream.ConnectionFailedError, in_doubt=True)
WITH_DOCUMENT: tuple[Reply, ...] = ("document",)

INSTRUCTIONS = [
    # The service is alive, and asks for patience: nothing was done.
    Instruction("503 SlowDown", Refuse(503, "SlowDown"), again()),
    Instruction("503 SlowDown, thrice", Refuse(503, "SlowDown"), again(3), times=3),
    Instruction("503 SlowDown, for ever", Refuse(503, "SlowDown"), BUSY, times=None),
    Instruction("503 ServiceUnavailable", Refuse(503, "ServiceUnavailable"), again()),
    Instruction("429 TooManyRequests", Refuse(429, "TooManyRequests"), again()),
    Instruction("429 TooManyRequests, twice", Refuse(429, "TooManyRequests"), again(2), times=2),
    # The service, or what is before it, is broken: nobody knows whether it was done.
    Instruction("500 InternalError", Refuse(500, "InternalError"), again()),
    Instruction("500 InternalError, done", Refuse(500, "InternalError", is_done=True), again(), is_done=True),
    Instruction("500 InternalError, for ever", Refuse(500, "InternalError"), BUSY_IN_DOUBT, times=None),
    Instruction("502 with a page", Say(502, {"Content-Type": "text/html"}, HTML, is_done=False), again()),
    Instruction("504 GatewayTimeout", Refuse(504, "GatewayTimeout"), again()),
    Instruction("504 GatewayTimeout, done", Refuse(504, "GatewayTimeout", is_done=True), again(), is_done=True),
    Instruction("408 RequestTimeout", Refuse(408, "RequestTimeout"), again()),
    Instruction("520 of a proxy", Say(520, {}, b"", is_done=False), again()),
    # The connection breaks.
    Instruction("reset before the reply", Cut(None, "reset", is_done=False), again()),
    Instruction("reset before the reply, twice", Cut(None, "reset", is_done=False), again(2), times=2),
    Instruction("reset before the reply, done", Cut(None, "reset"), again(), is_done=True),
    Instruction("closed before the reply", Cut(None, "close", is_done=False), again()),
    Instruction("closed before the reply, done", Cut(None, "close"), again(), is_done=True),
    Instruction("reset in the head, done", Cut(-10, "reset"), again(), is_done=True),
    Instruction("closed in the head", Cut(-10, "close", is_done=False), again()),
    Instruction("reset for ever", Cut(None, "reset", is_done=False), GONE_IN_DOUBT, times=None),
    Instruction("silence, done", Cut(None, "silence"), again(), is_done=True),
    # Refusals are final.
    Instruction("400 InvalidRequest", Refuse(400, "InvalidRequest"), refused(dream.InvalidRequestError)),
    Instruction("401 Unauthorized", Refuse(401, "Unauthorized"), refused(dream.AccessDeniedError)),
    Instruction("403 AccessDenied", Refuse(403, "AccessDenied"), refused(dream.AccessDeniedError)),
    Instruction("403 SignatureDoesNotMatch", Refuse(403, "SignatureDoesNotMatch"), refused(dream.AccessDeniedError)),
    Instruction("400 ExpiredToken", Refuse(400, "ExpiredToken"), refused(dream.AccessDeniedError)),
    Instruction("404 NoSuchBucket", Refuse(404, "NoSuchBucket"), refused(dream.NotFoundError)),
    Instruction("405 MethodNotAllowed", Refuse(405, "MethodNotAllowed"), refused(dream.UnsupportedByServiceError)),
    Instruction("409 OperationAborted", Refuse(409, "OperationAborted"), refused(dream.ServiceError)),
    Instruction("412 PreconditionFailed", Refuse(412, "PreconditionFailed"), refused(dream.PreconditionFailedError)),
    Instruction("416 InvalidRange", Refuse(416, "InvalidRange"), refused(dream.InvalidRequestError)),
    Instruction("501 NotImplemented", Refuse(501, "NotImplemented"), refused(dream.UnsupportedByServiceError)),
    Instruction("307 to elsewhere", Refuse(307, "TemporaryRedirect", ELSEWHERE), refused(dream.ServiceError)),
    Instruction("301 to elsewhere", Refuse(301, "PermanentRedirect", ELSEWHERE), refused(dream.ServiceError)),
    # Our clock is wrong: corrected, and tried again at once.
    Instruction("403 RequestTimeTooSkewed", Refuse(403, "RequestTimeTooSkewed"), again()),
    Instruction(
        "403 RequestTimeTooSkewed, for ever",
        Refuse(403, "RequestTimeTooSkewed"),
        Outcome(2, dream.AccessDeniedError),
        times=None,
    ),
    # An answer that is none.
    Instruction(
        "not HTTP",
        Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", is_done=False),
        refused(dream.ConnectionFailedError, in_doubt=True),
    ),
    Instruction("200 with InternalError", Say(200, {}, INTERNAL_ERROR, is_done=False), again(), replies=WITH_DOCUMENT),
    Instruction(
        "200 with AccessDenied",
        Say(200, {}, ACCESS_DENIED, is_done=False),
        refused(dream.AccessDeniedError),
        replies=WITH_DOCUMENT,
    ),
    Instruction(
        "200 with a page", Say(200, {}, HTML, is_done=False), refused(dream.ServiceError), replies=WITH_DOCUMENT
    ),
]


def outcome_of(operation: Operation, instruction: Instruction) -> Outcome:  # noqa: PLR0911 - a list of exceptions
    """The instruction's, but where there is a reason for another one."""
    name = str(operation)
    is_head = operation.op.startswith("Head")
    if instruction.is_done and not operation.is_repeatable:  # the second attempt finds what the first one stored
        return Outcome(2, dream.AlreadyExistsError, in_doubt=True)
    if name == "PutObject if absent" and instruction.name == "412 PreconditionFailed":
        return refused(dream.AlreadyExistsError)
    if is_head and "RequestTimeTooSkewed" in instruction.name:  # no body says so, and the date is right
        return refused(dream.AccessDeniedError)
    if is_head and instruction.name == "400 ExpiredToken":  # the same
        return refused(dream.InvalidRequestError)
    if name == "DeleteObjects" and instruction.name[:3] in ("405", "501"):  # one by one instead
        return Outcome(1)
    if name == "CopyObject" and instruction.name[:3] in ("405", "501"):  # streamed instead
        return Outcome(1)
    if (
        name == "CopyObject" and instruction.name == "412 PreconditionFailed"
    ):  # the source has not changed: without a pin
        return Outcome(2)
    if name == "CompleteMultipartUpload" and instruction.name == "200 with a page":  # it was not completed
        return again()
    if instruction.times is None and "reset" in instruction.name and operation.is_resent:
        is_in_doubt = operation.op != "UploadPart"  # as below
        return Outcome(ATTEMPTS + 1, dream.ConnectionFailedError, is_in_doubt)  # a dead idle connection is no attempt
    if operation.op in ("CreateMultipartUpload", "UploadPart"):  # without a completion there is no object
        return replace(instruction.outcome, in_doubt=False)
    return instruction.outcome
