"""The clients of :mod:`benchmarks.faults`, each told the service as its users would, in a process of its own.

    python -m benchmarks.faults_clients CLIENT JOB     # the job's fields as JSON; prints a Told as JSON

All have parts of the same size, four attempts, and the same short timeouts where they have any. The rest is default.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.meter import describe
from benchmarks.programs import S5cmd

ATTEMPTS = 4
CONNECT_SECONDS, SILENT_SECONDS = 2, 2
WHOLE_SECONDS = 4
"""For a whole request, where a client knows no other timeout."""
DOWNLOAD, UPLOAD, UPLOAD_OPEN, DELETE, LIST = "download", "upload", "upload_open", "delete", "list"
SYNC, TREE, MANY, AFTER_CANCEL = "sync", "tree", "many", "after_cancel"
CANCELLED = 10
SLOW, QUICK = "slow", "quick"


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
        try:
            return Told(keys=asyncio.run(self._run()), tasks=self.tasks)
        except BaseException as error:  # noqa: BLE001 - also when interrupted, which cancels the task
            return Told(describe(error), getattr(error, "in_doubt", False), None, self.tasks)

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


class Dream(AsyncClient):
    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects",)
    lane: ClassVar[Any] = "direct"

    async def open(self) -> None:
        import aiodreamobjects as dream

        job = self.job
        self._session = dream.Session(
            endpoint=job.endpoint,
            access_key=job.access_key,
            secret_key=job.secret_key,
            session_token=job.session_token,
            region=job.region,
            limits=dream.Limits(part_size=job.part_bytes),
            retry=dream.Retry(attempts=ATTEMPTS),
            timeouts=dream.Timeouts(connect=CONNECT_SECONDS, read=SILENT_SECONDS, write=SILENT_SECONDS),
            lane=self.lane,
        )
        await self._session.open()
        self._bucket = self._session.bucket(job.bucket)

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


class DreamBoto(Dream):
    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects", "aioboto3", "aiobotocore", "aiohttp")
    lane = "boto"


NO_TREES = "it has no verb for a tree of files"


class Boto3(Client):
    packages: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "s3transfer", "urllib3")
    lacks: ClassVar[Mapping[str, str]] = {SYNC: NO_TREES, TREE: NO_TREES, AFTER_CANCEL: "its calls cannot be cancelled"}

    def run(self) -> Told:
        try:
            return Told(keys=self._run())
        except BaseException as error:  # noqa: BLE001 - also when interrupted
            return Told(describe(error))

    def _run(self) -> tuple[str, ...] | None:
        import boto3
        from botocore.config import Config

        self._s3 = boto3.session.Session().client("s3", **client_arguments(self.job), config=Config(**CONFIG))
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


class Aioboto3(AsyncClient):
    packages: ClassVar[tuple[str, ...]] = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    lacks: ClassVar[Mapping[str, str]] = {SYNC: NO_TREES, TREE: NO_TREES}

    async def open(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack = AsyncExitStack()
        self._s3 = await self._stack.enter_async_context(
            aioboto3.Session().client("s3", **client_arguments(self.job), config=AioConfig(**CONFIG))
        )

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


class S5cmdClient(Client):
    """A program: this process becomes it. It is cancelled by SIGINT, as boto3 is."""

    packages: ClassVar[tuple[str, ...]] = ("s5cmd",)
    lacks: ClassVar[Mapping[str, str]] = {AFTER_CANCEL: "its calls cannot be cancelled"}
    parts: ClassVar[tuple[str, ...]] = ("--part-size", "5", "--concurrency", "3")

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
        one, every, here = f"{bucket}/{job.key}", f"{bucket}/*", f"{job.path}/"
        return {
            DOWNLOAD: ["cp", *self.parts, one, job.path],
            UPLOAD: ["cp", *self.parts, job.path, one],
            UPLOAD_OPEN: ["pipe", *self.parts, one],
            DELETE: ["rm", *(f"{bucket}/{key}" for key in job.keys)],
            LIST: ["ls", every],
            SYNC: ["sync", "--delete", "--size-only", every, here],
            TREE: ["cp", every, here],
            MANY: ["cp", every, here],
        }[job.verb]


CLIENTS: dict[str, type[Client]] = {
    "dream": Dream,
    "dream-boto": DreamBoto,
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
