"""Credentials and settings of a session, wherever they come from."""

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
    """The credentials of the moment."""

    current: Credentials
    expires: bool

    async def refresh(self) -> None:
        """Renew them if they are about to end. Raises CredentialsError."""
        ...

    async def renew(self, refused: Credentials) -> bool:
        """The service does not take these any more: whether there are others. Raises CredentialsError."""
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
    """What every S3 tool finds: in ``AWS_*``, in ``~/.aws``, or in the aioboto3 session that was given."""

    profile: str = "default"
    endpoint: str | None = None
    region: str | None = None
    ca: str | None = None
    credentials: CredentialSource | None = None
    session: BotoSession | None = None


def find_in_environment(*, needs_endpoint: bool) -> Found | None:
    """The settings without credentials, where variables alone hold them. ``None`` where aioboto3 must be asked.

    It takes longer to import than a hundred requests take. Looks for files: call it off the event loop.
    """
    asks_for_more = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
    if needs_endpoint:
        asks_for_more += ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
    files = (
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    # os.path, as botocore: a home that cannot be searched, or is none, has no such file.
    if any(map(os.environ.get, asks_for_more)) or any(os.path.isfile(os.path.expanduser(file)) for file in files):  # noqa: PTH111, PTH113 - pathlib raises
        return None
    return Found(region=os.environ.get("AWS_DEFAULT_REGION") or None, ca=os.environ.get("AWS_CA_BUNDLE") or None)
