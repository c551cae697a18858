"""Find credentials and settings with aioboto3, in the places where every S3 tool looks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import aioboto3
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import exceptions as boto
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.utils import parse_timestamp

from aiodreamobjects._concurrency import in_thread
from aiodreamobjects._config import Credentials, Secret, hide
from aiodreamobjects._errors import CredentialsError, forget_frames
from aiodreamobjects._s3.credentials import Found

if TYPE_CHECKING:
    from aiodreamobjects._s3.credentials import BotoSession


class FoundCredentials:
    """A CredentialSource over the credentials that aioboto3 found. botocore renews those that expire."""

    def __init__(self, source: Any, current: Credentials) -> None:
        self._source = source
        self.current = current
        # Only botocore's plain credentials never change. A session may bring any other class: ask that each time.
        self.expires = type(source) is not AioCredentials
        self._renewing = asyncio.Lock()

    async def refresh(self) -> None:
        found = await _frozen(self._source)
        if found != self.current:
            self.current = found

    async def renew(self, refused: Credentials) -> bool:
        """Renew once, however many requests were refused with these credentials. Return whether there are new ones."""
        if not self.expires:
            return False
        async with self._renewing:
            if self.current == refused:
                if isinstance(self._source, AioRefreshableCredentials):
                    # botocore renews by its own clock, and has no public way to force it.
                    self._source._expiry_time = datetime.now(UTC)  # noqa: SLF001 - tests/faults/test_refusals.py pins it
                await self.refresh()
            return self.current != refused


async def _frozen(source: Any) -> Credentials:
    """Return the current credentials. Raise CredentialsError for any error: a provider may run programs and read files."""
    try:
        frozen = await source.get_frozen_credentials()
        access_key, secret_key, token = frozen.access_key, hide(frozen.secret_key), hide(frozen.token)
        del frozen  # its repr shows them
        return Credentials(access_key, secret_key or Secret(), token)
    except CredentialsError:
        raise
    except Exception as error:
        raise not_to_be_had(error) from error


def not_to_be_had(error: Exception) -> CredentialsError:
    # A provider's message may quote the secrets that it read, and so may its frames' locals. botocore's messages do not.
    forget_frames(error)
    reason = str(error) if isinstance(error, boto.BotoCoreError | boto.ClientError | OSError) else type(error).__name__
    return CredentialsError(f"the credentials could not be loaded: {reason}")


async def find(profile: str | None, boto_session: BotoSession | None, *, with_credentials: bool) -> Found:
    """Look where every S3 tool looks. This reads files, so it runs in a thread with a loop of its own.

    The credentials themselves are loaded on the caller's loop: botocore's lock on them belongs to one loop.
    Raises CredentialsError if the profile is missing, or if credentials are incomplete or cannot be loaded.
    """
    found, source = await in_thread(lambda: asyncio.run(_find(profile, boto_session, with_credentials)))
    return replace(found, credentials=FoundCredentials(source, await _frozen(source))) if source else found


async def _find(profile: str | None, boto_session: BotoSession | None, with_credentials: bool) -> tuple[Found, Any]:  # noqa: FBT001 - private
    try:
        session = boto_session or make_session(profile)
        core: AioSession = getattr(session, "_session", session)  # aioboto3's session wraps aiobotocore's
        scoped = core.get_scoped_config()
        configured = ConfiguredEndpointProvider(full_config=core.full_config, scoped_config=scoped, client_name="s3")
        section = scoped.get("s3")
        of_s3: dict[str, str] = section if isinstance(section, dict) else {}
        is_ignored = core.get_config_variable("ignore_configured_endpoint_urls")
        found = Found(
            session=session,
            profile=core.get_config_variable("profile") or "default",
            endpoint=None if is_ignored else configured.provide(),
            region=core.get_config_variable("region"),
            addressing_style=of_s3.get("addressing_style"),
            signature_version=of_s3.get("signature_version"),
            ca=core.get_config_variable("ca_bundle"),
        )
        return found, await core.get_credentials() if with_credentials else None
    except boto.ProfileNotFound as error:
        msg = f"{error}, neither in ~/.aws/config nor in ~/.aws/credentials"
        raise CredentialsError(msg) from error
    except boto.PartialCredentialsError as error:
        msg = f"the credentials are incomplete: {error}"
        raise CredentialsError(msg) from error
    except Exception as error:
        raise not_to_be_had(error) from error


def make_session(profile: str | None) -> aioboto3.Session:
    return _with_quick_dates(aioboto3.Session(profile_name=profile))


def make_session_without_files() -> aioboto3.Session:
    """Make a session that reads no files, for explicit keys: a broken ``~/.aws`` must not matter then."""
    nothing = (None, None, None, None)
    no_file = (None, None, os.devnull, None)
    variables = {"profile": nothing, "config_file": no_file, "credentials_file": no_file}
    return _with_quick_dates(aioboto3.Session(botocore_session=AioSession(session_vars=variables)))


def _with_quick_dates(session: aioboto3.Session) -> aioboto3.Session:
    parsers = session._session.get_component("response_parser_factory")  # noqa: SLF001 - aioboto3 has no other way
    parsers.set_parser_defaults(timestamp_parser=_parse_timestamp)
    return session


def _parse_timestamp(value: Any) -> datetime:
    """Parse a date. botocore's own parser takes more than half of the time of a page with a thousand dates."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return cast(datetime, parse_timestamp(value))
