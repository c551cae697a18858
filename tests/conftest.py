"""The servers that answer for real, each started once a run, and what must hold after every test."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import botocore.loaders
import pytest
import pytest_asyncio
import trustme
from blockbuster import BlockBuster
from botocore.config import Config
from invariants import nothing_is_left
from servers import ceph, openstack, programs
from servers.b2 import B2Server
from servers.faulty import FaultyServer
from servers.moto_server import moto_server
from servers.proxy import ForwardProxy
from servers.scripted import ScriptedServer
from servers.served import ServedService, boto_session
from servers.shared import SharedServers

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

# A shell's background job inherits that Ctrl-C is ignored, and hands that on to the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVERS = ("memory", "rgw", "moto", "b2")  # b2 over TLS
LIBRARY = str(Path(dream.__file__).parent)
RUN_OF_A_CALLBACK = asyncio.Handle._run.__code__
INDEPENDENT = ("rclone", "localbucket", "juicefs", "juicefs-plain", "swift")
"""They share no code with the others, and lack much: ``servers/known.py`` says what."""
SHARED = pytest.StashKey[SharedServers]()
NO_CEPH = "CEPH RGW IS NOT INSTALLED: nothing was tested on it. Run: tests/servers/rgw install"
NO_SWIFT = "OPENSTACK SWIFT IS NOT INSTALLED: nothing was tested on it. Run: tests/servers/debian install"


@dataclass(frozen=True, slots=True)
class Server:
    """A service to test on, and the facts of it that tests must know."""

    name: str
    service: dream.Service
    access_key: str
    secret_key: str
    ca: Path | None = None
    other_account: tuple[str, str] | None = None
    memory: MemoryService | None = None
    """In place of all the rest: the service inside this process."""

    @property
    def is_memory(self) -> bool:
        return self.memory is not None

    @property
    def is_b2(self) -> bool:
        return self.name == "b2"

    @property
    def is_rgw(self) -> bool:
        return self.name.startswith("rgw")

    @property
    def is_moto(self) -> bool:
        return self.name.startswith("moto")

    def session(self, **settings: object) -> dream.Session:
        if self.memory is not None:
            return self.memory.session(**settings)  # type: ignore[arg-type]  # each by its name
        given = {
            "service": self.service,
            "ca": self.ca,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
        }
        return dream.Session(**{**given, **settings})  # type: ignore[arg-type]  # each by its name

    def anyone(self) -> aiohttp.ClientSession:
        """Return a client without keys."""
        # Without a file, a context loads every authority of this machine: 30 ms.
        context = ssl.create_default_context(cafile=self.ca) if self.ca else True
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    def boto(self) -> Any:
        """Return a client of boto3, the independent observer."""
        return boto_session().client(
            "s3",
            endpoint_url=self.service.endpoint,
            verify=None if self.ca is None else str(self.ca),
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.service.region,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "DREAMOBJECTS_")):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(home / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        yield


@pytest.fixture(scope="session", autouse=True)
def botocore_reads_its_files_once() -> Iterator[None]:
    """Each session of it parses them again: for a client that makes few requests, that is most of the time."""
    loader = botocore.loaders.JSONFileLoader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.loaders.JSONFileLoader, "load_file", staticmethod(functools.cache(loader.load_file)))
        yield


@pytest.fixture(scope="module", autouse=True)
def what_was_there_before_is_not_searched_for_garbage() -> None:
    """Many tests collect their garbage at their end: that took half of their time, mostly among modules and old tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def event_loop_is_never_blocked() -> Iterator[None]:
    guard = BlockBuster(["aiodreamobjects"])
    for function in guard.functions.values():
        # These run in a thread with a loop of its own, where botocore may read its files.
        function.can_block_in("aiodreamobjects/_s3/boto_session.py", {"_find"})
        function.can_block_in("aiodreamobjects/_s3/cold.py", {"_make_client"})
        function.can_block_in("aiodreamobjects/_later.py", {"__getattr__"})  # an import: docs/decisions.md says why
        function.can_block_in("fsspec/asyn.py", {"_get", "_put"})  # below our methods of these names
        function.can_block_in("tests/user_code.py", {"_note"})  # a callback of a test, which looks at what is there
        function.can_block_in("tests/test_tree_vanished.py", {"headers_for"})  # so does this one
        function.can_block_in("tests/test_tree_whole.py", {"change"})  # and this one writes
        function.can_block_in("tests/servers/faulty.py", {"change"})  # what a test does, in the server's own thread
        function.can_block_predicate = not_ours_or(function.can_block_predicate)
    guard.activate()
    yield
    guard.deactivate()


def not_ours_or(may_block: Callable[..., bool]) -> Callable[..., bool]:
    """Pass a call that no function of the library has made. BlockBuster takes long to find that out."""

    def may(*args: object, **kwargs: object) -> bool:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(LIBRARY):
                return may_block(*args, **kwargs)
            if code is RUN_OF_A_CALLBACK:  # below it is the event loop, and below that the test
                break
            frame = frame.f_back
        return True

    return may


def is_of_dask(task: asyncio.Task[object] | None) -> bool:
    """Return whether a cluster on this loop, which lives longer than the test, has begun a task of its own."""
    coroutine = task.get_coro() if task is not None else None
    return "/distributed/" in getattr(getattr(coroutine, "cr_code", None), "co_filename", "")


@pytest_asyncio.fixture(autouse=True)
async def every_task_has_ended(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    if inspect.iscoroutinefunction(request.function):
        left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not is_of_dask(task)}
        assert not left, f"tasks left behind: {left}"


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SharedServers:
    """The programs that all workers of this run use: Ceph and Swift take seconds of CPU to start."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ and sys.platform != "win32":
        home = home.parent
    servers = request.config.stash[SHARED] = SharedServers(home / "servers")
    return servers


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Not in a fixture: waiting for the other workers is no part of the time that a test may take."""
    if servers := session.config.stash.get(SHARED, None):
        servers.close()


@pytest.fixture(scope="session")
def authority(shared: SharedServers) -> trustme.CA:
    """One for all workers, because they share the servers that it vouches for."""
    return trustme.CA.from_pem(*shared.get("authority", lambda _: nullcontext(new_authority())))


def new_authority() -> tuple[bytes, bytes]:
    made = trustme.CA()
    return made.cert_pem.bytes(), made.private_key_pem.bytes()


@pytest.fixture(scope="session")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("certificate")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    chain, key = home / "cert.pem", home / "key.pem"
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(chain), append=number > 0)
    issued.private_key_pem.write_to_path(str(key))
    return chain, key


@pytest.fixture(scope="session")
def gateway(shared: SharedServers) -> ceph.Gateway:
    if not ceph.is_installed():
        if os.environ.get("CI") == "true":
            pytest.fail(NO_CEPH, pytrace=False)
        pytest.skip(NO_CEPH)
    return shared.get("ceph", ceph.gateway)


@pytest.fixture(scope="session")
def rgw(gateway: ceph.Gateway) -> Server:
    return Server(
        "rgw",
        dream.Service.ceph_rgw(gateway.endpoint),
        gateway.access_key,
        gateway.secret_key,
        other_account=(gateway.other_access_key, gateway.other_secret_key),
    )


@pytest.fixture(scope="session")
def rgw_tls(rgw: Server, gateway: ceph.Gateway) -> Server:
    return replace(rgw, name="rgw-tls", service=dream.Service.ceph_rgw(gateway.tls_endpoint), ca=gateway.ca)


@pytest.fixture(scope="session")
def gateway_v2(rgw: Server) -> Server:
    """The gateway as an old DreamObjects cluster is spoken to."""
    return replace(rgw, service=replace(rgw.service, signature="v2"))


@pytest.fixture(scope="session")
def gateway_virtual(rgw: Server) -> Server:
    """The gateway by the domain that its script names: no resolver knows it, so it takes the ``proxy``."""
    endpoint = rgw.service.endpoint.replace("127.0.0.1", "s3.localhost")
    return replace(rgw, service=replace(rgw.service, endpoint=endpoint, addressing="virtual"))


@pytest.fixture(scope="session")
def moto(shared: SharedServers) -> Server:
    endpoint = shared.get("moto", moto_server)
    return Server("moto", dream.Service.for_endpoint(endpoint), "testing", "testing")


@pytest.fixture(scope="module")
def own_moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For the docs, whose buckets have fixed names: other workers of the run use them at the same time."""
    with moto_server(tmp_path_factory.mktemp("moto")) as endpoint:
        yield Server("moto", dream.Service.for_endpoint(endpoint), "testing", "testing")


@pytest.fixture(scope="session")
def moto_tls(shared: SharedServers, certificate: tuple[Path, Path], ca: Path) -> Server:
    endpoint = shared.get("moto-tls", lambda home: moto_server(home, certificate))
    return Server("moto-tls", dream.Service.for_endpoint(endpoint), "testing", "testing", ca)


@pytest.fixture(scope="session")
def b2_server(certificate: tuple[Path, Path]) -> Iterator[B2Server]:
    with B2Server(*certificate) as running:
        yield running


@pytest.fixture(scope="session")
def b2(b2_server: B2Server, ca: Path) -> Server:
    service = replace(dream.US_EAST_5, endpoint=b2_server.endpoint)
    return Server("b2", service, b2_server.access_key, b2_server.secret_key, ca)


def independent(name: str, endpoint: str) -> Server:
    return Server(name, dream.Service.for_endpoint(endpoint), programs.USER, programs.PASSWORD)


@pytest.fixture(scope="session")
def rclone(shared: SharedServers) -> Server:
    return independent("rclone", shared.get("rclone", programs.rclone))


@pytest.fixture(scope="session")
def localbucket(shared: SharedServers) -> Server:
    return independent("localbucket", shared.get("localbucket", programs.localbucket))


@pytest.fixture(scope="session")
def juicefs(shared: SharedServers) -> Server:
    endpoint = shared.get("juicefs", lambda home: programs.juicefs(home, programs.JUICEFS_OPTIONS))
    return independent("juicefs", endpoint)


@pytest.fixture(scope="session")
def juicefs_plain(shared: SharedServers) -> Server:
    """It keeps neither ETags nor tags nor metadata."""
    return independent("juicefs-plain", shared.get("juicefs-plain", lambda home: programs.juicefs(home, ())))


@pytest.fixture(scope="session")
def swift(shared: SharedServers) -> Server:
    if not openstack.is_installed():
        pytest.skip(NO_SWIFT)
    service = dream.Service.for_endpoint(shared.get("swift", openstack.swift))
    return Server("swift", service, *openstack.ACCOUNT, other_account=openstack.OTHER_ACCOUNT)


@pytest.fixture(scope="session")
def memory() -> Server:
    service = MemoryService()
    return Server("memory", service.service, "unused", "unused", memory=service)


@pytest.fixture(scope="session")
def memory_served() -> Iterator[Server]:
    """The memory service behind a socket, so that others can look at it."""
    with ServedService(MemoryService()) as running:
        found = running.served
        yield Server("memory", dream.Service.for_endpoint(found.endpoint), found.access_key, found.secret_key)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A file that has ``ON`` is tried on these servers. What is built on requests does not depend on each."""
    if "server" in metafunc.fixturenames and hasattr(metafunc.module, "ON"):
        servers = pytest.mark.parametrize("server", metafunc.module.ON, indirect=True, scope="session")
        metafunc.definition.add_marker(servers)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param.replace("-", "_"))
    return found


@pytest_asyncio.fixture(scope="session")
async def session(server: Server) -> AsyncIterator[dream.Session]:
    async with server.session() as opened:
        yield opened


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    if await made.exists():
        await made.delete(force=True)


@pytest_asyncio.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ForwardProxy]:
    async with ForwardProxy() as running:
        monkeypatch.setenv("http_proxy", running.url)
        yield running


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        yield running


@pytest.fixture(scope="session")
def faulty_server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest_asyncio.fixture
async def faulty(faulty_server: FaultyServer, tmp_path: Path) -> AsyncIterator[FaultyServer]:
    """With a bucket named ``bucket``. What the test begins, it must have ended; all rules must have struck."""
    faulty_server.reset()
    faulty_server.make_bucket("bucket")
    async with nothing_is_left(faulty_server, tmp_path):
        yield faulty_server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("a small disk can be mounted by root alone, and not in every container")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def put_all(bucket: dream.Bucket, keys: Sequence[str]) -> None:
    """An empty object for each key, 16 at a time."""
    remaining = iter(keys)

    async def put_some() -> None:
        for key in remaining:
            await bucket.object(key).put(b"")

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(put_some())


async def keys_of(listing: dream.Listing[dream.ObjectInfo]) -> list[str]:
    return [info.key async for info in listing]


def new_name() -> str:
    return f"test-{uuid.uuid4().hex[:16]}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report.longreprtext for report in terminalreporter.getreports("skipped")]
    for reason in (NO_CEPH, NO_SWIFT):
        if count := sum(reason in text for text in skipped):
            terminalreporter.write_line(f"!!! {count} TESTS DID NOT RUN. {reason}", red=True, bold=True)
