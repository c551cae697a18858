"""Find a session's settings, and open what sends its requests.

aioboto3 and botocore are imported only if they are needed, and in a thread: the import takes longer than the first
hundred requests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from aiodreamobjects._concurrency import finish, naming_lack_of_threads
from aiodreamobjects._config import Credentials, Limits, Retry, Secret, Timeouts, hide
from aiodreamobjects._errors import CredentialsError
from aiodreamobjects._http.pool import Pool
from aiodreamobjects._http.proxy import find_proxy
from aiodreamobjects._later import Later
from aiodreamobjects._s3.call import Caller
from aiodreamobjects._s3.credentials import (
    CredentialSource,
    Found,
    StaticCredentials,
    find_in_environment,
    found_in_variables,
)
from aiodreamobjects._s3.gate import Gate
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._service import Addressing, Service, Signature

if TYPE_CHECKING:
    from aiodreamobjects._http import tls
    from aiodreamobjects._s3.cold import Cold
    from aiodreamobjects._s3.credentials import BotoSession
    from aiodreamobjects._s3.record import CallWatch
    from aiodreamobjects._trace import Observer
else:
    tls = Later("aiodreamobjects._http.tls")

T = TypeVar("T")

_log = logging.getLogger("aiodreamobjects")
_log.addHandler(logging.NullHandler())  # the program decides what is shown

_ACCESS_KEY = "DREAMOBJECTS_ACCESS_KEY_ID"
_SECRET_KEY = "DREAMOBJECTS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name


def variable(name: str) -> str | None:
    return os.environ.get(name) or None


def explicit_credentials(
    given: tuple[str | None, Secret | None, Secret | None], *, has_own: bool
) -> Credentials | CredentialsError | None:
    """Return the credentials of the arguments or of our variables, or the error to raise when the session opens.

    ``has_own``: the session looks for no keys in our variables.
    """
    access_key, secret_key, session_token = given
    names = ("access_key=", "secret_key=")
    if not any(given):
        names = (_ACCESS_KEY, _SECRET_KEY)
        if not has_own:
            access_key, secret_key = variable(_ACCESS_KEY), hide(variable(_SECRET_KEY))
    if access_key and secret_key:
        try:
            return Credentials(access_key, secret_key, session_token)
        except CredentialsError as error:
            return error
    if access_key or secret_key or session_token:
        missing = names[1] if access_key else names[0]
        return CredentialsError(
            f"half of the credentials is missing: {missing} is not set; set both {names[0]} and {names[1]}"
        )
    return None


async def connect(
    profile: str | None,
    boto_session: BotoSession | None,
    explicit: Credentials | CredentialsError | None,
    settle: Callable[[Found], Service],
    *,
    needs_endpoint: bool,
    anonymous: bool,
    limits: Limits,
    timeouts: Timeouts,
    retry: Retry,
    ca: str | os.PathLike[str] | None,
    observe: Observer | None,
) -> tuple[Service, S3]:
    """Find the settings that are still missing, and connect to the service that ``settle`` makes of them."""
    if isinstance(explicit, CredentialsError):
        raise CredentialsError(*explicit.args)
    needs_credentials = explicit is None and not anonymous
    found = await find(profile, boto_session, needs_credentials=needs_credentials, needs_endpoint=needs_endpoint)
    if needs_credentials and found.credentials is None:
        raise CredentialsError(_where_looked(found.profile))
    service = settle(found)
    opened = await open_s3(
        service,
        limits,
        timeouts,
        retry,
        anonymous=anonymous,
        explicit=explicit,
        found=found,
        ca=ca,
        observe=observe,
    )
    if service.scheme == "http" and not _is_loopback(service.host):
        _log.warning(
            "%s is not encrypted: others on the network can see what you store and read; use https if the service has it",
            service.endpoint,
        )
    return service, opened


def _where_looked(profile: str) -> str:
    return (
        "no credentials found; looked at the arguments access_key= and secret_key=, at the variables "
        f"{_ACCESS_KEY} and {_SECRET_KEY}, and where aioboto3 looks: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        f"profile {profile!r} of ~/.aws/credentials and ~/.aws/config, container and instance roles; "
        "for public objects Session(anonymous=True) needs none"
    )


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.endswith(".localhost")


async def find(
    profile: str | None, boto_session: BotoSession | None, *, needs_credentials: bool, needs_endpoint: bool
) -> Found:
    """Return what aioboto3 finds. Do without it if environment variables are all that there is to find.

    Raises CredentialsError if the profile is missing or broken, or if credentials are incomplete or cannot be loaded. If
    neither credentials nor endpoint are needed, a profile that is missing or broken is only logged.
    """
    if not needs_credentials and profile is None and boto_session is None:
        found = await _in_thread(lambda: find_in_environment(needs_endpoint=needs_endpoint))
        if found is not None:
            return found
    await _in_thread(_import_session)
    from aiodreamobjects._s3 import boto_session as boto  # noqa: PLC0415 - imported by now

    try:
        return await boto.find(profile, boto_session, with_credentials=needs_credentials)
    except CredentialsError as error:
        if needs_credentials or needs_endpoint:
            raise
        _log.warning(
            "%s; the session opens without the profile, since it needs neither keys nor endpoint from there", error
        )
        return found_in_variables()


_ADDRESSINGS: Mapping[str, Addressing | None] = {"path": "path", "virtual": "virtual", "auto": None}
_SIGNATURES: Mapping[str, Signature | None] = {"s3v4": "v4", "s3": "v2"}


def with_profile(service: Service, found: Found) -> Service:
    """Return the service as the ``s3`` section of the profile says. Log what it says and cannot be done."""
    addressing: Addressing | None = _meaning("addressing_style", found.addressing_style, _ADDRESSINGS)
    signature: Signature | None = _meaning("signature_version", found.signature_version, _SIGNATURES)
    if signature == "v2" and (advice := service.unsupported.get("sigv2")):
        _log.warning("signature_version = s3 of the profile is not used: %s: %s", service.name, advice)
        signature = None
    return replace(service, addressing=addressing or service.addressing, signature=signature or service.signature)


def _meaning(name: str, value: str | None, meanings: Mapping[str, T | None]) -> T | None:
    if value is not None and value not in meanings:
        _log.warning("%s = %s of the profile is not used: it is none of %s", name, value, ", ".join(meanings))
    return meanings.get(value or "")


async def open_s3(
    service: Service,
    limits: Limits,
    timeouts: Timeouts,
    retry: Retry,
    *,
    anonymous: bool,
    explicit: Credentials | None,
    found: Found,
    ca: str | os.PathLike[str] | None,
    observe: Observer | None,
) -> S3:
    """Return the requests of a session, which use the HTTP proxy that the environment names for the endpoint.

    Raises FileNotFoundError or ValueError for a bad ``ca``, and ValueError for a proxy that is not a URL.
    """
    is_tls, proxy = service.scheme == "https", find_proxy(service.scheme, service.host)
    if proxy is not None:
        _log.info("requests to %s go through the proxy %s", service.endpoint, proxy)
    needs_tls = is_tls or ca is not None or (proxy is not None and proxy.is_tls)
    context = await _in_thread(lambda: tls.make_ssl_context(ca or found.ca)) if needs_tls else None
    source: CredentialSource | None = StaticCredentials(explicit) if explicit else found.credentials
    assert (source is None) == anonymous
    watch = watch_of(observe, service)
    gate = Gate(service, source, limits, timeouts, retry, watch=watch)
    pool = Pool(
        timeouts=timeouts,
        ssl_context=context if is_tls else None,
        paces=gate.paces,
        proxy=proxy,
        proxy_ssl_context=context,
        watch=watch,
    )
    return S3(gate, pool, cold_opener(found.session, explicit))


async def _in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread of the event loop. ``in_thread`` would import half of anyio, which a listing does not need."""
    with naming_lack_of_threads():
        return await finish(asyncio.to_thread(work))


def watch_of(observe: Observer | None, service: Service) -> CallWatch | None:
    """Return what tells the observer, if there is one."""
    if observe is None:
        return None
    from aiodreamobjects._s3.record import CallWatch  # noqa: PLC0415 - for those who have an observer

    return CallWatch(observe, service.scheme)


def cold_opener(session: BotoSession | None, explicit: Credentials | None) -> Callable[[Caller], Awaitable[Cold]]:
    """Return the function that makes the client for rare requests."""

    async def open_cold(caller: Caller) -> Cold:
        await _in_thread(_import_client)
        from aiodreamobjects._s3.cold import Cold  # noqa: PLC0415 - imported by now

        return await Cold.open(caller, session, explicit)

    return open_cold


def _import_session() -> None:
    import aiodreamobjects._s3.boto_session  # noqa: F401, PLC0415 - in a thread, for its time


def _import_client() -> None:
    import aiodreamobjects._s3.cold  # noqa: F401, PLC0415 - in a thread, for its time
