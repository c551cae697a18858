"""All requests that a session sends to its service, and how they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from aiodreamobjects._concurrency import finish
from aiodreamobjects._config import Credentials
from aiodreamobjects._errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidRequestError,
    ServiceError,
    UnsupportedByServiceError,
)
from aiodreamobjects._http.transport import Transport
from aiodreamobjects._later import Later
from aiodreamobjects._models import CannedAcl, Statistics
from aiodreamobjects._s3.abilities import Abilities
from aiodreamobjects._s3.buckets import Buckets, value_or_empty
from aiodreamobjects._s3.call import Caller
from aiodreamobjects._s3.errors import lacks_request, may_be_refused
from aiodreamobjects._s3.gate import Gate, closed_meanwhile
from aiodreamobjects._s3.listings import Listings
from aiodreamobjects._s3.signing import Signer
from aiodreamobjects._service import Feature, Service

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from aiodreamobjects._acls import Acl
    from aiodreamobjects._s3 import settings
    from aiodreamobjects._s3.cold import Cold
    from aiodreamobjects._s3.settings import Setting
    from aiodreamobjects._trace import Watch
else:
    settings = Later("aiodreamobjects._s3.settings")

T = TypeVar("T")

EFFECT_WAITS = (0.0, 0.5, 2.0)
"""The seconds before each look at a setting that was just written."""

_log = logging.getLogger("aiodreamobjects")


class S3(Abilities, Listings, Buckets):
    """The requests of one session. Made on the loop that uses it.

    Each method sends its request as often as ``Retry`` allows. It raises SessionClosedError if this is closed,
    ServiceError if the service refuses, and ConnectionFailedError if there is no answer.
    """

    def __init__(self, gate: Gate, transport: Transport, open_cold: Callable[[Caller], Awaitable[Cold]]) -> None:
        """Make the requests. ``open_cold`` makes the client for rare requests, when the first of them is sent."""
        super().__init__(Caller(gate, transport))
        self._transport, self._open_cold = transport, open_cold
        self._cold: Cold | None = None
        self._opening = asyncio.Lock()
        self._readable: set[str] = set()
        """The settings of buckets that the service was seen to know."""

    def stop(self) -> None:
        """Make every later request raise SessionClosedError, except those of clean-ups (``gate.DEPARTURE``)."""
        self._gate.stop()

    async def aclose(self) -> None:
        await finish(self._release())

    async def _release(self) -> None:
        await self._gate.aclose()
        await self._transport.aclose(closed_meanwhile)
        async with self._opening:
            if self._cold is not None:
                await self._cold.aclose()

    def abandon(self) -> None:
        """Release what is open, for a session that nobody closed. Its event loop may be gone."""
        self._gate.abandon()
        self._transport.abandon(closed_meanwhile)

    def moved(self) -> int:
        """Return a figure that changes as long as bytes of any request or reply move."""
        return self._gate.moved()

    def statistics(self) -> Statistics:
        gate = self._gate
        return Statistics(
            requests=gate.sent,
            retries=gate.retrier.retries,
            bytes_sent=gate.bytes_sent,
            bytes_received=gate.bytes_received,
            open_connections=self._transport.open_connections,
            idle_connections=self._transport.idle_connections,
            calls=dict(gate.calls),
            retries_by_cause=dict(gate.retries),
            waited_place=gate.waited,
            waited_connection=self._transport.waited,
        )

    @property
    def watch(self) -> Watch | None:
        """What tells the session's observer of transfers. None without one."""
        return self._gate.watch

    @property
    def service(self) -> Service:
        """The service, with the features that it turned out to lack."""
        return self._gate.service

    def signer(self) -> Signer:
        """Return a signer with the current credentials, which may be renewed later."""
        return self._gate.signer()

    @property
    def credentials(self) -> Credentials | None:
        """The current credentials, which may be renewed later. None if the session is anonymous."""
        return self._gate.credentials

    def now(self) -> float:
        """Return the service's time in seconds since the epoch: our clock, corrected by the known difference."""
        return self._gate.now()

    async def sleep(self, seconds: float) -> None:
        """Wait before trying again. Raises SessionClosedError if the session closes meanwhile."""
        await self._gate.sleep(seconds)

    async def unasked(
        self, feature: Feature, request: Callable[[], Awaitable[T]], *, is_write: bool = False
    ) -> T | None:
        """Make an optional request, for which the caller did not ask. Return None if the service refuses or lacks it.

        Remember a lacking feature: later requests for it are not sent. A refused write does not prove the lack, since
        its content may be the reason.
        """
        if feature in self._gate.service.unsupported:
            return None
        try:
            return await request()
        except ServiceError as error:
            if not may_be_refused(error):
                raise
            if isinstance(error, UnsupportedByServiceError) or (lacks_request(error) and not is_write):
                self._gate.note_lack(feature, "the service refused it earlier in this session")
            _log.warning("%s; this request is optional, so the work goes on without it", error)
            return None

    # Requests through aioboto3

    async def boto_client(self) -> S3Client:
        return (await self._opened_cold()).client

    async def _opened_cold(self) -> Cold:
        if self._cold is None:
            async with self._opening:
                if self._gate.closed:
                    raise closed_meanwhile()
                if self._cold is None:
                    self._cold = await self._open_cold(self._caller)
        return self._cold

    # Settings of buckets
    #
    # Some services ignore the query. They take the removal of a setting for the deletion of the bucket, and do that if it is
    # empty. So this reads a setting before it writes or removes it, unless the service is known to know it.

    async def get_setting(self, bucket: str, setting: Setting[T]) -> T:
        """Return the setting's value, or its empty value (``[]``, ``{}`` or ``None``) if the bucket has none."""
        self._refuse_lacking_setting(setting)
        try:
            found = await self._read(bucket, setting)
        except UnsupportedByServiceError:
            if setting.lack is not None:
                self._gate.note_lack(setting.lack, "it refused or ignored this earlier in this session")
            raise
        self._readable.add(setting.name)
        return found

    async def put_setting(self, bucket: str, setting: Setting[T], value: T) -> None:
        """Write the setting. Raise UnsupportedByServiceError if the service does not know it, or answers and does not keep it."""
        if isinstance(setting.form, settings.ByBoto):
            (await self._opened_cold()).check(bucket, setting.form, value)
        self._refuse_lacking_setting(setting)
        if self._may_be_ignored(setting) and setting.name not in self._readable:
            await self.get_setting(bucket, setting)
        await self._write(bucket, setting, value)
        if setting.meaning is not None:
            await self._require_effect(bucket, setting, value)

    async def delete_setting(self, bucket: str, setting: Setting[T]) -> None:
        """Remove the setting. Send nothing but a read if there is nothing to remove, where the service may ignore the query."""
        if self._may_be_ignored(setting) and await self.get_setting(bucket, setting) == setting.empty():
            return
        form = setting.form
        if isinstance(form, settings.AsXml):
            await self.delete_as_xml(bucket, setting, form)
        elif form.delete:
            await (await self._opened_cold()).delete(bucket, form, setting.feature)
        else:
            try:
                await self.put_setting(bucket, setting, setting.empty())
            except InvalidRequestError:
                if not form.other_delete:
                    raise
                await self.delete_by_query(bucket, form.other_delete, setting.feature)

    def _refuse_lacking_setting(self, setting: Setting[T]) -> None:
        if setting.lack is not None:
            self._refuse_lacking(setting.lack)

    async def create_locked_bucket(self, bucket: str, acl: CannedAcl | None, *, exists: bool) -> None:
        """Create a bucket with Object Lock, or raise AlreadyExistsError for one that exists without it.

        A service that ignores the header creates a bucket without Object Lock. So this looks at the new bucket.
        """
        self._refuse_lacking("object_lock")
        if not exists:
            await self.create_bucket(bucket, acl, object_lock=True)
        try:
            if await self.get_setting(bucket, settings.HAS_LOCK):
                return
        except UnsupportedByServiceError as error:
            error.add_note(f"the bucket {bucket!r} exists now, without Object Lock")
            raise
        if exists:
            msg = f"bucket {bucket!r} exists already, without Object Lock: choose another name, or set_object_lock() if the service can"
            raise AlreadyExistsError(msg, code="BucketAlreadyExists", status=409)
        msg = f"{self._gate.service.name} created the bucket {bucket!r}, but without Object Lock"
        raise UnsupportedByServiceError(msg, code="NotImplemented", status=200)

    def _may_be_ignored(self, setting: Setting[T]) -> bool:
        return setting.lack is not None or not self._gate.service.is_known

    async def put_bucket_acl(self, bucket: str, acl: CannedAcl | Acl) -> None:
        """Set the ACL. Read it first if nobody knows the service: it may take this for the creation of a bucket."""
        if not self._gate.service.is_known and "acl" not in self._readable:
            with suppress(AccessDeniedError):  # it tells nothing: credentials may be allowed to write only
                await self.get_bucket_acl(bucket)
            self._readable.add("acl")
        await super().put_bucket_acl(bucket, acl)

    async def _require_effect(self, bucket: str, setting: Setting[T], value: T) -> None:
        """Compare what the bucket has now. Wait a little for it: Amazon S3 may show the old value for a moment."""
        assert setting.meaning is not None
        wanted, found = setting.meaning(value), setting.empty()
        for wait in EFFECT_WAITS:
            await self.sleep(wait)
            found = await self.get_setting(bucket, setting)
            if setting.meaning(found) == wanted:
                return
        if found == setting.empty() and setting.lack is not None:
            self._gate.note_lack(setting.lack, "it answered with success earlier in this session, and kept nothing")
        msg = (
            f"set_{setting.name} s3://{bucket}: {self._gate.service.name} answered with success, but the bucket has {found!r} now; "
            "the service does not support this setting, or not this value"
        )
        raise UnsupportedByServiceError(msg, code="NotImplemented", status=200)

    async def _read(self, bucket: str, setting: Setting[T]) -> T:
        form = setting.form
        if isinstance(form, settings.AsXml):
            return await self.get_as_xml(bucket, setting, form)
        cold = await self._opened_cold()
        return await value_or_empty(setting, lambda: cold.get(bucket, form, setting.feature))

    async def _write(self, bucket: str, setting: Setting[T], value: T) -> None:
        form = setting.form
        if isinstance(form, settings.AsXml):
            await self.put_as_xml(bucket, setting, form, value)
        else:
            await (await self._opened_cold()).put(bucket, form, value, setting.feature)
