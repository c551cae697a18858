"""Services that refuse: what passes is waited for, what does not is an error at once, and both are told apart."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from faulty_verbs import DOWNLOAD, DOWNLOAD_SMALL, HEAD, LIMITS, READ_SMALL, READER, RIGHT, SMALL, VERBS, Case, run
from servers.faulty import ACCESS_KEY, SECRET_KEY, FaultyServer
from servers.rules import Meanwhile, Pause, Refuse, Rule, Say

import aiodreamobjects as dream

FOR_EVER = None
PATIENCE_SECONDS = 60.0


# F13: a service that asks for patience

AFTER: Mapping[str, Callable[[datetime], str | None]] = {
    "nothing-said": lambda _: None,
    "in-seconds": lambda _: "1",
    "at-a-date": lambda now: format_datetime(now + timedelta(seconds=90), usegmt=True),
    "at-a-date-gone-by": lambda now: format_datetime(now - timedelta(days=1), usegmt=True),
    "in-an-hour": lambda _: "3600",
    "in-no-number": lambda _: "soon",
}
CAP = 0.15


def slow_down(after: str | None) -> Refuse:
    return Refuse(503, "SlowDown", {} if after is None else {"Retry-After": after})


@pytest.mark.parametrize("after", AFTER, ids=[f"F13-{name}" for name in AFTER])
async def test_slow_down_is_obeyed_and_no_longer_than_the_cap(faulty: FaultyServer, tmp_path: Path, after: str) -> None:
    refusal = [slow_down(AFTER[after](datetime.now(UTC)))]
    cases = [
        Case(f"F13-{after}-{times}", verb, refusal, RIGHT if times else dream.ServiceBusyError, times)
        for verb in (*VERBS, HEAD)
        for times in (1, 3, FOR_EVER)
    ]
    retry = dream.Retry(attempts=4, base=0.001, cap=CAP)
    async with faulty.session(limits=LIMITS, retry=retry) as session:
        await run(faulty, session, tmp_path, cases)
    waits = []
    for case in cases:
        if case.verb is READ_SMALL:
            asked = [asked.at for asked in faulty.log if asked.key == case.key]
            waits += [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert len(waits) == 1 + 3 + 3
    if after in ("in-seconds", "at-a-date", "in-an-hour"):
        assert min(waits) > CAP * 0.9


async def test_f13_what_the_service_asks_for_below_the_cap_is_waited(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.will(Rule("GetObject", slow_down("1")))
    async with faulty.session(retry=dream.Retry(attempts=2, base=0.001)) as session:
        assert await session.object("s3://bucket/a").read() == SMALL
    first, second = faulty.asked("GetObject")
    assert second.at - first.at > 0.9


async def test_f13_fewer_are_asked_for_at_once_when_it_was_too_much(faulty: FaultyServer) -> None:
    contents, connections = put_many(faulty), []
    for refusals in (0, 4):
        settings = {"limits": dream.Limits(requests=16), "retry": dream.Retry(attempts=5, base=0.001, cap=0.01)}
        async with faulty.session(**settings) as session:
            faulty.will(Rule("GetObject", slow_down(None), times=refusals, may_be_idle=not refusals))
            await session.object("s3://bucket/0").read()
            faulty.log.clear()
            faulty.will(Rule("GetObject", Pause(0.05), times=FOR_EVER))
            await read_all(session, contents)
            connections.append(len({asked.connection for asked in faulty.log}))
    assert connections[1] < 8 < connections[0]


async def test_f13_eight_times_and_then_it_serves(faulty: FaultyServer, tmp_path: Path) -> None:
    cases = [Case("F13-eight", verb, [slow_down(None)], RIGHT, 8) for verb in (*VERBS, HEAD)]
    async with faulty.session(limits=LIMITS, retry=dream.Retry(attempts=9, base=0.001, cap=0.01)) as session:
        await run(faulty, session, tmp_path, cases)


# F14: what passes

PASSING: Mapping[str, Refuse | Say] = {
    "429": Refuse(429, "TooManyRequests"),
    "500": Refuse(500, "InternalError"),
    "502-in-html": Say(502, {"Content-Type": "text/html"}, b"<html><h1>502 Bad Gateway</h1></html>"),
    "503-in-html": Say(503, {"Content-Type": "text/html"}, b"<html><h1>503</h1><hr></html>"),
    "504": Refuse(504, "GatewayTimeout"),
    "504-with-nothing": Say(504, {"Content-Type": None}, b""),
    "408": Refuse(408, "RequestTimeout"),
    "499": Refuse(499, "ClientDisconnected"),
    "499-in-html": Say(499, {"Content-Type": "text/html"}, b"<html><h1>499</h1></html>"),
    "520": Say(520, {"Content-Type": "text/html"}, b"<html>Web server is returning an unknown error</html>"),
}


@pytest.mark.parametrize("status", PASSING, ids=[f"F14-{status}" for status in PASSING])
async def test_what_passes_is_tried_again(faulty: FaultyServer, tmp_path: Path, status: str) -> None:
    cases = [
        Case(f"F14-{status}-{times}", verb, [PASSING[status]], RIGHT, times)
        for verb in (*VERBS, HEAD)
        for times in (1, 3)
    ]
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)
        faulty.will(Rule("ListObjectsV2", PASSING[status], times=3))
        assert len(await session.bucket("bucket").list().collect()) == len(cases)


# F15: what does not

LASTING: Mapping[str, tuple[Refuse, type[dream.ServiceError]]] = {
    "400": (Refuse(400, "InvalidArgument"), dream.InvalidRequestError),
    "401": (Refuse(401, "Unauthorized"), dream.AccessDeniedError),
    "403": (Refuse(403, "AccessDenied"), dream.AccessDeniedError),
    "404": (Refuse(404, "NoSuchKey"), dream.NotFoundError),
    "409": (Refuse(409, "RestoreInProgress"), dream.ServiceError),
    "412": (Refuse(412, "PreconditionFailed"), dream.PreconditionFailedError),
    "416": (Refuse(416, "InvalidRange"), dream.InvalidRequestError),
}


@pytest.mark.parametrize("status", LASTING, ids=[f"F15-{status}" for status in LASTING])
async def test_what_does_not_pass_is_an_error_at_once(faulty: FaultyServer, tmp_path: Path, status: str) -> None:
    refusal, kind = LASTING[status]
    cases = [
        Case(f"F15-{status}", verb, [], kind, requests=1, rules=[Rule(verb.op, refusal, times=FOR_EVER, key=key)])
        for verb in (*VERBS, HEAD)
        for key in [f"F15-{status}-{verb.name}"]
    ]
    for case in cases:
        if status == "416" and case.verb in (DOWNLOAD, DOWNLOAD_SMALL, READER):
            case.requests = 2  # an empty object has no range at all: it is asked for without one
        if status == "400" and case.verb is HEAD:
            case.requests = 2  # a HEAD cannot say why: a GET of one byte is asked for the words
    async with faulty.session(limits=LIMITS) as session:
        await run(faulty, session, tmp_path, cases)
        with pytest.raises(dream.ServiceError) as caught:
            await session.object(f"s3://bucket/{cases[0].key}").read()
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.code) == (int(status), refusal.code)
        faulty.log.clear()
        faulty.will(Rule("ListObjectsV2", refusal, times=FOR_EVER))
        with pytest.raises(kind):
            await session.bucket("bucket").list().collect()
        assert len(faulty.log) == 1


# F29: another time

CLOCKS = {"+1h": timedelta(hours=1), "-1h": timedelta(hours=-1), "+1d": timedelta(days=1), "-1d": timedelta(days=-1)}


async def _put(obj: dream.Object) -> object:
    return await obj.put(b"x")


FIRST: Mapping[str, Callable[[dream.Object], Awaitable[object]]] = {
    "read": lambda obj: obj.read(),
    "head": lambda obj: obj.head(),
    "put": _put,
}


@pytest.mark.parametrize("clock", CLOCKS, ids=[f"F29-{clock}" for clock in CLOCKS])
async def test_another_clock_is_learnt_from_one_refusal(faulty: FaultyServer, clock: str) -> None:
    faulty.put("bucket", "a", SMALL)
    offset = CLOCKS[clock]
    async with faulty.session() as session:
        obj = session.object("s3://bucket/a")
        for verb in FIRST.values():
            faulty.dialect.clock_offset, offset = offset, -offset
            faulty.log.clear()
            await verb(obj)
            assert len(faulty.log) == 2
            for other in FIRST.values():
                await other(obj)
            assert len(faulty.log) == 2 + len(FIRST)


async def test_f29_many_at_once_are_refused_once_each(faulty: FaultyServer) -> None:
    faulty.put("bucket", "a", SMALL)
    faulty.dialect.clock_offset = timedelta(hours=-3)
    async with faulty.session(retry=dream.Retry(attempts=1)) as session:
        obj = session.object("s3://bucket/a")
        assert await asyncio.gather(*(obj.read() for _ in range(20))) == [SMALL] * 20
        assert len(faulty.log) <= 40


# F30: credentials that end


class Provider:
    """Credentials with tokens that it numbers, each for an hour as far as it knows."""

    def __init__(self, faulty: FaultyServer) -> None:
        self.calls = 0
        self.gives: Callable[[int], Awaitable[str]] = self._next
        self._faulty = faulty
        faulty.dialect.session_token = "canary-0"
        self.session = AioSession()
        self.session._credentials = AioRefreshableCredentials.create_from_metadata(
            self._metadata("canary-0"), refresh_using=self._refresh, method="test"
        )

    async def _next(self, number: int) -> str:
        return f"canary-{number}"

    async def _refresh(self) -> dict[str, str]:
        self.calls += 1
        return self._metadata(await self.gives(self.calls))

    def _metadata(self, token: str) -> dict[str, str]:
        ends = datetime.now(UTC) + timedelta(hours=1)
        return {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": token, "expiry_time": ends.isoformat()}

    def ends(self, number: int = 1) -> Meanwhile:
        """Only the token of this number is good from now on."""

        def change(_: object) -> None:
            self._faulty.dialect.session_token = f"canary-{number}"

        return Meanwhile(change)


REQUESTS = 24


def put_many(faulty: FaultyServer) -> dict[str, bytes]:
    contents = {f"{number}": b"%d" % number * 50 for number in range(REQUESTS)}
    for key, content in contents.items():
        faulty.put("bucket", key, content)
    return contents


def with_provider(faulty: FaultyServer, provider: Provider, **settings: object) -> dream.Session:
    limits = dream.Limits(requests=8)
    given = {"limits": limits, "boto_session": provider.session, "access_key": None, "secret_key": None}
    return faulty.session(**{**given, **settings})


async def read_all(session: dream.Session, contents: Mapping[str, bytes]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await asyncio.gather(*(session.object(f"s3://bucket/{key}").read() for key in contents))
    assert found == [*contents.values()]


@pytest.mark.parametrize("nth", [1, REQUESTS // 2, REQUESTS], ids=["F30-first", "F30-middle", "F30-last"])
async def test_a_token_that_ends_is_renewed_once_for_all(faulty: FaultyServer, nth: int) -> None:
    contents, provider = put_many(faulty), Provider(faulty)
    faulty.will(Rule("GetObject", provider.ends(), nth=nth))
    async with with_provider(faulty, provider) as session:
        await read_all(session, contents)
        assert provider.calls == 1
        refused = len(faulty.log) - REQUESTS
        assert 1 <= refused <= 8
        await read_all(session, contents)
    assert provider.calls == 1
    assert len(faulty.log) == 2 * REQUESTS + refused


async def test_f30_a_head_that_cannot_say_why_it_is_refused(faulty: FaultyServer) -> None:
    put_many(faulty)
    provider = Provider(faulty)
    faulty.will(Rule("HeadObject", provider.ends()))
    async with with_provider(faulty, provider) as session:
        assert (await session.object("s3://bucket/0").head()).size == 50
    assert provider.calls == 1
    assert len(faulty.log) == 2


async def test_f30_an_invalid_token_is_renewed_as_well(faulty: FaultyServer) -> None:
    contents, provider = put_many(faulty), Provider(faulty)
    faulty.dialect.session_token = None
    faulty.will(Rule("GetObject", Refuse(400, "InvalidToken")))
    async with with_provider(faulty, provider) as session:
        await read_all(session, contents)
        assert (await session.object("s3://bucket/0").head()).size == 50
    assert provider.calls == 1
    assert len(faulty.log) == REQUESTS + 2


async def test_f30_a_slow_provider_is_waited_for_by_all(faulty: FaultyServer) -> None:
    contents, provider = put_many(faulty), Provider(faulty)

    async def slow(number: int) -> str:
        await asyncio.sleep(0.2)
        return f"canary-{number}"

    provider.gives = slow
    faulty.will(Rule("GetObject", provider.ends()))
    async with with_provider(faulty, provider) as session:
        await read_all(session, contents)
    assert provider.calls == 1


async def test_f30_a_provider_that_does_not_answer_can_be_left(faulty: FaultyServer) -> None:
    contents, provider, is_asked = put_many(faulty), Provider(faulty), asyncio.Event()

    async def never(_: int) -> str:
        is_asked.set()
        await asyncio.Event().wait()
        return ""

    provider.gives = never
    faulty.will(Rule("GetObject", provider.ends()))
    async with with_provider(faulty, provider) as session:
        reading = [asyncio.create_task(session.object(f"s3://bucket/{key}").read()) for key in contents]
        await asyncio.wait_for(is_asked.wait(), PATIENCE_SECONDS)
        for task in reading:
            task.cancel()
        ended = await asyncio.gather(*reading, return_exceptions=True)
        assert {type(one) for one in ended} == {asyncio.CancelledError}


@pytest.mark.parametrize("fault", ["fails", "gives-the-same"], ids=lambda fault: f"F30-a-provider-that-{fault}")
async def test_a_provider_that_has_nothing_better(faulty: FaultyServer, tmp_path: Path, fault: str) -> None:
    provider = Provider(faulty)

    async def give(_: int) -> str:
        if fault == "fails":
            msg = "the vault is shut"
            raise OSError(msg)
        return "canary-0"

    provider.gives = give
    kind = dream.CredentialsError if fault == "fails" else dream.AccessDeniedError
    cases = [Case("F30", verb, [], dream.DreamObjectsError) for verb in (*VERBS, HEAD)]
    cases[0].rules = [Rule("*", provider.ends())]
    async with with_provider(faulty, provider) as session:
        await run(faulty, session, tmp_path, cases)
        faulty.log.clear()
        with pytest.raises(kind):
            await session.object(f"s3://bucket/{cases[0].key}").read()
    assert len(faulty.log) <= 2


async def test_f30_keys_that_are_not_renewed_are_an_error_at_once(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.dialect.session_token = "canary-1"
    cases = [Case("F30", verb, [], dream.AccessDeniedError, requests=1) for verb in VERBS]
    # A HEAD's answer has no body to say why: a GET of one byte is asked for the words.
    cases.append(Case("F30", HEAD, [], dream.AccessDeniedError, requests=2))
    async with faulty.session(session_token="canary-0") as session:
        await run(faulty, session, tmp_path, cases)
