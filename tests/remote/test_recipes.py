"""What can be sent to another process, and what it is there."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aioboto3
import pytest
from conftest import Server, new_name

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

T = TypeVar("T")
SECRET = "not-to-be-seen"
ERRORS = [
    value
    for value in [getattr(dream, name) for name in dream.__all__]
    if inspect.isclass(value) and issubclass(value, dream.DreamObjectsError) and value is not dream.BulkError
]


def session(**settings: object) -> dream.Session:
    given: dict[str, object] = {"access_key": "KEY", "secret_key": SECRET, "endpoint": "http://127.0.0.1:1"}
    return dream.Session(**{**given, **settings})  # type: ignore[arg-type]  # each by its name


def through_pickle(value: T) -> T:
    copy: T = pickle.loads(pickle.dumps(value))
    return copy


def test_a_recipe_has_the_settings_and_hides_the_keys() -> None:
    limits, timeouts, retry = dream.Limits(requests=3), dream.Timeouts(read=7), dream.Retry(attempts=2)
    made = session(limits=limits, timeouts=timeouts, retry=retry, ca=Path("ca.pem"), close_grace=3.0)
    recipe = through_pickle(made.recipe())
    assert recipe == made.recipe()
    assert hash(recipe) == hash(made.recipe())
    assert (recipe.limits, recipe.timeouts, recipe.retry) == (limits, timeouts, retry)
    assert (recipe.ca, recipe.close_grace, recipe.service) == ("ca.pem", 3.0, made.service)
    assert recipe.credentials is not None
    assert recipe.credentials.secret_key == SECRET
    assert SECRET not in repr(recipe)


def test_keys_travel_only_if_they_were_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("DREAMOBJECTS_SECRET_ACCESS_KEY", SECRET)
    found = dream.Session(endpoint="http://127.0.0.1:1").recipe()
    assert found.credentials is None
    assert SECRET.encode() not in pickle.dumps(found)
    assert dream.Session("work", endpoint="http://127.0.0.1:1").recipe().profile == "work"
    assert dream.Session(anonymous=True, endpoint="http://127.0.0.1:1").recipe().anonymous


def test_what_all_sessions_share_can_be_divided() -> None:
    limits = dream.Limits(requests=8, memory=100, requests_per_second=30, upload_bytes_per_second=3000)
    divided = session(limits=limits).recipe().divided(3)
    assert divided.limits == dream.Limits(requests=8, memory=33, requests_per_second=10, upload_bytes_per_second=1000)
    with pytest.raises(ValueError, match="n must be a whole number"):
        divided.divided(0)


def test_a_session_that_no_other_process_can_open_has_no_recipe() -> None:
    with pytest.raises(TypeError, match="boto_session"):
        session(access_key=None, secret_key=None, boto_session=aioboto3.Session()).recipe()
    with pytest.raises(TypeError, match=r"service\.serve\(\)"):
        MemoryService().session().recipe()


async def test_an_unpickled_bucket_and_object_wait_for_a_session(memory_served: Server) -> None:
    async with memory_served.session() as here:
        made = await here.create_bucket(new_name())
        bucket, cat = through_pickle((made, made.object("cat")))
        for call in (bucket.info, cat.read):
            with pytest.raises(dream.SessionClosedError, match=r"session\.bind\(it\)"):
                await call()
        assert here.bind(cat) is cat
        await cat.put("miaow")
        assert await here.bind(bucket).object("cat").read_text() == "miaow"
        assert bucket == made
        assert await bucket.delete_many(["cat"]) == dream.BulkReport(1, 0)
    with pytest.raises(ValueError, match="belongs to"):
        session().bind(cat)
    with pytest.raises(TypeError, match="a Bucket or an Object"):
        session().bind("cat")  # type: ignore[type-var]  # what the type checker refuses too


def test_what_belongs_to_an_open_session_cannot_be_pickled() -> None:
    made = session()
    bucket = made.bucket("photos")
    things = [made, bucket.list(), bucket.head_many([]), bucket.object("a").multipart("upload")]
    for thing in things:
        with pytest.raises(TypeError, match=r"session\.recipe\(\)"):
            pickle.dumps(thing)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_keeps_all_that_it_says(kind: Callable[..., dream.DreamObjectsError]) -> None:
    error = kind("what was wrong")
    for name, value in {"code": "SlowDown", "status": 503, "request_id": "7", "request_sent": False}.items():
        if hasattr(error, name):
            setattr(error, name, value)
    error.retryable = error.in_doubt = True
    error.add_note("how far it came")
    found = through_pickle(error)
    assert type(found) is kind
    assert (str(found), vars(found)) == (str(error), vars(error))
    assert found.__notes__ == ["how far it came"]
    assert getattr(found, "errno", None) == getattr(error, "errno", None)


def test_a_bulk_error_keeps_its_report() -> None:
    failure = dream.BulkFailure("a", None, dream.NotFoundError("no such key", code="NoSuchKey", status=404))
    error = dream.BulkError("1 failed", [failure.error], dream.TreeReport(3, 1, (failure,), copied=3))
    error.add_note("how far it came")
    error.in_doubt = True
    found = through_pickle(error)
    assert (found.in_doubt, found.__notes__, found.report.done) == (True, ["how far it came"], 3)
    assert isinstance(found.report, dream.TreeReport)
    assert repr(found.exceptions) == repr(error.exceptions)
