"""What is tried again, how often and when: against a server that fails as it is told."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from servers.ports import free_port
from servers.scripted import IMPATIENT, Raw, Reply, ScriptedServer, Silence, error

import aiodreamobjects as dream

OK = Reply(200, headers={"ETag": '"0cc175b9c0f1b6a831c399e269772661"'})  # the MD5 of b"a"
PASSING = [
    (500, "InternalError"),
    (502, "BadGateway"),
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (504, "GatewayTimeout"),
    (429, "TooManyRequests"),
    (408, "RequestTimeout"),
    (400, "RequestTimeout"),
    (520, "Unknown"),
]
FINAL = [
    (400, "InvalidArgument", dream.InvalidRequestError),
    (400, "ExpiredToken", dream.AccessDeniedError),
    (401, "Unauthorized", dream.AccessDeniedError),
    (403, "AccessDenied", dream.AccessDeniedError),
    (403, "SignatureDoesNotMatch", dream.AccessDeniedError),
    (403, "InvalidAccessKeyId", dream.AccessDeniedError),
    (404, "NoSuchBucket", dream.NotFoundError),
    (405, "MethodNotAllowed", dream.UnsupportedByServiceError),
    (409, "OperationAborted", dream.ServiceError),
    (411, "MissingContentLength", dream.ServiceError),
    (412, "PreconditionFailed", dream.PreconditionFailedError),
    (416, "InvalidRange", dream.InvalidRequestError),
    (501, "NotImplemented", dream.UnsupportedByServiceError),
]


@pytest.mark.parametrize(("status", "code"), PASSING)
async def test_what_does_not_pass_is_a_busy_service_at_last(scripted: ScriptedServer, status: int, code: str) -> None:
    scripted.will(error(status, code))
    async with scripted.session() as session:
        with pytest.raises(dream.ServiceBusyError, match=f"{code}.*scripted.*tx1") as caught:
            await session.object("s3://bucket/a").put(b"a")
    assert len(scripted.received) == 4
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, code, "tx1")
    assert caught.value.retryable
    assert caught.value.__notes__ == ["after 4 attempts"]


@pytest.mark.parametrize(("status", "code", "kind"), FINAL)
async def test_what_is_final_is_asked_once(
    scripted: ScriptedServer, status: int, code: str, kind: type[dream.ServiceError]
) -> None:
    scripted.will(error(status, code))
    async with scripted.session() as session:
        with pytest.raises(kind) as caught:
            await session.object("s3://bucket/a").put(b"a")
    assert type(caught.value) is kind
    assert len(scripted.received) == 1
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, dream.InvalidRequestError),
        (403, dream.AccessDeniedError),
        (404, dream.NotFoundError),
        (405, dream.UnsupportedByServiceError),
        (412, dream.PreconditionFailedError),
        (501, dream.UnsupportedByServiceError),
        (500, dream.ServiceBusyError),
        (503, dream.ServiceBusyError),
    ],
)
async def test_a_head_without_a_body_is_the_same_class(
    scripted: ScriptedServer, status: int, kind: type[dream.ServiceError]
) -> None:
    scripted.will(Reply(status))
    async with scripted.session() as session:
        with pytest.raises(kind) as caught:
            await session.object("s3://bucket/a").head()
    assert type(caught.value) is kind
    assert caught.value.status == status


@pytest.mark.parametrize("fault", [Raw(), Raw(b"HTTP/1.1 200 OK\r\nContent-Le"), Silence()])
async def test_a_lost_reply_is_tried_again(scripted: ScriptedServer, fault: Raw | Silence) -> None:
    scripted.will(fault, OK)
    async with scripted.session(timeouts=IMPATIENT) as session:
        await session.object("s3://bucket/a").put(b"a")
    assert len(scripted.received) == 2


async def test_a_dead_connection_is_an_error_that_names_the_endpoint(scripted: ScriptedServer) -> None:
    scripted.will(Raw())
    async with scripted.session() as session:
        with pytest.raises(dream.ConnectionFailedError, match=scripted.endpoint):
            await session.object("s3://bucket/a").put(b"a")


async def test_silence_ends_in_an_error_that_says_for_how_long(scripted: ScriptedServer) -> None:
    scripted.will(Silence())
    async with scripted.session(retry=dream.Retry(attempts=1), timeouts=IMPATIENT) as session:
        with pytest.raises(dream.ConnectionFailedError, match=r"silent for 0\.5 s"):
            await session.object("s3://bucket/a").head()


async def test_a_peer_that_takes_no_body_is_cut(scripted: ScriptedServer) -> None:
    scripted.will(OK)
    limits = dream.Limits(part_size=64 << 20)
    async with scripted.session(retry=dream.Retry(attempts=1), timeouts=IMPATIENT, limits=limits) as session:
        scripted.stop_reading()
        with pytest.raises(dream.ConnectionFailedError, match=r"took no byte of a body for 0\.5 s"):
            await session.object("s3://bucket/a").put(bytes(64 << 20))


async def test_a_service_may_think_longer_than_it_may_take_to_receive(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200, headers=OK.headers, delay=0.5))
    timeouts = dream.Timeouts(read=30, write=0.2)
    async with scripted.session(timeouts=timeouts, retry=dream.Retry(attempts=1)) as session:
        await session.object("s3://bucket/a").put(b"a")


async def test_retry_after_is_honoured_up_to_the_cap(scripted: ScriptedServer) -> None:
    scripted.will(error(503, "SlowDown", Retry_After="3600"), OK)
    async with scripted.session(retry=dream.Retry(attempts=2, base=0.001, cap=0.2)) as session:
        started = time.monotonic()
        await session.object("s3://bucket/a").put(b"a")
        assert time.monotonic() - started >= 0.2  # a lower bound: no machine is too slow for it


async def test_retry_after_may_be_a_date(scripted: ScriptedServer) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    scripted.will(error(503, "SlowDown", Retry_After=date), OK)
    async with scripted.session(retry=dream.Retry(attempts=2, base=0.001, cap=0.2)) as session:
        started = time.monotonic()
        await session.object("s3://bucket/a").put(b"a")
        assert time.monotonic() - started >= 0.2


async def test_a_dead_service_is_not_hammered(scripted: ScriptedServer) -> None:
    scripted.will(error(500, "InternalError"))
    async with scripted.session() as session:
        for _ in range(50):
            with pytest.raises(dream.ServiceBusyError):
                await session.object("s3://bucket/a").put(b"a")
        with pytest.raises(dream.ServiceBusyError) as caught:
            await session.object("s3://bucket/a").put(b"a")
    # 500 tokens at 5 a retry: 100 retries, then one attempt for each request.
    assert len(scripted.received) == 100 + 51
    assert any("too many requests of this session failed" in note for note in caught.value.__notes__)


async def test_throttling_does_not_use_up_the_budget(scripted: ScriptedServer) -> None:
    scripted.will(error(503, "SlowDown"))
    async with scripted.session() as session:
        for _ in range(40):
            with pytest.raises(dream.ServiceBusyError):
                await session.object("s3://bucket/a").put(b"a")
    assert len(scripted.received) == 40 * 4


async def test_a_wrong_clock_is_corrected_once(scripted: ScriptedServer) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=3)
    scripted.will(error(403, "RequestTimeTooSkewed", Date=format_datetime(ahead, usegmt=True)), OK)
    async with scripted.session() as session:
        await session.object("s3://bucket/a").put(b"a")
        url = session.object("s3://bucket/a").presign_get()
    first, second = (request.headers["x-amz-date"] for request in scripted.received)
    assert _moment(second) - _moment(first) > timedelta(hours=2, minutes=59)
    assert f"X-Amz-Date={ahead:%Y%m%dT%H}" in url


async def test_a_clock_that_stays_wrong_is_an_error_with_the_skew(scripted: ScriptedServer) -> None:
    behind = datetime.now(UTC) - timedelta(hours=1)
    scripted.will(error(403, "RequestTimeTooSkewed", Date=format_datetime(behind, usegmt=True)))
    async with scripted.session() as session:
        with pytest.raises(dream.AccessDeniedError, match=r"clock is (36\d\d|3599) s behind this machine's"):
            await session.object("s3://bucket/a").put(b"a")
    assert len(scripted.received) == 2


async def test_a_lost_reply_to_a_creation_counts_as_success(scripted: ScriptedServer) -> None:
    scripted.will(Reply(404), Raw(), error(409, "BucketAlreadyOwnedByYou"))
    async with scripted.session() as session:
        await session.create_bucket("bucket")
    scripted.will(Raw(), error(404, "NoSuchBucket"))
    async with scripted.session() as session:
        await session.bucket("bucket").delete()


async def test_a_refused_attempt_is_no_lost_reply(scripted: ScriptedServer) -> None:
    async with scripted.session() as session:
        scripted.will(error(503, "SlowDown"), error(404, "NoSuchBucket"))
        with pytest.raises(dream.NotFoundError):
            await session.bucket("bucket").delete()
        scripted.will(Reply(404), error(503, "SlowDown"), error(409, "BucketAlreadyOwnedByYou"))
        with pytest.raises(dream.AlreadyExistsError):
            await session.create_bucket("bucket")
        scripted.will(error(503, "SlowDown"), error(412, "PreconditionFailed"))
        with pytest.raises(dream.AlreadyExistsError) as caught:
            await session.object("s3://bucket/a").put(b"a", if_absent=True)
        assert "earlier attempt" not in str(caught.value)


async def test_a_request_that_never_left_is_no_lost_reply() -> None:
    """The port is closed for the first attempt and open for the second."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    retry = dream.Retry(attempts=20, base=0.1, cap=0.1)
    async with dream.Session(endpoint=endpoint, access_key="a", secret_key="b", retry=retry) as session:
        deleting = asyncio.create_task(session.bucket("bucket").delete())
        while session.statistics().retries < 1:
            await asyncio.sleep(0)
        async with ScriptedServer(port=port) as late:
            late.will(error(404, "NoSuchBucket"))
            with pytest.raises(dream.NotFoundError):
                await deleting


async def test_a_wrong_clock_is_noticed_in_a_head_too(scripted: ScriptedServer) -> None:
    ahead = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    async with scripted.session() as session:
        scripted.will(Reply(403, headers={"Date": ahead}), Reply(200))
        assert await session.object("s3://bucket/a").exists()
    async with scripted.session() as session:
        scripted.will(Reply(403, headers={"Date": ahead}))
        with pytest.raises(dream.AccessDeniedError):
            await session.object("s3://bucket/a").head()
        assert len(scripted.received) == 2
        with pytest.raises(dream.AccessDeniedError) as caught:  # the clock is right by now: it is simply denied
            await session.object("s3://bucket/a").head()
        assert (len(scripted.received), caught.value.code) == (3, "AccessDenied")


async def test_a_caller_that_gives_up_leaves_no_gap(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200))
    async with scripted.session(limits=dream.Limits(requests_per_second=0.5)) as session:
        obj = session.object("s3://bucket/a")
        await obj.head()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(obj.head(), 0.001)
        await asyncio.wait_for(obj.head(), 10)


async def test_a_conflict_of_conditional_puts_is_a_refused_condition(scripted: ScriptedServer) -> None:
    scripted.will(error(409, "ConditionalRequestConflict"))
    async with scripted.session() as session:
        with pytest.raises(dream.AlreadyExistsError):
            await session.object("s3://bucket/a").put(b"a", if_absent=True)
        with pytest.raises(dream.PreconditionFailedError):
            await session.object("s3://bucket/a").put(b"a", if_match="b")


async def test_a_lost_reply_to_a_conditional_put_is_told_as_doubt(scripted: ScriptedServer) -> None:
    scripted.will(Raw(), error(412, "PreconditionFailed"))
    async with scripted.session() as session:
        with pytest.raises(dream.AlreadyExistsError, match="an earlier attempt of this call"):
            await session.object("s3://bucket/a").put(b"a", if_absent=True)


async def test_requests_in_flight_are_bounded_and_the_wait_can_be(scripted: ScriptedServer) -> None:
    scripted.will(Silence())
    limits, timeouts = dream.Limits(requests=1), dream.Timeouts(read=30, pool=0.05)
    async with scripted.session(limits=limits, timeouts=timeouts) as session, asyncio.TaskGroup() as group:
        first = group.create_task(session.object("s3://bucket/a").head())
        await scripted.arrived.wait()
        with pytest.raises(dream.ConnectionFailedError, match=r"Timeouts\.pool=0\.05 s: Limits\.requests=1"):
            await session.object("s3://bucket/b").head()
        first.cancel()
    assert scripted.requests == ["HEAD /bucket/a"]


async def test_requests_per_second_spreads_requests(scripted: ScriptedServer) -> None:
    scripted.will(Reply(200))
    async with scripted.session(limits=dream.Limits(requests_per_second=50)) as session:
        started = time.monotonic()
        await asyncio.gather(*(session.object(f"s3://bucket/{n}").head() for n in range(11)))
        assert time.monotonic() - started >= 0.2  # ten intervals of 20 ms


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
