"""A signal ends a process in the middle of a verb: old or new, and nothing left behind that nobody knows of."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import Server, new_name
from servers.scripted import Received, Reply, ScriptedServer

import aiodreamobjects as dream

PART = 5 << 20
DATA = random.Random(4).randbytes(11 << 20)
SMALL = {f"small/{number}": b"new" for number in range(20)}
SECONDS_TO_END = 5
SECONDS_TO_START = 60

SCRIPT = """
import asyncio, sys
import aiodreamobjects as dream

endpoint, access_key, secret_key, name, home, verb = sys.argv[1:]
limits = dream.Limits(
    requests=4, part_size=5 << 20, parts_per_object=2, memory=20 << 20,
    upload_bytes_per_second=6 << 20, download_bytes_per_second=6 << 20,
)

def told(progress):
    if progress.done_bytes > 1 << 20:
        print("under way", flush=True)

async def keys():
    for number in range(1500):
        yield f"doomed/{number}"
    while True:
        print("under way", flush=True)
        await asyncio.sleep(0.01)

VERBS = {
    "upload": lambda bucket: bucket.object("b").put(open(f"{home}/from/large", "rb"), progress=told),
    "download": lambda bucket: bucket.object("from/large").download(f"{home}/to/large", progress=told),
    "upload_tree": lambda bucket: bucket.upload_tree(f"{home}/from", "to", delete=True, progress=told),
    "download_tree": lambda bucket: bucket.download_tree(f"{home}/to", "from", delete=True, progress=told),
    "delete_many": lambda bucket: bucket.delete_many(keys()),
}

async def main():
    service = dream.Service.ceph_rgw(endpoint)
    async with dream.Session(service=service, access_key=access_key, secret_key=secret_key, limits=limits) as session:
        await VERBS[verb](session.bucket(name))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Place:
    bucket: dream.Bucket
    home: Path
    server: Server

    @asynccontextmanager
    async def process(self, verb: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """In the middle of the verb."""
        told = self.server
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SCRIPT, told.service.endpoint, told.access_key, told.secret_key),
            *(self.bucket.name, str(self.home), verb),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(SECONDS_TO_START):
                assert await process.stdout.readline() == b"under way\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def objects(self, prefix: str) -> dict[str, bytes]:
        return {
            info.key.removeprefix(prefix): await self.bucket.object(info.key).read()
            async for info in self.bucket.list(prefix)
        }

    def files(self) -> dict[str, bytes]:
        root = self.home / "to"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest_asyncio.fixture
async def place(rgw: Server, tmp_path: Path) -> AsyncIterator[Place]:
    for name, content in {"large": DATA, **SMALL}.items():
        for side, told in (("from", content), ("to", b"old")):
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / side / name).write_bytes(told)
    (tmp_path / "to" / "extra").write_bytes(b"extra")
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        async with asyncio.TaskGroup() as group:
            for name, content in {"large": DATA, **SMALL}.items():
                group.create_task(bucket.object(f"from/{name}").put(content))
                group.create_task(bucket.object(f"to/{name}").put(b"old"))
            for key in ("to/extra", "b", "kept", "doomed/3", "doomed/1499"):
                group.create_task(bucket.object(key).put(b"old"))
        yield Place(bucket, tmp_path, rgw)
        await bucket.delete(force=True)


async def ended(process: asyncio.subprocess.Process) -> bytes:
    async with asyncio.timeout(SECONDS_TO_END):
        _, errors = await process.communicate()
    return errors


async def check_what_is_there(place: Place, verb: str) -> None:
    """Old or new byte for byte, and what was to be deleted last is there, as the copies were not done."""
    new = {"large": DATA, **SMALL}
    local, stored = place.files(), await place.objects("to/")
    for tree in (local, stored):
        seen = {name: content for name, content in tree.items() if not is_temporary(name)}
        assert set(seen) == {*new, "extra"}
        assert seen["extra"] in (b"extra", b"old")
        assert all(content in (b"old", new[name]) for name, content in seen.items() if name != "extra")
    if not verb.startswith("download"):
        assert set(local.values()) == {b"old", b"extra"}
    if verb != "upload_tree":
        assert set(stored.values()) == {b"old"}
    assert await place.objects("from/") == new
    assert await place.bucket.object("b").read() in (b"old", DATA)
    assert await place.bucket.object("kept").read() == b"old"
    if verb != "delete_many":
        assert len(await place.objects("doomed/")) == 2


def is_temporary(name: str) -> bool:
    return name.endswith(".part")


@pytest.mark.parametrize("verb", ["upload_tree", "download_tree", "delete_many"])
async def test_control_c_cleans_up(place: Place, verb: str) -> None:
    async with place.process(verb) as process:
        process.send_signal(signal.SIGINT)
        errors = await ended(process)
    assert errors.decode().splitlines()[-1].startswith("KeyboardInterrupt")
    assert process.returncode != 0
    assert await place.bucket.uploads().collect() == []
    assert not any(map(is_temporary, place.files()))
    await check_what_is_there(place, verb)


@pytest.mark.parametrize("verb", ["upload", "upload_tree", "download_tree"])
async def test_control_c_again_and_again_ends_it_at_once(place: Place, verb: str) -> None:
    async with place.process(verb) as process:
        async with asyncio.timeout(SECONDS_TO_END):
            while process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
                await asyncio.sleep(0)
    assert process.returncode != 0
    await check_what_is_there(place, verb)
    await place.bucket.abort_uploads(timedelta(0))
    assert await place.bucket.uploads().collect() == []


@pytest.mark.parametrize("verb", ["upload", "download", "download_tree"])
async def test_a_termination_leaves_the_old_or_the_new(place: Place, verb: str) -> None:
    async with place.process(verb) as process:
        process.terminate()
        await ended(process)
    assert process.returncode == -signal.SIGTERM
    await check_what_is_there(place, verb)
    assert {upload.key for upload in await place.bucket.uploads().collect()} <= {"b"}


UPLOAD_SCRIPT = """
import asyncio, dataclasses, sys
import aiodreamobjects as dream

async def main(endpoint):
    service = dream.Service.for_endpoint(endpoint)
    service = dataclasses.replace(service, multipart=dream.MultipartRules(smallest_part=1))
    limits = dream.Limits(part_size=300_000)
    async with dream.Session(service=service, access_key="a", secret_key="b", limits=limits) as session:
        await session.object("s3://bucket/a").put(bytes(700_000))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_second_control_c_does_not_wait_for_a_service_that_is_silent() -> None:
    """The first one aborts the upload, the service says nothing to that, and the second one ends it."""
    is_sent, is_aborting, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
    created = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"

    def answer(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(200, created)
        {"PUT": is_sent, "DELETE": is_aborting}[request.method].set()
        return Reply(200, b"x", length=2, hold=never)

    async with ScriptedServer() as server:
        server.will(answer)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", UPLOAD_SCRIPT, server.endpoint, stderr=asyncio.subprocess.PIPE
        )
        try:
            for event in (is_sent, is_aborting):
                async with asyncio.timeout(SECONDS_TO_START):
                    await event.wait()
                process.send_signal(signal.SIGINT)
            errors = await ended(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert errors.decode().splitlines()[-1].startswith("KeyboardInterrupt")
        assert process.returncode != 0
        assert [request.method for request in server.received].count("DELETE") == 1
