"""What an observer of a session's calls is told."""

from __future__ import annotations

import pytest
from servers.scripted import Content, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects._trace import CallEnded, CallFailed, CallStarted

Seen = list[CallStarted | CallFailed | CallEnded]


def observed(session: dream.Session) -> Seen:
    seen: Seen = []
    session._runtime.s3._caller.observe = seen.append
    return seen


async def test_an_observer_sees_each_failed_attempt_and_the_end(scripted: ScriptedServer) -> None:
    scripted.will(error(503, "SlowDown"), error(500, "InternalError"), Content(b"x", "opaque-1"))
    async with scripted.session() as session:
        seen = observed(session)
        await session.object("s3://bucket/key").read()
    started, first, second, ended = seen
    assert started == CallStarted(1, "get_object", "GET", "bucket", "key")
    assert isinstance(first, CallFailed)
    assert isinstance(second, CallFailed)
    assert [(failed.id, failed.attempt) for failed in (first, second)] == [(1, 1), (1, 2)]
    assert all(failed.wait is not None for failed in (first, second))
    assert [getattr(failed.error, "code", "") for failed in (first, second)] == ["SlowDown", "InternalError"]
    assert isinstance(ended, CallEnded)
    assert (ended.id, ended.operation, ended.error) == (1, "get_object", None)


async def test_an_observer_sees_the_error_that_is_raised(scripted: ScriptedServer) -> None:
    scripted.will(error(404, "NoSuchKey"))
    async with scripted.session() as session:
        seen = observed(session)
        with pytest.raises(dream.NotFoundError) as caught:
            await session.object("s3://bucket/key").read()
    _, failed, ended = seen
    assert isinstance(failed, CallFailed)
    assert failed.wait is None
    assert isinstance(ended, CallEnded)
    assert ended.error is failed.error is caught.value
