"""A multipart upload's life: created, its parts, completed; or aborted; or in doubt. Whoever sends the parts is above.

An upload whose completion was sent is never aborted before it is known that it did not happen: on Ceph RGW an abort
that met a slow completion has left objects without their data (ceph/ceph#60771).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Literal

from aiodreamobjects._errors import (
    AlreadyExistsError,
    ChecksumMismatchError,
    ConnectionFailedError,
    DreamObjectsError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    TransferError,
    UnsupportedByServiceError,
)
from aiodreamobjects._integrity import etag_of_parts, parts_of_etag
from aiodreamobjects._models import Address, ObjectAttributes, ObjectInfo, Verified, printable
from aiodreamobjects._runtime import Runtime, clean_up, complete
from aiodreamobjects._service import Service
from aiodreamobjects._transfer.journal import UploadJournal, UploadRecord
from aiodreamobjects._transfer.orphans import Orphans
from aiodreamobjects._wire import paging
from aiodreamobjects._wire.contract import Part, Wire, WriteConditions
from aiodreamobjects._wire.errors import is_unreadable
from aiodreamobjects._wire.replies import unquoted

ABORT_SECONDS = 10.0
COMPLETION_GRACE_SECONDS = 30.0
"""So long a completion that was sent may still take when its caller is cancelled."""
LOOKS = (0, 2, 10, 20, 40)
"""When the object is looked at, after the reply to its completion was lost: in ``Retry.base``, one after the other."""
LOOKS_AFTER_REPLY = (0, 2)
"""The same where there was a reply, which made no sense: the service is no longer at it."""
MOST_COMPLETIONS = 3
MOST_ABORTS = 3

Fate = Literal["gone", "open", "unknown"]
"""Of an upload whose object is not there."""

_log = logging.getLogger("aiodreamobjects")


class Multipart:
    """One multipart upload. With a journal, it is left open when it fails, and the next one takes it up."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        attributes: ObjectAttributes,
        conditions: WriteConditions,
        journal: UploadJournal | None = None,
        record: UploadRecord | None = None,
    ) -> None:
        self._wire, self._retry, self._address = runtime.wire, runtime.retry, address
        self._attributes, self._conditions = attributes, conditions
        self._journal, self._record = journal, record
        self._upload_id: str | None = None
        self._created: str | None = None
        """The same where it is not another process's, also when it has ended."""
        self._is_noted = False
        """Whether the journal names it, so that it can be taken up."""
        self._is_in_doubt = False
        """Whether a completion was sent of which it is not known what became of it."""
        self._most_parts = runtime.service.multipart.most_parts
        self._ours = runtime.uploads
        self._orphans = Orphans(self._wire, address, runtime.uploads)
        self.held: Mapping[int, Part] = {}
        """Parts that were there before, by their numbers."""

    @property
    def _name(self) -> str:
        """The upload's id, for people."""
        return printable(self._upload_id or "")

    @property
    def upload_id(self) -> str:
        assert self._upload_id
        return self._upload_id

    async def run(self, send_parts: Callable[[], Awaitable[list[Part]]]) -> ObjectInfo:
        """Create it, send its parts, complete it. Failed or cancelled before that, it is aborted."""
        await check_conditions(self._wire, self._address, self._conditions)
        try:
            parts = await self._send(send_parts)
            if self._is_noted:
                await self._note(is_completing=True)
            info = await complete(self._complete(parts), grace=COMPLETION_GRACE_SECONDS)
        except BaseException as error:
            if self._is_in_doubt:
                note = f"{self._address}: the upload {self._name} may be completed yet, and was left open"
                error.add_note(note)
                _log.warning("%s", note)
                if isinstance(error, DreamObjectsError):
                    error.in_doubt = True
            elif not self._is_noted and self._upload_id is not None:
                await clean_up(self._abort(self._upload_id), grace=ABORT_SECONDS)
            raise
        finally:
            self._ours.discard(self._created)
            if self._orphans.found:
                await clean_up(self._orphans.abort(), grace=ABORT_SECONDS)
        if self._journal is not None:
            await self._journal.remove()
        return info

    async def _send(self, send_parts: Callable[[], Awaitable[list[Part]]]) -> list[Part]:
        try:
            await self._begin()
            parts = await send_parts()
            await check_conditions(self._wire, self._address, self._conditions)
        except DreamObjectsError as error:
            error.in_doubt = False  # whatever became of a part: without a completion there is no object
            raise
        return parts

    async def _begin(self) -> None:
        """Create the upload, or take up the one that an earlier process left."""
        journal, record = self._journal, self._record
        if journal is not None and record is not None and await self._take_up(await journal.read(), record):
            return

        async def create() -> None:
            orphans = self._orphans
            try:
                self._upload_id = await self._wire.create_upload(self._address, self._attributes, orphans.note)
                self._created = self._upload_id
                self._ours.add(self._created)
            except DreamObjectsError as error:
                if is_unreadable(error):
                    orphans.note()
                raise
            finally:
                await orphans.find(self._upload_id)
            if journal is not None:
                await self._note(is_completing=False)

        await clean_up(create(), grace=ABORT_SECONDS)  # an upload whose id nobody knows could not be aborted

    async def _note(self, *, is_completing: bool) -> None:
        assert self._journal
        assert self._record
        await self._journal.write(replace(self._record, upload_id=self.upload_id, is_completing=is_completing))
        self._is_noted = True

    async def give_up(self, found: UploadRecord) -> None:
        """Drop what an earlier process left, where the object takes no parts any more."""
        assert self._journal
        await self._drop(found)
        await self._journal.remove()

    async def _drop(self, found: UploadRecord) -> None:
        if found.is_completing:
            _log.warning(
                "%s: the upload %s may be completed yet, and was left open", self._address, printable(found.upload_id)
            )
        else:
            await clean_up(self._abort(found.upload_id), grace=ABORT_SECONDS)

    async def _take_up(self, found: UploadRecord | None, wanted: UploadRecord) -> bool:
        if found is None:
            return False
        if replace(found, upload_id="", is_completing=False) != wanted:
            _log.info("%s: the file, or what is asked for, changed since the last try; it starts afresh", self._address)
            if (found.endpoint, found.bucket, found.key) == (wanted.endpoint, wanted.bucket, wanted.key):
                await self._drop(found)
            return False
        try:
            self.held = {part.number: part async for part in self._listed(found.upload_id)}
        except (NotFoundError, InvalidRequestError):  # the latter: the service says that this is no upload's ID
            _log.info("%s: the upload of the last try is gone; it starts afresh", self._address)
            return False
        self._upload_id, self._is_noted = found.upload_id, True
        return True

    async def _listed(self, upload_id: str) -> AsyncIterator[Part]:
        async with aclosing(paging.parts(self._wire, self._address, upload_id, self._most_parts)) as pages:
            async for page in pages:
                for part in page:
                    yield part

    async def _complete(self, parts: Sequence[Part]) -> ObjectInfo:
        assert self._upload_id
        digests = [bytes.fromhex(part.md5) for part in parts if part.md5]
        expected = etag_of_parts(digests) if len(digests) == len(parts) else None
        size = sum(part.size or 0 for part in parts)
        info = await self._complete_surely(self._upload_id, parts, expected, size)
        self._is_in_doubt, self._upload_id = False, None
        return await self._completed(info, expected, size)

    async def _complete_surely(
        self, upload_id: str, parts: Sequence[Part], expected: str | None, size: int
    ) -> ObjectInfo:
        """Once more where the reply made no sense and the upload is still open: it was not completed then."""
        for is_last in (*[False] * (MOST_COMPLETIONS - 1), True):
            self._is_in_doubt = True
            try:
                return await self._wire.complete_upload(self._address, upload_id, parts, self._conditions)
            except (ServiceError, ConnectionFailedError, TransferError) as error:
                is_senseless = is_unreadable(error)
                # The service has answered in the end: it is no longer at it.
                is_over = is_senseless or (isinstance(error, ServiceError) and error.status == HTTPStatus.OK)
                found: ObjectInfo | Fate = "open"
                if error.in_doubt or is_over:
                    looks = LOOKS if error.in_doubt else LOOKS_AFTER_REPLY
                    found = await self._look(upload_id, expected, size, looks)
                if isinstance(found, ObjectInfo):
                    return found
                if found == "gone":
                    self._upload_id = None
                if found != "open" or error.in_doubt or is_last or not is_senseless:
                    may_come = found == "unknown" or (found == "open" and error.in_doubt and not is_over)
                    self._is_in_doubt = may_come
                    error.in_doubt = may_come or found == "gone"  # completed, and replaced since; or aborted by another
                    raise
        raise AssertionError

    async def _look(self, upload_id: str, expected: str | None, size: int, looks: Sequence[int]) -> ObjectInfo | Fate:
        """What became of a completion whose reply was lost: the object, if it is this one."""
        fate: Fate = "unknown"
        for look in looks:
            await self._wire.sleep(min(look * self._retry.base, self._retry.cap))
            fate = "unknown"
            try:
                is_open = bool([part async for part in self._listed(upload_id)])
            except NotFoundError:
                is_open = False
            except DreamObjectsError:
                continue
            try:
                found = await self._wire.head_object(self._address)
            except DreamObjectsError as error:
                if not isinstance(error, NotFoundError):
                    continue
            else:
                if not is_open and (found.etag == expected or (not expected and found.size == size)):
                    return found  # with the upload open, it may be an earlier object of the same bytes
            if not is_open:  # neither the upload nor its object is there: nothing can come of it any more
                return "gone"
            fate = "open"
        return fate

    async def _completed(self, info: ObjectInfo, expected: str | None, size: int) -> ObjectInfo:
        """With what is known of it; the service's ETag must be the one of what was sent."""
        verified: Verified | None = None
        if expected is not None and info.etag is None:  # Ceph RGW 16.2 does not tell
            with suppress(DreamObjectsError):
                found = await self._wire.head_object(self._address)
                verified = "parts" if found.etag == expected else None
                info = replace(info, etag=expected, last_modified=found.last_modified if verified else None)
        elif expected is not None and parts_of_etag(info.etag, None):
            if info.etag != expected:
                msg = f"{self._address}: the service made ETag {info.etag} of the parts, they have {expected}"
                raise ChecksumMismatchError(msg)
            verified = "parts"
        given = self._attributes
        return replace(
            info,
            size=size,
            content_type=given.content_type,
            metadata={name.lower(): value for name, value in (given.metadata or {}).items()},
            storage_class=given.storage_class,
            cache_control=given.cache_control,
            content_disposition=given.content_disposition,
            content_encoding=given.content_encoding,
            verified=verified,
        )

    async def _abort(self, upload_id: str) -> None:
        """Until nothing of it is left: a part that was under way may arrive after the first time."""
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                for _ in range(MOST_ABORTS):
                    await self._wire.abort_upload(self._address, upload_id)
                    await self._wire.list_parts(self._address, upload_id)
            _log.warning("%s: the upload %s was aborted, and still has parts", self._address, printable(upload_id))
        except NotFoundError:
            return
        except (DreamObjectsError, TimeoutError) as error:
            _log.warning("%s: the upload %s could not be aborted: %s", self._address, printable(upload_id), error)


def refuse_conditions(service: Service, conditions: WriteConditions) -> None:
    """UnsupportedByServiceError for conditions that the service would refuse once everything is there."""
    if not conditions.if_absent and conditions.if_match is None:
        return
    if advice := service.unsupported.get("conditional_writes"):
        msg = f"{service.name} knows neither if_absent nor if_match for writes; {advice}"
        raise UnsupportedByServiceError(msg, code="NotImplemented")


async def check_conditions(wire: Wire, address: Address, conditions: WriteConditions) -> None:
    """Before the first part, to refuse in time; and before the completion: Ceph RGW 16.2 ignores its conditions."""
    if not conditions.if_absent and conditions.if_match is None:
        return
    try:
        found = await wire.head_object(address)
    except NotFoundError:
        if conditions.if_absent:
            return
        raise
    if conditions.if_absent:
        msg = f"{address} exists"
        raise AlreadyExistsError(msg, code="PreconditionFailed")
    if conditions.if_match != "*" and found.etag != unquoted(conditions.if_match):
        msg = f"{address} has the ETag {found.etag}, not {conditions.if_match}"
        raise PreconditionFailedError(msg, code="PreconditionFailed")
