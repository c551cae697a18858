"""aioboto3's part: finding credentials and settings, and a client whose requests we sign, send and retry ourselves.

botocore turns parameters into HTTP requests and replies into values; that is all that is asked of it here:

- Nothing is sent that was not asked for: no checksum header, no trailer (they are refused or stored by older Ceph and
  by Backblaze B2), Content-MD5 where S3 demands a digest.
- Signatures are ours (``signing.py``), made when a request leaves, so that botocore's debug log of it shows none.
- Requests travel by our HttpClient, which follows no redirect; botocore's retries and region redirects are off.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession
from anyio import to_thread
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.utils import parse_timestamp

from aiodreamobjects import _integrity
from aiodreamobjects._config import Credentials, Limits, Secret, Timeouts, hide
from aiodreamobjects._errors import CredentialsError, forget_frames
from aiodreamobjects._http.client import Proxy, parse_proxy
from aiodreamobjects._http.tls import make_ssl_context
from aiodreamobjects._service import Service
from aiodreamobjects._wire.credentials import Found

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BotoSession: TypeAlias = aioboto3.Session | AioSession


class FoundCredentials:
    """A CredentialSource over what aioboto3 found: botocore renews what expires."""

    def __init__(self, source: Any, current: Credentials) -> None:
        self._source = source
        self.current = current
        # botocore's plain ones stay as they are; whatever else a session may bring is asked each time.
        self.expires = type(source) is not AioCredentials
        self._renewing = asyncio.Lock()

    async def refresh(self) -> None:
        found = await _frozen(self._source)
        if found != self.current:
            self.current = found

    async def renew(self, refused: Credentials) -> bool:
        """However many requests were refused: the first one renews, for all."""
        if not self.expires:
            return False
        async with self._renewing:
            if self.current == refused:
                if isinstance(self._source, AioRefreshableCredentials):
                    # botocore goes by its own clock, and has no public way to be told better.
                    self._source._expiry_time = datetime.now(UTC)  # noqa: SLF001 - tests/faults/test_refusals.py pins it
                await self.refresh()
            return self.current != refused


async def _frozen(source: Any) -> Credentials:
    """Raises CredentialsError for whatever a provider may raise: programs, files and services of any kind are behind it."""
    try:
        frozen = await source.get_frozen_credentials()
        access_key, secret_key, token = frozen.access_key, hide(frozen.secret_key), hide(frozen.token)
        del frozen  # its repr shows them
        return Credentials(access_key, secret_key or Secret(), token)
    except CredentialsError:
        raise
    except Exception as error:
        raise _not_to_be_had(error) from error


def _not_to_be_had(error: Exception) -> CredentialsError:
    # A provider's own words may hold what it read; botocore's are made for showing.
    forget_frames(error)  # their locals hold what it read, too
    reason = str(error) if isinstance(error, boto.BotoCoreError | boto.ClientError | OSError) else type(error).__name__
    return CredentialsError(f"the credentials could not be had: {reason}")


async def find(profile: str | None, boto_session: BotoSession | None, *, with_credentials: bool) -> Found:
    """Look where every S3 tool looks. In a thread with a loop of its own: configuration files are read.

    The credentials themselves are had on the caller's loop, since botocore's lock on them belongs to one loop.
    Raises CredentialsError for a profile that is not there, and for credentials that are half there or cannot be had.
    """
    found, source = await to_thread.run_sync(lambda: asyncio.run(_find(profile, boto_session, with_credentials)))
    return replace(found, credentials=FoundCredentials(source, await _frozen(source))) if source else found


async def _find(profile: str | None, boto_session: BotoSession | None, with_credentials: bool) -> tuple[Found, Any]:  # noqa: FBT001 - private
    try:
        session = boto_session or _make_session(profile)
        core: AioSession = getattr(session, "_session", session)  # aioboto3's session wraps aiobotocore's
        scoped = core.get_scoped_config()
        configured = ConfiguredEndpointProvider(full_config=core.full_config, scoped_config=scoped, client_name="s3")
        is_ignored = core.get_config_variable("ignore_configured_endpoint_urls")
        found = Found(
            session=session,
            profile=core.get_config_variable("profile") or "default",
            endpoint=None if is_ignored else configured.provide(),
            region=core.get_config_variable("region"),
            ca=core.get_config_variable("ca_bundle"),
        )
        return found, await core.get_credentials() if with_credentials else None
    except boto.ProfileNotFound as error:
        msg = f"{error}, neither in ~/.aws/config nor in ~/.aws/credentials"
        raise CredentialsError(msg) from error
    except boto.PartialCredentialsError as error:
        msg = f"half of the credentials is missing: {error}"
        raise CredentialsError(msg) from error
    except Exception as error:
        raise _not_to_be_had(error) from error


def _make_session(profile: str | None) -> aioboto3.Session:
    session = aioboto3.Session(profile_name=profile)
    parsers = session._session.get_component("response_parser_factory")  # noqa: SLF001 - aioboto3 has no other way
    parsers.set_parser_defaults(timestamp_parser=_parse_timestamp)
    return session


def _parse_timestamp(value: Any) -> datetime:
    """Of a thousand dates on a page, botocore's own parser makes more than half of the page's time."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return cast(datetime, parse_timestamp(value))


@dataclass(frozen=True, slots=True)
class OpenClient:
    """A client, to be left on the loop that uses it."""

    client: S3Client
    context: AbstractAsyncContextManager[S3Client]
    ssl_context: ssl.SSLContext
    proxy: Proxy | None = field(default=None, repr=False)


async def open_client(
    session: BotoSession | None,
    service: Service,
    limits: Limits,
    timeouts: Timeouts,
    *,
    explicit: Credentials | None,
    ca: str | os.PathLike[str] | None,
    proxy: str | None,
) -> OpenClient:
    """Make the client in a thread with a loop of its own: botocore reads and builds its S3 model for 0.1 s and more.

    ``explicit`` credentials go before those that the session finds. Raises as ``make_ssl_context`` does for ``ca``.
    """
    parsed = parse_proxy(proxy)
    opened = await to_thread.run_sync(lambda: asyncio.run(_open(session, service, limits, timeouts, explicit, ca)))
    return replace(opened, proxy=parsed)


async def _open(
    session: BotoSession | None,
    service: Service,
    limits: Limits,
    timeouts: Timeouts,
    explicit: Credentials | None,
    ca: str | os.PathLike[str] | None,
) -> OpenClient:
    ssl_context = make_ssl_context(ca)
    config = AioConfig(
        signature_version="s3v4" if service.signature == "v4" else "s3",
        s3={"addressing_style": service.addressing, "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=limits.requests,
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
    )
    try:
        session = session or _make_session(None)
        return await _make_client(session, service, explicit, config, ssl_context)
    except boto.BotoCoreError as error:
        raise _not_to_be_had(error) from error


async def _make_client(
    session: BotoSession,
    service: Service,
    explicit: Credentials | None,
    config: AioConfig,
    ssl_context: ssl.SSLContext,
) -> OpenClient:
    create = session.client if isinstance(session, aioboto3.Session) else session.create_client
    context = create(
        "s3",
        region_name=service.region,
        endpoint_url=service.endpoint,
        aws_access_key_id=explicit.access_key if explicit else None,
        aws_secret_access_key=explicit.secret_key if explicit else None,
        aws_session_token=explicit.session_token if explicit else None,
        config=config,
    )
    client = await context.__aenter__()
    return OpenClient(client, context, ssl_context)


def take_over(client: S3Client, send: Callable[..., Awaitable[Any]]) -> None:
    """Have the client's requests signed and sent by ``send(request)``, and by nothing else."""
    events = client.meta.events
    events.register_last("before-call.s3", _before_call)
    events.register("choose-signer.s3", _leave_unsigned)
    events.register("before-send.s3", send)


async def _before_call(model: Any, params: dict[str, Any], **_: object) -> None:
    """Content-MD5 where S3 demands a digest, in place of botocore's CRC32; no region redirects, no 100-continue."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True
    params["headers"].pop("Expect", None)
    checksum = params["context"].get("checksum", {})
    if model.http_checksum.get("requestChecksumRequired") and isinstance(params["body"], bytes | bytearray):
        checksum.pop("request_algorithm", None)
        checksum.pop("request_algorithm_header", None)
        digest = (await _integrity.md5(params["body"])).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _leave_unsigned(signature_version: object, **_: object) -> object:
    """Requests are signed when they leave; the client's own presigned URLs stay botocore's."""
    is_presigning = isinstance(signature_version, str) and signature_version.endswith(("-query", "-presign-post"))
    return None if is_presigning else UNSIGNED
