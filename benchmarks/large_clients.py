"""The sides of :mod:`benchmarks.large`: libraries in a Python process each, and tools.

    python -m benchmarks.large_clients SIDE TASK     # the task's fields as JSON; prints a Report as JSON

All are to have 8 parts of 8 MiB of an object in flight; a note says what one could not be told. No side adds checksums
of its own accord to what it sends: older Ceph gateways, and those of DreamObjects, refuse some of them.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from benchmarks import programs
from benchmarks.access import PART_BYTES, PARTS, boto_arguments, boto_settings, obstore_store, transfer_config
from benchmarks.loops import loop_factory
from benchmarks.meter import cpu_seconds, describe, forget_peak, peak_bytes, resident_bytes
from benchmarks.processes import Launch, NotInstalledError, Report
from benchmarks.programs import S5CMD_QUIET, Program
from benchmarks.store import BUCKET


@dataclass(frozen=True, slots=True)
class Task:
    """Objects ``prefix/name`` of BUCKET to files ``directory/name``, or the other way; all at once."""

    work: str
    """``down`` or ``up``."""
    names: tuple[str, ...]
    prefix: str
    directory: str
    endpoint: str
    certificate: str
    """The PEM file to trust; empty for plain http."""
    access_key: str
    secret_key: str
    region: str

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"


class Client:
    """A library: its client is opened, then told to move everything."""

    packages: ClassVar[tuple[str, ...]] = ()
    note: ClassVar[str] = ""
    """What is chosen, and what it could not be told, for whoever reads the numbers."""

    def __init__(self, task: Task) -> None:
        self.task = task

    async def setup(self) -> None:
        """Make the client; nothing is sent."""

    async def down(self, key: str, path: str) -> None:
        raise NotImplementedError

    async def up(self, key: str, path: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def move(self) -> None:
        task, move = self.task, self.down if self.task.work == "down" else self.up
        async with asyncio.TaskGroup() as tasks:
            for name in task.names:
                tasks.create_task(move(task.key(name), task.path(name)))


class Dream(Client):
    packages: ClassVar[tuple[str, ...]] = ("aiodreamobjects",)
    note = "`await obj.download(path)`, `await obj.upload(path)`; all objects' parts share its default `Limits.memory`"

    async def setup(self) -> None:
        import aiodreamobjects as dream

        task = self.task
        self._session = dream.Session(
            endpoint=task.endpoint,
            access_key=task.access_key,
            secret_key=task.secret_key,
            region=task.region,
            ca=task.certificate or None,
            limits=dream.Limits(parts_per_object=PARTS, part_size=PART_BYTES),
        )
        await self._session.open()
        self._bucket: Any = self._session.bucket(BUCKET)

    async def down(self, key: str, path: str) -> None:
        await self._bucket.object(key).download(path)

    async def up(self, key: str, path: str) -> None:
        await self._bucket.object(key).upload(path)

    async def close(self) -> None:
        await self._session.aclose()


class DreamUnverified(Dream):
    note = '`verify="off"`: no MD5 of what is sent; the ETags here are no digests, so nothing is to be compared of what comes'

    async def down(self, key: str, path: str) -> None:
        await self._bucket.object(key).download(path, verify="off")

    async def up(self, key: str, path: str) -> None:
        await self._bucket.object(key).upload(path, verify="off")


class Aioboto3(Client):
    packages = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    note = "`download_file`, `upload_file`; 8 parts of 8 MiB by its `TransferConfig`; a pool as wide as all parts"

    async def setup(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack = AsyncExitStack()
        session = aioboto3.Session()
        self._s3 = await self._stack.enter_async_context(
            session.client(
                "s3", **boto_arguments(self.task), config=AioConfig(**boto_settings(PARTS * len(self.task.names)))
            )
        )
        self._transfer = transfer_config()

    async def down(self, key: str, path: str) -> None:
        await self._s3.download_file(BUCKET, key, path, Config=self._transfer)

    async def up(self, key: str, path: str) -> None:
        await self._s3.upload_file(path, BUCKET, key, Config=self._transfer)

    async def close(self) -> None:
        await self._stack.aclose()


class Boto3(Client):
    packages = ("boto3", "botocore", "s3transfer", "urllib3")
    note = (
        "`download_file`, `upload_file` of its classic transfer manager, 8 threads and 8 parts of 8 MiB an object; "
        "objects at once are in threads as well"
    )

    async def setup(self) -> None:
        import boto3
        from botocore.config import Config

        self._s3 = boto3.session.Session().client(
            "s3", **boto_arguments(self.task), config=Config(**boto_settings(PARTS * len(self.task.names)))
        )
        self._transfer = transfer_config()
        self._threads = ThreadPoolExecutor(len(self.task.names))

    async def down(self, key: str, path: str) -> None:
        await self._in_thread(lambda: self._s3.download_file(BUCKET, key, path, Config=self._transfer))

    async def up(self, key: str, path: str) -> None:
        await self._in_thread(lambda: self._s3.upload_file(path, BUCKET, key, Config=self._transfer))

    async def _in_thread(self, work: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        self._s3.close()
        self._threads.shutdown()


class Crt(Client):
    """boto3 gives the CRT no endpoint and no certificate to trust: its client is made here."""

    packages = ("awscrt",)
    note = (
        "`awscrt.s3.S3Client` itself, from file to file: boto3 cannot give it another endpoint; parts of 8 MiB, "
        "8 connections an object; its own threads, one a core, and its own choice of memory"
    )

    async def setup(self) -> None:
        auth, io, s3, self._http = (importlib.import_module(f"awscrt.{name}") for name in ("auth", "io", "s3", "http"))
        task, tls = self.task, None
        if task.certificate:
            options = io.TlsContextOptions()
            options.override_default_trust_store_from_path(ca_filepath=task.certificate)
            tls = io.ClientTlsContext(options).new_connection_options()
        credentials = auth.AwsCredentialsProvider.new_static(task.access_key, task.secret_key)
        self._s3 = s3.S3Client(
            region=task.region,
            tls_mode=s3.S3RequestTlsMode.ENABLED if tls else s3.S3RequestTlsMode.DISABLED,
            tls_connection_options=tls,
            signing_config=s3.create_default_s3_signing_config(region=task.region, credential_provider=credentials),
            part_size=PART_BYTES,
        )
        self._types, self._host = s3.S3RequestType, urlsplit(task.endpoint).netloc

    async def down(self, key: str, path: str) -> None:
        await self._request("GET", key, type=self._types.GET_OBJECT, recv_filepath=path)

    async def up(self, key: str, path: str) -> None:
        size = str(Path(path).stat().st_size)
        await self._request("PUT", key, size, type=self._types.PUT_OBJECT, send_filepath=path)

    async def _request(self, method: str, key: str, size: str | None = None, **arguments: Any) -> None:
        headers = self._http.HttpHeaders([("host", self._host), *([("content-length", size)] if size else [])])
        request = self._s3.make_request(
            request=self._http.HttpRequest(method, f"/{BUCKET}/{key}", headers),
            max_active_connections_override=PARTS,
            **arguments,
        )
        await asyncio.wrap_future(request.finished_future)


class Obstore(Client):
    packages = ("obstore",)
    note = (
        "`put_async` of a path, 8 parts of 8 MiB; `get_async` streamed to a file in pieces of 8 MiB: one request, as it "
        "has no download in parts"
    )

    async def setup(self) -> None:
        self._store = obstore_store(self.task, BUCKET)

    async def down(self, key: str, path: str) -> None:
        import obstore

        reply = await obstore.get_async(self._store, key)
        with open(path, "wb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - the quickest way for tmpfs
            async for piece in reply.stream(min_chunk_size=PART_BYTES):
                file.write(piece)

    async def up(self, key: str, path: str) -> None:
        import obstore

        await obstore.put_async(self._store, key, Path(path), chunk_size=PART_BYTES, max_concurrency=PARTS)


class Tool:
    """A program of its own: the whole process is measured, its start too."""

    program: ClassVar[Program]
    note: ClassVar[str] = ""

    def launch(self, task: Task, home: Path) -> Launch:
        """The process that does it. Files that it is to read are written to ``home``. NotInstalledError if it is not here."""
        raise NotImplementedError


class S5cmdCopy(Tool):
    program = programs.S5cmd()
    note = "`cp --concurrency 8 --part-size 8`; several objects by `run`, with its 256 workers"

    def launch(self, task: Task, home: Path) -> Launch:
        copies = [self._copy(task, name) for name in task.names]
        if len(copies) > 1:
            (home / "commands").write_text("".join(" ".join(words) + "\n" for words in copies))
        words = copies[0] if len(copies) == 1 else ["run", str(home / "commands")]
        command = [*self.program.command(task), *S5CMD_QUIET, *words]
        return Launch.measured(command, self.program.environment(task))

    def _copy(self, task: Task, name: str) -> list[str]:
        ends = [f"s3://{BUCKET}/{task.key(name)}", task.path(name)]
        options = ["--concurrency", str(PARTS), "--part-size", str(PART_BYTES >> 20)]
        return ["cp", *options, *(ends if task.work == "down" else reversed(ends))]


class RcloneCopy(Tool):
    program = programs.Rclone()
    note = (
        "`copy --files-from`, as many transfers as objects; told to leave out what the others do not do either: MD5 of "
        "the whole file, a look at the object afterwards"
    )

    def launch(self, task: Task, home: Path) -> Launch:
        names = home / "names"
        names.write_text("".join(f"{name}\n" for name in task.names))
        ends = [f"bench:{BUCKET}/{task.prefix}", task.directory]
        in_parts = f"--s3-upload-concurrency {PARTS} --s3-chunk-size 8M --s3-upload-cutoff 8M"
        in_streams = f"--multi-thread-streams {PARTS} --multi-thread-cutoff 8M --transfers {len(task.names)}"
        without = "--s3-disable-checksum --ignore-checksum --s3-no-head --no-traverse --retries 1"
        words = [*f"copy {in_parts} {in_streams} {without}".split(), "--files-from", str(names)]
        ordered = ends if task.work == "down" else reversed(ends)
        return Launch.measured([*self.program.command(task), *words, *ordered], self.program.environment(task))


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    kind: type[Client | Tool]

    @property
    def client(self) -> str:
        return self.name.removesuffix("+uvloop")

    def launch(self, task: Task, home: Path) -> Launch:
        """The process of one turn."""
        if issubclass(self.kind, Tool):
            return self.kind().launch(task, home)
        module = "benchmarks.large_clients"
        return Launch([sys.executable, "-m", module, self.name, json.dumps(asdict(task))])

    def versions(self) -> dict[str, str]:
        """Of what it leans on, by name."""
        try:
            if issubclass(self.kind, Tool):
                return {self.client: self.kind.program.version()}
            return {name: metadata.version(name) for name in self.kind.packages}
        except (NotInstalledError, metadata.PackageNotFoundError):
            return {self.client: "not installed"}


LIBRARIES: dict[str, type[Client]] = {
    "dream": Dream,
    "dream-unverified": DreamUnverified,
    "aioboto3": Aioboto3,
    "boto3": Boto3,
    "crt": Crt,
    "obstore": Obstore,
}
TOOLS: dict[str, type[Tool]] = {"s5cmd": S5cmdCopy, "rclone": RcloneCopy}

SIDES: dict[str, Side] = {
    **{name + loop: Side(name + loop, kind) for name, kind in LIBRARIES.items() for loop in ("", "+uvloop")},
    **{name: Side(name, kind) for name, kind in TOOLS.items()},
}
USUAL = ("dream", "dream+uvloop", "dream-unverified", "aioboto3", "boto3", "crt", "obstore", "s5cmd", "rclone")
"""The sides of a run, unless others are asked for."""


async def _measure(client: Client) -> Report:
    """Closing the client is in the CPU time, as its threads may only end there, and not in the wall time."""
    await client.setup()
    idle_bytes, idle_cpu = resident_bytes(), cpu_seconds()
    forget_peak()
    started = time.perf_counter()
    await client.move()
    wall = time.perf_counter() - started
    await client.close()
    return Report(wall, cpu_seconds() - idle_cpu, peak_bytes(), idle_bytes)


def main() -> None:
    name, told = sys.argv[1], json.loads(sys.argv[2])
    kind, task = LIBRARIES[SIDES[name].client], Task(**{**told, "names": tuple(told["names"])})
    try:
        with asyncio.Runner(loop_factory=loop_factory(name)) as runner:
            report = runner.run(_measure(kind(task)))
    except ImportError as error:
        report = Report(failure=f"not installed: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this side's failure
        report = Report(failure=describe(error))
    print(json.dumps(asdict(report)), flush=True)
    os._exit(0)  # without what libraries do at the end of a process: obstore's threads may abort it


if __name__ == "__main__":
    main()
