"""The clients of :mod:`benchmarks.faults`, each told the service as its users would, in a process of its own.

    python -m benchmarks.faults_clients CLIENT JOB     # the job's fields as JSON; prints a Told as JSON

All have parts of the same size, four attempts, and the same short timeouts where they have any. The rest is default.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gzip
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.meter import describe, how_it_ended
from benchmarks.programs import S5cmd

ATTEMPTS = 4
CONNECT_SECONDS, SILENT_SECONDS = 2, 2
WHOLE_SECONDS = 4
"""For a whole request, where a client knows no other timeout."""
DOWNLOAD, UPLOAD, UPLOAD_OPEN, DELETE, LIST = "download", "upload", "upload_open", "delete", "list"
SYNC, TREE, MANY, AFTER_CANCEL = "sync", "tree", "many", "after_cancel"
FETCH, DELETE_PREFIX, COPY_AND_SYNC = "fetch", "delete_prefix", "copy_and_sync"
PUT_TORN, PUT_REFILLED, PUT_GZIP = "put_torn", "put_refilled", "put_gzip"
CLOSE_UNDER_WAY, SECOND_LOOP, FORKED = "close_under_way", "second_loop", "forked"
CANCELLED = 10
SLOW, QUICK = "slow", "quick"
PREFIX = "tmp/"
UNDER_WAY = signal.SIGUSR1
"""What tells a process that its upload is under way."""
TORN_AFTER_BYTES = 17 << 20
BUFFER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Job:
    verb: str
    bucket: str
    key: str
    keys: tuple[str, ...]
    path: str
    """A file, or a directory."""
    part_bytes: int
    descriptors: int | None
    """How many the process may have open."""
    endpoint: str
    other_endpoint: str
    """Of a second service, with the same keys."""
    access_key: str
    secret_key: str
    session_token: str | None
    region: str
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the client says of its job."""

    error: str | None = None
    is_in_doubt: bool = False
    """Whether the error says that the job may be done all the same."""
    keys: tuple[str, ...] | None = None
    tasks: int = 0
    """Those of the event loop that it left behind."""


class Client:
    packages: ClassVar[tuple[str, ...]]
    """Distributions, the one to be imported first."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Verbs, or numbers of kinds, that it does not have, and why."""
    ends_badly: ClassVar[bool] = False
    """Its threads may abort the process at its end, which is then left out."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self) -> Told:
        raise NotImplementedError


class AsyncClient(Client):
    def run(self) -> Told:
        self.tasks = 0
        if self.job.verb not in (SECOND_LOOP, FORKED):
            return self._told(self._run)
        asyncio.run(self._begin())
        return self._told(self.upload) if self.job.verb == SECOND_LOOP else in_a_child(lambda: self._told(self.upload))

    def _told(self, run: Callable[[], Coroutine[Any, Any, tuple[str, ...] | None]]) -> Told:
        try:
            return Told(keys=asyncio.run(run()), tasks=self.tasks)
        except BaseException as error:  # noqa: BLE001 - also when interrupted, which cancels the task
            return Told(describe(error), getattr(error, "in_doubt", False), None, self.tasks)

    async def _begin(self) -> None:
        """Open it, and leave a connection in its pool."""
        await self.open()
        await self.read(self.job.key, lambda: None)

    async def _run(self) -> tuple[str, ...] | None:
        await self.open()
        try:
            done: Sequence[str] | None = await getattr(self, self.job.verb)()
        finally:
            self.tasks = len(asyncio.all_tasks()) - 1
            await self.close()
        return None if done is None else tuple(done)

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def get_to_file(self, key: str, path: str) -> None:
        raise NotImplementedError

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        """All of an object; tells when it has begun to come."""
        raise NotImplementedError

    async def download(self) -> None:
        await self.get_to_file(self.job.key, self.job.path)

    async def many(self) -> None:
        """All at once, each to its end."""
        tasks = [self.get_to_file(key, f"{self.job.path}/{key}") for key in self.job.keys]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        if error := next((one for one in done if one), None):
            raise error

    async def after_cancel(self) -> None:
        """Ten reads begin and are cancelled; then another one."""
        begun = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(self.read(SLOW, begun.release)) for _ in range(CANCELLED)]
        for _ in tasks:
            await begun.acquire()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await self.read(QUICK, lambda: None) == QUICK.encode()

    async def fetch(self) -> None:
        """All of an object by one request; a file is made of it when all is there."""
        content = await self.read(self.job.key, lambda: None)
        await asyncio.to_thread(Path(self.job.path).write_bytes, content)

    async def upload(self) -> None:
        raise NotImplementedError

    async def close_under_way(self) -> None:
        """Close the client while an upload goes on, and wait for what becomes of that."""
        is_under_way = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(UNDER_WAY, is_under_way.set)
        upload = asyncio.create_task(self.upload())
        await is_under_way.wait()
        await self.close()
        await upload


class Dream(AsyncClient):
    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects",)

    async def open(self) -> None:
        self._session = self._session_at(self.job.endpoint)
        await self._session.open()
        self._bucket = self._session.bucket(self.job.bucket)

    def _session_at(self, endpoint: str) -> Any:
        import aiodreamobjects as dream

        job = self.job
        return dream.Session(
            endpoint=endpoint,
            access_key=job.access_key,
            secret_key=job.secret_key,
            session_token=job.session_token,
            region=job.region,
            limits=dream.Limits(part_size=job.part_bytes),
            retry=dream.Retry(attempts=ATTEMPTS),
            timeouts=dream.Timeouts(connect=CONNECT_SECONDS, read=SILENT_SECONDS, write=SILENT_SECONDS),
        )

    async def close(self) -> None:
        await self._session.aclose()

    async def get_to_file(self, key: str, path: str) -> None:
        await self._bucket.object(key).download(path)

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        chunks = []
        async with self._bucket.object(key).get() as body:
            async for chunk in body:
                began()
                chunks.append(chunk)
        return b"".join(chunks)

    async def upload(self) -> None:
        await self._bucket.object(self.job.key).upload(self.job.path)

    async def upload_open(self) -> None:
        with open(self.job.path, "rb") as file:  # noqa: ASYNC230, PTH123 - as a user would
            await self._bucket.object(self.job.key).put(file)

    async def delete(self) -> None:
        await self._bucket.delete_many(self.job.keys)

    async def list(self) -> list[str]:
        return [info.key async for info in self._bucket.list()]

    async def sync(self) -> None:
        await self._bucket.download_tree(self.job.path, delete=True, compare="size")

    async def tree(self) -> None:
        await self._bucket.download_tree(self.job.path)

    async def fetch(self) -> None:
        content = await self._bucket.object(self.job.key).read()
        await asyncio.to_thread(Path(self.job.path).write_bytes, content)

    async def put_torn(self) -> None:
        await self._bucket.object(self.job.key).put(torn(self.job.path))

    async def put_refilled(self) -> None:
        await self._bucket.object(self.job.key).put(refilled(self.job.path))

    async def put_gzip(self) -> None:
        with gzip.open(self.job.path) as file:
            await self._bucket.object(self.job.key).put(file)

    async def delete_prefix(self) -> None:
        await self._bucket.delete_many(self._bucket.list(PREFIX))

    async def copy_and_sync(self) -> None:
        """Copy an object to another service; later, what has changed."""
        async with self._session_at(self.job.other_endpoint) as other:
            there = other.bucket(self.job.bucket)
            await self._bucket.object(self.job.key).copy_to(there.object(self.job.key))
            await self._bucket.copy_tree(there, compare="mtime")


NO_TREES = "it has no verb for a tree of files"
NO_TREES_ACROSS = "it has no verb for a tree of objects"
FILES_ONLY = "its sources are files"


class Boto3(Client):
    packages: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "s3transfer", "urllib3")
    lacks: ClassVar[Mapping[str, str]] = {
        SYNC: NO_TREES,
        TREE: NO_TREES,
        COPY_AND_SYNC: NO_TREES_ACROSS,
        PUT_REFILLED: FILES_ONLY,
        SECOND_LOOP: "it belongs to no event loop",
        AFTER_CANCEL: "its calls cannot be cancelled",
    }

    def run(self) -> Told:
        import boto3
        from botocore.config import Config

        self._session, self._arguments = (
            boto3.session.Session(),
            {**client_arguments(self.job), "config": Config(**CONFIG)},
        )
        self._s3 = self._session.client("s3", **self._arguments)
        if self.job.verb != FORKED:
            return self._told()
        self._s3.get_object(Bucket=self.job.bucket, Key=self.job.key)["Body"].read()
        return in_a_child(self._told)

    def _told(self) -> Told:
        try:
            return Told(keys=self._run())
        except BaseException as error:  # noqa: BLE001 - also when interrupted
            return Told(describe(error))

    def _run(self) -> tuple[str, ...] | None:
        done: Sequence[str] | None = getattr(self, self.job.verb)()
        return None if done is None else tuple(done)

    def download(self) -> None:
        self._s3.download_file(self.job.bucket, self.job.key, self.job.path, Config=transfer_config(self.job))

    def upload(self) -> None:
        self._s3.upload_file(self.job.path, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    def upload_open(self) -> None:
        with Path(self.job.path).open("rb") as file:
            self._s3.upload_fileobj(file, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    def delete(self) -> None:
        self._s3.delete_objects(Bucket=self.job.bucket, Delete=objects(self.job.keys))

    def list(self) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.job.bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def many(self) -> None:
        from boto3.s3.transfer import create_transfer_manager

        with create_transfer_manager(self._s3, transfer_config(self.job)) as manager:
            futures = [manager.download(self.job.bucket, key, f"{self.job.path}/{key}") for key in self.job.keys]
            for future in futures:
                future.result()

    def fetch(self) -> None:
        self.download()

    def forked(self) -> None:
        self.upload()

    def put_torn(self) -> None:
        self._s3.upload_fileobj(
            TornFile(self.job.path), self.job.bucket, self.job.key, Config=transfer_config(self.job)
        )

    def put_gzip(self) -> None:
        with gzip.open(self.job.path) as file:
            self._s3.upload_fileobj(file, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    def delete_prefix(self) -> None:
        bucket = self._session.resource("s3", **self._arguments).Bucket(self.job.bucket)
        bucket.objects.filter(Prefix=PREFIX).delete()

    def close_under_way(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {UNDER_WAY})
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            upload = threads.submit(self.upload)
            signal.sigwait({UNDER_WAY})
            self._s3.close()
            upload.result()


class Aioboto3(AsyncClient):
    packages: ClassVar[tuple[str, ...]] = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    lacks: ClassVar[Mapping[str, str]] = {
        SYNC: NO_TREES,
        TREE: NO_TREES,
        COPY_AND_SYNC: NO_TREES_ACROSS,
        PUT_REFILLED: FILES_ONLY,
    }

    async def open(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack, self._session = AsyncExitStack(), aioboto3.Session()
        self._arguments = {**client_arguments(self.job), "config": AioConfig(**CONFIG)}
        self._s3 = await self._stack.enter_async_context(self._session.client("s3", **self._arguments))

    async def close(self) -> None:
        await self._stack.aclose()

    async def get_to_file(self, key: str, path: str) -> None:
        await self._s3.download_file(self.job.bucket, key, path, Config=transfer_config(self.job))

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        reply = await self._s3.get_object(Bucket=self.job.bucket, Key=key)
        began()
        content: bytes = await reply["Body"].read()
        return content

    async def upload(self) -> None:
        await self._s3.upload_file(self.job.path, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    async def upload_open(self) -> None:
        with open(self.job.path, "rb") as file:  # noqa: ASYNC230, PTH123 - as a user would
            await self._s3.upload_fileobj(file, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    async def delete(self) -> None:
        await self._s3.delete_objects(Bucket=self.job.bucket, Delete=objects(self.job.keys))

    async def list(self) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.job.bucket)
        return [item["Key"] async for page in pages for item in page.get("Contents", ())]

    async def fetch(self) -> None:
        await self.download()

    async def put_torn(self) -> None:
        file = AsyncTornFile(self.job.path)
        await self._s3.upload_fileobj(file, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    async def put_gzip(self) -> None:
        with gzip.open(self.job.path) as file:
            await self._s3.upload_fileobj(file, self.job.bucket, self.job.key, Config=transfer_config(self.job))

    async def delete_prefix(self) -> None:
        async with self._session.resource("s3", **self._arguments) as s3:
            bucket = await s3.Bucket(self.job.bucket)
            await bucket.objects.filter(Prefix=PREFIX).delete()


NO_FILES = "it has no download to a file"


class Obstore(AsyncClient):
    """What it reads is written to a file when all of it is there, which is no merit of its own."""

    packages: ClassVar[tuple[str, ...]] = ("obstore",)
    lacks: ClassVar[Mapping[str, str]] = {
        SYNC: NO_TREES,
        TREE: NO_TREES,
        "18": NO_FILES,
        "19": NO_FILES,
        "20": NO_FILES,
        "21": NO_FILES,
        COPY_AND_SYNC: NO_TREES_ACROSS,
        CLOSE_UNDER_WAY: "it cannot be closed",
    }
    ends_badly = True

    async def open(self) -> None:
        from obstore.store import S3Store

        job = self.job
        self._store = S3Store(
            job.bucket,
            endpoint=job.endpoint,
            access_key_id=job.access_key,
            secret_access_key=job.secret_key,
            **({"session_token": job.session_token} if job.session_token else {}),
            region=job.region,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "timeout": timedelta(seconds=WHOLE_SECONDS),
            },
            retry_config={"max_retries": ATTEMPTS - 1},
        )

    async def get_to_file(self, key: str, path: str) -> None:
        content = await self.read(key, lambda: None)
        await asyncio.to_thread(Path(path).write_bytes, content)

    async def read(self, key: str, began: Callable[[], None]) -> bytes:
        import obstore

        reply = await obstore.get_async(self._store, key)
        began()
        return b"".join([bytes(chunk) async for chunk in reply.stream()])

    async def upload(self) -> None:
        await self._put(Path(self.job.path))

    async def upload_open(self) -> None:
        with open(self.job.path, "rb") as file:  # noqa: ASYNC230, PTH123 - as a user would
            await self._put(file)

    async def _put(self, source: Any) -> None:
        import obstore

        await obstore.put_async(self._store, self.job.key, source, chunk_size=self.job.part_bytes)

    async def delete(self) -> None:
        import obstore

        await obstore.delete_async(self._store, self.job.keys)

    async def list(self) -> list[str]:
        import obstore

        return [item["path"] async for page in obstore.list(self._store) for item in page]

    async def put_torn(self) -> None:
        await self._put(torn(self.job.path))

    async def put_refilled(self) -> None:
        await self._put(refilled(self.job.path))

    async def put_gzip(self) -> None:
        with gzip.open(self.job.path) as file:
            await self._put(file)

    async def delete_prefix(self) -> None:
        import obstore

        async for page in obstore.list(self._store, prefix=PREFIX):
            await obstore.delete_async(self._store, [item["path"] for item in page])


class S5cmdClient(Client):
    """A program: this process becomes it. It is cancelled by SIGINT, as boto3 is."""

    packages: ClassVar[tuple[str, ...]] = ("s5cmd",)
    lacks: ClassVar[Mapping[str, str]] = {
        AFTER_CANCEL: "its calls cannot be cancelled",
        **dict.fromkeys((PUT_TORN, PUT_REFILLED, PUT_GZIP), "its sources are files and a pipe, which tells no error"),
        **dict.fromkeys((CLOSE_UNDER_WAY, SECOND_LOOP, FORKED), "it is a program"),
        COPY_AND_SYNC: "it knows one service at a time",
    }

    def run(self) -> Told:
        job, program = self.job, S5cmd()
        if job.verb == UPLOAD_OPEN:
            os.dup2(os.open(job.path, os.O_RDONLY), 0)
        environment = {**os.environ, **program.environment(job)}
        if job.session_token:
            environment["AWS_SESSION_TOKEN"] = job.session_token
        command = [*program.command(job), "--json", "--retry-count", str(ATTEMPTS - 1), *self._words()]
        os.execve(command[0], command, environment)

    def _words(self) -> list[str]:
        job = self.job
        bucket = f"s3://{job.bucket}"
        parts = ("--part-size", str(max(5, job.part_bytes >> 20)), "--concurrency", "3")
        one, every, here = f"{bucket}/{job.key}", f"{bucket}/*", f"{job.path}/"
        return {
            DOWNLOAD: ["cp", *parts, one, job.path],
            FETCH: ["cp", *parts, one, job.path],
            UPLOAD: ["cp", *parts, job.path, one],
            UPLOAD_OPEN: ["pipe", *parts, one],
            DELETE_PREFIX: ["rm", f"{bucket}/{PREFIX}*"],
            DELETE: ["rm", *(f"{bucket}/{key}" for key in job.keys)],
            LIST: ["ls", every],
            SYNC: ["sync", "--delete", "--size-only", every, here],
            TREE: ["cp", every, here],
            MANY: ["cp", every, here],
        }[job.verb]


CLIENTS: dict[str, type[Client]] = {
    "dream": Dream,
    "boto3": Boto3,
    "aioboto3": Aioboto3,
    "obstore": Obstore,
    "s5cmd": S5cmdClient,
}
CONFIG = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": SILENT_SECONDS,
    "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    "request_checksum_calculation": "when_required",
    "s3": {"addressing_style": "path"},
}


def client_arguments(job: Job) -> dict[str, str | None]:
    return {
        "endpoint_url": job.endpoint,
        "aws_access_key_id": job.access_key,
        "aws_secret_access_key": job.secret_key,
        "aws_session_token": job.session_token,
        "region_name": job.region,
    }


def transfer_config(job: Job) -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_chunksize=job.part_bytes,
        multipart_threshold=job.part_bytes,
        preferred_transfer_client="classic",
    )


def objects(keys: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    return {"Objects": [{"Key": key} for key in keys]}


# Sources that are not what they seem


async def torn(path: str) -> AsyncIterator[bytes]:
    """The beginning of a file; then somebody has cancelled whatever makes the rest."""
    file = AsyncTornFile(path)
    while True:
        yield await file.read(1 << 20)


class AsyncTornFile:
    def __init__(self, path: str) -> None:
        self._content = memoryview(Path(path).read_bytes())[:TORN_AFTER_BYTES]
        loop = asyncio.get_running_loop()
        self._rest: asyncio.Future[bytes] = loop.create_future()
        loop.add_signal_handler(UNDER_WAY, self._rest.cancel)

    async def read(self, count: int) -> bytes:
        if not self._content:
            return await self._rest
        taken, self._content = self._content[:count], self._content[count:]
        return bytes(taken)


class TornFile:
    """The same for threads."""

    def __init__(self, path: str) -> None:
        self._content = memoryview(Path(path).read_bytes())[:TORN_AFTER_BYTES]
        self._rest: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        signal.signal(UNDER_WAY, lambda *_: self._rest.cancel())

    def read(self, count: int) -> bytes:
        if not self._content:
            return self._rest.result()
        taken, self._content = self._content[:count], self._content[count:]
        return bytes(taken)


def refilled(path: str) -> Iterator[memoryview]:
    """A file by one buffer, whose content is another when the next piece is asked for."""
    buffer = bytearray(BUFFER_BYTES)
    with Path(path).open("rb") as file:
        while count := file.readinto(buffer):
            yield memoryview(buffer)[:count]


def in_a_child(run: Callable[[], Told]) -> Told:
    """What a forked child tells."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(asdict(run())).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Told(**json.loads(told)) if told else Told(how_it_ended(code))


def main() -> None:
    name, told = sys.argv[1], json.loads(sys.argv[2])
    job = Job(**{**told, "keys": tuple(told["keys"])})
    if job.descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (job.descriptors, job.descriptors))
    client = CLIENTS[name](job)
    print(json.dumps(asdict(client.run())), flush=True)
    if client.ends_badly:
        os._exit(0)


if __name__ == "__main__":
    main()
