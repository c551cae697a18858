"""Each verb on each engine: what is done by workers is what would be done here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from hashlib import md5
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import Server, new_name
from remote_engines import WORKERS, cluster_here, cluster_of_commands, pool_of_loky, pool_of_processes
from remote_functions import content_and_process, fail, key_of_other

import aiodreamobjects as dream

IS_SOAK = bool(os.environ.get("SOAK"))
COUNT = 20_000 if IS_SOAK else 90
BATCH = 500 if IS_SOAK else 16
ENGINES = ("spawn", "fork", "forkserver", "loky", "dask here", "dask commands")

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of engines; and from Python 3.12, of fork beside threads
    pytest.mark.timeout(1200 if IS_SOAK else 120),
]


@pytest_asyncio.fixture(scope="module", params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Executor]:
    async with AsyncExitStack() as stack:
        if request.param == "loky":
            yield stack.enter_context(pool_of_loky())
        elif request.param == "dask here":
            yield await stack.enter_async_context(cluster_here())
        elif request.param == "dask commands":
            yield (await stack.enter_async_context(cluster_of_commands(tmp_path_factory.mktemp("dask"))))[0]
        else:
            yield stack.enter_context(pool_of_processes(request.param))


async def test_every_verb_does_in_workers_what_it_does_here(engine: Executor, rgw: Server, tmp_path: Path) -> None:
    contents = {f"{number % 7}/{number:05}": os.urandom(number % 300) for number in range(COUNT)}
    contents["large"] = os.urandom(600_000)
    source, target = tmp_path / "source", tmp_path / "target"
    for name, content in contents.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    total = sum(map(len, contents.values()))
    told: list[dream.Progress] = []
    boto = rgw.boto()
    async with rgw.session(limits=dream.Limits(requests=8)) as session:
        bucket, other = await session.create_bucket(new_name()), await session.create_bucket(new_name())
        found = await bucket.upload_tree(
            source,
            "a",
            executor=engine,
            batch=BATCH,
            progress=told.append,
            headers_for=lambda name: {"cache_control": name.replace("/", "-")},
        )
        assert (found.copied, found.copied_bytes, found.failed, found.unfinished) == (len(contents), total, 0, 0)
        assert found.workers >= WORKERS
        assert (told[-1].done_objects, told[-1].done_bytes) == (len(contents), total)
        assert etags_in(boto, bucket.name, "a/") == {
            name: md5(content).hexdigest() for name, content in contents.items()
        }
        assert boto.head_object(Bucket=bucket.name, Key="a/large")["CacheControl"] == "large"
        assert [path for path in source.rglob("*") if path.name.startswith(".")] == []

        again = await bucket.upload_tree(source, "a", executor=engine, batch=BATCH, compare="etag", delete=True)
        assert (again.copied, again.skipped, again.excluded) == (0, len(contents), 0)
        checked = await bucket.check_tree(source, "a", executor=engine, batch=BATCH, by="content")
        assert (checked.same, checked.differ, checked.missing, checked.extra) == (len(contents), (), (), ())
        assert (await bucket.copy_tree(other, "a", "b", executor=engine, batch=BATCH)).copied == len(contents)
        assert (await other.move_tree(bucket, "b", "c", executor=engine, batch=BATCH)).copied == len(contents)
        assert await other.list().collect() == []
        fetched = await bucket.download_tree(target, "c", executor=engine, batch=BATCH)
        assert (fetched.copied, fetched.copied_bytes) == (len(contents), total)
        assert {name: (target / name).read_bytes() for name in contents} == contents
        assert sorted(path.name for path in target.iterdir()) == sorted({name.split("/")[0] for name in contents})

        keys = [info.key async for info in bucket.list("a/0/")]
        assert (await bucket.set_acl_many(keys, "public-read", executor=engine, batch=BATCH)).done == len(keys)
        assert (await bucket.object(keys[-1]).acl()).canned == "public-read"
        changed = await bucket.set_headers_many(keys, content_language="de", executor=engine, batch=BATCH)
        assert changed.done == len(keys)
        assert boto.head_object(Bucket=bucket.name, Key=keys[0])["ContentLanguage"] == "de"
        pairs = [(key, f"copy/{key}") for key in [*keys, "a/missing"]]
        copied = await bucket.copy_many(pairs, executor=engine, batch=BATCH, on_error="collect")
        assert (copied.done, [failure.key for failure in copied.failures]) == (len(keys), ["copy/a/missing"])
        assert isinstance(copied.failures[0].error, dream.NotFoundError)
        with pytest.raises(dream.NotFoundError, match="NoSuchBucket") as missing:
            await session.bucket(new_name()).delete_many(keys, executor=engine)
        assert "0 keys" in missing.value.__notes__[-1]
        deleted = await bucket.delete_many(bucket.list("a/"), executor=engine, batch=BATCH)
        assert (deleted.done, deleted.failed) == (len(contents), 0)
        assert etags_in(boto, bucket.name, "a/") == {}
        await other.delete(force=True, executor=engine)
        assert (await bucket.empty(executor=engine, batch=BATCH)).done == len(contents) + len(keys)
        await bucket.delete()


def etags_in(boto: object, bucket: str, prefix: str) -> dict[str, str]:
    pages = boto.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)  # type: ignore[attr-defined]  # boto3's
    return {one["Key"][len(prefix) :]: one["ETag"].strip('"') for page in pages for one in page.get("Contents", [])}


async def test_a_function_is_called_in_the_workers(engine: Executor, here: dream.Bucket) -> None:
    for number in range(40):
        await here.object(f"{number:02}").put(f"{number}")
    keys = [f"{number:02}" for number in range(41)]
    results = {
        key: result async for key, result in here.apply(keys, content_and_process, "!", executor=engine, batch=4)
    }
    assert isinstance(results.pop("40"), dream.NotFoundError)
    assert {key: result[0] for key, result in results.items() if isinstance(result, tuple)} == {
        f"{number:02}": f"{number}!" for number in range(40)
    }
    assert os.getpid() not in {result[1] for result in results.values() if isinstance(result, tuple)}

    found = [result async for _, result in here.apply(["07"], key_of_other, here, executor=engine)]
    assert isinstance(found[0], dream.Object)
    with pytest.raises(dream.SessionClosedError, match=r"session\.bind"):
        await found[0].read()

    failures = [result async for _, result in here.apply(["07"], fail, executor=engine)]
    failure = failures[0]
    assert isinstance(failure, Exception)  # its own class cannot be unpickled, unless an engine has brought tblib
    assert "the cat does not eat 07" in str(failure)
    assert "remote_functions.py" in failure.__notes__[0]
