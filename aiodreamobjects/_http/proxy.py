"""HTTP proxies: find the one that the environment names for a host, and send requests through it. Knows nothing of S3.

A request to a plain http endpoint is sent to the proxy in absolute form (RFC 9112 section 3.2.2). For an https endpoint
the proxy makes a tunnel (CONNECT, RFC 9110 section 9.3.6), and TLS with the endpoint runs inside it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from aiodreamobjects._config import Secret, Timeouts
from aiodreamobjects._errors import ConnectionFailedError
from aiodreamobjects._http.connection import Connection, Owner
from aiodreamobjects._http.exchange import Exchange
from aiodreamobjects._http.paces import Paces
from aiodreamobjects._http.transport import HeaderLines, Request

LONGEST_REPLY_BYTES = 8 << 10
"""The longest head of an answer to CONNECT. Only its status matters."""
PORTS = {"http": 80, "https": 443}

# Compiled at their first use: most sessions have no proxy.
_URL = (
    r"(?i)(?:(?P<scheme>https?)://)?"
    r"(?:(?P<user>[^@:/?#]*)(?::(?P<password>[^/?#]*))?@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?/?"
)
_NAME_AND_PORT = r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?"
_STATUS_LINE = rb"HTTP/1\.[01] (?P<status>[1-9][0-9]{2})(?: [^\r\n]*)?"
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. Neither ``repr`` nor ``str`` shows its user and password."""

    scheme: str
    """``https`` means TLS with the proxy itself."""
    host: str
    """A name, or an IP address without brackets."""
    port: int
    authorization: Secret | None = field(default=None, repr=False)
    """The value of ``Proxy-Authorization``, made from user and password."""

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return join_host(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


# The environment


def find_proxy(scheme: str, host: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy for requests to a host, if there is one. ``host`` includes a port that is not the scheme's default.

    ``http_proxy`` or ``https_proxy`` names it, by the scheme, or else ``all_proxy``. ``no_proxy`` lists hosts without one.
    A name in lower case hides the one in upper case, even if it is empty. The port defaults to the scheme's.
    Raises ValueError for a value that is not an http:// or https:// URL. The error names the variable and hides the value.
    """
    variable, value = _named_proxy(scheme, environment)
    if value is None or is_excepted(scheme, host, _setting("no_proxy", environment)[1] or ""):
        return None
    del environment  # it holds secrets, and a traceback may show locals
    proxy = _parse(value)
    if proxy is None:
        raise ValueError(_why_refused(variable, value))
    return proxy


def _named_proxy(scheme: str, environment: Mapping[str, str]) -> tuple[str, Secret | None]:
    """Return the variable that names the proxy, and its value."""
    found = _setting(f"{scheme}_proxy", environment)
    return found if found[1] is not None else _setting("all_proxy", environment)


def _setting(name: str, environment: Mapping[str, str]) -> tuple[str, Secret | None]:
    # A CGI program gets each header of a request as a variable: "Proxy: x" becomes HTTP_PROXY=x (CVE-2016-1000110).
    is_forgeable = name == "http_proxy" and "REQUEST_METHOD" in environment
    variable = name if name in environment or is_forgeable else name.upper()
    value = environment.get(variable, "").strip()
    return variable, Secret(value) if value else None


def _parse(value: Secret) -> Proxy | None:
    """Return the proxy of a URL, or ``None`` for any other value. Raises nothing: a traceback could show the password."""
    match = re.fullmatch(_URL, value) if value.isprintable() else None
    if match is None:
        return None
    scheme = (match["scheme"] or "http").lower()
    port = int(match["port"] or PORTS[scheme])
    host = match["host"].lower().strip("[]").rstrip(".")
    if not 0 < port < 1 << 16 or not host or (":" in host and _network(host) is None):
        return None
    return Proxy(scheme, host, port, _authorization(match["user"], match["password"]))


def _authorization(user: str | None, password: str | None) -> Secret | None:
    """Return the "Basic" credentials of RFC 7617."""
    if user is None:
        return None
    credentials = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    return Secret(f"Basic {b64encode(credentials).decode()}")


def _why_refused(variable: str, value: Secret) -> str:
    if value.lower().startswith("socks"):
        return f"the proxy in {variable} is a SOCKS proxy, which is not supported: set an http:// or https:// one"
    return (
        f"the proxy in {variable} is not an http:// or https:// URL of a host and a port: "
        "correct it, and percent-encode special characters in its user and password"
    )


def is_excepted(scheme: str, host: str, no_proxy: str) -> bool:
    """Return whether ``no_proxy`` lists the host.

    Its entries are names, IP addresses, networks, and ``*`` for all hosts. A name covers all names below it. A name or an
    address may have a port.
    """
    name, port = split_host(host, PORTS[scheme])
    return any(_covers(entry, name.lower().rstrip("."), port) for entry in re.split(r"[\s,]+", no_proxy) if entry)


def _covers(entry: str, name: str, port: int) -> bool:
    """Return whether an entry of ``no_proxy`` covers this host."""
    if entry == "*":
        return True
    address = _network(name)
    network = _network(entry)
    if network is None:
        entry, entry_port = split_host(entry, port)
        if entry_port != port:
            return False
        network = _network(entry)
    if network is not None or address is not None:
        return network is not None and address is not None and address.network_address in network
    entry = entry.lower().removeprefix("*").strip(".")
    return bool(entry) and (name == entry or name.endswith(f".{entry}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network of a CIDR or of a single address, or ``None`` if the text is neither."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def split_host(host: str, default_port: int) -> tuple[str, int]:
    """Split ``name``, ``name:80``, ``[::1]`` or ``[::1]:80`` into the name or address, and the port."""
    match = re.fullmatch(_NAME_AND_PORT, host)
    if match is None:
        return host, default_port
    return match["address"] or match["name"] or "", int(match["port"] or default_port)


def join_host(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


# Plain http: requests in absolute form


class ForwardingConnection(Connection):
    """A connection to a proxy that forwards requests to a plain http endpoint.

    It is used again only if the proxy says "keep-alive". tinyproxy closes connections without announcing it: it may take
    the next request for a part of the one before, and forward it with the proxy's password, or lose it.
    """

    def __init__(
        self,
        proxy: Proxy,
        host: str,
        origin: str,
        owner: Owner,
        timeouts: Timeouts,
        paces: Paces,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(host, origin, owner, timeouts, paces, loop)
        self._proxy, self._peer = proxy, f"{origin}: the proxy {proxy.address}"

    async def request(self, request: Request) -> Exchange:
        """Send a request, as ``Connection.request``. Raises ConnectionFailedError if the proxy wants authentication."""
        exchange = await super().request(in_absolute_form(request, self._proxy))
        if _wants_authentication(exchange):
            raise authentication_failed(self._peer, self._proxy, exchange.status)
        return exchange

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        exchange = self._exchange
        if exchange is not None and exchange.status:
            options = exchange.headers.get(b"connection", b"") + exchange.headers.get(b"proxy-connection", b"")
            exchange.keeps_alive = exchange.keeps_alive and b"keep-alive" in options.lower()


def in_absolute_form(request: Request, proxy: Proxy) -> Request:
    """Return the request in the form for a proxy. Its signature stays valid: it covers the path and the ``host`` header."""
    headers = HeaderLines(f"{request.headers}connection: keep-alive\r\n{_authorization_line(proxy)}")
    return replace(request, target=f"http://{request.host}{request.target}", headers=headers)


def _authorization_line(proxy: Proxy) -> HeaderLines:
    return HeaderLines(f"proxy-authorization: {proxy.authorization}\r\n" if proxy.authorization else "")


def _wants_authentication(response: Exchange) -> bool:
    """Return whether the proxy itself refuses the request.

    tinyproxy answers 401 to a wrong password. No S3 service asks for "Basic" authentication.
    """
    if response.status == HTTPStatus.UNAUTHORIZED:
        return response.headers.get(b"www-authenticate", b"").lower().startswith(b"basic")
    return response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED


def authentication_failed(peer: str, proxy: Proxy, status: int) -> ConnectionFailedError:
    """Return the error for a proxy that refuses the client itself. ``peer`` names the endpoint and the proxy."""
    problem = "wants authentication: put user and password into its URL"
    if proxy.authorization is not None:
        problem = "refuses the user and password in its URL"
    return _failed(f"{peer} {problem} (status {status})")


# https: a tunnel


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel. Then TLS with the endpoint takes over the transport.

    ``peer`` names the endpoint and the proxy in errors.
    """

    def __init__(self, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        self._peer = peer
        self._received = bytearray()
        self._answered = loop.create_future()

    @property
    def has_received(self) -> bool:
        """Whether any byte has arrived."""
        return bool(self._received)

    async def open(self, transport: asyncio.Transport, authority: str, proxy: Proxy) -> None:
        """Ask for the tunnel and wait for the answer. Raises ConnectionFailedError if the proxy refuses."""
        lines = HeaderLines(f"host: {authority}\r\n{_authorization_line(proxy)}")
        transport.write(f"CONNECT {authority} HTTP/1.1\r\n{lines}\r\n".encode("ascii"))
        await self._answered
        refusal = judge_reply(bytes(self._received), self._peer, proxy)
        if refusal is not None:
            raise refusal

    def data_received(self, data: bytes) -> None:
        self._received += data
        if _is_judgeable(self._received):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._end()

    def _end(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)


def _is_judgeable(received: bytearray) -> bool:
    """Return whether the answer can be judged: its head is complete, too long, or not HTTP."""
    return not _is_http(received) or len(received) > LONGEST_REPLY_BYTES or _HEAD_END in received


def _is_http(received: bytes | bytearray) -> bool:
    return received.startswith(b"HTTP/1."[: len(received)])


def judge_reply(received: bytes, peer: str, proxy: Proxy) -> ConnectionFailedError | None:
    """Return the error for an answer to CONNECT, or ``None`` if there is a tunnel now."""
    head, end, rest = received.partition(_HEAD_END)
    match = re.fullmatch(_STATUS_LINE, head.partition(b"\r\n")[0])
    if len(head) > LONGEST_REPLY_BYTES:
        return _failed(f"{peer} answers CONNECT with a head of over {LONGEST_REPLY_BYTES:,} bytes")
    if not end and _is_http(received):
        return _failed(f"{peer} closed the connection before it answered CONNECT", retryable=True)
    if not end or match is None:
        return _failed(f"{peer} does not answer CONNECT in HTTP")
    return _judge_status(int(match["status"]), peer, proxy) or (_failed(f"{peer} {_TOO_EARLY}") if rest else None)


def _judge_status(status: int, peer: str, proxy: Proxy) -> ConnectionFailedError | None:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        return authentication_failed(peer, proxy, status)
    may_recover = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _failed(f"{peer} answered CONNECT with status {status}", retryable=may_recover)


def _failed(problem: str, *, retryable: bool = False) -> ConnectionFailedError:
    return ConnectionFailedError(problem, retryable=retryable, request_sent=False)


_TOO_EARLY = "sent bytes into the tunnel before TLS began"  # TLS would take them for the endpoint's
