"""Which lane serves a session, and what is found before it opens.

aioboto3 and botocore are imported only where they are needed, and not on the event loop: that takes longer than the
first hundred requests.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from anyio import to_thread

from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts
from aiodreamobjects._http.pool import Pool
from aiodreamobjects._http.tls import make_ssl_context
from aiodreamobjects._service import Service
from aiodreamobjects._wire.contract import Wire
from aiodreamobjects._wire.credentials import Found, StaticCredentials, find_in_environment
from aiodreamobjects._wire.direct import DirectWire
from aiodreamobjects._wire.gate import Gate

if TYPE_CHECKING:
    from aiodreamobjects._wire.boto import BotoWire
    from aiodreamobjects._wire.boto_client import BotoSession

Lane = Literal["direct", "boto"]

_log = logging.getLogger("aiodreamobjects")


async def find(
    profile: str | None, boto_session: BotoSession | None, explicit: Credentials | None, *, needs_endpoint: bool
) -> Found:
    """What aioboto3 finds, which is asked only where the environment's variables are not all there is to find.

    Raises CredentialsError for a profile that is not there, and for credentials that are half there or cannot be had.
    """
    if explicit and profile is None and boto_session is None:
        found = await to_thread.run_sync(lambda: find_in_environment(needs_endpoint=needs_endpoint))
        if found is not None:
            return found
    await to_thread.run_sync(_import_boto)
    from aiodreamobjects._wire import boto_client  # noqa: PLC0415 - imported by now

    return await boto_client.find(profile, boto_session, with_credentials=explicit is None)


@dataclass(frozen=True, slots=True)
class Opening:
    """All that a lane is opened with."""

    service: Service
    limits: Limits
    timeouts: Timeouts
    retry: Retry
    explicit: Credentials | None
    found: Found
    ca: str | os.PathLike[str] | None

    async def open(self, lane: Lane) -> Wire:
        """The lane that was asked for; the aioboto3 lane where an HTTP proxy is set for the endpoint.

        Raises FileNotFoundError or ValueError for a bad ``ca``.
        """
        proxy = await to_thread.run_sync(_proxy_of, self.service)
        if proxy is not None and lane == "direct":
            _log.info("an HTTP proxy is set for %s: the aioboto3 lane serves it", self.service.endpoint)
        if proxy is not None or lane == "boto":
            return await self._open_boto(proxy, None)
        is_tls = self.service.scheme == "https"
        context = await to_thread.run_sync(make_ssl_context, self.ca) if is_tls or self.ca is not None else None
        gate = self._gate()
        pool = Pool(timeouts=gate.timeouts, ssl_context=context if is_tls else None, paces=gate.paces)
        return DirectWire(gate, pool, lambda: self._open_boto(None, gate))

    async def _open_boto(self, proxy: str | None, gate: Gate | None) -> BotoWire:
        await to_thread.run_sync(_import_boto)
        from aiodreamobjects._wire import boto, boto_client  # noqa: PLC0415 - imported by now

        opened = await boto_client.open_client(
            self.found.session,
            self.service,
            self.limits,
            self.timeouts,
            explicit=self.explicit,
            ca=self.ca,
            proxy=proxy,
        )
        return boto.BotoWire(opened, gate or self._gate())

    def _gate(self) -> Gate:
        source = StaticCredentials(self.explicit) if self.explicit else self.found.credentials
        assert source is not None
        return Gate(self.service, source, self.limits, self.timeouts, self.retry)


def _import_boto() -> None:
    import aiodreamobjects._wire.boto  # noqa: F401, PLC0415 - in a thread, for its time


def _proxy_of(service: Service) -> str | None:
    """From ``http_proxy``, ``https_proxy`` and ``no_proxy``, as botocore reads them."""
    variable = f"{service.scheme}_proxy"
    if not any(name.lower() == variable and value for name, value in os.environ.items()):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - half an HTTP library, seldom needed

    return None if proxy_bypass(service.host) else getproxies().get(service.scheme)
