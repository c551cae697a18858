"""Where a session's credentials and settings come from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from aiodreamobjects._config import Credentials

if TYPE_CHECKING:
    import aioboto3
    from aiobotocore.session import AioSession

    BotoSession: TypeAlias = aioboto3.Session | AioSession


class CredentialSource(Protocol):
    """Credentials that may change while a session lives."""

    current: Credentials
    expires: bool

    async def refresh(self) -> None:
        """Renew the credentials if they are about to expire. Raises CredentialsError."""
        ...

    async def renew(self, refused: Credentials) -> bool:
        """Replace credentials that the service refused. Return whether there are new ones. Raises CredentialsError."""
        ...


class StaticCredentials:
    expires = False

    def __init__(self, credentials: Credentials) -> None:
        self.current = credentials

    async def refresh(self) -> None:
        pass

    async def renew(self, refused: Credentials) -> bool:  # noqa: ARG002 - the protocol's
        return False


@dataclass(frozen=True, slots=True)
class Found:
    """What every S3 tool finds: in ``AWS_*``, in ``~/.aws``, or in a given aioboto3 session."""

    profile: str = "default"
    endpoint: str | None = None
    region: str | None = None
    addressing_style: str | None = None
    """``addressing_style`` in the ``s3`` section of the profile."""
    signature_version: str | None = None
    """``signature_version`` in the ``s3`` section of the profile."""
    ca: str | None = None
    credentials: CredentialSource | None = None
    session: BotoSession | None = None


def find_in_environment(*, needs_endpoint: bool) -> Found | None:
    """Return the settings, without credentials, if variables alone hold them. Return ``None`` if aioboto3 must look.

    This avoids the import of aioboto3, which takes longer than a hundred requests. It looks for files: call it off the
    event loop.
    """
    asks_for_more = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
    if needs_endpoint:
        asks_for_more += ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
    files = (
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    # os.path, as in botocore: it finds no file in a home directory that is missing or cannot be searched.
    if any(map(os.environ.get, asks_for_more)) or any(os.path.isfile(os.path.expanduser(file)) for file in files):  # noqa: PTH111, PTH113 - pathlib raises
        return None
    return found_in_variables()


def found_in_variables() -> Found:
    """Return the settings that variables hold, without credentials and endpoint."""
    return Found(region=os.environ.get("AWS_DEFAULT_REGION") or None, ca=os.environ.get("AWS_CA_BUNDLE") or None)
