"""HTTP proxies: a real one, tinyproxy, in front of real services; and proxies that misbehave. On every event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import traceback
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from conftest import Server, new_name
from loops import on_every_loop
from servers.ports import free_port
from servers.proxy import ForwardProxy, tls_in_front_of
from servers.raw import Peer, RawServer, Script
from servers.scripted import Content, Raw, Reply, ScriptedServer, Silence
from servers.tinyproxy import TinyProxy, is_installed, tinyproxy
from yarl import URL

import aiodreamobjects as dream
from aiodreamobjects._http.proxy import Proxy, find_proxy

NO_TINYPROXY = "TINYPROXY IS NOT INSTALLED: no proxy was tested. Run: tests/servers/rgw install"
USER, PASSWORD = "user.name", "CANARY-password"
SECRETS = re.compile(f"{PASSWORD}|{b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}|CANARY")
QUICK = dream.Retry(attempts=3, base=0.001, cap=0.002)
LIBRARY = str(Path(dream.__file__).parent)


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert not SECRETS.search(caplog.text)


# Proxies and services


@pytest.fixture(scope="module")
def open_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyProxy]:
    require_tinyproxy()
    with tinyproxy(tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyProxy]:
    require_tinyproxy()
    with tinyproxy(tmp_path_factory.mktemp("proxy"), user=USER, password=PASSWORD) as running:
        yield running


def require_tinyproxy() -> None:
    if not is_installed():
        if os.environ.get("CI") == "true":
            pytest.fail(NO_TINYPROXY, pytrace=False)
        pytest.skip(NO_TINYPROXY)


@pytest.fixture(params=["rgw", "rgw_tls", "moto"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Name the proxy of sessions that open from now on, for http and https."""

    def use_proxy(url: str) -> None:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("https_proxy", url)

    return use_proxy


@pytest.fixture(scope="session")
def both_authorities(rgw_tls: Server, ca: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway's certificate, and the authority of the tests' own servers."""
    path = tmp_path_factory.mktemp("ca") / "both.pem"
    assert rgw_tls.ca is not None
    path.write_text(rgw_tls.ca.read_text() + ca.read_text())
    return path


@asynccontextmanager
async def bucket_on(server: Server) -> AsyncIterator[str]:
    """A bucket's name. The session that makes and deletes it opens before the test names a proxy."""
    async with server.session() as session:
        bucket = await session.create_bucket(new_name())
        try:
            yield bucket.name
        finally:
            await bucket.delete(force=True)


async def assert_serves(bucket: dream.Bucket) -> None:
    """Small and large objects, in one part and in several, both ways."""
    content = os.urandom(11 << 20)
    await bucket.object("a b/ü+").put(b"small")
    info = await bucket.object("large").put(content)
    assert await bucket.object("a b/ü+").read() == b"small"
    assert await bucket.object("large").read() == content
    assert info.size == len(content)
    assert [entry.key for entry in await bucket.list().collect()] == ["a b/ü+", "large"]
    await bucket.object("large").delete()
    assert not await bucket.object("large").exists()


PARTS = dream.Limits(part_size=5 << 20)


def percent_encoded(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


# Through a real proxy


@on_every_loop
async def test_all_requests_travel_through_the_proxy(
    server: Server, open_proxy: TinyProxy, use: Callable[[str], None]
) -> None:
    async with bucket_on(server) as name:
        use(f"http://{open_proxy.address}")
        before = len(open_proxy.requests)
        async with server.session(limits=PARTS) as session:
            await assert_serves(session.bucket(name))
            await session.bucket(name).delete_many(["a b/ü+"])
            assert session.statistics().retries == 0
    assert open_proxy.hosts(before) == {server.service.host}
    methods = {request.partition(" ")[0] for request in open_proxy.requests[before:]}
    assert methods == ({"CONNECT"} if server.service.scheme == "https" else {"DELETE", "GET", "HEAD", "POST", "PUT"})


@on_every_loop
async def test_requests_about_buckets_travel_through_the_proxy_too(
    rgw_tls: Server, guarded_proxy: TinyProxy, use: Callable[[str], None]
) -> None:
    use(f"http://{USER}:{PASSWORD}@{guarded_proxy.address}")
    before = len(guarded_proxy.requests)
    async with rgw_tls.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.set_acl("public-read")
        assert bucket.name in [info.name async for info in session.buckets()]
        await bucket.delete(force=True)
        assert not await bucket.exists()
    assert guarded_proxy.hosts(before) == {rgw_tls.service.host}


@on_every_loop
async def test_user_and_password_are_percent_decoded(
    server: Server, guarded_proxy: TinyProxy, use: Callable[[str], None]
) -> None:
    async with bucket_on(server) as name:
        before = len(guarded_proxy.requests)
        use(f"http://{percent_encoded(USER)}:{percent_encoded(PASSWORD)}@{guarded_proxy.address}")
        async with server.session(limits=PARTS) as session:
            await assert_serves(session.bucket(name))
            assert PASSWORD not in repr(session)
            assert session.statistics().retries == 0
    assert guarded_proxy.hosts(before) == {server.service.host}


@on_every_loop
async def test_the_proxy_itself_may_speak_tls(
    server: Server,
    guarded_proxy: TinyProxy,
    certificate: tuple[Path, Path],
    both_authorities: Path,
    use: Callable[[str], None],
) -> None:
    """TLS inside TLS, where the endpoint speaks it too."""
    async with bucket_on(server) as name, tls_in_front_of(guarded_proxy.port, certificate) as port:
        before = len(guarded_proxy.requests)
        use(f"https://{USER}:{PASSWORD}@localhost:{port}")
        async with server.session(limits=PARTS, ca=both_authorities) as session:
            await assert_serves(session.bucket(name))
            assert session.statistics().retries == 0
    assert guarded_proxy.hosts(before) == {server.service.host}


@on_every_loop
async def test_a_tunnel_is_used_again(rgw_tls: Server, open_proxy: TinyProxy, use: Callable[[str], None]) -> None:
    async with bucket_on(rgw_tls) as name:
        use(f"http://{open_proxy.address}")
        before = len(open_proxy.requests)
        async with rgw_tls.session() as session:
            for number in range(10):
                await session.bucket(name).object(str(number)).put(b"x", if_absent=number % 2 == 0)
            assert session.statistics().open_connections == 1
        assert len(open_proxy.requests) == before + 1


@on_every_loop
async def test_a_proxy_that_closes_without_notice_costs_no_attempt(
    rgw: Server, open_proxy: TinyProxy, use: Callable[[str], None]
) -> None:
    """As tinyproxy does after each response."""
    async with bucket_on(rgw) as name:
        use(f"http://{open_proxy.address}")
        async with rgw.session() as session:
            bucket = session.bucket(name)
            for number in range(50):
                await bucket.object(str(number)).put(b"x", if_absent=True)
                await bucket.delete_many([str(number)])
            assert session.statistics().retries == 0
            assert session.statistics().open_connections <= 1


@on_every_loop
async def test_every_bucket_is_a_host_of_its_own(rgw_tls: Server, use: Callable[[str], None]) -> None:
    """No resolver knows them: only the proxy looks up names."""
    async with bucket_on(rgw_tls) as one, bucket_on(rgw_tls) as other, ForwardProxy() as proxy:
        use(proxy.url)
        endpoint = rgw_tls.service.endpoint.replace("127.0.0.1", "s3.localhost")
        service = replace(rgw_tls.service, endpoint=endpoint, addressing="virtual")
        async with rgw_tls.session(service=service) as session:
            for _ in range(2):
                for name in (one, other):
                    await session.bucket(name).object("a").put(name)
                    assert await session.bucket(name).object("a").read_text() == name
        assert sorted(proxy.targets) == sorted(f"{name}.{service.host}" for name in (one, other))


@on_every_loop
async def test_presigned_urls_are_those_of_the_service(
    server: Server, open_proxy: TinyProxy, use: Callable[[str], None]
) -> None:
    async with bucket_on(server) as name:
        use(f"http://{USER}:{PASSWORD}@{open_proxy.address}")
        async with server.session() as session:
            obj = session.bucket(name).object("a")
            await obj.put(b"x")
            url = obj.presign_get()
        assert url.startswith(f"{server.service.endpoint}/{name}/a?")
        if server.service.scheme == "http":
            async with aiohttp.ClientSession() as anyone, anyone.get(URL(url, encoded=True)) as reply:
                assert await reply.read() == b"x"


# Which proxy


@on_every_loop
async def test_no_proxy_lists_the_endpoint(rgw: Server, rgw_tls: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bucket_on(rgw) as name, ScriptedServer() as proxy:
        for server, exception in ((rgw, "example.com,127.0.0.0/8"), (rgw_tls, rgw_tls.service.host)):
            monkeypatch.setenv("all_proxy", proxy.endpoint)
            monkeypatch.setenv("no_proxy", exception)
            async with server.session() as session:
                await session.bucket(name).object("a").put(b"x")
        assert proxy.connections == 0


@on_every_loop
async def test_no_proxy_lists_other_ports_and_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer() as service, ScriptedServer() as proxy:
        proxy.will(Content(b"by proxy", "opaque-1"))
        monkeypatch.setenv("ALL_PROXY", proxy.endpoint)
        monkeypatch.setenv("no_proxy", "127.0.0.1:1,7.0.0.1,[::1],localhost")
        async with service.session() as session:
            assert await session.object("s3://bucket/a").read() == b"by proxy"
        assert service.connections == 0


@on_every_loop
async def test_the_environment_is_read_when_the_session_opens(
    open_proxy: TinyProxy, use: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedServer() as service:
        service.will(Content(b"x", "opaque-1"))
        async with service.session() as session:
            use("http://127.0.0.1:1")
            assert await session.object("s3://bucket/a").read() == b"x"
        use(f"http://{USER}:{PASSWORD}@{open_proxy.address}")
        async with service.session() as session:
            use("http://127.0.0.1:1")
            assert await session.object("s3://bucket/a").read() == b"x"
    told = [record.getMessage() for record in caplog.records if record.name == "aiodreamobjects"]
    assert told == [f"requests to {service.endpoint} go through the proxy http://{open_proxy.address}"]


NAMED: Mapping[str, tuple[str, Mapping[str, str], str | None]] = {
    "nothing": ("http", {}, None),
    "its own": ("http", {"http_proxy": "http://p:1", "https_proxy": "http://q:2"}, "http://p:1"),
    "the one for https": ("https", {"http_proxy": "http://p:1", "https_proxy": "http://q:2"}, "http://q:2"),
    "the other scheme's": ("https", {"http_proxy": "http://p:1"}, None),
    "all": ("https", {"all_proxy": "http://p:1"}, "http://p:1"),
    "ALL": ("http", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
    "its own before all": ("http", {"all_proxy": "http://p:1", "HTTP_PROXY": "http://q:2"}, "http://q:2"),
    "upper case": ("https", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
    "lower before upper case": ("http", {"HTTP_PROXY": "http://p:1", "http_proxy": "http://q:2"}, "http://q:2"),
    "empty": ("http", {"http_proxy": ""}, None),
    "empty hides upper case": ("http", {"HTTP_PROXY": "http://p:1", "http_proxy": ""}, None),
    "empty, and all": ("http", {"http_proxy": "", "all_proxy": "http://p:1"}, "http://p:1"),
    "a header of a CGI request": ("http", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
    "https in a CGI program": ("https", {"HTTPS_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://p:1"),
    "no scheme": ("http", {"http_proxy": "p:3128"}, "http://p:3128"),
    "no port": ("http", {"http_proxy": "http://p"}, "http://p:80"),
    "no port, over TLS": ("http", {"http_proxy": "https://p/"}, "https://p:443"),
    "an IPv6 address": ("http", {"http_proxy": "http://u@[::1]:3128/"}, "http://[::1]:3128"),
    "capitals and blanks": ("http", {"http_proxy": " HTTP://Proxy.Example.COM.:1 "}, "http://proxy.example.com:1"),
    "a SOCKS proxy for others": ("http", {"all_proxy": "socks5://p:1", "no_proxy": "service"}, None),
    "no_proxy": ("http", {"http_proxy": "http://p:1", "no_proxy": "service"}, None),
    "NO_PROXY": ("http", {"http_proxy": "http://p:1", "NO_PROXY": "service"}, None),
    "empty no_proxy": ("http", {"http_proxy": "http://p:1", "NO_PROXY": "service", "no_proxy": ""}, "http://p:1"),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_environment_names_a_proxy(name: str) -> None:
    scheme, environment, expected = NAMED[name]
    found = find_proxy(scheme, "service", environment)
    assert (found and str(found)) == expected


EXCEPTIONS = [  # host, what stands for it, what does not
    ("example.com", "*  example.com .example.com com *.example.com a,example.com EXAMPLE.com. example.com:80", None),
    ("example.com", None, "ample.com .www.example.com www.example.com example example.com:443 example.org , . *.org"),
    ("a.b.example.com", "example.com .example.com b.example.com *.b.example.com", "a.example.com xa.b.example.com"),
    ("example.com:8080", "example.com example.com:8080 .example.com:8080", "example.com:80 :8080"),
    ("10.1.2.3", "10.1.2.3 10.0.0.0/8 10.1.2.3/32 10.255.0.0/8 0.0.0.0/0 10.1.2.3:80", "10.1.2.4 10.1.3.0/24 2.3 ::/0"),
    ("10.1.2.3:9000", "10.1.2.3 10.1.2.3:9000 10.0.0.0/8", "10.1.2.3:80 .1.2.3"),
    ("[::1]", "::1 [::1] [::1]:80 0:0:0:0:0:0:0:1 ::/0 ::1/128", "::2 [::1]:81 0.0.0.0/0 fd00::/8 [ :: 1"),
    ("[::1]:9000", "::1 [::1] [::1]:9000 ::/64", "[::1]:80 [::1]:900"),
    ("[fd00::12]", "fd00::/8 fd00::12 FD00::12", "fe00::/8"),
]


@pytest.mark.parametrize(("host", "covering", "others"), EXCEPTIONS)
def test_no_proxy_lists_names_addresses_and_networks(host: str, covering: str | None, others: str | None) -> None:
    for entries, expected in ((covering, True), (others, False)):
        for entry in (entries or "").split(" "):
            for no_proxy in (entry, f"other.example.net, {entry} ,10.9.9.9"):
                found = find_proxy("http", host, {"http_proxy": "http://p:1", "no_proxy": no_proxy})
                assert (found is None) == (expected and bool(entry)), no_proxy


def test_the_port_of_a_host_is_its_schemes_where_it_is_not_named() -> None:
    environment = {"all_proxy": "http://p:1", "no_proxy": "example.com:443"}
    assert find_proxy("https", "example.com", environment) is None
    assert find_proxy("http", "example.com", environment) is not None
    assert find_proxy("https", "example.com:8443", environment) is not None


CREDENTIALS: Mapping[str, bytes | None] = {
    "p": None,
    "user@p": b"user:",
    "user:@p": b"user:",
    ":pass@p": b":pass",
    "user:pass@p": b"user:pass",
    "us%3aer:p%40ss%2F%25@p": b"us:er:p@ss/%",
    "user:p@ss:word@p": b"user:p@ss:word",
    "%C3%BC:%FF%0d%0a@p": b"\xc3\xbc:\xff\r\n",
    "ü:pass word@p": "ü:pass word".encode(),
}


@pytest.mark.parametrize("text", CREDENTIALS)
def test_user_and_password_become_basic_authentication(text: str) -> None:
    for value in (f"{text}:1", f"http://{text}:1"):
        proxy = find_proxy("http", "service", {"http_proxy": value})
        assert proxy is not None
        assert proxy == Proxy("http", "p", 1, proxy.authorization)
        scheme, _, told = str.partition(proxy.authorization or "", " ")
        assert (scheme, b64decode(told)) == (("", b"") if CREDENTIALS[text] is None else ("Basic", CREDENTIALS[text]))


def test_a_proxy_hides_its_user_and_password() -> None:
    proxy = find_proxy("http", "service", {"http_proxy": f"http://{USER}:{PASSWORD}@p:1"})
    shown = f"{proxy} {proxy!r} {[proxy]} {vars(type(proxy)).keys()}"
    assert USER not in shown
    assert not SECRETS.search(shown)
    assert not SECRETS.search(repr(proxy and proxy.authorization))


REFUSED = {
    "ftp://u:CANARY@p:1": "not an http:// or https:// URL",
    "http://": "not an http:// or https:// URL",
    "http://u:CANARY@": "not an http:// or https:// URL",
    "http://u:CANARY@p:99999": "not an http:// or https:// URL",
    "http://u:CANARY@p:0": "not an http:// or https:// URL",
    "http://u:CANARY@p:x": "not an http:// or https:// URL",
    "http://u:CAN/CANARY@p:1": "percent-encode special",
    "http://u:1/CANARY@p:1": "percent-encode special",
    "http://u:CANARY@p:1/path": "not an http:// or https:// URL",
    "http://u:CANARY@[p]:1": "not an http:// or https:// URL",
    "http://u:CANARY@[::g]:1": "not an http:// or https:// URL",
    "http://u:CANARY@a b:1": "not an http:// or https:// URL",
    "http://u:CANARY\n@p:1": "not an http:// or https:// URL",
    "http://u:CANARY\udcff@p:1": "not an http:// or https:// URL",
    "socks5://u:CANARY@p:1": "a SOCKS proxy, which is not supported",
    "SOCKS5H://u:CANARY@p:1": "a SOCKS proxy, which is not supported",
}


@pytest.mark.parametrize("value", REFUSED)
def test_a_value_that_names_no_http_proxy_is_refused_and_not_shown(value: str) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        with pytest.raises(ValueError, match=f"the proxy in {variable} is .*{REFUSED[value]}") as caught:
            find_proxy("http", "service", {variable: value})
        assert not SECRETS.search(told(caught.value))


async def test_a_session_with_such_a_value_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://u:CANARY@127.0.0.1:1")
    async with ScriptedServer() as service:
        with pytest.raises(ValueError, match="the proxy in ALL_PROXY is a SOCKS proxy") as caught:
            await service.session().open()
        assert not SECRETS.search(told(caught.value))
        assert service.connections == 0


# What is sent


@on_every_loop
async def test_a_plain_request_is_sent_in_absolute_form(use: Callable[[str], None]) -> None:
    """Nobody here looks up the service's name."""
    async with ScriptedServer() as proxy:
        proxy.will(Content(b"x", "opaque-1"))
        use(f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}")
        async with proxy.session(endpoint="http://storage.invalid:8080") as session:
            for _ in range(2):
                assert await session.object("s3://bucket/a b").read() == b"x"
        assert proxy.requests == ["GET http://storage.invalid:8080/bucket/a%20b"] * 2
        for request in proxy.received:
            scheme, _, credentials = request.headers["proxy-authorization"].partition(" ")
            assert (scheme, b64decode(credentials)) == ("Basic", f"{USER}:{PASSWORD}".encode())
            assert request.headers["host"] == "storage.invalid:8080"


@pytest.mark.parametrize(
    ("header", "connections"),
    [
        ({"Connection": "Keep-Alive"}, 1),
        ({"Proxy-Connection": "keep-alive"}, 1),
        ({"Connection": "close"}, 4),
        ({}, 4),
    ],
)
@on_every_loop
async def test_a_plain_connection_is_used_again_if_the_proxy_says_so(
    header: Mapping[str, str], connections: int, use: Callable[[str], None]
) -> None:
    async with ScriptedServer() as proxy:
        proxy.will(Reply(200, b"", {"ETag": '"opaque-1"', **header}))
        use(proxy.endpoint)
        service = replace(dream.Service.for_endpoint("http://storage.invalid"), is_known=True)
        async with proxy.session(service=service) as session:
            for _ in range(2):
                await session.object("s3://bucket/a").head()
                await session.object("s3://bucket/a").put(b"x", if_absent=True, verify="off")
            assert session.statistics().retries == 0
        assert proxy.connections == connections
        assert all(request.headers["connection"] == "keep-alive" for request in proxy.received)


@on_every_loop
async def test_the_service_never_sees_the_proxys_password(
    guarded_proxy: TinyProxy, certificate: tuple[Path, Path], ca: Path, use: Callable[[str], None]
) -> None:
    for authority, endpoint_certificate in ((None, None), (ca, certificate)):
        async with ScriptedServer(endpoint_certificate) as service:
            service.will(Content(b"x", "opaque-1"))
            use(f"http://{USER}:{PASSWORD}@{guarded_proxy.address}")
            async with service.session(ca=authority) as session:
                assert await session.object("s3://bucket/a").read() == b"x"
            assert service.requests == ["GET /bucket/a"]
            assert "proxy-authorization" not in service.received[0].headers
            assert service.received[0].headers["host"] == f"127.0.0.1:{service.port}"


@on_every_loop
async def test_a_tunnel_is_asked_for_by_host_and_port(use: Callable[[str], None]) -> None:
    expected = {
        "https://storage.invalid": b"storage.invalid:443",
        "https://storage.invalid:9000": b"storage.invalid:9000",
        "https://[::1]": b"[::1]:443",
        "https://[fd00::443]:444": b"[fd00::443]:444",
    }
    async with RawServer(says(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
        for endpoint, authority in expected.items():
            use(f"http://u:p@{proxy.host}")
            await failure_at(endpoint)
            assert proxy.requests[-1].head == (
                b"CONNECT %s HTTP/1.1\r\nhost: %s\r\nproxy-authorization: Basic dTpw\r\n\r\n" % (authority, authority)
            )
        use(f"http://{proxy.host}")
        await failure_at("https://storage.invalid")
        assert b"proxy-authorization" not in proxy.requests[-1].head


# What goes wrong


def told(problem: BaseException) -> str:
    """All that a log or a crash report may tell of an error, with the locals of the library's frames."""
    shown = "".join(traceback.TracebackException.from_exception(problem).format())
    one: BaseException | None = problem
    while one is not None:
        shown += f"\n{one} {one!r} {one.args}\n"
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith((LIBRARY, asyncio.__path__[0])):
                shown += f"{frame.f_locals!r}\n"
        one = one.__cause__ or one.__context__
    return shown


async def failure_of(session: dream.Session, obj: str = "s3://bucket/a") -> dream.ConnectionFailedError:
    """What a read raises. No secret is in it."""
    with pytest.raises(dream.ConnectionFailedError) as caught:
        await session.object(obj).read()
    assert not SECRETS.search(told(caught.value))
    return caught.value


async def failure_at(
    endpoint: str, timeouts: dream.Timeouts | None = None, ca: Path | None = None
) -> dream.ConnectionFailedError:
    """The same, of a new session."""
    timeouts = timeouts or dream.Timeouts(connect=10, read=10, write=10)
    async with dream.Session(
        endpoint=endpoint, access_key="a", secret_key="b", retry=QUICK, timeouts=timeouts, ca=ca
    ) as session:
        error = await failure_of(session)
        assert session.statistics().retries == (2 if error.retryable else 0)
    assert str(error).startswith(f"{endpoint}")
    return error


def says(*pieces: bytes, then_closes: bool = False) -> Script:
    """Answer a request so."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if not then_closes:
            await peer.until_gone()

    return script


@dataclass(frozen=True, slots=True)
class Answer:
    """What a proxy says to CONNECT, and what becomes of it."""

    data: bytes
    words: str
    is_retryable: bool = False
    then_closes: bool = False


ANSWERS = {
    "unavailable": Answer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "answered CONNECT with status 502", is_retryable=True),
    "overloaded": Answer(
        b"HTTP/1.0 503 X\r\nContent-Length: 4\r\n\r\nBusy",
        "answered CONNECT with status 503",
        is_retryable=True,
        then_closes=True,
    ),
    "forbidden": Answer(b"HTTP/1.1 403\r\n\r\n", "answered CONNECT with status 403"),
    "not implemented by a server": Answer(
        b"HTTP/1.1 405 X\r\nX: " + b"a" * 5000 + b"\r\n\r\n" + b"<html>" * 9000, "answered CONNECT with status 405"
    ),
    "redirected": Answer(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "answered CONNECT with status 302"),
    "interim": Answer(b"HTTP/1.1 100 Continue\r\n\r\n", "answered CONNECT with status 100"),
    "a password is wanted": Answer(
        b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\n\r\n", "wants authentication: .*status 407"
    ),
    "tinyproxy's refusal": Answer(b"HTTP/1.0 401 Unauthorized\r\n\r\n", "wants authentication: .*status 401"),
    "another protocol": Answer(b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer CONNECT in HTTP"),
    "TLS": Answer(b"\x15\x03\x01\x00\x02\x02\x46", "does not answer CONNECT in HTTP", then_closes=True),
    "no status": Answer(b"HTTP/1.1 OK\r\n\r\n", "does not answer CONNECT in HTTP"),
    "HTTP/2": Answer(b"HTTP/2 200 OK\r\n\r\n", "does not answer CONNECT in HTTP"),
    "bare line ends": Answer(
        b"HTTP/1.1 200 OK\n\n", "closed the connection before", is_retryable=True, then_closes=True
    ),
    "nothing": Answer(b"", "closed the connection before it answered CONNECT", is_retryable=True, then_closes=True),
    "half a head": Answer(b"HTTP/1.1 200 OK\r\nX", "closed the connection before", is_retryable=True, then_closes=True),
    "endless head": Answer(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000, "answers CONNECT with a head of over 8,192 bytes"),
    "too long a head": Answer(
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000 + b"\r\n\r\n", "answers CONNECT with a head of over 8,192 bytes"
    ),
    "early bytes": Answer(b"HTTP/1.1 200 OK\r\n\r\nx", "sent bytes into the tunnel before TLS began"),
    "a body": Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "sent bytes into the tunnel before TLS began"),
}


@pytest.mark.parametrize("name", ANSWERS)
@on_every_loop
async def test_what_is_no_tunnel_is_a_failed_connection(name: str, use: Callable[[str], None]) -> None:
    answer = ANSWERS[name]
    async with RawServer(says(answer.data, then_closes=answer.then_closes)) as proxy:
        use(f"http://{proxy.host}")
        error = await failure_at("https://storage.invalid")
        assert re.search(f"the proxy {re.escape(proxy.host)} {answer.words}", str(error))
        assert (error.retryable, error.request_sent) == (answer.is_retryable, False)
        assert proxy.connections == (3 if answer.is_retryable else 1)
        await proxy.until(lambda: not proxy.open_connections)


@pytest.mark.parametrize("name", ["unavailable", "a password is wanted", "another protocol", "half a head"])
@on_every_loop
async def test_an_answer_may_come_byte_by_byte(name: str, use: Callable[[str], None]) -> None:
    answer = ANSWERS[name]
    pieces = [answer.data[at : at + 1] for at in range(len(answer.data))]

    async def script(peer: Peer) -> None:
        with suppress(ConnectionError):
            await says(*pieces, then_closes=answer.then_closes)(peer)

    async with RawServer(script) as proxy:
        use(f"http://{proxy.host}")
        error = await failure_at("https://storage.invalid")
        assert re.search(answer.words, str(error))
        assert error.retryable == answer.is_retryable


SUCCESSES = [
    [b"HTTP/1.1 200 OK\r\n\r\n"],
    [b"HTTP/1.0 200\r\nProxy-agent: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
    [b"HTTP/1.1 201 Fine\r\nX: ", b"a" * 8000, b"\r\n\r", b"\n"],
    [bytes([byte]) for byte in b"HTTP/1.1 299 Connection established\r\n\r\n"],
]


@pytest.mark.parametrize("pieces", SUCCESSES, ids=range(len(SUCCESSES)))
@on_every_loop
async def test_every_success_makes_a_tunnel(
    pieces: list[bytes], certificate: tuple[Path, Path], ca: Path, use: Callable[[str], None]
) -> None:
    """RFC 9110 section 9.3.6: any 2xx, whatever its length is said to be."""
    async with ScriptedServer(certificate) as service:

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(*pieces)
            await tunnel(peer, service.port)

        service.will(Content(b"x", "opaque-1"))
        async with RawServer(script) as proxy:
            use(f"http://{proxy.host}")
            async with service.session(ca=ca) as session:
                assert await session.object("s3://bucket/a").read() == b"x"


async def tunnel(peer: Peer, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def hand_up() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(await peer.read())
        writer.close()

    up = asyncio.create_task(hand_up())
    try:
        while data := await reader.read(1 << 16):
            await peer.pour(data)
    finally:
        writer.close()
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)


@on_every_loop
async def test_a_proxy_that_is_not_there_may_come_back(use: Callable[[str], None]) -> None:
    for host in ("127.0.0.1", "[::1]", "localhost"):
        address = f"{host}:{free_port()}"
        for scheme in ("http", "https"):
            use(f"http://{USER}:{PASSWORD}@{address}")
            error = await failure_at(f"{scheme}://storage.invalid")
            assert f": the proxy {address} cannot be reached: " in str(error)
            assert "Connection refused" in str(error) or host == "localhost"
            assert (error.retryable, error.request_sent) == (True, False)


@on_every_loop
async def test_a_proxy_without_an_address_is_named(use: Callable[[str], None]) -> None:
    for scheme in ("http", "https"):
        use(f"http://{USER}:{PASSWORD}@proxy.invalid:3128")
        error = await failure_at(f"{scheme}://storage.invalid")
        assert ": the proxy proxy.invalid:3128: the host name is unknown" in str(error)
        assert not error.request_sent


@pytest.mark.parametrize("scheme", ["http", "https"])
@on_every_loop
async def test_a_silent_proxy_is_given_up(scheme: str, use: Callable[[str], None]) -> None:
    """The time to connect is for all of it: the proxy, its TLS, and the tunnel."""

    async def is_silent(peer: Peer) -> None:
        await peer.until_gone()

    async with RawServer(is_silent) as proxy:
        use(f"{scheme}://{proxy.host}")
        error = await failure_at("https://storage.invalid", dream.Timeouts(connect=0.2))
        message = f"https://storage.invalid did not connect within 0.2 s through the proxy {proxy.host}"
        assert (str(error), error.retryable, error.request_sent) == (message, True, False)
        await proxy.until(lambda: not proxy.open_connections)


@on_every_loop
async def test_a_tunnel_whose_other_end_is_silent_is_given_up(use: Callable[[str], None]) -> None:
    async with RawServer(says(b"HTTP/1.1 200 OK\r\n\r\n")) as proxy:
        use(f"http://{proxy.host}")
        error = await failure_at("https://storage.invalid", dream.Timeouts(connect=0.2))
        assert "did not connect within 0.2 s" in str(error)
        assert (error.retryable, error.request_sent) == (True, False)
        await proxy.until(lambda: not proxy.open_connections)


@on_every_loop
async def test_a_tunnel_that_ends_in_the_handshake_may_be_tried_again(use: Callable[[str], None]) -> None:
    async with RawServer(says(b"HTTP/1.1 200 OK\r\n\r\n", then_closes=True)) as proxy:
        use(f"http://{proxy.host}")
        error = await failure_at("https://storage.invalid")
        assert "https://storage.invalid: connection failed: " in str(error)
        assert (error.retryable, error.request_sent) == (True, False)


@on_every_loop
async def test_a_wrong_password_is_not_tried_again(
    server: Server, guarded_proxy: TinyProxy, use: Callable[[str], None]
) -> None:
    for user, words in (
        ("", r"wants authentication: put user and password into its URL \(status 407\)"),
        (f"{USER}:CANARY@", r"refuses the user and password in its URL \(status 401\)"),
    ):
        before = len(guarded_proxy.requests)
        use(f"http://{user}{guarded_proxy.address}")
        async with server.session(retry=QUICK) as session:
            error = await failure_of(session)
            assert re.fullmatch(
                f"{server.service.endpoint}: the proxy {re.escape(guarded_proxy.address)} {words}", str(error)
            )
            assert (error.retryable, error.request_sent, session.statistics().retries) == (False, False, 0)
        assert len(guarded_proxy.requests) == before + 1


@on_every_loop
async def test_a_proxy_chooses_the_ports_of_its_tunnels(
    rgw_tls: Server, tmp_path: Path, use: Callable[[str], None]
) -> None:
    require_tinyproxy()
    with tinyproxy(tmp_path, tunnels_to=[443]) as proxy:
        use(f"http://{proxy.address}")
        async with rgw_tls.session(retry=QUICK) as session:
            error = await failure_of(session)
            assert str(error).endswith(f"the proxy {proxy.address} answered CONNECT with status 403")
            assert (error.retryable, error.request_sent) == (False, False)


@on_every_loop
async def test_a_plain_proxy_that_wants_a_password_is_no_service_that_refuses(use: Callable[[str], None]) -> None:
    for user, words in (("", "wants authentication"), (f"{USER}:{PASSWORD}@", "refuses the user and password")):
        async with ScriptedServer() as proxy:
            proxy.will(Reply(407, b"<Error><Code>AccessDenied</Code></Error>", {"Proxy-Authenticate": "Basic"}))
            use(f"http://{user}127.0.0.1:{proxy.port}")
            error = await failure_at("http://storage.invalid")
            assert f"http://storage.invalid: the proxy 127.0.0.1:{proxy.port} {words}" in str(error)
            assert (error.retryable, error.request_sent) == (False, False)
            assert len(proxy.received) == 1


@on_every_loop
async def test_a_plain_proxy_refuses_a_large_body(use: Callable[[str], None]) -> None:
    """Before it has read all of it."""

    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 407 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await peer.until_gone()

    async with RawServer(refuses, receive_buffer=4096) as proxy:
        use(f"http://{proxy.host}")
        async with ScriptedServer() as service, service.session() as session:
            for verb in (
                lambda: session.object("s3://bucket/a").put(bytes(4 << 20), verify="off"),
                lambda: session.object("s3://bucket/a").head(),
                lambda: session.bucket("bucket").delete_many(["a"]),
            ):
                with pytest.raises(dream.DreamObjectsError) as caught:
                    await verb()
                assert "wants authentication" in str(caught.value)


@on_every_loop
async def test_what_the_service_answers_through_a_plain_proxy_stays_an_answer(use: Callable[[str], None]) -> None:
    async with ScriptedServer() as proxy:
        use(proxy.endpoint)
        async with proxy.session(endpoint="http://storage.invalid", retry=QUICK) as session:
            for status, kind in ((502, dream.ServiceBusyError), (401, dream.AccessDeniedError)):
                proxy.will(Reply(status))
                with pytest.raises(kind):
                    await session.object("s3://bucket/a").read()


@on_every_loop
async def test_a_plain_proxy_that_breaks_off_is_told_as_any_peer(use: Callable[[str], None]) -> None:
    """It stands for the service: what it says is the answer."""
    async with ScriptedServer() as proxy:
        use(f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}")
        for step, words, is_retryable in (
            (Raw(b"SSH-2.0-OpenSSH\r\n"), "does not answer in HTTP", False),
            (Raw(), "the peer closed it", True),
            (Silence(), "was silent for 0.2 s", True),
        ):
            proxy.will(step)
            error = await failure_at("http://storage.invalid", dream.Timeouts(read=0.2))
            assert words in str(error)
            assert (error.retryable, error.request_sent) == (is_retryable, True)


# TLS


@on_every_loop
async def test_the_endpoints_certificate_is_verified_inside_the_tunnel(
    rgw_tls: Server, open_proxy: TinyProxy, ca: Path, use: Callable[[str], None]
) -> None:
    use(f"http://{open_proxy.address}")
    endpoint = rgw_tls.service.endpoint
    error = await failure_at(endpoint, ca=ca)
    assert str(error).startswith(f"{endpoint}: its certificate cannot be trusted")
    assert (error.retryable, error.request_sent) == (False, False)


@on_every_loop
async def test_the_endpoints_name_is_verified_and_not_the_proxys(
    rgw_tls: Server, certificate: tuple[Path, Path], both_authorities: Path, use: Callable[[str], None]
) -> None:
    async with ForwardProxy() as proxy, tls_in_front_of(int(proxy.url.rpartition(":")[2]), certificate) as port:
        use(f"https://127.0.0.1:{port}")
        endpoint = f"https://storage.invalid:{rgw_tls.service.endpoint.rpartition(':')[2]}"
        error = await failure_at(endpoint, ca=both_authorities)
        assert str(error).startswith(f"{endpoint}: its certificate cannot be trusted: Hostname mismatch")


@on_every_loop
async def test_the_proxys_certificate_is_verified_before_anything_is_sent(
    guarded_proxy: TinyProxy,
    certificate: tuple[Path, Path],
    rgw: Server,
    rgw_tls: Server,
    use: Callable[[str], None],
) -> None:
    before = len(guarded_proxy.requests)
    async with tls_in_front_of(guarded_proxy.port, certificate) as port:
        use(f"https://{USER}:{PASSWORD}@127.0.0.1:{port}")
        for endpoint in (rgw.service.endpoint, rgw_tls.service.endpoint):
            error = await failure_at(endpoint, ca=rgw_tls.ca)
            assert str(error).startswith(f"{endpoint}: the proxy 127.0.0.1:{port}: its certificate cannot be trusted")
            assert (error.retryable, error.request_sent) == (False, False)
    assert len(guarded_proxy.requests) == before


@on_every_loop
async def test_a_proxy_that_does_not_speak_tls_is_not_spoken_to_in_the_clear(use: Callable[[str], None]) -> None:
    received = []

    async def does_not_understand(peer: Peer) -> None:
        received.append(await peer.read())
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        received.append(await peer.read())

    async with RawServer(does_not_understand) as proxy:
        use(f"https://{USER}:{PASSWORD}@{proxy.host}")
        for scheme in ("http", "https"):
            error = await failure_at(f"{scheme}://storage.invalid")
            assert f": the proxy {proxy.host}: TLS failed, is this a plain http port?" in str(error)
            assert (error.retryable, error.request_sent) == (False, False)
    assert len(received) >= 2
    assert not any(b"storage.invalid" in data or SECRETS.search(data.decode("latin-1")) for data in received)


@on_every_loop
async def test_a_proxy_that_speaks_first_is_refused(use: Callable[[str], None]) -> None:
    async def speaks(peer: Peer) -> None:
        peer.blurt(b"220 smtp.example.com\r\n")
        await peer.until_gone()

    async with RawServer(speaks) as proxy:
        for url, endpoint in (("http", "http"), ("http", "https"), ("https", "http"), ("https", "https")):
            use(f"{url}://{proxy.host}")
            error = await failure_at(f"{endpoint}://storage.invalid")
            assert re.search(
                "before the first request|answer no request|TLS failed|does not answer CONNECT in HTTP", str(error)
            )


# Leaving


@pytest.mark.parametrize("moment", ["tls with the proxy", "connect", "tls in the tunnel"])
@on_every_loop
async def test_a_cancelled_tunnel_leaves_nothing(moment: str, use: Callable[[str], None]) -> None:
    async def hangs(peer: Peer) -> None:
        if moment == "tls with the proxy":
            await peer.take(1)
        else:
            await peer.request()
            if moment == "tls in the tunnel":
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
                await peer.take(1)
        reached.set()
        await peer.until_gone()

    reached = asyncio.Event()
    async with RawServer(hangs) as proxy:
        use(f"http{'s' if moment == 'tls with the proxy' else ''}://{proxy.host}")
        async with dream.Session(endpoint="https://storage.invalid", access_key="a", secret_key="b") as session:
            for how in ("cancel", "timeout"):
                reached.clear()
                reading = asyncio.create_task(session.object("s3://bucket/a").read())
                await reached.wait()
                if how == "cancel":
                    reading.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await reading
                else:
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(reading, 0.01)
                assert session.statistics().open_connections == 0
                await proxy.until(lambda: not proxy.open_connections)
            reached.clear()
            reading = asyncio.create_task(session.object("s3://bucket/a").read())
            await reached.wait()
        with pytest.raises(dream.SessionClosedError):
            await reading
        await proxy.until(lambda: not proxy.open_connections)


@on_every_loop
async def test_a_tunnel_that_breaks_under_a_body_is_a_body_that_ended_early(
    certificate: tuple[Path, Path], ca: Path, use: Callable[[str], None]
) -> None:
    """Through TLS inside TLS as well; the next attempt takes up where it ended."""
    content = os.urandom(3 << 20)
    async with (
        ScriptedServer(certificate) as service,
        ForwardProxy() as proxy,
        tls_in_front_of(int(proxy.url.rpartition(":")[2]), certificate) as port,
    ):
        for url in (proxy.url, f"https://127.0.0.1:{port}"):
            service.will(Content(content, "opaque-1", cut=1 << 20), Content(content, "opaque-1"))
            use(url)
            async with service.session(ca=ca) as session:
                assert await session.object("s3://bucket/a").read() == content
            assert len(service.received) == 2
