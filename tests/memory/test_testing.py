"""What users test with: a service in memory, what it can be told to do wrong, and the fixture in a project of theirs."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import aiodreamobjects as dream
from aiodreamobjects._models import Address, ByteRange
from aiodreamobjects._s3.options import ReadOptions, WriteOptions
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._s3.values import Part
from aiodreamobjects.testing import MemoryService, Request, Verb

FIVE_MIB = bytes(5 << 20)
LARGE = bytes(range(256)) * 4096
ANYHOW = WriteOptions()


@pytest.fixture
def s3(session: dream.Session) -> S3:
    """For requests that no public verb makes alone."""
    return session._runtime.s3_anywhere  # a fixture that runs on no loop


def verbs(memory: MemoryService) -> list[Verb]:
    return [request.verb for request in memory.requests]


# In a project of a user


def run_python(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "HOME": str(home),
        "AWS_PROFILE": "missing",
        "AWS_CA_BUNDLE": "/missing.pem",
        "DREAMOBJECTS_PROFILE": "missing",
        "DREAMOBJECTS_ENDPOINT_URL": "http://127.0.0.1:1",
        "DREAMOBJECTS_REGION": "nowhere",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=False
    )


PROJECT = """
import pytest

{preamble}
{mark}
@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_service_of_its_own(dreamobjects, turn):
    async with dreamobjects.session() as session:
        assert [bucket async for bucket in session.buckets()] == []
        bucket = await session.create_bucket("photos")
        fault = dreamobjects.fail("put_object", "SlowDown")
        await bucket.object("a").put("x")
        assert fault.fired == 1
        assert await bucket.object("a").read() == b"x"

def test_that_is_not_async(dreamobjects):
    assert dreamobjects.requests == ()
"""
ANYIO = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
LOOP_SCOPE = "asyncio_default_fixture_loop_scope=function"


@pytest.mark.parametrize(
    ("preamble", "mark", "options"),
    [
        pytest.param("", "@pytest.mark.asyncio", ["-p", "no:anyio", "-o", LOOP_SCOPE], id="pytest-asyncio"),
        pytest.param(ANYIO, "@pytest.mark.anyio", ["-p", "no:asyncio"], id="anyio"),
    ],
)
def test_a_project_has_the_fixture_by_importing_it(
    tmp_path: Path, preamble: str, mark: str, options: list[str]
) -> None:
    (tmp_path / "conftest.py").write_text("from aiodreamobjects.testing import dreamobjects\n")
    (tmp_path / "test_it.py").write_text(PROJECT.format(preamble=preamble, mark=mark))
    done = run_python("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *options, home=tmp_path)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_without_pytest_there_is_the_service_and_nothing_slow_is_imported(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import asyncio, sys

            sys.modules["pytest"] = None
            from aiodreamobjects import testing

            assert not hasattr(testing, "dreamobjects")
            assert "dreamobjects" not in testing.__all__

            async def main():
                async with testing.MemoryService().session() as session:
                    bucket = await session.create_bucket("photos")
                    await bucket.object("a").put("x")
                    await bucket.delete(force=True)

            asyncio.run(main())
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert not loaded & {"aioboto3", "aiobotocore", "aiohttp", "boto3", "botocore", "unittest"}, loaded
        """)
    )
    done = run_python("-W", "error", "program.py", home=tmp_path)
    assert done.returncode == 0, done.stderr


async def test_nothing_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, memory: MemoryService) -> None:
    monkeypatch.setenv("DREAMOBJECTS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("DREAMOBJECTS_REGION", "nowhere")
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", "half")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with memory.session() as session:
        assert session.service == memory.service
        assert session.service.region == "us-east-1"
        assert [bucket async for bucket in session.buckets()] == []


# Sessions and their ends


async def test_sessions_share_what_is_stored_and_services_share_nothing(memory: MemoryService) -> None:
    async with memory.session() as one, memory.session() as other, MemoryService().session() as stranger:
        await (await one.create_bucket("photos")).object("a").put("x")
        assert await other.object("s3://photos/a").read() == b"x"
        with pytest.raises(dream.NotFoundError):
            await stranger.object("s3://photos/a").read()
        assert other.statistics().bytes_received == 1
        assert other.statistics().bytes_sent == 0
    assert repr(memory) == "<MemoryService 'memory', 1 buckets>"


def test_one_event_loop_goes_on_where_another_ended(memory: MemoryService) -> None:
    async def put() -> None:
        async with memory.session() as session:
            await (await session.create_bucket("photos")).object("a").put("x")

    async def read() -> bytes:
        async with memory.session() as session:
            return await session.object("s3://photos/a").read()

    memory.delay("*", 0.001, times=None)
    asyncio.run(put())
    assert asyncio.run(read()) == b"x"


async def test_closing_ends_requests_and_bodies_under_way(memory: MemoryService) -> None:
    session = await memory.session().open()
    obj = (await session.create_bucket("photos")).object("a")
    await obj.put(LARGE)
    held = memory.delay("head_object", asyncio.Event())
    waiting = asyncio.create_task(obj.head())
    await asyncio.sleep(0.01)
    assert held.fired == 1
    async with obj.get() as body:
        await body.read(1)
        await session.aclose()
        with pytest.raises(dream.SessionClosedError):
            await waiting
        with pytest.raises(dream.SessionClosedError):
            await body.read(1 << 20)
    with pytest.raises(dream.SessionClosedError):
        await obj.head()


async def test_requests_take_places_and_let_others_run(memory: MemoryService) -> None:
    async with memory.session(limits=dream.Limits(requests=2)) as session:
        bucket = await session.create_bucket("photos")
        memory.forget_requests()
        may_go_on = asyncio.Event()
        memory.delay("put_object", may_go_on, times=None)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bucket.object(f"{number}").put("x")) for number in range(5)]
            await asyncio.sleep(0.01)
            assert len(memory.requests) == 2
            tasks[0].cancel()
            await asyncio.sleep(0.01)
            assert len(memory.requests) == 3
            may_go_on.set()
        assert [info.key async for info in bucket.list()] == ["1", "2", "3", "4"]


async def test_an_open_body_has_a_place_of_its_own(memory: MemoryService) -> None:
    settings = {"limits": dream.Limits(requests=1), "timeouts": dream.Timeouts(pool=0.01)}
    async with memory.session(**settings) as session:  # type: ignore[arg-type]  # each by its name
        bucket = await session.create_bucket("photos")
        await bucket.object("large").put(LARGE)
        await bucket.object("small").put("x")
        async with bucket.object("large").get() as body:
            await bucket.object("copy").put(await body.read(1000))
            with pytest.raises(dream.ConnectionFailedError, match="no place became free"):
                async with bucket.object("large").get():
                    pass
        async with bucket.object("small").get(), bucket.object("large").get() as body:
            assert await body.read() == LARGE


async def test_counters_count(session: dream.Session, bucket: dream.Bucket, memory: MemoryService) -> None:
    memory.fail("put_object", "InternalError", times=2)
    await bucket.object("a").put(LARGE)
    await bucket.object("a").read()
    seen = session.statistics()
    assert (seen.retries, seen.bytes_sent, seen.bytes_received) == (2, len(LARGE), len(LARGE))
    assert (seen.open_connections, seen.idle_connections) == (0, 0)
    assert verbs(memory) == ["put_object", "put_object", "put_object", "get_object"]


async def test_requests_are_spread_as_the_limit_says(memory: MemoryService) -> None:
    async with memory.session(limits=dream.Limits(requests_per_second=100)) as session:
        started = asyncio.get_running_loop().time()
        bucket = await session.create_bucket("photos")
        for _ in range(4):
            await bucket.exists()
        assert asyncio.get_running_loop().time() - started > 0.04


# What goes wrong


async def test_a_refusal_that_passes_is_tried_again(bucket: dream.Bucket, memory: MemoryService) -> None:
    fault = memory.fail("put_object", "SlowDown", times=2)
    await bucket.object("a").put("x")
    assert (fault.fired, fault.is_over) == (2, True)
    assert memory.requests == (Request("put_object", "photos", "a"),) * 3
    assert await bucket.object("a").read() == b"x"


async def test_a_refusal_for_ever_is_raised_after_the_last_attempt(memory: MemoryService) -> None:
    async with memory.session(retry=dream.Retry(attempts=3, base=0.001)) as session:
        bucket = await session.create_bucket("photos")
        fault = memory.fail("put_object", "SlowDown", times=None)
        with pytest.raises(dream.ServiceBusyError, match="as the test told it to") as caught:
            await bucket.object("a").put("x")
        assert (caught.value.code, caught.value.status, caught.value.retryable) == ("SlowDown", 503, True)
        assert caught.value.request_id is not None
        assert caught.value.__notes__ == ["after 3 attempts"]
        assert (fault.fired, fault.is_over) == (3, False)
        fault.stop()
        await bucket.object("a").put("x")
        assert (fault.fired, fault.is_over) == (3, True)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", None, dream.AccessDeniedError),
        ("NoSuchBucket", None, dream.NotFoundError),
        ("InvalidArgument", None, dream.InvalidRequestError),
        ("PreconditionFailed", None, dream.PreconditionFailedError),
        ("NotImplemented", None, dream.UnsupportedByServiceError),
        ("CapExceeded", 403, dream.AccessDeniedError),
    ],
)
async def test_a_code_has_its_class(
    bucket: dream.Bucket, memory: MemoryService, code: str, status: int | None, kind: type[dream.ServiceError]
) -> None:
    memory.fail("get_object", code, status=status)
    with pytest.raises(kind) as caught:
        await bucket.object("a").read()
    assert caught.value.code == code
    assert len(memory.requests) == 1


async def test_the_reply_to_a_head_tells_no_code(bucket: dream.Bucket, memory: MemoryService) -> None:
    memory.fail("head_object", "InvalidAccessKeyId")
    with pytest.raises(dream.AccessDeniedError) as caught:
        await bucket.object("a").head()
    assert (caught.value.code, caught.value.status) == ("AccessDenied", 403)


async def test_a_fault_is_for_the_names_it_was_told(session: dream.Session, memory: MemoryService) -> None:
    photos, other = await session.create_bucket("photos"), await session.create_bucket("other")
    by_pattern = memory.fail("put_object", "AccessDenied", key="2026/*.jpg", times=None)
    by_bucket = memory.fail("put_object", "AccessDenied", bucket="oth*", times=None)
    exact = memory.fail("put_object", "AccessDenied", key="[a]*.txt", times=None)
    for allowed in (photos.object("2025/a.jpg"), photos.object("2026/a.png"), photos.object("A.txt")):
        await allowed.put("x")
    for denied in (photos.object("2026/a.jpg"), photos.object("[a]*.txt"), photos.object("ab.txt"), other.object("a")):
        with pytest.raises(dream.AccessDeniedError):
            await denied.put("x")
    assert (by_pattern.fired, by_bucket.fired, exact.fired) == (1, 1, 2)
    assert repr(exact) == "<Fault put_object, key='[a]*.txt': Refuse(status=403, code='AccessDenied'), fired 2>"


async def test_prefixes_and_settings_are_keys_too(bucket: dream.Bucket, memory: MemoryService) -> None:
    memory.fail("list_objects", "AccessDenied", key="secret/", times=None)
    memory.fail("get_setting", "AccessDenied", key="policy", times=None)
    assert await bucket.list().collect() == []
    assert await bucket.cors() == []
    with pytest.raises(dream.AccessDeniedError):
        await bucket.list("secret/").collect()
    with pytest.raises(dream.AccessDeniedError, match="get_bucket_policy s3://photos"):
        await bucket.policy()


async def test_everything_fails_until_it_is_stopped(bucket: dream.Bucket, memory: MemoryService) -> None:
    outage = memory.fail("*", "AccessDenied", times=None)
    for verb in (bucket.exists(), bucket.object("a").read(), bucket.list().collect()):
        with pytest.raises(dream.AccessDeniedError):
            await verb
    memory.stop_faults()
    assert await bucket.exists()
    assert outage.fired == 3


async def test_single_keys_of_a_bulk_verb_fail(bucket: dream.Bucket, memory: MemoryService) -> None:
    for key in ("a", "b1", "b2", "c"):
        await bucket.object(key).put("x")
    fault = memory.fail("delete_objects", "AccessDenied", key="b*", times=None)
    passing = memory.fail("delete_objects", "InternalError", key="c")
    report = await bucket.delete_many(["a", "b1", "b2", "c"], on_error="collect")
    assert (report.done, report.failed) == (2, 2)
    assert [(failure.key, type(failure.error)) for failure in report.failures] == [
        ("b1", dream.AccessDeniedError),
        ("b2", dream.AccessDeniedError),
    ]
    assert (fault.fired, passing.fired) == (2, 1)
    assert [info.key async for info in bucket.list()] == ["b1", "b2"]
    whole = memory.fail("delete_objects", "AccessDenied")
    with pytest.raises(dream.AccessDeniedError):
        await bucket.delete_many(["b1"])
    assert whole.fired == 1


async def test_a_broken_connection_did_nothing(bucket: dream.Bucket, memory: MemoryService) -> None:
    fault = memory.break_connection("put_object", times=2)
    await bucket.object("a").put("x", if_absent=True)
    assert fault.fired == 2
    memory.break_connection("put_object", times=None)
    with pytest.raises(dream.ConnectionFailedError, match="put_object s3://photos/b: the connection broke") as caught:
        await bucket.object("b").put("x")
    assert caught.value.__notes__ == ["after 8 attempts"]
    assert not await bucket.object("b").exists()


async def test_a_lost_reply_leaves_doubt(session: dream.Session, bucket: dream.Bucket, memory: MemoryService) -> None:
    memory.lose_reply("put_object")
    with pytest.raises(dream.AlreadyExistsError, match="may have caused this: its reply was lost"):
        await bucket.object("once").put("x", if_absent=True)
    assert await bucket.object("once").read() == b"x"
    memory.lose_reply("put_object", times=None)
    with pytest.raises(dream.ConnectionFailedError, match="before the reply"):
        await bucket.object("twice").put("x")
    memory.lose_reply("get_object")
    with pytest.raises(dream.NotFoundError):
        await bucket.object("missing").read()
    assert await bucket.object("twice").read() == b"x"
    memory.lose_reply("create_bucket")
    memory.lose_reply("delete_bucket")
    other = await session.create_bucket("other")
    await other.delete()
    assert not await other.exists()


async def test_a_body_that_is_cut_is_taken_up_again(bucket: dream.Bucket, memory: MemoryService) -> None:
    obj = bucket.object("a")
    await obj.put(LARGE)
    fault = memory.cut_body(400_000, times=None)
    memory.forget_requests()
    assert await obj.read() == LARGE
    assert (fault.fired, verbs(memory)) == (2, ["get_object"] * 3)
    assert await obj.read((0, 400_000)) == LARGE[:400_000]
    assert fault.fired == 2


async def test_a_small_body_is_cut_as_well(bucket: dream.Bucket, memory: MemoryService) -> None:
    obj = bucket.object("a")
    await obj.put("0123456789")
    fault = memory.cut_body(3)
    assert await obj.read() == b"0123456789"
    assert fault.fired == 1
    memory.cut_body(0, key="a", times=None)
    with pytest.raises(dream.IncompleteBodyError, match="after 0 of 10 bytes"):
        await obj.read()


async def test_an_object_that_changes_while_it_is_read_is_noticed(bucket: dream.Bucket, memory: MemoryService) -> None:
    obj = bucket.object("a")
    await obj.put(LARGE)
    memory.cut_body(1000)
    async with obj.get() as body:
        assert await body.read(1000) == LARGE[:1000]
        await obj.put(LARGE[::-1])
        with pytest.raises(dream.ObjectChangedError):
            await body.read()


async def test_delays_add_up_and_end_at_the_timeout(memory: MemoryService) -> None:
    async with memory.session(timeouts=dream.Timeouts(read=0.2), retry=dream.Retry(attempts=1)) as session:
        bucket = await session.create_bucket("photos")
        first, second = memory.delay("put_object", 0.03), memory.delay("put_object", 0.03)
        started = asyncio.get_running_loop().time()
        await bucket.object("a").put("x")
        assert asyncio.get_running_loop().time() - started >= 0.06
        assert (first.fired, second.fired) == (1, 1)
        memory.delay("put_object", 5)
        with pytest.raises(dream.ConnectionFailedError, match=r"memory was silent for 0\.2 s"):
            await bucket.object("b").put("x")
        assert not await bucket.object("b").exists()


async def test_several_faults_strike_in_their_order(bucket: dream.Bucket, memory: MemoryService) -> None:
    lost = memory.lose_reply("put_object")
    refused, refused_later = memory.fail("put_object", "SlowDown"), memory.fail("put_object", "AccessDenied")
    broken = memory.break_connection("put_object")
    obj = bucket.object("a")
    with pytest.raises(dream.AccessDeniedError):
        await obj.put("x")
    assert (broken.fired, refused.fired, refused_later.fired, lost.fired) == (1, 1, 1, 0)
    await obj.put("x")
    assert lost.fired == 1
    assert verbs(memory) == ["put_object"] * 5


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda memory: memory.fail("upload", "SlowDown"), "verb 'upload' is none of"),
        (lambda memory: memory.fail("put_object", "MyOwn"), "status of 'MyOwn' is not known"),
        (lambda memory: memory.fail("put_object", "SlowDown", times=0), "times 0 must be"),
        (lambda memory: memory.lose_reply("put_object", times=True), "times True must be"),
        (lambda memory: memory.break_connection("put_object", times="2"), "times '2' must be"),
        (lambda memory: memory.cut_body(-1), "after_bytes -1 must be"),
        (lambda memory: memory.delay("put_object", -1), "by -1 must be"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(tell: Callable[[MemoryService], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tell(MemoryService())


async def test_requests_are_kept_up_to_a_number(bucket: dream.Bucket, memory: MemoryService) -> None:
    for _ in range(10_001):
        await bucket.exists()
    assert len(memory.requests) == 10_000


# What it is taken for


async def test_it_can_be_taken_for_another_service() -> None:
    memory = MemoryService(service=dream.US_EAST_5)
    async with memory.session() as session:
        with pytest.raises(ValueError, match="6 to 63"):
            session.bucket("short")
        bucket = await session.create_bucket("photos-2026")
        obj = bucket.object("a.jpg")
        await obj.put("x", acl="private")
        assert obj.url() == "https://s3.us-east-005.dream.io/photos-2026/a.jpg"
        acl = dream.Acl((await bucket.acl()).owner, ())
        for refused in (
            obj.set_acl("public-read"),
            obj.put("x", acl="public-read"),
            obj.tags(),
            obj.set_tags({}),
            bucket.set_acl(acl),
            bucket.set_policy({"Statement": []}),
            bucket.set_website({"IndexDocument": {"Suffix": "index.html"}}),
        ):
            with pytest.raises(dream.UnsupportedByServiceError, match="NotImplemented"):
                await refused
        with pytest.raises(dream.UnsupportedByServiceError, match=r"bucket\.set_acl"):
            await obj.set_acl("public-read")
        await bucket.set_acl("public-read")
        assert (await obj.acl()).canned == "public-read"


async def test_urls_are_signed_and_lead_nowhere(bucket: dream.Bucket) -> None:
    obj = bucket.object("a b.txt")
    assert obj.url() == "https://memory.invalid/photos/a%20b.txt"
    assert obj.presign_get().startswith("https://memory.invalid/photos/a%20b.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "AWSAccessKeyId=memory" in obj.presign_get(signature="v2")
    assert obj.presign_post().url == "https://memory.invalid/photos"


async def test_the_boto_client_asks_the_same_service(session: dream.Session, bucket: dream.Bucket) -> None:
    client = await session.boto_client()
    await client.put_object(Bucket=bucket.name, Key="a", Body=b"content")
    assert await bucket.object("a").read() == b"content"
    async with (await client.get_object(Bucket=bucket.name, Key="a"))["Body"] as body:
        assert await body.read() == b"content"


# S3's rules, beyond what the contract's tests ask of every service


async def test_versioning_that_is_suspended_writes_over_one_version(bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    await obj.put("before")
    await bucket.set_versioning("Enabled")
    enabled = await obj.put("enabled")
    await bucket.set_versioning("Suspended")
    for content in ("one", "two"):
        assert (await obj.put(content)).version_id is None
    assert [info.version_id async for info in bucket.list_versions()] == ["null", enabled.version_id]
    await obj.delete()
    marker, kept = await bucket.list_versions().collect()
    assert (marker.version_id, marker.is_delete_marker, kept.version_id) == ("null", True, enabled.version_id)
    async with obj.get(version_id=enabled.version_id) as body:
        assert await body.read() == b"enabled"
    with pytest.raises(dream.NotFoundError, match="delete marker") as caught:
        async with obj.get(version_id="null"):
            pass
    assert caught.value.code == "MethodNotAllowed"
    with pytest.raises(dream.NotFoundError, match="NoSuchVersion"):
        async with obj.get(version_id="unknown"):
            pass


async def test_a_write_pinned_to_what_is_missing_finds_nothing(bucket: dream.Bucket) -> None:
    with pytest.raises(dream.NotFoundError):
        await bucket.object("a").put("x", if_match="0" * 32)


async def test_an_etag_is_one_with_quotes_and_without(bucket: dream.Bucket) -> None:
    etag = (await bucket.object("a").put("x")).etag
    for same in (etag, f'"{etag}"', "*"):
        async with bucket.object("a").get(if_match=same) as body:
            assert await body.read() == b"x"
    await bucket.object("a").put("y", if_match=f'"{etag}"')


async def test_limits_of_metadata_tags_and_acls_are_kept(bucket: dream.Bucket) -> None:
    obj = bucket.object("a")
    with pytest.raises(dream.InvalidRequestError, match="MetadataTooLarge"):
        await obj.put("x", metadata={"a": "x" * 2048})
    with pytest.raises(dream.InvalidRequestError, match="InvalidArgument"):
        await obj.put("x", acl="aws-exec-read")
    assert not await obj.exists()
    await obj.put("x")
    for tags in ({str(number): "" for number in range(11)}, {"": "x"}, {"a": "x" * 257}):
        with pytest.raises(dream.InvalidRequestError):
            await obj.set_tags(tags)
    owner = (await obj.acl()).owner
    with pytest.raises(dream.AccessDeniedError):
        await obj.set_acl(dream.Acl("somebody", ()))
    with pytest.raises(dream.InvalidRequestError, match="UnresolvableGrantByEmailAddress"):
        await obj.set_acl(dream.Acl(owner, (dream.Grant("READ", email="a@b.example"),)))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"AllowedOrigins": ["*"]}], 'Missing required parameter .*"AllowedMethods"'),
        ([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "Max": 1}], 'Unknown parameter .*"Max"'),
        ([{"AllowedMethods": "GET", "AllowedOrigins": ["*"]}], "Invalid type .*AllowedMethods, value: GET"),
        ([{"AllowedMethods": [1], "AllowedOrigins": ["*"]}], r"Invalid type .*AllowedMethods\[0\], value: 1"),
    ],
)
async def test_a_document_has_the_shape_of_its_type(bucket: dream.Bucket, rules: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await bucket.set_cors(rules)  # type: ignore[arg-type]  # that is the point


async def test_documents_are_the_services_own(bucket: dream.Bucket) -> None:
    rules: list[dream.LifecycleRule] = [{"Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 1}}]
    await bucket.set_lifecycle(rules)
    rules[0]["Status"] = "Disabled"
    (await bucket.lifecycle())[0]["Status"] = "Disabled"
    assert (await bucket.lifecycle())[0]["Status"] == "Enabled"
    with pytest.raises(ValueError, match="MalformedXML"):
        await bucket.set_lifecycle([{"Status": "On"}])  # type: ignore[typeddict-item]  # that is the point
    with pytest.raises(ValueError, match="the value of the tag 'a' 1 must be a str, not int"):
        await bucket.set_tags({"a": 1})  # type: ignore[dict-item]  # that is the point
    for refused in (bucket.set_lifecycle([]), bucket.set_policy({})):
        with pytest.raises(dream.InvalidRequestError, match="Malformed"):
            await refused


async def test_a_completed_upload_is_an_object_and_no_upload(s3: S3, bucket: dream.Bucket) -> None:
    address = Address(bucket.name, "large")
    upload = (await s3.create_upload(address, WriteOptions(content_type="text/x", acl="public-read"))).upload_id
    put = [await s3.put_part(address, upload, number, body) for number, body in ((2, b"end"), (1, FIVE_MIB))]
    parts = sorted(put, key=lambda part: part.number)
    done = await s3.complete_upload(address, upload, parts, WriteOptions(if_absent=True))
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    assert done.etag == f"{hashlib.md5(digests).hexdigest()}-2"
    info = await bucket.object("large").head()
    assert (info.etag, info.size, info.content_type) == (done.etag, (5 << 20) + 3, "text/x")
    assert (await bucket.object("large").acl()).canned == "public-read"
    with pytest.raises(dream.NotFoundError, match="NoSuchUpload"):
        await s3.complete_upload(address, upload, parts, ANYHOW)


async def test_a_completion_whose_reply_is_lost_leaves_doubt(
    s3: S3, bucket: dream.Bucket, memory: MemoryService
) -> None:
    address = Address(bucket.name, "a")
    upload = (await s3.create_upload(address, WriteOptions())).upload_id
    part = await s3.put_part(address, upload, 1, b"x")
    memory.lose_reply("complete_upload")
    with pytest.raises(dream.NotFoundError, match="may have caused this: its reply was lost"):
        await s3.complete_upload(address, upload, [part], ANYHOW)
    assert await bucket.object("a").read() == b"x"


async def test_parts_that_make_no_object_are_refused(s3: S3, bucket: dream.Bucket) -> None:
    address = Address(bucket.name, "a")
    upload = (await s3.create_upload(address, WriteOptions())).upload_id
    first, second = [await s3.put_part(address, upload, number, b"small") for number in (1, 2)]
    for parts, code in (
        ([], "MalformedXML"),
        ([second, first], "InvalidPartOrder"),
        ([first, first], "InvalidPartOrder"),
        ([first, Part(3, first.etag)], "InvalidPart"),
        ([Part(1, "0" * 32)], "InvalidPart"),
        ([first, second], "EntityTooSmall"),
    ):
        with pytest.raises(dream.InvalidRequestError, match=code):
            await s3.complete_upload(address, upload, parts, ANYHOW)
    for number in (0, 10_001):
        with pytest.raises(dream.InvalidRequestError, match="between 1 and 10000"):
            await s3.put_part(address, upload, number, b"")
    await bucket.object("a").put("x")
    with pytest.raises(dream.AlreadyExistsError):
        await s3.complete_upload(address, upload, [first], WriteOptions(if_absent=True))
    await s3.abort_upload(address, upload)
    for gone in (s3.abort_upload(address, upload), s3.list_parts(address, upload)):
        with pytest.raises(dream.NotFoundError, match="NoSuchUpload"):
            await gone


async def test_more_parts_and_uploads_than_a_page_holds_are_listed(s3: S3, bucket: dream.Bucket) -> None:
    address = Address(bucket.name, "a")
    upload = (await s3.create_upload(address, WriteOptions())).upload_id
    for number in range(1, 1003):
        await s3.put_part(address, upload, number, b"")
        await s3.create_upload(address, WriteOptions())
    first = await s3.list_parts(address, upload)
    rest = await s3.list_parts(address, upload, first.next)
    assert [part.number for part in (*first.items, *rest.items)] == list(range(1, 1003))
    assert rest.next is None
    assert len({found.upload_id async for found in bucket.uploads()}) == 1003


async def test_a_copy_carries_what_it_is_not_told_to_replace(s3: S3, bucket: dream.Bucket) -> None:
    source, to = Address(bucket.name, "a"), Address(bucket.name, "b")
    put = await bucket.object("a").put("x", content_type="text/x", metadata={"by": "me"}, acl="public-read")
    await bucket.object("a").set_tags({"kind": "test"})
    copied = await s3.copy_object(source, to, ANYHOW, reads=ReadOptions(if_match=put.etag))
    info = await bucket.object("b").head()
    assert (copied.etag, info.content_type, info.metadata) == (put.etag, "text/x", {"by": "me"})
    assert await bucket.object("b").tags() == {"kind": "test"}
    assert (await bucket.object("b").acl()).canned == "private"
    await s3.copy_object(source, source, WriteOptions(metadata={"By": "you"}))
    info = await bucket.object("a").head()
    assert (info.content_type, info.metadata) == ("binary/octet-stream", {"by": "you"})


async def test_copies_are_refused_as_writes_and_reads_are(s3: S3, bucket: dream.Bucket) -> None:
    source, to = Address(bucket.name, "a"), Address(bucket.name, "b")
    with pytest.raises(dream.NotFoundError):
        await s3.copy_object(source, to, ANYHOW)
    for key in ("a", "b"):
        await bucket.object(key).put(key)
    with pytest.raises(dream.InvalidRequestError, match="onto itself"):
        await s3.copy_object(source, source, ANYHOW)
    with pytest.raises(dream.AlreadyExistsError):
        await s3.copy_object(source, to, WriteOptions(if_absent=True))
    for conditions in (ANYHOW, WriteOptions(if_absent=True)):
        with pytest.raises(dream.PreconditionFailedError):
            await s3.copy_object(source, to, conditions, reads=ReadOptions(if_match="0" * 32))
    assert await bucket.object("b").read() == b"b"


async def test_parts_are_copied_from_objects(s3: S3, bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    source, to = Address(bucket.name, "a"), Address(bucket.name, "b")
    old = await bucket.object("a").put("0123456789")
    await bucket.object("a").put("new")
    upload = (await s3.create_upload(to, WriteOptions())).upload_id
    part = await s3.copy_part(source, to, upload, 1, ByteRange(2, 5), reads=ReadOptions(version_id=old.version_id))
    assert (part.etag, part.size) == (hashlib.md5(b"234").hexdigest(), None)
    for byte_range in (ByteRange(2, 11), ByteRange(2, None)):
        with pytest.raises(dream.InvalidRequestError):
            await s3.copy_part(source, to, upload, 1, byte_range)
    with pytest.raises(dream.PreconditionFailedError):
        await s3.copy_part(source, to, upload, 1, None, reads=ReadOptions(if_match=old.etag))
    await s3.complete_upload(to, upload, [await s3.copy_part(source, to, upload, 1, None)], ANYHOW)
    assert await bucket.object("b").read() == b"new"


async def test_a_directory_goes_on_behind_its_prefixes(s3: S3, bucket: dream.Bucket) -> None:
    for key in ("a", "a-b", "a/1", "a/2", "b/", "c"):
        await bucket.object(key).put("x")
    found, cursor, pages = [], None, 0
    while cursor or not pages:
        page = await s3.list_objects(bucket.name, prefix="", delimiter="/", cursor=cursor, max_keys=1)
        found += [item.key if isinstance(item, dream.ObjectInfo) else item.prefix for item in page.items]
        cursor, pages = page.next, pages + 1
    assert found == ["a", "a-b", "a/", "b/", "c"]
    assert pages == 5
    nothing = await s3.list_objects(bucket.name, prefix="", max_keys=0)
    assert (nothing.items, nothing.next) == ([], None)
    behind = await s3.list_objects(bucket.name, prefix="", delimiter="/", start_after="a/1")
    assert len(behind.items) == 2


async def test_a_hidden_object_is_no_directory(bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    for key in ("a/1", "a/2", "b/1"):
        await bucket.object(key).put("x")
    await bucket.delete_many(["a/1", "b/1"])
    assert await bucket.list_dir().collect() == [dream.CommonPrefix("photos", "a/")]


async def test_a_bulk_request_has_one_to_a_thousand_keys(s3: S3, bucket: dream.Bucket) -> None:
    with pytest.raises(dream.InvalidRequestError, match="MalformedXML"):
        await s3.delete_objects(bucket.name, [])


async def test_a_range_of_nothing_is_refused(s3: S3, bucket: dream.Bucket) -> None:
    await bucket.object("empty").put(b"")
    with pytest.raises(dream.InvalidRequestError) as caught:
        await bucket.object("empty").read((0, None))
    assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
    body = await s3.get_object(Address(bucket.name, "empty"), None, ReadOptions(), streamed=False)
    assert (body.content, body.length, await body.read_chunk()) == (b"", 0, b"")
    await body.aclose()
